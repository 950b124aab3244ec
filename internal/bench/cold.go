//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// cost is what one run of a program took.
type cost struct {
	wall time.Duration
	// cpu is the time of the program and of its descendants, user and system.
	// The kernel adds up those that were waited for (wait4's rusage); all of
	// Redoubt's programs wait for those that they start.
	cpu   time.Duration
	steps [11]time.Duration // by number
}

// once runs a command line and measures it.
func (b *bench) once(ctx context.Context, line []string) (c cost, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := b.command(ctx, line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	c.wall = time.Since(start)
	if err != nil {
		return c, fmt.Errorf("%v: %w\n%s", line, err, stderr.String())
	}
	if !bytes.HasPrefix(stdout.Bytes(), []byte("hello")) {
		return c, fmt.Errorf("%v: wrote %q", line, stdout.String())
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c, c.readSteps(stderr.String())
}

var stepLine = regexp.MustCompile(`(?m)^ok +(\d+)/10 .* \(([^()]+)\)$`)

func (c *cost) readSteps(shown string) error {
	for _, m := range stepLine.FindAllStringSubmatch(shown, -1) {
		number, err := strconv.Atoi(m[1])
		if err != nil || number >= len(c.steps) {
			return fmt.Errorf("step %q of ten", m[1])
		}
		if c.steps[number], err = time.ParseDuration(m[2]); err != nil {
			return err
		}
	}
	return nil
}

// costs is what all runs of one command line took.
type costs []cost

func (cs costs) all(of func(cost) time.Duration) (out []time.Duration) {
	for _, c := range cs {
		out = append(out, of(c))
	}
	return out
}

func (cs costs) wall() []time.Duration { return cs.all(func(c cost) time.Duration { return c.wall }) }
func (cs costs) cpu() []time.Duration  { return cs.all(func(c cost) time.Duration { return c.cpu }) }

// cold is a run from nothing, as a user types it.
func (b *bench) cold(ctx context.Context) error {
	floor, err := b.findFloor(ctx)
	if err != nil {
		return err
	}
	for _, workload := range []struct{ name, module string }{
		{"Go hello (2.6 MB)", b.hello},
		{"tiny hello (0.2 kB)", b.tiny},
	} {
		asCLI := []string{b.wazero, workload.module}
		asRedoubt := b.bareWazero(workload.module)
		ours := []string{b.redoubt, "run", "--steps", "always", workload.module}
		results, err := b.interleave(ctx, b.runs, asCLI, asRedoubt, ours)
		if err != nil {
			return err
		}
		t := newTable("Cold run of "+workload.name+": redoubt run against bare wazero, each in a process of its own", "redoubt", "wazero", "ratio", "difference")
		for i, baseline := range []string{"as its command runs it", "with Redoubt's settings"} {
			r, w := results[2], results[i]
			t.row("wall time, wazero "+baseline, ms(median(r.wall())), ms(median(w.wall())), medianRatio(r.wall(), w.wall()), medianDifference(r.wall(), w.wall()))
			t.row("processor time, wazero "+baseline, ms(median(r.cpu())), ms(median(w.cpu())), medianRatio(r.cpu(), w.cpu()), medianDifference(r.cpu(), w.cpu()))
		}
		if err := t.end(); err != nil {
			return err
		}
		if err := showSteps(results[2]); err != nil {
			return err
		}
	}
	return floor.show()
}

// interleave runs each command line n times in turn, after once to warm up.
func (b *bench) interleave(ctx context.Context, n int, lines ...[]string) ([]costs, error) {
	results := make([]costs, len(lines))
	for round := range n + 1 {
		for i, line := range lines {
			c, err := b.once(ctx, line)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				results[i] = append(results[i], c)
			}
		}
	}
	return results, nil
}

var stepNames = [...]string{"", "create a Keep", "start the Keep", "choose a nonce", "attest the Keep", "verify its evidence, seal", "provision the Keep",
	"connect to the Keep", "send the workload", "compile the workload", "run the workload"}

// showSteps says where the time of a run went.
func showSteps(runs costs) error {
	t := newTable("  of that, by step")
	rest := runs.all(func(c cost) time.Duration { return c.wall })
	for number := 1; number < len(stepNames); number++ {
		took := runs.all(func(c cost) time.Duration { return c.steps[number] })
		for i := range rest {
			rest[i] -= took[i]
		}
		t.row(fmt.Sprintf("  %2d %s", number, stepNames[number]), ms(median(took)))
	}
	t.row("     start of redoubt, end of the Keep", ms(median(rest)))
	return t.end()
}
