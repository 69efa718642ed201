package memstore

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/postonce/poe/internal/store"
)

// place is where a body lies.
type place struct {
	id   store.ID
	part store.Part
}

// Put implements store.Bodies.
func (s *Store) Put(ctx context.Context, id store.ID, part store.Part, src io.Reader) (int64, error) {
	at := place{id, part}
	if err := s.room(ctx, at); err != nil {
		return 0, fmt.Errorf("putting a body of %s: %w", id, err)
	}
	b, err := io.ReadAll(src)
	if err != nil {
		return 0, fmt.Errorf("putting a body of %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, fmt.Errorf("putting a body of %s: %w: it is closed", id, store.ErrUnavailable)
	}
	if _, there := s.bodies[at]; there {
		return 0, fmt.Errorf("putting a body of %s: %w", id, store.ErrTaken)
	}
	s.bodies[at] = b
	return int64(len(b)), nil
}

func (s *Store) room(ctx context.Context, at place) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if _, there := s.bodies[at]; there {
		return store.ErrTaken
	}
	return nil
}

// Open implements store.Bodies.
func (s *Store) Open(ctx context.Context, id store.ID, part store.Part) (io.ReadSeekCloser, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("opening a body of %s: %w", id, err)
	}
	b, ok := s.bodies[place{id, part}]
	if !ok {
		return nil, fmt.Errorf("opening a body of %s: %w", id, store.ErrNotFound)
	}
	return body{bytes.NewReader(b)}, nil
}

// Discard implements store.Bodies.
func (s *Store) Discard(ctx context.Context, id store.ID, part store.Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("discarding a body of %s: %w", id, err)
	}
	if r, ok := s.records[id]; !ok || !r.RefersTo(part) {
		delete(s.bodies, place{id, part})
	}
	return nil
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }
