package ovmf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/measure/internal/fixture"
	"github.com/redoubt-tee/redoubt/measure/ovmf"
)

func TestParse(t *testing.T) {
	t.Parallel()
	image, err := ovmf.Parse(fixture.Image(4096, []byte("HERE and more"), fixture.Entry{GUID: fixture.Reset, Data: fixture.LE32(7)}, fixture.Entry{GUID: fixture.HashTable, Data: nil}))
	if err != nil {
		t.Fatal(err)
	}
	guid := ovmf.GUID(fixture.GUID(fixture.Reset))
	if guid.String() != fixture.Reset {
		t.Errorf("GUID %v, want %s", guid, fixture.Reset)
	}
	if data, err := image.Find(guid, 4); err != nil || !bytes.Equal(data, fixture.LE32(7)) {
		t.Errorf("found %x, %v", data, err)
	}
	if data, err := image.Find(ovmf.GUID(fixture.GUID(fixture.HashTable)), 0); err != nil || data == nil {
		t.Errorf("found %x, %v: expected an entry without data", data, err)
	}
	if data, err := image.Find(ovmf.GUID{1}, 4); err != nil || data != nil {
		t.Errorf("found %x, %v, which is not there", data, err)
	}
	if _, err := image.Find(guid, 8); !errors.Is(err, ovmf.ErrTable) || !strings.Contains(err.Error(), "4 bytes of data, expected 8") {
		t.Error(err)
	}
	if tail, err := image.Tail(fixture.Middle, "HERE"); err != nil || len(tail) != fixture.Middle || !bytes.HasPrefix(tail, []byte("HERE and more")) {
		t.Errorf("tail %x, %v", tail, err)
	}
	for offset, says := range map[uint32]string{4097: "image of 4096", 1<<32 - 1: "image of 4096", 2: `found "`, 0: `found ""`} {
		if _, err := image.Tail(offset, "HERE"); !errors.Is(err, ovmf.ErrTable) || !strings.Contains(err.Error(), says) {
			t.Errorf("tail of %d: %v, want %q", offset, err, says)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	reset := fixture.Entry{GUID: fixture.Reset, Data: fixture.LE32(7)}
	change := func(fromEnd int, value uint16) []byte {
		image := fixture.Image(4096, nil, reset)
		binary.LittleEndian.PutUint16(image[len(image)-fromEnd:], value)
		return image
	}
	const footerLength, entryLength = 32 + 18, 32 + 18 + 18
	for _, tt := range []struct {
		name string
		data []byte
		want error
		says string
	}{
		{"nothing", nil, ovmf.ErrSize, "found 0"},
		{"half a page", fixture.Image(4096, nil)[2048:], ovmf.ErrSize, "found 2048"},
		{"too large", append([]byte(nil), bytes.Repeat([]byte{0}, ovmf.MaxSize+4096)...), ovmf.ErrSize, "up to 16777216"},
		{"no table", bytes.Repeat([]byte{0}, 4096), ovmf.ErrTable, "this is not OVMF"},
		{"not OVMF", bytes.Repeat([]byte{1, 2}, 2048), ovmf.ErrTable, "this is not OVMF"},
		{"a table longer than a page", change(footerLength, 4097), ovmf.ErrTable, "its length is 4097"},
		{"a table longer than the image", change(footerLength, 4096), ovmf.ErrTable, "its length is 4096"},
		{"a table shorter than its entry", change(footerLength, 18+21), ovmf.ErrTable, "22 bytes, of which 21"},
		{"a table with a byte too many", change(footerLength, 18+23), ovmf.ErrTable, "1 bytes are left"},
		{"an entry without room for itself", change(entryLength, 17), ovmf.ErrTable, "length 17, expected at least 18"},
		{"an entry longer than the table", change(entryLength, 23), ovmf.ErrTable, "23 bytes, of which 22"},
		{"an entry twice", fixture.Image(4096, nil, reset, reset), ovmf.ErrTable, "there twice"},
		{"a footer in the table", fixture.Image(4096, nil, fixture.Entry{GUID: fixture.Footer}), ovmf.ErrTable, "there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image, err := ovmf.Parse(tt.data)
			if image != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// FuzzParse checks that parsing allocates at most 64 KiB: a page of table has at
// most 227 entries.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(fixture.SNPFirmware())
	f.Add(fixture.TDXFirmware())
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		image, err := ovmf.Parse(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
			t.Fatalf("%d bytes allocated for %d", used, len(data))
		}
		if (image == nil) != (err != nil) {
			t.Fatalf("image %v with error %v", image, err)
		}
	})
}
