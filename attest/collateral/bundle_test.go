package collateral_test

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
)

func fullBundle() collateral.Bundle {
	f := sample()
	return collateral.Bundle{Collateral: f.all, Sources: []collateral.Source{
		{Item: sha256.Sum256(f.crl), URL: "https://kdsintf.amd.com/vcek/v1/Milan/crl", Fetched: now},
		{Item: sha256.Sum256(f.info), URL: "https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=90c06f000000", Fetched: now.Add(time.Second)},
	}}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	f := sample()
	for _, tt := range []struct {
		name   string
		bundle collateral.Bundle
	}{
		{"empty", collateral.Bundle{}},
		{"full", fullBundle()},
		{"certificates only", collateral.Bundle{Collateral: attest.Collateral{Certificates: [][]byte{f.leaf, f.ca}}}},
		{"lists only", collateral.Bundle{Collateral: attest.Collateral{CRLs: [][]byte{f.crl}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data, err := collateral.EncodeBundle(tt.bundle)
			if err != nil {
				t.Fatal(err)
			}
			got, err := collateral.DecodeBundle(data)
			if err != nil || !reflect.DeepEqual(got, tt.bundle) {
				t.Errorf("got %+v (%v)", got, err)
			}
		})
	}
	t.Run("what is there twice", func(t *testing.T) {
		t.Parallel()
		data, err := collateral.EncodeBundle(collateral.Bundle{Collateral: f.all.Merge(f.all)})
		if err != nil {
			t.Fatal(err)
		}
		same(t, parse(t, data), f.all)
	})
}

func TestEncodeBundleRefuses(t *testing.T) {
	t.Parallel()
	f := sample()
	for _, tt := range []struct {
		name string
		b    collateral.Bundle
		want string
	}{
		{"a list as certificate", collateral.Bundle{Collateral: attest.Collateral{Certificates: [][]byte{f.crl}}}, "certificate:"},
		{"a certificate as list", collateral.Bundle{Collateral: attest.Collateral{CRLs: [][]byte{f.ca}}}, "revocation list:"},
		{"a TCB info as QE identity", collateral.Bundle{Collateral: attest.Collateral{QEIdentities: [][]byte{f.info}}}, `must be {"enclaveIdentity"`},
		{"a QE identity as TCB info", collateral.Bundle{Collateral: attest.Collateral{TCBInfos: [][]byte{f.identity}}}, `must be {"tcbInfo"`},
		{"a TCB info in other spelling", collateral.Bundle{Collateral: attest.Collateral{TCBInfos: [][]byte{append(bytes.Clone(f.info), '\n')}}}, `must be {"tcbInfo"`},
		{"a TCB info that is no JSON", collateral.Bundle{Collateral: attest.Collateral{TCBInfos: [][]byte{[]byte("x")}}}, "malformed JSON"},
		{"an empty item", collateral.Bundle{Collateral: attest.Collateral{CRLs: [][]byte{{}}}}, "revocation list:"},
		{"a source of nothing", collateral.Bundle{Sources: []collateral.Source{{URL: "x", Fetched: now}}}, "source of an item that is not there"},
		{"a source before 1970", collateral.Bundle{Sources: []collateral.Source{{URL: "x"}}}, "before 1970"},
		{"a source in year 10000", collateral.Bundle{Collateral: f.all, Sources: []collateral.Source{{sha256.Sum256(f.crl), "x", now.AddDate(9000, 0, 0)}}}, "after the year"},
		{"a source with a line end", collateral.Bundle{Collateral: f.all, Sources: []collateral.Source{{sha256.Sum256(f.crl), "a\nb", now}}}, "printable"},
		{"a long source", collateral.Bundle{Collateral: f.all, Sources: []collateral.Source{{sha256.Sum256(f.crl), strings.Repeat("a", 3000), now}}}, "printable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data, err := collateral.EncodeBundle(tt.b)
			wantError(t, err, collateral.ErrBundle, tt.want)
			if data != nil {
				t.Error("data with an error")
			}
		})
	}
}

// raw puts a file together around any body.
func raw(version uint64, body []byte) []byte {
	sum := sha256.Sum256(body)
	return must(cbor.Marshal([]any{"redoubt-collateral", version, cbor.RawMessage(body), sum[:]}))
}

func TestDecodeBundleRefuses(t *testing.T) {
	t.Parallel()
	f := sample()
	good := must(collateral.EncodeBundle(fullBundle()))
	body := must(cbor.Marshal(map[string]any{"crls": [][]byte{f.crl}}))
	if _, err := collateral.DecodeBundle(raw(1, body)); err != nil {
		t.Fatal(err)
	}
	twice := append([]byte{0xa2}, bytes.Repeat(body[1:], 2)...)
	unordered := append([]byte{0xa2}, append(append([]byte("\x6c"), append([]byte("certificates"), must(cbor.Marshal([][]byte{f.ca}))...)...), body[1:]...)...)
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "does not begin with the name"},
		{"a certificate", f.ca, "does not begin with the name"},
		{"too large", append(bytes.Clone(good), make([]byte, collateral.MaxFile)...), "at most 1048576 allowed"},
		{"torn", good[:len(good)-1], "EOF"},
		{"byte behind", append(bytes.Clone(good), 0), "extraneous"},
		{"another version", raw(2, body), "version 2, this program reads 1"},
		{"damaged", bytes.Replace(good, []byte("kdsintf"), []byte("kdsintg"), 1), "checksum is wrong"},
		{"unknown key", raw(1, must(cbor.Marshal(map[string]any{"extra": 1}))), "unknown field"},
		{"key in capitals", raw(1, must(cbor.Marshal(map[string]any{"CRLs": [][]byte{f.crl}}))), "unknown field"},
		{"key twice", raw(1, twice), "duplicate map key"},
		{"keys not in order", raw(1, unordered), "deterministic"},
		{"empty list", raw(1, must(cbor.Marshal(map[string]any{"crls": [][]byte{}}))), "deterministic"},
		{"null", raw(1, must(cbor.Marshal(map[string]any{"crls": nil}))), "deterministic"},
		{"indefinite length", raw(1, append([]byte{0xbf}, append(bytes.Clone(body[1:]), 0xff)...)), "indefinite"},
		{"long length", raw(1, append([]byte{0xb8, 1}, body[1:]...)), "deterministic"},
		{"a tag", raw(1, must(cbor.Marshal(map[string]any{"crls": [][]byte{f.crl}, "sources": cbor.Tag{Number: 1, Content: 1}}))), "tag"},
		{"text for bytes", raw(1, must(cbor.Marshal(map[string]any{"crls": []string{"x"}}))), "cannot unmarshal"},
		{"an item twice", raw(1, must(cbor.Marshal(map[string]any{"crls": [][]byte{f.crl, f.crl}}))), "twice"},
		{"an item that is no list", raw(1, must(cbor.Marshal(map[string]any{"crls": [][]byte{f.ca}}))), "revocation list"},
		{"too many items", raw(1, must(cbor.Marshal(map[string]any{"crls": make([][]byte, 300)}))), "300 items, at most 256"},
		{"a short source", raw(1, must(cbor.Marshal(map[string]any{"sources": []any{map[string]any{"item": []byte{1}, "url": "x", "fetched": 1}}}))), "not there"},
		{"no checksum", must(cbor.Marshal([]any{"redoubt-collateral", 1, cbor.RawMessage(body), []byte{}})), "checksum is wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := collateral.DecodeBundle(tt.data)
			wantError(t, err, collateral.ErrBundle, tt.want)
			if !reflect.DeepEqual(b, collateral.Bundle{}) {
				t.Error("a bundle with an error")
			}
		})
	}
}
