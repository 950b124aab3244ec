package corim_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/measure/corim"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

var snp = corim.Manifest{
	ID: "redoubt/snp/example", Vendor: "AMD", Model: "SEV-SNP",
	Digest: bytes.Repeat([]byte{0x5f}, 48),
}

var tdx = corim.Manifest{
	ID: "redoubt/tdx/example", Vendor: "Intel", Model: "TDX",
	Registers: map[string][]byte{"MRTD": bytes.Repeat([]byte{1}, 48), "RTMR1": bytes.Repeat([]byte{2}, 48), "RTMR2": bytes.Repeat([]byte{3}, 48)},
}

// TestGolden compares with the bytes that were reviewed.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]corim.Manifest{"snp": snp, "tdx": tdx} {
		got, err := corim.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name + ".hex"
		if *update {
			if err := os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got) != strings.TrimSpace(string(want)) {
			t.Errorf("%s: %x, want %s", name, got, want)
		}
	}
}

// TestStructure decodes a manifest without this package's types, strictly.
func TestStructure(t *testing.T) {
	t.Parallel()
	data, err := corim.Encode(tdx)
	if err != nil {
		t.Fatal(err)
	}
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	var outer cbor.Tag
	if err := mode.Unmarshal(data, &outer); err != nil {
		t.Fatal(err)
	}
	manifest := outer.Content.(map[any]any)
	if outer.Number != 501 || len(manifest) != 2 || manifest[uint64(0)] != tdx.ID {
		t.Fatalf("%+v", outer)
	}
	tags := manifest[uint64(1)].([]any)
	tag := tags[0].(cbor.Tag)
	if len(tags) != 1 || tag.Number != 506 {
		t.Fatalf("%+v", tags)
	}
	var got any
	if err := mode.Unmarshal(tag.Content.([]byte), &got); err != nil {
		t.Fatal(err)
	}
	type m = map[any]any
	one := func(b byte) any { return []any{[]any{uint64(7), bytes.Repeat([]byte{b}, 48)}} }
	want := m{
		uint64(1): m{uint64(0): tdx.ID},
		uint64(4): m{uint64(0): []any{[]any{
			m{uint64(0): m{uint64(1): "Intel", uint64(2): "TDX"}},
			[]any{m{uint64(1): m{uint64(14): m{"MRTD": one(1), "RTMR1": one(2), "RTMR2": one(3)}}}},
		}}},
	}
	if !reflect.DeepEqual(got, any(want)) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	deterministic, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := deterministic.Marshal(outer); err != nil || !bytes.Equal(again, data) {
		t.Errorf("encoding it again: %x, %v, want %x", again, err, data)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	digest := make([]byte, 48)
	for _, tt := range []struct {
		name, says string
		change     func(*corim.Manifest)
	}{
		{"no ID", "identifier of 0 bytes", func(m *corim.Manifest) { m.ID = "" }},
		{"no vendor", "identifier of 0 bytes", func(m *corim.Manifest) { m.Vendor = "" }},
		{"a model too long", "identifier of 1001 bytes", func(m *corim.Manifest) { m.Model = strings.Repeat("a", 1001) }},
		{"an ID that is not UTF-8", "UTF-8", func(m *corim.Manifest) { m.ID = "\xff" }},
		{"nothing", "0 bytes and 0 registers", func(m *corim.Manifest) { m.Digest = nil }},
		{"both", "48 bytes and 1 registers", func(m *corim.Manifest) { m.Registers = map[string][]byte{"a": digest} }},
		{"an empty digest", "digest of 0 bytes", func(m *corim.Manifest) { m.Digest = []byte{} }},
		{"a digest cut off", "digest of 47 bytes", func(m *corim.Manifest) { m.Digest = digest[:47] }},
		{"a register cut off", "digest of 47 bytes", func(m *corim.Manifest) { m.Digest, m.Registers = nil, map[string][]byte{"a": digest[:47]} }},
		{"a register without name", "name of 0 bytes", func(m *corim.Manifest) { m.Digest, m.Registers = nil, map[string][]byte{"": digest} }},
		{"a register whose name is not UTF-8", "UTF-8", func(m *corim.Manifest) { m.Digest, m.Registers = nil, map[string][]byte{"\xff": digest} }},
		{"too many registers", "101 registers", func(m *corim.Manifest) {
			m.Digest, m.Registers = nil, map[string][]byte{}
			for i := range 101 {
				m.Registers[string(rune('a'+i))] = digest
			}
		}},
	} {
		m := snp
		tt.change(&m)
		if _, err := corim.Encode(m); !errors.Is(err, corim.ErrManifest) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}
