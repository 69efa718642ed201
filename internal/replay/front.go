package replay

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/postonce/poe/internal/store"
)

// A Front keeps finished records in memory, the least recently used ones leaving first, so that a repeat of a recent answer costs no I/O.
// It only confirms what the ledger has made durable: a miss says nothing, and eviction costs time, never truth.
// Beside a record that is asked for again and again it has room for an A, which whoever asks may make of it.
// It is safe for concurrent use.
type Front[A any] struct {
	budget int64

	mu   sync.Mutex
	lru  *simplelru.LRU[store.ID, entry]
	held int64
	hot  *simplelru.LRU[store.ID, *Held[A]] // what was asked for lately, decoded; of entries only
	// named leads from the names of held records to their ids. Where two records list a name it leads to the one that was added last.
	named map[store.Name]store.ID
}

// A Held is a record of the front's. It is shared, and what its record's slices hold too: read only.
type Held[A any] struct {
	store.Record

	// Aside is what was made of the record, or nil. It leaves together with the record, and so is never of another one.
	Aside atomic.Pointer[A]
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
func NewFront[A any](bytes int64) *Front[A] {
	f := &Front[A]{budget: bytes, named: make(map[store.Name]store.ID)}
	// The bound is ours, in bytes; NewLRU fails only for a size below one.
	f.lru, _ = simplelru.NewLRU(math.MaxInt, f.left)
	f.hot, _ = simplelru.NewLRU[store.ID, *Held[A]](hot, nil)
	return f
}

// left takes off what an entry that leaves has cost, and its names.
func (f *Front[A]) left(id store.ID, e entry) {
	f.held -= e.cost
	f.hot.Remove(id)
	for _, n := range e.names {
		if f.named[n] == id {
			delete(f.named, n)
		}
	}
}

// Named returns the record with that name if it is here, as Get does, and nil otherwise. A name may have been given back, or taken over,
// elsewhere: the ledger alone says whether it still leads there.
func (f *Front[A]) Named(n store.Name) *Held[A] {
	f.mu.Lock()
	id, ok := f.named[n]
	f.mu.Unlock()
	if !ok {
		return nil
	}
	h := f.Get(id)
	if h == nil || !slices.Contains(h.Names, n) { // it has left or changed in between
		return nil
	}
	return h
}

// Get returns the record with that id if it is here, and nil otherwise.
func (f *Front[A]) Get(id store.ID) *Held[A] {
	f.mu.Lock()
	e, ok := f.lru.Get(id)
	h, known := f.hot.Get(id)
	f.mu.Unlock()
	if !ok || known {
		return h
	}
	r, err := store.Decode(id, e.record)
	if err != nil {
		f.Remove(id) // what Add has encoded can be decoded; if not, the ledger still knows
		return nil
	}
	r.Response.Content = e.content
	h = &Held[A]{Record: r}
	if len(e.record) > hotRecord {
		return h
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now, ok := f.lru.Peek(id)
	if !ok || &now.record[0] != &e.record[0] { // it is not the same any more
		return h
	}
	if other, ok := f.hot.Peek(id); ok { // somebody else was quicker
		return other
	}
	f.hot.Add(id, h)
	return h
}

// Add keeps r, in place of an earlier one with its id. The caller has seen that r is durable. A record that is neither Done nor Burned
// may still change elsewhere and is never kept, nor is one that takes more than an eighth of the budget;
// then an earlier one leaves too. Nothing of r is shared.
func (f *Front[A]) Add(r store.Record) {
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
func (f *Front[A]) Remove(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lru.Remove(id)
}

// Usage returns how many records are here, and how many bytes they take.
func (f *Front[A]) Usage() (records int, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lru.Len(), f.held
}
