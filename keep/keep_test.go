//go:build linux

package keep

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// sample is a provision that opens, of a client that has no certificate.
func sample(t testing.TB) wire.Provision {
	t.Helper()
	invocation := wire.Invocation{Args: []string{"app", "x"}, Env: []string{"K=V"}, Salt: bytes.Repeat([]byte{1}, wire.SaltSize)}
	digest, err := invocation.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return wire.Provision{
		PrivateKey: bytes.Repeat([]byte{2}, wire.PrivateKeySize),
		Client:     sha256.Sum256([]byte("client")),
		Config: wire.Configuration{
			Profile: wire.Production, Limits: wire.Limits{Memory: 1 << 20, WallTime: 1000},
			Capabilities: []wire.Capability{wire.Stdin, wire.Stdout}, Invocation: digest,
		},
		Invocation: invocation,
		Time:       1_800_000_000_000_000_000,
	}
}

// sampleOffer is what sample answers. Its key is always the same, as fuzzing
// wants it.
func sampleOffer(t testing.TB) *offer {
	t.Helper()
	key, err := hpke.MLKEM768X25519().DeriveKeyPair(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		t.Fatal(err)
	}
	p := sample(t)
	config, err := p.Config.Digest()
	if err != nil {
		t.Fatal(err)
	}
	nonce := bytes.Repeat([]byte{4}, wire.NonceSize)
	return &offer{key: key, reportData: wire.ProvisionReportData(nonce, key.PublicKey().Bytes(), config), config: config}
}

func seal(t testing.TB, o *offer, plain []byte) []byte {
	t.Helper()
	sealed, err := hpke.Seal(o.key.PublicKey(), sealKDF, sealAEAD, wire.SealInfo(o.reportData), plain)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func encode(t testing.TB, m wire.Message) []byte {
	t.Helper()
	data, err := wire.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// testPort is a Keep's sallyport. Its host simulates evidence that nobody will
// verify.
func testPort(t testing.TB) *sallyport.Port {
	t.Helper()
	a, b := net.Pipe()
	host, err := sallyport.Host(a)
	if err != nil {
		t.Fatal(err)
	}
	port, err := sallyport.Keep(b)
	if err != nil {
		t.Fatal(err)
	}
	go host.Serve(sallyport.Handlers{wire.StreamEvidence: func(s sallyport.Stream) {
		defer s.Close()
		var request wire.EvidenceRequest
		if wire.ReadFrame(s, &request) == nil {
			_ = wire.WriteFrame(s, &wire.Evidence{Type: wire.EvidenceSNP, Report: request.ReportData})
		}
	}})
	t.Cleanup(func() { port.Close(); host.Close() })
	return port
}

func readyKeep(port *sallyport.Port) *keep {
	return &keep{port: port, state: wire.StateReady, nonces: make(map[[wire.NonceSize]byte]bool), ended: make(chan struct{})}
}

func refusalCode(err error) wire.Code {
	var r *wire.Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// TestOpen: the tenant that a sealed provision makes, and what makes none.
func TestOpen(t *testing.T) {
	t.Parallel()
	o, p := sampleOffer(t), sample(t)
	before := time.Now()
	tn, err := o.open(seal(t, o, encode(t, &p)))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(tn.certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	want := ed25519.NewKeyFromSeed(p.PrivateKey).Public()
	if got, ok := leaf.PublicKey.(ed25519.PublicKey); !ok || !got.Equal(want) {
		t.Error("the certificate is for another key")
	}
	told := time.Unix(0, int64(p.Time))
	if now := tn.now(); now.Before(told) || now.Sub(told) > time.Since(before) {
		t.Errorf("the tenant's time is %v, was told %v", now, told)
	}
	if tn.config != o.config || !bytes.Equal(tn.hpkePublic, o.key.PublicKey().Bytes()) {
		t.Error("the tenant is another than attested")
	}

	other := *o
	other.reportData[0] ^= 1
	for _, test := range []struct {
		what   string
		sealed []byte
		code   wire.Code
	}{
		{"nothing", nil, wire.CodeUnsealed},
		{"for other evidence", seal(t, &other, encode(t, &p)), wire.CodeUnsealed},
		{"another message", seal(t, o, encode(t, &wire.Done{})), wire.CodeUnsealed},
		{"no message", seal(t, o, nil), wire.CodeUnsealed},
		{"a byte more", seal(t, o, append(encode(t, &p), 0)), wire.CodeUnsealed},
		{"another configuration", seal(t, o, encode(t, changed(t, func(p *wire.Provision) { p.Config.Profile = wire.Development }))), wire.CodeWrongConfig},
		{"another invocation", seal(t, o, encode(t, changed(t, func(p *wire.Provision) { p.Invocation.Args = []string{"app"} }))), wire.CodeWrongConfig},
		{"another of both", seal(t, o, encode(t, changed(t, func(p *wire.Provision) {
			p.Invocation.Args = []string{"app"}
			p.Config.Invocation, _ = p.Invocation.Digest()
		}))), wire.CodeWrongConfig},
	} {
		if tn, err := o.open(test.sealed); refusalCode(err) != test.code || tn != nil {
			t.Errorf("%s: %v, expected %s", test.what, err, test.code)
		}
	}
}

func changed(t testing.TB, change func(*wire.Provision)) *wire.Provision {
	t.Helper()
	p := sample(t)
	change(&p)
	return &p
}

// TestRefusalsTellNothing: what is wrong with what was sealed is the tenant's
// secret, and the host reads refusals.
func TestRefusalsTellNothing(t *testing.T) {
	t.Parallel()
	o := sampleOffer(t)
	plain := encode(t, changed(t, func(p *wire.Provision) { p.Invocation.Env = []string{"KEY=hunter2"} }))
	plain = bytes.Replace(plain, []byte("KEY=hunter2"), []byte("KEYhunter2="), 1) // of another configuration
	for _, sealed := range [][]byte{seal(t, o, plain), seal(t, o, bytes.Replace(plain, []byte("KEYhunter2="), []byte("\xffhunter2\x00\x00\x00"), 1))} {
		if _, err := o.open(sealed); err == nil || bytes.Contains([]byte(err.Error()), []byte("hunter2")) {
			t.Errorf("%v", err)
		}
	}
}

// TestStates: a message in each state that it does not belong to is refused,
// and leaves the state as it was.
func TestStates(t *testing.T) {
	t.Parallel()
	port := testPort(t)
	p := sample(t)
	messages := map[string][]byte{
		"attest":    encode(t, &wire.AttestRequest{Nonce: bytes.Repeat([]byte{5}, wire.NonceSize)}),
		"provision": encode(t, &wire.ProvisionRequest{Sealed: seal(t, sampleOffer(t), encode(t, &p))}),
		"reattest":  encode(t, &wire.ReattestRequest{Nonce: bytes.Repeat([]byte{6}, wire.NonceSize)}),
	}
	for _, state := range []wire.State{wire.StateStarting, wire.StateReady, wire.StateProvisioned, wire.StateLoading, wire.StateLoaded, wire.StateRunning, wire.StateEnded} {
		for name, data := range messages {
			k := readyKeep(port)
			k.state = state
			k.offer = sampleOffer(t)
			if state.Reached(wire.StateProvisioned) {
				k.tenant = &tenant{provision: p, hpkePublic: k.offer.key.PublicKey().Bytes()}
			}
			want := wire.CodeWrongState
			switch {
			case name == "reattest" && (state == wire.StateLoaded || state == wire.StateRunning), name != "reattest" && state == wire.StateReady:
				want = ""
			}
			answer, err := k.answer(data)
			if refusalCode(err) != want || (want == "") != (err == nil) {
				t.Errorf("%s while %s: %v, expected %q", name, state, err, want)
			}
			if want != "" && (answer != nil || k.state != state) {
				t.Errorf("%s while %s: answered %v, is %s now", name, state, answer, k.state)
			}
		}
	}
}

// TestOneAnswer: evidence can be answered once, rightly or not; and only that
// which was given last.
func TestOneAnswer(t *testing.T) {
	t.Parallel()
	p := sample(t)
	o := sampleOffer(t)
	right := encode(t, &wire.ProvisionRequest{Sealed: seal(t, o, encode(t, &p))})
	wrong := encode(t, &wire.ProvisionRequest{Sealed: []byte("no")})
	k := readyKeep(testPort(t))
	for i, test := range []struct {
		offer   *offer
		request []byte
		code    wire.Code
	}{
		{nil, right, wire.CodeWrongState},
		{o, wrong, wire.CodeUnsealed},
		{nil, right, wire.CodeWrongState},
		{o, right, ""},
		{o, right, wire.CodeWrongState},
	} {
		if test.offer != nil {
			k.offer = test.offer
		}
		if _, err := k.answer(test.request); refusalCode(err) != test.code || (err == nil) != (test.code == "") {
			t.Errorf("%d: %v, expected %q", i, err, test.code)
		}
	}
}

// TestOneTenant: of two that provision a Keep at once one is told that it did,
// and that one is its tenant. The host decides who runs when, so that the other
// may have been on its way since before.
func TestOneTenant(t *testing.T) {
	t.Parallel()
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	for range rounds {
		k := readyKeep(nil)
		o := sampleOffer(t)
		var requests []*wire.ProvisionRequest
		for _, client := range []string{"first", "second"} {
			p := changed(t, func(p *wire.Provision) { p.Client = sha256.Sum256([]byte(client)) })
			requests = append(requests, &wire.ProvisionRequest{Sealed: seal(t, o, encode(t, p))})
		}
		k.offer = o
		var told [2]bool
		var both sync.WaitGroup
		for i, m := range requests {
			both.Go(func() {
				for {
					_, err := k.provision(m)
					if told[i] = err == nil; told[i] || k.past() {
						return
					}
					k.mu.Lock()
					if k.offer == nil && k.state == wire.StateReady {
						k.offer = o // as if the Keep had been attested again
					}
					k.mu.Unlock()
					runtime.Gosched()
				}
			})
		}
		both.Wait()
		if told[0] == told[1] {
			t.Fatalf("told that they provisioned it: %v", told)
		}
		want := "first"
		if told[1] {
			want = "second"
		}
		if k.tenant.provision.Client != sha256.Sum256([]byte(want)) {
			t.Fatalf("the %s was told that it is the tenant, and is not", want)
		}
	}
}

func (k *keep) past() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state != wire.StateReady
}

// TestNonces: a Keep remembers all that it was asked with, up to a limit.
func TestNonces(t *testing.T) {
	t.Parallel()
	k := readyKeep(nil)
	for i := range wire.MaxAttestations {
		if err := k.useNonce([wire.NonceSize]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.useNonce([wire.NonceSize]byte{0}); refusalCode(err) != wire.CodeReplay {
		t.Errorf("the first one again: %v", err)
	}
	if err := k.useNonce([wire.NonceSize]byte{255}); refusalCode(err) != wire.CodeLimit {
		t.Errorf("one too many: %v", err)
	}
}
