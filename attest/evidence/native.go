package evidence

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// Sizes of evidence, in bytes.
const (
	reportSize    = 1184    // of an SNP report
	responseHead  = 32      // of MSG_REPORT_RSP: status, size, 24 reserved
	maxResponse   = 4 << 10 // of what the guest driver hands out
	quoteHead     = 48
	quoteSizeHead = 6 // type and size of the body, from version 5 on
)

// Tags of CBOR.
const (
	tagSign1      = 18    // RFC 9052
	tagCollection = 399   // of tokens; CCA: RMM specification 1.0, section A7.2.3
	tagCCA        = 907   // draft-ffm-rats-cca-token-02, section 3
	tagIntelQuote = 60000 // these three: interoperable RA-TLS
	tagIntelTEE   = 60001
	tagIntelSGX   = 60002
)

// Labels of a CCA token.
const (
	ccaPlatform = 44234
	ccaRealm    = 44241
)

// strict refuses what two readers could take for two things. It leaves sizes to
// the size of the input.
var strict = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  16,
		MaxArrayElements: 1 << 10,
		MaxMapPairs:      1 << 10,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// native reads evidence as a TEE gives it, without any wrapping but that of the
// device.
func native(data []byte) (attest.Evidence, error) {
	switch {
	case isReport(data):
		return report(data)
	case isResponse(data):
		return response(data)
	case isQuote(data):
		return quote(data)
	case isCBOR(data):
		return nativeCBOR(data)
	case isJSON(data):
		return tpm(data)
	}
	return attest.Evidence{}, unknown(data)
}

// isReport says whether data begins as an SNP report does: with a version, and
// later the one algorithm that reports are signed with.
func isReport(data []byte) bool {
	if len(data) < 0x38 {
		return false
	}
	version, algorithm := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[0x34:])
	return version >= 2 && version <= 5 && algorithm == 1
}

// report reads an SNP report. Behind it there may be a certificate table, as in
// an extended report.
func report(data []byte) (attest.Evidence, error) {
	if len(data) < reportSize {
		return attest.Evidence{}, malformed("begins as an SNP report and has %d bytes, must be %d", len(data), reportSize)
	}
	ev := attest.Evidence{Type: attest.SNP, Report: data[:reportSize:reportSize]}
	if len(data) == reportSize {
		return ev, nil
	}
	table, err := snp.ParseCertTable(data[reportSize:])
	if err != nil {
		return attest.Evidence{}, malformed("%d bytes behind an SNP report of %d, which are no certificate table: %w", len(data)-reportSize, reportSize, err)
	}
	if *table == (snp.CertTable{}) {
		return attest.Evidence{}, malformed("%d bytes behind an SNP report of %d, which are a certificate table without certificates", len(data)-reportSize, reportSize)
	}
	ev.Auxblob = data[reportSize:]
	return ev, nil
}

// isResponse says whether data begins as the firmware's answer to a request for
// a report does (SEV-SNP firmware ABI, MSG_REPORT_RSP): success, and the size.
func isResponse(data []byte) bool {
	return len(data) >= responseHead && binary.LittleEndian.Uint64(data) == reportSize<<32
}

func response(data []byte) (attest.Evidence, error) {
	const whole = responseHead + reportSize
	switch {
	case len(data) < whole || len(data) > maxResponse:
		return attest.Evidence{}, malformed("the firmware's answer with an SNP report has %d bytes, must be %d to %d", len(data), whole, maxResponse)
	case !zero(data[8:responseHead]) || !zero(data[whole:]):
		return attest.Evidence{}, malformed("the firmware's answer with an SNP report: bytes around the report are not zero")
	case !isReport(data[responseHead:whole]):
		return attest.Evidence{}, malformed("the firmware's answer with an SNP report holds something else")
	}
	return report(data[responseHead:whole])
}

// isQuote says whether data begins as a DCAP quote does: with a version, a type
// of key, and a type of TEE.
func isQuote(data []byte) bool {
	if len(data) < quoteHead {
		return false
	}
	version, key, tee := binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint16(data[2:]), binary.LittleEndian.Uint32(data[4:])
	return version >= 3 && version <= 5 && (key == 2 || key == 3) && (tee == 0 || version > 3 && tee == teeTDX)
}

const teeTDX = 0x81

// quote reads a DCAP quote: version 3 (SGX), 4 and 5 (SGX and TDX). What lies
// behind the signature is kept, and must be zero.
func quote(data []byte) (attest.Evidence, error) {
	ev := attest.Evidence{Type: attest.SGX, Report: data}
	if binary.LittleEndian.Uint32(data[4:]) == teeTDX {
		ev.Type = attest.TDX
	}
	body, size := quoteHead, 384
	if ev.Type == attest.TDX {
		size = 584
	}
	if binary.LittleEndian.Uint16(data) == 5 {
		body += quoteSizeHead
		if len(data) < body {
			return attest.Evidence{}, malformed("a quote of %d bytes ends in its head", len(data))
		}
		kind, want := binary.LittleEndian.Uint16(data[quoteHead:]), int(binary.LittleEndian.Uint32(data[quoteHead+2:]))
		switch {
		case kind == 1 && ev.Type == attest.SGX, kind == 2 && ev.Type == attest.TDX:
		case kind == 3 && ev.Type == attest.TDX:
			size = 648
		default:
			return attest.Evidence{}, malformed("a quote of version 5 with a body of type %d, must be 1 for SGX, 2 or 3 for TDX", kind)
		}
		if want != size {
			return attest.Evidence{}, malformed("a quote of version 5 with a body of type %d and %d bytes, must be %d", kind, want, size)
		}
	}
	if len(data) < body+size+4 {
		return attest.Evidence{}, malformed("a quote of %d bytes ends in its body", len(data))
	}
	rest := data[body+size+4:]
	n := binary.LittleEndian.Uint32(data[body+size:])
	switch {
	case n == 0 || uint64(n) > uint64(len(rest)):
		return attest.Evidence{}, malformed("a quote with a signature of %d bytes where %d are left", n, len(rest))
	case !zero(rest[n:]):
		return attest.Evidence{}, malformed("a quote with %d bytes behind its signature, must be zero", len(rest)-int(n))
	}
	return ev, nil
}

// isCBOR says whether data begins as an array of 2 to 4, a map or a tag of CBOR:
// bytes that no text and no other evidence begins with.
func isCBOR(data []byte) bool {
	return len(data) > 1 && (data[0] >= 0x82 && data[0] <= 0x84 || data[0] >= 0xa0 && data[0] <= 0xdb)
}

// cborHead returns the major type and argument of the first head, whose length
// must be definite.
func cborHead(data []byte) (major byte, arg uint64) {
	info := data[0] & 31
	switch {
	case info < 24:
		return data[0] >> 5, uint64(info)
	case info > 27 || len(data) < 1+1<<(info-24):
		return math.MaxUint8, 0
	}
	var buf [8]byte
	n := 1 << (info - 24)
	copy(buf[8-n:], data[1:1+n])
	return data[0] >> 5, binary.BigEndian.Uint64(buf[:])
}

// Of CBOR: the major types that evidence begins with.
const (
	byteString = 2
	array      = 4
	table      = 5
	tag        = 6
)

func nativeCBOR(data []byte) (attest.Evidence, error) {
	switch major, arg := cborHead(data); {
	case major == array && arg == 4, major == tag && arg == tagSign1:
		return nitro(data)
	case major == table, major == tag && (arg == tagCollection || arg == tagCCA):
		return cca(data)
	}
	return attest.Evidence{}, unknown(data)
}

// nitro reads an attestation document: COSE_Sign1 with or without its tag, whose
// payload is a map with the ID of an enclave's module.
func nitro(data []byte) (attest.Evidence, error) {
	sign1, err := untagged(data, tagSign1)
	if err != nil {
		return attest.Evidence{}, malformed("COSE_Sign1: %w", err)
	}
	var message []cbor.RawMessage
	if err := strict.Unmarshal(sign1, &message); err != nil || len(message) != 4 {
		return attest.Evidence{}, malformed("COSE_Sign1, must be an array of 4 elements: %w", orLength(err, len(message)))
	}
	var payload []byte
	if err := strict.Unmarshal(message[2], &payload); err != nil {
		return attest.Evidence{}, malformed("COSE_Sign1: payload: %w", err)
	}
	var document map[string]cbor.RawMessage
	if err := strict.Unmarshal(payload, &document); err != nil {
		return attest.Evidence{}, malformed("COSE_Sign1: the payload is no map with names: %w", err)
	}
	var module string
	if err := strict.Unmarshal(document["module_id"], &module); err != nil || module == "" {
		return attest.Evidence{}, fmt.Errorf("%w: COSE_Sign1 without a module_id, which a Nitro attestation document has", ErrUnknown)
	}
	return attest.Evidence{Type: attest.Nitro, Report: data}, nil
}

// cca reads a token: a map of the platform's token and the realm's, in strings
// with tag 399, or in records with tag 907. It adds the tag if there is none: the
// signatures are not over it.
func cca(data []byte) (attest.Evidence, error) {
	inner, number := data, uint64(0)
	if major, arg := cborHead(data); major == tag {
		var err error
		if inner, err = untagged(data, arg); err != nil {
			return attest.Evidence{}, malformed("collection of tokens: %w", err)
		}
		number = arg
	}
	var tokens map[any]cbor.RawMessage
	if err := strict.Unmarshal(inner, &tokens); err != nil {
		return attest.Evidence{}, malformed("collection of tokens: %w", err)
	}
	for _, label := range []uint64{ccaPlatform, ccaRealm} {
		token := tokens[label]
		if len(token) == 0 {
			return attest.Evidence{}, fmt.Errorf("%w: a CBOR map without %d, which a CCA token has", ErrUnknown, label)
		}
		want := uint64(tagCollection)
		if major, _ := cborHead(token); major == array {
			want = tagCCA
		} else if major != byteString {
			return attest.Evidence{}, malformed("a CCA token with major type %d at %d, must be a string or a record", major, label)
		}
		if number == 0 {
			number = want
			data = append([]byte{tag<<5 | 25, byte(want >> 8), byte(want)}, data...)
		}
		if number != want {
			return attest.Evidence{}, malformed("a CCA token with tag %d, and at %d what is for tag %d", number, label, want)
		}
	}
	if number == tagCCA { // a collection of records
		if _, err := cmw.Parse(data); err != nil {
			return attest.Evidence{}, malformed("a CCA token with tag %d: %w", number, err)
		}
	}
	return attest.Evidence{Type: attest.CCA, Report: data}, nil
}

// untagged returns what data tags, or data if it has no tag.
func untagged(data []byte, number uint64) ([]byte, error) {
	if major, _ := cborHead(data); major != tag {
		return data, nil
	}
	var t cbor.RawTag
	if err := strict.Unmarshal(data, &t); err != nil {
		return nil, err
	}
	if t.Number != number {
		return nil, fmt.Errorf("CBOR tag %d, must be %d", t.Number, number)
	}
	return t.Content, nil
}

func orLength(err error, n int) error {
	if err == nil {
		err = fmt.Errorf("it has %d", n)
	}
	return err
}

func isJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && (data[0] == '{' || data[0] == '[')
}

// tpm reads a quote with its key, as JSON: ak_public, and tpm_quote with message,
// signature and pcrs.
func tpm(data []byte) (attest.Evidence, error) {
	members, err := object(data)
	if err != nil {
		return attest.Evidence{}, err
	}
	quote, err := object(members["tpm_quote"])
	if err != nil {
		return attest.Evidence{}, err
	}
	for _, name := range []string{"message", "signature", "pcrs"} {
		if quote[name] == nil {
			return attest.Evidence{}, malformed("a TPM quote without %s", name)
		}
	}
	if members["ak_public"] == nil {
		return attest.Evidence{}, malformed("a TPM quote without ak_public")
	}
	return attest.Evidence{Type: attest.TPM, Report: data}, nil
}

// object returns the members of a JSON object by their names.
func object(data []byte) (map[string]json.RawMessage, error) {
	if len(data) == 0 {
		return nil, malformed("%w", errors.New("a JSON object is missing"))
	}
	list, err := strictjson.Object(data)
	if err != nil {
		return nil, malformed("%w", err)
	}
	members := make(map[string]json.RawMessage, len(list))
	for _, m := range list {
		members[m.Name] = m.Value
	}
	return members, nil
}

func zero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
