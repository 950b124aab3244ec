package tdx_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/measure/internal/fixture"
	"github.com/redoubt-tee/redoubt/measure/ovmf"
	"github.com/redoubt-tee/redoubt/measure/pe"
	"github.com/redoubt-tee/redoubt/measure/tdx"
)

func parse(t testing.TB, data []byte) *tdx.Firmware {
	t.Helper()
	f, err := tdx.ParseFirmware(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMRTD compares with the operations written out one by one.
func TestMRTD(t *testing.T) {
	t.Parallel()
	image := fixture.TDXFirmware()
	var all []byte
	operation := func(name string, gpa uint64) {
		b := make([]byte, 128)
		copy(b, name)
		binary.LittleEndian.PutUint64(b[16:], gpa)
		all = append(all, b...)
	}
	operation("MEM.PAGE.ADD", 0xfffff000)
	for i := range 16 {
		operation("MR.EXTEND", 0xfffff000+uint64(i)*256)
		all = append(all, image[4096+i*256:][:256]...)
	}
	for _, gpa := range []uint64{0xffffe000, 0x809000, 0x80b000, 0x80c000} {
		operation("MEM.PAGE.ADD", gpa)
	}
	f := parse(t, image)
	mrtd := f.MRTD()
	if want := sha512.Sum384(all); mrtd != want {
		t.Errorf("%x, want %x", mrtd, want)
	}
	if s := f.Sections(); len(s) != 4 || s[0] != (tdx.Section{Offset: 4096, Length: 4096, GPA: 0xfffff000, Size: 4096, Type: tdx.BFV, Extend: true}) {
		t.Errorf("%+v", s)
	}
	image[0] ^= 1 // a variable
	if parse(t, image).MRTD() != mrtd {
		t.Error("variables change MRTD")
	}
	image[4096] ^= 1
	if parse(t, image).MRTD() == mrtd {
		t.Error("code does not change MRTD")
	}
}

func TestFirmwareRefused(t *testing.T) {
	t.Parallel()
	pointer := fixture.Entry{GUID: fixture.TDXMetadata, Data: fixture.LE32(fixture.Middle)}
	change := func(at int, value uint32) []byte {
		b := fixture.TDX(fixture.TDXSections()...)
		binary.LittleEndian.PutUint32(b[at:], value)
		return fixture.Image(8192, b, pointer)
	}
	with := func(edit func([]fixture.TDXSection)) []byte {
		s := fixture.TDXSections()
		edit(s)
		return fixture.Image(8192, fixture.TDX(s...), pointer)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want error
		says string
	}{
		{"not OVMF", make([]byte, 4096), ovmf.ErrTable, "this is not OVMF"},
		{"no metadata", fixture.Image(4096, nil), tdx.ErrFirmware, "without TDX"},
		{"the last page alone", fixture.TDXFirmware()[4096:], tdx.ErrFirmware, "of an image of 0x1000"},
		{"a pointer of 8 bytes", fixture.Image(4096, nil, fixture.Entry{GUID: fixture.TDXMetadata, Data: fixture.LE32(1, 2)}), ovmf.ErrTable, "8 bytes of data"},
		{"a pointer to something else", fixture.Image(4096, []byte("TDVG"), pointer), ovmf.ErrTable, `found "TDVG"`},
		{"another version", change(8, 2), tdx.ErrFirmware, "version 2"},
		{"one section", change(12, 1), tdx.ErrFirmware, "for 1 section"},
		{"sections beyond counting", change(12, 1<<27+4), tdx.ErrFirmware, "2 to 64 sections"},
		{"a length that is wrong", change(4, 145), tdx.ErrFirmware, "145 bytes for 4 sections"},
		{"attributes that nobody knows", with(func(s []fixture.TDXSection) { s[3].Attributes = 2 }), tdx.ErrFirmware, "attributes 0x2"},
		{"an unknown type", with(func(s []fixture.TDXSection) { s[3].Type = 4 }), tdx.ErrFirmware, "unknown type 4"},
		{"an address inside of a page", with(func(s []fixture.TDXSection) { s[3].GPA++ }), tdx.ErrFirmware, "whole pages"},
		{"a size inside of a page", with(func(s []fixture.TDXSection) { s[3].Size++ }), tdx.ErrFirmware, "whole pages"},
		{"no size", with(func(s []fixture.TDXSection) { s[3].Size = 0 }), tdx.ErrFirmware, "whole pages"},
		{"a section beyond 4 GiB", with(func(s []fixture.TDXSection) { s[3].GPA = 1 << 32 }), tdx.ErrFirmware, "below 4 GiB"},
		{"a section that wraps around", with(func(s []fixture.TDXSection) { s[3].GPA = 1<<64 - 4096 }), tdx.ErrFirmware, "below 4 GiB"},
		{"a size that wraps around", with(func(s []fixture.TDXSection) { s[3].Size = 1<<64 - 4096 }), tdx.ErrFirmware, "below 4 GiB"},
		{"a section without end", with(func(s []fixture.TDXSection) { s[3].GPA, s[3].Size = 0x10000000, 0x10000000 }), tdx.ErrFirmware, "more than 65536 pages"},
		{"less data than memory", with(func(s []fixture.TDXSection) { s[0].Length-- }), tdx.ErrFirmware, "0xfff at 0x1000"},
		{"data beyond the image", with(func(s []fixture.TDXSection) { s[0].Offset++ }), tdx.ErrFirmware, "at 0x1001 of an image of 0x2000"},
		{"data that wrap around", with(func(s []fixture.TDXSection) { s[0].Offset = 1<<32 - 1 }), tdx.ErrFirmware, "at 0xffffffff"},
		{"memory with data", with(func(s []fixture.TDXSection) { s[3].Length = 1 }), tdx.ErrFirmware, "has data"},
		{"memory to be measured", with(func(s []fixture.TDXSection) { s[3].Attributes = 1 }), tdx.ErrFirmware, "is to be measured"},
		{"sections that overlap", with(func(s []fixture.TDXSection) { s[3].GPA = 0x808000 }), tdx.ErrFirmware, "overlap"},
		{"code that is not measured", with(func(s []fixture.TDXSection) { s[0].Attributes = 0 }), tdx.ErrFirmware, "is not measured"},
		{"no code where it starts", with(func(s []fixture.TDXSection) { s[0].GPA = 0x1000 }), tdx.ErrFirmware, "code up to 4 GiB"},
		{"no HOB", with(func(s []fixture.TDXSection) { s[2].Type = 3 }), tdx.ErrFirmware, "found 0 HOBs"},
		{"two HOBs", with(func(s []fixture.TDXSection) { s[3].Type = 2 }), tdx.ErrFirmware, "found 2 HOBs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := tdx.ParseFirmware(tt.data)
			if f != nil && err == nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// replay extends a register by the SHA-384 of each event's data.
func replay(events ...[]byte) (r [tdx.Size]byte) {
	for _, data := range events {
		sum := sha512.Sum384(data)
		r = sha512.Sum384(append(r[:], sum[:]...))
	}
	return r
}

func wide(text string) []byte {
	var b []byte
	for _, c := range []byte(text) {
		b = append(b, c, 0)
	}
	return append(b, 0, 0)
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	kernel := fixture.Kernel(nil)
	content := bytes.Join([][]byte{kernel[:fixture.KernelChecksum], kernel[fixture.KernelChecksum+4 : fixture.KernelDirectory], kernel[fixture.KernelDirectory+8:]}, nil)
	rtmr1 := replay(content, []byte("Calling EFI Application from Boot Option"), []byte{0, 0, 0, 0}, []byte("Exit Boot Services Invocation"), []byte("Exit Boot Services Returned with Success"))
	f := parse(t, fixture.TDXFirmware())
	for _, tt := range []struct {
		name   string
		launch tdx.Launch
		rtmr2  [tdx.Size]byte
	}{
		{"all", tdx.Launch{Initrd: []byte("files"), CommandLine: "quiet"}, replay(wide("initrd=initrd quiet"), []byte("files"))},
		{"older OVMF", tdx.Launch{Initrd: []byte("files"), CommandLine: "quiet", InitrdLast: true}, replay(wide("quiet initrd=initrd"), []byte("files"))},
		{"no command line", tdx.Launch{Initrd: []byte("files")}, replay(wide("initrd=initrd "), []byte("files"))},
		{"no command line, older OVMF", tdx.Launch{Initrd: []byte("files"), InitrdLast: true}, replay(wide(" initrd=initrd"), []byte("files"))},
		{"no initrd", tdx.Launch{CommandLine: "quiet"}, replay(wide("quiet"))},
		{"an empty initrd", tdx.Launch{Initrd: []byte{}, CommandLine: "quiet"}, replay(wide("quiet"))},
		{"the kernel alone", tdx.Launch{}, [tdx.Size]byte{}},
	} {
		tt.launch.Firmware, tt.launch.Kernel = f, kernel
		m, err := tt.launch.Measure()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if m.MRTD != f.MRTD() {
			t.Errorf("%s: MRTD %x", tt.name, m.MRTD)
		}
		if m.RTMR[0].Known || m.RTMR[0].Value != [tdx.Size]byte{} {
			t.Errorf("%s: RTMR0 is known: %x", tt.name, m.RTMR[0].Value)
		}
		for i, want := range map[int][tdx.Size]byte{1: rtmr1, 2: tt.rtmr2, 3: {}} {
			if r := m.RTMR[i]; !r.Known || r.Value != want {
				t.Errorf("%s: RTMR%d %x, %t, want %x", tt.name, i, r.Value, r.Known, want)
			}
		}
	}
	m, err := (&tdx.Launch{Firmware: f}).Measure()
	if err != nil || m.MRTD != f.MRTD() || m.RTMR[0].Known || m.RTMR[1].Known || m.RTMR[2].Known || !m.RTMR[3].Known {
		t.Errorf("without a kernel: %+v, %v", m, err)
	}
	if e := m.RTMR[0].Events[1]; !e.Known || e.Digest != sha512.Sum384(fixture.TDXFirmware()[:4096]) {
		t.Errorf("the configuration volume: %+v", e)
	}
}

// TestPublishedLog extends registers by the digests in the published event log of a
// TDX machine that booted a kernel directly (OVMF of 2024), which gives the
// registers of its quote; what no launch changes in that log is what Measure says.
func TestPublishedLog(t *testing.T) {
	t.Parallel()
	digest := func(text string) [tdx.Size]byte {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return [tdx.Size]byte(b)
	}
	m, err := (&tdx.Launch{Firmware: parse(t, fixture.TDXFirmware()), Kernel: fixture.Kernel(nil), Initrd: []byte("files")}).Measure()
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range map[int]struct {
		changes []string // the digests of the first events, which the launch decides
		want    string
	}{
		1: {
			[]string{"b8420535898e24a6abef877153ac1103a695ed07ab9c6c74182d865a560b3b587a34d4bfdc671a505def683cc7bc7596"},
			"154e08f5c1f7b1fce4cbfe1c14f3ba67b70044ede2751487279cd1f2e4239dee99a6d45e24ebde6b6a6f5ae49878e0e6",
		},
		2: {
			[]string{
				"a68ac6d65dd62f392826c2ae44f6846363ced3418c96574b3e168de9205c8553b8198c3b9d206bc432d70a923c25b098",
				"41ee4a6d142b51085c720bad4170207359538d9785391ce10b17536153ea5ba49edaa5a8c36f9f081fdf1b7aeb0ce3f0",
			},
			"9edcd363660e85b71c318324996dda756c372d9f6960edbfa863b1e684822eb48dd95e218ae2b78e51ef97f3b8f5c9dc",
		},
	} {
		events := m.RTMR[i].Events
		for j, change := range tt.changes {
			events[j].Digest = digest(change)
		}
		if r := tdx.Extend(events); !r.Known || r.Value != digest(tt.want) {
			t.Errorf("RTMR%d: %x, want %s", i, r.Value, tt.want)
		}
	}
	if e := m.RTMR[0].Events[3]; e.Digest != digest("394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0") {
		t.Errorf("the separator of RTMR0: %+v", e)
	}
}

func TestLaunchRefused(t *testing.T) {
	t.Parallel()
	f := parse(t, fixture.TDXFirmware())
	for _, tt := range []struct {
		name   string
		launch tdx.Launch
		want   error
		says   string
	}{
		{"zero", tdx.Launch{}, tdx.ErrLaunch, "no firmware"},
		{"an initrd alone", tdx.Launch{Firmware: f, Initrd: []byte{}}, tdx.ErrLaunch, "without a kernel"},
		{"a command line alone", tdx.Launch{Firmware: f, CommandLine: "a"}, tdx.ErrLaunch, "without a kernel"},
		{"an order without a kernel", tdx.Launch{Firmware: f, InitrdLast: true}, tdx.ErrLaunch, "without a kernel"},
		{"an empty kernel", tdx.Launch{Firmware: f, Kernel: []byte{}}, pe.ErrFormat, "expected MZ"},
		{"a NUL", tdx.Launch{Firmware: f, Kernel: fixture.Kernel(nil), CommandLine: "a\x00"}, tdx.ErrLaunch, "byte 0x0"},
		{"an umlaut", tdx.Launch{Firmware: f, Kernel: fixture.Kernel(nil), CommandLine: "ä"}, tdx.ErrLaunch, "byte 0xc3"},
	} {
		if m, err := tt.launch.Measure(); m != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

func seeds() [][]byte { return [][]byte{{}, fixture.TDXFirmware(), fixture.SNPFirmware()} }

// TestSeeds makes sure that a seed gets through.
func TestSeeds(t *testing.T) {
	t.Parallel()
	got := parse(t, seeds()[1]).MRTD()
	const want = "9da843e507cd4e426274a4cf5a2540a5e1b5cd7b8c50b616732146f506ae06ed9c2f809cc55494159254b0d4011dc2ce"
	if hex.EncodeToString(got[:]) != want {
		t.Errorf("%x, want %s", got, want)
	}
}

// FuzzParseFirmware checks that parsing allocates at most 64 KiB, and that what it
// accepts can be measured in bounded time.
func FuzzParseFirmware(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		firmware, err := tdx.ParseFirmware(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
			t.Fatalf("%d bytes allocated for %d", used, len(data))
		}
		if err == nil {
			firmware.MRTD()
		}
	})
}
