package collateral

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

var (
	pemBegin = []byte("-----BEGIN ")
	// Percent-encoded PEM has one of these instead, according to who encoded it.
	encodedBegins = [][]byte{[]byte("BEGIN%20"), []byte("BEGIN+")}
)

// text reads JSON, PEM, or something encoded as text.
func (p *parser) text(data []byte, layers int) error {
	text := trimText(data)
	switch {
	case len(text) == 0:
		return fmt.Errorf("empty; %s", expected)
	case looksJSON(text):
		return p.json(text, layers)
	case bytes.Contains(text, pemBegin):
		return p.pem(text)
	case looksEncodedPEM(text):
		plain, err := unescape(text)
		if err != nil {
			return fmt.Errorf("percent-encoded PEM: %w", err)
		}
		return p.pem(plain)
	}
	if decoded, encoding := decodeText(text); decoded != nil {
		if err := p.parse(decoded, layers-1); err != nil {
			return fmt.Errorf("in %s: %w", encoding, err)
		}
		return nil
	}
	return fmt.Errorf("%s; %s", describe(data), expected)
}

// trimText takes away what editors and C programs put around text.
func trimText(data []byte) []byte {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	return bytes.TrimSpace(bytes.TrimRight(data, "\x00"))
}

// pem reads all blocks. None may be of another kind or malformed.
func (p *parser) pem(text []byte) error {
	count := bytes.Count(text, pemBegin)
	if count > MaxItems {
		return fmt.Errorf("%d PEM blocks, at most %d allowed", count, MaxItems)
	}
	n := 0
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		n++
		text = rest
		var err error
		switch {
		case len(block.Headers) != 0:
			err = errors.New("has headers, must have none")
		case block.Type == "CERTIFICATE":
			err = p.certificate(block.Bytes)
		case block.Type == "X509 CRL":
			err = p.crl(block.Bytes)
		default:
			err = fmt.Errorf("is %.40q, must be CERTIFICATE or X509 CRL", block.Type)
		}
		if err != nil {
			return fmt.Errorf("PEM block %d: %w", n, err)
		}
	}
	// Decode passes over what it can't read.
	if n != count {
		return fmt.Errorf("PEM: %d blocks begin, and %d are complete and well-formed", count, n)
	}
	return nil
}

func looksEncodedPEM(text []byte) bool {
	for _, begin := range encodedBegins {
		if bytes.Contains(text, begin) {
			return true
		}
	}
	return false
}

// unescape undoes percent-encoding. A plus is a space only in the encoding of
// forms; base64 has it too.
func unescape(text []byte) ([]byte, error) {
	decode := url.PathUnescape
	if bytes.Contains(text, encodedBegins[1]) {
		decode = url.QueryUnescape
	}
	plain, err := decode(string(text))
	if err == nil && !bytes.Contains([]byte(plain), pemBegin) {
		err = errors.New("no PEM block in it")
	}
	// In a line of a header, the first block does not begin the line.
	return bytes.ReplaceAll([]byte(plain), pemBegin, append([]byte("\n"), pemBegin...)), err
}

// decodeText decodes text in hex or base64, if that is what it is and what it
// holds looks like collateral. Otherwise it returns nil.
func decodeText(text []byte) (decoded []byte, encoding string) {
	packed := make([]byte, 0, len(text))
	for _, c := range text {
		if c != '\n' && c != '\r' && c != ' ' && c != '\t' {
			packed = append(packed, c)
		}
	}
	digits := bytes.TrimPrefix(packed, []byte("0x"))
	decoded = make([]byte, hex.DecodedLen(len(digits)))
	if n, err := hex.Decode(decoded, digits); err == nil && plausible(decoded[:n]) {
		return decoded[:n], "hex"
	}
	for i, c := range packed { // base64 has two alphabets
		switch c {
		case '-':
			packed[i] = '+'
		case '_':
			packed[i] = '/'
		}
	}
	packed = bytes.TrimRight(packed, "=")
	decoded = make([]byte, base64.RawStdEncoding.DecodedLen(len(packed)))
	if n, err := base64.RawStdEncoding.Decode(decoded, packed); err == nil && plausible(decoded[:n]) {
		return decoded[:n], "base64"
	}
	return nil, ""
}

// plausible reports whether decoded bytes begin like something that Parse reads.
// Many words are valid base64.
func plausible(b []byte) bool {
	return looksDER(b) || looksTable(b) || bytes.HasPrefix(b, bundlePrefix) || bytes.HasPrefix(b, pemBegin) ||
		looksText(b) && looksJSON(trimText(b))
}

// looksDER reports whether b begins like a SEQUENCE of 128 bytes or more.
func looksDER(b []byte) bool { return len(b) > 4 && b[0] == 0x30 && b[1] > 0x80 && b[1] <= 0x84 }

// looksTable reports whether b begins with a GUID that AMD's certificate table
// has: of the ARK, ASK, VCEK or VLEK.
func looksTable(b []byte) bool {
	if len(b) < 24 {
		return false
	}
	switch hex.EncodeToString(b[:4]) {
	case "c0b406a4", "4ab7b379", "63da758d", "a8074bc2":
		return true
	}
	return false
}

// looksText reports whether b is printable text in UTF-8 that may end in zeros.
func looksText(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f' {
			return false
		}
	}
	return utf8.Valid(b)
}

func looksJSON(text []byte) bool {
	return len(text) > 0 && (text[0] == '{' || text[0] == '[' || text[0] == '"')
}

// describe says what bytes look like that were given as collateral.
func describe(data []byte) string {
	text := trimText(data)
	lower := bytes.ToLower(text[:min(len(text), 512)])
	switch {
	case len(data) == 0:
		return "empty"
	case bytes.Contains(text, []byte("PRIVATE KEY")):
		return "looks like a private key"
	case bytes.HasPrefix(lower, []byte("<!doctype html")) || bytes.Contains(lower, []byte("<html")):
		return "looks like an HTML page"
	case bytes.HasPrefix(lower, []byte("<?xml")):
		return "looks like XML"
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}), bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return "looks like a compressed file"
	case len(data) == snp.ReportSize && !looksText(data):
		return "looks like an SEV-SNP report: evidence, not collateral"
	case len(data) > 400 && data[0] >= 3 && data[0] <= 5 && data[1] == 0 && (data[2] == 2 || data[2] == 3) && data[3] == 0:
		return "looks like a quote of SGX or TDX: evidence, not collateral"
	case looksText(data) && looksJSON(text):
		return "looks like JSON"
	case looksText(data):
		return fmt.Sprintf("looks like text, %d bytes, that begins with %.24q", len(data), text)
	}
	return fmt.Sprintf("looks like binary data, %d bytes, that begins with %x", len(data), data[:min(len(data), 16)])
}
