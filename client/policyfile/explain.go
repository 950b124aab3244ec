package policyfile

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
)

// An Expectation is what a rule of a policy expects.
type Expectation struct {
	Rule     string `json:"rule"`
	Expected string `json:"expected"`
}

// An Explanation says what a policy expects of one technology's evidence.
type Explanation struct {
	Technology string `json:"technology"`
	// Refused is set if the policy does not have the technology.
	Refused bool          `json:"refused,omitempty"`
	Rules   []Expectation `json:"rules,omitempty"`
}

// What stands for what is known only when evidence comes.
var (
	exampleTime = time.Unix(1, 0).UTC()
	exampleData = []byte("what the caller wants the report data to be")
)

// Explain says what p expects, for each technology, in the words of the rules
// that enforce it: p appraises empty evidence, and what each rule expected of
// that is what it expects.
func Explain(p attest.Policy) []Explanation {
	var all []Explanation
	for _, technology := range attest.Technologies() {
		e := Explanation{Technology: technology}
		for _, c := range examples(technology) {
			c.Technology, c.Time = technology, exampleTime
			e.add(p.Appraise(c, exampleData).Rules)
		}
		if e.Refused {
			e.Rules = nil
		} else {
			e.add([]attest.Rule{p.AppraiseProfile("")})
		}
		all = append(all, e)
	}
	return all
}

// add adds what rules expect, each once.
func (e *Explanation) add(rules []attest.Rule) {
	words := strings.NewReplacer(
		hex.EncodeToString(exampleData), "the value that the caller asks for, anew each time",
		exampleTime.Format(time.RFC3339), "the time of verification")
	for _, rule := range rules {
		if rule.Name == "technology" {
			e.Refused = !rule.OK
			continue
		}
		x := Expectation{rule.Name, words.Replace(rule.Expected)}
		if slices.Contains(e.Rules, x) {
			continue
		}
		at := len(e.Rules) // behind the last of its name
		for i := range e.Rules {
			if e.Rules[i].Rule == x.Rule {
				at = i + 1
			}
		}
		e.Rules = slices.Insert(e.Rules, at, x)
	}
}

// examples are empty claims of a technology: of SNP for each product, whose
// minimum TCB differ; of CCA with one component, as its rule is for each.
func examples(technology string) []*attest.Claims {
	switch technology {
	case attest.SNP:
		var all []*attest.Claims
		for _, product := range products {
			all = append(all, &attest.Claims{SNP: &snp.Claims{Product: product.product}})
		}
		return all
	case attest.TDX:
		return []*attest.Claims{{DCAP: &dcap.Claims{TD: &dcap.TDReport{}}}}
	case attest.SGX:
		return []*attest.Claims{{DCAP: &dcap.Claims{SGX: &dcap.EnclaveReport{}}}}
	case attest.CCA:
		return []*attest.Claims{{CCA: &cca.Claims{Platform: cca.Platform{Components: []cca.Component{{}}}}}}
	case attest.Nitro:
		return []*attest.Claims{{Nitro: &nitro.Claims{}}}
	case attest.TPM:
		return []*attest.Claims{{TPM: &tpm.Claims{}}}
	}
	return nil
}
