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
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// ReadFrame reads what WriteFrame wrote. It returns io.EOF if r ends before
// the frame begins. A frame larger than MaxMessage is refused before any of it
// is read.
func ReadFrame(r io.Reader, m Message) error {
	data, err := readFrame(r)
	if err != nil {
		return err
	}
	return Unmarshal(data, m)
}

func readFrame(r io.Reader) ([]byte, error) {
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
		return nil, fmt.Errorf("frame of %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	return data, nil
}
