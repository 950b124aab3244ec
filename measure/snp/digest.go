package snp

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/redoubt-tee/redoubt/measure/ovmf"
)

// Size is the length of a launch digest in bytes, SHA-384's.
const Size = sha512.Size384

// Page types of PAGE_INFO (56860, section 8.17.2).
const (
	pageNormal  = 1
	pageVMSA    = 2
	pageZero    = 3
	pageSecrets = 5
	pageCPUID   = 6
)

// gpaVMSA is the address under which VMSAs are measured: all bits that a page's
// address can have.
const gpaVMSA = 0xfffffffff000

// A digest is a launch digest so far. Zero is none.
type digest [Size]byte

// extend adds a page: its contents' SHA-384, or zero if they are not measured.
func (d *digest) extend(kind byte, gpa uint64, contents [Size]byte) {
	const size = 0x70
	var info [size]byte
	copy(info[:], d[:])
	copy(info[Size:], contents[:])
	binary.LittleEndian.PutUint16(info[2*Size:], size)
	info[2*Size+2] = kind
	// Behind it: not an initial migration image, and no permissions for VMPLs
	// above 0, which is what QEMU asks for.
	binary.LittleEndian.PutUint64(info[2*Size+8:], gpa)
	*d = sha512.Sum384(info[:])
}

func (d *digest) pages(kind byte, gpa uint64, data []byte) {
	for ; len(data) > 0; data = data[ovmf.PageSize:] {
		d.extend(kind, gpa, sha512.Sum384(data[:ovmf.PageSize]))
		gpa += ovmf.PageSize
	}
}

// section adds the pages of a section of the firmware.
func (d *digest) section(s Section, f *Firmware, hashes *Hashes) {
	switch {
	case s.Type == Secrets:
		d.extend(pageSecrets, uint64(s.GPA), [Size]byte{})
	case s.Type == CPUID:
		d.extend(pageCPUID, uint64(s.GPA), [Size]byte{})
	case s.Type == KernelHashes && hashes != nil:
		page := make([]byte, ovmf.PageSize)
		copy(page[f.table:], hashes.Table())
		d.pages(pageNormal, uint64(s.GPA), page)
	default:
		for at := uint32(0); at < s.Size; at += ovmf.PageSize {
			d.extend(pageZero, uint64(s.GPA+at), [Size]byte{})
		}
	}
}

// Hashes are SHA-256 hashes of what the firmware boots, as QEMU hands them over
// with kernel-hashes=on.
type Hashes struct {
	Kernel      [sha256.Size]byte // of the file
	Initrd      [sha256.Size]byte // of the file; of no bytes if there is none
	CommandLine [sha256.Size]byte // of its bytes and a NUL
}

// HashKernel reads kernel and initrd, which is nil if there is none. A NUL in the
// command line is an error: QEMU can't be given one.
func HashKernel(kernel, initrd io.Reader, commandLine string) (*Hashes, error) {
	if strings.ContainsRune(commandLine, 0) {
		return nil, fmt.Errorf("%w: the command line has a NUL in it", ErrLaunch)
	}
	h := &Hashes{CommandLine: sha256.Sum256(append([]byte(commandLine), 0)), Initrd: sha256.Sum256(nil)}
	var err error
	if h.Kernel, err = hashOf(kernel); err != nil {
		return nil, fmt.Errorf("measure the kernel: %w", err)
	}
	if initrd != nil {
		if h.Initrd, err = hashOf(initrd); err != nil {
			return nil, fmt.Errorf("measure the initrd: %w", err)
		}
	}
	return h, nil
}

func hashOf(r io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.Copy(h, r)
	h.Sum(sum[:0])
	return sum, err
}

// GUIDs of the table of hashes (QEMU, target/i386/sev.c).
var (
	guidTable   = ovmf.GUID{0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21}
	guidKernel  = ovmf.GUID{0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b}
	guidInitrd  = ovmf.GUID{0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d}
	guidCommand = ovmf.GUID{0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a}
)

const (
	tableHead  = 16 + 2
	tableEntry = 16 + 2 + sha256.Size
	tableUsed  = tableHead + 3*tableEntry
	tableSize  = (tableUsed + 15) &^ 15 // with padding
)

// Table returns the table of hashes as QEMU puts it into the guest's memory at
// Firmware.TableAddress: a GUID and the length without padding; then the command
// line, the initrd and the kernel, each as GUID, length and hash; then zeros up
// to a multiple of 16 bytes.
func (h *Hashes) Table() []byte {
	b := make([]byte, 0, tableSize)
	b = append(b, guidTable[:]...)
	b = binary.LittleEndian.AppendUint16(b, tableUsed)
	for _, entry := range []struct {
		guid ovmf.GUID
		hash [sha256.Size]byte
	}{{guidCommand, h.CommandLine}, {guidInitrd, h.Initrd}, {guidKernel, h.Kernel}} {
		b = append(b, entry.guid[:]...)
		b = binary.LittleEndian.AppendUint16(b, tableEntry)
		b = append(b, entry.hash[:]...)
	}
	return b[:tableSize]
}

// MaxVCPUs bounds the virtual processors of a guest.
const MaxVCPUs = 4096

// A Launch is all that an SNP guest's launch digest depends on. What it does not
// depend on: memory size, devices, ACPI tables; and the guest policy, host data
// and ID block, which are in the report by themselves.
type Launch struct {
	Firmware *Firmware
	Hashes   *Hashes // nil for kernel-hashes=off
	VCPUs    int     // 1 to MaxVCPUs
	CPU      CPU     // the model that the guest sees
	Features uint64  // SEV_FEATURES of the VMSA; bit 0 is SNP itself
}

// Digest returns the launch digest. Kernel hashes without a place in the firmware
// are an error, ErrNoHashes: nothing would check them.
func (l *Launch) Digest() ([Size]byte, error) {
	switch {
	case l.Firmware == nil:
		return [Size]byte{}, fmt.Errorf("%w: no firmware", ErrLaunch)
	case l.VCPUs < 1 || l.VCPUs > MaxVCPUs:
		return [Size]byte{}, fmt.Errorf("%w: %d virtual processors, expected 1 to %d", ErrLaunch, l.VCPUs, MaxVCPUs)
	case l.CPU == 0:
		return [Size]byte{}, fmt.Errorf("%w: no CPU model", ErrLaunch)
	case l.Hashes != nil && !l.Firmware.HashesKernel():
		return [Size]byte{}, fmt.Errorf("%w: no SNP_KERNEL_HASHES section, so the kernel that it boots is not measured; OVMF's AmdSev build has one", ErrNoHashes)
	}
	d := l.beforeVCPUs(l.Firmware.Digest())
	first, others := l.vmsas()
	d.extend(pageVMSA, gpaVMSA, first)
	for range l.VCPUs - 1 {
		d.extend(pageVMSA, gpaVMSA, others)
	}
	return d, nil
}

// beforeVCPUs continues the firmware's digest with its sections.
func (l *Launch) beforeVCPUs(d digest) digest {
	for _, s := range l.Firmware.sections {
		d.section(s, l.Firmware, l.Hashes)
	}
	return d
}

// vmsas returns the SHA-384 of the first processor's VMSA, and of all others'.
func (l *Launch) vmsas() (first, others [Size]byte) {
	a, b := vmsa(resetVector, l.CPU, l.Features), vmsa(l.Firmware.reset, l.CPU, l.Features)
	return sha512.Sum384(a[:]), sha512.Sum384(b[:])
}
