package pebblestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// A room watches how much is left on the ledger's disk. A disk that is full ends the process, since the log cannot be written any more, and
// what was executing then is unknown for ever. So new claims are refused while there is still room for the outcomes of what runs; and if something else
// fills the disk all the same, a file that was kept for that moment is given up.
type room struct {
	disk  vfs.FS // without the wrapping that calls giveUp
	dir   string
	least uint64 // Config.MinFree
	clock func() time.Time
	log   func(reserve uint64, err error) // hears that the reserve was made or given up

	lock os.FileInfo // LOCK, as it was when the folder was locked; nil: the disk is none of the system's

	free  atomic.Int64 // bytes; -1: nobody knows
	want  atomic.Uint64
	away  atomic.Bool // the disk did not answer when it was asked last
	short atomic.Bool // claims are refused

	mu    sync.Mutex
	held  uint64    // size of the reserve; 0: there is none
	since time.Time // no reserve is made before
}

const (
	mostFree   = 1 << 30  // what must be left is a twentieth of the disk, and no more than this
	reserveMax = 64 << 20 // as much as a thousand outcomes of 64 KiB
)

// settling is how long a process runs before it makes the reserve, which takes the disk a moment: one that is over by then needs none.
const settling = 10 * time.Second

const reserveName = "reserve"

// begin is called with the folder locked.
func (r *room) begin(s *Store, disk vfs.FS) error {
	r.disk, r.dir, r.least, r.clock = disk, s.c.Dir, s.c.MinFree, s.c.Clock
	r.since = r.clock().Add(settling)
	r.free.Store(-1)
	r.log = func(reserve uint64, err error) {
		switch {
		case err != nil:
			s.c.Log.Warn().Err(err).Msg("the reserve for a full disk could not be made, and is tried again")
		case reserve > 0:
			s.c.Log.Debug().Uint64("bytes", reserve).Msg("a reserve for a full disk is kept")
		default:
			s.c.Log.Error().Msg("the disk is full: the reserve was given up, so that outcomes can still be written")
		}
	}
	if info, err := disk.Stat(r.path()); err == nil {
		r.held = uint64(max(info.Size(), 0))
	}
	if vfs.Root(disk) != vfs.Default {
		return nil
	}
	var err error
	if r.lock, err = os.Stat(r.lockPath()); err != nil {
		return fmt.Errorf("looking for the lock: %w", err)
	}
	return nil
}

func (r *room) path() string { return r.disk.PathJoin(r.dir, reserveName) }

func (r *room) lockPath() string { return r.disk.PathJoin(r.dir, "LOCK") }

// inPlace looks whether the folder at the path is the one that is locked. Another ledger that was put into its place is that of another process, and what went into
// the folder that was moved away would be done again by that.
func (r *room) inPlace() error {
	if _, err := r.disk.Stat(r.lockPath()); err != nil || r.lock == nil {
		return err
	}
	now, err := os.Stat(r.lockPath())
	if err == nil && !os.SameFile(r.lock, now) {
		err = errors.New("another one is in its place")
	}
	return err
}

// look asks the system. A disk that cannot say how much is left is taken for one with room; one that does not answer, or has the ledger no more, takes
// nothing new: what is written to files that nobody will find again is lost.
func (r *room) look() error {
	err := r.ask()
	r.away.Store(err != nil)
	return err
}

func (r *room) ask() error {
	if err := r.inPlace(); err != nil {
		return fmt.Errorf("looking for the ledger's folder: %w", err)
	}
	usage, err := r.disk.GetDiskUsage(r.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking for the room on the disk: %w", err)
	}
	want := r.least
	if want == 0 {
		want = min(mostFree, usage.TotalBytes/20)
	}
	r.free.Store(int64(min(usage.AvailBytes, 1<<62)))
	r.want.Store(want)
	r.short.Store(usage.AvailBytes < want)
	return nil
}

// refuses says why nothing new is taken; nil: it is.
func (r *room) refuses() error {
	if r.away.Load() {
		return fmt.Errorf("%w: its disk does not answer, or its folder is gone, or another one is in its place", store.ErrUnavailable)
	}
	if !r.short.Load() {
		return nil
	}
	return fmt.Errorf("%w: %d MiB are left on the disk, and %d are wanted", store.ErrUnavailable, r.free.Load()>>20, r.want.Load()>>20)
}

// keep makes the reserve where there is none and room enough.
func (r *room) keep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := min(reserveMax, r.want.Load()/4)
	if r.held > 0 || size == 0 || r.free.Load() < int64(r.want.Load()+size) || r.clock().Before(r.since) { //nolint:gosec // bounded by look
		return
	}
	if err := r.make(size); err != nil {
		r.since = r.clock().Add(time.Minute)
		r.log(0, errors.Join(err, r.remove()))
		return
	}
	r.held = size
	r.log(size, nil)
}

// make fills the file with noise, of which no file system makes less than it is.
func (r *room) make(size uint64) error {
	f, err := r.disk.Create(r.path(), bodyCategory)
	if err != nil {
		return err
	}
	smooth := vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: syncStep})
	noise := rand.NewChaCha8([32]byte{})
	buf := make([]byte, chunk)
	for left := size; left > 0 && err == nil; left -= min(left, chunk) {
		_, _ = noise.Read(buf) // never fails
		_, err = smooth.Write(buf[:min(left, chunk)])
	}
	return errors.Join(err, smooth.Sync(), smooth.Close())
}

func (r *room) remove() error {
	if err := r.disk.Remove(r.path()); err != nil && !gone(err) {
		return err
	}
	return nil
}

// giveUp is called when a write found no room, and is followed by that write again.
func (r *room) giveUp() {
	r.short.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == 0 {
		return
	}
	if err := r.remove(); err != nil {
		return // the write fails again, and that ends the process
	}
	r.held, r.since = 0, r.clock().Add(settling)
	r.log(0, nil)
}
