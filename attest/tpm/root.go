package tpm

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// A Root is a root of trust that the caller pins: an attestation key (AK), or an
// authority that certifies AKs, but not both.
type Root struct {
	Name string // for people
	// AK is the *rsa.PublicKey or *ecdsa.PublicKey of one TPM. The caller has
	// seen to it that it is a restricted signing key of a TPM.
	AK crypto.PublicKey
	// CA is a certificate of who gives out AK certificates: a maker of TPMs or
	// of machines, a cloud provider, or whoever enrolled them by their EK.
	CA *x509.Certificate
	// Dev marks a root of simulated hardware. Verify copies it to its claims.
	Dev bool
}

// devOrganization is the organization of certificates of simulated hardware.
const devOrganization = "Redoubt development, simulated hardware"

// maxRoot is the most bytes that a file with a root may have.
const maxRoot = 16 << 10

// ParseRoot reads a root from exactly one PEM block: PUBLIC KEY, an AK, or
// CERTIFICATE, an authority. It is marked as Dev if it is an authority of
// simulated hardware of this project; a bare key does not tell.
func ParseRoot(data []byte) (Root, error) {
	data = bytes.TrimSpace(data)
	block, rest := pem.Decode(data)
	if len(data) > maxRoot || block == nil || len(block.Headers) != 0 || len(rest) != 0 || !bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		return Root{}, fmt.Errorf("%w: root: must be exactly one PEM block of at most %d bytes without headers", ErrRoot, maxRoot)
	}
	var root Root
	var err error
	fingerprint := sha256.Sum256(block.Bytes)
	switch block.Type {
	case "PUBLIC KEY":
		root.Name = fmt.Sprintf("AK %x", fingerprint[:8])
		root.AK, err = parseKey(block.Bytes)
	case "CERTIFICATE":
		if root.CA, err = x509.ParseCertificate(block.Bytes); err == nil {
			root.Name = fmt.Sprintf("%s %x", root.CA.Subject.CommonName, fingerprint[:8])
			root.Dev = slices.Contains(root.CA.Subject.Organization, devOrganization)
		}
	default:
		err = fmt.Errorf("PEM block %.32q, must be PUBLIC KEY or CERTIFICATE", block.Type)
	}
	if err != nil {
		return Root{}, fmt.Errorf("%w: root: %w", ErrRoot, err)
	}
	if err := root.check(); err != nil {
		return Root{}, err
	}
	return root, nil
}

// check checks what a caller may have put together by hand.
func (r Root) check() error {
	switch {
	case (r.AK == nil) == (r.CA == nil):
		return fmt.Errorf("%w: root %q must have an AK or an authority, and not both", ErrRoot, r.Name)
	case r.CA != nil && (!r.CA.BasicConstraintsValid || !r.CA.IsCA || r.CA.KeyUsage&x509.KeyUsageCertSign == 0):
		return fmt.Errorf("%w: root %q is not a certificate authority", ErrRoot, r.Name)
	case r.AK != nil:
		if _, err := marshalKey(r.AK); err != nil {
			return fmt.Errorf("%w: root %q: %w", ErrRoot, r.Name, err)
		}
	}
	return nil
}

// Most of what a chain may be.
const (
	maxCertificates = 64   // that are looked at
	maxChain        = 6    // from the AK certificate to the root
	maxCertificate  = 8192 // bytes
)

// An endorsement is why an AK is trusted.
type endorsement struct {
	root  *Root
	chain []*x509.Certificate // AK certificate first, root last; nil if the AK is pinned
}

// endorse finds the pinned root that the AK goes back to: the AK itself, or an
// authority by the certificates given.
func endorse(akPublic []byte, c Collateral, roots []Root, now time.Time) (*endorsement, error) {
	for i := range roots {
		if err := roots[i].check(); err != nil {
			return nil, err
		}
		if roots[i].AK == nil {
			continue
		}
		if der, err := marshalKey(roots[i].AK); err == nil && bytes.Equal(der, akPublic) {
			return &endorsement{root: &roots[i]}, nil
		}
	}
	if len(c.Certificates) > maxCertificates {
		return nil, fmt.Errorf("%w: %d certificates, at most %d allowed", ErrChain, len(c.Certificates), maxCertificates)
	}
	var leaves []*x509.Certificate
	others := x509.NewCertPool()
	for i, der := range c.Certificates {
		if len(der) > maxCertificate {
			return nil, fmt.Errorf("%w: certificate %d has %d bytes, at most %d allowed", ErrChain, i, len(der), maxCertificate)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrChain, i, err)
		}
		if bytes.Equal(cert.RawSubjectPublicKeyInfo, akPublic) {
			leaves = append(leaves, cert)
		} else {
			others.AddCert(cert)
		}
	}
	if len(leaves) == 0 {
		return nil, fmt.Errorf("%w: the AK with SHA-256 %x is not pinned, and no certificate endorses it: whoever has a TPM, or none, can make such evidence", ErrRoot, sha256.Sum256(akPublic))
	}
	var failed error
	for _, leaf := range leaves {
		for i := range roots {
			if roots[i].CA == nil {
				continue
			}
			chain, err := checkChain(leaf, others, roots[i].CA, now)
			if err == nil {
				return &endorsement{&roots[i], chain}, nil
			}
			if failed == nil || errors.Is(failed, ErrRoot) {
				failed = err
			}
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%w: the AK is not pinned, and no authority is that its certificate could go back to", ErrRoot)
	}
	return nil, failed
}

// The extended key usage of AK certificates (tcg-kp-AIKCertificate in the TCG
// OID registry).
func oidAK() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 3} }

// checkChain verifies the chain from an AK certificate to ca, at time now.
func checkChain(leaf *x509.Certificate, others *x509.CertPool, ca *x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	name := leaf.Subject.CommonName
	switch {
	case leaf.Version != 3 || leaf.IsCA || !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidAK().Equal):
		return nil, fmt.Errorf("%w: %q is not an AK certificate: it must be for the extended key usage %v and no authority", ErrChain, name, oidAK())
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, fmt.Errorf("%w: the key of %q is not for signing", ErrChain, name)
	}
	// AK certificates name the TPM in a critical alternative name, of a kind that
	// crypto/x509 does not read. It is not needed here: the key is what counts.
	target := *leaf
	target.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), func(id asn1.ObjectIdentifier) bool {
		return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17})
	})
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	chains, err := target.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: others, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, fmt.Errorf("%w: %w", ErrTime, err)
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("%w: no certificates lead from %q to %q: %w", ErrRoot, name, ca.Subject.CommonName, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %q: %w", ErrChain, name, err)
	}
	chain := chains[0]
	if len(chain) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d certificates, at most %d allowed", ErrChain, len(chain), maxChain)
	}
	for _, cert := range chain {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("%w: the RSA key of %q has %d bits, at least %d needed", ErrChain, cert.Subject.CommonName, key.N.BitLen(), minRSABits)
		}
	}
	return chain, nil
}

// checkRevoked looks each certificate but the root up. It returns the lists that
// were relied on, and the names of certificates that none was there for.
func (e *endorsement) checkRevoked(c Collateral, seen *pki.Seen, now time.Time) (used []pki.Used, unchecked []string, err error) {
	crls, err := pki.ParseCRLs(c.CRLs)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i+1 < len(e.chain); i++ {
		u, err := crls.Check(e.chain[i], e.chain[i+1], seen, now)
		if err != nil {
			return nil, nil, err
		}
		if u == nil {
			unchecked = append(unchecked, e.chain[i].Subject.String())
		} else {
			used = append(used, *u)
		}
	}
	return used, unchecked, nil
}
