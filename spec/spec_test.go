// Package spec_test proves that the grammar, the vectors and package wire
// agree.
package spec_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/internal/cddl"
	"github.com/redoubt-tee/redoubt/wire"
)

// enumerations are the types of package wire whose values are text, and the
// rules that list them.
var enumerations = map[string]string{
	"State":      "state",
	"Kind":       "kind",
	"Code":       "code",
	"Profile":    "profile",
	"Capability": "capabilities",
	"End":        "end",
	"StreamType": "stream-type",
}

func grammar(t *testing.T) *cddl.Schema {
	t.Helper()
	src, err := os.ReadFile("redoubt.cddl")
	if err != nil {
		t.Fatal(err)
	}
	s, err := cddl.Parse(string(src))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// messageTypes returns, for each name on the wire, what makes a message of its
// type. It has the types of the samples.
func messageTypes(t *testing.T) map[string]func() wire.Message {
	t.Helper()
	types := map[string]func() wire.Message{}
	for _, s := range samples {
		typ := reflect.TypeOf(s.m).Elem()
		types[name(t, s.m)] = func() wire.Message { return reflect.New(typ).Interface().(wire.Message) }
	}
	return types
}

func TestEveryMessageHasARuleAndAVector(t *testing.T) {
	t.Parallel()
	src := parseWire(t)
	names := slices.Sorted(maps.Values(src.messages))
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("two messages of package wire have the same name: %q", names)
	}
	if rules := slices.Sorted(slices.Values(grammar(t).Alternatives("redoubt-message"))); !slices.Equal(rules, names) {
		t.Errorf("redoubt-message is %q\npackage wire has %q", rules, names)
	}
	sampled := map[string]string{}
	for _, s := range samples {
		sampled[reflect.TypeOf(s.m).Elem().Name()] = name(t, s.m)
	}
	if !maps.Equal(sampled, src.messages) {
		t.Errorf("there are samples of %q\npackage wire has %q", sampled, src.messages)
	}
	var vectors []string
	for _, v := range load[[]messageVector](t, "messages.json") {
		vectors = append(vectors, v.Message)
	}
	slices.Sort(vectors)
	if vectors = slices.Compact(vectors); !slices.Equal(vectors, names) {
		t.Errorf("there are vectors of %q\npackage wire has %q", vectors, names)
	}
}

func TestNoRuleIsUnused(t *testing.T) {
	t.Parallel()
	g := grammar(t)
	used := g.Reachable("redoubt-message")
	for _, rule := range g.Rules() {
		if !slices.Contains(used, rule) {
			t.Errorf("no message needs the rule %s", rule)
		}
	}
}

func TestKeysAreTheFieldsOfTheTypes(t *testing.T) {
	t.Parallel()
	g := grammar(t)
	for message, m := range messageTypes(t) {
		want := map[string]bool{}
		tags(reflect.TypeOf(m()).Elem(), want)
		if keys := g.Keys(message); !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%s: the grammar has the keys %q, the type %q", message, keys, slices.Sorted(maps.Keys(want)))
		}
	}
}

// tags adds the keys of typ and of what is in it.
func tags(typ reflect.Type, keys map[string]bool) {
	switch typ.Kind() {
	case reflect.Slice:
		tags(typ.Elem(), keys)
	case reflect.Struct:
		for i := range typ.NumField() {
			keys[typ.Field(i).Tag.Get("cbor")] = true
			tags(typ.Field(i).Type, keys)
		}
	}
}

func TestEnumerations(t *testing.T) {
	t.Parallel()
	g, src := grammar(t), parseWire(t)
	for _, typ := range src.strings {
		if enumerations[typ] == "" {
			t.Errorf("no rule is named for the values of wire.%s", typ)
		}
	}
	check := func(what, rule string, want []string) {
		texts := slices.Sorted(slices.Values(g.Texts(rule)))
		if want = slices.Sorted(slices.Values(want)); len(want) == 0 || !slices.Equal(texts, want) {
			t.Errorf("rule %s lists %q\n%s are %q", rule, texts, what, want)
		}
	}
	for typ, rule := range enumerations {
		check("the constants of wire."+typ, rule, src.consts[typ])
	}
	check("the constants wire.EvidenceXXX", "evidence-type", src.evidence)
}

// TestChangedVectors changes every vector in every place; what is left is not a
// valid message for wire, nor for the grammar.
func TestChangedVectors(t *testing.T) {
	t.Parallel()
	g, types := grammar(t), messageTypes(t)
	seen := map[string]bool{} // the place in the message, without indices
	for _, v := range load[[]messageVector](t, "messages.json") {
		changed(v.Message, decode(v.CBOR), func(where string, env any) {
			if seen[where] {
				return
			}
			seen[where] = true
			data := encode(env)
			if err := wire.Unmarshal(data, types[v.Message]()); err == nil {
				t.Errorf("%s: wire accepts %x", where, data)
			}
			if err := g.Validate(v.Message, data); err == nil {
				t.Errorf("%s: the grammar accepts %x", where, data)
			}
		})
	}
	if len(seen) < 500 {
		t.Errorf("only %d changes were made", len(seen))
	}
}

// anyText matches where any text will do.
var anyText = regexp.MustCompile(`\.args\[\]$|^runner-start.*\[\]$|^keepldr-config.*\.(wasmldr|dev)$`)

// changed calls try with root after each change of one place in it: a value of
// another type, a key less, a key more.
func changed(where string, root any, try func(where string, root any)) {
	var walk func(where string, v any, put func(any))
	walk = func(where string, v any, put func(any)) {
		for _, other := range []any{nil, true, uint64(1 << 63), -1, 0.5, "\x00", []byte{}, []any{object{}}, object{"": 1}} {
			if reflect.TypeOf(other) == reflect.TypeOf(v) {
				if _, isText := v.(string); !isText {
					continue
				}
				if anyText.MatchString(where) {
					continue
				}
				other = strings.Repeat("\x00", 5000)
			}
			if reflect.TypeOf(v) == reflect.TypeFor[uint64]() && reflect.TypeOf(other) == reflect.TypeFor[int]() {
				other = int64(-1)
			}
			put(other)
			try(fmt.Sprintf("%s = %.20v", where, other), root)
			put(v)
		}
		switch v := v.(type) {
		case []any:
			for i := range v {
				walk(where+"[]", v[i], func(x any) { v[i] = x })
			}
		case object:
			for _, key := range slices.SortedFunc(maps.Keys(v), func(a, b any) int { return strings.Compare(a.(string), b.(string)) }) {
				value, at := v[key], where+"."+key.(string)
				delete(v, key)
				try(at+" missing", root)
				v[key.(string)+"2"] = value
				try(at+" renamed", root)
				delete(v, key.(string)+"2")
				v[key] = value
				walk(at, value, func(x any) { v[key] = x })
			}
			v["extra"] = uint64(1)
			try(where+" with another key", root)
			delete(v, "extra")
		}
	}
	walk(where, root, func(x any) { root = x })
}

// TestRandomMessages makes random changes to the samples. What wire encodes, it
// decodes to the same, and the grammar has it.
func TestRandomMessages(t *testing.T) {
	t.Parallel()
	g, types := grammar(t), messageTypes(t)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	r := &randomizer{rand.New(rand.NewPCG(1, 2)), parseWire(t).consts}
	different := map[string]map[string]bool{}
	for range rounds {
		for _, s := range samples {
			message := name(t, s.m)
			m := types[message]()
			if err := wire.Unmarshal(must(wire.Marshal(s.m)), m); err != nil {
				t.Fatal(err)
			}
			r.value(reflect.ValueOf(m).Elem(), func() bool { _, err := wire.Marshal(m); return err == nil })
			data, err := wire.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Validate(message, data); err != nil {
				t.Errorf("%v\nin %x", err, data)
			}
			again := types[message]()
			if err := wire.Unmarshal(data, again); err != nil {
				t.Errorf("%v\nin %x", err, data)
			}
			if b, err := wire.Marshal(again); err != nil || !bytes.Equal(b, data) {
				t.Errorf("%s: encodes to %x, then to %x, %v", message, data, b, err)
			}
			if different[message] == nil {
				different[message] = map[string]bool{}
			}
			different[message][string(data)] = true
		}
	}
	for message, m := range types {
		if reflect.TypeOf(m()).Elem().NumField() > 0 && len(different[message]) < 4 {
			t.Errorf("%s: only %d different values were made", message, len(different[message]))
		}
	}
}

// A randomizer changes values at random.
type randomizer struct {
	*rand.Rand
	consts map[string][]string
}

// value changes parts of v, and takes back each change after which valid is
// false.
func (r *randomizer) value(v reflect.Value, valid func() bool) {
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			r.value(v.Field(i), valid)
		}
		return
	case reflect.Slice:
		r.slice(v)
		if !valid() {
			v.Set(old)
		}
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range min(v.Len(), 8) {
				r.value(v.Index(i), valid)
			}
		}
		return
	}
	for range 4 {
		switch v.Kind() {
		case reflect.Array:
			for i := range v.Len() {
				v.Index(i).SetUint(uint64(r.IntN(256)))
			}
		case reflect.String:
			v.SetString(r.text(v.Type().Name()))
		case reflect.Bool:
			v.SetBool(r.IntN(2) == 0)
		case reflect.Uint64, reflect.Uint32:
			v.SetUint(r.Uint64() >> r.IntN(64))
		default:
			panic("no random values of " + v.Type().String())
		}
		if valid() {
			return
		}
		v.Set(old)
	}
}

func (r *randomizer) slice(v reflect.Value) {
	lengths := []int{0, 1, 2, v.Len(), v.Len(), v.Len() + 1, r.IntN(20)}
	n := lengths[r.IntN(len(lengths))]
	made := reflect.MakeSlice(v.Type(), n, n)
	for i := range n {
		switch {
		case v.Type().Elem().Kind() == reflect.Uint8:
			made.Index(i).SetUint(uint64(r.IntN(256)))
		case v.Len() > 0:
			made.Index(i).Set(v.Index(r.IntN(v.Len())))
		}
	}
	v.Set(made)
}

func (r *randomizer) text(typ string) string {
	if consts := r.consts[typ]; len(consts) > 0 && r.IntN(8) > 0 {
		return consts[r.IntN(len(consts))]
	}
	alphabet := []rune([]string{"abcdefghijklmnopqrstuvwxyz234567", "ab=é\n\t€\U0001F511 ", "=\x00\x1b\u202e"}[r.IntN(3)])
	lengths := []int{0, 1, wire.IDSize, wire.IDSize, r.IntN(100), wire.MaxText / 4, wire.MaxText, wire.MaxText + 1}
	text := make([]rune, lengths[r.IntN(len(lengths))])
	for i := range text {
		text[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(text)
}

// TestLimits holds the limits that are too large for a file of vectors against
// both: the most is allowed, and one more is not.
func TestLimits(t *testing.T) {
	t.Parallel()
	g, types := grammar(t), messageTypes(t)
	list := func(n int, item any) []any {
		items := make([]any, n)
		for i := range items {
			items[i] = item
		}
		return items
	}
	report := object{"kind": "sgx", "available": false, "checks": []any{}}
	check := object{"name": "", "ok": true, "found": "", "advice": ""}
	for _, test := range []struct {
		message, key string
		most, over   any
	}{
		{"evidence", "report", make([]byte, wire.MaxEvidence), make([]byte, wire.MaxEvidence+1)},
		{"evidence", "auxblob", make([]byte, wire.MaxEvidence), make([]byte, wire.MaxEvidence+1)},
		{"platform", "kinds", list(wire.MaxKinds, report), list(wire.MaxKinds+1, report)},
		{"runner-ready", "sandbox", list(wire.MaxChecks, check), list(wire.MaxChecks+1, check)},
		{"runner-start", "args", list(wire.MaxArgs, ""), list(wire.MaxArgs+1, "")},
		{"runner-start", "env", list(wire.MaxArgs, "A="), list(wire.MaxArgs+1, "A=")},
	} {
		for _, value := range []any{test.most, test.over} {
			env := decode(first(t, test.message)).([]any)
			env[2].(object)[test.key] = value
			data := encode(env)
			what := fmt.Sprintf("%s: %s of %d", test.message, test.key, reflect.ValueOf(value).Len())
			wantOK := reflect.ValueOf(value).Len() == reflect.ValueOf(test.most).Len()
			if err := wire.Unmarshal(data, types[test.message]()); (err == nil) != wantOK {
				t.Errorf("%s: wire says %v", what, err)
			}
			if err := g.Validate(test.message, data); (err == nil) != wantOK {
				t.Errorf("%s: the grammar says %v", what, err)
			}
		}
	}
}
