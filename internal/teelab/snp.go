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
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

const (
	organization = "Redoubt development, simulated hardware"
	lifetime     = 10 * 365 * 24 * time.Hour
	clockSkew    = 24 * time.Hour // certificates are valid from this long before they are made
)

// AMD simulates AMD: the keys that chips are certified with.
type AMD struct {
	Product        snp.Product
	ARK, ASK       *x509.Certificate
	ARKKey, ASKKey *rsa.PrivateKey

	now time.Time
}

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
	ca := a.template("ARK-" + string(product))
	ca.BasicConstraintsValid, ca.IsCA, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	if a.ARK, err = sign(ca, ca, &a.ARKKey.PublicKey, a.ARKKey); err != nil {
		return nil, err
	}
	ca.Subject = subject("SEV-" + string(product))
	a.ASK, err = sign(ca, a.ARK, &a.ASKKey.PublicKey, a.ARKKey)
	return a, err
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

// VCEK returns the template of a chip's certificate. Tests change it to get
// wrong ones.
func (a *AMD) VCEK(chipID [64]byte, tcb snp.TCB) *x509.Certificate {
	c := a.template("SEV-VCEK")
	add := func(value []byte, arcs ...int) {
		id := append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, arcs...)
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	}
	number := func(v uint8) []byte {
		if v < 0x80 {
			return []byte{asn1.TagInteger, 1, v}
		}
		return []byte{asn1.TagInteger, 2, 0, v}
	}
	turin := a.Product == snp.Turin
	if turin {
		add(number(1), 1)
		add(number(tcb.FMC), 3, 9)
	} else {
		add(number(0), 1)
		add(number(0), 3, 4)
	}
	add(append([]byte{asn1.TagIA5String, byte(len(a.Product))}, a.Product...), 2)
	add(number(tcb.Bootloader), 3, 1)
	add(number(tcb.TEE), 3, 2)
	add(number(tcb.SNP), 3, 3)
	add(number(0), 3, 5)
	add(number(0), 3, 6)
	add(number(0), 3, 7)
	add(number(tcb.Microcode), 3, 8)
	if turin {
		add(chipID[:8], 4)
	} else {
		add(chipID[:], 4)
	}
	return c
}

// defaultTCB is the TCB of a Milan of 2025.
func defaultTCB() snp.TCB { return snp.TCB{Bootloader: 4, SNP: 24, Microcode: 219} }

// SNP simulates a chip that makes SEV-SNP reports.
type SNP struct {
	ARK, ASK, VCEK *x509.Certificate

	key *ecdsa.PrivateKey
	e   *snp.Endorsement
}

// NewSNP makes a chip with a random ID.
func (a *AMD) NewSNP() (*SNP, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	var id [64]byte
	if a.Product == snp.Turin {
		rand.Read(id[:8])
	} else {
		rand.Read(id[:])
	}
	vcek, err := sign(a.VCEK(id, defaultTCB()), a.ASK, &key.PublicKey, a.ASKKey)
	if err != nil {
		return nil, err
	}
	return newSNP(a.ARK, a.ASK, vcek, key)
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

func newSNP(ark, ask, vcek *x509.Certificate, key *ecdsa.PrivateKey) (*SNP, error) {
	e, err := snp.ParseEndorsement(vcek)
	if err != nil {
		return nil, err
	}
	return &SNP{ARK: ark, ASK: ask, VCEK: vcek, key: key, e: e}, nil
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
		SigningKey:   snp.VCEK,
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
	table := snp.CertTable{ARK: s.ARK, ASK: s.ASK, VCEK: s.VCEK}
	return attest.Evidence{Type: attest.SNP, Report: r.Encode(), Auxblob: table.Encode()}, nil
}
