package core_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// Promises that were made under one configuration, or one time, and asked for under another.

// configured is the gate that a restart with another configuration makes over what b has left.
func (b *bench) configured(change func(*core.Config)) *bench {
	b.t.Helper()
	next := newBench(b.t, func(c *core.Config) {
		change(c)
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
	})
	next.of = b
	return next
}

// repeats is a request that says when it was first sent.
func repeats(b *bench, id string, first time.Time) *http.Response {
	b.t.Helper()
	return b.do("POST", "/orders", "apples", "Repeatability-Request-ID: "+id, "Repeatability-First-Sent: "+first.Format(http.TimeFormat))
}

func remembering(d time.Duration) func(*core.Config) {
	return func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "orders", Match: "POST /orders", Doors: []string{"repeatability"}, Retention: d},
			{Name: "other", Match: "POST /other", Doors: []string{"repeatability"}, Retention: 90 * store.Day},
		}
	}
}

// A repeatable request that was executed and forgotten is not executed again because the retention was raised since, and its window with it. What was
// not forgotten is answered, and what cannot have been is executed.
func TestRepeatableAfterRetentionIsRaised(t *testing.T) {
	b := newBench(t, remembering(time.Hour))
	first := b.clock()
	repeats(b, "r", first)
	b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
	repeats(b, "again", first)
	b.app = nil
	b.advance(30 * time.Minute)
	repeats(b, "again", b.clock()) // the second attempt of what was not done is another request, and younger than its action
	again := b.clock()
	ahead := b.clock().Add(time.Minute)
	repeats(b, "ahead", ahead)
	b.advance(2 * store.Day)
	core.Sweeping(t.Context(), b.gate)
	if left, err := b.store.List(t.Context(), store.ID{}, 10); err != nil || len(left) > 0 {
		t.Fatalf("it is not forgotten: %v, %v", left, err)
	}
	repeats(b, "late", b.clock())
	late := b.clock()
	n := b.executed.Load()

	next := b.configured(remembering(30 * store.Day))
	for id, at := range map[string]time.Time{"r": first, "again": again, "ahead": ahead} {
		res := repeats(next, id, at)
		if wantProblem(t, res, 412, "precondition-failed"); res.Header.Get("Repeatability-Result") != "rejected" || res.Header.Get("POE-State") != "" {
			t.Errorf("%s: %v", id, res.Header)
		}
	}
	if res := repeats(next, "late", late); res.StatusCode != 201 || res.Header.Get("Repeatability-Result") != "accepted" {
		t.Errorf("what is known: %d %v", res.StatusCode, res.Header)
	}
	if b.executed.Load() != n || next.executed.Load() != 0 {
		t.Errorf("executed %d times more", b.executed.Load()-n+next.executed.Load())
	}
	if res := repeats(next, "new", ahead.Add(2*time.Minute)); res.StatusCode != 201 {
		t.Errorf("first sent after what is forgotten: %d", res.StatusCode)
	}
	if res := next.do("POST", "/other", "apples", "Repeatability-Request-ID: r", "Repeatability-First-Sent: "+first.Format(http.TimeFormat)); res.StatusCode != 201 {
		t.Errorf("a route that has forgotten nothing: %d", res.StatusCode)
	}
}

// What was executed in a longer window is answered as long as it was to be, and nothing is executed that is out of the shorter one.
func TestRepeatableAfterRetentionIsLowered(t *testing.T) {
	b := newBench(t, remembering(30*store.Day))
	first := b.clock()
	repeats(b, "r", first)
	b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
	repeats(b, "tried", first)
	b.advance(5 * store.Day)
	next := b.configured(remembering(time.Hour))
	if res := repeats(next, "r", first); res.StatusCode != 201 || res.Header.Get("Repeatability-Result") != "accepted" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	wantProblem(t, repeats(next, "tried", first), 412, "precondition-failed")
	wantProblem(t, repeats(next, "new", first), 412, "precondition-failed")
	b.advance(26 * store.Day)
	wantProblem(t, repeats(next, "r", first), 412, "precondition-failed")
	if n := next.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
}

// A key that was sent along with a POE URI repeats the answer until the time that was said, and is not free before that, whatever the retention was when
// the URI was made, and is by then.
func TestKeyAlongAURIWhenRetentionChanges(t *testing.T) {
	keyed := func(d time.Duration) func(*core.Config) {
		return func(c *core.Config) {
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Retention: d}}
		}
	}
	for name, days := range map[string][2]time.Duration{"raised": {1, 30}, "lowered": {30, 1}} {
		for _, sweeps := range []bool{false, true} {
			b := newBench(t, keyed(days[0]*store.Day))
			uri := b.mint("/orders")
			next := b.configured(keyed(days[1] * store.Day))
			first, second := next, next
			if name == "lowered" {
				first = b
			}
			first.do("POST", uri, "apples", "Idempotency-Key: k")
			res := first.do("POST", "/orders", "apples", "Idempotency-Key: k")
			until, err := http.ParseTime(res.Header.Get("Idempotency-Expires"))
			if res.StatusCode != 201 || err != nil {
				t.Fatalf("%s: %d %v", name, res.StatusCode, res.Header)
			}
			for b.clock().Before(until) {
				if sweeps {
					core.Sweeping(t.Context(), second.gate)
				}
				if res := second.do("POST", "/orders", "apples", "Idempotency-Key: k"); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
					t.Fatalf("%s: %s before the time that was said: %d %v", name, until.Sub(b.clock()), res.StatusCode, res.Header)
				}
				b.advance(12 * time.Hour)
			}
		}
	}
}

// By a clock that is found to have leapt ahead nothing is forgotten: what guards goes on to guard, and nobody is told that it is gone.
func TestNothingIsForgottenByALeap(t *testing.T) {
	disk := vfs.NewMem()
	var s *pebblestore.Store
	b := newBench(t, func(c *core.Config) {
		guarded(c)
		s = openPebble(t, disk, c.Clock)
		c.Store = s
	})
	uri := b.mint("/orders")
	b.do("POST", uri, "apples")
	match := func(b *bench) *http.Response { return b.do("POST", "/orders", "apples", `If-Match: "v1"`, alice) }
	create := func(b *bench) *http.Response { return b.do("PUT", "/cake", "apples", "If-None-Match: *", alice) }
	outcome, _, _ := strings.Cut(strings.TrimPrefix(match(b).Header.Get("Link"), "<"), ">")
	create(b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b.advance(100 * store.Day)
	next := newBench(t, func(c *core.Config) {
		guarded(c)
		c.Store, c.Keys, c.Clock = openPebble(t, disk, b.clock), b.keys, b.clock
	})
	next.of = b
	for what, res := range map[string]*http.Response{
		"If-Match": match(next), "If-None-Match": create(next), "the outcome": next.do("GET", outcome, "", alice), "the URI": next.do("GET", uri, ""),
	} {
		if !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
			t.Errorf("%s: %d %v", what, res.StatusCode, res.Header)
		}
	}
	wantProblem(t, next.do("POST", uri, "apples"), 405, "consumed")
	if n := next.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
	next.gate.ConfirmClock()
	wantProblem(t, next.do("POST", uri, "apples"), 410, "gone")
	if res := match(next); res.StatusCode != 201 || next.executed.Load() != 1 {
		t.Errorf("confirmed: %d", res.StatusCode)
	}
}

func guarded(c *core.Config) {
	c.Routes = []core.Route{{Name: "orders", Match: "POST,PUT /{what}", Doors: []string{"poe", "if-match", "if-none-match"}}}
}

// An action belongs to the route that has its target, and not to another one that has got its name: that one's application is not asked what became of it,
// nothing is sent where it says, and who may have the answer is asked as ever.
func TestNameOfARouteIsAnothers(t *testing.T) {
	orders := core.Route{Name: "orders", Match: "POST /orders", Recovery: core.RecoveryProbe, Probe: "/orders/by-action/{id}", ProbeFences: true, Authorize: "/may"}
	gifts := core.Route{Name: "gifts", Match: "POST /gifts", Recovery: core.RecoveryProbe, Probe: "/gifts/by-action/{id}", ProbeFences: true}
	for name, names := range map[string][2]string{"swapped": {"gifts", "orders"}, "renamed": {"old", "gifts"}, "taken": {"old", "orders"}} {
		t.Run(name, func(t *testing.T) {
			may, asked := http.StatusOK, 0
			with := func(routes ...core.Route) func(*core.Config) {
				return func(c *core.Config) {
					c.Routes = routes
					c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(may) })
				}
			}
			b, u := newBench(t, with(orders, gifts)), &upstream{}
			b.behind(u)
			finished, broken := b.issue("/orders"), b.issue("/orders")
			finished.findOutcome(t, b.do("POST", finished.URI, "apples"))
			bound := b.issue("/orders", alice)
			bound.findOutcome(t, b.do("POST", bound.URI, "apples", alice))
			u.says(breaks)
			b.do("POST", broken.URI, "apples")
			later := b.do("POST", "/orders", "apples", "Idempotency-Key: later", "Prefer: respond-async")
			if later.StatusCode != 202 {
				t.Fatalf("accepted: %d", later.StatusCode)
			}

			n := len(u.sent())
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				if s.method == "GET" && strings.HasPrefix(s.target, "/orders/") {
					return breaks(n, s, rec)
				}
				if s.method == "GET" {
					return answers(404, "")(n, s, rec)
				}
				return answers(201, "made")(n, s, rec)
			})
			one, other := orders, gifts
			one.Name, other.Name = names[0], names[1]
			next := b.configured(with(one, other))
			next.behind(u)
			next.pass(time.Minute, time.Second)
			next.wantState(broken.ID, store.Unknown)
			wantProblem(t, next.do("POST", broken.URI, "apples"), 409, "outcome-unknown")
			posts := 0
			for _, s := range u.sent()[n:] {
				if !strings.HasPrefix(s.target, "/orders") {
					t.Errorf("asked at %s %s", s.method, s.target)
				}
				if s.method == "POST" {
					posts++
				}
			}
			if posts != 1 {
				t.Errorf("what was accepted was sent %d times", posts)
			}
			if res := next.do("GET", bound.outcome, "", alice); res.StatusCode != 201 && res.StatusCode != 200 {
				t.Errorf("the outcome for whom it is: %d", res.StatusCode)
			}
			may, asked = http.StatusForbidden, 0
			for _, at := range []string{finished.URI, finished.outcome} {
				if res := next.do("GET", at, ""); res.StatusCode != 403 {
					t.Errorf("shown to who may not have it: %d", res.StatusCode)
				}
			}
			if asked != 2 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// A request that was executed, and is over the limit by now, cannot be compared: nobody says that it is another one, and that a new one would be safe.
func TestExecutedAndTooLargeByNow(t *testing.T) {
	limited := func(n int64) func(*core.Config) {
		return func(c *core.Config) {
			c.MaxBody = n
		}
	}
	b := newBench(t, limited(1000))
	send := func(b *bench, size int) *http.Response {
		return b.do("POST", "/orders", strings.Repeat("x", size), "Idempotency-Key: k", alice)
	}
	send(b, 100)
	next := b.configured(limited(10))
	for _, size := range []int{100, 200} {
		if p := wantProblem(t, send(next, size), 413, "too-large"); p["retry"] != "never" || p["state"] != "done" || p["outcome"] == nil {
			t.Errorf("%v", p)
		}
	}
	wantProblem(t, send(next, 5), 422, "key-reused")
	if n := next.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
}

// After a route has begun to say what two requests are the same by, the very same request gets its answer, and is not told that it is another one.
func TestCompareBegins(t *testing.T) {
	comparing := func(places ...string) func(*core.Config) {
		return func(c *core.Config) {
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Compare: places}}
		}
	}
	send := func(b *bench, body string) *http.Response {
		return b.do("POST", "/orders", body, "Content-Type: application/json", "Idempotency-Key: k")
	}
	const body = `{"amount":5,"to":"bob"}`
	for _, place := range []string{"json:/amount", "json:/id"} {
		b := newBench(t, comparing())
		send(b, body)
		next := b.configured(comparing(place))
		if res := send(next, body); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s: %d %v", place, res.StatusCode, res.Header)
		}
		wantProblem(t, send(next, `{"amount":5,"to":"eve","id":1}`), 422, "key-reused") // the first one said of all of itself that it is compared
		if n := next.executed.Load(); n != 0 {
			t.Errorf("executed %d times", n)
		}
	}
}

// A POE URI whose parameter is called something else by now is not an ordinary request: it is not executed, and the application does not see its token.
func TestParamIsRenamed(t *testing.T) {
	for _, target := range []string{"/orders", "/orders?x=1"} {
		b := newBench(t, nil)
		used, unused := b.mint(target), b.mint(target)
		b.do("POST", used, "apples")
		next := b.configured(func(c *core.Config) { c.Param = "once" })
		next.app = func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the application got %s %s", r.Method, r.URL) }
		for _, uri := range []string{used, unused} {
			for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
				wantProblem(t, next.do(method, uri, "apples"), 404, "not-found")
			}
			wantProblem(t, next.do("POST", uri, "apples", "Idempotency-Key: k"), 404, "not-found")
		}
		next.app = nil
		_, token, _ := strings.Cut(used, "poe=")
		for _, other := range []string{"/other?poe=" + token, "/orders?poe=" + token + "&x=1", "/orders?poe=" + token[:len(token)-1], "/orders?poe=ey"} {
			if res := next.do("GET", other, ""); res.StatusCode != 201 {
				t.Errorf("what is no POE URI for its target: %d", res.StatusCode)
			}
		}
	}
}

// That there is nothing at another host than the client's proves nothing of the client's request, and nothing is taken back there. So an action that was
// claimed when its route said otherwise, and whose host nobody has kept, stays unknown.
func TestRecoveryBeginsWithoutAHost(t *testing.T) {
	taking := core.Route{Recovery: core.RecoveryCompensate, Compensate: "/orders/compensate/{id}", Compensated: core.CompensatedUnused}
	for name, r := range map[string]core.Route{"probe": fencing, "compensate": taking} {
		for _, before := range []core.Route{{}, r} {
			b, u := recovering(t, before)
			i := b.issue("/orders")
			end := b.crashed(u, i.URI)
			next := b.again(r, u)
			n := len(u.sent())
			u.says(answers(404, ""))
			if name == "compensate" {
				u.says(answers(200, ""))
			}
			next.pass(time.Hour, time.Minute)
			if before.Recovery == core.RecoveryHold {
				next.wantState(i.ID, store.Unknown)
			} else {
				next.wantState(i.ID, store.Unused)
			}
			for _, s := range u.sent()[n:] {
				if s.method == "POST" && s.host != "example.com" {
					t.Errorf("%s: %s %s at host %q", name, s.method, s.target, s.host)
				}
			}
			end()
		}
	}
}

// swapped are two routes, each with the name that the other one had.
func swapped(a, b core.Route) func(*core.Config) {
	a.Name, b.Name = b.Name, a.Name
	return func(c *core.Config) { c.Routes = []core.Route{a, b} }
}

// An action that ends under another route's name has taken what the route of its target lets it take: it was the last to write there, and its retry gets
// its answer.
func TestLastWriteUnderAnothersName(t *testing.T) {
	notes := core.Route{Name: "notes", Match: "PUT /notes/{id}", Doors: []string{"if-match", "async"}}
	gifts := core.Route{Name: "gifts", Match: "PUT /gifts/{id}"}
	b, u := newBench(t, func(c *core.Config) { c.Routes = []core.Route{notes, gifts} }), &upstream{}
	b.behind(u)
	put := func(b *bench) *http.Response {
		return b.do("PUT", "/notes/tea", "green", `If-Match: "v1"`, alice, later)
	}
	if res := put(b); res.StatusCode != 202 {
		t.Fatalf("accepted: %d", res.StatusCode)
	}
	next := b.configured(swapped(notes, gifts))
	next.behind(u)
	next.work()
	if res := put(next); res.StatusCode != 201 || !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if n := len(u.sent()); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// What takes an action back belongs to the route of that action, whatever that is called by now: it is sent, and its outcome is for the same eyes.
func TestCompensationUnderAnothersName(t *testing.T) {
	orders := core.Route{
		Name: "orders", Match: "POST /orders", Recovery: core.RecoveryCompensate, Compensate: "/orders/compensate/{id}", Authorize: "/may",
		Principal: "header:X-User",
	}
	gifts := core.Route{Name: "gifts", Match: "POST /gifts"}
	renamed := orders
	renamed.Name = "new"
	for name, change := range map[string]func(*core.Config){
		"swapped": swapped(orders, gifts), "renamed": func(c *core.Config) { c.Routes = []core.Route{renamed, gifts} },
	} {
		t.Run(name, func(t *testing.T) {
			may := http.StatusNoContent
			asking := func(change func(*core.Config)) func(*core.Config) {
				return func(c *core.Config) {
					change(c)
					c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(may) })
				}
			}
			b, u := newBench(t, asking(func(c *core.Config) { c.Routes = []core.Route{orders, gifts} })), &upstream{}
			b.behind(u)
			u.says(breaks)
			i := b.issue("/orders", "X-User: alice")
			b.do("POST", i.URI, "apples", "X-User: alice")
			parent := b.wantState(i.ID, store.Unknown)
			next := b.configured(asking(change))
			next.behind(u)
			u.says(onCompensation(answers(204, "")))
			next.pass(10*time.Minute, 10*time.Second)
			next.wantState(parent.Undo.String(), store.Done)
			next.wantState(i.ID, store.Done)
			child := next.decidedOutcome(parent.Undo.String())
			if res := next.do("GET", child, "", "X-User: alice"); res.StatusCode != 204 {
				t.Errorf("the outcome for whom it is: %d", res.StatusCode)
			}
			wantProblem(t, next.do("GET", child, "", "X-User: bob"), 403, "other-principal")
			may = http.StatusForbidden
			if res := next.do("GET", child, "", "X-User: alice"); res.StatusCode != 403 || res.Header.Get("Poe-State") != "" {
				t.Errorf("shown to who may not have it: %d", res.StatusCode)
			}
		})
	}
}

// An outcome is for whom it was, also where the route by which that was told has moved, and another one has its target by now.
func TestOutcomeAfterARouteHasMoved(t *testing.T) {
	orders := core.Route{Name: "orders", Match: "POST /orders", Principal: "header:X-User"}
	rest := core.Route{Name: "rest", Match: "POST *"}
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{orders, rest} })
	i := b.issue("/orders", "X-User: alice")
	i.findOutcome(t, b.do("POST", i.URI, "apples", "X-User: alice"))
	orders.Match = "POST /v2/orders"
	next := b.configured(func(c *core.Config) { c.Routes = []core.Route{orders, rest} })
	if res := next.do("GET", i.outcome, "", "X-User: alice"); res.StatusCode != 201 && res.StatusCode != 200 {
		t.Errorf("for whom it is: %d", res.StatusCode)
	}
	for _, other := range []string{"X-User: bob", alice, "X-Other: alice"} {
		wantProblem(t, next.do("GET", i.outcome, "", other), 403, "other-principal")
	}
}
