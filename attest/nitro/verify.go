// Package nitro verifies attestation documents of AWS Nitro Enclaves
// (aws-nitro-enclaves-nsm-api, docs/attestation_process.md).
//
// The chain of trust, each step verified by the one before it:
//
//  1. The caller pins the root certificate of AWS Nitro Enclaves, by argument.
//  2. It leads, by the intermediates that the document brings in a fixed order,
//     to the certificate of the enclave's key, which lives for three hours.
//  3. That key, which the Nitro hypervisor has, signed the document.
//
// The root that a document brings is compared with the pinned one, byte for byte,
// and never trusted. Documents of NitroTPM, which have nitrotpm_pcrs in place of
// pcrs, are another kind and refused.
//
// Documents are CBOR and are read strictly: definite lengths, the shortest form
// of each head, no duplicate keys, no unknown fields. Map keys may be in any
// order, as AWS's are not sorted.
//
// Revocation is not looked at and no certificate is named as unchecked: AWS's
// documentation says of its revocation lists that their use must be disabled, and
// the key that counts lives for hours, its issuer for a day.
//
// All functions are pure: roots and time are arguments, and there is no network,
// file, clock or default root. Whether a document that is genuine is also good
// enough is a policy's to say, not this package's.
package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // for AWS's root
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redoubt-tee/redoubt/attest/internal/cose"
	"github.com/redoubt-tee/redoubt/attest/pki"
)

// Errors of documents.
var (
	// ErrDocument is wrapped if a document is not as specified.
	ErrDocument = errors.New("malformed Nitro attestation document")
	// ErrRoot is wrapped if the document's root is not a pinned one, or a root
	// is not one.
	ErrRoot = errors.New("no pinned root for this evidence")
	// ErrChain is wrapped if a certificate is not one that its issuer gave out.
	ErrChain = errors.New("certificate chain broken")
	// ErrTime is wrapped if a certificate is not valid at the time given, or the
	// document was not made at a time when it could be.
	ErrTime = errors.New("not valid at this time")
	// ErrSignature is wrapped if the document's signature is wrong, or not ES384.
	ErrSignature = errors.New("document signature wrong")
)

// Skew is how far the clock that made a document may be ahead of the time that
// it is verified for. It is a constant, and applies to nothing else.
const Skew = time.Minute

// A Root is a root of trust that the caller pins.
type Root struct {
	Name        string // for people
	Certificate *x509.Certificate
	// Dev marks a root of simulated hardware. Verify copies it to its claims.
	Dev bool
}

//go:embed aws-root.pem
var awsRoot []byte

// awsFingerprint is the SHA-256 of the certificate of AWS's root, as published in
// AWS's documentation ("Verifying the root of trust").
const awsFingerprint = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

// AWSRoot returns the root of AWS Nitro Enclaves in the commercial partition,
// which is compiled in. It is not used unless the caller pins it.
func AWSRoot() (Root, error) { return ParseRoot(awsRoot) }

// ParseRoot reads a root from one certificate in PEM. One that is not AWS's is
// marked as Dev.
func ParseRoot(data []byte) (Root, error) {
	block, rest := pem.Decode(bytes.TrimSpace(data))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0 ||
		!bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) {
		return Root{}, fmt.Errorf("%w: root: must be exactly one PEM block CERTIFICATE without headers", ErrRoot)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Root{}, fmt.Errorf("%w: root: %w", ErrRoot, err)
	}
	fingerprint := fmt.Sprintf("%x", sha256.Sum256(cert.Raw))
	root := Root{Name: "AWS Nitro Enclaves", Certificate: cert}
	if fingerprint != awsFingerprint {
		root.Name, root.Dev = fmt.Sprintf("%s %.16s", cert.Subject.CommonName, fingerprint), true
	}
	if err := root.check(nil); err != nil {
		return Root{}, err
	}
	return root, nil
}

// check checks what a caller may have put together by hand.
func (r Root) check(seen *pki.Seen) error {
	if r.Certificate == nil {
		return fmt.Errorf("%w: root %q has no certificate", ErrRoot, r.Name)
	}
	err := checkCA(r.Certificate)
	if err == nil {
		err = checkIssued(r.Certificate, r.Certificate, seen)
	}
	if err != nil {
		return fmt.Errorf("%w: root %q: %w", ErrRoot, r.Name, err)
	}
	return nil
}

// Collateral is empty: a document brings its chain.
type Collateral struct{}

// Claims is what a verified document proves.
type Claims struct {
	Root     string // the pinned root's name
	Dev      bool   // the root is of simulated hardware: nothing is proven
	Document Document
	// Debug is set if PCR 0 is zero: the enclave runs in debug mode, and its
	// host can read its console.
	Debug bool

	Collateral []pki.Used // none: there is none
	Unchecked  []string   // none: see the package's comment
}

// Verify verifies a document back to one of roots, at time now. It returns claims
// only if all of it holds.
func Verify(document []byte, _ Collateral, roots []Root, seen *pki.Seen, now time.Time) (*Claims, error) {
	if now.IsZero() {
		return nil, fmt.Errorf("%w: no time was given", ErrTime)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: no roots were given", ErrRoot)
	}
	d, err := Parse(document)
	if err != nil {
		return nil, err
	}
	root, err := findRoot(d.CABundle[0], roots, seen)
	if err != nil {
		return nil, err
	}
	leaf, err := d.checkChain(root, seen, now)
	if err != nil {
		return nil, err
	}
	// The time is signed by the document's key, so that the certificate's
	// validity and the document's are two statements of one clock.
	if d.Timestamp.Before(leaf.NotBefore) || d.Timestamp.After(leaf.NotAfter) || d.Timestamp.After(now.Add(Skew)) {
		return nil, fmt.Errorf("%w: the document was made at %s, must be from %s to %s and not after now, %s",
			ErrTime, stamp(d.Timestamp), stamp(leaf.NotBefore), stamp(leaf.NotAfter), stamp(now))
	}
	key := leaf.PublicKey.(*ecdsa.PublicKey) // checkChain has seen to that
	if err := d.signed.Verify(key, cose.ES384); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return &Claims{
		Root: root.Name, Dev: root.Dev, Document: *d,
		Debug: !slices.ContainsFunc(d.PCRs[0], func(b byte) bool { return b != 0 }),
	}, nil
}

func findRoot(der []byte, roots []Root, seen *pki.Seen) (*Root, error) {
	for i := range roots {
		if err := roots[i].check(seen); err != nil {
			return nil, err
		}
		if bytes.Equal(der, roots[i].Certificate.Raw) {
			return &roots[i], nil
		}
	}
	return nil, fmt.Errorf("%w: the bundle's first certificate, with SHA-256 %x, is none of the %d given", ErrRoot, sha256.Sum256(der), len(roots))
}

// checkChain verifies the chain from root, the first of the bundle, over its
// other certificates in their order to the one that signed, which it returns.
func (d *Document) checkChain(root *Root, seen *pki.Seen, now time.Time) (*x509.Certificate, error) {
	chain := []*x509.Certificate{root.Certificate}
	for i, der := range append(slices.Clone(d.CABundle[1:]), d.Certificate) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d behind the root: %w", ErrChain, i+1, err)
		}
		chain = append(chain, cert)
	}
	last := len(chain) - 1
	for i, cert := range chain {
		if i > 0 {
			if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
				return nil, fmt.Errorf("%w: %q behind the root was issued by itself", ErrChain, cert.Subject.CommonName)
			}
			if err := checkIssued(cert, chain[i-1], seen); err != nil {
				return nil, err
			}
		}
		if i < last {
			if err := checkCA(cert); err != nil {
				return nil, err
			}
			below := last - 1 - i                                // authorities between it and the last
			if cert.MaxPathLen >= 0 && below > cert.MaxPathLen { // -1 if it has no limit
				return nil, fmt.Errorf("%w: %q may have %d authorities below it and has %d", ErrChain, cert.Subject.CommonName, cert.MaxPathLen, below)
			}
		}
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return nil, fmt.Errorf("%w: %q is valid from %s to %s, and it is %s", ErrTime, cert.Subject.CommonName, stamp(cert.NotBefore), stamp(cert.NotAfter), stamp(now))
		}
	}
	leaf := chain[last]
	if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		return nil, fmt.Errorf("%w: %q must be a certificate that says it is no authority", ErrChain, leaf.Subject.CommonName)
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, fmt.Errorf("%w: the key of %q is not for signing", ErrChain, leaf.Subject.CommonName)
	}
	return leaf, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// checkCA checks that cert may sign certificates.
func checkCA(cert *x509.Certificate) error {
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%w: %q is not a certificate authority", ErrChain, cert.Subject.CommonName)
	}
	return nil
}

// checkIssued checks that issuer's key signed cert, with ECDSA on P-384 and
// SHA-384 and nothing else, and that cert's own key is of that kind.
func checkIssued(cert, issuer *x509.Certificate, seen *pki.Seen) error {
	name := cert.Subject.CommonName
	if cert.Version != 3 {
		return fmt.Errorf("%w: %q must be an X.509 v3 certificate", ErrChain, name)
	}
	for _, ext := range cert.Extensions {
		if id := ext.Id.String(); ext.Critical && id != "2.5.29.19" && id != "2.5.29.15" {
			return fmt.Errorf("%w: %q has the critical extension %s, must have basic constraints and key usage alone", ErrChain, name, id)
		}
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return fmt.Errorf("%w: the key of %q must be on P-384", ErrChain, name)
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return fmt.Errorf("%w: %q is signed with %v, must be %v", ErrChain, name, cert.SignatureAlgorithm, x509.ECDSAWithSHA384)
	}
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: %q was not issued by %q", ErrChain, name, issuer.Subject.CommonName)
	}
	if err := seen.CheckSignature(cert, issuer); err != nil {
		return fmt.Errorf("%w: %q signed by %q: %w", ErrChain, name, issuer.Subject.CommonName, err)
	}
	return nil
}
