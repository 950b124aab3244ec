package snp_test

import (
	"testing"

	"github.com/redoubt-tee/redoubt/attest/pki"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// BenchmarkVerify verifies the captured report of a Milan: with every signature
// of its chain, and with a chain that was seen before. Then the report's own
// signature is what is left, and parsing.
func BenchmarkVerify(b *testing.B) {
	x := capture{
		report:  vectors.Read(b, "snp/ms-milan.report.bin"),
		auxblob: (&snp.CertTable{ASK: certificate(b, "snp/ms-milan.ask.pem"), VCEK: certificate(b, "snp/ms-milan.vcek.pem")}).Encode(),
		roots:   snp.AMDRoots(),
	}
	for name, seen := range map[string]*pki.Seen{"full": nil, "cached": new(pki.Seen)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.verify(seen); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
