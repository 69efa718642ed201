package core_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/tokens"
)

// A bench is a gate over a ledger in memory, an application that counts what it executes, and a clock that the test moves.
type bench struct {
	t       *testing.T
	gate    *core.Gate
	store   store.Store
	keys    *tokens.Ring
	metrics *prometheus.Registry
	handler http.Handler // the gate's resources and the guarded application

	mu  sync.Mutex
	now time.Time
	of  *bench // whose clock it has instead; nil: its own

	reservation string // of POST-PUT

	executed atomic.Int64
	app      http.HandlerFunc // what the application does; nil: 201 with Location
}

func (b *bench) clock() time.Time {
	if b.of != nil {
		return b.of.clock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) advance(d time.Duration) {
	if b.of != nil {
		b.of.advance(d)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// newBench makes a bench; change may alter the configuration.
func newBench(t *testing.T, change func(*core.Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), metrics: prometheus.NewRegistry()}
	st, err := memstore.New(memstore.Config{Clock: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	b.store = st
	ring, err := tokens.Ephemeral(tokens.Config{Audience: st.Identity().String()}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spool, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := core.Config{Store: st, Keys: ring, Spool: spool, Clock: b.clock, Metrics: b.metrics}
	if change != nil {
		change(&cfg)
	}
	b.store, b.keys = cfg.Store, cfg.Keys
	if b.gate, err = core.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := b.gate.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.mount(core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)})
	t.Cleanup(func() {
		if mem, disk := spool.Usage(); mem != 0 || disk != 0 {
			t.Errorf("the spool still holds %d bytes of memory and %d of disk", mem, disk)
		}
	})
	return b
}

// mount guards the application with exec.
func (b *bench) mount(exec core.Executor) {
	guarded := b.gate.Once(exec, http.HandlerFunc(b.serve))
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.gate.Owns(r.URL.Path) {
			b.gate.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// serve is the application.
func (b *bench) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
		b.executed.Add(1)
	}
	if b.app != nil {
		b.app(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Location", "/orders/1")
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(append([]byte("order 1: "), body...))
}

// do sends a request; fields are "Name: value".
func (b *bench) do(method, target, body string, fields ...string) *http.Response {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	return b.send(r)
}

// send serves r. No answer ever repeats the token that it was asked with: answers are kept, and logged, where requests' targets are not.
func (b *bench) send(r *http.Request) *http.Response {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if _, token, _ := strings.Cut(r.RequestURI, "poe=ey"); token != "" {
		for name, values := range w.Header() {
			if strings.Contains(strings.Join(values, ", "), token) {
				b.t.Errorf("%s %s: the token is in %s", r.Method, r.URL.Path, name)
			}
		}
		if strings.Contains(w.Body.String(), token) {
			b.t.Errorf("%s %s: the token is in the content", r.Method, r.URL.Path)
		}
	}
	return w.Result()
}

// mint returns a fresh POE URI for target.
func (b *bench) mint(target string, fields ...string) string {
	b.t.Helper()
	res := b.do("GET", "/poe/new?for="+strings.ReplaceAll(strings.ReplaceAll(target, "%", "%25"), "&", "%26"), "", fields...)
	var doc struct{ URIs []core.Minted }
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || res.StatusCode != 200 || len(doc.URIs) != 1 {
		b.t.Fatalf("minting %s: %d, %v, %v", target, res.StatusCode, err, doc)
	}
	return doc.URIs[0].URI
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// problemOf reads a problem.
func problemOf(t *testing.T, res *http.Response) map[string]any {
	t.Helper()
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("Content-Type = %q, status %d, body %s", got, res.StatusCode, text(t, res))
	}
	var p map[string]any
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

// wantProblem checks status, type and retry, and that the state is the one in POE-State too.
func wantProblem(t *testing.T, res *http.Response, code int, name string) map[string]any {
	t.Helper()
	p := problemOf(t, res)
	if res.StatusCode != code || p["type"] != "/poe/problems/"+name || p["status"] != float64(code) {
		t.Fatalf("got %d %v, want %d %s", res.StatusCode, p, code, name)
	}
	if state, ok := p["state"].(string); ok && !strings.HasPrefix(res.Header.Get("POE-State"), state+";id=") {
		t.Errorf("state %q, but POE-State is %q", state, res.Header.Get("POE-State"))
	}
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("caches and referrers are not kept away: %v", res.Header)
	}
	return p
}

func TestPostOnce(t *testing.T) {
	b := newBench(t, nil)
	uri := b.mint("/orders?x=1")

	res := b.do("GET", uri, "")
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("POE-State"), "unused;id=") {
		t.Fatalf("unused: %d %v", res.StatusCode, res.Header)
	}
	res = b.do("POST", uri, "three apples")
	if got := text(t, res); res.StatusCode != 201 || got != "order 1: three apples" || res.Header.Get("Location") != "/orders/1" {
		t.Fatalf("first POST: %d %q %v", res.StatusCode, got, res.Header)
	}
	first := res.Header.Get("POE-State")
	if !strings.HasPrefix(first, "done;id=") || !strings.Contains(first, ";status=201;at=@") {
		t.Errorf("POE-State = %q", first)
	}
	for range 3 {
		res = b.do("POST", uri, "three apples")
		p := wantProblem(t, res, 405, "consumed")
		if res.Header.Get("Allow") != "GET, HEAD" || p["request_matches"] != true || p["outcome_status"] != float64(201) || p["retry"] != "never" {
			t.Errorf("405: %v %v", res.Header, p)
		}
		outcome, _ := p["outcome"].(string)
		if want := "<" + outcome + `>; rel="status"; anchor=""`; res.Header.Get("Link") != want {
			t.Errorf("Link = %q, want %q", res.Header.Get("Link"), want)
		}
		for _, at := range []string{outcome, uri} {
			res = b.do("GET", at, "")
			if got := text(t, res); res.StatusCode != 200 || got != "order 1: three apples" || res.Header.Get("Location") != "/orders/1" ||
				res.Header.Get("POE-State") != first+";replayed" || res.Header.Get("Content-Type") != "text/plain" {
				t.Errorf("outcome at %s: %d %q %v", at, res.StatusCode, got, res.Header)
			}
		}
	}
	if p := wantProblem(t, b.do("POST", uri, "four apples"), 405, "consumed"); p["request_matches"] != false {
		t.Errorf("another body: %v", p)
	}
	if n := b.executed.Load(); n != 1 {
		t.Fatalf("executed %d times", n)
	}
}

var _ = bytes.NewReader
