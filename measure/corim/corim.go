// Package corim writes reference values as a Concise Reference Integrity Manifest
// (draft-ietf-rats-corim), for verifiers that take them in that form: an unsigned
// CoRIM (CBOR tag 501) with one CoMID tag, which has one reference-values triple.
package corim

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// ErrManifest is wrapped by every error of this package.
var ErrManifest = errors.New("not a manifest that can be written")

// A Manifest says what an environment must measure: either one digest, or
// registers by their names, such as MRTD. Digests are SHA-256, SHA-384 or SHA-512,
// by their length.
type Manifest struct {
	ID            string // of the manifest; the tag in it has it too
	Vendor, Model string // of the environment, such as AMD and SEV-SNP
	Digest        []byte
	Registers     map[string][]byte
}

const (
	tagCoRIM = 501
	tagCoMID = 506
	maxText  = 1000
	maxCount = 100
)

// algorithms are IANA's Named Information hash algorithms, by their length.
var algorithms = map[int]uint64{32: 1, 48: 7, 64: 8}

type corimMap struct {
	ID   string     `cbor:"0,keyasint"`
	Tags []cbor.Tag `cbor:"1,keyasint"`
}

type comid struct {
	Identity identity `cbor:"1,keyasint"`
	Triples  triples  `cbor:"4,keyasint"`
}

type identity struct {
	ID string `cbor:"0,keyasint"`
}

type triples struct {
	Reference []reference `cbor:"0,keyasint"`
}

type reference struct {
	_            struct{} `cbor:",toarray"`
	Environment  environment
	Measurements []measurement
}

type environment struct {
	Class class `cbor:"0,keyasint"`
}

type class struct {
	Vendor string `cbor:"1,keyasint"`
	Model  string `cbor:"2,keyasint"`
}

type measurement struct {
	Values values `cbor:"1,keyasint"`
}

type values struct {
	Digests   []digest            `cbor:"2,keyasint,omitempty"`
	Registers map[string][]digest `cbor:"14,keyasint,omitempty"`
}

type digest struct {
	_         struct{} `cbor:",toarray"`
	Algorithm uint64
	Value     []byte
}

// Encode returns the manifest in deterministic CBOR (RFC 8949, section 4.2.1):
// the same manifest gives the same bytes.
func Encode(m Manifest) ([]byte, error) {
	for _, text := range []string{m.ID, m.Vendor, m.Model} {
		if text == "" || len(text) > maxText || !utf8.ValidString(text) {
			return nil, fmt.Errorf("%w: an identifier of %d bytes, expected 1 to %d of UTF-8", ErrManifest, len(text), maxText)
		}
	}
	v, err := valuesOf(m)
	if err != nil {
		return nil, err
	}
	r := reference{Environment: environment{class{m.Vendor, m.Model}}, Measurements: []measurement{{v}}}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	tag, err := mode.Marshal(comid{identity{m.ID}, triples{[]reference{r}}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	out, err := mode.Marshal(cbor.Tag{Number: tagCoRIM, Content: corimMap{m.ID, []cbor.Tag{{Number: tagCoMID, Content: tag}}}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return out, nil
}

// valuesOf returns a manifest's digest or registers.
func valuesOf(m Manifest) (v values, err error) {
	if (m.Digest == nil) == (len(m.Registers) == 0) || len(m.Registers) > maxCount {
		return v, fmt.Errorf("%w: a digest of %d bytes and %d registers, expected one of both, and at most %d registers", ErrManifest, len(m.Digest), len(m.Registers), maxCount)
	}
	if m.Digest != nil {
		v.Digests, err = digests(m.Digest)
		return v, err
	}
	v.Registers = map[string][]digest{}
	for name, value := range m.Registers {
		if name == "" || len(name) > maxText || !utf8.ValidString(name) {
			return v, fmt.Errorf("%w: a register with a name of %d bytes, expected 1 to %d of UTF-8", ErrManifest, len(name), maxText)
		}
		if v.Registers[name], err = digests(value); err != nil {
			return v, err
		}
	}
	return v, nil
}

func digests(value []byte) ([]digest, error) {
	algorithm, ok := algorithms[len(value)]
	if !ok {
		return nil, fmt.Errorf("%w: a digest of %d bytes, expected a SHA-256, SHA-384 or SHA-512", ErrManifest, len(value))
	}
	return []digest{{Algorithm: algorithm, Value: value}}, nil
}
