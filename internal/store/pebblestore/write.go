package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// Claim implements store.Ledger.
func (s *Store) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	w := begin(s)
	defer w.end()
	w.claim, w.record = true, r
	names, since := r.Names, r.Since
	w.set = w.set.withRecord(r.ID, r.Names)
	got, err := w.run(ctx)
	if err != nil {
		r.Names, r.Since = names, since // it may have been decided about, and not written
		return got, fmt.Errorf("claiming %s: %w", r.ID, err)
	}
	return got, nil
}

// takes tells whether a claim that is to be written may be.
func (s *Store) takes(id store.ID) error {
	if id.Minted().Before(s.meta.restored) {
		return fmt.Errorf("%w: it may have been executed after the backup that the ledger was restored from", store.ErrExpired)
	}
	return s.refuses()
}

// Advance implements store.Ledger.
func (s *Store) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	w := begin(s)
	defer w.end()
	w.record, w.was, w.also = r, was, also
	names := r.Names
	w.set = w.set.withRecord(r.ID, also.Free).withRecord(r.ID, also.Take)
	for i := range also.Spawn {
		w.set = w.set.withRecord(also.Spawn[i].ID, also.Spawn[i].Names)
	}
	got, err := w.run(ctx)
	if err != nil {
		r.Names = names
		return got, fmt.Errorf("advancing %s: %w", r.ID, err)
	}
	return got, nil
}

// A writing is one write on its way: a claim, or an advance. It is used again once it has ended, with its room.
type writing struct {
	view
	claim  bool
	record *store.Record // what is to be written
	was    store.Term
	also   store.Also
	change store.Change
	encoded
}

var writings = sync.Pool{New: func() any { return new(writing) }}

func begin(s *Store) *writing {
	w := writings.Get().(*writing) //nolint:forcetypeassert // nothing else is in it
	w.s = s
	return w
}

// largeWrite is the size of an encoding whose room is left to the garbage collector, in bytes.
const largeWrite = 16 << 10

// end gives w back, holding nothing that was written.
func (w *writing) end() {
	if cap(w.bytes) > largeWrite {
		return
	}
	clear(w.change.Put)
	*w = writing{
		view:    view{set: w.set[:0], missing: w.missing[:0]},
		change:  store.Change{Free: w.change.Free[:0], Bind: w.change.Bind[:0], Put: w.change.Put[:0]},
		encoded: encoded{bytes: w.bytes[:0], ends: w.ends[:0]},
	}
	writings.Put(w)
}

// run decides under the stripes of w.set, and of what else the decision turns out to need, and makes
// the change durable before it releases them.
func (w *writing) run(ctx context.Context) (*store.Record, error) {
	s := w.s
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	for {
		w.missing, w.bytes, w.ends = w.missing[:0], w.bytes[:0], w.ends[:0]
		got, err := w.try(ctx)
		if len(w.missing) == 0 {
			return got, err
		}
		w.set = w.set.with(w.missing...)
	}
}

func (w *writing) try(ctx context.Context) (*store.Record, error) {
	s := w.s
	s.stripes.lock(w.set)
	defer s.stripes.unlock(w.set)
	// Waiting for a stripe takes as long as another's sync. Nothing is written yet, so now is the last moment to give up.
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	got, err := w.decide()
	if err != nil {
		return theirs(got), err
	}
	if got != w.record { // an earlier try of this write was done
		*w.record = *got
	}
	if len(w.change.Put) == 0 {
		return w.record, nil
	}
	for i := range w.change.Put {
		if id := w.change.Put[i].Record.ID; w.claim || id != w.record.ID { // what is advanced was written before
			s.fresh.writing(id)
		}
	}
	w.encode(&w.change)
	err = s.commits.submit(w.change.Put[0].Record.State, w)
	for i := range w.change.Put {
		s.stripes.remember(w.change.Put[i].Record, err == nil && w.claim) // what was advanced mostly has come to rest
	}
	if err != nil {
		return nil, fmt.Errorf("writing: %w", err)
	}
	s.left.follow(&w.change)
	return w.record, nil
}

// theirs is a copy of the record in the way: a stripe may remember that one.
func theirs(r *store.Record) *store.Record {
	if r == nil {
		return nil
	}
	c := *r
	return &c
}

// decide says what the write does, by what it sees.
func (w *writing) decide() (*store.Record, error) {
	if !w.claim {
		return store.DecideAdvance(&w.view, &store.Advance{Was: w.was, Record: w.record, Also: w.also}, w.s.clock.Now(), &w.change)
	}
	got, err := store.DecideClaim(&w.view, w.record, w.s.clock.Now(), &w.change)
	if err == nil && len(w.change.Put) > 0 {
		if err := w.s.takes(w.record.ID); err != nil {
			w.change.Reset()
			return nil, err
		}
	}
	return got, err
}

// errMissing makes a decision end early, to be taken again with more stripes.
var errMissing = errors.New("a stripe is not held")

// A view is the ledger as a write sees it: only what it holds the stripes of.
type view struct {
	s       *Store
	set     stripeSet // which are held
	missing []uint16  // which would have to be
}

func (v *view) holds(stripe uint16) bool {
	if v.set.has(stripe) {
		return true
	}
	v.missing = append(v.missing, stripe)
	return false
}

// Record implements store.View.
func (v *view) Record(id store.ID) (*store.Record, error) {
	if !v.holds(stripeOfID(id)) {
		return nil, errMissing
	}
	if r := v.s.stripes.recall(id); r != nil {
		return r, nil
	}
	if v.s.fresh.absent(id) {
		return nil, store.ErrNotFound
	}
	r, err := v.s.record(id)
	return &r, err
}

// Holder implements store.View.
func (v *view) Holder(n store.Name) (store.ID, error) {
	if !v.holds(stripeOfName(n)) {
		return store.ID{}, errMissing
	}
	return v.s.holder(n)
}

// Forgotten implements store.View. Every write holds the gate from its decision until it is durable, and a sweep has it alone.
func (v *view) Forgotten(door, route string) time.Time {
	return latest(v.s.meta.restored, v.s.meta.forgotten[origin{door, route}])
}

// encoded is a change with its records encoded, which is done before the group is locked.
type encoded struct {
	change *store.Change
	bytes  []byte
	ends   []int // of the records in bytes
}

func (e *encoded) encode(c *store.Change) {
	e.change = c
	for i := range c.Put {
		e.bytes = c.Put[i].Record.Append(e.bytes)
		e.ends = append(e.ends, len(e.bytes))
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

// put adds one record. An agenda entry is set once and deleted once, which is what SingleDelete asks for. Keys and values are
// written straight into the batch.
func put(b *pebble.Batch, p *store.Put, value []byte) error {
	is := p.Record.Entry()
	moves := p.Was.Compare(is) != 0
	if moves && !p.Was.IsZero() {
		d := b.SingleDeleteDeferred(agendaSize)
		appendAgendaKey(d.Key[:0], p.Was)
		if err := d.Finish(); err != nil {
			return err
		}
	}
	if moves && !is.IsZero() {
		d := b.SetDeferred(agendaSize, 0)
		appendAgendaKey(d.Key[:0], is)
		if err := d.Finish(); err != nil {
			return err
		}
	}
	d := b.SetDeferred(recordSize, len(value))
	appendRecordKey(d.Key[:0], p.Record.ID)
	copy(d.Value, value)
	return d.Finish()
}
