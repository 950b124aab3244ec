package evidence_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/evidence"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

var update = flag.Bool("update", false, "write new seeds to testdata")

// most is the most memory that Parse may take for n bytes, in bytes.
func most(n int) int { return 2<<20 + 32*n }

// FuzzParse: what is recognised can be wrapped, and is read back as the same.
// The answer is the same for a kind that is asked for.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		item, err := evidence.Parse(data)
		if err != nil {
			if item.Evidence.Type != "" || item.Certificate != nil || err.Error() == "" {
				t.Fatalf("%v with error %v", item, err)
			}
			return
		}
		if !slices.Contains(attest.Technologies(), item.Evidence.Type) || len(item.Evidence.Report) == 0 {
			t.Fatalf("%q with %d bytes", item.Evidence.Type, len(item.Evidence.Report))
		}
		if _, err := evidence.ParseAs(data, item.Evidence.Type); err != nil {
			t.Fatal(err)
		}
		m, err := evidence.Wrap(item.Evidence)
		if err != nil {
			t.Fatal(err)
		}
		message, err := m.Encode()
		if err != nil {
			t.Skip() // larger than a message may be
		}
		again, err := evidence.Parse(message)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, again.Evidence, item.Evidence)
	})
}

// TestMemory reads files that are made to take much.
func TestMemory(t *testing.T) { //nolint:paralleltest // counts all memory
	const n = 100 << 10
	cert := makeCert()
	for name, data := range map[string][]byte{
		"hexadecimal digits":    bytes.Repeat([]byte("82"), n/2),
		"base64":                []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0x82}, n))),
		"JSON of empty objects": []byte(`{"tpm_quote":[` + strings.TrimSuffix(strings.Repeat("{},", n/3), ",") + "]}"),
		"JSON of names":         []byte(`{"x":` + strings.Repeat(`{"x":`, n/5)),
		"CBOR of arrays":        append([]byte{0xb9, 0x04, 0x00}, bytes.Repeat([]byte{0x80}, n)...),
		"CBOR of many arrays":   append([]byte{0x84, 0x40, 0xa0}, bytes.Repeat([]byte{0x80}, n)...),
		"CBOR of huge lengths":  bytes.Repeat([]byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, n/9),
		"many certificates":     bytes.Repeat(pemOf("CERTIFICATE", cert), n/len(cert)),
		"many blocks":           bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), n/54),
		"zeros":                 make([]byte, n),
	} {
		used := fuzzcheck.Allocated(func() { _, _ = evidence.Parse(data) })
		if used > most(len(data)) {
			t.Errorf("%s: %d bytes allocated for %d", name, used, len(data))
		}
		t.Logf("%s: %d bytes allocated for %d", name, used, len(data))
	}
}

// seeds are evidence of each technology, and some that is refused.
func seeds() map[string][]byte {
	all := all()
	m := map[string][]byte{
		"response": makeResponse(makeReport(2), 9), "extended": slices.Concat(all[1].Report, all[1].Auxblob),
		"tsm-json": makeJSON(makeTSM("sev_guest\n", makeReport(3), nil)), "tsm-cbor": encode(makeTSM("tdx_guest", tdx(), nil)),
		"ra-tls": raTLS(sgx(), raTLSClaims(spki(), []byte{1})), "hex": []byte(hex.EncodeToString(sgx())), "base64": []byte(base64.StdEncoding.EncodeToString(makeNitro(false))),
		"table": makeTable(), "bare-cca": encode(ccaMap()), "crl": makeCRL(), "tcb-info": []byte(`{"tcbInfo":{},"signature":"00"}`),
		"ra-tls-certificate": pemOf("CERTIFICATE", makeCert(old(raTLS(sgx(), raTLSClaims(spki(), nil))))),
	}
	for i, ev := range all {
		message := must(evidence.Wrap(ev))
		m[fmt.Sprintf("bare-%d", i)] = ev.Report
		m[fmt.Sprintf("message-%d", i)] = wrapped(message)
		if i == 8 {
			m["certificate"] = makeCert(extension(message))
			m["request"] = makeRequest(extension(message))
			m["collection"] = wrapped(&cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{{Text: "x", Message: *message}}})
			m["json-record"] = wrapped(record(cmw.JSON, message.Media, message.Value))
		}
	}
	return m
}

// TestSeeds checks that the fuzz target starts from something, and with -update
// makes that.
func TestSeeds(t *testing.T) { //nolint:paralleltest // may write
	const dir = "testdata/fuzz/FuzzParse"
	seeds := seeds()
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range seeds {
			if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < len(seeds) || len(seeds) < 30 {
		t.Errorf("%d seeds, want at least %d; run go test -run TestSeeds -update (%v)", len(files), len(seeds), err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "ra-tls"))
	if err != nil || !bytes.HasPrefix(data, []byte("go test fuzz v1\n[]byte(\"\\xd9\\xea`")) {
		t.Errorf("the seed ra-tls is another: %.40q, %v", data, err)
	}
}
