package oracles

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// A lab is simulated hardware of Intel's: what no capture has, a status or a
// revoked certificate, it has.
type lab struct {
	intel, stranger                          *teelab.Intel
	platform, twin, processor, kind, foreign *teelab.Platform
}

// newLab makes the lab once.
var newLab = sync.OnceValues(func() (*lab, error) {
	l := new(lab)
	var err error
	for _, maker := range []**teelab.Intel{&l.intel, &l.stranger} {
		if *maker, err = teelab.NewIntel(now); err != nil {
			return nil, err
		}
		i, template := *maker, *(*maker).RootCA
		if i.RootCA, err = listed(&template, &template, &i.RootKey.PublicKey, i.RootKey); err != nil {
			return nil, err
		}
	}
	for _, p := range []struct {
		out   **teelab.Platform
		maker *teelab.Intel
		fault func(*teelab.Platform)
	}{
		{&l.platform, l.intel, func(*teelab.Platform) {}},
		{&l.twin, l.intel, func(*teelab.Platform) {}},
		{&l.processor, l.intel, func(p *teelab.Platform) { p.Processor = true }},
		{&l.kind, l.intel, func(p *teelab.Platform) { p.FMSPC[5]++ }},
		{&l.foreign, l.stranger, func(*teelab.Platform) {}},
	} {
		made, err := p.maker.NewPlatform(p.fault)
		if err != nil {
			return nil, err
		}
		template, err := p.maker.PCKTemplate(made)
		if err != nil {
			return nil, err
		}
		ca, key := p.maker.PCKIssuer(made)
		if made.PCK, err = listed(template, ca, &made.PCKKey.PublicKey, key); err != nil {
			return nil, err
		}
		made.Chain = teelab.ChainPEM(made.PCK, ca, p.maker.RootCA)
		*p.out = made
	}
	return l, nil
})

// listed makes a certificate that says where a revocation list is, as Intel's do
// and go-tdx-guest wants.
func listed(template, issuer *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	template.CRLDistributionPoints = []string{"https://certificates.example/list.der"}
	return certify(template, issuer, pub, key)
}

type (
	quoteFault      = func(*teelab.IntelQuote)
	collateralFault = func(*teelab.IntelCollateral)
)

// A labCase is good evidence and collateral, but for its faults.
type labCase struct {
	name  string
	quote quoteFault
	coll  collateralFault
	from  *teelab.Platform // that makes the quote
	of    *teelab.Platform // that the collateral is of
	at    time.Time
	debug bool
}

// cases returns what is tried with each kind of quote.
func (l *lab) cases() []labCase {
	all := []labCase{
		{name: "good"},
		{name: "before its certificates", at: now.AddDate(-2, 0, 0)},
		{name: "after its certificates", at: now.AddDate(20, 0, 0)},
		{name: "collateral of the future", at: now.AddDate(0, 0, -2)},
		{name: "collateral expired", at: now.AddDate(0, 2, 0)},
		{name: "lists expired", coll: func(c *teelab.IntelCollateral) {
			for i := range c.CRLs {
				c.CRLs[i].ThisUpdate, c.CRLs[i].NextUpdate = now.AddDate(0, -2, 0), now.AddDate(0, -1, 0)
			}
		}},
		{name: "of a stranger", from: l.foreign, of: l.platform},
		{name: "of another platform", from: l.kind, of: l.platform},
		{name: "certified by the Processor CA", from: l.processor, of: l.platform},
		{name: "chain of a twin", quote: func(q *teelab.IntelQuote) { q.Chain = l.twin.Chain }},
		{name: "key of a twin", quote: func(q *teelab.IntelQuote) { q.AttKey = l.twin.AttKey }},
		{name: "QE report by a twin", quote: func(q *teelab.IntelQuote) { q.PCKKey = l.twin.PCKKey }},
		{name: "second half of the QE's report data", quote: func(q *teelab.IntelQuote) { q.QE.ReportData[40] = 1 }},
		{name: "other authentication data", quote: func(q *teelab.IntelQuote) { q.QEAuth[0] ^= 1 }},
		{name: "foreign QE vendor", quote: func(q *teelab.IntelQuote) { q.Header.Vendor[0] ^= 1 }},
		{name: "other key type", quote: func(q *teelab.IntelQuote) { q.Header.KeyType = 3 }},
		{name: "certification data of type 4", quote: func(q *teelab.IntelQuote) { q.CertType = 4 }},
		{name: "bytes inside of the length", quote: func(q *teelab.IntelQuote) { q.Trailing = []byte{0} }},
		{name: "chain without root", quote: func(q *teelab.IntelQuote) { q.Chain = teelab.ChainPEM(l.platform.PCK, l.intel.PlatformCA) }},
		{name: "chain and a NUL", quote: func(q *teelab.IntelQuote) { q.Chain = append(bytes.Clone(q.Chain), 0) }},
		{name: "chain and text", quote: func(q *teelab.IntelQuote) { q.Chain = append(bytes.Clone(q.Chain), "text"...) }},
		{name: "chain in another order", quote: func(q *teelab.IntelQuote) {
			q.Chain = teelab.ChainPEM(l.platform.PCK, l.intel.RootCA, l.intel.PlatformCA)
		}},
		{name: "debug", debug: true, quote: func(q *teelab.IntelQuote) { q.SGX.Attributes[0] |= 2; q.TD.Attributes[0] |= 1 }},
		{name: "never initialised", quote: func(q *teelab.IntelQuote) { q.SGX.Attributes[0] &^= 1 }},
		{name: "reserved attribute", quote: func(q *teelab.IntelQuote) { q.SGX.Attributes[0] |= 8; q.TD.Attributes[1] |= 1 }},
		{name: "SEAM attribute", quote: func(q *teelab.IntelQuote) { q.TD.SEAMAttributes[0] = 1 }},
		{name: "foreign module", quote: func(q *teelab.IntelQuote) { q.TD.MRSIGNERSEAM[0] = 1 }},
		{name: "unknown module", quote: func(q *teelab.IntelQuote) { q.TD.TEETCB[1], q.TD.TEETCB2[1] = 9, 9 }},
		{name: "module without version", quote: func(q *teelab.IntelQuote) { q.TD.TEETCB[1], q.TD.TEETCB2[1] = 0, 0 }},
		{name: "old module", quote: func(q *teelab.IntelQuote) { q.TD.TEETCB[0], q.TD.TEETCB2[0] = 3, 3 }},
		{name: "module too old", quote: func(q *teelab.IntelQuote) { q.TD.TEETCB[0], q.TD.TEETCB2[0] = 1, 1 }},
		{name: "old microcode of TDX", quote: func(q *teelab.IntelQuote) { q.TD.TEETCB[2], q.TD.TEETCB2[2] = 3, 3 }},
		{name: "QE of another signer", quote: func(q *teelab.IntelQuote) { q.QE.MRSIGNER[0] ^= 1 }},
		{name: "QE of another product", quote: func(q *teelab.IntelQuote) { q.QE.ISVProdID = 7 }},
		{name: "QE with debug", quote: func(q *teelab.IntelQuote) { q.QE.Attributes[0] |= 2 }},
		{name: "QE with MISCSELECT", quote: func(q *teelab.IntelQuote) { q.QE.MiscSelect = 1 }},
		{name: "old QE", quote: func(q *teelab.IntelQuote) { q.QE.ISVSVN = 6 }},
		{name: "QE too old", quote: func(q *teelab.IntelQuote) { q.QE.ISVSVN = 1 }},
		{name: "TCB info of a stranger", coll: func(c *teelab.IntelCollateral) { c.SignKey = l.stranger.TCBSignKey }},
		{name: "TCB info and signer of a stranger", coll: func(c *teelab.IntelCollateral) {
			c.SignKey, c.Certificates = l.stranger.TCBSignKey, []*x509.Certificate{l.stranger.TCBSigner, l.stranger.RootCA}
		}},
		{name: "TCB info by a PCK", coll: func(c *teelab.IntelCollateral) {
			c.SignKey, c.Certificates = l.twin.PCKKey, []*x509.Certificate{l.twin.PCK, l.intel.RootCA}
		}},
		{name: "TCB info of version 2", coll: func(c *teelab.IntelCollateral) { c.TCBInfo.Version = 2 }},
		{name: "TCB info with another ID", coll: func(c *teelab.IntelCollateral) { c.TCBInfo.ID = "TDQE" }},
		{name: "TCB info for another PCE", coll: func(c *teelab.IntelCollateral) { c.TCBInfo.PCEID = "0001" }},
		{name: "TCB info of the future", coll: func(c *teelab.IntelCollateral) { c.TCBInfo.IssueDate = "2026-12-01T00:00:00Z" }},
		{name: "FMSPC in capitals", coll: func(c *teelab.IntelCollateral) { c.TCBInfo.FMSPC = strings.ToUpper(c.TCBInfo.FMSPC) }},
		{name: "levels in another order", coll: func(c *teelab.IntelCollateral) { slices.Reverse(c.TCBInfo.TCBLevels) }},
		{name: "no level", coll: func(c *teelab.IntelCollateral) {
			c.TCBInfo.TCBLevels[0].TCB.PCESVN, c.TCBInfo.TCBLevels = 99, c.TCBInfo.TCBLevels[:1]
		}},
		{name: "a member twice", coll: func(c *teelab.IntelCollateral) {
			c.EditTCBInfo = func(s string) string { return strings.Replace(s, `"version":3`, `"version":2,"version":3`, 1) }
		}},
		{name: "a member in capitals", coll: func(c *teelab.IntelCollateral) {
			c.EditTCBInfo = func(s string) string { return strings.Replace(s, `"tcbLevels"`, `"TCBLEVELS"`, 1) }
		}},
		{name: "QE identity of the other TEE", coll: func(c *teelab.IntelCollateral) {
			c.QEIdentity.ID = map[string]string{"QE": "TD_QE", "TD_QE": "QE"}[c.QEIdentity.ID]
		}},
		{name: "QE identity of version 1", coll: func(c *teelab.IntelCollateral) { c.QEIdentity.Version = 1 }},
		{name: "PCK revoked", coll: func(c *teelab.IntelCollateral) { c.CRLs[1].Revoke(l.platform.PCK) }},
		{name: "PCK CA revoked", coll: func(c *teelab.IntelCollateral) { c.CRLs[0].Revoke(l.intel.PlatformCA) }},
		{name: "TCB signer revoked", coll: func(c *teelab.IntelCollateral) { c.CRLs[0].Revoke(l.intel.TCBSigner) }},
		{name: "another PCK revoked", coll: func(c *teelab.IntelCollateral) { c.CRLs[1].Revoke(l.twin.PCK) }},
		{name: "lists of a stranger", coll: func(c *teelab.IntelCollateral) {
			c.CRLs[0].Issuer, c.CRLs[0].Key, c.CRLs[1].Issuer, c.CRLs[1].Key = l.stranger.RootCA, l.stranger.RootKey, l.stranger.PlatformCA, l.stranger.PlatformKey
		}},
		{name: "lists of the future", coll: func(c *teelab.IntelCollateral) {
			c.CRLs[0].ThisUpdate, c.CRLs[1].ThisUpdate = now.AddDate(0, 0, 1), now.AddDate(0, 0, 1)
		}},
	}
	for _, status := range []string{"SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked", "Fine"} {
		all = append(all,
			labCase{name: "platform " + status, coll: func(c *teelab.IntelCollateral) { c.TCBInfo.TCBLevels[0].TCBStatus = status }},
			labCase{name: "module " + status, coll: func(c *teelab.IntelCollateral) {
				if m := c.TCBInfo.TDXModuleIdentities; len(m) > 0 {
					m[1].TCBLevels[0].TCBStatus = status
				}
			}},
			labCase{name: "QE " + status, coll: func(c *teelab.IntelCollateral) { c.QEIdentity.TCBLevels[0].TCBStatus = status }},
		)
	}
	for n := range 16 {
		all = append(all,
			labCase{name: fmt.Sprint("old component ", n+1), coll: func(c *teelab.IntelCollateral) { c.TCBInfo.TCBLevels[0].TCB.SGX[n].SVN++ }},
			labCase{name: fmt.Sprint("old TDX component ", n+1), coll: func(c *teelab.IntelCollateral) {
				if list := c.TCBInfo.TCBLevels[0].TCB.TDX; list != nil {
					list[n].SVN++
				}
			}},
		)
	}
	return append(all, labCase{name: "old PCE", coll: func(c *teelab.IntelCollateral) { c.TCBInfo.TCBLevels[0].TCB.PCESVN++ }})
}

// dcapLab compares Redoubt with theirs over simulated hardware.
func dcapLab(t *testing.T, r *record, theirs dcapOracle, l *lab, prefix string, kinds []teelab.QuoteKind, which func(labCase) bool) {
	t.Helper()
	verifier, jobs := attest.NewVerifier(attest.Roots{DCAP: []dcap.Root{l.intel.Root()}}), newPool()
	for _, kind := range kinds {
		for _, c := range l.cases() {
			if !which(c) || kind.Version == 5 && c.name != "good" && !c.debug {
				continue // no oracle reads version 5
			}
			from, of, at := l.platform, l.platform, now
			if c.from != nil {
				from, of = c.from, c.of
			}
			if !c.at.IsZero() {
				at = c.at
			}
			var quoteFaults []quoteFault
			if c.quote != nil {
				quoteFaults = append(quoteFaults, c.quote)
			}
			var faults []collateralFault
			if c.coll != nil {
				faults = append(faults, c.coll)
			}
			ev, err := from.Evidence(kind, [64]byte{1}, [48]byte{2}, quoteFaults...)
			if err != nil {
				t.Fatal(c.name, err)
			}
			made, err := l.intel.Collateral(of, kind.Type, faults...)
			if err != nil {
				t.Fatal(c.name, err)
			}
			coll := attest.Collateral(made)
			jobs.run(func() {
				r.add(fmt.Sprintf("%s %s: %s", prefix, kind.Name, c.name), dcapOurs(verifier, ev, coll, at), theirs(ev.Report, coll, at))
			})
		}
	}
	jobs.wait()
}
