//go:build linux

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestControlC signals all of redoubt's process group, as a terminal does.
// The Keep must not be in it: its workload is stopped in good order.
func TestControlC(t *testing.T) {
	t.Parallel()
	if _, err := build(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := redoubt(t, dir, "run", "--steps", "always", filepath.Join(shared, "wasm", "spin.wasm"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() []byte {
		data, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !eventually(func() bool { return bytes.Contains(said(), []byte(" 9/10 ")) }) {
		t.Fatalf("did not start:\n%s", said())
	}
	began := time.Now()
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status counts
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if got := cmd.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit status %d, expected 130:\n%s", got, said())
	}
	if left := processes(filepath.Join(dir, "bin")); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}
