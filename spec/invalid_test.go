package spec_test

import (
	"bytes"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/wire"
)

// An invalid is bytes that a receiver which expects message refuses.
type invalid struct {
	message, class, why string
	// grammar says that redoubt.cddl alone is reason enough.
	grammar bool
	data    []byte
}

// classes are the reasons of refusal, and what wire says then.
var classes = map[string]*regexp.Regexp{
	"malformed":         regexp.MustCompile(`EOF|additional information|invalid simple value|exceeded max|too large|unexpected "break"`),
	"trailing-bytes":    regexp.MustCompile(`extraneous data`),
	"version":           regexp.MustCompile(`protocol version not supported`),
	"name":              regexp.MustCompile(`got a message "[^"]*" instead`),
	"envelope":          regexp.MustCompile(`cannot (unmarshal|decode)`),
	"indefinite-length": regexp.MustCompile(`indefinite-length`),
	"duplicate-key":     regexp.MustCompile(`duplicate map key`),
	"unknown-key":       regexp.MustCompile(`unknown field|map key is of type`),
	"missing-key":       regexp.MustCompile(`must be|not known|deterministic`),
	"key-order":         regexp.MustCompile(`not in deterministic encoding`),
	"not-shortest":      regexp.MustCompile(`not in deterministic encoding`),
	"tag":               regexp.MustCompile(`tag`),
	"type":              regexp.MustCompile(`cannot unmarshal|not accepted|deterministic|must be|not known`),
	"size":              regexp.MustCompile(`must be \d+|no report|nothing sealed|deterministic`),
	"utf-8":             regexp.MustCompile(`invalid UTF-8`),
	"limit":             regexp.MustCompile(`at most \d+|must be 64 KiB to 4 GiB|too long|overflow|time of \d+ ns`),
	"enumeration":       regexp.MustCompile(`not known|must be production`),
	"value":             regexp.MustCompile(`.`),
}

func unhex(s string) []byte { return must(hex.DecodeString(strings.ReplaceAll(s, " ", ""))) }

var encode = func() func(v any) []byte {
	mode := must(cbor.CoreDetEncOptions().EncMode())
	return func(v any) []byte { return must(mode.Marshal(v)) }
}()

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// message returns a message with body as it is.
func message(name string, body ...[]byte) []byte {
	return join(unhex("8301"), encode(name), join(body...))
}

type object = map[any]any

// decode returns data as values without types.
func decode(data []byte) any {
	var v any
	if err := cbor.Unmarshal(data, &v); err != nil {
		panic(err)
	}
	return v
}

func invalids(t *testing.T) []invalid {
	// edit returns a sample of the message after change, in deterministic encoding.
	edit := func(name string, change func(body object)) []byte {
		env := decode(first(t, name)).([]any)
		change(env[2].(object))
		return encode(env)
	}
	// set is edit for one field, named by its path.
	set := func(name, path string, value any) []byte {
		return edit(name, func(body object) {
			keys := strings.Split(path, ".")
			for _, k := range keys[:len(keys)-1] {
				if list, ok := body[k].([]any); ok {
					body = list[0].(object)
				} else {
					body = body[k].(object)
				}
			}
			last := keys[len(keys)-1]
			if _, ok := body[last]; !ok {
				t.Fatalf("%s has no field %s", name, path)
			}
			body[last] = value
		})
	}
	// swap replaces bytes that are in the sample once.
	swap := func(name, from, to string) []byte {
		data := first(t, name)
		if bytes.Count(data, unhex(from)) != 1 {
			t.Fatalf("%s does not hold %s once", name, from)
		}
		return bytes.Replace(data, unhex(from), unhex(to), 1)
	}
	nonceItem, digestItem := join(encode("nonce"), encode(seq(32, 0))), join(encode("config"), encode(seq(32, 1)))
	done := first(t, "done") // 83 01 64 "done" a0
	texts := func(n int, s string) []any {
		list := make([]any, n)
		for i := range list {
			list[i] = s
		}
		return list
	}

	return []invalid{
		// The envelope.
		{"done", "malformed", "no bytes", true, nil},
		{"done", "malformed", "ends early", true, done[:len(done)-1]},
		{"attest-request", "malformed", "ends inside a byte string", true, first(t, "attest-request")[:60]},
		{"done", "malformed", "an array of 2^32 items is announced", true, unhex("9a ffffffff 01")},
		{"done", "malformed", "a byte string of 2^63 bytes is announced", true, message("done", unhex("5b 8000000000000000 00"))},
		{"done", "malformed", "reserved additional information", true, message("done", unhex("1c"))},
		{"done", "malformed", "break without a beginning", true, message("done", unhex("ff"))},
		{"done", "malformed", "simple value 24 in two bytes", true, message("done", unhex("f818"))},
		{"done", "malformed", "nested more than 8 deep", true, message("done", unhex("81 81 81 81 81 81 81 81 80"))},
		{"done", "trailing-bytes", "one byte too many", true, append(bytes.Clone(done), 0)},
		{"done", "trailing-bytes", "two messages", true, join(done, done)},
		{"done", "version", "version 0", true, unhex("83 00 64 646f6e65 a0")},
		{"done", "version", "version 2", true, unhex("83 02 64 646f6e65 a0")},
		{"done", "version", "version 2^64-1", true, unhex("83 1bffffffffffffffff 64 646f6e65 a0")},
		{"done", "envelope", "version -1", true, unhex("83 20 64 646f6e65 a0")},
		{"done", "envelope", "version as text", true, unhex("83 6131 64 646f6e65 a0")},
		{"done", "envelope", "version as float", true, unhex("83 f93c00 64 646f6e65 a0")},
		{"done", "name", "another message", true, first(t, "stop")},
		{"done", "name", "no such message", true, message("dnoe", unhex("a0"))},
		{"done", "name", "empty name", true, message("", unhex("a0"))},
		{"done", "name", "name in another case", true, message("Done", unhex("a0"))},
		{"done", "envelope", "name as byte string", true, unhex("83 01 44 646f6e65 a0")},
		{"done", "envelope", "body missing", true, unhex("82 01 64 646f6e65")},
		{"done", "envelope", "a fourth item", true, unhex("84 01 64 646f6e65 a0 a0")},
		{"done", "envelope", "a map", true, unhex("a1 01 64 646f6e65")},
		{"done", "envelope", "body is an array", true, message("done", unhex("80"))},
		{"done", "envelope", "body is an encoded map in a byte string", true, message("done", unhex("41 a0"))},
		{"done", "type", "body is null", true, message("done", unhex("f6"))},

		// Encodings that are not deterministic.
		{"done", "indefinite-length", "envelope", false, unhex("9f 01 64 646f6e65 a0 ff")},
		{"done", "indefinite-length", "name", false, unhex("83 01 7f 64 646f6e65 ff a0")},
		{"done", "indefinite-length", "body", false, message("done", unhex("bf ff"))},
		{"reattest-request", "indefinite-length", "byte string", false, message("reattest-request", unhex("a1"), encode("nonce"), unhex("5f"), encode(seq(32, 0)), unhex("ff"))},
		{"keeps", "indefinite-length", "array", false, message("keeps", unhex("a1"), encode("keeps"), unhex("9f ff"))},
		{"done", "not-shortest", "version in two bytes", false, unhex("83 1801 64 646f6e65 a0")},
		{"done", "not-shortest", "envelope's head in two bytes", false, unhex("9803 01 64 646f6e65 a0")},
		{"done", "not-shortest", "name's head in two bytes", false, unhex("83 01 7804 646f6e65 a0")},
		{"done", "not-shortest", "body's head in nine bytes", false, message("done", unhex("bb0000000000000000"))},
		{"outcome", "not-shortest", "status in three bytes", false, swap("outcome", "182a", "19002a")},
		{"reattest-request", "not-shortest", "nonce's head in three bytes", false, swap("reattest-request", "5820", "590020")},
		{"reattest-request", "not-shortest", "key's head in two bytes", false, swap("reattest-request", "656e6f6e6365", "78056e6f6e6365")},
		{"attest-request", "key-order", "config before nonce", false, message("attest-request", unhex("a2"), digestItem, nonceItem)},
		{"keepldr-config", "key-order", "in alphabetical order, which is not the bytewise one", false, message("keepldr-config", unhex("a5"),
			encode("dev"), encode("/d"), encode("id"), encode("abcdefgh2345"), encode("kind"), encode("kvm"), encode("memory"), encode(1<<20), encode("wasmldr"), encode("/w"))},

		// Keys.
		{"reattest-request", "duplicate-key", "nonce twice", true, message("reattest-request", unhex("a2"), nonceItem, nonceItem)},
		{"done", "unknown-key", "a key in an empty body", true, message("done", unhex("a1"), nonceItem)},
		{"reattest-request", "unknown-key", "a key from the future", true, edit("reattest-request", func(b object) { b["zone"] = uint64(1) })},
		{"reattest-request", "unknown-key", "key in another case", true, message("reattest-request", unhex("a1"), encode("Nonce"), encode(nonce))},
		{"reattest-request", "unknown-key", "an integer as key", true, edit("reattest-request", func(b object) { b[uint64(1)] = uint64(1) })},
		{"reattest-request", "unknown-key", "a byte string as key", true, edit("reattest-request", func(b object) { b[cbor.ByteString("nonce")] = uint64(1) })},
		{"configuration", "unknown-key", "in a nested map", true, edit("configuration", func(b object) { b["limits"].(object)["disk"] = uint64(1) })},
		{"reattest-request", "missing-key", "no nonce", true, message("reattest-request", unhex("a0"))},
		{"configuration", "missing-key", "limits without wall_time", true, edit("configuration", func(b object) { delete(b["limits"].(object), "wall_time") })},
		{"refusal", "missing-key", "no text, although it may be empty", true, edit("refusal", func(b object) { delete(b, "text") })},
		{"keeps", "missing-key", "no list, although it may be empty", true, message("keeps", unhex("a0"))},

		// Tags, floats and types.
		{"done", "tag", "self-described CBOR", true, join(unhex("d9d9f7"), done)},
		{"done", "tag", "before the body", true, message("done", unhex("d818 a0"))},
		{"reattest-request", "tag", "before the nonce", true, swap("reattest-request", "5820", "d8405820")},
		{"outcome", "tag", "status as a bignum", true, swap("outcome", "182a", "c2412a")},
		{"outcome", "type", "status as a float", true, swap("outcome", "182a", "f95140")},
		{"outcome", "type", "status as NaN", true, swap("outcome", "182a", "f97e00")},
		{"outcome", "type", "status as infinity", true, swap("outcome", "182a", "f97c00")},
		{"outcome", "type", "status as text", true, set("outcome", "status", "42")},
		{"outcome", "type", "status below zero", true, set("outcome", "status", -1)},
		{"outcome", "type", "status null", true, set("outcome", "status", nil)},
		{"outcome", "type", "status undefined", true, swap("outcome", "182a", "f7")},
		{"outcome", "type", "status as true", true, set("outcome", "status", true)},
		{"refusal", "type", "text as byte string", true, set("refusal", "text", []byte("text"))},
		{"refusal", "type", "text null", true, set("refusal", "text", nil)},
		{"reattest-request", "type", "nonce as text", true, set("reattest-request", "nonce", strings.Repeat("n", 32))},
		{"reattest-request", "type", "nonce as an array of numbers", true, set("reattest-request", "nonce", make([]uint16, 32))},
		{"reattest-request", "type", "nonce null", true, set("reattest-request", "nonce", nil)},
		{"accepted", "type", "digest as an array of numbers", true, set("accepted", "workload", make([]uint16, 32))},
		{"accepted", "type", "digest in hexadecimal", true, set("accepted", "workload", strings.Repeat("00", 32))},
		{"accepted", "type", "digest null", true, set("accepted", "workload", nil)},
		{"invocation", "type", "args as one text", true, set("invocation", "args", "stats")},
		{"invocation", "type", "env null", true, set("invocation", "env", nil)},
		{"invocation", "type", "args as a map", true, set("invocation", "args", object{uint64(0): "stats"})},
		{"keep", "type", "ok as a number", true, set("keep", "sandbox.ok", 1)},
		{"attestation", "type", "evidence null", true, set("attestation", "evidence", nil)},
		{"refusal", "utf-8", "a byte 0xff", true, message("refusal", unhex("a2"), encode("code"), encode("limit"), encode("text"), unhex("61 ff"))},
		{"refusal", "utf-8", "a surrogate", true, message("refusal", unhex("a2"), encode("code"), encode("limit"), encode("text"), unhex("63 eda080"))},
		{"refusal", "utf-8", "an overlong NUL", true, message("refusal", unhex("a2"), encode("code"), encode("limit"), encode("text"), unhex("62 c080"))},
		{"refusal", "utf-8", "in a key", true, message("refusal", unhex("a2"), encode("code"), encode("limit"), unhex("64 746578ff"), encode(""))},
		{"done", "utf-8", "in the name", true, unhex("83 01 64 646f6eff a0")},

		// Sizes.
		{"attest-request", "size", "nonce of 31 bytes", true, set("attest-request", "nonce", seq(31, 0))},
		{"attest-request", "size", "nonce of 33 bytes", true, set("attest-request", "nonce", seq(33, 0))},
		{"attest-request", "size", "empty nonce", true, set("attest-request", "nonce", []byte{})},
		{"attest-request", "size", "digest of 31 bytes", true, set("attest-request", "config", seq(31, 0))},
		{"attest-request", "size", "digest of 33 bytes", true, set("attest-request", "config", seq(33, 0))},
		{"reattest-request", "size", "nonce of 64 bytes", true, set("reattest-request", "nonce", seq(64, 0))},
		{"accepted", "size", "empty digest", true, set("accepted", "workload", []byte{})},
		{"attestation", "size", "public key of 1215 bytes", true, set("attestation", "hpke_public_key", seq(1215, 0))},
		{"attestation", "size", "public key of 1217 bytes", true, set("attestation", "hpke_public_key", seq(1217, 0))},
		{"workload-attestation", "size", "public key of 32 bytes", true, set("workload-attestation", "hpke_public_key", seq(32, 0))},
		{"workload-attestation", "size", "digest of 48 bytes", true, set("workload-attestation", "workload", seq(48, 0))},
		{"attestation", "size", "empty report", true, set("attestation", "evidence.report", []byte{})},
		{"provision-request", "size", "nothing sealed", true, set("provision-request", "sealed", []byte{})},
		{"provision", "size", "private key of 64 bytes", true, set("provision", "private_key", seq(64, 0))},
		{"provision", "size", "salt of 16 bytes", true, set("provision", "invocation.salt", seq(16, 0))},
		{"invocation", "size", "salt of 33 bytes", true, set("invocation", "salt", seq(33, 0))},
		{"evidence-request", "size", "report data of 63 bytes", true, set("evidence-request", "report_data", seq(63, 0))},
		{"evidence-request", "size", "report data of 65 bytes", true, set("evidence-request", "report_data", seq(65, 0))},

		// Limits.
		{"create-request", "limit", "memory under a page", true, set("create-request", "memory", 64<<10-1)},
		{"create-request", "limit", "memory over 4 GiB", true, set("create-request", "memory", 4<<30+1)},
		{"configuration", "limit", "memory 0", true, set("configuration", "limits.memory", 0)},
		{"configuration", "limit", "wall time over 2^40", true, set("configuration", "limits.wall_time", 1<<40+1)},
		{"keepldr-config", "limit", "memory over 4 GiB", true, set("keepldr-config", "memory", uint64(1<<63))},
		{"provision", "limit", "time 0", true, set("provision", "time", 0)},
		{"provision", "limit", "time over 2^62", true, set("provision", "time", 1<<62+1)},
		{"outcome", "limit", "status over 32 bits", true, set("outcome", "status", 1<<32)},
		{"outcome", "limit", "text of 4097 bytes", true, set("outcome", "text", strings.Repeat("x", wire.MaxText+1))},
		{"refusal", "limit", "text of 4097 bytes", true, set("refusal", "text", strings.Repeat("x", wire.MaxText+1))},
		{"keep", "limit", "reason of 4097 bytes, 2049 characters", true, set("keep", "reason", "x"+strings.Repeat("é", wire.MaxText/2))},
		{"keep", "limit", "name of a check of 4097 bytes", true, set("keep", "sandbox.name", strings.Repeat("x", wire.MaxText+1))},
		{"platform", "limit", "release of 4097 bytes", true, set("platform", "release", strings.Repeat("x", wire.MaxText+1))},
		{"status", "limit", "text of 4097 bytes", true, set("status", "text", strings.Repeat("x", wire.MaxText+1))},
		{"invocation", "limit", "1025 arguments", true, set("invocation", "args", texts(wire.MaxArgs+1, ""))},
		{"invocation", "limit", "1025 environment entries", true, set("invocation", "env", texts(wire.MaxArgs+1, "A="))},
		{"runner-load", "limit", "workload over 128 MiB", true, set("runner-load", "size", wire.MaxWorkload+1)},
		{"runner-load", "limit", "memory 0", true, set("runner-load", "memory", 0)},

		// Enumerations.
		{"create-request", "enumeration", "kind", true, set("create-request", "kind", "sev")},
		{"create-request", "enumeration", "kind in another case", true, set("create-request", "kind", "SNP")},
		{"keepldr-config", "enumeration", "kind", true, set("keepldr-config", "kind", "")},
		{"platform", "enumeration", "kind", true, set("platform", "kinds.kind", "nitro")},
		{"keep", "enumeration", "kind", true, set("keep", "kind", "")},
		{"keep", "enumeration", "state", true, set("keep", "state", "paused")},
		{"keeps", "enumeration", "state", true, message("keeps", encode(object{"keeps": []any{decode(set("keep", "state", "paused")).([]any)[2]}}))},
		{"status", "enumeration", "state", true, set("status", "state", "")},
		{"refusal", "enumeration", "code", true, set("refusal", "code", "teapot")},
		{"configuration", "enumeration", "profile", true, set("configuration", "profile", "debug")},
		{"configuration", "enumeration", "capability", true, set("configuration", "capabilities", []any{"network"})},
		{"outcome", "enumeration", "end", true, set("outcome", "end", "escaped")},
		{"open", "enumeration", "stream type", true, set("open", "type", "shell")},
		{"evidence", "enumeration", "type", true, set("evidence", "type", "tpm")},

		// Values.
		{"configuration", "value", "capabilities not sorted", true, set("configuration", "capabilities", []any{"stdin", "stderr"})},
		{"configuration", "value", "a capability twice", true, set("configuration", "capabilities", []any{"stdin", "stdin"})},
		{"invocation", "value", "no arguments", true, set("invocation", "args", []any{})},
		{"invocation", "value", "environment entry without =", true, set("invocation", "env", []any{"PATH"})},
		{"invocation", "value", "environment entry without a name", true, set("invocation", "env", []any{"=x"})},
		{"invocation", "value", "NUL in an argument", false, set("invocation", "args", []any{"a\x00b"})},
		{"provision", "value", "NUL in an environment entry", false, set("provision", "invocation.env", []any{"A=\x00"})},
		{"provision", "value", "client's fingerprint all zero", false, set("provision", "client", make([]byte, 32))},
		{"keep", "value", "ID of 11 characters", true, set("keep", "id", "abcdefgh234")},
		{"keep", "value", "ID of 13 characters", true, set("keep", "id", "abcdefgh23456")},
		{"keep", "value", "ID in capitals", true, set("keep", "id", "ABCDEFGH2345")},
		{"keep", "value", "ID with a path in the middle", true, set("keep", "id", "abc/../h2345")},
		{"keepldr-config", "value", "ID with a newline", true, set("keepldr-config", "id", "abcdefgh234\n")},
		{"keepldr-config", "value", "no path of wasmldr", true, set("keepldr-config", "wasmldr", "")},
		{"keepldr-config", "value", "no path of the development chain", true, set("keepldr-config", "dev", "")},
		{"keep", "value", "escape sequence in a check", false, set("keep", "sandbox.found", "\x1b[2J")},
		{"keep", "value", "bidirectional control in the reason", false, set("keep", "reason", "\u202e")},
		{"platform", "value", "bell in the release", false, set("platform", "release", "\a")},
		{"status", "value", "carriage return in the text", false, set("status", "text", "ready\rgone")},
	}
}
