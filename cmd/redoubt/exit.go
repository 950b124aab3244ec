package main

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"fmt"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/wire"
)

// Exit statuses of redoubt's own. Any other is the workload's.
const (
	exitNotGenuine      = 122 // evidence is not genuine (redoubt verify)
	exitRefusedEvidence = 123 // the Keep's evidence was not good enough
	exitTimeLimit       = 124 // the workload ran out of its time
	exitFailed          = 125 // Redoubt, or the host, failed
	exitBadWorkload     = 126 // the file is not a workload that a Keep can run
	exitTrapped         = 134 // the workload trapped (128 + SIGABRT)
	exitKilled          = 137 // the workload was killed (128 + SIGKILL)
	exitSignal          = 128 // and the number of the signal that redoubt got
)

const exitHelp = `Exit status: the workload's own, or
  123  the Keep's evidence was refused; nothing was sent to it
  124  the workload ran out of its --timeout
  125  Redoubt or the host failed, or the command line is wrong
  126  the file is not a workload that a Keep can run
  134  the workload trapped
  137  the workload was killed, or its runner died
  129, 130, 143  redoubt got SIGHUP, SIGINT or SIGTERM, and stopped the workload
A workload's status above 255 becomes 255, and is told on standard error.`

// workloadError is wrapped by the error of a file that can't be a workload.
type workloadError struct{ err error }

func (e *workloadError) Error() string { return e.err.Error() }
func (e *workloadError) Unwrap() error { return e.err }

// exitCode is the status for a command that failed.
func exitCode(ctx context.Context, err error) int {
	var signal interrupted
	var refused *attest.RefusedError
	var refusal *wire.Refusal
	var workload *workloadError
	var step *client.StepError
	switch {
	case errors.As(context.Cause(ctx), &signal):
		return signal.status()
	case errors.As(err, &refused), errors.As(err, &step) && step.Step == 5:
		return exitRefusedEvidence
	case errors.As(err, &workload), errors.As(err, &refusal) && refusal.Code == wire.CodeBadWorkload:
		return exitBadWorkload
	}
	return exitFailed
}

func (i interrupted) status() int {
	if number, ok := i.signal.(syscall.Signal); ok {
		return exitSignal + int(number)
	}
	return exitFailed
}

// outcomeStatus is the status for a workload that ran. It tells on w what the
// status can't.
func outcomeStatus(ctx context.Context, w io.Writer, o *wire.Outcome) int {
	var signal interrupted
	if o.End == wire.EndExited && o.Status <= 255 {
		return int(o.Status)
	}
	fmt.Fprintln(w, "redoubt: the workload", client.Describe(o))
	switch {
	case o.End == wire.EndExited:
		return 255
	case o.End == wire.EndTrapped:
		return exitTrapped
	case o.End == wire.EndTimeLimit:
		return exitTimeLimit
	case o.End == wire.EndStopped && errors.As(context.Cause(ctx), &signal):
		return signal.status()
	}
	return exitKilled
}

// readWorkload reads the file at path, if it can be a workload by its looks.
func readWorkload(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &workloadError{err}
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, &workloadError{err}
	case info.IsDir():
		return nil, &workloadError{fmt.Errorf("%s is a folder: expected a WebAssembly module", path)}
	case info.Mode().IsRegular() && info.Size() == 0:
		return nil, &workloadError{fmt.Errorf("%s is empty: expected a WebAssembly module", path)}
	}
	module, err := wire.ReadAll(f, wire.MaxWorkload)
	if err != nil {
		return nil, &workloadError{fmt.Errorf("%s: %w", path, err)}
	}
	return module, nil
}
