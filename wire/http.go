package wire

import (
	"fmt"
	"net/http"
)

// ContentType is that of every message sent over HTTP.
const ContentType = "application/vnd.redoubt+cbor"

// Upgrade is the HTTP upgrade that turns a request for PathTunnel into the
// bytes of one deployment connection.
const Upgrade = "redoubt-tunnel/1"

// The deployment channel's paths, inside the Keep.
const (
	PathWorkload = "/v1/workload"
	PathStdin    = "/v1/stdin"
	PathStdout   = "/v1/stdout"
	PathStderr   = "/v1/stderr"
	PathRun      = "/v1/run"
	PathStop     = "/v1/stop"
)

// keepldr's paths. keepmgr serves the same below /v1/keeps/ID.
const (
	PathKeep     = "/v1/keep"     // GET: KeepInfo
	PathWatch    = "/v1/watch"    // GET: a KeepInfo frame for each change, until the Keep is gone
	PathExchange = "/v1/exchange" // POST: a message to the Keep, and its answer
	PathTunnel   = "/v1/tunnel"   // GET with Upgrade
	// PathStop, POST: ends the Keep
)

// keepmgr's own paths.
const (
	PathKeeps    = "/v1/keeps"    // GET: KeepList; POST CreateRequest: KeepInfo
	PathPlatform = "/v1/platform" // GET: Platform
)

// HTTPFrame is the size of HTTP/2 frames and of the buffers that fill them.
const HTTPFrame = 256 << 10

// OnlyHTTP2 is the deployment channel's protocol set.
func OnlyHTTP2() *http.Protocols {
	var p http.Protocols
	p.SetHTTP2(true)
	return &p
}

// Respond writes m as the whole answer. A Refusal has a status that says what
// kind of refusal it is; everything else is 200.
func Respond(w http.ResponseWriter, m Message) {
	data, err := Marshal(m)
	if err != nil {
		m = Refuse(CodeInternal, "%v", err)
		if data, err = Marshal(m); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", ContentType)
	if r, ok := m.(*Refusal); ok {
		w.WriteHeader(r.Code.status())
	}
	_, _ = w.Write(data) // the peer's loss, and it knows
}

func (c Code) status() int {
	switch c {
	case CodeBadMessage, CodeVersion, CodeUnsealed, CodeWrongConfig, CodeBadWorkload:
		return http.StatusBadRequest
	case CodeUnknownKeep, CodeNoSuchMethod:
		return http.StatusNotFound
	case CodeWrongState, CodeReplay:
		return http.StatusConflict
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeNotAllowed:
		return http.StatusForbidden
	case CodeLimit:
		return http.StatusTooManyRequests
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeGone:
		return http.StatusGone
	}
	return http.StatusInternalServerError
}

// ReadResponse reads the whole of r's body as an answer of m's type, or returns
// the Refusal that it is instead. It closes the body.
func ReadResponse(r *http.Response, m Message) error {
	defer r.Body.Close()
	if got := r.Header.Get("Content-Type"); got != ContentType {
		return fmt.Errorf("%s: answer of type %q with status %q, expected %q: is a Redoubt keepmgr there?",
			m.wireName(), clip(got), clip(r.Status), ContentType)
	}
	data, err := ReadAll(r.Body, MaxMessage)
	if err != nil {
		return fmt.Errorf("%s: %w", m.wireName(), err)
	}
	return UnmarshalAnswer(data, m)
}
