package core_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// A program that knows what became of an action is asked, until it does. Nothing is sent to anybody.
func TestRecoverFunction(t *testing.T) {
	large := strings.Repeat("x", 1001)
	for name, tc := range map[string]struct {
		found   core.Resolution
		accepts bool
		state   store.State
		status  int
		outcome string
	}{
		"done":               {core.Resolution{State: core.WasDone, Status: 201, Header: http.Header{"Location": {"/orders/7"}, "Set-Cookie": {"a=b"}}, Body: []byte("made")}, false, store.Done, 201, "made"},
		"done, and no more":  {core.Resolution{State: core.WasDone}, false, store.Done, 200, ""},
		"failed":             {core.Resolution{State: core.WasDone, Status: 500, Body: []byte("no")}, false, store.Done, 500, "no"},
		"large":              {core.Resolution{State: core.WasDone, Body: []byte(large)}, false, store.Done, 200, large},
		"not done":           {core.Resolution{State: core.WasNotDone}, false, store.Unused, 0, ""},
		"accepted, done":     {core.Resolution{State: core.WasDone, Body: []byte("made")}, true, store.Done, 200, "made"},
		"accepted, not done": {core.Resolution{State: core.WasNotDone}, true, store.Burned, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []core.Unresolved
			say := func(context.Context, core.Unresolved) (core.Resolution, error) { return core.Resolution{}, nil }
			b, u := recovering(t, core.Route{Recover: func(ctx context.Context, a core.Unresolved) (core.Resolution, error) {
				asked = append(asked, a)
				if id, ok := core.ActionID(ctx); !ok || id.String() != a.ID {
					t.Errorf("asked about %s under the id %s", a.ID, id)
				}
				return say(ctx, a)
			}})
			u.says(breaks)
			i := b.issue("/orders?x=1")
			began := b.clock()
			if tc.accepts {
				b.do("POST", i.URI, "apples", later)
				b.work()
			} else {
				b.do("POST", i.URI, "apples")
			}
			for _, say = range []func(context.Context, core.Unresolved) (core.Resolution, error){
				say,
				func(context.Context, core.Unresolved) (core.Resolution, error) {
					return core.Resolution{State: core.WasDone}, errors.New("the database is away")
				},
				func(context.Context, core.Unresolved) (core.Resolution, error) { panic("no") },
				func(context.Context, core.Unresolved) (core.Resolution, error) {
					return core.Resolution{State: core.WasDone, Status: 99}, nil
				},
				func(ctx context.Context, _ core.Unresolved) (core.Resolution, error) {
					return core.Resolution{}, ctx.Err()
				},
			} {
				b.advance(10 * time.Minute)
				b.work()
				if r := b.wantState(i.ID, store.Unknown); r.Due.Equal(store.Person) {
					t.Fatalf("given up: %v", r.History)
				}
			}
			say = func(ctx context.Context, _ core.Unresolved) (core.Resolution, error) { return tc.found, ctx.Err() }
			b.advance(10 * time.Minute)
			b.work()
			r := b.wantState(i.ID, tc.state)
			if r.State == store.Done && r.Status != tc.status {
				t.Errorf("status %d", r.Status)
			}
			if tc.state == store.Done && tc.status < 300 {
				res := b.do("GET", i.URI, "")
				if got := text(t, res); got != tc.outcome || res.Header.Get("Set-Cookie") != "" || res.Header.Get("Location") != tc.found.Header.Get("Location") {
					t.Errorf("the outcome: %d %q %v", res.StatusCode, got, res.Header)
				}
			}
			if len(u.sent()) != 1 || len(asked) != 6 {
				t.Fatalf("sent %d times, asked %d times", len(u.sent()), len(asked))
			}
			if d := cmp.Diff(core.Unresolved{ID: i.ID, Method: "POST", Target: "/orders?x=1", Attempt: 1, Claimed: began, Since: began}, asked[5]); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if strings.Contains(text(t, b.do("GET", i.URI, "")), "database") {
				t.Error("an error of the program got out")
			}
			if n := counter(t, b, "poe_recoveries_total", "function/again"); n != 5 {
				t.Errorf("poe_recoveries_total counts %v", n)
			}
		})
	}
}

// What cannot work together is said at once.
func TestRecoveryMistakes(t *testing.T) {
	function := func(context.Context, core.Unresolved) (core.Resolution, error) { return core.Resolution{}, nil }
	for want, r := range map[string]core.Route{
		"a function recovers":     {Recover: function, Recovery: core.RecoveryRepeat},
		"no such recovery":        {Recovery: core.RecoveryCompensate + 1},
		"one needs the other":     {Recovery: core.RecoveryProbe},
		`probe "/x/{id}"`:         {Probe: "/x/{id}"},
		"{id} is missing":         {Recovery: core.RecoveryProbe, Probe: "/x"},
		"only {id} is a variable": {Recovery: core.RecoveryProbe, Probe: "/x/{id}/{name}"},
		"with one slash":          {Recovery: core.RecoveryProbe, Probe: "//x/{id}"},
		"write /orders/by-action": {Recovery: core.RecoveryCompensate, Compensate: "http://x/{id}"},
		"probes fence":            {ProbeFences: true},
		"compensate \"\"":         {Recovery: core.RecoveryCompensate},
		"compensated is set":      {Compensated: core.CompensatedUnused},
		"no such state":           {Recovery: core.RecoveryCompensate, Compensate: "/x", Compensated: 7},
		"under a millisecond":     {RecoverFor: 5},
	} {
		r.Match = "POST /orders"
		var cfg core.Config
		newBench(t, func(c *core.Config) { cfg = *c })
		cfg.Routes, cfg.Metrics = []core.Route{r}, nil
		_, err := core.New(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// What a function calls not done has had no answer: none stands in its state or its history.
func TestNotDoneHasNoStatus(t *testing.T) {
	b, u := recovering(t, core.Route{Recover: func(context.Context, core.Unresolved) (core.Resolution, error) {
		return core.Resolution{State: core.WasNotDone}, nil
	}})
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	b.pass(time.Minute, time.Second)
	r := b.wantState(i.ID, store.Unused)
	if last := r.History[len(r.History)-1]; r.Status != 0 || last.Status != 0 {
		t.Errorf("%d: %+v", r.Status, last)
	}
}

// Who was promised an execution that surely did not happen may ask for it anew, and is told why.
func TestPromisedAndNotDone(t *testing.T) {
	taken := compensating
	taken.Compensated = core.CompensatedUnused
	for name, route := range map[string]core.Route{
		"a fence": {Recovery: core.RecoveryProbe, Probe: "/orders/{id}", ProbeFences: true}, "taken back": taken,
		"a function": {Recover: func(context.Context, core.Unresolved) (core.Resolution, error) {
			return core.Resolution{State: core.WasNotDone}, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, route)
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				switch {
				case s.method == "GET":
					return answers(404, "")(n, s, rec)
				case strings.Contains(s.target, "compensate"):
					return answers(204, "")(n, s, rec)
				}
				return breaks(n, s, rec)
			})
			i := b.issue("/orders")
			b.do("POST", i.URI, "apples", later)
			b.pass(time.Minute, time.Second)
			b.wantState(i.ID, store.Burned)
			if p := wantProblem(t, b.do("POST", i.URI, "apples"), 410, "burned"); p["retry"] != "new" || !strings.HasPrefix(fmt.Sprint(p["detail"]), "nobody cancelled it: ") {
				t.Errorf("retry %v, %v", p["retry"], p["detail"])
			}
		})
	}
}

// Route.Recover and Gate.Unknown are told the same number of an attempt: whoever compares the two must not take them for different ones.
func TestNumberOfTheAttempt(t *testing.T) {
	var told int
	b, u := recovering(t, core.Route{Recover: func(_ context.Context, a core.Unresolved) (core.Resolution, error) {
		told = a.Attempt
		return core.Resolution{}, nil
	}})
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	b.decide(decision(i.ID, core.AsUnused))
	b.do("POST", i.URI, "apples")
	b.pass(5*time.Second, time.Second)
	page, err := b.gate.Actions(t.Context(), core.Filter{State: "unknown"})
	if err != nil || len(page.Actions) != 1 {
		t.Fatal(err, page)
	}
	if listed := page.Actions[0].Attempts; told != 2 || listed != 2 {
		t.Errorf("Recover is told attempt %d, and %d are listed", told, listed)
	}
}
