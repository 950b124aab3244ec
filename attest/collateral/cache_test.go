package collateral_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

const day = 24 * time.Hour

func TestCache(t *testing.T) {
	t.Parallel()
	chip, p := newChip(snp.Milan), newPlatform(t)
	ev := chip.evidence()

	t.Run("hit without network", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers, p.answers)
		f, c := newFetcher(t, s)
		quote := p.evidence(teelab.SGXv3())
		first, second := fetch(t, f, ev), fetch(t, f, quote)
		s.Close()
		c.advance(collateral.DefaultMaxAge - time.Second)
		again := &collateral.Fetcher{KDS: f.KDS, PCS: f.PCS, Cache: f.Cache, Now: f.Now} // another process
		same(t, fetch(t, again, ev).Collateral, first.Collateral)
		r := fetch(t, again, quote)
		same(t, r.Collateral, second.Collateral)
		if len(r.Stale) != 0 || s.count("") != 7 || r.Sources[0] != second.Sources[0] {
			t.Errorf("stale %q, %d requests, %v", r.Stale, s.count(""), r.Sources[0])
		}
		if n := len(cacheFiles(t, f.Cache)); n != 7 {
			t.Errorf("%d files, want 7", n)
		}
	})
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, _ := newFetcher(t, s)
		f.Cache = ""
		fetch(t, f, ev)
		fetch(t, f, ev)
		if s.count("") != 6 {
			t.Errorf("%d requests, want 6", s.count(""))
		}
	})
	t.Run("the maximum age passes", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		f.MaxAge = time.Hour
		fetch(t, f, ev)
		c.advance(time.Hour)
		fetch(t, f, ev)
		if s.count("crl") != 2 || s.count("") != 4 {
			t.Errorf("%d requests for the list, %d in all; want 2 and 4: certificates don't age", s.count("crl"), s.count(""))
		}
	})
	t.Run("nextUpdate passes before the maximum age", func(t *testing.T) {
		t.Parallel()
		s := newService(t, p.answers)
		f, c := newFetcher(t, s)
		f.MaxAge = 1000 * day
		quote := p.evidence(teelab.SGXv3())
		fetch(t, f, quote)
		c.advance(30*day - time.Second)
		fetch(t, f, quote)
		if s.count("") != 4 {
			t.Errorf("%d requests before nextUpdate, want 4", s.count(""))
		}
		c.advance(time.Second)
		if r := fetch(t, f, quote); s.count("") != 8 || len(r.Stale) != 4 || !strings.Contains(r.Stale[0], "expired at 2026-12-21T00:00:00Z, and is what the service answered") {
			t.Errorf("%d requests after nextUpdate, want 8; stale %q", s.count(""), r.Stale)
		}
	})
	t.Run("VCEK expires", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		fetch(t, f, ev)
		c.advance(8 * 365 * day)
		fetch(t, f, ev)
		if s.count("blSPL") != 2 || s.count("cert_chain") != 1 {
			t.Errorf("got %v", s.hits)
		}
	})
	t.Run("clock set back", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		fetch(t, f, ev)
		c.advance(-time.Hour)
		fetch(t, f, ev)
		if s.count("") != 6 {
			t.Errorf("%d requests, want 6: what was fetched in the future is not used unseen", s.count(""))
		}
	})
	t.Run("stale if the service fails", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		first := fetch(t, f, ev)
		s.breakWith("", status(http.StatusInternalServerError, 0))
		c.advance(2 * day)
		r := fetch(t, f, ev)
		same(t, r.Collateral, first.Collateral)
		if len(r.Stale) != 0 {
			t.Errorf("stale before it expired: %q", r.Stale)
		}
		c.advance(90 * day)
		r = fetch(t, f, ev)
		same(t, r.Collateral, first.Collateral)
		if len(r.Stale) != 1 || !strings.Contains(r.Stale[0], "the revocation list of ARK-Milan") || !strings.Contains(r.Stale[0], "expired at 2027-02-19T00:00:00Z, and no newer could be had") ||
			!strings.Contains(r.Stale[0], "500 Internal Server Error") {
			t.Errorf("stale %q", r.Stale)
		}
		if !r.Sources[len(r.Sources)-1].Fetched.Equal(now) {
			t.Errorf("sources %v", r.Sources)
		}
	})
	t.Run("stale if the answer is wrong", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		fetch(t, f, ev)
		s.breakWith("crl", body("<html>"))
		c.advance(91 * day)
		if r := fetch(t, f, ev); len(r.Stale) != 1 || !strings.Contains(r.Stale[0], "HTML") {
			t.Errorf("stale %q", r.Stale)
		}
	})
	t.Run("stale if the time is up", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		fetch(t, f, ev)
		c.advance(91 * day)
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		r, err := f.Fetch(ctx, ev)
		if err != nil || len(r.Stale) != 1 || count(r.Collateral) != (counts{3, 1}) {
			t.Errorf("got %v, stale %q (%v)", count(r.Collateral), r.Stale, err)
		}
	})
	t.Run("service has an older answer", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		first := fetch(t, f, ev)
		s.set(t, "crl", func(a *answer) { a.body = newAuthority("ARK-Milan").list(10 * day) })
		c.advance(2 * day)
		r := fetch(t, f, ev)
		same(t, r.Collateral, first.Collateral)
		if len(r.Stale) != 0 || s.count("crl") != 2 {
			t.Errorf("stale %q, %d requests", r.Stale, s.count("crl"))
		}
	})
	t.Run("service has a stale list", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		s.set(t, "crl", func(a *answer) { a.body = newAuthority("ARK-Milan").list(-time.Hour) })
		f, _ := newFetcher(t, s)
		if r := fetch(t, f, ev); len(r.Stale) != 1 || !strings.Contains(r.Stale[0], "expired at 2026-11-20T23:00:00Z, and is what the service answered") || count(r.Collateral) != (counts{3, 1}) {
			t.Errorf("got %v, stale %q", count(r.Collateral), r.Stale)
		}
	})
	t.Run("offline", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, c := newFetcher(t, s)
		f.Offline = true
		_, err := f.Fetch(t.Context(), ev)
		wantError(t, err, collateral.ErrOffline, chip.vcekURL+"; fetch it once with a network, or give it as a file")
		if s.count("") != 0 {
			t.Errorf("%d requests", s.count(""))
		}
		f.Offline = false
		first := fetch(t, f, ev)
		f.Offline = true
		c.advance(91 * day)
		r := fetch(t, f, ev)
		same(t, r.Collateral, first.Collateral)
		if len(r.Stale) != 1 || !strings.Contains(r.Stale[0], "and no network is to be used") || s.count("") != 3 {
			t.Errorf("stale %q, %d requests", r.Stale, s.count(""))
		}
	})
	t.Run("offline with a report that does not name its product", func(t *testing.T) {
		t.Parallel()
		old := newChip(snp.Genoa, func(r *snp.Report) { r.Version, r.CPUID = 2, snp.CPUID{} })
		s := newService(t, old.answers)
		f, _ := newFetcher(t, s)
		fetch(t, f, old.evidence())
		f.Offline = true
		if r := fetch(t, f, old.evidence()); count(r.Collateral) != (counts{3, 1}) || s.count("") != 4 {
			t.Errorf("got %v, %d requests", count(r.Collateral), s.count(""))
		}
	})
	t.Run("folder can't be written", func(t *testing.T) {
		t.Parallel()
		s := newService(t, chip.answers)
		f, _ := newFetcher(t, s)
		f.Cache = filepath.Join(f.Cache, "file")
		if err := os.WriteFile(f.Cache, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := fetch(t, f, ev)
		if count(r.Collateral) != (counts{3, 1}) || r.CacheErr == nil || !strings.Contains(r.CacheErr.Error(), "cache: ") {
			t.Errorf("got %v, cache %v", count(r.Collateral), r.CacheErr)
		}
	})
}

// TestCorruptedCache damages each file of a cache in turn: it is fetched anew.
func TestCorruptedCache(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	ev := chip.evidence()
	write := func(t *testing.T, file string, data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, file string, data []byte, other string)
		whole  bool // a file can't take its place
	}{
		{"empty", func(t *testing.T, file string, _ []byte, _ string) { write(t, file, nil) }, false},
		{"torn", func(t *testing.T, file string, data []byte, _ string) { write(t, file, data[:len(data)/2]) }, false},
		{"a bit flipped", func(t *testing.T, file string, data []byte, _ string) {
			bad := bytes.Clone(data)
			bad[len(bad)*2/3] ^= 4
			write(t, file, bad)
		}, false},
		{"bytes behind", func(t *testing.T, file string, data []byte, _ string) { write(t, file, append(data, 0)) }, false},
		{"too large", func(t *testing.T, file string, data []byte, _ string) {
			write(t, file, append(data, make([]byte, collateral.MaxFile)...))
		}, false},
		{"the answer of another URL", func(t *testing.T, file string, _ []byte, other string) {
			data, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, data)
		}, false},
		{"another answer for this URL", func(t *testing.T, file string, data []byte, _ string) {
			b := must(collateral.DecodeBundle(data))
			b.Collateral.TCBInfos = append(b.Collateral.TCBInfos, sample().info)
			write(t, file, must(collateral.EncodeBundle(b)))
		}, false},
		{"no sources", func(t *testing.T, file string, data []byte, _ string) {
			b := must(collateral.DecodeBundle(data))
			b.Sources = nil
			write(t, file, must(collateral.EncodeBundle(b)))
		}, false},
		{"a folder", func(t *testing.T, file string, _ []byte, _ string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, chip.answers)
			f, _ := newFetcher(t, s)
			first := fetch(t, f, ev)
			files := cacheFiles(t, f.Cache)
			if len(files) != 3 {
				t.Fatalf("%d files", len(files))
			}
			originals := make(map[string][]byte)
			for _, file := range files {
				originals[file] = must(os.ReadFile(file))
			}
			for i, file := range files {
				tt.damage(t, file, bytes.Clone(originals[file]), files[(i+1)%3])
				before := s.count("")
				r := fetch(t, f, ev)
				same(t, r.Collateral, first.Collateral)
				if s.count("") != before+1 {
					t.Errorf("%d requests, want 1", s.count("")-before)
				}
				if tt.whole {
					if r.CacheErr == nil {
						t.Error("no error of the cache")
					}
					os.Remove(file)
					write(t, file, originals[file])
				} else if data := must(os.ReadFile(file)); !bytes.Equal(data, originals[file]) || r.CacheErr != nil {
					t.Errorf("not written anew (%v)", r.CacheErr)
				}
			}
			if s.count("") != 6 {
				t.Errorf("%d requests, want 6", s.count(""))
			}
			cacheFiles(t, f.Cache)
		})
	}
}

// TestConcurrent: goroutines that want the same at once share requests.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	s := newService(t, chip.answers)
	f, _ := newFetcher(t, s)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if r, err := f.Fetch(t.Context(), chip.evidence()); err != nil || count(r.Collateral) != (counts{3, 1}) {
				t.Errorf("%d: got %v (%v)", i, count(r.Collateral), err)
			}
		})
	}
	wg.Wait()
	if n := s.count(""); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// TestShared: who waits for another's request is not stopped with it.
func TestShared(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	ev := chip.withTable(chip.vcek, newAuthority("SEV-Milan").cert.Raw)
	s := newService(t, chip.answers)
	asked := make(chan struct{})
	s.breakWith("crl", func(n int, _ http.ResponseWriter, r *http.Request) bool {
		if n == 1 {
			close(asked)
			<-r.Context().Done()
		}
		return n == 1
	})
	f, _ := newFetcher(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() {
		_, err := f.Fetch(ctx, ev)
		first <- err
	}()
	<-asked
	go func() {
		_, err := f.Fetch(t.Context(), ev)
		second <- err
	}()
	gone, stop := context.WithCancel(t.Context())
	stop()
	_, err := f.Fetch(gone, ev)
	wantError(t, err, context.Canceled, s.URL)
	cancel()
	wantError(t, <-first, context.Canceled, "stopped")
	if err := <-second; err != nil {
		t.Error(err)
	}
	if s.count("crl") != 2 {
		t.Errorf("%d requests, want 2", s.count("crl"))
	}
}

// TestTwoProcesses: Fetchers that know nothing of each other write one cache.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	chip := newChip(snp.Milan)
	s := newService(t, chip.answers)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		f, c := newFetcher(t, s)
		f.Cache = filepath.Join(dir, "cache")
		wg.Go(func() {
			for range 20 {
				if r, err := f.Fetch(t.Context(), chip.evidence()); err != nil || count(r.Collateral) != (counts{3, 1}) || r.CacheErr != nil {
					t.Errorf("got %v, cache %v (%v)", count(r.Collateral), r.CacheErr, err)
				}
				c.advance(25 * time.Hour)
			}
		})
	}
	wg.Wait()
	if n := len(cacheFiles(t, filepath.Join(dir, "cache"))); n != 3 {
		t.Errorf("%d files, want 3", n)
	}
	if info, err := os.Stat(filepath.Join(dir, "cache")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v (%v)", info.Mode(), err)
	}
}

// TestCacheIsBundles: what a cache has can be given as files too.
func TestCacheIsBundles(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := newService(t, p.answers)
	f, _ := newFetcher(t, s)
	r := fetch(t, f, p.evidence(teelab.TDXv4()))
	total := counts{}
	for _, file := range cacheFiles(t, f.Cache) {
		for i, n := range count(parse(t, must(os.ReadFile(file)))) {
			total[i] += n
		}
	}
	if want := (counts{6, 2, 1, 1}); total != want || count(r.Collateral) != (counts{3, 2, 1, 1}) {
		t.Errorf("got %v and %v", total, count(r.Collateral))
	}
	for _, der := range r.Collateral.Certificates {
		if _, err := x509.ParseCertificate(der); err != nil {
			t.Error(err)
		}
	}
}
