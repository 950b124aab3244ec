package sallyport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
	"github.com/redoubt-tee/redoubt/wire"
)

var update = flag.Bool("update", false, "write the seed corpus in testdata/fuzz anew")

// FuzzSallyport is a peer that sends data and breaks off, to a Keep and to its
// host. Neither panics, hangs, or takes memory out of proportion.
func FuzzSallyport(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		for what, end := range map[string]func(net.Conn) (*Port, error){"host": Host, "keep": Keep} {
			var err error
			used := fuzzcheck.Allocated(func() { _, err = attack(end, data) })
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			// A stream is a few KiB here, for twelve bytes there.
			if most := 4<<20 + 2<<10*len(data); used > most {
				t.Fatalf("%s: %d bytes allocated for %d", what, used, len(data))
			}
		}
	})
}

// attack returns how many streams reached a handler.
func attack(end func(net.Conn) (*Port, error), data []byte) (int, error) {
	ours, theirs := net.Pipe()
	p, err := end(ours)
	if err != nil {
		return 0, err
	}
	var streams atomic.Int32
	handle := func(s Stream) {
		defer s.Close()
		streams.Add(1)
		_, _ = io.Copy(s, s)
	}
	served := make(chan error, 1)
	go func() {
		served <- p.Serve(Handlers{wire.StreamControl: handle, wire.StreamEvidence: handle, wire.StreamExchange: handle, wire.StreamDeploy: handle})
	}()
	// The answer to a ping that ends data says that all of it was looked at.
	last := []byte{0, 2, 0, 1, 0, 0, 0, 0, 0xa5, 0x5a, 0xa5, 0x5a}
	heard, looked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(heard)
		from := bufio.NewReader(theirs)
		for have := []byte{0, 0, 0, 0}; ; {
			b, err := from.ReadByte()
			if err != nil {
				return
			}
			if have = append(have[1:], b); bytes.Equal(have, last[8:]) {
				close(looked)
				break
			}
		}
		_, _ = io.Copy(io.Discard, from)
	}()
	_ = theirs.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err = theirs.Write(append(bytes.Clone(data), last...)) // fails if the other side has had enough
	if os.IsTimeout(err) {
		return 0, fmt.Errorf("does not read: %w", err)
	}
	select {
	case <-looked:
		time.Sleep(time.Millisecond) // for the handlers
	case <-heard:
	case <-time.After(10 * time.Millisecond): // data ends within a frame
	}
	theirs.Close()
	<-heard
	select {
	case <-served:
	case <-time.After(5 * time.Second):
		return 0, fmt.Errorf("does not end")
	}
	return int(streams.Load()), nil
}

// seeds are what a peer may send, by name. Streams of even numbers are a Keep's
// to open, odd ones its host's.
func seeds(t *testing.T) map[string][]byte {
	t.Helper()
	const data, window, ping, away = 0, 1, 2, 3
	const syn, ack, fin, rst = 1, 2, 4, 8
	frame := func(typ byte, flags uint16, stream, length uint32, payload ...byte) []byte {
		h := binary.BigEndian.AppendUint16([]byte{0, typ}, flags)
		h = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(h, stream), length)
		return append(h, payload...)
	}
	message := func(stream uint32, flags uint16, m wire.Message) []byte {
		var b bytes.Buffer
		if err := wire.WriteFrame(&b, m); err != nil {
			t.Fatal(err)
		}
		return frame(data, flags, stream, uint32(b.Len()), b.Bytes()...)
	}
	all := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	flood := []byte{}
	for i := range uint32(2 * MaxStreams) {
		flood = append(flood, frame(window, syn, 2*i+1, 0)...)
	}
	return map[string][]byte{
		"none": {},
		"keep": all(message(2, syn, &wire.OpenStream{Type: wire.StreamControl}), message(2, 0, &wire.Status{State: wire.StateReady}),
			message(4, syn, &wire.OpenStream{Type: wire.StreamEvidence}), message(4, fin, &wire.EvidenceRequest{ReportData: make([]byte, 64)})),
		"host": all(frame(ping, syn, 0, 0), message(1, syn, &wire.OpenStream{Type: wire.StreamExchange}), message(1, fin, &wire.ReattestRequest{Nonce: make([]byte, wire.NonceSize)}),
			frame(window, ack, 2, 0), message(3, syn, &wire.OpenStream{Type: wire.StreamDeploy}), frame(data, 0, 3, 3, []byte("TLS")...), frame(window, rst, 3, 0)),
		"ping":          all(frame(ping, syn, 0, 7), frame(ping, ack, 0, 7), frame(ping, ack, 0, 0)),
		"farewell":      frame(away, 0, 0, 0),
		"protocolError": frame(away, 0, 0, 1),
		"flood":         flood,
		"reset":         all(frame(window, syn, 1, 0), frame(window, rst, 1, 0), frame(window, syn, 2, 0), frame(window, rst, 2, 0)),
		"huge":          all(frame(window, syn, 1, 0), frame(data, 0, 1, 1<<32-1), frame(window, syn, 2, 0), frame(data, 0, 2, 1<<32-1)),
		"hugeMessage":   all(frame(window, syn, 1, 0), frame(data, 0, 1, 4, 0xff, 0xff, 0xff, 0xff)),
		"hugeWindow":    all(frame(window, syn, 1, 1<<32-1), frame(window, 0, 1, 1<<32-1), frame(window, 0, 1, 1<<32-1)),
		"noStream":      all(frame(data, 0, 99, 3, []byte("abc")...), frame(window, fin, 98, 0), frame(window, ack, 97, 0)),
		"version":       {1, data, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		"type":          frame(9, 0, 0, 0),
		"cutShort":      frame(data, syn, 1, 100)[:9],
		"unknownStream": frame(data, syn, 1, 16, []byte("\x00\x00\x00\x0c\x83\x01dopen\xa1dty")...),
	}
}

// TestSeeds: an empty corpus would make fuzzing begin at nothing, silently. The
// seeds are those of this test, and get through to handlers at both ends.
func TestSeeds(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzSallyport")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range seeds(t) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", data)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	streams := map[string]int{}
	for name, want := range seeds(t) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatalf("%v: go test ./wire/sallyport -update makes it", err)
		}
		_, quoted, _ := strings.Cut(string(text), "[]byte(")
		data, err := strconv.Unquote(strings.TrimSuffix(quoted, ")\n"))
		if err != nil || data != string(want) {
			t.Errorf("seed %s is not this test's: go test ./wire/sallyport -update makes it (%v)", name, err)
		}
		for what, end := range map[string]func(net.Conn) (*Port, error){"host": Host, "keep": Keep} {
			n, err := attack(end, want)
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			streams[what] += n
		}
	}
	if streams["host"] == 0 || streams["keep"] == 0 {
		t.Errorf("the seeds open streams %v", streams)
	}
}
