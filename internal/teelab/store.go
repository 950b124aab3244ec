package teelab

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

// The files of a folder. RootFile is the one that users copy to the machine
// that is to accept this one's evidence.
const (
	RootFile = "root.pem"
	askFile  = "ask.pem"
	vcekFile = "vcek.pem"
	keyFile  = "vcek.key"
	crlFile  = "crl.pem" // folders of earlier versions have none
)

// LoadOrCreate returns the simulated chip that is kept in the folder dir, and
// makes it if there is none. The private keys of the ARK and ASK are thrown away
// once they have signed; only the chip's own is kept. Several processes may call
// it at once: all get the same chip. A damaged folder is an error, and is left as
// it is.
func LoadOrCreate(dir string) (*SNP, error) {
	s, err := load(dir)
	if !errors.Is(err, errAbsent) {
		return s, err
	}
	s, err = NewSNP(time.Now())
	if err != nil {
		return nil, err
	}
	if err := s.store(dir); err != nil {
		// Another process may have been quicker: then its chip counts.
		if other, lerr := load(dir); !errors.Is(lerr, errAbsent) {
			return other, lerr
		}
		return nil, fmt.Errorf("keep simulated hardware in %s: %w", dir, err)
	}
	return s, nil
}

// LoadRoot reads a development root from a file, such as the RootFile of another
// machine.
func LoadRoot(file string) (snp.Root, error) {
	data, err := readFile(file)
	if err != nil {
		return snp.Root{}, fmt.Errorf("development root: %w", err)
	}
	root, err := snp.ParseRoot(data)
	if err != nil {
		return snp.Root{}, fmt.Errorf("development root %s: %w", file, err)
	}
	if !root.Dev {
		return snp.Root{}, fmt.Errorf("development root %s: is %s, a root of real hardware", file, root.Name)
	}
	return devRoot(root.Product, root.ARK), nil
}

// store writes s to a new folder dir. It is there completely or not at all.
func (s *SNP) store(dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+"-*") // mode 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // nothing is there any more if all went well
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, block string
		der         []byte
	}{
		{RootFile, "CERTIFICATE", s.ARK.Raw},
		{askFile, "CERTIFICATE", s.ASK.Raw},
		{vcekFile, "CERTIFICATE", s.VCEK.Raw},
		{keyFile, "PRIVATE KEY", key},
		{crlFile, "X509 CRL", s.crl},
	} {
		if err := writeFile(filepath.Join(temp, f.name), pem.EncodeToMemory(&pem.Block{Type: f.block, Bytes: f.der})); err != nil {
			return err
		}
	}
	if info, err := os.Lstat(dir); err == nil && info.IsDir() {
		os.Remove(dir) // an empty folder is in the way; fails if it is not empty
	}
	return os.Rename(temp, dir)
}

func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// errAbsent is load's error for a folder that is not there or empty.
var errAbsent = errors.New("no simulated hardware")

// load reads the folder dir and checks that what it holds belongs together.
func load(dir string) (*SNP, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, errAbsent
	}
	var s *SNP
	if err == nil {
		s, err = read(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("simulated hardware in %s is damaged: %w; move the folder away to have a new one made, with a new root", dir, err)
	}
	return s, nil
}

func read(dir string) (*SNP, error) {
	root, err := LoadRoot(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, err
	}
	ask, err := readCertificate(filepath.Join(dir, askFile))
	if err != nil {
		return nil, err
	}
	vcek, err := readCertificate(filepath.Join(dir, vcekFile))
	if err != nil {
		return nil, err
	}
	der, err := readPEM(filepath.Join(dir, keyFile), "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(vcek.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s", keyFile, vcekFile)
	}
	crl, err := readPEM(filepath.Join(dir, crlFile), "X509 CRL")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := newSNP(root.ARK, ask, vcek, private, crl)
	if err != nil {
		return nil, err
	}
	// The time is the chain's own: an old folder is not a damaged one.
	ev, err := s.Evidence([64]byte{}, [48]byte{})
	if err != nil {
		return nil, err
	}
	c := snp.Collateral{CRLs: s.Collateral().CRLs}
	claims, err := snp.Verify(ev.Report, ev.Auxblob, c, []snp.Root{root}, nil, vcek.NotBefore)
	if err != nil {
		return nil, err
	}
	if crl != nil && len(claims.Unchecked) > 0 {
		return nil, fmt.Errorf("%s is not of %s", crlFile, RootFile)
	}
	return s, nil
}

func readCertificate(name string) (*x509.Certificate, error) {
	der, err := readPEM(name, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return cert, nil
}

func readPEM(name, block string) ([]byte, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	b, rest := pem.Decode(data)
	if b == nil || b.Type != block || len(rest) != 0 {
		return nil, fmt.Errorf("%s: must be one PEM block %s", filepath.Base(name), block)
	}
	return b.Bytes, nil
}

// readFile reads a small file.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > snp.MaxTable {
		return nil, fmt.Errorf("%s: must be a file of at most %d bytes", name, snp.MaxTable)
	}
	return os.ReadFile(name)
}
