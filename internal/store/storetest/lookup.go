package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/store"
)

func lookupCases() []testCase {
	return []testCase{
		{"absent", func(_ *testing.T, k *kit) {
			k.absent(store.ByID(k.id(1)))
			k.absent(store.ByID(store.ID{}))
			k.absent(store.ByName(name()))
			k.absent(store.Key{})
		}},
		{"by each of many names", lookupByName},
		{"neighbours are not mixed up", lookupNeighbours},
		{"context over", lookupContext},
	}
}

func lookupByName(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running, names(store.MaxClaims)...))
	for _, n := range r.Names {
		got, err := k.Lookup(t.Context(), store.ByName(n))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "the record", got, r)
		n[31]++
		k.absent(store.ByName(n))
	}
}

func lookupNeighbours(_ *testing.T, k *kit) {
	base := k.id(31)
	var all []store.Record
	for i := range 40 {
		r := k.claim(store.Running)
		r.ID = base
		r.ID[15] = byte(i)
		r.Status = i
		all = append(all, k.mustClaim(r))
	}
	for _, r := range all {
		k.wants(r)
	}
}

func lookupContext(t *testing.T, k *kit) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.Lookup(ctx, store.ByID(k.id(1)))
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func agendaCases() []testCase {
	return []testCase{
		{"soonest first", agendaOrder},
		{"nothing that is not due", agendaDue},
		{"limit", agendaLimit},
		{"a person's is last", agendaPerson},
		{"kept by one that is at rest", agendaAtRest},
		{"moved by a claim after release", agendaReclaim},
		{"in pages", agendaPages},
		{"in queues", agendaQueues},
		{"from queue to queue", agendaMoves},
	}
}

func agendaOrder(_ *testing.T, k *kit) {
	var want []store.ID
	for _, d := range []time.Duration{5, 1, 3, 2, 4} {
		r := k.claim(store.Running)
		r.Due = k.after(d * time.Minute)
		k.mustClaim(r)
		want = append(want, r.ID)
	}
	k.onAgenda(want[1], want[3], want[2], want[4], want[0])
}

func agendaDue(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	for _, tt := range []struct {
		after store.Entry
		want  int
	}{
		{store.Entry{Queue: store.Ends}, 1}, {store.Entry{Queue: store.Ends, Due: k.clock()}, 1}, {store.Entry{Queue: store.Ends, Due: r.Due.Add(-time.Millisecond), ID: r.ID}, 1}, {store.Entry{Queue: store.Ends, Due: r.Due}, 1},
		{store.Entry{Queue: store.Ends, Due: r.Due, ID: r.ID}, 0}, {store.Entry{Queue: store.Ends, Due: r.Due.Add(time.Millisecond)}, 0}, {store.Entry{Queue: store.Ends, Due: r.Due.Add(time.Hour)}, 0},
	} {
		got, err := k.Agenda(t.Context(), tt.after, store.Person, 10)
		if err != nil || len(got) != tt.want {
			t.Errorf("after %v: %v, %v; want %d", tt.after, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		after store.Entry
		due   time.Time
		want  int
	}{
		{store.Entry{Queue: store.Ends}, r.Due, 1}, {store.Entry{Queue: store.Ends}, r.Due.Add(-time.Millisecond), 0}, {store.Entry{Queue: store.Ends}, r.Due.Add(time.Millisecond), 1}, {store.Entry{Queue: store.Ends}, time.Time{}, 0},
		{store.Entry{Queue: store.Ends, Due: r.Due}, r.Due, 1}, {store.Entry{Queue: store.Ends, Due: r.Due, ID: r.ID}, r.Due, 0}, {store.Entry{Queue: store.Ends, Due: r.Due}, r.Due.Add(-time.Hour), 0},
	} {
		got, err := k.Agenda(t.Context(), tt.after, tt.due, 10)
		if err != nil || len(got) != tt.want {
			t.Errorf("after %v, due by %s: %v, %v; want %d", tt.after, tt.due, got, err, tt.want)
		}
	}
}

func agendaLimit(t *testing.T, k *kit) {
	var all []store.ID
	for i := range 10 {
		r := k.claim(store.Queued)
		r.Due = k.after(time.Duration(i) * time.Second)
		all = append(all, k.mustClaim(r).ID)
	}
	for _, limit := range []int{0, 1, 7, 10, 11} {
		if got := k.agenda(limit); !slices.Equal(got, all[:min(limit, 10)]) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

// What waits is read page by page, whether many are due at one time or at many.
func agendaPages(t *testing.T, k *kit) {
	var want []store.Entry
	for i := range 25 {
		r := k.claim(store.Running)
		r.Due = store.Person
		if i < 12 {
			r.Due = k.after(time.Duration(i/4) * time.Second)
		}
		r = k.mustClaim(r)
		want = append(want, store.Entry{Queue: store.Ends, Due: r.Due, ID: r.ID})
	}
	slices.SortFunc(want, store.Entry.Compare)
	for _, limit := range []int{1, 7, 25, 100} {
		var got []store.Entry
		for after := (store.Entry{Queue: store.Ends}); ; after = got[len(got)-1] {
			page, err := k.Agenda(t.Context(), after, store.Person, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("limit %d: %d entries, %v", limit, len(page), err)
			}
			if got = append(got, page...); len(page) < limit {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", limit, got, want)
		}
	}
	if got, err := k.Agenda(t.Context(), store.Entry{}, store.Person, 0); err != nil || len(got) > 0 {
		t.Errorf("none: %v, %v", got, err)
	}
}

// What waits in one queue is not seen by who reads another, whenever it is due.
func agendaQueues(t *testing.T, k *kit) {
	var want [store.Queues][]store.Entry
	stands := func(r store.Record, q store.Queue) {
		want[q] = append(want[q], store.Entry{Queue: q, Due: r.Due, ID: r.ID})
	}
	for i := range 3 {
		due := k.after(time.Duration(3-i) * time.Minute)
		parent := k.stand(store.Running)
		var also store.Also
		for _, kind := range []store.Kind{store.Callback, store.Compensation} {
			child := k.child(parent)
			child.Kind, child.Due = kind, due
			also.Spawn = append(also.Spawn, child)
		}
		next := k.next(parent, store.Unknown)
		next.Due = due
		stands(k.mustAdvance(parent.Term, next, also), store.Ends)
		stands(also.Spawn[0], store.Calls)
		stands(also.Spawn[1], store.Starts)
		for _, state := range []store.State{store.Queued, store.Running, store.Burned} {
			r := k.claim(state)
			r.Due = due
			r = k.mustClaim(r)
			if state == store.Queued {
				stands(r, store.Starts)
			} else {
				stands(r, store.Ends)
			}
		}
	}
	for q := range store.Queue(store.Queues) {
		slices.SortFunc(want[q], store.Entry.Compare)
		got, err := k.Agenda(t.Context(), store.Entry{Queue: q}, store.Person, 100)
		if d := cmp.Diff(want[q], got); err != nil || d != "" {
			t.Errorf("queue %d, %v (-want +got):\n%s", q, err, d)
		}
	}
	if got, err := k.Agenda(t.Context(), store.Entry{Queue: store.Queues}, store.Person, 100); err != nil || len(got) > 0 {
		t.Errorf("behind the last queue: %v, %v", got, err)
	}
}

// An action changes its queue also where the time at which somebody must look stays.
func agendaMoves(t *testing.T, k *kit) {
	r := k.claim(store.Queued)
	r.Way = store.Accepted
	due := r.Due
	r = k.mustClaim(r)
	in := func(want store.Queue) {
		t.Helper()
		for q := range store.Queue(store.Queues) {
			got, err := k.Agenda(t.Context(), store.Entry{Queue: q}, store.Person, 10)
			if err != nil || (len(got) == 1) != (q == want) || len(got) > 1 {
				t.Errorf("queue %d has %v, %v; want it in %d", q, got, err, want)
			}
		}
	}
	in(store.Starts)
	for range 3 {
		for _, to := range []store.State{store.Sent, store.Unknown, store.Queued} {
			next := k.next(r, to)
			next.Due = due
			r = k.mustAdvance(r.Term, next, store.Also{})
			if to == store.Queued {
				in(store.Starts)
			} else {
				in(store.Ends)
			}
		}
	}
}

func agendaPerson(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.Due = store.Person
	k.mustClaim(r)
	other := k.mustClaim(k.claim(store.Running))
	k.onAgenda(other.ID, r.ID)
}

func agendaAtRest(_ *testing.T, k *kit) {
	done := k.stand(store.Done)
	again := k.next(done, store.Done)
	again.Due = k.after(time.Hour)
	again = k.mustAdvance(done.Term, again, store.Also{})
	k.onAgenda(done.ID)
	k.mustMove(again, store.Done)
	k.onAgenda()
}

func agendaReclaim(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	due := r.Due
	r = k.mustClaim(r)
	for range 3 { // the same entry comes and goes
		r = k.mustMove(r, store.Unused)
		k.onAgenda()
		r = k.next(r, store.Running)
		r.Due = due
		r = k.mustClaim(r)
		k.onAgenda(r.ID)
	}
	back := k.next(r, store.Unused)
	back.Due = k.after(time.Hour)
	back = k.mustAdvance(r.Term, back, store.Also{})
	k.onAgenda(r.ID)
	k.mustClaim(k.next(back, store.Burned))
	k.onAgenda()
}
