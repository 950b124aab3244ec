package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/evidence"
)

// TestRoundTrip wraps evidence in every way, and reads it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for i, ev := range all() {
		t.Run(fmt.Sprintf("%d %s", i, ev.Type), func(t *testing.T) {
			t.Parallel()
			m, err := evidence.Wrap(ev)
			if err != nil {
				t.Fatal(err)
			}
			message := wrapped(m)
			ways := map[string][]byte{
				"message":     message,
				"collection":  wrapped(&cmw.Message{Form: cmw.CBOR, CollectionType: "tag:x,2026:y", Items: []cmw.Item{{Number: 7, Message: *m}}}),
				"DER":         makeCert(extension(m)),
				"old":         makeCert(pkix.Extension{Id: cmw.OIDDICE(), Value: extension(m).Value}),
				"request":     makeRequest(extension(m)),
				"chain":       slices.Concat(pemOf("CERTIFICATE", makeCert(extension(m))), []byte("\n"), pemOf("CERTIFICATE", makeCert())),
				"PEM request": pemOf("CERTIFICATE REQUEST", makeRequest(extension(m))),
			}
			if m.Media != "" {
				ways["JSON"] = wrapped(&cmw.Message{Form: cmw.JSON, Media: m.Media, Value: m.Value})
				ways["JSON collection"] = wrapped(&cmw.Message{Form: cmw.JSON, Items: []cmw.Item{
					{Text: "other", Message: *record(cmw.JSON, "application/x", []byte{0})}, {Text: "this", Message: *record(cmw.JSON, m.Media, m.Value)}}})
				ways["JSON certificate"] = makeCert(extension(record(cmw.JSON, m.Media, m.Value)))
			}
			if ev.Auxblob == nil {
				ways["bare"] = ev.Report
			} else {
				ways["extended report"] = slices.Concat(ev.Report, ev.Auxblob)
			}
			for name, data := range ways {
				item, err := evidence.Parse(data)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				equal(t, item.Evidence, ev)
				inCert := name == "DER" || name == "old" || name == "chain" || name == "JSON certificate"
				if inCert != (item.Certificate != nil) || strings.Contains(name, "request") != (item.Request != nil) {
					t.Errorf("%s: certificate %v, request %v", name, item.Certificate != nil, item.Request != nil)
				}
				if (item.Certificate != nil || item.Request != nil) != bytes.Equal(item.PublicKey(), spki()) || item.ReportData != nil {
					t.Errorf("%s: public key %x, report data %x", name, item.PublicKey(), item.ReportData)
				}
				for what, text := range map[string]string{
					"hex": hex.EncodeToString(data), "HEX": "0x" + strings.ToUpper(hex.EncodeToString(data)) + "\n", "hex lines": lines(hex.EncodeToString(data)),
					"base64": base64.StdEncoding.EncodeToString(data), "base64 lines": lines(base64.StdEncoding.EncodeToString(data)),
					"base64url": base64.RawURLEncoding.EncodeToString(data), "base64url padded": base64.URLEncoding.EncodeToString(data),
				} {
					again, err := evidence.ParseAs([]byte(text), ev.Type)
					if err != nil {
						t.Errorf("%s as %s: %v", name, what, err)
						continue
					}
					equal(t, again.Evidence, ev)
					if len(again.How) != len(item.How)+1 {
						t.Errorf("%s as %s: %q", name, what, again.How)
					}
				}
			}
		})
	}
}

func lines(s string) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(s), 76) {
		b.Write(chunk)
		b.WriteString("\r\n")
	}
	return b.String()
}

// TestParse reads what Wrap does not write.
func TestParse(t *testing.T) {
	t.Parallel()
	snpReport := attest.Evidence{Type: attest.SNP, Report: makeReport(3)}
	snpFull := attest.Evidence{Type: attest.SNP, Report: makeReport(3), Auxblob: makeTable()}
	padded := attest.Evidence{Type: attest.TDX, Report: makeQuote(4, 0x81, 0, 600, 3000)}
	cca := attest.Evidence{Type: attest.CCA, Report: makeCCA()}
	cca907 := attest.Evidence{Type: attest.CCA, Report: encode(cbor.Tag{Number: 907, Content: ccaRecords()})}
	const oldJSON, newJSON = "application/vnd.veraison.configfs-tsm+json", evidence.TypeTSMJSON
	url := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	tsmJSON := []byte(`{"provider":"sev_guest\n","outblob":"` + url(snpFull.Report) + `","auxblob":"` + url(snpFull.Auxblob) + `"}`)
	for _, tt := range []struct {
		name string
		data []byte
		want attest.Evidence
		how  string
	}{
		{"SNP v2", makeReport(2), attest.Evidence{Type: attest.SNP, Report: makeReport(2)}, ""},
		{"firmware's answer", makeResponse(snpReport.Report, 0), snpReport, ""},
		{"firmware's answer, padded", makeResponse(snpReport.Report, 4000-32-1184), snpReport, ""},
		{"padded quote", padded.Report, padded, ""},
		{"TD 1.0 in v5", makeQuote(5, 0x81, 2, 9, 0), attest.Evidence{Type: attest.TDX, Report: makeQuote(5, 0x81, 2, 9, 0)}, ""},
		{"SGX in v5", makeQuote(5, 0, 1, 9, 0), attest.Evidence{Type: attest.SGX, Report: makeQuote(5, 0, 1, 9, 0)}, ""},
		{"CCA without a tag", encode(ccaMap()), cca, ""},
		{"CCA of records without a tag", encode(ccaRecords()), cca907, ""},
		{"CCA as a tag in a certificate", makeCert(extension(must(cmw.Parse(cca.Report)))), cca, "CBOR tag 399"},
		{"Nitro as a tag in a certificate", makeCert(extension(must(cmw.Parse(makeNitro(true))))), attest.Evidence{Type: attest.Nitro, Report: makeNitro(true)}, "CBOR tag 18"},
		{"TSM as CBOR", encode(makeTSM("sev_guest", snpFull.Report, snpFull.Auxblob)), snpFull, "configfs-tsm report (CBOR)"},
		{"TSM as CBOR, provider of bytes", encode(map[string]any{"provider": []byte("sev_guest\n"), "outblob": snpReport.Report}), snpReport, "configfs-tsm report (CBOR)"},
		{"TSM as JSON", tsmJSON, snpFull, "configfs-tsm report (JSON)"},
		{"TSM as JSON with padding", makeJSON(makeTSM("sev_guest", snpReport.Report, nil)), snpReport, "configfs-tsm report (JSON)"},
		{"TSM of TDX", makeJSON(makeTSM("tdx_guest", tdx(), nil)), attest.Evidence{Type: attest.TDX, Report: tdx()}, "configfs-tsm report (JSON)"},
		{"TSM of CCA", makeJSON(makeTSM("arm_cca_guest", cca.Report, nil)), cca, "configfs-tsm report (JSON)"},
		{"TSM in a record", wrapped(record(cmw.CBOR, newJSON, tsmJSON)), snpFull, newJSON},
		{"TSM in a record by its older name", wrapped(record(cmw.JSON, oldJSON, tsmJSON)), snpFull, oldJSON},
		{"AMD's draft", wrapped(record(cmw.JSON, "application/vnd.amd.sev-snp.attestation-report", snpReport.Report)), snpReport, "sev-snp"},
		{"AMD's draft, before", wrapped(record(cmw.JSON, "application/vnd.amd.sev.snp.attestation-report", snpReport.Report)), snpReport, "sev.snp"},
		{"upper case", wrapped(record(cmw.CBOR, "Application/AWS-Nitro-Document", makeNitro(false))), attest.Evidence{Type: attest.Nitro, Report: makeNitro(false)}, "Nitro"},
		{"CCA without quotation marks", wrapped(record(cmw.CBOR, "application/eat-collection; profile=http://arm.com/CCA-SSD/1.0.0", cca.Report)), cca, "CCA-SSD"},
		{"CCA without white space", wrapped(record(cmw.CBOR, `application/eat-collection;profile="http://arm.com/CCA-SSD/1.0.0"`, cca.Report)), cca, "CCA-SSD"},
		{"TPM with white space", []byte("\n" + string(makeTPM()) + "\n"), attest.Evidence{Type: attest.TPM, Report: []byte("\n" + string(makeTPM()) + "\n")}, ""},
		{"RA-TLS outside a certificate", raTLS(sgx(), raTLSClaims(spki(), nil)), attest.Evidence{Type: attest.SGX, Report: sgx()}, "CBOR tag 60000"},
		{"white space around hexadecimal digits", []byte(" \n" + hex.EncodeToString(snpReport.Report) + "\n\n"), snpReport, "hexadecimal digits"},
		{"collection in a collection", wrapped(&cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{{Text: "a", Message: cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{
			{Message: *record(cmw.CBOR, evidence.TypeNitro, makeNitro(false))}}}}}}), attest.Evidence{Type: attest.Nitro, Report: makeNitro(false)}, "collection of 1 as CBOR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			item, err := evidence.Parse(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, item.Evidence, tt.want)
			if tt.how == "" && len(item.How) > 0 || !strings.Contains(strings.Join(item.How, " / "), tt.how) {
				t.Errorf("how: %q, want %q in it", item.How, tt.how)
			}
			if _, err := evidence.ParseAs(tt.data, tt.want.Type); err != nil {
				t.Error(err)
			}
			for _, kind := range attest.Technologies() {
				if _, err := evidence.ParseAs(tt.data, kind); (err == nil) != (kind == tt.want.Type) || err != nil && !errors.Is(err, evidence.ErrKind) {
					t.Errorf("as %s: %v", kind, err)
				}
			}
		})
	}
}

// TestRATLS reads certificates as Gramine and rats-tls make them.
func TestRATLS(t *testing.T) {
	t.Parallel()
	older := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 840, 113741, 1337, 6}, Value: tdx()} // Gramine's own
	sum := sha256.Sum256(spki())
	// As rats-tls writes them: more claims, not sorted.
	more := slices.Concat([]byte("\xa2\x6bpubkey-hash\x58\x24\x82\x01\x58\x20"), sum[:], []byte("\x65key_0\x48value_0\x00"))
	for _, tt := range []struct {
		name          string
		quote, claims []byte
		nonce         []byte
	}{
		{"SGX", sgx(), raTLSClaims(spki(), nil), nil},
		{"TDX with a nonce", tdx(), raTLSClaims(spki(), []byte{1, 2}), []byte{1, 2}},
		{"more claims", sgx(), more, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			item, err := evidence.Parse(pemOf("CERTIFICATE", makeCert(older, old(raTLS(tt.quote, tt.claims)))))
			if err != nil {
				t.Fatal(err)
			}
			hash := sha256.Sum256(tt.claims)
			if !bytes.Equal(item.Evidence.Report, tt.quote) || !bytes.Equal(item.ReportData, append(hash[:], make([]byte, 32)...)) {
				t.Errorf("report data %x", item.ReportData)
			}
			if r := item.RATLS; r == nil || !bytes.Equal(r.Nonce, tt.nonce) || !bytes.Equal(r.Claims, tt.claims) || r.CheckKey(item.PublicKey()) != nil {
				t.Errorf("claims %+v", r)
			}
			if !strings.Contains(strings.Join(item.How, " / "), "PEM / certificate / extension 2.23.133.5.4.9 / conceptual message wrapper (CBOR tag) of type CBOR tag 60000") {
				t.Errorf("how: %q", item.How)
			}
		})
	}
	for algorithm, want := range map[uint64]bool{1: false, 2: false, 7: false, 8: false} {
		r := evidence.RATLS{Algorithm: algorithm, KeyHash: []byte{1}}
		if err := r.CheckKey(spki()); errors.Is(err, evidence.ErrKey) == want {
			t.Errorf("algorithm %d: %v", algorithm, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	bad := func(b []byte, at int, with byte) []byte {
		b = bytes.Clone(b)
		b[at] = with
		return b
	}
	nitro := func(m *cmw.Message) *cmw.Message { m.Indicator = cmw.AttestationResults; return m }
	good := extension(record(cmw.CBOR, evidence.TypeNitro, makeNitro(false)))
	claims := raTLSClaims(spki(), nil)
	other := raTLSClaims([]byte("another key"), nil)
	twice := func(a, b *cmw.Message) []byte {
		return wrapped(&cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{{Number: 0, Message: *a}, {Number: 1, Message: *b}}})
	}
	tsm := func(provider string, out, aux []byte) []byte { return encode(makeTSM(provider, out, aux)) }
	brokenRequest := makeRequest(good)
	brokenRequest[len(brokenRequest)-1] ^= 1
	for _, tt := range []struct {
		name   string
		data   []byte
		want   error
		reason string
	}{
		{"nothing", nil, evidence.ErrUnknown, "found no bytes"},
		{"white space", []byte(" \n"), evidence.ErrUnknown, "2 bytes"},
		{"zeros", make([]byte, 1184), evidence.ErrUnknown, "all zero"},
		{"noise", bytes.Repeat([]byte{0x7f, 0x80}, 600), evidence.ErrUnknown, "1200 bytes that begin with 7f80"},
		{"too large", make([]byte, evidence.MaxSize+1), evidence.ErrUnknown, "at most 1048576"},
		{"text", []byte("hello, world"), evidence.ErrUnknown, "text of 12 bytes"},
		{"odd hexadecimal digits", []byte("0x030"), evidence.ErrUnknown, "5 bytes"},
		{"hexadecimal digits of nothing known", []byte("7f7f7f7f"), evidence.ErrUnknown, "hexadecimal digits"},
		{"hexadecimal digits of hexadecimal digits", []byte(hex.EncodeToString([]byte(hex.EncodeToString(sgx())))), evidence.ErrUnknown, "found text"},
		{"base64 with too much padding", []byte("AAA==="), evidence.ErrUnknown, "found text"},
		{"base64 of both alphabets", []byte("+/-_"), evidence.ErrUnknown, "found text"},

		{"SNP v1", makeReport(1), evidence.ErrUnknown, "as many as an SNP report has, with version 1"},
		{"SNP v6", makeReport(6), evidence.ErrUnknown, "with version 6"},
		{"SNP of another algorithm", bad(makeReport(3), 0x34, 2), evidence.ErrUnknown, "1184 bytes"},
		{"SNP short", makeReport(3)[:1183], evidence.ErrMalformed, "1183 bytes, must be 1184"},
		{"SNP long", append(makeReport(3), 0), evidence.ErrMalformed, "1 bytes behind an SNP report"},
		{"SNP with zeros behind", append(makeReport(3), make([]byte, 24)...), evidence.ErrMalformed, "without certificates"},
		{"SNP twice", append(makeReport(3), makeReport(3)...), evidence.ErrMalformed, "no certificate table"},
		{"certificate table alone", makeTable(), evidence.ErrUnknown, "certificate table of AMD"},
		{"answer short", makeResponse(makeReport(3), 0)[:1215], evidence.ErrMalformed, "1215 bytes"},
		{"answer long", makeResponse(makeReport(3), 4096), evidence.ErrMalformed, "must be 1216 to 4096"},
		{"answer with reserved bits", bad(makeResponse(makeReport(3), 0), 31, 1), evidence.ErrMalformed, "not zero"},
		{"answer with something behind", bad(makeResponse(makeReport(3), 9), 1220, 1), evidence.ErrMalformed, "not zero"},
		{"answer with something else", makeResponse(make([]byte, 1184), 0), evidence.ErrMalformed, "something else"},
		{"answer of a failure", bad(makeResponse(makeReport(3), 0), 0, 0x16), evidence.ErrUnknown, "found"},
		{"Azure's", append([]byte("HCLA"), make([]byte, 100)...), evidence.ErrUnknown, "HCL report"},

		{"quote v2", makeQuote(2, 0, 0, 600, 0), evidence.ErrUnknown, "begin with 0200"},
		{"quote v6", makeQuote(6, 0, 0, 600, 0), evidence.ErrUnknown, "begin with 0600"},
		{"quote v3 of TDX", makeQuote(3, 0x81, 0, 600, 0), evidence.ErrUnknown, "begin with 0300"},
		{"quote of EPID", bad(sgx(), 2, 1), evidence.ErrUnknown, "begin with 03000100"},
		{"quote of another TEE", bad(tdx(), 4, 0x80), evidence.ErrUnknown, "begin with"},
		{"quote without a body", sgx()[:48], evidence.ErrMalformed, "ends in its body"},
		{"quote v5 without a head", makeQuote(5, 0, 1, 1, 0)[:50], evidence.ErrMalformed, "ends in its head"},
		{"quote cut off", sgx()[:1000], evidence.ErrMalformed, "signature of 600 bytes where 564 are left"},
		{"quote without a signature", makeQuote(3, 0, 0, 0, 0), evidence.ErrMalformed, "signature of 0 bytes"},
		{"quote with something behind", append(sgx(), 0, 1), evidence.ErrMalformed, "2 bytes behind its signature"},
		{"quote v5 of body 4", bad(makeQuote(5, 0x81, 2, 9, 0), 48, 4), evidence.ErrMalformed, "body of type 4"},
		{"quote v5 of SGX with TDX's body", bad(makeQuote(5, 0, 1, 9, 0), 48, 2), evidence.ErrMalformed, "body of type 2"},
		{"quote v5 of TDX with SGX's body", bad(makeQuote(5, 0x81, 2, 9, 0), 48, 1), evidence.ErrMalformed, "body of type 1"},
		{"quote v5 of another size", bad(makeQuote(5, 0x81, 2, 9, 0), 50, 0), evidence.ErrMalformed, "512 bytes, must be 584"},

		{"Nitro trailing", append(makeNitro(false), 0), evidence.ErrMalformed, "COSE_Sign1"},
		{"Nitro cut off", makeNitro(false)[:40], evidence.ErrMalformed, "COSE_Sign1"},
		{"Nitro of 3 parts under a tag", encode(cbor.Tag{Number: 18, Content: []int{1, 2, 3}}), evidence.ErrMalformed, "it has 3"},
		{"another COSE_Sign1", encode([]any{[]byte{}, map[int]int{}, encode(map[string]int{"x": 1}), []byte{1}}), evidence.ErrUnknown, "without a module_id"},
		{"COSE_Sign1 with a detached payload", encode([]any{[]byte{}, map[int]int{}, nil, []byte{1}}), evidence.ErrMalformed, "payload"},
		{"COSE_Sign1 of numbers", encode([]any{[]byte{}, map[int]int{}, encode(1), []byte{1}}), evidence.ErrMalformed, "no map with names"},
		{"COSE_Sign1 with a name twice", encode([]any{[]byte{}, map[int]int{}, []byte("\xa2\x61a\x01\x61a\x01"), []byte{1}}), evidence.ErrMalformed, "duplicate"},
		{"COSE_Sign1 of indefinite length", []byte("\x84\x40\xa0\x5f\x41\x00\xff\x41\x00"), evidence.ErrMalformed, "indefinite"},

		{"CCA without the realm", encode(cbor.Tag{Number: 399, Content: map[int]any{44234: []byte{1}}}), evidence.ErrUnknown, "without 44241"},
		{"CCA of numbers", encode(map[int]int{44234: 1, 44241: 1}), evidence.ErrMalformed, "major type 0 at 44234"},
		{"CCA of both forms", encode(map[int]any{44234: []byte{1}, 44241: []any{263, []byte{1}}}), evidence.ErrMalformed, "tag 399"},
		{"CCA of strings under 907", encode(cbor.Tag{Number: 907, Content: ccaMap()}), evidence.ErrMalformed, "what is for tag 399"},
		{"CCA of records under 399", encode(cbor.Tag{Number: 399, Content: ccaRecords()}), evidence.ErrMalformed, "what is for tag 907"},
		{"CCA trailing", append(makeCCA(), 0), evidence.ErrMalformed, "extraneous"},
		{"CCA with a label twice", []byte("\xd9\x01\x8f\xa3\x19\xac\xca\x41\x01\x19\xac\xca\x41\x01\x19\xac\xd1\x41\x01"), evidence.ErrMalformed, "duplicate"},
		{"CCA of tag 398", encode(cbor.Tag{Number: 398, Content: ccaMap()}), evidence.ErrUnknown, "CBOR tag 398"},

		{"TPM without pcrs", []byte(`{"ak_public":"","tpm_quote":{"message":"","signature":""}}`), evidence.ErrMalformed, "without pcrs"},
		{"TPM without a key", []byte(`{"tpm_quote":{"message":"","signature":"","pcrs":[]}}`), evidence.ErrMalformed, "without ak_public"},
		{"TPM of text", []byte(`{"ak_public":"","tpm_quote":""}`), evidence.ErrMalformed, "not an object"},
		{"TPM with a name twice", []byte(`{"ak_public":"","ak_public":"","tpm_quote":{"message":"","signature":"","pcrs":[]}}`), evidence.ErrMalformed, "twice"},
		{"TCB info", []byte(`{"tcbInfo":{"id":"SGX"},"signature":"00"}`), evidence.ErrUnknown, "TCB info"},
		{"QE identity", []byte(`{"enclaveIdentity":{},"signature":"00"}`), evidence.ErrUnknown, "QE identity"},
		{"another object", []byte(`{"b":1,"a":{}}`), evidence.ErrUnknown, `a JSON object of 2 members: "a", "b"`},
		{"broken JSON", []byte(`{"a":`), evidence.ErrMalformed, "EOF"},

		{"TSM of another provider", tsm("nitro_guest", makeReport(3), nil), evidence.ErrMalformed, `provider "nitro_guest"`},
		{"TSM without a provider", encode(map[string]any{"outblob": makeReport(3)}), evidence.ErrMalformed, `provider ""`},
		{"TSM without an outblob", encode(map[string]any{"provider": "sev_guest"}), evidence.ErrMalformed, `item "provider"`},
		{"TSM of the wrong provider", tsm("tdx_guest", makeReport(3), nil), evidence.ErrMismatch, "the outblob an SNP report"},
		{"TSM with noise", tsm("sev_guest", []byte{1}, nil), evidence.ErrUnknown, "outblob"},
		{"TSM with a firmware's answer", tsm("sev_guest", makeResponse(makeReport(3), 0), nil), evidence.ErrMalformed, "outblob of 1216 bytes"},
		{"TSM with an extended report", tsm("sev_guest", append(makeReport(3), makeTable()...), nil), evidence.ErrMalformed, "must be an SNP report of 1184"},
		{"TSM with an auxblob of TDX", tsm("tdx_guest", tdx(), []byte{1}), evidence.ErrMalformed, "auxblob"},
		{"TSM of a service", encode(map[string]any{"provider": "sev_guest", "outblob": makeReport(3), "service_provider": []byte("svsm")}), evidence.ErrMalformed, "of a service"},
		{"TSM with another member", encode(map[string]any{"provider": "sev_guest", "outblob": makeReport(3), "x": []byte{}}), evidence.ErrMalformed, `"x"`},
		{"TSM with text as outblob", encode(map[string]any{"provider": "sev_guest", "outblob": "x"}), evidence.ErrMalformed, "is a string"},
		{"TSM with a number", encode(map[string]any{"provider": 1, "outblob": makeReport(3)}), evidence.ErrMalformed, "is a uint64"},
		{"TSM with a name twice", []byte("\xa2\x67outblob\x41\x00\x67outblob\x41\x00"), evidence.ErrMalformed, "duplicate"},
		{"TSM as JSON with bad base64", []byte(`{"provider":"sev_guest","outblob":"+_"}`), evidence.ErrMalformed, "base64"},
		{"TSM as JSON with a line break", []byte(`{"provider":"sev_guest","outblob":"AA\nAA"}`), evidence.ErrMalformed, "line break"},
		{"TSM as JSON with a number", []byte(`{"provider":"sev_guest","outblob":1}`), evidence.ErrMalformed, "not a string"},

		{"record of another type", wrapped(record(cmw.CBOR, "application/x", sgx())), evidence.ErrUnknown, "none of the media types"},
		{"record of a content-format", wrapped(&cmw.Message{Form: cmw.CBOR, Format: 263, Value: sgx()}), evidence.ErrUnknown, "content-format 263"},
		{"tag of a content-format", wrapped(&cmw.Message{Form: cmw.CBORTag, Format: 263, Value: sgx()}), evidence.ErrUnknown, "content-format 263"},
		{"record of results", wrapped(nitro(record(cmw.CBOR, evidence.TypeNitro, makeNitro(false)))), evidence.ErrUnknown, "no evidence"},
		{"CCA of another profile", wrapped(record(cmw.CBOR, `application/eat-collection; profile="x"`, makeCCA())), evidence.ErrUnknown, "none of the media types"},
		{"broken record", []byte(`["a/b"]`), evidence.ErrMalformed, "1 elements"},
		{"collection with two", twice(record(cmw.CBOR, evidence.TypeNitro, makeNitro(false)), record(cmw.CBOR, evidence.TypeSGX, sgx())), evidence.ErrAmbiguous, "nitro and sgx"},
		{"collection with the same twice", twice(record(cmw.CBOR, evidence.TypeSGX, sgx()), record(cmw.CBOR, evidence.TypeSGX, sgx())), evidence.ErrAmbiguous, "sgx and sgx"},
		{"collection with none", twice(record(cmw.CBOR, "a/b", sgx()), record(cmw.CBOR, "c/d", sgx())), evidence.ErrUnknown, "no item"},
		{"collection with a broken one", twice(record(cmw.CBOR, evidence.TypeSGX, sgx()), record(cmw.CBOR, evidence.TypeNitro, []byte{1})), evidence.ErrMismatch, "aws-nitro"},

		{"certificate without", makeCert(), evidence.ErrUnknown, "the certificate carries none"},
		{"certificate trailing", append(makeCert(good), 0), evidence.ErrMalformed, "1 bytes behind"},
		{"certificate cut off", makeCert(good)[:200], evidence.ErrMalformed, "DER"},
		{"broken certificate", bad(makeCert(good), 10, 0xff), evidence.ErrMalformed, "no certificate"},
		{"both identifiers", makeCert(good, old(raTLS(sgx(), claims))), evidence.ErrAmbiguous, "2.23.133.5.4.9"},
		{"request with both", makeRequest(good, old(raTLS(sgx(), claims))), evidence.ErrAmbiguous, ""},
		{"request without", makeRequest(), evidence.ErrUnknown, "carries none"},
		{"request of another key", brokenRequest, evidence.ErrMalformed, "not signed by its own key"},
		{"certificate with noise", makeCert(pkix.Extension{Id: cmw.OID(), Value: []byte{4, 1, 1}}), evidence.ErrMalformed, "extension 1.3.6.1.5.5.7.1.35"},
		{"revocation list", makeCRL(), evidence.ErrUnknown, "revocation list"},
		{"PEM of two with evidence", append(pemOf("CERTIFICATE", makeCert(good)), pemOf("CERTIFICATE", makeCert(good))...), evidence.ErrAmbiguous, "2 certificates"},
		{"PEM of none", append(pemOf("CERTIFICATE", makeCert()), pemOf("CERTIFICATE", makeCert())...), evidence.ErrUnknown, "2 blocks"},
		{"PEM of a revocation list", pemOf("X509 CRL", makeCRL()), evidence.ErrUnknown, "revocation list"},
		{"PEM of a key", pemOf("PUBLIC KEY", spki()), evidence.ErrUnknown, `"PUBLIC KEY"`},
		{"PEM with text behind", append(pemOf("CERTIFICATE", makeCert(good)), "x"...), evidence.ErrMalformed, "behind the blocks"},
		{"PEM cut off", pemOf("CERTIFICATE", makeCert(good))[:100], evidence.ErrMalformed, "block 1"},
		{"PEM of noise", pemOf("CERTIFICATE", []byte{1}), evidence.ErrMalformed, "DER"},

		{"RA-TLS for another key", makeCert(old(raTLS(sgx(), other))), evidence.ErrKey, "pubkey-hash"},
		{"RA-TLS request for another key", makeRequest(old(raTLS(sgx(), other))), evidence.ErrKey, "pubkey-hash"},
		{"RA-TLS of SNP", makeCert(old(raTLS(makeReport(3), claims))), evidence.ErrMismatch, "the content an SNP report"},
		{"RA-TLS of noise", makeCert(old(raTLS([]byte{1}, claims))), evidence.ErrMismatch, "60000"},
		{"RA-TLS of one part", makeCert(old(encode(cbor.Tag{Number: 60000, Content: [][]byte{sgx()}}))), evidence.ErrMalformed, "it has 1"},
		{"RA-TLS of a string", makeCert(old(encode(cbor.Tag{Number: 60000, Content: sgx()}))), evidence.ErrMalformed, "must be an array"},
		{"RA-TLS without claims", makeCert(old(raTLS(sgx(), []byte{0xa0}))), evidence.ErrMalformed, "pubkey-hash"},
		{"RA-TLS with a claim twice", makeCert(old(raTLS(sgx(), []byte("\xa2\x61a\x40\x61a\x40")))), evidence.ErrMalformed, "duplicate"},
		{"RA-TLS with claims trailing", makeCert(old(raTLS(sgx(), append(bytes.Clone(claims), 0)))), evidence.ErrMalformed, "extraneous"},
		{"RA-TLS with an empty nonce", makeCert(old(raTLS(sgx(), raTLSClaims(spki(), []byte{})))), evidence.ErrMalformed, "nonce"},
		{"RA-TLS of an unknown hash", makeCert(old(raTLS(sgx(), encode(map[string][]byte{"pubkey-hash": encode([]any{2, []byte{1}})})))), evidence.ErrKey, "algorithm 2"},
		{"RA-TLS of a hash alone", makeCert(old(raTLS(sgx(), encode(map[string][]byte{"pubkey-hash": {1}})))), evidence.ErrMalformed, "pubkey-hash"},
		{"RA-TLS report", makeCert(old(encode(cbor.Tag{Number: 60001, Content: [][]byte{{1}, claims}}))), evidence.ErrUnknown, "same machine"},
		{"RA-TLS legacy report", makeCert(old(encode(cbor.Tag{Number: 60002, Content: [][]byte{{1}, claims}}))), evidence.ErrUnknown, "same machine"},
		{"another tag", makeCert(old(encode(cbor.Tag{Number: 0x1a7504, Content: [][]byte{{1}, claims}}))), evidence.ErrUnknown, "CBOR tag 1733892"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			item, err := evidence.Parse(tt.data)
			if !errors.Is(err, tt.want) || item.Evidence.Type != "" {
				t.Fatalf("got %v, %v; want %v", item.Evidence.Type, err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q in it", err, tt.reason)
			}
			for _, kind := range attest.Technologies() {
				if _, err := evidence.ParseAs(tt.data, kind); !errors.Is(err, evidence.ErrKind) && !errors.Is(tt.want, evidence.ErrAmbiguous) {
					t.Errorf("as %s: %v", kind, err)
				}
			}
		})
	}
}

// TestMismatch wraps each technology's evidence under the types of the others.
func TestMismatch(t *testing.T) {
	t.Parallel()
	types := map[string][]string{
		evidence.TypeTSMCBOR: {attest.SNP, attest.TDX, attest.CCA}, evidence.TypeCCA: {attest.CCA}, evidence.TypeNitro: {attest.Nitro},
		evidence.TypeSGX: {attest.SGX}, evidence.TypeTPM: {attest.TPM}, "application/vnd.intel.sgx": {attest.SGX},
		"application/vnd.amd.sev-snp.attestation-report": {attest.SNP}, evidence.TypeTSMJSON: nil,
	}
	count := 0
	for media, kinds := range types {
		for _, ev := range all() {
			right := slices.Contains(kinds, ev.Type) && media != evidence.TypeTSMCBOR && !bytes.HasPrefix(ev.Report, []byte{0xd9, 0x03, 0x8b})
			count++
			for _, form := range []cmw.Form{cmw.JSON, cmw.CBOR} {
				_, err := evidence.Parse(wrapped(record(form, media, ev.Report)))
				if right != (err == nil) || err != nil && !errors.Is(err, evidence.ErrMismatch) {
					t.Errorf("%s as %s: %v", ev.Type, media, err)
				}
			}
		}
	}
	if count < 80 {
		t.Errorf("%d combinations", count)
	}
}

// TestParseAsChooses takes evidence of a kind from a collection of several.
func TestParseAsChooses(t *testing.T) {
	t.Parallel()
	data := wrapped(&cmw.Message{Form: cmw.CBOR, Items: []cmw.Item{
		{Number: 0, Message: *must(evidence.Wrap(attest.Evidence{Type: attest.SGX, Report: sgx()}))},
		{Number: 1, Message: *must(evidence.Wrap(attest.Evidence{Type: attest.TPM, Report: makeTPM()}))},
	}})
	if _, err := evidence.Parse(data); !errors.Is(err, evidence.ErrAmbiguous) {
		t.Error(err)
	}
	for kind, want := range map[string][]byte{attest.SGX: sgx(), attest.TPM: makeTPM()} {
		if item, err := evidence.ParseAs(data, kind); err != nil || !bytes.Equal(item.Evidence.Report, want) {
			t.Error(kind, err)
		}
	}
	if _, err := evidence.ParseAs(data, attest.SNP); !errors.Is(err, evidence.ErrKind) {
		t.Error(err)
	}
	for _, kind := range []string{"", "SNP", "sev"} {
		if _, err := evidence.ParseAs(sgx(), kind); !errors.Is(err, evidence.ErrKind) || !strings.Contains(err.Error(), "must be one of") {
			t.Error(kind, err)
		}
	}
}

func TestWrapRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ev   attest.Evidence
		want error
	}{
		{"zero", attest.Evidence{}, attest.ErrType},
		{"unknown", attest.Evidence{Type: "sev", Report: makeReport(3)}, attest.ErrType},
		{"nothing", attest.Evidence{Type: attest.SGX}, evidence.ErrMismatch},
		{"another type", attest.Evidence{Type: attest.SGX, Report: tdx()}, evidence.ErrMismatch},
		{"another type of TSM", attest.Evidence{Type: attest.TDX, Report: makeReport(3)}, evidence.ErrMismatch},
		{"auxblob", attest.Evidence{Type: attest.SGX, Report: sgx(), Auxblob: []byte{1}}, evidence.ErrMalformed},
		{"auxblob of TDX", attest.Evidence{Type: attest.TDX, Report: tdx(), Auxblob: []byte{1}}, evidence.ErrMalformed},
		{"wrapped already", attest.Evidence{Type: attest.Nitro, Report: wrapped(record(cmw.CBOR, evidence.TypeNitro, makeNitro(false)))}, evidence.ErrMismatch},
		{"quote under CCA", attest.Evidence{Type: attest.CCA, Report: sgx()}, evidence.ErrMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if m, err := evidence.Wrap(tt.ev); m != nil || !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v; want %v", m, err, tt.want)
			}
		})
	}
}
