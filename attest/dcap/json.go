package dcap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits on a JSON document of Intel's. Real ones have about 7 KiB.
const (
	maxDocument = 256 << 10
	maxMembers  = 64  // of one object
	maxElements = 256 // of one array, but for those that nobody knows
	maxDepth    = 16
)

// A document is a JSON object with Intel's signature over its bytes.
type document struct {
	signed    []byte   // as they stand in the document
	signature [64]byte // R and S, big-endian
}

// parseDocument takes {"NAME":{...},"signature":"..."} apart. Nothing else may be
// in it, and no object in what is signed may have a name twice, not even with other
// letter case: readers differ in which one they take. Names that nobody knows are left alone: Intel
// adds some from time to time, and vouches for them.
func parseDocument(data []byte, name string) (*document, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%d bytes, must be at most %d", len(data), maxDocument)
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errors.New("not JSON in UTF-8")
	}
	data = bytes.TrimSpace(data)
	if data[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	all, err := members(nil, data)
	if err != nil {
		return nil, err
	}
	d := new(document)
	for i, m := range all {
		for _, other := range all[:i] {
			if bytes.Equal(m.name, other.name) {
				return nil, fmt.Errorf("%.64q is there twice", m.name)
			}
		}
		switch string(m.name) {
		case name:
			d.signed = m.value
		case "signature":
			sig, err := hex.DecodeString(text(m.value))
			if err != nil || len(sig) != len(d.signature) {
				return nil, fmt.Errorf("signature is not a string of %d hex digits", 2*len(d.signature))
			}
			d.signature = [64]byte(sig)
		default:
			return nil, fmt.Errorf("%.64q beside %q and signature", m.name, name)
		}
	}
	if d.signed == nil || d.signed[0] != '{' || d.signature == [64]byte{} {
		return nil, fmt.Errorf("must be an object %q and a signature", name)
	}
	return d, checkNames(d.signed, maxDepth)
}

// member is a member of a JSON object. The value is JSON, without white space
// around it.
type member struct {
	name  []byte // without quotes and escapes
	value []byte
}

// members appends the members of an object to all. The object must be valid JSON.
func members(all []member, object []byte) ([]member, error) {
	for i := skipSpace(object, 1); object[i] != '}'; {
		if len(all) == maxMembers {
			return nil, fmt.Errorf("more than %d members in an object", maxMembers)
		}
		end := skipValue(object, i)
		name := unquote(object[i:end])
		i = skipSpace(object, skipSpace(object, end)+1) // the colon
		end = skipValue(object, i)
		all = append(all, member{name, object[i:end]})
		if i = skipSpace(object, end); object[i] == ',' {
			i = skipSpace(object, i+1)
		}
	}
	return all, nil
}

// elements goes through the elements of an array, which must be valid JSON.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := skipSpace(array, 1); array[i] != ']'; {
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			if i = skipSpace(array, end); array[i] == ',' {
				i = skipSpace(array, i+1)
			}
		}
	}
}

// unquote returns what a JSON string says.
func unquote(value []byte) []byte {
	if !bytes.ContainsRune(value, '\\') {
		return value[1 : len(value)-1]
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return nil
	}
	return []byte(s)
}

// text returns what a JSON string says, empty if value is none.
func text(value []byte) string {
	if value[0] != '"' {
		return ""
	}
	return string(unquote(value))
}

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

// skipValue returns where the value that begins at i ends. What follows in b must
// be valid JSON.
func skipValue(b []byte, i int) int {
	depth := 0
	for {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\n', '\r':
		default: // a number or a word
			for inLiteral(b[i+1]) {
				i++
			}
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

// inLiteral reports whether c can be part of a number or a word.
func inLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E' || c == '+' || c == '-' || c == '.'
}

// checkNames refuses objects that have a name twice, at any depth.
func checkNames(value []byte, depth int) error {
	if value[0] != '{' && value[0] != '[' {
		return nil
	}
	if depth == 0 {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if value[0] == '[' {
		for e := range elements(value) {
			if err := checkNames(e, depth-1); err != nil {
				return err
			}
		}
		return nil
	}
	var buf [8]member // most have fewer
	all, err := members(buf[:0], value)
	if err != nil {
		return err
	}
	for i, m := range all {
		for _, other := range all[:i] {
			if bytes.EqualFold(m.name, other.name) {
				return fmt.Errorf("%.64q is there twice in an object", m.name)
			}
		}
		if err := checkNames(m.value, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// An object reads the members of a JSON object. The first error sticks, in all
// objects that come from the same one.
type object struct {
	parent *object
	name   string // in parent
	index  int    // in an array of that name, -1 if it is none
	all    []member
	err    *error
}

func newObject(value []byte) *object {
	o := &object{err: new(error)}
	o.all, *o.err = members(nil, value)
	return o
}

func (o *object) fail(name, must string) {
	if *o.err == nil {
		*o.err = fmt.Errorf("%s%s must be %s", o.path(), name, must)
	}
}

// path returns what stands before the names of o's members in errors.
func (o *object) path() string {
	switch {
	case o.parent == nil:
		return ""
	case o.index >= 0:
		return fmt.Sprintf("%s%s[%d].", o.parent.path(), o.name, o.index)
	}
	return o.parent.path() + o.name + "."
}

// value returns a member's value, nil if there is none.
func (o *object) value(name string) []byte {
	for _, m := range o.all {
		if string(m.name) == name {
			return m.value
		}
	}
	return nil
}

func (o *object) text(name string) string {
	v := o.value(name)
	if v == nil || v[0] != '"' {
		o.fail(name, "a string")
		return ""
	}
	return text(v)
}

// array reads an array whose elements begin with first.
func (o *object) array(name string, first byte, must string) [][]byte {
	v := o.value(name)
	if v == nil || v[0] != '[' {
		o.fail(name, "an array")
		return nil
	}
	var all [][]byte
	for e := range elements(v) {
		if e[0] != first || len(all) == maxElements {
			o.fail(name, fmt.Sprintf("an array of %s, at most %d", must, maxElements))
			return nil
		}
		all = append(all, e)
	}
	return all
}

// texts reads an array of strings that need not be there.
func (o *object) texts(name string) []string {
	if o.value(name) == nil {
		return nil
	}
	var all []string
	for _, e := range o.array(name, '"', "strings") {
		all = append(all, text(e))
	}
	return all
}

// number reads a whole number, at most limit.
func (o *object) number(name string, limit uint64) uint64 {
	n, err := strconv.ParseUint(string(o.value(name)), 10, 64)
	if err != nil || n > limit {
		o.fail(name, fmt.Sprintf("a number of 0 to %d", limit))
		return 0
	}
	return n
}

// hex reads size bytes, in letters of any case.
func (o *object) hex(name string, size int) []byte {
	b, err := hex.DecodeString(o.text(name))
	if err != nil || len(b) != size {
		o.fail(name, fmt.Sprintf("%d hex digits", 2*size))
		return make([]byte, size)
	}
	return b
}

func (o *object) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339, o.text(name))
	if err != nil || t.IsZero() {
		o.fail(name, "a time as in RFC 3339")
	}
	return t.UTC()
}

// object reads an object. It is empty if there is none.
func (o *object) object(name string) *object {
	inner := &object{parent: o, name: name, index: -1, err: o.err}
	v := o.value(name)
	if v == nil || v[0] != '{' {
		o.fail(name, "an object")
		return inner
	}
	inner.read(v)
	return inner
}

// objects reads an array of objects.
func (o *object) objects(name string) []*object {
	var all []*object
	for i, e := range o.array(name, '{', "objects") {
		inner := &object{parent: o, name: name, index: i, err: o.err}
		inner.read(e)
		all = append(all, inner)
	}
	return all
}

// numbers reads an array of as many objects as out has, and of each a number of
// a byte.
func (o *object) numbers(name, member string, out []uint8) {
	all := o.array(name, '{', "objects")
	if len(all) != len(out) {
		o.fail(name, fmt.Sprintf("an array of %d", len(out)))
		return
	}
	inner := &object{parent: o, name: name, err: o.err}
	for i, e := range all {
		inner.index = i
		inner.read(e)
		out[i] = uint8(inner.number(member, 0xFF))
	}
}

func (o *object) read(value []byte) {
	var err error
	if o.all, err = members(o.all[:0], value); err != nil && *o.err == nil {
		*o.err = fmt.Errorf("%s %w", o.path(), err)
	}
}
