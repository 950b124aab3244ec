package oracles

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hf/nitrite"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/nitro"
)

var nitroDocuments = []struct {
	name string
	at   time.Time
}{
	{"valid-attestation-doc-bytes", time.Date(2022, 10, 13, 8, 58, 2, 0, time.UTC)},
	{"debug-mode-attestation-doc-bytes", time.Date(2022, 10, 12, 13, 50, 6, 0, time.UTC)},
}

// nitroParts is a COSE_Sign1: protected header, unprotected header, payload,
// signature.
type nitroParts [4]cbor.RawMessage

func nitroVerdict(document []byte, roots *x509.CertPool, at time.Time) verdict {
	var v verdict
	v.err = caught(func() error {
		result, err := nitrite.Verify(document, nitrite.VerifyOptions{Roots: roots, CurrentTime: at})
		if result != nil && result.Document != nil {
			v.claims = nitroClaims(result.Document)
		}
		return err
	})
	return v
}

func nitroClaims(d *nitrite.Document) map[string]string {
	pcrs := make(map[int][]byte)
	for i, pcr := range d.PCRs {
		pcrs[int(i)] = pcr
	}
	return map[string]string{
		"module":     d.ModuleID,
		"time":       fmt.Sprint(d.Timestamp),
		"PCRs":       fmt.Sprintf("%x", pcrs),
		"public key": fmt.Sprintf("%x", d.PublicKey),
		"user data":  fmt.Sprintf("%x", d.UserData),
		"nonce":      fmt.Sprintf("%x", d.Nonce),
	}
}

func nitroOurs(v *attest.Verifier, document []byte, at time.Time) verdict {
	got, err := v.Verify(attest.Evidence{Type: attest.Nitro, Report: document}, attest.Collateral{}, at)
	if err != nil {
		return verdict{err: err}
	}
	d := got.Nitro.Document
	return verdict{claims: map[string]string{
		"module":     string(got.Machine),
		"time":       fmt.Sprint(d.Timestamp.UnixMilli()),
		"PCRs":       fmt.Sprintf("%x", d.PCRs),
		"public key": fmt.Sprintf("%x", d.PublicKey),
		"user data":  fmt.Sprintf("%x", d.UserData),
		"nonce":      fmt.Sprintf("%x", got.ReportData),
	}}
}

// nitroEncode encodes a document, tagged or not.
func nitroEncode(t *testing.T, parts nitroParts, tagged bool) []byte {
	t.Helper()
	var document any = parts
	if tagged {
		document = cbor.Tag{Number: 18, Content: parts}
	}
	b, err := cbor.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNitrite compares with github.com/hf/nitrite.
func TestNitrite(t *testing.T) {
	root, err := nitro.ParseRoot(vector(t, "roots/aws-nitro-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	verifier := attest.NewVerifier(attest.Roots{Nitro: []nitro.Root{root}})
	r, jobs := &record{oracle: nitriteName, known: make(map[int]int)}, newPool()
	one := func(name string, document []byte, at time.Time) {
		jobs.run(func() { r.add(name, nitroOurs(verifier, document, at), nitroVerdict(document, pool, at)) })
	}
	split := make([]nitroParts, len(nitroDocuments))
	for i, v := range nitroDocuments {
		document := vector(t, "nitro/"+v.name)
		if err := cbor.Unmarshal(document, &split[i]); err != nil {
			t.Fatal(err)
		}
		var payload, leaf []byte
		var fields map[string]cbor.RawMessage
		for _, err := range []error{cbor.Unmarshal(split[i][2], &payload), cbor.Unmarshal(payload, &fields), cbor.Unmarshal(fields["certificate"], &leaf)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range moments(v.at, leaf) {
			one(fmt.Sprintf("captured %s, %s", v.name, m.name), document, m.at)
		}
		one("early "+v.name, document, v.at.Add(-2*time.Minute))
		header := split[i]
		header[1] = []byte{0xA1, 0x04, 0x41, 0x00} // a key ID, which is not signed
		one("unsigned header, "+v.name, nitroEncode(t, header, false), v.at)
		one("tagged "+v.name, nitroEncode(t, split[i], true), v.at)
		for _, n := range []int{0, 1, 2, len(document) / 2, len(document) - 1} {
			one(fmt.Sprintf("cut %s to %d", v.name, n), document[:n], v.at)
		}
		one("longer "+v.name, append(bytes.Clone(document), 0), v.at)
		mutate(v.name, 2*mutations, document, func(what string, changed []byte) {
			one(fmt.Sprintf("changed %s: %s", v.name, what), changed, v.at)
		})
	}
	for part, name := range []string{"protected", "unprotected", "payload", "signature"} {
		for i, v := range nitroDocuments {
			crossed := split[i]
			crossed[part] = split[1-i][part]
			one(fmt.Sprintf("crossed %s with the other's %s", v.name, name), nitroEncode(t, crossed, false), v.at)
		}
	}
	jobs.wait()
	r.check(t)
}
