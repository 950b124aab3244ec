package pe_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/measure/internal/fixture"
	"github.com/redoubt-tee/redoubt/measure/pe"
)

func sum(t testing.TB, image []byte) [sha512.Size384]byte {
	t.Helper()
	h := sha512.New384()
	if err := pe.Hash(image, h); err != nil {
		t.Fatal(err)
	}
	return [sha512.Size384]byte(h.Sum(nil))
}

// signed appends signatures to an image, and points to them.
func signed(image, signatures []byte) []byte {
	out := append(bytes.Clone(image), signatures...)
	copy(out[fixture.KernelDirectory:], fixture.LE32(uint32(len(image)), uint32(len(signatures))))
	return out
}

// TestHash compares with a hash over the parts as they are put together by hand.
func TestHash(t *testing.T) {
	t.Parallel()
	const tail = "what follows the sections"
	image := fixture.Kernel([]byte(tail))
	parts := bytes.Join([][]byte{
		image[:fixture.KernelChecksum],
		image[fixture.KernelChecksum+4 : fixture.KernelDirectory],
		image[fixture.KernelDirectory+8 : 512],
		image[512:640], // the section that is second in the table
		image[640:896],
		[]byte(tail),
	}, nil)
	if got, want := sum(t, image), sha512.Sum384(parts); got != want {
		t.Errorf("%x, want %x", got, want)
	}
	h := sha256.New()
	if err := pe.Hash(image, h); err != nil || [32]byte(h.Sum(nil)) != sha256.Sum256(parts) {
		t.Errorf("SHA-256: %x, %v", h.Sum(nil), err)
	}
	if sum(t, signed(image, []byte("signatures"))) != sum(t, image) {
		t.Error("signatures change the hash")
	}
	change := func(at int) []byte {
		other := bytes.Clone(image)
		other[at] ^= 1
		return other
	}
	if sum(t, change(fixture.KernelChecksum+3)) != sum(t, image) {
		t.Error("the checksum changes the hash")
	}
	for _, at := range []int{fixture.KernelChecksum - 5, fixture.KernelChecksum + 4, fixture.KernelDirectory - 1, fixture.KernelDirectory + 8, 511, 512, 895, 896, len(image) - 1} {
		if sum(t, change(at)) == sum(t, image) {
			t.Errorf("a change at %d does not change the hash", at)
		}
	}
	// Without a directory of signatures, its place is hashed too.
	few := bytes.Clone(image)
	few[fixture.KernelOptional+108] = 4
	parts = append(bytes.Clone(few[:fixture.KernelChecksum]), few[fixture.KernelChecksum+4:]...)
	if got, want := sum(t, few), sha512.Sum384(parts); got != want {
		t.Errorf("no directory: %x, want %x", got, want)
	}
	// A section without data is nowhere.
	empty := bytes.Clone(image)
	copy(empty[fixture.KernelSections+16:], fixture.LE32(0, 1<<31))
	parts = bytes.Join([][]byte{empty[:fixture.KernelChecksum], empty[fixture.KernelChecksum+4 : fixture.KernelDirectory], empty[fixture.KernelDirectory+8:]}, nil)
	if got, want := sum(t, empty), sha512.Sum384(parts); got != want {
		t.Errorf("an empty section: %x, want %x", got, want)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	change := func(at int, b ...byte) []byte {
		image := fixture.Kernel([]byte("tail"))
		copy(image[at:], b)
		return image
	}
	for _, tt := range []struct {
		name  string
		image []byte
		says  string
	}{
		{"nothing", nil, "expected MZ"},
		{"too short", []byte("MZ"), "expected MZ"},
		{"ELF", append([]byte("\x7fELF"), make([]byte, 100)...), "CONFIG_EFI_STUB"},
		{"a PE header beyond the file", change(0x3c, 0xff, 0xff, 0xff, 0xff), "PE header at 0xffffffff"},
		{"no PE header", change(0x40, 'N', 'E'), "PE header at 0x40"},
		{"cut off", fixture.Kernel(nil)[:300], "2 sections and an optional header of 240"},
		{"too many sections", change(0x46, 97), "97 sections"},
		{"sections beyond the file", change(0x54, 0xff, 0xff), "optional header of 65535"},
		{"no optional header", change(0x54, 0, 0), "too short"},
		{"half an optional header", change(0x54, 100, 0), "too short"},
		{"another optional header", change(fixture.KernelOptional, 7, 1), "magic 0x107"},
		{"directories beyond the optional header", change(fixture.KernelOptional+108, 17), "17 data directories"},
		{"directories beyond counting", change(fixture.KernelOptional+108, 0xff, 0xff, 0xff, 0xff), "4294967295 data directories"},
		{"headers beyond the file", change(fixture.KernelHeaderSize, 0xff, 0xff), "headers of 65535 bytes"},
		{"headers beyond counting", change(fixture.KernelHeaderSize, 0xff, 0xff, 0xff, 0xff), "headers of 4294967295"},
		{"headers that end in the table", change(fixture.KernelHeaderSize, 0, 1), "headers of 256 bytes"},
		{"headers over sections", change(fixture.KernelHeaderSize, 1, 2), "overlaps what ends at 0x201"},
		{"a section beyond the file", change(fixture.KernelSections+16, 0, 2), "section 0 of 0x200 bytes"},
		{"a section that wraps around", change(fixture.KernelSections+16, 0xff, 0xff, 0xff, 0xff), "section 0"},
		{"sections that overlap", change(fixture.KernelSections+20, 127, 2), "overlaps what ends at 0x280"},
		{"signatures beyond the file", change(fixture.KernelDirectory, 0, 0, 0, 0, 1), "1 bytes of signatures at 0x0"},
		{"signatures not at the end", change(fixture.KernelDirectory, 0x80, 3, 0, 0, 3), "3 bytes of signatures at 0x380"},
		{"signatures over a section", change(fixture.KernelDirectory, 0x7f, 3, 0, 0, 5), "into its signatures"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := sha256.New()
			if err := pe.Hash(tt.image, h); !errors.Is(err, pe.ErrFormat) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if [32]byte(h.Sum(nil)) != sha256.Sum256(nil) {
				t.Error("something was hashed")
			}
		})
	}
}

// FuzzHash checks that hashing allocates at most 64 KiB, and that signatures don't
// change a hash.
func FuzzHash(f *testing.F) {
	f.Add([]byte{})
	f.Add(fixture.Kernel(nil))
	f.Add(fixture.Kernel([]byte("tail")))
	f.Add(signed(fixture.Kernel([]byte("tail")), []byte("signatures")))
	f.Fuzz(func(t *testing.T, image []byte) {
		h := sha512.New384()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := pe.Hash(image, h)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
			t.Fatalf("%d bytes allocated for %d", used, len(image))
		}
		if err != nil {
			return
		}
		at := binary.LittleEndian.Uint32(image[0x3c:])
		if int(at)+24+68 > len(image) {
			t.Fatalf("accepted a header at %#x of %d bytes", at, len(image))
		}
	})
}
