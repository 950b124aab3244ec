package wire

// The messages between wasmldr and its runner, two processes of one binary.
// wasmldr does not trust what the runner says: a workload may have got hold of
// it.

// RunnerReady is the runner's first message: it is confined and waits.
type RunnerReady struct {
	Sandbox []Check `cbor:"sandbox"`
}

func (*RunnerReady) wireName() string  { return "runner-ready" }
func (m *RunnerReady) validate() error { return checks(m.Sandbox) }

// RunnerLoad announces the workload: Size bytes of it follow the frame.
type RunnerLoad struct {
	Size   uint64 `cbor:"size"`
	Memory uint64 `cbor:"memory"`
}

func (*RunnerLoad) wireName() string { return "runner-load" }

func (m *RunnerLoad) validate() error {
	if m.Size > MaxWorkload {
		return Refuse(CodeTooLarge, "workload of %d bytes, at most %d allowed", m.Size, MaxWorkload)
	}
	return Limits{Memory: m.Memory}.validate()
}

// RunnerStart starts the workload. The runner answers with an Outcome.
type RunnerStart struct {
	Args []string `cbor:"args"`
	Env  []string `cbor:"env"`
	// Time is the Keep's, in nanoseconds since 1970 UTC.
	Time uint64 `cbor:"time"`
}

func (*RunnerStart) wireName() string  { return "runner-start" }
func (m *RunnerStart) validate() error { return arguments(m.Args, m.Env) }
