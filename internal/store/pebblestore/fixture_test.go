package pebblestore_test

import (
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

const dir = "/data/poe"

// at is when these tests are.
var at = time.Date(2031, 3, 14, 12, 0, 0, 0, time.UTC)

// mustOpen opens the ledger on fs and closes it when the test ends.
func mustOpen(t testing.TB, fs vfs.FS) *pebblestore.Store {
	t.Helper()
	s, err := open(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// open opens the ledger on fs. That it wants to end the process fails t.
func open(t testing.TB, fs vfs.FS) (*pebblestore.Store, error) {
	t.Helper()
	return pebblestore.Open(t.Context(), pebblestore.Config{
		Dir: dir, FS: fs, Clock: func() time.Time { return at },
		Fatal: func(reason string) { t.Errorf("the ledger would end the process: %s", reason) },
	})
}

func newID(t testing.TB) store.ID {
	t.Helper()
	id, err := store.NewID(at, 31, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newTerm() (t store.Term) {
	_, _ = rand.Read(t[:]) // never fails
	return t
}

func newName() (n store.Name) {
	_, _ = rand.Read(n[:]) // never fails
	return n
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func claim(t testing.TB, names ...store.Name) store.Record {
	t.Helper()
	return store.Record{
		ID: newID(t), State: store.Running, Term: newTerm(), Door: "poe", Route: "default", Method: "POST", Target: "/orders",
		Names: names, Claimed: at, Expires: at.Add(time.Hour), Due: at.Add(time.Minute),
		Request: store.Blob{Size: 17, Digest: [32]byte(noise(32))},
	}
}

func settled(r store.Record, content []byte) store.Record {
	r.State, r.Term, r.Status, r.Finished, r.Due = store.Done, newTerm(), 201, at.Add(time.Second), time.Time{}
	r.Response = store.Blob{Content: content, Where: store.Inline, Size: int64(len(content)), Digest: [32]byte{9}}
	return r
}

// A hand is a clock that a test sets, while the ledger looks at it.
type hand struct{ at atomic.Int64 }

func newHand() *hand {
	h := new(hand)
	h.set(at)
	return h
}

func (h *hand) set(t time.Time) { h.at.Store(t.UnixMilli()) }

func (h *hand) now() time.Time { return time.UnixMilli(h.at.Load()).UTC() }
