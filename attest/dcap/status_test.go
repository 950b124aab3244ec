package dcap

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// levelStatuses are those that Intel gives levels.
var levelStatuses = []Status{UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked}

var allStatuses = append(slices.Clone(levelStatuses), TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded)

// TestMergeQVL is the table of the QVL's convergeTcbStatuses: a platform's status
// with one that is up to date, out of date or revoked.
func TestMergeQVL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ platform, withOutOfDate Status }{
		{UpToDate, OutOfDate},
		{SWHardeningNeeded, OutOfDate},
		{ConfigurationNeeded, OutOfDateConfigurationNeeded},
		{ConfigurationAndSWHardeningNeeded, OutOfDateConfigurationNeeded},
		{OutOfDate, OutOfDate},
		{OutOfDateConfigurationNeeded, OutOfDateConfigurationNeeded},
		{Revoked, Revoked},
	} {
		for _, with := range []struct{ part, want Status }{{UpToDate, tt.platform}, {OutOfDate, tt.withOutOfDate}, {Revoked, Revoked}} {
			if got := merge(tt.platform, with.part); got != with.want {
				t.Errorf("merge(%s, %s) = %s, want %s", tt.platform, with.part, got, with.want)
			}
		}
	}
}

// TestMergeLaws checks, of all pairs, that the order doesn't matter and that
// nothing is hidden, but what Intel has no name for.
func TestMergeLaws(t *testing.T) {
	t.Parallel()
	for _, a := range allStatuses {
		if merge(a, a) != a || merge(a, UpToDate) != a || merge(a, Revoked) != Revoked || merge(a, "x") != Revoked || merge(a, "") != Revoked {
			t.Errorf("merge of %s with itself, or with the best or worst", a)
		}
		for _, b := range allStatuses {
			m := merge(a, b)
			if m != merge(b, a) {
				t.Errorf("merge(%s, %s) depends on the order", a, b)
			}
			lost := (a.parts() | b.parts()) &^ m.parts()
			switch {
			case m == Revoked:
			case m.parts()&isOutOfDate != 0 && lost&^(needsHardening|needsRelaunch) == 0:
			case m.parts()&needsRelaunch != 0 && lost&^needsHardening == 0:
			case lost != 0:
				t.Errorf("merge(%s, %s) = %s hides something", a, b, m)
			}
			for _, c := range allStatuses {
				if merge(m, c) != merge(a, merge(b, c)) {
					t.Errorf("merge of %s, %s, %s depends on the grouping", a, b, c)
				}
			}
		}
	}
}

// TestRelaunchQVL is the table of the QVL's checkForRelaunch, and what is
// stricter here.
func TestRelaunchQVL(t *testing.T) {
	t.Parallel()
	advised := map[Status]Status{
		UpToDate: TDRelaunchAdvised, SWHardeningNeeded: TDRelaunchAdvised,
		ConfigurationNeeded: TDRelaunchAdvisedConfigurationNeeded, ConfigurationAndSWHardeningNeeded: TDRelaunchAdvisedConfigurationNeeded,
	}
	for _, launch := range levelStatuses {
		for _, current := range levelStatuses {
			want := merge(launch, current) // the QVL's is launch
			if a, ok := advised[current]; ok && launch == OutOfDate {
				want = a
			} else if ok && launch == OutOfDateConfigurationNeeded {
				want = TDRelaunchAdvisedConfigurationNeeded
			}
			if got := relaunch(launch, current); got != want {
				t.Errorf("relaunch(%s, %s) = %s, want %s", launch, current, got, want)
			}
		}
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	for _, s := range levelStatuses {
		if got, err := parseStatus(string(s)); err != nil || got != s {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "uptodate", "UpToDate ", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded", "Unknown"} {
		if got, err := parseStatus(s); err == nil {
			t.Errorf("%q is accepted as %s", s, got)
		}
	}
}

// day is a date for ratings that are told apart by it.
func day(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

// newLevel makes a level whose SGX components, PCESVN and TDX components are all
// at least as given; the components behind those given are 0.
func newLevel(status Status, n int, sgx []uint8, pceSVN uint16, tdx ...uint8) level {
	l := level{pceSVN: pceSVN, rating: rating{status: status, date: day(n), advisories: []string{"INTEL-SA-0000" + string(rune('0'+n))}}}
	copy(l.sgx[:], sgx)
	copy(l.tdx[:], tdx)
	return l
}

// TestPlatformLevels selects levels: the first in Intel's order of which nothing
// is above the platform.
func TestPlatformLevels(t *testing.T) {
	t.Parallel()
	info := &tcbInfo{levels: []level{
		newLevel(UpToDate, 9, []uint8{5, 5, 2}, 11, 5, 0, 6),
		newLevel(SWHardeningNeeded, 8, []uint8{5, 5, 1}, 11, 5, 0, 6),
		newLevel(OutOfDate, 7, []uint8{4, 4, 1}, 11, 3, 0, 5),
		newLevel(Revoked, 6, []uint8{4, 4, 1}, 5, 3, 0, 5),
	}}
	for _, tt := range []struct {
		name   string
		sgx    []uint8
		pceSVN uint16
		tdx    []uint8 // nil for SGX
		day    int     // 0 for none
	}{
		{"equal", []uint8{5, 5, 2}, 11, nil, 9},
		{"higher in all", []uint8{6, 6, 6}, 12, nil, 9},
		{"lower in one", []uint8{9, 9, 1}, 12, nil, 8},
		{"lower in the first, higher in others", []uint8{4, 9, 9}, 12, nil, 7},
		{"lower PCESVN", []uint8{5, 5, 2}, 10, nil, 6},
		{"lower than all", []uint8{5, 3, 2}, 12, nil, 0},
		{"PCESVN lower than all", []uint8{5, 5, 2}, 4, nil, 0},
		{"TDX equal", []uint8{5, 5, 2}, 11, []uint8{5, 0, 6}, 9},
		{"TDX module lower", []uint8{5, 5, 2}, 11, []uint8{4, 0, 6}, 7},
		{"TDX microcode lower", []uint8{5, 5, 2}, 11, []uint8{5, 0, 5}, 7},
		{"TDX lower than all", []uint8{5, 5, 2}, 11, []uint8{5, 0, 4}, 0},
		{"TDX module of major version 1", []uint8{5, 5, 2}, 11, []uint8{1, 1, 6}, 9},
		{"TDX module of major version 1, microcode lower", []uint8{5, 5, 2}, 11, []uint8{9, 1, 5}, 7},
		{"TDX good on an old platform", []uint8{4, 4, 1}, 11, []uint8{9, 0, 9}, 7},
	} {
		pck := &PCK{PCESVN: tt.pceSVN}
		copy(pck.Components[:], tt.sgx)
		var tdx *[16]uint8
		if tt.tdx != nil {
			tdx = new([16]uint8)
			copy(tdx[:], tt.tdx)
		}
		got, err := info.platform(pck, tdx)
		if (tt.day == 0) != errors.Is(err, ErrTCBLevel) || tt.day != 0 && !got.date.Equal(day(tt.day)) {
			t.Errorf("%s: level of %v, %v, want of day %d", tt.name, got.date, err, tt.day)
		}
	}
	// Each of the components counts, the last ones too.
	for i := range 16 {
		var l level
		l.sgx[i], l.tdx[i] = 1, 1
		pck := new(PCK)
		if _, err := (&tcbInfo{levels: []level{{sgx: l.sgx}}}).platform(pck, nil); !errors.Is(err, ErrTCBLevel) {
			t.Errorf("SGX component %d is not looked at: %v", i, err)
		}
		if _, err := (&tcbInfo{levels: []level{{tdx: l.tdx}}}).platform(pck, new([16]uint8)); !errors.Is(err, ErrTCBLevel) {
			t.Errorf("TDX component %d is not looked at: %v", i, err)
		}
	}
}

// TestEvaluate is the QVL's table of statuses of trust domains, and what claims
// say besides.
func TestEvaluate(t *testing.T) {
	t.Parallel()
	const none = Status("")
	for _, tt := range []struct {
		name                       string
		latest, earliest           Status // of the platform's two levels
		module, oldModule          Status // of the module's two levels
		qe                         Status
		oldPlatform                bool // the PCK reaches the earliest level only
		launch, current            []uint8
		want, platform, modStat    Status
		wantCurrent                Status
		err                        error
		earliestDay, advisoryCount int
	}{
		{"all good", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{4, 1, 6}, UpToDate, UpToDate, UpToDate, UpToDate, nil, 4, 3},
		{"revoked level below", UpToDate, Revoked, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{4, 1, 6}, UpToDate, UpToDate, UpToDate, UpToDate, nil, 4, 3},
		{"platform revoked", Revoked, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{4, 1, 6}, none, none, none, none, ErrRevoked, 0, 0},
		{"module revoked", UpToDate, OutOfDate, Revoked, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{4, 1, 6}, none, none, none, none, ErrRevoked, 0, 0},
		{"current module revoked", UpToDate, OutOfDate, Revoked, OutOfDate, UpToDate, false, []uint8{2, 1, 6}, []uint8{4, 1, 6}, none, none, none, none, ErrRevoked, 0, 0},
		{"QE revoked", UpToDate, OutOfDate, UpToDate, OutOfDate, Revoked, false, []uint8{4, 1, 6}, []uint8{4, 1, 6}, none, none, none, none, ErrRevoked, 0, 0},
		{"platform old, module good", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, true, []uint8{4, 1, 6}, []uint8{4, 1, 6}, OutOfDate, OutOfDate, UpToDate, OutOfDate, nil, 3, 3},
		{"platform out of date, module old, newest now", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, true, []uint8{2, 1, 6}, []uint8{4, 1, 6}, OutOfDate, OutOfDate, OutOfDate, OutOfDate, nil, 1, 4},
		{"module old", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{2, 1, 6}, []uint8{2, 1, 6}, OutOfDate, UpToDate, OutOfDate, OutOfDate, nil, 1, 3},
		{"module old, newest now", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{2, 1, 6}, []uint8{4, 1, 6}, TDRelaunchAdvised, UpToDate, OutOfDate, UpToDate, nil, 1, 4},
		{"module old, newest now, configuration", ConfigurationNeeded, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{2, 1, 6}, []uint8{4, 1, 6}, TDRelaunchAdvisedConfigurationNeeded, ConfigurationNeeded, OutOfDate, ConfigurationNeeded, nil, 1, 4},
		{"module old, newest now, QE old", UpToDate, OutOfDate, UpToDate, OutOfDate, OutOfDate, false, []uint8{2, 1, 6}, []uint8{4, 1, 6}, OutOfDate, UpToDate, OutOfDate, OutOfDate, nil, 1, 4},
		{"module old, newest now, all out of date", UpToDate, OutOfDate, OutOfDate, OutOfDate, UpToDate, false, []uint8{2, 1, 6}, []uint8{4, 1, 6}, OutOfDate, UpToDate, OutOfDate, OutOfDate, nil, 1, 4},
		{"module good, older now", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{2, 1, 6}, OutOfDate, UpToDate, UpToDate, OutOfDate, nil, 1, 4},
		{"TDX 1.0, module old", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{2, 1, 6}, nil, OutOfDate, UpToDate, OutOfDate, none, nil, 1, 3},
		{"module of major version 0", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{5, 0, 6}, nil, UpToDate, UpToDate, none, none, nil, 5, 2},
		{"module of major version 0, old", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 0, 6}, nil, OutOfDate, OutOfDate, none, none, nil, 3, 2},
		{"hardening and QE old", SWHardeningNeeded, OutOfDate, UpToDate, OutOfDate, OutOfDate, false, []uint8{4, 1, 6}, nil, OutOfDate, SWHardeningNeeded, UpToDate, none, nil, 4, 3},
		{"hardening, QE needs configuration", SWHardeningNeeded, OutOfDate, UpToDate, OutOfDate, ConfigurationNeeded, false, []uint8{4, 1, 6}, nil, ConfigurationAndSWHardeningNeeded, SWHardeningNeeded, UpToDate, none, nil, 4, 3},
		{"module lower than all", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{1, 1, 6}, nil, none, none, none, none, ErrTCBLevel, 0, 0},
		{"module lower than all now", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{1, 1, 6}, none, none, none, none, ErrTCBLevel, 0, 0},
		{"module not known", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 2, 6}, nil, none, none, none, none, ErrModule, 0, 0},
		{"module not known now", UpToDate, OutOfDate, UpToDate, OutOfDate, UpToDate, false, []uint8{4, 1, 6}, []uint8{4, 2, 6}, none, none, none, none, ErrModule, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sa := func(status Status, n int) rating { return newLevel(status, n, nil, 0).rating }
			info := &tcbInfo{
				levels:  []level{newLevel(tt.latest, 5, []uint8{5}, 11, 5, 0, 6), newLevel(tt.earliest, 3, []uint8{4}, 11, 3, 0, 5)},
				modules: []moduleIdentity{{id: "TDX_03"}, {id: "TDX_01", levels: []svnLevel{{4, sa(tt.module, 4)}, {2, sa(tt.oldModule, 1)}}}},
			}
			identity := &qeIdentity{levels: []svnLevel{{1, sa(tt.qe, 6)}}}
			c := &Claims{TEE: TDX, BodyType: BodyTD10, TD: new(TDReport), QE: EnclaveReport{ISVSVN: 1}, PCK: PCK{PCESVN: 11, Components: [16]uint8{5}}}
			if tt.oldPlatform {
				c.PCK.Components[0] = 4
			}
			copy(c.TD.TEETCBSVN[:], tt.launch)
			if tt.current != nil {
				c.BodyType = BodyTD15
				copy(c.TD.TEETCBSVN2[:], tt.current)
			}
			err := c.evaluate(info, identity)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if c.Status != tt.want || c.PlatformStatus != tt.platform || c.ModuleStatus != tt.modStat || c.QEStatus != tt.qe || c.CurrentStatus != tt.wantCurrent {
				t.Errorf("status %s, platform %s, module %q, QE %s, now %q", c.Status, c.PlatformStatus, c.ModuleStatus, c.QEStatus, c.CurrentStatus)
			}
			if !c.TCBDate.Equal(day(tt.earliestDay)) || len(c.Advisories) != tt.advisoryCount || !slices.IsSorted(c.Advisories) {
				t.Errorf("TCB date %v, advisories %q", c.TCBDate, c.Advisories)
			}
		})
	}
}
