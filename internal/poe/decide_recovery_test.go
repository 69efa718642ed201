package core_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// What is being taken back cannot be decided while that could still be sent: it would take back what is executed on the strength of the decision.
func TestDecideWhileItIsTakenBack(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(onCompensation(answers(204, "")))
	i := b.issue("/orders?x=1", alice)
	b.do("POST", i.URI, "apples", alice)
	child := b.lookup(i.ID).Undo.String()
	for _, as := range []core.Verdict{core.AsDone, core.AsFailed, core.AsUnused, core.AsBurned} {
		if _, err := b.gate.Decide(t.Context(), decision(i.ID, as)); !errors.As(err, new(*core.ConflictError)) || !strings.Contains(err.Error(), "taken back by "+child+", which is accepted") {
			t.Errorf("as %s: %v", as, err)
		}
	}
	b.decide(decision(child, core.AsBurned))
	if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
		t.Errorf("its parent waits until %s: %v", r.Due, r.History)
	}
	b.decide(decision(i.ID, core.AsUnused))
	u.says(nil)
	if res := b.do("POST", i.URI, "apples", alice); res.StatusCode != 201 {
		t.Errorf("released: %d", res.StatusCode)
	}
	b.pass(time.Hour, time.Minute)
	if sent := u.sent(); len(sent) != 2 || sent[1].target != "/orders?x=1" {
		t.Errorf("sent: %v", sent)
	}
}

// A person who knows that an action was taken back says so of what took it back, and the action follows.
func TestDecideAboutItsCompensation(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(onCompensation(func(int, sending, *replay.Recorder) (replay.Proof, error) { return replay.Broken, errors.New("reset") }))
	i := b.issue("/orders?x=1", alice)
	b.do("POST", i.URI, "apples", alice)
	b.work()
	child := b.wantState(b.lookup(i.ID).Undo.String(), store.Unknown)
	b.decide(decision(child.ID.String(), core.AsDone))
	b.wantState(i.ID, store.Done)
	if p := problemOf(t, b.do("GET", i.URI, "", alice)); p["type"] != "/poe/problems/rolled-back" {
		t.Errorf("%v", p)
	}
}

// What was accepted, and is released after it could not be taken back, is executed as another attempt; if nobody knows the end of that either,
// another child takes it back.
func TestDecideThatAcceptedIsTakenBackAgain(t *testing.T) {
	b, u := recovering(t, compensating)
	u.says(func(int, sending, *replay.Recorder) (replay.Proof, error) { return replay.Broken, errors.New("reset") })
	res := b.do("POST", "/orders?x=1", "apples", alice, uuidKey, "Prefer: respond-async")
	if res.StatusCode != 202 {
		t.Fatalf("%d %s", res.StatusCode, text(t, res))
	}
	_, rest, _ := strings.Cut(res.Header.Get("POE-State"), `id="`)
	id, _, _ := strings.Cut(rest, `"`)
	b.work()
	first := b.wantState(id, store.Unknown).Undo
	b.work()
	b.wantState(first.String(), store.Unknown)
	b.decide(decision(first.String(), core.AsBurned))
	b.decide(decision(id, core.AsUnused))
	b.wantState(id, store.Queued)
	b.work()
	second := b.wantState(id, store.Unknown).Undo
	if second.IsZero() || second == first {
		t.Fatalf("taken back by %s, and before by %s", second, first)
	}
	u.says(onCompensation(answers(204, "")))
	b.pass(time.Minute, time.Second)
	b.wantState(second.String(), store.Done)
	b.wantState(id, store.Done)
}

// Between what a person decides about a compensation and what becomes of the action that it takes back the process may end, or the ledger be away.
func TestDecidedCompensationThenCrash(t *testing.T) {
	for name, tc := range map[string]struct {
		d     func(id string) core.Decision
		state store.State
	}{
		"done":   {func(id string) core.Decision { return decision(id, core.AsDone) }, store.Done},
		"failed": {func(id string) core.Decision { return decision(id, core.AsFailed) }, store.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			b, ledger := newTampered(t, one(compensating))
			u := &upstream{}
			b.behind(u)
			u.says(breaks)
			i := b.issue("/orders?x=1", alice)
			b.do("POST", i.URI, "apples", alice)
			b.work()
			child := b.wantState(b.lookup(i.ID).Undo.String(), store.Unknown)
			if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
				t.Fatalf("due %s", r.Due)
			}
			decided := false
			ledger.moving = func(r store.Record) error {
				if decided = decided || r.ID == child.ID; decided && r.ID != child.ID {
					return store.ErrUnavailable
				}
				return nil
			}
			b.decide(tc.d(child.ID.String()))
			ledger.moving = nil
			b.wantState(i.ID, store.Unknown)
			next := b.again(compensating, u)
			next.pass(2*time.Minute, time.Second)
			r := next.wantState(i.ID, tc.state)
			if tc.state == store.Unknown && !r.Due.Equal(store.Person) {
				t.Errorf("due %s", r.Due)
			}
		})
	}
}

// What was taken back and has not been told yet is settled as soon as somebody wants to decide about it.
func TestDecidedAfterItWasTakenBack(t *testing.T) {
	b, ledger := newTampered(t, one(compensating))
	u := &upstream{}
	b.behind(u)
	u.says(onCompensation(answers(204, "")))
	i := b.issue("/orders?x=1", alice)
	b.do("POST", i.URI, "apples", alice)
	ledger.moving = func(r store.Record) error { // the parent does not hear of it
		if r.ID.String() == i.ID {
			return store.ErrUnavailable
		}
		return nil
	}
	b.work()
	b.wantState(b.wantState(i.ID, store.Unknown).Undo.String(), store.Done)
	ledger.moving = nil
	_, err := b.gate.Decide(t.Context(), decision(i.ID, core.AsUnused))
	var conflict *core.ConflictError
	if !errors.As(err, &conflict) || conflict.State != "done" {
		t.Errorf("%v", err)
	}
	if r := b.wantState(i.ID, store.Done); r.Status != 409 {
		t.Errorf("%d", r.Status)
	}
}
