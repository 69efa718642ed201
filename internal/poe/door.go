package core

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/postonce/poe/internal/store"
)

// A naming is how a request names its action. A request has one; which one is decided by the order of namings.
//
// To add a door is to write one file: a function that reads the request and returns its naming, mostly a byName, or a guard.
// It is entered in the list below and in the words of Route.Doors. The engine does not know it. See docs/design.md, "Doors".
type naming interface {
	// recall finds what there is to know of the action without a look at the ledger. If free, s has the record that is to be claimed, which
	// may be tried without that look; if known, s is what find would return; otherwise find must say it. It does no I/O.
	recall(s *status) (free, known bool)
	// find returns where the action stands. The id of one that nobody has claimed is zero, unless the name is the id.
	find(ctx context.Context) (status, error)
	// misuse returns what is wrong with this request for an action that is not unused; nil: it is the one that it was.
	misuse(s *status) *problem
	// repeat answers this request for an action that is done.
	repeat(s *status)
	// mark puts on an answer what the door says of an action beside POE-State.
	mark(h http.Header, s *status, replayed bool)
}

// A guard gives an action one more name, which no other action may have. The first one that is taken answers.
type guard interface {
	// names returns them, or why the request cannot be executed.
	names() ([]store.Name, *problem)
	// taken answers a request one of whose names is that of another action, or returns true where that has moved on and it is
	// worth trying again.
	taken(s *status) bool
}

// The words of doors, in Route.Doors, in records and in metrics.
const (
	doorPOE        = "poe"
	doorRepeatable = "repeatability"
	doorKey        = "key"
	doorClientID   = "client-id" // Route.ClientID, and no word
	doorPostPut    = "post-put"
	doorMatch      = "if-match"
	doorNoneMatch  = "if-none-match"
	doorAsync      = "async"
	doorCallback   = "callback"
)

// doorWords lists what Route.Doors may say; usualDoors is what a route has that says nothing.
var (
	doorWords  = []string{doorPOE, doorRepeatable, doorKey, doorPostPut, doorMatch, doorNoneMatch, doorAsync, doorCallback}
	usualDoors = []string{doorPOE, doorKey, doorAsync}
)

// Doors lists the words that Route.Doors may have.
func Doors() []string { return slices.Clone(doorWords) }

// namings lists the doors that name, the stronger ones first. The POE URI, which is stronger than all, has its own way in. A door
// that the request does not come through returns nil and nil.
var namings = []struct {
	door string
	open func(c *call) (naming, *problem)
}{
	{doorRepeatable, openRepeatable},
	{doorKey, openKey},
	{doorClientID, openClientID},
}

// enter leads a request without a token through the door that it came for, and tells whether there was one.
func (g *Gate) enter(c *call) bool {
	c.method = c.r.Method
	c.asker = g.whoIs(c.r, c.route)
	c.owner = &c.proven
	c.naming = byNothing{c}
	defer func() { c.body.Release() }() // nil is fine
	named, door := false, "none"
	for _, one := range namings {
		n, p := one.open(c)
		if p != nil {
			g.metrics.requests.WithLabelValues(one.door).Inc()
			c.turnAway(p)
			return true
		}
		if n != nil {
			c.naming, named, door = n, true, one.door
			break
		}
	}
	if !named && c.reserves() {
		g.metrics.requests.WithLabelValues(doorPostPut).Inc()
		c.reserve()
		return true
	}
	c.guards = c.guarding()
	if !named && !c.unnamed() {
		return false
	}
	g.metrics.requests.WithLabelValues(door).Inc()
	if len(c.target) > store.MaxTarget {
		p := g.problem(problemTooLarge)
		p.Status, p.Detail = http.StatusRequestURITooLong, "Its target is longer than 64 KiB."
		c.turnAway(p)
		return true
	}
	guardFront(c.w.Header())
	c.route.cors(c.w.Header(), c.r)
	c.waits = g.patience(c.r)
	c.once()
	return true
}

// unnamed tells whether a request without a name is an action all the same: something guards it, it is to be executed later, or the
// next one's precondition depends on it. Where a name is required a precondition that holds for one write counts as one.
func (c *call) unnamed() bool {
	if c.route.Require && !c.conditional() {
		return false
	}
	return len(c.guards) > 0 || c.deferred() || c.route.has(doorMatch) || c.route.has(doorCallback) && len(c.r.Header[callbackField]) > 0
}

// turnAway answers a request that no door lets in. Nothing is known of an action.
func (c *call) turnAway(p *problem) {
	guardFront(c.w.Header())
	c.route.cors(c.w.Header(), c.r)
	c.g.write(c.w, c.r, p)
}

// guards lists the doors that guard: the routes that they lead to, and what a request there brings for them; nil: nothing.
var guards = []struct {
	at   func(*route) bool
	open func(*call) guard
}{
	{func(c *route) bool { return c.has(doorKey) }, guardKey},
	{func(c *route) bool { return len(c.unique) > 0 }, guardUnique},
	{func(c *route) bool { return c.has(doorMatch) }, guardMatch},
	{func(c *route) bool { return c.has(doorNoneMatch) }, guardNoneMatch},
}

// findGuards picks the route's among them.
func (c *route) findGuards() {
	for _, one := range guards {
		if one.at(c) {
			c.guards = append(c.guards, one.open)
		}
	}
}

// guarding returns the guards of the request.
func (c *call) guarding() (all []guard) {
	for _, open := range c.route.guards {
		if one := open(c); one != nil {
			all = append(all, one)
		}
	}
	return all
}

// guard gives the record the names that its guards ask for.
func (c *call) guard(r *store.Record) *problem {
	for _, one := range c.guards {
		names, p := one.names()
		if p != nil {
			return p
		}
		r.Names = withNames(r.Names, names...)
	}
	if len(r.Names) > store.MaxClaims {
		p := c.g.problem(problemKeyInvalid)
		p.Detail = "the request has been sent under too many keys"
		return p
	}
	return nil
}

// lostTo answers where a guard's name is taken, and tells otherwise that it is worth looking again: somebody has this very action, or the
// name of it, which are among own.
func (c *call) lostTo(s *status, own []store.Name) bool {
	for _, n := range own {
		if useOf(n) == naming_ && slices.Contains(s.record.Names, n) {
			return true
		}
	}
	one := c.guardOf(s)
	return one == nil || one.taken(s)
}

// movedOn waits, as far as the client wants, for an action that holds a name of a guard, and takes the name off one that has ended
// without a claim to it. It tells whether it is worth trying again, and otherwise where the holder stands.
func (c *call) movedOn(s *status) (bool, error) {
	holder := s.record
	*s = c.g.at(&holder, c.g.now())
	switch s.phase {
	case running, accepted, sent:
		waited := c.g.await(c.r.Context(), s.record.ID, c.waits)
		if waited {
			c.lost-- // this one does not count
		}
		return waited, nil
	case unused, neverUsed, expired, gone, burned: // its ending has not freed the name: nobody was there to do it
		if burnedInDoubt(&holder) {
			return false, nil
		}
		_, err := c.g.free(context.WithoutCancel(c.r.Context()), &holder, &freeing{uses: guarding, who: "engine", why: "the action has ended, and guards nothing"})
		if errors.Is(err, store.ErrStale) {
			return true, nil // it may be at work again, and then it guards
		}
		return true, err
	default:
		return false, nil
	}
}

// guardOf returns the guard one of whose names the holder has, unless it is this very action, or its naming's.
func (c *call) guardOf(s *status) guard {
	if s.record.ID == c.id {
		return nil
	}
	for _, one := range c.guards {
		names, _ := one.names()
		for _, n := range names {
			if slices.Contains(s.record.Names, n) {
				return one
			}
		}
	}
	return nil
}

// byNothing is the naming of a request that has none: it is an action of its own. Only a guard or a rider leads here.
type byNothing struct{ *call }

func (n byNothing) recall(s *status) (free, known bool) {
	*s = status{phase: unused, record: n.unclaimedRecord("")}
	return true, false
}

func (n byNothing) find(context.Context) (s status, err error) {
	n.recall(&s)
	return s, nil
}

func (byNothing) misuse(*status) *problem         { return nil }
func (n byNothing) repeat(s *status)              { n.replay(s) }
func (byNothing) mark(http.Header, *status, bool) {}

// byOutcome is the naming of a request to an outcome's address, which is about that action and no other.
type byOutcome struct{ byNothing }

// nameless tells whether nothing leads a repeat of the request to its action: it would be another one, and executed.
func (c *call) nameless() bool {
	_, is := c.naming.(byNothing)
	return is && len(c.guards) == 0
}

// notKnown begins the problem of an action whose end is unknown. A request that would be another action the next time must not be repeated on that account.
func (c *call) notKnown(s *status) *problem {
	p := c.g.problem(problemOutcomeUnknown)
	if c.nameless() {
		p.Retry, p.Detail = retryNever, "nothing names this request, such as a key: sent again it is another one, and is executed. The outcome shows whether more is known"
	}
	return p.about(c.g, s)
}

// unclaimedRecord is the record of an action that nobody has claimed, without an id.
func (c *call) unclaimedRecord(door string, names ...store.Name) store.Record {
	return store.Record{Door: door, Route: c.route.Name, Method: c.method, Target: c.target, Names: names}
}
