// Package ledger opens a ledger by its URL. It is the one place that knows all kinds of them.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/tokens"
)

// How the URLs of the kinds of ledger begin.
const (
	pebbleScheme = "pebble:"
	memoryURL    = "memory:"
)

// Config is what every ledger is opened with. A zero field has the default in its comment.
type Config struct {
	Clock  func() time.Time // time.Now
	Random io.Reader        // crypto/rand.Reader
	Log    zerolog.Logger   // nothing is logged

	// Keys is the file of the keys that sign for the ledger, as in KeysConfig: if it names a ledger, no other is opened, and none is made.
	Keys string
	// HighWater is where a ledger in a folder keeps how far it has come. "": beside the folder; see pebblestore.Config.
	HighWater string
	// MinFree is how much must be left on the disk of a ledger in a folder, in bytes; see pebblestore.Config.
	MinFree uint64
	// AcceptLostKeys lets what was done under keys before a restore be done again. It is remembered until the next restore.
	AcceptLostKeys bool
	// Passes tells Check which names pass from one action to another; see pebblestore.Config.
	Passes func(store.Name) bool
}

// ErrKeys is returned by Open, Restore and Check where the key file cannot be used, so that nobody knows which ledger is meant.
var ErrKeys = errors.New("opening the keys")

// ErrURL is returned by Open for a URL that names no kind of ledger.
var ErrURL = errors.New("not a ledger's URL")

// Where returns a ledger's URL for people: with the whole path of its folder, which is another one in another working directory.
func Where(url string) string {
	dir, isPebble := strings.CutPrefix(url, pebbleScheme)
	if !isPebble {
		return url
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return url
	}
	return pebbleScheme + whole
}

// Open opens the ledger that url names:
//
//	pebble:DIR  the folder DIR of this machine, relative or absolute; made if it is not there
//	memory:     memory, which forgets everything when the process ends; for tests and a first look
//
// Any other url is an error that wraps ErrURL and names these. The other errors are those of the kind's own Open: see
// store.ErrLocked, store.ErrCorrupt, store.ErrRolledBack, store.ErrAnother and pebblestore.ErrForeign, and those of the key file. The caller closes the ledger.
func Open(ctx context.Context, url string, cfg Config) (store.Store, error) {
	dir, isPebble := strings.CutPrefix(url, pebbleScheme)
	switch {
	case isPebble && dir != "":
		c, err := cfg.folder(dir)
		if err != nil {
			return nil, err
		}
		s, err := pebblestore.Open(ctx, c)
		if err != nil {
			return nil, err
		}
		return s, nil
	case url == memoryURL:
		s, err := memstore.New(memstore.Config{Clock: cfg.Clock, Random: cfg.Random})
		if err != nil {
			return nil, err
		}
		return s, nil
	default:
		// The URL itself is not repeated: those of other ledgers carry passwords.
		return nil, fmt.Errorf("opening the ledger: %w: it is pebble:DIR, or memory: for a ledger that forgets", ErrURL)
	}
}

// folder is the configuration of a ledger in a folder.
func (cfg *Config) folder(dir string) (pebblestore.Config, error) {
	identity, err := meant(dir, cfg.Keys)
	return pebblestore.Config{
		Dir: dir, HighWater: cfg.HighWater, MinFree: cfg.MinFree, Identity: identity, AcceptLost: cfg.AcceptLostKeys, Clock: cfg.Clock, Random: cfg.Random, Log: cfg.Log,
		Passes: cfg.Passes,
	}, err
}

// meant returns the ledger that the keys sign for; zero where they do not say, or where there are none yet.
func meant(dir, keys string) (store.ID, error) {
	path := keys
	if path == "" {
		path = keysInside(dir)
	}
	name, err := tokens.LedgerOf(path)
	if keys == "" && errors.Is(err, fs.ErrNotExist) || err == nil && name == "" {
		return store.ID{}, nil
	}
	if err != nil {
		return store.ID{}, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	id, err := store.ParseID(name)
	if err != nil {
		return store.ID{}, fmt.Errorf("%w: %s names a ledger %.40q: %w", ErrKeys, path, name, err)
	}
	return id, nil
}
