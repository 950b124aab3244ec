package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// valid is a message of each type with rules, for a test to change.
type valid struct {
	create     CreateRequest
	keep       KeepInfo
	platform   Platform
	refusal    Refusal
	config     Configuration
	invocation Invocation
	evidence   Evidence
	attest     Attestation
	provision  Provision
	workload   WorkloadAttestation
	outcome    Outcome
	status     Status
	keepldr    KeepldrConfig
	load       RunnerLoad
}

func newValid() *valid {
	check := Check{Name: "seccomp", OK: true, Found: "on"}
	v := &valid{
		create:     CreateRequest{Kind: KindKVM, Memory: 1 << 20},
		keep:       KeepInfo{ID: "abcdefgh2345", Kind: KindKVM, State: StateReady, Sandbox: []Check{check}},
		platform:   Platform{Release: "v1", Kinds: []KindReport{{Kind: KindSNP, Checks: []Check{check}}}},
		refusal:    Refusal{Code: CodeGone, Text: "gone"},
		config:     Configuration{Profile: Production, Limits: Limits{Memory: 1 << 20}, Capabilities: []Capability{Stderr, Stdin}},
		invocation: Invocation{Args: []string{"app"}, Env: []string{"A=b"}, Salt: fill(SaltSize)},
		evidence:   Evidence{Type: EvidenceSNP, Report: fill(9)},
		outcome:    Outcome{End: EndExited},
		status:     Status{State: StateReady, Sandbox: []Check{check}},
		keepldr:    KeepldrConfig{ID: "abcdefgh2345", Kind: KindProcess, Memory: 1 << 20, Wasmldr: "/w", Dev: "/d"},
		load:       RunnerLoad{Size: 9, Memory: 1 << 20},
	}
	v.attest = Attestation{Evidence: v.evidence, HPKEPublicKey: fill(HPKEPublicKeySize)}
	v.provision = Provision{PrivateKey: fill(PrivateKeySize), Client: Digest{1}, Config: v.config, Invocation: v.invocation, Time: 1}
	v.workload = WorkloadAttestation{Evidence: v.evidence, HPKEPublicKey: fill(HPKEPublicKeySize), Config: v.config}
	return v
}

func TestRules(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxText+1)
	tests := []struct {
		change func(v *valid) Message
		reason string // empty: valid
	}{
		{func(v *valid) Message { return &v.create }, ""},
		{func(v *valid) Message { v.create.Kind = "KVM"; return &v.create }, `kind of Keep "KVM" is not known`},
		{func(v *valid) Message { v.create.Kind = ""; return &v.create }, `kind of Keep "" is not known`},
		{func(v *valid) Message { v.create.Memory = 64 << 10; return &v.create }, ""},
		{func(v *valid) Message { v.create.Memory = 64<<10 - 1; return &v.create }, "memory limit of 65535 bytes"},
		{func(v *valid) Message { v.create.Memory = 4 << 30; return &v.create }, ""},
		{func(v *valid) Message { v.create.Memory = 4<<30 + 1; return &v.create }, "memory limit"},

		{func(v *valid) Message { return &v.keep }, ""},
		{func(v *valid) Message { v.keep.ID = ""; return &v.keep }, `Keep ID ""`},
		{func(v *valid) Message { v.keep.ID = "abcdefgh2341"; return &v.keep }, "a-z and 2-7"},
		{func(v *valid) Message { v.keep.ID = "abcde.gh2345"; return &v.keep }, "a-z and 2-7"},
		{func(v *valid) Message { v.keep.ID = "abcdefgh23455"; return &v.keep }, "12 characters"},
		{func(v *valid) Message { v.keep.ID = strings.Repeat("a", 99); return &v.keep }, `aaa..."`},
		{func(v *valid) Message { v.keep.Kind = "x"; return &v.keep }, "kind of Keep"},
		{func(v *valid) Message { v.keep.State = "x"; return &v.keep }, `state "x" is not known`},
		{func(v *valid) Message { v.keep.Reason = long; return &v.keep }, "reason of 4097 bytes"},
		{func(v *valid) Message { v.keep.Reason = long[1:]; return &v.keep }, ""},
		{func(v *valid) Message { v.keep.Reason = "a\x00"; return &v.keep }, "reason holds control characters"},
		{func(v *valid) Message { v.keep.Reason = "\xff"; return &v.keep }, "reason holds"},
		{func(v *valid) Message { v.keep.Reason = "two\nlines\tand a tab"; return &v.keep }, "reason holds control characters"},
		{func(v *valid) Message { v.keep.Sandbox[0].Name = "\x1b"; return &v.keep }, "check holds control"},
		{func(v *valid) Message { v.keep.Sandbox[0].Found = "\u2066"; return &v.keep }, "check holds control"},
		{func(v *valid) Message { v.keep.Sandbox[0].Advice = long; return &v.keep }, "check of 4097"},
		{func(v *valid) Message { v.keep.State = "x"; return &KeepList{Keeps: []KeepInfo{v.keep}} }, `state "x"`},

		{func(v *valid) Message { return &v.platform }, ""},
		{func(v *valid) Message { v.platform.Release = "\a"; return &v.platform }, "release holds"},
		{func(v *valid) Message { v.platform.Kinds[0].Kind = "x"; return &v.platform }, "kind of Keep"},
		{func(v *valid) Message { v.platform.Kinds[0].Checks[0].Name = "\r"; return &v.platform }, "check holds"},

		{func(v *valid) Message { return &v.refusal }, ""},
		{func(v *valid) Message { v.refusal.Code = "x"; return &v.refusal }, `refusal code "x" is not known`},
		{func(v *valid) Message { v.refusal.Text = long; return &v.refusal }, "text of 4097"},

		{func(v *valid) Message { return &v.config }, ""},
		{func(v *valid) Message { v.config.Profile = "debug"; return &v.config }, `log profile "debug"`},
		{func(v *valid) Message { v.config.Limits.Memory = 0; return &v.config }, "memory limit of 0"},
		{func(v *valid) Message { v.config.Limits.WallTime = 1 << 40; return &v.config }, ""},
		{func(v *valid) Message { v.config.Limits.WallTime = 1<<40 + 1; return &v.config }, "wall time limit"},
		{func(v *valid) Message { v.config.Capabilities = nil; return &v.config }, ""},
		{func(v *valid) Message { v.config.Capabilities = []Capability{"root"}; return &v.config }, `capability "root"`},
		{func(v *valid) Message { v.config.Capabilities = []Capability{Stdin, Stderr}; return &v.config }, "not sorted"},
		{func(v *valid) Message { v.config.Capabilities = []Capability{Stdin, Stdin}; return &v.config }, "not unique"},

		{func(v *valid) Message { return &v.invocation }, ""},
		{func(v *valid) Message { v.invocation.Args = nil; return &v.invocation }, "no arguments"},
		{func(v *valid) Message { v.invocation.Args = make([]string, MaxArgs); return &v.invocation }, ""},
		{func(v *valid) Message { v.invocation.Args = make([]string, MaxArgs+1); return &v.invocation }, "1025 arguments"},
		{func(v *valid) Message {
			v.invocation.Env = slices.Repeat([]string{"A="}, MaxArgs+1)
			return &v.invocation
		}, "1025 environment"},
		{func(v *valid) Message {
			v.invocation.Args = []string{strings.Repeat("x", MaxArgBytes-3)}
			return &v.invocation
		}, ""},
		{func(v *valid) Message {
			v.invocation.Args = []string{strings.Repeat("x", MaxArgBytes-2)}
			return &v.invocation
		}, "of 98305 bytes"},
		{func(v *valid) Message { v.invocation.Args[0] = "a\x00"; return &v.invocation }, "NUL"},
		{func(v *valid) Message { v.invocation.Env[0] = "A=\x00"; return &v.invocation }, "NUL"},
		{func(v *valid) Message { v.invocation.Args[0] = "\xff"; return &v.invocation }, "not UTF-8"},
		{func(v *valid) Message { v.refusal.Text = "\xff"; return &v.refusal }, "text is not UTF-8"},
		{func(v *valid) Message { v.outcome.Text = "\xff"; return &v.outcome }, "text is not UTF-8"},
		{func(v *valid) Message { v.keepldr.Wasmldr = "\xff"; return &v.keepldr }, "path is not UTF-8"},
		{func(*valid) Message { return &RunnerStart{Args: []string{"\x00"}} }, "NUL"},
		{func(*valid) Message { return &RunnerReady{Sandbox: make([]Check, MaxChecks+1)} }, "65 checks"},
		{func(v *valid) Message { v.platform.Kinds = make([]KindReport, MaxKinds+1); return &v.platform }, "65 kinds"},
		{func(v *valid) Message { v.invocation.Env[0] = "A"; return &v.invocation }, "KEY=VALUE"},
		{func(v *valid) Message { v.invocation.Env[0] = "=A"; return &v.invocation }, "KEY=VALUE"},
		{func(v *valid) Message { v.invocation.Env[0] = "A=="; return &v.invocation }, ""},
		{func(v *valid) Message { v.invocation.Salt = nil; return &v.invocation }, "salt of 0 bytes"},

		{func(*valid) Message { return &AttestRequest{Nonce: fill(31)} }, "nonce of 31 bytes, must be 32"},
		{func(*valid) Message { return &AttestRequest{Nonce: fill(32)} }, ""},
		{func(*valid) Message { return &ReattestRequest{Nonce: fill(33)} }, "nonce of 33 bytes, must be 32"},
		{func(*valid) Message { return &EvidenceRequest{ReportData: fill(32)} }, "report data of 32 bytes, must be 64"},

		{func(v *valid) Message { return &v.evidence }, ""},
		{func(v *valid) Message { v.evidence.Type = "tdx"; return &v.evidence }, `evidence type "tdx"`},
		{func(v *valid) Message { v.evidence.Report = nil; return &v.evidence }, "no report"},
		{func(v *valid) Message { v.evidence.Report = fill(MaxEvidence); return &v.evidence }, ""},
		{func(v *valid) Message { v.evidence.Report = fill(MaxEvidence + 1); return &v.evidence }, "98305 and 0 bytes"},
		{func(v *valid) Message { v.evidence.Auxblob = fill(MaxEvidence + 1); return &v.evidence }, "9 and 98305 bytes"},
		{func(v *valid) Message { return &v.attest }, ""},
		{func(v *valid) Message { v.attest.HPKEPublicKey = fill(32); return &v.attest }, "HPKE public key of 32 bytes"},
		{func(v *valid) Message { v.attest.Evidence.Report = nil; return &v.attest }, "no report"},
		{func(v *valid) Message { return &v.workload }, ""},
		{func(v *valid) Message { v.workload.HPKEPublicKey = nil; return &v.workload }, "HPKE public key of 0 bytes"},
		{func(v *valid) Message { v.workload.Evidence.Type = ""; return &v.workload }, "evidence type"},
		{func(v *valid) Message { v.workload.Config.Profile = ""; return &v.workload }, "log profile"},

		{func(*valid) Message { return &ProvisionRequest{} }, "nothing sealed"},
		{func(v *valid) Message { return &v.provision }, ""},
		{func(v *valid) Message { v.provision.PrivateKey = fill(64); return &v.provision }, "private key of 64 bytes"},
		{func(v *valid) Message { v.provision.Client = Digest{}; return &v.provision }, "no client certificate"},
		{func(v *valid) Message { v.provision.Time = 0; return &v.provision }, "time of 0 ns"},
		{func(v *valid) Message { v.provision.Time = 1<<62 + 1; return &v.provision }, "time of 4611686018427387905 ns"},
		{func(v *valid) Message { v.provision.Config.Limits.Memory = 0; return &v.provision }, "memory limit"},
		{func(v *valid) Message { v.provision.Invocation.Args = nil; return &v.provision }, "no arguments"},

		{func(v *valid) Message { return &v.outcome }, ""},
		{func(v *valid) Message { v.outcome.End = "x"; return &v.outcome }, `end "x" is not known`},
		{func(v *valid) Message { v.outcome.Text = long; return &v.outcome }, "text of 4097"},
		{func(*valid) Message { return &OpenStream{Type: "x"} }, `stream type "x" is not known`},
		{func(v *valid) Message { return &v.status }, ""},
		{func(v *valid) Message { v.status.State = ""; return &v.status }, `state "" is not known`},
		{func(v *valid) Message { v.status.Text = "\x7f"; return &v.status }, "text holds control"},
		{func(v *valid) Message { v.status.Sandbox[0].Found = long; return &v.status }, "check of 4097"},

		{func(v *valid) Message { return &v.keepldr }, ""},
		{func(v *valid) Message { v.keepldr.ID = "../../../etc"; return &v.keepldr }, "Keep ID"},
		{func(v *valid) Message { v.keepldr.Wasmldr = ""; return &v.keepldr }, "paths missing"},
		{func(v *valid) Message { v.keepldr.Dev = ""; return &v.keepldr }, "paths missing"},
		{func(v *valid) Message { v.keepldr.Kind = "x"; return &v.keepldr }, "kind of Keep"},
		{func(v *valid) Message { v.keepldr.Memory = 0; return &v.keepldr }, "memory limit"},
		{func(v *valid) Message { return &v.load }, ""},
		{func(v *valid) Message { v.load.Size = MaxWorkload + 1; return &v.load }, "workload of 134217729 bytes"},
		{func(v *valid) Message { v.load.Memory = 0; return &v.load }, "memory limit"},
	}
	for i, test := range tests {
		m := test.change(newValid())
		data, err := Marshal(m)
		switch {
		case test.reason == "" && err != nil:
			t.Errorf("case %d: %v", i, err)
		case test.reason == "":
			if err := Unmarshal(data, fresh(m)); err != nil {
				t.Errorf("case %d: encoded, but not decoded: %v", i, err)
			}
		case err == nil || !strings.Contains(err.Error(), test.reason):
			t.Errorf("case %d: %s: error %v, expected %q", i, m.wireName(), err, test.reason)
		}
	}
}

// TestLargestMessagesFit: what every rule allows must not fail for the size of
// the whole message.
func TestLargestMessagesFit(t *testing.T) {
	t.Parallel()
	v := newValid()
	v.evidence.Report, v.evidence.Auxblob = fill(MaxEvidence), fill(MaxEvidence)
	v.config.Capabilities = []Capability{Stderr, Stdin, Stdout}
	v.invocation.Args = slices.Repeat([]string{strings.Repeat("x", MaxArgBytes/MaxArgs-2)}, MaxArgs)
	v.invocation.Env = slices.Repeat([]string{"A="}, MaxArgs)
	v.workload.Evidence, v.workload.Config = v.evidence, v.config
	v.provision.Config, v.provision.Invocation = v.config, v.invocation
	sealed, err := Marshal(&v.provision)
	if err != nil {
		t.Fatal(err)
	}
	// MLKEM768-X25519 and AES-GCM add 1120 and 16 bytes.
	for _, m := range []Message{&v.evidence, &v.workload, &v.invocation, &ProvisionRequest{Sealed: fill(len(sealed) + 1120 + 16)}} {
		if _, err := Marshal(m); err != nil {
			t.Error(err)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for i, s := range states {
		if got, err := ParseState(string(s)); err != nil || got != s {
			t.Errorf("%s: %q, %v", s, got, err)
		}
		if want := s == "ended" || s == "failed"; s.Final() != want {
			t.Errorf("%s: final %t", s, s.Final())
		}
		for j, other := range states {
			if s.Reached(other) != (i >= j) {
				t.Errorf("%s reached %s: %t", s, other, s.Reached(other))
			}
		}
	}
	if _, err := ParseState(strings.Repeat("x", 500)); err == nil || len(err.Error()) > 128 {
		t.Errorf("unknown state: %v", err)
	}
	if State("x").Reached(StateStarting) {
		t.Error("an unknown state has reached another")
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	c := Configuration{Capabilities: []Capability{Stderr, Stdout}}
	if c.Allows(Stdin) || !c.Allows(Stdout) || (&Configuration{}).Allows(Stderr) {
		t.Error("the manifest is not what is allowed")
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	tests := []struct{ what, in, want string }{
		{"empty", "", ""},
		{"fits", strings.Repeat("x", MaxText), strings.Repeat("x", MaxText)},
		{"one byte too long", strings.Repeat("x", MaxText+1), strings.Repeat("x", MaxText-3) + "..."},
		{"cut inside a character", strings.Repeat("é", MaxText), strings.Repeat("é", (MaxText-3)/2) + "..."},
		{"invalid UTF-8", "a\xffb", "a\uFFFDb"},
		{"grows over the limit", strings.Repeat("a\xff", MaxText/2), strings.Repeat("a\uFFFD", (MaxText-3)/4) + "a..."},
	}
	for _, test := range tests {
		got := Shorten(test.in)
		if got != test.want {
			t.Errorf("%s: %d bytes, expected %d", test.what, len(got), len(test.want))
		}
		if len(got) > MaxText || !utf8.ValidString(got) {
			t.Errorf("%s: does not fit in a message", test.what)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"plain, é, 漢, 🔑", "plain, é, 漢, 🔑"},
		{"a\n\tb", "a\n\tb"},
		{"\x1b[31mred\r\x00\x7f", "\uFFFD[31mred\uFFFD\uFFFD\uFFFD"},
		{"\u009b31m", "\uFFFD31m"},                   // CSI in one character
		{"\u202e\u2066\u200b", "\uFFFD\uFFFD\uFFFD"}, // direction, and what nobody sees
		{"\xff", "\uFFFD"},
	}
	for _, test := range tests {
		if got := Printable(test.in); got != test.want {
			t.Errorf("%q: %q, expected %q", test.in, got, test.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	r := Refuse(CodeLimit, "%s", strings.Repeat("\xff", MaxText))
	if _, err := Marshal(r); err != nil {
		t.Errorf("a refusal with a long text: %v", err)
	}
	if got := (&Refusal{Code: CodeGone, Text: "\x1b[2J"}).Error(); got != "refused (gone): \uFFFD[2J" {
		t.Errorf("error %q", got)
	}
	if got := AsRefusal(fmt.Errorf("while waiting: %w", r), CodeInternal); got != r {
		t.Errorf("a refusal in the chain became %v", got)
	}
	if got := AsRefusal(io.EOF, CodeGone); got.Code != CodeGone || got.Text != "EOF" {
		t.Errorf("another error became %v", got)
	}
	var as *Refusal
	if !errors.As(error(r), &as) {
		t.Error("a refusal is no error")
	}
}

func TestOtherVersions(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		"\x83\x02\x66status\xa0", // [2, "status", {}]
		"\x82\x02\xa0",           // [2, {}]
		"\x81\x18\x63",           // [99]
		"\x83\x00\x66status\xa0", // [0, "status", {}]
	} {
		if err := Unmarshal([]byte(data), &Status{}); !errors.Is(err, ErrVersion) {
			t.Errorf("% x: %v, expected ErrVersion", data, err)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	if got, want := Line("a\nb\t\x1b[2Jc\n"), "a b \uFFFD[2Jc"; got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}
