package collateral_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

var update = flag.Bool("update", false, "write new seeds to testdata")

// What Parse returns makes a bundle that Parse reads the same from.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := collateral.Parse(data)
		if n := count(c); (n == counts{}) != (err != nil) {
			t.Fatalf("got %v with error %v", n, err)
		}
		if err != nil {
			return
		}
		bundle, err := collateral.EncodeBundle(collateral.Bundle{Collateral: c})
		if err != nil {
			if len(data) > collateral.MaxFile/2 { // a bundle may be larger than what it is made from
				return
			}
			t.Fatal(err)
		}
		again, err := collateral.Parse(bundle)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("the bundle gives something else: %v", err)
		}
	})
}

// What DecodeBundle accepts is what EncodeBundle writes.
func FuzzDecodeBundle(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := collateral.DecodeBundle(data)
		if err != nil {
			if !reflect.DeepEqual(b, collateral.Bundle{}) {
				t.Fatal("a bundle with an error")
			}
			return
		}
		again, err := collateral.EncodeBundle(b)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encoding gives other bytes: %v", err)
		}
	})
}

// TestSeeds checks that each fuzz target starts from something that is accepted,
// and with -update makes that.
func TestSeeds(t *testing.T) {
	if *update {
		writeSeeds(t)
	}
	for target, decode := range map[string]func([]byte) error{
		"FuzzParse":        func(b []byte) error { _, err := collateral.Parse(b); return err },
		"FuzzDecodeBundle": func(b []byte) error { _, err := collateral.DecodeBundle(b); return err },
	} {
		files, err := os.ReadDir(filepath.Join("testdata/fuzz", target))
		if want := map[string]int{"FuzzParse": 14, "FuzzDecodeBundle": 3}[target]; err != nil || len(files) < want {
			t.Errorf("%s: %d seeds, want at least %d; run go test -run TestSeeds -update (%v)", target, len(files), want, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join("testdata/fuzz", target, file.Name()))
			if err != nil {
				t.Fatal(err)
			}
			var s string
			if _, err := fmt.Sscanf(string(text), "go test fuzz v1\n[]byte(%q)", &s); err != nil {
				t.Fatal(file.Name(), err)
			}
			if err := decode([]byte(s)); err != nil {
				t.Errorf("%s/%s: %v", target, file.Name(), err)
			}
		}
	}
}

func writeSeeds(t *testing.T) {
	f := sample()
	ca, leaf, crl := block("CERTIFICATE", f.ca), block("CERTIFICATE", f.leaf), block("X509 CRL", f.crl)
	chip := newChip(snp.Milan)
	for name, data := range map[string][]byte{
		"FuzzParse/pem":         []byte("subject=x\n" + ca + crl + leaf),
		"FuzzParse/der":         append(bytes.Clone(f.leaf), f.crl...),
		"FuzzParse/hex":         []byte(hex.EncodeToString(f.crl)),
		"FuzzParse/base64":      []byte(base64.StdEncoding.EncodeToString(f.leaf)),
		"FuzzParse/header":      []byte("TCB-Info-Issuer-Chain: " + url.PathEscape(ca)),
		"FuzzParse/form":        []byte(url.QueryEscape(ca)),
		"FuzzParse/tcb":         f.info,
		"FuzzParse/identity":    f.identity,
		"FuzzParse/string":      []byte(quote(string(f.info))),
		"FuzzParse/qvl":         []byte(`{"root_ca_crl":"` + hex.EncodeToString(f.crl) + `","tcb_info":` + quote(bareInfo) + `,"tcb_info_signature":"` + signature + `"}`),
		"FuzzParse/thim":        []byte(`{"vcekCert":` + quote(leaf) + `,"tcbm":"DB18000000000004","certificateChain":` + quote(ca) + `}`),
		"FuzzParse/numbers":     []byte(`{"pck_crl":` + numbers(f.crl) + `}`),
		"FuzzParse/table":       chip.withTable(f.ca, chip.vcek).Auxblob,
		"FuzzParse/bundle":      must(collateral.EncodeBundle(fullBundle())),
		"FuzzDecodeBundle/full": must(collateral.EncodeBundle(fullBundle())),
		"FuzzDecodeBundle/one":  must(collateral.EncodeBundle(collateral.Bundle{Collateral: attest.Collateral{CRLs: [][]byte{f.crl}}})),
		"FuzzDecodeBundle/none": must(collateral.EncodeBundle(collateral.Bundle{})),
	} {
		file := filepath.Join("testdata/fuzz", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Parse may allocate this many bytes for each byte of a file, and so many besides.
const (
	allocFactor = 64
	allocBase   = 1 << 20
)

// TestAllocations gives Parse large files that cost much for their size. It does
// not run beside other tests.
func TestAllocations(t *testing.T) {
	f := sample()
	const size = collateral.MaxFile
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	deep := func(open, end string) string {
		n := size / (len(open) + len(end))
		return strings.Repeat(open, n) + strings.Repeat(end, n)
	}
	ca := block("CERTIFICATE", f.ca)
	quoted := fill("x")[:size/3]
	for range 5 {
		if next := quote(quoted); len(next) <= size {
			quoted = next
		}
	}
	nested := `{"pck_crl":` + quote(fill(`[`)[:size/2]) + `}`
	for _, tt := range []struct{ name, data string }{
		{"zeros", fill("\x00")},
		{"text", fill("x")},
		{"hex", fill("30820100")},
		{"base64", fill("MIIC")},
		{"DER that is long", "\x30\x83\x0f\xff\xfb" + fill("\x30\x80\x00")[:size-5]},
		{"list with many entries", string(manyEntries(size * 9 / 10))},
		{"certificates", strings.Repeat(string(f.ca), size/len(f.ca))},
		{"PEM", strings.Repeat(ca, size/len(ca))},
		{"PEM that only begins", fill("-----BEGIN CERTIFICATE-----\n")},
		{"percent-encoded", fill("BEGIN%20%20%20")},
		{"JSON of arrays", deep("[", "]")},
		{"JSON of objects", deep(`{"a":`, "}")[:size/2]},
		{"JSON of a deep object", strings.Repeat(`{"a":`, 8000) + "1" + strings.Repeat("}", 8000)},
		{"JSON with many members", "[" + fill("1,")[:size-3] + "1]"},
		{"JSON with many objects", "[" + strings.Repeat(`{},`, size/3-2) + "{}]"},
		{"JSON with large arrays in each other", strings.Repeat("[", 10) + `"` + fill("x")[:size-40] + `"` + strings.Repeat("]", 10)},
		{"JSON of numbers", `{"pck_crl":[` + fill("1,")[:size-20] + "1]}"},
		{"JSON of strings in each other", quoted},
		{"JSON with JSON in it", nested},
		{"signed JSON that is large", `{"tcbInfo":{"a":"` + fill("x")[:size-300] + `"},"signature":"` + signature + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.data) > size {
				t.Fatalf("%d bytes", len(tt.data))
			}
			data := []byte(tt.data)
			var err error
			got, most := fuzzcheck.Allocated(func() { _, err = collateral.Parse(data) }), allocFactor*len(data)+allocBase
			if got > most {
				t.Errorf("allocated %d bytes for a file of %d, at most %d allowed (%v)", got, len(data), most, err)
			}
			t.Logf("%.1f bytes for each byte (%.100v)", float64(got)/float64(len(data)), err)
		})
	}
}
