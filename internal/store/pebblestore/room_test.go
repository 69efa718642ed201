package pebblestore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A narrow disk has as much room as the test says, and none for anybody while it is full, until a large enough file is removed.
type narrow struct {
	vfs.FS
	total, left uint64
	full        *atomic.Bool
}

func (n *narrow) GetDiskUsage(string) (vfs.DiskUsage, error) {
	left := atomic.LoadUint64(&n.left)
	return vfs.DiskUsage{AvailBytes: left, TotalBytes: n.total, UsedBytes: n.total - left}, nil
}

func (n *narrow) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := n.FS.Create(name, category)
	return narrowFile{f, n}, err
}

func (n *narrow) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := n.FS.ReuseForWrite(from, to, category)
	return narrowFile{f, n}, err
}

func (n *narrow) Remove(name string) error {
	if strings.HasSuffix(name, "/reserve") {
		n.full.Store(false)
	}
	return n.FS.Remove(name)
}

type narrowFile struct {
	vfs.File
	n *narrow
}

func (f narrowFile) Write(p []byte) (int, error) {
	if f.n.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// While the disk is nearly full nothing new is taken, and what runs is settled; what was done already is answered as ever. When it is quite full a reserve is
// given up, and outcomes are still written. Both pass.
func TestNearlyFull(t *testing.T) {
	full := &atomic.Bool{}
	disk := &narrow{FS: vfs.NewMem(), total: 400 << 20, left: 100 << 20, full: full}
	s := mustOpen(t, disk)
	s.LookAround()
	reserve := dir + "/reserve"
	if info, err := disk.Stat(reserve); err != nil || info.Size() != 5<<20 {
		t.Fatalf("there is no reserve of 5 MiB: %v", err)
	}
	running, done := claim(t), claim(t)
	for _, r := range []store.Record{running, done} {
		if _, err := storetest.Claim(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := storetest.Advance(t.Context(), s, done.Term, settled(done, nil), store.Also{}); err != nil {
		t.Fatal(err)
	}

	held := claim(t, newName())
	released := held
	released.State, released.Term, released.Due = store.Unused, newTerm(), time.Time{}
	if _, err := storetest.Claim(t.Context(), s, held); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Advance(t.Context(), s, held.Term, released, store.Also{}); err != nil {
		t.Fatal(err)
	}

	atomic.StoreUint64(&disk.left, 20<<20-1)
	s.LookAround()
	held.Term, held.Names = newTerm(), nil // it was decided that it gets its names back, and the helper sees that the record says nothing of that
	if _, err := storetest.Claim(t.Context(), s, held); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a claim of what was released got %v", err)
	}
	fresh := claim(t)
	fresh.Since = at // of which it sees the same
	if _, err := storetest.Claim(t.Context(), s, fresh); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "19 MiB are left on the disk, and 20 are wanted") {
		t.Errorf("a claim got %v", err)
	}
	if _, err := s.Lookup(t.Context(), store.ByID(fresh.ID)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it was written all the same: %v", err)
	}
	if _, err := s.Put(t.Context(), fresh.ID, store.Part{Term: fresh.Term}, bytes.NewReader(noise(10))); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the body of a claim to come got %v", err)
	}
	again := done
	again.Term = newTerm()
	if r, err := storetest.Claim(t.Context(), s, again); !errors.Is(err, store.ErrTaken) || r.State != store.Done {
		t.Errorf("a repeat of what was done got %s, %v", r.State, err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it is ready: %v", err)
	}
	if h := s.Health(); !h.Low || h.Free != 20<<20-1 {
		t.Errorf("its health: %+v", h)
	}

	full.Store(true)
	end := settled(running, noise(60_000))
	part := store.Part{Term: end.Term, N: 1}
	if _, err := s.Put(t.Context(), running.ID, part, bytes.NewReader(noise(100_000))); err != nil {
		t.Errorf("the content of an outcome: %v", err)
	}
	if _, err := storetest.Advance(t.Context(), s, running.Term, end, store.Also{}); err != nil {
		t.Errorf("an outcome on a full disk: %v", err)
	}
	if _, err := disk.Stat(reserve); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the reserve was not given up: %v", err)
	}

	atomic.StoreUint64(&disk.left, 100<<20)
	s.LookAround()
	if _, err := storetest.Claim(t.Context(), s, fresh); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := s.Ready(t.Context()); err != nil || s.Health().Low {
		t.Errorf("with room again: %v, %+v", err, s.Health())
	}
	if _, err := disk.Stat(reserve); err != nil {
		t.Errorf("the reserve was not made again: %v", err)
	}
}

// A ledger that is opened on a disk without room says so at once: it is served, and takes nothing.
func TestNearlyFullAtTheStart(t *testing.T) {
	for left, want := range map[uint64]int{100 << 20: 0, 1 << 20: 1} {
		var out lockedBuffer
		disk := &narrow{FS: vfs.NewMem(), total: 400 << 20, left: left, full: &atomic.Bool{}}
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: disk, Log: zerolog.New(&out)})
		if err != nil {
			t.Fatal(err)
		}
		s.LookAround()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(out.String(), "nothing new is taken"); n != want {
			t.Errorf("with %d bytes left it is said %d times:\n%s", left, n, out.String())
		}
	}
}

// What must be left: a gibibyte, or a twentieth of the disk where that is less, or what somebody has said.
func TestMinFree(t *testing.T) {
	for _, tt := range []struct {
		total, least, want uint64
	}{
		{1 << 40, 0, 1 << 30}, {20 << 30, 0, 1 << 30}, {1 << 30, 0, 1 << 30 / 20}, {1 << 40, 5 << 30, 5 << 30}, {1 << 30, 5 << 20, 5 << 20},
	} {
		for _, left := range []uint64{tt.want - 1, tt.want} {
			disk := &narrow{FS: vfs.NewMem(), total: tt.total, left: left, full: &atomic.Bool{}}
			s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: disk, MinFree: tt.least})
			if err != nil {
				t.Fatal(err)
			}
			if low := s.Health().Low; low != (left < tt.want) {
				t.Errorf("%d of %d, %d wanted: low is %t", left, tt.total, tt.least, low)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The same on a real disk of 64 MiB, which only some may mount; TestNearlyFull stands in for it elsewhere.
func TestSmallDisk(t *testing.T) {
	at := t.TempDir()
	if err := mount(at); err != nil {
		t.Logf("no small disk can be mounted here: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := unmount(at); err != nil {
			t.Error(err)
		}
	})
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: filepath.Join(at, "poe"), Fatal: func(reason string) { t.Errorf("it would end the process: %s", reason) }})
	if err != nil {
		t.Fatal(err)
	}
	s.LookAround()
	begin := func() store.Record {
		r := claim(t)
		r.ID, err = store.NewID(time.Now(), 31, strings.NewReader(string(noise(16))))
		if err != nil {
			t.Fatal(err)
		}
		r.Expires, r.Due = time.Now().Add(time.Hour), time.Now().Add(time.Minute)
		return r
	}
	var running []store.Record
	for range 20 {
		r := begin()
		if _, err := storetest.Claim(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
		running = append(running, r)
	}
	filler := filepath.Join(at, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // until nothing is left
		_, err = f.Write(noise(64 << 10))
	}
	if err := f.Close(); !errors.Is(err, nil) {
		t.Log(err)
	}
	until(t, func() bool {
		_, err := storetest.Claim(t.Context(), s, begin())
		return errors.Is(err, store.ErrUnavailable)
	})
	for _, r := range running {
		if _, err := storetest.Advance(t.Context(), s, r.Term, settled(r, noise(30_000)), store.Also{}); err != nil {
			t.Fatalf("an outcome on a full disk: %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	until(t, func() bool { _, err := storetest.Claim(t.Context(), s, begin()); return err == nil })
	if took := time.Since(freed); took > 10*time.Second {
		t.Errorf("it took %s until something new was taken", took)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A full disk takes no writes below a folder.
type fullDiskAt string

func (d fullDiskAt) String() string { return "(FullDiskAt " + string(d) + ")" }

func (d fullDiskAt) MaybeError(op errorfs.Op) error {
	if strings.HasPrefix(op.Path, string(d)) && op.Kind == errorfs.OpFileWrite {
		return syscall.ENOSPC
	}
	return nil
}

// A backup that finds no room is not made. It costs the ledger neither its reserve nor a claim: those are for its own folder.
func TestBackupToAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, errorfs.Wrap(mem, fullDiskAt("/data/poe-backup/")))
	if _, err := live(t, s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: "/data/poe-backup"}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the backup: %v", err)
	}
	if s.Health().Low {
		t.Error("the ledger's disk is taken for full")
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Error(err)
	}
}

// until waits for what should happen within a second.
func until(t *testing.T, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); !is(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not happen")
		}
	}
}
