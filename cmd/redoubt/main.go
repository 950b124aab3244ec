// redoubt is the client agent's command line: it deploys workloads to Keeps on
// hosts that need not be trusted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/redoubt-tee/redoubt/wire"
)

func main() {
	os.Exit(run())
}

// run runs the command and returns its exit status.
func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	// A reader of the output that goes away is no reason to leave things behind.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		cancel(interrupted{<-signals})
		signal.Stop(signals) // a second one ends this program at once
	}()
	status := 0
	if err := command(&status).ExecuteContext(ctx); err != nil {
		if unread(err) {
			return interrupted{syscall.SIGPIPE}.status()
		}
		fmt.Fprintln(os.Stderr, "redoubt:", wire.Printable(err.Error()))
		return exitCode(ctx, err)
	}
	return status
}

// unread reports whether err says that nobody reads the output any more.
func unread(err error) bool {
	var write *fs.PathError
	return errors.As(err, &write) && write.Path == os.Stdout.Name() && errors.Is(write, syscall.EPIPE)
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return "interrupted by " + i.signal.String() }
