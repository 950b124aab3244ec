package attest_test

import (
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

func Example() {
	// A Keep would make this inside its TEE.
	measurement, reportData := [48]byte{1}, [64]byte{2}
	hardware, err := teelab.NewSNP(time.Now())
	if err != nil {
		panic(err)
	}
	evidence, err := hardware.Evidence(reportData, measurement)
	if err != nil {
		panic(err)
	}

	// First: is it genuine?
	roots := attest.Roots{SNP: []snp.Root{hardware.Root()}}
	claims, err := attest.Verify(evidence, hardware.Collateral(), roots, time.Now())
	if err != nil {
		panic(err)
	}
	// Then: is it good enough?
	policy := attest.Policy{
		SNP: &attest.SNPPolicy{
			Pins:   attest.Pins{Measurements: []attest.Reference{{Name: "ours", Digest: measurement[:]}}, AnyMachine: true},
			MinTCB: map[snp.Product]snp.TCB{snp.Milan: {Bootloader: 4, SNP: 24, Microcode: 219}},
		},
	}
	for _, rule := range policy.Appraise(claims, reportData[:]).Rules {
		fmt.Printf("%v %s\n", rule.OK, rule.Name)
	}
	// Output:
	// true technology
	// false simulated
	// true report data
	// true debug
	// true revocation
	// true collateral
	// true measurement
	// true machine
	// true signer
	// true minimum TCB
	// true TCB order
	// true VMPL
	// true migration agent
	// false SMT
	// true alias check
	// true host data
}
