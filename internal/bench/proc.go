//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A process is a running one, with its program's name.
type process struct {
	pid  int
	name string
}

// processes returns the process pid and its descendants.
func processes(pid int) (found []process) {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PPID …, and NAME may hold anything.
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(string(fields[1])); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var walk func(int)
	walk = func(pid int) {
		if name := processName(pid); name != "" {
			found = append(found, process{pid, name})
		}
		for _, child := range children[pid] {
			walk(child)
		}
	}
	walk(pid)
	return found
}

// processName is the program's, and its first argument's if that tells the runner
// from wasmldr. It is empty if the process is gone.
func processName(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return ""
	}
	args := strings.Split(string(data), "\x00")
	if len(args) > 1 && args[1] == "runner" {
		return "runner"
	}
	return filepath.Base(args[0])
}

// field reads a size in bytes from a line "NAME: N kB" of a file of /proc/PID.
func field(pid int, file, name string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, name)
}

// pss is the memory of a process, with its share of what it shares. (Root may
// look; others may not, at a process that forbids tracing.)
func pss(pid int) (int64, error) { return field(pid, "smaps_rollup", "Pss") }
