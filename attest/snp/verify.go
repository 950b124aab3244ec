// Package snp verifies AMD SEV-SNP attestation reports.
//
// The chain of trust, each step verified by the one before it:
//
//  1. The caller pins AMD's root key (ARK) of a product, by argument.
//  2. The ARK signed the ASK, which vouches for chips, and the ASVK, which
//     vouches for cloud providers.
//  3. The ASK signed a VCEK, the key of one chip at one version of its
//     firmware; or the ASVK a VLEK, the key of one provider at one version.
//  4. The VCEK or VLEK signed the report, and speaks of the same product,
//     firmware and chip.
//
// Where the ARK's revocation list is given, it must not have the ASK or ASVK.
//
// All functions are pure: roots, collateral and time are arguments, and there is
// no network, file, clock or default root. Whether a report that is genuine is
// also good enough is a policy's to say, not this package's: how old revocation
// lists may be, and whether they may be absent, too.
package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// Errors of a report that does not fit its certificate.
var (
	// ErrSigner is wrapped if there is no certificate of the key that the
	// report says has signed it, or it was not signed.
	ErrSigner = errors.New("no usable signing key")
	// ErrProduct is wrapped if root, certificate and report are not of one product.
	ErrProduct = errors.New("product mismatch")
	// ErrTCB is wrapped if the certificate is for another TCB than the report's.
	ErrTCB = errors.New("TCB mismatch")
	// ErrChipID is wrapped if the certificate is for another chip than the report's.
	ErrChipID = errors.New("chip ID mismatch")
	// ErrSignature is wrapped if the report's signature is wrong.
	ErrSignature = errors.New("report signature wrong")
)

// Claims is what a verified report proves.
type Claims struct {
	Root        string // the pinned root's name
	Dev         bool   // the root is of simulated hardware: nothing is proven
	Product     Product
	ProductName string     // as the certificate has it: Milan, Milan-B0, Siena
	Signer      SigningKey // VCEK or VLEK
	Report      Report

	// The report's TCB versions, as the product lays them out.
	ReportedTCB, CommittedTCB, CurrentTCB, LaunchTCB TCB

	// ChipID is the chip, 64 bytes or 8 on Turin. With a VCEK it is certified,
	// even if the report's own is masked. With a VLEK it is the report's, nil
	// if masked.
	ChipID []byte
	CSPID  string // the cloud provider, with a VLEK

	Collateral []pki.Used // the revocation lists that were looked at, with their dates
	// Unchecked is the common name of the ASK or ASVK if there was no revocation
	// list for it. VCEKs and VLEKs are never named: AMD publishes lists of the
	// ARK's only, which speak of ASKs and ASVKs (VCEK specification 57230,
	// chapter 4).
	Unchecked []string
}

// Verify verifies a report back to one of roots, at time now, with certificates
// from auxblob, the certificate table that came with the report, and c. auxblob
// may be empty. It returns claims only if all of it holds.
//
// The certificates are used if they fit: of the kind of key that signed the
// report, for its TCB and chip. If none leads to a root, the error is that of the
// one that came furthest. An ARK in auxblob must be a pinned one; one in c is not
// needed, and not trusted. A certificate must be valid at now, and no revocation
// list in c may have it. A list that has expired is used: its dates are in the
// claims.
//
// seen remembers signatures of certificates, and may be nil.
func Verify(report, auxblob []byte, c Collateral, roots []Root, seen *pki.Seen, now time.Time) (*Claims, error) {
	if now.IsZero() {
		return nil, fmt.Errorf("%w: no time was given", ErrTime)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: no roots were given", ErrRoot)
	}
	r, err := ParseReport(report)
	if err != nil {
		return nil, err
	}
	if err := checkSigner(r); err != nil {
		return nil, err
	}
	table := new(CertTable)
	if len(auxblob) > 0 {
		if table, err = ParseCertTable(auxblob); err != nil {
			return nil, err
		}
	}
	certs, err := gather(table, c, r.SigningKey)
	if err != nil {
		return nil, err
	}
	crls, err := pki.ParseCRLs(c.CRLs)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		if err := root.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRoot, err)
		}
	}
	s := search{report: r, signed: Signed(report), certs: certs, crls: crls, roots: roots, seen: seen, now: now, attempts: maxAttempts}
	return s.run()
}

// checkSigner checks that the report says that it was signed, by a key that has
// certificates.
func checkSigner(r *Report) error {
	if r.MaskChipKey {
		return fmt.Errorf("%w: the host has report signing turned off (MASK_CHIP_KEY)", ErrSigner)
	}
	if r.SigningKey != VCEK && r.SigningKey != VLEK {
		return fmt.Errorf("%w: the report's signing key is %v, must be VCEK or VLEK", ErrSigner, r.SigningKey)
	}
	return nil
}

// checkSignature verifies the report's signature (SEV-SNP ABI 1.58, section
// 10.3). It is not unique: S and the group order minus S both verify.
func checkSignature(key *ecdsa.PublicKey, r *Report, signed []byte) error {
	digest := sha512.Sum384(signed)
	rr, ss := new(big.Int).SetBytes(r.SignatureR[:]), new(big.Int).SetBytes(r.SignatureS[:])
	n := key.Curve.Params().N
	if rr.Sign() == 0 || ss.Sign() == 0 || rr.Cmp(n) >= 0 || ss.Cmp(n) >= 0 {
		return fmt.Errorf("%w: R and S must be from 1 to the group order", ErrSignature)
	}
	if !ecdsa.Verify(key, digest[:], rr, ss) {
		return fmt.Errorf("%w: not made by the certified %v over this report", ErrSignature, r.SigningKey)
	}
	return nil
}

// match checks that report and endorsement speak of the same thing, and returns
// what a good chain and signature then prove.
func match(r *Report, e *Endorsement) (*Claims, error) {
	if r.Version >= 3 { // earlier reports don't name the processor
		p, err := r.CPUID.Product()
		if err != nil {
			return nil, err
		}
		if p != e.Product {
			return nil, fmt.Errorf("%w: a report of a %s with a %v for %s", ErrProduct, p, e.Signer, e.Name)
		}
	}
	c := &Claims{Product: e.Product, ProductName: e.Name, Signer: e.Signer, Report: *r, CSPID: e.CSPID}
	for _, t := range []struct {
		raw RawTCB
		out *TCB
	}{{r.ReportedTCB, &c.ReportedTCB}, {r.CommittedTCB, &c.CommittedTCB}, {r.CurrentTCB, &c.CurrentTCB}, {r.LaunchTCB, &c.LaunchTCB}} {
		var err error
		if *t.out, err = t.raw.Decode(e.Product); err != nil {
			return nil, err
		}
	}
	var errs []error // both are of use to somebody who mixed up files
	if c.ReportedTCB != e.TCB {
		errs = append(errs, fmt.Errorf("%w: the %v is for %v, the report says %v", ErrTCB, e.Signer, e.TCB, c.ReportedTCB))
	}
	chip, rest := r.ChipID[:chipIDSize(e.Product)], r.ChipID[chipIDSize(e.Product):]
	masked := zero(chip) // MASK_CHIP_ID, or a VLEK
	switch {
	case !zero(rest):
		errs = append(errs, fmt.Errorf("%w: the report's %x has more than the %d bytes of a %s", ErrChipID, r.ChipID, len(chip), e.Product))
	case e.Signer == VCEK && !masked && !bytes.Equal(chip, e.HWID):
		errs = append(errs, fmt.Errorf("%w: the VCEK is for %x, the report says %x", ErrChipID, e.HWID, chip))
	case e.Signer == VCEK:
		c.ChipID = bytes.Clone(e.HWID)
	case !masked:
		c.ChipID = bytes.Clone(chip)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// chipIDSize is how many bytes of a chip ID product uses.
func chipIDSize(product Product) int {
	if product == Turin {
		return 8
	}
	return 64
}
