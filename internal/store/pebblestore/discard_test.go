package pebblestore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// kept claims an action whose request lies beside the ledger.
func kept(t *testing.T, s *pebblestore.Store) store.Record {
	t.Helper()
	r := claim(t)
	body := noise(70_000)
	r.Request = store.Blob{Where: store.Beside, Part: store.Part{Term: r.Term}, Size: int64(len(body)), Digest: sha256.Sum256(body)}
	if _, err := s.Put(t.Context(), r.ID, r.Request.Part, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	got, err := storetest.Claim(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// letGo settles what was claimed, and discards its request.
func letGo(t *testing.T, s *pebblestore.Store, r store.Record) {
	letGoOf(t, s, r)
	if err := s.Discard(t.Context(), r.ID, r.Request.Part); err != nil {
		t.Error(err)
	}
}

// letGoOf settles what was claimed.
func letGoOf(t *testing.T, s *pebblestore.Store, r store.Record) {
	done := settled(r, []byte("made"))
	done.Response.Digest = sha256.Sum256(done.Response.Content)
	done.Request = store.Blob{Size: r.Request.Size, Digest: r.Request.Digest}
	if _, err := storetest.Advance(t.Context(), s, r.Term, done, store.Also{}); err != nil {
		t.Error(err)
	}
}

func there(t *testing.T, s *pebblestore.Store, r store.Record) bool {
	t.Helper()
	f, err := s.Open(t.Context(), r.ID, r.Request.Part)
	if errors.Is(err, store.ErrNotFound) {
		return false
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return true
}

// What a copied record refers to is in the copy, though it is settled and discarded while the copy is made; and it is gone behind it.
func TestDiscardDuringBackup(t *testing.T) {
	disk := vfs.NewMem()
	var armed atomic.Bool
	var linked func()
	s, err := open(t, errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink && strings.Contains(op.Path, "/bodies/") && armed.CompareAndSwap(true, false) {
			linked()
		}
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]store.Record, 8)
	for i := range all {
		all[i] = kept(t, s)
	}
	linked = func() { // the records are copied, and of the bodies none
		for _, r := range all[1:] {
			letGo(t, s, r)
			if !there(t, s, r) {
				t.Error("a body is discarded that the copy may refer to")
			}
		}
	}
	armed.Store(true)
	did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup})
	if err != nil || armed.Load() || did.Bodies != int64(len(all)) {
		t.Fatalf("%+v, %v", did, err)
	}
	for _, r := range all[1:] {
		if there(t, s, r) {
			t.Error("a body is still there behind the backup")
		}
	}
	if !there(t, s, all[0]) {
		t.Error("a body is gone that its record refers to")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	in := config(disk)
	in.Dir = backup
	if found := sound(t, in, len(all)); found.Bodies != int64(len(all)) {
		t.Errorf("%+v", found)
	}
	sound(t, config(disk), len(all))
}

// What is discarded while the write that lets go of it waits for the disk is there until that is synced: a power cut before would bring back the record that needs it.
func TestDiscardWaitsForSync(t *testing.T) {
	s, v := newLedger(t)
	r := kept(t, s)
	done := settled(r, nil)
	done.Response, done.Request = store.Blob{}, store.Blob{Size: r.Request.Size}
	v.shut.Store(true)
	settling := make(chan error, 1)
	go func() {
		_, err := storetest.Advance(t.Context(), s, r.Term, done, store.Also{})
		settling <- err
	}()
	<-v.held
	discarded := make(chan error, 1)
	go func() { discarded <- s.Discard(t.Context(), r.ID, r.Request.Part) }()
	for range 300 { // it has every chance to go wrong
		runtime.Gosched()
		if !there(t, s, r) {
			t.Fatal("it is gone before its record has durably let go of it")
		}
	}
	v.open()
	if err := errors.Join(<-settling, <-discarded); err != nil {
		t.Error(err)
	}
	if there(t, s, r) {
		t.Error("it is still there")
	}
}

// A file that cannot be removed is said to be there, and is no trouble to anybody else: not to a backup that has kept it, and not to who tries again.
func TestDiscardFails(t *testing.T) {
	var broken atomic.Bool
	s, err := open(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpRemove && strings.Contains(op.Path, "/bodies/") {
			return syscall.EACCES
		}
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	r := kept(t, s)
	letGoOf(t, s, r)
	broken.Store(true)
	discard := func() error { return s.Discard(t.Context(), r.ID, r.Request.Part) }
	if err := discard(); !errors.Is(err, syscall.EACCES) || !there(t, s, r) {
		t.Errorf("discarding: %v", err)
	}
	during := func(store.Progress) {
		if err := discard(); err != nil {
			t.Errorf("while it is copied: %v", err)
		}
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup, Progress: during}); err != nil || !there(t, s, r) {
		t.Errorf("backing up: %v", err)
	}
	broken.Store(false)
	if err := discard(); err != nil || there(t, s, r) {
		t.Errorf("discarding again: %v", err)
	}
}

// A crash at any moment leaves no record without the body that it refers to, whatever was discarded: only what is durable lets go.
func TestDiscardThenCrash(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := mustOpen(t, disk)
	r := kept(t, s)
	letGo(t, s, r)
	folder := path.Join(dir, "bodies")
	if err := syncFolder(disk, path.Join(folder, shelfOf(t, disk, folder))); err != nil {
		t.Fatal(err)
	}
	after := mustOpen(t, disk.CrashClone(vfs.CrashCloneCfg{}))
	got, err := after.Lookup(t.Context(), store.ByID(r.ID))
	if err != nil || got.State != store.Done || there(t, after, r) {
		t.Errorf("%s, %v; its request is there: %t", got.State, err, there(t, after, r))
	}
}

func shelfOf(t *testing.T, disk vfs.FS, folder string) string {
	t.Helper()
	names, err := disk.List(folder)
	if err != nil || len(names) != 1 {
		t.Fatalf("%q, %v", names, err)
	}
	return names[0]
}

func syncFolder(disk vfs.FS, folder string) error {
	f, err := disk.OpenDir(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
