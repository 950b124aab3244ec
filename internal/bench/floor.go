//go:build linux

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/measure"
)

// A floor is what a cold run can't do without, each piece by itself: the
// processes that there are more than with bare wazero, and the cryptography.
type floor struct {
	names []string
	took  map[string][]time.Duration
	times map[string]int // how often a run does it
}

// findFloor measures the pieces in turn.
func (b *bench) findFloor(ctx context.Context) (*floor, error) {
	chip, err := teelab.LoadOrCreate(filepath.Join(b.dir, "state", "redoubt", "dev"))
	if err != nil {
		return nil, err
	}
	evidence, err := chip.Evidence([64]byte{}, [48]byte{})
	if err != nil {
		return nil, err
	}
	roots := []snp.Root{chip.Root()}
	handshake, err := newHandshake()
	if err != nil {
		return nil, err
	}
	f := &floor{took: make(map[string][]time.Duration), times: make(map[string]int)}
	pieces := []struct {
		name  string
		times int
		do    func() error
	}{
		{"start and end redoubt", 1, func() error { return b.startAndEnd(ctx, 0, b.redoubt, "version") }},
		{"start and end redoubt-keepldr", 1, func() error { return b.startAndEnd(ctx, 0, b.keepldr, "nothing") }},
		{"start and end redoubt-wasmldr in namespaces", 1, func() error { return b.startAndEnd(ctx, namespaces, b.wasmldr, "nothing") }},
		{"start and end redoubt-wasmldr as runner", 1, func() error { return b.startAndEnd(ctx, 0, b.wasmldr, "nothing") }},
		{"start and end bare wazero", -1, func() error { return b.startAndEnd(ctx, 0, b.wazero) }},
		{"measure redoubt-wasmldr (SHA-256)", 2, func() error { return measureFile(b.wasmldr) }},
		{"sign simulated evidence", 1, func() error {
			_, err := chip.Evidence([64]byte{}, [48]byte{})
			return err
		}},
		{"verify evidence and its chain", 1, func() error {
			_, err := attest.Verify(evidence, attest.Collateral{}, attest.Roots{SNP: roots}, time.Now())
			return err
		}},
		{"HPKE key, seal and open (MLKEM768X25519)", 1, sealAndOpen},
		{"TLS 1.3 handshake, mutual (X25519MLKEM768)", 1, func() error { return handshake(ctx) }},
	}
	for range b.runs + 1 {
		for _, p := range pieces {
			start := time.Now()
			if err := p.do(); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			f.took[p.name] = append(f.took[p.name], time.Since(start))
		}
	}
	for _, p := range pieces {
		f.names, f.times[p.name] = append(f.names, p.name), p.times
		f.took[p.name] = f.took[p.name][1:] // the first warmed up
	}
	return f, nil
}

func (f *floor) show() error {
	t := newTable("Floor of a cold run: what it has to do more than bare wazero, one after the other", "each", "times")
	var sum time.Duration
	for _, name := range f.names {
		m := median(f.took[name])
		sum += time.Duration(f.times[name]) * m
		t.row(name, ms(m), fmt.Sprintf("%+d", f.times[name]))
	}
	t.row("sum", ms(sum))
	return t.end()
}

// namespaces are those that host/process makes for a process Keep.
const namespaces = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// startAndEnd starts a program that has nothing to do, or refuses its
// arguments, and waits for its end.
func (b *bench) startAndEnd(ctx context.Context, flags uintptr, name string, args ...string) error {
	cmd := b.command(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var refused *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &refused) {
		return err
	}
	return nil
}

func measureFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = measure.Process(f)
	return err
}

func sealAndOpen() error {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return err
	}
	public, err := hpke.MLKEM768X25519().NewPublicKey(key.PublicKey().Bytes())
	if err != nil {
		return err
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), nil, []byte("secret"))
	if err != nil {
		return err
	}
	_, err = hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), nil, sealed)
	return err
}

// newHandshake returns what makes one TLS connection like the deployment
// channel's, over a Unix socket.
func newHandshake() (func(context.Context) error, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		MinVersion:   tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, //nolint:gosec // both ends are here
	}
	return func(ctx context.Context) error {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var conns [2]net.Conn
		for i, fd := range pair {
			f := os.NewFile(uintptr(fd), "pair")
			defer f.Close()
			if conns[i], err = net.FileConn(f); err != nil {
				return err
			}
			defer conns[i].Close()
		}
		served := make(chan error, 1)
		go func() { served <- tls.Server(conns[0], config).HandshakeContext(ctx) }()
		return errors.Join(tls.Client(conns[1], config).HandshakeContext(ctx), <-served)
	}, nil
}
