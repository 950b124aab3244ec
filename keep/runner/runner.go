//go:build linux

// Package runner runs the workload in a process of its own: the same binary as
// wasmldr, with the engine, the workload's streams and nothing else. A workload
// that spins can't stall the Keep, and one that escapes the engine finds no key
// and no way out.
//
// Start, Load and Run are wasmldr's side; Main is the runner's.
package runner

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/redoubt-tee/redoubt/wire"
)

// pipeSize is what a stream's pipe holds, where the system's limits allow it.
const pipeSize = 256 << 10

// A Runner is a running runner process.
type Runner struct {
	// The workload's streams, seen from wasmldr. Whoever uses one closes it.
	Stdin, Stdout, Stderr *os.File

	cmd     *exec.Cmd
	control net.Conn
	exited  chan struct{} // closed once the process is gone
	killed  sync.Once
}

// Start starts a runner from this program's own binary. The caller's thread
// must be locked and live as long as the runner may: the runner dies with it.
func Start() (*Runner, error) {
	r, err := start()
	if err != nil {
		return nil, fmt.Errorf("start the runner: %w", err)
	}
	return r, nil
}

func start() (*Runner, error) {
	var opened []*os.File // all to be closed after a failure, the runner's own after success
	closeAll := func(files []*os.File) {
		for _, f := range files {
			f.Close()
		}
	}
	for _, weWrite := range []bool{true, false, false} {
		ours, theirs, err := pipe(weWrite)
		if err != nil {
			closeAll(opened)
			return nil, err
		}
		opened = append(opened, ours, theirs)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		closeAll(opened)
		return nil, err
	}
	control, theirControl := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	opened = append(opened, control, theirControl)

	r := &Runner{Stdin: opened[0], Stdout: opened[2], Stderr: opened[4], exited: make(chan struct{})}
	if r.control, err = net.FileConn(control); err != nil {
		closeAll(opened)
		return nil, err
	}
	r.cmd = &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{"redoubt-wasmldr", Arg},
		Env:         []string{}, // an empty one, not this process's
		Stdin:       opened[1],
		Stdout:      opened[3],
		Stderr:      opened[5],
		ExtraFiles:  []*os.File{theirControl},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := r.cmd.Start(); err != nil {
		closeAll(opened)
		r.control.Close()
		return nil, err
	}
	closeAll([]*os.File{opened[1], opened[3], opened[5], control, theirControl})
	go func() {
		_ = r.cmd.Wait() // how it ended is in cmd.ProcessState
		close(r.exited)
	}()
	return r, nil
}

// pipe makes a pipe of which this process uses one end without blocking a
// thread, and the runner the other, as programs expect it, blocking.
func pipe(weWrite bool) (ours, theirs *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	_, _ = unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, pipeSize) // only faster
	our, their := p[0], p[1]
	if weWrite {
		our, their = p[1], p[0]
	}
	if err := unix.SetNonblock(our, true); err != nil {
		unix.Close(our)
		unix.Close(their)
		return nil, nil, err
	}
	return os.NewFile(uintptr(our), "stream"), os.NewFile(uintptr(their), "stream"), nil
}

// Ready waits until the runner is confined, and says how.
func (r *Runner) Ready() ([]wire.Check, error) {
	var ready wire.RunnerReady
	if err := r.answer(&ready); err != nil {
		return nil, fmt.Errorf("start the runner: %w", err)
	}
	return ready.Sandbox, nil
}

// Load has the runner compile module. A module that it can't run is a
// *wire.Refusal.
func (r *Runner) Load(module []byte, memory uint64) error {
	err := wire.WriteFrame(r.control, &wire.RunnerLoad{Size: uint64(len(module)), Memory: memory})
	if err == nil {
		_, err = r.control.Write(module)
	}
	if err != nil {
		return fmt.Errorf("hand the workload to the runner: %w", r.blame(err))
	}
	return r.answer(&wire.Done{})
}

// Run starts the loaded workload and returns how it ended. The runner is gone
// then.
func (r *Runner) Run(start *wire.RunnerStart) *wire.Outcome {
	var outcome wire.Outcome
	err := wire.WriteFrame(r.control, start)
	if err == nil {
		err = r.answer(&outcome)
	}
	if err != nil {
		return &wire.Outcome{End: wire.EndCrashed, Text: wire.Shorten(err.Error())}
	}
	r.Kill() // it has nothing left to do, and need not be believed to end by itself
	return &outcome
}

// Kill ends the runner now, whatever its workload does, and waits for that. It
// panics if it can't: the Keep then ends, and the runner with it.
func (r *Runner) Kill() {
	r.killed.Do(func() {
		if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			panic(fmt.Sprintf("kill the runner: %v", err))
		}
	})
	<-r.exited
	r.control.Close()
}

func (r *Runner) answer(m wire.Message) error {
	if err := wire.ReadAnswer(r.control, m); err != nil {
		return r.blame(err)
	}
	return nil
}

// blame turns the failure to talk to a runner that died into how it died.
func (r *Runner) blame(err error) error {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	r.Kill()
	return fmt.Errorf("the runner is gone (%s): %w", r.cmd.ProcessState, err)
}
