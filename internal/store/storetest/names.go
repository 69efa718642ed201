package storetest

import (
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
		{"not brought again is freed", nameDropped},
		{"more names after release", nameMore},
		{"taken, by a released action", nameOfReleased},
		{"taken, by a burned action", nameOfBurned},
		{"freed, then claimed by another", nameFreed},
		{"freed on release", nameFreedOnRelease},
		{"freed by one that is done", nameFreedLater},
		{"freed twice", nameFreedTwice},
		{"freed though not held", nameFreedForeign},
		{"not added by an advance", nameNotAdded},
		{"kept though an advance leaves it out", nameKept},
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

func nameDropped(_ *testing.T, k *kit) {
	all := names(3)
	back := k.stand(store.Unused, all...)
	again := k.next(back, store.Running)
	again.Names = all[1:2]
	k.mustClaim(again)
	k.holds(all[1], back.ID)
	k.absent(store.ByName(all[0]))
	k.absent(store.ByName(all[2]))
	other := k.mustClaim(k.claim(store.Running, all[0], all[2]))
	k.holds(all[0], other.ID)
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
