package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the seed corpora in testdata/fuzz anew, from ../spec/vectors")

// FuzzUnmarshal decodes data as the message whose name it has. What is accepted
// must encode to the same bytes.
func FuzzUnmarshal(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		name, err := Name(data)
		if err != nil {
			name = messages[len(data)%len(messages)].wireName()
		}
		for _, typ := range messages {
			if typ.wireName() != name {
				continue
			}
			m := fresh(typ)
			if err := Unmarshal(data, m); err != nil {
				if len(err.Error()) > 1024 {
					t.Errorf("error of %d bytes", len(err.Error()))
				}
				return
			}
			again, err := Marshal(m)
			if err != nil {
				t.Fatalf("decoded, but does not encode: %v", err)
			}
			if !bytes.Equal(again, data) {
				t.Fatalf("%x\nencodes to\n%x", data, again)
			}
		}
	})
}

// FuzzReadFrame reads frames from data until one is refused. Writing those that
// were accepted gives the same bytes.
func FuzzReadFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		var written bytes.Buffer
		for {
			begin := len(data) - r.Len()
			raw, err := ReadRawFrame(r)
			if err != nil {
				break
			}
			if size := binary.BigEndian.Uint32(data[begin:]); size > MaxMessage || int(size) != len(raw) {
				t.Fatalf("frame of %d bytes gave %d", size, len(raw))
			}
			name, _ := Name(raw)
			accepted := false
			for _, typ := range messages {
				m := fresh(typ)
				if err := ReadFrame(bytes.NewReader(data[begin:]), m); err != nil {
					continue
				}
				if accepted || typ.wireName() != name {
					t.Fatalf("accepted as %q", typ.wireName())
				}
				accepted = true
				if err := WriteFrame(&written, m); err != nil {
					t.Fatal(err)
				}
			}
			if !accepted {
				if err := WriteRawFrame(&written, raw); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !bytes.HasPrefix(data, written.Bytes()) {
			t.Fatalf("%x\nis written as\n%x", data, written.Bytes())
		}
	})
}

// vectors returns the bytes of a file of spec/vectors, by message or class and
// a number.
func vectors(t *testing.T, file, by string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "spec", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, v := range list {
		data, err := hex.DecodeString(v["cbor"].(string))
		if err != nil {
			t.Fatal(err)
		}
		n := 1
		for found[fmt.Sprintf("%s-%d", v[by], n)] != nil {
			n++
		}
		found[fmt.Sprintf("%s-%d", v[by], n)] = data
	}
	return found
}

// writeSeeds makes the seed corpora: every valid vector, the first two invalid
// ones of each class, and both in frames.
func writeSeeds(t *testing.T) {
	t.Helper()
	seeds := vectors(t, "messages.json", "message")
	for name, data := range vectors(t, "invalid.json", "class") {
		if strings.HasSuffix(name, "-1") || strings.HasSuffix(name, "-2") {
			seeds["invalid-"+name] = data
		}
	}
	frames := map[string][]byte{
		"none":      {},
		"too-large": {0xff, 0xff, 0xff, 0xff, 0},
		"cut-short": {0, 0, 0, 9, 0x83, 1},
	}
	for _, name := range []string{"done-1", "open-1", "status-1", "outcome-2", "invalid-malformed-2", "invalid-trailing-bytes-1", "invalid-version-1"} {
		if seeds[name] == nil {
			t.Fatalf("no vector %s", name)
		}
		frames[name] = append(binary.BigEndian.AppendUint32(nil, uint32(len(seeds[name]))), seeds[name]...)
	}
	frames["two"] = append(bytes.Clone(frames["open-1"]), frames["status-1"]...)
	for target, corpus := range map[string]map[string][]byte{"FuzzUnmarshal": seeds, "FuzzReadFrame": frames} {
		dir := filepath.Join("testdata", "fuzz", target)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range corpus {
			text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", data)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// readSeeds returns the seed corpus of a fuzz target.
func readSeeds(t *testing.T, target string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
	if err != nil {
		t.Fatal(err)
	}
	seeds := map[string][]byte{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		if len(lines) != 3 || lines[0] != "go test fuzz v1" {
			t.Fatalf("%s is not a seed", name)
		}
		data, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(lines[1], "[]byte("), ")"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		seeds[filepath.Base(name)] = []byte(data)
	}
	return seeds
}

// TestSeeds: an empty corpus would make fuzzing begin at nothing, silently. The
// seeds must hold every message as it is now.
func TestSeeds(t *testing.T) {
	if *update {
		writeSeeds(t)
	}
	valid := map[string]bool{}
	invalid := 0
	for _, data := range readSeeds(t, "FuzzUnmarshal") {
		name, _ := Name(data)
		for _, m := range messages {
			if m.wireName() != name {
				continue
			}
			if err := Unmarshal(data, fresh(m)); err == nil {
				valid[name] = true
			} else {
				invalid++
			}
		}
	}
	for _, m := range messages {
		if !valid[m.wireName()] {
			t.Errorf("no seed of FuzzUnmarshal is a valid %s: go test ./spec -update, then go test ./wire -update, make them", m.wireName())
		}
	}
	if invalid == 0 {
		t.Error("no seed of FuzzUnmarshal is an invalid message")
	}

	accepted, refused := 0, 0
	for _, data := range readSeeds(t, "FuzzReadFrame") {
		if _, err := ReadRawFrame(bytes.NewReader(data)); err == nil {
			accepted++
		} else {
			refused++
		}
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("the seeds of FuzzReadFrame hold %d frames and %d that are none", accepted, refused)
	}
}
