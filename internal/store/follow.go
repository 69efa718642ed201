package store

import "slices"

// Moves returns the states that Advance may put in the place of from, itself included where a record may be renewed as it
// stands: for a later Due, for a line of history. Only Claim leaves Absent, and only Claim makes Unused run again.
//
// Some moves are open to one Way only, see wayward.
func Moves(from State) []State {
	switch from {
	case Unused:
		return []State{Unused, Burned}
	case Queued:
		return []State{Queued, Sent, Burned}
	case Running:
		return []State{Running, Sent, Done, Unknown, Unused}
	case Sent:
		return []State{Sent, Queued, Done, Unknown, Unused}
	case Unknown:
		return []State{Unknown, Done, Unused, Queued, Burned}
	case Done:
		return []State{Done}
	case Burned:
		return []State{Burned}
	case Absent:
		return nil
	default:
		return nil
	}
}

// wayward tells whether a move is one that the record's Way does not have: only what was claimed to be marked is marked, and goes back to
// unused from there; only what was accepted goes back to its queue, also from unknown.
func wayward(held, r *Record) bool {
	switch {
	case held.State == Running && r.State == Sent, held.State == Sent && r.State == Unused:
		return held.Way != Marked
	case held.State == Sent && r.State == Queued:
		return held.Way == Marked
	case held.State == Unknown && r.State == Queued:
		return held.Way != Accepted
	default:
		return false
	}
}

// follows tells whether r may replace held: along the drawing, by the same action, forgetting nothing that happened.
// A callback needs no mark before it is sent, since it may be delivered more than once: it goes from Queued to Done. What
// somebody said to be not done, Unused or Queued, is Done where an answer that comes late shows it.
func follows(held, r *Record) error {
	after := r.State == Done && (held.Kind == Callback && held.State == Queued || held.Doubted())
	if !slices.Contains(Moves(held.State), r.State) && !after || wayward(held, r) {
		return invalid("from %s to %s", held.State, r.State)
	}
	if held.Kind != r.Kind || held.Way != r.Way || held.Parent != r.Parent || held.Principal != r.Principal || held.Door != r.Door ||
		held.Route != r.Route || held.Method != r.Method || held.Target != r.Target {
		return invalid("it would become another action")
	}
	if r.Attempt < held.Attempt || r.Resent < held.Resent {
		return invalid("from attempt %d, sent again %d times, to %d and %d", held.Attempt, held.Resent, r.Attempt, r.Resent)
	}
	// What goes back to its queue is another attempt, which another child may take back.
	if !held.Undo.IsZero() && r.Undo != held.Undo && (held.State != Unknown || r.State != Queued || !r.Undo.IsZero()) {
		return invalid("another child would take it back")
	}
	for _, n := range r.Names {
		if !slices.Contains(held.Names, n) {
			return invalid("a name that was not claimed")
		}
	}
	if held.State == Done || held.State == Burned {
		return sameOutcome(held, r)
	}
	return nil
}

// Doubted tells whether r may be executed because somebody said that it was not done, of an attempt of which nobody knew.
func (r *Record) Doubted() bool {
	return (r.State == Unused || r.State == Queued) && slices.ContainsFunc(r.History, func(e Event) bool { return e.From == Unknown && e.To == r.State })
}

// sameOutcome tells whether r says the same of what happened as held; only what is kept of it may become less.
func sameOutcome(held, r *Record) error {
	a, b := &held.Response, &r.Response
	if held.Status != r.Status || !held.Finished.Equal(r.Finished) || a.Size != b.Size || a.Digest != b.Digest {
		return invalid("the outcome is known and cannot change")
	}
	if a.Where != b.Where && b.Where != Purged {
		return invalid("the outcome's content is %s and cannot become %s", a.Where, b.Where)
	}
	return nil
}
