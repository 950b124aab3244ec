package guests

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// run runs module: for half a second if it is one that never ends, and else for
// as long as a busy machine may take.
func run(t *testing.T, r wazero.Runtime, module wazero.CompiledModule, endless bool, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	limit := time.Minute
	if endless {
		limit = time.Second / 2
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var out, errs bytes.Buffer
	_, err = r.InstantiateModule(ctx, module, wazero.NewModuleConfig().WithName("").
		WithArgs(append([]string{"guest"}, args...)...).WithEnv("B", "2").WithEnv("A", "1").
		WithStdin(strings.NewReader("abc")).WithStdout(&out).WithStderr(&errs).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader))
	return out.String(), errs.String(), err
}

// newRuntime is a runtime whose guests get at most 32 MiB of memory.
func newRuntime(t *testing.T) wazero.Runtime {
	t.Helper()
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfig().
		WithCloseOnContextDone(true).WithMemoryLimitPages(512))
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	wasi_snapshot_preview1.MustInstantiate(t.Context(), r)
	return r
}

func exitStatus(err error) (status uint32, ok bool) {
	var exit *sys.ExitError
	if err == nil {
		return 0, true
	}
	if !errors.As(err, &exit) {
		return 0, false
	}
	return exit.ExitCode(), true
}

func TestTiny(t *testing.T) {
	for _, test := range []struct {
		name    string
		module  []byte
		stdout  string
		exit    uint32 // of a sys.ExitError, if there is no text
		err     string // part of the error's text, or "" for none
		timeout bool
	}{
		{name: "Hello", module: Hello(), stdout: "hello\n"},
		{name: "Exit 0", module: Exit(0)},
		{name: "Exit 42", module: Exit(42), exit: 42},
		{name: "Exit 256", module: Exit(256), exit: 256},
		{name: "Exit 300", module: Exit(300), exit: 300},
		{name: "Exit max", module: Exit(1<<32 - 3), exit: 1<<32 - 3},
		{name: "Trap", module: Trap(), err: "unreachable"},
		{name: "NoStart", module: NoStart()}, // wazero calls what there is
		{name: "MissingImport", module: MissingImport(), err: "module[env] not instantiated"},
		{name: "WrongSignature", module: WrongSignature(), err: "signature mismatch"},
		{name: "Component", module: Component(), err: "invalid version header"},
		{name: "Truncated", module: Truncated(), err: "EOF"},
		{name: "Spin", module: Spin(), timeout: true},
		{name: "SpinInStartSection", module: SpinInStartSection(), timeout: true},
		{name: "HugeMemory", module: HugeMemory(), err: "over limit of 512 pages"},
		{name: "GrowForever", module: GrowForever(), timeout: true},
		{name: "RecurseForever", module: RecurseForever(), err: "stack overflow"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRuntime(t)
			var stdout string
			module, err := r.CompileModule(t.Context(), test.module)
			if err == nil {
				stdout, _, err = run(t, r, module, test.timeout)
			}
			if stdout != test.stdout {
				t.Errorf("stdout %q, want %q", stdout, test.stdout)
			}
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			want := test.exit
			if test.timeout {
				want = sys.ExitCodeDeadlineExceeded
			}
			if status, ok := exitStatus(err); !ok || status != want {
				t.Errorf("error %v, want exit status %d", err, want)
			}
		})
	}
}

func TestGuest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guest.wasm")
	if err := Build(t.Context(), Guest, file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t)
	module, err := r.CompileModule(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		args           string
		exit           uint32
		stdout, stderr string // regular expressions
	}{
		{args: "exit 0"},
		{args: "exit 42", exit: 42},
		{args: "args a b c", stdout: `a\nb\nc\n`},
		{args: "env", stdout: `A=1\nB=2\n`},
		{args: "cat", stdout: "abc"},
		{args: "hash", stdout: `ba7816bf[0-9a-f]{56}\n`},
		{args: "yes-bytes 100000", stdout: `(y\n){1000,}`},
		{args: "yes-bytes 3", stdout: `y\ny`},
		{args: "read-none"},
		{args: "stderr x", stderr: `x\n`},
		{args: "sleep 1ms"},
		{args: "sleep soon", exit: 1, stderr: `guest: time: .*\n`},
		{args: "time", stdout: `\d{19}\n\d{8,}\n`},
		{args: "random", stdout: `[0-9a-f]{64}\n`},
		{args: "spin", exit: sys.ExitCodeDeadlineExceeded},
		{args: "spin-calls", exit: sys.ExitCodeDeadlineExceeded},
		{args: "grow", stdout: `grown 33554432\n`},
		{args: "alloc 1000000", stdout: `allocated 1000000\n`},
		{args: "alloc 100000000", exit: 2, stderr: `(?s).*fatal error: out of memory\n.*`},
		{args: "panic", exit: 2, stderr: `(?s)panic: as asked\n.*`},
		{args: "fs", stdout: `(?s).*/etc/passwd: .+\n.*create: .+\n`},
		{args: "net", stdout: `dial: .+\nlistener on fd 3: .+\n`},
		{args: "nonsense", exit: 2, stderr: `guest: usage: .*\n`},
	} {
		t.Run(test.args, func(t *testing.T) {
			stdout, stderr, err := run(t, r, module, test.exit == sys.ExitCodeDeadlineExceeded, strings.Fields(test.args)...)
			if status, ok := exitStatus(err); !ok || status != test.exit {
				t.Errorf("error %v, want exit status %d", err, test.exit)
			}
			for _, m := range []struct{ got, want string }{{stdout, test.stdout}, {stderr, test.stderr}} {
				if ok, err := regexp.MatchString("^"+m.want+"$", m.got); err != nil || !ok {
					t.Errorf("printed %.300q, want %q", m.got, m.want)
				}
			}
		})
	}
}
