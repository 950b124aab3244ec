package spec_test

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/wire"
)

var update = flag.Bool("update", false, "write the files in vectors/ anew")

// The vectors as they are in the files; vectors/README.md describes them.
type (
	messageVector struct {
		Message string   `json:"message"`
		Note    string   `json:"note,omitempty"`
		Fields  any      `json:"fields"`
		CBOR    hexBytes `json:"cbor"`
	}
	invalidVector struct {
		Message string   `json:"message"`
		Class   string   `json:"class"`
		Why     string   `json:"why"`
		Grammar bool     `json:"grammar"`
		CBOR    hexBytes `json:"cbor"`
	}
	hashVector struct {
		Of     string      `json:"of"`
		Hash   string      `json:"hash"`
		Label  string      `json:"label"`
		Fields []hashField `json:"fields"`
		Input  hexBytes    `json:"input"`
		Output hexBytes    `json:"output"`
	}
	hashField struct {
		Name  string   `json:"name"`
		Value hexBytes `json:"value"`
	}
	sealedVector struct {
		KEM        uint16   `json:"kem"`
		KDF        uint16   `json:"kdf"`
		AEAD       uint16   `json:"aead"`
		PrivateKey hexBytes `json:"private_key"`
		PublicKey  hexBytes `json:"public_key"`
		ReportData hexBytes `json:"report_data"`
		Info       hexBytes `json:"info"`
		Plaintext  hexBytes `json:"plaintext"`
		Sealed     hexBytes `json:"sealed"`
	}
)

type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) error {
	var err error
	*b, err = hex.DecodeString(string(text))
	return err
}

func messageVectors(t *testing.T) []messageVector {
	t.Helper()
	var list []messageVector
	for _, s := range samples {
		data, err := wire.Marshal(s.m)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, messageVector{name(t, s.m), s.note, readable(decode(data).([]any)[2]), data})
	}
	return list
}

// readable returns v with its byte strings as h'...', as in CBOR's diagnostic
// notation.
func readable(v any) any {
	switch v := v.(type) {
	case []byte:
		return "h'" + hex.EncodeToString(v) + "'"
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = readable(v[i])
		}
		return list
	case object:
		fields := map[string]any{}
		for key, value := range v {
			fields[key.(string)] = readable(value)
		}
		return fields
	}
	return v
}

func invalidVectors(t *testing.T) []invalidVector {
	t.Helper()
	var list []invalidVector
	for _, v := range invalids(t) {
		list = append(list, invalidVector{v.message, v.class, v.why, v.grammar, v.data})
	}
	return list
}

// hashVectors is written without package wire's hashes, so that they can be
// held against it.
func hashVectors() []hashVector {
	of := func(what, label, hash string, fields ...hashField) hashVector {
		input := lengthPrefixed([]byte(label))
		for _, f := range fields {
			input = append(input, lengthPrefixed(f.Value)...)
		}
		v := hashVector{Of: what, Hash: hash, Label: label, Fields: fields, Input: input}
		if hash == "sha512" {
			sum := sha512.Sum512(input)
			v.Output = sum[:]
		} else {
			sum := sha256.Sum256(input)
			v.Output = sum[:]
		}
		return v
	}
	invocationDigest := func(i wire.Invocation) hashVector {
		return of("invocation digest", "redoubt/1 invocation", "sha256", hashField{"invocation message", must(wire.Marshal(&i))})
	}
	configDigest := func(c wire.Configuration) hashVector {
		return of("configuration digest", "redoubt/1 configuration", "sha256", hashField{"configuration message", must(wire.Marshal(&c))})
	}
	configField := hashField{"configuration digest", configDigest(config).Output}
	provisionData := of("provision report data", "redoubt/1 report data: provision", "sha512",
		hashField{"nonce", nonce}, hashField{"hpke public key", hpkePublic}, configField)
	zero := hexBytes(make([]byte, 32))
	return []hashVector{
		invocationDigest(invocation),
		invocationDigest(bare),
		configDigest(config),
		configDigest(bareConfig),
		provisionData,
		of("provision report data", "redoubt/1 report data: provision", "sha512",
			hashField{"nonce", zero}, hashField{"hpke public key", make([]byte, wire.HPKEPublicKeySize)}, hashField{"configuration digest", zero}),
		of("workload report data", "redoubt/1 report data: workload", "sha512",
			hashField{"nonce", nonce}, hashField{"hpke public key", hpkePublic}, configField, hashField{"workload digest", workload[:]}),
		of("seal info", "redoubt/1 sealed provision", "sha256", hashField{"provision report data", provisionData.Output}),
	}
}

func lengthPrefixed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(b))), b...)
}

// wireHash computes v's output with package wire.
func wireHash(t *testing.T, v hashVector) []byte {
	t.Helper()
	field := func(i int) []byte { return v.Fields[i].Value }
	switch v.Of {
	case "invocation digest":
		var i wire.Invocation
		if err := wire.Unmarshal(field(0), &i); err != nil {
			t.Fatal(err)
		}
		d := must(i.Digest())
		return d[:]
	case "configuration digest":
		var c wire.Configuration
		if err := wire.Unmarshal(field(0), &c); err != nil {
			t.Fatal(err)
		}
		d := must(c.Digest())
		return d[:]
	case "provision report data":
		rd := wire.ProvisionReportData(field(0), field(1), wire.Digest(field(2)))
		return rd[:]
	case "workload report data":
		rd := wire.WorkloadReportData(field(0), field(1), wire.Digest(field(2)), wire.Digest(field(3)))
		return rd[:]
	case "seal info":
		return wire.SealInfo(wire.ReportData(field(0)))
	}
	t.Fatalf("no hash is called %q", v.Of)
	return nil
}

// newSealed returns the vector of a sealed provision. Sealing is randomised:
// the sealed bytes of old are kept if old is otherwise the same.
func newSealed(old sealedVector) sealedVector {
	rd := wire.ProvisionReportData(nonce, hpkePublic, must(config.Digest()))
	v := sealedVector{
		KEM:        hpke.MLKEM768X25519().ID(),
		KDF:        hpke.HKDFSHA256().ID(),
		AEAD:       hpke.AES256GCM().ID(),
		PrivateKey: hpkeSeed,
		PublicKey:  hpkePublic,
		ReportData: rd[:],
		Info:       wire.SealInfo(rd),
		Plaintext:  must(wire.Marshal(&provision)),
	}
	v.Sealed = old.Sealed
	if !bytes.Equal(must(json.Marshal(v)), must(json.Marshal(old))) || len(v.Sealed) == 0 {
		v.Sealed = must(hpke.Seal(hpkeKey().PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), v.Info, v.Plaintext))
	}
	return v
}

func vectorFile(name string) string { return filepath.Join("vectors", name) }

// render returns v as it is in a file.
func render(t *testing.T, v any) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// load reads a file of vectors.
func load[T any](t *testing.T, name string) T {
	t.Helper()
	data, err := os.ReadFile(vectorFile(name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func TestVectorsAreUpToDate(t *testing.T) {
	var old sealedVector
	if data, err := os.ReadFile(vectorFile("sealed.json")); err == nil {
		if err := json.Unmarshal(data, &old); err != nil && !*update {
			t.Fatal(err)
		}
	}
	for file, v := range map[string]any{
		"messages.json": messageVectors(t),
		"invalid.json":  invalidVectors(t),
		"hashes.json":   hashVectors(),
		"sealed.json":   newSealed(old),
	} {
		want := render(t, v)
		if *update {
			if err := os.WriteFile(vectorFile(file), want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(vectorFile(file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Errorf("vectors/%s is not what the samples give: look at the change, then run go test ./spec -update", file)
		}
	}
}

func TestMessageVectors(t *testing.T) {
	t.Parallel()
	grammar, types := grammar(t), messageTypes(t)
	for _, v := range load[[]messageVector](t, "messages.json") {
		m := types[v.Message]
		if m == nil {
			t.Errorf("%s: no such message", v.Message)
			continue
		}
		got := m()
		if err := wire.Unmarshal(v.CBOR, got); err != nil {
			t.Errorf("%s: %v", v.Note, err)
			continue
		}
		if again, err := wire.Marshal(got); err != nil || !bytes.Equal(again, v.CBOR) {
			t.Errorf("%s (%s): encodes to %x, %v; expected %x", v.Message, v.Note, again, err, []byte(v.CBOR))
		}
		if err := grammar.Validate(v.Message, v.CBOR); err != nil {
			t.Errorf("%s: %v", v.Note, err)
		}
		if err := grammar.Validate("redoubt-message", v.CBOR); err != nil {
			t.Errorf("%s: %v", v.Note, err)
		}
		fields := render(t, readable(decode(v.CBOR).([]any)[2]))
		if stored := render(t, v.Fields); !bytes.Equal(fields, stored) {
			t.Errorf("%s (%s): fields %s, the bytes say %s", v.Message, v.Note, stored, fields)
		}
	}
}

func TestInvalidVectors(t *testing.T) {
	t.Parallel()
	grammar, types := grammar(t), messageTypes(t)
	unused := map[string]bool{}
	for class := range classes {
		unused[class] = true
	}
	for _, v := range load[[]invalidVector](t, "invalid.json") {
		what := v.Message + ": " + v.Class + ": " + v.Why
		delete(unused, v.Class)
		err := wire.Unmarshal(v.CBOR, types[v.Message]())
		switch {
		case err == nil:
			t.Errorf("%s: wire accepts it", what)
		case classes[v.Class] == nil:
			t.Errorf("%s: the class is not known", what)
		case !classes[v.Class].MatchString(err.Error()):
			t.Errorf("%s: refused, but because: %v", what, err)
		}
		if err := grammar.Validate(v.Message, v.CBOR); (err != nil) != v.Grammar {
			t.Errorf("%s: the grammar says %v, the vector says refused: %t", what, err, v.Grammar)
		}
		// Who knows of no grammar must still not take it for well-formed and plain.
		if wf := cbor.Wellformed(v.CBOR); wf != nil && !v.Grammar {
			t.Errorf("%s: malformed, but the vector says that the grammar accepts it", what)
		}
	}
	for class := range unused {
		t.Errorf("no vector has the class %s", class)
	}
}

func TestHashVectors(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, v := range load[[]hashVector](t, "hashes.json") {
		seen[v.Of] = true
		if got := wireHash(t, v); !bytes.Equal(got, v.Output) {
			t.Errorf("%s: wire says %x, the vector %x", v.Of, got, []byte(v.Output))
		}
	}
	if len(seen) != 5 {
		t.Errorf("vectors of %d hashes, expected 5", len(seen))
	}
}

func TestSealedVector(t *testing.T) {
	t.Parallel()
	v := load[sealedVector](t, "sealed.json")
	key := must(must(hpke.NewKEM(v.KEM)).NewPrivateKey(v.PrivateKey))
	kdf, aead := must(hpke.NewKDF(v.KDF)), must(hpke.NewAEAD(v.AEAD))
	if !bytes.Equal(key.PublicKey().Bytes(), v.PublicKey) {
		t.Error("the public key is not that of the private key")
	}
	if info := wire.SealInfo(wire.ReportData(v.ReportData)); !bytes.Equal(info, v.Info) {
		t.Errorf("info %x, the vector says %x", info, []byte(v.Info))
	}
	plain, err := hpke.Open(key, kdf, aead, v.Info, v.Sealed)
	if err != nil || !bytes.Equal(plain, v.Plaintext) {
		t.Fatalf("opens to %x, %v; expected %x", plain, err, []byte(v.Plaintext))
	}
	if err := wire.Unmarshal(plain, &wire.Provision{}); err != nil {
		t.Error(err)
	}
	if err := wire.Unmarshal(must(wire.Marshal(&wire.ProvisionRequest{Sealed: v.Sealed})), &wire.ProvisionRequest{}); err != nil {
		t.Error(err)
	}

	other := wire.SealInfo(wire.ReportData(seq(64, 0)))
	if _, err := hpke.Open(key, kdf, aead, other, v.Sealed); err == nil {
		t.Error("opens for other report data")
	}
	for _, at := range []int{0, 1087, 1088, 1119, 1120, len(v.Sealed) - 1} {
		changed := bytes.Clone(v.Sealed)
		changed[at] ^= 1
		if _, err := hpke.Open(key, kdf, aead, v.Info, changed); err == nil {
			t.Errorf("opens with byte %d changed", at)
		}
		if _, err := hpke.Open(key, kdf, aead, v.Info, v.Sealed[:at]); err == nil {
			t.Errorf("opens cut to %d bytes", at)
		}
	}
}
