package core_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// notes is a bench whose application creates with PUT, and answers a DELETE with 204 whether there was something or not.
func notes(t *testing.T) (b *bench, put func() *http.Response) {
	b = newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "notes", Match: "PUT,DELETE /notes/{id}", Doors: []string{"key", "if-none-match"}}}
	})
	return b, func() *http.Response { return b.do("PUT", "/notes/cake", "plum", "If-None-Match: *", alice) }
}

// A DELETE that found nothing says nothing of a creation that is still at work: its retry waits for it, and is not executed beside it.
func TestDeleteBesideACreation(t *testing.T) {
	b, put := notes(t)
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(func() { put() })
	<-entered
	b.app = answering(204)
	b.do("DELETE", "/notes/cake", "")
	wantProblem(t, put(), 409, "running")
	close(leave)
	all.Wait()
	if n := b.executed.Load(); n != 2 {
		t.Errorf("executed %d times with the DELETE", n)
	}
}

// The answer of a DELETE may come after a creation that it did not see.
func TestDeleteThatEndsAfterACreation(t *testing.T) {
	b, put := notes(t)
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(func() { b.do("DELETE", "/notes/cake", "") })
	<-entered
	b.app = answering(201)
	put()
	close(leave)
	all.Wait()
	if res := put(); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("created again: %d %v", res.StatusCode, res.Header)
	}
}

// The same of a DELETE that a worker executes.
func TestDeleteByAWorkerBesideACreation(t *testing.T) {
	b := deferring(t, doors("async", "if-none-match"))
	put := func() *http.Response { return b.do("PUT", "/orders/7", "apples", "If-None-Match: *", alice) }
	monitor(t, b.do("DELETE", "/orders/7", "", later))
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		b.app = nil
		put()
		w.WriteHeader(http.StatusNoContent)
	}
	b.work()
	if res := put(); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("created again: %d %v", res.StatusCode, res.Header)
	}
}

// A DELETE of what was created gives back the business key, and not the version tag that the creation has used up.
func TestDeleteKeepsTheTagUsedUp(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Doors: []string{"if-match"}, Unique: []string{"header:X-Item"}, FreeOn: []string{"DELETE"}}}
	})
	post := func(tag string) *http.Response {
		return b.do("POST", "/orders", "apples", alice, "If-Match: "+tag, "X-Item: cup")
	}
	post(`"v5"`)
	b.app = answering(204)
	b.do("DELETE", "/orders/1", "")
	b.app = nil
	if res := post(`"v5"`); res.StatusCode == 201 && !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Error("one tag has allowed two POSTs")
	}
	if res := post(`"v6"`); res.StatusCode != 201 || strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("the key is not free: %d %v", res.StatusCode, res.Header)
	}
}

// Of what an action lists, only such names may lead nowhere as a check of the ledger knows to pass from one action to another: here that of a resource which
// was created twice, and that of the last write to one, whose action is forgotten before the one that had it first.
func TestNamesThatPass(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "orders", Match: "POST,DELETE /orders{rest:.*}", Unique: []string{"header:X-Item"}, FreeOn: []string{"DELETE"}},
			{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"poe", "if-match"}, TTL: 48 * time.Hour},
		}
	})
	b.do("POST", b.mint("/orders"), "apples", "X-Item: cup")
	b.do("POST", b.mint("/orders"), "apples", "X-Item: can")
	b.app = answering(204)
	b.do("DELETE", "/orders/1", "", "X-Item: other")
	b.app = nil

	note := func() string {
		uri, err := b.gate.Mint(t.Context(), core.MintRequest{Target: "/notes/tea", Method: "PUT", TTL: 48 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return uri.URI
	}
	old := note()
	b.advance(25 * time.Hour)
	b.do("PUT", note(), "green", `If-Match: "v1"`)
	if res := b.do("PUT", old, "black", `If-Match: "v2"`); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	nowhere := map[store.Name]bool{}
	for range 100 { // days, of which one comes between the shelves
		b.advance(24 * time.Hour)
		for more := true; more; {
			swept, err := b.store.Sweep(t.Context(), b.clock())
			if err != nil {
				t.Fatal(err)
			}
			more = swept.More
		}
		ids, err := b.store.List(t.Context(), store.ID{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			r, err := b.store.Lookup(t.Context(), store.ByID(id))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range r.Names {
				if _, err := b.store.Lookup(t.Context(), store.ByName(n)); err != nil {
					nowhere[n] = core.Passes(n)
				}
			}
		}
	}
	if len(nowhere) != 2 {
		t.Errorf("%d names lead nowhere: this says nothing", len(nowhere))
	}
	for n, passes := range nowhere {
		if !passes {
			t.Errorf("a name of use %d leads nowhere", n[0])
		}
	}
}

// What an operator is told to be free is free, even if the action ends in that moment.
func TestFreeBesideAnEnd(t *testing.T) {
	b, ledger := newTampered(t, one(core.Route{Unique: []string{"header:X-Item"}}))
	post := func(uri string) *http.Response { return b.do("POST", uri, "apples", "X-Item: cup") }
	entered, leave := b.stopped()
	i := b.issue("/orders")
	var all sync.WaitGroup
	all.Go(func() { post(i.URI) })
	<-entered
	ledger.moving = func(r store.Record) error {
		if r.State == store.Running { // the write that frees: the end is quicker
			close(leave)
			all.Wait()
		}
		return nil
	}
	if err := b.gate.Free(t.Context(), i.ID, "operator"); err != nil {
		t.Fatal(err)
	}
	ledger.moving = nil
	b.wantState(i.ID, store.Done)
	b.app = nil
	if res := post(b.mint("/orders")); res.StatusCode != 201 {
		t.Errorf("it is not free: %d", res.StatusCode)
	}
}

// An operator who cannot be heard, since the action moves on each time, is told so.
func TestFreeOfWhatMovesAllTheTime(t *testing.T) {
	b, ledger := newTampered(t, one(core.Route{Unique: []string{"header:X-Item"}}))
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples", "X-Item: cup")
	n := byte(0)
	ledger.moving = func(store.Record) error { // somebody else writes, in front of each try
		beside := b.lookup(i.ID)
		was := beside.Term
		n++
		beside.Term = store.Term{n}
		_, err := storetest.Advance(t.Context(), ledger.Store, was, beside, store.Also{})
		return err
	}
	if err := b.gate.Free(t.Context(), i.ID, "operator"); !errors.As(err, new(*core.ConflictError)) {
		t.Errorf("%v", err)
	}
	ledger.moving = nil
	if res := b.do("POST", b.mint("/orders"), "apples", "X-Item: cup"); res.StatusCode != 409 {
		t.Errorf("it is free all the same: %d", res.StatusCode)
	}
}

// What was found to have been done, by recovery or by an answer that came late, gives back its business key with the DELETE of what it created,
// as what was answered in time.
func TestFreeOnAfterUnknown(t *testing.T) {
	made := answers(201, "made", "Location: /orders/1")
	for name, tc := range map[string]struct {
		route core.Route
		found func(*bench, *upstream) // nil: by its own answer
	}{
		"repeated": {core.Route{Recovery: core.RecoveryRepeat}, func(b *bench, u *upstream) { u.says(made); b.pass(time.Minute, time.Second) }},
		"probed": {core.Route{Recovery: core.RecoveryProbe, Probe: "/orders/by/{id}"}, func(b *bench, u *upstream) {
			u.says(answers(200, "made", "Location: /orders/1"))
			b.pass(time.Minute, time.Second)
		}},
		"answered late": {core.Route{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.route.Unique, tc.route.FreeOn = []string{"header:X-Item"}, []string{"DELETE"}
			b, u := recovering(t, tc.route)
			b.app = answering(204) // what is not protected
			i := b.issue("/orders")
			if tc.found != nil {
				u.says(breaks)
				b.do("POST", i.URI, "apples", "X-Item: cup")
				tc.found(b, u)
			} else {
				entered, leave := make(chan struct{}), make(chan struct{})
				u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
					close(entered)
					<-leave
					return made(n, s, rec)
				})
				var all sync.WaitGroup
				all.Go(func() { b.do("POST", i.URI, "apples", "X-Item: cup") })
				<-entered
				b.advance(time.Hour)
				core.Housekeeping(t.Context(), b.another().gate)
				b.wantState(i.ID, store.Unknown)
				close(leave)
				all.Wait()
			}
			b.wantState(i.ID, store.Done)
			u.says(made)
			post := func() int { return b.do("POST", b.mint("/orders"), "pears", "X-Item: cup").StatusCode }
			if code := post(); code != 409 {
				t.Fatalf("it guards nothing: %d", code)
			}
			if res := b.do("DELETE", "/orders/1", ""); res.StatusCode != 204 {
				t.Fatal(res.StatusCode)
			}
			if code := post(); code != 201 {
				t.Errorf("after the DELETE: %d", code)
			}
		})
	}
}

// A write of which nobody knew, and that surely was none, was not the last one: the one before it is repeated again. While one of several may have
// written, or another one has, it is not.
func TestLastWriteBeforeOneThatWasNone(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"key", "if-match"}}}
	})
	put := func(tag string) *http.Response { return b.do("PUT", "/notes/tea", "green", "If-Match: "+tag, alice) }
	again := func(want bool) {
		t.Helper()
		if res := put(`"v1"`); strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") != want {
			t.Errorf("the retry: %d %v; want it repeated: %t", res.StatusCode, res.Header, want)
		}
	}
	put(`"v1"`)
	b.app = answering(502)
	first, _ := readState(t, put(`"v2"`).Header)
	second, _ := readState(t, put(`"v3"`).Header)
	again(false)
	b.decide(decision(second, core.AsUnused))
	again(false)
	b.decide(decision(first, core.AsUnused))
	again(true)
	b.app = nil
	put(`"v4"`)
	again(false)
}

// An accepted write that surely was none is burned, and was not the last one either.
func TestLastWriteBeforeAnAcceptedOneThatWasNone(t *testing.T) {
	b := deferring(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"key", "if-match", "async"}, Recovery: core.RecoveryProbe, Probe: "/p/{id}", ProbeFences: true}}
	})
	put := func(tag string, f ...string) *http.Response {
		return b.do("PUT", "/notes/tea", "green", append([]string{"If-Match: " + tag, alice}, f...)...)
	}
	put(`"v1"`)
	b.app = answering(502)
	id, _ := readState(t, put(`"v2"`, later).Header)
	b.work()
	b.wantState(id, store.Unknown)
	b.app = answering(404)
	b.pass(time.Minute, time.Second)
	b.wantState(id, store.Burned)
	if res := put(`"v1"`); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("the retry: %d %v", res.StatusCode, res.Header)
	}
}

// A write that was none twice came after another one the second time: the first write is not the last for that.
func TestLastWriteBeforeOneThatWasNoneTwice(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"key", "if-match"}}}
	})
	put := func(tag string, f ...string) *http.Response {
		return b.do("PUT", "/notes/tea", "green", append([]string{"If-Match: " + tag, alice}, f...)...)
	}
	put(`"v1"`)
	b.app = answering(502)
	w2, _ := readState(t, put(`"v2"`, "Idempotency-Key: k2").Header)
	b.decide(decision(w2, core.AsUnused))
	b.app = nil
	if res := put(`"v3"`); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := put(`"v1"`); res.StatusCode != 412 {
		t.Fatal(res.StatusCode)
	}
	b.app = answering(502)
	again, _ := readState(t, put(`"v2"`, "Idempotency-Key: k2").Header)
	if again != w2 {
		t.Fatal("another")
	}
	b.decide(decision(w2, core.AsUnused))
	if res := put(`"v1"`); res.StatusCode != 412 {
		t.Errorf("v1, after v3 was written: %d %v", res.StatusCode, res.Header)
	}
}

// A write that was none may be tried again, also when another one has been the last since then.
func TestRetryOfAWriteThatWasTakenOver(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"key", "if-match"}, Recovery: core.RecoveryProbe, Probe: "/p/{id}", ProbeFences: true}}
	})
	b.deferred()
	put := func(tag, key string) *http.Response {
		return b.do("PUT", "/notes/tea", "green", "If-Match: "+tag, "Idempotency-Key: "+key, alice)
	}
	b.app = answering(502)
	id, _ := readState(t, put(`"v1"`, "k1").Header)
	b.app = answering(404)
	b.pass(time.Minute, time.Second)
	b.wantState(id, store.Unused)
	b.app = nil
	put(`"v1"`, "k2")
	if res := put(`"v2"`, "k1"); res.StatusCode != 201 { // it looked, claimed and lost for ever
		t.Errorf("the retry: %d", res.StatusCode)
	}
}

// An action that was none can be burned, also when another one has been the last to write since then, and is the last one still.
func TestBurnOfWhatWasTakenOver(t *testing.T) {
	b, h := hookedBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "notes", Match: "POST /notes/{id}", Doors: []string{"poe", "if-match"}}}
	})
	claims := 0
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		if claims++; claims > 100 {
			return store.Record{}, store.ErrUnavailable
		}
		return next(t.Context(), r)
	}
	i := b.issue("/notes/tea")
	b.app = answering(502)
	b.do("POST", i.URI, "green")
	b.decide(decision(i.ID, core.AsUnused))
	b.app = nil
	last := b.do("POST", "/notes/tea", "black", `If-Match: "v1"`, alice)
	if last.StatusCode != 201 {
		t.Fatal(last.StatusCode)
	}
	if res := b.do("DELETE", i.URI, ""); res.StatusCode != 204 || claims > 100 { // it looked, claimed and lost for ever
		t.Errorf("%d after %d claims", res.StatusCode, claims)
	}
	b.wantState(i.ID, store.Burned)
	if res := b.do("POST", "/notes/tea", "black", `If-Match: "v1"`, alice); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("the last write: %d %v", res.StatusCode, res.Header)
	}
}

// A request that is refused for want of room, or since the gate drains, may have been executed before: where only its guard tells that, the guard is asked, and it is
// not told that nothing was done.
func TestGuardedAndNoRoom(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.MaxRunning, c.Front = 1, 1
		c.Routes = []core.Route{
			{Name: "users", Match: "POST /users", Unique: []string{"header:X-Email"}},
			{Name: "things", Match: "PUT /things/{id}", Doors: []string{"if-match"}},
			{Name: "default", Match: "POST *"},
		}
	})
	user := func(fields ...string) *http.Response {
		return b.do("POST", "/users", "ann", append(fields, "X-Email: ann@example.com")...)
	}
	thing := func() *http.Response { return b.do("PUT", "/things/7", "blue", alice, `If-Match: "v1"`) }
	user(alice)
	thing()
	b.runningIssue()
	executed := b.executed.Load()
	check := func() {
		t.Helper()
		for name, res := range map[string]*http.Response{"a business key": user(alice), "a tag": thing()} {
			if state := res.Header.Get("POE-State"); res.StatusCode != 201 || !strings.HasSuffix(state, ";replayed") {
				t.Errorf("%s: %d %q: %s", name, res.StatusCode, state, text(t, res))
			}
		}
		wantProblem(t, user("Authorization: Basic Ym9iOng="), 409, "duplicate")
		wantProblem(t, b.do("POST", "/users", "ben", alice, "X-Email: ben@example.com"), 503, "not-executed")
	}
	check()
	b.gate.Drain()
	check()
	if n := b.executed.Load(); n != executed {
		t.Errorf("executed %d times", n-executed)
	}
}

// An accepted action whose outcome is an answer that means "not done" guards nothing, whatever the status of that answer is: nothing was left behind.
func TestAcceptedThatWasNotDoneInTimeGuardsNothing(t *testing.T) {
	for name, app := range map[string]http.HandlerFunc{
		"come again": answering(503, "Retry-After: 1"), "listed": answering(507), "elsewhere": answering(308, "Location: /notes/cup"), "refused": answering(422),
	} {
		t.Run(name, func(t *testing.T) {
			b := deferring(t, func(c *core.Config) {
				c.Routes = []core.Route{{
					Name: "notes", Match: "POST,DELETE /notes/{id}", Doors: []string{"key", "async", "if-match"}, Unique: []string{"header:X-Item"},
					FreeOn: []string{http.MethodDelete}, Release: []int{507}, RetryFor: 10 * time.Second,
				}}
			})
			b.app = app
			id, _ := readState(t, b.do("POST", "/notes/tea", "one", `If-Match: "v1"`, "Idempotency-Key: one", "X-Item: cup", alice, later).Header)
			b.pass(time.Minute, time.Second)
			r := b.wantState(id, store.Done)
			if last := r.History[len(r.History)-1]; !strings.HasPrefix(last.Why, "not done in the time for it: answered ") || last.To != store.Done {
				t.Errorf("%v", r.History)
			}
			b.app = nil
			if res := b.do("POST", "/notes/tea", "another", `If-Match: "v1"`, "Idempotency-Key: another", "X-Item: cup", alice); res.StatusCode != 201 {
				t.Errorf("another one under the same business key and tag: %d %s", res.StatusCode, text(t, res))
			}
		})
	}
}

// Nor was it the last write, whether its last attempt was the only one, or an earlier one was released.
func TestLastWriteBeforeAnAcceptedOneThatWasNotDoneInTime(t *testing.T) {
	for name, doubted := range map[string]bool{"at once": false, "after a doubt": true} {
		t.Run(name, func(t *testing.T) {
			b := deferring(t, func(c *core.Config) {
				c.Routes = []core.Route{{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"key", "if-match", "async"}, RetryFor: 10 * time.Second}}
			})
			put := func(tag string, f ...string) *http.Response {
				return b.do("PUT", "/notes/tea", "green", append([]string{"If-Match: " + tag, alice}, f...)...)
			}
			put(`"v1"`)
			id, _ := readState(t, put(`"v2"`, later).Header)
			if doubted {
				b.app = answering(502)
				b.work()
				b.decide(decision(id, core.AsUnused))
			}
			b.app = answering(503, "Retry-After: 1")
			b.pass(time.Minute, time.Second)
			b.wantState(id, store.Done)
			if res := put(`"v1"`); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
				t.Errorf("the retry: %d %v", res.StatusCode, res.Header)
			}
		})
	}
}

// It is the engine that says so: a person who decides may use the same words, and is not taken for it.
func TestDecisionInTheWordsOfTheEngine(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Unique: []string{"header:X-Item"}}}
	})
	i := b.unknownIssue("X-Item: cup")
	d := decision(i.ID, core.AsFailed)
	d.Reason = "not done in the time for it: the shop says so"
	b.decide(d)
	if res := b.do("POST", b.issue("/orders").URI, "pears", "X-Item: cup"); res.StatusCode != 409 {
		t.Errorf("the business key of a failure: %d", res.StatusCode)
	}
}

// Nor is a person who voids an action taken for the policy that takes back.
func TestBurnInTheWordsOfRecovery(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later))
	d := decision(i.ID, core.AsBurned)
	d.Reason = "taken back: answered by phone"
	b.decide(d)
	if p := wantProblem(t, b.do("GET", at, ""), 410, "burned"); p["detail"] != nil {
		t.Errorf("%v", p)
	}
}

// A query belongs to the name of a resource: what lies at another one is another resource, and neither in the way of its creation nor deleted with it.
func TestResourcesByQuery(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "notes", Match: "PUT,DELETE /notes", Doors: []string{"poe", "key", "if-none-match"}},
			{Name: "orders", Match: "POST /orders", Unique: []string{"header:X-Item"}, FreeOn: []string{http.MethodDelete}},
			{Name: "later", Match: "DELETE /orders", Async: true},
		}
	})
	b.deferred()
	code := func(method, target string, fields ...string) int {
		t.Helper()
		return b.do(method, target, "plum", append(fields, alice)...).StatusCode
	}
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, not %d", what, got, want)
		}
	}
	put := func(target, body string) int { return b.do("PUT", target, body, "If-None-Match: *", alice).StatusCode }
	want("a note", put("/notes?id=1", "plum"), 201)
	want("another note", put("/notes?id=2", "apple"), 201)
	want("the first one again", put("/notes?id=1", "apple"), 412)
	b.app = answering(204)
	want("a DELETE by a POE URI", code("DELETE", b.issueOf("DELETE", "/notes?id=1").URI), 204)
	b.app = nil
	want("the other note again", put("/notes?id=2", "plum"), 412)
	want("the first one anew", put("/notes?id=1", "apple"), 201)

	order := func(item, at string) int {
		b.app = answering(201, "Location: "+at)
		return code("POST", "/orders", "X-Item: "+item)
	}
	want("a cup", order("cup", "/orders?id=1"), 201)
	want("a pot", order("pot", "?id=2"), 201)
	want("a DELETE of the cup", code("DELETE", "/orders?id=1"), 202)
	b.app = answering(204)
	b.work()
	again := func(item string) int {
		b.app = answering(201)
		return b.do("POST", "/orders", "pear", "X-Item: "+item, alice).StatusCode
	}
	want("the pot again", again("pot"), 409)
	want("the cup anew", again("cup"), 201)

	want("a pan", order("pan", "/orders/3"), 201)
	b.app = answering(204)
	want("a DELETE that says how", code("DELETE", "/orders/3?now=1"), 204)
	want("the pan anew", again("pan"), 201)
}

// Of several creates that were answered with the same Location a DELETE gives back what the last one guarded, as docs/doors.md says.
func TestDeleteOfWhatSeveralCreated(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Unique: []string{"header:X-Item"}, FreeOn: []string{http.MethodDelete}}}
	})
	post := func(item, body string) int {
		b.app = answering(201, "Location: /basket")
		return b.do("POST", "/orders", body, "X-Item: "+item, alice).StatusCode
	}
	post("cup", "one")
	post("pot", "one")
	b.app = answering(204)
	b.do("DELETE", "/basket", "")
	if cup, pot := post("cup", "two"), post("pot", "two"); cup != 409 || pot != 201 {
		t.Errorf("the cup: %d, the pot: %d", cup, pot)
	}
}

// A Location that is no path here, such as a urn, is not deleted with the root.
func TestDeleteOfTheRoot(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Unique: []string{"header:X-Item"}, FreeOn: []string{http.MethodDelete}}}
	})
	post := func(body string) int { return b.do("POST", "/orders", body, "X-Item: cup", alice).StatusCode }
	b.app = answering(201, "Location: urn:isbn:9783161484100")
	post("one")
	b.app = answering(204)
	b.do("DELETE", "/", "")
	b.app = answering(201)
	if code := post("two"); code != 409 {
		t.Errorf("%d", code)
	}
}

// 207 to a DELETE says that not all of a collection could be deleted, and then the collection itself is there (RFC 4918, section 9.6.1): nothing is given back, by
// whichever way the DELETE came.
func TestDeleteOfAPart(t *testing.T) {
	for name, fields := range map[string][]string{"passing": nil, "by a key": {"Idempotency-Key: d"}, "later": {"Idempotency-Key: d", later}} {
		t.Run(name, func(t *testing.T) {
			b := deferring(t, doors("key", "async", "if-none-match"))
			target := "/orders/7/"
			if name == "passing" {
				b = newBench(t, func(c *core.Config) {
					c.Routes = []core.Route{{Name: "orders", Match: "PUT /orders/7/", Doors: []string{"if-none-match"}}}
				})
			}
			create := func(body string) int {
				b.app = nil
				return b.do("PUT", target, body, "If-None-Match: *", alice).StatusCode
			}
			remove := func(status int, fields ...string) {
				b.app = answering(status)
				b.do("DELETE", target, "", fields...)
				if name == "later" {
					b.work()
				}
			}
			create("apples")
			remove(207, fields...)
			if code := create("pears"); code != 412 {
				t.Errorf("after 207: %d", code)
			}
			remove(204)
			if code := create("pears"); code != 201 {
				t.Errorf("after 204: %d", code)
			}
		})
	}
}

// A slash that came encoded parts nothing (RFC 3986, section 2.2): with it a path is another resource than without.
func TestResourcesByEncodedSlash(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "files", Match: "PUT /files/{path:.*}", Doors: []string{"if-none-match"}},
			{Name: "users", Match: "POST /users", Unique: []string{"header:X-Name"}, FreeOn: []string{http.MethodDelete}},
		}
	})
	put := func(target string) int { return b.do("PUT", target, target, "If-None-Match: *", alice).StatusCode }
	for _, target := range []string{"/files/a%2Fb", "/files/a/b", "/files/a%252Fb"} {
		if code := put(target); code != 201 {
			t.Errorf("PUT %s: %d", target, code)
		}
	}
	if code := put("/files/%61%2fb"); code != 412 { // the first one, spelled otherwise
		t.Errorf("again: %d", code)
	}
	post := func(body string) int {
		b.app = answering(201, "Location: /users/a%2Fb")
		return b.do("POST", "/users", body, "X-Name: a/b", alice).StatusCode
	}
	remove := func(target string) {
		b.app = answering(204)
		b.do("DELETE", target, "")
	}
	post("one")
	remove("/users/a/b")
	if code := post("two"); code != 409 {
		t.Errorf("after the DELETE of another: %d", code)
	}
	remove("/users/a%2fb")
	if code := post("two"); code != 201 {
		t.Errorf("after its DELETE: %d", code)
	}
}

// What a guard answers is about an action that the request's own name does not lead to: of that name nothing is promised, and nothing was accepted under it.
func TestGuardPromisesNothingOfAName(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Doors: []string{"key", "repeatability"}, Unique: []string{"header:X-Item"}}}
	})
	post := func(body string, fields ...string) *http.Response {
		return b.do("POST", "/orders", body, append(fields, "X-Item: cup", alice)...)
	}
	want := func(what string, res *http.Response, code int, expires bool, result string) {
		t.Helper()
		h := res.Header
		if got := h.Get("Idempotency-Expires") != ""; res.StatusCode != code || got != expires || h.Get("Repeatability-Result") != result {
			t.Errorf("%s: %d, expires: %t, %q: %v", what, res.StatusCode, got, h.Get("Repeatability-Result"), h)
		}
	}
	want("the first", post("apples", "Idempotency-Key: one"), 201, true, "")
	want("its repeat", post("apples", "Idempotency-Key: one"), 201, true, "")
	want("another key", post("apples", "Idempotency-Key: two"), 201, false, "")
	want("another key and body", post("pears", "Idempotency-Key: two"), 409, false, "")
	want("a repeatable request", post("pears", "Repeatability-Request-ID: r-1", sentNow), 409, false, "rejected")

	b.app = answering(502)
	pot := func(fields ...string) *http.Response {
		return b.do("POST", "/orders", "apples", append(fields, "X-Item: pot", alice)...)
	}
	want("an unknown one", pot("Repeatability-Request-ID: r-2", sentNow), 502, false, "accepted")
	want("its repeat", pot("Repeatability-Request-ID: r-2", sentNow), 409, false, "accepted")
	want("another one for the same", pot("Repeatability-Request-ID: r-3", sentNow), 409, false, "rejected")
}
