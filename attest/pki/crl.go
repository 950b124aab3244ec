package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of revocation.
var (
	// ErrRevoked is wrapped if a revocation list has a certificate.
	ErrRevoked = errors.New("certificate revoked")
	// ErrCRL is wrapped if a revocation list is malformed, not signed by who it
	// says, of the future, or not a complete list of its issuer's.
	ErrCRL = errors.New("revocation list not usable")
)

// Most of what ParseCRLs takes.
const (
	MaxCRLs     = 64
	MaxCRLBytes = 4 << 20 // of all lists together; an entry takes about 40
)

// Used is a piece of signed, dated collateral that a verification relied on.
type Used struct {
	Name    string    `json:"name"`   // for people
	Issued  time.Time `json:"issued"` // thisUpdate, or issueDate
	Expires time.Time `json:"expires"`
}

// CRLs is a set of revocation lists. Nothing in them is proven before Check.
type CRLs []*x509.RevocationList

// ParseCRLs reads lists in DER (RFC 5280, section 5). It takes at most MaxCRLs
// with MaxCRLBytes together.
func ParseCRLs(ders [][]byte) (CRLs, error) {
	if len(ders) > MaxCRLs {
		return nil, fmt.Errorf("%w: %d lists, at most %d allowed", ErrCRL, len(ders), MaxCRLs)
	}
	size := 0
	for _, der := range ders {
		size += len(der)
	}
	if size > MaxCRLBytes {
		return nil, fmt.Errorf("%w: %d lists of %d bytes, at most %d allowed", ErrCRL, len(ders), size, MaxCRLBytes)
	}
	var crls CRLs
	for i, der := range ders {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%w: list %d: %w", ErrCRL, i, err)
		}
		if len(crl.Raw) != len(der) { // x509 does not mind
			return nil, fmt.Errorf("%w: list %d: %d bytes behind it", ErrCRL, i, len(der)-len(crl.Raw))
		}
		crls = append(crls, crl)
	}
	return crls, nil
}

// Check looks cert up in every list of issuer's name and key ID; those of others
// are passed over. All of them must be complete, signed by issuer and not of the
// future, and none may have cert. It returns the one that holds longest, or nil
// if there is none: cert is then not checked. That a list has expired is not an
// error: see Used.Expires.
func (crls CRLs) Check(cert, issuer *x509.Certificate, seen *Seen, now time.Time) (*Used, error) {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("%w: %q was not issued by %q", ErrCRL, cert.Subject.CommonName, issuer.Subject.CommonName)
	}
	var used *Used
	for _, crl := range crls {
		if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) || !sameKeyID(crl.AuthorityKeyId, issuer.SubjectKeyId) {
			continue
		}
		name := fmt.Sprintf("revocation list of %q", issuer.Subject.CommonName)
		if err := checkCRL(crl, issuer, seen, now); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrCRL, name, err)
		}
		i := slices.IndexFunc(crl.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(cert.SerialNumber) == 0
		})
		if i >= 0 {
			return nil, fmt.Errorf("%w: %q, serial number %x, by the %s, on %s", ErrRevoked, cert.Subject.CommonName, cert.SerialNumber, name,
				crl.RevokedCertificateEntries[i].RevocationTime.UTC().Format(time.RFC3339))
		}
		if used == nil || crl.NextUpdate.After(used.Expires) {
			used = &Used{Name: name, Issued: crl.ThisUpdate, Expires: crl.NextUpdate}
		}
	}
	return used, nil
}

// checkCRL checks that issuer made crl, not after now, and that it is complete:
// that a certificate that it does not have is not revoked.
func checkCRL(crl *x509.RevocationList, issuer *x509.Certificate, seen *Seen, now time.Time) error {
	if err := checkAlgorithm(crl.SignatureAlgorithm); err != nil {
		return err
	}
	err := seen.Check(func() error { return crl.CheckSignatureFrom(issuer) }, []byte("list"), issuer.Raw, crl.Raw)
	if err != nil {
		return err
	}
	if crl.ThisUpdate.After(now) {
		return fmt.Errorf("it was made at %s, and it is %s", crl.ThisUpdate.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if crl.NextUpdate.IsZero() {
		return errors.New("it does not say until when it holds")
	}
	if !crl.NextUpdate.After(crl.ThisUpdate) {
		return fmt.Errorf("it was made at %s and holds until %s", crl.ThisUpdate.UTC().Format(time.RFC3339), crl.NextUpdate.UTC().Format(time.RFC3339))
	}
	names := make(map[string]bool)
	for _, ext := range crl.Extensions {
		id := ext.Id.String()
		if names[id] {
			return fmt.Errorf("it has the extension %s twice", id)
		}
		names[id] = true
		switch {
		case ext.Id.Equal(deltaIndicator):
			return errors.New("it is a delta to another list")
		case ext.Id.Equal(distributionPoint):
			return errors.New("it may be of some certificates only: it has an issuing distribution point")
		case ext.Critical:
			return fmt.Errorf("it has the critical extension %s", id)
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, ext := range entry.Extensions { // an entry of an indirect list has some
			if ext.Critical {
				return fmt.Errorf("the entry of serial number %x has the critical extension %v", entry.SerialNumber, ext.Id)
			}
		}
	}
	return nil
}

// Extensions of lists that are not complete (RFC 5280, sections 5.2.4 and 5.2.5).
var (
	deltaIndicator    = asn1.ObjectIdentifier{2, 5, 29, 27}
	distributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// sameKeyID reports whether a list's authority key ID can be that of a
// certificate: equal, or not known of one of them.
func sameKeyID(list, cert []byte) bool {
	return len(list) == 0 || len(cert) == 0 || bytes.Equal(list, cert)
}
