package snp_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// TestVerifyForgedVLEK has reports signed by a provider's key, with certificates
// that somebody with some of the keys made.
func TestVerifyForgedVLEK(t *testing.T) {
	t.Parallel()
	amd, stranger := lab[snp.Milan](), lab[snp.Genoa]()
	asvk, asvkKey, err := amd.ASVK()
	if err != nil {
		t.Fatal(err)
	}
	provider := must(amd.NewVLEK("CN=cloud"))
	ev := must(provider.Faulty([64]byte{}, [48]byte{}, teelab.ChipID([64]byte{9})))
	tcb := teelab.DefaultTCB(snp.Milan)
	older := tcb
	older.SNP--
	vlek := func(change func(*x509.Certificate)) *x509.Certificate {
		c := amd.VLEK("CN=cloud", tcb)
		change(c)
		return issue(c, asvk, provider.VLEK.PublicKey, asvkKey)
	}
	authority := func(change func(*x509.Certificate)) *x509.Certificate {
		c := *asvk
		c.RawSubject, c.SignatureAlgorithm = nil, x509.SHA384WithRSAPSS
		change(&c)
		return issue(&c, amd.ARK, &asvkKey.PublicKey, amd.ARKKey)
	}
	genoa := authority(func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK-Genoa" })
	for _, tt := range []struct {
		name   string
		ca     *x509.Certificate
		leaf   *x509.Certificate
		want   error // nil if it verifies
		reason string
	}{
		{"good", asvk, vlek(func(*x509.Certificate) {}), nil, ""},
		{"under the ASK", amd.ASK, issue(amd.VLEK("CN=cloud", tcb), amd.ASK, provider.VLEK.PublicKey, amd.ASKKey), snp.ErrChain, `the VLEK's issuer is "SEV-Milan"`},
		{"under another product's ASVK", genoa, issue(amd.VLEK("CN=cloud", tcb), genoa, provider.VLEK.PublicKey, asvkKey), snp.ErrChain, `issuer is "SEV-VLEK-Genoa"`},
		{"under the root", asvk, issue(amd.VLEK("CN=cloud", tcb), amd.ARK, provider.VLEK.PublicKey, amd.ARKKey), snp.ErrRoot, "no certificate leads"},
		{"signed by the ASK in the ASVK's name", asvk, issue(amd.VLEK("CN=cloud", tcb), asvk, provider.VLEK.PublicKey, amd.ASKKey), snp.ErrChain, "verification error"},
		{"ASVK signed by a stranger in the root's name", issue(asvk, amd.ARK, &asvkKey.PublicKey, stranger.ARKKey), provider.VLEK, snp.ErrChain, "verification error"},
		{"ASVK that is no authority", authority(func(c *x509.Certificate) { c.IsCA = false }), provider.VLEK, snp.ErrChain, "not a certificate authority"},
		{"ASVK expired", authority(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), provider.VLEK, snp.ErrTime, "SEV-VLEK-Milan"},
		{"expired", asvk, vlek(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), snp.ErrTime, `"SEV-VLEK" is valid from`},
		{"not yet valid", asvk, vlek(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), snp.ErrTime, `"SEV-VLEK" is valid from`},
		{"an authority", asvk, vlek(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }), snp.ErrChain, "must not be"},
		{"another TCB's", asvk, issue(amd.VLEK("CN=cloud", older), asvk, provider.VLEK.PublicKey, asvkKey), snp.ErrTCB, "snp 23"},
		{"another provider's", asvk, must(amd.NewVLEK("CN=other")).VLEK, snp.ErrSignature, "not made by the certified VLEK"},
		{"with a HWID", asvk, issue(named(amd.VCEK([64]byte{9}, tcb), "SEV-VLEK"), asvk, provider.VLEK.PublicKey, asvkKey), snp.ErrCertificate, "3704.1.5 is missing"},
		{"a VCEK for the key", amd.ASK, issue(amd.VCEK([64]byte{9}, tcb), amd.ASK, provider.VLEK.PublicKey, amd.ASKKey), snp.ErrSigner, `common name is "SEV-VCEK", must be "SEV-VLEK"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table := snp.CertTable{ASK: tt.ca, VLEK: tt.leaf}
			c, err := snp.Verify(ev.Report, table.Encode(), snp.Collateral{}, []snp.Root{amd.Root()}, nil, now)
			check(t, c, err, tt.want, tt.reason)
			if err == nil && (c.CSPID != "CN=cloud" || len(c.ChipID) != 64 || c.ChipID[0] != 9) {
				t.Errorf("claims %+v", c)
			}
		})
	}
}

func named(c *x509.Certificate, name string) *x509.Certificate {
	c.Subject.CommonName = name
	return c
}
