package core_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// ahead makes a bench whose process has started with a clock that is a year ahead, on a ledger of which an earlier process knew the time; set sets the clock
// right, and next is the process after it.
func ahead(t *testing.T, change func(*core.Config)) (b *bench, set func(), next func() *bench) {
	t.Helper()
	return aheadBy(t, 365*24*time.Hour, change)
}

// aheadBy is ahead with a clock that is ahead by so much.
func aheadBy(t *testing.T, by time.Duration, change func(*core.Config)) (b *bench, set func(), next func() *bench) {
	t.Helper()
	disk := vfs.NewMem()
	first := newBench(t, func(c *core.Config) { c.Store = openPebble(t, disk, c.Clock) })
	if res := first.do("POST", first.mint("/orders"), "apples"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if err := first.store.Close(); err != nil {
		t.Fatal(err)
	}
	open := func() *bench {
		b := newBench(t, func(c *core.Config) {
			c.Store, c.Keys, c.Clock = openPebble(t, disk, first.clock), first.keys, first.clock
			change(c)
		})
		b.of = first
		return b
	}
	first.advance(by)
	b = open()
	return b, func() { first.advance(10*time.Minute - by) }, func() *bench {
		if err := b.store.Close(); err != nil {
			t.Fatal(err)
		}
		return open()
	}
}

// One that the ledger does not take as it is keeps neither the others waiting nor the next process from starting.
func TestPutOffAndNotTaken(t *testing.T) {
	var refused string
	b, set, next := ahead(t, func(c *core.Config) {
		c.Store = &tampered{Store: c.Store, moving: func(r store.Record) error {
			if r.ID.String() == refused {
				return store.ErrInvalid
			}
			return nil
		}}
	})
	u := &upstream{answer: answers(429, "")}
	b.behind(u)
	first, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k1").Header)
	second, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k2").Header)
	b.work()
	set()
	refused = first
	u.says(answers(201, ""))
	b = next()
	b.behind(u)
	b.work()
	b.wantState(first, store.Queued)
	b.wantState(second, store.Done)
}

// A clock that was ahead at the start, and is corrected within an hour, does no harm: what was put off by it meanwhile is looked at as soon as it is right,
// by this process or the next, and not when that time has come.
func TestPutOffByAClockThatWasAhead(t *testing.T) {
	for name, restarts := range map[string]bool{"the same process": false, "the next process": true} {
		after := func(b *bench, next func() *bench) *bench {
			if restarts {
				return next()
			}
			core.Sweeping(t.Context(), b.gate)
			return b
		}
		t.Run("callback, "+name, func(t *testing.T) {
			h := newHook(t)
			h.answer = 500
			b, set, next := ahead(t, func(c *core.Config) {
				c.Callbacks = hookSender(t, h, c.Clock)
				c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}}}
			})
			b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
			b.work()
			if h.got() != 1 {
				t.Fatalf("sent %d times", h.got())
			}
			set()
			h.answer = 204
			b = after(b, next)
			b.work()
			if h.got() != 2 {
				t.Errorf("sent %d times", h.got())
			}
		})
		t.Run("accepted, "+name, func(t *testing.T) {
			b, set, next := ahead(t, func(*core.Config) {})
			u := &upstream{answer: answers(429, "")}
			b.behind(u)
			id, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k").Header)
			b.work()
			b.wantState(id, store.Queued)
			set()
			b = after(b, next)
			b.behind(u)
			b.pass(2*time.Hour, time.Minute)
			if n := len(u.sent()); n < 5 || n > 60 { // retry_for is not a year longer
				t.Errorf("sent %d times", n)
			}
			if r := b.wantState(id, store.Done); r.Status != 429 {
				t.Errorf("%d", r.Status)
			}
		})
		t.Run("unknown, "+name, func(t *testing.T) {
			b, set, next := ahead(t, one(repeating))
			u := &upstream{answer: breaks}
			b.behind(u)
			i := b.issue("/orders")
			b.do("POST", i.URI, "x")
			set()
			b = after(b, next)
			b.behind(u)
			b.pass(30*time.Hour, 5*time.Minute)
			if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) { // recover_for is not a year longer
				t.Errorf("due %s", r.Due)
			}
			if n := len(u.sent()); n < 100 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// So it is where the clock was ahead by less than a callback may be put off by.
func TestPutOffByAClockThatWasAheadByLess(t *testing.T) {
	for name, restarts := range map[string]bool{"the same process": false, "the next process": true} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			h.answer = 500
			u := &upstream{answer: breaks}
			b, set, next := aheadBy(t, 90*time.Minute, func(c *core.Config) {
				one(core.Route{Recovery: core.RecoveryRepeat, Doors: []string{"key", "async", "callback"}})(c)
				c.Callbacks = hookSender(t, h, c.Clock)
			})
			b.behind(u)
			unknown, _ := readState(t, b.do("POST", "/orders", "x", "Idempotency-Key: k1").Header)
			u.says(answers(201, ""))
			b.do("POST", "/orders", "x", "Idempotency-Key: k2", "Callback-URL: "+h.URL)
			u.says(answers(429, ""))
			accepted, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k3").Header)
			core.Sweeping(t.Context(), b.gate)
			b.work()
			set()
			u.says(answers(201, ""))
			h.answer = 204
			if restarts {
				b = next()
				b.behind(u)
			}
			core.Sweeping(t.Context(), b.gate)
			b.work()
			b.wantState(unknown, store.Done)
			b.wantState(accepted, store.Done)
			if h.got() != 2 {
				t.Errorf("sent %d times", h.got())
			}
		})
	}
}

// So are callbacks that had no room to wait, which nobody has tried to send.
func TestPutOffWithoutRoomByAClockThatWasAhead(t *testing.T) {
	const owed, by = 12, 50 * time.Minute
	h := newSlowHook(t)
	var ledger *tampered
	b, _, _ := aheadBy(t, 2*time.Hour, func(c *core.Config) { // a pause, after which no clock is believed
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		ledger = &tampered{Store: c.Store}
		c.Store, c.Callbacks = ledger, sender
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}}}
	})
	for range owed {
		b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	}
	b.advance(by)
	var off atomic.Int64
	ledger.moving = func(r store.Record) error {
		if r.State == store.Queued && r.Due.After(b.clock()) && off.Add(1) == owed-8 {
			close(h.leave)
		}
		return nil
	}
	core.WorkOnceCrowded(t.Context(), b.gate, 0)
	b.advance(-by)
	core.Sweeping(t.Context(), b.gate)
	b.work()
	if n := len(h.came); n != owed {
		t.Errorf("%d were sent", n)
	}
}

// Many are not written one by one, with a sync for each, which would keep everything else that is due waiting for minutes.
func TestPutOffAndWrittenTogether(t *testing.T) {
	const many = 8
	var met, came sync.WaitGroup
	b, set, _ := ahead(t, func(c *core.Config) {
		c.Store = &tampered{Store: c.Store, moving: func(r store.Record) error {
			if r.State == store.Queued && r.Due.Equal(c.Clock()) {
				came.Done()
				met.Wait()
			}
			return nil
		}}
	})
	b.behind(&upstream{answer: answers(429, "")})
	for i := range many {
		b.do("POST", "/orders", "x", later, fmt.Sprintf("Idempotency-Key: k%d", i))
	}
	b.work()
	set()
	met.Add(1)
	came.Add(many)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		core.Sweeping(t.Context(), b.gate)
	}()
	together := make(chan struct{})
	go func() {
		defer close(together)
		came.Wait()
	}()
	select {
	case <-together:
	case <-time.After(5 * time.Second):
		t.Error("one waits for the other")
	}
	met.Done()
	<-ended
}

// And so it is where the clock was ahead for less than a minute, between two looks for that.
func TestPutOffByAClockThatWasAheadForSeconds(t *testing.T) {
	const by = 50 * time.Minute
	b, _, _ := aheadBy(t, 2*time.Hour, func(*core.Config) {}) // a pause, after which no clock is believed
	u := &upstream{answer: answers(429, "")}
	b.behind(u)
	core.Sweeping(t.Context(), b.gate)
	b.advance(by + 5*time.Second)
	id, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k").Header)
	b.work()
	core.Housekeeping(t.Context(), b.gate)
	b.advance(55*time.Second - by)
	u.says(answers(201, ""))
	core.Sweeping(t.Context(), b.gate)
	b.work()
	b.wantState(id, store.Done)
}

// A clock that was ahead, and is set right after it was used for longer than it can be doubted, leaves a ledger whose time is ahead. What fails then is tried
// again all the same, in twice the time.
func TestDueWhileTheClockIsBehind(t *testing.T) {
	h := newHook(t)
	h.answer = 500
	b := calling(t, h)
	unused := b.mint("/orders")
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	b.advance(-7 * 24 * time.Hour)
	b.work()
	if h.got() != 1 {
		t.Fatalf("sent %d times", h.got())
	}
	b.work()
	b.pass(2*time.Second, time.Second)
	if h.got() != 1 {
		t.Errorf("it was sent again before its pause was over")
	}
	h.answer = 204
	b.pass(time.Minute, time.Second)
	if h.got() != 2 {
		t.Errorf("sent %d times", h.got())
	}
	b.pass(2*time.Hour, time.Minute)
	wantProblem(t, b.do("POST", unused, "x"), 410, "never-used")
}

// What was called expired while the clock was behind is so after a crash, though nothing was written since: neither some seconds later nor in that moment.
func TestNeverUsedStaysAfterACrash(t *testing.T) {
	const week = 7 * 24 * time.Hour
	marked := func() { <-time.After(1500 * time.Millisecond) } // what is marked each second
	for name, tc := range map[string]struct {
		before time.Duration // its end
		wait   func()
	}{
		"later":          {12 * time.Second, marked},
		"in that moment": {2 * time.Second, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := vfs.NewCrashableMem()
			b := newBench(t, func(c *core.Config) { c.Store = openPebble(t, disk, c.Clock) })
			b.advance(week)
			if res := b.do("POST", b.mint("/orders"), "x"); res.StatusCode != 201 { // a write, which carries the time
				t.Fatal(res.StatusCode)
			}
			uri := b.mint("/orders")
			b.advance(-week)
			b.do("GET", uri, "") // the ledger's time goes on at half its pace from here
			b.advance(2*(time.Hour+store.Skew) - tc.before)
			b.do("GET", uri, "")
			marked()
			for b.do("GET", uri, "").StatusCode == 200 {
				b.advance(time.Second)
			}
			wantProblem(t, b.do("POST", uri, "x"), 410, "never-used")
			tc.wait()
			after := disk.CrashClone(vfs.CrashCloneCfg{})
			next := newBench(t, func(c *core.Config) { c.Store, c.Keys, c.Clock = openPebble(t, after, b.clock), b.keys, b.clock })
			wantProblem(t, next.do("POST", uri, "x"), 410, "never-used")
		})
	}
}

// A clock that is ahead at the start gives nothing up that was begun before: by that time retry_for and recover_for are long over. One that is right after a
// pause of a year does, when it is believed.
func TestNotGivenUpByAClockThatIsAhead(t *testing.T) {
	const year = 365 * 24 * time.Hour
	h := newHook(t)
	for name, tc := range map[string]struct {
		route  core.Route
		fields []string
		answer func(int, sending, *replay.Recorder) (replay.Proof, error)
		then   func(b *bench, id string) // with the clock set right
		over   func(b *bench, id string) // or believed
	}{
		"accepted": {
			core.Route{}, []string{later}, answers(429, ""),
			func(b *bench, id string) { b.wantState(id, store.Done) },
			func(b *bench, id string) { b.wantState(id, store.Burned) },
		},
		"accepted, and not sent": {
			core.Route{}, []string{later}, refuses,
			func(b *bench, id string) { b.wantState(id, store.Done) },
			func(b *bench, id string) { b.wantState(id, store.Burned) },
		},
		"unknown": {
			core.Route{Recovery: core.RecoveryRepeat}, nil, breaks,
			func(b *bench, id string) { b.wantState(id, store.Done) },
			func(b *bench, id string) {
				if r := b.wantState(id, store.Unknown); !r.Due.Equal(store.Person) {
					b.t.Errorf("due %s", r.Due)
				}
			},
		},
	} {
		for which, right := range map[string]bool{"set right": true, "believed": false} {
			t.Run(name+", "+which, func(t *testing.T) {
				before := h.got()
				disk, u := vfs.NewMem(), &upstream{answer: tc.answer}
				tc.route.Doors = []string{"key", "async", "callback"}
				configured := func(c *core.Config) {
					one(tc.route)(c)
					c.Callbacks = hookSender(t, h, c.Clock)
				}
				first := newBench(t, func(c *core.Config) {
					configured(c)
					c.Store = openPebble(t, disk, c.Clock)
				})
				first.behind(u)
				id, _ := readState(t, first.do("POST", "/orders", "x", append(tc.fields, "Idempotency-Key: k", "Callback-URL: "+h.URL)...).Header)
				first.pass(time.Minute, 10*time.Second)
				if err := first.store.Close(); err != nil {
					t.Fatal(err)
				}
				first.advance(year)
				b := newBench(t, func(c *core.Config) {
					configured(c)
					c.Store, c.Keys, c.Clock = openPebble(t, disk, first.clock), first.keys, first.clock
				})
				b.of = first
				b.behind(u)
				tried := len(u.sent())
				b.pass(30*time.Minute, time.Minute)
				if n := len(u.sent()) - tried; n < 3 || n > 20 {
					t.Errorf("tried %d times in half an hour", n)
				}
				if n := h.got() - before; n != 0 {
					t.Errorf("its end was told %d times", n)
				}
				if right {
					b.advance(time.Minute - year)
					core.Sweeping(t.Context(), b.gate)
					u.says(answers(201, ""))
					b.pass(10*time.Minute, time.Minute)
					tc.then(b, id)
					return
				}
				b.pass(26*time.Hour, 5*time.Minute)
				tc.over(b, id)
			})
		}
	}
}

// Nor does it end the day for which what has no route any more waits for one.
func TestRouteAwayWhileTheClockIsAhead(t *testing.T) {
	const year = 365 * 24 * time.Hour
	disk, u := vfs.NewMem(), &upstream{}
	var first *bench
	next := func(match string) *bench {
		b := newBench(t, func(c *core.Config) {
			c.Routes = []core.Route{{Name: match[len("POST /"):], Match: match}}
			if first != nil {
				c.Keys, c.Clock = first.keys, first.clock
			}
			c.Store = openPebble(t, disk, c.Clock)
		})
		b.of = first
		b.behind(u)
		return b
	}
	ends := func(b *bench) {
		if err := b.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	first = next("POST /orders")
	id, _ := readState(t, first.do("POST", "/orders", "x", later, "Idempotency-Key: k").Header)
	ends(first)
	b := next("POST /others")
	b.pass(2*time.Minute, time.Minute)
	ends(b)
	b.advance(year)
	b = next("POST /others")
	b.pass(30*time.Minute, time.Minute)
	ends(b)
	b.advance(-year)
	b = next("POST /orders")
	b.work()
	b.wantState(id, store.Done)
}

// And where such a clock has seen it first, the day counts from when that was set right.
func TestRouteAwaySinceTheClockWasAhead(t *testing.T) {
	match := "POST /orders"
	b, set, next := ahead(t, func(c *core.Config) { c.Routes = []core.Route{{Name: match[len("POST /"):], Match: match}} })
	b.behind(&upstream{})
	id, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k").Header)
	match = "POST /others"
	b = next()
	b.behind(&upstream{})
	b.pass(3*time.Minute, time.Minute)
	set()
	core.Sweeping(t.Context(), b.gate)
	b.pass(23*time.Hour, 2*time.Minute)
	b.wantState(id, store.Queued)
	b.pass(2*time.Hour, 2*time.Minute)
	b.wantState(id, store.Burned)
}

// What is due within the pauses that there are is left where it is.
func TestPausesAreNotCutShort(t *testing.T) {
	h := newHook(t)
	h.answer = 500
	b := calling(t, h)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	for range 90 * 4 { // through all of the schedule
		b.advance(15 * time.Minute)
		core.Sweeping(t.Context(), b.gate)
		b.work()
	}
	if n := h.got(); n != 10 {
		t.Errorf("sent %d times", n)
	}
	core.Sweeping(t.Context(), b.gate)
	if all, err := b.gate.UndeliveredCallbacks(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("waiting for a person: %v, %v", all, err)
	}
}
