package core_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// What is longer than a record holds must not keep an action from coming to rest, nor a process from starting.

// A Callback-URL that no record could hold, on a route without that door.
func TestLongCallback(t *testing.T) {
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

// A target that no record can hold is refused as what it is, not as a fault of the ledger.
func TestLongTarget(t *testing.T) {
	b := newBench(t, nil)
	fits := "/orders?x=" + strings.Repeat("x", store.MaxTarget-len("/orders?x="))
	if res := b.do("POST", fits, "x", "Idempotency-Key: k1"); res.StatusCode != http.StatusCreated {
		t.Errorf("the longest target: %d %s", res.StatusCode, text(t, res))
	}
	executed := b.executed.Load()
	wantProblem(t, b.do("POST", fits+"x", "x", "Idempotency-Key: k2"), http.StatusRequestURITooLong, "too-large")
	if n := b.executed.Load(); n != executed {
		t.Errorf("executed %d times", n-executed)
	}
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
	if due, err := storetest.Agenda(t.Context(), b.store, 10); err != nil || len(due) != 2 || due[0].Due.Equal(store.Person) || due[1].Due.Equal(store.Person) {
		t.Errorf("%d on the agenda, %v; want it and what takes it back", len(due), err)
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

	h := newHook(t)
	c := calling(t, h)
	c.app = b.app
	c.do("POST", "/orders", "x", "Idempotency-Key: k", "Callback-URL: "+h.URL+"/done")
	c.work()
	if n := h.got(); n != 1 {
		t.Errorf("called back %d times", n)
	}
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
	if _, err := storetest.Advance(t.Context(), b.store, was, r, store.Also{}); err != nil {
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

// A large body lies beside the ledger from before the claim. What is refused since a guard's name is taken leaves none there: the records of a route with business
// keys are kept, and nothing would ever remove it.
func TestRefusedLargeBodies(t *testing.T) {
	for name, r := range map[string]core.Route{"accepted": {Async: true}, "kept for a repeat": {Recovery: core.RecoveryRepeat}} {
		t.Run(name, func(t *testing.T) {
			kept := 0
			r.Name, r.Match, r.Unique = "gifts", "POST /gifts/{ref}", []string{"path:ref"}
			b, h := hookedBench(t, func(c *core.Config) { c.Routes = []core.Route{r} })
			h.put = func() { kept++ }
			b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }
			b.deferred()
			body := strings.Repeat("x", store.InlineLimit+1)
			if res := b.do("POST", "/gifts/ann", body); res.StatusCode > 202 {
				t.Fatalf("%d %s", res.StatusCode, text(t, res))
			}
			for range 3 {
				if res := b.do("POST", "/gifts/ann", body); res.StatusCode != 409 {
					t.Fatalf("%d %s", res.StatusCode, text(t, res))
				}
			}
			if kept != 1 {
				t.Errorf("%d bodies for one action", kept)
			}
			if res := b.do("POST", "/gifts/bob", body); res.StatusCode > 202 || kept != 2 {
				t.Errorf("%d, and %d bodies for two actions", res.StatusCode, kept)
			}
		})
	}
}

// A stored answer that lies in a file of its own holds that open while it is repeated. There are no more of them, and of bodies on their way, than the process has files
// for: whoever asks for one more is told to come again, and nothing else.
func TestRepeatsHoldNoMoreFilesThanThereAre(t *testing.T) {
	var spool *replay.Spool
	b := newBench(t, func(c *core.Config) {
		var err error
		if spool, err = replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Files: 1}); err != nil {
			t.Fatal(err)
		}
		c.Spool = spool
	})
	large := strings.Repeat("x", store.InlineLimit+1)
	b.app = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }
	i := b.issue("/orders")
	if res := b.do("POST", i.URI, "apples"); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if !spool.HoldFile() {
		t.Fatal("the answer's file was not given back")
	}
	res := b.do("GET", i.URI, "")
	if said := text(t, res); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(said, "ledger-unavailable") || !strings.HasPrefix(res.Header.Get("POE-State"), "done;") {
		t.Errorf("%s, %s, %.200q", res.Status, res.Header.Get("POE-State"), said)
	}
	spool.GiveFile()
	for range 2 {
		if res := b.do("GET", i.URI, ""); res.StatusCode != http.StatusOK || text(t, res) != large {
			t.Errorf("when there is a file again: %s", res.Status)
		}
	}
}

// writing is a client's writer that tells of each write before it is done.
type writing struct {
	*httptest.ResponseRecorder
	tell func()
}

func (w writing) Write(p []byte) (int, error) {
	w.tell()
	return w.ResponseRecorder.Write(p)
}

// A request is not kept while its client takes its time for the answer: others need the room.
func TestBodyWhileItIsAnswered(t *testing.T) {
	var spool *replay.Spool
	b := newBench(t, func(c *core.Config) { spool = c.Spool })
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	}
	for _, which := range []string{"executed", "repeated"} {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(strings.Repeat("x", 2*store.InlineLimit)))
		r.Header.Set("Idempotency-Key", "k")
		w := writing{httptest.NewRecorder(), func() {
			if _, disk := spool.Usage(); disk > 0 {
				t.Errorf("%s: the request still takes %d bytes of the disk when it is answered", which, disk)
			}
		}}
		if b.handler.ServeHTTP(w, r); w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", which, w.Code, w.Body)
		}
	}
}
