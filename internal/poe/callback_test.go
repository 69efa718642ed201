package core_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
	"github.com/postonce/poe/internal/webhook"
)

// A hook is a receiver of callbacks that verifies what it gets with the published library.
type hook struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	answer int
	events []map[string]any
	ids    []string
}

var hookSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{t: t, answer: 204}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	wh, err := standardwebhooks.NewWebhook(hookSecret)
	if err == nil {
		err = wh.VerifyIgnoringTimestamp(body, r.Header) // the bench has a time of its own
	}
	var event map[string]any
	if err != nil || json.Unmarshal(body, &event) != nil {
		h.t.Errorf("not an event of ours: %v: %s", err, body)
	}
	h.events, h.ids = append(h.events, event), append(h.ids, r.Header.Get("webhook-id"))
	w.WriteHeader(h.answer)
}

func (h *hook) got() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// calling makes a bench with the door of callbacks, which may call the hook.
func calling(t *testing.T, h *hook) *bench {
	t.Helper()
	return callingWith(t, h, func(*core.Config) {})
}

func callingWith(t *testing.T, h *hook, change func(*core.Config)) *bench {
	t.Helper()
	return deferring(t, func(c *core.Config) {
		change(c)
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks = sender
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "key", "async", "callback"}}}
	})
}

// The outcome is told once it is durable, whichever way the action came and was executed.
func TestCallback(t *testing.T) {
	for name, send := range map[string]func(*bench, string) *http.Response{
		"by a field": func(b *bench, to string) *http.Response {
			return b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+to)
		},
		"under a key": func(b *bench, to string) *http.Response {
			return b.do("POST", "/orders", "x", "Idempotency-Key: k", "Callback-URL: "+to)
		},
		"without name": func(b *bench, to string) *http.Response { return b.do("POST", "/orders", "x", "Callback-URL: "+to) },
		"at minting": func(b *bench, to string) *http.Response {
			res := b.do("GET", "/poe/new?for=/orders&callback="+url.QueryEscape(to), "", "Accept: text/plain")
			return b.do("POST", strings.TrimSpace(text(b.t, res)), "x")
		},
		"asynchronously": func(b *bench, to string) *http.Response {
			return b.do("POST", b.mint("/orders"), "x", later, "Callback-URL: "+to)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			b := calling(t, h)
			var seen http.Header
			b.app = func(w http.ResponseWriter, r *http.Request) {
				seen = r.Header
				w.WriteHeader(http.StatusCreated)
			}
			res := send(b, h.URL+"/done?x=1")
			if res.StatusCode/100 != 2 {
				t.Fatalf("%d %s", res.StatusCode, text(t, res))
			}
			id, _ := readState(t, res.Header)
			b.work() // the action, where it waits
			b.work() // the callback
			b.work()
			if h.got() != 1 || b.executed.Load() != 1 || seen.Get("Callback-URL") != "" {
				t.Fatalf("%d callbacks, executed %d times, %v", h.got(), b.executed.Load(), seen)
			}
			data, _ := h.events[0]["data"].(map[string]any)
			outcome, _ := data["outcome"].(string)
			if h.events[0]["type"] != "poe.outcome.done" || data["id"] != id || data["state"] != "done" || data["status"] != 201.0 || h.ids[0] == id || h.ids[0] == "" {
				t.Errorf("%v", h.events)
			}
			if at, err := time.Parse(time.RFC3339, h.events[0]["timestamp"].(string)); err != nil || !at.Equal(b.clock()) {
				t.Errorf("timestamp: %v, %v", at, err)
			}
			if res := b.do("GET", outcome, ""); !strings.HasPrefix(outcome, "/poe/outcomes/") || res.StatusCode != 200 {
				t.Errorf("the outcome %s: %d", outcome, res.StatusCode)
			}
			if r := b.lookup(h.ids[0]); r.State != store.Done || r.Parent.String() != id || r.Kind != store.Callback {
				t.Errorf("the delivery: %s of %s", r.State, r.Parent)
			}
		})
	}
}

// The outcome's address is absolute where a public URL is configured.
func TestCallbackAbsolute(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	change := func(c *core.Config) { c.PublicURL = "https://api.example.com/" }
	b = callingAs(t, h, b, change)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	b.work()
	data, _ := h.events[0]["data"].(map[string]any)
	if outcome, _ := data["outcome"].(string); !strings.HasPrefix(outcome, "https://api.example.com/poe/outcomes/") {
		t.Errorf("%v", data)
	}
}

// What nobody knows the end of is told too, and what it turns out to be.
func TestCallbackOfTheUnknown(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	b.app = answering(502)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	b.work()
	if h.got() != 1 || h.events[0]["type"] != "poe.outcome.unknown" {
		t.Errorf("%v", h.events)
	}
	b.app = answering(422) // not done: there is nothing to tell
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	b.work()
	if h.got() != 1 {
		t.Errorf("%v", h.events)
	}
}

// A callback that does not arrive is sent again by its schedule, with the same id; in the end it waits for a person.
func TestCallbackTriesAgain(t *testing.T) {
	h := newHook(t)
	h.answer = 500
	b := calling(t, h)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL+"/secret?token=1")
	start := b.clock()
	for range 24 * 90 {
		b.work()
		b.advance(time.Hour / 20)
		if b.clock().Sub(start) > 90*time.Hour {
			break
		}
	}
	waiting := func() []core.Undelivered {
		all, err := b.gate.UndeliveredCallbacks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for range 20 {
		b.work()
		b.advance(time.Hour)
	}
	if h.got() != 10 {
		t.Fatalf("sent %d times", h.got())
	}
	for _, id := range h.ids {
		if id != h.ids[0] {
			t.Errorf("ids: %v", h.ids)
		}
	}
	all := waiting()
	if len(all) != 1 || all[0].ID != h.ids[0] || all[0].Tries != 10 || all[0].Status != 500 || all[0].Why != "answered 500 Internal Server Error" ||
		all[0].Host != strings.TrimPrefix(h.URL, "http://") {
		t.Fatalf("%+v", all)
	}
	if err := b.gate.Redeliver(t.Context(), h.ids[0], "operator"); err != nil {
		t.Fatal(err)
	}
	h.answer = 200
	b.work()
	if h.got() != 11 || len(waiting()) != 0 {
		t.Errorf("sent %d times, %v", h.got(), waiting())
	}
	for _, id := range []string{h.ids[0], "x", all[0].Action} {
		if err := b.gate.Redeliver(t.Context(), id, "operator"); err == nil {
			t.Errorf("%s is sent again", id)
		}
	}
	if n := counter(t, b, "poe_callbacks_total", "undelivered"); n != 1 {
		t.Errorf("poe_callbacks_total counts %v", n)
	}
}

// 410 ends it.
func TestCallbackEnded(t *testing.T) {
	h := newHook(t)
	h.answer = 410
	b := calling(t, h)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	for range 3 {
		b.work()
		b.advance(time.Hour)
	}
	if r := b.lookup(h.ids[0]); h.got() != 1 || r.State != store.Done || r.Status != 410 {
		t.Errorf("sent %d times, %s %d", h.got(), r.State, r.Status)
	}
}

// A callback survives the process that owes it, and is not owed twice by a repeat.
func TestCallbackAfterACrash(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	i := b.issue("/orders")
	for range 3 {
		b.do("POST", i.URI, "x", "Callback-URL: "+h.URL)
	}
	b2 := callingAs(t, h, b, func(*core.Config) {})
	b2.work()
	b2.work()
	if h.got() != 1 {
		t.Errorf("sent %d times", h.got())
	}
}

// callingAs is another process on the ledger of b.
func callingAs(t *testing.T, h *hook, b *bench, change func(*core.Config)) *bench {
	t.Helper()
	return newBench(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Store, c.Clock, c.Keys, c.Callbacks = b.store, b.clock, b.keys, sender
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}}}
		change(c)
	})
}

// An address that may not be called is refused before anything is done, at minting and at the request.
func TestCallbackRefused(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	for _, to := range []string{"https://evil.example/", "http://127.0.0.1:1/", "http://[::1]/", "ftp://x/", "nonsense", "", h.URL + "/#x"} {
		wantProblem(t, b.do("GET", "/poe/new?for=/orders&callback="+url.QueryEscape(to), ""), 400, "callback-refused")
		p := wantProblem(t, b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+to), 400, "callback-refused")
		if p["parameter"] != "Callback-URL" || p["detail"] == "" {
			t.Errorf("%v", p)
		}
		wantProblem(t, b.do("POST", "/orders", "x", "Callback-URL: "+to, "Idempotency-Key: k"), 400, "callback-refused")
	}
	wantProblem(t, b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL, "Callback-URL: "+h.URL), 400, "callback-refused")
	if b.executed.Load() != 0 {
		t.Errorf("executed %d times", b.executed.Load())
	}
	b = newBench(t, nil) // a route without the door: the field is the application's
	if res := b.do("POST", "/orders", "x", "Callback-URL: https://evil.example/"); res.StatusCode != 201 || res.Header.Get("POE-State") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// Callbacks that wait for a person are listed, however much is due before them, and however many there are.
func TestUndeliveredOnABusyLedger(t *testing.T) {
	b := newBench(t, nil)
	queued := func(n int, r store.Record) {
		t.Helper()
		for range n {
			var err error
			if r.ID, err = store.NewID(b.clock(), 1, rand.Reader); err != nil {
				t.Fatal(err)
			}
			r.State, r.Term, r.Door, r.Route, r.Method = store.Queued, store.Term{1}, "callback", "default", "POST"
			if _, err := storetest.Claim(t.Context(), b.store, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	queued(11_000, store.Record{Target: "/orders", Due: b.clock()})
	queued(1_500, store.Record{Target: "https://example.com/hook", Kind: store.Callback, Due: store.Person})
	all, err := b.gate.UndeliveredCallbacks(t.Context())
	if err != nil || len(all) != 1_500 || all[0].Host != "example.com" {
		t.Errorf("%d, %v", len(all), err)
	}
}

// Who was to be called is told that the client has burned the action, used before or not, even if the process ends in between.
func TestCallbackOfTheBurned(t *testing.T) {
	for name, tc := range map[string]struct{ tried, crash bool }{"unused": {}, "tried": {tried: true}, "crash": {crash: true}, "tried, and crash": {true, true}} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			var ledger *tampered
			b := callingWith(t, h, func(c *core.Config) { ledger = &tampered{Store: c.Store}; c.Store = ledger })
			uri := strings.TrimSpace(text(t, b.do("GET", "/poe/new?for=/orders&callback="+url.QueryEscape(h.URL), "", "Accept: text/plain")))
			if tc.tried {
				b.app = answering(422)
				b.do("POST", uri, "x")
			}
			if tc.crash {
				ledger.advance = func() error { return store.ErrUnavailable }
			}
			res := b.do("DELETE", uri, "")
			if res.StatusCode != 204 {
				t.Fatal(res.StatusCode)
			}
			ledger.advance = nil
			for range 3 {
				b.work()
			}
			id, _ := readState(t, res.Header)
			if h.got() != 1 || h.events[0]["type"] != "poe.outcome.burned" {
				t.Errorf("%v", h.events)
			}
			if r := b.wantState(id, store.Burned); !r.Due.IsZero() || len(r.Request.Head) > 0 {
				t.Errorf("due %s, %d bytes of head", r.Due, len(r.Request.Head))
			}
			if b.do("DELETE", uri, ""); h.got() != 1 {
				t.Errorf("told again: %v", h.events)
			}
		})
	}
}

// That an action waits for a person is told once, whatever they decide about its compensation.
func TestBurnedCompensationIsToldOnce(t *testing.T) {
	h := newHook(t)
	route := compensating
	route.Doors = []string{"poe", "callback"}
	b := newBench(t, func(c *core.Config) {
		one(route)(c)
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks = sender
	})
	u := &upstream{}
	b.behind(u)
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples", "Callback-URL: "+h.URL)
	b.pass(time.Minute, time.Second)
	r := b.wantState(i.ID, store.Unknown)
	b.wantState(r.Undo.String(), store.Unknown)
	if h.got() != 1 {
		t.Fatal(h.events)
	}
	b.decide(decision(r.Undo.String(), core.AsBurned))
	b.pass(5*time.Minute, time.Second)
	if h.got() != 1 {
		t.Errorf("told %d times: %v", h.got(), h.events)
	}
	if n := counter(t, b, "poe_recoveries_total", "compensate/person"); n != 1 {
		t.Errorf("left to a person %v times", n)
	}
}

// What a retry of an accepted action came to is told without the answer to the try before it.
func TestCallbackOfTheUnknownAfterAnAnswer(t *testing.T) {
	for name, crash := range map[string]bool{"broken off": false, "after a crash": true} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			b := calling(t, h)
			b.app = answering(429, "Retry-After: 1")
			i := b.issue("/orders")
			monitor(t, b.do("POST", i.URI, "x", later, "Callback-URL: "+h.URL))
			b.work()
			b.advance(time.Second)
			b.gate.Defer(executing(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) {
				return replay.Unsent, io.EOF
			}))
			b.work()
			if r := b.wantState(i.ID, store.Queued); r.Status != 429 || r.History[len(r.History)-1].Status != 0 {
				t.Errorf("not sent: status %d: %v", r.Status, r.History)
			}
			b.deferred()
			b.advance(time.Minute)
			if crash {
				entered, leave := b.stopped()
				var all sync.WaitGroup
				all.Go(b.work)
				<-entered
				next := callingAs(t, h, b, func(*core.Config) {})
				next.of = b
				next.work()
				next.work()
				defer all.Wait()
				defer close(leave)
			} else {
				b.app = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
				b.work()
				b.work()
			}
			r := b.wantState(i.ID, store.Unknown)
			if last := r.History[len(r.History)-1]; r.Status != 0 || last.Status != 0 {
				t.Errorf("status %d: %v", r.Status, r.History)
			}
			data, _ := h.events[0]["data"].(map[string]any)
			if data["state"] != "unknown" || data["status"] != nil {
				t.Errorf("%v", h.events)
			}
		})
	}
}
