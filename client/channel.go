package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
)

// ErrOtherKeep is wrapped by the error of a deployment channel that leads to
// something else than the Keep that was provisioned.
var ErrOtherKeep = errors.New("the channel does not end in the Keep that was provisioned")

const (
	stopTimeout  = 10 * time.Second // for a Keep to stop its workload
	drainTimeout = 2 * time.Second  // for whoever reads the output of one that was stopped
)

// A channel is the deployment channel: HTTPS to the Keep, through the host.
type channel struct {
	http *http.Client
}

func newChannel(dial func(context.Context) (net.Conn, error)) *channel {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return &channel{http: &http.Client{Transport: &http.Transport{
		DialTLSContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:              &protocols,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:          wire.HTTPFrame,
			MaxReceiveBufferPerStream: 2 << 20,
			SendPingTimeout:           30 * time.Second, // a host that goes silent is noticed
			PingTimeout:               15 * time.Second,
		},
	}}}
}

// tlsConfig accepts exactly the Keep that holds the key that was sealed.
func (k *channelKeys) tlsConfig() *tls.Config {
	return &tls.Config{
		Certificates:     []tls.Certificate{k.client},
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		NextProtos:       []string{"h2"},
		// Small first records help browsers to render; here they only cost.
		DynamicRecordSizingDisabled: true,
		ServerName:                  "keep",
		InsecureSkipVerify:          true, //nolint:gosec // no CA vouches for a Keep: VerifyConnection pins the one key
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 1 {
				if got, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey); ok && k.keep.Equal(got) {
					return nil
				}
			}
			return ErrOtherKeep
		},
	}
}

func (c *channel) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://keep"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, unwrapURL(err)
	}
	return response, nil
}

func (c *channel) call(ctx context.Context, method, path string, body io.Reader, answer wire.Message) error {
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	return wire.ReadResponse(response, answer)
}

// run is steps 7 to 10.
func (d *deploying) run(ctx context.Context, keys *channelKeys) error {
	id := d.result.Keep.ID
	connect := func(ctx context.Context) (net.Conn, error) {
		conn, err := d.host.tunnel(ctx, id)
		if err != nil {
			return nil, err
		}
		tlsConn := tls.Client(conn, keys.tlsConfig())
		if err := tlsConn.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return tlsConn, nil
	}
	var first net.Conn
	err := d.step(ctx, 7, "connect to the Keep", 1, func(ctx context.Context) (_ string, err error) {
		first, err = connect(ctx)
		return "Keep waits for a workload; TLS to it is pinned both ways", err
	})
	if err != nil {
		return err
	}
	var firstOnce sync.Once
	c := newChannel(func(ctx context.Context) (conn net.Conn, err error) {
		firstOnce.Do(func() { conn = first })
		if conn == nil {
			conn, err = connect(ctx)
		}
		return conn, err
	})
	defer c.http.CloseIdleConnections()
	defer first.Close()

	sent := sync.OnceFunc(func() { d.done(8, fmt.Sprintf("workload of %d bytes sent", len(d.Module))) })
	err = d.step(ctx, 9, "hand over the workload", 10, func(ctx context.Context) (string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://keep"+wire.PathWorkload, &observed{bytes.NewReader(d.Module), sent})
		if err != nil {
			return "", err
		}
		r.ContentLength = int64(len(d.Module))
		response, err := c.http.Do(r)
		if err != nil {
			return "", unwrapURL(err)
		}
		var accepted wire.Accepted
		if err := wire.ReadResponse(response, &accepted); err != nil {
			return "", err
		}
		sent() // or it could not have answered
		d.result.Workload = wire.WorkloadDigest(d.Module)
		if accepted.Workload != d.result.Workload {
			return "", fmt.Errorf("the Keep has workload %s, sent was %s", accepted.Workload, d.result.Workload)
		}
		return fmt.Sprintf("Keep accepted and compiled sha256:%.8s…", accepted.Workload), nil
	})
	if err != nil {
		return err
	}
	if err := d.stream(ctx, c); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return &StepError{Step: 10, Doing: "run the workload", Err: err}
	}
	d.done(10, "workload "+Describe(&d.result.Outcome))
	return nil
}

// stream runs the workload and carries its streams.
func (d *deploying) stream(ctx context.Context, c *channel) error {
	// ctx's end stops the workload; the channel lives on to tell the outcome.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		late := time.AfterFunc(stopTimeout, cancel)
		context.AfterFunc(work, func() { late.Stop() })
		_ = c.call(work, http.MethodPost, wire.PathStop, http.NoBody, &wire.Done{}) // if it fails, late acts
	})
	defer stop()

	var outputs sync.WaitGroup
	failed := make(chan error, 2)
	for path, to := range map[string]io.Writer{wire.PathStdout: d.Stdout, wire.PathStderr: d.Stderr} {
		if to == nil {
			continue
		}
		// Attached before the start, so that a refusal is seen.
		response, err := c.do(work, http.MethodGet, path, http.NoBody)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return refusal(response)
		}
		outputs.Go(func() {
			defer response.Body.Close()
			out := &output{Writer: to}
			_, err := io.CopyBuffer(out, struct{ io.Reader }{response.Body}, make([]byte, wire.HTTPFrame))
			if err != nil && !errors.Is(out.err, syscall.EPIPE) {
				failed <- fmt.Errorf("carry %s: %w", path, err)
			} // nobody reads it any more: the workload sees that too
		})
	}
	unread := make(chan error, 1)
	if d.Stdin != nil {
		go func() {
			body := &input{Reader: d.Stdin, failed: unread}
			_ = c.call(work, http.MethodPost, wire.PathStdin, body, &wire.Done{}) // the workload's to miss
		}()
	}
	err := c.call(work, http.MethodPost, wire.PathRun, http.NoBody, &d.result.Outcome)
	select {
	case err = <-unread: // then this is why
		err = fmt.Errorf("read standard input: %w", err)
	default:
	}
	if err != nil {
		return err
	}
	carried := make(chan struct{})
	go func() { outputs.Wait(); close(carried) }()
	select {
	case <-carried:
	case <-ctx.Done():
		select {
		case <-carried:
		case <-time.After(drainTimeout):
		}
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// input is a workload's input, which the transport is not to close. If it can't
// be read to its end the Keep stops the workload, and failed is told why.
type input struct {
	io.Reader
	failed chan<- error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		select {
		case i.failed <- err:
		default: // told already
		}
	}
	return n, err
}

// output remembers why it could not be written to.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (n int, err error) {
	n, err = o.Writer.Write(p)
	o.err = err
	return n, err
}

// Describe says in words how a workload ended.
func Describe(o *wire.Outcome) string {
	switch o.End {
	case wire.EndExited:
		return fmt.Sprintf("exited with status %d", o.Status)
	case wire.EndTrapped:
		return "trapped: " + wire.Printable(o.Text)
	case wire.EndStopped:
		return "was stopped"
	case wire.EndTimeLimit:
		return "ran out of time"
	case wire.EndCrashed:
		return "crashed: " + wire.Printable(o.Text)
	}
	return "ended in an unknown way"
}

// observed calls atEnd when its reader ends, perhaps more than once.
type observed struct {
	io.Reader
	atEnd func()
}

func (o *observed) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		o.atEnd()
	}
	return n, err
}
