package core_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// A slowLedger answers each Lookup as one on a disk does that has not the record in its cache.
type slowLedger struct {
	store.Store
}

func (l *slowLedger) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	<-time.After(2 * time.Millisecond)
	return l.Store.Lookup(ctx, k)
}

// While all slots are taken the dispatcher looks for callbacks, through the whole backlog, and gives no slot that comes free meanwhile to anybody.
func TestBacklogKeepsWorkersIdle(t *testing.T) {
	b := newBench(t, nil)
	b.deferred()
	const n = 1500
	for range n {
		b.do("POST", "/orders", "a", later)
	}
	b.advance(time.Minute)
	ledger := &slowLedger{Store: b.store}
	next := newBench(t, func(c *core.Config) { c.Store, c.Clock, c.Keys, c.Workers = ledger, b.clock, b.keys, 2 })
	next.of = b
	var mu sync.Mutex
	var begun []time.Time
	next.app = func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		begun = append(begun, time.Now())
		mu.Unlock()
		<-time.After(20 * time.Millisecond) // quick work
		w.WriteHeader(http.StatusCreated)
	}
	next.deferred()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	next.gate.Work(ctx)
	mu.Lock()
	defer mu.Unlock()
	executed, longest := len(begun), time.Duration(0)
	begun = append(begun, time.Now())
	for i := 1; i < len(begun); i++ {
		longest = max(longest, begun[i].Sub(begun[i-1]))
	}
	if executed < 20 || longest > time.Second {
		t.Errorf("%d executed by two workers that need 0.02 s for each, with a pause of %s", executed, longest.Round(time.Millisecond))
	}
}
