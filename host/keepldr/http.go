//go:build linux

package keepldr

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// maxTunnels is how many deployment connections a Keep has at once.
const maxTunnels = 16

func (l *keepldr) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathKeep, func(w http.ResponseWriter, _ *http.Request) {
		info, _ := l.current()
		wire.Respond(w, &info)
	})
	mux.HandleFunc("GET "+wire.PathWatch, l.watch)
	mux.HandleFunc("POST "+wire.PathExchange, func(w http.ResponseWriter, r *http.Request) {
		answer, err := l.exchange(w, r)
		if err != nil {
			wire.Respond(w, wire.AsRefusal(err, wire.CodeInternal))
			return
		}
		w.Header().Set("Content-Type", wire.ContentType)
		_, _ = w.Write(answer) // the client's loss
	})
	tunnels := make(chan struct{}, maxTunnels)
	mux.HandleFunc("GET "+wire.PathTunnel, func(w http.ResponseWriter, r *http.Request) {
		select {
		case tunnels <- struct{}{}:
			defer func() { <-tunnels }()
		default:
			wire.Respond(w, wire.Refuse(wire.CodeLimit, "the Keep has %d deployment connections, and may not have more", maxTunnels))
			return
		}
		if err := l.tunnel(w, r); err != nil {
			wire.Respond(w, wire.AsRefusal(err, wire.CodeInternal))
		}
	})
	mux.HandleFunc("POST "+wire.PathStop, func(w http.ResponseWriter, _ *http.Request) {
		l.stop()
		wire.Respond(w, &wire.Done{})
	})
	return mux
}

// watch sends the Keep's state now, and again at each change, until it is gone.
func (l *keepldr) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", wire.ContentType)
	for {
		info, changed := l.current()
		if wire.WriteFrame(w, &info) != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		if info.State.Final() {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// ready waits until the Keep can be talked to.
func (l *keepldr) ready(ctx context.Context) error {
	for {
		info, changed := l.current()
		switch {
		case info.State.Final():
			return wire.Refuse(wire.CodeGone, "the Keep has %s: %s", info.State, info.Reason)
		case info.State.Reached(wire.StateReady):
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// exchange carries one message to the Keep, and its answer back, unread.
func (l *keepldr) exchange(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxMessage))
	if err != nil {
		return nil, wire.Refuse(wire.CodeTooLarge, "%v", err)
	}
	if err := l.ready(r.Context()); err != nil {
		return nil, err
	}
	s, err := l.port.Open(r.Context(), wire.StreamExchange)
	if err != nil {
		return nil, wire.AsRefusal(err, wire.CodeGone)
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(moveTimeout)); err != nil {
		return nil, err
	}
	err = wire.WriteRawFrame(s, request)
	if err != nil {
		return nil, wire.AsRefusal(err, wire.CodeGone)
	}
	answer, err := wire.ReadRawFrame(s)
	if err != nil {
		return nil, wire.Refuse(wire.CodeTimeout, "the Keep did not answer: %v", err)
	}
	return answer, nil
}

// tunnel turns the request's connection into a deployment connection.
func (l *keepldr) tunnel(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != wire.Upgrade {
		return wire.Refuse(wire.CodeBadMessage, "expected an upgrade to %s", wire.Upgrade)
	}
	if err := l.ready(r.Context()); err != nil {
		return err
	}
	s, err := l.port.Open(r.Context(), wire.StreamDeploy)
	if err != nil {
		return wire.AsRefusal(err, wire.CodeGone)
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", wire.Upgrade)
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = s.Reset()
		return err
	}
	l.tunnels.Add(1)
	relay(conn, buffered.Reader, s, l.tunnels.Done)
	return nil
}

// relay copies both ways until both directions, or the connection, are done.
// It calls delivered when all that the Keep sent has been passed on.
func relay(conn net.Conn, from *bufio.Reader, s sallyport.Stream, delivered func()) {
	defer conn.Close()
	defer s.Close()
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := copyAll(s, from); err != nil {
			_ = s.Reset()
			return
		}
		_ = s.CloseWrite() // the peer's end sees it, or is gone
	})
	both.Go(func() {
		defer delivered()
		_, err := copyAll(conn, s)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite()
			return
		}
		conn.Close()
	})
	both.Wait()
}

func copyAll(to io.Writer, from io.Reader) (int64, error) {
	// Hide methods by which Copy would choose its own, smaller, steps.
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, wire.HTTPFrame))
}
