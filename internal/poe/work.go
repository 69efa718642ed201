package core

import (
	"context"
	"errors"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Defer lets clients ask for asynchronous execution: what is accepted is executed with exec, by Work. What an earlier process accepted and
// did not send is executed as well.
func (g *Gate) Defer(exec Executor) {
	g.executor.Store(&exec)
	g.nudge()
}

// Work does what is due of what was accepted to be done later, and of what is unknown, Config.Workers at a time, and delivers callbacks beside that, until
// ctx ends; it returns when they have finished what they had begun. It reads the agenda, and nothing but the agenda.
func (g *Gate) Work(ctx context.Context) {
	c := g.newCrew()
	defer c.look.Stop()
	defer c.workers.Wait()
	for {
		if err := c.dispatch(ctx); err != nil && ctx.Err() == nil {
			g.log.Error().Err(err).Msg("looking for accepted actions")
		}
		select {
		case <-ctx.Done():
			return
		case <-c.look.C:
		case <-g.nudged:
		}
	}
}

// A crew is who does what is due.
type crew struct {
	g       *Gate
	slots   chan struct{} // one for each that may be at work
	outbox  *outbox
	look    *time.Ticker // when the agenda is looked at, though nobody says that there is something
	others  map[store.ID]struct{}
	workers sync.WaitGroup
}

func (g *Gate) newCrew() *crew {
	return &crew{g: g, slots: make(chan struct{}, g.cfg.Workers), outbox: newOutbox(), look: time.NewTicker(time.Second)}
}

// nudge tells the workers that there is something to do.
func (g *Gate) nudge() {
	select {
	case g.nudged <- struct{}{}:
	default:
	}
}

// dispatch starts a worker for each action that is due, as far as there are slots; it waits for one, and so for the work, but not for
// a client, nor for whoever is called back.
func (c *crew) dispatch(ctx context.Context) error {
	for id, err := range c.idle(ctx) {
		if err != nil {
			return err
		}
		if err := c.slot(ctx); err != nil {
			return err
		}
		if c.g.draining.Load() {
			<-c.slots
			return nil
		}
		c.workers.Go(func() {
			if to, calls := c.take(context.WithoutCancel(ctx), id); calls {
				c.call(ctx, id, to)
			}
		})
	}
	return nil
}

// idle reads what is due, soonest first, and neither under way here nor waiting for a slot among the callbacks.
func (c *crew) idle(ctx context.Context) iter.Seq2[store.ID, error] {
	return func(yield func(store.ID, error) bool) {
		for page, err := range c.g.agenda(ctx, store.Entry{}, c.g.now()) {
			if err != nil {
				yield(store.ID{}, err)
				return
			}
			for _, e := range page {
				if c.g.flights.of(e.ID) == nil && !c.outbox.waits(e.ID) && !yield(e.ID, nil) {
					return
				}
			}
		}
	}
}

// slot waits for a slot, and has callbacks delivered meanwhile.
func (c *crew) slot(ctx context.Context) error {
	for {
		select {
		case c.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-c.look.C:
			if err := c.callbacks(ctx); err != nil {
				return err
			}
		}
	}
}

// callbacks begins the deliveries that are due, while all slots are taken. What else is due is looked up once, and remembered as long as it is.
func (c *crew) callbacks(ctx context.Context) error {
	g, others := c.g, map[store.ID]struct{}{}
	for id, err := range c.idle(ctx) {
		if err != nil {
			return err
		}
		if len(c.slots) < cap(c.slots) { // whoever is free comes first; this goes on at the next tick
			maps.Copy(others, c.others)
			break
		}
		if _, is := c.others[id]; is {
			others[id] = struct{}{}
			continue
		}
		switch r, err := g.store.Lookup(ctx, store.ByID(id)); {
		case err != nil: // whoever has a slot for it says so
		case r.Kind != store.Callback:
			others[id] = struct{}{}
		case c.outbox.full(receiver(&r)):
		default:
			if to, calls := g.take(context.WithoutCancel(ctx), id, c.outbox); calls {
				c.workers.Go(func() { c.call(ctx, id, to) })
			}
		}
	}
	c.others = others
	return nil
}

// call delivers a callback that has a slot among them, and those to which it passes that on.
func (c *crew) call(ctx context.Context, id store.ID, to string) {
	for calls := true; calls && ctx.Err() == nil && !c.g.draining.Load(); id, to, calls = c.outbox.next(to) {
		c.g.send(context.WithoutCancel(ctx), id)
	}
}

// take is Gate.take in a slot, which is given back however a handler ends (runtime.Goexit).
func (c *crew) take(ctx context.Context, id store.ID) (to string, calls bool) {
	defer func() { <-c.slots }()
	return c.g.take(ctx, id, c.outbox)
}

// due returns an action on the agenda, if it waits for somebody now. Its flight has begun: of one that begins while the gate drains, whoever waits for the
// flights may not know, so it is left to the next process.
func (g *Gate) due(ctx context.Context, id store.ID) (store.Record, bool) {
	if g.draining.Load() {
		return store.Record{}, false
	}
	r, err := g.store.Lookup(ctx, store.ByID(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		g.log.Error().Err(err).Stringer("id", id).Msg("looking up an accepted action")
	}
	return r, err == nil && !r.Due.After(g.now())
}

// take does what an action on the agenda waits for, if it waits for a worker. A callback it leaves to its caller if there is a slot for it, and returns
// whom that is to.
func (g *Gate) take(ctx context.Context, id store.ID, box *outbox) (to string, calls bool) {
	fl, first := g.flights.begin(id)
	if !first {
		return "", false
	}
	defer g.flights.end(id, fl)
	r, ok := g.due(ctx, id)
	if !ok {
		return "", false
	}
	switch {
	case r.State == store.Unknown:
		g.flights.decide(fl)
		g.resolve(ctx, fl, r)
	case r.State == store.Burned && !r.Due.IsZero():
		g.tellBurned(ctx, r)
	case r.State != store.Queued:
	case r.Kind == store.Callback:
		if to = receiver(&r); box.full(to) {
			g.putOff(ctx, r)
			return "", false
		}
		return to, box.admit(id, to)
	default:
		if exec := g.executor.Load(); exec != nil {
			g.perform(ctx, fl, *exec, r)
		}
	}
	if r.Kind == store.Compensation {
		g.followUp(ctx, &r)
	}
	return "", false
}
