package dcap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/pki"
)

func TestIntelRoot(t *testing.T) {
	t.Parallel()
	root := dcap.IntelRoot()
	const fingerprint = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
	sum := sha256.Sum256(root.Cert.Raw)
	if root.Dev || root.Name != "Intel SGX Root CA of Intel Corporation" || hex.EncodeToString(sum[:]) != fingerprint {
		t.Errorf("root %q, dev %v, fingerprint %x", root.Name, root.Dev, sum)
	}
	if !bytes.Equal(root.Cert.Raw, vector(t, "roots/intel-sgx-root.der")) {
		t.Error("not the vectors' root")
	}
}

// selfSigned makes a certificate that calls itself Intel's root.
func selfSigned(t *testing.T, change func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Intel SGX Root CA", Organization: []string{"Intel Corporation"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	asPEM := func(ders ...[]byte) (out []byte) {
		for _, der := range ders {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		return out
	}
	der := dcap.IntelRoot().Cert.Raw
	own := selfSigned(t, nil)
	forged := bytes.Clone(der)
	forged[len(forged)-1] ^= 1
	for _, tt := range []struct {
		name string
		data []byte
		dev  bool
		text string // of the error, empty if there is none
	}{
		{"DER", der, false, ""},
		{"PEM", append([]byte("\n"), asPEM(der)...), false, ""},
		{"own", own, true, ""},
		{"own, PEM", asPEM(own), true, ""},
		{"own without path length", selfSigned(t, func(c *x509.Certificate) { c.MaxPathLen = -1 }), true, ""},
		{"nothing", nil, false, "root: "},
		{"DER with a byte behind", append(bytes.Clone(der), 0), false, "trailing"},
		{"PEM with text behind", append(asPEM(der), "x"...), false, "PEM blocks CERTIFICATE and nothing else"},
		{"two", asPEM(der, own), false, "2 certificates, must be one"},
		{"a key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), false, "PEM blocks CERTIFICATE"},
		{"signature changed", forged, false, "certificate chain broken"},
		{"another name", selfSigned(t, func(c *x509.Certificate) { c.Subject.CommonName = "Intel SGX PCK Platform CA" }), false, `must be "Intel SGX Root CA"`},
		{"not an authority", selfSigned(t, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }), false, "not a certificate authority"},
		{"for signatures only", selfSigned(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), false, "not a certificate authority"},
		{"for end certificates only", selfSigned(t, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }), false, "allows 0 authorities below it, must allow 1"},
		{"TCB signing certificate", collateral(t, gtg5.files[2]).Certificates[0], false, `must be "Intel SGX Root CA"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root, err := dcap.ParseRoot(tt.data)
			if (err != nil) != (tt.text != "") || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v, want %s", err, tt.text)
			}
			if root.Dev != tt.dev || (root.Cert == nil) != (err != nil) {
				t.Errorf("root %+v", root)
			}
		})
	}
}

// TestVerifyRoots gives a genuine quote other roots and times.
func TestVerifyRoots(t *testing.T) {
	t.Parallel()
	quote, c, at := phala.load(t)
	own, err := dcap.ParseRoot(selfSigned(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	platformCA, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	devMark := dcap.IntelRoot()
	devMark.Dev = true
	for _, tt := range []struct {
		name  string
		roots []dcap.Root
		at    time.Time
		want  error
	}{
		{"Intel's", intel, at, nil},
		{"Intel's behind another", []dcap.Root{own, intel[0]}, at, nil},
		{"Intel's, marked", []dcap.Root{devMark}, at, nil},
		{"none", nil, at, dcap.ErrRoot},
		{"empty", []dcap.Root{}, at, dcap.ErrRoot},
		{"zero", []dcap.Root{{}}, at, dcap.ErrRoot},
		{"zero beside Intel's", []dcap.Root{intel[0], {}}, at, dcap.ErrRoot},
		{"another of the same name", []dcap.Root{own}, at, dcap.ErrRoot},
		{"PCK CA", []dcap.Root{{Name: "x", Cert: platformCA}}, at, dcap.ErrRoot},
		{"no time", intel, time.Time{}, dcap.ErrTime},
		{"after the root", intel, date("2050-01-01T00:00:00Z"), dcap.ErrTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			claims, err := dcap.Verify(quote, c, tt.roots, nil, tt.at)
			if !errors.Is(err, tt.want) || (claims == nil) != (err != nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && claims.Dev != tt.roots[len(tt.roots)-1].Dev {
				t.Errorf("dev %v", claims.Dev)
			}
		})
	}
}

// rechain replaces a quote's PCK chain: nothing signs it.
func rechain(t *testing.T, quote []byte, change func(ders [][]byte) [][]byte) []byte {
	t.Helper()
	q, err := dcap.ParseQuote(quote)
	if err != nil {
		t.Fatal(err)
	}
	ders := change(chain(q.PCKChain))
	q.PCKChain = nil
	for _, der := range ders {
		q.PCKChain = append(q.PCKChain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return q.Encode()
}

// TestVerifyChains gives a genuine quote other certificates.
func TestVerifyChains(t *testing.T) {
	t.Parallel()
	quote, c, at := phala.load(t)
	own := selfSigned(t, nil)
	signer := collateral(t, gtg5.files[2]).Certificates[0]
	stranger := chain(must(dcap.ParseQuote(vector(t, oasisTDX.quote))).PCKChain)
	for _, tt := range []struct {
		name       string
		change     func(ders [][]byte) [][]byte
		collateral bool // with the PCK CA among it
		want       error
		text       string
	}{
		{"as it is", func(d [][]byte) [][]byte { return d }, false, nil, ""},
		{"without root", func(d [][]byte) [][]byte { return d[:2] }, false, nil, ""},
		{"PCK alone, PCK CA in the collateral", func(d [][]byte) [][]byte { return d[:1] }, true, nil, ""},
		{"PCK alone", func(d [][]byte) [][]byte { return d[:1] }, false, dcap.ErrChain, "the quote has the PCK certificate alone"},
		{"nothing", func([][]byte) [][]byte { return nil }, true, dcap.ErrCertData, "0 certificates in the PCK chain"},
		{"four", func(d [][]byte) [][]byte { return append(d, d[2]) }, true, dcap.ErrCertData, "4 certificates in the PCK chain"},
		{"other order", func(d [][]byte) [][]byte { return [][]byte{d[1], d[0], d[2]} }, true, dcap.ErrChain, `the PCK's issuer is "Intel SGX PCK Certificate"`},
		{"root twice", func(d [][]byte) [][]byte { return [][]byte{d[0], d[2], d[2]} }, true, dcap.ErrChain, `the PCK's issuer is "Intel SGX Root CA"`},
		{"PCK twice", func(d [][]byte) [][]byte { return [][]byte{d[0], d[0], d[2]} }, true, dcap.ErrChain, `the PCK's issuer is "Intel SGX PCK Certificate"`},
		{"PCK CA as PCK", func(d [][]byte) [][]byte { return [][]byte{d[1], d[1], d[2]} }, true, dcap.ErrChain, `common name "Intel SGX PCK Platform CA"`},
		{"another root", func(d [][]byte) [][]byte { return [][]byte{d[0], d[1], own} }, true, dcap.ErrRoot, "ends in a root that is none of the 1 given"},
		{"PCK CA as root", func(d [][]byte) [][]byte { return [][]byte{d[0], d[1], d[1]} }, true, dcap.ErrRoot, "ends in a root that is none of the 1 given"},
		{"TCB signer as PCK CA", func(d [][]byte) [][]byte { return [][]byte{d[0], signer, d[2]} }, true, dcap.ErrChain, `the PCK's issuer is "Intel SGX TCB Signing"`},
		{"TCB signer as PCK", func(d [][]byte) [][]byte { return [][]byte{signer, d[1], d[2]} }, true, dcap.ErrChain, `common name "Intel SGX TCB Signing"`},
		{"PCK of another platform", func(d [][]byte) [][]byte { return [][]byte{stranger[0], d[1], d[2]} }, true, dcap.ErrSignature, "QE report, by the PCK"},
		{"not DER", func(d [][]byte) [][]byte { return [][]byte{d[0][1:], d[1], d[2]} }, true, dcap.ErrCertData, "PCK chain: x509"},
		{"PCK CA not DER", func(d [][]byte) [][]byte { return [][]byte{d[0], {1}, d[2]} }, true, dcap.ErrCertData, "PCK chain: x509"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := c
			if !tt.collateral {
				c.Certificates = c.Certificates[2:] // the first two are of the PCK CRL
			}
			claims, err := dcap.Verify(rechain(t, quote, tt.change), c, intel, nil, at)
			if !errors.Is(err, tt.want) || (claims == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v: %s", err, tt.want, tt.text)
			}
		})
	}
}

// TestVerifyCollateral gives a genuine quote collateral that can't be read.
func TestVerifyCollateral(t *testing.T) {
	t.Parallel()
	version2 := slicesReplace(slicesReplace([]byte(doc("tcbInfo", sgxInfo)), `"id":"SGX",`, ""), `"version":3`, `"version":2`)
	for _, tt := range []struct {
		name   string
		change func(c *dcap.Collateral)
		want   error
		text   string
	}{
		{"certificate", func(c *dcap.Collateral) { c.Certificates = append(c.Certificates, []byte{1}) }, dcap.ErrChain, "collateral: x509"},
		{"empty certificate", func(c *dcap.Collateral) { c.Certificates = append(c.Certificates, nil) }, dcap.ErrChain, "collateral: x509"},
		{"revocation list", func(c *dcap.Collateral) { c.CRLs = append(c.CRLs, []byte{1}) }, pki.ErrCRL, ""},
		{"TCB info", func(c *dcap.Collateral) { c.TCBInfos = append(c.TCBInfos, []byte("{")) }, dcap.ErrTCBInfo, "number 2: not JSON"},
		{"empty TCB info", func(c *dcap.Collateral) { c.TCBInfos = append(c.TCBInfos, nil) }, dcap.ErrTCBInfo, "number 2: not JSON"},
		{"QE identity", func(c *dcap.Collateral) { c.QEIdentities = append(c.QEIdentities, []byte("1")) }, dcap.ErrQEIdentity, "number 2: not a JSON object"},
		{"QE identity as TCB info", func(c *dcap.Collateral) { c.TCBInfos = append(c.TCBInfos, c.QEIdentities...) }, dcap.ErrTCBInfo, `number 2: "enclaveIdentity" beside "tcbInfo" and signature`},
		{"TCB info as QE identity", func(c *dcap.Collateral) { c.QEIdentities = append(c.QEIdentities, c.TCBInfos...) }, dcap.ErrQEIdentity, `number 2: "tcbInfo" beside "enclaveIdentity" and signature`},
		{"TCB info of version 2 beside it", func(c *dcap.Collateral) { c.TCBInfos = append(c.TCBInfos, version2) }, nil, ""},
		{"TCB info of version 2", func(c *dcap.Collateral) { c.TCBInfos = [][]byte{version2} }, dcap.ErrCollateral, "TCB info is older than version 3"},
		{"TCB info of five others", func(c *dcap.Collateral) {
			c.TCBInfos = nil
			for i := range 5 {
				c.TCBInfos = append(c.TCBInfos, slicesReplace([]byte(doc("tcbInfo", tdxInfo)), "010203040506", "01020304050"+string(rune('0'+i))))
			}
		}, dcap.ErrCollateral, "TCB info is for FMSPC 010203040503, platform is b0c06f000000; and 1 more"},
		{"white space added inside", func(c *dcap.Collateral) {
			c.QEIdentities[0] = bytes.Replace(c.QEIdentities[0], []byte(`,"version"`), []byte(`, "version"`), 1)
		}, dcap.ErrQEIdentity, `was not made by "Intel SGX TCB Signing"`},
		{"white space added outside", func(c *dcap.Collateral) {
			c.QEIdentities[0] = slicesReplace(c.QEIdentities[0], `{"enclaveIdentity":`, "\n { \"enclaveIdentity\" :\t")
			c.TCBInfos[0] = append(slicesReplace(c.TCBInfos[0], `},"signature":`, "}\r\n,\n\"signature\" : "), "\r\n"...)
		}, nil, ""},
		{"other order", func(c *dcap.Collateral) {
			i := bytes.LastIndex(c.TCBInfos[0], []byte(`,"signature"`))
			doc := c.TCBInfos[0]
			c.TCBInfos[0] = []byte("{" + string(doc[i+1:len(doc)-1]) + "," + string(doc[1:i]) + "}")
		}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			quote, c, at := phala.load(t)
			tt.change(&c)
			claims, err := dcap.Verify(quote, c, intel, nil, at)
			if !errors.Is(err, tt.want) || (claims == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v: %s", err, tt.want, tt.text)
			}
		})
	}
}

func slicesReplace(b []byte, old, new string) []byte {
	return bytes.Replace(b, []byte(old), []byte(new), 1)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSeen verifies with what earlier verifications remembered: it changes no
// verdict.
func TestSeen(t *testing.T) {
	t.Parallel()
	var seen pki.Seen
	quote, c, at := phala.load(t)
	for range 3 {
		if _, err := dcap.Verify(quote, c, intel, &seen, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dcap.Verify(quote, c, intel, &seen, date("2050-01-01T00:00:00Z")); !errors.Is(err, dcap.ErrTime) {
		t.Errorf("much later: %v", err)
	}
	bad := c
	bad.TCBInfos = [][]byte{slicesReplace(c.TCBInfos[0], `"svn":5`, `"svn":4`)}
	if _, err := dcap.Verify(quote, bad, intel, &seen, at); !errors.Is(err, dcap.ErrTCBInfo) {
		t.Errorf("changed TCB info: %v", err)
	}
	q := must(dcap.ParseQuote(quote))
	q.QESignature[63] ^= 1
	if _, err := dcap.Verify(q.Encode(), c, intel, &seen, at); !errors.Is(err, dcap.ErrSignature) {
		t.Errorf("changed QE signature: %v", err)
	}
}
