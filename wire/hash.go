package wire

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// ReportData is what a Keep has the TEE sign: 64 bytes that bind the evidence
// to one exchange.
type ReportData [64]byte

// Labels keep the hashes of this protocol apart from each other and from
// everybody else's.
const (
	labelProvision  = "redoubt/1 report data: provision"
	labelWorkload   = "redoubt/1 report data: workload"
	labelSeal       = "redoubt/1 sealed provision"
	labelConfig     = "redoubt/1 configuration"
	labelInvocation = "redoubt/1 invocation"
)

// absorb writes label and fields to h, each behind its length as a big-endian
// uint64, so that no two different inputs give the same bytes.
func absorb(h hash.Hash, label string, fields ...[]byte) []byte {
	var n [8]byte
	for _, f := range append([][]byte{[]byte(label)}, fields...) {
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		h.Write(n[:])
		h.Write(f)
	}
	return h.Sum(nil)
}

// ProvisionReportData is the report data of evidence given before a Keep is
// provisioned: over the client's nonce, the Keep's HPKE public key and the
// digest of the configuration that the client wants.
func ProvisionReportData(nonce, hpkePublicKey []byte, config Digest) ReportData {
	return ReportData(absorb(sha512.New(), labelProvision, nonce, hpkePublicKey, config[:]))
}

// WorkloadReportData is the report data of evidence given once the workload is
// in the Keep: it also covers the workload's digest.
func WorkloadReportData(nonce, hpkePublicKey []byte, config, workload Digest) ReportData {
	return ReportData(absorb(sha512.New(), labelWorkload, nonce, hpkePublicKey, config[:], workload[:]))
}

// SealInfo is the HPKE info string of the sealed provision: it ties the
// ciphertext to the evidence that it answers.
func SealInfo(rd ReportData) []byte {
	return absorb(sha256.New(), labelSeal, rd[:])
}

// Digest is a SHA-256 digest.
type Digest [32]byte

// Digest returns the digest of c that report data covers. It fails if c is not
// valid.
func (c *Configuration) Digest() (Digest, error) {
	data, err := Marshal(c)
	if err != nil {
		return Digest{}, err
	}
	return Digest(absorb(sha256.New(), labelConfig, data)), nil
}

// Digest returns the digest of i that a Configuration holds. The salt keeps
// the arguments from being guessed from it.
func (i *Invocation) Digest() (Digest, error) {
	data, err := Marshal(i)
	if err != nil {
		return Digest{}, err
	}
	return Digest(absorb(sha256.New(), labelInvocation, data)), nil
}

// WorkloadDigest returns the digest of a workload: the plain SHA-256 of the
// module's bytes, the same that sha256sum prints.
func WorkloadDigest(module []byte) Digest { return sha256.Sum256(module) }
