package dcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Sizes of report bodies, in bytes.
const (
	enclaveReportSize = 384
	td10ReportSize    = 584
	td15ReportSize    = 648
)

// An EnclaveReport is the body of an SGX report (SDM volume 3, REPORT; DCAP
// quoting library API, A.4 "Enclave report body"): what the processor says of an
// enclave.
type EnclaveReport struct {
	CPUSVN       [16]byte
	MiscSelect   uint32
	ISVExtProdID [16]byte
	Attributes   SGXAttributes
	MREnclave    [32]byte
	MRSigner     [32]byte
	ConfigID     [64]byte
	ISVProdID    uint16
	ISVSVN       uint16
	ConfigSVN    uint16
	ISVFamilyID  [16]byte
	ReportData   [64]byte
}

// SGXAttributes is an enclave's ATTRIBUTES: 8 bytes of flags and 8 of XFRM, both
// little-endian.
type SGXAttributes [16]byte

// Flags of an enclave.
const (
	sgxInit           = 1 << 0
	sgxDebug          = 1 << 1
	sgxMode64         = 1 << 2
	sgxProvisionKey   = 1 << 4
	sgxEINITTokenKey  = 1 << 5
	sgxCET            = 1 << 6
	sgxKSS            = 1 << 7
	sgxAEXNotify      = 1 << 10
	sgxKnownFlags     = sgxInit | sgxDebug | sgxMode64 | sgxProvisionKey | sgxEINITTokenKey | sgxCET | sgxKSS | sgxAEXNotify
	sgxMiscSelectBits = 1<<0 | 1<<1 // EXINFO, CPINFO
)

func (a SGXAttributes) Flags() uint64      { return binary.LittleEndian.Uint64(a[:8]) }
func (a SGXAttributes) XFRM() uint64       { return binary.LittleEndian.Uint64(a[8:]) }
func (a SGXAttributes) Init() bool         { return a.Flags()&sgxInit != 0 }
func (a SGXAttributes) Debug() bool        { return a.Flags()&sgxDebug != 0 }
func (a SGXAttributes) Mode64() bool       { return a.Flags()&sgxMode64 != 0 }
func (a SGXAttributes) ProvisionKey() bool { return a.Flags()&sgxProvisionKey != 0 }

// EINITTokenKey reports whether the enclave may make launch tokens.
func (a SGXAttributes) EINITTokenKey() bool { return a.Flags()&sgxEINITTokenKey != 0 }
func (a SGXAttributes) CET() bool           { return a.Flags()&sgxCET != 0 }
func (a SGXAttributes) KSS() bool           { return a.Flags()&sgxKSS != 0 }
func (a SGXAttributes) AEXNotify() bool     { return a.Flags()&sgxAEXNotify != 0 }

// Reserved returns the flags that have no meaning yet. Verify refuses any.
func (a SGXAttributes) Reserved() uint64 { return a.Flags() &^ sgxKnownFlags }

// A TDReport is the body of a TDX quote (TDX DCAP quoting library API, A.3; TDX
// module ABI, TDINFO_STRUCT and TEE_TCB_INFO): what the TDX module says of a
// trust domain. The registers MR and RTMR are SHA-384.
type TDReport struct {
	TEETCBSVN      [16]byte // when the domain was launched
	MRSEAM         [48]byte // of the TDX module
	MRSignerSEAM   [48]byte
	SEAMAttributes [8]byte
	Attributes     TDAttributes
	XFAM           uint64
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte

	// Zero in a body of TDX 1.0.
	TEETCBSVN2  [16]byte // when the quote was made
	MRServiceTD [48]byte
}

// TDAttributes is a trust domain's ATTRIBUTES (TDX module ABI, ATTRIBUTES).
type TDAttributes uint64

// Attributes of a trust domain.
const (
	tdDebug         = 1 << 0
	tdUntrusted     = 0xFF // TUD: debugging and profiling of any kind
	tdHGSPlusProf   = 1 << 4
	tdPerfProf      = 1 << 5
	tdPMTProf       = 1 << 6
	tdICSSD         = 1 << 16
	tdLASS          = 1 << 27
	tdSeptVEDisable = 1 << 28
	tdMigratable    = 1 << 29
	tdPKS           = 1 << 30
	tdKL            = 1 << 31
	tdTPA           = 1 << 62
	tdPerfmon       = 1 << 63
	tdKnown         = tdDebug | tdHGSPlusProf | tdPerfProf | tdPMTProf | tdICSSD | tdLASS | tdSeptVEDisable | tdMigratable | tdPKS | tdKL | tdTPA | tdPerfmon
)

// Debug reports whether the host may look into the domain: the bit DEBUG, or
// another of the group TUD, which all mean "do not trust this domain".
func (a TDAttributes) Debug() bool         { return a&tdUntrusted != 0 }
func (a TDAttributes) LASS() bool          { return a&tdLASS != 0 }
func (a TDAttributes) SeptVEDisable() bool { return a&tdSeptVEDisable != 0 }
func (a TDAttributes) Migratable() bool    { return a&tdMigratable != 0 }
func (a TDAttributes) PKS() bool           { return a&tdPKS != 0 }
func (a TDAttributes) KL() bool            { return a&tdKL != 0 }
func (a TDAttributes) Perfmon() bool       { return a&tdPerfmon != 0 }

// Reserved returns the bits that have no meaning yet. Verify refuses any.
func (a TDAttributes) Reserved() TDAttributes { return a &^ tdKnown }

// parseEnclaveReport decodes a body of enclaveReportSize bytes. What the
// specification reserves must be zero.
func parseEnclaveReport(b []byte, name string) (*EnclaveReport, error) {
	if len(b) != enclaveReportSize {
		return nil, fmt.Errorf("%w: the %s has %d bytes, must have %d", ErrQuote, name, len(b), enclaveReportSize)
	}
	for _, z := range [][2]int{{20, 32}, {96, 128}, {160, 192}, {262, 304}} {
		if !zero(b[z[0]:z[1]]) {
			return nil, fmt.Errorf("%w: bytes %d to %d of the %s are reserved and must be zero", ErrQuote, z[0], z[1]-1, name)
		}
	}
	le := binary.LittleEndian
	return &EnclaveReport{
		CPUSVN:       [16]byte(b[0:]),
		MiscSelect:   le.Uint32(b[16:]),
		ISVExtProdID: [16]byte(b[32:]),
		Attributes:   SGXAttributes(b[48:]),
		MREnclave:    [32]byte(b[64:]),
		MRSigner:     [32]byte(b[128:]),
		ConfigID:     [64]byte(b[192:]),
		ISVProdID:    le.Uint16(b[256:]),
		ISVSVN:       le.Uint16(b[258:]),
		ConfigSVN:    le.Uint16(b[260:]),
		ISVFamilyID:  [16]byte(b[304:]),
		ReportData:   [64]byte(b[320:]),
	}, nil
}

// Encode returns the 384 bytes of the report: what the processor authenticates,
// and of a quoting enclave's report what the PCK signs.
func (r *EnclaveReport) Encode() []byte {
	b := make([]byte, enclaveReportSize)
	le := binary.LittleEndian
	copy(b[0:], r.CPUSVN[:])
	le.PutUint32(b[16:], r.MiscSelect)
	copy(b[32:], r.ISVExtProdID[:])
	copy(b[48:], r.Attributes[:])
	copy(b[64:], r.MREnclave[:])
	copy(b[128:], r.MRSigner[:])
	copy(b[192:], r.ConfigID[:])
	le.PutUint16(b[256:], r.ISVProdID)
	le.PutUint16(b[258:], r.ISVSVN)
	le.PutUint16(b[260:], r.ConfigSVN)
	copy(b[304:], r.ISVFamilyID[:])
	copy(b[320:], r.ReportData[:])
	return b
}

// check refuses bits that nobody has given a meaning to.
func (r *EnclaveReport) check(name string) error {
	if bits := r.Attributes.Reserved(); bits != 0 {
		return fmt.Errorf("%w: the %s has the reserved bits %#x in ATTRIBUTES", ErrQuote, name, bits)
	}
	if bits := r.MiscSelect &^ sgxMiscSelectBits; bits != 0 {
		return fmt.Errorf("%w: the %s has the reserved bits %#x in MISCSELECT", ErrQuote, name, bits)
	}
	if !r.Attributes.Init() {
		return fmt.Errorf("%w: the %s is of an enclave that was never initialised", ErrQuote, name)
	}
	return nil
}

// parseTDReport decodes a body of td10ReportSize or td15ReportSize bytes.
func parseTDReport(b []byte) *TDReport {
	le := binary.LittleEndian
	r := &TDReport{
		TEETCBSVN:      [16]byte(b[0:]),
		MRSEAM:         [48]byte(b[16:]),
		MRSignerSEAM:   [48]byte(b[64:]),
		SEAMAttributes: [8]byte(b[112:]),
		Attributes:     TDAttributes(le.Uint64(b[120:])),
		XFAM:           le.Uint64(b[128:]),
		MRTD:           [48]byte(b[136:]),
		MRConfigID:     [48]byte(b[184:]),
		MROwner:        [48]byte(b[232:]),
		MROwnerConfig:  [48]byte(b[280:]),
		ReportData:     [64]byte(b[520:]),
	}
	for i := range r.RTMR {
		r.RTMR[i] = [48]byte(b[328+48*i:])
	}
	if len(b) == td15ReportSize {
		r.TEETCBSVN2 = [16]byte(b[584:])
		r.MRServiceTD = [48]byte(b[600:])
	}
	return r
}

// encode returns the body, with the fields of TDX 1.5 if td15 is set.
func (r *TDReport) encode(td15 bool) []byte {
	le := binary.LittleEndian
	b := make([]byte, td15ReportSize)
	copy(b[0:], r.TEETCBSVN[:])
	copy(b[16:], r.MRSEAM[:])
	copy(b[64:], r.MRSignerSEAM[:])
	copy(b[112:], r.SEAMAttributes[:])
	le.PutUint64(b[120:], uint64(r.Attributes))
	le.PutUint64(b[128:], r.XFAM)
	copy(b[136:], r.MRTD[:])
	copy(b[184:], r.MRConfigID[:])
	copy(b[232:], r.MROwner[:])
	copy(b[280:], r.MROwnerConfig[:])
	for i := range r.RTMR {
		copy(b[328+48*i:], r.RTMR[i][:])
	}
	copy(b[520:], r.ReportData[:])
	copy(b[584:], r.TEETCBSVN2[:])
	copy(b[600:], r.MRServiceTD[:])
	if !td15 {
		return b[:td10ReportSize]
	}
	return b
}

// check refuses bits that nobody has given a meaning to. Intel's own verifier
// wants SEAMATTRIBUTES to be zero too, whatever the TCB info says.
func (r *TDReport) check() error {
	if bits := r.Attributes.Reserved(); bits != 0 {
		return fmt.Errorf("%w: the TD report has the reserved bits %#x in TDATTRIBUTES", ErrQuote, uint64(bits))
	}
	if !zero(r.SEAMAttributes[:]) {
		return fmt.Errorf("%w: the TD report has SEAMATTRIBUTES %x, must be zero", ErrQuote, r.SEAMAttributes)
	}
	return nil
}

// masked reports whether a and want are equal in the bits of mask.
func masked(a, want, mask []byte) bool {
	x, y := bytes.Clone(a), bytes.Clone(want)
	for i := range mask {
		x[i] &= mask[i]
		y[i] &= mask[i]
	}
	return bytes.Equal(x, y)
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
