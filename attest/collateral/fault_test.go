package collateral_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

type fault = func(n int, w http.ResponseWriter, r *http.Request) bool

// status answers the first times requests with a status, or all if times is 0.
func status(code, times int, headers ...string) fault {
	return func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if times > 0 && n > times {
			return false
		}
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

func body(data string) fault {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Write([]byte(data))
		return true
	}
}

// slow does not answer before the client gives up.
func slow(times int) fault {
	return func(n int, _ http.ResponseWriter, r *http.Request) bool {
		if times > 0 && n > times {
			return false
		}
		<-r.Context().Done()
		return true
	}
}

// reset breaks the connection.
func reset(times int) fault {
	return func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if times > 0 && n > times {
			return false
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
		return true
	}
}

// torn says that more is to come than does.
func torn(data []byte, times int) fault {
	return func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if times > 0 && n > times {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:len(data)/2])
		return true
	}
}

// TestFaults breaks the revocation list, which is the only thing to fetch.
func TestFaults(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	ev := chip.withTable(chip.vcek, newAuthority("SEV-Milan").cert.Raw)
	crl := chip.answers["/vcek/v1/Milan/crl"].body
	elsewhere := newService(t)
	half := func(d time.Duration) [2]time.Duration { return [2]time.Duration{d / 2, d} }
	about := func(d time.Duration) [2]time.Duration { return [2]time.Duration{d - time.Second, d} }
	for _, tt := range []struct {
		name  string
		fault fault
		hits  int
		slept [][2]time.Duration // at least, at most
		class error              // nil if it goes well
		want  string
	}{
		{"429 without Retry-After", status(429, 2), 3, [][2]time.Duration{half(time.Second), half(2 * time.Second)}, nil, ""},
		{"429 with seconds", status(429, 1, "Retry-After", "7"), 2, [][2]time.Duration{about(7 * time.Second)}, nil, ""},
		{"429 with a date", status(429, 1, "Retry-After", "Sat, 21 Nov 2026 00:00:09 GMT", "Date", "Sat, 21 Nov 2026 00:00:00 GMT"), 2, [][2]time.Duration{about(9 * time.Second)}, nil, ""},
		{"429 with a date that has passed", status(429, 1, "Retry-After", "Sat, 21 Nov 2026 00:00:00 GMT", "Date", "Sat, 21 Nov 2026 00:00:09 GMT"), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"429 with nonsense", status(429, 1, "Retry-After", "soon"), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"429 with an hour", status(429, 0, "Retry-After", "3600"), 1, nil, collateral.ErrFetch, "429 Too Many Requests and asks to wait for 1h0m0s; it limits how often it may be asked: try again in 1h0m0s, or give"},
		{"429 with a number out of range", status(429, 1, "Retry-After", "99999999999999999999"), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"429 forever", status(429, 0), 5, [][2]time.Duration{half(time.Second), half(2 * time.Second), half(4 * time.Second), half(8 * time.Second)},
			collateral.ErrFetch, "429 Too Many Requests, at the last of 5 attempts; it limits how often it may be asked: try again in 30 s, or give the collateral as files"},
		{"500, then good", status(500, 1), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"502, then good", status(502, 1), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"503 with seconds", status(503, 1, "Retry-After", "3"), 2, [][2]time.Duration{about(3 * time.Second)}, nil, ""},
		{"504, then good", status(504, 1), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"500 forever", status(500, 0), 5, nil, collateral.ErrFetch, "500 Internal Server Error, at the last of 5 attempts; it has a fault"},
		{"404", status(404, 0), 1, nil, collateral.ErrFetch, "404 Not Found; it does not know what the evidence names"},
		{"401", status(401, 0), 1, nil, collateral.ErrFetch, "401 Unauthorized; check the service's URL"},
		{"204", status(204, 0), 1, nil, collateral.ErrFetch, "204 No Content"},
		{"slow, then good", slow(1), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"slow forever", slow(0), 5, nil, collateral.ErrFetch, "no answer within 200ms"},
		{"connection reset, then good", reset(1), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"connection reset forever", reset(0), 5, nil, collateral.ErrFetch, "at the last of 5 attempts; check the network"},
		{"truncated body, then good", torn(crl, 1), 2, [][2]time.Duration{half(time.Second)}, nil, ""},
		{"truncated body forever", torn(crl, 0), 5, nil, collateral.ErrFetch, "the connection broke: unexpected EOF"},
		{"truncated list", body(string(crl[:len(crl)-9])), 1, nil, collateral.ErrAnswer, "DER, object 1: truncated"},
		{"too large a body", body(strings.Repeat("x", collateral.MaxFile+1)), 1, nil, collateral.ErrAnswer, "at most 1048576 allowed"},
		{"empty body", body(""), 1, nil, collateral.ErrAnswer, "empty"},
		{"HTML for DER", body("<html><body>Sign in to the network</body></html>"), 1, nil, collateral.ErrAnswer, "expected the revocation list of ARK-Milan: not usable as collateral: looks like an HTML page"},
		{"a certificate for a list", body(string(chip.vcek)), 1, nil, collateral.ErrAnswer, "expected 1 revocation list, found 1 certificates"},
		{"list of another product", body(string(newAuthority("ARK-Genoa").list(time.Hour))), 1, nil, collateral.ErrAnswer, `expected the revocation list of "ARK-Milan", found that of "ARK-Genoa"`},
		{"two lists", body(string(crl) + string(newAuthority("ARK-Genoa").list(time.Hour))), 1, nil, collateral.ErrAnswer, "found 2 revocation lists"},
		{"redirect to another host", status(302, 0, "Location", elsewhere.URL+"/vcek/v1/Milan/crl"), 1, nil, collateral.ErrFetch, "redirect to another host, which is refused"},
		{"redirect to another scheme", status(307, 0, "Location", "https://127.0.0.1/"), 1, nil, collateral.ErrFetch, "redirect to another host"},
		{"redirect without end", status(302, 0, "Location", "crl"), 4, nil, collateral.ErrFetch, "more than 3 redirects"},
		{"redirect on the same host", func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery == "" {
				http.Redirect(w, r, "/vcek/v1/Milan/crl?moved", http.StatusFound)
			} else {
				w.Write(crl)
			}
			return true
		}, 2, nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, chip.answers)
			s.breakWith("/crl", tt.fault)
			f, c := newFetcher(t, s)
			switch tt.name { // long enough for a busy machine to answer
			case "slow, then good":
				f.Timeout = time.Second
			case "slow forever":
				f.Timeout = 200 * time.Millisecond
			}
			r, err := f.Fetch(t.Context(), ev)
			if tt.class == nil {
				if err != nil || count(r.Collateral) != (counts{0, 1}) {
					t.Fatalf("got %v (%v)", count(r.Collateral), err)
				}
			} else {
				wantError(t, err, tt.class, tt.want)
				wantError(t, err, collateral.ErrFetch, s.URL+"/vcek/v1/Milan/crl")
				if files := cacheFiles(t, f.Cache); len(files) != 0 {
					t.Errorf("cached: %v", files)
				}
			}
			if s.count("") != tt.hits {
				t.Errorf("%d requests, want %d", s.count(""), tt.hits)
			}
			for i, d := range tt.slept {
				if i >= len(c.slept) || c.slept[i] < d[0]-100*time.Millisecond || c.slept[i] > d[1] {
					t.Errorf("slept %v, want %v at %d", c.slept, d, i)
				}
			}
			if tt.slept != nil && len(c.slept) != len(tt.slept) {
				t.Errorf("slept %v", c.slept)
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.count("") != 0 {
			t.Error("the other host was asked")
		}
	})
}

// TestWrongAnswers has services answer with something well-formed that was not
// asked for.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	chip, p := newChip(snp.Milan), newPlatform(t)
	ask := newAuthority("SEV-Milan")
	lab := &teelab.AMD{Product: snp.Milan}
	genoa := &teelab.AMD{Product: snp.Genoa}
	otherID, otherTCB := chip.id, chip.tcb
	otherID[3]++
	otherTCB.SNP++
	vcek := func(a *teelab.AMD, id [64]byte, tcb snp.TCB) func(*answer) {
		return func(out *answer) { out.body = ask.issue(a.VCEK(id, tcb)) }
	}
	set := func(data []byte) func(*answer) { return func(a *answer) { a.body = data } }
	edit := func(old, changed string) func(*answer) {
		return func(a *answer) { a.body = []byte(strings.Replace(string(a.body), old, changed, 1)) }
	}
	header := func(name, value string) func(*answer) { return func(a *answer) { a.header[name] = value } }
	for _, tt := range []struct {
		name   string
		url    string
		change func(*answer)
		want   string
	}{
		{"VCEK of another chip", "blSPL", vcek(lab, otherID, chip.tcb), "a VCEK of the chip a0a1a2a4"},
		{"VCEK of another TCB", "blSPL", vcek(lab, chip.id, otherTCB), "snp 25, microcode 219, expected one for fmc 0"},
		{"VCEK of another product", "blSPL", vcek(genoa, chip.id, chip.tcb), "a VCEK of a Genoa, expected one of a Milan"},
		{"VLEK for a VCEK", "blSPL", set(ask.issue(lab.VLEK("cloud", chip.tcb))), "a VLEK, expected a VCEK"},
		{"ASK for a VCEK", "blSPL", set(ask.cert.Raw), `common name "SEV-Milan", must be SEV-VCEK`},
		{"VCEK and more", "blSPL", func(a *answer) { a.body = append(a.body[:len(a.body):len(a.body)], ask.cert.Raw...) }, "expected 1 certificates and nothing else, found 2 certificates"},
		{"chain of another product", "Milan/cert_chain", set(pemOf(newAuthority("SEV-Genoa").cert.Raw, newAuthority("ARK-Genoa").cert.Raw)), `expected the certificates ["ARK-Milan" "SEV-Milan"], found ["ARK-Genoa" "SEV-Genoa"]`},
		{"chain for VLEKs", "Milan/cert_chain", set(pemOf(newAuthority("SEV-VLEK-Milan").cert.Raw, newAuthority("ARK-Milan").cert.Raw)), `found ["ARK-Milan" "SEV-VLEK-Milan"]`},
		{"chain without root", "Milan/cert_chain", set(pemOf(ask.cert.Raw)), "expected 2 certificates and nothing else, found 1"},
		{"list for the chain", "Milan/cert_chain", set(chip.answers["/vcek/v1/Milan/crl"].body), "found 1 revocation lists"},

		{"TCB info of another FMSPC", "/tdx/certification/v4/tcb", edit("dec06f000000", "00906ed50000"), `for the FMSPC dec06f000000, found "00906ed50000"`},
		{"TCB info of the other TEE", "/tdx/certification/v4/tcb", edit(`"id":"TDX"`, `"id":"SGX"`), `TCB info with the id "TDX", found "SGX"`},
		{"TCB info without nextUpdate", "/tdx/certification/v4/tcb", edit("nextUpdate", "nextupdate"), "has no nextUpdate"},
		{"TCB info with a nextUpdate that is no date", "/tdx/certification/v4/tcb", edit(`"nextUpdate":"2026`, `"nextUpdate":"2O26`), `TCB info: "nextUpdate"`},
		{"TCB info without signature", "/tdx/certification/v4/tcb", edit(`,"signature"`, `,"sig"`), "TCB info without its signature"},
		{"QE identity for a TCB info", "/tdx/certification/v4/tcb", set(p.answers["/tdx/certification/v4/qe/identity"].body), "expected 1 TCB info, found 2 certificates and 1 QE identities"},
		{"QE identity of the other TEE", "/tdx/certification/v4/qe/identity", edit(`"id":"TD_QE"`, `"id":"QE"`), `QE identity with the id "TD_QE", found "QE"`},
		{"list of the other CA", "ca=platform", set(p.answers["/sgx/certification/v4/pckcrl?ca=processor&encoding=der"].body), `of "Intel SGX PCK Platform CA", found that of "Intel SGX PCK Processor CA"`},
		{"list of a CA for the root's", "rootcacrl", set(p.answers["/sgx/certification/v4/pckcrl?ca=processor&encoding=der"].body), `of "Intel SGX Root CA", found`},
		{"missing issuer chain of the TCB info", "/tdx/certification/v4/tcb", func(a *answer) { a.header = nil }, "the header TCB-Info-Issuer-Chain is missing"},
		{"missing issuer chain of the QE identity", "/tdx/certification/v4/qe/identity", func(a *answer) { a.header = nil }, "the header SGX-Enclave-Identity-Issuer-Chain is missing"},
		{"missing issuer chain of the list", "ca=platform", func(a *answer) { a.header = nil }, "the header SGX-PCK-CRL-Issuer-Chain is missing"},
		{"malformed issuer chain", "/tdx/certification/v4/tcb", header("TCB-Info-Issuer-Chain", "%2D%2D"), "the header TCB-Info-Issuer-Chain: not usable as collateral"},
		{"torn issuer chain", "ca=platform", func(a *answer) {
			a.header["SGX-PCK-CRL-Issuer-Chain"] = a.header["SGX-PCK-CRL-Issuer-Chain"][:900]
		}, "the header SGX-PCK-CRL-Issuer-Chain: not usable as collateral"},
		{"issuer chain of a key", "ca=platform", header("SGX-PCK-CRL-Issuer-Chain", "-----BEGIN%20PUBLIC%20KEY-----%0AAAAA%0A-----END%20PUBLIC%20KEY-----"), `"PUBLIC KEY", must be CERTIFICATE`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, chip.answers, p.answers)
			s.set(t, tt.url, tt.change)
			f, _ := newFetcher(t, s)
			ev, all := chip.evidence(), 3
			if strings.Contains(tt.url, "certification") || !strings.Contains(tt.url, "cert_chain") && tt.url != "blSPL" {
				ev, all = p.evidence(teelab.TDXv4()), 4
			}
			_, err := f.Fetch(t.Context(), ev)
			wantError(t, err, collateral.ErrAnswer, tt.want)
			wantError(t, err, collateral.ErrFetch, s.URL)
			if s.count(tt.url) != 1 {
				t.Errorf("%d requests for it, want 1", s.count(tt.url))
			}
			if n := len(cacheFiles(t, f.Cache)); n != all-1 {
				t.Errorf("%d answers cached, want %d", n, all-1)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	s := newService(t, chip.answers)
	f, c := newFetcher(t, s)
	s.Close()
	_, err := f.Fetch(t.Context(), chip.evidence())
	wantError(t, err, collateral.ErrFetch, "connection refused; check the network and its proxy, or give the collateral as files")
	if len(c.slept) != 0 {
		t.Errorf("slept %v: nobody listens there", c.slept)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, _ := newFetcher(t, s)
		fetch(t, f, chip.evidence()) // even with a cache
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := f.Fetch(ctx, chip.evidence())
		wantError(t, err, context.Canceled, s.URL)
		if count(r.Collateral) != (counts{}) || s.count("") != 3 {
			t.Errorf("got %v, %d requests", count(r.Collateral), s.count(""))
		}
	})
	t.Run("during a request", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, _ := newFetcher(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		s.breakWith("blSPL", func(_ int, _ http.ResponseWriter, r *http.Request) bool {
			cancel()
			<-r.Context().Done()
			return true
		})
		_, err := f.Fetch(ctx, chip.evidence())
		wantError(t, err, context.Canceled, "no answer until it was stopped")
		if s.count("") != 1 {
			t.Errorf("%d requests, want 1", s.count(""))
		}
	})
	t.Run("while it waits", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		s.breakWith("", status(429, 0))
		f, _ := newFetcher(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		f.Sleep = func(ctx context.Context, _ time.Duration) error {
			cancel()
			return ctx.Err()
		}
		_, err := f.Fetch(ctx, chip.evidence())
		wantError(t, err, context.Canceled, s.URL)
		if s.count("") != 1 {
			t.Errorf("%d requests, want 1", s.count(""))
		}
	})
	t.Run("while it really waits", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		ctx, cancel := context.WithCancel(t.Context())
		s.breakWith("", func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "50")
			w.WriteHeader(http.StatusTooManyRequests)
			w.(http.Flusher).Flush()
			cancel()
			return true
		})
		f, _ := newFetcher(t, s)
		f.Sleep = nil
		_, err := f.Fetch(ctx, chip.evidence())
		wantError(t, err, context.Canceled, s.URL)
	})
	t.Run("no time for what the service asks", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		s.breakWith("", status(429, 0, "Retry-After", "45"))
		f, c := newFetcher(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := f.Fetch(ctx, chip.evidence())
		wantError(t, err, collateral.ErrFetch, "there is no time left to try again; it limits how often it may be asked: try again in 45s")
		isNot(t, err, context.Canceled)
		if len(c.slept) != 0 {
			t.Errorf("slept %v", c.slept)
		}
	})
	t.Run("the whole time is up", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		s.breakWith("", slow(0))
		f, _ := newFetcher(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := f.Fetch(ctx, chip.evidence())
		if !errors.Is(err, collateral.ErrFetch) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// TestInterval: a host is not asked faster than said.
func TestInterval(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := newService(t, p.answers)
	other := httptest.NewServer(s)
	t.Cleanup(other.Close)
	f, c := newFetcher(t, s)
	f.Interval, f.RootCRL = 0, other.URL+"/sgx/certification/v4/rootcacrl"
	fetch(t, f, p.evidence(teelab.TDXv4()))
	// The clock that it goes by does not move: each waits for all before it.
	if got := fmt.Sprint(len(c.slept)); got != "2" || c.slept[0] > time.Second || c.slept[1] > 2*time.Second || c.slept[1] < time.Second {
		t.Errorf("slept %v, want about 1 s and 2 s, and nothing for the other host", c.slept)
	}
	// And one that really waits, a little.
	f, _ = newFetcher(t, s)
	f.Interval, f.Sleep, f.Now = time.Millisecond, nil, nil
	fetch(t, f, p.evidence(teelab.SGXv3()))
}
