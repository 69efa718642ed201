package core

import (
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
)

// sayTroubleEvery is how often one trouble is logged at most.
const sayTroubleEvery = time.Minute

// A trouble is one that all requests meet while it lasts: the ledger takes nothing, the application does not answer. A line for each of them could fill the disk, or is
// written to one that is full.
type trouble struct {
	mu   sync.Mutex
	said time.Time // guarded by mu, as is what follows
	left int       // lines that were left out since
}

// says tells whether a line is to be written now, and how many were left out before it.
func (t *trouble) says(now time.Time) (is bool, left int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.said.IsZero() && now.Sub(t.said).Abs() < sayTroubleEvery { // a clock that was ahead then may have been set back
		t.left++
		return false, 0
	}
	left = t.left
	t.said, t.left = now, 0
	return true, left
}

// sayTrouble logs why the ledger did not answer about id, which may be zero.
func (g *Gate) sayTrouble(err error, id store.ID) {
	left := 0
	if errors.Is(err, store.ErrUnavailable) {
		var is bool
		if is, left = g.trouble.says(g.cfg.Clock()); !is { // the ledger's time may stand still
			return
		}
	}
	said := g.log.Error().Err(err)
	if !id.IsZero() { // otherwise the error has it, if there is one
		said = said.Stringer("id", id)
	}
	if left > 0 {
		said = said.Int("left_out", left)
	}
	said.Msg("asking the ledger")
}

// sayOnce logs what a trouble is, unless that was said in this minute.
func (g *Gate) sayOnce(t *trouble, said *zerolog.Event, what string) {
	is, left := t.says(g.cfg.Clock())
	if !is {
		return
	}
	if left > 0 {
		said = said.Int("left_out", left)
	}
	said.Msg(what)
}
