package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// ErrNoFolder says that only a ledger in a folder can be backed up, restored and checked.
var ErrNoFolder = errors.New("not a ledger in a folder (pebble:DIR)")

// Exists tells whether there is a ledger at url, as far as that can be seen without opening it; fs.ErrNotExist says that there is none.
func Exists(url string) error {
	dir, ok := strings.CutPrefix(url, pebbleScheme)
	if !ok || dir == "" {
		return fmt.Errorf("opening the ledger: %w", ErrNoFolder)
	}
	if _, err := os.Stat(filepath.Join(dir, "ledger")); err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	return nil
}

// In tells whether the ledger at url lies in the folder dir.
func In(url, dir string) bool {
	own, ok := strings.CutPrefix(url, pebbleScheme)
	if !ok {
		return false
	}
	a, err := os.Stat(own)
	if err != nil {
		return false
	}
	b, err := os.Stat(dir)
	return err == nil && os.SameFile(a, b)
}

// Backup copies an open ledger into a folder of this machine, which is empty or not there, with its keys where they lie in its own folder. See
// pebblestore.Store.Backup. progress may be nil.
func Backup(ctx context.Context, s store.Store, dir string, progress func(store.Progress)) (store.Copied, error) {
	p, ok := s.(*pebblestore.Store)
	if !ok {
		return store.Copied{}, ErrNoFolder
	}
	return p.Backup(ctx, pebblestore.Backup{Dir: dir, Also: []string{keysName}, Progress: progress})
}

// Restore puts a ledger back from the folder from, or, where that is "", accepts the one that is there as it is. See pebblestore.Put.
func Restore(ctx context.Context, url string, cfg Config, r store.Restore) (store.Copied, error) {
	c, err := cfg.at(url)
	if err != nil {
		return store.Copied{}, err
	}
	return pebblestore.Put(ctx, c, r)
}

// Check reads all of a ledger that nobody has open. See pebblestore.Check.
func Check(ctx context.Context, url string, cfg Config, progress func(store.Progress)) (store.Findings, error) {
	c, err := cfg.at(url)
	if err != nil {
		return store.Findings{}, err
	}
	return pebblestore.Check(ctx, c, progress)
}

func (cfg *Config) at(url string) (pebblestore.Config, error) {
	dir, ok := strings.CutPrefix(url, pebbleScheme)
	if !ok || dir == "" {
		return pebblestore.Config{}, fmt.Errorf("opening the ledger: %w", ErrNoFolder)
	}
	return cfg.folder(dir)
}
