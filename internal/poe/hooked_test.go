package core_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/store/storetest"
)

type hooked struct {
	store.Store
	claim  func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error)
	put    func()
	look   func()                     // behind a Lookup
	moved  func(r *store.Record)      // behind an Advance
	refuse func(r *store.Record) bool // an Advance to r, as invalid
	looked atomic.Int64
}

func (h *hooked) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	if h.claim == nil {
		return h.Store.Claim(ctx, r)
	}
	got, err := h.claim(*r, func(ctx context.Context, r store.Record) (store.Record, error) {
		return storetest.Claim(ctx, h.Store, r)
	})
	switch {
	case err == nil:
		*r = got
		return r, nil
	case got.ID.IsZero():
		return nil, err
	default:
		return &got, err
	}
}

func (h *hooked) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	if h.refuse != nil && h.refuse(r) {
		return nil, store.ErrInvalid
	}
	got, err := h.Store.Advance(ctx, was, r, also)
	if h.moved != nil && err == nil {
		h.moved(got)
	}
	return got, err
}

func (h *hooked) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	h.looked.Add(1)
	r, err := h.Store.Lookup(ctx, k)
	if h.look != nil {
		h.look()
	}
	return r, err
}

func (h *hooked) Put(ctx context.Context, id store.ID, p store.Part, src io.Reader) (int64, error) {
	if h.put != nil {
		h.put()
	}
	return h.Store.Put(ctx, id, p, src)
}

func hookedBench(t *testing.T, change func(*core.Config)) (*bench, *hooked) {
	h := &hooked{}
	b := newBench(t, func(c *core.Config) {
		st, err := memstore.New(memstore.Config{Clock: c.Clock})
		if err != nil {
			t.Fatal(err)
		}
		h.Store = st
		c.Store = h
		if change != nil {
			change(c)
		}
	})
	return b, h
}

// What is durable is what everybody is told, at each address: also while the one who has executed it does not know yet that it is.
func TestToldAsItStands(t *testing.T) {
	b, h := hookedBench(t, one(core.Route{}))
	uri := b.issue("/orders")
	told := map[string]string{}
	h.moved = func(r *store.Record) {
		if r.State != store.Done {
			return
		}
		h.moved = nil
		ask := func(name, method, at string, fields ...string) {
			res := b.do(method, at, "x", fields...)
			state, _, _ := strings.Cut(res.Header.Get("Poe-State"), ";")
			told[name] = state
		}
		ask("another POST", "POST", uri.URI)
		ask("GET", "GET", uri.URI)
		ask("one that expects 100", "POST", uri.URI, "Expect: 100-continue")
		ask("DELETE", "DELETE", uri.URI)
		ask("the key", "POST", "/orders", "Idempotency-Key: k-0123456789012345678901234567890123456789")
	}
	b.do("POST", uri.URI, "x", "Idempotency-Key: k-0123456789012345678901234567890123456789")
	for name, state := range told {
		if state != "done" {
			t.Errorf("%s is told %q", name, state)
		}
	}
	if len(told) != 5 {
		t.Errorf("asked %d times", len(told))
	}
}

// What is unused again goes on as soon as who has given it back is out of the way, and not before.
func TestGoesOnBehindAnother(t *testing.T) {
	for name, send := range map[string]func(b *bench) (method, target string, fields []string){
		"URI": func(b *bench) (string, string, []string) { return "POST", b.issue("/orders").URI, nil },
		"key": func(*bench) (string, string, []string) { return "POST", "/orders", []string{"Idempotency-Key: k"} },
	} {
		t.Run(name, func(t *testing.T) {
			b, h := hookedBench(t, one(core.Route{}))
			var calls atomic.Int64
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(map[bool]int{true: 422, false: 201}[calls.Add(1) == 1])
			}
			method, target, fields := send(b)
			var second *http.Response
			var wg sync.WaitGroup
			h.moved = func(r *store.Record) {
				if r.State != store.Unused {
					return
				}
				h.moved = nil
				before := h.looked.Load()
				wg.Go(func() { second = b.do(method, target, "x", fields...) })
				for h.looked.Load() == before {
					runtime.Gosched()
				}
				slow := time.NewTimer(50 * time.Millisecond) // as a goroutine that is not scheduled
				defer slow.Stop()
				<-slow.C
				if n := h.looked.Load() - before; n > 5 {
					t.Errorf("it has looked %d times", n)
				}
			}
			if first := b.do(method, target, "x", fields...); first.StatusCode != 422 {
				t.Errorf("the first is answered %s", first.Status)
			}
			wg.Wait()
			if second.StatusCode != 201 || calls.Load() != 2 {
				t.Errorf("the second is answered %s, after %d executions", second.Status, calls.Load())
			}
		})
	}
}

// Of two requests under one key that is free again the second waits for the claim of the first.
func TestSpin(t *testing.T) {
	b, h := hookedBench(t, one(core.Route{Recovery: core.RecoveryRepeat}))
	var n atomic.Int64
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	body := strings.Repeat("x", 100<<10)
	b.do("POST", "/orders", body, "Idempotency-Key: k")
	entered := make(chan struct{})
	var once sync.Once
	h.put = func() {
		once.Do(func() {
			close(entered)
			slow := time.NewTimer(300 * time.Millisecond) // as a sync may be
			defer slow.Stop()
			<-slow.C
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { b.do("POST", "/orders", body, "Idempotency-Key: k") })
	<-entered
	before := h.looked.Load()
	b.do("POST", "/orders", body, "Idempotency-Key: k")
	wg.Wait()
	if n := h.looked.Load() - before; n > 20 {
		t.Errorf("%d look-ups", n)
	}
}

// Of two claims whose ends are unknown, either may be the one that was written.
func TestOrphanForgotten(t *testing.T) {
	b, h := hookedBench(t, nil)
	lost := errors.New("connection lost")
	calls := 0
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		calls++
		if calls <= 3 {
			_, _ = next(context.Background(), r) // it is written, and nobody says so
		}
		return store.Record{}, lost
	}
	uri := b.issue("/orders")
	b.do("POST", uri.URI, "x")
	b.do("POST", uri.URI, "x", "Expect: 100-continue")
	b.do("POST", uri.URI, "x")
	if calls <= 3 || b.executed.Load() != 0 {
		t.Fatalf("%d claims, executed %d times", calls, b.executed.Load())
	}
	h.claim = nil
	core.Housekeeping(t.Context(), b.gate)
	if r := b.lookup(uri.ID); r.State != store.Unused {
		b.advance(5 * time.Minute)
		core.Housekeeping(t.Context(), b.gate)
		r = b.lookup(uri.ID)
		t.Errorf("nothing was sent, executed %d times, and it is %s: %+v", b.executed.Load(), r.State, r.History)
	}
}

// A claim whose end is unknown may come while an earlier one is looked for.
func TestOrphanBesideAnother(t *testing.T) {
	b, h := hookedBench(t, nil)
	lost, written := errors.New("connection lost"), false
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		if written {
			_, _ = next(context.Background(), r)
		}
		return store.Record{}, lost
	}
	uri := b.issue("/orders")
	b.do("POST", uri.URI, "x")
	h.look = func() {
		h.look, written = nil, true
		b.do("POST", uri.URI, "x")
	}
	core.Housekeeping(t.Context(), b.gate)
	if r := b.lookup(uri.ID); r.State != store.Running || b.executed.Load() != 0 {
		t.Fatalf("the second claim is not there: %s, executed %d times", r.State, b.executed.Load())
	}
	core.Housekeeping(t.Context(), b.gate)
	if r := b.lookup(uri.ID); r.State != store.Unused {
		t.Errorf("nothing was sent, and it is %s: %+v", r.State, r.History)
	}
}

// What a handler writes after it has returned is not of its answer.
func TestWriteAfterReturn(t *testing.T) {
	b, h := hookedBench(t, nil)
	write, wrote := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
		go func() {
			<-write
			_, _ = io.WriteString(w, "late")
			close(wrote)
		}()
	}
	h.put = func() { close(write); <-wrote }
	uri := b.mint("/orders")
	func() {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("the first answer ends in a panic: %v", p)
			}
		}()
		b.do("POST", uri, "x")
	}()
	if res := b.do("GET", uri, ""); res.StatusCode != 200 {
		t.Errorf("the stored answer: %d %s", res.StatusCode, text(t, res))
	}
}

// An end that the ledger does not take as it is comes to rest without its answer.
func TestEndThatTheLedgerRefuses(t *testing.T) {
	b, h := hookedBench(t, nil)
	h.refuse = func(r *store.Record) bool { return r.State == store.Done && r.Response.Where != store.Purged }
	i := b.issue("/orders")
	if res := b.do("POST", i.URI, "x"); res.StatusCode/100 != 2 || !strings.HasPrefix(res.Header.Get("POE-State"), "done") {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("POE-State"))
	}
	wantProblem(t, b.do("GET", i.URI, ""), http.StatusGone, "outcome-purged")
}

// An abandoned action that the ledger does not let settle is in nobody's way.
func TestAbandonedThatTheLedgerRefuses(t *testing.T) {
	b, h := hookedBench(t, nil)
	var ids []store.ID
	for range 3 {
		i := b.issue("/orders")
		id, err := store.ParseID(i.ID)
		if err != nil {
			t.Fatal(err)
		}
		r := store.Record{
			ID: id, State: store.Running, Term: store.Term{1}, Door: "poe", Route: "default", Method: "POST", Target: i.target,
			Claimed: b.clock(), Expires: i.Expires, Due: b.clock().Add(time.Minute),
		}
		if _, err := storetest.Claim(t.Context(), b.store, r); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	h.refuse = func(r *store.Record) bool { return r.ID == ids[0] }
	b.advance(10 * time.Minute)
	core.Housekeeping(t.Context(), b.gate)
	for n, want := range []store.State{store.Running, store.Unknown, store.Unknown} {
		if r, err := b.store.Lookup(t.Context(), store.ByID(ids[n])); err != nil || r.State != want {
			t.Errorf("action %d is %s, %v; want %s", n, r.State, err, want)
		}
	}
	b.restarts(nil)
}

// A process that was held up behind its claim until others may take that for abandoned does not send any more: they may have decided about it.
func TestHeldUpBehindItsClaim(t *testing.T) {
	for name, as := range map[string]core.Verdict{"and nobody looked": "", "and somebody burned it": core.AsBurned, "and somebody called it done": core.AsDone} {
		t.Run(name, func(t *testing.T) {
			b, h := hookedBench(t, one(core.Route{}))
			u := &upstream{}
			b.behind(u)
			i := b.issue("/orders")
			h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
				h.claim = nil
				got, err := next(t.Context(), r)
				b.advance(10 * time.Minute)
				if as != "" {
					other := b.again(core.Route{}, u)
					other.wantState(i.ID, store.Unknown)
					other.decide(decision(i.ID, as))
				}
				return got, err
			}
			res := b.do("POST", i.URI, "apples")
			switch as {
			case core.AsBurned:
				wantProblem(t, res, 410, "burned")
				b.wantState(i.ID, store.Burned)
			case core.AsDone:
				wantProblem(t, res, 405, "consumed")
				b.wantState(i.ID, store.Done)
			default:
				wantProblem(t, res, 502, "not-executed")
				b.wantState(i.ID, store.Unused)
			}
			if sent := u.sent(); len(sent) > 0 {
				t.Errorf("sent: %v", sent)
			}
		})
	}
}
