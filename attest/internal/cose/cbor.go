package cose

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// ErrCBOR is wrapped by the errors for CBOR that is not as strict as Decode
// wants it.
var ErrCBOR = errors.New("malformed CBOR")

// A Raw is one CBOR item, as it was encoded.
type Raw = cbor.RawMessage

// The major types that are read here (RFC 8949, section 3.1).
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorOther = 7
)

// Null is the encoding of null.
const Null = 0xF6

// The options are constant, so that an error here is one of every Decode.
var decMode, errDecMode = cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	IndefLength:      cbor.IndefLengthForbidden,
	TagsMd:           cbor.TagsForbidden,
	UTF8:             cbor.UTF8RejectInvalid,
	IntDec:           cbor.IntDecConvertSignedOrFail,
	MaxNestedLevels:  8,
	MaxArrayElements: 256,
	MaxMapPairs:      256,
}.DecMode()

// Decode reads exactly one item into out, a pointer to a Raw, slice or map of
// Raws. Of the core deterministic encoding (RFC 8949, section 4.2.1) it demands
// all that the makers of tokens and documents obey: definite lengths and the
// shortest form of each head. Map keys may be in any order, as all of them write
// theirs in the order of their specification, but none may be there twice. Tags
// and floating-point numbers are refused, and of the simple values all but
// false, true and null. It allocates no more than a small multiple of len(b).
func Decode(b []byte, out any) error {
	if errDecMode != nil {
		return errDecMode
	}
	if err := decMode.Wellformed(b); err != nil {
		return fmt.Errorf("%w: %w", ErrCBOR, err)
	}
	if err := checkHeads(b); err != nil {
		return fmt.Errorf("%w: %w", ErrCBOR, err)
	}
	if err := decMode.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%w: %w", ErrCBOR, err)
	}
	return nil
}

// checkHeads walks over the heads of b, which is well-formed and has definite
// lengths.
func checkHeads(b []byte) error {
	for at := 0; at < len(b); {
		major, info := b[at]>>5, b[at]&0x1F
		if major == majorOther {
			if info < 20 || info > 22 {
				return fmt.Errorf("byte %d: simple value or number %#x, must be false, true or null", at, b[at])
			}
			at++
			continue
		}
		size := 0
		if info >= 24 {
			size = 1 << (info - 24)
		}
		value := uint64(info)
		if size > 0 {
			value = 0
			for _, x := range b[at+1 : at+1+size] {
				value = value<<8 | uint64(x)
			}
		}
		least := uint64(24) // what needs a byte behind the head
		if size > 1 {
			least = 1 << (8 * size / 2)
		}
		if size > 0 && value < least {
			return fmt.Errorf("byte %d: %d is not encoded in its shortest form", at, value)
		}
		at += 1 + size
		if major == majorBytes || major == majorText {
			at += int(value)
		}
	}
	return nil
}

func major(raw Raw) int {
	if len(raw) == 0 {
		return -1
	}
	return int(raw[0] >> 5)
}

// Bytes reads a byte string.
func Bytes(raw Raw) ([]byte, error) {
	var v []byte
	if major(raw) != majorBytes {
		return nil, fmt.Errorf("%w: must be a byte string", ErrCBOR)
	}
	return v, Decode(raw, &v)
}

// Text reads a text string.
func Text(raw Raw) (string, error) {
	var v string
	if major(raw) != majorText {
		return "", fmt.Errorf("%w: must be a text string", ErrCBOR)
	}
	return v, Decode(raw, &v)
}

// Uint reads an unsigned integer.
func Uint(raw Raw) (uint64, error) {
	var v uint64
	if major(raw) != majorUint {
		return 0, fmt.Errorf("%w: must be an unsigned integer", ErrCBOR)
	}
	return v, Decode(raw, &v)
}
