// Command barewazero runs a WASI module as wazero's own command does, with
// nothing around it: what Redoubt is measured against.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

func main() {
	workers := flag.Int("workers", 1, "compilation workers")
	debug := flag.Bool("debug", true, "read DWARF, as wazero does unless told otherwise")
	flag.Parse()
	err := run(*workers, *debug, flag.Args())
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		os.Exit(int(exit.ExitCode()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "barewazero:", err)
		os.Exit(1)
	}
}

func run(workers int, debug bool, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: barewazero [-workers N] [-debug=false] APP.wasm [ARGS...]")
	}
	module, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	ctx := experimental.WithCompilationWorkers(context.Background(), workers)
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(debug))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return err
	}
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return err
	}
	_, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().
		WithArgs(args...).
		WithStdin(os.Stdin).WithStdout(os.Stdout).WithStderr(os.Stderr).
		WithRandSource(rand.Reader).
		WithSysNanosleep().WithSysNanotime().WithSysWalltime())
	return err
}
