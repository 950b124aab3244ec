package spec_test

import (
	"bytes"
	"crypto/hpke"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/wire"
)

// A sample is a valid message, from which a vector is made.
type sample struct {
	note string
	m    wire.Message
}

// seq returns n bytes that count up from first.
func seq(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func digest(first byte) wire.Digest { return wire.Digest(seq(32, first)) }

// What the samples, the hashes and the sealed provision have in common: one
// exchange between a client and a Keep.
var (
	nonce       = seq(32, 0x00)
	hpkeSeed    = seq(32, 0x20)
	hpkePublic  = hpkeKey().PublicKey().Bytes()
	workload    = wire.WorkloadDigest([]byte("\x00asm\x01\x00\x00\x00"))
	sandbox     = []wire.Check{{Name: "seccomp", OK: true, Found: "filter in force"}, {Name: "network", Found: "no namespace", Advice: "allow user namespaces"}}
	evidence    = wire.Evidence{Type: wire.EvidenceSNP, Report: seq(64, 0x80), Auxblob: seq(16, 0xc0)}
	invocation  = wire.Invocation{Args: []string{"stats", "--column", "salary"}, Env: []string{"LANG=C", "EMPTY="}, Salt: seq(32, 0x40)}
	bare        = wire.Invocation{Args: []string{""}, Salt: seq(32, 0x50)}
	config      = wire.Configuration{Profile: wire.Production, Limits: wire.Limits{Memory: 256 << 20, WallTime: 60000}, Capabilities: []wire.Capability{wire.Stderr, wire.Stdin, wire.Stdout}, Invocation: must(invocation.Digest())}
	bareConfig  = wire.Configuration{Profile: wire.Development, Limits: wire.Limits{Memory: 4 << 30}, Invocation: must(bare.Digest())}
	provision   = wire.Provision{PrivateKey: seq(32, 0x60), Client: digest(0xa0), Config: config, Invocation: invocation, Time: 1795212345678901234}
	runningKeep = wire.KeepInfo{ID: "abcdefgh2345", Kind: wire.KindProcess, State: wire.StateRunning, Created: 1795212345678, Memory: 64 << 10, Sandbox: sandbox}
	failedKeep  = wire.KeepInfo{ID: "zzzzzzzz7777", Kind: wire.KindSNP, State: wire.StateFailed, Reason: "the firmware is too old: update it"}
)

// samples has every message type at least once; a new one is one line more.
var samples = []sample{
	{"least memory", &wire.CreateRequest{Kind: wire.KindProcess, Memory: 64 << 10}},
	{"most memory", &wire.CreateRequest{Kind: wire.KindTDX, Memory: 4 << 30}},
	{"running", &runningKeep},
	{"failed, nothing checked", &failedKeep},
	{"longest text", &wire.KeepInfo{ID: "222222222222", Kind: wire.KindKVM, State: wire.StateEnded, Reason: strings.Repeat("é", wire.MaxText/2)}},
	{"none", &wire.KeepList{}},
	{"two", &wire.KeepList{Keeps: []wire.KeepInfo{runningKeep, failedKeep}}},
	{"one kind of two", &wire.Platform{Release: "v0.1.0", Kinds: []wire.KindReport{{Kind: wire.KindProcess, Available: true, Checks: sandbox}, {Kind: wire.KindSGX}}}},
	{"", &wire.Done{}},
	{"", &wire.Refusal{Code: wire.CodeUnknownKeep, Text: "no Keep abcdefgh2345"}},
	{"control characters are allowed here", &wire.Refusal{Code: wire.CodeNoSuchMethod, Text: "\x1b[2J"}},
	{"every capability", &config},
	{"no capability, no wall time", &bareConfig},
	{"longest wall time", &wire.Configuration{Profile: wire.Staging, Limits: wire.Limits{Memory: 65537, WallTime: 1 << 40}, Capabilities: []wire.Capability{wire.Stdin}, Invocation: digest(0)}},
	{"", &invocation},
	{"one empty argument", &bare},
	{"newline and = in a value", &wire.Invocation{Args: []string{"a"}, Env: []string{"A=b\nc=d", "é==\r"}, Salt: seq(32, 0)}},
	{"most arguments", &wire.Invocation{Args: make([]string, wire.MaxArgs), Salt: seq(32, 0)}},
	{"", &wire.AttestRequest{Nonce: nonce, Config: must(config.Digest())}},
	{"", &evidence},
	{"no auxblob", &wire.Evidence{Type: wire.EvidenceSNP, Report: []byte{0}}},
	{"", &wire.Attestation{Evidence: evidence, HPKEPublicKey: hpkePublic}},
	{"opaque bytes", &wire.ProvisionRequest{Sealed: seq(1200, 0)}},
	{"", &provision},
	{"latest time", &wire.Provision{PrivateKey: seq(32, 0), Client: digest(1), Config: bareConfig, Invocation: bare, Time: 1 << 62}},
	{"", &wire.Provisioned{}},
	{"", &wire.ReattestRequest{Nonce: nonce}},
	{"", &wire.WorkloadAttestation{Evidence: evidence, HPKEPublicKey: hpkePublic, Config: config, Workload: workload}},
	{"", &wire.Accepted{Workload: workload}},
	{"", &wire.Outcome{End: wire.EndExited, Status: 42}},
	{"largest status", &wire.Outcome{End: wire.EndTrapped, Status: 1<<32 - 1, Text: "unreachable"}},
	{"", &wire.OpenStream{Type: wire.StreamControl}},
	{"", &wire.Status{State: wire.StateReady, Sandbox: sandbox}},
	{"", &wire.Stop{}},
	{"", &wire.EvidenceRequest{ReportData: seq(64, 0)}},
	{"", &wire.KeepldrConfig{ID: "abcdefgh2345", Kind: wire.KindProcess, Memory: 1 << 20, Wasmldr: "/usr/bin/redoubt-wasmldr", Dev: "/var/lib/redoubt/dev"}},
	{"", &wire.RunnerReady{Sandbox: sandbox}},
	{"largest workload", &wire.RunnerLoad{Size: wire.MaxWorkload, Memory: 64 << 10}},
	{"", &wire.RunnerStart{Args: invocation.Args, Env: invocation.Env, Time: 1795212345678901234}},
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hpkeKey() hpke.PrivateKey { return must(hpke.MLKEM768X25519().NewPrivateKey(hpkeSeed)) }

// name returns m's name on the wire.
func name(t *testing.T, m wire.Message) string {
	t.Helper()
	data, err := wire.Marshal(m)
	if err != nil {
		t.Fatalf("%T: %v", m, err)
	}
	n, err := wire.Name(data)
	if err != nil {
		t.Fatalf("%T: %v", m, err)
	}
	return n
}

// first returns the encoding of the first sample called message.
func first(t *testing.T, message string) []byte {
	t.Helper()
	for _, s := range samples {
		if name(t, s.m) == message {
			return bytes.Clone(must(wire.Marshal(s.m)))
		}
	}
	t.Fatalf("no sample of a message %q", message)
	return nil
}
