//go:build linux

package runner

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/keep/sandbox"
	"github.com/redoubt-tee/redoubt/wire"
)

// Arg is the argument that makes redoubt-wasmldr a runner.
const Arg = "runner"

// controlFD is where the runner finds the socket to wasmldr; 0, 1 and 2 are
// the workload's streams.
const controlFD = 3

// Main is the runner's process: it confines itself, then loads and runs the
// one workload that wasmldr sends. It returns once that has ended.
func Main() error {
	signal.Ignore(syscall.SIGPIPE) // a stream that the tenant closed is the workload's error, not its death
	time.Local = time.UTC          // there is no zone file here
	control, err := fileConn(controlFD)
	if err != nil {
		return err
	}
	defer control.Close()
	checks, err := sandbox.Runner()
	if err != nil {
		return errors.Join(err, wire.WriteFrame(control, wire.AsRefusal(err, wire.CodeInternal)))
	}
	if err := wire.WriteFrame(control, &wire.RunnerReady{Sandbox: checks}); err != nil {
		return err
	}
	return serve(control)
}

func serve(control io.ReadWriter) error {
	var announced wire.RunnerLoad
	if err := wire.ReadFrame(control, &announced); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // the Keep ended before it got a workload
		}
		return err
	}
	module := make([]byte, announced.Size)
	if _, err := io.ReadFull(control, module); err != nil {
		return fmt.Errorf("runner: read the workload: %w", err)
	}
	engine, err := load(module, announced.Memory)
	if err != nil {
		return wire.WriteFrame(control, wire.AsRefusal(err, wire.CodeBadWorkload))
	}
	if err := wire.WriteFrame(control, &wire.Done{}); err != nil {
		return err
	}
	go debug.FreeOSMemory() // compiling leaves far more behind than what it made
	var start wire.RunnerStart
	if err := wire.ReadFrame(control, &start); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	return wire.WriteFrame(control, engine.run(&start, time.Now()))
}

// fileConn returns the connected socket that was inherited as fd.
func fileConn(fd uintptr) (net.Conn, error) {
	f := os.NewFile(fd, "control")
	defer f.Close() // FileConn has its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("runner: no socket at descriptor %d: redoubt-wasmldr starts its runner itself: %w", fd, err)
	}
	return c, nil
}
