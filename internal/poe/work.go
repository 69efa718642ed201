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
	g.nudge()
}

// Work does what is due of what was accepted to be done later, and of what is unknown, Config.Workers at a time, and delivers callbacks beside that, until
// ctx ends; it returns when they have finished what they had begun. It reads the agenda, and nothing but the agenda.
func (g *Gate) Work(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	c := g.newCrew()
	defer c.workers.Wait()
	for {
		if err := c.dispatch(ctx); err != nil && ctx.Err() == nil {
			g.log.Error().Err(err).Msg("looking for accepted actions")
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-g.nudged:
		}
	}
}

// A crew is who does what is due.
type crew struct {
	g       *Gate
	slots   chan struct{} // one for each that may be at work
	outbox  *outbox
	workers sync.WaitGroup
}

func (g *Gate) newCrew() *crew {
	return &crew{g: g, slots: make(chan struct{}, g.cfg.Workers), outbox: newOutbox()}
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
	g := c.g
	ids, err := g.store.Agenda(ctx, g.now(), c.outbox.len()+agendaPage)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if g.flights.of(id) != nil || c.outbox.waits(id) {
			continue
		}
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if g.draining.Load() {
			<-c.slots
			return nil
		}
		c.workers.Go(func() {
			to, calls := c.take(context.WithoutCancel(ctx), id)
			for ; calls && ctx.Err() == nil && !g.draining.Load(); id, to, calls = c.outbox.next(to) {
				g.send(context.WithoutCancel(ctx), id)
			}
		})
	}
	return nil
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
