package oracles

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	sev "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// sevReports is the captured reports, each with its certificate and the time to
// verify it at.
var sevReports = []struct {
	name, cert string
	at         time.Time
}{
	{"gsg-milan-v2", "gsg-milan-v2.vcek.der", now},
	{"virtee-milan", "virtee-milan.vcek.der", now},
	{"trustee-vcek", "trustee-vcek.vcek.der", now},
	{"trustee-vlek", "trustee-vlek.vlek.der", time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)},
	{"ms-milan", "ms-milan.vcek.pem", now},
	{"ars-genoa-v5", "ars-genoa-v5.vcek.der", now},
	{"veraison-tsm", "veraison-tsm.ek.pem", now},
}

// sevOthers is further certificates, to cross the reports with.
var sevOthers = []string{
	"trustee-neg-vcek-invalid-legacy.der", "trustee-neg-vcek-invalid-new.der", "virtee-turin.vcek.der",
	"ms-milan.ask.pem", "veraison-tsm.ask.pem", "veraison-tsm.ark.pem",
}

// sevRoots returns AMD's roots in the oracle's form.
func sevRoots(tb testing.TB) map[string][]*trust.AMDRootCerts {
	tb.Helper()
	roots := make(map[string][]*trust.AMDRootCerts)
	for _, product := range []string{"Milan", "Genoa", "Turin"} {
		root := trust.AMDRootCertsProduct(product)
		root.ProductCerts = new(trust.ProductCerts)
		rest := vector(tb, "roots/amd-"+strings.ToLower(product)+".ask-ark-asvk.pem")
		for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				tb.Fatal(err)
			}
			switch name := cert.Subject.CommonName; {
			case strings.HasPrefix(name, "ARK-"):
				root.ProductCerts.Ark = cert
			case strings.HasPrefix(name, "SEV-VLEK-"):
				root.ProductCerts.Asvk = cert
			default:
				root.ProductCerts.Ask = cert
			}
		}
		roots[product] = []*trust.AMDRootCerts{root}
	}
	return roots
}

// sevTheirs asks go-sev-guest: its verification, and its validation with a policy
// that allows all it can, which compares report and certificate.
func sevTheirs(a *spb.Attestation, roots map[string][]*trust.AMDRootCerts, at time.Time) error {
	if err := sev.SnpAttestation(a, &sev.Options{DisableCertFetching: true, TrustedRoots: roots, Now: at}); err != nil {
		return err
	}
	return validate.SnpAttestation(a, &validate.Options{
		GuestPolicy:               abi.SnpPolicy{SMT: true, MigrateMA: true, Debug: true, CXLAllowed: true},
		PermitProvisionalFirmware: true,
	})
}

// sevVerdict asks go-sev-guest about a report with one certificate.
func sevVerdict(report, cert []byte, roots map[string][]*trust.AMDRootCerts, at time.Time) verdict {
	var v verdict
	v.err = caught(func() error {
		r, err := abi.ReportToProto(report)
		if err != nil {
			return err
		}
		if len(report) != abi.ReportSize {
			return fmt.Errorf("%d bytes", len(report)) // the library leaves the length to its caller
		}
		v.claims = sevClaims(r)
		chain := &spb.CertificateChain{VcekCert: cert}
		if info, err := abi.ParseSignerInfo(r.GetSignerInfo()); err == nil && info.SigningKey == abi.VlekReportSigner {
			chain = &spb.CertificateChain{VlekCert: cert}
		}
		return sevTheirs(&spb.Attestation{Report: r, CertificateChain: chain}, roots, at)
	})
	return v
}

// sevTable asks go-sev-guest about a report with a certificate table.
func sevTable(report, table []byte, roots map[string][]*trust.AMDRootCerts, at time.Time) verdict {
	var v verdict
	v.err = caught(func() error {
		a, err := abi.ReportCertsToProto(slices.Concat(report, table))
		if err != nil {
			return err
		}
		v.claims = sevClaims(a.GetReport())
		return sevTheirs(a, roots, at)
	})
	return v
}

// sevFullTable makes a certificate table of a VCEK or VLEK and its issuers, in DER.
func sevFullTable(tb testing.TB, der []byte, roots map[string][]*trust.AMDRootCerts) []byte {
	tb.Helper()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	for _, root := range roots {
		switch c := root[0].ProductCerts; leaf.Issuer.CommonName {
		case c.Ask.Subject.CommonName:
			return (&snp.CertTable{ARK: c.Ark, ASK: c.Ask, VCEK: leaf}).Encode()
		case c.Asvk.Subject.CommonName:
			return (&snp.CertTable{ARK: c.Ark, ASK: c.Asvk, VLEK: leaf}).Encode()
		}
	}
	tb.Fatal("no root for", leaf.Issuer)
	return nil
}

func sevClaims(r *spb.Report) map[string]string {
	return map[string]string{
		"version":       fmt.Sprint(r.GetVersion()),
		"guest SVN":     fmt.Sprint(r.GetGuestSvn()),
		"policy":        fmt.Sprintf("%#x", r.GetPolicy()),
		"family ID":     fmt.Sprintf("%x", r.GetFamilyId()),
		"image ID":      fmt.Sprintf("%x", r.GetImageId()),
		"VMPL":          fmt.Sprint(r.GetVmpl()),
		"platform":      fmt.Sprintf("%#x", r.GetPlatformInfo()),
		"report data":   fmt.Sprintf("%x", r.GetReportData()),
		"measurement":   fmt.Sprintf("%x", r.GetMeasurement()),
		"host data":     fmt.Sprintf("%x", r.GetHostData()),
		"ID key":        fmt.Sprintf("%x", r.GetIdKeyDigest()),
		"author key":    fmt.Sprintf("%x", r.GetAuthorKeyDigest()),
		"report ID":     fmt.Sprintf("%x", r.GetReportId()),
		"report ID MA":  fmt.Sprintf("%x", r.GetReportIdMa()),
		"chip":          fmt.Sprintf("%x", r.GetChipId()),
		"reported TCB":  fmt.Sprintf("%x", r.GetReportedTcb()),
		"current TCB":   fmt.Sprintf("%x", r.GetCurrentTcb()),
		"committed TCB": fmt.Sprintf("%x", r.GetCommittedTcb()),
		"launch TCB":    fmt.Sprintf("%x", r.GetLaunchTcb()),
		"current":       fmt.Sprint(r.GetCurrentMajor(), r.GetCurrentMinor(), r.GetCurrentBuild()),
		"committed":     fmt.Sprint(r.GetCommittedMajor(), r.GetCommittedMinor(), r.GetCommittedBuild()),
		"launch mit":    fmt.Sprint(r.GetLaunchMitVector()),
		"current mit":   fmt.Sprint(r.GetCurrentMitVector()),
	}
}

// sevOurs is Redoubt's verdict, in the oracle's words.
func sevOurs(v *attest.Verifier, ev attest.Evidence, c attest.Collateral, at time.Time) verdict {
	got, err := v.Verify(ev, c, at)
	if err != nil {
		return verdict{err: err}
	}
	r := got.SNP.Report
	tcb := func(t snp.TCB) string {
		raw := t.Encode(got.SNP.Product)
		return fmt.Sprintf("%x", binary.LittleEndian.Uint64(raw[:]))
	}
	chip := make([]byte, abi.ChipIDSize)
	copy(chip, got.Machine)
	return verdict{claims: map[string]string{
		"version":       fmt.Sprint(r.Version),
		"guest SVN":     fmt.Sprint(r.GuestSVN),
		"policy":        fmt.Sprintf("%#x", uint64(r.Policy)),
		"family ID":     fmt.Sprintf("%x", r.FamilyID),
		"image ID":      fmt.Sprintf("%x", r.ImageID),
		"VMPL":          fmt.Sprint(r.VMPL),
		"platform":      fmt.Sprintf("%#x", uint64(r.PlatformInfo)),
		"report data":   fmt.Sprintf("%x", got.ReportData),
		"measurement":   fmt.Sprintf("%x", got.Measurement),
		"host data":     fmt.Sprintf("%x", r.HostData),
		"ID key":        fmt.Sprintf("%x", r.IDKeyDigest),
		"author key":    fmt.Sprintf("%x", r.AuthorKeyDigest),
		"report ID":     fmt.Sprintf("%x", r.ReportID),
		"report ID MA":  fmt.Sprintf("%x", r.ReportIDMA),
		"chip":          fmt.Sprintf("%x", chip),
		"reported TCB":  tcb(got.SNP.ReportedTCB),
		"current TCB":   tcb(got.SNP.CurrentTCB),
		"committed TCB": tcb(got.SNP.CommittedTCB),
		"launch TCB":    tcb(got.SNP.LaunchTCB),
		"current":       fmt.Sprint(r.Current.Major, r.Current.Minor, r.Current.Build),
		"committed":     fmt.Sprint(r.Committed.Major, r.Committed.Minor, r.Committed.Build),
		"launch mit":    fmt.Sprint(r.LaunchMitVector),
		"current mit":   fmt.Sprint(r.CurrentMitVector),
	}}
}

// TestGoSEVGuest compares with github.com/google/go-sev-guest.
func TestGoSEVGuest(t *testing.T) {
	roots, verifier := sevRoots(t), attest.NewVerifier(attest.Roots{SNP: snp.AMDRoots()})
	r, jobs := &record{oracle: goSEVGuest, known: make(map[int]int)}, newPool()
	// What the library has no product for (Zen4c) it looks up as "Unknown". With
	// Genoa's roots there, changed evidence of it can be compared too.
	helped := maps.Clone(roots)
	helped["Unknown"] = roots["Genoa"]
	one := func(name string, report, cert []byte, at time.Time) {
		roots := roots
		if strings.HasPrefix(name, "changed") || strings.HasPrefix(name, "helped") {
			roots = helped
		}
		jobs.run(func() {
			ours := sevOurs(verifier, attest.Evidence{Type: attest.SNP, Report: report}, attest.Collateral{Certificates: [][]byte{cert}}, at)
			r.add(name, ours, sevVerdict(report, cert, roots, at))
		})
	}
	table := func(name string, report, blob []byte, at time.Time) {
		jobs.run(func() {
			ours := sevOurs(verifier, attest.Evidence{Type: attest.SNP, Report: report, Auxblob: blob}, attest.Collateral{}, at)
			r.add(name, ours, sevTable(report, blob, roots, at))
		})
	}
	for _, v := range sevReports {
		report, cert := vector(t, "snp/"+v.name+".report.bin"), derOf(vector(t, "snp/"+v.cert))
		for _, m := range moments(v.at, cert) {
			one(fmt.Sprintf("captured %s, %s", v.name, m.name), report, cert, m.at)
			one(fmt.Sprintf("helped %s, %s", v.name, m.name), report, cert, m.at)
		}
		var others []string
		for _, other := range sevReports {
			others = append(others, other.cert)
		}
		for _, other := range append(others, sevOthers...) {
			otherCert := derOf(vector(t, "snp/"+other))
			for _, m := range moments(v.at, otherCert) {
				if other != v.cert {
					one(fmt.Sprintf("crossed %s with %s, %s", v.name, other, m.name), report, otherCert, m.at)
				}
			}
		}
		for _, n := range []int{0, 1, 64, snp.ReportSize - 1} {
			one(fmt.Sprintf("cut %s to %d", v.name, n), report[:n], cert, v.at)
		}
		one(fmt.Sprintf("longer %s", v.name), append(bytes.Clone(report), 0), cert, v.at)
		stepping := bytes.Clone(report)
		stepping[0x18A] ^= 0x10
		one("changed "+v.name+", stepping", stepping, cert, v.at)
		mutate(v.name, mutations, report, func(what string, changed []byte) {
			one(fmt.Sprintf("changed %s, report: %s", v.name, what), changed, cert, v.at)
		})
		mutate(v.cert, mutations, cert, func(what string, changed []byte) {
			one(fmt.Sprintf("changed %s, certificate: %s", v.name, what), report, changed, v.at)
		})
	}
	table("table veraison-tsm, as captured", vector(t, "snp/veraison-tsm.report.bin"), vector(t, "snp/veraison-tsm.auxblob.bin"), now)
	for _, v := range sevReports {
		report, blob := vector(t, "snp/"+v.name+".report.bin"), sevFullTable(t, derOf(vector(t, "snp/"+v.cert)), roots)
		table("table "+v.name, report, blob, v.at)
		if v.name == "ms-milan" || v.name == "trustee-vlek" {
			mutate(v.name+" table", mutations, blob, func(what string, changed []byte) {
				table(fmt.Sprintf("changed %s, table: %s", v.name, what), report, changed, v.at)
			})
		}
	}
	jobs.wait()
	sevLabCases(t, r, snp.Milan)
	sevLabCases(t, r, snp.Turin)
	r.check(t)
}
