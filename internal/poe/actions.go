package core

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postonce/poe/internal/store"
)

// What operators are told of actions.

// An Action is the receipt of an action, and what only operators are told.
type Action struct {
	receipt
	Kind        string        `json:"kind"`             // request, callback or compensation
	Parent      string        `json:"parent,omitempty"` // the action that this one belongs to
	Bound       bool          `json:"bound"`            // it is somebody's, and shown to nobody else
	Due         *time.Time    `json:"due,omitempty"`    // when somebody looks at it again
	WaitsFor    string        `json:"waits_for,omitempty"`
	Names       int           `json:"names"` // that lead to it: keys, guards
	Request     actionRequest `json:"request"`
	RunningHere bool          `json:"running_here"`
	Version     string        `json:"version"` // of the record, for Decision.Seen
}

type actionRequest struct {
	Length int64 `json:"length"`
	Kept   bool  `json:"kept"` // whole, to be sent
}

// A Line is an action in a list.
type Line struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	State      string     `json:"state"`
	Door       string     `json:"door"`
	Route      string     `json:"route"`
	Method     string     `json:"method"`
	Target     string     `json:"target"` // of a callback: its host
	Attempts   int        `json:"attempts"`
	Status     int        `json:"status,omitempty"`
	ClaimedAt  *time.Time `json:"claimed_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	WaitsFor   string     `json:"waits_for,omitempty"`
	Why        string     `json:"why,omitempty"` // the last line of its history; of what is done only one that is about that, and not about a former attempt
	Version    string     `json:"version"`
}

// A Filter says which actions are listed. A zero field says nothing.
type Filter struct {
	State string        // as POE-State says it
	Route string        // its name
	Older time.Duration // its last attempt was claimed that long ago, or longer
	Newer time.Duration // that long ago, or less
	Limit int           // 100; at most MaxListed
	After string        // Page.Next of the page before
}

// A Page is a part of a list. It may have fewer lines than were asked for, or none, and still not be the last.
type Page struct {
	Actions []Line `json:"actions"`
	Next    string `json:"next,omitempty"` // "": this is the last one
}

// ErrBadFilter means that a list was asked for in a way that makes no sense.
var ErrBadFilter = errors.New("no such list")

// MaxListed is how many lines a page has at most; listBudget is how many records are read for it.
const (
	MaxListed  = 1000
	listBudget = 10_000
)

var listable = []phase{unused, running, accepted, sent, done, unknown, burned, expired}

// Actions lists actions. Those in a state that is not the end of it are found by the agenda, soonest first, requests before callbacks, and all others by reading through
// the ledger, those first that are forgotten first: of a large ledger that is many pages.
func (g *Gate) Actions(ctx context.Context, f Filter) (Page, error) {
	if err := f.check(); err != nil {
		return Page{}, err
	}
	next, err := g.walk(f)
	if err != nil {
		return Page{}, err
	}
	page := Page{Actions: []Line{}}
	now := g.now()
	for budget := listBudget; budget > 0; {
		steps, err := next(ctx, min(budget, agendaPage))
		if err != nil {
			return Page{}, fmt.Errorf("listing actions: %w", err)
		}
		for _, one := range steps {
			page.Next = one.cursor
			r, err := g.store.Lookup(ctx, store.ByID(one.id))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return Page{}, fmt.Errorf("looking up %s: %w", one.id, err)
			}
			if s := g.at(&r, now); f.wants(&s, now) {
				page.Actions = append(page.Actions, g.line(&s))
			}
			if len(page.Actions) == f.Limit {
				return page, nil
			}
		}
		if len(steps) < min(budget, agendaPage) {
			page.Next = ""
			return page, nil
		}
		budget -= len(steps)
	}
	return page, nil
}

// A step is one id of a walk, and the cursor from which the walk goes on after it.
type step struct {
	id     store.ID
	cursor string
}

// walk returns what reads the ids that a filter may want, in order, so many at a time.
func (g *Gate) walk(f Filter) (func(ctx context.Context, n int) ([]step, error), error) {
	first, last, onAgenda := f.queues()
	if onAgenda {
		at, err := atCursor(f.After, first, last)
		if err != nil {
			return nil, err
		}
		var r round
		r.begin(at, last)
		return func(ctx context.Context, n int) (steps []step, err error) {
			err = g.step(ctx, &r, store.Person, n, func(page []store.Entry) error {
				for _, e := range page {
					steps = append(steps, step{e.ID, cursorOf(e)})
				}
				return nil
			})
			return steps, err
		}, nil
	}
	var at store.ID
	if f.After != "" {
		var err error
		if at, err = store.ParseID(f.After); err != nil {
			return nil, notACursor(f.After)
		}
	}
	return func(ctx context.Context, n int) ([]step, error) {
		ids, err := g.store.List(ctx, at, n)
		steps := make([]step, len(ids))
		for i, id := range ids {
			steps[i] = step{id, id.String()}
			at = id
		}
		return steps, err
	}, nil
}

// cursorOf is the cursor of a line of the agenda.
func cursorOf(e store.Entry) string {
	return fmt.Sprintf("%d.%d.%s", e.Queue, e.Due.UnixMilli(), e.ID)
}

// atCursor reads what cursorOf has made of an entry of these queues; "" is before all of them.
func atCursor(s string, first, last store.Queue) (store.Entry, error) {
	if s == "" {
		return store.Entry{Queue: first}, nil
	}
	queue, rest, _ := strings.Cut(s, ".")
	due, text, _ := strings.Cut(rest, ".")
	q, err := strconv.ParseUint(queue, 10, 8)
	ms, err2 := strconv.ParseInt(due, 10, 64)
	id, err3 := store.ParseID(text)
	if errors.Join(err, err2, err3) != nil || q < uint64(first) || q > uint64(last) {
		return store.Entry{}, notACursor(s)
	}
	return store.Entry{Queue: store.Queue(q), Due: time.UnixMilli(ms).UTC(), ID: id}, nil
}

func notACursor(s string) error {
	return fmt.Errorf("%w: after %q is not from a page of it", ErrBadFilter, s)
}

// queues returns the first and the last queue of the agenda with what is wanted, if everything that is wanted is on the agenda.
func (f *Filter) queues() (first, last store.Queue, ok bool) {
	switch phase(f.State) {
	case accepted:
		return store.Starts, store.Calls, true
	case running, sent, unknown:
		return store.Ends, store.Ends, true
	default:
		return 0, 0, false
	}
}

func (f *Filter) check() error {
	switch {
	case f.State != "" && !slices.Contains(listable, phase(f.State)):
		return fmt.Errorf("%w: state %q is none of unused, running, accepted, sent, done, unknown, burned, expired", ErrBadFilter, f.State)
	case f.Older < 0 || f.Newer < 0:
		return fmt.Errorf("%w: an age below nothing", ErrBadFilter)
	case f.Limit < 0 || f.Limit > MaxListed:
		return fmt.Errorf("%w: limit %d is not within 1 and %d", ErrBadFilter, f.Limit, MaxListed)
	case f.Limit == 0:
		f.Limit = 100
	}
	return nil
}

func (f *Filter) wants(s *status, now time.Time) bool {
	age := now.Sub(since(&s.record))
	return s.phase != gone && (f.State == "" || s.phase.word() == f.State) && (f.Route == "" || s.record.Route == f.Route) &&
		(f.Older == 0 || age >= f.Older) && (f.Newer == 0 || age <= f.Newer)
}

// since is what the age of an action counts from: the claim of its last attempt, or what there is instead.
func since(r *store.Record) time.Time {
	switch {
	case !r.Claimed.IsZero():
		return r.Claimed
	case !r.Finished.IsZero():
		return r.Finished
	default:
		return r.ID.Minted()
	}
}

// Action returns what is known of an action, as the ledger has it. Errors: ErrNoAction; any other means that the ledger did not answer.
func (g *Gate) Action(ctx context.Context, id string) (Action, error) {
	r, err := g.record(ctx, id)
	if err != nil {
		return Action{}, err
	}
	return g.action(&r), nil
}

// record looks an action up that an operator names. What is past its retention is not shown, whether it was swept or not.
func (g *Gate) record(ctx context.Context, id string) (store.Record, error) {
	parsed, err := store.ParseID(id)
	if err != nil {
		return store.Record{}, ErrNoAction
	}
	r, err := g.store.Lookup(ctx, store.ByID(parsed))
	if errors.Is(err, store.ErrNotFound) || err == nil && g.at(&r, g.now()).phase == gone {
		return store.Record{}, ErrNoAction
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("looking up %s: %w", id, err)
	}
	return r, nil
}

func (g *Gate) action(r *store.Record) Action {
	s := g.at(r, g.now())
	a := Action{
		receipt: g.receipt(&s), Kind: kindWord(r.Kind), Bound: r.Principal != [32]byte{}, Names: len(r.Names),
		Request:     actionRequest{Length: r.Request.Size, Kept: r.Request.Where == store.Inline || r.Request.Where == store.Beside},
		RunningHere: g.flights.of(r.ID) != nil, WaitsFor: waitsFor(r), Version: version(r.Term),
	}
	a.Target = shownTarget(r)
	if r.Kind != store.Request {
		a.Outcome = "" // it is nobody's
	}
	if !r.Parent.IsZero() {
		a.Parent = r.Parent.String()
	}
	if r.Due.Before(store.Person) {
		a.Due = timePointer(r.Due)
	}
	return a
}

func (g *Gate) line(s *status) Line {
	r := &s.record
	l := Line{
		ID: r.ID.String(), Kind: kindWord(r.Kind), State: s.phase.word(), Door: r.Door, Route: r.Route, Method: r.Method, Target: shownTarget(r),
		Attempts: r.Attempts(), Status: r.Status, ClaimedAt: timePointer(r.Claimed), FinishedAt: timePointer(r.Finished),
		WaitsFor: waitsFor(r), Version: version(r.Term),
	}
	if n := len(r.History); n > 0 && (r.State != store.Done || r.History[n-1].To == store.Done) {
		l.Why = r.History[n-1].Why
	}
	return l
}

// shownTarget is a record's target, without what may be a secret: of a callback's address only the host is shown.
func shownTarget(r *store.Record) string {
	if r.Kind == store.Callback {
		return hostOf(r.Target)
	}
	return r.Target
}

// waitsFor says that a person has to do something, where that is so.
func waitsFor(r *store.Record) string {
	if r.Due.Equal(store.Person) {
		return "a person"
	}
	return ""
}

func kindWord(k store.Kind) string {
	switch k {
	case store.Callback:
		return "callback"
	case store.Compensation:
		return "compensation"
	default:
		return "request"
	}
}

// version names one state of a record.
func version(t store.Term) string { return hex.EncodeToString(t[:]) }
