package snp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

func amdRoots(t testing.TB) []snp.Root {
	t.Helper()
	var roots []snp.Root
	for _, product := range []string{"milan", "genoa", "turin"} {
		root, err := snp.ParseRoot(vectors.Read(t, "roots/amd-"+product+".ask-ark-asvk.pem"))
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
func certificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	data := vectors.Read(t, name)
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
func auxblob(t testing.TB, name string) []byte {
	t.Helper()
	if strings.HasSuffix(name, ".auxblob.bin") {
		return vectors.Read(t, name)
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
			report, table := vectors.Read(t, "snp/"+tt.report+".report.bin"), auxblob(t, "snp/"+tt.certs)
			c, err := snp.Verify(report, table, snp.Collateral{}, roots, nil, tt.at)
			verdict(t, c, err, tt.errs)
			if err == nil {
				if c.Dev || c.Report.Version != tt.version || c.Product != tt.product || c.Signer != tt.signer || c.ReportedTCB != tt.tcb ||
					c.Report.VMPL != tt.vmpl || c.Report.Policy.Debug() != tt.debug || len(c.Unchecked) != 1 {
					t.Errorf("claims %+v", c)
				}
				if (c.Signer == snp.VCEK) != (len(c.ChipID) == 64) || (c.Signer == snp.VLEK) != (c.CSPID == "CN=cc-us-east-2.amazonaws.com") {
					t.Errorf("chip %x, provider %q", c.ChipID, c.CSPID)
				}
			}
			// The same by certificates in files, single, with the compiled-in roots, and
			// among all others.
			for _, certs := range [][][]byte{captured(t, "snp/"+tt.certs), append(everything(t), captured(t, "snp/"+tt.certs)...)} {
				if len(tt.errs) > 0 && len(certs) > 4 {
					continue // the right one may be among them
				}
				again, err := snp.Verify(report, nil, snp.Collateral{Certificates: certs}, snp.AMDRoots(), nil, tt.at)
				verdict(t, again, err, tt.errs)
				if err == nil && !reflect.DeepEqual(again, c) {
					t.Errorf("claims %+v, want %+v", again, c)
				}
			}
		})
	}
}

func verdict(t *testing.T, c *snp.Claims, err error, errs []error) {
	t.Helper()
	for _, want := range errs {
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if (c == nil) != (err != nil) || len(errs) == 0 && err != nil {
		t.Errorf("claims %+v with error %v", c, err)
	}
}

// captured returns the certificates of a file, in DER: one, or a table's.
func captured(t testing.TB, name string) [][]byte {
	t.Helper()
	if !strings.HasSuffix(name, ".auxblob.bin") {
		return ders(certificate(t, name))
	}
	table, err := snp.ParseCertTable(vectors.Read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return ders(table.VCEK, table.ASK, table.ARK)
}

// everything returns every captured certificate that somebody signed.
func everything(t testing.TB) [][]byte {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(vectors.Dir(t), "snp", "*.[dp]e[rm]"))
	var certs [][]byte
	for _, file := range files {
		certs = append(certs, certificate(t, "snp/"+filepath.Base(file)).Raw)
	}
	if len(certs) < 10 {
		t.Fatalf("%d certificates", len(certs))
	}
	return certs
}

func TestVectorsRoundTrip(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(filepath.Join(vectors.Dir(t), "snp", "*.report.bin"))
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
	report, vcek := vectors.Read(t, "snp/ms-milan.report.bin"), certificate(t, "snp/ms-milan.vcek.pem")
	milan, genoa := roots[0], roots[1]
	ask, asvk := milan.Intermediates[0], milan.Intermediates[1]
	bare := milan
	bare.Intermediates = nil
	genoaAsMilan := genoa
	genoaAsMilan.Product = snp.Milan
	for _, tt := range []struct {
		name   string
		table  snp.CertTable
		roots  []snp.Root
		at     time.Time
		want   error // nil if it verifies
		reason string
	}{
		{"ASK in the table", snp.CertTable{ASK: ask, VCEK: vcek}, []snp.Root{bare}, now, nil, ""},
		{"ASK and ARK in the table", snp.CertTable{ARK: milan.ARK, ASK: ask, VCEK: vcek}, []snp.Root{genoa, bare}, now, nil, ""},
		{"ASVK in the table, ASK pinned", snp.CertTable{ASK: asvk, VCEK: vcek}, roots, now, nil, ""},
		{"no ASK", snp.CertTable{VCEK: vcek}, []snp.Root{bare}, now, snp.ErrRoot, "no certificate leads"},
		{"ASVK for ASK", snp.CertTable{ASK: asvk, VCEK: vcek}, []snp.Root{bare}, now, snp.ErrRoot, "no certificate leads"},
		{"no roots", snp.CertTable{ARK: milan.ARK, ASK: ask, VCEK: vcek}, nil, now, snp.ErrRoot, "no roots were given"},
		{"root not pinned", snp.CertTable{ARK: milan.ARK, ASK: ask, VCEK: vcek}, []snp.Root{genoa}, now, snp.ErrRoot, "none of the 1 given"},
		{"another root in the table", snp.CertTable{ARK: genoa.ARK, ASK: ask, VCEK: vcek}, roots, now, snp.ErrRoot, "no certificate leads"},
		{"root without ARK", snp.CertTable{VCEK: vcek}, []snp.Root{{Name: "x", Product: snp.Milan}}, now, snp.ErrRoot, "no ARK"},
		{"root called another product", snp.CertTable{VCEK: vcek}, []snp.Root{genoaAsMilan}, now, snp.ErrRoot, "product \"Milan\" and common name \"ARK-Genoa\""},
		{"ASK as root", snp.CertTable{VCEK: vcek}, []snp.Root{{Product: snp.Milan, ARK: ask}}, now, snp.ErrRoot, "common name \"SEV-Milan\""},
		{"no VCEK", snp.CertTable{ARK: milan.ARK, ASK: ask}, roots, now, snp.ErrSigner, "neither the certificate table"},
		{"ASK for VCEK", snp.CertTable{VCEK: ask}, roots, now, snp.ErrSigner, "common name is \"SEV-Milan\""},
		{"ARK for VCEK", snp.CertTable{VCEK: milan.ARK}, roots, now, snp.ErrSigner, "common name is \"ARK-Milan\""},
		{"VCEK for ASK", snp.CertTable{ASK: vcek, VCEK: vcek}, []snp.Root{bare}, now, snp.ErrRoot, "no certificate leads"},
		{"VCEK for VLEK", snp.CertTable{VLEK: vcek}, roots, now, snp.ErrSigner, "neither the certificate table"},
		{"no time", snp.CertTable{VCEK: vcek}, roots, time.Time{}, snp.ErrTime, "no time was given"},
		{"before the VCEK", snp.CertTable{VCEK: vcek}, roots, vcek.NotBefore.Add(-time.Second), snp.ErrTime, "is valid from"},
		{"after the VCEK", snp.CertTable{VCEK: vcek}, roots, vcek.NotAfter.Add(time.Second), snp.ErrTime, "is valid from"},
		{"last second of the VCEK", snp.CertTable{VCEK: vcek}, roots, vcek.NotAfter, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := snp.Verify(report, tt.table.Encode(), snp.Collateral{}, tt.roots, nil, tt.at)
			check(t, c, err, tt.want, tt.reason)
		})
	}
}
