package snp

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Bounds of Explain.
const (
	MaxFirmwares = 16 // given at once
	triedVCPUs   = 64
)

// A Named is a firmware and what to call it.
type Named struct {
	Name string
	*Firmware
}

// A Guess is what somebody believes a digest to be of.
type Guess struct {
	Firmwares []Named // the first is the one believed in; at most MaxFirmwares
	// Kernel and Initrd are the files' hashes. Without Kernel none is believed to
	// be measured, and only that is tried.
	Kernel      *[sha256.Size]byte
	Initrd      *[sha256.Size]byte
	CommandLine string
	VCPUs       int
	CPU         CPU
	Features    uint64
}

// A Difference is one input that is not as it was believed to be.
type Difference struct {
	Input string `json:"input"`
	Given string `json:"given"`
	Found string `json:"found"`
}

// An Explanation says which inputs a digest is of.
type Explanation struct {
	Launch      Launch
	Firmware    string // its name
	Differences []Difference
}

// boot is a variation of what is booted.
type boot struct {
	hashes *Hashes
	given  string
	found  string // how it differs; empty if it does not
	input  string
}

// Explain looks for the inputs that a digest is of: it tries each firmware, each
// CPU model of Models, 1 to 64 virtual processors, SEV features 0x0, 0x1 and 0x21,
// the command line with and without a newline or NUL at its end, no initrd, and no
// kernel hashes, beside what the guess says; every combination of them. It returns
// nil if none fits, and how many it tried.
func Explain(want [Size]byte, g Guess) (*Explanation, int, error) {
	if len(g.Firmwares) < 1 || len(g.Firmwares) > MaxFirmwares {
		return nil, 0, fmt.Errorf("%w: %d firmware images, expected 1 to %d", ErrLaunch, len(g.Firmwares), MaxFirmwares)
	}
	if g.VCPUs < 1 || g.VCPUs > MaxVCPUs || g.CPU == 0 {
		return nil, 0, fmt.Errorf("%w: expected 1 to %d virtual processors and a CPU model", ErrLaunch, MaxVCPUs)
	}
	tried := 0
	for _, firmware := range g.Firmwares {
		start := firmware.Digest()
		for _, b := range g.boots() {
			if b.hashes != nil && !firmware.HashesKernel() {
				continue
			}
			launch := Launch{Firmware: firmware.Firmware, Hashes: b.hashes}
			before := launch.beforeVCPUs(start)
			for _, launch.CPU = range g.cpus() {
				for _, launch.Features = range unique(g.Features, 0x0, 0x1, 0x21) {
					n, steps := launch.count(want, before, max(g.VCPUs, triedVCPUs))
					if tried += steps; n > 0 {
						launch.VCPUs = n
						return &Explanation{launch, firmware.Name, g.differences(&launch, firmware.Name, b)}, tried, nil
					}
				}
			}
		}
	}
	return nil, tried, nil
}

// count returns with how many processors, at most most, the digest becomes what
// is wanted, or 0; and how many it tried.
func (l *Launch) count(want, d digest, most int) (n, tried int) {
	first, others := l.vmsas()
	d.extend(pageVMSA, gpaVMSA, first)
	for n := 1; n <= most; n++ {
		if d == want {
			return n, n
		}
		d.extend(pageVMSA, gpaVMSA, others)
	}
	return 0, most
}

// boots returns what may have been booted, the guess first.
func (g *Guess) boots() []boot {
	without := boot{input: "kernel hashes", given: "with", found: "without: kernel-hashes=off, or no -kernel"}
	if g.Kernel == nil {
		without.found = ""
		return []boot{without}
	}
	initrd := sha256.Sum256(nil)
	initrds := []boot{{hashes: &Hashes{Initrd: initrd}}}
	if g.Initrd != nil && *g.Initrd != initrd {
		initrds = []boot{{hashes: &Hashes{Initrd: *g.Initrd}}, {hashes: &Hashes{Initrd: initrd}, input: "initrd", given: "one", found: "none"}}
	}
	var all []boot
	for _, b := range initrds {
		for _, line := range g.commandLines() {
			next := b
			h := Hashes{Kernel: *g.Kernel, Initrd: b.hashes.Initrd, CommandLine: sha256.Sum256([]byte(line))}
			next.hashes = &h
			if line != g.CommandLine+"\x00" {
				next.input += " and command line"
				next.given += fmt.Sprintf(" and %q", g.CommandLine)
				next.found += fmt.Sprintf(" and %q, hashed as %q", strings.TrimSuffix(line, "\x00"), line)
			}
			for _, text := range []*string{&next.input, &next.given, &next.found} {
				*text = strings.TrimPrefix(*text, " and ")
			}
			all = append(all, next)
		}
	}
	return append(all, without)
}

// commandLines returns what may have been hashed as the command line. As QEMU
// does it, a NUL is at its end.
func (g *Guess) commandLines() []string {
	bare := strings.TrimRight(g.CommandLine, "\n\x00")
	var lines []string
	for _, text := range unique(g.CommandLine, bare, bare+"\n") {
		lines = append(lines, text+"\x00", text, text+"\x00\x00")
	}
	return unique(lines...)
}

func (g *Guess) cpus() []CPU {
	cpus := []CPU{g.CPU}
	for _, m := range Models() {
		cpus = append(cpus, m.CPU)
	}
	return unique(cpus...)
}

// unique returns the values without those that were there before.
func unique[T comparable](values ...T) []T {
	seen, out := map[T]bool{}, values[:0:0]
	for _, v := range values {
		if !seen[v] {
			out = append(out, v)
		}
		seen[v] = true
	}
	return out
}

func (g *Guess) differences(l *Launch, firmware string, b boot) []Difference {
	var all []Difference
	differ := func(differs bool, input, given, found string) {
		if differs {
			all = append(all, Difference{input, given, found})
		}
	}
	differ(l.Firmware != g.Firmwares[0].Firmware, "firmware", g.Firmwares[0].Name, firmware)
	differ(b.found != "", b.input, b.given, b.found)
	differ(l.VCPUs != g.VCPUs, "virtual processors", fmt.Sprint(g.VCPUs), fmt.Sprint(l.VCPUs))
	differ(l.CPU != g.CPU, "CPU", g.CPU.String(), l.CPU.String())
	differ(l.Features != g.Features, "SEV features", fmt.Sprintf("%#x", g.Features), fmt.Sprintf("%#x", l.Features))
	return all
}
