package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/tokens"
)

// KeysConfig says which keys sign and verify for a ledger.
type KeysConfig struct {
	URL   string      // of the ledger, as Open takes it
	File  string      // the key file; "": one inside the ledger's folder, made where it is missing
	Store store.Store // the ledger: what is signed is signed for its identity
	Log   zerolog.Logger
	Clock func() time.Time // time.Now
}

// Keys are the keys that sign and verify for a ledger.
type Keys struct {
	Ring *tokens.Ring
	file *tokens.File // nil where the keys live in memory only
	cfg  KeysConfig
}

// Run takes up changes of the key file until ctx ends.
func (k *Keys) Run(ctx context.Context) {
	if k.file == nil {
		<-ctx.Done()
		return
	}
	k.file.Run(ctx)
}

// Reload takes up a change of the key file now. If it fails the keys stay what they were.
func (k *Keys) Reload() error {
	if k.file == nil {
		return nil
	}
	if err := k.file.Reload(); err != nil {
		return err
	}
	k.cfg.sayUnsigned(k.Ring)
	return nil
}

// OpenKeys opens the keys of a ledger. A file that was named must exist; the one inside the ledger's folder is made if
// it is missing. A ledger in memory has keys in memory. A file that names no ledger names this one from then on; see tokens.BindFile.
func OpenKeys(cfg KeysConfig) (*Keys, error) {
	var f *tokens.File
	ring := tokens.Config{Audience: cfg.Store.Identity().String(), MaxLifetime: store.MaxDays * store.Day, Reloaded: func(err error) {
		if err != nil {
			cfg.Log.Error().Err(err).Msg("the key file changed and cannot be used: the keys stay what they were")
			return
		}
		cfg.Log.Info().Msg("the key file changed: its keys are in use")
		cfg.sayUnsigned(f.Ring())
	}}
	path := cfg.File
	if path == "" {
		dir, ok := strings.CutPrefix(cfg.URL, pebbleScheme)
		if !ok {
			r, err := tokens.Ephemeral(ring, rand.Reader)
			if err != nil {
				return nil, fmt.Errorf("making keys: %w", err)
			}
			return &Keys{Ring: r}, nil
		}
		path = keysInside(dir)
		if err := cfg.createKeys(path); err != nil {
			return nil, err
		}
	}
	var err error
	if f, err = tokens.OpenFile(path, ring); err != nil {
		return nil, fmt.Errorf("opening the keys: %w", err)
	}
	if f.Ledger() == "" && cfg.URL != memoryURL { // a ledger that forgets is another one every time
		bind(&cfg, path)
		if f, err = tokens.OpenFile(path, ring); err != nil { // as it is now: that it says whose it is, is no change to be told of
			return nil, fmt.Errorf("opening the keys: %w", err)
		}
	}
	cfg.File = path
	cfg.sayUnsigned(f.Ring())
	return &Keys{Ring: f.Ring(), file: f, cfg: cfg}, nil
}

// sayUnsigned says where none of the keys signs.
func (cfg *KeysConfig) sayUnsigned(ring *tokens.Ring) {
	if !ring.Signs() {
		cfg.Log.Warn().Str("keys", cfg.File).Msg("no key of the file signs: POE URIs are verified, and none is made here. A route that requires one tells nobody where to get it")
	}
}

// KeysAreHighWater tells whether the keys of the ledger at url, and what says how far it has come, are one file: each would be written over by the other. keys and
// highWater are as in Config.
func KeysAreHighWater(url, keys, highWater string) bool {
	dir, ok := strings.CutPrefix(url, pebbleScheme)
	if !ok || dir == "" {
		return false
	}
	if keys == "" {
		keys = keysInside(dir)
	}
	a, errA := filepath.Abs(keys)
	b, errB := filepath.Abs(pebblestore.Config{Dir: dir, HighWater: highWater}.HighWaterFile())
	return errA == nil && errB == nil && a == b
}

// keysInside is the key file of a ledger whose keys are kept nowhere else.
func keysInside(dir string) string { return filepath.Join(dir, keysName) }

const keysName = "keys.json"

// bind writes into the key file which ledger it signs for. That is one guard of several, and a file that must not be written to is no reason
// not to serve; but who runs it should know.
func bind(cfg *KeysConfig, path string) {
	if err := tokens.BindFile(path, cfg.Store.Identity().String()); err != nil {
		cfg.Log.Warn().Err(err).Stringer("ledger", cfg.Store.Identity()).
			Msg("the key file does not name its ledger, and cannot be written to: an emptied or exchanged ledger is noticed by its high-water file alone")
	}
}

// createKeys makes the key file unless it is there. Where the ledger is not being made just now, there was one once, and who starts without it should know.
func (cfg *KeysConfig) createKeys(path string) error {
	clock := cfg.Clock
	if clock == nil {
		clock = time.Now
	}
	now := clock()
	_, err := tokens.CreateFile(path, tokens.NewKey{Now: now, InLedger: true})
	switch {
	case errors.Is(err, tokens.ErrExists), errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("making the keys of a new ledger: %w", err)
	}
	if made := cfg.Store.Identity().Minted(); now.Sub(made) > justMade {
		cfg.Log.Warn().Str("keys", path).Time("ledger_made", made).
			Msg("a ledger from before had no key file there, and one was made: POE URIs that were signed by others are 404, also those that were used. Where its keys are elsewhere, stop, take this file away and name theirs (--keys)")
	}
	return nil
}

// justMade is how old a ledger can be that is new.
const justMade = time.Minute
