package pebblestore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// A guard keeps the high-water file, and refuses a ledger that is not what it was.
type guard struct {
	high  highWater
	known *mark // what the file says at the start; nil: there is none

	s       *Store
	mu      sync.Mutex                // one write of the file at a time
	begun   atomic.Pointer[time.Time] // when the write under way began; nil: there is none
	failing atomic.Pointer[error]     // why the last one was not done; nil: it was
}

// before refuses to begin anew where a ledger is expected, and is called before anything is made, as well as after the folder is locked.
func (g *guard) before(s *Store, dir string) error {
	g.high.path, g.known = s.c.HighWater, nil
	m, n, err := readMark(s.c.FS, g.high.path)
	switch {
	case gone(err):
	case errors.Is(err, store.ErrCorrupt):
		return &store.HintError{Err: err, What: "if the ledger is surely the one that was last in use: " + s.given.restoreAsIs()}
	case err != nil:
		return err
	default:
		g.known, g.high.n, g.high.last = &m, n, m
	}
	if _, err := s.c.FS.Stat(dir); !gone(err) {
		return err
	}
	half := s.c.FS.PathJoin(s.c.Dir, halfRestored)
	switch _, err := s.c.FS.Stat(half); {
	case err == nil:
		return &store.HintError{
			Err: fmt.Errorf("%w: there is none in it, and a restore into it has not come to its end", store.ErrRolledBack),
			What: "put the backup into its place again: " + s.given.command("restore", "BACKUP") + "; to begin anew and forget what was done: rm -r " +
				quoted(half),
		}
	case !gone(err): // what was begun there is not thrown away for that
		return fmt.Errorf("looking for half a ledger: %w", err)
	}
	if g.known != nil {
		return &store.HintError{
			Err: fmt.Errorf("%w: there is none in it, and %q has seen %s", store.ErrRolledBack, g.high.path, g.known),
			What: "put the folder back, or a backup into its place: " + s.given.command("restore", "BACKUP") +
				"; to begin anew and forget what was done: rm " + quoted(g.high.path),
		}
	}
	if !s.c.Identity.IsZero() {
		return &store.HintError{
			Err:  fmt.Errorf("%w: there is none in it, and the keys are those of ledger %s", store.ErrRolledBack, s.c.Identity),
			What: "put the folder back, or a backup into its place: " + s.given.command("restore", "BACKUP") + "; to begin anew, make other keys (poe keys new FILE), or release these from their ledger (poe keys release FILE)",
		}
	}
	return nil
}

// hasFolder wants a folder for the high-water file of a ledger that is to be made: one that is there, or that is made with the ledger's.
func (g *guard) hasFolder(s *Store, dir string) error {
	if _, err := s.c.FS.Stat(dir); !gone(err) {
		return nil
	}
	folder := s.c.FS.PathDir(g.high.path)
	if _, err := s.c.FS.Stat(folder); !gone(err) {
		return nil // making the file says what is wrong with it
	}
	above, errA := filepath.Abs(folder)
	ledger, errL := filepath.Abs(s.c.Dir)
	if within, err := filepath.Rel(above, ledger); errors.Join(errA, errL, err) != nil || filepath.IsLocal(within) {
		return nil
	}
	return &store.HintError{
		Err:  fmt.Errorf("there is no folder for the high-water file %q", g.high.path),
		What: nameAnother,
	}
}

// nameAnother is what to do where the high-water file cannot be written.
const nameAnother = "name a file that can be written, best on another disk: --high-water FILE"

// String says what a mark says, for people.
func (m *mark) String() string {
	return fmt.Sprintf("ledger %s with %d writes, the last one at %s", m.ledger, m.sequence, m.time.Format(time.RFC3339))
}

// compare refuses a ledger that is behind its high-water file, or another one.
func (g *guard) compare(s *Store) error {
	m := &s.meta
	if want := s.c.Identity; !want.IsZero() && want != m.identity {
		return &store.HintError{
			Err:  fmt.Errorf("%w: it is ledger %s, and the keys are those of ledger %s", store.ErrAnother, m.identity, want),
			What: "use the folder and the keys that belong together (--store, --keys); to use these keys for this ledger from now on: poe keys release FILE",
		}
	}
	if g.known == nil {
		return g.unknown(s)
	}
	here := mark{ledger: m.identity, sequence: m.sequence, restored: m.restored, time: m.floor}
	switch k := g.known; {
	case k.ledger != m.identity:
		return &store.HintError{
			Err:  fmt.Errorf("%w: it is ledger %s, and %q has seen %s", store.ErrAnother, m.identity, g.high.path, k),
			What: "use the folder and the high-water file that belong together (--store, --high-water)",
		}
	case m.restored.Before(k.restored), m.sequence < k.sequence:
		return &store.HintError{
			Err: fmt.Errorf("%w: it is older than it was: it holds %s, and %q has seen %s", store.ErrRolledBack, &here, g.high.path, k),
			What: "put back the folder that was in use; if this one is all there is, accept it, so that nothing of what it has forgotten is executed again: " +
				s.given.restoreAsIs(),
		}
	case m.floor.Before(k.time):
		m.floor = k.time
	}
	return nil
}

// unknown decides what it means that there is no high-water file: a ledger that has had one, and is in use, may have lost its last writes as well.
func (g *guard) unknown(s *Store) error {
	if s.meta.marked && s.meta.sequence > 0 {
		return &store.HintError{
			Err: fmt.Errorf("%w: its high-water file %q is not there, so nobody knows whether it has lost anything", store.ErrRolledBack, g.high.path),
			What: "put the file back, or say where it is (--high-water); if the ledger is surely the one that was last in use, accept it: " +
				s.given.restoreAsIs(),
		}
	}
	if err := g.high.create(s.c.FS, mark{s.meta.identity, s.meta.sequence, s.meta.restored, s.meta.floor, s.fresh.youngest()}); err != nil {
		return &store.HintError{Err: err, What: nameAnother}
	}
	if s.meta.marked {
		return nil
	}
	if err := s.db.Set(metaKey(metaMarked), nil, pebble.Sync); err != nil { // a ledger from before there were such files
		return fmt.Errorf("noting the high-water file: %w", err)
	}
	s.meta.marked = true
	s.c.Log.Info().Str("file", g.high.path).Msg("the ledger has a high-water file from now on")
	return nil
}

// begin opens the file, to be written from now on.
func (g *guard) begin(s *Store) error {
	g.s = s
	if err := g.high.open(s.c.FS); err != nil {
		return &store.HintError{Err: err, What: nameAnother}
	}
	return nil
}

// refuses says why nothing new is taken: what is not marked would not be missed.
func (g *guard) refuses() error {
	if err := g.failing.Load(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, *err)
	}
	if begun := g.begun.Load(); begun != nil && g.s.c.Clock().Sub(*begun) > markLimit {
		return fmt.Errorf("%w: writing the high-water file %q takes more than %s", store.ErrUnavailable, g.high.path, markLimit)
	}
	return nil
}

// markLimit is how long writing a mark may take until nothing new is taken: a disk that hangs says nothing.
const markLimit = 5 * time.Second

// idleMark is how old a mark becomes at most while there are no writes. markLag is by how much the time that a mark says may be behind the last write of a process
// that has ended at once: a restore goes by it.
const (
	idleMark = 10 * time.Second
	markLag  = idleMark + markLimit + 2*markEvery
)

// mark writes down how far the ledger has come, unless the file says so already and the last time was well.
func (g *guard) mark() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	sequence := g.s.commits.durable.Load()
	floor := g.s.clock.Raise()
	behind := floor.After(g.s.c.Clock()) // what is told of the time rests on the floor alone
	if sequence == g.high.last.sequence && g.failing.Load() == nil && floor.Sub(g.high.last.time) < idleMark && !behind {
		return nil
	}
	m := g.at(sequence)
	if behind {
		m.time = m.time.Add(markEvery) // until the next mark, which a crash may keep from being written
	}
	return g.put(m)
}

// at is the mark of an open ledger at a write that is durable.
func (g *guard) at(sequence uint64) mark {
	return mark{g.s.meta.identity, sequence, g.s.meta.restored, g.s.clock.Floor(), g.s.fresh.youngest()}
}

// put writes m. A sync that failed ends the process, since nobody knows then what the disk does.
func (g *guard) put(m mark) error {
	begun := g.s.c.Clock()
	g.begun.Store(&begun)
	err := g.high.keep(g.s.c.FS, m)
	if err == nil {
		err = g.high.write(m)
	}
	g.begun.Store(nil)
	if sync := (*syncError)(nil); errors.As(err, &sync) {
		g.s.c.fatal(err.Error())
	}
	if err != nil {
		g.failing.Store(&err)
		return err
	}
	g.failing.Store(nil)
	return nil
}

// end writes the last mark of a ledger that was open into both slots, so that one of them may be damaged while nobody looks, and closes the file.
func (g *guard) end(opened bool) error {
	if !opened {
		return g.high.close()
	}
	m := g.at(g.s.commits.durable.Load())
	return errors.Join(g.put(m), g.put(m), g.high.close())
}

// restoreAsIs is the command that accepts a ledger as it is.
func (c *Config) restoreAsIs() string { return c.command("restore", "--as-is") }

// command is a command line of poe for this ledger.
func (c *Config) command(words ...string) string {
	line := "poe " + strings.Join(words, " ") + " --store " + quoted("pebble:"+c.Dir)
	if c.HighWater != "" {
		line += " --high-water " + quoted(c.HighWater)
	}
	return line
}

// quoted returns s as one word of a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
