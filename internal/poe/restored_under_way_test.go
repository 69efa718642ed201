package core_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A backedUp ledger writes into a second one as well, until the backup is made.
type backedUp struct {
	store.Store
	backup store.Store
	claims func() // called behind each claim

	mu   sync.Mutex
	made bool // guarded by mu
}

func (s *backedUp) also(write func(store.Store) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.made {
		_ = write(s.backup) // it says what the other one says
	}
}

// done ends the copying: what is written from now on the backup does not have.
func (s *backedUp) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = true
}

func (s *backedUp) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	s.also(func(b store.Store) error { _, err := storetest.Claim(ctx, b, *r); return err })
	s.claims()
	return s.Store.Claim(ctx, r)
}

func (s *backedUp) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	s.also(func(b store.Store) error { _, err := storetest.Advance(ctx, b, was, *r, also); return err })
	return s.Store.Advance(ctx, was, r, also)
}

// of makes a backup the ledger that it was made of.
type of struct {
	store.Store
	live store.Store
}

func (s of) Identity() store.ID { return s.live.Identity() }
func (s of) Secret() [32]byte   { return s.live.Secret() }

func backingUp(t *testing.T, r core.Route) (*bench, *upstream, *backedUp) {
	t.Helper()
	ledger := &backedUp{claims: func() {}}
	b := newBench(t, func(c *core.Config) {
		one(r)(c)
		var err error
		if ledger.backup, err = memstore.New(memstore.Config{Clock: c.Clock}); err != nil {
			t.Fatal(err)
		}
		ledger.Store = c.Store
		c.Store = ledger
	})
	u := &upstream{}
	b.behind(u)
	return b, u, ledger
}

// putBack is the next process, on the backup, a minute later.
func (b *bench) putBack(r core.Route, u *upstream, l *backedUp, at time.Time, lost bool) *bench {
	b.advance(time.Minute)
	next := newBench(b.t, func(c *core.Config) {
		one(r)(c)
		c.Store, c.Clock, c.Keys = restored{of{l.backup, l.Store}, at, lost}, b.clock, b.keys
	})
	next.of = b
	next.behind(u)
	return next
}

// What was under way in a backup may have come to any end since. Nothing is sent for it on the word of the backup.
func TestUnderWayBeforeARestore(t *testing.T) {
	for name, route := range map[string]core.Route{
		"compensate": compensating, "repeat": {Recovery: core.RecoveryRepeat}, "hold": {}, "marked": {MarkSent: true},
	} {
		for _, moment := range []string{"claimed", "sent"} {
			t.Run(name+", "+moment, func(t *testing.T) {
				b, u, ledger := backingUp(t, route)
				if moment == "claimed" {
					ledger.claims = ledger.done
				}
				u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
					ledger.done()
					return answers(201, "made")(n, s, rec)
				})
				i := b.issue("/orders")
				if res := b.do("POST", i.URI, "apples"); res.StatusCode != 201 || !strings.HasPrefix(res.Header.Get("POE-State"), "done") {
					t.Fatal(res.StatusCode, res.Header)
				}
				after := b.putBack(route, u, ledger, b.clock().Add(time.Minute), true)
				after.pass(10*time.Minute, time.Second)
				if r := after.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
					t.Errorf("due %s: %v", r.Due, r.History)
				}
				if sent := u.sent(); len(sent) != 1 {
					t.Errorf("sent after the restore: %v", sent[1:])
				}
			})
		}
	}
}

// What was unknown in a backup is left to a person, unless the application is asked.
func TestUnknownBeforeARestore(t *testing.T) {
	for name, route := range map[string]core.Route{"compensate": compensating, "repeat": {Recovery: core.RecoveryRepeat}} {
		t.Run(name, func(t *testing.T) {
			b, u, ledger := backingUp(t, route)
			u.says(breaks)
			i := b.issue("/orders")
			b.do("POST", i.URI, "apples")
			b.wantState(i.ID, store.Unknown)
			ledger.done()
			after := b.putBack(route, u, ledger, b.clock().Add(time.Minute), true)
			u.says(answers(204, ""))
			after.pass(10*time.Minute, time.Second)
			if r := after.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
				t.Errorf("due %s: %v", r.Due, r.History)
			}
			if sent := u.sent(); len(sent) != 1 {
				t.Errorf("sent after the restore: %v", sent[1:])
			}
		})
	}
	t.Run("probe", func(t *testing.T) {
		route := core.Route{Recovery: core.RecoveryProbe, Probe: "/orders/by-key/{id}"}
		b, u, ledger := backingUp(t, route)
		u.says(breaks)
		i := b.issue("/orders")
		b.do("POST", i.URI, "apples")
		ledger.done()
		after := b.putBack(route, u, ledger, b.clock().Add(time.Minute), true)
		u.says(answers(200, "made"))
		after.pass(time.Minute, time.Second)
		after.wantState(i.ID, store.Done)
	})
}

// A business key that the backup knows to be claimed stays so: that nothing was marked there says nothing of what came after it.
func TestBusinessKeyClaimedBeforeARestore(t *testing.T) {
	route := core.Route{MarkSent: true, Unique: []string{"header:X-Order"}}
	b, u, ledger := backingUp(t, route)
	ledger.claims = ledger.done
	if res := b.do("POST", b.mint("/orders"), "pay", "X-Order: 7"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	at := b.clock().Add(time.Minute)
	b.putBack(route, u, ledger, at, true)
	accepted := b.putBack(route, u, ledger, at, false) // somebody has accepted that new keys are taken: this one is not new
	wantProblem(t, accepted.do("POST", accepted.mint("/orders"), "pay", "X-Order: 7"), 409, "outcome-unknown")
	if n := len(u.sent()); n != 1 {
		t.Errorf("paid %d times", n)
	}
}

// An accepted action that a person releases after a restore is executed: they know more than the backup.
func TestReleasedAfterARestore(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	after := b.after(true, nil)
	after.deferred()
	after.wantState(i.ID, store.Unknown)
	after.decide(decision(i.ID, core.AsUnused))
	after.advance(time.Second)
	core.Housekeeping(t.Context(), after.gate)
	after.wantState(i.ID, store.Queued)
	after.work()
	after.wantState(i.ID, store.Done)
	if n := after.executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// An accepted action from before a restore is not sent either where a worker comes before recovery has looked at it.
func TestWorkerBeforeRecoveryAfterARestore(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	b.advance(time.Minute)
	after := newBench(t, func(c *core.Config) {
		c.Store, c.Keys, c.Clock = restored{refusing{b.store}, b.clock(), true}, b.keys, b.clock
	})
	after.now = b.now
	after.deferred()
	after.work()
	if n := after.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
}

// refusing takes no record that is unknown, or about to be, from recovery.
type refusing struct{ store.Store }

func (s refusing) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	if n := len(r.History); n > 0 && r.History[n-1].Who == "recovery" {
		return nil, store.ErrInvalid
	}
	return s.Store.Advance(ctx, was, r, also)
}
