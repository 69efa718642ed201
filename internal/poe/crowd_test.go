package core_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// A crowd is a ledger that has many more on its agenda than it was given: one each millisecond from first on. They stay as they are.
type crowd struct {
	store.Store
	first  time.Time
	n      int
	record store.Record // what each of them is

	mu           sync.Mutex // guards the rest
	read, looked int        // how many entries of the agenda were read, and how many of the crowd were looked up
	fails        error      // of a write; nil: it is done
}

// at is the entry of one of them.
func (c *crowd) at(i int) store.Entry {
	r := c.record
	r.Due = c.first.Add(time.Duration(i) * time.Millisecond)
	copy(r.ID[:], "crowd")
	binary.BigEndian.PutUint64(r.ID[8:], uint64(i))
	return r.Entry()
}

// crowded tells whether an id is that of one of them.
func crowded(id store.ID) bool { return bytes.HasPrefix(id[:], []byte("crowd")) }

func (c *crowd) Agenda(ctx context.Context, after store.Entry, due time.Time, limit int) ([]store.Entry, error) {
	page, err := c.Store.Agenda(ctx, after, due, limit)
	next := sort.Search(c.n, func(i int) bool { return c.at(i).Compare(after) > 0 })
	for i := next; i < min(next+limit, c.n) && c.at(i).Queue == after.Queue && !c.at(i).Due.After(due); i++ {
		page = append(page, c.at(i))
	}
	slices.SortFunc(page, store.Entry.Compare)
	page = page[:min(len(page), limit)]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read += len(page)
	return page, err
}

func (c *crowd) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	id, byID := k.ID()
	if !byID || !crowded(id) {
		return c.Store.Lookup(ctx, k)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked++
	r := c.record
	r.ID, r.Due = id, c.at(int(binary.BigEndian.Uint64(id[8:]))).Due
	return r, nil
}

func (c *crowd) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	c.mu.Lock()
	err := c.fails
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if crowded(r.ID) {
		return r, nil
	}
	return c.Store.Advance(ctx, was, r, also)
}

func (c *crowd) failing(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails = err
}

// cost returns what was read and looked up since it was asked last.
func (c *crowd) cost() (read, looked int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	read, looked, c.read, c.looked = c.read, c.looked, 0, 0
	return read, looked
}

// accepted is an action that waits for a worker.
var accepted = store.Record{Kind: store.Request, State: store.Queued, Way: store.Accepted, Door: "key", Route: "default", Method: "POST", Target: "/orders"}

// doubtful is an action that waits for a worker to find out how it ended.
var doubtful = store.Record{Kind: store.Request, State: store.Unknown, Door: "key", Route: "default", Method: "POST", Target: "/orders"}

// callbackTo is a callback that has not been sent.
func callbackTo(host string) store.Record {
	return store.Record{Kind: store.Callback, State: store.Queued, Door: "callback", Route: "default", Method: "POST", Target: "http://" + host + "/"}
}

// joined is a change of the configuration by which c is what the gate works on. Nobody is in it yet.
func (c *crowd) joined(change func(*core.Config)) func(*core.Config) {
	return func(cfg *core.Config) {
		change(cfg)
		c.Store = cfg.Store
		cfg.Store, cfg.Workers = c, 2
	}
}

// gathers puts n on the agenda, from so long after the present.
func (c *crowd) gathers(b *bench, n int, in time.Duration, r store.Record) {
	r.Claimed, r.Expires = b.clock(), b.clock().Add(time.Hour)
	c.first, c.n, c.record = b.clock().Add(in), n, r
}

func plain(*core.Config) {}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	million    = 1_000_000
	agendaPage = core.AgendaPage
)

// A look costs what can be done, and not what waits.
func TestLookCostsNothingOfWhatWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		in   time.Duration // the crowd is due
		what store.Record
		look func(b *bench) func() error
	}{
		"for what lost its owner": {-2 * time.Hour, doubtful, func(b *bench) func() error {
			h := core.NewHouse(b.gate)
			return func() error { return h.Second(b.t.Context()) }
		}},
		"for what a clock has put off": {3 * time.Hour, callbackTo("example.com"), func(b *bench) func() error {
			h := core.NewHouse(b.gate)
			h.Minute()
			return func() error { h.Minute(); return h.Second(b.t.Context()) }
		}},
		"at a start, among what was accepted": {-2 * time.Hour, accepted, func(b *bench) func() error {
			return func() error { return b.gate.Recover(b.t.Context()) }
		}},
		"at a start, among callbacks": {-2 * time.Hour, callbackTo("example.com"), func(b *bench) func() error {
			return func() error { return b.gate.Recover(b.t.Context()) }
		}},
		"where nobody executes": {-2 * time.Hour, accepted, func(b *bench) func() error {
			c := core.NewCrew(b.gate)
			return func() error { _, err := c.Dispatch(b.t.Context(), false); return err }
		}},
		"when there is something new": {-2 * time.Hour, doubtful, func(b *bench) func() error {
			c := core.NewCrew(b.gate)
			return func() error { _, err := c.Dispatch(b.t.Context(), true); return err }
		}},
		"of workers, among callbacks": {-2 * time.Hour, callbackTo("example.com"), func(b *bench) func() error {
			b.deferred()
			c := core.NewCrew(b.gate)
			return func() error { _, err := c.Dispatch(b.t.Context(), false); return err }
		}},
		"for callbacks among other work": {-2 * time.Hour, accepted, func(b *bench) func() error {
			c := core.NewCourier(b.gate)
			return func() error { _, err := c.Dispatch(b.t.Context(), true); return err }
		}},
		"for callbacks among those of one that hangs": {-2 * time.Hour, callbackTo("example.com"), func(b *bench) func() error {
			c := core.NewCourier(b.gate)
			c.Hang("example.com")
			return func() error { _, err := c.Dispatch(b.t.Context(), true); return err }
		}},
		"for callbacks among those that become due to one that hangs": {0, callbackTo("example.com"), func(b *bench) func() error {
			c := core.NewCourier(b.gate)
			c.Hang("example.com")
			return func() error { _, err := c.Dispatch(b.t.Context(), false); return err }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &crowd{}
			b := newBench(t, c.joined(plain))
			c.gathers(b, million, tc.in, tc.what)
			look := tc.look(b)
			c.cost()
			for n := range 12 {
				b.advance(time.Second)
				must(t, look())
				if read, looked := c.cost(); read > 9*agendaPage || looked > 9*agendaPage {
					t.Errorf("look %d reads %d entries of the agenda, and looks %d of them up", n+1, read, looked)
				}
			}
		})
	}
}

// What has lost its owner is found when it is due, behind all that waits for a worker to find out how it ended.
func TestAbandonedBehindMany(t *testing.T) {
	c := &crowd{}
	b := newBench(t, c.joined(plain))
	u := &upstream{}
	b.behind(u)
	i := b.issue("/orders")
	c.gathers(b, million, -2*time.Hour, doubtful)
	h := core.NewHouse(b.gate)
	c.failing(store.ErrUnavailable)
	b.do("POST", i.URI, "apples") // its end cannot be written
	b.wantState(i.ID, store.Running)
	b.advance(89 * time.Second)
	must(t, h.Second(t.Context()))
	b.wantState(i.ID, store.Running)
	b.advance(2 * time.Second)
	if err := h.Second(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("settling it gets %v", err)
	}
	c.failing(nil)
	b.advance(time.Second)
	must(t, h.Second(t.Context()))
	b.wantState(i.ID, store.Unknown)
}

// One that is at work for longer than its time, and then loses its owner, is settled in the second after that.
func TestAbandonedLate(t *testing.T) {
	c := &crowd{}
	b := newBench(t, c.joined(plain))
	u := &upstream{}
	b.behind(u)
	i := b.issue("/orders")
	end := b.crashed(u, i.URI)
	c.gathers(b, million, -2*time.Hour, doubtful)
	h := core.NewHouse(b.gate)
	b.advance(2 * time.Minute)
	for range 3 {
		must(t, h.Second(t.Context()))
		b.wantState(i.ID, store.Running)
		b.advance(time.Second)
	}
	c.failing(store.ErrUnavailable)
	end()
	c.failing(nil)
	b.wantState(i.ID, store.Running)
	must(t, h.Second(t.Context()))
	b.wantState(i.ID, store.Unknown)
}

// What came onto the agenda when its time had been looked at is found by the round, wherever among many it stands.
func TestAbandonedAndOverlooked(t *testing.T) {
	const many = 10 * agendaPage
	c := &crowd{}
	b := newBench(t, c.joined(plain))
	u := &upstream{}
	b.behind(u)
	i := b.issue("/orders")
	c.gathers(b, many, 0, doubtful)
	b.advance(time.Minute)
	h := core.NewHouse(b.gate)
	for range 20 { // a round from the beginning to the end
		must(t, h.Second(t.Context()))
	}
	c.failing(store.ErrUnavailable)
	b.do("POST", i.URI, "apples")
	c.failing(nil)
	r := b.lookup(i.ID)
	next := r
	next.Term, next.Due = store.Term{1}, c.at(many/2).Due
	if _, err := storetest.Advance(t.Context(), c, r.Term, next, store.Also{}); err != nil {
		t.Fatal(err)
	}
	must(t, h.Second(t.Context()))
	b.wantState(i.ID, store.Running)
	c.failing(store.ErrUnavailable)
	for range many/agendaPage + 2 {
		h.Minute() // one that is under way does not begin again
		if err := h.Second(t.Context()); err != nil {
			c.failing(nil) // it is where the page is that was not done
		}
	}
	b.wantState(i.ID, store.Unknown)
}

// What loses its owner after a clock that was ahead is set right is found when it is due, though that clock had gone further.
func TestAbandonedAfterAClockThatWasAhead(t *testing.T) {
	c := &crowd{}
	b, _, _ := aheadBy(t, 2*time.Hour, c.joined(plain)) // a pause, after which no clock is believed
	b.behind(&upstream{})
	c.gathers(b, million, -3*time.Hour, doubtful)
	h := core.NewHouse(b.gate)
	b.advance(50 * time.Minute)
	must(t, h.Second(t.Context()))
	b.advance(-50 * time.Minute)
	i := b.issue("/orders")
	c.failing(store.ErrUnavailable)
	b.do("POST", i.URI, "apples")
	c.failing(nil)
	must(t, h.Second(t.Context()))
	b.wantState(i.ID, store.Running)
	b.advance(2 * time.Minute)
	must(t, h.Second(t.Context()))
	b.wantState(i.ID, store.Unknown)
}

// What a clock that was ahead has put off is found behind much that is put off as it should be, a page at a time; and when the clock is set back again
// meanwhile, so is what was passed by then.
func TestPutOffBehindMany(t *testing.T) {
	const many = 10 * agendaPage
	c := &crowd{}
	b, _, _ := aheadBy(t, 2*time.Hour, c.joined(plain)) // a pause, after which no clock is believed
	b.behind(&upstream{answer: answers(429, "")})
	h := core.NewHouse(b.gate)
	looks := func(n int) {
		for range n {
			must(t, h.Second(t.Context()))
		}
	}
	aheadOf := func(by time.Duration, key string) string { // what is to be sent again after a while, as such a clock says
		b.advance(by)
		looks(1)
		id, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: "+key).Header)
		b.work()
		b.wantState(id, store.Queued)
		b.advance(-by)
		h.Minute()
		return id
	}
	h.Minute()
	looks(2) // once in each process all is looked at
	c.gathers(b, many, 10*time.Minute, accepted)
	far := aheadOf(50*time.Minute, "k1")
	c.cost()
	for range many/agendaPage - 2 {
		looks(1)
		h.Minute()
		if read, looked := c.cost(); read > agendaPage || looked > agendaPage {
			t.Errorf("a look reads %d, and looks %d of them up", read, looked)
		}
	}
	if !b.lookup(far).Due.After(b.clock()) {
		t.Error("it stands further ahead than it should")
	}
	near := aheadOf(3*time.Minute, "k2")
	for range many/agendaPage + 2 {
		looks(1)
		h.Minute() // one that is under way goes on
	}
	for key, id := range map[string]string{"k1": far, "k2": near} {
		if due := b.lookup(id).Due; due.After(b.clock()) {
			t.Errorf("%s is due %s, and it is %s", key, due, b.clock())
		}
	}
}

// A callback waits for no worker, and is sent when it is due, however much waits for them.
func TestCallbackBehindMany(t *testing.T) {
	h := newHook(t)
	c := &crowd{}
	b := callingWith(t, h, c.joined(plain))
	c.gathers(b, million, -2*time.Hour, accepted)
	owes := func() { b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL) }
	owes()
	b.advance(time.Second)
	courier := core.NewCourier(b.gate)
	for n, all := range []bool{true, false, true, false} {
		if _, err := courier.Dispatch(t.Context(), all); err != nil || h.got() != n+1 {
			t.Errorf("told %d times, %v", h.got(), err)
		}
		owes()
		b.advance(time.Second)
	}
}

// A receiver that hangs, and to which much is owed, holds up no other one, whether that is owed something new or something old; and is told when it hears again: of
// each end once.
func TestCallbackBehindOneThatHangs(t *testing.T) {
	const many = 20 * agendaPage
	h := newHook(t)
	c := &crowd{}
	b := callingWith(t, h, c.joined(plain))
	owes := func() { b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL) }
	owes()
	c.gathers(b, many, -many/2*time.Millisecond, callbackTo("hangs.example"))
	b.advance(time.Hour)
	courier := core.NewCourier(b.gate)
	courier.Hang("hangs.example")
	looks := func(all bool) (more bool) {
		more, err := courier.Dispatch(t.Context(), all)
		must(t, err)
		b.advance(time.Second)
		return more
	}
	looks(true)
	for n := range 3 {
		owes()
		if looks(false); h.got() != n+1 {
			t.Errorf("told %d times of what is new", h.got())
		}
	}
	for n := 0; looks(false); n++ {
		if n > many/agendaPage {
			t.Fatalf("after %d looks it has not come to the end", n)
		}
	}
	if h.got() != 4 {
		t.Errorf("told %d times, once of what is old", h.got())
	}
	release := courier.Hang("127.0.0.1")
	const owed = 3
	for range owed {
		owes()
		looks(true)
	}
	if h.got() != 4 {
		t.Errorf("told %d times while it hangs", h.got())
	}
	release()
	b.advance(2 * time.Minute)
	for n := 0; looks(true); n++ {
		if n > many/agendaPage {
			t.Fatalf("after %d looks it has not come to the end", n)
		}
	}
	if h.got() != 4+owed {
		t.Errorf("told %d times, and %d ends are to be told", h.got(), 4+owed)
	}
}

// A callback that has a slot and has not begun is neither taken up again nor put off for want of one.
func TestCallbackIsTakenUpOnce(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	entries, err := b.store.Agenda(t.Context(), store.Entry{Queue: store.Calls}, store.Person, 2)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	courier := core.NewCourier(b.gate)
	for _, hangs := range []bool{false, true} {
		courier.Hold(entries[0].ID, "127.0.0.1")
		if hangs {
			courier.Hang("127.0.0.1")
		}
		if _, err := courier.Dispatch(t.Context(), true); err != nil || h.got() != 0 {
			t.Errorf("told %d times, %v", h.got(), err)
		}
		if r := b.lookup(entries[0].ID.String()); !r.Due.Equal(entries[0].Due) {
			t.Errorf("it was put off until %s", r.Due)
		}
	}
}

// A misled ledger has everything in every queue.
type misled struct{ store.Store }

func (m misled) Agenda(ctx context.Context, after store.Entry, due time.Time, limit int) ([]store.Entry, error) {
	all, err := storetest.Agenda(ctx, m.Store, limit)
	return slices.DeleteFunc(all, func(e store.Entry) bool { return e.Due.After(due) }), err
}

// The agenda is a hint, and the record the truth: what has moved on since it was read is not executed as what it is not.
func TestAgendaIsAHint(t *testing.T) {
	h := newHook(t)
	b := callingWith(t, h, func(c *core.Config) { c.Store = misled{c.Store} })
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	executed := b.executed.Load()
	crew := core.NewCrew(b.gate)
	_, err := crew.Dispatch(t.Context(), false)
	must(t, err)
	if n := b.executed.Load() - executed; n > 0 || h.got() > 0 {
		t.Errorf("of a callback workers made %d executions, and %d deliveries", n, h.got())
	}
	id, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k").Header)
	accepted := b.lookup(id)
	courier := core.NewCourier(b.gate)
	_, err = courier.Dispatch(t.Context(), true)
	must(t, err)
	if h.got() != 1 {
		t.Errorf("told %d times", h.got())
	}
	if r := b.lookup(id); r.Term != accepted.Term {
		t.Errorf("the courier has made of what was accepted: %s, due %s", r.State, r.Due)
	}
}

// What nobody executes keeps no recovery from its turn, though it waits for ever.
func TestNobodyExecutesMany(t *testing.T) {
	h := newHook(t)
	first := callingWith(t, h, plain)
	c := &crowd{}
	asked := 0
	b := callingAs(t, h, first, c.joined(func(cfg *core.Config) {
		cfg.Routes[0].Recover = func(context.Context, core.Unresolved) (core.Resolution, error) {
			asked++
			return core.Resolution{State: core.WasDone}, nil
		}
	}))
	b.of = first
	b.app = answering(502)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	b.wantState(i.ID, store.Unknown)
	c.gathers(b, million, -2*time.Hour, accepted)
	b.advance(2 * time.Hour)
	if more, err := core.NewCrew(b.gate).Dispatch(t.Context(), false); err != nil || more || asked != 1 {
		t.Errorf("asked %d times, and there is more: %t, %v", asked, more, err)
	}
	b.wantState(i.ID, store.Done)
}

// Who is nudged begins what is new at once. What was written long after its time was taken, of which the nudge came too early or never, is begun by the next look.
func TestNudged(t *testing.T) {
	b := newBench(t, nil)
	b.deferred()
	crew := core.NewCrew(b.gate)
	dispatch := func(nudged bool) {
		t.Helper()
		_, err := crew.Dispatch(t.Context(), nudged)
		must(t, err)
	}
	accept := func() string {
		id, _ := readState(t, b.do("POST", "/orders", "x", later, fmt.Sprintf("Idempotency-Key: %d", b.executed.Load())).Header)
		return id
	}
	dispatch(false)
	for range 3 {
		id := accept()
		b.advance(time.Minute)
		dispatch(true)
		b.wantState(id, store.Done)
	}
	id := accept()
	r := b.lookup(id)
	next := r
	next.Term, next.Due = store.Term{1}, b.clock().Add(-10*time.Second)
	if _, err := storetest.Advance(t.Context(), b.store, r.Term, next, store.Also{}); err != nil {
		t.Fatal(err)
	}
	dispatch(true)
	b.wantState(id, store.Queued)
	dispatch(false)
	b.wantState(id, store.Done)
}

// So it is with what is to be done, and with callbacks.
func TestDueAfterAClockThatWasAhead(t *testing.T) {
	h := newHook(t)
	c := &crowd{}
	b, _, _ := aheadBy(t, 2*time.Hour, c.joined(func(cfg *core.Config) {
		cfg.Callbacks = hookSender(t, h, cfg.Clock)
		cfg.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "key", "async", "callback"}}}
	}))
	b.behind(&upstream{})
	crew, courier := core.NewCrew(b.gate), core.NewCourier(b.gate)
	look := func() {
		t.Helper()
		_, err := crew.Dispatch(t.Context(), true)
		must(t, err)
		_, err = courier.Dispatch(t.Context(), false)
		must(t, err)
	}
	b.advance(50 * time.Minute)
	look()
	b.advance(-50 * time.Minute)
	id, _ := readState(t, b.do("POST", "/orders", "x", later, "Idempotency-Key: k").Header)
	look()
	b.wantState(id, store.Done)
	c.gathers(b, million, -3*time.Hour, accepted)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	look()
	if h.got() != 1 {
		t.Errorf("told %d times", h.got())
	}
}
