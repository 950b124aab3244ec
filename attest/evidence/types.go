package evidence

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

// Media types that Wrap uses. Where nothing is registered or in use elsewhere,
// the name is this project's.
const (
	TypeTSMCBOR = "application/vnd.veraison.tsm-report+cbor" // SNP and TDX: a report of configfs-tsm
	TypeTSMJSON = "application/vnd.veraison.tsm-report+json" // the same as JSON; read, not written
	TypeCCA     = `application/eat-collection; profile="http://arm.com/CCA-SSD/1.0.0"`
	TypeNitro   = "application/aws-nitro-document"
	TypeSGX     = "application/vnd.redoubt.sgx-quote"
	TypeTPM     = "application/vnd.redoubt.tpm-evidence+json"
)

// A format is what a media type says of its content.
type format struct {
	kinds []string // the technologies that it may be
	read  func([]byte) (attest.Evidence, error)
}

// formats is by media type: in lower case up to the parameters, and without
// quotation marks and white space in them.
var formats = map[string]format{
	TypeTSMCBOR: {tsmKinds, tsmCBOR},
	TypeTSMJSON: {tsmKinds, tsmJSON},
	// The same two under the names that Veraison gave them before.
	"application/vnd.veraison.configfs-tsm+cbor": {tsmKinds, tsmCBOR},
	"application/vnd.veraison.configfs-tsm+json": {tsmKinds, tsmJSON},
	// draft-deeglaze-amd-sev-snp-corim-profile, which has spelt it both ways.
	"application/vnd.amd.sev-snp.attestation-report":                  {[]string{attest.SNP}, bare},
	"application/vnd.amd.sev.snp.attestation-report":                  {[]string{attest.SNP}, bare},
	"application/eat-collection;profile=http://arm.com/CCA-SSD/1.0.0": {[]string{attest.CCA}, ccaCollection},
	TypeNitro:                   {[]string{attest.Nitro}, native},
	TypeSGX:                     {[]string{attest.SGX}, native},
	"application/vnd.intel.sgx": {[]string{attest.SGX}, native}, // Veraison's example
	TypeTPM:                     {[]string{attest.TPM}, native},
}

var tsmKinds = []string{attest.SNP, attest.TDX, attest.CCA}

// normal returns a media type as formats has it.
func normal(media string) string {
	base, parameters, _ := strings.Cut(media, ";")
	base = strings.ToLower(strings.TrimSpace(base))
	if parameters == "" {
		return base
	}
	return base + ";" + strings.NewReplacer(" ", "", `"`, "").Replace(parameters)
}

// errOther is for a message that is something else than evidence known here.
var errOther = fmt.Errorf("%w: another type of message", ErrUnknown)

// record reads a record whose type must be one of evidence. The type is not
// believed: the content must be what it says.
func record(m *cmw.Message) (Item, error) {
	if m.Indicator != 0 && m.Indicator&cmw.Evidence == 0 {
		return Item{}, fmt.Errorf("%w: the indicator %d says that it is no evidence", errOther, m.Indicator)
	}
	if m.Tag != 0 {
		return tagged(m)
	}
	f, ok := formats[normal(m.Media)]
	if !ok {
		return Item{}, fmt.Errorf("%w: none of the media types known for evidence", errOther)
	}
	ev, err := f.read(m.Value)
	if err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if !slices.Contains(f.kinds, ev.Type) {
		return Item{}, fmt.Errorf("%w: the content is %s", ErrMismatch, kinds[ev.Type])
	}
	return Item{Evidence: ev}, nil
}

// tagged reads what a registered CBOR tag says what it is.
func tagged(m *cmw.Message) (Item, error) {
	switch m.Tag {
	case tagSign1, tagCollection, tagCCA:
		data, err := m.Encode()
		if err != nil {
			return Item{}, err
		}
		ev, err := nativeCBOR(data)
		return Item{Evidence: ev}, err
	case tagIntelQuote:
		return raTLS(m.Value)
	case tagIntelTEE, tagIntelSGX:
		return Item{}, fmt.Errorf("%w: CBOR tag %d is a report for the same machine alone, must be a quote", ErrUnknown, m.Tag)
	}
	return Item{}, fmt.Errorf("%w: CBOR tag %d", errOther, m.Tag)
}

// bare is native for a report without anything around it.
func bare(data []byte) (attest.Evidence, error) {
	if len(data) != reportSize {
		return attest.Evidence{}, malformed("%d bytes, must be an SNP report of %d", len(data), reportSize)
	}
	return native(data)
}

// ccaCollection is cca for the form that the media type is of.
func ccaCollection(data []byte) (attest.Evidence, error) {
	ev, err := native(data)
	if err == nil && ev.Type == attest.CCA && isTagged(ev.Report, tagCCA) {
		return attest.Evidence{}, malformed("a CCA token with tag %d, must be %d", tagCCA, tagCollection)
	}
	return ev, err
}

func isTagged(data []byte, number uint64) bool {
	if !isCBOR(data) {
		return false
	}
	major, arg := cborHead(data)
	return major == tag && arg == number
}

// providers is what the Linux kernel's drivers call themselves.
var providers = map[string]string{"sev_guest": attest.SNP, "tdx_guest": attest.TDX, "arm_cca_guest": attest.CCA}

// A tsmReport is a report of configfs-tsm as Veraison writes it.
type tsmReport struct {
	Auxblob  []byte `cbor:"auxblob,omitempty"`
	Outblob  []byte `cbor:"outblob"`
	Provider string `cbor:"provider"`
}

// tsmNames is the names of a report's members. Those for a service, such as an
// SVSM, are known and not read: the report data is then not the guest's.
var tsmNames = []string{"auxblob", "outblob", "provider", "manifestblob", "service_provider"}

func (r *tsmReport) set(name string, blob []byte, text string) error {
	switch name {
	case "auxblob":
		r.Auxblob = blob
	case "outblob":
		r.Outblob = blob
	case "provider":
		r.Provider = strings.TrimSuffix(text, "\n") // the kernel ends it so
	case "manifestblob", "service_provider":
		return malformed("a configfs-tsm report of a service (%s), which is not supported", name)
	default:
		return malformed("a configfs-tsm report with %.64q, must be one of %q", name, tsmNames)
	}
	return nil
}

// evidence returns the evidence if it is what the provider makes.
func (r *tsmReport) evidence() (attest.Evidence, error) {
	kind, ok := providers[r.Provider]
	if !ok {
		return attest.Evidence{}, malformed("a configfs-tsm report of the provider %.64q, must be sev_guest, tdx_guest or arm_cca_guest", r.Provider)
	}
	ev, err := native(r.Outblob)
	switch {
	case err != nil:
		return attest.Evidence{}, fmt.Errorf("outblob: %w", err)
	case ev.Type != kind:
		return attest.Evidence{}, fmt.Errorf("%w: the provider is %s, and the outblob %s", ErrMismatch, r.Provider, kinds[ev.Type])
	case kind == attest.SNP && len(r.Outblob) != reportSize:
		return attest.Evidence{}, malformed("an outblob of %d bytes, must be an SNP report of %d", len(r.Outblob), reportSize)
	case kind != attest.SNP && len(r.Auxblob) > 0:
		return attest.Evidence{}, malformed("an auxblob of the provider %s, which has none", r.Provider)
	}
	ev.Auxblob = r.Auxblob
	return ev, nil
}

func tsmCBOR(data []byte) (attest.Evidence, error) {
	var members map[string]any
	if err := strict.Unmarshal(data, &members); err != nil {
		return attest.Evidence{}, malformed("configfs-tsm report: %w", err)
	}
	var r tsmReport
	for name, value := range members {
		blob, isBlob := value.([]byte)
		text, isText := value.(string)
		if name == "provider" && isBlob { // as Veraison's CDDL has it; its code writes text
			text, isText, isBlob = string(blob), true, false
		}
		if isText != (name == "provider") || !isText && !isBlob {
			return attest.Evidence{}, malformed("configfs-tsm report: the member %.64q is a %T", name, value)
		}
		if err := r.set(name, blob, text); err != nil {
			return attest.Evidence{}, err
		}
	}
	return r.evidence()
}

func tsmJSON(data []byte) (attest.Evidence, error) {
	members, err := object(data)
	if err != nil {
		return attest.Evidence{}, err
	}
	var r tsmReport
	for name, value := range members {
		text, err := strictjson.String(value)
		if err != nil {
			return attest.Evidence{}, malformed("configfs-tsm report: %.64q: %w", name, err)
		}
		var blob []byte
		if name != "provider" {
			if blob, err = decodeBlob(text); err != nil {
				return attest.Evidence{}, malformed("configfs-tsm report: %.64q: %w", name, err)
			}
		}
		if err := r.set(name, blob, text); err != nil {
			return attest.Evidence{}, err
		}
	}
	return r.evidence()
}

// decodeBlob decodes base64url without padding, or base64 with padding, as
// Veraison wrote it before.
func decodeBlob(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errors.New("a line break in base64")
	}
	if blob, err := base64.RawURLEncoding.Strict().DecodeString(text); err == nil {
		return blob, nil
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// deterministic encodes as RFC 8949, section 4.2.1, says.
var deterministic = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// Wrap wraps evidence as a record in CBOR. It must be evidence that Parse
// recognises as what its Type says.
func Wrap(ev attest.Evidence) (*cmw.Message, error) {
	m := &cmw.Message{Form: cmw.CBOR, Value: ev.Report, Indicator: cmw.Evidence}
	switch ev.Type {
	case attest.SNP, attest.TDX:
		for provider, kind := range providers {
			if kind != ev.Type {
				continue
			}
			report, err := deterministic.Marshal(tsmReport{Auxblob: ev.Auxblob, Outblob: ev.Report, Provider: provider})
			if err != nil {
				return nil, err
			}
			m.Media, m.Value = TypeTSMCBOR, report
		}
	case attest.SGX:
		m.Media = TypeSGX
	case attest.CCA:
		m.Media = TypeCCA
		if isTagged(ev.Report, tagCCA) { // is a message as it is
			return cmw.Parse(ev.Report)
		}
	case attest.Nitro:
		m.Media = TypeNitro
	case attest.TPM:
		m.Media = TypeTPM
	default:
		return nil, fmt.Errorf("%w: %.32q, must be one of %q", attest.ErrType, ev.Type, attest.Technologies())
	}
	if ev.Type != attest.SNP && len(ev.Auxblob) > 0 {
		return nil, malformed("an auxblob of %s, which has none", ev.Type)
	}
	if _, err := record(m); err != nil {
		return nil, err
	}
	return m, nil
}
