package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	var stream bytes.Buffer
	for _, m := range []Message{&Done{}, &OpenStream{Type: StreamControl}, &Stop{}} {
		if err := WriteFrame(&stream, m); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.HasPrefix(stream.Bytes(), unhex(t, "00000008 83 01 64 646f6e65 a0 000000")) {
		t.Errorf("stream begins with %x", stream.Bytes()[:16])
	}
	r := iotest.OneByteReader(&stream)
	var open OpenStream
	if err := ReadFrame(r, &Done{}); err != nil {
		t.Fatal(err)
	}
	if err := ReadFrame(r, &open); err != nil || open.Type != StreamControl {
		t.Fatalf("%v, %q", err, open.Type)
	}
	if err := ReadFrame(r, &Done{}); err == nil || !strings.Contains(err.Error(), `got a message "stop"`) {
		t.Errorf("another message: %v", err)
	}
	if err := ReadFrame(r, &Done{}); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, expected exactly io.EOF", err)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		what, stream string
		is           error
		reason       string
	}{
		{"half a length", "0000", io.ErrUnexpectedEOF, ""},
		{"a length and nothing", "00000008", io.ErrUnexpectedEOF, "frame of 8 bytes"},
		{"a frame cut short", "00000008 8301", io.ErrUnexpectedEOF, "frame of 8 bytes"},
		{"an empty frame", "00000000", nil, "done: "},
		{"a frame with more in it", "00000009 83 01 64 646f6e65 a0 00", nil, "extraneous"},
		{"4 GiB", "ffffffff 00", nil, "frame of 4294967295 bytes, at most 262144 allowed"},
		{"one byte over the limit", "00040001 00", nil, "frame of 262145 bytes, at most 262144 allowed"},
	}
	for _, test := range tests {
		err := ReadFrame(bytes.NewReader(unhex(t, test.stream)), &Done{})
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

func TestReadFrameKeepsTheReadersError(t *testing.T) {
	t.Parallel()
	r := io.MultiReader(bytes.NewReader([]byte{0, 0, 0, 9, 1}), iotest.ErrReader(os.ErrDeadlineExceeded))
	if _, err := ReadRawFrame(r); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestLargeFrameIsNotRead: nothing behind a refused length is read, and no
// memory is taken for it.
func TestLargeFrameIsNotRead(t *testing.T) {
	r := bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, 1<<32-1), make([]byte, 100)...))
	var err error
	used := fuzzcheck.Allocated(func() { _, err = ReadRawFrame(r) })
	if err == nil || r.Len() != 100 {
		t.Errorf("%v, %d bytes left of 100", err, r.Len())
	}
	if used > 16<<10 {
		t.Errorf("%d bytes allocated", used)
	}
}

func TestFrameSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, MaxMessage} {
		var stream bytes.Buffer
		if err := WriteRawFrame(&stream, fill(n)); err != nil {
			t.Fatal(err)
		}
		if data, err := ReadRawFrame(&stream); err != nil || !bytes.Equal(data, fill(n)) {
			t.Errorf("%d bytes: %d bytes came back, %v", n, len(data), err)
		}
	}
	var stream bytes.Buffer
	if err := WriteRawFrame(&stream, fill(MaxMessage+1)); err == nil || stream.Len() > 0 {
		t.Errorf("a frame over the limit: %v, %d bytes written", err, stream.Len())
	}
	if err := WriteFrame(&stream, &Outcome{}); err == nil || stream.Len() > 0 {
		t.Errorf("an invalid message: %v, %d bytes written", err, stream.Len())
	}
}

// TestFrameIsOneWrite: a frame is written at once, so that writers that share a
// stream can't mix theirs.
func TestFrameIsOneWrite(t *testing.T) {
	t.Parallel()
	w := &countWriter{}
	if err := WriteFrame(w, &Done{}); err != nil || w.writes != 1 {
		t.Errorf("%d writes, %v", w.writes, err)
	}
	w.err = io.ErrClosedPipe
	if err := WriteFrame(w, &Done{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the writer's error is lost: %v", err)
	}
}

type countWriter struct {
	writes int
	err    error
}

func (w *countWriter) Write(p []byte) (int, error) {
	w.writes++
	return len(p), w.err
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	var stream bytes.Buffer
	for _, m := range []Message{&Done{}, Refuse(CodeReplay, "nonce seen"), &Stop{}} {
		if err := WriteFrame(&stream, m); err != nil {
			t.Fatal(err)
		}
	}
	stream.Write(unhex(t, "0000000b 83 01 67 72656675 73616c f6")) // a refusal without a body
	var refusal *Refusal
	if err := ReadAnswer(&stream, &Done{}); err != nil {
		t.Errorf("answer: %v", err)
	}
	if err := ReadAnswer(&stream, &Done{}); !errors.As(err, &refusal) || refusal.Code != CodeReplay {
		t.Errorf("refusal: %v", err)
	}
	if err := ReadAnswer(&stream, &Done{}); err == nil || errors.As(err, &refusal) && refusal.Code != CodeReplay {
		t.Errorf("another message: %v", err)
	}
	if err := ReadAnswer(&stream, &Done{}); err == nil || !strings.HasPrefix(err.Error(), "refusal: ") {
		t.Errorf("invalid refusal: %v", err)
	}
	if err := ReadAnswer(&stream, &Done{}); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	for _, code := range codes {
		rec := httptest.NewRecorder()
		Respond(rec, Refuse(code, "because"))
		res := rec.Result()
		if res.StatusCode < 400 || code != CodeInternal && res.StatusCode == http.StatusInternalServerError {
			t.Errorf("%s has status %d", code, res.StatusCode)
		}
		var refusal *Refusal
		if err := ReadResponse(res, &Done{}); !errors.As(err, &refusal) || refusal.Code != code {
			t.Errorf("%s comes back as %v", code, err)
		}
	}
	rec := httptest.NewRecorder()
	Respond(rec, &Done{})
	if res := rec.Result(); res.StatusCode != http.StatusOK || ReadResponse(res, &Done{}) != nil {
		t.Errorf("done has status %d", res.StatusCode)
	}
	rec = httptest.NewRecorder()
	Respond(rec, &Outcome{}) // not valid: a fault of this side
	var refusal *Refusal
	if err := ReadResponse(rec.Result(), &Outcome{}); !errors.As(err, &refusal) || refusal.Code != CodeInternal {
		t.Errorf("an invalid answer comes back as %v", err)
	}
	rec = httptest.NewRecorder()
	http.Error(rec, "hello", http.StatusTeapot)
	if err := ReadResponse(rec.Result(), &Done{}); err == nil || !strings.Contains(err.Error(), "text/plain") {
		t.Errorf("another server's answer: %v", err)
	}
	rec = httptest.NewRecorder()
	rec.Header().Set("Content-Type", ContentType)
	_, _ = rec.Write(make([]byte, MaxMessage+1))
	if err := ReadResponse(rec.Result(), &Done{}); err == nil || !strings.Contains(err.Error(), "262144") {
		t.Errorf("an answer over the limit: %v", err)
	}
}
