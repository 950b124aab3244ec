package evidence

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/redoubt-tee/redoubt/attest/cmw"
)

// cbor reads what CBOR may be: evidence, a report of configfs-tsm, or a
// conceptual message wrapper.
func (p *parser) cbor(data []byte) (Item, error) {
	major, arg := cborHead(data)
	switch {
	case isTable(data): // which may begin as anything
		return Item{}, unknown(data)
	case major == array && arg == 4, major == tag && (arg == tagSign1 || arg == tagCollection || arg == tagCCA):
		ev, err := nativeCBOR(data)
		return Item{Evidence: ev}, err
	case major == table:
		return p.cborMap(data)
	}
	return p.message(data)
}

func (p *parser) cborMap(data []byte) (Item, error) {
	var members map[any]present
	if err := strict.Unmarshal(data, &members); err != nil {
		return Item{}, malformed("CBOR map: %w", err)
	}
	if _, ok := members["outblob"]; ok {
		ev, err := tsmCBOR(data)
		return through("configfs-tsm report (CBOR)", Item{Evidence: ev}, err)
	}
	if _, ok := members[uint64(ccaPlatform)]; ok {
		ev, err := cca(data)
		return Item{Evidence: ev}, err
	}
	return p.message(data)
}

// present stands for a data item that is not looked at.
type present struct{}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (*present) UnmarshalCBOR([]byte) error { return nil }

func (p *parser) json(data []byte) (Item, error) {
	if bytes.TrimLeft(data, " \t\r\n")[0] == '[' {
		return p.message(data)
	}
	members, err := object(data)
	if err != nil {
		return Item{}, err
	}
	switch {
	case members["tpm_quote"] != nil:
		ev, err := tpm(data)
		return Item{Evidence: ev}, err
	case members["outblob"] != nil:
		ev, err := tsmJSON(data)
		return through("configfs-tsm report (JSON)", Item{Evidence: ev}, err)
	}
	for _, value := range members {
		if value[0] != '[' && value[0] != '{' { // the values of a collection, but for its type
			if _, typed := members["__cmwc_t"]; !typed {
				return Item{}, unknown(data)
			}
		}
	}
	return p.message(data)
}

// message reads a conceptual message wrapper.
func (p *parser) message(data []byte) (Item, error) {
	m, err := cmw.Parse(data)
	if err != nil {
		if errors.Is(err, cmw.ErrMalformed) {
			return Item{}, malformed("%w", err)
		}
		return Item{}, err
	}
	return p.fromMessage(m)
}

// fromMessage reads a record, or a collection with one piece of evidence.
func (p *parser) fromMessage(m *cmw.Message) (Item, error) {
	if !m.IsCollection() {
		item, err := record(m)
		return through(fmt.Sprintf("conceptual message wrapper (%v) of type %s", m.Form, m.Type()), item, err)
	}
	var found []Item
	var problems []error
	for i := range m.Items {
		inner := &m.Items[i].Message
		item, err := p.fromMessage(inner)
		switch {
		case errors.Is(err, errOther):
			problems = append(problems, err)
		case err != nil:
			return Item{}, fmt.Errorf("collection: %w", err)
		case p.kind == "" || item.Evidence.Type == p.kind:
			found = append(found, item)
		}
	}
	switch len(found) {
	case 0:
		return Item{}, fmt.Errorf("collection: %w: no item is: %w", ErrUnknown, errors.Join(problems...))
	case 1:
		return through(fmt.Sprintf("%s as %v", m.Type(), m.Form), found[0], nil)
	}
	return Item{}, fmt.Errorf("collection: %w: %d items, of the types %s and %s", ErrAmbiguous, len(found), found[0].Evidence.Type, found[1].Evidence.Type)
}

// isDER says whether data is an ASN.1 SEQUENCE of a definite length that has
// two bytes or more: nothing else begins so.
func isDER(data []byte) bool {
	return len(data) > 2 && data[0] == 0x30 && data[1] > 0x80 && data[1] <= 0x84
}

func (p *parser) der(data []byte) (Item, error) {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(data, &outer); err != nil || len(rest) > 0 {
		return Item{}, malformed("DER: %w", orRest(err, len(rest)))
	}
	if certificate, err := x509.ParseCertificate(data); err == nil {
		return p.certificate(certificate)
	}
	if request, err := x509.ParseCertificateRequest(data); err == nil {
		return p.request(request)
	}
	if _, err := x509.ParseRevocationList(data); err == nil {
		return Item{}, fmt.Errorf("%w: a certificate revocation list, which is collateral", ErrUnknown)
	}
	_, err := x509.ParseCertificate(data)
	return Item{}, malformed("DER that is no certificate, request or revocation list: %w", err)
}

func orRest(err error, n int) error {
	if err == nil {
		err = fmt.Errorf("%d bytes behind it", n)
	}
	return err
}

func (p *parser) certificate(c *x509.Certificate) (Item, error) {
	item, err := p.extensions(c.Extensions)
	if err == nil {
		item.Certificate = c
		err = checkKey(&item)
	}
	return through("certificate", item, err)
}

func (p *parser) request(r *x509.CertificateRequest) (Item, error) {
	if err := r.CheckSignature(); err != nil {
		return Item{}, malformed("certificate request: not signed by its own key: %w", err)
	}
	item, err := p.extensions(r.Extensions)
	if err == nil {
		item.Request = r
		err = checkKey(&item)
	}
	return through("certificate request", item, err)
}

// extensions reads the one extension with evidence. Evidence that other
// extensions may hold, as Gramine's older ones do, is never fallen back to.
func (p *parser) extensions(list []pkix.Extension) (Item, error) {
	m, oid, err := cmw.FromExtensions(list)
	switch {
	case errors.Is(err, cmw.ErrNoExtension):
		return Item{}, fmt.Errorf("%w: %w", errNone, err)
	case errors.Is(err, cmw.ErrExtensions):
		return Item{}, fmt.Errorf("%w: %w", ErrAmbiguous, err)
	case err != nil:
		return Item{}, malformed("%w", err)
	}
	item, err := p.fromMessage(m)
	return through(fmt.Sprintf("extension %v", oid), item, err)
}

// errNone is for a certificate that carries no evidence.
var errNone = fmt.Errorf("%w: the certificate carries none", ErrUnknown)

func isPEM(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN "))
}

// pem reads certificates and requests, of which one must carry evidence.
func (p *parser) pem(data []byte) (Item, error) {
	var found []Item
	var last error
	count := 0
	for rest := data; len(bytes.TrimSpace(rest)) > 0; count++ {
		if !isPEM(rest) {
			return Item{}, malformed("PEM: something between or behind the blocks")
		}
		block, next := pem.Decode(rest)
		if block == nil {
			return Item{}, malformed("PEM: block %d", count+1)
		}
		rest = next
		switch block.Type {
		case "CERTIFICATE", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", "X509 CRL":
		default:
			return Item{}, fmt.Errorf("%w: PEM of type %.64q, must be a certificate or a request", ErrUnknown, block.Type)
		}
		item, err := p.der(block.Bytes)
		switch {
		case errors.Is(err, errNone), err != nil && block.Type == "X509 CRL":
			last = err
		case err != nil:
			return Item{}, fmt.Errorf("PEM: %w", err)
		default:
			found = append(found, item)
		}
	}
	switch len(found) {
	case 0:
		return Item{}, fmt.Errorf("PEM, %d blocks: %w", count, last)
	case 1:
		return through("PEM", found[0], nil)
	}
	return Item{}, fmt.Errorf("PEM: %w: %d certificates carry it", ErrAmbiguous, len(found))
}

// isText says whether data is printable ASCII and line breaks, as digits and
// base64 are.
func isText(data []byte) bool {
	for _, b := range data {
		if b != '\t' && b != '\r' && b != '\n' && (b < ' ' || b > '~') {
			return false
		}
	}
	return len(bytes.TrimSpace(data)) > 0
}

// decode reads text: hexadecimal digits, or else base64 of either alphabet. Text
// in text is not decoded again.
func (p *parser) decode(data []byte) (Item, error) {
	text := bytes.Join(bytes.Fields(data), nil)
	inner := parser{kind: p.kind, text: true}
	digits := bytes.TrimPrefix(bytes.TrimPrefix(text, []byte("0x")), []byte("0X"))
	if decoded, err := hex.AppendDecode(nil, digits); err == nil {
		item, err := inner.parse(decoded)
		return through("hexadecimal digits", item, err)
	}
	trimmed := bytes.TrimRight(text, "=")
	if padding := len(text) - len(trimmed); padding > 0 && (padding > 2 || len(text)%4 != 0) {
		return Item{}, unknown(data)
	}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if decoded, err := alphabet.Strict().AppendDecode(nil, trimmed); err == nil {
			item, err := inner.parse(decoded)
			return through("base64", item, err)
		}
	}
	return Item{}, unknown(data)
}
