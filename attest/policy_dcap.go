package attest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// DCAPPolicy is the part of a policy that is for both of Intel's technologies.
type DCAPPolicy struct {
	// Statuses are the TCB statuses accepted.
	Statuses []dcap.Status
	// Advisories are those of Intel's security advisories that may apply, by
	// name, such as INTEL-SA-00615. AnyAdvisory accepts all instead.
	Advisories  []string
	AnyAdvisory bool
	// MinTCBDate is the lowest TCB date, if it is not zero.
	MinTCBDate time.Time
	// MinEvaluation is the lowest tcbEvaluationDataNumber of TCB info and QE
	// identity, so that a host can't hand in older ones that still hold.
	MinEvaluation uint32
}

// TDXPolicy is the part of a Policy that is for Intel TDX. The measurement is
// MRTD, which is the firmware's; what it starts is in the RTMRs. The machine is
// the PPID.
type TDXPolicy struct {
	Pins
	DCAPPolicy

	// RTMRs are, for each of the four, the values accepted; none: zero. AnyRTMR
	// accepts all of one instead.
	RTMRs   [4][]Reference
	AnyRTMR [4]bool
	// Modules are the TDX modules (MRSEAM) accepted. AnyModule accepts all that
	// Intel vouches for instead.
	Modules   []Reference
	AnyModule bool
	// MRCONFIGID, MROWNER, MROWNERCONFIG: none is zero, as above.
	ConfigIDs, Owners, OwnerConfigs       []Reference
	AnyConfigID, AnyOwner, AnyOwnerConfig bool
	// Services are the service TDs (MRSERVICETD) accepted; none: zero.
	Services []Reference

	// AllowSeptVE accepts a guest that the host can make an exception in, by
	// taking a page away.
	AllowSeptVE bool
	// AllowAttributes are attributes of a TD accepted beyond the usual: PKS, KL,
	// PERFMON, LASS, MIGRATABLE.
	AllowAttributes []string
}

// SGXPolicy is the part of a Policy that is for Intel SGX. The measurement is
// MRENCLAVE; the machine is the PPID.
type SGXPolicy struct {
	Pins
	DCAPPolicy

	// Signers are, if there are any, the ones of whom the enclave must be.
	Signers []SGXSigner
	// ConfigIDs are the ones accepted; none: zero. AnyConfigID accepts all.
	ConfigIDs   []Reference
	AnyConfigID bool
	// AllowProvisionKey accepts an enclave that can have keys that tell the
	// machine's identity.
	AllowProvisionKey bool
}

// An SGXSigner is a signer of enclaves (MRSIGNER), and which of them.
type SGXSigner struct {
	Signer    Reference
	ProductID uint16
	MinSVN    uint16
}

func (d *DCAPPolicy) rules(c *dcap.Claims) []Rule {
	status := Rule{Name: "TCB status", OK: slices.Contains(d.Statuses, c.Status) && c.Status != dcap.Revoked,
		Found:  fmt.Sprintf("%s (platform %s, QE %s)", c.Status, c.PlatformStatus, c.QEStatus),
		Reason: "Intel has published what is wrong with this version: the machine's owner must update its firmware, or set it up differently."}
	if c.ModuleStatus != "" {
		status.Found = fmt.Sprintf("%s (platform %s, TDX module %s, QE %s)", c.Status, c.PlatformStatus, c.ModuleStatus, c.QEStatus)
	}
	names := make([]string, len(d.Statuses))
	for i, s := range d.Statuses {
		names[i] = string(s)
	}
	status.Expected = list(names)

	advisories := Rule{Name: "advisories", OK: true, Expected: "none but " + list(d.Advisories), Found: list(c.Advisories),
		Reason: "These holes are open on that machine. Allow one by name if it does not concern you."}
	switch {
	case d.AnyAdvisory && len(d.Advisories) > 0:
		advisories.OK, advisories.Expected = false, "any or some of a list, but the policy has both"
	case d.AnyAdvisory:
		advisories.Expected, advisories.Warning = "any", len(c.Advisories) > 0
	default:
		for _, a := range c.Advisories {
			advisories.OK = advisories.OK && slices.Contains(d.Advisories, a)
			advisories.Warning = true
		}
		if len(d.Advisories) == 0 {
			advisories.Expected = "none"
		}
	}
	rules := []Rule{finish(status), finish(advisories)}
	if !d.MinTCBDate.IsZero() {
		rules = append(rules, Rule{Name: "TCB date", OK: !c.TCBDate.Before(d.MinTCBDate), Expected: "no earlier than " + stamp(d.MinTCBDate), Found: stamp(c.TCBDate)})
	}
	if d.MinEvaluation > 0 {
		rules = append(rules, atLeast("TCB evaluation data number", uint64(c.TCBEvaluationDataNumber), uint64(d.MinEvaluation)))
	}
	return rules
}

func (p Policy) tdxRules(c *Claims) []Rule {
	t, td := p.TDX, c.DCAP.TD
	rules := append(p.pinned(c, t.Pins), t.rules(c.DCAP)...)
	rules = append(rules, match("TDX module", td.MRSEAM[:], t.Modules, t.AnyModule))
	for i := range td.RTMR {
		rules = append(rules, matchOrZero(fmt.Sprintf("RTMR%d", i), td.RTMR[i][:], t.RTMRs[i], t.AnyRTMR[i]))
	}
	rules = append(rules,
		matchOrZero("MRCONFIGID", td.MRConfigID[:], t.ConfigIDs, t.AnyConfigID),
		matchOrZero("MROWNER", td.MROwner[:], t.Owners, t.AnyOwner),
		matchOrZero("MROWNERCONFIG", td.MROwnerConfig[:], t.OwnerConfigs, t.AnyOwnerConfig),
		matchOrZero("MRSERVICETD", td.MRServiceTD[:], t.Services, false),
		allowed("SEPT_VE_DISABLE", !td.Attributes.SeptVEDisable(), t.AllowSeptVE, "on", onOff(td.Attributes.SeptVEDisable()),
			"The host can make an exception in the guest by taking a page away."),
	)
	return append(rules, t.attributes(td.Attributes))
}

// TDAttributes returns the names that AllowAttributes may have.
func TDAttributes() []string { return []string{"PKS", "KL", "PERFMON", "LASS", "MIGRATABLE"} }

func (t *TDXPolicy) attributes(a dcap.TDAttributes) Rule {
	var on []string
	for i, set := range []bool{a.PKS(), a.KL(), a.Perfmon(), a.LASS(), a.Migratable()} {
		if set {
			on = append(on, TDAttributes()[i])
		}
	}
	extra := slices.DeleteFunc(slices.Clone(on), func(name string) bool { return slices.Contains(t.AllowAttributes, name) })
	return Rule{Name: "TD attributes", OK: len(extra) == 0 && a.Reserved() == 0, Expected: "none but " + list(t.AllowAttributes), Found: list(on)}
}

func (p Policy) sgxRules(c *Claims) []Rule {
	s, e := p.SGX, c.DCAP.SGX
	rules := append(p.pinned(c, s.Pins), s.rules(c.DCAP)...)
	if len(s.Signers) > 0 {
		r := Rule{Name: "signer", Found: fmt.Sprintf("%x, product %d, version %d", e.MRSigner, e.ISVProdID, e.ISVSVN)}
		var names []string
		for _, signer := range s.Signers {
			r.OK = r.OK || bytes.Equal(signer.Signer.Digest, e.MRSigner[:]) && e.ISVProdID == signer.ProductID && e.ISVSVN >= signer.MinSVN
			names = append(names, fmt.Sprintf("%s, product %d, version %d or later", signer.Signer, signer.ProductID, signer.MinSVN))
		}
		r.Expected = list(names)
		rules = append(rules, r)
	}
	return append(rules,
		matchOrZero("CONFIGID", e.ConfigID[:], s.ConfigIDs, s.AnyConfigID),
		flag("provisioning key", e.Attributes.ProvisionKey(), s.AllowProvisionKey, "An enclave with it can tell the machine's identity."),
	)
}
