package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/nitro"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/client/policyfile"
	"github.com/redoubt-tee/redoubt/internal/dirs"
	"github.com/redoubt-tee/redoubt/measure"
	"github.com/redoubt-tee/redoubt/wire"
)

// trustFlags say which evidence is good enough, and what it is verified with.
type trustFlags struct {
	policy     string
	collateral []string
	roots      []string
	fetch      bool
	fetchFlags
	notices  io.Writer
	policyID string // names the policy by its content, once it is loaded
}

func (f *trustFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.policy, "policy", "", "policy `file` that says which evidence is good enough (see redoubt policy)")
	c.Flags().StringArrayVar(&f.collateral, "collateral", nil, "`file` of certificates, revocation lists, TCB info, QE identity, or a bundle of them (may be repeated)")
	c.Flags().StringArrayVar(&f.roots, "root", nil, "`file` of a root beside the manufacturers': of simulated hardware (default this user's own), a CCA platform's key, a TPM's key or authority (may be repeated)")
	c.Flags().BoolVar(&f.fetch, "fetch", false, "fetch the collateral that is missing from AMD or Intel, and keep it")
	f.fetchFlags.add(c)
	f.notices = c.ErrOrStderr()
}

// load reads the files, for evidence of one technology.
func (f *trustFlags) load(technology string) (*client.Trust, error) {
	trust := &client.Trust{Roots: attest.VendorRoots()}
	if f.policy != "" {
		data, err := readInput(f.policy)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		if trust.Policy, err = policyfile.Parse(f.policy, data); err != nil {
			return nil, err
		}
		named, err := trust.Policy.Roots()
		if err != nil {
			return nil, err
		}
		trust.Roots = trust.Roots.Merge(named)
		f.policyID = fmt.Sprintf("urn:redoubt:policy:sha256:%x", sha256.Sum256(data))
	}
	var err error
	if trust.Collateral, err = readCollateral(f.collateral); err != nil {
		return nil, fmt.Errorf("--collateral: %w", err)
	}
	for _, path := range f.roots {
		data, err := readInput(path)
		if err != nil {
			return nil, fmt.Errorf("--root: %w", err)
		}
		root, err := parseRoot(technology, data)
		if err != nil {
			return nil, fmt.Errorf("--root %s: %w", path, err)
		}
		trust.Roots = trust.Roots.Merge(root)
	}
	if len(f.roots) == 0 && technology == attest.SNP {
		own, err := ownRoot()
		if err != nil {
			return nil, err
		}
		trust.Roots = trust.Roots.Merge(own)
	}
	if f.fetch {
		trust.Fetch = func(ctx context.Context, ev attest.Evidence) (attest.Collateral, error) {
			bundle, err := f.fetchFlags.fetch(ctx, f.notices, ev)
			if err != nil { // what is there may do: verification decides
				fmt.Fprintln(f.notices, "redoubt: not all collateral could be fetched:", wire.Printable(err.Error()))
			}
			return bundle.Collateral, nil
		}
	}
	return trust, nil
}

// parseRoot reads a root of trust of one technology.
func parseRoot(technology string, data []byte) (roots attest.Roots, err error) {
	switch technology {
	case attest.SNP:
		roots.SNP = make([]snp.Root, 1)
		roots.SNP[0], err = snp.ParseRoot(data)
	case attest.TDX, attest.SGX:
		roots.DCAP = make([]dcap.Root, 1)
		roots.DCAP[0], err = dcap.ParseRoot(data)
	case attest.CCA:
		roots.CCA = make([]cca.Root, 1)
		roots.CCA[0], err = cca.ParseRoot(data)
	case attest.Nitro:
		roots.Nitro = make([]nitro.Root, 1)
		roots.Nitro[0], err = nitro.ParseRoot(data)
	case attest.TPM:
		roots.TPM = make([]tpm.Root, 1)
		roots.TPM[0], err = tpm.ParseRoot(data)
	default:
		err = fmt.Errorf("there are no roots of %q", technology)
	}
	if err != nil {
		return attest.Roots{}, err
	}
	return roots, nil
}

// ownRoot is the root of this user's own simulated evidence, if there is one.
func ownRoot() (attest.Roots, error) {
	state, err := dirs.State()
	if err != nil {
		return attest.Roots{}, err
	}
	path := filepath.Join(dirs.Dev(state), "root.pem")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return attest.Roots{}, nil
	}
	if err != nil {
		return attest.Roots{}, fmt.Errorf("root of simulated hardware: %w", err)
	}
	roots, err := parseRoot(attest.SNP, data)
	if err != nil {
		return attest.Roots{}, fmt.Errorf("root of simulated hardware %s: %w", path, err)
	}
	roots.SNP[0].Dev = true
	return roots, nil
}

// keepFlags are trustFlags for a Keep, where flags may stand for a policy.
type keepFlags struct {
	trustFlags
	allowSimulated bool
	measurement    []string
}

func (f *keepFlags) add(c *cobra.Command) {
	f.trustFlags.add(c)
	c.Flags().BoolVar(&f.allowSimulated, "allow-simulated", false, "instead of a policy: accept simulated evidence, which proves nothing (to develop)")
	c.Flags().StringSliceVar(&f.measurement, "measurement", nil, "with --allow-simulated: accept this launch measurement, in `hex` (may be repeated), or any (default that of the redoubt-wasmldr found here)")
	c.MarkFlagsMutuallyExclusive("policy", "allow-simulated")
	c.MarkFlagsMutuallyExclusive("policy", "measurement")
}

// attest has a Keep prove what it runs.
func (f *keepFlags) attest(ctx context.Context, h *client.Host, id string, nonce []byte) (*client.Attested, error) {
	info, err := h.Inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	trust, err := f.trust(info.Kind, wire.Profiles()...)
	if err != nil {
		return nil, err
	}
	return client.Attest(ctx, h, id, nonce, trust)
}

// trust returns what the flags ask for, of a Keep of this kind. Flags without a
// policy accept these log profiles.
func (f *keepFlags) trust(kind wire.Kind, profiles ...wire.Profile) (*client.Trust, error) {
	technology := string(kind)
	if kind == wire.KindProcess || kind == wire.KindKVM {
		technology = attest.SNP // simulated
	}
	t, err := f.load(technology)
	if err != nil || f.policy != "" {
		return t, err
	}
	t.Policy.SNP = &attest.SNPPolicy{Pins: attest.Pins{AnyMachine: true}} // that has no minimum TCB: it refuses
	if f.allowSimulated {
		t.Policy = client.ProcessPolicy()
	}
	for _, p := range profiles {
		t.Policy.Profiles = append(t.Policy.Profiles, string(p))
	}
	for _, m := range f.measurement {
		if m == "any" {
			t.Policy.SNP.AnyMeasurement = true
			continue
		}
		digest, err := hex.DecodeString(m)
		if err != nil || len(digest) != measure.Size {
			return nil, fmt.Errorf("--measurement %q: expected %d hexadecimal digits, or any", m, 2*measure.Size)
		}
		t.Policy.SNP.Measurements = append(t.Policy.SNP.Measurements, attest.Reference{Digest: digest})
	}
	if len(f.measurement) == 0 {
		digest, err := ownMeasurement()
		if err != nil {
			return nil, fmt.Errorf("no --measurement given, and none to be had: %w", err)
		}
		t.Policy.SNP.Measurements = []attest.Reference{{Name: "the redoubt-wasmldr here", Digest: digest}}
	}
	return t, nil
}

// ownMeasurement is that of a process Keep of the redoubt-wasmldr found here.
func ownMeasurement() ([]byte, error) {
	path, err := dirs.Program("redoubt-wasmldr")
	if err != nil {
		return nil, err
	}
	return processMeasurement(path)
}

func processMeasurement(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest, err := measure.Process(f)
	return digest[:], err
}
