package cmw_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-tee/redoubt/attest/cmw"
)

// TestCertificates puts messages of each form into certificates and requests.
func TestCertificates(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range messages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			extension, err := tt.want.Extension()
			if err != nil {
				t.Fatal(err)
			}
			extras := []pkix.Extension{extension}
			der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1, 0), ExtraExtensions: extras}, &x509.Certificate{}, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if der, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: extras}, key); err != nil {
				t.Fatal(err)
			}
			request, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			for _, list := range [][]pkix.Extension{certificate.Extensions, request.Extensions} {
				got, oid, err := cmw.FromExtensions(list)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(*got, tt.want) || !oid.Equal(cmw.OID()) {
					t.Errorf("got %+v from %v, want %+v", *got, oid, tt.want)
				}
				for _, e := range list {
					if e.Id.Equal(cmw.OID()) && e.Critical {
						t.Error("critical")
					}
				}
			}
		})
	}
}

func raw(tag int, data string) []byte {
	b, err := asn1.Marshal(asn1.RawValue{Tag: tag, Bytes: []byte(data)})
	if err != nil {
		panic(err)
	}
	return b
}

func TestFromExtensions(t *testing.T) {
	t.Parallel()
	const record, utf8, octets = "\x82\x01\x41\x00", asn1.TagUTF8String, asn1.TagOctetString
	const tagged = "\xd9\xea\x60\x82\x41\x01\x41\x02"
	oid, dice := cmw.OID(), cmw.OIDDICE()
	type list = []pkix.Extension
	good := pkix.Extension{Id: oid, Value: raw(octets, record)}
	old := pkix.Extension{Id: dice, Value: []byte(tagged)}
	for _, tt := range []struct {
		name   string
		list   list
		want   error // nil if it is read
		reason string
	}{
		{"CBOR", list{good}, nil, ""},
		{"critical", list{{Id: oid, Critical: true, Value: good.Value}}, nil, ""},
		{"among others", list{{Id: asn1.ObjectIdentifier{2, 5, 29, 14}}, good}, nil, ""},
		{"JSON", list{{Id: oid, Value: raw(utf8, `["a/b","AA"]`)}}, nil, ""},
		{"old, tagged", list{old}, nil, ""},
		{"old, in a string", list{{Id: dice, Value: raw(octets, tagged)}}, nil, ""},
		{"old, JSON", list{{Id: dice, Value: raw(utf8, `["a/b","AA"]`)}}, nil, ""},

		{"none", nil, cmw.ErrNoExtension, "1.3.6.1.5.5.7.1.35"},
		{"others alone", list{{Id: asn1.ObjectIdentifier{2, 5, 29, 14}}}, cmw.ErrNoExtension, ""},
		{"two", list{good, good}, cmw.ErrExtensions, ""},
		{"two old ones", list{old, old}, cmw.ErrExtensions, ""},
		{"old and new", list{old, good}, cmw.ErrExtensions, "2.23.133.5.4.9 and 1.3.6.1.5.5.7.1.35"},
		{"new and old", list{good, old}, cmw.ErrExtensions, ""},
		{"a broken one and a good one", list{{Id: oid}, good}, cmw.ErrExtensions, ""},
		{"empty", list{{Id: oid}}, cmw.ErrMalformed, ""},
		{"tagged under the new identifier", list{{Id: oid, Value: []byte(tagged)}}, cmw.ErrMalformed, ""},
		{"record without a string", list{{Id: dice, Value: []byte(record)}}, cmw.ErrMalformed, ""},
		{"JSON without a string", list{{Id: oid, Value: []byte(`["a/b","AA"]`)}}, cmw.ErrMalformed, ""},
		{"JSON in octets", list{{Id: oid, Value: raw(octets, `["a/b","AA"]`)}}, cmw.ErrMalformed, "JSON must be in a UTF8String"},
		{"CBOR in text", list{{Id: oid, Value: raw(utf8, "\xa1\x01\x82\x01\x41\x00")}}, cmw.ErrMalformed, "not UTF-8"},
		{"printable string", list{{Id: oid, Value: raw(asn1.TagPrintableString, `["a/b","AA"]`)}}, cmw.ErrMalformed, "tag 19"},
		{"sequence", list{{Id: oid, Value: []byte{0x30, 0}}}, cmw.ErrMalformed, "tag 16"},
		{"context tag", list{{Id: oid, Value: []byte{0x84, 1, 0}}}, cmw.ErrMalformed, "class 2"},
		{"trailing", list{{Id: oid, Value: append(raw(octets, record), 0)}}, cmw.ErrMalformed, "1 bytes behind"},
		{"trailing inside", list{{Id: oid, Value: raw(octets, record+"\x00")}}, cmw.ErrMalformed, "1 bytes behind"},
		{"old, trailing", list{{Id: dice, Value: []byte(tagged + "\x00")}}, cmw.ErrMalformed, "1 bytes behind"},
		{"long length", list{{Id: oid, Value: []byte("\x04\x81\x04" + record)}}, cmw.ErrMalformed, ""},
		{"large", list{{Id: oid, Value: make([]byte, cmw.MaxSize+9)}}, cmw.ErrTooLarge, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, oid, err := cmw.FromExtensions(tt.list)
			if !errors.Is(err, tt.want) || (err == nil) != (m != nil && oid != nil) {
				t.Fatalf("got %v, %v, %v; want %v", m, oid, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q in it", err, tt.reason)
			}
		})
	}
}

func TestExtensionRefuses(t *testing.T) {
	t.Parallel()
	if e, err := new(cmw.Message).Extension(); !errors.Is(err, cmw.ErrMalformed) || e.Value != nil {
		t.Errorf("%v, %v", e, err)
	}
}
