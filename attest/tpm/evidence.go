package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

// Most of what evidence may have.
const (
	MaxEvidence = 32 << 10 // bytes
	maxPCRs     = maxBanks * 8 * maxSelect
	minRSABits  = 2048
	maxRSABits  = 8 * maxRSA
)

// Evidence is a quote with what is needed to verify it. Nobody has verified it.
type Evidence struct {
	AK        crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	AKPublic  []byte           // the same as SubjectPublicKeyInfo, DER
	Message   []byte           // the quote as it was signed
	Quote     *Quote
	Signature *Signature
	PCRs      [][]byte // the values of the PCRs selected, in the quote's order
}

// ParseEvidence reads the JSON that the attester of Confidential Containers
// makes, which has exactly these members:
//
//	{
//	  "ak_public": "base64 of the AK's SubjectPublicKeyInfo in DER",
//	  "tpm_quote": {
//	    "message": "base64 of the quote, a TPMS_ATTEST",
//	    "signature": "base64 of its signature, a TPMT_SIGNATURE",
//	    "pcrs": ["hex, in lower case, of the value of a PCR", ...]
//	  }
//	}
//
// pcrs has exactly the PCRs that the quote selects: banks in the quote's order,
// PCRs ascending. So no PCR can be there that is outside the quote. Base64 is the
// standard one with padding. No member may be missing, unknown or there twice.
func ParseEvidence(b []byte) (*Evidence, error) {
	if len(b) > MaxEvidence {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrEvidence, len(b), MaxEvidence)
	}
	e, err := parseEvidence(b)
	if err != nil && !errors.Is(err, ErrQuote) {
		err = fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func parseEvidence(b []byte) (*Evidence, error) {
	if err := strictjson.Check(b); err != nil {
		return nil, err
	}
	outer, err := members(b, "ak_public", "tpm_quote")
	if err != nil {
		return nil, err
	}
	inner, err := members(outer["tpm_quote"], "message", "signature", "pcrs")
	if err != nil {
		return nil, fmt.Errorf("tpm_quote: %w", err)
	}
	e := new(Evidence)
	if e.AKPublic, err = parseBase64(outer["ak_public"]); err != nil {
		return nil, fmt.Errorf("ak_public: %w", err)
	}
	if e.AK, err = parseKey(e.AKPublic); err != nil {
		return nil, fmt.Errorf("ak_public: %w", err)
	}
	if e.Message, err = parseBase64(inner["message"]); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if e.Quote, err = ParseQuote(e.Message); err != nil {
		return nil, err
	}
	signature, err := parseBase64(inner["signature"])
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if e.Signature, err = ParseSignature(signature); err != nil {
		return nil, err
	}
	var pcrs []*string // a pointer, as null is no text
	if err := json.Unmarshal(inner["pcrs"], &pcrs); err != nil {
		return nil, fmt.Errorf("pcrs: %w", err)
	}
	if len(pcrs) > maxPCRs {
		return nil, fmt.Errorf("pcrs: %d, at most %d allowed", len(pcrs), maxPCRs)
	}
	for i, text := range pcrs {
		if text == nil {
			return nil, fmt.Errorf("pcrs: entry %d is null", i)
		}
		value, err := hex.DecodeString(*text)
		if err != nil || hex.EncodeToString(value) != *text {
			return nil, fmt.Errorf("pcrs: entry %d must be hex in lower case", i)
		}
		e.PCRs = append(e.PCRs, value)
	}
	return e, nil
}

// members reads a JSON object with exactly the members of these names, of a text
// that strictjson accepts.
func members(b []byte, names ...string) (map[string]json.RawMessage, error) {
	var found map[string]json.RawMessage
	if err := json.Unmarshal(b, &found); err != nil || found == nil {
		return nil, errors.New("must be a JSON object")
	}
	for _, name := range names {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("member %q is missing", name)
		}
	}
	for name := range found {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("unknown member %.32q", name)
		}
	}
	return found, nil
}

func parseBase64(raw json.RawMessage) ([]byte, error) {
	text, err := strictjson.String(raw)
	if err != nil {
		return nil, errors.New("must be a text")
	}
	if strings.ContainsAny(text, "\r\n") { // the decoder would pass over them
		return nil, errors.New("must be base64 without line ends")
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// parseKey reads a SubjectPublicKeyInfo of a kind of key that is taken for an AK.
func parseKey(der []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	again, err := marshalKey(key)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, der) {
		return nil, errors.New("the key's encoding is not the shortest one")
	}
	return key, nil
}

// marshalKey returns the SubjectPublicKeyInfo of a key: RSA of 2048 to 4096 bits
// with exponent 65537, or ECDSA on P-256 or P-384.
func marshalKey(key crypto.PublicKey) ([]byte, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.BitLen() < minRSABits || k.N.BitLen() > maxRSABits || k.E != 65537 {
			return nil, fmt.Errorf("an RSA key must have %d to %d bits and the exponent 65537", minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, errors.New("an ECDSA key must be on P-256 or P-384")
		}
	default:
		return nil, fmt.Errorf("a key of type %T, must be RSA or ECDSA", key)
	}
	return x509.MarshalPKIXPublicKey(key)
}

// Encode returns the evidence as ParseEvidence reads it.
func (e *Evidence) Encode() ([]byte, error) {
	type quote struct {
		Message   []byte   `json:"message"`
		PCRs      []string `json:"pcrs"`
		Signature []byte   `json:"signature"`
	}
	pcrs := make([]string, len(e.PCRs))
	for i, value := range e.PCRs {
		pcrs[i] = hex.EncodeToString(value)
	}
	return json.Marshal(struct {
		AKPublic []byte `json:"ak_public"`
		Quote    quote  `json:"tpm_quote"`
	}{e.AKPublic, quote{e.Message, pcrs, e.Signature.Encode()}})
}
