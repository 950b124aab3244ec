// Package evidence finds out what evidence a file holds, and wraps evidence for
// others. It reads evidence as TEEs give it, in a conceptual message wrapper, in
// a certificate or a request for one, in a report of the Linux kernel's
// configfs-tsm, and each of these as hexadecimal digits or base64.
//
// It verifies nothing. What it recognises may be broken, old or forged: the
// verification of its technology says so.
package evidence

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-tee/redoubt/attest"
)

// MaxSize is the most that Parse reads, in bytes.
const MaxSize = 1 << 20

// Errors.
var (
	// ErrUnknown is wrapped if a file is not evidence that this package knows.
	ErrUnknown = errors.New("not recognised as evidence")
	// ErrAmbiguous is wrapped if a file holds more than one piece of evidence.
	ErrAmbiguous = errors.New("more than one piece of evidence")
	// ErrMalformed is wrapped if a file is evidence, or wraps it, and is malformed.
	ErrMalformed = errors.New("malformed evidence")
	// ErrMismatch is wrapped if the name of a type is not that of its content.
	ErrMismatch = errors.New("evidence is not of the type that it says")
	// ErrKind is wrapped if evidence is not of the kind that the caller expects.
	ErrKind = errors.New("not evidence of the kind expected")
	// ErrKey is wrapped if evidence in a certificate was made for another key.
	ErrKey = errors.New("evidence is for another key than the certificate's")
)

// An Item is evidence and what it was wrapped in.
type Item struct {
	Evidence attest.Evidence
	How      []string // what it was wrapped in, outermost first, for people

	// Certificate or Request carried the evidence; both are nil if neither did.
	// Nobody has verified that the evidence was made for their key: the report
	// data must say so.
	Certificate *x509.Certificate
	Request     *x509.CertificateRequest

	// ReportData is what the evidence's report data must be for the wrapping to
	// hold, and nil if the wrapping does not say: see RATLS.
	ReportData []byte
	// RATLS is the claims of an interoperable RA-TLS certificate, or nil.
	RATLS *RATLS
}

// PublicKey returns the SubjectPublicKeyInfo, in DER, of the certificate or the
// request that carried the evidence, or nil if neither did.
func (i *Item) PublicKey() []byte {
	switch {
	case i.Certificate != nil:
		return i.Certificate.RawSubjectPublicKeyInfo
	case i.Request != nil:
		return i.Request.RawSubjectPublicKeyInfo
	}
	return nil
}

// kinds says of each technology what its evidence looks like.
var kinds = map[string]string{
	attest.SNP:   "an SNP report (1184 bytes that begin with version 2 to 5), or one with its certificate table behind it",
	attest.TDX:   "a TDX quote (version 4 or 5, TEE type 0x81)",
	attest.SGX:   "an SGX quote (version 3, 4 or 5, TEE type 0)",
	attest.CCA:   "a CCA token (CBOR tag 399, or its map with 44234 and 44241)",
	attest.Nitro: "a Nitro attestation document (COSE_Sign1 with a module_id)",
	attest.TPM:   "a TPM quote as JSON with ak_public and tpm_quote",
}

// Parse recognises the evidence in a file by its content. What the file is must
// be beyond doubt, and there must be one piece of evidence. The item may share
// memory with data.
func Parse(data []byte) (Item, error) {
	p := parser{}
	return p.parse(data)
}

// ParseAs is Parse for evidence of a technology: one of attest.Technologies. Of
// several pieces of evidence in a collection it takes the one of that kind.
func ParseAs(data []byte, kind string) (Item, error) {
	if !slices.Contains(attest.Technologies(), kind) {
		return Item{}, fmt.Errorf("%w: %.32q, must be one of %q", ErrKind, kind, attest.Technologies())
	}
	p := parser{kind: kind}
	item, err := p.parse(data)
	if err != nil {
		return Item{}, fmt.Errorf("%w: expected %s: %w", ErrKind, kinds[kind], err)
	}
	if item.Evidence.Type != kind {
		return Item{}, fmt.Errorf("%w: expected %s, found %s", ErrKind, kinds[kind], kinds[item.Evidence.Type])
	}
	return item, nil
}

// A parser looks for evidence of one kind, or of any if kind is empty.
type parser struct {
	kind string
	text bool // hexadecimal digits or base64 were decoded
}

func (p *parser) parse(data []byte) (Item, error) {
	if len(data) > MaxSize {
		return Item{}, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrUnknown, len(data), MaxSize)
	}
	// What these look at first has no value in common.
	switch {
	case isReport(data), isResponse(data), isQuote(data):
		ev, err := native(data)
		return Item{Evidence: ev}, err
	case isCBOR(data):
		return p.cbor(data)
	case isDER(data):
		return p.der(data)
	case isPEM(data):
		return p.pem(data)
	case isJSON(data):
		return p.json(data)
	case !p.text && isText(data):
		return p.decode(data)
	}
	return Item{}, unknown(data)
}

// through adds a layer to how an item was wrapped.
func through(layer string, item Item, err error) (Item, error) {
	if err != nil {
		return Item{}, fmt.Errorf("%s: %w", layer, err)
	}
	item.How = append([]string{layer}, item.How...)
	return item, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
}
