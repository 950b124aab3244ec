package snp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

func ders(certs ...*x509.Certificate) [][]byte {
	var out [][]byte
	for _, c := range certs {
		out = append(out, c.Raw)
	}
	return out
}

// leaf returns the certificate that chip's reports are signed under.
func leaf(chip *teelab.SNP) *x509.Certificate {
	if chip.VLEK != nil {
		return chip.VLEK
	}
	return chip.VCEK
}

// TestCollateralCertificates has certificates from elsewhere than a table.
func TestCollateralCertificates(t *testing.T) {
	t.Parallel()
	amd, genoa := lab[snp.Milan](), lab[snp.Genoa]()
	root := amd.Root()
	pinnedASK := root
	pinnedASK.Intermediates = []*x509.Certificate{amd.ASK}
	id, tcb := [64]byte{1, 2, 3}, teelab.DefaultTCB(snp.Milan)
	newer := tcb
	newer.SNP++
	chip := must(amd.NewChip(id, tcb))
	updated, other, foreign, provider := must(amd.NewChip(id, newer)), must(amd.NewSNP()), must(genoa.NewSNP()), must(amd.NewVLEK("CN=cloud"))
	unsigned := issue(amd.VCEK(id, tcb), amd.ASK, chip.VCEK.PublicKey, genoa.ASKKey)
	unsignedOther := issue(amd.VCEK([64]byte{9}, newer), amd.ASK, chip.VCEK.PublicKey, genoa.ASKKey)
	ev, masked := must(chip.Evidence([64]byte{}, [48]byte{})), must(chip.Faulty([64]byte{}, [48]byte{}, teelab.ChipID([64]byte{})))
	fakeARK := issue(amd.ARK, amd.ARK, &genoa.ARKKey.PublicKey, genoa.ARKKey)
	fakeASK := issue(amd.ASK, fakeARK, &genoa.ASKKey.PublicKey, genoa.ARKKey)
	fakeVCEK := issue(amd.VCEK(id, tcb), fakeASK, chip.VCEK.PublicKey, genoa.ASKKey)
	stranger := selfSigned(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}})
	var crowd []*x509.Certificate // VCEKs that all could have signed a report without chip ID
	for range 65 {
		crowd = append(crowd, must(amd.NewSNP()).VCEK)
	}
	staleTable := (&snp.CertTable{ARK: amd.ARK, ASK: amd.ASK, VCEK: updated.VCEK}).Encode()
	many := slices.Repeat(ders(stranger), snp.MaxCertificates-2)

	for _, tt := range []struct {
		name    string
		report  []byte
		auxblob []byte
		certs   [][]byte
		root    snp.Root
		want    error // nil if it verifies
		reason  string
	}{
		{"VCEK and ASK", ev.Report, nil, ders(chip.VCEK, amd.ASK), root, nil, ""},
		{"table of zeros", ev.Report, make([]byte, 4096), ders(chip.VCEK, amd.ASK), root, nil, ""},
		{"with the pinned ARK", ev.Report, nil, ders(amd.ARK, amd.ASK, chip.VCEK), root, nil, ""},
		{"ASK with the root", ev.Report, nil, ders(chip.VCEK), pinnedASK, nil, ""},
		{"each twice", ev.Report, ev.Auxblob, ders(chip.VCEK, amd.ASK, chip.VCEK, amd.ASK), pinnedASK, nil, ""},
		{"ASK in the table", ev.Report, (&snp.CertTable{ASK: amd.ASK}).Encode(), ders(chip.VCEK), root, nil, ""},
		{"VCEK in the table", ev.Report, (&snp.CertTable{VCEK: chip.VCEK}).Encode(), ders(amd.ASK), root, nil, ""},
		{"table from before an update", ev.Report, staleTable, ders(chip.VCEK), root, nil, ""},
		{"among those of others", ev.Report, nil, ders(stranger, foreign.VCEK, genoa.ASK, genoa.ARK, updated.VCEK, other.VCEK, provider.VLEK, provider.ASK, chip.VCEK, amd.ASK), root, nil, ""},
		{"behind one with a broken signature", ev.Report, nil, ders(unsigned, chip.VCEK, amd.ASK), root, nil, ""},
		{"behind a forged chain", ev.Report, nil, ders(fakeVCEK, fakeASK, fakeARK, chip.VCEK, amd.ASK), root, nil, ""},
		{"no chip ID, second of two that fit", masked.Report, nil, ders(other.VCEK, chip.VCEK, amd.ASK), root, nil, ""},
		{"no chip ID, 64th that fits", masked.Report, nil, ders(append(crowd[:63:63], chip.VCEK, amd.ASK)...), root, nil, ""},
		{"as many as may be", ev.Report, nil, append(many, chip.VCEK.Raw, amd.ASK.Raw), root, nil, ""},

		{"none", ev.Report, nil, nil, root, snp.ErrSigner, "neither the certificate table nor the collateral's 0 certificates have one"},
		{"none, table of zeros", ev.Report, make([]byte, 4096), nil, root, snp.ErrSigner, "neither the certificate table"},
		{"only a VLEK", ev.Report, nil, ders(provider.VLEK, provider.ASK), root, snp.ErrSigner, "signed by a VCEK"},
		{"only authorities", ev.Report, nil, ders(amd.ASK, amd.ARK), root, snp.ErrSigner, "collateral's 2 certificates"},
		{"no ASK", ev.Report, nil, ders(chip.VCEK, amd.ARK), root, snp.ErrRoot, "no certificate leads"},
		{"ASVK for ASK", ev.Report, nil, ders(chip.VCEK, provider.ASK), root, snp.ErrRoot, "no certificate leads"},
		{"another chip's", ev.Report, nil, ders(other.VCEK, amd.ASK), root, snp.ErrChipID, "the VCEK is for"},
		{"another TCB's", ev.Report, nil, ders(updated.VCEK, amd.ASK), root, snp.ErrTCB, "snp 25"},
		{"another product's", ev.Report, nil, ders(foreign.VCEK, genoa.ASK), root, snp.ErrProduct, "a report of a Milan with a VCEK for Genoa"},
		{"another chip's and another TCB's", ev.Report, nil, ders(foreign.VCEK, other.VCEK, updated.VCEK, amd.ASK), root, snp.ErrTCB, "none of 3 certificates of a VCEK fits"},
		{"broken signature", ev.Report, nil, ders(unsigned, amd.ASK), root, snp.ErrChain, "verification error"},
		{"broken signature, another chip's", ev.Report, nil, ders(unsignedOther, amd.ASK), root, snp.ErrChain, "verification error"},
		{"forged chain", ev.Report, nil, ders(fakeVCEK, fakeASK, fakeARK), root, snp.ErrRoot, "the ARK-Milan that came with the evidence is none of the roots given"},
		{"forged chain without its ARK", ev.Report, nil, ders(fakeVCEK, fakeASK), root, snp.ErrChain, "verification error"},
		{"genuine certificates, forged ARK in the table", ev.Report, (&snp.CertTable{ARK: fakeARK}).Encode(), ders(chip.VCEK, amd.ASK), root, snp.ErrRoot, "none of the 1 given"},
		{"no chip ID, none that fits", masked.Report, nil, ders(other.VCEK, amd.ASK), root, snp.ErrSignature, "not made by"},
		{"no chip ID, 65 that fit", masked.Report, nil, ders(append(crowd[:64:64], chip.VCEK, amd.ASK)...), root, snp.ErrCollateral, "more than 64 chains"},
		{"too many", ev.Report, nil, append(many, chip.VCEK.Raw, amd.ASK.Raw, amd.ARK.Raw), root, snp.ErrCollateral, "1025 certificates"},
		{"too large", ev.Report, nil, append(ders(chip.VCEK, amd.ASK), make([]byte, 8<<10+1)), root, snp.ErrCollateral, "certificate 2 has 8193 bytes"},
		{"malformed", ev.Report, nil, append(ders(chip.VCEK, amd.ASK), []byte("x")), root, snp.ErrCollateral, "certificate 2: x509"},
		{"byte behind", ev.Report, nil, [][]byte{append(bytes.Clone(chip.VCEK.Raw), 0), amd.ASK.Raw}, root, snp.ErrCollateral, "certificate 0: x509: trailing data"},
		{"PEM", ev.Report, nil, [][]byte{[]byte("-----BEGIN CERTIFICATE-----\n")}, root, snp.ErrCollateral, "certificate 0: x509"},
		{"malformed table beside good ones", ev.Report, []byte{1}, ders(chip.VCEK, amd.ASK), root, snp.ErrTable, "no zero entry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := snp.Verify(tt.report, tt.auxblob, snp.Collateral{Certificates: tt.certs}, []snp.Root{tt.root}, nil, now)
			check(t, c, err, tt.want, tt.reason)
			if err == nil && !bytes.Equal(c.ChipID, id[:]) {
				t.Errorf("chip ID %x", c.ChipID)
			}
		})
	}
	_, err := snp.Verify(ev.Report, nil, snp.Collateral{Certificates: ders(foreign.VCEK, other.VCEK, updated.VCEK, amd.ASK)}, []snp.Root{root}, nil, now)
	if errors.Is(err, snp.ErrChipID) || errors.Is(err, snp.ErrProduct) {
		t.Errorf("not the most telling error: %v", err)
	}
}

// check checks a verdict: claims, or an error of class want that says reason.
func check(t *testing.T, c *snp.Claims, err, want error, reason string) {
	t.Helper()
	if !errors.Is(err, want) || (c == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want %v: %s", err, want, reason)
	}
}

// forgeCRL signs a list in issuer's name, with a key that need not be issuer's,
// nor one that may sign lists.
func forgeCRL(list *x509.RevocationList, issuer *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	name := *issuer
	name.KeyUsage |= x509.KeyUsageCRLSign
	list.SignatureAlgorithm = x509.ECDSAWithSHA384
	return must(x509.CreateRevocationList(rand.Reader, list, &name, key))
}

// TestCRLs has revocation lists with good evidence of a chip and of a provider.
func TestCRLs(t *testing.T) {
	t.Parallel()
	amd, genoa := lab[snp.Milan](), lab[snp.Genoa]()
	chip, provider := must(amd.NewSNP()), must(amd.NewVLEK("CN=cloud"))
	list := func(changes ...func(*x509.RevocationList)) []byte { return must(amd.CRL(changes...)) }
	base := func() *x509.RevocationList {
		return &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	}
	extension := func(critical bool, arcs ...int) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: append(asn1.ObjectIdentifier{2, 5, 29}, arcs...), Critical: critical, Value: []byte{0x30, 0}})
		}
	}
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	namesake := *amd.ARK // of another key
	namesake.SubjectKeyId = []byte{1, 2, 3}
	empty, expired := list(), list(teelab.Dated(now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)))
	// The same ASK, allowed to sign lists.
	template := *amd.ASK
	template.KeyUsage, template.RawSubject, template.SignatureAlgorithm = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil, x509.SHA384WithRSAPSS
	signing := issue(&template, amd.ARK, &amd.ASKKey.PublicKey, amd.ARKKey)
	byASK := func(serials ...int64) []byte {
		l := base()
		l.SignatureAlgorithm = x509.SHA384WithRSAPSS
		for _, serial := range serials {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: now})
		}
		return must(x509.CreateRevocationList(rand.Reader, l, signing, amd.ASKKey))
	}
	template.SerialNumber = big.NewInt(77)
	reissued := issue(&template, amd.ARK, &amd.ASKKey.PublicKey, amd.ARKKey)
	const ark, ask = `revocation list of "ARK-Milan"`, `revocation list of "SEV-Milan"`

	for _, tt := range []struct {
		name      string
		chip      *teelab.SNP
		ask       *x509.Certificate // nil for the chip's own
		crls      [][]byte
		want      error // nil if it verifies
		reason    string
		used      []string // names of lists, if it verifies
		unchecked []string
	}{
		{"none", chip, nil, nil, nil, "", nil, []string{"SEV-Milan"}},
		{"none for a provider", provider, nil, nil, nil, "", nil, []string{"SEV-VLEK-Milan"}},
		{"empty", chip, nil, [][]byte{empty}, nil, "", []string{ark}, nil},
		{"empty for a provider", provider, nil, [][]byte{empty}, nil, "", []string{ark}, nil},
		{"twice", chip, nil, [][]byte{empty, empty}, nil, "", []string{ark}, nil},
		{"made now", chip, nil, [][]byte{list(teelab.Dated(now, now.Add(time.Second)))}, nil, "", []string{ark}, nil},
		{"expired", chip, nil, [][]byte{expired}, nil, "", []string{ark}, nil},
		{"of another product", chip, nil, [][]byte{must(genoa.CRL(teelab.Revoke(genoa.ASK)))}, nil, "", nil, []string{"SEV-Milan"}},
		{"of another product and of this", chip, nil, [][]byte{must(genoa.CRL()), empty}, nil, "", []string{ark}, nil},
		{"of another key of the same name", chip, nil, [][]byte{forgeCRL(base(), &namesake, key)}, nil, "", nil, []string{"SEV-Milan"}},
		{"ASVK revoked, for a chip", chip, nil, [][]byte{list(teelab.Revoke(provider.ASK))}, nil, "", []string{ark}, nil},
		{"ASK revoked, for a provider", provider, nil, [][]byte{list(teelab.Revoke(amd.ASK))}, nil, "", []string{ark}, nil},
		{"the ASK's own, empty", chip, signing, [][]byte{byASK(), empty}, nil, "", []string{ark, ask}, nil},
		{"the ASK's own and not the ARK's", chip, signing, [][]byte{byASK(2, 3)}, nil, "", []string{ask}, []string{"SEV-Milan"}},
		{"ASK revoked, and issued anew", chip, reissued, [][]byte{list(teelab.Revoke(amd.ASK))}, nil, "", []string{ark}, nil},

		{"ASK revoked", chip, nil, [][]byte{list(teelab.Revoke(amd.ASK))}, pki.ErrRevoked, `"SEV-Milan", serial number 10001`, nil, nil},
		{"ASVK revoked", provider, nil, [][]byte{list(teelab.Revoke(provider.ASK))}, pki.ErrRevoked, `"SEV-VLEK-Milan", serial number 10101`, nil, nil},
		{"ASK revoked by one of two", chip, nil, [][]byte{empty, list(teelab.Revoke(amd.ASK))}, pki.ErrRevoked, "SEV-Milan", nil, nil},
		{"ASK revoked, expired", chip, nil, [][]byte{list(teelab.Revoke(amd.ASK), teelab.Dated(now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0)))}, pki.ErrRevoked, "SEV-Milan", nil, nil},
		{"ASK among many revoked", chip, nil, [][]byte{list(teelab.Revoke(provider.ASK, amd.ARK, amd.ASK))}, pki.ErrRevoked, "SEV-Milan", nil, nil},
		{"VCEK revoked by the ASK", chip, signing, [][]byte{empty, byASK(1)}, pki.ErrRevoked, `"SEV-VCEK", serial number 1`, nil, nil},
		{"of the future", chip, nil, [][]byte{list(teelab.Dated(now.Add(time.Second), now.Add(time.Hour)))}, pki.ErrCRL, "it was made at", nil, nil},
		{"of the future beside a good one", chip, nil, [][]byte{empty, list(teelab.Dated(now.Add(time.Second), now.Add(time.Hour)))}, pki.ErrCRL, "it was made at", nil, nil},
		{"signed by somebody else", chip, nil, [][]byte{forgeCRL(base(), amd.ARK, key)}, pki.ErrCRL, ark, nil, nil},
		{"signed by another product's ARK", chip, nil, [][]byte{must(x509.CreateRevocationList(rand.Reader, base(), amd.ARK, genoa.ARKKey))}, pki.ErrCRL, "verification error", nil, nil},
		{"signed by the ASK in the ARK's name", chip, nil, [][]byte{must(x509.CreateRevocationList(rand.Reader, base(), amd.ARK, amd.ASKKey))}, pki.ErrCRL, "verification error", nil, nil},
		{"by an ASK that may not", chip, nil, [][]byte{byASK()}, pki.ErrCRL, ask, nil, nil},
		{"delta", chip, nil, [][]byte{list(extension(true, 27))}, pki.ErrCRL, "delta", nil, nil},
		{"of some certificates", chip, nil, [][]byte{list(extension(true, 28))}, pki.ErrCRL, "issuing distribution point", nil, nil},
		{"unknown critical extension", chip, nil, [][]byte{list(extension(true, 99))}, pki.ErrCRL, "critical extension 2.5.29.99", nil, nil},
		{"malformed", chip, nil, [][]byte{empty, []byte("x")}, pki.ErrCRL, "list 1: x509", nil, nil},
		{"byte behind", chip, nil, [][]byte{append(bytes.Clone(empty), 0)}, pki.ErrCRL, "1 bytes behind it", nil, nil},
		{"too many", chip, nil, slices.Repeat([][]byte{empty}, pki.MaxCRLs+1), pki.ErrCRL, "65 lists", nil, nil},
		{"too large", chip, nil, [][]byte{make([]byte, pki.MaxCRLBytes+1)}, pki.ErrCRL, "at most 4194304", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ev := must(tt.chip.Evidence([64]byte{}, [48]byte{}))
			table := snp.CertTable{ARK: amd.ARK, ASK: tt.chip.ASK, VCEK: tt.chip.VCEK, VLEK: tt.chip.VLEK}
			if tt.ask != nil {
				table.ASK = tt.ask
			}
			c, err := snp.Verify(ev.Report, table.Encode(), snp.Collateral{CRLs: tt.crls}, []snp.Root{amd.Root()}, nil, now)
			check(t, c, err, tt.want, tt.reason)
			if err != nil || t.Failed() {
				return
			}
			var names []string
			for _, used := range c.Collateral {
				names = append(names, used.Name)
				if used.Issued.IsZero() || used.Issued.After(now) || !used.Expires.After(used.Issued) {
					t.Errorf("dates of %+v", used)
				}
			}
			if !slices.Equal(names, tt.used) || !slices.Equal(c.Unchecked, tt.unchecked) {
				t.Errorf("used %q, unchecked %q", names, c.Unchecked)
			}
		})
	}
	ev := must(chip.Evidence([64]byte{}, [48]byte{}))
	c := must(snp.Verify(ev.Report, ev.Auxblob, snp.Collateral{CRLs: [][]byte{empty, expired}}, []snp.Root{amd.Root()}, nil, now))
	if len(c.Collateral) != 1 || !c.Collateral[0].Expires.After(now) {
		t.Errorf("the list that holds longest counts, not %+v", c.Collateral)
	}
}
