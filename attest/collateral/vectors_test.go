package collateral_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// counts is how many certificates, CRLs, TCB infos and QE identities there are.
type counts [4]int

func count(c attest.Collateral) counts {
	return counts{len(c.Certificates), len(c.CRLs), len(c.TCBInfos), len(c.QEIdentities)}
}

// vectorFiles is every file of collateral that was captured.
var vectorFiles = map[string]counts{
	"roots/amd-genoa.ask-ark-asvk.pem": {3},
	"roots/amd-milan.ask-ark-asvk.pem": {3},
	"roots/amd-turin.ask-ark-asvk.pem": {3},
	"roots/aws-nitro-root.pem":         {1},
	"roots/intel-sgx-root.der":         {1},

	"snp/ars-genoa-v5.vcek.der":               {1},
	"snp/gsg-milan-v2.vcek.der":               {1},
	"snp/ms-milan.ask.pem":                    {1},
	"snp/ms-milan.vcek.pem":                   {1},
	"snp/trustee-neg-vcek-invalid-legacy.der": {1},
	"snp/trustee-neg-vcek-invalid-new.der":    {1},
	"snp/trustee-vcek.vcek.der":               {1},
	"snp/trustee-vlek.vlek.der":               {1},
	"snp/veraison-tsm.ark.pem":                {1},
	"snp/veraison-tsm.ask.pem":                {1},
	"snp/veraison-tsm.auxblob.bin":            {3},
	"snp/veraison-tsm.ek.pem":                 {1},
	"snp/virtee-milan.vcek.der":               {1},
	"snp/virtee-turin.vcek.der":               {1},

	"sgx/oasis-qe_identity_v2.json":                          {0, 0, 0, 1},
	"sgx/oasis-tcb_info_v3_fmspc_00606A000000.json":          {0, 0, 1},
	"sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem":     {2},
	"sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs_bad.pem": {2},
	"sgx/sgx_qeidentity_v4.json":                             {0, 0, 0, 1},
	"sgx/sgx_tcbinfov3_00606a000000.json":                    {0, 0, 1},
	"sgx/trustee-enclaveIdentity.json":                       {0, 0, 0, 1},
	"sgx/trustee-tcbInfo.json":                               {0, 0, 1},

	"tdx/gtg-pckcrl":                                                          {0, 1},
	"tdx/gtg-rootcrl.der":                                                     {0, 1},
	"tdx/oasis-qe_identity_v2_tdx.json":                                       {0, 0, 0, 1},
	"tdx/oasis-qe_identity_v2_tdx2.json":                                      {0, 0, 0, 1},
	"tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem":                      {2},
	"tdx/oasis-tcb_info_v3_tdx_fmspc_50806F000000.json":                       {0, 0, 1},
	"tdx/oasis-tcb_info_v3_tdx_fmspc_C0806F000000.json":                       {0, 0, 1},
	"tdx/phala-tdx_quote_collateral.json":                                     {3, 2, 1, 1},
	"tdx/ars-collateral/pck_crl_platform.der":                                 {0, 1},
	"tdx/ars-collateral/qe_identity_signing_chain.pem":                        {2},
	"tdx/ars-collateral/root_ca_crl.der":                                      {0, 1},
	"tdx/ars-collateral/tcb_info_50806f000000.json":                           {0, 0, 1},
	"tdx/ars-collateral/tcb_info_90c06f000000.json":                           {0, 0, 1},
	"tdx/ars-collateral/tcb_signing_chain.pem":                                {2},
	"tdx/ars-collateral/td_qe_identity.json":                                  {0, 0, 0, 1},
	"tdx/automata-collateral/Intel_SGX_Provisioning_Certification_RootCA.pem": {1},
	"tdx/automata-collateral/intel_root_ca_crl.der":                           {0, 1},
	"tdx/automata-collateral/pck_platform_crl.der":                            {0, 1},
	"tdx/automata-collateral/qeidentityv2_apiv4.json":                         {0, 0, 0, 1},
	"tdx/automata-collateral/tcb_signing_cert.pem":                            {2},
	"tdx/automata-collateral/tcbinfov3_00806f050000.json":                     {0, 0, 1},
}

// vectorOthers is every file there that is no collateral, with what the error
// says of it.
var vectorOthers = map[string]string{
	"snp/ms-milan.report.bin":                     "SEV-SNP report",
	"sgx/oasis-quote_v3_ecdsa_p256_pck_chain.bin": "quote",
	"sgx/oasis-quote_v3_ecdsa_p256_eppid.bin":     "quote",
	"sgx/automata-quotev3.hex":                    "looks like text",
	"tdx/oasis-quote_v4_tdx_ecdsa_p256.bin":       "quote",
	"tdx/gtg-quote_v5_sample.dat":                 "quote",
	"tdx/automata-v4.hexdat":                      "quote",
	"cca/cca_token.cbor":                          "binary data",
	"cca/cca_platform.pub":                        `"PUBLIC KEY", must be CERTIFICATE`,
	"cca/cpak-pub.json":                           "looks like JSON, and nothing in it is known",
	"nitro/valid-attestation-doc-bytes":           "binary data",
	"tpm/trustee-tpm_evidence.json":               "looks like JSON, and nothing in it is known",
	"README.md":                                   "looks like text",
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for name, want := range vectorFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := vectors.Read(t, name)
			c, err := collateral.Parse(data)
			if err != nil || count(c) != want {
				t.Fatalf("got %v (%v), want %v", count(c), err, want)
			}
			for _, item := range slices.Concat(c.TCBInfos, c.QEIdentities) {
				if whole := bytes.TrimSpace(data); len(c.Certificates) == 0 && !bytes.Equal(item, whole) {
					t.Error("the answer's bytes changed")
				}
			}
			again, err := collateral.EncodeBundle(collateral.Bundle{Collateral: c})
			if err != nil {
				t.Fatal(err)
			}
			same(t, parse(t, again), c)
		})
	}
	for name, want := range vectorOthers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := collateral.Parse(vectors.Read(t, name))
			wantError(t, err, collateral.ErrFormat, want)
			if count(c) != (counts{}) {
				t.Errorf("got %v with an error", count(c))
			}
		})
	}
}

// TestVectorNames finds files that were captured and are in neither list.
func TestVectorNames(t *testing.T) {
	t.Parallel()
	dir := vectors.Dir(t)
	for _, pattern := range []string{"roots/*", "snp/*.pem", "snp/*.der", "snp/*auxblob*", "sgx/*.json", "sgx/*.pem", "tdx/*.json", "tdx/*.pem", "tdx/*-collateral/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, file := range files {
			name, err := filepath.Rel(dir, file)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := vectorFiles[filepath.ToSlash(name)]; !ok {
				t.Errorf("%s is not tested", name)
			}
		}
	}
}

// TestVectorSigned checks that what was signed comes out of dcap-qvl's JSON byte
// by byte.
func TestVectorSigned(t *testing.T) {
	t.Parallel()
	data := vectors.Read(t, "tdx/phala-tdx_quote_collateral.json")
	var file struct {
		Info      string `json:"tcb_info"`
		Signature string `json:"tcb_info_signature"`
		Identity  string `json:"qe_identity"`
		Second    string `json:"qe_identity_signature"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	c := parse(t, data)
	if want := `{"tcbInfo":` + file.Info + `,"signature":"` + file.Signature + `"}`; string(c.TCBInfos[0]) != want {
		t.Errorf("TCB info: got %s", c.TCBInfos[0])
	}
	if want := `{"enclaveIdentity":` + file.Identity + `,"signature":"` + file.Second + `"}`; string(c.QEIdentities[0]) != want {
		t.Errorf("QE identity: got %s", c.QEIdentities[0])
	}
}

// TestVectorFetch serves genuine answers for genuine evidence.
func TestVectorFetch(t *testing.T) {
	t.Parallel()
	vectors.Dir(t)
	for _, tt := range []struct {
		name, product, report, vcek string
	}{
		{"Milan", "Milan", "ms-milan.report.bin", "ms-milan.vcek.pem"},
		{"Milan of version 2", "Milan", "gsg-milan-v2.report.bin", "gsg-milan-v2.vcek.der"},
		{"Genoa, Zen4c", "Genoa", "ars-genoa-v5.report.bin", "ars-genoa-v5.vcek.der"},
		{"Genoa", "Genoa", "veraison-tsm.report.bin", "veraison-tsm.ek.pem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			report := vectors.Read(t, "snp/"+tt.report)
			chain := parse(t, vectors.Read(t, "roots/amd-"+strings.ToLower(tt.product)+".ask-ark-asvk.pem"))
			s := newService(t, map[string]answer{
				"/vcek/v1/" + tt.product + "/cert_chain": {body: pemOf(chain.Certificates[:2]...)},
				"/vcek/v1/" + tt.product + "/crl":        {body: newAuthority("ARK-" + tt.product).list(time.Hour)},
			})
			prefix := "/vcek/v1/" + tt.product + "/" + hexOf(report[0x1a0:0x1e0]) + "?blSPL="
			s.breakWith(prefix, body(string(vectors.Read(t, "snp/"+tt.vcek))))
			f, _ := newFetcher(t, s)
			r := fetch(t, f, attest.Evidence{Type: attest.SNP, Report: report})
			if want := (counts{3, 1}); count(r.Collateral) != want || s.count("") != 3 {
				t.Errorf("got %v with %v, want %v", count(r.Collateral), s.hits, want)
			}
		})
	}
	t.Run("TDX", func(t *testing.T) {
		t.Parallel()
		file := func(name string) []byte { return vectors.Read(t, "tdx/ars-collateral/"+name) }
		chain := url.PathEscape(string(file("tcb_signing_chain.pem")))
		s := newService(t, map[string]answer{
			"/tdx/certification/v4/tcb?fmspc=90c06f000000":          {file("tcb_info_90c06f000000.json"), map[string]string{"TCB-Info-Issuer-Chain": chain}},
			"/tdx/certification/v4/qe/identity":                     {file("td_qe_identity.json"), map[string]string{"SGX-Enclave-Identity-Issuer-Chain": chain}},
			"/sgx/certification/v4/pckcrl?ca=platform&encoding=der": {file("pck_crl_platform.der"), map[string]string{"SGX-PCK-CRL-Issuer-Chain": chain}},
			"/sgx/certification/v4/rootcacrl":                       {body: file("root_ca_crl.der")},
		})
		f, c := newFetcher(t, s)
		c.at = time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC)
		r := fetch(t, f, attest.Evidence{Type: attest.TDX, Report: vectors.Read(t, "tdx/gtg-quote_v5_sample.dat")})
		if want := (counts{2, 2, 1, 1}); count(r.Collateral) != want || len(r.Stale) != 0 {
			t.Errorf("got %v, stale %q; want %v", count(r.Collateral), r.Stale, want)
		}
	})
}
