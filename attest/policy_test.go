package attest_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// accepting is a policy that accepts the claims of the laboratory and little
// else.
func accepting(t *testing.T) attest.Policy {
	pins := func(technology string) attest.Pins {
		c := claims(t, technology)
		return attest.Pins{
			Measurements: []attest.Reference{{Digest: []byte{7}}, {Name: "ours", Digest: c.Measurement}},
			Machines:     []attest.Reference{{Digest: c.Machine}},
		}
	}
	intel := attest.DCAPPolicy{Statuses: []dcap.Status{dcap.UpToDate}, MinTCBDate: now.AddDate(-20, 0, 0), MinEvaluation: 1}
	td, enclave := claims(t, attest.TDX).DCAP.TD, claims(t, attest.SGX).DCAP.SGX
	tdx := &attest.TDXPolicy{Pins: pins(attest.TDX), DCAPPolicy: intel, Modules: one(td.MRSEAM[:])}
	for i := range td.RTMR {
		tdx.RTMRs[i] = one(td.RTMR[i][:])
	}
	token := claims(t, attest.CCA).CCA
	arm := &attest.CCAPolicy{Pins: pins(attest.CCA), Personalizations: one(token.Realm.Personalization[:])}
	for _, component := range token.Platform.Components {
		arm.Components = append(arm.Components, one(component.Measurement)...)
	}
	for i := range token.Realm.REMs {
		arm.REMs[i] = one(token.Realm.REMs[i])
	}
	pcr := claims(t, attest.TPM).TPM.PCRs[7]
	return attest.Policy{
		AllowSimulated: true,
		SNP: &attest.SNPPolicy{
			Pins: pins(attest.SNP), AllowSMT: true, AllowNoAliasCheck: true,
			MinTCB: map[snp.Product]snp.TCB{snp.Milan: {Bootloader: 4, SNP: 24, Microcode: 219}},
		},
		TDX: tdx,
		SGX: &attest.SGXPolicy{Pins: pins(attest.SGX), DCAPPolicy: intel,
			Signers: []attest.SGXSigner{{Signer: attest.Reference{Digest: enclave.MRSigner[:]}, ProductID: enclave.ISVProdID, MinSVN: enclave.ISVSVN}}},
		CCA:   arm,
		Nitro: &attest.NitroPolicy{Pins: pins(attest.Nitro), PCRs: map[int][]attest.Reference{0: one(md[:])}},
		TPM:   &attest.TPMPolicy{Pins: pins(attest.TPM), PCRs: map[attest.PCR][]attest.Reference{{Bank: "sha256", Index: 7}: one(pcr.Value)}},
	}
}

func one(digest []byte) []attest.Reference { return []attest.Reference{{Digest: bytes.Clone(digest)}} }

type change func(*attest.Policy, *attest.Claims)

func TestAppraise(t *testing.T) {
	t.Parallel()
	keep := func(*attest.Policy, *attest.Claims) {}
	other := one(bytes.Repeat([]byte{9}, 48))
	for _, tt := range []struct {
		technology, name string
		change           change
		refused          string // the names of the rules that must not pass
	}{
		{attest.SNP, "good", keep, ""},
		{attest.TDX, "good", keep, ""},
		{attest.SGX, "good", keep, ""},
		{attest.CCA, "good", keep, ""},
		{attest.Nitro, "good", keep, ""},
		{attest.TPM, "good", keep, ""},

		{attest.SNP, "real hardware", func(p *attest.Policy, c *attest.Claims) { p.AllowSimulated, c.Simulated = false, false }, ""},
		{attest.SNP, "simulated", func(p *attest.Policy, _ *attest.Claims) { p.AllowSimulated = false }, "simulated"},
		{attest.SNP, "zero policy", func(p *attest.Policy, _ *attest.Claims) { *p = attest.Policy{} }, "technology, simulated"},
		{attest.SNP, "zero policy, real hardware", func(p *attest.Policy, c *attest.Claims) { *p, c.Simulated = attest.Policy{}, false }, "technology"},
		{attest.SNP, "empty SNP policy", func(p *attest.Policy, _ *attest.Claims) { p.SNP = &attest.SNPPolicy{} }, "measurement, machine, minimum TCB, SMT"},
		{attest.TDX, "empty TDX policy", func(p *attest.Policy, _ *attest.Claims) { p.TDX = &attest.TDXPolicy{} }, "measurement, machine, TCB status, TDX module"},
		{attest.SGX, "empty SGX policy", func(p *attest.Policy, _ *attest.Claims) { p.SGX = &attest.SGXPolicy{} }, "measurement, machine, TCB status"},
		{attest.CCA, "empty CCA policy", func(p *attest.Policy, _ *attest.Claims) { p.CCA = &attest.CCAPolicy{} }, "measurement, machine, platform components"},
		{attest.Nitro, "empty Nitro policy", func(p *attest.Policy, _ *attest.Claims) { p.Nitro = &attest.NitroPolicy{} }, "measurement, machine"},
		{attest.TPM, "empty TPM policy", func(p *attest.Policy, _ *attest.Claims) { p.TPM = &attest.TPMPolicy{} }, "measurement, machine, PCRs"},
		{attest.SNP, "no SNP policy", func(p *attest.Policy, _ *attest.Claims) { p.SNP = nil }, "technology"},
		{attest.TDX, "no TDX policy", func(p *attest.Policy, _ *attest.Claims) { p.TDX = nil }, "technology"},
		{attest.SGX, "no SGX policy", func(p *attest.Policy, _ *attest.Claims) { p.SGX = nil }, "technology"},
		{attest.CCA, "no CCA policy", func(p *attest.Policy, _ *attest.Claims) { p.CCA = nil }, "technology"},
		{attest.Nitro, "no Nitro policy", func(p *attest.Policy, _ *attest.Claims) { p.Nitro = nil }, "technology"},
		{attest.TPM, "no TPM policy", func(p *attest.Policy, _ *attest.Claims) { p.TPM = nil }, "technology"},
		{attest.SNP, "claims without those of the technology", func(_ *attest.Policy, c *attest.Claims) { c.SNP = nil }, "technology"},
		{attest.TDX, "claims of SGX as TDX", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD = nil }, "technology"},
		{attest.SNP, "claims of no technology", func(_ *attest.Policy, c *attest.Claims) { c.Technology = "" }, "technology"},

		{attest.SNP, "first bit of report data", func(_ *attest.Policy, c *attest.Claims) { c.ReportData[0] ^= 1 }, "report data"},
		{attest.SNP, "last bit of report data", func(_ *attest.Policy, c *attest.Claims) { c.ReportData[63] ^= 128 }, "report data"},
		{attest.Nitro, "no nonce", func(_ *attest.Policy, c *attest.Claims) { c.ReportData = nil }, "report data"},
		{attest.TPM, "part of a nonce", func(_ *attest.Policy, c *attest.Claims) { c.ReportData = c.ReportData[:32] }, "report data"},
		{attest.SNP, "report data and any", func(p *attest.Policy, _ *attest.Claims) { p.AnyReportData = true }, "report data"},

		{attest.SNP, "other measurement", func(p *attest.Policy, _ *attest.Claims) { p.SNP.Measurements = other }, "measurement"},
		{attest.TDX, "other measurement", func(p *attest.Policy, _ *attest.Claims) { p.TDX.Measurements = other }, "measurement"},
		{attest.SGX, "other measurement", func(p *attest.Policy, _ *attest.Claims) { p.SGX.Measurements = other }, "measurement"},
		{attest.CCA, "other measurement", func(p *attest.Policy, _ *attest.Claims) { p.CCA.Measurements = other }, "measurement"},
		{attest.Nitro, "other measurement", func(p *attest.Policy, _ *attest.Claims) { p.Nitro.Measurements = other }, "measurement"},
		{attest.TPM, "other measurement", func(p *attest.Policy, _ *attest.Claims) { p.TPM.Measurements = other }, "measurement"},
		{attest.SNP, "start of the measurement", func(p *attest.Policy, c *attest.Claims) { p.SNP.Measurements = one(c.Measurement[:47]) }, "measurement"},
		{attest.SNP, "empty measurements", func(p *attest.Policy, _ *attest.Claims) { p.SNP.Measurements = []attest.Reference{{}, {Name: "x"}} }, "measurement"},
		{attest.SNP, "empty measurements on both sides", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.Measurements, c.Measurement = []attest.Reference{{}}, nil
		}, "measurement"},
		{attest.SNP, "measurements and any", func(p *attest.Policy, _ *attest.Claims) { p.SNP.AnyMeasurement = true }, "measurement"},
		{attest.SNP, "any measurement", func(p *attest.Policy, _ *attest.Claims) { p.SNP.Measurements, p.SNP.AnyMeasurement = nil, true }, ""},
		{attest.CCA, "any measurement, and nothing measured", func(p *attest.Policy, c *attest.Claims) {
			p.CCA.Measurements, p.CCA.AnyMeasurement, c.Measurement = nil, true, make([]byte, 32)
		}, "measurement"},
		{attest.SNP, "other machine", func(p *attest.Policy, _ *attest.Claims) { p.SNP.Machines = other }, "machine"},
		{attest.TDX, "other machine", func(p *attest.Policy, _ *attest.Claims) { p.TDX.Machines = other }, "machine"},
		{attest.SNP, "machine not known", func(_ *attest.Policy, c *attest.Claims) { c.Machine = nil }, "machine"},
		{attest.SNP, "machines and any", func(p *attest.Policy, _ *attest.Claims) { p.SNP.AnyMachine = true }, "machine"},
		{attest.SNP, "any machine", func(p *attest.Policy, c *attest.Claims) { p.SNP.Machines, p.SNP.AnyMachine, c.Machine = nil, true, nil }, ""},

		{attest.SNP, "debug", func(_ *attest.Policy, c *attest.Claims) { c.Debug = true }, "debug"},
		{attest.SNP, "debug allowed", func(p *attest.Policy, c *attest.Claims) { p.AllowDebug, c.Debug = true, true }, ""},
		{attest.SNP, "no revocation list", func(_ *attest.Policy, c *attest.Claims) { c.Unchecked = []string{"ASK"} }, "revocation"},
		{attest.SNP, "no revocation list, allowed", func(p *attest.Policy, c *attest.Claims) { p.AllowUnchecked, c.Unchecked = true, []string{"ASK"} }, ""},
		{attest.SNP, "expired", expired(time.Hour, 0), "collateral"},
		{attest.SNP, "expired, in grace", expired(time.Hour, time.Hour), ""},
		{attest.SNP, "expired, out of grace", expired(time.Hour, time.Hour-time.Second), "collateral"},
		{attest.SNP, "expired, negative grace", expired(time.Hour, -2*time.Hour), "collateral"},
		{attest.SNP, "no time", func(_ *attest.Policy, c *attest.Claims) { c.Time = time.Time{} }, "collateral"},

		{attest.SNP, "migration", func(_ *attest.Policy, c *attest.Claims) { c.SNP.Report.Policy |= 1 << 18 }, "migration agent"},
		{attest.SNP, "migration allowed", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.AllowMigrateMA = true
			c.SNP.Report.Policy |= 1 << 18
		}, ""},
		{attest.SNP, "VMPL 1", func(_ *attest.Policy, c *attest.Claims) { c.SNP.Report.VMPL = 1 }, "VMPL"},
		{attest.SNP, "VMPL 0, 1 wanted", func(p *attest.Policy, _ *attest.Claims) { p.SNP.VMPL = 1 }, "VMPL"},
		{attest.SNP, "SMT on", func(p *attest.Policy, c *attest.Claims) { p.SNP.AllowSMT = false; c.SNP.Report.PlatformInfo |= 1 }, "SMT"},
		{attest.SNP, "alias check not done", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.AllowNoAliasCheck = false
			c.SNP.Report.PlatformInfo &^= 1 << 5
		}, "alias check"},
		{attest.SNP, "alias check done", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.AllowNoAliasCheck = false
			c.SNP.Report.PlatformInfo |= 1 << 5
		}, ""},
		{attest.SNP, "VLEK", func(_ *attest.Policy, c *attest.Claims) { c.SNP.Signer, c.SNP.CSPID = snp.VLEK, "cloud" }, "signer"},
		{attest.SNP, "VLEK of a provider", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.Providers, c.SNP.Signer, c.SNP.CSPID = []string{"cloud"}, snp.VLEK, "cloud"
		}, ""},
		{attest.SNP, "VLEK of another provider", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.Providers, c.SNP.Signer, c.SNP.CSPID = []string{"cloud", ""}, snp.VLEK, "fog"
		}, "signer"},
		{attest.SNP, "VLEK of nobody", func(p *attest.Policy, c *attest.Claims) { p.SNP.Providers, c.SNP.Signer = []string{""}, snp.VLEK }, "signer"},
		{attest.SNP, "no minimum TCB", func(p *attest.Policy, _ *attest.Claims) { p.SNP.MinTCB = nil }, "minimum TCB"},
		{attest.SNP, "minimum TCB of another product", func(p *attest.Policy, _ *attest.Claims) {
			p.SNP.MinTCB = map[snp.Product]snp.TCB{snp.Genoa: {SNP: 1}}
		}, "minimum TCB"},
		{attest.SNP, "minimum TCB of zero", func(p *attest.Policy, _ *attest.Claims) { p.SNP.MinTCB[snp.Milan] = snp.TCB{} }, "minimum TCB"},
		{attest.SNP, "minimum TCB and any", func(p *attest.Policy, _ *attest.Claims) { p.SNP.AnyTCB = true }, "minimum TCB"},
		{attest.SNP, "any TCB", func(p *attest.Policy, _ *attest.Claims) { p.SNP.MinTCB, p.SNP.AnyTCB = nil, true }, ""},
		{attest.SNP, "microcode too old", func(p *attest.Policy, _ *attest.Claims) { p.SNP.MinTCB[snp.Milan] = snp.TCB{Microcode: 255} }, "minimum TCB"},
		{attest.SNP, "SNP firmware too old", func(_ *attest.Policy, c *attest.Claims) { c.SNP.ReportedTCB.SNP-- }, "minimum TCB"},
		{attest.SNP, "committed TCB too old", func(_ *attest.Policy, c *attest.Claims) { c.SNP.CommittedTCB.SNP-- }, "minimum TCB"},
		{attest.SNP, "committed TCB newer than current", func(_ *attest.Policy, c *attest.Claims) { c.SNP.CommittedTCB.SNP++ }, "TCB order"},
		{attest.SNP, "current TCB too old", func(_ *attest.Policy, c *attest.Claims) { c.SNP.CurrentTCB.Bootloader-- }, "minimum TCB, TCB order"},
		{attest.SNP, "launch TCB too old", func(_ *attest.Policy, c *attest.Claims) { c.SNP.LaunchTCB.Microcode-- }, "minimum TCB"},
		{attest.SNP, "host data", func(_ *attest.Policy, c *attest.Claims) { c.SNP.Report.HostData[31] = 1 }, "host data"},
		{attest.SNP, "host data wanted", func(p *attest.Policy, c *attest.Claims) {
			c.SNP.Report.HostData[31] = 1
			p.SNP.HostData = one(c.SNP.Report.HostData[:])
		}, ""},
		{attest.SNP, "host data wanted, and zero", func(p *attest.Policy, _ *attest.Claims) { p.SNP.HostData = other }, "host data"},
		{attest.SNP, "any host data", func(p *attest.Policy, c *attest.Claims) { c.SNP.Report.HostData[31], p.SNP.AnyHostData = 1, true }, ""},
		{attest.SNP, "no ID key", func(p *attest.Policy, _ *attest.Claims) { p.SNP.IDKeys = other }, "ID key"},
		{attest.SNP, "ID key", func(p *attest.Policy, c *attest.Claims) {
			c.SNP.Report.IDKeyDigest, p.SNP.IDKeys = [48]byte(other[0].Digest), other
		}, ""},
		{attest.SNP, "author key", func(p *attest.Policy, c *attest.Claims) {
			c.SNP.Report.AuthorKeyDigest, c.SNP.Report.AuthorKey, p.SNP.AuthorKeys = [48]byte(other[0].Digest), true, other
		}, ""},
		{attest.SNP, "author key not in use", func(p *attest.Policy, c *attest.Claims) {
			c.SNP.Report.AuthorKeyDigest, p.SNP.AuthorKeys = [48]byte(other[0].Digest), other
		}, "author key"},
		{attest.SNP, "guest SVN", func(p *attest.Policy, c *attest.Claims) { p.SNP.MinGuestSVN, c.SNP.Report.GuestSVN = 5, 4 }, "guest SVN"},
		{attest.SNP, "ABI", func(p *attest.Policy, _ *attest.Claims) { p.SNP.MinABI = [2]uint8{255, 0} }, "ABI"},
		{attest.SNP, "mitigations", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.Mitigations, c.SNP.Report.CurrentMitVector, c.SNP.Report.LaunchMitVector = 3, 3, 1
		}, "mitigations"},

		{attest.TDX, "out of date", status(dcap.OutOfDate), "TCB status"},
		{attest.TDX, "configuration needed", status(dcap.ConfigurationNeeded), "TCB status"},
		{attest.SGX, "hardening needed", status(dcap.SWHardeningNeeded), "TCB status"},
		{attest.SGX, "hardening accepted", func(p *attest.Policy, c *attest.Claims) {
			p.SGX.Statuses, c.DCAP.Status = []dcap.Status{dcap.SWHardeningNeeded}, dcap.SWHardeningNeeded
		}, ""},
		{attest.SGX, "up to date is not in the list", func(p *attest.Policy, _ *attest.Claims) { p.SGX.Statuses = []dcap.Status{dcap.OutOfDate} }, "TCB status"},
		{attest.SGX, "revoked, even if in the list", func(p *attest.Policy, c *attest.Claims) {
			p.SGX.Statuses, c.DCAP.Status = []dcap.Status{dcap.Revoked}, dcap.Revoked
		}, "TCB status"},
		{attest.SGX, "no status", status(""), "TCB status"},
		{attest.SGX, "advisory", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.Advisories = []string{"INTEL-SA-00001"} }, "advisories"},
		{attest.SGX, "advisory allowed", func(p *attest.Policy, c *attest.Claims) {
			p.SGX.Advisories, c.DCAP.Advisories = []string{"INTEL-SA-00002", "INTEL-SA-00001"}, []string{"INTEL-SA-00001"}
		}, ""},
		{attest.SGX, "one of two advisories allowed", func(p *attest.Policy, c *attest.Claims) {
			p.SGX.Advisories, c.DCAP.Advisories = []string{"INTEL-SA-00001"}, []string{"INTEL-SA-00001", "INTEL-SA-00002"}
		}, "advisories"},
		{attest.SGX, "any advisory", func(p *attest.Policy, c *attest.Claims) {
			p.SGX.AnyAdvisory, c.DCAP.Advisories = true, []string{"INTEL-SA-00001"}
		}, ""},
		{attest.SGX, "advisories and any", func(p *attest.Policy, _ *attest.Claims) {
			p.SGX.AnyAdvisory, p.SGX.Advisories = true, []string{"INTEL-SA-00001"}
		}, "advisories"},
		{attest.TDX, "TCB date", func(p *attest.Policy, c *attest.Claims) { p.TDX.MinTCBDate = c.DCAP.TCBDate.Add(time.Second) }, "TCB date"},
		{attest.TDX, "TCB evaluation data number", func(p *attest.Policy, c *attest.Claims) {
			p.TDX.MinEvaluation = c.DCAP.TCBEvaluationDataNumber + 1
		}, "TCB evaluation data number"},
		{attest.TDX, "other module", func(p *attest.Policy, _ *attest.Claims) { p.TDX.Modules = other }, "TDX module"},
		{attest.TDX, "any module", func(p *attest.Policy, _ *attest.Claims) { p.TDX.Modules, p.TDX.AnyModule = nil, true }, ""},
		{attest.TDX, "RTMR0", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.RTMR[0][0] ^= 1 }, "RTMR0"},
		{attest.TDX, "RTMR1", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.RTMR[1][1] ^= 1 }, "RTMR1"},
		{attest.TDX, "RTMR2", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.RTMR[2][47] ^= 1 }, "RTMR2"},
		{attest.TDX, "RTMR3", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.RTMR[3][3] ^= 1 }, "RTMR3"},
		{attest.TDX, "RTMRs unlisted and not zero", func(p *attest.Policy, c *attest.Claims) {
			p.TDX.RTMRs = [4][]attest.Reference{}
			c.DCAP.TD.RTMR[2][0] = 1
		}, "RTMR2"},
		{attest.TDX, "any RTMR", func(p *attest.Policy, c *attest.Claims) {
			p.TDX.RTMRs[2], p.TDX.AnyRTMR[2] = nil, true
			c.DCAP.TD.RTMR[2][0] ^= 1
		}, ""},
		{attest.TDX, "MRCONFIGID", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.MRConfigID[0] = 1 }, "MRCONFIGID"},
		{attest.TDX, "MROWNER", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.MROwner[0] = 1 }, "MROWNER"},
		{attest.TDX, "MROWNERCONFIG", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.MROwnerConfig[0] = 1 }, "MROWNERCONFIG"},
		{attest.TDX, "MRSERVICETD", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.MRServiceTD[0] = 1 }, "MRSERVICETD"},
		{attest.TDX, "page exceptions", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.Attributes &^= 1 << 28 }, "SEPT_VE_DISABLE"},
		{attest.TDX, "migratable", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.Attributes |= 1 << 29 }, "TD attributes"},
		{attest.TDX, "migratable, allowed", func(p *attest.Policy, c *attest.Claims) {
			p.TDX.AllowAttributes = []string{"MIGRATABLE"}
			c.DCAP.TD.Attributes |= 1 << 29
		}, ""},
		{attest.TDX, "a bit without meaning", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.TD.Attributes |= 1 << 50 }, "TD attributes"},

		{attest.SGX, "other signer", func(p *attest.Policy, _ *attest.Claims) { p.SGX.Signers[0].Signer = other[0] }, "signer"},
		{attest.SGX, "other product", func(p *attest.Policy, _ *attest.Claims) { p.SGX.Signers[0].ProductID++ }, "signer"},
		{attest.SGX, "version too old", func(p *attest.Policy, _ *attest.Claims) { p.SGX.Signers[0].MinSVN++ }, "signer"},
		{attest.SGX, "CONFIGID", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.SGX.ConfigID[63] = 1 }, "CONFIGID"},
		{attest.SGX, "provisioning key", func(_ *attest.Policy, c *attest.Claims) { c.DCAP.SGX.Attributes[0] |= 16 }, "provisioning key"},

		{attest.CCA, "life cycle", func(_ *attest.Policy, c *attest.Claims) { c.CCA.Platform.Lifecycle = cca.Provisioning }, "life cycle"},
		{attest.CCA, "life cycle allowed", func(p *attest.Policy, c *attest.Claims) {
			p.CCA.AllowUnsecured, c.CCA.Platform.Lifecycle = true, cca.Provisioning
		}, ""},
		{attest.CCA, "component", func(_ *attest.Policy, c *attest.Claims) { c.CCA.Platform.Components[0].Measurement = other[0].Digest }, "platform components"},
		{attest.CCA, "components and any", func(p *attest.Policy, _ *attest.Claims) { p.CCA.AnyComponent = true }, "platform components"},
		{attest.CCA, "personalization", func(_ *attest.Policy, c *attest.Claims) { c.CCA.Realm.Personalization[5] ^= 1 }, "personalization"},
		{attest.CCA, "REM0", func(_ *attest.Policy, c *attest.Claims) { c.CCA.Realm.REMs[0] = other[0].Digest }, "REM0"},
		{attest.CCA, "REM3", func(_ *attest.Policy, c *attest.Claims) { c.CCA.Realm.REMs[3] = other[0].Digest }, "REM3"},
		{attest.Nitro, "PCR", func(_ *attest.Policy, c *attest.Claims) { c.Nitro.Document.PCRs[0] = other[0].Digest }, "PCR0"},
		{attest.Nitro, "PCR that is not there", func(p *attest.Policy, _ *attest.Claims) { p.Nitro.PCRs[31] = other }, "PCR31"},
		{attest.TPM, "PCR", func(p *attest.Policy, _ *attest.Claims) { p.TPM.PCRs[attest.PCR{Bank: "sha256", Index: 7}] = other }, "PCR7 of sha256"},
		{attest.TPM, "no PCRs", func(p *attest.Policy, _ *attest.Claims) { p.TPM.PCRs = nil }, "PCRs"},
		{attest.TPM, "any PCRs", func(p *attest.Policy, _ *attest.Claims) {
			p.TPM.PCRs, p.TPM.Measurements, p.TPM.AnyMeasurement = nil, nil, true
		}, ""},
		{attest.TPM, "PCR of another bank", func(p *attest.Policy, _ *attest.Claims) { p.TPM.PCRs[attest.PCR{Bank: "sha1", Index: 7}] = other }, "PCR7 of sha1"},
	} {
		t.Run(tt.technology+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := accepting(t), claims(t, tt.technology)
			tt.change(&p, c)
			check(t, p.Appraise(c, rd[:]), tt.refused)
		})
	}
}

func expired(ago, grace time.Duration) change {
	return func(p *attest.Policy, c *attest.Claims) {
		p.Grace = grace
		c.Collateral = append(c.Collateral, pki.Used{Name: "a list", Expires: c.Time.Add(-ago)})
	}
}

func status(s dcap.Status) change {
	return func(_ *attest.Policy, c *attest.Claims) { c.DCAP.Status = s }
}

// check checks which rules refused, and that all of them explain themselves.
func check(t *testing.T, result attest.Result, want string) {
	t.Helper()
	var refused []string
	for _, rule := range result.Rules {
		if !rule.OK {
			refused = append(refused, rule.Name)
		}
		if rule.Name == "" || rule.Expected == "" || rule.Found == "" || rule.Warning && (!rule.OK || rule.Reason == "") {
			t.Errorf("rule that explains nothing: %+v", rule)
		}
	}
	var wanted []string
	if want != "" {
		wanted = strings.Split(want, ", ")
	}
	slices.Sort(refused)
	slices.Sort(wanted)
	if !slices.Equal(refused, wanted) {
		t.Errorf("refused for %q, want %q", refused, wanted)
	}
	err := result.Err()
	if (err == nil) != (want == "") {
		t.Errorf("error %v", err)
	}
	var typed *attest.RefusedError
	if err != nil && (!errors.As(err, &typed) || len(typed.Result.Rules) != len(result.Rules)) {
		t.Errorf("error %T", err)
	}
	for _, name := range refused {
		if !strings.Contains(err.Error(), `Rule "`+name+`" expected `) {
			t.Errorf("%q does not explain %s", err, name)
		}
	}
}

// TestAppraiseGivenNothing is of what the caller forgot.
func TestAppraiseGivenNothing(t *testing.T) {
	t.Parallel()
	p := accepting(t)
	check(t, p.Appraise(nil, rd[:]), "claims")
	check(t, p.Appraise(&attest.Claims{}, rd[:]), "technology, report data, collateral")
	check(t, p.Appraise(claims(t, attest.SNP), nil), "report data")
	check(t, p.Appraise(claims(t, attest.SNP), []byte{}), "report data")
	empty := claims(t, attest.Nitro)
	empty.ReportData = nil
	check(t, p.Appraise(empty, nil), "report data")
	p.AnyReportData = true
	check(t, p.Appraise(claims(t, attest.SNP), nil), "")
}

func TestAppraiseProfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		accepted []string
		profile  string
		ok       bool
	}{
		{nil, "production", true},
		{nil, "staging", false},
		{nil, "", false},
		{[]string{"staging"}, "staging", true},
		{[]string{"staging"}, "production", false},
		{[]string{"staging", "development"}, "development", true},
	} {
		if rule := (attest.Policy{Profiles: tt.accepted}).AppraiseProfile(tt.profile); rule.OK != tt.ok || !rule.OK && rule.Reason == "" {
			t.Errorf("%q of %q: %+v", tt.profile, tt.accepted, rule)
		}
	}
}

// TestPolicyRoots is of the roots that a policy names itself.
func TestPolicyRoots(t *testing.T) {
	t.Parallel()
	public := func(key any) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: ok(x509.MarshalPKIXPublicKey(key))}))
	}
	arm, ak := public(lab().arm.CPAK.Public()), public(lab().tpm.AK.Public())
	roots, err := attest.Policy{CCA: &attest.CCAPolicy{Keys: []string{arm}}, TPM: &attest.TPMPolicy{Keys: []string{ak}}}.Roots()
	if err != nil || len(roots.CCA) != 1 || len(roots.TPM) != 1 || len(roots.SNP)+len(roots.DCAP)+len(roots.Nitro) > 0 {
		t.Fatalf("%+v, %v", roots, err)
	}
	for _, technology := range []string{attest.CCA, attest.TPM} {
		ev, c := lab().evidence(technology)
		if _, err := attest.Verify(ev, c, roots, now); err != nil {
			t.Errorf("%s: %v", technology, err)
		}
	}
	for _, p := range []attest.Policy{
		{CCA: &attest.CCAPolicy{Keys: []string{""}}}, {TPM: &attest.TPMPolicy{Keys: []string{"-----BEGIN"}}},
		{CCA: &attest.CCAPolicy{Keys: []string{arm, arm + arm}}},
	} {
		if roots, err := p.Roots(); err == nil || len(roots.CCA)+len(roots.TPM) > 0 {
			t.Errorf("%+v: %+v", p, roots)
		}
	}
	if roots, err := (attest.Policy{}).Roots(); err != nil || len(roots.CCA)+len(roots.TPM) > 0 {
		t.Errorf("zero policy: %+v, %v", roots, err)
	}
}

// TestExplain is of what a refusal says of the measurement.
func TestExplain(t *testing.T) {
	t.Parallel()
	reversed := func(b []byte) []byte { b = bytes.Clone(b); slices.Reverse(b); return b }
	for _, tt := range []struct {
		name   string
		change change
		want   string
	}{
		{"unknown", func(p *attest.Policy, c *attest.Claims) { c.Measurement[0] ^= 1 }, "No input that is known here gives it"},
		{"zero", func(_ *attest.Policy, c *attest.Claims) { clear(c.Measurement) }, "It is zero"},
		{"known", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.Measurements = nil
			p.Known = []attest.Reference{{Name: "version 0.9", Digest: c.Measurement}}
		}, "It is that of version 0.9, which is known"},
		{"of another technology", func(p *attest.Policy, c *attest.Claims) {
			c.Measurement = p.TDX.Measurements[1].Digest
			c.Measurement[0] ^= 1
		}, "The policy accepts it for tdx"},
		{"reversed", func(p *attest.Policy, c *attest.Claims) {
			p.SNP.Measurements = one(reversed(c.Measurement))
		}, "in reverse order"},
		{"cut off", func(p *attest.Policy, c *attest.Claims) { p.SNP.Measurements = one(c.Measurement[:32]) }, "which is cut off"},
	} {
		p, c := accepting(t), claims(t, attest.SNP)
		tt.change(&p, c)
		var got string
		for _, rule := range p.Appraise(c, rd[:]).Rules {
			if rule.Name == "measurement" && !rule.OK {
				got = rule.Reason
			}
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestResultErr(t *testing.T) {
	t.Parallel()
	if err := (attest.Result{}).Err(); err == nil || !strings.Contains(err.Error(), "no rule was applied") {
		t.Errorf("no rules: got %v", err)
	}
	if err := (attest.Result{Rules: []attest.Rule{{Name: "a", OK: true}}}).Err(); err != nil {
		t.Error(err)
	}
	err := (attest.Result{Rules: []attest.Rule{{Name: "a", OK: true}, {Name: "VMPL", Expected: "0", Found: "1", Reason: "So it is."}}}).Err()
	if want := `evidence refused. Rule "VMPL" expected 0 and found 1. So it is.`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
