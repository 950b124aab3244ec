// Package strictjson reads JSON where two readers must not differ: it refuses
// what encoding/json passes over.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Most of what a text may have.
const (
	MaxDepth  = 16      // objects and arrays in each other
	MaxValues = 1 << 13 // values, those of objects and arrays included
)

// ErrJSON is wrapped by all errors of this package.
var ErrJSON = errors.New("JSON not accepted")

// A Member is a member of an object, as it stands in the text.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Check refuses what is not exactly one JSON value in valid UTF-8: anything
// behind it, an object with the same name twice, a string with half of a
// surrogate pair, and more than MaxDepth and MaxValues.
func Check(data []byte) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: not UTF-8", ErrJSON)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	left := MaxValues
	if err := value(dec, 0, &left); err != nil {
		return fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something behind the value", ErrJSON)
	}
	return nil
}

func value(dec *json.Decoder, depth int, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("more than %d values", MaxValues)
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	if s, ok := token.(string); ok {
		return text(s)
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth >= MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			if err := name(dec, seen); err != nil {
				return err
			}
		}
		if err := value(dec, depth+1, left); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func name(dec *json.Decoder, seen map[string]bool) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	s, ok := token.(string)
	if !ok {
		return errors.New("a name that is not a string")
	}
	if seen[s] {
		return fmt.Errorf("the name %.64q twice", s)
	}
	seen[s] = true
	return text(s)
}

// text refuses the character that stands in for what could not be decoded.
func text(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return fmt.Errorf("a string with the replacement character: %.64q", s)
	}
	return nil
}

// Object returns the members of an object that Check accepts, in their order.
func Object(data []byte) ([]Member, error) {
	if err := Check(data); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("%w: not an object", ErrJSON)
	}
	var members []Member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJSON, err)
		}
		m := Member{Name: token.(string)}
		if err := dec.Decode(&m.Value); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJSON, err)
		}
		members = append(members, m)
	}
	return members, nil
}

// Array returns the elements of an array that Check accepts.
func Array(data []byte) ([]json.RawMessage, error) {
	if err := Check(data); err != nil {
		return nil, err
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(data, &elements); err != nil || elements == nil {
		return nil, fmt.Errorf("%w: not an array", ErrJSON)
	}
	return elements, nil
}

// String returns the string that data is.
func String(data []byte) (string, error) {
	var s *string
	if err := json.Unmarshal(data, &s); err != nil || s == nil {
		return "", fmt.Errorf("%w: %.64q is not a string", ErrJSON, data)
	}
	return *s, nil
}
