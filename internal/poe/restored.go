package core

import (
	"context"
	"errors"

	"github.com/postonce/poe/internal/store"
)

// A ledger that was put back from a backup does not know what was done after it was made. What it knows to have been done it still
// answers for. Everything else that it could have known is in doubt, and is not executed:
//
//   - an id that was minted before the restore, whether it has no record or one that calls it unused, is gone: the id says when it was
//     minted, and nobody can say that it was not executed since;
//   - an action that was accepted and not yet sent may have been sent since: it is unknown;
//   - an action that was under way, or unknown, may have come to any end since: it may have been answered, tried again and answered with something
//     else. It is unknown, and neither repeated nor taken back; only what asks the application how it ended may go on;
//   - a name that a client chose says nothing of its age. One that is free, or that led to nothing, may have been used since: 503, until
//     somebody has accepted that such actions may be executed again (Floor.Lost).

// beforeRestore tells whether the ledger may have forgotten what became of id.
func (g *Gate) beforeRestore(id store.ID) bool { return id.Minted().Before(g.restored) }

// errLostKeys is why a name is not claimed after a restore.
var errLostKeys = errors.New("the ledger was restored from a backup, and what was done under this name since the backup is not known")

const lostKeysDetail = "The server's records were put back from a backup, and what was done under this key after it was made is not known. Nothing was executed now. " +
	"Ask who runs the server: new keys are taken again when they have said so."

// doubt finds out whether names may be claimed on a ledger that has lost some. One that is held is answered as ever: store.ErrTaken, and the holder.
// Otherwise it is errLostKeys.
func (g *Gate) doubt(ctx context.Context, r *store.Record) (*store.Record, error) {
	if !g.lost || len(r.Names) == 0 {
		return nil, nil
	}
	holder, err := g.holder(ctx, r)
	if err == nil {
		err = errLostKeys
	}
	return holder, err
}

// holder looks for another action that has one of the names of r: store.ErrTaken, and that action.
func (g *Gate) holder(ctx context.Context, r *store.Record) (*store.Record, error) {
	for _, n := range r.Names {
		holder, err := g.store.Lookup(ctx, store.ByName(n))
		if err == nil && holder.ID != r.ID {
			return &holder, store.ErrTaken
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	return nil, nil
}

// outdated tells whether more may have become of r since the backup than it says: its latest attempt began before the ledger was put back.
func (g *Gate) outdated(r *store.Record) bool { return r.Claimed.Before(g.restored) }

// inDoubt tells whether an accepted action may have been sent after the backup. A callback may be sent twice.
func (g *Gate) inDoubt(r *store.Record) bool {
	return r.State == store.Queued && r.Kind != store.Callback && g.outdated(r)
}

// doubtAccepted marks an accepted action as one that may have been sent, which is what recovery makes an unknown one of.
func (g *Gate) doubtAccepted(ctx context.Context, r store.Record) (store.Record, error) {
	next := r
	next.State, next.Term, next.Due = store.Sent, g.newTerm(), g.now()
	next.Note(store.Event{At: next.Due, From: r.State, To: next.State, Who: "recovery", Why: "the ledger was restored from a backup: it may have been sent since"})
	_, err := g.writeAdvance(ctx, &r, &next, store.Also{})
	return next, err
}
