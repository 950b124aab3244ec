// Command salaries reads salaries as CSV on standard input and prints
// statistics of departments, so that nobody learns anybody's salary: see the
// README for what that means exactly.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "usage: salaries < SALARIES.csv (columns: name, department, salary)")
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "salaries:", err)
		os.Exit(1)
	}
}
