package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/store"
)

const (
	sweepRecords = 1024     // records that one step looks at
	sweepBytes   = 16 << 20 // bytes of records that one step looks at
	sweepNames   = 64       // records whose names are freed in one write
	sweepFiles   = 1024     // bodies that one step looks at
)

// A sweeper remembers where a sweep stands. That is a convenience: a sweep that begins anew does no harm.
type sweeper struct {
	mu     sync.Mutex
	next   []byte // the first key that the sweep has not looked at; nil: it begins
	bodies bool   // the records are done
	file   string // the last body that it has looked at, as shelf/file
}

// Sweep implements store.Upkeep.
//
// It first frees the names of a stretch of records that are at rest, in ordinary writes. Then, with everybody else
// shut out for the length of one sync, it forgets the stretch and sets again what is still open, as it stands now.
// No record can open again on a past shelf, nor can one appear there: claims are judged by a clock whose floor
// has been raised to the time of the sweep.
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
	if !at.bodies {
		st, err := s.stretch(at.next, now)
		if err != nil {
			return store.Swept{}, err
		}
		if len(st.keys) > 0 {
			did, err := s.sweepStretch(st)
			if err == nil {
				at.next = st.end()
			}
			return did, err
		}
		at.bodies, at.file = true, ""
	}
	more, err := s.sweepBodies(now)
	if err == nil && !more {
		at.bodies, at.next = false, nil
	}
	return store.Swept{More: more}, err
}

// A stretch is some neighbours on one shelf, as they stood when the sweep came by.
type stretch struct {
	shelf store.Shelf
	keys  [][]byte                  // ascending
	named []store.ID                // at rest, with names
	rest  map[store.ID]store.Record // what is at rest: only Term and Names
}

// end is the key behind the stretch.
func (st *stretch) end() []byte { return append(slices.Clone(st.keys[len(st.keys)-1]), 0) }

// stretch reads the next records on past shelves. It holds no locks: it is a plan, the truth is read again.
func (s *Store) stretch(from []byte, now time.Time) (st stretch, err error) {
	st.rest = map[store.ID]store.Record{}
	if from == nil {
		from = []byte{recordPrefix}
	}
	bounds := &pebble.IterOptions{LowerBound: from, UpperBound: shelfKey(store.ShelfOf(now))}
	size := 0
	err = s.each(bounds, func(id store.ID, value []byte) bool {
		if len(st.keys) == 0 {
			st.shelf = id.Shelf()
		}
		if id.Shelf() != st.shelf || len(st.keys) >= sweepRecords || size > sweepBytes {
			return false
		}
		st.keys = append(st.keys, recordKey(id))
		size += len(value)
		r, err := store.Decode(id, value)
		if err != nil {
			s.c.Log.Error().Err(err).Msg("a record that cannot be read is kept")
			return true
		}
		if r.State.Open() {
			return true
		}
		st.rest[id] = store.Record{Term: r.Term, Names: r.Names}
		if len(r.Names) > 0 {
			st.named = append(st.named, id)
		}
		return true
	})
	return st, err
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

func (s *Store) sweepStretch(st stretch) (store.Swept, error) {
	for some := range slices.Chunk(st.named, sweepNames) {
		if err := s.freeNames(some, st.rest); err != nil {
			return store.Swept{}, err
		}
	}
	killpoint.Hit("names-freed")
	n, err := s.forget(&st)
	return store.Swept{Shelf: st.shelf, Records: n, More: true}, err
}

// freeNames frees the names of those records, where they still lead there, as any other write would.
func (s *Store) freeNames(ids []store.ID, rest map[store.ID]store.Record) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	var set stripeSet
	for _, id := range ids {
		set = set.withRecord(id, rest[id].Names)
	}
	s.stripes.lock(set)
	defer s.stripes.unlock(set)
	var free []store.Name
	for _, id := range ids {
		r, err := s.record(id)
		if err != nil || r.Term != rest[id].Term {
			continue // it has moved on since; forget sees how it stands
		}
		if free, err = s.leading(free, &r); err != nil {
			return err
		}
	}
	if len(free) == 0 {
		return nil
	}
	return s.commits.submit(store.Absent, fillFunc(func(b *pebble.Batch) error { return deleteNames(b, free) }))
}

// leading appends those names of r that lead to r.
func (s *Store) leading(names []store.Name, r *store.Record) ([]store.Name, error) {
	for _, n := range r.Names {
		id, err := s.holder(n)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil && id == r.ID {
			names = append(names, n)
		}
	}
	return names, nil
}

func deleteNames(b *pebble.Batch, names []store.Name) error {
	for _, n := range names {
		if err := b.Delete(nameKey(n), nil); err != nil {
			return err
		}
	}
	return nil
}

// forgetting is what one write of a sweep does.
type forgetting struct {
	from, to []byte
	n        int // records that go
	agenda   [][]byte
	names    []store.Name
	keys     [][]byte // records that stay
	values   [][]byte
}

// forget removes what is at rest on the stretch, with everybody else shut out, and returns how many records that were.
func (s *Store) forget(st *stretch) (int, error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	f := forgetting{from: st.keys[0], to: st.end()}
	var failed error
	err := s.each(&pebble.IterOptions{LowerBound: f.from, UpperBound: f.to}, func(id store.ID, value []byte) bool {
		r, err := store.Decode(id, value)
		if err != nil || r.State.Open() {
			f.keys = append(f.keys, recordKey(id))
			f.values = append(f.values, slices.Clone(value))
			return true
		}
		f.n++
		if !r.Due.IsZero() {
			f.agenda = append(f.agenda, agendaKey(r.Due, id))
		}
		if st.rest[id].Term != r.Term {
			f.names, failed = s.leading(f.names, &r)
		}
		return failed == nil
	})
	if err := errors.Join(err, failed); err != nil || f.n == 0 {
		return 0, err
	}
	if err := s.commits.submit(store.Absent, &f); err != nil {
		return 0, err
	}
	return f.n, nil
}

func (f *forgetting) fill(b *pebble.Batch) error {
	if err := b.DeleteRange(f.from, f.to, nil); err != nil {
		return err
	}
	for i := range f.keys {
		if err := b.Set(f.keys[i], f.values[i], nil); err != nil {
			return err
		}
	}
	for _, k := range f.agenda {
		if err := b.SingleDelete(k, nil); err != nil {
			return err
		}
	}
	return deleteNames(b, f.names)
}
