// Package fuzzcheck has what tests of parsers of untrusted bytes have in common.
package fuzzcheck

import (
	"runtime"
	"testing"
)

// Allocated calls f and returns how many bytes are allocated meanwhile. Those of
// other goroutines count too: nothing else should run.
func Allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// Memory calls f and fails t if more than limit bytes are allocated meanwhile, as
// Allocated counts them.
func Memory(t testing.TB, limit int, f func()) {
	t.Helper()
	if n := Allocated(f); n > limit {
		t.Errorf("%d bytes allocated, at most %d allowed", n, limit)
	}
}
