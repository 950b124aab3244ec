package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/evidence"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/wire"
)

func attestCommand() *cobra.Command {
	var host hostFlags
	var kind, nonceHex, output string
	var asJSON bool
	c := &cobra.Command{
		Use:   "attest [KEEP]",
		Short: "Save evidence of a Keep, to be verified later",
		Long: `Save evidence of a Keep in a file, as a conceptual message wrapper (CMW). Nothing of
it is verified: redoubt verify does that, here or elsewhere.

With the ID of a Keep that holds a workload, the evidence also says which workload it
is, and under which configuration. Without one, the host makes a Keep, which ends when
it has given its evidence.`,
		Example: `  redoubt attest --host https://host.example:7443 --keep snp -o evidence.cmw
  redoubt attest --nonce "$(openssl rand -hex 32)" -o evidence.cmw abcd`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			nonce, err := parseNonce(nonceHex)
			if err != nil {
				return err
			}
			h, err := host.open()
			if err != nil {
				return err
			}
			defer h.Close()
			var message *cmw.Message
			if len(args) == 1 {
				message, err = keepMessage(c.Context(), h, args[0], nonce)
				fmt.Fprintf(c.ErrOrStderr(), "redoubt: to verify it: --nonce %x\n", nonce)
			} else {
				var rd wire.ReportData
				message, rd, err = freshMessage(c.Context(), h, wire.Kind(kind), nonce)
				fmt.Fprintf(c.ErrOrStderr(), "redoubt: to verify it: --report-data %x\n", rd)
			}
			if err != nil {
				return err
			}
			message.Form = cmw.CBOR
			if asJSON {
				message.Form = cmw.JSON
			}
			data, err := message.Encode()
			if err != nil {
				return err
			}
			return writeOutput(c.OutOrStdout(), output, data, asJSON)
		},
	}
	host.add(c)
	c.Flags().StringVar(&kind, "keep", string(wire.KindProcess), "`kind` of Keep to make, if none is named")
	c.Flags().StringVar(&nonceHex, "nonce", "", "32 bytes of your own choice in `hex`, that nobody has used before (default random)")
	c.Flags().StringVarP(&output, "output", "o", "", "write to this `file` (default standard output)")
	c.Flags().BoolVar(&asJSON, "json", false, "a CMW in JSON, instead of CBOR")
	return c
}

// keepMessage is the answer of a Keep that holds a workload.
func keepMessage(ctx context.Context, h *client.Host, name string, nonce []byte) (*cmw.Message, error) {
	id, err := findKeep(ctx, h, name)
	if err != nil {
		return nil, err
	}
	answer, err := client.Evidence(ctx, h, id, nonce)
	if err != nil {
		return nil, err
	}
	data, err := wire.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &cmw.Message{Media: mediaWorkload, Value: data, Indicator: cmw.Evidence}, nil
}

// freshMessage is the evidence of a Keep made for it.
func freshMessage(ctx context.Context, h *client.Host, kind wire.Kind, nonce []byte) (*cmw.Message, wire.ReportData, error) {
	e, rd, err := client.FreshEvidence(ctx, h, kind, 1<<30, nonce)
	if err != nil {
		return nil, rd, err
	}
	message, err := evidence.Wrap(attest.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob})
	return message, rd, err
}

// parseNonce reads a nonce, or makes one.
func parseNonce(text string) ([]byte, error) {
	nonce := make([]byte, wire.NonceSize)
	if text == "" {
		rand.Read(nonce)
		return nonce, nil
	}
	given, err := hex.DecodeString(text)
	if err != nil || len(given) != wire.NonceSize {
		return nil, fmt.Errorf("--nonce %q: expected %d hexadecimal digits", text, 2*wire.NonceSize)
	}
	return given, nil
}

// writeOutput writes data to a file, completely or not at all, or to out.
func writeOutput(out io.Writer, path string, data []byte, text bool) error {
	if text {
		data = append(bytes.TrimSpace(data), '\n')
	}
	if path == "" {
		if f, ok := out.(*os.File); ok && !text && term.IsTerminal(int(f.Fd())) {
			return errors.New("binary data is not for a terminal: give --output FILE, or redirect")
		}
		_, err := out.Write(data)
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // nothing is there any more if all went well
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
