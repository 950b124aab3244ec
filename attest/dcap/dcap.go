// Package dcap verifies Intel DCAP quotes: of SGX enclaves and of TDX trust
// domains.
//
// The chain of trust, each step verified by the one before it:
//
//  1. The caller pins Intel's root key, by argument.
//  2. The root signed one of the two CAs for PCKs, and the TCB signing key.
//  3. The CA signed the PCK: the key of one platform at one version of its TCB.
//  4. The PCK signed the report of the quoting enclave (QE), which binds the
//     attestation key.
//  5. The TCB signing key signed the QE's identity, which says who that enclave
//     must be, and the TCB info, which says of each version of the platform and of
//     the TDX module whether it is still good.
//  6. The attestation key signed the quote's header and body.
//
// All functions are pure: roots, collateral and time are arguments, and there is
// no network, file, clock or default root. Whether a quote that is genuine is
// also good enough is a policy's to say, not this package's: debugging, an old
// TCB, unpinned measurements and expired collateral are all claims. Only what
// Intel has revoked is an error, and so is what no TCB info speaks of.
package dcap

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// Errors. A certificate on a revocation list wraps pki.ErrRevoked, and a list
// that is not usable pki.ErrCRL.
var (
	// ErrQuote is wrapped if a quote is not well-formed, or has reserved bits.
	ErrQuote = errors.New("malformed quote")
	// ErrCertData is wrapped if a quote has no PCK chain that can be read.
	ErrCertData = errors.New("certification data not usable")
	// ErrRoot is wrapped if no pinned root fits the quote.
	ErrRoot = errors.New("no pinned root for this quote")
	// ErrChain is wrapped if a certificate is not one that its issuer gave out
	// for this purpose.
	ErrChain = errors.New("certificate chain broken")
	// ErrTime is wrapped if a certificate is not valid at the time given, or
	// collateral is of the future.
	ErrTime = errors.New("not valid at this time")
	// ErrPCK is wrapped if a PCK certificate does not say what it must.
	ErrPCK = errors.New("PCK certificate not as specified")
	// ErrSignature is wrapped if the quote's signature, or the one of the QE's
	// report, is wrong.
	ErrSignature = errors.New("quote signature wrong")
	// ErrBinding is wrapped if the QE's report does not bind the attestation key.
	ErrBinding = errors.New("attestation key not bound to the quoting enclave")
	// ErrCollateral is wrapped if collateral is missing, or all of it is for
	// something else.
	ErrCollateral = errors.New("collateral missing")
	// ErrTCBInfo is wrapped if TCB info is malformed or not signed.
	ErrTCBInfo = errors.New("TCB info not usable")
	// ErrQEIdentity is wrapped if a QE identity is malformed or not signed.
	ErrQEIdentity = errors.New("QE identity not usable")
	// ErrQE is wrapped if the QE is not the one of the QE identity.
	ErrQE = errors.New("quoting enclave mismatch")
	// ErrModule is wrapped if the TDX module is not the one of the TCB info.
	ErrModule = errors.New("TDX module mismatch")
	// ErrTCBLevel is wrapped if the collateral has no level for the TCB.
	ErrTCBLevel = errors.New("no TCB level for this version")
	// ErrRevoked is wrapped if Intel has revoked the TCB.
	ErrRevoked = errors.New("TCB revoked")
)

// Collateral is what Intel publishes about its hardware. All of it is verified
// each time. What does not concern the quote is passed over.
type Collateral struct {
	Certificates [][]byte // DER: the TCB signing certificate; a PCK CA if the quote has none
	CRLs         [][]byte // DER: the root's and the PCK CA's
	TCBInfos     [][]byte // {"tcbInfo":{...},"signature":"..."}, as signed
	QEIdentities [][]byte // {"enclaveIdentity":{...},"signature":"..."}, as signed
}

// Claims is what a verified quote proves.
type Claims struct {
	Root string // the pinned root's name
	Dev  bool   // the root is not Intel's: nothing is proven

	TEE      TEE
	Version  uint16         // of the quote
	UserData [20]byte       // of the quote's header; in Intel's stack an ID of the QE on its platform
	BodyType BodyType       // which of the two below is there, and in which form
	SGX      *EnclaveReport // of SGX
	TD       *TDReport      // of TDX
	QE       EnclaveReport  // of the quoting enclave

	PCK PCK // the platform

	// Status is all statuses merged: a better one never hides a worse one.
	Status         Status
	PlatformStatus Status // of processor, firmware, PCE, and the TDX module if its major version is 0
	ModuleStatus   Status // of the TDX module, empty if PlatformStatus covers it
	QEStatus       Status // of the quoting enclave
	// CurrentStatus is of TD 1.5, else empty: what Status would be if the domain
	// had been launched when the quote was made.
	CurrentStatus Status
	Advisories    []string  // of all parts, sorted, each once
	TCBDate       time.Time // the earliest of all parts: the TCB is at most as new as this
	// TCBEvaluationDataNumber is the lower of TCB info and QE identity.
	TCBEvaluationDataNumber uint32

	Collateral []pki.Used // the dated collateral that was relied on
	Unchecked  []string   // certificates that no revocation list was there for
}

// Debug reports whether the host can read what runs.
func (c *Claims) Debug() bool {
	switch {
	case c.SGX != nil:
		return c.SGX.Attributes.Debug()
	case c.TD != nil:
		return c.TD.Attributes.Debug()
	}
	return true
}

// ReportData returns what the attester wanted to be in the quote.
func (c *Claims) ReportData() [64]byte {
	switch {
	case c.SGX != nil:
		return c.SGX.ReportData
	case c.TD != nil:
		return c.TD.ReportData
	}
	return [64]byte{}
}

// Most of what a Collateral may have: each document may be tried with each
// certificate.
const (
	MaxCertificates = 128
	MaxDocuments    = 128
)

// Verify verifies a quote with the certificates in it and in c, back to one of
// roots, at time now. seen may be nil. It returns claims only if all of it holds.
// That collateral has expired is not an error: see Claims.Collateral.
func Verify(quote []byte, c Collateral, roots []Root, seen *pki.Seen, now time.Time) (*Claims, error) {
	if now.IsZero() {
		return nil, fmt.Errorf("%w: no time was given", ErrTime)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: no roots were given", ErrRoot)
	}
	if n := len(c.Certificates); n > MaxCertificates {
		return nil, fmt.Errorf("%w: %d certificates are too many, at most %d are looked at", ErrCollateral, n, MaxCertificates)
	}
	if n := len(c.TCBInfos) + len(c.QEIdentities); n > MaxDocuments {
		return nil, fmt.Errorf("%w: %d TCB infos and QE identities are too many, at most %d are looked at", ErrCollateral, n, MaxDocuments)
	}
	q, signed, err := parseQuote(quote)
	if err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	v, err := newVerifier(c, roots, seen, now)
	if err != nil {
		return nil, err
	}
	leaf, err := v.pckChain(q)
	if err != nil {
		return nil, err
	}
	pck, err := ParsePCK(leaf)
	if err != nil {
		return nil, err
	}
	if err := v.checkSignatures(q, signed, leaf); err != nil {
		return nil, err
	}
	info, err := v.tcbInfo(c.TCBInfos, q.TEE(), pck)
	if err != nil {
		return nil, err
	}
	identity, err := v.qeIdentity(c.QEIdentities, q.TEE())
	if err != nil {
		return nil, err
	}
	claims := &Claims{
		Root: v.root.Name, Dev: v.root.Dev || !v.root.intel(),
		TEE: q.TEE(), Version: q.Version, UserData: q.UserData, BodyType: q.BodyType, SGX: q.SGX, TD: q.TD, QE: q.QEReport,
		PCK: *pck, TCBEvaluationDataNumber: min(info.number, identity.number),
	}
	if err := claims.evaluate(info, identity); err != nil {
		return nil, err
	}
	claims.Collateral, claims.Unchecked = v.used, v.unchecked
	return claims, nil
}

// check refuses reserved bits in what the quote is about.
func (q *Quote) check() error {
	if err := q.QEReport.check("QE report"); err != nil {
		return err
	}
	if q.TD != nil {
		return q.TD.check()
	}
	return q.SGX.check("enclave report")
}

// A verifier is what the steps of one verification share.
type verifier struct {
	roots []Root
	certs []*x509.Certificate // of the collateral, without copies of roots
	crls  pki.CRLs
	seen  *pki.Seen
	now   time.Time

	root      *Root               // that the quote goes back to
	signers   []*x509.Certificate // of TCB info and QE identities
	used      []pki.Used
	unchecked []string
}
