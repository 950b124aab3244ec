package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

// messages is every message type; a new one is one line more.
var messages = []Message{
	&CreateRequest{},
	&KeepInfo{},
	&KeepList{},
	&Platform{},
	&Done{},
	&Refusal{},
	&Configuration{},
	&Invocation{},
	&AttestRequest{},
	&Evidence{},
	&Attestation{},
	&ProvisionRequest{},
	&Provision{},
	&Provisioned{},
	&ReattestRequest{},
	&WorkloadAttestation{},
	&Accepted{},
	&Outcome{},
	&OpenStream{},
	&Status{},
	&Stop{},
	&EvidenceRequest{},
	&KeepldrConfig{},
	&RunnerReady{},
	&RunnerLoad{},
	&RunnerStart{},
}

// fresh returns an empty message of m's type.
func fresh(m Message) Message { return reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message) }

func TestMessagesIsComplete(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, m := range messages {
		if names[m.wireName()] {
			t.Errorf("two messages are called %q", m.wireName())
		}
		names[m.wireName()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	methods := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "wireName" {
				methods++
			}
		}
	}
	if methods != len(messages) {
		t.Errorf("messages has %d types, the package %d", len(messages), methods)
	}
}

func fill(n int) []byte { return bytes.Repeat([]byte{7}, n) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// encoded wraps body, in hexadecimal, as m's body.
func encoded(t *testing.T, m Message, body string) []byte {
	t.Helper()
	name, err := cbor.Marshal(m.wireName())
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]byte{0x83, Version}, name...), unhex(t, body)...)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		m    Message
		want string
	}{
		{&Done{}, "83 01 64 646f6e65 a0"},
		{&Stop{}, "83 01 64 73746f70 a0"},
		// Keys in bytewise order of their encodings: shorter ones first.
		{&Outcome{End: EndExited, Status: 300}, "83 01 67 6f7574636f6d65 a3 63 656e64 66 657869746564 64 74657874 60 66 737461747573 19012c"},
		// A list that is nil is an empty one.
		{&KeepList{}, "83 01 65 6b65657073 a1 65 6b65657073 80"},
		{&OpenStream{Type: StreamDeploy}, "83 01 64 6f70656e a1 64 74797065 66 6465706c6f79"},
	}
	for _, test := range tests {
		data, err := Marshal(test.m)
		if err != nil || !bytes.Equal(data, unhex(t, test.want)) {
			t.Errorf("%s: %x, %v; expected %s", test.m.wireName(), data, err, test.want)
			continue
		}
		if name, err := Name(data); err != nil || name != test.m.wireName() {
			t.Errorf("%s: name %q, %v", test.m.wireName(), name, err)
		}
		got := fresh(test.m)
		if err := Unmarshal(data, got); err != nil {
			t.Error(err)
			continue
		}
		if again, err := Marshal(got); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s: encodes again to %x, %v", test.m.wireName(), again, err)
		}
	}
}

// TestUnmarshalIsStrict has a case of each kind; spec/vectors has more.
func TestUnmarshalIsStrict(t *testing.T) {
	t.Parallel()
	attest := fmt.Sprintf("65 6e6f6e6365 5820 %064x 66 636f6e666967 5820 %064x", 1, 2)
	tests := []struct {
		what   string
		m      Message
		data   []byte
		reason string
	}{
		{"empty", &Done{}, nil, "EOF"},
		{"trailing byte", &Done{}, encoded(t, &Done{}, "a0 00"), "extraneous"},
		{"truncated", &AttestRequest{}, encoded(t, &AttestRequest{}, "a2 65 6e6f6e6365 5820 07"), "EOF"},
		{"other message", &Done{}, encoded(t, &Stop{}, "a0"), `got a message "stop" instead`},
		{"null body", &Done{}, encoded(t, &Done{}, "f6"), "deterministic"},
		{"unknown key", &Done{}, encoded(t, &Done{}, "a1 6161 00"), "unknown field"},
		{"duplicate key", &ReattestRequest{}, encoded(t, &ReattestRequest{}, "a2 656e6f6e6365 40 656e6f6e6365 40"), "duplicate"},
		{"key in another case", &ReattestRequest{}, encoded(t, &ReattestRequest{}, "a1 654e6f6e6365 40"), "unknown field"},
		{"missing key", &Accepted{}, encoded(t, &Accepted{}, "a0"), "deterministic"},
		{"tag", &Done{}, encoded(t, &Done{}, "c0 a0"), "tag"},
		{"indefinite length", &Done{}, encoded(t, &Done{}, "bf ff"), "indefinite"},
		{"head too long", &Done{}, encoded(t, &Done{}, "b800"), "deterministic"},
		{"float", &Outcome{}, encoded(t, &Outcome{}, "a1 66737461747573 f90000"), "cannot unmarshal"},
		{"NaN", &Outcome{}, encoded(t, &Outcome{}, "a1 66737461747573 f97e00"), "NaN"},
		{"invalid UTF-8", &Refusal{}, encoded(t, &Refusal{}, "a1 6474657874 61ff"), "UTF-8"},
		{"digest too short", &Accepted{}, encoded(t, &Accepted{}, "a1 68776f726b6c6f6164 4107"), "deterministic"},
		{"digest as an array", &Accepted{}, encoded(t, &Accepted{}, "a1 68776f726b6c6f6164 8107"), "deterministic"},
		{"deep nesting", &Done{}, encoded(t, &Done{}, strings.Repeat("81", 8)+"80"), "nested level"},
		{"too large", &Done{}, make([]byte, MaxMessage+1), "at most 262144"},
	}
	for _, test := range tests {
		err := Unmarshal(test.data, test.m)
		if err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %v, expected %q", test.what, err, test.reason)
		} else if !strings.HasPrefix(err.Error(), test.m.wireName()+": ") {
			t.Errorf("%s: error %q does not name the message", test.what, err)
		}
	}
	if err := Unmarshal(encoded(t, &AttestRequest{}, "a2 "+attest), &AttestRequest{}); err != nil {
		t.Errorf("valid message: %v", err)
	}
}

// TestUnmarshalLeavesNothingOld decodes into a message that held something.
func TestUnmarshalLeavesNothingOld(t *testing.T) {
	t.Parallel()
	m := &Invocation{Args: []string{"old", "older"}, Env: []string{"OLD=1"}, Salt: fill(SaltSize)}
	data, err := Marshal(&Invocation{Args: []string{"new"}, Salt: fill(SaltSize)})
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal(data, m); err != nil || len(m.Args) != 1 || m.Args[0] != "new" || len(m.Env) != 0 {
		t.Errorf("%v, %q, %q", err, m.Args, m.Env)
	}
	if err := Unmarshal(encoded(t, &Accepted{}, "a0"), &Accepted{Workload: Digest{1}}); err == nil {
		t.Error("a missing key left the old value")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"00", "02", "1818", "1bffffffffffffffff"} {
		data := unhex(t, "83"+head+"64646f6e65a0")
		if err := Unmarshal(data, &Done{}); !errors.Is(err, ErrVersion) {
			t.Errorf("version %s: %v", head, err)
		}
		if _, err := Name(data); !errors.Is(err, ErrVersion) {
			t.Errorf("name with version %s: %v", head, err)
		}
	}
	if err := Unmarshal(unhex(t, "83 20 64 646f6e65 a0"), &Done{}); err == nil || errors.Is(err, ErrVersion) {
		t.Errorf("version -1: %v", err)
	}
}

func TestNameRefuses(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "80", "a0", "8201 64646f6e65", "8401 64646f6e65 a0 a0", "8301 44646f6e65 a0", "8301 64646f6e65 a0 00"} {
		if name, err := Name(unhex(t, data)); err == nil {
			t.Errorf("%s: name %q", data, name)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	for _, m := range []Message{
		&Outcome{},
		&AttestRequest{Nonce: fill(NonceSize - 1)},
		&ProvisionRequest{Sealed: fill(MaxMessage)},
	} {
		if data, err := Marshal(m); err == nil || data != nil || !strings.HasPrefix(err.Error(), m.wireName()+": ") {
			t.Errorf("%s: %d bytes, %v", m.wireName(), len(data), err)
		}
	}
}

// TestErrorsAreShort: a peer must not fill this side's logs through errors.
func TestErrorsAreShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200000)
	twice := map[string]any{}
	for _, m := range messages {
		twice[long] = m.wireName()
		for _, v := range []any{
			[]any{1, long, map[string]any{}},
			[]any{1, m.wireName(), long},
			[]any{1, m.wireName(), twice},
			[]any{1, m.wireName(), map[string]any{"kind": long, "memory": 1 << 20}},
			[]any{1, m.wireName(), map[string]any{"id": long, "type": long, "end": long, "code": long, "state": long, "profile": long}},
		} {
			data, err := encMode.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := Unmarshal(data, fresh(m)); err == nil || len(err.Error()) > 512 {
				t.Errorf("%s: error of %d bytes", m.wireName(), len(fmt.Sprint(err)))
			}
		}
	}
}

// TestAllocation: what a peer announces allocates nothing; only what it sends
// does. An empty map in a list costs it one byte, and this side a Go struct and
// its encoding with every key; hence the multiple.
func TestAllocation(t *testing.T) {
	const (
		multiple = 128
		constant = 64 << 10
	)
	// The rest of a list of n empty maps under key, so that it is one message.
	list := func(m Message, key string, n int, item string) []byte {
		k, _ := cbor.Marshal(key)
		return encoded(t, m, fmt.Sprintf("a1 %x 99%04x %s", k, n, strings.Repeat(item, n)))
	}
	kinds := "a1 66 636865636b73 98c8" + strings.Repeat("a0", 200) // {"checks": [200 times {}]}
	tests := []struct {
		what string
		m    Message
		data []byte
	}{
		{"envelope of 2^32-1 items", &Done{}, unhex(t, "9a ffffffff 01")},
		{"envelope of 2^64-1 items", &Done{}, unhex(t, "9b ffffffffffffffff 01")},
		{"body of 2^31 pairs", &Done{}, encoded(t, &Done{}, "ba 80000000")},
		{"byte string of 2^30 bytes", &ReattestRequest{}, encoded(t, &ReattestRequest{}, "a1 65 6e6f6e6365 5a 40000000 00")},
		{"byte string of 2^63-1 bytes", &ReattestRequest{}, encoded(t, &ReattestRequest{}, "a1 65 6e6f6e6365 5b 7fffffffffffffff 00")},
		{"text of 2^30 bytes", &Refusal{}, encoded(t, &Refusal{}, "a1 64 74657874 7a 40000000 00")},
		{"name of 2^30 bytes", &Done{}, unhex(t, "83 01 7a 40000000 64")},
		{"list of 4096 keeps, not there", &KeepList{}, encoded(t, &KeepList{}, "a1 65 6b65657073 991000")},
		{"list of 2^32-1 keeps", &KeepList{}, encoded(t, &KeepList{}, "a1 65 6b65657073 9a ffffffff a0")},
		{"list of 4096 empty keeps", &KeepList{}, list(&KeepList{}, "keeps", 4096, "a0")},
		{"list of 4096 empty checks", &RunnerReady{}, list(&RunnerReady{}, "sandbox", 4096, "a0")},
		{"list of 4096 empty arguments", &RunnerStart{}, list(&RunnerStart{}, "args", 4096, "60")},
		{"lists in a list", &Platform{}, list(&Platform{}, "kinds", 1000, kinds)},
		{"lists in a list, but for the keys valid", &Platform{}, list(&Platform{}, "kinds", 1000, "a2 64 6b696e64 63 6b766d"+kinds[2:])},
		{"duplicate keys", &Done{}, encoded(t, &Done{}, "b91000"+strings.Repeat("6000", 4096))},
		{"a long text", &Refusal{}, encoded(t, &Refusal{}, fmt.Sprintf("a1 64 74657874 7a %08x %s", 200000, strings.Repeat("78", 200000)))},
	}
	for _, test := range tests {
		m := fresh(test.m)
		_ = Unmarshal(test.data, fresh(test.m)) // caches of types
		var err error
		used := fuzzcheck.Allocated(func() { err = Unmarshal(test.data, m) })
		if err == nil {
			t.Errorf("%s: no error", test.what)
		}
		if most := multiple*len(test.data) + constant; used > most {
			t.Errorf("%s: %d bytes allocated for a message of %d bytes, at most %d allowed", test.what, used, len(test.data), most)
		}
		t.Logf("%s: %d bytes allocated for %d", test.what, used, len(test.data))
	}
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		most int64
		ok   bool
	}{{"", 0, true}, {"x", 0, false}, {"abc", 3, true}, {"abcd", 3, false}}
	for _, test := range tests {
		data, err := ReadAll(iotest.OneByteReader(strings.NewReader(test.text)), test.most)
		if (err == nil) != test.ok || test.ok && string(data) != test.text {
			t.Errorf("%q, at most %d: %q, %v", test.text, test.most, data, err)
		}
	}
	if _, err := ReadAll(iotest.ErrReader(io.ErrClosedPipe), 9); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the reader's error is lost: %v", err)
	}
}
