package cmw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// The major types of CBOR (RFC 8949, section 3.1).
const (
	majorUint   = 0
	majorNegInt = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

// Tags derived from content-formats (RFC 9277, appendix B): TN(0) to TN(65535).
const (
	minTN = 1668546817
	maxTN = minTN + (math.MaxUint16/255)*256 + math.MaxUint16%255
)

// TN returns the CBOR tag derived from a content-format.
func TN(format uint16) uint64 { return minTN + uint64(format)/255*256 + uint64(format)%255 }

// formatOf returns the content-format that a tag in the range is derived from,
// or false if it is derived from none.
func formatOf(tag uint64) (uint16, bool) {
	high, low := (tag-minTN)/256, (tag-minTN)%256
	if low == 255 || high*255+low > math.MaxUint16 {
		return 0, false
	}
	return uint16(high*255 + low), true
}

// head reads the head of a data item. Its argument must be in the shortest form
// and its length definite.
func head(b []byte) (major byte, arg uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, 0, nil, errors.New("CBOR ends early")
	}
	major, info, rest := b[0]>>5, b[0]&31, b[1:]
	if info < 24 {
		return major, uint64(info), rest, nil
	}
	if info > 27 {
		return 0, 0, nil, fmt.Errorf("the head %#x: indefinite length, or reserved", b[0])
	}
	n := 1 << (info - 24)
	if len(rest) < n {
		return 0, 0, nil, errors.New("CBOR ends early")
	}
	var buf [8]byte
	copy(buf[8-n:], rest[:n])
	arg = binary.BigEndian.Uint64(buf[:])
	least := []uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	switch {
	case arg < least && major != majorSimple:
		return 0, 0, nil, fmt.Errorf("%d in %d bytes, must be in the shortest form", arg, n)
	case n == 1 && arg < 32 && major == majorSimple:
		return 0, 0, nil, fmt.Errorf("the simple value %d in two bytes", arg)
	}
	return major, arg, rest[n:], nil
}

// str reads a byte or text string.
func str(b []byte, want byte) (s, rest []byte, err error) {
	major, n, rest, err := head(b)
	switch {
	case err != nil:
		return nil, nil, err
	case major != want:
		return nil, nil, fmt.Errorf("major type %d, must be %d", major, want)
	case n > uint64(len(rest)):
		return nil, nil, fmt.Errorf("a string of %d bytes where %d are left", n, len(rest))
	case major == majorText && !utf8.Valid(rest[:n]):
		return nil, nil, errors.New("text that is not UTF-8")
	}
	return rest[:n:n], rest[n:], nil
}

func parseCBOR(b []byte, depth int) (*Message, []byte, error) {
	major, arg, rest, err := head(b)
	if err != nil {
		return nil, nil, err
	}
	m := new(Message)
	switch major {
	case majorArray:
		rest, err = m.parseRecord(arg, rest)
	case majorMap:
		rest, err = m.parseCollection(arg, rest, depth)
	case majorTag:
		rest, err = m.parseTag(arg, rest)
	default:
		err = fmt.Errorf("the first byte %#x: must be a JSON array or object, or a CBOR array, map or tag", b[0])
	}
	if err == nil {
		err = m.check(depth)
	}
	if err != nil {
		return nil, nil, err
	}
	return m, rest, nil
}

func (m *Message) parseRecord(n uint64, b []byte) (rest []byte, err error) {
	m.Form = CBOR
	if n != 2 && n != 3 {
		return nil, fmt.Errorf("a record of %d elements, must be 2 or 3", n)
	}
	major, arg, rest, err := head(b)
	switch {
	case err != nil:
		return nil, err
	case major == majorText:
		var text []byte
		if text, rest, err = str(b, majorText); err != nil {
			return nil, fmt.Errorf("type: %w", err)
		}
		m.Media = string(text)
	case major == majorUint && arg > 0 && arg <= math.MaxUint16:
		m.Format = uint16(arg)
	default:
		return nil, fmt.Errorf("type: major type %d with %d, must be text or a content-format from 1 to 65535", major, arg)
	}
	if m.Value, rest, err = str(rest, majorBytes); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	if n == 3 {
		if major, arg, rest, err = head(rest); err != nil {
			return nil, err
		}
		if major != majorUint || arg < 1 || arg > 15 {
			return nil, fmt.Errorf("indicator of major type %d with %d, must be 1 to 15", major, arg)
		}
		m.Indicator = uint8(arg)
	}
	return rest, nil
}

func (m *Message) parseTag(tag uint64, b []byte) (rest []byte, err error) {
	m.Form = CBORTag
	if tag < minTN || tag > maxTN {
		if rest, err = skip(b, 0); err != nil {
			return nil, fmt.Errorf("CBOR tag %d: %w", tag, err)
		}
		m.Tag, m.Value = tag, slices.Clip(b[:len(b)-len(rest)])
		return rest, nil
	}
	format, ok := formatOf(tag)
	if !ok || format == 0 {
		return nil, fmt.Errorf("CBOR tag %d, which no content-format from 1 to 65535 has", tag)
	}
	m.Format = format
	if m.Value, rest, err = str(b, majorBytes); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return rest, nil
}

func (m *Message) parseCollection(n uint64, b []byte, depth int) (rest []byte, err error) {
	m.Form = CBOR
	switch {
	case depth >= MaxDepth:
		return nil, fmt.Errorf("collections nested deeper than %d", MaxDepth)
	case n > MaxItems+1:
		return nil, fmt.Errorf("a collection of %d items, at most %d allowed", n, MaxItems)
	}
	for i := range int(n) {
		var item Item
		if b, err = item.parseLabel(b); err != nil {
			return nil, fmt.Errorf("label: %w", err)
		}
		if item.Text == typeLabel {
			var text []byte
			text, b, err = str(b, majorText)
			switch {
			case err != nil:
				return nil, fmt.Errorf("the collection's type: %w", err)
			case m.CollectionType != "":
				return nil, errors.New("the collection's type twice")
			case len(text) == 0:
				return nil, errors.New("an empty type of a collection")
			}
			m.CollectionType, m.typeAt = string(text), i
			continue
		}
		inner, rest, err := parseCBOR(b, depth+1)
		if err != nil {
			return nil, fmt.Errorf("item %s: %w", item.label(), err)
		}
		item.Message, b = *inner, rest
		m.Items = append(m.Items, item)
	}
	if !m.IsCollection() {
		return nil, errors.New("a collection without items")
	}
	return b, nil
}

func (i *Item) parseLabel(b []byte) (rest []byte, err error) {
	major, arg, rest, err := head(b)
	switch {
	case err != nil:
		return nil, err
	case major == majorUint && arg <= math.MaxInt64:
		i.Number = int64(arg)
		return rest, nil
	case major == majorNegInt && arg <= math.MaxInt64:
		i.Number = -1 - int64(arg)
		return rest, nil
	case major == majorText && arg > 0:
		text, rest, err := str(b, majorText)
		i.Text = string(text)
		return rest, err
	}
	return nil, fmt.Errorf("major type %d with %d, must be text or an integer of 64 bits", major, arg)
}

// skip steps over one well-formed data item of definite length.
func skip(b []byte, depth int) (rest []byte, err error) {
	const deepest = 16
	if depth > deepest {
		return nil, fmt.Errorf("nested deeper than %d", deepest)
	}
	major, n, rest, err := head(b)
	if err != nil {
		return nil, err
	}
	switch major {
	case majorBytes, majorText:
		_, rest, err = str(b, major)
		return rest, err
	case majorTag:
		return skip(rest, depth+1)
	case majorMap:
		if n > uint64(len(rest)) {
			return nil, errors.New("CBOR ends early")
		}
		n *= 2
	case majorArray:
	default:
		return rest, nil
	}
	for ; n > 0; n-- { // ends with the bytes: each item has one at least
		if rest, err = skip(rest, depth+1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// checkTagged checks that value is what a tag that Parse reads may have.
func checkTagged(tag uint64, value []byte) error {
	if tag >= minTN && tag <= maxTN {
		return fmt.Errorf("CBOR tag %d, which is derived from a content-format", tag)
	}
	rest, err := skip(value, 0)
	if err != nil {
		return fmt.Errorf("CBOR tag %d: %w", tag, err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("CBOR tag %d with %d bytes behind its item", tag, len(rest))
	}
	return nil
}

func appendHead(b []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(b, major|byte(arg))
	case arg <= math.MaxUint8:
		return append(b, major|24, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), arg)
}

func appendString[T string | []byte](b []byte, major byte, s T) []byte {
	return append(appendHead(b, major, uint64(len(s))), s...)
}

func (m *Message) appendCBOR(b []byte) []byte {
	switch {
	case m.IsCollection():
		return m.appendCollection(b)
	case m.Form == CBORTag && m.Tag != 0:
		return append(appendHead(b, majorTag, m.Tag), m.Value...)
	case m.Form == CBORTag:
		return appendString(appendHead(b, majorTag, TN(m.Format)), majorBytes, m.Value)
	}
	n := uint64(2)
	if m.Indicator != 0 {
		n = 3
	}
	b = appendHead(b, majorArray, n)
	if m.Media != "" {
		b = appendString(b, majorText, m.Media)
	} else {
		b = appendHead(b, majorUint, uint64(m.Format))
	}
	b = appendString(b, majorBytes, m.Value)
	if m.Indicator != 0 {
		b = appendHead(b, majorUint, uint64(m.Indicator))
	}
	return b
}

func (m *Message) appendCollection(b []byte) []byte {
	n := uint64(len(m.Items))
	if m.CollectionType != "" {
		n++
	}
	b = appendHead(b, majorMap, n)
	appendType := func() {
		b = appendString(appendString(b, majorText, typeLabel), majorText, m.CollectionType)
	}
	for i := range m.Items {
		if m.CollectionType != "" && i == m.typeAt {
			appendType()
		}
		item := &m.Items[i]
		switch {
		case item.Text != "":
			b = appendString(b, majorText, item.Text)
		case item.Number >= 0:
			b = appendHead(b, majorUint, uint64(item.Number))
		default:
			b = appendHead(b, majorNegInt, uint64(-1-item.Number))
		}
		b = item.Message.appendCBOR(b)
	}
	if m.CollectionType != "" && m.typeAt >= len(m.Items) {
		appendType()
	}
	return b
}
