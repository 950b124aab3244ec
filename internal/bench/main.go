//go:build linux

// Command bench measures what Redoubt costs, against a baseline that runs in
// turn with it, since a machine is never as fast as a minute ago: bare wazero for
// a cold run and for memory, a bare pipe for streams. Figures are medians. It
// uses the programs in the folder of -bin as they are, and state and run folders
// of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/internal/guests"
)

// atMost bounds all of it, so that something that hangs is an error.
const atMost = 20 * time.Minute

func main() {
	var b bench
	bin := flag.String("bin", "bin", "folder of Redoubt's programs")
	quick := flag.Bool("quick", false, "fewer runs and bytes: for a look, not for a figure")
	flag.IntVar(&b.runs, "runs", 15, "runs of each kind that a figure is the median of")
	flag.Int64Var(&b.bytes, "bytes", 2<<30, "bytes of one run through the streams")
	only := flag.String("only", "", "cold, handshake, stream or memory (default all)")
	flag.Parse()
	if *quick {
		b.runs, b.bytes = 5, 256<<20
	}
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, *bin, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of this program.
type bench struct {
	runs  int
	bytes int64
	dir   string   // what is built for it, and Redoubt's folders
	env   []string // puts them there

	redoubt, keepmgr, keepldr, wasmldr, wazero string // programs
	hello, tiny, guest, reader                 string // modules
}

func (b *bench) run(ctx context.Context, bin, only string) (err error) {
	if b.dir, err = os.MkdirTemp("", "redoubt-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.prepare(ctx, bin); err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg") // a busy machine stretches differences; ratios suffer less
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%s/%s, %d processors, load %.4s before, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), load, runtime.Version())
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{{"cold", b.cold}, {"handshake", b.attested}, {"stream", b.stream}, {"memory", b.memory}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// prepare finds or makes the programs and modules that are measured.
func (b *bench) prepare(ctx context.Context, bin string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	for name, path := range map[string]*string{"redoubt": &b.redoubt, "redoubt-keepmgr": &b.keepmgr, "redoubt-keepldr": &b.keepldr, "redoubt-wasmldr": &b.wasmldr} {
		*path = filepath.Join(bin, name)
		if _, err := os.Stat(*path); err != nil {
			return fmt.Errorf("%w: run make build, or name the programs' folder with -bin", err)
		}
	}
	// A state folder as it is after the first use.
	b.env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(b.dir, "state"), "XDG_RUNTIME_DIR="+filepath.Join(b.dir, "run"), "TMPDIR="+b.dir)

	b.wazero = filepath.Join(b.dir, "barewazero")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.wazero, "github.com/redoubt-tee/redoubt/internal/bench/barewazero")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build barewazero: %w\n%s", err, out)
	}
	b.hello, b.guest = filepath.Join(b.dir, "hello.wasm"), filepath.Join(b.dir, "guest.wasm")
	if err := guests.Build(ctx, "github.com/redoubt-tee/redoubt/examples/hello", b.hello); err != nil {
		return err
	}
	if err := guests.Build(ctx, guests.Guest, b.guest); err != nil {
		return err
	}
	b.tiny, b.reader = filepath.Join(b.dir, "tiny.wasm"), filepath.Join(b.dir, "reader.wasm")
	return errors.Join(os.WriteFile(b.tiny, guests.Hello(), 0o600), os.WriteFile(b.reader, guests.Read(), 0o600))
}

// command is a program with bench's environment. It is killed when ctx ends;
// what it has started ends by itself then.
func (b *bench) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = b.env
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// bareWazero is wazero with as much help as Redoubt gives it.
func (b *bench) bareWazero(module string, args ...string) []string {
	return append([]string{b.wazero, "-debug=false", "-workers", strconv.Itoa(runtime.NumCPU()), module}, args...)
}
