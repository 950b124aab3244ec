package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/wire"
)

// showSteps returns what shows a step on w, or nil for nothing.
func (f *workloadFlags) showSteps(w io.Writer) (func(client.Step), error) {
	terminal := isTerminal(w)
	switch {
	case f.quiet || f.steps == "never" || f.steps == "auto" && !terminal:
		return nil, nil
	case f.steps != "always" && f.steps != "auto":
		return nil, fmt.Errorf("--steps %s: expected auto, always or never", f.steps)
	}
	tick := "ok"
	if terminal {
		tick = "\x1b[32m✓\x1b[0m"
	}
	return func(s client.Step) {
		fmt.Fprintf(w, "%s %2d/10 %s (%s)\n", tick, s.Number, wire.Printable(s.Text), round(s.Took))
	}, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
