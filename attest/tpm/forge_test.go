package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/tpm"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

var (
	// lab returns a TPM with an ECDSA key, and labRSA one with an RSA key, that
	// all tests share.
	lab    = sync.OnceValue(func() *teelab.TPM { return must(teelab.NewTPM(now)) })
	labRSA = sync.OnceValue(func() *teelab.TPM {
		return must(teelab.NewTPMWithKey(now, must(rsa.GenerateKey(rand.Reader, 2048))))
	})

	rsa1024    = spki(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537})
	p224       = spki(&ecKey(elliptic.P224()).PublicKey)
	p521       = spki(&ecKey(elliptic.P521()).PublicKey)
	ed25519Key = spki(ed25519.PublicKey(make([]byte, 32)))

	nonce = []byte("nonce")
)

func spki(key crypto.PublicKey) []byte { return must(x509.MarshalPKIXPublicKey(key)) }

func ecKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func withCA(t *testing.T) (*teelab.TPM, tpm.Collateral) {
	t.Helper()
	c, err := lab().Collateral()
	if err != nil {
		t.Fatal(err)
	}
	return lab(), c
}

// check verifies evidence twice, the second time with what the first remembered.
func check(t *testing.T, evidence []byte, c tpm.Collateral, root tpm.Root, want error, reason string) *tpm.Claims {
	t.Helper()
	seen := new(pki.Seen)
	var claims *tpm.Claims
	for range 2 {
		var err error
		claims, err = tpm.Verify(evidence, c, []tpm.Root{root}, seen, now)
		if !errors.Is(err, want) || (claims == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("got %v, want %v, %q", err, want, reason)
		}
	}
	return claims
}

func TestGenuine(t *testing.T) {
	t.Parallel()
	p384 := must(teelab.NewTPMWithKey(now, ecKey(elliptic.P384())))
	big4096 := must(teelab.NewTPMWithKey(now, must(rsa.GenerateKey(rand.Reader, 4096))))
	for _, tt := range []struct {
		name  string
		tpm   *teelab.TPM
		fault func(*teelab.TPMQuote)
		check func(*tpm.Claims) bool
	}{
		{"ECDSA", lab(), func(*teelab.TPMQuote) {}, func(c *tpm.Claims) bool {
			return bytes.Equal(c.Quote.ExtraData, nonce) && len(c.PCRs) == 24 && c.PCR(tpm.SHA256, 7)[0] == 7 && c.Quote.Safe
		}},
		{"ECDSA with SHA-384", lab(), func(q *teelab.TPMQuote) { q.Hash = tpm.SHA384 }, func(c *tpm.Claims) bool { return len(c.Quote.PCRDigest) == 48 }},
		{"ECDSA on P-384", p384, func(q *teelab.TPMQuote) { q.Hash = tpm.SHA384 }, nil},
		{"RSASSA", labRSA(), func(*teelab.TPMQuote) {}, nil},
		{"RSAPSS", labRSA(), func(q *teelab.TPMQuote) { q.Scheme = tpm.RSAPSS }, nil},
		{"RSAPSS with SHA-384", labRSA(), func(q *teelab.TPMQuote) { q.Scheme, q.Hash = tpm.RSAPSS, tpm.SHA384 }, nil},
		{"RSA with 4096 bits", big4096, func(*teelab.TPMQuote) {}, nil},
		{"some PCRs", lab(), func(q *teelab.TPMQuote) {
			q.Quote.Selections[0].Bits, q.PCRs = []byte{0x81, 0, 0x80}, [][]byte{q.PCRs[0], q.PCRs[7], q.PCRs[23]}
		}, func(c *tpm.Claims) bool {
			return len(c.PCRs) == 3 && c.PCR(tpm.SHA256, 23)[0] == 23 && c.PCR(tpm.SHA256, 1) == nil
		}},
		{"two banks", lab(), func(q *teelab.TPMQuote) {
			q.Quote.Selections = []tpm.Selection{{Bank: tpm.SHA1, Bits: []byte{1}}, {Bank: tpm.SHA512, Bits: []byte{0}}, {Bank: tpm.SHA384, Bits: []byte{0, 1}}}
			q.PCRs = [][]byte{make([]byte, 20), make([]byte, 48)}
		}, func(c *tpm.Claims) bool {
			return len(c.PCRs) == 2 && len(c.PCR(tpm.SHA1, 0)) == 20 && len(c.PCR(tpm.SHA384, 8)) == 48 && c.PCR(tpm.SHA384, 0) == nil
		}},
		{"no extra data", lab(), func(q *teelab.TPMQuote) { q.Quote.ExtraData = nil }, nil},
		{"not safe", lab(), func(q *teelab.TPMQuote) { q.Quote.Safe = false }, func(c *tpm.Claims) bool { return !c.Quote.Safe }},
		{"signer is a handle", lab(), func(q *teelab.TPMQuote) { q.Quote.QualifiedSigner = make([]byte, 4) }, nil},
	} {
		evidence := must(tt.tpm.Evidence(nonce, tt.fault))
		for _, root := range []tpm.Root{tt.tpm.PinnedRoot(), tt.tpm.Root()} {
			c := check(t, evidence, must(tt.tpm.Collateral()), root, nil, "")
			if c == nil || !c.Dev || c.Root != root.Name || tt.check != nil && !tt.check(c) {
				t.Errorf("%s: claims %+v", tt.name, c)
				continue
			}
			if byCA := root.CA != nil; (c.AKCertificate != nil) != byCA || (len(c.Collateral) == 1) != byCA || len(c.Unchecked) != 0 {
				t.Errorf("%s: certificate %v, collateral %v, unchecked %v", tt.name, c.AKCertificate, c.Collateral, c.Unchecked)
			}
		}
	}
}

// TestForged has quotes that are signed, and wrong for one reason each.
func TestForged(t *testing.T) {
	t.Parallel()
	a, r, other := lab(), labRSA(), must(teelab.NewTPM(now))
	quote := func(change func(*tpm.Quote)) func(*teelab.TPMQuote) {
		return func(q *teelab.TPMQuote) { change(&q.Quote) }
	}
	message := func(change func([]byte) []byte) func(*teelab.TPMQuote) {
		return func(q *teelab.TPMQuote) { q.Message = change }
	}
	put := func(at int, b ...byte) func(*teelab.TPMQuote) {
		return message(func(m []byte) []byte { copy(m[at:], b); return m })
	}
	selections := func(list ...tpm.Selection) func(*teelab.TPMQuote) {
		return quote(func(q *tpm.Quote) { q.Selections = list })
	}
	pcrs := func(change func([][]byte) [][]byte) func(*teelab.TPMQuote) {
		return func(q *teelab.TPMQuote) { q.PCRs = change(q.PCRs) }
	}
	// Offsets in the lab's quotes: magic 0, type 4, signer 6, extra data 42, clock
	// 49, safe 65, firmware 66, selections 74, digest 84.
	for _, tt := range []struct {
		name   string
		tpm    *teelab.TPM
		fault  func(*teelab.TPMQuote)
		want   error
		reason string
	}{
		{"signed by another AK", a, func(q *teelab.TPMQuote) { q.Key = other.AK }, tpm.ErrSignature, "not made by this AK"},
		{"RSA signed by another AK", r, func(q *teelab.TPMQuote) { q.Key = must(rsa.GenerateKey(rand.Reader, 2048)) }, tpm.ErrSignature, "not made by this AK"},
		{"AK swapped, and signed by that", a, func(q *teelab.TPMQuote) { q.Key, q.AK = other.AK, other.AK.Public() }, tpm.ErrRoot, "is not pinned, and no certificate endorses it"},
		{"ECDSA scheme with an RSA key", r, func(q *teelab.TPMQuote) { q.Scheme, q.Key = tpm.ECDSA, a.AK }, tpm.ErrSignature, "with an RSA key"},
		{"RSA scheme with an ECDSA key", a, func(q *teelab.TPMQuote) { q.Scheme, q.Key = tpm.RSASSA, r.AK }, tpm.ErrSignature, "with an ECDSA key"},
		{"SHA-1 signature", a, func(q *teelab.TPMQuote) { q.Hash = tpm.SHA1 }, tpm.ErrQuote, "must be sha256 or sha384"},
		{"SHA-512 signature", a, func(q *teelab.TPMQuote) { q.Hash = tpm.SHA512 }, tpm.ErrQuote, "must be sha256 or sha384"},
		{"scheme ECSCHNORR", a, func(q *teelab.TPMQuote) { q.Scheme = 0x001C }, tpm.ErrQuote, "scheme is 0x001c"},
		{"scheme HMAC", a, func(q *teelab.TPMQuote) { q.Scheme = 0x0005 }, tpm.ErrQuote, "scheme is 0x0005"},

		{"wrong magic", a, put(0, 0xFF, 0x54, 0x43, 0x46), tpm.ErrQuote, "magic is 0xff544346"},
		{"magic reversed", a, put(0, 0x47, 0x43, 0x54, 0xFF), tpm.ErrQuote, "not made by a TPM"},
		{"attests a creation", a, put(4, 0x80, 0x1A), tpm.ErrQuote, "type is 0x801a"},
		{"attests a certification", a, put(4, 0x80, 0x17), tpm.ErrQuote, "type is 0x8017"},
		{"no signer", a, quote(func(q *tpm.Quote) { q.QualifiedSigner = nil }), tpm.ErrQuote, "qualified signer has 0 bytes"},
		{"signer of 33 bytes", a, quote(func(q *tpm.Quote) { q.QualifiedSigner = q.QualifiedSigner[:33] }), tpm.ErrQuote, "qualified signer has 33 bytes"},
		{"signer of 67 bytes", a, quote(func(q *tpm.Quote) { q.QualifiedSigner = make([]byte, 67) }), tpm.ErrQuote, "at most 66"},
		{"signer of an unknown hash", a, quote(func(q *tpm.Quote) { q.QualifiedSigner[1] = 0x12 }), tpm.ErrQuote, "must be a name"},
		{"signer of a hash alone", a, quote(func(q *tpm.Quote) { q.QualifiedSigner = []byte{0, 0x12} }), tpm.ErrQuote, "must be a name"},
		{"extra data of 65 bytes", a, quote(func(q *tpm.Quote) { q.ExtraData = make([]byte, 65) }), tpm.ErrQuote, "at most 64"},
		{"safe is 2", a, put(65, 2), tpm.ErrQuote, "safe is 2"},
		{"no bank", a, selections(), tpm.ErrQuote, "0 banks"},
		{"nine banks", a, put(74, 0, 0, 0, 9), tpm.ErrQuote, "9 banks"},
		{"banks without end", a, put(74, 0xFF, 0xFF, 0xFF, 0xFF), tpm.ErrQuote, "banks"},
		{"unknown bank", a, selections(tpm.Selection{Bank: 0x12, Bits: []byte{1}}), tpm.ErrQuote, "is not known"},
		{"bank twice", a, selections(tpm.Selection{Bank: tpm.SHA256, Bits: []byte{1}}, tpm.Selection{Bank: tpm.SHA256, Bits: []byte{2}}), tpm.ErrQuote, "selected twice"},
		{"selection empty", a, selections(tpm.Selection{Bank: tpm.SHA256}), tpm.ErrQuote, "selection of 0 bytes"},
		{"selection of 5 bytes", a, selections(tpm.Selection{Bank: tpm.SHA256, Bits: make([]byte, 5)}), tpm.ErrQuote, "selection of 5 bytes"},
		{"no PCR", a, selections(tpm.Selection{Bank: tpm.SHA256, Bits: make([]byte, 3)}), tpm.ErrQuote, "no PCR is selected"},
		{"digest of 65 bytes", a, func(q *teelab.TPMQuote) { q.Digest, q.Quote.PCRDigest = true, make([]byte, 65) }, tpm.ErrQuote, "at most 64"},
		{"byte behind", a, message(func(m []byte) []byte { return append(m, 0) }), tpm.ErrQuote, "1 bytes behind"},
		{"cut", a, message(func(m []byte) []byte { return m[:len(m)-1] }), tpm.ErrQuote, "bytes are left"},
		{"empty", a, message(func([]byte) []byte { return []byte{} }), tpm.ErrQuote, "bytes are left"},

		{"another digest", a, func(q *teelab.TPMQuote) { q.Digest, q.Quote.PCRDigest = true, make([]byte, 32) }, tpm.ErrPCRs, "the quote's digest"},
		{"empty digest", a, func(q *teelab.TPMQuote) { q.Digest = true }, tpm.ErrPCRs, "the quote's digest"},
		{"digest by another hash", a, func(q *teelab.TPMQuote) {
			q.Digest, q.Quote.PCRDigest = true, make([]byte, 48)
		}, tpm.ErrPCRs, "the quote's digest"},
		{"a PCR more", a, pcrs(func(p [][]byte) [][]byte { return append(p, p[0]) }), tpm.ErrPCRs, "none may be there that is outside it"},
		{"a PCR less", a, pcrs(func(p [][]byte) [][]byte { return p[1:] }), tpm.ErrPCRs, "the quote is over more"},
		{"no PCR values", a, pcrs(func([][]byte) [][]byte { return nil }), tpm.ErrPCRs, "the quote is over more"},
		{"PCRs outside the quote", a, func(q *teelab.TPMQuote) { q.Quote.Selections[0].Bits = []byte{0xFF} }, tpm.ErrPCRs, "24 values, and the quote is over 8"},
		{"PCRs of another bank", a, func(q *teelab.TPMQuote) { q.Quote.Selections[0].Bank = tpm.SHA384 }, tpm.ErrPCRs, "has 32 bytes, must have 48"},
		{"PCR of 31 bytes, the next of 33", a, pcrs(func(p [][]byte) [][]byte {
			p = slices.Clone(p)
			p[1] = append(bytes.Clone(p[0][31:]), p[1]...)
			p[0] = p[0][:31]
			return p
		}), tpm.ErrPCRs, "PCR 0 of sha256 has 31 bytes"},
		{"PCRs in another order", a, func(q *teelab.TPMQuote) {
			e := must(q.Sign())
			q.Digest, q.Quote.PCRDigest = true, must(tpm.ParseQuote(e.Message)).PCRDigest
			slices.Reverse(q.PCRs)
		}, tpm.ErrPCRs, "the quote's digest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, must(tt.tpm.Evidence(nonce, tt.fault)), tpm.Collateral{}, tt.tpm.PinnedRoot(), tt.want, tt.reason)
		})
	}

	// Two genuine quotes crossed.
	q1, q2 := must(a.Quote(nonce).Sign()), must(a.Quote([]byte("other")).Sign())
	crossed := *q1
	crossed.Signature = q2.Signature
	check(t, must(crossed.Encode()), tpm.Collateral{}, a.PinnedRoot(), tpm.ErrSignature, "not made by this AK")
}

// TestForgedSignature has signatures of wrong sizes.
func TestForgedSignature(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		tpm    *teelab.TPM
		change func(*tpm.Signature)
		want   error // nil if it verifies
		reason string
	}{
		{"R and S with zeros before", lab(), func(s *tpm.Signature) { s.R, s.S = pad(s.R, 32), pad(s.S, 32) }, nil, ""},
		{"R too long for the curve", lab(), func(s *tpm.Signature) { s.R = pad(s.R, 33) }, tpm.ErrSignature, "at most 32"},
		{"R of 49 bytes", lab(), func(s *tpm.Signature) { s.R = pad(s.R, 49) }, tpm.ErrQuote, "at most 48"},
		{"R empty", lab(), func(s *tpm.Signature) { s.R = nil }, tpm.ErrSignature, ""},
		{"R and S zero", lab(), func(s *tpm.Signature) { s.R, s.S = []byte{0}, []byte{0} }, tpm.ErrSignature, ""},
		{"R and S swapped", lab(), func(s *tpm.Signature) { s.R, s.S = s.S, s.R }, tpm.ErrSignature, ""},
		{"R the order", lab(), func(s *tpm.Signature) { s.R = elliptic.P256().Params().N.Bytes() }, tpm.ErrSignature, ""},
		{"RSA cut", labRSA(), func(s *tpm.Signature) { s.RSA = s.RSA[:255] }, tpm.ErrSignature, ""},
		{"RSA with a zero before", labRSA(), func(s *tpm.Signature) { s.RSA = pad(s.RSA, 257) }, tpm.ErrSignature, ""},
		{"RSA of 513 bytes", labRSA(), func(s *tpm.Signature) { s.RSA = pad(s.RSA, 513) }, tpm.ErrQuote, "at most 512"},
		{"RSA empty", labRSA(), func(s *tpm.Signature) { s.RSA = nil }, tpm.ErrSignature, ""},
		{"RSASSA called RSAPSS", labRSA(), func(s *tpm.Signature) { s.Scheme = tpm.RSAPSS }, tpm.ErrSignature, ""},
		{"SHA-256 called SHA-384", labRSA(), func(s *tpm.Signature) { s.Hash = tpm.SHA384 }, tpm.ErrSignature, ""},
	} {
		e := must(tt.tpm.Quote(nonce).Sign())
		tt.change(e.Signature)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, must(e.Encode()), tpm.Collateral{}, tt.tpm.PinnedRoot(), tt.want, tt.reason)
		})
	}
	good := must(lab().Quote(nonce).Sign()).Signature.Encode()
	for _, bad := range [][]byte{append(bytes.Clone(good), 0), good[:len(good)-1], good[:3], nil} {
		if _, err := tpm.ParseSignature(bad); !errors.Is(err, tpm.ErrQuote) {
			t.Errorf("%d bytes: got %v", len(bad), err)
		}
	}
}

func pad(b []byte, size int) []byte { return append(make([]byte, size-len(b)), b...) }

// TestForgedChain has AK certificates and authorities that are wrong.
func TestForgedChain(t *testing.T) {
	t.Parallel()
	leaf := func(change func(*x509.Certificate)) func(int, *x509.Certificate) {
		return func(i int, c *x509.Certificate) {
			if i == 1 {
				change(c)
			}
		}
	}
	ca := func(change func(*x509.Certificate)) func(int, *x509.Certificate) {
		return func(i int, c *x509.Certificate) {
			if i == 0 {
				change(c)
			}
		}
	}
	san := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: must(asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: must(asn1.Marshal(pkix.Name{CommonName: "tpm"}.ToRDNSequence()))},
	}))}
	for _, tt := range []struct {
		name   string
		change func(int, *x509.Certificate)
		want   error // nil if it verifies
		reason string
	}{
		{"as it is", leaf(func(*x509.Certificate) {}), nil, ""},
		{"critical alternative name", leaf(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{san} }), nil, ""},
		{"no key usage", leaf(func(c *x509.Certificate) { c.KeyUsage = 0 }), nil, ""},
		{"not for AKs", leaf(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), tpm.ErrChain, "is not an AK certificate"},
		{"for EKs", leaf(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}} }), tpm.ErrChain, "is not an AK certificate"},
		{"for any use", leaf(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}), tpm.ErrChain, "is not an AK certificate"},
		{"an authority", leaf(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}), tpm.ErrChain, "and no authority"},
		{"not for signing", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), tpm.ErrChain, "is not for signing"},
		{"another critical extension", leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), tpm.ErrChain, "unhandled critical extension"},
		{"expired", leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), tpm.ErrTime, "expired"},
		{"of the future", leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), tpm.ErrTime, "not yet valid"},
		{"authority expired", ca(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), tpm.ErrTime, "expired"},
		{"authority of the future", ca(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), tpm.ErrTime, "not yet valid"},
		{"authority that is none", ca(func(c *x509.Certificate) { c.IsCA = false }), tpm.ErrRoot, "is not a certificate authority"},
		{"authority that must not sign", ca(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), tpm.ErrRoot, "is not a certificate authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := teelab.NewTPM(now, tt.change)
			if err != nil {
				t.Fatal(err)
			}
			check(t, must(a.Evidence(nonce)), tpm.Collateral{Certificates: [][]byte{a.Cert.Raw}}, a.Root(), tt.want, tt.reason)
		})
	}
}

// TestCollateral has certificates and revocation lists that are missing, crossed
// or wrong.
func TestCollateral(t *testing.T) {
	t.Parallel()
	a, other := lab(), must(teelab.NewTPM(now))
	evidence := must(a.Evidence(nonce))
	good, foreign := must(a.Collateral()), must(other.Collateral())
	z := make([]byte, 9000)
	for _, tt := range []struct {
		name       string
		collateral tpm.Collateral
		root       tpm.Root
		want       error // nil if it verifies
		reason     string
		unchecked  int
	}{
		{"all", good, a.Root(), nil, "", 0},
		{"no list", tpm.Collateral{Certificates: good.Certificates}, a.Root(), nil, "", 1},
		{"list of a namesake", tpm.Collateral{Certificates: good.Certificates, CRLs: foreign.CRLs}, a.Root(), nil, "", 1},
		{"authority in the collateral", tpm.Collateral{Certificates: [][]byte{a.CA.Raw, a.Cert.Raw}}, a.Root(), nil, "", 1},
		{"others' too", tpm.Collateral{Certificates: [][]byte{other.CA.Raw, other.Cert.Raw, a.Cert.Raw}}, a.Root(), nil, "", 1},
		{"revoked", must(a.Collateral(a.Cert)), a.Root(), pki.ErrRevoked, "", 0},
		{"list malformed", tpm.Collateral{Certificates: good.Certificates, CRLs: [][]byte{{1}}}, a.Root(), pki.ErrCRL, "", 0},
		{"certificate malformed", tpm.Collateral{Certificates: [][]byte{{1}}}, a.Root(), tpm.ErrChain, "certificate 0", 0},
		{"certificate too large", tpm.Collateral{Certificates: [][]byte{z}}, a.Root(), tpm.ErrChain, "at most 8192", 0},
		{"too many certificates", tpm.Collateral{Certificates: slices.Repeat(good.Certificates, 65)}, a.Root(), tpm.ErrChain, "at most 64", 0},
		{"no certificate", tpm.Collateral{}, a.Root(), tpm.ErrRoot, "no certificate endorses it", 0},
		{"another AK's certificate", foreign, a.Root(), tpm.ErrRoot, "no certificate endorses it", 0},
		{"another authority pinned", good, other.Root(), tpm.ErrRoot, "no certificates lead from", 0},
		{"another authority pinned, its own in the collateral", tpm.Collateral{Certificates: [][]byte{a.CA.Raw, a.Cert.Raw}}, other.Root(), tpm.ErrRoot, "no certificates lead from", 0},
		{"another AK pinned", good, other.PinnedRoot(), tpm.ErrRoot, "no authority is that its certificate could go back to", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := check(t, evidence, tt.collateral, tt.root, tt.want, tt.reason)
			if c != nil && len(c.Unchecked) != tt.unchecked {
				t.Errorf("unchecked %q", c.Unchecked)
			}
		})
	}
}

// TestForgedJSON has evidence that is not the JSON specified.
func TestForgedJSON(t *testing.T) {
	t.Parallel()
	a := lab()
	good := string(must(a.Evidence(nonce)))
	replace := func(old, new string) string {
		s := strings.Replace(good, old, new, 1)
		if s == good {
			panic(old)
		}
		return s
	}
	e := must(a.Quote(nonce).Sign())
	ak := base64.StdEncoding.EncodeToString(e.AKPublic)
	pcr := func(s string) string {
		from := strings.Index(good, `"pcrs":["`) + len(`"pcrs":["`)
		return good[:from] + s + good[from+64:]
	}
	for _, tt := range []struct {
		name, evidence string
		want           error
		reason         string
	}{
		{"empty", "", tpm.ErrEvidence, "EOF"},
		{"array", "[" + good + "]", tpm.ErrEvidence, "must be a JSON object"},
		{"null", "null", tpm.ErrEvidence, "must be a JSON object"},
		{"something behind", good + "{}", tpm.ErrEvidence, "something behind"},
		{"cut", good[:len(good)-1], tpm.ErrEvidence, "EOF"},
		{"unknown member", replace(`{"ak_public"`, `{"x":1,"ak_public"`), tpm.ErrEvidence, "unknown member"},
		{"unknown member inside", replace(`"pcrs"`, `"event_log":"","pcrs"`), tpm.ErrEvidence, "unknown member"},
		{"member in upper case", replace(`"ak_public"`, `"AK_public"`), tpm.ErrEvidence, "is missing"},
		{"member twice", replace(`{"ak_public"`, `{"ak_public":"","ak_public"`), tpm.ErrEvidence, `the name "ak_public" twice`},
		{"member twice, escaped", replace(`{"ak_public"`, `{"ak\u005fpublic":"","ak_public"`), tpm.ErrEvidence, `the name "ak_public" twice`},
		{"message twice", replace(`"message"`, `"message":"","message"`), tpm.ErrEvidence, `the name "message" twice`},
		{"no AK", replace(`"ak_public":"`+ak+`",`, ""), tpm.ErrEvidence, `"ak_public" is missing`},
		{"no quote", `{"ak_public":"` + ak + `"}`, tpm.ErrEvidence, `"tpm_quote" is missing`},
		{"AK null", replace(`"`+ak+`"`, "null"), tpm.ErrEvidence, "must be a text"},
		{"AK a number", replace(`"`+ak+`"`, "1"), tpm.ErrEvidence, "must be a text"},
		{"AK empty", replace(ak, ""), tpm.ErrEvidence, "ak_public"},
		{"AK with a line end", replace(ak, ak[:64]+`\n`+ak[64:]), tpm.ErrEvidence, "without line ends"},
		{"AK in base64url", replace(ak, base64.URLEncoding.EncodeToString(append(e.AKPublic, 0xFF, 0xFF, 0xFF))), tpm.ErrEvidence, "illegal base64"},
		{"AK with a byte behind", replace(ak, base64.StdEncoding.EncodeToString(append(e.AKPublic, 0))), tpm.ErrEvidence, "trailing data"},
		{"AK of 1024 bits", replace(ak, base64.StdEncoding.EncodeToString(rsa1024)), tpm.ErrEvidence, "2048 to 4096 bits"},
		{"AK on P-224", replace(ak, base64.StdEncoding.EncodeToString(p224)), tpm.ErrEvidence, "P-256 or P-384"},
		{"AK of Ed25519", replace(ak, base64.StdEncoding.EncodeToString(ed25519Key)), tpm.ErrEvidence, "RSA or ECDSA"},
		{"AK a certificate", replace(ak, base64.StdEncoding.EncodeToString(a.Cert.Raw)), tpm.ErrEvidence, "ak_public"},
		{"PCRs null", replace(good[strings.Index(good, `"pcrs":`):strings.Index(good, `,"signature"`)], `"pcrs":null`), tpm.ErrPCRs, "the quote is over more"},
		{"PCR null", pcr(`","`), tpm.ErrPCRs, ""},
		{"PCR a number", replace(`"pcrs":["`, `"pcrs":[1,"`), tpm.ErrEvidence, "pcrs"},
		{"PCR null at first", replace(`"pcrs":["`, `"pcrs":[null,"`), tpm.ErrEvidence, "is null"},
		{"PCR in upper case", pcr("AB" + strings.Repeat("0", 62)), tpm.ErrEvidence, "hex in lower case"},
		{"PCR of 63 digits", pcr(strings.Repeat("0", 63)), tpm.ErrEvidence, "hex in lower case"},
		{"PCR of 62 digits", pcr(strings.Repeat("0", 62)), tpm.ErrPCRs, "has 31 bytes"},
		{"257 PCRs", replace(`"pcrs":["`, `"pcrs":["`+strings.Repeat(`00","`, 250)), tpm.ErrEvidence, "at most 256"},
		{"too large", strings.Repeat(" ", tpm.MaxEvidence) + good, tpm.ErrEvidence, "at most 32768"},
		{"a SEV-SNP report", string(make([]byte, 1184)), tpm.ErrEvidence, "invalid character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, []byte(tt.evidence), tpm.Collateral{}, a.PinnedRoot(), tt.want, tt.reason)
		})
	}
	// What TestForged's offsets rely on.
	if m := e.Message; binary.BigEndian.Uint32(m[74:]) != 1 || len(m) != 118 {
		t.Errorf("a quote of %d bytes", len(m))
	}
}
