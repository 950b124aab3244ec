//go:build linux

package runner

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// linearMemory is a workload's memory: address space reserved once, made usable
// as it grows. So growing never copies, and the garbage collector, which knows
// nothing of it, does not let its own heap grow in proportion.
type linearMemory struct {
	reserved []byte
	usable   uint64
}

// newLinearMemory reserves max bytes. If that fails the memory can't grow at
// all, and the engine reports it.
func newLinearMemory(_, max uint64) experimental.LinearMemory {
	m := &linearMemory{reserved: []byte{}}
	if max == 0 {
		return m
	}
	if b, err := unix.Mmap(-1, 0, int(max), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE); err == nil {
		m.reserved = b
	}
	return m
}

func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		return nil
	}
	if size > m.usable {
		if unix.Mprotect(m.reserved[:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		m.usable = size
	}
	return m.reserved[:size:size]
}

func (m *linearMemory) Free() {
	if len(m.reserved) > 0 {
		_ = unix.Munmap(m.reserved) // the process is about to end
		m.reserved = nil
	}
}
