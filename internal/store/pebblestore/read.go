package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// Lookup implements store.Ledger.
func (s *Store) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return store.Record{}, fmt.Errorf("looking up: %w", err)
	}
	defer s.leave()
	s.gate.RLock()
	defer s.gate.RUnlock()
	if id, ok := k.ID(); ok {
		return s.settled(id)
	}
	n, _ := k.Name()
	for {
		r, again, err := s.named(n)
		if !again {
			return r, err
		}
	}
}

// settled reads the record while nobody writes it.
func (s *Store) settled(id store.ID) (store.Record, error) {
	m := &s.stripes[stripeOfID(id)]
	m.RLock()
	defer m.RUnlock()
	return s.record(id)
}

// named reads the record that holds n. The name's stripe is not held while the record's is waited for, so the
// two may not fit together; then both are read again under both stripes. Again asks for another try.
func (s *Store) named(n store.Name) (r store.Record, again bool, err error) {
	id, err := s.settledHolder(n)
	if err != nil {
		return store.Record{}, false, err
	}
	r, err = s.settled(id)
	if err == nil && slices.Contains(r.Names, n) {
		return r, false, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Record{}, false, err
	}
	both := stripeSet{}.withRecord(id, []store.Name{n})
	s.stripes.rlock(both)
	defer s.stripes.runlock(both)
	if at, err := s.holder(n); err != nil || at != id {
		return store.Record{}, err == nil, err
	}
	r, err = s.record(id)
	if err == nil && !slices.Contains(r.Names, n) {
		return store.Record{}, false, store.ErrNotFound
	}
	return r, false, err
}

func (s *Store) settledHolder(n store.Name) (store.ID, error) {
	m := &s.stripes[stripeOfName(n)]
	m.RLock()
	defer m.RUnlock()
	return s.holder(n)
}

// record reads a record. The caller holds the stripe of id, or the gate for writing.
func (s *Store) record(id store.ID) (store.Record, error) {
	if s.fresh.absent(id) {
		return store.Record{}, store.ErrNotFound
	}
	v, closer, err := s.db.Get(recordKey(id))
	if err != nil {
		return store.Record{}, readError(err)
	}
	r, err := store.Decode(id, v)
	return r, errors.Join(err, closer.Close())
}

// holder reads what a name leads to. The caller holds the stripe of n, or the gate for writing.
func (s *Store) holder(n store.Name) (store.ID, error) { return holderIn(s.db, n) }

func holderIn(db *pebble.DB, n store.Name) (store.ID, error) {
	v, closer, err := db.Get(nameKey(n))
	if err != nil {
		return store.ID{}, readError(err)
	}
	var id store.ID
	if len(v) != len(id) {
		err = fmt.Errorf("%w: a name leads to %d bytes", store.ErrCorrupt, len(v))
	}
	copy(id[:], v)
	return id, errors.Join(err, closer.Close())
}

func readError(err error) error {
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return store.ErrNotFound
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	default:
		return fmt.Errorf("reading: %w", err)
	}
}

// Agenda implements store.Ledger. Where it ends is a bound of the iterator: behind it lies what was taken off the agenda before its time, which is most that is
// executed, and to step over that to the next entry would take as long as all of it.
func (s *Store) Agenda(ctx context.Context, after store.Entry, due time.Time, limit int) ([]store.Entry, error) {
	from, to := append(agendaKey(after), 0), appendDueKey(nil, after.Queue, due.UnixMilli()+1)
	entries, err := scan(ctx, s, span[store.Entry]{from, to, agendaEntry}, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the agenda: %w", err)
	}
	return entries, nil
}

// List implements store.Upkeep.
func (s *Store) List(ctx context.Context, after store.ID, limit int) ([]store.ID, error) {
	from := []byte{recordPrefix}
	if !after.IsZero() {
		from = append(recordKey(after), 0)
	}
	ids, err := scan(ctx, s, span[store.ID]{from, []byte{recordPrefix + 1}, recordID}, limit)
	if err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	return ids, nil
}

// span is a range of keys, and how to read what one says.
type span[T any] struct {
	from, to []byte
	read     func(key []byte) (T, bool)
}

// scan reads at most limit keys, without locks: they may rest on writes that are not durable yet, which is
// why nothing of the records leaves here.
func scan[T any](ctx context.Context, s *Store, keys span[T], limit int) (all []T, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: keys.from, UpperBound: keys.to})
	if err != nil {
		return nil, readError(err)
	}
	for ok := it.First(); ok && len(all) < limit; ok = it.Next() {
		one, fits := keys.read(it.Key())
		if !fits {
			return nil, errors.Join(fmt.Errorf("%w: a key of %d bytes", store.ErrCorrupt, len(it.Key())), it.Close())
		}
		all = append(all, one)
	}
	if err := it.Close(); err != nil {
		return nil, readError(err)
	}
	return all, nil
}
