//go:build linux

// Package platform looks at what this host can do: for each kind of Keep,
// whether it can run here and, if not, which check failed.
package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/redoubt-tee/redoubt/wire"
)

// Report says what this host can do. What confines a process Keep is only
// known once one runs, and not part of it.
func Report(release string) *wire.Platform {
	p := &wire.Platform{Release: release}
	for _, kind := range wire.Kinds() {
		p.Kinds = append(p.Kinds, Kind(kind))
	}
	return p
}

// Kind says whether this host can run Keeps of kind.
func Kind(kind wire.Kind) wire.KindReport {
	r := wire.KindReport{Kind: kind, Available: true, Checks: checks(kind)}
	for _, c := range r.Checks {
		r.Available = r.Available && c.OK
	}
	return r
}

// Why says in one sentence which checks failed.
func Why(r wire.KindReport) string {
	var failed []string
	for _, c := range r.Checks {
		if !c.OK {
			failed = append(failed, fmt.Sprintf("%s: %s", c.Name, c.Found))
		}
	}
	return strings.Join(failed, "; ")
}

func checks(kind wire.Kind) []wire.Check {
	switch kind {
	case wire.KindProcess:
		return []wire.Check{{Name: "runs in this release", OK: true, Found: "yes: no protection from this host, for development"}}
	case wire.KindKVM:
		return []wire.Check{notYet(), qemu(), device("/dev/kvm", "load the kvm module; without it a guest is emulated, slowly")}
	case wire.KindSNP:
		return []wire.Check{notYet(), qemu(), cpuFlag("sev_snp", "use an AMD EPYC 7003 or later with SNP enabled in the firmware's set-up"),
			device("/dev/sev", "load the ccp module on a host kernel with SNP (6.11 or later)")}
	case wire.KindTDX:
		return []wire.Check{notYet(), qemu(), cpuFlag("tdx_host_platform", "use an Intel Xeon with TDX enabled in the firmware's set-up and a host kernel with TDX (6.16 or later)")}
	case wire.KindCCA:
		return []wire.Check{notYet(), architecture("arm64", "use an Armv9 machine with the Realm Management Extension")}
	case wire.KindSGX:
		return []wire.Check{notYet(), device("/dev/sgx_enclave", "use an Intel CPU with SGX and flexible launch control, enabled in the firmware's set-up"),
			device("/dev/sgx_provision", "as for /dev/sgx_enclave")}
	}
	return []wire.Check{{Name: "known", Found: "no such kind of Keep"}}
}

func notYet() wire.Check {
	return wire.Check{Name: "runs in this release", Found: "no: this release runs process Keeps only", Advice: "use a process Keep to develop"}
}

func device(path, advice string) wire.Check {
	c := wire.Check{Name: path, Advice: advice}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return wire.Check{Name: path, OK: true, Found: "can be opened"}
	case errors.Is(err, fs.ErrNotExist):
		c.Found = "not there"
	case errors.Is(err, fs.ErrPermission):
		c.Found = "this user may not open it"
		c.Advice = "give this user access (often: membership of a group)"
	default:
		c.Found = err.Error()
	}
	return c
}

func qemu() wire.Check {
	const name = "qemu-system-x86_64"
	path, err := exec.LookPath(name)
	if err != nil {
		return wire.Check{Name: name, Found: "not on PATH", Advice: "install QEMU (Debian: qemu-system-x86)"}
	}
	return wire.Check{Name: name, OK: true, Found: path}
}

func cpuFlag(flag, advice string) wire.Check {
	c := wire.Check{Name: "CPU: " + flag, Advice: advice}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		c.Found = err.Error()
		return c
	}
	for line := range strings.Lines(string(info)) {
		if key, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "flags" {
			for have := range strings.FieldsSeq(flags) {
				if have == flag {
					return wire.Check{Name: c.Name, OK: true, Found: "yes"}
				}
			}
		}
	}
	c.Found = "the CPU, its firmware or this kernel does not offer it"
	return c
}

func architecture(want, advice string) wire.Check {
	if runtime.GOARCH == want {
		return wire.Check{Name: "architecture", OK: true, Found: want}
	}
	return wire.Check{Name: "architecture", Found: runtime.GOARCH, Advice: advice}
}
