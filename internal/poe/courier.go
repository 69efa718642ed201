package core

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postonce/poe/internal/store"
)

// A courier has callbacks delivered, beside the work and whatever holds that up. What has just become due comes first; then it goes through all that is due, a page at a
// time, so that one to whom much is owed, and who does not answer, is in the way of nobody.
type courier struct {
	g      *Gate
	outbox *outbox
	recent time.Time // what was due by then has been offered
	older  errand
	calls  sync.WaitGroup
}

func (g *Gate) newCourier() *courier {
	now := g.now()
	return &courier{g: g, outbox: newOutbox(), recent: now, older: errand{queue: store.Calls, done: now}}
}

// work works until ctx ends, and returns when the deliveries that it has begun have ended.
func (c *courier) work(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	defer c.calls.Wait()
	for all := true; ; {
		more, err := c.dispatch(ctx, all)
		if err != nil && ctx.Err() == nil {
			c.g.log.Error().Err(err).Msg("looking for callbacks")
		}
		if all = false; more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			all = true
		case <-c.g.owed:
		}
	}
}

// dispatch begins the deliveries that have become due since the last time, or has them wait in memory; and so a page of all that are due, if all says so, or it has
// begun with that. It tells whether there is more to be read.
func (c *courier) dispatch(ctx context.Context, all bool) (more bool, err error) {
	now := c.g.now()
	offer := func(page []store.Entry) error { return c.offer(ctx, page) }
	for page, err := range c.g.agenda(ctx, store.Entry{Queue: store.Calls, Due: earlier(c.recent, now).Add(-lag)}, now) {
		if err == nil {
			err = offer(page)
		}
		if err != nil {
			return false, err
		}
	}
	c.recent = now
	if all {
		c.older.begin(false, now)
	}
	err = c.older.step(ctx, c.g, now, offer)
	return c.older.round.under, err
}

// offer begins a delivery for each of page, or has it wait in memory. Where too many wait for their receiver it is put off, many side by side, so that they share
// the ledger's syncs.
func (c *courier) offer(ctx context.Context, page []store.Entry) error {
	var full errgroup.Group
	full.SetLimit(recoverAtOnce)
	defer full.Wait() //nolint:errcheck // there are none
	whole := context.WithoutCancel(ctx)
	for _, e := range page {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.outbox.has(e.ID) || c.g.flights.of(e.ID) != nil {
			continue
		}
		r, ok := c.g.due(whole, e.ID)
		switch to := receiver(&r); {
		case !ok || r.State != store.Queued || r.Kind != store.Callback:
		case c.outbox.full(to):
			full.Go(func() error { c.g.putOff(whole, e.ID); return nil })
		case c.outbox.admit(e.ID, to):
			c.calls.Go(func() { c.call(ctx, e.ID, to) })
		}
	}
	return nil
}

// call delivers a callback that has a slot in the outbox, and those to which it passes that on.
func (c *courier) call(ctx context.Context, id store.ID, to string) {
	for calls := true; calls && ctx.Err() == nil && !c.g.draining.Load(); id, to, calls = c.outbox.next(id, to) {
		c.g.send(context.WithoutCancel(ctx), id)
	}
}
