package core

import (
	"errors"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/loglimit"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// sayTrouble logs why the ledger did not answer about id, which may be zero. That it takes nothing all requests meet while it lasts, and the ledger itself
// says when it begins and ends.
func (g *Gate) sayTrouble(err error, id store.ID) {
	said := g.log.Error()
	if errors.Is(err, store.ErrUnavailable) {
		said = g.trouble.Limit(said, g.cfg.Clock()) // the ledger's time may go at another pace
	}
	said = said.Err(err)
	if !id.IsZero() { // otherwise the error has it, if there is one
		said = said.Stringer("id", id)
	}
	said.Msg("asking the ledger")
}

// sayUnsendable logs why a stored request could not be read. While the temporary folder, or the ledger, takes nothing all of them meet that, and again each minute.
func (g *Gate) sayUnsendable(err error, id store.ID, what string) {
	said := g.log.Error()
	if errors.Is(err, replay.ErrSpoolFull) || errors.Is(err, store.ErrUnavailable) {
		said = g.stuck.Limit(said, g.cfg.Clock())
	}
	said.Err(err).Stringer("id", id).Msg(what)
}

// sayOnce logs what all requests meet while it lasts, unless that was said in this minute.
func (g *Gate) sayOnce(line *loglimit.Line, said *zerolog.Event, what string) {
	line.Limit(said, g.cfg.Clock()).Msg(what)
}
