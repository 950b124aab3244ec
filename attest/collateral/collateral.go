// Package collateral reads, keeps and fetches what manufacturers publish about
// their hardware: certificates, revocation lists, TCB infos, QE identities.
//
// Parse reads files of all the forms that they are handed out in. A Bundle is
// one file with all that some evidence needs, to verify it without a network. A
// Fetcher gets it from AMD's key server and from Intel's service, or from
// mirrors of them, and keeps it in a folder.
//
// Nothing here decides anything. What these functions return is not verified:
// attest verifies it each time, wherever it came from and however long it was
// kept.
package collateral

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// Most of what a file may have.
const (
	MaxFile   = 1 << 20 // bytes
	MaxItems  = 256     // certificates, lists and signed JSON objects together
	maxLayers = 12      // of encodings, objects and arrays in each other
	maxDepth  = 32      // of JSON
	maxNodes  = 4096    // members and elements of JSON
)

// ErrFormat is wrapped by Parse's errors for bytes that are no collateral, or
// are malformed or too large.
var ErrFormat = errors.New("not usable as collateral")

// expected is what Parse reads, for people.
const expected = "expected certificates or revocation lists in PEM or DER, Intel's JSON, an AMD certificate table or a bundle"

// Parse reads a file of collateral. By its content it recognises
//
//   - PEM blocks CERTIFICATE and X509 CRL in any order and number, with text
//     around them, also percent-encoded as in the headers of Intel's answers;
//   - certificates and revocation lists in DER, one behind the other;
//   - any of these in hex or base64;
//   - Intel's answers for TCB infos and QE identities, JSON;
//   - JSON with such things under the names that sgx_ql_qve_collateral_t, PCCS,
//     dcap-qvl and Azure's THIM give them, or under any name in Intel's form;
//   - AMD's certificate table (see snp.ParseCertTable);
//   - a bundle (see DecodeBundle).
//
// Signed JSON keeps the bytes that were signed. What is there twice is returned
// once. Members of JSON that are not known are passed over; but a file in which
// nothing is known, or in which something known is malformed, is an error.
//
// It allocates at most 64 bytes for each byte of data, and 1 MiB besides.
func Parse(data []byte) (attest.Collateral, error) {
	var p parser
	if err := p.parse(data, maxLayers); err != nil {
		return attest.Collateral{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if p.items == 0 {
		return attest.Collateral{}, fmt.Errorf("%w: %s, and nothing in it is known; %s", ErrFormat, describe(data), expected)
	}
	return p.c, nil
}

// A parser gathers what it finds.
type parser struct {
	c     attest.Collateral
	items int
	nodes int
}

// add appends a copy of item to one of the lists of p.c, unless it is there.
func (p *parser) add(list *[][]byte, item []byte) error {
	p.items++
	if p.items > MaxItems {
		return fmt.Errorf("more than the %d items allowed", MaxItems)
	}
	if !slices.ContainsFunc(*list, func(b []byte) bool { return bytes.Equal(b, item) }) {
		*list = append(*list, bytes.Clone(item))
	}
	return nil
}

func (p *parser) parse(data []byte, layers int) error {
	switch {
	case layers == 0:
		return fmt.Errorf("more than %d encodings, objects and arrays in each other", maxLayers)
	case len(data) > MaxFile:
		return fmt.Errorf("%d bytes, at most %d allowed", len(data), MaxFile)
	case bytes.HasPrefix(data, bundlePrefix):
		return p.bundle(data)
	case looksDER(data):
		return p.der(data)
	case looksText(data):
		return p.text(data, layers)
	}
	err := p.table(data)
	if err != nil && !looksTable(data) {
		return fmt.Errorf("%s; %s", describe(data), expected)
	}
	return err
}

func (p *parser) bundle(data []byte) error {
	b, err := DecodeBundle(data)
	if err != nil {
		return err
	}
	for _, l := range [][2]*[][]byte{
		{&p.c.Certificates, &b.Collateral.Certificates}, {&p.c.CRLs, &b.Collateral.CRLs},
		{&p.c.TCBInfos, &b.Collateral.TCBInfos}, {&p.c.QEIdentities, &b.Collateral.QEIdentities},
	} {
		for _, item := range *l[1] {
			if err := p.add(l[0], item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parser) table(data []byte) error {
	t, err := snp.ParseCertTable(data)
	if err != nil {
		return err
	}
	for _, cert := range []*x509.Certificate{t.ARK, t.ASK, t.VCEK, t.VLEK} {
		if cert == nil {
			continue
		}
		if err := p.add(&p.c.Certificates, cert.Raw); err != nil {
			return err
		}
	}
	return nil
}

// der reads certificates and revocation lists, one behind the other.
func (p *parser) der(data []byte) error {
	for n := 1; len(data) > 0; n++ {
		var whole asn1.RawValue
		rest, err := asn1.Unmarshal(data, &whole)
		if err != nil {
			return fmt.Errorf("DER, object %d: truncated or malformed with %d bytes left: %w", n, len(data), err)
		}
		if isCRL(whole.Bytes) {
			err = p.crl(whole.FullBytes)
		} else {
			err = p.certificate(whole.FullBytes)
		}
		if err != nil {
			return fmt.Errorf("DER, object %d: %w", n, err)
		}
		data = rest
	}
	return nil
}

// isCRL tells the content of a CertificateList from that of a Certificate (RFC
// 5280, sections 4.1 and 5.1): its first part does not begin with [0], the
// version that all certificates but those of version 1 begin with.
func isCRL(content []byte) bool {
	var signed, first asn1.RawValue
	if _, err := asn1.Unmarshal(content, &signed); err != nil {
		return false
	}
	_, err := asn1.Unmarshal(signed.Bytes, &first)
	return err == nil && first.Class == asn1.ClassUniversal
}

func (p *parser) certificate(der []byte) error {
	if _, err := x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return p.add(&p.c.Certificates, der)
}

func (p *parser) crl(der []byte) error {
	if _, err := x509.ParseRevocationList(der); err != nil {
		return fmt.Errorf("revocation list: %w", err)
	}
	return p.add(&p.c.CRLs, der)
}
