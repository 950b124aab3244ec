package dcap_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

var update = flag.Bool("update", false, "write new seeds to testdata")

// The seeds are made up: nobody signed them. Fuzz with -fuzzminimizetime=1x: Go
// otherwise spends the time on shrinking what it finds.

// How many times its input a parser may allocate, besides allocatedAnyway.
const (
	quoteFactor    = 3
	documentFactor = 16
	pckFactor      = 4

	allocatedAnyway = 16 << 10
)

// checkAllocated checks how many bytes f allocates. Other goroutines count too,
// so that it takes the best of some.
func checkAllocated(t *testing.T, input, factor int, f func()) {
	t.Helper()
	limit := factor*input + allocatedAnyway
	best := fuzzcheck.Allocated(f)
	for i := 1; i < 5 && best > limit; i++ {
		best = min(best, fuzzcheck.Allocated(f))
	}
	if best > limit {
		t.Errorf("%d bytes allocated for an input of %d, must be at most %d", best, input, limit)
	}
}

func FuzzParseQuote(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		checkAllocated(t, len(data), quoteFactor, func() { dcap.ParseQuote(data) })
		q, err := dcap.ParseQuote(data)
		if (q == nil) != (err != nil) {
			t.Fatalf("quote %v with error %v", q, err)
		}
		if err == nil {
			checkEncode(t, q, data)
		}
	})
}

func FuzzTCBInfo(f *testing.F) { fuzzDocument(f, dcap.ParseTCBInfo) }

func FuzzQEIdentity(f *testing.F) { fuzzDocument(f, dcap.ParseQEIdentity) }

func fuzzDocument(f *testing.F, parse func([]byte) ([]byte, error)) {
	f.Fuzz(func(t *testing.T, data []byte) {
		checkAllocated(t, len(data), documentFactor, func() { parse(data) })
		signed, err := parse(data)
		if err == nil && (!json.Valid(signed) || !bytes.Contains(data, signed) || signed[0] != '{' || signed[len(signed)-1] != '}') {
			t.Fatalf("signed %q", signed)
		}
	})
}

// FuzzPCKExtensions encodes what it decodes: the same, in an order of its own.
func FuzzPCKExtensions(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, platform bool) {
		cert := certificate(platform, data)
		checkAllocated(t, len(data), pckFactor, func() { dcap.ParsePCK(cert) })
		p, err := dcap.ParsePCK(cert)
		if (p == nil) != (err != nil) {
			t.Fatalf("PCK %v with error %v", p, err)
		}
		if err != nil {
			return
		}
		again := sequence(encodePCK(p)...)
		if len(again) != len(data) {
			t.Fatalf("%x, encoded again %x", data, again)
		}
		if got, err := dcap.ParsePCK(certificate(platform, again)); err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("got %+v, %v, want %+v", got, err, p)
		}
	})
}

// seeds is what the fuzz targets start from: for each a name and the arguments.
func seeds() map[string][]any {
	all := map[string][]any{
		"FuzzTCBInfo/sgx":             {[]byte(doc("tcbInfo", sgxInfo))},
		"FuzzTCBInfo/tdx":             {[]byte(doc("tcbInfo", tdxInfo))},
		"FuzzTCBInfo/unknown":         {[]byte(doc("tcbInfo", `{"\u0061":[1.5e3,true,null,"\"}"],`+sgxInfo[1:]))},
		"FuzzQEIdentity/tdqe":         {[]byte(doc("enclaveIdentity", identity))},
		"FuzzQEIdentity/space":        {[]byte(" { \"signature\" : \"" + sig + "\",\n\"enclaveIdentity\" : " + identity + "\r\n}\t")},
		"FuzzPCKExtensions/platform":  {sequence(encodePCK(samplePCK(true))...), true},
		"FuzzPCKExtensions/processor": {sequence(encodePCK(samplePCK(false))...), false},
	}
	for name, q := range samples() {
		all["FuzzParseQuote/"+name] = []any{q.Encode()}
	}
	all["FuzzParseQuote/padded"] = []any{append(samples()["v4"].Encode(), make([]byte, 70)...)}
	return all
}

// TestSeeds checks that each fuzz target starts from something that its parser
// accepts, and with -update makes that.
func TestSeeds(t *testing.T) {
	for name, args := range seeds() {
		text := []byte("go test fuzz v1\n")
		for _, arg := range args {
			switch arg := arg.(type) {
			case []byte:
				text = fmt.Appendf(text, "[]byte(%q)\n", arg)
			default:
				text = fmt.Appendf(text, "%T(%v)\n", arg, arg)
			}
		}
		file := filepath.Join("testdata/fuzz", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not as this test makes it; run go test -run TestSeeds -update (%v)", file, err)
		}
		data := args[0].([]byte)
		var err error
		switch filepath.Dir(name) {
		case "FuzzParseQuote":
			_, err = dcap.ParseQuote(data)
		case "FuzzTCBInfo":
			_, err = dcap.ParseTCBInfo(data)
		case "FuzzQEIdentity":
			_, err = dcap.ParseQEIdentity(data)
		case "FuzzPCKExtensions":
			_, err = dcap.ParsePCK(certificate(args[1].(bool), data))
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
