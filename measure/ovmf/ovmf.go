// Package ovmf reads the table at the end of an OVMF firmware image, by which
// the firmware tells the host where things are: entries under GUIDs, read from
// the end (edk2, OvmfPkg/ResetVector; QEMU, docs/specs). It believes nothing of
// the image: whatever is not as expected is an error.
package ovmf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// PageSize is that of memory and of what is measured, in bytes.
	PageSize = 4096
	// MaxSize bounds an image: QEMU takes no larger one.
	MaxSize = 16 << 20
	// FourGiB is the guest physical address right behind the image.
	FourGiB = 1 << 32

	fromEnd   = 32 // the table ends so far before the image's end
	headSize  = 18 // of an entry, behind its data: length and GUID
	maxFooter = PageSize
)

// Errors of this package.
var (
	ErrSize  = errors.New("not the size of a firmware image")
	ErrTable = errors.New("the firmware's table of GUIDs is malformed")
)

// A GUID is as it is stored: its first three fields little-endian.
type GUID [16]byte

// String returns g as it is written.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// footer is the GUID of the entry that the table ends with:
// 96b582de-1fb2-45f7-baea-a366c55a082d.
var footer = GUID{0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d}

// An Image is a firmware image whose table is well-formed.
type Image struct {
	Data    []byte // ends at 4 GiB in the guest
	entries map[GUID][]byte
}

// Parse reads the table of an image: a multiple of 4 KiB, at most MaxSize. The
// last pages of a larger image will do where the rest is not looked at. The
// image is not copied. An entry that is there twice, or any byte of the table
// that belongs to no entry, is an error; an image without a table is too.
func Parse(data []byte) (*Image, error) {
	if len(data) == 0 || len(data)%PageSize != 0 || len(data) > MaxSize {
		return nil, fmt.Errorf("%w: expected a multiple of %d bytes up to %d, found %d", ErrSize, PageSize, MaxSize, len(data))
	}
	table := data[:len(data)-fromEnd]
	if guid := GUID(table[len(table)-len(footer):]); guid != footer {
		return nil, fmt.Errorf("%w: expected GUID %v %d bytes before the end, found %v: this is not OVMF", ErrTable, footer, fromEnd+len(footer), guid)
	}
	_, size, err := head(table)
	if err != nil {
		return nil, err
	}
	if size > maxFooter || size > len(table) {
		return nil, fmt.Errorf("%w: its length is %d, expected at most %d", ErrTable, size, maxFooter)
	}
	table = table[len(table)-size : len(table)-headSize]
	image := &Image{Data: data, entries: map[GUID][]byte{}}
	for len(table) > 0 {
		guid, size, err := head(table)
		if err != nil {
			return nil, err
		}
		if size > len(table) {
			return nil, fmt.Errorf("%w: entry %v has %d bytes, of which %d are left", ErrTable, guid, size, len(table))
		}
		if _, twice := image.entries[guid]; twice || guid == footer {
			return nil, fmt.Errorf("%w: entry %v is there twice", ErrTable, guid)
		}
		image.entries[guid] = table[len(table)-size : len(table)-headSize]
		table = table[:len(table)-size]
	}
	return image, nil
}

// head reads the length and the GUID of the entry that b ends with.
func head(b []byte) (guid GUID, size int, err error) {
	if len(b) < headSize {
		return guid, 0, fmt.Errorf("%w: %d bytes are left, expected an entry of at least %d", ErrTable, len(b), headSize)
	}
	guid = GUID(b[len(b)-16:])
	if size = int(binary.LittleEndian.Uint16(b[len(b)-headSize:])); size < headSize {
		return guid, 0, fmt.Errorf("%w: entry %v has length %d, expected at least %d", ErrTable, guid, size, headSize)
	}
	return guid, size, nil
}

// Find returns the data of an entry, which must have exactly size bytes, or nil
// if it is not there.
func (i *Image) Find(guid GUID, size int) ([]byte, error) {
	data, ok := i.entries[guid]
	if !ok {
		return nil, nil
	}
	if len(data) != size {
		return nil, fmt.Errorf("%w: entry %v has %d bytes of data, expected %d", ErrTable, guid, len(data), size)
	}
	return data, nil
}

// Tail returns the image from offset bytes before its end, where a description
// begins with magic.
func (i *Image) Tail(offset uint32, magic string) ([]byte, error) {
	if uint64(offset) > uint64(len(i.Data)) {
		return nil, fmt.Errorf("%w: it points %d bytes before the end of an image of %d", ErrTable, offset, len(i.Data))
	}
	tail := i.Data[len(i.Data)-int(offset):]
	if !bytes.HasPrefix(tail, []byte(magic)) {
		return nil, fmt.Errorf("%w: expected %q at %d bytes before the end, found %q", ErrTable, magic, offset, tail[:min(len(magic), len(tail))])
	}
	return tail, nil
}
