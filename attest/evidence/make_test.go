package evidence_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// What these make has the form of evidence and nobody's signature.

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var deterministic = must(cbor.CoreDetEncOptions().EncMode())

func encode(v any) []byte { return must(deterministic.Marshal(v)) }

func makeReport(version uint32) []byte {
	b := bytes.Repeat([]byte{0xee}, 1184)
	binary.LittleEndian.PutUint32(b, version)
	binary.LittleEndian.PutUint32(b[0x34:], 1)
	return b
}

// makeQuote makes a quote whose signature is of n bytes. body is the type of a
// version 5's body.
func makeQuote(version uint16, tee uint32, body uint16, n, tail int) []byte {
	size := map[uint32]int{0: 384, 0x81: 584}[tee]
	if body == 3 {
		size = 648
	}
	b := make([]byte, 48)
	binary.LittleEndian.PutUint16(b, version)
	binary.LittleEndian.PutUint16(b[2:], 2)
	binary.LittleEndian.PutUint32(b[4:], tee)
	if version == 5 {
		b = binary.LittleEndian.AppendUint16(b, body)
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
	}
	b = append(b, bytes.Repeat([]byte{0xdd}, size)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = append(b, bytes.Repeat([]byte{0xcc}, n)...)
	return append(b, make([]byte, tail)...)
}

func sgx() []byte { return makeQuote(3, 0, 0, 600, 0) }
func tdx() []byte { return makeQuote(4, 0x81, 0, 600, 0) }

func makeResponse(report []byte, tail int) []byte {
	b := make([]byte, 32)
	b[4], b[5] = 0xa0, 0x04
	return append(append(b, report...), make([]byte, tail)...)
}

func makeTable() []byte { return (&snp.CertTable{VCEK: plainCert()}).Encode() }

func makeNitro(tagged bool) []byte {
	payload := encode(map[string]any{"module_id": "i-1", "pcrs": map[int][]byte{0: {1}}})
	message := []any{[]byte{0xa1, 1, 0x38, 0x22}, map[int]int{}, payload, make([]byte, 96)}
	if tagged {
		return encode(cbor.Tag{Number: 18, Content: message})
	}
	return encode(message)
}

func ccaMap() map[int]any { return map[int]any{44234: []byte{0xd2}, 44241: []byte{0xd2}} }

func makeCCA() []byte { return encode(cbor.Tag{Number: 399, Content: ccaMap()}) }

func ccaRecords() map[int]any {
	return map[int]any{44234: []any{263, []byte{0xd2}}, 44241: []any{263, []byte{0xd2}}}
}

func makeTPM() []byte {
	return []byte(`{"ak_public":"AA==","tpm_quote":{"message":"AA==","signature":"AA==","pcrs":["00"]}}`)
}

func makeTSM(provider string, outblob, auxblob []byte) map[string]any {
	m := map[string]any{"provider": provider, "outblob": outblob}
	if auxblob != nil {
		m["auxblob"] = auxblob
	}
	return m
}

// makeJSON writes byte strings as base64 with padding, as encoding/json does.
func makeJSON(v any) []byte { return must(json.Marshal(v)) }

func record(form cmw.Form, media string, value []byte) *cmw.Message {
	return &cmw.Message{Form: form, Media: media, Value: value}
}

func wrapped(m *cmw.Message) []byte { return must(m.Encode()) }

var key = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

func spki() []byte { return must(x509.MarshalPKIXPublicKey(key().Public())) }

func makeCert(extensions ...pkix.Extension) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<31, 0), ExtraExtensions: extensions}
	return must(x509.CreateCertificate(rand.Reader, template, template, key().Public(), key()))
}

var plainCert = sync.OnceValue(func() *x509.Certificate { return must(x509.ParseCertificate(makeCert())) })

func makeRequest(extensions ...pkix.Extension) []byte {
	return must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: extensions}, key()))
}

func makeCRL() []byte {
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<31, 0), KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Unix(1, 0), NextUpdate: time.Unix(2, 0)}
	return must(x509.CreateRevocationList(rand.Reader, list, issuer, key()))
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func extension(m *cmw.Message) pkix.Extension { return must(m.Extension()) }

// raTLS makes what CBOR tag 60000 has in certificates.
func raTLS(quote, claims []byte) []byte {
	return encode(cbor.Tag{Number: 60000, Content: [][]byte{quote, claims}})
}

func raTLSClaims(spki, nonce []byte) []byte {
	sum := sha256.Sum256(spki)
	claims := map[string][]byte{"pubkey-hash": encode([]any{1, sum[:]})}
	if nonce != nil {
		claims["nonce"] = nonce
	}
	return encode(claims)
}

func old(value []byte) pkix.Extension { return pkix.Extension{Id: cmw.OIDDICE(), Value: value} }

// all is evidence of each technology.
func all() []attest.Evidence {
	return []attest.Evidence{
		{Type: attest.SNP, Report: makeReport(3)},
		{Type: attest.SNP, Report: makeReport(5), Auxblob: makeTable()},
		{Type: attest.TDX, Report: tdx()},
		{Type: attest.TDX, Report: makeQuote(5, 0x81, 3, 600, 70)},
		{Type: attest.SGX, Report: sgx()},
		{Type: attest.SGX, Report: makeQuote(4, 0, 0, 600, 0)},
		{Type: attest.CCA, Report: makeCCA()},
		{Type: attest.CCA, Report: encode(cbor.Tag{Number: 907, Content: ccaRecords()})},
		{Type: attest.Nitro, Report: makeNitro(false)},
		{Type: attest.Nitro, Report: makeNitro(true)},
		{Type: attest.TPM, Report: makeTPM()},
	}
}

func equal(t *testing.T, got, want attest.Evidence) {
	t.Helper()
	if got.Type != want.Type || !bytes.Equal(got.Report, want.Report) || !bytes.Equal(got.Auxblob, want.Auxblob) {
		t.Errorf("got %s of %d and %d bytes, want %s of %d and %d", got.Type, len(got.Report), len(got.Auxblob), want.Type, len(want.Report), len(want.Auxblob))
	}
}
