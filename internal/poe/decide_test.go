package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// made is the answer that a person says there was.
const made = "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nLocation: /orders/7\r\nSet-Cookie: a=b\r\nDate: then\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nmade by hand"

// decision is a good one.
func decision(id string, as core.Verdict) core.Decision {
	d := core.Decision{ID: id, As: as, Reason: "I have looked", By: "ada"}
	if as == core.AsDone {
		d.Response = strings.NewReader(made)
	}
	return d
}

// decide makes one that must be taken.
func (b *bench) decide(d core.Decision) core.Action {
	b.t.Helper()
	a, err := b.gate.Decide(b.t.Context(), d)
	if err != nil {
		b.t.Fatalf("deciding as %s: %v", d.As, err)
	}
	return a
}

// unknownIssue is an action of which nobody knows, since a gateway has answered.
func (b *bench) unknownIssue(fields ...string) issue {
	b.t.Helper()
	app := b.app
	b.app = answering(502)
	i := b.issue("/orders?x=1")
	i.findOutcome(b.t, b.do("POST", i.URI, "apples", fields...))
	b.app = app
	return i
}

type event struct {
	From, To, Who, Why string
	Status             int
}

type receipt struct {
	State    string
	Attempts int
	History  []event
	Response *struct{ Status int }
}

func (b *bench) receipt(outcome string, fields ...string) receipt {
	b.t.Helper()
	var doc receipt
	res := b.do("GET", outcome+"/receipt", "", fields...)
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || res.StatusCode != 200 {
		b.t.Fatalf("the receipt: %d, %v", res.StatusCode, err)
	}
	return doc
}

// another is a second process on the same ledger that takes the first one for dead.
func (b *bench) another() *bench {
	b.t.Helper()
	return newBench(b.t, func(c *core.Config) { c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys })
}

// decidedOutcome is the address of an action's outcome, whose ref needs no record.
func (b *bench) decidedOutcome(id string) string {
	b.t.Helper()
	parsed, err := store.ParseID(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return core.OutcomePath(b.gate, parsed)
}

// Of decisions that were made about the same thing, and the late answer to it, exactly one is first, and the others are told.
func TestDecisionsRace(t *testing.T) {
	for round := range 50 {
		b := newBench(t, nil)
		entered, leave := b.stopped()
		i := b.issue("/orders")
		var all sync.WaitGroup
		all.Go(func() { b.do("POST", i.URI, "apples") })
		<-entered
		others := []*bench{b.another(), b.another()}
		seen, err := b.gate.Action(t.Context(), i.ID)
		if err != nil || seen.State != "unknown" || !seen.RunningHere {
			t.Fatalf("%v, %v", seen, err)
		}
		var mu sync.Mutex
		var won []core.Verdict
		answer := sync.OnceFunc(func() { close(leave) })
		var start sync.WaitGroup
		start.Add(1)
		for n, as := range []core.Verdict{core.AsDone, core.AsFailed, core.AsUnused, core.AsBurned, core.AsDone, core.AsBurned} {
			all.Go(func() {
				d := decision(i.ID, as)
				d.Seen = seen.Version
				start.Wait()
				_, err := others[n%2].gate.Decide(t.Context(), d)
				answer()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, as)
				} else if !errors.As(err, new(*core.ConflictError)) {
					t.Errorf("as %s: %v", as, err)
				}
			})
		}
		start.Done()
		if round%2 == 0 {
			answer()
		}
		all.Wait()
		r := b.lookup(i.ID)
		decided := 0
		for _, e := range r.History {
			if e.Who == "operator:ada" {
				decided++
			}
		}
		if len(won) > 1 || decided != len(won) {
			t.Fatalf("%d decisions were taken, and %d are written: %v", len(won), decided, r.History)
		}
		if len(won) == 0 && (r.State != store.Done || r.Status != 201) {
			t.Fatalf("only the answer came, and it is %s", r.State)
		}
		if len(won) == 1 && won[0] == core.AsBurned && r.State != store.Burned || r.State == store.Unknown || r.State == store.Unused {
			t.Fatalf("%v was taken, and it is %s: %v", won, r.State, r.History)
		}
	}
}

// After a decision everything is as if it had come by itself, on this node and on others.
func TestDecided(t *testing.T) {
	b := newBench(t, nil)
	b2 := b.another()
	t.Run("done", func(t *testing.T) {
		i := b.unknownIssue("Idempotency-Key: k1")
		b2.do("GET", i.URI, "")
		a := b.decide(decision(i.ID, core.AsDone))
		if a.State != "done" || a.Response.Status != 201 || a.WaitsFor != "" || a.Outcome != i.outcome {
			t.Errorf("%+v", a)
		}
		for name, at := range map[string]*bench{"here": b, "on another node": b2} {
			res := at.do("GET", i.outcome, "")
			if got := text(t, res); res.StatusCode != 200 || got != "made by hand" || res.Header.Get("Location") != "/orders/7" || res.Header.Get("Content-Type") != "text/plain" {
				t.Errorf("%s: %d %q %v", name, res.StatusCode, got, res.Header)
			}
			for _, field := range []string{"Set-Cookie", "Date", "X-Hop", "Connection"} {
				if v := res.Header.Get(field); v != "" {
					t.Errorf("%s: %s is %q", name, field, v)
				}
			}
			res = at.do("POST", i.URI, "apples")
			if p := wantProblem(t, res, 405, "consumed"); p["outcome_status"] != 201.0 || p["request_matches"] != true || p["outcome"] != i.outcome {
				t.Errorf("%s: %v", name, p)
			}
			if res := at.do("POST", "/orders?x=1", "apples", "Idempotency-Key: k1"); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("%s, by the key: %d %v", name, res.StatusCode, res.Header)
			}
			doc := at.receipt(i.outcome)
			want := event{"unknown", "done", "operator:ada", "I have looked", 201}
			if doc.State != "done" || len(doc.History) != 2 || doc.History[1] != want || doc.Attempts != 1 {
				t.Errorf("%s: %+v", name, doc)
			}
		}
		if a.RequestDigest == "" || a.Request.Kept {
			t.Errorf("%+v", a)
		}
	})
	t.Run("done, with a large answer", func(t *testing.T) {
		i := b.unknownIssue()
		d := decision(i.ID, core.AsDone)
		large := strings.Repeat("x", store.InlineLimit+1)
		d.Response = strings.NewReader("HTTP/2 200 \r\ncontent-type: text/plain\r\n\r\n" + large)
		b.decide(d)
		if r := b.lookup(i.ID); r.Response.Where != store.Beside {
			t.Errorf("it lies %s", r.Response.Where)
		}
		if got := text(t, b2.do("GET", i.outcome, "")); got != large {
			t.Errorf("%d bytes", len(got))
		}
	})
	t.Run("failed", func(t *testing.T) {
		for code, want := range map[int]int{0: 500, 409: 409, 599: 599} {
			i := b.unknownIssue()
			d := decision(i.ID, core.AsFailed)
			d.Status = code
			b.decide(d)
			res := b.do("GET", i.outcome, "")
			p := problemOf(t, res)
			if res.StatusCode != want || p["type"] != "about:blank" || p["status"] != float64(want) || p["receipt"] != i.outcome+"/receipt" || p["title"] == "" || strings.Contains(fmt.Sprint(p), "looked") {
				t.Errorf("%d: %d %v", code, res.StatusCode, p)
			}
			wantProblem(t, b.do("POST", i.URI, "apples"), 405, "consumed")
		}
	})
	t.Run("unused", func(t *testing.T) {
		var keys []string
		i := b.unknownIssue("Idempotency-Key: k2")
		if a := b.decide(decision(i.ID, core.AsUnused)); a.State != "unused" || a.Attempts != 1 || a.WaitsFor != "" {
			t.Errorf("%+v", a)
		}
		before := b2.executed.Load()
		b2.app = func(w http.ResponseWriter, r *http.Request) {
			keys = append(keys, r.Header.Get("Poe-Id")+" "+r.Header.Get("Idempotency-Key"))
			w.WriteHeader(201)
		}
		res := b2.do("POST", i.URI, "apples") // another request would go with another key
		if res.StatusCode != 201 || b2.executed.Load()-before != 1 {
			t.Errorf("%d, executed %d times", res.StatusCode, b2.executed.Load()-before)
		}
		wantProblem(t, b.do("POST", i.URI, "pears"), 405, "consumed")
		if want := i.ID + ` "` + i.ID + `.1"`; len(keys) != 1 || keys[0] != want {
			t.Errorf("the application saw %v, want the key of the first attempt, %s", keys, want)
		}
		if doc := b.receipt(i.outcome); doc.Attempts != 2 || len(doc.History) != 2 {
			t.Errorf("%+v", doc)
		}
	})
	t.Run("unused, and not used", func(t *testing.T) {
		b := newBench(t, nil)
		i := b.unknownIssue()
		b.decide(decision(i.ID, core.AsUnused))
		b.advance(2 * time.Hour)
		if p := wantProblem(t, b.do("POST", i.URI, "x"), 410, "expired"); p["attempts"] != 1.0 { // and not never-used
			t.Errorf("%v", p)
		}
	})
	t.Run("burned", func(t *testing.T) {
		i := b.unknownIssue()
		if a := b.decide(decision(i.ID, core.AsBurned)); a.State != "burned" || a.Outcome != "" {
			t.Errorf("%+v", a)
		}
		for _, at := range []*bench{b, b2} {
			if p := wantProblem(t, at.do("POST", i.URI, "apples"), 410, "burned"); p["retry"] != "never" || !strings.Contains(fmt.Sprint(p["detail"]), "nobody knows") {
				t.Errorf("it may have been executed: %v", p)
			}
		}
		b.app = answering(422)
		i = b.issue("/orders")
		b.do("POST", i.URI, "apples")
		b.decide(decision(i.ID, core.AsBurned))
		if p := wantProblem(t, b2.do("POST", i.URI, "apples"), 410, "burned"); p["retry"] != "new" || p["detail"] != nil {
			t.Errorf("it was not executed: %v", p)
		}
	})
}

// What an action guards follows from the decision as from an answer.
func TestDecidedGuards(t *testing.T) {
	for _, tc := range []struct {
		as     core.Verdict
		status int
		code   int // what another request with the same business key gets
	}{
		{core.AsDone, 0, 409}, {core.AsFailed, 0, 409}, {core.AsFailed, 422, 201}, {core.AsUnused, 0, 201}, {core.AsBurned, 0, 409},
	} {
		t.Run(fmt.Sprint(tc.as, tc.status), func(t *testing.T) {
			b := newBench(t, func(c *core.Config) {
				c.Routes = []core.Route{{Name: "orders", Match: "POST,DELETE /orders{rest:.*}", Unique: []string{"header:X-Item"}, FreeOn: []string{"DELETE"}}}
			})
			b.app = answering(502)
			i := b.issue("/orders")
			b.do("POST", i.URI, "apples", "X-Item: cup")
			b.app = nil
			wantProblem(t, b.do("POST", b.mint("/orders"), "pears", "X-Item: cup"), 409, "outcome-unknown")
			d := decision(i.ID, tc.as)
			d.Status = tc.status
			b.decide(d)
			if res := b.do("POST", b.mint("/orders"), "pears", "X-Item: cup"); res.StatusCode != tc.code {
				t.Errorf("%d %s", res.StatusCode, text(t, res))
			}
			if tc.as != core.AsDone {
				return
			}
			b.app = answering(204)
			b.do("DELETE", "/orders/7", "", "X-Item: other") // what the answer says was created
			b.app = nil
			if res := b.do("POST", b.mint("/orders"), "pears", "X-Item: cup"); res.StatusCode != 201 {
				t.Errorf("after the DELETE: %d", res.StatusCode)
			}
		})
	}
}

// A DELETE that a person calls done gives back what the creation guarded.
func TestDecidedDelete(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "orders", Match: "POST /orders", Unique: []string{"header:X-Item"}, FreeOn: []string{"DELETE"}}, {Name: "order", Match: "DELETE /orders/{id}"},
		}
	})
	post := func() int { return b.do("POST", b.mint("/orders"), "x", "X-Item: cup").StatusCode }
	if post() != 201 || post() != 409 {
		t.Fatal("the key guards nothing")
	}
	b.advance(time.Second) // what ends in the millisecond of the DELETE may have come after it
	b.app = answering(502)
	i := b.issueOf("DELETE", "/orders/1")
	b.do("DELETE", i.URI, "")
	b.app = nil
	if post() != 409 {
		t.Error("free while nobody knows")
	}
	b.decide(decision(i.ID, core.AsDone))
	if code := post(); code != 201 {
		t.Errorf("after the DELETE: %d", code)
	}
}

// Whoever asked to be called back is told of the decision.
func TestDecidedCallback(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	for as, want := range map[core.Verdict]string{core.AsDone: "done", core.AsFailed: "done", core.AsBurned: "burned", core.AsUnused: ""} {
		h.events = nil
		i := b.unknownIssue("Callback-URL: " + h.URL)
		b.work()
		b.decide(decision(i.ID, as))
		b.work()
		b.work()
		var got []string
		for _, e := range h.events {
			got = append(got, strings.TrimPrefix(fmt.Sprint(e["type"]), "poe.outcome."))
		}
		if all := strings.TrimSpace("unknown " + want); strings.Join(got, " ") != all {
			t.Errorf("as %s: told of %v, want %s", as, got, all)
		}
	}
}

// What was accepted is not unused again, since a client was told that it will be done: it is accepted again, and a worker does it; a person may
// burn it while it waits.
func TestDecidedAsync(t *testing.T) {
	b := deferring(t, nil)
	b.app = answering(502)
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later))
	b.work()
	if r := b.lookup(i.ID); r.State != store.Unknown {
		t.Fatalf("it is %s", r.State)
	}
	b.advance(3 * time.Hour) // longer than it is tried by itself
	if a := b.decide(decision(i.ID, core.AsUnused)); a.State != "accepted" || !a.Request.Kept || a.Due == nil {
		t.Errorf("%+v", a)
	}
	var key, body string
	b.app = func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		key, body = r.Header.Get("Idempotency-Key"), string(got)
		w.WriteHeader(201)
	}
	b.work()
	if res := b.do("GET", at, ""); res.StatusCode != 200 || b.executed.Load() != 2 || body != "apples" || key != `"`+i.ID+`.1"` {
		t.Errorf("%d, executed %d times, with %q and key %s", res.StatusCode, b.executed.Load(), body, key)
	}

	i = b.issue("/orders")
	at = monitor(t, b.do("POST", i.URI, "apples", later))
	b.decide(decision(i.ID, core.AsBurned))
	b.work()
	if p := wantProblem(t, b.do("GET", at, ""), 410, "burned"); p["retry"] != "new" || b.executed.Load() != 2 {
		t.Errorf("%v, executed %d times", p, b.executed.Load())
	}
	if r := b.lookup(i.ID); r.Request.Where != store.Nowhere || len(r.History) != 1 || r.History[0].Who != "operator:ada" {
		t.Errorf("%v %v", r.Request, r.History)
	}
}

// A callback that nobody wants any more can be burned; nothing else can be decided about one.
func TestDecideAboutACallback(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	h.answer = 500
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL+"/secret")
	page, err := b.gate.Actions(t.Context(), core.Filter{State: "accepted"})
	if err != nil || len(page.Actions) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	l := page.Actions[0]
	if l.Kind != "callback" || "http://"+l.Target != h.URL {
		t.Errorf("%+v", l)
	}
	for _, as := range []core.Verdict{core.AsDone, core.AsFailed, core.AsUnused} {
		if _, err := b.gate.Decide(t.Context(), decision(l.ID, as)); !errors.As(err, new(*core.ConflictError)) {
			t.Errorf("as %s: %v", as, err)
		}
	}
	if a := b.decide(decision(l.ID, core.AsBurned)); a.State != "burned" || a.Parent == "" || "http://"+a.Target != h.URL || a.Outcome != "" {
		t.Errorf("%+v", a)
	}
	b.work()
	if h.got() != 0 {
		t.Error("it was sent")
	}
}

func TestDecideRefuses(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.MaxResponse = 100 })
	open := b.unknownIssue()
	doneID := b.doneIssue().ID
	burned := b.issue("/orders")
	b.do("DELETE", burned.URI, "")
	b.app = answering(422)
	tried := b.issue("/orders")
	b.do("POST", tried.URI, "x")
	for name, tc := range map[string]struct {
		id     string
		change func(*core.Decision)
		err    error
		says   string
	}{
		"no verdict":             {open.ID, func(d *core.Decision) { d.As = "" }, core.ErrBadDecision, "none of done, failed, unused, burned"},
		"no such verdict":        {open.ID, func(d *core.Decision) { d.As = "running" }, core.ErrBadDecision, `"running" is none`},
		"no reason":              {open.ID, func(d *core.Decision) { d.Reason = "" }, core.ErrBadDecision, "a reason is missing"},
		"a blank reason":         {open.ID, func(d *core.Decision) { d.Reason = " \t\n " }, core.ErrBadDecision, "a reason is missing"},
		"a long reason":          {open.ID, func(d *core.Decision) { d.Reason = strings.Repeat("x", 1001) }, core.ErrBadDecision, "longer than 1000"},
		"two lines":              {open.ID, func(d *core.Decision) { d.Reason = "a\nb" }, core.ErrBadDecision, "not one line"},
		"not text":               {open.ID, func(d *core.Decision) { d.Reason = "a\xff" }, core.ErrBadDecision, "not one line"},
		"a name that is none":    {open.ID, func(d *core.Decision) { d.By = "a b" }, core.ErrBadDecision, `"a b" is not a name`},
		"done without response":  {open.ID, func(d *core.Decision) { d.Response = nil }, core.ErrBadDecision, "the response is missing"},
		"a response that is not": {open.ID, func(d *core.Decision) { d.Response = strings.NewReader("hello") }, core.ErrBadDecision, "malformed"},
		"a large response": {open.ID, func(d *core.Decision) {
			d.Response = strings.NewReader("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 101))
		}, core.ErrTooLarge, "101 bytes, and 100"},
		"a response for unused": {open.ID, func(d *core.Decision) { d.As = core.AsUnused }, core.ErrBadDecision, "a response is for"},
		"a status for done":     {open.ID, func(d *core.Decision) { d.Status = 500 }, core.ErrBadDecision, "a status is for"},
		"a failure of 200":      {open.ID, func(d *core.Decision) { d.As, d.Response, d.Status = core.AsFailed, nil, 200 }, core.ErrBadDecision, "200 is no failure"},
		"no id":                 {"", nil, core.ErrNoAction, ""},
		"no such id":            {"0193e1f0-0000-7000-8000-000000000000", nil, core.ErrNoAction, ""},
		"nothing is known yet":  {b.issue("/orders").ID, func(d *core.Decision) { d.As, d.Response = core.AsBurned, nil }, core.ErrNoAction, ""},
		"done already":          {doneID, nil, nil, "only what is unknown can be decided: it is done, with status 201 Created, since 2026-03-01T12:00:00Z"},
		"burning what is done":  {doneID, func(d *core.Decision) { d.As, d.Response = core.AsBurned, nil }, nil, "can be burned: it is done"},
		"burned already":        {burned.ID, func(d *core.Decision) { d.As, d.Response = core.AsBurned, nil }, nil, "can be burned: it is burned"},
		"unused already":        {tried.ID, func(d *core.Decision) { d.As, d.Response = core.AsUnused, nil }, nil, "it is unused"},
		"changed since":         {open.ID, func(d *core.Decision) { d.Seen = "0011223344556677" }, nil, "it has changed since you looked: it is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decision(tc.id, core.AsDone)
			if tc.change != nil {
				tc.change(&d)
			}
			_, err := b.gate.Decide(t.Context(), d)
			if tc.err != nil && !errors.Is(err, tc.err) || tc.err == nil && !errors.As(err, new(*core.ConflictError)) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	if r := b.lookup(open.ID); r.State != store.Unknown || len(r.History) != 1 {
		t.Errorf("something was written: %s %v", r.State, r.History)
	}
}

// Where the ledger does not say whether a decision is written, nobody claims to know; the same decision again is told what stands.
func TestDecideInTrouble(t *testing.T) {
	spy := &spyStore{}
	b := spied(t, spy)
	i := b.unknownIssue()
	spy.advance = func(store.Record) error { return errDisk }
	if _, err := b.gate.Decide(t.Context(), decision(i.ID, core.AsDone)); !errors.Is(err, core.ErrUndecided) {
		t.Errorf("got %v", err)
	}
	spy.advance = func(store.Record) error { return store.ErrUnavailable }
	if _, err := b.gate.Decide(t.Context(), decision(i.ID, core.AsDone)); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, core.ErrUndecided) {
		t.Errorf("got %v", err)
	}
	fail := 1
	spy.advance = func(store.Record) error {
		if fail--; fail >= 0 {
			return errDisk
		}
		return nil
	}
	if _, err := b.gate.Decide(t.Context(), decision(i.ID, core.AsDone)); err != nil {
		t.Errorf("after one failure: %v", err)
	}
	spy.advance = nil

	spy.put = func() error { return errDisk }
	i = b.unknownIssue()
	d := decision(i.ID, core.AsDone)
	d.Response = strings.NewReader("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", store.InlineLimit+1))
	if _, err := b.gate.Decide(t.Context(), d); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an answer that cannot be stored: %v", err)
	}
	if r := b.lookup(i.ID); r.State != store.Unknown {
		t.Errorf("it is %s", r.State)
	}
	spy.lookup = func() error { return store.ErrUnavailable }
	if _, err := b.gate.Decide(t.Context(), decision(i.ID, core.AsUnused)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// What takes an action back is decided like what was accepted: done, or to be sent again by a worker, or never.
func TestDecideAboutACompensation(t *testing.T) {
	for as, want := range map[core.Verdict]string{core.AsDone: "done", core.AsFailed: "done", core.AsUnused: "accepted", core.AsBurned: "burned"} {
		b := newBench(t, nil)
		parent := b.unknownIssue()
		r := b.lookup(parent.ID)
		child := store.Record{
			Parent: r.ID, Kind: store.Compensation, Way: store.Accepted, State: store.Queued, Term: store.Term{1}, Door: "compensation", Route: "default", Method: "POST", Target: "/undo",
			Claimed: b.clock(), Due: b.clock(), Request: store.Blob{Where: store.Inline, Content: []byte("{}"), Size: 2},
		}
		var err error
		if child.ID, err = store.NewID(b.clock(), 31, strings.NewReader("01234567")); err != nil {
			t.Fatal(err)
		}
		was := r.Term
		r.Term = store.Term{2}
		if _, err := storetest.Advance(t.Context(), b.store, was, r, store.Also{Spawn: []store.Record{child}}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []store.State{store.Sent, store.Unknown} {
			was := child.Term
			child.Term[0]++
			child.State, child.Due = s, store.Person
			if _, err := storetest.Advance(t.Context(), b.store, was, child, store.Also{}); err != nil {
				t.Fatal(err)
			}
		}
		a := b.decide(decision(child.ID.String(), as))
		if a.State != want || a.Kind != "compensation" || a.Parent != parent.ID || a.Outcome != "" {
			t.Errorf("as %s: %+v", as, a)
		}
	}
}
