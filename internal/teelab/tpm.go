package teelab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/redoubt-tee/redoubt/attest/tpm"
)

// TPM simulates a TPM 2.0 and the authority that certified its attestation key.
type TPM struct {
	AK    crypto.Signer     // RSA with 2048 bits, or ECDSA on P-256
	CA    *x509.Certificate // of the authority, self-signed
	Cert  *x509.Certificate // of the AK, by the authority
	CAKey *ecdsa.PrivateKey
	PCRs  [24][]byte // of the bank of SHA-256

	now time.Time
}

// NewTPM makes a TPM with an ECDSA key and its authority. The template of the
// authority's certificate (0) and of the AK's (1) are given to changes before
// they are signed.
func NewTPM(now time.Time, changes ...func(i int, template *x509.Certificate)) (*TPM, error) {
	ak, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make simulated TPM: %w", err)
	}
	return NewTPMWithKey(now, ak, changes...)
}

// NewTPMWithKey is NewTPM with a key of the caller's.
func NewTPMWithKey(now time.Time, ak crypto.Signer, changes ...func(i int, template *x509.Certificate)) (*TPM, error) {
	t := &TPM{AK: ak, now: now}
	for i := range t.PCRs {
		t.PCRs[i] = make([]byte, 32)
		t.PCRs[i][0] = byte(i)
	}
	var err error
	if t.CAKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make simulated TPM: %w", err)
	}
	template := func(i int, name string) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 1), Subject: subject(name),
			NotBefore: now.Add(-clockSkew), NotAfter: now.Add(lifetime), BasicConstraintsValid: true,
		}
		if i == 0 {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		} else {
			c.KeyUsage, c.UnknownExtKeyUsage = x509.KeyUsageDigitalSignature, []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}
		}
		for _, change := range changes {
			change(i, c)
		}
		return c
	}
	ca := template(0, "TPM authority")
	if t.CA, err = sign(ca, ca, &t.CAKey.PublicKey, t.CAKey); err != nil {
		return nil, fmt.Errorf("make simulated TPM: %w", err)
	}
	if t.Cert, err = sign(template(1, "AK"), t.CA, ak.Public(), t.CAKey); err != nil {
		return nil, fmt.Errorf("make simulated TPM: %w", err)
	}
	return t, nil
}

// Root returns the authority as a root.
func (t *TPM) Root() tpm.Root {
	return tpm.Root{Name: fmt.Sprintf("development %s %.8x", t.CA.Subject.CommonName, sha256.Sum256(t.CA.Raw)), CA: t.CA, Dev: true}
}

// PinnedRoot returns the AK as a root.
func (t *TPM) PinnedRoot() tpm.Root {
	return tpm.Root{Name: "development AK", AK: t.AK.Public(), Dev: true}
}

// Collateral returns the AK's certificate, and a revocation list of its authority
// with the certificates given.
func (t *TPM) Collateral(revoked ...*x509.Certificate) (tpm.Collateral, error) {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: t.now.Add(-clockSkew), NextUpdate: t.now.Add(30 * 24 * time.Hour)}
	for _, cert := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: t.now.Add(-clockSkew)})
	}
	crl, err := x509.CreateRevocationList(rand.Reader, list, t.CA, t.CAKey)
	if err != nil {
		return tpm.Collateral{}, err
	}
	return tpm.Collateral{Certificates: [][]byte{t.Cert.Raw}, CRLs: [][]byte{crl}}, nil
}

// A TPMQuote is evidence before it is signed. Tests change it to get wrong ones.
type TPMQuote struct {
	Quote  tpm.Quote
	Scheme tpm.Scheme
	Hash   tpm.Bank
	Key    crypto.Signer // signs
	AK     crypto.PublicKey
	PCRs   [][]byte // those that come with the quote
	// Message changes the quote's bytes before they are signed; may be nil.
	Message func([]byte) []byte
	// Digest leaves the quote's PCR digest as it is, rather than making it of PCRs.
	Digest bool
}

// Quote returns a quote over PCRs 0 to 23 of SHA-256, with this qualifying data.
func (t *TPM) Quote(extraData []byte) *TPMQuote {
	name := sha256.Sum256([]byte("name"))
	q := &TPMQuote{
		Quote: tpm.Quote{
			QualifiedSigner: append([]byte{0, byte(tpm.SHA256)}, name[:]...), ExtraData: extraData,
			Clock: 1000, ResetCount: 2, RestartCount: 3, Safe: true, FirmwareVersion: 0x2019_1023_0016_3636,
			Selections: []tpm.Selection{{Bank: tpm.SHA256, Bits: []byte{0xFF, 0xFF, 0xFF}}},
		},
		Scheme: tpm.ECDSA, Hash: tpm.SHA256, Key: t.AK, AK: t.AK.Public(), PCRs: append([][]byte{}, t.PCRs[:]...),
	}
	if _, ok := t.AK.(*rsa.PrivateKey); ok {
		q.Scheme = tpm.RSASSA
	}
	return q
}

// Sign returns the evidence, signed.
func (q *TPMQuote) Sign() (*tpm.Evidence, error) {
	quote := q.Quote
	hash, sum := crypto.SHA256, func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }
	if q.Hash == tpm.SHA384 {
		hash, sum = crypto.SHA384, func(b []byte) []byte { d := sha512.Sum384(b); return d[:] }
	}
	if !q.Digest {
		var all []byte
		for _, pcr := range q.PCRs {
			all = append(all, pcr...)
		}
		quote.PCRDigest = sum(all)
	}
	message := quote.Encode()
	if q.Message != nil {
		message = q.Message(message)
	}
	digest := sum(message)
	s := &tpm.Signature{Scheme: q.Scheme, Hash: q.Hash}
	var err error
	switch key := q.Key.(type) {
	case *rsa.PrivateKey:
		if q.Scheme == tpm.RSAPSS {
			s.RSA, err = rsa.SignPSS(rand.Reader, key, hash, digest, nil)
		} else {
			s.RSA, err = rsa.SignPKCS1v15(rand.Reader, key, hash, digest)
		}
	case *ecdsa.PrivateKey:
		var r, ss *big.Int
		if r, ss, err = ecdsa.Sign(rand.Reader, key, digest); err == nil {
			s.R, s.S = r.Bytes(), ss.Bytes()
		}
	default:
		err = errors.New("kind of key not known")
	}
	if err != nil {
		return nil, fmt.Errorf("sign simulated quote: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(q.AK)
	if err != nil {
		return nil, err
	}
	return &tpm.Evidence{AK: q.AK, AKPublic: public, Message: message, Signature: s, PCRs: q.PCRs}, nil
}

// Evidence returns evidence with faults: changes before it is signed.
func (t *TPM) Evidence(extraData []byte, faults ...func(*TPMQuote)) ([]byte, error) {
	q := t.Quote(extraData)
	for _, fault := range faults {
		fault(q)
	}
	e, err := q.Sign()
	if err != nil {
		return nil, err
	}
	return e.Encode()
}
