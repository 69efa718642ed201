package storetest

import (
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

func childCases() []testCase {
	all := []testCase{
		{"spawned with the settling write", childSpawned},
		{"repeat of the settling write", childRepeat},
		{"id taken", childIDTaken},
		{"name taken", childNameTaken},
		{"name freed in the same write", childNameFreed},
		{"name that the parent keeps", childNameKept},
		{"stale parent", childStale},
		{"past shelf", childPastShelf},
	}
	for name, spoil := range map[string]func(*store.Record){
		"not queued":        func(c *store.Record) { c.State = store.Running },
		"of another parent": func(c *store.Record) { c.Parent[0]++ },
		"its own parent":    func(c *store.Record) { c.ID = c.Parent },
		"without a term":    func(c *store.Record) { c.Term = store.Term{} },
		"nobody due":        func(c *store.Record) { c.Due = time.Time{} },
	} {
		all = append(all, testCase{"invalid: " + name, func(t *testing.T, k *kit) { childInvalid(t, k, spoil) }})
	}
	return append(all,
		testCase{"a callback is done in one write", childDelivered},
		testCase{"a callback waits, and waits for a person", childWaits},
		testCase{"invalid: two with one id", func(t *testing.T, k *kit) {
			childrenInvalid(t, k, func(a, b *store.Record) { b.ID = a.ID })
		}},
		testCase{"invalid: too many", childrenTooMany},
		testCase{"invalid: two with one name", func(t *testing.T, k *kit) {
			childrenInvalid(t, k, func(a, b *store.Record) { b.Names = a.Names })
		}},
	)
}

func (k *kit) child(of store.Record, holds ...store.Name) store.Record {
	c := k.claim(store.Queued, holds...)
	c.Parent, c.Kind = of.ID, store.Callback
	return c
}

func childSpawned(_ *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	a, b := k.child(r, names(1)...), k.child(r)
	b.Due = a.Due.Add(time.Second)
	done := k.mustAdvance(r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{a, b}})
	k.wants(done)
	k.wants(a)
	k.wants(b)
	k.holds(a.Names[0], a.ID)
	k.onAgenda(a.ID, b.ID)
}

func childRepeat(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	next, also := k.next(r, store.Done), store.Also{Spawn: []store.Record{k.child(r)}}
	done := k.mustAdvance(r.Term, next, also)
	same(t, "the repeat's result", k.mustAdvance(r.Term, next, also), done)
	k.onAgenda(also.Spawn[0].ID)
}

func childIDTaken(t *testing.T, k *kit) {
	for _, s := range []store.State{store.Done, store.Unused} {
		held := k.stand(s)
		r := k.mustClaim(k.claim(store.Running))
		c, free := k.child(r), k.child(r)
		c.ID = held.ID
		got, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{free, c}})
		refused(t, err, store.ErrTaken)
		same(t, "the holder", got, held)
		k.wants(r)
		k.wants(held)
		k.absent(store.ByID(free.ID))
	}
}

func childNameTaken(t *testing.T, k *kit) {
	n := name()
	held := k.mustClaim(k.claim(store.Running, n))
	r := k.mustClaim(k.claim(store.Running))
	c := k.child(r, n)
	got, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{c}})
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, held)
	k.wants(r)
	k.absent(store.ByID(c.ID))
}

func childNameFreed(_ *testing.T, k *kit) {
	n := name()
	r := k.mustClaim(k.claim(store.Running, n))
	c := k.child(r, n)
	done := k.mustAdvance(r.Term, k.next(r, store.Done), store.Also{Free: []store.Name{n}, Spawn: []store.Record{c}})
	k.wants(done)
	k.holds(n, c.ID)
}

func childNameKept(t *testing.T, k *kit) {
	n := name()
	r := k.mustClaim(k.claim(store.Running, n))
	got, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{k.child(r, n)}})
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, r)
	k.wants(r)
}

func childStale(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	c := k.child(r, names(1)...)
	_, err := k.Advance(t.Context(), term(), k.next(r, store.Done), store.Also{Spawn: []store.Record{c}})
	refused(t, err, store.ErrStale)
	k.absent(store.ByID(c.ID))
	k.absent(store.ByName(c.Names[0]))
	k.onAgenda(r.ID)
}

func childPastShelf(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	c := k.child(r)
	c.ID, c.Expires = k.id(1), time.Time{}
	k.forward(72 * time.Hour)
	_, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{c}})
	refused(t, err, store.ErrExpired)
	k.wants(r)
}

func childInvalid(t *testing.T, k *kit, spoil func(*store.Record)) {
	childrenInvalid(t, k, func(_, b *store.Record) { spoil(b) })
}

func childrenTooMany(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	children := make([]store.Record, store.MaxSpawn+1)
	for i := range children {
		children[i] = k.child(r)
	}
	_, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Spawn: children})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
	k.onAgenda(r.ID)
}

func childrenInvalid(t *testing.T, k *kit, spoil func(a, b *store.Record)) {
	r := k.mustClaim(k.claim(store.Running))
	a, b := k.child(r, names(1)...), k.child(r, names(1)...)
	spoil(&a, &b)
	_, err := k.Advance(t.Context(), r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{a, b}})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
	k.absent(store.ByID(a.ID))
	k.onAgenda(r.ID)
}

func childDelivered(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	callback, request := k.child(r), k.child(r)
	request.Kind = store.Compensation
	k.mustAdvance(r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{callback, request}})
	k.wants(k.mustMove(callback, store.Done))
	_, err := k.Advance(t.Context(), request.Term, k.next(request, store.Done), store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(request)
	k.onAgenda(request.ID)

	other := k.mustClaim(k.claim(store.Running))
	voided := k.child(other)
	k.mustAdvance(other.Term, k.next(other, store.Done), store.Also{Spawn: []store.Record{voided}})
	voided = k.mustMove(voided, store.Burned)
	_, err = k.Advance(t.Context(), voided.Term, k.next(voided, store.Done), store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(voided)
}

func childWaits(_ *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	c := k.child(r)
	k.mustAdvance(r.Term, k.next(r, store.Done), store.Also{Spawn: []store.Record{c}})
	for _, due := range []time.Time{k.after(time.Hour), store.Person} {
		next := k.next(c, store.Queued)
		next.Attempt, next.Due = c.Attempt+1, due
		next.Note(store.Event{At: k.clock(), From: store.Queued, To: store.Queued, Who: "engine", Why: "answered 500", Status: 500})
		c = k.mustAdvance(c.Term, next, store.Also{})
		k.wants(next)
		k.onAgenda(c.ID)
	}
}
