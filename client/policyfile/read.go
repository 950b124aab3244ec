package policyfile

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/redoubt-tee/redoubt/attest"
)

// anyWord stands for all values, where a key may.
const anyWord = "any"

const (
	maxName = 200 // bytes of a name for people
	maxText = 200 // bytes of another string
)

// A reader reads one file.
type reader struct {
	data    []byte
	values  int
	tooDeep bool
	errs    []*Error
	failed  int
	keys    map[string][]string // that each table read may have, by its path with * for an index
	all     map[string][]string // the same of all tables that there are, once asked for
}

// A table is one of the file's, while it is read.
type table struct {
	r     *reader
	v     *value
	path  string // with a * for an index
	known []string
}

func (r *reader) table(v *value, path string) *table { return &table{r: r, v: v, path: path} }

// get returns a key's value, or nil.
func (t *table) get(name string) *value {
	t.known = append(t.known, name)
	return t.v.fields[name]
}

// need is get for a key that must be there.
func (t *table) need(name, what string) *value {
	v := t.get(name)
	if v == nil {
		t.r.fail(t.v.offset, join(t.v.key, name), ErrMissing, "missing: expected %s", what)
	}
	return v
}

// done notes the keys that nobody asked for.
func (t *table) done() {
	t.r.keys[t.path] = t.known
	for _, name := range t.v.names {
		if !slices.Contains(t.known, name) {
			v := t.v.fields[name]
			t.r.fail(v.offset, v.key, ErrKey, "no such key%s", t.r.suggest(t.path, name, t.known))
		}
	}
}

// is notes it if v is not of a kind.
func (r *reader) is(v *value, kind unstable.Kind, expected string) bool {
	if v.kind != kind {
		r.fail(v.offset, v.key, ErrType, "expected %s, found %s", expected, v.describe())
	}
	return v.kind == kind
}

// isAny reports whether v is the word that stands for all values.
func (v *value) isAny() bool { return v.kind == unstable.String && v.text == anyWord }

// describe says what v is, in a few words.
func (v *value) describe() string {
	switch v.kind {
	case tableKind:
		return "a table"
	case listKind:
		return "a list"
	case unstable.String:
		return "the string " + quote(v.text)
	case unstable.Bool:
		return v.text
	case unstable.Integer:
		return "the integer " + cut(v.text)
	case unstable.Float:
		return "the number " + cut(v.text)
	}
	return "the date or time " + cut(v.text)
}

func quote(s string) string { return strconv.QuoteToGraphic(cut(s)) }

func cut(s string) string {
	if len(s) > 70 {
		return s[:64] + "..."
	}
	return s
}

func (t *table) bool(name string) bool {
	v := t.get(name)
	return v != nil && t.r.is(v, unstable.Bool, "true or false") && v.text == "true"
}

// integer reads a number of 0 to most, or 0 if it is not there.
func (t *table) integer(name string, most int64) int64 {
	if v := t.get(name); v != nil {
		return t.r.integer(v, most)
	}
	return 0
}

func (r *reader) integer(v *value, most int64) int64 {
	expected := fmt.Sprintf("an integer from 0 to %d", most)
	if !r.is(v, unstable.Integer, expected) {
		return 0
	}
	n, err := strconv.ParseInt(v.text, 0, 64)
	if err != nil || n < 0 || n > most {
		r.fail(v.offset, v.key, ErrValue, "expected %s, found %s", expected, cut(v.text))
		return 0
	}
	return n
}

// text reads a string that is not empty, and has nothing that doesn't print.
func (r *reader) text(v *value, most int, expected string) (string, bool) {
	if !r.is(v, unstable.String, expected) {
		return "", false
	}
	switch {
	case v.text == "":
		r.fail(v.offset, v.key, ErrValue, "expected %s, found the empty string; fill it in, or leave it out", expected)
	case len(v.text) > most:
		r.fail(v.offset, v.key, ErrValue, "expected %s of at most %d bytes, found %d", expected, most, len(v.text))
	case !utf8.ValidString(v.text) || strings.ContainsFunc(v.text, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.fail(v.offset, v.key, ErrValue, "expected %s of characters that print, found %s", expected, quote(v.text))
	case strings.TrimSpace(v.text) != v.text:
		r.fail(v.offset, v.key, ErrValue, "expected %s without space around it, found %s", expected, quote(v.text))
	default:
		return v.text, true
	}
	return "", false
}

// list returns a list's items; none if it is not there.
func (t *table) list(name, expected string) []*value {
	v := t.get(name)
	if v == nil || !t.r.is(v, listKind, expected) {
		return nil
	}
	return v.items
}

// words reads a list of strings, each once. Accepted are those of accepted, or
// if that is nil those that valid accepts.
func (t *table) words(name, what string, accepted []string, valid func(string) bool) []string {
	var words []string
	there := map[string]bool{}
	for _, v := range t.list(name, "a list, each item "+what) {
		word, ok := t.r.text(v, maxText, what)
		switch {
		case !ok:
		case word == anyWord && !slices.Contains(accepted, word):
			t.r.fail(v.offset, v.key, ErrValue, "expected %s, found %q, which is not one of a list", what, word)
		case accepted != nil && !slices.Contains(accepted, word):
			t.r.fail(v.offset, v.key, ErrValue, "expected one of %s, found %s%s", strings.Join(accepted, ", "), quote(word), didYouMean(word, accepted))
		case valid != nil && !valid(word):
			t.r.fail(v.offset, v.key, ErrValue, "expected %s, found %s", what, quote(word))
		case there[word]:
			t.r.fail(v.offset, v.key, ErrValue, "%s is there twice: give it once", quote(word))
		default:
			there[word] = true
			words = append(words, word)
		}
	}
	return words
}

// duration reads a time like 72h.
func (t *table) duration(name string, most time.Duration) time.Duration {
	v := t.get(name)
	if v == nil {
		return 0
	}
	const expected = `a time such as "72h" or "90m"`
	text, ok := t.r.text(v, maxText, expected)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil && strings.HasSuffix(text, "d"):
		t.r.fail(v.offset, v.key, ErrValue, "expected %s, found %s; give days in hours, a day as 24h", expected, quote(text))
	case err != nil:
		t.r.fail(v.offset, v.key, ErrValue, "expected %s, found %s", expected, quote(text))
	case d < 0:
		t.r.fail(v.offset, v.key, ErrValue, "expected %s that is not negative, found %s", expected, quote(text))
	case d > most:
		t.r.fail(v.offset, v.key, ErrValue, "expected at most %dh (%d days), found %s; fetch collateral anew instead", most/time.Hour, most/(24*time.Hour), quote(text))
	default:
		return d
	}
	return 0
}

// date reads a day, from its beginning in UTC, or a time with its zone.
func (t *table) date(name string) time.Time {
	v := t.get(name)
	if v == nil {
		return time.Time{}
	}
	const expected = "a date without quotes, such as 2024-03-13"
	layout, text := time.DateOnly, v.text
	switch v.kind {
	case unstable.LocalDate:
	case unstable.DateTime:
		layout, text = time.RFC3339Nano, strings.ToUpper(strings.Replace(text, " ", "T", 1))
	default:
		t.r.fail(v.offset, v.key, ErrType, "expected %s, or a time with its zone, found %s", expected, v.describe())
		return time.Time{}
	}
	date, err := time.Parse(layout, text)
	if err != nil || date.Year() < 2015 {
		t.r.fail(v.offset, v.key, ErrValue, "expected %s, of 2015 or later, found %s", expected, cut(v.text))
		return time.Time{}
	}
	return date.UTC()
}

// A form is how reference values of a kind look.
type form struct {
	what  string            // "the launch digest (SHA-384)"
	sizes []int             // in bytes; of hexadecimal digits
	valid func(string) bool // if not nil, the value is this text itself
}

func (f form) expected() string {
	if f.valid != nil {
		return f.what
	}
	var sizes []string
	for _, n := range f.sizes {
		sizes = append(sizes, fmt.Sprint(2*n))
	}
	return fmt.Sprintf("%s in %s hexadecimal digits", f.what, strings.Join(sizes, " or "))
}

// digest reads one reference value.
func (r *reader) digest(v *value, f form) []byte {
	text, ok := r.text(v, 1<<10, f.expected())
	if !ok {
		return nil
	}
	if f.valid != nil {
		if !f.valid(text) {
			r.fail(v.offset, v.key, ErrValue, "expected %s, found %s", f.what, quote(text))
			return nil
		}
		return []byte(text)
	}
	digest, err := hex.DecodeString(text)
	if err == nil && slices.Contains(f.sizes, len(digest)) {
		return digest
	}
	found, advice := fmt.Sprintf("%d", len(text)), ""
	if i := strings.IndexFunc(text, func(c rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", c) }); i >= 0 {
		found = quote(text)
		switch {
		case text == anyWord:
			advice = `; "any" is not one of a list, but stands in its place`
		case strings.HasPrefix(text, "0x"), strings.ContainsRune(text, ':'), strings.ContainsRune(text, ' '):
			advice = "; leave out prefixes, colons and spaces"
		case strings.ContainsAny(text, "+/=ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ"):
			advice = "; if it is base64, convert it to hexadecimal"
		}
	} else if len(f.sizes) > 0 && len(text) < 2*f.sizes[0] {
		advice = "; is it cut off?"
	}
	r.fail(v.offset, v.key, ErrValue, "expected %s, found %s%s", f.expected(), found, advice)
	return nil
}

// reference reads one of a list: the value, or a table of name and digest.
func (r *reader) reference(v *value, path string, f form) (attest.Reference, bool) {
	if v.kind == unstable.String {
		digest := r.digest(v, f)
		return attest.Reference{Digest: digest}, digest != nil
	}
	var ref attest.Reference
	if v.kind != tableKind {
		r.fail(v.offset, v.key, ErrType, `expected %s, or { name = "...", digest = "..." }, found %s`, f.expected(), v.describe())
		return ref, false
	}
	t := r.table(v, path)
	ref = t.named(f, false)
	t.done()
	return ref, ref.Digest != nil
}

// named reads the keys name and digest.
func (t *table) named(f form, needName bool) attest.Reference {
	var ref attest.Reference
	const what = "a name for people"
	name := t.get("name")
	if name == nil && needName {
		t.r.fail(t.v.offset, join(t.v.key, "name"), ErrMissing, "missing: expected %s", what)
	}
	if name != nil {
		ref.Name, _ = t.r.text(name, maxName, what)
	}
	if v := t.need("digest", f.expected()); v != nil {
		ref.Digest = t.r.digest(v, f)
	}
	return ref
}

// references reads a list of reference values, each once. noAny says what to do
// instead of "any".
func (t *table) references(name string, f form, noAny string) []attest.Reference {
	v := t.get(name)
	if v == nil {
		return nil
	}
	expected := "a list, each item " + f.expected()
	if noAny == "" {
		expected += `; or the word "any"`
	}
	if v.isAny() {
		t.r.fail(v.offset, v.key, ErrValue, `expected %s, found "any"; %s`, expected, noAny)
		return nil
	}
	if !t.r.is(v, listKind, expected) {
		return nil
	}
	return t.r.items(v, join(t.path, name)+"[*]", f)
}

func (r *reader) items(list *value, path string, f form) []attest.Reference {
	var refs []attest.Reference
	there := map[string]bool{}
	for _, v := range list.items {
		ref, ok := r.reference(v, path, f)
		switch {
		case !ok:
		case there[string(ref.Digest)]:
			r.fail(v.offset, v.key, ErrValue, "the same value is in this list twice: give it once")
		default:
			there[string(ref.Digest)] = true
			refs = append(refs, ref)
		}
	}
	return refs
}

// orAny is references, or the word "any".
func (t *table) orAny(name string, f form, refs *[]attest.Reference, anyOne *bool) {
	if v := t.v.fields[name]; v != nil && v.isAny() {
		t.get(name)
		*anyOne = true
		return
	}
	*refs = t.references(name, f, "")
}

// notEmpty notes a list that would check nothing, though it looks as if it
// accepted nothing.
func (t *table) notEmpty(name, otherwise string) {
	if v := t.v.fields[name]; v != nil && v.kind == listKind && len(v.items) == 0 {
		t.r.fail(v.offset, v.key, ErrValue, "expected a list that is not empty: leave the key out, and %s", otherwise)
	}
}
