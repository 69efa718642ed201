package pebblestore

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// left counts what is left to a person, so that nobody need read the agenda to know. It is counted once, when the ledger is opened, and then each write is followed. Sweeps leave
// it as it is, since what waits for a person is open.
type left [store.Kinds]atomic.Int64

// begin reads the ends of the queues, where what waits for a person is, and of each record no more than its kind.
func (l *left) begin(db *pebble.DB) error {
	for q := range store.Queue(store.Queues) {
		if err := l.count(db, q); err != nil {
			return err
		}
	}
	return nil
}

func (l *left) count(db *pebble.DB, q store.Queue) (err error) {
	from, to := agendaKey(store.Entry{Queue: q, Due: store.Person}), []byte{agendaPrefix, byte(q) + 1}
	entries, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	records, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{recordPrefix}, UpperBound: []byte{recordPrefix + 1}})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	for ok := entries.First(); ok; ok = entries.Next() {
		id, fits := agendaID(entries.Key())
		if !fits {
			continue
		}
		if !records.SeekGE(recordKey(id)) || !bytes.Equal(records.Key(), recordKey(id)) {
			if err := records.Error(); err != nil { // the next look forgets it
				return readError(err)
			}
			continue // it leads to nothing
		}
		value, err := records.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if kind, err := store.ReadKind(id, value); err == nil { // of another whoever looks at it says what is wrong with it
			l[kind].Add(1)
		}
	}
	if err := entries.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// follow counts what a change has done that is durable.
func (l *left) follow(c *store.Change) {
	for i := range c.Put {
		was, is := c.Put[i].Was.Due.Equal(store.Person), c.Put[i].Record.Due.Equal(store.Person)
		switch n := &l[c.Put[i].Record.Kind]; {
		case is && !was:
			n.Add(1)
		case was && !is:
			n.Add(-1)
		}
	}
}

func (l *left) now() (n [store.Kinds]int64) {
	for kind := range l {
		n[kind] = l[kind].Load()
	}
	return n
}
