package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// WriteFrame writes m to w behind its length, a big-endian uint32.
func WriteFrame(w io.Writer, m Message) error {
	data, err := Marshal(m)
	if err != nil {
		return err
	}
	return WriteRawFrame(w, data)
}

// ReadFrame reads what WriteFrame wrote. It returns io.EOF if r ends before
// the frame begins. A frame larger than MaxMessage is refused before any of it
// is read.
func ReadFrame(r io.Reader, m Message) error {
	data, err := ReadRawFrame(r)
	if err != nil {
		return err
	}
	return Unmarshal(data, m)
}

// ReadRawFrame reads a frame without looking into it.
func ReadRawFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxMessage {
		return nil, fmt.Errorf("frame of %d bytes, at most %d allowed", n, MaxMessage)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("frame of %d bytes: %w", n, err)
	}
	return data, nil
}

// WriteRawFrame writes data, an encoded message, to w as a frame.
func WriteRawFrame(w io.Writer, data []byte) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("frame of %d bytes, at most %d allowed", len(data), MaxMessage)
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// UnmarshalAnswer decodes data into m, or returns the *Refusal that data holds
// instead.
func UnmarshalAnswer(data []byte, m Message) error {
	var refusal Refusal
	if name, err := Name(data); err == nil && name == refusal.wireName() {
		if err := Unmarshal(data, &refusal); err != nil {
			return err
		}
		return &refusal
	}
	return Unmarshal(data, m)
}

// ReadAnswer reads a frame into m, or returns the *Refusal that it holds instead.
func ReadAnswer(r io.Reader, m Message) error {
	data, err := ReadRawFrame(r)
	if err != nil {
		return err
	}
	return UnmarshalAnswer(data, m)
}
