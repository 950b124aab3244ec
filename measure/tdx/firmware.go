// Package tdx computes what a TD report's measurements must be, as far as the
// inputs of a launch decide them: MRTD from the firmware, and the runtime
// measurement registers that OVMF and the kernel's EFI stub extend when QEMU
// boots a kernel directly.
package tdx

import (
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/redoubt-tee/redoubt/measure/ovmf"
)

// Size is the length of a measurement in bytes, SHA-384's.
const Size = sha512.Size384

// Errors of this package. Those of the firmware's table are package ovmf's, those
// of the kernel package pe's.
var (
	ErrFirmware = errors.New("the firmware's TDX metadata is malformed")
	ErrLaunch   = errors.New("not a launch that can be measured")
)

// guidMetadata points to the metadata: e47a6535-984a-4798-865e-4685a7bf8ec2.
var guidMetadata = ovmf.GUID{0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2}

// SectionType says what a section is (TDX Virtual Firmware Design Guide, 344991,
// section 11.2).
type SectionType uint32

// Types of sections.
const (
	BFV     SectionType = 0 // the firmware's code
	CFV     SectionType = 1 // the firmware's variables
	HOB     SectionType = 2 // the TD HOB, where QEMU describes the memory
	TempMem SectionType = 3 // zeros
)

// A Section is memory that the host adds before the launch.
type Section struct {
	Offset, Length uint32 // of its data in the image
	GPA, Size      uint64 // of its memory, multiples of 4 KiB
	Type           SectionType
	Extend         bool // its contents are measured, not just that it is there
}

const (
	maxSections = 64
	maxPages    = 1 << 16 // of all sections together, 256 MiB
)

// A Firmware is an OVMF image with TDX metadata.
type Firmware struct {
	image    *ovmf.Image
	sections []Section
}

// ParseFirmware reads a whole firmware image, as package ovmf's Parse does.
// Sections of other types, with attributes other than MR.EXTEND, that overlap, or
// whose data are not as long as their memory, are errors: QEMU takes fewer still,
// or does not say what it makes of them.
func ParseFirmware(data []byte) (*Firmware, error) {
	const headSize, entrySize, version = 16, 32, 1
	image, err := ovmf.Parse(data)
	if err != nil {
		return nil, err
	}
	offset, err := image.Find(guidMetadata, 4)
	if err != nil {
		return nil, err
	}
	if offset == nil {
		return nil, fmt.Errorf("%w: no entry %v: it was built without TDX", ErrFirmware, guidMetadata)
	}
	b, err := image.Tail(binary.LittleEndian.Uint32(offset), "TDVF")
	if err != nil {
		return nil, err
	}
	if len(b) < headSize {
		return nil, fmt.Errorf("%w: it ends after %d bytes, expected at least %d", ErrFirmware, len(b), headSize)
	}
	size, count := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[12:])
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return nil, fmt.Errorf("%w: version %d, expected %d", ErrFirmware, v, version)
	}
	if count < 2 || count > maxSections || size != headSize+count*entrySize || uint64(size) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %d bytes for %d sections, %d left in the image; expected %d bytes a section behind %d, 2 to %d sections",
			ErrFirmware, size, count, len(b), entrySize, headSize, maxSections)
	}
	f := &Firmware{image: image}
	pages := uint64(0)
	for b = b[headSize:size]; len(b) > 0; b = b[entrySize:] {
		s, err := f.parseSection(b)
		if err != nil {
			return nil, err
		}
		if pages += s.Size / ovmf.PageSize; pages > maxPages {
			return nil, fmt.Errorf("%w: its sections have more than %d pages", ErrFirmware, maxPages)
		}
		f.sections = append(f.sections, s)
	}
	return f, f.complete()
}

func (f *Firmware) parseSection(b []byte) (Section, error) {
	s := Section{
		binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]),
		binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]),
		SectionType(binary.LittleEndian.Uint32(b[24:])), false,
	}
	const extend = 1
	attributes := binary.LittleEndian.Uint32(b[28:])
	s.Extend = attributes == extend
	if attributes > extend {
		return s, fmt.Errorf("%w: section at %#x has attributes %#x, expected none but MR.EXTEND, %#x", ErrFirmware, s.GPA, attributes, extend)
	}
	if s.GPA%ovmf.PageSize != 0 || s.Size%ovmf.PageSize != 0 || s.Size == 0 || s.Size > ovmf.FourGiB || s.GPA > ovmf.FourGiB-s.Size {
		return s, fmt.Errorf("%w: section of %#x bytes at %#x, expected whole pages below 4 GiB", ErrFirmware, s.Size, s.GPA)
	}
	switch s.Type {
	case BFV, CFV:
		if uint64(s.Length) != s.Size || uint64(s.Offset)+uint64(s.Length) > uint64(len(f.image.Data)) {
			return s, fmt.Errorf("%w: section at %#x has %#x bytes, and %#x at %#x of an image of %#x", ErrFirmware, s.GPA, s.Size, s.Length, s.Offset, len(f.image.Data))
		}
	case HOB, TempMem:
		if s.Length != 0 || s.Extend {
			return s, fmt.Errorf("%w: section at %#x of type %d has data, or is to be measured", ErrFirmware, s.GPA, s.Type)
		}
	default:
		return s, fmt.Errorf("%w: section at %#x has the unknown type %d", ErrFirmware, s.GPA, s.Type)
	}
	for _, other := range f.sections {
		if s.GPA < other.GPA+other.Size && other.GPA < s.GPA+s.Size {
			return s, fmt.Errorf("%w: sections at %#x and %#x overlap", ErrFirmware, other.GPA, s.GPA)
		}
	}
	return s, nil
}

// complete checks that there is what a firmware needs to be measured: code that
// is in MRTD, the page before 4 GiB where it starts in it, and one HOB.
func (f *Firmware) complete() error {
	starts, hobs := false, 0
	for _, s := range f.sections {
		starts = starts || s.Type == BFV && s.Extend && s.GPA+s.Size == ovmf.FourGiB
		if s.Type == HOB {
			hobs++
		}
		if s.Type == BFV && !s.Extend {
			return fmt.Errorf("%w: the code at %#x is not measured", ErrFirmware, s.GPA)
		}
	}
	if !starts || hobs != 1 {
		return fmt.Errorf("%w: expected measured code up to 4 GiB and one HOB, found %d HOBs", ErrFirmware, hobs)
	}
	return nil
}

// Sections returns the sections, in the order in which they are added.
func (f *Firmware) Sections() []Section { return append([]Section(nil), f.sections...) }

// MRTD returns the measurement of the firmware: the SHA-384 of what TDH.MEM.PAGE.ADD
// hashes for each page, and, behind that page, what TDH.MR.EXTEND hashes for each
// 256 bytes of it if it is measured (TDX Module Base Architecture Specification,
// 348549, section 12.2.1; KVM adds and extends page by page).
func (f *Firmware) MRTD() [Size]byte {
	const chunk = 256
	h := sha512.New384()
	operation := func(name string, gpa uint64) {
		var b [128]byte
		copy(b[:], name)
		binary.LittleEndian.PutUint64(b[16:], gpa)
		h.Write(b[:])
	}
	for _, s := range f.sections {
		for at := uint64(0); at < s.Size; at += ovmf.PageSize {
			operation("MEM.PAGE.ADD", s.GPA+at)
			if !s.Extend {
				continue
			}
			page := f.image.Data[uint64(s.Offset)+at:][:ovmf.PageSize]
			for i := 0; i < len(page); i += chunk {
				operation("MR.EXTEND", s.GPA+at+uint64(i))
				h.Write(page[i : i+chunk])
			}
		}
	}
	return [Size]byte(h.Sum(nil))
}

// variables returns the image of the firmware's variables, or nil.
func (f *Firmware) variables() []byte {
	for _, s := range f.sections {
		if s.Type == CFV {
			return f.image.Data[s.Offset:][:s.Length]
		}
	}
	return nil
}
