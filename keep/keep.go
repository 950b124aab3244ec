//go:build linux

// Package keep is wasmldr, the program inside a Keep: it proves what it is,
// takes a tenant's secrets and workload, and runs the workload in its runner.
//
// The host, at the other end of the sallyport, is the enemy. It may send
// anything at any time; the worst that it may achieve is that the Keep ends.
package keep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/keep/runner"
	"github.com/redoubt-tee/redoubt/keep/sandbox"
	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// sallyportFD is where a process Keep finds its sallyport, a connected socket.
const sallyportFD = 3

// answerTimeout is how long the host may take to move one message.
const answerTimeout = 30 * time.Second

// Main is a process Keep, from its start to its end. It must be called on the
// main goroutine.
func Main(ctx context.Context) error {
	// The runner dies with the thread that started it: make that the main one.
	runtime.LockOSThread()
	time.Local = time.UTC // there is no zone file here
	f := os.NewFile(sallyportFD, "sallyport")
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("no sallyport at descriptor %d: redoubt-keepldr starts this program: %w", sallyportFD, err)
	}
	f.Close()
	port, err := sallyport.Keep(conn)
	if err != nil {
		return err
	}
	k := &keep{port: port, state: wire.StateStarting, ended: make(chan struct{})}
	if err := k.boot(ctx); err != nil {
		// There is no tenant yet, so the text can hold nothing of a tenant's.
		told := k.tell(&wire.Status{State: wire.StateFailed, Text: wire.Line(err.Error())})
		if told == nil {
			k.leave()
		}
		return errors.Join(err, told, port.Close())
	}
	return k.serve(ctx)
}

// A keep is one Keep. It is provisioned once and runs one workload.
type keep struct {
	port    *sallyport.Port
	runner  *runner.Runner
	control sallyport.Stream

	attesting sync.Mutex // one at a time: TEEs take their time over evidence
	telling   sync.Mutex // one Status at a time on control

	mu      sync.Mutex // guards what follows
	state   wire.State
	nonces  map[[wire.NonceSize]byte]bool // used before provisioning
	offer   *offer                        // what a provision may answer
	tenant  *tenant                       // from StateProvisioned on
	work    wire.Digest                   // from StateLoaded on
	endedBy wire.End                      // why the runner was killed, if it was

	ended     chan struct{} // closed when the Keep has nothing more to do
	endedOnce sync.Once
}

// boot confines this process and its runner, and opens the control stream.
func (k *keep) boot(ctx context.Context) error {
	var err error
	if k.control, err = k.port.Open(ctx, wire.StreamControl); err != nil {
		return err
	}
	if k.runner, err = runner.Start(); err != nil {
		return err
	}
	checks, err := sandbox.Gate()
	if err != nil {
		return err
	}
	more, err := k.runner.Ready()
	if err != nil {
		return err
	}
	k.state = wire.StateReady
	k.nonces = make(map[[wire.NonceSize]byte]bool)
	return k.tell(&wire.Status{State: wire.StateReady, Sandbox: append(checks, more...)})
}

// serve answers the host until the Keep ends.
func (k *keep) serve(ctx context.Context) error {
	server := newDeployServer(k)
	go k.listenToHost()
	served := make(chan error, 1)
	go func() {
		served <- k.port.Serve(sallyport.Handlers{
			wire.StreamExchange: k.exchange,
			wire.StreamDeploy:   server.accept,
		})
	}()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-served:
		served <- nil
	case <-k.ended:
		// Let the tenant have what is still on its way: through the channel, and
		// then through the host, which closes the sallyport when it has it all.
		shut := make(chan struct{})
		go func() { server.shutdown(); close(shut) }()
		select {
		case <-shut:
		case <-k.port.Done():
		}
		k.leave()
	}
	k.runner.Kill()
	k.port.Close()
	return errors.Join(err, <-served)
}

// leave waits until the host has all that was sent to it, and has closed the
// sallyport.
func (k *keep) leave() {
	_ = k.control.CloseWrite() // behind everything else on the sallyport
	select {
	case <-k.port.Done():
	case <-time.After(answerTimeout):
	}
}

// tell tells the host where the Keep is.
func (k *keep) tell(s *wire.Status) error {
	k.telling.Lock()
	defer k.telling.Unlock()
	if k.control == nil {
		return errors.New("no control stream")
	}
	if err := k.control.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	return wire.WriteFrame(k.control, s)
}

// advance moves the Keep from one state to the next, and tells the host.
// It refuses if the Keep is in another state. with, which may be nil, sets what
// the new state brings, at one with it: of two that try, only one does.
func (k *keep) advance(from, to wire.State, with func()) error {
	k.mu.Lock()
	if k.state != from {
		defer k.mu.Unlock()
		return wire.Refuse(wire.CodeWrongState, "the Keep is %s; this needs one that is %s", k.state, from)
	}
	k.state = to
	if with != nil {
		with()
	}
	k.mu.Unlock()
	// A host that does not listen only harms itself.
	_ = k.tell(&wire.Status{State: to})
	return nil
}

// end ends the Keep. why is recorded if a workload is running and this is what
// ends it.
func (k *keep) end(why wire.End) {
	k.mu.Lock()
	running := k.state == wire.StateRunning
	if !running {
		k.state = wire.StateEnded // nothing starts any more
	} else if k.endedBy == "" {
		k.endedBy = why
	}
	k.mu.Unlock()
	k.runner.Kill() // also one that compiles
	if !running {
		k.finish() // else whoever runs the workload does, when its outcome is settled
	}
}

// finish is the last thing that happens to a Keep, once.
func (k *keep) finish() {
	k.endedOnce.Do(func() {
		k.mu.Lock()
		k.state = wire.StateEnded
		k.mu.Unlock()
		_ = k.tell(&wire.Status{State: wire.StateEnded}) // as in advance
		close(k.ended)
	})
}

// listenToHost obeys the one thing that the host may say on the control stream.
func (k *keep) listenToHost() {
	if err := wire.ReadFrame(k.control, &wire.Stop{}); err == nil {
		k.end(wire.EndStopped)
	}
}
