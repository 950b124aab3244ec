//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-tee/redoubt/client"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/wire"
)

// settle is how long a Keep is left alone before its memory is read.
const settle = time.Second

// many is how many Keeps it takes to see what one more costs.
const many = 8

// usage is the memory of processes, by name.
type usage map[string]int64

// memory is that of a Keep at rest.
func (b *bench) memory(ctx context.Context) error {
	err := b.readMemory(ctx)
	if errors.Is(err, fs.ErrPermission) {
		fmt.Fprintln(os.Stdout, "\nMemory at rest: left out, since only root may see a Keep's:", err)
		return nil
	}
	return err
}

func (b *bench) readMemory(ctx context.Context) (err error) {
	socket := filepath.Join(b.dir, "keepmgr.sock")
	manager := b.command(ctx, b.keepmgr, "serve", "--listen", "unix://"+socket)
	if err := manager.Start(); err != nil {
		return err
	}
	defer func() {
		manager.Process.Signal(os.Interrupt) //nolint:errcheck // if it is gone, Wait says why
		err = errors.Join(err, manager.Wait())
	}()
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	host, err := client.Open("unix://"+socket, nil)
	if err != nil {
		return err
	}
	defer host.Close()

	t := newTable("Memory at rest (PSS)", "together", "keepldr", "wasmldr", "runner", "wazero", "ratio")
	row := func(name string, u usage, bare int64) {
		together := u["redoubt-keepldr"] + u["redoubt-wasmldr"] + u["runner"]
		cells := []string{mib(together), mib(u["redoubt-keepldr"]), mib(u["redoubt-wasmldr"]), mib(u["runner"])}
		if bare > 0 {
			cells = append(cells, mib(bare), fmt.Sprintf("%.2f x", float64(together)/float64(bare)))
		}
		t.row(name, cells...)
	}
	ready, err := b.readyKeeps(ctx, host, manager.Process.Pid, 1)
	if err != nil {
		return err
	}
	row("a Keep that waits for its tenant", ready, 0)
	eight, err := b.readyKeeps(ctx, host, manager.Process.Pid, many)
	if err != nil {
		return err
	}
	t.row("one more such Keep, beside others", mib((eight["all"]-ready["all"])/(many-1)))
	for _, w := range []struct {
		name, module string
		args         []string
	}{
		{"a Keep that runs a tiny guest, which reads", b.reader, nil},
		{"a Keep that runs a Go guest, which sleeps", b.guest, []string{"sleep", "1h"}},
	} {
		u, err := b.runningKeep(ctx, host, manager.Process.Pid, w.module, w.args)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		bare, err := b.bareMemory(ctx, w.module, w.args)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		row(w.name, u, bare)
	}
	t.row("keepmgr, for all Keeps", mib(ready["redoubt-keepmgr"]))
	return t.end()
}

// read returns the memory of manager's processes. Of those with the same name it
// is one's; "all" is the sum.
func read(manager int) (usage, error) {
	u := make(usage)
	for _, p := range processes(manager) {
		n, err := pss(p.pid)
		if err != nil {
			return nil, err
		}
		u[p.name] = n
		u["all"] += n
	}
	return u, nil
}

// readyKeeps is the memory with n Keeps that nobody has provisioned.
func (b *bench) readyKeeps(ctx context.Context, host *client.Host, manager, n int) (u usage, err error) {
	for range n {
		info, err := host.Create(ctx, wire.KindProcess, 64<<20)
		if err != nil {
			return nil, err
		}
		defer host.Stop(ctx, info.ID) //nolint:errcheck // keepmgr's end ends it too
		if _, err := host.Wait(ctx, info.ID, wire.StateReady); err != nil {
			return nil, err
		}
	}
	time.Sleep(settle)
	return read(manager)
}

// runningKeep is the memory with a Keep that runs a guest.
func (b *bench) runningKeep(ctx context.Context, host *client.Host, manager int, module string, args []string) (usage, error) {
	data, err := os.ReadFile(module)
	if err != nil {
		return nil, err
	}
	chip, err := teelab.LoadOrCreate(filepath.Join(b.dir, "state", "redoubt", "dev"))
	if err != nil {
		return nil, err
	}
	stdin, never := io.Pipe()
	defer never.Close()
	loaded := make(chan struct{})
	d := &client.Deployment{
		Kind: wire.KindProcess, Module: data, Args: append([]string{filepath.Base(module)}, args...),
		Profile: wire.Production, Limits: wire.Limits{Memory: 1 << 30},
		Trust: client.Trust{Policy: client.ProcessPolicy()},
		Stdin: stdin, Stdout: io.Discard, Stderr: io.Discard,
		OnStep: func(s client.Step) {
			if s.Number == 9 {
				close(loaded)
			}
		},
	}
	d.Policy.SNP.AnyMeasurement = true
	d.Roots.SNP = append(d.Roots.SNP, chip.Root())
	work, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := client.Deploy(work, host, d)
		ended <- err
	}()
	select {
	case err := <-ended:
		return nil, errors.Join(errors.New("the guest ended by itself"), err)
	case <-loaded:
	}
	time.Sleep(settle)
	u, err := read(manager)
	stop()
	return u, errors.Join(err, <-ended)
}

// bareMemory is that of bare wazero with the same guest.
func (b *bench) bareMemory(ctx context.Context, module string, args []string) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	line := b.bareWazero(module, args...)
	cmd := b.command(ctx, line[0], line[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	time.Sleep(2 * settle) // it compiles in that time too
	n, err := pss(cmd.Process.Pid)
	cancel()
	_ = cmd.Wait() // it was killed
	return n, err
}
