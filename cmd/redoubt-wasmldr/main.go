// redoubt-wasmldr is the only program of Redoubt inside a Keep. redoubt-keepldr
// starts it; it takes no flags and reads no environment.
//
// The runtime must not look at the host's CPU limits: that takes files, which a
// Keep does not have.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/redoubt-tee/redoubt/keep"
	"github.com/redoubt-tee/redoubt/keep/runner"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt-wasmldr:", err)
		os.Exit(1)
	}
}

func run() error {
	switch {
	case len(os.Args) == 1:
		return keep.Main(context.Background())
	case len(os.Args) == 2 && os.Args[1] == runner.Arg:
		return runner.Main()
	}
	return fmt.Errorf("unexpected arguments: this program is started by redoubt-keepldr; use redoubt run or redoubt deploy")
}
