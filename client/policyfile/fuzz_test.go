package policyfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client/policyfile"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

// seeds are all files of this folder's tests, good and bad, and the template.
func seeds(t testing.TB) []string {
	var all []string
	for _, name := range goodFiles(t) {
		data, err := os.ReadFile(filepath.Join("testdata", "good", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	for _, b := range badFiles {
		text, bare := strings.CutPrefix(b.text, "!")
		if !bare {
			text = "version = 1\n" + text
		}
		all = append(all, text)
	}
	text, _ := template(t, policyfile.Start{Technologies: attest.Technologies()})
	return append(all, text)
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	if n := len(seeds(t)); n < 100 {
		t.Errorf("%d seeds, expected 100 or more", n)
	}
}

// FuzzParse makes sure that a file is read or refused with a place in it, that
// each that is read is read the same again, and that none hides what is added.
// Fuzz with -fuzzminimizetime=1x: Go otherwise spends the time on shrinking what
// it finds.
func FuzzParse(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policyfile.Parse("p", data)
		if err != nil {
			checkErrors(t, data, p, err)
			return
		}
		again, err := policyfile.Parse("p", data)
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("read again it is another: %v", err)
		}
		policyfile.Notes(p)
		policyfile.Explain(p)
		more := append([]byte(nil), data...)
		if _, err := policyfile.Parse("p", append(more, "\nnot_a_key = 1\n"...)); !errors.Is(err, policyfile.ErrKey) && !errors.Is(err, policyfile.ErrSize) {
			t.Fatalf("a key that is not known, added at the end, gives %v", err)
		}
	})
}

func checkErrors(t *testing.T, data []byte, p attest.Policy, err error) {
	if !reflect.DeepEqual(p, attest.Policy{}) {
		t.Fatal("a policy comes with an error")
	}
	var all policyfile.Errors
	if !errors.As(err, &all) {
		if len(data) <= policyfile.MaxSize {
			t.Fatalf("error of another type: %v", err)
		}
		return
	}
	lines := 1 + strings.Count(string(data), "\n")
	if len(all) == 0 || len(all) > policyfile.MaxErrors {
		t.Fatalf("%d errors", len(all))
	}
	for _, e := range all {
		if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Text == "" || errors.Unwrap(e) == nil {
			t.Fatalf("error %+v in %d lines", e, lines)
		}
	}
}

// maxMultiple is how many times a file's size Parse may allocate, beyond
// fixedBytes.
const (
	maxMultiple = 256
	fixedBytes  = 1 << 20
)

func TestMemory(t *testing.T) {
	half := policyfile.MaxSize/2 - 100
	for name, text := range map[string]string{
		"numbers":       "version = 1\nknown = [" + strings.Repeat("1,", half) + "]",
		"lists":         "version = 1\nknown = [" + strings.Repeat("[],", half/2) + "]",
		"nested lists":  "version = 1\nknown = " + strings.Repeat("[", half),
		"inline tables": "version = 1\nknown = [" + strings.Repeat("{},", half/2) + "]",
		"nested tables": "version = 1\na=" + strings.Repeat("{a=", half/3),
		"dotted keys":   "version = 1\na" + strings.Repeat(".a", half/2) + " = 1",
		"headers":       "version = 1\n" + strings.Repeat("[[a]]\n", half/6),
		"same headers":  "version = 1\n" + strings.Repeat("[a]\n", half/6),
		"same keys":     "version = 1\n" + strings.Repeat("a=1\n", half/6),
		"line ends":     "version = 1\n" + strings.Repeat("\n", half),
		"long key":      "version = 1\n" + strings.Repeat("a", half) + " = 1",
		"long string":   "version = 1\ngrace = \"" + strings.Repeat("\\u0061", half/6) + "\"",
		"digests":       "version = 1\n[snp]\nmeasurements = [" + strings.Repeat("\""+hex48+"\",\n", half/100) + "]",
		"no TOML":       strings.Repeat("]", half),
	} {
		data := []byte(text)
		if len(data) > policyfile.MaxSize {
			t.Fatalf("%s: %d bytes", name, len(data))
		}
		var err error
		n := fuzzcheck.Allocated(func() { _, err = policyfile.Parse("p", data) })
		if err == nil && name != "line ends" {
			t.Errorf("%s: accepted", name)
		}
		if n > fixedBytes+maxMultiple*len(data) {
			t.Errorf("%s: %d bytes of file made %d of memory, %d times as much", name, len(data), n, n/len(data))
		} else {
			t.Logf("%s: %d times as much", name, n/len(data))
		}
	}
}
