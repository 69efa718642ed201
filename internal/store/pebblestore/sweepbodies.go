package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postonce/poe/internal/store"
)

const forever = "forever"

// shelfName is the folder of a shelf. Names sort as the shelves do.
func shelfName(s store.Shelf) string {
	if s == store.Forever {
		return forever
	}
	return fmt.Sprintf("%010d", s)
}

func parseShelf(name string) (store.Shelf, bool) {
	n, err := strconv.ParseUint(name, 10, 32)
	return store.Shelf(n), err == nil && shelfName(store.Shelf(n)) == name
}

// sweepBodies looks at some of the bodies on past shelves and removes those of actions that have no record: none can be
// claimed there any more. More says that there are others, also beside an error: a shelf that cannot be swept holds up no other.
func (s *Store) sweepBodies(now time.Time) (more bool, err error) {
	folders, err := s.c.FS.List(s.shelves.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("listing the bodies: %w", err)
	}
	slices.Sort(folders)
	budget := sweepFiles
	reached, _, _ := strings.Cut(s.sweeper.file, "/")
	var errs []error
	for _, name := range folders {
		shelf, ok := parseShelf(name)
		if !ok || !shelf.Past(now) || name < reached {
			continue
		}
		if budget, err = s.sweepFolder(shelf, budget); err != nil {
			errs = append(errs, err)
		}
		if budget == 0 {
			return true, errors.Join(errs...)
		}
	}
	return false, errors.Join(errs...)
}

// sweepFolder looks at no more than budget files of one shelf and returns what is left of the budget: 0 if there are more files.
func (s *Store) sweepFolder(shelf store.Shelf, budget int) (int, error) {
	folder := shelfName(shelf)
	files, err := s.c.FS.List(s.shelves.folder(shelf))
	if err != nil {
		return budget, fmt.Errorf("listing the bodies of shelf %s: %w", folder, err)
	}
	slices.Sort(files)
	stay := 0
	var failed error // the first of them: where one cannot be removed, few can
	for _, f := range files {
		if folder+"/"+f <= s.sweeper.file {
			stay++
			continue
		}
		if budget--; budget <= 0 {
			return 0, failed
		}
		s.sweeper.file = folder + "/" + f
		removed, err := s.sweepBody(shelf, f)
		if failed == nil {
			failed = err
		}
		if !removed {
			stay++
		}
	}
	if stay == 0 {
		return budget, s.shelves.remove(shelf)
	}
	return budget, failed
}

// sweepBody removes the file if it is the body of an action that has no record.
func (s *Store) sweepBody(shelf store.Shelf, file string) (bool, error) {
	word, _, _ := strings.Cut(file, ".")
	id, err := store.ParseID(word)
	if err != nil {
		s.c.Log.Warn().Str("shelf", shelfName(shelf)).Str("file", file).Msg("a file among the bodies is none of the ledger's")
		return false, nil
	}
	s.gate.RLock()
	_, err = s.settled(id)
	s.gate.RUnlock()
	if !errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	err = s.c.FS.Remove(s.c.FS.PathJoin(s.shelves.folder(shelf), file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("removing a body: %w", err)
	}
	return true, nil
}

// remove removes the shelf's folder if it is empty.
func (b *shelves) remove(shelf store.Shelf) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	left, err := b.fs.List(b.folder(shelf))
	if err != nil || len(left) > 0 {
		return err
	}
	delete(b.durable, shelf)
	if err := b.fs.Remove(b.folder(shelf)); err != nil {
		return fmt.Errorf("removing a shelf's folder: %w", err)
	}
	return nil
}
