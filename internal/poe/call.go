package core

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
)

// A call is a request on its way through a door to its action.
type call struct {
	g       *Gate
	w       http.ResponseWriter
	r       *http.Request
	target  string // path and query as received, without our parameter
	method  string // of the action, as the application is to see it
	exec    Executor
	pass    http.Handler
	through *entrance
	at      string // the path that the route was found by; "": that of the target
	route   *route
	asker             // who asks
	owner   *[32]byte // whose action it is, if it becomes one
	naming  naming
	guards  []guard

	// Only through the door of POE URIs.
	token  string
	claims tokens.Claims
	came   time.Time // when they were verified
	id     store.ID

	end    ending // where the action stands, and how executing it ended
	action action

	body     *replay.Body // nil until it was read
	bodyErr  error        // how reading it ended
	digest   [32]byte     // SHA-256 of what was read
	waits    time.Time    // until when the client is willing to wait; zero: not at all
	callback string       // the address that was signed with an action's POE URI, where it goes on under its key
	salt     string       // what else tells this request from another under its name
	since    time.Time    // nothing was claimed under its name before then; zero: nobody knows

	// In one place, where they take the room of one.
	lost       uint8 // how often somebody else was quicker, but for those that it has waited for
	wellFormed bool  // the token's parameter is the last one, and the only one of its name
	late       bool  // the ledger has refused a claim as expired
	blind      bool  // nobody has looked yet where the action stands
	new        bool  // the token was not here before, as far as is remembered
	answering  bool  // no other interim answer is sent; guarded by interim

	said    *[4]string // room for values of fields of the answer, which have it for longer than the call lasts
	interim sync.Mutex // held while an interim answer is sent
}

// calls are those that can be used again. A request that is answered from memory needs little else.
var calls = sync.Pool{New: func() any { return new(call) }}

// giveBack gives c back when its request is answered. Whom a handler has left behind has the execution's context, its own request and the recorder, which asks
// nothing of a call any more when it was ended. After a panic it is not called.
func (c *call) giveBack() {
	*c = call{}
	calls.Put(c)
}

// room returns the room for values of fields.
func (c *call) room() *[4]string {
	if c.said == nil {
		c.said = new([4]string)
	}
	return c.said
}

// guardAnswer is guardFront, with room of the call's.
func (c *call) guardAnswer() {
	h := c.w.Header()
	replay.DropCaching(h)
	if !saysGuarded(h) {
		said := c.room()
		said[2], said[3] = "no-store", "same-origin"
		h["Cache-Control"], h["Referrer-Policy"] = said[2:3:3], said[3:4:4]
	}
}

// query returns the query as the application may see it: what came to us, without our parameter. Something in front of us may have made another of it
// than the client's: a tenant that the client must not choose is put there.
func (c *call) query() string {
	if c.token == "" {
		return c.r.URL.RawQuery
	}
	return withoutParam(c.r.URL.RawQuery, c.g.cfg.Param)
}

// inbound returns the client's request as the application may see it: without our parameter, with the action's method, under ctx.
func (c *call) inbound(ctx context.Context) *http.Request {
	out := c.r.WithContext(ctx)
	u := *c.r.URL
	u.RawQuery = c.query()
	out.URL, out.RequestURI, out.Method = &u, c.target, c.method
	if out.Form != nil { // somebody before us has parsed it, our parameter included
		out.Form = maps.Clone(out.Form)
		delete(out.Form, c.g.cfg.Param)
	}
	return out
}

// say puts on the answer where the action stands, and what the door says of it.
func (c *call) say(s *status) {
	if state := s.state(false); state != "" {
		said := c.room()
		said[0] = state
		c.w.Header()["Poe-State"] = said[0:1:1]
	}
	c.naming.mark(c.w.Header(), s, false)
}

// link puts the outcome link on the answer.
func (c *call) link(s *status) {
	link, h := c.g.statusLink(s), c.w.Header()
	switch {
	case link == "":
	case h["Link"] == nil:
		said := c.room()
		said[1] = link
		h["Link"] = said[1:2:2]
	default:
		addField(h, "Link", link)
	}
}

// once executes the action, unless it was, is, or can no longer be.
func (c *call) once() {
	g := c.g
	answered, known := c.claimBlindly()
	if answered {
		return
	}
	// A client that says no more may still listen: what its body was, or the end of its half of the connection, is no
	// reason to tell it that the ledger is away.
	ctx := context.WithoutCancel(c.r.Context())
	s := &c.end.status
	for ; ; known = false {
		if !known {
			var err error
			if *s, err = c.naming.find(ctx); err != nil {
				c.ledgerTrouble(err, unknown)
				return
			}
		}
		if s.phase == unused {
			switch {
			case !c.mayResume(s), !c.complete(s), !c.resumes(s):
				return
			case c.lost == mostLost:
				c.notExecuted(http.StatusServiceUnavailable, s)
				return
			case !c.attempt():
				return
			}
			c.lost++ // somebody else was quicker: look again
			continue
		}
		if p := c.naming.misuse(s); p != nil {
			g.write(c.w, c.r, p)
			return
		}
		switch id, within := ActionID(c.r.Context()); {
		case within && id == s.record.ID && underWay(s.phase):
			g.log.Error().Stringer("id", id).Msg("an action that is being executed has come back to its own gate, and waits for itself: it is refused. Between two Onces nothing may change a path but by taking a prefix away")
			http.Error(c.w, "the action that is being executed was here before", http.StatusInternalServerError)
		case underWay(s.phase) && promised(&s.record) && c.deferred() && !c.viaURI():
			c.accepted(s, c.naming.repeat)
		case (underWay(s.phase) || lookedAfter(s)) && g.await(c.r.Context(), s.record.ID, c.waits):
			continue
		case s.phase == done:
			c.naming.repeat(s)
		default:
			c.refuse(s)
		}
		return
	}
}

// mostLost is how often somebody else may be quicker before a request is answered that it may come again.
const mostLost = 100

// mayResume tells whether an action that is unused again is the client's to go on with, and answers where it is not. It is asked before
// anything is said of the action.
func (c *call) mayResume(s *status) bool {
	r := &s.record
	if r.ID.IsZero() || c.viaURI() || r.Door != doorPOE || r.Principal == [32]byte{} || c.owns(&r.Principal) {
		return true
	}
	c.g.write(c.w, c.r, c.g.problem(problemPrincipalChanged))
	return false
}

// resumes tells whether the request may be the next attempt of an action that is unused again, and answers where it may not. Under a name of
// the client's alone it may be another request, and the action is that one from then on. An action with a POE URI stays what was signed:
// what comes under the key that was sent along with it must be the same request, and leaves it whose it is.
func (c *call) resumes(s *status) bool {
	r := &s.record
	switch {
	case r.ID.IsZero(), c.viaURI():
		return true
	case r.Door != doorPOE:
		r.Method, r.Target = c.method, c.target
		return true
	}
	if n := c.guesses(s); n != nil {
		same, trouble := n.same(r)
		switch {
		case trouble != nil:
			c.g.write(c.w, c.r, trouble)
			return false
		case !same:
			c.g.write(c.w, c.r, n.tell(problemKeyReused, s, false))
			return false
		}
		c.say(s)
	} else if p := c.unlessSame(s, problemKeyReused); p != nil {
		c.g.write(c.w, c.r, p)
		return false
	}
	owner := r.Principal // s is looked up again
	c.owner, c.callback = &owner, signedIn(r)
	return true
}

// guesses returns the naming of a request that may have guessed the key of an action with a POE URI that is nobody's; nil: it has not. Nothing is
// said of the action before the request is known to be the same.
func (c *call) guesses(s *status) *byName {
	n, ok := c.naming.(*byName)
	if !ok || s.record.ID.IsZero() || s.record.Door != doorPOE || !n.guessable(&s.record) {
		return nil
	}
	return n
}

// underWay tells whether an action's end is still to come, without anybody's help.
func underWay(p phase) bool { return p == running || p == accepted || p == sent }

// lookedAfter tells whether an action is unknown, and a policy is at work to change that.
func lookedAfter(s *status) bool { return s.phase == unknown && !s.record.Due.Equal(store.Person) }

// viaURI tells whether the request came with a POE URI. After one POST to it has succeeded no other gets a 2xx.
func (c *call) viaURI() bool {
	_, is := c.naming.(byURI)
	return is
}

// claimBlindly goes straight to the claim, which looks for itself, and so spares most first requests a question to the ledger. It
// does so only where the order of the checks cannot be told from outside: the body is small and on its way, and
// nothing is wrong with it. Unless it was answered nothing was executed; if known, it is known where the action stands.
func (c *call) claimBlindly() (answered, known bool) {
	if c.r.ContentLength < 0 || c.r.ContentLength > min(blindBody, c.g.cfg.MaxBody) || expectsContinue(c.r) {
		return false, false
	}
	free, known := c.naming.recall(&c.end.status)
	if !free || c.readBody() != nil || !c.digestsMatch(c.body) {
		return false, known
	}
	c.blind = true
	lost := c.attempt()
	c.blind = false
	return !lost, false
}

// replay answers with the stored answer that the action got when it was executed, or with what its client got in the place of that.
func (c *call) replay(s *status) {
	c.g.keepReady(s)
	c.link(s)
	c.naming.mark(c.w.Header(), s, true)
	if s.record.Status != http.StatusMethodNotAllowed {
		c.body.Release() // as after an execution
		c.g.repeat(c.w, c.r, s, s.record.Status)
		return
	}
	if c.g.authorized(c.w, c.r, &s.record) {
		s.setState(c.w.Header(), true)
		c.g.write(c.w, c.r, c.g.problem(problemMethodRefused).about(c.g, s))
	}
}

// about begins a problem about an action, and says on the answer where that stands.
func (c *call) about(k *kind, s *status) *problem {
	c.say(s)
	c.link(s)
	return c.g.problem(k).about(c.g, s)
}

// refuse answers an unsafe method on an action that cannot be executed (any more), and GET on one that is over.
func (c *call) refuse(s *status) {
	g, h := c.g, c.w.Header()
	g.keepReady(s)
	c.say(s)
	safe := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	if !safe {
		c.link(s)
	}
	var p *problem
	switch s.phase {
	case done:
		c.consumed(s)
		return
	case running, accepted, sent:
		p = g.problem(problemRunning)
		if s.phase == accepted {
			p.words = acceptedWords
		}
	case unknown:
		p = c.notKnown(s)
		if wait := g.comeBack(s); wait != "" && p.Retry == retrySame {
			h.Set("Retry-After", wait)
		}
	case burned:
		p = g.burned(&s.record)
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

// burned says that an action was cancelled, or what else has made it void.
func (g *Gate) burned(r *store.Record) *problem {
	p := g.problem(problemBurned)
	switch e := burnedBy(r); {
	case burnedInDoubt(r):
		p.Retry, p.Detail = retryNever, "it was sent before, and nobody knows whether it was executed then"
	case tookBack(e):
		p.Detail = "nobody cancelled it: it was sent, nobody knew whether it was executed, and it was taken back"
	case e.Who == "recovery":
		p.Detail = "nobody cancelled it: it was sent, and turned out not to have been done"
	case e.Who == "engine":
		p.Detail = "nobody cancelled it: it was accepted, and given up, since " + e.Why
	}
	return p
}

// burnedBy returns the line of history that tells of it; none where the client burned what was not sent.
func burnedBy(r *store.Record) store.Event {
	for _, e := range slices.Backward(r.History) {
		if e.To == store.Burned && e.From != store.Burned {
			return e
		}
	}
	return store.Event{}
}

// burnedInDoubt tells whether a person has burned r when nobody knew whether it was executed. Recovery burns only what surely was not.
func burnedInDoubt(r *store.Record) bool {
	return slices.ContainsFunc(r.History, func(e store.Event) bool {
		return e.From == store.Unknown && e.To == store.Burned && e.Who != "recovery"
	})
}

// lastStatus returns the last answer that there was, which may be that of an attempt before the latest. What a probe or a compensation was answered is none.
func lastStatus(r *store.Record) int {
	if r.Status != 0 {
		return r.Status
	}
	for _, e := range slices.Backward(r.History) {
		if e.Status != 0 && (e.Who != "recovery" || strings.HasPrefix(e.Why, sentAgain)) {
			return e.Status
		}
	}
	return 0
}

// ledgerTrouble says that the ledger does not answer: nothing is ever executed unclaimed. p is unused where the
// claim failed, since nothing was sent, and unknown where not even the state could be read.
func (c *call) ledgerTrouble(err error, p phase) {
	g := c.g
	g.sayTrouble(err, c.id)
	s := status{phase: p, record: store.Record{ID: c.id}}
	c.say(&s)
	answer := g.problem(problemLedgerUnavailable)
	if !c.id.IsZero() {
		answer.State = p.word() // and no outcome: its address would not answer either
	}
	g.write(c.w, c.r, answer)
}
