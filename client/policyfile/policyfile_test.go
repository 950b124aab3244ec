package policyfile_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/client/policyfile"
)

// good reads and parses a file of testdata.
func good(t testing.TB, name string) attest.Policy {
	t.Helper()
	file := filepath.Join("testdata", "good", name)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policyfile.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func goodFiles(t testing.TB) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join("testdata", "good"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files of testdata, expected 8 or more: %v", len(files), err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// TestEveryField makes sure that a file can say all that a policy can: across
// the files of testdata each field of each type is not zero once.
func TestEveryField(t *testing.T) {
	t.Parallel()
	set := map[string]bool{}
	for _, name := range goodFiles(t) {
		fields(reflect.ValueOf(good(t, name)), "Policy", set)
	}
	if len(set) < 60 {
		t.Errorf("only %d fields were looked at", len(set))
	}
	for field, ok := range set {
		// What the report data must be is not for a file to say.
		if ok == (field == "Policy.AnyReportData") {
			t.Errorf("%s: set by a file is %v", field, ok)
		}
	}
}

// fields notes whether each field below v is not zero, by its path from v or
// from the type of what is in a list or map.
func fields(v reflect.Value, path string, set map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			fields(reflect.Zero(v.Type().Elem()), path, set)
		} else {
			fields(v.Elem(), path, set)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			set[path] = set[path] || !v.IsZero()
			return
		}
		for i := range v.NumField() {
			fields(v.Field(i), path+"."+v.Type().Field(i).Name, set)
		}
	case reflect.Array:
		for i := range v.Len() {
			fields(v.Index(i), path+"["+string(rune('0'+i))+"]", set)
		}
	case reflect.Slice, reflect.Map:
		set[path] = set[path] || v.Len() > 0
		// The fields of what is in it are looked at once for each type.
		if e := v.Type().Elem(); e.Kind() == reflect.Struct {
			fields(reflect.Zero(e), e.Name(), set)
			for _, item := range v.Seq2() {
				fields(item, e.Name(), set)
			}
		}
	default:
		set[path] = set[path] || !v.IsZero()
	}
}

// TestValues looks at what becomes of values, for each form of them.
func TestValues(t *testing.T) {
	t.Parallel()
	p := good(t, "snp.toml")
	if got := p.SNP.MinTCB; !reflect.DeepEqual(got, map[snp.Product]snp.TCB{
		snp.Milan: {Bootloader: 4, SNP: 24, Microcode: 219},
		snp.Genoa: {Bootloader: 9, TEE: 1, SNP: 0x17, Microcode: 72},
		snp.Turin: {FMC: 1, Bootloader: 1, TEE: 1, SNP: 4, Microcode: 80},
	}) {
		t.Errorf("minimum TCB %v", got)
	}
	if p.Grace != 72*time.Hour || p.SNP.MinABI != [2]uint8{1, 55} || p.SNP.Mitigations != 1<<63|1<<3|1 || p.SNP.VMPL != 1 {
		t.Errorf("grace %v, ABI %v, mitigations %#x, VMPL %d", p.Grace, p.SNP.MinABI, p.SNP.Mitigations, p.SNP.VMPL)
	}
	if !slices.Equal(p.Profiles, []string{"production", "staging"}) || p.Known[0].Name != "redoubt-wasmldr 0.2" {
		t.Errorf("profiles %q, known %v", p.Profiles, p.Known)
	}
	if m := p.SNP.Measurements; len(m) != 2 || m[0].Name != "redoubt-wasmldr 0.3" || len(m[0].Digest) != 48 || m[1].Name != "" || len(m[1].Digest) != 48 {
		t.Errorf("measurements %v", m)
	}
	date := time.Date(2024, 3, 13, 0, 0, 0, 0, time.UTC)
	tdx, sgx := good(t, "tdx.toml").TDX, good(t, "sgx.toml").SGX
	if !tdx.MinTCBDate.Equal(date) || !sgx.MinTCBDate.Equal(date) || tdx.MinEvaluation != 17 {
		t.Errorf("dates %v, %v, evaluation %d", tdx.MinTCBDate, sgx.MinTCBDate, tdx.MinEvaluation)
	}
	if !slices.Equal(tdx.Statuses, []dcap.Status{dcap.UpToDate, dcap.ConfigurationNeeded}) || len(tdx.RTMRs[1]) != 2 {
		t.Errorf("statuses %v, RTMR1 %v", tdx.Statuses, tdx.RTMRs[1])
	}
	if s := sgx.Signers; len(s) != 2 || s[0].Signer.Name != "the vendor" || s[0].ProductID != 1 || s[0].MinSVN != 3 {
		t.Errorf("signers %v", s)
	}
	if m := good(t, "nitro.toml").Nitro.Machines; len(m) != 1 || string(m[0].Digest) != "i-0bbf1bfe232b8c2ce-enc0183d0d6b8c2ce12" {
		t.Errorf("machines %q", m)
	}
	pcrs := good(t, "tpm.toml").TPM.PCRs
	for pcr, size := range map[attest.PCR]int{{Bank: "sha1"}: 20, {Bank: "sha256", Index: 7}: 32, {Bank: "sha384"}: 48, {Bank: "sha512", Index: 23}: 64} {
		if refs := pcrs[pcr]; len(refs) == 0 || len(refs[0].Digest) != size {
			t.Errorf("%v: %v", pcr, refs)
		}
	}
}

// TestNothingSaid makes sure that a file refuses what it does not speak of.
func TestNothingSaid(t *testing.T) {
	t.Parallel()
	p := good(t, "version.toml")
	if !reflect.DeepEqual(p, attest.Policy{}) {
		t.Errorf("not the zero policy: %+v", p)
	}
	data := make([]byte, 64)
	data[0] = 1
	for _, technology := range attest.Technologies() {
		c := &attest.Claims{Technology: technology, ReportData: data, Time: time.Now()}
		if p.Appraise(c, data).Err() == nil {
			t.Errorf("%s is accepted", technology)
		}
	}
	// A table without keys is no more than the zero one of its technology.
	for _, technology := range attest.Technologies() {
		p, err := policyfile.Parse("p", []byte("version = 1\n["+technology+"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.ValueOf(p)
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() && !f.Elem().IsZero() {
				t.Errorf("[%s] sets %+v", technology, f.Elem())
			}
		}
	}
}
