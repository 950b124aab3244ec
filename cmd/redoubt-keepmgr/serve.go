package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-tee/redoubt/host/keepmgr"
	"github.com/redoubt-tee/redoubt/internal/dirs"
	"github.com/redoubt-tee/redoubt/internal/version"
)

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "redoubt-keepmgr",
		Short:         "Create Keeps on this host and take clients to them",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), "redoubt-keepmgr", version.String()) },
	})
	return root
}

// options are serve's flags.
type options struct {
	listen, state, run     string
	tlsCert, tlsKey, tlsCA string
	keepldr, wasmldr       string
}

func serveCommand() *cobra.Command {
	o := options{}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve clients until stopped",
		Long: `Serve clients until stopped by SIGINT or SIGTERM, which ends all Keeps.

It listens on a Unix socket that only this user can open. On TCP it speaks TLS,
and only with clients that have a certificate of the given CA.`,
		Example: `  redoubt-keepmgr serve
  redoubt-keepmgr serve --listen unix:///run/redoubt/keepmgr.sock
  redoubt-keepmgr serve --listen https://0.0.0.0:7443 \
      --tls-cert host.pem --tls-key host.key --client-ca tenants.pem`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return serve(ctx, &o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "", "`URL` to listen on: unix:///PATH or https://ADDRESS:PORT (default the user's own socket)")
	f.StringVar(&o.state, "state", "", "`folder` for what outlives this program (default the user's own)")
	f.StringVar(&o.run, "run", "", "`folder` for the Keeps' sockets (default the user's own)")
	f.StringVar(&o.tlsCert, "tls-cert", "", "certificate chain, PEM `file` (https)")
	f.StringVar(&o.tlsKey, "tls-key", "", "its private key, PEM `file` (https)")
	f.StringVar(&o.tlsCA, "client-ca", "", "CA certificates of the clients to accept, PEM `file` (https)")
	f.StringVar(&o.keepldr, "keepldr", "", "`path` of redoubt-keepldr (default beside this program, or on PATH)")
	f.StringVar(&o.wasmldr, "wasmldr", "", "`path` of redoubt-wasmldr (default beside this program, or on PATH)")
	return c
}

func serve(ctx context.Context, o *options) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := o.fill(); err != nil {
		return err
	}
	manager, err := keepmgr.New(keepmgr.Config{
		RunDir: o.run, DevDir: dirs.Dev(o.state), Keepldr: o.keepldr, Wasmldr: o.wasmldr, Release: version.String(), Log: log,
	})
	if err != nil {
		return err
	}
	defer manager.Close()
	// Only now: who can connect finds everything in place.
	listener, err := o.open(ctx)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           manager.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	log.Info("serving", "listen", o.listen, "version", version.String())
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	log.Info("stopping")
	return nil
}

// fill sets what the flags left open.
func (o *options) fill() (err error) {
	if o.state == "" {
		if o.state, err = dirs.State(); err != nil {
			return err
		}
	}
	if o.run == "" {
		o.run = filepath.Join(dirs.Run(), "keeps")
	}
	if o.listen == "" {
		o.listen = "unix://" + dirs.Socket()
	}
	for name, path := range map[string]*string{"redoubt-keepldr": &o.keepldr, "redoubt-wasmldr": &o.wasmldr} {
		if *path == "" {
			if *path, err = dirs.Program(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *options) open(ctx context.Context) (net.Listener, error) {
	u, err := url.Parse(o.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		return openUnix(ctx, u.Path)
	case u.Scheme == "https" && u.Host != "" && u.Path == "":
		return o.openTLS(u.Host)
	}
	return nil, fmt.Errorf("--listen %s: expected unix:///PATH or https://ADDRESS:PORT", o.listen)
}

// openUnix listens on path, for this user alone. A socket that nobody serves is
// a leftover of one that died, and replaced.
func openUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: another keepmgr serves it", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := syscall.Umask(0o177) // no moment at which others could connect
	defer syscall.Umask(old)
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}

func (o *options) openTLS(address string) (net.Listener, error) {
	if o.tlsCert == "" || o.tlsKey == "" || o.tlsCA == "" {
		return nil, errors.New("--listen https://… needs --tls-cert, --tls-key and --client-ca")
	}
	cert, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", o.tlsCert, o.tlsKey, err)
	}
	pem, err := os.ReadFile(o.tlsCA)
	if err != nil {
		return nil, fmt.Errorf("--client-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--client-ca %s: no certificate in it; expected PEM", o.tlsCA)
	}
	return tls.Listen("tcp", address, &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"http/1.1"}, // tunnels are upgrades of a connection
	})
}
