package cca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// simulated is a platform of the lab.
type simulated struct{ *teelab.Arm }

// lab returns a platform that all tests share.
var lab = sync.OnceValue(func() simulated { return simulated{must(teelab.NewArm())} })

func (s simulated) PEM() string { return keyPEM(&s.CPAK.PublicKey) }

func keyPEM(key any) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))}))
}

var (
	p224PEM = keyPEM(&ecKey(elliptic.P224()).PublicKey)
	p256PEM = keyPEM(&ecKey(elliptic.P256()).PublicKey)
	rsaPEM  = keyPEM(&must(rsa.GenerateKey(rand.Reader, 2048)).PublicKey)
)

func ecKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func split(token []byte) (platform, realm []byte) {
	var parts map[int64][]byte
	if err := cbor.Unmarshal(token[3:], &parts); err != nil {
		panic(err)
	}
	return parts[44234], parts[44241]
}

func collect(tag uint64, platform, realm []byte) []byte {
	return must(teelab.Collect(tag, platform, realm))
}

var (
	challenge = [64]byte{1, 2, 3}
	rim       = [32]byte{4, 5, 6}
)

func encode(v any) cbor.RawMessage { return must(must(cbor.CoreDetEncOptions().EncMode()).Marshal(v)) }

// TestGenuine has tokens of simulated hardware that verify, in each form.
func TestGenuine(t *testing.T) {
	t.Parallel()
	a := lab()
	for _, tt := range []struct {
		name  string
		fault func(*teelab.CCAToken)
		check func(*cca.Claims) bool
	}{
		{"as it is", func(*teelab.CCAToken) {}, func(c *cca.Claims) bool {
			return c.Platform.Profile == cca.PlatformProfile && c.Realm.Profile == cca.RealmProfile && c.Platform.Lifecycle.Secured() &&
				c.Realm.Challenge == challenge && bytes.Equal(c.Realm.RIM, rim[:]) && !c.Realm.Unmeasured() && c.Realm.Unpersonalized() &&
				bytes.Equal(c.Platform.InstanceID, a.InstanceID) && len(c.Platform.Components) == 2 && c.Platform.Components[1].Type == "RMM"
		}},
		{"CMW records", func(t *teelab.CCAToken) { t.Tag = 907 }, nil},
		{"legacy", func(t *teelab.CCAToken) { t.Legacy() }, func(c *cca.Claims) bool { return c.Platform.Profile == cca.LegacyProfile && c.Realm.Profile == "" }},
		{"legacy in CMW records", func(t *teelab.CCAToken) { t.Legacy(); t.Tag = 907 }, nil},
		{"bound by sha-384", func(t *teelab.CCAToken) { t.Realm[44240] = "sha-384"; t.Bind() }, func(c *cca.Claims) bool { return len(c.Platform.Challenge) == 48 }},
		{"bound by sha-512", func(t *teelab.CCAToken) { t.Realm[44240] = "sha-512"; t.Bind() }, nil},
		{"measured by sha-512", func(t *teelab.CCAToken) {
			m := bytes.Repeat([]byte{7}, 64)
			t.Realm[44236], t.Realm[44238], t.Realm[44239] = "sha-512", m, []any{m, m, m, m}
		}, func(c *cca.Claims) bool { return len(c.Realm.REMs[3]) == 64 }},
		{"not measured", func(t *teelab.CCAToken) { t.Realm[44238] = make([]byte, 32) }, func(c *cca.Claims) bool { return c.Realm.Unmeasured() }},
		{"personalized", func(t *teelab.CCAToken) { t.Realm[44235] = bytes.Repeat([]byte{9}, 64) }, func(c *cca.Claims) bool { return !c.Realm.Unpersonalized() }},
		{"assembly and test", func(t *teelab.CCAToken) { t.Platform[2395] = 0x1000 }, func(c *cca.Claims) bool {
			return c.Platform.Lifecycle.String() == "assembly_and_test" && !c.Platform.Lifecycle.Secured()
		}},
		{"debug", func(t *teelab.CCAToken) { t.Platform[2395] = 0x40FF }, func(c *cca.Claims) bool { return c.Platform.Lifecycle.Debug() }},
		{"root world debug", func(t *teelab.CCAToken) { t.Platform[2395] = 0x5001 }, func(c *cca.Claims) bool { return c.Platform.Lifecycle.Debug() }},
		{"decommissioned", func(t *teelab.CCAToken) { t.Platform[2395] = 0x6000 }, func(c *cca.Claims) bool { return c.Platform.Lifecycle.String() == "decommissioned" }},
		{"no verification service", func(t *teelab.CCAToken) { delete(t.Platform, 2400) }, func(c *cca.Claims) bool { return c.Platform.VerificationService == "" }},
		{"component with the platform's hash", func(t *teelab.CCAToken) {
			t.Platform[2399] = []any{map[int64]any{2: make([]byte, 32), 5: make([]byte, 48)}}
		}, func(c *cca.Claims) bool { return c.Platform.Components[0].HashAlgorithm == "sha-256" }},
		{"RAK with algorithm and key ID", func(t *teelab.CCAToken) {
			var key map[int64]any
			cbor.Unmarshal(t.Realm[44237].([]byte), &key)
			key[3], key[2] = -35, []byte("id")
			t.Realm[44237] = []byte(encode(key))
			t.Bind()
		}, nil},
		{"key ID in the header", func(t *teelab.CCAToken) { t.PlatformHeader.Unprotected = map[int64]any{4: []byte("id")} }, nil},
	} {
		c, err := cca.Verify(must(a.Evidence(challenge, rim, tt.fault)), cca.Collateral{}, []cca.Root{a.Root()}, nil, now)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !c.Dev || c.Root != a.Root().Name || tt.check != nil && !tt.check(c) {
			t.Errorf("%s: claims %+v", tt.name, c)
		}
	}
}

// TestCurves has platforms with keys on each curve.
func TestCurves(t *testing.T) {
	t.Parallel()
	for alg, curve := range map[int64]elliptic.Curve{-7: elliptic.P256(), -35: elliptic.P384(), -36: elliptic.P521()} {
		a := *lab().Arm
		a.CPAK = ecKey(curve)
		fault := func(t *teelab.CCAToken) { t.PlatformHeader = teelab.NewCOSEHeader(alg) }
		if _, err := cca.Verify(must(a.Evidence(challenge, rim, fault)), cca.Collateral{}, []cca.Root{a.Root()}, nil, now); err != nil {
			t.Errorf("%s: %v", curve.Params().Name, err)
		}
	}
}

// TestForged has tokens that are signed, and wrong for one reason each.
func TestForged(t *testing.T) {
	t.Parallel()
	a := lab()
	other := must(teelab.NewArm())
	otherPlatform, otherRealm := split(must(other.Evidence(challenge, rim)))
	platform, realm := split(must(a.Evidence(challenge, rim)))
	p := func(key int64, v any) func(*teelab.CCAToken) {
		return func(t *teelab.CCAToken) { t.Platform[key] = v }
	}
	noP := func(key int64) func(*teelab.CCAToken) { return func(t *teelab.CCAToken) { delete(t.Platform, key) } }
	r := func(key int64, v any) func(*teelab.CCAToken) {
		return func(t *teelab.CCAToken) {
			t.Realm[key] = v
			if key == 44237 { // so that it is not the binding that is wrong
				t.Bind()
			}
		}
	}
	noR := func(key int64) func(*teelab.CCAToken) { return func(t *teelab.CCAToken) { delete(t.Realm, key) } }
	component := func(key int64, v any) func(*teelab.CCAToken) {
		return func(t *teelab.CCAToken) {
			c := map[int64]any{1: "x", 2: make([]byte, 32), 5: make([]byte, 32)}
			c[key] = v
			if v == nil {
				delete(c, key)
			}
			t.Platform[2399] = []any{c}
		}
	}
	key := func(change func(map[int64]any)) func(*teelab.CCAToken) {
		return func(t *teelab.CCAToken) {
			var k map[int64]any
			cbor.Unmarshal(t.Realm[44237].([]byte), &k)
			change(k)
			t.Realm[44237] = []byte(encode(k))
			t.Bind()
		}
	}
	z := func(n int) []byte { return make([]byte, n) }
	rems := func(n int, v any) []any { return slices.Repeat([]any{v}, n) }
	p256 := ecKey(elliptic.P256())
	for _, tt := range []struct {
		name   string
		fault  func(*teelab.CCAToken)
		want   error
		reason string
	}{
		// Keys, algorithms and bindings.
		{"platform signed by another CPAK", func(t *teelab.CCAToken) { t.CPAK = other.CPAK }, cca.ErrSignature, "platform"},
		{"platform signed by the RAK", func(t *teelab.CCAToken) { t.CPAK = a.RAK }, cca.ErrSignature, "platform"},
		{"realm signed by another RAK", func(t *teelab.CCAToken) { t.RAK = other.RAK }, cca.ErrSignature, "realm"},
		{"realm signed by the CPAK", func(t *teelab.CCAToken) { t.RAK = a.CPAK }, cca.ErrSignature, "realm"},
		{"platform signed on P-256", func(t *teelab.CCAToken) { t.CPAK, t.PlatformHeader = p256, teelab.NewCOSEHeader(-7) }, cca.ErrSignature, "it is ES256, must be ES384"},
		{"platform says ES512", func(t *teelab.CCAToken) { t.PlatformHeader = teelab.NewCOSEHeader(-36) }, cca.ErrSignature, "it is ES512, must be ES384"},
		{"realm says ES256", func(t *teelab.CCAToken) { t.RealmHeader = teelab.NewCOSEHeader(-7) }, cca.ErrSignature, "it is ES256, must be ES384"},
		{"realm says HMAC", func(t *teelab.CCAToken) { t.RealmHeader = teelab.NewCOSEHeader(5) }, cca.ErrSignature, "COSE algorithm 5"},
		{"no algorithm", func(t *teelab.CCAToken) { t.PlatformHeader.Protected = encode(map[int64]any{}) }, cca.ErrToken, "no algorithm"},
		{"algorithm not protected", func(t *teelab.CCAToken) {
			t.PlatformHeader = teelab.COSEHeader{Protected: encode(map[int64]any{}), Unprotected: map[int64]any{1: -35}}
		}, cca.ErrToken, "in the unprotected header"},
		{"critical header", func(t *teelab.CCAToken) { t.RealmHeader.Protected = encode(map[int64]any{1: -35, 2: []any{99}, 99: 1}) }, cca.ErrToken, "critical"},
		{"challenge of another RAK", p(10, z(32)), cca.ErrBinding, "sha-256 of its key"},
		{"challenge cut", func(t *teelab.CCAToken) {
			t.Realm[44240] = "sha-512"
			t.Bind()
			t.Platform[10] = t.Platform[10].([]byte)[:32]
		}, cca.ErrBinding, "sha-512"},
		{"challenge by another hash", func(t *teelab.CCAToken) { t.Realm[44240] = "sha-384"; t.Bind(); t.Realm[44240] = "sha-256" }, cca.ErrBinding, "sha-256"},
		{"RAK replaced", key(func(k map[int64]any) {
			b := must(other.RAK.PublicKey.Bytes())
			k[-2], k[-3] = b[1:49], b[49:]
		}), cca.ErrSignature, "realm"},
		{"RAK replaced and not bound", func(t *teelab.CCAToken) {
			b := must(other.RAK.PublicKey.Bytes())
			t.Realm[44237], t.RAK = []byte(encode(map[int64]any{1: 2, -1: 2, -2: b[1:49], -3: b[49:]})), other.RAK
		}, cca.ErrBinding, "sha-256"},

		// Profiles.
		{"unknown platform profile", p(265, "tag:arm.com,2024:cca_platform#2.0.0"), cca.ErrProfile, "platform"},
		{"PSA profile", p(265, "http://arm.com/psa/2.0.0"), cca.ErrProfile, "platform"},
		{"no platform profile", noP(265), cca.ErrToken, "profile (265) is missing"},
		{"unknown realm profile", r(265, "tag:arm.com,2024:realm#2.0.0"), cca.ErrProfile, "realm"},
		{"no realm profile", noR(265), cca.ErrProfile, "realm"},
		{"legacy platform, realm with a profile", p(265, cca.LegacyProfile), cca.ErrProfile, "realm"},
		{"legacy realm, platform with a profile", func(t *teelab.CCAToken) { t.Legacy(); t.Platform[265] = cca.PlatformProfile }, cca.ErrProfile, "realm"},
		{"profile of the realm for the platform", p(265, cca.RealmProfile), cca.ErrProfile, "platform"},

		// Claims of the platform.
		{"no challenge", noP(10), cca.ErrToken, "challenge (10) is missing"},
		{"challenge of 31 bytes", p(10, z(31)), cca.ErrToken, "challenge (10) has 31 bytes"},
		{"challenge of text", p(10, strings.Repeat("x", 32)), cca.ErrToken, "must be a byte string"},
		{"no implementation ID", noP(2396), cca.ErrToken, "implementation ID (2396) is missing"},
		{"implementation ID of 33 bytes", p(2396, z(33)), cca.ErrToken, "implementation ID (2396) has 33"},
		{"no instance ID", noP(256), cca.ErrToken, "instance ID (256) is missing"},
		{"instance ID of 32 bytes", p(256, z(32)), cca.ErrToken, "instance ID (256) has 32"},
		{"instance ID of another type", p(256, append([]byte{2}, z(32)...)), cca.ErrToken, "begins with 0x02"},
		{"no config", noP(2401), cca.ErrToken, "config (2401) is missing"},
		{"no life cycle", noP(2395), cca.ErrToken, "life cycle (2395) is missing"},
		{"life cycle between states", p(2395, 0x3100), cca.ErrToken, "which is no state"},
		{"life cycle above states", p(2395, 0x7000), cca.ErrToken, "which is no state"},
		{"life cycle over 16 bits", p(2395, 0x13000), cca.ErrToken, "which is no state"},
		{"life cycle negative", p(2395, -1), cca.ErrToken, "must be an unsigned integer"},
		{"life cycle of null", p(2395, nil), cca.ErrToken, "must be an unsigned integer"},
		{"life cycle as float", p(2395, cbor.RawMessage{0xF9, 0x6A, 0x00}), cca.ErrToken, "must be false, true or null"},
		{"no hash algorithm", noP(2402), cca.ErrToken, "hash algorithm (2402) is missing"},
		{"empty hash algorithm", p(2402, ""), cca.ErrToken, "hash algorithm (2402) is empty"},
		{"no components", noP(2399), cca.ErrToken, "software components (2399) is missing"},
		{"components empty", p(2399, []any{}), cca.ErrToken, "must be at least one"},
		{"components null", p(2399, nil), cca.ErrToken, "must be an array"},
		{"component without measurement", component(2, nil), cca.ErrToken, "measurement (2) is missing"},
		{"component without signer", component(5, nil), cca.ErrToken, "signer (5) is missing"},
		{"component's measurement of 64 bytes for sha-256", component(2, z(64)), cca.ErrToken, "measurement (2) has 64"},
		{"component's signer of 20 bytes", component(5, z(20)), cca.ErrToken, "signer (5) has 20"},
		{"component with another claim", component(3, z(20)), cca.ErrToken, "claim 3 does not belong"},
		{"component not a map", p(2399, []any{1}), cca.ErrToken, "software component 0"},
		{"verification service empty", p(2400, ""), cca.ErrToken, "verification service (2400) is empty"},
		{"platform with another claim", p(2397, 1), cca.ErrToken, "claim 2397 does not belong"},
		{"platform with the realm's claim", p(44238, z(32)), cca.ErrToken, "claim 44238 does not belong"},

		// Claims of the realm.
		{"no realm challenge", noR(10), cca.ErrToken, "realm: challenge (10) is missing"},
		{"realm challenge of 32 bytes", r(10, z(32)), cca.ErrToken, "challenge (10) has 32"},
		{"realm challenge of 65 bytes", r(10, z(65)), cca.ErrToken, "challenge (10) has 65"},
		{"no RPV", noR(44235), cca.ErrToken, "personalization value (44235) is missing"},
		{"RPV of 63 bytes", r(44235, z(63)), cca.ErrToken, "personalization value (44235) has 63"},
		{"no RIM", noR(44238), cca.ErrToken, "initial measurement (44238) is missing"},
		{"RIM of 48 bytes for sha-256", r(44238, z(48)), cca.ErrToken, "initial measurement (44238) has 48"},
		{"RIM empty", r(44238, z(0)), cca.ErrToken, "initial measurement (44238) has 0"},
		{"no REMs", noR(44239), cca.ErrToken, "extensible measurements (44239) is missing"},
		{"three REMs", r(44239, rems(3, z(32))), cca.ErrToken, "are 3, must be 4"},
		{"five REMs", r(44239, rems(5, z(32))), cca.ErrToken, "are 5, must be 4"},
		{"REMs of 64 bytes", r(44239, rems(4, z(64))), cca.ErrToken, "extensible measurement 0"},
		{"REMs null", r(44239, rems(4, nil)), cca.ErrToken, "extensible measurement 0"},
		{"no realm hash algorithm", noR(44236), cca.ErrToken, "hash algorithm (44236) is missing"},
		{"realm hash sha-1", r(44236, "sha-1"), cca.ErrToken, "must be sha-256, sha-384 or sha-512"},
		{"no RAK", noR(44237), cca.ErrToken, "public key (44237) is missing"},
		{"no RAK hash", noR(44240), cca.ErrToken, "hash algorithm of the public key (44240) is missing"},
		{"RAK hash sha-224", r(44240, "sha-224"), cca.ErrToken, "must be sha-256"},
		{"realm with another claim", r(44243, 0), cca.ErrToken, "claim 44243 does not belong"},
		{"raw RAK with a profile", r(44237, must(a.RAK.PublicKey.Bytes())), cca.ErrToken, "public key (44237)"},
		{"COSE_Key in the legacy profile", func(t *teelab.CCAToken) {
			k := t.Realm[44237]
			t.Legacy()
			t.Realm[44237] = k
			t.Bind()
		}, cca.ErrToken, "public key (44237)"},
		{"raw RAK off the curve", func(t *teelab.CCAToken) {
			t.Legacy()
			t.Realm[44237] = bytes.Repeat([]byte{4}, 97)
			t.Bind()
		}, cca.ErrToken, "not on curve"},
		{"raw RAK compressed", func(t *teelab.CCAToken) {
			t.Legacy()
			t.Realm[44237] = elliptic.MarshalCompressed(elliptic.P384(), a.RAK.X, a.RAK.Y)
			t.Bind()
		}, cca.ErrToken, "public key (44237)"},
		{"RAK of another type", key(func(k map[int64]any) { k[1] = 1 }), cca.ErrToken, "type (1) is 1"},
		{"RAK on P-256", key(func(k map[int64]any) { k[-1] = 1 }), cca.ErrToken, "curve (-1) is 1"},
		{"RAK for ES256", key(func(k map[int64]any) { k[3] = -7 }), cca.ErrToken, "algorithm (3) is -7"},
		{"RAK with a private part", key(func(k map[int64]any) { k[-4] = z(48) }), cca.ErrToken, "claim -4 does not belong"},
		{"RAK without y", key(func(k map[int64]any) { delete(k, int64(-3)) }), cca.ErrToken, "y (-3) is missing"},
		{"RAK with the sign of y", key(func(k map[int64]any) { k[-3] = true }), cca.ErrToken, "must be a byte string"},
		{"RAK with x of 32 bytes", key(func(k map[int64]any) { k[-2] = z(32) }), cca.ErrToken, "x (-2) has 32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, must(a.Evidence(challenge, rim, tt.fault)), a.Root(), tt.want, tt.reason)
		})
	}

	// Collections.
	reordered := append([]byte{0xD9, 1, 0x8F, 0xA2}, slices.Concat(encode(44241), encode(realm), encode(44234), encode(platform))...)
	check(t, reordered, a.Root(), nil, "")
	for _, tt := range []struct {
		name   string
		token  []byte
		want   error
		reason string
	}{
		{"platform of another machine", collect(399, otherPlatform, realm), cca.ErrSignature, "platform"},
		{"realm of another machine", collect(399, platform, otherRealm), cca.ErrBinding, "sha-256"},
		{"parts swapped", collect(399, realm, platform), cca.ErrProfile, "platform"},
		{"platform twice", collect(399, platform, platform), cca.ErrProfile, "realm"},
		{"realm twice", collect(399, realm, realm), cca.ErrProfile, "platform"},
		{"no tag", encode(map[int64]any{44234: platform, 44241: realm}), cca.ErrToken, "must have tag 399 or 907"},
		{"another tag", collect(400, platform, realm), cca.ErrToken, "must have tag 399 or 907"},
		{"tag twice", append([]byte{0xD9, 1, 0x8F}, collect(399, platform, realm)...), cca.ErrToken, "tag"},
		{"tag in a longer form", append([]byte{0xDA, 0, 0}, collect(399, platform, realm)[1:]...), cca.ErrToken, "must have tag 399 or 907"},
		{"byte strings with tag 907", append([]byte{0xD9, 3, 0x8B}, collect(399, platform, realm)[3:]...), cca.ErrToken, "CMW record"},
		{"CMW records with tag 399", append([]byte{0xD9, 1, 0x8F}, collect(907, platform, realm)[3:]...), cca.ErrToken, "must be a byte string"},
		{"CMW record of another format", encode(cbor.Tag{Number: 907, Content: map[int64]any{44234: []any{60, platform}, 44241: []any{263, realm}}}), cca.ErrToken, "content format"},
		{"CMW record with indicator", encode(cbor.Tag{Number: 907, Content: map[int64]any{44234: []any{263, platform, 4}, 44241: []any{263, realm}}}), cca.ErrToken, "CMW record"},
		{"no platform token", encode(cbor.Tag{Number: 399, Content: map[int64]any{44241: realm}}), cca.ErrToken, "without a platform token"},
		{"no realm token", encode(cbor.Tag{Number: 399, Content: map[int64]any{44234: platform}}), cca.ErrToken, "without a realm token"},
		{"three parts", encode(cbor.Tag{Number: 399, Content: map[int64]any{44234: platform, 44241: realm, 44258: realm}}), cca.ErrToken, "collection of 3 parts"},
		{"platform token twice", slices.Concat([]byte{0xD9, 1, 0x8F, 0xA3}, encode(44234), encode(platform), encode(44234), encode(platform), encode(44241), encode(realm)), cca.ErrToken, "duplicate"},
		{"indefinite length", slices.Concat([]byte{0xD9, 1, 0x8F, 0xBF}, encode(44234), encode(platform), encode(44241), encode(realm), []byte{0xFF}), cca.ErrToken, "indefinite"},
		{"key in a longer form", slices.Concat([]byte{0xD9, 1, 0x8F, 0xA2, 0x1A, 0, 0}, encode(44234)[1:], encode(platform), encode(44241), encode(realm)), cca.ErrToken, "shortest form"},
		{"token without tag 18", collect(399, platform[1:], realm), cca.ErrToken, "must have tag 18"},
		{"token with a byte behind", collect(399, append(bytes.Clone(platform), 0), realm), cca.ErrToken, "extraneous"},
		{"array for a collection", encode(cbor.Tag{Number: 399, Content: []any{platform, realm}}), cca.ErrToken, "collection"},
		{"too large", append(collect(399, platform, realm), make([]byte, cca.MaxToken)...), cca.ErrToken, "at most 65536"},
		{"a Nitro document's first bytes", []byte{0x84, 0x44, 0xA1, 0x01, 0x38, 0x22, 0xA0}, cca.ErrToken, "must have tag 399 or 907"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, tt.token, a.Root(), tt.want, tt.reason)
		})
	}
}

// check verifies a token twice, the second time with what the first remembered.
func check(t *testing.T, token []byte, root cca.Root, want error, reason string) {
	t.Helper()
	seen := new(pki.Seen)
	for range 2 {
		c, err := cca.Verify(token, cca.Collateral{}, []cca.Root{root}, seen, now)
		if !errors.Is(err, want) || (c == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("got %v, want %v, %q", err, want, reason)
		}
	}
}

// TestBitFlips flips a bit in each byte of a token in the current profile: none of
// them is accepted.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	a := lab()
	token := must(a.Evidence(challenge, rim))
	for i := range token {
		bad := bytes.Clone(token)
		bad[i] ^= 1 << (i % 8)
		if c, err := cca.Verify(bad, cca.Collateral{}, []cca.Root{a.Root()}, nil, now); err == nil || c != nil {
			t.Errorf("byte %#x flipped: accepted", i)
		}
	}
}
