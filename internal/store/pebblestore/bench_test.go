package pebblestore_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// onDisk opens a ledger in a folder of the real disk.
func onDisk(b *testing.B) *pebblestore.Store {
	b.Helper()
	s, err := pebblestore.Open(b.Context(), pebblestore.Config{Dir: b.TempDir(), Clock: func() time.Time { return at }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// cpu returns the processor time that this process has taken.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkClaimSettle takes actions from their claim to done: two durable writes each. Ids are minted one after the other,
// as they are in use. A POE URI's action has no name; a keyed one has.
func BenchmarkClaimSettle(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { claimSettle(b, writers, course{}) })
	}
	b.Run("named/writers=64", func(b *testing.B) { claimSettle(b, 64, course{named: true}) })
	b.Run("marked/writers=1", func(b *testing.B) { claimSettle(b, 1, course{marked: true}) })
	b.Run("marked/writers=64", func(b *testing.B) { claimSettle(b, 64, course{marked: true}) })
}

// A course is what an action goes through on its way from nothing to done.
type course struct {
	named  bool // it has a name
	marked bool // it is marked before it is sent
}

func claimSettle(b *testing.B, writers int, by course) {
	s := onDisk(b)
	content := noise(250)
	b.ReportAllocs()
	var minted, left atomic.Int64
	left.Store(int64(b.N))
	next := func() store.Record {
		var names []store.Name
		if by.named {
			names = append(names, newName())
		}
		r := claim(b, names...)
		id, err := store.NewID(at.Add(time.Duration(minted.Add(1))*100*time.Microsecond), 31, rand.Reader)
		if err != nil {
			b.Error(err)
		}
		r.ID = id
		if by.marked {
			r.Way = store.Marked
		}
		return r
	}
	var wg sync.WaitGroup
	before := cpu(b)
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			var r, done store.Record // an engine has room for both
			for left.Add(-1) >= 0 {
				r = next()
				_, err := s.Claim(b.Context(), &r)
				if err == nil && by.marked {
					was := r.Term
					r.State, r.Term = store.Sent, newTerm()
					_, err = s.Advance(b.Context(), was, &r, store.Also{})
				}
				if err == nil {
					done = settled(r, content)
					_, err = s.Advance(b.Context(), r.Term, &done, store.Also{})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkLookup(b *testing.B) {
	s := onDisk(b)
	const n = 2000
	var all [n]store.Record
	var wg sync.WaitGroup
	for h := range 50 {
		wg.Go(func() {
			for i := h; i < n; i += 50 {
				r, err := storetest.Claim(b.Context(), s, claim(b, newName()))
				if err == nil {
					all[i], err = storetest.Advance(b.Context(), s, r.Term, settled(r, noise(250)), store.Also{})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, bench := range []struct {
		name string
		key  func(i int) store.Key
		want error
	}{
		{"id", func(i int) store.Key { return store.ByID(all[i%n].ID) }, nil},
		{"name", func(i int) store.Key { return store.ByName(all[i%n].Names[0]) }, nil},
		{"absent", func(i int) store.Key { id := all[i%n].ID; id[15]++; return store.ByID(id) }, store.ErrNotFound},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Lookup(b.Context(), bench.key(i)); err != bench.want { //nolint:errorlint // measured: the bare value
					b.Fatal(err)
				}
			}
		})
	}
}
