package sallyport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/redoubt-tee/redoubt/wire"
)

// pair returns both ends of a sallyport.
func pair(t *testing.T) (host, keep *Port) {
	t.Helper()
	a, b := sockets(t)
	host, err := Host(a)
	if err != nil {
		t.Fatal(err)
	}
	keep, err = Keep(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close(); keep.Close() })
	return host, keep
}

// sockets returns two connected ones.
func sockets(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// serving serves p until it is closed, and then returns its error in the channel.
func serving(p *Port, handlers Handlers) <-chan error {
	served := make(chan error, 1)
	go func() { served <- p.Serve(handlers) }()
	return served
}

func openStream(t *testing.T, p *Port, typ wire.StreamType) Stream {
	t.Helper()
	s, err := p.Open(t.Context(), typ)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	return s
}

// answer reads all, and answers with a prefix and what it read.
func answer(prefix string) func(Stream) {
	return func(s Stream) {
		defer s.Close()
		data, err := io.ReadAll(s)
		if err != nil {
			return
		}
		_, _ = s.Write(append([]byte(prefix), data...))
	}
}

// TestStreams: each side opens streams of each type; the other's handler of
// that type gets them. A half that is closed leaves the other open.
func TestStreams(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	types := []wire.StreamType{wire.StreamControl, wire.StreamEvidence, wire.StreamExchange, wire.StreamDeploy}
	handlers := Handlers{}
	for _, typ := range types {
		handlers[typ] = answer(string(typ) + ": ")
	}
	serving(host, handlers)
	serving(keep, handlers)
	for from, p := range map[string]*Port{"host": host, "keep": keep} {
		for _, typ := range types {
			s := openStream(t, p, typ)
			if _, err := io.WriteString(s, "from "+from); err != nil {
				t.Fatal(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte("more")); err == nil {
				t.Error("written after CloseWrite")
			}
			got, err := io.ReadAll(s)
			if want := string(typ) + ": from " + from; err != nil || string(got) != want {
				t.Errorf("%q, %v, expected %q", got, err, want)
			}
			s.Close()
		}
	}
}

// TestRefused: what is no stream that the other side handles is reset, and the
// sallyport goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	serving(keep, Handlers{wire.StreamExchange: answer("")})
	frame := func(m wire.Message) []byte {
		var b bytes.Buffer
		if err := wire.WriteFrame(&b, m); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	unknown := bytes.Replace(frame(&wire.OpenStream{Type: wire.StreamDeploy}), []byte("deploy"), []byte("shells"), 1)
	for what, first := range map[string][]byte{
		"a type without a handler": frame(&wire.OpenStream{Type: wire.StreamDeploy}),
		"an unknown type":          unknown,
		"another message":          frame(&wire.Stop{}),
		"noise":                    bytes.Repeat([]byte{0, 0, 0, 1, 0xff}, 10),
		"a frame of 4 GiB":         {0xff, 0xff, 0xff, 0xff},
		"an empty frame":           {0, 0, 0, 0},
	} {
		s, err := host.session.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = s.SetDeadline(time.Now().Add(5 * time.Second)) // sooner than the time-out of a silent one
		if _, err := s.Write(first); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, yamux.ErrStreamReset) {
			t.Errorf("%s: %v, expected a reset", what, err)
		}
	}
	s := openStream(t, host, wire.StreamExchange)
	_ = s.CloseWrite()
	if _, err := io.ReadAll(s); err != nil {
		t.Error(err)
	}
}

// TestSilentStream: a stream that does not say what it is for is reset in time.
func TestSilentStream(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	serving(keep, Handlers{wire.StreamExchange: answer("")})
	begin := time.Now()
	var both sync.WaitGroup
	for _, first := range [][]byte{nil, {0, 0, 0, 20, 0x83}} {
		both.Go(func() {
			s, err := host.session.OpenStream(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.SetDeadline(time.Now().Add(3 * openTimeout))
			_, _ = s.Write(first)
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, yamux.ErrStreamReset) {
				t.Errorf("%v, expected a reset", err)
			}
		})
	}
	both.Wait()
	if took := time.Since(begin); took < openTimeout || took > 2*openTimeout {
		t.Errorf("took %v, expected %v", took, openTimeout)
	}
}

// TestStreamLimit: one stream more than MaxStreams is reset; when one ends there
// is room for another.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	started, end := make(chan struct{}, 2*MaxStreams), make(chan struct{})
	serving(keep, Handlers{wire.StreamExchange: func(s Stream) { started <- struct{}{}; <-end; s.Close() }})
	var streams []Stream
	for range MaxStreams {
		streams = append(streams, openStream(t, host, wire.StreamExchange))
		<-started
	}
	s := openStream(t, host, wire.StreamExchange)
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, yamux.ErrStreamReset) {
		t.Errorf("one too many: %v, expected a reset", err)
	}
	end <- struct{}{}
	for _, s := range streams {
		_ = s.CloseWrite()
	}
	openStream(t, host, wire.StreamExchange)
	select {
	case <-started:
	case <-time.After(5 * time.Second):
		t.Error("no room after one has ended")
	}
	close(end)
}

// TestHandlerLimit: streams that the peer resets are streams no more, but their
// handlers may still run. There are never more than MaxStreams.
func TestHandlerLimit(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	var running, most atomic.Int32
	end := make(chan struct{})
	served := serving(keep, Handlers{wire.StreamExchange: func(s Stream) {
		defer s.Close()
		n := running.Add(1)
		defer running.Add(-1)
		for have := most.Load(); n > have && !most.CompareAndSwap(have, n); have = most.Load() {
		}
		<-end
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 10 * MaxStreams {
		s, err := host.Open(ctx, wire.StreamExchange)
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		if err != nil {
			continue // reset: the other side has enough
		}
		time.Sleep(time.Millisecond)
		_ = s.Reset()
	}
	if n := most.Load(); n == 0 || n > MaxStreams {
		t.Errorf("%d handlers at once, at most %d allowed", n, MaxStreams)
	}
	// It ends although all its handlers are busy.
	host.Close()
	close(end)
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Serve hangs")
	}
}

func TestConcurrentStreams(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	echo := Handlers{wire.StreamDeploy: func(s Stream) { defer s.Close(); _, _ = io.Copy(s, s) }}
	serving(keep, echo)
	serving(host, echo)
	data := bytes.Repeat([]byte("0123456789abcde\n"), 64<<10)
	var all sync.WaitGroup
	for i := range MaxStreams / 2 {
		p := []*Port{host, keep}[i%2]
		all.Go(func() {
			s := openStream(t, p, wire.StreamDeploy)
			defer s.Close()
			own := append([]byte{byte(i)}, data...)
			go func() { _, _ = s.Write(own); _ = s.CloseWrite() }()
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, own) {
				t.Errorf("stream %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
}

// TestBackpressure: who does not read stops who writes, and other streams go on.
func TestBackpressure(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	end := make(chan struct{})
	defer close(end)
	serving(keep, Handlers{
		wire.StreamDeploy:   func(s Stream) { <-end; s.Close() },
		wire.StreamExchange: answer("still "),
	})
	s := openStream(t, host, wire.StreamDeploy)
	_ = s.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := s.Write(make([]byte, 8*MaxWindow))
	if !isTimeout(err) || n > MaxWindow {
		t.Errorf("%d bytes written, %v", n, err)
	}
	other := openStream(t, host, wire.StreamExchange)
	_, _ = io.WriteString(other, "here")
	_ = other.CloseWrite()
	if got, err := io.ReadAll(other); string(got) != "still here" {
		t.Errorf("%q, %v", got, err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)
}

// TestClose: either side's Close ends both, in good order, and every stream.
func TestClose(t *testing.T) {
	t.Parallel()
	for _, closer := range []string{"host", "keep"} {
		host, keep := pair(t)
		started, ended := make(chan struct{}), make(chan error, 1)
		handler := func(s Stream) {
			defer s.Close()
			close(started)
			_, err := s.Read(make([]byte, 1))
			ended <- err
		}
		servedHost, servedKeep := serving(host, Handlers{}), serving(keep, Handlers{wire.StreamDeploy: handler})
		s := openStream(t, host, wire.StreamDeploy)
		<-started
		if closer == "host" {
			host.Close()
		} else {
			keep.Close()
		}
		if _, err := s.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s closed: the opener reads: %v", closer, err)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s closed: the handler reads", closer)
		}
		for side, served := range map[string]<-chan error{"host": servedHost, "keep": servedKeep} {
			select {
			case err := <-served:
				if err != nil {
					t.Errorf("%s closed: %s serves: %v", closer, side, err)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("%s closed: %s serves on", closer, side)
			}
		}
		for _, p := range []*Port{host, keep} {
			select {
			case <-p.Done():
			case <-time.After(5 * time.Second):
				t.Errorf("%s closed: not done", closer)
			}
			if _, err := p.Open(t.Context(), wire.StreamDeploy); err == nil || !strings.HasPrefix(err.Error(), "sallyport: open deploy: ") {
				t.Errorf("%s closed: open: %v", closer, err)
			}
			if err := p.Close(); err != nil {
				t.Errorf("%s closed: close again: %v", closer, err)
			}
		}
	}
}

// TestServeWaits: Serve returns when its handlers have.
func TestServeWaits(t *testing.T) {
	t.Parallel()
	host, keep := pair(t)
	started, end := make(chan struct{}), make(chan struct{})
	served := serving(keep, Handlers{wire.StreamDeploy: func(s Stream) { close(started); <-end; s.Close() }})
	openStream(t, host, wire.StreamDeploy)
	<-started
	host.Close()
	select {
	case <-served:
		t.Error("Serve has not waited for its handler")
	case <-time.After(100 * time.Millisecond):
	}
	close(end)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestOpenIsBounded: a peer that acknowledges nothing holds Open up no longer
// than its context says.
func TestOpenIsBounded(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer b.Close()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	host, err := Host(a)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range 2 * MaxStreams {
		if _, err = host.Open(ctx, wire.StreamDeploy); err != nil {
			break
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, expected %v", err, context.DeadlineExceeded)
	}
}

// TestBroken: what breaks a sallyport, and what Serve says of it.
func TestBroken(t *testing.T) {
	t.Parallel()
	header := func(typ byte, flags uint16, stream, length uint32) []byte {
		h := binary.BigEndian.AppendUint16([]byte{0, typ}, flags)
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(h, stream), length)
	}
	for _, test := range []struct {
		what  string
		bytes []byte
		error string // "" is an end in good order
	}{
		{"nothing", nil, ""},
		{"a farewell", header(3, 0, 0, 0), ""},
		{"a farewell with an error", header(3, 0, 0, 1), "go away"},
		{"noise", bytes.Repeat([]byte{0xff}, 24), "invalid protocol version"},
		{"half a header", []byte{0, 0, 0}, "unexpected EOF"},
		{"a stream twice", append(header(1, 1, 1, 0), header(1, 1, 1, 0)...), "duplicate stream"},
		{"this side's stream", header(1, 1, 2, 0), "both yamux endpoints"},
		{"a frame of 4 GiB", append(header(1, 1, 1, 0), header(0, 0, 1, 1<<32-1)...), "receive window exceeded"},
	} {
		a, b := sockets(t)
		p, err := Keep(a)
		if err != nil {
			t.Fatal(err)
		}
		served := serving(p, Handlers{})
		go func() { _, _ = io.Copy(io.Discard, b) }()
		_, _ = b.Write(test.bytes)
		if test.error == "" || test.what == "half a header" {
			time.Sleep(10 * time.Millisecond) // for what this side writes first
			b.Close()
		}
		select {
		case err := <-served:
			if test.error == "" && err != nil || test.error != "" && (err == nil || !strings.Contains(err.Error(), test.error)) {
				t.Errorf("%s: %v, expected %q", test.what, err, test.error)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: Serve hangs", test.what)
		}
		b.Close()
		p.Close()
	}
}
