package teelab_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

var milan = sync.OnceValues(func() (*teelab.AMD, error) { return teelab.NewAMD(snp.Milan, time.Now()) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestAMDCRL has the lists that a verifier must tell apart.
func TestAMDCRL(t *testing.T) {
	t.Parallel()
	amd := must(milan())
	now := time.Now()
	chip := must(amd.NewSNP())
	ev := must(chip.Evidence([64]byte{}, [48]byte{}))
	for _, tt := range []struct {
		name    string
		crl     []byte
		want    error
		expired bool
	}{
		{"empty", must(amd.CRL()), nil, false},
		{"expired", must(amd.CRL(teelab.Dated(now.Add(-2*time.Hour), now.Add(-time.Hour)))), nil, true},
		{"of the future", must(amd.CRL(teelab.Dated(now.Add(time.Hour), now.Add(2*time.Hour)))), pki.ErrCRL, false},
		{"ASK revoked", must(amd.CRL(teelab.Revoke(amd.ASK))), pki.ErrRevoked, false},
	} {
		c, err := snp.Verify(ev.Report, ev.Auxblob, snp.Collateral{CRLs: [][]byte{tt.crl}}, []snp.Root{amd.Root()}, nil, now)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && (len(c.Collateral) != 1 || c.Collateral[0].Expires.Before(now) != tt.expired) {
			t.Errorf("%s: collateral %+v", tt.name, c.Collateral)
		}
	}
}

// TestCollateral verifies evidence that came without certificates.
func TestCollateral(t *testing.T) {
	t.Parallel()
	amd := must(milan())
	for name, chip := range map[string]*teelab.SNP{"chip": must(amd.NewSNP()), "provider": must(amd.NewVLEK("CN=cloud"))} {
		ev := must(chip.Evidence([64]byte{1}, [48]byte{2}))
		ev.Auxblob = nil
		c, err := attest.Verify(ev, chip.Collateral(), attest.Roots{SNP: []snp.Root{amd.Root()}}, time.Now())
		if err != nil {
			t.Fatal(name, err)
		}
		if !c.Simulated || len(c.Collateral) != 1 || len(c.Unchecked) != 0 || (c.SNP.CSPID == "CN=cloud") != (name == "provider") {
			t.Errorf("%s: claims %+v", name, c)
		}
	}
}

// TestOldFolder loads a folder of an earlier version: it has no revocation list.
func TestOldFolder(t *testing.T) {
	t.Parallel()
	dir, chip := create(t)
	if len(chip.Collateral().CRLs) != 1 {
		t.Error("a new folder has no revocation list")
	}
	if err := os.Remove(filepath.Join(dir, "crl.pem")); err != nil {
		t.Fatal(err)
	}
	old, err := teelab.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !old.VCEK.Equal(chip.VCEK) || len(old.Collateral().CRLs) != 0 {
		t.Error("loaded another chip, or a list from nowhere")
	}
	if c := verify(t, old, old.Root()); !strings.Contains(strings.Join(c.Unchecked, " "), "SEV-Milan") {
		t.Errorf("claims %+v", c)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 4 {
		t.Errorf("the folder was changed: %v, %v", files, err)
	}
}
