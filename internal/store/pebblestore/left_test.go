package pebblestore_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// A ledger that opens on a disk which fails to read once has counted all that is left to a person, whichever read it was.
func TestLeftIsCountedOrNotOpened(t *testing.T) {
	const all = 40
	plain := vfs.NewMem()
	s := mustOpen(t, plain)
	for range all {
		r := claim(t)
		r.Request.Head = noise(16 << 10) // more than a block
		got, err := storetest.Claim(t.Context(), s, r)
		if err != nil {
			t.Fatal(err)
		}
		was := got.Term
		got.State, got.Term, got.Due = store.Unknown, newTerm(), store.Person
		if _, err := storetest.Advance(t.Context(), s, was, got, store.Also{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for fails, failed := int64(1), true; failed; fails++ {
		var reads atomic.Int64
		disk := errorfs.Wrap(copyOf(t, plain), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && reads.Add(1) == fails {
				return errorfs.ErrInjected
			}
			return nil
		}))
		s, err := open(t, disk)
		failed = reads.Load() >= fails
		if err != nil {
			continue
		}
		if left := s.Health().Left[store.Request]; left != all {
			t.Errorf("where read %d fails, %d of %d are left to a person", fails, left, all)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
