package core

import (
	"context"
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
)

// A call is a request to a POE URI on its way through the door.
type call struct {
	g          *Gate
	w          http.ResponseWriter
	r          *http.Request
	uri        string // the POE URI as received: path and query
	target     string // without our parameter
	token      string
	wellFormed bool // the parameter is the last one, and the only one of its name
	exec       Executor
	pass       http.Handler

	route     *route
	claims    tokens.Claims
	id        store.ID
	principal [32]byte
	body      *replay.Body // nil until it was read
	bodyErr   error        // how reading it ended
	digest    [32]byte     // SHA-256 of what was read
	waits     time.Time    // until when the client is willing to wait; zero: not at all
	late      bool         // the ledger has refused a claim as expired
	blind     bool         // nobody has looked yet where the action stands
}

// The door of POE URIs: docs/protocol.md, "The POE URI". Checks run in the order of that section, and the first that
// fails answers.
func (g *Gate) door(c *call) {
	defer func() { c.body.Release() }() // nil is fine
	guardHeader(c.w.Header())
	if err := c.identify(); err != nil {
		g.write(c.w, c.r, g.problem(problemNotFound))
		return
	}
	if c.r.Method == http.MethodOptions {
		c.pass.ServeHTTP(c.w, g.passable(c.withoutToken(c.r.Context())))
		return
	}
	c.route.cors(c.w.Header(), c.r)
	if c.refuseStranger() {
		return
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		c.show()
	case c.claims.Method:
		c.waits = g.patience(c.r)
		c.once()
	default:
		c.burn()
	}
}

// identify verifies the token and that it is good for this place. Every failure is the same error: a forged, a
// foreign and a garbled token get one answer.
func (c *call) identify() error {
	g := c.g
	if !c.wellFormed {
		return errNotOurs
	}
	claims, err := g.cfg.Keys.Verify(c.token, g.now())
	if err != nil {
		g.log.Debug().Err(err).Msg("refusing a token")
		return errNotOurs
	}
	if claims.Target != c.target {
		return errNotOurs
	}
	path, ok := targetPath(claims.Target)
	if !ok {
		return errNotOurs
	}
	c.claims, c.id = claims, store.ID(claims.ID)
	if c.route = g.routes.find(claims.Method, path); c.route == nil {
		return errNotOurs
	}
	allowed := []string{claims.Method, http.MethodGet, http.MethodHead, http.MethodOptions}
	if claims.Method == http.MethodPost {
		allowed = append(allowed, http.MethodDelete)
	}
	if !slices.Contains(allowed, c.r.Method) {
		return errNotOurs
	}
	c.principal = g.whoIs(c.r, c.route)
	return nil
}

// refuseStranger answers a page of another site, and a principal other than the signed one.
func (c *call) refuseStranger() bool {
	g := c.g
	if err := c.route.origin.Check(c.r); err != nil {
		g.write(c.w, c.r, g.problem(problemCrossOrigin))
		return true
	}
	if c.claims.Principal != ([32]byte{}) && subtle.ConstantTimeCompare(c.claims.Principal[:], c.principal[:]) != 1 {
		g.write(c.w, c.r, g.problem(problemOtherPrincipal))
		return true
	}
	return false
}

// withoutToken returns the request as the application may see it: without the parameter, under ctx.
func (c *call) withoutToken(ctx context.Context) *http.Request {
	out := c.r.WithContext(ctx)
	u := *c.r.URL
	_, u.RawQuery, _ = strings.Cut(c.target, "?")
	u.ForceQuery = false
	out.URL, out.RequestURI = &u, c.target
	if out.Form != nil { // somebody before us has parsed it, our parameter included
		out.Form = maps.Clone(out.Form)
		delete(out.Form, c.g.cfg.Param)
	}
	return out
}

// status finds out where the action stands now. running is told from the flights of this process without asking
// the ledger; everything else is what the ledger has made durable.
func (c *call) status(ctx context.Context) (status, error) {
	g := c.g
	s := status{record: c.fresh()}
	if g.flights.of(c.id) != nil {
		s.phase, s.record.State = running, store.Running
		return s, nil
	}
	// The time is read before the ledger is asked: a claim that a reader has not seen yet is refused by then.
	now := g.now()
	if end := c.claims.Expires.Add(store.Skew); c.late && now.Before(end) {
		now = end // the ledger's clock decides, and it is ahead of ours
	}
	if r, ok := g.front.Get(c.id); ok {
		return g.at(r, now), nil
	}
	r, err := g.store.Lookup(ctx, store.ByID(c.id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.phase = g.absent(c.id, c.claims.Expires, now)
		return s, nil
	case err != nil:
		return s, err
	}
	g.front.Add(r)
	return g.at(r, now), nil
}

// absent tells what it means that there is no record of id: it proves that the action never ran for as long as the record would
// still be kept, and nothing after that.
func (g *Gate) absent(id store.ID, expires, now time.Time) phase {
	switch {
	case id.Shelf().Past(now), id.Minted().Before(g.restored):
		return gone
	case !now.Before(expires.Add(store.Skew)):
		return neverUsed
	default:
		return unused
	}
}

// show answers GET and HEAD.
func (c *call) show() {
	g := c.g
	s, err := c.status(c.r.Context())
	if err != nil {
		c.ledgerTrouble(err, unknown)
		return
	}
	if s.phase == running && s.record.Claimed.IsZero() { // told by the flight, which does not count attempts
		if r, err := g.store.Lookup(c.r.Context(), store.ByID(c.id)); err == nil {
			s.record.Attempt = r.Attempt
		}
	}
	g.linkOutcome(c.w.Header(), &s, c.uri)
	switch s.phase {
	case done:
		g.repeat(c.w, c.r, &s, replay.OutcomeStatus(s.record.Status))
	case unused:
		c.w.Header().Set("Allow", c.permitted())
		g.writeState(c.w, c.r, &s)
	case running, accepted, sent, unknown:
		g.writeState(c.w, c.r, &s)
	default:
		c.refuse(&s)
	}
}

// permitted is Allow while the action is unused.
func (c *call) permitted() string {
	if c.claims.Method == http.MethodPost {
		return "GET, HEAD, POST, DELETE"
	}
	return "GET, HEAD, " + c.claims.Method // nobody could tell its DELETE from one that burns
}

// once answers the signed method: it executes the action, unless it was, is, or can no longer be.
func (c *call) once() {
	g := c.g
	if c.claimBlindly() {
		return
	}
	// A client that says no more may still listen: what its body was, or the end of its half of the connection, is no
	// reason to tell it that the ledger is away.
	ctx := context.WithoutCancel(c.r.Context())
	for {
		s, err := c.status(ctx)
		if err != nil {
			c.ledgerTrouble(err, unknown)
			return
		}
		switch {
		case s.phase == unused:
			if c.complete(&s) && c.attempt(&s) {
				continue // somebody else was quicker: look again
			}
			return
		case s.phase == running && g.await(c.r.Context(), c.id, c.waits):
			continue
		case s.phase == done && c.claims.Method != http.MethodPost:
			c.replay(&s)
			return
		}
		c.refuse(&s)
		return
	}
}

// claimBlindly goes straight to the claim, which looks for itself, and so spares most first POSTs a question to the ledger. It
// does so only where the order of the checks cannot be told from outside: the body is small and on its way, and
// nothing is wrong with it. Where it returns false nothing was answered and nothing was executed.
func (c *call) claimBlindly() bool {
	g := c.g
	if c.r.ContentLength < 0 || c.r.ContentLength > min(blindBody, g.cfg.MaxBody) || expectsContinue(c.r) || g.flights.of(c.id) != nil {
		return false
	}
	if _, finished := g.front.Get(c.id); finished || g.absent(c.id, c.claims.Expires, g.now()) != unused {
		return false // absence would prove nothing, so the claim must not rest on it
	}
	if c.readBody() != nil || !c.digestsMatch(c.body) {
		return false
	}
	c.blind = true
	s := status{phase: unused, record: c.fresh()}
	lost := c.attempt(&s)
	c.blind = false
	return !lost
}

// replay answers a request that was executed before, by PUT, PATCH or DELETE, with the answer that it got then. Whoever sends
// another body is told so: the answer is not about theirs.
func (c *call) replay(s *status) {
	g := c.g
	sum, err := c.bodySum()
	var k *kind
	switch {
	case errors.Is(err, replay.ErrTooLarge), err == nil && sum != s.record.Request.Digest:
		k = problemBodyDiffers // a body over the limit is not the one that was executed
	case err != nil:
		k = problemIncompleteBody
	}
	g.linkOutcome(c.w.Header(), s, c.uri)
	if k == nil {
		g.repeat(c.w, c.r, s, s.record.Status)
		return
	}
	s.setState(c.w.Header(), false)
	g.write(c.w, c.r, g.problem(k).about(g, s))
}

// fresh is the record of an action that nobody has claimed.
func (c *call) fresh() store.Record {
	return store.Record{
		ID: c.id, Door: "poe", Route: c.route.Name, Method: c.claims.Method, Target: c.claims.Target, Expires: c.claims.Expires,
	}
}

// burn answers DELETE on a POST token: it voids the action for ever, if nothing was sent yet.
func (c *call) burn() {
	g := c.g
	for {
		s, err := c.status(c.r.Context())
		if err != nil {
			c.ledgerTrouble(err, unknown)
			return
		}
		if s.phase == burned {
			s.setState(c.w.Header(), false)
			c.w.WriteHeader(http.StatusNoContent)
			return
		}
		if s.phase != unused {
			c.refuse(&s)
			return
		}
		record := s.record
		record.Principal = c.claims.Principal
		record.State, record.Term, record.Status, record.Finished = store.Burned, g.newTerm(), 0, g.now()
		ctx := context.WithoutCancel(c.r.Context())
		got, err := repeatWrite(ctx, func() (store.Record, error) { return g.store.Claim(ctx, record) })
		switch {
		case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrExpired):
			c.late = errors.Is(err, store.ErrExpired)
			continue // it has moved on: look again
		case err != nil:
			c.ledgerTrouble(err, unknown) // whether it is burned now
			return
		}
		g.metrics.rested[burned].Inc()
		g.front.Add(got)
	}
}

// refuse answers an unsafe method on an action that cannot be executed (any more), and GET on one that is over.
func (c *call) refuse(s *status) {
	g, h := c.g, c.w.Header()
	s.setState(h, false)
	safe := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	if !safe {
		g.linkOutcome(h, s, c.uri)
	}
	var p *problem
	switch s.phase {
	case done:
		h.Set("Allow", "GET, HEAD")
		p = c.consumed(s)
	case running, accepted, sent:
		p = g.problem(problemRunning)
	case unknown:
		p = g.problem(problemOutcomeUnknown)
	case burned:
		p = g.problem(problemBurned)
	case neverUsed:
		p = g.problem(problemNeverUsed)
	case expired:
		p = g.problem(problemExpired)
		p.Attempts, p.LastStatus = s.record.Attempts(), lastStatus(&s.record)
	case gone, unused:
		p = g.problem(problemGone)
	}
	g.write(c.w, c.r, p.about(g, s))
}

// lastStatus returns the last answer that there was, which may be that of an attempt before the latest.
func lastStatus(r *store.Record) int {
	if r.Status != 0 {
		return r.Status
	}
	for _, e := range slices.Backward(r.History) {
		if e.Status != 0 {
			return e.Status
		}
	}
	return 0
}

// consumed is the 405: whose POST won, when, and with which result.
func (c *call) consumed(s *status) *problem {
	p := c.g.problem(problemConsumed)
	p.ExecutedAt, p.OutcomeStatus = timePointer(s.record.Finished), s.record.Status
	if sum, ok := c.sum(); ok {
		same := sum == s.record.Request.Digest
		p.RequestMatches = &same
	}
	return p
}

// ledgerTrouble says that the ledger does not answer: nothing is ever executed unclaimed. p is unused where the
// claim failed, since nothing was sent, and unknown where not even the state could be read.
func (c *call) ledgerTrouble(err error, p phase) {
	g := c.g
	g.log.Error().Err(err).Stringer("id", c.id).Msg("asking the ledger")
	s := status{phase: p, record: store.Record{ID: c.id}}
	s.setState(c.w.Header(), false)
	answer := g.problem(problemLedgerUnavailable)
	answer.State = p.word() // and no outcome: its address would not answer either
	g.write(c.w, c.r, answer)
}
