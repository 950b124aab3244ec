package collateral

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
)

const (
	firstWait    = time.Second      // before the second attempt; doubled for each that follows
	longestWait  = 30 * time.Second // of those
	mostPatience = time.Minute      // a service that asks for more is not asked again
	maxRedirects = 3
)

// A failure is an attempt that did not go well.
type failure struct {
	err   error
	again bool          // another attempt may go better
	after time.Duration // what the service asked to wait; 0 if nothing
	hint  string        // what the user can do
	code  int           // the status of the answer; 0 if there was none
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

const (
	hintFiles   = "or give the collateral as files"
	hintNetwork = "check the network and its proxy, " + hintFiles
	hintMirror  = "check the service's URL and what lies between (proxies, mirrors), " + hintFiles
)

// download gets one thing from its service, with as many attempts as are due.
func (f *Fetcher) download(ctx context.Context, req request) (attest.Collateral, error) {
	attempts := or(max(f.Attempts, 0), DefaultAttempts)
	host := ""
	if u, err := url.Parse(req.url); err == nil {
		host = u.Host
	}
	for n := 1; ; n++ {
		if err := f.pace(ctx, host); err != nil {
			return attest.Collateral{}, fmt.Errorf("%w: %s: %s: %w", ErrFetch, req.what, req.url, err)
		}
		c, fail := f.attempt(ctx, req)
		if fail == nil {
			return c, nil
		}
		wait := backoff(n)
		if fail.after > 0 {
			wait = fail.after
		}
		end := ""
		deadline, limited := ctx.Deadline()
		switch {
		case !fail.again:
		case n >= attempts && n > 1:
			end = fmt.Sprintf(", at the last of %d attempts", n)
		case n >= attempts:
		case wait > mostPatience:
			end = fmt.Sprintf(" and asks to wait for %v", wait)
		case limited && time.Until(deadline) < wait:
			end = ", and there is no time left to try again"
		default:
			f.hold(host, wait)
			continue
		}
		return attest.Collateral{}, fmt.Errorf("%w: %s: %s: %w%s; %s", ErrFetch, req.what, req.url, fail, end, fail.hint)
	}
}

// backoff returns how long to wait after the nth attempt: half of it is chance,
// so that clients that failed together don't come back together.
func backoff(n int) time.Duration {
	full := min(firstWait<<min(n-1, 16), longestWait)
	var b [8]byte
	rand.Read(b[:])
	return full/2 + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(full/2))
}

// pace waits until host may be asked.
func (f *Fetcher) pace(ctx context.Context, host string) error {
	interval := max(or(f.Interval, DefaultInterval), 0)
	now := time.Now()
	f.mu.Lock()
	at := f.next[host]
	if at.Before(now) {
		at = now
	}
	f.setNext(host, at.Add(interval))
	f.mu.Unlock()
	wait := at.Sub(now)
	if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) < wait {
		return fmt.Errorf("%w: the service may be asked again in %v", context.DeadlineExceeded, wait.Round(time.Second))
	}
	if wait <= 0 {
		return ctx.Err()
	}
	if f.Sleep != nil {
		return f.Sleep(ctx, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold lets nobody ask host for the time wait.
func (f *Fetcher) hold(host string, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := time.Now().Add(wait); at.After(f.next[host]) {
		f.setNext(host, at)
	}
}

func (f *Fetcher) setNext(host string, at time.Time) {
	if f.next == nil {
		f.next = make(map[string]time.Time)
	}
	f.next[host] = at
}

// errRedirect is for an answer that sends to another host.
var errRedirect = errors.New("the answer is a redirect to another host, which is refused")

func checkRedirect(req *http.Request, via []*http.Request) error {
	if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return fmt.Errorf("%w: %.100s", errRedirect, req.URL.Scheme+"://"+req.URL.Host)
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

// attempt asks once.
func (f *Fetcher) attempt(ctx context.Context, req request) (attest.Collateral, *failure) {
	timeout := or(max(f.Timeout, 0), DefaultTimeout)
	whole := ctx
	ctx, cancel := context.WithTimeout(whole, timeout)
	defer cancel()
	network := func(err error) *failure {
		if whole.Err() != nil {
			return &failure{err: fmt.Errorf("no answer until it was stopped, or in the time given: %w", whole.Err()), hint: "try again, " + hintFiles}
		}
		return network(err, timeout)
	}
	hreq, err := http.NewRequestWithContext(ctx, http.MethodGet, req.url, nil)
	if err != nil {
		return attest.Collateral{}, &failure{err: err, hint: hintMirror}
	}
	var client http.Client
	if f.Client != nil {
		client = *f.Client
	}
	client.CheckRedirect = checkRedirect
	resp, err := client.Do(hreq)
	if err != nil {
		return attest.Collateral{}, network(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return attest.Collateral{}, status(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxFile+1))
	if err != nil {
		return attest.Collateral{}, network(err)
	}
	c, err := req.read(body, resp.Header)
	if err != nil {
		return attest.Collateral{}, &failure{err: fmt.Errorf("the answer is %w: %w", ErrAnswer, err), hint: hintMirror}
	}
	return c, nil
}

// read parses an answer and checks that it is what was asked for.
func (req request) read(body []byte, header http.Header) (attest.Collateral, error) {
	c, err := Parse(body)
	if err != nil {
		return c, fmt.Errorf("expected %s: %w", req.what, err)
	}
	if len(req.headers) > 0 {
		chain := ""
		for _, name := range req.headers {
			chain = or(chain, header.Get(name))
		}
		if chain == "" {
			return c, fmt.Errorf("the header %s is missing, which has the issuer chain", req.headers[0])
		}
		issuers, err := Parse([]byte(chain))
		if err != nil {
			return c, fmt.Errorf("the header %s: %w", req.headers[0], err)
		}
		c.Certificates = once(append(c.Certificates, issuers.Certificates...))
	}
	_, err = newEntry(req, c, time.Time{})
	return c, err
}

// network sorts an error of the transport.
func network(err error, timeout time.Duration) *failure {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // its text repeats the URL
	}
	var ne net.Error
	switch {
	case errors.Is(err, errRedirect):
		return &failure{err: err, hint: hintMirror}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return &failure{err: fmt.Errorf("no answer within %v: %w", timeout, err), again: true, hint: hintNetwork}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &failure{err: fmt.Errorf("the connection broke: %w", err), again: true, hint: hintNetwork}
	}
	return &failure{err: err, hint: hintNetwork}
}

// status sorts an answer that is not 200.
func status(resp *http.Response) *failure {
	e := &failure{err: fmt.Errorf("the service answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)), code: resp.StatusCode}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		e.again, e.hint = true, "it limits how often it may be asked: try again in 30 s, "+hintFiles
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.again, e.hint = true, "it has a fault: try again later, "+hintFiles
	case http.StatusNotFound, http.StatusBadRequest:
		e.hint = "it does not know what the evidence names: check that the evidence is genuine, " + hintFiles
	default:
		e.hint = hintMirror
	}
	if !e.again {
		return e
	}
	if e.after = retryAfter(resp.Header); e.after > 0 && resp.StatusCode == http.StatusTooManyRequests {
		e.hint = fmt.Sprintf("it limits how often it may be asked: try again in %v, %s", e.after, hintFiles)
	}
	return e
}

// retryAfter reads the header Retry-After: seconds, or a date (RFC 9110, section
// 10.2.3), which is taken relative to the answer's own.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(at.Sub(now), 0)
}
