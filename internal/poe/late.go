package core

import (
	"context"
	"errors"

	"github.com/postonce/poe/internal/store"
)

// lateTries is how often a late answer is written down, where others write at the same time.
const lateTries = 8

// late records how an attempt ended whose record somebody else has moved meanwhile. claimed is what it began with, stands what is there
// instead, next what it would have become.
func (g *Gate) late(ctx context.Context, claimed *store.Record, stands, next store.Record) status {
	for range lateTries {
		r, tells := g.afterwards(claimed, &stands, &next)
		if !tells {
			break
		}
		r.Term = g.newTerm()
		also := g.also(&stands, &r)
		got, err := repeatWrite(ctx, func() (store.Record, error) { return g.store.Advance(ctx, stands.Term, r, also) })
		if errors.Is(err, store.ErrStale) {
			stands = got
			continue
		}
		if err != nil {
			g.log.Error().Err(err).Stringer("id", next.ID).Msg("recording a late answer")
			break
		}
		g.front.Add(got)
		if underWay(phaseOf(stands.State)) { // it was not late at all
			return status{phase: phaseOf(got.State), record: got}
		}
		stands = got
		break
	}
	g.log.Warn().Stringer("id", next.ID).Int("status", next.Status).Stringer("state", stands.State).
		Msg("a late answer arrived for an action that was settled without it")
	return status{phase: phaseOf(stands.State), record: stands}
}

// afterwards decides what a late end makes of the record that stands, and whether it tells anything:
//
//   - an attempt that still runs, by its own record, ends as it would have: only its names or its history were changed;
//   - another attempt that is under way is left alone: its owner compares the term;
//   - an unknown action is settled by an answer that makes it done. That it was not done counts only if nobody has sent anything for it
//     since: a repeat under way may be executed. What is being taken back is settled by how that ends, and by nothing else;
//   - beside everything else it goes into the history.
func (g *Gate) afterwards(claimed, stands, next *store.Record) (store.Record, bool) {
	mine := stands.Attempt == claimed.Attempt && stands.Claimed.Equal(claimed.Claimed)
	running := stands.State == store.Running || stands.State == store.Sent
	settles := mine && running
	switch {
	case running && !mine, stands.State == store.Queued, stands.State == store.Burned:
		return store.Record{}, false
	case stands.State == store.Unknown && next.State == store.Unknown:
		return store.Record{}, false // that is known
	case stands.State == store.Unknown && mine && stands.Undo.IsZero():
		settles = next.State == store.Done || next.State == store.Unused && next.Resent == stands.Resent
	}
	r := *stands
	if settles {
		r = *next
		r.Names, r.History, r.Resent, r.Undo = stands.Names, stands.History, stands.Resent, stands.Undo
	}
	if mine && running {
		if n := len(next.History); next.State != store.Done && n > 0 {
			r.Note(next.History[n-1])
		}
		r.Undo = next.Undo
		return r, true
	}
	r.Note(store.Event{At: g.now(), From: stands.State, To: r.State, Who: "engine", Why: "a late answer arrived", Status: next.Status})
	return r, true
}
