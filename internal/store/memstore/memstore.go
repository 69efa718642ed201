// Package memstore is a ledger in memory. It keeps every promise of package store but durability: all of it is gone
// with the process. It is what unit tests run on, and what "memory:" opens for a first look.
package memstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Config is what a Store is made of. A zero field has the default in its comment.
type Config struct {
	Clock  func() time.Time // time.Now
	Random io.Reader        // crypto/rand.Reader
}

// Store is a ledger in memory. All methods may be called concurrently.
type Store struct {
	clock  *store.Clock
	id     store.ID
	secret [32]byte

	mu      sync.RWMutex // guards what follows; a write holds it from its first read to its end
	closed  bool
	records map[store.ID]store.Record
	names   map[store.Name]store.ID
	agenda  map[store.ID]store.Entry
	bodies  map[place][]byte
	forgot  map[[2]string]time.Time // by door and route: when the latest that is forgotten was claimed
	cursor  store.ID                // the last id that the sweep has looked at; zero: a sweep begins
}

var _ store.Store = (*Store)(nil)

// New returns an empty ledger with an identity and a secret of its own. It fails only if Random fails.
func New(cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	s := &Store{
		clock:   store.NewClock(cfg.Clock, time.Time{}),
		records: map[store.ID]store.Record{},
		names:   map[store.Name]store.ID{},
		agenda:  map[store.ID]store.Entry{},
		bodies:  map[place][]byte{},
		forgot:  map[[2]string]time.Time{},
	}
	var err error
	if s.id, err = store.NewID(cfg.Clock(), 0, cfg.Random); err != nil {
		return nil, fmt.Errorf("making the ledger's identity: %w", err)
	}
	if _, err := io.ReadFull(cfg.Random, s.secret[:]); err != nil {
		return nil, fmt.Errorf("making the ledger's secret: %w", err)
	}
	return s, nil
}

// Claim implements store.Ledger.
func (s *Store) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	got, err := s.write(ctx, r, func(c *store.Change) (*store.Record, error) {
		return store.DecideClaim(view{s}, r, s.clock.Now(), c)
	})
	if err != nil {
		return got, fmt.Errorf("claiming %s: %w", r.ID, err)
	}
	return got, nil
}

// Advance implements store.Ledger.
func (s *Store) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	got, err := s.write(ctx, r, func(c *store.Change) (*store.Record, error) {
		return store.DecideAdvance(view{s}, &store.Advance{Was: was, Record: r, Also: also}, s.clock.Now(), c)
	})
	if err != nil {
		return got, fmt.Errorf("advancing %s: %w", r.ID, err)
	}
	return got, nil
}

// Lookup implements store.Ledger.
func (s *Store) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return store.Record{}, fmt.Errorf("looking up: %w", err)
	}
	if id, ok := k.ID(); ok {
		return s.record(id)
	}
	n, _ := k.Name()
	id, err := view{s}.Holder(n)
	if err != nil {
		return store.Record{}, err
	}
	r, err := s.record(id)
	if err == nil && !slices.Contains(r.Names, n) {
		return store.Record{}, store.ErrNotFound
	}
	return r, err
}

// Agenda implements store.Ledger.
func (s *Store) Agenda(ctx context.Context, after store.Entry, due time.Time, limit int) ([]store.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("reading the agenda: %w", err)
	}
	return s.entries(func(e store.Entry) bool { return e.Queue == after.Queue && e.Compare(after) > 0 && !e.Due.After(due) }, limit), nil
}

// entries returns at most limit entries of the agenda that keep wants, soonest first.
func (s *Store) entries(keep func(store.Entry) bool, limit int) []store.Entry {
	var all []store.Entry
	for _, e := range s.agenda {
		if keep(e) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, store.Entry.Compare)
	return all[:min(len(all), max(limit, 0))]
}

// write decides and does one change, of which r is, while nobody else reads or writes.
func (s *Store) write(ctx context.Context, r *store.Record, decide func(*store.Change) (*store.Record, error)) (*store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	var c store.Change
	got, err := decide(&c)
	if err != nil {
		return got, err
	}
	if got != r { // an earlier try of this write was done
		*r = *got
	}
	for _, n := range c.Free {
		delete(s.names, n)
	}
	for _, b := range c.Bind {
		s.names[b.Name] = b.ID
	}
	for _, p := range c.Put {
		s.records[p.Record.ID] = clone(*p.Record)
		delete(s.agenda, p.Record.ID)
		if e := p.Record.Entry(); !e.IsZero() {
			s.agenda[e.ID] = e
		}
	}
	s.clock.Raise()
	return r, nil
}

// usable is asked under mu before anything is done.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("%w: it is closed", store.ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}

// clone makes r share nothing with whoever handed it in.
func clone(r store.Record) store.Record {
	r.Names = slices.Clone(r.Names)
	r.History = slices.Clone(r.History)
	for _, b := range []*store.Blob{&r.Request, &r.Response} {
		b.Head, b.Content = bytes.Clone(b.Head), bytes.Clone(b.Content)
	}
	return r
}

// view reads the maps for whoever holds mu.
type view struct{ s *Store }

func (v view) Record(id store.ID) (*store.Record, error) {
	r, err := v.s.record(id)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// record is called under mu.
func (s *Store) record(id store.ID) (store.Record, error) {
	r, ok := s.records[id]
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	return r, nil
}

func (v view) Holder(n store.Name) (store.ID, error) {
	id, ok := v.s.names[n]
	if !ok {
		return store.ID{}, store.ErrNotFound
	}
	return id, nil
}

func (v view) Forgotten(door, route string) time.Time { return v.s.forgot[[2]string{door, route}] }
