//go:build linux

// Package hostile tests the ten steps against a host that lies, replays,
// diverts, floods, falls silent and breaks off. It holds tests alone: the
// programs are the real ones, and what lies is in the middle. A liar is a
// keepmgr that rewrites what passes; a raw Keep is a real redoubt-wasmldr whose
// sallyport the test holds; a fake is a wasmldr, or a runner, that is hostile
// to its keepldr, or gate.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package hostile

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/host/keepmgr"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/measure"
)

// What all tests share. It is made once, by TestMain.
var (
	temp        string // short: it holds sockets
	bin         string // the programs
	fakeProgram string // this package's own test binary, as it is started by keepldr
	devDir      string
	hardware    *teelab.SNP // that signs this host's simulated evidence
	roots       attest.Roots
	measurement []byte
	realManager *keepmgr.Manager
	realHost    *client.Host
)

func TestMain(m *testing.M) {
	if os.Args[0] == "redoubt-wasmldr" {
		os.Exit(fake())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	clean, err := prepare()
	defer clean()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Most of these tests wait, for time-outs and processes.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func prepare() (clean func(), err error) {
	clean = func() {}
	if temp, err = os.MkdirTemp("/tmp", "rh"); err != nil {
		return clean, err
	}
	clean = func() { os.RemoveAll(temp) }
	if bin = os.Getenv("REDOUBT_BIN"); bin == "" {
		bin = filepath.Join(temp, "bin")
		for _, program := range []string{"redoubt-keepldr", "redoubt-wasmldr"} {
			if err := goTool("build", "-o", filepath.Join(bin, program), "../../cmd/"+program); err != nil {
				return clean, err
			}
		}
	}
	fakeProgram = filepath.Join(temp, "fake")
	if err := goTool("test", "-c", "-o", fakeProgram, "."); err != nil {
		return clean, err
	}
	devDir = filepath.Join(temp, "dev")
	if hardware, err = teelab.LoadOrCreate(devDir); err != nil {
		return clean, err
	}
	roots = attest.Roots{SNP: []snp.Root{hardware.Root()}}
	wasmldr, err := os.Open(filepath.Join(bin, "redoubt-wasmldr"))
	if err != nil {
		return clean, err
	}
	defer wasmldr.Close()
	digest, err := measure.Process(wasmldr)
	if err != nil {
		return clean, err
	}
	measurement = digest[:]
	manager, address, err := startManager(wasmldr.Name())
	if err != nil {
		return clean, err
	}
	realManager = manager
	clean = func() { manager.Close(); os.RemoveAll(temp) }
	realHost, err = client.Open(address, nil)
	return clean, err
}

// goTool runs the go command. The programs are built as they are shipped,
// without cgo and the race detector.
func goTool(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// startManager starts a keepmgr whose Keeps run wasmldr, and returns its address.
func startManager(wasmldr string) (*keepmgr.Manager, string, error) {
	dir, err := os.MkdirTemp(temp, "m")
	if err != nil {
		return nil, "", err
	}
	manager, err := keepmgr.New(keepmgr.Config{
		RunDir: dir, DevDir: devDir, Keepldr: filepath.Join(bin, "redoubt-keepldr"), Wasmldr: wasmldr,
		Release: "test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, "", err
	}
	socket := filepath.Join(dir, "keepmgr.sock")
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", socket)
	if err != nil {
		return nil, "", err
	}
	server := &http.Server{Handler: manager.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	return manager, "unix://" + socket, nil
}
