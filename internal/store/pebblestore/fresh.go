package pebblestore

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// fresh proves without a look into the database that an id is absent, which is what nearly every claim asks. Every record
// goes through this process, so an id that was minted after the youngest record there was at the start, and that was not written
// since, has none.
//
// What was written is remembered in filters that may take an id for another one, and never miss one: what they say to have been written is
// looked up. When the younger one has taken in maxFresh ids, the older one, and what it remembers, is given up.
type fresh struct {
	mu         sync.Mutex // guards what follows
	since      uint64     // Unix milliseconds: every record whose id was minted then or later is in young or in old
	young, old filter
	newest     uint64 // when the youngest id was minted that has a record, or had one since the start; 0: there was none
}

// maxFresh is how many ids go into a filter.
const maxFresh = 1 << 18

// A filter is a Bloom filter of which each id has one cache line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters). With
// 16 bits for an id it takes some three of a thousand for ones that they are not.
type filter struct {
	lines  [][8]uint64
	n      int    // how many ids are in it
	newest uint64 // when the latest of them was minted
}

const (
	filterLines = maxFresh * 16 / 512
	filterBits  = 5
)

// line returns the line of the id, and which bits it has there, nine binary digits for each. The second half of an id is random.
func (f *filter) line(id store.ID) (line *[8]uint64, bits uint64) {
	random := binary.BigEndian.Uint64(id[8:])
	return &f.lines[random%filterLines], random / filterLines
}

func (f *filter) add(id store.ID) {
	line, bits := f.line(id)
	for range filterBits {
		line[bits>>6&7] |= 1 << (bits & 63)
		bits >>= 9
	}
	f.n++
	f.newest = max(f.newest, minted(id))
}

func (f *filter) has(id store.ID) bool {
	line, bits := f.line(id)
	for range filterBits {
		if line[bits>>6&7]&(1<<(bits&63)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}

func minted(id store.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) >> 16 }

// begin reads what there is. The youngest id of a shelf is its last.
func (f *fresh) begin(db *pebble.DB, now uint64) error {
	f.since = now
	f.young.lines, f.old.lines = make([][8]uint64, filterLines), make([][8]uint64, filterLines)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{recordPrefix}, UpperBound: []byte{recordPrefix + 1}})
	if err != nil {
		return readError(err)
	}
	for ok := it.Last(); ok; {
		id, fits := recordID(it.Key())
		if !fits {
			return errors.Join(store.ErrCorrupt, it.Close())
		}
		f.newest = max(f.newest, minted(id))
		f.since = max(f.since, minted(id)+1)
		ok = it.SeekLT(shelfKey(id.Shelf()))
	}
	if err := it.Close(); err != nil {
		return readError(err)
	}
	return nil
}

// writing is called before a record of id is written, under its stripe.
func (f *fresh) writing(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest = max(f.newest, minted(id))
	if minted(id) < f.since {
		return
	}
	if f.young.n == maxFresh {
		f.since = max(f.since, f.old.newest+1)
		f.young, f.old = f.old, f.young
		clear(f.young.lines)
		f.young.n, f.young.newest = 0, 0
	}
	f.young.add(id)
}

// youngest returns when the youngest id was minted that has a record, or had one since the start; zero: there was none.
func (f *fresh) youngest() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.newest == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(f.newest)).UTC() //nolint:gosec // 48 bits
}

// absent tells whether there is surely no record of id. False says nothing. The caller holds its stripe.
func (f *fresh) absent(id store.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return minted(id) >= f.since && !f.young.has(id) && !f.old.has(id)
}
