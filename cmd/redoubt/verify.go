package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/evidence"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/wire"
)

// mediaWorkload is the media type of what redoubt attest saves of a Keep that
// holds a workload: the message with which the Keep answered.
const mediaWorkload = "application/vnd.redoubt.workload-attestation+cbor"

type verifyFlags struct {
	trust             trustFlags
	kind, at          string
	reportData, nonce string
	certs, references []string
	asJSON, asEAR     bool
	earKey            string
}

func verifyCommand(status *int) *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{
		Use:   "verify EVIDENCE --policy FILE [--cert FILE...] [--collateral FILE...]",
		Short: "Verify evidence from a file, without a network",
		Long: `Verify evidence from a file, and appraise it by a policy.

EVIDENCE is a report, quote, token or document as it was captured, a conceptual
message wrapper (CMW), or a certificate or request that carries one; binary, hex or
base64. Certificates and collateral are PEM, DER, Intel's JSON answers, a certificate
table or a bundle, in any number of files; what does not concern the evidence is
passed over. Nothing is fetched, unless --fetch says so.

Without --report-data or --nonce the evidence's report data is shown and not
compared: the evidence may then be old, or made for somebody else. What redoubt
attest saved of a Keep with a workload needs --nonce: nothing else proves which.

Exit status:
    0  genuine, and the policy accepts it
  122  not genuine: malformed, or a signature, a certificate or the like is wrong
  123  genuine, and the policy refuses it
  125  a file can't be read, or the command line is wrong`,
		Example: `  redoubt verify report.bin --cert vcek.der --cert ask.pem --policy policy.toml
  redoubt verify quote.dat --collateral bundle.cbor --policy policy.toml --at 2026-03-20
  redoubt verify evidence.cmw --nonce 5f2c… --policy policy.toml --json
  redoubt verify quote.dat --collateral bundle.cbor --policy policy.toml --ear --ear-key key.pem`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.certs = append(f.certs, args[1:]...) // --cert a.pem b.pem
			if f.kind != "" && !slices.Contains(attest.Technologies(), f.kind) {
				return fmt.Errorf("--kind %s: expected one of %v", f.kind, attest.Technologies())
			}
			v, err := f.verify(c, args[0])
			if err != nil {
				return err
			}
			*status = v.status()
			switch {
			case f.asEAR:
				return f.printEAR(c.OutOrStdout(), v)
			case f.asJSON:
				return printJSON(c.OutOrStdout(), v.json())
			}
			return v.print(c.OutOrStdout())
		},
	}
	f.trust.add(c)
	c.Flags().StringArrayVar(&f.certs, "cert", nil, "`file` of certificates: another name for --collateral (may be repeated, or name several)")
	c.Flags().StringVar(&f.kind, "kind", "", "what the evidence is: snp, tdx, sgx, cca, nitro or tpm (default by its looks)")
	c.Flags().StringVar(&f.at, "at", "", "verify as of this `time`, 2026-03-20 or 2026-03-20T12:00:00Z (default now)")
	c.Flags().StringVar(&f.reportData, "report-data", "", "report data that the evidence must have, in `hex`; shorter is filled with zeros")
	c.Flags().StringVar(&f.nonce, "nonce", "", "nonce that the evidence must answer, in `hex`: that of redoubt attest, or of a Nitro document or TPM quote")
	c.Flags().StringArrayVar(&f.references, "reference", nil, "redoubt-wasmldr `file` that may explain a measurement that is not accepted (may be repeated)")
	c.Flags().BoolVar(&f.asJSON, "json", false, "as JSON")
	c.Flags().BoolVar(&f.asEAR, "ear", false, "as an EAT attestation result (EAR), signed with --ear-key")
	c.Flags().StringVar(&f.earKey, "ear-key", "", "private key that signs the EAR, PEM `file` (P-256, P-384 or Ed25519)")
	c.MarkFlagsMutuallyExclusive("report-data", "nonce")
	c.MarkFlagsMutuallyExclusive("json", "ear")
	c.MarkFlagsRequiredTogether("ear", "ear-key")
	return c
}

// A verdict is what came of verifying evidence.
type verdict struct {
	evidence attest.Evidence
	at       time.Time
	claims   *attest.Claims // nil if the evidence is not genuine
	failure  error          // why it is not
	result   attest.Result
	workload *wire.WorkloadAttestation // of a Keep's answer
	bound    bool                      // the evidence proves what workload says
}

func (v *verdict) accepted() bool { return v.claims != nil && v.result.Err() == nil }

func (v *verdict) status() int {
	switch {
	case v.claims == nil:
		return exitNotGenuine
	case v.result.Err() != nil:
		return exitRefusedEvidence
	}
	return 0
}

// verify does all of the work. An error is of the command line or a file, not of
// the evidence.
func (f *verifyFlags) verify(c *cobra.Command, path string) (*verdict, error) {
	v := &verdict{at: time.Now()}
	var err error
	if f.at != "" {
		if v.at, err = parseTime(f.at); err != nil {
			return nil, fmt.Errorf("--at: %w", err)
		}
	}
	data, err := readInput(path)
	if err != nil {
		return nil, err
	}
	item, err := f.read(data, v)
	if err != nil { // of the evidence, not of reading it
		v.failure = fmt.Errorf("%s: %w", path, err)
		return v, nil
	}
	v.evidence = item.Evidence
	f.trust.collateral = append(f.trust.collateral, f.certs...)
	trust, err := f.trust.load(item.Evidence.Type)
	if err != nil {
		return nil, err
	}
	if trust.Fetch != nil {
		fetched, err := trust.Fetch(c.Context(), v.evidence)
		if err != nil {
			return nil, fmt.Errorf("--fetch: %w", err)
		}
		trust.Collateral = trust.Collateral.Merge(fetched)
	}
	want, err := f.wanted(v)
	if err != nil {
		return nil, err
	}
	if want == nil {
		want = item.ReportData // what the wrapping says that it must be
	}
	trust.Policy.AnyReportData = want == nil
	known, err := references(f.references)
	if err != nil {
		return nil, err
	}
	trust.Policy.Known = append(trust.Policy.Known, known...)

	if v.claims, v.failure = attest.Verify(v.evidence, trust.Collateral, trust.Roots, v.at); v.failure != nil {
		v.failure = withAdvice(v.failure, v.evidence.Type)
		return v, nil
	}
	v.result = trust.Policy.Appraise(v.claims, want)
	if spki := item.PublicKey(); spki != nil && want == nil { // RA-TLS says by itself what it must be
		v.result.Rules = append(v.result.Rules, keyRule(spki, v.claims.ReportData))
	}
	if v.workload != nil {
		v.bound = f.nonce != "" && bytes.Equal(v.claims.ReportData, want)
		v.result.Rules = append(v.result.Rules, v.answerRule(), trust.Policy.AppraiseProfile(string(v.workload.Config.Profile)))
	}
	return v, nil
}

// answerRule is the rule for what a Keep says of its workload and configuration:
// anybody could have written that into the file, unless the report data is over it.
func (v *verdict) answerRule() attest.Rule {
	r := attest.Rule{Name: "Keep's answer", OK: v.bound, Expected: "report data over it and over --nonce", Found: "that"}
	if !v.bound {
		r.Found = "no proof of it"
		r.Reason = "Which workload and configuration the Keep has is only claimed: give the nonce that it answered."
	}
	return r
}

// read recognises the evidence in a file.
func (f *verifyFlags) read(data []byte, v *verdict) (evidence.Item, error) {
	v.evidence.Type = f.kind
	if m, err := cmw.Parse(data); err == nil && m.Media == mediaWorkload {
		v.workload = new(wire.WorkloadAttestation)
		if err := wire.Unmarshal(m.Value, v.workload); err != nil {
			return evidence.Item{}, fmt.Errorf("a Keep's answer: %w", err)
		}
		e := v.workload.Evidence
		if f.kind != "" && f.kind != e.Type {
			return evidence.Item{}, fmt.Errorf("%w: %s, not %s", evidence.ErrKind, e.Type, f.kind)
		}
		return evidence.Item{Evidence: attest.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob}}, nil
	}
	if f.kind == "" {
		return evidence.Parse(data)
	}
	return evidence.ParseAs(data, f.kind)
}

// wanted returns the report data that the evidence must have, or nil if the
// caller has not said.
func (f *verifyFlags) wanted(v *verdict) ([]byte, error) {
	if f.reportData == "" && f.nonce == "" {
		return nil, nil
	}
	name, text := "--report-data", f.reportData
	if f.nonce != "" {
		name, text = "--nonce", f.nonce
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s %q: expected bytes in hex", name, text)
	}
	if f.nonce != "" && v.workload != nil {
		if len(b) != wire.NonceSize {
			return nil, fmt.Errorf("--nonce has %d bytes: a Keep's nonce has %d", len(b), wire.NonceSize)
		}
		rd, err := client.WorkloadReportData(b, v.workload)
		return rd[:], err
	}
	if t := v.evidence.Type; t == attest.Nitro || t == attest.TPM {
		return b, nil
	}
	if len(b) > 64 {
		return nil, fmt.Errorf("%s has %d bytes: report data has 64", name, len(b))
	}
	return append(b, make([]byte, 64-len(b))...), nil
}

// withAdvice says what to do about something that is missing.
func withAdvice(err error, technology string) error {
	keys := technology == attest.CCA || technology == attest.TPM
	switch {
	case errors.Is(err, dcap.ErrCollateral), errors.Is(err, snp.ErrSigner):
		return fmt.Errorf("%w (give it by --collateral FILE, or get it by --fetch)", err)
	case keys && (errors.Is(err, cca.ErrRoot) || errors.Is(err, tpm.ErrRoot)):
		return fmt.Errorf("%w (give the key or authority that you trust by --root FILE)", err)
	}
	return err
}

// keyRule is the rule for evidence in a certificate: its report data must begin
// with a hash of the certificate's key, or it speaks for somebody else's.
func keyRule(spki, reportData []byte) attest.Rule {
	s256, s384, s512 := sha256.Sum256(spki), sha512.Sum384(spki), sha512.Sum512(spki)
	r := attest.Rule{Name: "certificate's key", Expected: "report data that is a hash of it", Found: hex.EncodeToString(reportData)}
	for _, sum := range [][]byte{s256[:], s384[:], s512[:]} {
		padded := append(sum, make([]byte, 64-len(sum))...)
		r.OK = r.OK || bytes.Equal(padded, reportData)
	}
	if !r.OK {
		r.Reason = "The evidence does not speak for this certificate; if its report data is made in another way, give it by --report-data."
	}
	return r
}

// references returns the measurements of files, with their names.
func references(files []string) ([]attest.Reference, error) {
	var all []attest.Reference
	for _, file := range files {
		digest, err := processMeasurement(file)
		if err != nil {
			return nil, fmt.Errorf("--reference: %w", err)
		}
		all = append(all, attest.Reference{Name: "a process Keep of " + file, Digest: digest})
	}
	if own, err := ownMeasurement(); err == nil { // where there is one
		all = append(all, attest.Reference{Name: "a process Keep of the redoubt-wasmldr here", Digest: own})
	}
	return all, nil
}

func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: expected a time like 2026-03-20 or 2026-03-20T12:00:00Z", text)
}

// readInput reads a file, or standard input for "-", of a bounded size.
func readInput(path string) ([]byte, error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	data, err := wire.ReadAll(in, collateral.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// line is the verdict in one line.
func (v *verdict) line() string {
	if v.claims == nil {
		return "refused: not genuine: " + wire.Printable(v.failure.Error())
	}
	var failed, warned []string
	for _, r := range v.result.Rules {
		switch {
		case !r.OK:
			failed = append(failed, r.Name)
		case r.Warning:
			warned = append(warned, r.Name)
		}
	}
	at := v.at.UTC().Format(time.RFC3339)
	switch {
	case len(failed) > 0:
		return fmt.Sprintf("refused: %s evidence, genuine at %s, but by the policy not good enough: %s", v.claims.Technology, at, strings.Join(failed, ", "))
	case len(warned) > 0:
		return fmt.Sprintf("accepted: %s evidence, genuine at %s; the policy allows, and you should know: %s", v.claims.Technology, at, strings.Join(warned, ", "))
	}
	return fmt.Sprintf("accepted: %s evidence, genuine at %s, and the policy is satisfied", v.claims.Technology, at)
}

func (v *verdict) print(out io.Writer) error {
	fmt.Fprintln(out, v.line())
	if v.claims == nil {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nWHAT IT PROVES")
	for _, fact := range facts(v.claims) {
		fmt.Fprintf(w, "  %s\t%s\n", fact.Name, readable(fact.Value))
	}
	if v.bound {
		fmt.Fprintf(w, "  workload\tsha256:%s\n  log profile\t%s\n", v.workload.Workload, v.workload.Config.Profile)
	}
	fmt.Fprintln(w, "\nRULE\t")
	for _, r := range v.result.Rules {
		printRule(w, r)
	}
	return w.Flush()
}

// printRule prints what a rule expected and found, and why that matters.
func printRule(w io.Writer, r attest.Rule) {
	mark := "ok"
	switch {
	case !r.OK:
		mark = "REFUSED"
	case r.Warning:
		mark = "allowed"
	}
	lines := []string{"expected " + readable(r.Expected), "found " + readable(r.Found)}
	if r.Expected == r.Found {
		lines = []string{"found as expected: " + readable(r.Found)}
	}
	if r.Reason != "" {
		lines = append(lines, wire.Printable(r.Reason))
	}
	fmt.Fprintf(w, "  %s\t%s\t%s\n", r.Name, mark, strings.Join(lines, "\n\t\t"))
}

// readable is text for a terminal, with a long row of zeros in a word.
func readable(text string) string {
	if len(text) >= 32 && strings.Trim(text, "0") == "" {
		return fmt.Sprintf("zero (%d bytes)", len(text)/2)
	}
	return wire.Printable(text)
}

// json is what --json shows.
func (v *verdict) json() any {
	out := struct {
		Verdict  string        `json:"verdict"` // accepted, refused or not genuine
		Summary  string        `json:"summary"`
		Kind     string        `json:"kind"`
		At       time.Time     `json:"at"`
		Error    string        `json:"error,omitempty"`
		Facts    []fact        `json:"facts,omitempty"`
		Rules    []attest.Rule `json:"rules,omitempty"`
		Workload string        `json:"workload,omitempty"`
	}{Verdict: "accepted", Summary: v.line(), Kind: v.evidence.Type, At: v.at.UTC(), Rules: v.result.Rules}
	switch {
	case v.claims == nil:
		out.Verdict, out.Error = "not genuine", v.failure.Error()
		return out
	case !v.accepted():
		out.Verdict = "refused"
	}
	out.Facts = facts(v.claims)
	if v.bound {
		out.Workload = v.workload.Workload.String()
	}
	return out
}
