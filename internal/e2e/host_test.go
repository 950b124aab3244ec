//go:build linux

package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/wire"
)

// TestAmbiguousPrefix names a Keep by what two IDs begin with. A real host's IDs
// are random, so this one is made up.
func TestAmbiguousPrefix(t *testing.T) {
	t.Parallel()
	if _, err := build(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != wire.PathKeeps {
			t.Errorf("asked for %s %s", r.Method, r.URL.Path)
		}
		wire.Respond(w, &wire.KeepList{Keeps: []wire.KeepInfo{
			{ID: "abcdefaaaaaa", Kind: wire.KindProcess, State: wire.StateRunning},
			{ID: "abcdefbbbbbb", Kind: wire.KindProcess, State: wire.StateRunning},
		}})
	})}
	go server.Serve(listener)
	defer server.Close()
	cmd := redoubt(t, dir, "keep", "stop", "--host", "unix://"+socket, "abcdef")
	out, err := cmd.CombinedOutput()
	const want = `redoubt: "abcdef" is the beginning of 2 Keeps' IDs (abcdefaaaaaa, abcdefbbbbbb): give more of it`
	if cmd.ProcessState.ExitCode() != 125 || strings.TrimSpace(string(out)) != want {
		t.Errorf("%v, said:\n%s\nexpected\n%s", err, out, want)
	}
}
