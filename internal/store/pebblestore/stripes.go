package pebblestore

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// count is how many stripes there are: enough that writers seldom meet by chance, few enough to be cheap (100 kB).
const count = 4096

// stripes are the locks of the ledger. An id and a name each have one, by their random bits.
// Several are taken in ascending order only, so nobody waits in a circle.
type stripes [count]sync.RWMutex

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
