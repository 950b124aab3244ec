// Package sallyport is the one gate of a Keep: typed streams over the single
// byte stream between keepldr, which the Keep does not trust, and wasmldr,
// which the host does not trust.
//
// Streams are those of yamux. The first frame of each is a wire.OpenStream; a
// stream of a type that the accepting side does not handle is reset.
package sallyport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/redoubt-tee/redoubt/wire"
)

// What a peer can make this side hold: MaxStreams windows of MaxWindow bytes.
const (
	MaxStreams = 64
	MaxWindow  = 1 << 20
)

// openTimeout is how long a peer may take to say what a new stream is for.
const openTimeout = 10 * time.Second

// A Stream is one typed stream. CloseWrite ends this side's half.
type Stream interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

// Handlers says what to do with the streams that the peer opens. A handler
// owns its stream and must close it.
type Handlers map[wire.StreamType]func(Stream)

// A Port is one end of a sallyport.
type Port struct {
	session *yamux.Session
}

func config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = MaxStreams
	c.MaxIncomingStreams = MaxStreams
	c.MaxStreamWindowSize = MaxWindow
	c.ReadBufSize = 64 << 10
	c.MaxMessageSize = 256 << 10 // of what this side sends; the windows bound both
	c.LogOutput = io.Discard     // its log repeats bytes of the peer
	return c
}

// Host returns keepldr's end of a sallyport over conn, which it owns from now on.
func Host(conn net.Conn) (*Port, error) {
	s, err := yamux.Client(conn, config(), nil)
	if err != nil {
		return nil, fmt.Errorf("sallyport: %w", err)
	}
	return &Port{session: s}, nil
}

// Keep returns wasmldr's end of a sallyport over conn, which it owns from now on.
func Keep(conn net.Conn) (*Port, error) {
	s, err := yamux.Server(conn, config(), nil)
	if err != nil {
		return nil, fmt.Errorf("sallyport: %w", err)
	}
	return &Port{session: s}, nil
}

// Open opens a stream of type t.
func (p *Port) Open(ctx context.Context, t wire.StreamType) (Stream, error) {
	s, err := p.session.OpenStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("sallyport: open %s: %w", t, err)
	}
	if err := wire.WriteFrame(s, &wire.OpenStream{Type: t}); err != nil {
		_ = s.Reset() // the write's error says it all
		return nil, fmt.Errorf("sallyport: open %s: %w", t, err)
	}
	return s, nil
}

// Serve hands the peer's streams to their handlers, each in a goroutine of its
// own, until the sallyport closes and all handlers have returned. It returns
// nil if either side closed it in good order. At most MaxStreams handlers run at
// once, also if the peer resets streams whose handlers are still at work.
func (p *Port) Serve(handlers Handlers) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer p.Close()
	slots := make(chan struct{}, MaxStreams)
	for {
		slots <- struct{}{}
		s, err := p.session.AcceptStream()
		if err != nil {
			if p.closedInOrder(err) {
				return nil
			}
			return fmt.Errorf("sallyport: %w", err)
		}
		running.Go(func() {
			defer func() { <-slots }()
			serve(s, handlers)
		})
	}
}

func serve(s *yamux.Stream, handlers Handlers) {
	var open wire.OpenStream
	_ = s.SetReadDeadline(time.Now().Add(openTimeout)) // fails only on a dead stream, as the read will
	if err := wire.ReadFrame(s, &open); err != nil {
		_ = s.Reset()
		return
	}
	handle, ok := handlers[open.Type]
	if !ok {
		_ = s.Reset()
		return
	}
	_ = s.SetReadDeadline(time.Time{})
	handle(s)
}

func (p *Port) closedInOrder(err error) bool {
	var away *yamux.GoAwayError
	return errors.As(err, &away) && away.ErrorCode == 0 || errors.Is(err, io.EOF) || errors.Is(err, yamux.ErrSessionShutdown) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) // EOF, to who was writing
}

// Close ends the sallyport and all its streams.
func (p *Port) Close() error { return p.session.Close() }

// Done is closed once the sallyport is.
func (p *Port) Done() <-chan struct{} { return p.session.CloseChan() }
