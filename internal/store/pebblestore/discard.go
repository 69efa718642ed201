package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// discardLater is how many bodies a backup keeps from being discarded at most, in 32 bytes each. The others stay until their shelf is past.
const discardLater = 64 << 10

// discards are the bodies that may be in the copy which is being made.
type discards struct {
	mu    sync.Mutex
	later []place
}

// place is where a body lies.
type place struct {
	id   store.ID
	part store.Part
}

// Discard implements store.Bodies.
func (s *Store) Discard(ctx context.Context, id store.ID, part store.Part) error {
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("discarding a body of %s: %w", id, err)
	}
	defer s.leave()
	at := place{id, part}
	if !s.discards.begin(s, at) {
		return nil
	}
	defer s.keeping.RUnlock()
	if err := s.discard(at); err != nil {
		return fmt.Errorf("discarding a body of %s: %w", id, err)
	}
	return nil
}

// begin takes keeping for reading, and tells whether it has. Where a backup holds it, the record that was copied may still refer to the body, so that is left to
// the end of the backup: it gives keeping back before it asks for mu, so it sees all that were refused.
func (d *discards) begin(s *Store, at place) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.keeping.TryRLock() {
		return true
	}
	if len(d.later) < discardLater {
		d.later = append(d.later, at)
	}
	return false
}

// discardKept discards what a backup that has ended has kept.
func (s *Store) discardKept() {
	s.discards.mu.Lock()
	kept := s.discards.later
	s.discards.later = nil
	s.discards.mu.Unlock()
	for _, at := range kept {
		if err := s.discard(at); err != nil {
			s.c.Log.Debug().Err(err).Stringer("id", at.id).Msg("discarding a body after a backup: it stays until its shelf is past")
		}
	}
}

// discard removes the file, unless the record, as its last durable write has made it, refers to it.
func (s *Store) discard(at place) error {
	s.gate.RLock()
	r, err := s.settled(at.id)
	s.gate.RUnlock()
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err == nil && r.RefersTo(at.part):
		return nil
	}
	return s.shelves.discard(s.shelves.path(at.id, at.part))
}

// discard removes the file, unless a Put writes it; none begins meanwhile.
func (b *shelves) discard(path string) error {
	if !b.occupy(path) {
		return nil
	}
	defer b.finished(path)
	if err := b.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing it: %w", err)
	}
	return nil
}

// occupy tells whether nobody is at work on the file; then it is the caller's until finished.
func (b *shelves) occupy(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, busy := b.busy[path]; busy {
		return false
	}
	b.busy[path] = struct{}{}
	return true
}
