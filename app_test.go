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

// program is a program with one guarded handler, on the ledger in dir.
func program(t *testing.T, dir string, handler http.HandlerFunc) (*poe.Gate, http.Handler) {
	t.Helper()
	mux := http.NewServeMux()
	gate, err := poe.Open(t.Context(), poe.Config{Store: "pebble:" + dir, App: mux})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(handler))
	return gate, mux
}

func ask(h http.Handler, method, target string, fields ...string) *http.Response {
	return askUnder(context.Background(), h, method, target, fields...)
}

func askUnder(ctx context.Context, h http.Handler, method, target string, fields ...string) *http.Response {
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader("apples"))
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// What a program has accepted the next one executes, once everything is mounted, through the program's own routes.
func TestResume(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	stuck := make(chan struct{})
	gate, app := program(t, dir, func(http.ResponseWriter, *http.Request) { <-stuck })
	if res := ask(app, "POST", "/nothing"); res.StatusCode != 404 {
		t.Fatal("a handler that is not there answers")
	}
	gate.Resume()
	// All workers are held, so what is accepted after them is not sent.
	for range 20 {
		if res := ask(app, "POST", "/orders", "Prefer: respond-async"); res.StatusCode != 202 {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
	}
	res := ask(app, "POST", "/orders", "Prefer: respond-async", "Idempotency-Key: k")
	outcome := res.Header.Get("Location")
	if res.StatusCode != 202 || outcome == "" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	late := time.AfterFunc(500*time.Millisecond, func() { close(stuck) })
	defer late.Stop()
	if err := gate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	var executed atomic.Int64
	gate, app = program(t, dir, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "apples" || r.Header.Get("Idempotency-Key") != "" && poe.ActionID(r.Context()) == "" {
			t.Errorf("%s, action %q", body, poe.ActionID(r.Context()))
		}
		executed.Add(1)
		w.WriteHeader(http.StatusCreated)
	})
	defer func() {
		if err := gate.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if executed.Load() != 0 {
		t.Error("executed before everything was mounted")
	}
	gate.Resume()
	if res := ask(app, "POST", "/orders", "Prefer: respond-async, wait=20", "Idempotency-Key: k"); res.StatusCode != 202 && res.StatusCode != 201 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res := ask(app, "POST", "/orders", "Prefer: wait=20", "Idempotency-Key: k"); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res := ask(app, "GET", outcome); res.StatusCode != 200 {
		t.Errorf("the outcome: %d %v", res.StatusCode, res.Header)
	}
	if n := executed.Load(); n < 1 || n > 5 {
		t.Errorf("executed %d times", n) // this one, and what the workers of the first program had not begun
	}
}

// Without the program's handler nothing is accepted: the preference is ignored.
func TestWithoutApp(t *testing.T) {
	gate, err := poe.Open(t.Context(), poe.Config{Store: "memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Close(t.Context()) }()
	gate.Resume()
	h := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	if res := ask(h, "POST", "/orders", "Prefer: respond-async"); res.StatusCode != 201 {
		t.Errorf("%d", res.StatusCode)
	}
}

// What only some routes need is checked when the gate is opened, and no secret is in what is said.
func TestRidersAreChecked(t *testing.T) {
	for name, cfg := range map[string]poe.Config{
		"secret":      {Callbacks: &poe.Callbacks{Allow: []string{"a.example"}, Secrets: []string{"hunter2"}}},
		"host":        {Callbacks: &poe.Callbacks{Allow: []string{"*"}, Secrets: []string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}},
		"JWK Set":     {JWKS: filepath.Join(t.TempDir(), "none")},
		"audience":    {JWTAudience: "a"},
		"callbacks":   {Routes: []poe.Route{{Match: "POST /a", Doors: []string{"callback"}}}},
		"keys":        {Routes: []poe.Route{{Match: "POST /a", Principal: "jwt:sub"}}},
		"authorizer":  {Routes: []poe.Route{{Match: "POST /a", Authorize: "/auth"}}},
		"door":        {Routes: []poe.Route{{Match: "POST /a", Doors: []string{"keys"}}}},
		"door twice":  {Routes: []poe.Route{{Match: "POST /a", Doors: []string{"key", "key"}}}},
		"place":       {Routes: []poe.Route{{Name: "own", Match: "POST /a", Unique: []string{"email"}}}},
		"free on":     {Routes: []poe.Route{{Name: "own", Match: "POST /a", Unique: []string{"json:/a"}, FreeOn: []string{"PUT"}}}},
		"free what":   {Routes: []poe.Route{{Match: "POST /a", FreeOn: []string{"DELETE"}}}},
		"key header":  {Routes: []poe.Route{{Match: "POST /a", KeyHeaders: []string{"a b"}}}},
		"retry for":   {Routes: []poe.Route{{Match: "POST /a", RetryFor: 5}}},
		"variable":    {Routes: []poe.Route{{Match: "POST /a/{id}", ClientID: "path:ref"}}},
		"no variable": {Routes: []poe.Route{{Name: "own", Match: "POST *", Unique: []string{"path:id"}}}},
		"no key":      {Routes: []poe.Route{{Match: "POST /a", KeyHeaders: []string{}}}},
		"unused keys": {Routes: []poe.Route{{Match: "POST /a", Doors: []string{"poe"}, KeyHeaders: []string{"X-Key"}}}},
		"no way in":   {Routes: []poe.Route{{Match: "POST /a", Doors: []string{"callback"}, Require: true}}, Callbacks: &poe.Callbacks{Allow: []string{"a.example"}, Secrets: []string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}},
		"consume":     {Routes: []poe.Route{{Match: "POST /a", Consume: 7}}},
		"repeats":     {Routes: []poe.Route{{Match: "POST /a", Repeats: 7}}},
		"no repeats":  {Routes: []poe.Route{{Match: "POST /a", Repeats: poe.RepeatsRefused}}},
		"no doors":    {Routes: []poe.Route{{Match: "POST /a", Doors: []string{}}}},
		"spool":       {Spool: -1},
		"room":        {MinFree: -1},
		"two at once": {Routes: []poe.Route{{Match: "POST /a", ClientID: "x", Compare: []string{"y"}}}},
	} {
		cfg.Store = "memory:"
		gate, err := poe.Open(t.Context(), cfg)
		if err == nil {
			_ = gate.Close(t.Context())
			t.Errorf("%s: opened", name)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What recovery sends goes through the program's own routes, to the handler that the request was for; without them it is refused at once.
func TestRecoveryThroughTheProgram(t *testing.T) {
	routes := []poe.Route{{Match: "POST /orders", Recovery: poe.RecoveryRepeat}}
	dir := "pebble:" + filepath.Join(t.TempDir(), "ledger")
	if _, err := poe.Open(t.Context(), poe.Config{Store: dir, Routes: routes}); err == nil || !strings.Contains(err.Error(), "needs Config.App") {
		t.Fatalf("without App: %v", err)
	}
	mux := http.NewServeMux()
	gate, err := poe.Open(t.Context(), poe.Config{Store: dir, Routes: routes, App: mux})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := gate.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	var keys []string
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		keys = append(keys, poe.ActionID(r.Context())+r.Header.Get("Idempotency-Key")+string(body)) // one at a time
		if len(keys) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})))
	gate.Resume()
	if res := ask(mux, "POST", "/orders", "Idempotency-Key: k"); res.StatusCode != 502 {
		t.Fatal(res.StatusCode)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		res := ask(mux, "POST", "/orders", "Idempotency-Key: k")
		if res.StatusCode == 201 && res.Header.Get("Idempotent-Replayed") == "true" {
			break
		}
		if res.StatusCode != 409 || time.Now().After(deadline) {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
		<-time.After(50 * time.Millisecond)
	}
	if len(keys) != 2 || keys[0] != keys[1] || !strings.HasSuffix(keys[0], "kapples") {
		t.Errorf("%q", keys)
	}
}

// Routes are about the paths that clients use, also where a prefix is stripped in front of the gate; one that is about what is left of it guards too.
func TestBehindStripPrefix(t *testing.T) {
	for _, match := range []string{"POST /api/orders", "POST *", "POST /orders"} {
		gate, err := poe.Open(t.Context(), poe.Config{Store: "memory:", Routes: []poe.Route{{Match: match}}})
		if err != nil {
			t.Fatal(err)
		}
		executed := 0
		inner := http.NewServeMux()
		inner.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			executed++
			_, _ = io.WriteString(w, r.URL.Path)
		})))
		mux := http.NewServeMux()
		mux.Handle("/poe/", gate)
		mux.Handle("/api/", http.StripPrefix("/api", inner))
		for range 2 {
			r := httptest.NewRequest(http.MethodPost, "/api/orders", strings.NewReader("x"))
			r.Header.Set("Idempotency-Key", "k")
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			if w.Code != 200 || w.Body.String() != "/orders" {
				t.Errorf("%s, by key: %d %s", match, w.Code, w.Body)
			}
		}
		if executed != 1 {
			t.Errorf("%s: executed %d times under one key", match, executed)
		}
		m, err := gate.Mint(t.Context(), http.MethodPost, "/api/orders")
		if match == "POST /orders" {
			if !errors.Is(err, poe.ErrUnknownTarget) {
				t.Errorf("%s: minting: %v", match, err)
			}
		} else if err != nil {
			t.Errorf("%s: minting: %v", match, err)
		} else {
			for _, want := range []int{200, 405} {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, m.URI, strings.NewReader("x")))
				if w.Code != want {
					t.Errorf("%s, by POE URI: %d, want %d: %s", match, w.Code, want, w.Body)
				}
			}
		}
		if err := gate.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A limit that the program sets in front of the gate is a limit, and a request that was made by hand may have no body.
func TestBodiesInFront(t *testing.T) {
	gate, err := poe.Open(t.Context(), poe.Config{Store: "memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Close(t.Context()) }()
	once := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	limit := int64(3)
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		once.ServeHTTP(w, r)
	})
	if res := ask(limited, "POST", "/orders", "Idempotency-Key: k"); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("over the program's limit: %d", res.StatusCode)
	}
	minted, err := gate.Mint(t.Context(), "POST", "/orders")
	if err != nil {
		t.Fatal(err)
	}
	limit = 100
	for _, f := range [][]string{{"/orders", "Idempotency-Key: executed"}, {minted.URI}} {
		if res := ask(limited, "POST", f[0], f[1:]...); res.StatusCode != http.StatusCreated {
			t.Errorf("below the limit: %d", res.StatusCode)
		}
	}
	limit = 3 // what was executed before that cannot be compared any more, and is not called another request
	if res := ask(limited, "POST", "/orders", "Idempotency-Key: executed"); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("executed, and over the limit by now: %d", res.StatusCode)
	}
	res := ask(limited, "POST", minted.URI)
	if said, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusMethodNotAllowed || strings.Contains(string(said), "request_matches") {
		t.Errorf("executed, and over the limit by now: %d %s", res.StatusCode, said)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", "none")
	for range 2 {
		w := httptest.NewRecorder()
		once.ServeHTTP(w, r)
		if w.Code != http.StatusCreated {
			t.Errorf("without a body: %d %s", w.Code, w.Body)
		}
	}
}

// A program with a parameter of the gate's usual name gives the gate's another one.
func TestParamOfTheProgram(t *testing.T) {
	gate := openGate(t, poe.Config{Param: "once"})
	h := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) }))
	said := func(method, target string) string {
		res := ask(h, method, target)
		body, _ := io.ReadAll(res.Body)
		return res.Status + " " + string(body)
	}
	if got := said("GET", "/search?poe=edgar+allan"); got != "200 OK poe=edgar+allan" {
		t.Error(got)
	}
	minted, err := gate.Mint(t.Context(), "POST", "/orders?poe=1")
	if err != nil || !strings.HasPrefix(minted.URI, "/orders?poe=1&once=") {
		t.Fatal(minted, err)
	}
	if got := said("POST", minted.URI); got != "200 OK poe=1" {
		t.Error(got)
	}
}

// A handler that is missing is found when it is mounted, as with http.Handle, and not by the first client.
func TestOnceWithoutAHandler(t *testing.T) {
	gate := openGate(t, poe.Config{})
	defer func() {
		if recover() == nil {
			t.Error("nil is taken for a handler")
		}
	}()
	gate.Once(nil)
}

// The gate's own resources are where its clients see them, also where something in front takes the beginning of the path away.
func TestGateBehindStripPrefix(t *testing.T) {
	gate := openGate(t, poe.Config{Prefix: "/api/poe/"})
	api, site := http.NewServeMux(), http.NewServeMux()
	api.Handle("/poe/", gate)
	api.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })))
	site.Handle("/api/", http.StripPrefix("/api", api))
	fresh := ask(site, "GET", "/api/poe/new?for=/api/orders", "Accept: text/plain")
	uri, _ := io.ReadAll(fresh.Body)
	res := ask(site, "POST", strings.TrimSpace(string(uri)))
	if fresh.StatusCode != http.StatusOK || res.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s, and then %d", fresh.StatusCode, uri, res.StatusCode)
	}
	outcome, _, _ := strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	for _, at := range []string{outcome, outcome + "/receipt"} {
		if res := ask(site, "GET", at); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", at, res.StatusCode)
		}
	}
}
