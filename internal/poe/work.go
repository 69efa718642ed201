package core

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	for nudged := false; ; {
		if err := c.dispatch(ctx, nudged); err != nil && ctx.Err() == nil {
			g.log.Error().Err(err).Msg("looking for accepted actions")
		}
		select {
		case <-ctx.Done():
			return
		case <-c.look.C:
			nudged = false
		case <-g.nudged:
			nudged = true
		}
	}
}

// A crew is who does what is due.
type crew struct {
	g       *Gate
	slots   chan struct{} // one for each that may be at work
	outbox  *outbox
	look    *time.Ticker // when the agenda is looked at, though nobody says that there is something
	begun   time.Time    // what was due by then has been begun, or waits where it may
	waiting round        // where nobody executes: through what waits for somebody who does
	recent  store.Entry  // callbacks that became due while all slots were taken have been looked for as far as that
	older   store.Entry  // and those that were due before; the zero Entry: it begins again
	workers sync.WaitGroup
}

func (g *Gate) newCrew() *crew {
	now := g.now()
	return &crew{
		g: g, slots: make(chan struct{}, g.cfg.Workers), outbox: newOutbox(), look: time.NewTicker(time.Second), begun: now, recent: store.Entry{Due: now},
	}
}

// lag is how long after it is due an action may come onto the agenda: the time is taken before it is written. What takes longer is found by a look at everything.
const lag = 500 * time.Millisecond

// nudge tells the workers that there is something to do.
func (g *Gate) nudge() {
	select {
	case g.nudged <- struct{}{}:
	default:
	}
}

// dispatch starts a worker for each action that is due, as far as there are slots; it waits for one, and so for the work, but not for
// a client, nor for whoever is called back. Where it was nudged it begins with what has become due since it came to an end.
func (c *crew) dispatch(ctx context.Context, nudged bool) error {
	now := c.g.now()
	for id, err := range c.idle(ctx, now, nudged) {
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
	c.begun = now
	return nil
}

// idle reads what is due, soonest first, and neither under way here nor waiting for a slot among the callbacks. Where nobody executes most of that stays where
// it is: then it reads what has become due lately, and a page of the rest, going on where it stopped.
func (c *crew) idle(ctx context.Context, now time.Time, nudged bool) iter.Seq2[store.ID, error] {
	return func(yield func(store.ID, error) bool) {
		lately := store.Entry{Due: earlier(c.begun, now).Add(-lag)}
		switch {
		case nudged:
		case c.g.executor.Load() != nil:
			lately = store.Entry{}
		default:
			page, err := c.g.store.Agenda(ctx, c.waiting.at, now, agendaPage)
			c.waiting.past(page)
			if !c.offer(page, err, yield) {
				return
			}
		}
		for page, err := range c.g.agenda(ctx, lately, now) {
			if !c.offer(page, err, yield) {
				return
			}
		}
	}
}

// offer is idle of one page. It returns false where there is no more to be read.
func (c *crew) offer(page []store.Entry, err error, yield func(store.ID, error) bool) bool {
	if err != nil {
		yield(store.ID{}, err)
		return false
	}
	for _, e := range page {
		if !c.engaged(e.ID) && !yield(e.ID, nil) {
			return false
		}
	}
	return true
}

// engaged tells whether an action is under way here, or waits for a slot among the callbacks.
func (c *crew) engaged(id store.ID) bool { return c.g.flights.of(id) != nil || c.outbox.waits(id) }

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

// callbacks begins the deliveries that are due, while all slots are taken: of those that have become due since the last time, and then of those that were due
// before, some pages of each, however many others are due. What is passed over is come to again, in its turn.
func (c *crew) callbacks(ctx context.Context) error {
	now := c.g.now()
	if c.recent.Due.After(now) { // the clock was set back
		c.recent = store.Entry{Due: now}
	}
	if taken, err := c.callbacksBehind(ctx, &c.recent, now); err != nil || !taken {
		return err
	}
	c.recent = store.Entry{Due: now.Add(-lag)}
	_, err := c.callbacksBehind(ctx, &c.older, now)
	return err
}

// callbackPages is how many pages one look for callbacks reads.
const callbackPages = 4

// callbacksBehind is callbacks for what is due behind at, which it moves; at the end to the beginning. It tells whether all slots are still taken: whoever is
// free comes first, and this goes on at the next tick.
func (c *crew) callbacksBehind(ctx context.Context, at *store.Entry, due time.Time) (taken bool, err error) {
	for range callbackPages {
		page, err := c.g.store.Agenda(ctx, *at, due, agendaPage)
		if err != nil {
			return true, fmt.Errorf("reading the agenda: %w", err)
		}
		for _, e := range page {
			if len(c.slots) < cap(c.slots) {
				return false, nil
			}
			c.callback(ctx, e.ID)
			*at = e
		}
		if len(page) < agendaPage {
			*at = store.Entry{}
			break
		}
	}
	return true, nil
}

// callback begins a delivery, or has it wait in memory, if the action is one and there is room for it.
func (c *crew) callback(ctx context.Context, id store.ID) {
	if c.engaged(id) {
		return
	}
	r, err := c.g.store.Lookup(ctx, store.ByID(id))
	if err != nil || r.Kind != store.Callback || c.outbox.full(receiver(&r)) { // of an error says who has a slot for it
		return
	}
	if to, calls := c.g.take(context.WithoutCancel(ctx), id, c.outbox); calls {
		c.workers.Go(func() { c.call(ctx, id, to) })
	}
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
