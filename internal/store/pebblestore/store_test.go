package pebblestore_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, clock func() time.Time) storetest.Instance {
		t.Helper()
		fs := vfs.NewCrashableMem()
		open := func(fs vfs.FS) (store.Store, error) {
			return pebblestore.Open(t.Context(), pebblestore.Config{Dir: "/data/poe", FS: fs, Clock: clock, Fatal: func(reason string) {
				t.Errorf("the ledger would end the process: %s", reason)
			}})
		}
		s, err := open(fs)
		if err != nil {
			t.Fatal(err)
		}
		return storetest.Instance{
			Store:  s,
			Reopen: func() (store.Store, error) { return open(fs) },
			Crash: func() (store.Store, error) {
				fs = fs.CrashClone(vfs.CrashCloneCfg{})
				return open(fs)
			},
		}
	})
}
