package oracles

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/tpm"
)

// tpmEvidence is the captured form.
type tpmEvidence struct {
	AK    []byte   `json:"ak_public"`
	Quote tpmQuote `json:"tpm_quote"`
}

type tpmQuote struct {
	Message   []byte   `json:"message"`
	PCRs      []string `json:"pcrs"`
	Signature []byte   `json:"signature"`
}

// tpmVerdict reads the structures with go-tpm, which does not verify. What it
// read is then checked as the TPM specification says: RSASSA with SHA-256 by the
// key given, over the quote, whose digest is that of the PCRs it selects.
func tpmVerdict(evidence []byte, ak *rsa.PublicKey) verdict {
	var v verdict
	v.err = caught(func() error {
		var e tpmEvidence
		if err := json.Unmarshal(evidence, &e); err != nil {
			return err
		}
		if key, err := x509.ParsePKIXPublicKey(e.AK); err != nil || !ak.Equal(key) {
			return errors.New("another AK")
		}
		attested, err := tpm2.Unmarshal[tpm2.TPMSAttest](e.Quote.Message)
		if err != nil {
			return err
		}
		quote, err := attested.Attested.Quote()
		if err != nil {
			return err
		}
		signature, err := tpm2.Unmarshal[tpm2.TPMTSignature](e.Quote.Signature)
		if err != nil {
			return err
		}
		rsassa, err := signature.Signature.RSASSA()
		if err != nil {
			return err
		}
		if rsassa.Hash != tpm2.TPMAlgSHA256 {
			return errors.New("another hash")
		}
		digest := sha256.Sum256(e.Quote.Message)
		if err := rsa.VerifyPKCS1v15(ak, crypto.SHA256, digest[:], rsassa.Sig.Buffer); err != nil {
			return err
		}
		var values []byte
		for _, pcr := range e.Quote.PCRs {
			value, err := hex.DecodeString(pcr)
			if err != nil || len(value) != sha256.Size {
				return errors.New("not the value of a PCR")
			}
			values = append(values, value...)
		}
		if digest := sha256.Sum256(values); !bytes.Equal(digest[:], quote.PCRDigest.Buffer) {
			return errors.New("PCR digest differs")
		}
		v.claims = map[string]string{
			"extra data": fmt.Sprintf("%x", attested.ExtraData.Buffer),
			"signer":     fmt.Sprintf("%x", attested.QualifiedSigner.Buffer),
			"clock":      fmt.Sprint(attested.ClockInfo.Clock, attested.ClockInfo.ResetCount, attested.ClockInfo.RestartCount, attested.ClockInfo.Safe),
			"firmware":   fmt.Sprintf("%x", attested.FirmwareVersion),
			"PCR digest": fmt.Sprintf("%x", quote.PCRDigest.Buffer),
			"PCRs":       fmt.Sprintf("%x", values),
		}
		if s := quote.PCRSelect.PCRSelections; len(s) == 1 {
			claims := v.claims
			claims["selection"] = fmt.Sprintf("%x of %#x", s[0].PCRSelect, uint16(s[0].Hash))
		}
		return nil
	})
	return v
}

func tpmOurs(v *attest.Verifier, evidence []byte) verdict {
	got, err := v.Verify(attest.Evidence{Type: attest.TPM, Report: evidence}, attest.Collateral{}, now)
	if err != nil {
		return verdict{err: err}
	}
	q := got.TPM.Quote
	var values []byte
	for _, pcr := range got.TPM.PCRs {
		values = append(values, pcr.Value...)
	}
	return verdict{claims: map[string]string{
		"extra data": fmt.Sprintf("%x", got.ReportData),
		"signer":     fmt.Sprintf("%x", q.QualifiedSigner),
		"clock":      fmt.Sprint(q.Clock, q.ResetCount, q.RestartCount, q.Safe),
		"firmware":   fmt.Sprintf("%x", q.FirmwareVersion),
		"PCR digest": fmt.Sprintf("%x", got.Measurement),
		"PCRs":       fmt.Sprintf("%x", values),
		"selection":  fmt.Sprintf("%x of %#x", q.Selections[0].Bits, uint16(q.Selections[0].Bank)),
	}}
}

// TestGoTPM compares with github.com/google/go-tpm, which reads the TPM's
// structures. A quote with a pinned AK has no time.
func TestGoTPM(t *testing.T) {
	captured := vector(t, "tpm/trustee-tpm_evidence.json")
	var e tpmEvidence
	if err := json.Unmarshal(captured, &e); err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(e.AK)
	if err != nil {
		t.Fatal(err)
	}
	ak := parsed.(*rsa.PublicKey)
	other := &rsa.PublicKey{N: ak.N, E: 3}
	verifier := attest.NewVerifier(attest.Roots{TPM: []tpm.Root{{Name: "captured AK", AK: ak}}})
	r, jobs := &record{oracle: goTPM, known: make(map[int]int)}, newPool()
	one := func(name string, evidence []byte) {
		jobs.run(func() { r.add(name, tpmOurs(verifier, evidence), tpmVerdict(evidence, ak)) })
	}
	rebuilt := func(name string, change func(*tpmEvidence)) {
		changed := e
		changed.Quote.PCRs = append([]string(nil), e.Quote.PCRs...)
		change(&changed)
		evidence, err := json.Marshal(changed)
		if err != nil {
			t.Error(err)
		}
		one(name, evidence)
	}
	one("captured", captured)
	rebuilt("rebuilt", func(*tpmEvidence) {})
	rebuilt("crossed with another key", func(e *tpmEvidence) { e.AK, _ = x509.MarshalPKIXPublicKey(other) })
	rebuilt("longer message", func(e *tpmEvidence) { e.Quote.Message = append(bytes.Clone(e.Quote.Message), 0) })
	rebuilt("longer signature", func(e *tpmEvidence) { e.Quote.Signature = append(bytes.Clone(e.Quote.Signature), 0) })
	rebuilt("fewer PCRs", func(e *tpmEvidence) { e.Quote.PCRs = e.Quote.PCRs[1:] })
	rebuilt("more PCRs", func(e *tpmEvidence) { e.Quote.PCRs = append(e.Quote.PCRs, e.Quote.PCRs[0]) })
	rebuilt("PCRs joined", func(e *tpmEvidence) {
		e.Quote.PCRs = append([]string{e.Quote.PCRs[0] + e.Quote.PCRs[1]}, e.Quote.PCRs[2:]...)
	})
	for i := range e.Quote.PCRs {
		rebuilt(fmt.Sprint("another value of PCR ", i), func(e *tpmEvidence) { e.Quote.PCRs[i] = fmt.Sprintf("%064x", i+1) })
	}
	mutate("evidence", mutations, captured, func(what string, changed []byte) { one("changed JSON: "+what, changed) })
	mutate("message", mutations, e.Quote.Message, func(what string, changed []byte) {
		rebuilt("changed message: "+what, func(e *tpmEvidence) { e.Quote.Message = changed })
	})
	mutate("signature", mutations, e.Quote.Signature, func(what string, changed []byte) {
		rebuilt("changed signature: "+what, func(e *tpmEvidence) { e.Quote.Signature = changed })
	})
	jobs.wait()
	r.check(t)
}
