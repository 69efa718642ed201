package core_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// What a person is told of a compensation that was burned is what is known of it: one that was sent may have been done, and who reads that it could not be sent
// would take it for undone.
func TestBurnedCompensationThatWasSent(t *testing.T) {
	b, u := recovering(t, compensating)
	i := b.issue("/orders", alice)
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(onCompensation(func(int, sending, *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return replay.Broken, errReset
	}))
	b.do("POST", i.URI, "apples", alice)
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	defer func() { close(leave); all.Wait() }()
	b2 := b.again(compensating, u) // the process was killed while the compensation was out
	child := b2.wantState(b2.lookup(i.ID).Undo.String(), store.Unknown)
	b2.decide(decision(child.ID.String(), core.AsBurned))
	b2.pass(10*time.Second, time.Second)
	r := b2.wantState(i.ID, store.Unknown)
	if last := r.History[len(r.History)-1]; !strings.Contains(last.Why, "nobody knows whether") || !r.Due.Equal(store.Person) {
		t.Errorf("due %s: %v", r.Due, r.History)
	}
}

// What is to be taken back is taken back however long its target is: where that does not fit into a record the compensation goes without it.
func TestCompensationOfALongTarget(t *testing.T) {
	for name, query := range map[string]string{"long": strings.Repeat("a", 65_500), "quotes": strings.Repeat(`"`, 33_000), "bytes": strings.Repeat("\xff", 11_000)} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, compensating)
			u.says(onCompensation(answers(204, "")))
			res := b.do("POST", "/orders?x="+query, "apples", "Idempotency-Key: k")
			id, _ := readState(t, res.Header)
			b.pass(time.Minute, time.Second)
			r := b.lookup(id)
			sent := u.sent()
			if r.State != store.Done || len(sent) != 2 {
				t.Fatalf("%d; it is %s, due %s, sent %d: %v", res.StatusCode, r.State, r.Due, len(sent), r.History)
			}
			if body := sent[1].body; strings.Contains(body, "target") || !strings.Contains(body, `"id":"`+id+`"`) {
				t.Errorf("%.200s", body)
			}
		})
	}
}

// Who asked to be called back is called when an action is left to a person because the ledger does not take its end as it is.
func TestCallbackOfAnEndThatDoesNotFit(t *testing.T) {
	h := newHook(t)
	first := calling(t, h)
	var ledger *tampered
	b := callingAs(t, h, first, func(c *core.Config) {
		ledger = &tampered{Store: c.Store}
		c.Store = ledger
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"key", "callback"}, Recovery: core.RecoveryCompensate, Compensate: "/undo/{id}"}}
	})
	b.of = first
	b.behind(&upstream{answer: breaks})
	ledger.moving = func(r store.Record) error {
		if r.State == store.Unknown && !r.Undo.IsZero() {
			return store.ErrInvalid
		}
		return nil
	}
	res := b.do("POST", "/orders", "apples", "Idempotency-Key: k", "Callback-URL: "+h.URL)
	id, _ := readState(t, res.Header)
	b.pass(time.Minute, time.Second)
	if r := b.wantState(id, store.Unknown); !r.Due.Equal(store.Person) || h.got() != 1 || h.events[0]["type"] != "poe.outcome.unknown" {
		t.Errorf("due %s, called %d times: %v", r.Due, h.got(), h.events)
	}
}

// The same unknown end is told once, always under the same webhook-id, whatever lines come into the history, and go for want of room: a receiver that sees another
// id believes that something has happened.
func TestUnknownIsToldOnce(t *testing.T) {
	for name, before := range map[string]int{"at once": 0, "with a full history": store.MaxHistory / 2} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			route := core.Route{
				Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}, Unique: []string{"header:X-Item"},
				Recovery: core.RecoveryCompensate, Compensate: "/orders/compensate/{id}", Compensated: core.CompensatedUnused,
			}
			first := calling(t, h)
			u := &upstream{}
			b := callingAs(t, h, first, func(c *core.Config) { c.Routes = []core.Route{route} })
			b.of = first
			b.behind(u)
			i := b.issue("/orders")
			order := func() store.Record {
				b.do("POST", i.URI, "apples", "X-Item: cup", "Callback-URL: "+h.URL)
				b.pass(10*time.Second, time.Second)
				return b.lookup(i.ID)
			}
			for u.says(onCompensation(answers(204, ""))); before > 0; before-- {
				order()
				b.wantState(i.ID, store.Unused)
			}
			u.says(breaks) // the compensation too
			r := order()
			if h.got() != 1 {
				t.Fatalf("called %d times", h.got())
			}
			if err := b.gate.Free(t.Context(), i.ID, "operator:ada"); err != nil { // a line of history
				t.Fatal(err)
			}
			b.decide(decision(r.Undo.String(), core.AsFailed)) // so the parent stays unknown, as it was
			b.pass(10*time.Minute, 10*time.Second)
			if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) || h.got() != 1 {
				t.Errorf("due %s, called %d times: %v; %v", r.Due, h.got(), h.events, r.History)
			}
		})
	}
}

// A compensation whose route is there no more is given up after a day, and a person is told; one whose route is back in time is sent.
func TestCompensationOfAFormerRoute(t *testing.T) {
	for name, away := range map[string]time.Duration{"for good": 72 * time.Hour, "for a while": 20 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, compensating)
			i := b.issue("/orders", alice)
			u.says(breaks)
			b.do("POST", i.URI, "apples", alice)
			b.advance(100 * time.Hour) // the server was away; that counts for nothing
			other := b.without(u)
			other.pass(away, 10*time.Minute)
			r := b.wantState(i.ID, store.Unknown)
			if away > 24*time.Hour {
				b.wantState(r.Undo.String(), store.Burned)
				if !r.Due.Equal(store.Person) {
					t.Errorf("due %s, and no person was told: %v", r.Due, r.History)
				}
				return
			}
			u.says(answers(204, ""))
			b2 := b.again(compensating, u)
			b2.pass(time.Hour, time.Minute)
			b2.wantState(i.ID, store.Done)
		})
	}
}

// without is another process on the same ledger, without the route of b.
func (b *bench) without(u *upstream) *bench {
	b.t.Helper()
	other := newBench(b.t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "other", Match: "POST /other"}}
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
	})
	other.of = b
	other.behind(u)
	return other
}
