package cmw

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

// base64url refuses what encodes no byte: padding, line breaks, spare bits.
var base64url = base64.RawURLEncoding.Strict()

func parseJSON(data []byte, depth int) (*Message, error) {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) > 0 && data[0] == '{' {
		return parseJSONCollection(data, depth)
	}
	elements, err := strictjson.Array(data)
	if err != nil {
		return nil, err
	}
	if len(elements) != 2 && len(elements) != 3 {
		return nil, fmt.Errorf("a record of %d elements, must be 2 or 3", len(elements))
	}
	m := &Message{Form: JSON}
	if m.Media, err = strictjson.String(elements[0]); err != nil {
		return nil, fmt.Errorf("type: %w", err)
	}
	if m.Media == "" {
		return nil, errors.New("an empty type")
	}
	text, err := strictjson.String(elements[1])
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	if bytes.ContainsAny([]byte(text), "\r\n") { // which the decoder skips
		return nil, errors.New("value: a line break in base64url")
	}
	if m.Value, err = base64url.DecodeString(text); err != nil {
		return nil, fmt.Errorf("value: not base64url without padding: %w", err)
	}
	if len(elements) == 3 {
		// A fraction or an exponent is an error of Unmarshal.
		if err := json.Unmarshal(elements[2], &m.Indicator); err != nil || m.Indicator == 0 {
			return nil, fmt.Errorf("indicator %.32q, must be 1 to 15", elements[2])
		}
	}
	return m, m.check(depth)
}

func parseJSONCollection(data []byte, depth int) (*Message, error) {
	if depth >= MaxDepth {
		return nil, fmt.Errorf("collections nested deeper than %d", MaxDepth)
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	if len(members) > MaxItems+1 {
		return nil, fmt.Errorf("a collection of %d items, at most %d allowed", len(members), MaxItems)
	}
	m := &Message{Form: JSON}
	for i, member := range members {
		if member.Name == typeLabel {
			if m.CollectionType, err = strictjson.String(member.Value); err != nil || m.CollectionType == "" {
				return nil, fmt.Errorf("the collection's type %.64q, must be text", member.Value)
			}
			m.typeAt = i
			continue
		}
		inner, err := parseJSON(member.Value, depth+1)
		if err != nil {
			return nil, fmt.Errorf("item %.64q: %w", member.Name, err)
		}
		m.Items = append(m.Items, Item{Text: member.Name, Message: *inner})
	}
	if !m.IsCollection() {
		return nil, errors.New("a collection without items")
	}
	return m, m.check(depth)
}

func (m *Message) appendJSON(b []byte) []byte {
	if m.IsCollection() {
		sep := byte('{')
		for i := range m.Items {
			if m.CollectionType != "" && i == m.typeAt {
				b = append(quote(append(b, sep), typeLabel), ':')
				b, sep = quote(b, m.CollectionType), ','
			}
			b = append(quote(append(b, sep), m.Items[i].Text), ':')
			b, sep = m.Items[i].Message.appendJSON(b), ','
		}
		if m.CollectionType != "" && m.typeAt >= len(m.Items) {
			b = append(quote(append(b, sep), typeLabel), ':')
			b = quote(b, m.CollectionType)
		}
		return append(b, '}')
	}
	b = quote(append(b, '['), m.Media)
	b = append(b, `,"`...)
	b = base64url.AppendEncode(b, m.Value)
	b = append(b, '"')
	if m.Indicator != 0 {
		b = fmt.Appendf(b, ",%d", m.Indicator)
	}
	return append(b, ']')
}

// quote appends s as a JSON string.
func quote(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string has no error
	return append(b, text...)
}
