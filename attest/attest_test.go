package attest_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

var (
	now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	rd  = [64]byte{1, 2, 3}
	md  = [48]byte{4, 5, 6}
)

// ok returns v, and panics if there is an error.
func ok[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// laboratory is simulated hardware of every technology.
type laboratory struct {
	amd      *teelab.AMD
	chip     *teelab.SNP
	intel    *teelab.Intel
	platform *teelab.Platform
	arm      *teelab.Arm
	aws      *teelab.AWS
	tpm      *teelab.TPM
}

var lab = sync.OnceValue(func() *laboratory {
	amd, intel := ok(teelab.NewAMD(snp.Milan, now)), ok(teelab.NewIntel(now))
	return &laboratory{
		amd, ok(amd.NewSNP()), intel, ok(intel.NewPlatform()),
		ok(teelab.NewArm()), ok(teelab.NewAWS(now)), ok(teelab.NewTPM(now)),
	}
})

func (l *laboratory) roots() attest.Roots {
	return attest.Roots{
		SNP:   []snp.Root{l.chip.Root()},
		DCAP:  []dcap.Root{l.intel.Root()},
		CCA:   []cca.Root{l.arm.Root()},
		Nitro: []nitro.Root{l.aws.Root()},
		TPM:   []tpm.Root{l.tpm.Root()},
	}
}

// evidence returns good evidence and the collateral that it needs.
func (l *laboratory) evidence(technology string) (attest.Evidence, attest.Collateral) {
	switch technology {
	case attest.SNP:
		return ok(l.chip.Evidence(rd, md)), l.chip.Collateral()
	case attest.TDX:
		return ok(l.platform.Evidence(teelab.TDXv4(), rd, md)), attest.Collateral(ok(l.intel.Collateral(l.platform, attest.TDX)))
	case attest.SGX:
		return ok(l.platform.Evidence(teelab.SGXv3(), rd, md)), attest.Collateral(ok(l.intel.Collateral(l.platform, attest.SGX)))
	case attest.CCA:
		return attest.Evidence{Type: attest.CCA, Report: ok(l.arm.Evidence(rd, [32]byte(md[:])))}, attest.Collateral{}
	case attest.Nitro:
		return attest.Evidence{Type: attest.Nitro, Report: ok(l.aws.Evidence(rd[:], md))}, attest.Collateral{}
	case attest.TPM:
		c := ok(l.tpm.Collateral())
		return attest.Evidence{Type: attest.TPM, Report: ok(l.tpm.Evidence(rd[:]))}, attest.Collateral{Certificates: c.Certificates, CRLs: c.CRLs}
	}
	panic(technology)
}

// claims returns what good evidence proves.
func claims(t *testing.T, technology string) *attest.Claims {
	t.Helper()
	ev, c := lab().evidence(technology)
	claims, err := attest.Verify(ev, c, lab().roots(), now)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestVerify(t *testing.T) {
	t.Parallel()
	verifier := attest.NewVerifier(lab().roots())
	for _, technology := range attest.Technologies() {
		ev, collateral := lab().evidence(technology)
		for range 2 { // the second time the chain is known
			c, err := verifier.Verify(ev, collateral, now)
			if err != nil {
				t.Errorf("%s: %v", technology, err)
				continue
			}
			if c.Technology != technology || !c.Simulated || c.Root == "" || !c.Time.Equal(now) || !bytes.Equal(c.ReportData, rd[:]) ||
				len(c.Measurement) < 32 || len(c.Machine) == 0 || c.Debug || len(c.Unchecked) > 0 {
				t.Errorf("%s: claims %+v", technology, c)
			}
		}
		// No root of a manufacturer vouches for it, and none at all.
		for _, roots := range []attest.Roots{attest.VendorRoots(), {}} {
			if c, err := attest.Verify(ev, collateral, roots, now); err == nil || c != nil {
				t.Errorf("%s: verified without its root", technology)
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	good, collateral := lab().evidence(attest.SNP)
	typed := func(technology string, auxblob []byte) attest.Evidence {
		return attest.Evidence{Type: technology, Report: good.Report, Auxblob: auxblob}
	}
	quote, dcapCollateral := lab().evidence(attest.TDX)
	quote.Type = attest.SGX
	for _, tt := range []struct {
		name       string
		ev         attest.Evidence
		collateral attest.Collateral
		roots      attest.Roots
		at         time.Time
		want       error
	}{
		{"nothing", attest.Evidence{}, collateral, lab().roots(), now, attest.ErrType},
		{"no type", typed("", good.Auxblob), collateral, lab().roots(), now, attest.ErrType},
		{"an unknown type", typed("sev", good.Auxblob), collateral, lab().roots(), now, attest.ErrType},
		{"another type, with a certificate table", typed(attest.TDX, good.Auxblob), collateral, lab().roots(), now, attest.ErrType},
		{"a report as a quote", typed(attest.TDX, nil), collateral, lab().roots(), now, dcap.ErrQuote},
		{"a report as a token", typed(attest.CCA, nil), collateral, lab().roots(), now, cca.ErrToken},
		{"a report as a document", typed(attest.Nitro, nil), collateral, lab().roots(), now, nitro.ErrDocument},
		{"a report as a TPM's", typed(attest.TPM, nil), collateral, lab().roots(), now, tpm.ErrEvidence},
		{"a quote of TDX as one of SGX", quote, dcapCollateral, lab().roots(), now, attest.ErrType},
		{"no report", attest.Evidence{Type: attest.SNP, Auxblob: good.Auxblob}, collateral, lab().roots(), now, snp.ErrReport},
		{"no certificates", attest.Evidence{Type: attest.SNP, Report: good.Report}, attest.Collateral{}, lab().roots(), now, snp.ErrSigner},
		{"no roots", good, collateral, attest.Roots{}, now, snp.ErrRoot},
		{"no time", good, collateral, lab().roots(), time.Time{}, snp.ErrTime},
		{"eleven years later", good, collateral, lab().roots(), now.AddDate(11, 0, 0), snp.ErrTime},
	} {
		c, err := attest.Verify(tt.ev, tt.collateral, tt.roots, tt.at)
		if !errors.Is(err, tt.want) || c != nil {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}
