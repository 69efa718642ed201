package core

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Defer lets clients ask for asynchronous execution: what is accepted is executed with exec, by Work. What an earlier process accepted and
// did not send is executed as well.
func (g *Gate) Defer(exec Executor) {
	g.executor.Store(&exec)
	g.nudge(g.nudged)
}

// Work does what is due of what was accepted to be done later, and of what is unknown, Config.Workers at a time, and delivers callbacks beside that, until
// ctx ends; it returns when they have finished what they had begun. It reads the agenda, and nothing but the agenda.
func (g *Gate) Work(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	calls.Go(func() { g.newCourier().work(ctx) })
	g.newCrew().work(ctx)
}

// nudge tells the workers, or the courier, that there is something to do.
func (g *Gate) nudge(whom ...chan struct{}) {
	for _, one := range whom {
		select {
		case one <- struct{}{}:
		default:
		}
	}
}

// lag is how long after it is due an action may come onto the agenda: the time is taken before it is written. What takes longer is found by a look at everything.
const lag = 500 * time.Millisecond

// A crew is who does what is due, but for callbacks.
type crew struct {
	g       *Gate
	slots   chan struct{} // one for each that may be at work
	ends    errand
	starts  errand
	workers sync.WaitGroup
}

func (g *Gate) newCrew() *crew {
	now := g.now()
	return &crew{
		g: g, slots: make(chan struct{}, g.cfg.Workers), ends: errand{queue: store.Ends, done: now}, starts: errand{queue: store.Starts, done: now},
	}
}

// An errand is how far a queue of the agenda has been read. A round begins with what is due, or, if somebody says that there is something new, with what has become due
// since the last one ended.
type errand struct {
	queue store.Queue
	round round
	done  time.Time // what was due by then was read when the last round ended
}

// begin begins a round, unless one is under way.
func (e *errand) begin(nudged bool, now time.Time) {
	if e.round.under {
		return
	}
	at := store.Entry{Queue: e.queue}
	if nudged {
		at.Due = earlier(e.done, now).Add(-lag)
	}
	e.round.begin(at, e.queue)
}

// step does a page of the round.
func (e *errand) step(ctx context.Context, g *Gate, now time.Time, do func(page []store.Entry) error) error {
	err := g.step(ctx, &e.round, now, agendaPage, do)
	if !e.round.under {
		e.done = now
	}
	return err
}

// work works until ctx ends.
func (c *crew) work(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	defer c.workers.Wait()
	for nudged := false; ; {
		more, err := c.dispatch(ctx, nudged)
		if err != nil && ctx.Err() == nil {
			c.g.log.Error().Err(err).Msg("looking for accepted actions")
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			nudged = false
		case <-c.g.nudged:
			nudged = true
		}
	}
}

// dispatch starts a worker for each action of a page of what is due, as far as there are slots, soonest first: of those whose end is to be found, and of those that are
// to be executed, if anybody does, so that however many wait of the ones the others have their turn. It waits for slots, and so for the work, but not for a client.
// It tells whether there is more to be read.
func (c *crew) dispatch(ctx context.Context, nudged bool) (more bool, err error) {
	now := c.g.now()
	for _, e := range []*errand{&c.ends, &c.starts} {
		if e == &c.starts && c.g.executor.Load() == nil {
			continue
		}
		e.begin(nudged, now)
		if err := e.step(ctx, c.g, now, func(page []store.Entry) error { return c.offer(ctx, page) }); err != nil {
			return false, err
		}
		more = more || e.round.under
	}
	return more, nil
}

// offer starts a worker for each of page that is not under way.
func (c *crew) offer(ctx context.Context, page []store.Entry) error {
	for _, e := range page {
		if c.g.flights.of(e.ID) != nil {
			continue
		}
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if c.g.draining.Load() {
			<-c.slots
			return nil
		}
		c.workers.Go(func() {
			defer func() { <-c.slots }() // however a handler ends (runtime.Goexit)
			c.g.take(context.WithoutCancel(ctx), e.ID)
		})
	}
	return nil
}

// due returns an action on the agenda, if it waits for somebody now. Who is about to change it has begun its flight: of one that begins while the gate drains, whoever
// waits for the flights may not know, so it is left to the next process.
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

// take does what an action on the agenda waits for, if it waits for a worker.
func (g *Gate) take(ctx context.Context, id store.ID) {
	fl, first := g.flights.begin(id)
	if !first {
		return
	}
	defer g.flights.end(id, fl)
	r, ok := g.due(ctx, id)
	if !ok {
		return
	}
	switch {
	case r.State == store.Unknown:
		g.flights.decide(fl)
		g.resolve(ctx, fl, r)
	case r.State == store.Burned && !r.Due.IsZero():
		g.tellBurned(ctx, &r)
	case r.State != store.Queued || r.Kind == store.Callback:
	default:
		if exec := g.executor.Load(); exec != nil {
			g.perform(ctx, fl, *exec, r)
		}
	}
	if r.Kind == store.Compensation {
		g.followUp(ctx, &r)
	}
}
