package core

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/postonce/poe/internal/store"
)

// byName is the naming of every door whose client brings a name of its own. A repeat gets the stored answer. The doors differ in what the
// name is made of, and in what they say.
type byName struct {
	*call
	door   string
	name   store.Name
	shared bool                                          // the name is the same for every principal: another one than the action's is refused
	reused *kind                                         // the name is that of another request
	again  func(s *status)                               // answers a repeat; nil: with the stored answer
	marks  func(h http.Header, s *status, replayed bool) // nil: none
}

// newName makes a naming whose name is scoped by door, host, route and, unless it is shared, principal.
func (c *call) newName(door, value string, shared bool) *byName {
	who := c.principal()[:]
	if shared {
		who = nil
	}
	name := c.g.name(naming_, door, hostScope(c.r.Host), c.route.Name, string(who), value)
	return &byName{call: c, door: door, name: name, shared: shared, reused: problemKeyReused}
}

// names tells whether r is the action that has the name. A guard may have led to another one.
func (n *byName) names(r *store.Record) bool { return slices.Contains(r.Names, n.name) }

func (n *byName) fresh() status {
	return status{phase: unused, record: n.unclaimedRecord(n.door, n.name)}
}

func (n *byName) recall(s *status) (free, known bool) {
	if *s, known = n.remembered(n.g.now()); !known {
		*s = n.fresh()
	}
	return !known, known
}

// remembered is what the front knows of the name. Of what is past its shelf the ledger knows more: that the name is free again.
func (n *byName) remembered(now time.Time) (status, bool) {
	h := n.g.front.Named(n.name)
	if h == nil {
		return status{}, false
	}
	s := n.g.atFront(h, now)
	if s.phase == gone {
		n.g.front.Remove(h.ID)
	}
	return s, s.phase != gone
}

func (n *byName) find(ctx context.Context) (status, error) {
	g := n.g
	now := g.now()
	if s, ok := n.remembered(now); ok {
		return s, nil
	}
	r, err := g.store.Lookup(ctx, store.ByName(n.name))
	if err == nil && r.State == store.Unused {
		if fl := g.flights.decided(ctx, r.ID); fl != nil { // somebody has just claimed it again, or given it back
			if r, err = g.store.Lookup(ctx, store.ByName(n.name)); err == nil && r.State == store.Unused {
				g.flights.await(ctx, fl)
			}
		}
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return n.fresh(), nil
	case err != nil:
		return status{}, err
	}
	g.front.Add(&r)
	s := g.at(&r, now)
	if s.phase == unused && r.Door != doorPOE && !now.Before(n.until(&r)) { // no tolerance for skew: both times are ours
		s.phase = expired
	}
	if n.late && s.phase == unused { // the ledger's clock decides, and it is ahead of ours
		s.phase = expired
	}
	return s, nil
}

// until returns when the name may stop repeating the answer. Refused from then on, it is still remembered for one more retention. One that was sent along
// with a POE URI repeats it as long as that is remembered, which the id says, and no configuration of today.
func (n *byName) until(r *store.Record) time.Time {
	if r.Door != doorPOE {
		return r.Expires
	}
	at := r.Claimed.Add(n.route.Retention)
	if shelf := r.ID.Shelf(); shelf != store.Forever && shelf.End().Before(at) {
		return shelf.End()
	}
	return at
}

// foreign tells whether the action is another principal's, or one's who says that he is the same and does not prove it. One that came with a URI which binds
// nobody is nobody's.
func (n *byName) foreign(r *store.Record) bool {
	if r.Door == doorPOE && r.Principal == [32]byte{} {
		return false
	}
	return !n.owns(&r.Principal)
}

func (n *byName) misuse(s *status) *problem {
	r := &s.record
	over := s.phase != unknown && r.Door != doorPOE && !n.g.now().Before(n.until(r))
	switch {
	case s.phase == gone:
		return n.tell(problemKeyExpired, s, !n.guessable(r))
	case n.foreign(r):
		return n.g.problem(problemPrincipalChanged) // and nothing is said of the action
	case over, s.phase == neverUsed, s.phase == expired:
		return n.tell(problemKeyExpired, s, !n.guessable(r))
	case n.guessable(r):
		same, trouble := n.same(r)
		if same || trouble != nil {
			return trouble
		}
		return n.tell(n.reused, s, false)
	default:
		return n.unlessSame(s, n.reused)
	}
}

// guessable tells whether the action is nobody's, and its name one that others might bring: who does so without the request that was sent
// under it is not led to the outcome.
func (n *byName) guessable(r *store.Record) bool { return !n.shared && r.Principal == [32]byte{} }

func (n *byName) repeat(s *status) {
	if n.again != nil {
		n.again(s)
		return
	}
	n.replay(s)
}

func (n *byName) mark(h http.Header, s *status, replayed bool) {
	if n.marks != nil {
		n.marks(h, s, replayed)
	}
}
