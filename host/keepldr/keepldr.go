//go:build linux

// Package keepldr looks after one Keep: it starts it, holds the host's end of
// its sallyport and carries bytes between that and keepmgr. It can read none
// of the bytes that matter.
package keepldr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/host/process"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/measure"
	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// How long a Keep may take.
const (
	startTimeout = 30 * time.Second // until it is ready
	idleTimeout  = 5 * time.Minute  // until it runs a workload
	stopTimeout  = 2 * time.Second  // from being asked to stop to being killed
	moveTimeout  = 30 * time.Second // for one message to it or from it
)

type keepldr struct {
	config wire.KeepldrConfig
	port   *sallyport.Port
	cmd    *exec.Cmd
	exited chan struct{} // closed once wasmldr is gone
	// finished is closed once wasmldr has said its last, and all else before.
	finished chan struct{}
	tunnels  sync.WaitGroup // from the Keep to the client

	simulated func() (*simulator, error) // made at most once

	mu      sync.Mutex // guards what follows
	info    wire.KeepInfo
	changed chan struct{} // closed at the next change of info
	control sallyport.Stream
	stopped bool // somebody asked for the end
	killed  bool // and this program had to make it
}

// Run runs the Keep that config describes, and serves it on listener, until it
// ends or ctx does. It must be called on the main goroutine.
func Run(ctx context.Context, config wire.KeepldrConfig, listener net.Listener) error {
	if config.Kind != wire.KindProcess {
		return fmt.Errorf("a keepldr of this release does not run %s Keeps", config.Kind)
	}
	runtime.LockOSThread() // the Keep dies with this thread
	wasmldr, err := os.Open(config.Wasmldr)
	if err != nil {
		return fmt.Errorf("redoubt-wasmldr: %w", err)
	}
	defer wasmldr.Close()
	l := &keepldr{
		config:   config,
		exited:   make(chan struct{}),
		finished: make(chan struct{}),
		changed:  make(chan struct{}),
		info: wire.KeepInfo{
			ID: config.ID, Kind: config.Kind, State: wire.StateStarting,
			Created: uint64(time.Now().UnixMilli()), Memory: config.Memory,
		},
		simulated: sync.OnceValues(func() (*simulator, error) { return newSimulator(config.Dev, wasmldr) }),
	}
	conn, cmd, err := process.Start(wasmldr)
	if err != nil {
		return err
	}
	l.cmd = cmd
	if l.port, err = sallyport.Host(conn); err != nil {
		return err
	}
	go func() { _, _ = l.simulated() }() // have it at hand; who needs it sees the error
	return l.serve(ctx, listener)
}

func (l *keepldr) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: l.routes(), ReadHeaderTimeout: moveTimeout, MaxHeaderBytes: 16 << 10}
	go server.Serve(listener) //nolint:errcheck // ends with Close
	defer server.Close()
	go func() {
		_ = l.cmd.Wait() // how it ended is in ProcessState
		close(l.exited)
	}()
	go func() {
		_ = l.port.Serve(sallyport.Handlers{ // wasmldr's end tells
			wire.StreamControl:  l.listen,
			wire.StreamEvidence: l.evidence,
		})
		// A Keep that nobody can reach any more has no reason to live.
		select {
		case <-l.exited:
		case <-time.After(stopTimeout):
			l.update(func(i *wire.KeepInfo) {
				if !i.State.Final() && i.Reason == "" {
					i.Reason = "the Keep has left its sallyport"
				}
			})
			l.kill()
		}
	}()
	defer l.port.Close()
	start := time.AfterFunc(startTimeout, func() { l.giveUp(wire.StateReady, "did not start within %v", startTimeout) })
	defer start.Stop()
	idle := time.AfterFunc(idleTimeout, func() { l.giveUp(wire.StateRunning, "got no workload within %v", idleTimeout) })
	defer idle.Stop()

	select {
	case <-ctx.Done():
	case <-l.exited:
	case <-l.finished:
	}
	// A client may be slow to take the end of its workload's output.
	select {
	case <-ctx.Done():
		l.stop()
	case <-l.drained():
		l.port.Close() // wasmldr waits for this
		select {
		case <-l.exited:
		case <-time.After(stopTimeout):
			l.stop()
		}
	}
	l.last()
	// Let those who watch have the end of it.
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// drained returns a channel that is closed once the clients have all that the
// Keep sent them.
func (l *keepldr) drained() <-chan struct{} {
	done := make(chan struct{})
	go func() { l.tunnels.Wait(); close(done) }()
	return done
}

// update changes info and wakes those who watch it.
func (l *keepldr) update(change func(*wire.KeepInfo)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.info)
	close(l.changed)
	l.changed = make(chan struct{})
}

// current returns info and a channel that is closed when it changes.
func (l *keepldr) current() (wire.KeepInfo, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info, l.changed
}

// last settles the state of a Keep whose wasmldr is gone.
func (l *keepldr) last() {
	l.mu.Lock()
	stopped, killed := l.stopped, l.killed
	l.mu.Unlock()
	status, ok := l.cmd.ProcessState.Sys().(syscall.WaitStatus)
	murdered := ok && status.Signaled() && !killed // a client's wish to stop may follow, and must not hide it
	l.update(func(i *wire.KeepInfo) {
		switch {
		case i.State.Final():
		case stopped && !murdered && i.Reason == "":
			i.State = wire.StateEnded
		default:
			i.State = wire.StateFailed
			if i.Reason == "" {
				i.Reason = "redoubt-wasmldr died: " + l.cmd.ProcessState.String()
			}
		}
	})
}

// giveUp ends a Keep that has not come as far as want in time.
func (l *keepldr) giveUp(want wire.State, format string, args ...any) {
	if now, _ := l.current(); now.State.Reached(want) {
		return
	}
	l.update(func(i *wire.KeepInfo) { i.Reason = fmt.Sprintf("the Keep "+format, args...) })
	l.stop()
}

// stop asks the Keep to end, and makes it. It returns when it is gone.
func (l *keepldr) stop() {
	l.mu.Lock()
	control := l.control
	l.stopped = true
	l.mu.Unlock()
	if control != nil {
		_ = control.SetWriteDeadline(time.Now().Add(stopTimeout))
		_ = wire.WriteFrame(control, &wire.Stop{}) // if it can't hear, it is killed
		late := time.After(stopTimeout)
		select {
		case <-l.exited:
		case <-l.finished:
			select {
			case <-l.drained():
			case <-late:
			}
			l.port.Close() // wasmldr waits for this
			select {
			case <-l.exited:
			case <-late:
			}
		case <-late:
		}
	}
	l.kill()
	<-l.exited
}

// kill kills wasmldr, if it is not gone by itself.
func (l *keepldr) kill() {
	select {
	case <-l.exited:
		return
	default:
	}
	l.mu.Lock()
	l.killed = true
	l.mu.Unlock()
	_ = l.cmd.Process.Kill() // fails only if it is gone
}

// listen follows what the Keep says of its state. It may lie: it can't be
// worse off for it than its tenant, who knows better.
func (l *keepldr) listen(s sallyport.Stream) {
	defer s.Close()
	l.mu.Lock()
	first := l.control == nil
	if first {
		l.control = s
	}
	l.mu.Unlock()
	if !first {
		return
	}
	defer close(l.finished)
	for {
		var status wire.Status
		if err := wire.ReadFrame(s, &status); err != nil {
			return
		}
		l.update(func(i *wire.KeepInfo) {
			if i.State.Final() || !status.State.Reached(i.State) {
				return // states only advance
			}
			i.State = status.State
			if len(status.Sandbox) > 0 {
				i.Sandbox = status.Sandbox
			}
			if status.Text != "" {
				i.Reason = status.Text
			}
		})
	}
}

// A simulator stands in for the TEE that a process Keep does not have.
type simulator struct {
	hardware    *teelab.SNP
	measurement [measure.Size]byte
}

func newSimulator(dev string, wasmldr *os.File) (*simulator, error) {
	hardware, err := teelab.LoadOrCreate(dev)
	if err != nil {
		return nil, err
	}
	m, err := measure.Process(wasmldr)
	if err != nil {
		return nil, err
	}
	return &simulator{hardware: hardware, measurement: m}, nil
}

// evidence signs what the Keep asks for, over the measurement of the binary
// that was started.
func (l *keepldr) evidence(s sallyport.Stream) {
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(moveTimeout)) // fails only on a dead stream, as the read will
	var request wire.EvidenceRequest
	if err := wire.ReadFrame(s, &request); err != nil {
		return
	}
	var answer wire.Message
	answer, err := l.simulate(wire.ReportData(request.ReportData))
	if err != nil {
		answer = wire.Refuse(wire.CodeInternal, "simulate evidence: %v", err)
	}
	_ = wire.WriteFrame(s, answer) // the Keep's loss
}

func (l *keepldr) simulate(rd wire.ReportData) (*wire.Evidence, error) {
	sim, err := l.simulated()
	if err != nil {
		return nil, err
	}
	e, err := sim.hardware.Evidence(rd, sim.measurement)
	if err != nil {
		return nil, err
	}
	return &wire.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob}, nil
}
