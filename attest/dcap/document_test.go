package dcap_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// components is an array of 16, of which the first is n.
func components(n int) string {
	return fmt.Sprintf(`[{"svn":%d,"category":"BIOS","type":"Early Microcode Update"}`, n) + strings.Repeat(`,{"svn":0}`, 15) + "]"
}

// The documents are made up; nobody signed them.
var (
	sgxInfo = `{"id":"SGX","version":3,"issueDate":"2026-01-01T00:00:00Z","nextUpdate":"2026-02-01T00:00:00Z","fmspc":"0102030405aF","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":20,` +
		`"tcbLevels":[{"tcb":{"sgxtcbcomponents":` + components(7) + `,"pcesvn":13},"tcbDate":"2025-11-12T00:00:00Z","tcbStatus":"SWHardeningNeeded","advisoryIDs":["INTEL-SA-00001"]},` +
		`{"tcb":{"sgxtcbcomponents":` + components(7) + `,"pcesvn":5},"tcbDate":"2024-11-12T00:00:00Z","tcbStatus":"OutOfDate"}]}`
	tdxInfo = `{"id":"TDX","version":3,"issueDate":"2026-01-01T00:00:00Z","nextUpdate":"2026-02-01T00:00:00Z","fmspc":"010203040506","pceId":"0000","tcbType":0,"tcbEvaluationDataNumber":20,` +
		`"tdxModule":` + module("") + `,"tdxModuleIdentities":[` + module(`"id":"TDX_03",`+svnLevels) + `,` + module(`"id":"TDX_01",`+svnLevels) + `],` +
		`"tcbLevels":[{"tcb":{"sgxtcbcomponents":` + components(7) + `,"pcesvn":13,"tdxtcbcomponents":` + components(5) + `},"tcbDate":"2025-11-12T00:00:00Z","tcbStatus":"UpToDate"}]}`
	identity = `{"id":"TD_QE","version":2,"issueDate":"2026-01-01T00:00:00Z","nextUpdate":"2026-02-01T00:00:00Z","tcbEvaluationDataNumber":20,"miscselect":"00000000","miscselectMask":"FFFFFFFF",` +
		`"attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","mrsigner":"` + strings.Repeat("AB", 32) + `","isvprodid":2,` + strings.TrimSuffix(svnLevels, ",") + `}`
)

const svnLevels = `"tcbLevels":[{"tcb":{"isvsvn":4},"tcbDate":"2025-11-12T00:00:00Z","tcbStatus":"UpToDate"},{"tcb":{"isvsvn":2},"tcbDate":"2024-11-12T00:00:00Z","tcbStatus":"OutOfDate","advisoryIDs":["INTEL-SA-00002"]}],`

func module(more string) string {
	return `{` + more + `"mrsigner":"` + strings.Repeat("0", 96) + `","attributes":"0000000000000000","attributesMask":"FFFFFFFFFFFFFFFF"}`
}

const sig = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40"

func doc(name, signed string) string {
	return `{"` + name + `":` + signed + `,"signature":"` + sig + `"}`
}

// TestDocuments wraps TCB info in documents that are strict, or not.
func TestDocuments(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"x":[`, n) + strings.Repeat(`]}`, n) }
	with := func(more string) string { return doc("tcbInfo", `{`+more+`,`+sgxInfo[1:]) }
	var many strings.Builder
	for i := range 70 {
		fmt.Fprintf(&many, `"x%d":0,`, i)
	}
	for _, tt := range []struct{ name, data, text string }{
		{"good", doc("tcbInfo", sgxInfo), ""},
		{"good TDX", doc("tcbInfo", tdxInfo), ""},
		{"signature first", `{"signature":"` + sig + `","tcbInfo":` + sgxInfo + `}`, ""},
		{"signature in capitals", `{"signature":"` + strings.ToUpper(sig) + `","tcbInfo":` + sgxInfo + `}`, ""},
		{"white space", " \r\n\t{ \"tcbInfo\" :\n" + sgxInfo + "\t,\r\"signature\" : \"" + sig + "\" } \n", ""},
		{"white space inside", doc("tcbInfo", strings.NewReplacer(",", " ,\n", ":", " : ", "[", " [ ").Replace(strings.ReplaceAll(sgxInfo, "T00:00:00Z", "T00_Z"))), "issueDate must be a time"},
		{"unknown members", with(`"a":null,"b":[1.5e3,true,"\"}{\\",{}],"c":{"d":{}}`), ""},
		{"escapes", with(`"\u0061\"b":"\u00e4"`), ""},

		{"nothing", "", "not JSON"},
		{"null", "null", "not a JSON object"},
		{"array", "[]", "not a JSON object"},
		{"empty object", "{}", `must be an object "tcbInfo" and a signature`},
		{"torn", doc("tcbInfo", sgxInfo)[:100], "not JSON"},
		{"two", doc("tcbInfo", sgxInfo) + doc("tcbInfo", sgxInfo), "not JSON"},
		{"byte order mark", "\uFEFF" + doc("tcbInfo", sgxInfo), "not JSON"},
		{"zero byte behind", doc("tcbInfo", sgxInfo) + "\x00", "not JSON"},
		{"not UTF-8", with(`"a":"` + "\xff" + `"`), "not JSON in UTF-8"},
		{"comment", "/**/" + doc("tcbInfo", sgxInfo), "not JSON"},
		{"too long", doc("tcbInfo", sgxInfo) + strings.Repeat(" ", 256<<10), "must be at most 262144"},
		{"longest", doc("tcbInfo", sgxInfo) + strings.Repeat(" ", 256<<10-len(doc("tcbInfo", sgxInfo))), ""},
		{"another name", doc("tcbinfo", sgxInfo), `"tcbinfo" beside "tcbInfo" and signature`},
		{"name of the other kind", doc("enclaveIdentity", sgxInfo), `"enclaveIdentity" beside`},
		{"a third member", `{"x":0,` + doc("tcbInfo", sgxInfo)[1:], `"x" beside`},
		{"TCB info twice", `{"tcbInfo":` + sgxInfo + "," + doc("tcbInfo", sgxInfo)[1:], `"tcbInfo" is there twice`},
		{"TCB info twice, escaped", `{"tcb\u0049nfo":` + sgxInfo + "," + doc("tcbInfo", sgxInfo)[1:], `"tcbInfo" is there twice`},
		{"signature twice", `{"signature":"` + strings.Repeat("0", 128) + `",` + doc("tcbInfo", sgxInfo)[1:], `"signature" is there twice`},
		{"no signature", `{"tcbInfo":` + sgxInfo + `}`, "and a signature"},
		{"signature zero", strings.Replace(doc("tcbInfo", sgxInfo), sig, strings.Repeat("0", 128), 1), "and a signature"},
		{"signature null", `{"tcbInfo":` + sgxInfo + `,"signature":null}`, "not a string of 128 hex digits"},
		{"signature short", strings.Replace(doc("tcbInfo", sgxInfo), sig, sig[2:], 1), "not a string of 128 hex digits"},
		{"signature long", strings.Replace(doc("tcbInfo", sgxInfo), sig, sig+"00", 1), "not a string of 128 hex digits"},
		{"signature not hex", strings.Replace(doc("tcbInfo", sgxInfo), sig, "zz"+sig[2:], 1), "not a string of 128 hex digits"},
		{"TCB info as string", doc("tcbInfo", `"`+strings.ReplaceAll(sgxInfo, `"`, `\"`)+`"`), `must be an object "tcbInfo"`},
		{"TCB info as array", doc("tcbInfo", `[]`), `must be an object "tcbInfo"`},
		{"a name twice", with(`"id":"SGX"`), `"id" is there twice`},
		{"a name twice, in capitals", with(`"ID":"SGX"`), `"id" is there twice`},
		{"a name twice, escaped", with(`"\u0069d":"SGX"`), `"id" is there twice`},
		{"a name twice, deep", doc("tcbInfo", strings.Replace(sgxInfo, `"pcesvn":13`, `"pcesvn":13,"pcesvn":14`, 1)), `"pcesvn" is there twice`},
		{"a name twice, in what nobody knows", with(`"x":[[{"y":1,"y":1}]]`), `"y" is there twice`},
		{"deep", with(`"x":` + deep(7)), ""},
		{"too deep", with(`"x":` + deep(8)), "nested deeper than 16"},
		{"much too deep", with(`"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), "nested deeper than 16"},
		{"many members", with(strings.TrimSuffix(many.String(), ",")), "more than 64 members"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			signed, err := dcap.ParseTCBInfo([]byte(tt.data))
			if (err != nil) != (tt.text != "") || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v, want %q", err, tt.text)
			}
			if err == nil && (!strings.Contains(tt.data, string(signed)) || !json.Valid(signed)) {
				t.Errorf("signed %s", signed)
			}
		})
	}
}

// TestTCBInfoFields takes away, and makes wrong, each field of TCB info and of a
// QE identity.
func TestTCBInfoFields(t *testing.T) {
	t.Parallel()
	type row struct{ old, new, text string }
	test := func(name, signed string, parse func([]byte) ([]byte, error), rows []row) {
		if _, err := parse([]byte(doc(name, signed))); err != nil {
			t.Fatal(err)
		}
		for _, tt := range rows {
			if !strings.Contains(signed, tt.old) {
				t.Errorf("no %s", tt.old)
			}
			_, err := parse([]byte(doc(name, strings.Replace(signed, tt.old, tt.new, 1))))
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s -> %s: got %v, want %s", tt.old, tt.new, err, tt.text)
			}
		}
	}
	common := []row{
		{`"issueDate"`, `"x"`, "issueDate must be a string"},
		{`"2026-01-01T00:00:00Z"`, `"2026-01-01"`, "issueDate must be a time"},
		{`"2026-01-01T00:00:00Z"`, `1`, "issueDate must be a string"},
		{`"2026-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`, "issueDate must be a time"},
		{`"nextUpdate"`, `"x"`, "nextUpdate must be a string"},
		{`"2026-02-01T00:00:00Z"`, `"2026-01-01T00:00:00Z"`, "nextUpdate must be after issueDate"},
		{`"tcbEvaluationDataNumber"`, `"x"`, "tcbEvaluationDataNumber must be a number"},
		{`:20`, `:-1`, "tcbEvaluationDataNumber must be a number"},
		{`:20`, `:2e1`, "tcbEvaluationDataNumber must be a number"},
		{`:20`, `:4294967296`, "tcbEvaluationDataNumber must be a number"},
		{`:20`, `:18446744073709551616`, "tcbEvaluationDataNumber must be a number"},
		{`:20`, `:"20"`, "tcbEvaluationDataNumber must be a number"},
		{`"version"`, `"x"`, "version must be"},
		{`"id"`, `"x"`, "id must be"},
		{`"tcbLevels"`, `"x"`, "tcbLevels must be an array"},
		{`"tcbDate"`, `"x"`, "tcbDate must be a string"},
		{`"tcbStatus"`, `"x"`, "tcbStatus must be a string"},
		{`"UpToDate"`, `"uptodate"`, `tcbStatus "uptodate" is not known`},
		{`"UpToDate"`, `"TDRelaunchAdvised"`, `tcbStatus "TDRelaunchAdvised" is not known`},
	}
	info := append(common[:len(common)-2:len(common)-2], []row{
		{`"SWHardeningNeeded"`, `"swhardeningneeded"`, `tcbLevels[0].tcbStatus "swhardeningneeded" is not known`},
		{`"id":"SGX"`, `"id":"XYZ"`, "id must be SGX or TDX"},
		{`"id":"SGX"`, `"id":"sgx"`, "id must be SGX or TDX"},
		{`"id":"SGX"`, `"id":"TDX"`, "tdxModule must be an object"},
		{`"version":3`, `"version":2`, "version must be 3"},
		{`"version":3`, `"version":4`, "version must be 3"},
		{`"fmspc"`, `"x"`, "fmspc must be a string"},
		{`"0102030405aF"`, `"0102030405"`, "fmspc must be 12 hex digits"},
		{`"0102030405aF"`, `"0102030405aFf"`, "fmspc must be 12 hex digits"},
		{`"0102030405aF"`, `"0102030405ag"`, "fmspc must be 12 hex digits"},
		{`"pceId":"0000"`, `"pceId":"00"`, "pceId must be 4 hex digits"},
		{`"tcbType":0`, `"tcbType":1`, "tcbType must be a number of 0 to 0"},
		{`"tcbType"`, `"x"`, "tcbType must be a number of 0 to 0"},
		{`"tcb":`, `"x":`, "tcbLevels[0].tcb must be an object"},
		{`"sgxtcbcomponents"`, `"x"`, "tcbLevels[0].tcb.sgxtcbcomponents must be an array"},
		{`,{"svn":0}]`, `]`, "tcbLevels[0].tcb.sgxtcbcomponents must be an array of 16"},
		{`,{"svn":0}]`, `,{"svn":0},{"svn":0}]`, "tcbLevels[0].tcb.sgxtcbcomponents must be an array of 16"},
		{`{"svn":0}`, `{"svn":256}`, "tcbLevels[0].tcb.sgxtcbcomponents[1].svn must be a number of 0 to 255"},
		{`{"svn":0}`, `{}`, "tcbLevels[0].tcb.sgxtcbcomponents[1].svn must be a number of 0 to 255"},
		{`{"svn":0}`, `0`, "tcbLevels[0].tcb.sgxtcbcomponents must be an array of objects"},
		{`"pcesvn":13`, `"pcesvn":65536`, "tcbLevels[0].tcb.pcesvn must be a number of 0 to 65535"},
		{`"pcesvn":13`, `"x":13`, "tcbLevels[0].tcb.pcesvn must be a number"},
		{`"pcesvn":13`, `"pcesvn":5`, "tcbLevels must be without the same level twice"},
		{`["INTEL-SA-00001"]`, `"INTEL-SA-00001"`, "tcbLevels[0].advisoryIDs must be an array"},
		{`["INTEL-SA-00001"]`, `[1]`, "tcbLevels[0].advisoryIDs must be an array of strings"},
		{`"tcbLevels":`, `"tcbLevels":[],"x":`, "tcbLevels must be at least one"},
		{`"tcbLevels":`, `"tcbLevels":{},"x":`, "tcbLevels must be an array"},
	}...)
	test("tcbInfo", sgxInfo, dcap.ParseTCBInfo, info)
	modules := []row{
		{`"tdxModule"`, `"x"`, "tdxModule must be an object"},
		{`"mrsigner":"00`, `"mrsigner":"`, "tdxModule.mrsigner must be 96 hex digits"},
		{`"attributes":"00`, `"attributes":"`, "tdxModule.attributes must be 16 hex digits"},
		{`"attributesMask":"FF`, `"attributesMask":"`, "tdxModule.attributesMask must be 16 hex digits"},
		{`"tdxtcbcomponents"`, `"x"`, "tcbLevels[0].tcb.tdxtcbcomponents must be an array"},
		{`"TDX_03"`, `"TDX_01"`, `tdxModuleIdentities must be without "TDX_01" twice`},
		{`"TDX_03"`, `"tdx_01"`, `tdxModuleIdentities must be without "TDX_01" twice`},
		{`"id":"TDX_03"`, `"x":0`, "tdxModuleIdentities[0].id must be a string"},
		{`"tdxModuleIdentities":[`, `"tdxModuleIdentities":{},"x":[`, "tdxModuleIdentities must be an array"},
		{`{"isvsvn":4}`, `{"isvsvn":2}`, "tdxModuleIdentities[0].tcbLevels must be without the same level twice"},
		{`{"isvsvn":4}`, `{"isvsvn":65536}`, "tdxModuleIdentities[0].tcbLevels[0].tcb.isvsvn must be a number"},
		{`"tcb":{"isvsvn":4}`, `"tcb":4`, "tdxModuleIdentities[0].tcbLevels[0].tcb must be an object"},
		{`"tcbLevels":`, `"tcbLevels":[],"x":`, "tdxModuleIdentities[0].tcbLevels must be at least one"},
	}
	test("tcbInfo", tdxInfo, dcap.ParseTCBInfo, modules)
	test("enclaveIdentity", identity, dcap.ParseQEIdentity, append(common, []row{
		{`"version":2`, `"version":1`, "version must be 2"},
		{`"version":2`, `"version":3`, "version must be 2"},
		{`"miscselect"`, `"x"`, "miscselect must be a string"},
		{`"miscselect":"00`, `"miscselect":"`, "miscselect must be 8 hex digits"},
		{`"miscselectMask":"FF`, `"miscselectMask":"`, "miscselectMask must be 8 hex digits"},
		{`"attributes":"11`, `"attributes":"`, "attributes must be 32 hex digits"},
		{`"attributesMask":"FB`, `"attributesMask":"`, "attributesMask must be 32 hex digits"},
		{`"mrsigner"`, `"x"`, "mrsigner must be a string"},
		{`"mrsigner":"AB`, `"mrsigner":"`, "mrsigner must be 64 hex digits"},
		{`"isvprodid":2`, `"isvprodid":65536`, "isvprodid must be a number of 0 to 65535"},
		{`{"isvsvn":4}`, `{"isvsvn":2}`, "tcbLevels must be without the same level twice"},
		{`{"isvsvn":4}`, `{}`, "tcbLevels[0].tcb.isvsvn must be a number"},
		{`"tcbLevels":`, `"tcbLevels":[],"x":`, "tcbLevels must be at least one"},
	}...))
}

// TestDocumentsBounded checks that no document makes its reader slow or large.
func TestDocumentsBounded(t *testing.T) {
	for _, unit := range []string{`[],`, `0,`, `{},`, `{"a":0},`, `"",`, `[[[[0]]]],`} {
		fill := strings.Repeat(unit, (200<<10)/len(unit))
		data := []byte(doc("tcbInfo", `{"x":[`+strings.TrimSuffix(fill, ",")+`],`+sgxInfo[1:]))
		checkAllocated(t, len(data), documentFactor, func() { dcap.ParseTCBInfo(data) })
		data = bytes.Replace(data, []byte(`"x":`), []byte(`"y":0,"tdxModuleIdentities":`), 1)
		data = bytes.Replace(data, []byte(`"SGX"`), []byte(`"TDX"`), 1)
		checkAllocated(t, len(data), documentFactor, func() { dcap.ParseTCBInfo(data) })
	}
}

func TestTooMuchCollateral(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]dcap.Collateral{
		"certificates": {Certificates: make([][]byte, dcap.MaxCertificates+1)},
		"documents":    {TCBInfos: make([][]byte, dcap.MaxDocuments), QEIdentities: make([][]byte, 1)},
	} {
		_, err := dcap.Verify(nil, c, []dcap.Root{dcap.IntelRoot()}, nil, labNow)
		if !errors.Is(err, dcap.ErrCollateral) || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
