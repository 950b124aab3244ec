package wire

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Sizes of the fixed fields, in bytes.
const (
	NonceSize      = 32
	SaltSize       = 32
	PrivateKeySize = ed25519.SeedSize
	// HPKEPublicKeySize is that of MLKEM768-X25519: 1184 + 32.
	HPKEPublicKeySize = 1216
)

// Most of what a message may carry.
const (
	MaxWorkload     = 128 << 20 // bytes of a module
	MaxArgs         = 1024      // arguments, and as many environment entries
	MaxArgBytes     = 96 << 10  // of all arguments and environment entries together
	MaxEvidence     = 96 << 10  // bytes of each part of an Evidence
	MaxText         = 4 << 10   // bytes of a text for people
	MaxChecks       = 64        // of a Keep's sandbox, or of a kind of Keep
	MaxKinds        = 64        // kinds of Keep in a Platform
	MaxAttestations = 64        // times a Keep is attested before it is provisioned
)

// A Profile says what a Keep may tell its host.
type Profile string

// The log profiles.
const (
	Production  Profile = "production"
	Staging     Profile = "staging"
	Development Profile = "development"
)

// Profiles is every log profile, the one that tells least first.
func Profiles() []Profile { return []Profile{Production, Staging, Development} }

// A Capability is something that a workload may use. A Keep offers a workload
// nothing else.
type Capability string

// The capabilities.
const (
	Stdin  Capability = "stdin"
	Stdout Capability = "stdout"
	Stderr Capability = "stderr"
)

// Limits bound what a workload uses.
type Limits struct {
	// Memory is the most bytes of the workload's linear memory; at least one
	// Wasm page (64 KiB), at most 4 GiB.
	Memory uint64 `cbor:"memory" json:"memory"`
	// WallTime is how long the workload may run, in milliseconds; 0 is no limit.
	WallTime uint64 `cbor:"wall_time" json:"wall_time"`
}

func (l Limits) validate() error {
	if l.Memory < 64<<10 || l.Memory > 4<<30 {
		return fmt.Errorf("memory limit of %d bytes: must be 64 KiB to 4 GiB", l.Memory)
	}
	if l.WallTime > 1<<40 {
		return fmt.Errorf("wall time limit of %d ms is too long", l.WallTime)
	}
	return nil
}

// Configuration is what a Keep's evidence says about how it runs a workload.
// It is not secret: whoever attests the Keep later is shown it.
type Configuration struct {
	Profile Profile `cbor:"profile" json:"profile"`
	Limits  Limits  `cbor:"limits" json:"limits"`
	// Capabilities is the manifest of what the workload may use, sorted.
	Capabilities []Capability `cbor:"capabilities" json:"capabilities"`
	// Invocation is the digest of the Invocation, which stays between the
	// client and the Keep.
	Invocation Digest `cbor:"invocation" json:"invocation"`
}

func (*Configuration) wireName() string { return "configuration" }

func (c *Configuration) validate() error {
	if !slices.Contains(Profiles(), c.Profile) {
		return fmt.Errorf("log profile %q: must be production, staging or development", clip(string(c.Profile)))
	}
	for i, have := range c.Capabilities {
		if have != Stdin && have != Stdout && have != Stderr {
			return fmt.Errorf("capability %q is not known", clip(string(have)))
		}
		if i > 0 && c.Capabilities[i-1] >= have {
			return errors.New("capabilities are not sorted or not unique")
		}
	}
	return c.Limits.validate()
}

// Allows reports whether the workload may use what.
func (c *Configuration) Allows(what Capability) bool { return slices.Contains(c.Capabilities, what) }

// Invocation is how the workload is started.
type Invocation struct {
	// Args begins with the program's name.
	Args []string `cbor:"args"`
	// Env has entries of the form KEY=VALUE.
	Env []string `cbor:"env"`
	// Salt is random, so that the digest tells nothing.
	Salt []byte `cbor:"salt"`
}

func (*Invocation) wireName() string { return "invocation" }

func (i *Invocation) validate() error {
	if len(i.Args) == 0 {
		return errors.New("no arguments: the first one is the program's name")
	}
	if err := arguments(i.Args, i.Env); err != nil {
		return err
	}
	return size("salt", i.Salt, SaltSize)
}

func arguments(args, env []string) error {
	if len(args) > MaxArgs || len(env) > MaxArgs {
		return fmt.Errorf("%d arguments and %d environment entries, at most %d each", len(args), len(env), MaxArgs)
	}
	var bytes int
	for _, s := range slices.Concat(args, env) {
		bytes += len(s)
		if strings.ContainsRune(s, 0) {
			return errors.New("an argument or environment entry holds a NUL byte")
		}
		if !utf8.ValidString(s) {
			return fmt.Errorf("argument or environment entry %q is not UTF-8", clip(s))
		}
	}
	if bytes > MaxArgBytes {
		return fmt.Errorf("arguments and environment of %d bytes, at most %d allowed", bytes, MaxArgBytes)
	}
	for _, s := range env {
		if strings.IndexByte(s, '=') < 1 {
			return errors.New("an environment entry is not of the form KEY=VALUE")
		}
	}
	return nil
}

// AttestRequest asks a Keep that has no tenant yet to prove what it is.
type AttestRequest struct {
	// Nonce is fresh and random.
	Nonce []byte `cbor:"nonce"`
	// Config is the digest of the configuration that the client will send.
	Config Digest `cbor:"config"`
}

func (*AttestRequest) wireName() string  { return "attest-request" }
func (m *AttestRequest) validate() error { return size("nonce", m.Nonce, NonceSize) }

// EvidenceSNP is the type of AMD SEV-SNP evidence: an attestation report as
// Report and, as Auxblob, the certificate table of the GHCB specification
// (SNP extended guest request), as Linux's configfs-tsm gives both.
const EvidenceSNP = "snp"

// Evidence is what a TEE signed, as its interface gave it.
type Evidence struct {
	Type    string `cbor:"type" json:"type"`
	Report  []byte `cbor:"report" json:"report"`
	Auxblob []byte `cbor:"auxblob" json:"auxblob"`
}

func (e *Evidence) wireName() string { return "evidence" }

func (e *Evidence) validate() error {
	if e.Type != EvidenceSNP {
		return fmt.Errorf("evidence type %q is not known", clip(e.Type))
	}
	if len(e.Report) == 0 {
		return errors.New("no report")
	}
	if len(e.Report) > MaxEvidence || len(e.Auxblob) > MaxEvidence {
		return fmt.Errorf("evidence of %d and %d bytes, at most %d each", len(e.Report), len(e.Auxblob), MaxEvidence)
	}
	return nil
}

// Attestation answers AttestRequest.
type Attestation struct {
	Evidence Evidence `cbor:"evidence"`
	// HPKEPublicKey was made for this answer, inside the TEE.
	HPKEPublicKey []byte `cbor:"hpke_public_key"`
}

func (*Attestation) wireName() string { return "attestation" }

func (m *Attestation) validate() error {
	if err := size("HPKE public key", m.HPKEPublicKey, HPKEPublicKeySize); err != nil {
		return err
	}
	return m.Evidence.validate()
}

// ProvisionRequest carries a Provision to the Keep that was attested.
type ProvisionRequest struct {
	// Sealed is the encoded Provision under HPKE: encapsulated key, then
	// ciphertext.
	Sealed []byte `cbor:"sealed"`
}

func (*ProvisionRequest) wireName() string { return "provision-request" }

func (m *ProvisionRequest) validate() error {
	if len(m.Sealed) == 0 {
		return errors.New("nothing sealed")
	}
	return nil
}

// Provision is what the client gives to a Keep that proved itself: its secrets
// and its configuration.
type Provision struct {
	// PrivateKey is the Ed25519 seed (RFC 8032, section 5.1.5) of the Keep's
	// one-use TLS key.
	PrivateKey []byte `cbor:"private_key"`
	// Client is the SHA-256 of the client's certificate in DER.
	Client Digest `cbor:"client"`
	// Config is the configuration whose digest was attested.
	Config Configuration `cbor:"config"`
	// Invocation is the one that Config names.
	Invocation Invocation `cbor:"invocation"`
	// Time is the client's, in nanoseconds since 1970 UTC.
	Time uint64 `cbor:"time"`
}

func (*Provision) wireName() string { return "provision" }

func (m *Provision) validate() error {
	if err := size("private key", m.PrivateKey, PrivateKeySize); err != nil {
		return err
	}
	if m.Client == (Digest{}) {
		return errors.New("no client certificate named")
	}
	if m.Time == 0 || m.Time > 1<<62 {
		return fmt.Errorf("time of %d ns", m.Time)
	}
	if err := m.Config.validate(); err != nil {
		return err
	}
	return m.Invocation.validate()
}

// Provisioned answers ProvisionRequest.
type Provisioned struct{}

func (*Provisioned) wireName() string { return "provisioned" }
func (*Provisioned) validate() error  { return nil }

// ReattestRequest asks a Keep that holds a workload to prove what it runs.
type ReattestRequest struct {
	Nonce []byte `cbor:"nonce"`
}

func (*ReattestRequest) wireName() string  { return "reattest-request" }
func (m *ReattestRequest) validate() error { return size("nonce", m.Nonce, NonceSize) }

// WorkloadAttestation answers ReattestRequest.
type WorkloadAttestation struct {
	Evidence      Evidence      `cbor:"evidence"`
	HPKEPublicKey []byte        `cbor:"hpke_public_key"`
	Config        Configuration `cbor:"config"`
	Workload      Digest        `cbor:"workload"`
}

func (*WorkloadAttestation) wireName() string { return "workload-attestation" }

func (m *WorkloadAttestation) validate() error {
	if err := size("HPKE public key", m.HPKEPublicKey, HPKEPublicKeySize); err != nil {
		return err
	}
	if err := m.Config.validate(); err != nil {
		return err
	}
	return m.Evidence.validate()
}

// Accepted answers the workload, over the deployment channel.
type Accepted struct {
	Workload Digest `cbor:"workload"`
}

func (*Accepted) wireName() string { return "accepted" }
func (*Accepted) validate() error  { return nil }

// An End says how a workload ended.
type End string

// The ends of a workload.
const (
	EndExited    End = "exited"     // by itself, with a status
	EndTrapped   End = "trapped"    // the engine stopped it: Text says why
	EndStopped   End = "stopped"    // the tenant or the host asked for it
	EndTimeLimit End = "time-limit" // it ran longer than Limits.WallTime
	EndCrashed   End = "crashed"    // the runner died under it: Text says how
)

// Outcome is how a workload ended, told over the deployment channel.
type Outcome struct {
	End    End    `cbor:"end" json:"end"`
	Status uint32 `cbor:"status" json:"status"`
	Text   string `cbor:"text" json:"text,omitempty"`
}

func (*Outcome) wireName() string { return "outcome" }

func (m *Outcome) validate() error {
	if !slices.Contains([]End{EndExited, EndTrapped, EndStopped, EndTimeLimit, EndCrashed}, m.End) {
		return fmt.Errorf("end %q is not known", clip(string(m.End)))
	}
	return text("text", m.Text)
}

func size(name string, b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("%s of %d bytes, must be %d", name, len(b), want)
	}
	return nil
}

func text(name, s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%s of %d bytes, at most %d allowed", name, len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s is not UTF-8", name)
	}
	return nil
}

// String returns d in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText makes JSON show d in hexadecimal. CBOR has its bytes.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
