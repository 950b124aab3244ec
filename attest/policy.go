package attest

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// A Policy says which claims are good enough. The zero Policy refuses all
// claims. What a policy leaves open, it leaves open in so many words: by a field
// that begins with Any or Allow.
type Policy struct {
	// AllowSimulated accepts evidence that proves nothing: for development.
	AllowSimulated bool
	// AllowDebug accepts a guest whose memory its host can read.
	AllowDebug bool

	// Measurements are the ones accepted. AnyMeasurement accepts all instead.
	Measurements   [][]byte
	AnyMeasurement bool

	SNP SNPPolicy
}

// SNPPolicy is the part of a Policy that is for AMD SEV-SNP.
type SNPPolicy struct {
	// AllowMigrateMA accepts a guest that a migration agent may move.
	AllowMigrateMA bool
	// VMPL is the privilege level that the report must have been asked from.
	VMPL uint32

	// MinTCB is, for each product accepted, the lowest of the report's four TCB
	// versions: reported, committed, current, and at launch. AnyTCB accepts all
	// products and versions instead.
	MinTCB map[snp.Product]snp.TCB
	AnyTCB bool
}

// A Rule is one rule of a policy, applied.
type Rule struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Expected string `json:"expected"`
	Found    string `json:"found"`
}

// A Result is all rules that a policy applied, passed or not.
type Result struct {
	Rules []Rule
}

// Err returns nil if at least one rule was applied and all passed, and a
// *RefusedError otherwise.
func (r Result) Err() error {
	if len(r.Rules) > 0 && len(r.failed()) == 0 {
		return nil
	}
	return &RefusedError{Result: r}
}

func (r Result) failed() []Rule {
	var failed []Rule
	for _, rule := range r.Rules {
		if !rule.OK {
			failed = append(failed, rule)
		}
	}
	return failed
}

// RefusedError is the error of a Result that did not pass.
type RefusedError struct {
	Result Result
}

// Error names every rule that did not pass, in a sentence each.
func (e *RefusedError) Error() string {
	failed := e.Result.failed()
	if len(failed) == 0 {
		return "evidence refused: no rule was applied."
	}
	var b strings.Builder
	b.WriteString("evidence refused.")
	for _, rule := range failed {
		fmt.Fprintf(&b, " Rule %q expected %s and found %s.", rule.Name, rule.Expected, rule.Found)
	}
	return b.String()
}

// Appraise applies every rule of p to c. reportData is what the caller wanted
// to be in the evidence.
func (p Policy) Appraise(c *Claims, reportData [64]byte) Result {
	if c == nil {
		return Result{[]Rule{{Name: "claims", Expected: "claims of verified evidence", Found: "none"}}}
	}
	rules := []Rule{
		p.simulated(c),
		reportDataRule(c, reportData),
		p.measurement(c),
		p.debug(c),
	}
	switch {
	case c.Technology == SNP && c.SNP != nil:
		rules = append(rules, p.SNP.migrateMA(c.SNP), p.SNP.vmpl(c.SNP), p.SNP.minTCB(c.SNP))
	default:
		rules = append(rules, Rule{Name: "technology", Expected: "snp with its claims", Found: fmt.Sprintf("%.32q", c.Technology)})
	}
	return Result{rules}
}

func (p Policy) simulated(c *Claims) Rule {
	r := Rule{Name: "simulated", OK: !c.Simulated || p.AllowSimulated, Expected: "evidence of real hardware", Found: "evidence under the root " + c.Root}
	if p.AllowSimulated {
		r.Expected = "any evidence, simulated too"
	}
	if c.Simulated {
		r.Found = "simulated evidence under the development root " + c.Root
	}
	return r
}

func reportDataRule(c *Claims, want [64]byte) Rule {
	ok := subtle.ConstantTimeCompare(c.ReportData[:], want[:]) == 1
	return Rule{Name: "report data", OK: ok, Expected: hex.EncodeToString(want[:]), Found: hex.EncodeToString(c.ReportData[:])}
}

func (p Policy) measurement(c *Claims) Rule {
	r := Rule{Name: "measurement", Found: hex.EncodeToString(c.Measurement)}
	switch {
	case p.AnyMeasurement && len(p.Measurements) > 0:
		r.Expected = "any measurement or one of a list, but the policy has both"
	case p.AnyMeasurement:
		r.OK, r.Expected = true, "any"
	case len(p.Measurements) == 0:
		r.Expected = "one of the policy's measurements, but it has none"
	default:
		var list []string
		for _, m := range p.Measurements {
			r.OK = r.OK || len(m) > 0 && bytes.Equal(m, c.Measurement)
			list = append(list, hex.EncodeToString(m))
		}
		r.Expected = strings.Join(list, " or ")
	}
	return r
}

func (p Policy) debug(c *Claims) Rule {
	return flagRule("debug", c.Debug, p.AllowDebug)
}

func (p SNPPolicy) migrateMA(c *snp.Claims) Rule {
	return flagRule("migration agent", c.Report.Policy.MigrateMA(), p.AllowMigrateMA)
}

// flagRule is for something that must be off unless the policy allows it.
func flagRule(name string, on, allowed bool) Rule {
	r := Rule{Name: name, OK: !on || allowed, Expected: "off", Found: "off"}
	if allowed {
		r.Expected = "on or off"
	}
	if on {
		r.Found = "on"
	}
	return r
}

func (p SNPPolicy) vmpl(c *snp.Claims) Rule {
	return Rule{Name: "VMPL", OK: c.Report.VMPL == p.VMPL, Expected: fmt.Sprint(p.VMPL), Found: fmt.Sprint(c.Report.VMPL)}
}

func (p SNPPolicy) minTCB(c *snp.Claims) Rule {
	r := Rule{Name: "minimum TCB", Found: fmt.Sprintf("%s with reported TCB %v", c.Product, c.ReportedTCB)}
	floor, set := p.MinTCB[c.Product]
	switch {
	case p.AnyTCB && len(p.MinTCB) > 0:
		r.Expected = "any TCB or a minimum, but the policy has both"
	case p.AnyTCB:
		r.OK, r.Expected = true, "any"
	case !set || floor == (snp.TCB{}): // a minimum of zero is none
		r.Expected = fmt.Sprintf("a minimum for %s in the policy, but it has none", c.Product)
	default:
		r.OK, r.Expected = true, fmt.Sprintf("%s with at least %v", c.Product, floor)
		for _, tcb := range []struct {
			name string
			tcb  snp.TCB
		}{{"launch", c.LaunchTCB}, {"current", c.CurrentTCB}, {"committed", c.CommittedTCB}, {"reported", c.ReportedTCB}} {
			if !tcb.tcb.AtLeast(floor) {
				r.OK, r.Found = false, fmt.Sprintf("%s with %s TCB %v", c.Product, tcb.name, tcb.tcb)
			}
		}
	}
	return r
}
