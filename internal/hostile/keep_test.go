//go:build linux

package hostile

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/host/process"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// A rawKeep is a real redoubt-wasmldr whose sallyport the test holds.
type rawKeep struct {
	conn    net.Conn
	wasmldr int // process IDs
	runner  int
	exited  chan struct{} // closed once wasmldr is gone
}

func startKeep(t *testing.T) *rawKeep {
	t.Helper()
	type started struct {
		conn net.Conn
		cmd  *exec.Cmd
		err  error
	}
	result, done := make(chan started), make(chan struct{})
	k := &rawKeep{exited: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // the Keep dies with this thread, and both with the test
		var s started
		f, err := os.Open(filepath.Join(bin, "redoubt-wasmldr"))
		if err == nil {
			defer f.Close()
			s.conn, s.cmd, err = process.Start(f)
		}
		s.err = err
		result <- s
		if err == nil {
			go func() { _ = s.cmd.Wait(); close(k.exited) }()
			<-done
			_ = s.cmd.Process.Kill()
			<-k.exited
		}
	}()
	s := <-result
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() { s.conn.Close(); close(done); <-k.exited })
	k.conn, k.wasmldr = s.conn, s.cmd.Process.Pid
	return k
}

// gone checks that neither wasmldr nor its runner outlives what was done to it.
func (k *rawKeep) gone(t *testing.T) {
	t.Helper()
	select {
	case <-k.exited:
	case <-time.After(10 * time.Second):
		t.Fatal("wasmldr lives on")
	}
	for deadline := time.Now().Add(5 * time.Second); k.runner != 0 && alive(k.runner); {
		if time.Now().After(deadline) {
			t.Fatal("the runner lives on")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (k *rawKeep) lives(t *testing.T) {
	t.Helper()
	select {
	case <-k.exited:
		t.Fatal("wasmldr is gone")
	default:
	}
}

// A host holds the other end of a rawKeep's sallyport as a keepldr would.
type host struct {
	*rawKeep
	port    *sallyport.Port
	states  chan wire.Status
	control chan sallyport.Stream
	silent  bool // answers no evidence-request
}

func (k *rawKeep) serve(t *testing.T, silent bool) *host {
	t.Helper()
	port, err := sallyport.Host(k.conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	h := &host{k, port, make(chan wire.Status, 16), make(chan sallyport.Stream, 1), silent}
	go port.Serve(sallyport.Handlers{
		wire.StreamControl: func(s sallyport.Stream) {
			h.control <- s
			for {
				var status wire.Status
				if wire.ReadFrame(s, &status) != nil {
					return
				}
				h.states <- status
			}
		},
		wire.StreamEvidence: func(s sallyport.Stream) {
			defer s.Close()
			var request wire.EvidenceRequest
			if wire.ReadFrame(s, &request) != nil {
				return
			}
			if h.silent {
				<-port.Done()
				return
			}
			e, err := hardware.Evidence([64]byte(request.ReportData), [48]byte(measurement))
			if err == nil {
				_ = wire.WriteFrame(s, &wire.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob})
			}
		},
	})
	h.reach(t, wire.StateReady)
	k.runner = child(t, k.wasmldr)
	return h
}

func (h *host) reach(t *testing.T, want wire.State) {
	t.Helper()
	for {
		select {
		case s := <-h.states:
			if s.State == want {
				return
			}
		case <-h.exited:
			t.Fatalf("wasmldr is gone before it is %s", want)
		case <-time.After(20 * time.Second):
			t.Fatalf("wasmldr is not %s", want)
		}
	}
}

// exchange is nil if the Keep gave no answer.
func (h *host) exchange(t *testing.T, request []byte) []byte {
	s, err := h.port.Open(t.Context(), wire.StreamExchange)
	if err != nil {
		return nil
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	if wire.WriteRawFrame(s, request) != nil {
		return nil
	}
	answer, _ := wire.ReadRawFrame(s)
	return answer
}

func (h *host) tenant(t *testing.T) *tenant {
	return newTenantOf(t, "",
		func(request []byte) []byte { return h.exchange(t, request) },
		func() (net.Conn, error) { return h.port.Open(t.Context(), wire.StreamDeploy) })
}

// stat is the state and the parent of a process.
func stat(pid int) (state byte, parent int, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	return fields[0][0], parent, err
}

func alive(pid int) bool {
	state, _, err := stat(pid)
	return err == nil && state != 'Z' && state != 'X'
}

// child is the one child of a process.
func child(t *testing.T, parent int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, p, err := stat(pid); err == nil && p == parent {
			return pid
		}
	}
	t.Fatalf("process %d has no child", parent)
	return 0
}

// peak is the most memory that a process ever had resident, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	n := highWater(string(data))
	if n == 0 {
		t.Fatal("no VmHWM")
	}
	return n
}

// highWater is what the status of a process says of it.
func highWater(status string) int {
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			n, _ := strconv.Atoi(fields[1])
			return n << 10
		}
	}
	return 0
}

// TestEndInEachState: in whatever state, wasmldr and its runner end when the
// sallyport does, and when they are told to.
func TestEndInEachState(t *testing.T) {
	t.Parallel()
	// bring brings a Keep to a state.
	bring := map[wire.State]func(*testing.T, *host){
		wire.StateReady:       func(*testing.T, *host) {},
		wire.StateProvisioned: func(t *testing.T, h *host) { h.tenant(t).provision(t) },
		wire.StateLoading: func(t *testing.T, h *host) {
			n := h.tenant(t)
			n.provision(t)
			r, w := io.Pipe()
			t.Cleanup(func() { w.Close() })
			go func() { _, _ = n.do(http.MethodPut, wire.PathWorkload, 1<<20, r) }()
			_, _ = w.Write([]byte("\x00asm"))
			h.reach(t, wire.StateLoading)
		},
		wire.StateLoaded: func(t *testing.T, h *host) {
			n := h.tenant(t)
			n.provision(t)
			n.load(t, guests.Spin())
		},
		wire.StateRunning: func(t *testing.T, h *host) {
			n := h.tenant(t)
			n.provision(t)
			n.load(t, guests.Spin())
			go func() { _ = n.call(http.MethodPost, wire.PathRun, nil, &wire.Outcome{}) }()
			h.reach(t, wire.StateRunning)
		},
	}
	for state, bring := range bring {
		for how, end := range map[string]func(*testing.T, *host){
			"closed": func(_ *testing.T, h *host) { h.port.Close() },
			"garbage": func(_ *testing.T, h *host) {
				_, _ = h.conn.Write(bytes.Repeat([]byte{0xff}, 64))
			},
			"told to stop": func(t *testing.T, h *host) {
				if err := wire.WriteFrame(<-h.control, &wire.Stop{}); err != nil {
					t.Error(err)
				}
				h.reach(t, wire.StateEnded)
				h.port.Close() // as keepldr does
			},
		} {
			t.Run(fmt.Sprintf("%s, %s", state, how), func(t *testing.T) {
				t.Parallel()
				h := startKeep(t).serve(t, false)
				bring(t, h)
				h.lives(t)
				end(t, h)
				h.gone(t)
			})
		}
	}
	t.Run("starting, closed", func(t *testing.T) {
		t.Parallel()
		k := startKeep(t)
		k.conn.Close()
		k.gone(t)
	})
}

// TestFlood is of what runs out: nobody reads what the guest writes, while the
// Keep is told to stop.
func TestFlood(t *testing.T) {
	t.Parallel()
	h := startKeep(t).serve(t, false)
	n := h.tenant(t)
	n.plain.Invocation.Args = []string{"guest", "yes-bytes", "1000000000000"}
	digest, err := n.plain.Invocation.Digest()
	if err != nil {
		t.Fatal(err)
	}
	n.plain.Config.Invocation = digest
	n.provision(t)
	n.load(t, guest(t))
	response, err := n.do(http.MethodGet, wire.PathStdout, 0, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // never read
	outcome := make(chan error, 1)
	var o wire.Outcome
	go func() { outcome <- n.call(http.MethodPost, wire.PathRun, nil, &o) }()
	h.reach(t, wire.StateRunning)
	time.Sleep(500 * time.Millisecond)
	if most := peak(t, h.wasmldr); most > 128<<20 {
		t.Errorf("wasmldr has %d bytes", most)
	}
	if err := n.call(http.MethodPost, wire.PathStop, nil, &wire.Done{}); err != nil {
		t.Error(err)
	}
	if err := <-outcome; err != nil || o.End != wire.EndStopped {
		t.Errorf("%v, %v", o, err)
	}
	h.port.Close()
	h.gone(t)
}

var guest = func() func(*testing.T) []byte {
	var once sync.Once
	var module []byte
	return func(t *testing.T) []byte {
		t.Helper()
		once.Do(func() {
			file := filepath.Join(temp, "guest.wasm")
			err := guests.Build(t.Context(), guests.Guest, file)
			if err == nil {
				module, err = os.ReadFile(file)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		return module
	}
}()

// frame is one of yamux.
func frame(typ byte, flags uint16, stream, length uint32, data ...byte) []byte {
	f := []byte{0, typ}
	f = binary.BigEndian.AppendUint16(f, flags)
	f = binary.BigEndian.AppendUint32(f, stream)
	f = binary.BigEndian.AppendUint32(f, length)
	return append(f, data...)
}

// What frames are made of: types and flags.
const (
	data, window, ping, away = 0, 1, 2, 3
	syn, ack, fin, rst       = 1, 2, 4, 8
)

// open is a new stream, and its first frame.
func open(stream uint32, t wire.StreamType) []byte {
	m := mustMarshal(&wire.OpenStream{Type: t})
	m = append(binary.BigEndian.AppendUint32(nil, uint32(len(m))), m...)
	return append(frame(window, syn, stream, 0), frame(data, 0, stream, uint32(len(m)), m...)...)
}

// request is a stream with one message.
func request(stream uint32, m wire.Message) []byte {
	d := mustMarshal(m)
	d = append(binary.BigEndian.AppendUint32(nil, uint32(len(d))), d...)
	return append(open(stream, wire.StreamExchange), frame(data, 0, stream, uint32(len(d)), d...)...)
}

// TestHostileSallyport: what keepldr may send to a Keep. The Keep goes on, or
// ends; it does not grow.
func TestHostileSallyport(t *testing.T) {
	t.Parallel()
	repeat := func(n int, do func(i uint32) []byte) func(io.Writer) error {
		return func(w io.Writer) error {
			var some []byte
			for i := range uint32(n) {
				some = append(some, do(i)...)
				if len(some) > 64<<10 || i == uint32(n)-1 {
					if _, err := w.Write(some); err != nil {
						return err
					}
					some = some[:0]
				}
			}
			return nil
		}
	}
	once := func(parts ...[]byte) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := w.Write(bytes.Join(parts, nil))
			return err
		}
	}
	attest := func() wire.Message { return &wire.AttestRequest{Nonce: nonce()} }
	const huge = 1<<32 - 1
	for _, test := range []struct {
		name string
		send func(io.Writer) error
		ends bool // the sallyport, and so the Keep
	}{
		{"nothing that it knows", once(bytes.Repeat([]byte{0x9f}, 4096)), true},
		{"HTTP", once([]byte("GET / HTTP/1.1\r\nHost: keep\r\n\r\n")), true},
		{"another version of yamux", once([]byte{1, data, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), true},
		{"another type of frame", once(frame(9, 0, 1, 0)), true},
		{"half a header", once([]byte{0, 1, 0}), false},
		{"a frame of 4 GiB on a stream", once(open(1, wire.StreamExchange), frame(data, 0, 1, huge)), true},
		{"a frame of 4 GiB on no stream", func(w io.Writer) error {
			_, err := w.Write(frame(data, 0, 99, huge))
			for range 1 << 10 {
				if err == nil {
					_, err = w.Write(make([]byte, 64<<10))
				}
			}
			return err
		}, false},
		{"a message of 4 GiB", once(open(1, wire.StreamExchange), frame(data, 0, 1, 4, 0xff, 0xff, 0xff, 0xff)), false},
		{"more than a window", once(open(1, wire.StreamExchange), frame(data, 0, 1, 1<<20), make([]byte, 1<<20)), true},
		{"a stream with the Keep's numbers", once(frame(window, syn, 2, 0)), true},
		{"a stream twice", once(frame(window, syn, 1, 0), frame(window, syn, 1, 0)), true},
		{"a window of 4 GiB, often", repeat(1000, func(uint32) []byte { return frame(window, 0, 2, huge) }), false},
		{"acknowledgements of nothing", repeat(10000, func(uint32) []byte { return frame(window, ack, 2, 0) }), false},
		{"pings", repeat(500_000, func(i uint32) []byte { return frame(ping, syn, 0, i) }), false},
		{"answers to no ping", repeat(100_000, func(i uint32) []byte { return frame(ping, ack, 0, i) }), false},
		{"farewell", once(frame(away, 0, 0, 0)), true},
		{"an unknown type of stream", once(frame(window, syn, 1, 0), frame(data, 0, 1, 16, append([]byte{0, 0, 0, 12}, "\x83\x01dopen\xa1dty"...)...)), false},
		{"a control stream", once(open(1, wire.StreamControl), open(3, wire.StreamControl)), false},
		{"an evidence stream", once(open(1, wire.StreamEvidence)), false},
		{"a deployment before there is a tenant", once(open(1, wire.StreamDeploy)), false},
		{"10,000 streams that say nothing", repeat(10_000, func(i uint32) []byte { return frame(window, syn, 2*i+1, 0) }), false},
		{"10,000 streams that are reset at once", repeat(10_000, func(i uint32) []byte {
			return append(frame(window, syn, 2*i+1, 0), frame(window, rst, 2*i+1, 0)...)
		}), false},
		// The first waits for evidence, the others for the first.
		{"10,000 attestations that are reset while they wait", func(w io.Writer) error {
			const batch = 50
			for first := uint32(0); first < 10_000; first += batch {
				err := repeat(batch, func(i uint32) []byte { return request(2*(first+i)+1, attest()) })(w)
				time.Sleep(3 * time.Millisecond)
				if err == nil {
					err = repeat(batch, func(i uint32) []byte { return frame(window, rst, 2*(first+i)+1, 0) })(w)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}, false},
		{"10,000 deployments that are reset at once", repeat(10_000, func(i uint32) []byte {
			return append(open(2*i+1, wire.StreamDeploy), frame(window, rst, 2*i+1, 0)...)
		}), false},
		{"a window of single bytes", func(w io.Writer) error {
			if _, err := w.Write(request(1, attest())); err != nil {
				return err
			}
			return repeat(200_000, func(uint32) []byte { return frame(data, 0, 1, 1, 0) })(w)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := startKeep(t)
			// It has opened its control stream and is ready: the host hears all, and
			// says only what the test does.
			heard := make(chan struct{})
			var once sync.Once
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := k.conn.Read(buf)
					if bytes.Contains(buf[:n], []byte(wire.StateReady)) {
						once.Do(func() { close(heard) })
					}
					if err != nil {
						return
					}
				}
			}()
			select {
			case <-heard:
			case <-time.After(20 * time.Second):
				t.Fatal("the Keep is not ready")
			}
			k.runner = child(t, k.wasmldr)
			before := peak(t, k.wasmldr)
			_ = k.conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
			if err := test.send(k.conn); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) || !test.ends {
					t.Error(err)
				}
			}
			if test.ends {
				k.gone(t)
				return
			}
			time.Sleep(300 * time.Millisecond)
			k.lives(t)
			grown := peak(t, k.wasmldr) - before
			t.Logf("grown by %d KiB", grown>>10)
			if grown > 32<<20 {
				t.Errorf("grown by %d bytes", grown)
			}
			k.conn.Close()
			k.gone(t)
		})
	}
}

// TestAfterFlood: a Keep that was flooded serves whoever comes next.
func TestAfterFlood(t *testing.T) {
	t.Parallel()
	h := startKeep(t).serve(t, false)
	for range 2000 {
		s, err := h.port.Open(t.Context(), wire.StreamExchange)
		if err != nil {
			continue // reset: the Keep has enough
		}
		_ = wire.WriteFrame(s, &wire.ReattestRequest{Nonce: nonce()})
		_ = s.Reset()
	}
	// What is left of the flood may still take all the places.
	for deadline := time.Now().Add(10 * time.Second); h.exchange(t, mustMarshal(&wire.Stop{})) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("the Keep answers no more")
		}
		time.Sleep(10 * time.Millisecond)
	}
	n := h.tenant(t)
	n.provision(t)
	n.load(t, guests.Hello())
}

// TestSilentEvidence: a host that gives no evidence holds up who attests, and
// nothing else; and not with more than a Keep has handlers.
func TestSilentEvidence(t *testing.T) {
	t.Parallel()
	h := startKeep(t).serve(t, true)
	before := peak(t, h.wasmldr)
	for range 500 {
		s, err := h.port.Open(t.Context(), wire.StreamExchange)
		if err != nil {
			continue // reset: the Keep has enough
		}
		_ = wire.WriteFrame(s, &wire.AttestRequest{Nonce: nonce()})
		_ = s.Reset()
	}
	if grown := peak(t, h.wasmldr) - before; grown > 32<<20 {
		t.Errorf("grown by %d bytes", grown)
	}
	h.port.Close()
	h.gone(t)
}

// TestNoise: random bytes at a Keep's one gate, at once.
func TestNoise(t *testing.T) {
	t.Parallel()
	for range 10 {
		k := startKeep(t)
		noise := make([]byte, 4096)
		rand.Read(noise)
		if noise[0] == 0 {
			noise[0] = 1 // the one version of yamux
		}
		_, _ = k.conn.Write(noise)
		go func() { _, _ = io.Copy(io.Discard, k.conn) }()
		k.gone(t)
	}
}
