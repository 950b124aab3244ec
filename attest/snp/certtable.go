package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Most of what a certificate table may have.
const (
	MaxTable       = 64 << 10 // bytes; Linux hands out 16 KiB
	maxEntries     = 16
	maxCertificate = 8 << 10 // bytes of one certificate, in either encoding
	entrySize      = 24
)

// ErrTable is wrapped by the errors for a certificate table that is not
// well-formed.
var ErrTable = errors.New("malformed certificate table")

// The GUIDs of the certificates (GHCB specification 2.03, section 4.1.8.1). An
// ASVK has the ASK's.
const (
	guidARK  = "c0b406a4-a803-4952-9743-3fb6014cd0ae"
	guidASK  = "4ab7b379-bbac-4fe4-a02f-05aef327c782"
	guidVCEK = "63da758d-e664-4564-adc5-f4b93be8accd"
	guidVLEK = "a8074bc2-a25a-483e-aae6-39c045a0b8a1"
)

// guidText returns a GUID as it is written. Its bytes are in the same order.
func guidText(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// A CertTable is the certificates that a host hands out with a report. The host
// is not trusted: nothing in a table is, before Verify.
type CertTable struct {
	ARK  *x509.Certificate // compared with the pinned root, never trusted
	ASK  *x509.Certificate // or the ASVK, if the table has a VLEK
	VCEK *x509.Certificate
	VLEK *x509.Certificate
}

type slot struct {
	name string
	guid string
	cert **x509.Certificate
}

func (t *CertTable) slots() []slot {
	return []slot{{"ARK", guidARK, &t.ARK}, {"ASK", guidASK, &t.ASK}, {"VCEK", guidVCEK, &t.VCEK}, {"VLEK", guidVLEK, &t.VLEK}}
}

// ParseCertTable decodes a certificate table (GHCB specification 2.03, section
// 4.1.8.1), configfs-tsm's auxblob. Certificates are DER or PEM. Entries may not
// overlap, what lies between and behind them must be zero, and a kind of
// certificate may be there once. Entries of unknown GUIDs are left out.
func ParseCertTable(b []byte) (*CertTable, error) {
	if len(b) > MaxTable {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrTable, len(b), MaxTable)
	}
	entries, head, err := parseEntries(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	if err := checkLayout(b, entries, head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	t := new(CertTable)
	for _, s := range t.slots() {
		for _, e := range entries {
			if e.guid != s.guid {
				continue
			}
			if *s.cert != nil {
				return nil, fmt.Errorf("%w: two entries for the %s", ErrTable, s.name)
			}
			if *s.cert, err = parseCertificate(b[e.offset : e.offset+e.length]); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrTable, s.name, err)
			}
		}
	}
	return t, nil
}

type entry struct {
	guid           string
	offset, length int
}

// parseEntries reads the list of entries up to the zero entry that ends it, and
// returns where it ends.
func parseEntries(b []byte) (entries []entry, head int, err error) {
	for {
		if len(b)-head < entrySize {
			return nil, 0, fmt.Errorf("no zero entry ends the list in its %d bytes", len(b))
		}
		raw := b[head : head+entrySize]
		head += entrySize
		if zero(raw) {
			return entries, head, nil
		}
		if len(entries) == maxEntries {
			return nil, 0, fmt.Errorf("more than %d entries", maxEntries)
		}
		if zero(raw[:16]) {
			return nil, 0, errors.New("an entry with a zero GUID that is not the zero entry")
		}
		offset, length := binary.LittleEndian.Uint32(raw[16:]), binary.LittleEndian.Uint32(raw[20:])
		if length == 0 || uint64(offset)+uint64(length) > uint64(len(b)) {
			return nil, 0, fmt.Errorf("entry %s at %d with %d bytes does not lie in the table's %d bytes", guidText(raw), offset, length, len(b))
		}
		entries = append(entries, entry{guidText(raw), int(offset), int(length)})
	}
}

// checkLayout checks that every byte behind the list is in one entry or zero.
func checkLayout(b []byte, entries []entry, head int) error {
	sorted := slices.SortedFunc(slices.Values(entries), func(x, y entry) int { return x.offset - y.offset })
	end := head
	for _, e := range sorted {
		if e.offset < end {
			return fmt.Errorf("entry %s at %d overlaps what ends at %d", e.guid, e.offset, end)
		}
		if !zero(b[end:e.offset]) {
			return fmt.Errorf("bytes %d to %d are in no entry and not zero", end, e.offset-1)
		}
		end = e.offset + e.length
	}
	if !zero(b[end:]) {
		return fmt.Errorf("bytes from %d on are in no entry and not zero", end)
	}
	return nil
}

// parseCertificate decodes exactly one certificate, DER or PEM.
func parseCertificate(b []byte) (*x509.Certificate, error) {
	if len(b) > maxCertificate {
		return nil, fmt.Errorf("certificate of %d bytes, at most %d allowed", len(b), maxCertificate)
	}
	if bytes.HasPrefix(b, []byte("-----BEGIN ")) {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0 {
			return nil, errors.New("must be exactly one PEM block CERTIFICATE without headers")
		}
		b = block.Bytes
	}
	return x509.ParseCertificate(b)
}

// Encode returns the table in the form that ParseCertTable reads, with
// certificates in DER.
func (t *CertTable) Encode() []byte {
	slots := slices.DeleteFunc(t.slots(), func(s slot) bool { return *s.cert == nil })
	offset := (len(slots) + 1) * entrySize
	var list, body []byte
	for _, s := range slots {
		der := (*s.cert).Raw
		id, _ := hex.DecodeString(strings.ReplaceAll(s.guid, "-", ""))
		list = append(list, id...)
		list = binary.LittleEndian.AppendUint32(list, uint32(offset+len(body)))
		list = binary.LittleEndian.AppendUint32(list, uint32(len(der)))
		body = append(body, der...)
	}
	return append(append(list, make([]byte, entrySize)...), body...)
}
