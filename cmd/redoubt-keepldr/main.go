// redoubt-keepldr looks after one Keep. redoubt-keepmgr starts it, with the
// socket to serve as descriptor 3 and its configuration on standard input; it
// ends its Keep, and itself, when that input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/redoubt-tee/redoubt/host/keepldr"
	"github.com/redoubt-tee/redoubt/wire"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt-keepldr:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 {
		return fmt.Errorf("unexpected arguments: this program is started by redoubt-keepmgr; use redoubt run or redoubt deploy")
	}
	f := os.NewFile(3, "listener")
	listener, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("no socket at descriptor 3: redoubt-keepmgr starts this program: %w", err)
	}
	f.Close()
	var config wire.KeepldrConfig
	if err := wire.ReadFrame(os.Stdin, &config); err != nil {
		return fmt.Errorf("read the configuration from standard input: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
		cancel()
	}()
	return keepldr.Run(ctx, config, listener)
}
