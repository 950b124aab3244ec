package snp

import "fmt"

// A GuestPolicy is what a guest's owner lets its host do (SEV-SNP ABI 1.58,
// table 9).
type GuestPolicy uint64

const policyReservedOne = GuestPolicy(1) << 17 // reserved, always set

func (p GuestPolicy) bit(n uint) bool { return p>>n&1 != 0 }

// ABIMajor and ABIMinor are the lowest firmware ABI that the guest runs on.
func (p GuestPolicy) ABIMajor() uint8 { return uint8(p >> 8) }
func (p GuestPolicy) ABIMinor() uint8 { return uint8(p) }

// What the guest allows or demands.
func (p GuestPolicy) SMT() bool              { return p.bit(16) } // runs with SMT on
func (p GuestPolicy) MigrateMA() bool        { return p.bit(18) } // may have a migration agent
func (p GuestPolicy) Debug() bool            { return p.bit(19) } // the host may read and write it
func (p GuestPolicy) SingleSocket() bool     { return p.bit(20) } // only on one socket
func (p GuestPolicy) CXL() bool              { return p.bit(21) } // may use CXL memory
func (p GuestPolicy) AES256XTS() bool        { return p.bit(22) } // only with AES-256-XTS
func (p GuestPolicy) RAPLDisabled() bool     { return p.bit(23) } // only with power readings off
func (p GuestPolicy) CiphertextHiding() bool { return p.bit(24) } // only with ciphertext hiding
func (p GuestPolicy) PageSwapDisabled() bool { return p.bit(25) } // no page moves and swaps

func (p GuestPolicy) validate() error {
	if p&policyReservedOne == 0 {
		return fmt.Errorf("guest policy %#x: bit 17 must be set", uint64(p))
	}
	if p>>26 != 0 {
		return fmt.Errorf("guest policy %#x: bits above 25 are reserved and must be zero", uint64(p))
	}
	return nil
}

// PlatformInfo is how the machine is set up (SEV-SNP ABI 1.58, table 24).
type PlatformInfo uint64

func (p PlatformInfo) bit(n uint) bool { return p>>n&1 != 0 }

// What is on.
func (p PlatformInfo) SMT() bool                { return p.bit(0) }
func (p PlatformInfo) TSME() bool               { return p.bit(1) }
func (p PlatformInfo) ECC() bool                { return p.bit(2) }
func (p PlatformInfo) RAPLDisabled() bool       { return p.bit(3) }
func (p PlatformInfo) CiphertextHiding() bool   { return p.bit(4) }
func (p PlatformInfo) AliasCheckComplete() bool { return p.bit(5) } // no aliased memory (BadRAM, AMD-SB-3015)
func (p PlatformInfo) IOMMUWriteSafe() bool     { return p.bit(6) } // Turin; reserved in ABI 1.58
func (p PlatformInfo) TIO() bool                { return p.bit(7) }

func (p PlatformInfo) validate() error {
	if p>>8 != 0 {
		return fmt.Errorf("platform information %#x: bits above 7 are reserved and must be zero", uint64(p))
	}
	return nil
}

// A Product is a line of processors with a root of its own.
type Product string

// The products. Bergamo and Siena are Genoa to the firmware and to AMD's key
// server.
const (
	Milan Product = "Milan"
	Genoa Product = "Genoa"
	Turin Product = "Turin"
)

func (p Product) known() bool { return p == Milan || p == Genoa || p == Turin }

// CPUID is the processor that made a report, as in CPUID leaf 1 with family and
// model combined with their extensions.
type CPUID struct{ Family, Model, Stepping uint8 }

// Product returns the processor's product, or an error for one that has none
// here (VCEK specification 57230, table 4).
func (c CPUID) Product() (Product, error) {
	switch {
	case c.Family == 0x19 && c.Model <= 0x0F:
		return Milan, nil
	case c.Family == 0x19 && (c.Model>>4 == 0x1 || c.Model>>4 == 0xA):
		return Genoa, nil
	case c.Family == 0x1A && c.Model <= 0x1F: // from 0x10 on Turin Dense
		return Turin, nil
	}
	return "", fmt.Errorf("%w: processor family %#x model %#x is not a Milan, Genoa or Turin", ErrProduct, c.Family, c.Model)
}

// A RawTCB is a TCB version as it stands in a report. Which byte is which
// depends on the product.
type RawTCB [8]byte

// A TCB is a security version of each part of the platform's firmware.
type TCB struct {
	FMC        uint8 // Turin only
	Bootloader uint8
	TEE        uint8
	SNP        uint8
	Microcode  uint8
}

// Decode returns t as product lays it out (SEV-SNP ABI 1.58, section 2.2).
func (t RawTCB) Decode(product Product) (TCB, error) {
	tcb := TCB{Bootloader: t[0], TEE: t[1], SNP: t[6], Microcode: t[7]}
	if product == Turin {
		tcb = TCB{FMC: t[0], Bootloader: t[1], TEE: t[2], SNP: t[3], Microcode: t[7]}
	}
	if tcb.Encode(product) != t {
		return TCB{}, fmt.Errorf("%w: TCB %x has reserved bytes of %s that are not zero", ErrReport, t, product)
	}
	return tcb, nil
}

// Encode returns t as product lays it out. FMC is lost on all but Turin.
func (t TCB) Encode(product Product) RawTCB {
	if product == Turin {
		return RawTCB{t.FMC, t.Bootloader, t.TEE, t.SNP, 7: t.Microcode}
	}
	return RawTCB{t.Bootloader, t.TEE, 6: t.SNP, 7: t.Microcode}
}

// AtLeast reports whether every part of t is at least that of floor.
func (t TCB) AtLeast(floor TCB) bool {
	return t.FMC >= floor.FMC && t.Bootloader >= floor.Bootloader && t.TEE >= floor.TEE &&
		t.SNP >= floor.SNP && t.Microcode >= floor.Microcode
}

func (t TCB) String() string {
	return fmt.Sprintf("fmc %d, bootloader %d, tee %d, snp %d, microcode %d", t.FMC, t.Bootloader, t.TEE, t.SNP, t.Microcode)
}
