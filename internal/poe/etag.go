package core

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/postonce/poe/internal/store"
)

// The guards of preconditions (RFC 9110, section 13.1): a strong tag in If-Match is used up by the write that it allows, and
// If-None-Match: * by the creation. A retry of the same write gets its answer, as section 13.1.1 permits, where the application alone
// would have to say 412.

// strongTag tells whether s is one strong entity tag. RFC 9110, section 8.8.3, allows bytes from 80 to FF in it, whatever characters they are.
func strongTag(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	for _, b := range []byte(s[1 : len(s)-1]) {
		if b <= ' ' || b == '"' || b == 0x7f {
			return false
		}
	}
	return true
}

// oneShot is a precondition that holds for one write.
type oneShot struct {
	*call
	name     store.Name
	lastOnly bool // a retry is repeated only while nobody has written there since
}

// guardMatch takes one strong tag. Everything else, weak tags, lists and the asterisk, is between client and application.
func guardMatch(c *call) guard {
	lines := c.r.Header["If-Match"]
	if len(lines) != 1 || !strongTag(lines[0]) {
		return nil
	}
	return &oneShot{call: c, name: c.g.name(match, hostScope(c.r.Host), c.method, c.target, lines[0]), lastOnly: true}
}

func guardNoneMatch(c *call) guard {
	lines := c.r.Header["If-None-Match"]
	if c.method != http.MethodPut || len(lines) != 1 || lines[0] != "*" {
		return nil
	}
	return &oneShot{call: c, name: c.g.resource(noneMatch, c.r.Host, placeOf(c.target))}
}

func (o *oneShot) names() ([]store.Name, *problem) { return []store.Name{o.name}, nil }

func (o *oneShot) taken(s *status) bool {
	again, err := o.movedOn(s)
	if again && err == nil {
		return true
	}
	last := true
	if err == nil && o.lastOnly && s.phase == done {
		last, err = o.g.wroteLast(o.r.Context(), o.r.Host, &s.record)
	}
	if err != nil {
		o.ledgerTrouble(err, unused)
		return false
	}
	a := &guarded{mine: o.mine(&s.record), repeats: last, otherwise: problemPreconditionFailed}
	if a.mine && *o.owner == [32]byte{} { // that is anybody: the same write is one, whoever sends it, but another visitor's POST is another one
		a.mine, a.alike = false, o.method != http.MethodPost
	}
	o.answerFor(s, a)
	return false
}

// mine tells whether an action that has a guard's name belongs to whom this one would, and who asks may be told of it. What comes with a POE URI has been
// asked that before, and nobody's may be anybody's.
func (c *call) mine(r *store.Record) bool {
	return r.Principal == *c.owner && (*c.owner == [32]byte{} || c.owns(c.owner))
}

// guarded says how a guard answers a request whose name another action has.
type guarded struct {
	mine      bool // it is the same principal's
	alike     bool // it is nobody's, as this request is: the same one is led to it
	repeats   bool // the same request gets its answer
	otherwise *kind
}

func (c *call) answerFor(s *status, a *guarded) {
	same := false
	if a.mine && a.repeats && s.phase == done || a.alike && s.phase != burned {
		same, _ = c.same(&s.record)
	}
	mine := a.mine || a.alike && same
	switch {
	case s.phase != done && s.phase != burned:
		c.g.write(c.w, c.r, c.tell(busyWith(s), s, mine))
	case same && a.repeats && s.phase == done:
		c.replay(s)
	default:
		c.g.write(c.w, c.r, c.tell(a.otherwise, s, mine))
	}
}

// busyWith is the problem of a name whose action has not ended.
func busyWith(s *status) *kind {
	if s.phase == unknown {
		return problemOutcomeUnknown
	}
	return problemRunning
}

// tell begins a problem about another action. Only its principal is told which one that is; of who came with a POE URI the own action is unused, as far as it
// came.
func (c *call) tell(k *kind, s *status, mine bool) *problem {
	if mine {
		return c.about(k, s)
	}
	delete(c.w.Header(), "Poe-State")
	delete(c.w.Header(), "Link")
	if c.viaURI() {
		c.say(&status{phase: unused, record: store.Record{ID: c.id}})
	}
	return c.g.problem(k)
}

// conditional tells whether the client made a condition that holds for one write. With If-Match: * (RFC 9110, section 13.1.1) any number of them
// would be allowed, and a weak tag matches nothing there.
func (c *call) conditional() bool {
	return slices.ContainsFunc(c.guards, func(one guard) bool { _, is := one.(*oneShot); return is })
}

// path is the resource that the request is for, without its query.
func (c *call) path() string { return pathOf(c.target) }

func pathOf(target string) string {
	p, ok := targetPath(target)
	if !ok {
		p, _, _ = strings.Cut(target, "?")
	}
	return cleanPath(p)
}

// takes returns the names that an action takes over when it has come to rest as next: the last write of its resource, whoever held that, and the
// place of what it created. What turns out to be done after all, by recovery, a late answer or a person's word, was not the last to write: nobody
// knows what came after it. It has the place of what it created unless another action has created it since.
func (g *Gate) takes(ctx context.Context, claimed, next *store.Record) []store.Name {
	if claimed.State == next.State || !g.routes.watchWrites() {
		return nil
	}
	rt := g.routes.of(next)
	if rt == nil {
		return nil
	}
	var names []store.Name
	fresh := claimed.State == store.Running || claimed.State == store.Sent
	undone := endedUndone(next)
	wrote := next.State == store.Unknown || next.State == store.Done && (next.Status < 400 || next.Status >= 500) && !undone
	if fresh && wrote && rt.has(doorMatch) {
		n := g.lastWritten(hostAsked(claimed), next.Target)
		names = append(names, n)
		if next.State == store.Unknown { // it may turn out to be none: then it matters which one was the last before it
			if last, err := g.store.Lookup(ctx, store.ByName(n)); err == nil && last.ID != next.ID {
				names = append(names, g.name(nextWrite, last.ID.String()))
			}
		}
	}
	if len(rt.FreeOn) > 0 && next.State == store.Done && next.Status < 400 && !undone {
		if at, ok := createdAt(claimed, next); ok {
			if n := g.resource(location, hostAsked(claimed), at); fresh || !g.held(ctx, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// held tells whether an action holds a name, and if the ledger does not say, that one does.
func (g *Gate) held(ctx context.Context, n store.Name) bool {
	_, err := g.store.Lookup(ctx, store.ByName(n))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		g.log.Error().Err(err).Msg("looking up who created a resource")
	}
	return !errors.Is(err, store.ErrNotFound)
}

// passedOver is how many writes that were none wroteLast passes over at most.
const passedOver = 8

// wroteLast tells whether no other action has written to the resource of host after r, as far as this gate has seen. What nobody knew of when it
// ended, and what turned out to have done nothing, is passed over.
func (g *Gate) wroteLast(ctx context.Context, host string, r *store.Record) (bool, error) {
	last, err := g.store.Lookup(ctx, store.ByName(g.lastWritten(host, r.Target)))
	at := r.ID
	for range passedOver {
		if err != nil || last.ID == at {
			break
		}
		var next store.Record
		if next, err = g.store.Lookup(ctx, store.ByName(g.name(nextWrite, at.String()))); err == nil && !wasNone(&next) {
			return false, nil
		}
		at = next.ID
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return last.ID == at, err
}
