package ear

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

// MaxToken is the most bytes of a token.
const MaxToken = 2 << 20

// MaxSkew is how far in the future a token may have been issued: clocks differ.
const MaxSkew = time.Minute

// parts is how a token's three parts are encoded (RFC 7515).
var parts = base64.RawURLEncoding.Strict()

// An algorithm is what a key of its type signs with (RFC 7518, RFC 8037). A
// token's header never chooses it.
type algorithm struct {
	name string
	size int // bytes of r and of s
}

func algorithmOf(key crypto.PublicKey) (algorithm, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return algorithm{"ES256", 32}, nil
		case elliptic.P384():
			return algorithm{"ES384", 48}, nil
		}
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return algorithm{name: "EdDSA"}, nil
		}
	}
	return algorithm{}, fmt.Errorf("%w: a key of type %T, must be ECDSA on P-256 or P-384, or Ed25519", ErrSignature, key)
}

// digest returns what is signed of a token's first two parts.
func (a algorithm) digest(signed []byte) ([]byte, crypto.Hash) {
	switch a.name {
	case "ES256":
		h := sha256.Sum256(signed)
		return h[:], crypto.SHA256
	case "ES384":
		h := sha512.Sum384(signed)
		return h[:], crypto.SHA384
	}
	return signed, 0
}

// Sign returns the result as a JSON Web Token in the compact form, signed with
// ES256, ES384 or EdDSA, as the key is.
func (r *Result) Sign(key crypto.Signer) ([]byte, error) {
	claims, err := r.Claims()
	if err != nil {
		return nil, err
	}
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return nil, err
	}
	token := parts.AppendEncode(nil, fmt.Appendf(nil, `{"alg":%q,"typ":"JWT"}`, alg.name))
	token = parts.AppendEncode(append(token, '.'), claims)
	digest, hash := alg.digest(token)
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil, fmt.Errorf("signing the attestation result: %w", err)
	}
	if alg.size > 0 {
		if signature, err = fixed(signature, alg.size); err != nil {
			return nil, err
		}
	}
	if token = parts.AppendEncode(append(token, '.'), signature); len(token) > MaxToken {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrMalformed, len(token), MaxToken)
	}
	return token, nil
}

// fixed turns an ECDSA signature in DER into r and s, each of size bytes.
func fixed(der []byte, size int) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) > 0 || rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || max(rs.R.BitLen(), rs.S.BitLen()) > 8*size {
		return nil, errors.New("signing the attestation result: the key made no ECDSA signature of its curve")
	}
	signature := make([]byte, 2*size)
	rs.R.FillBytes(signature[:size])
	rs.S.FillBytes(signature[size:])
	return signature, nil
}

// Verify returns the result of a token that is signed by key, and at time now
// neither of the future nor expired. The algorithm is the key's.
func Verify(token []byte, key crypto.PublicKey, now time.Time) (*Result, error) {
	if now.IsZero() {
		return nil, fmt.Errorf("%w: no time given", ErrTime)
	}
	alg, err := algorithmOf(key)
	if err != nil {
		return nil, err
	}
	if len(token) > MaxToken {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrMalformed, len(token), MaxToken)
	}
	segments := strings.SplitN(string(token), ".", 4)
	if len(segments) != 3 {
		return nil, fmt.Errorf("%w: a token of another number of parts than 3", ErrMalformed)
	}
	var decoded [3][]byte
	for i, s := range segments {
		if decoded[i], err = parts.DecodeString(s); err != nil || strings.ContainsAny(s, "\r\n") {
			return nil, fmt.Errorf("%w: part %d of the token is not base64url without padding", ErrMalformed, i+1)
		}
	}
	if err := checkHeader(decoded[0], alg); err != nil {
		return nil, err
	}
	if !alg.verify(key, token[:len(segments[0])+1+len(segments[1])], decoded[2]) {
		return nil, fmt.Errorf("%w: the %s signature is not the key's", ErrSignature, alg.name)
	}
	r, err := Parse(decoded[1])
	if err != nil {
		return nil, err
	}
	if err := r.checkTime(decoded[1], now); err != nil {
		return nil, err
	}
	return r, nil
}

// checkHeader refuses other algorithms than the key's, "none" with them, and
// critical parameters, of which none are known. Keys in the header are not read.
func checkHeader(data []byte, alg algorithm) error {
	list, err := strictjson.Object(data)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	name := ""
	for _, m := range list {
		switch m.Name {
		case "alg":
			name, _ = strictjson.String(m.Value)
		case "crit", "b64", "zip", "enc":
			return fmt.Errorf("%w: header: %q is not supported", ErrMalformed, m.Name)
		}
	}
	if name != alg.name {
		return fmt.Errorf("%w: the token's algorithm is %.32q, and the key's %s", ErrSignature, name, alg.name)
	}
	return nil
}

func (a algorithm) verify(key crypto.PublicKey, signed, signature []byte) bool {
	digest, _ := a.digest(signed)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if len(signature) != 2*a.size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:a.size]), new(big.Int).SetBytes(signature[a.size:])
		return ecdsa.Verify(key, digest, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(key, digest, signature)
	}
	return false
}

// checkTime checks iat, exp and, of the claims as signed, nbf.
func (r *Result) checkTime(claims []byte, now time.Time) error {
	set := read(claims)
	begins := set.seconds("nbf", r.Profile, false)
	if set.err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, set.err)
	}
	latest := now.Add(MaxSkew)
	switch {
	case r.Issued.After(latest):
		return fmt.Errorf("%w: issued at %s, in the future", ErrTime, r.Issued.Format(time.RFC3339))
	case begins.After(latest):
		return fmt.Errorf("%w: not to be used before %s", ErrTime, begins.Format(time.RFC3339))
	case !r.Expires.IsZero() && !now.Before(r.Expires):
		return fmt.Errorf("%w: expired at %s", ErrTime, r.Expires.Format(time.RFC3339))
	}
	return nil
}
