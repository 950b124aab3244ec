package wire

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestHashVectors pins the hashes; they were computed without this package.
func TestHashVectors(t *testing.T) {
	t.Parallel()
	zero := make([]byte, 32)
	rd := ProvisionReportData(zero, make([]byte, HPKEPublicKeySize), Digest{})
	workload := WorkloadReportData(zero, make([]byte, HPKEPublicKeySize), Digest{}, Digest{})
	module := WorkloadDigest([]byte("abc"))
	tests := []struct {
		what string
		have []byte
		want string
	}{
		{"provision report data", rd[:], "9fa74418b4b78927231eb854c289b0b1947c1cd3467e6ebea72b0ad47bdd25bd6a6cc9a79f9805d399ccabdccc32e0af5fe5c3efedd576a29fda1e502f0903b6"},
		{"workload report data", workload[:], "769611c427bda75a0923710ea4b99d0063b33397de3c27e5ad5012283024e5f50d6986b2393fd20d3cd130e6bd7900461cb147b658419dc78224d8879c4b8cb6"},
		{"seal info", SealInfo(ReportData{}), "4a0f96645149eaf4c26858a55bb12eead12e46755c9c96ad6bd0009e74447222"},
		{"workload digest", module[:], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	}
	for _, test := range tests {
		if have := hex.EncodeToString(test.have); have != test.want {
			t.Errorf("%s: %s, expected %s", test.what, have, test.want)
		}
	}
}

// TestReportDataBindsItsFields: a change of any field, or a byte moved from one
// to the next, gives other report data; and no two kinds of hash agree.
func TestReportDataBindsItsFields(t *testing.T) {
	t.Parallel()
	nonce, key := fill(NonceSize), bytes.Repeat([]byte{9}, HPKEPublicKeySize)
	config, workload := Digest{1}, Digest{2}
	moved := append(bytes.Clone(nonce), key[0])
	datas := map[ReportData]string{}
	add := func(what string, rd ReportData) {
		if other, ok := datas[rd]; ok {
			t.Errorf("%s and %s have the same report data", what, other)
		}
		datas[rd] = what
	}
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
		return b
	}
	add("provision", ProvisionReportData(nonce, key, config))
	add("provision, other nonce", ProvisionReportData(flip(nonce), key, config))
	add("provision, other key", ProvisionReportData(nonce, flip(key), config))
	add("provision, other configuration", ProvisionReportData(nonce, key, Digest{3}))
	add("provision, byte moved to the nonce", ProvisionReportData(moved, key[1:], config))
	add("provision, byte moved to the key", ProvisionReportData(nonce[:31], append([]byte{7}, key...), config))
	add("provision, nothing but the key", ProvisionReportData(nil, append(bytes.Clone(nonce), key...), config))
	add("workload", WorkloadReportData(nonce, key, config, workload))
	add("workload, other nonce", WorkloadReportData(flip(nonce), key, config, workload))
	add("workload, other key", WorkloadReportData(nonce, flip(key), config, workload))
	add("workload, other configuration", WorkloadReportData(nonce, key, Digest{3}, workload))
	add("workload, other workload", WorkloadReportData(nonce, key, config, Digest{3}))
	add("workload, digests exchanged", WorkloadReportData(nonce, key, workload, config))
	add("workload, byte moved to the nonce", WorkloadReportData(moved, key[1:], config, workload))

	if bytes.Equal(SealInfo(ReportData{1}), SealInfo(ReportData{2})) {
		t.Error("seal info does not depend on the report data")
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	base := Invocation{Args: []string{"ab", "c"}, Env: []string{"A=b"}, Salt: fill(SaltSize)}
	config := Configuration{Profile: Production, Limits: Limits{Memory: 1 << 20}, Capabilities: []Capability{Stdin}}
	seen := map[Digest]int{}
	for i, m := range []interface{ Digest() (Digest, error) }{
		&base,
		&Invocation{Args: []string{"a", "bc"}, Env: base.Env, Salt: base.Salt},
		&Invocation{Args: []string{"ab", "c", "A=b"}, Salt: base.Salt},
		&Invocation{Args: base.Args, Env: base.Env, Salt: make([]byte, SaltSize)},
		&config,
		&Configuration{Profile: Staging, Limits: config.Limits, Capabilities: config.Capabilities},
		&Configuration{Profile: Production, Limits: Limits{Memory: 1 << 20, WallTime: 1}, Capabilities: config.Capabilities},
		&Configuration{Profile: Production, Limits: config.Limits},
		&Configuration{Profile: Production, Limits: config.Limits, Capabilities: config.Capabilities, Invocation: Digest{1}},
	} {
		d, err := m.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[d]; ok {
			t.Errorf("%d and %d have the same digest", j, i)
		}
		seen[d] = i
	}
	// Nothing and an empty list are the same on the wire.
	empty := config
	empty.Capabilities = []Capability{}
	none := config
	none.Capabilities = nil
	a, _ := empty.Digest()
	if b, _ := none.Digest(); a != b {
		t.Error("nil and an empty list have different digests")
	}
	if d, err := (&Configuration{}).Digest(); err == nil || d != (Digest{}) {
		t.Errorf("digest %s of an invalid configuration", d)
	}
	if d, err := (&Invocation{}).Digest(); err == nil || d != (Digest{}) {
		t.Errorf("digest %s of an invalid invocation", d)
	}
	if text, err := (Digest{0xab}).MarshalText(); err != nil || string(text) != "ab"+string(bytes.Repeat([]byte("0"), 62)) {
		t.Errorf("as text: %s, %v", text, err)
	}
}
