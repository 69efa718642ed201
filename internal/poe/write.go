package core

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/postonce/poe/internal/store"
)

// writeTries is how often a write whose result is unknown is made; each repeat finds its own term.
const writeTries = 3

// writeClaim makes a claim, and makes it again while nobody knows whether it was done. What was put beside the ledger for one that surely
// was not made is discarded.
func (g *Gate) writeClaim(ctx context.Context, r *store.Record) (*store.Record, error) {
	got, err := g.store.Claim(ctx, r)
	if err != nil && !store.Refused(err) {
		got, err = writeAgain(ctx, err, func() (*store.Record, error) { return g.store.Claim(ctx, r) })
	}
	if store.Refused(err) {
		g.discard(ctx, r.ID, r.Request)
	}
	return got, err
}

// writeAdvance puts next in the place of was, and does so again while nobody knows whether it was done. A body that the request had beside the ledger
// is discarded as soon as it is durable that the record has let go of it.
func (g *Gate) writeAdvance(ctx context.Context, was, next *store.Record, also store.Also) (*store.Record, error) {
	got, err := g.store.Advance(ctx, was.Term, next, also)
	if err != nil && !store.Refused(err) {
		got, err = g.advanceAgain(ctx, was.Term, next, also, err)
	}
	if err == nil && got.Request.Where != store.Beside {
		g.discard(ctx, was.ID, was.Request)
	}
	return got, err
}

// discardAnswer removes the answer that was put beside the ledger for a write, where the record as it stands after that, if there is one, does not refer to
// it. While nobody knows whether the write was done, it stays.
func (g *Gate) discardAnswer(ctx context.Context, id store.ID, answer *store.Blob, stands *store.Record, err error) {
	if answer.Where == store.Beside && (stands == nil || !stands.RefersTo(answer.Part)) && (err == nil || store.Refused(err)) {
		g.discard(ctx, id, *answer)
	}
}

// discard removes the body that a message has beside the ledger, if it has one. Nothing rests on it: what is left is removed with its shelf. That the ledger
// keeps what a record refers to makes up for a claim that looks refused since it was made, and its action has moved on.
func (g *Gate) discard(ctx context.Context, id store.ID, message store.Blob) {
	if message.Where != store.Beside {
		return
	}
	if err := g.store.Discard(context.WithoutCancel(ctx), id, message.Part); err != nil {
		g.log.Debug().Err(err).Stringer("id", id).Msg("discarding a body beside the ledger: it stays until the action is forgotten")
	}
}

// advanceAgain is apart, so that what it captures is on the heap only where it is needed.
func (g *Gate) advanceAgain(ctx context.Context, was store.Term, next *store.Record, also store.Also, unknown error) (*store.Record, error) {
	return writeAgain(ctx, unknown, func() (*store.Record, error) { return g.store.Advance(ctx, was, next, also) })
}

// writeEnd puts an end, or a step towards one, in the place of claimed, with all that goes with it. What the ledger does not take as it is, it
// takes without what may be left out: an action that could not come to rest would be in the way of everything for ever.
func (g *Gate) writeEnd(ctx context.Context, claimed, next *store.Record) (*store.Record, store.Also, error) {
	also := g.also(ctx, claimed, next)
	got, err := g.writeAdvance(ctx, claimed, next, also)
	if !errors.Is(err, store.ErrInvalid) {
		return got, also, err
	}
	g.log.Error().Err(err).Stringer("id", next.ID).Msg("the ledger does not take this end as it is: it is written again without its answer, and without what would follow from it")
	answer := next.Response
	if next.State == store.Done {
		next.Response = store.Blob{Where: store.Purged, Size: next.Response.Size, Digest: next.Response.Digest}
	}
	if next.State == store.Unknown {
		next.Undo, next.Due = claimed.Undo, store.Person
	}
	also = store.Also{Free: also.Free, Spawn: g.calls(claimed, next)}
	got, err = g.writeAdvance(ctx, claimed, next, also)
	g.discardAnswer(ctx, next.ID, &answer, got, err)
	return got, also, err
}

// writeAgain makes a write again of which nobody knows whether it was done. A repeat that is refused because of
// what it finds says that the write was not done, or it would have found its own term. One that is refused because the
// ledger is away says nothing of the tries before it: then the error is theirs, and the write stays unknown.
func writeAgain(ctx context.Context, unknown error, write func() (*store.Record, error)) (*store.Record, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 20 * time.Millisecond
	return backoff.Retry(ctx, func() (*store.Record, error) {
		r, err := write()
		switch {
		case errors.Is(err, store.ErrUnavailable):
			return r, unknown
		case err != nil && store.Refused(err):
			return r, backoff.Permanent(err)
		default:
			return r, err
		}
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(writeTries-1))
}
