// Package attest decides whether evidence from a TEE is good enough.
//
// Verify checks that evidence is genuine, back to roots that the caller gives,
// and returns what it proves: Claims. A Policy then appraises the claims, rule by
// rule, and says of each rule what it expected and what it found. Nothing here
// has a default that accepts: the zero Policy refuses everything, and there are
// no roots but those given.
//
// A folder each has the verification for one technology; attest/snp is that of
// AMD SEV-SNP.
package attest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// SNP is the type of evidence, and the technology, of AMD SEV-SNP.
const SNP = "snp"

// ErrType is wrapped by Verify's error for a type of evidence that it does not
// know.
var ErrType = errors.New("type of evidence not known")

// Evidence is what a TEE gives as proof of itself. Nobody has verified it.
type Evidence struct {
	Type    string // SNP
	Report  []byte // the signed report
	Auxblob []byte // the certificates that came with it
}

// Roots is the roots of trust that the caller pins.
type Roots struct {
	SNP []snp.Root
}

// Claims is what verified evidence proves. It holds for all technologies, but
// for the last field.
type Claims struct {
	Technology string // SNP
	// Simulated is set if the root is one of simulated hardware: the claims then
	// prove nothing, and a Policy refuses them unless it says otherwise.
	Simulated   bool
	Root        string // the pinned root's name
	ReportData  [64]byte
	Measurement []byte
	Debug       bool // the host can read the guest's memory

	SNP *snp.Claims
}

// Verify verifies that evidence is genuine at time now, back to one of roots. It
// returns claims only if it is. Whether they are good enough is for
// Policy.Appraise to say.
func Verify(ev Evidence, roots Roots, now time.Time) (*Claims, error) {
	switch ev.Type {
	case SNP:
		c, err := snp.Verify(ev.Report, ev.Auxblob, roots.SNP, now)
		if err != nil {
			return nil, fmt.Errorf("snp evidence: %w", err)
		}
		return &Claims{
			Technology:  SNP,
			Simulated:   c.Dev,
			Root:        c.Root,
			ReportData:  c.Report.ReportData,
			Measurement: bytes.Clone(c.Report.Measurement[:]),
			Debug:       c.Report.Policy.Debug(),
			SNP:         c,
		}, nil
	}
	return nil, fmt.Errorf("%w: %.32q, must be %q", ErrType, ev.Type, SNP)
}
