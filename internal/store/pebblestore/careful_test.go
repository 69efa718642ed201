package pebblestore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A source that breaks off with io.ErrUnexpectedEOF must not be taken for one that ended.
func TestPutBrokenSource(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	id, part := newID(t), store.Part{Term: newTerm(), N: 1}
	src := io.MultiReader(bytes.NewReader(noise(1000)), broken{})
	n, err := s.Put(t.Context(), id, part, src)
	if err == nil {
		t.Errorf("a broken source was stored as a whole content of %d bytes", n)
	}
	if f, err := s.Open(t.Context(), id, part); err == nil {
		b, _ := io.ReadAll(f)
		t.Errorf("and it can be read: %d bytes", len(b))
		_ = f.Close()
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Slices that go in are "not kept after the call returns".
func TestClaimKeepsCallersSlice(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	n1, n2 := newName(), newName()
	names := []store.Name{n1}
	r := claim(t, names...)
	r.Names = names
	if _, err := storetest.Claim(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	names[0] = n2 // the caller uses its slice for something else
	done := settled(r, nil)
	done.Names = nil
	if _, err := storetest.Advance(t.Context(), s, r.Term, done, store.Also{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(t.Context(), store.ByName(n1)); err != nil {
		t.Errorf("the name of a done action: %v", err)
	}
	second := claim(t, n1)
	if _, err := storetest.Claim(t.Context(), s, second); !errors.Is(err, store.ErrTaken) {
		t.Errorf("SECOND EXECUTION: the name of a done action was claimed again: %v", err)
	}
}

// The record in the way is the caller's: what the ledger remembers of it is used again for other actions.
func TestHolderStaysWhatItIs(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	for range 100 {
		r := claim(t)
		if _, err := storetest.Claim(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
		again := r
		again.Term = newTerm()
		holder, err := s.Claim(t.Context(), &again)
		if !errors.Is(err, store.ErrTaken) {
			t.Fatal(err)
		}
		if _, err := storetest.Advance(t.Context(), s, r.Term, settled(r, nil), store.Also{}); err != nil {
			t.Fatal(err)
		}
		if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
			t.Fatal(err)
		}
		if holder.ID != r.ID || holder.Term != r.Term {
			t.Fatalf("%s has become %s", r.ID, holder.ID)
		}
	}
}

// A ledger that is named "." has its high-water file inside of it.
func TestHighWaterInside(t *testing.T) {
	for _, name := range []string{".", "./", ".."} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "data")
			in := root
			if name == ".." {
				in = filepath.Join(root, "sub")
			}
			if err := os.MkdirAll(in, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Chdir(in)
			cfg := pebblestore.Config{Dir: name}
			use := func(rs ...store.Record) {
				s, err := pebblestore.Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rs {
					if _, err := storetest.Claim(t.Context(), s, r); err != nil {
						t.Error(err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			now := func() store.Record {
				r := claim(t, newName())
				r.ID, _ = store.NewID(time.Now(), 31, bytes.NewReader(noise(16)))
				r.Expires, r.Due = time.Now().Add(time.Hour), time.Now().Add(time.Minute)
				return r
			}
			use(now())
			older := filepath.Join(t.TempDir(), "older")
			if err := os.CopyFS(older, os.DirFS(root)); err != nil {
				t.Fatal(err)
			}
			lost := now()
			use(lost)
			t.Chdir(filepath.Dir(root)) // its folder is about to be replaced
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(root, os.DirFS(older)); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(in, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Chdir(in)
			s, err := pebblestore.Open(t.Context(), cfg)
			if err != nil {
				if !errors.Is(err, store.ErrRolledBack) {
					t.Errorf("refused because of %v", err)
				}
				return
			}
			defer func() { _ = s.Close() }()
			t.Error("an older copy of the folder was opened without a word")
			lost.Term = newTerm()
			if _, err := storetest.Claim(t.Context(), s, lost); err == nil {
				t.Errorf("SECOND EXECUTION: what was claimed is claimed again")
			}
		})
	}
}

// The high-water file hangs: nothing says so, and claims go on unmarked.
type hanging struct {
	vfs.FS
	on      atomic.Bool
	once    sync.Once
	begun   chan struct{}
	release chan struct{}
}

func (h *hanging) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.OpenReadWrite(name, c, o...)
	if err == nil && strings.HasSuffix(name, ".high-water") {
		f = hangingFile{f, h}
	}
	return f, err
}

type hangingFile struct {
	vfs.File
	h *hanging
}

func (f hangingFile) SyncData() error {
	if f.h.on.Load() {
		f.h.once.Do(func() { close(f.h.begun) })
		<-f.h.release
	}
	return f.File.SyncData()
}

func TestHighWaterHangs(t *testing.T) {
	h := &hanging{FS: vfs.NewMem(), begun: make(chan struct{}), release: make(chan struct{})}
	var late atomic.Int64
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: h, Clock: func() time.Time { return at.Add(time.Duration(late.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	h.on.Store(true)
	var marking sync.WaitGroup
	marking.Go(func() { _ = s.Mark() })
	<-h.begun
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Errorf("a mark that has just begun: %v", err)
	}
	late.Store(int64(6 * time.Second))
	if err := s.Ready(t.Context()); err == nil {
		t.Error("it says that it is ready")
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("6 s after the mark began a new claim is taken: %v", err)
	}
	h.on.Store(false)
	close(h.release)
	marking.Wait()
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Errorf("the disk is well again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A write of the high-water file that fails half way, twice, takes both slots.
type halves struct {
	vfs.FS
	on atomic.Bool
}

func (h *halves) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.OpenReadWrite(name, c, o...)
	if err == nil && strings.HasSuffix(name, ".high-water") {
		f = halvesFile{f, h}
	}
	return f, err
}

type halvesFile struct {
	vfs.File
	h *halves
}

func (f halvesFile) WriteAt(p []byte, off int64) (int, error) {
	if f.h.on.Load() {
		n, _ := f.File.WriteAt(p[:110], off)
		return n, errors.New("the disk is not well")
	}
	return f.File.WriteAt(p, off)
}

func TestBothSlots(t *testing.T) {
	h := &halves{FS: vfs.NewMem()}
	s, err := open(t, h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	h.on.Store(true)
	for range 2 {
		if err := s.Mark(); err == nil {
			t.Error("a write that failed is said to be done")
		}
	}
	_ = s.Close() // it cannot mark its end either
	h.on.Store(false)
	s, err = open(t, h)
	if err != nil {
		t.Errorf("no slot is left: %v", err)
		return
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A server whose folder was moved away does not go on when another ledger takes its place, as after a restore beside it: two servers would take the same keys for
// new. When its own folder is put back it is the ledger again.
func TestAnotherLedgerInItsPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	// As another process has it; one process cannot lock a path twice.
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("ready: %v", err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a claim: %v", err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("back in its place: %v", err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Errorf("back in its place: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A ledger whose folder somebody has removed takes nothing new: it would go into files that nobody finds again.
func TestFolderIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // it has nothing to close any more
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("ready: %v", err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a claim: %v", err)
	}
}
