//go:build linux

// Package sandbox confines the Keep's own processes on the machine they run
// on: wasmldr, the gate, and its runner. In a process Keep it is all that
// stands between the workload and the host's user; in a VM Keep it stands
// between the workload and the Keep's keys.
//
// Everything is applied for good and to all threads. What the kernel does not
// offer is left out and said so in the checks that are returned; what it offers
// and refuses is an error.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"github.com/redoubt-tee/redoubt/wire"
)

// Gate confines wasmldr, which has started its runner already: it starts no
// other process, opens no file, and maps no code.
func Gate() ([]wire.Check, error) {
	root, err := emptyRoot()
	if err != nil {
		return nil, err
	}
	// Its own runner is outside its Landlock domain, and it must be able to kill it.
	rest, err := confine("gate", gateFilter(), func(c landlock.Config) error {
		return errors.Join(c.RestrictPaths(), c.RestrictNet())
	})
	return append(root, rest...), err
}

// Runner confines the runner. Its root is the gate's.
func Runner() ([]wire.Check, error) {
	return confine("runner", runnerFilter(), func(c landlock.Config) error { return c.Restrict() })
}

// ownNamespaces reports whether this process was started as the first of its
// own PID namespace. Whoever does that (host/process) gives it user, mount,
// network, IPC and UTS namespaces as well.
func ownNamespaces() bool { return os.Getpid() == 1 }

// emptyRoot leaves this process, and its runner, with an empty read-only folder
// as their file system.
func emptyRoot() ([]wire.Check, error) {
	if !ownNamespaces() {
		const advice = "allow unprivileged user namespaces on this host (sysctl user.max_user_namespaces; on Ubuntu kernel.apparmor_restrict_unprivileged_userns)"
		return []wire.Check{
			{Name: "namespaces", Found: "none: the kernel refused them", Advice: advice},
			{Name: "empty root", Found: "needs namespaces", Advice: advice},
		}, nil
	}
	const at = "/proc" // any folder that every host has
	steps := []struct {
		what string
		do   func() error
	}{
		{"make mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount an empty folder", func() error {
			return unix.Mount("keep", at, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0500,size=4k")
		}},
		{"enter it", func() error { return unix.Chdir(at) }},
		{"make it the root", func() error { return unix.PivotRoot(".", ".") }},
		{"let go of the host's root", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return nil, fmt.Errorf("sandbox: empty root: %s: %w", s.what, err)
		}
	}
	return []wire.Check{
		{Name: "namespaces", OK: true, Found: "user, mount, PID, network, IPC, UTS"},
		{Name: "empty root", OK: true, Found: "a read-only folder with nothing in it"},
	}, nil
}

// confine applies what gate and runner have in common, lock, and filter last.
func confine(who string, filter filter, lock func(landlock.Config) error) ([]wire.Check, error) {
	if err := limits(); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("sandbox: forbid tracing and dumps: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return nil, fmt.Errorf("sandbox: drop capabilities: %w", err)
	}
	checks := []wire.Check{{Name: who + " privileges", OK: true, Found: "no capabilities, no new privileges, not traceable, no core dumps"}}

	locked := wire.Check{Name: who + " Landlock", Found: "not in this kernel", Advice: "use a kernel with Landlock (CONFIG_SECURITY_LANDLOCK, and landlock in its list of LSMs)"}
	if abi := landlockABI(); abi > 0 {
		if err := lock(landlock.V11.BestEffort()); err != nil {
			return nil, fmt.Errorf("sandbox: Landlock: %w", err)
		}
		locked = wire.Check{Name: locked.Name, OK: true, Found: fmt.Sprintf("ABI %d: no file, no port", abi)}
	}
	if err := filter.install(); err != nil {
		return nil, err
	}
	return append(checks, locked,
		wire.Check{Name: who + " system calls", OK: true, Found: fmt.Sprintf("seccomp allows %d; any other kills it", len(filter.allow)+len(filter.conditions))}), nil
}

func limits() error {
	for _, l := range []struct {
		what  string
		which int
		value uint64
	}{
		{"core size", unix.RLIMIT_CORE, 0},
		{"file size", unix.RLIMIT_FSIZE, 0},
		{"open files", unix.RLIMIT_NOFILE, 256},
	} {
		if err := unix.Setrlimit(l.which, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("sandbox: limit of %s: %w", l.what, err)
		}
	}
	return nil
}

// dropCapabilities empties all capability sets of all threads. no_new_privs,
// set with the filter, keeps them empty.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0) //nolint:gosec // unix.Capset is for one thread
	if errno != 0 {
		return errno
	}
	return nil
}

func landlockABI() int {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	if errno != 0 {
		return 0
	}
	return int(abi)
}
