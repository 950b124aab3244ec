package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/collateral"
	"github.com/redoubt-tee/redoubt/attest/evidence"
	"github.com/redoubt-tee/redoubt/wire"
)

// fetchFlags say where collateral is fetched from.
type fetchFlags struct {
	kds, pcs string
	offline  bool
}

func (f *fetchFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.kds, "kds", "", "`URL` of AMD's key server, or a mirror (default AMD's own)")
	c.Flags().StringVar(&f.pcs, "pcs", "", "`URL` of Intel's certification service, or a mirror such as a PCCS (default Intel's own)")
	c.Flags().BoolVar(&f.offline, "offline", false, "fetch from the cache alone")
}

// fetch gets the collateral for evidence, and tells on w what of it is stale.
func (f *fetchFlags) fetch(ctx context.Context, w io.Writer, ev attest.Evidence) (collateral.Bundle, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return collateral.Bundle{}, fmt.Errorf("no folder to keep collateral in: %w", err)
	}
	fetcher := collateral.Fetcher{KDS: f.kds, PCS: f.pcs, Offline: f.offline, Cache: filepath.Join(cache, "redoubt", "collateral")}
	result, err := fetcher.Fetch(ctx, ev)
	for _, stale := range result.Stale {
		fmt.Fprintln(w, "redoubt: stale collateral:", wire.Printable(stale))
	}
	if result.CacheErr != nil {
		fmt.Fprintln(w, "redoubt: not kept for the next time:", wire.Printable(result.CacheErr.Error()))
	}
	return result.Bundle, err
}

func collateralCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "collateral",
		Short: "Fetch and keep what verification needs beside evidence",
		Long: `Fetch and keep certificates, revocation lists, TCB info and QE identities, which AMD and
Intel publish and sign. A bundle is one file with all of it, to verify without a network.
Nothing of it is trusted for being in a bundle: it is verified each time.`,
		Example: `  redoubt collateral fetch evidence.cmw -o bundle.cbor
  redoubt collateral bundle vcek.der chain.pem crl.der -o bundle.cbor
  redoubt collateral show bundle.cbor`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(collateralFetchCommand(), collateralBundleCommand(), collateralShowCommand())
	return c
}

func collateralFetchCommand() *cobra.Command {
	var f fetchFlags
	var output string
	c := &cobra.Command{
		Use:   "fetch EVIDENCE -o FILE",
		Short: "Fetch what evidence needs, into a bundle",
		Long: `Fetch the collateral that evidence needs from AMD or Intel, or from mirrors, and write
it to a bundle. The service learns the chip ID (AMD) or the platform's kind (Intel).`,
		Example: "  redoubt collateral fetch report.bin -o bundle.cbor --kds https://kds.example",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readInput(args[0])
			if err != nil {
				return err
			}
			item, err := evidence.Parse(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			bundle, err := f.fetch(c.Context(), c.ErrOrStderr(), item.Evidence)
			if err != nil {
				return err
			}
			return writeBundle(c.OutOrStdout(), output, bundle)
		},
	}
	f.add(c)
	c.Flags().StringVarP(&output, "output", "o", "", "write to this `file` (default standard output)")
	return c
}

func writeBundle(out io.Writer, path string, b collateral.Bundle) error {
	data, err := collateral.EncodeBundle(b)
	if err != nil {
		return err
	}
	return writeOutput(out, path, data, false)
}

func collateralBundleCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "bundle FILE... -o FILE",
		Short:   "Put files of collateral into a bundle",
		Example: "  redoubt collateral bundle vcek.der chain.pem crl.der -o bundle.cbor",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			all, err := readCollateral(args)
			if err != nil {
				return err
			}
			return writeBundle(c.OutOrStdout(), output, collateral.Bundle{Collateral: all})
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write to this `file` (default standard output)")
	return c
}

// readCollateral reads files of collateral of any form.
func readCollateral(paths []string) (attest.Collateral, error) {
	var all attest.Collateral
	for _, path := range paths {
		data, err := readInput(path)
		if err != nil {
			return all, err
		}
		more, err := collateral.Parse(data)
		if err != nil {
			return all, fmt.Errorf("%s: %w", path, err)
		}
		all = all.Merge(more)
	}
	return all, nil
}

func collateralShowCommand() *cobra.Command {
	var asPEM bool
	c := &cobra.Command{
		Use:   "show FILE...",
		Short: "Show what is in files of collateral",
		Long:  "Show what is in files of collateral. Nothing of it is verified.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			all, err := readCollateral(args)
			if err != nil {
				return err
			}
			if asPEM {
				return printPEM(c.OutOrStdout(), all)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, der := range all.Certificates {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "certificate\t%s\tof %s\tuntil %s\n", wire.Printable(cert.Subject.CommonName), wire.Printable(cert.Issuer.CommonName), cert.NotAfter.UTC().Format(time.RFC3339))
			}
			for _, der := range all.CRLs {
				crl, err := x509.ParseRevocationList(der)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "revocation list\t%d certificates\tof %s\tuntil %s\n", len(crl.RevokedCertificateEntries), wire.Printable(crl.Issuer.CommonName), crl.NextUpdate.UTC().Format(time.RFC3339))
			}
			fmt.Fprintf(w, "TCB infos\t%d\nQE identities\t%d\n", len(all.TCBInfos), len(all.QEIdentities))
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asPEM, "pem", false, "print certificates and revocation lists as PEM")
	return c
}

func printPEM(out io.Writer, all attest.Collateral) error {
	var errs []error
	for _, der := range all.Certificates {
		errs = append(errs, pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	for _, der := range all.CRLs {
		errs = append(errs, pem.Encode(out, &pem.Block{Type: "X509 CRL", Bytes: der}))
	}
	return errors.Join(errs...)
}
