package oracles

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/ccatoken"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
)

// ccaVerdict asks ccatoken: that the claims are as specified, and that the
// signatures and what binds the two tokens are right.
func ccaVerdict(token []byte, key *ecdsa.PublicKey) verdict {
	var v verdict
	v.err = caught(func() error {
		evidence, err := ccatoken.DecodeAndValidateEvidenceFromCBOR(token)
		if err != nil {
			return err
		}
		v.claims = ccaClaims(evidence)
		return evidence.Verify(key)
	})
	return v
}

func ccaClaims(e *ccatoken.Evidence) map[string]string {
	text := func(v any, err error) string {
		if err != nil {
			return "none"
		}
		return fmt.Sprintf("%x", v)
	}
	p, r := e.PlatformClaims, e.RealmClaims
	claims := make(map[string]string)
	set := func(name string) func(any, error) {
		return func(v any, err error) { claims[name] = text(v, err) }
	}
	profile, err := p.GetProfile()
	set("profile")(profile, err)
	implementation, err := p.GetImplID()
	set("implementation")(implementation, err)
	instance, err := p.GetInstID()
	set("instance")(instance, err)
	nonce, err := p.GetNonce()
	set("platform challenge")(nonce, err)
	config, err := p.GetConfig()
	set("config")(config, err)
	hash, err := p.GetHashAlgID()
	set("platform hash")(hash, err)
	life, err := p.GetSecurityLifeCycle()
	set("life cycle")(life, err)
	challenge, err := r.GetChallenge()
	set("challenge")(challenge, err)
	person, err := r.GetPersonalizationValue()
	set("personalization")(person, err)
	rim, err := r.GetInitialMeasurement()
	set("RIM")(rim, err)
	rems, err := r.GetExtensibleMeasurements()
	set("REMs")(rems, err)
	realmHash, err := r.GetHashAlgID()
	set("realm hash")(realmHash, err)
	key, err := r.GetPubKey()
	set("RAK")(key, err)
	if components, err := p.GetSoftwareComponents(); err == nil {
		var all []byte
		for _, c := range components {
			if value, err := c.GetMeasurementValue(); err == nil {
				all = append(all, value...)
			}
		}
		claims["components"] = fmt.Sprintf("%x", all)
	}
	return claims
}

func ccaOurs(v *attest.Verifier, token []byte, at time.Time) verdict {
	got, err := v.Verify(attest.Evidence{Type: attest.CCA, Report: token}, attest.Collateral{}, at)
	if err != nil {
		return verdict{err: err}
	}
	p, r := got.CCA.Platform, got.CCA.Realm
	var components []byte
	for _, c := range p.Components {
		components = append(components, c.Measurement...)
	}
	return verdict{claims: map[string]string{
		"profile":            fmt.Sprintf("%x", p.Profile),
		"implementation":     fmt.Sprintf("%x", p.ImplementationID),
		"instance":           fmt.Sprintf("%x", got.Machine),
		"platform challenge": fmt.Sprintf("%x", p.Challenge),
		"config":             fmt.Sprintf("%x", p.Config),
		"platform hash":      fmt.Sprintf("%x", p.HashAlgorithm),
		"life cycle":         fmt.Sprintf("%x", uint16(p.Lifecycle)),
		"components":         fmt.Sprintf("%x", components),
		"challenge":          fmt.Sprintf("%x", got.ReportData),
		"personalization":    fmt.Sprintf("%x", r.Personalization),
		"RIM":                fmt.Sprintf("%x", got.Measurement),
		"REMs":               fmt.Sprintf("%x", r.REMs),
		"realm hash":         fmt.Sprintf("%x", r.HashAlgorithm),
		"RAK":                fmt.Sprintf("%x", r.PublicKey),
	}}
}

// ccaSplice makes a token of the platform token of one and the realm token of
// another.
func ccaSplice(t *testing.T, platform, realm []byte) []byte {
	t.Helper()
	const platformLabel, realmLabel = 44234, 44241
	parts := make([]map[int]cbor.RawMessage, 2)
	var tag cbor.RawTag
	for i, token := range [][]byte{platform, realm} {
		if err := cbor.Unmarshal(token, &tag); err != nil {
			t.Fatal(err)
		}
		if err := cbor.Unmarshal(tag.Content, &parts[i]); err != nil {
			t.Fatal(err)
		}
	}
	content, err := cbor.Marshal(map[int]cbor.RawMessage{platformLabel: parts[0][platformLabel], realmLabel: parts[1][realmLabel]})
	if err != nil {
		t.Fatal(err)
	}
	spliced, err := cbor.Marshal(cbor.RawTag{Number: tag.Number, Content: content})
	if err != nil {
		t.Fatal(err)
	}
	return spliced
}

// TestCCAToken compares with github.com/veraison/ccatoken. Tokens have no time:
// the verdict is the same at all.
func TestCCAToken(t *testing.T) {
	tokens := map[string][]byte{"cca_token": vector(t, "cca/cca_token.cbor"), "cca-example-token": vector(t, "cca/cca-example-token.cbor")}
	roots := make(map[string]cca.Root)
	for _, name := range []string{"cca_platform.pub", "cpak-pub.json"} {
		root, err := cca.ParseRoot(vector(t, "cca/"+name))
		if err != nil {
			t.Fatal(name, err)
		}
		roots[name] = root
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	roots["another key"] = cca.Root{Name: "another key", Key: &other.PublicKey}

	r, jobs := &record{oracle: ccaToken, known: make(map[int]int)}, newPool()
	one := func(name string, token []byte, root cca.Root, at time.Time) {
		verifier := attest.NewVerifier(attest.Roots{CCA: []cca.Root{root}})
		jobs.run(func() { r.add(name, ccaOurs(verifier, token, at), ccaVerdict(token, root.Key)) })
	}
	for name, token := range tokens {
		for key, root := range roots {
			one(fmt.Sprintf("captured %s with %s", name, key), token, root, now)
			one(fmt.Sprintf("captured %s with %s, in 1990", name, key), token, root, now.AddDate(-36, 0, 0))
		}
		for other, otherToken := range tokens {
			one(fmt.Sprintf("crossed platform of %s with realm of %s", name, other), ccaSplice(t, token, otherToken), roots["cca_platform.pub"], now)
		}
		for _, n := range []int{0, 1, 2, len(token) / 2, len(token) - 1} {
			one(fmt.Sprintf("cut %s to %d", name, n), token[:n], roots["cca_platform.pub"], now)
		}
		one("untagged "+name, token[3:], roots["cca_platform.pub"], now)
		one("indefinite "+name, slices.Concat(token[:3], []byte{0xBF}, token[4:], []byte{0xFF}), roots["cca_platform.pub"], now)
		one("longer "+name, append(bytes.Clone(token), 0), roots["cca_platform.pub"], now)
		mutate(name, 5*mutations, token, func(what string, changed []byte) {
			one(fmt.Sprintf("changed %s: %s", name, what), changed, roots["cca_platform.pub"], now)
		})
	}
	jobs.wait()
	r.check(t)
}
