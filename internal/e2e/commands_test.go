//go:build linux

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/redoubt-tee/redoubt/wire"
)

// patience is how long a command waits for what should be there at once: long,
// since only what never comes is a fault, and the machine may have much to do.
const patience = 40 * time.Second

// eventually reports whether ok became true within patience.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// status CODE PROGRAM ARGS... runs a program, which must exit with CODE within
// patience. If not, it is made to say where it hangs.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE PROGRAM ARGS...")
	}
	before := processes(binOf(ts))
	late := time.AfterFunc(patience, func() {
		for _, p := range processes(binOf(ts)) {
			if !slices.Contains(before, p) {
				_ = syscall.Kill(p.pid, syscall.SIGQUIT) // gone by itself, at last
			}
		}
	})
	code := "0"
	err := ts.Exec(args[1], args[2:]...)
	if !late.Stop() {
		ts.Fatalf("still running after %v", patience)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = fmt.Sprint(exit.ExitCode())
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("exit status %s, expected %s", code, args[0])
	}
}

// waitsocket PATH|HOST:PORT waits until somebody listens there.
func waitSocket(ts *testscript.TestScript, _ bool, args []string) {
	network := "unix"
	if !filepath.IsAbs(args[0]) {
		network = "tcp"
	}
	if !eventually(func() bool {
		c, err := net.DialTimeout(network, args[0], time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		ts.Fatalf("nobody listens on %s", args[0])
	}
}

// waitgrep REGEXP FILE waits until the file has a match.
func waitGrep(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var data []byte
	if !eventually(func() bool {
		data, _ = os.ReadFile(ts.MkAbs(args[1])) // not there yet
		return re.Match(data)
	}) {
		ts.Fatalf("no match for %q in %s:\n%s", args[0], args[1], data)
	}
}

// waitkeeps STATE VAR... waits until the keepmgr at the usual socket has as many
// Keeps in that state as there are variables, and sets these to the Keeps' IDs,
// the oldest first.
func waitKeeps(ts *testscript.TestScript, _ bool, args []string) {
	var ids []string
	if !eventually(func() bool {
		ts.Check(ts.Exec("redoubt", "keep", "ls", "--json"))
		var list wire.KeepList
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
		ids = nil
		for _, k := range list.Keeps {
			if string(k.State) == args[0] {
				ids = append(ids, k.ID)
			}
		}
		return len(ids) == len(args)-1
	}) {
		ts.Fatalf("there are %d Keeps in state %s, expected %d", len(ids), args[0], len(args)-1)
	}
	for i, id := range ids {
		ts.Setenv(args[1+i], id)
	}
}

// A process is one of those that a test started, directly or not.
type process struct {
	pid  int
	what string // the program's name, or "runner"
}

// processes finds those whose program is in the folder bin.
func processes(bin string) []process {
	var found []process
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		// One that can't be read is another user's, or gone.
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		exe = strings.TrimSuffix(exe, " (deleted)")
		if filepath.Dir(exe) != bin {
			continue
		}
		p := process{what: filepath.Base(exe)}
		if cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline")); bytes.Equal(cmdline, []byte("redoubt-wasmldr\x00runner\x00")) {
			p.what = "runner"
		}
		for _, digit := range filepath.Base(dir) {
			p.pid = 10*p.pid + int(digit-'0')
		}
		found = append(found, p)
	}
	return found
}

func binOf(ts *testscript.TestScript) string { return filepath.Join(ts.Getenv("WORK"), "bin") }

// signal NAME PROGRAM signals all processes of this test that run
// PROGRAM. "runner" is the one that redoubt-wasmldr starts.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	number, ok := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
	}[args[0]]
	if !ok {
		ts.Fatalf("no signal %s", args[0])
	}
	sent := 0
	for _, p := range processes(binOf(ts)) {
		if p.what == args[1] {
			ts.Check(syscall.Kill(p.pid, number))
			sent++
		}
	}
	if sent == 0 {
		ts.Fatalf("no %s is running", args[1])
	}
}

func killAll(bin string) {
	for _, p := range processes(bin) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // gone by itself
	}
}

// nothing-left [PROGRAM...] says that soon none of this test's processes runs but
// those of the programs given; without any, that their sockets are gone too.
func nothingLeft(ts *testscript.TestScript, _ bool, args []string) {
	var left []process
	if !eventually(func() bool {
		left = nil
		for _, p := range processes(binOf(ts)) {
			if !slices.Contains(args, p.what) {
				left = append(left, p)
			}
		}
		return len(left) == 0
	}) {
		ts.Fatalf("left running: %v", left)
	}
	if len(args) > 0 {
		return
	}
	for _, pattern := range []string{ts.Getenv("TMPDIR") + "/redoubt-*", ts.Getenv("XDG_RUNTIME_DIR") + "/redoubt/keeps/*"} {
		if files, _ := filepath.Glob(pattern); files != nil {
			ts.Fatalf("left behind: %v", files)
		}
	}
}

// certificates makes, in the script's folder, ca.pem and certificates of it for
// a host on 127.0.0.1 and a client (host.pem, host.key, client.pem,
// client.key), and the same of another CA (other-ca.pem, other-host.pem, ...).
func certificates(ts *testscript.TestScript, _ bool, _ []string) {
	for _, prefix := range []string{"", "other-"} {
		caKey := newKey(ts)
		ca := &x509.Certificate{
			Subject: pkix.Name{CommonName: prefix + "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		ca = issue(ts, prefix+"ca.pem", ca, ca, caKey, caKey)
		for _, name := range []string{"host", "client"} {
			key := newKey(ts)
			der, err := x509.MarshalPKCS8PrivateKey(key)
			ts.Check(err)
			writePEM(ts, prefix+name+".key", "PRIVATE KEY", der)
			issue(ts, prefix+name+".pem", &x509.Certificate{
				Subject:     pkix.Name{CommonName: name},
				IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
				KeyUsage:    x509.KeyUsageDigitalSignature,
				ExtKeyUsage: []x509.ExtKeyUsage{map[string]x509.ExtKeyUsage{"host": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth}[name]},
			}, ca, key, caKey)
		}
	}
}

func newKey(ts *testscript.TestScript) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	return key
}

func issue(ts *testscript.TestScript, file string, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	cert.SerialNumber = big.NewInt(time.Now().UnixNano())
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), parentKey)
	ts.Check(err)
	writePEM(ts, file, "CERTIFICATE", der)
	issued, err := x509.ParseCertificate(der)
	ts.Check(err)
	return issued
}

func writePEM(ts *testscript.TestScript, file, block string, der []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(file), pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), 0o600))
}

// freeport VAR sets VAR to a TCP port that nobody listens on.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], port)
}

// field is the number after name in a file of /proc.
func field(file []byte, name string) int {
	n := 0
	if _, after, ok := bytes.Cut(file, []byte(name)); ok {
		fmt.Sscan(string(after), &n)
	}
	return n
}
