package dcap_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// labNow is the time at which the simulated hardware is verified.
var labNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is two simulated manufacturers and some machines.
type world struct {
	intel, stranger *teelab.Intel // of the same names
	platform        *teelab.Platform
	twin            *teelab.Platform  // of the same kind as platform
	processor       *teelab.Platform  // of the same kind, certified by the Processor CA
	otherKind       *teelab.Platform  // of another FMSPC
	otherPCE        *teelab.Platform  // of another PCE ID
	foreign         *teelab.Platform  // the stranger's
	key, p384       *ecdsa.PrivateKey // nobody's
	seen            pki.Seen
}

// lab makes the world once: nothing in it changes.
var lab = sync.OnceValue(func() *world {
	w := &world{intel: ok(teelab.NewIntel(labNow)), stranger: ok(teelab.NewIntel(labNow))}
	w.platform, w.twin = ok(w.intel.NewPlatform()), ok(w.intel.NewPlatform())
	w.processor = ok(w.intel.NewPlatform(func(p *teelab.Platform) { p.Processor = true }))
	w.otherKind = ok(w.intel.NewPlatform(func(p *teelab.Platform) { p.FMSPC[5]++ }))
	w.otherPCE = ok(w.intel.NewPlatform(func(p *teelab.Platform) { p.PCEID[1]++ }))
	w.foreign = ok(w.stranger.NewPlatform())
	w.key = ok(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	w.p384 = ok(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	return w
})

// ok returns v, and panics if there is an error.
func ok[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A trial is something to verify: by default all of it is good.
type trial struct {
	kind     teelab.QuoteKind
	platform *teelab.Platform                // that makes the quote; nil: lab's
	about    *teelab.Platform                // that the collateral is of; nil: platform
	tee      string                          // that the collateral is for; empty: the quote's
	maker    *teelab.Intel                   // who makes the collateral; nil: lab's
	quote    []func(*teelab.IntelQuote)      // before it is signed
	raw      func([]byte) []byte             // after
	before   []func(*teelab.IntelCollateral) // before it is signed
	after    func(*dcap.Collateral)
	roots    []dcap.Root // nil: lab's
	now      time.Time   // zero: labNow
}

func (tr trial) run(t *testing.T) (*dcap.Claims, error) {
	t.Helper()
	w := lab()
	tr.platform = cmp.Or(tr.platform, w.platform)
	tr.about = cmp.Or(tr.about, tr.platform)
	tr.tee = cmp.Or(tr.tee, tr.kind.Type)
	tr.maker = cmp.Or(tr.maker, w.intel)
	tr.now = cmp.Or(tr.now, labNow)
	if tr.roots == nil {
		tr.roots = []dcap.Root{w.intel.Root()}
	}
	quote := ok(tr.platform.Quote(tr.kind, [64]byte{1}, [48]byte{2}, tr.quote...))
	if tr.raw != nil {
		quote = tr.raw(quote)
	}
	collateral := ok(tr.maker.Collateral(tr.about, tr.tee, tr.before...))
	if tr.after != nil {
		tr.after(&collateral)
	}
	claims, err := dcap.Verify(quote, collateral, tr.roots, &w.seen, tr.now)
	if (claims == nil) != (err != nil) {
		t.Errorf("claims %v with error %v", claims, err)
	}
	return claims, err
}

// good verifies and expects claims.
func (tr trial) good(t *testing.T) *dcap.Claims {
	t.Helper()
	c, err := tr.run(t)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused verifies and expects an error that wraps want and says reason.
func (tr trial) refused(t *testing.T, want error, reason string) {
	t.Helper()
	_, err := tr.run(t)
	if err == nil || !errors.Is(err, want) || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want %v: %s", err, want, reason)
	}
}

// negative is one thing that must be refused, for its own reason.
type negative struct {
	name   string
	trial  trial
	want   error
	reason string
}

func refuse(t *testing.T, list []negative) {
	t.Helper()
	for _, n := range list {
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			n.trial.refused(t, n.want, n.reason)
		})
	}
}

type (
	iq = *teelab.IntelQuote
	ic = *teelab.IntelCollateral
)

// quoted is a trial of a quote with a fault.
func quoted(kind teelab.QuoteKind, fault func(iq)) trial {
	return trial{kind: kind, quote: []func(iq){fault}}
}

// The kinds of quotes.
var sgx3, sgx5, td4, td5, td15 = teelab.SGXv3(), teelab.SGXv5(), teelab.TDXv4(), teelab.TDXv5(), teelab.TDX15v5()

// issue signs a certificate in parent's name, with a key that need not be
// parent's.
func issue(template, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	name := &x509.Certificate{Subject: parent.Subject, RawSubject: parent.RawSubject, SubjectKeyId: parent.SubjectKeyId}
	return ok(x509.ParseCertificate(ok(x509.CreateCertificate(rand.Reader, template, name, pub, key))))
}

// fill returns a function that overwrites 32 bytes.
func fill(at int, with byte) func([]byte) []byte {
	return func(b []byte) []byte { copy(b[at:], bytes.Repeat([]byte{with}, 32)); return b }
}

// replace returns a function that replaces old once, and panics if it is not
// there.
func replace(old, new string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("no " + old)
		}
		return strings.Replace(s, old, new, 1)
	}
}

// inner returns what is signed in a document of Intel's, and signature with what.
func inner(document []byte) string {
	_, after, _ := strings.Cut(string(document), ":")
	return after[:strings.LastIndex(after, `,"signature"`)]
}

func signature(document []byte) string {
	return string(document[len(document)-130 : len(document)-2])
}

func resign(sig string) func(string) string {
	return func(s string) string { return strings.Replace(s, signature([]byte(s)), sig, 1) }
}

// TestLabGood verifies all that is as it should be.
func TestLabGood(t *testing.T) {
	t.Parallel()
	w := lab()
	for _, kind := range teelab.QuoteKinds() {
		for name, p := range map[string]*teelab.Platform{"platform": w.platform, "twin": w.twin, "processor": w.processor, "other kind": w.otherKind, "other PCE": w.otherPCE} {
			t.Run(kind.Name+" of "+name, func(t *testing.T) {
				t.Parallel()
				c := trial{kind: kind, platform: p}.good(t)
				if !c.Dev || c.Root != w.intel.Root().Name || c.Version != kind.Version || strings.ToLower(string(c.TEE)) != kind.Type || kind.BodyType != 0 && uint16(c.BodyType) != kind.BodyType ||
					c.ReportData() != [64]byte{1} || c.Debug() || (c.SGX != nil) != (kind.Type == attest.SGX) || (c.TD == nil) != (kind.Type == attest.SGX) {
					t.Errorf("claims %+v", c)
				}
				if kind.Type == attest.SGX && c.SGX.MREnclave != [32]byte{2} || kind.Type == attest.TDX && (c.TD.MRTD != [48]byte{2} || c.TD.TEETCBSVN != p.TEETCB) {
					t.Errorf("claims %+v", c)
				}
				want := dcap.PCK{
					PlatformCA: !p.Processor, PPID: p.PPID, FMSPC: p.FMSPC, PCEID: p.PCEID, Components: p.CPUSVN, CPUSVN: p.CPUSVN, PCESVN: p.PCESVN, SGXType: 1,
					PlatformInstanceID: p.Instance, DynamicPlatform: dcap.Yes, CachedKeys: dcap.Yes, SMT: dcap.Yes,
				}
				if p.Processor {
					want.PlatformInstanceID, want.DynamicPlatform, want.CachedKeys, want.SMT = [16]byte{}, dcap.Unknown, dcap.Unknown, dcap.Unknown
				}
				if c.PCK != want {
					t.Errorf("PCK %+v, want %+v", c.PCK, want)
				}
				if c.Status != dcap.UpToDate || c.PlatformStatus != dcap.UpToDate || c.QEStatus != dcap.UpToDate || len(c.Advisories) != 0 || c.TCBEvaluationDataNumber != 20 || len(c.Collateral) != 4 || len(c.Unchecked) != 0 || !c.TCBDate.Equal(time.Date(2026, 5, 13, 0, 0, 0, 0, time.UTC)) {
					t.Errorf("claims %+v", c)
				}
			})
		}
	}
}

// TestLabAccepted has what Verify accepts and a policy may not: it must be in the
// claims.
func TestLabAccepted(t *testing.T) {
	t.Parallel()
	w := lab()
	late := labNow.AddDate(0, 2, 0)
	valid := func(u pki.Used) bool { return u.Expires.After(late) }
	chain := func(data []byte) []func(iq) { return []func(iq){func(q iq) { q.Chain = data }} }
	before := func(f func(ic)) []func(ic) { return []func(ic){f} }
	// old reports whether collateral was used that expired at the end of 2025.
	old := func(name string) func(*dcap.Claims) bool {
		return func(c *dcap.Claims) bool {
			return slices.ContainsFunc(c.Collateral, func(u pki.Used) bool { return u.Expires.Year() == 2025 && strings.Contains(u.Name, name) })
		}
	}
	// beside adds TCB info of another number, which says OutOfDate.
	beside := func(number int) func(*dcap.Collateral) {
		other := ok(w.intel.Collateral(w.platform, attest.TDX, func(c ic) { c.TCBInfo.TCBEvaluationDataNumber, c.TCBInfo.TCBLevels[0].TCBStatus = number, "OutOfDate" }))
		return func(c *dcap.Collateral) { c.TCBInfos = append(c.TCBInfos, other.TCBInfos...) }
	}
	at := func(s string) time.Time { return ok(time.Parse(time.RFC3339, s)) }
	const from, to = "2025-01-01T00:00:00Z", "2025-12-31T00:00:00Z"
	all := []string{"Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", "Intel SGX TCB Signing"}
	for _, tt := range []struct {
		name  string
		trial trial
		ok    func(*dcap.Claims) bool
	}{
		{"debug enclave", quoted(sgx3, func(q iq) { q.SGX.Attributes[0] |= 2 }), (*dcap.Claims).Debug},
		{"debug TD", quoted(td4, func(q iq) { q.TD.Attributes[0] |= 1 }), (*dcap.Claims).Debug},
		{"profiled TD", quoted(td15, func(q iq) { q.TD.Attributes[0] |= 0x20 }), (*dcap.Claims).Debug},
		{"TD without SEPT_VE_DISABLE", quoted(td4, func(q iq) { q.TD.Attributes = [8]byte{} }), func(c *dcap.Claims) bool { return !c.TD.Attributes.SeptVEDisable() }},
		{"migratable TD", quoted(td4, func(q iq) { q.TD.Attributes[3] |= 0x20 }), func(c *dcap.Claims) bool { return c.TD.Attributes.Migratable() }},
		{"enclave with the provisioning key", quoted(sgx3, func(q iq) { q.SGX.Attributes[0] |= 0x10 }), func(c *dcap.Claims) bool { return c.SGX.Attributes.ProvisionKey() }},
		{"another module", quoted(td4, func(q iq) { q.TD.MRSEAM[0]++ }), func(c *dcap.Claims) bool { return c.TD.MRSEAM != [48]byte{} }},
		{"module without version", quoted(td4, func(q iq) { q.TD.TEETCB[1] = 0 }), func(c *dcap.Claims) bool { return c.ModuleStatus == "" && c.Status == dcap.OutOfDate }},
		{"bound anew without authentication data", quoted(sgx3, func(q iq) { q.QEAuth = nil; _ = q.Bind() }), nil},
		{"newer QE than known", quoted(sgx3, func(q iq) { q.QE.ISVSVN = 65535 }), nil},
		{"zeros behind the quote", trial{kind: td4, raw: func(b []byte) []byte { return append(b, make([]byte, 70)...) }}, nil},
		{"chain that ends like a C string", trial{kind: sgx3, quote: chain(append(slices.Clone(w.platform.Chain), 0))}, nil},
		{"chain without root", trial{kind: sgx3, quote: chain(teelab.ChainPEM(w.platform.PCK, w.intel.PlatformCA))}, nil},
		{"PCK alone, CA in the collateral", trial{kind: td4, quote: chain(teelab.ChainPEM(w.platform.PCK)), before: before(func(c ic) { c.Certificates = append(c.Certificates, w.stranger.PlatformCA, w.intel.PlatformCA) })}, nil},
		{"two roots given", trial{kind: td4, roots: []dcap.Root{w.stranger.Root(), w.intel.Root()}}, func(c *dcap.Claims) bool { return c.Root == w.intel.Root().Name }},
		{"a development root not marked so", trial{kind: td4, roots: []dcap.Root{{Name: "x", Cert: w.intel.RootCA}}}, func(c *dcap.Claims) bool { return c.Dev }},

		{"all collateral expired", trial{kind: td4, now: late}, func(c *dcap.Claims) bool { return len(c.Collateral) == 4 && !slices.ContainsFunc(c.Collateral, valid) }},
		{"revocation list expired", trial{kind: td4, before: before(func(c ic) { c.CRLs[1].ThisUpdate, c.CRLs[1].NextUpdate = at(from), at(to) })}, old("Platform CA")},
		{"TCB info expired", trial{kind: td4, before: before(func(c ic) { c.TCBInfo.IssueDate, c.TCBInfo.NextUpdate = from, to })}, old("TCB info")},
		{"QE identity expired", trial{kind: sgx3, before: before(func(c ic) { c.QEIdentity.IssueDate, c.QEIdentity.NextUpdate = from, to })}, old("QE identity")},
		{"no revocation lists", trial{kind: td4, before: before(func(c ic) { c.CRLs = nil })}, func(c *dcap.Claims) bool { return slices.Equal(slices.Sorted(slices.Values(c.Unchecked)), all) }},
		{"no revocation list of the root", trial{kind: td4, before: before(func(c ic) { c.CRLs = c.CRLs[1:] })}, func(c *dcap.Claims) bool { return slices.Equal(slices.Sorted(slices.Values(c.Unchecked)), all[1:]) }},
		{"revocation list of the other PCK CA", trial{kind: td4, before: before(func(c ic) { c.CRLs[1] = c.CRLs[2] })}, func(c *dcap.Claims) bool { return slices.Equal(c.Unchecked, all[:1]) }},
		{"revocation list of another CA of that name", trial{kind: td4, before: before(func(c ic) { c.CRLs[1].Issuer, c.CRLs[1].Key = w.stranger.PlatformCA, w.stranger.PlatformKey })}, func(c *dcap.Claims) bool { return slices.Equal(c.Unchecked, all[:1]) }},
		{"others revoked", trial{kind: td4, before: before(func(c ic) { c.CRLs[1].Revoke(w.twin.PCK); c.CRLs[0].Revoke(w.intel.ProcessorCA) })}, nil},
		{"collateral of all kinds", trial{kind: td4, after: func(c *dcap.Collateral) {
			for _, p := range []*teelab.Platform{w.otherKind, w.otherPCE, w.platform} {
				more := ok(w.intel.Collateral(p, attest.SGX))
				c.TCBInfos, c.QEIdentities = append(more.TCBInfos, c.TCBInfos...), append(more.QEIdentities, c.QEIdentities...)
			}
		}}, nil},
		{"an older TCB info beside", trial{kind: td4, after: beside(19)}, nil},
		{"a newer TCB info beside", trial{kind: td4, after: beside(21)}, func(c *dcap.Claims) bool { return c.TCBEvaluationDataNumber == 20 && c.Status == dcap.OutOfDate }},
		{"evaluation data number of the QE identity lower", trial{kind: td4, before: before(func(c ic) { c.QEIdentity.TCBEvaluationDataNumber = 7 })}, func(c *dcap.Claims) bool { return c.TCBEvaluationDataNumber == 7 }},
		{"FMSPC in capitals", trial{kind: td4, before: before(func(c ic) { c.TCBInfo.FMSPC = strings.ToUpper(c.TCBInfo.FMSPC) })}, nil},
		{"members that nobody knows", trial{kind: td4, before: before(func(c ic) { c.EditTCBInfo = replace(`{"id"`, `{"new":{"a":[1,"}"]},"id"`) })}, nil},
		{"levels in another order", trial{kind: td4, before: before(func(c ic) {
			slices.Reverse(c.TCBInfo.TCBLevels)
			slices.Reverse(c.QEIdentity.TCBLevels)
			slices.Reverse(c.TCBInfo.TDXModuleIdentities[1].TCBLevels)
		})}, nil},
		{"TCB recovery", trial{kind: td4, before: before(func(c ic) { c.TCBInfo.TCBLevels[0].TCB.SGX[0].SVN++ })}, func(c *dcap.Claims) bool {
			return c.Status == dcap.OutOfDate && c.TCBDate.Year() == 2024 && slices.Equal(c.Advisories, []string{"INTEL-SA-90001"})
		}},
		{"advisories of all parts", trial{kind: td4, quote: []func(iq){func(q iq) { q.QE.ISVSVN, q.TD.TEETCB[0] = 6, 3 }}, before: before(func(c ic) { c.TCBInfo.TCBLevels[0].AdvisoryIDs = []string{"INTEL-SA-90004", "INTEL-SA-90000"} })}, func(c *dcap.Claims) bool {
			return slices.Equal(c.Advisories, []string{"INTEL-SA-90000", "INTEL-SA-90003", "INTEL-SA-90004"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.trial.good(t)
			if tt.ok == nil && c.Status != dcap.UpToDate || tt.ok != nil && !tt.ok(c) {
				t.Errorf("claims %+v", c)
			}
		})
	}
}

// TestLabLevels raises each version of the newest level by one: the platform then
// is of the one below.
func TestLabLevels(t *testing.T) {
	t.Parallel()
	for _, kind := range []teelab.QuoteKind{sgx3, td4, td15} {
		raise := func(name string, want dcap.Status, fault func(*teelab.TCBVersions), quote ...func(iq)) {
			t.Run(kind.Name+" "+name, func(t *testing.T) {
				t.Parallel()
				c := trial{kind: kind, quote: quote, before: []func(ic){func(c ic) { fault(&c.TCBInfo.TCBLevels[0].TCB) }}}.good(t)
				if c.Status != want || c.PlatformStatus != want {
					t.Errorf("got %s and %s of the platform, want %s", c.Status, c.PlatformStatus, want)
				}
			})
		}
		raise("PCESVN", dcap.OutOfDate, func(v *teelab.TCBVersions) { v.PCESVN++ })
		for n := range 16 {
			raise(fmt.Sprint("component ", n+1), dcap.OutOfDate, func(v *teelab.TCBVersions) { v.SGX[n].SVN++ })
			if kind.Type == attest.SGX {
				continue
			}
			want := dcap.OutOfDate
			if n < 2 { // the module's own identity says
				want = dcap.UpToDate
			}
			raise(fmt.Sprint("TDX component ", n+1), want, func(v *teelab.TCBVersions) { v.TDX[n].SVN++ })
			if n != 1 {
				raise(fmt.Sprint("TDX component ", n+1, " without version"), dcap.OutOfDate, func(v *teelab.TCBVersions) { v.TDX[1].SVN = 0; v.TDX[n].SVN++ },
					func(q iq) { q.TD.TEETCB[1], q.TD.TEETCB2[1] = 0, 0 })
			}
		}
	}
}

// TestLabMerge has every platform status with every one of TDX module and QE. The
// table is Intel's (QVL, convergeTcbStatusWithTdxModuleStatus and
// convergeTcbStatusWithQeTcbStatus).
func TestLabMerge(t *testing.T) {
	t.Parallel()
	parts := []dcap.Status{dcap.UpToDate, dcap.OutOfDate, dcap.Revoked}
	for platform, row := range map[dcap.Status]struct{ good, outOfDate dcap.Status }{
		"UpToDate":                          {"UpToDate", "OutOfDate"},
		"SWHardeningNeeded":                 {"SWHardeningNeeded", "OutOfDate"},
		"ConfigurationNeeded":               {"ConfigurationNeeded", "OutOfDateConfigurationNeeded"},
		"ConfigurationAndSWHardeningNeeded": {"ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"},
		"OutOfDate":                         {"OutOfDate", "OutOfDate"},
		"OutOfDateConfigurationNeeded":      {"OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"},
		"Revoked":                           {"Revoked", "Revoked"},
	} {
		for _, qe := range parts {
			for _, module := range parts {
				want := row.good
				if qe == dcap.OutOfDate || module == dcap.OutOfDate {
					want = row.outOfDate
				}
				if qe == dcap.Revoked || module == dcap.Revoked {
					want = dcap.Revoked
				}
				for _, kind := range []teelab.QuoteKind{sgx3, td4, td15} {
					if kind == sgx3 && module != dcap.UpToDate {
						continue
					}
					t.Run(fmt.Sprintf("%s/platform %s/QE %s/module %s", kind.Name, platform, qe, module), func(t *testing.T) {
						t.Parallel()
						tr := trial{kind: kind, before: []func(ic){func(c ic) {
							c.TCBInfo.TCBLevels[0].TCBStatus, c.QEIdentity.TCBLevels[0].TCBStatus = string(platform), string(qe)
							if kind != sgx3 {
								c.TCBInfo.TDXModuleIdentities[1].TCBLevels[0].TCBStatus = string(module)
							}
						}}}
						if want == dcap.Revoked {
							tr.refused(t, dcap.ErrRevoked, "")
							return
						}
						c := tr.good(t)
						if c.Status != want || c.PlatformStatus != platform || c.QEStatus != qe || kind != sgx3 && c.ModuleStatus != module {
							t.Errorf("got %s of platform %s, QE %s, module %s, want %s", c.Status, c.PlatformStatus, c.QEStatus, c.ModuleStatus, want)
						}
					})
				}
			}
		}
	}
}

// TestLabRelaunch has TDs of TDX 1.5 that were launched by an older module than
// runs now (QVL, checkForRelaunch).
func TestLabRelaunch(t *testing.T) {
	t.Parallel()
	status := func(s string) func(ic) { return func(c ic) { c.TCBInfo.TCBLevels[0].TCBStatus = s } }
	launch := func(svn ...byte) func(iq) { return func(q iq) { copy(q.TD.TEETCB[:], svn) } }
	current := func(svn ...byte) func(iq) { return func(q iq) { copy(q.TD.TEETCB2[:], svn) } }
	good := func(ic) {}
	for _, tt := range []struct {
		name   string
		kind   teelab.QuoteKind
		quote  []func(iq)
		before func(ic)
		want   dcap.Status
	}{
		{"old module, new now", td15, []func(iq){launch(3)}, good, "TDRelaunchAdvised"},
		{"old module in TDX 1.0", td5, []func(iq){launch(3)}, good, "OutOfDate"},
		{"old module, old now", td15, []func(iq){launch(3), current(3)}, good, "OutOfDate"},
		{"old module, old microcode now", td15, []func(iq){launch(3), current(5, 1, 3)}, good, "OutOfDate"},
		{"new module, new now", td15, nil, good, "UpToDate"},
		{"old microcode, new now", td15, []func(iq){launch(5, 1, 3)}, good, "OutOfDate"}, // only a module's update helps without a restart
		{"old module and microcode, new now", td15, []func(iq){launch(3, 1, 3)}, good, "TDRelaunchAdvised"},
		{"SW hardening", td15, []func(iq){launch(3)}, status("SWHardeningNeeded"), "TDRelaunchAdvised"},
		{"configuration", td15, []func(iq){launch(3)}, status("ConfigurationNeeded"), "TDRelaunchAdvisedConfigurationNeeded"},
		{"configuration and SW hardening", td15, []func(iq){launch(3)}, status("ConfigurationAndSWHardeningNeeded"), "TDRelaunchAdvisedConfigurationNeeded"},
		{"platform out of date", td15, []func(iq){launch(3)}, status("OutOfDate"), "OutOfDate"},
		{"platform out of date, configuration", td15, []func(iq){launch(3)}, status("OutOfDateConfigurationNeeded"), "OutOfDateConfigurationNeeded"},
		{"QE out of date", td15, []func(iq){launch(3), func(q iq) { q.QE.ISVSVN = 6 }}, good, "OutOfDate"},
		{"QE out of date, configuration", td15, []func(iq){launch(3), func(q iq) { q.QE.ISVSVN = 6 }}, status("ConfigurationNeeded"), "OutOfDateConfigurationNeeded"},
		{"module now is good, but not the newest", td15, []func(iq){launch(3)}, func(c ic) {
			m := &c.TCBInfo.TDXModuleIdentities[1]
			m.TCBLevels = append([]teelab.SVNLevel{teelab.Level(6, "2026-06-01T00:00:00Z", "UpToDate")}, m.TCBLevels...)
		}, "OutOfDate"},
		{"newest level revoked, but not for old microcode", td4, []func(iq){launch(5, 1, 3)}, status("Revoked"), "OutOfDate"},
		{"old module and microcode, configuration", td15, []func(iq){launch(3, 1, 3)}, status("ConfigurationNeeded"), "TDRelaunchAdvisedConfigurationNeeded"},
		{"old module and microcode of a level with configuration", td15, []func(iq){launch(3, 1, 3)}, func(c ic) { c.TCBInfo.TCBLevels[2].TCBStatus = "OutOfDateConfigurationNeeded" }, "TDRelaunchAdvisedConfigurationNeeded"},
		{"module of version 3 now", td15, []func(iq){launch(3), current(3, 3)}, good, "TDRelaunchAdvised"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if c := (trial{kind: tt.kind, quote: tt.quote, before: []func(ic){tt.before}}).good(t); c.Status != tt.want {
				t.Errorf("got %s, want %s", c.Status, tt.want)
			}
		})
	}
}

// TestSwapped puts every certificate in the place of every other.
func TestSwapped(t *testing.T) {
	t.Parallel()
	w := lab()
	i, s := w.intel, w.stranger
	right := []*x509.Certificate{w.platform.PCK, i.PlatformCA, i.RootCA, i.TCBSigner}
	for place, want := range []error{dcap.ErrChain, dcap.ErrChain, dcap.ErrRoot, dcap.ErrChain} {
		for n, c := range []*x509.Certificate{w.platform.PCK, i.PlatformCA, i.RootCA, i.TCBSigner, i.ProcessorCA, w.twin.PCK, w.processor.PCK, s.PlatformCA, s.RootCA, s.TCBSigner, s.ProcessorCA, w.foreign.PCK} {
			if c == right[place] {
				continue
			}
			want := want
			if place == 0 && c == w.twin.PCK {
				want = dcap.ErrSignature // all but the key is right
			}
			t.Run(fmt.Sprintf("%s by number %d, %s", right[place].Subject.CommonName, n, c.Subject.CommonName), func(t *testing.T) {
				t.Parallel()
				certs := slices.Clone(right)
				certs[place] = c
				trial{kind: td15, quote: []func(iq){func(q iq) { q.Chain = teelab.ChainPEM(certs[:3]...) }}, before: []func(ic){func(c ic) { c.Certificates = certs[3:] }}}.refused(t, want, "")
			})
		}
	}
}

// TestCrossed crosses every pair of platforms, and of TEEs.
func TestCrossed(t *testing.T) {
	t.Parallel()
	w := lab()
	all := map[string]*teelab.Platform{"platform": w.platform, "twin": w.twin, "processor": w.processor, "other kind": w.otherKind, "other PCE": w.otherPCE, "foreign": w.foreign}
	for a, p := range all {
		for b, other := range all {
			if p == other {
				continue
			}
			t.Run("quote of "+a+" with PCK of "+b, func(t *testing.T) {
				t.Parallel()
				want := dcap.ErrSignature
				if other == w.foreign {
					want = dcap.ErrRoot
				}
				trial{kind: sgx3, platform: p, about: other, quote: []func(iq){func(q iq) { q.Chain = other.Chain }}}.refused(t, want, "")
				if p != w.foreign && (p.FMSPC != other.FMSPC || p.PCEID != other.PCEID) {
					trial{kind: td4, platform: p, about: other}.refused(t, dcap.ErrCollateral, "TCB info")
				}
			})
		}
	}
	for _, kind := range teelab.QuoteKinds() {
		t.Run(kind.Name+" with the other's collateral", func(t *testing.T) {
			t.Parallel()
			tee := map[string]string{attest.SGX: attest.TDX, attest.TDX: attest.SGX}[kind.Type]
			other := ok(w.intel.Collateral(w.platform, tee))
			trial{kind: kind, tee: tee}.refused(t, dcap.ErrCollateral, "TCB info")
			trial{kind: kind, after: func(c *dcap.Collateral) { c.TCBInfos = other.TCBInfos }}.refused(t, dcap.ErrCollateral, "TCB info")
			trial{kind: kind, after: func(c *dcap.Collateral) { c.QEIdentities = other.QEIdentities }}.refused(t, dcap.ErrCollateral, "QE identity")
		})
	}
}
