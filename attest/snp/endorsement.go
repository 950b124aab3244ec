package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// ErrCertificate is wrapped by the errors for a VCEK or VLEK that is not as the
// VCEK specification (57230) wants it.
var ErrCertificate = errors.New("endorsement certificate not as specified")

// An Endorsement is what AMD says in a VCEK or VLEK about the key in it.
type Endorsement struct {
	Signer  SigningKey // VCEK or VLEK
	Product Product
	Name    string // the product as AMD has it there: Milan, Milan-B0, Siena
	TCB     TCB
	HWID    []byte // of a VCEK: 64 bytes, or 8 on Turin
	CSPID   string // of a VLEK: the cloud provider
	Key     *ecdsa.PublicKey
}

// The extensions lie under AMD's arc 1.3.6.1.4.1.3704.1 (VCEK specification
// 57230, tables 11 and 12).
const (
	amdArc         = "1.3.6.1.4.1.3704.1."
	oidStruct      = amdArc + "1"
	oidProductName = amdArc + "2"
	oidBootloader  = amdArc + "3.1"
	oidTEE         = amdArc + "3.2"
	oidSNP         = amdArc + "3.3"
	oidSPL4        = amdArc + "3.4"
	oidSPL5        = amdArc + "3.5"
	oidSPL6        = amdArc + "3.6"
	oidSPL7        = amdArc + "3.7"
	oidMicrocode   = amdArc + "3.8"
	oidFMC         = amdArc + "3.9"
	oidHWID        = amdArc + "4"
	oidCSPID       = amdArc + "5"
)

// ParseEndorsement reads a VCEK or VLEK. Every extension that its kind and
// product have must be there once, and no other of AMD's. It does not verify
// who signed the certificate.
func ParseEndorsement(cert *x509.Certificate) (*Endorsement, error) {
	e, err := parseEndorsement(cert)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return e, nil
}

func parseEndorsement(cert *x509.Certificate) (*Endorsement, error) {
	e := new(Endorsement)
	switch cert.Subject.CommonName {
	case "SEV-VCEK":
		e.Signer = VCEK
	case "SEV-VLEK":
		e.Signer = VLEK
	default:
		return nil, fmt.Errorf("common name %q, must be SEV-VCEK or SEV-VLEK", cert.Subject.CommonName)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return nil, errors.New("the key must be on P-384")
	}
	e.Key = key
	x, err := newExtensions(cert)
	if err != nil {
		return nil, err
	}
	version := x.number(oidStruct)
	e.Name = x.text(oidProductName)
	e.Product = productOf(e.Name)

	e.TCB = TCB{Bootloader: x.number(oidBootloader), TEE: x.number(oidTEE), SNP: x.number(oidSNP), Microcode: x.number(oidMicrocode)}
	unused, wantVersion := []string{oidSPL4, oidSPL5, oidSPL6, oidSPL7}, uint8(0)
	if e.Product == Turin {
		e.TCB.FMC = x.number(oidFMC)
		unused, wantVersion = unused[1:], 1
	}
	for _, oid := range unused {
		if v := x.number(oid); v != 0 {
			x.fail(fmt.Errorf("extension %s is %d, must be zero", oid, v))
		}
	}
	if e.Signer == VCEK {
		e.HWID = x.octets(oidHWID, chipIDSize(e.Product))
	} else {
		e.CSPID = x.text(oidCSPID)
	}
	x.finish()
	if x.err != nil {
		return nil, x.err
	}
	if !e.Product.known() {
		return nil, fmt.Errorf("product name %q is not a Milan, Genoa or Turin", e.Name)
	}
	if version != wantVersion {
		return nil, fmt.Errorf("structure version %d, must be %d for %s", version, wantVersion, e.Product)
	}
	return e, nil
}

// productOf returns the product of a certificate's product name: without its
// stepping, and with Bergamo and Siena, which have no roots of their own, as Genoa
// (VCEK specification 57230, table 4).
func productOf(name string) Product {
	line, _, _ := strings.Cut(name, "-")
	if line == "Bergamo" || line == "Siena" {
		return Genoa
	}
	return Product(line)
}

// extensions is AMD's extensions of a certificate. The first error sticks.
type extensions struct {
	values map[string][]byte
	err    error
}

func newExtensions(cert *x509.Certificate) (*extensions, error) {
	x := &extensions{values: make(map[string][]byte)}
	for _, ext := range cert.Extensions {
		oid := ext.Id.String()
		if !strings.HasPrefix(oid, amdArc) {
			continue
		}
		if _, twice := x.values[oid]; twice {
			return nil, fmt.Errorf("extension %s is there twice", oid)
		}
		x.values[oid] = ext.Value
	}
	return x, nil
}

func (x *extensions) fail(err error) {
	if x.err == nil {
		x.err = err
	}
}

func (x *extensions) take(oid string) []byte {
	v, ok := x.values[oid]
	if !ok {
		x.fail(fmt.Errorf("extension %s is missing", oid))
	}
	delete(x.values, oid)
	return v
}

// number reads a DER INTEGER of 0 to 255.
func (x *extensions) number(oid string) uint8 {
	v := x.take(oid)
	var n int
	rest, err := asn1.Unmarshal(v, &n)
	if err != nil || len(rest) != 0 || n < 0 || n > 255 {
		x.fail(fmt.Errorf("extension %s is %x, must be a DER INTEGER of 0 to 255", oid, v))
		return 0
	}
	return uint8(n)
}

// text reads a DER IA5String that is not empty.
func (x *extensions) text(oid string) string {
	v := x.take(oid)
	var s string
	rest, err := asn1.UnmarshalWithParams(v, &s, "ia5")
	if err != nil || len(rest) != 0 || v[0] != asn1.TagIA5String || s == "" {
		x.fail(fmt.Errorf("extension %s is %x, must be a DER IA5String", oid, v))
		return ""
	}
	return s
}

// octets reads size bytes: bare, as AMD's key server has them, or in the DER
// OCTET STRING that the specification wants.
func (x *extensions) octets(oid string, size int) []byte {
	v := x.take(oid)
	if len(v) == size+2 && bytes.HasPrefix(v, []byte{asn1.TagOctetString, byte(size)}) {
		v = v[2:]
	}
	if len(v) != size {
		x.fail(fmt.Errorf("extension %s has %d bytes, must have %d", oid, len(v), size))
		return nil
	}
	return v
}

// finish fails if an extension was not taken: a certificate that says more than
// is understood here, such as both a HWID and a CSP ID, is refused.
func (x *extensions) finish() {
	for oid := range x.values {
		x.fail(fmt.Errorf("extension %s does not belong there", oid))
		return
	}
}
