package dcap_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/dcap"
)

var sgxOID = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// pair is a pair of OID and value, as DER.
func pair(value any, arcs ...int) []byte {
	return must(asn1.Marshal(struct {
		ID    asn1.ObjectIdentifier
		Value any
	}{append(sgxOID[:len(sgxOID):len(sgxOID)], arcs...), value}))
}

// sequence puts DER into a sequence.
func sequence(parts ...[]byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Join(parts, nil)}))
}

// nested is a pair whose value is a sequence.
func nested(arc int, parts ...[]byte) []byte {
	return pair(asn1.RawValue{FullBytes: sequence(parts...)}, arc)
}

// encodePCK makes the parts of an SGX extension.
func encodePCK(p *dcap.PCK) [][]byte {
	var tcb [][]byte
	for i, svn := range p.Components {
		tcb = append(tcb, pair(int(svn), 2, i+1))
	}
	tcb = append(tcb, pair(int(p.PCESVN), 2, 17), pair(p.CPUSVN[:], 2, 18))
	parts := [][]byte{pair(p.PPID[:], 1), nested(2, tcb...), pair(p.PCEID[:], 3), pair(p.FMSPC[:], 4), pair(asn1.Enumerated(p.SGXType), 5)}
	if !p.PlatformCA {
		return parts
	}
	var configuration [][]byte
	for i, f := range []dcap.Flag{p.DynamicPlatform, p.CachedKeys, p.SMT} {
		if f != dcap.Unknown {
			configuration = append(configuration, pair(f == dcap.Yes, 7, i+1))
		}
	}
	return append(parts, pair(p.PlatformInstanceID[:], 6), nested(7, configuration...))
}

func samplePCK(platform bool) *dcap.PCK {
	p := &dcap.PCK{PPID: [16]byte{1, 2}, FMSPC: [6]byte{3, 4}, PCEID: [2]byte{5}, PCESVN: 0x180, CPUSVN: [16]byte{6}, SGXType: 1}
	for i := range p.Components {
		p.Components[i] = uint8(17 * i)
	}
	if platform {
		p.PlatformCA, p.PlatformInstanceID = true, [16]byte{7}
		p.DynamicPlatform, p.CachedKeys = dcap.Yes, dcap.No
	}
	return p
}

// certificate is as much of one as ParsePCK reads.
func certificate(platform bool, values ...[]byte) *x509.Certificate {
	c := &x509.Certificate{Issuer: pkix.Name{CommonName: "Intel SGX PCK Processor CA"}}
	if platform {
		c.Issuer.CommonName = "Intel SGX PCK Platform CA"
	}
	c.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 15}}}
	for _, v := range values {
		c.Extensions = append(c.Extensions, pkix.Extension{Id: sgxOID, Value: v})
	}
	return c
}

func TestParsePCK(t *testing.T) {
	t.Parallel()
	for _, platform := range []bool{false, true} {
		want := samplePCK(platform)
		got, err := dcap.ParsePCK(certificate(platform, sequence(encodePCK(want)...)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	parts := encodePCK(samplePCK(true))
	full := sequence(parts...)
	without := func(i int) []byte {
		p := append([][]byte{}, parts[:i]...)
		return sequence(append(p, parts[i+1:]...)...)
	}
	replace := func(i int, with []byte) []byte {
		p := append([][]byte{}, parts...)
		p[i] = with
		return sequence(p...)
	}
	tcb := func(change func(tcb [][]byte) [][]byte) []byte {
		var all [][]byte
		for i := range 16 {
			all = append(all, pair(i, 2, i+1))
		}
		return replace(1, nested(2, change(append(all, pair(5, 2, 17), pair(make([]byte, 16), 2, 18)))...))
	}
	raw := func(der ...byte) asn1.RawValue { return asn1.RawValue{FullBytes: der} }
	for _, tt := range []struct {
		name string
		cert *x509.Certificate
		text string
	}{
		{"other issuer", &x509.Certificate{Issuer: pkix.Name{CommonName: "Intel SGX Root CA"}, Extensions: certificate(true, full).Extensions}, `issued by "Intel SGX Root CA"`},
		{"no extension", certificate(true), "the SGX extension is missing"},
		{"two extensions", certificate(true, full, full), "the SGX extension is there twice"},
		{"empty", certificate(true, []byte{}), "no element"},
		{"platform's from the Processor CA", certificate(false, full), ".6 does not belong there"},
		{"processor's from the Platform CA", certificate(true, sequence(encodePCK(samplePCK(false))...)), ".6 is missing"},
		{"a byte behind", certificate(true, append(bytes.Clone(full), 0)), "must be one SEQUENCE"},
		{"a set", certificate(true, append([]byte{0x31}, full[1:]...)), "must be one SEQUENCE"},
		{"indefinite length", certificate(true, append([]byte{0x30, 0x80}, full[4:]...)), "length not minimal"},
		{"length not minimal", certificate(true, append([]byte{0x30, 0x83, 0}, full[2:]...)), "length not minimal"},
		{"no PPID", certificate(true, without(0)), "1.2.840.113741.1.13.1.1 is missing"},
		{"no TCB", certificate(true, without(1)), ".2 is missing"},
		{"no PCE-ID", certificate(true, without(2)), ".3 is missing"},
		{"no FMSPC", certificate(true, without(3)), ".4 is missing"},
		{"no SGX type", certificate(true, without(4)), ".5 is missing"},
		{"no platform instance ID", certificate(true, without(5)), ".6 is missing"},
		{"no configuration", certificate(true, without(6)), ".7 is missing"},
		{"PPID twice", certificate(true, sequence(append(parts, parts[0])...)), "is there twice"},
		{"FMSPC twice", certificate(true, sequence(append(parts, pair(make([]byte, 6), 4))...)), "is there twice"},
		{"unknown", certificate(true, sequence(append(parts, pair(1, 8))...)), "does not belong there"},
		{"unknown below", certificate(true, sequence(append(parts, pair(1, 1, 1))...)), "does not belong there"},
		{"pair of one", certificate(true, replace(0, sequence(must(asn1.Marshal(sgxOID))))), "no element"},
		{"pair of three", certificate(true, replace(0, sequence(pair(1, 1)[2:], []byte{5, 0}))), "must be pairs of OID and value"},
		{"pair as set", certificate(true, replace(0, append([]byte{0x31}, parts[0][1:]...))), "must be pairs of OID and value"},
		{"PPID short", certificate(true, replace(0, pair(make([]byte, 15), 1))), ".1 must be an OCTET STRING of 16 bytes"},
		{"PPID long", certificate(true, replace(0, pair(make([]byte, 17), 1))), ".1 must be an OCTET STRING of 16 bytes"},
		{"PPID as number", certificate(true, replace(0, pair(1, 1))), ".1 must be an OCTET STRING of 16 bytes"},
		{"FMSPC long", certificate(true, replace(3, pair(make([]byte, 7), 4))), ".4 must be an OCTET STRING of 6 bytes"},
		{"PCE-ID short", certificate(true, replace(2, pair(make([]byte, 1), 3))), ".3 must be an OCTET STRING of 2 bytes"},
		{"SGX type 3", certificate(true, replace(4, pair(asn1.Enumerated(3), 5))), ".5 is 03"},
		{"SGX type as INTEGER", certificate(true, replace(4, pair(1, 5))), ".5 is 01 with the tag 2"},
		{"TCB as OCTET STRING", certificate(true, replace(1, pair([]byte{1}, 2))), ".2 must be a SEQUENCE"},
		{"TCB without component 16", certificate(true, tcb(func(all [][]byte) [][]byte { return append(all[:15:15], all[16:]...) })), ".2.16 is missing"},
		{"TCB without PCESVN", certificate(true, tcb(func(all [][]byte) [][]byte { return append(all[:16:16], all[17]) })), ".2.17 is missing"},
		{"TCB without CPUSVN", certificate(true, tcb(func(all [][]byte) [][]byte { return all[:17] })), ".2.18 is missing"},
		{"TCB with component 1 twice", certificate(true, tcb(func(all [][]byte) [][]byte { return append(all, pair(9, 2, 1)) })), "is there twice"},
		{"TCB with more", certificate(true, tcb(func(all [][]byte) [][]byte { return append(all, pair(9, 2, 19)) })), "does not belong there"},
		{"component of another arc", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(9, 7, 1); return all })), "does not belong there"},
		{"component 256", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(256, 2, 1); return all })), ".2.1 is 0100"},
		{"component negative", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(-1, 2, 1); return all })), ".2.1 is ff"},
		{"component not minimal", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(raw(2, 2, 0, 1), 2, 1); return all })), ".2.1 is 0001"},
		{"component empty", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(raw(2, 0), 2, 1); return all })), ".2.1 is  with"},
		{"component as BOOLEAN", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(true, 2, 1); return all })), ".2.1 is ff with the tag 1"},
		{"component long", certificate(true, tcb(func(all [][]byte) [][]byte { all[0] = pair(raw(2, 5, 1, 0, 0, 0, 1), 2, 1); return all })), ".2.1 is 0100000001"},
		{"PCESVN 65536", certificate(true, tcb(func(all [][]byte) [][]byte { all[16] = pair(65536, 2, 17); return all })), ".2.17 is 010000"},
		{"configuration as BOOLEAN", certificate(true, replace(6, pair(true, 7))), ".7 must be a SEQUENCE"},
		{"flag as number", certificate(true, replace(6, nested(7, pair(1, 7, 1)))), ".7.1 must be a BOOLEAN"},
		{"flag of 1", certificate(true, replace(6, nested(7, pair(raw(1, 1, 1), 7, 3)))), ".7.3 must be a BOOLEAN"},
		{"flag twice", certificate(true, replace(6, nested(7, pair(true, 7, 2), pair(false, 7, 2)))), "is there twice"},
		{"fourth flag", certificate(true, replace(6, nested(7, pair(true, 7, 4)))), "does not belong there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := dcap.ParsePCK(tt.cert)
			if p != nil || !errors.Is(err, dcap.ErrPCK) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s", err, tt.text)
			}
		})
	}
}

// TestParsePCKBits flips every bit of a captured extension, and cuts it off at
// each length: nothing that is accepted says the same.
func TestParsePCKBits(t *testing.T) {
	t.Parallel()
	cert := must(must(dcap.ParseQuote(vector(t, phala.quote))).PCKCertificates())[0]
	want := must(dcap.ParsePCK(cert))
	i := 0
	for !cert.Extensions[i].Id.Equal(sgxOID) {
		i++
	}
	value := cert.Extensions[i].Value
	for bit := range 8 * len(value) {
		value[bit/8] ^= 1 << (bit % 8)
		if p, err := dcap.ParsePCK(cert); (p == nil) != (err != nil) || err == nil && reflect.DeepEqual(p, want) {
			t.Errorf("bit %d flipped says the same: %+v, %v", bit, p, err)
		}
		value[bit/8] ^= 1 << (bit % 8)
	}
	for n := range value {
		cert.Extensions[i].Value = value[:n]
		if p, err := dcap.ParsePCK(cert); p != nil || !errors.Is(err, dcap.ErrPCK) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestFlag(t *testing.T) {
	t.Parallel()
	for f, want := range map[dcap.Flag]string{dcap.Unknown: "unknown", dcap.No: "no", dcap.Yes: "yes", 9: "unknown"} {
		if f.String() != want {
			t.Errorf("%d is %q", f, f)
		}
	}
}
