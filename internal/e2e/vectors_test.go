//go:build linux

package e2e

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// TestVectors gives every capture to redoubt verify, with a policy that accepts
// what is genuine and up to date, and compares with the verdict that the
// vectors' README gives.
func TestVectors(t *testing.T) {
	t.Parallel()
	dir := vectors.Dir(t)
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := filepath.Abs("testdata/policy/open.toml")
	if err != nil {
		t.Fatal(err)
	}
	own := t.TempDir()
	const (
		accepted   = 0
		notGenuine = 122
		refused    = 123
		now        = "2026-11-22"
	)
	for _, tt := range []struct {
		name, kind string
		args       string // evidence and flags; files are below the vectors' folder
		at         string
		status     int
		rules      string // those that refuse
		text       string // part of the verdict's line
	}{
		{"Milan v2 in debug mode", "snp", "snp/gsg-milan-v2.report.bin --cert snp/gsg-milan-v2.vcek.der", now, refused, "debug", ""},
		{"Milan v2", "snp", "snp/virtee-milan.report.bin --cert snp/virtee-milan.vcek.der", now, accepted, "", ""},
		{"Milan v2 of Trustee", "snp", "snp/trustee-vcek.report.bin --cert snp/trustee-vcek.vcek.der", now, accepted, "", ""},
		{"Milan with a broken VCEK, legacy", "snp", "snp/trustee-vcek.report.bin --cert snp/trustee-neg-vcek-invalid-legacy.der", now, notGenuine, "", "certificate chain broken"},
		{"Milan with a broken VCEK, new", "snp", "snp/trustee-vcek.report.bin --cert snp/trustee-neg-vcek-invalid-new.der", now, notGenuine, "", "certificate chain broken"},
		{"VLEK while it was valid", "snp", "snp/trustee-vlek.report.bin --cert snp/trustee-vlek.vlek.der", "2025-06-01", refused, "VMPL, signer", ""},
		{"VLEK expired", "snp", "snp/trustee-vlek.report.bin --cert snp/trustee-vlek.vlek.der", now, notGenuine, "", "not valid at this time"},
		{"Milan v3", "snp", "snp/ms-milan.report.bin --cert snp/ms-milan.vcek.pem", now, accepted, "", ""},
		{"Milan v3 with its ASK", "snp", "snp/ms-milan.report.bin --cert snp/ms-milan.vcek.pem --cert snp/ms-milan.ask.pem", now, accepted, "", ""},
		{"Zen4c v5", "snp", "snp/ars-genoa-v5.report.bin --cert snp/ars-genoa-v5.vcek.der", now, accepted, "", ""},
		{"Genoa v3 with auxblob", "snp", "snp/veraison-tsm.report.bin --collateral snp/veraison-tsm.auxblob.bin", now, accepted, "", ""},
		{"Genoa v3 with certificates", "snp", "snp/veraison-tsm.report.bin --cert snp/veraison-tsm.ek.pem --cert snp/veraison-tsm.ask.pem --cert snp/veraison-tsm.ark.pem", now, accepted, "", ""},
		{"crossed Milans", "snp", "snp/ms-milan.report.bin --cert snp/virtee-milan.vcek.der", now, notGenuine, "", "mismatch"},
		{"Milan with the VCEK of a Turin", "snp", "snp/ms-milan.report.bin --cert snp/virtee-turin.vcek.der", now, notGenuine, "", ""},
		{"Milan alone", "snp", "snp/ms-milan.report.bin", now, notGenuine, "", "no usable signing key"},

		{"TDX v4", "tdx", "tdx/oasis-quote_v4_tdx_ecdsa_p256.bin --collateral tdx/oasis-tcb_info_v3_tdx_fmspc_C0806F000000.json,tdx/oasis-qe_identity_v2_tdx2.json,tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem", "2024-09-02T12:00:00Z", accepted, "", ""},
		{"TDX v4 out of date", "tdx", "tdx/oasis-quote_v4_tdx_ecdsa_p256_out_of_date.bin --collateral tdx/oasis-tcb_info_v3_tdx_fmspc_50806F000000.json,tdx/oasis-qe_identity_v2_tdx.json,tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem", "2023-07-01", notGenuine, "", "no TCB level"},
		{"TDX v4 with zeros behind it", "tdx", "tdx/oasis-quote_v4_tdx_ecdsa_p256_trailing.bin --collateral tdx/oasis-tcb_info_v3_tdx_fmspc_C0806F000000.json,tdx/oasis-qe_identity_v2_tdx2.json,tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem", "2024-09-22", accepted, "", ""},
		{"TDX v4 of Phala", "tdx", "tdx/phala-tdx_quote --collateral tdx/phala-tdx_quote_collateral.json", "2025-06-25", accepted, "", ""},
		{"TDX v4 of a cloud", "tdx", "tdx/automata-v4.hexdat --collateral tdx/automata-collateral/intel_root_ca_crl.der,tdx/automata-collateral/pck_platform_crl.der,tdx/automata-collateral/qeidentityv2_apiv4.json,tdx/automata-collateral/tcb_signing_cert.pem,tdx/automata-collateral/tcbinfov3_00806f050000.json", "2025-02-20", refused, "TCB status, advisories", ""},
		{"TDX v5", "tdx", "tdx/gtg-quote_v5_sample.dat --collateral tdx/ars-collateral/tcb_info_90c06f000000.json,tdx/ars-collateral/td_qe_identity.json,tdx/ars-collateral/tcb_signing_chain.pem,tdx/ars-collateral/qe_identity_signing_chain.pem,tdx/ars-collateral/pck_crl_platform.der,tdx/ars-collateral/root_ca_crl.der,tdx/gtg-pckcrl,tdx/gtg-rootcrl.der", "2026-03-20", accepted, "", ""},
		{"TDX v5, revocation lists long expired", "tdx", "tdx/gtg-quote_v5_sample.dat --collateral tdx/ars-collateral/tcb_info_90c06f000000.json,tdx/ars-collateral/td_qe_identity.json,tdx/ars-collateral/tcb_signing_chain.pem,tdx/gtg-pckcrl,tdx/gtg-rootcrl.der", "2026-03-20", refused, "collateral", ""},
		{"TDX v4 in debug mode", "tdx", "tdx/trustee-tdx_quote_4.dat --collateral tdx/ars-collateral/tcb_info_50806f000000.json,tdx/ars-collateral/td_qe_identity.json,tdx/ars-collateral/tcb_signing_chain.pem,tdx/ars-collateral/pck_crl_platform.der,tdx/ars-collateral/root_ca_crl.der", "2026-03-20", refused, "debug, TCB status, advisories", ""},

		{"SGX v3", "sgx", "sgx/oasis-quote_v3_ecdsa_p256_pck_chain.bin --collateral sgx/oasis-tcb_info_v3_fmspc_00606A000000.json,sgx/oasis-qe_identity_v2.json,sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem", "2022-12-20", accepted, "", ""},
		{"SGX v3, collateral of another chain", "sgx", "sgx/oasis-quote_v3_ecdsa_p256_pck_chain.bin --collateral sgx/oasis-tcb_info_v3_fmspc_00606A000000.json,sgx/oasis-qe_identity_v2.json,sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs_bad.pem", "2022-12-20", notGenuine, "", ""},
		{"SGX v3 without a PCK chain", "sgx", "sgx/oasis-quote_v3_ecdsa_p256_eppid.bin --collateral sgx/oasis-tcb_info_v3_fmspc_00606A000000.json,sgx/oasis-qe_identity_v2.json,sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem", "2022-12-20", notGenuine, "", "certification data"},
		{"SGX v3 in hex", "sgx", "sgx/automata-quotev3.hex --collateral sgx/sgx_tcbinfov3_00606a000000.json,sgx/sgx_qeidentity_v4.json,tdx/ars-collateral/tcb_signing_chain.pem", "2025-08-20", accepted, "", ""},
		{"SGX v3 in debug mode", "sgx", "sgx/trustee-occlum_quote.dat --collateral sgx/sgx_tcbinfov3_00606a000000.json,sgx/sgx_qeidentity_v4.json,tdx/ars-collateral/tcb_signing_chain.pem", "2025-08-20", refused, "debug, TCB status, advisories", ""},
		{"SGX v3 with collateral for TDX", "sgx", "sgx/trustee-occlum_quote.dat --collateral sgx/trustee-tcbInfo.json,sgx/trustee-enclaveIdentity.json,tdx/ars-collateral/tcb_signing_chain.pem", "2025-08-20", notGenuine, "", "TDX"},

		{"CCA without a key", "cca", "cca/cca_token.cbor", now, notGenuine, "", "no roots"},
		{"CCA with the test key", "cca", "cca/cca_token.cbor --root cca/cca_platform.pub", now, refused, "simulated, measurement, personalization", ""},
		{"CCA with the test key as JWK", "cca", "cca/cca-example-token.cbor --root cca/cpak-pub.json", now, refused, "simulated", ""},

		{"Nitro while it was valid", "nitro", "nitro/valid-attestation-doc-bytes", "2022-10-13T08:58:02Z", accepted, "", ""},
		{"Nitro expired", "nitro", "nitro/valid-attestation-doc-bytes", now, notGenuine, "", "not valid at this time"},
		{"Nitro in debug mode", "nitro", "nitro/debug-mode-attestation-doc-bytes", "2022-10-12T13:50:06Z", refused, "debug, measurement", ""},

		{"TPM without endorsement", "tpm", "tpm/trustee-tpm_evidence.json", now, notGenuine, "", "no roots"},
		{"TPM pinned", "tpm", "tpm/trustee-tpm_evidence.json --root OWN/ak.pem", now, accepted, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"verify", "--json", "--policy", policy, "--at", tt.at}
			for _, arg := range strings.Fields(tt.args) {
				for i, file := range strings.Split(arg, ",") {
					if !strings.HasPrefix(file, "-") && !strings.HasPrefix(file, "OWN/") {
						file = filepath.Join(dir, file)
					}
					if strings.HasPrefix(file, "OWN/") {
						file = pinAK(t, own)
					}
					if i > 0 {
						args = append(args, "--collateral")
					}
					args = append(args, file)
				}
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(b.bin, "redoubt"), args...)
			cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+own)
			out, err := cmd.Output()
			if status := cmd.ProcessState.ExitCode(); status != tt.status {
				var stderr []byte
				if exit := new(exec.ExitError); errors.As(err, &exit) {
					stderr = exit.Stderr
				}
				t.Fatalf("status %d, want %d\n%s%s", status, tt.status, out, stderr)
			}
			var got struct {
				Verdict, Summary, Kind string
				Facts                  []struct{ Name, Value string }
				Rules                  []attest.Rule
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			want := map[int]string{accepted: "accepted", refused: "refused", notGenuine: "not genuine"}[tt.status]
			if got.Verdict != want || got.Kind != tt.kind || !strings.Contains(got.Summary, tt.text) {
				t.Errorf("%s evidence %s: %s; want %s and %q", got.Kind, got.Verdict, got.Summary, want, tt.text)
			}
			var rules []string
			for _, rule := range got.Rules {
				if !rule.OK {
					rules = append(rules, rule.Name)
				}
			}
			slices.Sort(rules)
			wantRules := strings.Split(tt.rules, ", ")
			slices.Sort(wantRules)
			if strings.Join(rules, ", ") != strings.Join(wantRules, ", ") {
				t.Errorf("refused by %q, want %q", rules, wantRules)
			}
			if (len(got.Facts) == 0) != (tt.status == notGenuine) {
				t.Errorf("%d facts", len(got.Facts))
			}
		})
	}
}

// pinAK writes the key of the TPM's evidence to a file, as somebody would who has
// seen to it by other means that it is a TPM's.
func pinAK(t *testing.T, dir string) string {
	t.Helper()
	var e struct {
		Key []byte `json:"ak_public"`
	}
	if err := json.Unmarshal(vectors.Read(t, "tpm/trustee-tpm_evidence.json"), &e); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ak.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: e.Key}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
