//go:build linux

package hostile

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/wire"
)

// TestSealedMessage: what the host makes of the sealed message, and what comes
// of it. The workload is never sent.
func TestSealedMessage(t *testing.T) {
	t.Parallel()
	reseal := func(change func([]byte) []byte) func(*testing.T, string, []byte) []byte {
		return func(_ *testing.T, id string, sealed []byte) []byte {
			data, err := wire.Marshal(&wire.ProvisionRequest{Sealed: change(sealed)})
			if err != nil {
				return mustMarshal(wire.AsRefusal(err, wire.CodeInternal))
			}
			return exchange(id, data)
		}
	}
	tests := []struct {
		name string
		do   func(t *testing.T, id string, sealed []byte) []byte
		want failure
	}{
		{"cut short", reseal(func(s []byte) []byte { return s[:len(s)-1] }), failure{step: 6, code: wire.CodeUnsealed}},
		{"cut to the encapsulated key", reseal(func(s []byte) []byte { return s[:1120] }), failure{step: 6, code: wire.CodeUnsealed}},
		{"cut to one byte", reseal(func(s []byte) []byte { return s[:1] }), failure{step: 6, code: wire.CodeUnsealed}},
		{"with a byte more", reseal(func(s []byte) []byte { return append(s, 0) }), failure{step: 6, code: wire.CodeUnsealed}},
		{"a bit of the encapsulated key flipped", reseal(func(s []byte) []byte { s[0] ^= 1; return s }), failure{step: 6, code: wire.CodeUnsealed}},
		{"a bit of the ciphertext flipped", reseal(func(s []byte) []byte { s[len(s)-20] ^= 1; return s }), failure{step: 6, code: wire.CodeUnsealed}},
		{"swapped for another tenant's, to another Keep", func(t *testing.T, id string, _ []byte) []byte {
			other := newTenant(t, newKeep(t))
			other.attest(t)
			return exchange(id, mustMarshal(&wire.ProvisionRequest{Sealed: other.sealed(t)}))
		}, failure{step: 6, code: wire.CodeUnsealed}},
		{"given to another Keep that was attested", func(t *testing.T, _ string, sealed []byte) []byte {
			other := newTenant(t, newKeep(t))
			other.attest(t)
			return exchange(other.id, mustMarshal(&wire.ProvisionRequest{Sealed: sealed}))
		}, failure{step: 6, code: wire.CodeUnsealed}},
		{"given to another Keep that was not", func(t *testing.T, _ string, sealed []byte) []byte {
			return exchange(newKeep(t), mustMarshal(&wire.ProvisionRequest{Sealed: sealed}))
		}, failure{step: 6, code: wire.CodeWrongState}},
		{"given late: the host had the Keep attested again", func(t *testing.T, id string, sealed []byte) []byte {
			newTenant(t, id).attest(t)
			return exchange(id, mustMarshal(&wire.ProvisionRequest{Sealed: sealed}))
		}, failure{step: 6, code: wire.CodeUnsealed}},
		{"given late: the host provisioned the Keep itself", func(t *testing.T, id string, sealed []byte) []byte {
			newTenant(t, id).provision(t)
			return exchange(id, mustMarshal(&wire.ProvisionRequest{Sealed: sealed}))
		}, failure{step: 6, code: wire.CodeWrongState}},
		{"kept: the host answers itself", func(*testing.T, string, []byte) []byte {
			return mustMarshal(&wire.Provisioned{})
		}, failure{step: 7}},
		{"kept, and the Keep provisioned by the host", func(t *testing.T, id string, _ []byte) []byte {
			newTenant(t, id).provision(t)
			return mustMarshal(&wire.Provisioned{})
		}, failure{step: 7, is: client.ErrOtherKeep}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.exchange = func(id string, data []byte) []byte {
				var request wire.ProvisionRequest
				if wire.Unmarshal(data, &request) != nil {
					return exchange(id, data)
				}
				return test.do(t, id, request.Sealed)
			}
			_, err := l.deploy(deployment(guests.Hello()))
			test.want.check(t, err)
		})
	}
}

// TestReplay: what the host captured of a deployment that went well is of no
// use to it.
func TestReplay(t *testing.T) {
	t.Parallel()
	id := newKeep(t)
	other := newKeep(t)
	var attest, provision []byte
	var connection recording
	l := newLiar(t)
	l.exchange = func(_ string, data []byte) []byte {
		if attest == nil {
			attest = data
		} else {
			provision = data
		}
		return exchange(id, data)
	}
	served := make(chan struct{})
	l.tunnel = func(_ string, conn net.Conn) {
		defer close(served)
		keep, err := dialTunnel(id)
		if err != nil {
			t.Error(err)
			return
		}
		join(&recorded{conn, &connection}, keep)
	}
	d := deployment(guests.Spin())
	running := make(chan error, 1)
	go func() {
		_, err := l.deploy(d)
		running <- err
	}()
	if info, err := realHost.Wait(t.Context(), id, wire.StateRunning); err != nil || info.State != wire.StateRunning {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, test := range []struct {
		what    string
		keep    string
		request []byte
		code    wire.Code
	}{
		{"the attest-request", id, attest, wire.CodeWrongState},
		{"the provision-request", id, provision, wire.CodeWrongState},
		{"the provision-request, to another Keep", other, provision, wire.CodeWrongState},
		{"the attest-request, to another Keep", other, attest, ""},
		{"and again", other, attest, wire.CodeReplay},
		{"then the provision-request", other, provision, wire.CodeUnsealed},
	} {
		if got := code(wire.UnmarshalAnswer(exchange(test.keep, test.request), &wire.Attestation{})); got != test.code {
			t.Errorf("%s: %q, expected %q", test.what, got, test.code)
		}
	}
	for _, keep := range []string{id, other} {
		conn, err := dialTunnel(keep)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		go func() { _, _ = conn.Write(connection.bytes()) }()
		answer, err := wire.ReadAll(conn, 1<<20)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the Keep keeps a replayed connection open")
		}
		if len(answer) > 4<<10 {
			t.Errorf("a replayed connection is answered with %d bytes", len(answer))
		}
	}
	if info, err := realHost.Inspect(t.Context(), other); err != nil || info.State != wire.StateReady {
		t.Errorf("%+v, %v", info, err)
	}
	if err := realHost.Stop(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := <-running; err != nil {
		failure{step: 10}.check(t, err) // the outcome may not have arrived
	}
	<-served
}

// TestExchange: messages to a Keep in another order than the ten steps'.
func TestExchange(t *testing.T) {
	t.Parallel()
	config := wire.Digest{1}
	used := nonce()
	fresh := func() *wire.AttestRequest { return &wire.AttestRequest{Nonce: nonce(), Config: config} }
	raw := func(data ...byte) []byte { return data }
	tests := []struct {
		what    string
		request []byte
		code    wire.Code
	}{
		{"provision before attest", mustMarshal(&wire.ProvisionRequest{Sealed: []byte{1}}), wire.CodeWrongState},
		{"reattest without a workload", mustMarshal(&wire.ReattestRequest{Nonce: nonce()}), wire.CodeWrongState},
		{"a message that no Keep answers", mustMarshal(&wire.Stop{}), wire.CodeBadMessage},
		{"an answer", mustMarshal(&wire.Provisioned{}), wire.CodeBadMessage},
		{"an unknown message", raw(0x83, 1, 0x64, 'e', 'x', 'e', 'c', 0xa0), wire.CodeBadMessage},
		{"version 2", raw(0x83, 2, 0x64, 'd', 'o', 'n', 'e', 0xa0), wire.CodeVersion},
		{"version 0", raw(0x83, 0, 0x64, 'd', 'o', 'n', 'e', 0xa0), wire.CodeVersion},
		{"version 2 of another shape", raw(0x82, 2, 0x40), wire.CodeVersion},
		{"no message", nil, wire.CodeBadMessage},
		{"noise", bytes.Repeat([]byte{0x9f}, 1000), wire.CodeBadMessage},
		{"a short nonce", raw(append([]byte{0x83, 1, 0x6e}, "attest-request\xa2enonceA\x01fconfigX\x20"+string(config[:])...)...), wire.CodeBadMessage},
		{"over the limit", make([]byte, wire.MaxMessage+1), wire.CodeTooLarge},
		{"attest", mustMarshal(&wire.AttestRequest{Nonce: used, Config: config}), ""},
		{"attest with the same nonce", mustMarshal(&wire.AttestRequest{Nonce: used, Config: config}), wire.CodeReplay},
		{"and another configuration", mustMarshal(&wire.AttestRequest{Nonce: used}), wire.CodeReplay},
		{"noise sealed", mustMarshal(&wire.ProvisionRequest{Sealed: make([]byte, 2000)}), wire.CodeUnsealed},
		{"a second answer to the same evidence", mustMarshal(&wire.ProvisionRequest{Sealed: make([]byte, 2000)}), wire.CodeWrongState},
	}
	for range wire.MaxAttestations - 1 {
		tests = append(tests, struct {
			what    string
			request []byte
			code    wire.Code
		}{"attest again", mustMarshal(fresh()), ""})
	}
	tests = append(tests, struct {
		what    string
		request []byte
		code    wire.Code
	}{"attest once more than is allowed", mustMarshal(fresh()), wire.CodeLimit})
	id := newKeep(t)
	for _, test := range tests {
		if got := code(wire.UnmarshalAnswer(exchange(id, test.request), &wire.Attestation{})); got != test.code {
			t.Errorf("%s: %q, expected %q", test.what, got, test.code)
		}
	}

	n := newTenant(t, newKeep(t))
	sealed := n.provision(t)
	for what, m := range map[string]wire.Message{
		"a second provision":    &wire.ProvisionRequest{Sealed: sealed},
		"another's attestation": fresh(),
		"reattest":              &wire.ReattestRequest{Nonce: nonce()},
	} {
		if err := n.ask(m, &wire.Provisioned{}); code(err) != wire.CodeWrongState {
			t.Errorf("%s once there is a tenant: %v", what, err)
		}
	}
}

// TestWrongPlaintext: the tenant seals what was not attested.
func TestWrongPlaintext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*wire.Provision)
		code   wire.Code
	}{
		{"another profile", func(p *wire.Provision) { p.Config.Profile = wire.Development }, wire.CodeWrongConfig},
		{"more capabilities", func(p *wire.Provision) {
			p.Config.Capabilities = []wire.Capability{wire.Stderr, wire.Stdin, wire.Stdout}
		}, wire.CodeWrongConfig},
		{"other limits", func(p *wire.Provision) { p.Config.Limits.WallTime = 1 }, wire.CodeWrongConfig},
		{"other arguments", func(p *wire.Provision) { p.Invocation.Args = []string{"app", "--leak"} }, wire.CodeWrongConfig},
		{"another salt", func(p *wire.Provision) { p.Invocation.Salt = nonce() }, wire.CodeWrongConfig},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, newKeep(t))
			n.attest(t)
			test.change(&n.plain)
			err := n.ask(&wire.ProvisionRequest{Sealed: n.sealed(t)}, &wire.Provisioned{})
			if code(err) != test.code {
				t.Errorf("%v, expected %s", err, test.code)
			}
		})
	}
}

// TestWorkloadEndpoints: an authorized client out of order.
func TestWorkloadEndpoints(t *testing.T) {
	t.Parallel()
	hello := guests.Hello()
	put := func(module []byte) func(*tenant) error {
		return func(n *tenant) error { return n.call(http.MethodPut, wire.PathWorkload, module, &wire.Accepted{}) }
	}
	post := func(path string, answer wire.Message) func(*tenant) error {
		return func(n *tenant) error { return n.call(http.MethodPost, path, nil, answer) }
	}
	// attach returns the refusal of an output, or leaves it open.
	attach := func(path string) func(*tenant) error {
		return func(n *tenant) error {
			response, err := n.do(http.MethodGet, path, 0, http.NoBody)
			if err == nil && response.StatusCode != http.StatusOK {
				err = wire.ReadResponse(response, &wire.Done{})
			}
			return err
		}
	}
	length := func(n int64, body []byte) func(*tenant) error {
		return func(t *tenant) error {
			response, err := t.do(http.MethodPut, wire.PathWorkload, n, bytes.NewReader(body))
			if err != nil {
				return err
			}
			return wire.ReadResponse(response, &wire.Accepted{})
		}
	}
	const gone wire.Code = "any error" // the Keep ended: nobody may be left to say so
	type step struct {
		do   func(*tenant) error
		code wire.Code
	}
	for name, steps := range map[string][]step{
		"run before load":                       {{post(wire.PathRun, &wire.Outcome{}), wire.CodeWrongState}, {put(hello), ""}},
		"stdout before load":                    {{attach(wire.PathStdout), wire.CodeWrongState}},
		"two workloads":                         {{put(hello), ""}, {put(hello), wire.CodeWrongState}, {post(wire.PathRun, &wire.Outcome{}), ""}},
		"stdout twice":                          {{put(hello), ""}, {attach(wire.PathStdout), ""}, {attach(wire.PathStdout), wire.CodeWrongState}},
		"stdin without the capability":          {{put(hello), ""}, {post(wire.PathStdin, &wire.Done{}), wire.CodeNotAllowed}},
		"two runs":                              {{put(hello), ""}, {post(wire.PathRun, &wire.Outcome{}), ""}, {post(wire.PathRun, &wire.Outcome{}), gone}},
		"over the limit":                        {{length(wire.MaxWorkload+1, hello), wire.CodeTooLarge}, {put(hello), ""}},
		"no length":                             {{length(-1, hello), wire.CodeTooLarge}, {put(hello), ""}},
		"a body shorter than its length":        {{length(int64(len(hello)+1), hello), gone}, {put(hello), gone}},
		"not a module":                          {{put([]byte("#!/bin/sh\n")), wire.CodeBadWorkload}, {put(hello), gone}},
		"stop, then load":                       {{post(wire.PathStop, &wire.Done{}), ""}, {put(hello), gone}},
		"nothing is there":                      {{post("/v1/exec", &wire.Done{}), wire.CodeNoSuchMethod}, {post("/v1/../../etc", &wire.Done{}), gone}, {put(hello), ""}},
		"another method":                        {{post(wire.PathWorkload, &wire.Done{}), wire.CodeNoSuchMethod}, {put(hello), ""}},
		"keepmgr's messages on a Keep's tunnel": {{post(wire.PathKeeps, &wire.KeepInfo{}), wire.CodeNoSuchMethod}, {put(hello), ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, newKeep(t))
			n.provision(t)
			for i, s := range steps {
				err := s.do(n)
				t.Logf("request %d: %v", i, err)
				if s.code == gone && err == nil || s.code != gone && code(err) != s.code || s.code == "" && err != nil {
					t.Errorf("request %d: %v, expected %q", i, err, s.code)
				}
			}
		})
	}
}

// TestWrongAccepted: the client compares what the Keep says it has with what
// it sent, and only the Keep can say so: see TestTunnel for who tries.
func TestWrongAccepted(t *testing.T) {
	t.Parallel()
	n := newTenant(t, newKeep(t))
	n.provision(t)
	var accepted wire.Accepted
	if err := n.call(http.MethodPut, wire.PathWorkload, guests.Hello(), &accepted); err != nil || accepted.Workload != wire.WorkloadDigest(guests.Hello()) {
		t.Errorf("%v, %v", accepted, err)
	}
	a := reattestation(t, n.id, mustMarshal(&wire.ReattestRequest{Nonce: nonce()}))
	if a.Workload != accepted.Workload || !slices.Equal(a.Config.Capabilities, n.plain.Config.Capabilities) {
		t.Errorf("%+v", a)
	}
}
