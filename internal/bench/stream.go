//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

// chunk is what bench itself writes and reads at once.
const chunk = 256 << 10

// parts are the processes of a Keep, in the order of a byte that goes in.
var parts = []string{"redoubt", "redoubt-keepldr", "redoubt-wasmldr", "runner"}

// flow is what one run through the streams took.
type flow struct {
	rate float64          // bytes per second, from the first byte out to the last
	cpu  time.Duration    // as in cost
	peak map[string]int64 // memory of each process at the end
	at25 map[string]int64 // and when a quarter was through
}

// stream is bytes in, bytes out.
func (b *bench) stream(ctx context.Context) error {
	lines := [][]string{
		{"cat"},
		b.bareWazero(b.guest, "cat"),
		{b.redoubt, "run", "-q", b.guest, "cat"},
	}
	const rounds = 3
	results := make([][]flow, len(lines))
	for range rounds {
		for i, line := range lines {
			// What it takes to start, and to compile, is not the streams'.
			start, err := b.pour(ctx, line, chunk)
			if err != nil {
				return fmt.Errorf("%v: %w", line, err)
			}
			f, err := b.pour(ctx, line, b.bytes)
			if err != nil {
				return fmt.Errorf("%v: %w", line, err)
			}
			f.cpu -= start.cpu
			results[i] = append(results[i], f)
		}
	}
	rates := func(i int) (out []float64) {
		for _, f := range results[i] {
			out = append(out, f.rate)
		}
		return out
	}
	perGiB := func(i int) time.Duration {
		var out []time.Duration
		for _, f := range results[i] {
			out = append(out, time.Duration(float64(f.cpu)*(1<<30)/float64(b.bytes)))
		}
		return median(out)
	}
	t := newTable(fmt.Sprintf("Streams: %d MiB through a cat, standard input to standard output", b.bytes>>20), "rate", "redoubt is", "processor time per GiB")
	t.row("a native cat, which is a bare pipe", rate(median(rates(0))), medianRatio(rates(2), rates(0)), ms(perGiB(0)))
	t.row("a guest in bare wazero", rate(median(rates(1))), medianRatio(rates(2), rates(1)), ms(perGiB(1)))
	t.row("the same guest in redoubt run", rate(median(rates(2))), "1", ms(perGiB(2)))
	if err := t.end(); err != nil {
		return err
	}
	t = newTable("  its processes' memory at its highest (VmHWM)", "after a quarter", "at the end")
	last := results[2][rounds-1]
	for _, name := range parts {
		t.row("  "+name, mib(last.at25[name]), mib(last.peak[name]))
	}
	return t.end()
}

// pour sends so many bytes through a program.
func (b *bench) pour(ctx context.Context, line []string, bytes int64) (f flow, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := b.command(ctx, line[0], line[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return f, err
	}
	// A pipe of ours: Wait closes the one of StdoutPipe.
	out, theirs, err := os.Pipe()
	if err != nil {
		return f, err
	}
	defer out.Close()
	cmd.Stdout = theirs
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return f, err
	}
	go func() {
		defer in.Close()
		data := make([]byte, chunk)
		for left := bytes; left > 0; left -= chunk {
			if _, err := in.Write(data[:min(left, chunk)]); err != nil {
				return // the count tells
			}
		}
	}()
	var through atomic.Int64
	watched := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(watched)
		f.at25, f.peak = watch(cmd, &through, bytes/4, stop)
	}()
	err = f.drain(out, &through)
	close(stop)
	<-watched
	if e := cmd.Wait(); e != nil {
		err = errors.Join(err, fmt.Errorf("%w: %s", e, stderr.String()))
	}
	if n := through.Load(); err == nil && n != bytes {
		err = fmt.Errorf("%d bytes came out, %d went in", n, bytes)
	}
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return f, err
}

// drain reads to the end and takes the time from the first read on.
func (f *flow) drain(out io.Reader, through *atomic.Int64) error {
	buf := make([]byte, chunk)
	var first time.Time
	before := 0
	for {
		n, err := out.Read(buf)
		if first.IsZero() {
			first, before = time.Now(), n
		}
		through.Add(int64(n))
		if errors.Is(err, io.EOF) {
			f.rate = float64(through.Load()-int64(before)) / time.Since(first).Seconds()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// watch notes the highest memory of cmd's processes until stop.
func watch(cmd *exec.Cmd, through *atomic.Int64, quarter int64, stop <-chan struct{}) (at25, peak map[string]int64) {
	at25, peak = make(map[string]int64), make(map[string]int64)
	for {
		select {
		case <-stop:
			return at25, peak
		case <-time.After(20 * time.Millisecond):
		}
		early := through.Load() <= quarter
		for _, p := range processes(cmd.Process.Pid) {
			high, err := field(p.pid, "status", "VmHWM")
			if err != nil {
				continue // it has ended
			}
			peak[p.name] = max(peak[p.name], high)
			if early {
				at25[p.name] = peak[p.name]
			}
		}
	}
}
