package oracles

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	tdxabi "github.com/google/go-tdx-guest/abi"
	tdxpcs "github.com/google/go-tdx-guest/pcs"
	tdxpb "github.com/google/go-tdx-guest/proto/tdx"
	tdx "github.com/google/go-tdx-guest/verify"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// A tdxGetter answers go-tdx-guest's requests from collateral instead of Intel.
// It gives the one TCB info there is, whichever is asked for: whether it fits is
// the library's to find out.
type tdxGetter map[string]tdxAnswer

type tdxAnswer struct {
	header map[string][]string
	body   []byte
}

// newTDXGetter prepares the answers. chain is the quote's.
func newTDXGetter(c attest.Collateral, chain [][]byte, root []byte) tdxGetter {
	root = issuer(c, intelRootName, root)
	answer := func(body []byte, header string, signer []byte) tdxAnswer {
		return tdxAnswer{map[string][]string{header: {url.QueryEscape(string(pemOf(signer, root)))}}, body}
	}
	tcb := issuer(c, intelTCBName)
	return tdxGetter{
		"/tcb?":         answer(first(c.TCBInfos), "Tcb-Info-Issuer-Chain", tcb),
		"/qe/identity":  answer(first(c.QEIdentities), "Sgx-Enclave-Identity-Issuer-Chain", tcb),
		"?ca=platform":  answer(list(c, intelPlatformCA), "Sgx-Pck-Crl-Issuer-Chain", issuer(c, intelPlatformCA, chain...)),
		"?ca=processor": answer(list(c, intelProcessorCA), "Sgx-Pck-Crl-Issuer-Chain", issuer(c, intelProcessorCA, chain...)),
		".der":          answer(list(c, intelRootName), "", nil),
	}
}

func (g tdxGetter) Get(address string) (map[string][]string, []byte, error) {
	for part, a := range g {
		if strings.Contains(address, part) && len(a.body) > 0 {
			return a.header, a.body, nil
		}
	}
	return nil, nil, errors.New("no such collateral")
}

// tdxOptions returns how to ask go-tdx-guest: with revocation if there are the
// two lists that it needs for that.
func tdxOptions(quote []byte, c attest.Collateral, root *x509.Certificate, at time.Time) *tdx.Options {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tdx.Options{
		GetCollateral:    true,
		CheckRevocations: list(c, intelRootName) != nil && (list(c, intelPlatformCA) != nil || list(c, intelProcessorCA) != nil),
		Getter:           newTDXGetter(c, pckChain(quote), root.Raw),
		Now:              at,
		TrustedRoots:     pool,
	}
}

// tdxVerdict asks go-tdx-guest.
func tdxVerdict(quote []byte, c attest.Collateral, root *x509.Certificate, at time.Time) verdict {
	var v verdict
	v.err = caught(func() error {
		parsed, err := tdxabi.QuoteToProto(quote)
		if err != nil {
			return err
		}
		v.claims = tdxClaims(parsed.(*tdxpb.QuoteV4), first(pckChain(quote)))
		return tdx.TdxQuote(parsed, tdxOptions(quote, c, root, at))
	})
	tdxStatus(v)
	return v
}

func tdxClaims(q *tdxpb.QuoteV4, pck []byte) map[string]string {
	td := q.GetTdQuoteBody()
	claims := map[string]string{
		"user data":     fmt.Sprintf("%x", q.GetHeader().GetUserData()),
		"report data":   fmt.Sprintf("%x", td.GetReportData()),
		"MRTD":          fmt.Sprintf("%x", td.GetMrTd()),
		"TEE TCB SVN":   fmt.Sprintf("%x", td.GetTeeTcbSvn()),
		"MRSEAM":        fmt.Sprintf("%x", td.GetMrSeam()),
		"MRSIGNERSEAM":  fmt.Sprintf("%x", td.GetMrSignerSeam()),
		"attributes":    fmt.Sprintf("%#x", binary.LittleEndian.Uint64(td.GetTdAttributes())),
		"XFAM":          fmt.Sprintf("%#x", binary.LittleEndian.Uint64(td.GetXfam())),
		"MRCONFIGID":    fmt.Sprintf("%x", td.GetMrConfigId()),
		"MROWNER":       fmt.Sprintf("%x", td.GetMrOwner()),
		"MROWNERCONFIG": fmt.Sprintf("%x", td.GetMrOwnerConfig()),
		"RTMRs":         fmt.Sprintf("%x", td.GetRtmrs()),
	}
	cert, err := x509.ParseCertificate(pck)
	if err != nil {
		return claims
	}
	if ext, err := tdxpcs.PckCertificateExtensions(cert); err == nil {
		claims["PPID"], claims["FMSPC"], claims["PCE ID"] = ext.PPID, ext.FMSPC, ext.PCEID
		claims["components"], claims["PCE SVN"] = fmt.Sprintf("%x", ext.TCB.CPUSvnComponents), fmt.Sprint(ext.TCB.PCESvn)
		claims["CPU SVN"] = fmt.Sprintf("%x", ext.TCB.CPUSvn)
	}
	return claims
}

var tdxStatusText = regexp.MustCompile(`(QE Identity|TDX Module)?[^"]*TCB Status is not "UpToDate", found "(\w+)"`)

// tdxStatus notes the statuses that the library found. It goes by the module,
// the platform and the QE, until one is not UpToDate.
func tdxStatus(v verdict) {
	if v.err == nil {
		v.claims["platform status"], v.claims["QE status"] = "UpToDate", "UpToDate"
		return
	}
	switch m := tdxStatusText.FindStringSubmatch(v.err.Error()); {
	case m == nil:
	case strings.Contains(v.err.Error(), "QE Identity reported"):
		v.claims["QE status"] = m[2]
	case strings.Contains(v.err.Error(), "TDX Module TCB Status"):
		v.claims["module status"] = m[2]
	default:
		v.claims["platform status"] = m[2]
	}
}

// TestGoTDXGuest compares with github.com/google/go-tdx-guest.
func TestGoTDXGuest(t *testing.T) {
	root, err := x509.ParseCertificate(vector(t, "roots/intel-sgx-root.der"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	r := &record{oracle: goTDXGuest, known: make(map[int]int)}
	dcapCases(t, r, func(quote []byte, c attest.Collateral, at time.Time) verdict {
		return tdxVerdict(quote, c, root, at)
	}, "", func(q dcapQuote) bool { return q.technology == attest.TDX })
	dcapLab(t, r, func(quote []byte, c attest.Collateral, at time.Time) verdict {
		return tdxVerdict(quote, c, l.intel.RootCA, at)
	}, l, "simulated", []teelab.QuoteKind{teelab.TDXv4(), teelab.TDXv5(), teelab.TDX15v5()}, func(labCase) bool { return true })
	r.check(t)
}
