package cca_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

func vector(t *testing.T, name string) []byte {
	t.Helper()
	return vectors.Read(t, "cca/"+name)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// TestVectors is the verdicts of the vectors' README.md, with the test key in
// both of its forms.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"cca_platform.pub", "cpak-pub.json"} {
		root, err := cca.ParseRoot(vector(t, root))
		if err != nil {
			t.Fatal(err)
		}
		if !root.Dev || !strings.HasPrefix(root.Name, "published test CPAK 0928f896") {
			t.Errorf("root %+v", root)
		}
		for _, tt := range []struct {
			name       string
			unmeasured bool
			components int
			challenge  string
			service    string
		}{
			{"cca_token.cbor", true, 4, "\xAB\xAB", "whatever.com"},
			{"cca-example-token.cbor", false, 13, "W\xE9", "https://veraison.example/.well-known/veraison/verification"},
		} {
			for _, seen := range []*pki.Seen{nil, new(pki.Seen)} {
				c, err := cca.Verify(vector(t, tt.name), cca.Collateral{}, []cca.Root{root}, seen, now)
				if err != nil {
					t.Fatal(tt.name, err)
				}
				p, r := c.Platform, c.Realm
				if !c.Dev || c.Root != root.Name || c.Collateral != nil || c.Unchecked != nil {
					t.Errorf("%s: claims %+v", tt.name, c)
				}
				if p.Profile != cca.LegacyProfile || p.Lifecycle != 0x3003 || !p.Lifecycle.Secured() || p.Lifecycle.Debug() || p.Lifecycle.String() != "secured" ||
					len(p.Components) != tt.components || p.VerificationService != tt.service || p.InstanceID[1] != 7 || len(p.ImplementationID) != 32 {
					t.Errorf("%s: platform %+v", tt.name, p)
				}
				if r.Unmeasured() != tt.unmeasured || !bytes.HasPrefix(r.Challenge[:], []byte(tt.challenge)) || r.Unpersonalized() == tt.unmeasured || r.Profile != "" || len(r.REMs[3]) != len(r.RIM) {
					t.Errorf("%s: realm %+v", tt.name, r)
				}
			}
		}
	}
}

// TestVectorRoots gives a genuine token roots that don't fit, and marks the test
// key as Dev whatever the caller says.
func TestVectorRoots(t *testing.T) {
	t.Parallel()
	token := vector(t, "cca_token.cbor")
	genuine := must(cca.ParseRoot(vector(t, "cca_platform.pub")))
	parsed := must(cca.Parse(token))
	with := func(change func(*cca.Root)) cca.Root {
		root := genuine
		change(&root)
		return root
	}
	other := bytes.Clone(parsed.Platform.InstanceID)
	other[5] ^= 1
	stranger := lab().Root()
	for _, tt := range []struct {
		name   string
		roots  []cca.Root
		at     time.Time
		want   error // nil if it verifies
		reason string
	}{
		{"called real", []cca.Root{with(func(r *cca.Root) { r.Dev = false })}, now, nil, ""},
		{"bound to the instance", []cca.Root{with(func(r *cca.Root) { r.InstanceID = parsed.Platform.InstanceID })}, now, nil, ""},
		{"bound to both", []cca.Root{with(func(r *cca.Root) {
			r.InstanceID, r.ImplementationID = parsed.Platform.InstanceID, parsed.Platform.ImplementationID
		})}, now, nil, ""},
		{"second of two", []cca.Root{stranger, genuine}, now, nil, ""},
		{"no such key", []cca.Root{stranger}, now, cca.ErrRoot, "none of the 1 given signed it"},
		{"no such key, and the signature says so", []cca.Root{stranger}, now, cca.ErrSignature, "not made by this key"},
		{"no roots", nil, now, cca.ErrRoot, "no roots were given"},
		{"root without key", []cca.Root{{Name: "x"}}, now, cca.ErrRoot, "has no key"},
		{"root without key behind a good one", []cca.Root{with(func(r *cca.Root) { r.InstanceID = other }), {Name: "x"}}, now, cca.ErrRoot, "has no key"},
		{"bound to another instance", []cca.Root{with(func(r *cca.Root) { r.InstanceID = other })}, now, cca.ErrRoot, "is for instance"},
		{"bound to another implementation", []cca.Root{with(func(r *cca.Root) { r.ImplementationID = make([]byte, 32) })}, now, cca.ErrRoot, "is for instance"},
		{"instance ID too short", []cca.Root{with(func(r *cca.Root) { r.InstanceID = other[:32] })}, now, cca.ErrRoot, "must have 33"},
		{"instance ID empty", []cca.Root{with(func(r *cca.Root) { r.InstanceID = []byte{} })}, now, cca.ErrRoot, "must have 33"},
		{"implementation ID too long", []cca.Root{with(func(r *cca.Root) { r.ImplementationID = other })}, now, cca.ErrRoot, "must have 32"},
		{"no time", []cca.Root{genuine}, time.Time{}, cca.ErrTime, ""},
	} {
		c, err := cca.Verify(token, cca.Collateral{}, tt.roots, nil, tt.at)
		if !errors.Is(err, tt.want) || (c == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: got %v, want %v, %q", tt.name, err, tt.want, tt.reason)
		}
		if err == nil && !c.Dev {
			t.Errorf("%s: claims under the test key are not marked", tt.name)
		}
	}
}

// TestVectorCrossed puts the parts of two genuine tokens together. Both are of one
// platform with one RAK, which is what binds them: so they verify.
func TestVectorCrossed(t *testing.T) {
	t.Parallel()
	root := must(cca.ParseRoot(vector(t, "cca_platform.pub")))
	p1, r1 := split(vector(t, "cca_token.cbor"))
	p2, r2 := split(vector(t, "cca-example-token.cbor"))
	for _, pair := range [][2][]byte{{p1, r2}, {p2, r1}} {
		if _, err := cca.Verify(collect(399, pair[0], pair[1]), cca.Collateral{}, []cca.Root{root}, nil, now); err != nil {
			t.Error(err)
		}
	}
	if c, err := cca.Verify(collect(399, r1, p1), cca.Collateral{}, []cca.Root{root}, nil, now); !errors.Is(err, cca.ErrToken) || c != nil {
		t.Errorf("swapped: got %v", err)
	}
}

// TestVectorBitFlips flips every bit of one genuine token, and a bit in each byte
// of another (-short: in each seventh): none of them is accepted.
func TestVectorBitFlips(t *testing.T) {
	t.Parallel()
	root := must(cca.ParseRoot(vector(t, "cca_platform.pub")))
	for _, tt := range []struct {
		name string
		bits int
	}{{"cca_token.cbor", 8}, {"cca-example-token.cbor", 1}} {
		token := vector(t, tt.name)
		step := 1
		if testing.Short() {
			step, tt.bits = 7, 1
		}
		seen := new(pki.Seen) // the platform token is verified once for all flips in the realm token
		for i := 0; i < len(token); i += step {
			for bit := range tt.bits {
				bad := bytes.Clone(token)
				bad[i] ^= 1 << ((i + bit) % 8)
				if c, err := cca.Verify(bad, cca.Collateral{}, []cca.Root{root}, seen, now); err == nil || c != nil {
					t.Errorf("%s: byte %#x, bit %d flipped: accepted", tt.name, i, (i+bit)%8)
				}
			}
		}
	}
}

// TestVectorTrailing cuts and lengthens genuine tokens.
func TestVectorTrailing(t *testing.T) {
	t.Parallel()
	root := must(cca.ParseRoot(vector(t, "cca_platform.pub")))
	token := vector(t, "cca_token.cbor")
	for _, bad := range [][]byte{append(bytes.Clone(token), 0), append(bytes.Clone(token), token...), token[:len(token)-1], token[1:], nil} {
		if c, err := cca.Verify(bad, cca.Collateral{}, []cca.Root{root}, nil, now); !errors.Is(err, cca.ErrToken) || c != nil {
			t.Errorf("%d bytes: got %v", len(bad), err)
		}
	}
	for n := range len(token) {
		if _, err := cca.Parse(token[:n]); !errors.Is(err, cca.ErrToken) {
			t.Fatalf("%d bytes: got %v", n, err)
		}
	}
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	jwk := func(change func(map[string]any)) string {
		m := map[string]any{
			"kty": "EC", "crv": "P-384",
			"x": "IShnxS4rlQiwpCCpBWDzlNLfqiG911FP8akBr-fh94uxHU5m-Kijivp2r2oxxN6M",
			"y": "hM4tr8mWQli1P61xh3T0ViDREbF26DGOEYfbAjWjGNN7pZf-6A4OTHYqEryz6m7U",
		}
		change(m)
		return string(must(json.Marshal(m)))
	}
	set := func(name string, value any) string { return jwk(func(m map[string]any) { m[name] = value }) }
	drop := func(name string) string { return jwk(func(m map[string]any) { delete(m, name) }) }
	good := jwk(func(map[string]any) {})
	key := lab().PEM()
	for _, tt := range []struct {
		name, data string
		reason     string // empty if it is read
	}{
		{"JWK", good, ""},
		{"JWK with spaces", " \n" + good + "\n", ""},
		{"JWK with kid, use and alg", jwk(func(m map[string]any) { m["kid"], m["use"], m["alg"] = "1", "sig", "ES384" }), ""},
		{"PEM", key, ""},
		{"P-256", p256PEM, ""},
		{"empty", "", "must be a PEM block PUBLIC KEY or a JWK"},
		{"text", "hello", "must be a PEM block PUBLIC KEY or a JWK"},
		{"JWK with a private part", set("d", "AAAA"), "it has a private key"},
		{"JWK with private part empty", set("d", ""), "it has a private key"},
		{"JWK twice kty", `{"kty":"EC","kty":"EC"}`, `the name "kty" twice`},
		{"JWK twice by escapes", `{"kty":"EC","k\u0074y":"EC"}`, `the name "kty" twice`},
		{"JWK with something behind", good + "{}", "something behind"},
		{"JWK cut", good[:len(good)-1], "EOF"},
		{"JWK with an unknown member", set("oth", "x"), "unknown member"},
		{"JWK with members in upper case", set("KTY", "EC"), "unknown member"},
		{"JWK with a number", set("kid", 1), "must be a text"},
		{"JWK of RSA", set("kty", "RSA"), "must be EC"},
		{"JWK without kty", drop("kty"), "must be EC"},
		{"JWK on another curve", set("crv", "secp256k1"), "must be P-256, P-384 or P-521"},
		{"JWK called P-256", set("crv", "P-256"), "must be 32 bytes"},
		{"JWK for encryption", set("use", "enc"), "must be sig"},
		{"JWK for ES256", set("alg", "ES256"), "must be ES384"},
		{"JWK without x", drop("x"), "x must be 48 bytes"},
		{"JWK with padding", set("x", "AA=="), "x must be 48 bytes"},
		{"JWK off the curve", set("y", "IShnxS4rlQiwpCCpBWDzlNLfqiG911FP8akBr-fh94uxHU5m-Kijivp2r2oxxN6M"), "not on curve"},
		{"JWK set", `{"keys":[]}`, "must be a text"},
		{"two PEM blocks", key + key, "exactly one PEM block"},
		{"PEM of a private key", strings.ReplaceAll(key, "PUBLIC", "PRIVATE"), "exactly one PEM block"},
		{"PEM cut", key[:len(key)-10], "exactly one PEM block"},
		{"PEM of RSA", rsaPEM, "must be an ECDSA key"},
		{"PEM of P-224", p224PEM, "has no key on"},
		{"too large", strings.Repeat("{", 20<<10), "at most 16384"},
	} {
		root, err := cca.ParseRoot([]byte(tt.data))
		if tt.reason != "" {
			if !errors.Is(err, cca.ErrRoot) || !strings.Contains(err.Error(), tt.reason) || root.Key != nil {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.reason)
			}
			continue
		}
		if err != nil || root.Key == nil || root.Dev != strings.HasPrefix(tt.name, "JWK") || root.Name == "" {
			t.Errorf("%s: got %+v, %v", tt.name, root, err)
		}
	}
}
