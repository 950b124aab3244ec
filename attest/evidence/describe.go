package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// unknown returns an error that says what evidence looks like, and what data
// does.
func unknown(data []byte) error {
	var list []string
	for _, kind := range attest.Technologies() {
		list = append(list, kinds[kind])
	}
	return fmt.Errorf("%w: found %s; must be %s; bare, in a conceptual message wrapper, a configfs-tsm report, a certificate or a request, also as hexadecimal digits or base64",
		ErrUnknown, look(data), strings.Join(list, ", or "))
}

// collateral is members of the JSON that is collateral, and its names.
var collateral = []struct{ member, name string }{
	{"tcbInfo", "Intel's TCB info, which is collateral"},
	{"tcb_info", "collateral of a quote"},
	{"enclaveIdentity", "Intel's QE identity, which is collateral"},
	{"kty", "a JSON Web Key"},
}

// look describes data for people.
func look(data []byte) string {
	switch {
	case len(data) == 0:
		return "no bytes"
	case bytes.HasPrefix(data, []byte("HCLA")):
		return "Azure's HCL report, which is not supported: take the SNP report of 1184 bytes at offset 32"
	case isJSON(data):
		return lookJSON(data)
	case isText(data):
		return fmt.Sprintf("text of %d bytes that begins with %.32q", len(data), data)
	case zero(data):
		return fmt.Sprintf("%d bytes that are all zero", len(data))
	case len(data) == reportSize:
		return fmt.Sprintf("%d bytes, as many as an SNP report has, with version %d", len(data), binary.LittleEndian.Uint32(data))
	}
	if isTable(data) {
		return "a certificate table of AMD (auxblob), which goes with an SNP report"
	}
	return fmt.Sprintf("%d bytes that begin with %x", len(data), data[:min(16, len(data))])
}

func lookJSON(data []byte) string {
	members, err := object(data)
	if err != nil {
		return fmt.Sprintf("JSON of %d bytes: %v", len(data), err)
	}
	var names []string
	for name := range members {
		names = append(names, fmt.Sprintf("%.32q", name))
	}
	slices.Sort(names)
	for _, c := range collateral {
		if members[c.member] != nil {
			return c.name
		}
	}
	return fmt.Sprintf("a JSON object of %d members: %s", len(names), strings.Join(names[:min(8, len(names))], ", "))
}

// isTable says whether data is a certificate table with certificates.
func isTable(data []byte) bool {
	table, err := snp.ParseCertTable(data)
	return err == nil && *table != (snp.CertTable{})
}
