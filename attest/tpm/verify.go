// Package tpm verifies quotes of a TPM 2.0 (Trusted Platform Module library
// specification, parts 1 to 3).
//
// The chain of trust, each step verified by the one before it:
//
//  1. The caller pins an attestation key (AK), or an authority whose certificates
//     say that a key is an AK, by argument.
//  2. The AK signed the quote, which has the caller's data and the digest of the
//     PCRs that it names.
//  3. The digest is that of the PCR values which come with the quote.
//
// A key that comes with evidence proves nothing: an AK that is neither pinned nor
// certified is refused. Only the PCRs that the quote selects are in the claims;
// which ones must be there is for a policy to say.
//
// Event logs are not replayed: they are no part of a quote, and what they mean is
// for another package. Banks of SM3 and SHA-3 are refused.
//
// All functions are pure: roots and time are arguments, and there is no network,
// file, clock or default root. Whether a quote that is genuine is also good
// enough is a policy's to say, not this package's.
package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // of SHA384
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// Errors of evidence.
var (
	// ErrEvidence is wrapped if evidence is not the JSON specified.
	ErrEvidence = errors.New("malformed TPM evidence")
	// ErrQuote is wrapped if a quote or signature is not as specified.
	ErrQuote = errors.New("malformed TPM quote")
	// ErrRoot is wrapped if no pinned root fits the evidence: the AK is neither
	// pinned nor certified. And if a root is not one.
	ErrRoot = errors.New("no pinned root for this evidence")
	// ErrChain is wrapped if a certificate is not one that its issuer gave out,
	// or not an AK's.
	ErrChain = errors.New("certificate chain broken")
	// ErrTime is wrapped if no time was given, or a certificate is not valid then.
	ErrTime = errors.New("certificate not valid at this time")
	// ErrSignature is wrapped if the quote's signature is wrong.
	ErrSignature = errors.New("quote signature wrong")
	// ErrPCRs is wrapped if the PCR values are not those that were quoted.
	ErrPCRs = errors.New("PCR values not those quoted")
)

// Collateral is what may be needed beside evidence. All of it is verified.
type Collateral struct {
	Certificates [][]byte // X.509, DER: the AK's and its authorities', in any order
	CRLs         [][]byte // X.509, DER
}

// A PCR is the value of one platform configuration register.
type PCR struct {
	Bank  Bank
	Index int
	Value []byte
}

// Claims is what a verified quote proves.
type Claims struct {
	Root string // the pinned root's name
	Dev  bool   // the root is of simulated hardware: nothing is proven

	AK            []byte            // SHA-256 of the AK's SubjectPublicKeyInfo: 32 bytes
	AKCertificate *x509.Certificate // nil if the AK is pinned
	Quote         Quote
	PCRs          []PCR // exactly those that were quoted, in the quote's order

	Collateral []pki.Used // the revocation lists that were relied on
	Unchecked  []string   // certificates that no revocation list was there for
}

// PCR returns the value of a PCR, or nil if it was not quoted.
func (c *Claims) PCR(bank Bank, index int) []byte {
	for _, pcr := range c.PCRs {
		if pcr.Bank == bank && pcr.Index == index {
			return pcr.Value
		}
	}
	return nil
}

// Verify verifies evidence, in the form that ParseEvidence reads, back to one of
// roots, at time now. It returns claims only if all of it holds.
func Verify(evidence []byte, c Collateral, roots []Root, seen *pki.Seen, now time.Time) (*Claims, error) {
	if now.IsZero() {
		return nil, fmt.Errorf("%w: no time was given", ErrTime)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: no roots were given", ErrRoot)
	}
	e, err := ParseEvidence(evidence)
	if err != nil {
		return nil, err
	}
	end, err := endorse(e.AKPublic, c, roots, now)
	if err != nil {
		return nil, err
	}
	used, unchecked, err := end.checkRevoked(c, seen, now)
	if err != nil {
		return nil, err
	}
	if err := e.Signature.verify(e.AK, e.Message); err != nil {
		return nil, err
	}
	pcrs, err := e.quoted()
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(e.AKPublic)
	claims := &Claims{Root: end.root.Name, Dev: end.root.Dev, AK: id[:], Quote: *e.Quote, PCRs: pcrs, Collateral: used, Unchecked: unchecked}
	if len(end.chain) > 0 {
		claims.AKCertificate = end.chain[0]
	}
	return claims, nil
}

// quoted checks that the PCR values are those of the quote's digest, which is made
// with the signature's hash (part 3, section 18.4), and names them.
func (e *Evidence) quoted() ([]PCR, error) {
	var pcrs []PCR
	for _, s := range e.Quote.Selections {
		for _, index := range s.Indices() {
			if len(pcrs) == len(e.PCRs) {
				return nil, fmt.Errorf("%w: %d values, and the quote is over more", ErrPCRs, len(e.PCRs))
			}
			value := e.PCRs[len(pcrs)]
			if len(value) != s.Bank.Size() {
				return nil, fmt.Errorf("%w: PCR %d of %v has %d bytes, must have %d", ErrPCRs, index, s.Bank, len(value), s.Bank.Size())
			}
			pcrs = append(pcrs, PCR{s.Bank, index, value})
		}
	}
	if len(pcrs) != len(e.PCRs) {
		return nil, fmt.Errorf("%w: %d values, and the quote is over %d: none may be there that is outside it", ErrPCRs, len(e.PCRs), len(pcrs))
	}
	digest, _ := e.Signature.digest(e.PCRs...)
	if subtle.ConstantTimeCompare(digest, e.Quote.PCRDigest) != 1 {
		return nil, fmt.Errorf("%w: their %v is %x, the quote's digest %x", ErrPCRs, e.Signature.Hash, digest, e.Quote.PCRDigest)
	}
	return pcrs, nil
}

// verify checks that key made s over message.
func (s *Signature) verify(key crypto.PublicKey, message []byte) error {
	digest, hash := s.digest(message)
	ok := false
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch s.Scheme {
		case RSASSA:
			ok = rsa.VerifyPKCS1v15(k, hash, digest, s.RSA) == nil
		case RSAPSS: // TPMs differ in the length of the salt (part 1, annex B)
			ok = rsa.VerifyPSS(k, hash, digest, s.RSA, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
		default:
			return fmt.Errorf("%w: scheme %#04x with an RSA key", ErrSignature, uint16(s.Scheme))
		}
	case *ecdsa.PublicKey:
		if s.Scheme != ECDSA {
			return fmt.Errorf("%w: scheme %#04x with an ECDSA key", ErrSignature, uint16(s.Scheme))
		}
		if size := (k.Curve.Params().BitSize + 7) / 8; len(s.R) > size || len(s.S) > size {
			return fmt.Errorf("%w: R and S have %d and %d bytes, at most %d allowed", ErrSignature, len(s.R), len(s.S), size)
		}
		ok = ecdsa.Verify(k, digest, new(big.Int).SetBytes(s.R), new(big.Int).SetBytes(s.S))
	}
	if !ok {
		return fmt.Errorf("%w: not made by this AK over this quote", ErrSignature)
	}
	return nil
}
