package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/wire"
)

// workloadFlags are those of run and deploy.
type workloadFlags struct {
	env     []string
	memory  size
	timeout time.Duration
	profile string
	kind    string
	steps   string
	quiet   bool
	asJSON  bool
}

func (f *workloadFlags) add(c *cobra.Command) {
	c.Flags().SetInterspersed(false) // see workloadArgs
	f.memory = 1 << 30
	c.Flags().StringArrayVarP(&f.env, "env", "e", nil, "environment entry for the workload: `KEY=VALUE`, or KEY to hand on this process's (may be repeated)")
	c.Flags().Var(&f.memory, "memory", "most memory for the workload, `size` like 64MiB or 1GiB")
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "end the workload after this `time`, like 90s (default no limit)")
	c.Flags().StringVar(&f.profile, "profile", string(wire.Production), "log profile: production, staging or development (carried and attested; this release tells the host no more under any of them)")
	c.Flags().StringVar(&f.kind, "keep", string(wire.KindProcess), "kind of Keep")
	c.Flags().StringVar(&f.steps, "steps", "auto", "show the ten steps on standard error: auto (on a terminal), always or never")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "write nothing but the workload's output and errors")
	c.Flags().BoolVar(&f.asJSON, "json", false, "when the workload has ended, write what was proved and how it ended as JSON on standard error")
}

// aWorkload says what is missing on a command line without a workload.
func aWorkload(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no workload given: expected %s", c.UseLine())
	}
	return nil
}

// workloadArgs parses the flags that stand behind the workload, and returns the
// arguments that are the workload's: those behind "--", or from the first one on
// that is no flag.
func workloadArgs(c *cobra.Command, args []string) ([]string, error) {
	if err := c.Flags().Parse(args); err != nil {
		return nil, fmt.Errorf("%w; the workload's own flags stand after --", err)
	}
	if c.Flags().Changed("help") {
		return nil, pflag.ErrHelp
	}
	return c.Flags().Args(), nil
}

// deployment reads the workload and makes what does not depend on the host.
func (f *workloadFlags) deployment(c *cobra.Command, args []string) (*client.Deployment, error) {
	path := args[0]
	args, err := workloadArgs(c, args[1:])
	if err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	module, err := readWorkload(path)
	if err != nil {
		return nil, err
	}
	d := &client.Deployment{
		Kind:    wire.Kind(f.kind),
		Module:  module,
		Args:    append([]string{filepath.Base(path)}, args...),
		Profile: wire.Profile(f.profile),
		Limits:  wire.Limits{Memory: uint64(f.memory), WallTime: uint64(f.timeout.Milliseconds())},
		Stdin:   c.InOrStdin(), Stdout: c.OutOrStdout(), Stderr: c.ErrOrStderr(),
	}
	for _, entry := range f.env {
		if entry == "" || entry[0] == '=' {
			return nil, fmt.Errorf("--env %s: there is no key; expected KEY=VALUE", entry)
		}
		if !strings.Contains(entry, "=") {
			value, ok := os.LookupEnv(entry)
			if !ok {
				return nil, fmt.Errorf("--env %s: not set here; expected KEY=VALUE, or the KEY of an entry that is set", entry)
			}
			entry += "=" + value
		}
		d.Env = append(d.Env, entry)
	}
	show, err := f.showSteps(c.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	d.OnStep = show
	return d, nil
}

// check reports the first flag whose value can't be meant.
func (f *workloadFlags) check() error {
	if f.timeout < 0 || f.timeout > 0 && f.timeout < time.Millisecond {
		return fmt.Errorf("--timeout %v: must be at least 1ms", f.timeout)
	}
	if !slices.Contains(wire.Kinds(), wire.Kind(f.kind)) {
		return fmt.Errorf("--keep %s: expected one of %v", f.kind, wire.Kinds())
	}
	if !slices.Contains(wire.Profiles(), wire.Profile(f.profile)) {
		return fmt.Errorf("--profile %s: expected one of %v", f.profile, wire.Profiles())
	}
	return nil
}

// deploy deploys d and settles the exit status.
func (f *workloadFlags) deploy(ctx context.Context, c *cobra.Command, host *client.Host, d *client.Deployment, status *int) error {
	result, err := client.Deploy(ctx, host, d)
	if err != nil {
		return err
	}
	if f.asJSON {
		if err := printJSON(c.ErrOrStderr(), resultJSON(result)); err != nil {
			return err
		}
	}
	*status = outcomeStatus(ctx, c.ErrOrStderr(), &result.Outcome)
	return nil
}

// resultJSON is what --json shows of a deployment.
func resultJSON(r *client.Result) any {
	return struct {
		Keep     wire.KeepInfo `json:"keep"`
		Outcome  wire.Outcome  `json:"outcome"`
		Workload wire.Digest   `json:"workload"`
		Config   wire.Digest   `json:"configuration"`
		Evidence evidenceJSON  `json:"evidence"`
	}{r.Keep, r.Outcome, r.Workload, r.Config, newEvidenceJSON(&r.Claims, &r.Appraisal)}
}

// evidenceJSON is what --json shows of appraised evidence.
type evidenceJSON struct {
	Technology  string        `json:"technology"`
	Root        string        `json:"root"`
	Simulated   bool          `json:"simulated"`
	Measurement string        `json:"measurement"`
	Rules       []attest.Rule `json:"rules"`
}

func newEvidenceJSON(c *attest.Claims, r *attest.Result) evidenceJSON {
	return evidenceJSON{c.Technology, c.Root, c.Simulated, hex.EncodeToString(c.Measurement), r.Rules}
}

func deployCommand(status *int) *cobra.Command {
	var workload workloadFlags
	var keep keepFlags
	var host hostFlags
	c := &cobra.Command{
		Use:   "deploy APP.wasm [flags] [--] [ARGS...]",
		Short: "Run a workload in a Keep on a host",
		Long: `Run a WebAssembly program in a Keep on a host that need not be trusted.

The host's keepmgr makes a Keep; the Keep proves what it is; only if that is good
enough are the program and its arguments sent, straight into the Keep. Standard
input, output and error are the program's.

` + exitHelp,
		Example: `  redoubt deploy app.wasm --host unix:///run/redoubt/keepmgr.sock --allow-simulated
  redoubt deploy --host https://host.example:7443 --host-ca ca.pem --cert me.pem --key me.key \
      --policy policy.toml app.wasm -- --input - < data.csv`,
		Args: aWorkload,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := workload.deployment(c, args)
			if err != nil {
				return err
			}
			h, err := host.open()
			if err != nil {
				return err
			}
			defer h.Close()
			trust, err := keep.trust(d.Kind, d.Profile)
			if err != nil {
				return err
			}
			d.Trust = *trust
			if d.Policy.AllowSimulated && !workload.quiet {
				fmt.Fprintln(c.ErrOrStderr(), "redoubt: simulated evidence is accepted: nothing protects the workload from that host")
			}
			return workload.deploy(c.Context(), c, h, d, status)
		},
	}
	workload.add(c)
	keep.add(c)
	host.add(c)
	return c
}

// size is a flag for a number of bytes.
type size uint64

var units = []struct {
	suffix string
	bytes  uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

func (s *size) Set(text string) error {
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.suffix); ok {
			n, err := strconv.ParseUint(number, 10, 40)
			if err != nil {
				break
			}
			*s = size(n * u.bytes)
			return (&wire.CreateRequest{Kind: wire.KindProcess, Memory: uint64(*s)}).Valid()
		}
	}
	return errors.New("expected a whole number of bytes, KiB, MiB or GiB, like 64MiB")
}

func (s *size) String() string {
	for _, u := range []int{2, 1, 0} {
		if n := uint64(*s); n > 0 && n%units[u].bytes == 0 {
			return fmt.Sprint(n/units[u].bytes, units[u].suffix)
		}
	}
	return fmt.Sprint(uint64(*s))
}

func (*size) Type() string { return "size" }
