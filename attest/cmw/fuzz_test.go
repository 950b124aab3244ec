package cmw_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

var update = flag.Bool("update", false, "write new seeds to testdata")

// most is the most memory that reading a message of n bytes may take, in bytes.
func most(n int) int { return 2<<20 + 64*n }

// FuzzParse: what is read is written as the same bytes from CBOR, and as the
// same message from JSON.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := cmw.Parse(data)
		if (m == nil) != (err != nil) {
			t.Fatalf("message %v with error %v", m, err)
		}
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if m.Form != cmw.JSON && !bytes.Equal(again, data) {
			t.Fatalf("encoding gives other bytes: %x", again)
		}
		same, err := cmw.Parse(again)
		if err != nil || !reflect.DeepEqual(same, m) {
			t.Fatalf("%v became %v, %v", m, same, err)
		}
	})
}

func FuzzExtension(f *testing.F) {
	f.Fuzz(func(t *testing.T, value []byte, old bool) {
		e := pkix.Extension{Id: cmw.OID(), Value: value}
		if old {
			e.Id = cmw.OIDDICE()
		}
		m, _, err := cmw.FromExtensions([]pkix.Extension{e})
		if err != nil {
			return
		}
		again, err := m.Extension()
		if err != nil {
			t.Fatal(err)
		}
		if m.Form != cmw.JSON && !old && !bytes.Equal(again.Value, value) {
			t.Fatalf("encoding gives other bytes: %x", again.Value)
		}
	})
}

// TestMemory reads messages that are made to take much.
func TestMemory(t *testing.T) { //nolint:paralleltest // counts all memory
	items := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	for name, data := range map[string][]byte{
		"wide JSON":        []byte("[" + items(20000, "0") + "]"),
		"many JSON names":  []byte(`{"a":[` + items(20000, "[]") + `]}`),
		"nested":           []byte(strings.Repeat(`{"a":`, 4) + `["a/b","` + strings.Repeat("AAAA", 20000) + `"]` + strings.Repeat("}", 4)),
		"empty JSON items": []byte(`{` + items(20000, `"":[]`) + `}`),
		"CBOR arrays":      unhex(t, "d9ea60 99ffff"+strings.Repeat("80", 0xffff)),
		"CBOR huge":        unhex(t, "d9ea60 9affffffff"+strings.Repeat("80", 0xffff)),
		"CBOR collection":  unhex(t, "b840"+strings.Repeat("0182014100", 64)),
	} {
		if used := fuzzcheck.Allocated(func() { _, _ = cmw.Parse(data) }); used > most(len(data)) {
			t.Errorf("%s: %d bytes allocated for %d", name, used, len(data))
		} else {
			t.Logf("%s: %d bytes allocated for %d", name, used, len(data))
		}
	}
}

// TestSeeds checks that each fuzz target starts from something, and with
// -update makes that.
func TestSeeds(t *testing.T) { //nolint:paralleltest // may write
	seeds := map[string][]byte{
		"deep": unhex(t, strings.Repeat("a101", 5)+"82014100"), "indefinite": unhex(t, "9f014100ff"),
		"twice": []byte(`{"a":["a/b","AA"],"a":["a/b","AA"]}`), "trailing": unhex(t, "8201410000"),
	}
	for name, tt := range messages(t) {
		seeds[strings.ReplaceAll(name, " ", "-")] = tt.data
	}
	if *update {
		for name, data := range seeds {
			writeSeed(t, "FuzzParse", name, fmt.Sprintf("[]byte(%q)\n", data))
			e, err := extensionOf(data)
			if err == nil {
				writeSeed(t, "FuzzExtension", name, fmt.Sprintf("[]byte(%q)\nbool(false)\n", e))
			}
		}
		writeSeed(t, "FuzzExtension", "old", fmt.Sprintf("[]byte(%q)\nbool(true)\n", seeds["registered-CBOR-tag"]))
	}
	for target, want := range map[string]int{"FuzzParse": len(seeds), "FuzzExtension": len(messages(t)) + 1} {
		files, err := os.ReadDir(filepath.Join("testdata/fuzz", target))
		if err != nil || len(files) < want {
			t.Errorf("%s: %d seeds, want at least %d; run go test -run TestSeeds -update (%v)", target, len(files), want, err)
		}
	}
	if _, err := cmw.Parse(seeds["CBOR-tag"]); err != nil {
		t.Error(hex.EncodeToString(seeds["CBOR-tag"]), err)
	}
}

func extensionOf(data []byte) ([]byte, error) {
	m, err := cmw.Parse(data)
	if err != nil {
		return nil, err
	}
	e, err := m.Extension()
	return e.Value, err
}

func writeSeed(t *testing.T, target, name, args string) {
	t.Helper()
	file := filepath.Join("testdata/fuzz", target, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("go test fuzz v1\n"+args), 0o644); err != nil {
		t.Fatal(err)
	}
}
