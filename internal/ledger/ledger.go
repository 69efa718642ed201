// Package ledger opens a ledger by its URL. It is the one place that knows all kinds of them.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/store/pebblestore"
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
}

// ErrURL is returned by Open for a URL that names no kind of ledger.
var ErrURL = errors.New("not a ledger's URL")

// Open opens the ledger that url names:
//
//	pebble:DIR  the folder DIR of this machine, relative or absolute; made if it is not there
//	memory:     memory, which forgets everything when the process ends; for tests and a first look
//
// Any other url is an error that wraps ErrURL and names these. The other errors are those of the kind's own Open: see
// store.ErrLocked, store.ErrCorrupt and pebblestore.ErrForeign. The caller closes the ledger.
func Open(ctx context.Context, url string, cfg Config) (store.Store, error) {
	dir, isPebble := strings.CutPrefix(url, pebbleScheme)
	switch {
	case isPebble && dir != "":
		s, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, Clock: cfg.Clock, Random: cfg.Random, Log: cfg.Log})
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
