package pebblestore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// When a sweep comes by, one record that is at rest by what is durable runs again, by a claim that was decided before midnight and waits
// for the disk, and one that is open comes to rest in the same way.
func TestSweepAmongSlowWrites(t *testing.T) {
	hand := newHand()
	clock := hand.now
	v := &valve{held: make(chan struct{}, 1000), release: make(chan struct{})}
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), v), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.open()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(r store.Record, err error) store.Record {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ctx := t.Context()
	again := must(storetest.Claim(ctx, s, spread(claim(t, newName()), 1)))
	back := again
	back.State, back.Term, back.Due = store.Unused, newTerm(), time.Time{}
	must(storetest.Advance(ctx, s, again.Term, back, store.Also{}))
	rests := must(storetest.Claim(ctx, s, spread(claim(t, newName()), 2)))
	again.Term, again.Expires = newTerm(), time.Time{}
	done := settled(rests, []byte("x"))

	results := make(chan error, 4)
	v.shut.Store(true)
	first := spread(claim(t, newName()), 3)
	go func() { _, err := storetest.Claim(ctx, s, first); results <- err }()
	<-v.held
	go func() { _, err := storetest.Claim(ctx, s, again); results <- err }()
	await(t, s, 1)
	go func() { _, err := storetest.Advance(ctx, s, rests.Term, done, store.Also{}); results <- err }()
	await(t, s, 2)
	hand.set(at.Add(40 * store.Day))
	go func() { results <- sweepAll(ctx, s, clock) }()
	for range 20_000 { // the sweep has every chance to go too far; it is to wait for both writes
		runtime.Gosched()
	}
	v.open()
	for range cap(results) {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Lookup(ctx, store.ByName(again.Names[0])); err != nil || r.Term != again.Term {
		t.Errorf("the name of what runs leads to %s, %v", r.State, err)
	}
	for _, key := range []store.Key{store.ByID(done.ID), store.ByName(done.Names[0])} {
		if r, err := s.Lookup(ctx, key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what is at rest is still there: %s, %v", r.State, err)
		}
	}
	fresh := claim(t, done.Names[0])
	fresh.Expires = time.Time{}
	if fresh.ID, err = store.NewID(clock(), 31, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if n := s.Names(); n != 2 {
		t.Errorf("%d names are left, want those of the two that run", n)
	}
	must(storetest.Claim(ctx, s, fresh))
}

// While a sweep walks over the names, one that leads to what it has forgotten is claimed anew: that claim waits for the disk, so that the walk still sees
// where the name led before.
func TestSweepLeavesNamesThatAreClaimedAnew(t *testing.T) {
	hand := newHand()
	clock := hand.now
	v := &valve{held: make(chan struct{}, 1000), release: make(chan struct{})}
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), v), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.open()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	names := []store.Name{newName(), newName()}
	old, err := storetest.Claim(ctx, s, claim(t, names...))
	if err == nil {
		_, err = storetest.Advance(ctx, s, old.Term, settled(old, nil), store.Also{})
	}
	hand.set(at.Add(40 * store.Day))
	s.ConfirmClock()
	if _, e := s.Sweep(ctx, clock()); err != nil || e != nil {
		t.Fatal(err, e)
	}
	fresh := func(names ...store.Name) store.Record {
		r := claim(t, names...)
		r.Expires = time.Time{}
		if r.ID, err = store.NewID(clock(), 31, rand.Reader); err != nil {
			t.Fatal(err)
		}
		return r
	}

	results := make(chan error, 3)
	v.shut.Store(true)
	first, again := fresh(), fresh(names[0])
	go func() { _, err := storetest.Claim(ctx, s, first); results <- err }()
	<-v.held
	go func() { _, err := storetest.Claim(ctx, s, again); results <- err }()
	await(t, s, 1)
	go func() { results <- sweepAll(ctx, s, clock) }()
	for range 20_000 { // the sweep has every chance to go too far; it is to wait for the claim
		runtime.Gosched()
	}
	v.open()
	for range cap(results) {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Lookup(ctx, store.ByName(names[0])); err != nil || r.ID != again.ID {
		t.Errorf("the name that was claimed anew leads to %s, %v", r.ID, err)
	}
	if n := s.Names(); n != 1 {
		t.Errorf("%d names are left, want 1", n)
	}
}

// sweepAll sweeps until there is no more to do.
func sweepAll(ctx context.Context, s store.Upkeep, clock func() time.Time) error {
	for {
		did, err := s.Sweep(ctx, clock())
		if err != nil || !did.More {
			return err
		}
	}
}

// A name that nothing holds takes no room either, however it came to be free.
func TestFreeNamesAreGone(t *testing.T) {
	for _, tt := range []struct {
		name string
		free func(s *pebblestore.Store, r store.Record) error
	}{
		{"by an advance", func(s *pebblestore.Store, r store.Record) error {
			_, err := storetest.Advance(t.Context(), s, r.Term, settled(r, nil), store.Also{Free: r.Names})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := mustOpen(t, vfs.NewMem())
			r, err := storetest.Claim(t.Context(), s, claim(t, newName(), newName()))
			if err != nil {
				t.Fatal(err)
			}
			if n := s.Names(); n != 2 {
				t.Fatalf("%d names, want 2", n)
			}
			if err := tt.free(s, r); err != nil {
				t.Fatal(err)
			}
			if n := s.Names(); n != 0 {
				t.Errorf("%d names are left", n)
			}
		})
	}
}

// litter brings n open actions and n that are at rest onto one shelf, in turn, each with a name and an agenda entry, and lets the shelf pass.
func litter(t *testing.T, s *pebblestore.Store, n int) (open []store.Record) {
	t.Helper()
	var all sync.WaitGroup
	records := make([]store.Record, n)
	for hand := range 64 {
		all.Go(func() {
			for i := hand; i < n; i += 64 {
				var err error
				if records[i], err = storetest.Claim(t.Context(), s, claim(t, newName())); err != nil {
					t.Error(err)
				}
				r, err := storetest.Claim(t.Context(), s, claim(t, newName()))
				if err == nil {
					done := settled(r, nil)
					done.Due = at.Add(time.Hour)
					_, err = storetest.Advance(t.Context(), s, r.Term, done, store.Also{})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	return records
}

// What is open on a shelf keeps its name and its agenda entry, and what is at rest loses both, though there are more of the first kind than a
// sweep remembers.
func TestSweepKeepsMany(t *testing.T) {
	hand := newHand()
	clock := hand.now
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: vfs.NewMem(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const n = pebblestore.KeptMost + 300
	open := litter(t, s, n)
	hand.set(at.Add(40 * store.Day))
	for range 2 { // the second one finds nothing to do
		if err := sweepAll(t.Context(), s, clock); err != nil {
			t.Fatal(err)
		}
		for _, r := range open {
			if got, err := s.Lookup(t.Context(), store.ByName(r.Names[0])); err != nil || got.ID != r.ID {
				t.Fatalf("the name of what is open leads to %s, %v", got.ID, err)
			}
		}
		if names := s.Names(); names != n {
			t.Errorf("%d names are left, want %d", names, n)
		}
		if due, err := storetest.Agenda(t.Context(), s, 3*n); err != nil || len(due) != n {
			t.Errorf("%d agenda entries are left, %v; want %d", len(due), err, n)
		}
	}
}

// A name that could not be looked at is not taken for one that is gone: whichever read of a sweep fails, that step says so, and later ones take out what is left.
func TestSweepWhoseReadsFail(t *testing.T) {
	const n = 300 // more names than one write takes out
	for fails := int64(1); ; fails++ {
		hand := newHand()
		var left atomic.Int64 // reads until one fails; below 1: none does
		broken := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && left.Add(-1) == 0 {
				return errors.New("the disk does not read")
			}
			return nil
		})
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), broken), Clock: hand.now, CacheSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		litter(t, s, n)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		hand.set(at.Add(40 * store.Day))
		s.ConfirmClock()
		left.Store(fails)
		err = sweepAll(t.Context(), s, hand.now)
		met := left.Load() < 1
		left.Store(0)
		if err := sweepAll(t.Context(), s, hand.now); err != nil {
			t.Fatal(err)
		}
		if names := s.Names(); names != n {
			t.Errorf("read %d failed, and the sweep says %v: %d names are left, want %d", fails, err, names, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !met {
			if fails < 5 {
				t.Errorf("a sweep of %d reads is too thin to say anything", fails)
			}
			return
		}
	}
}

// A crash after the records are forgotten leaves names and agenda entries that lead nowhere. They are no damage, nobody is kept from them, and the
// next sweep takes them out.
func TestSweepGoesOnAfterACrash(t *testing.T) {
	disk := vfs.NewCrashableMem()
	hand := newHand()
	config := func() pebblestore.Config {
		return pebblestore.Config{Dir: dir, FS: disk, Clock: hand.now}
	}
	mustOpen := func() *pebblestore.Store {
		t.Helper()
		s, err := pebblestore.Open(t.Context(), config())
		if err != nil {
			t.Fatal(err)
		}
		s.ConfirmClock()
		return s
	}
	s := mustOpen()
	open := litter(t, s, 20)
	hand.set(at.Add(40 * store.Day))
	s.ConfirmClock()
	if did, err := s.Sweep(t.Context(), hand.now()); err != nil || did.Records != 20 {
		t.Fatalf("the first step forgot %d records, %v", did.Records, err)
	}
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk = crashed
	for _, clock := range []func() time.Time{hand.now, func() time.Time { return at }} { // also on a machine whose clock is behind the ledger
		cfg := config()
		cfg.Clock = clock
		if found, err := pebblestore.Check(t.Context(), cfg, nil); err != nil || found.Faults != 0 || found.Names != 40 {
			t.Errorf("at %s: %d names, and wrong is %q, %v", clock(), found.Names, found.Wrong, err)
		}
	}
	s = mustOpen()
	if err := sweepAll(t.Context(), s, hand.now); err != nil {
		t.Fatal(err)
	}
	due, err := storetest.Agenda(t.Context(), s, 100)
	if err != nil || len(due) != len(open) || s.Names() != len(open) {
		t.Errorf("%d names and %d agenda entries are left, %v; want %d", s.Names(), len(due), err, len(open))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := pebblestore.Check(t.Context(), config(), nil); err != nil || found.Faults != 0 {
		t.Errorf("wrong is %q, %v", found.Wrong, err)
	}
}

// What is wrong with the files of one shelf holds up neither the records nor the files of the others.
func TestSweepPastAShelfThatFails(t *testing.T) {
	broken := errors.New("I/O error")
	for name, fails := range map[string]func(op errorfs.Op, shelf string) bool{
		"a folder that cannot be listed": func(op errorfs.Op, shelf string) bool {
			return op.Kind == errorfs.OpList && strings.HasSuffix(op.Path, shelf)
		},
		"a file that cannot be removed": func(op errorfs.Op, shelf string) bool {
			return op.Kind == errorfs.OpRemove && strings.Contains(op.Path, shelf+"/")
		},
		"a folder that cannot be removed": func(op errorfs.Op, shelf string) bool {
			return op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, shelf)
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock, shelf := newHand(), ""
			var begun atomic.Bool
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if begun.Load() && fails(op, shelf) {
					return broken
				}
				return nil
			}))
			s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: fs, Clock: clock.now})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			first, err := live(t, s)
			if err != nil {
				t.Fatal(err)
			}
			shelf = fmt.Sprintf("%010d", first.ID.Shelf())
			begun.Store(true)
			clock.set(first.ID.Shelf().End())
			s.ConfirmClock()
			sweeps := func() (n int, failed error) {
				for {
					did, err := s.Sweep(t.Context(), clock.now())
					n, failed = n+did.Records, errors.Join(failed, err)
					if err != nil || !did.More {
						return n, failed
					}
				}
			}
			if n, err := sweeps(); n != 1 || !errors.Is(err, broken) {
				t.Fatalf("the first sweep has forgotten %d, %v", n, err)
			}
			id, err := store.NewID(clock.now(), 1, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			second := claim(t, newName())
			second.ID, second.State, second.Expires, second.Due = id, store.Burned, time.Time{}, time.Time{}
			if _, err := storetest.Claim(t.Context(), s, second); err != nil {
				t.Fatal(err)
			}
			part := store.Part{Term: second.Term, N: 1}
			if _, err := s.Put(t.Context(), id, part, strings.NewReader("content")); err != nil {
				t.Fatal(err)
			}
			clock.set(id.Shelf().End())
			s.ConfirmClock()
			if n, err := sweeps(); n != 1 || !errors.Is(err, broken) {
				t.Errorf("the second sweep has forgotten %d, %v", n, err)
			}
			if _, err := s.Open(t.Context(), id, part); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the content on the other shelf: %v", err)
			}
		})
	}
}
