//go:build linux

package keepmgr

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
)

// endTimeout is how long a keepldr may take to end its Keep and itself.
const endTimeout = 10 * time.Second

// A child is a keepldr that is a child process of this keepmgr. It ends when
// its standard input does, so also when keepmgr dies.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	socket string
	ask    sync.Once
}

// startKeepldr starts the keepldr at path, to be served on socket.
func startKeepldr(path, socket string, config *wire.KeepldrConfig) (*child, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // the child goes on serving it
	defer listener.Close()
	c := &child{socket: socket, stderr: &tail{}}
	fail := func(err error) (*child, error) {
		return nil, errors.Join(err, os.Remove(socket))
	}
	inherited, err := listener.File()
	if err != nil {
		return fail(err)
	}
	defer inherited.Close()
	c.cmd = &exec.Cmd{
		Path:       path,
		Args:       []string{"redoubt-keepldr"},
		Env:        []string{}, // an empty one, not this process's
		Stderr:     c.stderr,
		ExtraFiles: []*os.File{inherited},
		SysProcAttr: &syscall.SysProcAttr{
			Setsid: true, // a terminal's Ctrl-C is for the client
		},
	}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return fail(err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return fail(err)
	}
	if err := wire.WriteFrame(stdin, config); err != nil {
		c.end()
		return nil, fmt.Errorf("%w: %s", err, c.lastWords())
	}
	return c, nil
}

// askToEnd asks keepldr to end its Keep.
func (c *child) askToEnd() { c.ask.Do(func() { c.stdin.Close() }) }

// end makes sure that keepldr is gone, and removes what it leaves.
func (c *child) end() {
	c.askToEnd()
	kill := time.AfterFunc(endTimeout, func() { _ = c.cmd.Process.Kill() }) // fails only if it is gone
	_ = c.cmd.Wait()                                                        // how it ended is in ProcessState
	kill.Stop()
	_ = os.Remove(c.socket) // a leftover harms nobody
}

// lastWords says how keepldr ended. It must be gone.
func (c *child) lastWords() string {
	return fmt.Sprintf("%s. %s", c.cmd.ProcessState, c.stderr.String())
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - 2<<10; over > 0 {
		t.kept = append([]byte(nil), t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
