package core

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// What the policies of recovery have in common. An unknown action whose route has one stands on the agenda, and a worker comes by:
//
//	unknown ──lease──▶ unknown, due later ──try──▶ done │ unused │ unknown, due for the next try │ unknown, left to a person
//
// It stays unknown all the while: a crash at any point leaves a record that is due again, and nobody is told more than is known. The lease is
// a write that replaces the term, so of all who see the action due only one tries, and it is over before the next may.

// A rescue is one try to find out, or to decide, how an unknown action ended.
type rescue struct {
	policy  Recovery
	did     string                                           // for people
	verdict func(end *ending, answer *replay.Answer) rescued // what the try says
	whole   bool                                             // an answer that cannot be recorded whole is none
}

// rescued is what a try says: what the action is now, and in which words that is noted.
type rescued struct {
	state store.State // Done with the answer, Unused, or Unknown: nothing yet
	why   string
}

// policyOf returns how an action may be recovered: as its route says now, if what that takes is there. On the word of an old backup nothing is
// sent again and nothing is taken back.
func (g *Gate) policyOf(r *store.Record) Recovery {
	rt := g.routes.of(r)
	switch {
	case rt == nil, r.Kind != store.Request:
		return RecoveryHold
	case rt.Recovery == RecoveryRepeat && r.Request.Where == store.Nowhere:
		return RecoveryHold // it was claimed when the route said otherwise, and its request is not here
	case rt.Recovery == RecoveryCompensate && !keepsHost(r):
		return RecoveryHold // nor is the host: at another one nobody knows of it
	case (rt.Recovery == RecoveryRepeat || rt.Recovery == RecoveryCompensate) && g.outdated(r):
		return RecoveryHold
	default:
		return rt.Recovery
	}
}

// unresolved says who looks at an action that is about to become unknown: its route's policy, or a person.
func (g *Gate) unresolved(next *store.Record) {
	next.Due = store.Person
	switch g.policyOf(next) {
	case RecoveryHold:
	case RecoveryCompensate:
		g.beginUndo(next)
	default:
		next.Due = g.nextTry(g.routes.of(next), next, nil)
	}
}

// sayUnknown tells operators of an action that has become unknown.
func (g *Gate) sayUnknown(r *store.Record, why string) {
	policy := g.policyOf(r)
	if r.Due.Equal(store.Person) {
		g.metrics.recoveries.WithLabelValues(policy.String(), "person").Inc()
	}
	g.log.Warn().Stringer("id", r.ID).Str("route", r.Route).Str("why", why).Stringer("recovery", policy).
		Msg("nobody knows whether this action was executed")
}

// resolve does what the policy of its route says for an action whose end is unknown. What was begun under another one is ended first.
func (g *Gate) resolve(ctx context.Context, fl *flight, r store.Record) {
	if !r.Undo.IsZero() {
		g.compensated(ctx, r)
		return
	}
	rt, policy := g.routes.of(&r), g.policyOf(&r)
	switch {
	case policy == RecoveryHold:
		g.leave(ctx, r, "its route has no recovery for it")
	case g.passed(r.Finished) >= rt.RecoverFor, r.Resent == math.MaxUint16:
		g.leave(ctx, r, "recovery came to nothing within "+rt.RecoverFor.String())
	case policy == RecoveryCompensate:
		g.takeBack(ctx, r)
	default:
		g.try(ctx, fl, r)
	}
}

// try prepares a try, leases the action for it, and makes it.
func (g *Gate) try(ctx context.Context, fl *flight, r store.Record) {
	a, body, err := g.rescuing(ctx, &r)
	defer func() { body.Release() }() // nil is fine
	switch {
	case g.endedMeanwhile(ctx, &r, err):
		return
	case err != nil:
		g.sayUnsendable(err, r.ID, "preparing a recovery")
		g.renew(ctx, r, "it could not be tried")
		return
	}
	leased := r
	leased.Term, leased.Due = g.newTerm(), g.now().Add(g.cfg.Timeout+claimMargin)
	if a.rescue.policy == RecoveryRepeat {
		leased.Resent = oneMore(leased.Resent)
	}
	if _, err := g.writeAdvance(ctx, &r, &leased, store.Also{}); err != nil { // it has moved on; or the lease may stand, and is over by itself
		g.quarrel(err, &r, "leasing an unknown action: it is not tried")
		return
	}
	end := &ending{status: status{phase: unknown, record: leased}}
	defer end.release()
	g.run(flown{flight: fl, client: ctx, detached: ctx}, a, end)
	if g.hasDeleted(&end.status) {
		g.deleted(ctx, g.createdBefore(ctx, hostAsked(&leased), &leased))
	}
}

// errNobodyExecutes: the program has not said yet who executes what has no client.
var errNobodyExecutes = errors.New("nobody executes what has no client of its own: in a program, Resume was not called")

// rescuing prepares what the policy does. The body, which may be nil, is the caller's to release.
func (g *Gate) rescuing(ctx context.Context, r *store.Record) (*action, *replay.Body, error) {
	a := &action{route: g.routes.of(r)}
	exec := g.executor.Load()
	switch {
	case a.route.Recovery == recoveryFunction:
		return g.asking(a, r), nil, nil
	case exec == nil:
		return nil, nil, errNobodyExecutes
	case a.route.Recovery == RecoveryProbe:
		a.exec = *exec
		return g.probing(a, r)
	default:
		a.exec = *exec
		return g.repeating(ctx, a, r)
	}
}

// conclude makes durable what a try has said. The terms decide between it and what arrives meanwhile: late settles with that.
func (g *Gate) conclude(ctx context.Context, a *action, end *ending, answer *replay.Answer) {
	leased, next := &end.status.record, &end.room
	*next = *leased
	next.Term = g.newTerm()
	now := g.now()
	said := a.rescue.verdict(end, answer)
	e := store.Event{At: now, From: leased.State, Who: "recovery", Why: a.rescue.did + ": " + said.why}
	if answer != nil {
		e.Status = answer.Status
	}
	switch said.state {
	case store.Done:
		next.State, next.Status, next.Finished, next.Due = store.Done, answer.Status, now, time.Time{}
		next.Request = g.finished(ctx, leased)
		next.Response = g.keep(ctx, next, answer)
	case store.Unused:
		notDone(next, now)
		if next.Status = 0; a.rescue.policy == RecoveryRepeat { // what a probe is answered is not the action's
			next.Status = e.Status
		}
	default:
		next.Due = g.nextTry(a.route, leased, answer)
	}
	e.To = next.State
	noteTry(next, e)
	end.status.is(g.advance(ctx, leased, next))
	g.sayRecovered(a.rescue.policy, &end.status, e.Why)
}

// notDone makes r an action that was surely not done. One that was promised to its client cannot be unused: it is void.
func notDone(r *store.Record, now time.Time) {
	void := promised(r)
	r.State, r.Finished, r.Due = store.Unused, now, time.Time{}
	r.Request = idle(r)
	r.Attempt = oneMore(r.Attempt)
	if void {
		r.State = store.Burned
	}
}

// noteTry writes a try into the history. Of tries in a row that ended alike the first and the latest are kept. By a time that has not come, of a clock that was
// ahead, none is the first.
func noteTry(r *store.Record, e store.Event) {
	alike := func(h store.Event) bool {
		return h.Why == e.Why && h.From == e.From && h.To == e.To && h.Who == e.Who && !h.At.After(e.At)
	}
	if n := len(r.History); n >= 2 && alike(r.History[n-1]) && alike(r.History[n-2]) {
		r.History = slices.Clone(r.History[:n-1])
	}
	r.Note(e)
}

// sayRecovered counts what a try has led to, and tells operators.
func (g *Gate) sayRecovered(policy Recovery, s *status, why string) {
	result := "again"
	switch s.phase {
	case done, unused, burned:
		result = s.phase.word()
	default:
	}
	g.metrics.recoveries.WithLabelValues(policy.String(), result).Inc()
	log := g.log.Info()
	if result == "again" {
		log = g.log.Debug()
	}
	log.Stringer("id", s.record.ID).Str("route", s.record.Route).Stringer("recovery", policy).Str("result", result).Str("why", why).
		Msg("an unknown action was looked after")
}

// leftToAPerson begins the line of history that says so.
const leftToAPerson = "left to a person: "

// leave gives an unknown action up: from now on it waits for a person.
func (g *Gate) leave(ctx context.Context, r store.Record, why string) {
	next := r
	next.Term, next.Due = g.newTerm(), store.Person
	next.Note(store.Event{At: g.now(), From: r.State, To: r.State, Who: "recovery", Why: leftToAPerson + why})
	if g.replace(ctx, &r, &next, "leaving an unknown action to a person") {
		policy := g.policyOf(&r)
		g.metrics.recoveries.WithLabelValues(policy.String(), "person").Inc()
		g.log.Warn().Stringer("id", r.ID).Str("route", r.Route).Stringer("recovery", policy).Str("why", why).
			Msg("an unknown action waits for a person")
	}
}

// renew puts an unknown action on the agenda again.
func (g *Gate) renew(ctx context.Context, r store.Record, why string) {
	next := r
	next.Term, next.Due = g.newTerm(), g.nextTry(g.routes.of(&r), &r, nil)
	noteTry(&next, store.Event{At: g.now(), From: r.State, To: r.State, Who: "recovery", Why: why})
	g.replace(ctx, &r, &next, "putting off a recovery")
}

// replace writes next in the place of r, and tells whether it did. An action that has moved on is another's.
func (g *Gate) replace(ctx context.Context, r, next *store.Record, what string) bool {
	got, also, err := g.writeEnd(ctx, r, next)
	if err != nil {
		g.quarrel(err, r, what)
		return false
	}
	g.front.Add(got)
	if len(also.Spawn) > 0 {
		g.nudge(g.nudged, g.owed)
	}
	return true
}

// quarrel logs that a worker's write failed. That somebody else was quicker is no failure.
func (g *Gate) quarrel(err error, r *store.Record, what string) {
	if !errors.Is(err, store.ErrStale) {
		g.log.Error().Err(err).Stringer("id", r.ID).Msg(what)
	}
}

// Pauses between tries.
const (
	firstPause   = time.Second
	longestPause = 5 * time.Minute
)

// pause is how long after a try the next one comes: half as long as the action has been unknown by then, give or take a quarter, so that
// many that became unknown together do not come back together.
func (g *Gate) pause(r *store.Record) time.Duration {
	p := min(max(g.now().Sub(r.Finished)/2, firstPause), longestPause)
	return p*3/4 + rand.N(p/2) //nolint:gosec // nobody gains by guessing it
}

// nextTry is when the next try comes, and when recovery ends at the latest. answer, if there is one, may ask for more time.
func (g *Gate) nextTry(rt *route, r *store.Record, answer *replay.Answer) time.Time {
	wait := g.pause(r)
	if answer != nil {
		if asked, ok := retryAfter(answer); ok {
			wait = max(wait, asked)
		}
	}
	left := rt.RecoverFor - g.passed(r.Finished)
	return g.now().Add(max(min(wait, left), 0))
}
