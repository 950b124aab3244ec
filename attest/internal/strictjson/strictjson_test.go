package strictjson_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	wide := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("0,", n), ",") + "]" }
	for _, tt := range []struct {
		name, text, reason string // no reason: it is accepted
	}{
		{"null", "null", ""},
		{"number", "-1.5e3", ""},
		{"string", `"\ud83d\ude00"`, ""},
		{"object with white space", " {\n\"a\": [1, {\"a\": true}], \"b\": {}}\n", ""},
		{"same name in two objects", `{"a":{"a":1},"b":{"a":1}}`, ""},
		{"deepest", deep(strictjson.MaxDepth), ""},
		{"widest", wide(strictjson.MaxValues - 1), ""},
		{"nothing", "", "EOF"},
		{"white space", " \n", "EOF"},
		{"two values", "1 2", "behind the value"},
		{"garbage behind", "{}x", "behind the value"},
		{"half an object", `{"a":1`, "EOF"},
		{"comma behind", `[1,]`, "invalid character"},
		{"name without value", `{"a"}`, "invalid character"},
		{"number as name", `{1:1}`, "invalid character"},
		{"duplicate", `{"a":1,"b":2,"a":3}`, `"a" twice`},
		{"duplicate inside", `[{"x":{"a":1,"a":1}}]`, `"a" twice`},
		{"duplicate written otherwise", `{"a":1,"\u0061":3}`, `"a" twice`},
		{"not UTF-8", "\"\xff\"", "not UTF-8"},
		{"half a pair", `"\ud83d"`, "replacement character"},
		{"half a pair in a name", `{"\ud83d":1}`, "replacement character"},
		{"deep", deep(strictjson.MaxDepth + 1), "nested deeper"},
		{"wide", wide(strictjson.MaxValues), "more than 8192 values"},
		{"NaN", "NaN", "invalid character"},
		{"leading zero", "[01]", "invalid character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := strictjson.Check([]byte(tt.text))
			if tt.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, strictjson.ErrJSON) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q in it", err, tt.reason)
			}
		})
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	members, err := strictjson.Object([]byte(`{"b": [1], "a":"x"}`))
	if err != nil || !reflect.DeepEqual(members, []strictjson.Member{{Name: "b", Value: []byte("[1]")}, {Name: "a", Value: []byte(`"x"`)}}) {
		t.Errorf("%v, %v", members, err)
	}
	elements, err := strictjson.Array([]byte(`[ 1, "x" ]`))
	if err != nil || len(elements) != 2 || string(elements[1]) != `"x"` {
		t.Errorf("%q, %v", elements, err)
	}
	if s, err := strictjson.String([]byte(`"x\u0061"`)); err != nil || s != "xa" {
		t.Errorf("%q, %v", s, err)
	}
	for _, text := range []string{"[]", "null", "1", `{"a":1,"a":1}`} {
		if _, err := strictjson.Object([]byte(text)); !errors.Is(err, strictjson.ErrJSON) {
			t.Errorf("object %s: %v", text, err)
		}
	}
	for _, text := range []string{"{}", "null", "1", "[1"} {
		if _, err := strictjson.Array([]byte(text)); !errors.Is(err, strictjson.ErrJSON) {
			t.Errorf("array %s: %v", text, err)
		}
		if _, err := strictjson.String([]byte(text)); !errors.Is(err, strictjson.ErrJSON) {
			t.Errorf("string %s: %v", text, err)
		}
	}
}
