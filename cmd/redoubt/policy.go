package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client/policyfile"
	"github.com/redoubt-tee/redoubt/internal/version"
	"github.com/redoubt-tee/redoubt/wire"
)

func policyCommand(status *int) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Make, check and explain policies: which evidence is good enough",
		Long: `A policy is a TOML file that says which evidence of a Keep is good enough. What it
does not accept is refused; what it leaves open, it leaves open in so many words:
by the word "any", or by a key that begins with allow_.`,
		Example: `  redoubt policy init -o policy.toml
  redoubt policy check policy.toml
  redoubt policy explain policy.toml`,
	}
	c.AddCommand(policyInitCommand(), policyCheckCommand(status), policyExplainCommand())
	return c
}

// files accepts the names of 1 to most files.
func files(most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < 1 || len(args) > most {
			return fmt.Errorf("%d arguments given: expected %s", len(args), c.UseLine())
		}
		return nil
	}
}

func policyInitCommand() *cobra.Command {
	var kinds, measurements []string
	var simulated bool
	var output string
	c := &cobra.Command{
		Use:   "init",
		Short: "Print a strict policy to start from",
		Long: `Print a strict policy to start from, in which each key is explained. It parses as it
is, and refuses all evidence until the lists that are left empty are filled in.

With --simulated it accepts process Keeps of the redoubt-wasmldr found here, whose
evidence is simulated and proves nothing: to develop.`,
		Example: `  redoubt policy init -o policy.toml
  redoubt policy init --simulated -o develop.toml
  redoubt policy init --kind tdx --measurement "firmware 1.2=5f2c…" > policy.toml`,
		Args: cobra.NoArgs,
	}
	c.Flags().StringSliceVar(&kinds, "kind", []string{attest.SNP}, "`kind` of evidence: "+strings.Join(attest.Technologies(), ", ")+" (may be repeated)")
	c.Flags().StringArrayVar(&measurements, "measurement", nil, "accept this measurement, in `[NAME=]HEX` (may be repeated; default with snp that of the redoubt-wasmldr found here)")
	c.Flags().BoolVar(&simulated, "simulated", false, "accept simulated evidence, which proves nothing (to develop)")
	c.Flags().StringVarP(&output, "output", "o", "", "write to this `file`, which must not be there yet (default standard output)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		start := policyfile.Start{Technologies: kinds, Simulated: simulated}
		if len(kinds) > 1 && len(measurements) > 0 {
			return fmt.Errorf("--measurement goes with one --kind, found %s: give one, and join the files", strings.Join(kinds, " and "))
		}
		for _, m := range measurements {
			ref, err := reference(m)
			if err != nil {
				return err
			}
			start.Measurements = append(start.Measurements, ref)
		}
		if slices.Equal(kinds, []string{attest.SNP}) && len(measurements) == 0 {
			digest, err := ownMeasurement()
			switch {
			case err == nil:
				start.Measurements = []attest.Reference{{Name: "redoubt-wasmldr " + version.String(), Digest: digest}}
			case simulated:
				return fmt.Errorf("no --measurement given, and none to be had: %w", err)
			default:
				fmt.Fprintln(c.ErrOrStderr(), "redoubt: no --measurement given, and none to be had, so the list is left empty:", err)
			}
		}
		text, err := policyfile.Template(start)
		var wrong policyfile.Errors
		switch {
		case errors.As(err, &wrong):
			return fmt.Errorf("--measurement: %s", wrong[0].Text)
		case err != nil:
			return fmt.Errorf("--kind: %w", err)
		case output == "":
			_, err = c.OutOrStdout().Write(text)
			return err
		}
		return writeNew(output, text)
	}
	return c
}

// reference reads [NAME=]HEX.
func reference(text string) (attest.Reference, error) {
	at := strings.LastIndexByte(text, '=')
	ref := attest.Reference{Name: text[:max(at, 0)]}
	var err error
	if ref.Digest, err = hex.DecodeString(text[at+1:]); err != nil || len(ref.Digest) == 0 || at == 0 {
		return ref, fmt.Errorf("--measurement %q: expected hexadecimal digits, or NAME=DIGITS", text)
	}
	return ref, nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // others may read which evidence is good enough
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already: expected a new file", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// readPolicy reads a policy file, or standard input for "-".
func readPolicy(c *cobra.Command, path string) (attest.Policy, error) {
	in, name := c.InOrStdin(), "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return attest.Policy{}, err
		}
		defer f.Close()
		in, name = f, path
	}
	data, err := io.ReadAll(io.LimitReader(in, policyfile.MaxSize+1))
	if err != nil {
		return attest.Policy{}, err
	}
	return policyfile.Parse(name, data)
}

// checkedPolicy is what check says of a file.
type checkedPolicy struct {
	File   string            `json:"file"`
	OK     bool              `json:"ok"`
	Errors policyfile.Errors `json:"errors"`
	Notes  []policyfile.Note `json:"notes"`
}

func checkPolicy(c *cobra.Command, path string) checkedPolicy {
	checked := checkedPolicy{File: path, Errors: policyfile.Errors{}, Notes: []policyfile.Note{}}
	p, err := readPolicy(c, path)
	var one *policyfile.Error
	var missing *fs.PathError
	switch {
	case err == nil:
		checked.OK = true
		checked.Notes = append(checked.Notes, policyfile.Notes(p)...)
	case errors.As(err, &checked.Errors):
	case errors.As(err, &one):
		checked.Errors = policyfile.Errors{one}
	case errors.As(err, &missing):
		checked.Errors = policyfile.Errors{{File: path, Text: missing.Err.Error()}}
	default:
		checked.Errors = policyfile.Errors{{File: path, Text: err.Error()}}
	}
	return checked
}

func policyCheckCommand(status *int) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Find mistakes in policies, and what in them is weak",
		Long: `Read policies, and print for each "ok", or all mistakes with their line and column.
Of those without mistakes, warn of what is weak, or can't pass. A FILE "-" is standard
input.

Exit status: 0 if all can be read, with or without warnings; 1 if any can't.`,
		Example: `  redoubt policy check policy.toml
  redoubt policy check --json *.toml
  redoubt policy init | redoubt policy check -`,
		Args: files(1 << 10),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		var all []checkedPolicy
		for _, path := range args {
			checked := checkPolicy(c, path)
			if !checked.OK {
				*status = 1
			}
			all = append(all, checked)
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), all)
		}
		w := c.OutOrStdout()
		for _, checked := range all {
			if checked.OK {
				fmt.Fprintf(w, "%s: ok\n", checked.File)
			}
			for _, e := range checked.Errors {
				text := e.Error()
				if e.Line == 0 { // it could not be read
					text = e.File + ": " + e.Text
				}
				fmt.Fprintln(w, wire.Printable(text))
			}
			printNotes(w, checked.Notes)
		}
		return nil
	}
	return c
}

func printNotes(w io.Writer, notes []policyfile.Note) {
	for _, note := range notes {
		if note.Key == "" {
			fmt.Fprintf(w, "  %s: %s\n", note.Level, note.Text)
		} else {
			fmt.Fprintf(w, "  %s: %s: %s\n", note.Level, note.Key, note.Text)
		}
	}
}

func policyExplainCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain FILE",
		Short: "Say what a policy accepts and refuses",
		Long: `Say what a policy accepts and refuses, for each kind of evidence, in the words of the
rules that enforce it. A FILE "-" is standard input.`,
		Example: `  redoubt policy explain policy.toml
  redoubt policy explain --json policy.toml`,
		Args: files(1),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		p, err := readPolicy(c, args[0])
		if err != nil {
			return err
		}
		all, notes := policyfile.Explain(p), append([]policyfile.Note{}, policyfile.Notes(p)...)
		if asJSON {
			return printJSON(c.OutOrStdout(), struct {
				File         string                   `json:"file"`
				Technologies []policyfile.Explanation `json:"technologies"`
				Notes        []policyfile.Note        `json:"notes"`
			}{args[0], all, notes})
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		var refused []string
		for _, e := range all {
			if e.Refused {
				refused = append(refused, e.Technology)
				continue
			}
			fmt.Fprintf(w, "Evidence of %s is accepted if all of this is as expected:\n", e.Technology)
			for _, rule := range e.Rules {
				fmt.Fprintf(w, "  %s\t%s\n", rule.Rule, wire.Printable(rule.Expected))
			}
			fmt.Fprintln(w)
		}
		if len(refused) > 0 {
			fmt.Fprintf(w, "Evidence of %s is refused: the policy does not have it.\n", strings.Join(refused, ", "))
		}
		printNotes(w, notes)
		return w.Flush()
	}
	return c
}
