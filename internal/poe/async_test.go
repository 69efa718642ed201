package core_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

const later = "Prefer: respond-async"

// deferring makes a bench where clients may ask for asynchronous execution, and where the test says when a worker works.
func deferring(t *testing.T, change func(*core.Config)) *bench {
	t.Helper()
	b := newBench(t, change)
	b.deferred()
	return b
}

func (b *bench) deferred() {
	b.gate.Defer(core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)})
}

// work does what is due, with what the application would do.
func (b *bench) work() {
	core.WorkOnce(b.t.Context(), b.gate)
}

// monitor is the outcome's address in a 202.
func monitor(t *testing.T, res *http.Response) string {
	t.Helper()
	at := res.Header.Get("Location")
	if res.StatusCode != 202 || !strings.HasPrefix(at, "/poe/outcomes/") || res.Header.Get("Retry-After") == "" {
		t.Fatalf("not accepted: %d %v %s", res.StatusCode, res.Header, text(t, res))
	}
	return at
}

// A request is stored, answered with 202, executed once as it was sent, and its answer is at the outcome's address.
func TestAsync(t *testing.T) {
	large := strings.Repeat("apples ", 20_000)
	for name, tc := range map[string]struct {
		body string
		uri  bool
		key  string
	}{
		"through a POE URI": {body: "apples", uri: true}, "under a key": {body: "apples", key: "Idempotency-Key: k"},
		"without a name": {body: "apples"}, "empty": {}, "beside the ledger": {body: large},
	} {
		t.Run(name, func(t *testing.T) {
			b := deferring(t, nil)
			var seen *http.Request
			var got []byte
			b.app = func(w http.ResponseWriter, r *http.Request) {
				seen = r
				got, _ = io.ReadAll(r.Body)
				w.Header().Set("Location", "/orders/7")
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, "made")
			}
			target := "/orders?x=1"
			if tc.uri {
				target = b.issue(target).URI
			}
			fields := []string{later, "Prefer: return=minimal, wait=0", alice, "X-Repeated: a", "X-Repeated: b", "Content-Type: text/plain"}
			if tc.key != "" {
				fields = append(fields, tc.key)
			}
			res := b.do("POST", target, tc.body, fields...)
			at := monitor(t, res)
			if state := res.Header.Get("POE-State"); !strings.HasPrefix(state, "accepted;id=") {
				t.Errorf("POE-State: %s", state)
			}
			if doc, _ := read(t, res).Body.(members); doc["state"] != "accepted" || doc["outcome"] != at || doc["attempts"] != 0.0 {
				t.Errorf("%v", doc)
			}
			if res := b.do("GET", at, "", alice); res.StatusCode != 202 || res.Header.Get("Retry-After") == "" {
				t.Errorf("while accepted: %d %v", res.StatusCode, res.Header)
			}
			if b.executed.Load() != 0 {
				t.Fatal("executed before the worker")
			}
			b.work()
			b.work()
			if b.executed.Load() != 1 || string(got) != tc.body || seen.RequestURI != "/orders?x=1" || seen.Method != "POST" || seen.Host != "example.com" ||
				seen.Header.Get("Authorization") == "" || fmt.Sprint(seen.Header["X-Repeated"]) != "[a b]" || seen.Header.Get("POE-Id") == "" || seen.Header.Get("Remote-Addr") != "" || seen.Header.Get("Remote-Via") != "" || fmt.Sprint(seen.Header["Prefer"]) != "[return=minimal]" {
				t.Errorf("executed %d times: %v, %d bytes", b.executed.Load(), seen, len(got))
			}
			out := b.do("GET", at, "", alice)
			if out.StatusCode != 200 || text(t, out) != "made" || out.Header.Get("Location") != "/orders/7" || !strings.Contains(out.Header.Get("POE-State"), "done;id=") {
				t.Errorf("the outcome: %d %v", out.StatusCode, out.Header)
			}
			id, _ := readState(t, out.Header)
			if r := b.lookup(id); len(r.Request.Head) != 0 || len(r.Request.Content) != 0 || r.Request.Where != store.Nowhere {
				t.Errorf("the request is still kept: %v", r.Request)
			}
		})
	}
}

// While it has not ended a POE URI says running, and a key leads to the monitor again.
func TestAsyncRepeated(t *testing.T) {
	b := deferring(t, nil)
	uri := b.issue("/orders").URI
	monitor(t, b.do("POST", uri, "apples", later))
	at := monitor(t, b.do("POST", "/orders", "apples", later, "Idempotency-Key: k"))
	check := func() {
		t.Helper()
		wantProblem(t, b.do("POST", uri, "apples", later), 409, "running")
		wantProblem(t, b.do("POST", uri, "apples"), 409, "running")
		if again := monitor(t, b.do("POST", "/orders", "apples", later, "Idempotency-Key: k")); again != at {
			t.Errorf("another monitor: %s, %s", at, again)
		}
		wantProblem(t, b.do("POST", "/orders", "apples", "Idempotency-Key: k"), 409, "running")
		wantProblem(t, b.do("POST", "/orders", "pears", later, "Idempotency-Key: k"), 422, "key-reused")
	}
	check()
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	check()
	close(leave)
	all.Wait()
	wantProblem(t, b.do("POST", uri, "apples", later), 405, "consumed")
	if res := b.do("POST", "/orders", "apples", later, "Idempotency-Key: k"); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("done: %d %v", res.StatusCode, res.Header)
	}
	if b.executed.Load() != 2 {
		t.Errorf("executed %d times", b.executed.Load())
	}
}

// A client that waits as well gets the answer, if it comes in time.
func TestAsyncWaiting(t *testing.T) {
	b := newBench(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	b.deferred()
	work.Go(func() { b.gate.Work(ctx) })
	defer work.Wait()
	defer stop()
	res := b.do("POST", b.issue("/orders").URI, "apples", "Prefer: respond-async, wait=20")
	if got := text(t, res); res.StatusCode != 201 || got != "order 1: apples" {
		t.Errorf("%d %s", res.StatusCode, got)
	}
}

// Nobody waits for what a gate that drains does not execute any more: the client is told that it was accepted.
func TestAsyncWaitingWhileItDrains(t *testing.T) {
	b := deferring(t, nil)
	answered := make(chan *http.Response, 1)
	go func() { answered <- b.do("POST", b.issue("/orders").URI, "apples", "Prefer: respond-async, wait=20") }()
	for core.Waiting(b.gate) == 0 {
		runtime.Gosched()
	}
	b.gate.Drain()
	select {
	case res := <-answered:
		monitor(t, res)
	case <-time.After(10 * time.Second):
		t.Error("it still waits")
		<-answered
	}
}

// A second request under an id that is answered once is told that it is the second, also where it has waited for the end of the first.
func TestAsyncSecondIsRefused(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "gifts", Match: "POST /gifts/{ref}", Async: true, ClientID: "path:ref", Repeats: core.RepeatsRefused}}
	})
	b.deferred()
	sent, end := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, _ *http.Request) { close(sent); <-end; w.WriteHeader(http.StatusCreated) }
	monitor(t, b.do("POST", "/gifts/ann", "a cup"))
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(b.work)
	<-sent
	all.Go(func() {
		for core.Waiting(b.gate) == 0 {
			runtime.Gosched()
		}
		close(end)
	})
	wantProblem(t, b.do("POST", "/gifts/ann", "a cup", "Prefer: wait=20"), 409, "duplicate")
}

// What was accepted for a route that was taken out since can be cancelled, and its client is not taken for a page of another site.
func TestAsyncCancelledWithoutItsRoute(t *testing.T) {
	b := deferring(t, func(c *core.Config) { c.Routes = []core.Route{{Name: "orders", Match: "POST /orders"}} })
	doneAt := b.issue("/orders").outcomeOf(t, b.do("POST", b.mint("/orders"), "apples"))
	at := monitor(t, b.do("POST", b.mint("/orders"), "apples", later))
	after := newBench(t, func(c *core.Config) {
		c.Store, c.Keys = b.store, b.keys
		c.Routes = []core.Route{{Name: "other", Match: "POST /other"}}
	})
	wantProblem(t, after.do("DELETE", at, "", "Sec-Fetch-Site: cross-site"), 403, "cross-origin")
	if res := after.do("DELETE", at, ""); res.StatusCode != 204 {
		t.Errorf("%d %s", res.StatusCode, text(t, res))
	}
	wantProblem(t, after.do("DELETE", doneAt, ""), 405, "consumed")
}

// What is forgotten in the moment in which it is cancelled is gone.
func TestAsyncCancelledAndForgotten(t *testing.T) {
	b, ledger := newTampered(t, nil)
	b.deferred()
	at := monitor(t, b.do("POST", b.mint("/orders"), "apples", later))
	ledger.advance = func() error { return store.ErrStale } // and no record
	wantProblem(t, b.do("DELETE", at, ""), 410, "gone")
	ledger.advance = nil
	if res := b.do("DELETE", at, ""); res.StatusCode != 204 {
		t.Errorf("%d %s", res.StatusCode, text(t, res))
	}
}

// Cancelled before it is sent it is never sent.
func TestAsyncCancelled(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders", alice)
	at := monitor(t, b.do("POST", i.URI, "apples", later, alice))
	wantProblem(t, b.do("DELETE", at, "", bob), 403, "other-principal")
	wantProblem(t, b.do("DELETE", at, "", alice, "Sec-Fetch-Site: cross-site"), 403, "cross-origin")
	for range 2 {
		if res := b.do("DELETE", at, "", alice); res.StatusCode != 204 || !strings.HasPrefix(res.Header.Get("POE-State"), "burned;id=") {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
	}
	b.work()
	wantProblem(t, b.do("POST", i.URI, "apples", alice), 410, "burned")
	wantProblem(t, b.do("GET", at, "", alice), 410, "burned")
	if r := b.lookup(i.ID); len(r.Request.Head) != 0 || b.executed.Load() != 0 {
		t.Errorf("executed %d times, %v", b.executed.Load(), r.Request)
	}

	i = b.issue("/orders")
	at = monitor(t, b.do("POST", i.URI, "apples", later))
	if res := b.do("DELETE", i.URI, ""); res.StatusCode != 204 {
		t.Errorf("by the URI: %d", res.StatusCode)
	}
	wantProblem(t, b.do("GET", at, ""), 410, "burned")

	// Other methods are told that there is this one, as long as it is.
	allows := func(want string) {
		t.Helper()
		for _, method := range []string{"POST", "PUT", "PATCH", "OPTIONS"} {
			if res := b.do(method, at, ""); res.StatusCode != 405 || res.Header.Get("Allow") != want {
				t.Errorf("%s: %d, Allow: %s, want %s", method, res.StatusCode, res.Header.Get("Allow"), want)
			}
		}
	}
	at = monitor(t, b.do("POST", b.issue("/orders").URI, "apples", later))
	allows("GET, HEAD, DELETE")
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	wantProblem(t, b.do("DELETE", at, ""), 409, "running")
	close(leave)
	all.Wait()
	p := b.do("DELETE", at, "")
	if wantProblem(t, p, 405, "consumed"); p.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("done: %v", p.Header)
	}
	allows("GET, HEAD")
	if b.executed.Load() != 1 {
		t.Errorf("executed %d times", b.executed.Load())
	}
}

// What was accepted and not sent when a process ended is executed by the next one; what was sent and not answered is unknown.
func TestAsyncAfterACrash(t *testing.T) {
	b := deferring(t, nil)
	queued := monitor(t, b.do("POST", b.issue("/orders").URI, "apples", later))
	b2 := b.restarted()
	b2.work()
	if res := b2.do("GET", queued, ""); res.StatusCode != 200 || b2.executed.Load() != 1 {
		t.Errorf("accepted: %d, executed %d times", res.StatusCode, b2.executed.Load())
	}

	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later, alice))
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	if r := b.lookup(i.ID); r.State != store.Sent {
		t.Errorf("while it is sent: %s", r.State)
	}
	b3 := b.restarted() // while the first process, as far as the ledger knows, is gone
	b3.work()
	if r := b3.lookup(i.ID); r.State != store.Unknown || b3.executed.Load() != 0 {
		t.Errorf("sent and unanswered: %s, executed %d times", r.State, b3.executed.Load())
	}
	if res := b3.do("GET", at, "", alice); res.StatusCode != 202 || !strings.HasPrefix(res.Header.Get("POE-State"), "unknown;") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	wantProblem(t, b3.do("POST", i.URI, "apples"), 409, "outcome-unknown")
	close(leave)
	all.Wait()
	if r := b3.lookup(i.ID); r.State != store.Done {
		t.Errorf("after the late answer: %s", r.State)
	}
}

// An accepted action that was surely not done is tried again, and after the time for that its last answer is its outcome.
func TestAsyncTriesAgain(t *testing.T) {
	b := deferring(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", RetryFor: time.Minute, Async: true}}
	})
	b.app = answering(429, "Retry-After: 7")
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples"))
	b.work()
	b.work()
	if r := b.lookup(i.ID); r.State != store.Queued || b.executed.Load() != 1 || !r.Due.Equal(b.clock().Add(7*time.Second)) || r.Attempt != 1 {
		t.Fatalf("after 429: %s, due %s, executed %d times", r.State, r.Due, b.executed.Load())
	}
	wantProblem(t, b.do("POST", i.URI, "apples"), 409, "running")
	if page := text(t, b.do("GET", at, "", "Accept: text/html")); strings.Contains(page, "Nothing was sent") || !strings.Contains(page, "was sent before, and not done then") {
		t.Errorf("after 429 a person is told %s", page)
	}
	b.advance(7 * time.Second)
	b.app = answering(201)
	b.work()
	if r := b.lookup(i.ID); r.State != store.Done || r.Status != 201 || r.Attempts() != 2 {
		t.Errorf("then: %s %d", r.State, r.Status)
	}
	if res := b.do("GET", at, ""); res.StatusCode != 200 {
		t.Errorf("the outcome: %d", res.StatusCode)
	}

	b.app = answering(422)
	i = b.issue("/orders")
	at = monitor(t, b.do("POST", i.URI, "apples"))
	before := b.executed.Load()
	for range 70 {
		b.work()
		b.advance(time.Second)
	}
	n := int(b.executed.Load() - before)
	if n < 5 || n > 7 {
		t.Errorf("tried %d times in a minute", n)
	}
	if r := b.lookup(i.ID); r.State != store.Done || r.Status != 422 || r.Attempts() != n {
		t.Errorf("in the end: %s %d, after %d attempts of %d", r.State, r.Status, r.Attempts(), n)
	}
	if res := b.do("GET", at, ""); res.StatusCode != 422 {
		t.Errorf("the outcome: %d", res.StatusCode)
	}
}

// What could never be sent is void in the end, and the outcome says so.
func TestAsyncNeverSent(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later))
	tries := 0
	refusing := executing(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) {
		tries++
		return replay.Unsent, io.ErrUnexpectedEOF
	})
	b.gate.Defer(refusing)
	for range 100 {
		b.work()
		b.advance(time.Minute)
	}
	if r := b.lookup(i.ID); r.State != store.Burned || tries < 5 || tries > 61 {
		t.Errorf("%s after %d tries", r.State, tries)
	}
	if p := wantProblem(t, b.do("GET", at, ""), 410, "burned"); p["detail"] != "nobody cancelled it: it was accepted, and given up, since it could not be executed within the time for that" {
		t.Errorf("%v", p)
	}
	if page := text(t, b.do("GET", at, "", "Accept: text/html")); !strings.Contains(page, "cancelled, or not done in the time for that") {
		t.Errorf("a person is told that somebody cancelled it: %s", page)
	}
}

// Without a worker the preference is ignored; without the door too.
func TestAsyncNotOffered(t *testing.T) {
	b := newBench(t, nil)
	if res := b.do("POST", b.issue("/orders").URI, "apples", later); res.StatusCode != 201 || res.Header.Get("Preference-Applied") != "" {
		t.Errorf("without a worker: %d %v", res.StatusCode, res.Header)
	}
	b = deferring(t, doors("poe", "key"))
	if res := b.do("POST", b.issue("/orders").URI, "apples", later); res.StatusCode != 201 {
		t.Errorf("without the door: %d", res.StatusCode)
	}
	b = deferring(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST /orders", Require: true}}
	})
	wantProblem(t, b.do("POST", "/orders", "apples", later), 428, "poe-required")
}

// The ledger cannot take it: nothing was accepted.
func TestAsyncWithoutLedger(t *testing.T) {
	b, ledger := newTampered(t, nil)
	b.deferred()
	ledger.claim = func(store.Record) error { return store.ErrUnavailable }
	wantProblem(t, b.do("POST", b.issue("/orders").URI, "apples", later), 503, "ledger-unavailable")
	ledger.claim = func(store.Record) error { return io.ErrClosedPipe } // nobody knows whether it was written
	wantProblem(t, b.do("POST", b.issue("/orders").URI, "apples", later), 502, "outcome-unknown")
	b.work()
	if b.executed.Load() != 0 {
		t.Errorf("executed %d times", b.executed.Load())
	}
}

// Of a mark that the ledger did not confirm nothing was sent: it is taken back, and the action is executed.
func TestAsyncMarkUnknown(t *testing.T) {
	b, ledger := newTampered(t, nil)
	b.deferred()
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	ledger.advance = func() error { return io.ErrClosedPipe }
	b.work()
	ledger.advance = nil
	if b.executed.Load() != 0 {
		t.Fatalf("executed %d times", b.executed.Load())
	}
	core.Housekeeping(t.Context(), b.gate)
	b.work()
	if r := b.lookup(i.ID); r.State != store.Done || b.executed.Load() != 1 {
		t.Errorf("%s, executed %d times", r.State, b.executed.Load())
	}
}

// A long queue does not hide from recovery what was running behind it.
func TestRecoveryBehindAQueue(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	entered, leave := b.stopped()
	var all sync.WaitGroup
	for range 1500 {
		monitor(t, b.do("POST", "/orders", "apples", later))
	}
	all.Go(func() { b.do("POST", i.URI, "apples") })
	<-entered
	b2 := b.restarted()
	if r := b2.lookup(i.ID); r.State != store.Unknown {
		t.Errorf("running, behind 1500 that wait: %s", r.State)
	}
	close(leave)
	all.Wait()
}

// restarted is another process on the same ledger, as the first one left it.
func (b *bench) restarted() *bench {
	b.t.Helper()
	next := newBench(b.t, func(c *core.Config) {
		c.Store, c.Clock = b.store, b.clock
		c.Keys = b.keys
	})
	next.app, next.now = b.app, b.now
	next.deferred()
	return next
}

// A client that cancels in the moment in which its action is about to be sent is nothing that operators must hear of as an error, and nothing is given up then.
func TestCancelledInThatMoment(t *testing.T) {
	for name, to := range map[string]store.State{"about to be sent": store.Sent, "about to be given up": store.Burned} {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			b, h := hookedBench(t, func(c *core.Config) {
				c.Log = zerolog.New(&said)
				c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", RetryFor: time.Minute}}
			})
			b.deferred()
			b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
			at := monitor(t, b.do("POST", "/orders", "x", later))
			b.work()
			b.advance(map[store.State]time.Duration{store.Sent: 10 * time.Second, store.Burned: time.Hour}[to])
			h.refuse = func(r *store.Record) bool {
				if r.State == to {
					h.refuse = nil
					if res := b.do("DELETE", at, ""); res.StatusCode != 204 {
						t.Errorf("%d", res.StatusCode)
					}
				}
				return false
			}
			b.work()
			if n := b.executed.Load(); n != 1 {
				t.Errorf("executed %d times", n)
			}
			if s := said.String(); strings.Contains(s, `"error"`) || strings.Contains(s, "given up") {
				t.Error(s)
			}
		})
	}
}
