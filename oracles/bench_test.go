package oracles

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	tdx "github.com/google/go-tdx-guest/verify"
	"github.com/oasisprotocol/oasis-core/go/common/sgx/pcs"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// A contender is one way to verify the same evidence.
type contender struct {
	name string
	run  func() error
}

// ours returns Redoubt's two ways: everything each time, and with a Verifier that
// knows the chain's signatures.
func ours(ev attest.Evidence, c attest.Collateral, roots attest.Roots, at time.Time) []contender {
	reused := attest.NewVerifier(roots)
	return []contender{
		{"full", func() error { _, err := attest.Verify(ev, c, roots, at); return err }},
		{"cached", func() error { _, err := reused.Verify(ev, c, at); return err }},
	}
}

// compare runs all contenders in turn, again and again, so that a busy machine is
// one for all of them. It reports the median of each, and for those before the
// first oracle (which are two) its ratio to each oracle: below 1 is faster.
func compare(b *testing.B, all []contender) {
	b.Helper()
	times := make([][]time.Duration, len(all))
	for _, c := range all {
		if err := c.run(); err != nil {
			b.Fatal(c.name, err)
		}
	}
	for b.Loop() {
		for i, c := range all {
			start := time.Now()
			err := c.run()
			times[i] = append(times[i], time.Since(start))
			if err != nil {
				b.Fatal(c.name, err)
			}
		}
	}
	median := make([]float64, len(all))
	for i, c := range all {
		slices.Sort(times[i])
		median[i] = float64(times[i][len(times[i])/2])
		b.ReportMetric(median[i]/1e6, c.name+"-ms")
	}
	for i, c := range all[2:] {
		b.ReportMetric(median[0]/median[2+i], "full/"+c.name)
		b.ReportMetric(median[1]/median[2+i], "cached/"+c.name)
	}
	b.ReportMetric(0, "ns/op") // of all together: says nothing
}

// BenchmarkSNP verifies a captured report with its whole certificate table.
func BenchmarkSNP(b *testing.B) {
	roots := sevRoots(b)
	report := vector(b, "snp/ms-milan.report.bin")
	table := sevFullTable(b, derOf(vector(b, "snp/ms-milan.vcek.pem")), roots)
	both := slices.Concat(report, table)
	compare(b, append(
		ours(attest.Evidence{Type: attest.SNP, Report: report, Auxblob: table}, attest.Collateral{}, attest.Roots{SNP: snp.AMDRoots()}, now),
		contender{goSEVGuest, func() error {
			a, err := abi.ReportCertsToProto(both)
			if err != nil {
				return err
			}
			return sevTheirs(a, roots, now)
		}},
	))
}

// BenchmarkTDX verifies a captured quote with its collateral, which has no
// revocation lists.
func BenchmarkTDX(b *testing.B) {
	q := dcapQuotes[0]
	root, err := x509.ParseCertificate(vector(b, "roots/intel-sgx-root.der"))
	if err != nil {
		b.Fatal(err)
	}
	c := collateralOf(b, dcapSets[q.set]...)
	benchmarkTDX(b, quoteOf(b, q), c, dcap.IntelRoot(), root, q.at)
}

// BenchmarkTDXRevocation verifies a simulated quote with collateral that has
// revocation lists, which oasis-core passes over.
func BenchmarkTDXRevocation(b *testing.B) {
	l, err := newLab()
	if err != nil {
		b.Fatal(err)
	}
	ev, err := l.platform.Evidence(teelab.TDXv4(), [64]byte{1}, [48]byte{2})
	if err != nil {
		b.Fatal(err)
	}
	made, err := l.intel.Collateral(l.platform, attest.TDX)
	if err != nil {
		b.Fatal(err)
	}
	intel := pcs.IntelTrustRoots
	defer func() { pcs.IntelTrustRoots = intel }()
	pcs.IntelTrustRoots = x509.NewCertPool()
	pcs.IntelTrustRoots.AddCert(l.intel.RootCA)
	benchmarkTDX(b, ev.Report, attest.Collateral(made), l.intel.Root(), l.intel.RootCA, now)
}

func benchmarkTDX(b *testing.B, quote []byte, c attest.Collateral, pinned dcap.Root, root *x509.Certificate, at time.Time) {
	b.Helper()
	options := tdxOptions(quote, c, root, at)
	chain := pemOf(issuer(c, intelTCBName), root.Raw)
	compare(b, append(
		ours(attest.Evidence{Type: attest.TDX, Report: quote}, c, attest.Roots{DCAP: []dcap.Root{pinned}}, at),
		contender{goTDXGuest, func() error { fresh := *options; return tdx.RawTdxQuote(quote, &fresh) }},
		contender{"oasis-core", func() error {
			bundle, err := pcsBundle(c, chain)
			if err != nil {
				return err
			}
			var q pcs.Quote
			if err := q.UnmarshalBinary(quote); err != nil {
				return err
			}
			_, err = q.Verify(pcsPolicy, at, bundle)
			return err
		}},
	))
}
