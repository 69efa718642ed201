package storetest

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/store"
)

// checkModel runs random sequences against a ledger and, beside it, against a few maps.
func checkModel(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{rt: rt, names: names(5), held: map[store.ID]store.Record{}, leads: map[store.Name]store.ID{}, began: map[store.ID]store.Term{}}
		m.kit = &kit{t: t}
		m.now.Store(start.UnixMilli())
		m.in = open(t, m.clock)
		m.Store = m.in.Store
		defer func() {
			if err := m.Close(); err != nil {
				rt.Errorf("closing: %v", err)
			}
		}()
		for i := range 6 {
			m.ids = append(m.ids, m.id(1+i%3))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"claim": m.claimAny, "advance": m.advanceAny, "stale": m.staleAny, "names": m.lookupNames,
			"time": m.pass, "sweep": m.sweepAll, "reopen": func(*rapid.T) { m.reopen() }, "": m.agrees,
		})
	})
}

type model struct {
	*kit
	rt    *rapid.T
	ids   []store.ID
	names []store.Name
	held  map[store.ID]store.Record
	leads map[store.Name]store.ID
	began map[store.ID]store.Term // the writes that began the latest attempts
}

// holder returns who holds n.
func (m *model) holder(n store.Name) (store.Record, bool) {
	r, ok := m.held[m.leads[n]]
	return r, ok
}

func (m *model) pickNames(rt *rapid.T, from []store.Name) []store.Name {
	var some []store.Name
	for _, n := range from {
		if rapid.Bool().Draw(rt, "with this name") {
			some = append(some, n)
		}
	}
	return some
}

func (m *model) claimAny(rt *rapid.T) {
	r := m.claim(rapid.SampledFrom([]store.State{store.Running, store.Queued, store.Burned}).Draw(rt, "as"), m.pickNames(rt, m.names)...)
	r.ID = rapid.SampledFrom(m.ids).Draw(rt, "id")
	r.Way = rapid.SampledFrom([]store.Way{store.Direct, store.Marked, store.Accepted}).Draw(rt, "way")
	if r.State.Open() {
		r.Due = m.after(time.Duration(rapid.IntRange(1, 3).Draw(rt, "due")) * time.Minute)
	}
	want, reason := m.judge(r)
	got, err := m.Claim(m.t.Context(), r)
	if !errors.Is(err, reason) {
		rt.Fatalf("claiming got %v, want %v", err, reason)
	}
	if reason == nil {
		m.held[r.ID], m.began[r.ID] = want, want.Term
		for _, n := range want.Names {
			m.leads[n] = r.ID
		}
	}
	if reason == nil || errors.Is(reason, store.ErrTaken) && held(m, r.ID) {
		m.equal(rt, got, want)
	}
}

func held(m *model, id store.ID) bool { _, ok := m.held[id]; return ok }

// judge says what a claim must lead to.
func (m *model) judge(r store.Record) (store.Record, error) {
	old, there := m.held[r.ID]
	if there && old.State != store.Unused {
		return old, store.ErrTaken
	}
	if r.ID.Shelf() < store.ShelfOf(m.clock()) {
		return store.Record{}, store.ErrExpired
	}
	for _, n := range r.Names {
		if h, ok := m.holder(n); ok && h.ID != r.ID {
			return h, store.ErrTaken
		}
	}
	r.Attempt, r.History = old.Attempt, old.History
	for _, n := range old.Names {
		if m.leads[n] == r.ID && !slices.Contains(r.Names, n) {
			r.Names = append(r.Names, n)
		}
	}
	return r, nil
}

func (m *model) anyHeld(rt *rapid.T) store.Record {
	if len(m.held) == 0 {
		rt.Skip("nothing is held")
	}
	ids := slices.SortedFunc(maps.Keys(m.held), func(a, b store.ID) int { return bytes.Compare(a[:], b[:]) })
	return m.held[rapid.SampledFrom(ids).Draw(rt, "id")]
}

func (m *model) advanceAny(rt *rapid.T) {
	r := m.anyHeld(rt)
	to := store.State(rapid.IntRange(int(store.Unused), int(store.Burned)).Draw(rt, "to")) //nolint:gosec // small
	next := m.next(r, to)
	if to == store.Unused {
		next.Attempt++
		next.Note(store.Event{At: m.clock(), From: r.State, To: to, Who: "engine"})
	}
	free := m.pickNames(rt, r.Names)
	var take []store.Name
	if rapid.Bool().Draw(rt, "takes") {
		take = slices.DeleteFunc(m.pickNames(rt, m.names), func(n store.Name) bool { return slices.Contains(free, n) })
	}
	got, err := m.Advance(m.t.Context(), r.Term, next, store.Also{Free: free, Take: take})
	if afterAll := to == store.Done && givenUp(r); !afterAll && !legal(r.Way, move{r.State, to}) {
		if !errors.Is(err, store.ErrInvalid) {
			rt.Fatalf("from %s to %s got %v", r.State, to, err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("from %s to %s got %v", r.State, to, err)
	}
	next.Names = slices.DeleteFunc(slices.Clone(r.Names), func(n store.Name) bool { return slices.Contains(free, n) })
	for _, n := range free {
		if m.leads[n] == r.ID {
			delete(m.leads, n)
		}
	}
	for _, n := range take {
		m.leads[n] = r.ID
		if !slices.Contains(next.Names, n) {
			next.Names = append(next.Names, n)
		}
	}
	if len(next.Names) == 0 {
		next.Names = nil
	}
	if m.held[r.ID] = next; r.State == store.Queued {
		m.began[r.ID] = next.Term
	}
	m.equal(rt, got, next)
}

// givenUp tells whether somebody has said of an unknown r that it was not done, so that it may turn out to be.
func givenUp(r store.Record) bool {
	return r.State == store.Unused && slices.ContainsFunc(r.History, func(e store.Event) bool { return e.From == store.Unknown && e.To == store.Unused })
}

func (m *model) staleAny(rt *rapid.T) {
	r := m.anyHeld(rt)
	got, err := m.Advance(m.t.Context(), term(), m.next(r, r.State), store.Also{})
	if !errors.Is(err, store.ErrStale) {
		rt.Fatalf("got %v", err)
	}
	m.equal(rt, got, r)
}

func (m *model) lookupNames(rt *rapid.T) {
	for _, n := range m.names {
		want, there := m.holder(n)
		got, err := m.Lookup(m.t.Context(), store.ByName(n))
		if !there && !errors.Is(err, store.ErrNotFound) || there && (err != nil || got.ID != want.ID) {
			rt.Fatalf("a name leads to %s, %v; want %s", got.ID, err, want.ID)
		}
	}
}

func (m *model) pass(rt *rapid.T) {
	m.forward(time.Duration(rapid.IntRange(0, 20).Draw(rt, "hours")) * time.Hour)
	m.ids = append(m.ids[1:], m.id(rapid.IntRange(1, 3).Draw(rt, "days")))
}

func (m *model) sweepAll(*rapid.T) {
	m.sweep()
	for id, r := range m.held {
		if id.Shelf() < store.ShelfOf(m.clock()) && !r.State.Open() {
			delete(m.held, id)
			maps.DeleteFunc(m.leads, func(_ store.Name, to store.ID) bool { return to == id })
		}
	}
}

// agrees asserts that the ledger and the model say the same of every record, of the list and of the agenda.
func (m *model) agrees(rt *rapid.T) {
	var list, due []store.ID
	for id, r := range m.held {
		got, err := m.Lookup(m.t.Context(), store.ByID(id))
		if err != nil {
			rt.Fatalf("looking up: %v", err)
		}
		m.equal(rt, got, r)
		list = append(list, id)
		if !r.Due.IsZero() {
			due = append(due, id)
		}
	}
	slices.SortFunc(list, func(a, b store.ID) int {
		return cmp.Or(cmp.Compare(a.Shelf(), b.Shelf()), bytes.Compare(a[:], b[:]))
	})
	slices.SortFunc(due, func(a, b store.ID) int {
		return cmp.Or(m.held[a].Due.Compare(m.held[b].Due), bytes.Compare(a[:], b[:]))
	})
	if got, err := m.List(m.t.Context(), store.ID{}, 100); err != nil || !slices.Equal(got, list) {
		rt.Fatalf("the list has %v, %v; want %v", got, err, list)
	}
	if got := m.agenda(100); !slices.Equal(got, due) {
		rt.Fatalf("the agenda has %v, want %v", got, due)
	}
}

func (m *model) equal(rt *rapid.T, got, want store.Record) {
	switch s := got.State; {
	case (s == store.Running || s == store.Sent || s == store.Unknown) && got.Attempted() != m.began[got.ID]:
		rt.Fatalf("the attempt is %x, want %x: %+v", got.Attempted(), m.began[got.ID], got)
	case got.Doubt != store.Doubt{}:
		rt.Fatalf("there is a doubt, and nobody has decided anything: %+v", got)
	}
	want.Began = got.Began
	if !bytes.Equal(got.Append(nil), want.Append(nil)) || got.ID != want.ID {
		rt.Fatalf("the ledger has\n%+v\nwant\n%+v", got, want)
	}
}
