package policyfile_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/client/policyfile"
)

// template makes a template and parses it.
func template(t testing.TB, s policyfile.Start) (string, attest.Policy) {
	t.Helper()
	text, err := policyfile.Template(s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policyfile.Parse("template", text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), p
}

// TestTemplate makes sure that each key that there is stands in the template, in
// the part of its technology, and that the text is neat.
func TestTemplate(t *testing.T) {
	t.Parallel()
	text, p := template(t, policyfile.Start{Technologies: attest.Technologies()})
	schema := policyfile.Schema()
	if len(schema) < 20 {
		t.Errorf("only %d tables in the schema", len(schema))
	}
	for table, keys := range schema {
		if strings.HasSuffix(table, "measurements[*]") || strings.Contains(table, ".pcrs") {
			continue // as in known; any number
		}
		part := text
		technology, _, _ := strings.Cut(table, ".")
		if _, after, ok := strings.Cut(text, "\n["+technology+"]\n"); ok {
			part, _, _ = strings.Cut(after, "\n\n")
		}
		for _, key := range keys {
			if !regexp.MustCompile(`(?m)^(# )?`+key+` = |^(# )?\[.*\b`+key+`[].]`).MatchString(part) && key != "genoa" {
				t.Errorf("%s of %q is not in the template", key, table)
			}
		}
	}
	for i, line := range strings.Split(text, "\n") {
		if len(line) > 100 || strings.TrimRight(line, " \t") != line {
			t.Errorf("line %d is too long, or ends in space: %q", i+1, line)
		}
	}
	if strings.Contains(text, "\n\n\n") || strings.Contains(text, "{{") {
		t.Error("the template has empty lines in a row, or something that was not filled in")
	}
	v := reflect.ValueOf(p)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Bool && f.Bool() || f.Kind() == reflect.Pointer && f.IsNil() {
			t.Errorf("%s is %v", v.Type().Field(i).Name, f)
		}
	}
}

// TestTemplateRefuses makes sure that nothing passes by what the template leaves
// to be filled in.
func TestTemplateRefuses(t *testing.T) {
	t.Parallel()
	for _, technology := range attest.Technologies() {
		_, p := template(t, policyfile.Start{Technologies: []string{technology}})
		var refused []string
		for _, note := range policyfile.Notes(p) {
			if note.Level == "warning" && strings.Contains(note.Text, "refused") {
				refused = append(refused, note.Key)
			}
		}
		if len(refused) < 2 || refused[0] != technology+".measurements" || refused[1] != technology+".machines" {
			t.Errorf("%s: what refuses is %q", technology, refused)
		}
		for _, e := range policyfile.Explain(p) {
			if e.Refused == (e.Technology == technology) {
				t.Errorf("%s: %s refused is %v", technology, e.Technology, e.Refused)
			}
		}
	}
}

// TestTemplateSimulated makes sure that the template for simulated hardware is
// the policy that redoubt run has.
func TestTemplateSimulated(t *testing.T) {
	t.Parallel()
	m := attest.Reference{Name: `a "name" \ é`, Digest: bytes.Repeat([]byte{0x5f}, 48)}
	_, p := template(t, policyfile.Start{Technologies: []string{attest.SNP}, Measurements: []attest.Reference{m}, Simulated: true})
	want := client.ProcessPolicy(m)
	want.Profiles = []string{"production"}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("policy %+v with %+v\nexpected %+v with %+v", p, p.SNP, want, want.SNP)
	}
}

func TestTemplateMeasurements(t *testing.T) {
	t.Parallel()
	a, b := attest.Reference{Name: "a", Digest: bytes.Repeat([]byte{1}, 32)}, attest.Reference{Digest: bytes.Repeat([]byte{2}, 32)}
	text, p := template(t, policyfile.Start{Technologies: []string{attest.SGX}, Measurements: []attest.Reference{a, b}})
	if !reflect.DeepEqual(p.SGX.Measurements, []attest.Reference{a, b}) || !strings.Contains(text, hex.EncodeToString(b.Digest)) {
		t.Errorf("measurements %v", p.SGX.Measurements)
	}
	for name, s := range map[string]policyfile.Start{
		"no technology given":              {},
		`technology "sev" is not known`:    {Technologies: []string{"sev"}},
		"technology snp is given twice":    {Technologies: []string{"snp", "snp"}},
		"in 96 hexadecimal digits":         {Technologies: []string{"snp"}, Measurements: []attest.Reference{a}},
		"this list twice":                  {Technologies: []string{"sgx"}, Measurements: []attest.Reference{a, a}},
		"expected a name for people of ch": {Technologies: []string{"sgx"}, Measurements: []attest.Reference{{Name: "a\nb", Digest: a.Digest}}},
	} {
		if _, err := policyfile.Template(s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, expected %q", err, name)
		}
	}
}
