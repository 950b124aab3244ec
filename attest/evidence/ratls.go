package evidence

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
)

// A RATLS is the claims beside a quote in an interoperable RA-TLS certificate
// (Confidential Computing Consortium), as Gramine and rats-tls make them. They
// hold if the quote's report data is the SHA-256 hash of Claims, and zeros.
type RATLS struct {
	Claims    []byte // as they stand in the certificate
	Algorithm uint64 // of KeyHash, by its number in IANA's Named Information registry
	KeyHash   []byte // of the certificate's SubjectPublicKeyInfo
	Nonce     []byte // nil if there is none
}

// CheckKey returns an error, which wraps ErrKey, unless the claims are for a
// public key: a SubjectPublicKeyInfo in DER.
func (r *RATLS) CheckKey(spki []byte) error {
	var sum []byte
	switch r.Algorithm {
	case 1:
		h := sha256.Sum256(spki)
		sum = h[:]
	case 7:
		h := sha512.Sum384(spki)
		sum = h[:]
	case 8:
		h := sha512.Sum512(spki)
		sum = h[:]
	default:
		return fmt.Errorf("%w: hash algorithm %d, must be 1, 7 or 8 (SHA-256, SHA-384, SHA-512)", ErrKey, r.Algorithm)
	}
	if subtle.ConstantTimeCompare(sum, r.KeyHash) != 1 {
		return fmt.Errorf("%w: the pubkey-hash is %x, and the key's %x", ErrKey, r.KeyHash, sum)
	}
	return nil
}

// checkKey is CheckKey for the certificate or the request of item.
func checkKey(item *Item) error {
	if item.RATLS == nil {
		return nil
	}
	return item.RATLS.CheckKey(item.PublicKey())
}

// raTLS reads what CBOR tag 60000 tags: an array of an SGX or TDX quote and the
// claims, a CBOR map in a string.
func raTLS(data []byte) (Item, error) {
	var parts [][]byte
	if err := strict.Unmarshal(data, &parts); err != nil || len(parts) != 2 {
		return Item{}, malformed("RA-TLS, must be an array of a quote and claims: %w", orLength(err, len(parts)))
	}
	ev, err := native(parts[0])
	switch {
	case err != nil:
		return Item{}, fmt.Errorf("%w: CBOR tag %d: %w", ErrMismatch, tagIntelQuote, err)
	case ev.Type != attest.SGX && ev.Type != attest.TDX:
		return Item{}, fmt.Errorf("%w: CBOR tag %d is a quote of SGX or TDX, and the content %s", ErrMismatch, tagIntelQuote, kinds[ev.Type])
	}
	claims, err := parseClaims(parts[1])
	if err != nil {
		return Item{}, malformed("RA-TLS: claims: %w", err)
	}
	reportData := make([]byte, 64)
	sum := sha256.Sum256(claims.Claims)
	copy(reportData, sum[:])
	return Item{Evidence: ev, ReportData: reportData, RATLS: claims}, nil
}

// parseClaims reads pubkey-hash and nonce. Claims of other names are left: the
// hash in the report data is over them too.
func parseClaims(data []byte) (*RATLS, error) {
	var members map[string]cbor.RawMessage
	if err := strict.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	r := &RATLS{Claims: data}
	if nonce, ok := members["nonce"]; ok {
		if err := strict.Unmarshal(nonce, &r.Nonce); err != nil || len(r.Nonce) == 0 {
			return nil, errors.New("a nonce that is not a byte string, or empty")
		}
	}
	var entry []byte
	if err := strict.Unmarshal(members["pubkey-hash"], &entry); err != nil {
		return nil, fmt.Errorf("pubkey-hash: %w", err)
	}
	var hash []cbor.RawMessage
	if err := strict.Unmarshal(entry, &hash); err != nil || len(hash) != 2 {
		return nil, fmt.Errorf("pubkey-hash, must be an array of an algorithm and a hash: %w", orLength(err, len(hash)))
	}
	if err := strict.Unmarshal(hash[0], &r.Algorithm); err != nil {
		return nil, fmt.Errorf("pubkey-hash: algorithm: %w", err)
	}
	if err := strict.Unmarshal(hash[1], &r.KeyHash); err != nil {
		return nil, fmt.Errorf("pubkey-hash: hash: %w", err)
	}
	return r, nil
}
