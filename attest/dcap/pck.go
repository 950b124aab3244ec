package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// A Flag is a yes or no that may not be known.
type Flag uint8

// The values of a Flag.
const (
	Unknown Flag = iota
	No
	Yes
)

func (f Flag) String() string {
	switch f {
	case No:
		return "no"
	case Yes:
		return "yes"
	}
	return "unknown"
}

// A PCK is what Intel says in a PCK certificate about a platform (SGX PCK
// certificate and CRL profile specification, 1.3.5).
type PCK struct {
	PlatformCA bool // issued by the PCK Platform CA; if not, by the Processor CA
	PPID       [16]byte
	FMSPC      [6]byte
	PCEID      [2]byte
	Components [16]uint8 // the SVNs of the TCB's components
	PCESVN     uint16
	CPUSVN     [16]byte
	SGXType    uint8 // 0 standard, 1 scalable, 2 scalable with integrity

	// Only the Platform CA says these.
	PlatformInstanceID [16]byte
	DynamicPlatform    Flag // packages can be added to it
	CachedKeys         Flag // Intel keeps its root keys
	SMT                Flag // simultaneous multithreading is on
}

// ParsePCK reads a PCK certificate: that it has the SGX extension once, with
// everything that its issuer puts there and nothing else. It does not verify who
// signed the certificate.
func ParsePCK(cert *x509.Certificate) (*PCK, error) {
	issuer := cert.Issuer.CommonName
	if issuer != platformCAName && issuer != processorCAName {
		return nil, fmt.Errorf("%w: issued by %q, must be %q or %q", ErrPCK, issuer, processorCAName, platformCAName)
	}
	var value []byte
	for _, ext := range cert.Extensions {
		if ext.Id.String() != sgxExtension {
			continue
		}
		if value != nil {
			return nil, fmt.Errorf("%w: the SGX extension is there twice", ErrPCK)
		}
		value = ext.Value
	}
	if value == nil {
		return nil, fmt.Errorf("%w: the SGX extension is missing", ErrPCK)
	}
	pck, err := parseSGXExtension(value, issuer == platformCAName)
	if err != nil {
		return nil, fmt.Errorf("%w: SGX extension: %w", ErrPCK, err)
	}
	return pck, nil
}

// sgxExtension is the OID that all of the extension's parts begin with, and
// sgxArc the contents of its DER.
const (
	sgxExtension = "1.2.840.113741.1.13.1"
	sgxArc       = "\x2A\x86\x48\x86\xF8\x4D\x01\x0D\x01"
)

// parseSGXExtension reads the extension's value: a sequence of pairs of OID and
// value, of which the TCB and the configuration are such sequences again.
func parseSGXExtension(value []byte, platform bool) (*PCK, error) {
	p := &PCK{PlatformCA: platform}
	seq, rest, err := parseElement(value)
	if err != nil {
		return nil, err
	}
	if seq.tag != tagSequence || len(rest) != 0 {
		return nil, errors.New("must be one SEQUENCE")
	}
	all, err := parsePairs(seq.body, "", 7)
	if err != nil {
		return nil, err
	}
	x := &pairs{all: all}
	copy(p.PPID[:], x.octets(1, 16))
	tcb := x.nested(2, 18)
	copy(p.PCEID[:], x.octets(3, 2))
	copy(p.FMSPC[:], x.octets(4, 6))
	p.SGXType = uint8(x.number(5, asn1.TagEnum, 2))
	if platform {
		copy(p.PlatformInstanceID[:], x.octets(6, 16))
		conf := x.nested(7, 3)
		for i, f := range []*Flag{&p.DynamicPlatform, &p.CachedKeys, &p.SMT} {
			*f = conf.flag(i + 1)
		}
		x.finish(conf)
	}
	for i := range p.Components {
		p.Components[i] = uint8(tcb.number(i+1, asn1.TagInteger, 0xFF))
	}
	p.PCESVN = uint16(tcb.number(17, asn1.TagInteger, 0xFFFF))
	copy(p.CPUSVN[:], tcb.octets(18, 16))
	x.finish(tcb)
	x.finish(x)
	if x.err != nil {
		return nil, x.err
	}
	return p, nil
}

// element is a DER element.
type element struct {
	tag  byte
	body []byte
}

// pairs is a sequence of pairs by the last arc of the OID, with a tag of 0 where
// there is none. The first error sticks.
type pairs struct {
	name string // the arc that the sequence stands under
	all  []element
	err  error
}

// tagSequence is that of SEQUENCE, which is constructed.
const tagSequence = asn1.TagSequence | 0x20

// parseElement reads one DER element with a tag of one byte and at most 65,535
// bytes.
func parseElement(b []byte) (element, []byte, error) {
	if len(b) < 2 || b[0]&0x1F == 0x1F || b[0] == 0 {
		return element{}, nil, errors.New("not DER: no element")
	}
	n, start := int(b[1]), 2
	switch {
	case n == 0x81 && len(b) > 2 && b[2] >= 0x80:
		n, start = int(b[2]), 3
	case n == 0x82 && len(b) > 3 && b[2] > 0:
		n, start = int(b[2])<<8|int(b[3]), 4
	case n >= 0x80:
		return element{}, nil, errors.New("not DER: length not minimal, or too long")
	}
	if n > len(b)-start {
		return element{}, nil, errors.New("not DER: cut off")
	}
	return element{tag: b[0], body: b[start : start+n]}, b[start+n:], nil
}

// parsePairs reads the contents of a sequence of pairs whose OIDs are sgxArc,
// under, and one number from 1 to last, each at most once.
func parsePairs(rest []byte, under string, last int) ([]element, error) {
	all := make([]element, last+1)
	for len(rest) > 0 {
		pair, after, err := parseElement(rest)
		if err != nil {
			return nil, err
		}
		rest = after
		oid, tail, err := parseElement(pair.body)
		if err != nil {
			return nil, err
		}
		v, tail, err := parseElement(tail)
		if err != nil {
			return nil, err
		}
		if pair.tag != tagSequence || oid.tag != asn1.TagOID || len(tail) != 0 {
			return nil, errors.New("must be pairs of OID and value")
		}
		arc, ok := bytes.CutPrefix(oid.body, []byte(sgxArc+under))
		if !ok || len(arc) != 1 || arc[0] < 1 || int(arc[0]) > last {
			return nil, fmt.Errorf("OID %x does not belong there", oid.body)
		}
		if all[arc[0]].tag != 0 {
			return nil, fmt.Errorf("OID %x is there twice", oid.body)
		}
		all[arc[0]] = v
	}
	return all, nil
}

// take returns a pair's value, with an error if it must be there and is not.
func (x *pairs) take(i int, must bool) (element, bool) {
	if x.err != nil || i >= len(x.all) {
		return element{}, false
	}
	e := x.all[i]
	x.all[i] = element{}
	if e.tag == 0 && must {
		x.err = fmt.Errorf("%s%s.%d is missing", sgxExtension, x.name, i)
	}
	return e, x.err == nil && e.tag != 0
}

func (x *pairs) octets(i, size int) []byte {
	e, ok := x.take(i, true)
	if ok && (e.tag != asn1.TagOctetString || len(e.body) != size) {
		x.err = fmt.Errorf("%s%s.%d must be an OCTET STRING of %d bytes", sgxExtension, x.name, i, size)
	}
	return e.body
}

func (x *pairs) number(i int, tag byte, limit int) int {
	e, ok := x.take(i, true)
	if !ok {
		return 0
	}
	n := 0
	for _, b := range e.body[:min(len(e.body), 4)] {
		n = n<<8 | int(b)
	}
	minimal := len(e.body) == 1 || len(e.body) > 1 && (e.body[0] != 0 || e.body[1]&0x80 != 0)
	if e.tag != tag || len(e.body) > 3 || !minimal || e.body[0]&0x80 != 0 || n > limit {
		x.err = fmt.Errorf("%s%s.%d is %x with the tag %d, must be a number of 0 to %d with the tag %d", sgxExtension, x.name, i, e.body, e.tag, limit, tag)
		return 0
	}
	return n
}

// flag reads a BOOLEAN that need not be there.
func (x *pairs) flag(i int) Flag {
	e, ok := x.take(i, false)
	switch {
	case !ok:
		return Unknown
	case e.tag == asn1.TagBoolean && len(e.body) == 1 && e.body[0] == 0:
		return No
	case e.tag == asn1.TagBoolean && len(e.body) == 1 && e.body[0] == 0xFF:
		return Yes
	}
	x.err = fmt.Errorf("%s%s.%d must be a BOOLEAN", sgxExtension, x.name, i)
	return Unknown
}

// nested reads the pairs that a pair has as its value.
func (x *pairs) nested(i, last int) *pairs {
	e, ok := x.take(i, true)
	inner := &pairs{name: fmt.Sprintf("%s.%d", x.name, i), err: x.err}
	if !ok {
		return inner
	}
	if e.tag != tagSequence {
		inner.err = fmt.Errorf("%s%s must be a SEQUENCE", sgxExtension, inner.name)
		return inner
	}
	inner.all, inner.err = parsePairs(e.body, string(rune(i)), last)
	return inner
}

// finish takes over an inner error, or fails if inner has something that was not
// taken.
func (x *pairs) finish(inner *pairs) {
	if inner.err == nil {
		for i, e := range inner.all {
			if e.tag != 0 {
				inner.err = fmt.Errorf("%s%s.%d does not belong there", sgxExtension, inner.name, i)
				break
			}
		}
	}
	if x.err == nil {
		x.err = inner.err
	}
}
