//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/client"
)

var errNoKeeps = errors.New("Keeps run on Linux: use redoubt deploy with a Linux --host") //nolint:staticcheck // Keep is a name

func runCommand(*int) *cobra.Command {
	return &cobra.Command{
		Use:                "run",
		Short:              "Run a workload in a Keep on this machine (Linux only)",
		DisableFlagParsing: true,
		RunE:               func(*cobra.Command, []string) error { return errNoKeeps },
	}
}

func embedded() (*client.Host, func(), error) { return nil, nil, errNoKeeps }
