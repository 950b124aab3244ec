package oracles

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	sev "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// A sevLab is a simulated AMD, whose certificates have AMD's names: the library
// wants those.
type sevLab struct {
	product  snp.Product
	amd      *teelab.AMD
	ark, ask *x509.Certificate
	vcek     *x509.Certificate
	key      *ecdsa.PrivateKey
	chip     [64]byte
}

func newSEVLab(product snp.Product) (*sevLab, error) {
	amd, err := teelab.NewAMD(product, now)
	if err != nil {
		return nil, err
	}
	l := &sevLab{product: product, amd: amd, chip: [64]byte{1, 2, 3}}
	if l.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return nil, err
	}
	ark, ask, vcek := *amd.ARK, *amd.ASK, *amd.VCEK(l.chip, teelab.DefaultTCB(product))
	for _, cert := range []*x509.Certificate{&ark, &ask, &vcek} {
		cert.RawSubject = nil
		cert.Subject.Organization = []string{"Advanced Micro Devices"}
		cert.CRLDistributionPoints = []string{"https://certificates.example/list.der"}
	}
	vcek.CRLDistributionPoints = nil
	if l.ark, err = certify(&ark, &ark, &amd.ARKKey.PublicKey, amd.ARKKey); err != nil {
		return nil, err
	}
	if l.ask, err = certify(&ask, l.ark, &amd.ASKKey.PublicKey, amd.ARKKey); err != nil {
		return nil, err
	}
	l.vcek, err = certify(&vcek, l.ask, &l.key.PublicKey, amd.ASKKey)
	return l, err
}

func certify(template, issuer *x509.Certificate, pub, key any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// report makes a good report, but for fault.
func (l *sevLab) report(fault func(*snp.Report)) ([]byte, error) {
	tcb := teelab.DefaultTCB(l.product).Encode(l.product)
	r := &snp.Report{
		Version: 3, Policy: 1<<16 | 1<<17, PlatformInfo: 1, ReportData: [64]byte{1}, Measurement: [48]byte{2}, ChipID: l.chip,
		CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb, CPUID: snp.CPUID{Family: 0x19, Model: 1, Stepping: 1},
		Current: snp.FirmwareVersion{Major: 1, Minor: 55, Build: 29}, Committed: snp.FirmwareVersion{Major: 1, Minor: 55, Build: 29},
	}
	if l.product == snp.Turin {
		r.CPUID = snp.CPUID{Family: 0x1A, Model: 2, Stepping: 1}
	}
	if fault != nil {
		fault(r)
	}
	digest := sha512.Sum384(snp.Signed(r.Encode()))
	rr, ss, err := ecdsa.Sign(rand.Reader, l.key, digest[:])
	if err != nil {
		return nil, err
	}
	rr.FillBytes(r.SignatureR[:])
	ss.FillBytes(r.SignatureS[:])
	return r.Encode(), nil
}

// list makes a revocation list of the ARK's.
func (l *sevLab) list(issued, expires time.Time, revoked ...*x509.Certificate) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: issued, NextUpdate: expires, SignatureAlgorithm: x509.SHA384WithRSAPSS}
	for _, cert := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: issued})
	}
	return x509.CreateRevocationList(rand.Reader, list, l.ark, l.amd.ARKKey)
}

// A listGetter hands out one revocation list.
type listGetter []byte

func (g listGetter) Get(string) ([]byte, error) { return g, nil }

func (l *sevLab) theirs(report, list []byte, at time.Time) verdict {
	var v verdict
	v.err = caught(func() error {
		r, err := abi.ReportToProto(report)
		if err != nil {
			return err
		}
		v.claims = sevClaims(r)
		root := trust.AMDRootCertsProduct(string(l.product))
		root.ProductCerts = &trust.ProductCerts{Ask: l.ask, Ark: l.ark}
		a := &spb.Attestation{Report: r, CertificateChain: &spb.CertificateChain{VcekCert: l.vcek.Raw}}
		roots := map[string][]*trust.AMDRootCerts{string(l.product): {root}}
		if list != nil {
			err := sev.SnpAttestation(a, &sev.Options{DisableCertFetching: true, TrustedRoots: roots, Now: at, CheckRevocations: true, Getter: listGetter(list)})
			if err != nil {
				return err
			}
		}
		return sevTheirs(a, roots, at)
	})
	return v
}

// sevLabCases compares over simulated hardware of one product.
func sevLabCases(t *testing.T, r *record, product snp.Product) {
	t.Helper()
	l, err := newSEVLab(product)
	if err != nil {
		t.Fatal(err)
	}
	verifier := attest.NewVerifier(attest.Roots{SNP: []snp.Root{{Name: "simulated", Product: product, ARK: l.ark, Dev: true}}})
	one := func(name string, fault func(*snp.Report), list []byte, at time.Time) {
		report, err := l.report(fault)
		if err != nil {
			t.Fatal(name, err)
		}
		c := attest.Collateral{Certificates: [][]byte{l.vcek.Raw, l.ask.Raw}}
		if list != nil {
			c.CRLs = [][]byte{list}
		}
		ours := sevOurs(verifier, attest.Evidence{Type: attest.SNP, Report: report}, c, at)
		r.add(fmt.Sprintf("simulated %s: %s", product, name), ours, l.theirs(report, list, at))
	}
	for name, fault := range map[string]func(*snp.Report){
		"good":                        nil,
		"version 5":                   func(r *snp.Report) { r.Version, r.LaunchMitVector, r.CurrentMitVector = 5, 1, 3 },
		"version 6":                   func(r *snp.Report) { r.Version = 6 },
		"debug":                       func(r *snp.Report) { r.Policy |= 1 << 19 },
		"migration agent":             func(r *snp.Report) { r.Policy |= 1 << 18 },
		"policy bit 17 off":           func(r *snp.Report) { r.Policy &^= 1 << 17 },
		"policy bit 40":               func(r *snp.Report) { r.Policy |= 1 << 40 },
		"VMPL 3":                      func(r *snp.Report) { r.VMPL = 3 },
		"VMPL 4":                      func(r *snp.Report) { r.VMPL = 4 },
		"another chip":                func(r *snp.Report) { r.ChipID[0]++ },
		"no chip":                     func(r *snp.Report) { r.ChipID = [64]byte{} },
		"reported TCB higher":         func(r *snp.Report) { r.ReportedTCB[7]++ },
		"reported TCB lower":          func(r *snp.Report) { r.ReportedTCB[7]-- },
		"current TCB lower":           func(r *snp.Report) { r.CurrentTCB[7]-- },
		"committed TCB above current": func(r *snp.Report) { r.CommittedTCB[7]++ },
		"committed firmware newer":    func(r *snp.Report) { r.Committed.Build++ },
		"TCB reserved byte":           func(r *snp.Report) { r.CurrentTCB[5] = 1 },
		"platform information bit 9":  func(r *snp.Report) { r.PlatformInfo |= 1 << 9 },
		"VLEK instead of VCEK":        func(r *snp.Report) { r.SigningKey = snp.VLEK },
		"not signed":                  func(r *snp.Report) { r.SigningKey = snp.NoSigning },
		"MASK_CHIP_KEY":               func(r *snp.Report) { r.MaskChipKey = true },
		"another product":             func(r *snp.Report) { r.CPUID = snp.CPUID{Family: 0x19, Model: 0x11} },
	} {
		one(name, fault, nil, now)
	}
	one("before its certificates", nil, nil, now.AddDate(-1, 0, 0))
	one("after its certificates", nil, nil, now.AddDate(20, 0, 0))
	soon, late := now.AddDate(0, 0, -1), now.AddDate(0, 1, 0)
	for _, list := range []struct {
		name            string
		issued, expires time.Time
		revoked         []*x509.Certificate
	}{
		{"list", soon, late, nil},
		{"list with the ASK", soon, late, []*x509.Certificate{l.ask}},
		{"list with another", soon, late, []*x509.Certificate{{SerialNumber: big.NewInt(77)}}},
		{"list with the VCEK", soon, late, []*x509.Certificate{l.vcek}},
		{"list expired", soon.AddDate(-1, 0, 0), late.AddDate(-1, 0, 0), nil},
		{"list expired, with the ASK", soon.AddDate(-1, 0, 0), late.AddDate(-1, 0, 0), []*x509.Certificate{l.ask}},
		{"list of the future", now.AddDate(0, 0, 7), late, nil},
	} {
		der, err := l.list(list.issued, list.expires, list.revoked...)
		if err != nil {
			t.Fatal(list.name, err)
		}
		one(list.name, nil, der, now)
		if list.name == "list" {
			der = bytes.Clone(der)
			der[len(der)-1] ^= 1
			one("list, signature wrong", nil, der, now)
		}
	}
}
