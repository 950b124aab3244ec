package dcap

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// MaxQuoteSize is how many bytes a quote may have, with its padding.
const MaxQuoteSize = 64 << 10

// A TEE is one of Intel's two.
type TEE string

// The TEEs that make quotes.
const (
	SGX TEE = "SGX"
	TDX TEE = "TDX"
)

// A BodyType says what a quote is about. Quotes of version 5 have it in so many
// words, earlier ones by their TEE type.
type BodyType uint16

// The types of body.
const (
	BodySGX  BodyType = 1 // an enclave
	BodyTD10 BodyType = 2 // a trust domain, as TDX 1.0 reports it
	BodyTD15 BodyType = 3 // a trust domain, as TDX 1.5 reports it
)

func (t BodyType) size() int {
	switch t {
	case BodySGX:
		return enclaveReportSize
	case BodyTD10:
		return td10ReportSize
	case BodyTD15:
		return td15ReportSize
	}
	return 0
}

// Values in quotes.
const (
	headerSize = 48

	keyTypeP256 = 2 // ECDSA-256-with-P-256: the only one defined
	teeTypeSGX  = 0
	teeTypeTDX  = 0x81

	certTypePCKChain = 5 // PEM, of which the first is the PCK
	certTypeQEReport = 6 // the QE's report with its own certification data
)

// intelVendor is the ID of Intel as the maker of a quoting enclave. Others have
// no published identity to hold them to.
const intelVendor = "939a7233f79c4ca9940a0db3957f0607"

// A Quote is a DCAP quote for an SGX enclave or a TDX trust domain (SGX ECDSA
// quoting library API, appendix A; TDX DCAP quoting library API, appendix A).
// Nothing in it is proven before Verify.
type Quote struct {
	Version  uint16 // 3 to 5
	BodyType BodyType
	QESVN    uint16 // only in version 3
	PCESVN   uint16 // only in version 3
	UserData [20]byte

	SGX *EnclaveReport // of BodySGX
	TD  *TDReport      // of BodyTD10 and BodyTD15

	Signature      [64]byte // R and S, big-endian, by AttestationKey over Signed
	AttestationKey [64]byte // X and Y, big-endian, on P-256

	QEReport    EnclaveReport // of the quoting enclave, whose report data binds AttestationKey
	QESignature [64]byte      // R and S, big-endian, by the PCK over QEReport
	AuthData    []byte        // what the quoting enclave binds besides
	PCKChain    []byte        // PEM: the PCK certificate and its issuers
}

// TEE returns what made the quote.
func (q *Quote) TEE() TEE {
	if q.BodyType == BodySGX {
		return SGX
	}
	return TDX
}

// ParseQuote decodes a quote of version 3, 4 or 5 with an ECDSA P-256 key of
// Intel's quoting enclave and a PCK chain in it.
//
// A quote is exactly as long as its lengths say, inside and outside. Behind it
// zero bytes are accepted, and are no part of it: quoting stacks hand out buffers
// of a fixed size. Any other byte behind it is an error. Quote and padding
// together may have MaxQuoteSize bytes.
//
// Reserved fields must be zero, so that Encode gives the same bytes back. A quote
// that names its PCK only by an ID wraps ErrCertData.
func ParseQuote(b []byte) (*Quote, error) {
	q, _, err := parseQuote(b)
	return q, err
}

// parseQuote also returns the bytes that the attestation key has signed.
func parseQuote(b []byte) (*Quote, []byte, error) {
	if len(b) > MaxQuoteSize {
		return nil, nil, fmt.Errorf("%w: %d bytes, must be at most %d", ErrQuote, len(b), MaxQuoteSize)
	}
	r := &reader{rest: b}
	q := new(Quote)
	q.parseHeader(r)
	q.parseBody(r)
	signed := b[:len(b)-len(r.rest)]
	sig := &reader{rest: r.sized32("signature data"), err: r.err}
	if q.Version == 3 {
		q.parseSignatureV3(sig)
	} else {
		q.parseSignatureV4(sig)
	}
	if sig.err != nil {
		return nil, nil, sig.err
	}
	if !zero(r.rest) {
		return nil, nil, fmt.Errorf("%w: %d bytes behind its end that are not all zero", ErrQuote, len(r.rest))
	}
	return q, signed, nil
}

func (q *Quote) parseHeader(r *reader) {
	h := r.take(headerSize, "header")
	if r.err != nil {
		return
	}
	le := binary.LittleEndian
	q.Version = le.Uint16(h)
	if q.Version < 3 || q.Version > 5 {
		r.fail("version %d, must be 3, 4 or 5", q.Version)
		return
	}
	if t := le.Uint16(h[2:]); t != keyTypeP256 {
		r.fail("attestation key type %d, must be %d (ECDSA P-256)", t, keyTypeP256)
	}
	switch t := le.Uint32(h[4:]); {
	case t == teeTypeSGX:
		q.BodyType = BodySGX
	case t == teeTypeTDX && q.Version >= 4:
		q.BodyType = BodyTD10
	default:
		r.fail("TEE type %#x in version %d, must be 0 (SGX), or %#x (TDX) from version 4", t, q.Version, teeTypeTDX)
	}
	if q.Version == 3 {
		q.QESVN, q.PCESVN = le.Uint16(h[8:]), le.Uint16(h[10:])
	} else if !zero(h[8:12]) {
		r.fail("bytes 8 to 11 are reserved in version %d and must be zero", q.Version)
	}
	if vendor := hex.EncodeToString(h[12:28]); vendor != intelVendor {
		r.fail("QE vendor ID %s, must be Intel's %s", vendor, intelVendor)
	}
	q.UserData = [20]byte(h[28:])
}

func (q *Quote) parseBody(r *reader) {
	if r.err != nil {
		return
	}
	if q.Version == 5 {
		tee, t := q.TEE(), BodyType(r.uint16("body type"))
		size := r.uint32("body size")
		q.BodyType = t
		switch {
		case r.err != nil:
			return
		case t.size() == 0:
			r.fail("body type %d, must be 1 (SGX), 2 (TD 1.0) or 3 (TD 1.5)", t)
		case q.TEE() != tee:
			r.fail("body type %d, which is not for the header's TEE type, %s", t, tee)
		case uint64(size) != uint64(t.size()):
			r.fail("body of %d bytes, must be %d for body type %d", size, t.size(), t)
		}
	}
	b := r.take(q.BodyType.size(), "body")
	if r.err != nil {
		return
	}
	if q.TEE() == TDX {
		q.TD = parseTDReport(b)
		return
	}
	q.SGX, r.err = parseEnclaveReport(b, "enclave report")
}

// parseSignatureV3 decodes all of the signature data of version 3.
func (q *Quote) parseSignatureV3(r *reader) {
	q.Signature = r.bytes64("signature")
	q.AttestationKey = r.bytes64("attestation key")
	q.parseQE(r)
}

// parseSignatureV4 decodes all of the signature data of versions 4 and 5, where
// what speaks of the quoting enclave is wrapped once more.
func (q *Quote) parseSignatureV4(r *reader) {
	q.Signature = r.bytes64("signature")
	q.AttestationKey = r.bytes64("attestation key")
	if t := r.uint16("certification data type"); t != certTypeQEReport {
		r.fail("certification data type %d, must be %d (QE report) in version %d", t, certTypeQEReport, q.Version)
	}
	inner := &reader{rest: r.sized32("certification data"), err: r.err}
	q.parseQE(inner)
	r.err = inner.err
	r.end("certification data")
}

func (q *Quote) parseQE(r *reader) {
	report := r.take(enclaveReportSize, "QE report")
	q.QESignature = r.bytes64("QE report signature")
	q.AuthData = bytes.Clone(r.take(int(r.uint16("QE authentication data size")), "QE authentication data"))
	t := r.uint16("certification data type")
	chain := r.sized32("certification data")
	r.end("signature data")
	if r.err != nil {
		return
	}
	switch {
	case t >= 1 && t <= 3:
		r.err = fmt.Errorf("%w: certification data type %d has only an ID of the platform and can't be verified offline: no PCK chain", ErrCertData, t)
		return
	case t != certTypePCKChain:
		r.err = fmt.Errorf("%w: certification data type %d, must be %d (PCK chain)", ErrCertData, t, certTypePCKChain)
		return
	}
	q.PCKChain = bytes.Clone(chain)
	qe, err := parseEnclaveReport(report, "QE report")
	if err != nil {
		r.err = err
		return
	}
	q.QEReport = *qe
}

// Signed returns what the quote's signature is over: header and body.
func (q *Quote) Signed() []byte {
	le := binary.LittleEndian
	b := make([]byte, headerSize, headerSize+6+td15ReportSize)
	le.PutUint16(b, q.Version)
	le.PutUint16(b[2:], keyTypeP256)
	if q.TEE() == TDX {
		le.PutUint32(b[4:], teeTypeTDX)
	}
	le.PutUint16(b[8:], q.QESVN)
	le.PutUint16(b[10:], q.PCESVN)
	vendor, _ := hex.DecodeString(intelVendor)
	copy(b[12:], vendor)
	copy(b[28:], q.UserData[:])
	if q.Version >= 5 {
		b = le.AppendUint16(b, uint16(q.BodyType))
		b = le.AppendUint32(b, uint32(q.BodyType.size()))
	}
	switch {
	case q.BodyType == BodySGX && q.SGX != nil:
		b = append(b, q.SGX.Encode()...)
	case q.BodyType != BodySGX && q.TD != nil:
		b = append(b, q.TD.encode(q.BodyType == BodyTD15)...)
	}
	return b
}

// Encode returns the quote in the form that ParseQuote reads, without padding. It
// does not check that the fields are in range.
func (q *Quote) Encode() []byte {
	le := binary.LittleEndian
	qe := append(q.QEReport.Encode(), q.QESignature[:]...)
	qe = le.AppendUint16(qe, uint16(len(q.AuthData)))
	qe = append(qe, q.AuthData...)
	qe = le.AppendUint16(qe, certTypePCKChain)
	qe = le.AppendUint32(qe, uint32(len(q.PCKChain)))
	qe = append(qe, q.PCKChain...)

	sig := append(q.Signature[:len(q.Signature):len(q.Signature)], q.AttestationKey[:]...)
	if q.Version >= 4 {
		sig = le.AppendUint16(sig, certTypeQEReport)
		sig = le.AppendUint32(sig, uint32(len(qe)))
	}
	sig = append(sig, qe...)
	b := le.AppendUint32(q.Signed(), uint32(len(sig)))
	return append(b, sig...)
}

// A reader takes fields off the front of rest. The first error sticks, and makes
// all that follow zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrQuote}, args...)...)
	}
}

func (r *reader) take(n int, name string) []byte {
	if r.err == nil && n > len(r.rest) {
		r.fail("%s needs %d bytes, %d are left", name, n, len(r.rest))
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint16(name string) uint16 {
	if b := r.take(2, name); r.err == nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32(name string) uint32 {
	if b := r.take(4, name); r.err == nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) bytes64(name string) (out [64]byte) {
	copy(out[:], r.take(64, name))
	return out
}

// sized32 takes what a length of 32 bits in front of it says.
func (r *reader) sized32(name string) []byte {
	n := r.uint32(name + " size")
	if n > MaxQuoteSize {
		r.fail("%s of %d bytes, must be at most %d", name, n, MaxQuoteSize)
		return nil
	}
	return r.take(int(n), name)
}

// end fails if something is left.
func (r *reader) end(name string) {
	if len(r.rest) > 0 {
		r.fail("%d bytes too many in the %s", len(r.rest), name)
	}
}
