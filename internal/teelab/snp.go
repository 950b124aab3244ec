// Package teelab simulates TEE hardware. Its evidence has the format of real
// evidence and goes through the same verification; only its root differs, and is
// marked as a development root. It proves nothing: whoever has the folder of
// LoadOrCreate can sign what they like.
package teelab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

const (
	organization = "Redoubt development, simulated hardware"
	lifetime     = 10 * 365 * 24 * time.Hour
	clockSkew    = 24 * time.Hour // certificates are valid from this long before they are made
)

// AMD simulates AMD: the keys that chips and cloud providers are certified with.
type AMD struct {
	Product        snp.Product
	ARK, ASK       *x509.Certificate
	ARKKey, ASKKey *rsa.PrivateKey

	now  time.Time
	asvk func() (authority, error)
}

type authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// The authorities' serial numbers end like AMD's. A leaf has 1.
const (
	serialARK  = 0x10000
	serialASK  = 0x10001
	serialASVK = 0x10101
)

// NewAMD makes the keys and certificates of product. It takes a second or two of
// processor time.
func NewAMD(product snp.Product, now time.Time) (*AMD, error) {
	a := &AMD{Product: product, now: now}
	failed := make(chan error, 1)
	go func() {
		var err error
		a.ASKKey, err = rsa.GenerateKey(rand.Reader, 4096)
		failed <- err
	}()
	var err error
	if a.ARKKey, err = rsa.GenerateKey(rand.Reader, 4096); err != nil {
		return nil, err
	}
	if err := <-failed; err != nil {
		return nil, err
	}
	ca := a.authority("ARK-"+string(product), serialARK)
	ca.KeyUsage |= x509.KeyUsageCRLSign
	if a.ARK, err = sign(ca, ca, &a.ARKKey.PublicKey, a.ARKKey); err != nil {
		return nil, err
	}
	a.asvk = sync.OnceValues(func() (authority, error) { // few need it
		key, err := rsa.GenerateKey(rand.Reader, 4096)
		if err != nil {
			return authority{}, err
		}
		cert, err := sign(a.authority("SEV-VLEK-"+string(product), serialASVK), a.ARK, &key.PublicKey, a.ARKKey)
		return authority{cert, key}, err
	})
	a.ASK, err = sign(a.authority("SEV-"+string(product), serialASK), a.ARK, &a.ASKKey.PublicKey, a.ARKKey)
	return a, err
}

// ASVK returns the authority for cloud providers and its key. The first call
// makes them, which takes a second of processor time.
func (a *AMD) ASVK() (*x509.Certificate, *rsa.PrivateKey, error) {
	ca, err := a.asvk()
	return ca.cert, ca.key, err
}

// CRL returns a revocation list by the ARK, in DER. It is empty, and holds as long
// as the certificates, but for what changes do.
func (a *AMD) CRL(changes ...func(*x509.RevocationList)) ([]byte, error) {
	list := &x509.RevocationList{
		Number:             big.NewInt(1),
		ThisUpdate:         a.now.Add(-clockSkew),
		NextUpdate:         a.now.Add(lifetime),
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	for _, change := range changes {
		change(list)
	}
	return x509.CreateRevocationList(rand.Reader, list, a.ARK, a.ARKKey)
}

// Revoke is a list that has certs.
func Revoke(certs ...*x509.Certificate) func(*x509.RevocationList) {
	return func(list *x509.RevocationList) {
		for _, cert := range certs {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: list.ThisUpdate})
		}
	}
}

// Dated is a list made at one time that holds until another.
func Dated(issued, expires time.Time) func(*x509.RevocationList) {
	return func(list *x509.RevocationList) { list.ThisUpdate, list.NextUpdate = issued, expires }
}

// Root returns the root that a's evidence goes back to.
func (a *AMD) Root() snp.Root { return devRoot(a.Product, a.ARK) }

func devRoot(product snp.Product, ark *x509.Certificate) snp.Root {
	digest := sha256.Sum256(ark.Raw)
	name := fmt.Sprintf("development %s %x", ark.Subject.CommonName, digest[:8])
	return snp.Root{Name: name, Product: product, ARK: ark, Dev: true}
}

func (a *AMD) template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:       big.NewInt(1),
		Subject:            subject(name),
		NotBefore:          a.now.Add(-clockSkew),
		NotAfter:           a.now.Add(lifetime),
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
}

func (a *AMD) authority(name string, serial int64) *x509.Certificate {
	c := a.template(name)
	c.SerialNumber, c.BasicConstraintsValid, c.IsCA, c.KeyUsage = big.NewInt(serial), true, true, x509.KeyUsageCertSign
	return c
}

func subject(name string) pkix.Name {
	return pkix.Name{
		OrganizationalUnit: []string{"Engineering"}, Country: []string{"US"}, Locality: []string{"Santa Clara"},
		Province: []string{"CA"}, Organization: []string{organization}, CommonName: name,
	}
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// The extensions of VCEKs and VLEKs lie under AMD's arc.
func extension(value []byte, arcs ...int) pkix.Extension {
	return pkix.Extension{Id: append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, arcs...), Value: value}
}

func ia5(s string) []byte { return append([]byte{asn1.TagIA5String, byte(len(s))}, s...) }

// leaf returns the template of a VCEK or VLEK, with all extensions but the last.
func (a *AMD) leaf(name string, tcb snp.TCB) *x509.Certificate {
	c := a.template(name)
	add := func(value []byte, arcs ...int) {
		c.ExtraExtensions = append(c.ExtraExtensions, extension(value, arcs...))
	}
	number := func(v uint8) []byte {
		if v < 0x80 {
			return []byte{asn1.TagInteger, 1, v}
		}
		return []byte{asn1.TagInteger, 2, 0, v}
	}
	if a.Product == snp.Turin {
		add(number(1), 1)
		add(number(tcb.FMC), 3, 9)
	} else {
		add(number(0), 1)
		add(number(0), 3, 4)
	}
	add(ia5(string(a.Product)), 2)
	add(number(tcb.Bootloader), 3, 1)
	add(number(tcb.TEE), 3, 2)
	add(number(tcb.SNP), 3, 3)
	add(number(0), 3, 5)
	add(number(0), 3, 6)
	add(number(0), 3, 7)
	add(number(tcb.Microcode), 3, 8)
	return c
}

// VCEK returns the template of a chip's certificate. Tests change it to get
// wrong ones.
func (a *AMD) VCEK(chipID [64]byte, tcb snp.TCB) *x509.Certificate {
	c := a.leaf("SEV-VCEK", tcb)
	id := chipID[:]
	if a.Product == snp.Turin {
		id = id[:8]
	}
	c.ExtraExtensions = append(c.ExtraExtensions, extension(id, 4))
	return c
}

// VLEK returns the template of a cloud provider's certificate.
func (a *AMD) VLEK(cspID string, tcb snp.TCB) *x509.Certificate {
	c := a.leaf("SEV-VLEK", tcb)
	c.ExtraExtensions = append(c.ExtraExtensions, extension(ia5(cspID), 5))
	return c
}

// DefaultTCB is the TCB of a chip of 2025.
func DefaultTCB(product snp.Product) snp.TCB {
	switch product {
	case snp.Genoa:
		return snp.TCB{Bootloader: 10, SNP: 23, Microcode: 84}
	case snp.Turin:
		return snp.TCB{FMC: 1, Bootloader: 1, TEE: 1, SNP: 4, Microcode: 73}
	}
	return snp.TCB{Bootloader: 4, SNP: 24, Microcode: 219}
}

// SNP simulates a chip that makes SEV-SNP reports. They are signed by its VCEK,
// or by a provider's VLEK: then VCEK is nil, and ASK is the ASVK.
type SNP struct {
	ARK, ASK, VCEK, VLEK *x509.Certificate

	key *ecdsa.PrivateKey
	e   *snp.Endorsement
	crl []byte // by the ARK, nil if there is none
}

// NewSNP makes a chip with a random ID.
func (a *AMD) NewSNP() (*SNP, error) {
	var id [64]byte
	if a.Product == snp.Turin {
		rand.Read(id[:8])
	} else {
		rand.Read(id[:])
	}
	return a.NewChip(id, DefaultTCB(a.Product))
}

// NewChip makes a chip with this ID, of which Turin uses 8 bytes, and TCB. Like a
// real one, it has another VCEK at another TCB.
func (a *AMD) NewChip(id [64]byte, tcb snp.TCB) (*SNP, error) {
	return a.newSNP(a.VCEK(id, tcb), authority{a.ASK, a.ASKKey})
}

// NewVLEK makes a chip in the machine of the cloud provider cspID, which has it
// sign by a VLEK.
func (a *AMD) NewVLEK(cspID string) (*SNP, error) {
	ca, err := a.asvk()
	if err != nil {
		return nil, err
	}
	return a.newSNP(a.VLEK(cspID, DefaultTCB(a.Product)), ca)
}

func (a *AMD) newSNP(template *x509.Certificate, ca authority) (*SNP, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := sign(template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	crl, err := a.CRL()
	if err != nil {
		return nil, err
	}
	return newSNP(a.ARK, ca.cert, leaf, key, crl)
}

// NewSNP makes a Milan with a manufacturer of its own, whose private keys are
// thrown away.
func NewSNP(now time.Time) (*SNP, error) {
	a, err := NewAMD(snp.Milan, now)
	if err != nil {
		return nil, fmt.Errorf("make simulated SEV-SNP hardware: %w", err)
	}
	return a.NewSNP()
}

func newSNP(ark, ca, leaf *x509.Certificate, key *ecdsa.PrivateKey, crl []byte) (*SNP, error) {
	e, err := snp.ParseEndorsement(leaf)
	if err != nil {
		return nil, err
	}
	s := &SNP{ARK: ark, ASK: ca, key: key, e: e, crl: crl}
	if e.Signer == snp.VLEK {
		s.VLEK = leaf
	} else {
		s.VCEK = leaf
	}
	return s, nil
}

// Collateral returns what s's manufacturer would publish of it: the certificates
// that are in its evidence too, and the ARK's revocation list.
func (s *SNP) Collateral() attest.Collateral {
	var c attest.Collateral
	for _, cert := range []*x509.Certificate{s.VCEK, s.VLEK, s.ASK, s.ARK} {
		if cert != nil {
			c.Certificates = append(c.Certificates, cert.Raw)
		}
	}
	if s.crl != nil {
		c.CRLs = [][]byte{s.crl}
	}
	return c
}

// Root returns the root that s's evidence goes back to.
func (s *SNP) Root() snp.Root { return devRoot(s.e.Product, s.ARK) }

// A Fault changes a report before it is signed.
type Fault func(*snp.Report)

// Debug is a guest whose host can read it.
func Debug(r *snp.Report) { r.Policy |= 1 << 19 }

// MigrateMA is a guest that a migration agent may move.
func MigrateMA(r *snp.Report) { r.Policy |= 1 << 18 }

// VMPL is a report asked for from privilege level n.
func VMPL(n uint32) Fault { return func(r *snp.Report) { r.VMPL = n } }

// ChipID is a report of another chip than the VCEK's.
func ChipID(id [64]byte) Fault { return func(r *snp.Report) { r.ChipID = id } }

// TCB is a report at another TCB than the VCEK's.
func TCB(tcb snp.RawTCB) Fault {
	return func(r *snp.Report) { r.CurrentTCB, r.CommittedTCB, r.ReportedTCB, r.LaunchTCB = tcb, tcb, tcb, tcb }
}

// Version is a report in the form of version n, with all that n has.
func Version(n uint32) Fault {
	return func(r *snp.Report) {
		r.Version = n
		if n < 3 {
			r.CPUID = snp.CPUID{}
		}
		if n >= 5 {
			r.LaunchMitVector, r.CurrentMitVector = 1, 3
		}
	}
}

// Processor is a report of another processor, such as one more of the product.
func Processor(family, model, stepping uint8) Fault {
	return func(r *snp.Report) { r.CPUID = snp.CPUID{Family: family, Model: model, Stepping: stepping} }
}

// Evidence makes evidence of a guest with this measurement, that asked for this
// report data.
func (s *SNP) Evidence(reportData [64]byte, measurement [48]byte) (attest.Evidence, error) {
	return s.Faulty(reportData, measurement)
}

// Faulty is Evidence with faults.
func (s *SNP) Faulty(reportData [64]byte, measurement [48]byte, faults ...Fault) (attest.Evidence, error) {
	tcb := s.e.TCB.Encode(s.e.Product)
	r := &snp.Report{
		Version:      3,
		Policy:       1<<16 | 1<<17, // SMT allowed; bit 17 is always set
		PlatformInfo: 1 | 1<<2 | 1<<5,
		SigningKey:   s.e.Signer,
		ReportData:   reportData,
		Measurement:  measurement,
		CurrentTCB:   tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
		Current:   snp.FirmwareVersion{Major: 1, Minor: 55, Build: 29},
		Committed: snp.FirmwareVersion{Major: 1, Minor: 55, Build: 29},
	}
	switch s.e.Product {
	case snp.Milan:
		r.CPUID = snp.CPUID{Family: 0x19, Model: 0x01, Stepping: 1}
	case snp.Genoa:
		r.CPUID = snp.CPUID{Family: 0x19, Model: 0x11, Stepping: 1}
	case snp.Turin:
		r.CPUID = snp.CPUID{Family: 0x1A, Model: 0x02, Stepping: 1}
	}
	copy(r.ChipID[:], s.e.HWID)
	rand.Read(r.ReportID[:])
	for i := range r.ReportIDMA {
		r.ReportIDMA[i] = 0xFF // no migration agent
	}
	for _, f := range faults {
		f(r)
	}
	digest := sha512.Sum384(snp.Signed(r.Encode()))
	rr, ss, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return attest.Evidence{}, fmt.Errorf("sign simulated report: %w", err)
	}
	rr.FillBytes(r.SignatureR[:])
	ss.FillBytes(r.SignatureS[:])
	table := snp.CertTable{ARK: s.ARK, ASK: s.ASK, VCEK: s.VCEK, VLEK: s.VLEK}
	return attest.Evidence{Type: attest.SNP, Report: r.Encode(), Auxblob: table.Encode()}, nil
}
