package pebblestore_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// many claims and settles n actions without bodies, as if minted in the course of a day.
func many(t *testing.T, s *pebblestore.Store, n int, named bool) {
	t.Helper()
	var all sync.WaitGroup
	const hands = 256
	for hand := range hands {
		all.Go(func() {
			for i := hand; i < n; i += hands {
				if err := one(t, s, i, named); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func one(t *testing.T, s *pebblestore.Store, i int, named bool) error {
	t.Helper()
	var names []store.Name
	if named {
		names = append(names, newName())
	}
	r, err := storetest.Claim(t.Context(), s, claim(t, names...))
	if err != nil {
		return err
	}
	done := settled(r, nil)
	// Fields as an answer has them, as long as package replay keeps them; and a digest that no two answers share.
	done.Response.Head = fmt.Appendf(nil, "\x0a\x0cContent-Type\x12\x10application/json\x0a\x08%s\x12\x0e/orders/%06d", "Location", i)
	done.Response.Where, done.Response.Size, done.Response.Digest = store.Purged, 200, [32]byte(noise(32))
	done.Status = http.StatusCreated
	_, err = storetest.Advance(t.Context(), s, r.Term, done, store.Also{})
	return err
}

// An action takes no more than it may on disk, its answer's fields included and its body not, once everything has its final form.
func TestBytesOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while under the race detector, and races with nothing")
	}
	const n = 20_000
	for _, tt := range []struct {
		name  string
		named bool
		most  int64
	}{{"by a POE URI", false, 200}, {"by a key", true, 300}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "poe")
			s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, Clock: func() time.Time { return at }})
			if err != nil {
				t.Fatal(err)
			}
			many(t, s, n, tt.named)
			if err := s.Compact(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			var tables int64
			err = filepath.WalkDir(filepath.Join(dir, "ledger"), func(path string, d fs.DirEntry, err error) error {
				if err != nil || filepath.Ext(path) != ".sst" {
					return err
				}
				info, err := d.Info()
				if err == nil {
					tables += info.Size()
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if each := tables / n; each > tt.most || each < 80 { // the digests alone are 64
				t.Errorf("%d bytes for an action, want at most %d", each, tt.most)
			}
		})
	}
}

// A sweep forgets a shelf in steps of which each is bounded, and in no more of them than it takes.
func TestSweepInSteps(t *testing.T) {
	const n, most = 40_000, 32 << 10
	clock := newHand()
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: filepath.Join(t.TempDir(), "poe"), Clock: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	many(t, s, n, true)
	clock.set(at.Add(40 * store.Day))
	s.ConfirmClock()
	steps, forgotten := 0, 0
	for more := true; more; steps++ {
		did, err := s.Sweep(t.Context(), clock.now())
		if err != nil {
			t.Fatal(err)
		}
		if did.Records > most {
			t.Errorf("one step forgot %d records", did.Records)
		}
		more, forgotten = did.More, forgotten+did.Records
	}
	// As many for the names as for the records, and one in the end.
	if want := 2*((n+most-1)/most) + 1; forgotten != n || steps > want {
		t.Errorf("%d records in %d steps, want %d in %d", forgotten, steps, n, want)
	}
	if left := s.Names(); left != 0 {
		t.Errorf("%d names are left", left)
	}
}
