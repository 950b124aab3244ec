package policyfile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// A Note is something about a policy that is legal, but weak, or can't pass.
type Note struct {
	// Level is "warning", or "info" for what many policies need.
	Level string `json:"level"`
	Key   string `json:"key"` // where to change it
	Text  string `json:"text"`
}

// LongGrace is the longest grace period that Notes does not warn of.
const LongGrace = 7 * 24 * time.Hour

type notes []Note

func (n *notes) add(when bool, level, key, text string) {
	if when {
		*n = append(*n, Note{level, key, text})
	}
}

func (n *notes) warn(when bool, key, text string) { n.add(when, "warning", key, text) }
func (n *notes) info(when bool, key, text string) { n.add(when, "info", key, text) }

// Notes returns what of a policy is legal, but weak, or can't pass, in the order
// of the file's template. Without any the policy is strict, and may pass.
func Notes(p attest.Policy) []Note {
	var n notes
	n.warn(p.AllowSimulated, "allow_simulated", "simulated evidence proves nothing: for development only")
	n.warn(p.AllowDebug, "allow_debug", "the host can read and change what runs in debug mode")
	n.warn(p.AllowUnchecked, "allow_unchecked", "a certificate that was revoked is accepted if the host leaves out the list")
	n.warn(p.Grace > LongGrace, "grace", fmt.Sprintf("a revocation or a hole that became known may go unseen for %v; %v is enough to fetch collateral", p.Grace, LongGrace))
	for _, profile := range p.Profiles {
		n.warn(profile != "production", "log_profiles", fmt.Sprintf("under the profile %s the host learns more than the life cycle", profile))
	}
	n.warn(p.SNP == nil && p.TDX == nil && p.SGX == nil && p.CCA == nil && p.Nitro == nil && p.TPM == nil, "",
		"no technology is in this policy, so all evidence is refused: add [snp], for one")
	if p.SNP != nil {
		n.snp(p.SNP)
	}
	if p.TDX != nil {
		n.tdx(p.TDX)
	}
	if p.SGX != nil {
		n.sgx(p.SGX)
	}
	if p.CCA != nil {
		n.cca(p.CCA)
	}
	if p.Nitro != nil {
		signed := len(p.Nitro.PCRs[8]) > 0
		n.pins("nitro", p.Nitro.Pins, signed)
		for i, refs := range p.Nitro.PCRs {
			n.warn(len(refs) == 0, fmt.Sprintf("nitro.pcrs.%d", i), "no value is accepted, so all evidence is refused")
		}
	}
	if p.TPM != nil {
		n.pins("tpm", p.TPM.Pins, len(p.TPM.PCRs) > 0)
		for pcr, refs := range p.TPM.PCRs {
			key := fmt.Sprintf("tpm.pcrs.%s.%d", pcr.Bank, pcr.Index)
			n.warn(len(refs) == 0, key, "no value is accepted, so all evidence is refused")
			n.warn(pcr.Bank == "sha1", key, "SHA-1 has collisions: quote another bank")
		}
	}
	return n.sorted()
}

// sorted makes the order of notes from maps the same each time.
func (n notes) sorted() []Note {
	order := func(note Note) int {
		for i, t := range attest.Technologies() {
			if strings.HasPrefix(note.Key, t+".") {
				return i + 1
			}
		}
		return 0
	}
	slices.SortStableFunc(n, func(a, b Note) int {
		if d := order(a) - order(b); d != 0 || !strings.Contains(a.Key, ".pcrs.") || !strings.Contains(b.Key, ".pcrs.") {
			return d
		}
		return strings.Compare(a.Key, b.Key)
	})
	return n
}

const refusesAll = "no value is accepted, so all evidence is refused: list values, or say \"any\""

// pins notes what is weak for any technology. signed says that something else
// than the measurement says whose software it is.
func (n *notes) pins(t string, p attest.Pins, signed bool) {
	n.warn(len(p.Measurements) == 0 && !p.AnyMeasurement, t+".measurements", refusesAll)
	n.warn(p.AnyMeasurement && !signed, t+".measurements", "any software is accepted, of anybody")
	n.info(p.AnyMeasurement && signed, t+".measurements", "any software of the signers is accepted")
	for i, m := range p.Measurements {
		zero := !slices.ContainsFunc(m.Digest, func(b byte) bool { return b != 0 })
		n.warn(zero, fmt.Sprintf("%s.measurements[%d]", t, i), "zero says that nothing was measured, as in debug mode")
	}
	n.warn(len(p.Machines) == 0 && !p.AnyMachine, t+".machines", refusesAll)
	n.info(p.AnyMachine, t+".machines", "another machine with the same software can stand in, such as one whose owner has opened it")
}

func (n *notes) snp(p *attest.SNPPolicy) {
	n.pins("snp", p.Pins, len(p.IDKeys)+len(p.AuthorKeys) > 0)
	n.info(len(p.Providers) > 0, "snp.providers", "a provider's key vouches for any of its machines, and does not certify which")
	n.info(p.VMPL > 0, "snp.vmpl", "what runs at a higher level of privilege in the guest can read and change the workload")
	n.warn(p.AllowMigrateMA, "snp.allow_migrate_ma", "a migration agent can move the guest, and sees its memory")
	n.info(p.AllowSMT, "snp.allow_smt", "threads that share a core can spy on each other by its side channels")
	n.warn(p.AllowNoAliasCheck, "snp.allow_no_alias_check", "memory modules that lie about their size can undo the guest's integrity (BadRAM)")
	n.info(p.AnyHostData, "snp.host_data", "the host may give the guest what it likes")
	n.warn(p.AnyTCB, "snp.minimum_tcb", "firmware with known holes is accepted")
	n.warn(len(p.MinTCB) == 0 && !p.AnyTCB, "snp.minimum_tcb", "no product is accepted, so all evidence is refused: add [snp.minimum_tcb.milan], for one")
	for _, product := range products {
		tcb, ok := p.MinTCB[product.product]
		if !ok {
			continue
		}
		key := "snp.minimum_tcb." + product.key
		n.warn(tcb == snp.TCB{}, key, "a minimum of zero is none, so this product is refused")
		n.warn(tcb != snp.TCB{} && (tcb.SNP == 0 || tcb.Microcode == 0), key, "firmware or microcode with known holes is accepted: give snp and microcode their minimum")
	}
}

func (n *notes) dcap(t string, p attest.DCAPPolicy) {
	n.warn(len(p.Statuses) == 0, t+".tcb_status", `no status is accepted, so all evidence is refused: list "UpToDate"`)
	for _, s := range p.Statuses {
		switch s {
		case dcap.UpToDate:
		case dcap.OutOfDate, dcap.OutOfDateConfigurationNeeded:
			n.warn(true, t+".tcb_status", fmt.Sprintf("%s: firmware with known holes is accepted", s))
		default:
			n.info(true, t+".tcb_status", fmt.Sprintf("%s: what Intel advises may not have been done", s))
		}
	}
	n.warn(p.AnyAdvisory, t+".advisories", "any of Intel's security advisories may apply: list the ones that you have read")
	n.info(p.MinTCBDate.IsZero() && p.MinEvaluation == 0, t+".minimum_evaluation", "a host may hand in older collateral that still holds, from before a hole became known")
}

func (n *notes) tdx(p *attest.TDXPolicy) {
	n.pins("tdx", p.Pins, false)
	n.dcap("tdx", p.DCAPPolicy)
	for i, anyOne := range p.AnyRTMR {
		n.warn(anyOne && i < 3, fmt.Sprintf("tdx.rtmr%d", i), "what it measures may be anything: the firmware's measurement does not cover it")
		n.info(anyOne && i == 3, "tdx.rtmr3", "what the guest measures itself may be anything")
	}
	n.info(!p.AnyRTMR[0] && len(p.RTMRs[0]) == 0, "tdx.rtmr0", "it must be zero: firmware that measures its configuration can't pass")
	n.warn(len(p.Modules) == 0 && !p.AnyModule, "tdx.modules", refusesAll)
	n.info(p.AnyConfigID, "tdx.config_ids", "the host may give the guest what it likes")
	n.info(p.AnyOwner, "tdx.owners", "the host may give the guest what it likes")
	n.info(p.AnyOwnerConfig, "tdx.owner_configs", "the host may give the guest what it likes")
	n.warn(p.AllowSeptVE, "tdx.allow_sept_ve", "the host can make an exception in the guest where it likes, by taking a page away")
	for _, a := range p.AllowAttributes {
		n.warn(a == "MIGRATABLE", "tdx.allow_attributes", "MIGRATABLE: a migration TD can move the guest, and sees its memory")
		n.info(a == "PERFMON", "tdx.allow_attributes", "PERFMON: performance counters are a side channel")
	}
}

func (n *notes) sgx(p *attest.SGXPolicy) {
	n.pins("sgx", p.Pins, len(p.Signers) > 0)
	n.dcap("sgx", p.DCAPPolicy)
	n.info(p.AnyConfigID, "sgx.config_ids", "the host may give the enclave what it likes")
	n.info(p.AllowProvisionKey, "sgx.allow_provision_key", "the enclave can tell the machine's identity")
	for i, s := range p.Signers {
		n.info(s.MinSVN == 0, fmt.Sprintf("sgx.signer[%d].minimum_svn", i), "older versions of the signer's, with holes known since, are accepted")
	}
}

func (n *notes) cca(p *attest.CCAPolicy) {
	n.pins("cca", p.Pins, false)
	for i, anyOne := range p.AnyREM {
		n.info(anyOne, fmt.Sprintf("cca.rem%d", i), "what the realm measures there may be anything")
	}
	n.warn(len(p.Components) == 0 && !p.AnyComponent, "cca.components", refusesAll)
	n.warn(p.AnyComponent, "cca.components", "any firmware of the platform is accepted, with known holes too")
	n.warn(p.AllowUnsecured, "cca.allow_unsecured", "a platform that is not secured may be debugged")
}
