package attest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

var (
	now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	rd  = [64]byte{1, 2, 3}
	md  = [48]byte{4, 5, 6}
)

var chip = sync.OnceValue(func() *teelab.SNP {
	c, err := teelab.NewSNP(now)
	if err != nil {
		panic(err)
	}
	return c
})

// claims returns what evidence with these faults proves.
func claims(t *testing.T, faults ...teelab.Fault) *attest.Claims {
	t.Helper()
	ev, err := chip().Faulty(rd, md, faults...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := attest.Verify(ev, attest.Roots{SNP: []snp.Root{chip().Root()}}, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerify(t *testing.T) {
	t.Parallel()
	c := claims(t)
	if c.Technology != attest.SNP || !c.Simulated || c.Root != chip().Root().Name || c.ReportData != rd || !bytes.Equal(c.Measurement, md[:]) || c.Debug || c.SNP == nil {
		t.Errorf("claims %+v", c)
	}
	if !claims(t, teelab.Debug).Debug {
		t.Error("debug is not claimed")
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	good, err := chip().Evidence(rd, md)
	if err != nil {
		t.Fatal(err)
	}
	roots := attest.Roots{SNP: []snp.Root{chip().Root()}}
	untyped, tdx := good, good
	untyped.Type, tdx.Type = "", "tdx"
	for _, tt := range []struct {
		name  string
		ev    attest.Evidence
		roots attest.Roots
		at    time.Time
		want  error
	}{
		{"nothing", attest.Evidence{}, roots, now, attest.ErrType},
		{"no type", untyped, roots, now, attest.ErrType},
		{"another type", tdx, roots, now, attest.ErrType},
		{"no report", attest.Evidence{Type: attest.SNP, Auxblob: good.Auxblob}, roots, now, snp.ErrReport},
		{"no certificates", attest.Evidence{Type: attest.SNP, Report: good.Report}, roots, now, snp.ErrTable},
		{"no roots", good, attest.Roots{}, now, snp.ErrRoot},
		{"no time", good, roots, time.Time{}, snp.ErrTime},
		{"eleven years later", good, roots, now.AddDate(11, 0, 0), snp.ErrTime},
	} {
		c, err := attest.Verify(tt.ev, tt.roots, tt.at)
		if !errors.Is(err, tt.want) || c != nil {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestVerifyRealRoots shows that AMD's own roots don't take simulated evidence.
func TestVerifyRealRoots(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("REDOUBT_VECTORS")
	if dir == "" {
		dir = "../../shared/vectors"
	}
	var roots attest.Roots
	for _, product := range []string{"milan", "genoa", "turin"} {
		data, err := os.ReadFile(filepath.Join(dir, "roots", "amd-"+product+".ask-ark-asvk.pem"))
		if err != nil {
			const text = "no roots: set REDOUBT_VECTORS to the absolute path of a folder with snp/ and roots/, as the vectors' README.md describes it: "
			if os.Getenv("CI") == "true" {
				t.Fatal(text, err)
			}
			t.Skip(text, err)
		}
		root, err := snp.ParseRoot(data)
		if err != nil {
			t.Fatal(err)
		}
		roots.SNP = append(roots.SNP, root)
	}
	ev, err := chip().Evidence(rd, md)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := attest.Verify(ev, roots, now); !errors.Is(err, snp.ErrRoot) || c != nil {
		t.Errorf("got %v, want %v", err, snp.ErrRoot)
	}
}

// accepting is a policy that accepts the claims of the lab's chip.
func accepting() attest.Policy {
	return attest.Policy{
		AllowSimulated: true,
		Measurements:   [][]byte{{7}, md[:]},
		SNP:            attest.SNPPolicy{MinTCB: map[snp.Product]snp.TCB{snp.Milan: {Bootloader: 4, SNP: 24, Microcode: 219}}},
	}
}

func TestAppraise(t *testing.T) {
	t.Parallel()
	real := claims(t)
	real.Simulated = false // as if the root were AMD's
	floor := func(tcb snp.TCB) map[snp.Product]snp.TCB { return map[snp.Product]snp.TCB{snp.Milan: tcb} }
	for _, tt := range []struct {
		name       string
		claims     *attest.Claims
		reportData [64]byte
		change     func(*attest.Policy)
		refused    string // the names of the rules that must not pass
	}{
		{"good", claims(t), rd, func(*attest.Policy) {}, ""},
		{"not simulated", real, rd, func(p *attest.Policy) { p.AllowSimulated = false }, ""},
		{"any measurement and TCB", claims(t), rd, func(p *attest.Policy) {
			p.Measurements, p.AnyMeasurement, p.SNP.MinTCB, p.SNP.AnyTCB = nil, true, nil, true
		}, ""},

		{"zero policy", claims(t), rd, func(p *attest.Policy) { *p = attest.Policy{} }, "simulated, measurement, minimum TCB"},
		{"zero policy, real hardware", real, rd, func(p *attest.Policy) { *p = attest.Policy{} }, "measurement, minimum TCB"},
		{"no claims", nil, rd, func(*attest.Policy) {}, "claims"},
		{"empty claims", &attest.Claims{}, rd, func(*attest.Policy) {}, "report data, measurement, technology"},
		{"claims without those of the technology", &attest.Claims{Technology: attest.SNP, ReportData: rd, Measurement: md[:]}, rd, func(*attest.Policy) {}, "technology"},

		{"simulated", claims(t), rd, func(p *attest.Policy) { p.AllowSimulated = false }, "simulated"},
		{"first bit of report data", claims(t), [64]byte{0, 2, 3}, func(*attest.Policy) {}, "report data"},
		{"last bit of report data", claims(t), [64]byte{1, 2, 3, 63: 1}, func(*attest.Policy) {}, "report data"},
		{"no report data", claims(t), [64]byte{}, func(*attest.Policy) {}, "report data"},
		{"other measurement", claims(t), rd, func(p *attest.Policy) { p.Measurements = [][]byte{make([]byte, 48)} }, "measurement"},
		{"start of the measurement", claims(t), rd, func(p *attest.Policy) { p.Measurements = [][]byte{md[:47]} }, "measurement"},
		{"empty measurement", claims(t), rd, func(p *attest.Policy) { p.Measurements = [][]byte{nil, {}} }, "measurement"},
		{"measurements and any", claims(t), rd, func(p *attest.Policy) { p.AnyMeasurement = true }, "measurement"},

		{"debug", claims(t, teelab.Debug), rd, func(*attest.Policy) {}, "debug"},
		{"debug allowed", claims(t, teelab.Debug), rd, func(p *attest.Policy) { p.AllowDebug = true }, ""},
		{"migration", claims(t, teelab.MigrateMA), rd, func(*attest.Policy) {}, "migration agent"},
		{"migration allowed", claims(t, teelab.MigrateMA), rd, func(p *attest.Policy) { p.SNP.AllowMigrateMA = true }, ""},
		{"VMPL 1", claims(t, teelab.VMPL(1)), rd, func(*attest.Policy) {}, "VMPL"},
		{"VMPL 1 wanted", claims(t, teelab.VMPL(1)), rd, func(p *attest.Policy) { p.SNP.VMPL = 1 }, ""},
		{"VMPL 0, 1 wanted", claims(t), rd, func(p *attest.Policy) { p.SNP.VMPL = 1 }, "VMPL"},
		{"everything at once", claims(t, teelab.Debug, teelab.MigrateMA, teelab.VMPL(2)), [64]byte{}, func(p *attest.Policy) { *p = attest.Policy{} },
			"simulated, report data, measurement, debug, migration agent, VMPL, minimum TCB"},

		{"no minimum TCB", claims(t), rd, func(p *attest.Policy) { p.SNP.MinTCB = nil }, "minimum TCB"},
		{"minimum TCB of another product", claims(t), rd, func(p *attest.Policy) {
			p.SNP.MinTCB = map[snp.Product]snp.TCB{snp.Genoa: {SNP: 1}}
		}, "minimum TCB"},
		{"minimum TCB of zero", claims(t), rd, func(p *attest.Policy) { p.SNP.MinTCB = floor(snp.TCB{}) }, "minimum TCB"},
		{"minimum TCB and any", claims(t), rd, func(p *attest.Policy) { p.SNP.AnyTCB = true }, "minimum TCB"},
		{"microcode too old", claims(t), rd, func(p *attest.Policy) { p.SNP.MinTCB = floor(snp.TCB{Microcode: 220}) }, "minimum TCB"},
		{"SNP firmware too old", claims(t), rd, func(p *attest.Policy) { p.SNP.MinTCB = floor(snp.TCB{SNP: 25}) }, "minimum TCB"},
		{"committed TCB too old", claims(t, func(r *snp.Report) { r.CommittedTCB[6]-- }), rd, func(*attest.Policy) {}, "minimum TCB"},
		{"current TCB too old", claims(t, func(r *snp.Report) { r.CurrentTCB[6]-- }), rd, func(*attest.Policy) {}, "minimum TCB"},
		{"launch TCB too old", claims(t, func(r *snp.Report) { r.LaunchTCB[6]-- }), rd, func(*attest.Policy) {}, "minimum TCB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := accepting()
			tt.change(&p)
			result := p.Appraise(tt.claims, tt.reportData)
			var refused []string
			for _, rule := range result.Rules {
				if !rule.OK {
					refused = append(refused, rule.Name)
				}
				if rule.Name == "" || rule.Expected == "" || rule.Found == "" && rule.Name != "measurement" {
					t.Errorf("rule that explains nothing: %+v", rule)
				}
			}
			if got := strings.Join(refused, ", "); got != tt.refused {
				t.Errorf("refused for %q, want %q", got, tt.refused)
			}
			err := result.Err()
			if (err == nil) != (tt.refused == "") {
				t.Errorf("error %v", err)
			}
			if err == nil {
				return
			}
			var typed *attest.RefusedError
			if !errors.As(err, &typed) || len(typed.Result.Rules) != len(result.Rules) {
				t.Errorf("error %T", err)
			}
			for _, name := range refused {
				if !strings.Contains(err.Error(), `Rule "`+name+`" expected `) {
					t.Errorf("%q does not explain %s", err, name)
				}
			}
		})
	}
}

func TestResultErr(t *testing.T) {
	t.Parallel()
	if err := (attest.Result{}).Err(); err == nil || !strings.Contains(err.Error(), "no rule was applied") {
		t.Errorf("no rules: got %v", err)
	}
	if err := (attest.Result{Rules: []attest.Rule{{Name: "a", OK: true}}}).Err(); err != nil {
		t.Error(err)
	}
	err := (attest.Result{Rules: []attest.Rule{{Name: "a", OK: true}, {Name: "VMPL", Expected: "0", Found: "1"}}}).Err()
	if want := `evidence refused. Rule "VMPL" expected 0 and found 1.`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
