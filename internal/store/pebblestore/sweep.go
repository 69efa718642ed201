package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

const (
	sweepRecords = 32 << 10 // records that one step looks at
	sweepBytes   = 16 << 20 // bytes of records that one step looks at
	sweepLeads   = 32 << 10 // names and agenda entries that one step looks at
	sweepFiles   = 1024     // bodies that one step looks at
)

// A sweeper remembers where a sweep stands: it goes over the records, then over the names and the agenda, then over the bodies. That is a
// convenience: a sweep that begins anew does no harm.
type sweeper struct {
	mu    sync.Mutex
	phase phase
	next  []byte // the first key that this phase has not looked at; nil: it begins
	file  string // the last body that it has looked at, as shelf/file

	past store.Shelf // the first one that is not past: fixed for the length of a sweep
	kept kept        // what is still there below it
	left bool        // names and the agenda may lead to what is forgotten; written down, so that no crash loses it
}

// phase is what a sweep goes over.
type phase uint8

const (
	overRecords phase = iota
	overLeads
	overBodies
)

// Sweep implements store.Upkeep.
//
// It forgets one stretch of records after the other, by deleting ranges, and leaves what is open. Then it walks once over all names and the agenda, and takes
// out what leads to what is forgotten. A name that leads to no record is as good as free, so the order does no harm, and looking for the names record by
// record would read a block of the disk for each: they are random.
//
// No record appears on a past shelf, and none that is at rest there opens again: claims are judged by a clock whose floor has been raised to the time of the
// sweep, and those that were judged before are waited for. So what was seen at rest can go without another look.
func (s *Store) Sweep(ctx context.Context, now time.Time) (store.Swept, error) {
	if err := s.enter(ctx); err != nil {
		return store.Swept{}, fmt.Errorf("sweeping: %w", err)
	}
	defer s.leave()
	if !s.keeping.TryRLock() {
		return store.Swept{}, nil // a backup needs what would go
	}
	defer s.keeping.RUnlock()
	s.sweeper.mu.Lock()
	defer s.sweeper.mu.Unlock()
	if s.clock.Ahead() > 0 {
		return store.Swept{}, nil
	}
	if t := s.clock.Raise(); now.After(t) {
		now = t
	}
	did, err := s.sweepStep(now)
	if err != nil {
		return did, fmt.Errorf("sweeping: %w", err)
	}
	return did, nil
}

func (s *Store) sweepStep(now time.Time) (store.Swept, error) {
	at := &s.sweeper
	if at.phase == overRecords {
		if at.next == nil {
			s.beginSweep(now)
		}
		st, err := s.stretch()
		if err != nil {
			return store.Swept{}, err
		}
		if !st.last.IsZero() {
			err := s.forget(&st)
			return store.Swept{Shelf: st.shelf, Records: st.n, More: true}, err
		}
		at.phase, at.next = overLeads, nil
	}
	if at.phase == overLeads && at.left {
		return store.Swept{More: true}, s.sweepLeads()
	}
	if at.phase == overLeads {
		at.phase, at.file = overBodies, ""
	}
	more, err := s.sweepBodies(now)
	if !more { // also after an error: records are forgotten, whatever is wrong with a file
		at.phase, at.next = overRecords, nil
	}
	return store.Swept{More: more}, err
}

// beginSweep fixes what is past, and waits for the writes that were decided before that.
func (s *Store) beginSweep(now time.Time) {
	at := &s.sweeper
	at.next, at.past, at.kept = []byte{recordPrefix}, store.ShelfOf(now), kept{}
	s.gate.Lock()
	s.gate.Unlock() //nolint:staticcheck // nothing is to be done: every write holds the gate from its decision until it is durable
}

// A stretch is some neighbours on one shelf.
type stretch struct {
	shelf store.Shelf
	last  store.ID // zero: there are none
	goes  []idRange
	n     int // records in goes
	kept  []store.ID

	forgotten map[origin]time.Time // when the latest of those that go was claimed
	latest    struct {             // and of those of one origin that were read last
		origin  origin
		claimed time.Time
	}
}

// idRange is the first and the last of some neighbours that are all at rest.
type idRange struct{ first, last store.ID }

// stretch reads the next records on past shelves. It holds no locks.
func (s *Store) stretch() (st stretch, err error) {
	looked, size, apart := 0, 0, true
	st.forgotten = map[origin]time.Time{}
	bounds := &pebble.IterOptions{LowerBound: s.sweeper.next, UpperBound: shelfKey(s.sweeper.past)}
	err = s.each(bounds, func(id store.ID, value []byte) bool {
		if looked == 0 {
			st.shelf = id.Shelf()
		}
		if id.Shelf() != st.shelf || looked >= sweepRecords || size > sweepBytes {
			return false
		}
		st.last = id
		looked, size = looked+1, size+len(value)
		t, err := store.ReadTrace(id, value)
		if err != nil {
			s.c.Log.Error().Err(err).Msg("a record that cannot be read is kept")
		}
		if err != nil || t.State.Open() {
			st.kept, apart = append(st.kept, id), true
			return true
		}
		st.trace(&t)
		if apart {
			st.goes, apart = append(st.goes, idRange{first: id}), false
		}
		st.goes[len(st.goes)-1].last = id
		st.n++
		return true
	})
	st.noted()
	return st, err
}

// trace notes of a record that goes what is remembered of it. Most have the door and the route of the one before.
func (st *stretch) trace(t *store.Trace) {
	if o := &st.latest.origin; o.door != string(t.Door) || o.route != string(t.Route) {
		st.noted()
		st.latest.origin = origin{string(t.Door), string(t.Route)}
	}
	if t.Claimed.After(st.latest.claimed) {
		st.latest.claimed = t.Claimed
	}
}

// noted has what trace has noted of the latest ones in st.forgotten.
func (st *stretch) noted() {
	if l := &st.latest; l.claimed.After(st.forgotten[l.origin]) {
		st.forgotten[l.origin] = l.claimed
	}
	st.latest.claimed = time.Time{}
}

// each hands the records within the bounds to take, until it returns false. The value is good until take returns.
func (s *Store) each(bounds *pebble.IterOptions, take func(id store.ID, value []byte) bool) error {
	it, err := s.db.NewIter(bounds)
	if err != nil {
		return readError(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		id, fits := recordID(it.Key())
		value, err := it.ValueAndErr()
		if err != nil || !fits {
			return errors.Join(fmt.Errorf("%w: a record of %d bytes under a key of %d", store.ErrCorrupt, len(value), len(it.Key())), err, it.Close())
		}
		if !take(id, value) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return readError(err)
	}
	return nil
}

// forget removes what is at rest on the stretch, with everybody else shut out until that is durable: nobody sees it gone that could see it again after a crash.
func (s *Store) forget(st *stretch) error {
	if st.n > 0 {
		s.gate.Lock()
		defer s.gate.Unlock()
		maps.DeleteFunc(st.forgotten, func(o origin, t time.Time) bool { return !t.After(s.meta.forgotten[o]) })
		if err := s.commits.submit(store.Absent, st); err != nil {
			return err
		}
		maps.Copy(s.meta.forgotten, st.forgotten)
		s.sweeper.left = true
	}
	s.sweeper.kept.add(st.kept)
	s.sweeper.next = behind(st.last)
	return nil
}

func (st *stretch) fill(b *pebble.Batch) error {
	for _, r := range st.goes {
		if err := b.DeleteRange(recordKey(r.first), behind(r.last), nil); err != nil {
			return err
		}
	}
	for o, t := range st.forgotten {
		if err := b.Set(forgotKey(o), timeValue(t), nil); err != nil {
			return err
		}
	}
	return b.Set(metaKey(metaLeft), nil, nil)
}

// behind is the key right behind a record's.
func behind(id store.ID) []byte { return append(recordKey(id), 0) }

// keptMost is how many ids of what a sweep leaves it remembers, in 16 bytes each.
const keptMost = 4096

// kept is what a sweep has left where it was, ascending by shelf and id.
type kept struct {
	ids  []store.ID
	more bool // there are others, all behind these
}

func (k *kept) add(ids []store.ID) {
	room := min(keptMost-len(k.ids), len(ids))
	k.ids, k.more = append(k.ids, ids[:room]...), k.more || room < len(ids)
}

// has tells whether id is there, and whether that is known.
func (k *kept) has(id store.ID) (has, known bool) {
	i, found := slices.BinarySearchFunc(k.ids, id, byShelf)
	return found, found || i < len(k.ids) || !k.more
}

// byShelf orders ids as their records are.
func byShelf(a, b store.ID) int {
	return cmp.Or(cmp.Compare(a.Shelf(), b.Shelf()), bytes.Compare(a[:], b[:]))
}
