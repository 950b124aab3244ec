// Package attest decides whether evidence from a TEE is good enough.
//
// A Verifier checks that evidence is genuine, back to roots that the caller
// gives, and returns what it proves: Claims. A Policy then appraises the claims,
// rule by rule, and says of each rule what it expected and what it found. Nothing
// here has a default that accepts: the zero Policy refuses everything, and there
// are no roots but those given.
//
// A folder each has the verification for one technology. They are pure functions
// of evidence, collateral, roots and time.
package attest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
)

// The types of evidence, and the technologies.
const (
	SNP   = "snp"   // AMD SEV-SNP: a report
	TDX   = "tdx"   // Intel TDX: a DCAP quote
	SGX   = "sgx"   // Intel SGX: a DCAP quote
	CCA   = "cca"   // Arm CCA: a token of platform and realm
	Nitro = "nitro" // AWS Nitro Enclaves: an attestation document
	TPM   = "tpm"   // TPM 2.0: a quote
)

// Technologies returns all technologies, in a fixed order.
func Technologies() []string { return []string{SNP, TDX, SGX, CCA, Nitro, TPM} }

// ErrType is wrapped by the error for a type of evidence that is not known.
var ErrType = errors.New("type of evidence not known")

// Evidence is what a TEE gives as proof of itself. Nobody has verified it.
type Evidence struct {
	Type    string // SNP, TDX, ...
	Report  []byte // the signed report, quote, token or document, as the TEE gives it
	Auxblob []byte // of SNP: the certificate table that came with it; may be empty
}

// Collateral is what manufacturers publish about their hardware, signed by them.
// All of it is verified each time. What does not concern the evidence is passed
// over.
type Collateral struct {
	Certificates [][]byte // X.509, DER
	CRLs         [][]byte // X.509, DER
	TCBInfos     [][]byte // Intel's, JSON with its signature, as signed
	QEIdentities [][]byte // Intel's, JSON with its signature, as signed
}

// Merge returns all of both.
func (c Collateral) Merge(other Collateral) Collateral {
	return Collateral{
		Certificates: slices.Concat(c.Certificates, other.Certificates),
		CRLs:         slices.Concat(c.CRLs, other.CRLs),
		TCBInfos:     slices.Concat(c.TCBInfos, other.TCBInfos),
		QEIdentities: slices.Concat(c.QEIdentities, other.QEIdentities),
	}
}

// Roots is the roots of trust that the caller pins.
type Roots struct {
	SNP   []snp.Root
	DCAP  []dcap.Root // of TDX and SGX
	CCA   []cca.Root
	Nitro []nitro.Root
	TPM   []tpm.Root
}

// VendorRoots returns the roots that AMD, Intel and AWS publish. Arm CCA and TPMs
// have none that all their hardware goes back to.
func VendorRoots() Roots {
	aws, err := nitro.AWSRoot()
	if err != nil {
		panic(err) // it is compiled in
	}
	return Roots{SNP: snp.AMDRoots(), DCAP: []dcap.Root{dcap.IntelRoot()}, Nitro: []nitro.Root{aws}}
}

// Merge returns all of both.
func (r Roots) Merge(other Roots) Roots {
	return Roots{
		SNP:   slices.Concat(r.SNP, other.SNP),
		DCAP:  slices.Concat(r.DCAP, other.DCAP),
		CCA:   slices.Concat(r.CCA, other.CCA),
		Nitro: slices.Concat(r.Nitro, other.Nitro),
		TPM:   slices.Concat(r.TPM, other.TPM),
	}
}

// Claims is what verified evidence proves. All but the last fields hold for each
// technology.
type Claims struct {
	Technology string
	// Simulated is set if the root is one of simulated hardware: the claims then
	// prove nothing, and a Policy refuses them unless it says otherwise.
	Simulated bool
	Root      string    // the pinned root's name
	Time      time.Time // for which it was verified

	ReportData  []byte // what the attester wanted to be in it: 64 bytes, a nonce in Nitro and TPM
	Measurement []byte // of what was launched
	Machine     []byte // what tells this machine from others; nil if not known
	Debug       bool   // the host can read what runs

	Collateral []pki.Used // the dated collateral that was relied on
	Unchecked  []string   // certificates that no revocation list was there for

	// That of the technology; the others are nil.
	SNP   *snp.Claims
	DCAP  *dcap.Claims
	CCA   *cca.Claims
	Nitro *nitro.Claims
	TPM   *tpm.Claims
}

// A Verifier verifies evidence back to its roots. It remembers signatures of
// certificates that it has verified, so that evidence of a known chain is
// verified in less time. It may be used by several goroutines.
type Verifier struct {
	roots Roots
	seen  pki.Seen
}

// NewVerifier returns a Verifier that trusts roots and nothing else.
func NewVerifier(roots Roots) *Verifier { return &Verifier{roots: roots} }

// Verify verifies that evidence is genuine at time now. It returns claims only
// if it is. Whether they are good enough is for Policy.Appraise to say.
func (v *Verifier) Verify(ev Evidence, c Collateral, now time.Time) (*Claims, error) {
	var claims *Claims
	var err error
	if len(ev.Auxblob) > 0 && ev.Type != SNP {
		return nil, fmt.Errorf("%w: %s evidence has no certificate table", ErrType, ev.Type)
	}
	switch ev.Type {
	case SNP:
		claims, err = v.snp(ev, c, now)
	case TDX, SGX:
		claims, err = v.dcap(ev, c, now)
	case CCA:
		claims, err = v.cca(ev, now)
	case Nitro:
		claims, err = v.nitro(ev, now)
	case TPM:
		claims, err = v.tpm(ev, c, now)
	default:
		return nil, fmt.Errorf("%w: %.32q, must be one of %q", ErrType, ev.Type, Technologies())
	}
	if err != nil {
		return nil, fmt.Errorf("%s evidence: %w", ev.Type, err)
	}
	claims.Technology, claims.Time = ev.Type, now
	return claims, nil
}

// Verify is NewVerifier(roots).Verify.
func Verify(ev Evidence, c Collateral, roots Roots, now time.Time) (*Claims, error) {
	return NewVerifier(roots).Verify(ev, c, now)
}
