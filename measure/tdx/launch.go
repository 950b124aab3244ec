package tdx

import (
	"crypto/sha512"
	"fmt"
	"strings"

	"github.com/redoubt-tee/redoubt/measure/pe"
)

// A Launch is what decides the measurements of a TD that QEMU starts.
type Launch struct {
	Firmware *Firmware
	// Kernel is a bzImage with an EFI stub, as it is in its file. Nil if the
	// firmware finds by itself what it boots: then only MRTD is decided.
	Kernel []byte
	// Initrd is the initial file system; of no bytes if there is none.
	Initrd      []byte
	CommandLine string // ASCII
	// InitrdLast is for older OVMF (edk2 2025.02 and before), which puts
	// initrd=initrd behind the command line and not before it.
	InitrdLast bool
}

// An Event is one extension of a register.
type Event struct {
	Name   string
	Digest [Size]byte
	// Known is false if the launch's inputs don't decide the digest, or whether
	// and how often there is such an event.
	Known bool
}

// A Register is an RTMR when the kernel has started.
type Register struct {
	Value  [Size]byte
	Known  bool // if not, Value is zero
	Events []Event
}

// A Measurement is what the report of a TD must have.
type Measurement struct {
	MRTD [Size]byte
	RTMR [4]Register
}

// Measure returns the measurements.
//
// RTMR0 is never known: the memory map, the ACPI tables and the boot variables
// are in it, which QEMU makes of its whole configuration. RTMR1 has the kernel,
// and RTMR2 the command line and the initrd. RTMR3 is left to the workload, and
// zero.
//
// It is for QEMU and OVMF that load the kernel as it is in its file: OVMF that
// takes it from etc/boot/kernel, or QEMU that does not patch the kernel of
// confidential guests.
func (l *Launch) Measure() (*Measurement, error) {
	if l.Firmware == nil {
		return nil, fmt.Errorf("%w: no firmware", ErrLaunch)
	}
	if l.Kernel == nil && (l.Initrd != nil || l.CommandLine != "" || l.InitrdLast) {
		return nil, fmt.Errorf("%w: an initrd or a command line without a kernel", ErrLaunch)
	}
	for _, c := range []byte(l.CommandLine) {
		if c == 0 || c > 127 {
			return nil, fmt.Errorf("%w: byte %#x in the command line, expected ASCII", ErrLaunch, c)
		}
	}
	m := &Measurement{MRTD: l.Firmware.MRTD()}
	m.RTMR[0] = register(l.configuration())
	m.RTMR[1] = register([]Event{{Name: "what the firmware boots"}})
	m.RTMR[2] = register([]Event{{Name: "what the boot loader measures"}})
	m.RTMR[3] = register(nil)
	if l.Kernel == nil {
		return m, nil
	}
	h := sha512.New384()
	if err := pe.Hash(l.Kernel, h); err != nil {
		return nil, fmt.Errorf("measure the kernel: %w", err)
	}
	m.RTMR[1] = register([]Event{
		{"kernel, as Authenticode hashes it", [Size]byte(h.Sum(nil)), true},
		event("boot attempt", []byte("Calling EFI Application from Boot Option")),
		separator(),
		event("exit of boot services, before", []byte("Exit Boot Services Invocation")),
		event("exit of boot services, after", []byte("Exit Boot Services Returned with Success")),
	})
	m.RTMR[2] = register(l.loaded())
	return m, nil
}

// configuration returns what RTMR0 is extended by, as far as that is known.
func (l *Launch) configuration() []Event {
	events := []Event{{Name: "TD HOB: the memory map, made by QEMU (only of some OVMF versions)"}}
	if v := l.Firmware.variables(); v != nil {
		events = append(events, event("configuration volume, of the firmware's file", v))
	}
	return append(events,
		Event{Name: "variables SecureBoot, PK, KEK, db, dbx, each as the firmware finds it"},
		separator(),
		Event{Name: "ACPI table loader, RSDP and tables, made by QEMU"},
		Event{Name: "boot menu and order, made by QEMU (only of some OVMF versions)"},
		Event{Name: "BootOrder and each Boot####, made by the firmware"},
	)
}

// loaded returns what the kernel's EFI stub measures: its load options, which
// OVMF makes of the command line, and the initrd.
func (l *Launch) loaded() []Event {
	options := l.CommandLine
	switch {
	case len(l.Initrd) == 0:
	case l.InitrdLast:
		options += " initrd=initrd"
	default:
		options = "initrd=initrd " + options
	}
	var events []Event
	if options != "" {
		events = append(events, event("command line", utf16(options+"\x00")))
	}
	if len(l.Initrd) > 0 {
		events = append(events, event("initrd", l.Initrd))
	}
	return events
}

// utf16 encodes ASCII, little-endian.
func utf16(ascii string) []byte {
	return []byte(strings.Join(strings.Split(ascii, ""), "\x00") + "\x00")
}

func event(name string, data []byte) Event { return Event{name, sha512.Sum384(data), true} }

func separator() Event { return event("separator", []byte{0, 0, 0, 0}) }

// register extends a register of zeros. It is known if all events are.
func register(events []Event) Register {
	r := Register{Known: true, Events: events}
	for _, e := range events {
		if !e.Known {
			return Register{Events: events}
		}
		r.Value = sha512.Sum384(append(r.Value[:], e.Digest[:]...))
	}
	return r
}
