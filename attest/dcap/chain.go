package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // the root
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// intelRoot is Intel's own root, DER, with the SHA-256 fingerprint
// 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3.
//
//go:embed intel-sgx-root.der
var intelRoot []byte

// The common names of Intel's certificates (SGX PCK certificate and CRL profile
// specification, 1.3).
const (
	rootName         = "Intel SGX Root CA"
	processorCAName  = "Intel SGX PCK Processor CA"
	platformCAName   = "Intel SGX PCK Platform CA"
	pckName          = "Intel SGX PCK Certificate"
	tcbSigningName   = "Intel SGX TCB Signing"
	maxPCKChainCerts = 3
)

// A Root is a root of trust that the caller pins.
type Root struct {
	Name string // for people
	Cert *x509.Certificate
	// Dev marks a root of simulated hardware. Verify copies it to its claims, and
	// sets it there for every root but Intel's.
	Dev bool
}

// IntelRoot returns Intel's SGX root, which is also that of TDX.
func IntelRoot() Root {
	root, err := ParseRoot(intelRoot)
	if err != nil {
		return Root{} // Verify refuses it
	}
	return root
}

// ParseRoot reads a root: one self-signed certificate, PEM or DER. One that is
// not Intel's, byte for byte, is marked as Dev.
func ParseRoot(data []byte) (Root, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) {
		ders, err := pemCertificates(data)
		if err != nil {
			return Root{}, fmt.Errorf("root: %w", err)
		}
		if len(ders) != 1 {
			return Root{}, fmt.Errorf("root: %d certificates, must be one", len(ders))
		}
		data = ders[0]
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return Root{}, fmt.Errorf("root: %w", err)
	}
	root := Root{Name: cert.Subject.CommonName, Cert: cert}
	if len(cert.Subject.Organization) > 0 {
		root.Name += " of " + cert.Subject.Organization[0]
	}
	root.Dev = !root.intel()
	if err := root.check(); err != nil {
		return Root{}, err
	}
	if err := checkIssued(cert, cert, nil); err != nil {
		return Root{}, fmt.Errorf("root: %w", err)
	}
	return root, nil
}

func (r *Root) intel() bool { return r.Cert != nil && bytes.Equal(r.Cert.Raw, intelRoot) }

// check checks what a caller may have put together by hand.
func (r *Root) check() error {
	if r.Cert == nil {
		return fmt.Errorf("root %q: no certificate", r.Name)
	}
	if cn := r.Cert.Subject.CommonName; cn != rootName {
		return fmt.Errorf("root %q: common name %q, must be %q", r.Name, cn, rootName)
	}
	if err := checkCA(r.Cert, 1); err != nil {
		return fmt.Errorf("root %q: %w", r.Name, err)
	}
	return nil
}

func newVerifier(c Collateral, roots []Root, seen *pki.Seen, now time.Time) (*verifier, error) {
	v := &verifier{roots: roots, seen: seen, now: now}
	var known [][]byte // not to be parsed again: each chain has the root once more
	for i := range roots {
		if err := roots[i].check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRoot, err)
		}
		known = append(known, roots[i].Cert.Raw)
	}
	for _, der := range c.Certificates {
		if slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, der) }) {
			continue
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: collateral: %w", ErrChain, err)
		}
		known = append(known, der)
		v.certs = append(v.certs, cert)
	}
	var err error
	v.crls, err = pki.ParseCRLs(c.CRLs)
	return v, err
}

// pckChain verifies the chain PCK -> PCK CA -> root, all valid at now and none of
// them revoked, and returns the PCK certificate.
func (v *verifier) pckChain(q *Quote) (*x509.Certificate, error) {
	ders, err := q.pckDERs()
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return nil, fmt.Errorf("%w: PCK chain: %w", ErrCertData, err)
	}
	var cas []*x509.Certificate
	if len(ders) > 1 {
		ca, err := x509.ParseCertificate(ders[1])
		if err != nil {
			return nil, fmt.Errorf("%w: PCK chain: %w", ErrCertData, err)
		}
		cas = append(cas, ca)
	} else {
		for _, cert := range v.certs {
			if bytes.Equal(cert.RawSubject, leaf.RawIssuer) {
				cas = append(cas, cert)
			}
		}
	}
	if len(cas) == 0 {
		return nil, fmt.Errorf("%w: the quote has the PCK certificate alone, and there is no certificate of its issuer %q", ErrChain, leaf.Issuer.CommonName)
	}
	var pinned []*Root
	for i := range v.roots {
		if len(ders) < 3 || bytes.Equal(ders[2], v.roots[i].Cert.Raw) {
			pinned = append(pinned, &v.roots[i])
		}
	}
	if len(pinned) == 0 {
		return nil, fmt.Errorf("%w: its chain ends in a root that is none of the %d given", ErrRoot, len(v.roots))
	}
	var failed error
	for _, root := range pinned {
		for _, ca := range cas {
			err := v.checkPCKChain(leaf, ca, root.Cert)
			if err == nil {
				v.root = root
				return leaf, v.checkRevoked(pair{leaf, ca}, pair{ca, root.Cert})
			}
			if failed == nil {
				failed = err
			}
		}
	}
	return nil, failed
}

func (v *verifier) checkPCKChain(leaf, ca, root *x509.Certificate) error {
	if cn := ca.Subject.CommonName; cn != processorCAName && cn != platformCAName {
		return fmt.Errorf("%w: the PCK's issuer is %q, must be %q or %q", ErrChain, cn, processorCAName, platformCAName)
	}
	if err := checkCA(ca, 0); err != nil {
		return err
	}
	if err := checkEnd(leaf, pckName); err != nil {
		return err
	}
	if err := checkIssued(ca, root, v.seen); err != nil {
		return err
	}
	if err := checkIssued(leaf, ca, v.seen); err != nil {
		return err
	}
	return v.checkValid(root, ca, leaf)
}

// findSigners sets v.signers to the certificates that may sign TCB info and QE
// identities. If there are none, it says why another that calls itself so may
// not.
func (v *verifier) findSigners() error {
	if len(v.signers) > 0 {
		return nil
	}
	var failed error
	for _, cert := range v.certs {
		if cert.Subject.CommonName != tcbSigningName {
			continue
		}
		if err := v.checkSigner(cert); err == nil {
			v.signers = append(v.signers, cert)
		} else if failed == nil {
			failed = err
		}
	}
	switch {
	case len(v.signers) > 0:
		return nil
	case failed != nil:
		return failed
	}
	return fmt.Errorf("%w: no certificate %q", ErrChain, tcbSigningName)
}

func (v *verifier) checkSigner(cert *x509.Certificate) error {
	if err := checkEnd(cert, tcbSigningName); err != nil {
		return err
	}
	if err := checkIssued(cert, v.root.Cert, v.seen); err != nil {
		return err
	}
	return v.checkValid(v.root.Cert, cert)
}

// pair is a certificate with who issued it.
type pair struct{ cert, issuer *x509.Certificate }

// checkRevoked looks certificates up in the revocation lists of their issuers,
// and notes what it relied on and what it could not look up.
func (v *verifier) checkRevoked(pairs ...pair) error {
	for _, p := range pairs {
		used, err := v.crls.Check(p.cert, p.issuer, v.seen, v.now)
		if err != nil {
			return err
		}
		name := p.cert.Subject.CommonName
		if used != nil && !slices.Contains(v.used, *used) {
			v.used = append(v.used, *used)
		}
		if used == nil && !slices.Contains(v.unchecked, name) {
			v.unchecked = append(v.unchecked, name)
		}
	}
	return nil
}

func (v *verifier) checkValid(certs ...*x509.Certificate) error {
	for _, cert := range certs {
		if v.now.Before(cert.NotBefore) || v.now.After(cert.NotAfter) {
			return fmt.Errorf("%w: %q is valid from %s to %s, and it is %s", ErrTime, cert.Subject.CommonName,
				cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), v.now.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// checkCA checks that cert may sign certificates that below others may follow.
func checkCA(cert *x509.Certificate, below int) error {
	if _, err := p256Key(cert); err != nil {
		return err
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%w: %q is not a certificate authority", ErrChain, cert.Subject.CommonName)
	}
	if limited := cert.MaxPathLen > 0 || cert.MaxPathLenZero; limited && cert.MaxPathLen < below {
		return fmt.Errorf("%w: %q allows %d authorities below it, must allow %d", ErrChain, cert.Subject.CommonName, cert.MaxPathLen, below)
	}
	return nil
}

// checkEnd checks that cert may sign what is not a certificate, and has the
// right name.
func checkEnd(cert *x509.Certificate, name string) error {
	if cn := cert.Subject.CommonName; cn != name {
		return fmt.Errorf("%w: common name %q, must be %q", ErrChain, cn, name)
	}
	if _, err := p256Key(cert); err != nil {
		return err
	}
	if !cert.BasicConstraintsValid || cert.IsCA {
		return fmt.Errorf("%w: %q is a certificate authority, or does not say that it is none", ErrChain, name)
	}
	if cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 || cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return fmt.Errorf("%w: the key of %q must be for digital signatures, and not for certificates", ErrChain, name)
	}
	return nil
}

// checkIssued checks that issuer's key signed cert, with ECDSA and SHA-256 and
// nothing else.
func checkIssued(cert, issuer *x509.Certificate, seen *pki.Seen) error {
	name := cert.Subject.CommonName
	if cert.Version != 3 || len(cert.UnhandledCriticalExtensions) != 0 {
		return fmt.Errorf("%w: %q must be an X.509 v3 certificate without unknown critical extensions", ErrChain, name)
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fmt.Errorf("%w: %q is signed with %v, must be %v", ErrChain, name, cert.SignatureAlgorithm, x509.ECDSAWithSHA256)
	}
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: %q was not issued by %q", ErrChain, name, issuer.Subject.CommonName)
	}
	if err := seen.CheckSignature(cert, issuer); err != nil {
		return fmt.Errorf("%w: %q signed by %q: %w", ErrChain, name, issuer.Subject.CommonName, err)
	}
	return nil
}

// p256Key returns a certificate's key.
func p256Key(cert *x509.Certificate) (*ecdsa.PublicKey, error) {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: the key of %q must be on P-256", ErrChain, cert.Subject.CommonName)
	}
	return key, nil
}

// checkSignatures verifies that the PCK signed the QE's report, that this report
// binds the attestation key, and that this key signed the quote.
func (v *verifier) checkSignatures(q *Quote, signed []byte, leaf *x509.Certificate) error {
	pck, err := p256Key(leaf)
	if err != nil {
		return err
	}
	// The same for all quotes of a machine, until it restarts or updates its QE.
	report := q.QEReport.Encode()
	err = v.seen.Check(func() error { return checkP256(pck, report, q.QESignature) },
		[]byte("QE report"), leaf.RawSubjectPublicKeyInfo, report, q.QESignature[:])
	if err != nil {
		return fmt.Errorf("%w: QE report, by the PCK: %w", ErrSignature, err)
	}
	bound := sha256.Sum256(slices.Concat(q.AttestationKey[:], q.AuthData))
	if !bytes.Equal(q.QEReport.ReportData[:32], bound[:]) {
		return fmt.Errorf("%w: the QE's report data is %x, the hash of attestation key and authentication data %x", ErrBinding, q.QEReport.ReportData[:32], bound)
	}
	if !zero(q.QEReport.ReportData[32:]) {
		return fmt.Errorf("%w: the second half of the QE's report data is %x, must be zero", ErrBinding, q.QEReport.ReportData[32:])
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.AttestationKey[:]...))
	if err != nil {
		return fmt.Errorf("%w: attestation key: %w", ErrSignature, err)
	}
	if err := checkP256(key, signed, q.Signature); err != nil {
		return fmt.Errorf("%w: header and body, by the attestation key: %w", ErrSignature, err)
	}
	return nil
}

// checkP256 verifies an ECDSA signature with SHA-256. It is not unique: S and the
// group order minus S both verify.
func checkP256(key *ecdsa.PublicKey, signed []byte, sig [64]byte) error {
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	n := key.Curve.Params().N
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(n) >= 0 || s.Cmp(n) >= 0 {
		return errors.New("R and S must be from 1 to below the group order")
	}
	digest := sha256.Sum256(signed)
	if !ecdsa.Verify(key, digest[:], r, s) {
		return errors.New("not made by this key over these bytes")
	}
	return nil
}

// PCKCertificates returns the certificates in the quote: the PCK, and behind it
// those that it came with, at most two. Nothing is verified.
func (q *Quote) PCKCertificates() ([]*x509.Certificate, error) {
	ders, err := q.pckDERs()
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: PCK chain: %w", ErrCertData, err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func (q *Quote) pckDERs() ([][]byte, error) {
	ders, err := pemCertificates(bytes.TrimRight(q.PCKChain, "\x00")) // some are C strings
	if err != nil {
		return nil, fmt.Errorf("%w: PCK chain: %w", ErrCertData, err)
	}
	if len(ders) == 0 || len(ders) > maxPCKChainCerts {
		return nil, fmt.Errorf("%w: %d certificates in the PCK chain, must be one to %d", ErrCertData, len(ders), maxPCKChainCerts)
	}
	return ders, nil
}

// pemCertificates returns the DER of certificates in PEM, with nothing but white
// space around them.
func pemCertificates(data []byte) ([][]byte, error) {
	var ders [][]byte
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, errors.New("must be PEM blocks CERTIFICATE and nothing else")
		}
		rest = bytes.TrimSpace(after)
		ders = append(ders, block.Bytes)
	}
	return ders, nil
}
