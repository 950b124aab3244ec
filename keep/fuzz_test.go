//go:build linux

package keep

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redoubt-tee/redoubt/wire"
)

var update = flag.Bool("update", false, "write the seed corpora in testdata/fuzz anew")

// FuzzOpen opens data as it is, and sealed by somebody who was shown the offer.
// What opens is a valid provision of the attested configuration, byte by byte;
// all else is refused, with a code that says no more than that.
func FuzzOpen(f *testing.F) {
	o := sampleOffer(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if tn, err := o.open(data); refusalCode(err) != wire.CodeUnsealed && err != nil {
			t.Fatalf("%v", err)
		} else if err == nil {
			checkTenant(t, o, tn, nil)
		}
		tn, err := o.open(seal(t, o, data))
		switch code := refusalCode(err); {
		case err == nil:
			checkTenant(t, o, tn, data)
		case tn != nil:
			t.Fatal("a tenant and an error")
		case code != wire.CodeUnsealed && code != wire.CodeWrongConfig:
			t.Fatalf("%v", err)
		}
	})
}

// checkTenant checks that tn is what the offer asked for, and plain, if it is
// known, its one encoding.
func checkTenant(t *testing.T, o *offer, tn *tenant, plain []byte) {
	t.Helper()
	again, err := wire.Marshal(&tn.provision)
	if err != nil || plain != nil && !bytes.Equal(again, plain) {
		t.Fatalf("%x\nencodes to\n%x, %v", plain, again, err)
	}
	config, err := tn.provision.Config.Digest()
	if err != nil || config != o.config {
		t.Fatal("another configuration than attested")
	}
	invocation, err := tn.provision.Invocation.Digest()
	if err != nil || invocation != tn.provision.Config.Invocation {
		t.Fatal("another invocation than attested")
	}
	if len(tn.certificate.Certificate) != 1 {
		t.Fatal("no certificate")
	}
}

// FuzzAnswer answers data in one of a Keep's states, with an offer or without.
// Only a provision that was sealed to the offer changes the state.
func FuzzAnswer(f *testing.F) {
	port := testPort(f)
	o := sampleOffer(f)
	states := []wire.State{wire.StateReady, wire.StateProvisioned, wire.StateLoading, wire.StateLoaded, wire.StateRunning, wire.StateEnded}
	f.Fuzz(func(t *testing.T, state uint8, data []byte) {
		k := readyKeep(port)
		k.state = states[int(state)%len(states)]
		before := k.state
		k.offer = o
		if before.Reached(wire.StateProvisioned) {
			k.tenant = &tenant{provision: sample(t), hpkePublic: o.key.PublicKey().Bytes()}
		}
		tenant := k.tenant
		answer, err := k.answer(data)
		if err != nil {
			answer = wire.AsRefusal(err, wire.CodeBadMessage)
		}
		if _, err := wire.Marshal(answer); err != nil {
			t.Fatalf("an answer that can't be sent: %v", err)
		}
		name, _ := wire.Name(data)
		if _, ok := answer.(*wire.Provisioned); ok {
			if before != wire.StateReady || k.state != wire.StateProvisioned || name != "provision-request" || k.offer != nil {
				t.Fatalf("provisioned by %q, %s before, %s now", name, before, k.state)
			}
			checkTenant(t, o, k.tenant, nil)
		} else if k.state != before || k.tenant != tenant {
			t.Fatalf("%q was answered with %v, and changed the state from %s to %s", name, answer, before, k.state)
		}
	})
}

// TestSeeds: an empty corpus would make fuzzing begin at nothing, silently. The
// seeds are those of this test; one of each target goes all the way.
func TestSeeds(t *testing.T) {
	o, p := sampleOffer(t), sample(t)
	plain := encode(t, &p)
	short := changed(t, func(p *wire.Provision) { p.Config.Capabilities = nil })
	open := map[string][]byte{
		"none":         {},
		"valid":        plain,
		"otherConfig":  encode(t, short),
		"cutShort":     plain[:len(plain)-1],
		"trailing":     append(bytes.Clone(plain), 0),
		"otherMessage": encode(t, &wire.Done{}),
		"version":      append([]byte{0x83, 2}, plain[2:]...),
	}
	nonce, provision := bytes.Repeat([]byte{7}, wire.NonceSize), sealedSeed(t)
	type input struct {
		state byte
		data  []byte
	}
	answer := map[string]input{
		"none":            {0, nil},
		"attest":          {0, encode(t, &wire.AttestRequest{Nonce: nonce})},
		"attestLate":      {1, encode(t, &wire.AttestRequest{Nonce: nonce})},
		"provision":       {0, provision},
		"provisionLate":   {1, provision},
		"provisionNoise":  {0, encode(t, &wire.ProvisionRequest{Sealed: nonce})},
		"reattest":        {3, encode(t, &wire.ReattestRequest{Nonce: nonce})},
		"reattestEarly":   {0, encode(t, &wire.ReattestRequest{Nonce: nonce})},
		"otherMessage":    {0, encode(t, &wire.Stop{})},
		"version":         {0, []byte{0x83, 2, 0x64, 'd', 'o', 'n', 'e', 0xa0}},
		"unknownMessage":  {0, []byte{0x83, 1, 0x64, 'e', 'x', 'e', 'c', 0xa0}},
		"attestCutShort":  {0, encode(t, &wire.AttestRequest{Nonce: nonce})[:30]},
		"attestShortData": {0, []byte("\x83\x01\x6eattest-request\xa0")},
	}
	files := map[string]string{}
	for name, data := range open {
		files[filepath.Join("FuzzOpen", name)] = fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", data)
	}
	for name, in := range answer {
		files[filepath.Join("FuzzAnswer", name)] = fmt.Sprintf("go test fuzz v1\nbyte(%q)\n[]byte(%q)\n", in.state, in.data)
	}
	for name, text := range files {
		path := filepath.Join("testdata", "fuzz", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("seed %s is not this test's (%v): go test ./keep -update makes it", name, err)
		}
	}
	if _, err := o.open(seal(t, o, open["valid"])); err != nil {
		t.Error(err)
	}
	k := readyKeep(testPort(t))
	k.offer = o
	if m, err := k.answer(answer["provision"].data); err != nil {
		t.Errorf("%v, %v", m, err)
	}
}

// sealedSeed is a provision-request that opens. Sealing is random: it is kept in
// a file.
func sealedSeed(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join("testdata", "provision-request")
	if *update {
		p, o := sample(t), sampleOffer(t)
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, encode(t, &wire.ProvisionRequest{Sealed: seal(t, o, encode(t, &p))}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
