// Package guests makes the WebAssembly programs that tests run in a Keep: the
// multi-call program in the folder guest, and modules of a few bytes for the
// cases that no compiler makes.
package guests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Guest is the import path of the multi-call program.
const Guest = "github.com/redoubt-tee/redoubt/internal/guests/guest"

// Build compiles the Go main package pkg for WASI preview 1 and writes the
// module to the file out. It needs the go command, and to be called in a folder
// of this module.
func Build(ctx context.Context, pkg, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, b)
	}
	return nil
}
