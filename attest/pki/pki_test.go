package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

var now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// An authority has a certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// certify makes a certificate in issuer's name; nil is its own.
func certify(template *x509.Certificate, issuer *authority, key crypto.Signer) *x509.Certificate {
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))))
}

func newAuthority(name string, usage x509.KeyUsage, key crypto.Signer) authority {
	return authority{certify(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, KeyUsage: usage, BasicConstraintsValid: true, IsCA: true,
	}, nil, key), key}
}

const both = x509.KeyUsageCertSign | x509.KeyUsageCRLSign

var (
	root    = sync.OnceValue(func() authority { return newAuthority("root", both, newKey()) })
	rsaRoot = sync.OnceValue(func() authority {
		return newAuthority("root", both, must(rsa.GenerateKey(rand.Reader, 2048)))
	})
	leaf = sync.OnceValue(func() *x509.Certificate {
		ca := root()
		return certify(&x509.Certificate{SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: "leaf"}}, &ca, newKey())
	})
)

// list makes a list by ca, which revokes serials 7 and 8, with changes.
func list(ca authority, changes ...func(*x509.RevocationList)) []byte {
	l := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: big.NewInt(7), RevocationTime: now}, {SerialNumber: big.NewInt(8), RevocationTime: now, ReasonCode: 1},
		},
	}
	for _, change := range changes {
		change(l)
	}
	return must(x509.CreateRevocationList(rand.Reader, l, ca.cert, ca.key))
}

func dated(issued, expires time.Duration) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(issued), now.Add(expires) }
}

func revoke(serial int64, extensions ...pkix.Extension) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: now, ExtraExtensions: extensions})
	}
}

func ext(critical bool, arcs ...int) pkix.Extension {
	return pkix.Extension{Id: arcs, Critical: critical, Value: []byte{0x30, 0}}
}

func extended(exts ...pkix.Extension) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, exts...) }
}

// resigned changes the body of a list and signs it again: for what x509 does not
// make.
func resigned(der []byte, change func(body []byte) []byte) []byte {
	crl := must(x509.ParseRevocationList(der))
	body := change(bytes.Clone(crl.RawTBSRevocationList))
	digest := crypto.SHA256.New()
	digest.Write(body)
	signature := must(root().key.Sign(rand.Reader, digest.Sum(nil), crypto.SHA256))
	return must(asn1.Marshal(struct {
		Body      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: body}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
		asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	}))
}

// without cuts the last of the two times out of a list's body, nextUpdate.
func without(body []byte) []byte {
	next := []byte(now.Add(time.Hour).Format("060102150405Z"))
	at := bytes.Index(body, next) - 2
	body = slices.Delete(body, at, at+2+len(next))
	return relength(body, -2-len(next))
}

// relength corrects the length of a SEQUENCE of 128 to 255 bytes, before and after.
func relength(body []byte, by int) []byte {
	if body[1] != 0x81 {
		panic("not a length of one byte")
	}
	body[2] = byte(int(body[2]) + by)
	return body
}

func TestCheck(t *testing.T) {
	t.Parallel()
	ca := root()
	namesake := newAuthority("root", both, newKey())
	nameless := namesake // says that it is root, by key ID too
	nameless.cert = ca.cert
	noLists := newAuthority("root", x509.KeyUsageCertSign, ca.key)
	good := list(ca)
	for _, tt := range []struct {
		name   string
		crls   [][]byte
		cert   *x509.Certificate
		issuer *x509.Certificate
		want   error // nil if it is good
		reason string
		used   bool
	}{
		{"none", nil, leaf(), ca.cert, nil, "", false},
		{"good", [][]byte{good}, leaf(), ca.cert, nil, "", true},
		{"empty", [][]byte{list(ca, func(l *x509.RevocationList) { l.RevokedCertificateEntries = nil })}, leaf(), ca.cert, nil, "", true},
		{"duplicate", [][]byte{good, good}, leaf(), ca.cert, nil, "", true},
		{"expired", [][]byte{list(ca, dated(-2*time.Hour, -time.Hour))}, leaf(), ca.cert, nil, "", true},
		{"made now", [][]byte{list(ca, dated(0, time.Second))}, leaf(), ca.cert, nil, "", true},
		{"same name, other key", [][]byte{list(namesake, revoke(42))}, leaf(), ca.cert, nil, "", false},
		{"other name", [][]byte{list(newAuthority("other", both, newKey()), revoke(42))}, leaf(), ca.cert, nil, "", false},
		{"other name, then good", [][]byte{list(newAuthority("other", both, newKey()), revoke(42)), good}, leaf(), ca.cert, nil, "", true},
		{"extension that is not critical", [][]byte{list(ca, extended(ext(false, 1, 2, 3)))}, leaf(), ca.cert, nil, "", true},
		{"unusable list of somebody else", [][]byte{list(newAuthority("other", both, newKey()), extended(ext(true, 2, 5, 29, 27))), good}, leaf(), ca.cert, nil, "", true},

		{"revoked", [][]byte{list(ca, revoke(42))}, leaf(), ca.cert, pki.ErrRevoked, `"leaf", serial number 2a`, false},
		{"revoked, expired list", [][]byte{list(ca, revoke(42), dated(-2*time.Hour, -time.Hour))}, leaf(), ca.cert, pki.ErrRevoked, "2a", false},
		{"revoked by the second", [][]byte{good, list(ca, revoke(42))}, leaf(), ca.cert, pki.ErrRevoked, "2a", false},
		{"revoked by the first", [][]byte{list(ca, revoke(42)), good}, leaf(), ca.cert, pki.ErrRevoked, "2a", false},
		{"revoked later than now", [][]byte{list(ca, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0] = x509.RevocationListEntry{SerialNumber: big.NewInt(42), RevocationTime: now.Add(time.Hour)}
		})}, leaf(), ca.cert, pki.ErrRevoked, "2a", false},
		{"wrong signer", [][]byte{list(nameless)}, leaf(), ca.cert, pki.ErrCRL, "verification failure", false},
		{"wrong signer beside a good list", [][]byte{good, list(nameless)}, leaf(), ca.cert, pki.ErrCRL, "verification failure", false},
		{"issuer that may not sign lists", [][]byte{good}, leaf(), noLists.cert, pki.ErrCRL, "invalid signature", false},
		{"of the future", [][]byte{list(ca, dated(time.Second, time.Hour))}, leaf(), ca.cert, pki.ErrCRL, "it was made at", false},
		{"no nextUpdate", [][]byte{resigned(good, without)}, leaf(), ca.cert, pki.ErrCRL, "does not say until when", false},
		{"holds until before it was made", [][]byte{resigned(list(ca, dated(-time.Hour, -30*time.Minute)), func(body []byte) []byte {
			return bytes.Replace(body, []byte(now.Add(-30*time.Minute).Format("060102150405Z")), []byte(now.Add(-2*time.Hour).Format("060102150405Z")), 1)
		})}, leaf(), ca.cert, pki.ErrCRL, "and holds until", false},
		{"delta", [][]byte{list(ca, extended(ext(true, 2, 5, 29, 27)))}, leaf(), ca.cert, pki.ErrCRL, "delta to another list", false},
		{"delta that does not say critical", [][]byte{list(ca, extended(ext(false, 2, 5, 29, 27)))}, leaf(), ca.cert, pki.ErrCRL, "delta to another list", false},
		{"indirect", [][]byte{list(ca, extended(pkix.Extension{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x84, 1, 0xFF}}))}, leaf(), ca.cert, pki.ErrCRL, "issuing distribution point", false},
		{"indirect that does not say critical", [][]byte{list(ca, extended(ext(false, 2, 5, 29, 28)))}, leaf(), ca.cert, pki.ErrCRL, "issuing distribution point", false},
		{"unknown critical extension", [][]byte{list(ca, extended(ext(true, 1, 2, 3)))}, leaf(), ca.cert, pki.ErrCRL, "critical extension 1.2.3", false},
		{"extension twice", [][]byte{list(ca, extended(ext(false, 1, 2, 3), ext(false, 1, 2, 3)))}, leaf(), ca.cert, pki.ErrCRL, "extension 1.2.3 twice", false},
		{"entry of another issuer's", [][]byte{list(ca, revoke(9, ext(true, 2, 5, 29, 29)))}, leaf(), ca.cert, pki.ErrCRL, "the entry of serial number 9 has the critical extension 2.5.29.29", false},
		{"certificate of another issuer", [][]byte{good}, newAuthority("other", both, newKey()).cert, ca.cert, pki.ErrCRL, `"other" was not issued by "root"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			crls, err := pki.ParseCRLs(tt.crls)
			if err != nil {
				t.Fatal(err)
			}
			seen := new(pki.Seen)
			for range 2 { // the second time from memory
				used, err := crls.Check(tt.cert, tt.issuer, seen, now)
				if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.reason) || (used != nil) != tt.used {
					t.Errorf("got %+v, %v; want %v: %s", used, err, tt.want, tt.reason)
				}
			}
		})
	}
}

// TestCheckLongest checks which of several lists is claimed.
func TestCheckLongest(t *testing.T) {
	t.Parallel()
	crls := must(pki.ParseCRLs([][]byte{list(root(), dated(-3*time.Hour, time.Hour)), list(root(), dated(-2*time.Hour, 2*time.Hour)), list(root(), dated(-time.Hour, -time.Minute))}))
	want := pki.Used{Name: `revocation list of "root"`, Issued: now.Add(-2 * time.Hour), Expires: now.Add(2 * time.Hour)}
	for range 3 {
		if used := must(crls.Check(leaf(), root().cert, nil, now)); *used != want {
			t.Errorf("got %+v", used)
		}
		crls = append(crls[1:], crls[0])
	}
}

// TestAlgorithms has lists and certificates with good signatures by each algorithm.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		algorithm x509.SignatureAlgorithm
		ca        authority
	}{
		{x509.ECDSAWithSHA256, root()}, {x509.ECDSAWithSHA384, root()}, {x509.ECDSAWithSHA512, root()},
		{x509.SHA256WithRSA, rsaRoot()}, {x509.SHA256WithRSAPSS, rsaRoot()}, {x509.SHA384WithRSAPSS, rsaRoot()}, {x509.SHA512WithRSAPSS, rsaRoot()},
	} {
		cert := certify(&x509.Certificate{SerialNumber: big.NewInt(42), SignatureAlgorithm: tt.algorithm}, &tt.ca, newKey())
		if err := new(pki.Seen).CheckSignature(cert, tt.ca.cert); err != nil {
			t.Errorf("%v: %v", tt.algorithm, err)
		}
		crls := must(pki.ParseCRLs([][]byte{list(tt.ca, func(l *x509.RevocationList) { l.SignatureAlgorithm = tt.algorithm })}))
		if used, err := crls.Check(cert, tt.ca.cert, nil, now); err != nil || used == nil {
			t.Errorf("%v: %+v, %v", tt.algorithm, used, err)
		}
		for _, broken := range []x509.SignatureAlgorithm{x509.UnknownSignatureAlgorithm, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1} {
			weak, weakList := *cert, *crls[0]
			weak.SignatureAlgorithm, weakList.SignatureAlgorithm = broken, broken
			if err := new(pki.Seen).CheckSignature(&weak, tt.ca.cert); err == nil || !strings.Contains(err.Error(), "SHA-256 or longer") {
				t.Errorf("%v: got %v", broken, err)
			}
			if used, err := (pki.CRLs{&weakList}).Check(cert, tt.ca.cert, nil, now); used != nil || !errors.Is(err, pki.ErrCRL) || !strings.Contains(err.Error(), "SHA-256 or longer") {
				t.Errorf("%v: got %v", broken, err)
			}
		}
	}
}

// TestSHA1 has a list that SHA-1 signed: x509 by itself would take it.
func TestSHA1(t *testing.T) {
	t.Parallel()
	ca := rsaRoot()
	crl := must(x509.ParseRevocationList(list(ca, func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.SHA256WithRSA })))
	sha1 := []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 5}
	sha256 := append(bytes.Clone(sha1[:8]), 11)
	body := bytes.Replace(crl.RawTBSRevocationList, sha256, sha1, 1)
	digest := crypto.SHA1.New()
	digest.Write(body)
	signature := must(ca.key.Sign(rand.Reader, digest.Sum(nil), crypto.SHA1))
	der := must(asn1.Marshal(struct {
		Body      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: body}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	}))
	crls := must(pki.ParseCRLs([][]byte{der}))
	if err := crls[0].CheckSignatureFrom(ca.cert); err != nil {
		t.Fatal("the list is not what it should be: ", err)
	}
	cert := certify(&x509.Certificate{SerialNumber: big.NewInt(42)}, &ca, newKey())
	if used, err := crls.Check(cert, ca.cert, nil, now); used != nil || !errors.Is(err, pki.ErrCRL) || !strings.Contains(err.Error(), "SHA1-RSA") {
		t.Errorf("got %+v, %v", used, err)
	}
}

func TestParseCRLsRefuses(t *testing.T) {
	t.Parallel()
	good := list(root())
	if crls, err := pki.ParseCRLs(slices.Repeat([][]byte{good}, pki.MaxCRLs)); err != nil || len(crls) != pki.MaxCRLs {
		t.Errorf("%d lists, %v", len(crls), err)
	}
	for _, tt := range []struct {
		name   string
		ders   [][]byte
		reason string
	}{
		{"empty", [][]byte{nil}, "list 0: x509"},
		{"text", [][]byte{good, []byte("hello")}, "list 1: x509"},
		{"cut", [][]byte{good[:len(good)-1]}, "list 0: x509"},
		{"byte behind", [][]byte{append(bytes.Clone(good), 0)}, "list 0: 1 bytes behind it"},
		{"two in one", [][]byte{append(bytes.Clone(good), good...)}, "bytes behind it"},
		{"certificate", [][]byte{root().cert.Raw}, "list 0: x509"},
		{"version 1", [][]byte{bytes.Replace(good, []byte{2, 1, 1, 0x30}, []byte{2, 1, 0, 0x30}, 1)}, "unsupported crl version"},
		{"too many", slices.Repeat([][]byte{good}, pki.MaxCRLs+1), "65 lists, at most 64"},
		{"too large", [][]byte{good, make([]byte, pki.MaxCRLBytes)}, "at most 4194304"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			crls, err := pki.ParseCRLs(tt.ders)
			if crls != nil || !errors.Is(err, pki.ErrCRL) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}

func TestSeen(t *testing.T) {
	t.Parallel()
	calls, fail := 0, error(nil)
	verify := func() error { calls++; return fail }
	var none *pki.Seen
	for range 2 {
		if err := none.Check(verify, []byte("a")); err != nil {
			t.Error(err)
		}
	}
	if calls != 2 {
		t.Errorf("nil remembers: %d calls", calls)
	}
	var seen pki.Seen
	fail, calls = errors.New("bad"), 0
	for range 2 {
		if err := seen.Check(verify, []byte("a")); !errors.Is(err, fail) {
			t.Errorf("got %v", err)
		}
	}
	if calls != 2 {
		t.Errorf("a failure is remembered: %d calls", calls)
	}
	fail, calls = nil, 0
	for _, parts := range [][][]byte{{[]byte("ab"), []byte("c")}, {[]byte("a"), []byte("bc")}, {[]byte("abc")}, {[]byte("abc"), nil}, {}, {nil}} {
		for range 2 {
			if err := seen.Check(verify, parts...); err != nil {
				t.Error(err)
			}
		}
	}
	if calls != 6 {
		t.Errorf("%d calls, want one for each of 6", calls)
	}
	calls = 0
	for i := range 2 * pki.MaxSeen {
		if err := seen.Check(verify, big.NewInt(int64(i)).Bytes()); err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				_ = seen.Check(func() error { return nil }, []byte{byte(i)})
			}
		})
	}
	wg.Wait()
}

// TestCheckSignature has certificates whose remembered signature must not count
// for others.
func TestCheckSignature(t *testing.T) {
	t.Parallel()
	ca, stranger, seen := root(), newAuthority("root", both, newKey()), new(pki.Seen)
	for range 2 {
		if err := seen.CheckSignature(leaf(), ca.cert); err != nil {
			t.Error(err)
		}
		if err := seen.CheckSignature(leaf(), stranger.cert); err == nil {
			t.Error("another issuer of the same name was taken")
		}
		forged := certify(&x509.Certificate{SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: "leaf"}}, &stranger, newKey())
		if err := seen.CheckSignature(forged, ca.cert); err == nil {
			t.Error("another certificate of the same name was taken")
		}
	}
}
