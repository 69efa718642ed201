package core_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

var compensating = core.Route{Recovery: core.RecoveryCompensate, Compensate: "/orders/compensate/{id}"}

// onCompensation answers what takes back with that, and breaks off everything else.
func onCompensation(answer func(int, sending, *replay.Recorder) (replay.Proof, error)) func(int, sending, *replay.Recorder) (replay.Proof, error) {
	return func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		if strings.HasPrefix(s.target, "/orders/compensate/") {
			return answer(n, s, rec)
		}
		return breaks(n, s, rec)
	}
}

// What is unknown is taken back by one request, an action of its own, and is then what the route says.
func TestCompensation(t *testing.T) {
	for name, tc := range map[string]struct {
		as      core.Compensated
		accepts bool
		state   store.State
	}{
		"refused": {core.CompensatedRefused, false, store.Done}, "unused": {core.CompensatedUnused, false, store.Unused},
		"accepted, refused": {core.CompensatedRefused, true, store.Done}, "accepted, unused": {core.CompensatedUnused, true, store.Burned},
	} {
		t.Run(name, func(t *testing.T) {
			route := compensating
			route.Compensated = tc.as
			b, u := recovering(t, route)
			u.says(onCompensation(answers(204, "")))
			i := b.issue("/orders?x=1", alice)
			claimed := b.clock()
			if tc.accepts {
				b.do("POST", i.URI, "apples", alice, later)
				b.work()
			} else {
				b.do("POST", i.URI, "apples", alice)
			}
			parent := b.wantState(i.ID, store.Unknown)
			child := b.wantState(parent.Undo.String(), store.Queued) // in the same write
			if child.Parent != parent.ID || child.Kind != store.Compensation || child.Principal != parent.Principal {
				t.Errorf("%v", child)
			}
			wantProblem(t, b.do("POST", i.URI, "apples", alice), 409, "outcome-unknown")
			b.work()
			child = b.wantState(parent.Undo.String(), store.Done)
			r := b.wantState(i.ID, tc.state)
			if last := r.History[len(r.History)-1]; last.Why != "taken back: answered 204 No Content" || last.Status != 204 {
				t.Errorf("%v", r.History)
			}
			sent := u.sent()
			if len(sent) != 2 {
				t.Fatalf("%v", sent)
			}
			body := sent[1].body
			sent[1].body = ""
			if sent[1] != (sending{"POST", "/orders/compensate/" + i.ID, "example.com", child.ID.String(), `"` + child.ID.String() + `.1"`, "", ""}) {
				t.Errorf("%v", sent[1])
			}
			var doc map[string]any
			if err := json.Unmarshal([]byte(body), &doc); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(map[string]any{"id": i.ID, "method": "POST", "target": "/orders?x=1", "claimed_at": claimed.Format(time.RFC3339)}, doc); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			b.pass(time.Hour, time.Minute)
			if n := len(u.sent()); n != 2 {
				t.Errorf("sent %d times", n)
			}
			if res := b.do("GET", i.URI, "", alice); tc.state != store.Done && strings.Contains(res.Header.Get("POE-State"), ";status=") {
				t.Errorf("the compensation's answer is told as the action's: %s", res.Header.Get("POE-State"))
			}
			switch tc.state {
			case store.Done:
				wantProblem(t, b.do("POST", i.URI, "apples", alice), 405, "consumed")
				p := problemOf(t, b.do("GET", i.URI, "", alice))
				if p["type"] != "/poe/problems/rolled-back" || p["retry"] != "new" || p["status"] != 409.0 {
					t.Errorf("%v", p)
				}
			case store.Unused:
				u.says(nil)
				if res := b.do("POST", i.URI, "apples", alice); res.StatusCode != 201 {
					t.Errorf("the next request: %d", res.StatusCode)
				}
				if last := u.sent()[2]; last.key != `"`+i.ID+`.2"` {
					t.Errorf("what was taken back is sent again: %v", last)
				}
			default:
				p := wantProblem(t, b.do("POST", i.URI, "apples", alice), 410, "burned")
				if detail, _ := p["detail"].(string); !strings.Contains(detail, "it was taken back") || p["retry"] != "new" {
					t.Errorf("that something was executed is not told: %v", p)
				}
			}
			if n := counter(t, b, "poe_recoveries_total", "compensate/"+map[store.State]string{store.Done: "done", store.Unused: "unused", store.Burned: "burned"}[tc.state]); n != 1 {
				t.Errorf("poe_recoveries_total counts %v", n)
			}
		})
	}
}

// A compensation is sent again only where it surely was not done; whatever else becomes of it is for a person.
func TestCompensationThatFails(t *testing.T) {
	route := compensating
	route.RecoverFor = 10 * time.Minute
	for name, tc := range map[string]struct {
		answer func(int, sending, *replay.Recorder) (replay.Proof, error)
		sent   int // compensations; 0: more than one
		child  store.State
	}{
		"a failure": {answers(500, ""), 1, store.Done}, "a refusal": {answers(422, ""), 1, store.Done}, "not there": {answers(404, ""), 1, store.Done},
		"a redirect": {answers(303, "", "Location: /x"), 1, store.Done}, "broken off": {breaks, 1, store.Unknown}, "a gateway's word": {answers(502, ""), 1, store.Unknown},
		"never sent": {refuses, 0, store.Burned}, "too many": {answers(429, ""), 0, store.Done}, "later": {answers(503, "", "Retry-After: 9"), 0, store.Burned},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, route)
			u.says(onCompensation(tc.answer))
			i := b.issue("/orders")
			b.do("POST", i.URI, "apples")
			b.pass(time.Hour, 10*time.Second)
			r := b.wantState(i.ID, store.Unknown)
			b.wantState(r.Undo.String(), tc.child)
			if n := len(u.sent()) - 1; tc.sent == 1 && n != 1 || tc.sent == 0 && n < 4 {
				t.Errorf("%d compensations", n)
			}
			if !r.Due.Equal(store.Person) || !strings.Contains(r.History[len(r.History)-1].Why, "left to a person: ") {
				t.Errorf("due %s: %v", r.Due, r.History)
			}
			if n := counter(t, b, "poe_recoveries_total", "compensate/person"); n != 1 {
				t.Errorf("poe_recoveries_total counts %v", n)
			}
			var first map[string]bool
			for _, s := range u.sent()[1:] {
				if first == nil {
					first = map[string]bool{s.id: true}
				}
				if !first[s.id] || s.id == i.ID {
					t.Errorf("another compensation: %v", s)
				}
			}
		})
	}
}

// Not done, and then done: the action moves.
func TestCompensationTriesAgain(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(onCompensation(refuses))
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	b.pass(30*time.Second, time.Second)
	b.wantState(i.ID, store.Unknown)
	u.says(onCompensation(answers(200, "")))
	b.pass(2*time.Minute, time.Second)
	b.wantState(i.ID, store.Done)
}

// A crash between the end of the compensation and the move of its parent loses nothing; nor does one before it is sent, or after.
func TestCompensationAfterACrash(t *testing.T) {
	t.Run("running, and found by the next process", func(t *testing.T) {
		b, u := recovering(t, compensating)
		i := b.issue("/orders")
		defer b.crashed(u, i.URI)()
		u.says(onCompensation(answers(204, "")))
		b2 := b.again(compensating, u)
		r := b2.wantState(i.ID, store.Unknown)
		b2.wantState(r.Undo.String(), store.Queued)
		b3 := b2.again(compensating, u)
		b3.work()
		b3.wantState(i.ID, store.Done)
		if len(u.sent()) != 2 {
			t.Errorf("%v", u.sent())
		}
	})
	t.Run("between child and parent", func(t *testing.T) {
		b, ledger := newTampered(t, one(compensating))
		u := &upstream{answer: onCompensation(answers(204, ""))}
		b.behind(u)
		i := b.issue("/orders")
		b.do("POST", i.URI, "apples")
		ledger.moving = func(r store.Record) error {
			if r.ID.String() == i.ID {
				return store.ErrUnavailable
			}
			return nil
		}
		b.work()
		r := b.wantState(i.ID, store.Unknown)
		b.wantState(r.Undo.String(), store.Done)
		ledger.moving = nil
		b2 := b.again(compensating, u)
		b2.pass(10*time.Second, time.Second)
		b2.wantState(i.ID, store.Done)
		if len(u.sent()) != 2 {
			t.Errorf("%v", u.sent())
		}
	})
	t.Run("while the compensation is sent", func(t *testing.T) {
		b, u := recovering(t, compensating)
		i := b.issue("/orders")
		entered, leave := make(chan struct{}), make(chan struct{})
		u.says(onCompensation(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
			close(entered)
			<-leave
			return answers(204, "")(n, s, rec)
		}))
		b.do("POST", i.URI, "apples")
		var all sync.WaitGroup
		all.Go(b.work)
		<-entered
		b2 := b.again(compensating, u)
		b2.pass(time.Minute, time.Second)
		if r := b2.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) || len(u.sent()) != 2 {
			t.Errorf("due %s, %v", r.Due, u.sent())
		}
		close(leave) // it was done after all
		all.Wait()
		b2.wantState(i.ID, store.Done)
	})
}

// How a compensation ends is what decides: an answer that comes late from the action itself changes nothing, and nobody stops the compensation.
func TestLateAnswerToWhatIsTakenBack(t *testing.T) {
	for _, status := range []int{201, 422} {
		b, u := recovering(t, compensating)
		i := b.issue("/orders")
		entered, leave := make(chan struct{}), make(chan struct{})
		u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
			close(entered)
			<-leave
			return answers(status, "late")(n, s, rec)
		})
		var all sync.WaitGroup
		all.Go(func() { b.do("POST", i.URI, "apples") })
		<-entered
		b2 := b.again(compensating, u)
		close(leave)
		all.Wait()
		r := b2.wantState(i.ID, store.Unknown)
		if last := r.History[len(r.History)-1]; last.Status != status || last.Why != "a late answer arrived" {
			t.Errorf("%v", r.History)
		}
		u.says(onCompensation(answers(204, "")))
		b2.pass(10*time.Second, time.Second)
		if r := b2.wantState(i.ID, store.Done); r.Status != 409 {
			t.Errorf("status %d", r.Status)
		}
	}
}

// The receipt leads to the compensation, which has an outcome of its own, and which its client cannot cancel.
func TestCompensationInTheReceipt(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(onCompensation(refuses))
	i := b.issue("/orders", alice)
	i.findOutcome(t, b.do("POST", i.URI, "apples", alice))
	var doc struct{ Compensation string }
	if err := json.NewDecoder(b.do("GET", i.outcome+"/receipt", "", alice).Body).Decode(&doc); err != nil || doc.Compensation == "" {
		t.Fatalf("%v, %v", doc, err)
	}
	if res := b.do("GET", doc.Compensation, "", alice); res.StatusCode != 202 {
		t.Errorf("%d", res.StatusCode)
	}
	wantProblem(t, b.do("GET", doc.Compensation, "", bob), 403, "other-principal")
	if res := b.do("DELETE", doc.Compensation, "", alice); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("cancelled: %d %v", res.StatusCode, res.Header)
	}
	u.says(onCompensation(answers(204, "")))
	b.pass(time.Minute, time.Second)
	b.wantState(i.ID, store.Done)
	if err := json.NewDecoder(b.do("GET", doc.Compensation+"/receipt", "", alice).Body).Decode(&doc); err != nil {
		t.Error(err)
	}
}

// An answer that is still being produced does not prove that a compensation was not done: it is not sent again.
func TestStreamedAnswerToACompensation(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(onCompensation(answers(429, "data: x", "Content-Type: text/event-stream")))
	i := b.issue("/orders?x=1", alice)
	b.do("POST", i.URI, "apples", alice)
	b.pass(10*time.Minute, 10*time.Second)
	if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
		t.Errorf("due %s", r.Due)
	}
	if sent := u.sent(); len(sent) != 2 {
		t.Errorf("sent: %v", sent)
	}
}

// A compensation is kept as long as what it takes back: a person who decides about that must know how it ended.
func TestCompensationIsKeptLikeItsParent(t *testing.T) {
	route := compensating
	route.Unique = []string{"header:X-Item"}
	b, u := recovering(t, route)
	u.says(onCompensation(answers(500, "could not undo: see ticket 7")))
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples", "X-Item: cup")
	b.pass(10*time.Second, time.Second)
	undo := b.wantState(i.ID, store.Unknown).Undo
	b.advance(40 * 24 * time.Hour)
	core.Sweeping(t.Context(), b.gate)
	b.wantState(i.ID, store.Unknown)
	if _, err := b.gate.Action(t.Context(), undo.String()); err != nil {
		t.Error(err)
	}
}

// A compensation that was not sent yet is not sent any more once its route says hold, and what it was to take back waits for a person.
func TestCompensationAfterAChangeToHold(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(onCompensation(refuses))
	i := b.issue("/orders?x=1", alice)
	b.do("POST", i.URI, "apples", alice)
	b.pass(10*time.Second, time.Second)
	n := len(u.sent())
	u.says(answers(204, ""))
	b2 := b.again(core.Route{}, u)
	b2.pass(time.Hour, time.Minute)
	if sent := u.sent(); len(sent) != n {
		t.Errorf("sent after the change: %v", sent[n:])
	}
	if r := b2.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
		t.Errorf("due %s: %v", r.Due, r.History)
	}
	b2.decide(decision(i.ID, core.AsUnused))
	b2.wantState(i.ID, store.Unused)
}

// A client's request to the path that takes actions back is not executed, though a route has that path too: the handler could not tell it from the gate's. The gate's own
// comes through.
func TestClientsTakeNothingBack(t *testing.T) {
	orders := compensating
	orders.Match = "POST /orders"
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{orders, {Match: "POST *"}} })
	i := b.issue("/orders")
	for _, field := range []string{"Idempotency-Key: k", later, "X-None: 1"} {
		wantProblem(t, b.do("POST", "/orders/compensate/"+i.ID, "{}", field), 404, "not-found")
		wantProblem(t, b.do("POST", "/orders//compensate/%30"+i.ID[1:], "{}", field), 404, "not-found")
	}
	if n := b.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
	b.gate.Defer(core.HandlerExecutor{Handler: b.handler})
	b.app = answering(502)
	b.do("POST", i.URI, "apples")
	b.app = answering(204)
	b.work()
	b.wantState(i.ID, store.Done)
	if n := b.executed.Load(); n != 2 {
		t.Errorf("executed %d times", n)
	}
}

// Nobody is told of the answer to a compensation, or to a probe, as of the last that the action got.
func TestLastStatusIsTheActionsOwn(t *testing.T) {
	undoing := compensating
	undoing.Compensated = core.CompensatedUnused
	for name, tc := range map[string]struct {
		route  core.Route
		answer func(int, sending, *replay.Recorder) (replay.Proof, error)
	}{
		"taken back": {undoing, answers(204, "")}, "probed": {fencing, answers(404, "")},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, tc.route)
			u.says(breaks)
			i := b.issue("/orders")
			b.do("POST", i.URI, "apples")
			u.says(tc.answer)
			b.pass(2*time.Hour, time.Minute)
			res := b.do("GET", i.URI, "")
			if p := wantProblem(t, res, 410, "expired"); p["last_status"] != nil || p["attempts"] != 1.0 || strings.Contains(res.Header.Get("POE-State"), ";status=") {
				t.Errorf("%s: %v", res.Header.Get("POE-State"), p)
			}
		})
	}
}
