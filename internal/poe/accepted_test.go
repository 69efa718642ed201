package core_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// What was accepted is tried, however long it had to wait for its turn: a client was told that it will be done, and retry_for is about trying again.
func TestAcceptedIsTriedAtLeastOnce(t *testing.T) {
	for name, accepts := range map[string]bool{"accepted": true, "compensation": false} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, compensating)
			i := b.issue("/orders")
			if accepts {
				b.do("POST", i.URI, "apples", later)
			} else {
				u.says(onCompensation(answers(204, "")))
				b.do("POST", i.URI, "apples")
			}
			b.advance(25 * time.Hour) // the queue was long, or the server away
			b2 := b.again(compensating, u)
			b2.work()
			b2.wantState(i.ID, store.Done)
		})
	}
}

// A try of which surely nothing left, since the process was held up or the ledger did not confirm its mark, is none.
func TestAcceptedIsTriedAfterATryThatWasNone(t *testing.T) {
	b, ledger := newTampered(t, nil)
	b.deferred()
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	ledger.advance = func() error { return context.DeadlineExceeded }
	b.work()
	ledger.advance = nil
	b.advance(2 * time.Hour)
	core.Housekeeping(t.Context(), b.gate)
	b.work()
	if r := b.wantState(i.ID, store.Done); b.executed.Load() != 1 {
		t.Errorf("executed %d times: %v", b.executed.Load(), r.History)
	}

	i = b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	ledger.moving = func(r store.Record) error {
		if r.State == store.Sent {
			b.advance(2 * time.Hour) // the machine slept
		}
		return nil
	}
	b.work()
	ledger.moving = nil
	b.wantState(i.ID, store.Queued)
	b.pass(10*time.Minute, 10*time.Second)
	if r := b.wantState(i.ID, store.Done); b.executed.Load() != 2 {
		t.Errorf("executed %d times: %v", b.executed.Load(), r.History)
	}
}

// An accepted action whose route is there no more is void after a day, and its outcome says so: nobody will ever execute it.
func TestAcceptedOfAFormerRoute(t *testing.T) {
	b, u := recovering(t, core.Route{})
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later))
	other := b.without(u)
	other.pass(20*time.Hour, 10*time.Minute)
	other.wantState(i.ID, store.Queued)
	other.pass(20*time.Hour, 10*time.Minute)
	other.wantState(i.ID, store.Burned)
	wantProblem(t, other.do("GET", at, ""), 410, "burned")
	if n := len(u.sent()); n != 0 {
		t.Errorf("sent %d times", n)
	}
}

// misplacing cannot read what lies beside the ledger, with an error of its own.
type misplacing struct {
	store.Store
	err error
}

func (s *misplacing) Open(ctx context.Context, id store.ID, part store.Part) (io.ReadSeekCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Store.Open(ctx, id, part)
}

// An accepted action whose stored request is lost can never be executed: it is void after a day, in which the disk may come back, and its outcome says so. One
// whose request only cannot be read waits as long as that is so.
func TestAcceptedWhoseRequestIsLost(t *testing.T) {
	accept := func(t *testing.T, wrap func(store.Store) store.Store) (b *bench, u *upstream, id, at string) {
		t.Helper()
		b = newBench(t, func(c *core.Config) { c.Store = wrap(c.Store) })
		u = &upstream{answer: answers(201, "")}
		b.behind(u)
		res := b.do("POST", "/orders", strings.Repeat("x", 100_000), later, "Idempotency-Key: k")
		id, _ = readState(t, res.Header)
		return b, u, id, monitor(t, res)
	}
	for name, wrap := range map[string]func(store.Store) store.Store{
		"lost":    func(s store.Store) store.Store { return &misplacing{s, fmt.Errorf("a body: %w", store.ErrNotFound)} },
		"damaged": func(s store.Store) store.Store { return rotten{s} },
	} {
		t.Run(name, func(t *testing.T) {
			b, u, id, at := accept(t, wrap)
			b.pass(20*time.Hour, 10*time.Minute)
			b.wantState(id, store.Queued)
			b.pass(5*time.Hour, 10*time.Minute)
			b.wantState(id, store.Burned)
			wantProblem(t, b.do("GET", at, ""), 410, "burned")
			if n := len(u.sent()); n != 0 {
				t.Errorf("sent %d times", n)
			}
		})
	}
	t.Run("not readable for two days", func(t *testing.T) {
		var st *misplacing
		b, u, id, _ := accept(t, func(s store.Store) store.Store { st = &misplacing{s, syscall.EIO}; return st })
		b.pass(48*time.Hour, 10*time.Minute)
		b.wantState(id, store.Queued)
		st.err = nil
		b.pass(time.Hour, 10*time.Minute)
		if b.wantState(id, store.Done); len(u.sent()) != 1 {
			t.Errorf("sent %d times", len(u.sent()))
		}
	})
	t.Run("back within the day", func(t *testing.T) {
		var st *misplacing
		b, u, id, _ := accept(t, func(s store.Store) store.Store { st = &misplacing{s, store.ErrNotFound}; return st })
		b.pass(20*time.Hour, 10*time.Minute)
		st.err = nil
		b.pass(time.Hour, 10*time.Minute)
		if b.wantState(id, store.Done); len(u.sent()) != 1 {
			t.Errorf("sent %d times", len(u.sent()))
		}
	})
}

// Pauses grow: an application that is away for an hour is not asked each second, and each try is two durable writes. One that asks to come again at once has
// said nothing of when.
func TestPausesOfWhatIsAccepted(t *testing.T) {
	for name, tc := range map[string]struct {
		accepts bool
		answer  func(int, sending, *replay.Recorder) (replay.Proof, error)
	}{
		"accepted, and not sent": {true, refuses}, "compensation, and not sent": {false, refuses},
		"accepted, and asked to come again": {true, answers(429, "", "Retry-After: 0")}, "compensation, and asked to come again": {false, answers(429, "", "Retry-After: 0")},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, compensating)
			i := b.issue("/orders")
			if tc.accepts {
				u.says(tc.answer)
				b.do("POST", i.URI, "apples", later)
			} else {
				u.says(onCompensation(tc.answer))
				b.do("POST", i.URI, "apples")
			}
			b.pass(30*time.Minute, time.Second)
			if n := len(u.sent()); n < 8 || n > 30 {
				t.Errorf("tried %d times in half an hour", n)
			}
		})
	}
}

// The receipt of what a client has cancelled does not say that it was never sent where it was.
func TestCancelledBetweenTwoTries(t *testing.T) {
	for name, tried := range map[string]bool{"untried": false, "answered, not done": true} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, core.Route{})
			u.says(answers(429, ""))
			i := b.issue("/orders")
			at := monitor(t, b.do("POST", i.URI, "apples", later))
			if tried {
				b.work()
			}
			if res := b.do("DELETE", at, ""); res.StatusCode != 204 {
				t.Fatal(res.StatusCode)
			}
			r := b.wantState(i.ID, store.Burned)
			if last := r.History[len(r.History)-1]; strings.HasSuffix(last.Why, "sent again") != tried {
				t.Errorf("%v", r.History)
			}
		})
	}
}
