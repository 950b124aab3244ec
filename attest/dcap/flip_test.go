package dcap_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/pki"
)

// flipped captures are of each version, TEE and TDX release; phala has revocation
// lists.
var flipped = []capture{oasisSGX, phala, gtg5}

// TestVectorBitFlipsSigned flips every bit of header and body of captures, one at
// a time: none is accepted.
func TestVectorBitFlipsSigned(t *testing.T) {
	t.Parallel()
	for _, c := range flipped {
		quote, col, at := c.load(t)
		t.Run(c.quote, func(t *testing.T) {
			t.Parallel()
			var seen pki.Seen
			signed := len(must(dcap.ParseQuote(quote)).Signed())
			for i := range 8 * signed {
				quote[i/8] ^= 1 << (i % 8)
				if claims, err := dcap.Verify(quote, col, intel, &seen, at); claims != nil || err == nil {
					t.Errorf("bit %d flipped: accepted", i)
				}
				quote[i/8] ^= 1 << (i % 8)
			}
		})
	}
}

// TestVectorBitFlips flips single bits of all that a verification of a capture
// takes: the whole quote, and each piece of collateral. It samples: of each piece
// about one bit in so many, at positions that are the same in each run, so that
// 1,000 bits a capture are flipped. What is accepted must prove the same claims:
// there is such, as white space in PEM and JSON, and certificates that nothing
// depends on. Or it must prove less: a revocation list whose issuer is changed is
// not one for the quote any more, and the claims then name who is unchecked.
func TestVectorBitFlips(t *testing.T) {
	t.Parallel()
	const samples = 1000
	for _, c := range flipped {
		quote, col, at := c.load(t)
		t.Run(c.quote, func(t *testing.T) {
			t.Parallel()
			var seen pki.Seen
			want, err := dcap.Verify(quote, col, intel, &seen, at)
			if err != nil {
				t.Fatal(err)
			}
			pieces := []*[]byte{&quote}
			for _, list := range [][][]byte{col.Certificates, col.CRLs, col.TCBInfos, col.QEIdentities} {
				for i := range list {
					list[i] = bytes.Clone(list[i])
					pieces = append(pieces, &list[i])
				}
			}
			total := 0
			for _, p := range pieces {
				total += 8 * len(*p)
			}
			refused, same, less, next := 0, 0, 0, 3
			for _, p := range pieces {
				b := *p
				for ; next < 8*len(b); next += max(total/samples, 1) | 1 { // odd: each bit of a byte has its turn
					b[next/8] ^= 1 << (next % 8)
					claims, err := dcap.Verify(quote, col, intel, &seen, at)
					switch {
					case err != nil && claims == nil:
						refused++
					case err == nil && reflect.DeepEqual(claims, want):
						same++
					case err == nil && len(claims.Unchecked) > len(want.Unchecked) && reflect.DeepEqual(withoutLists(claims), withoutLists(want)):
						less++
					default:
						t.Errorf("bit %d of %.20q...: accepted with other claims, error %v", next, b, err)
					}
					b[next/8] ^= 1 << (next % 8)
				}
				next -= 8 * len(b)
			}
			if refused < samples/2 {
				t.Errorf("only %d refused", refused)
			}
			t.Logf("%d refused, %d accepted with the same claims, %d with a list less", refused, same, less)
		})
	}
}

// withoutLists returns claims without what they say of revocation.
func withoutLists(c *dcap.Claims) dcap.Claims {
	out := *c
	out.Unchecked, out.Collateral = nil, nil
	for _, used := range c.Collateral {
		if !strings.HasPrefix(used.Name, "revocation list") {
			out.Collateral = append(out.Collateral, used)
		}
	}
	return out
}
