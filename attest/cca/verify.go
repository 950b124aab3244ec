// Package cca verifies attestation tokens of the Arm Confidential Compute
// Architecture (Realm Management Monitor specification 1.0, DEN0137, section
// A7.2; draft-ffm-rats-cca-token).
//
// The chain of trust, each step verified by the one before it:
//
//  1. The caller pins the key of a platform (CPAK, also called IAK), by argument.
//  2. The CPAK signed the platform token, which speaks of the platform's life
//     cycle and software, and has the hash of the realm attestation key (RAK).
//  3. The RAK, which the platform's realm management monitor has, signed the
//     realm token, which speaks of the realm.
//
// Tokens are CBOR and COSE_Sign1, and are read strictly: definite lengths, the
// shortest form of each head, no duplicate keys, no tags but those specified, no
// claims but those of the profile. Map keys may be in any order: the makers of
// tokens write them in the order of the specification, which is not sorted.
//
// One RAK serves all realms of a platform until it is reset. So a realm token goes
// with each platform token that has the hash of its RAK: that is what they say.
//
// All functions are pure: roots and time are arguments, and there is no network,
// file, clock or default root. Whether a token that is genuine is also good
// enough is a policy's to say, not this package's. There are no certificates, so
// nothing is revoked but by no longer pinning a key.
package cca

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // of sha-256
	_ "crypto/sha512" // of sha-384 and sha-512
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest/internal/cose"
	"github.com/redoubt-tee/redoubt/attest/pki"
)

// Errors of tokens.
var (
	// ErrTime is wrapped if no time was given. Tokens have no dates.
	ErrTime = errors.New("no time given")
	// ErrToken is wrapped if a token is not as specified.
	ErrToken = errors.New("malformed CCA token")
	// ErrProfile is wrapped if a token is of a profile that is not read here,
	// or its parts are of profiles that don't go together.
	ErrProfile = errors.New("CCA profile not supported")
	// ErrSignature is wrapped if a signature is wrong, or of another algorithm
	// than the key's.
	ErrSignature = errors.New("CCA token signature wrong")
	// ErrBinding is wrapped if the platform token does not have the hash of the
	// key that signed the realm token.
	ErrBinding = errors.New("realm token not bound to the platform token")
)

// MaxToken is the most bytes that a token may have.
const MaxToken = 64 << 10

// Collateral is empty: what is needed for tokens is in roots.
type Collateral struct{}

// Claims is what a verified token proves.
type Claims struct {
	Root     string // the pinned root's name
	Dev      bool   // the root is of simulated hardware or a published test key: nothing is proven
	Platform Platform
	Realm    Realm

	Collateral []pki.Used // none: there is none
	Unchecked  []string   // none: there are no certificates
}

// A Token is a CCA token that nobody has verified.
type Token struct {
	Platform Platform
	Realm    Realm

	platform, realm *cose.Sign1
	rawPlatform     []byte
}

// The keys of a collection (RMM specification 1.0, section A7.2.3), and the type of
// its records in the later form (RMM specification 2.0, same section).
const (
	platformLabel = 44234
	realmLabel    = 44241
	contentFormat = 263 // application/eat+cwt
)

// Parse reads a collection of platform and realm token, in one of two forms: with
// tag 399, both in byte strings (RMM specification 1.0, draft-ffm-rats-cca-token-00
// and -01); or with tag 907, both in CMW records of content format 263 (RMM
// specification 2.0, draft-ffm-rats-cca-token-02). It checks all but the
// signatures and what they bind.
func Parse(b []byte) (*Token, error) {
	if len(b) > MaxToken {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrToken, len(b), MaxToken)
	}
	plain, isPlain := bytes.CutPrefix(b, []byte{0xD9, 399 >> 8, 399 & 0xFF})
	wrapped, isWrapped := bytes.CutPrefix(b, []byte{0xD9, 907 >> 8, 907 & 0xFF})
	var parts map[int64]cose.Raw
	var err error
	switch {
	case isPlain:
		err = cose.Decode(plain, &parts)
	case isWrapped:
		err = cose.Decode(wrapped, &parts)
	default:
		err = errors.New("must have tag 399 or 907")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: collection: %w", ErrToken, err)
	}
	if _, ok := parts[platformLabel]; !ok {
		return nil, fmt.Errorf("%w: collection without a platform token (%d)", ErrToken, platformLabel)
	}
	if _, ok := parts[realmLabel]; !ok {
		return nil, fmt.Errorf("%w: collection without a realm token (%d)", ErrToken, realmLabel)
	}
	if len(parts) != 2 {
		return nil, fmt.Errorf("%w: collection of %d parts, must be platform and realm token", ErrToken, len(parts))
	}
	t := new(Token)
	if t.rawPlatform, t.platform, err = parseSigned(parts[platformLabel], isWrapped); err != nil {
		return nil, fmt.Errorf("%w: platform: %w", ErrToken, err)
	}
	if _, t.realm, err = parseSigned(parts[realmLabel], isWrapped); err != nil {
		return nil, fmt.Errorf("%w: realm: %w", ErrToken, err)
	}
	platform, err := parsePlatform(t.platform.Payload)
	if err != nil {
		return nil, err
	}
	realm, err := parseRealm(t.realm.Payload, platform.Profile)
	if err != nil {
		return nil, err
	}
	t.Platform, t.Realm = *platform, *realm
	return t, nil
}

func parseSigned(raw cose.Raw, wrapped bool) ([]byte, *cose.Sign1, error) {
	if wrapped {
		record, err := parseList(raw)
		if err != nil || len(record) != 2 {
			return nil, nil, errors.New("must be a CMW record of content format and token")
		}
		if format, err := cose.Uint(record[0]); err != nil || format != contentFormat {
			return nil, nil, fmt.Errorf("content format of the CMW record must be %d", contentFormat)
		}
		raw = record[1]
	}
	b, err := cose.Bytes(raw)
	if err != nil {
		return nil, nil, err
	}
	m, err := cose.Parse(b, cose.Tagged)
	return b, m, err
}

// Verify verifies a token back to one of roots. There are no dates in it; now
// must be given all the same. It returns claims only if all of it holds.
func Verify(token []byte, _ Collateral, roots []Root, seen *pki.Seen, now time.Time) (*Claims, error) {
	if now.IsZero() {
		return nil, ErrTime
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: no roots were given", ErrRoot)
	}
	t, err := Parse(token)
	if err != nil {
		return nil, err
	}
	root, err := t.findRoot(roots, seen)
	if err != nil {
		return nil, err
	}
	if err := t.Realm.checkBinding(t.Platform.Challenge); err != nil {
		return nil, err
	}
	if err := t.realm.Verify(t.Realm.attestationKey, cose.ES384); err != nil {
		return nil, fmt.Errorf("%w: realm: %w", ErrSignature, err)
	}
	return &Claims{Root: root.Name, Dev: root.dev(), Platform: t.Platform, Realm: t.Realm}, nil
}

// findRoot returns the root whose key signed the platform token.
func (t *Token) findRoot(roots []Root, seen *pki.Seen) (*Root, error) {
	var failed error
	for i := range roots {
		root := &roots[i]
		if err := root.check(); err != nil {
			return nil, err
		}
		if root.InstanceID != nil && !bytes.Equal(root.InstanceID, t.Platform.InstanceID) ||
			root.ImplementationID != nil && !bytes.Equal(root.ImplementationID, t.Platform.ImplementationID) {
			continue
		}
		err := t.checkPlatform(root, seen)
		if err == nil {
			return root, nil
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		return nil, fmt.Errorf("%w: none of the %d given is for instance %x of implementation %x",
			ErrRoot, len(roots), t.Platform.InstanceID, t.Platform.ImplementationID)
	}
	// Another key's token and a forged one look alike.
	return nil, fmt.Errorf("%w: none of the %d given signed it: %w", ErrRoot, len(roots), failed)
}

func (t *Token) checkPlatform(root *Root, seen *pki.Seen) error {
	id, err := Fingerprint(root.Key)
	if err != nil {
		return fmt.Errorf("%w: root %q: %w", ErrRoot, root.Name, err)
	}
	verify := func() error { return t.platform.Verify(root.Key, cose.ForKey(root.Key)) }
	if err := seen.Check(verify, []byte("CCA platform token"), id[:], t.rawPlatform); err != nil {
		return fmt.Errorf("%w: platform, under %q: %w", ErrSignature, root.Name, err)
	}
	return nil
}

// checkBinding checks that challenge is the hash of the key that signs the realm
// token, as the claim has it.
func (r *Realm) checkBinding(challenge []byte) error {
	h := hashOf(r.KeyHash).New()
	h.Write(r.PublicKey)
	if sum := h.Sum(nil); subtle.ConstantTimeCompare(sum, challenge) != 1 {
		return fmt.Errorf("%w: the %s of its key is %x, the platform's challenge %x", ErrBinding, r.KeyHash, sum, challenge)
	}
	return nil
}

// hashOf returns the hash of a name (IANA's registry of hash function textual
// names), or 0 if it is not known here.
func hashOf(name string) crypto.Hash {
	switch name {
	case "sha-256":
		return crypto.SHA256
	case "sha-384":
		return crypto.SHA384
	case "sha-512":
		return crypto.SHA512
	}
	return 0
}
