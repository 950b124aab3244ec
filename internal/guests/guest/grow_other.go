//go:build !wasm

package main

// growAll does nothing: only WebAssembly has a memory to grow.
func growAll() uint64 { return 0 }
