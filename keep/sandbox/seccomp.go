//go:build linux

package sandbox

import (
	"fmt"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// A filter is a list of the system calls that a process may make. Any other
// kills it.
type filter struct {
	allow      []string
	conditions []seccomp.NameWithConditions
}

// goRuntime is what any Go program needs once it runs: threads, memory,
// signals, time, and reading and writing what is open.
var goRuntime = []string{
	"read", "write", "readv", "writev", "close", "fcntl",
	"munmap", "madvise", "mincore",
	"futex", "sched_yield", "sched_getaffinity", "set_robust_list", "rseq", "gettid", "getpid", "tgkill",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	"clock_gettime", "clock_nanosleep", "nanosleep", "restart_syscall", "timer_create", "timer_settime", "timer_delete", "setitimer",
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2",
	"getrandom", "exit", "exit_group",
}

// common are the conditions under which any of our processes may make a call
// whose arguments matter.
var common = []seccomp.NameWithConditions{
	// threads, no processes
	{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD | unix.CLONE_VM}}},
	// the Go runtime names its mappings
	{Name: "prctl", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: unix.PR_SET_VMA}}},
}

// gateFilter is wasmldr's: no code is mapped, and the only process it can
// signal is the one it holds a pidfd of.
func gateFilter() filter {
	noExec := seccomp.ArgumentConditions{{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}}
	return filter{
		allow: append([]string{"shutdown", "pidfd_send_signal", "waitid", "wait4"}, goRuntime...),
		conditions: append([]seccomp.NameWithConditions{
			{Name: "mmap", Conditions: noExec},
			{Name: "mprotect", Conditions: noExec},
		}, common...),
	}
}

// runnerFilter is the runner's: the engine maps the code that it compiles, and
// polls the workload's streams.
func runnerFilter() filter {
	return filter{
		allow:      append([]string{"mmap", "mprotect", "fstat", "poll", "ppoll"}, goRuntime...),
		conditions: common,
	}
}

func (f filter) install() error {
	here, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("sandbox: seccomp: %w", err)
	}
	// Architectures differ in which of the older calls they have.
	allow := slices.DeleteFunc(slices.Clone(f.allow), func(name string) bool { _, ok := here.SyscallNames[name]; return !ok })
	err = seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionKillProcess,
			Syscalls:      []seccomp.SyscallGroup{{Names: allow, NamesWithCondtions: f.conditions, Action: seccomp.ActionAllow}},
		},
	})
	if err != nil {
		return fmt.Errorf("sandbox: seccomp: %w", err)
	}
	return nil
}
