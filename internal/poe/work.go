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

// Work does what is due of what was accepted to be done later, and of what is unknown, callbacks included, Config.Workers at a time, until ctx
// ends; it returns when they have finished what they had begun. It reads the agenda, and nothing but the agenda.
func (g *Gate) Work(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	slots := make(chan struct{}, g.cfg.Workers)
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		if err := g.dispatch(ctx, slots, &workers); err != nil && ctx.Err() == nil {
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

// nudge tells the workers that there is something to do.
func (g *Gate) nudge() {
	select {
	case g.nudged <- struct{}{}:
	default:
	}
}

// dispatch starts a worker for each action that is due, as far as there are slots; it waits for one, and so for the work, but not for
// a client.
func (g *Gate) dispatch(ctx context.Context, slots chan struct{}, workers *sync.WaitGroup) error {
	ids, err := g.store.Agenda(ctx, g.now(), agendaPage)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if g.flights.of(id) != nil {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if g.draining.Load() {
			<-slots
			return nil
		}
		workers.Go(func() {
			defer func() { <-slots }()
			g.take(context.WithoutCancel(ctx), id)
		})
	}
	return nil
}

// take does what an action on the agenda waits for, if it waits for a worker.
func (g *Gate) take(ctx context.Context, id store.ID) {
	fl, first := g.flights.begin(id)
	if !first {
		return
	}
	defer g.flights.end(id, fl)
	r, err := g.store.Lookup(ctx, store.ByID(id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return
	case err != nil:
		g.log.Error().Err(err).Stringer("id", id).Msg("looking up an accepted action")
		return
	case r.Due.After(g.now()):
		return
	}
	switch {
	case r.State == store.Unknown:
		g.flights.quieten(fl)
		g.resolve(ctx, fl, r)
	case r.State == store.Burned && !r.Due.IsZero():
		g.tellBurned(ctx, r)
	case r.State != store.Queued:
	case r.Kind == store.Callback:
		g.deliver(ctx, r)
	default:
		if exec := g.executor.Load(); exec != nil {
			g.perform(ctx, fl, *exec, r)
		}
	}
	if r.Kind == store.Compensation {
		g.followUp(ctx, &r)
	}
}
