package core_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// A slowHook is a receiver that answers when leave is closed.
type slowHook struct {
	*httptest.Server
	leave chan struct{}
	came  chan struct{} // by each

	mu         sync.Mutex
	here, most int // at one time
}

func newSlowHook(t *testing.T) *slowHook {
	t.Helper()
	h := &slowHook{leave: make(chan struct{}), came: make(chan struct{}, 100)}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *slowHook) ServeHTTP(http.ResponseWriter, *http.Request) {
	h.count(1)
	h.came <- struct{}{}
	<-h.leave
	h.count(-1)
}

func (h *slowHook) count(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.here += n
	h.most = max(h.most, h.here)
}

// owing is a bench that owes n callbacks to the hook.
func (h *slowHook) owing(t *testing.T, n int, change func(*core.Config)) *bench {
	t.Helper()
	b := deferring(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks, c.Workers = sender, 2
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "async", "callback"}}}
		change(c)
	})
	for range n {
		b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	}
	return b
}

// Receivers that hang are in the way of nothing but callbacks, and few of them are waited for at one time.
func TestReceiversThatHang(t *testing.T) {
	const owed = 30
	h := newSlowHook(t)
	b := h.owing(t, owed, func(*core.Config) {})
	executed := make(chan struct{})
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		close(executed)
	}
	b.advance(time.Second) // what is accepted now is due after the callbacks
	monitor(t, b.do("POST", "/orders", "pears", later))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { b.gate.Work(ctx) })
	within := time.After(20 * time.Second)
	select {
	case <-executed:
	case <-within:
		t.Error("what was accepted waits for receivers that hang")
	}
	close(h.leave)
	for n := range owed {
		select {
		case <-h.came:
		case <-within:
			t.Fatalf("%d of %d callbacks were sent", n, owed)
		}
	}
	cancel()
	all.Wait()
	if h.most > 8 {
		t.Errorf("%d were sent to one host at one time", h.most)
	}
}

// What has no room to wait is put off in the ledger, and sent later.
func TestCallbacksWithoutRoom(t *testing.T) {
	const owed = 12
	h := newSlowHook(t)
	var ledger *tampered
	b := h.owing(t, owed, func(c *core.Config) { ledger = &tampered{Store: c.Store}; c.Store = ledger })
	var mu sync.Mutex
	off := 0
	ledger.moving = func(r store.Record) error {
		mu.Lock()
		defer mu.Unlock()
		if r.State == store.Queued && r.Due.Sub(b.clock()) == time.Minute {
			if off++; off == owed-8 {
				close(h.leave)
			}
		}
		return nil
	}
	core.WorkOnceCrowded(t.Context(), b.gate, 0)
	if n := len(h.came); n != 8 || off != 4 {
		t.Fatalf("%d were sent, and %d put off", n, off)
	}
	b.advance(time.Minute)
	b.work()
	if n := len(h.came); n != owed {
		t.Errorf("%d were sent", n)
	}
}

// A receiver that hangs, and to which more is owed than may wait, takes the room for that from no other one.
func TestReceiverThatHangsLeavesRoom(t *testing.T) {
	slow, other := newSlowHook(t), newSlowHook(t)
	there := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	var ledger *tampered
	b := slow.owing(t, 40, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(slow.URL, "http://"), strings.TrimPrefix(there, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		ledger = &tampered{Store: c.Store}
		c.Store, c.Callbacks, c.Workers = ledger, sender, 1
	})
	b.advance(time.Second)
	for range 12 {
		b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+there)
	}
	b.advance(time.Second) // what is accepted now is due after all callbacks
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		close(slow.leave)
		close(other.leave)
	}
	monitor(t, b.do("POST", "/orders", "pears", later))
	var mu sync.Mutex
	off := map[string]int{} // before anything is delivered
	ledger.moving = func(r store.Record) error {
		mu.Lock()
		defer mu.Unlock()
		if r.Kind == store.Callback && r.Attempt == 0 && r.State == store.Queued {
			off[r.Target]++
		}
		return nil
	}
	core.WorkOnceCrowded(t.Context(), b.gate, 20)
	if n := len(slow.came); n != 18 || off[slow.URL] != 22 {
		t.Errorf("to the one that hangs %d were sent, and %d put off", n, off[slow.URL])
	}
	if n := len(other.came); n != 12 || off[there] > 0 {
		t.Errorf("to the other one %d were sent, and %d put off", n, off[there])
	}
}
