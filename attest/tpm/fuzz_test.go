package tpm_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/tpm"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// seeds is what the fuzz targets start from: genuine evidence of simulated
// hardware.
func seeds() []*tpm.Evidence {
	var list []*tpm.Evidence
	for _, tt := range []struct {
		tpm   *teelab.TPM
		fault func(*teelab.TPMQuote)
	}{
		{lab(), func(*teelab.TPMQuote) {}},
		{labRSA(), func(*teelab.TPMQuote) {}},
		{labRSA(), func(q *teelab.TPMQuote) { q.Scheme = tpm.RSAPSS }},
		{lab(), func(q *teelab.TPMQuote) {
			q.Quote.Selections = []tpm.Selection{{Bank: tpm.SHA1, Bits: []byte{1}}, {Bank: tpm.SHA384, Bits: []byte{0, 1}}}
			q.PCRs = [][]byte{make([]byte, 20), make([]byte, 48)}
		}},
	} {
		q := tt.tpm.Quote(nonce)
		tt.fault(q)
		list = append(list, must(q.Sign()))
	}
	return list
}

func fuzzRoots() []tpm.Root { return []tpm.Root{lab().PinnedRoot(), labRSA().PinnedRoot()} }

func TestSeeds(t *testing.T) {
	t.Parallel()
	if len(seeds()) < 4 {
		t.Error("too few seeds")
	}
	for i, seed := range seeds() {
		if _, err := tpm.Verify(must(seed.Encode()), tpm.Collateral{}, fuzzRoots(), nil, now); err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
		if q, err := tpm.ParseQuote(seed.Message); err != nil || !bytes.Equal(q.Encode(), seed.Message) {
			t.Errorf("seed %d: %v", i, err)
		}
	}
}

// most is the most memory that reading n bytes of the TPM may take, in bytes.
func most(n int) int { return 64<<10 + 32*n }

// mostJSON is the same for evidence. Strict JSON costs that much for short
// numbers and names.
func mostJSON(n int) int { return 64<<10 + 96*n }

// TestMemory reads evidence that is made to take much.
func TestMemory(t *testing.T) { //nolint:paralleltest // counts all memory
	names := ""
	for i := range 3000 {
		names += fmt.Sprintf(`"%c":0,`, 0x100+i)
	}
	for _, inner := range []string{`"message":[` + strings.Repeat("0,", 8000) + "0]", names + `"":0`} {
		data := []byte(`{"ak_public":"","tpm_quote":{` + inner + "}}")
		fuzzcheck.Memory(t, mostJSON(len(data)), func() { _, _ = tpm.ParseEvidence(data) })
	}
}

func FuzzParseQuote(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed.Message)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzcheck.Memory(t, most(len(data)), func() {
			q, err := tpm.ParseQuote(data)
			if (q == nil) != (err != nil) {
				t.Fatalf("quote %v with error %v", q, err)
			}
			if err == nil && !bytes.Equal(q.Encode(), data) {
				t.Fatal("encoding gives other bytes")
			}
		})
	})
}

func FuzzParseSignature(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed.Signature.Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzcheck.Memory(t, most(len(data)), func() {
			s, err := tpm.ParseSignature(data)
			if (s == nil) != (err != nil) {
				t.Fatalf("signature %v with error %v", s, err)
			}
			if err == nil && !bytes.Equal(s.Encode(), data) {
				t.Fatal("encoding gives other bytes")
			}
		})
	})
}

// FuzzVerify accepts nothing but the quotes of its seeds. What is read encodes to
// evidence that is read to the same.
func FuzzVerify(f *testing.F) {
	roots := fuzzRoots()
	var genuine []*tpm.Claims
	for _, seed := range seeds() {
		data := must(seed.Encode())
		f.Add(data)
		genuine = append(genuine, must(tpm.Verify(data, tpm.Collateral{}, roots, nil, now)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e *tpm.Evidence
		var err error
		fuzzcheck.Memory(t, mostJSON(len(data)), func() { e, err = tpm.ParseEvidence(data) })
		if (e == nil) != (err != nil) {
			t.Fatalf("evidence %v with error %v", e, err)
		}
		if err == nil {
			if again, err := tpm.ParseEvidence(must(e.Encode())); err != nil || !reflect.DeepEqual(again, e) {
				t.Fatalf("encoding gives other evidence: %v", err)
			}
		}
		c, err := tpm.Verify(data, tpm.Collateral{}, roots, nil, now)
		if (c == nil) != (err != nil) {
			t.Fatalf("claims %v with error %v", c, err)
		}
		if err != nil {
			return
		}
		for _, g := range genuine {
			if reflect.DeepEqual(g, c) {
				return
			}
		}
		t.Fatalf("accepted what was never signed: %s", data)
	})
}
