// Package storetest is the contract of package store as a test: what every ledger, and every fake of one, must pass.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/store"
)

// An Instance is a ledger that a suite works on.
type Instance struct {
	// Store is the open ledger. The suite closes it, perhaps more than once.
	Store store.Store
	// Reopen opens again what Store has left after Close; nil where a closed ledger is gone.
	Reopen func() (store.Store, error)
	// Crash opens what a power cut at this moment would leave; nil where nothing is durable. Store goes on beside it.
	Crash func() (store.Store, error)
}

// Open opens an empty ledger that takes its time from clock. What it cannot do fails t.
type Open func(t *testing.T, clock func() time.Time) Instance

// A group is the cases about one promise.
type group struct {
	name  string
	cases []testCase
}

type testCase struct {
	name string
	run  func(t *testing.T, k *kit)
}

// Run runs the suite. Each case gets a ledger of its own.
func Run(t *testing.T, open Open) {
	t.Helper()
	groups := []group{
		{"claim", claimCases()},
		{"names", nameCases()},
		{"advance", advanceCases()},
		{"attempts", attemptCases()},
		{"outcome", outcomeCases()},
		{"children", childCases()},
		{"lookup", lookupCases()},
		{"agenda", agendaCases()},
		{"bodies", bodyCases()},
		{"sweep", sweepCases()},
		{"upkeep", upkeepCases()},
		{"race", raceCases()},
		{"durable", durableCases()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, newKit(t, open)) })
			}
		})
	}
	t.Run("model", func(t *testing.T) { checkModel(t, open) })
}

// start is when the suite's time begins: shortly before midnight, so that shelves are left early.
var start = time.Date(2031, 3, 14, 23, 0, 0, 0, time.UTC)

// A kit is what a case works with: a ledger, its clock, and short words for what every case does.
type kit struct {
	t *testing.T
	store.Store
	in  Instance
	now atomic.Int64 // Unix milliseconds

	doubts bool // the clock is not confirmed after opening again
}

func newKit(t *testing.T, open Open) *kit {
	t.Helper()
	k := &kit{t: t}
	k.now.Store(start.UnixMilli())
	k.in = open(t, k.clock)
	k.Store = k.in.Store
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return k
}

func (k *kit) clock() time.Time                { return time.UnixMilli(k.now.Load()).UTC() }
func (k *kit) forward(d time.Duration)         { k.now.Add(d.Milliseconds()) }
func (k *kit) after(d time.Duration) time.Time { return k.clock().Add(d) }

// id mints an id that is kept for days.
func (k *kit) id(days int) store.ID {
	k.t.Helper()
	id, err := store.NewID(k.clock(), days, rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	return id
}

func term() (t store.Term) {
	fill(t[:])
	return t
}

func name() (n store.Name) {
	fill(n[:])
	return n
}

func names(n int) []store.Name {
	all := make([]store.Name, n)
	for i := range all {
		all[i] = name()
	}
	return all
}

func fill(b []byte) {
	_, _ = rand.Read(b) // never fails
}

// claim is a new record, ready to be claimed as s.
func (k *kit) claim(s store.State, holds ...store.Name) store.Record {
	r := store.Record{
		ID: k.id(31), State: s, Term: term(), Door: "poe", Route: "default", Method: "POST", Target: "/orders?x=1",
		Names: holds, Claimed: k.clock(), Expires: k.after(time.Hour),
		Request: store.Blob{Size: 17, Digest: [32]byte{1, 2, 3}},
	}
	if s.Open() {
		r.Due = k.after(30 * time.Second)
	}
	return r
}

// next is r as its owner would move it to s.
func (k *kit) next(r store.Record, s store.State) store.Record {
	r.State, r.Term = s, term()
	r.Due = time.Time{}
	if s.Open() {
		r.Due = k.after(time.Minute)
	}
	if s == store.Done && r.Finished.IsZero() {
		r.Finished, r.Status = k.clock(), 201
		r.Response = inline("created")
	}
	return r
}

func inline(content string) store.Blob {
	return store.Blob{Head: []byte("head"), Content: []byte(content), Where: store.Inline, Size: int64(len(content)), Digest: [32]byte{7}}
}

func (k *kit) mustClaim(r store.Record) store.Record {
	k.t.Helper()
	got, err := k.Claim(k.t.Context(), r)
	if err != nil {
		k.t.Fatalf("claiming: %v", err)
	}
	return got
}

// mustMove moves r to s and returns what stands then.
func (k *kit) mustMove(r store.Record, s store.State) store.Record {
	k.t.Helper()
	return k.mustAdvance(r.Term, k.next(r, s), store.Also{})
}

func (k *kit) mustAdvance(was store.Term, r store.Record, also store.Also) store.Record {
	k.t.Helper()
	got, err := k.Advance(k.t.Context(), was, r, also)
	if err != nil {
		k.t.Fatalf("advancing to %s: %v", r.State, err)
	}
	return got
}

// stand brings a new record to where it stands as s.
func (k *kit) stand(s store.State, holds ...store.Name) store.Record {
	k.t.Helper()
	return k.standBy(store.Direct, s, holds...)
}

// standBy brings a new record that way to where it stands as s.
func (k *kit) standBy(w store.Way, s store.State, holds ...store.Name) store.Record {
	k.t.Helper()
	claimed := func(as store.State) store.Record {
		r := k.claim(as, holds...)
		r.Way = w
		return k.mustClaim(r)
	}
	switch s {
	case store.Queued, store.Running, store.Burned:
		return claimed(s)
	case store.Sent:
		if w == store.Marked {
			return k.mustMove(claimed(store.Running), store.Sent)
		}
		return k.mustMove(claimed(store.Queued), store.Sent)
	case store.Unused, store.Done, store.Unknown:
		return k.mustMove(claimed(store.Running), s)
	case store.Absent:
	}
	k.t.Fatalf("no record stands as %s", s)
	return store.Record{}
}

// wants asserts that the ledger holds exactly r.
func (k *kit) wants(r store.Record) {
	k.t.Helper()
	got, err := k.Lookup(k.t.Context(), store.ByID(r.ID))
	if err != nil {
		k.t.Fatalf("looking up: %v", err)
	}
	same(k.t, "the record", got, r)
}

// absent asserts that the ledger holds no record under key.
func (k *kit) absent(key store.Key) {
	k.t.Helper()
	if r, err := k.Lookup(k.t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		k.t.Errorf("looking up got %s, %v; want nothing", r.State, err)
	}
}

// holds asserts that the name leads to that id.
func (k *kit) holds(n store.Name, id store.ID) {
	k.t.Helper()
	r, err := k.Lookup(k.t.Context(), store.ByName(n))
	if err != nil || r.ID != id {
		k.t.Errorf("the name leads to %s, %v; want %s", r.ID, err, id)
	}
}

// onAgenda asserts that exactly those ids are due by the end of all days, in that order, whatever they wait for.
func (k *kit) onAgenda(want ...store.ID) {
	k.t.Helper()
	if got := k.agenda(10_000); !slices.Equal(got, want) {
		k.t.Errorf("the agenda has %v, want %v", got, want)
	}
}

// agenda returns what is on the agenda in all queues, soonest first, limit at most.
func (k *kit) agenda(limit int) (ids []store.ID) {
	k.t.Helper()
	all, err := Agenda(k.t.Context(), k.Store, limit)
	if err != nil {
		k.t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, store.Entry.Compare) {
		k.t.Errorf("the agenda is in the order %v", all)
	}
	slices.SortFunc(all, func(a, b store.Entry) int {
		if c := a.Due.Compare(b.Due); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	for _, e := range all[:min(len(all), limit)] {
		ids = append(ids, e.ID)
	}
	return ids
}

// Agenda returns at most limit entries of each queue of l's agenda, queue after queue.
func Agenda(ctx context.Context, l store.Ledger, limit int) (all []store.Entry, err error) {
	for q := range store.Queue(store.Queues) {
		entries, err := l.Agenda(ctx, store.Entry{Queue: q}, store.Person, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// same asserts that got is want, with what the ledger keeps of attempts, about which there are cases of their own.
func same(t *testing.T, what string, got, want store.Record) {
	t.Helper()
	want.Began, want.Doubt = got.Began, got.Doubt
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, d)
	}
}

// refused asserts that err is that one, and so surely nothing was done.
func refused(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	if !store.Refused(err) {
		t.Errorf("%v does not say that nothing was done", err)
	}
}
