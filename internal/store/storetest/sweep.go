package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

// stepLimit is how many records one step of a sweep may forget.
const stepLimit = 32768

func sweepCases() []testCase {
	return []testCase{
		{"nothing past", sweepNothing},
		{"forgets what is at rest", sweepRest},
		{"keeps what is open", sweepOpen},
		{"what was open goes when it is at rest", sweepLater},
		{"frees names", sweepNames},
		{"leaves names that moved on", sweepMovedNames},
		{"leaves no agenda entry", sweepAgenda},
		{"forgotten is not claimed again", sweepNoRevival},
		{"says how far it has forgotten", sweepSince},
		{"forever stays", sweepForever},
		{"several shelves, in order", sweepShelves},
		{"bounded steps", sweepBounded},
		{"not beyond the ledger's clock", sweepAhead},
		{"not beyond the time that is given", sweepBehind},
		{"takes bodies along", sweepBodies},
		{"keeps the bodies of what is open", sweepOpenBodies},
		{"takes bodies that no record ever had", sweepOrphans},
		{"many bodies", sweepManyBodies},
		{"a body on a shelf that was swept", sweepThenPut},
		{"context over", sweepContext},
		{"among writers", sweepAmongWriters},
		{"with two sweepers", sweepTwice},
	}
}

// sweep sweeps to the end and returns how many records were forgotten.
func (k *kit) sweep() int {
	k.t.Helper()
	total := 0
	for range 1000 {
		did, err := k.Sweep(k.t.Context(), k.clock())
		if err != nil {
			k.t.Fatalf("sweeping: %v", err)
		}
		if did.Records > stepLimit {
			k.t.Errorf("one step forgot %d records", did.Records)
		}
		if total += did.Records; !did.More {
			return total
		}
	}
	k.t.Fatal("the sweep does not end")
	return 0
}

// shortly is a claim on a shelf that is past after two days.
func (k *kit) shortly(s store.State, holds ...store.Name) store.Record {
	r := k.claim(s, holds...)
	r.ID = k.id(1)
	return r
}

// passed brings a record to s on a shelf that is past when passed returns.
func (k *kit) passed(states ...store.State) []store.Record {
	k.t.Helper()
	var all []store.Record
	for _, s := range states {
		first := store.Running
		if s == store.Queued || s == store.Sent {
			first = store.Queued
		}
		if s == store.Burned {
			first = s
		}
		r := k.mustClaim(k.shortly(first, names(2)...))
		if s != first {
			r = k.mustMove(r, s)
		}
		all = append(all, r)
	}
	k.forward(48 * time.Hour)
	return all
}

func (k *kit) lists(want ...store.ID) {
	k.t.Helper()
	got, err := k.List(k.t.Context(), store.ID{}, 100_000)
	if err != nil {
		k.t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		k.t.Errorf("the ledger lists %d ids, want %d", len(got), len(want))
	}
}

func sweepNothing(t *testing.T, k *kit) {
	r := k.mustClaim(k.shortly(store.Burned, names(1)...))
	k.forward(24 * time.Hour) // still its last day
	did, err := k.Sweep(t.Context(), k.clock())
	if err != nil || did.Records != 0 || did.More {
		t.Errorf("got %+v, %v", did, err)
	}
	k.wants(r)
	k.holds(r.Names[0], r.ID)
}

func sweepRest(t *testing.T, k *kit) {
	all := k.passed(store.Unused, store.Done, store.Burned)
	stays := k.mustClaim(k.claim(store.Burned, names(1)...))
	if n := k.sweep(); n != 3 {
		t.Errorf("%d records were forgotten, want 3", n)
	}
	for _, r := range all {
		k.absent(store.ByID(r.ID))
		k.absent(store.ByName(r.Names[0]))
	}
	k.wants(stays)
	k.holds(stays.Names[0], stays.ID)
	k.lists(stays.ID)
}

func sweepOpen(t *testing.T, k *kit) {
	all := k.passed(store.Running, store.Done, store.Queued, store.Sent, store.Burned, store.Unknown)
	for range 2 {
		k.sweep()
		open := 0
		for _, r := range all {
			if !r.State.Open() {
				k.absent(store.ByID(r.ID))
				continue
			}
			open++
			k.wants(r)
			k.holds(r.Names[0], r.ID)
			k.holds(r.Names[1], r.ID)
		}
		if due := k.agenda(100); len(due) != open {
			t.Errorf("the agenda has %d, want %d", len(due), open)
		}
	}
}

func sweepLater(t *testing.T, k *kit) {
	r := k.passed(store.Running)[0]
	k.sweep()
	k.mustMove(r, store.Done)
	if n := k.sweep(); n != 1 {
		t.Errorf("%d records were forgotten, want 1", n)
	}
	k.absent(store.ByID(r.ID))
	k.absent(store.ByName(r.Names[0]))
	k.onAgenda()
	k.lists()
}

func sweepNames(_ *testing.T, k *kit) {
	old := k.passed(store.Done)[0]
	k.sweep()
	r := k.mustClaim(k.claim(store.Running, old.Names...))
	k.holds(old.Names[0], r.ID)
	k.sweep()
	k.holds(old.Names[1], r.ID)
}

func sweepMovedNames(_ *testing.T, k *kit) {
	all := names(2)
	old := k.mustClaim(k.shortly(store.Running, all...))
	k.mustAdvance(old.Term, k.next(old, store.Done), store.Also{Free: all[:1]})
	r := k.mustClaim(k.claim(store.Running, all[0]))
	k.forward(48 * time.Hour)
	k.sweep()
	k.holds(all[0], r.ID)
	k.absent(store.ByName(all[1]))
}

func sweepAgenda(_ *testing.T, k *kit) {
	r := k.mustClaim(k.shortly(store.Running))
	done := k.next(r, store.Done)
	done.Due = k.after(time.Hour)
	k.mustAdvance(r.Term, done, store.Also{})
	k.onAgenda(r.ID)
	k.forward(48 * time.Hour)
	k.sweep()
	k.onAgenda()
}

func sweepNoRevival(t *testing.T, k *kit) {
	r := k.passed(store.Done)[0]
	k.sweep()
	again := k.next(r, store.Running)
	again.Expires = time.Time{}
	_, err := k.Claim(t.Context(), again)
	refused(t, err, store.ErrExpired)
	k.forward(-48 * time.Hour) // nor after the clock was set back
	_, err = k.Claim(t.Context(), again)
	refused(t, err, store.ErrExpired)
	k.absent(store.ByID(r.ID))
}

// since claims a name of r's door and route that was first used at that time, and tells whether it could.
func (k *kit) since(r store.Record, at time.Time) bool {
	k.t.Helper()
	c := k.claim(store.Running, names(1)...)
	c.Door, c.Route, c.Since = r.Door, r.Route, at
	got, err := k.Claim(k.t.Context(), c)
	if err != nil {
		refused(k.t, err, store.ErrExpired)
		k.absent(store.ByName(c.Names[0]))
		return false
	}
	c.Since = time.Time{} // it is not kept
	same(k.t, "the claim's result", got, c)
	k.wants(c)
	return true
}

// A name that says its age is not claimed where it may have been forgotten: by its own door and route, and nobody else's. One that is held is.
func sweepSince(t *testing.T, k *kit) {
	old := k.claim(store.Running, names(1)...)
	old.ID, old.Door, old.Route = k.id(1), "aged", "a/b"
	k.mustClaim(old)
	k.mustMove(old, store.Unused)
	k.forward(time.Hour)
	claimed := k.clock()
	again := old
	again.Term, again.Claimed, again.Expires, again.Due = term(), claimed, k.after(time.Hour), k.after(time.Minute)
	k.mustMove(k.mustClaim(again), store.Done) // which is what its second attempt was asked for
	k.forward(48 * time.Hour)
	if !k.since(old, start) {
		t.Error("nothing is forgotten yet, and it is refused")
	}
	held := k.claim(store.Running, old.Names...)
	held.Door, held.Route, held.Since = old.Door, old.Route, start
	_, err := k.Claim(t.Context(), held)
	refused(t, err, store.ErrTaken)
	kept := k.claim(store.Burned, names(1)...)
	kept.Door, kept.Route = old.Door, old.Route
	k.mustClaim(kept)
	unused := k.claim(store.Running, names(1)...)
	unused.Door, unused.Route = old.Door, old.Route
	unused = k.mustMove(k.mustClaim(unused), store.Unused)
	for range 2 { // another sweep, of nothing, changes nothing
		k.sweep()
		for _, at := range []time.Time{start.Add(-time.Hour), start, claimed} {
			if k.since(old, at) {
				t.Errorf("claimed though it may have been used since %s, and forgotten", at)
			}
		}
		if !k.since(old, claimed.Add(time.Millisecond)) {
			t.Error("refused though nothing that was claimed since then is forgotten")
		}
		other := old
		if other.Door = "other"; !k.since(other, start) {
			t.Error("refused though nothing of its door is forgotten")
		}
		if other.Door, other.Route = "aged", "a"; !k.since(other, start) {
			t.Error("refused though nothing of its route is forgotten")
		}
	}
	_, err = k.Claim(t.Context(), held)
	refused(t, err, store.ErrExpired)
	held.Names = kept.Names
	_, err = k.Claim(t.Context(), held)
	refused(t, err, store.ErrTaken)
	back := k.next(unused, store.Running) // what is known is no question of what is forgotten
	back.Since = start
	back.Due = k.after(time.Minute)
	k.mustClaim(back)
}

func sweepForever(_ *testing.T, k *kit) {
	r := k.claim(store.Burned, names(1)...)
	r.ID = k.id(0)
	k.mustClaim(r)
	k.put(r.ID, store.Part{Term: r.Term}, []byte("kept"))
	k.forward(100 * 365 * 24 * time.Hour)
	k.sweep()
	k.wants(r)
	k.holds(r.Names[0], r.ID)
	k.hasBody(r.ID, store.Part{Term: r.Term}, []byte("kept"))
}

func sweepShelves(t *testing.T, k *kit) {
	var want []store.Shelf
	for days := 5; days > 0; days-- {
		for range 2 {
			r := k.claim(store.Burned)
			r.ID = k.id(days)
			k.mustClaim(r)
		}
	}
	for days := 1; days <= 3; days++ {
		want = append(want, store.ShelfOf(k.clock())+store.Shelf(days))
	}
	k.forward(4 * 24 * time.Hour)
	var got []store.Shelf
	for {
		did, err := k.Sweep(t.Context(), k.clock())
		if err != nil {
			t.Fatal(err)
		}
		if did.Records > 0 {
			got = append(got, did.Shelf)
		}
		if !did.More {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("it swept the shelves %v, want %v", got, want)
	}
	if left, err := k.List(t.Context(), store.ID{}, 100); err != nil || len(left) != 4 {
		t.Errorf("%d records are left, %v; want 4", len(left), err)
	}
}

func sweepBounded(t *testing.T, k *kit) {
	const n = stepLimit + 500
	k.flock(n, func(int) {
		if _, err := k.Claim(t.Context(), k.shortly(store.Burned, name())); err != nil {
			t.Error(err)
		}
	})
	open := k.mustClaim(k.shortly(store.Running, names(1)...))
	k.forward(48 * time.Hour)
	if got := k.sweep(); got != n {
		t.Errorf("%d records were forgotten, want %d", got, n)
	}
	k.wants(open)
	k.holds(open.Names[0], open.ID)
	k.lists(open.ID)
}

func sweepAhead(t *testing.T, k *kit) {
	r := k.mustClaim(k.shortly(store.Burned))
	did, err := k.Sweep(t.Context(), k.after(10*365*24*time.Hour))
	if err != nil || did.Records > 0 {
		t.Errorf("got %+v, %v", did, err)
	}
	k.wants(r)
}

func sweepBehind(t *testing.T, k *kit) {
	r := k.passed(store.Burned)[0]
	for _, at := range []time.Time{k.after(-24 * time.Hour), {}, time.Unix(-1<<40, 0)} {
		did, err := k.Sweep(t.Context(), at)
		if err != nil || did.Records > 0 || did.More {
			t.Errorf("at %s: %+v, %v", at, did, err)
		}
	}
	k.wants(r)
}

func sweepBodies(_ *testing.T, k *kit) {
	gone := k.mustClaim(k.shortly(store.Burned))
	stays := k.mustClaim(k.claim(store.Burned))
	for _, r := range []store.Record{gone, stays} {
		k.put(r.ID, store.Part{Term: r.Term}, []byte("request"))
		k.put(r.ID, store.Part{Term: r.Term, N: 1}, []byte("answer"))
	}
	k.forward(48 * time.Hour)
	k.sweep()
	k.noBody(gone.ID, store.Part{Term: gone.Term})
	k.noBody(gone.ID, store.Part{Term: gone.Term, N: 1})
	k.hasBody(stays.ID, store.Part{Term: stays.Term, N: 1}, []byte("answer"))
}

func sweepOpenBodies(_ *testing.T, k *kit) {
	open := k.mustClaim(k.shortly(store.Running))
	rest := k.mustClaim(k.shortly(store.Burned))
	for _, r := range []store.Record{open, rest} {
		k.put(r.ID, store.Part{Term: r.Term}, []byte("request"))
	}
	k.forward(48 * time.Hour)
	k.sweep()
	k.hasBody(open.ID, store.Part{Term: open.Term}, []byte("request"))
	k.noBody(rest.ID, store.Part{Term: rest.Term})
	k.put(open.ID, store.Part{Term: open.Term, N: 1}, []byte("late answer"))
	k.sweep()
	k.hasBody(open.ID, store.Part{Term: open.Term, N: 1}, []byte("late answer"))
	k.mustMove(open, store.Done)
	k.sweep()
	k.noBody(open.ID, store.Part{Term: open.Term})
	k.noBody(open.ID, store.Part{Term: open.Term, N: 1})
}

func sweepOrphans(_ *testing.T, k *kit) {
	past, live, part := k.id(1), k.id(31), store.Part{Term: term()}
	k.put(past, part, []byte("x"))
	k.put(live, part, []byte("x"))
	k.forward(48 * time.Hour)
	k.sweep()
	k.noBody(past, part)
	k.hasBody(live, part, []byte("x"))
}

func sweepManyBodies(_ *testing.T, k *kit) {
	const n = 1500
	part := store.Part{Term: term()}
	ids := make([]store.ID, n)
	for i := range ids {
		ids[i] = k.id(1 + i%2)
		k.put(ids[i], part, []byte{1})
	}
	open := k.mustClaim(k.shortly(store.Running))
	k.put(open.ID, part, []byte{2})
	k.forward(72 * time.Hour)
	k.sweep()
	for _, id := range ids {
		k.noBody(id, part)
	}
	k.hasBody(open.ID, part, []byte{2})
}

func sweepThenPut(_ *testing.T, k *kit) {
	open := k.mustClaim(k.shortly(store.Running))
	orphan := k.id(1)
	k.put(orphan, store.Part{Term: term()}, []byte("x"))
	k.forward(48 * time.Hour)
	k.sweep()
	k.put(open.ID, store.Part{Term: open.Term, N: 1}, []byte("late answer"))
	k.hasBody(open.ID, store.Part{Term: open.Term, N: 1}, []byte("late answer"))
}

func sweepContext(t *testing.T, k *kit) {
	r := k.passed(store.Burned)[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Sweep(ctx, k.clock()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	k.wants(r)
}

// sweepAmongWriters sweeps while open records of the same shelf are settled and others are claimed.
func sweepAmongWriters(t *testing.T, k *kit) {
	const n = 1200
	open := make([]store.Record, n)
	k.flock(n, func(i int) {
		var err error
		if open[i], err = k.Claim(t.Context(), k.shortly(store.Running, name())); err != nil {
			t.Error(err)
		}
		if _, err = k.Claim(t.Context(), k.shortly(store.Burned, name())); err != nil {
			t.Error(err)
		}
	})
	k.forward(48 * time.Hour)
	fresh := make([]store.Record, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		k.flock(n, func(i int) {
			if _, err := k.Advance(t.Context(), open[i].Term, k.next(open[i], store.Done), store.Also{}); err != nil {
				t.Error(err)
			}
			var err error
			if fresh[i], err = k.Claim(t.Context(), k.claim(store.Running, name())); err != nil {
				t.Error(err)
			}
		})
	})
	wg.Go(func() {
		for range 4 {
			k.sweep()
		}
	})
	wg.Wait()
	k.sweep()
	for i := range n {
		k.absent(store.ByID(open[i].ID))
		k.absent(store.ByName(open[i].Names[0]))
		k.wants(fresh[i])
		k.holds(fresh[i].Names[0], fresh[i].ID)
	}
	if ids, err := k.List(t.Context(), store.ID{}, 10*n); err != nil || len(ids) != n {
		t.Errorf("%d records are left, %v; want %d", len(ids), err, n)
	}
	if ids := k.agenda(10 * n); len(ids) != n {
		t.Errorf("the agenda has %d, want %d", len(ids), n)
	}
}

func sweepTwice(t *testing.T, k *kit) {
	const n = 300
	k.flock(n, func(int) {
		if _, err := k.Claim(t.Context(), k.shortly(store.Burned, name())); err != nil {
			t.Error(err)
		}
	})
	k.forward(48 * time.Hour)
	var wg sync.WaitGroup
	var counts [2]int
	for i := range counts {
		wg.Go(func() { counts[i] = k.sweep() })
	}
	wg.Wait()
	if counts[0]+counts[1]+k.sweep() != n {
		t.Errorf("two sweeps forgot %v records, want %d", counts, n)
	}
	k.lists()
}

// flock calls f for 0 to n-1 from many goroutines.
func (k *kit) flock(n int, f func(int)) {
	const hands = 32
	var wg sync.WaitGroup
	for h := range hands {
		wg.Go(func() {
			for i := h; i < n; i += hands {
				f(i)
			}
		})
	}
	wg.Wait()
}
