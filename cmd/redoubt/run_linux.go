package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/host/keepmgr"
	"github.com/redoubt-tee/redoubt/internal/dirs"
	"github.com/redoubt-tee/redoubt/internal/version"
)

func runCommand(status *int) *cobra.Command {
	var workload workloadFlags
	c := &cobra.Command{
		Use:   "run APP.wasm [flags] [--] [ARGS...]",
		Short: "Run a workload in a Keep on this machine",
		Long: `Run a WebAssembly program in a Keep on this machine, to develop: the same ten steps
as redoubt deploy, with a keepmgr of its own. The evidence is simulated, so nothing
protects the program from this machine. Standard input, output and error are the
program's.

` + exitHelp,
		Example: `  redoubt run app.wasm
  redoubt run --env LANG=C app.wasm -- --verbose < input > output
  redoubt run --memory 64MiB --timeout 10s app.wasm`,
		Args: aWorkload,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := workload.deployment(c, args)
			if err != nil {
				return err
			}
			measured := sync.OnceValues(ownMeasurement)
			go func() { _, _ = measured() }() // while keepmgr starts; who needs it sees the error
			host, done, err := embedded()
			if err != nil {
				return err
			}
			defer done()
			measurement, err := measured()
			if err != nil {
				return err
			}
			d.Policy = client.ProcessPolicy(attest.Reference{Name: "the redoubt-wasmldr here", Digest: measurement})
			d.Policy.Profiles = []string{workload.profile} // the user's own machine
			if d.Roots, err = ownRoot(); err != nil {
				return err
			}
			if !workload.quiet {
				fmt.Fprintln(c.ErrOrStderr(), "redoubt: a process Keep with simulated evidence: nothing protects the workload from this machine")
			}
			return workload.deploy(c.Context(), c, host, d, status)
		},
	}
	workload.add(c)
	return c
}

// embedded starts a keepmgr within this process, and returns it as a host like
// any other, and what ends it.
func embedded() (_ *client.Host, done func(), err error) {
	config := keepmgr.Config{Release: version.String(), Log: slog.New(slog.DiscardHandler)}
	state, err := dirs.State()
	if err != nil {
		return nil, nil, err
	}
	config.DevDir = dirs.Dev(state)
	for name, path := range map[string]*string{"redoubt-keepldr": &config.Keepldr, "redoubt-wasmldr": &config.Wasmldr} {
		if *path, err = dirs.Program(name); err != nil {
			return nil, nil, err
		}
	}
	if config.RunDir, err = os.MkdirTemp("", "redoubt-"); err != nil {
		return nil, nil, err
	}
	removeDir := func() { _ = os.RemoveAll(config.RunDir) } // a leftover harms nobody
	manager, err := keepmgr.New(config)
	if err != nil {
		removeDir()
		return nil, nil, err
	}
	socket := filepath.Join(config.RunDir, "keepmgr.sock")
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", socket)
	if err != nil {
		removeDir()
		return nil, nil, err
	}
	server := &http.Server{Handler: manager.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) //nolint:errcheck // ends with Close
	done = func() {
		manager.Close()
		server.Close()
		removeDir()
	}
	host, err := client.Open("unix://"+socket, nil)
	if err != nil {
		done()
		return nil, nil, err
	}
	return host, done, nil
}
