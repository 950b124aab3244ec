package snp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of a report, in bytes.
const (
	ReportSize = 0x4A0
	signedSize = 0x2A0 // the signature is over everything before it
)

// ErrReport is wrapped by the errors for a report that is not well-formed.
var ErrReport = errors.New("malformed report")

// A Report is an attestation report (SEV-SNP ABI 1.58, table 23): what the
// firmware says about a guest. Nothing in it is proven before Verify.
type Report struct {
	Version  uint32 // 2 to 5
	GuestSVN uint32
	Policy   GuestPolicy
	FamilyID [16]byte
	ImageID  [16]byte
	VMPL     uint32 // 0 to 3, the privilege level that asked for the report

	CurrentTCB   RawTCB
	PlatformInfo PlatformInfo

	SigningKey  SigningKey
	AuthorKey   bool // AuthorKeyDigest is in use
	MaskChipKey bool // the firmware does not sign reports

	ReportData      [64]byte
	Measurement     [48]byte
	HostData        [32]byte
	IDKeyDigest     [48]byte
	AuthorKeyDigest [48]byte
	ReportID        [32]byte
	ReportIDMA      [32]byte

	ReportedTCB RawTCB
	CPUID       CPUID // zero before version 3
	ChipID      [64]byte

	CommittedTCB     RawTCB
	Current          FirmwareVersion
	Committed        FirmwareVersion
	LaunchTCB        RawTCB
	LaunchMitVector  uint64   // zero before version 4
	CurrentMitVector uint64   // zero before version 4
	SignatureR       [48]byte // big-endian
	SignatureS       [48]byte // big-endian
}

// A FirmwareVersion is the version of the SNP firmware.
type FirmwareVersion struct{ Major, Minor, Build uint8 }

// A SigningKey says which key signed a report.
type SigningKey uint8

// The keys that sign reports. Other values are reserved.
const (
	VCEK      SigningKey = 0 // of one chip at one TCB
	VLEK      SigningKey = 1 // of a cloud provider at one TCB
	NoSigning SigningKey = 7 // the report is not signed
)

func (k SigningKey) String() string {
	switch k {
	case VCEK:
		return "VCEK"
	case VLEK:
		return "VLEK"
	case NoSigning:
		return "none"
	}
	return fmt.Sprintf("reserved value %d", uint8(k))
}

const sigAlgoP384 = 1 // ECDSA P-384 with SHA-384: the only one defined

// ParseReport decodes a report. It is strict: exactly ReportSize bytes, and
// all that the report's version reserves is zero, so that Encode gives the same
// bytes back.
func ParseReport(b []byte) (*Report, error) {
	if len(b) != ReportSize {
		return nil, fmt.Errorf("%w: %d bytes, must be %d", ErrReport, len(b), ReportSize)
	}
	le32, le64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	r := &Report{
		Version:      le32(b[0x00:]),
		GuestSVN:     le32(b[0x04:]),
		Policy:       GuestPolicy(le64(b[0x08:])),
		FamilyID:     [16]byte(b[0x10:]),
		ImageID:      [16]byte(b[0x20:]),
		VMPL:         le32(b[0x30:]),
		CurrentTCB:   RawTCB(b[0x38:]),
		PlatformInfo: PlatformInfo(le64(b[0x40:])),

		ReportData:      [64]byte(b[0x50:]),
		Measurement:     [48]byte(b[0x90:]),
		HostData:        [32]byte(b[0xC0:]),
		IDKeyDigest:     [48]byte(b[0xE0:]),
		AuthorKeyDigest: [48]byte(b[0x110:]),
		ReportID:        [32]byte(b[0x140:]),
		ReportIDMA:      [32]byte(b[0x160:]),

		ReportedTCB:  RawTCB(b[0x180:]),
		ChipID:       [64]byte(b[0x1A0:]),
		CommittedTCB: RawTCB(b[0x1E0:]),
		Current:      FirmwareVersion{Build: b[0x1E8], Minor: b[0x1E9], Major: b[0x1EA]},
		Committed:    FirmwareVersion{Build: b[0x1EC], Minor: b[0x1ED], Major: b[0x1EE]},
		LaunchTCB:    RawTCB(b[0x1F0:]),

		SignatureR: reversed(b[0x2A0:]),
		SignatureS: reversed(b[0x2E8:]),
	}
	if r.Version < 2 || r.Version > 5 {
		return nil, fmt.Errorf("%w: version %d, must be 2 to 5", ErrReport, r.Version)
	}
	if algo := le32(b[0x34:]); algo != sigAlgoP384 {
		return nil, fmt.Errorf("%w: signature algorithm %d, must be %d (ECDSA P-384 with SHA-384)", ErrReport, algo, sigAlgoP384)
	}
	if r.VMPL > 3 {
		return nil, fmt.Errorf("%w: VMPL %d, must be 0 to 3", ErrReport, r.VMPL)
	}
	if err := r.Policy.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if err := r.PlatformInfo.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if err := r.parseKeyInfo(le32(b[0x48:])); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	reserved := [][2]int{
		{0x4C, 0x50}, {0x18B, 0x1A0}, {0x1EB, 0x1EC}, {0x1EF, 0x1F0}, {0x208, 0x2A0},
		{0x2D0, 0x2E8}, {0x318, 0x330}, // above the 48 bytes of R and of S
		{0x330, ReportSize},
	}
	if r.Version >= 3 {
		r.CPUID = CPUID{Family: b[0x188], Model: b[0x189], Stepping: b[0x18A]}
	} else {
		reserved = append(reserved, [2]int{0x188, 0x18B})
	}
	// Table 23 has the mitigation vectors since version 5; Turin firmware fills
	// them in version 4 already.
	if r.Version >= 4 {
		r.LaunchMitVector, r.CurrentMitVector = le64(b[0x1F8:]), le64(b[0x200:])
	} else {
		reserved = append(reserved, [2]int{0x1F8, 0x208})
	}
	for _, z := range reserved {
		if !zero(b[z[0]:z[1]]) {
			return nil, fmt.Errorf("%w: bytes %#x to %#x are reserved in version %d and must be zero", ErrReport, z[0], z[1]-1, r.Version)
		}
	}
	return r, nil
}

// parseKeyInfo decodes the field at 48h.
func (r *Report) parseKeyInfo(v uint32) error {
	if v>>5 != 0 {
		return fmt.Errorf("key information %#x has reserved bits above bit 4", v)
	}
	r.AuthorKey = v&1 != 0
	r.MaskChipKey = v&2 != 0
	r.SigningKey = SigningKey(v >> 2 & 7)
	if r.SigningKey != VCEK && r.SigningKey != VLEK && r.SigningKey != NoSigning {
		return fmt.Errorf("signing key: %v, must be 0 (VCEK), 1 (VLEK) or 7 (none)", r.SigningKey)
	}
	return nil
}

// Encode returns the report in the form that ParseReport reads. It does not
// check that the fields are in range.
func (r *Report) Encode() []byte {
	b := make([]byte, ReportSize)
	le := binary.LittleEndian
	le.PutUint32(b[0x00:], r.Version)
	le.PutUint32(b[0x04:], r.GuestSVN)
	le.PutUint64(b[0x08:], uint64(r.Policy))
	copy(b[0x10:], r.FamilyID[:])
	copy(b[0x20:], r.ImageID[:])
	le.PutUint32(b[0x30:], r.VMPL)
	le.PutUint32(b[0x34:], sigAlgoP384)
	copy(b[0x38:], r.CurrentTCB[:])
	le.PutUint64(b[0x40:], uint64(r.PlatformInfo))
	key := uint32(r.SigningKey) << 2
	if r.AuthorKey {
		key |= 1
	}
	if r.MaskChipKey {
		key |= 2
	}
	le.PutUint32(b[0x48:], key)
	copy(b[0x50:], r.ReportData[:])
	copy(b[0x90:], r.Measurement[:])
	copy(b[0xC0:], r.HostData[:])
	copy(b[0xE0:], r.IDKeyDigest[:])
	copy(b[0x110:], r.AuthorKeyDigest[:])
	copy(b[0x140:], r.ReportID[:])
	copy(b[0x160:], r.ReportIDMA[:])
	copy(b[0x180:], r.ReportedTCB[:])
	b[0x188], b[0x189], b[0x18A] = r.CPUID.Family, r.CPUID.Model, r.CPUID.Stepping
	copy(b[0x1A0:], r.ChipID[:])
	copy(b[0x1E0:], r.CommittedTCB[:])
	b[0x1E8], b[0x1E9], b[0x1EA] = r.Current.Build, r.Current.Minor, r.Current.Major
	b[0x1EC], b[0x1ED], b[0x1EE] = r.Committed.Build, r.Committed.Minor, r.Committed.Major
	copy(b[0x1F0:], r.LaunchTCB[:])
	le.PutUint64(b[0x1F8:], r.LaunchMitVector)
	le.PutUint64(b[0x200:], r.CurrentMitVector)
	rr, ss := reversed(r.SignatureR[:]), reversed(r.SignatureS[:])
	copy(b[0x2A0:], rr[:])
	copy(b[0x2E8:], ss[:])
	return b
}

// IDBlock reports whether the guest was launched with an ID block: IDKeyDigest is
// then the digest of the key that signed it, and FamilyID, ImageID and GuestSVN
// are the block's.
func (r *Report) IDBlock() bool { return !zero(r.IDKeyDigest[:]) }

// Signed returns the part of an encoded report that its signature is over.
func Signed(report []byte) []byte { return report[:signedSize] }

// reversed returns the first 48 bytes of b, last one first: AMD's numbers are
// little-endian, everybody else's big-endian.
func reversed(b []byte) (out [48]byte) {
	for i := range out {
		out[i] = b[len(out)-1-i]
	}
	return out
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
