package teelab

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// TCBInfo is what Intel publishes about a kind of platform (PCS API, version 4).
// Its JSON has the members in Intel's order.
type TCBInfo struct {
	ID                      string              `json:"id"`
	Version                 int                 `json:"version"`
	IssueDate               string              `json:"issueDate"`
	NextUpdate              string              `json:"nextUpdate"`
	FMSPC                   string              `json:"fmspc"`
	PCEID                   string              `json:"pceId"`
	TCBType                 int                 `json:"tcbType"`
	TCBEvaluationDataNumber int                 `json:"tcbEvaluationDataNumber"`
	TDXModule               *TDXModule          `json:"tdxModule,omitempty"`
	TDXModuleIdentities     []TDXModuleIdentity `json:"tdxModuleIdentities,omitempty"`
	TCBLevels               []TCBLevel          `json:"tcbLevels"`
}

// TDXModule is what a TDX module looks like that has no version.
type TDXModule struct {
	MRSIGNER       string `json:"mrsigner"`
	Attributes     string `json:"attributes"`
	AttributesMask string `json:"attributesMask"`
}

// TDXModuleIdentity is what a TDX module of one version looks like, and how good
// it is.
type TDXModuleIdentity struct {
	ID string `json:"id"` // TDX_ and the version in hexadecimal
	TDXModule
	TCBLevels []SVNLevel `json:"tcbLevels"`
}

// TCBLevel says how good a platform is that has all versions or higher ones.
type TCBLevel struct {
	TCB         TCBVersions `json:"tcb"`
	TCBDate     string      `json:"tcbDate"`
	TCBStatus   string      `json:"tcbStatus"`
	AdvisoryIDs []string    `json:"advisoryIDs,omitempty"`
}

// TCBVersions is the versions of a level.
type TCBVersions struct {
	SGX    []Component `json:"sgxtcbcomponents"`
	PCESVN int         `json:"pcesvn"`
	TDX    []Component `json:"tdxtcbcomponents,omitempty"`
}

// Component is one of 16.
type Component struct {
	SVN      int    `json:"svn"`
	Category string `json:"category,omitempty"`
	Type     string `json:"type,omitempty"`
}

// SVNLevel says how good a QE or TDX module is that has this version or a higher
// one.
type SVNLevel struct {
	TCB struct {
		ISVSVN int `json:"isvsvn"`
	} `json:"tcb"`
	TCBDate     string   `json:"tcbDate"`
	TCBStatus   string   `json:"tcbStatus"`
	AdvisoryIDs []string `json:"advisoryIDs,omitempty"`
}

// QEIdentity is what Intel publishes about a QE.
type QEIdentity struct {
	ID                      string     `json:"id"`
	Version                 int        `json:"version"`
	IssueDate               string     `json:"issueDate"`
	NextUpdate              string     `json:"nextUpdate"`
	TCBEvaluationDataNumber int        `json:"tcbEvaluationDataNumber"`
	MiscSelect              string     `json:"miscselect"`
	MiscSelectMask          string     `json:"miscselectMask"`
	Attributes              string     `json:"attributes"`
	AttributesMask          string     `json:"attributesMask"`
	MRSIGNER                string     `json:"mrsigner"`
	ISVProdID               int        `json:"isvprodid"`
	TCBLevels               []SVNLevel `json:"tcbLevels"`
}

// Level returns an SVNLevel.
func Level(svn int, date, status string, advisories ...string) SVNLevel {
	l := SVNLevel{TCBDate: date, TCBStatus: status, AdvisoryIDs: advisories}
	l.TCB.ISVSVN = svn
	return l
}

// Components returns versions as they stand in a TCBLevel.
func Components(svns [16]byte) []Component {
	list := make([]Component, len(svns))
	for n, svn := range svns {
		list[n].SVN = int(svn)
	}
	return list
}

// Dates of the levels that collateral begins with.
const (
	newDate = "2026-05-13T00:00:00Z"
	oldDate = "2024-03-13T00:00:00Z"
)

// IntelCollateral is all that collateral is made from, and the keys that it is
// signed with. It is signed as it stands; what is nil is left out.
type IntelCollateral struct {
	TCBInfo      *TCBInfo
	QEIdentity   *QEIdentity
	EditTCBInfo  func(json string) string // changes the text before it is signed
	EditQE       func(json string) string
	SignKey      *ecdsa.PrivateKey // of TCBInfo and QEIdentity
	CRLs         []IntelCRL
	Certificates []*x509.Certificate
}

// IntelCRL is a revocation list before it is signed.
type IntelCRL struct {
	*x509.RevocationList
	Issuer *x509.Certificate
	Key    *ecdsa.PrivateKey
}

// Revoke adds certificates to the list.
func (l *IntelCRL) Revoke(certs ...*x509.Certificate) {
	for _, c := range certs {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: l.ThisUpdate, ReasonCode: 1})
	}
}

// CRL returns an empty list, a day old and good for 30 days more.
func (i *Intel) CRL(issuer *x509.Certificate, key *ecdsa.PrivateKey) IntelCRL {
	return IntelCRL{&x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: i.now.Add(-clockSkew), NextUpdate: i.now.Add(30 * clockSkew), SignatureAlgorithm: x509.ECDSAWithSHA256,
	}, issuer, key}
}

// Levels returns the levels that p is judged by: it is of the newest, which is
// UpToDate, and two more are OutOfDate.
func (p *Platform) Levels(tee string) []TCBLevel {
	old, oldTEE := p.CPUSVN, p.TEETCB
	old[0], oldTEE[0] = old[0]-1, oldTEE[0]-1
	levels := []TCBLevel{
		{TCBVersions{Components(p.CPUSVN), int(p.PCESVN), Components(p.TEETCB)}, newDate, "UpToDate", nil},
		{TCBVersions{Components(old), int(p.PCESVN), Components(oldTEE)}, oldDate, "OutOfDate", []string{"INTEL-SA-90001"}},
		{TCBVersions{Components([16]byte{}), 5, Components([16]byte{})}, "2018-01-04T00:00:00Z", "OutOfDate", []string{"INTEL-SA-90001", "INTEL-SA-90002"}},
	}
	if tee == attest.SGX {
		for n := range levels {
			levels[n].TCB.TDX = nil
		}
	}
	return levels
}

// Collateral makes the collateral of p for evidence of type tee, attest.SGX or
// attest.TDX: a day old, good for 30 days more, and p is up to date by it. Faults
// change it before it is signed.
func (i *Intel) Collateral(p *Platform, tee string, faults ...func(*IntelCollateral)) (dcap.Collateral, error) {
	issued, next := i.now.Add(-clockSkew).UTC().Format(time.RFC3339), i.now.Add(30*clockSkew).UTC().Format(time.RFC3339)
	signer := qeSigner()
	c := &IntelCollateral{
		TCBInfo: &TCBInfo{
			ID: strings.ToUpper(tee), Version: 3, IssueDate: issued, NextUpdate: next,
			FMSPC: hex.EncodeToString(p.FMSPC[:]), PCEID: hex.EncodeToString(p.PCEID[:]),
			TCBEvaluationDataNumber: 20, TCBLevels: p.Levels(tee),
		},
		QEIdentity: &QEIdentity{
			ID: "QE", Version: 2, IssueDate: issued, NextUpdate: next, TCBEvaluationDataNumber: 20,
			MiscSelect: "00000000", MiscSelectMask: "FFFFFFFF",
			Attributes: "11000000000000000000000000000000", AttributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
			MRSIGNER: strings.ToUpper(hex.EncodeToString(signer[:])), ISVProdID: 1,
			TCBLevels: []SVNLevel{Level(8, newDate, "UpToDate"), Level(6, oldDate, "OutOfDate", "INTEL-SA-90003")},
		},
		SignKey:      i.TCBSignKey,
		CRLs:         []IntelCRL{i.CRL(i.RootCA, i.RootKey), i.CRL(i.PlatformCA, i.PlatformKey), i.CRL(i.ProcessorCA, i.ProcessorKey)},
		Certificates: []*x509.Certificate{i.TCBSigner, i.RootCA},
	}
	if tee == attest.TDX {
		module := TDXModule{strings.Repeat("0", 96), strings.Repeat("0", 16), strings.Repeat("F", 16)}
		c.QEIdentity.ID, c.QEIdentity.ISVProdID = "TD_QE", 2
		c.TCBInfo.TDXModule = &module
		c.TCBInfo.TDXModuleIdentities = []TDXModuleIdentity{
			{"TDX_03", module, []SVNLevel{Level(3, newDate, "UpToDate")}},
			{"TDX_01", module, []SVNLevel{Level(5, newDate, "UpToDate"), Level(3, oldDate, "OutOfDate", "INTEL-SA-90004")}},
		}
	}
	for _, f := range faults {
		f(c)
	}
	return c.Sign()
}

// Sign encodes and signs c.
func (c *IntelCollateral) Sign() (dcap.Collateral, error) {
	var out dcap.Collateral
	for _, cert := range c.Certificates {
		out.Certificates = append(out.Certificates, cert.Raw)
	}
	for _, l := range c.CRLs {
		der, err := x509.CreateRevocationList(rand.Reader, l.RevocationList, l.Issuer, l.Key)
		if err != nil {
			return out, err
		}
		out.CRLs = append(out.CRLs, der)
	}
	if c.TCBInfo != nil {
		text, err := SignJSON("tcbInfo", c.TCBInfo, c.EditTCBInfo, c.SignKey)
		if err != nil {
			return out, err
		}
		out.TCBInfos = append(out.TCBInfos, text)
	}
	if c.QEIdentity != nil {
		text, err := SignJSON("enclaveIdentity", c.QEIdentity, c.EditQE, c.SignKey)
		if err != nil {
			return out, err
		}
		out.QEIdentities = append(out.QEIdentities, text)
	}
	return out, nil
}

// SignJSON encodes body, lets edit change the text if it is not nil, and returns
// it signed, in the form of Intel's answers.
func SignJSON(member string, body any, edit func(string) string, key *ecdsa.PrivateKey) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if edit != nil {
		text = []byte(edit(string(text)))
	}
	signature, err := signRaw(key, text)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{%q:%s,"signature":"%x"}`, member, text, signature), nil
}
