package snp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// vectorDir returns the folder of captured evidence.
func vectorDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("REDOUBT_VECTORS")
	if dir == "" {
		dir = "../../../shared/vectors"
	}
	if _, err := os.Stat(filepath.Join(dir, "snp")); err != nil {
		const text = "no captured evidence: set REDOUBT_VECTORS to the absolute path of a folder with snp/ and roots/, as the vectors' README.md describes it: "
		if os.Getenv("CI") == "true" {
			t.Fatal(text, err)
		}
		t.Skip(text, err)
	}
	return dir
}

func vector(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(vectorDir(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func amdRoots(t *testing.T) []snp.Root {
	t.Helper()
	var roots []snp.Root
	for _, product := range []string{"milan", "genoa", "turin"} {
		root, err := snp.ParseRoot(vector(t, "roots/amd-"+product+".ask-ark-asvk.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if root.Dev || len(root.Intermediates) != 2 || !strings.EqualFold(string(root.Product), product) {
			t.Fatalf("root of %s: %+v", product, root)
		}
		roots = append(roots, root)
	}
	return roots
}

// certificate reads a captured certificate, DER or PEM.
func certificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	data := vector(t, name)
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		t.Fatal(name, err)
	}
	return cert
}

// auxblob makes a certificate table of a captured VCEK or VLEK.
func auxblob(t *testing.T, name string) []byte {
	t.Helper()
	if strings.HasSuffix(name, ".auxblob.bin") {
		return vector(t, name)
	}
	table := snp.CertTable{VCEK: certificate(t, name)}
	if strings.Contains(name, "vlek") {
		table = snp.CertTable{VLEK: table.VCEK}
	}
	return table.Encode()
}

var (
	now      = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	vlekTime = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
)

// TestVectors is the verdicts of the vectors' README.md.
func TestVectors(t *testing.T) {
	t.Parallel()
	roots := amdRoots(t)
	for _, tt := range []struct {
		report, certs string
		at            time.Time
		errs          []error // all of them, or none if it verifies

		version uint32
		product snp.Product
		signer  snp.SigningKey
		tcb     snp.TCB
		vmpl    uint32
		debug   bool
	}{
		{report: "gsg-milan-v2", certs: "gsg-milan-v2.vcek.der", version: 2, product: snp.Milan, tcb: snp.TCB{Bootloader: 2, SNP: 5, Microcode: 68}, debug: true},
		{report: "virtee-milan", certs: "virtee-milan.vcek.der", version: 2, product: snp.Milan, tcb: snp.TCB{Bootloader: 3, SNP: 8, Microcode: 115}},
		{report: "trustee-vcek", certs: "trustee-vcek.vcek.der", version: 2, product: snp.Milan, tcb: snp.TCB{Bootloader: 3, SNP: 8, Microcode: 115}},
		{report: "trustee-vlek", certs: "trustee-vlek.vlek.der", at: vlekTime, version: 3, product: snp.Milan, signer: snp.VLEK, tcb: snp.TCB{Bootloader: 4, SNP: 24, Microcode: 217}, vmpl: 1},
		{report: "ms-milan", certs: "ms-milan.vcek.pem", version: 3, product: snp.Milan, tcb: snp.TCB{Bootloader: 4, SNP: 24, Microcode: 219}},
		{report: "ars-genoa-v5", certs: "ars-genoa-v5.vcek.der", version: 5, product: snp.Genoa, tcb: snp.TCB{Bootloader: 10, SNP: 27, Microcode: 27}},
		{report: "veraison-tsm", certs: "veraison-tsm.auxblob.bin", version: 3, product: snp.Genoa, tcb: snp.TCB{Bootloader: 10, SNP: 23, Microcode: 84}},

		{report: "trustee-vlek", certs: "trustee-vlek.vlek.der", errs: []error{snp.ErrTime}},
		{report: "trustee-vcek", certs: "trustee-neg-vcek-invalid-legacy.der", errs: []error{snp.ErrChain}},
		{report: "trustee-vcek", certs: "trustee-neg-vcek-invalid-new.der", errs: []error{snp.ErrChain}},
		{report: "ms-milan", certs: "virtee-milan.vcek.der", errs: []error{snp.ErrTCB, snp.ErrChipID}},
		{report: "trustee-vcek", certs: "virtee-milan.vcek.der", errs: []error{snp.ErrChipID}}, // same TCB, other chip
		{report: "ms-milan", certs: "ars-genoa-v5.vcek.der", errs: []error{snp.ErrProduct}},
		{report: "ars-genoa-v5", certs: "ms-milan.vcek.pem", errs: []error{snp.ErrProduct}},
		{report: "ms-milan", certs: "virtee-turin.vcek.der", errs: []error{snp.ErrProduct}},
		{report: "ars-genoa-v5", certs: "veraison-tsm.auxblob.bin", errs: []error{snp.ErrTCB, snp.ErrChipID}},
		{report: "ms-milan", certs: "trustee-vlek.vlek.der", at: vlekTime, errs: []error{snp.ErrSigner}},
		{report: "trustee-vlek", certs: "ms-milan.vcek.pem", at: vlekTime, errs: []error{snp.ErrSigner}},
	} {
		t.Run(tt.report+" "+tt.certs, func(t *testing.T) {
			t.Parallel()
			if tt.at.IsZero() {
				tt.at = now
			}
			c, err := snp.Verify(vector(t, "snp/"+tt.report+".report.bin"), auxblob(t, "snp/"+tt.certs), roots, tt.at)
			for _, want := range tt.errs {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if len(tt.errs) > 0 {
				if c != nil {
					t.Error("claims with an error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Dev || c.Report.Version != tt.version || c.Product != tt.product || c.Signer != tt.signer || c.ReportedTCB != tt.tcb ||
				c.Report.VMPL != tt.vmpl || c.Report.Policy.Debug() != tt.debug {
				t.Errorf("claims %+v", c)
			}
			if (c.Signer == snp.VCEK) != (len(c.ChipID) == 64) || (c.Signer == snp.VLEK) != (c.CSPID == "CN=cc-us-east-2.amazonaws.com") {
				t.Errorf("chip %x, provider %q", c.ChipID, c.CSPID)
			}
		})
	}
}

func TestVectorsRoundTrip(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(filepath.Join(vectorDir(t), "snp", "*.report.bin"))
	if len(files) < 7 {
		t.Fatalf("only %d reports", len(files))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := snp.ParseReport(data)
		if err != nil {
			t.Fatal(file, err)
		}
		if !bytes.Equal(r.Encode(), data) {
			t.Errorf("%s: encoding gives other bytes", file)
		}
	}
}

// TestVectorTurin reads the one public Turin certificate: no report goes with it.
func TestVectorTurin(t *testing.T) {
	t.Parallel()
	e, err := snp.ParseEndorsement(certificate(t, "snp/virtee-turin.vcek.der"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Product != snp.Turin || e.Signer != snp.VCEK || len(e.HWID) != 8 || e.TCB != (snp.TCB{Microcode: 9}) {
		t.Errorf("got %+v", e)
	}
}

// TestVectorRoots gives genuine evidence roots and tables that don't fit.
func TestVectorRoots(t *testing.T) {
	t.Parallel()
	roots := amdRoots(t)
	report, vcek := vector(t, "snp/ms-milan.report.bin"), certificate(t, "snp/ms-milan.vcek.pem")
	milan, genoa := roots[0], roots[1]
	ask, asvk := milan.Intermediates[0], milan.Intermediates[1]
	bare := milan
	bare.Intermediates = nil
	genoaAsMilan := genoa
	genoaAsMilan.Product = snp.Milan
	for _, tt := range []struct {
		name  string
		table snp.CertTable
		roots []snp.Root
		at    time.Time
		want  error // nil if it verifies
	}{
		{"ASK in the table", snp.CertTable{ASK: ask, VCEK: vcek}, []snp.Root{bare}, now, nil},
		{"ASK and ARK in the table", snp.CertTable{ARK: milan.ARK, ASK: ask, VCEK: vcek}, []snp.Root{genoa, bare}, now, nil},
		{"ASVK in the table, ASK pinned", snp.CertTable{ASK: asvk, VCEK: vcek}, roots, now, nil},
		{"no ASK", snp.CertTable{VCEK: vcek}, []snp.Root{bare}, now, snp.ErrRoot},
		{"ASVK for ASK", snp.CertTable{ASK: asvk, VCEK: vcek}, []snp.Root{bare}, now, snp.ErrRoot},
		{"no roots", snp.CertTable{ARK: milan.ARK, ASK: ask, VCEK: vcek}, nil, now, snp.ErrRoot},
		{"root not pinned", snp.CertTable{ARK: milan.ARK, ASK: ask, VCEK: vcek}, []snp.Root{genoa}, now, snp.ErrRoot},
		{"another root in the table", snp.CertTable{ARK: genoa.ARK, ASK: ask, VCEK: vcek}, roots, now, snp.ErrRoot},
		{"root without ARK", snp.CertTable{VCEK: vcek}, []snp.Root{{Name: "x", Product: snp.Milan}}, now, snp.ErrRoot},
		{"root called another product", snp.CertTable{VCEK: vcek}, []snp.Root{genoaAsMilan}, now, snp.ErrRoot},
		{"ASK as root", snp.CertTable{VCEK: vcek}, []snp.Root{{Product: snp.Milan, ARK: ask}}, now, snp.ErrRoot},
		{"no VCEK", snp.CertTable{ARK: milan.ARK, ASK: ask}, roots, now, snp.ErrSigner},
		{"ASK for VCEK", snp.CertTable{VCEK: ask}, roots, now, snp.ErrSigner},
		{"ARK for VCEK", snp.CertTable{VCEK: milan.ARK}, roots, now, snp.ErrSigner},
		{"VCEK for ASK", snp.CertTable{ASK: vcek, VCEK: vcek}, []snp.Root{bare}, now, snp.ErrRoot},
		{"VCEK for VLEK", snp.CertTable{VLEK: vcek}, roots, now, snp.ErrSigner},
		{"no time", snp.CertTable{VCEK: vcek}, roots, time.Time{}, snp.ErrTime},
		{"before the VCEK", snp.CertTable{VCEK: vcek}, roots, vcek.NotBefore.Add(-time.Second), snp.ErrTime},
		{"after the VCEK", snp.CertTable{VCEK: vcek}, roots, vcek.NotAfter.Add(time.Second), snp.ErrTime},
		{"last second of the VCEK", snp.CertTable{VCEK: vcek}, roots, vcek.NotAfter, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := snp.Verify(report, tt.table.Encode(), tt.roots, tt.at)
			if !errors.Is(err, tt.want) || (c == nil) != (err != nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestVectorBitFlips flips one bit in each byte of a genuine report: none of
// them is accepted.
func TestVectorBitFlips(t *testing.T) {
	t.Parallel()
	roots := amdRoots(t)
	report, certs := vector(t, "snp/ms-milan.report.bin"), auxblob(t, "snp/ms-milan.vcek.pem")
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := 0; i < len(report); i += step {
		bad := bytes.Clone(report)
		bad[i] ^= 1 << (i % 8)
		if c, err := snp.Verify(bad, certs, roots, now); err == nil || c != nil {
			t.Errorf("byte %#x flipped: accepted", i)
		}
	}
}
