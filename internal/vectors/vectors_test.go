package vectors

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A recorder keeps how a test ended.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Helper()           {}
func (r *recorder) Fatal(args ...any) { r.stop("failed: ", args) }
func (r *recorder) Skip(args ...any)  { r.stop("skipped: ", args) }

func (r *recorder) stop(how string, args []any) {
	r.end = how + fmt.Sprint(args...)
	panic(r)
}

func end(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		f(r)
	}()
	return r.end
}

func TestDir(t *testing.T) {
	whole, partial, outside := t.TempDir(), t.TempDir(), t.TempDir()
	module := filepath.Join(t.TempDir(), "module")
	inside := filepath.Join(module, "a", "b")
	beside := filepath.Join(module, "..", "shared", "vectors")
	for _, dir := range []string{inside, filepath.Join(partial, "snp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"cca", "nitro", "roots", "sgx", "snp", "tdx", "tpm"} {
		for _, dir := range []string{whole, beside} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, env, ci, work string
		want, reason        string
	}{
		{"named", whole, "", outside, whole, ""},
		{"beside the module", "", "", inside, beside, ""},
		{"partial", partial, "", inside, "", "skipped: no captured evidence: set REDOUBT_VECTORS"},
		{"partial, CI", partial, "true", inside, "", "failed: no captured evidence: set REDOUBT_VECTORS"},
		{"in no module, CI", "", "true", outside, "", "in no module"},
		{"another CI", partial, "false", inside, "", "skipped: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("REDOUBT_VECTORS", tt.env)
			t.Setenv("CI", tt.ci)
			t.Chdir(tt.work)
			var got string
			if reason := end(t, func(t testing.TB) { got = Dir(t) }); got != tt.want || !strings.Contains(reason, tt.reason) || (reason == "") != (tt.reason == "") {
				t.Errorf("got %q, %s; want %q, %s", got, reason, tt.want, tt.reason)
			}
		})
	}
}

func TestRead(t *testing.T) {
	dir := Dir(t)
	want, err := os.ReadFile(filepath.Join(dir, "roots", "aws-nitro-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if got := Read(t, "roots/aws-nitro-root.pem"); string(got) != string(want) || len(got) == 0 {
		t.Errorf("read %d bytes, want %d", len(got), len(want))
	}
	if reason := end(t, func(t testing.TB) { Read(t, "roots/absent.pem") }); !strings.HasPrefix(reason, "failed: ") || !strings.Contains(reason, "absent.pem") {
		t.Errorf("an absent file: %s", reason)
	}
}
