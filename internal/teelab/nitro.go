package teelab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/redoubt-tee/redoubt/attest/nitro"
)

// AWS simulates the authorities of AWS Nitro Enclaves, and one enclave: a root,
// three intermediates and the certificate of the enclave's key, as AWS has them.
type AWS struct {
	// Certificates and Keys have the root first and the enclave last.
	Certificates []*x509.Certificate
	Keys         []*ecdsa.PrivateKey

	now time.Time
}

// The places in AWS.Certificates.
const (
	NitroRoot     = 0
	NitroRegion   = 1
	NitroZone     = 2
	NitroInstance = 3
	NitroEnclave  = 4
)

// NewAWS makes the chain. Each template is given to changes before it is signed.
func NewAWS(now time.Time, changes ...func(i int, template *x509.Certificate)) (*AWS, error) {
	a := &AWS{now: now}
	const day = 24 * time.Hour
	for i, c := range []struct {
		name     string
		lifetime time.Duration
		pathLen  int
		usage    x509.KeyUsage
	}{
		{"development.nitro-enclaves", lifetime, -1, x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign},
		{"region.development.nitro-enclaves", 20 * day, 2, x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign},
		{"zonal.region.development.nitro-enclaves", 5 * day, 1, x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign},
		{"i-0123456789abcdef0.region.development.nitro-enclaves", day, 0, x509.KeyUsageCertSign},
		{"i-0123456789abcdef0-enc0123456789abcdef.region.development", 3 * time.Hour, -1, x509.KeyUsageDigitalSignature},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{
			SerialNumber:          big.NewInt(int64(i) + 1),
			Subject:               subject(c.name),
			NotBefore:             now.Add(-time.Minute).Truncate(time.Second),
			NotAfter:              now.Add(c.lifetime),
			SignatureAlgorithm:    x509.ECDSAWithSHA384,
			BasicConstraintsValid: true,
			IsCA:                  i < NitroEnclave,
			KeyUsage:              c.usage,
			MaxPathLen:            c.pathLen,
			MaxPathLenZero:        c.pathLen == 0,
		}
		for _, change := range changes {
			change(i, template)
		}
		parent, signer := template, key
		if i > 0 {
			parent, signer = a.Certificates[i-1], a.Keys[i-1]
		}
		cert, err := sign(template, parent, &key.PublicKey, signer)
		if err != nil {
			return nil, fmt.Errorf("make simulated Nitro authorities: %w", err)
		}
		a.Certificates, a.Keys = append(a.Certificates, cert), append(a.Keys, key)
	}
	return a, nil
}

// Root returns the root that a's documents go back to.
func (a *AWS) Root() nitro.Root {
	cert := a.Certificates[NitroRoot]
	return nitro.Root{Name: fmt.Sprintf("%s %.8x", cert.Subject.CommonName, sha256.Sum256(cert.Raw)), Certificate: cert, Dev: true}
}

// A NitroDocument is a document before it is signed. Tests change it to get wrong
// ones.
type NitroDocument struct {
	// Fields are those of the payload. A cbor.RawMessage is encoded as it is.
	Fields map[string]any
	// PCRs become the field pcrs, unless that is there already.
	PCRs   map[int][]byte
	Key    *ecdsa.PrivateKey // signs
	Header COSEHeader
	Tagged bool
}

// Document returns a document of an enclave with this PCR 0 and nonce.
func (a *AWS) Document(nonce []byte, pcr0 [48]byte) *NitroDocument {
	d := &NitroDocument{
		Fields: map[string]any{
			"module_id": "i-0123456789abcdef0-enc0123456789abcdef", "digest": "SHA384", "timestamp": uint64(a.now.UnixMilli()),
			"public_key": nil, "user_data": nil, "nonce": nonce,
		},
		PCRs:   map[int][]byte{0: pcr0[:]},
		Header: NewCOSEHeader(-35),
		Key:    a.Keys[NitroEnclave],
	}
	for i := 1; i < 16; i++ {
		d.PCRs[i] = make([]byte, 48)
		if i < 5 {
			d.PCRs[i] = bytes.Repeat([]byte{byte(i)}, 48)
		}
	}
	var bundle [][]byte
	for _, cert := range a.Certificates[:NitroEnclave] {
		bundle = append(bundle, cert.Raw)
	}
	d.Fields["certificate"], d.Fields["cabundle"] = a.Certificates[NitroEnclave].Raw, bundle
	return d
}

// Encode returns the document, signed.
func (d *NitroDocument) Encode() ([]byte, error) {
	if _, ok := d.Fields["pcrs"]; !ok && d.PCRs != nil {
		d.Fields["pcrs"] = d.PCRs
	}
	payload, err := encodeCBOR(d.Fields)
	if err != nil {
		return nil, err
	}
	return SignCOSE(d.Key, d.Header, payload, d.Tagged)
}

// Evidence returns a document with faults: changes before it is signed.
func (a *AWS) Evidence(nonce []byte, pcr0 [48]byte, faults ...func(*NitroDocument)) ([]byte, error) {
	d := a.Document(nonce, pcr0)
	for _, fault := range faults {
		fault(d)
	}
	return d.Encode()
}
