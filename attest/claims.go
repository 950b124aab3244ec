package attest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
)

func (v *Verifier) snp(ev Evidence, c Collateral, now time.Time) (*Claims, error) {
	s, err := snp.Verify(ev.Report, ev.Auxblob, snp.Collateral{Certificates: c.Certificates, CRLs: c.CRLs}, v.roots.SNP, &v.seen, now)
	if err != nil {
		return nil, err
	}
	return &Claims{
		Simulated:   s.Dev,
		Root:        s.Root,
		ReportData:  bytes.Clone(s.Report.ReportData[:]),
		Measurement: bytes.Clone(s.Report.Measurement[:]),
		Machine:     s.ChipID,
		Debug:       s.Report.Policy.Debug(),
		Collateral:  s.Collateral,
		Unchecked:   s.Unchecked,
		SNP:         s,
	}, nil
}

// tees are what DCAP calls the technologies.
var tees = map[string]dcap.TEE{TDX: dcap.TDX, SGX: dcap.SGX}

func (v *Verifier) dcap(ev Evidence, c Collateral, now time.Time) (*Claims, error) {
	d, err := dcap.Verify(ev.Report, dcap.Collateral(c), v.roots.DCAP, &v.seen, now)
	if err != nil {
		return nil, err
	}
	if d.TEE != tees[ev.Type] {
		return nil, fmt.Errorf("%w: the quote is of %s", ErrType, d.TEE)
	}
	rd := d.ReportData()
	claims := &Claims{
		Simulated:  d.Dev,
		Root:       d.Root,
		ReportData: rd[:],
		Machine:    bytes.Clone(d.PCK.PPID[:]),
		Debug:      d.Debug(),
		Collateral: d.Collateral,
		Unchecked:  d.Unchecked,
		DCAP:       d,
	}
	if d.TEE == dcap.TDX {
		claims.Measurement = bytes.Clone(d.TD.MRTD[:])
	} else {
		claims.Measurement = bytes.Clone(d.SGX.MREnclave[:])
	}
	return claims, nil
}

func (v *Verifier) cca(ev Evidence, now time.Time) (*Claims, error) {
	t, err := cca.Verify(ev.Report, cca.Collateral{}, v.roots.CCA, &v.seen, now)
	if err != nil {
		return nil, err
	}
	return &Claims{
		Simulated:   t.Dev,
		Root:        t.Root,
		ReportData:  bytes.Clone(t.Realm.Challenge[:]),
		Measurement: t.Realm.RIM,
		Machine:     t.Platform.InstanceID,
		Debug:       t.Platform.Lifecycle.Debug(),
		CCA:         t,
	}, nil
}

func (v *Verifier) nitro(ev Evidence, now time.Time) (*Claims, error) {
	n, err := nitro.Verify(ev.Report, nitro.Collateral{}, v.roots.Nitro, &v.seen, now)
	if err != nil {
		return nil, err
	}
	return &Claims{
		Simulated:   n.Dev,
		Root:        n.Root,
		ReportData:  n.Document.Nonce,
		Measurement: n.Document.PCRs[0],
		Machine:     []byte(n.Document.ModuleID),
		Debug:       n.Debug,
		Nitro:       n,
	}, nil
}

func (v *Verifier) tpm(ev Evidence, c Collateral, now time.Time) (*Claims, error) {
	t, err := tpm.Verify(ev.Report, tpm.Collateral{Certificates: c.Certificates, CRLs: c.CRLs}, v.roots.TPM, &v.seen, now)
	if err != nil {
		return nil, err
	}
	return &Claims{
		Simulated:   t.Dev,
		Root:        t.Root,
		ReportData:  t.Quote.ExtraData,
		Measurement: t.Quote.PCRDigest,
		Machine:     t.AK,
		Collateral:  t.Collateral,
		Unchecked:   t.Unchecked,
		TPM:         t,
	}, nil
}
