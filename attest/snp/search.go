package snp

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// A search is for certificates that lead from a report to a pinned root.
type search struct {
	report   *Report
	signed   []byte // the part of it that its signature is over
	certs    *certificates
	crls     pki.CRLs
	roots    []Root // checked
	seen     *pki.Seen
	now      time.Time
	attempts int // chains that may yet be tried
}

// run tries every VCEK or VLEK, and returns the claims of the first that works,
// or the error of the one that came furthest.
func (s *search) run() (*Claims, error) {
	ark := s.certs.tableARK
	if ark != nil && !slices.ContainsFunc(s.roots, func(r Root) bool { return r.ARK.Equal(ark) }) {
		return nil, fmt.Errorf("%w: it names %q as its root, which is none of the %d given", ErrRoot, ark.Subject.String(), len(s.roots))
	}
	var best *failure
	for _, leaf := range s.certs.leaves {
		c, failed := s.leaf(leaf)
		if failed == nil {
			return c, nil
		}
		if best == nil || stage(failed.err) > stage(best.err) {
			best = failed
		}
	}
	err := best.err
	if best.mismatch != nil {
		// What a certificate says that nobody signed is worth nothing: say that first.
		if _, cerr := s.chain(best.leaf, best.mismatch); cerr != nil {
			err = errors.Join(cerr, err)
		}
	}
	if n := len(s.certs.leaves); n > 1 {
		err = fmt.Errorf("none of %d certificates of a %v fits, the best of them: %w", n, s.report.SigningKey, err)
	}
	return nil, err
}

// A failure is a VCEK or VLEK that was tried in vain.
type failure struct {
	leaf     *x509.Certificate
	mismatch *Endorsement // what it says, if that is not what the report says
	err      error
}

// leaf tries one VCEK or VLEK: that it is for this report, that it goes back to a
// root, and that its key signed the report.
func (s *search) leaf(leaf *x509.Certificate) (*Claims, *failure) {
	e, err := ParseEndorsement(leaf)
	if err != nil {
		return nil, &failure{leaf, nil, err}
	}
	c, err := match(s.report, e)
	if err != nil { // no signature needs to be looked at
		return nil, &failure{leaf, e, err}
	}
	// The report's signature takes as long as those of its chain: both at once.
	signature := make(chan error, 1)
	go func() { signature <- checkSignature(e.Key, s.report, s.signed) }()
	p, err := s.chain(leaf, e)
	unsigned := <-signature
	if err != nil {
		return nil, &failure{leaf, nil, err}
	}
	if unsigned != nil {
		return nil, &failure{leaf, nil, unsigned}
	}
	c.Root, c.Dev = p.root.Name, p.root.Dev || !p.root.isAMD()
	c.Collateral, c.Unchecked = p.collateral, p.unchecked
	return c, nil
}

// A path is a chain of certificates that is good, and what was used to say so.
type path struct {
	root       *Root
	collateral []pki.Used
	unchecked  []string
}

// chain finds the pinned root that leaf goes back to: root -> ASK -> VCEK, or
// root -> ASVK -> VLEK.
func (s *search) chain(leaf *x509.Certificate, e *Endorsement) (*path, error) {
	var failed error
	for i := range s.roots {
		root := &s.roots[i]
		if ark := s.certs.tableARK; ark != nil && !ark.Equal(root.ARK) {
			continue
		}
		for _, ca := range slices.Concat(s.certs.authorities, root.Intermediates) {
			if !bytes.Equal(leaf.RawIssuer, ca.RawSubject) || !bytes.Equal(ca.RawIssuer, root.ARK.RawSubject) {
				continue
			}
			if s.attempts--; s.attempts < 0 {
				return nil, fmt.Errorf("%w: more than %d chains of certificates to try", ErrCollateral, maxAttempts)
			}
			p, err := s.checkChain(root, ca, leaf, e)
			if err == nil {
				return p, nil
			}
			if failed == nil || stage(err) > stage(failed) {
				failed = err
			}
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%w: no certificate leads from the %v's issuer %q to one of the %d roots given", ErrRoot, e.Signer, leaf.Issuer.String(), len(s.roots))
	}
	if name, found := s.certs.foreignARK(s.roots); found {
		failed = fmt.Errorf("%w: the %s that came with the evidence is none of the roots given: %w", ErrRoot, name, failed)
	}
	return nil, failed
}

// checkChain checks the chain root -> ca -> leaf, all valid and not revoked at
// s.now.
func (s *search) checkChain(root *Root, ca, leaf *x509.Certificate, e *Endorsement) (*path, error) {
	if root.Product != e.Product {
		return nil, fmt.Errorf("%w: a %v for %s under the root of %s", ErrProduct, e.Signer, e.Name, root.Product)
	}
	// A VLEK's issuer must not vouch for chips, nor a VCEK's for providers.
	want := "SEV-" + string(root.Product)
	if e.Signer == VLEK {
		want = "SEV-VLEK-" + string(root.Product)
	}
	if ca.Subject.CommonName != want {
		return nil, fmt.Errorf("%w: the %v's issuer is %q, must be %q", ErrChain, e.Signer, ca.Subject.CommonName, want)
	}
	if err := checkCA(ca); err != nil {
		return nil, err
	}
	if err := checkIssued(ca, root.ARK, s.seen); err != nil {
		return nil, err
	}
	if err := checkIssued(leaf, ca, s.seen); err != nil {
		return nil, err
	}
	if leaf.IsCA {
		return nil, fmt.Errorf("%w: %q is a certificate authority, must not be", ErrChain, leaf.Subject.CommonName)
	}
	for _, cert := range []*x509.Certificate{root.ARK, ca, leaf} {
		if s.now.Before(cert.NotBefore) || s.now.After(cert.NotAfter) {
			return nil, fmt.Errorf("%w: %q is valid from %s to %s, and it is %s", ErrTime, cert.Subject.CommonName,
				cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), s.now.UTC().Format(time.RFC3339))
		}
	}
	authority, err := s.crls.Check(ca, root.ARK, s.seen, s.now)
	if err != nil {
		return nil, err
	}
	issued, err := s.crls.Check(leaf, ca, s.seen, s.now)
	if err != nil {
		return nil, err
	}
	p := &path{root: root}
	if authority == nil {
		p.unchecked = []string{ca.Subject.CommonName}
	}
	for _, used := range []*pki.Used{authority, issued} {
		if used != nil {
			p.collateral = append(p.collateral, *used)
		}
	}
	return p, nil
}

// stage is how far a certificate came that failed with err.
func stage(err error) int {
	for i, sentinel := range []error{
		ErrCollateral, pki.ErrRevoked, pki.ErrCRL, ErrSignature, ErrTime, ErrChain, ErrRoot,
	} {
		if errors.Is(err, sentinel) {
			return 100 - i
		}
	}
	tcb, chip := errors.Is(err, ErrTCB), errors.Is(err, ErrChipID)
	switch {
	case tcb && chip: // of another chip altogether
		return 3
	case chip:
		return 4
	case tcb: // the right chip before or after an update
		return 5
	case errors.Is(err, ErrProduct):
		return 2
	}
	return 1
}
