package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The rider of asynchronous execution: the request is stored, 202 goes out with the outcome's address (RFC 9110, section 15.3.3;
// RFC 7240, section 4.1), and a worker executes it.

// deferred tells whether the request is to be executed later: the route does so with all, or the client prefers it. A preference
// may be ignored, and is where nobody works.
func (c *call) deferred() bool {
	return c.route.Async || c.route.has(doorAsync) && c.g.executor.Load() != nil && prefers(c.r, "respond-async")
}

// accept makes the request durable, to be executed later. It returns when it is, or surely is not; an error that leaves it unknown is the
// ending's err.
func (c *call) accept(end *ending) {
	g := c.g
	switch {
	case g.draining.Load():
		end.refused = errDraining
		return
	case g.executor.Load() == nil:
		end.refused = errNobodyExecutes
		return
	}
	r := &end.status.record
	now := g.now()
	r.Kind, r.State, r.Way, r.Term, r.Claimed, r.Due = store.Request, store.Queued, store.Accepted, g.newTerm(), now, now
	ctx := context.WithoutCancel(c.r.Context())
	kept, err := c.keepRequest(ctx, r.ID, r.Term)
	if err != nil {
		end.refused = fmt.Errorf("%w: storing a request: %w", store.ErrUnavailable, err)
		return
	}
	r.Request = kept
	holder, err := g.writeClaim(ctx, r)
	switch {
	case err == nil:
		g.metrics.won.Inc()
		killpoint.Hit("accepted")
		end.status.is(accepted, r)
		g.nudge(g.nudged)
	case errors.Is(err, store.ErrTaken):
		g.metrics.claims.WithLabelValues("taken").Inc()
		end.lost = true
		end.status.is(phaseOf(holder.State), holder)
	case store.Refused(err):
		g.metrics.claims.WithLabelValues("refused").Inc()
		end.refused = err
	default:
		g.log.Error().Err(err).Stringer("id", r.ID).Msg("accepting: nobody knows whether it was written")
		end.status.phase, end.err = unknown, err
	}
}

// keepRequest returns all that is needed to execute the request later, for the record that is written with that term. It puts a large body beside it.
func (c *call) keepRequest(ctx context.Context, id store.ID, term store.Term) (store.Blob, error) {
	q := c.request(id, 0)
	q.Header.Set("Host", q.Host) // net/http keeps it out of the fields, so it is free
	q.Header.Set("Remote-Addr", q.RemoteAddr)
	q.Header.Set("Remote-Via", q.Via)
	q.Header.Del("Remote-Tls")
	if q.TLS != nil {
		q.Header.Set("Remote-Tls", "1")
	}
	q.Header.Del(callbackKept)
	if address, _ := c.wantsCallback(); address != "" {
		q.Header[callbackKept] = c.kept(address)
	}
	b := store.Blob{Head: replay.EncodeRequestHead(q.Header, q.Trailer), Size: c.body.Size(), Digest: c.digest}
	if b.Size > store.InlineLimit {
		b.Where, b.Part = store.Beside, store.Part{Term: term}
		_, err := c.g.store.Put(ctx, id, b.Part, c.body.Reader())
		killpoint.Hit("request-kept")
		return b, err
	}
	body, err := io.ReadAll(c.body.Reader())
	b.Where, b.Content = store.Inline, body
	return b, err
}

// accepted answers that the request is stored and will be executed; or, if the client waits and the end comes in time, with that: ended answers it.
func (c *call) accepted(s *status, ended func(*status)) {
	g := c.g
	for underWay(s.phase) && g.await(c.r.Context(), s.record.ID, c.waits) {
		now, err := g.stands(c.r.Context(), s.record.ID)
		if err != nil {
			break
		}
		*s = now
	}
	switch s.phase {
	case done:
		ended(s)
		return
	case accepted, sent, running:
		c.decorate(s, http.StatusAccepted)
		if prefers(c.r, "respond-async") {
			c.w.Header().Set("Preference-Applied", "respond-async")
		}
		c.w.Header().Set("Location", g.outcomePath(s))
		g.writeState(c.w, c.r, s)
	default:
		c.refuse(s)
	}
}

// storedRequest is what a worker sends: the request as it was accepted. Its body must be released.
func (g *Gate) storedRequest(ctx context.Context, r *store.Record) (*replay.Request, error) {
	h, trailer, err := replay.DecodeHead(r.Request.Head)
	if err != nil {
		return nil, err
	}
	q := &replay.Request{
		Method: r.Method, Target: r.Target, Host: h.Get("Host"), Header: h, Trailer: trailer,
		RemoteAddr: h.Get("Remote-Addr"), Via: h.Get("Remote-Via"),
	}
	if h.Get("Remote-Tls") != "" {
		q.TLS = &tls.ConnectionState{}
	}
	for _, name := range []string{"Host", "Remote-Addr", "Remote-Via", "Remote-Tls", callbackKept} {
		h.Del(name)
	}
	var content io.Reader = strings.NewReader(string(r.Request.Content))
	if r.Request.Where == store.Beside {
		file, err := g.store.Open(ctx, r.ID, r.Request.Part)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // read only
		content = file
	}
	q.Body = g.cfg.Spool.New()
	n, err := q.Body.CopyLimited(content, r.Request.Size)
	if err == nil && (n != r.Request.Size || q.Body.Digest() != r.Request.Digest) {
		err = store.ErrCorrupt
	}
	if err != nil {
		q.Body.Release()
		return nil, err
	}
	return q, nil
}

// endedMeanwhile tells whether a stored request could not be read because the action is not what r says any more: whoever has ended it has discarded the body.
func (g *Gate) endedMeanwhile(ctx context.Context, r *store.Record, err error) bool {
	if !errors.Is(err, store.ErrNotFound) {
		return false
	}
	now, err := g.store.Lookup(ctx, store.ByID(r.ID))
	return err == nil && now.Term != r.Term
}

// perform executes an accepted action, and settles it. The mark that says so is durable before the first byte goes out: after a crash it
// tells what was sent from what was not.
func (g *Gate) perform(ctx context.Context, fl *flight, exec Executor, r store.Record) {
	rt := g.routeOf(ctx, &r)
	now := g.now()
	switch {
	case g.inDoubt(&r):
		return // it may have been sent since the backup: recovery makes an unknown one of it, or leaves it as it is
	case rt == nil:
		g.postpone(ctx, r, noRoute)
		return
	case r.Kind == store.Compensation && rt.Recovery != RecoveryCompensate:
		g.giveUp(ctx, r, "its route takes nothing back any more")
		return
	case tried(&r) && g.passed(r.Claimed) >= rt.retries(&r):
		g.giveUp(ctx, r, "it could not be executed within the time for that")
		return
	}
	q, err := g.storedRequest(ctx, &r)
	switch {
	case g.endedMeanwhile(ctx, &r, err):
		return
	case err != nil:
		g.sayUnsendable(err, r.ID, "reading an accepted request")
		why := "its request could not be read"
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
			why = lostRequest
		}
		g.postpone(ctx, r, why)
		return
	}
	defer q.Body.Release()
	next := r
	next.State, next.Term, next.Due = store.Sent, g.newTerm(), now.Add(g.cfg.Timeout+claimMargin)
	if _, err := g.writeAdvance(ctx, &r, &next, store.Also{}); err != nil {
		if !store.Refused(err) {
			g.orphans.add(r.ID, next.Term) // nothing was sent under it
		}
		g.quarrel(err, &r, "marking an accepted action as sent: it is not sent")
		return
	}
	killpoint.Hit("marked")
	end := &ending{status: status{phase: sent, record: next}}
	defer end.release()
	a := &action{route: rt, exec: exec, request: func(id store.ID, attempt uint16) *replay.Request {
		q.Forward = forwarded(nil, q.Header, id, attempt)
		return q
	}}
	var there []store.Record
	if r.Method == http.MethodDelete && g.routes.watchDeletions() {
		there = g.created(ctx, q.Host, r.Target)
	}
	g.run(flown{flight: fl, client: ctx, detached: ctx}, a, end)
	if g.hasDeleted(&end.status) {
		g.deleted(ctx, there)
	}
}

// tried tells whether an accepted action was tried since it was accepted, or released: however long it has waited for its turn, it gets one. That the
// process was held up, or could not write that it tries, was none.
func tried(r *store.Record) bool {
	return slices.ContainsFunc(r.History, func(e store.Event) bool {
		return e.From == store.Sent && !e.At.Before(r.Claimed) && e.Why != heldUp && e.Why != notConfirmed
	})
}

// retries is how long an accepted action is tried while it is surely not done.
func (c *route) retries(r *store.Record) time.Duration {
	if r.Kind == store.Compensation {
		return c.RecoverFor
	}
	return c.RetryFor
}

// longestHindrance is how long an accepted action waits for what only a person can mend, such as a route that was taken out by mistake.
const longestHindrance = 24 * time.Hour

// These hindrances end what was accepted. Others, such as a full disk, may last longer, and say nothing of the action.
const (
	noRoute     = "no route has its name any more"
	lostRequest = "its stored request is lost or damaged"
)

// hindered is how long r has waited for one reason: since its history has nothing else, but what a clock that was ahead has noted.
func (g *Gate) hindered(r *store.Record, why string) time.Duration {
	now := g.now()
	since := now
	for _, e := range slices.Backward(r.History) {
		if e.Why != why || e.At.After(now) {
			break
		}
		since = e.At
	}
	return g.passed(since)
}

// postpone leaves an accepted action for a minute, or gives it up where the same was in its way for too long.
func (g *Gate) postpone(ctx context.Context, r store.Record, why string) {
	was, now := r.Term, g.now()
	if (why == noRoute || why == lostRequest) && g.hindered(&r, why) >= longestHindrance {
		g.giveUp(ctx, r, why)
		return
	}
	r.Term, r.Due = g.newTerm(), now.Add(time.Minute)
	noteTry(&r, store.Event{At: now, From: r.State, To: r.State, Who: "engine", Why: why})
	said := g.log.Error()
	if why != lostRequest { // which is of this one alone
		said = g.delayed.Limit(said, g.cfg.Clock())
	}
	said.Stringer("id", r.ID).Str("route", r.Route).Str("why", why).Msg("an accepted action waits")
	if _, err := g.store.Advance(ctx, was, &r, store.Also{}); err != nil && !errors.Is(err, store.ErrStale) {
		g.log.Error().Err(err).Stringer("id", r.ID).Msg("postponing")
	}
}

// giveUp voids an accepted action of which no byte was ever sent, or which has been answered "not done" each time, and that is not to be tried again.
func (g *Gate) giveUp(ctx context.Context, r store.Record, why string) {
	if _, err := g.void(ctx, r, "engine", why); err != nil {
		g.quarrel(err, &r, "giving up an accepted action")
		return
	}
	g.log.Warn().Stringer("id", r.ID).Str("route", r.Route).Str("why", why).Msg("an accepted action is given up")
}

// void burns an accepted action that waits to be sent, or to be sent again. store.ErrStale: it has moved on.
func (g *Gate) void(ctx context.Context, r store.Record, who, why string) (*store.Record, error) {
	next := r
	next.State, next.Term, next.Finished, next.Due = store.Burned, g.newTerm(), g.now(), time.Time{}
	next.Request = withoutContent(r.Request)
	next.Note(store.Event{At: next.Finished, From: r.State, To: next.State, Who: who, Why: why})
	also := g.also(ctx, &r, &next)
	got, err := g.writeAdvance(ctx, &r, &next, also)
	if err == nil {
		g.metrics.rests(burned)
		g.front.Add(got)
	}
	return got, err
}

// withoutContent is what is kept of a request that will not be sent any more: what it may be compared by, and none of its credentials.
func withoutContent(b store.Blob) store.Blob { return store.Blob{Size: b.Size, Digest: b.Digest} }

// idle is the same of an action that is unused again. It keeps the address that is told of its end: an answer may yet come that shows it to be done, and
// who goes on with an action by its key tells the one that was signed with its POE URI.
func idle(r *store.Record) store.Blob {
	b := withoutContent(r.Request)
	if kept := callbackIn(r); len(kept) > 0 {
		b.Head = replay.EncodeRequestHead(http.Header{callbackKept: kept}, nil)
	}
	return b
}

// later decides what becomes of an accepted action after an attempt that surely did nothing: another one, with pauses that grow with the answers and with the
// time since it was accepted, or as Retry-After says; or, when the time for that is over, the answer that there is.
func (g *Gate) later(rt *route, next *store.Record, answer *replay.Answer) {
	pause := min(max(firstPause<<min(next.Attempt, 9), next.Finished.Sub(next.Claimed)/2), longestPause)
	if answer != nil {
		if asked, ok := retryAfter(answer); ok && asked > 0 {
			pause = asked
		}
	}
	if answer != nil && g.passed(next.Claimed)+pause >= rt.retries(next) {
		next.State = store.Done // the attempt that it ends with is not one more: Attempts counts it
		return
	}
	if answer != nil {
		next.Attempt = oneMore(next.Attempt)
	}
	next.State, next.Due = store.Queued, next.Finished.Add(pause)
}

// notDoneInTime begins the line of history of an accepted action whose outcome is an answer that means "not done".
const notDoneInTime = "not done in the time for it: "

// endedUndone tells whether r is such a one: whatever its status is, nothing was left behind.
func endedUndone(r *store.Record) bool {
	return r.State == store.Done && slices.ContainsFunc(r.History, func(e store.Event) bool {
		return e.To == store.Done && e.Who == "engine" && strings.HasPrefix(e.Why, notDoneInTime) // a person may use these words, too
	})
}

// retryAfter is how long an answer asks to wait (RFC 9110, section 10.2.3), an hour at most; a date is not looked at.
func retryAfter(answer *replay.Answer) (time.Duration, bool) {
	s, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0, false
	}
	return time.Duration(min(s, 3600)) * time.Second, true
}

// serveCancel is DELETE /poe/outcomes/<ref>: it voids an accepted action as long as it waits to be sent, or to be sent again.
func (g *Gate) serveCancel(w http.ResponseWriter, r *http.Request) {
	s, ok := g.visit(w, r)
	if !ok {
		return
	}
	c := &call{g: g, w: w, r: r, id: s.record.ID, route: g.routeOf(r.Context(), &s.record), method: s.record.Method}
	c.naming = byOutcome{byNothing{c}}
	origin := new(http.CrossOriginProtection) // of no route, which lists none
	if c.route != nil {
		origin = c.route.origin
	}
	if origin.Check(r) != nil {
		g.crossOrigin(w, r)
		return
	}
	if s.record.Kind != store.Request { // what takes an action back is not its client's to stop
		s.phase = unused
	}
	c.cancel(&s)
}

// cancel voids an action that was accepted, and answers 204 where nothing will be sent.
func (c *call) cancel(s *status) {
	g := c.g
	for s.phase == accepted {
		why := "cancelled before it was sent"
		if s.record.Attempts() > 0 {
			why += " again"
		}
		got, err := g.void(context.WithoutCancel(c.r.Context()), s.record, "client", why)
		if err != nil && !errors.Is(err, store.ErrStale) {
			c.ledgerTrouble(err, unknown)
			return
		}
		if got == nil { // it is forgotten
			s.is(gone, &store.Record{ID: s.record.ID})
			break
		}
		*s = g.at(got, g.now())
	}
	switch s.phase {
	case burned:
		c.say(s)
		c.w.WriteHeader(http.StatusNoContent)
	case unused:
		c.w.Header().Set("Allow", "GET, HEAD")
		http.Error(c.w, "nothing was accepted that could be cancelled", http.StatusMethodNotAllowed)
	default:
		c.refuse(s)
	}
}
