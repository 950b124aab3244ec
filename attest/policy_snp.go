package attest

import (
	"fmt"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// SNPPolicy is the part of a Policy that is for AMD SEV-SNP. The measurement is
// the launch digest; the machine is the chip ID.
type SNPPolicy struct {
	Pins

	// MinTCB is, for each product accepted, the lowest of the report's four TCB
	// versions: reported, committed, current, and at launch. AnyTCB accepts all
	// products and versions instead.
	MinTCB map[snp.Product]snp.TCB
	AnyTCB bool

	// Providers are the cloud providers whose key (VLEK) may sign instead of the
	// chip's own, by CSP ID. None: the chip's own alone.
	Providers []string
	// VMPL is the privilege level that the report must have been asked from.
	VMPL uint32
	// AllowMigrateMA accepts a guest that a migration agent may move.
	AllowMigrateMA bool
	// AllowSMT accepts that two threads share a core, with whom is the host's choice.
	AllowSMT bool
	// AllowNoAliasCheck accepts a platform that has not looked for memory that
	// shows up at two addresses (CVE-2024-21944).
	AllowNoAliasCheck bool

	// HostData are the ones accepted; none: zero. AnyHostData accepts all.
	HostData    []Reference
	AnyHostData bool
	// IDKeys and AuthorKeys are, if there are any, the digests of the keys one of
	// which must have signed the ID block, and the key that signed it.
	IDKeys, AuthorKeys []Reference
	// MinGuestSVN is the lowest security version that the ID block may give.
	MinGuestSVN uint32
	// MinABI is the lowest ABI (major, minor) that the guest's policy may demand
	// of the firmware.
	MinABI [2]uint8
	// Mitigations are the bits that must be set in the mitigation vector, at
	// launch and now.
	Mitigations uint64
}

func (p Policy) snpRules(c *Claims) []Rule {
	s, r := p.SNP, &c.SNP.Report
	rules := append(p.pinned(c, s.Pins),
		s.signer(c.SNP),
		s.minTCB(c.SNP),
		Rule{Name: "TCB order", OK: c.SNP.CurrentTCB.AtLeast(c.SNP.CommittedTCB) && c.SNP.CurrentTCB.AtLeast(c.SNP.ReportedTCB),
			Expected: "reported and committed no newer than current", Found: fmt.Sprintf("reported %v, committed %v, current %v", c.SNP.ReportedTCB, c.SNP.CommittedTCB, c.SNP.CurrentTCB)},
		Rule{Name: "VMPL", OK: r.VMPL == s.VMPL, Expected: fmt.Sprint(s.VMPL), Found: fmt.Sprint(r.VMPL)},
		flag("migration agent", r.Policy.MigrateMA(), s.AllowMigrateMA, "A migration agent can move the guest, and sees its memory."),
		flag("SMT", r.PlatformInfo.SMT() || r.Policy.SMT(), s.AllowSMT, "Threads that share a core can spy on each other by its side channels."),
		allowed("alias check", !r.PlatformInfo.AliasCheckComplete(), s.AllowNoAliasCheck, "done", map[bool]string{true: "done", false: "not done"}[r.PlatformInfo.AliasCheckComplete()],
			"Memory modules that lie about their size can undo the guest's integrity (BadRAM): the firmware must be newer, and have looked."),
		matchOrZero("host data", r.HostData[:], s.HostData, s.AnyHostData),
	)
	if len(s.IDKeys) > 0 {
		rules = append(rules, match("ID key", r.IDKeyDigest[:], s.IDKeys, false))
	}
	if len(s.AuthorKeys) > 0 {
		rule := match("author key", r.AuthorKeyDigest[:], s.AuthorKeys, false)
		rule.OK = rule.OK && r.AuthorKey
		rules = append(rules, rule)
	}
	if s.MinGuestSVN > 0 {
		rules = append(rules, atLeast("guest SVN", uint64(r.GuestSVN), uint64(s.MinGuestSVN)))
	}
	if s.MinABI != [2]uint8{} {
		major, minor := r.Policy.ABIMajor(), r.Policy.ABIMinor()
		rules = append(rules, Rule{Name: "ABI", OK: major > s.MinABI[0] || major == s.MinABI[0] && minor >= s.MinABI[1],
			Expected: fmt.Sprintf("at least %d.%d demanded by the guest", s.MinABI[0], s.MinABI[1]), Found: fmt.Sprintf("%d.%d", major, minor)})
	}
	if s.Mitigations > 0 {
		rules = append(rules, Rule{Name: "mitigations", OK: r.LaunchMitVector&r.CurrentMitVector&s.Mitigations == s.Mitigations,
			Expected: fmt.Sprintf("%#x", s.Mitigations), Found: fmt.Sprintf("%#x at launch, %#x now", r.LaunchMitVector, r.CurrentMitVector)})
	}
	return rules
}

func atLeast(name string, found, floor uint64) Rule {
	return Rule{Name: name, OK: found >= floor, Expected: fmt.Sprintf("at least %d", floor), Found: fmt.Sprint(found)}
}

func (s *SNPPolicy) signer(c *snp.Claims) Rule {
	r := Rule{Name: "signer", Expected: "the chip's own key (VCEK)", Found: "the chip's own key (VCEK)", OK: c.Signer == snp.VCEK}
	if len(s.Providers) > 0 {
		r.Expected += " or the key (VLEK) of " + list(s.Providers)
	}
	if c.Signer == snp.VLEK {
		r.Found = fmt.Sprintf("the key (VLEK) of %.64q", c.CSPID)
		for _, provider := range s.Providers {
			r.OK = r.OK || provider != "" && provider == c.CSPID
		}
		r.Reason = "A provider's key vouches for any of its machines, and which one is not certified."
	}
	return finish(r)
}

func (s *SNPPolicy) minTCB(c *snp.Claims) Rule {
	r := Rule{Name: "minimum TCB", Found: fmt.Sprintf("%s with reported TCB %v", c.Product, c.ReportedTCB)}
	floor, set := s.MinTCB[c.Product]
	switch {
	case s.AnyTCB && len(s.MinTCB) > 0:
		r.Expected = "any TCB or a minimum, but the policy has both"
	case s.AnyTCB:
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
				r.Reason = "Firmware older than that has holes that are known: the machine's owner must update it."
			}
		}
	}
	return r
}
