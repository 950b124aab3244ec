package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/measure/ovmf"
	"github.com/redoubt-tee/redoubt/measure/snp"
	"github.com/redoubt-tee/redoubt/measure/tdx"
	"github.com/redoubt-tee/redoubt/wire"
)

// maxBootFile bounds a kernel or an initrd that has to be in memory.
const maxBootFile = 1 << 30

func measureCommand(status *int) *cobra.Command {
	c := &cobra.Command{
		Use:   "measure",
		Short: "Compute what a Keep's evidence must say, from what it is launched with",
		Long: `Compute the measurement that a Keep's evidence must have, from the files and parameters
that the Keep is launched with: to write it into a policy, or to find out why evidence
has another. Nothing is launched, and nothing is fetched.`,
		Example: `  redoubt measure snp --firmware OVMF.amdsev.fd --kernel bzImage --initrd initrd --append quiet --vcpus 1 --cpu EPYC-v4
  redoubt measure tdx --firmware OVMF.fd --kernel bzImage --initrd initrd --append quiet --format policy
  redoubt measure process redoubt-wasmldr`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(measureSNPCommand(status), measureTDXCommand(), measureProcessCommand())
	return c
}

// bootFlags say what a guest is launched with.
type bootFlags struct {
	firmware                     []string
	kernel, initrd, append, form string
}

func (f *bootFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.firmware, "firmware", nil, "OVMF image, a `file`")
	c.Flags().StringVar(&f.kernel, "kernel", "", "kernel that QEMU gets by -kernel, a `file` (default none)")
	c.Flags().StringVar(&f.initrd, "initrd", "", "initial file system that QEMU gets by -initrd, a `file` (default none)")
	c.Flags().StringVar(&f.append, "append", "", "command `line` that QEMU gets by -append (default empty)")
	addFormat(c, &f.form)
}

// check finds what is missing or contradicts itself.
func (f *bootFlags) check(c *cobra.Command, several bool) error {
	if err := checkFormat(f.form); err != nil {
		return err
	}
	switch {
	case len(f.firmware) == 0:
		return errors.New("--firmware is missing: give the OVMF image that the guest starts with")
	case len(f.firmware) > 1 && !several:
		return fmt.Errorf("--firmware is given %d times: a guest has one; only --explain tries several", len(f.firmware))
	case f.kernel == "" && c.Flags().Changed("initrd"):
		return errors.New("--initrd goes with --kernel: without it the firmware loads no initrd")
	case f.kernel == "" && c.Flags().Changed("append"):
		return errors.New("--append goes with --kernel: without it there is no command line")
	case c.Flags().Changed("kernel") && f.kernel == "":
		return errors.New("--kernel is empty: expected a file")
	case c.Flags().Changed("initrd") && f.initrd == "":
		return errors.New("--initrd is empty: expected a file; leave it out if there is none")
	}
	return nil
}

// readFile reads a file of at most most bytes, and says by which flag it came.
func readFile(flag, path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	data, err := wire.ReadAll(f, most)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, path, err)
	}
	return data, nil
}

func (f *bootFlags) snpFirmware(path string) (*snp.Firmware, error) {
	data, err := readFile("firmware", path, ovmf.MaxSize)
	if err != nil {
		return nil, err
	}
	firmware, err := snp.ParseFirmware(data)
	if err != nil {
		return nil, fmt.Errorf("--firmware %s: %w", path, err)
	}
	return firmware, nil
}

// hashes returns the hashes of what is booted, or nil if that is not measured.
func (f *bootFlags) hashes() (*snp.Hashes, error) {
	if f.kernel == "" {
		return nil, nil
	}
	kernel, err := os.Open(f.kernel)
	if err != nil {
		return nil, fmt.Errorf("--kernel: %w", err)
	}
	defer kernel.Close()
	var initrd io.Reader
	if f.initrd != "" {
		file, err := os.Open(f.initrd)
		if err != nil {
			return nil, fmt.Errorf("--initrd: %w", err)
		}
		defer file.Close()
		initrd = file
	}
	return snp.HashKernel(kernel, initrd, f.append)
}

type snpFlags struct {
	bootFlags
	vcpus         int
	cpu, features string
	explain       string
}

func measureSNPCommand(status *int) *cobra.Command {
	var f snpFlags
	c := &cobra.Command{
		Use:   "snp --firmware FILE --vcpus N --cpu MODEL",
		Short: "Compute the launch digest of an SEV-SNP guest",
		Long: `Compute the launch digest of an SEV-SNP guest that QEMU starts: MEASUREMENT of its
report. With --kernel it is that of kernel-hashes=on. Each virtual processor and its
model is in it; memory size, devices and ACPI tables are not.

With --explain, find out which inputs a digest is of: try those given, and beside them
each --firmware, 1 to 64 processors, each CPU model, SEV features 0x0, 0x1 and 0x21, the
command line with and without a newline or NUL at its end, no initrd, and no kernel
hashes, in every combination.

Exit status with --explain: 0 if the digest is of what was given, 1 if it is of other
inputs, which are named, or of none that was tried.`,
		Example: `  redoubt measure snp --firmware OVMF.amdsev.fd --kernel bzImage --initrd initrd --append quiet --vcpus 1 --cpu EPYC-v4
  redoubt measure snp --firmware OVMF.amdsev.fd --vcpus 2 --cpu 25/17/0 --features 0x21 --format policy
  redoubt measure snp --firmware new.fd --firmware old.fd --vcpus 1 --cpu EPYC-v4 --explain 803f6910…`,
		Args: cobra.NoArgs,
	}
	f.add(c)
	c.Flags().IntVar(&f.vcpus, "vcpus", 0, "`number` of virtual processors, -smp of QEMU")
	c.Flags().StringVar(&f.cpu, "cpu", "", "CPU `model` of QEMU, such as EPYC-v4, EPYC-Milan or EPYC-Genoa, or FAMILY/MODEL/STEPPING")
	c.Flags().StringVar(&f.features, "features", "0x1", "SEV features of the guest, a `number`: 0x1 is SNP alone")
	c.Flags().StringVar(&f.explain, "explain", "", "launch digest in `hex`: find out which inputs it is of (--firmware may be repeated)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, err := f.launch(c)
		if err != nil {
			return err
		}
		if c.Flags().Changed("explain") {
			return f.explanation(c, l, status)
		}
		digest, err := l.Digest()
		if err != nil {
			return fmt.Errorf("--firmware %s: %w", f.firmware[0], err)
		}
		return f.print(c.OutOrStdout(), l, digest)
	}
	return c
}

// launch is what the flags say, with the first firmware.
func (f *snpFlags) launch(c *cobra.Command) (*snp.Launch, error) {
	if err := f.check(c, c.Flags().Changed("explain")); err != nil {
		return nil, err
	}
	switch {
	case !c.Flags().Changed("vcpus"):
		return nil, errors.New("--vcpus is missing: each virtual processor is measured")
	case f.vcpus < 1 || f.vcpus > snp.MaxVCPUs:
		return nil, fmt.Errorf("--vcpus %d: expected 1 to %d", f.vcpus, snp.MaxVCPUs)
	case f.cpu == "":
		return nil, errors.New("--cpu is missing: the CPU model is measured; give QEMU's, such as EPYC-v4")
	}
	l := &snp.Launch{VCPUs: f.vcpus}
	var err error
	if l.CPU, err = snp.ParseCPU(f.cpu); err != nil {
		return nil, fmt.Errorf("--cpu: %w", err)
	}
	if l.Features, err = strconv.ParseUint(f.features, 0, 64); err != nil {
		return nil, fmt.Errorf("--features %q: expected a number such as 0x1", f.features)
	}
	if l.Hashes, err = f.hashes(); err != nil {
		return nil, err
	}
	l.Firmware, err = f.snpFirmware(f.firmware[0])
	return l, err
}

// explanation says which inputs a digest is of.
func (f *snpFlags) explanation(c *cobra.Command, l *snp.Launch, status *int) error {
	want, err := hex.DecodeString(f.explain)
	if err != nil || len(want) != snp.Size {
		return fmt.Errorf("--explain %q: expected a launch digest in %d hexadecimal digits", f.explain, 2*snp.Size)
	}
	if f.form != formatHex && f.form != formatJSON {
		return fmt.Errorf("--explain and --format %s contradict each other: expected --format json, or none", f.form)
	}
	g := snp.Guess{Firmwares: []snp.Named{{Name: f.firmware[0], Firmware: l.Firmware}}, CommandLine: f.append, VCPUs: l.VCPUs, CPU: l.CPU, Features: l.Features}
	for i, path := range f.firmware[1:] {
		if i+2 > snp.MaxFirmwares {
			return fmt.Errorf("--firmware is given %d times: expected at most %d", len(f.firmware), snp.MaxFirmwares)
		}
		firmware, err := f.snpFirmware(path)
		if err != nil {
			return err
		}
		g.Firmwares = append(g.Firmwares, snp.Named{Name: path, Firmware: firmware})
	}
	if l.Hashes != nil {
		g.Kernel, g.Initrd = &l.Hashes.Kernel, new([sha256.Size]byte)
		*g.Initrd = l.Hashes.Initrd
	}
	found, tried, err := snp.Explain([snp.Size]byte(want), g)
	if err != nil {
		return err
	}
	if found == nil || len(found.Differences) > 0 {
		*status = 1
	}
	return printExplanation(c.OutOrStdout(), f.form == formatJSON, found, tried)
}

func measureTDXCommand() *cobra.Command {
	var f bootFlags
	var initrdLast bool
	c := &cobra.Command{
		Use:   "tdx --firmware FILE",
		Short: "Compute MRTD and RTMRs of a TDX guest",
		Long: `Compute MRTD and, as far as the launch decides them, RTMR 0 to 3 of a TDX guest that
QEMU starts, when its kernel has started. A line each; "-" is a register that these
inputs don't decide.

RTMR 0 never is: the memory map, the ACPI tables and the boot variables are in it,
which QEMU makes of its whole configuration. RTMR 1 is the kernel, RTMR 2 the command
line and the initrd, RTMR 3 zero until the workload extends it. --format json lists the
events of each register.

It is for QEMU and OVMF that load the kernel as it is in its file: OVMF that takes it
from etc/boot/kernel, or QEMU that leaves the kernel of confidential guests alone.`,
		Example: `  redoubt measure tdx --firmware OVMF.fd --kernel bzImage --initrd initrd --append quiet
  redoubt measure tdx --firmware OVMF.fd --kernel bzImage --append quiet --format policy`,
		Args: cobra.NoArgs,
	}
	f.add(c)
	c.Flags().BoolVar(&initrdLast, "initrd-last", false, "for older OVMF (edk2 2025.02 and before), which puts initrd=initrd behind the command line")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := f.check(c, false); err != nil {
			return err
		}
		if initrdLast && f.initrd == "" {
			return errors.New("--initrd-last goes with --initrd")
		}
		l := tdx.Launch{CommandLine: f.append, InitrdLast: initrdLast}
		data, err := readFile("firmware", f.firmware[0], ovmf.MaxSize)
		if err != nil {
			return err
		}
		if l.Firmware, err = tdx.ParseFirmware(data); err != nil {
			return fmt.Errorf("--firmware %s: %w", f.firmware[0], err)
		}
		if f.kernel != "" {
			if l.Kernel, err = readFile("kernel", f.kernel, maxBootFile); err != nil {
				return err
			}
		}
		if f.initrd != "" {
			if l.Initrd, err = readFile("initrd", f.initrd, maxBootFile); err != nil {
				return err
			}
		}
		m, err := l.Measure()
		if err != nil {
			return err
		}
		return f.printTDX(c.OutOrStdout(), m)
	}
	return c
}

func measureProcessCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "process FILE",
		Short: "Compute the measurement of a process Keep",
		Long: `Compute the measurement of a process Keep, from the file of its redoubt-wasmldr. Its
evidence is simulated SEV-SNP evidence.`,
		Example: `  redoubt measure process redoubt-wasmldr
  redoubt measure process redoubt-wasmldr --format policy`,
		Args: files(1),
	}
	addFormat(c, &format)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		digest, err := processMeasurement(args[0])
		if err != nil {
			return err
		}
		return printProcess(c.OutOrStdout(), format, args[0], digest)
	}
	return c
}
