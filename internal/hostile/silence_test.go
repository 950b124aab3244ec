//go:build linux

package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/wire"
)

// TestBreakOff: at each step the host falls silent, or hangs up. The client
// ends, at that step, soon.
func TestBreakOff(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	hang := func(http.ResponseWriter, *http.Request) { <-end }
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	// at does something to the nth request for what, or, if n is 0, to all.
	at := func(what string, nth int32, do func(http.ResponseWriter, *http.Request)) func(*liar) {
		return func(l *liar) {
			var n atomic.Int32
			l.handle = func(have string, w http.ResponseWriter, r *http.Request) bool {
				if have != what || r.Method == http.MethodGet && what == "keeps" || nth > 0 && n.Add(1) != nth {
					return false
				}
				do(w, r)
				return true
			}
		}
	}
	inTunnel := func(do func(net.Conn)) func(*liar) {
		return func(l *liar) { l.tunnel = func(_ string, conn net.Conn) { do(conn) } }
	}
	// silent carries n bytes from the client, and then nothing either way.
	silent := func(n int) func(*liar) {
		return func(l *liar) {
			l.tunnel = func(id string, conn net.Conn) {
				keep, err := dialTunnel(id)
				if err != nil {
					l.t.Error(err)
					return
				}
				defer keep.Close()
				stuck := after(n, func([]byte) error { <-end; return io.ErrClosedPipe })
				join(&changed{conn, stuck}, keep)
			}
		}
	}
	for _, test := range []struct {
		name string
		lie  func(*liar)
		want failure
	}{
		{"silent at create", at("keeps", 1, hang), failure{step: 1, is: client.ErrTimeout}},
		{"silent at watch", at("watch", 1, hang), failure{step: 2, is: client.ErrTimeout}},
		{"silent after the headers of watch", at("watch", 1, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-end
		}), failure{step: 2, is: client.ErrTimeout}},
		{"silent at attest", at("exchange", 1, hang), failure{step: 4, is: client.ErrTimeout}},
		{"silent within the evidence", at("exchange", 1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", wire.ContentType)
			w.Header().Set("Content-Length", "6000")
			_, _ = w.Write(make([]byte, 5000))
			_ = http.NewResponseController(w).Flush()
			<-end
		}), failure{step: 4, is: client.ErrTimeout}},
		{"silent at provision", at("exchange", 2, hang), failure{step: 6, is: client.ErrTimeout}},
		{"silent at tunnel", at("tunnel", 1, hang), failure{step: 7, is: client.ErrTimeout}},
		{"silent in the tunnel", inTunnel(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), failure{step: 7, is: client.ErrTimeout}},
		{"deaf in the tunnel", inTunnel(func(net.Conn) { <-end }), failure{step: 7, is: client.ErrTimeout}},
		{"silent in the workload", silent(64 << 10), failure{step: 9, is: client.ErrTimeout}},
		{"hangs up at create", at("keeps", 1, hangUp), failure{step: 1, text: "EOF"}},
		{"hangs up at watch", at("watch", 0, hangUp), failure{step: 2, text: "EOF"}},
		{"hangs up at attest", at("exchange", 1, hangUp), failure{step: 4, text: "EOF"}},
		{"hangs up at provision", at("exchange", 2, hangUp), failure{step: 6, text: "EOF"}},
		{"hangs up at tunnel", at("tunnel", 1, hangUp), failure{step: 7, text: "EOF"}},
		{"hangs up in the tunnel", inTunnel(func(net.Conn) {}), failure{step: 7}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			test.lie(l)
			d := deployment(guests.Hello())
			d.Module = append(d.Module, customSection(1<<20)...)
			d.StepTimeout = 1500 * time.Millisecond
			begin := time.Now()
			_, err := l.deploy(d)
			test.want.check(t, err)
			// Ten time-outs for the workload, one for the stop.
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestSilenceWhileRunning: pings notice a host that carries nothing any more.
func TestSilenceWhileRunning(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	l.tunnel = func(id string, conn net.Conn) {
		keep, err := dialTunnel(id)
		if err != nil {
			t.Error(err)
			return
		}
		defer keep.Close()
		var silent atomic.Bool
		go func() {
			if _, err := realHost.Wait(context.Background(), id, wire.StateRunning); err != nil {
				t.Error(err)
			}
			silent.Store(true)
		}()
		stuck := func([]byte) error {
			if silent.Load() {
				<-stop
			}
			return nil
		}
		join(&changed{conn, stuck}, &changed{keep, stuck})
	}
	_, err := l.deploy(deployment(guests.Spin()))
	failure{step: 10, text: "connection"}.check(t, err)
}

// TestAnswers: what a host says that is no answer, or none to what was asked.
func TestAnswers(t *testing.T) {
	t.Parallel()
	cbor := func(status int, m wire.Message) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", wire.ContentType)
			w.WriteHeader(status)
			_, _ = w.Write(mustMarshal(m))
		}
	}
	// keep answers with a KeepInfo that no honest side could encode.
	keep := func(id, kind, state, reason string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", wire.ContentType)
			_, _ = w.Write(keepInfo(id, kind, state, reason))
		}
	}
	raw := func(contentType string, status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	frames := func(frames ...[]byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", wire.ContentType)
			for _, f := range frames {
				_ = wire.WriteRawFrame(w, f)
			}
		}
	}
	// wire sends bytes that net/http would not.
	bytesOf := func(text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, text)
		}
	}
	const html = "<html><title>nginx</title></html>"
	const id = "aaaaaaaaaaaa"
	for _, test := range []struct {
		name, what string
		do         func(http.ResponseWriter, *http.Request)
		want       failure
	}{
		{"HTML", "keeps", raw("text/html", 200, html), failure{step: 1, text: `type "text/html"`}},
		{"HTML and an error", "keeps", raw("text/html", 502, html), failure{step: 1, text: "502"}},
		{"HTML to attest", "exchange", raw("text/html", 200, html), failure{step: 4, text: `type "text/html"`}},
		{"HTML to tunnel", "tunnel", raw("text/html", 200, html), failure{step: 7, text: `type "text/html"`}},
		{"a redirect", "keeps", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, failure{step: 1, text: "307"}},
		{"a redirect to itself", "exchange", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusPermanentRedirect)
		}, failure{step: 4, text: "308"}},
		{"a content type that steers terminals", "keeps", bytesOf("HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J\r\n\r\n"), failure{step: 1}},
		{"a status that steers terminals", "keeps", bytesOf("HTTP/1.1 500 \x1b[2J\r\n\r\n"), failure{step: 1}},
		{"another protocol", "keeps", bytesOf("SSH-2.0-OpenSSH_9.2\r\n"), failure{step: 1}},
		{"noise", "keeps", bytesOf(strings.Repeat("\xff\x00\x1b", 1000)), failure{step: 1}},
		{"an ID that is a path", "keeps", keep("../platform", "process", "starting", ""), failure{step: 1, text: `Keep ID "../platform"`}},
		{"an ID that steers terminals", "keeps", keep("\x1b[2Jaaaaaaaa", "process", "starting", ""), failure{step: 1, text: "Keep ID"}},
		{"a reason that steers terminals", "keeps", keep(id, "process", "failed", "\x1b]0;owned\x07"), failure{step: 1, text: "reason holds control characters"}},
		{"an unknown kind", "keeps", keep(id, "vax", "starting", ""), failure{step: 1, text: `"vax" is not known`}},
		{"an unknown state", "keeps", keep(id, "process", "happy", ""), failure{step: 1, text: `"happy" is not known`}},
		{"a Keep that is none of its", "keeps", keep(id, "process", "starting", ""), failure{step: 2, code: wire.CodeUnknownKeep}},
		{"a refusal that steers terminals", "keeps", cbor(429, wire.Refuse(wire.CodeLimit, "\x1b[2Jno")), failure{step: 1, code: wire.CodeLimit}},
		{"a refusal that says that all is well", "keeps", cbor(200, wire.Refuse(wire.CodeLimit, "no")), failure{step: 1, code: wire.CodeLimit}},
		{"another message", "keeps", cbor(200, &wire.Done{}), failure{step: 1, text: `"done"`}},
		{"4 GiB by its length", "keeps", bytesOf("HTTP/1.1 200 OK\r\nContent-Type: " + wire.ContentType + "\r\nContent-Length: 4294967296\r\n\r\n"), failure{step: 1}},
		{"the state of another Keep", "watch", frames(keepInfo(id, "process", "ready", "")), failure{step: 2, text: "it tells of Keep " + id}},
		{"no state", "watch", frames(), failure{step: 2, text: "EOF"}},
		{"a frame of 4 GiB", "watch", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x83})
		}, failure{step: 2, text: "frame of 4294967295 bytes"}},
		{"a state without a Keep to watch", "watch", cbor(404, &wire.Done{}), failure{step: 2, text: "status 404"}},
		{"all is well, and no tunnel", "tunnel", cbor(200, &wire.Done{}), failure{step: 7, text: "status 200"}},
		{"another upgrade", "tunnel", bytesOf("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: \x1b[2J\r\n\r\n"), failure{step: 7}},
		{"no upgrade", "tunnel", bytesOf("HTTP/1.1 101 Switching Protocols\r\n\r\n"), failure{step: 7, text: "upgraded to"}},
		{"a refused tunnel", "tunnel", cbor(429, wire.Refuse(wire.CodeLimit, "no")), failure{step: 7, code: wire.CodeLimit}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.handle = func(what string, w http.ResponseWriter, r *http.Request) bool {
				if what != test.what {
					return false
				}
				test.do(w, r)
				return true
			}
			_, err := l.deploy(deployment(guests.Hello()))
			test.want.check(t, err)
		})
	}
	t.Run("a Keep that has ended", func(t *testing.T) {
		t.Parallel()
		l := newLiar(t)
		l.handle = func(what string, w http.ResponseWriter, r *http.Request) bool {
			if what == "watch" {
				frames(keepInfo(pathID(r), "process", "failed", "out of coffee"))(w, r)
			}
			return what == "watch"
		}
		_, err := l.deploy(deployment(guests.Hello()))
		failure{step: 2, code: wire.CodeGone, text: "out of coffee"}.check(t, err)
	})
}

// keepInfo encodes a keep message without looking at what is in it.
func keepInfo(id, kind, state, reason string) []byte {
	text := func(s string) string {
		if len(s) > 23 {
			return fmt.Sprintf("\x78%c%s", len(s), s)
		}
		return string(rune(0x60+len(s))) + s
	}
	return []byte("\x83\x01dkeep\xa7" +
		text("id") + text(id) + text("kind") + text(kind) + text("state") + text(state) + text("memory") + "\x00" +
		text("reason") + text(reason) + text("created") + "\x00" + text("sandbox") + "\x80")
}

// TestEndless: answers without an end are cut, and fill no memory. It runs
// alone: it measures.
func TestEndless(t *testing.T) {
	chunk := bytes.Repeat([]byte{0x9f}, 64<<10)
	endless := func(head string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			// To the tap's connection itself: what is told apart is the client's memory.
			to := conn.(*tap).Conn
			for _, err = io.WriteString(to, head); err == nil; {
				_, err = to.Write(chunk)
			}
		}
	}
	header := func(first string) func(http.ResponseWriter, *http.Request) {
		chunk := []byte(strings.Repeat("X-More: "+strings.Repeat("x", 1000)+"\r\n", 60))
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			to := conn.(*tap).Conn
			for _, err = io.WriteString(to, first); err == nil; {
				_, err = to.Write(chunk)
			}
		}
	}
	states := func(w http.ResponseWriter, r *http.Request) {
		frame := keepInfo(pathID(r), "process", "starting", "")
		w.Header().Set("Content-Type", wire.ContentType)
		for wire.WriteRawFrame(w, frame) == nil {
		}
	}
	informational := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		for err == nil {
			_, err = io.WriteString(conn.(*tap).Conn, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: " + wire.ContentType + "\r\nContent-Length: 1099511627776\r\n\r\n"
	for _, test := range []struct {
		name, what string
		do         func(http.ResponseWriter, *http.Request)
		want       failure
	}{
		{"an answer", "keeps", endless(ok), failure{step: 1, text: "more than the 262144 bytes allowed"}},
		{"evidence", "exchange", endless(ok), failure{step: 4, text: "more than the 262144 bytes allowed"}},
		{"HTML", "exchange", endless("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"), failure{step: 4, text: "text/html"}},
		{"headers", "keeps", header("HTTP/1.1 200 OK\r\n"), failure{step: 1, text: "headers exceeded"}},
		{"one header", "keeps", endless("HTTP/1.1 200 OK\r\nX-More: "), failure{step: 1, text: "headers exceeded"}},
		{"headers of the tunnel", "tunnel", header("HTTP/1.1 101 Switching Protocols\r\n"), failure{step: 7, text: "EOF"}},
		{"one header of the tunnel", "tunnel", endless("HTTP/1.1 101 Switching Protocols\r\nX-More: "), failure{step: 7}},
		{"a refusal of the tunnel", "tunnel", endless(ok), failure{step: 7}},
		{"informational answers", "keeps", informational, failure{step: 1}},
		{"states", "watch", states, failure{step: 2, is: client.ErrTimeout}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLiar(t)
			l.handle = func(what string, w http.ResponseWriter, r *http.Request) bool {
				if what != test.what {
					return false
				}
				test.do(w, r)
				return true
			}
			d := deployment(guests.Hello())
			d.StepTimeout = 2 * time.Second
			most := watchMemory(t)
			_, err := l.deploy(d)
			test.want.check(t, err)
			if grown := most(); grown > 32<<20 {
				t.Errorf("memory grew by %d bytes", grown)
			}
		})
	}
}

// watchMemory returns a function that returns by how much, at most, this
// process's heap has grown since.
func watchMemory(t *testing.T) func() uint64 {
	t.Helper()
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	before, most := now.HeapAlloc, now.HeapAlloc
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				runtime.GC() // garbage is not growth
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		return most - before
	}
}
