// Command guest is the test workload: one WASI program that does what its
// first argument says.
//
//	exit N         exit with status N
//	args           print the arguments after "args", one a line
//	env            print the environment, sorted, one a line
//	cat            copy standard input to standard output
//	hash           print the SHA-256 of standard input, in hexadecimal
//	yes-bytes N    write N bytes to standard output
//	read-none      exit without reading standard input
//	stderr TEXT    write TEXT and a newline to standard error
//	sleep DUR      sleep, as time.ParseDuration reads DUR
//	time           print the Unix time in ns, sleep 10 ms, print the monotonic difference in ns
//	random         print 32 random bytes, in hexadecimal
//	spin           loop without calling the host, for centuries
//	spin-calls     loop for ever reading the clock
//	grow           grow the memory until refused, then print "grown N" (bytes in all)
//	alloc N        allocate and touch N bytes, then print "allocated N"
//	panic          panic
//	fs             try to open files, print one line each: path and error
//	net            try to dial and to listen, print one line each: what and error
//
// A usage error exits with 2, as a Go panic does; an I/O error with 1.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

var errUsage = errors.New("usage: guest COMMAND [ARG], see the source")

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	command, args := args[0], args[1:]
	switch command {
	case "args":
		return lines(args)
	case "env":
		env := os.Environ()
		slices.Sort(env)
		return lines(env)
	case "cat":
		return copyAll(os.Stdout, os.Stdin)
	case "hash":
		h := sha256.New()
		if err := copyAll(h, os.Stdin); err != nil {
			return err
		}
		return lines([]string{fmt.Sprintf("%x", h.Sum(nil))})
	case "read-none":
		return nil
	case "time":
		return clocks()
	case "random":
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return err
		}
		return lines([]string{fmt.Sprintf("%x", b)})
	case "spin":
		// For centuries: until the counter overflows.
		for n := uint64(1); n != 0; n++ {
		}
	case "spin-calls":
		for time.Now().Year() > 0 {
		}
	case "grow":
		return lines([]string{"grown " + strconv.FormatUint(growAll(), 10)})
	case "panic":
		panic("as asked")
	case "fs":
		return files()
	case "net":
		return network()
	}

	if len(args) != 1 {
		return errUsage
	}
	switch command {
	case "stderr":
		_, err := fmt.Fprintln(os.Stderr, args[0])
		return err
	case "sleep":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		time.Sleep(d)
		return nil
	}

	n, err := strconv.ParseUint(args[0], 10, 32+16)
	if err != nil {
		return err
	}
	switch command {
	case "exit":
		os.Exit(int(n))
	case "yes-bytes":
		return yes(n)
	case "alloc":
		b := make([]byte, n)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return lines([]string{"allocated " + strconv.Itoa(len(b))})
	}
	return errUsage
}

func lines(ss []string) error {
	w := bufio.NewWriter(os.Stdout)
	for _, s := range ss {
		fmt.Fprintln(w, s)
	}
	return w.Flush()
}

// copyAll hides the methods of its arguments, because io.Copy between files
// otherwise takes a path with small buffers.
func copyAll(w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 64<<10))
	return err
}

func yes(n uint64) error {
	buf := []byte(strings.Repeat("y\n", 32<<10))
	for n > 0 {
		b := buf[:min(n, uint64(len(buf)))]
		if _, err := os.Stdout.Write(b); err != nil {
			return err
		}
		n -= uint64(len(b))
	}
	return nil
}

func clocks() error {
	start := time.Now()
	time.Sleep(10 * time.Millisecond)
	return lines([]string{
		strconv.FormatInt(start.UnixNano(), 10),
		strconv.FormatInt(int64(time.Since(start)), 10),
	})
}

func files() error {
	var out []string
	for _, path := range []string{".", "/", "/etc/passwd", "/dev/urandom", "../.."} {
		f, err := os.Open(path)
		if err == nil {
			err = f.Close()
		}
		out = append(out, fmt.Sprintf("%s: %v", path, err))
	}
	_, err := os.Create("/tmp/made-by-guest")
	return lines(append(out, fmt.Sprintf("create: %v", err)))
}

func network() error {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:80", time.Second)
	if err == nil {
		err = conn.Close()
	}
	out := []string{fmt.Sprintf("dial: %v", err)}
	l, err := net.FileListener(os.NewFile(3, "fd3"))
	if err == nil {
		err = l.Close()
	}
	return lines(append(out, fmt.Sprintf("listener on fd 3: %v", err)))
}
