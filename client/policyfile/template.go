package policyfile

import (
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/redoubt-tee/redoubt/attest"
)

//go:embed templates
var templates embed.FS

// Start is what a policy to start from has in it.
type Start struct {
	Technologies []string           // at least one of attest.Technologies
	Measurements []attest.Reference // accepted for each of them
	// Simulated accepts simulated evidence, as that of process Keeps, with what
	// simulated hardware can't have.
	Simulated bool
}

// fillIn says where measurements come from, if there are none.
const fillIn = `# None yet, so all are refused. redoubt verify EVIDENCE --policy FILE shows that of
# evidence: take it from a machine that you trust only.`

// Template returns a strict policy file to start from, in which each key of the
// technologies is explained. Parse accepts it as it is; unless s has what is
// needed, it refuses all evidence until it is filled in.
func Template(s Start) ([]byte, error) {
	if len(s.Technologies) == 0 {
		return nil, fmt.Errorf("no technology given, expected some of %q", attest.Technologies())
	}
	var b strings.Builder
	values := struct {
		Start
		Measurements, Fill, DCAP, Relaunch string
	}{Start: s, Measurements: written(s.Measurements), Fill: fillIn}
	if len(s.Measurements) > 0 {
		values.Fill = "# What of them is no longer to run, leave out."
	}
	parts := []string{"head"}
	for i, t := range s.Technologies {
		if !slices.Contains(attest.Technologies(), t) {
			return nil, fmt.Errorf("technology %.32q is not known, expected one of %q", t, attest.Technologies())
		}
		if slices.Contains(s.Technologies[:i], t) {
			return nil, fmt.Errorf("technology %s is given twice", t)
		}
		parts = append(parts, t)
	}
	for _, part := range append(parts, "tail") {
		var dcap strings.Builder
		values.Relaunch = ""
		if part == attest.TDX {
			values.Relaunch = ",\n# TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded"
		}
		if err := execute(&dcap, "dcap.part", values); err != nil {
			return nil, err
		}
		values.DCAP = strings.TrimSuffix(dcap.String(), "\n")
		if err := execute(&b, part+".toml", values); err != nil {
			return nil, err
		}
	}
	text := []byte(strings.TrimRight(b.String(), "\n") + "\n")
	if _, err := Parse("policy", text); err != nil {
		return nil, err
	}
	return text, nil
}

func execute(b *strings.Builder, name string, values any) error {
	t, err := template.ParseFS(templates, "templates/"+name)
	if err != nil {
		return err
	}
	return t.Execute(b, values)
}

// written is references as a file has them.
func written(refs []attest.Reference) string {
	if len(refs) == 0 {
		return "[]"
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, ref := range refs {
		digest := hex.EncodeToString(ref.Digest)
		if ref.Name == "" {
			fmt.Fprintf(&b, "    %q,\n", digest)
		} else {
			fmt.Fprintf(&b, "    { name = %s, digest = %q },\n", basicString(ref.Name), digest)
		}
	}
	return b.String() + "]"
}

// basicString writes s as TOML's basic string.
func basicString(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return `"` + b.String() + `"`
}
