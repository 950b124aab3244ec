package oracles

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/oasisprotocol/oasis-core/go/common/sgx/pcs"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// pcsPolicy allows all that the library lets a policy allow. Collateral of any
// age is good: Redoubt leaves that to its policy too.
var pcsPolicy = &pcs.QuotePolicy{TCBValidityPeriod: 65535, TDX: &pcs.TdxQuotePolicy{}}

// pcsVerdict asks oasis-core.
func pcsVerdict(quote []byte, c attest.Collateral, root []byte, at time.Time) verdict {
	var v verdict
	v.err = caught(func() error {
		var q pcs.Quote
		// The library has a strict form too, that refuses padding. With it, half of the captures would not be compared.
		if _, err := q.UnmarshalBinaryWithTrailing(quote, true); err != nil {
			return err
		}
		bundle, err := pcsBundle(c, pemOf(issuer(c, intelTCBName), issuer(c, intelRootName, root)))
		if err != nil {
			return err
		}
		v.claims = make(map[string]string)
		if sig, ok := q.Signature().(*pcs.QuoteSignatureECDSA_P256); ok {
			pcsPlatform(v.claims, sig, at)
		}
		got, err := q.Verify(pcsPolicy, at, bundle)
		if old := new(pcs.TCBOutOfDateError); errors.As(err, &old) {
			pcsStatus(v.claims, old)
		}
		if err != nil {
			return err
		}
		v.claims["report data"] = fmt.Sprintf("%x", got.ReportData)
		v.claims["QE status"] = "UpToDate"
		v.claims["hardening only"] = "true"
		if q.Header().TeeType() == pcs.TeeTypeSGX { // for TDX it has a hash of several fields
			v.claims["MRENCLAVE"] = fmt.Sprintf("%x", got.Identity.MrEnclave[:])
			v.claims["MRSIGNER"] = fmt.Sprintf("%x", got.Identity.MrSigner[:])
		}
		return nil
	})
	return v
}

// pcsBundle returns collateral in the library's form.
func pcsBundle(c attest.Collateral, chain []byte) (*pcs.TCBBundle, error) {
	bundle := &pcs.TCBBundle{Certificates: chain}
	if len(c.TCBInfos) > 0 {
		if err := json.Unmarshal(c.TCBInfos[0], &bundle.TCBInfo); err != nil {
			return nil, err
		}
	}
	if len(c.QEIdentities) > 0 {
		if err := json.Unmarshal(c.QEIdentities[0], &bundle.QEIdentity); err != nil {
			return nil, err
		}
	}
	return bundle, nil
}

func pcsPlatform(claims map[string]string, sig *pcs.QuoteSignatureECDSA_P256, at time.Time) {
	pck, err := sig.VerifyPCK(at)
	if err != nil {
		return
	}
	claims["FMSPC"] = fmt.Sprintf("%x", pck.FMSPC)
	claims["components"] = fmt.Sprintf("%x", pcsBytes(pck.TCBCompSVN))
	claims["PCE SVN"] = fmt.Sprint(pck.PCESVN)
	claims["CPU SVN"] = fmt.Sprintf("%x", pck.CPUSVN)
}

// pcsBytes returns SVNs as the bytes that they are in Redoubt and the other oracle.
func pcsBytes(svns [16]int32) []byte {
	var b []byte
	for _, svn := range svns {
		b = append(b, byte(svn))
	}
	return b
}

// pcsStatus notes the status that the library refused.
func pcsStatus(claims map[string]string, old *pcs.TCBOutOfDateError) {
	if old.Kind == pcs.TCBKindPlatform {
		claims["platform status"] = old.Status.String()
	}
	// The other kind is the module or the QE, and the library does not say which.
}

// TestOasisPCS compares with github.com/oasisprotocol/oasis-core/go/common/sgx/pcs.
// It takes, by a global variable, either what is being debugged or the rest; and
// its root, Intel's, is one too. So no other test may run beside this one.
func TestOasisPCS(t *testing.T) {
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	r := &record{oracle: oasisPCS, known: make(map[int]int)}
	for _, debug := range []bool{false, true} {
		prefix := ""
		if debug {
			prefix = "debug allowed: "
			pcs.SetAllowDebugEnclaves()
			defer pcs.UnsetAllowDebugEnclaves()
		}
		dcapCases(t, r, pcsOracle(vector(t, "roots/intel-sgx-root.der")), prefix, func(q dcapQuote) bool { return !debug || q.debug })

		intel := pcs.IntelTrustRoots
		pcs.IntelTrustRoots = x509.NewCertPool()
		pcs.IntelTrustRoots.AddCert(l.intel.RootCA)
		dcapLab(t, r, pcsOracle(l.intel.RootCA.Raw), l, prefix+"simulated", teelab.QuoteKinds(), func(c labCase) bool { return !debug || c.debug })
		pcs.IntelTrustRoots = intel
	}
	r.check(t)
}

func pcsOracle(root []byte) dcapOracle {
	return func(quote []byte, c attest.Collateral, at time.Time) verdict { return pcsVerdict(quote, c, root, at) }
}
