// redoubt-keepmgr is the keep manager: one daemon a host.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "redoubt-keepmgr:", err)
		os.Exit(1)
	}
}
