// Package cmw reads and writes RATS conceptual message wrappers (RFC 9999,
// draft-ietf-rats-msg-wrap): evidence, or another message of attestation, with
// the name of its format. It looks at the wrapping alone.
//
// Reading is strict. CBOR has definite lengths and shortest heads, and encoding
// a Message that was read from CBOR gives the same bytes. Text in JSON is
// base64url without padding. No label stands twice, nothing is behind the
// message. The tunnels of earlier drafts are not read.
package cmw

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Most of what a message may have.
const (
	MaxSize  = 1 << 20 // bytes, encoded
	MaxDepth = 4       // collections in collections
	MaxItems = 64      // of one collection
	maxText  = 255     // bytes of a media type, a label or a collection's type
)

// Errors.
var (
	// ErrMalformed is wrapped if a message is not one that this package reads or
	// writes.
	ErrMalformed = errors.New("malformed conceptual message wrapper")
	// ErrTooLarge is wrapped if a message is larger than MaxSize.
	ErrTooLarge = errors.New("conceptual message wrapper too large")
)

// A Form is how a message is encoded.
type Form uint8

// The forms. A collection of either CBOR form has the form CBOR.
const (
	JSON    Form = 1 + iota // a JSON array or object
	CBOR                    // a CBOR array or map
	CBORTag                 // a CBOR tag
)

// String returns the form's name, for people.
func (f Form) String() string {
	switch f {
	case JSON:
		return "JSON"
	case CBOR:
		return "CBOR"
	case CBORTag:
		return "CBOR tag"
	}
	return fmt.Sprintf("form %d", uint8(f))
}

// The bits of Message.Indicator: which messages the value holds.
const (
	ReferenceValues    = 1 << 0
	Endorsements       = 1 << 1
	Evidence           = 1 << 2
	AttestationResults = 1 << 3
)

// A Message is a record or a collection. A record has a value, and exactly one
// of Media, Format and Tag says what it is. A collection has items.
type Message struct {
	Form Form

	Media  string // media type
	Format uint16 // CoAP content-format; not in JSON, and not 0, which is plain text
	// Tag is a registered CBOR tag that is not derived from a content-format; it
	// is for the form CBORTag. Value is then what is tagged, encoded.
	Tag       uint64
	Value     []byte
	Indicator uint8 // 0: none. Not of a tag

	// CollectionType is an absolute URI or an object identifier; it may be empty.
	CollectionType string
	Items          []Item
	typeAt         int // before which item the collection's type stands
}

// An Item is an item of a collection. Text is its label, or, if that is empty,
// Number is; JSON has text alone.
type Item struct {
	Text    string
	Number  int64
	Message Message
}

// IsCollection says whether m is a collection.
func (m *Message) IsCollection() bool { return len(m.Items) > 0 }

// Type describes what a record is, for people.
func (m *Message) Type() string {
	switch {
	case m.IsCollection():
		return fmt.Sprintf("collection of %d", len(m.Items))
	case m.Media != "":
		return m.Media
	case m.Format != 0:
		return fmt.Sprintf("content-format %d", m.Format)
	}
	return fmt.Sprintf("CBOR tag %d", m.Tag)
}

// Parse decodes a message of any form. JSON may have white space where JSON
// may; everything else has one encoding. Values may share memory with data.
func Parse(data []byte) (*Message, error) {
	switch {
	case len(data) > MaxSize:
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrTooLarge, len(data), MaxSize)
	case len(data) == 0:
		return nil, fmt.Errorf("%w: no bytes", ErrMalformed)
	case data[0] == '[' || data[0] == '{':
		m, err := parseJSON(data, 0)
		return wrapped(m, err)
	}
	m, rest, err := parseCBOR(data, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind the message", len(rest))
	}
	return wrapped(m, err)
}

func wrapped(m *Message, err error) (*Message, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

// Encode encodes m in its form. Items stand in their order.
func (m *Message) Encode() ([]byte, error) {
	if err := m.check(0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var data []byte
	if m.Form == JSON {
		data = m.appendJSON(nil)
	} else {
		data = m.appendCBOR(nil)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrTooLarge, len(data), MaxSize)
	}
	return data, nil
}

// check applies the rules that do not depend on the encoding.
func (m *Message) check(depth int) error {
	if m.Form < JSON || m.Form > CBORTag {
		return fmt.Errorf("%v, must be JSON, CBOR or CBOR tag", m.Form)
	}
	if m.IsCollection() {
		return m.checkCollection(depth)
	}
	return m.checkRecord()
}

func (m *Message) checkRecord() error {
	types := 0
	for _, has := range []bool{m.Media != "", m.Format != 0, m.Tag != 0} {
		if has {
			types++
		}
	}
	switch {
	case types != 1:
		return fmt.Errorf("a record with %d types, must be one", types)
	case len(m.Value) == 0:
		return errors.New("a record without a value")
	case m.CollectionType != "":
		return errors.New("a record with the type of a collection")
	case m.Form == JSON && m.Media == "":
		return fmt.Errorf("the type %s in JSON, must be a media type", m.Type())
	case m.Form == CBOR && m.Tag != 0:
		return fmt.Errorf("the type %s in a CBOR record, must be a media type or a content-format", m.Type())
	case m.Form == CBORTag && m.Media != "":
		return fmt.Errorf("the media type %q in a CBOR tag", m.Media)
	case m.Form == CBORTag && m.Indicator != 0:
		return errors.New("an indicator in a CBOR tag")
	case m.Indicator > 15:
		return fmt.Errorf("indicator %d, must be 1 to 15", m.Indicator)
	case m.Media != "":
		return checkMedia(m.Media)
	case m.Tag != 0:
		return checkTagged(m.Tag, m.Value)
	}
	return nil
}

// The grammar of a media type with parameters is left to who knows the type:
// here it has a type and a subtype, and is printable.
var media = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*( *;[ -~]*)?$`)

func checkMedia(s string) error {
	switch {
	case strings.HasPrefix(s, "#"):
		return fmt.Errorf("%.64q: a tunnel of an earlier draft", s)
	case len(s) > maxText:
		return fmt.Errorf("a media type of %d bytes, at most %d allowed", len(s), maxText)
	case !media.MatchString(s):
		return fmt.Errorf("%.64q is not a media type", s)
	}
	return nil
}

func (m *Message) checkCollection(depth int) error {
	switch {
	case depth >= MaxDepth:
		return fmt.Errorf("collections nested deeper than %d", MaxDepth)
	case len(m.Items) > MaxItems:
		return fmt.Errorf("a collection of %d items, at most %d allowed", len(m.Items), MaxItems)
	case m.Form == CBORTag:
		return errors.New("a collection as a CBOR tag")
	case m.Media != "" || m.Format != 0 || m.Tag != 0 || m.Value != nil || m.Indicator != 0:
		return errors.New("a collection with fields of a record")
	}
	if m.CollectionType != "" {
		if err := checkCollectionType(m.CollectionType); err != nil {
			return err
		}
	}
	for i := range m.Items {
		item := &m.Items[i]
		if err := m.checkLabel(i); err != nil {
			return err
		}
		if (item.Message.Form == JSON) != (m.Form == JSON) {
			return fmt.Errorf("an item as %v in a collection as %v", item.Message.Form, m.Form)
		}
		if err := item.Message.check(depth + 1); err != nil {
			return fmt.Errorf("item %s: %w", item.label(), err)
		}
	}
	return nil
}

// typeLabel is the label of a collection's type.
const typeLabel = "__cmwc_t"

func (m *Message) checkLabel(i int) error {
	item := m.Items[i]
	switch {
	case item.Text == typeLabel:
		return fmt.Errorf("the reserved label %q", typeLabel)
	case item.Text == "" && m.Form == JSON:
		return errors.New("a label without text in JSON")
	case item.Text != "" && item.Number != 0:
		return errors.New("a label of text and number")
	case item.Text != "" && strings.TrimSpace(item.Text) == "", len(item.Text) > maxText, !utf8.ValidString(item.Text), strings.ContainsRune(item.Text, utf8.RuneError):
		return fmt.Errorf("the label %.64q, must be at most %d bytes of text", item.Text, maxText)
	}
	for _, other := range m.Items[:i] {
		if other.Text == item.Text && other.Number == item.Number {
			return fmt.Errorf("the label %s twice", item.label())
		}
	}
	return nil
}

func (i *Item) label() string {
	if i.Text == "" {
		return fmt.Sprint(i.Number)
	}
	return fmt.Sprintf("%.64q", i.Text)
}

var oid = regexp.MustCompile(`^[0-2]((\.0)|(\.[1-9][0-9]*))+$`)

func checkCollectionType(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("a collection's type of %d bytes, at most %d allowed", len(s), maxText)
	}
	if oid.MatchString(s) {
		return nil
	}
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("the collection's type %.64q, must be an absolute URI or an object identifier", s)
		}
	}
	if u, err := url.Parse(s); err != nil || !u.IsAbs() {
		return fmt.Errorf("the collection's type %.64q, must be an absolute URI or an object identifier", s)
	}
	return nil
}
