package nitro_test

import (
	"reflect"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// seeds is what FuzzVerify starts from: genuine documents of simulated hardware.
func seeds() [][]byte {
	var list [][]byte
	for _, fault := range []func(*teelab.NitroDocument){
		func(*teelab.NitroDocument) {},
		func(d *teelab.NitroDocument) { d.Tagged = true },
		func(d *teelab.NitroDocument) { d.Fields["public_key"], d.Fields["user_data"] = []byte("key"), []byte{} },
		func(d *teelab.NitroDocument) { d.PCRs = map[int][]byte{0: make([]byte, 48)} },
	} {
		list = append(list, must(lab().Evidence(nonce, pcr0, fault)))
	}
	return list
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	if len(seeds()) < 4 {
		t.Error("too few seeds")
	}
	for i, seed := range seeds() {
		if _, err := nitro.Verify(seed, nitro.Collateral{}, []nitro.Root{lab().Root()}, nil, now); err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
	}
}

// FuzzVerify accepts nothing but the documents of its seeds. Parsing allocates at
// most 32 bytes for each of the input, and 64 KiB.
func FuzzVerify(f *testing.F) {
	roots := []nitro.Root{lab().Root()}
	var genuine []nitro.Document
	for _, seed := range seeds() {
		f.Add(seed)
		genuine = append(genuine, signed(must(nitro.Verify(seed, nitro.Collateral{}, roots, nil, now))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d *nitro.Document
		var err error
		fuzzcheck.Memory(t, 64<<10+32*len(data), func() { d, err = nitro.Parse(data) })
		if (d == nil) != (err != nil) {
			t.Fatalf("document %v with error %v", d, err)
		}
		c, err := nitro.Verify(data, nitro.Collateral{}, roots, nil, now)
		if (c == nil) != (err != nil) {
			t.Fatalf("claims %v with error %v", c, err)
		}
		if err != nil {
			return
		}
		for _, g := range genuine {
			if reflect.DeepEqual(g, signed(c)) {
				return
			}
		}
		t.Fatalf("accepted what was never signed: %x", data)
	})
}

// signed returns the exported fields of a document.
func signed(c *nitro.Claims) nitro.Document {
	d := c.Document
	return nitro.Document{
		ModuleID: d.ModuleID, Digest: d.Digest, Timestamp: d.Timestamp, PCRs: d.PCRs, PublicKey: d.PublicKey,
		UserData: d.UserData, Nonce: d.Nonce, Certificate: d.Certificate, CABundle: d.CABundle,
	}
}
