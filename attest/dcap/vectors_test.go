package dcap_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

func vector(t testing.TB, name string) []byte {
	t.Helper()
	data := vectors.Read(t, name)
	if strings.HasSuffix(name, ".hex") {
		var err error
		if data, err = hex.DecodeString(strings.TrimSpace(string(data))); err != nil {
			t.Fatal(name, err)
		}
	}
	return data
}

// collateral sorts captured files by what is in them.
func collateral(t testing.TB, names ...string) dcap.Collateral {
	t.Helper()
	var c dcap.Collateral
	for _, name := range names {
		data := vector(t, name)
		switch {
		case strings.HasSuffix(name, "_collateral.json"):
			addPhala(t, &c, data)
		case strings.HasSuffix(name, ".json") && bytes.Contains(data, []byte(`"tcbInfo"`)):
			c.TCBInfos = append(c.TCBInfos, data)
		case strings.HasSuffix(name, ".json"):
			c.QEIdentities = append(c.QEIdentities, data)
		case strings.HasSuffix(name, ".pem"):
			c.Certificates = append(c.Certificates, chain(data)...)
		default:
			c.CRLs = append(c.CRLs, data)
		}
	}
	return c
}

// chain takes a PEM chain apart.
func chain(data []byte) (ders [][]byte) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		ders = append(ders, block.Bytes)
	}
	return ders
}

// addPhala reads a file where documents and signatures are apart.
func addPhala(t testing.TB, c *dcap.Collateral, data []byte) {
	t.Helper()
	var f map[string]string
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"} {
		c.Certificates = append(c.Certificates, chain([]byte(f[name]))...)
	}
	for _, name := range []string{"root_ca_crl", "pck_crl"} {
		der, err := hex.DecodeString(f[name])
		if err != nil {
			t.Fatal(err)
		}
		c.CRLs = append(c.CRLs, der)
	}
	c.TCBInfos = append(c.TCBInfos, []byte(`{"tcbInfo":`+f["tcb_info"]+`,"signature":"`+f["tcb_info_signature"]+`"}`))
	c.QEIdentities = append(c.QEIdentities, []byte(`{"enclaveIdentity":`+f["qe_identity"]+`,"signature":"`+f["qe_identity_signature"]+`"}`))
}

func date(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

var intel = []dcap.Root{dcap.IntelRoot()}

// A capture is a quote with its collateral, at a time when it was good.
type capture struct {
	quote string
	files []string
	at    string
}

func (c capture) load(t testing.TB) ([]byte, dcap.Collateral, time.Time) {
	t.Helper()
	return vector(t, c.quote), collateral(t, c.files...), date(c.at)
}

// The captures that verify.
var (
	oasisTDX  = capture{"tdx/oasis-quote_v4_tdx_ecdsa_p256.bin", []string{"tdx/oasis-tcb_info_v3_tdx_fmspc_C0806F000000.json", "tdx/oasis-qe_identity_v2_tdx2.json", "tdx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem"}, "2024-09-02T12:00:00Z"}
	phala     = capture{"tdx/phala-tdx_quote", []string{"tdx/phala-tdx_quote_collateral.json"}, "2025-06-25T00:00:00Z"}
	automata4 = capture{"tdx/automata-v4.hexdat", []string{"tdx/automata-collateral/tcbinfov3_00806f050000.json", "tdx/automata-collateral/qeidentityv2_apiv4.json", "tdx/automata-collateral/tcb_signing_cert.pem", "tdx/automata-collateral/Intel_SGX_Provisioning_Certification_RootCA.pem", "tdx/automata-collateral/intel_root_ca_crl.der", "tdx/automata-collateral/pck_platform_crl.der"}, "2025-02-20T00:00:00Z"}
	gtg5      = capture{"tdx/gtg-quote_v5_sample.dat", []string{"tdx/ars-collateral/tcb_info_90c06f000000.json", "tdx/ars-collateral/td_qe_identity.json", "tdx/ars-collateral/tcb_signing_chain.pem", "tdx/gtg-pckcrl", "tdx/gtg-rootcrl.der"}, "2026-03-20T00:00:00Z"}
	trustee4  = capture{"tdx/trustee-tdx_quote_4.dat", []string{"tdx/ars-collateral/tcb_info_50806f000000.json", "tdx/ars-collateral/td_qe_identity.json", "tdx/ars-collateral/tcb_signing_chain.pem", "tdx/ars-collateral/qe_identity_signing_chain.pem", "tdx/ars-collateral/pck_crl_platform.der", "tdx/ars-collateral/root_ca_crl.der"}, "2026-03-20T00:00:00Z"}
	oasisSGX  = capture{"sgx/oasis-quote_v3_ecdsa_p256_pck_chain.bin", []string{"sgx/oasis-tcb_info_v3_fmspc_00606A000000.json", "sgx/oasis-qe_identity_v2.json", "sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs.pem"}, "2022-12-20T00:00:00Z"}
	automata3 = capture{"sgx/automata-quotev3.hex", []string{"sgx/sgx_tcbinfov3_00606a000000.json", "sgx/sgx_qeidentity_v4.json", "tdx/ars-collateral/tcb_signing_chain.pem"}, "2025-08-20T00:00:00Z"}
)

// now is when the certificates of newer captures are still valid.
var now = date("2026-11-21T00:00:00Z")

// TestVectors is the verdicts of the vectors' README.md for what verifies.
func TestVectors(t *testing.T) {
	t.Parallel()
	trailing, occlum := oasisTDX, automata3
	trailing.quote, trailing.at = "tdx/oasis-quote_v4_tdx_ecdsa_p256_trailing.bin", "2024-09-25T00:00:00Z"
	occlum.quote = "sgx/trustee-occlum_quote.dat"
	old := []string{"INTEL-SA-00586", "INTEL-SA-00614", "INTEL-SA-00615", "INTEL-SA-00657", "INTEL-SA-00730", "INTEL-SA-00738", "INTEL-SA-00767", "INTEL-SA-00828", "INTEL-SA-00837", "INTEL-SA-00960"}
	older := []string{"INTEL-SA-00837", "INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986", "INTEL-SA-01010", "INTEL-SA-01036", "INTEL-SA-01076", "INTEL-SA-01079", "INTEL-SA-01099", "INTEL-SA-01103", "INTEL-SA-01111"}
	all := []string{"Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", "Intel SGX TCB Signing"}
	for _, tt := range []struct {
		capture
		version                           uint16
		body                              dcap.BodyType
		status, platform, module, current dcap.Status
		advisories                        []string
		tcbDate, fmspc                    string
		number                            uint32
		debug                             bool
		unchecked                         []string
	}{
		{oasisTDX, 4, dcap.BodyTD10, dcap.UpToDate, dcap.UpToDate, dcap.UpToDate, "", nil, "2024-03-13", "c0806f000000", 17, false, all},
		{trailing, 4, dcap.BodyTD10, dcap.UpToDate, dcap.UpToDate, dcap.UpToDate, "", nil, "2024-03-13", "c0806f000000", 17, false, all},
		{phala, 4, dcap.BodyTD10, dcap.UpToDate, dcap.UpToDate, dcap.UpToDate, "", nil, "2024-03-13", "b0c06f000000", 17, false, nil},
		{automata4, 4, dcap.BodyTD10, dcap.OutOfDate, dcap.OutOfDate, dcap.UpToDate, "", []string{"INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986"}, "2023-08-09", "00806f050000", 17, false, nil},
		{gtg5, 5, dcap.BodyTD15, dcap.UpToDate, dcap.UpToDate, dcap.UpToDate, dcap.UpToDate, nil, "2024-11-13", "90c06f000000", 18, false, nil},
		{trustee4, 4, dcap.BodyTD10, dcap.OutOfDate, dcap.OutOfDate, "", "", older, "2023-02-15", "50806f000000", 18, true, nil},
		{oasisSGX, 3, dcap.BodySGX, dcap.SWHardeningNeeded, dcap.SWHardeningNeeded, "", "", []string{"INTEL-SA-00615", "INTEL-SA-00657"}, "2022-08-10", "00606a000000", 13, false, all},
		{automata3, 3, dcap.BodySGX, dcap.SWHardeningNeeded, dcap.SWHardeningNeeded, "", "", []string{"INTEL-SA-00615"}, "2024-03-13", "00606a000000", 17, false, all},
		{occlum, 3, dcap.BodySGX, dcap.OutOfDate, dcap.OutOfDate, "", "", old, "2021-11-10", "00606a000000", 17, true, all},
	} {
		t.Run(tt.quote, func(t *testing.T) {
			t.Parallel()
			quote, c, at := tt.load(t)
			claims, err := dcap.Verify(quote, c, intel, nil, at)
			if err != nil {
				t.Fatal(err)
			}
			tee := dcap.TDX
			if tt.body == dcap.BodySGX {
				tee = dcap.SGX
			}
			if claims.Root != "Intel SGX Root CA of Intel Corporation" || claims.Dev || claims.TEE != tee || claims.Version != tt.version || claims.BodyType != tt.body ||
				(claims.SGX != nil) == (claims.TD != nil) || (claims.SGX != nil) != (tee == dcap.SGX) {
				t.Errorf("root %q, dev %v, %s version %d, body %d", claims.Root, claims.Dev, claims.TEE, claims.Version, claims.BodyType)
			}
			if claims.Status != tt.status || claims.PlatformStatus != tt.platform || claims.ModuleStatus != tt.module || claims.CurrentStatus != tt.current || claims.QEStatus != dcap.UpToDate {
				t.Errorf("status %s, platform %s, module %q, QE %s, now %q", claims.Status, claims.PlatformStatus, claims.ModuleStatus, claims.QEStatus, claims.CurrentStatus)
			}
			if !slices.Equal(claims.Advisories, tt.advisories) || claims.TCBDate.Format(time.DateOnly) != tt.tcbDate || claims.TCBEvaluationDataNumber != tt.number {
				t.Errorf("advisories %q, date %s, number %d", claims.Advisories, claims.TCBDate, claims.TCBEvaluationDataNumber)
			}
			if claims.Debug() != tt.debug || hex.EncodeToString(claims.PCK.FMSPC[:]) != tt.fmspc || claims.PCK.PPID == [16]byte{} || !claims.PCK.PlatformCA {
				t.Errorf("debug %v, PCK %+v", claims.Debug(), claims.PCK)
			}
			if !slices.Equal(claims.Unchecked, tt.unchecked) || len(claims.Collateral) != 4-(len(tt.unchecked)+1)/2 {
				t.Errorf("unchecked %q, collateral %+v", claims.Unchecked, claims.Collateral)
			}
			for _, used := range claims.Collateral {
				if used.Name == "" || used.Issued.After(at) || !used.Expires.After(used.Issued) {
					t.Errorf("used %+v", used)
				}
			}
		})
	}
}

// TestVectorsFields reads fields that other tools read from the same captures.
func TestVectorsFields(t *testing.T) {
	t.Parallel()
	q, err := dcap.ParseQuote(vector(t, gtg5.quote))
	if err != nil {
		t.Fatal(err)
	}
	at := q.TD.Attributes
	if at.Debug() || !at.SeptVEDisable() || at.Migratable() || at.PKS() || at.KL() || at.Perfmon() || at.LASS() || at.Reserved() != 0 || q.TD.XFAM != 0x602E7 {
		t.Errorf("attributes %x, XFAM %x", at, q.TD.XFAM)
	}
	if q.TD.TEETCBSVN != [16]byte{0x0b, 1, 4} || q.TD.TEETCBSVN2 != [16]byte{0x0d, 1, 4} || q.QEReport.ISVProdID != 2 {
		t.Errorf("TEE_TCB_SVN %x, then %x, QE product %d", q.TD.TEETCBSVN, q.TD.TEETCBSVN2, q.QEReport.ISVProdID)
	}
	q, err = dcap.ParseQuote(vector(t, "sgx/trustee-occlum_quote.dat"))
	if err != nil {
		t.Fatal(err)
	}
	a := q.SGX.Attributes
	if !a.Init() || !a.Debug() || !a.Mode64() || a.ProvisionKey() || a.EINITTokenKey() || a.CET() || a.KSS() || a.AEXNotify() || a.Reserved() != 0 || a.XFRM() != 0xE7 || q.SGX.MiscSelect != 1 {
		t.Errorf("attributes %x, MISCSELECT %x", a, q.SGX.MiscSelect)
	}
	if q.QESVN != 8 || q.PCESVN != 13 || q.QEReport.ISVProdID != 1 {
		t.Errorf("QE SVN %d, PCE SVN %d, QE product %d", q.QESVN, q.PCESVN, q.QEReport.ISVProdID)
	}
	certs, err := q.PCKCertificates()
	if err != nil || len(certs) != 3 || certs[0].Subject.CommonName != "Intel SGX PCK Certificate" {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
}

// TestVectorsRefused is the verdicts of the vectors' README.md for what does not
// verify, and captures with what does not belong to them.
func TestVectorsRefused(t *testing.T) {
	t.Parallel()
	bad, eppid, swapped := oasisSGX, oasisSGX, automata3
	bad.files = slices.Concat(oasisSGX.files[:2], []string{"sgx/oasis-tcb_info_v3_fmspc_00606A000000_certs_bad.pem"})
	eppid.quote = "sgx/oasis-quote_v3_ecdsa_p256_eppid.bin"
	outOfDate := capture{"tdx/oasis-quote_v4_tdx_ecdsa_p256_out_of_date.bin", []string{"tdx/oasis-tcb_info_v3_tdx_fmspc_50806F000000.json", "tdx/oasis-qe_identity_v2_tdx.json", oasisTDX.files[2]}, "2023-07-01T00:00:00Z"}
	occlum := capture{"sgx/trustee-occlum_quote.dat", []string{"sgx/trustee-tcbInfo.json", "sgx/trustee-enclaveIdentity.json", gtg5.files[2]}, "2025-11-01T00:00:00Z"}
	swapped.files = slices.Concat(automata3.files[:1], gtg5.files[1:3])
	swapped.at = "2026-03-20T00:00:00Z"
	at := func(c capture, at string) capture { c.at = at; return c }
	without := func(c capture, i int) capture {
		c.files = slices.Delete(slices.Clone(c.files), i, i+1)
		return c
	}
	for _, tt := range []struct {
		name string
		capture
		want error
		text string
	}{
		{"collateral by the wrong chain", bad, dcap.ErrChain, "Intel SGX TCB Signing"},
		{"encrypted PPID", eppid, dcap.ErrCertData, "type 3 has only an ID of the platform and can't be verified offline: no PCK chain"},
		{"no level", outOfDate, dcap.ErrTCBLevel, "less than the lowest of 2 levels"},
		{"TDX collateral for SGX", occlum, dcap.ErrCollateral, "TCB info is for TDX, quote is SGX"},
		{"TDX QE identity for SGX", swapped, dcap.ErrCollateral, `QE identity is of "TD_QE", quote is SGX and needs QE`},
		{"no TCB info", without(gtg5, 0), dcap.ErrCollateral, "no TCB info for TDX, FMSPC 90c06f000000, PCE-ID 0000: none was given"},
		{"no QE identity", without(gtg5, 1), dcap.ErrCollateral, "no QE identity for TDX: none was given"},
		{"no TCB signing certificate", without(gtg5, 2), dcap.ErrChain, `no certificate "Intel SGX TCB Signing"`},
		{"TCB signing certificate expired", at(automata4, "2026-11-21T00:00:00Z"), dcap.ErrTime, `"Intel SGX TCB Signing" is valid from`},
		{"PCK certificate expired", at(oasisSGX, "2035-01-01T00:00:00Z"), dcap.ErrTime, `"Intel SGX PCK`},
		{"PCK certificate of the future", at(phala, "2020-01-01T00:00:00Z"), dcap.ErrTime, `"Intel SGX PCK Certificate" is valid from`},
		{"revocation list of the future", at(trustee4, "2026-03-16T22:34:04Z"), pki.ErrCRL, "2026-03-16T22:34:05Z"},
		{"TCB info of the future", at(oasisTDX, "2024-09-02T07:25:11Z"), dcap.ErrTime, "TCB info for TDX c0806f000000 was issued at 2024-09-02T07:25:12Z"},
		{"QE identity of the future", at(oasisSGX, "2022-12-10T00:00:00Z"), dcap.ErrTime, "issued"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			quote, c, at := tt.load(t)
			claims, err := dcap.Verify(quote, c, intel, nil, at)
			if claims != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("claims %v, error %v, want %v: %s", claims != nil, err, tt.want, tt.text)
			}
		})
	}
}

// TestVectorsCrossed gives each quote the collateral of each other.
func TestVectorsCrossed(t *testing.T) {
	t.Parallel()
	captures := []capture{oasisTDX, phala, automata4, gtg5, trustee4, oasisSGX, automata3}
	var seen pki.Seen
	for _, quote := range captures {
		for _, other := range captures {
			if quote.quote == other.quote || quote.quote == oasisSGX.quote && other.quote == automata3.quote {
				continue
			}
			raw, c, at := capture{quote.quote, other.files, other.at}.load(t)
			claims, err := dcap.Verify(raw, c, intel, &seen, at)
			if claims != nil || !errors.Is(err, dcap.ErrCollateral) && !errors.Is(err, dcap.ErrTime) { // some PCKs are younger
				t.Errorf("%s with the collateral of %s: %v", quote.quote, other.quote, err)
			}
		}
	}
}

// TestVectorsTogether gives captures all the collateral there is: what is for
// them is used, of several the newest, and certificates that have expired do not
// matter beside others of the same name.
func TestVectorsTogether(t *testing.T) {
	t.Parallel()
	var all dcap.Collateral
	for _, c := range []capture{oasisTDX, automata4, phala, oasisSGX, automata3, trustee4, gtg5, {files: []string{
		"tdx/oasis-tcb_info_v3_tdx_fmspc_50806F000000.json", "tdx/oasis-qe_identity_v2_tdx.json", "sgx/trustee-tcbInfo.json", "sgx/trustee-enclaveIdentity.json"}}} {
		c := collateral(t, c.files...)
		all.Certificates = append(all.Certificates, c.Certificates...)
		all.CRLs = append(all.CRLs, c.CRLs...)
		all.TCBInfos = append(all.TCBInfos, c.TCBInfos...)
		all.QEIdentities = append(all.QEIdentities, c.QEIdentities...)
	}
	for _, c := range []capture{gtg5, trustee4} {
		quote, own, at := c.load(t)
		for range 2 {
			want, err := dcap.Verify(quote, own, intel, nil, at)
			if err != nil {
				t.Fatal(err)
			}
			claims, err := dcap.Verify(quote, all, intel, nil, at)
			if err != nil {
				t.Fatal(err)
			}
			want.Collateral, claims.Collateral = nil, nil // newer lists
			if !reflect.DeepEqual(claims, want) {
				t.Errorf("claims %+v, want %+v", claims, want)
			}
			slices.Reverse(all.TCBInfos)
			slices.Reverse(all.QEIdentities)
			slices.Reverse(all.Certificates)
			slices.Reverse(all.CRLs)
		}
	}

	// One that concerns the quote and is not signed is an error, wherever it is.
	quote, c, at := gtg5.load(t)
	forged := bytes.Replace(c.TCBInfos[0], []byte("OutOfDate"), []byte("UpToDate"), 1)
	for _, infos := range [][][]byte{{forged, c.TCBInfos[0]}, {c.TCBInfos[0], forged}} {
		bad := c
		bad.TCBInfos = infos
		if _, err := dcap.Verify(quote, bad, intel, nil, at); !errors.Is(err, dcap.ErrTCBInfo) {
			t.Errorf("forged beside genuine TCB info: %v", err)
		}
	}
}

// TestVectorsExpired verifies captures when their collateral has expired: that is
// reported.
func TestVectorsExpired(t *testing.T) {
	t.Parallel()
	for _, c := range []capture{phala, gtg5, trustee4, automata3} {
		quote, c, _ := c.load(t)
		claims, err := dcap.Verify(quote, c, intel, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(claims.Collateral, func(u pki.Used) bool { return u.Expires.Before(now) }) {
			t.Errorf("used %+v", claims.Collateral)
		}
	}
}

// TestVectorsRoundTrip encodes what was decoded.
func TestVectorsRoundTrip(t *testing.T) {
	t.Parallel()
	n := 0
	dir := vectors.Dir(t)
	for _, pattern := range []string{"sgx/*quote*", "tdx/*quote*", "tdx/*.hexdat"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			name, err := filepath.Rel(dir, file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(name, "eppid") || strings.HasSuffix(name, ".json") {
				continue
			}
			data := vector(t, name)
			q, err := dcap.ParseQuote(data)
			if err != nil {
				t.Fatal(name, err)
			}
			checkEncode(t, q, data)
			n++
		}
	}
	if n < 9 {
		t.Errorf("only %d quotes", n)
	}
}

// checkEncode checks that q encodes to data, but for the padding.
func checkEncode(t *testing.T, q *dcap.Quote, data []byte) {
	t.Helper()
	rest, ok := bytes.CutPrefix(data, q.Encode())
	if !ok || len(bytes.Trim(rest, "\x00")) != 0 {
		t.Errorf("encoding gives other bytes: %x, want %x", q.Encode(), data)
	}
	if !bytes.HasPrefix(data, q.Signed()) {
		t.Error("the signed part is not at the front")
	}
}
