package ear_test

import (
	"testing"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/ear"
)

func TestFromAppraisal(t *testing.T) {
	t.Parallel()
	passed := func(name string) attest.Rule { return attest.Rule{Name: name, OK: true, Expected: "x", Found: "x"} }
	warned := func(name string) attest.Rule {
		return attest.Rule{Name: name, OK: true, Warning: true, Expected: "x, or not"}
	}
	failed := func(name string) attest.Rule { return attest.Rule{Name: name, Expected: "x", Found: "y"} }
	anyOf := func(name string) attest.Rule { return attest.Rule{Name: name, OK: true, Expected: "any"} }
	rules := func(list ...attest.Rule) []attest.Rule { return list }
	// What genuine evidence of an encrypted guest under a policy gives by itself.
	base := ear.Vector{Configuration: 2, Hardware: 2, RuntimeOpaque: 2}
	with := func(change func(*ear.Vector)) ear.Vector {
		v := base
		change(&v)
		return v
	}
	for _, tt := range []struct {
		name   string
		claims attest.Claims
		rules  []attest.Rule
		status ear.Tier
		vector ear.Vector
	}{
		{"accepted", attest.Claims{}, rules(passed("measurement"), passed("machine"), passed("VMPL")), ear.Affirming, with(func(v *ear.Vector) { v.Executables, v.InstanceIdentity = 3, 2 })},
		{"any measurement and machine", attest.Claims{}, rules(anyOf("measurement"), anyOf("machine")), ear.Affirming, base},
		{"a TPM", attest.Claims{Technology: attest.TPM}, rules(passed("x")), ear.Affirming, ear.Vector{Configuration: 2, Hardware: 2}},
		{"no rules", attest.Claims{}, nil, ear.Contraindicated, ear.Vector{Hardware: 2, RuntimeOpaque: 2}},
		{"measurement refused", attest.Claims{}, rules(failed("measurement"), passed("machine")), ear.Contraindicated, with(func(v *ear.Vector) { v.Executables, v.InstanceIdentity = 96, 2 })},
		{"machine refused", attest.Claims{}, rules(failed("machine")), ear.Contraindicated, with(func(v *ear.Vector) { v.InstanceIdentity = 97 })},
		{"report data refused, machine accepted", attest.Claims{}, rules(failed("report data"), passed("machine")), ear.Contraindicated, with(func(v *ear.Vector) { v.InstanceIdentity = 97 })},
		{"report data not compared", attest.Claims{}, rules(warned("report data")), ear.Warning, with(func(v *ear.Vector) { v.InstanceIdentity = 32 })},
		{"debug refused", attest.Claims{Debug: true}, rules(failed("debug")), ear.Contraindicated, with(func(v *ear.Vector) { v.RuntimeOpaque = 96 })},
		{"debug allowed", attest.Claims{Debug: true}, rules(warned("debug")), ear.Warning, with(func(v *ear.Vector) { v.RuntimeOpaque = 32 })},
		{"debug that no rule is on", attest.Claims{Debug: true}, rules(passed("x")), ear.Warning, with(func(v *ear.Vector) { v.RuntimeOpaque = 32 })},
		{"simulated refused", attest.Claims{Simulated: true}, rules(failed("simulated")), ear.Contraindicated, with(func(v *ear.Vector) { v.Hardware = 97 })},
		{"simulated allowed", attest.Claims{Simulated: true}, rules(warned("simulated")), ear.Warning, with(func(v *ear.Vector) { v.Hardware = -33 })},
		{"simulated that no rule is on", attest.Claims{Simulated: true}, rules(passed("x")), ear.Warning, with(func(v *ear.Vector) { v.Hardware = -33 })},
		{"in the grace period", attest.Claims{}, rules(warned("collateral")), ear.Warning, with(func(v *ear.Vector) { v.Hardware = 32 })},
		{"old collateral", attest.Claims{}, rules(failed("collateral")), ear.Contraindicated, with(func(v *ear.Vector) { v.Hardware = 96 })},
		{"not in a revocation list", attest.Claims{}, rules(warned("revocation")), ear.Warning, with(func(v *ear.Vector) { v.Hardware = 32 })},
		{"minimum TCB", attest.Claims{}, rules(failed("minimum TCB")), ear.Contraindicated, with(func(v *ear.Vector) { v.Hardware = 96 })},
		{"TCB status", attest.Claims{}, rules(warned("TCB status")), ear.Warning, with(func(v *ear.Vector) { v.Hardware = 32 })},
		{"alias check", attest.Claims{}, rules(warned("alias check"), failed("TDX module")), ear.Contraindicated, with(func(v *ear.Vector) { v.Hardware = 96 })},
		{"life cycle", attest.Claims{}, rules(failed("life cycle"), warned("platform components")), ear.Contraindicated, with(func(v *ear.Vector) { v.Hardware = 96 })},
		{"technology", attest.Claims{}, rules(failed("technology")), ear.Contraindicated, with(func(v *ear.Vector) { v.Hardware = 97 })},
		{"another rule refused", attest.Claims{}, rules(failed("VMPL"), passed("ABI")), ear.Contraindicated, with(func(v *ear.Vector) { v.Configuration = 96 })},
		{"another rule with a warning", attest.Claims{}, rules(warned("log profile"), passed("ABI")), ear.Warning, with(func(v *ear.Vector) { v.Configuration = 32 })},
		{"a warning and a refusal", attest.Claims{}, rules(failed("VMPL"), warned("log profile")), ear.Contraindicated, with(func(v *ear.Vector) { v.Configuration = 96 })},
		{"a refusal and debug", attest.Claims{Debug: true}, rules(failed("VMPL"), warned("debug")), ear.Contraindicated, with(func(v *ear.Vector) { v.Configuration, v.RuntimeOpaque = 96, 32 })},
		{"refused with a warning set", attest.Claims{}, rules(attest.Rule{Name: "measurement", Warning: true}), ear.Contraindicated, with(func(v *ear.Vector) { v.Executables = 96 })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := ear.FromAppraisal(&tt.claims, attest.Result{Rules: tt.rules})
			if a.Status != tt.status || a.Vector != tt.vector {
				t.Errorf("got %v with %+v, want %v with %+v", a.Status, a.Vector, tt.status, tt.vector)
			}
			written(t, a)
		})
	}
}

// written checks that an appraisal can be written.
func written(t *testing.T, a ear.Appraisal) {
	t.Helper()
	for _, profile := range []string{ear.Profile2023, ear.ProfileDraft05} {
		r := contraindicated(profile)
		r.Attesters = map[string]ear.Appraisal{"snp": a}
		if _, err := r.Claims(); err != nil {
			t.Error(err)
		}
	}
}

func TestNotGenuine(t *testing.T) {
	t.Parallel()
	const bad = ear.BadCrypto
	want := ear.Appraisal{Status: ear.Contraindicated, Vector: ear.Vector{
		InstanceIdentity: bad, Configuration: bad, Executables: bad, FileSystem: bad, Hardware: bad, RuntimeOpaque: bad, StorageOpaque: bad, SourcedData: bad,
	}}
	ok := attest.Result{Rules: []attest.Rule{{Name: "x", OK: true}}}
	for _, a := range []ear.Appraisal{ear.NotGenuine(), ear.FromAppraisal(nil, ok), ear.FromAppraisal(nil, attest.Result{})} {
		if a.Status != want.Status || a.Vector != want.Vector {
			t.Errorf("got %+v", a)
		}
		written(t, a)
	}
}
