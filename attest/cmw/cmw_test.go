package cmw_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/cmw"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const example = "application/vnd.example.rats-conceptual-msg"

var value = []byte{0x23, 0x47, 0xda, 0x55}

// messages are a message of each form, with its encoding.
func messages(t testing.TB) map[string]struct {
	data []byte
	want cmw.Message
} {
	record := func(form cmw.Form, media string) cmw.Message {
		return cmw.Message{Form: form, Media: media, Value: value}
	}
	return map[string]struct {
		data []byte
		want cmw.Message
	}{
		"JSON record":                  {[]byte(`["` + example + `","I0faVQ"]`), record(cmw.JSON, example)},
		"JSON record with indicator":   {[]byte(`["a/b; c=\"d\"","I0faVQ",15]`), cmw.Message{Form: cmw.JSON, Media: `a/b; c="d"`, Value: value, Indicator: 15}},
		"CBOR record of a format":      {unhex(t, "82 19fde7 442347da55"), cmw.Message{Form: cmw.CBOR, Format: 64999, Value: value}},
		"CBOR record of a media type":  {unhex(t, "82 782b"+hex.EncodeToString([]byte(example))+"442347da55"), record(cmw.CBOR, example)},
		"CBOR record with indicator":   {unhex(t, "83 19fde7 442347da55 04"), cmw.Message{Form: cmw.CBOR, Format: 64999, Value: value, Indicator: cmw.Evidence}},
		"CBOR tag":                     {unhex(t, "da 6374ffe6 442347da55"), cmw.Message{Form: cmw.CBORTag, Format: 64999, Value: value}},
		"registered CBOR tag":          {unhex(t, "d9ea60 82 4101 4102"), cmw.Message{Form: cmw.CBORTag, Tag: 60000, Value: unhex(t, "8241014102")}},
		"registered CBOR tag of a map": {unhex(t, "d9018f a1 01 f5"), cmw.Message{Form: cmw.CBORTag, Tag: 399, Value: unhex(t, "a101f5")}},
		"JSON collection": {[]byte(`{"attester A":["application/eat-ucs+json","e30K",4],"attester B":["application/eat-ucs+cbor","oA",4]}`), cmw.Message{Form: cmw.JSON, Items: []cmw.Item{
			{Text: "attester A", Message: cmw.Message{Form: cmw.JSON, Media: "application/eat-ucs+json", Value: []byte("{}\n"), Indicator: 4}},
			{Text: "attester B", Message: cmw.Message{Form: cmw.JSON, Media: "application/eat-ucs+cbor", Value: []byte{0xa0}, Indicator: 4}},
		}}},
		"JSON collection with a type": {[]byte(`{"__cmwc_t":"1.2.3.4","x":["a/b","AA"]}`), cmw.Message{Form: cmw.JSON, CollectionType: "1.2.3.4", Items: []cmw.Item{
			{Text: "x", Message: cmw.Message{Form: cmw.JSON, Media: "a/b", Value: []byte{0}}},
		}}},
		// The draft's example: its labels are not sorted.
		"CBOR collection": {unhex(t, "a4 685f5f636d77635f74 78277461673a6578616d706c652e636f6d2c323032343a636f6d706f736974652d6174746573746572"+
			"00 83 19fde7 442347da55 04 01 da6374ffe6 442347da55 02 83 736170706c69636174696f6e2f6561742b6a7774 444c693475 08"), cmw.Message{
			Form: cmw.CBOR, CollectionType: "tag:example.com,2024:composite-attester", Items: []cmw.Item{
				{Number: 0, Message: cmw.Message{Form: cmw.CBOR, Format: 64999, Value: value, Indicator: 4}},
				{Number: 1, Message: cmw.Message{Form: cmw.CBORTag, Format: 64999, Value: value}},
				{Number: 2, Message: cmw.Message{Form: cmw.CBOR, Media: "application/eat+jwt", Value: []byte("Li4u"), Indicator: 8}},
			}}},
		"CBOR collection in a collection": {unhex(t, "a2 20 82 01 4100 6161 a1 18ff 82 02 4101"), cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{
			{Number: -1, Message: cmw.Message{Form: cmw.CBOR, Format: 1, Value: []byte{0}}},
			{Text: "a", Message: cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{{Number: 255, Message: cmw.Message{Form: cmw.CBOR, Format: 2, Value: []byte{1}}}}}},
		}}},
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, tt := range messages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := cmw.Parse(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
			for what, m := range map[string]*cmw.Message{"read": got, "made": &tt.want} {
				again, err := m.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(again, tt.data) {
					t.Errorf("%s: encoded as %q (%x), want %q", what, again, again, tt.data)
				}
			}
		})
	}
}

// TestTypeNotFirst reads collections whose type stands elsewhere, and writes
// them as they were.
func TestTypeNotFirst(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{
		[]byte(`{"x":["a/b","AA"],"__cmwc_t":"1.2.3.4"}`),
		[]byte(`{"x":["a/b","AA"],"__cmwc_t":"1.2.3.4","y":["a/b","AA"]}`),
		unhex(t, "a2 01 82 01 4100 685f5f636d77635f74 67312e322e332e34"),
		unhex(t, "a3 01 82 01 4100 685f5f636d77635f74 67312e322e332e34 02 82 01 4100"),
	} {
		m, err := cmw.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, data) || m.CollectionType != "1.2.3.4" {
			t.Errorf("%q became %q, %v", data, again, err)
		}
	}
}

// TestTN checks the tags of RFC 9277, appendix B.
func TestTN(t *testing.T) {
	t.Parallel()
	for format, want := range map[uint16]uint64{0: 1668546817, 60: 1668546877, 254: 1668547071, 255: 1668547073, 30001: 1668576935, 64999: 1668612070, 65535: 1668546817 + 257*256} {
		if got := cmw.TN(format); got != want {
			t.Errorf("TN(%d) is %d, want %d", format, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deepJSON := strings.Repeat(`{"a":`, 5) + `["a/b","AA"]` + strings.Repeat("}", 5)
	deepCBOR := strings.Repeat("a101", 5) + "82014100"
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`,"` + strings.Repeat("x", i+1) + `":["a/b","AA"]`)
		}
		return "{" + b.String()[1:] + "}"
	}
	for _, tt := range []struct {
		name, json, cbor string // one of both
		reason           string
	}{
		{"nothing", "", "", "no bytes"},
		{"JSON string", `"x"`, "", "first byte 0x22"},
		{"JSON with a byte order mark", "\xef\xbb\xbf[\"a/b\",\"AA\"]", "", "first byte 0xef"},
		{"JSON behind white space", ` ["a/b","AA"]`, "", "first byte 0x20"},
		{"JSON trailing", `["a/b","AA"]x`, "", "behind the value"},
		{"JSON two values", `["a/b","AA"]["a/b","AA"]`, "", "behind the value"},
		{"JSON cut off", `["a/b","AA"`, "", "EOF"},
		{"JSON one element", `["a/b"]`, "", "1 elements"},
		{"JSON four elements", `["a/b","AA",1,1]`, "", "4 elements"},
		{"JSON empty", `[]`, "", "0 elements"},
		{"JSON content-format", `[30001,"AA"]`, "", "is not a string"},
		{"JSON null type", `[null,"AA"]`, "", "is not a string"},
		{"JSON empty type", `["","AA"]`, "", "empty type"},
		{"JSON no media type", `["a","AA"]`, "", "is not a media type"},
		{"JSON control character in the type", `["a/b;\n","AA"]`, "", "is not a media type"},
		{"JSON long type", `["a/` + strings.Repeat("b", 254) + `","AA"]`, "", "media type of 256 bytes"},
		{"JSON tunnel", `["#cmw-c2j-tunnel","AA"]`, "", "tunnel"},
		{"JSON value of a number", `["a/b",1]`, "", "is not a string"},
		{"JSON empty value", `["a/b",""]`, "", "without a value"},
		{"JSON padding", `["a/b","AA=="]`, "", "base64url"},
		{"JSON base64 of the other alphabet", `["a/b","+/+/"]`, "", "base64url"},
		{"JSON base64 with spare bits", `["a/b","AB"]`, "", "base64url"},
		{"JSON base64 with a line break", `["a/b","AA\nAA"]`, "", "line break"},
		{"JSON indicator 0", `["a/b","AA",0]`, "", "indicator"},
		{"JSON indicator 16", `["a/b","AA",16]`, "", "indicator 16"},
		{"JSON indicator 256", `["a/b","AA",256]`, "", "indicator"},
		{"JSON indicator negative", `["a/b","AA",-1]`, "", "indicator"},
		{"JSON indicator of a fraction", `["a/b","AA",4.0]`, "", "indicator"},
		{"JSON indicator of an exponent", `["a/b","AA",4e0]`, "", "indicator"},
		{"JSON indicator of text", `["a/b","AA","4"]`, "", "indicator"},
		{"JSON indicator null", `["a/b","AA",null]`, "", "indicator"},
		{"JSON not UTF-8", "[\"a/b; \xff\",\"AA\"]", "", "not UTF-8"},
		{"JSON half a surrogate pair", `{"\ud800":["a/b","AA"]}`, "", "replacement character"},
		{"JSON label twice", `{"a":["a/b","AA"],"a":["a/b","AA"]}`, "", `"a" twice`},
		{"JSON label twice, written otherwise", `{"a":["a/b","AA"],"\u0061":["a/b","AA"]}`, "", `"a" twice`},
		{"JSON type twice", `{"__cmwc_t":"1.2","__cmwc_t":"1.2","a":["a/b","AA"]}`, "", "twice"},
		{"JSON empty collection", `{}`, "", "without items"},
		{"JSON collection of its type", `{"__cmwc_t":"1.2"}`, "", "without items"},
		{"JSON empty label", `{"":["a/b","AA"]}`, "", "label without text"},
		{"JSON label of white space", `{" ":["a/b","AA"]}`, "", "must be at most 255 bytes of text"},
		{"JSON long label", `{"` + strings.Repeat("x", 256) + `":["a/b","AA"]}`, "", "must be at most 255 bytes"},
		{"JSON relative type of a collection", `{"__cmwc_t":"a/b","x":["a/b","AA"]}`, "", "absolute URI"},
		{"JSON relative OID", `{"__cmwc_t":".1.2","x":["a/b","AA"]}`, "", "absolute URI"},
		{"JSON OID with a leading zero", `{"__cmwc_t":"1.02","x":["a/b","AA"]}`, "", "absolute URI"},
		{"JSON type with a space", `{"__cmwc_t":"tag:a b","x":["a/b","AA"]}`, "", "absolute URI"},
		{"JSON empty type of a collection", `{"__cmwc_t":"","x":["a/b","AA"]}`, "", "must be text"},
		{"JSON number as type of a collection", `{"__cmwc_t":1,"x":["a/b","AA"]}`, "", "must be text"},
		{"JSON item of text", `{"x":"a/b"}`, "", "not an array"},
		{"JSON item null", `{"x":null}`, "", "not an array"},
		{"JSON deep", deepJSON, "", "nested deeper"},
		{"JSON very deep", strings.Repeat("[", 100000), "", "nested deeper"},
		{"JSON 65 items", many(65), "", "65 items"},
		{"JSON 66 items", many(66), "", "66 items"},

		{"CBOR integer", "", "01", "first byte 0x1"},
		{"CBOR text", "", "6161", "first byte 0x61"},
		{"CBOR trailing", "", "82014100 00", "1 bytes behind"},
		{"CBOR cut off", "", "820141", "1 bytes where 0 are left"},
		{"CBOR cut off in a head", "", "8219", "ends early"},
		{"CBOR cut off behind the head", "", "82", "ends early"},
		{"CBOR one element", "", "8101", "1 elements"},
		{"CBOR four elements", "", "8401410001 01", "4 elements"},
		{"CBOR indefinite array", "", "9f014100ff", "indefinite"},
		{"CBOR indefinite bytes", "", "82015f4100ff", "indefinite"},
		{"CBOR indefinite map", "", "bf0182014100ff", "indefinite"},
		{"CBOR reserved head", "", "9c", "reserved"},
		{"CBOR long array head", "", "9802014100", "shortest form"},
		{"CBOR long bytes head", "", "8201580100", "shortest form"},
		{"CBOR long format", "", "8218014100", "shortest form"},
		{"CBOR long format of 8 bytes", "", "821b00000000000000014100", "shortest form"},
		{"CBOR format 0", "", "82004100", "content-format from 1"},
		{"CBOR format 65536", "", "821a000100004100", "content-format from 1"},
		{"CBOR negative format", "", "82204100", "content-format from 1"},
		{"CBOR bytes as type", "", "8243612f624100", "must be text"},
		{"CBOR empty type", "", "82604100", "0 types"},
		{"CBOR no media type", "", "8261614100", "is not a media type"},
		{"CBOR type not UTF-8", "", "8263612fff4100", "not UTF-8"},
		{"CBOR tunnel", "", "8271 23636d772d6a32632d74756e6e656c2121 4100", "tunnel"},
		{"CBOR text as value", "", "82016161", "major type 3"},
		{"CBOR empty value", "", "820140", "without a value"},
		{"CBOR huge value", "", "82015b7fffffffffffffff", "are left"},
		{"CBOR indicator 0", "", "8301410000", "must be 1 to 15"},
		{"CBOR indicator 16", "", "8301410010", "must be 1 to 15"},
		{"CBOR indicator negative", "", "8301410020", "must be 1 to 15"},
		{"CBOR indicator of bytes", "", "8301410041ff", "must be 1 to 15"},
		{"CBOR label twice", "", "a20182014100 0182014100", "1 twice"},
		{"CBOR label of bytes", "", "a1410182014100", "must be text or an integer"},
		{"CBOR empty label", "", "a16082014100", "must be text or an integer"},
		{"CBOR huge label", "", "a11bffffffffffffffff82014100", "must be text or an integer"},
		{"CBOR type twice", "", "a3 685f5f636d77635f74 63312e32 685f5f636d77635f74 63312e32 01 82014100", "type twice"},
		{"CBOR empty type of a collection", "", "a2 685f5f636d77635f74 60 01 82014100", "empty type"},
		{"CBOR number as type of a collection", "", "a2 685f5f636d77635f74 01 01 82014100", "major type 0"},
		{"CBOR empty collection", "", "a0", "without items"},
		{"CBOR huge collection", "", "bb7fffffffffffffff", "items"},
		{"CBOR deep", "", deepCBOR, "nested deeper"},
		{"CBOR tag of text", "", "da6374ffe66161", "major type 3"},
		{"CBOR tag of nothing", "", "da6374ffe640", "without a value"},
		{"CBOR tag of format 0", "", "da637401014100", "no content-format"},
		{"CBOR tag between formats", "", "da637402004100", "no content-format"},
		{"CBOR tag long", "", "db000000006374ffe64100", "shortest form"},
		{"registered tag cut off", "", "d9ea608241", "are left"},
		{"registered tag, indefinite inside", "", "d9ea609f01ff", "indefinite"},
		{"registered tag, long inside", "", "d9ea60 82 1801 01", "shortest form"},
		{"registered tag, bad simple value", "", "d9ea60 f818", "simple value"},
		{"registered tag, deep", "", "d9ea60" + strings.Repeat("81", 40) + "01", "nested deeper"},
		{"registered tag, huge array", "", "d9ea609b7fffffffffffffff", "ends early"},
		{"registered tag, huge map", "", "d9ea60bbffffffffffffffff", "ends early"},
		{"registered tag with a byte behind", "", "d9ea60 01 01", "1 bytes behind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := []byte(tt.json)
			if tt.cbor != "" {
				data = unhex(t, tt.cbor)
			}
			m, err := cmw.Parse(data)
			if m != nil || !errors.Is(err, cmw.ErrMalformed) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, %v; want an error with %q", m, err, tt.reason)
			}
		})
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	m := cmw.Message{Form: cmw.CBOR, Format: 1, Value: make([]byte, cmw.MaxSize-7)}
	data, err := m.Encode()
	if err != nil || len(data) != cmw.MaxSize {
		t.Fatal(len(data), err)
	}
	if _, err := cmw.Parse(data); err != nil {
		t.Error(err)
	}
	if _, err := cmw.Parse(append(data, 0)); !errors.Is(err, cmw.ErrTooLarge) {
		t.Error(err)
	}
	m.Value = append(m.Value, 0)
	if _, err := m.Encode(); !errors.Is(err, cmw.ErrTooLarge) {
		t.Error(err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	record := cmw.Message{Form: cmw.CBOR, Format: 1, Value: value}
	collection := func(items ...cmw.Item) cmw.Message { return cmw.Message{Form: cmw.CBOR, Items: items} }
	for _, tt := range []struct {
		name   string
		m      cmw.Message
		reason string
	}{
		{"zero", cmw.Message{}, "form 0"},
		{"unknown form", cmw.Message{Form: 4, Format: 1, Value: value}, "form 4"},
		{"no type", cmw.Message{Form: cmw.CBOR, Value: value}, "0 types"},
		{"two types", cmw.Message{Form: cmw.CBOR, Format: 1, Media: "a/b", Value: value}, "2 types"},
		{"no value", cmw.Message{Form: cmw.CBOR, Format: 1}, "without a value"},
		{"format in JSON", cmw.Message{Form: cmw.JSON, Format: 1, Value: value}, "must be a media type"},
		{"tag in JSON", cmw.Message{Form: cmw.JSON, Tag: 1, Value: value}, "must be a media type"},
		{"tag in a record", cmw.Message{Form: cmw.CBOR, Tag: 1, Value: value}, "CBOR tag 1 in a CBOR record"},
		{"media type in a tag", cmw.Message{Form: cmw.CBORTag, Media: "a/b", Value: value}, "in a CBOR tag"},
		{"indicator in a tag", cmw.Message{Form: cmw.CBORTag, Format: 1, Value: value, Indicator: 1}, "indicator in a CBOR tag"},
		{"indicator", cmw.Message{Form: cmw.CBOR, Format: 1, Value: value, Indicator: 16}, "indicator 16"},
		{"tag of a format", cmw.Message{Form: cmw.CBORTag, Tag: cmw.TN(1), Value: []byte{0x41, 0}}, "derived from a content-format"},
		{"tag of what is no CBOR", cmw.Message{Form: cmw.CBORTag, Tag: 1, Value: []byte{0x41}}, "are left"},
		{"tag of two items", cmw.Message{Form: cmw.CBORTag, Tag: 1, Value: []byte{1, 1}}, "1 bytes behind"},
		{"record with a type of collections", cmw.Message{Form: cmw.CBOR, Format: 1, Value: value, CollectionType: "1.2"}, "type of a collection"},
		{"collection as a tag", cmw.Message{Form: cmw.CBORTag, Items: []cmw.Item{{Message: record}}}, "collection as a CBOR tag"},
		{"collection with a value", cmw.Message{Form: cmw.CBOR, Value: value, Items: []cmw.Item{{Message: record}}}, "fields of a record"},
		{"label twice", collection(cmw.Item{Message: record}, cmw.Item{Message: record}), "0 twice"},
		{"label of both kinds", collection(cmw.Item{Text: "x", Number: 1, Message: record}), "text and number"},
		{"reserved label", collection(cmw.Item{Text: "__cmwc_t", Message: record}), "reserved"},
		{"label not UTF-8", collection(cmw.Item{Text: "\xff", Message: record}), "must be at most"},
		{"JSON in CBOR", collection(cmw.Item{Message: cmw.Message{Form: cmw.JSON, Media: "a/b", Value: value}}), "item as JSON in a collection as CBOR"},
		{"bad item", collection(cmw.Item{Message: cmw.Message{Form: cmw.CBOR}}), "item 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data, err := tt.m.Encode()
			if data != nil || !errors.Is(err, cmw.ErrMalformed) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %x, %v; want an error with %q", data, err, tt.reason)
			}
		})
	}
}

func TestType(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]cmw.Message{
		"a/b":              {Media: "a/b"},
		"content-format 7": {Format: 7},
		"CBOR tag 9":       {Tag: 9},
		"collection of 1":  {Items: make([]cmw.Item, 1)},
	} {
		if got := m.Type(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
