package ear_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/ear"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newEC(curve elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(curve, rand.Reader)) }

var keys = sync.OnceValue(func() map[string]crypto.Signer {
	_, ed := must2(ed25519.GenerateKey(rand.Reader))
	return map[string]crypto.Signer{"ES256": newEC(elliptic.P256()), "ES384": newEC(elliptic.P384()), "EdDSA": ed}
})

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func part(data string) string { return base64.RawURLEncoding.EncodeToString([]byte(data)) }

func decode(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSign(t *testing.T) {
	t.Parallel()
	for alg, key := range keys() {
		for _, r := range []*ear.Result{full(ear.Profile2023), full(ear.ProfileDraft05), contraindicated(ear.Profile2023)} {
			token, err := r.Sign(key)
			if err != nil {
				t.Fatal(alg, err)
			}
			segments := strings.Split(string(token), ".")
			if len(segments) != 3 || decode(t, segments[0]) != `{"alg":"`+alg+`","typ":"JWT"}` {
				t.Errorf("%s: %s", alg, token)
			}
			if size := len(decode(t, segments[2])); size != map[string]int{"ES256": 64, "ES384": 96, "EdDSA": 64}[alg] {
				t.Errorf("%s: signature of %d bytes", alg, size)
			}
			again, err := ear.Verify(token, key.Public(), issued.Add(time.Minute))
			if err != nil || !reflect.DeepEqual(again, r) {
				t.Errorf("%s: %+v, %v", alg, again, err)
			}
		}
	}
}

// The token of draft-ietf-rats-ear's appendix, and the key it is signed with.
const draftToken = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJlYXIucmF3L" +
	"WV2aWRlbmNlIjoiTnpRM01qWTVOek0yTlRZek56UUsiLCJlYXIudmVyaWZpZXItaWQiO" +
	"nsiYnVpbGQiOiJ2dHMgMC4wLjEiLCJkZXZlbG9wZXIiOiJodHRwczovL3ZlcmFpc29uL" +
	"XByb2plY3Qub3JnIn0sImVhdF9wcm9maWxlIjoidGFnOmdpdGh1Yi5jb20sMjAyMzp2Z" +
	"XJhaXNvbi9lYXIiLCJpYXQiOjEuNjY2NTI5MTg0ZSswOSwianRpIjoiNTViOGIzZmFkO" +
	"GRkMWQ4ZWFjNGU0OGYxMTdmZTUwOGIxMWY4NDRkOWYwMTg5YmZlZDliODc1MTVhNjc1N" +
	"DI2NCIsIm5iZiI6MTY3NzI0Nzg3OSwic3VibW9kcyI6eyJQQVJTRUNfVFBNIjp7ImVhc" +
	"i5hcHByYWlzYWwtcG9saWN5LWlkIjoiaHR0cHM6Ly92ZXJhaXNvbi5leGFtcGxlL3Bvb" +
	"GljeS8xLzYwYTAwNjhkIiwiZWFyLnN0YXR1cyI6ImFmZmlybWluZyIsImVhci50cnVzd" +
	"HdvcnRoaW5lc3MtdmVjdG9yIjp7ImV4ZWN1dGFibGVzIjoyLCJoYXJkd2FyZSI6Miwia" +
	"W5zdGFuY2UtaWRlbnRpdHkiOjJ9LCJlYXIudmVyYWlzb24ua2V5LWF0dGVzdGF0aW9uI" +
	"jp7ImFrcHViIjoiTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowREFRY0RRZ0FFY2pTc" +
	"DhfTVdNM2d5OFR1Z1dPMVRwUVNqX3ZJa3NMcEMtZzhsNVMzbHBHYjdQV1dHb0NBakVQO" +
	"F9BNTlWWndMWGd3b1p6TjBXeHVCUGpwYVdpV3NmQ1EifX19fQ.3Ym-f1LEgamxePUM7h" +
	"6Y2RJDGh9eeL0xKor0n1wE9jdAnLNwm3rTKFV2S2LbqVFoDtK9QGalT2t5RnUdfwZNmg"

func draftKey() *ecdsa.PublicKey {
	x, y := must(base64.RawURLEncoding.DecodeString("usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8")), must(base64.RawURLEncoding.DecodeString("IBOL-C3BttVivg-lSreASjpkttcsz-1rb7btKLv8EX4"))
	return must(ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y)))
}

func TestDraftToken(t *testing.T) {
	t.Parallel()
	now := time.Unix(1677247880, 0)
	r, err := ear.Verify([]byte(draftToken), draftKey(), now)
	if err != nil {
		t.Fatal(err)
	}
	want := &ear.Result{
		Profile: ear.Profile2023, Issued: issued, Verifier: verifier,
		Attesters: map[string]ear.Appraisal{"PARSEC_TPM": {
			Status: ear.Affirming, Policies: []string{policy}, Vector: ear.Vector{InstanceIdentity: 2, Executables: 2, Hardware: 2},
		}},
	}
	if r.Evidence = bytes.TrimSpace(r.Evidence); string(r.Evidence) != "74726973656374" {
		t.Errorf("evidence %q", r.Evidence)
	}
	if want.Evidence = r.Evidence; !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
	// Its nbf is later than its iat.
	if _, err := ear.Verify([]byte(draftToken), draftKey(), issued); !errors.Is(err, ear.ErrTime) || !strings.Contains(err.Error(), "not to be used before 2023-02-24") {
		t.Error(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	key := keys()["ES256"]
	expiring := contraindicated(ear.Profile2023)
	expiring.Expires = issued.Add(time.Hour)
	token := string(must(expiring.Sign(key)))
	s := strings.Split(token, ".")
	header, claims, signature := s[0], s[1], s[2]
	resign := func(header, claims string) string {
		signed := part(header) + "." + part(claims)
		sum := sha256.Sum256([]byte(signed))
		r, v := must2(ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:]))
		raw := make([]byte, 64)
		r.FillBytes(raw[:32])
		v.FillBytes(raw[32:])
		return signed + "." + part(string(raw))
	}
	const good = `{"alg":"ES256","typ":"JWT"}`
	if _, err := ear.Verify([]byte(resign(good, decode(t, claims))), key.Public(), issued); err != nil {
		t.Fatal(err)
	}
	spki := must(x509.MarshalPKIXPublicKey(key.Public()))
	mac := hmac.New(sha256.New, spki)
	hs256 := part(`{"alg":"HS256"}`) + "." + claims
	mac.Write([]byte(hs256))
	flip := func(s string) string { return s[:10] + string(s[10]^1) + s[11:] }
	raw := decode(t, signature)
	for _, tt := range []struct {
		name, token string
		key         crypto.PublicKey
		now         time.Time
		want        error
		reason      string
	}{
		{name: "alg none", token: part(`{"alg":"none"}`) + "." + claims + ".", want: ear.ErrSignature, reason: `"none"`},
		{name: "alg none with a signature", token: part(`{"alg":"none"}`) + "." + claims + "." + signature, want: ear.ErrSignature, reason: `"none"`},
		{name: "HMAC with the public key", token: hs256 + "." + part(string(mac.Sum(nil))), want: ear.ErrSignature, reason: `"HS256"`},
		{name: "ES384 of the same key", token: resign(`{"alg":"ES384"}`, decode(t, claims)), want: ear.ErrSignature, reason: `"ES384"`},
		{name: "alg in lower case", token: resign(`{"alg":"es256"}`, decode(t, claims)), want: ear.ErrSignature, reason: `"es256"`},
		{name: "no alg", token: resign(`{"typ":"JWT"}`, decode(t, claims)), want: ear.ErrSignature, reason: `""`},
		{name: "alg of a number", token: resign(`{"alg":1}`, decode(t, claims)), want: ear.ErrSignature, reason: `""`},
		{name: "alg in another case", token: resign(`{"Alg":"ES256"}`, decode(t, claims)), want: ear.ErrSignature, reason: `""`},
		{name: "alg twice", token: resign(`{"alg":"ES256","alg":"ES256"}`, decode(t, claims)), want: ear.ErrMalformed, reason: "twice"},
		{name: "critical parameter", token: resign(`{"alg":"ES256","crit":["x"]}`, decode(t, claims)), want: ear.ErrMalformed, reason: `"crit"`},
		{name: "claims not encoded", token: resign(`{"alg":"ES256","b64":false}`, decode(t, claims)), want: ear.ErrMalformed, reason: `"b64"`},
		{name: "compressed", token: resign(`{"alg":"ES256","zip":"DEF"}`, decode(t, claims)), want: ear.ErrMalformed, reason: `"zip"`},
		{name: "header of an array", token: resign(`[]`, decode(t, claims)), want: ear.ErrMalformed, reason: "header"},
		{name: "altered header", token: part(`{"alg":"ES256","typ":"JWS"}`) + "." + claims + "." + signature, want: ear.ErrSignature, reason: "not the key's"},
		{name: "altered claims", token: header + "." + part(strings.Replace(decode(t, claims), "contraindicated", "affirming", 1)) + "." + signature, want: ear.ErrSignature, reason: "not the key's"},
		{name: "altered signature", token: header + "." + claims + "." + part(flip(raw)), want: ear.ErrSignature, reason: "not the key's"},
		{name: "no signature", token: header + "." + claims + ".", want: ear.ErrSignature, reason: "not the key's"},
		{name: "short signature", token: header + "." + claims + "." + part(raw[:63]), want: ear.ErrSignature, reason: "not the key's"},
		{name: "long signature", token: header + "." + claims + "." + part(raw+"\x00"), want: ear.ErrSignature, reason: "not the key's"},
		{name: "zero signature", token: header + "." + claims + "." + part(strings.Repeat("\x00", 64)), want: ear.ErrSignature, reason: "not the key's"},
		{name: "two parts", token: header + "." + claims, want: ear.ErrMalformed, reason: "parts than 3"},
		{name: "four parts", token: token + ".", want: ear.ErrMalformed, reason: "parts than 3"},
		{name: "five parts", token: token + "." + part("x") + "." + part("y"), want: ear.ErrMalformed, reason: "parts than 3"},
		{name: "nothing", token: "", want: ear.ErrMalformed, reason: "parts than 3"},
		{name: "a line break behind", token: token + "\n", want: ear.ErrMalformed, reason: "part 3"},
		{name: "a line break inside", token: header[:4] + "\n" + header[4:] + "." + claims + "." + signature, want: ear.ErrMalformed, reason: "part 1"},
		{name: "padding", token: token + "=", want: ear.ErrMalformed, reason: "part 3"},
		{name: "the other alphabet", token: header + "." + claims + ".+/+/", want: ear.ErrMalformed, reason: "part 3"},
		{name: "too large", token: strings.Repeat("A", ear.MaxToken+1), want: ear.ErrMalformed, reason: "at most"},
		{name: "another key", token: token, key: newEC(elliptic.P256()).Public(), want: ear.ErrSignature, reason: "not the key's"},
		{name: "a key of another curve", token: token, key: keys()["ES384"].Public(), want: ear.ErrSignature, reason: "the key's ES384"},
		{name: "a key of another type", token: token, key: keys()["EdDSA"].Public(), want: ear.ErrSignature, reason: "the key's EdDSA"},
		{name: "RSA", token: token, key: &rsa.PublicKey{N: big.NewInt(15), E: 3}, want: ear.ErrSignature, reason: "*rsa.PublicKey"},
		{name: "P-521", token: token, key: newEC(elliptic.P521()).Public(), want: ear.ErrSignature, reason: "P-256 or P-384"},
		{name: "a short Ed25519 key", token: token, key: ed25519.PublicKey{1}, want: ear.ErrSignature, reason: "Ed25519"},
		{name: "a private key", token: token, key: key, want: ear.ErrSignature, reason: "*ecdsa.PrivateKey"},
		{name: "no key", token: token, key: ed25519.PublicKey(nil), want: ear.ErrSignature, reason: "Ed25519"},
		{name: "no time", token: token, now: time.Time{}.Add(-1).Add(1), want: ear.ErrTime, reason: "no time"},
		{name: "of the future", token: token, now: issued.Add(-ear.MaxSkew - time.Second), want: ear.ErrTime, reason: "in the future"},
		{name: "expired", token: token, now: issued.Add(time.Hour), want: ear.ErrTime, reason: "expired at"},
		{name: "not yet", token: resign(good, strings.Replace(example2023, `"iat"`, `"nbf": 1666530000, "iat"`, 1)), want: ear.ErrTime, reason: "not to be used before"},
		{name: "nbf of text", token: resign(good, strings.Replace(example2023, `"iat"`, `"nbf": "x", "iat"`, 1)), want: ear.ErrMalformed, reason: "nbf"},
		{name: "signed, without a profile", token: resign(good, `{}`), want: ear.ErrMalformed, reason: "eat_profile"},
		{name: "signed, too trustworthy", token: resign(good, strings.Replace(example2023, "contraindicated", "affirming", 1)), want: ear.ErrMalformed, reason: "status affirming"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.key == nil {
				tt.key = key.Public()
			}
			if tt.now.IsZero() && tt.name != "no time" {
				tt.now = issued.Add(time.Minute)
			}
			r, err := ear.Verify([]byte(tt.token), tt.key, tt.now)
			if r != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %+v, %v; want %v with %q", r, err, tt.want, tt.reason)
			}
		})
	}
	if _, err := ear.Verify([]byte(token), nil, issued); !errors.Is(err, ear.ErrSignature) {
		t.Error(err)
	}
	for _, now := range []time.Time{issued, issued.Add(-ear.MaxSkew), issued.Add(time.Hour - 1)} {
		if _, err := ear.Verify([]byte(token), key.Public(), now); err != nil {
			t.Error(now, err)
		}
	}
}

// TestFlips flips each bit of a token signed with ES256, and one of each byte with
// the others: none of them is accepted.
func TestFlips(t *testing.T) {
	t.Parallel()
	for alg, key := range keys() {
		token := must(contraindicated(ear.ProfileDraft05).Sign(key))
		for i := range token {
			for bit := range 8 {
				if (testing.Short() || alg != "ES256") && (i+bit)%8 != 0 {
					continue
				}
				bad := bytes.Clone(token)
				bad[i] ^= 1 << bit
				if r, err := ear.Verify(bad, key.Public(), issued); err == nil || r != nil {
					t.Errorf("%s: byte %d, bit %d: accepted", alg, i, bit)
				}
			}
		}
	}
}

// A badSigner is an ECDSA key whose signatures are something else.
type badSigner struct {
	crypto.Signer
	signature []byte
	err       error
}

func (b badSigner) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return b.signature, b.err
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	key := keys()["ES256"]
	lost := errors.New("the key is lost")
	for _, tt := range []struct {
		name   string
		r      *ear.Result
		key    crypto.Signer
		reason string
	}{
		{"zero", &ear.Result{}, key, "eat_profile"},
		{"P-224", contraindicated(ear.Profile2023), newEC(elliptic.P224()), "P-256 or P-384"},
		{"no signature", contraindicated(ear.Profile2023), badSigner{key, nil, lost}, "the key is lost"},
		{"signature of noise", contraindicated(ear.Profile2023), badSigner{key, []byte{1}, nil}, "no ECDSA signature"},
		{"signature of zeros", contraindicated(ear.Profile2023), badSigner{key, []byte{0x30, 6, 2, 1, 0, 2, 1, 0}, nil}, "no ECDSA signature"},
		{"signature of another curve", contraindicated(ear.Profile2023), badSigner{key, must(newEC(elliptic.P521()).Sign(rand.Reader, make([]byte, 64), crypto.SHA512)), nil}, "no ECDSA signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if token, err := tt.r.Sign(tt.key); token != nil || err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %s, %v; want an error with %q", token, err, tt.reason)
			}
		})
	}
}

// FuzzParse: what is read is written, and read again as the same.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ear.Parse(data)
		if (r == nil) != (err != nil) {
			t.Fatalf("%v with error %v", r, err)
		}
		if err != nil {
			return
		}
		claims, err := r.Claims()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ear.Parse(claims)
		if err != nil || again.Status() != r.Status() || !reflect.DeepEqual(again.Attesters, r.Attesters) {
			t.Fatalf("%s: %+v became %+v, %v", claims, r, again, err)
		}
		same, err := again.Claims()
		if err != nil || !bytes.Equal(same, claims) {
			t.Fatalf("%s became %s, %v", claims, same, err)
		}
	})
}

// FuzzVerify accepts nothing but its seed.
func FuzzVerify(f *testing.F) {
	f.Fuzz(func(t *testing.T, token []byte) {
		r, err := ear.Verify(token, draftKey(), time.Unix(1677247880, 0))
		if (r == nil) != (err != nil) {
			t.Fatalf("%v with error %v", r, err)
		}
		signed := draftToken[:strings.LastIndexByte(draftToken, '.')]
		if err == nil && !strings.HasPrefix(string(token), signed+".") {
			t.Fatalf("accepted what was never signed: %s", token)
		}
	})
}

// TestSeeds checks that each fuzz target starts from something, and with -update
// makes that.
func TestSeeds(t *testing.T) { //nolint:paralleltest // may write
	seeds := map[string][]byte{
		"FuzzParse/draft-05": []byte(example05), "FuzzParse/2023": []byte(example2023),
		"FuzzParse/draft-05-full": must(full(ear.ProfileDraft05).Claims()), "FuzzParse/2023-full": must(full(ear.Profile2023).Claims()),
		"FuzzVerify/draft": []byte(draftToken), "FuzzVerify/none": []byte(part(`{"alg":"none"}`) + "." + part(example2023) + "."),
	}
	for name, data := range seeds {
		file := filepath.Join("testdata/fuzz", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Contains(got, fmt.Appendf(nil, "%q", data)) {
			t.Errorf("%s: %v; run go test -run TestSeeds -update", file, err)
		}
	}
}

// TestMemory reads tokens that are made to take much.
func TestMemory(t *testing.T) { //nolint:paralleltest // counts all memory
	for name, claims := range map[string]string{
		"submods":   `{"eat_profile":"` + ear.ProfileDraft05 + `","submods":{` + strings.TrimSuffix(strings.Repeat(`"":{},`, 20000), ",") + "}}",
		"policies":  strings.Replace(example05, `["`+policy+`"]`, "["+strings.TrimSuffix(strings.Repeat(`"x",`, 20000), ",")+"]", 1),
		"nested":    `{"a":` + strings.Repeat("[", 50000),
		"long text": strings.Replace(example05, "vts", strings.Repeat("x", 100000), 1),
	} {
		used := fuzzcheck.Allocated(func() { _, _ = ear.Parse([]byte(claims)) })
		if used > 4<<20+32*len(claims) {
			t.Errorf("%s: %d bytes allocated for %d", name, used, len(claims))
		}
		t.Logf("%s: %d bytes allocated for %d", name, used, len(claims))
	}
}
