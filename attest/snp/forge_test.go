package snp_test

import (
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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// lab is one simulated manufacturer a product: their keys take long to make.
var lab = map[snp.Product]func() *teelab.AMD{
	snp.Milan: sync.OnceValue(func() *teelab.AMD { return must(teelab.NewAMD(snp.Milan, now)) }),
	snp.Genoa: sync.OnceValue(func() *teelab.AMD { return must(teelab.NewAMD(snp.Genoa, now)) }),
	snp.Turin: sync.OnceValue(func() *teelab.AMD { return must(teelab.NewAMD(snp.Turin, now)) }),
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestVerifySimulated has what verifies: each product, version and signer, with
// certificates in a table or in collateral.
func TestVerifySimulated(t *testing.T) {
	t.Parallel()
	for product, amd := range lab {
		t.Run(string(product), func(t *testing.T) {
			t.Parallel()
			chips := map[snp.SigningKey]*teelab.SNP{snp.VCEK: must(amd().NewSNP()), snp.VLEK: must(amd().NewVLEK("CN=cloud"))}
			for signer, chip := range chips {
				for version := uint32(2); version <= 5; version++ {
					ev := must(chip.Faulty([64]byte{1}, [48]byte{2}, teelab.Version(version)))
					collateral := snp.Collateral{Certificates: chip.Collateral().Certificates, CRLs: chip.Collateral().CRLs}
					for _, auxblob := range [][]byte{ev.Auxblob, nil} {
						c, err := snp.Verify(ev.Report, auxblob, collateral, []snp.Root{amd().Root()}, nil, now)
						if err != nil {
							t.Fatal(err)
						}
						size := 64
						if product == snp.Turin {
							size = 8
						}
						if signer == snp.VLEK {
							size = 0
						}
						if !c.Dev || c.Product != product || c.Signer != signer || c.Report.Version != version || len(c.ChipID) != size ||
							c.Report.ReportData != [64]byte{1} || c.Report.Measurement != [48]byte{2} || (c.CSPID == "CN=cloud") != (signer == snp.VLEK) ||
							len(c.Collateral) != 1 || len(c.Unchecked) != 0 {
							t.Errorf("claims %+v", c)
						}
					}
				}
			}
		})
	}
}

// TestVerifyFaulty has genuine signatures over reports that a verifier must
// refuse, or must not.
func TestVerifyFaulty(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		product snp.Product
		fault   teelab.Fault
		want    error // nil if it verifies: the rest is for the policy
		reason  string
	}{
		{"debug", snp.Milan, teelab.Debug, nil, ""},
		{"migrate", snp.Milan, teelab.MigrateMA, nil, ""},
		{"VMPL 1", snp.Milan, teelab.VMPL(1), nil, ""},
		{"VMPL 4", snp.Milan, teelab.VMPL(4), snp.ErrReport, "VMPL 4, must be 0 to 3"},
		{"other chip", snp.Milan, teelab.ChipID([64]byte{1}), snp.ErrChipID, "the VCEK is for"},
		{"masked chip", snp.Milan, teelab.ChipID([64]byte{}), nil, ""},
		{"other chip of Turin", snp.Turin, teelab.ChipID([64]byte{1}), snp.ErrChipID, "the VCEK is for"},
		{"masked chip of Turin", snp.Turin, teelab.ChipID([64]byte{}), nil, ""},
		{"chip of Turin with a tail", snp.Turin, func(r *snp.Report) { r.ChipID[8] = 1 }, snp.ErrChipID, "more than the 8 bytes"},
		{"masked chip of Turin with a tail", snp.Turin, teelab.ChipID([64]byte{63: 1}), snp.ErrChipID, "more than the 8 bytes"},
		{"other TCB", snp.Milan, teelab.TCB(snp.RawTCB{4, 0, 6: 24, 7: 218}), snp.ErrTCB, "microcode 219, the report says"},
		{"TCB with reserved bytes", snp.Milan, teelab.TCB(snp.RawTCB{4, 0, 1, 6: 24, 7: 219}), snp.ErrReport, "reserved bytes of Milan"},
		{"FMC of Turin", snp.Turin, func(r *snp.Report) { r.ReportedTCB[0]++ }, snp.ErrTCB, "the report says fmc 2"},
		{"launch TCB with reserved bytes", snp.Milan, func(r *snp.Report) { r.LaunchTCB[3] = 1 }, snp.ErrReport, "reserved bytes of Milan"},
		{"processor of another product", snp.Milan, func(r *snp.Report) { r.CPUID.Model = 0x11 }, snp.ErrProduct, "a report of a Genoa with a VCEK for Milan"},
		{"processor of no product", snp.Milan, func(r *snp.Report) { r.CPUID.Family = 0x17 }, snp.ErrProduct, "family 0x17"},
		{"signer VLEK", snp.Milan, func(r *snp.Report) { r.SigningKey = snp.VLEK }, snp.ErrSigner, "signed by a VLEK, and neither"},
		{"signer none", snp.Milan, func(r *snp.Report) { r.SigningKey = snp.NoSigning }, snp.ErrSigner, "signing key is none"},
		{"signing off", snp.Milan, func(r *snp.Report) { r.MaskChipKey = true }, snp.ErrSigner, "MASK_CHIP_KEY"},
		{"version 2", snp.Milan, func(r *snp.Report) { r.Version, r.CPUID = 2, snp.CPUID{} }, nil, ""},
		{"version 5", snp.Genoa, func(r *snp.Report) { r.Version, r.LaunchMitVector = 5, 1 }, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			amd := lab[tt.product]()
			chip := must(amd.NewSNP())
			ev := must(chip.Faulty([64]byte{}, [48]byte{}, tt.fault))
			c, err := snp.Verify(ev.Report, ev.Auxblob, snp.Collateral{}, []snp.Root{amd.Root()}, nil, now)
			check(t, c, err, tt.want, tt.reason)
			if err == nil && string(c.ChipID) != string(chip.VCEK.Extensions[len(chip.VCEK.Extensions)-1].Value) {
				t.Errorf("chip ID %x is not the certificate's", c.ChipID)
			}
		})
	}
}

// TestVerifyMutated changes each field of a good report after it was signed.
func TestVerifyMutated(t *testing.T) {
	t.Parallel()
	amd := lab[snp.Milan]()
	ev := must(must(amd.NewSNP()).Evidence([64]byte{1}, [48]byte{2}))
	const signature = "not made by the certified VCEK over this report"
	for _, tt := range []struct {
		name   string
		offset int
		want   error
		reason string
	}{
		{"version", 0x00, snp.ErrReport, "bytes 0x188 to 0x18a are reserved in version 2"},
		{"guest SVN", 0x04, snp.ErrSignature, signature},
		{"ABI minor", 0x08, snp.ErrSignature, signature},
		{"ABI major", 0x09, snp.ErrSignature, signature},
		{"policy", 0x0A, snp.ErrSignature, signature},
		{"policy's upper bits", 0x0C, snp.ErrReport, "bits above 25"},
		{"family ID", 0x10, snp.ErrSignature, signature},
		{"image ID", 0x20, snp.ErrSignature, signature},
		{"VMPL", 0x30, snp.ErrSignature, signature},
		{"signature algorithm", 0x34, snp.ErrReport, "signature algorithm 0"},
		{"current TCB", 0x38, snp.ErrSignature, signature},
		{"current TCB's reserved bytes", 0x3A, snp.ErrReport, "reserved bytes of Milan"},
		{"platform information", 0x40, snp.ErrSignature, signature},
		{"platform information's upper bits", 0x41, snp.ErrReport, "bits above 7"},
		{"author key", 0x48, snp.ErrSignature, signature},
		{"key information's upper bits", 0x49, snp.ErrReport, "reserved bits above bit 4"},
		{"report data", 0x50, snp.ErrSignature, signature},
		{"end of report data", 0x8F, snp.ErrSignature, signature},
		{"measurement", 0x90, snp.ErrSignature, signature},
		{"end of measurement", 0xBF, snp.ErrSignature, signature},
		{"host data", 0xC0, snp.ErrSignature, signature},
		{"ID key digest", 0xE0, snp.ErrSignature, signature},
		{"author key digest", 0x110, snp.ErrSignature, signature},
		{"report ID", 0x140, snp.ErrSignature, signature},
		{"report ID of migration agent", 0x160, snp.ErrSignature, signature},
		{"reported bootloader", 0x180, snp.ErrTCB, "bootloader 4, tee 0, snp 24, microcode 219, the report says fmc 0, bootloader 5"},
		{"reported TEE", 0x181, snp.ErrTCB, "the report says fmc 0, bootloader 4, tee 1"},
		{"reported SNP", 0x186, snp.ErrTCB, "snp 25"},
		{"reported microcode", 0x187, snp.ErrTCB, "microcode 218"},
		{"family", 0x188, snp.ErrProduct, "family 0x18"},
		{"model", 0x189, snp.ErrSignature, signature},
		{"stepping", 0x18A, snp.ErrSignature, signature},
		{"chip ID", 0x1A0, snp.ErrChipID, "the VCEK is for"},
		{"end of chip ID", 0x1DF, snp.ErrChipID, "the VCEK is for"},
		{"committed TCB", 0x1E0, snp.ErrSignature, signature},
		{"committed TCB's reserved bytes", 0x1E2, snp.ErrReport, "reserved bytes of Milan"},
		{"current build", 0x1E8, snp.ErrSignature, signature},
		{"current minor", 0x1E9, snp.ErrSignature, signature},
		{"current major", 0x1EA, snp.ErrSignature, signature},
		{"committed build", 0x1EC, snp.ErrSignature, signature},
		{"committed minor", 0x1ED, snp.ErrSignature, signature},
		{"committed major", 0x1EE, snp.ErrSignature, signature},
		{"launch TCB", 0x1F0, snp.ErrSignature, signature},
		{"launch TCB's reserved bytes", 0x1F2, snp.ErrReport, "reserved bytes of Milan"},
		{"launch mitigation vector", 0x1F8, snp.ErrReport, "bytes 0x1f8 to 0x207"},
		{"current mitigation vector", 0x200, snp.ErrReport, "bytes 0x1f8 to 0x207"},
		{"R", 0x2A0, snp.ErrSignature, signature},
		{"top of R", 0x2CF, snp.ErrSignature, ""}, // it may get larger than the group order
		{"S", 0x2E8, snp.ErrSignature, signature},
		{"top of S", 0x317, snp.ErrSignature, ""},
	} {
		bad := append([]byte(nil), ev.Report...)
		bad[tt.offset] ^= 1
		t.Run(tt.name, func(t *testing.T) {
			c, err := snp.Verify(bad, ev.Auxblob, snp.Collateral{}, []snp.Root{amd.Root()}, nil, now)
			check(t, c, err, tt.want, tt.reason)
		})
	}
	order := elliptic.P384().Params().N
	for name, n := range map[string]*big.Int{"zero": big.NewInt(0), "the group order": order, "all ones": new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 384), big.NewInt(1))} {
		for i := range 2 {
			r := must(snp.ParseReport(ev.Report))
			n.FillBytes([][]byte{r.SignatureR[:], r.SignatureS[:]}[i])
			t.Run([]string{"R", "S"}[i]+" is "+name, func(t *testing.T) {
				c, err := snp.Verify(r.Encode(), ev.Auxblob, snp.Collateral{}, []snp.Root{amd.Root()}, nil, now)
				check(t, c, err, snp.ErrSignature, "R and S must be from 1 to the group order")
			})
		}
	}
}

// issue signs a certificate in parent's name, with a key that need not be
// parent's.
func issue(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	name := &x509.Certificate{Subject: parent.Subject, RawSubject: parent.RawSubject}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, name, pub, key))))
}

// TestVerifyForgedChain has chains that somebody with some of the keys made.
func TestVerifyForgedChain(t *testing.T) {
	t.Parallel()
	amd, stranger := lab[snp.Milan](), lab[snp.Genoa]()
	chip := must(amd.NewSNP())
	ev := must(chip.Evidence([64]byte{}, [48]byte{}))
	var id [64]byte
	copy(id[:], must(snp.ParseEndorsement(chip.VCEK)).HWID)
	tcb := snp.TCB{Bootloader: 4, SNP: 24, Microcode: 219}
	ask := func(change func(*x509.Certificate)) *x509.Certificate {
		c := *amd.ASK
		c.RawSubject, c.SignatureAlgorithm = nil, x509.SHA384WithRSAPSS
		change(&c)
		return issue(&c, amd.ARK, &amd.ASKKey.PublicKey, amd.ARKKey)
	}
	leaf := func(change func(*x509.Certificate)) *x509.Certificate {
		c := amd.VCEK(id, tcb)
		change(c)
		return issue(c, amd.ASK, chip.VCEK.PublicKey, amd.ASKKey)
	}
	under := func(parent *x509.Certificate) *x509.Certificate {
		return issue(amd.VCEK(id, tcb), parent, chip.VCEK.PublicKey, amd.ASKKey)
	}
	table := func(ask, vcek *x509.Certificate) snp.CertTable {
		return snp.CertTable{ARK: amd.ARK, ASK: ask, VCEK: vcek}
	}
	asvk, asvkKey, err := amd.ASVK()
	if err != nil {
		t.Fatal(err)
	}
	provider := ask(func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK-Milan" })
	genoa := ask(func(c *x509.Certificate) { c.Subject.CommonName = "SEV-Genoa" })
	small := must(rsa.GenerateKey(rand.Reader, 2048))
	smallASK := issue(amd.ASK, amd.ARK, &small.PublicKey, amd.ARKKey)
	for _, tt := range []struct {
		name   string
		table  snp.CertTable
		want   error // nil if it verifies
		reason string
	}{
		{"good", table(amd.ASK, leaf(func(*x509.Certificate) {})), nil, ""},
		{"root of the evidence's own", snp.CertTable{ARK: stranger.ARK, ASK: amd.ASK, VCEK: chip.VCEK}, snp.ErrRoot, "none of the 1 given"},
		{"no ASK", table(nil, chip.VCEK), snp.ErrRoot, "no certificate leads"},
		{"ASK of somebody else", table(stranger.ASK, chip.VCEK), snp.ErrRoot, "no certificate leads"},
		{"ASK signed by itself", table(issue(amd.ASK, amd.ASK, &amd.ASKKey.PublicKey, amd.ASKKey), chip.VCEK), snp.ErrRoot, "no certificate leads"},
		{"ASK signed by a stranger with the root's name", table(issue(amd.ASK, amd.ARK, &amd.ASKKey.PublicKey, stranger.ARKKey), chip.VCEK), snp.ErrChain, "verification error"},
		{"ASK with PKCS #1 v1.5", table(ask(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA }), chip.VCEK), snp.ErrChain, "must be SHA384-RSAPSS"},
		{"ASK with SHA-256", table(ask(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS }), chip.VCEK), snp.ErrChain, "must be SHA384-RSAPSS"},
		{"ASK that is no authority", table(ask(func(c *x509.Certificate) { c.IsCA = false }), chip.VCEK), snp.ErrChain, "not a certificate authority"},
		{"ASK that may not sign certificates", table(ask(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), chip.VCEK), snp.ErrChain, "not a certificate authority"},
		{"ASK with RSA-2048", table(smallASK, issue(amd.VCEK(id, tcb), smallASK, chip.VCEK.PublicKey, small)), snp.ErrChain, "4096 bits"},
		{"ASK expired", table(ask(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) }), chip.VCEK), snp.ErrTime, "SEV-Milan"},
		{"ASK with an unknown critical extension", table(ask(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), chip.VCEK), snp.ErrChain, "critical"},
		{"VCEK under the providers' authority", table(provider, under(provider)), snp.ErrChain, `issuer is "SEV-VLEK-Milan"`},
		{"VCEK under another product's authority", table(genoa, under(genoa)), snp.ErrChain, `issuer is "SEV-Genoa"`},
		{"VCEK signed by the root", table(amd.ASK, issue(amd.VCEK(id, tcb), amd.ARK, chip.VCEK.PublicKey, amd.ARKKey)), snp.ErrRoot, "no certificate leads"},
		{"VCEK signed by itself", table(amd.ASK, selfSigned(amd.VCEK(id, tcb))), snp.ErrRoot, "no certificate leads"},
		{"VCEK signed by a stranger with the ASK's name", table(amd.ASK, issue(amd.VCEK(id, tcb), amd.ASK, chip.VCEK.PublicKey, stranger.ASKKey)), snp.ErrChain, "verification error"},
		{"VCEK with PKCS #1 v1.5", table(amd.ASK, leaf(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA })), snp.ErrChain, "must be SHA384-RSAPSS"},
		{"VCEK that is an authority", table(amd.ASK, leaf(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true })), snp.ErrChain, "must not be"},
		{"VCEK expired", table(amd.ASK, leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })), snp.ErrTime, "SEV-VCEK"},
		{"VCEK not yet valid", table(amd.ASK, leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) })), snp.ErrTime, "SEV-VCEK"},
		{"VCEK of another chip", table(amd.ASK, must(amd.NewSNP()).VCEK), snp.ErrChipID, "VCEK is for"},
		{"VCEK of the same chip, other key", table(amd.ASK, issue(amd.VCEK(id, tcb), amd.ASK, must(amd.NewSNP()).VCEK.PublicKey, amd.ASKKey)), snp.ErrSignature, "not made by"},
		{"VCEK with P-256", table(amd.ASK, issue(amd.VCEK(id, tcb), amd.ASK, &must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey, amd.ASKKey)), snp.ErrCertificate, "P-384"},
		{"VCEK with RSA", table(amd.ASK, issue(amd.VCEK(id, tcb), amd.ASK, &small.PublicKey, amd.ASKKey)), snp.ErrCertificate, "P-384"},
		{"VCEK under the genuine ASVK", table(asvk, issue(amd.VCEK(id, tcb), asvk, chip.VCEK.PublicKey, asvkKey)), snp.ErrChain, `issuer is "SEV-VLEK-Milan"`},
		{"ASVK between ASK and VCEK", table(issue(amd.ASK, asvk, &amd.ASKKey.PublicKey, asvkKey), chip.VCEK), snp.ErrRoot, "no certificate leads"},
		{"VCEK without AMD's extensions", table(amd.ASK, leaf(func(c *x509.Certificate) { c.ExtraExtensions = nil })), snp.ErrCertificate, "is missing"},
		{"VLEK for VCEK", table(amd.ASK, leaf(func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK" })), snp.ErrSigner, `must be "SEV-VCEK"`},
		{"other name for VCEK", table(amd.ASK, leaf(func(c *x509.Certificate) { c.Subject.CommonName = "localhost" })), snp.ErrSigner, `common name is "localhost"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := snp.Verify(ev.Report, tt.table.Encode(), snp.Collateral{}, []snp.Root{amd.Root()}, nil, now)
			check(t, c, err, tt.want, tt.reason)
		})
	}
}

func selfSigned(template *x509.Certificate) *x509.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	template.SignatureAlgorithm = x509.ECDSAWithSHA384
	return issue(template, template, &key.PublicKey, key)
}

// TestParseEndorsementRefuses leaves out, doubles and changes each extension.
func TestParseEndorsementRefuses(t *testing.T) {
	t.Parallel()
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	oid := func(arcs ...int) asn1.ObjectIdentifier {
		return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, arcs...)
	}
	parse := func(amd *teelab.AMD, change func(*x509.Certificate)) (*snp.Endorsement, error) {
		c := amd.VCEK([64]byte{1}, snp.TCB{FMC: 1, Bootloader: 4, SNP: 24, Microcode: 219})
		change(c)
		c.SignatureAlgorithm = x509.ECDSAWithSHA384 // the signature is not looked at
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		return snp.ParseEndorsement(cert)
	}
	with := func(id asn1.ObjectIdentifier, value ...byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for i, ext := range c.ExtraExtensions {
				if ext.Id.Equal(id) {
					c.ExtraExtensions[i].Value = value
					return
				}
			}
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
		}
	}
	for _, product := range []snp.Product{snp.Milan, snp.Turin} {
		amd := lab[product]()
		if _, err := parse(amd, func(*x509.Certificate) {}); err != nil {
			t.Fatal(err)
		}
		for i, ext := range amd.VCEK([64]byte{}, snp.TCB{}).ExtraExtensions {
			_, err := parse(amd, func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions[:i:i], c.ExtraExtensions[i+1:]...)
			})
			if !errors.Is(err, snp.ErrCertificate) {
				t.Errorf("%s without %v: got %v", product, ext.Id, err)
			}
			_, err = parse(amd, func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, ext) })
			if err == nil || !strings.Contains(err.Error(), "duplicate") {
				t.Errorf("%s with two of %v: got %v", product, ext.Id, err)
			}
			if _, err = parse(amd, with(ext.Id, append(ext.Value, 0)...)); !errors.Is(err, snp.ErrCertificate) {
				t.Errorf("%s with a byte behind %v: got %v", product, ext.Id, err)
			}
		}
	}
	milan, turin := lab[snp.Milan](), lab[snp.Turin]()
	for _, tt := range []struct {
		name   string
		amd    *teelab.AMD
		change func(*x509.Certificate)
		reason string // empty if it is read
	}{
		{"HWID as OCTET STRING", milan, with(oid(4), append([]byte{4, 64}, make([]byte, 64)...)...), ""},
		{"HWID of Turin as OCTET STRING", turin, with(oid(4), append([]byte{4, 8}, make([]byte, 8)...)...), ""},
		{"HWID of Turin in a Milan", milan, with(oid(4), make([]byte, 8)...), "has 8 bytes, must have 64"},
		{"HWID of Milan in a Turin", turin, with(oid(4), make([]byte, 64)...), "has 64 bytes, must have 8"},
		{"FMC in a Milan", milan, with(oid(3, 9), 2, 1, 0), "does not belong there"},
		{"SPL 4 in a Turin", turin, with(oid(3, 4), 2, 1, 0), "does not belong there"},
		{"CSP ID in a VCEK", milan, with(oid(5), 0x16, 1, 'x'), "does not belong there"},
		{"unknown extension of AMD", milan, with(oid(9), 2, 1, 0), "does not belong there"},
		{"extension of somebody else", milan, with(asn1.ObjectIdentifier{1, 2, 3}, 5, 0), ""},
		{"reserved SPL set", milan, with(oid(3, 5), 2, 1, 1), "must be zero"},
		{"structure version 1 in a Milan", milan, with(oid(1), 2, 1, 1), "structure version 1, must be 0"},
		{"structure version 0 in a Turin", turin, with(oid(1), 2, 1, 0), "structure version 0, must be 1"},
		{"SPL 256", milan, with(oid(3, 1), 2, 2, 1, 0), "INTEGER of 0 to 255"},
		{"SPL -1", milan, with(oid(3, 1), 2, 1, 0xFF), "INTEGER of 0 to 255"},
		{"SPL not minimal", milan, with(oid(3, 1), 2, 2, 0, 4), "INTEGER of 0 to 255"},
		{"SPL as OCTET STRING", milan, with(oid(3, 1), 4, 1, 4), "INTEGER of 0 to 255"},
		{"SPL empty", milan, with(oid(3, 1)), "INTEGER of 0 to 255"},
		{"product with stepping", milan, with(oid(2), append([]byte{0x16, 8}, "Milan-B0"...)...), ""},
		{"product Venice", milan, with(oid(2), append([]byte{0x16, 6}, "Venice"...)...), "not a Milan, Genoa or Turin"},
		{"product MilanX", milan, with(oid(2), append([]byte{0x16, 6}, "MilanX"...)...), "not a Milan, Genoa or Turin"},
		{"product as UTF8String", milan, with(oid(2), append([]byte{0x0C, 5}, "Milan"...)...), "IA5String"},
		{"product empty", milan, with(oid(2), 0x16, 0), "IA5String"},
		{"VLEK with HWID", milan, func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK" }, "3704.1.5 is missing"},
		{"VLEK with HWID and CSP ID", milan, func(c *x509.Certificate) {
			c.Subject.CommonName = "SEV-VLEK"
			with(oid(5), 0x16, 1, 'x')(c)
		}, "does not belong there"},
		{"neither VCEK nor VLEK", milan, func(c *x509.Certificate) { c.Subject.CommonName = "SEV-PEK" }, "must be SEV-VCEK or SEV-VLEK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := parse(tt.amd, tt.change)
			if tt.reason == "" && err != nil || tt.reason != "" && (!errors.Is(err, snp.ErrCertificate) || e != nil || !strings.Contains(err.Error(), tt.reason)) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}
