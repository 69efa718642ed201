package replay

import (
	"math"
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
	hot  *simplelru.LRU[store.ID, store.Record] // what was asked for lately, decoded; of entries only
	// named leads from the names of held records to their ids. Where two records list a name it leads to the one that was added last.
	named map[store.Name]store.ID
}

// An entry is a finished record, encoded as the ledger does it. As one piece of memory without pointers it costs the
// garbage collector nothing, which a hundred thousand records would; a hit pays for it with a microsecond.
type entry struct {
	record  []byte // all of it but the answer's content
	content []byte // of the answer, read only
	names   []store.Name
	cost    int64
}

// share is the part of the budget that one record may take, so that a single large one cannot empty the front.
const share = 8

// hot is how many decoded records are kept beside, and hotRecord the largest that is, encoded, in bytes. Together they take at most some ten
// megabytes beyond the budget.
const (
	hot       = 1 << 10
	hotRecord = 4 << 10
)

// overhead is what an entry costs beside its record and content: the LRU's list element with the entry, its place in the map, and
// what allocations are rounded up by, in bytes.
const overhead = 344

// nameOverhead is what a name costs: its place in the map and in the entry, in bytes.
const nameOverhead = 160

// NewFront returns a front that holds at most that many bytes; 0 or less: nothing.
func NewFront(bytes int64) *Front {
	f := &Front{budget: bytes, named: make(map[store.Name]store.ID)}
	// The bound is ours, in bytes; NewLRU fails only for a size below one.
	f.lru, _ = simplelru.NewLRU(math.MaxInt, f.left)
	f.hot, _ = simplelru.NewLRU[store.ID, store.Record](hot, nil)
	return f
}

// left takes off what an entry that leaves has cost, and its names.
func (f *Front) left(id store.ID, e entry) {
	f.held -= e.cost
	f.hot.Remove(id)
	for _, n := range e.names {
		if f.named[n] == id {
			delete(f.named, n)
		}
	}
}

// Named returns the record with that name if it is here, as Get does. A name may have been given back, or taken over, elsewhere:
// the ledger alone says whether it still leads there.
func (f *Front) Named(n store.Name) (store.Record, bool) {
	f.mu.Lock()
	id, ok := f.named[n]
	f.mu.Unlock()
	if !ok {
		return store.Record{}, false
	}
	r, ok := f.Get(id)
	if !ok || !slices.Contains(r.Names, n) { // it has left or changed in between
		return store.Record{}, false
	}
	return r, true
}

// Get returns the record with that id if it is here. What its slices hold is shared and read only.
func (f *Front) Get(id store.ID) (store.Record, bool) {
	f.mu.Lock()
	e, ok := f.lru.Get(id)
	r, known := f.hot.Get(id)
	f.mu.Unlock()
	if !ok || known {
		return r, ok
	}
	r, err := store.Decode(id, e.record)
	if err != nil {
		f.Remove(id) // what Add has encoded can be decoded; if not, the ledger still knows
		return store.Record{}, false
	}
	r.Response.Content = e.content
	if len(e.record) > hotRecord {
		return r, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now, ok := f.lru.Peek(id); ok && &now.record[0] == &e.record[0] { // it is still the same
		f.hot.Add(id, r)
	}
	return r, true
}

// Has tells whether the record with that id is here.
func (f *Front) Has(id store.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lru.Contains(id)
}

// Add keeps r, in place of an earlier one with its id. The caller has seen that r is durable. A record that is neither Done nor Burned
// may still change elsewhere and is never kept, nor is one that takes more than an eighth of the budget;
// then an earlier one leaves too. Nothing of r is shared.
func (f *Front) Add(r store.Record) {
	var e entry
	if r.State == store.Done || r.State == store.Burned {
		content := r.Response.Content
		r.Response.Content = nil
		var room [512]byte // most fit
		record := r.Append(room[:0])
		all := append(append(make([]byte, 0, len(record)+len(content)), record...), content...) // in one piece
		if e.record = all[:len(record):len(record)]; len(content) > 0 {
			e.content = all[len(record):]
		}
		e.names = slices.Clone(r.Names)
		e.cost = int64(overhead + len(e.record) + len(e.content) + nameOverhead*len(e.names))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lru.Remove(r.ID)
	if e.record == nil || e.cost > f.budget/share {
		return
	}
	f.lru.Add(r.ID, e)
	f.held += e.cost
	for _, n := range e.names {
		f.named[n] = r.ID
	}
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
