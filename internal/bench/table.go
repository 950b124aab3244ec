//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A table is printed with a line for each figure.
type table struct{ w *tabwriter.Writer }

func newTable(title string, columns ...string) *table {
	fmt.Fprintf(os.Stdout, "\n%s\n", title)
	t := &table{tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	if len(columns) > 0 {
		t.row("", columns...)
	}
	return t
}

func (t *table) row(name string, cells ...string) {
	fmt.Fprintf(t.w, "  %s\t%s\n", name, strings.Join(cells, "\t"))
}

func (t *table) end() error { return t.w.Flush() }

func median[T cmp.Ordered](values []T) T {
	if len(values) == 0 {
		var zero T
		return zero
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// medianRatio is the median of the ratios of what ran in turn, which a slow
// minute of the machine changes less than the ratio of the medians.
func medianRatio[T ~int64 | ~float64](of, to []T) string {
	var ratios []float64
	for i := range of {
		ratios = append(ratios, float64(of[i])/float64(to[i]))
	}
	return fmt.Sprintf("%.2f x", median(ratios))
}

func medianDifference(of, to []time.Duration) string {
	var differences []time.Duration
	for i := range of {
		differences = append(differences, of[i]-to[i])
	}
	return fmt.Sprintf("%+.1f ms", inMS(median(differences)))
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", inMS(d)) }

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func rate(bytesPerSecond float64) string { return fmt.Sprintf("%.0f MiB/s", bytesPerSecond/(1<<20)) }
