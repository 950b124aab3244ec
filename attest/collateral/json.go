package collateral

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// known is the names under which JSON has certificates and revocation lists, in
// lower case and without dashes and underscores.
var known = map[string]bool{
	// sgx_ql_qve_collateral_t, PCCS, dcap-qvl; chains also as named in headers
	"pckcrlissuerchain": true, "sgxpckcrlissuerchain": true,
	"pckcertificatechain": true, "pckcertchain": true, "sgxpckcertificateissuerchain": true,
	"tcbinfoissuerchain": true, "sgxtcbinfoissuerchain": true,
	"qeidentityissuerchain": true, "enclaveidentityissuerchain": true, "sgxenclaveidentityissuerchain": true,
	"rootcacrl": true, "pckcrl": true, "processorcrl": true, "platformcrl": true,
	"cert": true, "certs": true, "certificates": true, "crls": true,
	// Azure's THIM and tools for AMD
	"vcekcert": true, "certificatechain": true, "certchain": true,
	"vcek": true, "vlek": true, "ask": true, "asvk": true, "ark": true,
}

// A signedKind is one of the two kinds of JSON that Intel signs.
type signedKind struct {
	member     string // in Intel's answer
	what       string
	names      []string // of members that may have one, written as in known
	signatures []string // of members that have its signature, besides "signature"
}

var (
	tcbInfoKind    = &signedKind{"tcbInfo", "TCB info", []string{"tcbinfo", "sgxtcbinfo", "tdxtcbinfo"}, []string{"tcbinfosignature"}}
	qeIdentityKind = &signedKind{"enclaveIdentity", "QE identity", []string{"enclaveidentity", "qeidentity", "tdqeidentity"}, []string{"qeidentitysignature", "enclaveidentitysignature"}}
)

func (p *parser) list(k *signedKind) *[][]byte {
	if k == tcbInfoKind {
		return &p.c.TCBInfos
	}
	return &p.c.QEIdentities
}

func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
}

// json reads a JSON text.
func (p *parser) json(text []byte, layers int) error {
	if err := checkJSON(text); err != nil {
		return fmt.Errorf("looks like JSON, and is malformed: %w", err)
	}
	// A text that is a string has the collateral in it.
	return p.value("", text, text[0] == '"', layers)
}

// checkJSON checks that text is one JSON value, of a depth that costs no more to
// read than its length says.
func checkJSON(text []byte) error {
	if !json.Valid(text) {
		var v struct{}
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
	}
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("more than %d objects and arrays in each other", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// value reads the JSON value of a member called name. If it is wanted, it must
// be something that Parse reads, or null or empty.
func (p *parser) value(name string, raw []byte, wanted bool, layers int) error {
	if layers == 0 {
		return fmt.Errorf("more than %d encodings, objects and arrays in each other", maxLayers)
	}
	var err error
	switch raw[0] {
	case '{':
		err = p.object(raw, layers)
	case '[':
		err = p.array(raw, wanted, layers)
	case '"':
		if !wanted {
			return nil
		}
		var s string
		if err = json.Unmarshal(raw, &s); err == nil && len(trimText([]byte(s))) > 0 {
			err = p.parse([]byte(s), layers-1)
		}
	}
	if err != nil && name != "" {
		return fmt.Errorf("%.64q: %w", name, err)
	}
	return err
}

func (p *parser) array(raw []byte, wanted bool, layers int) error {
	if wanted { // some languages write bytes as numbers
		if b, ok := byteArray(raw); ok {
			return p.parse(b, layers-1)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		if err := p.node(); err != nil {
			return err
		}
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return err
		}
		if err := p.value("", element, wanted, layers-1); err != nil {
			return err
		}
	}
	return nil
}

func byteArray(raw []byte) ([]byte, bool) {
	if len(raw) < 128 || bytes.ContainsAny(raw, `"{.eE-`) || bytes.Contains(raw[1:], []byte("[")) {
		return nil, false
	}
	var numbers []uint16 // json reads []byte as base64
	if json.Unmarshal(raw, &numbers) != nil {
		return nil, false
	}
	b := make([]byte, len(numbers))
	for i, n := range numbers {
		if n > 255 {
			return nil, false
		}
		b[i] = byte(n)
	}
	return b, true
}

func (p *parser) node() error {
	p.nodes++
	if p.nodes > maxNodes {
		return fmt.Errorf("JSON with more than the %d members and elements allowed", maxNodes)
	}
	return nil
}

type member struct {
	name  string
	value json.RawMessage
}

// members returns the members of a JSON object, with the bytes of their values
// as they stand there. No two may have the same name.
func members(raw []byte, count func() error) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("must be a JSON object"), err)
	}
	var list []member
	seen := make(map[string]bool)
	for dec.More() {
		if err := count(); err != nil {
			return nil, err
		}
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string) // a key is nothing else
		m := member{name: name}
		if seen[m.name] {
			return nil, fmt.Errorf("JSON object with two members %.64q", m.name)
		}
		seen[m.name] = true
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// object reads a JSON object: a signed one if it is one of Intel's answers or has
// its parts, and what is in its other members.
func (p *parser) object(raw []byte, layers int) error {
	list, err := members(raw, p.node)
	if err != nil {
		return err
	}
	byName := make(map[string][]byte)
	for _, m := range list {
		name := plainName(m.name)
		if _, twice := byName[name]; twice && (known[name] || kindOf(name) != nil) {
			return fmt.Errorf("JSON object with two members for %.64q", m.name)
		}
		byName[name] = m.value
	}
	signatureTaken := false
	for _, m := range list {
		name := plainName(m.name)
		kind := kindOf(name)
		if kind == nil {
			if err := p.value(m.name, m.value, known[name], layers-1); err != nil {
				return err
			}
			continue
		}
		bare, err := p.bare(kind, m.value, layers)
		if err != nil {
			return fmt.Errorf("%.64q: %w", m.name, err)
		}
		if bare == nil {
			continue
		}
		signature := byName[kind.signatures[0]]
		if signature == nil && len(kind.signatures) > 1 {
			signature = byName[kind.signatures[1]]
		}
		if signature == nil && !signatureTaken {
			signature, signatureTaken = byName["signature"], true
		}
		item, err := wrap(kind, bare, signature)
		if err != nil {
			return fmt.Errorf("%.64q: %w", m.name, err)
		}
		if err := p.add(p.list(kind), item); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(name string) *signedKind {
	for _, kind := range []*signedKind{tcbInfoKind, qeIdentityKind} {
		for _, n := range kind.names {
			if n == name {
				return kind
			}
		}
	}
	return nil
}

// bare returns the signed object in value, which has it as it is or as a string.
// If value has one of Intel's answers instead, with the signature, or nothing,
// bare reads that and returns nil.
func (p *parser) bare(kind *signedKind, value []byte, layers int) ([]byte, error) {
	var s string
	if value[0] == '"' {
		if err := json.Unmarshal(value, &s); err != nil {
			return nil, err
		}
		if value = trimText([]byte(s)); len(value) == 0 {
			return nil, nil
		}
		if value[0] != '{' { // hex or base64
			return nil, p.parse(value, layers-1)
		}
		if err := checkJSON(value); err != nil {
			return nil, fmt.Errorf("a string with malformed JSON: %w", err)
		}
	}
	if string(value) == "null" {
		return nil, nil
	}
	list, err := members(value, p.node)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.name == kind.member {
			return nil, p.value("", value, false, layers-1)
		}
	}
	return value, nil
}

const signatureSize = 64 // bytes: R and S of ECDSA with P-256

// wrap puts a signed object and its signature together as Intel's answers do.
func wrap(kind *signedKind, bare, signature []byte) ([]byte, error) {
	if signature == nil {
		return nil, fmt.Errorf("a %s without its signature", kind.what)
	}
	var text string
	if err := json.Unmarshal(signature, &text); err != nil {
		return nil, fmt.Errorf("signature of a %s: must be a string", kind.what)
	}
	if b, err := hex.DecodeString(text); err != nil || len(b) != signatureSize {
		return nil, fmt.Errorf("signature of a %s: %d characters, must be %d hex digits", kind.what, len(text), 2*signatureSize)
	}
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%s"}`, kind.member, bare, text), nil
}

// unwrap undoes wrap, and refuses what wrap does not make.
func unwrap(kind *signedKind, item []byte) (bare []byte, err error) {
	if err := checkJSON(item); err != nil {
		return nil, fmt.Errorf("%s: malformed JSON: %w", kind.what, err)
	}
	list, err := members(item, func() error { return nil })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind.what, err)
	}
	if len(list) == 2 && list[0].name == kind.member && list[0].value[0] == '{' {
		bare = list[0].value
		if again, err := wrap(kind, bare, list[1].value); err == nil && bytes.Equal(again, item) {
			return bare, nil
		}
	}
	return nil, fmt.Errorf(`%s: must be {"%s":{...},"signature":"HEX"} and nothing else`, kind.what, kind.member)
}

// A header is what all of Intel's signed objects begin with, as far as a Fetcher
// needs it.
type header struct {
	ID         string
	FMSPC      string // of a TCB info
	NextUpdate time.Time
}

// readHeader reads the header of an item that wrap has made.
func readHeader(kind *signedKind, item []byte) (header, error) {
	var h header
	bare, err := unwrap(kind, item)
	if err != nil {
		return h, err
	}
	list, err := members(bare, func() error { return nil })
	if err != nil {
		return h, fmt.Errorf("%s: %w", kind.what, err)
	}
	for _, m := range list {
		switch m.name {
		case "id":
			err = json.Unmarshal(m.value, &h.ID)
		case "fmspc":
			err = json.Unmarshal(m.value, &h.FMSPC)
		case "nextUpdate":
			err = json.Unmarshal(m.value, &h.NextUpdate)
		}
		if err != nil {
			return h, fmt.Errorf("%s: %q: %w", kind.what, m.name, err)
		}
	}
	return h, nil
}
