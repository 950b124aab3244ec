// Package cose verifies COSE_Sign1 messages (RFC 9052, section 4.2) with ECDSA
// (RFC 9053, section 2.1), for tokens and documents in this form.
//
// The caller says which algorithm it must be and with which key; nothing is
// taken from a message but what is compared. Nothing here signs.
package cose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	_ "crypto/sha256" // of ES256
	_ "crypto/sha512" // of ES384 and ES512
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// Errors of messages.
var (
	// ErrMessage is wrapped if bytes are not a COSE_Sign1 as wanted.
	ErrMessage = errors.New("malformed COSE_Sign1")
	// ErrAlgorithm is wrapped if a message names another algorithm than the
	// caller demands.
	ErrAlgorithm = errors.New("COSE algorithm not the one demanded")
	// ErrSignature is wrapped if a signature is wrong.
	ErrSignature = errors.New("COSE signature wrong")
)

// MaxSize is the most bytes that a message may have.
const MaxSize = 64 << 10

// An Algorithm is an ECDSA algorithm (RFC 9053, table 1), and fixes the curve:
// each of them goes with one.
type Algorithm int64

// The algorithms.
const (
	ES256 Algorithm = -7  // P-256 with SHA-256
	ES384 Algorithm = -35 // P-384 with SHA-384
	ES512 Algorithm = -36 // P-521 with SHA-512
)

// String returns the algorithm's name.
func (a Algorithm) String() string {
	switch a {
	case ES256:
		return "ES256"
	case ES384:
		return "ES384"
	case ES512:
		return "ES512"
	}
	return fmt.Sprintf("COSE algorithm %d", int64(a))
}

func (a Algorithm) parts() (elliptic.Curve, crypto.Hash) {
	switch a {
	case ES256:
		return elliptic.P256(), crypto.SHA256
	case ES384:
		return elliptic.P384(), crypto.SHA384
	case ES512:
		return elliptic.P521(), crypto.SHA512
	}
	return nil, 0
}

// ForKey returns the algorithm that goes with key, or 0 if there is none.
func ForKey(key *ecdsa.PublicKey) Algorithm {
	for _, a := range []Algorithm{ES256, ES384, ES512} {
		if curve, _ := a.parts(); key != nil && key.Curve == curve {
			return a
		}
	}
	return 0
}

// A Form says whether a message has the CBOR tag of COSE_Sign1.
type Form int

// The forms. The zero value is none of them.
const (
	Tagged   Form = iota + 1 // with tag 18
	Untagged                 // without
	Either                   // with or without
)

const tagByte = 0xC0 | 18 // tag 18 in its shortest form

// The header parameters that are read (RFC 9052, section 3.1).
const (
	labelAlg  = int64(1)
	labelCrit = int64(2)
)

// A Sign1 is a COSE_Sign1 message that nobody has verified.
type Sign1 struct {
	// Algorithm is what the protected header says.
	Algorithm Algorithm
	// Extra is set if there are header parameters beside the algorithm. They
	// are not read; none of them is critical.
	Extra bool
	// Payload is what is signed, at least one byte.
	Payload []byte

	protected, signature []byte // raw
}

// Parse reads exactly one message. Its payload must be in it, its protected
// header a map that names an algorithm, and its signature a byte string of 64,
// 96 or 132 bytes. A critical header parameter is refused in either header, and
// an algorithm in the unprotected one.
func Parse(b []byte, form Form) (*Sign1, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrMessage, len(b), MaxSize)
	}
	tagged := len(b) > 0 && b[0] == tagByte
	switch {
	case form != Tagged && form != Untagged && form != Either:
		return nil, fmt.Errorf("%w: the caller must say which form it has", ErrMessage)
	case tagged && form == Untagged:
		return nil, fmt.Errorf("%w: has tag 18, must have none", ErrMessage)
	case !tagged && form == Tagged:
		return nil, fmt.Errorf("%w: must have tag 18", ErrMessage)
	}
	if tagged {
		b = b[1:]
	}
	var parts []Raw
	if err := Decode(b, &parts); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if len(parts) != 4 {
		return nil, fmt.Errorf("%w: an array of %d, must be of 4", ErrMessage, len(parts))
	}
	m := new(Sign1)
	var err error
	for i, part := range []struct {
		name string
		out  *[]byte
	}{{"protected header", &m.protected}, {}, {"payload", &m.Payload}, {"signature", &m.signature}} {
		if part.out == nil {
			continue
		}
		if *part.out, err = Bytes(parts[i]); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMessage, part.name, err)
		}
	}
	switch len(m.signature) {
	case 64, 96, 132:
	default:
		return nil, fmt.Errorf("%w: signature of %d bytes, must be 64, 96 or 132", ErrMessage, len(m.signature))
	}
	if len(m.Payload) == 0 {
		return nil, fmt.Errorf("%w: empty payload", ErrMessage)
	}
	if err := m.readHeaders(parts[1]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return m, nil
}

func (m *Sign1) readHeaders(rawUnprotected Raw) error {
	var protected, unprotected map[any]Raw
	if err := Decode(m.protected, &protected); err != nil {
		return fmt.Errorf("protected header: %w", err)
	}
	if err := Decode(rawUnprotected, &unprotected); err != nil {
		return fmt.Errorf("unprotected header: %w", err)
	}
	// Decode takes null for an empty map.
	if protected == nil || unprotected == nil {
		return errors.New("a header is null, must be a map")
	}
	for _, header := range []map[any]Raw{protected, unprotected} {
		if _, ok := header[labelCrit]; ok {
			return errors.New("critical header parameters, must be none")
		}
		for label := range header {
			switch label.(type) {
			case int64, string:
			default:
				return fmt.Errorf("a header label of type %T, must be an integer or text", label)
			}
		}
	}
	if _, ok := unprotected[labelAlg]; ok {
		return errors.New("an algorithm in the unprotected header, must be in the protected one alone")
	}
	alg, ok := protected[labelAlg]
	if !ok {
		return errors.New("no algorithm in the protected header")
	}
	var value any
	if err := Decode(alg, &value); err != nil {
		return err
	}
	n, ok := value.(int64)
	if !ok {
		return errors.New("the algorithm must be an integer")
	}
	m.Algorithm = Algorithm(n)
	m.Extra = len(protected) > 1 || len(unprotected) > 0
	return nil
}

// Verify checks that m names alg and that key signed it, without external data.
func (m *Sign1) Verify(key *ecdsa.PublicKey, alg Algorithm) error {
	if m.Algorithm != alg {
		return fmt.Errorf("%w: it is %v, must be %v", ErrAlgorithm, m.Algorithm, alg)
	}
	curve, hash := alg.parts()
	if curve == nil || key == nil || key.Curve != curve {
		return fmt.Errorf("%w: the key is not one for %v", ErrAlgorithm, alg)
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(m.signature) != 2*size {
		return fmt.Errorf("%w: %d bytes, must be %d for %v", ErrSignature, len(m.signature), 2*size, alg)
	}
	r, s := new(big.Int).SetBytes(m.signature[:size]), new(big.Int).SetBytes(m.signature[size:])
	h := hash.New()
	h.Write(m.structure())
	if !ecdsa.Verify(key, h.Sum(nil), r, s) { // also refuses R and S that are zero or too large
		return fmt.Errorf("%w: not made by this key over this message", ErrSignature)
	}
	return nil
}

// structure returns what is signed: the Sig_structure (RFC 9052, section 4.4) of
// the raw protected header and payload.
func (m *Sign1) structure() []byte {
	b := []byte("\x84\x6ASignature1") // an array of 4, a text string of 10
	b = appendBytes(b, m.protected)
	b = appendBytes(b, nil)
	return appendBytes(b, m.Payload)
}

// appendBytes appends a byte string of at most MaxSize bytes.
func appendBytes(b, data []byte) []byte {
	const head = majorBytes << 5
	switch n := len(data); {
	case n < 24:
		b = append(b, head|byte(n))
	case n < 1<<8:
		b = append(b, head|24, byte(n))
	default:
		if n < 1<<16 {
			b = binary.BigEndian.AppendUint16(append(b, head|25), uint16(n))
		} else {
			b = binary.BigEndian.AppendUint32(append(b, head|26), uint32(n))
		}
	}
	return append(b, data...)
}
