//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestForeignPrograms runs WASI programs that others compiled, from C, Rust and
// Zig, unchanged: those in wazero's module that need no files. (The public
// WASI test suite is in no package that can be had.)
func TestForeignPrograms(t *testing.T) {
	t.Parallel()
	env, err := place(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	programs := filepath.Join(strings.TrimSpace(string(out)), "imports", "wasi_snapshot_preview1", "testdata")
	const streams = "stdin isatty: false\nstdout isatty: false\nstderr isatty: false\n/ isatty: false\n"
	for _, test := range []struct {
		name, program, args, stdin, want string
	}{
		{"arguments", "print_args.wasm", "a bc", "", "print_args.wasm\x00a\x00bc\x00"},
		{"streams, C", "zig-cc/wasi.wasm", "stat", "", streams},
		{"streams, Rust", "cargo-wasi/wasi.wasm", "stat", "", streams},
		{"streams, Zig", "zig/wasi.wasm", "stat", "", streams},
		{"no folders", "zig/wasi.wasm", "preopen", "", "0: stdin\n1: stdout\n2: stderr\n"},
		{"input is there", "zig-cc/wasi.wasm", "poll 0 500", "x", "STDIN\n"},
		{"input has ended", "zig-cc/wasi.wasm", "poll 0 500", "", "STDIN\n"},
		{"no input yet", "zig-cc/wasi.wasm", "poll 0 50", "later", "NOINPUT\n"},
		{"sleep", "zig-cc/wasi.wasm", "sleepmillis 100", "", "OK\n"},
		{"exit", "exit_on_start.wasm", "", "", "status 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var redoubt string
			for _, entry := range env {
				if path, ok := strings.CutPrefix(entry, "PATH="); ok {
					redoubt = filepath.Join(filepath.SplitList(path)[0], "redoubt")
				}
			}
			args := append([]string{"run", "-q", filepath.Join(programs, test.program), "--"}, strings.Fields(test.args)...)
			cmd := exec.CommandContext(ctx, redoubt, args...)
			cmd.Env = env
			if test.stdin == "later" { // a pipe that stays open and empty
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				defer stdin.Close()
			} else {
				cmd.Stdin = strings.NewReader(test.stdin)
			}
			out, err := cmd.Output()
			if status, ok := strings.CutPrefix(test.want, "status "); ok {
				if got := cmd.ProcessState.ExitCode(); status != string(rune('0'+got)) {
					t.Errorf("exit status %d, expected %s (%v)", got, status, err)
				}
				return
			}
			if err != nil || string(out) != test.want {
				t.Errorf("got %q and %v, expected %q", out, err, test.want)
			}
		})
	}
}
