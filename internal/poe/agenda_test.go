package core_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// What nobody executes hides nothing that is due behind it: the program may have no Config.App any more, and still recover.
func TestNobodyExecutesHidesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.deferred()
	for range 1100 {
		monitor(t, b.do("POST", "/orders", "apples", later))
	}
	b.advance(time.Minute)
	asked := 0
	next := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Recover: func(context.Context, core.Unresolved) (core.Resolution, error) {
			asked++
			return core.Resolution{State: core.WasDone}, nil
		}}}
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
	})
	next.of = b
	next.app = answering(502)
	i := next.issue("/orders")
	next.do("POST", i.URI, "apples")
	next.pass(time.Minute, 10*time.Second)
	if r := next.wantState(i.ID, store.Done); asked != 1 {
		t.Errorf("asked %d times: %v", asked, r.History)
	}
}

// Nor does it hide a callback.
func TestNobodyExecutesHidesNoCallback(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	for range 1100 {
		b.do("POST", "/orders", "x", later)
	}
	b.advance(time.Second)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	next := callingAs(t, h, b, func(*core.Config) {})
	next.work()
	if h.got() != 1 {
		t.Errorf("told %d times", h.got())
	}
}

// A readLedger counts what is read of the agenda.
type readLedger struct {
	store.Store
	mu   sync.Mutex
	read int // guarded by mu
}

func (l *readLedger) Agenda(ctx context.Context, after store.Entry, due time.Time, limit int) ([]store.Entry, error) {
	page, err := l.Store.Agenda(ctx, after, due, limit)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read += len(page)
	return page, err
}

// A start reads nothing of what was accepted, however much it is: it has no owner to lose, and before the first request is served nobody waits for it.
func TestStartDoesNotReadWhatWasAccepted(t *testing.T) {
	b := newBench(t, nil)
	b.deferred()
	const n = 5000
	for range n {
		b.do("POST", "/orders", "a", later)
	}
	ledger := &readLedger{Store: b.store}
	newBench(t, func(c *core.Config) { c.Store, c.Clock, c.Keys = ledger, b.clock, b.keys })
	if ledger.read > 0 {
		t.Errorf("%d accepted actions: %d entries of the agenda were read", n, ledger.read)
	}
}

// Callbacks go beside the workers: accepted actions that take their time are in the way of none, and each is sent once.
func TestCallbacksGoBesideTheWork(t *testing.T) {
	h := newHook(t)
	b := callingWith(t, h, func(c *core.Config) { c.Workers = 2 })
	leave := make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/slow") {
			<-leave
		}
		w.WriteHeader(http.StatusCreated)
	}
	const more = 20 // behind those that are at work
	for range 2 + more {
		monitor(t, b.do("POST", "/slow", "pears", later))
	}
	b.advance(time.Second)
	const owed = 5
	for range owed {
		b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { b.gate.Work(ctx) })
	within := time.After(20 * time.Second)
	for h.got() < owed {
		select {
		case <-within:
			t.Fatal("callbacks wait for workers that wait for the application")
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(leave)
	cancel()
	all.Wait()
	if h.got() != owed {
		t.Errorf("%d callbacks, and %d were owed", h.got(), owed)
	}
}
