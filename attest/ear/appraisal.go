package ear

import (
	"strings"

	"github.com/redoubt-tee/redoubt/attest"
)

// FromAppraisal returns the result of an appraisal: of claims of verified
// evidence, and of the rules that a policy applied to them. claims is nil if the
// evidence is not genuine: then the result is that.
//
// Accepted is affirming; accepted with a warning, simulated or in debug mode is
// warning; refused is contraindicated.
func FromAppraisal(claims *attest.Claims, result attest.Result) Appraisal {
	if claims == nil {
		return NotGenuine()
	}
	a := Appraisal{Vector: Vector{Hardware: Affirmed}}
	if claims.Technology != attest.TPM { // all others encrypt memory
		a.Vector.RuntimeOpaque = Affirmed
	}
	a.Status = Affirming
	for _, rule := range result.Rules {
		a.apply(rule)
	}
	if claims.Simulated {
		a.raise(&a.Vector.Hardware, Simulated)
	}
	if claims.Debug {
		a.raise(&a.Vector.RuntimeOpaque, Warned)
	}
	if a.Vector.Configuration == 0 && len(result.Rules) > 0 {
		a.Vector.Configuration = Affirmed
	}
	if result.Err() != nil {
		a.Status = Contraindicated
	}
	return a
}

// NotGenuine returns the result for evidence that did not verify.
func NotGenuine() Appraisal {
	a := Appraisal{Status: Contraindicated}
	for _, e := range a.Vector.elements() {
		*e.claim = BadCrypto
	}
	return a
}

// raise makes a claim less trustworthy, never more, and the status with it.
func (a *Appraisal) raise(claim *Claim, to Claim) {
	if to.Tier() > claim.Tier() {
		*claim = to
	}
	a.Status = max(a.Status, to.Tier())
}

// aspects is which aspect a rule is on, by its name, and what it is if the rule
// did not pass. Rules that are not here are on the configuration.
var aspects = []struct {
	rule           string
	aspect         func(*Vector) *Claim
	failed, warned Claim
}{
	{"technology", hardware, Unrecognised, Warned},
	{"simulated", hardware, Unrecognised, Simulated},
	{"revocation", hardware, Contra, Warned},
	{"collateral", hardware, Contra, Warned},
	{"TCB", hardware, Contra, Warned},
	{"advisories", hardware, Contra, Warned},
	{"signer", hardware, Contra, Warned},
	{"mitigations", hardware, Contra, Warned},
	{"alias check", hardware, Contra, Warned},
	{"platform components", hardware, Contra, Warned},
	{"TDX module", hardware, Contra, Warned},
	{"life cycle", hardware, Contra, Warned},
	{"debug", runtimeOpaque, Contra, Warned},
	{"measurement", executables, Contra, Warned},
	{"machine", instanceIdentity, Unrecognised, Warned},
	{"report data", instanceIdentity, Unrecognised, Warned},
}

func hardware(v *Vector) *Claim         { return &v.Hardware }
func runtimeOpaque(v *Vector) *Claim    { return &v.RuntimeOpaque }
func executables(v *Vector) *Claim      { return &v.Executables }
func instanceIdentity(v *Vector) *Claim { return &v.InstanceIdentity }

// apply applies a rule. A rule that passed affirms what was launched, and where,
// if it is one of those pinned: accepting any affirms nothing.
func (a *Appraisal) apply(rule attest.Rule) {
	claim, failed, warned := &a.Vector.Configuration, Contra, Warned
	for _, known := range aspects {
		if rule.Name == known.rule || known.rule == "TCB" && strings.Contains(rule.Name, "TCB") {
			claim, failed, warned = known.aspect(&a.Vector), known.failed, known.warned
		}
	}
	switch {
	case !rule.OK:
		a.raise(claim, failed)
	case rule.Warning:
		a.raise(claim, warned)
	case rule.Expected == "any":
	case rule.Name == "measurement" && *claim == 0:
		*claim = AffirmedBoot
	case rule.Name == "machine" && *claim == 0:
		*claim = Affirmed
	}
}
