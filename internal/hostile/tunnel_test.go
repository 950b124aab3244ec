//go:build linux

package hostile

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/wire"
)

// join carries bytes both ways until one side ends.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{a: b, b: a} {
		both.Go(func() {
			_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
			a.Close()
			b.Close()
		})
	}
	both.Wait()
}

type recording struct {
	mu   sync.Mutex
	data []byte
}

func (r *recording) add(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, p...)
}

func (r *recording) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.data)
}

// recorded keeps what is read.
type recorded struct {
	net.Conn
	to *recording
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.to.add(p[:n])
	return n, err
}

// changed changes what is read.
type changed struct {
	net.Conn
	change func(p []byte) error
}

func (c *changed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		if err = c.change(p[:n]); err != nil {
			n = 0 // not even what was there
		}
	}
	return n, err
}

// after calls do on the bytes from the one numbered n on.
func after(n int, do func([]byte) error) func([]byte) error {
	return func(p []byte) error {
		n -= len(p)
		if n < 0 {
			return do(p)
		}
		return nil
	}
}

func corrupt(p []byte) error { p[len(p)-1] ^= 1; return nil }
func cut([]byte) error       { return io.ErrUnexpectedEOF }

// keepCertificate is the one that a Keep shows to whoever connects.
func keepCertificate(t *testing.T, id string) []byte {
	t.Helper()
	conn, err := dialTunnel(id)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := c.Handshake(); err != nil {
		t.Error(err)
		return nil
	}
	return c.ConnectionState().PeerCertificates[0].Raw
}

// TestTunnel: where the host leads the deployment channel, and what it does to
// its bytes.
func TestTunnel(t *testing.T) {
	t.Parallel()
	_, hostKey, _ := ed25519.GenerateKey(nil)
	hostCertificate := certificate(t, hostKey)
	// server is the host that ends the TLS itself.
	server := func(config func(t *testing.T, id string) *tls.Config) func(*testing.T, string, net.Conn) {
		return func(t *testing.T, id string, conn net.Conn) {
			c := tls.Server(conn, config(t, id))
			if err := c.Handshake(); err == nil {
				t.Error("the client shook hands with the host")
			}
			_, _ = io.Copy(io.Discard, conn) // let it read the alert
		}
	}
	own := func(*testing.T, string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{hostCertificate}, NextProtos: []string{"h2"}, ClientAuth: tls.RequestClientCert}
	}
	// change does something to the bytes of one side from byte n on, or, for the
	// Keep's last words, once the client has sent the workload.
	const workloadSent = -1
	fromClient := func(n int, do func([]byte) error) func(*testing.T, string, net.Conn) {
		return func(t *testing.T, id string, conn net.Conn) {
			keep, err := dialTunnel(id)
			if err != nil {
				t.Error(err)
				return
			}
			join(&changed{conn, after(n, do)}, keep)
		}
	}
	fromKeep := func(n int, do func([]byte) error) func(*testing.T, string, net.Conn) {
		return func(t *testing.T, id string, conn net.Conn) {
			keep, err := dialTunnel(id)
			if err != nil {
				t.Error(err)
				return
			}
			var sent atomic.Int64
			change := after(n, do)
			if n == workloadSent {
				change = func(p []byte) error {
					if sent.Load() > 64<<10 {
						return do(p)
					}
					return nil
				}
			}
			join(&changed{conn, func(p []byte) error { sent.Add(int64(len(p))); return nil }}, &changed{keep, change})
		}
	}
	tests := []struct {
		name string
		do   func(t *testing.T, id string, conn net.Conn)
		want failure
	}{
		{"ends at the host", server(own), failure{step: 7, is: client.ErrOtherKeep}},
		{"ends at the host, with a certificate of another kind", server(func(t *testing.T, id string) *tls.Config {
			c := own(t, id)
			c.Certificates = []tls.Certificate{ecdsaCertificate(t)}
			return c
		}), failure{step: 7, is: client.ErrOtherKeep}},
		{"ends at the host, with the Keep's own certificate and another key", server(func(t *testing.T, id string) *tls.Config {
			c := own(t, id)
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{keepCertificate(t, id)}, PrivateKey: hostKey}}
			return c
		}), failure{step: 7, text: "invalid signature by the server certificate"}},
		{"ends at the host, with the Keep's own certificate and one more", server(func(t *testing.T, id string) *tls.Config {
			c := own(t, id)
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{keepCertificate(t, id), hostCertificate.Certificate[0]}, PrivateKey: hostKey}}
			return c
		}), failure{step: 7, is: client.ErrOtherKeep}},
		{"ends at the host, in TLS 1.2", server(func(t *testing.T, id string) *tls.Config {
			c := own(t, id)
			c.MaxVersion = tls.VersionTLS12
			return c
		}), failure{step: 7, text: "protocol version"}},
		{"ends at the host, with another key exchange", server(func(t *testing.T, id string) *tls.Config {
			c := own(t, id)
			c.CurvePreferences = []tls.CurveID{tls.X25519}
			return c
		}), failure{step: 7, text: "handshake failure"}},
		{"ends at the host, with HTTP/1.1", server(func(t *testing.T, id string) *tls.Config {
			c := own(t, id)
			c.NextProtos = []string{"http/1.1"}
			return c
		}), failure{step: 7, text: "no application protocol"}},
		{"leads to a Keep without a tenant", func(t *testing.T, _ string, conn net.Conn) {
			keep, err := dialTunnel(newKeep(t))
			if err != nil {
				t.Error(err)
				return
			}
			join(conn, keep)
		}, failure{step: 7}},
		{"leads to a Keep of another tenant", func(t *testing.T, _ string, conn net.Conn) {
			other := newTenant(t, newKeep(t))
			other.provision(t)
			keep, err := other.dial()
			if err != nil {
				t.Error(err)
				return
			}
			join(conn, keep)
		}, failure{step: 7, is: client.ErrOtherKeep}},
		{"gives the client its own bytes back", func(_ *testing.T, _ string, conn net.Conn) { _, _ = io.Copy(conn, conn) }, failure{step: 7}},
		{"gives noise", func(_ *testing.T, _ string, conn net.Conn) {
			_, _ = io.Copy(conn, io.LimitReader(rand.Reader, 1<<20))
		}, failure{step: 7}},
		{"a bit flipped in the hello", fromClient(100, corrupt), failure{step: 7}},
		{"a bit flipped in the Keep's hello", fromKeep(100, corrupt), failure{step: 7}},
		{"a bit flipped in the workload", fromClient(60<<10, corrupt), failure{step: 9}},
		{"a bit flipped in what the Keep says of it", fromKeep(workloadSent, corrupt), failure{step: 9}},
		{"cut in the hello", fromClient(100, cut), failure{step: 7}},
		{"cut in the workload", fromClient(60<<10, cut), failure{step: 9}},
		{"cut in what the Keep says of it", fromKeep(workloadSent, cut), failure{step: 9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			var ended sync.WaitGroup
			defer ended.Wait()
			l.tunnel = func(id string, conn net.Conn) {
				ended.Add(1)
				defer ended.Done()
				defer conn.Close()
				test.do(t, id, conn)
			}
			d := deployment(guests.Hello())
			d.StepTimeout = 5 * time.Second
			d.Module = append(d.Module, customSection(128<<10)...)
			_, err := l.deploy(d)
			test.want.check(t, err)
		})
	}
}

// customSection is a part of a module that means nothing, of n bytes or so.
func customSection(n int) []byte {
	n |= 1 << 14 // three bytes of LEB128
	return append([]byte{0, byte(n)&0x7f | 0x80, byte(n>>7)&0x7f | 0x80, byte(n >> 14)}, make([]byte, n)...)
}

func ecdsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestOtherClient: who did not provision the Keep does not get in.
func TestOtherClient(t *testing.T) {
	t.Parallel()
	n := newTenant(t, newKeep(t))
	if conn, err := n.connect(t.Context(), n.tls()); err == nil {
		conn.Close()
		t.Error("a Keep without a tenant shakes hands")
	}
	n.provision(t)
	_, key, _ := ed25519.GenerateKey(nil)
	other := certificate(t, key)
	for _, test := range []struct {
		name   string
		change func(*tls.Config)
		want   string // what the Keep says in the end
	}{
		{"the tenant", func(*tls.Config) {}, ""},
		{"no certificate", func(c *tls.Config) { c.Certificates = nil }, "tls: certificate required"},
		{"another certificate", func(c *tls.Config) { c.Certificates = []tls.Certificate{other} }, "tls: bad certificate"},
		{"the tenant's certificate and one more", func(c *tls.Config) {
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{n.certificate.Certificate[0], other.Certificate[0]}, PrivateKey: n.certificate.PrivateKey}}
		}, "tls: bad certificate"},
		{"the tenant's certificate and another key", func(c *tls.Config) {
			c.Certificates = []tls.Certificate{{Certificate: n.certificate.Certificate, PrivateKey: key}}
		}, "tls: error decrypting message"},
		{"the Keep's own certificate", func(c *tls.Config) {
			c.Certificates = []tls.Certificate{{Certificate: [][]byte{keepCertificate(t, n.id)}, PrivateKey: key}}
		}, "tls: bad certificate"},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "tls: protocol version not supported"},
		{"X25519 alone", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }, "tls: handshake failure"},
		{"P-256", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }, "tls: handshake failure"},
		{"HTTP/1.1", func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := n.tls()
			test.change(config)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			conn, err := n.connect(ctx, config)
			if err == nil {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				_, err = conn.Read(make([]byte, 1)) // the server's settings, or its alert
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, expected %q", err, test.want)
			}
		})
	}
	t.Run("HTTP/1.1 without saying so", func(t *testing.T) {
		config := n.tls()
		config.NextProtos = nil
		conn, err := n.connect(t.Context(), config)
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write([]byte("GET " + wire.PathStdout + " HTTP/1.1\r\nHost: keep\r\n\r\n"))
		if answer, err := io.ReadAll(conn); err != nil || len(answer) > 0 {
			t.Errorf("%q, %v, expected nothing", answer, err)
		}
	})
	// The Keep lives through all of that.
	n.load(t, guests.Hello())
}
