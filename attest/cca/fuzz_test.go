package cca_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/internal/fuzzcheck"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// seeds is what the fuzz targets start from: genuine tokens of simulated hardware.
func seeds() [][]byte {
	var list [][]byte
	for _, fault := range []func(*teelab.CCAToken){
		func(*teelab.CCAToken) {},
		func(t *teelab.CCAToken) { t.Legacy() },
		func(t *teelab.CCAToken) { t.Tag = 907 },
		func(t *teelab.CCAToken) { t.Realm[44240] = "sha-512"; t.Bind() },
	} {
		list = append(list, must(lab().Evidence(challenge, rim, fault)))
	}
	return list
}

// rootSeeds is what FuzzParseRoot starts from.
func rootSeeds() []string {
	return []string{
		lab().PEM(), p256PEM,
		`{"kty":"EC","crv":"P-384","x":"IShnxS4rlQiwpCCpBWDzlNLfqiG911FP8akBr-fh94uxHU5m-Kijivp2r2oxxN6M","y":"hM4tr8mWQli1P61xh3T0ViDREbF26DGOEYfbAjWjGNN7pZf-6A4OTHYqEryz6m7U","use":"sig"}`,
	}
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	if len(seeds()) < 4 || len(rootSeeds()) < 3 {
		t.Error("too few seeds")
	}
	for i, seed := range seeds() {
		if _, err := cca.Verify(seed, cca.Collateral{}, []cca.Root{lab().Root()}, nil, now); err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
	}
	for i, seed := range rootSeeds() {
		if _, err := cca.ParseRoot([]byte(seed)); err != nil {
			t.Errorf("root %d: %v", i, err)
		}
	}
}

// mostJWK is the most memory that reading a root of n bytes may take, in bytes.
// Strict JSON costs that much for short numbers and names.
func mostJWK(n int) int { return 64<<10 + 128*n }

// TestMemory reads roots that are made to take much.
func TestMemory(t *testing.T) { //nolint:paralleltest // counts all memory
	names := ""
	for i := range 1500 {
		names += fmt.Sprintf(`"%c":"",`, 0x100+i)
	}
	for _, inner := range []string{`"kty":[` + strings.Repeat("0,", 8000) + "0]", names + `"":""`} {
		data := []byte("{" + inner + "}")
		fuzzcheck.Memory(t, mostJWK(len(data)), func() { _, _ = cca.ParseRoot(data) })
	}
}

// FuzzVerify accepts nothing but the claims of its seeds. Parsing allocates at
// most 32 bytes for each of the input, and 64 KiB.
func FuzzVerify(f *testing.F) {
	roots := []cca.Root{lab().Root()}
	var genuine []*cca.Claims
	for _, seed := range seeds() {
		f.Add(seed)
		genuine = append(genuine, must(cca.Verify(seed, cca.Collateral{}, roots, nil, now)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var token *cca.Token
		var err error
		fuzzcheck.Memory(t, 64<<10+32*len(data), func() { token, err = cca.Parse(data) })
		if (token == nil) != (err != nil) {
			t.Fatalf("token %v with error %v", token, err)
		}
		c, err := cca.Verify(data, cca.Collateral{}, roots, nil, now)
		if (c == nil) != (err != nil) {
			t.Fatalf("claims %v with error %v", c, err)
		}
		if err != nil {
			return
		}
		for _, g := range genuine {
			if reflect.DeepEqual(g.Platform, c.Platform) {
				return
			}
		}
		t.Fatalf("accepted what was never signed: %x", data)
	})
}

func FuzzParseRoot(f *testing.F) {
	for _, seed := range rootSeeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzcheck.Memory(t, mostJWK(len(data)), func() {
			root, err := cca.ParseRoot(data)
			if (root.Key == nil) != (err != nil) {
				t.Fatalf("root %v with error %v", root, err)
			}
		})
	})
}
