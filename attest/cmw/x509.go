package cmw

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The extensions that carry a message in certificates, and in requests for them.
var (
	oidCMW  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 35}
	oidDICE = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 9}
)

// OID returns the identifier of the extension that carries a message: id-pe-cmw
// (RFC 9999).
func OID() asn1.ObjectIdentifier { return append(asn1.ObjectIdentifier(nil), oidCMW...) }

// OIDDICE returns the identifier of the older extension of the Trusted Computing
// Group's DICE architecture, tcg-dice-conceptual-message-wrapper.
func OIDDICE() asn1.ObjectIdentifier { return append(asn1.ObjectIdentifier(nil), oidDICE...) }

// Errors of extensions.
var (
	// ErrNoExtension is wrapped if no extension carries a message.
	ErrNoExtension = errors.New("no extension with a conceptual message wrapper")
	// ErrExtensions is wrapped if more than one does: which is meant must not be
	// for the attester's peer to choose.
	ErrExtensions = errors.New("more than one extension with a conceptual message wrapper")
)

// Extension returns m as an extension for a certificate or a request, not
// critical: CHOICE { json UTF8String, cbor OCTET STRING }.
func (m *Message) Extension() (pkix.Extension, error) {
	data, err := m.Encode()
	if err != nil {
		return pkix.Extension{}, err
	}
	tag := asn1.TagOctetString
	if m.Form == JSON {
		tag = asn1.TagUTF8String
	}
	value, err := asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: data})
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return pkix.Extension{Id: OID(), Value: value}, nil
}

// FromExtensions returns the message that the extensions of a certificate or a
// request carry, and the identifier of the extension. It reads id-pe-cmw and the
// older OIDDICE, whose value may also be a CBOR tag without a string around it,
// as interoperable RA-TLS has it. Of both there may be one in all.
func FromExtensions(extensions []pkix.Extension) (*Message, asn1.ObjectIdentifier, error) {
	var found *pkix.Extension
	for i, e := range extensions {
		if !e.Id.Equal(oidCMW) && !e.Id.Equal(oidDICE) {
			continue
		}
		if found != nil {
			return nil, nil, fmt.Errorf("%w: %v and %v", ErrExtensions, found.Id, e.Id)
		}
		found = &extensions[i]
	}
	if found == nil {
		return nil, nil, fmt.Errorf("%w (%v, or the older %v)", ErrNoExtension, oidCMW, oidDICE)
	}
	m, err := parseExtension(found)
	if err != nil {
		return nil, nil, fmt.Errorf("extension %v: %w", found.Id, err)
	}
	return m, found.Id, nil
}

func parseExtension(e *pkix.Extension) (*Message, error) {
	if len(e.Value) > MaxSize+8 {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrTooLarge, len(e.Value), MaxSize)
	}
	// A CBOR tag begins with 0xc0 to 0xdb, which no DER string does.
	if e.Id.Equal(oidDICE) && len(e.Value) > 0 && e.Value[0]>>5 == majorTag {
		return Parse(e.Value)
	}
	var raw asn1.RawValue
	rest, err := asn1.Unmarshal(e.Value, &raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case len(rest) > 0:
		return nil, fmt.Errorf("%w: %d bytes behind the string", ErrMalformed, len(rest))
	case raw.Class != asn1.ClassUniversal || raw.IsCompound || (raw.Tag != asn1.TagUTF8String && raw.Tag != asn1.TagOctetString):
		return nil, fmt.Errorf("%w: ASN.1 tag %d of class %d, must be a UTF8String or an OCTET STRING", ErrMalformed, raw.Tag, raw.Class)
	case raw.Tag == asn1.TagUTF8String && !utf8.Valid(raw.Bytes):
		return nil, fmt.Errorf("%w: a UTF8String that is not UTF-8", ErrMalformed)
	}
	m, err := Parse(raw.Bytes)
	if err != nil {
		return nil, err
	}
	if (m.Form == JSON) != (raw.Tag == asn1.TagUTF8String) {
		return nil, fmt.Errorf("%w: %v in ASN.1 tag %d: JSON must be in a UTF8String and CBOR in an OCTET STRING", ErrMalformed, m.Form, raw.Tag)
	}
	return m, nil
}
