package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// ErrNoBackup says that the folder is none that a backup was finished in.
var ErrNoBackup = errors.New("not a whole backup")

// A backup is a folder with the same layout as the ledger's own, and this file, which is written last.
const (
	backupFile   = "backup.json"
	backupFormat = "poe-backup/1"
)

// A receipt is what backupFile says.
type receipt struct {
	Format string    `json:"format"`
	Made   time.Time `json:"made"`
	store.Copied
	Contents []copied `json:"contents"`
}

// BackupIn says what the whole backup in a folder of this machine holds, without a look at more than its receipt. Where there is none the error is ErrNoBackup.
func BackupIn(dir string) (store.Copied, error) {
	r, err := readReceipt(vfs.Default, dir)
	return r.Copied, err
}

type copied struct {
	Path   string `json:"path"` // below the folder, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Backup is where a backup goes.
type Backup struct {
	Dir      string               // a folder that is empty, or not there
	Also     []string             // files of the ledger's folder that belong to it, such as its keys; those that are not there are left out
	Progress func(store.Progress) // hears now and then how far it is; nil: nobody
}

// Backup copies the ledger, as it stands at one moment, into a folder, and returns when the copy is durable. The ledger is used meanwhile, and nothing
// of it is forgotten. Tables and bodies are linked where folder and ledger are on one disk: they are never changed, but a disk that dies
// takes both.
//
// Every content that a record in the copy names is in it, because a content is durable before a record names it, and the records are copied
// first. One that the ledger has lost itself is counted (Copied.Missing), and no error: all else is worth keeping. The copy is opened, and every record of it read.
func (s *Store) Backup(ctx context.Context, b Backup) (store.Copied, error) {
	if err := s.enter(ctx); err != nil {
		return store.Copied{}, fmt.Errorf("backing up: %w", err)
	}
	defer s.leave()
	if !s.backing.TryLock() {
		return store.Copied{}, errors.New("backing up: another backup is under way")
	}
	defer s.backing.Unlock()
	defer s.discardKept()
	s.keeping.Lock() // the bodies of what is in the copy must stay
	defer s.keeping.Unlock()
	did, err := s.backup(ctx, b)
	if err != nil {
		return did, fmt.Errorf("backing up into %q: %w", b.Dir, err)
	}
	return did, nil
}

func (s *Store) backup(ctx context.Context, b Backup) (store.Copied, error) {
	disk := s.c.FS
	if b.Progress == nil {
		b.Progress = func(store.Progress) {}
	}
	b.Dir = disk.PathJoin(b.Dir) // without "..", which behind a link would lead elsewhere than where apart looks
	if err := s.apart(b.Dir); err != nil {
		return store.Copied{}, err
	}
	if names, err := disk.List(b.Dir); err == nil && len(names) > 0 {
		return store.Copied{}, errors.New("there is something in that folder, and a backup needs one of its own")
	}
	if err := mkdir(disk, b.Dir); err != nil {
		return store.Copied{}, err
	}
	if err := keepPrivate(disk, b.Dir); err != nil {
		return store.Copied{}, err
	}
	b.Progress(store.Progress{Step: "linking tables", Unit: "tables"})
	dir := disk.PathJoin(b.Dir, "ledger")
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return store.Copied{}, fmt.Errorf("copying the records: %w", err)
	}
	c := copier{s: s, b: b, ctx: ctx, shelves: map[string]struct{}{}}
	if err := c.bodies(dir); err != nil {
		return store.Copied{}, err
	}
	for _, name := range b.Also {
		if err := copySecret(disk, disk.PathJoin(s.c.Dir, name), disk.PathJoin(b.Dir, name)); err != nil && !gone(err) {
			return store.Copied{}, fmt.Errorf("copying %s: %w", name, err)
		}
	}
	contents, err := c.contents()
	if err != nil {
		return store.Copied{}, err
	}
	return c.did, finish(disk, b.Dir, receipt{Format: backupFormat, Made: s.clock.Now().UTC(), Copied: c.did, Contents: contents})
}

// apart wants a backup to lie apart from its ledger: what takes a ledger's folder away takes what is in it, and a restore clears up there.
func (s *Store) apart(dir string) error {
	var what string
	switch {
	case liesIn(s.c.FS, dir, s.c.Dir):
		what = "it is the ledger's own folder, or lies in it"
	case liesIn(s.c.FS, s.c.Dir, dir):
		what = "the ledger lies in it"
	default:
		return nil
	}
	return &store.HintError{
		Err:  fmt.Errorf("%s (%q), and a backup needs a folder of its own", what, s.c.Dir),
		What: "name a folder elsewhere, best on another disk, which is empty or not there",
	}
}

// liesIn tells whether path is the folder dir, or lies in it, whichever names lead there; path need not be there.
func liesIn(disk vfs.FS, path, dir string) bool {
	is := func(at string) bool { return at == dir }
	if vfs.Root(disk) == vfs.Default { // no other has links
		top, err := os.Stat(dir)
		if err != nil {
			return false
		}
		is = func(at string) bool {
			info, err := os.Stat(at)
			return err == nil && os.SameFile(info, top)
		}
		path = nearest(path)
	}
	for ; !is(path); path = disk.PathDir(path) {
		if disk.PathDir(path) == path {
			return false
		}
	}
	return true
}

// nearest is the real path of what is there of path: path itself, or the next folder above it.
func nearest(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for ; path != filepath.Dir(path); path = filepath.Dir(path) {
		if found, err := filepath.EvalSymlinks(path); err == nil {
			return found
		}
	}
	return path
}

// keepPrivate lets nobody else into a folder that was there already: what is copied into it may be read by all who get there.
func keepPrivate(disk vfs.FS, dir string) error {
	if vfs.Root(disk) != vfs.Default { // no other has modes
		return nil
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a folder
}

// copySecret copies a file that nobody else may read, whole or not at all: half of one would be in the way of the next try. It does not write over one. Its folder
// is nobody else's meanwhile.
func copySecret(disk vfs.FS, from, to string) error {
	if vfs.Root(disk) != vfs.Default { // no other has modes
		return vfs.Copy(disk, from, to)
	}
	content, err := os.ReadFile(from) //nolint:gosec // of the ledger's folder, or a backup's
	if err != nil {
		return err
	}
	if _, err := os.Lstat(to); !gone(err) {
		return errors.Join(fmt.Errorf("there is another %q", to), err)
	}
	aside := to + ".new"
	if err := os.Remove(aside); err != nil && !gone(err) {
		return err
	}
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	if err = giveNew(disk, f); err == nil {
		_, err = f.Write(content)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return os.Rename(aside, to)
}

// finish writes the file that says that a backup is whole.
func finish(disk vfs.FS, dir string, r receipt) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding what was copied: %w", err)
	}
	aside := disk.PathJoin(dir, backupFile+".new")
	f, err := disk.Create(aside, bodyCategory)
	if err != nil {
		return fmt.Errorf("finishing: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("finishing: %w", err)
	}
	if err := disk.Rename(aside, disk.PathJoin(dir, backupFile)); err != nil {
		return fmt.Errorf("finishing: %w", err)
	}
	return syncDir(disk, dir)
}

// A copier fills a backup.
type copier struct {
	s       *Store
	b       Backup
	ctx     context.Context //nolint:containedctx // of one call
	shelves map[string]struct{}
	did     store.Copied
}

// bodies reads every record of the copied database, and copies the contents that it names.
func (c *copier) bodies(dir string) error {
	return readOnly(c.s.c.FS, dir, func(db *pebble.DB) error {
		m, err := readMeta(db)
		if err != nil {
			return err
		}
		c.did.Ledger, c.did.Sequence, c.did.Time = m.identity, m.sequence, m.floor
		return eachRecord(db, nil, func(id store.ID, value []byte) error {
			if err := errors.Join(c.ctx.Err(), c.s.stillOpen()); err != nil {
				return err
			}
			c.did.Records++
			if c.did.Records%10_000 == 0 {
				c.b.Progress(store.Progress{Step: "reading records and linking contents", Done: c.did.Records, Unit: "records"})
			}
			r, err := store.Decode(id, value)
			if err != nil {
				return fmt.Errorf("reading the record of %s: %w", id, err)
			}
			for _, blob := range []*store.Blob{&r.Request, &r.Response} {
				if blob.Where == store.Beside {
					if err := c.body(id, blob.Part); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

func (c *copier) body(id store.ID, part store.Part) error {
	disk := c.s.c.FS
	folder := disk.PathJoin(c.b.Dir, "bodies", shelfName(id.Shelf()))
	if _, ok := c.shelves[folder]; !ok {
		if err := mkdir(disk, folder); err != nil {
			return err
		}
		c.shelves[folder] = struct{}{}
	}
	from := c.s.shelves.path(id, part)
	if err := vfs.LinkOrCopy(disk, from, disk.PathJoin(folder, bodyName(id, part))); err != nil {
		if _, there := disk.Stat(from); gone(there) {
			c.s.c.Log.Error().Stringer("id", id).Msg("a content that the ledger should have is not there: the backup is made without it")
			c.did.Missing++
			return nil
		}
		return fmt.Errorf("copying a content of %s: %w", id, err)
	}
	c.did.Bodies++
	return nil
}

// contents syncs and hashes every file of the backup.
func (c *copier) contents() ([]copied, error) {
	disk := c.s.c.FS
	var all []copied
	err := eachFile(disk, c.b.Dir, "", func(path string) error {
		if err := errors.Join(c.ctx.Err(), c.s.stillOpen()); err != nil {
			return err
		}
		size, sum, err := digestOf(disk, disk.PathJoin(c.b.Dir, path))
		if err != nil {
			return err
		}
		c.did.Files++
		c.did.Bytes += size
		all = append(all, copied{path, size, sum})
		c.b.Progress(store.Progress{Step: "writing down digests", Done: c.did.Bytes, Unit: "bytes"})
		return nil
	})
	return all, err
}

// digestOf syncs and hashes one file.
func digestOf(disk vfs.FS, path string) (size int64, sum string, err error) {
	f, err := disk.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, "", err
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, "", fmt.Errorf("reading %q: %w", path, err)
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// eachFile calls do with the path of every file below root, and syncs the folders.
func eachFile(disk vfs.FS, root, below string, do func(path string) error) error {
	dir := disk.PathJoin(root, below)
	names, err := disk.List(dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		n = strings.TrimSuffix(n, "/")
		path := disk.PathJoin(below, n)
		info, err := disk.Stat(disk.PathJoin(root, path))
		if err == nil && info.IsDir() {
			err = eachFile(disk, root, path, do)
		} else if err == nil {
			err = do(path)
		}
		if err != nil {
			return err
		}
	}
	return syncDir(disk, dir)
}

// readOnly opens a database that nobody else has open, changes nothing in it, and hands it to do. Damage, and what Pebble calls fatal, are an error here: it
// is not the ledger in use that is damaged. Damage is one whatever do makes of it.
func readOnly(disk vfs.FS, dir string, do func(*pebble.DB) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			said, _, _ := strings.Cut(fmt.Sprint(p), "\n") // Pebble has a stack behind it
			err = fmt.Errorf("%w: %s", store.ErrCorrupt, said)
		}
		if e := disk.Remove(disk.PathJoin(dir, "LOCK")); e != nil && !gone(e) {
			err = errors.Join(err, e)
		}
	}()
	var damaged error
	seen := &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) { damaged = damage(i) }}
	db, err := pebble.Open(dir, &pebble.Options{FS: disk, ReadOnly: true, FormatMajorVersion: pebble.FormatNewest, Logger: panics{}, EventListener: seen})
	if err != nil {
		return fmt.Errorf("opening %q: %w", dir, unopened(err))
	}
	err = do(db)
	if damaged != nil {
		err = damaged
	}
	return errors.Join(err, db.Close())
}

// panics is the logger of a database that is only looked at.
type panics struct{}

func (panics) Infof(string, ...any)              {}
func (panics) Errorf(string, ...any)             {}
func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// eachRecord hands the records of a database to do, from the first key on.
func eachRecord(db *pebble.DB, from []byte, do func(id store.ID, value []byte) error) error {
	if from == nil {
		from = []byte{recordPrefix}
	}
	return eachKey(db, from, recordPrefix+1, func(key, value []byte) error {
		id, ok := recordID(key)
		if !ok {
			return fmt.Errorf("%w: a record under a key of %d bytes", store.ErrCorrupt, len(key))
		}
		return do(id, value)
	})
}

func eachKey(db *pebble.DB, from []byte, below byte, do func(key, value []byte) error) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{below}})
	if err != nil {
		return readError(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = do(it.Key(), value)
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return readError(err)
	}
	return nil
}
