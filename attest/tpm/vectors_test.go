package tpm_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/tpm"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

func captured(t *testing.T) []byte {
	t.Helper()
	return vectors.Read(t, "tpm/trustee-tpm_evidence.json")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// pinned returns the captured AK as a root, read from PEM.
func pinned(t *testing.T) tpm.Root {
	t.Helper()
	e, err := tpm.ParseEvidence(captured(t))
	if err != nil {
		t.Fatal(err)
	}
	root, err := tpm.ParseRoot(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: e.AKPublic}))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestVector is the verdicts of the vectors' README.md: valid if the AK is
// pinned, refused otherwise.
func TestVector(t *testing.T) {
	t.Parallel()
	root := pinned(t)
	c, err := tpm.Verify(captured(t), tpm.Collateral{}, []tpm.Root{root}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	q := c.Quote
	if c.Dev || c.Root != root.Name || c.AKCertificate != nil || c.Unchecked != nil || c.Collateral != nil || len(c.AK) != 32 ||
		len(q.ExtraData) != 64 || !bytes.HasPrefix(q.ExtraData, []byte{0xA0, 0x41}) || q.FirmwareVersion != 0x2019102300163636 ||
		q.ResetCount != 2 || q.RestartCount != 0 || !q.Safe || q.Clock != 0x720e6e2b {
		t.Errorf("claims %+v", c)
	}
	if len(c.PCRs) != 24 || len(q.Selections) != 1 || q.Selections[0].Bank != tpm.SHA256 || !bytes.Equal(c.PCR(tpm.SHA256, 17), bytes.Repeat([]byte{0xFF}, 32)) ||
		!bytes.Equal(c.PCR(tpm.SHA256, 0), make([]byte, 32)) || c.PCR(tpm.SHA256, 24) != nil || c.PCR(tpm.SHA384, 0) != nil {
		t.Errorf("PCRs %+v of %+v", c.PCRs, q.Selections)
	}

	_, collateral := withCA(t)
	for _, tt := range []struct {
		name       string
		collateral tpm.Collateral
		roots      []tpm.Root
		at         time.Time
		want       error
		reason     string
	}{
		{"not pinned", tpm.Collateral{}, []tpm.Root{lab().PinnedRoot()}, now, tpm.ErrRoot, "is not pinned, and no certificate endorses it"},
		{"authority pinned, no certificate", tpm.Collateral{}, []tpm.Root{lab().Root()}, now, tpm.ErrRoot, "is not pinned, and no certificate endorses it"},
		{"certificate of another AK", collateral, []tpm.Root{lab().Root()}, now, tpm.ErrRoot, "is not pinned, and no certificate endorses it"},
		{"no roots", tpm.Collateral{}, nil, now, tpm.ErrRoot, "no roots were given"},
		{"empty root", tpm.Collateral{}, []tpm.Root{{}}, now, tpm.ErrRoot, "must have an AK or an authority"},
		{"root with both", tpm.Collateral{}, []tpm.Root{{AK: root.AK, CA: lab().CA}}, now, tpm.ErrRoot, "and not both"},
		{"root that is no authority", tpm.Collateral{}, []tpm.Root{{CA: lab().Cert}}, now, tpm.ErrRoot, "is not a certificate authority"},
		{"root of another kind of key", tpm.Collateral{}, []tpm.Root{{AK: "x"}}, now, tpm.ErrRoot, "must be RSA or ECDSA"},
		{"no time", tpm.Collateral{}, []tpm.Root{root}, time.Time{}, tpm.ErrTime, "no time"},
	} {
		c, err := tpm.Verify(captured(t), tt.collateral, tt.roots, nil, tt.at)
		if !errors.Is(err, tt.want) || c != nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: got %v, want %v, %q", tt.name, err, tt.want, tt.reason)
		}
	}
}

// TestVectorRoundTrip encodes the captured quote and signature again.
func TestVectorRoundTrip(t *testing.T) {
	t.Parallel()
	e, err := tpm.ParseEvidence(captured(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(e.Quote.Encode(), e.Message) {
		t.Error("encoding the quote gives other bytes")
	}
	again, err := tpm.ParseEvidence(must(e.Encode()))
	if err != nil || !bytes.Equal(again.Signature.Encode(), e.Signature.Encode()) || !bytes.Equal(again.AKPublic, e.AKPublic) || !bytes.Equal(again.Message, e.Message) {
		t.Errorf("encoding the evidence gives other evidence: %v", err)
	}
}

// TestVectorBitFlips flips every bit of the captured evidence (-short: one in each
// seventh byte): none of them is accepted.
func TestVectorBitFlips(t *testing.T) {
	t.Parallel()
	roots := []tpm.Root{pinned(t)}
	evidence := bytes.TrimSpace(captured(t))
	step, bits := 1, 8
	if testing.Short() {
		step, bits = 7, 1
	}
	seen := new(pki.Seen)
	for i := 0; i < len(evidence); i += step {
		for bit := range bits {
			bad := bytes.Clone(evidence)
			bad[i] ^= 1 << ((i + bit) % 8)
			if c, err := tpm.Verify(bad, tpm.Collateral{}, roots, seen, now); err == nil || c != nil {
				t.Errorf("byte %d, bit %d flipped: accepted %q", i, (i+bit)%8, bad[max(0, i-5):i+5])
			}
		}
	}
	for n := range evidence {
		if _, err := tpm.ParseEvidence(evidence[:n]); !errors.Is(err, tpm.ErrEvidence) {
			t.Fatalf("%d bytes: got %v", n, err)
		}
	}
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ak := must(x509.MarshalPKIXPublicKey(lab().AK.Public()))
	good := block("CERTIFICATE", lab().CA.Raw)
	for _, tt := range []struct {
		name, data string
		dev        bool
		reason     string // empty if it is read
	}{
		{"AK", block("PUBLIC KEY", ak), false, ""},
		{"authority", good, true, ""},
		{"AK certificate", block("CERTIFICATE", lab().Cert.Raw), false, "is not a certificate authority"},
		{"private key", block("PRIVATE KEY", ak), false, "must be PUBLIC KEY or CERTIFICATE"},
		{"two", good + good, false, "exactly one PEM block"},
		{"text before", "x\n" + good, false, "exactly one PEM block"},
		{"empty", "", false, "exactly one PEM block"},
		{"not DER", block("CERTIFICATE", []byte{1}), false, "malformed"},
		{"key not DER", block("PUBLIC KEY", []byte{1}), false, "root: "},
		{"RSA of 1024 bits", block("PUBLIC KEY", rsa1024), false, "2048 to 4096 bits"},
		{"P-224", block("PUBLIC KEY", p224), false, "must be on P-256 or P-384"},
		{"P-521", block("PUBLIC KEY", p521), false, "must be on P-256 or P-384"},
		{"Ed25519", block("PUBLIC KEY", ed25519Key), false, "must be RSA or ECDSA"},
	} {
		root, err := tpm.ParseRoot([]byte(tt.data))
		if tt.reason != "" {
			if !errors.Is(err, tpm.ErrRoot) || !strings.Contains(err.Error(), tt.reason) || root.AK != nil || root.CA != nil {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.reason)
			}
			continue
		}
		if err != nil || root.Dev != tt.dev || root.Name == "" || (root.AK == nil) == (root.CA == nil) {
			t.Errorf("%s: got %+v, %v", tt.name, root, err)
		}
	}
}
