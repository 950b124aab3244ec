package snp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/redoubt-tee/redoubt/measure/ovmf"
)

// resetVector is where the first processor starts.
const resetVector = 0xfffffff0

// vmsa returns the saved state that a virtual processor starts with, as QEMU and
// KVM set it (layout: AMD64 Architecture Programmer's Manual, volume 2, table
// B-4). All but the CPU's signature, the features and the address is the state
// after a reset.
func vmsa(eip uint32, cpu CPU, features uint64) [ovmf.PageSize]byte {
	var b [ovmf.PageSize]byte
	segment := func(at int, selector, attributes uint16, base uint32) {
		binary.LittleEndian.PutUint16(b[at:], selector)
		binary.LittleEndian.PutUint16(b[at+2:], attributes)
		binary.LittleEndian.PutUint32(b[at+4:], 0xffff) // limit
		binary.LittleEndian.PutUint64(b[at+8:], uint64(base))
	}
	segment(0x00, 0, 0x93, 0)                   // ES
	segment(0x10, 0xf000, 0x9b, eip&0xffff0000) // CS
	segment(0x20, 0, 0x93, 0)                   // SS
	segment(0x30, 0, 0x93, 0)                   // DS
	segment(0x40, 0, 0x93, 0)                   // FS
	segment(0x50, 0, 0x93, 0)                   // GS
	segment(0x60, 0, 0, 0)                      // GDTR
	segment(0x70, 0, 0x82, 0)                   // LDTR
	segment(0x80, 0, 0, 0)                      // IDTR
	segment(0x90, 0, 0x8b, 0)                   // TR
	for _, r := range []struct {
		at    int
		value uint64
	}{
		{0x0d0, 0x1000},               // EFER: SVME, by KVM
		{0x148, 0x40},                 // CR4: MCE, by KVM
		{0x158, 0x10},                 // CR0: ET
		{0x160, 0x400},                // DR7
		{0x168, 0xffff0ff0},           // DR6
		{0x170, 0x2},                  // RFLAGS
		{0x178, uint64(eip) & 0xffff}, // RIP
		{0x268, 0x7040600070406},      // PAT
		{0x310, uint64(cpu)},          // RDX
		{0x3b0, features},             // SEV_FEATURES
		{0x3e8, 0x1},                  // XCR0
	} {
		binary.LittleEndian.PutUint64(b[r.at:], r.value)
	}
	binary.LittleEndian.PutUint32(b[0x408:], 0x1f80) // MXCSR
	binary.LittleEndian.PutUint16(b[0x410:], 0x37f)  // x87 FCW
	return b
}

// A CPU is a CPU's signature: EAX of CPUID function 1. Zero is none.
type CPU uint32

// NewCPU returns the signature of a family, model and stepping (AMD CPUID
// Specification, 25481, function 0000_0001).
func NewCPU(family, model, stepping uint) (CPU, error) {
	const baseFamily = 0xf
	if family == 0 || family > baseFamily+0xff || model > 0xff || stepping > 0xf || (family < baseFamily && model > 0xf) {
		return 0, fmt.Errorf("%w: family %d, model %d, stepping %d: expected a family up to %d, a model up to 255, a stepping up to 15", ErrCPU, family, model, stepping, baseFamily+0xff)
	}
	low, high := min(family, baseFamily), family-min(family, baseFamily)
	return CPU(high<<20 | model>>4<<16 | low<<8 | model&0xf<<4 | stepping), nil
}

// A Model is a CPU model of QEMU's.
type Model struct {
	Name string
	CPU  CPU
}

const (
	naples CPU = 0x00800f12 // family 23, model 1, stepping 2
	rome   CPU = 0x00830f10 // 23, 49, 0
	milan  CPU = 0x00a00f11 // 25, 1, 1
	genoa  CPU = 0x00a10f10 // 25, 17, 0
	turin  CPU = 0x00b00f00 // 26, 0, 0
)

// Models are the models that SNP guests are started with (QEMU,
// target/i386/cpu.c). Versions of a model differ in features, not in the
// signature, so their digests are the same.
func Models() []Model {
	return []Model{
		{"EPYC", naples}, {"EPYC-v1", naples}, {"EPYC-v2", naples}, {"EPYC-IBPB", naples}, {"EPYC-v3", naples}, {"EPYC-v4", naples}, {"EPYC-v5", naples},
		{"EPYC-Rome", rome}, {"EPYC-Rome-v1", rome}, {"EPYC-Rome-v2", rome}, {"EPYC-Rome-v3", rome}, {"EPYC-Rome-v4", rome}, {"EPYC-Rome-v5", rome},
		{"EPYC-Milan", milan}, {"EPYC-Milan-v1", milan}, {"EPYC-Milan-v2", milan}, {"EPYC-Milan-v3", milan},
		{"EPYC-Genoa", genoa}, {"EPYC-Genoa-v1", genoa}, {"EPYC-Genoa-v2", genoa},
		{"EPYC-Turin", turin}, {"EPYC-Turin-v1", turin},
	}
}

// ParseCPU reads a model's name as QEMU has it, or FAMILY/MODEL/STEPPING in
// decimal digits.
func ParseCPU(text string) (CPU, error) {
	for _, m := range Models() {
		if m.Name == text {
			return m.CPU, nil
		}
	}
	parts := strings.Split(text, "/")
	var n [3]uint
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(parts) != len(n) {
			return 0, fmt.Errorf("%w: %.40q: expected a model such as EPYC-v4, EPYC-Milan or EPYC-Genoa, or FAMILY/MODEL/STEPPING", ErrCPU, text)
		}
		n[i] = uint(v)
	}
	return NewCPU(n[0], n[1], n[2])
}

// String returns the family, model and stepping, and the first model with them.
func (c CPU) String() string {
	family, model := uint(c>>8&0xf), uint(c>>4&0xf)
	if family == 0xf {
		family += uint(c >> 20 & 0xff)
		model |= uint(c>>16&0xf) << 4
	}
	text := fmt.Sprintf("%d/%d/%d", family, model, c&0xf)
	for _, m := range Models() {
		if m.CPU == c {
			return m.Name + " (" + text + ")"
		}
	}
	return text
}
