package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/ledger"
	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// Ledger says which ledger a command is about: the settings of those names.
type Ledger struct {
	Store, Keys, HighWater string
	Log                    zerolog.Logger
}

func (l *Ledger) config() ledger.Config {
	return ledger.Config{Keys: l.Keys, HighWater: l.HighWater, Log: l.Log}
}

// Backup copies a ledger that no server has open into a folder. Where one has, the error is store.ErrLocked, and the server is to be asked:
// POST /backup on its admin listener. A ledger that is not there is not made.
func Backup(ctx context.Context, l Ledger, dir string, progress func(store.Progress)) (_ store.Copied, err error) {
	if err := ledger.Exists(l.Store); err != nil {
		return store.Copied{}, err
	}
	s, err := ledger.Open(ctx, l.Store, l.config())
	if err != nil {
		return store.Copied{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return ledger.Backup(ctx, s, dir, progress)
}

// Restore puts a ledger back; see ledger.Restore.
func Restore(ctx context.Context, l Ledger, r store.Restore) (store.Copied, error) {
	return ledger.Restore(ctx, l.Store, l.config(), r)
}

// Check reads all of a ledger that no server has open; see ledger.Check.
func Check(ctx context.Context, l Ledger, progress func(store.Progress)) (store.Findings, error) {
	cfg := l.config()
	cfg.Passes = core.Passes
	return ledger.Check(ctx, l.Store, cfg, progress)
}

// A BackupLine is one line of the answer to POST /backup: how far it is, and at last how it ended.
type BackupLine struct {
	Progress *store.Progress `json:"progress,omitempty"`
	Copied   *store.Copied   `json:"copied,omitempty"` // it is done
	Error    string          `json:"error,omitempty"`  // it is not
	Hint     string          `json:"hint,omitempty"`   // with Error: what to do, where that is known
}

// serveBackup is POST /backup?dir=: it copies the ledger into a folder of the server's machine, and tells meanwhile how far it is. A client that goes ends
// it, and what is there then is no backup. With ledger=, a folder of that machine too, it is refused unless the ledger is the one in there.
func (s *server) serveBackup(w http.ResponseWriter, r *http.Request) error {
	dir := r.URL.Query().Get("dir")
	if !filepath.IsAbs(dir) {
		http.Error(w, "dir must be the absolute path of a folder on the server's machine", http.StatusBadRequest)
		return nil
	}
	if wanted := r.URL.Query().Get("ledger"); wanted != "" && !ledger.In(s.cfg.Store, wanted) {
		http.Error(w, fmt.Sprintf("the ledger here is another one than that in %q: it is %s", wanted, s.cfg.Store), http.StatusConflict)
		return nil
	}
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("lifting the time limit: %w", err)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	say := func(l BackupLine) {
		if lines.Encode(l) == nil { // otherwise the client has gone, and the request's context ends
			_ = out.Flush()
		}
	}
	s.opt.Log.Info().Str("dir", dir).Msg("backing up the ledger")
	did, err := ledger.Backup(r.Context(), s.store, dir, func(p store.Progress) { say(BackupLine{Progress: &p}) })
	if err != nil {
		s.opt.Log.Error().Err(err).Msg("backing up the ledger")
		line := BackupLine{Error: err.Error()}
		var hint interface{ Hint() string }
		if errors.As(err, &hint) {
			line.Hint = hint.Hint()
		}
		say(line)
		return nil
	}
	s.opt.Log.Info().Str("dir", dir).Int64("records", did.Records).Int64("bytes", did.Bytes).Int64("missing", did.Missing).Msg("the ledger is backed up")
	say(BackupLine{Copied: &did})
	return nil
}
