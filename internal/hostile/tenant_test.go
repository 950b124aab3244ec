//go:build linux

package hostile

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
)

// A tenant goes through the steps by itself, so that tests can leave them out
// and do them twice. It believes any evidence.
type tenant struct {
	id       string // of the Keep
	exchange func([]byte) []byte
	dial     func() (net.Conn, error)

	offer       wire.Attestation
	reportData  wire.ReportData
	plain       wire.Provision // what it seals
	certificate tls.Certificate
	http        *http.Client
}

func newTenant(t *testing.T, id string) *tenant {
	t.Helper()
	return newTenantOf(t, id,
		func(request []byte) []byte { return exchange(id, request) },
		func() (net.Conn, error) { return dialTunnel(id) })
}

func newTenantOf(t *testing.T, id string, exchange func([]byte) []byte, dial func() (net.Conn, error)) *tenant {
	t.Helper()
	n := &tenant{id: id, exchange: exchange, dial: dial}
	_, seed, _ := ed25519.GenerateKey(nil)
	_, own, _ := ed25519.GenerateKey(nil)
	n.certificate = certificate(t, own)
	invocation := wire.Invocation{Args: []string{"app"}, Salt: make([]byte, wire.SaltSize)}
	digest, err := invocation.Digest()
	if err != nil {
		t.Fatal(err)
	}
	n.plain = wire.Provision{
		PrivateKey: seed.Seed(), Client: sha256.Sum256(n.certificate.Certificate[0]),
		Config: wire.Configuration{
			Profile: wire.Production, Limits: wire.Limits{Memory: 64 << 20},
			Capabilities: []wire.Capability{wire.Stderr, wire.Stdout}, Invocation: digest,
		},
		Invocation: invocation, Time: uint64(time.Now().UnixNano()),
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return n.connect(ctx, n.tls())
	}}
	n.http = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return n
}

// certificate is a self-signed one.
func certificate(t *testing.T, key ed25519.PrivateKey) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (n *tenant) ask(request, answer wire.Message) error {
	return wire.UnmarshalAnswer(n.exchange(mustMarshal(request)), answer)
}

// attest has the Keep make an offer.
func (n *tenant) attest(t *testing.T) {
	t.Helper()
	digest, err := n.plain.Config.Digest()
	if err != nil {
		t.Fatal(err)
	}
	request := &wire.AttestRequest{Nonce: nonce(), Config: digest}
	if err := n.ask(request, &n.offer); err != nil {
		t.Fatal(err)
	}
	n.reportData = wire.ProvisionReportData(request.Nonce, n.offer.HPKEPublicKey, digest)
}

// sealed is the answer to the offer.
func (n *tenant) sealed(t *testing.T) []byte {
	t.Helper()
	key, err := hpke.MLKEM768X25519().NewPublicKey(n.offer.HPKEPublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SealInfo(n.reportData), mustMarshal(&n.plain))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// provision is steps 3 to 6. It returns the sealed message.
func (n *tenant) provision(t *testing.T) []byte {
	t.Helper()
	n.attest(t)
	sealed := n.sealed(t)
	if err := n.ask(&wire.ProvisionRequest{Sealed: sealed}, &wire.Provisioned{}); err != nil {
		t.Fatal(err)
	}
	return sealed
}

// tls is what the Keep expects of its tenant.
func (n *tenant) tls() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{n.certificate}, NextProtos: []string{"h2"}, ServerName: "keep",
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}, InsecureSkipVerify: true,
	}
}

func (n *tenant) connect(ctx context.Context, config *tls.Config) (*tls.Conn, error) {
	conn, err := n.dial()
	if err != nil {
		return nil, err
	}
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return tlsConn, nil
}

// do sends a request over the deployment channel.
func (n *tenant) do(method, path string, length int64, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequest(method, "https://keep"+path, body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = length
	return n.http.Do(r)
}

func (n *tenant) call(method, path string, body []byte, answer wire.Message) error {
	response, err := n.do(method, path, int64(len(body)), bytes.NewReader(body))
	if err != nil {
		return err
	}
	return wire.ReadResponse(response, answer)
}

func (n *tenant) load(t *testing.T, module []byte) {
	t.Helper()
	if err := n.call(http.MethodPut, wire.PathWorkload, module, &wire.Accepted{}); err != nil {
		t.Fatal(err)
	}
}

// code is the code of the refusal in err, if it is one.
func code(err error) wire.Code {
	var r *wire.Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
