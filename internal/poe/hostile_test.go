package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/postonce/poe/internal/bearer"
	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/webhook"
)

// What a hostile client can try, and an unlucky one run into.

// However many Authorization lines there are, they are not the principal of a verified token.
func TestForgedPrincipal(t *testing.T) {
	i := newIssuer(t)
	for _, principal := range []string{"authorization", "jwt:sub"} {
		b := newBench(t, func(c *core.Config) {
			v, err := bearer.Open(bearer.Config{File: i.file, Clock: c.Clock})
			if err != nil {
				t.Fatal(err)
			}
			c.Bearer = v
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Principal: principal}}
		})
		b.app = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, "ann's secret")
		}
		ann := i.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "iat": b.clock().Unix(), "exp": b.clock().Add(time.Hour).Unix()})
		res := b.do("POST", "/orders", "apples", ann, "Idempotency-Key: 1")
		if res.StatusCode != 201 {
			t.Fatal(res.StatusCode)
		}
		forged := []string{"Authorization: verified", "Authorization: i", "Authorization: ann"}
		res = b.do("POST", "/orders", "guess", append(forged, "Idempotency-Key: 1")...)
		if res.StatusCode != 201 || b.executed.Load() != 2 { // somebody else's first request under that key
			t.Errorf("%s: without any credentials: %d %q", principal, res.StatusCode, text(t, res))
		}
	}
}

// A key that was sent along with a URI and is free again does not take another request to that URI.
func TestKeyReleasedThenOtherTarget(t *testing.T) {
	b := newBench(t, nil)
	first := true
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "executed "+r.URL.Path)
	}
	uri := b.mint("/orders?x=1")
	if res := b.do("POST", uri, "order", "Idempotency-Key: k1"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode)
	}
	wantProblem(t, b.do("POST", "/refunds", "refund", "Idempotency-Key: k1"), http.StatusUnprocessableEntity, "key-reused")
	if res := b.do("POST", uri, "order"); res.StatusCode != 201 || text(t, res) != "executed /orders" {
		t.Errorf("the URI itself: %d", res.StatusCode)
	}
}

// A key that is free again takes another request, and that goes to its own target.
func TestAsyncSendsToOldTarget(t *testing.T) {
	b := deferring(t, nil)
	var seen []string
	b.app = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.URL.Path+" "+string(body))
		if len(seen) == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	b.do("POST", "/orders", "an order", "Idempotency-Key: k1")
	res := b.do("POST", "/refunds", "a refund", "Idempotency-Key: k1", later)
	if res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	if len(seen) != 2 || seen[1] != "POST /refunds a refund" {
		t.Errorf("executed %q; want POST /refunds a refund", seen[1:])
	}
}

// Nobody but whose it is continues an action with a POE URI under its key, however unlikely the key.
func TestSharedKeyLeak(t *testing.T) {
	b := newBench(t, nil)
	first := true
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "secret of "+r.Header.Get("Authorization"))
	}
	const key = "Idempotency-Key: 0b6b8f9c-6a0e-4b7e-9d57-2f8f6f3f2a11"
	a, bob := "Authorization: Bearer alice-token", "Authorization: Bearer bob-token"
	uri := b.mint("/orders", a)
	b.do("POST", uri, "x", a, key)
	wantProblem(t, b.do("POST", "/orders", "x", bob, key), http.StatusConflict, "principal-changed")
	wantProblem(t, b.do("POST", "/orders", "y", a, key), http.StatusUnprocessableEntity, "key-reused")
	if res := b.do("POST", "/orders", "x", a, key); res.StatusCode != 201 {
		t.Errorf("her own retry, under the key: %d", res.StatusCode)
	}
	res := b.do("GET", uri, "", a)
	body := text(t, res)
	t.Logf("%d %s", res.StatusCode, body)
	if strings.Contains(body, "bob") {
		t.Errorf("alice is shown bob's answer: %q", body)
	}
}

// On a route without the door of callbacks a Callback-URL is nothing to us.
func TestCallbackWithoutDoor(t *testing.T) {
	b := deferring(t, nil) // default doors: poe, key, async; no callbacks configured
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", later, "Callback-URL: http://169.254.169.254/latest")
	if res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	b.work()
	ids, err := b.store.Agenda(t.Context(), store.Person, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		r, _ := b.store.Lookup(t.Context(), store.ByID(id))
		t.Errorf("on the agenda for ever: kind %d, state %s, target %s, due %s", r.Kind, r.State, r.Target, r.Due)
	}
}

// Nor is it called where others are.
func TestCallbackWithoutDoorIsSent(t *testing.T) {
	h := newHook(t)
	b := deferring(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks = sender
		c.Routes = []core.Route{{Match: "POST /orders", Doors: []string{"key", "async"}}}
	})
	b.do("POST", "/orders", "x", "Idempotency-Key: k1", later, "Callback-URL: "+h.URL+"/any")
	b.work()
	b.work()
	if h.got() != 0 {
		t.Errorf("called back on a route without the door")
	}
}

// Nor does one that no record could hold keep an outcome from being stored.
func TestCallbackWithoutDoorLosesOutcome(t *testing.T) {
	b := deferring(t, nil)
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", later, "Callback-URL: "+strings.Repeat("x", 70<<10))
	if res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	got := b.do("GET", res.Header.Get("Location"), "")
	if state := got.Header.Get("POE-State"); !strings.HasPrefix(state, "done") {
		t.Errorf("executed %d times, and it is %s", b.executed.Load(), state)
	}
}

// Burning an unused URI deletes nothing.
func TestBurnFreesGuards(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}},
			{Match: "POST *", Doors: []string{"poe"}},
		}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() *http.Response {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json")
	}
	if res := create(); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := create(); res.StatusCode != 409 {
		t.Fatal(res.StatusCode)
	}
	uri := b.mint("/users/1")
	if res := b.do("DELETE", uri, ""); res.StatusCode != 204 {
		t.Fatal(res.StatusCode)
	}
	if res := create(); res.StatusCode != 409 {
		t.Errorf("after burning an unrelated URI the same e-mail is created again: %d; executed %d times", res.StatusCode, b.executed.Load())
	}
}

// A DELETE whose handler panics has deleted nothing that we know of.
func TestPanickingDeleteFreesGuards(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() *http.Response {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json")
	}
	if res := create(); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	func() {
		defer func() { _ = recover() }()
		b.do("DELETE", "/users/1", "")
	}()
	if res := create(); res.StatusCode != 409 {
		t.Errorf("after an aborted DELETE the same e-mail is created again: %d", res.StatusCode)
	}
}

// Only what was accepted is answered 202.
func TestAsyncJoinsSyncAction(t *testing.T) {
	b := deferring(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		w.WriteHeader(422)
	}
	done := make(chan struct{})
	go func() { b.do("POST", "/orders", "x", "Idempotency-Key: k1"); close(done) }()
	<-entered
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", later)
	t.Logf("%d %v", res.StatusCode, res.Header)
	close(leave)
	<-done
	if res.StatusCode == 202 {
		got := b.do("GET", res.Header.Get("Location"), "")
		t.Errorf("202 Preference-Applied %q, and then the action is: %s", res.Header.Get("Preference-Applied"), got.Header.Get("POE-State"))
	}
}

// POE: 1 gets no links on a route without the door of POE URIs.
func TestLinksWithoutDoor(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Doors: []string{"key"}}} })
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", "POE: 1")
	links := res.Header.Get("POE-Links")
	if links == "" {
		return
	}
	uri := strings.Trim(links, `"`)
	got := b.do("POST", uri, "x")
	t.Errorf("POE-Links on a route without poe; POST to it: %d", got.StatusCode)
}

// A request that is executed later has all its fields.
func TestAsyncLosesDate(t *testing.T) {
	b := deferring(t, nil)
	var got http.Header
	b.app = func(w http.ResponseWriter, r *http.Request) { got = r.Header.Clone(); w.WriteHeader(201) }
	fields := []string{"Date: Sun, 01 Mar 2026 12:00:00 GMT", "RateLimit-Token: 1", "Age: 3", "X-Other: 1"}
	b.do("POST", "/orders", "x", append(fields, "Idempotency-Key: k0")...)
	sync := got
	got = nil
	b.do("POST", "/orders", "x", append(fields, "Idempotency-Key: k1", later)...)
	b.work()
	for name := range sync {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is lost", name)
		}
	}
}

// A 405 of the application is none to the client, as an event stream too.
func TestStreamed405(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(405)
	}
	res := b.do("POST", b.mint("/orders"), "x")
	if res.StatusCode == 405 {
		t.Errorf("405 %s %v", res.Header.Get("POE-State"), res.Header)
	}
}

type hooked struct {
	store.Store
	claim  func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error)
	put    func()
	looked atomic.Int64
}

func (h *hooked) Claim(ctx context.Context, r store.Record) (store.Record, error) {
	if h.claim != nil {
		return h.claim(r, h.Store.Claim)
	}
	return h.Store.Claim(ctx, r)
}

func (h *hooked) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	h.looked.Add(1)
	return h.Store.Lookup(ctx, k)
}

func (h *hooked) Put(ctx context.Context, id store.ID, p store.Part, src io.Reader) (int64, error) {
	if h.put != nil {
		h.put()
	}
	return h.Store.Put(ctx, id, p, src)
}

func hookedBench(t *testing.T, change func(*core.Config)) (*bench, *hooked) {
	h := &hooked{}
	b := newBench(t, func(c *core.Config) {
		st, err := memstore.New(memstore.Config{Clock: c.Clock})
		if err != nil {
			t.Fatal(err)
		}
		h.Store = st
		c.Store = h
		if change != nil {
			change(c)
		}
	})
	return b, h
}

// The repeat of an accepted DELETE deletes nothing while that is under way.
func TestRepeatedAsyncDeleteFrees(t *testing.T) {
	b := deferring(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}},
			{Match: "DELETE /users/{id}", Doors: []string{"key", "async"}},
		}
	})
	entered, leave := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			close(entered)
			<-leave
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() *http.Response {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json")
	}
	if res := create(); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("DELETE", "/users/1", "", "Idempotency-Key: d", later); res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	if res := create(); res.StatusCode != 409 {
		t.Fatal(res.StatusCode)
	}
	var wg sync.WaitGroup
	wg.Go(b.work)
	<-entered
	res := b.do("DELETE", "/users/1", "", "Idempotency-Key: d", later)
	t.Logf("%d %s", res.StatusCode, res.Header.Get("POE-State"))
	close(leave)
	wg.Wait()
	if res := create(); res.StatusCode != 409 {
		t.Errorf("the DELETE ended in 500, and the same e-mail is created again: %d", res.StatusCode)
	}
}

// Of two requests under one key that is free again the second waits for the claim of the first.
func TestSpin(t *testing.T) {
	b, h := hookedBench(t, one(core.Route{Recovery: core.RecoveryRepeat}))
	var n atomic.Int64
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	body := strings.Repeat("x", 100<<10)
	b.do("POST", "/orders", body, "Idempotency-Key: k")
	entered := make(chan struct{})
	var once sync.Once
	h.put = func() {
		once.Do(func() {
			close(entered)
			slow := time.NewTimer(300 * time.Millisecond) // as a sync may be
			defer slow.Stop()
			<-slow.C
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { b.do("POST", "/orders", body, "Idempotency-Key: k") })
	<-entered
	before := h.looked.Load()
	b.do("POST", "/orders", body, "Idempotency-Key: k")
	t.Logf("%d look-ups by one request in 300 ms", h.looked.Load()-before)
	wg.Wait()
	if h.looked.Load()-before > 20 {
		t.Errorf("it spins")
	}
}

// Of two claims whose ends are unknown, either may be the one that was written.
func TestOrphanForgotten(t *testing.T) {
	b, h := hookedBench(t, nil)
	lost := errors.New("connection lost")
	calls := 0
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		calls++
		if calls <= 3 {
			_, _ = next(context.Background(), r) // it is written, and nobody says so
		}
		return store.Record{}, lost
	}
	uri := b.issue("/orders")
	b.do("POST", uri.URI, "x")
	res := b.do("POST", uri.URI, "x", "Expect: 100-continue")
	t.Log(res.StatusCode, calls)
	second := b.do("POST", uri.URI, "x")
	t.Log(second.StatusCode, calls)
	h.claim = nil
	core.Housekeeping(t.Context(), b.gate)
	if r := b.lookup(uri.ID); r.State != store.Unused {
		b.advance(5 * time.Minute)
		core.Housekeeping(t.Context(), b.gate)
		r = b.lookup(uri.ID)
		t.Errorf("nothing was sent, executed %d times, and it is %s: %+v", b.executed.Load(), r.State, r.History)
	}
}

// What a handler writes after it has returned is not of its answer.
func TestWriteAfterReturn(t *testing.T) {
	b, h := hookedBench(t, nil)
	write, wrote := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
		go func() {
			<-write
			_, _ = io.WriteString(w, "late")
			close(wrote)
		}()
	}
	h.put = func() { close(write); <-wrote }
	uri := b.mint("/orders")
	func() {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("the first answer ends in a panic: %v", p)
			}
		}()
		b.do("POST", uri, "x")
	}()
	if res := b.do("GET", uri, ""); res.StatusCode != 200 {
		t.Errorf("the stored answer: %d %s", res.StatusCode, text(t, res))
	}
}

// What is repeated is the request that was sent, with its method and target.
func TestRepeatOldTarget(t *testing.T) {
	b, u := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST,DELETE /orders/{id}", Doors: []string{"key"}, Recovery: core.RecoveryRepeat}}
	}), &upstream{}
	b.behind(u)
	u.says(answers(422, "no"))
	b.do("DELETE", "/orders/1", "", "Idempotency-Key: k")
	u.says(breaks)
	b.do("POST", "/orders/2", "pay", "Idempotency-Key: k")
	u.says(answers(200, "ok"))
	b.pass(3*time.Second, time.Second)
	for _, s := range u.sent() {
		t.Log(s.method, s.target, s.body)
	}
	if last := u.sent()[len(u.sent())-1]; last.method != "POST" || last.target != "/orders/2" {
		t.Errorf("repeated as %s %s", last.method, last.target)
	}
}

// A URI that is bound to a body is not used up by another one under its key.
func TestKeyBypassesDigest(t *testing.T) {
	b := newBench(t, nil)
	n := 0
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	res := b.do("GET", "/poe/new?for=/orders&digest="+strings.ReplaceAll(digest256("good"), " ", ""), "", "Accept: text/plain")
	uri := strings.TrimSpace(text(t, res))
	if res := b.do("POST", uri, "good", "Idempotency-Key: k"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode, text(t, res))
	}
	res = b.do("POST", "/orders", "bad", "Idempotency-Key: k")
	got := b.do("GET", uri, "")
	t.Logf("%d; the URI is now: %s", res.StatusCode, got.Header.Get("POE-State"))
	if strings.HasPrefix(got.Header.Get("POE-State"), "done") {
		t.Errorf("a URI bound to one body was used up by another body")
	}
}

// A body that was read in front of Once is refused, since it would be equal to every other.
func TestBodyReadBefore(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, r.FormValue("item"))
	}
	inner := b.handler
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // such as a CSRF middleware
		inner.ServeHTTP(w, r)
	})
	send := func(item string) *http.Response {
		return b.do("POST", "/orders", url.Values{"item": {item}}.Encode(), "Content-Type: application/x-www-form-urlencoded", "Idempotency-Key: k")
	}
	first := send("apple")
	second := send("pear")
	t.Logf("%d %q, %d %q", first.StatusCode, text(t, first), second.StatusCode, text(t, second))
	if first.StatusCode == 201 && second.StatusCode != 422 {
		t.Errorf("another body under the key: %d", second.StatusCode)
	}
}

// Whoever guesses a key, and not the body, is not led to the answer.
func TestAnonymousKeyLeak(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "private: card 4242")
	}
	b.do("POST", "/orders", "card=4242", "Idempotency-Key: order-1")
	res := b.do("POST", "/orders", "guess", "Idempotency-Key: order-1")
	p := wantProblem(t, res, 422, "key-reused")
	at, _ := p["outcome"].(string)
	if at != "" || res.Header.Get("Link") != "" || res.Header.Get("POE-State") != "" {
		t.Errorf("422 leads to %q: %v", at, res.Header)
	}
}

// No request, however long its fields, keeps the next process from starting.
func TestOneRequestStopsRestart(t *testing.T) {
	b := deferring(t, nil)
	res := b.do("POST", "/orders", "x", later, "Callback-URL: "+strings.Repeat("x", 66000))
	if res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	b.advance(10 * time.Minute)
	core.Housekeeping(t.Context(), b.gate)
	b.restarts(nil)
}

// restarts fails the test unless another process can start on the ledger.
func (b *bench) restarts(change func(*core.Config)) {
	b.t.Helper()
	var cfg core.Config
	newBench(b.t, func(c *core.Config) {
		if change != nil {
			change(c)
		}
		cfg = *c
	})
	cfg.Store, cfg.Clock, cfg.Keys, cfg.Metrics = b.store, b.clock, b.keys, nil
	g, err := core.New(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := g.Recover(b.t.Context()); err != nil {
		b.t.Errorf("the next process cannot start: %v", err)
	}
}

// Synchronously, where the request is kept.
func TestLongCallbackSync(t *testing.T) {
	b, u := recovering(t, core.Route{Recovery: core.RecoveryRepeat})
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k", "Callback-URL: "+strings.Repeat("x", 66000))
	if s := res.Header.Get("POE-State"); !strings.HasPrefix(s, "done") {
		t.Errorf("%d %s, executed %d times", res.StatusCode, s, len(u.sent()))
	}
}

// What is long where it is written into a compensation comes to rest all the same.
func TestLongTargetCompensated(t *testing.T) {
	r := core.Route{Recovery: core.RecoveryCompensate, Compensate: "/undo/{id}"}
	b, u := recovering(t, r)
	u.says(breaks)
	res := b.do("POST", "/orders?"+strings.Repeat("&", 12_000), "x", "Idempotency-Key: k")
	if !strings.HasPrefix(res.Header.Get("POE-State"), "unknown") {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("POE-State"))
	}
	b.advance(10 * time.Minute)
	u.says(nil)
	b.restarts(one(r))
}

// A URI may be tried under many keys, and not under so many that its end has no room for the names that it takes.
func TestManyKeys(t *testing.T) {
	change := func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST /orders", Doors: []string{"poe", "key", "if-match"}}}
	}
	b := newBench(t, change)
	says := 422
	b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(says) }
	uri := b.mint("/orders")
	for i := range store.MaxClaims {
		if res := b.do("POST", uri, "x", fmt.Sprintf("Idempotency-Key: k%d", i)); res.StatusCode != 422 {
			t.Fatalf("key %d: %d", i, res.StatusCode)
		}
	}
	wantProblem(t, b.do("POST", uri, "x", "Idempotency-Key: one-more"), http.StatusBadRequest, "key-invalid")
	wantProblem(t, b.do("POST", uri, "x", "Idempotency-Key: one-more", "Expect: 100-continue"), http.StatusBadRequest, "key-invalid")
	if n := b.executed.Load(); n != store.MaxClaims {
		t.Errorf("executed %d times", n)
	}
	says = 201
	if res := b.do("POST", uri, "x", "Idempotency-Key: k0"); !strings.HasPrefix(res.Header.Get("POE-State"), "done") {
		t.Errorf("under a key that it has: %d %s", res.StatusCode, res.Header.Get("POE-State"))
	}
	if res := b.do("GET", uri, ""); res.StatusCode != 200 { // with its answer, so nothing was left out
		t.Errorf("its outcome: %d", res.StatusCode)
	}
	b.advance(10 * time.Minute)
	b.restarts(change)
}

// An answer whose fields are more than a record holds is not kept, and the action is done all the same.
func TestLargeHead(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Big", strings.Repeat("x", 1<<20))
		w.WriteHeader(201)
	}
	i := b.issue("/orders")
	if res := b.do("POST", i.URI, "x"); res.StatusCode != 201 || !strings.HasPrefix(res.Header.Get("POE-State"), "done") {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("POE-State"))
	}
	wantProblem(t, b.do("GET", i.URI, ""), http.StatusGone, "outcome-purged")
}

// The 65,536th answer that means "not done" is one, too.
func TestAttemptOverflow(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) }
	uri := b.mint("/orders")
	res := b.do("POST", uri, "x")
	if res.StatusCode != 429 {
		t.Fatal(res.StatusCode)
	}
	ids, err := b.store.List(t.Context(), store.ID{}, 10)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	r, err := b.store.Lookup(t.Context(), store.ByID(ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	was := r.Term
	r.Attempt, r.Term = 65535, store.Term{1, 2, 3}
	if _, err := b.store.Advance(t.Context(), was, r, store.Also{}); err != nil {
		t.Fatal(err)
	}
	c := b.another()
	c.app = b.app
	c.do("POST", uri, "x")
	r, err = b.store.Lookup(t.Context(), store.ByID(ids[0]))
	if err != nil || r.State != store.Unused {
		t.Errorf("a complete answer that means \"not done\" leaves it %s, attempt %d, %v", r.State, r.Attempt, err)
	}
}

// A cookie that RFC 6265 does not have, such as JSON, is not nobody's.
func TestCookieNobody(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Principal: "cookie:session"}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = w.Write([]byte("for " + r.Header.Get("Cookie")))
	}
	b.do("POST", "/orders", "apples", `Cookie: session={"u":"ann"}`, "Idempotency-Key: k1")
	res := b.do("POST", "/orders", "apples", `Cookie: session={"u":"bob"}`, "Idempotency-Key: k1")
	if got := text(t, res); res.Header.Get("Idempotent-Replayed") == "true" || strings.Contains(got, "ann") {
		t.Errorf("bob got %q; executed %d", got, b.executed.Load())
	}
}

// What is created at one host says nothing about another one.
func TestNoneMatchHosts(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "things", Match: "PUT /things/{id}", Doors: []string{"if-none-match"}}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = w.Write([]byte("at " + r.Host))
	}
	put := func(host string) *http.Response {
		r := httptest.NewRequest("PUT", "/things/1", strings.NewReader("x"))
		r.Host = host
		r.Header.Set("If-None-Match", "*")
		return b.send(r)
	}
	put("a.example")
	res := put("b.example")
	if got := text(t, res); got != "at b.example" {
		t.Errorf("b.example: %d %q %v; executed %d", res.StatusCode, got, res.Header.Get("POE-State"), b.executed.Load())
	}
}
