package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/store"
)

// mark makes durable that sending begins now. It returns before the first byte is sent; after an error none must be, and the claim is taken
// back as soon as the ledger answers.
//
// The mark is conditional on the claim's term. So where somebody else has declared the claim abandoned, and unused since nothing was
// sent, an owner that was only slow does not send any more.
func (g *Gate) mark(ctx context.Context, claimed *store.Record) (*store.Record, error) {
	next := *claimed
	next.State, next.Term, next.Due = store.Sent, g.newTerm(), g.now().Add(g.cfg.Timeout+claimMargin)
	got, err := g.writeAdvance(ctx, claimed, &next, store.Also{})
	switch {
	case err == nil:
		killpoint.Hit("marked")
		return got, nil
	case errors.Is(err, store.ErrStale) && got != nil && got.State == store.Running && same(claimed, got):
		return g.mark(ctx, got) // somebody wrote a line beside it: it is still ours
	}
	g.orphans.add(claimed.ID, claimed.Term, next.Term)
	g.log.Error().Err(err).Stringer("id", claimed.ID).Msg("marking an action as sent: it is not sent")
	return nil, fmt.Errorf("%w: marking an action as sent: %w", store.ErrUnavailable, err)
}

// promised tells whether a client was told that the action will be executed: then it cannot be unused again. Records of versions that knew
// no Way tell it by their state.
func promised(r *store.Record) bool {
	return r.Way == store.Accepted || r.Way == store.Direct && (r.State == store.Queued || r.State == store.Sent)
}

// unsent is what becomes of an action under whose claim, or mark, surely nothing was sent.
func (g *Gate) unsent(r *store.Record) store.Record {
	next := *r
	next.Term = g.newTerm()
	if promised(r) {
		next.State, next.Due = store.Queued, g.now()
		return next
	}
	next.State, next.Finished, next.Due = store.Unused, g.now(), time.Time{}
	next.Request = idle(r)
	return next
}
