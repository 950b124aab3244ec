//go:build linux

package hostile

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/guests"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/wire"
)

// otherHardware is of a host with another development root.
var otherHardware = sync.OnceValue(func() *teelab.SNP {
	h, err := teelab.NewSNP(time.Now())
	if err != nil {
		panic(err)
	}
	return h
})

// attestation asks a real Keep.
func attestation(t *testing.T, id string, request *wire.AttestRequest) *wire.Attestation {
	t.Helper()
	var answer wire.Attestation
	if err := ask(id, request, &answer); err != nil {
		t.Error(err)
	}
	return &answer
}

// evidence is made by who holds a simulated chip's key.
func evidence(t *testing.T, h *teelab.SNP, request *wire.AttestRequest, hpkePublicKey []byte, faults ...teelab.Fault) wire.Evidence {
	t.Helper()
	e, err := h.Faulty(wire.ProvisionReportData(request.Nonce, hpkePublicKey, request.Config), [48]byte(measurement), faults...)
	if err != nil {
		t.Error(err)
	}
	return wire.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob}
}

func hpkeKey(t *testing.T) []byte {
	t.Helper()
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Error(err)
	}
	return key.PublicKey().Bytes()
}

func nonce() []byte {
	n := make([]byte, wire.NonceSize)
	rand.Read(n)
	return n
}

// TestEvidence: what the host answers to the client's attest-request, and what
// the client makes of it. In no case is anything sealed, let alone sent.
func TestEvidence(t *testing.T) {
	t.Parallel()
	flip := func(at func(*wire.Attestation) *byte) func(*testing.T, string, *wire.AttestRequest) wire.Message {
		return func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			*at(a) ^= 1
			return a
		}
	}
	faulty := func(fault teelab.Fault) func(*testing.T, string, *wire.AttestRequest) wire.Message {
		return func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.Evidence = evidence(t, hardware, request, a.HPKEPublicKey, fault)
			return a
		}
	}
	genuine := func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
		return attestation(t, id, request)
	}
	tests := []struct {
		name   string
		answer func(t *testing.T, id string, request *wire.AttestRequest) wire.Message
		policy func(*client.Deployment)
		want   failure
	}{
		{"replayed: for an old nonce", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			return attestation(t, id, &wire.AttestRequest{Nonce: nonce(), Config: request.Config})
		}, nil, failure{step: 5, rule: "report data"}},
		{"for another HPKE key", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.HPKEPublicKey = hpkeKey(t)
			return a
		}, nil, failure{step: 5, rule: "report data"}},
		{"of another Keep, with this one's key", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.Evidence = attestation(t, newKeep(t), request).Evidence
			return a
		}, nil, failure{step: 5, rule: "report data"}},
		{"of a Keep that was asked for another configuration", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			return attestation(t, id, &wire.AttestRequest{Nonce: request.Nonce, Config: wire.Digest{1}})
		}, nil, failure{step: 5, rule: "report data"}},
		{"of a workload, as in a later attestation", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			e, err := hardware.Evidence(wire.WorkloadReportData(request.Nonce, a.HPKEPublicKey, request.Config, wire.Digest{}), [48]byte(measurement))
			if err != nil {
				t.Error(err)
			}
			a.Evidence = wire.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob}
			return a
		}, nil, failure{step: 5, rule: "report data"}},
		{"a bit of the HPKE key flipped", flip(func(a *wire.Attestation) *byte { return &a.HPKEPublicKey[700] }), nil, failure{step: 5, rule: "report data"}},
		{"a bit of the report data flipped", flip(func(a *wire.Attestation) *byte { return &a.Evidence.Report[0x50] }), nil, failure{step: 5, is: snp.ErrSignature}},
		{"a bit of the measurement flipped", flip(func(a *wire.Attestation) *byte { return &a.Evidence.Report[0x90] }), nil, failure{step: 5, is: snp.ErrSignature}},
		{"a bit of the signature flipped", flip(func(a *wire.Attestation) *byte { return &a.Evidence.Report[0x2a0] }), nil, failure{step: 5, is: snp.ErrSignature}},
		{"a bit of the certificates flipped", flip(func(a *wire.Attestation) *byte { return &a.Evidence.Auxblob[len(a.Evidence.Auxblob)-1] }), nil, failure{step: 5, text: "snp evidence"}},
		{"cut short", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.Evidence.Report = a.Evidence.Report[:len(a.Evidence.Report)-1]
			return a
		}, nil, failure{step: 5, is: snp.ErrReport}},
		{"without certificates", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.Evidence.Auxblob = nil
			return a
		}, nil, failure{step: 5, is: snp.ErrSigner}},
		{"under another development root", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.Evidence = evidence(t, otherHardware(), request, a.HPKEPublicKey)
			return a
		}, nil, failure{step: 5, is: snp.ErrRoot}},
		{"under another development root, with the pinned root's certificates", func(t *testing.T, id string, request *wire.AttestRequest) wire.Message {
			a := attestation(t, id, request)
			a.Evidence.Report = evidence(t, otherHardware(), request, a.HPKEPublicKey).Report
			return a
		}, nil, failure{step: 5, text: "snp evidence"}},
		{"of a guest that the host can debug", faulty(teelab.Debug), nil, failure{step: 5, rule: "debug"}},
		{"of a guest that a migration agent may move", faulty(teelab.MigrateMA), nil, failure{step: 5, rule: "migration agent"}},
		{"asked for from another VMPL", faulty(teelab.VMPL(2)), nil, failure{step: 5, rule: "VMPL"}},
		{"simulated, and a policy that does not say that it may be", genuine, func(d *client.Deployment) { d.Policy.AllowSimulated = false }, failure{step: 5, rule: "simulated"}},
		{"of another measurement", genuine, func(d *client.Deployment) { d.Policy.SNP.Measurements[0].Digest = make([]byte, 48) }, failure{step: 5, rule: "measurement"}},
		{"and no root to hold it against", genuine, func(d *client.Deployment) { d.Roots = attest.Roots{} }, failure{step: 5, is: snp.ErrRoot}},
		{"and no policy", genuine, func(d *client.Deployment) { d.Policy = attest.Policy{} }, failure{step: 5, rule: "technology, simulated, revocation"}},
		{"none: the answer to another message", func(*testing.T, string, *wire.AttestRequest) wire.Message { return &wire.Provisioned{} }, nil, failure{step: 4, text: `"provisioned"`}},
		{"none: a made-up refusal", func(*testing.T, string, *wire.AttestRequest) wire.Message {
			return wire.Refuse(wire.CodeReplay, "\x1b[31mred\r")
		}, nil, failure{step: 4, code: wire.CodeReplay}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.exchange = func(id string, data []byte) []byte {
				var request wire.AttestRequest
				if err := wire.Unmarshal(data, &request); err != nil {
					t.Error("sent before the evidence was verified: ", err)
					return nil
				}
				return mustMarshal(test.answer(t, id, &request))
			}
			d := deployment(guests.Hello())
			if test.policy != nil {
				test.policy(d)
			}
			_, err := l.deploy(d)
			test.want.check(t, err)
			if want := []string{"attest-request"}; !slices.Equal(l.seen(), want) {
				t.Errorf("requests %q, expected %q", l.seen(), want)
			}
		})
	}
}

// TestRawAnswers: answers to the attest-request that are no answers.
func TestRawAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer func([]byte) []byte
		text   string
	}{
		{"cut short", func(a []byte) []byte { return a[:len(a)-1] }, "EOF"},
		{"with a byte more", func(a []byte) []byte { return append(a, 0) }, "extraneous"},
		{"of another version", func(a []byte) []byte { a[1] = 2; return a }, "version"},
		{"nothing", func([]byte) []byte { return nil }, "EOF"},
		{"noise", func([]byte) []byte { return bytes.Repeat([]byte{0xff}, 1000) }, "attestation: "},
		{"too much", func([]byte) []byte { return make([]byte, wire.MaxMessage+1) }, "more than the 262144 bytes allowed"},
		{"the request", func([]byte) []byte { return mustMarshal(&wire.AttestRequest{Nonce: nonce()}) }, `"attest-request"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.exchange = func(id string, request []byte) []byte { return test.answer(exchange(id, request)) }
			_, err := l.deploy(deployment(guests.Hello()))
			failure{step: 4, text: test.text}.check(t, err)
			if want := []string{"attest-request"}; !slices.Equal(l.seen(), want) {
				t.Errorf("requests %q, expected %q", l.seen(), want)
			}
		})
	}
}

// TestLaterAttestation: a third party is lied to about what a Keep runs.
func TestLaterAttestation(t *testing.T) {
	t.Parallel()
	n := newTenant(t, newKeep(t))
	n.provision(t)
	n.load(t, guests.Hello())
	d := deployment(nil)
	for _, test := range []struct {
		name string
		lie  func(*testing.T, []byte) wire.Message
		rule string
	}{
		{"none", func(t *testing.T, request []byte) wire.Message { return reattestation(t, n.id, request) }, ""},
		{"another workload", func(t *testing.T, request []byte) wire.Message {
			a := reattestation(t, n.id, request)
			a.Workload[0] ^= 1
			return a
		}, "report data"},
		{"another configuration", func(t *testing.T, request []byte) wire.Message {
			a := reattestation(t, n.id, request)
			a.Config.Profile = wire.Development
			return a
		}, "report data, log profile"},
		{"another key", func(t *testing.T, request []byte) wire.Message {
			a := reattestation(t, n.id, request)
			a.HPKEPublicKey = hpkeKey(t)
			return a
		}, "report data"},
		{"replayed", func(t *testing.T, _ []byte) wire.Message {
			return reattestation(t, n.id, mustMarshal(&wire.ReattestRequest{Nonce: nonce()}))
		}, "report data"},
		{"from before it had a workload", func(t *testing.T, request []byte) wire.Message {
			a := reattestation(t, n.id, request)
			var r wire.ReattestRequest
			if err := wire.Unmarshal(request, &r); err != nil {
				t.Error(err)
			}
			config, err := a.Config.Digest()
			if err != nil {
				t.Error(err)
			}
			fresh := attestation(t, newKeep(t), &wire.AttestRequest{Nonce: r.Nonce, Config: config})
			a.Evidence, a.HPKEPublicKey = fresh.Evidence, fresh.HPKEPublicKey
			return a
		}, "report data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.exchange = func(_ string, request []byte) []byte { return mustMarshal(test.lie(t, request)) }
			host, err := client.Open(l.address, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			a, err := client.Attest(t.Context(), host, n.id, nonce(), &d.Trust)
			if test.rule == "" {
				if err != nil || a.Workload != wire.WorkloadDigest(guests.Hello()) {
					t.Errorf("%+v, %v", a, err)
				}
				return
			}
			failure{step: 1, rule: test.rule}.check(t, &client.StepError{Step: 1, Err: err})
		})
	}
}

func reattestation(t *testing.T, id string, request []byte) *wire.WorkloadAttestation {
	t.Helper()
	var a wire.WorkloadAttestation
	if err := wire.UnmarshalAnswer(exchange(id, request), &a); err != nil {
		t.Error(err)
	}
	return &a
}
