package collateral

import (
	"context"
	"fmt"
	"strings"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/dcap"
)

// The headers that have issuer chains. PCCS has some under older names.
var (
	tcbInfoHeaders    = []string{"TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"}
	qeIdentityHeaders = []string{"SGX-Enclave-Identity-Issuer-Chain"}
	pckCRLHeaders     = []string{"SGX-PCK-CRL-Issuer-Chain"}
)

const intelRootName = "Intel SGX Root CA"

// fetchIntel gets what goes with a quote (Intel's provisioning certification
// service, API version 4).
func (f *Fetcher) fetchIntel(ctx context.Context, ev attest.Evidence, r *Result) error {
	pcs, err := baseURL("Intel's certification service", f.PCS, DefaultPCS)
	if err != nil {
		return err
	}
	otherwise := DefaultRootCRL
	if f.PCS != "" {
		otherwise = pcs + "/sgx/certification/v4/rootcacrl"
	}
	root, err := baseURL("the revocation list of Intel's root", f.RootCRL, otherwise)
	if err != nil {
		return err
	}
	quote, err := dcap.ParseQuote(ev.Report)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	tee := strings.ToLower(string(quote.TEE()))
	if tee != ev.Type {
		return fmt.Errorf("%w: it is said to be of type %s, and is a quote of %s", ErrEvidence, ev.Type, tee)
	}
	certs, err := quote.PCKCertificates()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	pck, err := dcap.ParsePCK(certs[0])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	ca := "processor"
	if pck.PlatformCA {
		ca = "platform"
	}
	fmspc := fmt.Sprintf("%x", pck.FMSPC)
	update, andUpdate := "", ""
	if f.Early {
		update, andUpdate = "?update=early", "&update=early"
	}
	id, qe := "SGX", "QE"
	if tee == attest.TDX {
		id, qe = "TDX", "TD_QE"
	}
	issuer := certs[0].Issuer.CommonName
	return f.collect(ctx, r,
		request{
			what: fmt.Sprintf("the TCB info for %s of the FMSPC %s", id, fmspc), url: fmt.Sprintf("%s/%s/certification/v4/tcb?fmspc=%s%s", pcs, tee, fmspc, andUpdate),
			headers: tcbInfoHeaders,
			check:   func(c attest.Collateral) error { return checkSigned(c, tcbInfoKind, id, fmspc) },
		},
		request{
			what: fmt.Sprintf("the QE identity for %s", id), url: fmt.Sprintf("%s/%s/certification/v4/qe/identity%s", pcs, tee, update),
			headers: qeIdentityHeaders,
			check:   func(c attest.Collateral) error { return checkSigned(c, qeIdentityKind, qe, "") },
		},
		request{
			what: "the revocation list of " + issuer, url: fmt.Sprintf("%s/sgx/certification/v4/pckcrl?ca=%s&encoding=der", pcs, ca),
			headers: pckCRLHeaders,
			check:   func(c attest.Collateral) error { return checkList(c, issuer) },
		},
		request{
			what: "the revocation list of " + intelRootName, url: root,
			check: func(c attest.Collateral) error { return checkList(c, intelRootName) },
		},
	)
}

// checkSigned checks that c has one signed object, of this kind and ID and, if
// not empty, FMSPC, and nothing else but certificates.
func checkSigned(c attest.Collateral, kind *signedKind, id, fmspc string) error {
	items, others := c.TCBInfos, c.QEIdentities
	if kind == qeIdentityKind {
		items, others = others, items
	}
	if len(items) != 1 || len(others)+len(c.CRLs) != 0 {
		return fmt.Errorf("expected 1 %s, found %s", kind.what, summary(c))
	}
	h, err := readHeader(kind, items[0])
	if err != nil {
		return err
	}
	switch {
	case h.ID != id:
		return fmt.Errorf("expected a %s with the id %q, found %.32q", kind.what, id, h.ID)
	case fmspc != "" && !strings.EqualFold(h.FMSPC, fmspc):
		return fmt.Errorf("expected a %s for the FMSPC %s, found %.32q", kind.what, fmspc, h.FMSPC)
	case h.NextUpdate.IsZero():
		return fmt.Errorf("the %s has no nextUpdate", kind.what)
	}
	return nil
}
