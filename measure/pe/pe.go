// Package pe computes the hash of a UEFI executable that firmware measures and
// signatures are over: of the whole file but for its checksum and its signatures
// (Microsoft, Windows Authenticode Portable Executable Signature Format, 1.0,
// "Calculating the PE Image Hash"; edk2, SecurityPkg and OvmfPkg do the same).
package pe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
)

// ErrFormat is wrapped by every error of this package.
var ErrFormat = errors.New("not a PE image")

const (
	dosHeader     = 0x40
	dosOffset     = 0x3c // where the DOS header has the PE header's offset
	coffHeader    = 4 + 20
	sectionHeader = 40
	maxSections   = 96
	maxSize       = 1 << 30

	// Offsets in the optional header.
	sizeOfHeaders = 60
	checksum      = 64
	securityIndex = 4 // of the directory of signatures
)

// Hash writes to h what an image's hash is over. Sections that overlap each other
// or the headers, parts outside of the file, or signatures that are not at its
// end, are errors. The image is not copied.
func Hash(image []byte, h hash.Hash) error {
	l, err := parse(image)
	if err != nil {
		return err
	}
	h.Write(image[:l.checksum])
	if l.security == 0 {
		h.Write(image[l.checksum+4 : l.headers])
	} else {
		h.Write(image[l.checksum+4 : l.security])
		h.Write(image[l.security+8 : l.headers])
	}
	for _, s := range l.sections {
		h.Write(image[s.start:s.end])
	}
	h.Write(image[l.hashed:l.signatures])
	return nil
}

// A layout is where the parts of an image are, as offsets.
type layout struct {
	checksum   int // of 4 bytes
	security   int // of the 8 bytes of the signatures' directory; 0 if there is none
	headers    int // end of the headers
	sections   []span
	hashed     int // how many bytes headers and sections have together
	signatures int // where they start: at the file's end if there are none
}

type span struct{ start, end int }

func parse(image []byte) (*layout, error) {
	if len(image) > maxSize {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", ErrFormat, len(image), maxSize)
	}
	if len(image) < dosHeader || string(image[:2]) != "MZ" {
		return nil, fmt.Errorf("%w: expected MZ at its beginning; a kernel needs its EFI stub (CONFIG_EFI_STUB)", ErrFormat)
	}
	start := binary.LittleEndian.Uint32(image[dosOffset:])
	if uint64(start)+coffHeader > uint64(len(image)) || string(image[start:start+4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("%w: expected a PE header at %#x, which the DOS header points to", ErrFormat, start)
	}
	coff := image[start+4:]
	count, size := int(binary.LittleEndian.Uint16(coff[2:])), int(binary.LittleEndian.Uint16(coff[16:]))
	optional := int(start) + coffHeader
	if count > maxSections || optional+size+count*sectionHeader > len(image) {
		return nil, fmt.Errorf("%w: %d sections and an optional header of %d bytes, expected at most %d sections inside of the file", ErrFormat, count, size, maxSections)
	}
	l := &layout{checksum: optional + checksum, signatures: len(image)}
	if err := l.parseOptional(image, optional, size); err != nil {
		return nil, err
	}
	table := optional + size
	if l.headers < table+count*sectionHeader || l.headers > len(image) {
		return nil, fmt.Errorf("%w: headers of %d bytes in a file of %d, expected at least %d", ErrFormat, l.headers, len(image), table+count*sectionHeader)
	}
	return l, l.parseSections(image, table, count)
}

// parseOptional reads the optional header, of size bytes.
func (l *layout) parseOptional(image []byte, at, size int) error {
	b := image[at : at+size]
	directories := 0 // where their number is
	if size >= 2 {
		switch magic := binary.LittleEndian.Uint16(b); magic {
		case 0x10b:
			directories = 92
		case 0x20b:
			directories = 108
		default:
			return fmt.Errorf("%w: optional header with magic %#x, expected PE32 or PE32+", ErrFormat, magic)
		}
	}
	if directories == 0 || size < directories+4 {
		return fmt.Errorf("%w: an optional header of %d bytes is too short", ErrFormat, size)
	}
	headers := binary.LittleEndian.Uint32(b[sizeOfHeaders:])
	count := binary.LittleEndian.Uint32(b[directories:])
	if headers > maxSize || uint64(count)*8 > uint64(size-directories-4) {
		return fmt.Errorf("%w: %d data directories in an optional header of %d bytes, headers of %d bytes", ErrFormat, count, size, headers)
	}
	l.headers = int(headers)
	if count <= securityIndex {
		return nil
	}
	l.security = at + directories + 4 + 8*securityIndex
	offset, length := binary.LittleEndian.Uint32(image[l.security:]), binary.LittleEndian.Uint32(image[l.security+4:])
	if length == 0 {
		return nil
	}
	if uint64(offset)+uint64(length) != uint64(len(image)) {
		return fmt.Errorf("%w: %d bytes of signatures at %#x, expected them at the end of the file, %#x", ErrFormat, length, offset, len(image))
	}
	l.signatures = int(offset)
	return nil
}

// parseSections reads the table of sections, and sorts them as they are in the
// file.
func (l *layout) parseSections(image []byte, table, count int) error {
	for i := range count {
		b := image[table+i*sectionHeader:]
		size, start := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
		if size == 0 {
			continue
		}
		if uint64(start)+uint64(size) > uint64(l.signatures) {
			return fmt.Errorf("%w: section %d of %#x bytes at %#x goes beyond the file, or into its signatures", ErrFormat, i, size, start)
		}
		l.sections = append(l.sections, span{int(start), int(start) + int(size)})
	}
	slices.SortFunc(l.sections, func(a, b span) int { return a.start - b.start })
	end := l.headers
	l.hashed = l.headers
	for _, s := range l.sections {
		if s.start < end {
			return fmt.Errorf("%w: what is at %#x overlaps what ends at %#x", ErrFormat, s.start, end)
		}
		end = s.end
		l.hashed += s.end - s.start
	}
	if l.hashed > l.signatures {
		return fmt.Errorf("%w: its signatures at %#x are inside of its headers", ErrFormat, l.signatures)
	}
	return nil
}
