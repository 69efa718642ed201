package core_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// large is a body that lies beside the ledger where its request is kept.
var large = `{"email":"a@example.com","note":"` + strings.Repeat("apples ", 15_000) + `"}`

var asJSON = "Content-Type: application/json"

// A noting store knows which bodies of requests, and which answers, were put into it, and how often one was to be discarded that its record refers to.
type noting struct {
	store.Store
	t *testing.T

	early   atomic.Int64
	mu      sync.Mutex
	put     []lying
	answers []lying
}

// lying is where a body lies.
type lying struct {
	id   store.ID
	part store.Part
}

func (n *noting) Put(ctx context.Context, id store.ID, part store.Part, src io.Reader) (int64, error) {
	size, err := n.Store.Put(ctx, id, part, src)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil:
	case part.N == 0:
		n.put = append(n.put, lying{id, part})
	default:
		n.answers = append(n.answers, lying{id, part})
	}
	return size, err
}

func (n *noting) Discard(ctx context.Context, id store.ID, part store.Part) error {
	if r, err := n.Lookup(ctx, store.ByID(id)); err == nil && r.RefersTo(part) {
		n.early.Add(1)
	}
	return n.Store.Discard(ctx, id, part)
}

// wantLeft wants so many bodies of requests to have been put, so many to be left of them, and none to have been discarded early.
func (n *noting) wantLeft(put, left int) {
	n.t.Helper()
	n.wantOf(&n.put, put, left)
}

// wantAnswers is wantLeft for answers.
func (n *noting) wantAnswers(put, left int) {
	n.t.Helper()
	n.wantOf(&n.answers, put, left)
}

func (n *noting) wantOf(bodies *[]lying, put, left int) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	got := 0
	for _, l := range *bodies {
		f, err := n.Open(n.t.Context(), l.id, l.part)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err := errors.Join(err, f.Close()); err != nil {
			n.t.Error(err)
		}
		got++
	}
	if len(*bodies) != put || got != left || n.early.Load() != 0 {
		n.t.Errorf("%d bodies were put, want %d; %d are left, want %d; %d were to be discarded early", len(*bodies), put, got, left, n.early.Load())
	}
}

// shelving makes a bench of a hooked store that notes bodies, with a worker.
func shelving(t *testing.T, change func(*core.Config)) (*bench, *hooked, *noting) {
	t.Helper()
	b, h := hookedBench(t, change)
	n := &noting{Store: h.Store, t: t}
	h.Store = n
	b.deferred()
	return b, h, n
}

// What is kept of a request is there until its end is known, and goes with it; what is kept of the answer stays.
func TestDiscardedAtTheEnd(t *testing.T) {
	const key = "Idempotency-Key: k"
	repeat, unique := one(repeating), one(core.Route{Unique: []string{"json:/email"}})
	for name, tc := range map[string]struct {
		change func(*core.Config)
		fields []string
		app    http.HandlerFunc // first; afterwards it is done
		kept   store.State      // where it stands, with its body, when the client has its answer
		end    func(b *bench, id, outcome string)
		state  store.State
	}{
		"accepted under a key":       {fields: []string{later, key}, kept: store.Queued, state: store.Done},
		"accepted, and unique":       {change: unique, fields: []string{later, asJSON}, kept: store.Queued, state: store.Done},
		"accepted, not done at once": {fields: []string{later, key}, app: answering(429), kept: store.Queued, state: store.Done},
		"accepted, and cancelled": {fields: []string{later, key}, kept: store.Queued, state: store.Burned, end: func(b *bench, _, outcome string) {
			if res := b.do("DELETE", outcome, ""); res.StatusCode != 204 {
				t.Errorf("cancelling: %d", res.StatusCode)
			}
		}},
		"accepted, and given up": {change: one(core.Route{RetryFor: time.Minute}), fields: []string{later, key}, app: answering(429), kept: store.Queued, state: store.Burned,
			end: func(b *bench, _, _ string) { b.work(); b.advance(time.Hour); b.work() }},
		"accepted, and burned by a person": {fields: []string{later, key}, kept: store.Queued, state: store.Burned,
			end: func(b *bench, id, _ string) { b.decide(decision(id, core.AsBurned)) }},
		"accepted, unknown, and failed by a person": {fields: []string{later, key}, app: answering(502), kept: store.Queued, state: store.Done,
			end: func(b *bench, id, _ string) {
				b.work()
				b.wantState(id, store.Unknown)
				b.decide(decision(id, core.AsFailed))
			}},
		"accepted, unknown, and sent again by a person": {fields: []string{later, key}, app: answering(502), kept: store.Queued, state: store.Done,
			end: func(b *bench, id, _ string) {
				b.work()
				b.decide(decision(id, core.AsUnused))
				b.wantState(id, store.Queued)
				b.app = nil
				b.work()
			}},
		"repeated":                         {change: repeat, fields: []string{key}, app: answering(502), kept: store.Unknown, state: store.Done},
		"repeated, and unique":             {change: one(core.Route{Recovery: core.RecoveryRepeat, Unique: []string{"json:/email"}}), fields: []string{asJSON}, app: answering(502), kept: store.Unknown, state: store.Done},
		"to be repeated, done by a person": {change: repeat, fields: []string{key}, app: answering(502), kept: store.Unknown, state: store.Done, end: func(b *bench, id, _ string) { b.decide(decision(id, core.AsDone)) }},
		"to be repeated, unused by a person": {change: repeat, fields: []string{key}, app: answering(502), kept: store.Unknown, state: store.Unused,
			end: func(b *bench, id, _ string) { b.decide(decision(id, core.AsUnused)) }},
		"repeated, and not done": {change: repeat, fields: []string{key}, app: answering(502), kept: store.Unknown, state: store.Unused,
			end: func(b *bench, _, _ string) { b.app = answering(422); b.pass(time.Minute, time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			b, _, n := shelving(t, tc.change)
			b.app = tc.app
			res := b.do("POST", "/orders", large, tc.fields...)
			id, _ := readState(t, res.Header)
			b.wantState(id, tc.kept)
			n.wantLeft(1, 1)
			if tc.end != nil {
				tc.end(b, id, res.Header.Get("Location"))
			} else {
				b.work()
				n.wantLeft(1, map[bool]int{true: 1}[tc.app != nil])
				b.app = func(w http.ResponseWriter, r *http.Request) {
					if got, err := io.ReadAll(r.Body); err != nil || string(got) != large {
						t.Errorf("the application gets %d bytes, %v", len(got), err)
					}
					w.WriteHeader(http.StatusCreated)
					_, _ = io.WriteString(w, large)
				}
				b.pass(10*time.Minute, time.Second)
			}
			r := b.wantState(id, tc.state)
			n.wantLeft(1, 0)
			if r.Response.Where == store.Beside {
				f, err := b.store.Open(t.Context(), r.ID, r.Response.Part)
				if err != nil {
					t.Fatalf("the answer: %v", err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			} else if tc.app != nil && tc.end == nil {
				t.Error("the answer is not beside the ledger")
			}
		})
	}
}

// One whose answer comes at once is discarded before the client has it, and so is that of each attempt.
func TestDiscardedByEachAttempt(t *testing.T) {
	b, _, n := shelving(t, one(repeating))
	b.app = answering(422)
	i := b.issue("/orders")
	b.do("POST", i.URI, large)
	n.wantLeft(1, 0)
	b.app = nil
	if res := b.do("POST", i.URI, large); res.StatusCode != 201 {
		t.Fatalf("the second attempt: %d", res.StatusCode)
	}
	n.wantLeft(2, 0)
	b.wantState(i.ID, store.Done)
}

// A claim that is refused when its body lies beside the ledger already leaves nothing behind, and takes nothing from who was quicker.
func TestDiscardedOfAClaimThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*core.Config)
		fields []string
		status int // of who is slower
	}{
		"accepted":  {fields: []string{later, "Idempotency-Key: k"}, status: 202},
		"repeated":  {change: one(repeating), fields: []string{"Idempotency-Key: k"}, status: 201},
		"by a name": {change: one(core.Route{Unique: []string{"json:/email"}}), fields: []string{later, asJSON}, status: 409},
	} {
		t.Run(name, func(t *testing.T) {
			b, h, n := shelving(t, tc.change)
			var id string
			h.put = func() {
				h.put = nil
				id, _ = readState(t, b.do("POST", "/orders", large, tc.fields...).Header)
			}
			if res := b.do("POST", "/orders", large, tc.fields...); res.StatusCode != tc.status {
				t.Errorf("who is slower gets %d: %s", res.StatusCode, text(t, res))
			}
			left := 1
			if tc.status == 201 { // it is done already
				left = 0
			}
			n.wantLeft(2, left)
			b.work()
			b.wantState(id, store.Done)
			n.wantLeft(2, 0)
			if b.executed.Load() != 1 {
				t.Errorf("executed %d times", b.executed.Load())
			}
		})
	}
}

// A claim that was made, though its ledger did not say so, and that a worker has taken up before it is asked again, is not known by its term any more. It
// looks refused, and its body is needed all the same.
func TestClaimThatLooksRefusedKeepsItsBody(t *testing.T) {
	b, h, n := shelving(t, nil)
	var id store.ID
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		h.claim, id = nil, r.ID
		got, err := next(t.Context(), r)
		if err != nil {
			return got, err
		}
		moved := got
		moved.Term = store.Term{1}
		if _, err := storetest.Advance(t.Context(), h.Store, got.Term, moved, store.Also{}); err != nil {
			t.Error(err)
		}
		return store.Record{}, errDisk
	}
	b.do("POST", "/orders", large, later, "Idempotency-Key: k")
	if r := b.lookup(id.String()); r.State != store.Queued || n.early.Swap(0) != 1 {
		t.Fatalf("it is %s: nothing was tried", r.State)
	}
	n.wantLeft(1, 1)
	var got []byte
	b.app = func(_ http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) }
	b.work()
	if b.wantState(id.String(), store.Done); string(got) != large {
		t.Errorf("the application got %d bytes", len(got))
	}
	n.wantLeft(1, 0)
}

// A write that nobody knows of discards nothing, whether it was made or not.
func TestUnknownWriteDiscardsNothing(t *testing.T) {
	for name, made := range map[string]bool{"made": true, "not made": false} {
		t.Run(name, func(t *testing.T) {
			var n *noting
			spy := &spyStore{}
			b := newBench(t, func(c *core.Config) {
				n = &noting{Store: c.Store, t: t}
				spy.Store = n
				c.Store = spy
			})
			b.deferred()
			id, _ := readState(t, b.do("POST", "/orders", large, later, "Idempotency-Key: k").Header)
			spy.advance = func(r store.Record) error {
				if r.State != store.Done {
					return nil
				}
				if stands := b.lookup(id); made && stands.State == store.Sent {
					if _, err := storetest.Advance(t.Context(), n, stands.Term, r, store.Also{}); err != nil {
						t.Error(err)
					}
				}
				return errDisk
			}
			b.work()
			b.wantState(id, map[bool]store.State{true: store.Done, false: store.Sent}[made])
			n.wantLeft(1, 1)
		})
	}
}

// Nor does a claim that nobody knows of. One that was made, and under which nothing was sent, is released with its body.
func TestUnknownClaimDiscardsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		fields []string
		made   bool
		left   int // when the ledger answers again, and before a worker works
	}{
		"accepted, not made": {fields: []string{later}, left: 1},
		"accepted, made":     {fields: []string{later}, made: true, left: 1},
		"repeated, not made": {left: 1},
		"repeated, made":     {made: true},
	} {
		t.Run(name, func(t *testing.T) {
			var n *noting
			spy := &spyStore{}
			fails := func(store.Record) error { return errDisk }
			b := newBench(t, func(c *core.Config) {
				one(repeating)(c)
				n = &noting{Store: c.Store, t: t}
				spy.Store = n
				c.Store = spy
			})
			b.deferred()
			if tc.made {
				spy.after = fails
			} else {
				spy.claim = fails
			}
			i := b.issue("/orders")
			if res := b.do("POST", i.URI, large, tc.fields...); res.StatusCode < 500 {
				t.Errorf("%d", res.StatusCode)
			}
			n.wantLeft(1, 1)
			spy.claim, spy.after = nil, nil
			core.Housekeeping(t.Context(), b.gate)
			n.wantLeft(1, tc.left)
			if b.executed.Load() != 0 {
				t.Error("it was executed")
			}
		})
	}
}

// A process that stops in good order between a write and what is discarded after it leaves nothing behind.
func TestDiscardedThoughTheProcessStops(t *testing.T) {
	b, h, n := shelving(t, one(repeating))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.claim = func(r store.Record, next func(context.Context, store.Record) (store.Record, error)) (store.Record, error) {
		if _, err := next(t.Context(), r); err != nil {
			t.Error(err)
		}
		return store.Record{}, errDisk
	}
	i := b.issue("/orders")
	b.do("POST", i.URI, large)
	n.wantLeft(1, 1)
	h.moved = func(*store.Record) { cancel() }
	core.Housekeeping(ctx, b.gate) // which releases the claim that nobody knew of
	if b.wantState(i.ID, store.Unused); ctx.Err() == nil || b.executed.Load() != 0 {
		t.Errorf("%v, executed %d times", ctx.Err(), b.executed.Load())
	}
	n.wantLeft(1, 0)
}

// Who ends an action between a worker's look at it and its reading of the body is no trouble: nothing is sent, and nobody is told of any.
func TestEndedBeforeAWorkerReads(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*core.Config)
		fields []string
		end    func(b *bench, id, outcome string)
		state  store.State
	}{
		"cancelled": {fields: []string{later}, state: store.Burned, end: func(b *bench, _, outcome string) { b.do("DELETE", outcome, "") }},
		"decided": {change: one(repeating), state: store.Done,
			end: func(b *bench, id, _ string) { b.another().decide(decision(id, core.AsFailed)) }},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			b, h, n := shelving(t, func(c *core.Config) {
				if tc.change != nil {
					tc.change(c)
				}
				c.Log = zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.ErrorLevel)
			})
			b.app = answering(502)
			res := b.do("POST", "/orders", large, append(tc.fields, "Idempotency-Key: k")...)
			id, _ := readState(t, res.Header)
			sent := b.executed.Load()
			b.advance(time.Minute)
			h.look = func() {
				h.look = nil
				tc.end(b, id, res.Header.Get("Location"))
			}
			b.work()
			if b.wantState(id, tc.state); h.look != nil || b.executed.Load() != sent || log.Len() > 0 {
				t.Errorf("looked: %t, sent %d times, logged %s", h.look == nil, b.executed.Load()-sent, &log)
			}
			n.wantLeft(1, 0)
		})
	}
}

// A late answer is the end of what is about to be sent again by another process: the body goes, and what was read of it is not sent.
func TestLateAnswerDiscards(t *testing.T) {
	b, _, n := shelving(t, one(repeating))
	u := &upstream{}
	b.behind(u)
	i := b.issue("/orders")
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(func(k int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return answers(201, "made")(k, s, rec)
	})
	var first sync.WaitGroup
	first.Go(func() { b.do("POST", i.URI, large) })
	<-entered
	h := &hooked{Store: n}
	again := &upstream{}
	next := newBench(t, func(c *core.Config) {
		one(repeating)(c)
		c.Store, c.Clock, c.Keys = h, b.clock, b.keys
	})
	next.of = b
	next.behind(again)
	next.wantState(i.ID, store.Unknown) // taken for abandoned
	n.wantLeft(1, 1)
	b.advance(time.Minute)
	h.look = func() { // the worker has seen it unknown
		h.look = nil
		close(leave)
		first.Wait()
	}
	next.work()
	if next.wantState(i.ID, store.Done); len(again.sent()) != 0 {
		t.Errorf("sent again %d times", len(again.sent()))
	}
	n.wantLeft(1, 0)
}

// A ledger that cannot discard is no trouble to anybody.
func TestDiscardingFails(t *testing.T) {
	b := newBench(t, func(c *core.Config) { one(repeating)(c); c.Store = hoarding{c.Store} })
	i := b.issue("/orders")
	if res := b.do("POST", i.URI, large); res.StatusCode != 201 {
		t.Errorf("%d", res.StatusCode)
	}
	b.wantState(i.ID, store.Done)
}

type hoarding struct{ store.Store }

func (hoarding) Discard(context.Context, store.ID, store.Part) error { return errDisk }

// A large answer that no record refers to, since what it was to settle was refused, or decided without it, does not stay beside the ledger. One that may be referred to
// does.
func TestAnswerThatIsNotTaken(t *testing.T) {
	for name, tc := range map[string]struct {
		as      core.Verdict               // what a person decides meanwhile; "": nothing
		refuses func(r store.Record) error // an Advance
		made    bool                       // all the same
		state   store.State
		left    int
	}{
		"taken":                          {state: store.Done, left: 1},
		"late, of what is called failed": {as: core.AsFailed, state: store.Done},
		"late, of what is burned":        {as: core.AsBurned, state: store.Burned},
		"late, of what is called undone": {as: core.AsUnused, state: store.Done, left: 1},
		"more than a record holds": {refuses: func(r store.Record) error {
			if r.Response.Where == store.Beside {
				return store.ErrInvalid
			}
			return nil
		}, state: store.Done},
		"nothing is taken":                {refuses: func(store.Record) error { return store.ErrUnavailable }, state: store.Running},
		"nobody knows":                    {refuses: func(store.Record) error { return errDisk }, state: store.Running, left: 1},
		"nobody knows, and it is written": {refuses: func(store.Record) error { return errDisk }, made: true, state: store.Done, left: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var n *noting
			spy := &spyStore{}
			b := newBench(t, func(c *core.Config) {
				n = &noting{Store: c.Store, t: t}
				spy.Store = n
				c.Store = spy
			})
			entered, leave := make(chan struct{}), make(chan struct{})
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-leave
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, large)
			}
			i := b.issue("/orders")
			var all sync.WaitGroup
			all.Go(func() { b.do("POST", i.URI, "apples") })
			<-entered
			if tc.as != "" {
				b.another().decide(decision(i.ID, tc.as))
			}
			if tc.refuses != nil {
				spy.advance = func(r store.Record) error {
					if tc.made {
						if _, err := storetest.Advance(t.Context(), n, b.lookup(i.ID).Term, r, store.Also{}); err != nil {
							t.Error(err)
						}
						tc.made = false
					}
					return tc.refuses(r)
				}
			}
			close(leave)
			all.Wait()
			b.wantState(i.ID, tc.state)
			n.wantAnswers(1, tc.left)
		})
	}
}

// So it is with the answer that a person writes down for an action that moves on in this moment.
func TestAnswerOfADecisionThatIsNotTaken(t *testing.T) {
	for name, state := range map[string]store.State{"moved on": store.Unknown, "taken": store.Done} {
		t.Run(name, func(t *testing.T) {
			b, h, n := shelving(t, nil)
			b.app = answering(502)
			id, _ := readState(t, b.do("POST", "/orders", "apples", "Idempotency-Key: k").Header)
			d := decision(id, core.AsDone)
			d.Response = strings.NewReader("HTTP/1.1 201 Created\r\n\r\n" + large)
			left := 1
			if state == store.Unknown {
				left = 0
				h.put = func() {
					r := b.lookup(id)
					was := r.Term
					r.Term = store.Term{1}
					if _, err := storetest.Advance(t.Context(), h.Store, was, r, store.Also{}); err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := b.gate.Decide(t.Context(), d); (err == nil) != (left == 1) {
				t.Error(err)
			}
			b.wantState(id, state)
			n.wantAnswers(1, left)
		})
	}
}
