package pebblestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// Put puts a ledger back into cfg.Dir, where none may be, or accepts the one that is there as it is, and returns when that is durable. The
// ledger must not be open.
//
// Of what happened after the backup nothing is known. So ids from before now are worth nothing from then on (Floor.Minted), and
// neither are the names that clients chose, unless somebody says that they may be used again (Floor.Lost). The sequence goes on from the high-water file's, where
// there is one, so that the ledger which was lost is refused should it come back.
func Put(ctx context.Context, cfg Config, r store.Restore) (store.Copied, error) {
	if cfg.Dir == "" {
		return store.Copied{}, errors.New("restoring: no folder is named")
	}
	if r.Progress == nil {
		r.Progress = func(store.Progress) {}
	}
	s := &Store{c: cfg.withDefaults(), given: cfg}
	s.c.opening.Store(true)
	did, err := s.putBack(ctx, r)
	if err = inFile(err); r.From == "" {
		err = cfg.hinted(err)
	}
	if err := errors.Join(err, s.release()); err != nil {
		return did, fmt.Errorf("restoring the ledger in %q: %w", cfg.Dir, err)
	}
	return did, nil
}

func (s *Store) putBack(ctx context.Context, r store.Restore) (did store.Copied, err error) {
	if r.From == "" {
		if err := s.notBackup(); err != nil {
			return did, err
		}
		if _, err := s.c.FS.Stat(s.c.FS.PathJoin(s.c.Dir, "ledger")); err != nil {
			return did, fmt.Errorf("looking for the ledger: %w", err)
		}
	} else if _, err := readReceipt(s.c.FS, r.From); err != nil { // before there is a folder for it
		return did, err
	}
	if err := s.enterFolder(s.standing()); err != nil {
		return did, err
	}
	if s.guard.known, err = s.lastMark(); err != nil {
		return did, err
	}
	s.cache = pebble.NewCache(s.c.CacheSize)
	dir := s.c.FS.PathJoin(s.c.Dir, "ledger")
	at := dir
	if r.From != "" {
		at = s.c.FS.PathJoin(s.c.Dir, halfRestored)
		if did, err = s.fill(ctx, r, at); err != nil {
			return did, err
		}
	}
	if _, err := intact(s.c.FS, at); err != nil {
		return did, err
	}
	m, err := s.raise(at, r.Lost)
	if err != nil {
		return did, err
	}
	did.Ledger, did.Sequence, did.Time = m.ledger, m.sequence, m.time
	// The file first: a crash in between leaves a ledger that is refused, and this can be done again.
	if err := s.guard.high.create(s.c.FS, m); err != nil {
		return did, err
	}
	if r.From == "" {
		return did, nil
	}
	if err := s.c.FS.Rename(at, dir); err != nil {
		return did, fmt.Errorf("giving the ledger its name: %w", err)
	}
	return did, syncDir(s.c.FS, s.c.Dir)
}

// standing is the ledger's folder, or the nearest one above it that is there.
func (s *Store) standing() string {
	for at := s.c.Dir; ; at = s.c.FS.PathDir(at) {
		if _, err := s.c.FS.Stat(at); err == nil || at == s.c.FS.PathDir(at) {
			return at
		}
	}
}

// lastMark reads the high-water file; one that is damaged, or not there, says nothing.
func (s *Store) lastMark() (*mark, error) {
	s.guard.high.path = s.c.HighWater
	m, _, err := readMark(s.c.FS, s.c.HighWater)
	switch {
	case gone(err), errors.Is(err, store.ErrCorrupt):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &m, nil
}

// fill copies a backup, each file compared with what the backup says of it.
func (s *Store) fill(ctx context.Context, r store.Restore, at string) (store.Copied, error) {
	disk := s.c.FS
	from, err := readReceipt(disk, r.From)
	if err != nil {
		return store.Copied{}, err
	}
	if err := s.onlyInto(); err != nil {
		return store.Copied{}, err
	}
	if err := s.fits(from.Ledger); err != nil {
		return store.Copied{}, err
	}
	if err := s.clear(at); err != nil {
		return store.Copied{}, err
	}
	var done int64
	for _, c := range from.Contents {
		if err := ctx.Err(); err != nil {
			return store.Copied{}, err
		}
		to := disk.PathJoin(s.c.Dir, c.Path)
		if rest, ok := strings.CutPrefix(c.Path, "ledger/"); ok {
			to = disk.PathJoin(at, rest)
		}
		if err := copyChecked(disk, disk.PathJoin(r.From, c.Path), to, c); err != nil {
			return store.Copied{}, err
		}
		done += c.Size
		r.Progress(store.Progress{Step: "copying", Done: done, Total: from.Bytes, Unit: "bytes"})
	}
	for _, folder := range []string{"bodies", halfRestored} { // and nothing else, such as a lost+found, which may be nobody's to read
		if err := eachFile(disk, s.c.Dir, folder, func(string) error { return nil }); err != nil && !gone(err) { // which syncs the folders
			return store.Copied{}, err
		}
	}
	return from.Copied, syncDir(disk, s.c.Dir)
}

// halfRestored is the folder in which a restore puts a ledger together. It is there before anything is copied, and has its own name, so that a restore which was
// interrupted is not taken for a folder in which nothing was yet: a new ledger there would do again what the backup knows to be done.
const halfRestored = "ledger.restore"

// clear makes the folder, durably, and empties it.
func (s *Store) clear(at string) error {
	if err := mkdir(s.c.FS, at); err != nil {
		return err
	}
	names, err := s.c.FS.List(at)
	if err != nil {
		return fmt.Errorf("looking for half a ledger: %w", err)
	}
	for _, n := range names {
		if err := s.c.FS.RemoveAll(s.c.FS.PathJoin(at, n)); err != nil {
			return fmt.Errorf("removing half a ledger: %w", err)
		}
	}
	return nil
}

func readReceipt(disk vfs.FS, dir string) (r receipt, err error) {
	f, err := disk.Open(disk.PathJoin(dir, backupFile))
	if gone(err) {
		return r, fmt.Errorf("%w: there is no %s in %q", ErrNoBackup, backupFile, dir)
	}
	if err != nil {
		return r, err
	}
	text, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return r, fmt.Errorf("reading %s: %w", backupFile, err)
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Format != backupFormat {
		return r, fmt.Errorf("%w: %s in %q says nothing that this program knows", ErrNoBackup, backupFile, dir)
	}
	for _, c := range r.Contents {
		if c.Path == "" || strings.HasPrefix(c.Path, "/") || slices.Contains(strings.Split(c.Path, "/"), "..") {
			return r, fmt.Errorf("%w: %s in %q names the file %q", ErrNoBackup, backupFile, dir, c.Path)
		}
	}
	return r, nil
}

// onlyInto wants a folder without a ledger, or a backup: what is there is not written over.
func (s *Store) onlyInto() error {
	if err := s.notBackup(); err != nil {
		return err
	}
	names, err := s.c.FS.List(s.c.Dir)
	if err != nil {
		return fmt.Errorf("looking into the folder: %w", err)
	}
	for _, n := range names {
		n = strings.TrimSuffix(n, "/")
		if n == "ledger" {
			return &store.HintError{
				Err:  errors.New("there is a ledger already, and a backup does not replace it"),
				What: "move it away: mv " + quoted(s.given.Dir) + " " + quoted(s.given.Dir+".old"),
			}
		}
	}
	return nil
}

// fits wants the ledger that the keys and the high-water file belong to.
func (s *Store) fits(ledger store.ID) error {
	if want := s.c.Identity; !want.IsZero() && want != ledger {
		return &store.HintError{
			Err:  fmt.Errorf("%w: it would be ledger %s, and the keys are those of ledger %s", store.ErrAnother, ledger, want),
			What: "use the backup and the keys that belong together",
		}
	}
	if k := s.guard.known; k != nil && k.ledger != ledger {
		return &store.HintError{
			Err:  fmt.Errorf("%w: it would be ledger %s, and %q has seen %s", store.ErrAnother, ledger, s.guard.high.path, k),
			What: "use the backup that belongs here; if the other ledger is given up: rm " + quoted(s.guard.high.path),
		}
	}
	return nil
}

// copyChecked copies a file, and wants it to be what the backup says. It returns when the copy is durable, but for its folder.
func copyChecked(disk vfs.FS, from, to string, c copied) error {
	if err := disk.MkdirAll(disk.PathDir(to), 0o700); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	put := vfs.Copy
	if !strings.Contains(c.Path, "/") { // the keys
		if size, sum, err := digestOf(disk, to); err == nil && size == c.Size && sum == c.SHA256 {
			return nil // as a restore that was interrupted has left them
		}
		put = copySecret
	}
	if err := put(disk, from, to); err != nil {
		return fmt.Errorf("copying %q: %w", from, err)
	}
	size, sum, err := digestOf(disk, to)
	if err != nil {
		return err
	}
	if size != c.Size || sum != c.SHA256 {
		return fmt.Errorf("%w: %q is not what was backed up", store.ErrCorrupt, from)
	}
	return nil
}

// mostAhead is by how much the youngest id of a lost ledger may be ahead and still be worthless after a restore: a clock that took local time for UTC is, by less
// than a day, and the ledger's time goes at half its pace until it is over. What was named by one that was a year ahead must not slow the ledger down for two: its
// POE URI is good for nothing until then.
const mostAhead = 24 * time.Hour

// raise makes what the database has forgotten worthless, durably, and returns the mark that it has from then on.
func (s *Store) raise(dir string, lost bool) (mark, error) {
	db, err := pebble.Open(dir, s.c.options(s.cache))
	if err != nil {
		return mark{}, unopened(err)
	}
	m, err := readMeta(db)
	if err == nil {
		err = s.fits(m.identity)
	}
	if err != nil {
		return mark{}, errors.Join(err, db.Close())
	}
	// Later than whatever was minted before, even where this machine's clock is behind that of the one that minted it.
	now := latest(s.c.Clock(), m.floor, m.restored)
	if k := s.guard.known; k != nil {
		now = latest(now, k.restored, k.time.Add(markLag))
		if youngest := k.youngest.Add(markLag); youngest.Sub(now) <= mostAhead {
			now = latest(now, youngest)
		}
		m.sequence = max(m.sequence, k.sequence)
	}
	now = now.Add(time.Millisecond).UTC().Truncate(time.Millisecond)
	m.sequence++
	b := db.NewBatch()
	errs := []error{
		b.Set(metaKey(metaClock), clockValue(m.sequence, now), nil),
		b.Set(metaKey(metaRestored), timeValue(now), nil),
		b.Set(metaKey(metaMarked), nil, nil),
	}
	if lost {
		errs = append(errs, b.Set(metaKey(metaAccepted), timeValue(now), nil))
	}
	if err = errors.Join(errs...); err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err = errors.Join(err, b.Close()); err == nil {
		err = db.Flush()
	}
	return mark{m.identity, m.sequence, now, now, now}, errors.Join(err, db.Close())
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
