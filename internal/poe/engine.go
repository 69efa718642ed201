package core

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// An action is what a door hands to the engine beside the record to claim: how to execute it.
type action struct {
	route   *route
	keep    bool                                              // the request is kept with the claim
	client  *call                                             // the request that it is executed for, whose client waits; nil: nobody waits
	request func(id store.ID, attempt uint16) *replay.Request // what is sent where nobody waits; only the claim knows which attempt it is
	exec    Executor
	rescue  *rescue // what is done for an action whose end is unknown; nil: it is executed
}

// message is what is sent.
func (a *action) message(id store.ID, attempt uint16) *replay.Request {
	if a.client != nil {
		return a.client.request(id, attempt)
	}
	return a.request(id, attempt)
}

// An ending is how an attempt to execute ended. A door hands it in with the record as it is to be claimed: id, door, route,
// target, principal, digests, expiry.
type ending struct {
	refused  error        // not nil: nothing was claimed and nothing was executed
	lost     bool         // somebody else has the action; status is theirs where it is known
	status   status       // what the ledger says now
	room     store.Record // how the action stood before its claim; from its settlement on, what is to become of it
	proof    replay.Proof
	answer   *replay.Answer // where proof is Complete
	streamed bool           // the answer was passed through to the client
	err      error          // why proof is not Complete
	timedOut bool           // the time for it was over
	panicked any            // what the executor panicked with
	recorder *replay.Recorder
}

// release gives back what the answer holds. The answer must not be used afterwards.
func (e *ending) release() {
	if e.recorder != nil {
		e.recorder.Release()
	}
}

// errHeldUp is the reason of an execution that was not begun in time.
var errHeldUp = errors.New(heldUp)

const heldUp = "nothing was sent: the process was held up until its claim was over"

// execute runs a at most once: claim, attempt, settle. It returns when the outcome is durable, or surely nothing
// happened. A panic of the executor goes on up then, if a client waits. The client's context ends with the client, detached carries its values and
// does not end.
func (g *Gate) execute(client, detached context.Context, a *action, end *ending) {
	if g.draining.Load() {
		end.refused = errDraining
		return
	}
	if !g.running.begin(g.cfg.MaxRunning) {
		end.refused = errBusy
		return
	}
	defer g.running.end()
	id := end.status.record.ID
	fl, first := g.flights.begin(id)
	if !first {
		end.lost, end.status.phase = true, running
		return
	}
	defer g.flights.end(id, fl)
	if g.draining.Load() { // since then: whoever waits for the flights may not have seen this one
		end.refused = errDraining
		return
	}

	claimed := &end.status.record
	holder, err := g.claim(detached, a, claimed)
	switch {
	case errors.Is(err, store.ErrTaken):
		g.metrics.claims.WithLabelValues("taken").Inc()
		end.lost = true
		end.status.is(phaseOf(holder.State), holder)
		return
	case err != nil:
		g.metrics.claims.WithLabelValues("refused").Inc()
		end.refused = err
		return
	}
	g.metrics.won.Inc()
	killpoint.Hit("claimed")
	if claimed.Way == store.Marked {
		marked, err := g.mark(detached, claimed)
		if err != nil {
			end.refused = err
			return
		}
		claimed = marked
	}
	// The commit point: from here on the action is executed, by nobody else and never again.
	end.status.is(running, claimed)
	g.run(flown{flight: fl, client: client, detached: detached}, a, end)
}

// claim reserves the action durably. An error that leaves the claim unknown is met with the same claim again,
// which finds its own term if it was done. If that does not help either, the claim is remembered as an
// orphan: nothing was sent under it, so it is released as soon as the ledger answers. r becomes the record as claimed; after store.ErrTaken the
// holder is returned.
func (g *Gate) claim(ctx context.Context, a *action, r *store.Record) (*store.Record, error) {
	now := g.now()
	r.Kind, r.State, r.Claimed, r.Due = store.Request, store.Running, now, now.Add(g.cfg.Timeout+claimMargin)
	r.Way, r.Term = store.Direct, g.newTerm()
	if a.route.MarkSent {
		r.Way = store.Marked
	}
	if a.keep {
		var err error
		if r.Request, err = a.client.keepRequest(ctx, r.ID, r.Term); err != nil {
			return nil, fmt.Errorf("%w: storing a request: %w", store.ErrUnavailable, err)
		}
	}
	killpoint.Hit("claiming")
	got, err := g.writeClaim(ctx, r)
	if err != nil && !store.Refused(err) {
		g.log.Error().Err(err).Stringer("id", r.ID).Msg("claiming: nobody knows whether the claim was written; nothing is executed")
		g.orphans.add(r.ID, r.Term)
		return got, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return got, err
}

// claimMargin is how long after an execution's time limit its claim is taken for abandoned, where the ledger
// cannot know that its owner is dead.
const claimMargin = time.Minute

// flown is a flight with its contexts: the client's, which ends with the client, and the ledger's, which does not end.
type flown struct {
	*flight
	client, detached context.Context //nolint:containedctx // the parameters of one call
}

// A run is one execution under way. It is its context, which carries the action's id and the client's request.
type run struct {
	execution
	a       *action
	f       flown
	end     *ending
	time    window
	started time.Time
	settled bool         // at its head, since its answer is passed through
	room    [1]*entrance // for execution.through
}

// AfterFunc calls f when the execution is to end. See [window.AfterFunc].
func (x *run) AfterFunc(f func()) (stop func() bool) { return x.time.AfterFunc(f) }

// run attempts the claimed action, whose record end holds, and settles it, as it does where the executor panics.
func (g *Gate) run(f flown, a *action, end *ending) {
	x := &run{a: a, f: f, end: end, execution: execution{gate: g, id: end.status.record.ID, client: a.client}}
	if a.client != nil {
		x.through = append(x.room[:0], a.client.through)
	}
	x.time.open(f.detached, g.times, g.cfg.Timeout)
	x.Context = &x.time
	defer x.time.close()
	g.flights.executing(f.flight, &x.time)

	cfg := replay.RecorderConfig{Spool: g.cfg.Spool, Limit: g.cfg.MaxResponse}
	if a.client != nil {
		cfg.Inform, cfg.Before, cfg.Client = a.client.inform, frontFields(a.client.w), a.client.w
	}
	if a.rescue == nil || !a.rescue.whole {
		cfg.Stream = x.stream
	}
	end.recorder = replay.NewRecorder(cfg)
	x.started = g.cfg.Clock()
	defer x.over()
	g.attempt(x, a, end)
}

// over settles what has been attempted.
func (x *run) over() {
	g, end := x.gate, x.end
	x.ended.Store(true)
	if x.a.rescue == nil {
		g.metrics.executed[end.proof].Observe(g.cfg.Clock().Sub(x.started).Seconds())
	}
	killpoint.Hit("answered")
	if x.settled {
		g.flights.streamed(x.f.flight)
		end.streamed = true
		return
	}
	g.settle(x.f.detached, x.a, end, end.answer)
}

// stream begins to pass an answer through. It will not be kept and may never end: it counts as the outcome as soon as it has begun.
// What follows is the client's alone, and ends with it.
func (x *run) stream(head *replay.Answer) (http.ResponseWriter, error) {
	g := x.gate
	x.settled = true
	if x.client != nil { // without one the time for an execution is all that there is
		x.time.lift()
		context.AfterFunc(x.f.client, func() { x.time.cancel(context.Canceled) })
	}
	g.settle(x.f.detached, x.a, x.end, head)
	g.flights.stream(x.id, x.f.flight)
	if x.client == nil {
		return nil, nil
	}
	x.client.body.LetGo() // it may take for ever
	return x.client.stream(&x.end.status, head)
}

// attempt executes once and finds the proof. A panic is a broken execution: how far the handler got is unknown. Where a client waits it goes on
// from here, not from where all is settled: who catches it sees the handler in its stack.
func (g *Gate) attempt(ctx context.Context, a *action, end *ending) {
	defer end.recorder.End() // before it is settled: nobody whom a handler has left behind begins another answer after that
	defer func() {
		if p := recover(); p != nil {
			end.proof, end.answer, end.panicked = replay.Broken, nil, p
			g.sayPanicked(a, end)
			if a.client != nil {
				panic(p)
			}
		}
	}()
	if r := &end.status.record; !g.now().Before(r.Due) { // others may take it for abandoned by now, and decide about it
		end.proof, end.err = replay.Unsent, errHeldUp
		return
	}
	end.proof, end.err = a.exec.Execute(ctx, a.message(end.status.record.ID, end.status.record.Attempt), end.recorder)
	if end.proof == replay.Complete {
		var err error
		if end.answer, err = end.recorder.Finish(); err == nil {
			return
		}
		end.proof, end.err = replay.Broken, err
	}
	end.timedOut = timedOut(end.err) || errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

// sayPanicked tells operators of a panic. One that nobody else will hear of is told to somebody even by a gate without a log, as net/http does with those of
// its handlers.
func (g *Gate) sayPanicked(a *action, end *ending) {
	if end.panicked == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
		return
	}
	id, stack := end.status.record.ID, debug.Stack()
	if said := g.log.Error(); said.Enabled() {
		said.Stringer("id", id).Str("panic", fmt.Sprint(end.panicked)).Bytes("stack", stack).Msg("a handler panicked")
	} else if a.client == nil {
		log.Printf("poe: the handler of action %s panicked: %v\n%s", id, end.panicked, stack)
	}
}

// settle makes durable what became of the action, whatever became of the client: ctx must not end with it. answer is nil unless it is complete, or streams.
func (g *Gate) settle(ctx context.Context, a *action, end *ending, answer *replay.Answer) {
	if a.rescue != nil {
		g.conclude(ctx, a, end, answer)
		return
	}
	claimed, next := &end.status.record, &end.room
	*next = *claimed
	next.Term, next.Finished, next.Due = g.newTerm(), g.now(), time.Time{}
	next.State = a.route.verdict(end, answer)
	switch {
	case answer != nil:
		next.Status = answer.Status
	case next.State == store.Unknown: // that of an earlier try of what was accepted says nothing of this one
		next.Status = 0
	}
	undone := next.State == store.Unused
	if undone && promised(claimed) {
		g.later(a.route, next, answer) // a client was told that it will be executed
	} else if undone && answer != nil {
		next.Attempt = oneMore(next.Attempt)
	}
	switch next.State {
	case store.Done:
		next.Request = g.finished(ctx, claimed)
		next.Response = g.keep(ctx, next, answer)
	case store.Unused:
		next.Request = idle(claimed)
	case store.Unknown:
		g.unresolved(next)
	default:
	}
	if next.State != store.Done || undone {
		e := event(claimed, next, "engine", reason(end, answer))
		switch {
		case answer == nil:
			e.Status = 0
		case next.State == store.Done:
			e.Why = notDoneInTime + e.Why
		}
		next.Note(e)
	}
	if next.State == store.Queued { // it has not come to rest
		next.Finished = time.Time{}
	}
	end.status.is(g.advance(ctx, claimed, next))
	if end.status.phase == unknown {
		g.sayUnknown(&end.status.record, reason(end, answer))
	}
}

// oneMore counts n up, and stays at the end: a record whose count began anew could not come to rest.
func oneMore(n uint16) uint16 { return max(n, n+1) }

// verdict combines proof and answer.
func (c *route) verdict(end *ending, answer *replay.Answer) store.State {
	switch {
	case answer != nil:
		s := c.judge(answer.Status, answer.Header.Get("Retry-After") != "")
		if end.status.record.Kind == store.Compensation {
			s = c.judgeCompensation(answer)
		}
		if answer.Where == store.Streamed {
			return streamedVerdict(s)
		}
		return s
	case end.proof == replay.Unsent:
		return store.Unused
	default:
		return store.Unknown
	}
}

// streamedVerdict: an answer that is still being produced proves nothing about what was not done, so it cannot lead
// back to unused.
func streamedVerdict(s store.State) store.State {
	if s == store.Unused {
		return store.Unknown
	}
	return s
}

// advance writes next in the place of claimed and returns where the action stands then. If the ledger cannot store it the
// action is unknown to everybody else, so this client is told the same.
func (g *Gate) advance(ctx context.Context, claimed, next *store.Record) (phase, *store.Record) {
	got, also, err := g.writeEnd(ctx, claimed, next)
	switch {
	case err == nil:
		killpoint.Hit("settled")
		g.front.Add(got)
		if got.State != claimed.State {
			g.metrics.rests(phaseOf(got.State))
		}
		if len(also.Spawn) > 0 {
			g.nudge(g.nudged, g.owed)
		}
		return phaseOf(got.State), got
	case errors.Is(err, store.ErrStale) && got != nil && underWay(phaseOf(got.State)) && got.State == claimed.State && same(claimed, got):
		again := retold(claimed, got, next)
		return g.advance(ctx, got, &again) // somebody wrote a line beside it: it is still ours
	case errors.Is(err, store.ErrStale) && got != nil:
		got, err = g.late(ctx, claimed, got, next)
		g.discardAnswer(ctx, next.ID, &next.Response, got, err)
		return phaseOf(got.State), got
	default:
		g.log.Error().Err(err).Stringer("id", next.ID).Msg("settling: the outcome could not be stored")
		g.metrics.unstored.Inc()
		g.discardAnswer(ctx, next.ID, &next.Response, nil, err)
		return unknown, next
	}
}

// keep stores what is kept of the answer, beside the ledger where it is large. If that fails the outcome itself is
// still worth more than nothing: the content is said to be purged.
func (g *Gate) keep(ctx context.Context, r *store.Record, answer *replay.Answer) store.Blob {
	b, err := answer.Blob()
	if err != nil {
		g.log.Error().Err(err).Stringer("id", r.ID).Msg("reading an answer from the spool: it is not kept")
		b = store.Blob{Head: answer.Head(), Where: store.Purged, Size: answer.Size, Digest: answer.Digest}
	}
	if len(b.Head) > store.MaxHead {
		g.log.Error().Stringer("id", r.ID).Int("bytes", len(b.Head)).Msg("the fields of an answer are more than a record holds: it is not kept")
		b = store.Blob{Where: store.Purged, Size: answer.Size, Digest: answer.Digest}
	}
	if b.Where == store.Beside {
		b.Part = store.Part{Term: r.Term, N: 1}
		if _, err := g.store.Put(ctx, r.ID, b.Part, answer.Body.Reader()); err != nil {
			g.log.Error().Err(err).Stringer("id", r.ID).Msg("storing an answer: it is not kept")
			b.Where, b.Part = store.Purged, store.Part{}
		}
		killpoint.Hit("answer-kept")
	}
	return b
}

// event is the line of history with which an action that was under way came to be what next says.
func event(claimed, next *store.Record, who, why string) store.Event {
	return store.Event{At: next.Finished, From: claimed.State, To: next.State, Who: who, Why: why, Status: next.Status}
}

// reason says in one line, fit for a receipt, why an execution ended as it did. It tells nothing of the inside:
// no address, no text of an error.
func reason(end *ending, answer *replay.Answer) string {
	switch {
	case answer != nil:
		return "answered " + statusText(answer.Status)
	case errors.Is(end.err, errHeldUp):
		return heldUp
	case end.proof == replay.Unsent && end.timedOut:
		return "nothing was sent: no connection in time"
	case end.proof == replay.Unsent:
		return "nothing was sent: no connection"
	case end.panicked != nil:
		return "the handler panicked"
	case end.timedOut:
		return "no complete answer in time"
	case errors.Is(end.err, errStopped):
		return "no complete answer before the process stopped"
	case errors.Is(end.err, replay.ErrIncomplete):
		return "no complete answer: the handler wrote less than its Content-Length says, or switched protocols"
	case errors.Is(end.err, replay.ErrSpoolFull):
		return "no complete answer: there was no room for it on its way"
	case errors.Is(end.err, replay.ErrNotAnAnswer):
		return "no complete answer: what came cannot be read as one of HTTP/1"
	default:
		return "no complete answer: the connection broke"
	}
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func (g *Gate) newTerm() (t store.Term) {
	if _, err := g.random.Read(t[:]); err != nil {
		panic(fmt.Errorf("reading randomness: %w", err)) // crypto/rand does not fail
	}
	return t
}
