package snp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"path/filepath"
	"testing"

	"github.com/redoubt-tee/redoubt/internal/vectors"
	"github.com/redoubt-tee/redoubt/measure/snp"
)

// vector reads a file of published launch digests' inputs.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	return vectors.Read(t, filepath.Join("measure", name))
}

const (
	amdSev  = "ovmf_AmdSev_suffix.bin"
	ovmfX64 = "ovmf_OvmfX64_suffix.bin"
)

func parse(t testing.TB, data []byte) *snp.Firmware {
	t.Helper()
	f, err := snp.ParseFirmware(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func hashes(t testing.TB, kernel, initrd, commandLine string) *snp.Hashes {
	t.Helper()
	h, err := snp.HashKernel(bytes.NewReader([]byte(kernel)), bytes.NewReader([]byte(initrd)), commandLine)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func cpu(t testing.TB, name string) snp.CPU {
	t.Helper()
	c, err := snp.ParseCPU(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestVectors compares with each digest of the vectors' README.
func TestVectors(t *testing.T) {
	t.Parallel()
	const firmwareOnly = -1
	for _, tt := range []struct {
		name, firmware string
		vcpus          int
		kernel         bool // an empty one, and an empty initrd
		commandLine    string
		want           string
		err            error
	}{
		{"AmdSev with a kernel", amdSev, 1, true, "console=ttyS0 loglevel=7", "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977", nil},
		{"AmdSev with four processors", amdSev, 4, true, "", "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942", nil},
		{"AmdSev without a kernel", amdSev, 1, false, "", "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b", nil},
		{"AmdSev alone", amdSev, firmwareOnly, false, "", "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74", nil},
		{"OvmfX64 without a kernel", ovmfX64, 1, false, "", "28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385", nil},
		{"OvmfX64 with a kernel", ovmfX64, 1, true, "", "", snp.ErrNoHashes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			launch := snp.Launch{Firmware: parse(t, vector(t, tt.firmware)), VCPUs: tt.vcpus, CPU: cpu(t, "EPYC-v4"), Features: 0x21}
			if tt.kernel {
				launch.Hashes = hashes(t, "", "", tt.commandLine)
			}
			if tt.vcpus == firmwareOnly {
				if got := launch.Firmware.Digest(); hex.EncodeToString(got[:]) != tt.want {
					t.Errorf("%x, want %s", got, tt.want)
				}
				return
			}
			got, err := launch.Digest()
			if !errors.Is(err, tt.err) {
				t.Fatalf("%v, want %v", err, tt.err)
			}
			if err == nil && hex.EncodeToString(got[:]) != tt.want {
				t.Errorf("%x, want %s", got, tt.want)
			}
		})
	}
}
