package dcap

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest/pki"
)

// validity is what TCB info and QE identity both say of themselves.
type validity struct {
	issued  time.Time
	expires time.Time
	number  uint32 // tcbEvaluationDataNumber: counts Intel's reviews of all TCBs
}

// A rating is what Intel says of a version.
type rating struct {
	status     Status
	date       time.Time // the version is as good as it gets as of this date
	advisories []string
}

// A tcbInfo is what Intel says of the versions of one kind of platform (PCS API
// version 4, "TCB info V3").
type tcbInfo struct {
	validity
	tee     TEE
	fmspc   [6]byte
	pceID   [2]byte
	module  moduleIdentity   // of TDX, for modules of major version 0
	modules []moduleIdentity // of TDX, for the others
	levels  []level          // the highest first
}

// A level rates platforms of at least these versions.
type level struct {
	sgx    [16]uint8
	pceSVN uint16
	tdx    [16]uint8 // of TDX
	rating
}

// A moduleIdentity says who a TDX module must be.
type moduleIdentity struct {
	id             string
	mrSigner       [48]byte
	attributes     [8]byte
	attributesMask [8]byte
	levels         []svnLevel // none of tcbInfo.module
}

// A svnLevel rates enclaves or modules of at least this version.
type svnLevel struct {
	svn uint16
	rating
}

// A qeIdentity is who the quoting enclave must be (PCS API version 4, "enclave
// identity V2").
type qeIdentity struct {
	validity
	id             string
	miscSelect     [4]byte
	miscSelectMask [4]byte
	attributes     [16]byte
	attributesMask [16]byte
	mrSigner       [32]byte
	isvProdID      uint16
	levels         []svnLevel // the highest first
}

// A subject is what TCB info says it is about.
type subject struct {
	id           string // empty before version 3, which was for SGX only
	fmspc, pceID []byte
}

func parseSubject(o *object) (subject, error) {
	s := subject{fmspc: o.hex("fmspc", 6), pceID: o.hex("pceId", 2)}
	if o.value("id") != nil || o.number("version", 1<<31) >= tcbInfoVersion {
		if s.id = o.text("id"); s.id != string(SGX) && s.id != string(TDX) {
			o.fail("id", "SGX or TDX")
		}
	}
	return s, *o.err
}

func parseTCBInfo(o *object) (*tcbInfo, error) {
	info := &tcbInfo{
		validity: parseValidity(o),
		tee:      TEE(o.text("id")), // one that is known: see parseSubject
		fmspc:    [6]byte(o.hex("fmspc", 6)),
		pceID:    [2]byte(o.hex("pceId", 2)),
	}
	if o.number("version", 1<<31) != tcbInfoVersion {
		o.fail("version", fmt.Sprint(tcbInfoVersion))
	}
	o.number("tcbType", 0) // how components compare; only one way is defined
	if info.tee == TDX {
		info.module = parseModule(o.object("tdxModule"))
		if o.value("tdxModuleIdentities") != nil {
			for _, m := range o.objects("tdxModuleIdentities") {
				id := parseModule(m)
				id.id = strings.ToUpper(m.text("id"))
				id.levels = parseSVNLevels(m)
				if slices.ContainsFunc(info.modules, func(other moduleIdentity) bool { return other.id == id.id }) {
					o.fail("tdxModuleIdentities", fmt.Sprintf("without %.16q twice", id.id))
				}
				info.modules = append(info.modules, id)
			}
		}
	}
	for _, l := range o.objects("tcbLevels") {
		info.levels = append(info.levels, parseLevel(l, info.tee))
	}
	slices.SortStableFunc(info.levels, func(a, b level) int { return compareLevels(b, a) })
	for i, l := range info.levels[min(1, len(info.levels)):] {
		if compareLevels(l, info.levels[i]) == 0 {
			o.fail("tcbLevels", "without the same level twice")
		}
	}
	if len(info.levels) == 0 {
		o.fail("tcbLevels", "at least one")
	}
	if *o.err != nil {
		return nil, *o.err
	}
	return info, nil
}

func parseValidity(o *object) validity {
	v := validity{issued: o.time("issueDate"), expires: o.time("nextUpdate"), number: uint32(o.number("tcbEvaluationDataNumber", 1<<31))}
	if !v.expires.After(v.issued) {
		o.fail("nextUpdate", "after issueDate")
	}
	return v
}

func parseModule(o *object) moduleIdentity {
	return moduleIdentity{
		mrSigner:       [48]byte(o.hex("mrsigner", 48)),
		attributes:     [8]byte(o.hex("attributes", 8)),
		attributesMask: [8]byte(o.hex("attributesMask", 8)),
	}
}

func parseLevel(o *object, tee TEE) level {
	tcb := o.object("tcb")
	l := level{pceSVN: uint16(tcb.number("pcesvn", 0xFFFF)), rating: parseRating(o)}
	tcb.numbers("sgxtcbcomponents", "svn", l.sgx[:])
	if tee == TDX {
		tcb.numbers("tdxtcbcomponents", "svn", l.tdx[:])
	}
	return l
}

func parseRating(o *object) rating {
	status, err := parseStatus(o.text("tcbStatus"))
	if err != nil && *o.err == nil {
		*o.err = fmt.Errorf("%s%w", o.path(), err)
	}
	return rating{status: status, date: o.time("tcbDate"), advisories: o.texts("advisoryIDs")}
}

// parseSVNLevels reads levels and sorts them, the highest first.
func parseSVNLevels(o *object) []svnLevel {
	var levels []svnLevel
	for _, l := range o.objects("tcbLevels") {
		levels = append(levels, svnLevel{svn: uint16(l.object("tcb").number("isvsvn", 0xFFFF)), rating: parseRating(l)})
	}
	slices.SortStableFunc(levels, func(a, b svnLevel) int { return cmp.Compare(b.svn, a.svn) })
	for i, l := range levels[min(1, len(levels)):] {
		if l.svn == levels[i].svn {
			o.fail("tcbLevels", "without the same level twice")
		}
	}
	if len(levels) == 0 {
		o.fail("tcbLevels", "at least one")
	}
	return levels
}

// compareLevels is the order in which Intel tries levels, which is that of the
// document as long as Intel sorts it (QVL, TcbLevel).
func compareLevels(a, b level) int {
	return cmp.Or(bytes.Compare(a.sgx[:], b.sgx[:]), cmp.Compare(a.pceSVN, b.pceSVN), bytes.Compare(a.tdx[:], b.tdx[:]))
}

func parseQEIdentity(o *object) (*qeIdentity, error) {
	id := &qeIdentity{
		validity:       parseValidity(o),
		id:             o.text("id"),
		miscSelect:     [4]byte(o.hex("miscselect", 4)),
		miscSelectMask: [4]byte(o.hex("miscselectMask", 4)),
		attributes:     [16]byte(o.hex("attributes", 16)),
		attributesMask: [16]byte(o.hex("attributesMask", 16)),
		mrSigner:       [32]byte(o.hex("mrsigner", 32)),
		isvProdID:      uint16(o.number("isvprodid", 0xFFFF)),
		levels:         parseSVNLevels(o),
	}
	if o.number("version", 1<<31) != qeIdentityVersion {
		o.fail("version", fmt.Sprint(qeIdentityVersion))
	}
	if *o.err != nil {
		return nil, *o.err
	}
	return id, nil
}

// The versions understood, and the names of what is signed.
const (
	tcbInfoVersion    = 3
	qeIdentityVersion = 2
	tcbInfoName       = "tcbInfo"
	qeIdentityName    = "enclaveIdentity"
)

// tcbInfo returns the newest TCB info for the platform. One that is for it and
// not properly signed is an error, even if another is.
func (v *verifier) tcbInfo(docs [][]byte, tee TEE, pck *PCK) (*tcbInfo, error) {
	var best *tcbInfo
	var passed []string
	for i, data := range docs {
		wrap := func(err error) error { return fmt.Errorf("%w: number %d: %w", ErrTCBInfo, i+1, err) }
		doc, err := parseDocument(data, tcbInfoName)
		if err != nil {
			return nil, wrap(err)
		}
		o := newObject(doc.signed)
		s, err := parseSubject(o)
		if err != nil {
			return nil, wrap(err)
		}
		if why := passOver(s, tee, pck); why != "" {
			passed = append(passed, why)
			continue
		}
		info, err := parseTCBInfo(o)
		if err != nil {
			return nil, wrap(err)
		}
		if err := v.checkDocument(doc, ErrTCBInfo, fmt.Sprintf("TCB info for %s %x", tee, s.fmspc), info.validity); err != nil {
			return nil, err
		}
		if best == nil || info.newer(best.validity) {
			best = info
		}
	}
	if best == nil {
		return nil, missing(fmt.Sprintf("no TCB info for %s, FMSPC %x, PCE-ID %x", tee, pck.FMSPC, pck.PCEID), passed)
	}
	v.used = append(v.used, best.used(fmt.Sprintf("TCB info for %s, FMSPC %x", tee, best.fmspc)))
	return best, nil
}

// passOver returns why TCB info is not for a platform, empty if it is.
func passOver(s subject, tee TEE, pck *PCK) string {
	switch {
	case s.id == "":
		return fmt.Sprintf("TCB info is older than version %d", tcbInfoVersion)
	case s.id != string(tee):
		return fmt.Sprintf("TCB info is for %.16s, quote is %s", s.id, tee)
	case !bytes.Equal(s.fmspc, pck.FMSPC[:]):
		return fmt.Sprintf("TCB info is for FMSPC %x, platform is %x", s.fmspc, pck.FMSPC)
	case !bytes.Equal(s.pceID, pck.PCEID[:]):
		return fmt.Sprintf("TCB info is for PCE-ID %x, platform has %x", s.pceID, pck.PCEID)
	}
	return ""
}

// qeIdentity returns the newest identity of the TEE's quoting enclave. One that
// is of it and not properly signed is an error, even if another is.
func (v *verifier) qeIdentity(docs [][]byte, tee TEE) (*qeIdentity, error) {
	want := "QE"
	if tee == TDX {
		want = "TD_QE"
	}
	var best *qeIdentity
	var passed []string
	for i, data := range docs {
		wrap := func(err error) error { return fmt.Errorf("%w: number %d: %w", ErrQEIdentity, i+1, err) }
		doc, err := parseDocument(data, qeIdentityName)
		if err != nil {
			return nil, wrap(err)
		}
		o := newObject(doc.signed)
		if id := o.text("id"); *o.err != nil {
			return nil, wrap(*o.err)
		} else if id != want {
			passed = append(passed, fmt.Sprintf("QE identity is of %.16q, quote is %s and needs %s", id, tee, want))
			continue
		}
		id, err := parseQEIdentity(o)
		if err != nil {
			return nil, wrap(err)
		}
		if err := v.checkDocument(doc, ErrQEIdentity, "QE identity "+want, id.validity); err != nil {
			return nil, err
		}
		if best == nil || id.newer(best.validity) {
			best = id
		}
	}
	if best == nil {
		return nil, missing("no QE identity for "+string(tee), passed)
	}
	v.used = append(v.used, best.used("QE identity "+want))
	return best, nil
}

// missing says what is not there, and what is there instead.
func missing(what string, passed []string) error {
	slices.Sort(passed)
	passed = slices.Compact(passed)
	if len(passed) > 4 {
		passed = append(passed[:4], fmt.Sprintf("and %d more", len(passed)-4))
	}
	if len(passed) == 0 {
		passed = []string{"none was given"}
	}
	return fmt.Errorf("%w: %s: %s", ErrCollateral, what, strings.Join(passed, "; "))
}

func (a validity) newer(b validity) bool {
	return cmp.Or(cmp.Compare(a.number, b.number), a.issued.Compare(b.issued)) > 0
}

func (a validity) used(name string) pki.Used {
	return pki.Used{Name: name, Issued: a.issued, Expires: a.expires}
}

// checkDocument verifies that a TCB signing key of the quote's root signed a
// document, that this key has not been revoked, and that the document is not of
// the future.
func (v *verifier) checkDocument(doc *document, class error, name string, dates validity) error {
	if err := v.findSigners(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, signer := range v.signers {
		key, err := p256Key(signer)
		if err != nil {
			return err
		}
		err = v.seen.Check(func() error { return checkP256(key, doc.signed, doc.signature) },
			[]byte("Intel document"), signer.RawSubjectPublicKeyInfo, doc.signed, doc.signature[:])
		if err != nil {
			continue
		}
		if dates.issued.After(v.now) {
			return fmt.Errorf("%w: %s was issued at %s, and it is %s", ErrTime, name, dates.issued.Format(time.RFC3339), v.now.UTC().Format(time.RFC3339))
		}
		return v.checkRevoked(pair{signer, v.root.Cert})
	}
	return fmt.Errorf("%w: the signature of %s, %s..., was not made by %q over it", class, name, hex.EncodeToString(doc.signature[:4]), tcbSigningName)
}
