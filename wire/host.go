package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// A State is where a Keep is in its life; spec/PROTOCOL.md has the diagram.
type State string

// The states of a Keep, in order. A Keep ends in StateEnded or StateFailed.
const (
	StateStarting    State = "starting"    // keepldr runs, wasmldr has not said hello
	StateReady       State = "ready"       // waits to be attested and provisioned
	StateProvisioned State = "provisioned" // has a tenant, waits for a workload
	StateLoading     State = "loading"     // takes a workload and compiles it
	StateLoaded      State = "loaded"      // has accepted it
	StateRunning     State = "running"     // runs it
	StateEnded       State = "ended"       // the workload ended, or the Keep was stopped
	StateFailed      State = "failed"      // the Keep died, or could not start
)

var states = []State{StateStarting, StateReady, StateProvisioned, StateLoading, StateLoaded, StateRunning, StateEnded, StateFailed}

// Final reports whether a Keep in this state is gone.
func (s State) Final() bool { return s == StateEnded || s == StateFailed }

// Reached reports whether a Keep in state s is in want or past it.
func (s State) Reached(want State) bool { return slices.Index(states, s) >= slices.Index(states, want) }

// ParseState returns the state called name.
func ParseState(name string) (State, error) {
	if i := slices.Index(states, State(name)); i >= 0 {
		return states[i], nil
	}
	return "", fmt.Errorf("state %q is not known", clip(name))
}

// A Kind is a kind of Keep.
type Kind string

// The kinds of Keep.
const (
	KindProcess Kind = "process"
	KindKVM     Kind = "kvm"
	KindSNP     Kind = "snp"
	KindTDX     Kind = "tdx"
	KindCCA     Kind = "cca"
	KindSGX     Kind = "sgx"
)

// Kinds is every kind, in the order in which they are shown.
func Kinds() []Kind { return []Kind{KindProcess, KindKVM, KindSNP, KindTDX, KindCCA, KindSGX} }

func (k Kind) validate() error {
	if !slices.Contains(Kinds(), k) {
		return fmt.Errorf("kind of Keep %q is not known", clip(string(k)))
	}
	return nil
}

// CreateRequest asks a keepmgr for a Keep.
type CreateRequest struct {
	Kind Kind `cbor:"kind"`
	// Memory is what the workload may use, in bytes, as in Limits: the host
	// sizes the Keep by it.
	Memory uint64 `cbor:"memory"`
}

func (*CreateRequest) wireName() string { return "create-request" }

func (m *CreateRequest) validate() error {
	if err := (Limits{Memory: m.Memory}).validate(); err != nil {
		return err
	}
	return m.Kind.validate()
}

// A Check is one thing that was looked at, and what to do if it is not right.
type Check struct {
	Name   string `cbor:"name" json:"name"`
	OK     bool   `cbor:"ok" json:"ok"`
	Found  string `cbor:"found" json:"found"`
	Advice string `cbor:"advice" json:"advice,omitempty"`
}

func checks(cs []Check) error {
	if len(cs) > MaxChecks {
		return fmt.Errorf("%d checks, at most %d allowed", len(cs), MaxChecks)
	}
	for _, c := range cs {
		for _, s := range []string{c.Name, c.Found, c.Advice} {
			if err := printable("check", s); err != nil {
				return err
			}
		}
	}
	return nil
}

// KeepInfo is what a host says about a Keep. Nothing in it is proven.
type KeepInfo struct {
	ID    string `cbor:"id" json:"id"`
	Kind  Kind   `cbor:"kind" json:"kind"`
	State State  `cbor:"state" json:"state"`
	// Created is in milliseconds since 1970 UTC.
	Created uint64 `cbor:"created" json:"created"`
	Memory  uint64 `cbor:"memory" json:"memory"`
	// Sandbox is what confines the Keep's own processes on this host.
	Sandbox []Check `cbor:"sandbox" json:"sandbox"`
	// Reason says why a Keep failed.
	Reason string `cbor:"reason" json:"reason,omitempty"`
}

func (*KeepInfo) wireName() string { return "keep" }

func (m *KeepInfo) validate() error {
	if err := ValidateID(m.ID); err != nil {
		return err
	}
	if _, err := ParseState(string(m.State)); err != nil {
		return err
	}
	if err := printable("reason", m.Reason); err != nil {
		return err
	}
	if err := checks(m.Sandbox); err != nil {
		return err
	}
	return m.Kind.validate()
}

// IDSize is the length of a Keep's ID.
const IDSize = 12

// ValidateID reports whether id has the form of a Keep's ID: IDSize characters
// of a-z and 2-7.
func ValidateID(id string) error {
	if len(id) != IDSize || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return fmt.Errorf("Keep ID %q: must be %d characters of a-z and 2-7", clip(id), IDSize)
	}
	return nil
}

// KeepList is every Keep that a keepmgr knows.
type KeepList struct {
	Keeps []KeepInfo `cbor:"keeps" json:"keeps"`
}

func (*KeepList) wireName() string { return "keeps" }

func (m *KeepList) validate() error {
	for i := range m.Keeps {
		if err := m.Keeps[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

// Platform is what a host says that it can do. Nothing in it is proven.
type Platform struct {
	Release string       `cbor:"release" json:"release"`
	Kinds   []KindReport `cbor:"kinds" json:"kinds"`
}

// KindReport says whether a host can run a kind of Keep, and what was checked.
type KindReport struct {
	Kind      Kind    `cbor:"kind" json:"kind"`
	Available bool    `cbor:"available" json:"available"`
	Checks    []Check `cbor:"checks" json:"checks"`
}

func (*Platform) wireName() string { return "platform" }

func (m *Platform) validate() error {
	if err := printable("release", m.Release); err != nil {
		return err
	}
	if len(m.Kinds) > MaxKinds {
		return fmt.Errorf("%d kinds of Keep, at most %d allowed", len(m.Kinds), MaxKinds)
	}
	for _, k := range m.Kinds {
		if err := k.Kind.validate(); err != nil {
			return err
		}
		if err := checks(k.Checks); err != nil {
			return err
		}
	}
	return nil
}

// Done answers a request that has nothing else to say.
type Done struct{}

func (*Done) wireName() string { return "done" }
func (*Done) validate() error  { return nil }

// A Code names the reason of a refusal.
type Code string

// The codes of refusals; spec/PROTOCOL.md says when each is given.
const (
	CodeBadMessage   Code = "bad-message"   // not a valid message of the expected type
	CodeVersion      Code = "version"       // another protocol version
	CodeUnknownKeep  Code = "unknown-keep"  // no Keep has that ID
	CodeUnavailable  Code = "unavailable"   // the host can't run that kind of Keep
	CodeWrongState   Code = "wrong-state"   // the Keep is past that step, or not there yet
	CodeReplay       Code = "replay"        // this nonce was used before
	CodeUnsealed     Code = "not-sealed"    // does not open under the key that was attested
	CodeWrongConfig  Code = "wrong-config"  // not the configuration that was attested
	CodeBadWorkload  Code = "bad-workload"  // not a module that this Keep can run
	CodeTooLarge     Code = "too-large"     // over a limit
	CodeNotAllowed   Code = "not-allowed"   // the configuration does not allow it
	CodeLimit        Code = "limit"         // too many of something
	CodeTimeout      Code = "timeout"       // the Keep did not answer in time
	CodeGone         Code = "gone"          // the Keep ended
	CodeInternal     Code = "internal"      // a fault in Redoubt or its host
	CodeNoSuchMethod Code = "no-such-route" // nothing is served there
)

var codes = []Code{
	CodeBadMessage, CodeVersion, CodeUnknownKeep, CodeUnavailable, CodeWrongState, CodeReplay, CodeUnsealed,
	CodeWrongConfig, CodeBadWorkload, CodeTooLarge, CodeNotAllowed, CodeLimit, CodeTimeout, CodeGone, CodeInternal,
	CodeNoSuchMethod,
}

// Refusal is the answer to a request that was not carried out. It is an error.
type Refusal struct {
	Code Code   `cbor:"code" json:"code"`
	Text string `cbor:"text" json:"text"`
}

func (*Refusal) wireName() string { return "refusal" }

func (m *Refusal) validate() error {
	if !slices.Contains(codes, m.Code) {
		return fmt.Errorf("refusal code %q is not known", clip(string(m.Code)))
	}
	return text("text", m.Text)
}

func (m *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", m.Code, Printable(m.Text)) }

// Refuse returns a Refusal with a formatted text, shortened to what fits.
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: Shorten(fmt.Sprintf(format, args...))}
}

// AsRefusal returns the Refusal in err's chain, or one with code and err's text.
func AsRefusal(err error, code Code) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return Refuse(code, "%v", err)
}

// Shorten cuts s to what a message's text may hold, at a character's border.
func Shorten(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxText {
		return s
	}
	return strings.ToValidUTF8(s[:MaxText-3], "") + "..."
}

// Printable returns s without characters that could steer a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			return r
		}
		return '\uFFFD'
	}, s)
}

// Line returns s, shortened, as one line that can't steer a terminal.
func Line(s string) string {
	return Shorten(strings.Join(strings.FieldsFunc(Printable(s), func(r rune) bool { return r == '\n' || r == '\t' }), " "))
}

func printable(name, s string) error {
	if Printable(s) != s || strings.ContainsAny(s, "\n\t") {
		return fmt.Errorf("%s holds control characters", name)
	}
	return text(name, s)
}

// Valid reports whether m could be sent.
func (m *CreateRequest) Valid() error { return m.validate() }
