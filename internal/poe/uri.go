package core

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

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
		c.pass.ServeHTTP(c.w, g.passable(c.withoutToken()))
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

// withoutToken returns the request as the application may see it: without the parameter.
func (c *call) withoutToken() *http.Request {
	out := new(http.Request)
	*out = *c.r
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
		g.repeat(c.w, c.r, &s)
	case unused:
		c.w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		g.writeState(c.w, c.r, &s)
	case running, accepted, sent, unknown:
		g.writeState(c.w, c.r, &s)
	default:
		c.refuse(&s)
	}
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
		}
		c.refuse(&s)
		return
	}
}

// blindBody is the largest body that is read before anybody has looked whether the action is still unused, in bytes.
const blindBody = 64 << 10

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

// fresh is the record of an action that nobody has claimed.
func (c *call) fresh() store.Record {
	return store.Record{
		ID: c.id, Door: "poe", Route: c.route.Name, Method: c.claims.Method, Target: c.claims.Target, Expires: c.claims.Expires,
	}
}

// complete reads the body before anything is claimed: it must be within the limit, whole, and the one that was
// announced. It answers and returns false where it is not.
func (c *call) complete(s *status) bool {
	g := c.g
	s.setState(c.w.Header(), false)
	var k *kind
	switch err := c.readBody(); {
	case err == nil && c.digestsMatch(c.body):
		return true
	case err == nil:
		k = problemDigestMismatch
	case errors.Is(err, replay.ErrTooLarge):
		k = problemTooLarge
	case errors.Is(err, replay.ErrSpoolFull):
		c.notExecuted(http.StatusServiceUnavailable, s)
		return false
	default:
		k = problemIncompleteBody
	}
	g.write(c.w, c.r, g.problem(k).about(g, s))
	return false
}

// readBody reads the body into the spool, once; how that ended is remembered.
func (c *call) readBody() error {
	g := c.g
	switch {
	case c.body != nil:
	case c.r.ContentLength > g.cfg.MaxBody:
		return replay.ErrTooLarge
	default:
		c.body = g.cfg.Spool.New()
		c.body.Expect(c.r.ContentLength)
		lift := limitRead(c.w, g.cfg.Patience)
		_, c.bodyErr = c.body.CopyLimited(c.r.Body, g.cfg.MaxBody)
		lift()
	}
	return c.bodyErr
}

// digestsMatch compares the body with the digest in the token, and with what the client says in Content-Digest
// (RFC 9530). Algorithms that we do not know are no reason to refuse; a field that cannot be read is.
func (c *call) digestsMatch(body *replay.Body) bool {
	sum := body.Digest()
	if c.claims.Digest != ([32]byte{}) && subtle.ConstantTimeCompare(c.claims.Digest[:], sum[:]) != 1 {
		return false
	}
	lines := c.r.Header.Values("Content-Digest")
	if len(lines) == 0 {
		return true
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return false
	}
	for _, name := range d.Names() {
		member, _ := d.Get(name)
		item, ok := member.(httpsfv.Item)
		said, isBytes := item.Value.([]byte)
		if !ok || !isBytes {
			return false
		}
		switch name {
		case "sha-256":
			if subtle.ConstantTimeCompare(said, sum[:]) != 1 {
				return false
			}
		case "sha-512":
			h := sha512.New()
			if _, err := io.Copy(h, body.Reader()); err != nil || subtle.ConstantTimeCompare(said, h.Sum(nil)) != 1 {
				return false
			}
		}
	}
	return true
}

// attempt executes and answers. It returns true, without an answer, where somebody else has the action.
func (c *call) attempt(s *status) (lost bool) {
	g := c.g
	record := s.record
	record.Principal = c.claims.Principal
	record.Request = store.Blob{Size: c.body.Size(), Digest: c.body.Digest()}
	record.Status, record.Finished = 0, time.Time{} // those were an earlier attempt's
	delete(c.w.Header(), "Poe-State")               // it said unused
	end := g.execute(withInbound(c.r.Context(), c.withoutToken), &action{
		record: record, route: c.route, request: c.request, exec: c.exec, inform: c.inform, stream: c.stream,
	})
	defer end.release()
	switch {
	case end.lost:
		return true
	case errors.Is(end.refused, store.ErrExpired):
		c.late = true
		return true // the next look says what that means
	case errors.Is(end.refused, errBusy), errors.Is(end.refused, errDraining):
		if c.blind {
			return true // it may have been done long ago: that it is unused is not said before that look
		}
		c.notExecuted(http.StatusServiceUnavailable, s)
	case end.refused != nil && c.blind:
		c.ledgerTrouble(end.refused, unknown)
	case end.refused != nil:
		c.ledgerTrouble(end.refused, unused)
	default:
		c.answer(&end)
	}
	return false
}

// request returns what is executed.
func (c *call) request(attempt uint16) *replay.Request {
	g := c.g
	q := &replay.Request{
		Method: c.claims.Method, Target: c.target, Host: c.r.Host, Header: g.endToEnd(c.r.Header), Trailer: c.r.Trailer,
		Body: c.body, RemoteAddr: c.r.RemoteAddr, TLS: c.r.TLS,
		ForwardHeader: map[string]string{"POE-Id": c.id.String()},
	}
	if len(q.Header["Idempotency-Key"]) == 0 {
		q.ForwardHeader["Idempotency-Key"] = `"` + c.id.String() + "." + strconv.Itoa(int(attempt)+1) + `"`
	}
	return q
}

// inform passes an interim answer on (RFC 9110, section 15.2), except 100: the client's body is here already.
func (c *call) inform(status int, h http.Header) {
	if status == http.StatusContinue {
		return
	}
	own := c.w.Header()
	before := own.Clone()
	for name, values := range h {
		own[name] = values
	}
	c.w.WriteHeader(status)
	clear(own)
	for name, values := range before {
		own[name] = values
	}
}

// stream begins an answer that is passed through while it is produced.
func (c *call) stream(s *status, head *replay.Answer) (http.ResponseWriter, error) {
	c.decorate(s, head.Status)
	replay.SendHead(c.w, c.r, head)
	return c.w, nil
}

// decorate puts on the first answer what it says of the action.
func (c *call) decorate(s *status, code int) {
	g, h := c.g, c.w.Header()
	s.setState(h, false)
	g.linkOutcome(h, s, c.uri)
	if code >= 200 && code < 300 && poeVersion(c.r.Header) {
		m := MintRequest{Target: c.target, Method: c.claims.Method, TTL: c.route.TTL, Principal: c.principal}
		if next, err := g.mint(c.route, &m); err == nil {
			g.addLinks(h, []Minted{next})
		}
	}
}

// answer sends the first client what became of the execution.
func (c *call) answer(end *ending) {
	g := c.g
	s := &end.status
	switch {
	case end.streamed && end.proof != replay.Complete:
		panic(http.ErrAbortHandler) // the client must not take half a stream for a whole one
	case end.streamed:
	case end.proof == replay.Unsent:
		c.notExecuted(unsentStatus(end), s)
	case end.proof == replay.Broken:
		c.outcomeUnknown(end)
	case end.answer.Status == http.StatusMethodNotAllowed:
		c.decorate(s, http.StatusNotImplemented)
		g.write(c.w, c.r, g.problem(problemMethodRefused).about(g, s))
	default:
		c.decorate(s, end.answer.Status)
		w, sent := unlessStalled(c.w, end.answer.Size, g.cfg.Patience)
		defer sent()
		if err := replay.Send(w, c.r, end.answer); err != nil {
			g.log.Debug().Err(err).Stringer("id", c.id).Msg("the client left before it had the answer")
		}
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
	s.setState(c.w.Header(), false)
	p := g.problem(problemNotExecuted).about(g, s)
	p.Status = code
	g.write(c.w, c.r, p)
}

// outcomeUnknown says that nobody knows. After a panic of the handler the whole answer is sent first, and then the
// panic goes on up, to whoever catches the program's panics.
func (c *call) outcomeUnknown(end *ending) {
	g := c.g
	s := &end.status
	c.decorate(s, http.StatusBadGateway)
	p := g.problem(problemOutcomeUnknown).about(g, s)
	p.Status = http.StatusBadGateway
	if end.timedOut {
		p.Status = http.StatusGatewayTimeout
	}
	p.Detail = reason(end, nil)
	g.write(c.w, c.r, p)
	if end.panicked != nil {
		_ = http.NewResponseController(c.w).Flush() // best effort: the connection ends now
		panic(end.panicked)
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
		g.metrics.settled.WithLabelValues(burned.word()).Inc()
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

// sum returns the digest of this request's body, unless the client waits to be asked for it, or it is over the limit,
// or does not arrive: then nothing is compared.
func (c *call) sum() ([32]byte, bool) {
	switch {
	case c.body != nil:
		return c.body.Digest(), c.bodyErr == nil
	case c.r.Method != c.claims.Method, expectsContinue(c.r), c.r.ContentLength > c.g.cfg.MaxBody, c.r.Body == nil:
		return [32]byte{}, false
	}
	defer limitRead(c.w, c.g.cfg.Patience)()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(c.r.Body, c.g.cfg.MaxBody+1))
	if err != nil || n > c.g.cfg.MaxBody {
		return [32]byte{}, false
	}
	return [32]byte(h.Sum(nil)), true
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

// patience reads Prefer: wait (RFC 7240, section 4.3) and returns until when the client waits.
func (g *Gate) patience(r *http.Request) time.Time {
	prefer := r.Header["Prefer"]
	if len(prefer) == 0 {
		return time.Time{}
	}
	d, err := httpsfv.UnmarshalDictionary(prefer)
	if err != nil {
		return time.Time{}
	}
	member, ok := d.Get("wait")
	if !ok {
		return time.Time{}
	}
	item, _ := member.(httpsfv.Item)
	seconds, ok := item.Value.(int64)
	if !ok || seconds <= 0 {
		return time.Time{}
	}
	return g.now().Add(min(time.Duration(min(seconds, 86400))*time.Second, g.cfg.MaxWait))
}

// await blocks until somebody else's execution of id has ended, the client is no longer willing to wait, or there is
// no room for another waiter. It tells whether it is worth looking again.
func (g *Gate) await(ctx context.Context, id store.ID, until time.Time) bool {
	left := until.Sub(g.now())
	if until.IsZero() || left <= 0 {
		return false
	}
	select {
	case g.waiters <- struct{}{}:
	default:
		return false
	}
	defer func() { <-g.waiters }()
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	if fl := g.flights.of(id); fl != nil {
		fl.await(ctx)
		return ctx.Err() == nil
	}
	// It runs elsewhere: the ledger is asked again now and then.
	pause := time.NewTimer(min(left, pollEvery))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// pollEvery is how often a waiter asks the ledger for an action that runs in another process.
const pollEvery = 200 * time.Millisecond
