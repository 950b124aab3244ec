// Package dirs says where Redoubt's programs keep things, and find each other.
package dirs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// State is the folder for what outlives a program: $XDG_STATE_HOME/redoubt, or
// /var/lib/redoubt for root where that is not set. It need not exist.
func State() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "redoubt"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/redoubt", nil
	}
	if runtime.GOOS != "linux" {
		dir, err := os.UserConfigDir()
		return filepath.Join(dir, "redoubt"), err
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "redoubt"), err
}

// Dev is the folder of the development chain within a state folder.
func Dev(state string) string { return filepath.Join(state, "dev") }

// Run is the folder for sockets: $XDG_RUNTIME_DIR/redoubt, or /run/redoubt for
// root, or a folder of this user's in the temporary one. It need not exist.
func Run() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "redoubt")
	}
	if os.Geteuid() == 0 {
		return "/run/redoubt"
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("redoubt-%d", os.Getuid()))
}

// Socket is where redoubt-keepmgr listens unless told otherwise.
func Socket() string { return filepath.Join(Run(), "keepmgr.sock") }

// Program returns the path of one of Redoubt's programs: beside the running
// one, or on PATH.
func Program(name string) (string, error) {
	self, err := os.Executable()
	if err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			beside := filepath.Join(filepath.Dir(self), name)
			if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
				return beside, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside this program nor on PATH: install Redoubt's programs together", name)
	}
	return filepath.Abs(path)
}
