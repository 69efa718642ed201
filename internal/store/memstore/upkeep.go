package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postonce/poe/internal/store"
)

// step is how many records one call of Sweep looks at.
const step = 1024

// Identity implements store.Upkeep.
func (s *Store) Identity() store.ID { return s.id }

// Secret implements store.Upkeep.
func (s *Store) Secret() [32]byte { return s.secret }

// Exclusive implements store.Upkeep: no other process can see this memory.
func (s *Store) Exclusive() bool { return true }

// Sweep implements store.Upkeep.
func (s *Store) Sweep(ctx context.Context, now time.Time) (store.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return store.Swept{}, fmt.Errorf("sweeping: %w", err)
	}
	if s.clock.Ahead() > 0 {
		return store.Swept{}, nil
	}
	if t := s.clock.Raise(); now.After(t) {
		now = t
	}
	past := s.after(s.cursor, func(id store.ID) bool { return id.Shelf().Past(now) })
	if len(past) == 0 {
		s.cursor = store.ID{}
		s.dropBodies(now)
		return store.Swept{}, nil
	}
	did := store.Swept{Shelf: past[0].Shelf(), More: true}
	for _, id := range past[:min(len(past), step)] {
		if id.Shelf() != did.Shelf {
			break
		}
		s.cursor = id
		if r := s.records[id]; !r.State.Open() {
			s.forget(&r)
			did.Records++
		}
	}
	return did, nil
}

func (s *Store) forget(r *store.Record) {
	if of := [2]string{r.Door, r.Route}; r.Claimed.After(s.forgot[of]) {
		s.forgot[of] = r.Claimed
	}
	for _, n := range r.Names {
		if s.names[n] == r.ID {
			delete(s.names, n)
		}
	}
	delete(s.agenda, r.ID)
	delete(s.records, r.ID)
}

// dropBodies removes the bodies on past shelves that no record can refer to any more.
func (s *Store) dropBodies(now time.Time) {
	for at := range s.bodies {
		if _, held := s.records[at.id]; !held && at.id.Shelf().Past(now) {
			delete(s.bodies, at)
		}
	}
}

// after returns the ids behind from that keep says, in the ledger's order: by shelf, then by id.
func (s *Store) after(from store.ID, keep func(store.ID) bool) []store.ID {
	var ids []store.ID
	for id := range s.records {
		if (from.IsZero() || order(id, from) > 0) && keep(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, order)
	return ids
}

func order(a, b store.ID) int {
	return cmp.Or(cmp.Compare(a.Shelf(), b.Shelf()), bytes.Compare(a[:], b[:]))
}

// List implements store.Upkeep.
func (s *Store) List(ctx context.Context, after store.ID, limit int) ([]store.ID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	ids := s.after(after, func(store.ID) bool { return true })
	return ids[:min(len(ids), max(limit, 0))], nil
}

// Floor implements store.Upkeep.
func (s *Store) Floor(ctx context.Context) (store.Floor, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return store.Floor{}, fmt.Errorf("reading the floor: %w", err)
	}
	return store.Floor{Time: s.clock.Floor()}, nil
}

// Health implements store.Upkeep.
func (s *Store) Health() store.Health {
	h := store.Health{Free: -1, Ahead: s.clock.Ahead()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, e := range s.agenda {
		if e.Due.Equal(store.Person) {
			h.Left[s.records[id].Kind]++
		}
	}
	return h
}

// ConfirmClock implements store.Upkeep.
func (s *Store) ConfirmClock() { s.clock.Confirm() }

// Ready implements store.Upkeep.
func (s *Store) Ready(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.usable(ctx)
}

// Close implements store.Upkeep. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Clock implements store.Upkeep.
func (s *Store) Clock() *store.Clock { return s.clock }
