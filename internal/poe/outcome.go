package core

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// refMAC is how much of the keyed hash goes into a ref: 128 bits that nobody guesses.
const refMAC = 16

// appendRef appends the unguessable part of an outcome's address. It is made from the id with the ledger's
// secret, so it needs no room in the record, and no index.
func (g *Gate) appendRef(b []byte, id store.ID) []byte {
	mac := g.refMAC(id)
	var ref [len(id) + refMAC]byte
	copy(ref[copy(ref[:], id[:]):], mac[:])
	return base64.RawURLEncoding.AppendEncode(b, ref[:])
}

func (g *Gate) refMAC(id store.ID) [32]byte { return g.hash("outcome", string(id[:])) }

// parseRef returns the id in a ref that this ledger made.
func (g *Gate) parseRef(s string) (store.ID, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(store.ID{})+refMAC {
		return store.ID{}, false
	}
	id := store.ID(b[:16])
	mac := g.refMAC(id)
	return id, subtle.ConstantTimeCompare(b[16:], mac[:refMAC]) == 1
}

// visit finds the action behind a ref and checks who asks. It answers and returns false where there is nothing to
// show.
func (g *Gate) visit(w http.ResponseWriter, r *http.Request) (status, bool) {
	id, ok := g.parseRef(mux.Vars(r)["ref"])
	if !ok {
		g.refuse(w, r, g.problem(problemNotFound))
		return status{}, false
	}
	s, err := g.stands(r.Context(), id)
	switch {
	case err == nil && s.phase == gone,
		errors.Is(err, store.ErrNotFound) && (id.Shelf().Past(g.now()) || g.beforeRestore(id)):
		s = status{phase: gone, record: store.Record{ID: id}}
		s.setState(w.Header(), false)
		g.refuse(w, r, g.problem(problemGone).about(g, &s))
		return s, false
	case errors.Is(err, store.ErrNotFound):
		g.refuse(w, r, g.problem(problemNotFound))
		return s, false
	case err != nil:
		g.sayTrouble(err, id)
		g.refuse(w, r, g.problem(problemLedgerUnavailable))
		return s, false
	}
	rt := g.routeOf(r.Context(), &s.record)
	if rt != nil {
		rt.cors(w.Header(), r)
	}
	if !g.mayRead(r, &s.record, rt, g.routes.named(s.record.Route)) {
		g.write(w, r, g.problem(problemOtherPrincipal))
		return s, false
	}
	return s, true
}

// mayRead tells whether r comes from the action's principal, as the route of its target tells who that is, or, since that may have become another one,
// the one with its name. Where neither is configured any more nobody can be recognised, and only what belongs to nobody is shown.
func (g *Gate) mayRead(r *http.Request, rec *store.Record, by ...*route) bool {
	return rec.Principal == [32]byte{} || slices.ContainsFunc(by, func(rt *route) bool {
		if rt == nil {
			return false
		}
		who := g.whoIs(r, rt)
		return who.owns(&rec.Principal)
	})
}

// stands returns where the action with a record stands.
func (g *Gate) stands(ctx context.Context, id store.ID) (status, error) {
	now := g.now()
	if h := g.front.Get(id); h != nil {
		return g.atFront(h, now), nil
	}
	r, err := g.store.Lookup(ctx, store.ByID(id))
	if err != nil {
		return status{}, err
	}
	g.front.Add(&r)
	return g.at(&r, now), nil
}

// at reads a record at a time. One whose retention is over is gone, whether the sweep has been there or not: what is said
// does not depend on its pace; but by a clock that has leapt ahead nothing is forgotten. So is one that was unused when a backup was made that the ledger was
// restored from. One that is unused and can no longer be claimed is expired.
func (g *Gate) at(r *store.Record, now time.Time) (s status) {
	g.read(&s, r, now)
	return s
}

// read is at, into s, which is new: a record is large.
func (g *Gate) read(s *status, r *store.Record, now time.Time) {
	if shelf := r.ID.Shelf(); !r.State.Open() && shelf.Past(now) && shelf.Past(g.clock.Raise()) || r.State == store.Unused && g.beforeRestore(r.ID) {
		s.phase, s.record.ID = gone, r.ID
		return
	}
	s.phase, s.record = phaseOf(r.State), *r
	switch {
	case r.State != store.Unused || now.Before(r.Expires.Add(store.Skew)):
	case r.Attempts() == 0:
		s.phase = neverUsed
	default:
		s.phase = expired
	}
}

// atFront reads what the front has.
func (g *Gate) atFront(h *held, now time.Time) (s status) {
	g.readFront(&s, h, now)
	return s
}

// readFront is atFront, into s, which is new.
func (g *Gate) readFront(s *status, h *held, now time.Time) {
	g.read(s, &h.Record, now)
	s.held, s.link, s.ready = h, "", nil
}

// serveAtOutcome is /poe/outcomes/<ref>. What it allows is told as it is at that moment (RFC 9110, section 10.2.1): what is done cannot be cancelled.
func (g *Gate) serveAtOutcome(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		g.serveOutcome(w, r)
		return
	case http.MethodDelete:
		g.serveCancel(w, r)
		return
	}
	s, ok := g.visit(w, r)
	switch {
	case !ok:
	case s.phase == done, s.phase == unused, s.record.Kind != store.Request:
		notAllowed(w, "GET, HEAD")
	default:
		notAllowed(w, "GET, HEAD, DELETE")
	}
}

// serveOutcome is GET /poe/outcomes/<ref>.
func (g *Gate) serveOutcome(w http.ResponseWriter, r *http.Request) {
	s, ok := g.visit(w, r)
	if !ok {
		return
	}
	switch s.phase {
	case done:
		g.repeatAt(w, r, &s, "GET, HEAD")
	case unused, running, accepted, sent, unknown:
		g.writeState(w, r, &s)
	default:
		c := &call{g: g, w: w, r: r}
		c.naming = byOutcome{byNothing{c}}
		c.refuse(&s)
	}
}

// repeatAt is repeat at an address that the stored answer is not from. What that said of methods (RFC 9110, section 10.2.1) is so of its target, and not here.
func (g *Gate) repeatAt(w http.ResponseWriter, r *http.Request, s *status, allow string) {
	g.keepReady(s)
	if stored, err := storedHead(s); err == nil && stored.Header["Allow"] != nil { // an error is met again
		w.Header().Set("Allow", allow)
	}
	g.repeat(w, r, s, replay.OutcomeStatus(s.record.Status))
}

// repeat answers with the stored outcome, or says that it was not kept.
func (g *Gate) repeat(w http.ResponseWriter, r *http.Request, s *status, code int) {
	rec := &s.record
	g.keepReady(s)
	if !g.authorized(w, r, rec) {
		return
	}
	var content io.ReadSeeker
	switch rec.Response.Where {
	case store.Inline, store.Nowhere:
	case store.Beside:
		// A client that takes its time holds the file open meanwhile, and over HTTP/2 it can ask hundreds of times at once.
		if !g.cfg.Spool.HoldFile() {
			g.unreadable(w, r, s)
			return
		}
		defer g.cfg.Spool.GiveFile()
		body, err := g.store.Open(r.Context(), rec.ID, rec.Response.Part)
		if err != nil {
			g.sayOnce(&g.unread, g.log.Error().Err(err).Stringer("id", rec.ID), "opening a stored answer")
			g.unrepeated(w, r, s, errors.Is(err, store.ErrNotFound))
			return
		}
		defer func() { _ = body.Close() }() // read only: nothing can be lost
		if err := intact(body, &rec.Response); err != nil {
			g.sayOnce(&g.unread, g.log.Error().Err(err).Stringer("id", rec.ID), "a stored answer cannot be repeated")
			g.unrepeated(w, r, s, errors.Is(err, store.ErrCorrupt))
			return
		}
		content = body
	case store.Purged, store.Streamed:
		g.purged(w, r, s)
		return
	}
	stored, err := storedHead(s)
	if err != nil {
		g.sayOnce(&g.unread, g.log.Error().Err(err).Stringer("id", rec.ID), "reading a stored answer")
		g.unreadable(w, r, s)
		return
	}
	giveWay(w, stored.Header, false)
	h := w.Header()
	values := []string{s.state(true), "sandbox"} // in one piece
	h["Poe-State"] = values[0:1:1]
	const policy = "Content-Security-Policy"
	front := h[policy] // unless the answer has one of its own
	if rec.Principal == ([32]byte{}) {
		// Whoever has the address may open it: what the application wrote must not run as a page of this origin. Policies add up.
		h[policy] = values[1:2:2]
		if own := stored.Header[policy]; len(front)+len(own) > 0 {
			h[policy] = slices.Concat(front, own, values[1:2])
		}
	}
	size := rec.Response.Size
	if replay.Coded(stored.Header) { // decoded it may be of any length
		size = max(size, replay.ShortAnswer)
	}
	out, sent := unlessStalled(w, size, g.cfg.Patience)
	defer sent()
	stored.Status, stored.Content, stored.Here, stored.Size = code, content, rec.Response.Content, rec.Response.Size
	err = replay.Repeat(out, r, stored)
	if lost := errors.Is(err, replay.ErrIncomplete); lost || errors.Is(err, replay.ErrUnreadable) { // nothing was written
		g.sayOnce(&g.unread, g.log.Error().Err(err).Stringer("id", rec.ID), "repeating an answer")
		if delete(h, policy); front != nil {
			h[policy] = front
		}
		g.unrepeated(w, r, s, lost)
		return
	}
	g.metrics.replayed.Inc()
	if err != nil {
		g.log.Debug().Err(err).Stringer("id", rec.ID).Msg("repeating an answer")
	}
}

// unrepeated answers where a stored answer could not be repeated: it is lost, or not all there; or it cannot be read now, as where a disk does not answer, which says
// nothing of what is on it.
func (g *Gate) unrepeated(w http.ResponseWriter, r *http.Request, s *status, lost bool) {
	if lost {
		g.purged(w, r, s)
		return
	}
	g.unreadable(w, r, s)
}

// storedHead returns the stored answer without its content.
func storedHead(s *status) (replay.Stored, error) {
	rec := &s.record
	if kept := s.ready.stored.Load(); kept != nil {
		return *kept, nil
	}
	head, trailer, err := replay.DecodeHead(rec.Response.Head)
	if err != nil {
		return replay.Stored{}, err
	}
	stored := replay.Stored{Header: head, Trailer: trailer, Target: rec.Target}.Prepared()
	s.ready.stored.Store(&stored)
	return stored, nil
}

// intact reads a content that lies beside the ledger, and tells whether it is still what was stored: over a file of its own nobody else watches.
func intact(content io.ReadSeeker, b *store.Blob) error {
	h := sha256.New()
	n, err := io.Copy(h, content)
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	if n != b.Size || [32]byte(h.Sum(nil)) != b.Digest {
		return fmt.Errorf("%w: %d bytes of %d, or others than were stored", store.ErrCorrupt, n, b.Size)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading it again: %w", err)
	}
	return nil
}

// unreadable says of an action that is done that its answer cannot be read now.
func (g *Gate) unreadable(w http.ResponseWriter, r *http.Request, s *status) {
	delete(w.Header(), replay.Replayed)
	s.setState(w.Header(), false)
	p := g.problem(problemLedgerUnavailable).about(g, s)
	p.Detail = "it was executed, and its answer is kept, but cannot be read at the moment"
	g.write(w, r, p)
}

// purged says of an action that is done that its answer is not here any more, and all else that is known.
func (g *Gate) purged(w http.ResponseWriter, r *http.Request, s *status) {
	rec := &s.record
	delete(w.Header(), replay.Replayed)
	s.setState(w.Header(), false)
	p := g.problem(problemOutcomePurged).about(g, s)
	p.ClaimedAt, p.ExecutedAt, p.OutcomeStatus = timePointer(rec.Claimed), timePointer(rec.Finished), rec.Status
	p.RequestDigest, p.OutcomeDigest = digestText(rec.Request.Digest), digestText(rec.Response.Digest)
	g.write(w, r, p)
}

// A receipt is all that is told of an action.
type receipt struct {
	ID            string         `json:"id"`
	State         string         `json:"state"`
	Door          string         `json:"door"`
	Route         string         `json:"route"`
	Target        string         `json:"target"`
	Method        string         `json:"method"`
	ClaimedAt     *time.Time     `json:"claimed_at,omitempty"`
	FinishedAt    *time.Time     `json:"finished_at,omitempty"`
	Expires       *time.Time     `json:"expires,omitempty"`
	Attempts      int            `json:"attempts"`
	RequestDigest string         `json:"request_digest,omitempty"`
	Response      *receiptAnswer `json:"response,omitempty"`
	History       []receiptEvent `json:"history"`
	Outcome       string         `json:"outcome,omitempty"`
	Compensation  string         `json:"compensation,omitempty"` // the outcome of the request that takes it back
}

type receiptAnswer struct {
	Status int    `json:"status"`
	Digest string `json:"digest,omitempty"`
	Length *int64 `json:"length,omitempty"` // nil: it was streamed, and nobody has counted
	Body   string `json:"body"`             // kept, purged or streamed
}

type receiptEvent struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Who    string    `json:"who"`
	Why    string    `json:"why,omitempty"`
	Status int       `json:"status,omitempty"`
}

// serveReceipt is GET /poe/outcomes/<ref>/receipt.
func (g *Gate) serveReceipt(w http.ResponseWriter, r *http.Request) {
	s, ok := g.visit(w, r)
	if !ok {
		return
	}
	// The front need not know what others have written into the history since.
	if now, err := g.store.Lookup(r.Context(), store.ByID(s.record.ID)); err == nil {
		s = g.at(&now, g.now())
	}
	s.setState(w.Header(), false)
	g.writeJSON(w, http.StatusOK, g.receipt(&s))
}

func (g *Gate) receipt(s *status) receipt {
	rec := &s.record
	out := receipt{
		ID: rec.ID.String(), State: s.phase.word(), Door: rec.Door, Route: rec.Route, Target: rec.Target, Method: rec.Method,
		ClaimedAt: timePointer(rec.Claimed), FinishedAt: timePointer(rec.Finished), Expires: timePointer(rec.Expires),
		Attempts: rec.Attempts(), RequestDigest: digestText(rec.Request.Digest), History: []receiptEvent{}, Outcome: g.outcomePath(s),
	}
	if !rec.Undo.IsZero() {
		out.Compensation = string(g.appendOutcome(nil, rec.Undo))
	}
	if rec.State == store.Done {
		out.Response = &receiptAnswer{Status: rec.Status, Digest: digestText(rec.Response.Digest), Body: keptWord(rec.Response.Where)}
		if rec.Response.Where != store.Streamed {
			out.Response.Length = &rec.Response.Size
		}
	}
	for _, e := range rec.History {
		out.History = append(out.History, receiptEvent{At: e.At, From: e.From.String(), To: e.To.String(), Who: e.Who, Why: e.Why, Status: e.Status})
	}
	return out
}

func keptWord(w store.Where) string {
	switch w {
	case store.Purged, store.Streamed:
		return w.String()
	default:
		return "kept"
	}
}

// digestText writes a digest as RFC 9530 does; "" for none.
func digestText(sum [32]byte) string {
	if sum == ([32]byte{}) {
		return ""
	}
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// serveProblem is GET /poe/problems/<name>: what the problem means, for people.
func (g *Gate) serveProblem(w http.ResponseWriter, r *http.Request) {
	name := strings.ToLower(mux.Vars(r)["name"])
	for _, k := range problems {
		if k.name == name {
			p := g.problem(k)
			g.cors(w.Header(), r)
			if prefersJSON(r) {
				g.writeJSON(w, http.StatusOK, map[string]any{
					"type": p.Type, "title": p.Title, "status": p.Status, "retry": p.Retry, "help": k.help,
				})
				return
			}
			g.writePage(w, http.StatusOK, "kind.html", problemPage{Problem: p, Title: k.title, Help: k.help})
			return
		}
	}
	g.refuse(w, r, g.problem(problemNotFound))
}
