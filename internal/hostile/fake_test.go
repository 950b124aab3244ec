//go:build linux

package hostile

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/keep"
	"github.com/redoubt-tee/redoubt/keep/runner"
	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// fake is this test's binary, started by keepldr in place of wasmldr. The name
// of its file says what it is: a hostile wasmldr, or the real one with a hostile
// runner. A runner inherits no name, argument or environment; but a umask.
func fake() int {
	if len(os.Args) == 2 && os.Args[1] == runner.Arg {
		names := slices.Sorted(maps.Keys(fakeRunners))
		fakeRunners[names[syscall.Umask(0)]](fakeConn())
		return 0
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 1
	}
	name := filepath.Base(path)
	if i := slices.Index(slices.Sorted(maps.Keys(fakeRunners)), name); i >= 0 {
		syscall.Umask(i)
		if err := keep.Main(context.Background()); err != nil {
			return 1
		}
		return 0
	}
	fakeKeeps[name](fakeConn())
	return 0
}

// fakeConn is the sallyport of a wasmldr, or the control socket of a runner.
func fakeConn() net.Conn {
	f := os.NewFile(3, "inherited")
	conn, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	f.Close()
	return conn
}

func forever() { time.Sleep(time.Hour) }

// ready returns the sallyport of a wasmldr that has said that it is ready, and
// its control stream.
func ready(conn net.Conn) (*sallyport.Port, sallyport.Stream) {
	port, err := sallyport.Keep(conn)
	if err != nil {
		panic(err)
	}
	control, err := port.Open(context.Background(), wire.StreamControl)
	if err != nil {
		panic(err)
	}
	if err := wire.WriteFrame(control, &wire.Status{State: wire.StateReady}); err != nil {
		panic(err)
	}
	return port, control
}

// rawReady is ready without a sallyport of which frames would be in order. What
// the host says is not heard.
func rawReady(conn net.Conn) {
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	status := mustMarshal(&wire.Status{State: wire.StateReady})
	status = append([]byte{0, 0, 0, byte(len(status))}, status...)
	_, _ = conn.Write(append(open(2, wire.StreamControl), frame(data, 0, 2, uint32(len(status)), status...)...))
}

// answering answers each message with what answer writes.
func answering(answer func(sallyport.Stream)) func(net.Conn) {
	return func(conn net.Conn) {
		port, _ := ready(conn)
		_ = port.Serve(sallyport.Handlers{wire.StreamExchange: func(s sallyport.Stream) {
			_, _ = wire.ReadRawFrame(s)
			answer(s)
			_ = s.Close()
		}})
	}
}

// saying says things on the control stream, and goes on living.
func saying(text []byte) func(net.Conn) {
	return func(conn net.Conn) {
		_, control := ready(conn)
		_, _ = control.Write(text)
		forever()
	}
}

// sending sends n times what make makes, once it is ready.
func sending(n int, makeFrames func(i uint32) []byte) func(net.Conn) {
	return func(conn net.Conn) {
		rawReady(conn)
		for i := range uint32(n) {
			if _, err := conn.Write(makeFrames(i)); err != nil {
				break
			}
		}
		forever()
	}
}

var fakeKeeps = map[string]func(net.Conn){
	"silent": func(net.Conn) { forever() },
	"dies":   func(net.Conn) { os.Exit(3) },
	"closes": func(conn net.Conn) { conn.Close(); forever() },
	"noise":  func(conn net.Conn) { _, _ = io.Copy(conn, rand.Reader); forever() },
	"4gib": func(conn net.Conn) {
		_, _ = conn.Write(append(open(2, wire.StreamControl), frame(data, 0, 2, 1<<32-1)...))
		forever()
	},
	"strange": func(conn net.Conn) { _, _ = conn.Write(open(2, wire.StreamExchange)); forever() },

	"ready-silent": func(conn net.Conn) { ready(conn); forever() },
	"ready-dies":   func(conn net.Conn) { ready(conn); time.Sleep(time.Second); os.Exit(3) },
	"ready-closes": func(conn net.Conn) {
		port, _ := ready(conn)
		time.Sleep(time.Second)
		port.Close()
		forever()
	},
	"ready-noise": func(conn net.Conn) { rawReady(conn); _, _ = io.Copy(conn, rand.Reader); forever() },

	"status-noise":   saying(bytes.Repeat([]byte{0, 0, 0, 1, 0xff}, 1000)),
	"status-4gib":    saying([]byte{0xff, 0xff, 0xff, 0xff, 0x83}),
	"status-escapes": saying([]byte("\x00\x00\x00\x2b\x83\x01fstatus\xa3dtextd\x1b[2Jestategrunninggsandbox\x80")),
	"status-flood": func(conn net.Conn) {
		_, control := ready(conn)
		for wire.WriteFrame(control, &wire.Status{State: wire.StateReady}) == nil {
		}
	},
	"status-ended": func(conn net.Conn) {
		_, control := ready(conn)
		_ = wire.WriteFrame(control, &wire.Status{State: wire.StateEnded})
		forever()
	},

	"answer-noise":   answering(func(s sallyport.Stream) { _ = wire.WriteRawFrame(s, make([]byte, wire.MaxMessage)) }),
	"answer-4gib":    answering(func(s sallyport.Stream) { _, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x83}) }),
	"answer-nothing": answering(func(sallyport.Stream) {}),
	"answer-other":   answering(func(s sallyport.Stream) { _ = wire.WriteFrame(s, &wire.Provisioned{}) }),
	"answer-endless": answering(func(s sallyport.Stream) {
		for _, err := s.Write([]byte{0, 3, 0xff, 0xff}); err == nil; {
			_, err = s.Write(make([]byte, 64<<10))
		}
	}),

	"flood-streams":  sending(10_000, func(i uint32) []byte { return frame(window, syn, 2*i+4, 0) }),
	"flood-controls": sending(10_000, func(i uint32) []byte { return open(2*i+4, wire.StreamControl) }),
	"flood-evidence": sending(10_000, func(i uint32) []byte {
		m := mustMarshal(&wire.EvidenceRequest{ReportData: make([]byte, 64)})
		m = append([]byte{0, 0, 0, byte(len(m))}, m...)
		return append(open(2*i+4, wire.StreamEvidence), frame(data, 0, 2*i+4, uint32(len(m)), m...)...)
	}),
	"flood-resets": sending(10_000, func(i uint32) []byte {
		return append(open(2*i+4, wire.StreamEvidence), frame(window, rst, 2*i+4, 0)...)
	}),
	"flood-pings": sending(500_000, func(i uint32) []byte { return frame(ping, syn, 0, i) }),
}

// TestHostileKeep: a wasmldr that is not what was built. keepldr, and behind it
// the client, come to an end with it, do not grow, and leave nothing behind.
func TestHostileKeep(t *testing.T) {
	t.Parallel()
	wants := map[string]failure{
		"silent":  {step: 2, is: client.ErrTimeout},
		"dies":    {step: 2, code: wire.CodeGone, text: "exit status 3"},
		"closes":  {step: 2, code: wire.CodeGone, text: "has left its sallyport"},
		"noise":   {step: 2, code: wire.CodeGone, text: "has left its sallyport"},
		"4gib":    {step: 2, code: wire.CodeGone, text: "has left its sallyport"},
		"strange": {step: 2, is: client.ErrTimeout},

		"ready-silent": {step: 4, is: client.ErrTimeout},
		"ready-dies":   {step: 4, code: wire.CodeTimeout},
		"ready-closes": {step: 4, code: wire.CodeTimeout},
		"ready-noise":  {},

		"status-noise":   {step: 4},
		"status-4gib":    {step: 4},
		"status-escapes": {step: 4},
		"status-flood":   {step: 4, is: client.ErrTimeout},
		"status-ended":   {},

		"answer-noise":   {step: 4, text: "attestation: "},
		"answer-4gib":    {step: 4, code: wire.CodeTimeout, text: "frame of 4294967295 bytes"},
		"answer-nothing": {step: 4, code: wire.CodeTimeout},
		"answer-other":   {step: 4, text: `"provisioned"`},
		"answer-endless": {step: 4, text: "attestation: "},

		"flood-streams":  {step: 4, is: client.ErrTimeout},
		"flood-controls": {}, // any of them may be the first
		"flood-evidence": {step: 4, is: client.ErrTimeout},
		"flood-resets":   {step: 4, is: client.ErrTimeout},
		"flood-pings":    {step: 4, is: client.ErrTimeout},
	}
	for name := range fakeKeeps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, ok := wants[name]
			if !ok {
				t.Fatal("no expectation")
			}
			fake := link(t, name)
			manager, address, err := startManager(fake)
			if err != nil {
				t.Fatal(err)
			}
			defer manager.Close()
			grown := make(chan int, 1)
			stop := make(chan struct{})
			go func() { grown <- watchKeepldr(fake, stop) }()
			d := deployment(guests.Hello())
			d.StepTimeout = 10 * time.Second
			if want.is != nil || want == (failure{}) {
				d.StepTimeout = 2 * time.Second
			}
			host, err := client.Open(address, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			_, err = client.Deploy(t.Context(), host, d)
			close(stop)
			if want == (failure{}) { // which step it is depends on who is quicker
				var step *client.StepError
				if !errors.As(err, &step) {
					t.Errorf("%v", err)
				}
			} else {
				want.check(t, err)
			}
			if n := <-grown; n > 64<<20 {
				t.Errorf("keepldr has %d bytes", n)
			}
			// Deploy had the Keep stopped.
			for deadline := time.Now().Add(10 * time.Second); len(running(fake)) > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("processes %v live on", running(fake))
				}
			}
		})
	}
}

// TestOtherProgram: a wasmldr that does all that the real one does, and is not it.
func TestOtherProgram(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile(filepath.Join(bin, "redoubt-wasmldr"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(temp, "other")
	if err := os.WriteFile(other, append(program, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	failure{step: 5, rule: "measurement"}.check(t, deployTo(t, other, 20*time.Second, nil))
}

// deployTo deploys to a keepmgr whose Keeps run wasmldr.
func deployTo(t *testing.T, wasmldr string, timeout time.Duration, change func(*client.Deployment)) error {
	t.Helper()
	_, err := deployResult(t, wasmldr, timeout, change)
	return err
}

func deployResult(t *testing.T, wasmldr string, timeout time.Duration, change func(*client.Deployment)) (*client.Result, error) {
	t.Helper()
	manager, address, err := startManager(wasmldr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(manager.Close)
	host, err := client.Open(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	d := deployment(guests.Hello())
	d.StepTimeout = timeout
	if change != nil {
		change(d)
	}
	return client.Deploy(t.Context(), host, d)
}

// link returns the path of the fake called name.
func link(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp(temp, "f")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.Link(fakeProgram, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// running is the processes that run the program at path.
func running(path string) []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == path {
			pids = append(pids, pid)
		}
	}
	return pids
}

// watchKeepldr returns the most memory that the keepldr of the Keep that runs
// the program at path had until stop.
func watchKeepldr(path string, stop <-chan struct{}) int {
	most := 0
	for {
		for _, pid := range running(path) {
			if _, parent, err := stat(pid); err == nil {
				if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", parent)); err == nil && strings.Contains(string(status), "redoubt-keepldr"[:15]) {
					most = max(most, highWater(string(status)))
				}
			}
		}
		select {
		case <-stop:
			return most
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// loaded is a runner that has taken a workload.
func loaded(control net.Conn) {
	_ = wire.WriteFrame(control, &wire.RunnerReady{})
	var load wire.RunnerLoad
	if wire.ReadFrame(control, &load) == nil {
		_, _ = io.CopyN(io.Discard, control, int64(load.Size))
	}
}

// started is one that was told to start it.
func started(control net.Conn) {
	loaded(control)
	_ = wire.WriteFrame(control, &wire.Done{})
	_ = wire.ReadFrame(control, &wire.RunnerStart{})
}

var fakeRunners = map[string]func(net.Conn){
	"runner-silent":      func(net.Conn) { forever() },
	"runner-dies":        func(net.Conn) {},
	"runner-noise":       func(control net.Conn) { _, _ = io.Copy(control, rand.Reader); forever() },
	"runner-4gib":        func(control net.Conn) { _, _ = control.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x83}); forever() },
	"runner-load-silent": func(control net.Conn) { loaded(control); forever() },
	"runner-load-dies":   func(control net.Conn) { loaded(control) },
	"runner-load-4gib": func(control net.Conn) {
		loaded(control)
		_, _ = control.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x83})
		forever()
	},
	"runner-load-deaf":  func(control net.Conn) { _ = wire.WriteFrame(control, &wire.RunnerReady{}); forever() },
	"runner-load-other": func(control net.Conn) { loaded(control); _ = wire.WriteFrame(control, &wire.Stop{}); forever() },
	"runner-run-dies":   func(control net.Conn) { started(control) },
	"runner-run-closes": func(control net.Conn) { started(control); control.Close(); forever() },
	"runner-run-4gib": func(control net.Conn) {
		started(control)
		_, _ = control.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x83})
		forever()
	},
	"runner-run-noise":  func(control net.Conn) { started(control); _, _ = io.Copy(control, rand.Reader); forever() },
	"runner-run-silent": func(control net.Conn) { started(control); forever() },
	"runner-run-floods": func(control net.Conn) { started(control); _, _ = io.Copy(os.Stdout, rand.Reader) },
	"runner-run-escapes": func(control net.Conn) {
		started(control)
		_ = wire.WriteFrame(control, &wire.Outcome{End: wire.EndTrapped, Text: "\x1b[2J"})
		forever()
	},
	"runner-run-lives-on": func(control net.Conn) {
		started(control)
		_ = wire.WriteFrame(control, &wire.Outcome{End: wire.EndExited})
		forever()
	},
}

// TestHostileRunner: a workload that has escaped the engine, and is the runner.
// wasmldr, which holds the keys, is the real one, sandbox and all.
func TestHostileRunner(t *testing.T) {
	t.Parallel()
	type want struct {
		failure
		end wire.End
	}
	wants := map[string]want{
		"runner-silent":      {failure: failure{step: 2, is: client.ErrTimeout}},
		"runner-dies":        {failure: failure{step: 2, code: wire.CodeGone, text: "the runner is gone (exit status 0)"}},
		"runner-noise":       {failure: failure{step: 2, code: wire.CodeGone, text: "start the runner"}},
		"runner-4gib":        {failure: failure{step: 2, code: wire.CodeGone, text: "frame of 4294967295 bytes"}},
		"runner-load-silent": {failure: failure{step: 9, is: client.ErrTimeout}},
		"runner-load-dies":   {failure: failure{step: 9, code: wire.CodeInternal, text: "the runner is gone"}},
		"runner-load-4gib":   {failure: failure{step: 9, code: wire.CodeInternal, text: "frame of 4294967295 bytes"}},
		"runner-load-deaf":   {failure: failure{step: 9, is: client.ErrTimeout}},
		"runner-load-other":  {failure: failure{step: 9, code: wire.CodeInternal, text: `"stop"`}},
		"runner-run-dies":    {end: wire.EndCrashed},
		"runner-run-closes":  {end: wire.EndCrashed},
		"runner-run-4gib":    {end: wire.EndCrashed},
		"runner-run-noise":   {end: wire.EndCrashed},
		// Until its time is over.
		"runner-run-silent":   {end: wire.EndTimeLimit},
		"runner-run-floods":   {end: wire.EndTimeLimit},
		"runner-run-escapes":  {end: wire.EndTrapped},
		"runner-run-lives-on": {end: wire.EndExited},
	}
	for name := range fakeRunners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, ok := wants[name]
			if !ok {
				t.Fatal("no expectation")
			}
			fake := link(t, name)
			timeout := 10 * time.Second
			if want.is != nil {
				timeout = 2 * time.Second
			}
			result, err := deployResult(t, fake, timeout, func(d *client.Deployment) {
				d.Policy.SNP.AnyMeasurement, d.Policy.SNP.Measurements = true, nil
				d.Limits.WallTime = 1000
				d.Module = append(d.Module, customSection(1<<20)...)
			})
			if want.end == "" {
				want.check(t, err)
			} else if err != nil || result.Outcome.End != want.end {
				t.Errorf("%+v, %v, expected %s", result, err, want.end)
			} else if text := client.Describe(&result.Outcome); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				t.Errorf("the outcome can steer a terminal: %q", text)
			}
			for deadline := time.Now().Add(10 * time.Second); len(running(fake)) > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("processes %v live on", running(fake))
				}
			}
		})
	}
}
