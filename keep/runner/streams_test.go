//go:build linux

package runner

import (
	"bytes"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteBlocking writes more than a pipe holds to one that was made
// non-blocking, and that is read only once it is full.
func TestWriteBlocking(t *testing.T) {
	t.Parallel()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	// As the runner has its own: made of a descriptor that blocks.
	from, to := os.NewFile(uintptr(fds[0]), "from"), os.NewFile(uintptr(fds[1]), "to")
	defer from.Close()
	if err := unix.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	size, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), size/4)
	full := make([]byte, size)
	if n, err := to.Write(full); n != size || err != nil {
		t.Fatalf("filling the pipe: %d bytes, %v", n, err)
	}
	if _, err := unix.Write(fds[1], full[:1]); err != unix.EAGAIN {
		t.Fatalf("a full pipe: %v, expected EAGAIN", err)
	}
	written := make(chan error, 1)
	go func() {
		defer to.Close()
		n, err := writeBlocking(to, data)
		if err == nil && n != len(data) {
			err = io.ErrShortWrite
		}
		written <- err
	}()
	got, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append(full, data...)) {
		t.Errorf("read %d bytes, not those written", len(got))
	}
}

func TestErrnoOf(t *testing.T) {
	t.Parallel()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from.Close()
	for _, want := range []errno{errPipe, errBadf} {
		_, err := writeBlocking(to, []byte("x"))
		if got := errnoOf(err); got != want {
			t.Errorf("%v: errno %d, expected %d", err, got, want)
		}
		to.Close()
	}
}
