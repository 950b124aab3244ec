package snp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/redoubt-tee/redoubt/measure/internal/fixture"
	"github.com/redoubt-tee/redoubt/measure/ovmf"
	"github.com/redoubt-tee/redoubt/measure/snp"
)

func TestParseFirmware(t *testing.T) {
	t.Parallel()
	f := parse(t, fixture.SNPFirmware())
	address, ok := f.TableAddress()
	if !f.HashesKernel() || !ok || address != 0x805c00 {
		t.Errorf("table of hashes at %#x, %t", address, ok)
	}
	if s := f.Sections(); len(s) != 5 || s[0] != (snp.Section{GPA: 0x800000, Size: 0x2000, Type: snp.SecMem}) {
		t.Errorf("sections %+v", s)
	}
}

func TestFirmwareRefused(t *testing.T) {
	t.Parallel()
	type section = [3]uint32
	reset := fixture.Entry{GUID: fixture.Reset, Data: fixture.LE32(1)}
	pointer := fixture.Entry{GUID: fixture.SEVMetadata, Data: fixture.LE32(fixture.Middle)}
	with := func(sections ...section) []byte { return fixture.Image(4096, fixture.SNP(sections...), reset, pointer) }
	change := func(at int, value uint32) []byte {
		b := fixture.SNP(section{0x1000, 0x1000, 1})
		binary.LittleEndian.PutUint32(b[at:], value)
		return fixture.Image(4096, b, reset, pointer)
	}
	table := func(gpa, size uint32) []byte {
		return fixture.Image(4096, fixture.SNP(section{0x5000, 0x1000, 0x10}), reset, pointer, fixture.Entry{GUID: fixture.HashTable, Data: fixture.LE32(gpa, size)})
	}
	for _, tt := range []struct {
		name string
		data []byte
		want error
		says string
	}{
		{"not OVMF", make([]byte, 4096), ovmf.ErrTable, "this is not OVMF"},
		{"no reset vector", fixture.Image(4096, nil, pointer), snp.ErrFirmware, "further processors"},
		{"a reset vector of 8 bytes", fixture.Image(4096, nil, pointer, fixture.Entry{GUID: fixture.Reset, Data: fixture.LE32(1, 2)}), ovmf.ErrTable, "8 bytes of data, expected 4"},
		{"no metadata", fixture.Image(4096, nil, reset), snp.ErrFirmware, "without SEV-SNP"},
		{"a pointer of 2 bytes", fixture.Image(4096, nil, reset, fixture.Entry{GUID: fixture.SEVMetadata, Data: []byte{1, 2}}), ovmf.ErrTable, "2 bytes of data"},
		{"a pointer beyond the image", fixture.Image(4096, nil, reset, fixture.Entry{GUID: fixture.SEVMetadata, Data: fixture.LE32(4097)}), ovmf.ErrTable, "4097 bytes before"},
		{"a pointer to something else", fixture.Image(4096, []byte("ESEV"), reset, pointer), ovmf.ErrTable, `found "ESEV"`},
		{"another version", change(8, 2), snp.ErrFirmware, "version 2"},
		{"more sections than there are", change(12, 2), snp.ErrFirmware, "28 bytes for 2 sections"},
		{"sections beyond counting", change(12, 1<<32-1), snp.ErrFirmware, "at most 64 sections"},
		{"a length that is wrong", change(4, 29), snp.ErrFirmware, "29 bytes for 1 section"},
		{"an address inside of a page", with(section{0x1001, 0x1000, 1}), snp.ErrFirmware, "whole pages"},
		{"a size inside of a page", with(section{0x1000, 0x800, 1}), snp.ErrFirmware, "whole pages"},
		{"no size", with(section{0, 0, 1}), snp.ErrFirmware, "whole pages"},
		{"a section that wraps around", with(section{0xfffff000, 0xfffff000, 1}), snp.ErrFirmware, "below the firmware"},
		{"a section over the firmware", with(section{0xfffff000, 0x1000, 1}), snp.ErrFirmware, "below the firmware"},
		{"a section without end", with(section{0x1000, 0x10001000, 1}), snp.ErrFirmware, "more than 65536 pages"},
		{"two pages of secrets", with(section{0x1000, 0x2000, 2}), snp.ErrFirmware, "expected one page"},
		{"two secrets pages", with(section{0x1000, 0x1000, 2}, section{0x2000, 0x1000, 2}), snp.ErrFirmware, "two sections of type 0x2"},
		{"an unknown type", with(section{0x1000, 0x1000, 5}), snp.ErrFirmware, "unknown type 0x5"},
		{"sections that overlap", with(section{0x1000, 0x2000, 1}, section{0x2000, 0x1000, 2}), snp.ErrFirmware, "overlap"},
		{"hashes before their page", table(0x4fff, 0x400), snp.ErrFirmware, "room of 0x400 bytes at 0x4fff"},
		{"hashes behind their page", table(0x6000, 0x400), snp.ErrFirmware, "at 0x6000"},
		{"hashes across their page's end", table(0x5fff-175+1, 0x400), snp.ErrFirmware, "expected 176 bytes"},
		{"no room for hashes", table(0x5000, 175), snp.ErrFirmware, "room of 0xaf bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := snp.ParseFirmware(tt.data)
			if f != nil && err == nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// TestInputs changes each input of a launch, which must change the digest, and
// back.
func TestInputs(t *testing.T) {
	t.Parallel()
	image := fixture.SNPFirmware()
	image[100] ^= 1
	other := parse(t, image)
	base := snp.Launch{Firmware: parse(t, fixture.SNPFirmware()), Hashes: hashes(t, "kernel", "initrd", "quiet"), VCPUs: 2, CPU: cpu(t, "EPYC-v4"), Features: 1}
	seen := map[[snp.Size]byte]string{}
	for _, tt := range []struct {
		name   string
		change func(*snp.Launch)
	}{
		{"none", func(*snp.Launch) {}},
		{"firmware", func(l *snp.Launch) { l.Firmware = other }},
		{"no kernel hashes", func(l *snp.Launch) { l.Hashes = nil }},
		{"kernel", func(l *snp.Launch) { l.Hashes = hashes(t, "Kernel", "initrd", "quiet") }},
		{"initrd", func(l *snp.Launch) { l.Hashes = hashes(t, "kernel", "", "quiet") }},
		{"initrd and kernel exchanged", func(l *snp.Launch) { l.Hashes = hashes(t, "initrd", "kernel", "quiet") }},
		{"command line", func(l *snp.Launch) { l.Hashes = hashes(t, "kernel", "initrd", "quiet ") }},
		{"processors", func(l *snp.Launch) { l.VCPUs = 3 }},
		{"one processor", func(l *snp.Launch) { l.VCPUs = 1 }},
		{"CPU", func(l *snp.Launch) { l.CPU = cpu(t, "EPYC-Milan") }},
		{"features", func(l *snp.Launch) { l.Features = 0x21 }},
	} {
		l := base
		tt.change(&l)
		got, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if twin, ok := seen[got]; ok {
			t.Errorf("%s: the digest is that of %s", tt.name, twin)
		}
		seen[got] = tt.name
		if again, err := l.Digest(); err != nil || again != got {
			t.Errorf("%s: %x, then %x, %v", tt.name, got, again, err)
		}
	}
}

func TestLaunchRefused(t *testing.T) {
	t.Parallel()
	without := parse(t, fixture.Image(4096, fixture.SNP([3]uint32{0x1000, 0x1000, 1}),
		fixture.Entry{GUID: fixture.Reset, Data: fixture.LE32(1)}, fixture.Entry{GUID: fixture.SEVMetadata, Data: fixture.LE32(fixture.Middle)}))
	good := snp.Launch{Firmware: parse(t, fixture.SNPFirmware()), VCPUs: 1, CPU: cpu(t, "EPYC-Turin"), Features: 1}
	for _, tt := range []struct {
		name   string
		change func(*snp.Launch)
		want   error
		says   string
	}{
		{"zero", func(l *snp.Launch) { *l = snp.Launch{} }, snp.ErrLaunch, "no firmware"},
		{"no processors", func(l *snp.Launch) { l.VCPUs = 0 }, snp.ErrLaunch, "0 virtual processors"},
		{"negative processors", func(l *snp.Launch) { l.VCPUs = -1 }, snp.ErrLaunch, "-1 virtual processors"},
		{"too many processors", func(l *snp.Launch) { l.VCPUs = snp.MaxVCPUs + 1 }, snp.ErrLaunch, "4097 virtual processors"},
		{"no CPU", func(l *snp.Launch) { l.CPU = 0 }, snp.ErrLaunch, "no CPU model"},
		{"hashes without a place", func(l *snp.Launch) { l.Firmware, l.Hashes = without, &snp.Hashes{} }, snp.ErrNoHashes, "no SNP_KERNEL_HASHES section"},
	} {
		l := good
		tt.change(&l)
		if d, err := l.Digest(); d != [snp.Size]byte{} || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %x, %v, want %q", tt.name, d, err, tt.says)
		}
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	h := hashes(t, "kernel", "initrd", "console=ttyS0")
	table := h.Table()
	if len(table) != 176 || binary.LittleEndian.Uint16(table[16:]) != 168 || !bytes.Equal(table[168:], make([]byte, 8)) {
		t.Errorf("table %x", table)
	}
	for at, want := range map[int]string{
		0:        "9438d606-4f22-4cc9-b479-a793d411fd21",
		18:       "97d02dd8-bd20-4c94-aa78-e7714d36ab2a",
		18 + 50:  "44baf731-3a2f-4bd7-9af1-41e29169781d",
		18 + 100: "4de79437-abd2-427f-b835-d5b172d2045b",
	} {
		if got := ovmf.GUID(table[at:]).String(); got != want {
			t.Errorf("GUID at %d: %s, want %s", at, got, want)
		}
	}
	for at, want := range map[int][32]byte{36: h.CommandLine, 86: h.Initrd, 136: h.Kernel} {
		if !bytes.Equal(table[at:at+32], want[:]) {
			t.Errorf("hash at %d: %x, want %x", at, table[at:at+32], want)
		}
	}
	none, err := snp.HashKernel(strings.NewReader("kernel"), nil, "console=ttyS0")
	if err != nil || none.Initrd != hashes(t, "kernel", "", "").Initrd {
		t.Errorf("no initrd: %+v, %v", none, err)
	}
	if _, err := snp.HashKernel(strings.NewReader(""), nil, "a\x00b"); !errors.Is(err, snp.ErrLaunch) || !strings.Contains(err.Error(), "NUL") {
		t.Error(err)
	}
	broken := errors.New("broken")
	for _, pair := range [][2]string{{"broken", ""}, {"", "broken"}} {
		kernel, initrd := iotest.ErrReader(broken), strings.NewReader("")
		var err error
		if pair[0] != "" {
			_, err = snp.HashKernel(kernel, initrd, "")
		} else {
			_, err = snp.HashKernel(initrd, kernel, "")
		}
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	}
}

func TestCPU(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]snp.CPU{
		"EPYC": 0x800f12, "EPYC-v4": 0x800f12, "EPYC-Rome-v3": 0x830f10, "EPYC-Milan": 0xa00f11, "EPYC-Genoa-v2": 0xa10f10, "EPYC-Turin": 0xb00f00,
		"23/1/2": 0x800f12, "25/17/0": 0xa10f10, "26/2/1": 0xb00f21, "6/15/1": 0x6f1,
	} {
		got, err := snp.ParseCPU(text)
		if err != nil || got != want {
			t.Errorf("%s: %#x, %v, want %#x", text, uint32(got), err, uint32(want))
		}
	}
	for _, m := range snp.Models() {
		if c := cpu(t, m.Name); c != m.CPU {
			t.Errorf("%s: %v", m.Name, c)
		}
	}
	for c, want := range map[snp.CPU]string{0x800f12: "EPYC (23/1/2)", 0xb00f21: "26/2/1", 0x6f1: "6/15/1", 0xa10f10: "EPYC-Genoa (25/17/0)"} {
		if c.String() != want {
			t.Errorf("%#x: %s, want %s", uint32(c), c, want)
		}
	}
	for _, text := range []string{"", "epyc", "EPYC-v9", "host", "25", "25/1", "25/1/1/1", "25/1/x", "-1/1/1", "0/1/1", "271/0/0", "25/256/0", "25/1/16", "6/16/0", "70000/1/1"} {
		if c, err := snp.ParseCPU(text); c != 0 || !errors.Is(err, snp.ErrCPU) {
			t.Errorf("%q: %v, %v", text, c, err)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	image := fixture.SNPFirmware()
	image[0] ^= 1
	first, second := parse(t, fixture.SNPFirmware()), parse(t, image)
	h := hashes(t, "kernel", "initrd", "quiet")
	guess := snp.Guess{
		Firmwares: []snp.Named{{Name: "first.fd", Firmware: first}, {Name: "second.fd", Firmware: second}},
		Kernel:    &h.Kernel, Initrd: &h.Initrd, CommandLine: "quiet", VCPUs: 2, CPU: cpu(t, "EPYC-v4"), Features: 1,
	}
	given := snp.Launch{Firmware: first, Hashes: h, VCPUs: 2, CPU: guess.CPU, Features: 1}
	for _, tt := range []struct {
		name   string
		change func(*snp.Launch, *snp.Guess)
		want   []snp.Difference
	}{
		{"nothing", func(*snp.Launch, *snp.Guess) {}, nil},
		{"processors", func(l *snp.Launch, _ *snp.Guess) { l.VCPUs = 64 }, []snp.Difference{{"virtual processors", "2", "64"}}},
		{"more processors than are tried, as given", func(l *snp.Launch, g *snp.Guess) { l.VCPUs, g.VCPUs = 65, 65 }, nil},
		{"CPU", func(l *snp.Launch, _ *snp.Guess) { l.CPU = cpu(t, "EPYC-Genoa") }, []snp.Difference{{"CPU", "EPYC (23/1/2)", "EPYC-Genoa (25/17/0)"}}},
		{"a CPU of no model, as given", func(l *snp.Launch, g *snp.Guess) { l.CPU, g.CPU = 0xb00f21, 0xb00f21 }, nil},
		{"features", func(l *snp.Launch, _ *snp.Guess) { l.Features = 0x21 }, []snp.Difference{{"SEV features", "0x1", "0x21"}}},
		{"firmware", func(l *snp.Launch, _ *snp.Guess) { l.Firmware = second }, []snp.Difference{{"firmware", "first.fd", "second.fd"}}},
		{"no kernel hashes", func(l *snp.Launch, _ *snp.Guess) { l.Hashes = nil }, []snp.Difference{{"kernel hashes", "with", "without: kernel-hashes=off, or no -kernel"}}},
		{"no initrd", func(l *snp.Launch, _ *snp.Guess) { l.Hashes = hashes(t, "kernel", "", "quiet") }, []snp.Difference{{"initrd", "one", "none"}}},
		{"a newline", func(l *snp.Launch, _ *snp.Guess) { l.Hashes = hashes(t, "kernel", "initrd", "quiet\n") }, []snp.Difference{{"command line", `"quiet"`, `"quiet\n", hashed as "quiet\n\x00"`}}},
		{"a newline given", func(_ *snp.Launch, g *snp.Guess) { g.CommandLine = "quiet\n" }, []snp.Difference{{"command line", `"quiet\n"`, `"quiet", hashed as "quiet\x00"`}}},
		{"all of it", func(l *snp.Launch, _ *snp.Guess) {
			*l = snp.Launch{Firmware: second, Hashes: hashes(t, "kernel", "", "quiet\n"), VCPUs: 7, CPU: cpu(t, "EPYC-Turin"), Features: 0}
		}, []snp.Difference{
			{"firmware", "first.fd", "second.fd"},
			{"initrd and command line", `one and "quiet"`, `none and "quiet\n", hashed as "quiet\n\x00"`},
			{"virtual processors", "2", "7"}, {"CPU", "EPYC (23/1/2)", "EPYC-Turin (26/0/0)"}, {"SEV features", "0x1", "0x0"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, g := given, guess
			tt.change(&l, &g)
			digest, err := l.Digest()
			if err != nil {
				t.Fatal(err)
			}
			e, tried, err := snp.Explain(digest, g)
			if err != nil || e == nil || tried < 1 {
				t.Fatalf("%+v after %d, %v", e, tried, err)
			}
			if again, err := e.Launch.Digest(); err != nil || again != digest {
				t.Errorf("the launch that was found has %x, %v, want %x", again, err, digest)
			}
			if len(e.Differences) != len(tt.want) {
				t.Fatalf("%+v, want %+v", e.Differences, tt.want)
			}
			for i, d := range e.Differences {
				if d != tt.want[i] {
					t.Errorf("%+v, want %+v", d, tt.want[i])
				}
			}
		})
	}
	// Each combination is tried once: 2 firmware images, 13 boots (2 initrds, 6
	// command lines, none), 5 CPUs, 3 sets of features, 64 counts.
	if e, tried, err := snp.Explain([snp.Size]byte{}, guess); e != nil || err != nil || tried != 2*13*5*3*64 {
		t.Errorf("%+v after %d, %v", e, tried, err)
	}
	bare := guess
	bare.Kernel = nil
	if e, tried, err := snp.Explain([snp.Size]byte{}, bare); e != nil || err != nil || tried != 2*5*3*64 {
		t.Errorf("without a kernel: %+v after %d, %v", e, tried, err)
	}
	for says, change := range map[string]func(*snp.Guess){
		"0 firmware images":    func(g *snp.Guess) { g.Firmwares = nil },
		"17 firmware images":   func(g *snp.Guess) { g.Firmwares = make([]snp.Named, 17) },
		"a CPU model":          func(g *snp.Guess) { g.CPU = 0 },
		"1 to 4096 virtual pr": func(g *snp.Guess) { g.VCPUs = 0 },
	} {
		g := guess
		change(&g)
		if e, _, err := snp.Explain([snp.Size]byte{}, g); e != nil || !errors.Is(err, snp.ErrLaunch) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

func seeds() [][]byte { return [][]byte{{}, fixture.SNPFirmware(), fixture.TDXFirmware()} }

// FuzzParseFirmware checks that parsing allocates at most 64 KiB, and that what it
// accepts can be measured in bounded time.
func FuzzParseFirmware(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		firmware, err := snp.ParseFirmware(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
			t.Fatalf("%d bytes allocated for %d", used, len(data))
		}
		if err != nil {
			return
		}
		l := snp.Launch{Firmware: firmware, VCPUs: 2, CPU: 1, Features: 1}
		if firmware.HashesKernel() {
			l.Hashes = &snp.Hashes{}
		}
		if d, err := l.Digest(); err != nil || d == firmware.Digest() {
			t.Fatalf("%x, %v", d, err)
		}
	})
}

// TestSeeds makes sure that a seed gets through, and what its digest is.
func TestSeeds(t *testing.T) {
	t.Parallel()
	l := snp.Launch{Firmware: parse(t, seeds()[1]), Hashes: hashes(t, "", "", ""), VCPUs: 1, CPU: cpu(t, "EPYC-v4"), Features: 1}
	got, err := l.Digest()
	const want = "ec6c5db21b3505f47fe9929da4a738857ae4fe1bbc6320646648d0825fc4774f4cf7b9e0898954569fd446fcb67a70f0"
	if err != nil || hex.EncodeToString(got[:]) != want {
		t.Errorf("%x, %v, want %s", got, err, want)
	}
}
