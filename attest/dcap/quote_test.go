package dcap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// Where the fields of a quote are, by its version and body.
type layout struct {
	body, signature, outer, qe, auth, inner int
}

func layoutOf(b []byte) layout {
	var l layout
	l.body = 48
	size := 584
	if b[4] == 0 {
		size = 384
	}
	if b[0] == 5 {
		l.body, size = 54, int(binary.LittleEndian.Uint32(b[50:]))
	}
	l.signature = l.body + size // its size
	l.qe = l.signature + 4 + 128
	if b[0] >= 4 {
		l.outer = l.qe // its type
		l.qe += 6
	}
	l.auth = l.qe + 384 + 64 // its size
	l.inner = l.auth + 2 + int(binary.LittleEndian.Uint16(b[l.auth:]))
	return l
}

// add adds n to the number of so many bits at an offset.
func add(b []byte, offset, bits, n int) {
	if bits == 16 {
		binary.LittleEndian.PutUint16(b[offset:], binary.LittleEndian.Uint16(b[offset:])+uint16(n))
		return
	}
	binary.LittleEndian.PutUint32(b[offset:], binary.LittleEndian.Uint32(b[offset:])+uint32(n))
}

// TestParseQuoteMutated changes fields of captured quotes of each form.
func TestParseQuoteMutated(t *testing.T) {
	t.Parallel()
	v3, v4, v5 := oasisSGX.quote, oasisTDX.quote, gtg5.quote
	type change = func(b []byte, l layout) []byte
	set := func(offset int, v ...byte) change {
		return func(b []byte, _ layout) []byte { copy(b[offset:], v); return b }
	}
	put := func(where func(layout) int, bits, n int) change {
		return func(b []byte, l layout) []byte { add(b, where(l), bits, n); return b }
	}
	signature := func(l layout) int { return l.signature }
	outer := func(l layout) int { return l.outer }
	outerSize := func(l layout) int { return l.outer + 2 }
	auth := func(l layout) int { return l.auth }
	inner := func(l layout) int { return l.inner }
	innerSize := func(l layout) int { return l.inner + 2 }
	type row struct {
		name, quote string
		change      change
		want        error
		text        string
	}
	rows := []row{
		{"version 0", v3, set(0, 0), dcap.ErrQuote, "version 0, must be 3, 4 or 5"},
		{"version 2", v3, set(0, 2), dcap.ErrQuote, "version 2, must be 3, 4 or 5"},
		{"version 6", v5, set(0, 6), dcap.ErrQuote, "version 6, must be 3, 4 or 5"},
		{"version 3 with a high byte", v3, set(1, 1), dcap.ErrQuote, "version 259, must be"},
		{"TDX as version 3", v4, set(0, 3), dcap.ErrQuote, "TEE type 0x81 in version 3"},
		{"version 4 as 5", v4, set(0, 5), dcap.ErrQuote, "body type 261"},
		{"version 5 as 4", v5, set(0, 4), dcap.ErrQuote, "signature data"},
		{"key type 0", v3, set(2, 0), dcap.ErrQuote, "attestation key type 0, must be 2"},
		{"key type 3, P-384", v4, set(2, 3), dcap.ErrQuote, "attestation key type 3, must be 2"},
		{"key type 258", v5, set(3, 1), dcap.ErrQuote, "attestation key type 258, must be 2"},
		{"TEE type 1", v4, set(4, 1), dcap.ErrQuote, "TEE type 0x1 in version 4"},
		{"TEE type 0x10081", v4, set(6, 1), dcap.ErrQuote, "TEE type 0x10081 in version 4"},
		{"TEE type SGX over a TDX body", v5, set(4, 0), dcap.ErrQuote, "body type 3, which is not for the header's TEE type, SGX"},
		{"TEE type TDX in version 3", v3, set(4, 0x81), dcap.ErrQuote, "TEE type 0x81 in version 3"},
		{"foreign vendor", v3, set(12, 0), dcap.ErrQuote, "must be Intel's"},
		{"foreign vendor, last byte", v5, set(27, 0), dcap.ErrQuote, "must be Intel's"},
		{"reserved byte 8 of version 4", v4, set(8, 1), dcap.ErrQuote, "bytes 8 to 11 are reserved in version 4"},
		{"reserved byte 11 of version 5", v5, set(11, 0x80), dcap.ErrQuote, "bytes 8 to 11 are reserved in version 5"},
		{"body type 0", v5, set(48, 0), dcap.ErrQuote, "body type 0, must be"},
		{"body type 4", v5, set(48, 4), dcap.ErrQuote, "body type 4, must be"},
		{"body type SGX for TDX", v5, set(48, 1), dcap.ErrQuote, "body type 1, which is not for the header's TEE type, TDX"},
		{"body type TD 1.0 with the size of 1.5", v5, set(48, 2), dcap.ErrQuote, "body of 648 bytes, must be 584 for body type 2"},
		{"body one byte longer", v5, func(b []byte, _ layout) []byte { add(b, 50, 32, 1); return b }, dcap.ErrQuote, "body of 649 bytes, must be 648"},
		{"body of 4 GiB", v5, set(50, 0xFF, 0xFF, 0xFF, 0xFF), dcap.ErrQuote, "body of 4294967295 bytes"},

		{"signature data one byte longer", v3, put(signature, 32, 1), dcap.ErrQuote, "signature data needs"},
		{"signature data one byte shorter", v3, put(signature, 32, -1), dcap.ErrQuote, "certification data needs"},
		{"signature data one byte shorter", v4, put(signature, 32, -1), dcap.ErrQuote, "certification data needs"},
		{"signature data empty", v4, func(b []byte, l layout) []byte { clear(b[l.signature : l.signature+4]); return b }, dcap.ErrQuote, "signature needs 64 bytes, 0 are left"},
		{"signature data of 4 GiB", v5, func(b []byte, l layout) []byte { binary.LittleEndian.PutUint32(b[l.signature:], 1<<32-1); return b }, dcap.ErrQuote, "must be at most 65536"},
		{"signature data longer than its parts", v3, func(b []byte, l layout) []byte { add(b, l.signature, 32, 1); return append(b, 0) }, dcap.ErrQuote, "1 bytes too many in the signature data"},
		{"signature data longer than its parts", v4, func(b []byte, l layout) []byte { add(b, l.signature, 32, 1); return append(b, 0) }, dcap.ErrQuote, "1 bytes too many in the certification data"},
		{"outer data longer than its parts", v4, func(b []byte, l layout) []byte {
			add(b, l.signature, 32, 1)
			add(b, l.outer+2, 32, 1)
			return append(b, 0)
		}, dcap.ErrQuote, "1 bytes too many in the signature data"},
		{"outer data one byte longer", v4, put(outerSize, 32, 1), dcap.ErrQuote, "certification data needs"},
		{"outer data one byte shorter", v4, put(outerSize, 32, -1), dcap.ErrQuote, "certification data needs"},
		{"outer type 5", v4, put(outer, 16, -1), dcap.ErrQuote, "certification data type 5, must be 6"},
		{"outer type 7", v5, put(outer, 16, 1), dcap.ErrQuote, "certification data type 7, must be 6"},
		{"authentication data one byte longer", v3, put(auth, 16, 1), dcap.ErrQuote, "certification data"},
		{"authentication data one byte shorter", v4, put(auth, 16, -1), dcap.ErrQuote, "certification data"},
		{"authentication data of 64 KiB", v5, func(b []byte, l layout) []byte { binary.LittleEndian.PutUint16(b[l.auth:], 0xFFFF); return b }, dcap.ErrQuote, "QE authentication data needs 65535 bytes"},
		{"chain one byte longer", v3, put(innerSize, 32, 1), dcap.ErrQuote, "certification data needs"},
		{"chain one byte shorter", v3, put(innerSize, 32, -1), dcap.ErrQuote, "1 bytes too many in the signature data"},
		{"chain one byte shorter", v5, put(innerSize, 32, -1), dcap.ErrQuote, "1 bytes too many in the signature data"},
		{"chain type 0", v3, put(inner, 16, -5), dcap.ErrCertData, "certification data type 0, must be 5"},
		{"chain type 1, plain PPID", v3, put(inner, 16, -4), dcap.ErrCertData, "no PCK chain"},
		{"chain type 2, RSA-2048", v4, put(inner, 16, -3), dcap.ErrCertData, "no PCK chain"},
		{"chain type 3, RSA-3072", v5, put(inner, 16, -2), dcap.ErrCertData, "no PCK chain"},
		{"chain type 4, PCK leaf", v3, put(inner, 16, -1), dcap.ErrCertData, "certification data type 4, must be 5"},
		{"chain type 6, nested", v4, put(inner, 16, 1), dcap.ErrCertData, "certification data type 6, must be 5"},
		{"chain type 7, manifest", v5, put(inner, 16, 2), dcap.ErrCertData, "certification data type 7, must be 5"},

		{"a byte behind", v3, func(b []byte, _ layout) []byte { return append(b, 1) }, dcap.ErrQuote, "1 bytes behind its end"},
		{"a byte behind zeros", v4, func(b []byte, _ layout) []byte { return append(append(b, make([]byte, 70)...), 1) }, dcap.ErrQuote, "71 bytes behind its end"},
		{"a line feed behind", v5, func(b []byte, _ layout) []byte { return append(b, '\n') }, dcap.ErrQuote, "1 bytes behind its end"},
		{"twice", v5, func(b []byte, _ layout) []byte { return append(b, b...) }, dcap.ErrQuote, "behind its end"},
		{"zeros to 64 KiB", v4, func(b []byte, _ layout) []byte { return append(b, make([]byte, dcap.MaxQuoteSize-len(b))...) }, nil, ""},
		{"zeros to more", v4, func(b []byte, _ layout) []byte { return append(b, make([]byte, dcap.MaxQuoteSize+1-len(b))...) }, dcap.ErrQuote, "65537 bytes, must be at most 65536"},
		{"nothing", v3, func([]byte, layout) []byte { return nil }, dcap.ErrQuote, "header needs 48 bytes, 0 are left"},
	}
	// Both ends of each reserved range of an enclave report.
	for _, offset := range []int{20, 31, 96, 127, 160, 191, 262, 303} {
		rows = append(rows,
			row{fmt.Sprintf("reserved byte %d of the enclave", offset), v3, func(b []byte, l layout) []byte { b[l.body+offset] ^= 1; return b }, dcap.ErrQuote, "of the enclave report are reserved"},
			row{fmt.Sprintf("reserved byte %d of the QE", offset), v3, func(b []byte, l layout) []byte { b[l.qe+offset] ^= 0x80; return b }, dcap.ErrQuote, "of the QE report are reserved"},
			row{fmt.Sprintf("reserved byte %d of the QE", offset), v5, func(b []byte, l layout) []byte { b[l.qe+offset] ^= 0x10; return b }, dcap.ErrQuote, "of the QE report are reserved"})
	}
	for _, tt := range rows {
		t.Run(tt.name+" "+tt.quote, func(t *testing.T) {
			t.Parallel()
			b := vector(t, tt.quote)
			b = tt.change(b, layoutOf(b))
			q, err := dcap.ParseQuote(b)
			if (q == nil) != (err != nil) || !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v: %s", err, tt.want, tt.text)
			}
			if err == nil {
				checkEncode(t, q, b)
			}
		})
	}
}

// TestParseQuoteTruncated cuts captured quotes off at each length.
func TestParseQuoteTruncated(t *testing.T) {
	t.Parallel()
	for _, name := range []string{oasisSGX.quote, oasisTDX.quote, gtg5.quote} {
		b := vector(t, name)
		for n := range b {
			if q, err := dcap.ParseQuote(b[:n]); q != nil || !errors.Is(err, dcap.ErrQuote) {
				t.Fatalf("%s: %d bytes: %v", name, n, err)
			}
		}
	}
}

// TestParseQuoteForms decodes forms that no capture has.
func TestParseQuoteForms(t *testing.T) {
	t.Parallel()
	for name, q := range samples() {
		b := q.Encode()
		got, err := dcap.ParseQuote(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkEncode(t, got, b)
		if got.TEE() != q.TEE() || got.Version != q.Version || got.BodyType != q.BodyType || got.UserData != q.UserData || !bytes.Equal(got.AuthData, q.AuthData) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	q := samples()["v3"]
	q.PCKChain = nil
	got, err := dcap.ParseQuote(q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.PCKCertificates(); !errors.Is(err, dcap.ErrCertData) {
		t.Errorf("no chain: %v", err)
	}
}

// samples returns a quote of each form, with a different byte in each field.
func samples() map[string]*dcap.Quote {
	n := byte(0)
	fill := func(b []byte) {
		n++
		for i := range b {
			b[i] = n
		}
	}
	enclave := func() *dcap.EnclaveReport {
		r := &dcap.EnclaveReport{MiscSelect: 1, ISVProdID: 0x102, ISVSVN: 0x304, ConfigSVN: 0x506, Attributes: dcap.SGXAttributes{5, 8: 3}}
		for _, f := range [][]byte{r.CPUSVN[:], r.ISVExtProdID[:], r.MREnclave[:], r.MRSigner[:], r.ConfigID[:], r.ISVFamilyID[:], r.ReportData[:]} {
			fill(f)
		}
		return r
	}
	domain := func(td15 bool) *dcap.TDReport {
		r := &dcap.TDReport{Attributes: 1 << 28, XFAM: 0xE7}
		for _, f := range [][]byte{r.TEETCBSVN[:], r.MRSEAM[:], r.MRSignerSEAM[:], r.SEAMAttributes[:], r.MRTD[:], r.MRConfigID[:], r.MROwner[:], r.MROwnerConfig[:],
			r.RTMR[0][:], r.RTMR[1][:], r.RTMR[2][:], r.RTMR[3][:], r.ReportData[:]} {
			fill(f)
		}
		if td15 {
			fill(r.TEETCBSVN2[:])
			fill(r.MRServiceTD[:])
		}
		return r
	}
	all := make(map[string]*dcap.Quote)
	for _, form := range []struct {
		name    string
		version uint16
		body    dcap.BodyType
		auth    int
	}{{"v3", 3, dcap.BodySGX, 32}, {"v4sgx", 4, dcap.BodySGX, 0}, {"v4", 4, dcap.BodyTD10, 32}, {"v5sgx", 5, dcap.BodySGX, 32}, {"v5td10", 5, dcap.BodyTD10, 1}, {"v5td15", 5, dcap.BodyTD15, 32}} {
		q := &dcap.Quote{Version: form.version, BodyType: form.body, QEReport: *enclave(), AuthData: make([]byte, form.auth), PCKChain: []byte("chain")}
		if form.version == 3 {
			q.QESVN, q.PCESVN = 0x708, 0x90A
		}
		for _, f := range [][]byte{q.UserData[:], q.Signature[:], q.AttestationKey[:], q.QESignature[:], q.AuthData} {
			fill(f)
		}
		if form.body == dcap.BodySGX {
			q.SGX = enclave()
		} else {
			q.TD = domain(form.body == dcap.BodyTD15)
		}
		all[form.name] = q
	}
	return all
}

// TestAttributes reads each bit of attributes.
func TestAttributes(t *testing.T) {
	t.Parallel()
	for bit := range 64 {
		a := dcap.TDAttributes(1) << bit
		reserved := !bytes.Contains([]byte{0, 4, 5, 6, 16, 27, 28, 29, 30, 31, 62, 63}, []byte{byte(bit)})
		got := []bool{a.Debug(), a.LASS(), a.SeptVEDisable(), a.Migratable(), a.PKS(), a.KL(), a.Perfmon(), a.Reserved() == a}
		want := []bool{bit < 8, bit == 27, bit == 28, bit == 29, bit == 30, bit == 31, bit == 63, reserved}
		if fmt.Sprint(got) != fmt.Sprint(want) || a.Reserved()&^a != 0 {
			t.Errorf("TD bit %d: %v, want %v", bit, got, want)
		}

		var s dcap.SGXAttributes
		binary.LittleEndian.PutUint64(s[:], 1<<bit)
		reserved = !bytes.Contains([]byte{0, 1, 2, 4, 5, 6, 7, 10}, []byte{byte(bit)})
		got = []bool{s.Init(), s.Debug(), s.Mode64(), s.ProvisionKey(), s.EINITTokenKey(), s.CET(), s.KSS(), s.AEXNotify(), s.Reserved() == 1<<bit}
		want = []bool{bit == 0, bit == 1, bit == 2, bit == 4, bit == 5, bit == 6, bit == 7, bit == 10, reserved}
		if fmt.Sprint(got) != fmt.Sprint(want) || s.Flags() != 1<<bit {
			t.Errorf("SGX bit %d: %v, want %v", bit, got, want)
		}
	}
}

// TestZeroClaims checks that claims of nothing look bad.
func TestZeroClaims(t *testing.T) {
	t.Parallel()
	var c dcap.Claims
	if !c.Debug() || c.ReportData() != [64]byte{} {
		t.Errorf("debug %v, report data %x", c.Debug(), c.ReportData())
	}
}
