//go:build linux

package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"
)

// instantiateWASI offers WASI preview 1: the engine's own, but for fd_write.
//
// The engine lets a guest make its streams non-blocking, as Go's guests do when
// they start, but tells it at once that they can be written to, full or not: the
// guest spins until the tenant has read. With this fd_write it sleeps.
func instantiateWASI(ctx context.Context, r wazero.Runtime) error {
	builder := r.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(builder)
	i32 := api.ValueTypeI32
	builder.NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(fdWrite), []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}).
		Export("fd_write")
	_, err := builder.Instantiate(ctx)
	return err
}

// The errors of WASI preview 1 that fd_write has.
type errno uint32

const (
	success  errno = 0
	errBadf  errno = 8
	errFault errno = 21
	errInval errno = 28
	errIO    errno = 29
	errPipe  errno = 64
)

// fdWrite is fd_write(fd, iovs, iovs_len, nwritten). A workload can write to
// nothing but its two streams.
func fdWrite(_ context.Context, guest api.Module, stack []uint64) {
	var to *os.File
	switch api.DecodeU32(stack[0]) {
	case 1:
		to = os.Stdout
	case 2:
		to = os.Stderr
	default:
		stack[0] = uint64(errBadf)
		return
	}
	stack[0] = uint64(writeVectors(guest.Memory(), to, api.DecodeU32(stack[1]), api.DecodeU32(stack[2]), api.DecodeU32(stack[3])))
}

// maxVectors is Linux's IOV_MAX.
const maxVectors = 1024

func writeVectors(memory api.Memory, to *os.File, vectors, count, written uint32) errno {
	if count > maxVectors {
		return errInval
	}
	list, ok := memory.Read(vectors, 8*count)
	if !ok {
		return errFault
	}
	var total uint32
	for ; len(list) > 0; list = list[8:] {
		data, ok := memory.Read(binary.LittleEndian.Uint32(list), binary.LittleEndian.Uint32(list[4:]))
		if !ok {
			return errFault
		}
		n, err := writeBlocking(to, data)
		total += uint32(n)
		if err != nil {
			return errnoOf(err)
		}
	}
	if !memory.WriteUint32Le(written, total) {
		return errFault
	}
	return success
}

// writeBlocking writes all of data, even if the guest has made the stream
// non-blocking.
func writeBlocking(to *os.File, data []byte) (int, error) {
	done := 0
	for {
		n, err := to.Write(data[done:])
		done += n
		if !errors.Is(err, unix.EAGAIN) {
			return done, err
		}
		if err := unix.SetNonblock(int(to.Fd()), false); err != nil {
			return done, err
		}
	}
}

func errnoOf(err error) errno {
	switch {
	case errors.Is(err, unix.EPIPE):
		return errPipe
	case errors.Is(err, os.ErrClosed):
		return errBadf
	}
	return errIO
}
