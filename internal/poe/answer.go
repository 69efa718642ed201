package core

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// attempt claims, executes and answers. It returns true, without an answer, where somebody else has the action.
func (c *call) attempt() (lost bool) {
	end := &c.end
	s := &end.status
	s.phase, end.lost, end.refused = unused, false, nil
	end.room = s.record // what is still said of it where it cannot be claimed
	if p, err := c.prepare(&s.record); p != nil || err != nil {
		s.record = end.room
		return c.unprepared(s, p, err)
	}
	delete(c.w.Header(), "Poe-State") // it said unused
	ctx := context.WithoutCancel(c.r.Context())
	defer end.release()
	defer c.goUp(end)
	switch holder, err := c.ahead(ctx, &s.record); {
	case len(c.route.unique) > 0 && s.record.ID.Days() != 0: // named before the route had business keys: it would be forgotten before them
		end.refused = store.ErrExpired
	case errors.Is(err, store.ErrTaken):
		end.lost = true
		s.is(phaseOf(holder.State), holder)
	case err != nil:
		end.refused = err
	case c.deferred():
		c.accept(end)
	default:
		c.action = action{route: c.route, client: c, exec: c.exec, keep: c.route.Recovery == RecoveryRepeat}
		c.g.execute(c.r.Context(), ctx, &c.action, end)
	}
	if end.refused != nil && len(c.guards) > 0 && !c.blind && turnedAway(end.refused) {
		c.beforehand(ctx, end)
	}
	switch {
	case end.lost:
		return c.lostTo(s, end.room.Names)
	case end.refused != nil:
		s.record = end.room
		return c.unclaimed(s, end.refused)
	default:
		c.answer(end)
		return false
	}
}

// turnedAway tells whether a claim was not even tried, whatever it is for.
func turnedAway(why error) bool {
	return errors.Is(why, errBusy) || errors.Is(why, errDraining) || errors.Is(why, errNobodyExecutes)
}

// beforehand looks for what a claim that was not tried would have met: the action that has a name of a guard may be this very request, executed long ago.
func (c *call) beforehand(ctx context.Context, end *ending) {
	switch holder, err := c.g.holder(ctx, &end.status.record); {
	case errors.Is(err, store.ErrTaken):
		end.refused, end.lost = nil, true
		end.status.is(phaseOf(holder.State), holder)
	case err != nil:
		end.refused = err
	}
}

// ahead looks at what is to be claimed before the claim does: at names that may have been forgotten, and where a large body would be written beside the ledger
// for a claim that is refused.
func (c *call) ahead(ctx context.Context, r *store.Record) (*store.Record, error) {
	holder, err := c.g.doubt(ctx, r)
	if keeps := c.deferred() || c.route.Recovery == RecoveryRepeat; err == nil && keeps && c.body.Size() > store.InlineLimit {
		return c.g.holder(ctx, r)
	}
	return holder, err
}

// prepare completes the record that is to be claimed: whose it is, what was sent, and under which names.
func (c *call) prepare(r *store.Record) (*problem, error) {
	g := c.g
	r.Principal, r.Since = *c.owner, c.since
	r.Request = store.Blob{Size: c.body.Size(), Digest: c.digest}
	r.Status, r.Finished, r.Resent, r.Undo, r.Digest = 0, time.Time{}, 0, store.ID{}, [32]byte{} // those were an earlier attempt's
	r.Names = claimable(r.Names)
	if p := c.ride(r); p != nil {
		return p, nil
	}
	if p := c.guard(r); p != nil {
		return p, nil
	}
	if r.ID.IsZero() {
		id, err := store.NewID(g.now(), c.route.keyDays, &g.random)
		if err != nil {
			return nil, fmt.Errorf("naming an action: %w", err)
		}
		r.ID, r.Expires = id, id.Minted().Add(c.route.Retention)
	}
	if len(r.Names) == 0 && c.method == http.MethodPost && !c.route.has(doorPostPut) && !varies(c.r.Header) {
		return nil, nil // nothing will ever be compared with it but the body's own digest
	}
	compare := c.route.compare
	if len(r.Names) == 0 && c.method == http.MethodPost && !c.route.has(doorPostPut) {
		compare = nil // its URI names it, whatever it lacks that others are compared by
	}
	sum, err := c.sameness(compare)
	if err != nil {
		return g.unsaid(err, problemKeyRequired), nil
	}
	r.Digest = sum
	return nil, nil
}

// ride notes in the record what its end will need to know of the request: whom to call back, and of which host it was asked.
func (c *call) ride(r *store.Record) *problem {
	address, p := c.wantsCallback()
	if p != nil {
		return p
	}
	h := http.Header{}
	if address != "" {
		h[callbackKept] = c.kept(address)
	}
	deletes := c.method == http.MethodDelete && c.g.routes.watchDeletions()
	recovers := c.route.Recovery == RecoveryProbe || c.route.Recovery == RecoveryCompensate
	if deletes || len(c.route.FreeOn) > 0 || c.route.has(doorMatch) || recovers || c.route.Authorize != "" {
		h["Host"] = []string{c.r.Host}
	}
	if len(h) > 0 {
		r.Request.Head = replay.EncodeRequestHead(h, nil)
	}
	return nil
}

// unprepared answers a request that cannot be claimed as it is. Nothing is said of it before somebody has looked where the
// action stands.
func (c *call) unprepared(s *status, p *problem, err error) (lost bool) {
	switch {
	case c.blind:
		return true
	case p != nil:
		c.say(s)
		c.g.write(c.w, c.r, p)
	default:
		c.g.log.Error().Err(err).Msg("preparing a claim")
		c.notExecuted(http.StatusServiceUnavailable, s)
	}
	return false
}

// unclaimed answers a request whose claim was refused: surely nothing was executed.
func (c *call) unclaimed(s *status, why error) (lost bool) {
	switch {
	case errors.Is(why, store.ErrExpired) && !c.late:
		c.late = true
		return true // the next look says what that means
	case errors.Is(why, store.ErrInvalid) && c.blind:
		return true // with all that earlier attempts have left, which that look shows, it is more than a record holds
	case turnedAway(why):
		if c.blind {
			return true // it may have been done long ago: that it is unused is not said before that look
		}
		if errors.Is(why, errNobodyExecutes) {
			c.g.log.Error().Str("route", c.route.Name).Msg("a route that accepts every request: none is accepted before Resume is called")
		}
		c.notExecuted(http.StatusServiceUnavailable, s)
	case errors.Is(why, errLostKeys):
		c.keysLost(s)
	case c.blind && c.new && c.g.front.Get(c.id) != nil: // it was not looked for here, and needs no ledger
		return true
	case c.blind:
		c.ledgerTrouble(why, unknown)
	default:
		c.ledgerTrouble(why, unused)
	}
	return false
}

// keysLost answers a request under a name that may have been used after the backup that the ledger was restored from.
func (c *call) keysLost(s *status) {
	p := c.g.problem(problemLedgerUnavailable)
	p.Detail = lostKeysDetail
	if c.viaURI() && !c.blind { // its id says that it is younger than the restore, but the names that came with it do not
		c.say(s)
		p = p.about(c.g, s)
	}
	c.w.Header().Set("Retry-After", retryLate)
	c.g.write(c.w, c.r, p)
}

// retryLate is the Retry-After of what waits for a person, in seconds.
const retryLate = "300"

// request returns what is executed.
func (c *call) request(id store.ID, attempt uint16) *replay.Request {
	g := c.g
	all := &struct { // in one piece
		q    replay.Request
		room [forwardedMost]replay.Field
	}{q: replay.Request{
		Method: c.method, Target: c.target, Host: c.r.Host, Header: g.endToEnd(c.r.Header), Trailer: c.r.Trailer,
		Body: c.body, RemoteAddr: c.r.RemoteAddr, TLS: c.r.TLS, Via: replay.Via(c.r),
	}}
	q := &all.q
	q.Forward = forwarded(all.room[:0], q.Header, id, attempt)
	if c.route.has(doorCallback) {
		q.Header.Del(callbackField) // it was for us
	}
	if c.deferred() {
		withoutDeferring(q.Header)
	}
	return q
}

// forwarded appends what tells the application about us: the action's id, and a key for each attempt unless the client sent one.
func forwarded(to []replay.Field, h http.Header, id store.ID, attempt uint16) []replay.Field {
	if len(h["Idempotency-Key"]) > 0 {
		return append(to, replay.Field{Name: "POE-Id", Value: id.String()})
	}
	var room [48]byte
	b, _ := id.AppendText(append(room[:0], '"')) // it never fails
	n := len(b)
	b = strconv.AppendInt(append(b, '.'), int64(attempt)+1, 10)
	key := string(append(b, '"'))
	return append(to, replay.Field{Name: "Idempotency-Key", Value: key}, replay.Field{Name: "POE-Id", Value: key[1:n]})
}

// inform passes an interim answer on (RFC 9110, section 15.2), except 100, since the client's body is
// here already, and except to HTTP/1.0, which has none.
func (c *call) inform(status int, h http.Header) {
	if status == http.StatusContinue || !c.r.ProtoAtLeast(1, 1) {
		return
	}
	c.interim.Lock()
	defer c.interim.Unlock()
	if c.answering {
		return
	}
	own := c.w.Header()
	before := own.Clone()
	for name, values := range h {
		own[name] = values
	}
	func() {
		defer limitWrite(c.w, min(c.g.cfg.Patience, interimTime)).Stop() // the execution waits for it
		if c.r.ProtoMajor == 2 {
			writeInterim(c.w, status)
		} else {
			c.w.WriteHeader(status)
		}
	}()
	clear(own)
	for name, values := range before {
		own[name] = values
	}
}

// interimTime is how long a client may take for an interim answer: short of the time for an execution, which goes on only then.
const interimTime = time.Second

// endInterim waits for an interim answer that is on its way, and lets no other follow: a handler may have left somebody behind who still sends them.
func (c *call) endInterim() {
	c.interim.Lock()
	defer c.interim.Unlock()
	c.answering = true
}

// stream begins an answer that is passed through while it is produced.
func (c *call) stream(s *status, head *replay.Answer) (http.ResponseWriter, error) {
	if head.Status == http.StatusMethodNotAllowed { // only what is used up says that
		own := *head
		own.Status = http.StatusNotImplemented
		head = &own
	}
	c.decorate(s, head.Status)
	giveWay(c.w, head.Header, true)
	replay.SendHead(c.w, c.r, head)
	return NewStreamWriter(c.w, c.g.cfg.Patience), nil
}

// decorate puts on the first answer what it says of the action.
func (c *call) decorate(s *status, code int) {
	g, h := c.g, c.w.Header()
	c.say(s)
	c.link(s)
	if code >= 200 && code < 300 && c.route.has(doorPOE) && poeVersion(c.r.Header) {
		m := MintRequest{Target: c.target, Method: c.method, TTL: c.route.TTL, Principal: c.proven}
		if next, err := g.Mint(c.r.Context(), m); err == nil { // a target that can be executed need not be one that can be signed
			g.addLinks(h, []Minted{next})
		}
	}
}

// answer sends the first client what became of the execution.
func (c *call) answer(end *ending) {
	c.endInterim()
	g := c.g
	s := &end.status
	switch {
	case s.phase == accepted:
		c.accepted(s, c.replay)
	case end.streamed && end.proof != replay.Complete:
		panic(http.ErrAbortHandler) // the client must not take half a stream for a whole one
	case end.streamed:
	case end.proof == replay.Unsent && s.phase == done: // as somebody has decided meanwhile
		c.naming.repeat(s)
	case end.proof == replay.Unsent && s.phase == burned:
		c.refuse(s)
	case end.proof == replay.Unsent:
		c.notExecuted(unsentStatus(end), s)
	case end.proof == replay.Broken:
		c.outcomeUnknown(end)
	case end.answer.Status == http.StatusMethodNotAllowed:
		c.decorate(s, http.StatusNotImplemented)
		g.write(c.w, c.r, g.problem(problemMethodRefused).about(g, s))
	default:
		c.decorate(s, end.answer.Status)
		giveWay(c.w, end.answer.Header, true)
		c.body.Release() // a client may take its time
		w, sent := unlessStalled(c.w, end.answer.Size, g.cfg.Patience)
		defer sent()
		if err := replay.Send(w, c.r, end.answer); err != nil {
			g.log.Debug().Err(err).Stringer("id", c.id).Msg("the client left before it had the answer")
		}
		killpoint.Hit("answering")
	}
}

// unsentStatus tells a timeout and a shortage from a refusal.
func unsentStatus(end *ending) int {
	switch {
	case end.timedOut:
		return http.StatusGatewayTimeout
	case errors.Is(end.err, replay.ErrBusy):
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}

// notExecuted says that surely nothing was sent.
func (c *call) notExecuted(code int, s *status) {
	g := c.g
	c.say(s)
	p := g.problem(problemNotExecuted).about(g, s)
	p.Status = code
	g.write(c.w, c.r, p)
}

// outcomeUnknown says that nobody knows.
func (c *call) outcomeUnknown(end *ending) {
	g := c.g
	s := &end.status
	c.decorate(s, http.StatusBadGateway)
	p := c.notKnown(s)
	p.Status = http.StatusBadGateway
	if end.timedOut {
		p.Status = http.StatusGatewayTimeout
	}
	why := reason(end, nil)
	if p.Detail != "" {
		why += "; " + p.Detail
	}
	p.Detail = why
	g.write(c.w, c.r, p)
}

// goUp sends the client of a handler that panics the whole answer, while the panic goes on up, to whoever catches the program's panics.
func (c *call) goUp(end *ending) {
	if end.panicked == nil || end.streamed { // half a stream ends with the connection
		return
	}
	c.endInterim()
	defer limitWrite(c.w, c.g.cfg.Patience).Stop()
	c.outcomeUnknown(end)
	_ = http.NewResponseController(c.w).Flush() // best effort: the connection ends now
}
