package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/loglimit"
	"github.com/postonce/poe/internal/store"
)

// ErrForeign is returned by Open for a folder that holds something else, or a ledger of another format.
var ErrForeign = errors.New("not a ledger that this program knows")

// Store is a ledger in a folder. All methods may be called concurrently.
type Store struct {
	c     Config
	given Config // as it came, for messages
	db    *pebble.DB
	cache *pebble.Cache
	lock  io.Closer // of the folder
	clock *store.Clock
	meta  meta

	stripes  stripes
	fresh    fresh
	commits  committer
	shelves  shelves
	sweeper  sweeper
	discards discards
	pulse    pulse
	guard    guard
	room     room
	left     left
	house    sync.WaitGroup // the goroutines that watch
	stop     chan struct{}  // ends them; nil: they were not started
	ahead    time.Duration  // as watch has seen it last
	behind   bool           // likewise
	unmarked bool           // watch could not write the high-water file the last time

	backing sync.Mutex   // held by a backup: one at a time
	keeping sync.RWMutex // held for writing by a backup, for reading by what forgets

	closing atomic.Bool  // set first by Close, so that nobody begins anew
	life    sync.RWMutex // held for reading by every call, for writing by Close
	closed  bool         // under life
	gate    sync.RWMutex // held for reading by what reads or writes records, for writing by a sweep that forgets
}

var _ store.Store = (*Store)(nil)

// Open opens the ledger in cfg.Dir, and makes one, durably, where there is none.
//
// If another process has it open, or this one, the error wraps store.ErrLocked, if the folder holds something else or a ledger of another
// format ErrForeign, if it is damaged store.ErrCorrupt, if it is older than it was, or gone, store.ErrRolledBack, and if it is
// not the one that is meant store.ErrAnother. What can be mended is a *store.HintError. ctx is only looked at before Open begins.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if cfg.Dir == "" {
		return nil, errors.New("opening the ledger: no folder is named")
	}
	s := &Store{c: cfg.withDefaults(), given: cfg}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("opening the ledger in %q: %w", cfg.Dir, errors.Join(s.given.hinted(err), s.release()))
	}
	return s, nil
}

func (s *Store) open() (err error) {
	s.c.opening.Store(true)
	defer func() { s.c.opening.Store(err != nil) }() // of one that does not open the error says all, whatever Pebble finds on its way out
	dir := s.c.FS.PathJoin(s.c.Dir, "ledger")
	if err := s.notBackup(); err != nil {
		return err
	}
	if err := s.guard.before(s, dir); err != nil {
		return err
	}
	if err := s.guard.hasFolder(s, dir); err != nil {
		return err
	}
	if err := s.enterFolder(s.c.Dir); err != nil {
		return err
	}
	if err := s.room.begin(s, s.c.FS); err != nil {
		return err
	}
	// Below what gives up the reserve: zeros that find no room are done without.
	s.c.FS = newOwnDisk(prewriting{descriptors{s.c.FS, &s.c, new(loglimit.Line)}, s.c.Log, new(sync.Map)}, s.c.Dir, s.room.giveUp)
	s.cache = pebble.NewCache(s.c.CacheSize)
	dir = s.c.FS.PathJoin(s.c.Dir, "ledger")
	if err := s.guard.before(s, dir); err != nil { // who had the lock until now may have written
		return err
	}
	switch _, err := s.c.FS.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.create(dir); err != nil {
			return err
		}
	case err != nil: // Pebble would make an empty database there
		return fmt.Errorf("looking for the ledger: %w", err)
	}
	torn, err := intact(s.c.FS, dir)
	if err != nil {
		return err
	}
	if torn {
		s.c.Log.Warn().Str("folder", dir).Msg("the MANIFEST ends in a record that is not whole, as after a power cut: nothing is missing because of it")
	}
	if s.db, err = pebble.Open(dir, s.c.options(s.cache)); err != nil {
		return unopened(err)
	}
	if s.meta, err = readMeta(s.db); err != nil {
		return err
	}
	if err := s.guard.compare(s); err != nil {
		return err
	}
	if err := s.acceptLost(); err != nil {
		return err
	}
	s.clock = store.NewClock(s.c.Clock, s.meta.floor)
	if err := s.fresh.begin(s.db, uint64(s.clock.Raise().UnixMilli())+1); err != nil {
		return err
	}
	if err := s.left.begin(s.db); err != nil {
		return err
	}
	s.commits.begin(s)
	s.sweeper.left = s.meta.left
	s.shelves.begin(s.c.FS, s.c.FS.PathJoin(s.c.Dir, "bodies"))
	if err := s.guard.begin(s); err != nil {
		return err
	}
	if err := s.room.look(); err != nil {
		return err
	}
	if err := s.room.refuses(); err != nil {
		s.sayRefuses(err)
	}
	s.stop = make(chan struct{})
	s.house.Go(func() { s.every(markEvery, s.watch) })
	s.house.Go(func() { s.every(lookEvery, s.lookAround) })
	return nil
}

// unopened tells a database that is damaged, or lacks a file, from one that cannot be opened for another reason.
func unopened(err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

// inFile says of damage in which file it is.
func inFile(err error) error {
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return damage(*info)
	}
	return err
}

func damage(i pebble.DataCorruptionInfo) error {
	return fmt.Errorf("%w: %s is damaged: %w", store.ErrCorrupt, i.Path, i.Details)
}

// hinted says of damage in which file it is, and what to do, unless err does.
func (c *Config) hinted(err error) error {
	err = inFile(err)
	if !errors.Is(err, store.ErrCorrupt) || errors.As(err, new(*store.HintError)) {
		return err
	}
	return &store.HintError{Err: err, What: c.putBack()}
}

// enterFolder makes the folder, or finds it, and locks it. What root makes there from then on belongs to whom the folder belongs to that is named.
func (s *Store) enterFolder(owns string) (err error) {
	s.c.FS = giving(s.c.FS, owns, &s.c)
	if err := mkdir(s.c.FS, s.c.Dir); err != nil {
		return err
	}
	if vfs.Root(s.c.FS) == vfs.Default {
		// The system locks a folder against other processes, Pebble a path against this one. So there is one path to a folder.
		if s.c.Dir, err = realPath(s.c.Dir); err != nil {
			return err
		}
		if s.c.HighWater, err = filepath.Abs(s.c.HighWater); err != nil {
			return fmt.Errorf("resolving the high-water file's path: %w", err)
		}
		lies(s.c.FS, &s.c)
	}
	if s.lock, err = s.c.FS.Lock(s.c.FS.PathJoin(s.c.Dir, "LOCK")); err != nil {
		return lockError(err)
	}
	return s.notForeign()
}

func realPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("resolving the folder's path: %w", err)
	}
	return abs, nil
}

// create makes the ledger aside and gives it its name when it is whole, so that a crash leaves no half of one. What an
// earlier crash left aside is thrown away: it never had the name, so nothing was ever acknowledged from it.
func (s *Store) create(dir string) error {
	aside := dir + ".new"
	if err := s.c.FS.RemoveAll(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing half a ledger: %w", err)
	}
	if err := mkdir(s.c.FS, aside); err != nil {
		return err
	}
	db, err := pebble.Open(aside, s.c.options(s.cache))
	if err != nil {
		return fmt.Errorf("making the ledger: %w", err)
	}
	if err := errors.Join(writeMeta(db, &s.c), db.Close()); err != nil {
		return fmt.Errorf("making the ledger: %w", err)
	}
	if err := s.c.FS.Rename(aside, dir); err != nil {
		return fmt.Errorf("giving the ledger its name: %w", err)
	}
	if err := syncDir(s.c.FS, s.c.Dir); err != nil {
		return err
	}
	where, err := filepath.Abs(s.c.Dir)
	if err != nil {
		where = s.c.Dir
	}
	s.c.Log.Info().Str("ledger", where).Msg("a new ledger was made: whatever was done before, it does not know of it")
	return nil
}

// notForeign refuses a folder that is itself a database of Pebble's kind: somebody meant another one.
func (s *Store) notForeign() error {
	names, err := s.c.FS.List(s.c.Dir)
	if err != nil {
		return fmt.Errorf("looking into the folder: %w", err)
	}
	for _, n := range names {
		if n == "CURRENT" || strings.HasPrefix(n, "MANIFEST-") || strings.HasPrefix(n, "marker.") {
			return fmt.Errorf("%w: the folder holds another database", ErrForeign)
		}
	}
	return nil
}

// notBackup refuses a folder that a backup lies in: opened for writing it would not be that backup any more.
func (s *Store) notBackup() error {
	if !s.isBackup() {
		return nil
	}
	return &store.HintError{
		Err:  fmt.Errorf("%w: it is a backup, which stays as it is", ErrForeign),
		What: "put it into a folder of its own: poe restore " + quoted(s.given.Dir) + " --store pebble:DIR",
	}
}

func (s *Store) isBackup() bool {
	_, err := s.c.FS.Stat(s.c.FS.PathJoin(s.c.Dir, backupFile))
	return err == nil
}

// mkdir makes dir, readable by nobody else, and what is missing above it, and syncs each folder that got an entry. Where dir is there it
// syncs its parent all the same: a crash may have come in between last time.
func mkdir(disk vfs.FS, dir string) error {
	var above []string
	for at := dir; ; {
		up := disk.PathDir(at)
		above = append(above, up)
		if _, err := disk.Stat(up); err == nil || up == at {
			break
		}
		at = up
	}
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	for _, d := range above {
		if err := syncDir(disk, d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(disk vfs.FS, dir string) error {
	d, err := disk.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	err = d.Sync()
	if err != nil {
		err = &syncError{err}
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("syncing %q: %w", dir, err)
	}
	return nil
}

// lockError tells a lock that is held from one that cannot be made.
// For a second opening in one process Pebble has no error value, only words.
func lockError(err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w by another process: %w", store.ErrLocked, err)
	case strings.Contains(err.Error(), "held by current process"):
		return &store.HintError{
			Err:  fmt.Errorf("%w by this process, which has it open already", store.ErrLocked),
			What: "open a ledger once, and close it before it is opened again; another one needs a folder of its own",
		}
	}
	return fmt.Errorf("locking the folder: %w", err)
}

// enter begins a call; leave ends it. Between them the database stays open.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if s.closing.Load() {
		return fmt.Errorf("%w: it is closed", store.ErrUnavailable)
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return fmt.Errorf("%w: it is closed", store.ErrUnavailable)
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// Close waits for the calls under way and closes the ledger; calls after it fail with store.ErrUnavailable.
// It may be called again.
func (s *Store) Close() error {
	s.closing.Store(true)
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.release(); err != nil {
		return fmt.Errorf("closing the ledger in %q: %w", s.c.Dir, err)
	}
	return nil
}

// release gives back what open took, as far as it got.
func (s *Store) release() error {
	var errs []error
	if s.stop != nil {
		close(s.stop)
	}
	s.house.Wait()
	s.commits.end()
	errs = append(errs, s.guard.end(s.stop != nil))
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.cache != nil {
		s.cache.Unref()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
