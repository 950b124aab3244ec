package main

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"time"

	"github.com/redoubt-tee/redoubt/attest/ear"
	"github.com/redoubt-tee/redoubt/internal/version"
)

// earValid is how long an attestation result holds: whoever relies on it must
// ask for evidence anew.
const earValid = time.Hour

// printEAR prints the verdict as a signed attestation result.
func (f *verifyFlags) printEAR(out io.Writer, v *verdict) error {
	key, err := readSigner(f.earKey)
	if err != nil {
		return fmt.Errorf("--ear-key: %w", err)
	}
	appraisal := ear.FromAppraisal(v.claims, v.result)
	if f.trust.policyID != "" {
		appraisal.Policies = []string{f.trust.policyID}
	}
	at := v.at.UTC().Truncate(time.Second) // a verdict of another time is none of today
	result := ear.Result{
		Profile:   ear.Profile2023,
		Issued:    at,
		Expires:   at.Add(earValid),
		Verifier:  ear.VerifierID{Developer: "https://github.com/redoubt-tee/redoubt", Build: "redoubt " + version.String()},
		Attesters: map[string]ear.Appraisal{cmp.Or(v.evidence.Type, "evidence"): appraisal},
	}
	if f.nonce != "" {
		if result.Nonce, err = hex.DecodeString(f.nonce); err != nil {
			return err
		}
	}
	token, err := result.Sign(key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", token)
	return err
}

// readSigner reads a private key.
func readSigner(path string) (crypto.Signer, error) {
	data, err := readInput(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: expected a private key in PEM, as openssl genpkey makes it", path)
	}
	if block.Type == "EC PRIVATE KEY" {
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: not a private key that can be used", path) // the error could quote the key
		}
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: not a private key that can be used: expected PKCS #8, as openssl genpkey makes it", path)
	}
	return signer, nil
}
