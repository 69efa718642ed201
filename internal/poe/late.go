package core

import (
	"context"
	"errors"
	"slices"

	"github.com/postonce/poe/internal/store"
)

// What becomes of an end that finds the record changed. Its owner was declared dead meanwhile, or somebody wrote a line into the history. The
// rule is that of the terms: an end settles its own attempt and nothing else, and is never lost in silence.

// lateTries is how often a late end is written beside a record that keeps moving.
const lateTries = 8

// same tells whether r is still about the attempt that claimed is about: since then nobody has said that it may be executed again.
func same(claimed, r *store.Record) bool { return r.Attempted() == claimed.Attempted() }

func sameEvent(a, b store.Event) bool {
	at := a.At
	a.At = b.At
	return at.Equal(b.At) && a == b
}

// retold returns next as the end of the same attempt, which stands as it was claimed but for lines of history that others wrote, and names
// that they took off.
func retold(claimed, stands, next *store.Record) store.Record {
	r := *next
	r.Names = stands.Names
	r.Resent = stands.Resent
	r.History = stands.History
	for _, e := range next.History {
		if !slices.ContainsFunc(claimed.History, func(c store.Event) bool { return sameEvent(c, e) }) {
			r.Note(e)
		}
	}
	return r
}

// late records an end that comes when the action was declared unknown, or decided about. An attempt that is still unknown is settled by it.
// What a person has called undone, and an answer shows to be done, is done: it must not be executed again. What was taken back since, and everything
// else, stays what it is, with the answer in its history; and somebody must hear of it. The error is that of the last write.
func (g *Gate) late(ctx context.Context, claimed, stands, next *store.Record) (*store.Record, error) {
	if next.State == store.Unknown && (next.Status == 0 || claimed.State == store.Unknown || stands.State == store.Unknown) {
		return stands, nil // it has learned nothing
	}
	first := stands
	var err error
	for range lateTries {
		r := g.afterwards(claimed, stands, next)
		was, also := stands, g.also(ctx, stands, &r)
		if stands, err = g.writeAdvance(ctx, was, &r, also); err == nil {
			if stands.State != was.State {
				g.metrics.rests(phaseOf(stands.State))
			}
			g.nudge(g.nudged, g.owed)
			break
		}
		if !errors.Is(err, store.ErrStale) || stands == nil {
			stands = was
			break
		}
	}
	g.tellLate(first, next, same(claimed, first), err)
	if err == nil {
		g.front.Add(stands)
	}
	return stands, err
}

// afterwards is the record with a late end in it: next in the place of stands, or stands with a line more.
func (g *Gate) afterwards(claimed, stands, next *store.Record) store.Record {
	r := *stands
	another := next.Method != stands.Method || next.Target != stands.Target || next.Principal != stands.Principal // request under the same name, since then
	wrong := stands.Doubted() && !takenBackSince(stands, claimed.Claimed) && !another                             // what was taken back is not done, whatever its answer was
	undone := endedUndone(next)
	settled := settles(claimed, stands, next) || next.State == store.Done && wrong && !undone // what was not done either time is still to be done
	if settled {
		r = *next
		r.Names, r.History, r.Attempt = stands.Names, stands.History, max(stands.Attempt, next.Attempt)
		r.Resent, r.Undo = stands.Resent, stands.Undo
	}
	r.Term = g.newTerm()
	why, status := "a late answer arrived", lateStatus(next)
	if status == 0 {
		why = "late word: it was not done"
	}
	if settled && undone {
		why = notDoneInTime + why
	}
	r.Note(store.Event{At: g.now(), From: stands.State, To: r.State, Who: "engine", Why: why, Status: status})
	return r
}

// lateStatus is the status of the answer that an end came with; 0: there was none. What is to be sent again has that of an earlier try then.
func lateStatus(next *store.Record) int {
	if n := len(next.History); n > 0 && next.State == store.Queued {
		return next.History[n-1].Status
	}
	return next.Status
}

// settles tells whether the end of an attempt is the end of what stands: of the same attempt, of which nobody knew. That it was not done counts
// only if nobody has sent anything for it since: a repeat under way may be executed. What is being taken back is settled by how that ends, and by
// nothing else.
func settles(claimed, stands, next *store.Record) bool {
	if stands.State != store.Unknown || !stands.Undo.IsZero() || !same(claimed, stands) {
		return false
	}
	return next.State == store.Done || (next.State == store.Unused || next.State == store.Queued) && next.Resent == stands.Resent
}

// tellLate counts and reports a late end. That of an attempt which was merely unknown is good news; beside what was decided it may mean that
// the decision was wrong.
func (g *Gate) tellLate(stood, next *store.Record, own bool, err error) {
	g.metrics.late.WithLabelValues(phaseOf(stood.State).word()).Inc()
	if stood.State == store.Unknown && own {
		g.log.Warn().Err(err).Stringer("id", next.ID).Str("route", next.Route).Int("status", lateStatus(next)).
			Msg("a late answer arrived for an action that was unknown")
		return
	}
	g.log.Error().Err(err).Stringer("id", next.ID).Str("route", next.Route).Int("status", lateStatus(next)).Stringer("state", stood.State).
		Msg("a late answer arrived for an action that was decided without it: look at its history")
}
