package pki_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
)

var update = flag.Bool("update", false, "write new seeds to testdata")

// The seeds are lists of an authority whose key is gone, and of a stranger. The
// file has the authority's certificate and that of a leaf. Fuzz with
// -fuzzminimizetime=1x: Go otherwise spends the time on shrinking what it finds.
const (
	seedChain  = "testdata/chain.pem"
	seedFolder = "testdata/fuzz/FuzzCRLs"
)

// FuzzCRLs reads a list and looks a certificate up in it. What it claims is only
// ever what the authority signed. It allocates at most 64 KiB and 64 times its
// input: an entry of 20 bytes is some hundred when it is read, and twice so while
// the list grows.
func FuzzCRLs(f *testing.F) {
	ca, cert := chain(f)
	var signed [][]byte
	for _, name := range []string{"good", "revoking", "future"} {
		signed = append(signed, must(x509.ParseRevocationList(seed(f, name))).RawTBSRevocationList)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		var crls pki.CRLs
		var err error
		fuzzcheck.Memory(t, 64<<10+64*len(der), func() { crls, err = pki.ParseCRLs([][]byte{der}) })
		if err != nil {
			if crls != nil || !errors.Is(err, pki.ErrCRL) {
				t.Fatalf("lists %v with error %v", crls, err)
			}
			return
		}
		if len(crls) != 1 || !bytes.Equal(crls[0].Raw, der) {
			t.Fatal("the list is not what was read")
		}
		used, err := crls.Check(cert, ca, nil, now)
		if err != nil && (used != nil || !errors.Is(err, pki.ErrCRL) && !errors.Is(err, pki.ErrRevoked)) {
			t.Fatalf("used %v with error %v", used, err)
		}
		genuine := false
		for _, body := range signed {
			genuine = genuine || bytes.Equal(body, crls[0].RawTBSRevocationList)
		}
		if (used != nil || errors.Is(err, pki.ErrRevoked)) && !genuine {
			t.Fatalf("a list was taken that was never signed: %x", der)
		}
	})
}

// chain reads the certificates that the seeds are about.
func chain(t testing.TB) (ca, cert *x509.Certificate) {
	t.Helper()
	data, err := os.ReadFile(seedChain)
	if err != nil {
		t.Fatal(err)
	}
	first, rest := pem.Decode(data)
	second, _ := pem.Decode(rest)
	return must(x509.ParseCertificate(first.Bytes)), must(x509.ParseCertificate(second.Bytes))
}

// seed reads a seed file.
func seed(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(seedFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	var s string
	if _, err := fmt.Sscanf(string(data), "go test fuzz v1\n[]byte(%q)", &s); err != nil {
		t.Fatal(name, err)
	}
	return []byte(s)
}

// TestSeeds checks that the fuzz target starts from something, and with -update
// makes that.
func TestSeeds(t *testing.T) {
	if *update {
		writeSeeds(t)
	}
	ca, cert := chain(t)
	for name, want := range map[string]error{"good": nil, "revoking": pki.ErrRevoked, "future": pki.ErrCRL, "delta": pki.ErrCRL, "stranger": nil} {
		used, err := must(pki.ParseCRLs([][]byte{seed(t, name)})).Check(cert, ca, nil, now)
		if !errors.Is(err, want) || (used != nil) != (name == "good") {
			t.Errorf("%s: got %v, %v; run go test -run TestSeeds -update", name, used, err)
		}
	}
}

func writeSeeds(t *testing.T) {
	ca := root()
	var certs []byte
	for _, cert := range []*x509.Certificate{ca.cert, leaf()} {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	if err := os.MkdirAll(seedFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seedChain, certs, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"good":     list(ca),
		"revoking": list(ca, revoke(42)),
		"future":   list(ca, dated(1e9, 1e12)),
		"delta":    list(ca, extended(ext(true, 2, 5, 29, 27))),
		"stranger": list(newAuthority("root", both, newKey()), revoke(42)),
	} {
		if err := os.WriteFile(filepath.Join(seedFolder, name), fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", der), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
