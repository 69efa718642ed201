package poe_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postonce/poe"
)

// stuck is something that a program does, which does not end when its context does.
type stuck struct {
	began, goOn, over chan struct{}
}

func newStuck() *stuck {
	return &stuck{make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)}
}

func (s *stuck) do() {
	s.began <- struct{}{}
	<-s.goOn
	s.over <- struct{}{}
}

func (s *stuck) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.do()
	w.WriteHeader(http.StatusCreated)
}

func broken(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Close returns soon after its context has ended, whatever a program is stuck in, and says that something is. What that does afterwards is harmless, and the
// next process finds the action unknown.
func TestCloseLeavesAloneWhatIsStuck(t *testing.T) {
	for name, begin := range map[string]func(*stuck, poe.Config) *poe.Gate{
		"a handler": func(s *stuck, cfg poe.Config) *poe.Gate {
			gate := openGate(t, cfg)
			go ask(gate.Once(s), "POST", "/a", "Idempotency-Key: k")
			return gate
		},
		"a handler that nobody waits for": func(s *stuck, cfg poe.Config) *poe.Gate {
			app := http.NewServeMux()
			cfg.App = app
			gate := openGate(t, cfg)
			app.Handle("/a", gate.Once(s))
			gate.Resume()
			if res := ask(app, "POST", "/a", "Idempotency-Key: k", "Prefer: respond-async"); res.StatusCode != http.StatusAccepted {
				t.Fatal(res.StatusCode)
			}
			return gate
		},
		"Route.Recover": func(s *stuck, cfg poe.Config) *poe.Gate {
			cfg.Routes = []poe.Route{{Match: cfg.Routes[0].Match, Recover: func(context.Context, poe.Unresolved) (poe.Resolution, error) {
				s.do()
				return poe.Resolution{State: poe.WasDone}, nil
			}}}
			gate := openGate(t, cfg)
			func() {
				defer func() { _ = recover() }() // it is the handler's
				ask(gate.Once(http.HandlerFunc(broken)), "POST", "/a", "Idempotency-Key: k")
			}()
			return gate
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := poe.Config{Store: "pebble:" + filepath.Join(t.TempDir(), "ledger"), Routes: []poe.Route{{Match: "POST /a"}}}
			s := newStuck()
			gate := begin(s, cfg)
			<-s.began
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := gate.Close(ctx); err == nil {
				t.Error("it does not say that something is stuck")
			}
			next := openGate(t, cfg)
			res := ask(next.Once(s), "POST", "/a", "Idempotency-Key: k")
			if state := res.Header.Get("POE-State"); !strings.HasPrefix(state, "unknown") {
				t.Errorf("the next process says %q", state)
			}
			close(s.goOn) // what it does now is nobody's
			<-s.over
		})
	}
}

// A callback that is being delivered is broken off, and sent again by the next process.
func TestCloseBreaksOffACallback(t *testing.T) {
	asked := make(chan struct{}, 2)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees when the client leaves
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer hook.Close()
	cfg := poe.Config{
		Store:     "pebble:" + filepath.Join(t.TempDir(), "ledger"),
		Callbacks: &poe.Callbacks{Allow: []string{strings.TrimPrefix(hook.URL, "http://")}, Secrets: []string{"whsec_" + strings.Repeat("A", 32)}, DangerouslyInsecure: true},
		Routes:    []poe.Route{{Match: "POST /a", Doors: []string{"key", "callback"}}},
	}
	gate := openGate(t, cfg)
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	if res := ask(gate.Once(handler), "POST", "/a", "Idempotency-Key: k", "Callback-URL: "+hook.URL); res.StatusCode != http.StatusOK {
		t.Fatal(res.StatusCode)
	}
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := gate.Close(ctx); err != nil {
		t.Error(err)
	}
	next := openGate(t, cfg)
	<-asked
	if err := next.Close(ctx); err != nil {
		t.Error(err)
	}
}

// An answer that is passed through is not waited for, and its handler is told.
func TestCloseEndsStreams(t *testing.T) {
	gate := openGate(t, poe.Config{})
	began, told := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		close(began)
		<-r.Context().Done()
		close(told)
	})))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "k")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := gate.Close(ctx); err != nil || ctx.Err() != nil {
		t.Error(err, ctx.Err())
	}
	<-told
}

// A server and its gate that are stopped at the same time do not wait for each other: what runs has its answer, and what streams ends.
func TestCloseBesideShutdown(t *testing.T) {
	gate := openGate(t, poe.Config{})
	began, goOn := make(chan struct{}, 2), make(chan struct{})
	server := httptest.NewServer(gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
			began <- struct{}{}
			<-r.Context().Done()
			return
		}
		began <- struct{}{}
		<-goOn
		w.WriteHeader(http.StatusCreated)
	})))
	defer server.Close()
	got := make(chan int, 2)
	for _, path := range []string{"/stream", "/orders"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", strings.Trim(path, "/"))
		go func() {
			res, err := server.Client().Do(req)
			if err != nil {
				got <- 0
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			got <- res.StatusCode
		}()
		<-began
	}
	grace, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- gate.Close(grace) }()
	if code := <-got; code != http.StatusOK { // the stream is over before what runs
		t.Errorf("the stream: %d", code)
	}
	close(goOn)
	if err := errors.Join(server.Config.Shutdown(grace), <-closed); err != nil || grace.Err() != nil {
		t.Error(err, grace.Err())
	}
	if code := <-got; code != http.StatusCreated {
		t.Errorf("what ran: %d", code)
	}
}

// A gate that is closed executes nothing.
func TestAfterClose(t *testing.T) {
	dir := "pebble:" + filepath.Join(t.TempDir(), "ledger")
	var executed atomic.Int32
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { executed.Add(1) })
	gate := openGate(t, poe.Config{Store: dir})
	h := gate.Once(handler)
	ask(h, "POST", "/a", "Idempotency-Key: used")
	if err := gate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	late, err := gate.Mint(t.Context(), "POST", "/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, fields := range [][]string{{late.URI}, {"/a", "Idempotency-Key: new"}, {"/a", "Idempotency-Key: used"}} {
		if res := ask(h, "POST", fields[0], fields[1:]...); res.StatusCode != http.StatusServiceUnavailable && res.Header.Get("Idempotent-Replayed") == "" {
			t.Errorf("%v: %d", fields, res.StatusCode)
		}
	}
	if n := executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
	if res := ask(openGate(t, poe.Config{Store: dir}).Once(handler), "POST", late.URI); res.StatusCode != http.StatusOK {
		t.Errorf("the next process says %d", res.StatusCode)
	}
}

// What recovery sends is told from what a client sends to the same address by the id of an action in its context, which no client can put there.
func TestActionIDOfRecovery(t *testing.T) {
	app := http.NewServeMux()
	gate := openGate(t, poe.Config{App: app, Routes: []poe.Route{
		{Match: "POST /probed", Recovery: poe.RecoveryProbe, Probe: "/probe/{id}"},
		{Match: "POST /undone", Recovery: poe.RecoveryCompensate, Compensate: "/undo/{id}"},
	}})
	ids := make(chan string, 1)
	app.Handle("/probed", gate.Once(http.HandlerFunc(broken)))
	app.Handle("/undone", gate.Once(http.HandlerFunc(broken)))
	tell := func(_ http.ResponseWriter, r *http.Request) { ids <- poe.ActionID(r.Context()) }
	app.HandleFunc("GET /probe/{id}", tell)
	app.HandleFunc("POST /undo/{id}", tell)
	gate.Resume()
	for _, tc := range [][3]string{{"/probed", "GET", "/probe/x"}, {"/undone", "POST", "/undo/x"}} {
		func() {
			defer func() { _ = recover() }() // it is the handler's
			ask(app, "POST", tc[0], "Idempotency-Key: k")
		}()
		if id := <-ids; id == "" {
			t.Errorf("%s: it looks as if a client had sent it", tc[0])
		}
		ask(app, tc[1], tc[2], "POE-Id: "+strings.Repeat("0", 36), "Idempotency-Key: k")
		if id := <-ids; id != "" {
			t.Errorf("%s: a client's request has the id %s", tc[0], id)
		}
	}
}
