package nitro

import (
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest/internal/cose"
)

// The most that a document may have (attestation_process.md, sections 2.2, 3.1
// and 3.2.2.2, and what this package adds).
const (
	MaxDocument    = 32 << 10 // bytes, with the COSE envelope
	maxPayload     = 16 << 10 // bytes
	maxPCRs        = 32
	maxCertificate = 1024 // bytes of each
	maxBundle      = 8    // certificates; AWS names no limit and makes 4
	maxModuleID    = 256  // bytes; AWS names no limit
	maxPublicKey   = 1024
	maxUserData    = 512
	maxNonce       = 512
)

// pcrSize is the size of a PCR of the one digest there is, SHA384.
const pcrSize = 48

// A Document is what an attestation document says. Nobody has verified it.
type Document struct {
	ModuleID  string    // of the enclave: its instance's ID and its own
	Digest    string    // SHA384
	Timestamp time.Time // when it was made, to the millisecond
	// PCRs has 48 bytes each, by index from 0 to 31. PCR 0 is always there. The
	// document has the locked ones alone; those that were not used are zero.
	PCRs map[int][]byte
	// What the enclave wanted to be in it; nil if it is not there.
	PublicKey, UserData, Nonce []byte

	Certificate []byte   // DER: of the key that signed
	CABundle    [][]byte // DER: root first

	signed *cose.Sign1
}

// Parse reads a document: a COSE_Sign1 with or without its tag, with no header
// parameter but the algorithm. It checks the form alone. The payload has exactly
// the fields that AWS specifies; public_key, user_data and nonce may be null,
// which AWS's text forbids and its documents do.
func Parse(b []byte) (*Document, error) {
	if len(b) > MaxDocument {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrDocument, len(b), MaxDocument)
	}
	m, err := cose.Parse(b, cose.Either)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if m.Extra {
		return nil, fmt.Errorf("%w: header parameters beside the algorithm, must be none", ErrDocument)
	}
	if len(m.Payload) > maxPayload {
		return nil, fmt.Errorf("%w: payload of %d bytes, at most %d allowed", ErrDocument, len(m.Payload), maxPayload)
	}
	d, err := parsePayload(m.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	d.signed = m
	return d, nil
}

func parsePayload(payload []byte) (*Document, error) {
	var values map[string]cose.Raw
	if err := cose.Decode(payload, &values); err != nil {
		return nil, err
	}
	d := new(Document)
	for _, field := range []struct {
		name  string
		must  bool
		parse func(cose.Raw) error
	}{
		{"module_id", true, d.parseModuleID},
		{"digest", true, d.parseDigest},
		{"timestamp", true, d.parseTimestamp},
		{"pcrs", true, d.parsePCRs},
		{"certificate", true, bounded(&d.Certificate, 1, maxCertificate)},
		{"cabundle", true, d.parseBundle},
		{"public_key", false, bounded(&d.PublicKey, 1, maxPublicKey)},
		{"user_data", false, bounded(&d.UserData, 0, maxUserData)},
		{"nonce", false, bounded(&d.Nonce, 0, maxNonce)},
	} {
		raw, ok := values[field.name]
		delete(values, field.name)
		if !field.must && (!ok || len(raw) == 1 && raw[0] == cose.Null) {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("%s is missing", field.name)
		}
		if err := field.parse(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", field.name, err)
		}
	}
	for name := range values {
		return nil, fmt.Errorf("field %.32q does not belong there", name)
	}
	return d, nil
}

// bounded returns what reads a byte string of some size into out.
func bounded(out *[]byte, least, most int) func(cose.Raw) error {
	return func(raw cose.Raw) error {
		b, err := cose.Bytes(raw)
		if err != nil {
			return err
		}
		if len(b) < least || len(b) > most {
			return fmt.Errorf("%d bytes, must have %d to %d", len(b), least, most)
		}
		*out = b
		return nil
	}
}

func (d *Document) parseModuleID(raw cose.Raw) error {
	var err error
	if d.ModuleID, err = cose.Text(raw); err != nil {
		return err
	}
	if len(d.ModuleID) == 0 || len(d.ModuleID) > maxModuleID {
		return fmt.Errorf("%d bytes, must have 1 to %d", len(d.ModuleID), maxModuleID)
	}
	return nil
}

func (d *Document) parseDigest(raw cose.Raw) error {
	var err error
	if d.Digest, err = cose.Text(raw); err != nil {
		return err
	}
	if d.Digest != "SHA384" {
		return fmt.Errorf("%.32q, must be SHA384", d.Digest)
	}
	return nil
}

// parseTimestamp reads milliseconds since 1970, up to the year 9999.
func (d *Document) parseTimestamp(raw cose.Raw) error {
	ms, err := cose.Uint(raw)
	if err != nil {
		return err
	}
	if ms == 0 || ms > 253402300799999 {
		return fmt.Errorf("%d ms, must be of the years 1970 to 9999", ms)
	}
	d.Timestamp = time.UnixMilli(int64(ms)).UTC()
	return nil
}

func (d *Document) parsePCRs(raw cose.Raw) error {
	var pcrs map[uint64]cose.Raw
	if err := cose.Decode(raw, &pcrs); err != nil {
		return err
	}
	d.PCRs = make(map[int][]byte)
	for index, raw := range pcrs {
		if index >= maxPCRs {
			return fmt.Errorf("index %d, must be 0 to %d", index, maxPCRs-1)
		}
		pcr, err := cose.Bytes(raw)
		if err != nil {
			return fmt.Errorf("PCR %d: %w", index, err)
		}
		if len(pcr) != pcrSize {
			return fmt.Errorf("PCR %d has %d bytes, must have %d for SHA384", index, len(pcr), pcrSize)
		}
		d.PCRs[int(index)] = pcr
	}
	if d.PCRs[0] == nil {
		return errors.New("no PCR 0, the measurement of the image")
	}
	return nil
}

func (d *Document) parseBundle(raw cose.Raw) error {
	var bundle []cose.Raw
	if err := cose.Decode(raw, &bundle); err != nil {
		return err
	}
	if len(bundle) == 0 || len(bundle) > maxBundle {
		return fmt.Errorf("%d certificates, must be 1 to %d", len(bundle), maxBundle)
	}
	d.CABundle = make([][]byte, len(bundle))
	for i, raw := range bundle {
		if err := bounded(&d.CABundle[i], 1, maxCertificate)(raw); err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
	}
	return nil
}
