package core_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// The address that was signed with a URI is called, whichever name the last attempt came under.
func TestMintedCallbackUnderKey(t *testing.T) {
	h := newHook(t)
	b := deferring(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks = sender
		c.Routes = []core.Route{{Match: "POST /orders", Doors: []string{"poe", "key", "callback"}}}
	})
	n := 0
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	res := b.do("GET", "/poe/new?for=/orders&callback="+strings.ReplaceAll(h.URL+"/hook", ":", "%3A"), "", "Accept: text/plain")
	if res.StatusCode != 200 {
		t.Fatal(res.StatusCode, text(t, res))
	}
	uri := strings.TrimSpace(text(t, res))
	if res := b.do("POST", uri, "x", "Idempotency-Key: k1"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("POST", "/orders", "x", "Idempotency-Key: k1"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	b.work()
	if h.got() != 1 {
		t.Errorf("called back %d times; want once", h.got())
	}
}

// Nothing is said to another principal about an action that is unused again.
func TestPrincipalChangedSaysNothing(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) }
	const key = "Idempotency-Key: 0b6b8f9c-6a0e-4b7e-9d57-2f8f6f3f2a11"
	a, bob := "Authorization: Bearer alice-token", "Authorization: Bearer bob-token"
	b.do("POST", b.mint("/orders", a), "x", a, key)
	res := b.do("POST", "/orders", "x", bob, key)
	wantProblem(t, res, http.StatusConflict, "principal-changed")
	if s := res.Header.Get("POE-State"); s != "" {
		t.Errorf("409 says of alice's action: POE-State: %s", s)
	}
	res = b.do("POST", "/orders", "x", bob, key, "Content-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:")
	if s := res.Header.Get("POE-State"); s != "" {
		t.Errorf("%d says of alice's action: POE-State: %s, %s", res.StatusCode, s, text(t, res))
	}
}

// The same of nobody's action, under a key that is guessed.
func TestGuessedKeySaysNothing(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) }
	b.do("POST", b.mint("/orders"), "card=4242", "Idempotency-Key: order-1")
	res := b.do("POST", "/orders", "guess", "Idempotency-Key: order-1")
	p := wantProblem(t, res, 422, "key-reused")
	if p["state"] != nil || res.Header.Get("POE-State") != "" {
		t.Errorf("422 says state %v, POE-State %q", p["state"], res.Header.Get("POE-State"))
	}
}

// Two different requests never carry one Idempotency-Key of ours: an application that knows keys would answer the second with what came of the first.
func TestDoubtedKeyReused(t *testing.T) {
	for name, send := range map[string]func(b *bench) func(n int) *http.Response{
		"a tracking id": func(b *bench) func(int) *http.Response {
			return func(n int) *http.Response {
				return b.do("POST", []string{"", "/orders/1", "/orders/2"}[n], []string{"", "pay ann", "pay bob"}[n], "Tracking-Id: t1")
			}
		},
		"a URI": func(b *bench) func(int) *http.Response {
			uri := b.mint("/orders/1")
			return func(n int) *http.Response { return b.do("POST", uri, []string{"", "pay ann", "pay bob"}[n]) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := newBench(t, func(c *core.Config) {
				c.Routes = []core.Route{{Name: "orders", Match: "POST /orders/{id}", Doors: []string{"poe", "key"}, KeyHeaders: []string{"Tracking-Id"}}}
			}), &upstream{}
			b.behind(u)
			post := send(b)
			// The application executes the first one, and its answer is lost on the way; it knows keys.
			stored := map[string]string{}
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				if _, ok := stored[s.key]; !ok {
					stored[s.key] = "did: " + s.body
				}
				if n == 1 {
					return replay.Broken, errReset
				}
				return answers(200, stored[s.key])(n, s, rec)
			})
			res := post(1)
			state := res.Header.Get("POE-State")
			if !strings.HasPrefix(state, "unknown") {
				t.Fatal(res.StatusCode, state)
			}
			if _, err := b.gate.Decide(t.Context(), core.Decision{ID: strings.Split(state, `"`)[1], As: core.AsUnused, Reason: "it is not in the list"}); err != nil {
				t.Fatal(err)
			}
			res = post(2)
			if got := text(t, res); res.StatusCode == 200 && got != "did: pay bob" {
				t.Errorf("pay bob: %d %s %q; sent %+v", res.StatusCode, res.Header.Get("POE-State"), got, u.sent())
			}
		})
	}
}

// The answer of an attempt that was called undone is not lost because another request was tried under the name since.
func TestLateAnswerAfterAnotherRequest(t *testing.T) {
	b := newBench(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			w.WriteHeader(429)
			return
		}
		close(entered)
		<-leave
		w.WriteHeader(201)
	}
	var all sync.WaitGroup
	all.Go(func() { b.do("POST", "/orders", "a", "Idempotency-Key: k") })
	<-entered
	b2 := b.another()
	b2.app = b.app
	b.advance(10 * time.Minute)
	core.Housekeeping(t.Context(), b2.gate)
	ids, err := b.store.List(t.Context(), store.ID{}, 10)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	if _, err := b2.gate.Decide(t.Context(), core.Decision{ID: ids[0].String(), As: core.AsUnused, Reason: "looked"}); err != nil {
		t.Fatal(err)
	}
	if res := b2.do("POST", "/orders?x=2", "b", "Idempotency-Key: k"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode)
	}
	close(leave)
	all.Wait()
	r, err := b.store.Lookup(t.Context(), store.ByID(ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.History {
		if e.Status == 201 {
			return
		}
	}
	t.Errorf("the 201 is nowhere: %s %s %+v", r.State, r.Target, r.History)
}

// E: POE-Links can be parsed whatever the target was.
func TestLinksOfOddTarget(t *testing.T) {
	b := newBench(t, nil)
	res := b.do("POST", `/orders?x=">;rel=x,<http://evil.example/`, "x", "Idempotency-Key: k1", "POE: 1")
	t.Log(res.StatusCode, res.Header["Link"], res.Header["Poe-Links"])
	if strings.Contains(res.Header.Get("POE-Links"), "evil") {
		t.Errorf("POE-Links: %s", res.Header.Get("POE-Links"))
	}
}

// A route that counts behind http.StripPrefix, "so that nothing is left unguarded by mistake", can be used there.
func TestStripPrefixVars(t *testing.T) {
	for _, r := range []core.Route{
		{Name: "own", Match: "POST /orders/{id}/payment", Unique: []string{"path:id"}, Doors: []string{"key"}},
		{Match: "POST /orders/{id}/payment", ClientID: "path:id", Doors: []string{"key"}},
	} {
		b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{r} })
		b.handler = http.StripPrefix("/api", b.handler)
		if res := b.do("POST", "/api/orders/7/payment", "x"); res.StatusCode != 201 {
			t.Errorf("%d %s", res.StatusCode, text(t, res))
		}
	}
}

// A host is the same in every spelling, and a business key is the same at every host: a client may name any.
func TestHosts(t *testing.T) {
	for name, tc := range map[string]struct {
		unique, host string
		other        bool
	}{
		"port": {"json:/email", "example.com:80", false}, "case": {"json:/email", "EXAMPLE.com", false}, "dot": {"json:/email", "example.com.", false},
		"another": {"json:/email", "example.org", false}, "a tenant": {"header:Host", "example.org", true}, "the same tenant": {"header:host", "EXAMPLE.com.", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) {
				c.Routes = []core.Route{{Name: "own", Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email", tc.unique}}}
			})
			create := func(host string, fields ...string) *http.Response {
				r := httptest.NewRequest("POST", "/users", strings.NewReader(`{"email":"a@example.com"}`))
				r.Host = host
				r.Header.Set("Content-Type", "application/json")
				for _, f := range fields {
					name, value, _ := strings.Cut(f, ": ")
					r.Header.Set(name, value)
				}
				return b.send(r)
			}
			create("example.com")
			want := 409
			if tc.other {
				want = 201
			}
			if res := create(tc.host); res.StatusCode != want {
				t.Errorf("at %s the same e-mail: %d, executed %d times", tc.host, res.StatusCode, b.executed.Load())
			}
		})
	}
	for _, host := range []string{"example.com:80", "EXAMPLE.com", "example.com."} {
		b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /users", Doors: []string{"key"}}} })
		for _, h := range []string{"example.com", host} {
			r := httptest.NewRequest("POST", "/users", strings.NewReader("x"))
			r.Host = h
			r.Header.Set("Idempotency-Key", "k")
			b.send(r)
		}
		if n := b.executed.Load(); n != 1 {
			t.Errorf("at %s: executed %d times", host, n)
		}
	}
}

// A line that somebody writes beside a claim does not take the execution away from who made it.
func TestFreeBeforeMark(t *testing.T) {
	b, h := hookedBench(t, one(core.Route{MarkSent: true, Doors: []string{"poe", "if-none-match"}, Unique: []string{"header:X-A"}}))
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		got, err := next(context.Background(), r)
		if err == nil {
			if err := b.gate.Free(context.Background(), r.ID.String(), "operator"); err != nil {
				t.Error(err)
			}
		}
		return got, err
	}
	i := b.issue("/orders")
	res := b.do("POST", i.URI, "x", "X-A: 1")
	h.claim = nil
	core.Housekeeping(t.Context(), b.gate)
	again := b.do("POST", i.URI, "x", "X-A: 1")
	if res.StatusCode != 201 && again.StatusCode != 201 {
		t.Errorf("%d %s; after housekeeping %d %s; executed %d times", res.StatusCode, res.Header.Get("POE-State"), again.StatusCode, again.Header.Get("POE-State"), b.executed.Load())
	}
}

// A target that begins with two slashes is a path, and no host.
func TestTwoSlashes(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "done")
		w.WriteHeader(303)
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
	r.RequestURI, r.URL.Path = "//evil.example/orders", "//evil.example/orders" // as net/http reads it
	r.Header.Set("Idempotency-Key", "k")
	res := b.send(r)
	at := strings.TrimPrefix(strings.Split(res.Header.Get("Link"), ">")[0], "<")
	got := b.do("GET", at, "")
	if l := got.Header.Get("Location"); strings.HasPrefix(l, "//") {
		t.Errorf("%d Location %q; the outcome: %d Location: %q", res.StatusCode, res.Header.Get("Location"), got.StatusCode, l)
	}
}

// What a DELETE gives back is given back by its repeat, where the first one could not.
func TestDeletionLost(t *testing.T) {
	b, h := hookedBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "users", Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}},
			{Name: "user", Match: "DELETE /users/{id}", Doors: []string{"key"}},
		}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() int {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json").StatusCode
	}
	if create() != 201 || create() != 409 {
		t.Fatal("it is not unique")
	}
	b.advance(time.Second)
	h.refuse = func(r *store.Record) bool { return r.Route == "users" } // stands for a ledger that is away, or a crash, in that moment
	if res := b.do("DELETE", "/users/1", "", "Idempotency-Key: d"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	h.refuse = nil
	if res := b.do("DELETE", "/users/1", "", "Idempotency-Key: d"); res.Header.Get("Idempotent-Replayed") != "true" {
		t.Fatal(res.StatusCode)
	}
	core.Housekeeping(t.Context(), b.gate)
	b.work()
	if code := create(); code != 201 {
		t.Errorf("the user is deleted, and the e-mail is taken for ever: %d", code)
	}
}

// A body that was read before is compared with nothing.
func TestReadBeforeConsumed(t *testing.T) {
	b := newBench(t, nil)
	uri := b.mint("/orders")
	form := "Content-Type: application/x-www-form-urlencoded"
	b.do("POST", uri, "item=apple", form)
	inner := b.handler
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		inner.ServeHTTP(w, r)
	})
	res := b.do("POST", uri, "item=apple", form)
	p := wantProblem(t, res, 405, "consumed")
	if same, compared := p["request_matches"]; compared && same != true {
		t.Errorf("request_matches is %v for the very same request", same)
	}
}
