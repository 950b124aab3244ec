package collateral

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
)

// Errors of a Fetcher.
var (
	// ErrFetch is wrapped if a service could not be reached or did not answer
	// with what was asked for, and there was nothing in the cache.
	ErrFetch = errors.New("collateral could not be fetched")
	// ErrAnswer is wrapped, beside ErrFetch, if a service gave an answer and it
	// is malformed, truncated, or for something else.
	ErrAnswer = errors.New("not what was asked for")
	// ErrOffline is wrapped if the Fetcher is offline and the cache lacks something.
	ErrOffline = errors.New("not in the cache, and no network is to be used")
	// ErrEvidence is wrapped if the evidence does not say what to fetch for it.
	ErrEvidence = errors.New("nothing can be fetched for this evidence")
)

// Defaults of a Fetcher.
const (
	DefaultKDS      = "https://kdsintf.amd.com"
	DefaultPCS      = "https://api.trustedservices.intel.com"
	DefaultRootCRL  = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	DefaultMaxAge   = 24 * time.Hour
	DefaultTimeout  = 30 * time.Second
	DefaultAttempts = 5
	DefaultInterval = time.Second
)

// A Fetcher gets collateral from the manufacturers' services, or from mirrors of
// them. The zero Fetcher is usable: it asks the manufacturers and caches nothing.
// It may be used by several goroutines; its fields must not change meanwhile.
//
// A service learns which machine evidence is from: AMD's the chip ID, Intel's
// the FMSPC. Set Offline, or a mirror, if that is too much.
type Fetcher struct {
	// Client makes the requests. Nil is a plain client. Redirects to another
	// host are refused whatever it says.
	Client *http.Client

	// KDS and PCS are the URLs of the services, to which paths such as
	// /vcek/v1/ and /sgx/certification/v4/ are appended: AMD's key server and
	// Intel's certification service, or mirrors such as a PCCS. Empty is the
	// manufacturer's own.
	KDS, PCS string
	// RootCRL is the URL of the revocation list of Intel's root. Empty is
	// Intel's own, or, if PCS is set, the one that a PCCS has.
	RootCRL string
	// Early asks Intel for what it will say of platforms once they have had
	// time to update.
	Early bool

	// Cache is the folder to keep answers in, one file for each URL. Empty is none.
	Cache string
	// MaxAge is how long an answer is used that says itself how long it holds.
	// It is never used longer than that without a look for a new one. Answers
	// of certificates only do not change, and are used until those expire. Zero
	// is DefaultMaxAge.
	MaxAge time.Duration
	// Offline uses the cache and no network.
	Offline bool

	Timeout  time.Duration // of one request; zero is DefaultTimeout
	Attempts int           // for one URL; zero is DefaultAttempts
	Interval time.Duration // least time between two requests to a host; zero is DefaultInterval, negative none

	// Now is the clock by which answers expire; nil is time.Now. Sleep waits;
	// nil is to wait for that time or the end of the context.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error

	mu      sync.Mutex
	flights map[string]*flight
	next    map[string]time.Time // when a host may be asked again
}

// A Result is what was fetched.
type Result struct {
	// Bundle is the collateral and its sources, ready for EncodeBundle.
	Bundle
	// Stale is a sentence for each piece that has expired, and why there is no
	// newer. Whether that is good enough is for a policy to say.
	Stale []string
	// CacheErr says why something could not be written to the cache. Nothing
	// was lost by it but time.
	CacheErr error
}

// Fetch gets what is needed to verify ev: for SNP the VCEK, unless ev has it, the
// chain and the revocation list; for SGX and TDX the TCB info, QE identity,
// revocation lists and their chains. For the other technologies manufacturers
// have no such service: that is an error which wraps ErrEvidence.
//
// Neither ev nor the result is verified. With an error, the result has what could
// be got all the same. How long Fetch may take is up to ctx: busy services make it
// wait.
func (f *Fetcher) Fetch(ctx context.Context, ev attest.Evidence) (Result, error) {
	var r Result
	var err error
	switch ev.Type {
	case attest.SNP:
		err = f.fetchSNP(ctx, ev, &r)
	case attest.SGX, attest.TDX:
		err = f.fetchIntel(ctx, ev, &r)
	case attest.CCA, attest.Nitro, attest.TPM:
		err = fmt.Errorf("%w: there is no service for %s; give what is needed as files", ErrEvidence, ev.Type)
	default:
		err = fmt.Errorf("%w: %w: %.32q", ErrEvidence, attest.ErrType, ev.Type)
	}
	return r, err
}

// A request is one thing to get.
type request struct {
	what    string   // for people
	url     string   // without anything secret
	headers []string // one of them must have the issuer chain, if there are any
	// check checks that it is what was asked for.
	check func(attest.Collateral) error
}

// An entry is an answer, new or from the cache.
type entry struct {
	c        attest.Collateral
	url      string
	fetched  time.Time
	expires  time.Time // of the first item to expire
	dated    bool      // has items that say how long they hold
	stale    string    // why it is used though it has expired
	cacheErr error
}

func newEntry(req request, c attest.Collateral, fetched time.Time) (entry, error) {
	e := entry{c: c, url: req.url, fetched: fetched.UTC().Truncate(time.Second)}
	if err := req.check(c); err != nil {
		return e, err
	}
	return e, e.setExpiry()
}

// setExpiry finds when the first item expires. Certificates count only if there
// is nothing else: those of chains live long.
func (e *entry) setExpiry() error {
	first := func(t time.Time) {
		if e.expires.IsZero() || t.Before(e.expires) {
			e.expires = t
		}
	}
	for _, der := range e.c.CRLs {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		first(crl.NextUpdate)
	}
	for _, kind := range []*signedKind{tcbInfoKind, qeIdentityKind} {
		items := e.c.TCBInfos
		if kind == qeIdentityKind {
			items = e.c.QEIdentities
		}
		for _, item := range items {
			h, err := readHeader(kind, item)
			if err != nil {
				return err
			}
			first(h.NextUpdate)
		}
	}
	if e.dated = !e.expires.IsZero(); e.dated {
		return nil
	}
	for _, der := range e.c.Certificates {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		first(cert.NotAfter)
	}
	return nil
}

func (e *entry) expired(now time.Time) bool { return !now.Before(e.expires) }

// sources returns where e's items are from.
func (e *entry) sources() (list []Source) {
	for _, item := range slices.Concat(e.c.Certificates, e.c.CRLs, e.c.TCBInfos, e.c.QEIdentities) {
		list = append(list, Source{sha256.Sum256(item), e.url, e.fetched})
	}
	return list
}

func (r *Result) add(e entry) {
	r.Sources = append(r.Sources, e.sources()...)
	r.Collateral = r.Collateral.Merge(e.c)
	for _, list := range []*[][]byte{&r.Collateral.Certificates, &r.Collateral.CRLs, &r.Collateral.TCBInfos, &r.Collateral.QEIdentities} {
		*list = once(*list) // answers share issuers
	}
	if e.stale != "" {
		r.Stale = append(r.Stale, e.stale)
	}
	if e.cacheErr != nil && r.CacheErr == nil {
		r.CacheErr = e.cacheErr
	}
}

// collect gets all requests and adds them to r. It goes on after an error, unless
// it is stopped.
func (f *Fetcher) collect(ctx context.Context, r *Result, reqs ...request) error {
	var errs []error
	for _, req := range reqs {
		e, err := f.get(ctx, req)
		switch {
		case err == nil:
			r.add(e)
		case errors.Is(ctx.Err(), context.Canceled):
			return errors.Join(append(errs, err)...)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *Fetcher) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// baseURL checks the URL of a service. It has no secrets: errors and the cache
// name it.
func baseURL(name, given, otherwise string) (string, error) {
	if given == "" {
		return otherwise, nil
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%w: the URL for %s must be https://HOST[/PATH], without user or query", ErrFetch, name)
	}
	return strings.TrimRight(given, "/"), nil
}

// A flight is a request that is on its way.
type flight struct {
	done      chan struct{}
	e         entry
	err       error
	cancelled bool // by its own caller
}

// get gets one thing. Callers that ask for the same at once get the same answer.
func (f *Fetcher) get(ctx context.Context, req request) (entry, error) {
	for {
		f.mu.Lock()
		fl, running := f.flights[req.url]
		if !running {
			if f.flights == nil {
				f.flights = make(map[string]*flight)
			}
			fl = &flight{done: make(chan struct{})}
			f.flights[req.url] = fl
		}
		f.mu.Unlock()
		if !running {
			f.fly(ctx, req, fl)
			return fl.e, fl.err
		}
		select {
		case <-fl.done:
			if !fl.cancelled {
				return fl.e, fl.err
			}
		case <-ctx.Done():
			return entry{}, fmt.Errorf("%w: %s: %w", ErrFetch, req.url, ctx.Err())
		}
	}
}

func (f *Fetcher) fly(ctx context.Context, req request, fl *flight) {
	defer func() {
		fl.cancelled = ctx.Err() != nil
		f.mu.Lock()
		delete(f.flights, req.url)
		f.mu.Unlock()
		close(fl.done)
	}()
	fl.e, fl.err = f.cachedOrNew(ctx, req)
}
