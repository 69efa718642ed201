package storetest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

func raceCases() []testCase {
	return []testCase{
		{"one id, 100 claims", raceID},
		{"one name, 100 ids", raceName},
		{"crossing names", raceCrossing},
		{"one claim, repeated at once", raceRepeat},
		{"one term, many advances", raceAdvance},
		{"one child, many parents", raceChild},
		{"a counter", raceCounter},
		{"claim and release, over and over", raceRelease},
		{"a name that goes from hand to hand", raceHandover},
		{"waiters see it run, then done", raceWaiters},
		{"many actions, each from claim to done", raceThroughput},
	}
}

func raceID(t *testing.T, k *kit) {
	for range 5 {
		id := k.id(31)
		var won atomic.Pointer[store.Record]
		var seen [100]store.Record
		k.all(100, func(i int) {
			r := k.claim(store.Running, name())
			r.ID = id
			got, err := k.Claim(t.Context(), r)
			seen[i] = got
			switch {
			case err == nil && !won.CompareAndSwap(nil, &got):
				t.Error("a second claim succeeded")
			case err != nil && !errors.Is(err, store.ErrTaken):
				t.Errorf("claiming got %v", err)
			}
		})
		if won.Load() == nil {
			t.Fatal("nobody won")
		}
		for _, r := range seen {
			same(t, "what a claimant was told", r, *won.Load())
		}
		k.wants(*won.Load())
	}
}

// all calls f for 0 to n-1, all at once.
func (k *kit) all(n int, f func(int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	wg.Wait()
}

func raceName(t *testing.T, k *kit) {
	n := name()
	var won atomic.Int32
	var seen [100]store.ID
	k.all(100, func(i int) {
		got, err := k.Claim(t.Context(), k.claim(store.Running, n))
		seen[i] = got.ID
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, store.ErrTaken):
			t.Errorf("claiming got %v", err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d claims won the name", won.Load())
	}
	for _, id := range seen {
		k.holds(n, id)
	}
	k.lists(seen[0])
}

func raceCrossing(t *testing.T, k *kit) {
	all := names(12)
	var mu sync.Mutex
	owner := map[store.Name]store.ID{}
	k.all(120, func(i int) {
		mine := []store.Name{all[i%12], all[(i*5+1)%12], all[(i*7+3)%12]}
		slices.SortFunc(mine, func(a, b store.Name) int { return i%3 - 1 })
		r := k.claim(store.Running, slices.Compact(mine)...)
		if _, err := k.Claim(t.Context(), r); err != nil {
			if !errors.Is(err, store.ErrTaken) && !errors.Is(err, store.ErrInvalid) {
				t.Errorf("claiming got %v", err)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, n := range r.Names {
			if _, ok := owner[n]; ok {
				t.Error("a name was won twice")
			}
			owner[n] = r.ID
		}
	})
	for n, id := range owner {
		k.holds(n, id)
	}
	if len(owner) == 0 {
		t.Error("nobody won")
	}
}

func raceRepeat(t *testing.T, k *kit) {
	r := k.claim(store.Running, names(1)...)
	k.all(50, func(int) {
		got, err := k.Claim(t.Context(), r)
		if err != nil {
			t.Errorf("claiming got %v", err)
		}
		same(t, "the result", got, r)
	})
	k.onAgenda(r.ID)
}

func raceAdvance(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	var won atomic.Pointer[store.Record]
	k.all(60, func(i int) {
		next := k.next(r, []store.State{store.Done, store.Unknown, store.Unused, store.Running}[i%4])
		got, err := k.Advance(t.Context(), r.Term, next, store.Also{})
		switch {
		case err == nil && !won.CompareAndSwap(nil, &got):
			t.Error("a second advance succeeded")
		case err != nil && !errors.Is(err, store.ErrStale):
			t.Errorf("advancing got %v", err)
		}
	})
	if won.Load() == nil {
		t.Fatal("nobody won")
	}
	k.wants(*won.Load())
}

func raceChild(t *testing.T, k *kit) {
	parents := make([]store.Record, 30)
	for i := range parents {
		parents[i] = k.mustClaim(k.claim(store.Running))
	}
	id, n := k.id(31), name()
	var won atomic.Int32
	k.all(len(parents), func(i int) {
		c := k.child(parents[i], n)
		if i%2 == 0 {
			c.ID = id
		}
		_, err := k.Advance(t.Context(), parents[i].Term, k.next(parents[i], store.Done), store.Also{Spawn: []store.Record{c}})
		switch {
		case err == nil:
			won.Add(1)
		case errors.Is(err, store.ErrTaken):
			k.wants(parents[i])
		default:
			t.Errorf("advancing got %v", err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d parents have the child", won.Load())
	}
}

// raceCounter counts in one record by comparing terms: no step may be lost, and no reader may see it run backwards.
func raceCounter(t *testing.T, k *kit) {
	const hands, steps = 16, 12
	r := k.claim(store.Running)
	r.Due = store.Person
	k.mustClaim(r)
	k.all(hands, func(int) {
		low := uint16(0)
		for done := 0; done < steps; {
			now, err := k.Lookup(t.Context(), store.ByID(r.ID))
			if err != nil || now.Attempt < low {
				t.Errorf("read %d after %d, %v", now.Attempt, low, err)
				return
			}
			low = now.Attempt
			next := now
			next.Term = term()
			next.Attempt++
			switch got, err := k.Advance(t.Context(), now.Term, next, store.Also{}); {
			case err == nil:
				low, done = got.Attempt, done+1
			case !errors.Is(err, store.ErrStale) || got.Attempt <= low:
				t.Errorf("advancing got %d after %d, %v", got.Attempt, low, err)
				return
			}
		}
	})
	got, err := k.Lookup(t.Context(), store.ByID(r.ID))
	if err != nil || got.Attempt != hands*steps {
		t.Errorf("counted to %d, %v; want %d", got.Attempt, err, hands*steps)
	}
	k.onAgenda(r.ID)
}

func raceRelease(t *testing.T, k *kit) {
	id, n := k.id(31), name()
	var running, wins atomic.Int32
	k.all(16, func(int) {
		for range 15 {
			r := k.claim(store.Running, n)
			r.ID = id
			got, err := k.Claim(t.Context(), r)
			if errors.Is(err, store.ErrTaken) {
				continue
			}
			if err != nil {
				t.Errorf("claiming got %v", err)
				return
			}
			if running.Add(1) != 1 {
				t.Error("two run at once")
			}
			wins.Add(1)
			running.Add(-1)
			back := k.next(got, store.Unused)
			back.Attempt++
			if _, err := k.Advance(t.Context(), got.Term, back, store.Also{}); err != nil {
				t.Errorf("releasing got %v", err)
			}
		}
	})
	r, err := k.Lookup(t.Context(), store.ByName(n))
	if err != nil || r.State != store.Unused || int32(r.Attempt) != wins.Load() {
		t.Errorf("after %d wins it is %s with %d attempts, %v", wins.Load(), r.State, r.Attempt, err)
	}
	k.onAgenda()
}

// raceHandover frees a name and claims it for the next action while others look it up.
func raceHandover(t *testing.T, k *kit) {
	n := name()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				r, err := k.Lookup(t.Context(), store.ByName(n))
				if err != nil && !errors.Is(err, store.ErrNotFound) || err == nil && !slices.Contains(r.Names, n) {
					t.Errorf("the name leads to %s of %d names, %v", r.State, len(r.Names), err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 100 {
		r := k.mustClaim(k.claim(store.Running, n))
		k.holds(n, r.ID)
		k.mustAdvance(r.Term, k.next(r, store.Done), store.Also{Free: []store.Name{n}})
	}
	close(stop)
	wg.Wait()
	k.absent(store.ByName(n))
}

// raceWaiters looks a record up while it goes its way: nobody sees it earlier than somebody saw it before.
func raceWaiters(t *testing.T, k *kit) {
	for range 10 {
		r := k.claim(store.Running, name())
		var wg sync.WaitGroup
		for i := range 8 {
			key := store.ByID(r.ID)
			if i%2 == 0 {
				key = store.ByName(r.Names[0])
			}
			wg.Go(func() {
				last := store.Absent
				for last != store.Done {
					got, err := k.Lookup(t.Context(), key)
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Errorf("looking up got %v", err)
						return
					}
					if got.State < last {
						t.Errorf("saw %s after %s", got.State, last)
						return
					}
					last = got.State
				}
			})
		}
		k.mustMove(k.mustClaim(r), store.Done)
		wg.Wait()
	}
}

func raceThroughput(t *testing.T, k *kit) {
	const n = 600
	all := make([]store.Record, n)
	k.flock(n, func(i int) {
		r := k.claim(store.Running, names(2)...)
		got, err := k.Claim(t.Context(), r)
		if err != nil {
			t.Errorf("claiming got %v", err)
			return
		}
		k.now.Add(1)
		next := k.next(got, store.Done)
		next.Finished = start.Add(time.Duration(i) * time.Millisecond)
		if all[i], err = k.Advance(t.Context(), got.Term, next, store.Also{Free: got.Names[:i%2]}); err != nil {
			t.Errorf("advancing got %v", err)
		}
	})
	for _, r := range all {
		k.wants(r)
		for _, n := range r.Names {
			k.holds(n, r.ID)
		}
	}
	k.onAgenda()
}
