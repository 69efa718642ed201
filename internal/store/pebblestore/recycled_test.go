package pebblestore_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A renaming disk does what the system's does (vfs.Default) where a log is used again and there is no file descriptor: the log has its new name then, and is not open.
type renaming struct {
	vfs.FS
	armed, refused atomic.Int64
}

func (r *renaming) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if r.armed.Load() > 0 {
		if err := r.Rename(from, to); err != nil {
			return nil, err
		}
		r.armed.Add(-1)
		r.refused.Add(1)
		return nil, syscall.EMFILE
	}
	return r.FS.ReuseForWrite(from, to, category)
}

func (r *renaming) Unwrap() vfs.FS { return r.FS }

// From the second log on Pebble uses logs again, which is a rename and an open: a descriptor is waited for there, too.
func TestDescriptorsComeBackForARecycledLog(t *testing.T) {
	fatal := make(chan string, 10)
	disk := &renaming{FS: vfs.Default}
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: filepath.Join(t.TempDir(), "ledger"), FS: disk, Fatal: func(reason string) { fatal <- reason }})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // where it is fatal nothing of this ledger returns
		done <- func() error {
			for range 20 {
				if _, err := storetest.Claim(context.WithoutCancel(t.Context()), s, claim(t)); err != nil {
					return err
				}
				if err := s.Flush(); err != nil { // which begins a log
					return err
				}
				if disk.refused.Load() > 0 {
					if _, err := storetest.Claim(context.WithoutCancel(t.Context()), s, claim(t)); err != nil {
						return err
					}
					return s.Close()
				}
				disk.armed.Store(1)
			}
			return errors.New("no log was used again")
		}()
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case reason := <-fatal:
		t.Errorf("the process would have ended: %s", reason)
	case <-time.After(time.Minute):
		t.Error("it hangs")
	}
}
