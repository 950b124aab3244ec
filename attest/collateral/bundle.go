package collateral

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
)

// ErrBundle is wrapped by the errors for a bundle that is malformed or damaged,
// of another version, or too large.
var ErrBundle = errors.New("bundle not usable")

// A Bundle is collateral with a note on where it came from.
type Bundle struct {
	Collateral attest.Collateral
	Sources    []Source // information only; nothing may be decided by it
}

// A Source says where and when an item of collateral was fetched.
type Source struct {
	Item    [sha256.Size]byte // SHA-256 of the item
	URL     string            // at most 2048 printable characters
	Fetched time.Time         // in UTC and whole seconds
}

const (
	bundleName    = "redoubt-collateral"
	bundleVersion = 1
	maxURL        = 2048
	lastYear      = 9999
)

// bundlePrefix is what each bundle of any version begins with: an array of four,
// and the name.
var bundlePrefix = append([]byte{0x84, 0x60 + byte(len(bundleName))}, bundleName...)

type bundleFile struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Version uint64
	Body    cbor.RawMessage
	Sum     []byte // SHA-256 of Body: against damage, not against anybody
}

type bundleBody struct {
	Certificates [][]byte       `cbor:"certificates,omitempty"`
	CRLs         [][]byte       `cbor:"crls,omitempty"`
	TCBInfos     [][]byte       `cbor:"tcb-infos,omitempty"`
	QEIdentities [][]byte       `cbor:"qe-identities,omitempty"`
	Sources      []bundleSource `cbor:"sources,omitempty"`
}

type bundleSource struct {
	Item    []byte `cbor:"item"`
	URL     string `cbor:"url"`
	Fetched uint64 `cbor:"fetched"` // seconds since 1970
}

var (
	encMode = func() cbor.EncMode {
		opts := cbor.CoreDetEncOptions()
		opts.TagsMd = cbor.TagsForbidden
		return must(opts.EncMode())
	}()
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		UTF8:              cbor.UTF8RejectInvalid,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		MaxNestedLevels:   4,
		MaxArrayElements:  MaxItems * 4,
		MaxMapPairs:       16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a constant option set is wrong: cannot happen after the tests ran
	}
	return v
}

// EncodeBundle returns b as a file of at most MaxFile bytes: a CBOR array of a
// name, a version, a map and the map's SHA-256, in deterministic encoding (RFC
// 8949, section 4.2.1). All items must be as attest.Collateral wants them; what
// is there twice is written once. Times of sources lose what is less than a second.
func EncodeBundle(b Bundle) ([]byte, error) {
	c := b.Collateral
	body := bundleBody{Certificates: once(c.Certificates), CRLs: once(c.CRLs), TCBInfos: once(c.TCBInfos), QEIdentities: once(c.QEIdentities)}
	for _, s := range b.Sources {
		if s.Fetched.Before(time.Unix(0, 0)) {
			return nil, fmt.Errorf("%w: source %q was fetched before 1970", ErrBundle, s.URL)
		}
		body.Sources = append(body.Sources, bundleSource{s.Item[:], s.URL, uint64(s.Fetched.Unix())})
	}
	if err := body.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return body.encode()
}

// once returns items without those that are there twice.
func once(items [][]byte) (list [][]byte) {
	for _, item := range items {
		if !slices.ContainsFunc(list, func(b []byte) bool { return bytes.Equal(b, item) }) {
			list = append(list, item)
		}
	}
	return list
}

func (b bundleBody) encode() ([]byte, error) {
	raw, err := encMode.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	sum := sha256.Sum256(raw)
	data, err := encMode.Marshal(bundleFile{Name: bundleName, Version: bundleVersion, Body: raw, Sum: sum[:]})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrBundle, len(data), MaxFile)
	}
	return data, nil
}

// DecodeBundle reads what EncodeBundle wrote, and nothing else: encoding the
// result gives the same bytes.
func DecodeBundle(data []byte) (Bundle, error) {
	b, err := decodeBundle(data)
	if err != nil {
		return Bundle{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return b, nil
}

func decodeBundle(data []byte) (Bundle, error) {
	if len(data) > MaxFile {
		return Bundle{}, fmt.Errorf("%d bytes, at most %d allowed", len(data), MaxFile)
	}
	if !bytes.HasPrefix(data, bundlePrefix) {
		return Bundle{}, fmt.Errorf("does not begin with the name %q", bundleName)
	}
	var file bundleFile
	if err := decMode.Unmarshal(data, &file); err != nil {
		return Bundle{}, err
	}
	if file.Version != bundleVersion {
		return Bundle{}, fmt.Errorf("version %d, this program reads %d", file.Version, bundleVersion)
	}
	if sum := sha256.Sum256(file.Body); !bytes.Equal(file.Sum, sum[:]) {
		return Bundle{}, errors.New("damaged: the checksum is wrong")
	}
	var body bundleBody
	if err := decMode.Unmarshal(file.Body, &body); err != nil {
		return Bundle{}, err
	}
	if err := body.validate(); err != nil {
		return Bundle{}, err
	}
	again, err := body.encode()
	if err != nil {
		return Bundle{}, err
	}
	if !bytes.Equal(again, data) {
		return Bundle{}, errors.New("not in deterministic encoding")
	}
	b := Bundle{Collateral: attest.Collateral{
		Certificates: body.Certificates, CRLs: body.CRLs, TCBInfos: body.TCBInfos, QEIdentities: body.QEIdentities,
	}}
	for _, s := range body.Sources {
		b.Sources = append(b.Sources, Source{[sha256.Size]byte(s.Item), s.URL, time.Unix(int64(s.Fetched), 0).UTC()})
	}
	return b, nil
}

func (b bundleBody) validate() error {
	if n := len(b.Certificates) + len(b.CRLs) + len(b.TCBInfos) + len(b.QEIdentities); n > MaxItems {
		return fmt.Errorf("%d items, at most %d allowed", n, MaxItems)
	}
	sums := make(map[[sha256.Size]byte]bool)
	for _, list := range []struct {
		items [][]byte
		check func([]byte) error
	}{
		{b.Certificates, checkCertificate},
		{b.CRLs, checkCRL},
		{b.TCBInfos, func(item []byte) error { _, err := unwrap(tcbInfoKind, item); return err }},
		{b.QEIdentities, func(item []byte) error { _, err := unwrap(qeIdentityKind, item); return err }},
	} {
		for _, item := range list.items {
			if len(item) > MaxFile {
				return fmt.Errorf("an item of %d bytes, at most %d allowed", len(item), MaxFile)
			}
			if err := list.check(item); err != nil {
				return err
			}
			sum := sha256.Sum256(item)
			if sums[sum] {
				return fmt.Errorf("an item is there twice: SHA-256 %x", sum)
			}
			sums[sum] = true
		}
	}
	if len(b.Sources) > 2*MaxItems {
		return fmt.Errorf("%d sources, at most %d allowed", len(b.Sources), 2*MaxItems)
	}
	for _, s := range b.Sources {
		if len(s.Item) != sha256.Size || !sums[[sha256.Size]byte(s.Item)] {
			return fmt.Errorf("a source of an item that is not there: %x", s.Item[:min(len(s.Item), sha256.Size)])
		}
		if len(s.URL) > maxURL || slices.ContainsFunc([]byte(s.URL), func(c byte) bool { return c <= ' ' || c >= 0x7f }) {
			return fmt.Errorf("source %.64q: must be at most %d printable characters of ASCII", s.URL, maxURL)
		}
		if s.Fetched > uint64(time.Date(lastYear, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) {
			return fmt.Errorf("source %.64q: fetched %d seconds after 1970, which is after the year %d", s.URL, s.Fetched, lastYear)
		}
	}
	return nil
}

func checkCertificate(der []byte) error {
	if _, err := x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return nil
}

func checkCRL(der []byte) error {
	if _, err := x509.ParseRevocationList(der); err != nil {
		return fmt.Errorf("revocation list: %w", err)
	}
	return nil
}
