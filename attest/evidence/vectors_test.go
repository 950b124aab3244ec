package evidence_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/evidence"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// captured is which files are evidence, by their names.
var captured = []struct{ pattern, kind string }{
	{"snp/*.report.bin", attest.SNP},
	{"tdx/oasis-quote*", attest.TDX},
	{"tdx/phala-tdx_quote", attest.TDX},
	{"tdx/automata-v4.hexdat", attest.TDX},
	{"tdx/gtg-quote_v5_sample.dat", attest.TDX},
	{"tdx/trustee-tdx_quote_4.dat", attest.TDX},
	{"sgx/oasis-quote*", attest.SGX},
	{"sgx/automata-quotev3.hex", attest.SGX},
	{"sgx/trustee-occlum_quote.dat", attest.SGX},
	{"cca/*.cbor", attest.CCA},
	{"nitro/*-doc-bytes", attest.Nitro},
	{"tpm/*_evidence.json", attest.TPM},
}

func kindOf(name string) string {
	for _, c := range captured {
		if ok, _ := filepath.Match(c.pattern, name); ok {
			return c.kind
		}
	}
	return ""
}

// TestVectors recognises all captured evidence as what it is, and nothing else.
func TestVectors(t *testing.T) {
	t.Parallel()
	dir := vectors.Dir(t)
	count := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		name = filepath.ToSlash(name)
		kind := kindOf(name)
		count[kind]++
		checkVector(t, name, kind, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind, least := range map[string]int{attest.SNP: 7, attest.TDX: 7, attest.SGX: 4, attest.CCA: 2, attest.Nitro: 2, attest.TPM: 1, "": 40} {
		if count[kind] < least {
			t.Errorf("%d files of kind %q, want %d at least", count[kind], kind, least)
		}
	}
}

func checkVector(t *testing.T, name, kind string, data []byte) {
	t.Helper()
	texts := [][]byte{data, []byte(hex.EncodeToString(data)), []byte(base64.StdEncoding.EncodeToString(data))}
	if strings.HasSuffix(name, ".hex") {
		texts = texts[:1]
	}
	for _, text := range texts {
		item, err := evidence.Parse(text)
		if kind == "" {
			if !errors.Is(err, evidence.ErrUnknown) {
				t.Errorf("%s: taken for %q, %v", name, item.Evidence.Type, err)
			}
			continue
		}
		if err != nil || item.Evidence.Type != kind || item.Evidence.Auxblob != nil || item.Certificate != nil {
			t.Errorf("%s: %q, %v; want %q", name, item.Evidence.Type, err, kind)
			continue
		}
		for _, other := range attest.Technologies() {
			if _, err := evidence.ParseAs(text, other); (err == nil) != (other == kind) {
				t.Errorf("%s as %s: %v", name, other, err)
			}
		}
		if !strings.HasSuffix(name, ".hex") && !bytes.Equal(item.Evidence.Report, data) {
			t.Errorf("%s: %d bytes became %d", name, len(data), len(item.Evidence.Report))
		}
		rewrap(t, name, item.Evidence)
	}
}

func rewrap(t *testing.T, name string, ev attest.Evidence) {
	t.Helper()
	m, err := evidence.Wrap(ev)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, data := range [][]byte{wrapped(m), makeCert(extension(m)), wrapped(record(cmw.JSON, m.Media, m.Value))} {
		item, err := evidence.Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equal(t, item.Evidence, ev)
	}
}

// TestVectorTSM reads the one capture that has a certificate table, in the forms
// that Veraison gives it.
func TestVectorTSM(t *testing.T) {
	t.Parallel()
	report, auxblob := vectors.Read(t, "snp/veraison-tsm.report.bin"), vectors.Read(t, "snp/veraison-tsm.auxblob.bin")
	want := attest.Evidence{Type: attest.SNP, Report: report, Auxblob: auxblob}
	rewrap(t, "veraison-tsm", want)
	for name, data := range map[string][]byte{
		"CBOR":            encode(makeTSM("sev_guest", report, auxblob)),
		"JSON":            makeJSON(makeTSM("sev_guest", report, auxblob)),
		"extended report": append(bytes.Clone(report), auxblob...),
	} {
		item, err := evidence.Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equal(t, item.Evidence, want)
	}
}
