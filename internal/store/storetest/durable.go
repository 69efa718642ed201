package storetest

import (
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

// reopen closes the ledger and opens what it left, or returns false where nothing is left.
func (k *kit) reopen() bool {
	k.t.Helper()
	if k.in.Reopen == nil {
		return false
	}
	if err := k.Close(); err != nil {
		k.t.Fatalf("closing: %v", err)
	}
	return k.goOn(k.in.Reopen())
}

// crash goes on with what a power cut would leave, or returns false where nothing would be.
func (k *kit) crash() bool {
	k.t.Helper()
	if k.in.Crash == nil {
		return false
	}
	old := k.Store
	k.t.Cleanup(func() {
		if err := old.Close(); err != nil {
			k.t.Errorf("closing: %v", err)
		}
	})
	return k.goOn(k.in.Crash())
}

func (k *kit) goOn(s store.Store, err error) bool {
	k.t.Helper()
	if err != nil {
		k.t.Fatalf("opening again: %v", err)
	}
	k.Store = s
	if !k.doubts { // days of the suite pass in no time
		s.ConfirmClock()
	}
	return true
}

// durableCases run on every ledger; where a ledger forgets, they show at least that the ledger holds now.
func durableCases() []testCase {
	var all []testCase
	for _, c := range []struct {
		name string
		run  func(t *testing.T, k *kit, again func() bool)
	}{
		{"everything", durableAll},
		{"identity", durableIdentity},
		{"terms", durableTerms},
		{"left to a person", durableLeft},
		{"floor", durableFloor},
		{"swept", durableSwept},
		{"how far it has forgotten", durableSince},
		{"twice over", durableTwice},
		{"a clock in doubt", durableDoubt},
	} {
		all = append(all,
			testCase{c.name + ", closed", func(t *testing.T, k *kit) { c.run(t, k, k.reopen) }},
			testCase{c.name + ", crashed", func(t *testing.T, k *kit) { c.run(t, k, k.crash) }},
		)
	}
	return all
}

func durableAll(t *testing.T, k *kit, again func() bool) {
	var all []store.Record
	content := noise(200 << 10)
	for _, s := range []store.State{store.Unused, store.Queued, store.Running, store.Sent, store.Done, store.Unknown, store.Burned} {
		r := k.stand(s, names(2)...)
		k.put(r.ID, store.Part{Term: r.Term, N: 1}, content)
		all = append(all, r)
	}
	due := k.agenda(100)
	again()
	for _, r := range all {
		k.wants(r)
		k.holds(r.Names[1], r.ID)
		k.hasBody(r.ID, store.Part{Term: r.Term, N: 1}, content)
	}
	k.onAgenda(due...)
}

func durableIdentity(t *testing.T, k *kit, again func() bool) {
	id, secret := k.Identity(), k.Secret()
	again()
	if k.Identity() != id || k.Secret() != secret {
		t.Error("the ledger is another one")
	}
}

func durableTerms(t *testing.T, k *kit, again func() bool) {
	claim := k.claim(store.Running, names(1)...)
	r := k.mustClaim(claim)
	next := k.next(r, store.Running)
	k.mustAdvance(r.Term, next, store.Also{})
	again()
	same(t, "the repeat's result", k.mustAdvance(r.Term, next, store.Also{}), next)
	_, err := k.Claim(t.Context(), claim)
	refused(t, err, store.ErrTaken)
	_, err = k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{})
	refused(t, err, store.ErrStale)
	k.wants(k.mustMove(next, store.Done))
	k.onAgenda()
}

func durableFloor(t *testing.T, k *kit, again func() bool) {
	old := k.claim(store.Running)
	k.forward(2 * time.Hour)
	k.mustClaim(k.claim(store.Running))
	high := k.clock()
	k.forward(-2 * time.Hour)
	again()
	f, err := k.Floor(t.Context())
	if err != nil || f.Time.Before(high) || f.Time.After(high.Add(time.Second)) { // it may allow for what was told and not written down
		t.Errorf("the floor is %s, %v; want %s", f.Time, err, high)
	}
	_, err = k.Claim(t.Context(), old)
	refused(t, err, store.ErrExpired)
}

// durableDoubt: nothing is forgotten by a clock that is far ahead of the ledger's time when it is opened, until somebody confirms it.
func durableDoubt(t *testing.T, k *kit, again func() bool) {
	all := k.passed(store.Done, store.Burned)
	k.mustClaim(k.claim(store.Running)) // which writes down that they are past
	k.forward(365 * 24 * time.Hour)
	if k.doubts = true; !again() {
		return
	}
	if h := k.Health(); h.Ahead < 24*time.Hour {
		t.Errorf("a year later its clock is ahead by %s", h.Ahead)
	}
	if did, err := k.Sweep(t.Context(), k.clock()); err != nil || did != (store.Swept{}) {
		t.Errorf("swept all the same: %+v, %v", did, err)
	}
	for _, r := range all {
		k.wants(r)
	}
	k.ConfirmClock()
	if h := k.Health(); h.Ahead != 0 {
		t.Errorf("confirmed, it is ahead by %s", h.Ahead)
	}
	k.sweep()
	for _, r := range all {
		k.absent(store.ByID(r.ID))
	}
}

func durableSwept(t *testing.T, k *kit, again func() bool) {
	all := k.passed(store.Done, store.Running, store.Burned, store.Unknown)
	k.sweep()
	k.forward(-48 * time.Hour)
	again()
	for _, r := range all {
		if r.State.Open() {
			k.wants(r)
			k.holds(r.Names[0], r.ID)
			continue
		}
		k.absent(store.ByID(r.ID))
		k.absent(store.ByName(r.Names[0]))
		revived := k.next(r, store.Running)
		revived.Expires = time.Time{}
		_, err := k.Claim(t.Context(), revived)
		refused(t, err, store.ErrExpired)
	}
}

func durableSince(t *testing.T, k *kit, again func() bool) {
	r := k.passed(store.Done)[0]
	k.sweep()
	for range 2 {
		again()
		if k.since(r, start) || !k.since(r, start.Add(time.Millisecond)) {
			t.Error("it has forgotten how far it has forgotten")
		}
	}
}

func durableTwice(_ *testing.T, k *kit, again func() bool) {
	r := k.mustClaim(k.claim(store.Running, names(1)...))
	for range 4 {
		again()
		k.wants(r)
		r = k.mustMove(r, store.Running)
		r = k.mustMove(r, store.Unused)
		again()
		r = k.mustClaim(k.next(r, store.Running))
	}
	k.wants(r)
	k.holds(r.Names[0], r.ID)
	k.onAgenda(r.ID)
}

// durableLeft: how many are left to a person is known at any time, and by whoever opens the ledger.
func durableLeft(t *testing.T, k *kit, again func() bool) {
	wants := func(requests, callbacks, compensations int64) {
		t.Helper()
		if got, want := k.Health().Left, [store.Kinds]int64{requests, callbacks, compensations}; got != want {
			t.Errorf("left to a person are %v, want %v", got, want)
		}
	}
	left := func(r store.Record) store.Record {
		next := k.next(r, store.Unknown)
		if r.State == store.Queued {
			next = k.next(r, store.Queued)
		}
		next.Due = store.Person
		return k.mustAdvance(r.Term, next, store.Also{})
	}
	wants(0, 0, 0)
	k.stand(store.Unknown) // somebody else looks after it
	r := left(k.mustClaim(k.claim(store.Running)))
	left(k.mustClaim(k.claim(store.Running)))
	wants(2, 0, 0)
	r = left(r) // a line more in its history
	wants(2, 0, 0)
	callback, undo := k.child(r), k.child(r)
	undo.Kind, undo.Way = store.Compensation, store.Accepted
	next := k.next(r, store.Unknown)
	next.Due = store.Person
	r = k.mustAdvance(r.Term, next, store.Also{Spawn: []store.Record{callback, undo}})
	callback, undo = left(callback), left(k.mustMove(undo, store.Sent))
	wants(2, 1, 1)
	if again() {
		wants(2, 1, 1)
	}
	if _, err := k.Advance(t.Context(), term(), k.next(r, store.Done), store.Also{}); err == nil {
		t.Error("somebody else's write was taken")
	}
	wants(2, 1, 1)
	k.mustMove(r, store.Done)
	k.mustMove(callback, store.Queued) // to be sent again
	k.mustMove(undo, store.Burned)
	wants(1, 0, 0)
	if again() {
		wants(1, 0, 0)
	}
}
