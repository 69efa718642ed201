package core

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/store"
)

// recoverAtOnce is how many records recovery settles, or hastens, side by side, so that they share the ledger's syncs; agendaPage is
// how many it asks for at a time.
const (
	recoverAtOnce = 64
	agendaPage    = 1024
)

// latest is when the last is due that is not left to a person.
var latest = store.Person.Add(-time.Millisecond)

// Recover settles what an earlier process left running, and has what a clock that was ahead has put off done now. Call it before the first request. In a
// ledger that belongs to one process whatever runs has lost its owner; in a shared one only what is overdue.
func (g *Gate) Recover(ctx context.Context) error {
	due := g.now()
	if g.store.Exclusive() {
		due = latest
	}
	queues := []store.Queue{store.Ends}
	if !g.restored.IsZero() { // what was accepted may have been sent since
		queues = append(queues, store.Starts)
	}
	n, w := 0, g.newWatch()
	for _, q := range queues {
		for page, err := range g.agenda(ctx, store.Entry{Queue: q}, due) {
			settled := 0
			if err == nil {
				settled, err = w.settle(ctx, page, due)
			}
			if n += settled; err != nil {
				return fmt.Errorf("recovering: %w", err)
			}
		}
	}
	for g.hastenFrom(g.now().Add(g.longestWait(store.Request))); g.ahead.under; {
		if err := g.hastenSome(ctx); err != nil {
			return fmt.Errorf("recovering: %w", err)
		}
	}
	if n > 0 {
		g.log.Warn().Int("actions", n).Msg("actions were running when an earlier process ended: their outcome is unknown, or they are unused where surely nothing was sent")
	}
	return nil
}

// Run keeps house until ctx ends: it settles claims whose owner is gone, releases orphans, forgets what is past its
// retention, and looks for what a clock that was ahead has put off. It returns nil at the end of ctx.
func (g *Gate) Run(ctx context.Context) error {
	look, sweep := time.NewTicker(time.Second), time.NewTicker(time.Minute)
	defer look.Stop()
	defer sweep.Stop()
	w := g.newWatch()
	g.forget(ctx) // one that is restarted often would never come to it
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if err := g.look(ctx, w); err != nil && ctx.Err() == nil {
				g.log.Error().Err(err).Msg("looking for abandoned actions")
			}
			if err := g.hastenSome(ctx); err != nil && ctx.Err() == nil {
				g.log.Error().Err(err).Msg("looking for what a wrong clock has put off")
			}
		case <-sweep.C:
			w.again()
			g.hasten()
			g.forget(ctx)
		case <-g.past:
			g.forget(ctx)
		}
	}
}

// look does what is due every second.
func (g *Gate) look(ctx context.Context, w *watch) error {
	now := g.now()
	if !g.hastened.IsZero() && now.After(g.hastened) { // hasten comes by too seldom to see a clock that is ahead for some seconds
		g.hastened = now
	}
	g.releaseOrphans(ctx)
	return w.look(ctx, now)
}

// forget sweeps, and says so if it could not.
func (g *Gate) forget(ctx context.Context) {
	if err := g.sweep(ctx); err != nil && ctx.Err() == nil {
		g.log.Error().Err(err).Msg("sweeping the ledger")
	}
}

// A round goes through queues of the agenda a page at a time, and goes on where it stopped.
type round struct {
	under bool        // it is under way
	at    store.Entry // what it has come to
	last  store.Queue // the one with which it ends
	from  time.Time   // where it begins in those behind its first
}

// begin begins a round behind at, which ends with the queue last.
func (r *round) begin(at store.Entry, last store.Queue) {
	*r = round{under: true, at: at, last: last}
}

// past says that page is done, and whether there may be more in its queue.
func (r *round) past(page []store.Entry, more bool) {
	switch {
	case more:
		r.at = page[len(page)-1]
	case r.at.Queue < r.last:
		r.at = store.Entry{Queue: r.at.Queue + 1, Due: r.from}
	default:
		r.under = false
	}
}

// A watch is how far Run has looked for what has lost its owner. That is under way, so it stands on the agenda long before it is due, and is found in the second in
// which it is. What could not be settled then is found by a round, which a minute begins, through all whose end is due: among what waits for a worker to find that
// out, and is none of its business, a page each second.
type watch struct {
	g     *Gate
	until time.Time                // what was due by then has been looked at
	alive map[store.Entry]struct{} // what is at work for longer than its time, and looked at until it is not
	round round
}

// newWatch returns one that has seen nothing.
func (g *Gate) newWatch() *watch {
	w := &watch{g: g, until: g.now(), alive: map[store.Entry]struct{}{}}
	w.again()
	return w
}

// again begins a round, unless one is under way.
func (w *watch) again() {
	if !w.round.under {
		w.round.begin(store.Entry{Queue: store.Ends}, store.Ends)
	}
}

// look settles what has lost its owner since the last look, and what a page of the round finds.
func (w *watch) look(ctx context.Context, now time.Time) error {
	var ended []store.Entry
	for e := range w.alive {
		if w.g.flights.of(e.ID) == nil {
			ended = append(ended, e)
		}
	}
	if _, err := w.settle(ctx, ended, now); err != nil {
		return err
	}
	for _, e := range ended {
		delete(w.alive, e)
	}
	for page, err := range w.g.agenda(ctx, store.Entry{Queue: store.Ends, Due: w.until}, now) {
		if err == nil {
			_, err = w.settle(ctx, page, now)
		}
		if err != nil {
			return err
		}
		if n := len(page); n > 0 {
			w.until = page[n-1].Due
		}
	}
	w.until = now
	return w.g.step(ctx, &w.round, now, agendaPage, func(page []store.Entry) error {
		_, err := w.settle(ctx, page, now)
		return err
	})
}

// settle settles what of a page is under way, due, and not alive in this process. It returns how many those were.
func (w *watch) settle(ctx context.Context, page []store.Entry, due time.Time) (n int, err error) {
	g := w.g
	marked := make([]bool, len(page))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(recoverAtOnce)
	for i, e := range page {
		if g.flights.of(e.ID) != nil {
			w.alive[e] = struct{}{}
			continue
		}
		group.Go(func() (err error) {
			if marked[i], err = g.abandon(ctx, e.ID, due); errors.Is(err, store.ErrInvalid) {
				g.log.Error().Err(err).Stringer("id", e.ID).Msg("settling what was abandoned: it is left as it is")
				return nil // one that cannot be settled is not in the way of the others
			}
			return err
		})
	}
	err = group.Wait()
	for _, m := range marked {
		if m {
			n++
		}
	}
	return n, err
}

// step does the next n entries of a round that is under way, of what is due by then. What had an error the next step does again.
func (g *Gate) step(ctx context.Context, r *round, due time.Time, n int, do func(page []store.Entry) error) error {
	for r.under && n > 0 {
		page, err := g.store.Agenda(ctx, r.at, due, n)
		if err != nil {
			return fmt.Errorf("reading the agenda: %w", err)
		}
		if err := do(page); err != nil {
			return err
		}
		r.past(page, len(page) == n)
		n -= len(page)
	}
	return nil
}

// agenda reads what is in the queue of at behind that, and due by then, page by page, soonest first. An error is the last that it tells; what moves meanwhile it may tell
// twice.
func (g *Gate) agenda(ctx context.Context, at store.Entry, due time.Time) iter.Seq2[[]store.Entry, error] {
	return func(yield func([]store.Entry, error) bool) {
		for {
			page, err := g.store.Agenda(ctx, at, due, agendaPage)
			if err != nil {
				yield(nil, fmt.Errorf("reading the agenda: %w", err))
				return
			}
			if !yield(page, nil) || len(page) < agendaPage {
				return
			}
			at = page[len(page)-1]
		}
	}
}

// abandon settles one action whose owner is gone, unless it lives or has moved on. It is unknown, but where its mark would have come before
// the first byte and is not there: then nothing was sent.
func (g *Gate) abandon(ctx context.Context, id store.ID, due time.Time) (bool, error) {
	if g.flights.of(id) != nil {
		return false, nil // a handler that takes longer than its time is still at work
	}
	r, err := g.store.Lookup(ctx, store.ByID(id))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up %s: %w", id, err)
	}
	if g.inDoubt(&r) {
		if r, err = g.doubtAccepted(ctx, r); err != nil {
			return false, fmt.Errorf("doubting %s: %w", id, err)
		}
	}
	if r.State != store.Running && r.State != store.Sent || r.Due.After(due) {
		return false, nil
	}
	killpoint.Hit("recovering")
	next, why := g.unsent(&r), nothingSent
	if r.State != store.Running || r.Way != store.Marked || g.outdated(&r) {
		why = "the process that executed it ended before an answer was recorded"
		next = r
		next.State, next.Term, next.Finished, next.Status = store.Unknown, g.newTerm(), g.now(), 0
		g.unresolved(&next)
	}
	next.Note(event(&r, &next, "recovery", why))
	got, _, err := g.writeEnd(ctx, &r, &next)
	if errors.Is(err, store.ErrStale) {
		return false, nil // its owner lives, and was quicker
	}
	if err != nil {
		return false, fmt.Errorf("abandoning %s: %w", id, err)
	}
	killpoint.Hit("recovered")
	g.metrics.rests(phaseOf(got.State))
	if got.State == store.Unknown {
		g.sayUnknown(got, why)
	}
	return true, nil
}

// nothingSent is why a marked action that was running when its process ended is unused.
const nothingSent = "nothing was sent: the process that had claimed it ended before its mark"

// releaseOrphans frees claims under which surely nothing was sent.
func (g *Gate) releaseOrphans(ctx context.Context) {
	for id, terms := range g.orphans.all() {
		if g.flights.of(id) != nil {
			continue
		}
		r, err := g.store.Lookup(ctx, store.ByID(id))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return // the ledger is still away
		}
		if err == nil && slices.Contains(terms, r.Term) && !g.release(ctx, r) {
			return
		}
		g.orphans.remove(id, terms)
	}
}

// notConfirmed is why a claim, or a mark, is taken back.
const notConfirmed = "nothing was sent: the ledger did not confirm the claim in time"

// release takes back a mark under which surely nothing was sent. It returns false where the ledger does not answer.
func (g *Gate) release(ctx context.Context, r store.Record) bool {
	if r.State != store.Running && r.State != store.Sent {
		return true
	}
	next := g.unsent(&r)
	next.Note(store.Event{At: g.now(), From: r.State, To: next.State, Who: "engine", Why: notConfirmed})
	_, err := g.writeAdvance(ctx, &r, &next, g.also(ctx, &r, &next))
	return err == nil || errors.Is(err, store.ErrStale)
}

// sweep forgets what is past, step by step.
func (g *Gate) sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		s, err := g.store.Sweep(ctx, g.now())
		if err != nil {
			return err
		}
		killpoint.Hit("swept")
		g.metrics.swept.Add(float64(s.Records))
		if !s.More {
			return nil
		}
	}
	return nil
}

// longestWait is how far ahead anything is put off: a callback by a day, and its jitter (webhook.Wait); all else by less, but for what an execution may take.
func (g *Gate) longestWait(k store.Kind) time.Duration {
	if k == store.Callback {
		return 27 * time.Hour
	}
	return max(2*time.Hour, g.cfg.Timeout+claimMargin) // Retry-After is honoured up to an hour
}

// hasten begins to have done now what is due later than it would ever be put off: then the clock was ahead, and has been corrected. It would wait until that time
// comes, a year perhaps. What is counted from a time that has not come counts from now. Where the clock has been set back, and once in each process, whatever has been
// put off at a time that has not come is looked for as well: by a clock that was ahead by an hour it is due no later than it may be.
func (g *Gate) hasten() {
	now := g.now()
	switch {
	case g.hastened.IsZero(), now.Before(g.hastened):
		g.hastenFrom(now)
	case !g.ahead.under:
		g.hastenFrom(now.Add(g.longestWait(store.Request)))
	}
	g.hastened = now
}

// hastenFrom begins a round through what is due later than that.
func (g *Gate) hastenFrom(due time.Time) {
	g.ahead.begin(store.Entry{Due: due}, store.Ends)
	g.ahead.from = due
}

// hastenSome does a page of what hasten has begun.
func (g *Gate) hastenSome(ctx context.Context) error {
	now := g.now()
	return g.step(ctx, &g.ahead, latest, agendaPage, func(page []store.Entry) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(recoverAtOnce)
		for _, e := range page {
			group.Go(func() error { return g.hastenOne(ctx, e, now) })
		}
		return group.Wait()
	})
}

// hastenOne is hasten for one action, unless it lives or has moved on.
func (g *Gate) hastenOne(ctx context.Context, e store.Entry, now time.Time) error {
	if g.flights.of(e.ID) != nil {
		return nil
	}
	r, err := g.store.Lookup(ctx, store.ByID(e.ID))
	if errors.Is(err, store.ErrNotFound) || err == nil && !r.Due.Equal(e.Due) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking up %s: %w", e.ID, err)
	}
	if !r.Due.After(now.Add(g.longestWait(r.Kind))) && !moved(&r).After(now.Add(time.Minute)) { // the clock of another process may be a little ahead
		return nil
	}
	next := r
	next.Term, next.Due = g.newTerm(), now
	if r.State.Open() {
		next.Claimed, next.Finished = earlier(r.Claimed, now), earlier(r.Finished, now)
	}
	g.log.Warn().Stringer("id", r.ID).Time("due", r.Due).Msg("an action was put off by a clock that was ahead: it is looked at now")
	switch _, err := g.writeAdvance(ctx, &r, &next, store.Also{}); {
	case err == nil, errors.Is(err, store.ErrStale):
	case errors.Is(err, store.ErrInvalid): // as in overdue: it is not in the way of the others
		g.log.Error().Err(err).Stringer("id", e.ID).Msg("having an action done now that was put off by a clock that was ahead: it is left as it is")
	default:
		return fmt.Errorf("having %s done now: %w", e.ID, err)
	}
	return nil
}

// moved is when r was moved last, as far as it says.
func moved(r *store.Record) time.Time {
	at := r.Claimed
	if r.Finished.After(at) {
		at = r.Finished
	}
	if n := len(r.History); n > 0 && r.History[n-1].At.After(at) {
		at = r.History[n-1].At
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
