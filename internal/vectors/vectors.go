// Package vectors finds the evidence that was captured from hardware. It is for
// tests only.
package vectors

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Dir returns the absolute path of the folder of captured evidence: the one that
// REDOUBT_VECTORS names, or else shared/vectors beside this module. Without it,
// or without one of the folders in it, the test is skipped, and fails if CI=true.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := find()
	if err != nil {
		const text = "no captured evidence: set REDOUBT_VECTORS to the absolute path of a folder with cca/, nitro/, roots/, sgx/, snp/, tdx/ and tpm/, as the vectors' README.md describes it: "
		if os.Getenv("CI") == "true" {
			t.Fatal(text, err)
		}
		t.Skip(text, err)
	}
	return dir
}

// Read returns what is in a file below Dir. Its name has slashes.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(Dir(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func find() (string, error) {
	dir := os.Getenv("REDOUBT_VECTORS")
	if dir == "" {
		root, err := module()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, "..", "shared", "vectors")
	}
	for _, sub := range []string{"cca", "nitro", "roots", "sgx", "snp", "tdx", "tpm"} {
		if _, err := os.Stat(filepath.Join(dir, sub)); err != nil { //nolint:gosec // whoever runs the tests names the folder
			return "", err
		}
	}
	return filepath.Abs(dir)
}

// module returns the folder with go.mod that the working directory is in.
func module() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is in no module")
		}
		dir = parent
	}
}
