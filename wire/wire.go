// Package wire defines what Redoubt's programs say to each other: the CBOR
// messages, their limits and the hashes that evidence is bound to.
//
// Every message travels as a CBOR array of three items: the protocol version,
// the name of the message and its body, a map with text keys. Encoding is
// deterministic (RFC 8949, section 4.2.1). Decoding is strict: definite
// lengths, no tags, no duplicate or unknown keys, no trailing bytes, and the
// bytes must be exactly those that encoding the result gives again.
//
// spec/PROTOCOL.md is the protocol in prose, spec/redoubt.cddl its grammar and
// spec/vectors its test vectors.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// Version is the one protocol version that this package speaks.
const Version = 1

// MaxMessage is the most bytes that an encoded message may have.
const MaxMessage = 256 << 10

// ErrVersion is wrapped by Unmarshal's error for a message of another version.
var ErrVersion = errors.New("protocol version not supported")

// A Message is one of the message types of this package.
type Message interface {
	// wireName is the message's name on the wire.
	wireName() string
	// validate reports the first field whose value is not allowed.
	validate() error
}

type envelope struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Name    string
	Body    cbor.RawMessage
}

var (
	encMode = func() cbor.EncMode {
		opts := cbor.CoreDetEncOptions()
		opts.TagsMd = cbor.TagsForbidden
		opts.NilContainers = cbor.NilContainerAsEmpty
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
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       4096,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a constant option set is wrong: cannot happen after the tests ran
	}
	return v
}

// Marshal encodes m. It fails if m is not valid or larger than MaxMessage.
func Marshal(m Message) ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", m.wireName(), err)
	}
	body, err := encMode.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.wireName(), err)
	}
	data, err := encMode.Marshal(envelope{Version: Version, Name: m.wireName(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.wireName(), err)
	}
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("%s: message of %d bytes, at most %d allowed", m.wireName(), len(data), MaxMessage)
	}
	return data, nil
}

// Unmarshal decodes data, which must be exactly one valid message of m's type,
// into m. After an error m is not to be used.
func Unmarshal(data []byte, m Message) error {
	env, err := open(data)
	if err != nil {
		return fmt.Errorf("%s: %w", m.wireName(), err)
	}
	if env.Name != m.wireName() {
		return fmt.Errorf("%s: got a message %q instead", m.wireName(), clip(env.Name))
	}
	if err := decMode.Unmarshal(env.Body, m); err != nil {
		return fmt.Errorf("%s: %w", m.wireName(), err)
	}
	if err := m.validate(); err != nil {
		return fmt.Errorf("%s: %w", m.wireName(), err)
	}
	again, err := Marshal(m)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("%s: not in deterministic encoding", m.wireName())
	}
	return nil
}

// Name returns the name of the message in data, without looking at its body.
func Name(data []byte) (string, error) {
	env, err := open(data)
	return env.Name, err
}

func open(data []byte) (envelope, error) {
	var env envelope
	if len(data) > MaxMessage {
		return env, fmt.Errorf("message of %d bytes, at most %d allowed", len(data), MaxMessage)
	}
	if err := decMode.Unmarshal(data, &env); err != nil {
		// Another version may have another shape; all begin with their number.
		var items []cbor.RawMessage
		if decMode.Unmarshal(data, &items) != nil || len(items) == 0 || decMode.Unmarshal(items[0], &env.Version) != nil || env.Version == Version {
			return envelope{}, err
		}
	}
	if env.Version != Version {
		return envelope{}, fmt.Errorf("%w: got %d, this side speaks %d", ErrVersion, env.Version, Version)
	}
	return env, nil
}

// clip shortens a peer's text for use in an error.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// ReadAll reads r to its end, like io.ReadAll, and fails once it holds more
// than most bytes.
func ReadAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("more than the %d bytes allowed", most)
	}
	return data, nil
}
