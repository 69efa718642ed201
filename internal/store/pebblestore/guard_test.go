package pebblestore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

const highWater = dir + ".high-water"

// used makes a ledger with n claims on disk, and closes it.
func used(t *testing.T, disk vfs.FS, n int) {
	t.Helper()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := storetest.Claim(t.Context(), s, claim(t, newName())); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// refused wants a ledger not to be opened, with words that name both files, and a hint with a command.
func refused(t *testing.T, disk vfs.FS, want error, names ...string) {
	t.Helper()
	for range 2 { // trying again does not help
		s, err := open(t, disk)
		if s != nil || !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		for _, n := range names {
			if !strings.Contains(err.Error(), n) {
				t.Errorf("%q does not name %s", err, n)
			}
		}
		var hint *store.HintError
		if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "--") {
			t.Errorf("there is no hint in %v", err)
		}
	}
}

// Whoever empties the folder, puts an older copy into it, or another ledger, gets no server: what it does not know
// would be executed a second time.
func TestNotWhatItWas(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, disk, older *vfs.MemFS)
		want   error
		says   string
	}{
		{"gone", func(t *testing.T, disk, _ *vfs.MemFS) { remove(t, disk, dir) }, store.ErrRolledBack, "there is none in it"},
		{"emptied", func(t *testing.T, disk, _ *vfs.MemFS) {
			remove(t, disk, dir)
			if err := disk.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, store.ErrRolledBack, "there is none in it"},
		{"half emptied", func(t *testing.T, disk, _ *vfs.MemFS) { remove(t, disk, dir+"/ledger") }, store.ErrRolledBack, "there is none in it"},
		{"an older copy", func(t *testing.T, disk, older *vfs.MemFS) { replaceFolder(t, disk, older) }, store.ErrRolledBack, "it is older than it was"},
		{"another ledger", func(t *testing.T, disk, _ *vfs.MemFS) {
			other := vfs.NewMem()
			used(t, other, 50)
			replaceFolder(t, disk, other)
		}, store.ErrAnother, "it is ledger"},
		{"its end cut off", func(t *testing.T, disk, _ *vfs.MemFS) {
			log := largest(t, disk, ".log")
			b := withoutZeros(contentOf(t, disk, log))
			overwrite(t, disk, log, b[:len(b)-100])
		}, store.ErrRolledBack, "it is older than it was"},
		{"its high-water file gone", func(t *testing.T, disk, _ *vfs.MemFS) { remove(t, disk, highWater) }, store.ErrRolledBack, "is not there"},
		{"its high-water file damaged", func(t *testing.T, disk, _ *vfs.MemFS) {
			b := contentOf(t, disk, highWater)
			b[30] ^= 1
			b[4096+30] ^= 1
			overwrite(t, disk, highWater, b)
		}, store.ErrCorrupt, "cannot be read"},
		{"its high-water file empty", func(t *testing.T, disk, _ *vfs.MemFS) { overwrite(t, disk, highWater, nil) }, store.ErrCorrupt, "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := vfs.NewMem()
			used(t, disk, 10)
			older := copyOf(t, disk)
			used(t, disk, 10)
			tt.change(t, disk, older)
			refused(t, disk, tt.want, dir, highWater, tt.says)
		})
	}
}

func remove(t *testing.T, disk vfs.FS, path string) {
	t.Helper()
	if err := disk.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// replaceFolder puts the ledger's folder of another disk into the place of this one's. The high-water file stays.
func replaceFolder(t *testing.T, disk, from *vfs.MemFS) {
	t.Helper()
	remove(t, disk, dir)
	if ok, err := vfs.Clone(from, disk, dir, dir); !ok || err != nil {
		t.Fatalf("copying the folder: %t, %v", ok, err)
	}
}

// One slot of the file may be damaged, by a power cut in the middle of writing it or by anything else: the other one says the same after
// an end in order.
func TestHighWaterSlots(t *testing.T) {
	for slot := range 2 {
		disk := vfs.NewMem()
		used(t, disk, 10)
		older := copyOf(t, disk)
		used(t, disk, 10)
		b := contentOf(t, disk, highWater)
		b[slot*4096+30] ^= 1
		overwrite(t, disk, highWater, b)
		replaceFolder(t, disk, older)
		refused(t, disk, store.ErrRolledBack, "it is older than it was")
	}
}

// The mark is behind what it marks, or level with it, at every moment: after a power cut a ledger is never refused for
// what was not acknowledged.
func TestMarkIsNeverAhead(t *testing.T) {
	disk := &disk{MemFS: vfs.NewCrashableMem()}
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.Mark(); err != nil {
			t.Fatal(err)
		}
		left, err := open(t, disk.clone(vfs.CrashCloneCfg{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := left.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// After a crash whatever was marked is asked for, though the ledger was never closed.
func TestMarkedWithoutClosing(t *testing.T) {
	disk := &disk{MemFS: vfs.NewCrashableMem()}
	s := mustOpen(t, disk)
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	older := copyOf(t, disk.clone(vfs.CrashCloneCfg{}))
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	crashed := copyOf(t, disk.clone(vfs.CrashCloneCfg{}))
	replaceFolder(t, crashed, older)
	refused(t, crashed, store.ErrRolledBack, "it is older than it was")
}

// A process that begins while the clock is behind, and ends in order, does not bring the ledger's time on.
func TestRestartsWhileTheClockIsBehind(t *testing.T) {
	disk := vfs.NewMem()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	open := func() *pebblestore.Store {
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: disk, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	floor := s.Clock().Raise()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour)
	for range 10 {
		s := open()
		if got := s.Clock().Raise(); !got.Equal(floor) {
			t.Fatalf("%s was %s", got, floor)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A ledger of a version that had no high-water files gets one. So does a new one that nothing was written to before a crash took its file.
func TestHighWaterIsMade(t *testing.T) {
	disk := vfs.NewMem()
	used(t, disk, 3)
	db, err := pebble.Open(dir+"/ledger", &pebble.Options{FS: disk, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{t}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Delete([]byte("mhigh-water"), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, highWater)
	used(t, disk, 3)
	remove(t, disk, highWater)
	refused(t, disk, store.ErrRolledBack, "is not there")

	disk = vfs.NewMem()
	used(t, disk, 0)
	remove(t, disk, highWater)
	used(t, disk, 1)
	if _, err := disk.Stat(highWater); err != nil {
		t.Error(err)
	}
}

// The keys say which ledger is meant, so that an empty folder is refused even where its high-water file went with it. Nothing is made there.
func TestIdentity(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	id := s.Identity()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open := func(disk vfs.FS, id store.ID) error {
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: disk, Identity: id})
		if err != nil {
			return err
		}
		return s.Close()
	}
	if err := open(disk, id); err != nil {
		t.Error(err)
	}
	if err := open(disk, newID(t)); !errors.Is(err, store.ErrAnother) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("under the keys of another ledger: %v", err)
	}
	empty := vfs.NewMem()
	if err := open(empty, id); !errors.Is(err, store.ErrRolledBack) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("in an empty folder: %v", err)
	}
	if _, err := empty.Stat("/data"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

// The file may be anywhere.
func TestHighWaterElsewhere(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/other", 0o700); err != nil {
		t.Fatal(err)
	}
	c := pebblestore.Config{Dir: dir, FS: disk, HighWater: "/other/mark"}
	s, err := pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Ready(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, "/data")
	_, err = pebblestore.Open(t.Context(), c)
	var hint *store.HintError
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "--store 'pebble:/data/poe' --high-water '/other/mark'") {
		t.Errorf("got %v, with the hint %v", err, hint)
	}
	if _, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: vfs.NewMem(), HighWater: "/missing/mark"}); !errors.As(err, &hint) ||
		!strings.Contains(hint.Hint(), "--high-water FILE") {
		t.Errorf("where it cannot be made: %v", err)
	}
}

// A high-water file that somebody takes away while the ledger is served is made again, for the next process.
func TestHighWaterTakenAway(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, highWater)
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat(highWater); err != nil {
		t.Error(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, highWater)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	used(t, disk, 1)
}

// oneOpenFails is a disk on which a file cannot be opened for writing once, as where a process has too many of them.
type oneOpenFails struct {
	vfs.FS
	fail bool
}

func (f *oneOpenFails) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.fail && c == "poe-high-water" {
		f.fail = false
		return nil, errors.New("too many open files")
	}
	return f.FS.OpenReadWrite(name, c, opts...)
}

func (f *oneOpenFails) Unwrap() vfs.FS { return f.FS }

// Where the file that was made again cannot be opened at once, it is later, and then claims are taken again: while they are refused nothing is written that
// would have to be marked.
func TestHighWaterOpenedLater(t *testing.T) {
	disk := &oneOpenFails{FS: vfs.NewMem()}
	s := mustOpen(t, disk)
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, highWater)
	disk.fail = true
	if err := s.Mark(); err == nil {
		t.Error("no error")
	}
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Errorf("the file can be written again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	used(t, disk, 1)
}

// While the file cannot be written, as on a disk that is full, the log has one line when that begins and one when it ends, and none each second: the log may lie on that disk.
func TestHighWaterFailsInTwoLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if full.Load() && op.Kind == errorfs.OpFileWriteAt && op.Path == highWater {
				return syscall.ENOSPC
			}
			return nil
		}))
		var said bytes.Buffer
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: disk, Log: zerolog.New(&said).Level(zerolog.WarnLevel)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			full.Store(true)
			<-time.After(5 * time.Minute)
			full.Store(false)
			<-time.After(5 * time.Second)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		if len(lines) != 4 || !strings.Contains(lines[2], "nothing new is taken") || !strings.Contains(lines[3], "can be written again") {
			t.Errorf("it has said %d lines, the first of them %q", len(lines), lines[:min(len(lines), 4)])
		}
	})
}

// A high-water file that has no folder is told before a ledger is made: a server that was started in a wrong folder leaves nothing in it.
func TestHighWaterWithoutAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	open := func(dir, highWater string) error {
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, HighWater: highWater})
		if err != nil {
			return err
		}
		return s.Close()
	}
	var hint *store.HintError
	if err := open("ledger", "state/high-water"); !errors.As(err, &hint) || !strings.Contains(hint.What, "--high-water") {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("there is %v (%v)", left, err)
	}
	if err := open("poe/ledger", "poe/high-water"); err != nil {
		t.Errorf("in a folder that is made with the ledger's: %v", err)
	}
	if err := open("other", "other/high-water"); err != nil {
		t.Errorf("in the ledger's own: %v", err)
	}
}
