package snp_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

var update = flag.Bool("update", false, "write new seeds to testdata")

// The seeds are evidence of simulated hardware whose keys are gone. Fuzz with
// -fuzzminimizetime=1x: Go otherwise spends the time on shrinking what it finds.
const seedRoot = "testdata/root.pem"

// most is the most memory that reading n bytes may take, in bytes. (A
// certificate's or list's smallest extension or entry is a dozen bytes, and a few
// hundred when it is read.)
func most(n int) int { return 64<<10 + 48*n }

func FuzzParseReport(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var r *snp.Report
		var err error
		fuzzcheck.Memory(t, most(0), func() { r, err = snp.ParseReport(data) })
		if (r == nil) != (err != nil) {
			t.Fatalf("report %v with error %v", r, err)
		}
		if err == nil && !bytes.Equal(r.Encode(), data) {
			t.Fatal("encoding gives other bytes")
		}
	})
}

func FuzzParseCertTable(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var table *snp.CertTable
		var err error
		fuzzcheck.Memory(t, most(len(data)), func() { table, err = snp.ParseCertTable(data) })
		if (table == nil) != (err != nil) {
			t.Fatalf("table %v with error %v", table, err)
		}
		if err != nil {
			return
		}
		again, err := snp.ParseCertTable(table.Encode())
		if err != nil {
			t.Fatal(err)
		}
		checkSame(t, again, table)
	})
}

// FuzzVerify accepts nothing but the signed bytes of its seed.
func FuzzVerify(f *testing.F) {
	root, genuine := seed(f)
	f.Fuzz(func(t *testing.T, report, auxblob []byte) {
		c, err := snp.Verify(report, auxblob, snp.Collateral{}, []snp.Root{root}, nil, now)
		if (c == nil) != (err != nil) {
			t.Fatalf("claims %v with error %v", c, err)
		}
		if err == nil && !bytes.Equal(snp.Signed(report), snp.Signed(genuine)) {
			t.Fatalf("accepted a report that was never signed: %x", report)
		}
	})
}

// FuzzCollateral has the seed's report with other certificates and another list.
// They lead to no other claims than the seed's; only a list of somebody else's,
// or none, is not claimed.
func FuzzCollateral(f *testing.F) {
	root, report := seed(f)
	genuine := corpus(f, "FuzzCollateral", "genuine")
	collateral := func(vcek, ask, crl []byte) snp.Collateral {
		return snp.Collateral{Certificates: [][]byte{vcek, ask}, CRLs: [][]byte{crl}}
	}
	want, err := snp.Verify(report, nil, collateral(genuine[0], genuine[1], genuine[2]), []snp.Root{root}, nil, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, vcek, ask, crl []byte) {
		var c *snp.Claims
		var err error
		fuzzcheck.Memory(t, most(len(vcek)+len(ask)+len(crl)+1<<13), func() { // 1<<13: for the signatures
			c, err = snp.Verify(report, nil, collateral(vcek, ask, crl), []snp.Root{root}, nil, now)
		})
		if (c == nil) != (err != nil) {
			t.Fatalf("claims %v with error %v", c, err)
		}
		if err != nil {
			return
		}
		if len(c.Collateral) == 0 {
			c.Collateral, c.Unchecked = want.Collateral, nil
		}
		if !reflect.DeepEqual(c, want) {
			t.Fatalf("claims %+v, want %+v", c, want)
		}
	})
}

// seed returns the root and the report of the seed that verifies.
func seed(t testing.TB) (snp.Root, []byte) {
	data, err := os.ReadFile(seedRoot)
	if err != nil {
		t.Fatal(err)
	}
	root, err := snp.ParseRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	args := corpus(t, "FuzzVerify", "genuine")
	if _, err := snp.Verify(args[0], args[1], snp.Collateral{}, []snp.Root{root}, nil, now); err != nil {
		t.Fatal("the seed does not verify: ", err)
	}
	return root, args[0]
}

// corpus reads a seed file.
func corpus(t testing.TB, target, name string) [][]byte {
	data, err := os.ReadFile(filepath.Join("testdata/fuzz", target, name))
	if err != nil {
		t.Fatal(err)
	}
	var args [][]byte
	for line := range bytes.Lines(data) {
		var s string
		if n, _ := fmt.Sscanf(string(line), "[]byte(%q)", &s); n == 1 {
			args = append(args, []byte(s))
		}
	}
	return args
}

// TestSeeds checks that each fuzz target starts from something, and with
// -update makes that.
func TestSeeds(t *testing.T) {
	if *update {
		writeSeeds(t)
	}
	for target, want := range map[string]int{"FuzzParseReport": 4, "FuzzParseCertTable": 4, "FuzzVerify": 2, "FuzzCollateral": 3} {
		files, err := os.ReadDir(filepath.Join("testdata/fuzz", target))
		if err != nil || len(files) < want {
			t.Errorf("%s: %d seeds, want at least %d; run go test -run TestSeeds -update (%v)", target, len(files), want, err)
		}
	}
	root, report := seed(t)
	for name, want := range map[string]error{"genuine": nil, "revoked": pki.ErrRevoked, "stranger": snp.ErrProduct} {
		args := corpus(t, "FuzzCollateral", name)
		_, err := snp.Verify(report, nil, snp.Collateral{Certificates: args[:2], CRLs: args[2:]}, []snp.Root{root}, nil, now)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	for _, name := range []string{"milan", "turin", "v2", "v5"} {
		if _, err := snp.ParseReport(corpus(t, "FuzzParseReport", name)[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"full", "pem", "vlek", "unknown"} {
		if _, err := snp.ParseCertTable(corpus(t, "FuzzParseCertTable", name)[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func writeSeeds(t *testing.T) {
	amd := must(teelab.NewAMD(snp.Milan, now))
	chip := must(amd.NewSNP())
	ev := must(chip.Evidence([64]byte{1}, [48]byte{2}))
	turin := must(must(lab[snp.Turin]().NewSNP()).Evidence([64]byte{1}, [48]byte{2}))
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chip.VCEK.Raw})
	for name, args := range map[string][][]byte{
		"FuzzParseReport/milan":      {ev.Report},
		"FuzzParseReport/turin":      {turin.Report},
		"FuzzParseReport/v2":         {sample(2).Encode()},
		"FuzzParseReport/v5":         {sample(5).Encode()},
		"FuzzParseCertTable/full":    {ev.Auxblob},
		"FuzzParseCertTable/pem":     {rawTable(part{vcekGUID, asPEM, -1, -1})},
		"FuzzParseCertTable/vlek":    {(&snp.CertTable{VLEK: chip.VCEK}).Encode()},
		"FuzzParseCertTable/unknown": {rawTable(part{unknownGUID, []byte{1}, -1, -1})},
		"FuzzCollateral/genuine":     {chip.VCEK.Raw, chip.ASK.Raw, chip.Collateral().CRLs[0]},
		"FuzzCollateral/revoked":     {chip.VCEK.Raw, chip.ASK.Raw, must(amd.CRL(teelab.Revoke(chip.ASK)))},
		"FuzzCollateral/stranger":    {must(lab[snp.Turin]().NewSNP()).VCEK.Raw, lab[snp.Turin]().ASK.Raw, must(lab[snp.Turin]().CRL())},
		"FuzzVerify/genuine":         {ev.Report, ev.Auxblob},
		"FuzzVerify/stranger":        {turin.Report, turin.Auxblob},
	} {
		text := []byte("go test fuzz v1\n")
		for _, arg := range args {
			text = fmt.Appendf(text, "[]byte(%q)\n", arg)
		}
		file := filepath.Join("testdata/fuzz", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(seedRoot, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: amd.ARK.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
}
