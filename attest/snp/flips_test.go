package snp_test

import (
	"bytes"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// A capture is good evidence with all that it is verified with.
type capture struct {
	report, auxblob []byte
	c               snp.Collateral
	roots           []snp.Root
}

func (x capture) verify(seen *pki.Seen) (*snp.Claims, error) {
	return snp.Verify(x.report, x.auxblob, x.c, x.roots, seen, now)
}

// labCapture has its certificates in a table, and a revocation list.
func labCapture() capture {
	amd := lab[snp.Milan]()
	chip := must(amd.NewSNP())
	ev := must(chip.Evidence([64]byte{1}, [48]byte{2}))
	return capture{ev.Report, ev.Auxblob, snp.Collateral{CRLs: chip.Collateral().CRLs}, []snp.Root{amd.Root()}}
}

// flip calls try with b with one bit changed, for every step-th bit.
func flip(b []byte, step int, try func(bit int, changed []byte)) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			changed := bytes.Clone(b)
			for bit := w * step; bit < 8*len(b); bit += workers * step {
				changed[bit/8] ^= 1 << (bit % 8)
				try(bit, changed)
				changed[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

// TestBitFlipsReport changes every single bit of a report, one after the other:
// all 9,472 of a simulated Milan's and of a captured one's. Each is refused. With
// the race detector, or -short, every 13th is tried.
func TestBitFlipsReport(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) capture{
		"simulated": func(*testing.T) capture { return labCapture() },
		"captured": func(t *testing.T) capture {
			return capture{vectors.Read(t, "snp/ms-milan.report.bin"), auxblob(t, "snp/ms-milan.vcek.pem"), snp.Collateral{}, snp.AMDRoots()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, seen := make(t), new(pki.Seen)
			if _, err := x.verify(seen); err != nil {
				t.Fatal(err)
			}
			flip(x.report, sampled(1, 13), func(bit int, changed []byte) {
				y := x
				y.report = changed
				if c, err := y.verify(seen); err == nil || c != nil {
					t.Errorf("bit %d of byte %#x flipped: accepted", bit%8, bit/8)
				}
			})
		})
	}
}

// sampled returns what share of the bits to try.
func sampled(step, fewer int) int {
	if raceDetector || testing.Short() {
		return fewer
	}
	return step
}

// TestBitFlipsCollateral changes single bits of what comes with a report: every
// fifth of the certificate table, every third of each certificate, every bit of the
// revocation list; fewer with the race detector, or -short. What is still accepted, such as
// a table with an ARK that has become an unknown entry, must prove the same as
// before; only a list may become one of somebody else's, and is then not claimed.
func TestBitFlipsCollateral(t *testing.T) {
	t.Parallel()
	x := labCapture()
	x.c.Certificates = nil
	table := must(snp.ParseCertTable(x.auxblob))
	seen := new(pki.Seen) // it remembers the chain as it was
	want := must(x.verify(seen))
	unlisted := *want
	unlisted.Collateral, unlisted.Unchecked = nil, []string{"SEV-Milan"}

	for _, tt := range []struct {
		name string
		data []byte
		step int
		put  func(x *capture, changed []byte)
		list bool // what is changed is the list
		most int  // changes that may be accepted, of all bits
	}{
		{"table", x.auxblob, sampled(5, 41), func(x *capture, changed []byte) { x.auxblob = changed }, false, 128},
		{"VCEK", table.VCEK.Raw, sampled(3, 41), func(x *capture, changed []byte) {
			x.auxblob, x.c.Certificates = nil, [][]byte{changed, table.ASK.Raw}
		}, false, 0},
		{"ASK", table.ASK.Raw, sampled(3, 41), func(x *capture, changed []byte) {
			x.auxblob, x.c.Certificates = nil, [][]byte{table.VCEK.Raw, changed}
		}, false, 0},
		{"revocation list", x.c.CRLs[0], sampled(1, 13), func(x *capture, changed []byte) { x.c.CRLs = [][]byte{changed} }, true, 4096},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			accepted := 0
			flip(tt.data, tt.step, func(bit int, changed []byte) {
				y := x
				tt.put(&y, changed)
				c, err := y.verify(seen)
				if (c == nil) != (err != nil) {
					t.Errorf("bit %d of byte %d: claims %v with error %v", bit%8, bit/8, c, err)
				}
				if err != nil {
					return
				}
				mu.Lock()
				accepted++
				mu.Unlock()
				if same := reflect.DeepEqual(c, want); same && tt.list || !same && !(tt.list && reflect.DeepEqual(c, &unlisted)) {
					t.Errorf("bit %d of byte %d flipped: accepted with claims %+v", bit%8, bit/8, c)
				}
			})
			if accepted > tt.most {
				t.Errorf("%d changes accepted, at most %d expected", accepted, tt.most)
			}
		})
	}
}

// TestSeen has a chain that is remembered: nothing but its signatures is.
func TestSeen(t *testing.T) {
	t.Parallel()
	x, seen := labCapture(), new(pki.Seen)
	if _, err := x.verify(seen); err != nil {
		t.Fatal(err)
	}
	later := now.AddDate(20, 0, 0)
	c, err := snp.Verify(x.report, x.auxblob, x.c, x.roots, seen, later)
	check(t, c, err, snp.ErrTime, "is valid from")
	stranger := []snp.Root{lab[snp.Genoa]().Root()}
	c, err = snp.Verify(x.report, x.auxblob, x.c, stranger, seen, now)
	check(t, c, err, snp.ErrRoot, "none of the 1 given")
	c, err = snp.Verify(x.report, x.auxblob, x.c, nil, seen, now)
	check(t, c, err, snp.ErrRoot, "no roots were given")
	c, err = snp.Verify(x.report, x.auxblob, x.c, x.roots, seen, time.Time{})
	check(t, c, err, snp.ErrTime, "no time was given")
	revoked := x
	revoked.c.CRLs = [][]byte{must(lab[snp.Milan]().CRL(teelab.Revoke(lab[snp.Milan]().ASK)))}
	c, err = revoked.verify(seen)
	check(t, c, err, pki.ErrRevoked, "SEV-Milan")
	other := must(lab[snp.Milan]().NewSNP())
	swapped := x
	swapped.auxblob = (&snp.CertTable{ASK: other.ASK, VCEK: other.VCEK}).Encode()
	c, err = swapped.verify(seen)
	check(t, c, err, snp.ErrChipID, "the VCEK is for")
}
