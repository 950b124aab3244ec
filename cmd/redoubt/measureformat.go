package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/measure/corim"
	"github.com/redoubt-tee/redoubt/measure/snp"
	"github.com/redoubt-tee/redoubt/measure/tdx"
	"github.com/redoubt-tee/redoubt/wire"
)

// Formats of measurements.
const (
	formatHex    = "hex"
	formatPolicy = "policy"
	formatJSON   = "json"
	formatCoRIM  = "corim"
)

func addFormat(c *cobra.Command, format *string) {
	c.Flags().StringVar(format, "format", formatHex, "`format`: hex, policy (of a policy file), json, or corim (CBOR)")
}

func checkFormat(format string) error {
	all := []string{formatHex, formatPolicy, formatJSON, formatCoRIM}
	if !slices.Contains(all, format) {
		return fmt.Errorf("--format %s: expected one of %s", format, strings.Join(all, ", "))
	}
	return nil
}

// policyHead is what a part of a policy begins with.
const policyHead = `# A part of a policy: what it does not say is refused. redoubt policy init shows the rest.
version = 1

`

// policyList writes a key with one reference in a policy file.
func policyList(key, name string, digest []byte) string {
	return fmt.Sprintf("%s = [\n    { name = %s, digest = \"%x\" },\n]\n", key, policyName(name), digest)
}

// policyName writes a name as policy files take it: what is not printable ASCII
// becomes a question mark, and its end is cut off.
func policyName(name string) string {
	const most = 200
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return strconv.Quote(name[:min(len(name), most)])
}

// writeCoRIM writes a CoRIM whose ID ends with a digest.
func writeCoRIM(w io.Writer, kind string, digest []byte, m corim.Manifest) error {
	m.ID = "redoubt/" + kind + "/" + hex.EncodeToString(digest)
	data, err := corim.Encode(m)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// print prints the digest of an SNP launch.
func (f *snpFlags) print(w io.Writer, l *snp.Launch, digest [snp.Size]byte) error {
	switch f.form {
	case formatPolicy:
		name := fmt.Sprintf("%d x %s, features %#x, %s", l.VCPUs, f.cpu, l.Features, filepath.Base(f.firmware[0]))
		if f.kernel != "" {
			name += ", " + filepath.Base(f.kernel)
		}
		_, err := io.WriteString(w, policyHead+"[snp]\n"+policyList("measurements", name, digest[:]))
		return err
	case formatCoRIM:
		return writeCoRIM(w, attest.SNP, digest[:], corim.Manifest{Vendor: "AMD", Model: "SEV-SNP", Digest: digest[:]})
	case formatJSON:
		firmware := l.Firmware.Digest()
		out := struct {
			Technology  string     `json:"technology"`
			Measurement string     `json:"measurement"`
			Firmware    string     `json:"firmware_measurement"` // before anything else
			VCPUs       int        `json:"vcpus"`
			CPU         string     `json:"cpu"`
			Features    string     `json:"features"`
			Hashes      *snpHashes `json:"kernel_hashes"` // null if the kernel is not measured
		}{attest.SNP, hex.EncodeToString(digest[:]), hex.EncodeToString(firmware[:]), l.VCPUs, l.CPU.String(), fmt.Sprintf("%#x", l.Features), nil}
		if h := l.Hashes; h != nil {
			out.Hashes = &snpHashes{hex.EncodeToString(h.Kernel[:]), hex.EncodeToString(h.Initrd[:]), hex.EncodeToString(h.CommandLine[:])}
		}
		return printJSON(w, out)
	}
	_, err := fmt.Fprintf(w, "%x\n", digest)
	return err
}

// snpHashes are SHA-256 hashes, of the command line with its NUL.
type snpHashes struct {
	Kernel      string `json:"kernel"`
	Initrd      string `json:"initrd"`
	CommandLine string `json:"command_line"`
}

// printExplanation prints which inputs a digest is of. A nil one is of none of
// those that were tried.
func printExplanation(w io.Writer, asJSON bool, e *snp.Explanation, tried int) error {
	if asJSON {
		out := struct {
			Found       bool             `json:"found"`
			Tried       int              `json:"tried"`
			Differences []snp.Difference `json:"differences"`
		}{e != nil, tried, []snp.Difference{}}
		if e != nil {
			out.Differences = append(out.Differences, e.Differences...)
		}
		return printJSON(w, out)
	}
	switch {
	case e == nil:
		_, err := fmt.Fprintf(w, "none of %d launches that were tried has this digest: another firmware, kernel, initrd or command line, or more than these inputs differ from those given\n", tried)
		return err
	case len(e.Differences) == 0:
		_, err := fmt.Fprintln(w, "the digest is of the inputs given")
		return err
	}
	fmt.Fprintf(w, "the digest is of other inputs than those given (found after %d launches):\n", tried)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range e.Differences {
		fmt.Fprintf(t, "  %s\tgiven %s\tis %s\n", d.Input, wire.Printable(d.Given), wire.Printable(d.Found))
	}
	return t.Flush()
}

// printTDX prints the measurements of a TDX launch.
func (f *bootFlags) printTDX(w io.Writer, m *tdx.Measurement) error {
	switch f.form {
	case formatPolicy:
		return f.policyTDX(w, m)
	case formatCoRIM:
		registers := map[string][]byte{"MRTD": m.MRTD[:]}
		for i, r := range m.RTMR {
			if r.Known {
				registers[fmt.Sprint("RTMR", i)] = r.Value[:]
			}
		}
		return writeCoRIM(w, attest.TDX, m.MRTD[:], corim.Manifest{Vendor: "Intel", Model: "TDX", Registers: registers})
	case formatJSON:
		return printJSON(w, jsonTDX(m))
	}
	fmt.Fprintf(w, "mrtd %x\n", m.MRTD)
	for i, r := range m.RTMR {
		value := "-"
		if r.Known {
			value = hex.EncodeToString(r.Value[:])
		}
		if _, err := fmt.Fprintf(w, "rtmr%d %s\n", i, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *bootFlags) policyTDX(w io.Writer, m *tdx.Measurement) error {
	text := policyHead + "[tdx]\n" + policyList("measurements", filepath.Base(f.firmware[0]), m.MRTD[:])
	names := [4]string{1: filepath.Base(f.kernel), 2: "command line"}
	if f.initrd != "" {
		names[2] += " and " + filepath.Base(f.initrd)
	}
	for i, r := range m.RTMR {
		key := fmt.Sprint("rtmr", i)
		switch {
		case !r.Known:
			text += "# " + key + " is not decided by what this was computed from: list it from evidence of a machine\n# that you trust. Until then zero alone is accepted.\n" + key + " = []\n"
		case r.Value == [tdx.Size]byte{}:
			text += key + " = [] # zero alone\n"
		default:
			text += policyList(key, names[i], r.Value[:])
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

type tdxJSON struct {
	Technology string         `json:"technology"`
	MRTD       string         `json:"mrtd"`
	RTMR       []registerJSON `json:"rtmr"`
}

type registerJSON struct {
	Value  string      `json:"value,omitempty"` // left out if it is not decided
	Events []eventJSON `json:"events"`
}

type eventJSON struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"` // left out if it is not decided
}

func jsonTDX(m *tdx.Measurement) tdxJSON {
	out := tdxJSON{Technology: attest.TDX, MRTD: hex.EncodeToString(m.MRTD[:])}
	for _, r := range m.RTMR {
		register := registerJSON{Events: []eventJSON{}}
		if r.Known {
			register.Value = hex.EncodeToString(r.Value[:])
		}
		for _, e := range r.Events {
			event := eventJSON{Name: e.Name}
			if e.Known {
				event.Digest = hex.EncodeToString(e.Digest[:])
			}
			register.Events = append(register.Events, event)
		}
		out.RTMR = append(out.RTMR, register)
	}
	return out
}

// printProcess prints the measurement of a process Keep.
func printProcess(w io.Writer, format, file string, digest []byte) error {
	var err error
	switch format {
	case formatPolicy:
		_, err = io.WriteString(w, policyHead+"# Evidence of a process Keep is simulated, and proves nothing: allow_simulated = true\n# accepts it, to develop.\n[snp]\n"+
			policyList("measurements", "a process Keep of "+filepath.Base(file), digest))
	case formatCoRIM:
		err = writeCoRIM(w, "process", digest, corim.Manifest{Vendor: "Redoubt", Model: "process Keep", Digest: digest})
	case formatJSON:
		err = printJSON(w, struct {
			Technology  string `json:"technology"`
			Simulated   bool   `json:"simulated"`
			Measurement string `json:"measurement"`
		}{attest.SNP, true, hex.EncodeToString(digest)})
	default:
		_, err = fmt.Fprintf(w, "%x\n", digest)
	}
	return err
}
