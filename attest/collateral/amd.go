package collateral

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// fetchSNP gets what goes with an SEV-SNP report (VCEK specification 57230,
// chapter 4).
func (f *Fetcher) fetchSNP(ctx context.Context, ev attest.Evidence, r *Result) error {
	kds, err := baseURL("AMD's key server", f.KDS, DefaultKDS)
	if err != nil {
		return err
	}
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	if report.MaskChipKey || report.SigningKey != snp.VCEK && report.SigningKey != snp.VLEK {
		return fmt.Errorf("%w: the report is not signed", ErrEvidence)
	}
	table := new(snp.CertTable)
	if len(ev.Auxblob) > 0 {
		if table, err = snp.ParseCertTable(ev.Auxblob); err != nil {
			return fmt.Errorf("%w: %w", ErrEvidence, err)
		}
	}
	product, err := f.fetchEndorsement(ctx, kds, report, table, r)
	if product == "" || err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	service, ca := "vcek", "SEV-"+string(product)
	if report.SigningKey == snp.VLEK {
		service, ca = "vlek", "SEV-VLEK-"+string(product)
	}
	ark := "ARK-" + string(product)
	path := fmt.Sprintf("%s/%s/v1/%s/", kds, service, product)
	var reqs []request
	if table.ASK == nil || table.ASK.Subject.CommonName != ca {
		reqs = append(reqs, request{
			what: fmt.Sprintf("the certificates %s and %s", ca, ark), url: path + "cert_chain",
			check: func(c attest.Collateral) error { return checkChain(c, ca, ark) },
		})
	}
	reqs = append(reqs, request{
		what: "the revocation list of " + ark, url: path + "crl",
		check: func(c attest.Collateral) error { return checkList(c, ark) },
	})
	return errors.Join(err, f.collect(ctx, r, reqs...))
}

// fetchEndorsement gets the VCEK, if the table does not have one that fits, and
// returns the product, or none if it can't be known.
func (f *Fetcher) fetchEndorsement(ctx context.Context, kds string, report *snp.Report, table *snp.CertTable, r *Result) (snp.Product, error) {
	products := []snp.Product{snp.Milan, snp.Genoa, snp.Turin} // a report of version 2 does not say
	if report.Version >= 3 {
		product, err := report.CPUID.Product()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrEvidence, err)
		}
		products = []snp.Product{product}
	}
	for _, cert := range []*x509.Certificate{table.VCEK, table.VLEK} {
		if cert == nil {
			continue
		}
		e, err := snp.ParseEndorsement(cert)
		if err == nil && slices.Contains(products, e.Product) && checkEndorsement(e, report, e.Product) == nil {
			return e.Product, nil
		}
	}
	one := snp.Product("")
	if len(products) == 1 {
		one = products[0]
	}
	switch {
	case report.SigningKey == snp.VLEK:
		return one, fmt.Errorf("%w: the report is signed by a VLEK, which comes without one that fits; cloud providers give VLEKs to their guests: give it as a file", ErrEvidence)
	case report.ChipID == [64]byte{}:
		return one, fmt.Errorf("%w: the report's chip ID is masked, and it comes without a VCEK that fits: give the VCEK as a file", ErrEvidence)
	}
	var errs []error
	for _, product := range products {
		req, ok := vcekRequest(kds, report, product)
		if !ok {
			continue
		}
		e, err := f.get(ctx, req)
		if err == nil {
			r.add(e)
			return product, nil
		}
		errs = append(errs, err)
		// Only an answer that the chip is not known says that the product may be another.
		var fail *failure
		unknown := errors.As(err, &fail) && (fail.code == http.StatusNotFound || fail.code == http.StatusBadRequest) || errors.Is(err, ErrOffline)
		if !unknown {
			break
		}
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%w: the report's chip ID or TCB is not one of a %v", ErrEvidence, products))
	}
	return one, errors.Join(errs...)
}

// vcekRequest is for the VCEK of the report's chip at its reported TCB, or false
// if the report can't be of product.
func vcekRequest(kds string, report *snp.Report, product snp.Product) (request, bool) {
	tcb, err := report.ReportedTCB.Decode(product)
	if err != nil {
		return request{}, false
	}
	id, first := report.ChipID[:], ""
	if product == snp.Turin {
		id, first = report.ChipID[:8], fmt.Sprintf("fmcSPL=%02d&", tcb.FMC)
	}
	if !bytes.Equal(bytes.TrimRight(report.ChipID[:], "\x00"), bytes.TrimRight(id, "\x00")) {
		return request{}, false
	}
	return request{
		what: fmt.Sprintf("the VCEK of a %s", product),
		url: fmt.Sprintf("%s/vcek/v1/%s/%x?%sblSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d",
			kds, product, id, first, tcb.Bootloader, tcb.TEE, tcb.SNP, tcb.Microcode),
		check: func(c attest.Collateral) error {
			certs, err := onlyCertificates(c, 1)
			if err != nil {
				return err
			}
			e, err := snp.ParseEndorsement(certs[0])
			if err != nil {
				return err
			}
			return checkEndorsement(e, report, product)
		},
	}, true
}

// checkEndorsement checks that a VCEK or VLEK is for the report.
func checkEndorsement(e *snp.Endorsement, report *snp.Report, product snp.Product) error {
	if e.Signer != report.SigningKey {
		return fmt.Errorf("a %v, expected a %v", e.Signer, report.SigningKey)
	}
	if e.Product != product {
		return fmt.Errorf("a %v of a %s, expected one of a %s", e.Signer, e.Name, product)
	}
	tcb, err := report.ReportedTCB.Decode(product)
	if err != nil {
		return err
	}
	if e.TCB != tcb {
		return fmt.Errorf("a %v for %v, expected one for %v", e.Signer, e.TCB, tcb)
	}
	if id := report.ChipID[:len(e.HWID)]; e.Signer == snp.VCEK && report.ChipID != [64]byte{} && !bytes.Equal(e.HWID, id) {
		return fmt.Errorf("a VCEK of the chip %x, expected %x", e.HWID, id)
	}
	return nil
}

// onlyCertificates returns c's certificates, of which there must be n and
// nothing else.
func onlyCertificates(c attest.Collateral, n int) ([]*x509.Certificate, error) {
	if len(c.Certificates) != n || len(c.CRLs)+len(c.TCBInfos)+len(c.QEIdentities) != 0 {
		return nil, fmt.Errorf("expected %d certificates and nothing else, found %s", n, summary(c))
	}
	var certs []*x509.Certificate
	for _, der := range c.Certificates {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// checkChain checks that c is certificates of these common names.
func checkChain(c attest.Collateral, names ...string) error {
	certs, err := onlyCertificates(c, len(names))
	if err != nil {
		return err
	}
	var found []string
	for _, cert := range certs {
		found = append(found, cert.Subject.CommonName)
	}
	slices.Sort(found)
	slices.Sort(names)
	if !slices.Equal(found, names) {
		return fmt.Errorf("expected the certificates %q, found %q", names, found)
	}
	return nil
}

// checkList checks that c has one revocation list, of this issuer, and nothing
// else but certificates.
func checkList(c attest.Collateral, issuer string) error {
	if len(c.CRLs) != 1 || len(c.TCBInfos)+len(c.QEIdentities) != 0 {
		return fmt.Errorf("expected 1 revocation list, found %s", summary(c))
	}
	crl, err := x509.ParseRevocationList(c.CRLs[0])
	if err != nil {
		return err
	}
	if crl.Issuer.CommonName != issuer {
		return fmt.Errorf("expected the revocation list of %q, found that of %q", issuer, crl.Issuer.CommonName)
	}
	if crl.NextUpdate.IsZero() {
		return fmt.Errorf("the revocation list of %q does not say until when it holds", issuer)
	}
	return nil
}

// summary counts what c has, for people.
func summary(c attest.Collateral) string {
	var parts []string
	for _, p := range []struct {
		n    int
		name string
	}{{len(c.Certificates), "certificates"}, {len(c.CRLs), "revocation lists"}, {len(c.TCBInfos), "TCB infos"}, {len(c.QEIdentities), "QE identities"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.name))
		}
	}
	return or(strings.Join(parts, " and "), "nothing")
}
