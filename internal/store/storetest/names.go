package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

func nameCases() []testCase {
	return []testCase{
		{"taken by another action", nameTaken},
		{"one of many taken: nothing is done", nameOneTaken},
		{"expired beats a taken name", nameExpired},
		{"brought again after release", nameAgain},
		{"kept though a claim does not bring it again", nameNotBrought},
		{"more names after release", nameMore},
		{"other names after release", nameOther},
		{"taken, by a released action", nameOfReleased},
		{"taken, by a burned action", nameOfBurned},
		{"freed, then claimed by another", nameFreed},
		{"freed on release", nameFreedOnRelease},
		{"freed by one that is done", nameFreedLater},
		{"freed twice", nameFreedTwice},
		{"freed though not held", nameFreedForeign},
		{"not added by an advance", nameNotAdded},
		{"kept though an advance leaves it out", nameKept},
		{"taken over", nameTakenOver},
		{"taken over, and kept when the earlier holder gives it back", nameTakenOverThenFreed},
		{"taken over, and kept when the earlier holder is claimed again", nameTakenOverThenClaimed},
		{"taken over, and kept when the earlier holder is swept", nameTakenOverThenSwept},
		{"taken over by one that is stale: nothing is done", nameTakenOverStale},
		{"taken over badly", nameTakenOverBadly},
		{"taken over by many at once", nameTakenOverRace},
	}
}

func nameTaken(t *testing.T, k *kit) {
	n := name()
	held := k.mustClaim(k.claim(store.Running, n))
	r := k.claim(store.Running, n)
	got, err := k.Claim(t.Context(), r)
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, held)
	k.absent(store.ByID(r.ID))
	k.holds(n, held.ID)
	k.onAgenda(held.ID)
}

func nameOneTaken(t *testing.T, k *kit) {
	all := names(5)
	held := k.mustClaim(k.claim(store.Running, all[3]))
	r := k.claim(store.Running, all...)
	got, err := k.Claim(t.Context(), r)
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, held)
	k.absent(store.ByID(r.ID))
	for _, i := range []int{0, 1, 2, 4} {
		k.absent(store.ByName(all[i]))
	}
}

func nameExpired(t *testing.T, k *kit) {
	n := name()
	k.mustClaim(k.claim(store.Running, n))
	r := k.claim(store.Running, n)
	k.forward(2 * time.Hour)
	_, err := k.Claim(t.Context(), r)
	refused(t, err, store.ErrExpired)
}

func nameAgain(_ *testing.T, k *kit) {
	back := k.stand(store.Unused, names(2)...)
	got := k.mustClaim(k.next(back, store.Running))
	k.wants(got)
	for _, n := range back.Names {
		k.holds(n, back.ID)
	}
}

func nameNotBrought(_ *testing.T, k *kit) {
	all := names(3)
	back := k.stand(store.Unused, all...)
	again := k.next(back, store.Running)
	again.Names = all[1:2]
	k.mustClaim(again)
	k.holds(all[1], back.ID)
	k.holds(all[0], back.ID)
	k.holds(all[2], back.ID)
}

func nameMore(_ *testing.T, k *kit) {
	back := k.stand(store.Unused, names(1)...)
	again := k.next(back, store.Running)
	again.Names = append(names(2), back.Names...)
	k.mustClaim(again)
	k.wants(again)
	for _, n := range again.Names {
		k.holds(n, back.ID)
	}
}

// A ledger that learns only on the way which names a record holds already must not forget over them the ones that the claim brings.
func nameOther(t *testing.T, k *kit) {
	old, fresh := names(2), names(2)
	back := k.stand(store.Unused, old...)
	again := k.next(back, store.Running)
	again.Names = fresh
	got := k.mustClaim(again)
	for _, n := range append(old, fresh...) {
		k.holds(n, back.ID)
	}
	other, err := k.Claim(t.Context(), k.claim(store.Running, fresh[0]))
	refused(t, err, store.ErrTaken)
	same(t, "the holder", other, got)
}

func nameOfReleased(t *testing.T, k *kit) {
	n := name()
	back := k.stand(store.Unused, n)
	got, err := k.Claim(t.Context(), k.claim(store.Running, n))
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, back)
}

func nameOfBurned(t *testing.T, k *kit) {
	n := name()
	burned := k.stand(store.Burned, n)
	got, err := k.Claim(t.Context(), k.claim(store.Running, n))
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, burned)
}

func nameFreed(_ *testing.T, k *kit) {
	all := names(3)
	r := k.mustClaim(k.claim(store.Running, all...))
	done := k.mustAdvance(r.Term, k.next(r, store.Done), store.Also{Free: []store.Name{all[1]}})
	want := k.next(r, store.Done)
	want.Term, want.Names = done.Term, []store.Name{all[0], all[2]}
	k.wants(want)
	k.absent(store.ByName(all[1]))
	k.holds(all[0], r.ID)
	other := k.mustClaim(k.claim(store.Running, all[1]))
	k.holds(all[1], other.ID)
	k.holds(all[2], r.ID)
}

func nameFreedOnRelease(_ *testing.T, k *kit) {
	all := names(2)
	r := k.mustClaim(k.claim(store.Running, all...))
	back := k.mustAdvance(r.Term, k.next(r, store.Unused), store.Also{Free: all})
	if len(back.Names) > 0 {
		k.t.Errorf("%d names are left", len(back.Names))
	}
	k.wants(back)
	other := k.mustClaim(k.claim(store.Running, all...))
	k.holds(all[0], other.ID)
}

func nameFreedLater(_ *testing.T, k *kit) {
	n := name()
	done := k.stand(store.Done, n)
	k.mustAdvance(done.Term, k.next(done, store.Done), store.Also{Free: []store.Name{n}})
	k.absent(store.ByName(n))
}

func nameFreedTwice(t *testing.T, k *kit) {
	n := name()
	r := k.mustClaim(k.claim(store.Running, n))
	free := store.Also{Free: []store.Name{n}}
	first := k.next(r, store.Unused)
	back := k.mustAdvance(r.Term, first, free)
	other := k.mustClaim(k.claim(store.Running, n))
	same(t, "the repeat's result", k.mustAdvance(r.Term, first, free), back)
	k.holds(n, other.ID)
}

func nameFreedForeign(t *testing.T, k *kit) {
	n := name()
	other := k.mustClaim(k.claim(store.Running, n))
	r := k.mustClaim(k.claim(store.Running, name()))
	_, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Free: []store.Name{n}})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
	k.holds(n, other.ID)
}

func nameNotAdded(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	more := k.next(r, store.Done)
	more.Names = names(1)
	_, err := k.Advance(t.Context(), r.Term, more, store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
	k.absent(store.ByName(more.Names[0]))
}

func nameKept(_ *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running, names(2)...))
	less := k.next(r, store.Done)
	less.Names = nil
	got := k.mustAdvance(r.Term, less, store.Also{})
	less.Names = r.Names
	same(k.t, "the result", got, less)
	k.wants(less)
	k.holds(r.Names[0], r.ID)
}

// takenOver is a name that the first action had, and that the second one has taken over.
func takenOver(k *kit, s store.State) (n store.Name, was, is store.Record) {
	n = name()
	was = k.stand(s, n)
	is = k.mustClaim(k.claim(store.Running))
	done := k.next(is, store.Done)
	is = k.mustAdvance(is.Term, done, store.Also{Take: []store.Name{n}})
	return n, was, is
}

func nameTakenOver(t *testing.T, k *kit) {
	n, was, is := takenOver(k, store.Done)
	if len(is.Names) != 1 || is.Names[0] != n {
		t.Errorf("the taker's names are %v", is.Names)
	}
	k.wants(is)
	k.wants(was) // untouched, though it still lists the name
	k.holds(n, is.ID)
	again := k.mustAdvance(is.Term, k.next(is, store.Done), store.Also{Take: []store.Name{n}})
	if len(again.Names) != 1 {
		t.Errorf("taken twice: %v", again.Names)
	}
	_, err := k.Claim(t.Context(), k.claim(store.Running, n))
	refused(t, err, store.ErrTaken)
	free := name()
	k.mustAdvance(again.Term, k.next(again, store.Done), store.Also{Take: []store.Name{free}}) // nobody had it
	k.holds(free, is.ID)
	if k.reopen() {
		k.holds(n, is.ID)
		k.holds(free, is.ID)
	}
}

func nameTakenOverThenFreed(_ *testing.T, k *kit) {
	n, was, is := takenOver(k, store.Done)
	k.mustAdvance(was.Term, k.next(was, store.Done), store.Also{Free: []store.Name{n}})
	k.holds(n, is.ID)
}

func nameTakenOverThenClaimed(t *testing.T, k *kit) {
	n, was, is := takenOver(k, store.Unused)
	got := k.mustClaim(k.without(k.next(was, store.Running)))
	if len(got.Names) != 0 {
		t.Errorf("the earlier holder still has %v", got.Names)
	}
	k.holds(n, is.ID)
}

// without is r without its names.
func (k *kit) without(r store.Record) store.Record {
	r.Names = nil
	return r
}

func nameTakenOverThenSwept(_ *testing.T, k *kit) {
	n := name()
	was := k.shortly(store.Done, n)
	k.forward(3 * store.Day)
	is := k.mustClaim(k.claim(store.Running))
	is = k.mustAdvance(is.Term, k.next(is, store.Done), store.Also{Take: []store.Name{n}})
	k.sweep()
	k.absent(store.ByID(was.ID))
	k.holds(n, is.ID)
}

func nameTakenOverStale(t *testing.T, k *kit) {
	n := name()
	was := k.stand(store.Done, n)
	r := k.mustClaim(k.claim(store.Running))
	_, err := k.Advance(t.Context(), term(), k.next(r, store.Done), store.Also{Take: []store.Name{n}})
	refused(t, err, store.ErrStale)
	k.holds(n, was.ID)
	k.wants(r)
}

func nameTakenOverBadly(t *testing.T, k *kit) {
	n := name()
	r := k.mustClaim(k.claim(store.Running, n))
	child := k.child(r, n)
	for what, also := range map[string]store.Also{
		"freed as well":  {Free: []store.Name{n}, Take: []store.Name{n}},
		"twice":          {Take: []store.Name{n, n}},
		"empty":          {Take: []store.Name{{}}},
		"too many":       {Take: names(store.MaxNames)},
		"a child has it": {Take: []store.Name{n}, Spawn: []store.Record{child}},
	} {
		if _, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), also); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	k.wants(r)
	k.holds(n, r.ID)
}

// Many take one name at one time, and somebody claims it: each of them is done, and in the end the index and one record agree.
func nameTakenOverRace(t *testing.T, k *kit) {
	const takers = 8
	for range 20 {
		n := name()
		var runs [takers]store.Record
		for i := range runs {
			runs[i] = k.mustClaim(k.claim(store.Running))
		}
		claimed := k.claim(store.Running, n)
		k.all(takers+1, func(i int) {
			if i == takers {
				if _, err := k.Claim(t.Context(), claimed); err != nil && !errors.Is(err, store.ErrTaken) {
					t.Errorf("claiming: %v", err)
				}
				return
			}
			if _, err := k.Advance(t.Context(), runs[i].Term, k.next(runs[i], store.Done), store.Also{Take: []store.Name{n}}); err != nil {
				t.Errorf("taking over: %v", err)
			}
		})
		got, err := k.Lookup(t.Context(), store.ByName(n))
		if err != nil || got.ID == claimed.ID || !slices.Contains(got.Names, n) {
			t.Fatalf("the name leads to %s, %v", got.ID, err)
		}
	}
}
