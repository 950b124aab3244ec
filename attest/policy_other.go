package attest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/tpm"
)

// CCAPolicy is the part of a Policy that is for Arm CCA. The measurement is the
// realm's initial one (RIM); the machine is the instance ID.
type CCAPolicy struct {
	Pins

	// REMs are, for each of the four extensible measurements, the values
	// accepted; none: zero. AnyREM accepts all of one instead.
	REMs   [4][]Reference
	AnyREM [4]bool
	// Personalizations are the realm personalization values accepted; none: zero.
	Personalizations []Reference
	// Components are the measurements of the platform's software accepted: each
	// component's must be one of them. AnyComponent accepts all instead.
	Components   []Reference
	AnyComponent bool
	// AllowUnsecured accepts a platform whose life cycle is not "secured".
	AllowUnsecured bool
	// Keys are the platforms' keys (CPAK) that whoever verifies is to trust, PEM
	// or JWK: see Policy.Roots.
	Keys []string
}

// NitroPolicy is the part of a Policy that is for AWS Nitro Enclaves. The
// measurement is PCR0, that of the image; the machine is the module ID.
type NitroPolicy struct {
	Pins
	// PCRs are, for each PCR there is an entry for, the values accepted. PCR 8 is
	// that of the image's signer.
	PCRs map[int][]Reference
}

// TPMPolicy is the part of a Policy that is for a TPM. The measurement is the
// digest over the PCRs quoted; the machine is the digest of the key that quoted.
type TPMPolicy struct {
	Pins
	// PCRs are, for each that there is an entry for, the values accepted. A PCR
	// that the quote does not have is not accepted. There must be one at least,
	// unless AnyMeasurement is set: a digest does not say what it is over.
	PCRs map[PCR][]Reference
	// Keys are the attestation keys, or certificates of authorities, that whoever
	// verifies is to trust, PEM: see Policy.Roots.
	Keys []string
}

// Roots returns the roots of trust that the policy names, for technologies whose
// manufacturers have none in common.
func (p Policy) Roots() (Roots, error) {
	var roots Roots
	if p.CCA != nil {
		for i, key := range p.CCA.Keys {
			root, err := cca.ParseRoot([]byte(key))
			if err != nil {
				return Roots{}, fmt.Errorf("policy: key %d of CCA: %w", i+1, err)
			}
			roots.CCA = append(roots.CCA, root)
		}
	}
	if p.TPM != nil {
		for i, key := range p.TPM.Keys {
			root, err := tpm.ParseRoot([]byte(key))
			if err != nil {
				return Roots{}, fmt.Errorf("policy: key %d of TPM: %w", i+1, err)
			}
			roots.TPM = append(roots.TPM, root)
		}
	}
	return roots, nil
}

// A PCR is a platform configuration register of a TPM.
type PCR struct {
	Bank  string // the hash, such as sha256
	Index int
}

func (p Policy) ccaRules(c *Claims) []Rule {
	s, realm, platform := p.CCA, &c.CCA.Realm, &c.CCA.Platform
	rules := p.pinned(c, s.Pins)
	rules = append(rules, allowed("life cycle", !platform.Lifecycle.Secured(), s.AllowUnsecured, "secured", platform.Lifecycle.String(),
		"A platform that is not secured can be read, or changed, by whoever has it in that state."))
	components := Rule{Name: "platform components", OK: true, Expected: "each one that the policy has", Found: fmt.Sprintf("%d components, all accepted", len(platform.Components)),
		Reason: "The platform's firmware is other than what the policy accepts."}
	switch {
	case s.AnyComponent && len(s.Components) > 0:
		components.OK, components.Expected = false, "any or some of a list, but the policy has both"
	case s.AnyComponent:
		components.Expected = "any"
	default:
		for _, component := range platform.Components {
			if rule := match("", component.Measurement, s.Components, false); !rule.OK {
				components.OK, components.Found = false, fmt.Sprintf("%s %.32q of version %.32q", rule.Found, component.Type, component.Version)
				components.Expected = rule.Expected
			}
		}
	}
	rules = append(rules, finish(components), matchOrZero("personalization", realm.Personalization[:], s.Personalizations, false))
	for i := range realm.REMs {
		rules = append(rules, matchOrZero(fmt.Sprintf("REM%d", i), realm.REMs[i], s.REMs[i], s.AnyREM[i]))
	}
	return rules
}

func (p Policy) nitroRules(c *Claims) []Rule {
	rules := p.pinned(c, p.Nitro.Pins)
	for _, i := range slices.Sorted(maps.Keys(p.Nitro.PCRs)) {
		rules = append(rules, match(fmt.Sprintf("PCR%d", i), c.Nitro.Document.PCRs[i], p.Nitro.PCRs[i], false))
	}
	return rules
}

func (p Policy) tpmRules(c *Claims) []Rule {
	rules := append(p.pinned(c, p.TPM.Pins), finish(Rule{
		Name: "PCRs", OK: len(p.TPM.PCRs) > 0 || p.TPM.AnyMeasurement,
		Expected: "PCRs that the policy has", Found: fmt.Sprintf("%d of them in the policy, %d in the quote", len(p.TPM.PCRs), len(c.TPM.PCRs)),
		Reason: "The digest alone does not say which PCRs it is over: list those that matter.",
	}))
	pcrs := slices.SortedFunc(maps.Keys(p.TPM.PCRs), func(a, b PCR) int { return cmp.Or(strings.Compare(a.Bank, b.Bank), a.Index-b.Index) })
	for _, pcr := range pcrs {
		var value []byte
		for _, quoted := range c.TPM.PCRs {
			if quoted.Bank.String() == pcr.Bank && quoted.Index == pcr.Index {
				value = quoted.Value
			}
		}
		rules = append(rules, match(fmt.Sprintf("PCR%d of %s", pcr.Index, pcr.Bank), value, p.TPM.PCRs[pcr], false))
	}
	return rules
}
