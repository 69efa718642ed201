package poe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// What Decide refuses.
var (
	// ErrNoAction: the ledger has no action of that id.
	ErrNoAction = core.ErrNoAction
	// ErrBadDecision: the decision makes no sense as it is.
	ErrBadDecision = core.ErrBadDecision
	// ErrTooLarge: its answer is over Config.MaxResponse.
	ErrTooLarge = core.ErrTooLarge
	// ErrConflict: the action is not unknown, or not any more what the decision was made about, or something is at work on it.
	ErrConflict = errors.New("the action is not what was decided about")
)

// UnknownAction is an action whose end is unknown, as Gate.Unknown tells of it.
type UnknownAction struct {
	Unresolved
	Route        string // its name
	Compensation bool   // it takes another one back (RecoveryCompensate)
	Waits        bool   // for a person: its route has no recovery, or that came to nothing
	Why          string // the last line of its history
	Version      string // of what is known of it, for Decision
}

// Decision is what a person says of an action whose end is unknown.
type Decision struct {
	ID string // of the action; required
	// Version is that of the UnknownAction which the decision is about. "": whatever stands now, be it another attempt.
	Version string
	// Resolution is WasDone, with the answer that becomes the outcome, or WasNotDone, after which the next request is executed; what had been accepted with
	// 202 is executed again by itself, as was promised. What nobody can find out ends as WasDone with an answer that says so, such as a 500.
	Resolution Resolution
	Reason     string // one line of at most 1000 bytes, which the receipt shows; required
	By         string // who decides, in the history: at most 64 letters, digits and ._@+-, a letter or digit first; "": nobody is named
}

// Unknown returns the actions whose end is unknown, in pieces as they are asked for. An error is the ledger's, and the last that is returned.
func (g *Gate) Unknown(ctx context.Context) iter.Seq2[UnknownAction, error] {
	return func(yield func(UnknownAction, error) bool) {
		f := core.Filter{State: "unknown"}
		for {
			page, err := g.core.Actions(ctx, f)
			if err != nil {
				yield(UnknownAction{}, err)
				return
			}
			for i := range page.Actions {
				if !yield(unknownAction(&page.Actions[i]), nil) {
					return
				}
			}
			if f.After = page.Next; f.After == "" {
				return
			}
		}
	}
}

func unknownAction(l *core.Line) UnknownAction {
	return UnknownAction{
		Unresolved: Unresolved{ID: l.ID, Method: l.Method, Target: l.Target, Attempt: l.Attempts, Claimed: moment(l.ClaimedAt), Since: moment(l.FinishedAt)},
		Route:      l.Route, Compensation: l.Kind == "compensation", Waits: l.WaitsFor != "", Why: l.Why, Version: l.Version,
	}
}

// moment is the time that t points to; nil: the zero one.
func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Decide records what a person says of an action whose end is unknown, and returns once that is durable. It executes nothing itself. An answer that the
// handler gives after all is kept beside the decision.
//
// After ErrNoAction, ErrConflict, ErrBadDecision and ErrTooLarge surely nothing was written. After any other error nobody knows: look again.
func (g *Gate) Decide(ctx context.Context, d Decision) error {
	say := core.Decision{ID: d.ID, Seen: d.Version, Reason: d.Reason, By: d.By}
	switch d.Resolution.State {
	case WasNotDone:
		say.As = core.AsUnused
	case WasDone:
		say.As = core.AsDone
		say.Answer = &core.Resolution{Status: d.Resolution.Status, Header: d.Resolution.Header, Body: d.Resolution.Body}
	default:
		return fmt.Errorf("%w: it says neither that it was done nor that it was not", ErrBadDecision)
	}
	_, err := g.core.Decide(ctx, say)
	var conflict *core.ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// Free gives back the business keys, version tags and creations that an action guards, wherever it stands, so that another request may have them: after an
// action that was burned or answered with 5xx, say, when somebody has looked. It executes nothing, and the history says that the program did it.
//
// Errors: ErrNoAction; ErrConflict, where the action moved on each time; any other means that the ledger did not answer.
func (g *Gate) Free(ctx context.Context, id string) error {
	err := g.core.Free(ctx, id, "program")
	var conflict *core.ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}
