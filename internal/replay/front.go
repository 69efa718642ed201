package replay

import (
	"encoding/binary"
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
//
// Records lie encoded in pages, in the order in which they came, and leave page by page. To the garbage collector a page is one piece of memory
// without pointers, and so are the parts of the index that leads to its records: a hundred thousand of them cost it nothing, and adding one allocates nothing.
type Front[A any] struct {
	budget   int64
	pageSize int

	mu    sync.Mutex
	pages *simplelru.LRU[uint32, *page] // by their numbers; asking for a record is a use of its page
	last  uint32                        // number of the latest page
	at    *page                         // where the next record goes; nil: none has been begun
	spare []byte                        // the room of a page that has left
	held  int64                         // by pages
	place *index[store.ID, place]
	// named leads from the names of held records to their ids. Where two records list a name it leads to the one that was added last.
	named *index[store.Name, store.ID]
	hot   *simplelru.LRU[store.ID, *Held[A]] // what was asked for lately, decoded; only of records that have a place
}

// A Held is a record of the front's. It is shared, and what its record's slices hold too: read only.
type Held[A any] struct {
	store.Record

	// Aside is what was made of the record, or nil. It leaves together with the record, and so is never of another one.
	Aside atomic.Pointer[A]
}

// A page is room for records, one behind the other.
type page struct {
	number uint32
	bytes  []byte
	ids    []store.ID // of its records; some may have another place by now
	live   int        // how many have their place here
	own    bool       // it has room for one record only, and is never written again: its bytes may be shared
}

// A place is where a record lies: small, since there are a hundred thousand of them.
type place struct {
	page uint32
	at   uint32 // in the page's bytes
}

// A lying record has its lengths in front, then its names, the record without its answer's content, and the content.
type lying struct {
	names           []byte
	record, content []byte
}

// lengths is how many bytes the lengths take: how many names, how many bytes of the record and of the content.
const lengths = 3 * 4

// append puts a record at the end of the page.
func (p *page) append(r *store.Record, record, content []byte) {
	for _, n := range []int{len(r.Names), len(record), len(content)} {
		p.bytes = binary.LittleEndian.AppendUint32(p.bytes, uint32(n)) //nolint:gosec // a page is smaller
	}
	for i := range r.Names {
		p.bytes = append(p.bytes, r.Names[i][:]...)
	}
	p.bytes = append(append(p.bytes, record...), content...)
}

// listed is how many bytes the list of its records takes.
func (p *page) listed() int64 { return int64(cap(p.ids)) * int64(len(store.ID{})) }

// whole returns what lies at that place, lengths included.
func (p *page) whole(at uint32) []byte {
	b := p.bytes[at:]
	n := lengths + int(length(b, 0))*len(store.Name{}) + int(length(b, 1)) + int(length(b, 2))
	return b[:n:n]
}

// length returns one of the lengths that whole begins with.
func length(whole []byte, i int) uint32 { return binary.LittleEndian.Uint32(whole[4*i:]) }

// parts returns what whole is made of.
func parts(whole []byte) lying {
	names, record := int(length(whole, 0))*len(store.Name{}), int(length(whole, 1))
	rest := whole[lengths:]
	return lying{names: rest[:names], record: rest[names : names+record], content: rest[names+record:]}
}

// share is the part of the budget that one record may take, so that a single large one cannot empty the front.
const share = 8

// maxPage is the size of a page, in bytes, where the budget is not so small that it would be more than one of minPages.
const (
	maxPage  = 256 << 10
	minPages = 64
)

// ownPage is the size from which a record gets a page of its own, in bytes. What lies there is not copied for those who ask.
const ownPage = 4 << 10

// hot is how many decoded records are kept beside, and hotRecord the largest that is, in bytes: encoded, and without content that is not copied.
// Together they take at most some ten megabytes beyond the budget.
const (
	hot       = 1 << 10
	hotRecord = ownPage
)

// pageOverhead is what is counted for a page beside its bytes and its list: what the LRU has of it. What the indexes take is known.
const pageOverhead = 320

// A part of an index is for so many bytes of the budget, and there are so many at most.
const (
	partBudget = 512 << 10
	maxParts   = 64
)

// NewFront returns a front that holds at most that many bytes; 0 or less: nothing.
func NewFront[A any](bytes int64) *Front[A] {
	parts := int(min(maxParts, max(1, bytes/partBudget)))
	f := &Front[A]{
		budget:   bytes,
		pageSize: int(min(maxPage, max(0, bytes/minPages))),
		place:    newIndex[store.ID, place](parts),
		named:    newIndex[store.Name, store.ID](parts),
	}
	// The bound is ours, in bytes; NewLRU fails only for a size below one.
	f.pages, _ = simplelru.NewLRU(math.MaxInt, f.left)
	f.hot, _ = simplelru.NewLRU[store.ID, *Held[A]](hot, nil)
	return f
}

// Named returns the record with that name if it is here, as Get does, and nil otherwise. A name may have been given back, or taken over,
// elsewhere: the ledger alone says whether it still leads there.
func (f *Front[A]) Named(n store.Name) *Held[A] {
	f.mu.Lock()
	id, ok := f.named.get(n)
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
	at, ok := f.place.get(id)
	if !ok {
		f.mu.Unlock()
		return nil
	}
	p, _ := f.pages.Get(at.page)
	if h, ok := f.hot.Get(id); ok {
		f.mu.Unlock()
		return h
	}
	encoded := p.whole(at.at)
	if !p.own {
		encoded = slices.Clone(encoded) // the page is written again when it has left
	}
	f.mu.Unlock()

	h := &Held[A]{}
	var err error
	it := parts(encoded)
	if h.Record, err = store.Decode(id, it.record); err != nil {
		f.Remove(id) // what Add has encoded can be decoded; if not, the ledger still knows
		return nil
	}
	if len(it.content) > 0 {
		h.Response.Content = it.content
	}
	if len(it.record) > hotRecord {
		return h
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now, ok := f.place.get(id); !ok || now != at { // it is not the same any more
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
func (f *Front[A]) Add(r *store.Record) {
	var room [512]byte // most fit
	var record, content []byte
	keep := r.State == store.Done || r.State == store.Burned
	if keep {
		content, record = r.Response.Content, r.AppendBare(room[:0])
	}
	size := lengths + len(r.Names)*len(store.Name{}) + len(record) + len(content)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(r.ID)
	if !keep || int64(size)+pageOverhead > min(f.budget/share, math.MaxUint32) {
		return
	}
	p := f.open(size)
	f.place.set(r.ID, place{page: p.number, at: uint32(len(p.bytes))}) //nolint:gosec // a page is smaller
	p.append(r, record, content)
	for i := range r.Names {
		f.named.set(r.Names[i], r.ID)
	}
	f.held -= p.listed()
	p.ids = append(p.ids, r.ID)
	f.held += p.listed()
	p.live++
	for f.size() > f.budget && f.pages.Len() > 0 {
		f.pages.RemoveOldest()
	}
}

// size is how many bytes are held. It is called under mu.
func (f *Front[A]) size() int64 { return f.held + f.place.bytes + f.named.bytes }

// open returns a page with room for size bytes. It is called under mu.
func (f *Front[A]) open(size int) *page {
	if size >= min(ownPage, f.pageSize) {
		return f.begin(make([]byte, 0, size), true)
	}
	if f.at == nil || cap(f.at.bytes)-len(f.at.bytes) < size {
		bytes := f.spare
		if f.spare = nil; bytes == nil {
			bytes = make([]byte, 0, f.pageSize)
		}
		f.at = f.begin(bytes[:0], false)
	}
	f.pages.Get(f.at.number) // what is being filled is in use
	return f.at
}

func (f *Front[A]) begin(bytes []byte, own bool) *page {
	for f.last++; f.pages.Contains(f.last); f.last++ { // a page that is asked for again and again may be as old as it likes
	}
	p := &page{number: f.last, bytes: bytes, own: own}
	f.pages.Add(p.number, p)
	f.held += int64(cap(bytes)) + pageOverhead
	return p
}

// left takes off what a page that leaves has cost, and what lies in it.
func (f *Front[A]) left(number uint32, p *page) {
	f.held -= int64(cap(p.bytes)) + p.listed() + pageOverhead
	for _, id := range p.ids {
		if at, ok := f.place.get(id); ok && at.page == number {
			f.unplace(id, at, p)
		}
	}
	if f.at == p {
		f.at = nil
	}
	if !p.own {
		f.spare = p.bytes
	}
}

// forget takes out the record with that id, and its page if nothing else is there. It is called under mu.
func (f *Front[A]) forget(id store.ID) {
	at, ok := f.place.get(id)
	if !ok {
		return
	}
	p, _ := f.pages.Peek(at.page)
	f.unplace(id, at, p)
	if p.live == 0 {
		f.pages.Remove(at.page)
	}
}

func (f *Front[A]) unplace(id store.ID, at place, p *page) {
	names := parts(p.whole(at.at)).names
	for n := range slices.Chunk(names, len(store.Name{})) {
		n := store.Name(n)
		if leads, ok := f.named.get(n); ok && leads == id {
			f.named.delete(n)
		}
	}
	f.place.delete(id)
	f.hot.Remove(id)
	p.live--
}

// Remove forgets the record with that id.
func (f *Front[A]) Remove(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(id)
}
