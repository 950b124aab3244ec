// Package client is the client agent: it has a Keep made on a host that nobody
// need trust, makes sure of what it is, and only then gives it secrets and a
// workload.
//
// Open connects to a host's keepmgr. Deploy goes through the ten steps of
// spec/PROTOCOL.md. Attest asks a running Keep what it runs.
package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
)

// A Host is a keepmgr that can be talked to. Nothing that it says is proven.
type Host struct {
	address string
	base    string // URL without a path
	dial    func(context.Context) (net.Conn, error)
	http    *http.Client
}

// Open returns the keepmgr at address: unix:///PATH, or https://HOST:PORT for
// which config says whom to trust and who to be. It does not connect yet.
func Open(address string, config *tls.Config) (*Host, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("host %q: expected unix:///PATH or https://HOST:PORT: %w", address, err)
	}
	h := &Host{address: address}
	switch {
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		h.base = "http://keepmgr"
		h.dial = func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", u.Path)
			if err != nil {
				return nil, fmt.Errorf("%w: does a redoubt-keepmgr serve it?", err)
			}
			return conn, nil
		}
	case u.Scheme == "https" && u.Host != "" && strings.Trim(u.Path, "/") == "":
		if config == nil {
			return nil, fmt.Errorf("host %s: no TLS configuration given", address)
		}
		config = config.Clone()
		config.MinVersion = tls.VersionTLS13
		config.NextProtos = []string{"http/1.1"} // tunnels are upgrades of a connection
		target := u.Host
		if u.Port() == "" {
			target = net.JoinHostPort(u.Hostname(), "443")
		}
		if config.ServerName == "" {
			config.ServerName = u.Hostname()
		}
		h.base = "http://" + u.Host // dial does the TLS
		h.dial = func(ctx context.Context) (net.Conn, error) {
			d := tls.Dialer{Config: config}
			return d.DialContext(ctx, "tcp", target)
		}
	default:
		return nil, fmt.Errorf("host %q: expected unix:///PATH or https://HOST:PORT", address)
	}
	h.http = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // no keepmgr redirects
		Transport: &http.Transport{
			DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx) },
			MaxResponseHeaderBytes: 16 << 10,
			MaxIdleConns:           4,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true,
		},
	}
	return h, nil
}

// Address returns the address that the Host was opened with.
func (h *Host) Address() string { return h.address }

// Close closes idle connections.
func (h *Host) Close() { h.http.CloseIdleConnections() }

// call sends a request with an encoded message, or none, and reads the answer.
func (h *Host) call(ctx context.Context, method, path string, request []byte, answer wire.Message) error {
	r, err := http.NewRequestWithContext(ctx, method, h.base+path, bytes.NewReader(request))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", wire.ContentType)
	response, err := h.http.Do(r)
	if err != nil {
		return fmt.Errorf("host %s: %w", h.address, unwrapURL(err))
	}
	if err := wire.ReadResponse(response, answer); err != nil {
		return fmt.Errorf("host %s: %w", h.address, err)
	}
	return nil
}

// refusal returns the error that r, whose status is not the one expected, says
// it is.
func refusal(r *http.Response) error {
	if err := wire.ReadResponse(r, &wire.Done{}); err != nil {
		return err
	}
	return fmt.Errorf("answer with status %d, and no refusal", r.StatusCode)
}

// unwrapURL takes off the URL that net/http wraps errors in: it is one that
// the user never wrote.
func unwrapURL(err error) error {
	if wrapped, ok := err.(*url.Error); ok { //nolint:errorlint // only the outermost
		err = wrapped.Err
	}
	return briefError{err}
}

// A briefError has a short text: net/http's errors quote all that a host sent.
type briefError struct{ error }

func (e briefError) Error() string {
	const most = 512
	text := e.error.Error()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

func (e briefError) Unwrap() error { return e.error }

func keepPath(id, what string) string { return wire.PathKeeps + "/" + id + "/" + what }

// Create has the host make a Keep of the given kind, for a workload with so
// much memory.
func (h *Host) Create(ctx context.Context, kind wire.Kind, memory uint64) (*wire.KeepInfo, error) {
	request, err := wire.Marshal(&wire.CreateRequest{Kind: kind, Memory: memory})
	if err != nil {
		return nil, err
	}
	var info wire.KeepInfo
	return &info, h.call(ctx, http.MethodPost, wire.PathKeeps, request, &info)
}

// List returns every Keep that the host knows, oldest first.
func (h *Host) List(ctx context.Context) ([]wire.KeepInfo, error) {
	var list wire.KeepList
	return list.Keeps, h.call(ctx, http.MethodGet, wire.PathKeeps, nil, &list)
}

// Inspect returns what the host says about a Keep.
func (h *Host) Inspect(ctx context.Context, id string) (*wire.KeepInfo, error) {
	var info wire.KeepInfo
	return &info, h.call(ctx, http.MethodGet, keepPath(id, "keep"), nil, &info)
}

// Stop ends a Keep, and returns when the host says that it is gone.
func (h *Host) Stop(ctx context.Context, id string) error {
	return h.call(ctx, http.MethodPost, keepPath(id, "stop"), nil, &wire.Done{})
}

// Platform returns what the host says that it can do.
func (h *Host) Platform(ctx context.Context) (*wire.Platform, error) {
	var p wire.Platform
	return &p, h.call(ctx, http.MethodGet, wire.PathPlatform, nil, &p)
}

// Wait waits until a Keep is in state want or past it, and returns what the
// host then says about it.
func (h *Host) Wait(ctx context.Context, id string, want wire.State) (*wire.KeepInfo, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+keepPath(id, "watch"), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := h.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.address, unwrapURL(err))
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("host %s: %w", h.address, refusal(response))
	}
	defer response.Body.Close()
	for {
		var info wire.KeepInfo
		if err := wire.ReadFrame(response.Body, &info); err != nil {
			return nil, fmt.Errorf("host %s: follow Keep %s: %w", h.address, id, err)
		}
		if info.ID != id {
			return nil, fmt.Errorf("host %s: follow Keep %s: it tells of Keep %s", h.address, id, info.ID)
		}
		if info.State.Reached(want) {
			return &info, nil
		}
	}
}

// exchange sends a message to a Keep, by way of the host, and reads its answer.
func (h *Host) exchange(ctx context.Context, id string, request, answer wire.Message) error {
	data, err := wire.Marshal(request)
	if err != nil {
		return err
	}
	return h.call(ctx, http.MethodPost, keepPath(id, "exchange"), data, answer)
}

// tunnel opens a connection to a Keep's deployment channel, by way of the host.
func (h *Host) tunnel(ctx context.Context, id string) (net.Conn, error) {
	conn, err := h.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	tunnelled, err := upgrade(conn, h.base+keepPath(id, "tunnel"))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("host %s: tunnel: %w", h.address, err)
	}
	return tunnelled, nil
}

func upgrade(conn net.Conn, target string) (net.Conn, error) {
	r, err := http.NewRequest(http.MethodGet, target, http.NoBody) //nolint:noctx // the connection's deadline bounds it
	if err != nil {
		return nil, err
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", wire.Upgrade)
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	// A host that never ends its headers must not fill this side's memory.
	limited := &io.LimitedReader{R: conn, N: 64 << 10}
	from := bufio.NewReaderSize(limited, wire.HTTPFrame) // TLS reads record by record
	response, err := http.ReadResponse(from, r)
	if err != nil {
		return nil, briefError{err}
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, refusal(response)
	}
	if got := response.Header.Get("Upgrade"); got != wire.Upgrade {
		return nil, fmt.Errorf("the host upgraded to %.32q, expected %q", got, wire.Upgrade)
	}
	limited.N = 1 << 62 // from here on the bytes are the Keep's
	return &bufferedConn{Conn: conn, from: from}, nil
}

// bufferedConn is a connection that is read through a buffer.
type bufferedConn struct {
	net.Conn
	from *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.from.Read(p) }
