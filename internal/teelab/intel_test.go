package teelab_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// newIntel makes simulated hardware of Intel's.
func newIntel(t *testing.T, changes ...func(*teelab.Platform)) (*teelab.Intel, *teelab.Platform) {
	t.Helper()
	intel, err := teelab.NewIntel(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := intel.NewPlatform(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return intel, p
}

// TestIntelVerifies takes evidence and collateral the way that users do.
func TestIntelVerifies(t *testing.T) {
	t.Parallel()
	intel, p := newIntel(t)
	for _, kind := range teelab.QuoteKinds() {
		ev, err := p.Evidence(kind, [64]byte{1}, [48]byte{2})
		if err != nil {
			t.Fatal(err)
		}
		c, err := intel.Collateral(p, kind.Type)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := dcap.Verify(ev.Report, c, []dcap.Root{intel.Root()}, nil, time.Now())
		if err != nil {
			t.Fatal(kind.Name, err)
		}
		if ev.Type != kind.Type || !claims.Dev || claims.Root != intel.Root().Name || claims.ReportData() != [64]byte{1} {
			t.Errorf("%s: claims %+v", kind.Name, claims)
		}
	}
}

// TestIntelCertificates checks the chains with the standard library, and that
// nobody can take them for Intel's.
func TestIntelCertificates(t *testing.T) {
	t.Parallel()
	for _, processor := range []bool{false, true} {
		intel, p := newIntel(t, func(p *teelab.Platform) { p.Processor = processor })
		ca, _ := intel.PCKIssuer(p)
		roots, middle := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(intel.RootCA)
		middle.AddCert(ca)
		for _, c := range []*x509.Certificate{p.PCK, ca, intel.TCBSigner} {
			if _, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				t.Errorf("%s: %v", c.Subject.CommonName, err)
			}
			if !strings.HasPrefix(c.Subject.CommonName, "Intel SGX ") || !strings.Contains(c.Subject.Organization[0], "simulated hardware") || c.SerialNumber.BitLen() <= 152 {
				t.Errorf("%v, serial number %x", c.Subject, c.SerialNumber)
			}
		}
		if block, rest := pem.Decode(p.Chain); !bytes.Equal(block.Bytes, p.PCK.Raw) || len(rest) == 0 {
			t.Error("the chain does not begin with the PCK")
		}
		if root, err := dcap.ParseRoot(intel.RootCA.Raw); err != nil || !root.Dev || !intel.Root().Dev {
			t.Errorf("root %+v, %v", root, err)
		}
	}
}

// TestIntelQuote takes quotes apart by the offsets of Intel's documents, and
// checks their signatures.
func TestIntelQuote(t *testing.T) {
	t.Parallel()
	_, p := newIntel(t)
	for _, tt := range []struct {
		kind                teelab.QuoteKind
		body, data, certify int // offsets of body, report data in it, and what certifies
	}{
		{teelab.SGXv3(), 48, 320, 132},
		{teelab.SGXv4(), 48, 320, 138},
		{teelab.SGXv5(), 54, 320, 138},
		{teelab.TDXv4(), 48, 520, 138},
		{teelab.TDXv5(), 54, 520, 138},
		{teelab.TDX15v5(), 54, 520, 138},
	} {
		quote, err := p.Quote(tt.kind, [64]byte{1, 2, 3}, [48]byte{})
		if err != nil {
			t.Fatal(err)
		}
		size := map[int]int{320: 384, 520: 584}[tt.data]
		if tt.kind == teelab.TDX15v5() {
			size = 648
		}
		end := tt.body + size
		if got := quote[tt.body+tt.data:][:64]; !bytes.Equal(got[:3], []byte{1, 2, 3}) {
			t.Errorf("%s: report data %x", tt.kind.Name, got)
		}
		if n := binary.LittleEndian.Uint32(quote[end:]); int(n) != len(quote)-end-4 {
			t.Errorf("%s: %d bytes of signature data in %d", tt.kind.Name, n, len(quote)-end-4)
		}
		key := quote[end+68:][:64]
		if !valid(t, key, quote[:end], quote[end+4:][:64]) {
			t.Errorf("%s: signature wrong", tt.kind.Name)
		}
		qe := quote[end+tt.certify:]
		pck, err := p.PCKKey.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if !valid(t, pck[1:], qe[:384], qe[384:448]) {
			t.Errorf("%s: signature of the QE's report wrong", tt.kind.Name)
		}
		if h := sha256.Sum256(slices.Concat(key, qe[450:482])); !bytes.Equal(qe[320:352], h[:]) {
			t.Errorf("%s: attestation key not bound", tt.kind.Name)
		}
		if !bytes.HasSuffix(quote, p.Chain) {
			t.Errorf("%s: does not end in the PCK chain", tt.kind.Name)
		}
	}
}

// valid reports whether R and S are an ECDSA signature, by X and Y.
func valid(t *testing.T, key, signed, signature []byte) bool {
	t.Helper()
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, key...))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(signed)
	return ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

// TestIntelCollateral checks signatures and form of collateral.
func TestIntelCollateral(t *testing.T) {
	t.Parallel()
	intel, p := newIntel(t)
	for tee, members := range map[string]string{
		attest.SGX: "id version issueDate nextUpdate fmspc pceId tcbType tcbEvaluationDataNumber tcbLevels",
		attest.TDX: "id version issueDate nextUpdate fmspc pceId tcbType tcbEvaluationDataNumber tdxModule tdxModuleIdentities tcbLevels",
	} {
		c, err := intel.Collateral(p, tee)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.TCBInfos) != 1 || len(c.QEIdentities) != 1 || len(c.CRLs) != 3 || len(c.Certificates) != 2 {
			t.Fatalf("%s: collateral %+v", tee, c)
		}
		for _, document := range [][]byte{c.TCBInfos[0], c.QEIdentities[0]} {
			var d struct {
				TCBInfo, EnclaveIdentity json.RawMessage
				Signature                string
			}
			if err := json.Unmarshal(document, &d); err != nil {
				t.Fatal(err)
			}
			signature, err := hex.DecodeString(d.Signature)
			if err != nil {
				t.Fatal(err)
			}
			key, err := intel.TCBSignKey.PublicKey.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !valid(t, key[1:], slices.Concat(d.TCBInfo, d.EnclaveIdentity), signature) {
				t.Errorf("%s: signature wrong of %.60s", tee, document)
			}
			if got := names(d.TCBInfo); d.TCBInfo != nil && got != members {
				t.Errorf("%s: members %s, want %s", tee, got, members)
			}
		}
		for n, ca := range []*x509.Certificate{intel.RootCA, intel.PlatformCA, intel.ProcessorCA} {
			list, err := x509.ParseRevocationList(c.CRLs[n])
			if err != nil {
				t.Fatal(err)
			}
			if err := list.CheckSignatureFrom(ca); err != nil || len(list.RevokedCertificateEntries) != 0 {
				t.Errorf("list %d: %v, %d entries", n, err, len(list.RevokedCertificateEntries))
			}
		}
	}
}

// names returns the names of an object's members, in their order.
func names(object []byte) string {
	var all []string
	d := json.NewDecoder(bytes.NewReader(object))
	for _, err := d.Token(); err == nil && d.More(); {
		name, _ := d.Token()
		all = append(all, name.(string))
		err = d.Decode(new(json.RawMessage))
	}
	return strings.Join(all, " ")
}
