//go:build linux

package runner

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/redoubt-tee/redoubt/wire"
)

const (
	wasmPage = 64 << 10
	maxPages = 65535 // with one more the engine's 32-bit memory length is 0
)

// engine is wazero with one workload.
type engine struct {
	ctx      context.Context
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

// load compiles module and checks that it is something that can be started
// here: a WASI command whose imports all exist, within the memory limit.
func load(module []byte, memory uint64) (*engine, error) {
	if err := preamble(module); err != nil {
		return nil, err
	}
	ctx := experimental.WithMemoryAllocator(context.Background(), experimental.MemoryAllocatorFunc(newLinearMemory))
	ctx = experimental.WithCompilationWorkers(ctx, runtime.NumCPU())
	config := wazero.NewRuntimeConfigCompiler().
		WithMemoryLimitPages(uint32(min(memory/wasmPage, maxPages))).
		WithDebugInfoEnabled(false) // traps name functions, not source lines: DWARF costs start-up
	r := wazero.NewRuntimeWithConfig(ctx, config)
	if err := instantiateWASI(ctx, r); err != nil {
		return nil, fmt.Errorf("set up WASI: %w", err)
	}
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return nil, fmt.Errorf("not a module that this Keep can run: %w", err)
	}
	wasi := r.Module(wasi_snapshot_preview1.ModuleName).ExportedFunctionDefinitions()
	if err := checkModule(compiled, wasi); err != nil {
		return nil, err
	}
	return &engine{ctx: ctx, runtime: r, compiled: compiled}, nil
}

// preamble tells apart what people mistake for a module. (WebAssembly core
// specification, section 5.5.16.)
func preamble(module []byte) error {
	const want = "a WebAssembly module begins with 00 61 73 6d 01 00 00 00"
	switch {
	case len(module) == 0:
		return errors.New("the file is empty: expected a WebAssembly module")
	case !bytes.HasPrefix(module, []byte("\x00asm")):
		return fmt.Errorf("not WebAssembly: begins with % x; %s", module[:min(8, len(module))], want)
	case len(module) < 8:
		return fmt.Errorf("cut short: %d bytes; %s", len(module), want)
	case bytes.HasPrefix(module[4:], []byte{0x0d, 0, 1, 0}):
		return errors.New("a WebAssembly component: expected a core module for WASI preview 1 (build for wasm32-wasip1)")
	}
	return nil
}

func checkModule(m wazero.CompiledModule, wasi map[string]api.FunctionDefinition) error {
	var missing []string
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		have, ok := wasi[name]
		switch {
		case module != wasi_snapshot_preview1.ModuleName || !ok:
			missing = append(missing, fmt.Sprintf("%s.%s", module, name))
		case !slices.Equal(have.ParamTypes(), f.ParamTypes()) || !slices.Equal(have.ResultTypes(), f.ResultTypes()):
			missing = append(missing, fmt.Sprintf("%s.%s (with another signature)", module, name))
		}
	}
	for _, mem := range m.ImportedMemories() {
		module, name, _ := mem.Import()
		missing = append(missing, fmt.Sprintf("%s.%s (a memory)", module, name))
	}
	if len(missing) > 0 {
		return fmt.Errorf("it imports what no Keep offers (WASI preview 1 only): %s", strings.Join(missing, ", "))
	}
	start, ok := m.ExportedFunctions()["_start"]
	if !ok {
		return errors.New("it exports no function _start: expected a WASI command, not a library or reactor")
	}
	if len(start.ParamTypes()) != 0 || len(start.ResultTypes()) != 0 {
		return errors.New("its _start takes parameters or returns results: expected a WASI command")
	}
	return nil
}

// run runs the workload to its end. received is when start arrived.
func (e *engine) run(start *wire.RunnerStart, received time.Time) *wire.Outcome {
	clock := time.Unix(0, int64(start.Time)) // validated to fit
	config := wazero.NewModuleConfig().
		WithArgs(start.Args...).
		WithStdin(os.Stdin).WithStdout(os.Stdout).WithStderr(os.Stderr).
		WithRandSource(rand.Reader).
		WithWalltime(func() (int64, int32) {
			now := clock.Add(time.Since(received))
			return now.Unix(), int32(now.Nanosecond())
		}, sys.ClockResolution(1)).
		WithNanotime(func() int64 { return int64(time.Since(received)) }, sys.ClockResolution(1)).
		WithNanosleep(func(ns int64) { time.Sleep(time.Duration(ns)) }).
		WithOsyield(runtime.Gosched)
	for _, entry := range start.Env {
		key, value, _ := strings.Cut(entry, "=")
		config = config.WithEnv(key, value)
	}
	_, err := e.runtime.InstantiateModule(e.ctx, e.compiled, config)
	var exit *sys.ExitError
	switch {
	case err == nil:
		return &wire.Outcome{End: wire.EndExited}
	case errors.As(err, &exit):
		return &wire.Outcome{End: wire.EndExited, Status: exit.ExitCode()}
	default:
		return &wire.Outcome{End: wire.EndTrapped, Text: wire.Shorten(err.Error())}
	}
}
