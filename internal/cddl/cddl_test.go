package cddl

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	// Data is in hexadecimal. An empty reason means that the data matches.
	type data struct{ cbor, reason string }
	tests := []struct {
		grammar string
		data    []data
	}{
		{`a = uint`, []data{
			{"00", ""}, {"1bffffffffffffffff", ""}, {"1801", ""},
			{"20", "is not a uint"}, {"6130", "is not a uint"}, {"f90000", "is not a uint"}, {"f6", "null is not a uint"},
			{"f4", "is not a uint"}, {"40", "is not a uint"}, {"80", "is not a uint"}, {"a0", "is not a uint"},
		}},
		{`a = int`, []data{{"01", ""}, {"20", ""}, {"fb3ff0000000000000", "is not a int"}}},
		{`a = bool`, []data{{"f4", ""}, {"f5", ""}, {"00", "is not a bool"}, {"f6", "is not a bool"}, {"f7", "is not a bool"}}},
		{`a = bstr`, []data{{"40", ""}, {"4101", ""}, {"6161", "is not a bstr"}, {"8101", "is not a bstr"}}},
		{`a = tstr`, []data{{"60", ""}, {"6161", ""}, {"4161", "is not a tstr"}, {"61ff", "invalid UTF-8"}}},
		{`a = "on"`, []data{{"626f6e", ""}, {"626f4e", `is not "on"`}, {"426f6e", `is not "on"`}, {"f5", `is not "on"`}}},
		{`a = 1`, []data{{"01", ""}, {"02", "is not 1"}, {"20", "is not 1"}, {"f93c00", "is not 1"}, {"6131", "is not 1"}}},
		{`a = 0x10`, []data{{"10", ""}, {"11", "is not 16"}}},
		{`a = 3..5`, []data{{"02", "not in 3..5"}, {"03", ""}, {"05", ""}, {"06", "not in 3..5"}, {"22", "not in"}, {"f94400", "not in"}}},
		{`a = 3...5`, []data{{"03", ""}, {"04", ""}, {"05", "not in 3..4"}}},
		{`a = "x" / 1 / [uint]`, []data{{"6178", ""}, {"01", ""}, {"8109", ""}, {"02", "no alternative"}, {"80", "no alternative"}}},
		{`a = ("x" / 1)`, []data{{"01", ""}, {"02", "no alternative"}}},
		{`a = bstr .size 2`, []data{{"420102", ""}, {"4101", "size 1 is not in 2..2"}, {"43010203", "size 3"}, {"626161", "is not a bstr"}}},
		{`a = tstr .size (1..2)`, []data{{"60", "size 0"}, {"6161", ""}, {"62c3a9", ""}, {"63616161", "size 3"}}},
		{`a = uint .size 1`, []data{{"18ff", ""}, {"190100", "needs more than 1 bytes"}}},
		{`a = uint .size 8`, []data{{"1bffffffffffffffff", ""}}},
		{`a = tstr .regexp "[a-c]+"`, []data{{"63616263", ""}, {"60", "does not match"}, {"6164", "does not match"}, {"626164", "does not match"},
			{"62610a", "does not match"}, {"4161", "is not a tstr"}}},
		{`a = {}`, []data{{"a0", ""}, {"a1617801", `key text "x" is not known`}, {"80", "is not a map"}, {"f6", "is not a map"}}},
		{`a = { x: 1, ? "y": uint, }`, []data{
			{"a1617801", ""}, {"a2617801617909", ""}, {"a2617909617801", ""},
			{"a0", `key "x" is missing`}, {"a1617802", "a.x: uint64 2 is not 1"}, {"a261780161796179", "a.y"},
			{"a2617801617a01", "is not known"}, {"a26178010101", "is not known"}, {"a1417801", `key "x" is missing`},
			{"a2617801617801", "duplicate map key"},
		}},
		{`a = []`, []data{{"80", ""}, {"8101", "1 items, only 0 match"}, {"a0", "is not an array"}, {"40", "is not an array"}}},
		{`a = [uint, n: bool]`, []data{{"8201f5", ""}, {"8101", "1 items, more are needed"}, {"8301f5f5", "3 items, only 2"}, {"82f501", "a[0]"}, {"820101", "a[1]"}}},
		{`a = [?"x", ?"y"]`, []data{{"80", ""}, {"816178", ""}, {"816179", ""}, {"8261786179", ""}, {"8261796178", "only 1 match"}, {"8261786178", "a[1]"}}},
		{`a = [*uint]`, []data{{"80", ""}, {"83010203", ""}, {"8201f5", "a[1]: bool true is not a uint"}}},
		{`a = [+uint]`, []data{{"80", "more are needed"}, {"8101", ""}}},
		{`a = [1*2 uint]`, []data{{"80", "more are needed"}, {"8101", ""}, {"820101", ""}, {"83010101", "3 items, only 2 match"}}},
		{`a = [2* uint]`, []data{{"8101", "more are needed"}, {"820101", ""}, {"83010101", ""}}},
		{`a = [*2 uint]`, []data{{"80", ""}, {"820101", ""}, {"83010101", "only 2"}}},
		{`a = [* 2]`, []data{{"80", ""}, {"83020202", ""}, {"8103", "a[0]: uint64 3 is not 2"}}},
		{`a = [*(uint, bool)]`, []data{{"80", ""}, {"8201f5", ""}, {"8401f502f4", ""}, {"8101", "more are needed"}, {"83 01f5 01", "more are needed"}}},
		{`a = [uint, g, "z"]  g = (bool, ? bstr)`, []data{{"8301f5617a", ""}, {"8401f540617a", ""}, {"8201617a", "a[1]"}, {"8301f540", "more are needed"}}},
		{`a = {g, y: g2} g = (x: uint, ? z: uint) g2 = {g}`, []data{
			{"a261780161 79a1617801", ""}, {"a2617801 6179a0", `a.y: key "x" is missing`}, {"a16179a1617801", `a: key "x" is missing`},
		}},
		{`a = pair<uint, "k"> pair<v, k> = [k, v, box<v>] box<k> = { in: k }`, []data{
			{"83616b05a162696e06", ""}, {"83616b05a162696e6106", "a[2].in"}, {"83056 16ba162696e06", "a[0]"},
		}},
		{"; comment\na = uint ; and another", []data{
			{"", "EOF"}, {"0101", "extraneous data"}, {"18", "unexpected EOF"}, {"c101", "tag"}, {"d9d9f701", "tag"}, {"1c", "additional information"},
		}},
	}
	for _, test := range tests {
		s, err := Parse(test.grammar)
		if err != nil {
			t.Errorf("%s: %v", test.grammar, err)
			continue
		}
		for _, d := range test.data {
			data, err := hex.DecodeString(strings.ReplaceAll(d.cbor, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			err = s.Validate("a", data)
			switch {
			case d.reason == "" && err != nil:
				t.Errorf("%s: %s: %v", test.grammar, d.cbor, err)
			case d.reason != "" && err == nil:
				t.Errorf("%s: %s matches, expected %q", test.grammar, d.cbor, d.reason)
			case d.reason != "" && !strings.Contains(err.Error(), d.reason):
				t.Errorf("%s: %s: error %q, expected %q", test.grammar, d.cbor, err, d.reason)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ grammar, reason string }{
		{`a`, `expected "="`},
		{`a =`, "expected a type"},
		{`= uint`, "expected the name of a rule"},
		{`a = b`, "b is not defined"},
		{`a = float`, "float is not defined"},
		{`a = any`, "any is not defined"},
		{`a = nil`, "nil is not defined"},
		{`a = uint a = uint`, "defined twice"},
		{`uint = 1`, "defined twice"},
		{`a /= uint`, `expected "="`},
		{`a //= (uint)`, `expected "="`},
		{`a = uint // bool`, "expected a type"},
		{`a = [uint // bool]`, "expected a type"},
		{`a = [uint bool]`, `expected ","`},
		{`a = {uint}`, "has no key"},
		{`a = {uint => bool}`, `expected ","`},
		{`a = {x ^ => bool}`, "not in the known subset"},
		{`a = {1: bool}`, `expected ","`},
		{`a = {* x: bool}`, "once or optionally"},
		{`a = {2*3 x: bool}`, "once or optionally"},
		{`a = {x: bool, x: uint}`, "twice"},
		{`a = {x: bool, g} g = (x: uint)`, "twice"},
		{`a = {?g} g = (x: uint)`, "has an occurrence"},
		{`a = {g} g = (x: uint, g)`, "contains itself"},
		{`a = a / a`, "contains itself"},
		{`a = [b] b = [*c] c = {x: a}`, "contains itself"},
		{`a<b> = b b = uint`, "generic parameter"},
		{`a = g g = (x: uint)`, "g is a group"},
		{`a = [x: g] g = (x: uint, y: uint)`, "g is a group"},
		{`a = [x: (y: uint, z: uint)]`, `expected ")"`},
		{`a<uint> = [uint]`, "generic parameter"},
		{`a = f<g> f<t> = [t] g = (x: uint, y: uint)`, "g is a group"},
		{`a = [uint`, `expected ","`},
		{`a = {x: uint`, `expected ","`},
		{`a = (uint`, `expected`},
		{`a = [3*2 uint]`, "occurrence from 3 to 2"},
		{`a = [1 * uint]`, `expected ","`},
		{`a = #6.1(uint)`, "not in the known subset"},
		{`a = ~b b = uint`, "not in the known subset"},
		{`a = &(x: 1)`, "not in the known subset"},
		{`a = h'00'`, "not in the known subset"},
		{`a = 'text'`, "not in the known subset"},
		{`a = -1`, "not in the known subset"},
		{`a = 1.5`, "not in the known subset"},
		{`a = 0b11`, "not in the known subset"},
		{`a = 007`, "not in the known subset"},
		{`a = 99999999999999999999`, "out of range"},
		{`a = "back\\slash"`, "not in the known subset"},
		{`a = "open`, "not in the known subset"},
		{`a = 5..3`, "range"},
		{`a = 0...0`, "range"},
		{`a = 3...3`, "range"},
		{`a = b..5 b = 1`, "range"},
		{`a = 1.."x"`, "range"},
		{`a = b..c b = 1 c = 2`, "range"},
		{`a = uint .lt 5`, "control .lt is not known"},
		{`a = bstr .cbor uint`, "control .cbor is not known"},
		{`a = tstr .default "x"`, "control .default is not known"},
		{`a = bstr .size bstr`, "argument that is not known"},
		{`a = bstr .size b b = 3`, "argument that is not known"},
		{`a = uint .size (1..2)`, "argument that is not known"},
		{`a = bool .size 1`, ".size needs"},
		{`a = [uint] .size 1`, ".size needs"},
		{`a = bstr .regexp "x"`, ".regexp needs"},
		{`a = tstr .regexp 5`, ".regexp needs"},
		{`a = tstr .regexp "("`, "missing closing"},
		{`a = b<uint> b = uint`, "generic arguments"},
		{`a = b b<t> = t`, "generic arguments"},
		{`a = b<uint, uint> b<t> = t`, "generic arguments"},
		{`a = b<c> b<t> = t`, "c is not defined"},
		{`a<t, t> = t`, "generic parameter"},
		{`a = t b<t> = t`, "t is not defined"},
		{`a = uint )`, "expected the name of a rule"},
	}
	for _, test := range tests {
		_, err := Parse(test.grammar)
		if err == nil {
			t.Errorf("%s: no error, expected %q", test.grammar, test.reason)
		} else if !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %q, expected %q", test.grammar, err, test.reason)
		}
	}
}

func TestErrorsNameTheLineAndThePath(t *testing.T) {
	t.Parallel()
	if _, err := Parse("a = uint\n\nb = ^"); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("error %v does not name line 3", err)
	}
	s, err := Parse(`top = [1, { list: [*{ in: uint }] }]`)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := hex.DecodeString("8201a1646c69737482a162696e01a162696ef5")
	const want = "cddl: top[1].list[1].in: bool true is not a uint"
	if err := s.Validate("top", data); err == nil || err.Error() != want {
		t.Errorf("error %v, expected %s", err, want)
	}
}

func TestRuleThatDescribesNoData(t *testing.T) {
	t.Parallel()
	s, err := Parse(`a = [g, f<1>] g = (x: 1, y: 2) f<t> = t`)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{"g", "f", "nothing", "uint", ""} {
		if err := s.Validate(rule, []byte{1}); err == nil {
			t.Errorf("rule %q accepts data", rule)
		}
	}
}

func TestInspection(t *testing.T) {
	t.Parallel()
	s, err := Parse(strings.ReplaceAll(`all = a / b
		a = wrap<"a", {x: enum, ? y: [*{z: uint}], g}>
		b = [? "p", ? "q"]
		g = (w: tstr .regexp "r+")
		wrap<n, t> = [n, t]
		enum = "one" / "two" / 3
		unused = "no"`, "\t", " "))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		have, want []string
	}{
		{"rules", s.Rules(), []string{"all", "a", "b", "g", "wrap", "enum", "unused"}},
		{"reachable", s.Reachable("all"), []string{"a", "all", "b", "enum", "g", "wrap"}},
		{"alternatives", s.Alternatives("all"), []string{"a", "b"}},
		{"alternatives of an enumeration", s.Alternatives("enum"), nil},
		{"alternatives of no rule", s.Alternatives("none"), nil},
		{"texts of a choice", s.Texts("enum"), []string{"one", "two"}},
		{"texts of an array", s.Texts("b"), []string{"p", "q"}},
		{"texts of a pattern", s.Texts("g"), nil},
		{"keys", s.Keys("a"), []string{"w", "x", "y", "z"}},
	}
	for _, test := range tests {
		if !slices.Equal(test.have, test.want) {
			t.Errorf("%s: %q, expected %q", test.name, test.have, test.want)
		}
	}
}

// FuzzParse checks that no grammar makes Parse or Validate crash or hang.
func FuzzParse(f *testing.F) {
	f.Add(`a = [1, b<"x">] b<t> = { k: t, ? l: tstr .size (1..2) }`, []byte{0x82, 1, 0xa1, 0x61, 'k', 0x61, 'x'})
	f.Add(`a = a / a`, []byte{1})
	f.Fuzz(func(_ *testing.T, grammar string, data []byte) {
		s, err := Parse(grammar)
		if err != nil || len(s.Rules()) > 4 {
			return
		}
		for _, rule := range s.Rules() {
			_ = s.Validate(rule, data)
			s.Keys(rule)
			s.Texts(rule)
		}
	})
}
