package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

const (
	chunk    = 128 << 10 // how much of a body is in memory at a time
	syncStep = 1 << 20   // the disk is asked to write after so much, so that the last sync holds up nobody
)

const bodyCategory vfs.DiskWriteCategory = "poe-body"

// shelves are the folders of the bodies.
type shelves struct {
	fs  vfs.FS
	dir string

	mu      sync.RWMutex             // held for writing while folders come and go, for reading while files are made in them
	durable map[store.Shelf]struct{} // folders whose entry is surely on disk
	busy    map[string]struct{}      // files that a Put is writing, or a Discard removing
}

func (b *shelves) begin(fs vfs.FS, dir string) {
	b.fs, b.dir = fs, dir
	b.durable = map[store.Shelf]struct{}{}
	b.busy = map[string]struct{}{}
}

func (b *shelves) folder(s store.Shelf) string { return b.fs.PathJoin(b.dir, shelfName(s)) }

func (b *shelves) path(id store.ID, part store.Part) string {
	return b.fs.PathJoin(b.folder(id.Shelf()), bodyName(id, part))
}

func bodyName(id store.ID, part store.Part) string {
	return fmt.Sprintf("%s.%x.%d", id, part.Term, part.N)
}

// Put implements store.Bodies.
func (s *Store) Put(ctx context.Context, id store.ID, part store.Part, src io.Reader) (int64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, fmt.Errorf("putting a body of %s: %w", id, err)
	}
	defer s.leave()
	if part.N == 0 { // the request of a claim that is to come; an answer is always taken
		if err := s.refuses(); err != nil {
			return 0, fmt.Errorf("putting a body of %s: %w", id, err)
		}
	}
	n, err := s.putBody(ctx, id, part, src)
	if sync := (*syncError)(nil); errors.As(err, &sync) {
		s.c.fatal(err.Error())
	}
	if err != nil {
		return 0, fmt.Errorf("putting a body of %s: %w", id, err)
	}
	return n, nil
}

func (s *Store) putBody(ctx context.Context, id store.ID, part store.Part, src io.Reader) (int64, error) {
	path := s.shelves.path(id, part)
	f, err := s.shelves.create(id.Shelf(), path)
	if err != nil {
		return 0, err
	}
	defer s.shelves.finished(path)
	n, err := s.copyBody(ctx, f, src)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, s.c.FS.Remove(path))
	}
	return n, syncDir(s.c.FS, s.shelves.folder(id.Shelf()))
}

// copyBody writes src to f and syncs it. After a failed sync the file's pages may be gone while the
// system says they are there, so that is the end of the process.
func (s *Store) copyBody(ctx context.Context, f vfs.File, src io.Reader) (n int64, err error) {
	smooth := vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: syncStep})
	buf := make([]byte, chunk)
	for {
		if err := errors.Join(ctx.Err(), s.stillOpen()); err != nil {
			return 0, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		var size int
		var err error
		for size < len(buf) && err == nil { // not ReadFull: its ErrUnexpectedEOF may as well be src's own
			var m int
			m, err = src.Read(buf[size:])
			size += m
		}
		if _, err := smooth.Write(buf[:size]); err != nil {
			return 0, fmt.Errorf("writing: %w", err)
		}
		n += int64(size)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("reading what is to be kept: %w", err)
		}
	}
	if err := smooth.Sync(); err != nil {
		return 0, fmt.Errorf("syncing: %w", &syncError{err})
	}
	return n, nil
}

func (s *Store) stillOpen() error {
	if s.closing.Load() {
		return errors.New("it is being closed")
	}
	return nil
}

// create makes the file, which must not be there, in a folder that is durable.
func (b *shelves) create(shelf store.Shelf, path string) (vfs.File, error) {
	for {
		if err := b.make(shelf); err != nil {
			return nil, err
		}
		f, again, err := b.createIn(shelf, path)
		if !again {
			return f, err
		}
	}
}

// createIn makes the file. Again says that a sweep has taken the folder away in the meantime.
func (b *shelves) createIn(shelf store.Shelf, path string) (f vfs.File, again bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.durable[shelf]; !ok {
		return nil, true, nil
	}
	if _, busy := b.busy[path]; busy {
		return nil, false, fmt.Errorf("%w: it is being written, or discarded", store.ErrTaken)
	}
	// Create would replace a file, and the system is not asked for exclusiveness; but the folder is locked, and in
	// this process it is mu that makes the question and the answer one.
	if _, err := b.fs.Stat(path); err == nil {
		return nil, false, fmt.Errorf("%w: it is there", store.ErrTaken)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("looking for it: %w", err)
	}
	if f, err = b.fs.Create(path, bodyCategory); err != nil {
		return nil, false, fmt.Errorf("creating it: %w", err)
	}
	b.busy[path] = struct{}{}
	return f, false, nil
}

func (b *shelves) finished(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.busy, path)
}

// make makes the shelf's folder durable, once.
func (b *shelves) make(shelf store.Shelf) error {
	b.mu.RLock()
	_, ok := b.durable[shelf]
	b.mu.RUnlock()
	if ok {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.durable[shelf]; ok {
		return nil
	}
	if err := mkdir(b.fs, b.folder(shelf)); err != nil {
		return err
	}
	if err := syncDir(b.fs, b.fs.PathDir(b.dir)); err != nil {
		return err
	}
	b.durable[shelf] = struct{}{}
	return nil
}

// Open implements store.Bodies.
func (s *Store) Open(ctx context.Context, id store.ID, part store.Part) (io.ReadSeekCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("opening a body of %s: %w", id, err)
	}
	defer s.leave()
	b, err := s.openBody(s.shelves.path(id, part))
	if err != nil {
		return nil, fmt.Errorf("opening a body of %s: %w", id, err)
	}
	return b, nil
}

func (s *Store) openBody(path string) (*body, error) {
	f, err := s.c.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &body{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

type body struct {
	*io.SectionReader
	f vfs.File
}

func (b *body) Close() error { return b.f.Close() }
