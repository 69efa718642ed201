package pebblestore

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// Flush moves what is in memory into a table, as Pebble does by itself when enough has gathered.
func (s *Store) Flush() error { return s.db.Flush() }

// Waiting returns how many writes have joined the groups that wait for the disk, without the group that is at it.
func (s *Store) Waiting() int {
	s.commits.mu.Lock()
	defer s.commits.mu.Unlock()
	n := 0
	for _, g := range s.commits.queue {
		n += g.members
	}
	return n
}

// Names returns how many names there are, whatever they lead to.
func (s *Store) Names() (n int) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{namePrefix}, UpperBound: []byte{namePrefix + 1}})
	if err != nil {
		return -1
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if it.Close() != nil {
		return -1
	}
	return n
}

// MaxFresh is how many young ids are known to be there at least; of twice as many and one some are not any more.
const MaxFresh = maxFresh

// Absent tells what is said of id without a look into the database.
func (s *Store) Absent(id store.ID) bool { return s.fresh.absent(id) }

// Note has it that a record of id is about to be written.
func (s *Store) Note(id store.ID) { s.fresh.writing(id) }

// Mark writes down in the high-water file how far the ledger has come, as happens every second.
func (s *Store) Mark() error { return s.guard.mark() }

// Intact looks at a database of Pebble's as Open does.
func Intact(disk vfs.FS, dir string) (torn bool, err error) { return intact(disk, dir) }

// LookAround looks at the room on the disk, as happens four times a second, of a process that has run for a while.
func (s *Store) LookAround() {
	s.room.mu.Lock()
	s.room.since = time.Time{}
	s.room.mu.Unlock()
	s.lookAround()
}

// KeptMost is how many ids of what it leaves a sweep remembers.
const KeptMost = keptMost

// FirstZeros and MostZeros are how far ahead of its records a log has zeros at first, and at most.
const (
	FirstZeros = firstZeros
	MostZeros  = mostZeros
)

// LetJoin is what the committer does before a group is committed.
var LetJoin = letJoin
