package core

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The policy of compensating: one POST takes back whatever the action may have done. It is an action of its own, spawned in the write that
// makes its parent unknown, and executed as what is accepted is: with a durable mark before its first byte, at most once, and again only
// where it surely was not done. How it ends decides what its parent is, in a write of its own. A crash between the two loses nothing: the
// parent is on the agenda until it has moved, or was left to a person; and a person's decision puts it there again.

// doorCompensation is the word of a compensation in its record. No client comes through it.
const doorCompensation = "compensation"

// pathsOf returns what the paths match that a template with {id} stands for, decoded and cleaned; nil where there is no template.
func pathsOf(template string) *regexp.Regexp {
	path, ok := targetPath(template)
	if template == "" || !ok {
		return nil
	}
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(cleanPath(path)), regexp.QuoteMeta(variable), "[^/]+") + "$")
}

// TakesBack answers a client's request to a path that takes actions back, as if nothing were there, and tells whether it was one. What the policy sends does
// not come in this way; what comes from a client must not look like that, or an application would take back for a client what it has done for it.
func (g *Gate) TakesBack(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost || !g.routes.undoes(func() string { return pathOf(requestTarget(r)) }) {
		return false
	}
	guardFront(w.Header())
	g.refuse(w, r, g.problem(problemNotFound))
	return true
}

// undoes tells whether a path, decoded and cleaned, is one that takes actions back. Most programs have none, and then it is not asked for.
func (all routes) undoes(path func() string) bool {
	if !slices.ContainsFunc(all, func(c *route) bool { return c.undo != nil }) {
		return false
	}
	p := path()
	return slices.ContainsFunc(all, func(c *route) bool { return c.undo != nil && c.undo.MatchString(p) })
}

// undoing is the content of the request: what is to be taken back.
type undoing struct {
	ID        string    `json:"id"`
	Method    string    `json:"method"`
	Target    string    `json:"target,omitempty"` // left out where it does not fit into a record
	ClaimedAt time.Time `json:"claimed_at"`
}

// beginUndo names the child that takes next back; spawns makes it, in the same write.
func (g *Gate) beginUndo(next *store.Record) {
	next.Due = g.now().Add(g.pause(next))
	id, err := store.NewID(g.now(), next.ID.Days(), &g.random)
	if err != nil {
		g.log.Error().Err(err).Stringer("id", next.ID).Msg("naming a compensation: it begins later")
		return
	}
	next.Undo = id
}

// takeBack begins the compensation of an action that became unknown before its route had that policy.
func (g *Gate) takeBack(ctx context.Context, r store.Record) {
	next := r
	next.Term = g.newTerm()
	g.beginUndo(&next)
	next.Note(store.Event{At: g.now(), From: r.State, To: r.State, Who: "recovery", Why: "it is being taken back"})
	g.replace(ctx, &r, &next, "beginning a compensation")
}

func (u *undoing) encode() []byte {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // a query would be six times as long
	if err := enc.Encode(u); err != nil {
		panic(fmt.Errorf("encoding a compensation: %w", err)) // our own types
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// compensation is the child that takes parent back.
func (g *Gate) compensation(parent *store.Record) store.Record {
	what := undoing{ID: parent.ID.String(), Method: parent.Method, Target: parent.Target, ClaimedAt: parent.Claimed}
	content := what.encode()
	if len(content) > store.InlineLimit {
		what.Target = ""
		content = what.encode()
	}
	now := g.now()
	h := http.Header{"Content-Type": {"application/json"}, "Host": {hostAsked(parent)}}
	rt := g.routes.of(parent)
	return store.Record{
		ID: parent.Undo, Parent: parent.ID, Kind: store.Compensation, State: store.Queued, Way: store.Accepted, Term: g.newTerm(),
		Door: doorCompensation, Route: rt.Name, Method: http.MethodPost, Target: expand(rt.Compensate, parent.ID),
		Principal: parent.Principal, Claimed: now, Due: now,
		Request: store.Blob{
			Head: replay.EncodeRequestHead(h, nil), Where: store.Inline, Content: content, Size: int64(len(content)), Digest: sha256.Sum256(content),
		},
	}
}

// routeOf returns the route that an action belongs to. What takes another one back belongs to that one's, whatever it is called by now. Nil: there is none.
func (g *Gate) routeOf(ctx context.Context, r *store.Record) *route {
	if r.Kind == store.Compensation {
		if parent, err := g.store.Lookup(ctx, store.ByID(r.Parent)); err == nil { // otherwise there is its name
			return g.routes.of(&parent)
		}
	}
	return g.routes.of(r)
}

// judgeCompensation reads the answer to a compensation. It is sent again only where it surely was not done: every other answer, a refusal
// too, is its end.
func (c *route) judgeCompensation(answer *replay.Answer) store.State {
	switch {
	case c.releases(answer):
		return store.Unused
	case gatewaysWord(answer.Status):
		return store.Unknown
	default:
		return store.Done
	}
}

// followUp looks after the parent of a compensation that may have ended.
func (g *Gate) followUp(ctx context.Context, child *store.Record) {
	parent, err := g.store.Lookup(ctx, store.ByID(child.Parent))
	if err != nil {
		g.log.Error().Err(err).Stringer("id", child.Parent).Msg("looking up what a compensation takes back: it is done later")
		return
	}
	if parent.State == store.Unknown && parent.Undo == child.ID {
		g.compensated(ctx, parent)
	}
}

// announce puts the parent of a compensation about which a person is deciding back on the agenda: should the process end right behind the decision,
// the parent is looked at all the same.
func (g *Gate) announce(ctx context.Context, child *store.Record) error {
	if child.Kind != store.Compensation {
		return nil
	}
	parent, err := g.store.Lookup(ctx, store.ByID(child.Parent))
	if err == nil && parent.State == store.Unknown && parent.Undo == child.ID && parent.Due.Equal(store.Person) {
		next := parent
		next.Term, next.Due = g.newTerm(), g.now().Add(time.Minute)
		if !wasLeft(&parent) { // it was, since it waits for a person: a full history has lost that line
			next.Note(store.Event{At: g.now(), From: parent.State, To: next.State, Who: "recovery", Why: leftToAPerson + "a person decides about its compensation"})
		}
		_, err = g.writeAdvance(ctx, &parent, &next, store.Also{})
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrStale) { // stale: it has moved by itself
		return fmt.Errorf("looking after what %s takes back: %w", child.ID, err)
	}
	return nil
}

// compensated does with an unknown action what the end of its compensation says.
func (g *Gate) compensated(ctx context.Context, parent store.Record) {
	child, err := g.store.Lookup(ctx, store.ByID(parent.Undo))
	left := parent.Due.Equal(store.Person) // already
	switch {
	case errors.Is(err, store.ErrNotFound):
		g.leave(ctx, parent, "its compensation is not there any more")
	case err != nil:
		g.log.Error().Err(err).Stringer("id", parent.Undo).Msg("looking up a compensation")
	case child.State == store.Done && child.Status >= 200 && child.Status < 300:
		g.undone(ctx, parent, &child)
	case left:
	case wasLeft(&parent) && !child.State.Open(), wasLeft(&parent) && child.State == store.Unknown: // and is still: nothing new is told
		next := parent
		next.Term, next.Due = g.newTerm(), store.Person
		if _, err := g.writeAdvance(ctx, &parent, &next, store.Also{}); err != nil {
			g.quarrel(err, &parent, "leaving an unknown action to a person again")
		}
	case child.State == store.Done:
		g.leave(ctx, parent, "its compensation was answered "+statusText(child.Status))
	case child.State == store.Unknown:
		g.leave(ctx, parent, "nobody knows whether its compensation was done")
	case burnedInDoubt(&child):
		g.leave(ctx, parent, "a person has burned its compensation, and nobody knows whether that was done")
	case child.State == store.Burned:
		g.leave(ctx, parent, "its compensation could not be sent")
	case !parent.Due.After(g.now()): // it is at work
		next := parent
		next.Term, next.Due = g.newTerm(), g.now().Add(g.pause(&parent))
		g.replace(ctx, &parent, &next, "waiting for a compensation")
	}
}

// takenBackBy begins the line of history that says so.
const takenBackBy = "taken back: answered "

// takenBackSince tells whether an attempt of r that was claimed at that time, or later, was taken back.
func takenBackSince(r *store.Record, claimed time.Time) bool {
	return slices.ContainsFunc(r.History, func(e store.Event) bool { return tookBack(e) && !e.At.Before(claimed) })
}

// tookBack tells whether a line of history says that an action was taken back. A person may use these words, too.
func tookBack(e store.Event) bool {
	return e.Who == "recovery" && strings.HasPrefix(e.Why, takenBackBy)
}

// wasLeft tells whether an unknown action was left to a person since it became unknown, whatever lines came into its history after that.
func wasLeft(r *store.Record) bool {
	for _, e := range slices.Backward(r.History) {
		switch {
		case strings.HasPrefix(e.Why, leftToAPerson):
			return true
		case e.From != store.Unknown && e.To == store.Unknown:
			return false
		}
	}
	return false
}

// undone settles an action that was taken back: as done, with an outcome of ours that says so, or as unused.
func (g *Gate) undone(ctx context.Context, parent store.Record, child *store.Record) {
	rt := g.routes.of(&parent)
	next := parent
	now := g.now()
	next.Term = g.newTerm()
	if rt != nil && rt.Compensated == CompensatedUnused {
		notDone(&next, now)
		next.Status = 0 // the child's answer is not its own
	} else {
		g.refuseUndone(ctx, &next, now)
	}
	why := takenBackBy + statusText(child.Status)
	next.Note(store.Event{At: now, From: parent.State, To: next.State, Who: "recovery", Why: why, Status: child.Status})
	if g.replace(ctx, &parent, &next, "settling what was taken back") {
		g.metrics.rests(phaseOf(next.State))
		g.sayRecovered(RecoveryCompensate, &status{phase: phaseOf(next.State), record: next}, why)
	}
}

// refuseUndone makes the outcome of an action that was taken back: a 409.
func (g *Gate) refuseUndone(ctx context.Context, next *store.Record, now time.Time) {
	next.State, next.Status, next.Finished, next.Due = store.Done, http.StatusConflict, now, time.Time{}
	next.Request = g.finished(ctx, next)
	p := g.problem(problemRolledBack).about(g, &status{phase: done, record: *next})
	g.metrics.refused.WithLabelValues(p.kind.name).Inc()
	var content bytes.Buffer
	if err := json.NewEncoder(&content).Encode(p); err != nil {
		panic(fmt.Errorf("encoding a problem: %w", err)) // our own types
	}
	h := http.Header{"Content-Type": {"application/problem+json"}}
	next.Response = store.Blob{
		Head: replay.EncodeHead(h, nil), Where: store.Inline, Content: content.Bytes(), Size: int64(content.Len()), Digest: sha256.Sum256(content.Bytes()),
	}
}
