package core_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// A sending is a request as the application got it.
type sending struct {
	method, target, host, id, key, auth, body string
}

// An upstream is an application behind a hop: it writes down what it is sent, and answers as the test says.
type upstream struct {
	mu     sync.Mutex
	got    []sending                                                          // guarded by mu
	answer func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) // n from 1; nil: 201
}

var errReset = errors.New("connection reset")

func (u *upstream) Execute(_ context.Context, q *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	body, err := io.ReadAll(q.Body.Reader())
	if err != nil {
		return replay.Unsent, err
	}
	s := sending{q.Method, q.Target, q.Host, forwarded(q, "POE-Id"), forwarded(q, "Idempotency-Key"), q.Header.Get("Authorization"), string(body)}
	if key := q.Header.Get("Idempotency-Key"); key != "" {
		s.key = key
	}
	u.mu.Lock()
	u.got = append(u.got, s)
	n, answer := len(u.got), u.answer
	u.mu.Unlock()
	if answer == nil {
		return answers(201, "made")(n, s, rec)
	}
	return answer(n, s, rec)
}

// sent returns what it was sent so far.
func (u *upstream) sent() []sending {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]sending(nil), u.got...)
}

func (u *upstream) says(answer func(int, sending, *replay.Recorder) (replay.Proof, error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

// answers is a whole answer.
func answers(status int, body string, fields ...string) func(int, sending, *replay.Recorder) (replay.Proof, error) {
	return func(_ int, _ sending, rec *replay.Recorder) (replay.Proof, error) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			rec.Header().Set(name, value)
		}
		rec.WriteHeader(status)
		_, err := io.WriteString(rec, body)
		return replay.Complete, err
	}
}

func breaks(int, sending, *replay.Recorder) (replay.Proof, error) { return replay.Broken, errReset }

func refuses(int, sending, *replay.Recorder) (replay.Proof, error) { return replay.Unsent, errReset }

// one is a configuration with one route for everything.
func one(r core.Route) func(*core.Config) {
	r.Name, r.Match = "orders", "POST,PUT,DELETE /orders"
	return func(c *core.Config) { c.Routes = []core.Route{r} }
}

// recovering makes a bench whose only route is r, in front of an upstream.
func recovering(t *testing.T, r core.Route) (*bench, *upstream) {
	t.Helper()
	b, u := newBench(t, one(r)), &upstream{}
	b.behind(u)
	return b, u
}

func (b *bench) behind(u *upstream) {
	b.mount(u)
	b.gate.Defer(u)
}

// again is another process on the same ledger, with that route.
func (b *bench) again(r core.Route, u *upstream) *bench {
	b.t.Helper()
	next := newBench(b.t, func(c *core.Config) {
		one(r)(c)
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
	})
	next.of = b
	next.behind(u)
	return next
}

// pass lets time go by in steps, and does in each what a process does.
func (b *bench) pass(d, step time.Duration) {
	for ; d > 0; d -= step {
		b.advance(step)
		core.Housekeeping(b.t.Context(), b.gate)
		b.work()
	}
}

// crashed is what a process leaves behind that was killed while it executed a request to target: it lets the request out, and never
// hears of an answer. end ends the process's leftovers.
func (b *bench) crashed(u *upstream, uri string, fields ...string) (end func()) {
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(func(int, sending, *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return replay.Broken, errReset
	})
	var all sync.WaitGroup
	all.Go(func() { b.do("POST", uri, "apples", fields...) })
	<-entered
	u.says(nil)
	return func() { close(leave); all.Wait() }
}

func (b *bench) wantState(id string, want store.State) store.Record {
	b.t.Helper()
	r := b.lookup(id)
	if r.State != want {
		b.t.Fatalf("it is %s, due %s, want %s; %v", r.State, r.Due, want, r.History)
	}
	return r
}

// The worst that could happen: nothing is ever sent a second time where the route does not say so, whatever crashes, and however long it takes.
func TestHoldSendsNothingAgain(t *testing.T) {
	for name, end := range map[string]func(int, sending, *replay.Recorder) (replay.Proof, error){
		"reset": breaks, "a gateway's word": answers(502, ""), "a panic": func(int, sending, *replay.Recorder) (replay.Proof, error) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, core.Route{})
			u.says(end)
			i := b.issue("/orders")
			func() {
				defer func() { _ = recover() }() // the handler's panic goes on up
				b.do("POST", i.URI, "apples")
			}()
			b2 := b.again(core.Route{}, u)
			b2.pass(48*time.Hour, time.Hour)
			wantProblem(t, b2.do("POST", i.URI, "apples"), 409, "outcome-unknown")
			if r := b2.wantState(i.ID, store.Unknown); len(u.sent()) != 1 || !r.Due.Equal(store.Person) {
				t.Errorf("sent %d times, due %s", len(u.sent()), r.Due)
			}
			if n := counter(t, b, "poe_recoveries_total", "hold/person"); n != 1 {
				t.Errorf("poe_recoveries_total counts %v", n)
			}
		})
	}
	t.Run("a crash", func(t *testing.T) {
		b, u := recovering(t, core.Route{})
		i := b.issue("/orders")
		end := b.crashed(u, i.URI)
		defer end()
		b2 := b.again(core.Route{}, u)
		b2.pass(48*time.Hour, time.Hour)
		if r := b2.wantState(i.ID, store.Unknown); len(u.sent()) != 1 || !r.Due.Equal(store.Person) {
			t.Errorf("sent %d times, due %s", len(u.sent()), r.Due)
		}
	})
}

// What counts is what the route says when something is to be done, and what was kept when the action was claimed.
func TestRecoveryAfterAChange(t *testing.T) {
	hold, repeat := core.Route{}, core.Route{Recovery: core.RecoveryRepeat}
	probe := core.Route{Recovery: core.RecoveryProbe, Probe: "/orders/{id}"}
	for name, tc := range map[string]struct {
		before, after core.Route
		sent          int // by the second process
		state         store.State
	}{
		"repeat, then hold": {repeat, hold, 0, store.Unknown},
		"hold, then repeat": {hold, repeat, 0, store.Unknown}, // its request was not kept
		"hold, then probe":  {hold, probe, 1, store.Done},
		"repeat, then a function": {repeat, core.Route{Recover: func(context.Context, core.Unresolved) (core.Resolution, error) {
			return core.Resolution{State: core.WasDone}, nil
		}}, 0, store.Done},
		"repeat, then marked, repeat": {repeat, core.Route{Recovery: core.RecoveryRepeat, MarkSent: true}, 1, store.Done},
	} {
		for _, when := range []string{"running", "unknown"} {
			t.Run(name+" while "+when, func(t *testing.T) {
				b, u := recovering(t, tc.before)
				i := b.issue("/orders")
				if when == "running" {
					defer b.crashed(u, i.URI)()
				} else {
					u.says(breaks)
					b.do("POST", i.URI, "apples")
				}
				u.says(answers(200, "found"))
				b2 := b.again(tc.after, u)
				b2.pass(time.Minute, time.Second)
				r := b2.lookup(i.ID)
				if when == "unknown" && name == "hold, then probe" {
					if len(u.sent()) != 1 || !r.Due.Equal(store.Person) { // a person has it already
						t.Errorf("sent %d times, %s due %s", len(u.sent()), r.State, r.Due)
					}
					return
				}
				if len(u.sent()) != 1+tc.sent || r.State != tc.state {
					t.Errorf("sent %d times, %s; %v", len(u.sent()), r.State, r.History)
				}
				if r.State == store.Unknown && !r.Due.Equal(store.Person) {
					t.Errorf("due %s", r.Due)
				}
			})
		}
	}
}

// A route that is not there any more recovers nothing.
func TestRecoveryOfAFormerRoute(t *testing.T) {
	b, u := recovering(t, core.Route{Recovery: core.RecoveryRepeat})
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	other := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "other", Match: "POST /other", Recovery: core.RecoveryRepeat}}
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
	})
	other.of = b
	other.behind(u)
	b.advance(time.Minute)
	other.work()
	if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) || len(u.sent()) != 1 {
		t.Errorf("due %s, sent %d times", r.Due, len(u.sent()))
	}
}

// In the end a person has it, and is told so in the history; whoever asked to be called is called then, and not before.
func TestRecoveryComesToNothing(t *testing.T) {
	h := newHook(t)
	first := calling(t, h)
	seen := &upstream{answer: breaks}
	b := callingAs(t, h, first, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}, Recovery: core.RecoveryRepeat, RecoverFor: 10 * time.Minute}}
	})
	b.of = first
	b.behind(seen)
	i := b.issue("/orders")
	res := b.do("POST", i.URI, "apples", "Callback-URL: "+h.URL)
	p := wantProblem(t, res, 502, "outcome-unknown")
	if p["retry"] != "same" {
		t.Errorf("retry: %v", p["retry"])
	}
	b.pass(9*time.Minute, time.Second)
	if n := len(seen.sent()); n < 8 || n > 30 {
		t.Errorf("sent %d times in nine minutes", n)
	}
	for _, s := range seen.sent()[1:] {
		if d := cmp.Diff(seen.sent()[0], s, cmp.AllowUnexported(sending{})); d != "" {
			t.Fatalf("a repeat differs (-first +repeat):\n%s", d)
		}
	}
	if h.got() != 0 {
		t.Errorf("called %d times before the end", h.got())
	}
	b.pass(2*time.Minute, time.Second)
	n := len(seen.sent())
	b.pass(48*time.Hour, time.Hour)
	r := b.wantState(i.ID, store.Unknown)
	last := r.History[len(r.History)-1]
	if !r.Due.Equal(store.Person) || len(seen.sent()) != n || !strings.Contains(last.Why, "left to a person") || len(r.History) > 6 {
		t.Errorf("due %s, sent %d times more; %v", r.Due, len(seen.sent())-n, r.History)
	}
	if h.got() != 1 || h.events[0]["type"] != "poe.outcome.unknown" {
		t.Errorf("called %d times: %v", h.got(), h.events)
	}
	if n := counter(t, b, "poe_recoveries_total", "repeat/person"); n != 1 {
		t.Errorf("poe_recoveries_total counts %v", n)
	}
}

// What recovers does not hide what was accepted, nor the other way round, however many there are.
func TestRecoveryStarvesNobody(t *testing.T) {
	b, u := recovering(t, core.Route{Recovery: core.RecoveryRepeat})
	u.says(breaks)
	for range 1500 {
		b.do("POST", b.issue("/orders").URI, "apples")
	}
	b.advance(2 * time.Second)
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "pears", later))
	u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		if s.body == "pears" {
			return answers(201, "")(n, s, rec)
		}
		return breaks(n, s, rec)
	})
	b.work()
	b.work()
	b.wantState(i.ID, store.Done)
}

// While nobody executes what has no client the action waits, and is recovered as soon as somebody does.
func TestRecoveryWaitsForAnExecutor(t *testing.T) {
	b, u := newBench(t, one(core.Route{Recovery: core.RecoveryRepeat})), &upstream{answer: breaks}
	b.mount(u)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	b.pass(time.Minute, time.Second)
	if b.wantState(i.ID, store.Unknown); len(u.sent()) != 1 {
		t.Errorf("sent %d times", len(u.sent()))
	}
	u.says(nil)
	b.gate.Defer(u)
	b.pass(2*time.Minute, time.Second)
	b.wantState(i.ID, store.Done)
}
