package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/store"
)

const (
	freedLeads = 256 // names or entries that are taken out in one write
	freeHands  = 4   // such writes under way at one time, which share their syncs
)

// A lead is the key of a name or of an agenda entry, and the id that it leads to.
type lead struct {
	key []byte
	id  store.ID
}

func (l *lead) name() (store.Name, bool) {
	if l.key[0] != namePrefix {
		return store.Name{}, false
	}
	return store.Name(l.key[1:]), true
}

// sweepLeads looks at the next names and agenda entries, and takes out those that lead to what is forgotten. After the last one nothing is left of that.
func (s *Store) sweepLeads() error {
	at := &s.sweeper
	if at.next == nil {
		at.next = []byte{namePrefix}
	}
	next, err := s.takeOutFrom(at.next)
	if err != nil {
		return err
	}
	killpoint.Hit("names-freed")
	if next != nil {
		at.next = next
		return nil
	}
	if err := s.commits.submit(store.Absent, fillFunc(func(b *pebble.Batch) error { return b.Delete(metaKey(metaLeft), nil) })); err != nil {
		return err
	}
	at.left = false
	return nil
}

// takeOutFrom takes them out in several writes at one time, where they lead to what is forgotten, while it reads on. It returns the first key that it has not read;
// nil: there is none.
func (s *Store) takeOutFrom(from []byte) (next []byte, err error) {
	chunks := make(chan []lead)
	var hands sync.WaitGroup
	var errs [freeHands]error
	for h := range errs {
		hands.Go(func() {
			for some := range chunks {
				errs[h] = errors.Join(errs[h], s.takeOut(some))
			}
		})
	}
	next, err = s.leads(from, chunks)
	close(chunks)
	hands.Wait()
	return next, errors.Join(append(errs[:], err)...)
}

// leads reads names and agenda entries from there on, hands on those that lead to past shelves, ascending, and returns the first key that it has not read; nil: there
// is none. It holds no locks.
func (s *Store) leads(from []byte, chunks chan<- []lead) (next []byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{agendaPrefix + 1}})
	if err != nil {
		return nil, readError(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var some []lead
	defer func() {
		if len(some) > 0 {
			chunks <- some
		}
	}()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > sweepLeads {
			return slices.Clone(it.Key()), nil
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, readError(err)
		}
		id, fits := leadsTo(it.Key(), value)
		if !fits {
			return nil, fmt.Errorf("%w: %d bytes under a key of %d", store.ErrCorrupt, len(value), len(it.Key()))
		}
		if id.Shelf() < s.sweeper.past {
			some = append(some, lead{slices.Clone(it.Key()), id})
		}
		if len(some) == freedLeads {
			chunks <- some
			some = nil
		}
	}
	if err := it.Error(); err != nil {
		return nil, readError(err)
	}
	return nil, nil
}

// leadsTo returns what the name or the agenda entry leads to.
func leadsTo(key, value []byte) (id store.ID, ok bool) {
	if key[0] == agendaPrefix {
		return agendaID(key)
	}
	if len(key) != nameSize || len(value) != len(id) {
		return id, false
	}
	return store.ID(value), true
}

// takeOut takes some out as any other write would: under the stripes of the names. Those of the records are not needed, since what is forgotten stays so. Nobody else
// writes an agenda entry whose record is gone.
func (s *Store) takeOut(some []lead) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	var set stripeSet
	for i := range some {
		if n, ok := some[i].name(); ok {
			set = append(set, stripeOfName(n))
		}
	}
	set = set.with()
	s.stripes.lock(set)
	defer s.stripes.unlock(set)
	idle, err := s.idle(some)
	if err != nil || len(idle) == 0 {
		return err
	}
	return s.commits.submit(store.Absent, fillFunc(func(b *pebble.Batch) error {
		for _, l := range idle {
			if _, isName := l.name(); isName {
				err = b.Delete(l.key, nil)
			} else {
				err = b.SingleDelete(l.key, nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// idle returns those that still lead where they did, to what is forgotten. It reads them in ascending order through one iterator, whose blocks have just
// been read for leads: a fraction of what as many single reads take, and no filter has to come from the disk.
func (s *Store) idle(some []lead) (idle []lead, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: some[0].key, UpperBound: []byte{agendaPrefix + 1}})
	if err != nil {
		return nil, readError(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for _, l := range some {
		if !it.SeekGE(l.key) {
			if err := it.Error(); err != nil { // the next look forgets it
				return nil, readError(err)
			}
			continue
		}
		if !bytes.Equal(it.Key(), l.key) {
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, readError(err)
		}
		if _, isName := l.name(); isName && !bytes.Equal(value, l.id[:]) {
			continue
		}
		there, err := s.stays(l.id)
		if err != nil {
			return nil, err
		}
		if !there {
			idle = append(idle, l)
		}
	}
	return idle, nil
}

// stays tells whether the sweep has left the record of id where it was. It needs no stripe, which could be one that the caller holds: whether there is a
// record on a past shelf is changed by a sweep alone.
func (s *Store) stays(id store.ID) (bool, error) {
	has, known := s.sweeper.kept.has(id)
	if known {
		return has, nil
	}
	_, err := s.record(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case errors.Is(err, store.ErrCorrupt): // there it is
		return true, nil
	default:
		return true, err
	}
}
