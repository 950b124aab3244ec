package snp

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// Errors of the certificate chain.
var (
	// ErrRoot is wrapped if no pinned root fits the evidence.
	ErrRoot = errors.New("no pinned root for this evidence")
	// ErrChain is wrapped if a certificate is not one that its issuer gave out.
	ErrChain = errors.New("certificate chain broken")
	// ErrTime is wrapped if a certificate is not valid at the time given.
	ErrTime = errors.New("certificate not valid at this time")
)

// A Root is a root of trust that the caller pins.
type Root struct {
	Name    string // for people
	Product Product
	ARK     *x509.Certificate
	// Intermediates are the ASK and ASVK, for evidence that comes without.
	// They are verified like those that come with evidence.
	Intermediates []*x509.Certificate
	// Dev marks a root of simulated hardware. So is every root to Verify whose ARK
	// is none of AMDRoots.
	Dev bool
}

// amdOrganization is what AMD's certificates call AMD.
const amdOrganization = "Advanced Micro Devices"

// ParseRoot reads a root from PEM: one self-signed ARK and any number of
// intermediates, in any order, as AMD's key server hands them out. A root whose
// ARK is none of AMDRoots is marked as Dev, whatever it calls itself.
func ParseRoot(data []byte) (Root, error) {
	var root Root
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return Root{}, errors.New("root: must be PEM blocks CERTIFICATE and nothing else")
		}
		rest = bytes.TrimSpace(after)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Root{}, fmt.Errorf("root: %w", err)
		}
		switch {
		case !bytes.Equal(cert.RawIssuer, cert.RawSubject):
			root.Intermediates = append(root.Intermediates, cert)
		case root.ARK != nil:
			return Root{}, errors.New("root: two self-signed certificates, must be one")
		default:
			root.ARK = cert
		}
	}
	if root.ARK == nil {
		return Root{}, errors.New("root: no self-signed certificate")
	}
	for _, product := range []Product{Milan, Genoa, Turin} {
		if root.ARK.Subject.CommonName == "ARK-"+string(product) {
			root.Product = product
		}
	}
	if err := checkIssued(root.ARK, root.ARK, nil); err != nil {
		return Root{}, fmt.Errorf("root: %w", err)
	}
	if err := root.check(); err != nil {
		return Root{}, err
	}
	root.Name = root.ARK.Subject.CommonName
	org := root.ARK.Subject.Organization
	if len(org) > 0 {
		root.Name += " of " + org[0]
	}
	root.Dev = !root.isAMD()
	if root.Dev && len(org) > 0 && org[0] == amdOrganization {
		root.Name += fmt.Sprintf(", so it says, but none of AMD's: SHA-256 %x", sha256.Sum256(root.ARK.Raw))
	}
	return root, nil
}

// check checks what a caller may have put together by hand.
func (r Root) check() error {
	if r.ARK == nil {
		return fmt.Errorf("root %q: no ARK", r.Name)
	}
	if want := "ARK-" + string(r.Product); !r.Product.known() || r.ARK.Subject.CommonName != want {
		return fmt.Errorf("root %q: product %q and common name %q, must be Milan, Genoa or Turin and ARK-PRODUCT", r.Name, r.Product, r.ARK.Subject.CommonName)
	}
	if err := checkCA(r.ARK); err != nil {
		return fmt.Errorf("root %q: %w", r.Name, err)
	}
	return nil
}

// checkCA checks that cert may sign certificates, with the one kind of key that
// AMD's authorities have.
func checkCA(cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() != 4096 || key.E != 65537 {
		return fmt.Errorf("%w: the key of %q must be RSA with 4096 bits and exponent 65537", ErrChain, cert.Subject.CommonName)
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%w: %q is not a certificate authority", ErrChain, cert.Subject.CommonName)
	}
	return nil
}

// checkIssued checks that issuer's key signed cert, with RSA-PSS and SHA-384
// and nothing else.
func checkIssued(cert, issuer *x509.Certificate, seen *pki.Seen) error {
	if cert.Version != 3 || len(cert.UnhandledCriticalExtensions) != 0 {
		return fmt.Errorf("%w: %q must be an X.509 v3 certificate without unknown critical extensions", ErrChain, cert.Subject.CommonName)
	}
	if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return fmt.Errorf("%w: %q is signed with %v, must be %v", ErrChain, cert.Subject.CommonName, cert.SignatureAlgorithm, x509.SHA384WithRSAPSS)
	}
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: %q was not issued by %q", ErrChain, cert.Subject.CommonName, issuer.Subject.CommonName)
	}
	if err := seen.CheckSignature(cert, issuer); err != nil {
		return fmt.Errorf("%w: %q signed by %q: %w", ErrChain, cert.Subject.CommonName, issuer.Subject.CommonName, err)
	}
	return nil
}
