//go:build linux

// Package e2e tests the built programs, as their users run them.
package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

const (
	buildTimeout   = 5 * time.Minute
	scriptsTimeout = 4 * time.Minute // for all together
)

var programs = []string{"redoubt", "redoubt-keepmgr", "redoubt-keepldr", "redoubt-wasmldr"}

// built is what all tests share and none may change.
type built struct {
	bin   string // the four programs
	wasm  string // workloads
	state string // a development chain: making one takes a second
}

var build = sync.OnceValues(func() (*built, error) {
	b := &built{bin: filepath.Join(shared, "bin"), wasm: filepath.Join(shared, "wasm"), state: filepath.Join(shared, "state")}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	for _, dir := range []string{b.bin, b.wasm} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if dir := os.Getenv("REDOUBT_BIN"); dir != "" {
		b.bin = dir
	} else {
		for _, p := range programs {
			cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(b.bin, p), "github.com/redoubt-tee/redoubt/cmd/"+p)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build %s: %w\n%s", p, err, out)
			}
		}
	}
	if err := guests.Build(ctx, guests.Guest, filepath.Join(b.wasm, "guest.wasm")); err != nil {
		return nil, err
	}
	for name, module := range map[string][]byte{
		"hello":            guests.Hello(),
		"exit0":            guests.Exit(0),
		"exit1":            guests.Exit(1),
		"exit42":           guests.Exit(42),
		"exit255":          guests.Exit(255),
		"exit256":          guests.Exit(256),
		"exit300":          guests.Exit(300),
		"trap":             guests.Trap(),
		"no-start":         guests.NoStart(),
		"missing-import":   guests.MissingImport(),
		"wrong-signature":  guests.WrongSignature(),
		"component":        guests.Component(),
		"truncated":        guests.Truncated(),
		"spin":             guests.Spin(),
		"spin-in-start":    guests.SpinInStartSection(),
		"huge-memory":      guests.HugeMemory(),
		"grow-forever":     guests.GrowForever(),
		"recurse-forever":  guests.RecurseForever(),
		"not-wasm":         []byte("#!/bin/sh\necho no\n"),
		"preamble-cut-off": guests.Hello()[:6],
	} {
		if err := os.WriteFile(filepath.Join(b.wasm, name+".wasm"), module, 0o644); err != nil {
			return nil, err
		}
	}
	_, err := teelab.LoadOrCreate(filepath.Join(b.state, "redoubt", "dev"))
	return b, err
})

// shared is the folder of built, for all users to read.
var shared string

func TestMain(m *testing.M) {
	// Where it is ignored, as under nohup, the programs would ignore it too.
	ossignal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(func() int {
		var err error
		if shared, err = os.MkdirTemp("", "redoubt-e2e-"); err == nil {
			defer os.RemoveAll(shared)
			err = os.Chmod(shared, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// place gives a test programs, a state folder and a runtime folder of its own
// below dir, and returns the environment that says so. By the path of its
// program a process then tells to which test it belongs.
func place(dir string) ([]string, error) {
	b, err := build()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	for _, p := range programs {
		if err := linkOrCopy(filepath.Join(b.bin, p), filepath.Join(bin, p)); err != nil {
			return nil, err
		}
	}
	state, run := filepath.Join(dir, "state"), filepath.Join(dir, "run")
	if err := copyPrivate(b.state, state); err != nil {
		return nil, err
	}
	return []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"),
		"GOTRACEBACK=single", // of a program that is told to quit because it hangs
		"XDG_STATE_HOME=" + state,
		"XDG_RUNTIME_DIR=" + run,
		"GUEST=" + filepath.Join(b.wasm, "guest.wasm"),
		"TINY=" + b.wasm,
	}, os.Mkdir(run, 0o700)
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from) // of another file system
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// copyPrivate copies a folder for this user alone.
func copyPrivate(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	if _, err := build(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		Deadline:            time.Now().Add(scriptsTimeout),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			vars, err := place(env.WorkDir)
			if err != nil {
				return err
			}
			env.Vars = append(env.Vars, vars...)
			bin := filepath.Join(env.WorkDir, "bin")
			env.Defer(func() { killAll(bin) }) // of a script that failed
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":       status,
			"waitsocket":   waitSocket,
			"waitgrep":     waitGrep,
			"waitkeeps":    waitKeeps,
			"signal":       signal,
			"nothing-left": nothingLeft,
			"certificates": certificates,
			"freeport":     freePort,
		},
	})
}
