package core_test

import (
	"context"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// An answer of an earlier attempt, which was found not to be done, is written down beside the attempt that runs, which ends as it would have.
func TestLateAnswerOfAnEarlierAttempt(t *testing.T) {
	route := core.Route{Recover: func(context.Context, core.Unresolved) (core.Resolution, error) {
		return core.Resolution{State: core.WasNotDone}, nil
	}}
	b, u := recovering(t, route)
	i := b.issue("/orders")
	stalled := func(on *bench, answer string) (leave func()) {
		entered, going := make(chan struct{}), make(chan struct{})
		u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
			close(entered)
			<-going
			return answers(201, answer)(n, s, rec)
		})
		var all sync.WaitGroup
		all.Go(func() { on.do("POST", i.URI, "apples") })
		<-entered
		return func() { close(going); all.Wait() }
	}
	first := stalled(b, "first")
	b2 := b.again(route, u)
	b2.pass(10*time.Second, time.Second)
	b2.wantState(i.ID, store.Unused)
	second := stalled(b2, "second")
	first()
	if r := b2.wantState(i.ID, store.Running); len(r.History) == 0 || r.History[len(r.History)-1].Why != lateWord {
		t.Errorf("nobody learned of it: %v", r.History)
	}
	second()
	b2.wantState(i.ID, store.Done)
	if got := text(t, b2.do("GET", i.URI, "")); got != "second" {
		t.Errorf("the outcome is %q", got)
	}
}

// A late answer that meets another write is written down after it: here the lease of a repeat, taken at the same moment.
func TestLateAnswerThatMeetsALease(t *testing.T) {
	b, ledger := newTampered(t, one(repeating))
	u := &upstream{}
	b.behind(u)
	i := b.issue("/orders")
	u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		id, err := store.ParseID(i.ID)
		if err != nil {
			t.Error(err)
		}
		declareUnknown(t, b, id, false)
		return answers(201, "made")(n, s, rec)
	})
	writes := 0
	ledger.moving = func(r store.Record) error {
		if r.State != store.Done {
			return nil
		}
		if writes++; writes == 2 { // the first one finds that it is late
			stands := b.lookup(i.ID)
			lease := stands
			lease.Term, lease.Resent, lease.Due = store.Term{3}, 1, b.clock().Add(time.Minute)
			if _, err := storetest.Advance(t.Context(), ledger.Store, stands.Term, lease, store.Also{}); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	b.do("POST", i.URI, "apples")
	if r := b.wantState(i.ID, store.Done); r.Resent != 1 || writes != 3 {
		t.Errorf("sent again %d times, %d writes", r.Resent, writes)
	}
	if got := text(t, b.do("GET", i.URI, "")); got != "made" {
		t.Errorf("the outcome is %q", got)
	}
}

// Whoever has been called about an unknown action is not called about the same again, because something is added to its history.
func TestLateAnswerCallsNobodyTwice(t *testing.T) {
	h := newHook(t)
	route := core.Route{
		Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}, Recovery: core.RecoveryCompensate, Compensate: "/orders/compensate/{id}",
	}
	first := calling(t, h)
	u := &upstream{}
	process := func() *bench {
		b := callingAs(t, h, first, func(c *core.Config) { c.Routes = []core.Route{route} })
		b.of = first
		b.behind(u)
		return b
	}
	b := process()
	i := b.issue("/orders")
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return answers(201, "late")(n, s, rec)
	})
	var all sync.WaitGroup
	all.Go(func() { b.do("POST", i.URI, "apples", "Callback-URL: "+h.URL) })
	<-entered
	u.says(onCompensation(answers(500, "")))
	b2 := process()
	b2.pass(10*time.Second, time.Second)
	close(leave)
	all.Wait()
	b2.pass(10*time.Second, time.Second)
	r := b2.wantState(i.ID, store.Unknown)
	if last := r.History[len(r.History)-1]; last.Why != "a late answer arrived" || h.got() != 1 || h.events[0]["type"] != "poe.outcome.unknown" {
		t.Errorf("called %d times: %v; %v", h.got(), h.events, r.History)
	}
}
