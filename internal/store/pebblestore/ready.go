package pebblestore

import (
	"context"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// Identity implements store.Upkeep.
func (s *Store) Identity() store.ID { return s.meta.identity }

// Secret implements store.Upkeep.
func (s *Store) Secret() [32]byte { return s.meta.secret }

// Exclusive implements store.Upkeep: the folder is locked.
func (s *Store) Exclusive() bool { return true }

// Floor implements store.Upkeep.
func (s *Store) Floor(ctx context.Context) (store.Floor, error) {
	if err := s.enter(ctx); err != nil {
		return store.Floor{}, fmt.Errorf("reading the floor: %w", err)
	}
	defer s.leave()
	return store.Floor{Time: s.clock.Floor(), Minted: s.meta.restored, Lost: s.meta.lost()}, nil
}

// A pulse is a write that changes nothing but the ledger's clock. At most one is under way.
type pulse struct {
	mu   sync.Mutex
	beat *beat
}

type beat struct {
	done chan struct{} // closed when err is set
	err  error
}

// Ready implements store.Upkeep: it looks at the room on the disk, then makes a write of its own durable. It waits for that
// write no longer than ctx lasts; a disk that hangs so is seen as one that does not answer.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.room.look(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := s.refuses(); err != nil {
		return err
	}
	b := s.pulse.next(s)
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("%w: the disk has not answered yet: %w", store.ErrUnavailable, ctx.Err())
	}
}

// next joins the beat that is under way, or begins one.
func (p *pulse) next(s *Store) *beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.beat != nil {
		return p.beat
	}
	b := &beat{done: make(chan struct{})}
	// The database stays open until the beat has ended. A Close that waits already would be waited for by RLock, and
	// waits itself for the caller.
	if !s.life.TryRLock() {
		b.err = fmt.Errorf("%w: it is being closed", store.ErrUnavailable)
		close(b.done)
		return b
	}
	p.beat = b
	go func() {
		defer s.life.RUnlock()
		b.err = s.commits.submit(store.Absent, fillFunc(func(*pebble.Batch) error { return nil }))
		p.mu.Lock()
		p.beat = nil
		p.mu.Unlock()
		close(b.done)
	}()
	return b
}
