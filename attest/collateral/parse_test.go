package collateral_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
)

var now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func parse(t *testing.T, data []byte) attest.Collateral {
	t.Helper()
	c, err := collateral.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func same(t *testing.T, got, want attest.Collateral) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", count(got), count(want))
	}
}

// wantError checks an error's class and that its text has a fragment.
func wantError(t *testing.T, err, class error, fragment string) {
	t.Helper()
	if !errors.Is(err, class) || !strings.Contains(err.Error(), fragment) {
		t.Errorf("got %v, want %v with %q", err, class, fragment)
	}
}

// A fixture is a small authority with one of everything.
type fixture struct {
	ca, leaf, crl  []byte // DER
	info, identity []byte
	all            attest.Collateral
}

const signature = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

var sample = sync.OnceValue(func() (f fixture) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: now, NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3},
	}
	f.ca = must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	ca := must(x509.ParseCertificate(f.ca))
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	f.leaf = must(x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key))
	f.crl = must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, ca, key))
	f.info = []byte(`{"tcbInfo":` + bareInfo + `,"signature":"` + signature + `"}`)
	f.identity = []byte(`{"enclaveIdentity":` + bareIdentity + `,"signature":"` + signature + `"}`)
	f.all = attest.Collateral{Certificates: [][]byte{f.ca, f.leaf}, CRLs: [][]byte{f.crl}, TCBInfos: [][]byte{f.info}, QEIdentities: [][]byte{f.identity}}
	return f
})

// The odd spaces must survive: they were signed.
const (
	bareInfo     = `{"id":"TDX", "version":3,"nextUpdate":"2026-12-21T00:00:00Z", "fmspc":"90C06F000000"}`
	bareIdentity = `{"id":"TD_QE" ,"version":2,"nextUpdate":"2026-12-21T00:00:00Z"}`
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func quote(s string) string { return string(must(json.Marshal(s))) }

// numbers is bytes as some languages write them in JSON.
func numbers(b []byte) string {
	list := make([]int, len(b))
	for i, n := range b {
		list[i] = int(n)
	}
	return string(must(json.Marshal(list)))
}

func TestParse(t *testing.T) {
	t.Parallel()
	f := sample()
	ca, leaf, crl := block("CERTIFICATE", f.ca), block("CERTIFICATE", f.leaf), block("X509 CRL", f.crl)
	info, identity := string(f.info), string(f.identity)
	certs, list := attest.Collateral{Certificates: f.all.Certificates}, attest.Collateral{CRLs: f.all.CRLs}
	one := attest.Collateral{Certificates: [][]byte{f.leaf}}
	tcb, qe := attest.Collateral{TCBInfos: f.all.TCBInfos}, attest.Collateral{QEIdentities: f.all.QEIdentities}
	bundle := must(collateral.EncodeBundle(collateral.Bundle{Collateral: f.all}))
	for _, tt := range []struct {
		name string
		data string
		want attest.Collateral
	}{
		{"PEM", ca + leaf, certs},
		{"PEM of lists and certificates", ca + crl + leaf, certs.Merge(list)},
		{"PEM with text as openssl writes it", "Certificate:\n    Data: 100%\nsubject=CN = authority\n" + ca + "\n 1 s:CN = leaf\n" + leaf + "\nVerification: OK\n", certs},
		{"PEM with Windows line ends", strings.ReplaceAll(ca+leaf, "\n", "\r\n"), certs},
		{"PEM with byte order mark", "\xef\xbb\xbf" + ca + leaf, certs},
		{"PEM with a C string's zero", ca + leaf + "\x00", certs},
		{"PEM twice", ca + leaf + ca, certs},
		{"PEM, percent-encoded", url.PathEscape(ca + leaf), certs},
		{"PEM, percent-encoded as a form", url.QueryEscape(ca + leaf), certs},
		{"PEM, percent-encoded in lower case", strings.ReplaceAll(strings.ReplaceAll(url.PathEscape(ca+leaf), "%0A", "%0a"), "%3D", "%3d"), certs},
		{"header line", "SGX-TCB-Info-Issuer-Chain: " + url.PathEscape(ca+leaf) + "\r\n", certs},
		{"DER", string(f.leaf), one},
		{"DER, several", string(f.ca) + string(f.leaf) + string(f.crl), certs.Merge(list)},
		{"DER list", string(f.crl), list},
		{"hex", hex.EncodeToString(f.crl), list},
		{"hex in capitals, with prefix and line ends", "0x" + strings.ToUpper(hex.EncodeToString(f.crl)) + "\r\n", list},
		{"base64", base64.StdEncoding.EncodeToString(f.leaf), one},
		{"base64 in lines", strings.TrimSuffix(strings.TrimPrefix(leaf, "-----BEGIN CERTIFICATE-----\n"), "-----END CERTIFICATE-----\n"), one},
		{"base64 for URLs without padding", base64.RawURLEncoding.EncodeToString(f.leaf), one},
		{"base64 of PEM", base64.StdEncoding.EncodeToString([]byte(ca + leaf)), certs},
		{"TCB info", info, tcb},
		{"TCB info with a line end", info + "\n", tcb},
		{"TCB info, signature first and spaces", "{ \"signature\" : \"" + signature + "\",\n \"tcbInfo\" : " + bareInfo + "\n}", tcb},
		{"QE identity", identity, qe},
		{"TCB info in a JSON string", quote(info), tcb},
		{"list in a JSON string", quote(hex.EncodeToString(f.crl)), list},
		{"TCB info in base64", base64.StdEncoding.EncodeToString(f.info), tcb},
		{"list of answers", "[" + info + "," + identity + "]", tcb.Merge(qe)},
		{"dcap-qvl", `{"pck_crl_issuer_chain":` + quote(ca) + `,"root_ca_crl":` + quote(hex.EncodeToString(f.crl)) + `,"tcb_info":` + quote(bareInfo) +
			`,"tcb_info_signature":` + quote(signature) + `,"qe_identity":` + quote(bareIdentity) + `,"qe_identity_signature":` + quote(signature) + `,"pck_certificate_chain":` + quote(leaf) + `}`, f.all},
		{"sgx_ql_qve_collateral_t", `{"version":3,"tee_type":129,"pck_crl_issuer_chain":` + quote(ca+"\x00") + `,"pck_crl_issuer_chain_size":` + fmt.Sprint(len(ca)+1) +
			`,"root_ca_crl":` + quote(hex.EncodeToString(f.crl)+"\x00") + `,"pck_crl":` + quote(base64.StdEncoding.EncodeToString(f.crl)) +
			`,"tcb_info_issuer_chain":` + quote(leaf) + `,"tcb_info":` + quote(info+"\x00") + `,"qe_identity_issuer_chain":"","qe_identity":` + quote(identity+"\x00") + `}`, f.all},
		{"Rust's byte vectors", `{"pck_crl":` + numbers(f.crl) + `,"pckCrlIssuerChain":` + numbers([]byte(ca+leaf)) + `}`, certs.Merge(list)},
		{"PCCS's platform file", `{"platforms":[],"collaterals":{"version":4,"pck_certs":[{"qe_id":"00","certs":[{"tcb":{"pcesvn":13},"tcbm":"0d","cert":` + quote(url.PathEscape(leaf)) + `}]}],` +
			`"tcbinfos":[{"fmspc":"90C06F000000","tdx_tcbinfo":` + info + `}],"pckcacrl":{"processorCrl":"","platformCrl":` + quote(hex.EncodeToString(f.crl)) + `},"tdqeidentity":` + quote(identity) +
			`,"rootcacrl":` + quote(hex.EncodeToString(f.crl)) + `}}`, one.Merge(list).Merge(tcb).Merge(qe)},
		{"THIM", `{"vcekCert":` + quote(leaf) + `,"tcbm":"DB18000000000004","certificateChain":` + quote(ca) + `,"cacheControl":"86400"}`,
			attest.Collateral{Certificates: [][]byte{f.leaf, f.ca}}},
		{"list of certificates", `{"certificates":[` + quote(ca) + `,` + quote(base64.StdEncoding.EncodeToString(f.leaf)) + `]}`, certs},
		{"null and empty", `{"pck_crl":null,"root_ca_crl":"","tcb_info":null,"qe_identity":"","vcek":` + quote(leaf) + `}`, one},
		{"bundle", string(bundle), f.all},
		{"bundle in base64", base64.StdEncoding.EncodeToString(bundle), f.all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			same(t, parse(t, []byte(tt.data)), tt.want)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	f := sample()
	ca, crl := block("CERTIFICATE", f.ca), block("X509 CRL", f.crl)
	info := string(f.info)
	deep := "null"
	for range 10 {
		deep = `{"a":[` + deep + `]}`
	}
	nested := "x"
	for range 13 {
		nested = quote(nested)
	}
	bundle := must(collateral.EncodeBundle(collateral.Bundle{Collateral: f.all}))
	torn := bytes.Clone(bundle)
	torn[len(torn)-1] ^= 1
	for _, tt := range []struct {
		name string
		data string
		want string
	}{
		{"nothing", "", "empty"},
		{"spaces", " \n\n", "empty"},
		{"too large", strings.Repeat("x", collateral.MaxFile+1), "1048577 bytes, at most 1048576"},
		{"text", "hello", `looks like text, 5 bytes, that begins with "hello"; expected certificates`},
		{"a word that is base64", "deadbeefMIIC", "looks like text"},
		{"HTML", "<!DOCTYPE html><html><body>429</body></html>", "looks like an HTML page"},
		{"XML", "<?xml version='1.0'?><Error/>", "looks like XML"},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00", "compressed"},
		{"zip", "PK\x03\x04\x00\x00", "compressed"},
		{"binary", "\x00\x01\x02\x03", "binary data, 4 bytes, that begins with 00010203"},
		{"a private key", block("EC PRIVATE KEY", []byte{1, 2, 3}), `"EC PRIVATE KEY", must be CERTIFICATE or X509 CRL`},
		{"a public key", ca + block("PUBLIC KEY", []byte{1}), `PEM block 2: is "PUBLIC KEY"`},
		{"PEM with headers", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: f.ca})), "has headers"},
		{"PEM, torn", (ca + crl)[:len(ca)+100], "2 blocks begin, and 1 are complete"},
		{"PEM, torn in the first", ca[:200], "1 blocks begin, and 0 are complete"},
		{"PEM, damaged base64", strings.Replace(ca, "MII", "M*I", 1) + ca, "2 blocks begin, and 1 are complete"},
		{"PEM of something else", block("CERTIFICATE", f.crl), "PEM block 1: certificate:"},
		{"PEM list that is a certificate", block("X509 CRL", f.ca), "PEM block 1: revocation list:"},
		{"PEM, too many", strings.Repeat(ca, collateral.MaxItems+1), "257 PEM blocks, at most 256"},
		{"DER, too many", strings.Repeat(string(f.crl), collateral.MaxItems+1), "more than the 256 items"},
		{"DER, torn", string(f.ca[:len(f.ca)-1]), "truncated or malformed"},
		{"DER, byte behind", string(f.ca) + "\x00", "object 2: truncated or malformed"},
		{"DER of something else", "\x30\x81\x80" + strings.Repeat("\x00", 128), "certificate"},
		{"hex, torn", hex.EncodeToString(f.crl)[:300], "in hex: DER, object 1: truncated"},
		{"base64, torn", base64.StdEncoding.EncodeToString(f.crl)[:100], "in base64: DER, object 1: truncated"},
		{"percent-encoding broken", "-----BEGIN%20CERTIFICATE-----%0", "percent-encoded PEM"},
		{"percent-encoded something", "BEGIN%20of the end", "no PEM block in it"},
		{"JSON, torn", info[:100], "looks like JSON, and is malformed: unexpected end"},
		{"JSON with bytes behind", info + "x", "looks like JSON, and is malformed"},
		{"JSON of something else", `{"a":1,"b":["-----BEGIN CERTIFICATE-----"]}`, "looks like JSON, and nothing in it is known"},
		{"JSON number in a list", `[1]`, "nothing in it is known"},
		{"JSON string", `"hello"`, "looks like text, 5 bytes"},
		{"JSON with a member twice", `{"a":1,"a":2}`, `two members "a"`},
		{"JSON with a member twice, in other spelling", `{"pck_crl":"","pckCrl":""}`, `two members for "pckCrl"`},
		{"JSON with an answer's member twice", `{"tcbInfo":{},"tcbInfo":{},"signature":""}`, `two members "tcbInfo"`},
		{"JSON with a known member that is not collateral", `{"vcekCert":"nothing"}`, `"vcekCert": looks like text`},
		{"JSON with a damaged list", `{"a":[{"root_ca_crl":"` + hex.EncodeToString(f.crl[:150]) + `"}]}`, `"root_ca_crl": in hex: DER, object 1`},
		{"JSON, too deep", deep, "more than 12 encodings"},
		{"JSON, deeper", strings.Repeat("[", 33) + "{}" + strings.Repeat("]", 33), "more than 32 objects and arrays in each other"},
		{"JSON, signed part too deep", `{"tcbInfo":{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}}`, "more than 32 objects and arrays in each other"},
		{"JSON, too many strings in each other", nested, "more than 12 encodings"},
		{"JSON, too many members", `[` + strings.Repeat("1,", 5000) + `1]`, "more than the 4096 members and elements"},
		{"bytes as numbers above 255", `{"pck_crl":[` + strings.Repeat("256,", 200) + `1]}`, "nothing in it is known"},
		{"TCB info without signature", `{"tcbInfo":` + bareInfo + `}`, "TCB info without its signature"},
		{"QE identity without signature", `{"qe_identity":` + quote(bareIdentity) + `,"tcb_info_signature":"00"}`, "QE identity without its signature"},
		{"one signature for two", `{"tcbInfo":` + bareInfo + `,"enclaveIdentity":` + bareIdentity + `,"signature":"` + signature + `"}`, "QE identity without its signature"},
		{"TCB info with a short signature", `{"tcbInfo":` + bareInfo + `,"signature":"00"}`, "2 characters, must be 128 hex digits"},
		{"TCB info with a signature that is a number", `{"tcbInfo":` + bareInfo + `,"signature":1}`, "must be a string"},
		{"TCB info that is a number", `{"tcbInfo":1,"signature":"` + signature + `"}`, "must be a JSON object"},
		{"TCB info that is a damaged string", `{"tcb_info":"{\"id\":","signature":"` + signature + `"}`, "malformed JSON"},
		{"certificate table, torn", "\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd\x00\x10\x00\x00\x00\x10\x00\x00", "malformed certificate table"},
		{"empty certificate table", strings.Repeat("\x00", 4096), "empty"},
		{"bundle, torn", string(bundle[:len(bundle)-5]), "bundle not usable"},
		{"bundle, damaged", string(torn), "checksum is wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := collateral.Parse([]byte(tt.data))
			wantError(t, err, collateral.ErrFormat, tt.want)
			if count(c) != (counts{}) {
				t.Errorf("got %v with an error", count(c))
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
