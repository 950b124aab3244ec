package tpm

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"fmt"
	"slices"
)

// Constants of the TPM 2.0 library specification, part 2.
const (
	magic     = 0xFF544347 // TPM_GENERATED_VALUE, section 6.2
	typeQuote = 0x8018     // TPM_ST_ATTEST_QUOTE, section 6.9
	maxExtra  = 64         // bytes of the qualifying data
	maxBanks  = 8
	maxSelect = 4 // bytes of a selection: PCRs 0 to 31
	handle    = 4 // bytes of a name that is a handle
)

// A Bank is the hash of a bank of PCRs, or of names and signatures: a TPM_ALG_ID
// (section 6.3).
type Bank uint16

// The banks.
const (
	SHA1   Bank = 0x0004
	SHA256 Bank = 0x000B
	SHA384 Bank = 0x000C
	SHA512 Bank = 0x000D
)

// String returns the hash's name, such as sha256.
func (b Bank) String() string {
	switch b {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	case SHA384:
		return "sha384"
	case SHA512:
		return "sha512"
	}
	return fmt.Sprintf("TPM_ALG_ID %#04x", uint16(b))
}

// Size returns how many bytes a digest has, or 0 if the hash is not known here.
func (b Bank) Size() int {
	switch b {
	case SHA1:
		return 20
	case SHA256:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

// A Selection is PCRs of one bank (TPMS_PCR_SELECTION, section 10.6.2).
type Selection struct {
	Bank Bank
	Bits []byte // 1 to 4 bytes: PCR n is bit n%8 of byte n/8
}

// Indices returns the PCRs selected, ascending.
func (s Selection) Indices() []int {
	var list []int
	for i := range 8 * len(s.Bits) {
		if s.Bits[i/8]>>(i%8)&1 == 1 {
			list = append(list, i)
		}
	}
	return list
}

// A Quote is what a TPM signs over its PCRs (TPMS_ATTEST with TPMS_QUOTE_INFO,
// sections 10.12.12 and 10.12.4). All fields are there; none is verified.
type Quote struct {
	QualifiedSigner []byte // name of the key and its parents: 2 bytes of hash algorithm and a digest
	ExtraData       []byte // what the caller wanted to be in it: at most 64 bytes
	Clock           uint64 // milliseconds that the TPM was powered, since it was last cleared
	ResetCount      uint32 // TPM resets, since it was last cleared
	RestartCount    uint32 // TPM restarts and resumes, since the last reset
	Safe            bool   // no greater Clock was ever reported
	FirmwareVersion uint64 // as the vendor counts
	Selections      []Selection
	PCRDigest       []byte // hash of the PCRs selected, one after the other
}

// ParseQuote reads exactly one quote. Each bank may be selected once, at least
// one PCR must be.
func ParseQuote(b []byte) (*Quote, error) {
	q := new(Quote)
	r := &reader{rest: b}
	if m := r.uint32(); r.err == nil && m != magic {
		r.fail("magic is %#08x, must be %#08x: not made by a TPM", m, uint32(magic))
	}
	if t := r.uint16(); r.err == nil && t != typeQuote {
		r.fail("type is %#04x, must be %#04x, a quote", t, typeQuote)
	}
	q.QualifiedSigner = r.sized("qualified signer", 2+SHA512.Size())
	r.checkName(q.QualifiedSigner)
	q.ExtraData = r.sized("extra data", maxExtra)
	q.Clock, q.ResetCount, q.RestartCount = r.uint64(), r.uint32(), r.uint32()
	safe := r.uint8()
	if r.err == nil && safe > 1 {
		r.fail("safe is %d, must be 0 or 1", safe)
	}
	q.Safe = safe == 1
	q.FirmwareVersion = r.uint64()
	q.Selections = r.selections()
	q.PCRDigest = r.sized("PCR digest", SHA512.Size())
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrQuote, err)
	}
	return q, nil
}

func (r *reader) checkName(name []byte) {
	if r.err != nil || len(name) == handle {
		return
	}
	if len(name) < 2 || Bank(binary.BigEndian.Uint16(name)).Size() != len(name)-2 || len(name) == 2 {
		r.fail("qualified signer has %d bytes, must be a name: 2 bytes of hash algorithm and a digest of its size", len(name))
	}
}

func (r *reader) selections() []Selection {
	count := r.uint32()
	if r.err == nil && (count == 0 || count > maxBanks) {
		r.fail("%d banks are selected, must be 1 to %d", count, maxBanks)
	}
	var list []Selection
	total := 0
	for i := uint32(0); i < count && r.err == nil; i++ {
		s := Selection{Bank: Bank(r.uint16())}
		if r.err == nil && s.Bank.Size() == 0 {
			r.fail("bank %v is not known", s.Bank)
		}
		if slices.ContainsFunc(list, func(other Selection) bool { return other.Bank == s.Bank }) {
			r.fail("bank %v is selected twice", s.Bank)
		}
		size := int(r.uint8())
		if r.err == nil && (size == 0 || size > maxSelect) {
			r.fail("selection of %d bytes, must have 1 to %d", size, maxSelect)
		}
		s.Bits = r.take(size)
		total += len(s.Indices())
		list = append(list, s)
	}
	if r.err == nil && total == 0 {
		r.fail("no PCR is selected")
	}
	return list
}

// Encode returns the quote as a TPM makes it.
func (q *Quote) Encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = binary.BigEndian.AppendUint16(b, typeQuote)
	b = appendSized(b, q.QualifiedSigner)
	b = appendSized(b, q.ExtraData)
	b = binary.BigEndian.AppendUint64(b, q.Clock)
	b = binary.BigEndian.AppendUint32(b, q.ResetCount)
	b = binary.BigEndian.AppendUint32(b, q.RestartCount)
	safe := byte(0)
	if q.Safe {
		safe = 1
	}
	b = binary.BigEndian.AppendUint64(append(b, safe), q.FirmwareVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(q.Selections)))
	for _, s := range q.Selections {
		b = binary.BigEndian.AppendUint16(b, uint16(s.Bank))
		b = append(append(b, byte(len(s.Bits))), s.Bits...)
	}
	return appendSized(b, q.PCRDigest)
}

func appendSized(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// A Scheme is a signature scheme (TPM_ALG_ID, section 6.3).
type Scheme uint16

// The schemes.
const (
	RSASSA Scheme = 0x0014 // PKCS #1 version 1.5
	RSAPSS Scheme = 0x0016
	ECDSA  Scheme = 0x0018
)

// maxRSA is the most bytes that an RSA signature or key may have.
const maxRSA = 512

// A Signature is a TPM's (TPMT_SIGNATURE, section 11.3.4).
type Signature struct {
	Scheme Scheme
	Hash   Bank   // SHA256 or SHA384
	RSA    []byte // of RSASSA and RSAPSS
	R, S   []byte // of ECDSA: at most 48 bytes each, big endian
}

// ParseSignature reads exactly one signature.
func ParseSignature(b []byte) (*Signature, error) {
	r := &reader{rest: b}
	s := &Signature{Scheme: Scheme(r.uint16()), Hash: Bank(r.uint16())}
	if r.err == nil && s.Hash != SHA256 && s.Hash != SHA384 {
		r.fail("hash is %v, must be sha256 or sha384", s.Hash)
	}
	switch s.Scheme {
	case RSASSA, RSAPSS:
		s.RSA = r.sized("RSA signature", maxRSA)
	case ECDSA:
		s.R, s.S = r.sized("R", 48), r.sized("S", 48)
	default:
		r.fail("scheme is %#04x, must be RSASSA, RSAPSS or ECDSA", uint16(s.Scheme))
	}
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("%w: signature: %w", ErrQuote, err)
	}
	return s, nil
}

// Encode returns the signature as a TPM makes it.
func (s *Signature) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(s.Scheme))
	b = binary.BigEndian.AppendUint16(b, uint16(s.Hash))
	if s.Scheme == ECDSA {
		return appendSized(appendSized(b, s.R), s.S)
	}
	return appendSized(b, s.RSA)
}

// digest returns the hash of what was signed.
func (s *Signature) digest(parts ...[]byte) ([]byte, crypto.Hash) {
	hash := crypto.SHA256
	if s.Hash == SHA384 {
		hash = crypto.SHA384
	}
	h := hash.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil), hash
}

// reader reads big-endian fields. The first error sticks.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// take returns the next n bytes, a copy, or nil with an error set.
func (r *reader) take(n int) []byte {
	if r.err == nil && len(r.rest) < n {
		r.fail("%d bytes are left, must be %d", len(r.rest), n)
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return bytes.Clone(b)
}

// number reads n bytes.
func (r *reader) number(n int) uint64 {
	var v uint64
	for _, x := range r.take(n) {
		v = v<<8 | uint64(x)
	}
	return v
}

func (r *reader) uint8() uint8   { return uint8(r.number(1)) }
func (r *reader) uint16() uint16 { return uint16(r.number(2)) }
func (r *reader) uint32() uint32 { return uint32(r.number(4)) }
func (r *reader) uint64() uint64 { return r.number(8) }

// sized reads 2 bytes of length and as many bytes, at most most.
func (r *reader) sized(name string, most int) []byte {
	n := int(r.uint16())
	if r.err == nil && n > most {
		r.fail("%s has %d bytes, at most %d allowed", name, n, most)
	}
	return r.take(n)
}

func (r *reader) finish() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes behind the end", len(r.rest))
	}
	return r.err
}
