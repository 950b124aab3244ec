package collateral_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

func fetch(t *testing.T, f *collateral.Fetcher, ev attest.Evidence) collateral.Result {
	t.Helper()
	r, err := f.Fetch(t.Context(), ev)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFetchSNP checks which URLs are asked for, and that what comes back is it.
func TestFetchSNP(t *testing.T) {
	t.Parallel()
	v2 := func(r *snp.Report) { r.Version, r.CPUID = 2, snp.CPUID{} }
	vlek := func(r *snp.Report) { r.SigningKey = snp.VLEK }
	zen4c := func(r *snp.Report) { r.CPUID = snp.CPUID{Family: 0x19, Model: 0xa0, Stepping: 2} }
	masked := func(r *snp.Report) { r.ChipID = [64]byte{} }
	milan, genoa, turin := newChip(snp.Milan), newChip(snp.Genoa), newChip(snp.Turin)
	old, bergamo, hidden := newChip(snp.Genoa, v2), newChip(snp.Genoa, zen4c), newChip(snp.Milan, masked)
	oldTurin := newChip(snp.Turin, v2)
	cloud := newChip(snp.Milan, vlek)
	cloudKey := newAuthority("SEV-VLEK-Milan").issue((&teelab.AMD{Product: snp.Milan}).VLEK("cloud", cloud.tcb))
	otherKey := newAuthority("SEV-Milan").issue((&teelab.AMD{Product: snp.Milan}).VCEK([64]byte{9}, milan.tcb))
	ask := newAuthority("SEV-Milan").cert.Raw
	for _, tt := range []struct {
		name  string
		chip  *amdChip
		ev    attest.Evidence
		hits  map[string]int // by fragment of the URL
		want  counts
		total int
	}{
		{"Milan", milan, milan.evidence(), map[string]int{milan.vcekURL: 1, "/vcek/v1/Milan/cert_chain": 1, "/vcek/v1/Milan/crl": 1}, counts{3, 1}, 3},
		{"Genoa", genoa, genoa.evidence(), map[string]int{genoa.vcekURL: 1, "/vcek/v1/Genoa/crl": 1}, counts{3, 1}, 3},
		{"Zen4c is Genoa", bergamo, bergamo.evidence(), map[string]int{bergamo.vcekURL: 1}, counts{3, 1}, 3},
		{"Turin", turin, turin.evidence(), map[string]int{turin.vcekURL: 1}, counts{3, 1}, 3},
		{"version 2, tries products", old, old.evidence(), map[string]int{"/vcek/v1/Milan/": 1, old.vcekURL: 1}, counts{3, 1}, 4},
		{"version 2 of a short chip ID", oldTurin, oldTurin.evidence(), map[string]int{oldTurin.vcekURL: 1}, counts{3, 1}, 3},
		{"version 2 with its VCEK", old, old.withTable(old.vcek), map[string]int{"/vcek/v1/Milan/": 0, "blSPL": 0}, counts{2, 1}, 2},
		{"VCEK in the table", milan, milan.withTable(milan.vcek), map[string]int{"blSPL": 0}, counts{2, 1}, 2},
		{"VCEK and ASK in the table", milan, milan.withTable(milan.vcek, ask), nil, counts{0, 1}, 1},
		{"another chip's VCEK in the table", milan, milan.withTable(otherKey), map[string]int{milan.vcekURL: 1}, counts{3, 1}, 3},
		{"masked chip ID, VCEK in the table", hidden, hidden.withTable(hidden.vcek), nil, counts{2, 1}, 2},
		{"VLEK in the table", cloud, cloud.withTable(cloudKey), map[string]int{"/vlek/v1/Milan/cert_chain": 1, "/vlek/v1/Milan/crl": 1}, counts{2, 1}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, tt.chip.answers)
			f, _ := newFetcher(t, s)
			r := fetch(t, f, tt.ev)
			if count(r.Collateral) != tt.want || len(r.Stale) != 0 || r.CacheErr != nil {
				t.Errorf("got %v, stale %q, cache %v; want %v", count(r.Collateral), r.Stale, r.CacheErr, tt.want)
			}
			for fragment, n := range tt.hits {
				if s.count(fragment) != n {
					t.Errorf("%d requests for %s, want %d: %v", s.count(fragment), fragment, n, s.hits)
				}
			}
			if s.count("") != tt.total {
				t.Errorf("%d requests, want %d: %v", s.count(""), tt.total, s.hits)
			}
			roundTrip(t, r)
		})
	}
}

// roundTrip checks that a result makes a bundle.
func roundTrip(t *testing.T, r collateral.Result) {
	t.Helper()
	data, err := collateral.EncodeBundle(r.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	b, err := collateral.DecodeBundle(data)
	if err != nil || !reflect.DeepEqual(b, r.Bundle) {
		t.Errorf("the bundle differs (%v)", err)
	}
}

// TestFetchVerify fetches for simulated hardware, keeps it as a bundle, and
// verifies with nothing else.
func TestFetchVerify(t *testing.T) {
	t.Parallel()
	offline := func(t *testing.T, r collateral.Result) attest.Collateral {
		t.Helper()
		roundTrip(t, r)
		return parse(t, must(collateral.EncodeBundle(r.Bundle)))
	}
	t.Run("SNP", func(t *testing.T) {
		t.Parallel()
		amd := must(teelab.NewAMD(snp.Milan, now))
		chip := must(amd.NewSNP())
		ev := must(chip.Evidence([64]byte{1}, [48]byte{2}))
		ev.Auxblob = nil
		url := strings.Replace(newChip(snp.Milan).vcekURL, "?blSPL=04&teeSPL=01", "?blSPL=04&teeSPL=00", 1)
		report := must(snp.ParseReport(ev.Report))
		tcb := must(report.ReportedTCB.Decode(snp.Milan))
		if tcb != (snp.TCB{Bootloader: 4, SNP: 24, Microcode: 219}) {
			t.Fatalf("the simulated chip has the TCB %v", tcb)
		}
		start, _, _ := strings.Cut(url, "/vcek/v1/Milan/")
		_, query, _ := strings.Cut(url, "?")
		s := newService(t, map[string]answer{
			start + "/vcek/v1/Milan/" + hexOf(report.ChipID[:]) + "?" + query: {body: chip.VCEK.Raw},
			"/vcek/v1/Milan/cert_chain":                                       {body: pemOf(amd.ASK.Raw, amd.ARK.Raw)},
			"/vcek/v1/Milan/crl":                                              {body: must(amd.CRL())},
		})
		f, _ := newFetcher(t, s)
		c := offline(t, fetch(t, f, ev))
		claims, err := snp.Verify(ev.Report, nil, snp.Collateral{Certificates: c.Certificates, CRLs: c.CRLs}, []snp.Root{{Name: "x", Product: snp.Milan, ARK: amd.ARK, Dev: true}}, nil, now)
		if err != nil || len(claims.Collateral) == 0 {
			t.Errorf("got %+v (%v)", claims, err)
		}
	})
	for _, kind := range teelab.QuoteKinds() {
		for _, processor := range []bool{false, true} {
			name := kind.Name + " of the Platform CA"
			if processor {
				name = kind.Name + " of the Processor CA"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newPlatform(t, func(p *teelab.Platform) { p.Processor = processor })
				s := newService(t, p.answers)
				f, _ := newFetcher(t, s)
				ev := p.evidence(kind)
				r := fetch(t, f, ev)
				if want := (counts{3, 2, 1, 1}); count(r.Collateral) != want || s.count("") != 4 {
					t.Errorf("got %v with %d requests, want %v with 4", count(r.Collateral), s.count(""), want)
				}
				c := offline(t, r)
				claims, err := dcap.Verify(ev.Report, dcap.Collateral(c), []dcap.Root{p.Root()}, nil, now)
				if err != nil || len(claims.Unchecked) != 0 {
					t.Errorf("got %+v (%v)", claims, err)
				}
			})
		}
	}
}

func TestFetchIntelURLs(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := newService(t, p.answers, map[string]answer{
		"/tdx/certification/v4/tcb?fmspc=dec06f000000&update=early": p.answers["/tdx/certification/v4/tcb?fmspc=dec06f000000"],
		"/tdx/certification/v4/qe/identity?update=early":            p.answers["/tdx/certification/v4/qe/identity"],
		"/mirror/root.crl": p.answers["/sgx/certification/v4/rootcacrl"],
	})
	f, _ := newFetcher(t, s)
	f.Early, f.RootCRL = true, s.URL+"/mirror/root.crl"
	fetch(t, f, p.evidence(teelab.TDXv4()))
	if s.count("update=early") != 2 || s.count("root.crl") != 1 || s.count("") != 4 {
		t.Errorf("got %v", s.hits)
	}
	// An older PCCS names a header differently.
	s.set(t, "/sgx/certification/v4/tcb", func(a *answer) {
		a.header["SGX-TCB-Info-Issuer-Chain"] = a.header["TCB-Info-Issuer-Chain"]
		delete(a.header, "TCB-Info-Issuer-Chain")
	})
	f.Early = false
	fetch(t, f, p.evidence(teelab.SGXv3()))
}

func TestFetchEvidence(t *testing.T) {
	t.Parallel()
	chip, p := newChip(snp.Milan), newPlatform(t)
	with := func(change func(*snp.Report)) attest.Evidence { return newChip(snp.Milan, change).evidence() }
	table := chip.evidence()
	table.Auxblob = []byte("x")
	crossed := p.evidence(teelab.TDXv4())
	crossed.Type = attest.SGX
	torn := p.evidence(teelab.TDXv4())
	torn.Report = torn.Report[:500]
	chainless := must(p.Evidence(teelab.TDXv4(), [64]byte{}, [48]byte{}, func(q *teelab.IntelQuote) { q.Chain = []byte("no PEM") }))
	for _, tt := range []struct {
		name string
		ev   attest.Evidence
		want string
	}{
		{"none", attest.Evidence{}, "type of evidence not known"},
		{"unknown", attest.Evidence{Type: "sev"}, `"sev"`},
		{"CCA", attest.Evidence{Type: attest.CCA}, "there is no service for cca"},
		{"Nitro", attest.Evidence{Type: attest.Nitro}, "there is no service for nitro"},
		{"TPM", attest.Evidence{Type: attest.TPM}, "there is no service for tpm"},
		{"short report", attest.Evidence{Type: attest.SNP, Report: []byte("x")}, "malformed report"},
		{"malformed table", table, "malformed certificate table"},
		{"not signed", with(func(r *snp.Report) { r.SigningKey = snp.NoSigning }), "not signed"},
		{"chip key masked", with(func(r *snp.Report) { r.MaskChipKey = true }), "not signed"},
		{"chip ID masked", with(func(r *snp.Report) { r.ChipID = [64]byte{} }), "chip ID is masked"},
		{"unknown processor", with(func(r *snp.Report) { r.CPUID.Family = 0x17 }), "family 0x17"},
		{"VLEK not in the table", with(func(r *snp.Report) { r.SigningKey = snp.VLEK }), "cloud providers give VLEKs"},
		{"long chip ID of a Turin", newChip(snp.Turin, func(r *snp.Report) { r.ChipID[9] = 1 }).evidence(), "is not one of a [Turin]"},
		{"TCB of another product", newChip(snp.Turin, func(r *snp.Report) { r.ReportedTCB[5] = 1 }).evidence(), "is not one of a [Turin]"},
		{"quote said to be SGX", crossed, "said to be of type sgx, and is a quote of tdx"},
		{"torn quote", torn, "nothing can be fetched"},
		{"quote without PCK chain", chainless, "PCK chain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, chip.answers, p.answers)
			f, _ := newFetcher(t, s)
			_, err := f.Fetch(t.Context(), tt.ev)
			wantError(t, err, collateral.ErrEvidence, tt.want)
			if s.count("blSPL")+s.count("certification") != 0 {
				t.Errorf("asked for %v", s.hits)
			}
		})
	}
}

// TestFetchGoesOn: what can be had is returned with the error.
func TestFetchGoesOn(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan, func(r *snp.Report) { r.SigningKey = snp.VLEK })
	s := newService(t, chip.answers)
	f, _ := newFetcher(t, s)
	r, err := f.Fetch(t.Context(), chip.evidence())
	wantError(t, err, collateral.ErrEvidence, "VLEK")
	if want := (counts{2, 1}); count(r.Collateral) != want {
		t.Errorf("got %v, want %v", count(r.Collateral), want)
	}
	p := newPlatform(t)
	s = newService(t, p.answers)
	s.breakWith("pckcrl", func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	f, _ = newFetcher(t, s)
	r, err = f.Fetch(t.Context(), p.evidence(teelab.SGXv3()))
	wantError(t, err, collateral.ErrFetch, "pckcrl?ca=platform&encoding=der: the service answers 403 Forbidden; check the service's URL")
	if want := (counts{2, 1, 1, 1}); count(r.Collateral) != want {
		t.Errorf("got %v, want %v", count(r.Collateral), want)
	}
}

func TestFetchURLs(t *testing.T) {
	t.Parallel()
	chip, p := newChip(snp.Milan), newPlatform(t)
	for _, tt := range []struct {
		name string
		url  string
	}{
		{"a user and password", "https://user:hunter2@kds.example"},
		{"a query", "https://kds.example/?key=hunter2"},
		{"no scheme", "kds.example"},
		{"another scheme", "file:///etc"},
		{"no host", "https://"},
		{"not a URL", "https://a b:::"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, f := range []*collateral.Fetcher{{KDS: tt.url, PCS: tt.url}, {KDS: tt.url, RootCRL: tt.url}} {
				for _, ev := range []attest.Evidence{chip.evidence(), p.evidence(teelab.SGXv3())} {
					_, err := f.Fetch(t.Context(), ev)
					wantError(t, err, collateral.ErrFetch, "must be https://HOST")
					if err != nil && strings.Contains(err.Error(), "hunter2") {
						t.Errorf("the error has the secret: %v", err)
					}
				}
			}
		})
	}
}

// TestFetchZero: the zero Fetcher asks the manufacturers, which have no address
// in a test.
func TestFetchZero(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := new(collateral.Fetcher)
	_, err := f.Fetch(ctx, newChip(snp.Milan).evidence())
	wantError(t, err, collateral.ErrFetch, "https://kdsintf.amd.com/vcek/v1/Milan/a0a1")
	_, err = f.Fetch(ctx, newPlatform(t).evidence(teelab.TDXv4()))
	wantError(t, err, context.Canceled, "https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=dec06f000000")
}

func cacheFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(hidden) != 0 {
		t.Errorf("left behind: %v (%v)", hidden, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, must be 0600 (%v)", file, info.Mode(), err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := collateral.DecodeBundle(data); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	return files
}

func isNot(t *testing.T, err error, classes ...error) {
	t.Helper()
	for _, class := range classes {
		if errors.Is(err, class) {
			t.Errorf("got %v, which is a %v", err, class)
		}
	}
}
