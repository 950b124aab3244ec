package dcap

// What tests outside of the package need of the parsers inside.

// ParseTCBInfo parses a document of TCB info, and returns what is signed in it.
func ParseTCBInfo(data []byte) (signed []byte, err error) {
	doc, err := parseDocument(data, tcbInfoName)
	if err != nil {
		return nil, err
	}
	o := newObject(doc.signed)
	if _, err := parseSubject(o); err != nil {
		return nil, err
	}
	_, err = parseTCBInfo(o)
	return doc.signed, err
}

// ParseQEIdentity parses a document of a QE identity, and returns what is signed
// in it.
func ParseQEIdentity(data []byte) (signed []byte, err error) {
	doc, err := parseDocument(data, qeIdentityName)
	if err != nil {
		return nil, err
	}
	_, err = parseQEIdentity(newObject(doc.signed))
	return doc.signed, err
}
