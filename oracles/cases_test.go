package oracles

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
)

// now is the time that "now" means.
var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// mutations is in how many places evidence is changed, once by a bit and once by
// a byte. Pieces of collateral are changed in fewer.
const mutations = 200

// vectorDir returns the folder of captured evidence.
func vectorDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("REDOUBT_VECTORS")
	if dir == "" {
		dir = "../../shared/vectors"
	}
	if _, err := os.Stat(filepath.Join(dir, "snp")); err != nil {
		const text = "no captured evidence: set REDOUBT_VECTORS to the absolute path of a folder with snp/, tdx/ and so on, as the vectors' README.md describes it: "
		if os.Getenv("CI") == "true" {
			tb.Fatal(text, err)
		}
		tb.Skip(text, err)
	}
	return dir
}

func vector(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(vectorDir(tb), name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// collateralOf reads files of collateral.
func collateralOf(tb testing.TB, names ...string) attest.Collateral {
	tb.Helper()
	var all attest.Collateral
	for _, name := range names {
		c, err := collateral.Parse(vector(tb, name))
		if err != nil {
			tb.Fatal(name, err)
		}
		all = all.Merge(c)
	}
	return all
}

// A moment is a time, and what it is to the evidence.
type moment struct {
	name string
	at   time.Time
}

// moments returns the times to verify at: that of the vectors' README.md, before
// and after the certificates are valid, and now.
func moments(readme time.Time, certs ...[]byte) []moment {
	all := []moment{{"then", readme}}
	if !readme.Equal(now) {
		all = append(all, moment{"now", now})
	}
	first, last := time.Time{}, time.Time{}
	for _, der := range certs {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		if first.IsZero() || cert.NotBefore.After(first) {
			first = cert.NotBefore
		}
		if last.IsZero() || cert.NotAfter.Before(last) {
			last = cert.NotAfter
		}
	}
	if !first.IsZero() {
		all = append(all, moment{"before", first.Add(-24 * time.Hour)}, moment{"expired", last.Add(24 * time.Hour)})
	}
	return all
}

// mutate calls f with copies of data that differ in one bit or one byte, at some
// places, which are always the same for a name.
func mutate(name string, places int, data []byte, f func(what string, changed []byte)) {
	h := fnv.New64a()
	h.Write([]byte(name))
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	for i := range places {
		// Spread evenly, so that no field of some length is left out.
		from, to := i*len(data)/places, max((i+1)*len(data)/places, i*len(data)/places+1)
		at := from + random.IntN(to-from)
		bit := bytes.Clone(data)
		bit[at] ^= 1 << random.IntN(8)
		f(fmt.Sprintf("bit at %#x", at), bit)
		other := bytes.Clone(data)
		other[at] ^= byte(1 + random.IntN(255))
		f(fmt.Sprintf("byte at %#x", at), other)
	}
}

// A pool runs jobs on all processors.
type pool struct {
	jobs chan func()
	done sync.WaitGroup
}

func newPool() *pool {
	p := &pool{jobs: make(chan func())}
	for range runtime.GOMAXPROCS(0) {
		p.done.Go(func() {
			for job := range p.jobs {
				job()
			}
		})
	}
	return p
}

func (p *pool) run(job func()) { p.jobs <- job }

func (p *pool) wait() {
	close(p.jobs)
	p.done.Wait()
}

// pemOf returns certificates as PEM.
func pemOf(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// derOf returns the first certificate of a file, PEM or DER.
func derOf(data []byte) []byte {
	if block, _ := pem.Decode(data); block != nil {
		return block.Bytes
	}
	return data
}
