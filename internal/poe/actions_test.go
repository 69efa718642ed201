package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// listed returns the ids of all pages of a list, and how many pages there were.
func (b *bench) listed(f core.Filter) (ids []string, pages int) {
	b.t.Helper()
	for {
		page, err := b.gate.Actions(b.t.Context(), f)
		if err != nil {
			b.t.Fatalf("listing %+v: %v", f, err)
		}
		for _, l := range page.Actions {
			ids = append(ids, l.ID)
		}
		pages++
		if page.Next == "" {
			return ids, pages
		}
		f.After = page.Next
	}
}

// standing puts an action into the ledger that stands like that, claimed now.
func (b *bench) standing(s store.State, route string) string {
	b.t.Helper()
	id, err := store.NewID(b.clock(), 31, &counting{b: b})
	if err != nil {
		b.t.Fatal(err)
	}
	claimed := map[store.State]store.State{store.Queued: store.Queued, store.Sent: store.Queued, store.Burned: store.Burned}[s]
	if claimed == store.Absent {
		claimed = store.Running
	}
	r := store.Record{
		ID: id, State: claimed, Term: store.Term{1}, Door: "poe", Route: route, Method: "POST", Target: "/orders",
		Claimed: b.clock(), Expires: b.clock().Add(time.Hour), Due: b.clock().Add(time.Minute),
	}
	if _, err := storetest.Claim(b.t.Context(), b.store, r); err != nil {
		b.t.Fatal(err)
	}
	if s == claimed {
		return id.String()
	}
	r.State, r.Term = s, store.Term{2}
	switch {
	case s == store.Unknown:
		r.Due = store.Person
	case !s.Open():
		r.Due = time.Time{}
	}
	if _, err := storetest.Advance(b.t.Context(), b.store, store.Term{1}, r, store.Also{}); err != nil {
		b.t.Fatal(err)
	}
	return id.String()
}

// counting is a source of ids that are in order.
type counting struct{ b *bench }

func (c *counting) Read(p []byte) (int, error) {
	n := c.b.executed.Add(1) // nothing is executed where this is used
	for i := range p {
		p[len(p)-1-i] = byte(n >> (8 * i))
	}
	return len(p), nil
}

func TestActionsAreListed(t *testing.T) {
	b := newBench(t, nil)
	states := []store.State{store.Unused, store.Queued, store.Running, store.Sent, store.Done, store.Unknown, store.Burned}
	byState, byRoute := map[string][]string{}, map[string][]string{}
	var all []string
	for range 3 {
		for n, s := range states {
			route := []string{"orders", "payments"}[n%2]
			id := b.standing(s, route)
			byState[s.String()] = append(byState[s.String()], id)
			byRoute[route] = append(byRoute[route], id)
			all = append(all, id)
		}
		b.advance(10 * time.Minute)
	}
	want := func(f core.Filter, want []string) {
		t.Helper()
		for _, limit := range []int{0, 1, 2, 3, 1000} {
			f.Limit = limit
			if got, _ := b.listed(f); !slices.Equal(got, want) {
				t.Errorf("%+v lists %v, want %v", f, got, want)
			}
		}
	}
	want(core.Filter{}, all)
	for _, s := range states {
		want(core.Filter{State: s.String()}, byState[s.String()])
	}
	want(core.Filter{Route: "payments"}, byRoute["payments"])
	want(core.Filter{Route: "none"}, nil)
	want(core.Filter{State: "unknown", Route: "payments"}, byState["unknown"])
	want(core.Filter{State: "unknown", Route: "orders"}, nil)
	want(core.Filter{Older: 30 * time.Minute}, all[:7])
	want(core.Filter{Older: 20 * time.Minute, Newer: 20 * time.Minute}, all[7:14])
	want(core.Filter{Newer: 19 * time.Minute}, all[14:])
	want(core.Filter{State: "unknown", Newer: 19 * time.Minute}, byState["unknown"][2:])
	b.advance(time.Hour)
	want(core.Filter{State: "unused"}, nil)
	want(core.Filter{State: "expired"}, byState["unused"])
	b.advance(40 * store.Day) // past retention, and not swept
	var open []string
	for i, id := range all {
		if states[i%len(states)].Open() {
			open = append(open, id)
		}
	}
	want(core.Filter{}, open)
	if a, err := b.gate.Action(t.Context(), byState["done"][0]); !errors.Is(err, core.ErrNoAction) {
		t.Errorf("what is gone is shown: %v, %v", a, err)
	}
}

// What was accepted is listed in its turn, and then the callbacks that are to be sent, in pages of any length.
func TestAcceptedAreListedBeforeCallbacks(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	var want, calls []string
	for range 3 {
		id, _ := readState(t, b.do("POST", "/orders", "x", later).Header)
		want = append(want, id)
		b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
		b.advance(time.Minute)
	}
	entries, err := b.store.Agenda(t.Context(), store.Entry{Queue: store.Calls}, store.Person, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		calls = append(calls, e.ID.String())
	}
	if want = append(want, calls...); len(calls) != 3 {
		t.Fatalf("%d callbacks wait", len(calls))
	}
	for _, limit := range []int{1, 2, 3, 4, 6, 7} {
		if got, _ := b.listed(core.Filter{State: "accepted", Limit: limit}); !slices.Equal(got, want) {
			t.Errorf("in pages of %d it lists %v, want %v", limit, got, want)
		}
	}
}

// A list says of an action what brought it where it stands, and not what an earlier attempt was answered.
func TestListSaysWhatIsSo(t *testing.T) {
	b := newBench(t, nil)
	b.app = answering(422)
	i := b.issue("/orders")
	b.do("POST", i.URI, "bad")
	want := func(state, why string) {
		t.Helper()
		page, err := b.gate.Actions(t.Context(), core.Filter{})
		if err != nil || len(page.Actions) != 1 || page.Actions[0].State != state || page.Actions[0].Why != why {
			t.Errorf("listed is %+v, %v, want %s because of %q", page.Actions, err, state, why)
		}
	}
	want("unused", "answered 422 Unprocessable Entity")
	b.app = nil
	b.do("POST", i.URI, "apples")
	want("done", "")
}

// One page reads a bounded number of records, and what it has not reached the next one lists.
func TestListingIsBounded(t *testing.T) {
	reads := 0
	spy := &spyStore{lookup: func() error { reads++; return nil }}
	b := spied(t, spy)
	const many = 25_000
	for range many {
		b.standing(store.Done, "orders")
	}
	last := b.standing(store.Unknown, "orders")
	reads = 0
	page, err := b.gate.Actions(t.Context(), core.Filter{Route: "none"})
	if err != nil || len(page.Actions) != 0 || page.Next == "" || reads != 10_000 {
		t.Errorf("%d lines after %d reads, next %q, %v", len(page.Actions), reads, page.Next, err)
	}
	if _, pages := b.listed(core.Filter{Route: "none"}); pages != 3 {
		t.Errorf("%d pages", pages)
	}
	reads = 0
	if ids, pages := b.listed(core.Filter{State: "unknown"}); !slices.Equal(ids, []string{last}) || pages != 1 || reads != 1 {
		t.Errorf("%v in %d pages after %d reads", ids, pages, reads)
	}
}

func TestListsThatAreNone(t *testing.T) {
	b := newBench(t, nil)
	id := b.standing(store.Unknown, "orders")
	for name, f := range map[string]core.Filter{
		"state": {State: "sleeping"}, "older": {Older: -1}, "newer": {Newer: -1}, "limit": {Limit: -1}, "a large limit": {Limit: 1001},
		"after": {After: "x"}, "after in another list": {After: id, State: "unknown"}, "after of the agenda": {After: "1." + id}, "after a letter": {After: "x.1." + id, State: "unknown"},
		"after another queue": {After: "0.1." + id, State: "unknown"}, "after a queue that is none": {After: "3.1." + id, State: "unknown"}, "after no time": {After: "2." + id, State: "unknown"},
		"after a queue of others": {After: "2.1." + id, State: "accepted"}, "after a large queue": {After: "258.1." + id, State: "unknown"}, "after no id": {After: "2.1.", State: "unknown"},
	} {
		if _, err := b.gate.Actions(t.Context(), f); !errors.Is(err, core.ErrBadFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All that an operator is told, of an action and in a list: whose it is, what it was sent, and the outcome's ref in a list, are not among it.
func TestActionIsShown(t *testing.T) {
	b := newBench(t, nil)
	b.app = answering(502)
	i := b.issue("/orders?x=1", alice)
	i.findOutcome(t, b.do("POST", i.URI, "apples", alice, "Idempotency-Key: secret-key"))
	a, err := b.gate.Action(t.Context(), i.ID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var doc members
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	at := b.clock().Format(time.RFC3339)
	want := members{
		"id": i.ID, "state": "unknown", "door": "poe", "route": "default", "target": "/orders?x=1", "method": "POST", "claimed_at": at, "finished_at": at,
		"expires": i.Expires.Format(time.RFC3339), "attempts": 1.0, "outcome": i.outcome,
		"kind": "request", "bound": true, "waits_for": "a person", "names": 1.0, "running_here": false, "version": doc["version"],
		"request": members{"length": 6.0, "kept": false},
		"history": []any{members{"at": at, "from": "running", "to": "unknown", "who": "engine", "why": "answered 502 Bad Gateway", "status": 502.0}},
	}
	want["request_digest"] = doc["request_digest"]
	if d := cmp.Diff(want, doc); d != "" || len(fmt.Sprint(doc["version"])) != 16 || !strings.HasPrefix(fmt.Sprint(doc["request_digest"]), "sha-256=:") {
		t.Errorf("(-want +got):\n%s", d)
	}
	page, err := b.gate.Actions(t.Context(), core.Filter{State: "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock()
	line := core.Line{
		ID: i.ID, Kind: "request", State: "unknown", Door: "poe", Route: "default", Method: "POST", Target: "/orders?x=1", Attempts: 1, Status: 502,
		ClaimedAt: &now, FinishedAt: &now, WaitsFor: "a person", Why: "answered 502 Bad Gateway", Version: a.Version,
	}
	if d := cmp.Diff([]core.Line{line}, page.Actions); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
