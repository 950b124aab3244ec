package snp_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// sample is a well-formed report with all that version allows.
func sample(version uint32) *snp.Report {
	r := &snp.Report{
		Version: version, GuestSVN: 7, VMPL: 3,
		Policy: 1<<17 | 1<<25 | 0x0137, PlatformInfo: 0xFF,
		SigningKey: snp.VLEK, AuthorKey: true, MaskChipKey: true,
		CurrentTCB: snp.RawTCB{1, 2, 3, 4, 5, 6, 7, 8}, ReportedTCB: snp.RawTCB{9}, CommittedTCB: snp.RawTCB{10}, LaunchTCB: snp.RawTCB{7: 11},
		Current: snp.FirmwareVersion{Major: 1, Minor: 2, Build: 3}, Committed: snp.FirmwareVersion{Major: 4, Minor: 5, Build: 6},
	}
	for i, field := range [][]byte{
		r.FamilyID[:], r.ImageID[:], r.ReportData[:], r.Measurement[:], r.HostData[:], r.IDKeyDigest[:], r.AuthorKeyDigest[:],
		r.ReportID[:], r.ReportIDMA[:], r.ChipID[:], r.SignatureR[:], r.SignatureS[:],
	} {
		copy(field, bytes.Repeat([]byte{byte(0x80 + i)}, len(field)))
	}
	if version >= 3 {
		r.CPUID = snp.CPUID{Family: 0x1A, Model: 0x11, Stepping: 2}
	}
	if version >= 4 {
		r.LaunchMitVector, r.CurrentMitVector = 12, 13
	}
	return r
}

func TestParseReport(t *testing.T) {
	t.Parallel()
	for version := uint32(2); version <= 5; version++ {
		want := sample(version)
		got, err := snp.ParseReport(want.Encode())
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if *got != *want {
			t.Errorf("version %d: got %+v, want %+v", version, got, want)
		}
	}
}

func TestParseReportRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		version uint32
		change  func(b []byte) []byte
		reason  string
	}{
		{"empty", 3, func([]byte) []byte { return nil }, "0 bytes, must be 1184"},
		{"short", 3, func(b []byte) []byte { return b[:len(b)-1] }, "1183 bytes"},
		{"long", 3, func(b []byte) []byte { return append(b, 0) }, "1185 bytes"},
		{"version 1", 3, set(0x00, 1), "version 1, must be 2 to 5"},
		{"version 6", 5, set(0x00, 6), "version 6"},
		{"version of 32 bits", 3, set(0x03, 1), "must be 2 to 5"},
		{"VMPL 4", 3, set(0x30, 4), "VMPL 4"},
		{"signature algorithm 0", 3, set(0x34, 0), "signature algorithm 0"},
		{"signature algorithm 2", 3, set(0x34, 2), "signature algorithm 2"},
		{"policy bit 17", 3, set(0x0A, 0), "bit 17 must be set"},
		{"policy bit 26", 3, set(0x0B, 4), "bits above 25"},
		{"policy bit 63", 3, set(0x0F, 0x80), "bits above 25"},
		{"platform bit 8", 3, set(0x41, 1), "bits above 7"},
		{"platform bit 63", 3, set(0x47, 0x80), "bits above 7"},
		{"key information bit 5", 3, set(0x48, 0x20), "reserved bits above bit 4"},
		{"key information bit 31", 3, set(0x4B, 0x80), "reserved bits above bit 4"},
		{"signing key 2", 3, set(0x48, 2<<2), "signing key"},
		{"signing key 6", 3, set(0x48, 6<<2), "signing key"},
		{"reserved after key information", 3, set(0x4C, 1), "bytes 0x4c to 0x4f"},
		{"CPUID in version 2", 2, set(0x188, 0x19), "bytes 0x188 to 0x18a"},
		{"reserved after CPUID", 3, set(0x18B, 1), "bytes 0x18b to 0x19f"},
		{"reserved before chip ID", 5, set(0x19F, 1), "bytes 0x18b to 0x19f"},
		{"reserved in current version", 3, set(0x1EB, 1), "bytes 0x1eb to 0x1eb"},
		{"reserved in committed version", 3, set(0x1EF, 1), "bytes 0x1ef to 0x1ef"},
		{"mitigation vector in version 2", 2, set(0x1F8, 1), "bytes 0x1f8 to 0x207"},
		{"mitigation vector in version 3", 3, set(0x207, 1), "bytes 0x1f8 to 0x207"},
		{"reserved after mitigation vectors", 5, set(0x208, 1), "bytes 0x208 to 0x29f"},
		{"reserved before signature", 3, set(0x29F, 1), "bytes 0x208 to 0x29f"},
		{"R of 385 bits", 3, set(0x2D0, 1), "bytes 0x2d0 to 0x2e7"},
		{"S of 385 bits", 3, set(0x318, 1), "bytes 0x318 to 0x32f"},
		{"after signature", 3, set(0x330, 1), "bytes 0x330 to 0x49f"},
		{"last byte", 3, set(0x49F, 1), "bytes 0x330 to 0x49f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := snp.ParseReport(tt.change(sample(tt.version).Encode()))
			if !errors.Is(err, snp.ErrReport) || r != nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}

// set returns a function that puts v at offset.
func set(offset int, v byte) func([]byte) []byte {
	return func(b []byte) []byte {
		b[offset] = v
		return b
	}
}

func TestCPUIDProduct(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		c    snp.CPUID
		want snp.Product // empty if none
	}{
		{snp.CPUID{Family: 0x19, Model: 0x01}, snp.Milan},
		{snp.CPUID{Family: 0x19, Model: 0x11}, snp.Genoa},
		{snp.CPUID{Family: 0x19, Model: 0xA0}, snp.Genoa}, // Bergamo, Siena
		{snp.CPUID{Family: 0x1A, Model: 0x02}, snp.Turin},
		{snp.CPUID{Family: 0x1A, Model: 0x11}, snp.Turin},
		{snp.CPUID{Family: 0x1A, Model: 0x50}, ""}, // Venice
		{snp.CPUID{Family: 0x19, Model: 0x21}, ""}, // a desktop
		{snp.CPUID{Family: 0x17, Model: 0x31}, ""},
		{snp.CPUID{}, ""},
	} {
		got, err := tt.c.Product()
		if got != tt.want || (tt.want == "") != errors.Is(err, snp.ErrProduct) {
			t.Errorf("%+v: got %q, %v; want %q", tt.c, got, err, tt.want)
		}
	}
}

func TestTCB(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		product snp.Product
		raw     snp.RawTCB
		want    snp.TCB
		bad     bool
	}{
		{snp.Milan, snp.RawTCB{1, 2, 0, 0, 0, 0, 3, 4}, snp.TCB{Bootloader: 1, TEE: 2, SNP: 3, Microcode: 4}, false},
		{snp.Genoa, snp.RawTCB{1, 2, 0, 0, 0, 0, 3, 4}, snp.TCB{Bootloader: 1, TEE: 2, SNP: 3, Microcode: 4}, false},
		{snp.Turin, snp.RawTCB{1, 2, 3, 4, 0, 0, 0, 5}, snp.TCB{FMC: 1, Bootloader: 2, TEE: 3, SNP: 4, Microcode: 5}, false},
		{snp.Milan, snp.RawTCB{1, 2, 3, 4, 0, 0, 0, 5}, snp.TCB{}, true},
		{snp.Turin, snp.RawTCB{1, 2, 0, 0, 0, 0, 3, 4}, snp.TCB{}, true},
	} {
		got, err := tt.raw.Decode(tt.product)
		if got != tt.want || errors.Is(err, snp.ErrReport) != tt.bad {
			t.Errorf("%s %x: got %+v, %v", tt.product, tt.raw, got, err)
		}
	}
	floor := snp.TCB{FMC: 1, Bootloader: 1, TEE: 1, SNP: 1, Microcode: 1}
	if !floor.AtLeast(floor) || !floor.AtLeast(snp.TCB{}) {
		t.Error("a TCB is not at least itself")
	}
	for _, low := range []snp.TCB{{0, 9, 9, 9, 9}, {9, 0, 9, 9, 9}, {9, 9, 0, 9, 9}, {9, 9, 9, 0, 9}, {9, 9, 9, 9, 0}} {
		if low.AtLeast(floor) {
			t.Errorf("%v is at least %v", low, floor)
		}
	}
}

// TestBits checks the place of each flag.
func TestBits(t *testing.T) {
	t.Parallel()
	policy := func(bit uint) snp.GuestPolicy { return 1 << bit }
	platform := func(bit uint) snp.PlatformInfo { return 1 << bit }
	for bit, flag := range map[uint]func(snp.GuestPolicy) bool{
		16: snp.GuestPolicy.SMT, 18: snp.GuestPolicy.MigrateMA, 19: snp.GuestPolicy.Debug, 20: snp.GuestPolicy.SingleSocket,
		21: snp.GuestPolicy.CXL, 22: snp.GuestPolicy.AES256XTS, 23: snp.GuestPolicy.RAPLDisabled,
		24: snp.GuestPolicy.CiphertextHiding, 25: snp.GuestPolicy.PageSwapDisabled,
	} {
		if !flag(policy(bit)) || flag(^policy(bit)) {
			t.Errorf("policy bit %d is not where it should be", bit)
		}
	}
	for bit, flag := range map[uint]func(snp.PlatformInfo) bool{
		0: snp.PlatformInfo.SMT, 1: snp.PlatformInfo.TSME, 2: snp.PlatformInfo.ECC, 3: snp.PlatformInfo.RAPLDisabled,
		4: snp.PlatformInfo.CiphertextHiding, 5: snp.PlatformInfo.AliasCheckComplete, 6: snp.PlatformInfo.IOMMUWriteSafe, 7: snp.PlatformInfo.TIO,
	} {
		if !flag(platform(bit)) || flag(^platform(bit)) {
			t.Errorf("platform bit %d is not where it should be", bit)
		}
	}
	if p := snp.GuestPolicy(0x30137); p.ABIMajor() != 1 || p.ABIMinor() != 0x37 {
		t.Errorf("ABI %d.%d", p.ABIMajor(), p.ABIMinor())
	}
}
