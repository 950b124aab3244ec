package cose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(v any) []byte { return must(must(cbor.CoreDetEncOptions().EncMode()).Marshal(v)) }

// sign makes a message, with code of its own for what is signed.
func sign(key *ecdsa.PrivateKey, protected []byte, unprotected any, payload []byte) []byte {
	structure := encode([]any{"Signature1", protected, []byte{}, payload})
	var digest []byte
	size := (key.Curve.Params().BitSize + 7) / 8
	switch size {
	case 32:
		d := sha256.Sum256(structure)
		digest = d[:]
	case 48:
		d := sha512.Sum384(structure)
		digest = d[:]
	default:
		d := sha512.Sum512(structure)
		digest = d[:]
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	return encode([]any{protected, unprotected, payload, signature})
}

func newKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

type header = map[any]any

func TestVerify(t *testing.T) {
	t.Parallel()
	for alg, curve := range map[Algorithm]elliptic.Curve{ES256: elliptic.P256(), ES384: elliptic.P384(), ES512: elliptic.P521()} {
		key, other := newKey(curve), newKey(curve)
		if ForKey(&key.PublicKey) != alg {
			t.Errorf("%v: key is for %v", alg, ForKey(&key.PublicKey))
		}
		for _, size := range []int{1, 23, 24, 255, 256, 60000} { // each length of a head
			b := sign(key, encode(header{1: alg}), header{}, make([]byte, size))
			m, err := Parse(b, Untagged)
			if err != nil {
				t.Fatal(alg, size, err)
			}
			if err := m.Verify(&key.PublicKey, alg); err != nil || m.Extra || len(m.Payload) != size {
				t.Errorf("%v of %d bytes: %v", alg, size, err)
			}
			if err := m.Verify(&other.PublicKey, alg); !errors.Is(err, ErrSignature) {
				t.Errorf("%v by another key: %v", alg, err)
			}
			for _, wrong := range []Algorithm{ES256, ES384, ES512, 0} {
				if err := m.Verify(&key.PublicKey, wrong); wrong != alg && !errors.Is(err, ErrAlgorithm) {
					t.Errorf("%v demanded for %v: %v", wrong, alg, err)
				}
			}
			if err := m.Verify(nil, alg); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("%v without key: %v", alg, err)
			}
		}
		// The key is of another curve than the algorithm's.
		for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			if c == curve {
				continue
			}
			wrong := newKey(c)
			m := must(Parse(sign(key, encode(header{1: alg}), header{}, []byte("x")), Untagged))
			if err := m.Verify(&wrong.PublicKey, alg); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("%v with a key on %v: %v", alg, c.Params().Name, err)
			}
		}
	}
	if ForKey(nil) != 0 || ForKey(&newKey(elliptic.P224()).PublicKey) != 0 {
		t.Error("an algorithm for a key that has none")
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	key := newKey(elliptic.P384())
	protected := encode(header{1: -35})
	good := sign(key, protected, header{}, []byte("payload"))
	with := func(protected []byte, unprotected any) []byte { return sign(key, protected, unprotected, []byte("x")) }
	var parts []cbor.RawMessage
	if err := cbor.Unmarshal(good, &parts); err != nil {
		t.Fatal(err)
	}
	replace := func(i int, v any) []byte {
		p := append([]cbor.RawMessage{}, parts...)
		p[i] = encode(v)
		return encode(p)
	}
	tagged := append([]byte{0xD2}, good...)
	for _, tt := range []struct {
		name   string
		b      []byte
		form   Form
		reason string // empty if it is read
	}{
		{"untagged", good, Untagged, ""},
		{"tagged", tagged, Tagged, ""},
		{"either, untagged", good, Either, ""},
		{"either, tagged", tagged, Either, ""},
		{"key ID not protected", with(protected, header{4: []byte("x")}), Untagged, ""},
		{"key ID protected", with(encode(header{1: -35, 4: []byte("x")}), header{}), Untagged, ""},
		{"label of text", with(encode(header{1: -35, "x": 1}), header{"y": 2}), Untagged, ""},
		{"untagged for tagged", good, Tagged, "must have tag 18"},
		{"tagged for untagged", tagged, Untagged, "must have none"},
		{"no form", good, 0, "which form"},
		{"unknown form", good, 9, "which form"},
		{"tag 98", append([]byte{0xD8, 98}, good...), Either, "tag"},
		{"tag twice", append([]byte{0xD2}, tagged...), Either, "tag"},
		{"empty", nil, Either, "EOF"},
		{"tag alone", []byte{0xD2}, Either, "EOF"},
		{"null", []byte{0xF6}, Either, "array of 0"},
		{"empty array", []byte{0x80}, Either, "array of 0"},
		{"byte behind", append(bytes.Clone(good), 0), Either, "extraneous"},
		{"indefinite array", append(append([]byte{0x9F}, good[1:]...), 0xFF), Either, "indefinite"},
		{"protected a map", replace(0, header{1: -35}), Either, "protected header: "},
		{"protected empty", with([]byte{}, header{}), Either, "protected header: "},
		{"protected null inside", with([]byte{0xF6}, header{}), Either, "null"},
		{"protected an array inside", with([]byte{0x80}, header{}), Either, "protected header: "},
		{"protected with a byte behind", with(append(bytes.Clone(protected), 0), header{}), Either, "extraneous"},
		{"protected indefinite", with([]byte{0xBF, 1, 0x38, 34, 0xFF}, header{}), Either, "indefinite"},
		{"protected in a longer form", with([]byte{0xA1, 0x18, 1, 0x38, 34}, header{}), Either, "shortest form"},
		{"algorithm in a longer form", with([]byte{0xA1, 1, 0x39, 0, 34}, header{}), Either, "shortest form"},
		{"label twice", with([]byte{0xA2, 1, 0x38, 34, 1, 0x26}, header{}), Either, "duplicate"},
		{"label of bytes", with(encode(map[any]any{1: -35, cbor.ByteString("x"): 1}), header{}), Either, "must be an integer or text"},
		{"no algorithm", with(encode(header{4: []byte("x")}), header{}), Either, "no algorithm"},
		{"algorithm null", with(encode(header{1: nil}), header{}), Either, "must be an integer"},
		{"algorithm of text", with(encode(header{1: "ES384"}), header{}), Either, "must be an integer"},
		{"algorithm a float", with(encode(header{1: -35.5}), header{}), Either, "must be false, true or null"},
		{"algorithm too large", with(encode(header{1: uint64(1) << 63}), header{}), Either, ""},
		{"algorithm not protected", with(encode(header{}), header{1: -35}), Either, "in the unprotected header"},
		{"crit protected", with(encode(header{1: -35, 2: []int{1}}), header{}), Either, "critical"},
		{"crit empty", with(encode(header{1: -35, 2: []int{}}), header{}), Either, "critical"},
		{"crit not protected", with(protected, header{2: []int{1}}), Either, "critical"},
		{"unprotected null", with(protected, nil), Either, "null"},
		{"unprotected an array", with(protected, []int{}), Either, "unprotected header: "},
		{"payload null", replace(2, nil), Either, "payload: "},
		{"payload text", replace(2, "x"), Either, "payload: "},
		{"payload empty", replace(2, []byte{}), Either, "empty payload"},
		{"signature null", replace(3, nil), Either, "signature: "},
		{"signature empty", replace(3, []byte{}), Either, "signature of 0"},
		{"signature of 97 bytes", replace(3, make([]byte, 97)), Either, "signature of 97"},
		{"signature an array", replace(3, make([]int, 96)), Either, "signature: "},
		{"too large", make([]byte, MaxSize+1), Either, "at most 65536"},
		{"nested deeply", bytes.Repeat([]byte{0x81}, 1000), Either, "nested level"},
		{"array that claims much", []byte{0x9B, 0, 0, 0, 1, 0, 0, 0, 0}, Either, "max number of elements"},
		{"bytes that claim much", []byte{0x84, 0x5B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, Either, "EOF"},
		{"bytes that claim too much", []byte{0x84, 0x5B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, Either, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := Parse(tt.b, tt.form)
			if genuine := tt.reason == "" && !strings.Contains(tt.name, "too"); genuine != (err == nil) || genuine != (m != nil) {
				t.Fatalf("got %+v, %v", m, err)
			}
			if err != nil && (!errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), tt.reason)) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			if err == nil && m.Verify(&key.PublicKey, ES384) != nil {
				t.Error("does not verify")
			}
		})
	}
}

// TestBitFlips flips every bit of a message with ES256: none of them verifies.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	key := newKey(elliptic.P256())
	good := sign(key, encode(header{1: -7}), header{}, []byte("payload"))
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if m, err := Parse(bad, Either); err == nil && m.Verify(&key.PublicKey, ES256) == nil {
				t.Errorf("byte %d, bit %d flipped: accepted", i, bit)
			}
		}
	}
}

// seeds is what FuzzParse starts from.
func seeds() [][]byte {
	key := newKey(elliptic.P384())
	good := sign(key, encode(header{1: -35}), header{}, []byte("payload"))
	return [][]byte{
		good, append([]byte{0xD2}, good...),
		sign(key, encode(header{1: -7, "x": []int{1}}), header{4: []byte("id")}, encode(header{"a": 1, "b": []any{nil, true, "c"}})),
		sign(newKey(elliptic.P521()), encode(header{1: -36}), header{}, make([]byte, 300)),
	}
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	if len(seeds()) < 4 {
		t.Error("too few seeds")
	}
	for i, seed := range seeds() {
		if _, err := Parse(seed, Either); err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
	}
}

// FuzzParse encodes what was read anew: it must be the same bytes, but for the
// unprotected header, which is not kept. Parsing allocates at most 32 bytes for
// each of the input, and 64 KiB.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m *Sign1
		var err error
		fuzzcheck.Memory(t, 64<<10+32*len(data), func() { m, err = Parse(data, Either) })
		if (m == nil) != (err != nil) {
			t.Fatalf("message %v with error %v", m, err)
		}
		if err != nil {
			return
		}
		var parts []cbor.RawMessage
		if err := cbor.Unmarshal(bytes.TrimPrefix(data, []byte{0xD2}), &parts); err != nil {
			t.Fatal(err)
		}
		again := encode([]any{m.protected, parts[1], m.Payload, m.signature})
		if !bytes.Equal(again, bytes.TrimPrefix(data, []byte{0xD2})) {
			t.Fatal("encoding gives other bytes")
		}
		if !bytes.Equal(m.structure(), encode([]any{"Signature1", m.protected, []byte{}, m.Payload})) {
			t.Fatal("what is signed is encoded otherwise")
		}
	})
}
