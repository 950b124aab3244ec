package nitro_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// lab returns authorities and an enclave that all tests share.
var lab = sync.OnceValue(func() *teelab.AWS { return must(teelab.NewAWS(now)) })

var (
	nonce = []byte("nonce")
	pcr0  = [48]byte{1, 2, 3}
)

func encode(v any) cbor.RawMessage { return must(must(cbor.CoreDetEncOptions().EncMode()).Marshal(v)) }

// check verifies a document twice, the second time with what the first remembered.
func check(t *testing.T, document []byte, root nitro.Root, want error, reason string) *nitro.Claims {
	t.Helper()
	seen := new(pki.Seen)
	var c *nitro.Claims
	for range 2 {
		var err error
		c, err = nitro.Verify(document, nitro.Collateral{}, []nitro.Root{root}, seen, now)
		if !errors.Is(err, want) || (c == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("got %v, want %v, %q", err, want, reason)
		}
	}
	return c
}

func TestGenuine(t *testing.T) {
	t.Parallel()
	a := lab()
	for _, tt := range []struct {
		name  string
		fault func(*teelab.NitroDocument)
		check func(*nitro.Claims) bool
	}{
		{"as it is", func(*teelab.NitroDocument) {}, func(c *nitro.Claims) bool {
			return bytes.Equal(c.Document.Nonce, nonce) && bytes.Equal(c.Document.PCRs[0], pcr0[:]) && !c.Debug && c.Document.Timestamp.Equal(now)
		}},
		{"tagged", func(d *teelab.NitroDocument) { d.Tagged = true }, nil},
		{"debug", func(d *teelab.NitroDocument) { d.PCRs[0] = make([]byte, 48) }, func(c *nitro.Claims) bool { return c.Debug }},
		{"no optional fields", func(d *teelab.NitroDocument) {
			delete(d.Fields, "nonce")
			delete(d.Fields, "user_data")
			delete(d.Fields, "public_key")
		}, func(c *nitro.Claims) bool { return c.Document.Nonce == nil }},
		{"largest optional fields", func(d *teelab.NitroDocument) {
			d.Fields["nonce"], d.Fields["user_data"], d.Fields["public_key"] = make([]byte, 512), make([]byte, 512), make([]byte, 1024)
		}, func(c *nitro.Claims) bool { return len(c.Document.PublicKey) == 1024 }},
		{"empty user data", func(d *teelab.NitroDocument) { d.Fields["user_data"] = []byte{} }, func(c *nitro.Claims) bool { return len(c.Document.UserData) == 0 }},
		{"PCR 31", func(d *teelab.NitroDocument) { d.PCRs[31] = pcr0[:] }, func(c *nitro.Claims) bool { return len(c.Document.PCRs) == 17 }},
		{"PCR 0 alone", func(d *teelab.NitroDocument) { d.PCRs = map[int][]byte{0: pcr0[:]} }, func(c *nitro.Claims) bool { return len(c.Document.PCRs) == 1 }},
		{"clock a little ahead", func(d *teelab.NitroDocument) { d.Fields["timestamp"] = uint64(now.Add(nitro.Skew).UnixMilli()) }, nil},
	} {
		c := check(t, must(a.Evidence(nonce, pcr0, tt.fault)), a.Root(), nil, "")
		if c == nil || !c.Dev || c.Root != a.Root().Name || tt.check != nil && !tt.check(c) {
			t.Errorf("%s: claims %+v", tt.name, c)
		}
	}
}

// TestForged has documents that are signed, and wrong for one reason each.
func TestForged(t *testing.T) {
	t.Parallel()
	a, other := lab(), must(teelab.NewAWS(now))
	set := func(name string, v any) func(*teelab.NitroDocument) {
		return func(d *teelab.NitroDocument) { d.Fields[name] = v }
	}
	drop := func(name string) func(*teelab.NitroDocument) {
		return func(d *teelab.NitroDocument) { delete(d.Fields, name) }
	}
	pcrs := func(change func(map[int][]byte)) func(*teelab.NitroDocument) {
		return func(d *teelab.NitroDocument) { change(d.PCRs) }
	}
	header := func(protected map[int64]any, unprotected any) func(*teelab.NitroDocument) {
		return func(d *teelab.NitroDocument) {
			d.Header = teelab.COSEHeader{Protected: encode(protected), Unprotected: unprotected}
		}
	}
	bundle := func(list ...[]byte) func(*teelab.NitroDocument) { return set("cabundle", list) }
	certs := func(a *teelab.AWS, places ...int) (list [][]byte) {
		for _, i := range places {
			list = append(list, a.Certificates[i].Raw)
		}
		return list
	}
	z := func(n int) []byte { return make([]byte, n) }
	none := map[int64]any{}
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for _, tt := range []struct {
		name   string
		fault  func(*teelab.NitroDocument)
		want   error
		reason string
	}{
		// Signature and headers.
		{"signed by another enclave", func(d *teelab.NitroDocument) { d.Key = other.Keys[4] }, nitro.ErrSignature, "not made by this key"},
		{"signed by the instance's key", func(d *teelab.NitroDocument) { d.Key = a.Keys[3] }, nitro.ErrSignature, "not made by this key"},
		{"says ES256", header(map[int64]any{1: -7}, none), nitro.ErrSignature, "it is ES256, must be ES384"},
		{"says ES512", header(map[int64]any{1: -36}, none), nitro.ErrSignature, "it is ES512, must be ES384"},
		{"signed on P-256", func(d *teelab.NitroDocument) { d.Key, d.Header = p256, teelab.NewCOSEHeader(-7) }, nitro.ErrSignature, "it is ES256, must be ES384"},
		{"says ES384, signed on P-256", func(d *teelab.NitroDocument) { d.Key = p256 }, nitro.ErrSignature, "64 bytes, must be 96"},
		{"no algorithm", header(none, none), nitro.ErrDocument, "no algorithm"},
		{"algorithm not protected", header(none, map[int64]any{1: -35}), nitro.ErrDocument, "in the unprotected header"},
		{"algorithm twice", header(map[int64]any{1: -35}, map[int64]any{1: -35}), nitro.ErrDocument, "in the unprotected header"},
		{"algorithm as text", header(map[int64]any{1: "ES384"}, none), nitro.ErrDocument, "must be an integer"},
		{"critical header", header(map[int64]any{1: -35, 2: []int{4}, 4: z(1)}, none), nitro.ErrDocument, "critical"},
		{"key ID protected", header(map[int64]any{1: -35, 4: z(1)}, none), nitro.ErrDocument, "beside the algorithm"},
		{"certificates in the header", header(map[int64]any{1: -35}, map[int64]any{33: a.Certificates[4].Raw}), nitro.ErrDocument, "beside the algorithm"},
		{"no protected header", func(d *teelab.NitroDocument) { d.Header.Protected = []byte{} }, nitro.ErrDocument, "protected header"},
		{"null for a header", func(d *teelab.NitroDocument) { d.Header.Unprotected = nil }, nitro.ErrDocument, "null"},

		// Fields.
		{"no module ID", drop("module_id"), nitro.ErrDocument, "module_id is missing"},
		{"empty module ID", set("module_id", ""), nitro.ErrDocument, "module_id: 0 bytes"},
		{"long module ID", set("module_id", strings.Repeat("x", 257)), nitro.ErrDocument, "module_id: 257 bytes"},
		{"module ID of bytes", set("module_id", z(3)), nitro.ErrDocument, "must be a text string"},
		{"no digest", drop("digest"), nitro.ErrDocument, "digest is missing"},
		{"digest SHA256", set("digest", "SHA256"), nitro.ErrDocument, "must be SHA384"},
		{"digest null", set("digest", nil), nitro.ErrDocument, "digest: "},
		{"no timestamp", drop("timestamp"), nitro.ErrDocument, "timestamp is missing"},
		{"timestamp 0", set("timestamp", 0), nitro.ErrDocument, "timestamp: 0 ms"},
		{"timestamp null", set("timestamp", nil), nitro.ErrDocument, "timestamp: "},
		{"timestamp negative", set("timestamp", -1), nitro.ErrDocument, "timestamp: "},
		{"timestamp too large", set("timestamp", uint64(1)<<63), nitro.ErrDocument, "of the years"},
		{"made before its certificate", set("timestamp", uint64(now.Add(-time.Hour).UnixMilli())), nitro.ErrTime, "the document was made at"},
		{"made after its certificate", set("timestamp", uint64(now.Add(4*time.Hour).UnixMilli())), nitro.ErrTime, "the document was made at"},
		{"made in the future", set("timestamp", uint64(now.Add(2*nitro.Skew).UnixMilli())), nitro.ErrTime, "not after now"},
		{"no PCRs", func(d *teelab.NitroDocument) { d.PCRs = nil }, nitro.ErrDocument, "pcrs is missing"},
		{"PCRs null", set("pcrs", nil), nitro.ErrDocument, "no PCR 0"},
		{"PCRs empty", set("pcrs", none), nitro.ErrDocument, "no PCR 0"},
		{"no PCR 0", pcrs(func(m map[int][]byte) { delete(m, 0) }), nitro.ErrDocument, "no PCR 0"},
		{"PCR 32", pcrs(func(m map[int][]byte) { m[32] = z(48) }), nitro.ErrDocument, "index 32"},
		{"PCR -1", pcrs(func(m map[int][]byte) { m[-1] = z(48) }), nitro.ErrDocument, "pcrs: "},
		{"PCR index as text", set("pcrs", map[string][]byte{"0": z(48)}), nitro.ErrDocument, "pcrs: "},
		{"PCR of 32 bytes", pcrs(func(m map[int][]byte) { m[3] = z(32) }), nitro.ErrDocument, "PCR 3 has 32 bytes, must have 48"},
		{"PCR of 64 bytes", pcrs(func(m map[int][]byte) { m[3] = z(64) }), nitro.ErrDocument, "PCR 3 has 64 bytes, must have 48"},
		{"PCR empty", pcrs(func(m map[int][]byte) { m[3] = z(0) }), nitro.ErrDocument, "PCR 3 has 0 bytes"},
		{"PCR 0 null", pcrs(func(m map[int][]byte) { m[0] = nil }), nitro.ErrDocument, "must be a byte string"},
		{"public key of 1025 bytes", set("public_key", z(1025)), nitro.ErrDocument, "public_key: 1025 bytes"},
		{"empty public key", set("public_key", z(0)), nitro.ErrDocument, "public_key: 0 bytes"},
		{"user data of 513 bytes", set("user_data", z(513)), nitro.ErrDocument, "user_data: 513 bytes"},
		{"nonce of 513 bytes", set("nonce", z(513)), nitro.ErrDocument, "nonce: 513 bytes"},
		{"nonce of text", set("nonce", "nonce"), nitro.ErrDocument, "nonce: "},
		{"nonce undefined", set("nonce", cbor.RawMessage{0xF7}), nitro.ErrDocument, "must be false, true or null"},
		{"another field", set("nitrotpm_pcrs", none), nitro.ErrDocument, "does not belong there"},
		{"field in upper case", set("Nonce", z(1)), nitro.ErrDocument, "does not belong there"},
		{"payload too large", set("user_data", z(17<<10)), nitro.ErrDocument, "at most 16384"},
		{"a tag inside", set("nonce", cbor.Tag{Number: 24, Content: nonce}), nitro.ErrDocument, "tag"},

		// Certificates.
		{"no certificate", drop("certificate"), nitro.ErrDocument, "certificate is missing"},
		{"certificate empty", set("certificate", z(0)), nitro.ErrDocument, "certificate: 0 bytes"},
		{"certificate of 1025 bytes", set("certificate", z(1025)), nitro.ErrDocument, "certificate: 1025 bytes"},
		{"certificate not DER", set("certificate", z(100)), nitro.ErrChain, "malformed"},
		{"certificate with a byte behind", set("certificate", append(bytes.Clone(a.Certificates[4].Raw), 0)), nitro.ErrChain, "trailing data"},
		{"no bundle", drop("cabundle"), nitro.ErrDocument, "cabundle is missing"},
		{"empty bundle", bundle(), nitro.ErrDocument, "cabundle: 0 certificates"},
		{"nine in the bundle", bundle(certs(a, 0, 1, 2, 3, 3, 3, 3, 3, 3)...), nitro.ErrDocument, "cabundle: 9 certificates"},
		{"null in the bundle", bundle(a.Certificates[0].Raw, nil), nitro.ErrDocument, "must be a byte string"},
		{"root of the document's own", func(d *teelab.NitroDocument) { *d = *other.Document(nonce, pcr0) }, nitro.ErrRoot, "is none of the 1 given"},
		{"root missing in the bundle", bundle(certs(a, 1, 2, 3)...), nitro.ErrRoot, "is none of the 1 given"},
		{"root last", bundle(certs(a, 3, 2, 1, 0)...), nitro.ErrRoot, "is none of the 1 given"},
		{"intermediates in reverse", bundle(certs(a, 0, 3, 2, 1)...), nitro.ErrChain, "was not issued by"},
		{"intermediate missing", bundle(certs(a, 0, 1, 3)...), nitro.ErrChain, "was not issued by"},
		{"intermediate twice", bundle(certs(a, 0, 1, 2, 3, 3)...), nitro.ErrChain, "may have 2 authorities"},
		{"root twice", bundle(certs(a, 0, 0, 1, 2, 3)...), nitro.ErrChain, "was issued by itself"},
		{"intermediate of another root", bundle(slices.Concat(certs(a, 0), certs(other, 1), certs(a, 2, 3))...), nitro.ErrChain, "signed by"},
		{"enclave of another instance", func(d *teelab.NitroDocument) {
			d.Fields["certificate"], d.Key = other.Certificates[4].Raw, other.Keys[4]
		}, nitro.ErrChain, "signed by"},
		{"root for the enclave", func(d *teelab.NitroDocument) {
			d.Fields["certificate"], d.Fields["cabundle"], d.Key = a.Certificates[0].Raw, certs(a, 0), a.Keys[0]
		}, nitro.ErrChain, "was issued by itself"},
		{"instance for the enclave", func(d *teelab.NitroDocument) {
			d.Fields["certificate"], d.Fields["cabundle"], d.Key = a.Certificates[3].Raw, certs(a, 0, 1, 2), a.Keys[3]
		}, nitro.ErrChain, "says it is no authority"},
		{"enclave in the bundle", func(d *teelab.NitroDocument) { d.Fields["cabundle"] = certs(a, 0, 1, 2, 3, 4) }, nitro.ErrChain, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, must(a.Evidence(nonce, pcr0, tt.fault)), a.Root(), tt.want, tt.reason)
		})
	}
}

// TestForgedChain has chains with one wrong certificate, which is signed.
func TestForgedChain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		i      int
		change func(*x509.Certificate)
		want   error // nil if it verifies
		reason string
	}{
		{"as it is", 0, func(*x509.Certificate) {}, nil, ""},
		{"root without limit of its path", 1, func(c *x509.Certificate) { c.MaxPathLen = -1 }, nil, ""},
		{"root expired", 0, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, nitro.ErrTime, "development.nitro-enclaves"},
		{"intermediate expired", 2, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, nitro.ErrTime, "zonal"},
		{"intermediate of the future", 1, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, nitro.ErrTime, "region"},
		{"enclave expired", 4, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, nitro.ErrTime, "enc0123"},
		{"enclave of the future", 4, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, nitro.ErrTime, "enc0123"},
		{"path too long below the first", 1, func(c *x509.Certificate) { c.MaxPathLen = 1 }, nitro.ErrChain, "may have 1 authorities below it and has 2"},
		{"path too long below the second", 2, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }, nitro.ErrChain, "may have 0 authorities below it and has 1"},
		{"root with a short path", 0, func(c *x509.Certificate) { c.MaxPathLen = 2 }, nitro.ErrChain, "may have 2 authorities below it and has 3"},
		{"root no authority", 0, func(c *x509.Certificate) { c.IsCA = false }, nitro.ErrRoot, "is not a certificate authority"},
		{"intermediate no authority", 2, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 }, nitro.ErrChain, "is not a certificate authority"},
		{"intermediate without basic constraints", 3, func(c *x509.Certificate) { c.BasicConstraintsValid = false }, nitro.ErrChain, "is not a certificate authority"},
		{"intermediate must not sign", 2, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, nitro.ErrChain, "is not a certificate authority"},
		{"intermediate without key usage", 2, func(c *x509.Certificate) { c.KeyUsage = 0 }, nitro.ErrChain, "is not a certificate authority"},
		{"enclave an authority", 4, func(c *x509.Certificate) { c.IsCA = true }, nitro.ErrChain, "says it is no authority"},
		{"enclave without basic constraints", 4, func(c *x509.Certificate) { c.BasicConstraintsValid = false }, nitro.ErrChain, "says it is no authority"},
		{"enclave may sign certificates", 4, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, nitro.ErrChain, ""},
		{"enclave must not sign", 4, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, nitro.ErrChain, "is not for signing"},
		{"signed with SHA-256", 3, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA256 }, nitro.ErrChain, "is signed with ECDSA-SHA256"},
		{"root signed with SHA-512", 0, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA512 }, nitro.ErrRoot, "is signed with ECDSA-SHA512"},
		{"critical extension", 4, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, nitro.ErrChain, "critical extension 1.2.3"},
		{"name constraints", 1, func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		}, nitro.ErrChain, "critical extension 2.5.29.30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := teelab.NewAWS(now, func(i int, template *x509.Certificate) {
				if i == tt.i {
					tt.change(template)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			check(t, must(a.Evidence(nonce, pcr0)), a.Root(), tt.want, tt.reason)
		})
	}
}

// TestForgedCBOR has envelopes that are not strict CBOR.
func TestForgedCBOR(t *testing.T) {
	t.Parallel()
	a := lab()
	var parts []cbor.RawMessage
	if err := cbor.Unmarshal(must(a.Evidence(nonce, pcr0)), &parts); err != nil {
		t.Fatal(err)
	}
	array := func(head []byte, parts ...cbor.RawMessage) []byte {
		for _, p := range parts {
			head = append(head, p...)
		}
		return head
	}
	sign := func(payload []byte) []byte {
		return must(teelab.SignCOSE(a.Keys[4], teelab.NewCOSEHeader(-35), payload, false))
	}
	payload := must(cbor.Marshal(a.Document(nonce, pcr0).Fields))
	for _, tt := range []struct {
		name     string
		document []byte
		reason   string
	}{
		{"three parts", array([]byte{0x83}, parts[:3]...), "must be of 4"},
		{"five parts", array([]byte{0x85}, append(slices.Clone(parts), parts[3])...), "must be of 4"},
		{"indefinite array", append(array([]byte{0x9F}, parts...), 0xFF), "indefinite"},
		{"array in a longer form", array([]byte{0x98, 4}, parts...), "shortest form"},
		{"map", array([]byte{0xA2}, parts...), "map"},
		{"tag 17", array([]byte{0xD1, 0x84}, parts...), "tag"},
		{"tag 18 twice", array([]byte{0xD2, 0xD2, 0x84}, parts...), "tag"},
		{"tag 18 in a longer form", array([]byte{0xD8, 18, 0x84}, parts...), "tag"},
		{"detached payload", array([]byte{0x84}, parts[0], parts[1], cbor.RawMessage{0xF6}, parts[3]), "payload"},
		{"empty payload", sign([]byte{}), "empty payload"},
		{"payload an array", sign([]byte{0x80}), "array"},
		{"payload null", sign([]byte{0xF6}), "module_id is missing"},
		{"payload with a byte behind", sign(append(bytes.Clone(payload), 0)), "extraneous"},
		{"field twice", sign(slices.Concat([]byte{payload[0] + 1}, payload[1:], encode("digest"), encode("SHA384"))), "duplicate"},
		{"signature of 95 bytes", array([]byte{0x84}, parts[0], parts[1], parts[2], append(cbor.RawMessage{0x58, 95}, parts[3][2:97]...)), "95 bytes"},
		{"signature of 97 bytes", array([]byte{0x84}, parts[0], parts[1], parts[2], append(cbor.RawMessage{0x58, 97, 0}, parts[3][2:]...)), "97 bytes"},
		{"signature in DER", array([]byte{0x84}, parts[0], parts[1], parts[2], encode(must(ecdsa.SignASN1(rand.Reader, a.Keys[4], make([]byte, 48))))), "signature of 10"},
		{"too large", make([]byte, nitro.MaxDocument+1), "at most 32768"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, tt.document, a.Root(), nitro.ErrDocument, tt.reason)
		})
	}
}
