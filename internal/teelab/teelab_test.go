package teelab_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/internal/vectors"
)

// create makes a folder with simulated hardware.
func create(t *testing.T) (dir string, chip *teelab.SNP) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state", "hardware")
	chip, err := teelab.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, chip
}

func verify(t *testing.T, chip *teelab.SNP, root snp.Root) *attest.Claims {
	t.Helper()
	ev, err := chip.Evidence([64]byte{1}, [48]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	c, err := attest.Verify(ev, chip.Collateral(), attest.Roots{SNP: []snp.Root{root}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadOrCreate(t *testing.T) {
	t.Parallel()
	dir, chip := create(t)
	again, err := teelab.LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !again.VCEK.Equal(chip.VCEK) || !again.Root().ARK.Equal(chip.Root().ARK) {
		t.Error("loaded another chip than was made")
	}
	root, err := teelab.LoadRoot(filepath.Join(dir, teelab.RootFile))
	if err != nil {
		t.Fatal(err)
	}
	if !root.Dev || root.Name != chip.Root().Name {
		t.Errorf("root %+v", root)
	}
	if c := verify(t, again, root); !c.Simulated || c.Root != root.Name {
		t.Errorf("claims %+v", c)
	}
	if left := time.Until(chip.VCEK.NotAfter); left < 9*365*24*time.Hour {
		t.Errorf("certificates end in %v", left)
	}

	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 5 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if private := bytes.Contains(data, []byte("PRIVATE")); private != (f.Name() == "vcek.key") || len(data) > 4096 {
			t.Errorf("%s: %d bytes, private key %v", f.Name(), len(data), private)
		}
	}
	if rest, _ := os.ReadDir(filepath.Dir(dir)); len(rest) != 1 {
		t.Errorf("left behind beside the folder: %v", rest)
	}
}

// TestLoadOrCreateRace has several processes, and goroutines in one, make the
// same folder.
func TestLoadOrCreateRace(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("TEELAB_RACE"); dir != "" {
		chip, err := teelab.LoadOrCreate(dir)
		if err != nil {
			t.Fatal(err)
		}
		pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: chip.VCEK.Raw})
		return
	}
	dir := filepath.Join(t.TempDir(), "hardware")
	if err := os.Mkdir(dir, 0o700); err != nil { // an empty folder is as good as none
		t.Fatal(err)
	}
	got := make([][]byte, 4)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			if i%2 == 0 {
				chip, err := teelab.LoadOrCreate(dir)
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = chip.VCEK.Raw
				return
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestLoadOrCreateRace$")
			cmd.Env = append(os.Environ(), "TEELAB_RACE="+dir)
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%v: %s", err, out)
				return
			}
			if block, _ := pem.Decode(out); block != nil {
				got[i] = block.Bytes
			}
		})
	}
	wg.Wait()
	for i := range got {
		if len(got[i]) == 0 || !bytes.Equal(got[i], got[0]) {
			t.Errorf("process %d has another chip", i)
		}
	}
	if rest, _ := os.ReadDir(filepath.Dir(dir)); len(rest) != 1 {
		t.Errorf("left behind beside the folder: %v", rest)
	}
}

func TestDamagedFolder(t *testing.T) {
	t.Parallel()
	dir, _ := create(t)
	other, _ := create(t)
	from := func(dir, name string) func(string) error {
		return func(file string) error {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			return os.WriteFile(file, data, 0o600)
		}
	}
	text := func(s string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(s), 0o600) }
	}
	for _, tt := range []struct {
		name, file string
		damage     func(file string) error
		reason     string
	}{
		{"no root", "root.pem", os.Remove, "no such file"},
		{"no ASK", "ask.pem", os.Remove, "no such file"},
		{"no VCEK", "vcek.pem", os.Remove, "no such file"},
		{"no key", "vcek.key", os.Remove, "no such file"},
		{"empty root", "root.pem", text(""), "no self-signed certificate"},
		{"empty VCEK", "vcek.pem", text(""), "vcek.pem: must be one PEM block CERTIFICATE"},
		{"empty key", "vcek.key", text(""), "vcek.key: must be one PEM block PRIVATE KEY"},
		{"huge key", "vcek.key", text(strings.Repeat("x", 1<<20)), "at most 65536 bytes"},
		{"text for key", "vcek.key", text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "vcek.key"},
		{"ASK for root", "root.pem", from(dir, "ask.pem"), "no self-signed certificate"},
		{"ASK for VCEK", "vcek.pem", from(dir, "ask.pem"), "not the key of vcek.pem"},
		{"key of another chip", "vcek.key", from(other, "vcek.key"), "not the key of vcek.pem"},
		{"root of another chip", "root.pem", from(other, "root.pem"), "verification error"},
		{"ASK of another chip", "ask.pem", from(other, "ask.pem"), "verification error"},
		{"empty list", "crl.pem", text(""), "crl.pem: must be one PEM block X509 CRL"},
		{"certificate for list", "crl.pem", from(dir, "ask.pem"), "crl.pem: must be one PEM block X509 CRL"},
		{"list of another chip", "crl.pem", from(other, "crl.pem"), "crl.pem is not of root.pem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			damaged := filepath.Join(t.TempDir(), "hardware")
			if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(filepath.Join(damaged, tt.file)); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, damaged)
			chip, err := teelab.LoadOrCreate(damaged)
			if err == nil || chip != nil {
				t.Fatal("a damaged folder was taken")
			}
			for _, want := range []string{damaged, "is damaged", "move the folder away", tt.reason} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if snapshot(t, damaged) != before {
				t.Error("the folder was changed")
			}
		})
	}
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "hardware")
		if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := teelab.LoadOrCreate(file); err == nil {
			t.Error("a file was taken for a folder")
		}
		if data, err := os.ReadFile(file); string(data) != "mine" {
			t.Errorf("the file was changed: %q, %v", data, err)
		}
	})
}

// snapshot returns all that is in dir.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(f.Name())
		b.Write(data)
	}
	return b.String()
}

func TestLoadRootRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := teelab.LoadRoot(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent file was taken")
	}
	if _, err := teelab.LoadRoot(dir); err == nil {
		t.Error("a folder was taken")
	}
	file := filepath.Join(vectors.Dir(t), "roots", "amd-milan.ask-ark-asvk.pem")
	if _, err := teelab.LoadRoot(file); err == nil || !strings.Contains(err.Error(), "a root of real hardware") {
		t.Errorf("AMD's root as development root: got %v", err)
	}
}
