//go:build linux

// Package keepmgr creates Keeps on this host, each with a keepldr of its own,
// and takes clients to them. It serves CBOR over HTTP; spec/PROTOCOL.md has the
// paths and messages.
package keepmgr

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/host/platform"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/wire"
)

// lastTimeout is how long a keepldr that answers no more may take to be gone.
const lastTimeout = 2 * time.Second

// What one keepmgr has at most.
const (
	maxKeeps  = 256 // that live
	keepEnded = 256 // that it remembers after their end
)

// Config says where a keepmgr finds and puts things. All of it is required.
type Config struct {
	// RunDir holds the keepldrs' sockets. It is made if it is missing, and is
	// for this user alone.
	RunDir string
	// DevDir holds the development chain that signs simulated evidence.
	DevDir string
	// Keepldr and Wasmldr are the paths of those programs.
	Keepldr, Wasmldr string
	// Release is this program's version.
	Release string
	// Log is told of Keeps created and ended.
	Log *slog.Logger
}

// A Manager is a keepmgr.
type Manager struct {
	config   Config
	creating sync.Mutex // one at a time

	mu    sync.Mutex
	keeps map[string]*managed
}

// managed is a Keep and the keepldr that looks after it.
type managed struct {
	proxy   *httputil.ReverseProxy
	process *child
	done    chan struct{} // closed once keepldr is gone

	mu   sync.Mutex
	info wire.KeepInfo
}

func (m *managed) current() wire.KeepInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info
}

// New returns a Manager. It makes the folders of config, and the development
// chain if there is none yet.
func New(config Config) (*Manager, error) {
	for name, path := range map[string]string{"RunDir": config.RunDir, "DevDir": config.DevDir, "Keepldr": config.Keepldr, "Wasmldr": config.Wasmldr} {
		if path == "" {
			return nil, fmt.Errorf("keepmgr: no %s in its configuration", name)
		}
	}
	for _, path := range []string{config.Keepldr, config.Wasmldr} {
		if _, err := exec.LookPath(path); err != nil {
			return nil, fmt.Errorf("keepmgr: can't start Keeps: %w", err)
		}
	}
	if config.Log == nil {
		return nil, errors.New("keepmgr: no Log in its configuration")
	}
	if path := socketPath(config.RunDir, strings.Repeat("x", wire.IDSize)); len(path) > maxSocketPath {
		return nil, fmt.Errorf("keepmgr: the Keeps' sockets can't be in %s: its path is too long by %d bytes", config.RunDir, len(path)-maxSocketPath)
	}
	if err := os.MkdirAll(config.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("keepmgr: %w", err)
	}
	if _, err := teelab.LoadOrCreate(config.DevDir); err != nil {
		return nil, fmt.Errorf("keepmgr: %w", err)
	}
	return &Manager{config: config, keeps: make(map[string]*managed)}, nil
}

// Handler serves the manager's API.
func (m *Manager) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) (wire.Message, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := h(w, r)
			if err != nil {
				answer = wire.AsRefusal(err, wire.CodeInternal)
			}
			if answer != nil {
				wire.Respond(w, answer)
			}
		})
	}
	handle("POST "+wire.PathKeeps, m.create)
	handle("GET "+wire.PathKeeps, m.list)
	handle("GET "+wire.PathKeeps+"/{id}/keep", m.inspect)
	handle("POST "+wire.PathKeeps+"/{id}/stop", m.stop)
	for _, pattern := range []string{"POST " + wire.PathKeeps + "/{id}/exchange", "GET " + wire.PathKeeps + "/{id}/tunnel", "GET " + wire.PathKeeps + "/{id}/watch"} {
		handle(pattern, m.forward)
	}
	handle("GET "+wire.PathPlatform, m.platform)
	handle("/", func(_ http.ResponseWriter, r *http.Request) (wire.Message, error) {
		return nil, wire.Refuse(wire.CodeNoSuchMethod, "nothing is served at %s %s: do client and host speak the same version?", r.Method, r.URL.Path)
	})
	return mux
}

func (m *Manager) create(w http.ResponseWriter, r *http.Request) (wire.Message, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxMessage))
	if err != nil {
		return nil, wire.Refuse(wire.CodeTooLarge, "%v", err)
	}
	var request wire.CreateRequest
	if err := wire.Unmarshal(data, &request); err != nil {
		if errors.Is(err, wire.ErrVersion) {
			return nil, wire.AsRefusal(err, wire.CodeVersion)
		}
		return nil, wire.AsRefusal(err, wire.CodeBadMessage)
	}
	info, err := m.start(&request)
	if err != nil {
		return nil, err
	}
	return &info, nil
}

// start starts a keepldr and follows it to its end.
func (m *Manager) start(request *wire.CreateRequest) (wire.KeepInfo, error) {
	if report := platform.Kind(request.Kind); !report.Available {
		return wire.KeepInfo{}, wire.Refuse(wire.CodeUnavailable, "this host can't run %s Keeps: %s", request.Kind, platform.Why(report))
	}
	id := strings.ToLower(rand.Text()[:wire.IDSize])
	keep := &managed{done: make(chan struct{}), info: wire.KeepInfo{
		ID: id, Kind: request.Kind, State: wire.StateStarting, Created: uint64(time.Now().UnixMilli()), Memory: request.Memory,
	}}
	m.creating.Lock()
	defer m.creating.Unlock()
	if err := m.makeRoom(); err != nil {
		return wire.KeepInfo{}, err
	}
	socket := socketPath(m.config.RunDir, id)
	var err error
	keep.process, err = startKeepldr(m.config.Keepldr, socket, &wire.KeepldrConfig{
		ID: id, Kind: request.Kind, Memory: request.Memory, Wasmldr: m.config.Wasmldr, Dev: m.config.DevDir,
	})
	if err != nil {
		return wire.KeepInfo{}, wire.Refuse(wire.CodeInternal, "start redoubt-keepldr: %v", err)
	}
	keep.proxy = keep.proxyTo(id, socket)
	m.mu.Lock()
	m.keeps[id] = keep
	m.mu.Unlock()
	m.config.Log.Info("Keep created", "keep", id, "kind", request.Kind)
	go m.follow(keep, socket)
	return keep.current(), nil
}

// maxSocketPath is the length of a path that a Unix socket can have on Linux.
const maxSocketPath = 107

func socketPath(dir, id string) string { return filepath.Join(dir, id+".sock") }

// makeRoom refuses if there are too many Keeps, and forgets those that ended
// longest ago.
func (m *Manager) makeRoom() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ended []wire.KeepInfo
	for _, k := range m.keeps {
		if i := k.current(); i.State.Final() {
			ended = append(ended, i)
		}
	}
	if len(m.keeps)-len(ended) >= maxKeeps {
		return wire.Refuse(wire.CodeLimit, "this host runs %d Keeps and may not run more", maxKeeps)
	}
	slices.SortFunc(ended, func(a, b wire.KeepInfo) int { return cmp.Compare(a.Created, b.Created) })
	for len(ended) >= keepEnded {
		delete(m.keeps, ended[0].ID)
		ended = ended[1:]
	}
	return nil
}

func (m *Manager) remove(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keeps, id)
}

// proxyTo forwards requests for a Keep's paths to its keepldr.
func (m *managed) proxyTo(id, socket string) *httputil.ReverseProxy {
	prefix := wire.PathKeeps + "/" + id
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "keepldr"})
			r.Out.URL.Path = "/v1" + strings.TrimPrefix(r.In.URL.Path, prefix)
		},
		Transport:     &http.Transport{DialContext: dialUnix(socket), MaxIdleConns: 4, IdleConnTimeout: time.Minute},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // the client is told
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			// Most likely keepldr is about to be gone: how its Keep ended says more.
			select {
			case <-m.done:
				m.answerLast(w, r)
			case <-time.After(lastTimeout):
				wire.Respond(w, wire.Refuse(wire.CodeGone, "the Keep does not answer: %v", err))
			case <-r.Context().Done():
			}
		},
	}
}

func dialUnix(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// follow keeps keep.info as keepldr tells it, until keepldr is gone.
func (m *Manager) follow(keep *managed, socket string) {
	client := http.Client{Transport: &http.Transport{DialContext: dialUnix(socket)}}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://keepldr" + wire.PathWatch) //nolint:noctx // until keepldr is gone
	if err == nil {
		for {
			var info wire.KeepInfo
			if wire.ReadFrame(response.Body, &info) != nil {
				break // gone, or as good as
			}
			keep.mu.Lock()
			keep.info = info
			keep.mu.Unlock()
		}
		response.Body.Close()
	}
	keep.process.end()
	keep.mu.Lock()
	if !keep.info.State.Final() {
		keep.info.State = wire.StateFailed
		keep.info.Reason = wire.Line("redoubt-keepldr died: " + keep.process.lastWords())
	}
	keep.mu.Unlock()
	info := keep.current()
	m.config.Log.Info("Keep ended", "keep", info.ID, "state", info.State)
	close(keep.done)
}

func (m *Manager) find(r *http.Request) (*managed, error) {
	id := r.PathValue("id")
	if err := wire.ValidateID(id); err != nil {
		return nil, wire.AsRefusal(err, wire.CodeBadMessage)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if keep := m.keeps[id]; keep != nil {
		return keep, nil
	}
	return nil, wire.Refuse(wire.CodeUnknownKeep, "no Keep %s on this host", id)
}

func (m *Manager) list(http.ResponseWriter, *http.Request) (wire.Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := &wire.KeepList{}
	for _, keep := range m.keeps {
		list.Keeps = append(list.Keeps, keep.current())
	}
	slices.SortFunc(list.Keeps, func(a, b wire.KeepInfo) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

func (m *Manager) inspect(_ http.ResponseWriter, r *http.Request) (wire.Message, error) {
	keep, err := m.find(r)
	if err != nil {
		return nil, err
	}
	info := keep.current()
	return &info, nil
}

// forward hands the request to the Keep's keepldr. Once the Keep has ended
// there is one thing left to say.
func (m *Manager) forward(w http.ResponseWriter, r *http.Request) (wire.Message, error) {
	keep, err := m.find(r)
	if err != nil {
		return nil, err
	}
	if keep.current().State.Final() {
		keep.answerLast(w, r)
	} else {
		keep.proxy.ServeHTTP(w, r)
	}
	return nil, nil
}

// answerLast answers for a Keep that has ended.
func (m *managed) answerLast(w http.ResponseWriter, r *http.Request) {
	info := m.current()
	if strings.HasSuffix(r.URL.Path, wire.PathWatch[len("/v1"):]) {
		w.Header().Set("Content-Type", wire.ContentType)
		_ = wire.WriteFrame(w, &info) // the client's loss
		return
	}
	wire.Respond(w, wire.Refuse(wire.CodeGone, "the Keep has %s. %s", info.State, info.Reason))
}

func (m *Manager) stop(_ http.ResponseWriter, r *http.Request) (wire.Message, error) {
	keep, err := m.find(r)
	if err != nil {
		return nil, err
	}
	keep.process.askToEnd()
	select {
	case <-keep.done:
		return &wire.Done{}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func (m *Manager) platform(_ http.ResponseWriter, r *http.Request) (wire.Message, error) {
	report := platform.Report(m.config.Release)
	for i := range report.Kinds {
		if k := &report.Kinds[i]; k.Kind == wire.KindProcess {
			checks, err := m.probe(r.Context())
			if err != nil {
				k.Available = false
				checks = []wire.Check{{Name: "a Keep starts", Found: wire.Line(err.Error()), Advice: "see the message"}}
			}
			k.Checks = append(k.Checks, checks...)
		}
	}
	return report, nil
}

// probe starts a process Keep, to see what confines it here.
func (m *Manager) probe(ctx context.Context) ([]wire.Check, error) {
	info, err := m.start(&wire.CreateRequest{Kind: wire.KindProcess, Memory: 64 << 10})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	keep := m.keeps[info.ID]
	m.mu.Unlock()
	defer func() {
		keep.process.askToEnd()
		<-keep.done
		m.remove(info.ID)
	}()
	for {
		info := keep.current()
		if info.State == wire.StateFailed {
			return nil, errors.New(info.Reason)
		}
		if info.State.Reached(wire.StateReady) {
			return append([]wire.Check{{Name: "a Keep starts", OK: true, Found: "it did"}}, info.Sandbox...), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Close ends all Keeps, and returns when they are gone.
func (m *Manager) Close() {
	m.mu.Lock()
	keeps := slices.Collect(maps.Values(m.keeps))
	m.mu.Unlock()
	for _, k := range keeps {
		k.process.askToEnd()
	}
	for _, k := range keeps {
		<-k.done
	}
}
