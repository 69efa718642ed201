package core_test

import (
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

var marking = core.Route{MarkSent: true}

// Three durable writes: the claim, the mark right before the first byte, the end.
func TestMark(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(int, sending, *replay.Recorder) (replay.Proof, error)
		end    store.State
	}{
		"done": {answers(201, "made"), store.Done}, "not done": {answers(422, ""), store.Unused}, "unsent": {refuses, store.Unused}, "broken": {breaks, store.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			var wrote []store.State
			b, ledger := newTampered(t, one(marking))
			ledger.claim = func(r store.Record) error { wrote = append(wrote, r.State); return nil }
			ledger.moving = func(r store.Record) error { wrote = append(wrote, r.State); return nil }
			u := &upstream{}
			b.behind(u)
			i := b.issue("/orders")
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				if r := b.lookup(i.ID); r.State != store.Sent || r.Way != store.Marked {
					t.Errorf("while it is sent: %s", r.State)
				}
				return tc.answer(n, s, rec)
			})
			b.do("POST", i.URI, "apples")
			if r := b.wantState(i.ID, tc.end); !slices.Equal(wrote, []store.State{store.Running, store.Sent, tc.end}) || r.Way != store.Marked {
				t.Errorf("wrote %v", wrote)
			}
		})
	}
	b := newBench(t, one(core.Route{}))
	if res := b.do("POST", b.issue("/orders").URI, "x"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
}

// After a crash what was not marked was not sent, and is unused; what was is unknown, or what the route's policy makes of it. What counts is how
// it was claimed, whatever the route says by then.
func TestMarkAfterACrash(t *testing.T) {
	for name, tc := range map[string]struct{ before, after core.Route }{
		"marked": {marking, marking}, "marked, and not any more": {marking, core.Route{}},
	} {
		t.Run(name, func(t *testing.T) {
			b, ledger := newTampered(t, one(tc.before))
			u := &upstream{}
			b.behind(u)
			i := b.issue("/orders")
			ledger.moving = func(store.Record) error { return store.ErrUnavailable } // as far as it came
			wantProblem(t, b.do("POST", i.URI, "apples"), 503, "ledger-unavailable")
			if b.wantState(i.ID, store.Running); len(u.sent()) != 0 {
				t.Errorf("sent %d times", len(u.sent()))
			}
			ledger.moving = nil
			b2 := b.again(tc.after, u)
			r := b2.wantState(i.ID, store.Unused)
			if last := r.History[len(r.History)-1]; !strings.Contains(last.Why, "nothing was sent") || r.Attempt != 0 {
				t.Errorf("%v", r.History)
			}
			if res := b2.do("POST", i.URI, "apples"); res.StatusCode != 201 || len(u.sent()) != 1 {
				t.Errorf("%d, sent %d times", res.StatusCode, len(u.sent()))
			}

			i = b.issue("/orders")
			defer b.crashed(u, i.URI)()
			b.wantState(i.ID, store.Sent)
			b3 := b.again(tc.after, u)
			b3.wantState(i.ID, store.Unknown)
			wantProblem(t, b3.do("POST", i.URI, "apples"), 409, "outcome-unknown")
		})
	}
	t.Run("not marked, and marked now", func(t *testing.T) {
		b, u := recovering(t, core.Route{})
		i := b.issue("/orders")
		defer b.crashed(u, i.URI)()
		if r := b.again(marking, u).wantState(i.ID, store.Unknown); r.Way != store.Direct {
			t.Errorf("claimed as %d", r.Way)
		}
	})
	t.Run("marked, and repeated", func(t *testing.T) {
		route := core.Route{MarkSent: true, Recovery: core.RecoveryRepeat}
		b, u := recovering(t, route)
		i := b.issue("/orders")
		defer b.crashed(u, i.URI)()
		b2 := b.again(route, u)
		b2.pass(10*time.Second, time.Second)
		b2.wantState(i.ID, store.Done)
		if sent := u.sent(); len(sent) != 2 || sent[0] != sent[1] {
			t.Errorf("%v", sent)
		}
	})
}

// A mark that the ledger did not confirm: nothing was sent, and the claim is taken back as soon as the ledger answers, whichever of the two
// writes is there.
func TestMarkUnknown(t *testing.T) {
	for name, written := range map[string]bool{"not written": false, "written": true} {
		t.Run(name, func(t *testing.T) {
			b, ledger := newTampered(t, one(marking))
			u := &upstream{}
			b.behind(u)
			i := b.issue("/orders")
			done := false
			ledger.moving = func(r store.Record) error {
				if written && !done {
					done = true
					claimed := b.lookup(i.ID)
					if _, err := storetest.Advance(t.Context(), ledger.Store, claimed.Term, r, store.Also{}); err != nil {
						t.Error(err)
					}
				}
				return io.ErrClosedPipe
			}
			wantProblem(t, b.do("POST", i.URI, "apples"), 503, "ledger-unavailable")
			ledger.moving = nil
			b.wantState(i.ID, map[bool]store.State{false: store.Running, true: store.Sent}[written])
			core.Housekeeping(t.Context(), b.gate)
			b.wantState(i.ID, store.Unused)
			if res := b.do("POST", i.URI, "apples"); res.StatusCode != 201 || len(u.sent()) != 1 {
				t.Errorf("%d, sent %d times", res.StatusCode, len(u.sent()))
			}
		})
	}
}

// An owner that was only slow, and finds its claim taken back before its mark, sends nothing: the next one may have sent it by then.
func TestMarkOfASlowOwner(t *testing.T) {
	b, ledger := newTampered(t, one(marking))
	u := &upstream{}
	b.behind(u)
	i := b.issue("/orders")
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ledger.moving = func(r store.Record) error {
		if r.State == store.Sent {
			once.Do(func() { close(entered); <-leave })
		}
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() { wantProblem(t, b.do("POST", i.URI, "apples"), 503, "ledger-unavailable") })
	<-entered
	b2 := newBench(t, func(c *core.Config) {
		one(marking)(c)
		c.Store, c.Clock, c.Keys = ledger.Store, b.clock, b.keys
	})
	b2.behind(u)
	b2.wantState(i.ID, store.Unused)
	if res := b2.do("POST", i.URI, "apples"); res.StatusCode != 201 {
		t.Errorf("%d", res.StatusCode)
	}
	close(leave)
	all.Wait()
	if r := b2.wantState(i.ID, store.Done); len(u.sent()) != 1 {
		t.Errorf("sent %d times; %v", len(u.sent()), r.History)
	}
}

// Somebody who takes a guard off an action that runs, or writes into its history, does not take its outcome from it.
func TestEndOfAnActionThatWasTouched(t *testing.T) {
	for _, status := range []int{201, 422, 502} {
		b, u := recovering(t, core.Route{Unique: []string{"json:/email"}})
		i := b.issue("/orders")
		u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
			if err := b.gate.Free(t.Context(), i.ID, "operator"); err != nil {
				t.Error(err)
			}
			return answers(status, "made")(n, s, rec)
		})
		res := b.do("POST", i.URI, `{"email":"a@example.com"}`, "Content-Type: application/json")
		want := map[int]store.State{201: store.Done, 422: store.Unused, 502: store.Unknown}[status]
		r := b.wantState(i.ID, want)
		if res.StatusCode != status || len(r.Names) != 0 || r.History[0].Who != "operator" {
			t.Errorf("%d, %v", res.StatusCode, r)
		}
	}
}

// What a sweep has forgotten meanwhile has no record to go by: nothing is sent for a claim that cannot be marked, and an end that cannot be stored is unknown.
func TestForgottenWhileItRuns(t *testing.T) {
	for _, marks := range []bool{false, true} {
		b, ledger := newTampered(t, one(core.Route{Match: "POST *", MarkSent: marks}))
		ledger.advance = func() error { return store.ErrStale } // and no record
		res := b.do("POST", b.mint("/orders"), "apples")
		state, sent := res.Header.Get("POE-State"), b.executed.Load()
		if marks && (res.StatusCode != 503 || sent != 0) || !marks && (!strings.HasPrefix(state, "unknown;") || sent != 1) {
			t.Errorf("marked %t: executed %d times, %d %s", marks, sent, res.StatusCode, state)
		}
	}
}
