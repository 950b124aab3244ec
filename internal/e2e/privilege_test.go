//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redoubt-tee/redoubt/wire"
)

// nobody is a user without any privilege.
const nobody = 65534

// TestWithoutPrivilege runs a workload as a user who may do nothing special, and
// says which layers of the sandbox there are then.
func TestWithoutPrivilege(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("every other test shows it: this one is for root")
	}
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	checks := runConfined(t, as, nobody, nil)
	for _, name := range []string{"gate privileges", "gate system calls", "runner privileges", "runner system calls"} {
		if !checks[name].OK {
			t.Errorf("%s: %+v, must be in force", name, checks[name])
		}
	}
	// The others depend on the kernel; what is missing must say so.
	for _, name := range []string{"namespaces", "empty root", "gate Landlock", "runner Landlock"} {
		if c := checks[name]; !c.OK && (c.Found == "" || c.Advice == "") {
			t.Errorf("%s: %+v, must say what is missing and what to do", name, c)
		}
	}
}

// TestWithoutNamespaces runs a workload where the kernel makes no namespaces for
// this user: below a user namespace that may have none.
func TestWithoutNamespaces(t *testing.T) {
	t.Parallel()
	as := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	probe := exec.Command("true")
	probe.SysProcAttr = as
	if err := probe.Run(); err != nil {
		t.Skipf("this kernel makes no user namespace for this user, so that all tests run without: %v", err)
	}
	checks := runConfined(t, as, os.Getuid(), []string{"sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"`})
	for _, name := range []string{"namespaces", "empty root"} {
		if c := checks[name]; c.OK || c.Advice == "" {
			t.Errorf("%s: %+v, expected a failed check with advice", name, c)
		}
	}
	for _, name := range []string{"gate privileges", "gate system calls", "runner privileges", "runner system calls"} {
		if !checks[name].OK {
			t.Errorf("%s: %+v, must be in force all the same", name, checks[name])
		}
	}
}

// runConfined runs a workload and "redoubt platform" with as, below the command
// wrap, and returns what the latter says of a process Keep's sandbox.
func runConfined(t *testing.T, as *syscall.SysProcAttr, uid int, wrap []string) map[string]wire.Check {
	t.Helper()
	if _, err := build(); err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir(), which other users can't enter.
	dir, err := os.MkdirTemp(shared, "confined-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	env := redoubt(t, dir).Env
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(path, filepath.Join(dir, "bin")) {
			return err // the programs are links to everybody's
		}
		return os.Lchown(path, uid, -1)
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		t.Helper()
		line := append(append([]string{}, wrap...), append([]string{filepath.Join(dir, "bin", "redoubt")}, args...)...)
		cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
		var stderr bytes.Buffer
		cmd.Env, cmd.Dir, cmd.SysProcAttr, cmd.Stderr = env, dir, as, &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("redoubt %v: %v\n%s", args, err, &stderr)
		}
		return out
	}
	if got := run("run", "-q", filepath.Join(shared, "wasm", "hello.wasm")); string(got) != "hello\n" {
		t.Errorf("the workload wrote %q", got)
	}
	var platform wire.Platform
	if err := json.Unmarshal(run("platform", "--json"), &platform); err != nil {
		t.Fatal(err)
	}
	checks := map[string]wire.Check{}
	for _, kind := range platform.Kinds {
		if kind.Kind != wire.KindProcess {
			continue
		}
		if !kind.Available {
			t.Errorf("process Keeps can't run here: %+v", kind.Checks)
		}
		for _, c := range kind.Checks {
			t.Logf("%s: %v, %s", c.Name, c.OK, c.Found)
			checks[c.Name] = c
		}
	}
	if left := processes(filepath.Join(dir, "bin")); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	return checks
}
