package oracles

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A verdict is what one verifier makes of one piece of evidence.
type verdict struct {
	err    error             // nil if it is genuine
	claims map[string]string // by name; with an error, only what is known in spite of it
}

// Who accepts, where two verifiers disagree.
const (
	redoubt = "Redoubt accepts, the oracle refuses"
	oracle  = "the oracle accepts, Redoubt refuses"
	claims  = "both accept, and their claims differ"
)

// A disagreement is one that is known, and why.
type disagreement struct {
	oracle  string
	who     string // accepts
	cases   string // pattern (path.Match) of the names of cases
	because string // stands in the error of who refuses, or in the difference of claims
	reason  string
}

// A record holds what the verifiers made of all cases of one oracle. It may be
// used by several goroutines.
type record struct {
	oracle string

	mu     sync.Mutex
	agreed [2]int      // refused by both, accepted by both
	known  map[int]int // cases by their index in the table
	wrong  []string    // disagreements that are not in the table, and what fail notes
}

// add compares the two verdicts on one case.
func (r *record) add(name string, ours, theirs verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ours.err == nil && theirs.err != nil:
		r.disagree(name, redoubt, theirs.err.Error())
	case ours.err != nil && theirs.err == nil:
		r.disagree(name, oracle, ours.err.Error())
	case ours.err != nil:
		r.agreed[0]++
		return
	}
	diff := differ(ours.claims, theirs.claims)
	if ours.err == nil && diff != "" {
		r.disagree(name, claims, diff)
	} else if theirs.err == nil && ours.err == nil {
		r.agreed[1]++
	}
}

// fail notes what is wrong whatever the oracle says.
func (r *record) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, text)
}

// disagree looks a disagreement up in the table.
func (r *record) disagree(name, who, text string) {
	found := false
	for i, d := range disagreements {
		match, err := path.Match(d.cases, name)
		if err != nil {
			panic(err)
		}
		if match && d.oracle == r.oracle && d.who == who && strings.Contains(text, d.because) {
			r.known[i]++
			found = true
		}
	}
	if !found {
		r.wrong = append(r.wrong, fmt.Sprintf("not in the table: %s: %s: %.600s", name, who, text))
	}
}

// check fails the test for each disagreement that is not in the table, and for
// each entry of the table that nothing disagrees by any more.
func (r *record) check(t *testing.T) {
	t.Helper()
	const most = 40
	slices.Sort(r.wrong)
	for _, text := range r.wrong[:min(len(r.wrong), most)] {
		t.Error(text)
	}
	if n := len(r.wrong) - most; n > 0 {
		t.Errorf("and %d more", n)
	}
	excused := 0
	for i, d := range disagreements {
		if d.oracle != r.oracle {
			continue
		}
		if d.reason == "" || d.because == "" {
			t.Errorf("entry %d of %s lacks its reason, or what the refusal says", i, d.oracle)
		}
		if r.known[i] == 0 {
			t.Errorf("nothing disagrees any more: %s, %q, %s, %q: remove the entry", d.oracle, d.cases, d.who, d.because)
		}
		excused += r.known[i]
		t.Logf("%6d %s: %q, %q", r.known[i], d.who, d.cases, d.because)
	}
	if r.agreed[0] == 0 || r.agreed[1] == 0 {
		t.Errorf("both refuse %d cases and accept %d: nothing was compared", r.agreed[0], r.agreed[1])
	}
	t.Logf("%6d refused by both, %d accepted by both with equal claims, %d disagreements of the table", r.agreed[0], r.agreed[1], excused)
}

// differ returns in which of the claims that both have they differ.
func differ(ours, theirs map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if our, ok := ours[name]; ok && our != theirs[name] {
			all = append(all, fmt.Sprintf("%s: Redoubt has %s, the oracle %s", name, our, theirs[name]))
		}
	}
	return strings.Join(all, "; ")
}

// caught turns a panic of f, which is an oracle, into an error.
func caught(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}
