//go:build linux

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// TestMeasureVectors gives published inputs to redoubt measure snp, and compares
// with the digests, or the refusal, that the vectors' README gives.
func TestMeasureVectors(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(vectors.Dir(t), "measure")
	if _, err := os.Stat(dir); err != nil {
		t.Fatal("the vectors have no measure/: ", err)
	}
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	amdSev, x64 := filepath.Join(dir, "ovmf_AmdSev_suffix.bin"), filepath.Join(dir, "ovmf_OvmfX64_suffix.bin")
	kernel := []string{"--kernel", empty, "--initrd", empty}
	const first = "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977"
	for _, tt := range []struct {
		name, firmware, vcpus string
		args                  []string
		status                int
		stdout, stderr        string
	}{
		{"AmdSev with a kernel", amdSev, "1", append(kernel[:4:4], "--append", "console=ttyS0 loglevel=7"), 0, first + "\n", ""},
		{"AmdSev with four processors", amdSev, "4", kernel, 0, "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942\n", ""},
		{"AmdSev without a kernel", amdSev, "1", nil, 0, "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b\n", ""},
		{"AmdSev alone", amdSev, "1", []string{"--format", "json"}, 0, `"firmware_measurement": "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"`, ""},
		{"OvmfX64 without a kernel", x64, "1", nil, 0, "28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385\n", ""},
		{"OvmfX64 with a kernel", x64, "1", kernel, 125, "", "no SNP_KERNEL_HASHES section"},
		{"explained", x64, "3", append(kernel[:4:4], "--firmware", amdSev, "--append", "console=ttyS0 loglevel=7\n", "--explain", first), 1, `is "console=ttyS0 loglevel=7", hashed as`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"measure", "snp", "--firmware", tt.firmware, "--vcpus", tt.vcpus, "--cpu", "EPYC-v4", "--features", "0x21"}, tt.args...)
			cmd := exec.CommandContext(t.Context(), filepath.Join(b.bin, "redoubt"), args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			whole := strings.HasSuffix(tt.stdout, "\n")
			if cmd.ProcessState.ExitCode() != tt.status || !strings.Contains(stdout.String(), tt.stdout) || whole && stdout.String() != tt.stdout || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("status %d\n%s%s\nwant %d\n%s%s", cmd.ProcessState.ExitCode(), &stdout, &stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}
