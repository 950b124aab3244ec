// Package snp computes what an SEV-SNP report's MEASUREMENT must be: the launch
// digest of a guest that QEMU starts, from its firmware, kernel, initial file
// system, command line, and virtual processors.
//
// The digest is a chain: each page that the host adds before the launch extends
// it by the SHA-384 of a PAGE_INFO (SEV Secure Nested Paging Firmware ABI, 56860,
// section 8.17.2). QEMU adds the firmware's pages; then, in the order of the
// firmware's own description, pages of zeros, the secrets page, the CPUID page
// and the page with the hashes of the kernel; then one VMSA a virtual processor.
package snp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/redoubt-tee/redoubt/measure/ovmf"
)

// Errors of this package. Those of the firmware's table are package ovmf's.
var (
	ErrFirmware = errors.New("the firmware's SEV metadata is malformed")
	ErrNoHashes = errors.New("the firmware has no place for kernel hashes")
	ErrLaunch   = errors.New("not a launch that can be measured")
	ErrCPU      = errors.New("not a known CPU")
)

// GUIDs of the firmware's table.
var (
	guidReset    = ovmf.GUID{0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f, 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e}
	guidMetadata = ovmf.GUID{0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc}
	guidHashes   = ovmf.GUID{0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54}
)

// SectionType is what the host puts into a section.
type SectionType uint32

// Types of sections (edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm).
const (
	SecMem       SectionType = 1    // zeros
	Secrets      SectionType = 2    // the secrets page, one page
	CPUID        SectionType = 3    // the CPUID page, one page
	SVSMCAA      SectionType = 4    // zeros; a VM service module would use them
	KernelHashes SectionType = 0x10 // the hashes of the kernel, or zeros; one page
)

// A Section is memory that the host fills in before the launch.
type Section struct {
	GPA, Size uint32 // multiples of 4 KiB
	Type      SectionType
}

const (
	maxSections = 64
	maxPages    = 1 << 16 // of all sections together, 256 MiB; OVMF has 16
)

// A Firmware is an OVMF image with SEV metadata.
type Firmware struct {
	image    *ovmf.Image
	reset    uint32 // EIP of processors other than the first
	sections []Section
	// table is where in its page the table of hashes goes; negative if nowhere.
	table int
}

// ParseFirmware reads a firmware image, as package ovmf's Parse does. Without SEV
// metadata it is an error: QEMU starts no SNP guest with it. Sections of other
// types, or that overlap, are errors.
func ParseFirmware(data []byte) (*Firmware, error) {
	image, err := ovmf.Parse(data)
	if err != nil {
		return nil, err
	}
	f := &Firmware{image: image, table: -1}
	reset, err := image.Find(guidReset, 4)
	if err != nil {
		return nil, err
	}
	if reset == nil {
		return nil, fmt.Errorf("%w: no entry %v with the address where further processors start", ErrFirmware, guidReset)
	}
	f.reset = binary.LittleEndian.Uint32(reset)
	offset, err := image.Find(guidMetadata, 4)
	if err != nil {
		return nil, err
	}
	if offset == nil {
		return nil, fmt.Errorf("%w: no entry %v: it was built without SEV-SNP", ErrFirmware, guidMetadata)
	}
	if err := f.parseMetadata(binary.LittleEndian.Uint32(offset)); err != nil {
		return nil, err
	}
	return f, f.parseTable()
}

func (f *Firmware) parseMetadata(offset uint32) error {
	const headSize, entrySize, version = 16, 12, 1
	b, err := f.image.Tail(offset, "ASEV")
	if err != nil {
		return err
	}
	if len(b) < headSize {
		return fmt.Errorf("%w: it ends after %d bytes, expected at least %d", ErrFirmware, len(b), headSize)
	}
	size, count := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[12:])
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return fmt.Errorf("%w: version %d, expected %d", ErrFirmware, v, version)
	}
	if count > maxSections || size != headSize+count*entrySize || uint64(size) > uint64(len(b)) {
		return fmt.Errorf("%w: %d bytes for %d sections, %d left in the image; expected %d bytes a section behind %d, at most %d sections",
			ErrFirmware, size, count, len(b), entrySize, headSize, maxSections)
	}
	pages := uint64(0)
	for b = b[headSize:size]; len(b) > 0; b = b[entrySize:] {
		s := Section{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), SectionType(binary.LittleEndian.Uint32(b[8:]))}
		if err := f.checkSection(s); err != nil {
			return err
		}
		if pages += uint64(s.Size / ovmf.PageSize); pages > maxPages {
			return fmt.Errorf("%w: its sections have more than %d pages", ErrFirmware, maxPages)
		}
		f.sections = append(f.sections, s)
	}
	return nil
}

// checkSection checks a section, and against those before it.
func (f *Firmware) checkSection(s Section) error {
	end := uint64(s.GPA) + uint64(s.Size)
	if s.GPA%ovmf.PageSize != 0 || s.Size%ovmf.PageSize != 0 || s.Size == 0 || end > ovmf.FourGiB-uint64(len(f.image.Data)) {
		return fmt.Errorf("%w: section of %#x bytes at %#x, expected whole pages below the firmware", ErrFirmware, s.Size, s.GPA)
	}
	switch s.Type {
	case SecMem, SVSMCAA:
	case Secrets, CPUID, KernelHashes:
		if s.Size != ovmf.PageSize {
			return fmt.Errorf("%w: section of type %#x has %#x bytes, expected one page", ErrFirmware, s.Type, s.Size)
		}
	default:
		return fmt.Errorf("%w: section at %#x has the unknown type %#x", ErrFirmware, s.GPA, s.Type)
	}
	for _, other := range f.sections {
		if uint64(s.GPA) < uint64(other.GPA)+uint64(other.Size) && uint64(other.GPA) < end {
			return fmt.Errorf("%w: sections at %#x and %#x overlap", ErrFirmware, other.GPA, s.GPA)
		}
		if s.Type == other.Type && s.Type != SecMem {
			return fmt.Errorf("%w: two sections of type %#x", ErrFirmware, s.Type)
		}
	}
	return nil
}

// parseTable finds the place of the table of hashes, which needs both the entry
// that points to it and a section around it.
func (f *Firmware) parseTable() error {
	const what = 8 // an address and a size
	b, err := f.image.Find(guidHashes, what)
	if err != nil {
		return err
	}
	if b == nil {
		return nil
	}
	gpa, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	for _, s := range f.sections {
		if s.Type != KernelHashes {
			continue
		}
		at := uint64(gpa) - uint64(s.GPA)
		if gpa < s.GPA || size < tableSize || at+tableSize > ovmf.PageSize {
			return fmt.Errorf("%w: room of %#x bytes at %#x for kernel hashes, expected %d bytes in the page at %#x", ErrFirmware, size, gpa, tableSize, s.GPA)
		}
		f.table = int(at)
	}
	return nil
}

// Sections returns the sections, in the order in which they are measured.
func (f *Firmware) Sections() []Section { return append([]Section(nil), f.sections...) }

// HashesKernel reports whether the firmware has a place for kernel hashes. Only
// then does it check the kernel that it boots.
func (f *Firmware) HashesKernel() bool { return f.table >= 0 }

// TableAddress returns the guest physical address of the table of kernel hashes,
// and whether there is one.
func (f *Firmware) TableAddress() (uint64, bool) {
	for _, s := range f.sections {
		if s.Type == KernelHashes && f.table >= 0 {
			return uint64(s.GPA) + uint64(f.table), true
		}
	}
	return 0, false
}

// Digest returns the launch digest after the firmware's own pages, and nothing
// else.
func (f *Firmware) Digest() [Size]byte {
	var d digest
	d.pages(pageNormal, ovmf.FourGiB-uint64(len(f.image.Data)), f.image.Data)
	return d
}
