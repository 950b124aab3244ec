// Package measure computes what a Keep's evidence must say: the launch
// measurement, from the files and parameters that it is launched with. It
// decides nothing and reads nothing by itself.
package measure

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
)

// Size is the length of a launch measurement in bytes, SHA-384's.
const Size = sha512.Size384

// Process is the measurement of a process Keep: the SHA-384 of a label and of
// the SHA-256 of wasmldr's binary, each behind its length as a big-endian
// uint64.
func Process(wasmldr io.Reader) ([Size]byte, error) {
	file := sha256.New()
	if _, err := io.Copy(file, wasmldr); err != nil {
		return [Size]byte{}, fmt.Errorf("measure redoubt-wasmldr: %w", err)
	}
	h := sha512.New384()
	for _, field := range [][]byte{[]byte("redoubt/1 process Keep"), file.Sum(nil)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(field)))
		h.Write(n[:])
		h.Write(field)
	}
	return [Size]byte(h.Sum(nil)), nil
}
