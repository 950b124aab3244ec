//go:build linux

// Package process starts process Keeps: wasmldr as a child, with nothing but a
// sallyport.
package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are those of a process Keep, made without privilege by virtue of
// the first.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// Start starts the binary that is open as wasmldr, as a process Keep, and
// returns its sallyport. Where the kernel refuses namespaces to this user, the
// Keep starts without; it says so itself.
//
// The Keep dies with the calling thread, which must be locked and live as long
// as the Keep may.
func Start(wasmldr *os.File) (net.Conn, *exec.Cmd, error) {
	conn, cmd, err := start(wasmldr, namespaces)
	if refused(err) {
		conn, cmd, err = start(wasmldr, 0)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", wasmldr.Name(), err)
	}
	return conn, cmd, nil
}

// refused reports whether err is a kernel's way to say "no namespaces for you".
func refused(err error) bool {
	for _, errno := range []syscall.Errno{unix.EPERM, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func start(wasmldr *os.File, flags uintptr) (net.Conn, *exec.Cmd, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "sallyport"), os.NewFile(uintptr(pair[1]), "sallyport")
	defer ours.Close() // FileConn has its own
	defer theirs.Close()
	// Out of the way of the child's own descriptors, and of the few that fork
	// makes there above the highest of them.
	exe, err := unix.FcntlInt(wasmldr.Fd(), unix.F_DUPFD_CLOEXEC, pair[1]+64)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(exe)
	cmd := &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", exe), // the very file that was measured
		Args:       []string{"redoubt-wasmldr"},
		Env:        []string{}, // an empty one, not this process's
		ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{
			Pdeathsig:  syscall.SIGKILL,
			Setsid:     true, // a terminal's Ctrl-C is for the client, which stops the Keep
			Cloneflags: flags,
		},
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, cmd, nil
}
