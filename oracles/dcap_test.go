package oracles

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// dcapSets is the captured collateral.
var dcapSets = map[string][]string{
	"oasis-c0806f":  {"tdx/oasis-tcb_info_v3_tdx_fmspc_C0806F000000.json", "tdx/oasis-qe_identity_v2_tdx2.json", "tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem"},
	"oasis-50806f":  {"tdx/oasis-tcb_info_v3_tdx_fmspc_50806F000000.json", "tdx/oasis-qe_identity_v2_tdx.json", "tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem"},
	"phala":         {"tdx/phala-tdx_quote_collateral.json"},
	"automata-tdx":  automataTDX,
	"ars-90c06f":    append([]string{"tdx/ars-collateral/tcb_info_90c06f000000.json"}, arsTDX...),
	"ars-50806f":    append([]string{"tdx/ars-collateral/tcb_info_50806f000000.json"}, arsTDX...),
	"gtg-crls":      {"tdx/ars-collateral/tcb_info_90c06f000000.json", "tdx/ars-collateral/td_qe_identity.json", "tdx/ars-collateral/tcb_signing_chain.pem", "tdx/gtg-pckcrl", "tdx/gtg-rootcrl.der"},
	"oasis-sgx":     {"sgx/oasis-tcb_info_v3_fmspc_00606A000000.json", "sgx/oasis-qe_identity_v2.json", "sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem"},
	"oasis-sgx-bad": {"sgx/oasis-tcb_info_v3_fmspc_00606A000000.json", "sgx/oasis-qe_identity_v2.json", "sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs_bad.pem"},
	"automata-sgx":  {"sgx/sgx_tcbinfov3_00606a000000.json", "sgx/sgx_qeidentity_v4.json", "tdx/ars-collateral/tcb_signing_chain.pem"},
	"trustee-sgx":   {"sgx/trustee-tcbInfo.json", "sgx/trustee-enclaveIdentity.json", "tdx/ars-collateral/tcb_signing_chain.pem"},
}

var (
	automataTDX = []string{"tdx/automata-collateral/tcbinfov3_00806f050000.json", "tdx/automata-collateral/qeidentityv2_apiv4.json", "tdx/automata-collateral/tcb_signing_cert.pem",
		"tdx/automata-collateral/Intel_SGX_Provisioning_Certification_RootCA.pem", "tdx/automata-collateral/intel_root_ca_crl.der", "tdx/automata-collateral/pck_platform_crl.der"}
	arsTDX = []string{"tdx/ars-collateral/td_qe_identity.json", "tdx/ars-collateral/tcb_signing_chain.pem", "tdx/ars-collateral/pck_crl_platform.der", "tdx/ars-collateral/root_ca_crl.der"}
)

// A dcapQuote is a captured quote, with its collateral and the time to verify it
// at.
type dcapQuote struct {
	name, file, technology, set string
	at                          time.Time
	debug                       bool
}

var dcapQuotes = []dcapQuote{
	{"oasis-v4", "tdx/oasis-quote_v4_tdx_ecdsa_p256.bin", attest.TDX, "oasis-c0806f", time.Date(2024, 9, 2, 12, 0, 0, 0, time.UTC), false},
	{"oasis-v4-old", "tdx/oasis-quote_v4_tdx_ecdsa_p256_out_of_date.bin", attest.TDX, "oasis-50806f", time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC), false},
	{"oasis-v4-padded", "tdx/oasis-quote_v4_tdx_ecdsa_p256_trailing.bin", attest.TDX, "oasis-c0806f", time.Date(2024, 9, 25, 0, 0, 0, 0, time.UTC), false},
	{"phala-v4", "tdx/phala-tdx_quote", attest.TDX, "phala", time.Date(2025, 6, 25, 0, 0, 0, 0, time.UTC), false},
	{"automata-v4", "tdx/automata-v4.hexdat", attest.TDX, "automata-tdx", time.Date(2025, 2, 20, 0, 0, 0, 0, time.UTC), false},
	{"gtg-v5", "tdx/gtg-quote_v5_sample.dat", attest.TDX, "ars-90c06f", time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC), false},
	{"trustee-v4", "tdx/trustee-tdx_quote_4.dat", attest.TDX, "ars-50806f", time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC), true},
	{"oasis-v3", "sgx/oasis-quote_v3_ecdsa_p256_pck_chain.bin", attest.SGX, "oasis-sgx", time.Date(2022, 12, 20, 0, 0, 0, 0, time.UTC), false},
	{"oasis-v3-eppid", "sgx/oasis-quote_v3_ecdsa_p256_eppid.bin", attest.SGX, "oasis-sgx", time.Date(2022, 12, 20, 0, 0, 0, 0, time.UTC), false},
	{"automata-v3", "sgx/automata-quotev3.hex", attest.SGX, "automata-sgx", time.Date(2025, 8, 20, 0, 0, 0, 0, time.UTC), false},
	{"occlum-v3", "sgx/trustee-occlum_quote.dat", attest.SGX, "trustee-sgx", time.Date(2025, 8, 20, 0, 0, 0, 0, time.UTC), true},
}

// quoteOf reads a captured quote. One is in hex.
func quoteOf(tb testing.TB, q dcapQuote) []byte {
	tb.Helper()
	data := vector(tb, q.file)
	if q.name != "automata-v3" {
		return data
	}
	raw, err := hex.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// pckChain returns the certificates that are in a quote: the PCK and its issuers.
func pckChain(quote []byte) [][]byte {
	var ders [][]byte
	if start := bytes.Index(quote, []byte("-----BEGIN CERTIFICATE-----")); start >= 0 {
		for block, rest := pem.Decode(quote[start:]); block != nil; block, rest = pem.Decode(rest) {
			ders = append(ders, block.Bytes)
		}
	}
	return ders
}

// A dcapOracle gives a verdict on a quote with collateral.
type dcapOracle func(quote []byte, c attest.Collateral, at time.Time) verdict

// dcapCases compares Redoubt with theirs over quotes: as captured, crossed,
// changed, and at several times. prefix is for their names.
func dcapCases(t *testing.T, r *record, theirs dcapOracle, prefix string, quotes func(dcapQuote) bool) {
	verifier, jobs := attest.NewVerifier(attest.Roots{DCAP: []dcap.Root{dcap.IntelRoot()}}), newPool()
	one := func(name, technology string, quote []byte, c attest.Collateral, at time.Time) {
		jobs.run(func() {
			r.add(prefix+name, dcapOurs(verifier, attest.Evidence{Type: technology, Report: quote}, c, at), theirs(quote, c, at))
		})
	}
	sets := make(map[string]attest.Collateral)
	for name, files := range dcapSets {
		sets[name] = collateralOf(t, files...)
	}
	for _, q := range dcapQuotes {
		if !quotes(q) {
			continue
		}
		quote := quoteOf(t, q)
		for name, c := range sets {
			class := "crossed"
			if name == q.set {
				class = "captured"
			}
			for _, m := range moments(q.at, pckChain(quote)...) {
				one(fmt.Sprintf("%s %s with %s, %s", class, q.name, name, m.name), q.technology, quote, c, m.at)
			}
		}
		c := sets[q.set]
		for _, part := range []struct {
			name string
			left attest.Collateral
		}{
			{"no TCB info", attest.Collateral{Certificates: c.Certificates, CRLs: c.CRLs, QEIdentities: c.QEIdentities}},
			{"no QE identity", attest.Collateral{Certificates: c.Certificates, CRLs: c.CRLs, TCBInfos: c.TCBInfos}},
			{"no CRLs", attest.Collateral{Certificates: c.Certificates, QEIdentities: c.QEIdentities, TCBInfos: c.TCBInfos}},
			{"nothing", attest.Collateral{}},
		} {
			one(fmt.Sprintf("without %s, %s", q.name, part.name), q.technology, quote, part.left, q.at)
		}
		for _, n := range []int{0, 1, 47, 48, 631, len(quote) - 1} {
			one(fmt.Sprintf("cut %s to %d", q.name, n), q.technology, quote[:n], c, q.at)
		}
		one(fmt.Sprintf("longer %s", q.name), q.technology, append(bytes.Clone(quote), 1), c, q.at)
		mutate(q.name, mutations, quote, func(what string, changed []byte) {
			one(fmt.Sprintf("changed %s, quote: %s", q.name, what), q.technology, changed, c, q.at)
		})
		for _, part := range []struct {
			name string
			of   func(*attest.Collateral) *[][]byte
		}{
			{"TCB info", func(c *attest.Collateral) *[][]byte { return &c.TCBInfos }},
			{"QE identity", func(c *attest.Collateral) *[][]byte { return &c.QEIdentities }},
			{"certificates", func(c *attest.Collateral) *[][]byte { return &c.Certificates }},
			{"CRLs", func(c *attest.Collateral) *[][]byte { return &c.CRLs }},
		} {
			for i, item := range *part.of(&c) {
				if part.name == "certificates" && !bytes.Equal(item, issuer(c, intelTCBName)) {
					continue // a copy of the root, which neither trusts
				}
				mutate(q.name+part.name+fmt.Sprint(i), mutations/2, item, func(what string, changed []byte) {
					copied := c
					list := slices.Clone(*part.of(&c))
					list[i] = changed
					*part.of(&copied) = list
					name := fmt.Sprintf("changed %s, %s %d: %s", q.name, part.name, i, what)
					one(name, q.technology, quote, copied, q.at)
					if part.name == "CRLs" {
						jobs.run(func() {
							unrelied(r, name, verifier, attest.Evidence{Type: q.technology, Report: quote}, c, copied, q.at)
						})
					}
				})
			}
		}
	}
	jobs.wait()
}

// unrelied fails the test if Redoubt accepts evidence with changed revocation
// lists and does not say that it has relied on fewer of them.
func unrelied(r *record, name string, v *attest.Verifier, ev attest.Evidence, c, changed attest.Collateral, at time.Time) {
	before, after := dcapOurs(v, ev, c, at), dcapOurs(v, ev, changed, at)
	if before.err == nil && after.err == nil && before.claims["unchecked"] == after.claims["unchecked"] {
		r.fail(name + ": accepted as if revocation had been checked")
	}
}

// dcapOurs is Redoubt's verdict, in words that the oracles share.
func dcapOurs(v *attest.Verifier, ev attest.Evidence, c attest.Collateral, at time.Time) verdict {
	got, err := v.Verify(ev, c, at)
	if err != nil {
		return verdict{err: err}
	}
	d := got.DCAP
	claims := map[string]string{
		"report data":     fmt.Sprintf("%x", got.ReportData),
		"PPID":            fmt.Sprintf("%x", got.Machine),
		"FMSPC":           fmt.Sprintf("%x", d.PCK.FMSPC),
		"PCE ID":          fmt.Sprintf("%x", d.PCK.PCEID),
		"components":      fmt.Sprintf("%x", d.PCK.Components),
		"PCE SVN":         fmt.Sprint(d.PCK.PCESVN),
		"CPU SVN":         fmt.Sprintf("%x", d.PCK.CPUSVN),
		"platform status": string(d.PlatformStatus),
		"module status":   string(d.ModuleStatus),
		"QE status":       string(d.QEStatus),
		"hardening only":  fmt.Sprint(d.PlatformStatus == dcap.UpToDate || d.PlatformStatus == dcap.SWHardeningNeeded),
		"user data":       fmt.Sprintf("%x", d.UserData),
		"unchecked":       strings.Join(slices.Sorted(slices.Values(got.Unchecked)), ", "),
	}
	if td := d.TD; td != nil {
		claims["MRTD"] = fmt.Sprintf("%x", got.Measurement)
		claims["TEE TCB SVN"] = fmt.Sprintf("%x", td.TEETCBSVN)
		claims["MRSEAM"] = fmt.Sprintf("%x", td.MRSEAM)
		claims["MRSIGNERSEAM"] = fmt.Sprintf("%x", td.MRSignerSEAM)
		claims["attributes"] = fmt.Sprintf("%#x", uint64(td.Attributes))
		claims["XFAM"] = fmt.Sprintf("%#x", td.XFAM)
		claims["MRCONFIGID"] = fmt.Sprintf("%x", td.MRConfigID)
		claims["MROWNER"] = fmt.Sprintf("%x", td.MROwner)
		claims["MROWNERCONFIG"] = fmt.Sprintf("%x", td.MROwnerConfig)
		claims["RTMRs"] = fmt.Sprintf("%x", td.RTMR)
	} else {
		claims["MRENCLAVE"] = fmt.Sprintf("%x", got.Measurement)
		claims["MRSIGNER"] = fmt.Sprintf("%x", d.SGX.MRSigner)
	}
	return verdict{claims: claims}
}

// issuer returns the certificate of this name in c, or else in more.
func issuer(c attest.Collateral, name string, more ...[]byte) []byte {
	for _, der := range slices.Concat(c.Certificates, more) {
		if cert, err := x509.ParseCertificate(der); err == nil && cert.Subject.CommonName == name {
			return der
		}
	}
	return nil
}

// list returns the revocation list of the issuer of this name, or nil.
func list(c attest.Collateral, name string) []byte {
	for _, der := range c.CRLs {
		if crl, err := x509.ParseRevocationList(der); err == nil && crl.Issuer.CommonName == name {
			return der
		}
	}
	return nil
}

// The names of Intel's certificates.
const (
	intelRootName    = "Intel SGX Root CA"
	intelTCBName     = "Intel SGX TCB Signing"
	intelPlatformCA  = "Intel SGX PCK Platform CA"
	intelProcessorCA = "Intel SGX PCK Processor CA"
)

// first returns the first of a list, or nil.
func first(items [][]byte) []byte {
	if len(items) == 0 {
		return nil
	}
	return items[0]
}
