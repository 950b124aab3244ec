//go:build linux

package e2e

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// TestFetch fetches collateral from a server like AMD's, and then does without it.
func TestFetch(t *testing.T) {
	t.Parallel()
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	amd, err := teelab.NewAMD(snp.Milan, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	chip, err := amd.NewSNP()
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := chip.Evidence([64]byte{1}, [48]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: amd.ASK.Raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: amd.ARK.Raw})...)
	crl := chip.Collateral().CRLs[0]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/Milan/cert_chain"):
			_, _ = w.Write(chain)
		case strings.HasSuffix(r.URL.Path, "/Milan/crl"):
			_, _ = w.Write(crl)
		case r.URL.Query().Get("ucodeSPL") != "":
			_, _ = w.Write(chip.VCEK.Raw)
		default:
			http.NotFound(w, r)
		}
	}))
	dir := t.TempDir()
	for name, data := range map[string][]byte{"report.bin": evidence.Report, "root.pem": chain} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(status int, want string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(b.bin, "redoubt"), args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "XDG_STATE_HOME="+dir)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), want) {
			t.Errorf("%v: status %d, want %d and %q\n%s", args, got, status, want, out)
		}
	}
	policy, err := filepath.Abs("testdata/policy/simulated.toml")
	if err != nil {
		t.Fatal(err)
	}
	verify := []string{"verify", "report.bin", "--root", "root.pem", "--policy", policy}
	run(122, "no usable signing key", verify...)
	run(0, "", "collateral", "fetch", "report.bin", "--kds", server.URL, "-o", "bundle.cbor")
	run(0, "accepted: snp evidence", append(verify, "--fetch", "--kds", server.URL)...)
	server.Close()
	run(0, "accepted: snp evidence", append(verify, "--collateral", "bundle.cbor")...)
	run(0, "accepted: snp evidence", append(verify, "--fetch", "--kds", server.URL, "--offline")...)
	if err := os.RemoveAll(filepath.Join(dir, "cache")); err != nil {
		t.Fatal(err)
	}
	run(122, "not all collateral could be fetched", append(verify, "--fetch", "--kds", server.URL, "--offline")...)
}
