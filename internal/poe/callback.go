package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// The rider of callbacks: when an action has come to rest, its outcome's address is sent to the one that the client gave. The delivery is an
// action of its own, spawned in the write that brings its parent to rest: neither is there without the other.

const callbackField = "Callback-Url"

// callbackKept is where a stored request has the address, once it was checked. What a client sends under that name is not stored.
const callbackKept = "Remote-Callback"

// wantsCallback returns the address that is to be called; "" for none.
func (c *call) wantsCallback() (string, *problem) {
	if !c.route.has(doorCallback) {
		return "", nil
	}
	if address := c.signed(); address != "" {
		return address, nil
	}
	lines := c.r.Header[callbackField]
	if len(lines) == 0 {
		return "", nil
	}
	if len(lines) > 1 {
		return "", c.g.callbackRefused("Callback-URL", "there are two of it")
	}
	if err := c.g.callable(lines[0]); err != nil {
		return "", c.g.callbackRefused("Callback-URL", err.Error())
	}
	return lines[0], nil
}

// signed returns the address that was signed with the action's POE URI, which no request replaces by another; "": none.
func (c *call) signed() string {
	if c.claims.Callback != "" {
		return c.claims.Callback
	}
	return c.callback
}

// bySignature stands behind a kept address that was signed.
const bySignature = "signed"

// kept is how a stored request has the address that is to be called.
func (c *call) kept(address string) []string {
	if address == c.signed() {
		return []string{address, bySignature}
	}
	return []string{address}
}

// callbackIn returns what a record has of that; nil: none.
func callbackIn(r *store.Record) []string {
	if len(r.Request.Head) == 0 {
		return nil
	}
	h, _, err := replay.DecodeHead(r.Request.Head)
	if err != nil {
		return nil
	}
	return h[callbackKept]
}

// keptCallback returns the address that a record has; "": none.
func keptCallback(r *store.Record) string {
	if kept := callbackIn(r); len(kept) > 0 {
		return kept[0]
	}
	return ""
}

// signedIn is keptCallback of an address that was signed with the action's POE URI.
func signedIn(r *store.Record) string {
	if kept := callbackIn(r); len(kept) > 1 {
		return kept[0]
	}
	return ""
}

// callable tells whether an address may be called back.
func (g *Gate) callable(address string) error {
	if g.cfg.Callbacks == nil {
		return fmt.Errorf("%w: no callbacks are configured", webhook.ErrRefused)
	}
	return g.cfg.Callbacks.Check(address)
}

func (g *Gate) callbackRefused(where, why string) *problem {
	p := g.problem(problemCallbackRefused)
	p.Parameter, p.Detail = where, why
	return p
}

// A callback is what is sent: an event as Standard Webhooks has it.
type callback struct {
	Type      string       `json:"type"`
	Timestamp time.Time    `json:"timestamp"`
	Data      callbackData `json:"data"`
}

type callbackData struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Status  int    `json:"status,omitempty"`
	Outcome string `json:"outcome"`
}

// ended tells whether an action has come to an end that its client is called about. One that a policy still looks after has not.
func ended(r *store.Record) bool {
	return r.State == store.Done || r.State == store.Burned || r.State == store.Unknown && r.Due.Equal(store.Person)
}

// calls returns the delivery that goes with the end of an action.
func (g *Gate) calls(claimed, next *store.Record) []store.Record {
	if !ended(next) || claimed.State == next.State && (ended(claimed) || wasLeft(claimed)) {
		return nil
	}
	address := keptCallback(claimed)
	if address == "" {
		return nil
	}
	now := g.now()
	s := status{phase: phaseOf(next.State), record: *next}
	content, err := json.Marshal(callback{
		Type: "poe.outcome." + s.phase.word(), Timestamp: next.Finished,
		Data: callbackData{ID: next.ID.String(), State: s.phase.word(), Status: next.Status, Outcome: g.publicURL + string(g.appendOutcome(nil, next.ID))},
	})
	if err != nil {
		panic(fmt.Errorf("encoding a callback: %w", err)) // our own types
	}
	child := store.Record{
		Parent: next.ID, Kind: store.Callback, State: store.Queued, Term: g.newTerm(), Door: doorCallback, Route: next.Route,
		Method: http.MethodPost, Target: address, Principal: next.Principal, Claimed: now, Due: now,
		Request: store.Blob{Where: store.Inline, Content: content, Size: int64(len(content))},
	}
	// What was delivered need not be kept as long as an action that is kept for ever; until then it is not forgotten.
	if child.ID, err = store.NewID(now, max(next.ID.Days(), 1), &g.random); err != nil {
		g.log.Error().Err(err).Stringer("id", next.ID).Msg("naming a callback: none is sent")
		return nil
	}
	return []store.Record{child}
}

// deliver sends a callback, and puts it on the agenda again where it did not arrive; after the last try it waits for a person. One that is broken off
// because the gate stops stays what it is: the next process sends it again.
func (g *Gate) deliver(ctx context.Context, fl *flight, r store.Record) {
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g.flights.executing(fl, cancelFunc(cancel))
	res, err := webhook.Result{}, webhook.ErrRefused // where no callbacks are configured any more
	if g.cfg.Callbacks != nil {
		res, err = g.cfg.Callbacks.Send(sending, webhook.Message{ID: r.ID.String(), URL: r.Target, Content: r.Request.Content})
	}
	killpoint.Hit("told")
	if err != nil && sending.Err() != nil {
		return
	}
	next := r
	next.Term = g.newTerm()
	now := g.now()
	next.Status = res.Status
	if err == nil && (res.Delivered() || res.Ended()) {
		next.State, next.Finished, next.Due = store.Done, now, time.Time{}
		g.metrics.callbacks.WithLabelValues("delivered").Inc()
	} else {
		g.again(&next, res, now)
	}
	next.Note(store.Event{At: now, From: r.State, To: next.State, Who: "callback", Why: toldBy(res, err), Status: res.Status})
	g.log.Debug().Err(err).Stringer("id", r.ID).Stringer("parent", r.Parent).Int("status", res.Status).Msg("called back")
	if _, err := g.writeAdvance(ctx, &r, &next, store.Also{}); err != nil {
		g.log.Error().Err(err).Stringer("id", r.ID).Msg("noting a callback: it may be sent again")
	}
}

// again says when a callback that did not arrive is sent again.
func (g *Gate) again(next *store.Record, res webhook.Result, now time.Time) {
	next.Attempt++
	wait, more := webhook.Wait(int(next.Attempt)%webhook.Tries, rand.Float64()) //nolint:gosec // nobody gains by guessing it
	if next.Attempt%webhook.Tries == 0 || !more {
		next.Due = store.Person
		g.metrics.callbacks.WithLabelValues("undelivered").Inc()
		g.log.Warn().Stringer("id", next.ID).Stringer("parent", next.Parent).Msg("a callback could not be delivered: it waits for a person (poe callbacks)")
		return
	}
	next.Due = now.Add(max(wait, res.RetryAfter))
	g.metrics.callbacks.WithLabelValues("failed").Inc()
}

// toldBy says how a delivery ended, without the address.
func toldBy(res webhook.Result, err error) string {
	switch {
	case errors.Is(err, webhook.ErrRefused):
		return "not sent: the address may not be called"
	case err != nil:
		return "no answer"
	case res.Ended():
		return "answered 410: the receiver wants no more"
	default:
		return "answered " + statusText(res.Status)
	}
}

// Undelivered is a callback that could not be delivered, and waits for a person.
type Undelivered struct {
	ID     string    `json:"id"`
	Action string    `json:"action"` // of which it tells
	Host   string    `json:"host"`   // that did not take it; the rest of the address may be a secret
	Tries  int       `json:"tries"`
	Status int       `json:"status,omitempty"` // of the last answer
	Why    string    `json:"why"`
	Since  time.Time `json:"since"`
}

// maxUndelivered is how many of them are listed at most.
const maxUndelivered = 10_000

// UndeliveredCallbacks lists the callbacks that wait for a person. They stand at the end of their queue, behind all that is due.
func (g *Gate) UndeliveredCallbacks(ctx context.Context) ([]Undelivered, error) {
	all := []Undelivered{}
	for page, err := range g.agenda(ctx, store.Entry{Queue: store.Calls, Due: store.Person}, store.Person) {
		if err != nil {
			return nil, err
		}
		for _, at := range page {
			r, err := g.store.Lookup(ctx, store.ByID(at.ID))
			switch {
			case errors.Is(err, store.ErrNotFound), err == nil && !undelivered(&r):
				continue
			case err != nil:
				return nil, fmt.Errorf("looking up %s: %w", at.ID, err)
			}
			all = append(all, listUndelivered(&r))
		}
		if len(all) >= maxUndelivered {
			return all[:maxUndelivered], nil
		}
	}
	return all, nil
}

func listUndelivered(r *store.Record) Undelivered {
	u := Undelivered{ID: r.ID.String(), Action: r.Parent.String(), Host: hostOf(r.Target), Tries: int(r.Attempt), Status: r.Status, Since: r.Claimed}
	if n := len(r.History); n > 0 {
		u.Why = r.History[n-1].Why
	}
	return u
}

func undelivered(r *store.Record) bool {
	return r.Kind == store.Callback && r.State == store.Queued && r.Due.Equal(store.Person)
}

// hostOf returns the host of an address.
func hostOf(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	return host
}

// ErrNotUndelivered means that there is no callback of that id that waits for a person.
var ErrNotUndelivered = errors.New("no callback of that id waits for a person")

// Redeliver sends a callback that waits for a person again, with its whole schedule before it. who is written into its history.
func (g *Gate) Redeliver(ctx context.Context, id, who string) error {
	parsed, err := store.ParseID(id)
	if err != nil {
		return ErrNotUndelivered
	}
	r, err := g.store.Lookup(ctx, store.ByID(parsed))
	if errors.Is(err, store.ErrNotFound) || err == nil && !undelivered(&r) {
		return ErrNotUndelivered
	}
	if err != nil {
		return fmt.Errorf("looking up %s: %w", id, err)
	}
	next := r
	next.Term, next.Due = g.newTerm(), g.now()
	next.Note(store.Event{At: next.Due, From: r.State, To: r.State, Who: who, Why: "to be sent again"})
	if _, err := g.writeAdvance(ctx, &r, &next, store.Also{}); err != nil {
		return fmt.Errorf("sending %s again: %w", id, err)
	}
	g.nudge(g.owed)
	return nil
}
