package core

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Housekeeping does at once what Run does every second.
func Housekeeping(ctx context.Context, g *Gate) {
	if err := Overdue(ctx, g); err != nil && ctx.Err() == nil {
		panic(err)
	}
}

// Overdue is Housekeeping with a ledger that may fail.
func Overdue(ctx context.Context, g *Gate) error {
	w := g.newWatch()
	for w.round.under {
		if err := g.look(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// Waiting returns how many requests wait for an execution to end.
func Waiting(g *Gate) int { return int(g.waiting.n.Load()) }

// Sweeping does at once what Run does every minute.
func Sweeping(ctx context.Context, g *Gate) {
	for g.hasten(); g.ahead.under; {
		if err := g.hastenSome(ctx); err != nil {
			panic(err)
		}
	}
	if err := g.sweep(ctx); err != nil {
		panic(err)
	}
}

// AgendaPage is how many entries of the agenda are asked for at a time.
const AgendaPage = agendaPage

// A House is what Run looks with, a second or a minute at a time.
type House struct{ w *watch }

// NewHouse returns one that has seen nothing.
func NewHouse(g *Gate) House { return House{g.newWatch()} }

// Second does what Run does every second.
func (h House) Second(ctx context.Context) error {
	return errors.Join(h.w.g.look(ctx, h.w), h.w.g.hastenSome(ctx))
}

// Minute does what Run does every minute, but for the sweep.
func (h House) Minute() {
	h.w.again()
	h.w.g.hasten()
}

// A Crew is what Work works with, a look at a time.
type Crew struct{ c *crew }

// NewCrew returns one of which nobody is at work.
func NewCrew(g *Gate) Crew { return Crew{g.newCrew()} }

// Dispatch begins what is due, a page of each queue, waits until it is done, and tells whether there is more.
func (c Crew) Dispatch(ctx context.Context, nudged bool) (more bool, err error) {
	defer c.c.workers.Wait()
	return c.c.dispatch(ctx, nudged)
}

// A Courier is what Work has callbacks delivered by, a look at a time.
type Courier struct{ c *courier }

// NewCourier returns one that has nothing under way.
func NewCourier(g *Gate) Courier { return Courier{g.newCourier()} }

// Dispatch begins the deliveries that are due, of older ones a page if all says so, waits until they are done, and tells whether there is more.
func (c Courier) Dispatch(ctx context.Context, all bool) (more bool, err error) {
	defer c.c.calls.Wait()
	return c.c.dispatch(ctx, all)
}

// Hold gives a callback a slot, as if its delivery were about to begin.
func (c Courier) Hold(id store.ID, host string) { c.c.outbox.admit(id, host) }

// Hang has so many deliveries to host under way, for ever or until release is called, and no room for others to wait in.
func (c Courier) Hang(host string) (release func()) {
	o := c.c.outbox
	o.room, o.calling[host] = 0, callsPerHost
	return func() { o.room, o.calling[host] = callsWaiting, 0 }
}

// WorkOnce does at once all that a worker, or the courier, finds to do.
func WorkOnce(ctx context.Context, g *Gate) { workOnce(ctx, g.newCrew(), g.newCourier()) }

// WorkOnceCrowded is WorkOnce where so many callbacks may wait in memory.
func WorkOnceCrowded(ctx context.Context, g *Gate, room int) {
	c := g.newCourier()
	c.outbox.room = room
	workOnce(ctx, g.newCrew(), c)
}

func workOnce(ctx context.Context, w *crew, c *courier) {
	defer w.workers.Wait()
	defer c.calls.Wait()
	for more := true; more; {
		var err, err2 error
		var calls bool
		calls, err = c.dispatch(ctx, true)
		more, err2 = w.dispatch(ctx, false)
		if err := errors.Join(err, err2); err != nil {
			panic(err)
		}
		w.workers.Wait()
		more = more || calls
	}
}

// OutcomePath is the address of an action's outcome.
func OutcomePath(g *Gate, id store.ID) string { return string(g.appendOutcome(nil, id)) }

// Remembered tells whether the head of an action's stored answer is kept ready, and how many of its 405s are.
func Remembered(g *Gate, id store.ID) (head bool, refusals int) {
	h := g.front.Get(id)
	if h == nil || h.Aside.Load() == nil {
		return false, 0
	}
	kept := h.Aside.Load()
	for i := range kept.refusals {
		if kept.refusals[i].Load() != nil {
			refusals++
		}
	}
	return kept.stored.Load() != nil, refusals
}

// NewReservoir returns one that nothing was drawn from.
func NewReservoir(source io.Reader) io.Reader { return &reservoir{source: source} }

// LimitWrite ends writing to a client after d, unless it is stopped.
func LimitWrite(w http.ResponseWriter, d time.Duration) (stop func()) { return limitWrite(w, d).Stop }

// Limits are the times of what is under way.
type Limits struct{ l *limits }

// NewLimits returns none.
func NewLimits() Limits { return Limits{newLimits()} }

// BeginReading gives the body of the request that w answers so long, and returns what lifts that.
func (l Limits) BeginReading(w http.ResponseWriter, d time.Duration) (lift func()) {
	r := l.l.beginReading(w, d)
	return func() { l.l.endReading(r) }
}
