package wire

import (
	"fmt"
	"slices"
)

// A StreamType says what a stream of the sallyport carries. Its first frame is
// an OpenStream.
type StreamType string

// The streams of the sallyport, and who opens them.
const (
	StreamControl  StreamType = "control"  // wasmldr, once, first: Hello and Status there, Stop back
	StreamEvidence StreamType = "evidence" // wasmldr: EvidenceRequest there, Evidence back; simulated evidence only
	StreamExchange StreamType = "exchange" // keepldr: one request there, one answer back, opaque to the host
	StreamDeploy   StreamType = "deploy"   // keepldr: the bytes of one deployment connection
)

// OpenStream is the first frame of every stream.
type OpenStream struct {
	Type StreamType `cbor:"type"`
}

func (*OpenStream) wireName() string { return "open" }

func (m *OpenStream) validate() error {
	if !slices.Contains([]StreamType{StreamControl, StreamEvidence, StreamExchange, StreamDeploy}, m.Type) {
		return fmt.Errorf("stream type %q is not known", clip(string(m.Type)))
	}
	return nil
}

// Status tells the host where the Keep is. Text is empty but for failures
// before the Keep has a tenant.
type Status struct {
	State   State   `cbor:"state"`
	Sandbox []Check `cbor:"sandbox"`
	Text    string  `cbor:"text"`
}

func (*Status) wireName() string { return "status" }

func (m *Status) validate() error {
	if _, err := ParseState(string(m.State)); err != nil {
		return err
	}
	if err := checks(m.Sandbox); err != nil {
		return err
	}
	return printable("text", m.Text)
}

// Stop asks the Keep to end its workload, and itself, now.
type Stop struct{}

func (*Stop) wireName() string { return "stop" }
func (*Stop) validate() error  { return nil }

// EvidenceRequest asks keepldr for simulated evidence.
type EvidenceRequest struct {
	ReportData []byte `cbor:"report_data"`
}

func (*EvidenceRequest) wireName() string { return "evidence-request" }
func (m *EvidenceRequest) validate() error {
	return size("report data", m.ReportData, len(ReportData{}))
}

// KeepldrConfig is what keepmgr tells a keepldr, on its standard input.
type KeepldrConfig struct {
	ID   string `cbor:"id"`
	Kind Kind   `cbor:"kind"`
	// Memory is what the workload may use, in bytes.
	Memory uint64 `cbor:"memory"`
	// Wasmldr is the path of redoubt-wasmldr.
	Wasmldr string `cbor:"wasmldr"`
	// Dev is the folder of the development chain that signs simulated evidence.
	Dev string `cbor:"dev"`
}

func (*KeepldrConfig) wireName() string { return "keepldr-config" }

func (m *KeepldrConfig) validate() error {
	if err := ValidateID(m.ID); err != nil {
		return err
	}
	if m.Wasmldr == "" || m.Dev == "" {
		return fmt.Errorf("paths missing: wasmldr %q, development chain %q", clip(m.Wasmldr), clip(m.Dev))
	}
	for _, path := range []string{m.Wasmldr, m.Dev} {
		if err := text("path", path); err != nil {
			return err
		}
	}
	return (&CreateRequest{Kind: m.Kind, Memory: m.Memory}).validate()
}
