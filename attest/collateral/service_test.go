package collateral_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// An answer is what a service says for a URL.
type answer struct {
	body   []byte
	header map[string]string
}

// A service behaves like AMD's key server and Intel's certification service.
type service struct {
	*httptest.Server
	answers map[string]answer // by path and query

	mu   sync.Mutex
	hits map[string]int
	// fault, if it returns true, has answered in place of the service; n counts
	// the requests for that URL from 1.
	fault func(n int, w http.ResponseWriter, r *http.Request) bool
}

func newService(t *testing.T, answers ...map[string]answer) *service {
	t.Helper()
	s := &service{answers: make(map[string]answer), hits: make(map[string]int)}
	for _, more := range answers {
		for key, a := range more {
			s.answers[key] = a
		}
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.RequestURI()
	s.mu.Lock()
	s.hits[key]++
	n, fault := s.hits[key], s.fault
	a, ok := s.answers[key]
	if !ok {
		a.body = []byte("not found")
	}
	s.mu.Unlock()
	if fault != nil && fault(n, w, r) {
		return
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
	}
	w.Write(a.body)
}

// breakWith breaks all URLs that fragment is part of.
func (s *service) breakWith(fragment string, fault func(n int, w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.RequestURI(), fragment) && fault(n, w, r)
	}
}

// set changes the answer of the one URL with fragment in it.
func (s *service) set(t *testing.T, fragment string, change func(*answer)) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for key, a := range s.answers {
		if strings.Contains(key, fragment) {
			n++
			header := make(map[string]string)
			for k, v := range a.header {
				header[k] = v
			}
			a.header = header
			change(&a)
			s.answers[key] = a
		}
	}
	if n != 1 {
		t.Fatalf("%d URLs with %q, must be 1", n, fragment)
	}
}

// count returns the requests for all URLs with fragment in them.
func (s *service) count(fragment string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, hits := range s.hits {
		if strings.Contains(key, fragment) {
			n += hits
		}
	}
	return n
}

// A clock is the time of a Fetcher, which sleeping advances, and how long it slept.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	c.at = c.at.Add(d)
	return ctx.Err()
}

// newFetcher asks s for everything, and never really sleeps.
func newFetcher(t *testing.T, s *service) (*collateral.Fetcher, *clock) {
	t.Helper()
	c := &clock{at: now}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return &collateral.Fetcher{
		Client: client, KDS: s.URL, PCS: s.URL + "/", Cache: t.TempDir(), Interval: -1, Now: c.now, Sleep: c.sleep,
	}, c
}

// An authority signs what a test needs, quicker than a simulated AMD.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var fastKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })

func newAuthority(name string) authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	}
	key := fastKey()
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return authority{key, must(x509.ParseCertificate(der))}
}

// list makes a revocation list that was made a day ago and holds for so long.
func (a authority) list(left time.Duration) []byte {
	return must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.Add(left),
	}, a.cert, a.key))
}

func (a authority) issue(template *x509.Certificate) []byte {
	template.SignatureAlgorithm = 0
	template.NotBefore, template.NotAfter = now.AddDate(0, 0, -1), now.AddDate(7, 0, 0)
	return must(x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key))
}

func pemOf(ders ...[]byte) (text []byte) {
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// An amdChip is a chip, its report, and what the key server says of it. Its
// certificates have the right names and extensions; nothing is verified here.
type amdChip struct {
	product snp.Product
	id      [64]byte
	tcb     snp.TCB
	report  *snp.Report
	answers map[string]answer
	vcek    []byte
	vcekURL string
	service string // vcek or vlek
}

var cpuids = map[snp.Product]snp.CPUID{
	snp.Milan: {Family: 0x19, Model: 1}, snp.Genoa: {Family: 0x19, Model: 0x11}, snp.Turin: {Family: 0x1a, Model: 2},
}

// newChip makes a chip; tests change the report.
func newChip(product snp.Product, changes ...func(*snp.Report)) *amdChip {
	c := &amdChip{product: product, tcb: snp.TCB{Bootloader: 4, TEE: 1, SNP: 24, Microcode: 219}, service: "vcek"}
	for i := range 8 {
		c.id[i] = byte(0xa0 + i)
	}
	if product == snp.Turin {
		c.tcb.FMC = 2
	} else {
		c.id[63] = 0xff
	}
	raw := c.tcb.Encode(product)
	c.report = &snp.Report{
		Version: 3, Policy: 1 << 17, ReportedTCB: raw, CurrentTCB: raw, CommittedTCB: raw, LaunchTCB: raw, ChipID: c.id, CPUID: cpuids[product],
	}
	for _, change := range changes {
		change(c.report)
	}
	ca, ark := newAuthority("SEV-"+string(product)), newAuthority("ARK-"+string(product))
	if c.report.SigningKey == snp.VLEK {
		c.service, ca = "vlek", newAuthority("SEV-VLEK-"+string(product))
	}
	c.vcek = ca.issue((&teelab.AMD{Product: product}).VCEK(c.id, c.tcb))
	c.vcekURL = fmt.Sprintf("/vcek/v1/%s/%x?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219", product, c.id)
	if product == snp.Turin {
		c.vcekURL = fmt.Sprintf("/vcek/v1/Turin/%x?fmcSPL=02&blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219", c.id[:8])
	}
	c.answers = map[string]answer{
		c.vcekURL: {body: c.vcek},
		"/" + c.service + "/v1/" + string(product) + "/cert_chain": {body: pemOf(ca.cert.Raw, ark.cert.Raw)},
		"/" + c.service + "/v1/" + string(product) + "/crl":        {body: ark.list(90 * 24 * time.Hour)},
	}
	return c
}

func (c *amdChip) evidence() attest.Evidence {
	return attest.Evidence{Type: attest.SNP, Report: c.report.Encode()}
}

// withTable is evidence that comes with certificates.
func (c *amdChip) withTable(ders ...[]byte) attest.Evidence {
	var table snp.CertTable
	for _, der := range ders {
		cert := must(x509.ParseCertificate(der))
		switch name := cert.Subject.CommonName; {
		case name == "SEV-VCEK":
			table.VCEK = cert
		case name == "SEV-VLEK":
			table.VLEK = cert
		case strings.HasPrefix(name, "SEV-"):
			table.ASK = cert
		default:
			table.ARK = cert
		}
	}
	ev := c.evidence()
	ev.Auxblob = table.Encode()
	return ev
}

// An intelPlatform is a platform and what Intel's service says of it.
type intelPlatform struct {
	*teelab.Intel
	*teelab.Platform
	answers map[string]answer
}

func newPlatform(t *testing.T, changes ...func(*teelab.Platform)) *intelPlatform {
	t.Helper()
	p := &intelPlatform{Intel: must(teelab.NewIntel(now)), answers: make(map[string]answer)}
	p.Platform = must(p.NewPlatform(changes...))
	chain := func(certs ...*x509.Certificate) string {
		return url.PathEscape(string(teelab.ChainPEM(certs...)))
	}
	for _, tee := range []string{"sgx", "tdx"} {
		c := must(p.Collateral(p.Platform, tee))
		signer := chain(p.TCBSigner, p.RootCA)
		p.answers[fmt.Sprintf("/%s/certification/v4/tcb?fmspc=%x", tee, p.FMSPC)] = answer{c.TCBInfos[0], map[string]string{"TCB-Info-Issuer-Chain": signer}}
		p.answers[fmt.Sprintf("/%s/certification/v4/qe/identity", tee)] = answer{c.QEIdentities[0], map[string]string{"SGX-Enclave-Identity-Issuer-Chain": signer}}
		p.answers["/sgx/certification/v4/rootcacrl"] = answer{body: []byte(fmt.Sprintf("%x", c.CRLs[0]))}
		p.answers["/sgx/certification/v4/pckcrl?ca=platform&encoding=der"] = answer{c.CRLs[1], map[string]string{"SGX-PCK-CRL-Issuer-Chain": chain(p.PlatformCA, p.RootCA)}}
		p.answers["/sgx/certification/v4/pckcrl?ca=processor&encoding=der"] = answer{c.CRLs[2], map[string]string{"SGX-PCK-CRL-Issuer-Chain": chain(p.ProcessorCA, p.RootCA)}}
	}
	return p
}

func (p *intelPlatform) evidence(kind teelab.QuoteKind) attest.Evidence {
	return must(p.Evidence(kind, [64]byte{1}, [48]byte{2}))
}

// manyEntries makes a revocation list of about size bytes.
func manyEntries(size int) []byte {
	a := newAuthority("authority")
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	for i := range size / 20 {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(int64(i%100 + 1)), RevocationTime: now})
	}
	return must(x509.CreateRevocationList(rand.Reader, list, a.cert, a.key))
}
