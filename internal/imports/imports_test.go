// Package imports holds the statement of policy on who may import what.
package imports

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite deps.txt")

const module = "github.com/redoubt-tee/redoubt/"

// list returns what go list prints for Redoubt's first platform, a line each.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.Fields(string(out))
}

// deps returns all that the packages import, directly or not, itself included.
func deps(t *testing.T, packages ...string) []string {
	t.Helper()
	return list(t, append([]string{"-deps"}, packages...)...)
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// TestTrustedComputingBase compares what is inside a Keep with the list of it
// that reviewers see.
func TestTrustedComputingBase(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "cmd", "redoubt-wasmldr", "deps.txt")
	// The standard library's own packages change with its version.
	version := strings.Join(strings.SplitN(runtime.Version(), ".", 3)[:2], ".")
	got := deps(t, "./cmd/redoubt-wasmldr")
	slices.Sort(got)
	text := "# Every package inside a Keep: the transitive imports of redoubt-wasmldr, built with " + version + ".\n" +
		"# go test ./internal/imports -update rewrites this list; its diff is the growth of the TCB.\n" +
		strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := string(data)
	if !strings.Contains(want, "built with "+version+".") {
		t.Logf("%s was made with another Go than %s: comparing only what is not in the standard library", file, version)
		text, want = withoutStandard(text), withoutStandard(want)
	}
	if text != want {
		t.Errorf("the packages inside a Keep are not those of %s; if that is meant, run: go test ./internal/imports -update\nadded: %v\nremoved: %v",
			file, missing(text, want), missing(want, text))
	}
}

func withoutStandard(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "#") || standard(line)
	}), "\n")
}

func missing(from, in string) []string {
	have := strings.Split(in, "\n")
	return slices.DeleteFunc(strings.Split(from, "\n"), func(line string) bool { return slices.Contains(have, line) })
}

// TestRules holds, for each part of the tree, what it must not depend on, and
// what it may depend on beyond the standard library and the tree itself.
func TestRules(t *testing.T) {
	t.Parallel()
	const (
		cbor  = "github.com/fxamacker/cbor/"
		float = "github.com/x448/float16" // of cbor
		yamux = "github.com/libp2p/go-yamux/"
		pool  = "github.com/libp2p/go-buffer-pool" // of yamux
		sys   = "golang.org/x/sys/"
		toml  = "github.com/pelletier/go-toml/"
	)
	rules := []struct {
		packages string
		never    []string // prefixes within this module
		only     []string // prefixes outside of it; empty: none
	}{
		{"./attest/...", []string{"wire", "measure", "client", "host", "keep", "internal", "cmd"}, []string{cbor, float}},
		// CBOR for CoRIMs alone.
		{"./measure/...", []string{"wire", "attest", "client", "host", "keep", "internal", "cmd"}, []string{cbor, float}},
		{"./measure", nil, nil},
		{"./measure/snp", nil, nil},
		{"./measure/tdx", nil, nil},
		{"./wire", []string{"attest", "measure", "client", "host", "keep", "internal", "cmd"}, []string{cbor, float}},
		{"./wire/sallyport", []string{"attest", "measure", "client", "host", "keep", "internal", "cmd"}, []string{cbor, float, yamux, pool}},
		{"./client/...", []string{"host", "keep", "internal", "cmd"}, []string{cbor, float, toml}},
		{"./host/...", []string{"client", "keep", "cmd"}, []string{cbor, float, yamux, pool, sys}},
		// What a Keep holds.
		{"./keep/...", []string{"attest", "measure", "client", "host", "internal", "cmd"}, []string{
			cbor, float, yamux, pool, sys,
			"github.com/tetratelabs/wazero",
			"github.com/landlock-lsm/go-landlock/", "kernel.org/pub/linux/libs/security/libcap/psx",
			"github.com/elastic/go-seccomp-bpf", "golang.org/x/net/bpf",
		}},
	}
	for _, rule := range rules {
		for _, path := range deps(t, rule.packages) {
			own, ours := strings.CutPrefix(path, module)
			switch {
			case standard(path):
			case ours:
				if first, _, _ := strings.Cut(own, "/"); slices.Contains(rule.never, first) {
					t.Errorf("%s imports %s, directly or not: client, host and keep stand alone, and shared packages below them", rule.packages, own)
				}
			case !slices.ContainsFunc(rule.only, func(p string) bool { return strings.HasPrefix(path, p) }):
				t.Errorf("%s imports %s, directly or not: a new dependency needs a reason in RATIONALE.md and a place in this test", rule.packages, path)
			}
		}
	}
}

// TestInternal keeps fakes and test helpers out of the programs. keepldr's
// simulated hardware is the one exception, and never in a Keep or a client.
func TestInternal(t *testing.T) {
	t.Parallel()
	may := map[string][]string{
		"redoubt":         {"dirs", "version", "teelab"}, // teelab by the keepmgr of redoubt run
		"redoubt-keepmgr": {"dirs", "version", "teelab"},
		"redoubt-keepldr": {"teelab"},
		"redoubt-wasmldr": {},
	}
	for program, allowed := range may {
		for _, path := range deps(t, "./cmd/"+program) {
			if own, ok := strings.CutPrefix(path, module+"internal/"); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports internal/%s, directly or not", program, own)
			}
		}
	}
}

// TestReasons makes sure that each module that is required directly has its
// reason in RATIONALE.md.
func TestReasons(t *testing.T) {
	t.Parallel()
	rationale, err := os.ReadFile(filepath.Join("..", "..", "RATIONALE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list(t, "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all") {
		if !bytes.Contains(rationale, []byte(path)) {
			t.Errorf("%s is required, and has no reason in RATIONALE.md", path)
		}
	}
}
