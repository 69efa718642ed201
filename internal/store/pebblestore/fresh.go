package pebblestore

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// maxFresh is how many ids fresh remembers, in 17 bytes each.
const maxFresh = 1 << 18

// fresh proves without a look into the database that an id is absent, which is what nearly every claim asks. Every record
// goes through this process, so an id that was minted after the youngest record there was at the start, and that was not written
// since, has none.
type fresh struct {
	mu    sync.Mutex // guards what follows
	since uint64     // Unix milliseconds: every record whose id was minted then or later is in ids
	ids   map[store.ID]struct{}
}

func minted(id store.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) >> 16 }

// begin reads what there is. The youngest id of a shelf is its last.
func (f *fresh) begin(db *pebble.DB, now uint64) error {
	f.since, f.ids = now, make(map[store.ID]struct{})
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{recordPrefix}, UpperBound: []byte{recordPrefix + 1}})
	if err != nil {
		return readError(err)
	}
	for ok := it.Last(); ok; {
		id, fits := recordID(it.Key())
		if !fits {
			return errors.Join(store.ErrCorrupt, it.Close())
		}
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
	if minted(id) < f.since {
		return
	}
	if len(f.ids) == maxFresh { // begin again behind the youngest
		for old := range f.ids {
			f.since = max(f.since, minted(old)+1)
		}
		clear(f.ids)
		f.since = max(f.since, minted(id)+1)
		return
	}
	f.ids[id] = struct{}{}
}

// absent tells whether there is surely no record of id. False says nothing. The caller holds its stripe.
func (f *fresh) absent(id store.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if minted(id) < f.since {
		return false
	}
	_, written := f.ids[id]
	return !written
}
