package replay

import (
	"math"
	"reflect"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/postonce/poe/internal/store"
)

// A Front keeps finished records in memory, the least recently used ones leaving first, so that a repeat of a recent answer costs no I/O.
// It only confirms what the ledger has made durable: a miss says nothing, and eviction costs time, never truth.
// It is safe for concurrent use.
type Front struct {
	budget int64

	mu   sync.Mutex
	lru  *simplelru.LRU[store.ID, entry]
	held int64
}

type entry struct {
	record store.Record
	cost   int64
}

// share is the part of the budget that one record may take, so that a single large one cannot empty the front.
const share = 8

// overhead is what an entry costs beside its record: the LRU's list element with the entry, and its place in the map, in bytes.
const overhead = 256

// NewFront returns a front that holds at most that many bytes; 0 or less: nothing.
func NewFront(bytes int64) *Front {
	f := &Front{budget: bytes}
	// The bound is ours, in bytes; NewLRU fails only for a size below one.
	f.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ store.ID, e entry) { f.held -= e.cost })
	return f
}

// Get returns the record with that id if it is here. Its slices are shared and read only.
func (f *Front) Get(id store.ID) (store.Record, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.lru.Get(id)
	return e.record, ok
}

// Add keeps r, in place of an earlier one with its id. The caller has seen that r is durable. A record that is neither Done nor Burned
// may still change elsewhere and is never kept, nor is one that takes more than an eighth of the budget;
// then an earlier one leaves too. The content is copied, so that what r shares with others is not held.
func (f *Front) Add(r store.Record) {
	c := cost(&r)
	keep := (r.State == store.Done || r.State == store.Burned) && c <= f.budget/share
	if keep {
		r.Response.Content = slices.Clip(slices.Clone(r.Response.Content))
		r.Request.Content = slices.Clip(slices.Clone(r.Request.Content))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lru.Remove(r.ID)
	if !keep {
		return
	}
	f.lru.Add(r.ID, entry{r, c})
	f.held += c
	for f.held > f.budget && f.lru.Len() > 0 {
		f.lru.RemoveOldest()
	}
}

// Remove forgets the record with that id.
func (f *Front) Remove(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lru.Remove(id)
}

// Usage returns how many records are here, and how many bytes they take.
func (f *Front) Usage() (records int, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lru.Len(), f.held
}

// cost is what keeping r takes, in bytes.
func cost(r *store.Record) int64 {
	n := int(reflect.TypeFor[entry]().Size()) + overhead
	n += len(r.Door) + len(r.Route) + len(r.Method) + len(r.Target)
	n += cap(r.Names) * len(store.Name{})
	n += cap(r.Request.Head) + len(r.Request.Content) + cap(r.Response.Head) + len(r.Response.Content)
	n += cap(r.History) * int(reflect.TypeFor[store.Event]().Size())
	for i := range r.History {
		n += len(r.History[i].Who) + len(r.History[i].Why)
	}
	return int64(n)
}
