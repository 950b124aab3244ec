package attest

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Policy says which claims are good enough. The zero Policy refuses all
// claims. What a policy leaves open, it leaves open in so many words: by a field
// that begins with Any or Allow.
type Policy struct {
	// AllowSimulated accepts evidence that proves nothing: for development.
	AllowSimulated bool
	// AllowDebug accepts what its host can read.
	AllowDebug bool
	// AllowUnchecked accepts certificates that no revocation list was there for.
	AllowUnchecked bool
	// Grace is how long collateral is accepted after it has expired.
	Grace time.Duration
	// AnyReportData accepts evidence made for somebody or something else, or
	// long ago. It is for looking at evidence, not for relying on it.
	AnyReportData bool
	// Profiles are the log profiles accepted; none: production alone.
	Profiles []string
	// Known are measurements that are not accepted. They explain refusals.
	Known []Reference

	// The technologies accepted; those that are nil are not.
	SNP   *SNPPolicy
	TDX   *TDXPolicy
	SGX   *SGXPolicy
	CCA   *CCAPolicy
	Nitro *NitroPolicy
	TPM   *TPMPolicy
}

// A Reference is a reference value with a name for people, which may be empty.
type Reference struct {
	Name   string
	Digest []byte
}

// Pins is the part of a policy that all technologies have.
type Pins struct {
	// Measurements are the ones accepted. AnyMeasurement accepts all instead.
	Measurements   []Reference
	AnyMeasurement bool
	// Machines are the ones accepted, by chip ID, PPID, instance ID, module ID or
	// key. AnyMachine accepts all instead.
	Machines   []Reference
	AnyMachine bool
}

// A Rule is one rule of a policy, applied.
type Rule struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Warning  bool   `json:"warning,omitempty"` // it passed for what the policy allows in so many words
	Expected string `json:"expected"`
	Found    string `json:"found"`
	// Reason says why it matters that a rule did not pass, or passed with a
	// warning, and what to do.
	Reason string `json:"reason,omitempty"`
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
	return slices.DeleteFunc(slices.Clone(r.Rules), func(rule Rule) bool { return rule.OK })
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
		if rule.Reason != "" {
			b.WriteString(" " + rule.Reason)
		}
	}
	return b.String()
}

// Appraise applies every rule of p to c. reportData is what the caller wanted
// to be in the evidence.
func (p Policy) Appraise(c *Claims, reportData []byte) Result {
	if c == nil {
		return Result{[]Rule{{Name: "claims", Expected: "claims of verified evidence", Found: "none"}}}
	}
	rules := []Rule{p.simulated(c), p.reportData(c, reportData), p.debug(c), p.revocation(c), p.freshness(c)}
	technology := Rule{Name: "technology", Expected: "one that the policy has: " + list(p.technologies()), Found: fmt.Sprintf("%.32q", c.Technology)}
	var more []Rule
	switch {
	case c.Technology == SNP && c.SNP != nil && p.SNP != nil:
		more = p.snpRules(c)
	case c.Technology == TDX && c.DCAP != nil && c.DCAP.TD != nil && p.TDX != nil:
		more = p.tdxRules(c)
	case c.Technology == SGX && c.DCAP != nil && c.DCAP.SGX != nil && p.SGX != nil:
		more = p.sgxRules(c)
	case c.Technology == CCA && c.CCA != nil && p.CCA != nil:
		more = p.ccaRules(c)
	case c.Technology == Nitro && c.Nitro != nil && p.Nitro != nil:
		more = p.nitroRules(c)
	case c.Technology == TPM && c.TPM != nil && p.TPM != nil:
		more = p.tpmRules(c)
	default:
		technology.Reason = "The policy does not say which evidence of that technology is good enough."
		return Result{append([]Rule{technology}, rules...)}
	}
	technology.OK = true
	return Result{slices.Concat([]Rule{technology}, rules, more)}
}

// AppraiseProfile applies the rule for the log profile of a Keep's configuration.
func (p Policy) AppraiseProfile(profile string) Rule {
	accepted := p.Profiles
	if len(accepted) == 0 {
		accepted = []string{"production"}
	}
	return finish(Rule{Name: "log profile", OK: slices.Contains(accepted, profile), Expected: list(accepted), Found: fmt.Sprintf("%.32q", profile),
		Reason: "Under this profile the host may learn more than the policy lets it."})
}

// technologies returns the ones that the policy has.
func (p Policy) technologies() []string {
	var names []string
	for i, has := range []bool{p.SNP != nil, p.TDX != nil, p.SGX != nil, p.CCA != nil, p.Nitro != nil, p.TPM != nil} {
		if has {
			names = append(names, Technologies()[i])
		}
	}
	return names
}

// finish drops the reason of a rule that passed without a warning.
func finish(r Rule) Rule {
	r.Warning = r.Warning && r.OK
	if r.OK && !r.Warning {
		r.Reason = ""
	}
	return r
}

// allowed is a rule for something bad, which passes if it is not there, and
// with a warning if the policy allows it.
func allowed(name string, bad, allow bool, expected, found, reason string) Rule {
	if allow {
		expected += ", or not: the policy allows it"
	}
	return finish(Rule{Name: name, OK: !bad || allow, Warning: bad, Expected: expected, Found: found, Reason: reason})
}

// flag is allowed for something that must be off.
func flag(name string, on, allow bool, reason string) Rule {
	return allowed(name, on, allow, "off", onOff(on), reason)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " or ")
}

func (p Policy) simulated(c *Claims) Rule {
	found := "evidence under the root " + c.Root
	if c.Simulated {
		found = "simulated evidence under the development root " + c.Root
	}
	return allowed("simulated", c.Simulated, p.AllowSimulated, "evidence of real hardware", found,
		"Simulated evidence proves nothing: whoever has the development root's keys makes it.")
}

func (p Policy) reportData(c *Claims, want []byte) Rule {
	r := Rule{Name: "report data", Expected: hex.EncodeToString(want), Found: hex.EncodeToString(c.ReportData)}
	switch {
	case p.AnyReportData && want != nil:
		r.Expected = "a value or any, but the caller gave both"
	case p.AnyReportData:
		r.OK, r.Warning, r.Expected = true, true, "any"
		r.Reason = "Not compared: this evidence may be old, or made for somebody else."
	default:
		r.OK = len(want) > 0 && subtle.ConstantTimeCompare(c.ReportData, want) == 1
		r.Reason = "The evidence was made for something else: for another nonce, key or configuration."
	}
	if r.Expected == "" {
		r.Expected = "a value that the caller gives, and it gave none"
	}
	if r.Found == "" {
		r.Found = "none"
	}
	return finish(r)
}

func (p Policy) debug(c *Claims) Rule {
	return flag("debug", c.Debug, p.AllowDebug, "The host can read and change what runs in debug mode.")
}

func (p Policy) revocation(c *Claims) Rule {
	found := "none that is revoked, by lists for each"
	if len(c.Unchecked) > 0 {
		found = "no list for " + strings.Join(c.Unchecked, " and ")
	}
	return allowed("revocation", len(c.Unchecked) > 0, p.AllowUnchecked, "revocation lists for all certificates", found,
		"Whether they are revoked is not known: give the issuer's list.")
}

func (p Policy) freshness(c *Claims) Rule {
	r := Rule{Name: "collateral", OK: true, Expected: "collateral that holds at " + stamp(c.Time), Found: "collateral that holds"}
	if p.Grace > 0 {
		r.Expected += fmt.Sprintf(", or expired no more than %v before", p.Grace)
	}
	if c.Time.IsZero() {
		r.OK, r.Found = false, "no time of verification"
	}
	var expired []string
	for _, used := range c.Collateral {
		if !c.Time.After(used.Expires) {
			continue
		}
		expired = append(expired, fmt.Sprintf("%s that expired at %s", used.Name, stamp(used.Expires)))
		r.Warning, r.Reason = true, "What its issuer has published since is not known: fetch it anew."
		r.OK = r.OK && p.Grace > 0 && !c.Time.After(used.Expires.Add(p.Grace))
	}
	if len(expired) > 0 {
		r.Found = strings.Join(expired, ", ")
	}
	return finish(r)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// pinned returns the rules for what was launched and where.
func (p Policy) pinned(c *Claims, pins Pins) []Rule {
	measurement := match("measurement", c.Measurement, pins.Measurements, pins.AnyMeasurement)
	if pins.AnyMeasurement && zero(c.Measurement) {
		measurement.OK, measurement.Expected = false, "any, but of something"
	}
	if !measurement.OK {
		measurement.Reason = p.explain(c.Measurement)
	}
	machine := match("machine", c.Machine, pins.Machines, pins.AnyMachine)
	if !machine.OK {
		machine.Reason = "Another machine with the same software can make the same evidence: pin the ones you mean, or accept any."
	}
	return []Rule{measurement, machine}
}

// match is a rule for a value that must be one of a list, or any.
func match(name string, found []byte, accepted []Reference, anyValue bool) Rule {
	r := Rule{Name: name, Found: hex.EncodeToString(found)}
	if len(found) == 0 {
		r.Found = "none"
	}
	switch {
	case anyValue && len(accepted) > 0:
		r.Expected = "any or one of a list, but the policy has both"
	case anyValue:
		r.OK, r.Expected = true, "any"
	case len(accepted) == 0:
		r.Expected = "one that the policy has, but it has none"
	default:
		var names []string
		for _, a := range accepted {
			equal := len(a.Digest) > 0 && bytes.Equal(a.Digest, found)
			if equal && a.Name != "" && !r.OK {
				r.Found += " (" + a.Name + ")"
			}
			r.OK = r.OK || equal
			if len(a.Digest) > 0 { // an empty one matches nothing
				names = append(names, a.String())
			}
		}
		r.Expected = list(names)
	}
	return r
}

// matchOrZero is match, and without a list the value must be zero.
func matchOrZero(name string, found []byte, accepted []Reference, anyValue bool) Rule {
	if len(accepted) > 0 || anyValue {
		return match(name, found, accepted, anyValue)
	}
	return Rule{Name: name, OK: zero(found), Expected: "zero", Found: hex.EncodeToString(found)}
}

// String returns the digest in hex, with its name if it has one.
func (r Reference) String() string {
	if r.Name == "" {
		return hex.EncodeToString(r.Digest)
	}
	return hex.EncodeToString(r.Digest) + " (" + r.Name + ")"
}

// explain says which known input gives a measurement that is not accepted.
func (p Policy) explain(found []byte) string {
	if zero(found) {
		return "It is zero: nothing was measured at launch, as in debug mode or with a model of the hardware."
	}
	for _, known := range p.Known {
		if bytes.Equal(known.Digest, found) {
			return fmt.Sprintf("It is that of %s, which is known and which the policy does not accept.", known.Name)
		}
	}
	reversed := slices.Clone(found)
	slices.Reverse(reversed)
	for _, technology := range p.technologies() {
		for _, m := range p.pins(technology).Measurements {
			switch {
			case bytes.Equal(m.Digest, found):
				return fmt.Sprintf("The policy accepts it for %s, as %s.", technology, m)
			case bytes.Equal(m.Digest, reversed):
				return fmt.Sprintf("It is %s with its bytes in reverse order: correct the policy.", m)
			case len(m.Digest) > 0 && len(m.Digest) < len(found) && bytes.HasPrefix(found, m.Digest):
				return fmt.Sprintf("It begins with %s, which is cut off: correct the policy.", m)
			}
		}
	}
	return "No input that is known here gives it: something else was launched."
}

// pins returns what the policy pins for a technology that it has.
func (p Policy) pins(technology string) Pins {
	switch technology {
	case SNP:
		return p.SNP.Pins
	case TDX:
		return p.TDX.Pins
	case SGX:
		return p.SGX.Pins
	case CCA:
		return p.CCA.Pins
	case Nitro:
		return p.Nitro.Pins
	case TPM:
		return p.TPM.Pins
	}
	return Pins{}
}

// zero reports whether b has no bit set.
func zero(b []byte) bool { return !slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) }
