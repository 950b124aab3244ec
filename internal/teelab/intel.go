package teelab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// Intel simulates Intel: the keys that platforms are certified with, and that
// collateral is signed with. The names are Intel's, but for the organisation.
type Intel struct {
	RootCA, PlatformCA, ProcessorCA, TCBSigner     *x509.Certificate
	RootKey, PlatformKey, ProcessorKey, TCBSignKey *ecdsa.PrivateKey

	now time.Time
}

// NewIntel makes the keys and certificates.
func NewIntel(now time.Time) (*Intel, error) {
	i := &Intel{now: now}
	for _, key := range []**ecdsa.PrivateKey{&i.RootKey, &i.PlatformKey, &i.ProcessorKey, &i.TCBSignKey} {
		var err error
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	root := i.Template("Intel SGX Root CA", &i.RootKey.PublicKey, true)
	root.MaxPathLen = 1
	var err error
	if i.RootCA, err = sign(root, root, &i.RootKey.PublicKey, i.RootKey); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name string
		ca   bool
		key  *ecdsa.PrivateKey
		out  **x509.Certificate
	}{
		{"Intel SGX PCK Platform CA", true, i.PlatformKey, &i.PlatformCA},
		{"Intel SGX PCK Processor CA", true, i.ProcessorKey, &i.ProcessorCA},
		{"Intel SGX TCB Signing", false, i.TCBSignKey, &i.TCBSigner},
	} {
		if *c.out, err = sign(i.Template(c.name, &c.key.PublicKey, c.ca), i.RootCA, &c.key.PublicKey, i.RootKey); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// Root returns the root that i's evidence and collateral go back to.
func (i *Intel) Root() dcap.Root {
	digest := sha256.Sum256(i.RootCA.Raw)
	return dcap.Root{Name: fmt.Sprintf("development Intel SGX Root CA %x", digest[:8]), Cert: i.RootCA, Dev: true}
}

// Template returns the template of a certificate as Intel makes them, with a
// random serial number. Tests change it to get wrong ones.
func (i *Intel) Template(name string, pub *ecdsa.PublicKey, ca bool) *x509.Certificate {
	serial := make([]byte, 20)
	rand.Read(serial)
	serial[0] = serial[0]&0x7F | 1 // positive, and 20 bytes long
	point, _ := pub.Bytes()        // of a key that was generated
	id := sha256.Sum256(point)
	c := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject: pkix.Name{
			Country: []string{"US"}, Province: []string{"CA"}, Locality: []string{"Santa Clara"},
			Organization: []string{organization}, CommonName: name,
		},
		NotBefore: i.now.AddDate(-1, 0, 0), NotAfter: i.now.Add(lifetime), // older than any collateral
		SignatureAlgorithm: x509.ECDSAWithSHA256, SubjectKeyId: id[:20],
		BasicConstraintsValid: true, IsCA: ca, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
	}
	if ca {
		c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		c.MaxPathLen = -1
	}
	return c
}

// Platform simulates a machine that makes SGX and TDX quotes. Its certificate
// says what its fields said when it was made.
type Platform struct {
	FMSPC          [6]byte
	PCEID          [2]byte
	PPID, Instance [16]byte
	CPUSVN         [16]byte // also the certificate's 16 components
	PCESVN         uint16
	SGXType        int    // 0 standard, 1 scalable, 2 scalable with integrity
	Configuration  []bool // dynamic platform, cached keys, SMT enabled
	Processor      bool   // certified by the Processor CA, which knows no instance or configuration

	TEETCB [16]byte // the TDX module's and microcode's versions

	PCK    *x509.Certificate
	PCKKey *ecdsa.PrivateKey
	AttKey *ecdsa.PrivateKey // the QE's
	Chain  []byte            // PEM: PCK, its CA, the root
}

// NewPlatform makes a machine that is up to date, with changes, and certifies it.
func (i *Intel) NewPlatform(changes ...func(*Platform)) (*Platform, error) {
	p := &Platform{
		FMSPC:   [6]byte{0xDE, 0xC0, 0x6F},
		CPUSVN:  [16]byte{4, 4, 2, 2, 4, 1, 0, 5},
		PCESVN:  13,
		TEETCB:  [16]byte{5, 1, 4},
		SGXType: 1, Configuration: []bool{true, true, true},
	}
	rand.Read(p.PPID[:])
	rand.Read(p.Instance[:])
	var err error
	if p.PCKKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if p.AttKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	for _, change := range changes {
		change(p)
	}
	template, err := i.PCKTemplate(p)
	if err != nil {
		return nil, err
	}
	ca, key := i.PCKIssuer(p)
	if p.PCK, err = sign(template, ca, &p.PCKKey.PublicKey, key); err != nil {
		return nil, err
	}
	p.Chain = ChainPEM(p.PCK, ca, i.RootCA)
	return p, nil
}

// PCKIssuer returns who certifies p.
func (i *Intel) PCKIssuer(p *Platform) (*x509.Certificate, *ecdsa.PrivateKey) {
	if p.Processor {
		return i.ProcessorCA, i.ProcessorKey
	}
	return i.PlatformCA, i.PlatformKey
}

// ChainPEM returns certificates as they stand in a quote.
func ChainPEM(certs ...*x509.Certificate) []byte {
	var chain []byte
	for _, c := range certs {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return chain
}

// SGXExtensionID is the OID of the extension that SGXAttributes are in.
func SGXExtensionID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}
}

// An SGXAttribute is one member of a PCK certificate's SGX extension.
type SGXAttribute struct {
	ID    asn1.ObjectIdentifier
	Value any // []byte, int, bool, asn1.Enumerated or []SGXAttribute
}

// SGXAttributes returns what p's certificate says, in Intel's order (Intel SGX
// PCK Certificate and CRL Profile Specification 1.5, section 3.3.3): PPID, TCB,
// PCEID, FMSPC, SGX type and, from the Platform CA, instance and configuration.
func (p *Platform) SGXAttributes() []SGXAttribute {
	id := func(arcs ...int) asn1.ObjectIdentifier { return append(SGXExtensionID(), arcs...) }
	var tcb []SGXAttribute
	for n, svn := range p.CPUSVN {
		tcb = append(tcb, SGXAttribute{id(2, n+1), int(svn)})
	}
	tcb = append(tcb, SGXAttribute{id(2, 17), int(p.PCESVN)}, SGXAttribute{id(2, 18), p.CPUSVN[:]})
	list := []SGXAttribute{{id(1), p.PPID[:]}, {id(2), tcb}, {id(3), p.PCEID[:]}, {id(4), p.FMSPC[:]}, {id(5), asn1.Enumerated(p.SGXType)}}
	if p.Processor {
		return list
	}
	var configuration []SGXAttribute
	for n, on := range p.Configuration {
		configuration = append(configuration, SGXAttribute{id(7, n+1), on})
	}
	return append(list, SGXAttribute{id(6), p.Instance[:]}, SGXAttribute{id(7), configuration})
}

// PCKTemplate returns the template of p's certificate, with changes to its SGX
// extension.
func (i *Intel) PCKTemplate(p *Platform, changes ...func([]SGXAttribute) []SGXAttribute) (*x509.Certificate, error) {
	list := p.SGXAttributes()
	for _, change := range changes {
		list = change(list)
	}
	value, err := asn1.Marshal(list)
	if err != nil {
		return nil, err
	}
	c := i.Template("Intel SGX PCK Certificate", &p.PCKKey.PublicKey, false)
	c.ExtraExtensions = []pkix.Extension{{Id: SGXExtensionID(), Value: value}}
	return c, nil
}

// QuoteHeader begins a quote, 48 bytes.
type QuoteHeader struct {
	Version, KeyType uint16
	TEE              uint32 // 0 SGX, 0x81 TDX
	QESVN, PCESVN    uint16 // reserved from version 4 on
	Vendor           [16]byte
	UserData         [20]byte
}

// SGXBody is the report of an enclave, 384 bytes: of a workload or of a QE.
type SGXBody struct {
	CPUSVN            [16]byte
	MiscSelect        uint32
	Reserved1         [12]byte
	ISVExtProdID      [16]byte
	Attributes        [16]byte // flags, XFRM
	MRENCLAVE         [32]byte
	Reserved2         [32]byte
	MRSIGNER          [32]byte
	Reserved3         [32]byte
	ConfigID          [64]byte
	ISVProdID, ISVSVN uint16
	ConfigSVN         uint16
	Reserved4         [42]byte
	ISVFamilyID       [16]byte
	ReportData        [64]byte
}

// TDBody is the report of a TD, 584 bytes, and 648 with the last two fields,
// which are TDX 1.5's.
type TDBody struct {
	TEETCB                                   [16]byte
	MRSEAM, MRSIGNERSEAM                     [48]byte
	SEAMAttributes, Attributes, XFAM         [8]byte
	MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG [48]byte
	RTMR                                     [4][48]byte
	ReportData                               [64]byte
	TEETCB2                                  [16]byte
	MRSERVICETD                              [48]byte
}

// QuoteKind is a kind of quote that hardware makes.
type QuoteKind struct {
	Name     string
	Type     string // attest.SGX or attest.TDX
	Version  uint16
	BodyType uint16 // of version 5: 1 SGX, 2 TDX 1.0, 3 TDX 1.5
}

// QuoteKinds returns all kinds.
func QuoteKinds() []QuoteKind {
	return []QuoteKind{SGXv3(), SGXv4(), SGXv5(), TDXv4(), TDXv5(), TDX15v5()}
}

// SGXv3 is what Intel's stack makes for SGX.
func SGXv3() QuoteKind { return QuoteKind{"SGX v3", attest.SGX, 3, 0} }

// SGXv4 is for SGX in the form that was made for TDX.
func SGXv4() QuoteKind { return QuoteKind{"SGX v4", attest.SGX, 4, 0} }

// SGXv5 is for SGX in the newest form.
func SGXv5() QuoteKind { return QuoteKind{"SGX v5", attest.SGX, 5, 1} }

// TDXv4 is what most stacks make for TDX.
func TDXv4() QuoteKind { return QuoteKind{"TDX v4", attest.TDX, 4, 0} }

// TDXv5 is for TDX 1.0 in the newest form.
func TDXv5() QuoteKind { return QuoteKind{"TDX v5", attest.TDX, 5, 2} }

// TDX15v5 is for TDX 1.5, which speaks of the module that runs now, too.
func TDX15v5() QuoteKind { return QuoteKind{"TDX 1.5 v5", attest.TDX, 5, 3} }

// IntelQuote is all that a quote is made from. It is signed as it stands, by
// whichever keys it has.
type IntelQuote struct {
	Header   QuoteHeader
	BodyType uint16  // of version 5
	SGX      SGXBody // if Header.TEE is SGX's
	TD       TDBody  // otherwise

	AttKey    *ecdsa.PrivateKey // signs header and body
	QE        SGXBody
	QEAuth    []byte
	PCKKey    *ecdsa.PrivateKey // signs the QE's report
	CertType  uint16            // 5: a PEM chain
	Chain     []byte
	OuterType uint16 // of version 4 and 5, 6: the QE's report and what certifies it
	Trailing  []byte // inside of the length, behind everything
}

// Quote makes a quote of a workload with this report data and measurement (of
// SGX, its first 32 bytes), with faults, and signs it.
func (p *Platform) Quote(kind QuoteKind, reportData [64]byte, measurement [48]byte, faults ...func(*IntelQuote)) ([]byte, error) {
	q := &IntelQuote{
		Header:   QuoteHeader{Version: kind.Version, KeyType: 2, Vendor: intelQE, UserData: [20]byte(append(p.PPID[:], 0, 0, 0, 0))},
		BodyType: kind.BodyType,
		SGX: SGXBody{
			CPUSVN: p.CPUSVN, Attributes: [16]byte{0x05, 8: 0xE7}, // initialised, 64-bit
			MRENCLAVE: [32]byte(measurement[:32]), MRSIGNER: sha256.Sum256([]byte("simulated workload")),
			ISVProdID: 1, ISVSVN: 1, ReportData: reportData,
		},
		TD: TDBody{
			TEETCB: p.TEETCB, TEETCB2: p.TEETCB, MRSEAM: sha512.Sum384([]byte("simulated TDX module")),
			Attributes: [8]byte{3: 0x10}, XFAM: [8]byte{0xE7, 0, 6}, // SEPT_VE_DISABLE
			MRTD: measurement, ReportData: reportData,
		},
		QE:     SGXBody{CPUSVN: p.CPUSVN, Attributes: [16]byte{0x15, 8: 0xE7}, MRENCLAVE: sha256.Sum256([]byte("simulated QE")), MRSIGNER: qeSigner(), ISVProdID: 1, ISVSVN: 8},
		QEAuth: []byte("simulated QE authentication data"),
		AttKey: p.AttKey, PCKKey: p.PCKKey, Chain: p.Chain, CertType: 5, OuterType: 6,
	}
	if kind.Type == attest.TDX {
		q.Header.TEE, q.QE.ISVProdID = 0x81, 2
	} else if kind.Version == 3 {
		q.Header.QESVN, q.Header.PCESVN = q.QE.ISVSVN, p.PCESVN
	}
	if err := q.Bind(); err != nil {
		return nil, err
	}
	for _, f := range faults {
		f(q)
	}
	return q.Sign()
}

// Evidence is Quote as evidence.
func (p *Platform) Evidence(kind QuoteKind, reportData [64]byte, measurement [48]byte, faults ...func(*IntelQuote)) (attest.Evidence, error) {
	quote, err := p.Quote(kind, reportData, measurement, faults...)
	return attest.Evidence{Type: kind.Type, Report: quote}, err
}

// intelQE is the ID that the vendor of QEs, Intel, has in quotes.
var intelQE = [16]byte{0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D, 0xB3, 0x95, 0x7F, 0x06, 0x07}

func qeSigner() [32]byte { return sha256.Sum256([]byte("simulated signer of QEs")) }

// Bind writes the hash of the attestation key and QEAuth to the QE's report.
func (q *IntelQuote) Bind() error {
	key, err := point(q.AttKey)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(append(key, q.QEAuth...))
	q.QE.ReportData = [64]byte{}
	copy(q.QE.ReportData[:], digest[:])
	return nil
}

// point returns a key as it stands in a quote: X and Y.
func point(key *ecdsa.PrivateKey) ([]byte, error) {
	b, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return b[1:], nil
}

// Sign encodes and signs q (Intel SGX DCAP ECDSA Quote Library API, appendix
// A.4; Intel TDX DCAP Quoting Library API, appendix A.3).
func (q *IntelQuote) Sign() ([]byte, error) {
	signed, err := binary.Append(nil, binary.LittleEndian, q.Header)
	if err != nil {
		return nil, err
	}
	qe, err := binary.Append(nil, binary.LittleEndian, q.QE)
	if err != nil {
		return nil, err
	}
	var body []byte
	if q.Header.TEE == 0 {
		body, err = binary.Append(nil, binary.LittleEndian, q.SGX)
	} else {
		body, err = binary.Append(nil, binary.LittleEndian, q.TD)
	}
	if err != nil {
		return nil, err
	}
	if q.Header.TEE != 0 && (q.Header.Version < 5 || q.BodyType == 2) {
		body = body[:584]
	}
	if q.Header.Version >= 5 {
		signed = binary.LittleEndian.AppendUint16(signed, q.BodyType)
		signed = appendSized(signed, nil, len(body))
	}
	signed = append(signed, body...)

	key, err := point(q.AttKey)
	if err != nil {
		return nil, err
	}
	signature, err := signRaw(q.AttKey, signed)
	if err != nil {
		return nil, err
	}
	qeSignature, err := signRaw(q.PCKKey, qe)
	if err != nil {
		return nil, err
	}
	certified := append(qe, qeSignature...)
	certified = binary.LittleEndian.AppendUint16(certified, uint16(len(q.QEAuth)))
	certified = append(certified, q.QEAuth...)
	certified = binary.LittleEndian.AppendUint16(certified, q.CertType)
	certified = appendSized(certified, q.Chain, len(q.Chain))
	certified = append(certified, q.Trailing...)
	data := append(signature, key...)
	if q.Header.Version >= 4 {
		data = binary.LittleEndian.AppendUint16(data, q.OuterType)
		data = appendSized(data, certified, len(certified))
	} else {
		data = append(data, certified...)
	}
	return appendSized(signed, data, len(data)), nil
}

// appendSized appends a length of 4 bytes and then data.
func appendSized(b, data []byte, size int) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(size)), data...)
}

// signRaw signs with SHA-256. The signature is R and S, of 32 bytes each.
func signRaw(key *ecdsa.PrivateKey, data []byte) ([]byte, error) {
	digest := sha256.Sum256(data)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("sign as simulated hardware: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signature, nil
}
