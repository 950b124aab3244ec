package cca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/redoubt-tee/redoubt/attest/internal/cose"
	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

// ErrRoot is wrapped if no pinned root fits the evidence, or a root is not one.
var ErrRoot = errors.New("no pinned root for this evidence")

// A Root is a root of trust that the caller pins: the public part of a CPAK
// (called IAK in the RMM specification), the key of one platform. Arm has no
// common root: the maker or owner of a platform publishes its keys.
type Root struct {
	Name string           // for people
	Key  *ecdsa.PublicKey // on P-256, P-384 or P-521
	// InstanceID and ImplementationID, 33 and 32 bytes, bind the key to one
	// platform. A root that has one is for tokens that have the same.
	InstanceID       []byte
	ImplementationID []byte
	// Dev marks a key of simulated hardware. Verify copies it to its claims,
	// and sets it there for keys that are known test keys.
	Dev bool
}

// testKeys is the SHA-256 of the SubjectPublicKeyInfo of each CPAK whose private
// part is published: whoever likes signs with it.
func testKeys() []string {
	return []string{
		"0928f896cb02326566530a62a1e36329a12d0a4a308f4fc81e8ff5560bca6bca", // Trusted Firmware's, of its model platform and in the tests of most verifiers
	}
}

// Fingerprint returns the SHA-256 of key's SubjectPublicKeyInfo.
func Fingerprint(key *ecdsa.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return sha256.Sum256(der), err
}

// dev reports whether claims under r prove nothing.
func (r Root) dev() bool {
	id, err := Fingerprint(r.Key)
	return r.Dev || err != nil || slices.Contains(testKeys(), hex.EncodeToString(id[:]))
}

// check checks what a caller may have put together by hand.
func (r Root) check() error {
	switch {
	case cose.ForKey(r.Key) == 0:
		return fmt.Errorf("%w: root %q has no key on P-256, P-384 or P-521", ErrRoot, r.Name)
	case r.InstanceID != nil && len(r.InstanceID) != instanceIDSize:
		return fmt.Errorf("%w: root %q has an instance ID of %d bytes, must have %d", ErrRoot, r.Name, len(r.InstanceID), instanceIDSize)
	case r.ImplementationID != nil && len(r.ImplementationID) != implementationIDSize:
		return fmt.Errorf("%w: root %q has an implementation ID of %d bytes, must have %d", ErrRoot, r.Name, len(r.ImplementationID), implementationIDSize)
	}
	return nil
}

// maxRoot is the most bytes that a file with a root may have.
const maxRoot = 16 << 10

// ParseRoot reads a CPAK from one PEM block PUBLIC KEY or from a JWK (RFC 7517),
// and nothing else. A JWK may have the members kty, crv, x, y, kid, use and alg;
// one with a private key is refused. A known test key is marked as Dev.
func ParseRoot(data []byte) (Root, error) {
	data = bytes.TrimSpace(data)
	var key *ecdsa.PublicKey
	var err error
	switch {
	case len(data) > maxRoot:
		err = fmt.Errorf("%d bytes, at most %d allowed", len(data), maxRoot)
	case bytes.HasPrefix(data, []byte("-----BEGIN ")):
		key, err = parsePEM(data)
	case bytes.HasPrefix(data, []byte("{")):
		key, err = parseJWK(data)
	default:
		err = errors.New("must be a PEM block PUBLIC KEY or a JWK")
	}
	if err != nil {
		return Root{}, fmt.Errorf("%w: root: %w", ErrRoot, err)
	}
	root := Root{Key: key}
	if err := root.check(); err != nil {
		return Root{}, err
	}
	id, err := Fingerprint(key)
	if err != nil {
		return Root{}, fmt.Errorf("%w: root: %w", ErrRoot, err)
	}
	root.Dev = root.dev()
	root.Name = fmt.Sprintf("CPAK %x", id[:8])
	if root.Dev {
		root.Name = fmt.Sprintf("published test CPAK %x", id[:8])
	}
	return root, nil
}

func parsePEM(data []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(block.Headers) != 0 || len(rest) != 0 {
		return nil, errors.New("must be exactly one PEM block PUBLIC KEY without headers")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a %T, must be an ECDSA key", key)
	}
	return ec, nil
}

func parseJWK(data []byte) (*ecdsa.PublicKey, error) {
	members, err := parseMembers(data)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	if _, ok := members["d"]; ok {
		return nil, errors.New("JWK: it has a private key (d), which must not leave its owner")
	}
	for name := range members {
		if !slices.Contains([]string{"kty", "crv", "x", "y", "kid", "use", "alg"}, name) {
			return nil, fmt.Errorf("JWK: unknown member %.32q", name)
		}
	}
	var curve elliptic.Curve
	var alg cose.Algorithm
	switch members["crv"] {
	case "P-256":
		curve, alg = elliptic.P256(), cose.ES256
	case "P-384":
		curve, alg = elliptic.P384(), cose.ES384
	case "P-521":
		curve, alg = elliptic.P521(), cose.ES512
	default:
		return nil, fmt.Errorf("JWK: crv is %.32q, must be P-256, P-384 or P-521", members["crv"])
	}
	use, hasUse := members["use"]
	named, hasAlg := members["alg"]
	switch {
	case members["kty"] != "EC":
		return nil, fmt.Errorf("JWK: kty is %.32q, must be EC", members["kty"])
	case hasUse && use != "sig":
		return nil, fmt.Errorf("JWK: use is %.32q, must be sig", use)
	case hasAlg && named != alg.String():
		return nil, fmt.Errorf("JWK: alg is %.32q, must be %v", named, alg)
	}
	point := []byte{4}
	size := (curve.Params().BitSize + 7) / 8
	for _, name := range []string{"x", "y"} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(members[name])
		if err != nil || len(b) != size || base64.RawURLEncoding.EncodeToString(b) != members[name] {
			return nil, fmt.Errorf("JWK: %s must be %d bytes in base64url without padding", name, size)
		}
		point = append(point, b...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	return key, nil
}

// parseMembers reads a JSON object of texts, none of them there twice.
func parseMembers(data []byte) (map[string]string, error) {
	list, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	members := make(map[string]string, len(list))
	for _, m := range list {
		if members[m.Name], err = strictjson.String(m.Value); err != nil {
			return nil, fmt.Errorf("member %.32q must be a text", m.Name)
		}
	}
	return members, nil
}
