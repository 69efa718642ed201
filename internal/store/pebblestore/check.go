package pebblestore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// maxWrong is how many faults a check describes; it counts the others.
const maxWrong = 100

// Check reads everything in the ledger in cfg.Dir, which must not be open, and changes nothing but its lock: every record, every content
// against its digest, whether names and agenda lead to records, and whether the ledger is what it was. What is wrong with it is in
// the findings. An error says that it could not be read to its end, or not at all; that of a ledger which Open would refuse is Open's.
//
// A folder that a backup was made in can be checked too: its high-water file is what the backup says of itself.
func Check(ctx context.Context, cfg Config, progress func(store.Progress)) (found store.Findings, err error) {
	if progress == nil {
		progress = func(store.Progress) {}
	}
	s := &Store{c: cfg.withDefaults(), given: cfg}
	defer func() {
		if e := errors.Join(cfg.hinted(err), s.release()); e != nil {
			err = fmt.Errorf("checking the ledger in %q: %w", cfg.Dir, e)
		}
	}()
	if s.isBackup() {
		s.c.HighWater = besideDir(s.c.Dir) + ".high-water" // what the ledger in use has come to says nothing of it
		if found, err = s.asBackedUp(ctx, progress); err != nil || found.Faults > 0 {
			return found, err
		}
	}
	dir := s.c.FS.PathJoin(s.c.Dir, "ledger")
	if _, err := s.c.FS.Stat(dir); err != nil {
		return found, errors.Join(s.guard.before(s, dir), err)
	}
	if err := s.enterFolder(s.c.Dir); err != nil {
		return found, err
	}
	dir = s.c.FS.PathJoin(s.c.Dir, "ledger")
	if err := s.guard.before(s, dir); err != nil {
		return found, err
	}
	if _, err := intact(s.c.FS, dir); err != nil {
		return found, err
	}
	s.shelves.begin(s.c.FS, s.c.FS.PathJoin(s.c.Dir, "bodies"))
	err = readOnly(s.c.FS, dir, func(db *pebble.DB) error {
		if s.meta, err = readMeta(db); err != nil {
			return err
		}
		if err := s.asItWas(); err != nil {
			return err
		}
		c := checker{s: s, ctx: ctx, db: db, progress: progress, now: latest(s.c.Clock(), s.meta.floor)}
		c.found.Ledger, c.found.Sequence = s.meta.identity, s.meta.sequence
		err := c.all()
		found = c.found
		return err
	})
	return found, err
}

// asItWas compares the ledger with its high-water file, or, in a backup, with what that says.
func (s *Store) asItWas() error {
	if s.guard.known == nil && s.meta.marked {
		r, err := readReceipt(s.c.FS, s.c.Dir)
		if err == nil {
			s.guard.known = &mark{ledger: r.Ledger, sequence: r.Sequence, restored: s.meta.restored, time: r.Time}
		} else if s.meta.sequence > 0 {
			return s.guard.unknown(s)
		}
	}
	if s.guard.known == nil {
		return nil
	}
	return s.guard.compare(s)
}

// asBackedUp compares every file of a backup with what the backup says of it.
func (s *Store) asBackedUp(ctx context.Context, progress func(store.Progress)) (found store.Findings, err error) {
	r, err := readReceipt(s.c.FS, s.c.Dir)
	if err != nil {
		return found, err
	}
	c := checker{found: store.Findings{Ledger: r.Ledger, Sequence: r.Sequence}}
	var done int64
	for _, f := range r.Contents {
		if err := ctx.Err(); err != nil {
			return c.found, err
		}
		switch size, sum, err := digestOf(s.c.FS, s.c.FS.PathJoin(s.c.Dir, f.Path)); {
		case gone(err):
			c.wrong("%s is not there", f.Path)
		case err != nil:
			c.wrong("%s: %v", f.Path, err)
		case size != f.Size || sum != f.SHA256:
			c.wrong("%s is not what was backed up", f.Path)
		}
		done += f.Size
		progress(store.Progress{Step: "comparing files", Done: done, Total: r.Bytes, Unit: "bytes"})
	}
	c.found.Altered = c.found.Faults > 0
	return c.found, nil
}

// A checker reads a ledger, and counts.
type checker struct {
	s        *Store
	ctx      context.Context //nolint:containedctx // of one call
	db       *pebble.DB
	progress func(store.Progress)
	now      time.Time
	found    store.Findings
}

func (c *checker) wrong(format string, args ...any) {
	if c.found.Faults++; len(c.found.Wrong) < maxWrong {
		c.found.Wrong = append(c.found.Wrong, fmt.Sprintf(format, args...))
	}
}

// step counts, tells now and then how far it is, and ends the check when somebody is tired of it.
func (c *checker) step(n *int64, what, unit string) error {
	if *n++; *n%10_000 == 0 {
		c.progress(store.Progress{Step: what, Done: *n, Unit: unit})
	}
	return c.ctx.Err()
}

func (c *checker) all() error {
	if err := eachRecord(c.db, nil, c.record); err != nil {
		return err
	}
	if err := eachKey(c.db, []byte{namePrefix}, namePrefix+1, c.name); err != nil {
		return err
	}
	return eachKey(c.db, []byte{agendaPrefix}, agendaPrefix+1, c.agenda)
}

func (c *checker) record(id store.ID, value []byte) error {
	if err := c.step(&c.found.Records, "reading records", "records"); err != nil {
		return err
	}
	r, err := store.Decode(id, value)
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		c.wrong("the record of %s: %v", id, err)
		return nil
	}
	for i, b := range []*store.Blob{&r.Request, &r.Response} {
		if err := c.content(id, b); err != nil {
			c.wrong("the %s of %s: %v", [...]string{"request", "answer"}[i], id, err)
		}
	}
	if e := r.Entry(); !e.IsZero() && !c.has(agendaKey(e)) {
		c.wrong("%s is due, and not on the agenda", id)
	}
	if id.Shelf().Past(c.now) && !r.State.Open() {
		return nil // sweeps of earlier versions took its names first
	}
	for _, n := range r.Names {
		if c.passes(n) {
			continue
		}
		switch at, err := holderIn(c.db, n); {
		case errors.Is(err, store.ErrNotFound):
			c.wrong("%s has a name that leads nowhere", id)
		case err != nil:
			c.wrong("%s has a name that cannot be followed: %v", id, err)
		case at != id: // then it is free, or another's, and what was done under it can be done again
			c.wrong("%s has a name that leads to %s", id, at)
		}
	}
	return nil
}

func (c *checker) passes(n store.Name) bool { return c.s.c.Passes != nil && c.s.c.Passes(n) }

func (c *checker) has(key []byte) bool {
	_, closer, err := c.db.Get(key)
	return err == nil && closer.Close() == nil
}

// content reads what a record keeps of a message, and compares it with its digest.
func (c *checker) content(id store.ID, b *store.Blob) error {
	h := sha256.New()
	var size int64
	switch b.Where {
	case store.Inline:
		n, _ := h.Write(b.Content) // never fails
		size = int64(n)
	case store.Beside:
		c.found.Bodies++
		f, err := c.s.openBody(c.s.shelves.path(id, b.Part))
		if errors.Is(err, store.ErrNotFound) {
			return errors.New("its file is not there")
		}
		if err != nil {
			return err
		}
		size, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	default:
		return nil
	}
	c.found.Bytes += size
	if size != b.Size {
		return fmt.Errorf("%w: it has %d bytes of %d", store.ErrCorrupt, size, b.Size)
	}
	if b.Digest != [32]byte{} && [32]byte(h.Sum(nil)) != b.Digest {
		return fmt.Errorf("%w: its digest is another one", store.ErrCorrupt)
	}
	return nil
}

func (c *checker) name(key, value []byte) error {
	if err := c.step(&c.found.Names, "following names", "names"); err != nil {
		return err
	}
	if len(value) != len(store.ID{}) {
		c.wrong("a name leads to %d bytes", len(value))
		return nil
	}
	if id := store.ID(value); !c.leftOver(id) && !c.has(recordKey(id)) {
		c.wrong("a name leads to no record")
	}
	return nil
}

// leftOver tells whether a sweep may have forgotten the record of id already, and not yet taken out what leads to it.
func (c *checker) leftOver(id store.ID) bool { return c.s.meta.left && id.Shelf().Past(c.now) }

func (c *checker) agenda(key, _ []byte) error {
	if err := c.step(&c.found.Agenda, "reading the agenda", "entries"); err != nil {
		return err
	}
	id, ok := agendaID(key)
	if !ok {
		c.wrong("an entry of the agenda has %d bytes", len(key))
		return nil
	}
	v, closer, err := c.db.Get(recordKey(id))
	if err != nil {
		if !c.leftOver(id) {
			c.wrong("the agenda has %s, which has no record", id)
		}
		return nil
	}
	r, err := store.Decode(id, v)
	if err == nil && string(agendaKey(r.Entry())) != string(key) {
		c.wrong("the agenda has %s at a time when it is not due, or for what it does not wait for", id)
	}
	return closer.Close()
}
