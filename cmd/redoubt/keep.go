package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/dirs"
	"github.com/redoubt-tee/redoubt/internal/version"
	"github.com/redoubt-tee/redoubt/wire"
)

func command(status *int) *cobra.Command {
	root := &cobra.Command{
		Use:   "redoubt",
		Short: "Run WebAssembly programs on machines that you don't trust",
		Long: `Redoubt runs a WebAssembly program inside a Trusted Execution Environment (a Keep)
on a machine that its owner does not trust, and has the Keep prove what it is before
the program, its data or its secrets are handed over.`,
		Example: `  redoubt run app.wasm                  in a Keep on this machine, to develop
  redoubt deploy app.wasm --host URL    in a Keep on a host
  redoubt keep ls                       the Keeps of a host`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(status), deployCommand(status), keepCommand(), platformCommand(),
		attestCommand(), verifyCommand(status), collateralCommand(), policyCommand(status), measureCommand(status), &cobra.Command{
			Use:   "version",
			Short: "Print the version",
			Args:  cobra.NoArgs,
			Run: func(c *cobra.Command, _ []string) {
				fmt.Fprintf(c.OutOrStdout(), "redoubt %s, protocol %d\n", version.String(), wire.Version)
			},
		})
	return root
}

// hostFlags say which keepmgr to talk to.
type hostFlags struct {
	address       string
	ca, cert, key string
}

func (f *hostFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.address, "host", "unix://"+dirs.Socket(), "keepmgr's `URL`: unix:///PATH or https://HOST:PORT")
	c.Flags().StringVar(&f.ca, "host-ca", "", "CA certificates that vouch for the host, PEM `file` (https; default the system's)")
	c.Flags().StringVar(&f.cert, "cert", "", "certificate to show to the host, PEM `file` (https)")
	c.Flags().StringVar(&f.key, "key", "", "its private key, PEM `file` (https)")
}

func (f *hostFlags) open() (*client.Host, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--host-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--host-ca %s: no certificate in it; expected PEM", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("--cert %s, --key %s: %w", f.cert, f.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return client.Open(f.address, config)
}

// keepVerb makes a command below "redoubt keep". do gets the host and the IDs
// of the Keeps named on the command line, of which there are at least least.
func keepVerb(c *cobra.Command, least, most int, do func(context.Context, *client.Host, []string) error) *cobra.Command {
	var host hostFlags
	host.add(c)
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("%d arguments given: expected %s", len(args), c.UseLine())
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		h, err := host.open()
		if err != nil {
			return err
		}
		defer h.Close()
		ids := make([]string, len(args))
		for i, arg := range args {
			if ids[i], err = findKeep(c.Context(), h, arg); err != nil {
				return err
			}
		}
		return do(c.Context(), h, ids)
	}
	return c
}

// findKeep returns the ID of the one Keep whose ID begins with prefix.
func findKeep(ctx context.Context, h *client.Host, prefix string) (string, error) {
	if wire.ValidateID(prefix) == nil {
		return prefix, nil
	}
	keeps, err := h.List(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, k := range keeps {
		if strings.HasPrefix(k.ID, prefix) && prefix != "" {
			found = append(found, k.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no Keep %q on host %s: redoubt keep ls lists them", prefix, h.Address())
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%q is the beginning of %d Keeps' IDs (%s): give more of it", prefix, len(found), strings.Join(found, ", "))
}

func keepCommand() *cobra.Command {
	keep := &cobra.Command{
		Use:   "keep",
		Short: "Look at and after the Keeps of a host",
		Args:  cobra.NoArgs, // or an unknown verb would be no error
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
		Example: `  redoubt keep ls
  redoubt keep inspect abcd
  redoubt keep wait --for ended abcd
  redoubt keep stop abcd
  redoubt keep attest --allow-simulated abcd`,
	}
	keep.AddCommand(lsCommand(), inspectCommand(), stopCommand(), waitCommand(), keepAttestCommand())
	return keep
}

func lsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "ls", Short: "List the Keeps of a host", Example: "  redoubt keep ls --json"}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return keepVerb(c, 0, 0, func(ctx context.Context, h *client.Host, _ []string) error {
		keeps, err := h.List(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), wire.KeepList{Keeps: keeps})
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KEEP\tKIND\tSTATE\tMEMORY\tAGE\tREASON")
		for _, k := range keeps {
			memory := size(k.Memory)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Kind, k.State, &memory, age(k.Created), k.Reason)
		}
		return w.Flush()
	})
}

func age(created uint64) time.Duration {
	return time.Since(time.UnixMilli(int64(min(created, 1<<62)))).Round(time.Second)
}

func inspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "inspect KEEP", Short: "Show what the host says about a Keep",
		Long:    "Show what the host says about a Keep. Nothing of it is proven: redoubt keep attest is.",
		Example: "  redoubt keep inspect abcd",
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return keepVerb(c, 1, 1, func(ctx context.Context, h *client.Host, ids []string) error {
		info, err := h.Inspect(ctx, ids[0])
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), info)
		}
		memory := size(info.Memory)
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "keep\t%s\nkind\t%s\nstate\t%s\nreason\t%s\ncreated\t%s\nmemory\t%s\n", info.ID, info.Kind, info.State,
			info.Reason, time.UnixMilli(int64(min(info.Created, 1<<62))).UTC().Format(time.RFC3339), &memory)
		printChecks(w, "", info.Sandbox)
		return w.Flush()
	})
}

func printChecks(w io.Writer, indent string, checks []wire.Check) {
	for _, check := range checks {
		mark := "yes"
		if !check.OK {
			mark = "NO"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\n", indent, check.Name, mark, check.Found)
		if !check.OK && check.Advice != "" {
			fmt.Fprintf(w, "%s\t\twhat to do: %s\n", indent, check.Advice)
		}
	}
}

func stopCommand() *cobra.Command {
	c := &cobra.Command{Use: "stop KEEP...", Short: "End Keeps, and their workloads", Example: "  redoubt keep stop abcd efgh"}
	return keepVerb(c, 1, 1<<10, func(ctx context.Context, h *client.Host, ids []string) error {
		var errs []error
		for _, id := range ids {
			if err := h.Stop(ctx, id); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", id, err))
			}
		}
		return errors.Join(errs...)
	})
}

func waitCommand() *cobra.Command {
	var state string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "wait KEEP", Short: "Wait until a Keep has come so far",
		Long:    "Wait until a Keep is in a state or past it, and print the state that it is in.",
		Example: "  redoubt keep wait --for running --timeout 10s abcd",
	}
	c.Flags().StringVar(&state, "for", string(wire.StateEnded), "`state`: ready, provisioned, loading, loaded, running or ended")
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after this `time` (default never)")
	return keepVerb(c, 1, 1, func(ctx context.Context, h *client.Host, ids []string) error {
		want, err := wire.ParseState(state)
		if err != nil {
			return fmt.Errorf("--for: %w", err)
		}
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("Keep %s is not %s after %v", ids[0], state, timeout))
			defer cancel()
		}
		info, err := h.Wait(ctx, ids[0], want)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), info.State)
		if info.State == wire.StateFailed {
			return fmt.Errorf("Keep %s failed: %s", info.ID, info.Reason)
		}
		return nil
	})
}

func keepAttestCommand() *cobra.Command {
	var trust keepFlags
	var nonceHex, want string
	var asJSON bool
	c := &cobra.Command{
		Use:   "attest KEEP",
		Short: "Have a Keep prove what it runs",
		Long: `Have a Keep that holds a workload prove what it is, which workload it runs and under
which configuration. Anybody may ask; who deployed the workload does not matter.`,
		Example: `  redoubt keep attest --allow-simulated abcd
  redoubt keep attest --workload "$(sha256sum < app.wasm | cut -d' ' -f1)" --policy policy.toml abcd`,
	}
	trust.add(c)
	c.Flags().StringVar(&nonceHex, "nonce", "", "32 bytes of your own choice in `hex`, that nobody has used before (default random)")
	c.Flags().StringVar(&want, "workload", "", "SHA-256 of the workload that it must run, in `hex` (default any, and shown)")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return keepVerb(c, 1, 1, func(ctx context.Context, h *client.Host, ids []string) error {
		nonce, err := parseNonce(nonceHex)
		if err != nil {
			return err
		}
		if digest, err := hex.DecodeString(want); want != "" && (err != nil || len(digest) != len(wire.Digest{})) {
			return fmt.Errorf("--workload %q: expected %d hexadecimal digits", want, 2*len(wire.Digest{}))
		}
		a, err := trust.attest(ctx, h, ids[0], nonce)
		if err != nil {
			return err
		}
		if want != "" {
			a.Appraisal.Rules = append(a.Appraisal.Rules, attest.Rule{
				Name: "workload", OK: strings.EqualFold(want, a.Workload.String()), Expected: want, Found: a.Workload.String(),
			})
			if err := a.Appraisal.Err(); err != nil {
				return err
			}
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), struct {
				Keep     string             `json:"keep"`
				Nonce    string             `json:"nonce"`
				Workload wire.Digest        `json:"workload"`
				Config   wire.Configuration `json:"configuration"`
				Evidence evidenceJSON       `json:"evidence"`
			}{ids[0], hex.EncodeToString(nonce), a.Workload, a.Config, newEvidenceJSON(&a.Claims, &a.Appraisal)})
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		memory := size(a.Config.Limits.Memory)
		fmt.Fprintf(w, "keep\t%s\nworkload\tsha256:%s\nlog profile\t%s\nmemory\t%s\nwall time\t%v\ncapabilities\t%v\nevidence\t%s, root %q\n",
			ids[0], a.Workload, a.Config.Profile, &memory, time.Duration(a.Config.Limits.WallTime)*time.Millisecond,
			a.Config.Capabilities, a.Claims.Technology, a.Claims.Root)
		for _, rule := range a.Appraisal.Rules {
			mark := "ok"
			if rule.Warning {
				mark = "allowed"
			}
			fmt.Fprintf(w, "rule %s\t%s\tfound %s\n", rule.Name, mark, rule.Found)
		}
		if a.Claims.Simulated {
			fmt.Fprintln(w, "simulated\tyes: this proves nothing")
		}
		return w.Flush()
	})
}

func platformCommand() *cobra.Command {
	var host hostFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "platform",
		Short: "Show which kinds of Keep a host can run, and why not the others",
		Example: `  redoubt platform                 this machine
  redoubt platform --host URL      another`,
		Args: cobra.NoArgs,
	}
	host.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		h, done, err := platformHost(c, &host)
		if err != nil {
			return err
		}
		defer done()
		p, err := h.Platform(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), p)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "host\t%s, release %s\n", h.Address(), p.Release)
		for _, k := range p.Kinds {
			verdict := "can't run"
			if k.Available {
				verdict = "can run"
			}
			fmt.Fprintf(w, "%s\t%s\n", k.Kind, verdict)
			printChecks(w, "  ", k.Checks)
		}
		return w.Flush()
	}
	return c
}

// platformHost is the host that was named, or this machine.
func platformHost(c *cobra.Command, f *hostFlags) (*client.Host, func(), error) {
	if !c.Flags().Changed("host") {
		return embedded()
	}
	h, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	return h, h.Close, nil
}
