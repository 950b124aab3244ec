package main

// memoryGrow is the instruction memory.grow: the old size in pages, or -1.
func memoryGrow(pages int32) int32

// memorySize is the instruction memory.size: the size in pages.
func memorySize() int32

// growAll grows the memory, first by 1 MiB and then by one page at a time,
// until it is refused and returns its size in bytes. It goes round the Go runtime, which ends the program when
// it is refused memory.
func growAll() uint64 {
	for memoryGrow(16) >= 0 {
	}
	for memoryGrow(1) >= 0 {
	}
	return uint64(uint32(memorySize())) << 16
}
