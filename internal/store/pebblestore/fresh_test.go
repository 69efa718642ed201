package pebblestore_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// minted makes an id as if it had been minted at some time from at, kept for days.
func minted(t *testing.T, after time.Duration, days int) store.ID {
	t.Helper()
	id, err := store.NewID(at.Add(after), days, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func claimOf(id store.ID) store.Record {
	return store.Record{ID: id, Term: newTerm(), State: store.Running, Method: "POST", Target: "/orders", Due: at.Add(time.Hour)}
}

// TestAnEarlierProcessesRecordsAreNeverTakenForAbsent: its clock may have been ahead of ours, on any shelf. What is said
// to be absent without a look can be claimed a second time.
func TestAnEarlierProcessesRecordsAreNeverTakenForAbsent(t *testing.T) {
	fs := vfs.NewMem()
	first, err := open(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	var ids []store.ID
	for _, days := range []int{0, 1, 31, 400} { // the youngest lies on a shelf in the middle
		for _, after := range []time.Duration{-time.Hour, 0, time.Millisecond, time.Duration(days%100) * time.Minute} {
			ids = append(ids, minted(t, after, days))
		}
	}
	for _, id := range ids {
		if _, err := storetest.Claim(t.Context(), first, claimOf(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, fs)
	for _, id := range ids {
		if second.Absent(id) {
			t.Errorf("%s, kept for %d days, is said to be absent", id, id.Days())
		}
		if _, err := storetest.Claim(t.Context(), second, claimOf(id)); !errors.Is(err, store.ErrTaken) {
			t.Errorf("claiming %s again: %v", id, err)
		}
	}
	young := minted(t, 2*time.Hour, 31)
	if !second.Absent(young) {
		t.Error("an id that is younger than all is not known to be absent: nothing is gained")
	}
	if _, err := storetest.Claim(t.Context(), second, claimOf(young)); err != nil {
		t.Fatal(err)
	}
	if second.Absent(young) {
		t.Error("what was just written is said to be absent")
	}
	if _, err := storetest.Claim(t.Context(), second, claimOf(young)); !errors.Is(err, store.ErrTaken) {
		t.Errorf("claiming what was just written: %v", err)
	}
}

// Neither what an advance spawns, nor what it advances, is taken for absent: it could be claimed a second time, or not be advanced.
func TestWhatIsSpawnedIsNotAbsent(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	parent := claimOf(minted(t, time.Hour, 31))
	if _, err := storetest.Claim(t.Context(), s, parent); err != nil {
		t.Fatal(err)
	}
	child := store.Record{
		ID: minted(t, 2*time.Hour, 31), Term: newTerm(), Kind: store.Callback, State: store.Queued, Parent: parent.ID, Method: "POST", Target: "/hook", Due: at.Add(time.Hour),
	}
	if _, err := storetest.Advance(t.Context(), s, parent.Term, settled(parent, nil), store.Also{Spawn: []store.Record{child}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []store.ID{parent.ID, child.ID} {
		if s.Absent(id) {
			t.Errorf("%s is said to be absent", id)
		}
	}
	next := child
	next.Term, next.Due = newTerm(), at.Add(2*time.Hour)
	if _, err := storetest.Advance(t.Context(), s, child.Term, next, store.Also{}); err != nil {
		t.Errorf("advancing what was spawned: %v", err)
	}
}

// TestWhatIsNoLongerRememberedIsNotAbsent: the memory is bounded, and what falls out of it is looked up again.
func TestWhatIsNoLongerRememberedIsNotAbsent(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	ids := make([]store.ID, 5*pebblestore.MaxFresh+10)
	for i := range ids {
		after := i
		if i < len(ids)/2 { // not in the order of their minting: URIs are used later than others that were minted after them
			after = i * 7919 % (len(ids) / 2)
		}
		ids[i] = minted(t, time.Second+time.Duration(after)*time.Millisecond, 31)
		s.Note(ids[i])
	}
	for _, id := range ids {
		if s.Absent(id) {
			t.Fatalf("%s was written, and is said to be absent", id)
		}
	}
	if !s.Absent(minted(t, 2*time.Hour, 31)) {
		t.Error("nothing is known to be absent any more")
	}
}

// What is absent is mostly known to be, however much was written: otherwise each claim would look it up, and the memory would be of no use. URIs that were
// minted before the latest that was used are so, too.
func TestMostOfWhatIsAbsentIsKnownToBe(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	const rounds = 6
	for i := range rounds * pebblestore.MaxFresh {
		s.Note(minted(t, time.Second+time.Duration(i/1000)*time.Millisecond, 31))
		const every = 10
		if i%(pebblestore.MaxFresh/2) != 0 {
			continue
		}
		known := 0
		for range 1000 {
			if s.Absent(minted(t, time.Second+time.Duration(i/1000-every)*time.Millisecond, 31)) {
				known++
			}
		}
		if i > 0 && known < 980 {
			t.Errorf("after %d writes: of 1000 that are absent %d are known to be", i, known)
		}
	}
}
