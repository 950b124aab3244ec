package cca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-tee/redoubt/attest/internal/cose"
)

// The profiles that are read. A legacy platform token goes with a realm token
// without a profile, the other one with one of RealmProfile.
const (
	LegacyProfile   = "http://arm.com/CCA-SSD/1.0.0"
	PlatformProfile = "tag:arm.com,2023:cca_platform#1.0.0"
	RealmProfile    = "tag:arm.com,2023:realm#1.0.0"
)

const (
	implementationIDSize = 32
	instanceIDSize       = 33
)

// Platform is the claims of a platform token (RMM specification 1.0, section
// A7.2.3.2).
type Platform struct {
	Profile             string
	Challenge           []byte // hash of the key that signs realm tokens
	ImplementationID    []byte // 32 bytes: the kind of platform
	InstanceID          []byte // 33 bytes, the first 0x01: this platform
	Config              []byte // of the system, as the implementation defines it
	Lifecycle           Lifecycle
	Components          []Component // at least one
	VerificationService string      // a hint for where to ask; empty if there is none
	HashAlgorithm       string      // such as sha-256: of components that name none
}

// A Component is a piece of the platform's software or configuration that was
// measured.
type Component struct {
	Type          string // such as RMM; may be empty
	Version       string // may be empty
	Measurement   []byte // 32, 48 or 64 bytes
	Signer        []byte // 32, 48 or 64 bytes: hash of the signer's key
	HashAlgorithm string // the platform's if the component names none
}

// Realm is the claims of a realm token (RMM specification 1.0, section
// A7.2.3.1).
type Realm struct {
	Profile         string   // empty in the legacy profile
	Challenge       [64]byte // what the realm asked for
	Personalization [64]byte // RPV: what the host gave the realm when it made it
	RIM             []byte   // initial measurement: 32, 48 or 64 bytes
	REMs            [4][]byte
	HashAlgorithm   string // sha-256, sha-384 or sha-512: of RIM and REMs

	PublicKey      []byte // RAK: the claim's content, which the platform's challenge is the hash of
	KeyHash        string // sha-256, sha-384 or sha-512: the algorithm of that hash
	attestationKey *ecdsa.PublicKey
}

// Unmeasured reports whether the RIM is all zero, as with models of the RMM.
func (r Realm) Unmeasured() bool { return zero(r.RIM) }

// Unpersonalized reports whether the RPV is all zero.
func (r Realm) Unpersonalized() bool { return zero(r.Personalization[:]) }

// zero reports whether b has no bit set.
func zero(b []byte) bool { return !slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) }

// Lifecycle is the platform's life cycle (RMM specification 1.0, section
// A7.2.3.2.6): the state in the higher byte, something of the implementation's
// in the lower one.
type Lifecycle uint16

// The states.
const (
	Unknown            Lifecycle = 0x0000
	AssemblyAndTest    Lifecycle = 0x1000
	Provisioning       Lifecycle = 0x2000 // of the platform's root of trust
	Secured            Lifecycle = 0x3000
	NonPlatformDebug   Lifecycle = 0x4000 // the realm management world is debugged
	RecoverableDebug   Lifecycle = 0x5000 // the root world is debugged
	Decommissioned     Lifecycle = 0x6000
	lifecycleStateMask           = 0xFF00
)

// State returns the state alone, one of those above.
func (l Lifecycle) State() Lifecycle { return l & lifecycleStateMask }

// Secured reports whether the platform is in the one state that is to be
// relied on.
func (l Lifecycle) Secured() bool { return l.State() == Secured }

// Debug reports whether the platform is being debugged: then its realms are open
// to whoever does that.
func (l Lifecycle) Debug() bool {
	return l.State() == NonPlatformDebug || l.State() == RecoverableDebug
}

// String returns the state's name in the specification.
func (l Lifecycle) String() string {
	switch l.State() {
	case Unknown:
		return "unknown"
	case AssemblyAndTest:
		return "assembly_and_test"
	case Provisioning:
		return "cca_platform_rot_provisioning"
	case Secured:
		return "secured"
	case NonPlatformDebug:
		return "non_cca_platform_rot_debug"
	case RecoverableDebug:
		return "recoverable_cca_platform_rot_debug"
	case Decommissioned:
		return "decommissioned"
	}
	return fmt.Sprintf("%#04x", uint16(l))
}

// claims is the map of a token. The first error sticks.
type claims struct {
	values map[int64]cose.Raw
	err    error
}

func newClaims(raw []byte) *claims {
	c := new(claims)
	c.err = cose.Decode(raw, &c.values)
	return c
}

func (c *claims) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *claims) has(key int64) bool {
	_, ok := c.values[key]
	return ok
}

// read takes a claim that must be there.
func read[T any](c *claims, key int64, name string, parse func(cose.Raw) (T, error)) T {
	var none T
	raw, ok := c.values[key]
	if !ok {
		c.fail("%s (%d) is missing", name, key)
		return none
	}
	delete(c.values, key)
	v, err := parse(raw)
	if err != nil {
		c.fail("%s (%d): %w", name, key, err)
		return none
	}
	return v
}

// sized reads a byte string of one of some sizes.
func (c *claims) sized(key int64, name string, sizes ...int) []byte {
	b := read(c, key, name, cose.Bytes)
	if c.err == nil && !slices.Contains(sizes, len(b)) {
		c.fail("%s (%d) has %d bytes, must have %d", name, key, len(b), sizes)
	}
	return b
}

func (c *claims) text(key int64, name string) string {
	s := read(c, key, name, cose.Text)
	if c.err == nil && s == "" {
		c.fail("%s (%d) is empty", name, key)
	}
	return s
}

// hash reads a hash of an algorithm. Of one that is not known here, it must have
// a size of those that are.
func (c *claims) hash(key int64, name, algorithm string) []byte {
	if h := hashOf(algorithm); h != 0 {
		return c.sized(key, name, h.Size())
	}
	return c.sized(key, name, 32, 48, 64)
}

// known reads the name of a hash algorithm that is known here.
func (c *claims) known(key int64, name string) string {
	s := c.text(key, name)
	if c.err == nil && hashOf(s) == 0 {
		c.fail("%s (%d) is %.32q, must be sha-256, sha-384 or sha-512", name, key, s)
	}
	return s
}

// finish fails if a claim was not taken: a token that says more than its profile
// has is not understood here.
func (c *claims) finish() error {
	for key := range c.values {
		c.fail("claim %d does not belong there", key)
	}
	return c.err
}

func parsePlatform(payload []byte) (*Platform, error) {
	c := newClaims(payload)
	p := new(Platform)
	p.Profile = c.text(265, "profile")
	if c.err == nil && p.Profile != LegacyProfile && p.Profile != PlatformProfile {
		return nil, fmt.Errorf("%w: the platform token's is %.64q, must be %q or %q", ErrProfile, p.Profile, PlatformProfile, LegacyProfile)
	}
	p.Challenge = c.sized(10, "challenge", 32, 48, 64)
	p.ImplementationID = c.sized(2396, "implementation ID", implementationIDSize)
	p.InstanceID = c.sized(256, "instance ID", instanceIDSize)
	if c.err == nil && p.InstanceID[0] != 1 {
		c.fail("instance ID (256) begins with %#02x, must begin with 0x01", p.InstanceID[0])
	}
	p.Config = read(c, 2401, "config", cose.Bytes)
	state := read(c, 2395, "life cycle", cose.Uint)
	p.Lifecycle = Lifecycle(state)
	if c.err == nil && (state > 0xFFFF || p.Lifecycle.State() > Decommissioned || p.Lifecycle.State()&0x0F00 != 0) {
		c.fail("life cycle (2395) is %#x, which is no state", state)
	}
	p.HashAlgorithm = c.text(2402, "hash algorithm")
	if c.has(2400) {
		p.VerificationService = c.text(2400, "verification service")
	}
	list := read(c, 2399, "software components", parseList)
	if c.err == nil && len(list) == 0 {
		c.fail("software components (2399) are none, must be at least one")
	}
	for i, raw := range list {
		component, err := parseComponent(raw, p.HashAlgorithm)
		if err != nil {
			c.fail("software component %d: %w", i, err)
			break
		}
		p.Components = append(p.Components, *component)
	}
	if err := c.finish(); err != nil {
		return nil, fmt.Errorf("%w: platform: %w", ErrToken, err)
	}
	return p, nil
}

func parseList(raw cose.Raw) ([]cose.Raw, error) {
	if len(raw) == 0 || raw[0]>>5 != 4 {
		return nil, errors.New("must be an array")
	}
	var list []cose.Raw
	return list, cose.Decode(raw, &list)
}

func parseComponent(raw cose.Raw, algorithm string) (*Component, error) {
	c := newClaims(raw)
	p := &Component{HashAlgorithm: algorithm}
	if c.has(1) {
		p.Type = read(c, 1, "type", cose.Text)
	}
	if c.has(4) {
		p.Version = read(c, 4, "version", cose.Text)
	}
	if c.has(6) {
		p.HashAlgorithm = c.text(6, "hash algorithm")
	}
	p.Measurement = c.hash(2, "measurement", p.HashAlgorithm)
	p.Signer = c.sized(5, "signer", 32, 48, 64)
	return p, c.finish()
}

func parseRealm(payload []byte, platformProfile string) (*Realm, error) {
	c := newClaims(payload)
	r := new(Realm)
	want := ""
	if platformProfile == PlatformProfile {
		want = RealmProfile
	}
	if c.has(265) {
		r.Profile = c.text(265, "profile")
	}
	if c.err == nil && r.Profile != want {
		return nil, fmt.Errorf("%w: the realm token's is %.64q, must be %q under a platform's of %q", ErrProfile, r.Profile, want, platformProfile)
	}
	copy(r.Challenge[:], c.sized(10, "challenge", len(r.Challenge)))
	copy(r.Personalization[:], c.sized(44235, "personalization value", len(r.Personalization)))
	r.HashAlgorithm = c.known(44236, "hash algorithm")
	r.RIM = c.hash(44238, "initial measurement", r.HashAlgorithm)
	list := read(c, 44239, "extensible measurements", parseList)
	if c.err == nil && len(list) != len(r.REMs) {
		c.fail("extensible measurements (44239) are %d, must be %d", len(list), len(r.REMs))
	}
	for i := range list {
		if c.err != nil {
			break
		}
		rem, err := cose.Bytes(list[i])
		if size := hashOf(r.HashAlgorithm).Size(); err != nil || len(rem) != size {
			c.fail("extensible measurement %d must be a byte string of %d bytes", i, size)
			break
		}
		r.REMs[i] = rem
	}
	r.PublicKey = read(c, 44237, "public key", cose.Bytes)
	r.KeyHash = c.known(44240, "hash algorithm of the public key")
	if err := c.finish(); err != nil {
		return nil, fmt.Errorf("%w: realm: %w", ErrToken, err)
	}
	var err error
	if r.Profile == RealmProfile {
		r.attestationKey, err = parseCOSEKey(r.PublicKey)
	} else {
		r.attestationKey, err = parsePoint(r.PublicKey)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: realm: public key (44237): %w", ErrToken, err)
	}
	return r, nil
}

// parsePoint reads an uncompressed point on P-384 (SEC 1, section 2.3.4).
func parsePoint(b []byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P384(), b)
}

// parseCOSEKey reads a COSE_Key of type EC2 on P-384 (RFC 9053, section 7.1.1).
// It may name the algorithm ES384 and have a key ID, but nothing else.
func parseCOSEKey(b []byte) (*ecdsa.PublicKey, error) {
	c := newClaims(b)
	for _, want := range []struct {
		key   int64
		name  string
		value int64
		must  bool
	}{{1, "type", 2, true}, {-1, "curve", 2, true}, {3, "algorithm", int64(cose.ES384), false}} {
		if !want.must && !c.has(want.key) {
			continue
		}
		if v := read(c, want.key, want.name, parseInt); c.err == nil && v != want.value {
			c.fail("%s (%d) is %d, must be %d", want.name, want.key, v, want.value)
		}
	}
	if c.has(2) {
		read(c, 2, "key ID", cose.Bytes)
	}
	const size = 48
	x, y := c.sized(-2, "x", size), c.sized(-3, "y", size)
	if err := c.finish(); err != nil {
		return nil, err
	}
	return parsePoint(slices.Concat([]byte{4}, x, y))
}

func parseInt(raw cose.Raw) (int64, error) {
	if len(raw) == 0 || raw[0]>>5 > 1 {
		return 0, errors.New("must be an integer")
	}
	var v int64
	return v, cose.Decode(raw, &v)
}
