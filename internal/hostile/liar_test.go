//go:build linux

package hostile

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/wire"
)

// A liar is a keepmgr that hands everything on to the real one but what it has
// lies for, and keeps all bytes that pass between it and the client.
type liar struct {
	t       *testing.T
	address string

	// handle, if it is set and returns true, has answered a request: what is the
	// last part of its path.
	handle func(what string, w http.ResponseWriter, r *http.Request) bool
	// exchange, if set, answers instead of the Keep.
	exchange func(id string, request []byte) []byte
	// tunnel, if set, deals with the client's end of a tunnel.
	tunnel func(id string, client net.Conn)

	mu       sync.Mutex
	requests []string // messages to the Keep, and tunnels, in order
	passed   [][]byte // one entry for each write and read
	kept     int      // bytes of passed, and what was left out of it
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	l := &liar{t: t}
	socket := filepath.Join(temp, fmt.Sprintf("l%d.sock", socketNumber()))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.address = "unix://" + socket
	server := &http.Server{Handler: http.HandlerFunc(l.serve)}
	go server.Serve(tapListener{listener, l})
	t.Cleanup(func() { server.Close() })
	return l
}

var socketNumber = func() func() int {
	var mu sync.Mutex
	var n int
	return func() int { mu.Lock(); defer mu.Unlock(); n++; return n }
}()

func (l *liar) serve(w http.ResponseWriter, r *http.Request) {
	what := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if l.handle != nil && l.handle(what, w, r) {
		return
	}
	switch what {
	case "exchange":
		request, err := wire.ReadAll(r.Body, wire.MaxMessage)
		if err != nil {
			return
		}
		name, _ := wire.Name(request)
		l.note(name)
		id := pathID(r)
		answer := l.next(id, request)
		w.Header().Set("Content-Type", wire.ContentType)
		w.Write(answer)
	case "tunnel":
		l.note("tunnel")
		if l.tunnel == nil {
			realManager.Handler().ServeHTTP(w, r)
			return
		}
		conn := l.hijack(w)
		if conn == nil {
			return
		}
		defer conn.Close()
		l.tunnel(pathID(r), conn)
	default:
		realManager.Handler().ServeHTTP(w, r)
	}
}

func (l *liar) next(id string, request []byte) []byte {
	if l.exchange != nil {
		return l.exchange(id, request)
	}
	return exchange(id, request)
}

func pathID(r *http.Request) string { return strings.Split(r.URL.Path, "/")[3] }

// hijack accepts an upgrade and returns the connection.
func (l *liar) hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		l.t.Error(err)
		return nil
	}
	// Only now: before, net/http might have read the client's first bytes ahead.
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.Upgrade)
	return conn
}

func (l *liar) note(request string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, request)
}

// seen is what the client asked of the Keep so far.
func (l *liar) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

func (l *liar) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Join(l.passed, nil)
}

// A tap keeps what passes a connection.
type tap struct {
	net.Conn
	l *liar
}

type tapListener struct {
	net.Listener
	l *liar
}

func (t tapListener) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	return &tap{conn, t.l}, err
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.l.keep(p[:n])
	return n, err
}

func (t *tap) Write(p []byte) (int, error) {
	t.l.keep(p)
	return t.Conn.Write(p)
}

func (l *liar) keep(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 8 << 20 // an endless answer is the liar's own
	if l.kept += len(p); l.kept <= most {
		l.passed = append(l.passed, bytes.Clone(p))
	}
}

// exchange sends a message to a real Keep.
func exchange(id string, request []byte) []byte {
	r := httptest.NewRequest(http.MethodPost, wire.PathKeeps+"/"+id+"/exchange", bytes.NewReader(request))
	w := httptest.NewRecorder()
	realManager.Handler().ServeHTTP(w, r)
	return w.Body.Bytes()
}

// ask is exchange with messages.
func ask(id string, request, answer wire.Message) error {
	data, err := wire.Marshal(request)
	if err != nil {
		return err
	}
	return wire.UnmarshalAnswer(exchange(id, data), answer)
}

// dialTunnel opens a tunnel to a real Keep.
func dialTunnel(id string) (net.Conn, error) {
	conn, err := net.Dial("unix", strings.TrimPrefix(realHost.Address(), "unix://"))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET %s/%s/tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.PathKeeps, id, wire.Upgrade)
	// The Keep speaks only when spoken to: nothing but the answer is buffered.
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, wire.ReadResponse(response, &wire.Done{})
	}
	return conn, nil
}

// newKeep has the real keepmgr make a Keep.
func newKeep(t *testing.T) string {
	t.Helper()
	info, err := realHost.Create(t.Context(), wire.KindProcess, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = realHost.Stop(context.Background(), info.ID) })
	if info, err = realHost.Wait(t.Context(), info.ID, wire.StateReady); err != nil || info.State != wire.StateReady {
		t.Fatalf("%+v, %v", info, err)
	}
	return info.ID
}

// secret is planted in all that a tenant hands over.
var secret = []byte("the tenant's secret " + rand.Text())

// workload is a module that holds the secret.
func workload(module []byte) []byte {
	section := append([]byte{byte(len("x")), 'x'}, secret...) // custom: a name, then anything
	return slices.Concat(module, []byte{0, byte(len(section))}, section)
}

// deployment is one that succeeds where nobody lies.
func deployment(module []byte) *client.Deployment {
	return &client.Deployment{
		Kind: wire.KindProcess, Module: workload(module),
		Args: []string{"app", string(secret)}, Env: []string{"SECRET=" + string(secret)},
		Profile: wire.Production, Limits: wire.Limits{Memory: 64 << 20},
		Trust: client.Trust{Policy: client.ProcessPolicy(attest.Reference{Digest: measurement}), Roots: roots},
		Stdin: bytes.NewReader(secret), Stdout: io.Discard, Stderr: io.Discard,
		StepTimeout: 20 * time.Second,
	}
}

// deploy deploys d by way of the liar, in bounded time, and makes sure that
// nothing secret passed in the clear.
func (l *liar) deploy(d *client.Deployment) (*client.Result, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 80*time.Second)
	defer cancel()
	host, err := client.Open(l.address, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer host.Close()
	result, err := client.Deploy(ctx, host, d)
	if ctx.Err() != nil {
		l.t.Error("the client hangs")
	}
	if bytes.Contains(l.bytes(), secret) {
		l.t.Error("the secret passed in the clear")
	}
	if strings.ContainsFunc(fmt.Sprint(err), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		l.t.Errorf("the error can steer a terminal: %q", err)
	}
	if n := len(fmt.Sprint(err)); n > 2<<10 {
		l.t.Errorf("the error has %d bytes", n)
	}
	return result, err
}

// A failure says how a deployment is to fail. What is not set is not looked at.
type failure struct {
	step int
	is   error
	code wire.Code // of a *wire.Refusal
	rule string    // of an *attest.RefusedError
	text string
}

func (f failure) check(t *testing.T, err error) {
	t.Helper()
	t.Log(err)
	var step *client.StepError
	var refusal *wire.Refusal
	var refused *attest.RefusedError
	switch {
	case err == nil:
		t.Error("no error")
	case !errors.As(err, &step) || step.Step != f.step:
		t.Errorf("%v: expected step %d", err, f.step)
	case f.is != nil && !errors.Is(err, f.is):
		t.Errorf("%v: expected %v", err, f.is)
	case f.code != "" && (!errors.As(err, &refusal) || refusal.Code != f.code):
		t.Errorf("%v: expected a refusal with code %s", err, f.code)
	case f.rule != "" && (!errors.As(err, &refused) || failed(refused.Result) != f.rule):
		t.Errorf("%v: expected rule %q alone", err, f.rule)
	case !strings.Contains(err.Error(), f.text):
		t.Errorf("%v: expected %q", err, f.text)
	}
}

func failed(r attest.Result) string {
	var names []string
	for _, rule := range r.Rules {
		if !rule.OK {
			names = append(names, rule.Name)
		}
	}
	return strings.Join(names, ", ")
}

func mustMarshal(m wire.Message) []byte {
	data, err := wire.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// TestHonest: with nothing to lie about the liar's tap sees no secret, and
// would have seen one.
func TestHonest(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	d := deployment(guests.Hello())
	var stdout bytes.Buffer
	d.Stdout = &stdout
	result, err := l.deploy(d)
	if err != nil || result.Outcome.End != wire.EndExited || stdout.String() != "hello\n" {
		t.Fatalf("%+v, %v, %q", result, err, &stdout)
	}
	if want := []string{"attest-request", "provision-request", "tunnel"}; !slices.Equal(l.seen(), want) {
		t.Errorf("requests %q, expected %q", l.seen(), want)
	}
	if !bytes.Contains(l.bytes(), []byte(wire.Upgrade)) {
		t.Error("the tap saw nothing")
	}
}
