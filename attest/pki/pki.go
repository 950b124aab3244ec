// Package pki holds what the verifiers of all technologies do alike with X.509:
// remember verified signatures, and look certificates up in revocation lists.
//
// Whoever verifies says which certificate must have signed which; nothing here
// searches for a chain or trusts a root.
package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"sync"
)

// MaxSeen is how many signatures a Seen remembers.
const MaxSeen = 4096

// Seen remembers which signatures verified, so that the same chain is not
// verified twice. It remembers no dates, revocations or trust: those are checked
// each time. The zero value and nil are usable; nil remembers nothing. It may be
// used by several goroutines.
type Seen struct {
	mu   sync.Mutex
	good map[[sha256.Size]byte]struct{}
}

// Check returns nil if verify returned nil before for the same parts, or does
// now. The parts must determine what verify does: the key, the algorithm, what
// was signed, the signature.
func (s *Seen) Check(verify func() error, parts ...[]byte) error {
	if s == nil {
		return verify()
	}
	h := sha256.New()
	h.Write([]byte("redoubt verified signature 1"))
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	key := [sha256.Size]byte(h.Sum(nil))
	s.mu.Lock()
	_, known := s.good[key]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := verify(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good == nil || len(s.good) >= MaxSeen {
		s.good = make(map[[sha256.Size]byte]struct{}) // start anew
	}
	s.good[key] = struct{}{}
	return nil
}

// CheckSignature checks that issuer's key signed cert, by any algorithm that
// crypto/x509 takes and that is not broken (MD5, SHA-1). It checks nothing else.
func (s *Seen) CheckSignature(cert, issuer *x509.Certificate) error {
	if err := checkAlgorithm(cert.SignatureAlgorithm); err != nil {
		return err
	}
	return s.Check(func() error {
		return issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	}, []byte("certificate"), issuer.RawSubjectPublicKeyInfo, cert.Raw)
}

// checkAlgorithm refuses what x509's CheckSignature takes for old times' sake.
func checkAlgorithm(algorithm x509.SignatureAlgorithm) error {
	switch algorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return nil
	}
	return fmt.Errorf("signed with %v, must be RSA, ECDSA or Ed25519 with SHA-256 or longer", algorithm)
}
