//go:build linux

package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestMemoryStaysBounded sends more through a workload than any process on the
// way may hold.
func TestMemoryStaysBounded(t *testing.T) {
	t.Parallel()
	size := int64(512 << 20)
	if testing.Short() {
		size = 64 << 20
	}
	// In MiB. The runner's includes what compiling the workload took, and its
	// memory; redoubt's and wasmldr's includes the module.
	most := map[string]int{"redoubt": 64, "redoubt-keepldr": 32, "redoubt-wasmldr": 48, "runner": 160}

	dir := t.TempDir()
	cmd := redoubt(t, dir, "run", "-q", filepath.Join(shared, "wasm", "guest.wasm"), "cat")
	sent, received := sha256.New(), sha256.New()
	cmd.Stdin = io.TeeReader(io.LimitReader(rand.Reader, size), sent)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(received, &pause{}), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	peak := map[string]int{}
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		case <-time.After(20 * time.Millisecond):
			for _, p := range processes(filepath.Join(dir, "bin")) {
				peak[p.what] = max(peak[p.what], peakMemory(p.pid)>>10)
			}
		}
	}
	if string(sent.Sum(nil)) != string(received.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
	for what, limit := range most {
		t.Logf("%s: %d MiB at most", what, peak[what])
		if got, ok := peak[what]; !ok || got > limit {
			t.Errorf("%s used %d MiB of memory, at most %d allowed", what, got, limit)
		}
	}
}

// A pause keeps the first who writes waiting, so that all behind it have to.
type pause struct{ once sync.Once }

func (p *pause) Write(b []byte) (int, error) {
	p.once.Do(func() { time.Sleep(2 * time.Second) })
	return len(b), nil
}

// peakMemory is the most memory in KiB that a process ever held at once.
func peakMemory(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // gone
	}
	return field(status, "VmHWM:")
}

// redoubt returns a redoubt command with an environment of its own in dir.
func redoubt(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	env, err := place(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	bin := filepath.Join(dir, "bin")
	t.Cleanup(func() { cancel(); killAll(bin) })
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "redoubt"), args...)
	cmd.Env = append(env, "TMPDIR="+dir)
	return cmd
}
