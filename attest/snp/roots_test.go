package snp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// amdFingerprints is the SHA-256 of each certificate that AMD publishes as root
// or authority.
var amdFingerprints = map[string]string{
	"ARK-Milan":      "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
	"SEV-Milan":      "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
	"SEV-VLEK-Milan": "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
	"ARK-Genoa":      "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	"SEV-Genoa":      "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
	"SEV-VLEK-Genoa": "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
	"ARK-Turin":      "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
	"SEV-Turin":      "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
	"SEV-VLEK-Turin": "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
}

func TestAMDRoots(t *testing.T) {
	t.Parallel()
	roots, seen := snp.AMDRoots(), 0
	if len(roots) != 3 {
		t.Fatalf("%d roots", len(roots))
	}
	for i, product := range []snp.Product{snp.Milan, snp.Genoa, snp.Turin} {
		root := roots[i]
		if root.Dev || root.Product != product || root.Name != "ARK-"+string(product)+" of Advanced Micro Devices" || len(root.Intermediates) != 2 {
			t.Errorf("root %+v", root)
		}
		for _, cert := range append(root.Intermediates, root.ARK) {
			sum := sha256.Sum256(cert.Raw)
			if got, want := hex.EncodeToString(sum[:]), amdFingerprints[cert.Subject.CommonName]; got != want {
				t.Errorf("%s: fingerprint %s, want %s", cert.Subject.CommonName, got, want)
			}
			if err := root.ARK.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
				t.Errorf("%s: %v", cert.Subject.CommonName, err)
			}
			seen++
		}
	}
	if seen != len(amdFingerprints) {
		t.Errorf("%d certificates", seen)
	}
	roots[0].Product, roots[0].Intermediates[0] = snp.Turin, nil
	if again := snp.AMDRoots(); again[0].Product != snp.Milan || again[0].Intermediates[0] == nil {
		t.Error("a caller's changes stay")
	}
}

// TestAMDRootsMatchVectors compares what is compiled in with the captured files.
func TestAMDRootsMatchVectors(t *testing.T) {
	t.Parallel()
	captured := amdRoots(t)
	for i, root := range snp.AMDRoots() {
		if !root.ARK.Equal(captured[i].ARK) || root.Name != captured[i].Name {
			t.Errorf("%s is not the captured one", root.Name)
		}
	}
}

// TestFakeAMDRoot has a root of somebody else that copies all of AMD's names.
func TestFakeAMDRoot(t *testing.T) {
	t.Parallel()
	amd := lab[snp.Milan]()
	genuine := snp.AMDRoots()[0].ARK
	copied := &x509.Certificate{
		SerialNumber: genuine.SerialNumber, Subject: genuine.Subject, RawSubject: genuine.RawSubject,
		NotBefore: genuine.NotBefore, NotAfter: genuine.NotAfter, KeyUsage: genuine.KeyUsage,
		BasicConstraintsValid: true, IsCA: true, SignatureAlgorithm: x509.SHA384WithRSAPSS, SubjectKeyId: genuine.SubjectKeyId,
	}
	fake := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, copied, copied, &amd.ARKKey.PublicKey, amd.ARKKey))))
	if !bytes.Equal(fake.RawSubject, genuine.RawSubject) {
		t.Fatal("the name was not copied")
	}
	root, err := snp.ParseRoot(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: fake.Raw}))
	if err != nil || !root.Dev || !strings.Contains(root.Name, "none of AMD's") {
		t.Errorf("root %q, development %v, %v", root.Name, root.Dev, err)
	}

	// It certifies what looks like AMD's hardware. Whoever pins it by hand, without
	// Dev, still gets claims that say what it is.
	ask := issue(amd.ASK, fake, &amd.ASKKey.PublicKey, amd.ARKKey)
	chip := must(amd.NewSNP())
	template := amd.VCEK([64]byte(must(snp.ParseEndorsement(chip.VCEK)).HWID), must(snp.ParseEndorsement(chip.VCEK)).TCB)
	vcek := issue(template, ask, chip.VCEK.PublicKey, amd.ASKKey)
	ev := must(chip.Evidence([64]byte{}, [48]byte{}))
	table := (&snp.CertTable{ARK: fake, ASK: ask, VCEK: vcek}).Encode()
	pinned := snp.Root{Name: "AMD", Product: snp.Milan, ARK: fake}
	c, err := snp.Verify(ev.Report, table, snp.Collateral{}, []snp.Root{pinned}, nil, now)
	if err != nil || !c.Dev {
		t.Errorf("claims %+v, %v", c, err)
	}
	c, err = snp.Verify(ev.Report, table, snp.Collateral{}, snp.AMDRoots(), nil, now)
	check(t, c, err, snp.ErrRoot, "none of the 3 given")
	c, err = snp.Verify(ev.Report, nil, snp.Collateral{Certificates: ders(fake, ask, vcek)}, snp.AMDRoots(), nil, now)
	check(t, c, err, snp.ErrRoot, "the ARK-Milan that came with the evidence is none of the roots given")
	c, err = snp.Verify(ev.Report, nil, snp.Collateral{Certificates: ders(ask, vcek)}, snp.AMDRoots(), nil, now)
	check(t, c, err, snp.ErrChain, "verification error")
}
