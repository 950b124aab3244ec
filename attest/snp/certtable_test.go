package snp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/snp"
)

const (
	vcekGUID    = "63da758de6644564adc5f4b93be8accd"
	askGUID     = "4ab7b379bbac4fe4a02f05aef327c782"
	unknownGUID = "ecae0c0f950243b1afa20ae2e0d565b6"
	zeroGUID    = "00000000000000000000000000000000"
)

// A part is one entry of a hand-made certificate table.
type part struct {
	guid string
	data []byte
	at   int // offset to claim; -1 is the true one
	size int // length to claim; -1 is the true one
}

func rawTable(parts ...part) []byte {
	head := (len(parts) + 1) * 24
	var list, body []byte
	for _, p := range parts {
		if p.at < 0 {
			p.at = head + len(body)
		}
		if p.size < 0 {
			p.size = len(p.data)
		}
		list = append(list, must(hex.DecodeString(p.guid))...)
		list = binary.LittleEndian.AppendUint32(list, uint32(p.at))
		list = binary.LittleEndian.AppendUint32(list, uint32(p.size))
		body = append(body, p.data...)
	}
	return append(append(list, make([]byte, 24)...), body...)
}

func TestParseCertTable(t *testing.T) {
	t.Parallel()
	amd := lab[snp.Milan]()
	chip := must(amd.NewSNP())
	der := chip.VCEK.Raw
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	vcek := func(data []byte) []byte { return rawTable(part{vcekGUID, data, -1, -1}) }
	for _, tt := range []struct {
		name   string
		table  []byte
		reason string // empty if it is read, and has the VCEK
	}{
		{"DER", vcek(der), ""},
		{"PEM", vcek(asPEM), ""},
		{"PEM without a line's end", vcek(bytes.TrimSpace(asPEM)), ""},
		{"zeros behind", append(vcek(der), make([]byte, 100)...), ""},
		{"unknown entry", rawTable(part{unknownGUID, []byte{1, 2, 3}, -1, -1}, part{vcekGUID, der, -1, -1}), ""},
		{"two unknown entries of one GUID", rawTable(part{unknownGUID, []byte{1}, -1, -1}, part{unknownGUID, []byte{2}, -1, -1}, part{vcekGUID, der, -1, -1}), ""},
		{"16 entries", rawTable(append(bytes2parts(15), part{vcekGUID, der, -1, -1})...), ""},

		{"empty", nil, "no zero entry"},
		{"half an entry", make([]byte, 23), "no zero entry"},
		{"list without end", rawTable(part{vcekGUID, der, -1, -1})[:24], "does not lie in"},
		{"entry over the list's end", rawTable(part{unknownGUID, nil, 24, 24}), "overlaps"},
		{"17 entries", rawTable(append(bytes2parts(16), part{vcekGUID, der, -1, -1})...), "more than 16"},
		{"zero GUID with an offset", rawTable(part{zeroGUID, der, -1, -1}), "zero GUID"},
		{"empty VCEK", rawTable(part{vcekGUID, nil, -1, -1}), "does not lie in"},
		{"empty unknown entry", rawTable(part{unknownGUID, nil, -1, -1}, part{vcekGUID, der, -1, -1}), "does not lie in"},
		{"offset behind the end", rawTable(part{vcekGUID, der, 1 << 20, -1}), "does not lie in"},
		{"length behind the end", rawTable(part{vcekGUID, der, -1, len(der) + 1}), "does not lie in"},
		{"offset and length that overflow", rawTable(part{vcekGUID, der, 1<<32 - 1, 1<<32 - 1}), "does not lie in"},
		{"unknown entry outside", rawTable(part{unknownGUID, nil, 1 << 20, 1}, part{vcekGUID, der, -1, -1}), "does not lie in"},
		{"entry in the list", rawTable(part{vcekGUID, der, 24, -1}), "overlaps"},
		{"two entries share bytes", rawTable(part{vcekGUID, der, -1, -1}, part{unknownGUID, nil, 80, 1}), "overlaps"},
		{"bytes before an entry", rawTable(part{vcekGUID, append([]byte{1}, der...), 49, len(der)}), "in no entry"},
		{"bytes behind", append(vcek(der), 0, 1), "in no entry"},
		{"two VCEKs", rawTable(part{vcekGUID, der, -1, -1}, part{vcekGUID, der, -1, -1}), "two entries for the VCEK"},
		{"byte behind the DER", vcek(append(bytes.Clone(der), 0)), "trailing data"},
		{"DER cut", vcek(der[:len(der)-1]), "malformed certificate"},
		{"not a certificate", vcek([]byte("hello")), "malformed certificate"},
		{"two PEM blocks", vcek(append(bytes.Clone(asPEM), asPEM...)), "exactly one PEM block"},
		{"text behind the PEM", vcek(append(bytes.Clone(asPEM), "x"...)), "exactly one PEM block"},
		{"text before the PEM", vcek(append([]byte("x\n"), asPEM...)), "malformed certificate"},
		{"PEM of a key", vcek(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "exactly one PEM block"},
		{"PEM with headers", vcek(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: der})), "exactly one PEM block"},
		{"PEM cut", vcek(asPEM[:len(asPEM)-10]), "exactly one PEM block"},
		{"certificate too large", vcek(bytes.Repeat([]byte{1}, 8<<10+1)), "at most 8192"},
		{"table too large", append(vcek(der), make([]byte, snp.MaxTable)...), "at most 65536"},
		{"broken ASK beside a good VCEK", rawTable(part{askGUID, []byte{1}, -1, -1}, part{vcekGUID, der, -1, -1}), "ASK: x509"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := snp.ParseCertTable(tt.table)
			if tt.reason != "" {
				if !errors.Is(err, snp.ErrTable) || got != nil || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("got %v, want %q", err, tt.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.VCEK == nil || !got.VCEK.Equal(chip.VCEK) || got.ARK != nil || got.ASK != nil || got.VLEK != nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// bytes2parts returns n entries of an unknown GUID.
func bytes2parts(n int) []part {
	parts := make([]part, n)
	for i := range parts {
		parts[i] = part{unknownGUID, []byte{byte(i)}, -1, -1}
	}
	return parts
}

func TestCertTableEncode(t *testing.T) {
	t.Parallel()
	amd := lab[snp.Milan]()
	chip := must(amd.NewSNP())
	for _, want := range []snp.CertTable{
		{},
		{ARK: amd.ARK, ASK: amd.ASK, VCEK: chip.VCEK},
		{VLEK: chip.VCEK},
		{ARK: amd.ARK, ASK: amd.ASK, VCEK: chip.VCEK, VLEK: amd.ARK},
	} {
		got, err := snp.ParseCertTable(want.Encode())
		if err != nil {
			t.Fatal(err)
		}
		checkSame(t, got, &want)
	}
}

func checkSame(t *testing.T, got, want *snp.CertTable) {
	t.Helper()
	for _, pair := range [][2]*x509.Certificate{{got.ARK, want.ARK}, {got.ASK, want.ASK}, {got.VCEK, want.VCEK}, {got.VLEK, want.VLEK}} {
		if (pair[0] == nil) != (pair[1] == nil) || pair[0] != nil && !pair[0].Equal(pair[1]) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	amd := lab[snp.Milan]()
	asPEM := func(certs ...*x509.Certificate) string {
		var b strings.Builder
		for _, c := range certs {
			pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		}
		return b.String()
	}
	other := *amd.ARK
	other.RawSubject, other.Subject.CommonName = nil, "ARK-Venice"
	venice := issue(&other, &other, &amd.ARKKey.PublicKey, amd.ARKKey)
	unsigned := issue(amd.ARK, amd.ARK, &amd.ARKKey.PublicKey, amd.ASKKey)
	for _, tt := range []struct {
		name, data    string
		intermediates int
		reason        string // empty if it is read
	}{
		{"alone", asPEM(amd.ARK), 0, ""},
		{"with ASK", asPEM(amd.ASK, amd.ARK), 1, ""},
		{"empty", "", 0, "no self-signed certificate"},
		{"ASK alone", asPEM(amd.ASK), 0, "no self-signed certificate"},
		{"two roots", asPEM(amd.ARK, amd.ARK), 0, "two self-signed"},
		{"text", "hello", 0, "PEM blocks CERTIFICATE and nothing else"},
		{"text before", "x\n" + asPEM(amd.ARK), 0, "PEM blocks CERTIFICATE and nothing else"},
		{"text behind", asPEM(amd.ARK) + "x", 0, "PEM blocks CERTIFICATE and nothing else"},
		{"not signed by itself", asPEM(unsigned), 0, "verification error"},
		{"unknown product", asPEM(venice), 0, "must be Milan, Genoa or Turin"},
	} {
		root, err := snp.ParseRoot([]byte(tt.data))
		if tt.reason != "" {
			if err == nil || !strings.Contains(err.Error(), tt.reason) || root.ARK != nil {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.reason)
			}
			continue
		}
		if err != nil || !root.Dev || root.Product != snp.Milan || len(root.Intermediates) != tt.intermediates || !root.ARK.Equal(amd.ARK) {
			t.Errorf("%s: got %+v, %v", tt.name, root, err)
		}
	}
}
