//go:build linux

package keep

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// deployServer is the deployment channel, steps 8 to 10: HTTPS to the one
// client that provisioned this Keep.
type deployServer struct {
	keep  *keep
	http  *http.Server
	conns *streamListener
	taken map[wire.Capability]bool // streams that are attached; guarded by keep.mu
}

func newDeployServer(k *keep) *deployServer {
	d := &deployServer{keep: k, conns: newStreamListener(), taken: make(map[wire.Capability]bool)}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) (wire.Message, error){
		"PUT " + wire.PathWorkload: d.workload,
		"POST " + wire.PathStdin:   d.stdin,
		"POST " + wire.PathRun:     d.run,
		"POST " + wire.PathStop:    d.stop,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := handle(w, r)
			if err != nil {
				answer = wire.AsRefusal(err, wire.CodeInternal)
			}
			wire.Respond(w, answer)
		})
	}
	mux.HandleFunc("GET "+wire.PathStdout, func(w http.ResponseWriter, r *http.Request) { d.output(w, wire.Stdout, k.runner.Stdout) })
	mux.HandleFunc("GET "+wire.PathStderr, func(w http.ResponseWriter, r *http.Request) { d.output(w, wire.Stderr, k.runner.Stderr) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		wire.Respond(w, wire.Refuse(wire.CodeNoSuchMethod, "nothing is served at %s %s", r.Method, r.URL.Path))
	})
	d.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: answerTimeout,
		MaxHeaderBytes:    16 << 10,
		Protocols:         wire.OnlyHTTP2(),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 16, MaxReadFrameSize: wire.HTTPFrame, MaxReceiveBufferPerStream: 1 << 20, MaxReceiveBufferPerConnection: 2 << 20},
		ErrorLog:          log.New(io.Discard, "", 0), // what the host sends is no news
	}
	go d.http.Serve(d.conns) //nolint:errcheck // ends with shutdown
	return d
}

// accept takes a deployment connection. Before there is a tenant there is
// nobody to accept.
func (d *deployServer) accept(s sallyport.Stream) {
	d.keep.mu.Lock()
	t := d.keep.tenant
	d.keep.mu.Unlock()
	if t == nil {
		_ = s.Reset()
		return
	}
	d.conns.push(tls.Server(s, t.tlsConfig()))
}

// tlsConfig accepts exactly the client that sealed the provision.
func (t *tenant) tlsConfig() *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{t.certificate},
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2"},
		// Small first records help browsers to render; here they only cost.
		DynamicRecordSizingDisabled: true,
		Time:                        t.now,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) != 1 {
				return errors.New("expected one client certificate")
			}
			got := sha256.Sum256(state.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(got[:], t.provision.Client[:]) != 1 {
				return errors.New("not the client that provisioned this Keep")
			}
			return nil
		},
	}
}

// workload is step 9: take it, check it, have it compiled.
func (d *deployServer) workload(_ http.ResponseWriter, r *http.Request) (wire.Message, error) {
	if r.ContentLength < 0 || r.ContentLength > wire.MaxWorkload {
		return nil, wire.Refuse(wire.CodeTooLarge, "a workload's length must be told and be at most %d bytes", wire.MaxWorkload)
	}
	k := d.keep
	if err := k.advance(wire.StateProvisioned, wire.StateLoading, nil); err != nil {
		return nil, err
	}
	module := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, module); err != nil {
		k.finish()
		return nil, wire.Refuse(wire.CodeBadMessage, "the workload was cut short: %v", err)
	}
	if err := k.runner.Load(module, k.tenant.provision.Config.Limits.Memory); err != nil {
		k.finish()
		return nil, wire.AsRefusal(err, wire.CodeInternal) // a runner that refuses says bad-workload itself
	}
	work := wire.WorkloadDigest(module)
	if err := k.advance(wire.StateLoading, wire.StateLoaded, func() { k.work = work }); err != nil {
		return nil, err
	}
	return &wire.Accepted{Workload: work}, nil
}

// run is step 10. It answers when the workload has ended, and ends it if the
// client goes away.
func (d *deployServer) run(_ http.ResponseWriter, r *http.Request) (wire.Message, error) {
	k := d.keep
	if err := k.advance(wire.StateLoaded, wire.StateRunning, nil); err != nil {
		return nil, err
	}
	defer k.finish()
	p := &k.tenant.provision
	// A stream that the workload may not use is empty, or goes nowhere.
	if !p.Config.Allows(wire.Stdin) {
		k.runner.Stdin.Close()
	}
	for what, file := range map[wire.Capability]*os.File{wire.Stdout: k.runner.Stdout, wire.Stderr: k.runner.Stderr} {
		if !p.Config.Allows(what) {
			go io.Copy(io.Discard, file) //nolint:errcheck // ends with the workload
		}
	}
	if ms := p.Config.Limits.WallTime; ms > 0 {
		limit := time.AfterFunc(time.Duration(ms)*time.Millisecond, func() { k.end(wire.EndTimeLimit) })
		defer limit.Stop()
	}
	gone := context.AfterFunc(r.Context(), func() { k.end(wire.EndStopped) })
	defer gone()
	outcome := k.runner.Run(&wire.RunnerStart{
		Args: p.Invocation.Args, Env: p.Invocation.Env, Time: uint64(k.tenant.now().UnixNano()),
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	if outcome.End == wire.EndCrashed && k.endedBy != "" {
		outcome = &wire.Outcome{End: k.endedBy}
	}
	return outcome, nil
}

func (d *deployServer) stop(http.ResponseWriter, *http.Request) (wire.Message, error) {
	d.keep.end(wire.EndStopped)
	return &wire.Done{}, nil
}

// take hands out a stream, once.
func (d *deployServer) take(what wire.Capability) error {
	k := d.keep
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.state != wire.StateLoaded && k.state != wire.StateRunning:
		return wire.Refuse(wire.CodeWrongState, "the Keep is %s: no workload to attach %s to", k.state, what)
	case !k.tenant.provision.Config.Allows(what):
		return wire.Refuse(wire.CodeNotAllowed, "the configuration does not list %s", what)
	case d.taken[what]:
		return wire.Refuse(wire.CodeWrongState, "%s is attached already", what)
	}
	d.taken[what] = true
	return nil
}

// stdin feeds the workload until either side has had enough.
func (d *deployServer) stdin(w http.ResponseWriter, r *http.Request) (wire.Message, error) {
	if err := d.take(wire.Stdin); err != nil {
		return nil, err
	}
	defer d.keep.runner.Stdin.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-d.keep.ended: // don't wait for input that nobody will read
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		case <-done:
		}
	}()
	from := &input{Reader: r.Body}
	// A failure to write is the workload's end, or its wish.
	_, _ = io.CopyBuffer(struct{ io.Writer }{d.keep.runner.Stdin}, from, make([]byte, wire.HTTPFrame))
	if from.cut {
		d.keep.end(wire.EndStopped) // before Stdin closes: the workload must not take it for the whole
	}
	return &wire.Done{}, nil
}

// input remembers whether it was cut short.
type input struct {
	io.Reader
	cut bool
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	i.cut = err != nil && !errors.Is(err, io.EOF)
	return n, err
}

// output carries what the workload writes, to the end of the stream.
func (d *deployServer) output(w http.ResponseWriter, what wire.Capability, from *os.File) {
	if err := d.take(what); err != nil {
		wire.Respond(w, wire.AsRefusal(err, wire.CodeInternal))
		return
	}
	defer from.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	control := http.NewResponseController(w)
	buf := make([]byte, wire.HTTPFrame)
	// The client sees the headers before there is output.
	for err := control.Flush(); err == nil; err = control.Flush() {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// shutdown waits until the client has had every answer.
func (d *deployServer) shutdown() {
	_ = d.http.Shutdown(context.Background()) // bounded by the sallyport's end
}

// A streamListener makes a net.Listener of connections that are pushed to it.
type streamListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newStreamListener() *streamListener {
	return &streamListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *streamListener) push(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		c.Close()
	}
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *streamListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *streamListener) Addr() net.Addr { return &net.UnixAddr{Name: "sallyport", Net: "unix"} }
