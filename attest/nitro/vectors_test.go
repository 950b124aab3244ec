package nitro_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const (
	valid = "nitro/valid-attestation-doc-bytes"
	debug = "nitro/debug-mode-attestation-doc-bytes"
)

var (
	now       = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	validTime = time.Date(2022, 10, 13, 8, 58, 2, 0, time.UTC)
	debugTime = time.Date(2022, 10, 12, 13, 50, 6, 0, time.UTC)
)

// TestAWSRoot checks the root that is compiled in against AWS's published
// fingerprint and against the vectors'.
func TestAWSRoot(t *testing.T) {
	t.Parallel()
	root, err := nitro.AWSRoot()
	if err != nil {
		t.Fatal(err)
	}
	if root.Dev || root.Name != "AWS Nitro Enclaves" || root.Certificate.Subject.CommonName != "aws.nitro-enclaves" {
		t.Errorf("root %+v", root)
	}
	other, err := nitro.ParseRoot(vectors.Read(t, "roots/aws-nitro-root.pem"))
	if err != nil || other.Dev || !other.Certificate.Equal(root.Certificate) {
		t.Errorf("root %+v, %v", other, err)
	}
}

// TestVectors is the verdicts of the vectors' README.md.
func TestVectors(t *testing.T) {
	t.Parallel()
	root := must(nitro.AWSRoot())
	for _, tt := range []struct {
		name, file string
		at         time.Time
		want       error // nil if it verifies
		debug      bool
	}{
		{"valid", valid, validTime, nil, false},
		{"debug", debug, debugTime, nil, true},
		{"valid, now", valid, now, nitro.ErrTime, false},
		{"debug, now", debug, now, nitro.ErrTime, false},
		{"valid, a day before", valid, debugTime, nitro.ErrTime, false},
		{"valid, no time", valid, time.Time{}, nitro.ErrTime, false},
		{"valid, last second", valid, time.Date(2022, 10, 13, 11, 58, 2, 0, time.UTC), nil, false},
		{"valid, a second later", valid, time.Date(2022, 10, 13, 11, 58, 3, 0, time.UTC), nitro.ErrTime, false},
		{"valid, first second", valid, time.Date(2022, 10, 13, 8, 57, 59, 0, time.UTC), nil, false},
		{"valid, a second before", valid, time.Date(2022, 10, 13, 8, 57, 58, 0, time.UTC), nitro.ErrTime, false},
	} {
		for _, seen := range []*pki.Seen{nil, new(pki.Seen)} {
			c, err := nitro.Verify(vectors.Read(t, tt.file), nitro.Collateral{}, []nitro.Root{root}, seen, tt.at)
			if !errors.Is(err, tt.want) || (c == nil) != (err != nil) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			}
			if err != nil {
				continue
			}
			d := c.Document
			if c.Dev || c.Root != root.Name || c.Debug != tt.debug || c.Unchecked != nil || c.Collateral != nil || len(d.PCRs) != 16 || d.Digest != "SHA384" {
				t.Errorf("%s: claims %+v", tt.name, c)
			}
			if tt.debug && (string(d.UserData) != "hello, world!" || string(d.PublicKey) != "my super secret key" || d.Nonce != nil) {
				t.Errorf("%s: %q, %q, %q", tt.name, d.UserData, d.PublicKey, d.Nonce)
			}
			if !tt.debug && (d.ModuleID != "i-020b6af9246d90e92-enc0183d09086c24190" || d.UserData != nil || d.PublicKey != nil || len(d.Nonce) == 0 || d.PCRs[0][0] != 0xF4) {
				t.Errorf("%s: document %+v", tt.name, d)
			}
		}
	}
	tagged := append([]byte{0xD2}, vectors.Read(t, valid)...)
	if _, err := nitro.Verify(tagged, nitro.Collateral{}, []nitro.Root{root}, nil, validTime); err != nil {
		t.Error("tagged: ", err)
	}
}

// TestVectorCrossed puts the certificates of one genuine document into another,
// and gives roots that don't fit.
func TestVectorCrossed(t *testing.T) {
	t.Parallel()
	root := must(nitro.AWSRoot())
	read := func(file string) (message []any, fields map[string]any) {
		if err := cbor.Unmarshal(vectors.Read(t, file), &message); err != nil {
			t.Fatal(err)
		}
		if err := cbor.Unmarshal(message[2].([]byte), &fields); err != nil {
			t.Fatal(err)
		}
		return message, fields
	}
	a, fields := read(valid)
	b, other := read(debug)
	fields["certificate"], fields["cabundle"] = other["certificate"], other["cabundle"]
	swapped := must(cbor.Marshal([]any{a[0], a[1], must(cbor.Marshal(fields)), a[3]}))
	for _, tt := range []struct {
		name     string
		document []byte
		roots    []nitro.Root
		at       time.Time
		want     error
	}{
		{"certificates of another document", swapped, []nitro.Root{root}, debugTime, nitro.ErrTime}, // the document is younger
		{"certificates of another document, later", swapped, []nitro.Root{root}, validTime, nitro.ErrTime},
		{"signature of another document", must(cbor.Marshal([]any{a[0], a[1], a[2], b[3]})), []nitro.Root{root}, validTime, nitro.ErrSignature},
		{"payload of another document", must(cbor.Marshal([]any{a[0], a[1], b[2], a[3]})), []nitro.Root{root}, debugTime, nitro.ErrSignature},
		{"not pinned", vectors.Read(t, valid), []nitro.Root{lab().Root()}, validTime, nitro.ErrRoot},
		{"no roots", vectors.Read(t, valid), nil, validTime, nitro.ErrRoot},
		{"root without certificate", vectors.Read(t, valid), []nitro.Root{{Name: "x"}}, validTime, nitro.ErrRoot},
		{"a CCA token", vectors.Read(t, "cca/cca_token.cbor"), []nitro.Root{root}, validTime, nitro.ErrDocument},
		{"byte behind", append(vectors.Read(t, valid), 0), []nitro.Root{root}, validTime, nitro.ErrDocument},
		{"empty", nil, []nitro.Root{root}, validTime, nitro.ErrDocument},
	} {
		c, err := nitro.Verify(tt.document, nitro.Collateral{}, tt.roots, nil, tt.at)
		if !errors.Is(err, tt.want) || c != nil {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestVectorBitFlips flips a bit in each byte of a genuine document (-short: in
// each seventh), and every bit of its envelope: none of them is accepted.
func TestVectorBitFlips(t *testing.T) {
	t.Parallel()
	roots := []nitro.Root{must(nitro.AWSRoot())}
	document := vectors.Read(t, valid)
	seen := new(pki.Seen)
	flip := func(i, bit int) {
		bad := bytes.Clone(document)
		bad[i] ^= 1 << bit
		if c, err := nitro.Verify(bad, nitro.Collateral{}, roots, seen, validTime); err == nil || c != nil {
			t.Errorf("byte %#x, bit %d flipped: accepted", i, bit)
		}
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := 0; i < len(document); i += step {
		flip(i, i%8)
	}
	for i := range len(document) {
		if i > 16 && i < len(document)-98 {
			continue
		}
		for bit := range 8 {
			flip(i, bit)
		}
	}
	for n := range document {
		if _, err := nitro.Parse(document[:n]); !errors.Is(err, nitro.ErrDocument) {
			t.Fatalf("%d bytes: got %v", n, err)
		}
	}
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	asPEM := func(i int) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lab().Certificates[i].Raw}))
	}
	for _, tt := range []struct {
		name, data string
		reason     string // empty if it is read
	}{
		{"root", asPEM(0), ""},
		{"spaces around", "\n" + asPEM(0) + "\n", ""},
		{"intermediate", asPEM(1), "was not issued by"},
		{"enclave", asPEM(4), "is not a certificate authority"},
		{"two", asPEM(0) + asPEM(0), "exactly one PEM block"},
		{"text before", "x\n" + asPEM(0), "exactly one PEM block"},
		{"empty", "", "exactly one PEM block"},
		{"another block", strings.ReplaceAll(asPEM(0), "CERTIFICATE", "PUBLIC KEY"), "exactly one PEM block"},
		{"not a certificate", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})), "malformed"},
	} {
		root, err := nitro.ParseRoot([]byte(tt.data))
		if tt.reason != "" {
			if !errors.Is(err, nitro.ErrRoot) || !strings.Contains(err.Error(), tt.reason) || root.Certificate != nil {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.reason)
			}
			continue
		}
		if err != nil || !root.Dev || root.Name == "" {
			t.Errorf("%s: got %+v, %v", tt.name, root, err)
		}
	}
}
