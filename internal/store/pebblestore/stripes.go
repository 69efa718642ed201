package pebblestore

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// count is how many stripes there are: enough that writers seldom meet by chance, few enough to be cheap (128 KiB).
const count = 4096

// stripes are the locks of the ledger. An id and a name each have one, by their random bits.
// Several are taken in ascending order only, so nobody waits in a circle.
type stripes [count]stripe

// A stripe is one lock, and the latest record that was written under it, if that is running: most actions are settled soon
// after they were claimed, and then the write that settles needs not ask the database what it replaces.
type stripe struct {
	sync.RWMutex
	last *store.Record // guarded by the lock; as durable as everything that is read under it; nil: nothing is remembered
}

// remember notes a copy of r if it has just become durable; if nobody knows that, what was remembered of it is forgotten. The
// caller holds its stripe.
func (s *stripes) remember(r *store.Record, durable bool) {
	at := &s[stripeOfID(r.ID)]
	switch {
	case durable && r.State == store.Running && len(r.Request.Content) == 0:
		if at.last == nil {
			at.last = memories.Get().(*store.Record) //nolint:forcetypeassert // nothing else is in it
		}
		*at.last = *r
		at.last.Names, at.last.Request.Head = slices.Clone(r.Names), slices.Clone(r.Request.Head)
	case at.last != nil && at.last.ID == r.ID:
		memories.Put(at.last)
		at.last = nil
	}
}

// memories are records that can be used again: nobody has one whose stripe he does not hold any more.
var memories = sync.Pool{New: func() any { return new(store.Record) }}

// recall returns the record with that id if it is remembered, and nil otherwise. The caller holds its stripe.
func (s *stripes) recall(id store.ID) *store.Record {
	if last := s[stripeOfID(id)].last; last != nil && last.ID == id {
		return last
	}
	return nil
}

// A stripe set is ascending and without repetition.
type stripeSet []uint16

func stripeOfID(id store.ID) uint16    { return binary.BigEndian.Uint16(id[14:]) % count }
func stripeOfName(n store.Name) uint16 { return binary.BigEndian.Uint16(n[30:]) % count }

func (set stripeSet) has(i uint16) bool {
	_, ok := slices.BinarySearch(set, i)
	return ok
}

func (set stripeSet) with(more ...uint16) stripeSet {
	set = append(set, more...)
	slices.Sort(set)
	return slices.Compact(set)
}

// withRecord adds the stripes of an id and of names.
func (set stripeSet) withRecord(id store.ID, names []store.Name) stripeSet {
	set = append(set, stripeOfID(id))
	for _, n := range names {
		set = append(set, stripeOfName(n))
	}
	return set.with()
}

func (s *stripes) lock(set stripeSet) {
	for _, i := range set {
		s[i].Lock()
	}
}

func (s *stripes) unlock(set stripeSet) {
	for _, i := range set {
		s[i].Unlock()
	}
}

func (s *stripes) rlock(set stripeSet) {
	for _, i := range set {
		s[i].RLock()
	}
}

func (s *stripes) runlock(set stripeSet) {
	for _, i := range set {
		s[i].RUnlock()
	}
}
