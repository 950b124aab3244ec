package dcap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// TestRefusesQuote has well signed quotes that no hardware makes, or not with
// this collateral.
func TestRefusesQuote(t *testing.T) {
	t.Parallel()
	w := lab()
	refuse(t, []negative{
		{"version 2", quoted(sgx3, func(q iq) { q.Header.Version = 2 }), dcap.ErrQuote, "version 2, must be"},
		{"version 6", quoted(td5, func(q iq) { q.Header.Version = 6 }), dcap.ErrQuote, "version 6, must be"},
		{"TDX in version 3", quoted(td4, func(q iq) { q.Header.Version = 3 }), dcap.ErrQuote, "TEE type 0x81 in version 3"},
		{"key type P-384", quoted(sgx3, func(q iq) { q.Header.KeyType = 3 }), dcap.ErrQuote, "key type 3"},
		{"key type EPID", quoted(sgx3, func(q iq) { q.Header.KeyType = 0 }), dcap.ErrQuote, "key type 0"},
		{"TEE type 0x80", quoted(td4, func(q iq) { q.Header.TEE = 0x80 }), dcap.ErrQuote, "TEE type 0x80"},
		{"TEE type with high bits", quoted(td4, func(q iq) { q.Header.TEE = 0x10081 }), dcap.ErrQuote, "TEE type 0x10081"},
		{"reserved QE SVN of version 4", quoted(td4, func(q iq) { q.Header.QESVN = 1 }), dcap.ErrQuote, "reserved in version 4"},
		{"reserved PCE SVN of version 5", quoted(td5, func(q iq) { q.Header.PCESVN = 256 }), dcap.ErrQuote, "reserved in version 5"},
		{"foreign QE vendor", quoted(sgx3, func(q iq) { q.Header.Vendor[0]++ }), dcap.ErrQuote, "vendor"},
		{"body type 0", quoted(td5, func(q iq) { q.BodyType = 0 }), dcap.ErrQuote, "body type 0"},
		{"body type 4", quoted(td15, func(q iq) { q.BodyType = 4 }), dcap.ErrQuote, "body type 4"},
		{"TDX called SGX", quoted(td15, func(q iq) { q.BodyType = 1 }), dcap.ErrQuote, "not for the header's TEE type"},
		{"SGX called TDX", quoted(sgx5, func(q iq) { q.BodyType = 2 }), dcap.ErrQuote, "not for the header's TEE type"},
		{"bytes behind the QE's part", quoted(td4, func(q iq) { q.Trailing = []byte{0} }), dcap.ErrQuote, "1 bytes too many"},
		{"PCK chain where the QE belongs", quoted(td4, func(q iq) { q.OuterType = 5 }), dcap.ErrQuote, "certification data type 5"},
		{"encrypted PPID for PCK", quoted(sgx3, func(q iq) { q.CertType = 3 }), dcap.ErrCertData, "can't be verified offline"},
		{"QE report in the QE report", quoted(td4, func(q iq) { q.CertType = 6 }), dcap.ErrCertData, "certification data type 6"},
		{"R zero", trial{kind: sgx3, raw: fill(436, 0)}, dcap.ErrSignature, "group order"},
		{"S all ones", trial{kind: td4, raw: fill(48+584+4+32, 0xFF)}, dcap.ErrSignature, "group order"},
		{"QE's R all ones", trial{kind: sgx3, raw: fill(436+128+384, 0xFF)}, dcap.ErrSignature, "group order"},
		{"QE's S zero", trial{kind: td4, raw: fill(48+584+4+128+6+384+32, 0)}, dcap.ErrSignature, "group order"},

		{"enclave's reserved bytes 20", quoted(sgx3, func(q iq) { q.SGX.Reserved1[0] = 1 }), dcap.ErrQuote, "bytes 20 to 31 of the enclave report"},
		{"enclave's reserved bytes 96", quoted(sgx3, func(q iq) { q.SGX.Reserved2[31] = 1 }), dcap.ErrQuote, "bytes 96 to 127 of the enclave report"},
		{"enclave's reserved bytes 160", quoted(sgx5, func(q iq) { q.SGX.Reserved3[0] = 1 }), dcap.ErrQuote, "bytes 160 to 191 of the enclave report"},
		{"enclave's reserved bytes 262", quoted(sgx3, func(q iq) { q.SGX.Reserved4[41] = 1 }), dcap.ErrQuote, "bytes 262 to 303 of the enclave report"},
		{"enclave's reserved attribute", quoted(sgx3, func(q iq) { q.SGX.Attributes[0] |= 8 }), dcap.ErrQuote, "reserved bits 0x8 in ATTRIBUTES"},
		{"enclave's reserved misc select", quoted(sgx3, func(q iq) { q.SGX.MiscSelect = 1 << 31 }), dcap.ErrQuote, "reserved bits 0x80000000 in MISCSELECT"},
		{"enclave not initialised", quoted(sgx3, func(q iq) { q.SGX.Attributes[0] &^= 1 }), dcap.ErrQuote, "never initialised"},
		{"TD's reserved attribute 1", quoted(td4, func(q iq) { q.TD.Attributes[0] = 2 }), dcap.ErrQuote, "reserved bits 0x2 in TDATTRIBUTES"},
		{"TD's reserved attribute 61", quoted(td15, func(q iq) { q.TD.Attributes[7] = 0x20 }), dcap.ErrQuote, "reserved bits 0x2000000000000000"},
		{"SEAM attribute", quoted(td4, func(q iq) { q.TD.SEAMAttributes[0] = 1 }), dcap.ErrQuote, "SEAMATTRIBUTES"},
		{"SEAM attribute of a module without version", quoted(td4, func(q iq) { q.TD.TEETCB[1], q.TD.SEAMAttributes[7] = 0, 0x80 }), dcap.ErrQuote, "SEAMATTRIBUTES"},

		{"attestation key not bound", quoted(sgx3, func(q iq) { q.AttKey = w.key }), dcap.ErrBinding, "the hash of attestation key"},
		{"attestation key of the twin", quoted(td15, func(q iq) { q.AttKey = w.twin.AttKey }), dcap.ErrBinding, "the hash of attestation key"},
		{"authentication data not bound", quoted(sgx3, func(q iq) { q.QEAuth = []byte("other") }), dcap.ErrBinding, "the hash of attestation key"},
		{"authentication data left out", quoted(td4, func(q iq) { q.QEAuth = nil }), dcap.ErrBinding, "the hash of attestation key"},
		{"QE report data zero", quoted(sgx3, func(q iq) { q.QE.ReportData = [64]byte{} }), dcap.ErrBinding, "the hash of attestation key"},
		{"QE report data's second half", quoted(sgx3, func(q iq) { q.QE.ReportData[32] = 1 }), dcap.ErrBinding, "second half"},
		{"QE report data's last bit", quoted(td4, func(q iq) { q.QE.ReportData[63] = 0x80 }), dcap.ErrBinding, "second half"},

		{"QE of another signer", quoted(sgx3, func(q iq) { q.QE.MRSIGNER[0]++ }), dcap.ErrQE, "MRSIGNER"},
		{"SGX by the TD QE", quoted(sgx3, func(q iq) { q.QE.ISVProdID = 2 }), dcap.ErrQE, "ISVPRODID"},
		{"TDX by the SGX QE", quoted(td4, func(q iq) { q.QE.ISVProdID = 1 }), dcap.ErrQE, "ISVPRODID"},
		{"QE with misc select", quoted(sgx3, func(q iq) { q.QE.MiscSelect = 1 }), dcap.ErrQE, "MISCSELECT"},
		{"QE in debug mode", quoted(sgx3, func(q iq) { q.QE.Attributes[0] |= 2 }), dcap.ErrQE, "ATTRIBUTES"},
		{"QE without provisioning key", quoted(sgx3, func(q iq) { q.QE.Attributes[0] &^= 0x10 }), dcap.ErrQE, "ATTRIBUTES"},
		{"QE that is a launch enclave", quoted(sgx3, func(q iq) { q.QE.Attributes[0] |= 0x20 }), dcap.ErrQE, "ATTRIBUTES"},
		{"QE older than all levels", quoted(sgx3, func(q iq) { q.QE.ISVSVN = 5 }), dcap.ErrTCBLevel, "the quoting enclave has version 5"},
		{"QE not initialised", quoted(sgx3, func(q iq) { q.QE.Attributes[0] &^= 1 }), dcap.ErrQuote, "QE report is of an enclave that was never initialised"},
		{"QE's reserved attribute", quoted(td4, func(q iq) { q.QE.Attributes[7] = 1 }), dcap.ErrQuote, "QE report has the reserved bits"},
		{"QE's reserved bytes 20", quoted(sgx3, func(q iq) { q.QE.Reserved1[11] = 1 }), dcap.ErrQuote, "bytes 20 to 31 of the QE report"},
		{"QE's reserved bytes 96", quoted(sgx3, func(q iq) { q.QE.Reserved2[0] = 1 }), dcap.ErrQuote, "bytes 96 to 127 of the QE report"},
		{"QE's reserved bytes 160", quoted(td4, func(q iq) { q.QE.Reserved3[31] = 1 }), dcap.ErrQuote, "bytes 160 to 191 of the QE report"},
		{"QE's reserved bytes 262", quoted(td4, func(q iq) { q.QE.Reserved4[0] = 1 }), dcap.ErrQuote, "bytes 262 to 303 of the QE report"},

		{"module of another signer", quoted(td4, func(q iq) { q.TD.MRSIGNERSEAM[0] = 1 }), dcap.ErrModule, "MRSIGNERSEAM"},
		{"module of another signer in TDX 1.5", quoted(td15, func(q iq) { q.TD.MRSIGNERSEAM[47] = 1 }), dcap.ErrModule, "MRSIGNERSEAM"},
		{"module without version of another signer", quoted(td4, func(q iq) { q.TD.TEETCB[1], q.TD.MRSIGNERSEAM[0] = 0, 1 }), dcap.ErrModule, "MRSIGNERSEAM"},
		{"module of unknown version", quoted(td4, func(q iq) { q.TD.TEETCB[1] = 2 }), dcap.ErrModule, "TDX_02"},
		{"module of unknown version now", quoted(td15, func(q iq) { q.TD.TEETCB2[1] = 2 }), dcap.ErrModule, "TDX_02"},
		{"module older than all levels", quoted(td4, func(q iq) { q.TD.TEETCB[0] = 2 }), dcap.ErrTCBLevel, "less than the lowest"},
	})
}

// TestRefusesChain has chains of certificates that somebody with some of the keys
// made, and TCB signing certificates.
func TestRefusesChain(t *testing.T) {
	t.Parallel()
	w := lab()
	i, s, p := w.intel, w.stranger, w.platform
	pckKey, caKey := &p.PCKKey.PublicKey, &i.PlatformKey.PublicKey
	chain := func(certs ...*x509.Certificate) trial {
		return quoted(td4, func(q iq) { q.Chain = teelab.ChainPEM(certs...) })
	}
	// ca is a PCK CA's certificate with a change, that certifies the platform.
	ca := func(change func(*x509.Certificate)) trial {
		c := i.Template("Intel SGX PCK Platform CA", caKey, true)
		change(c)
		intermediate := issue(c, i.RootCA, caKey, i.RootKey)
		return chain(issue(ok(i.PCKTemplate(p)), intermediate, pckKey, i.PlatformKey), intermediate, i.RootCA)
	}
	leaf := func(change func(*x509.Certificate)) trial {
		c := ok(i.PCKTemplate(p))
		change(c)
		return chain(issue(c, i.PlatformCA, pckKey, i.PlatformKey), i.PlatformCA, i.RootCA)
	}
	signer := func(change func(*x509.Certificate)) trial {
		c := i.Template("Intel SGX TCB Signing", &i.TCBSignKey.PublicKey, false)
		change(c)
		cert := issue(c, i.RootCA, &i.TCBSignKey.PublicKey, i.RootKey)
		return trial{kind: td4, before: []func(ic){func(c ic) { c.Certificates[0] = cert }}}
	}
	// by is collateral that another key signed, with a certificate of it.
	by := func(key *ecdsa.PrivateKey, certs ...*x509.Certificate) trial {
		return trial{kind: td4, before: []func(ic){func(c ic) { c.SignKey, c.Certificates = key, certs }}}
	}
	if c, err := dcap.Verify(ok(p.Quote(td4, [64]byte{}, [48]byte{})), ok(i.Collateral(p, td4.Type)), []dcap.Root{i.Root()}, nil, time.Time{}); c != nil || !errors.Is(err, dcap.ErrTime) {
		t.Errorf("no time: got %v", err)
	}
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	expired := func(c *x509.Certificate) { c.NotAfter = labNow.Add(-time.Second) }
	early := func(c *x509.Certificate) { c.NotBefore = labNow.Add(time.Second) }
	p384CA := issue(i.Template("Intel SGX PCK Platform CA", &w.p384.PublicKey, true), i.RootCA, &w.p384.PublicKey, i.RootKey)
	self := func(name string, isCA bool, key *ecdsa.PrivateKey) *x509.Certificate {
		c := i.Template(name, &key.PublicKey, isCA)
		return issue(c, c, &key.PublicKey, key)
	}
	fake := self("Intel SGX PCK Platform CA", true, w.key)
	refuse(t, []negative{
		{"chip swap", chain(w.twin.PCK, i.PlatformCA, i.RootCA), dcap.ErrSignature, "QE report, by the PCK"},
		{"chip swap to the other CA", chain(w.processor.PCK, i.ProcessorCA, i.RootCA), dcap.ErrSignature, "QE report, by the PCK"},
		{"no certificates", chain(), dcap.ErrCertData, "0 certificates"},
		{"four certificates", chain(p.PCK, i.PlatformCA, i.RootCA, i.RootCA), dcap.ErrCertData, "4 certificates"},
		{"chain that is not PEM", quoted(td4, func(q iq) { q.Chain = p.PCK.Raw }), dcap.ErrCertData, "PEM blocks"},
		{"text in the chain", quoted(td4, func(q iq) { q.Chain = append([]byte("x\n"), q.Chain...) }), dcap.ErrCertData, "PEM blocks"},
		{"chain the wrong way round", chain(i.RootCA, i.PlatformCA, p.PCK), dcap.ErrRoot, "ends in a root that is none"},
		{"PCK alone", chain(p.PCK), dcap.ErrChain, `no certificate of its issuer "Intel SGX PCK Platform CA"`},
		{"no PCK", chain(i.PlatformCA, i.RootCA), dcap.ErrChain, `"Intel SGX Root CA", must be`},
		{"no PCK CA", chain(p.PCK, i.RootCA), dcap.ErrChain, `"Intel SGX Root CA", must be`},
		{"root of somebody else with the same names", chain(p.PCK, i.PlatformCA, s.RootCA), dcap.ErrRoot, "none of the 1 given"},
		{"all of somebody else", trial{kind: td4, platform: w.foreign, maker: s}, dcap.ErrRoot, "none of the 1 given"},
		{"all of somebody else, root left out", trial{kind: td4, platform: w.foreign, maker: s, quote: []func(iq){func(q iq) { q.Chain = teelab.ChainPEM(w.foreign.PCK, s.PlatformCA) }}}, dcap.ErrChain, "verification failure"},
		{"all of somebody else, our root", trial{kind: td4, platform: w.foreign, maker: s, quote: []func(iq){func(q iq) { q.Chain = teelab.ChainPEM(w.foreign.PCK, s.PlatformCA, i.RootCA) }}}, dcap.ErrChain, "verification failure"},

		{"PCK CA of somebody else with the same names", chain(p.PCK, s.PlatformCA, i.RootCA), dcap.ErrChain, "verification failure"},
		{"PCK CA signed by itself", chain(issue(ok(i.PCKTemplate(p)), fake, pckKey, w.key), fake, i.RootCA), dcap.ErrChain, `was not issued by "Intel SGX Root CA"`},
		{"PCK CA for the other", chain(p.PCK, i.ProcessorCA, i.RootCA), dcap.ErrChain, "was not issued by"},
		{"PCK CA of another name", ca(func(c *x509.Certificate) { c.Subject.CommonName = "Intel SGX TCB Signing" }), dcap.ErrChain, `issuer is "Intel SGX TCB Signing"`},
		{"PCK CA that is no authority", ca(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 }), dcap.ErrChain, "not a certificate authority"},
		{"PCK CA without constraints", ca(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), dcap.ErrChain, "not a certificate authority"},
		{"PCK CA that may not sign certificates", ca(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), dcap.ErrChain, "not a certificate authority"},
		{"PCK CA on P-384", chain(issue(ok(i.PCKTemplate(p)), p384CA, pckKey, w.p384), p384CA, i.RootCA), dcap.ErrChain, "must be on P-256"},
		{"PCK CA signed with SHA-384", ca(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 }), dcap.ErrChain, "signed with ECDSA-SHA384"},
		{"PCK CA expired", ca(expired), dcap.ErrTime, "Platform CA"},
		{"PCK CA with an unknown critical extension", ca(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }), dcap.ErrChain, "unknown critical"},

		{"PCK signed by a stranger with the CA's name", chain(issue(ok(i.PCKTemplate(p)), i.PlatformCA, pckKey, w.key), i.PlatformCA, i.RootCA), dcap.ErrChain, "verification failure"},
		{"PCK signed by the root", chain(issue(ok(i.PCKTemplate(p)), i.RootCA, pckKey, i.RootKey), i.RootCA), dcap.ErrChain, `issuer is "Intel SGX Root CA"`},
		{"PCK signed by the root in the CA's name", chain(issue(ok(i.PCKTemplate(p)), i.PlatformCA, pckKey, i.RootKey), i.PlatformCA, i.RootCA), dcap.ErrChain, "verification failure"},
		{"PCK signed by another PCK", chain(issue(ok(i.PCKTemplate(p)), w.twin.PCK, pckKey, w.twin.PCKKey), w.twin.PCK, i.RootCA), dcap.ErrChain, `issuer is "Intel SGX PCK Certificate"`},
		{"PCK signed by the TCB signer", chain(issue(ok(i.PCKTemplate(p)), i.TCBSigner, pckKey, i.TCBSignKey), i.TCBSigner, i.RootCA), dcap.ErrChain, `issuer is "Intel SGX TCB Signing"`},
		{"PCK that is an authority", leaf(func(c *x509.Certificate) { c.IsCA = true }), dcap.ErrChain, "is a certificate authority"},
		{"PCK that may sign certificates", leaf(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), dcap.ErrChain, "not for certificates"},
		{"PCK of another name", leaf(func(c *x509.Certificate) { c.Subject.CommonName = "Intel SGX TCB Signing" }), dcap.ErrChain, `must be "Intel SGX PCK Certificate"`},
		{"PCK on P-384", chain(issue(ok(i.PCKTemplate(p)), i.PlatformCA, &w.p384.PublicKey, i.PlatformKey), i.PlatformCA, i.RootCA), dcap.ErrChain, "must be on P-256"},
		{"PCK signed with SHA-384", leaf(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 }), dcap.ErrChain, "signed with ECDSA-SHA384"},
		{"PCK of the same platform with another key", chain(issue(ok(i.PCKTemplate(p)), i.PlatformCA, &w.key.PublicKey, i.PlatformKey), i.PlatformCA, i.RootCA), dcap.ErrSignature, "QE report, by the PCK"},
		{"PCK expired", leaf(expired), dcap.ErrTime, "PCK Certificate"},
		{"PCK not valid yet", leaf(early), dcap.ErrTime, "PCK Certificate"},
		{"PCK with an unknown critical extension", leaf(func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, critical) }), dcap.ErrChain, "unknown critical"},
		{"PCK without the SGX extension", leaf(func(c *x509.Certificate) { c.ExtraExtensions = nil }), dcap.ErrPCK, "extension is missing"},

		{"no TCB signer", by(i.TCBSignKey, i.RootCA), dcap.ErrChain, `no certificate "Intel SGX TCB Signing"`},
		{"TCB signer of somebody else with the same names", by(s.TCBSignKey, s.TCBSigner), dcap.ErrChain, "verification failure"},
		{"TCB signer signed by itself", by(w.key, self("Intel SGX TCB Signing", false, w.key)), dcap.ErrChain, "was not issued by"},
		{"TCB signer signed by a PCK CA", by(w.key, issue(i.Template("Intel SGX TCB Signing", &w.key.PublicKey, false), i.PlatformCA, &w.key.PublicKey, i.PlatformKey)), dcap.ErrChain, "was not issued by"},
		{"collateral signed by the root", by(i.RootKey, i.RootCA), dcap.ErrChain, "no certificate"},
		{"collateral signed by the PCK CA", by(i.PlatformKey, i.PlatformCA), dcap.ErrChain, "no certificate"},
		{"collateral signed by the PCK", by(p.PCKKey, p.PCK), dcap.ErrChain, "no certificate"},
		{"TCB signer that is an authority", signer(func(c *x509.Certificate) { c.IsCA = true }), dcap.ErrChain, "is a certificate authority"},
		{"TCB signer that may not sign", signer(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }), dcap.ErrChain, "for digital signatures"},
		{"TCB signer on P-384", by(i.TCBSignKey, issue(i.Template("Intel SGX TCB Signing", &w.p384.PublicKey, false), i.RootCA, &w.p384.PublicKey, i.RootKey)), dcap.ErrChain, "must be on P-256"},
		{"TCB signer expired", signer(expired), dcap.ErrTime, "TCB Signing"},

		{"roots: none", trial{kind: td4, roots: []dcap.Root{}}, dcap.ErrRoot, "no roots were given"},
		{"roots: somebody else's", trial{kind: td4, roots: []dcap.Root{s.Root()}}, dcap.ErrRoot, "none of the 1 given"},
		{"roots: Intel's", trial{kind: td4, roots: []dcap.Root{dcap.IntelRoot()}}, dcap.ErrRoot, "none of the 1 given"},
		{"roots: one without certificate", trial{kind: td4, roots: []dcap.Root{{Name: "x"}}}, dcap.ErrRoot, "no certificate"},
		{"roots: the PCK CA", trial{kind: td4, roots: []dcap.Root{{Name: "x", Cert: i.PlatformCA}}}, dcap.ErrRoot, `must be "Intel SGX Root CA"`},
		{"time: before the certificates", trial{kind: td4, now: i.RootCA.NotBefore.Add(-time.Second)}, dcap.ErrTime, "is valid from"},
		{"time: after the certificates", trial{kind: td4, now: i.RootCA.NotAfter.Add(time.Second)}, dcap.ErrTime, "is valid from"},
	})
}

// TestRefusesPCK has PCK certificates from the right CA with another SGX
// extension.
func TestRefusesPCK(t *testing.T) {
	t.Parallel()
	w := lab()
	type attrs = []teelab.SGXAttribute
	more := func(v any, arcs ...int) teelab.SGXAttribute {
		return teelab.SGXAttribute{ID: append(teelab.SGXExtensionID(), arcs...), Value: v}
	}
	pck := func(p *teelab.Platform, change func(attrs) attrs) trial {
		ca, key := w.intel.PCKIssuer(p)
		cert := issue(ok(w.intel.PCKTemplate(p, change)), ca, &p.PCKKey.PublicKey, key)
		return trial{kind: sgx3, platform: p, quote: []func(iq){func(q iq) { q.Chain = teelab.ChainPEM(cert, ca, w.intel.RootCA) }}}
	}
	set := func(n int, v any) func(attrs) attrs {
		return func(list attrs) attrs { list[n].Value = v; return list }
	}
	tcb := func(n int, v any) func(attrs) attrs {
		return func(list attrs) attrs { list[1].Value.(attrs)[n].Value = v; return list }
	}
	p := w.platform
	list := []negative{
		{"PPID of 15 bytes", pck(p, set(0, make([]byte, 15))), dcap.ErrPCK, "OCTET STRING of 16 bytes"},
		{"PPID as number", pck(p, set(0, 1)), dcap.ErrPCK, "OCTET STRING of 16 bytes"},
		{"FMSPC of 5 bytes", pck(p, set(3, make([]byte, 5))), dcap.ErrPCK, "OCTET STRING of 6 bytes"},
		{"SGX type 3", pck(p, set(4, asn1.Enumerated(3))), dcap.ErrPCK, "number of 0 to 2"},
		{"configuration not a BOOLEAN", pck(p, func(l attrs) attrs { l[6].Value.(attrs)[0].Value = 1; return l }), dcap.ErrPCK, "BOOLEAN"},
		{"component 256", pck(p, tcb(0, 256)), dcap.ErrPCK, "number of 0 to 255"},
		{"component -1", pck(p, tcb(15, -1)), dcap.ErrPCK, "number of 0 to 255"},
		{"PCE SVN 65536", pck(p, tcb(16, 65536)), dcap.ErrPCK, "number of 0 to 65535"},
		{"CPU SVN of 17 bytes", pck(p, tcb(17, make([]byte, 17))), dcap.ErrPCK, "OCTET STRING of 16 bytes"},
		{"TCB not a SEQUENCE", pck(p, set(1, 1)), dcap.ErrPCK, "SEQUENCE"},
		{"a 19th TCB member", pck(p, func(l attrs) attrs { l[1].Value = append(l[1].Value.(attrs), more(0, 2, 19)); return l }), dcap.ErrPCK, "does not belong there"},
		{"unknown attribute", pck(p, func(l attrs) attrs { return append(l, more(0, 8)) }), dcap.ErrPCK, "does not belong there"},
		{"no attributes", pck(p, func(attrs) attrs { return attrs{} }), dcap.ErrPCK, "missing"},
		{"platform instance from the Processor CA", pck(w.processor, func(l attrs) attrs { return append(l, more(make([]byte, 16), 6)) }), dcap.ErrPCK, "does not belong there"},
	}
	for n, a := range p.SGXAttributes() {
		list = append(list,
			negative{fmt.Sprintf("without %v", a.ID), pck(p, func(l attrs) attrs { return slices.Delete(l, n, n+1) }), dcap.ErrPCK, "missing"},
			negative{fmt.Sprintf("two of %v", a.ID), pck(p, func(l attrs) attrs { return append(l, l[n]) }), dcap.ErrPCK, "twice"})
	}
	for n, a := range p.SGXAttributes()[1].Value.(attrs) {
		list = append(list,
			negative{fmt.Sprintf("without %v", a.ID), pck(p, func(l attrs) attrs { l[1].Value = slices.Delete(l[1].Value.(attrs), n, n+1); return l }), dcap.ErrPCK, "missing"},
			negative{fmt.Sprintf("two of %v", a.ID), pck(p, func(l attrs) attrs { tcb := l[1].Value.(attrs); l[1].Value = append(tcb, tcb[n]); return l }), dcap.ErrPCK, "twice"})
	}
	refuse(t, list)
}

// TestRefusesCollateral has collateral that is not what Intel says about this
// platform at this time. All of it is well signed, but where that is the fault.
func TestRefusesCollateral(t *testing.T) {
	t.Parallel()
	w := lab()
	i := w.intel
	with := func(kind teelab.QuoteKind, fault func(ic)) trial {
		return trial{kind: kind, before: []func(ic){fault}}
	}
	after := func(kind teelab.QuoteKind, fault func(*dcap.Collateral)) trial {
		return trial{kind: kind, after: fault}
	}
	// crl changes the list n: 0 the root's, 1 the Platform CA's, 2 the Processor CA's.
	crl := func(n int, fault func(*teelab.IntelCRL)) trial {
		return with(td4, func(c ic) { fault(&c.CRLs[n]) })
	}
	// info and qe change the text before it is signed.
	info := func(kind teelab.QuoteKind, old, new string) trial {
		return with(kind, func(c ic) { c.EditTCBInfo = replace(old, new) })
	}
	qe := func(kind teelab.QuoteKind, old, new string) trial {
		return with(kind, func(c ic) { c.EditQE = replace(old, new) })
	}
	infoText := func(change func(string) string) trial {
		return after(td4, func(c *dcap.Collateral) { c.TCBInfos[0] = []byte(change(string(c.TCBInfos[0]))) })
	}
	qeText := func(change func(string) string) trial {
		return after(td4, func(c *dcap.Collateral) { c.QEIdentities[0] = []byte(change(string(c.QEIdentities[0]))) })
	}
	future := labNow.Add(time.Second).Format(time.RFC3339)
	refuse(t, []negative{
		{"PCK revoked", crl(1, func(l *teelab.IntelCRL) { l.Revoke(w.platform.PCK) }), pki.ErrRevoked, "Intel SGX PCK Certificate"},
		{"PCK of the Processor CA revoked", trial{kind: sgx3, platform: w.processor, before: []func(ic){func(c ic) { c.CRLs[2].Revoke(w.twin.PCK, w.processor.PCK) }}}, pki.ErrRevoked, "Intel SGX PCK Certificate"},
		{"PCK revoked in one of two lists", with(td4, func(c ic) {
			c.CRLs = append(c.CRLs, i.CRL(i.PlatformCA, i.PlatformKey))
			c.CRLs[3].Revoke(w.platform.PCK)
		}), pki.ErrRevoked, "Intel SGX PCK Certificate"},
		{"PCK revoked in an expired list", crl(1, func(l *teelab.IntelCRL) {
			l.Revoke(w.platform.PCK)
			l.ThisUpdate, l.NextUpdate = labNow.AddDate(0, 0, -9), labNow.AddDate(0, 0, -2)
		}), pki.ErrRevoked, "Intel SGX PCK Certificate"},
		{"PCK CA revoked", crl(0, func(l *teelab.IntelCRL) { l.Revoke(i.PlatformCA) }), pki.ErrRevoked, "Intel SGX PCK Platform CA"},
		{"TCB signer revoked", crl(0, func(l *teelab.IntelCRL) { l.Revoke(i.TCBSigner) }), pki.ErrRevoked, "Intel SGX TCB Signing"},
		{"revocation list forged", crl(1, func(l *teelab.IntelCRL) { l.Key = w.key }), pki.ErrCRL, "Platform CA"},
		{"revocation list of the root forged by a PCK CA", crl(0, func(l *teelab.IntelCRL) { l.Key = i.PlatformKey }), pki.ErrCRL, "Root CA"},
		{"revocation list of the future", crl(1, func(l *teelab.IntelCRL) { l.ThisUpdate = labNow.Add(time.Second) }), pki.ErrCRL, "was made at"},
		{"revocation list torn", after(td4, func(c *dcap.Collateral) { c.CRLs[1] = c.CRLs[1][:len(c.CRLs[1])-1] }), pki.ErrCRL, "malformed"},
		{"revocation list with one byte more", after(td4, func(c *dcap.Collateral) { c.CRLs[1] = append(c.CRLs[1], 0) }), pki.ErrCRL, "bytes behind it"},
		{"revocation list empty", after(td4, func(c *dcap.Collateral) { c.CRLs[0] = nil }), pki.ErrCRL, "malformed"},
		{"revocation list for only some reasons", crl(1, func(l *teelab.IntelCRL) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
		}), pki.ErrCRL, "of some certificates only"},
		{"certificate torn", after(td4, func(c *dcap.Collateral) { c.Certificates[0] = c.Certificates[0][:100] }), dcap.ErrChain, "malformed"},

		{"no TCB info", with(td4, func(c ic) { c.TCBInfo = nil }), dcap.ErrCollateral, "TCB info"},
		{"no QE identity", with(td4, func(c ic) { c.QEIdentity = nil }), dcap.ErrCollateral, "QE identity"},
		{"TCB info of another FMSPC", trial{kind: td4, about: w.otherKind}, dcap.ErrCollateral, "FMSPC"},
		{"TCB info of another PCE", trial{kind: td4, about: w.otherPCE}, dcap.ErrCollateral, "PCE"},
		{"SGX collateral for TDX", trial{kind: td4, tee: attest.SGX}, dcap.ErrCollateral, "TDX"},
		{"TDX collateral for SGX", trial{kind: sgx3, tee: attest.TDX}, dcap.ErrCollateral, "SGX"},
		{"TDX QE identity for SGX", with(sgx3, func(c ic) { c.QEIdentity.ID = "TD_QE" }), dcap.ErrCollateral, "QE"},
		{"SGX QE identity for TDX", with(td4, func(c ic) { c.QEIdentity.ID = "QE" }), dcap.ErrCollateral, "TD_QE"},
		{"identity of the QVE", with(td4, func(c ic) { c.QEIdentity.ID = "QVE" }), dcap.ErrCollateral, "QVE"},

		{"TCB info of an unknown TEE", with(td4, func(c ic) { c.TCBInfo.ID = "TDX2" }), dcap.ErrTCBInfo, "id must be"},
		{"TCB info version 2", with(sgx3, func(c ic) { c.TCBInfo.Version = 2 }), dcap.ErrTCBInfo, "version must be 3"},
		{"TCB info version 4", with(td4, func(c ic) { c.TCBInfo.Version = 4 }), dcap.ErrTCBInfo, "version must be 3"},
		{"TCB type 1", with(td4, func(c ic) { c.TCBInfo.TCBType = 1 }), dcap.ErrTCBInfo, "tcbType"},
		{"TCB info of the future", with(td4, func(c ic) { c.TCBInfo.IssueDate = future }), dcap.ErrTime, "TCB info"},
		{"TCB info that ends before it begins", with(td4, func(c ic) { c.TCBInfo.NextUpdate = labNow.AddDate(0, -1, 0).Format(time.RFC3339) }), dcap.ErrTCBInfo, "nextUpdate"},
		{"TCB info without end", info(td4, `"nextUpdate"`, `"nextUpdates"`), dcap.ErrTCBInfo, "nextUpdate"},
		{"TCB info with a date in words", with(td4, func(c ic) { c.TCBInfo.IssueDate = "yesterday" }), dcap.ErrTCBInfo, "issueDate"},
		{"TCB info with a short FMSPC", with(td4, func(c ic) { c.TCBInfo.FMSPC = "00" }), dcap.ErrTCBInfo, "fmspc"},
		{"TCB info without number", info(td4, `"tcbEvaluationDataNumber":20,`, ``), dcap.ErrTCBInfo, "tcbEvaluationDataNumber"},
		{"TCB info with a negative number", info(td4, `"tcbEvaluationDataNumber":20`, `"tcbEvaluationDataNumber":-1`), dcap.ErrTCBInfo, "tcbEvaluationDataNumber"},
		{"TCB info with an unknown status", with(td4, func(c ic) { c.TCBInfo.TCBLevels[0].TCBStatus = "Fine" }), dcap.ErrTCBInfo, "Fine"},
		{"TCB info with a status of relaunch", with(td4, func(c ic) { c.TCBInfo.TCBLevels[0].TCBStatus = "TDRelaunchAdvised" }), dcap.ErrTCBInfo, "TDRelaunchAdvised"},
		{"TCB info with a module's unknown status", with(td4, func(c ic) { c.TCBInfo.TDXModuleIdentities[1].TCBLevels[1].TCBStatus = "" }), dcap.ErrTCBInfo, "tcbStatus"},
		{"TCB info with 15 components", with(td4, func(c ic) { c.TCBInfo.TCBLevels[0].TCB.SGX = c.TCBInfo.TCBLevels[0].TCB.SGX[:15] }), dcap.ErrTCBInfo, "sgxtcbcomponents"},
		{"TDX TCB info without TDX components", with(td4, func(c ic) { c.TCBInfo.TCBLevels[0].TCB.TDX = nil }), dcap.ErrTCBInfo, "tdxtcbcomponents"},
		{"TCB info with the component 256", with(td4, func(c ic) { c.TCBInfo.TCBLevels[0].TCB.SGX[0].SVN = 256 }), dcap.ErrTCBInfo, "svn"},
		{"TCB info with the PCE SVN 65536", with(sgx3, func(c ic) { c.TCBInfo.TCBLevels[0].TCB.PCESVN = 65536 }), dcap.ErrTCBInfo, "pcesvn"},
		{"TCB info without levels", with(td4, func(c ic) { c.TCBInfo.TCBLevels = nil }), dcap.ErrTCBInfo, "tcbLevels"},
		{"TDX TCB info without module", with(td4, func(c ic) { c.TCBInfo.TDXModule = nil }), dcap.ErrTCBInfo, "tdxModule"},
		{"TCB info with a module's short signer", with(td4, func(c ic) { c.TCBInfo.TDXModuleIdentities[1].MRSIGNER = "00" }), dcap.ErrTCBInfo, "mrsigner"},
		{"TCB info with two identities of one module", with(td4, func(c ic) { c.TCBInfo.TDXModuleIdentities[0].ID = "tdx_01" }), dcap.ErrTCBInfo, "twice"},
		{"TCB info without the module's version", with(td4, func(c ic) { c.TCBInfo.TDXModuleIdentities = c.TCBInfo.TDXModuleIdentities[:1] }), dcap.ErrModule, "TDX_01"},
		{"TCB info wants another module signer", with(td4, func(c ic) { c.TCBInfo.TDXModuleIdentities[1].MRSIGNER = strings.Repeat("1", 96) }), dcap.ErrModule, "MRSIGNERSEAM"},
		{"TCB info wants other module attributes", with(td4, func(c ic) { c.TCBInfo.TDXModuleIdentities[1].Attributes = "0100000000000000" }), dcap.ErrModule, "SEAMATTRIBUTES"},
		{"TCB info wants another signer of modules without version", trial{kind: td4, quote: []func(iq){func(q iq) { q.TD.TEETCB[1] = 0 }}, before: []func(ic){func(c ic) { c.TCBInfo.TDXModule.MRSIGNER = strings.Repeat("1", 96) }}}, dcap.ErrModule, "MRSIGNERSEAM"},
		{"platform older than all levels", with(sgx3, func(c ic) { c.TCBInfo.TCBLevels = c.TCBInfo.TCBLevels[:1]; c.TCBInfo.TCBLevels[0].TCB.SGX[15].SVN = 1 }), dcap.ErrTCBLevel, "components"},
		{"PCE older than all levels", with(sgx3, func(c ic) { c.TCBInfo.TCBLevels = c.TCBInfo.TCBLevels[:1]; c.TCBInfo.TCBLevels[0].TCB.PCESVN = 14 }), dcap.ErrTCBLevel, "PCESVN 13"},
		{"TDX platform older than all levels", with(td4, func(c ic) { c.TCBInfo.TCBLevels = c.TCBInfo.TCBLevels[:1]; c.TCBInfo.TCBLevels[0].TCB.TDX[2].SVN = 5 }), dcap.ErrTCBLevel, "TEE_TCB_SVN"},
		{"level with a name twice", info(td4, `"pcesvn":13`, `"pcesvn":255,"pcesvn":13`), dcap.ErrTCBInfo, "twice"},
		{"status twice", info(td4, `"tcbStatus":"UpToDate"`, `"tcbStatus":"Revoked","tcbStatus":"UpToDate"`), dcap.ErrTCBInfo, "twice"},
		{"status twice, spelled otherwise", info(td4, `"tcbStatus":"UpToDate"`, `"tcbStatus":"Revoked","tcbStatu\u0073":"UpToDate"`), dcap.ErrTCBInfo, "twice"},
		{"FMSPC twice", info(td4, `"fmspc":`, `"fmspc":"000000000000","fmspc":`), dcap.ErrTCBInfo, "twice"},

		{"QE identity version 3", with(td4, func(c ic) { c.QEIdentity.Version = 3 }), dcap.ErrQEIdentity, "version must be 2"},
		{"QE identity of the future", with(td4, func(c ic) { c.QEIdentity.IssueDate = future }), dcap.ErrTime, "QE identity"},
		{"QE identity that ends before it begins", with(td4, func(c ic) { c.QEIdentity.NextUpdate = "2020-01-01T00:00:00Z" }), dcap.ErrQEIdentity, "nextUpdate"},
		{"QE identity without number", qe(td4, `"tcbEvaluationDataNumber":20,`, ``), dcap.ErrQEIdentity, "tcbEvaluationDataNumber"},
		{"QE identity with a short signer", with(td4, func(c ic) { c.QEIdentity.MRSIGNER = c.QEIdentity.MRSIGNER[2:] }), dcap.ErrQEIdentity, "mrsigner"},
		{"QE identity without signer", qe(td4, `"mrsigner"`, `"signer"`), dcap.ErrQEIdentity, "mrsigner"},
		{"QE identity with a short mask", with(td4, func(c ic) { c.QEIdentity.AttributesMask = "" }), dcap.ErrQEIdentity, "attributesMask"},
		{"QE identity without levels", with(td4, func(c ic) { c.QEIdentity.TCBLevels = nil }), dcap.ErrQEIdentity, "tcbLevels"},
		{"QE identity with an unknown status", with(td4, func(c ic) { c.QEIdentity.TCBLevels[0].TCBStatus = "Good" }), dcap.ErrQEIdentity, "Good"},
		{"QE identity with a signer twice", qe(td4, `"mrsigner":`, `"mrsigner":"00","mrsigner":`), dcap.ErrQEIdentity, "twice"},
		{"QE identity wants another signer", with(sgx3, func(c ic) { c.QEIdentity.MRSIGNER = strings.Repeat("8C", 32) }), dcap.ErrQE, "MRSIGNER"},
		{"QE identity wants another product", with(sgx3, func(c ic) { c.QEIdentity.ISVProdID = 3 }), dcap.ErrQE, "ISVPRODID"},
		{"QE identity wants other attributes", with(sgx3, func(c ic) { c.QEIdentity.Attributes = "01" + c.QEIdentity.Attributes[2:] }), dcap.ErrQE, "ATTRIBUTES"},
		{"QE identity wants other misc select", with(td4, func(c ic) { c.QEIdentity.MiscSelect = "01000000" }), dcap.ErrQE, "MISCSELECT"},
		{"QE identity wants a newer QE", with(td4, func(c ic) {
			c.QEIdentity.TCBLevels = c.QEIdentity.TCBLevels[:1]
			c.QEIdentity.TCBLevels[0].TCB.ISVSVN = 9
		}), dcap.ErrTCBLevel, "the quoting enclave has version 8"},
		{"platform revoked", with(sgx3, func(c ic) { c.TCBInfo.TCBLevels[0].TCBStatus = "Revoked" }), dcap.ErrRevoked, "platform Revoked"},
		{"module revoked", with(td15, func(c ic) { c.TCBInfo.TDXModuleIdentities[1].TCBLevels[0].TCBStatus = "Revoked" }), dcap.ErrRevoked, "TDX module \"Revoked"},
		{"QE revoked", with(sgx3, func(c ic) { c.QEIdentity.TCBLevels[0].TCBStatus = "Revoked" }), dcap.ErrRevoked, "quoting enclave Revoked"},

		{"TCB info signed by a stranger", with(td4, func(c ic) { c.SignKey = w.key }), dcap.ErrTCBInfo, "sign"},
		{"QE identity signed by a stranger", after(td4, func(c *dcap.Collateral) {
			c.QEIdentities[0] = ok(teelab.SignJSON("enclaveIdentity", json.RawMessage(inner(c.QEIdentities[0])), nil, w.key))
		}), dcap.ErrQEIdentity, "sign"},
		{"TCB info with a zero signature", infoText(resign(strings.Repeat("0", 128))), dcap.ErrTCBInfo, "signature"},
		{"TCB info without signature", infoText(func(s string) string { return `{"tcbInfo":` + inner([]byte(s)) + `}` }), dcap.ErrTCBInfo, "signature"},
		{"TCB info bare", infoText(func(s string) string { return inner([]byte(s)) }), dcap.ErrTCBInfo, "beside"},
		{"TCB info with a short signature", infoText(resign("00")), dcap.ErrTCBInfo, "signature"},
		{"TCB info with the signature of QE identity", after(td4, func(c *dcap.Collateral) {
			c.TCBInfos[0] = []byte(resign(signature(c.QEIdentities[0]))(string(c.TCBInfos[0])))
		}), dcap.ErrTCBInfo, "sign"},
		{"TCB info with two signatures", infoText(func(s string) string {
			return strings.TrimSuffix(s, "}") + `,"signature":"` + signature([]byte(s)) + `"}`
		}), dcap.ErrTCBInfo, "twice"},
		{"TCB info with two signatures, the first zero", infoText(func(s string) string { return `{"signature":"` + strings.Repeat("0", 128) + `",` + s[1:] }), dcap.ErrTCBInfo, "twice"},
		{"TCB info twice in one document", infoText(func(s string) string { return `{"tcbInfo":` + inner([]byte(s)) + `,` + s[1:] }), dcap.ErrTCBInfo, "twice"},
		{"TCB info with something beside it", infoText(func(s string) string { return `{"x":1,` + s[1:] }), dcap.ErrTCBInfo, "beside"},
		{"TCB info written anew", infoText(replace(`"id":"TDX"`, `"id": "TDX"`)), dcap.ErrTCBInfo, "sign"},
		{"TCB info with text behind", infoText(func(s string) string { return s + "x" }), dcap.ErrTCBInfo, "JSON"},
		{"TCB info torn", infoText(func(s string) string { return s[:len(s)/2] }), dcap.ErrTCBInfo, "JSON"},
		{"TCB info empty", infoText(func(string) string { return "" }), dcap.ErrTCBInfo, "not JSON"},
		{"QE identity for TCB info", after(td4, func(c *dcap.Collateral) { c.TCBInfos = c.QEIdentities }), dcap.ErrTCBInfo, "beside"},
		{"TCB info for QE identity", after(td4, func(c *dcap.Collateral) { c.QEIdentities = c.TCBInfos }), dcap.ErrQEIdentity, "beside"},
		{"QE identity under the name of TCB info", infoText(replace(`{"tcbInfo":`, `{"enclaveIdentity":`)), dcap.ErrTCBInfo, "beside"},
		{"QE identity with a zero signature", qeText(resign(strings.Repeat("0", 128))), dcap.ErrQEIdentity, "signature"},
		{"QE identity written anew", qeText(replace(`,"version"`, ` ,"version"`)), dcap.ErrQEIdentity, "sign"},
	})
}

// The fields of quotes with their sizes. Those with a star are also refused for
// what they say.
const (
	headerFields    = "version* 2,key type* 2,TEE* 4,QESVN* 2,PCESVN* 2,vendor* 16,user data 20"
	enclaveFields   = "CPUSVN 16,MISCSELECT* 4,reserved* 12,ISVEXTPRODID 16,ATTRIBUTES* 8,XFRM 8,MRENCLAVE 32,reserved* 32,MRSIGNER 32,reserved* 32,CONFIGID 64,ISVPRODID 2,ISVSVN 2,CONFIGSVN 2,reserved* 42,ISVFAMILYID 16,REPORTDATA 64"
	domainFields    = "TEE_TCB_SVN 16,MRSEAM 48,MRSIGNERSEAM 48,SEAMATTRIBUTES* 8,TDATTRIBUTES* 8,XFAM 8,MRTD 48,MRCONFIGID 48,MROWNER 48,MROWNERCONFIG 48,RTMR0 48,RTMR1 48,RTMR2 48,RTMR3 48,REPORTDATA 64"
	domain15Fields  = domainFields + ",TEE_TCB_SVN2 16,MRSERVICETD 48"
	signatureFields = "signature data size! 4,signature R 32,signature S 32,attestation key X+ 32,attestation key Y+ 32"
	wrappedFields   = signatureFields + ",certification data type! 2,certification data size! 4"
	bodyTypeFields  = "body type! 2,body size! 4,"
)

// TestRefusesMutated changes the first and the last byte of each field of a quote
// after it was signed.
func TestRefusesMutated(t *testing.T) {
	t.Parallel()
	qe := ",QE " + strings.ReplaceAll(enclaveFields, ",", ",QE ") + ",QE signature R 32,QE signature S 32,QE authentication data size! 2,authentication data+ 32,PCK chain type! 2,PCK chain size! 4"
	for kind, fields := range map[teelab.QuoteKind]string{
		sgx3: headerFields + "," + enclaveFields + "," + signatureFields + qe,
		sgx5: headerFields + "," + bodyTypeFields + enclaveFields + "," + wrappedFields + qe,
		td4:  headerFields + "," + domainFields + "," + wrappedFields + qe,
		td5:  headerFields + "," + bodyTypeFields + domainFields + "," + wrappedFields + qe,
		td15: headerFields + "," + bodyTypeFields + domain15Fields + "," + wrappedFields + qe,
	} {
		at := 0
		for field := range strings.SplitSeq(fields, ",") {
			name, size := field[:strings.LastIndex(field, " ")], 0
			fmt.Sscan(field[len(name):], &size)
			for _, offset := range []int{at, at + size - 1} {
				t.Run(fmt.Sprintf("%s %s at %d", kind.Name, name, offset), func(t *testing.T) {
					t.Parallel()
					_, err := trial{kind: kind, raw: func(b []byte) []byte { b[offset] ^= 1; return b }}.run(t)
					reason, byPCK := "header and body, by the attestation key", strings.HasPrefix(name, "QE ")
					if byPCK {
						reason = "QE report, by the PCK"
					}
					good := errors.Is(err, dcap.ErrSignature) && strings.Contains(err.Error(), reason)
					switch name[len(name)-1] {
					case '*':
						good = good || errors.Is(err, dcap.ErrQuote)
					case '!':
						good = errors.Is(err, dcap.ErrQuote) || errors.Is(err, dcap.ErrCertData)
					case '+':
						good = errors.Is(err, dcap.ErrBinding)
					}
					if !good {
						t.Errorf("got %v", err)
					}
				})
			}
			at += size
		}
	}
}

// TestRefusesMutatedJSON changes each name and value of TCB info and QE identity,
// and their signatures, after they were signed.
func TestRefusesMutatedJSON(t *testing.T) {
	t.Parallel()
	for _, kind := range []teelab.QuoteKind{sgx3, td4} {
		good := ok(lab().intel.Collateral(lab().platform, kind.Type))
		for n, text := range [][]byte{good.TCBInfos[0], good.QEIdentities[0]} {
			class, count := []error{dcap.ErrTCBInfo, dcap.ErrQEIdentity}[n], 0
			for d := json.NewDecoder(bytes.NewReader(text)); ; {
				token, err := d.Token()
				if err != nil {
					break
				}
				end := d.InputOffset() - 1
				if _, is := token.(string); is {
					end-- // before the quotation mark
				} else if _, is := token.(float64); !is {
					continue
				}
				bad := bytes.Clone(text)
				bad[end] ^= 1
				count++
				_, err = trial{kind: kind, after: func(c *dcap.Collateral) {
					*c = good
					if n == 0 {
						c.TCBInfos = [][]byte{bad}
					} else {
						c.QEIdentities = [][]byte{bad}
					}
				}}.run(t)
				if !errors.Is(err, class) && !errors.Is(err, dcap.ErrCollateral) {
					t.Errorf("%s: %v changed at %d: got %v, want %v", kind.Name, token, end, err, class)
				}
			}
			if count < 40 {
				t.Errorf("%s: only %d changes", kind.Name, count)
			}
		}
	}
}
