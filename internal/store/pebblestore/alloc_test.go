//go:build !race

package pebblestore_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/postonce/poe/internal/alloctest"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// An action from nothing to done, alone: two writes, each with a commit of its own.
func TestAllocations(t *testing.T) {
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: t.TempDir(), Clock: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	content, r, n := noise(250), claim(t), 0
	var done store.Record // an engine has room for both
	alloctest.Check(t, 1000, alloctest.Limit{Allocs: 10, Bytes: 420}, func() {
		n++
		if r.ID, err = store.NewID(at.Add(time.Duration(n)*time.Millisecond), 31, rand.Reader); err != nil {
			t.Fatal(err)
		}
		r.Term = newTerm()
		_, err := s.Claim(t.Context(), &r)
		if err == nil {
			done = settled(r, content)
			_, err = s.Advance(t.Context(), r.Term, &done, store.Also{})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
