package snp

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Most of what a Collateral may have.
const (
	MaxCertificates = 1024 // each of at most 8 KiB
	maxAttempts     = 64   // chains that Verify tries: two certificate signatures each
)

// ErrCollateral is wrapped by the errors for collateral that cannot be read, or
// is too much.
var ErrCollateral = errors.New("collateral not usable")

// Collateral is what AMD publishes about its hardware. What does not concern a
// report is passed over, so that one Collateral serves many chips.
type Collateral struct {
	Certificates [][]byte // X.509, DER: VCEKs, VLEKs, ASKs, ASVKs, ARKs in any order
	CRLs         [][]byte // X.509, DER
}

// certificates is all that came with a report, sorted by what it is. None of it
// is trusted.
type certificates struct {
	leaves      []*x509.Certificate // VCEKs or VLEKs: whatever the report names
	authorities []*x509.Certificate // ASKs and ASVKs
	arks        []*x509.Certificate // of Collateral
	tableARK    *x509.Certificate   // of the certificate table, or nil
}

// gather sorts the certificates of table and c. Those of the table come first,
// the others in the order given.
func gather(table *CertTable, c Collateral, signer SigningKey) (*certificates, error) {
	if len(c.Certificates) > MaxCertificates {
		return nil, fmt.Errorf("%w: %d certificates, at most %d allowed", ErrCollateral, len(c.Certificates), MaxCertificates)
	}
	certs := &certificates{tableARK: table.ARK}
	if table.ASK != nil {
		certs.authorities = append(certs.authorities, table.ASK)
	}
	leaf, want := table.VCEK, "SEV-"+signer.String()
	if signer == VLEK {
		leaf = table.VLEK
	}
	var misnamed string
	switch {
	case leaf == nil:
	case leaf.Subject.CommonName == want:
		certs.leaves = append(certs.leaves, leaf)
	default:
		misnamed = fmt.Sprintf("; in the certificate table its common name is %q, must be %q", leaf.Subject.CommonName, want)
	}
	for i, der := range c.Certificates {
		if len(der) > maxCertificate {
			return nil, fmt.Errorf("%w: certificate %d has %d bytes, at most %d allowed", ErrCollateral, i, len(der), maxCertificate)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrCollateral, i, err)
		}
		switch name := cert.Subject.CommonName; {
		case name == want:
			certs.leaves = append(certs.leaves, cert)
		case strings.HasPrefix(name, "ARK-"):
			certs.arks = append(certs.arks, cert)
		case strings.HasPrefix(name, "SEV-") && cert.IsCA:
			certs.authorities = append(certs.authorities, cert)
		}
	}
	if len(certs.leaves) == 0 {
		return nil, fmt.Errorf("%w: the report is signed by a %v, and neither the certificate table nor the collateral's %d certificates have one%s",
			ErrSigner, signer, len(c.Certificates), misnamed)
	}
	return certs, nil
}

// foreignARK returns the common name of a root that came with the evidence, of
// the same name as one of roots, and is none of them.
func (c *certificates) foreignARK(roots []Root) (name string, found bool) {
	for _, ark := range c.arks {
		namesake, pinned := false, false
		for _, root := range roots {
			namesake = namesake || bytes.Equal(ark.RawSubject, root.ARK.RawSubject)
			pinned = pinned || bytes.Equal(ark.Raw, root.ARK.Raw)
		}
		if namesake && !pinned {
			return ark.Subject.CommonName, true
		}
	}
	return "", false
}
