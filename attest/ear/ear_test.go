package ear_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/ear"
)

var update = flag.Bool("update", false, "write golden files and seeds to testdata anew")

var issued = time.Unix(1666529184, 0).UTC()

const policy = "https://veraison.example/policy/1/60a0068d"

var verifier = ear.VerifierID{Developer: "https://veraison-project.org", Build: "vts 0.0.1"}

// contraindicated is the draft's first example: of a device whose executables
// are contraindicated.
func contraindicated(profile string) *ear.Result {
	return &ear.Result{
		Profile: profile, Issued: issued, Verifier: verifier,
		Attesters: map[string]ear.Appraisal{"PSA": {
			Status: ear.Contraindicated, Policies: []string{policy},
			Vector: ear.Vector{InstanceIdentity: ear.Affirmed, Executables: ear.Contra, Hardware: ear.Affirmed},
		}},
	}
}

// full has every claim.
func full(profile string) *ear.Result {
	r := contraindicated(profile)
	r.Expires = issued.Add(time.Hour)
	r.Nonce = []byte("01234567")
	r.Evidence = []byte(`["application/aws-nitro-document","AAEC"]`)
	r.Attesters["CCA Realm"] = ear.Appraisal{Status: ear.Warning, Vector: ear.Vector{
		InstanceIdentity: 2, Configuration: 3, Executables: 32, FileSystem: -1, Hardware: -33, RuntimeOpaque: -2, StorageOpaque: 31, SourcedData: 1,
	}}
	r.Attesters["none"] = ear.Appraisal{}
	return r
}

// TestGolden compares what is written with files, of which the first two are the
// draft's example but for the evidence.
func TestGolden(t *testing.T) { //nolint:paralleltest // may write
	for name, r := range map[string]*ear.Result{
		"draft-05": contraindicated(ear.ProfileDraft05), "2023": contraindicated(ear.Profile2023),
		"draft-05-full": full(ear.ProfileDraft05), "2023-full": full(ear.Profile2023),
	} {
		claims, err := r.Claims()
		if err != nil {
			t.Fatal(name, err)
		}
		var got bytes.Buffer
		if err := json.Indent(&got, claims, "", "  "); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got %s, want %s (%v)", name, got.Bytes(), want, err)
		}
		again, err := ear.Parse(claims)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s: read back as %+v, %v", name, again, err)
		}
	}
}

// The examples of draft-ietf-rats-ear, without the evidence.
const (
	example05 = `{"eat_profile": "tag:ietf.org,2026:rats/ear#05", "iat": 1666529184,
		"ear_verifier_id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
		"submods": {"PSA": {"ear_status": "contraindicated",
			"ear_trustworthiness_vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
			"ear_appraisal_policy_ids": ["https://veraison.example/policy/1/60a0068d"]}}}`
	example2023 = `{"eat_profile": "tag:github.com,2023:veraison/ear", "iat": 1666529184,
		"ear.verifier-id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
		"submods": {"PSA": {"ear.status": "contraindicated",
			"ear.trustworthiness-vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
			"ear.appraisal-policy-id": "https://veraison.example/policy/1/60a0068d"}}}`
)

func TestExamples(t *testing.T) {
	t.Parallel()
	for profile, example := range map[string]string{ear.ProfileDraft05: example05, ear.Profile2023: example2023} {
		r, err := ear.Parse([]byte(example))
		if err != nil || !reflect.DeepEqual(r, contraindicated(profile)) {
			t.Errorf("%s: %+v, %v", profile, r, err)
			continue
		}
		claims, err := r.Claims()
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if json.Unmarshal(claims, &got) != nil || json.Unmarshal([]byte(example), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s", profile, claims)
		}
		if r.Status() != ear.Contraindicated {
			t.Error(r.Status())
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	edit := func(s string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(s, pairs[i]) {
				t.Fatalf("no %q in %s", pairs[i], s)
			}
		}
		return strings.NewReplacer(pairs...).Replace(s)
	}
	const status, vector = `"ear_status": "contraindicated"`, `{"instance-identity": 2, "executables": 96, "hardware": 2}`
	const iat = `"iat": 1666529184`
	for _, tt := range []struct {
		name, claims string
		reason       string // none: it is read
	}{
		{"status as a number", edit(example05, status, `"ear_status": 96`), ""},
		{"unknown claims", edit(example05, iat, iat+`, "x": {"y": [1]}, "jti": "z"`, status, status+`, "ear_verifier_claims": {}`), ""},
		{"no vector", edit(example05, `"ear_trustworthiness_vector": `+vector+",", ""), ""},
		{"less trustworthy than its vector", edit(example05, "96", "2"), ""},
		{"an exponent, in 2023", edit(example2023, iat, `"iat": 1.666529184e+09`), ""},

		{"nothing", "", "EOF"},
		{"an array", "[]", "not an object"},
		{"trailing", example05 + "{}", "behind the value"},
		{"no profile", edit(example05, `"eat_profile"`, `"eat_profil"`), "eat_profile: is missing"},
		{"another profile", edit(example05, "#05", "#06"), `"tag:ietf.org,2026:rats/ear#06"`},
		{"profile of a number", edit(example05, `"tag:ietf.org,2026:rats/ear#05"`, "5"), "not a string"},
		{"names of the other profile", edit(example05, ear.ProfileDraft05, ear.Profile2023), "ear.verifier-id"},
		{"names of the other profile, again", edit(example2023, ear.Profile2023, ear.ProfileDraft05), "ear_verifier_id"},
		{"profile twice", edit(example05, iat, iat+`, "eat_profile": "`+ear.ProfileDraft05+`"`), "twice"},
		{"iat twice", edit(example05, iat, iat+","+iat), "twice"},
		{"no iat", edit(example05, `"iat"`, `"iac"`), "iat: is missing"},
		{"iat of text", edit(example05, iat, `"iat": "1666529184"`), "whole seconds"},
		{"iat of a fraction", edit(example05, iat, `"iat": 1666529184.0`), "whole seconds"},
		{"iat of an exponent", edit(example05, iat, `"iat": 1666529184e0`), "whole seconds"},
		{"iat of a fraction, in 2023", edit(example2023, iat, `"iat": 1666529184.5`), "whole seconds"},
		{"iat that is huge, in 2023", edit(example2023, iat, `"iat": 1e999`), "whole seconds"},
		{"iat that is large", edit(example05, iat, `"iat": 9999999999999`), "whole seconds"},
		{"iat of zero", edit(example05, iat, `"iat": 0`), "whole seconds"},
		{"iat before 1970", edit(example05, iat, `"iat": -1`), "whole seconds"},
		{"iat null", edit(example05, iat, `"iat": null`), "whole seconds"},
		{"exp before iat", edit(example05, iat, iat+`, "exp": 1666529184`), "exp: not after iat"},
		{"exp of a fraction", edit(example05, iat, iat+`, "exp": 1766529184.5`), "exp"},
		{"no verifier", edit(example05, `"ear_verifier_id"`, `"ear_verifier"`), "ear_verifier_id"},
		{"no developer", edit(example05, `"developer"`, `"x"`), "developer: is missing"},
		{"no build", edit(example05, `"build"`, `"x"`), "build: is missing"},
		{"empty build", edit(example05, `"vts 0.0.1"`, `""`), "build: is empty"},
		{"no submods", edit(example05, `"submods"`, `"submod"`), "submods"},
		{"empty submods", edit(example05, `"submods": {`, `"submods": {}, "x": {`), "no attester"},
		{"submods of an array", edit(example05, `"submods": {`, `"submods": [], "x": {`), "not an object"},
		{"an attester without a name", edit(example05, `"PSA"`, `""`), "without a name"},
		{"an attester of text", edit(example05, `"PSA": {`, `"PSA": "x", "y": {`), "PSA"},
		{"an attester twice", edit(example05, `"PSA": {`, `"PSA": {}, "PSA": {`), "twice"},
		{"no status", edit(example05, `"ear_status"`, `"ear_statu"`), "ear_status: is missing"},
		{"unknown status", edit(example05, `"contraindicated"`, `"fine"`), "must be none, affirming"},
		{"status in upper case", edit(example05, `"contraindicated"`, `"Contraindicated"`), "must be none, affirming"},
		{"unknown status of a number", edit(example05, `"contraindicated"`, `97`), "must be none, affirming"},
		{"status null", edit(example05, `"contraindicated"`, `null`), "must be none, affirming"},
		{"more trustworthy than its vector", edit(example05, `"contraindicated"`, `"affirming"`), "status affirming, and the vector is contraindicated"},
		{"a warning over a contraindication", edit(example05, `"contraindicated"`, `"warning"`), "status warning"},
		{"no status over a contraindication", edit(example05, `"contraindicated"`, `"none"`), "status none"},
		{"more trustworthy than a warning", edit(example05, `"contraindicated"`, `"affirming"`, "96", "-33"), "the vector is warning"},
		{"unknown aspect", edit(example05, `"hardware"`, `"hardwear"`), "hardwear"},
		{"aspect twice", edit(example05, `"hardware": 2`, `"hardware": 2, "hardware": 2`), "twice"},
		{"aspect out of range", edit(example05, "96", "128"), "from -128 to 127"},
		{"aspect below the range", edit(example05, "96", "-129"), "from -128 to 127"},
		{"aspect of a fraction", edit(example05, "96", "96.0"), "from -128 to 127"},
		{"aspect of text", edit(example05, "96", `"96"`), "from -128 to 127"},
		{"vector of an array", edit(example05, vector, "[]"), "not an object"},
		{"no policies", edit(example05, `["`+policy+`"]`, "[]"), "empty list"},
		{"policy of text", edit(example05, `["`+policy+`"]`, `"x"`), "not an array"},
		{"empty policy", edit(example05, policy, ""), "must be a URI"},
		{"policies, in 2023", edit(example2023, `"`+policy+`"`, `["x"]`), "not a string"},
		{"short nonce", edit(example05, iat, iat+`, "eat_nonce": "AAAAAAAAAA=="`), "eat_nonce of 7 bytes"},
		{"long nonce", edit(example05, iat, iat+`, "eat_nonce": "`+strings.Repeat("AAAA", 21)+`AAA="`), "eat_nonce of 65 bytes"},
		{"nonce without padding", edit(example05, iat, iat+`, "eat_nonce": "AAAAAAAAAAA"`), "eat_nonce"},
		{"nonce with a line break", edit(example05, iat, iat+`, "eat_nonce": "AAAA\nAAAAAAA="`), "eat_nonce"},
		{"two nonces", edit(example05, iat, iat+`, "eat_nonce": ["AAAAAAAAAAA=","AAAAAAAAAAA="]`), "eat_nonce"},
		{"evidence of text", edit(example05, iat, iat+`, "ear_raw_evidence": "AAAA"`), "ear_raw_evidence"},
		{"evidence of a collection", edit(example05, iat, iat+`, "ear_raw_evidence": {"a": ["a/b", "AA"]}`), "must be a record"},
		{"evidence, in 2023", edit(example2023, iat, iat+`, "ear.raw-evidence": ["a/b", "AA"]`), "ear.raw-evidence"},
		{"evidence with padding, in 2023", edit(example2023, iat, iat+`, "ear.raw-evidence": "AA=="`), "ear.raw-evidence"},
		{"not UTF-8", strings.Replace(example05, "vts", "\xff", 1), "not UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := ear.Parse([]byte(tt.claims))
			if tt.reason == "" {
				if err != nil || r.Attesters["PSA"].Status != ear.Contraindicated || !r.Issued.Equal(issued) {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			if r != nil || !errors.Is(err, ear.ErrMalformed) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %+v, %v; want an error with %q", r, err, tt.reason)
			}
		})
	}
}

func TestClaimsRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*ear.Result)
		reason string
	}{
		{"zero", func(r *ear.Result) { *r = ear.Result{} }, "eat_profile"},
		{"no time", func(r *ear.Result) { r.Issued = time.Time{} }, "no time of issue"},
		{"expired when issued", func(r *ear.Result) { r.Expires = issued }, "not after iat"},
		{"no verifier", func(r *ear.Result) { r.Verifier = ear.VerifierID{} }, "developer or build"},
		{"no attester", func(r *ear.Result) { r.Attesters = nil }, "no attester"},
		{"empty nonce", func(r *ear.Result) { r.Nonce = []byte{} }, "0 bytes"},
		{"long nonce", func(r *ear.Result) { r.Nonce = make([]byte, 65) }, "65 bytes"},
		{"evidence that is no wrapper", func(r *ear.Result) { r.Evidence = []byte("x") }, "ear_raw_evidence"},
		{"evidence in CBOR", func(r *ear.Result) { r.Evidence = []byte("\x82\x01\x41\x00") }, "must be a record as JSON"},
		{"unknown status", func(r *ear.Result) { r.Attesters["PSA"] = ear.Appraisal{Status: 3} }, "status 3"},
		{"no name", func(r *ear.Result) { r.Attesters[""] = ear.Appraisal{} }, "without a name"},
		{"too trustworthy", func(r *ear.Result) {
			r.Attesters["x"] = ear.Appraisal{Status: ear.Affirming, Vector: ear.Vector{SourcedData: 32}}
		}, "the vector is warning"},
		{"empty policy", func(r *ear.Result) { r.Attesters["x"] = ear.Appraisal{Policies: []string{""}} }, "must be a URI"},
		{"two policies in 2023", func(r *ear.Result) {
			r.Profile = ear.Profile2023
			r.Attesters["x"] = ear.Appraisal{Policies: []string{"a", "b"}}
		}, "2 policies"},
		{"a name that is not UTF-8", func(r *ear.Result) { r.Attesters["\xff"] = ear.Appraisal{} }, "replacement character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := contraindicated(ear.ProfileDraft05)
			tt.change(r)
			if claims, err := r.Claims(); claims != nil || !errors.Is(err, ear.ErrMalformed) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %s, %v; want an error with %q", claims, err, tt.reason)
			}
		})
	}
}

func TestTier(t *testing.T) {
	t.Parallel()
	for i := -128; i <= 127; i++ {
		want := ear.None
		switch {
		case i <= -97 || i >= 96:
			want = ear.Contraindicated
		case i <= -33 || i >= 32:
			want = ear.Warning
		case i <= -2 || i >= 2:
			want = ear.Affirming
		}
		if got := ear.Claim(i).Tier(); got != want {
			t.Errorf("%d is %v, want %v", i, got, want)
		}
	}
	if s := ear.Tier(5).String(); s != "tier 5" || ear.Affirming.String() != "affirming" {
		t.Error(s)
	}
}
