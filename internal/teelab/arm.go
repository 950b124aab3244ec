package teelab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest/cca"
)

// Arm simulates a platform of the Arm Confidential Compute Architecture.
type Arm struct {
	CPAK, RAK        *ecdsa.PrivateKey // on P-384
	InstanceID       []byte            // 33 bytes
	ImplementationID []byte            // 32 bytes
}

// NewArm makes a platform with a random instance ID.
func NewArm() (*Arm, error) {
	cpak, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make simulated CCA platform: %w", err)
	}
	rak, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make simulated CCA platform: %w", err)
	}
	implementation := sha256.Sum256([]byte(organization))
	a := &Arm{CPAK: cpak, RAK: rak, InstanceID: make([]byte, 33), ImplementationID: implementation[:]}
	rand.Read(a.InstanceID)
	a.InstanceID[0] = 1
	return a, nil
}

// Root returns the root that a's tokens go back to.
func (a *Arm) Root() cca.Root {
	return cca.Root{Name: fmt.Sprintf("development CPAK of instance %x", a.InstanceID[1:9]), Key: &a.CPAK.PublicKey, Dev: true}
}

// A CCAToken is a token before it is signed. Tests change it to get wrong ones.
type CCAToken struct {
	// The claims, by their keys. A cbor.RawMessage is encoded as it is.
	Platform, Realm map[int64]any
	// The keys that sign the platform and the realm token.
	CPAK, RAK *ecdsa.PrivateKey
	// The headers of both messages.
	PlatformHeader, RealmHeader COSEHeader
	// Tag is 399 for byte strings or 907 for CMW records.
	Tag uint64
}

// Token returns a token in the current profile, of a realm with this SHA-256
// measurement that asked for this challenge.
func (a *Arm) Token(challenge [64]byte, rim [32]byte) (*CCAToken, error) {
	digest := func(s string) []byte { d := sha256.Sum256([]byte(s)); return d[:] }
	component := func(name string) map[int64]any {
		return map[int64]any{1: name, 2: digest(name), 4: "1.0", 5: digest("signer"), 6: "sha-256"}
	}
	zero := make([]byte, 32)
	t := &CCAToken{
		Platform: map[int64]any{
			265: cca.PlatformProfile, 2396: a.ImplementationID, 256: a.InstanceID, 2401: []byte{0xCF},
			2395: 0x3000, 2402: "sha-256", 2400: "https://verifier.example",
			2399: []any{component("BL2"), component("RMM")},
		},
		Realm: map[int64]any{
			265: cca.RealmProfile, 10: challenge[:], 44235: make([]byte, 64), 44236: "sha-256", 44238: rim[:],
			44239: []any{zero, zero, zero, zero}, 44240: "sha-256",
		},
		CPAK: a.CPAK, RAK: a.RAK,
		PlatformHeader: NewCOSEHeader(-35), RealmHeader: NewCOSEHeader(-35),
		Tag: 399,
	}
	point, err := a.RAK.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	if t.Realm[44237], err = encodeCBOR(map[int64]any{1: 2, -1: 2, -2: point[1:49], -3: point[49:]}); err != nil {
		return nil, err
	}
	return t, t.Bind()
}

// Legacy turns t into a token of the legacy profile.
func (t *CCAToken) Legacy() error {
	point, err := t.RAK.PublicKey.Bytes()
	if err != nil {
		return err
	}
	t.Platform[265] = cca.LegacyProfile
	delete(t.Realm, 265)
	t.Realm[44237] = point
	return t.Bind()
}

// Bind sets the platform's challenge to the hash of the RAK in the realm's claims.
func (t *CCAToken) Bind() error {
	key, _ := t.Realm[44237].([]byte)
	switch t.Realm[44240] {
	case "sha-256":
		d := sha256.Sum256(key)
		t.Platform[10] = d[:]
	case "sha-384":
		d := sha512.Sum384(key)
		t.Platform[10] = d[:]
	case "sha-512":
		d := sha512.Sum512(key)
		t.Platform[10] = d[:]
	default:
		return fmt.Errorf("hash %v not known", t.Realm[44240])
	}
	return nil
}

// Sign returns the platform and the realm token, signed.
func (t *CCAToken) Sign() (platform, realm []byte, err error) {
	claims, err := encodeCBOR(t.Platform)
	if err != nil {
		return nil, nil, err
	}
	if platform, err = SignCOSE(t.CPAK, t.PlatformHeader, claims, true); err != nil {
		return nil, nil, err
	}
	if claims, err = encodeCBOR(t.Realm); err != nil {
		return nil, nil, err
	}
	realm, err = SignCOSE(t.RAK, t.RealmHeader, claims, true)
	return platform, realm, err
}

// Encode returns the token, signed.
func (t *CCAToken) Encode() ([]byte, error) {
	platform, realm, err := t.Sign()
	if err != nil {
		return nil, err
	}
	return Collect(t.Tag, platform, realm)
}

// Collect puts two tokens into a collection of one of the two forms.
func Collect(tag uint64, platform, realm []byte) ([]byte, error) {
	parts := map[int64]any{44234: platform, 44241: realm}
	if tag == 907 {
		parts = map[int64]any{44234: []any{263, platform}, 44241: []any{263, realm}}
	}
	return encodeCBOR(cbor.Tag{Number: tag, Content: parts})
}

// Evidence returns a token with faults: changes before it is signed.
func (a *Arm) Evidence(challenge [64]byte, rim [32]byte, faults ...func(*CCAToken)) ([]byte, error) {
	t, err := a.Token(challenge, rim)
	if err != nil {
		return nil, fmt.Errorf("make simulated CCA token: %w", err)
	}
	for _, fault := range faults {
		fault(t)
	}
	return t.Encode()
}

// A COSEHeader is the headers of a COSE_Sign1.
type COSEHeader struct {
	Protected   []byte // CBOR
	Unprotected any
}

// NewCOSEHeader returns headers that name an algorithm and nothing else.
func NewCOSEHeader(algorithm int64) COSEHeader {
	protected, err := encodeCBOR(map[int64]any{1: algorithm})
	if err != nil {
		return COSEHeader{} // cannot be: it is a number
	}
	return COSEHeader{protected, map[int64]any{}}
}

// SignCOSE signs payload with the hash that goes with key's curve, whatever the
// headers say.
func SignCOSE(key *ecdsa.PrivateKey, header COSEHeader, payload []byte, tagged bool) ([]byte, error) {
	structure, err := encodeCBOR([]any{"Signature1", header.Protected, []byte{}, payload})
	if err != nil {
		return nil, err
	}
	var hash crypto.Hash
	switch key.Curve {
	case elliptic.P256():
		hash = crypto.SHA256
	case elliptic.P384():
		hash = crypto.SHA384
	case elliptic.P521():
		hash = crypto.SHA512
	default:
		return nil, errors.New("sign: curve not known")
	}
	h := hash.New()
	h.Write(structure)
	r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		return nil, err
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	var message any = []any{header.Protected, header.Unprotected, payload, signature}
	if tagged {
		message = cbor.Tag{Number: 18, Content: message}
	}
	return encodeCBOR(message)
}

// encodeCBOR encodes with sorted keys, so that the same claims are the same bytes.
func encodeCBOR(v any) ([]byte, error) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	return mode.Marshal(v)
}
