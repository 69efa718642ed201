package core

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
)

// byURI is the naming of a request to a POE URI: the token carries the action's id.
type byURI struct{ *call }

// The door of POE URIs: docs/protocol.md, "The POE URI". Checks run in the order of that section, and the first that
// fails answers.
func (g *Gate) door(c *call) {
	defer func() { c.body.Release() }() // nil is fine
	c.guardAnswer()
	err := c.identify()
	if errors.Is(err, tokens.ErrEarly) {
		if err = c.metBefore(); err != nil && !errors.Is(err, errNotOurs) {
			c.route.cors(c.w.Header(), c.r)
			c.ledgerTrouble(err, unknown)
			return
		}
	}
	if err != nil {
		g.refuse(c.w, c.r, g.problem(problemNotFound))
		return
	}
	if c.r.Method == http.MethodOptions {
		out := c.inbound(c.r.Context())
		out.Method = http.MethodOptions
		c.pass.ServeHTTP(c.w, g.passable(out))
		return
	}
	c.route.cors(c.w.Header(), c.r)
	if c.refuseStranger() {
		return
	}
	switch {
	case c.r.Method == http.MethodGet, c.r.Method == http.MethodHead:
		c.show()
	case c.r.Method == c.claims.Method, c.puts():
		c.waits = g.patience(c.r)
		c.guards = c.guarding()
		c.once()
	default:
		c.burn()
	}
}

// identify verifies the token and that it is good for this place. Every failure is the same error: a forged, a
// foreign and a garbled token get one answer. Only of one that would be good later it says that.
func (c *call) identify() error {
	g := c.g
	if !c.wellFormed {
		return errNotOurs
	}
	c.came = g.now()
	claims, before, err := g.cfg.Keys.Meet(c.token, c.came)
	if err != nil {
		g.log.Debug().Err(err).Msg("refusing a token")
		if !errors.Is(err, tokens.ErrEarly) {
			return errNotOurs
		}
	}
	c.new = !before
	if claims.Target != c.target {
		return errNotOurs
	}
	path, ok := targetPath(claims.Target)
	if !ok || claims.Method == http.MethodPost && g.routes.undoes(func() string { return cleanPath(path) }) { // a PUT to it would be executed as the POST
		return errNotOurs
	}
	c.claims, c.id, c.method, c.owner = claims, store.ID(claims.ID), claims.Method, &c.claims.Principal
	c.naming = byURI{c}
	if c.route = g.routes.find(claims.Method, path); c.route == nil || !c.route.has(doorPOE) {
		return errNotOurs
	}
	if !c.takes(c.r.Method) {
		return errNotOurs
	}
	c.asker = g.whoIs(c.r, c.route)
	return err
}

// metBefore returns nil where the action of a token from the future has a record. The clock was ahead then, and has been set back: what became of the action
// decides before time does, as with a token that has expired. It returns errNotOurs where there is none.
func (c *call) metBefore() error {
	s, err := c.naming.find(c.r.Context())
	if err == nil && s.record.Term == (store.Term{}) {
		return errNotOurs
	}
	return err
}

// renamed tells whether target is a POE URI from when our parameter was called something else. As an ordinary request it would be executed once more.
func (g *Gate) renamed(target string) bool {
	i := strings.LastIndexAny(target, "?&")
	if i < 0 {
		return false
	}
	_, value, _ := strings.Cut(target[i:], "=")
	if !strings.HasPrefix(value, tokenBegin) {
		return false
	}
	claims, err := g.cfg.Keys.Verify(value, g.now())
	return (err == nil || errors.Is(err, tokens.ErrEarly)) && claims.Target == target[:i]
}

// tokenBegin is how every token begins: with an object of JSON in base64url.
const tokenBegin = "ey"

// takes tells whether the URI is good for a method.
func (c *call) takes(method string) bool {
	switch method {
	case c.claims.Method, http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	case http.MethodDelete:
		return c.claims.Method == http.MethodPost
	case http.MethodPut:
		return c.puts()
	default:
		return false
	}
}

// refuseStranger answers a page of another site, and a principal other than the signed one.
func (c *call) refuseStranger() bool {
	g := c.g
	if err := c.route.origin.Check(c.r); err != nil {
		g.crossOrigin(c.w, c.r)
		return true
	}
	if c.claims.Principal != ([32]byte{}) && !c.owns(&c.claims.Principal) {
		g.write(c.w, c.r, g.problem(problemOtherPrincipal))
		return true
	}
	return false
}

// recall: the id may be claimed without a look where nobody is known to have it, and its absence proves something.
func (c byURI) recall(s *status) (free, known bool) {
	g := c.g
	if !c.new { // of one that was not here before nothing is known here, or else the claim finds it out
		if h := g.front.Get(c.id); h != nil {
			g.readFront(s, h, c.came)
			return false, true
		}
		if g.flights.of(c.id) != nil {
			return false, false
		}
	}
	s.phase = unused
	c.freshen(&s.record)
	return g.absent(c.id, c.claims.Expires, c.came) == unused, false // the ledger judges by its own time
}

// find asks the ledger, which is what everybody else goes by: a flight that is about to end knows less.
func (c byURI) find(ctx context.Context) (status, error) {
	g := c.g
	fl := g.flights.decided(ctx, c.id)
	// The time is read before the ledger is asked: a claim that a reader has not seen yet is refused by then.
	now := g.now()
	if end := c.claims.Expires.Add(store.Skew); c.late && now.Before(end) {
		now = end // the ledger's clock decides, and it is ahead of ours
	}
	if h := g.front.Get(c.id); h != nil {
		return g.atFront(h, now), nil
	}
	r, err := g.store.Lookup(ctx, store.ByID(c.id))
	var s status
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.record, s.phase = c.fresh(), g.absent(c.id, c.claims.Expires, now)
	case err != nil:
		return s, err
	default:
		g.front.Add(&r)
		s = g.at(&r, now)
	}
	if s.phase == unused && fl != nil { // whoever goes on with it needs its place
		g.flights.await(ctx, fl)
	}
	return s, nil
}

// absent tells what it means that there is no record of id: it proves that the action never ran for as long as the record would
// still be kept, and nothing after that.
func (g *Gate) absent(id store.ID, expires, now time.Time) phase {
	switch {
	case id.Shelf().Past(now), g.beforeRestore(id):
		return gone
	case !now.Before(expires.Add(store.Skew)):
		return neverUsed
	default:
		return unused
	}
}

// show answers GET and HEAD.
func (c *call) show() {
	g, s := c.g, &c.end.status
	if _, known := c.naming.recall(s); !known {
		var err error
		if *s, err = c.naming.find(c.r.Context()); err != nil {
			c.ledgerTrouble(err, unknown)
			return
		}
	}
	g.keepReady(s)
	c.link(s)
	switch s.phase {
	case done:
		allow := "GET, HEAD"
		if c.claims.Method != http.MethodPost {
			allow = c.permitted()
		}
		g.repeatAt(c.w, c.r, s, allow)
	case unused:
		c.w.Header().Set("Allow", c.permitted())
		g.writeState(c.w, c.r, s)
	case running, accepted, sent, unknown:
		g.writeState(c.w, c.r, s)
	default:
		c.refuse(s)
	}
}

// permitted is Allow while the action is unused.
func (c *call) permitted() string {
	switch {
	case c.claims.Method == http.MethodPost && c.route.has(doorPostPut):
		return "GET, HEAD, POST, PUT, DELETE"
	case c.claims.Method == http.MethodPost:
		return "GET, HEAD, POST, DELETE"
	}
	return "GET, HEAD, " + c.claims.Method // nobody could tell its DELETE from one that burns
}

// misuse: a URI for PUT, PATCH or DELETE repeats its answer, and that is not about another body.
func (c byURI) misuse(s *status) *problem {
	if c.replays() && s.phase == done {
		return c.unlessSame(s, problemBodyDiffers)
	}
	return nil
}

// replays tells whether the URI repeats the stored answer, where a POST gets 405.
func (c byURI) replays() bool { return c.r.Method != http.MethodPost }

func (c byURI) repeat(s *status) {
	if c.replays() {
		c.replay(s)
		return
	}
	c.refuse(s)
}

func (byURI) mark(http.Header, *status, bool) {}

// fresh is the record of an action that nobody has claimed.
func (c *call) fresh() (r store.Record) {
	c.freshen(&r)
	return r
}

// freshen makes r, which is zero, that record.
func (c *call) freshen(r *store.Record) {
	r.ID, r.Door, r.Route, r.Method, r.Target, r.Expires = c.id, doorPOE, c.route.Name, c.claims.Method, c.claims.Target, c.claims.Expires
}

// burn answers DELETE on a POST token: it voids the action for ever, if nothing was sent yet.
func (c *call) burn() {
	g := c.g
	for {
		s, err := c.naming.find(c.r.Context())
		if err != nil {
			c.ledgerTrouble(err, unknown)
			return
		}
		if s.phase == burned {
			c.say(&s)
			c.w.WriteHeader(http.StatusNoContent)
			return
		}
		if s.phase == accepted {
			c.cancel(&s)
			return
		}
		if s.phase != unused {
			c.refuse(&s)
			return
		}
		record := s.record
		record.Principal, record.Names = *c.owner, claimable(record.Names)
		record.State, record.Term, record.Status, record.Finished = store.Burned, g.newTerm(), 0, g.now()
		if address := c.signedCallback(&record); address != "" { // a claim has no children: the record is due until it has this one
			record.Request.Head, record.Due = replay.EncodeRequestHead(http.Header{callbackKept: {address}}, nil), record.Finished
		}
		ctx := context.WithoutCancel(c.r.Context())
		_, err = g.writeClaim(ctx, &record)
		switch {
		case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrExpired):
			c.late = errors.Is(err, store.ErrExpired)
			continue // it has moved on: look again
		case err != nil:
			c.ledgerTrouble(err, unknown) // whether it is burned now
			return
		}
		g.metrics.rests(burned)
		g.front.Add(&record)
		if !record.Due.IsZero() {
			g.tellBurned(ctx, &record)
		}
	}
}

// signedCallback is the address that is told of the end of an action with a POE URI: the one that its last attempt came with, or that was signed.
func (c *call) signedCallback(r *store.Record) string {
	if !c.route.has(doorCallback) {
		return ""
	}
	if address := keptCallback(r); address != "" {
		return address
	}
	return c.claims.Callback
}

// tellBurned spawns the call that tells of an action which its client has burned. Until that is written the action stands on the agenda.
func (g *Gate) tellBurned(ctx context.Context, r *store.Record) {
	was, next := *r, *r
	was.State = store.Unused
	next.Term, next.Due, next.Request = g.newTerm(), time.Time{}, withoutContent(r.Request)
	if _, err := g.writeAdvance(ctx, r, &next, store.Also{Spawn: g.calls(&was, &next)}); err != nil {
		g.quarrel(err, r, "telling of an action that was burned: it is told later")
		return
	}
	g.front.Add(&next)
	g.nudge(g.owed)
}
