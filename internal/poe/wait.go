package core

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/postonce/poe/internal/store"
)

// patience reads Prefer: wait (RFC 7240, section 4.3) and returns until when the client waits.
func (g *Gate) patience(r *http.Request) time.Time {
	wait, ok := preference(r, "wait")
	if !ok {
		return time.Time{}
	}
	seconds, err := strconv.ParseUint(wait, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || seconds == 0 {
		return time.Time{}
	}
	return time.Now().Add(min(time.Duration(min(seconds, 86400))*time.Second, g.cfg.MaxWait)) //nolint:forbidigo // as the timers have it: the ledger's time may go at another pace
}

// await blocks until somebody else's execution of id has ended, the client is no longer willing to wait, there is
// no room for another waiter, or the gate drains: what it does not execute then will not be executed here. It tells whether
// it is worth looking again.
func (g *Gate) await(ctx context.Context, id store.ID, until time.Time) bool {
	left := time.Until(until) //nolint:forbidigo // see patience
	if until.IsZero() || left <= 0 {
		return false
	}
	if !g.waiting.begin(g.cfg.MaxWaiters) {
		return false
	}
	defer g.waiting.end()
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	if fl := g.flights.of(id); fl != nil {
		g.flights.await(ctx, fl)
		return ctx.Err() == nil
	}
	if g.draining.Load() {
		return false
	}
	// It runs elsewhere, or later: the ledger is asked again now and then.
	pause := time.NewTimer(min(left, pollEvery))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// pollEvery is how often a waiter asks the ledger for an action that runs in another process.
const pollEvery = 200 * time.Millisecond
