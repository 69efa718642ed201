package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// Claim implements store.Ledger.
func (s *Store) Claim(ctx context.Context, r store.Record) (store.Record, error) {
	set := stripeSet{}.withRecord(r.ID, r.Names)
	rec, err := s.write(ctx, set, func(v *view) (store.Record, store.Change, error) {
		rec, change, err := store.DecideClaim(v, r, s.clock.Now())
		if err == nil && len(change.Put) > 0 {
			err = s.takes(r.ID)
		}
		if err != nil {
			change = store.Change{}
		}
		return rec, change, err
	})
	if err != nil {
		return rec, fmt.Errorf("claiming %s: %w", r.ID, err)
	}
	return rec, nil
}

// takes tells whether a claim that is to be written may be.
func (s *Store) takes(id store.ID) error {
	if id.Minted().Before(s.meta.restored) {
		return fmt.Errorf("%w: it may have been executed after the backup that the ledger was restored from", store.ErrExpired)
	}
	return s.refuses()
}

// Advance implements store.Ledger.
func (s *Store) Advance(ctx context.Context, was store.Term, r store.Record, also store.Also) (store.Record, error) {
	set := stripeSet{}.withRecord(r.ID, also.Free).withRecord(r.ID, also.Take)
	for i := range also.Spawn {
		set = set.withRecord(also.Spawn[i].ID, also.Spawn[i].Names)
	}
	rec, err := s.write(ctx, set, func(v *view) (store.Record, store.Change, error) {
		return store.DecideAdvance(v, store.Advance{Was: was, Record: r, Also: also}, s.clock.Now())
	})
	if err != nil {
		return rec, fmt.Errorf("advancing %s: %w", r.ID, err)
	}
	return rec, nil
}

// decision says what a write does, by what it sees.
type decision func(*view) (store.Record, store.Change, error)

// write decides under the stripes of set, and of what else the decision turns out to need, and makes
// the change durable before it releases them.
func (s *Store) write(ctx context.Context, set stripeSet, decide decision) (store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	for {
		v := view{s: s, held: set}
		rec, err := s.try(ctx, &v, decide)
		if len(v.missing) == 0 {
			return rec, err
		}
		set = set.with(v.missing...)
	}
}

func (s *Store) try(ctx context.Context, v *view, decide decision) (store.Record, error) {
	s.stripes.lock(v.held)
	defer s.stripes.unlock(v.held)
	// Waiting for a stripe takes as long as another's sync. Nothing is written yet, so now is the last moment to give up.
	if err := ctx.Err(); err != nil {
		return store.Record{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	rec, change, err := decide(v)
	if err != nil || len(change.Put) == 0 {
		return rec, err
	}
	for i := range change.Put {
		s.fresh.writing(change.Put[i].Record.ID)
	}
	e := encode(&change)
	err = s.commits.submit(change.Put[0].Record.State, e.fill)
	e.free()
	for i := range change.Put {
		s.stripes.remember(&change.Put[i].Record, err == nil)
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("writing: %w", err)
	}
	return rec, nil
}

// errMissing makes a decision end early, to be taken again with more stripes.
var errMissing = errors.New("a stripe is not held")

// A view is the ledger as a write sees it: only what it holds the stripes of.
type view struct {
	s       *Store
	held    stripeSet
	missing []uint16
}

func (v *view) holds(stripe uint16) bool {
	if v.held.has(stripe) {
		return true
	}
	v.missing = append(v.missing, stripe)
	return false
}

// Record implements store.View.
func (v *view) Record(id store.ID) (store.Record, error) {
	if !v.holds(stripeOfID(id)) {
		return store.Record{}, errMissing
	}
	if r, ok := v.s.stripes.recall(id); ok {
		return r, nil
	}
	return v.s.record(id)
}

// Holder implements store.View.
func (v *view) Holder(n store.Name) (store.ID, error) {
	if !v.holds(stripeOfName(n)) {
		return store.ID{}, errMissing
	}
	return v.s.holder(n)
}

// encoded is a change with its records encoded, which is done before the group is locked.
type encoded struct {
	change *store.Change
	bytes  []byte
	ends   []int // of the records in bytes
}

func encode(c *store.Change) *encoded {
	e, ok := encodings.Get().(*encoded)
	if !ok {
		e = &encoded{bytes: make([]byte, 0, 1024)}
	}
	e.change, e.bytes, e.ends = c, e.bytes[:0], e.ends[:0]
	for i := range c.Put {
		e.bytes = c.Put[i].Record.Append(e.bytes)
		e.ends = append(e.ends, len(e.bytes))
	}
	return e
}

// encodings holds what free has given back.
var encodings sync.Pool

// free gives e back once its bytes are in a batch. What grew large is left to the garbage collector.
func (e *encoded) free() {
	e.change = nil
	if cap(e.bytes) <= 16<<10 {
		encodings.Put(e)
	}
}

// fill adds the change to b.
func (e *encoded) fill(b *pebble.Batch) error {
	for _, n := range e.change.Free {
		if err := b.Delete(nameKey(n), nil); err != nil {
			return err
		}
	}
	for _, bind := range e.change.Bind {
		if err := b.Set(nameKey(bind.Name), bind.ID[:], nil); err != nil {
			return err
		}
	}
	from := 0
	for i := range e.change.Put {
		if err := put(b, &e.change.Put[i], e.bytes[from:e.ends[i]]); err != nil {
			return err
		}
		from = e.ends[i]
	}
	return nil
}

// put adds one record. An agenda entry is set once and deleted once, which is what SingleDelete asks for.
func put(b *pebble.Batch, p *store.Put, value []byte) error {
	id, due := p.Record.ID, p.Record.Due
	if !p.Was.IsZero() && !p.Was.Equal(due) {
		if err := b.SingleDelete(agendaKey(p.Was, id), nil); err != nil {
			return err
		}
	}
	if !due.IsZero() && !p.Was.Equal(due) {
		if err := b.Set(agendaKey(due, id), nil, nil); err != nil {
			return err
		}
	}
	return b.Set(recordKey(id), value, nil)
}
