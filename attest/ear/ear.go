// Package ear writes and reads attestation results: EAT Attestation Results (EAR,
// draft-ietf-rats-ear), with the trustworthiness vector of AR4SI
// (draft-ietf-rats-ar4si), as signed JSON Web Tokens.
//
// A result says what a verifier thinks of an attester. Who relies on it trusts the
// verifier's key and nothing else.
package ear

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// The profiles: which names the claims have, and how strictly they are written.
const (
	// Profile2023 is the profile of the earlier drafts, which the Veraison project's
	// libraries read. Its claims have dots ("ear.status").
	Profile2023 = "tag:github.com,2023:veraison/ear"
	// ProfileDraft05 is the profile of draft-ietf-rats-ear-05. Its claims have
	// underscores ("ear_status").
	ProfileDraft05 = "tag:ietf.org,2026:rats/ear#05"
)

// Errors.
var (
	// ErrMalformed is wrapped if a token or a result is not well-formed.
	ErrMalformed = errors.New("malformed attestation result")
	// ErrSignature is wrapped if a token is not signed by the key, or with another
	// algorithm than the key's.
	ErrSignature = errors.New("attestation result not signed by the verifier's key")
	// ErrTime is wrapped if a token is of the future or has expired.
	ErrTime = errors.New("attestation result not valid at this time")
)

// A Tier says how trustworthy an attester is (AR4SI, section 3.2).
type Tier uint8

// The tiers. A greater one is less trustworthy.
const (
	None            Tier = 0 // no statement
	Affirming       Tier = 2
	Warning         Tier = 32
	Contraindicated Tier = 96
)

var tierNames = map[Tier]string{None: "none", Affirming: "affirming", Warning: "warning", Contraindicated: "contraindicated"}

// String returns the tier's name.
func (t Tier) String() string {
	if name, ok := tierNames[t]; ok {
		return name
	}
	return fmt.Sprintf("tier %d", uint8(t))
}

// A Claim is a statement on one aspect of trustworthiness (AR4SI, section
// 2.3.4). 0 is none.
type Claim int8

// Values that this package uses. Some mean the same for each aspect.
const (
	Affirmed     Claim = 2   // known and approved, genuine
	AffirmedBoot Claim = 3   // of executables: what was loaded at boot is approved
	Warned       Claim = 32  // known vulnerabilities; of runtime-opaque: readable by the operator
	Simulated    Claim = -33 // not of the draft: of hardware that is simulated and accepted as such
	Contra       Claim = 96  // contraindicated
	Unrecognised Claim = 97  // of hardware and identity: not recognised, and it should be
	BadCrypto    Claim = 99  // cryptographic validation of the evidence failed
)

// Tier returns the tier that a claim is of (AR4SI, section 2.3.2).
func (c Claim) Tier() Tier {
	switch {
	case c >= -1 && c <= 1:
		return None
	case c >= -32 && c < 32:
		return Affirming
	case c >= -96 && c < 96:
		return Warning
	}
	return Contraindicated
}

// A Vector is what a verifier states on each aspect of an attester (AR4SI,
// section 2.3.5). Zero: nothing.
type Vector struct {
	InstanceIdentity, Configuration, Executables, FileSystem, Hardware, RuntimeOpaque, StorageOpaque, SourcedData Claim
}

// elements returns the elements with their names, in the draft's order.
func (v *Vector) elements() []element {
	return []element{
		{"instance-identity", &v.InstanceIdentity}, {"configuration", &v.Configuration}, {"executables", &v.Executables}, {"file-system", &v.FileSystem},
		{"hardware", &v.Hardware}, {"runtime-opaque", &v.RuntimeOpaque}, {"storage-opaque", &v.StorageOpaque}, {"sourced-data", &v.SourcedData},
	}
}

type element struct {
	name  string
	claim *Claim
}

// Tier returns the least trustworthy tier of the vector's claims.
func (v Vector) Tier() Tier {
	worst := None
	for _, e := range v.elements() {
		worst = max(worst, e.claim.Tier())
	}
	return worst
}

// An Appraisal is the result for one attester.
type Appraisal struct {
	// Status is not more trustworthy than the vector.
	Status Tier
	Vector Vector
	// Policies identify the policies that were applied, in their order. Profile2023
	// has one at most.
	Policies []string
}

// A VerifierID says which software is the verifier.
type VerifierID struct {
	Developer, Build string
}

// A Result is an attestation result. The zero Result is not one.
type Result struct {
	Profile  string // Profile2023 or ProfileDraft05
	Issued   time.Time
	Expires  time.Time // zero: never
	Verifier VerifierID
	Nonce    []byte // the relying party's, 8 to 64 bytes; nil if there is none
	// Evidence is what was appraised; nil leaves it out. For ProfileDraft05 it is a
	// conceptual message wrapper as JSON, a record.
	Evidence []byte
	// Attesters are the results by attester. There is one at least.
	Attesters map[string]Appraisal
}

// check applies the rules of the draft (sections 3 and 3.1).
func (r *Result) check() error {
	switch {
	case r.Profile != Profile2023 && r.Profile != ProfileDraft05:
		return fmt.Errorf("eat_profile %.64q, must be %q or %q", r.Profile, Profile2023, ProfileDraft05)
	case r.Issued.Unix() <= 0:
		return errors.New("iat: no time of issue")
	case !r.Expires.IsZero() && r.Expires.Unix() <= r.Issued.Unix():
		return errors.New("exp: not after iat")
	case r.Verifier.Developer == "" || r.Verifier.Build == "":
		return errors.New("the verifier's developer or build is missing")
	case r.Nonce != nil && (len(r.Nonce) < 8 || len(r.Nonce) > 64):
		return fmt.Errorf("eat_nonce of %d bytes, must be 8 to 64", len(r.Nonce))
	case len(r.Attesters) == 0:
		return errors.New("submods: no attester")
	}
	for name, a := range r.Attesters {
		if err := a.check(r.Profile); err != nil {
			return fmt.Errorf("submods: %.64q: %w", name, err)
		}
		if name == "" {
			return errors.New("submods: an attester without a name")
		}
	}
	return nil
}

func (a *Appraisal) check(profile string) error {
	if _, ok := tierNames[a.Status]; !ok {
		return fmt.Errorf("status %d, must be 0, 2, 32 or 96", uint8(a.Status))
	}
	if worst := a.Vector.Tier(); worst > Affirming && a.Status < worst {
		return fmt.Errorf("status %v, and the vector is %v", a.Status, worst)
	}
	if profile == Profile2023 && len(a.Policies) > 1 {
		return fmt.Errorf("%d policies, at most 1 allowed in this profile", len(a.Policies))
	}
	for _, id := range a.Policies {
		if _, err := url.Parse(id); id == "" || err != nil {
			return fmt.Errorf("the policy %.64q, must be a URI", id)
		}
	}
	return nil
}

// Status returns the least trustworthy status of all attesters.
func (r *Result) Status() Tier {
	worst := None
	for _, a := range r.Attesters {
		worst = max(worst, a.Status)
	}
	return worst
}

// names returns the attesters' names, sorted.
func (r *Result) names() []string {
	var names []string
	for name := range r.Attesters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
