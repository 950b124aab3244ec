package policyfile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client/policyfile"
)

const (
	snpOK  = "[snp]\nmeasurements = [\"M\"]\nmachines = [\"C\"]\nminimum_tcb.milan = { bootloader = 4, snp = 24, microcode = 219 }\n"
	tdxOK  = "[tdx]\nmeasurements = [\"M\"]\nmachines = [\"P\"]\ntcb_status = [\"UpToDate\"]\nminimum_evaluation = 17\nmodules = [\"M\"]\nrtmr0 = [\"M\"]\n"
	sgxOK  = "[sgx]\nmeasurements = [\"E\"]\nmachines = [\"P\"]\ntcb_status = [\"UpToDate\"]\nminimum_evaluation = 17\n"
	ccaOK  = "[cca]\nmeasurements = [\"E\"]\nmachines = [\"01E\"]\ncomponents = [\"E\"]\n"
	nitro  = "[nitro]\nmeasurements = [\"M\"]\nmachines = [\"i-0bbf1bfe232b8c2ce-enc0183d0d6b8c2ce12\"]\n"
	tpmOK  = "[tpm]\nmeasurements = [\"E\"]\nmachines = [\"E\"]\n"
	signer = "[[sgx.signer]]\ndigest = \"E\"\nproduct_id = 1\nminimum_svn = 1\n"
)

var fillDigests = strings.NewReplacer("\"M\"", `"`+hex48+`"`, "\"C\"", `"`+hex64+`"`, "\"P\"", `"`+hex32[:32]+`"`, "\"E\"", `"`+hex32+`"`, "\"01E\"", `"01`+hex32+`"`,
	"\"Z\"", `"`+strings.Repeat("0", 96)+`"`)

func TestNotes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []string // level, key, and what the text has in it
	}{
		{"nothing", "", []string{"warning  no technology"}},
		{"SNP", snpOK, nil},
		{"TDX", tdxOK, nil},
		{"SGX", sgxOK, nil},
		{"CCA", ccaOK, nil},
		{"Nitro", nitro, nil},
		{"TPM", tpmOK, nil},
		{"simulated", "allow_simulated = true\n" + snpOK, []string{"warning allow_simulated proves nothing"}},
		{"debug", "allow_debug = true\n" + snpOK, []string{"warning allow_debug read and change"}},
		{"unchecked", "allow_unchecked = true\n" + snpOK, []string{"warning allow_unchecked revoked"}},
		{"grace of a week", "grace = \"168h\"\n" + snpOK, nil},
		{"grace of more", "grace = \"169h\"\n" + snpOK, []string{"warning grace 169h"}},
		{"profiles", "log_profiles = [\"production\", \"development\"]\n" + snpOK, []string{"warning log_profiles profile development"}},
		{"SNP with nothing", "[snp]", []string{"warning snp.measurements refused", "warning snp.machines refused", "warning snp.minimum_tcb no product"}},
		{"any measurement", "[snp]\nmeasurements = \"any\"\nmachines = [\"C\"]\nminimum_tcb = \"any\"", []string{"warning snp.measurements any software is accepted, of anybody", "warning snp.minimum_tcb known holes"}},
		{"any measurement of a signer", "[snp]\nmeasurements = \"any\"\nmachines = \"any\"\nid_keys = [\"M\"]\nminimum_tcb.turin.snp = 4\nminimum_tcb.turin.microcode = 1",
			[]string{"info snp.measurements of the signers", "info snp.machines stand in"}},
		{"zero measurement", strings.Replace(snpOK, `"M"`, `"Z"`, 1), []string{"warning snp.measurements[0] nothing was measured"}},
		{"zero minimum TCB", snpOK + "[snp.minimum_tcb.genoa]\ntee = 0", []string{"warning snp.minimum_tcb.genoa this product is refused"}},
		{"minimum TCB without microcode", snpOK + "[snp.minimum_tcb.genoa]\nsnp = 1", []string{"warning snp.minimum_tcb.genoa give snp and microcode"}},
		{"SNP flags", snpOK + "allow_migrate_ma = true\nallow_smt = true\nallow_no_alias_check = true\nvmpl = 1\nproviders = [\"AWS\"]\nhost_data = \"any\"",
			[]string{"info snp.providers any of its machines", "info snp.vmpl higher", "warning snp.allow_migrate_ma sees its memory", "info snp.allow_smt side channels", "warning snp.allow_no_alias_check BadRAM", "info snp.host_data what it likes"}},
		{"statuses", strings.Replace(tdxOK, `["UpToDate"]`, `["OutOfDate", "ConfigurationNeeded", "TDRelaunchAdvised"]`, 1),
			[]string{"warning tdx.tcb_status OutOfDate: firmware", "info tdx.tcb_status ConfigurationNeeded:", "info tdx.tcb_status TDRelaunchAdvised:"}},
		{"no status", strings.Replace(sgxOK, `["UpToDate"]`, `[]`, 1), []string{"warning sgx.tcb_status no status is accepted"}},
		{"any advisory, no minimum", strings.Replace(sgxOK, "minimum_evaluation = 17", `advisories = "any"`, 1), []string{"warning sgx.advisories list the ones", "info sgx.minimum_evaluation older collateral"}},
		{"TDX with nothing", "[tdx]", []string{"warning tdx.measurements", "warning tdx.machines", "warning tdx.tcb_status", "info tdx.minimum_evaluation", "info tdx.rtmr0 must be zero", "warning tdx.modules refused"}},
		{"TDX flags", tdxOK + "rtmr2 = \"any\"\nrtmr3 = \"any\"\nconfig_ids = \"any\"\nowners = \"any\"\nowner_configs = \"any\"\nallow_sept_ve = true\nallow_attributes = [\"PERFMON\", \"MIGRATABLE\"]",
			[]string{"warning tdx.rtmr2", "info tdx.rtmr3", "info tdx.config_ids", "info tdx.owners", "info tdx.owner_configs", "warning tdx.allow_sept_ve", "info tdx.allow_attributes PERFMON", "warning tdx.allow_attributes MIGRATABLE"}},
		{"SGX of a signer", strings.Replace(sgxOK, `["E"]`, `"any"`, 1) + "allow_provision_key = true\nconfig_ids = \"any\"\n" + signer,
			[]string{"info sgx.measurements", "info sgx.config_ids", "info sgx.allow_provision_key"}},
		{"SGX of any version of a signer", sgxOK + strings.Replace(signer, "svn = 1", "svn = 0", 1), []string{"info sgx.signer[0].minimum_svn older versions"}},
		{"SGX of anybody", strings.Replace(sgxOK, `["E"]`, `"any"`, 1), []string{"warning sgx.measurements anybody"}},
		{"CCA flags", strings.Replace(ccaOK, `components = ["E"]`, "components = \"any\"\nrem2 = \"any\"\nallow_unsecured = true", 1),
			[]string{"info cca.rem2", "warning cca.components any firmware", "warning cca.allow_unsecured"}},
		{"CCA without components", strings.Replace(ccaOK, `components = ["E"]`, "", 1), []string{"warning cca.components refused"}},
		{"Nitro of a signer", strings.Replace(nitro, `["M"]`, `"any"`, 1) + "pcrs.8 = [\"M\"]\npcrs.3 = []", []string{"info nitro.measurements", "warning nitro.pcrs.3 refused"}},
		{"Nitro of anybody", strings.Replace(nitro, `["M"]`, `"any"`, 1) + "pcrs.3 = [\"M\"]", []string{"warning nitro.measurements"}},
		{"TPM PCRs", tpmOK + "pcrs.sha256.7 = [\"E\"]\npcrs.sha256.4 = []\npcrs.sha1.0 = []", []string{"warning tpm.pcrs.sha1.0 refused", "warning tpm.pcrs.sha1.0 collisions", "warning tpm.pcrs.sha256.4 refused"}},
	} {
		p, err := policyfile.Parse(test.name, []byte("version = 1\n"+fillDigests.Replace(test.text)))
		if err != nil {
			t.Error(err)
			continue
		}
		got := policyfile.Notes(p)
		ok := len(got) == len(test.want)
		for i := 0; ok && i < len(got); i++ {
			parts := strings.SplitN(test.want[i], " ", 3)
			ok = got[i].Level == parts[0] && got[i].Key == parts[1] && (len(parts) < 3 || strings.Contains(got[i].Text, parts[2]))
		}
		if !ok {
			t.Errorf("%s: notes %s\nexpected %q", test.name, strings.ReplaceAll(fmt.Sprint(got), "} {", "}\n{"), test.want)
		}
	}
}

// TestExplain makes sure that an explanation is what the rules say when they
// refuse.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, name := range goodFiles(t) {
		p := good(t, name)
		for _, e := range policyfile.Explain(p) {
			c := &attest.Claims{Technology: e.Technology}
			if e.Refused {
				if len(e.Rules) != 0 || p.Appraise(c, nil).Rules[0].OK {
					t.Errorf("%s: %s is refused, and is not", name, e.Technology)
				}
				continue
			}
			var names []string
			for _, rule := range e.Rules {
				names = append(names, rule.Rule)
				if rule.Expected == "" || strings.Contains(rule.Expected, "1970") {
					t.Errorf("%s: %s: rule %s expects %q", name, e.Technology, rule.Rule, rule.Expected)
				}
			}
			for _, want := range []string{"simulated", "report data", "debug", "revocation", "collateral", "measurement", "machine", "log profile"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s: %s: no rule %s in %q", name, e.Technology, want, names)
				}
			}
		}
	}
}

func TestExplainText(t *testing.T) {
	t.Parallel()
	for file, rules := range map[string]map[string]string{
		"snp.toml": {
			"measurement":   "(redoubt-wasmldr 0.3) or ",
			"machine":       "(the Turin)",
			"minimum TCB":   "Turin with at least fmc 1, bootloader 1, tee 1, snp 4, microcode 80",
			"report data":   "the value that the caller asks for, anew each time",
			"collateral":    "collateral that holds at the time of verification, or expired no more than 72h0m0s before",
			"log profile":   "production or staging",
			"SMT":           "off, or not: the policy allows it",
			"simulated":     "evidence of real hardware",
			"ABI":           "at least 1.55 demanded by the guest",
			"mitigations":   "0x8000000000000009",
			"signer":        "VLEK) of AWS",
			"VMPL":          "1",
			"host data":     "",
			"ID key":        "",
			"author key":    "",
			"guest SVN":     "at least 3",
			"revocation":    "revocation lists for all certificates",
			"alias check":   "the policy allows it",
			"debug":         "off",
			"migration age": "",
		},
		"cca.toml":   {"platform components": "(BL2)"},
		"nitro.toml": {"PCR8": "(image signer)", "PCR3": ""},
		"tpm.toml":   {"PCR7 of sha256": " or ", "PCR0 of sha1": ""},
		"tdx.toml":   {"RTMR1": "(kernel 6.13)", "TDX module": "(TDX module 1.5.06)", "TCB status": "UpToDate or ConfigurationNeeded", "TCB date": "2024-03-13T00:00:00Z"},
		"sgx.toml":   {"signer": "(the vendor), product 1, version 3 or later", "advisories": "none but INTEL-SA-00615"},
	} {
		technology, _, _ := strings.Cut(file, ".")
		for _, e := range policyfile.Explain(good(t, file)) {
			if e.Technology != technology {
				continue
			}
			for rule, fragment := range rules {
				if !slices.ContainsFunc(e.Rules, func(x policyfile.Expectation) bool {
					return strings.HasPrefix(x.Rule, rule) && strings.Contains(x.Expected, fragment)
				}) {
					t.Errorf("%s: no rule %s expects %q in %v", file, rule, fragment, e.Rules)
				}
			}
		}
	}
}

// TestExplainEnforces makes sure of one sentence by what the rules do: a product
// without a minimum is refused.
func TestExplainEnforces(t *testing.T) {
	t.Parallel()
	p, err := policyfile.Parse("p", []byte("version = 1\n"+fillDigests.Replace(snpOK)))
	if err != nil {
		t.Fatal(err)
	}
	var expected []string
	for _, rule := range policyfile.Explain(p)[0].Rules {
		if rule.Rule == "minimum TCB" {
			expected = append(expected, rule.Expected)
		}
	}
	want := []string{"Milan with at least fmc 0, bootloader 4, tee 0, snp 24, microcode 219", "a minimum for Genoa in the policy, but it has none", "a minimum for Turin in the policy, but it has none"}
	if !slices.Equal(expected, want) {
		t.Errorf("minimum TCB expects %q, want %q", expected, want)
	}
	if p.Grace != 0 || policyfile.LongGrace != 7*24*time.Hour {
		t.Error("the grace is not what the notes speak of")
	}
}
