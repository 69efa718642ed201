package core_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
)

var repeating = core.Route{Recovery: core.RecoveryRepeat}

// The same request is sent again, byte for byte and under the same id and key, whichever way it came, until the answer is definite.
func TestRepeat(t *testing.T) {
	large := strings.Repeat("apples ", 20_000)
	for name, tc := range map[string]struct {
		body   string
		uri    bool
		fields []string
		route  core.Route
	}{
		"through a POE URI": {body: "apples", uri: true, route: repeating}, "under a key": {body: "apples", fields: []string{"Idempotency-Key: k"}, route: repeating},
		"empty": {uri: true, route: repeating}, "beside the ledger": {body: large, uri: true, route: repeating},
		"accepted": {body: "apples", uri: true, fields: []string{later}, route: repeating},
		"marked":   {body: "apples", uri: true, route: core.Route{Recovery: core.RecoveryRepeat, MarkSent: true}},
		"a unique value": {body: `{"email":"a@example.com"}`, fields: []string{"Content-Type: application/json"},
			route: core.Route{Recovery: core.RecoveryRepeat, Unique: []string{"json:/email"}}},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, tc.route)
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				switch n {
				case 1, 3:
					return breaks(n, s, rec)
				case 2:
					return answers(502, "some gateway")(n, s, rec)
				case 4:
					return refuses(n, s, rec)
				case 5:
					return answers(429, "slowly")(n, s, rec)
				default:
					return answers(201, "made", "Location: /orders/7", "Set-Cookie: a=b")(n, s, rec)
				}
			})
			target := "/orders"
			if tc.uri {
				target = b.issue(target).URI
			}
			res := b.do("POST", target, tc.body, append(tc.fields, alice)...)
			if res.StatusCode == 202 {
				b.work()
			}
			id, _ := readState(t, res.Header)
			r := b.wantState(id, store.Unknown)
			if string(r.Request.Content) != tc.body && r.Request.Where != store.Beside {
				t.Errorf("what is kept of the request: %v", r.Request)
			}
			since := r.Finished
			b.pass(5*time.Second, time.Second)
			if r := b.wantState(id, store.Unknown); !r.Finished.Equal(since) {
				t.Errorf("unknown since %s, not %s", r.Finished, since)
			}
			again := b.do("POST", target, tc.body, append(tc.fields, alice)...)
			if after, err := strconv.Atoi(again.Header.Get("Retry-After")); err != nil || after < 1 || again.StatusCode != 409 {
				t.Errorf("meanwhile: %d %v", again.StatusCode, again.Header)
			}
			b.pass(5*time.Minute, time.Second)
			r = b.wantState(id, store.Done)
			if r.Status != 201 || r.Attempts() != 1 || r.Resent != 5 || r.Request.Where != store.Nowhere || len(r.Request.Content)+len(r.Request.Head) > 0 {
				t.Errorf("%d after %d attempts, sent again %d times; kept: %v", r.Status, r.Attempts(), r.Resent, r.Request)
			}
			b.pass(48*time.Hour, time.Hour)
			sent := u.sent()
			if len(sent) != 6 {
				t.Fatalf("sent %d times", len(sent))
			}
			for _, s := range sent {
				if d := cmp.Diff(sent[0], s, cmp.AllowUnexported(sending{})); d != "" {
					t.Fatalf("a repeat differs (-first +repeat):\n%s", d)
				}
			}
			if sent[0].id != id || sent[0].body != tc.body || sent[0].key == "" || sent[0].auth == "" || sent[0].host != "example.com" {
				t.Errorf("%v", sent[0])
			}
			var outcome string
			for _, l := range again.Header["Link"] {
				outcome = strings.TrimPrefix(strings.Split(l, ">")[0], "<")
			}
			got := b.do("GET", outcome, "", alice)
			if got.StatusCode != 200 || text(t, got) != "made" || got.Header.Get("Location") != "/orders/7" || got.Header.Get("Set-Cookie") != "" {
				t.Errorf("the outcome: %d %v", got.StatusCode, got.Header)
			}
			for label, want := range map[string]float64{"repeat/again": 4, "repeat/done": 1} {
				if n := counter(t, b, "poe_recoveries_total", label); n != want {
					t.Errorf("poe_recoveries_total %s counts %v, want %v", label, n, want)
				}
			}
		})
	}
}

// What each answer to a repeat makes of the action. The first request may be at work all the while, so "not done" takes more than it does of a first one.
func TestRepeatJudged(t *testing.T) {
	any, success := core.ConsumeAny, core.ConsumeSuccess
	for _, tc := range []struct {
		status  int
		fields  []string
		consume core.Consume
		want    store.State
	}{
		{200, nil, success, store.Done}, {201, nil, success, store.Done}, {303, []string{"Location: /x"}, success, store.Done},
		{500, nil, success, store.Done}, {501, nil, success, store.Done},
		{400, nil, success, store.Unused}, {402, nil, success, store.Unused}, {422, nil, success, store.Unused}, {422, nil, any, store.Done},
		{401, nil, success, store.Unknown}, {403, nil, success, store.Unknown}, {404, nil, success, store.Unknown}, {405, nil, success, store.Unknown},
		{407, nil, success, store.Unknown}, {408, nil, success, store.Unknown}, {409, nil, success, store.Unknown}, {410, nil, success, store.Unknown},
		{412, nil, success, store.Unknown}, {421, nil, success, store.Unknown}, {425, nil, success, store.Unknown}, {429, nil, success, store.Unknown},
		{431, nil, success, store.Unknown}, {401, nil, any, store.Unknown}, {409, nil, any, store.Unknown}, {429, nil, any, store.Unknown},
		{418, nil, success, store.Unknown}, // which the route releases
		{502, nil, success, store.Unknown}, {504, nil, any, store.Unknown}, {511, nil, success, store.Unknown}, {511, nil, any, store.Unknown}, {520, nil, any, store.Unknown}, {503, nil, any, store.Unknown}, {503, nil, success, store.Unknown}, {503, []string{"Retry-After: 1"}, any, store.Unknown},
		{520, nil, success, store.Unknown}, {299, []string{"Content-Type: text/event-stream"}, success, store.Done},
		{422, []string{"Content-Type: text/event-stream"}, success, store.Unknown},
	} {
		for _, accepts := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.status, tc.fields, tc.consume, accepts), func(t *testing.T) {
				b, u := recovering(t, core.Route{Recovery: core.RecoveryRepeat, Consume: tc.consume, Release: []int{418}})
				u.says(breaks)
				i := b.issue("/orders")
				if accepts {
					b.do("POST", i.URI, "apples", later)
					b.work()
				} else {
					b.do("POST", i.URI, "apples")
				}
				b.wantState(i.ID, store.Unknown)
				u.says(answers(tc.status, "said", tc.fields...))
				b.advance(2 * time.Second)
				b.work()
				want := tc.want
				if accepts && want == store.Unused { // a client was told that it will be executed
					want = store.Done
				}
				r := b.wantState(i.ID, want)
				switch {
				case want == store.Done && r.Status != tc.status:
					t.Errorf("status %d", r.Status)
				case want == store.Unused && (r.Attempt != 1 || len(r.Request.Content) > 0):
					t.Errorf("attempt %d, %v", r.Attempt, r.Request)
				case want == store.Unknown && (r.Due.Equal(store.Person) || r.Attempt != 0):
					t.Errorf("due %s, attempt %d", r.Due, r.Attempt)
				}
				if want == store.Unused { // and the next request is a new attempt
					u.says(nil)
					if res := b.do("POST", i.URI, strings.Repeat("x", 70_000)); res.StatusCode != 201 { // nobody claims that blindly
						t.Errorf("the next request: %d", res.StatusCode)
					}
					sent := u.sent()
					if first, last := sent[0], sent[len(sent)-1]; first.key != `"`+i.ID+`.1"` || last.key != `"`+i.ID+`.2"` || last.id != i.ID {
						t.Errorf("%v, then %v", first, last)
					}
					if r := b.wantState(i.ID, store.Done); r.Resent != 0 {
						t.Errorf("the new attempt was sent again %d times", r.Resent)
					}
				}
			})
		}
	}
}

// A request is kept for as long as it may have to be sent again, and no longer.
func TestRepeatKeepsNothing(t *testing.T) {
	for _, status := range []int{201, 422, 429, 500} {
		b, u := recovering(t, repeating)
		u.says(answers(status, ""))
		i := b.issue("/orders")
		b.do("POST", i.URI, "apples", alice)
		if r := b.lookup(i.ID); r.State == store.Unknown || r.Request.Where != store.Nowhere || len(r.Request.Content)+len(r.Request.Head) > 0 || r.Request.Size != 6 {
			t.Errorf("after %d it is %s, and this is kept: %v", status, r.State, r.Request)
		}
	}
}

// The application says when it wants to be asked again; not for longer than an hour.
func TestRepeatWaitsAsAsked(t *testing.T) {
	for asked, want := range map[string]time.Duration{"40": 40 * time.Second, "86400": time.Hour} {
		b, u := recovering(t, repeating)
		u.says(breaks)
		i := b.issue("/orders")
		b.do("POST", i.URI, "apples")
		u.says(answers(503, "", "Retry-After: "+asked))
		b.advance(2 * time.Second)
		b.work()
		if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(b.clock().Add(want)) {
			t.Errorf("asked for %s s: due %s, it is %s", asked, r.Due, b.clock())
		}
	}
}

// Of any number of processes that see an action due one sends it, and only one at a time.
func TestRepeatByOneOfMany(t *testing.T) {
	b, u := recovering(t, repeating)
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	gates := []*bench{b, b.again(repeating, u), b.again(repeating, u), b.again(repeating, u)}
	atOnce, most := 0, 0
	var mu sync.Mutex
	u.says(func(int, sending, *replay.Recorder) (replay.Proof, error) {
		mu.Lock()
		defer mu.Unlock()
		atOnce++
		most = max(most, atOnce)
		return replay.Broken, errReset
	})
	for round := range 20 {
		b.advance(10 * time.Minute)
		before := len(u.sent())
		atOnce = 0
		var all sync.WaitGroup
		for _, g := range gates {
			all.Go(g.work)
		}
		all.Wait()
		if n := len(u.sent()) - before; n != 1 {
			t.Fatalf("round %d: sent %d times", round, n)
		}
	}
	if most != 1 {
		t.Errorf("%d at once", most)
	}
}

// A process that ends in the middle of a repeat leaves the action to the next one: not before the repeat could have ended, and then.
func TestRepeatAfterACrash(t *testing.T) {
	b, u := recovering(t, repeating)
	i := b.issue("/orders")
	defer b.crashed(u, i.URI, alice)()
	b2 := b.again(repeating, u)
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return answers(201, "made")(n, s, rec)
	})
	b.advance(2 * time.Second)
	var all sync.WaitGroup
	all.Go(b2.work)
	<-entered
	if r := b.wantState(i.ID, store.Unknown); !r.Due.After(b.clock()) || r.Resent != 1 {
		t.Errorf("while it is sent again: due %s, sent again %d times", r.Due, r.Resent)
	}
	wantProblem(t, b2.do("POST", i.URI, "apples", alice), 409, "outcome-unknown")

	u.says(answers(201, "made again"))
	b3 := b.again(repeating, u) // the second process, as far as the ledger knows, is gone
	b3.pass(time.Minute, time.Second)
	if len(u.sent()) != 2 {
		t.Fatalf("sent %d times while the second may be at work", len(u.sent()))
	}
	b3.pass(2*time.Minute, time.Second)
	b3.wantState(i.ID, store.Done)
	sent := u.sent()
	if len(sent) != 3 || sent[0] != sent[1] || sent[1] != sent[2] {
		t.Errorf("%v", sent)
	}
	close(leave)
	all.Wait()
	if got := text(t, b3.do("GET", i.URI, "", alice)); got != "made again" {
		t.Errorf("the outcome changed to %q", got)
	}
	if r := b3.lookup(i.ID); !strings.Contains(r.History[len(r.History)-1].Why, "late answer") {
		t.Errorf("the loser is not in the history: %v", r.History)
	}
}

// What arrives late from the first attempt, while a repeat is under way, and from the repeat after it.
func TestLateAnswerDuringARepeat(t *testing.T) {
	made, again := answers(201, "made"), answers(201, "made again")
	type said = func(int, sending, *replay.Recorder) (replay.Proof, error)
	for name, tc := range map[string]struct {
		first, repeat said
		between, end  store.State
		outcome       string
	}{
		"done, done":         {made, again, store.Done, store.Done, "made"},
		"done, not done":     {made, answers(422, ""), store.Done, store.Done, "made"},
		"not done, done":     {answers(422, ""), again, store.Unknown, store.Done, "made again"}, // the repeat may be executed by then
		"unsent, done":       {refuses, again, store.Unknown, store.Done, "made again"},
		"not done, not done": {answers(422, ""), answers(422, ""), store.Unknown, store.Unused, ""},
		"unsent, broken":     {refuses, breaks, store.Unknown, store.Unknown, ""},
		"broken, done":       {breaks, again, store.Unknown, store.Done, "made again"},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, repeating)
			i := b.issue("/orders")
			stall := func(answer said) (entered, leave chan struct{}) {
				entered, leave = make(chan struct{}), make(chan struct{})
				u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
					close(entered)
					<-leave
					return answer(n, s, rec)
				})
				return entered, leave
			}
			var first, second sync.WaitGroup
			entered, leave := stall(tc.first)
			first.Go(func() { b.do("POST", i.URI, "apples") })
			<-entered
			b2 := b.again(repeating, u)
			b.advance(2 * time.Second)
			entered, leaveRepeat := stall(tc.repeat)
			second.Go(b2.work)
			<-entered
			close(leave)
			first.Wait()
			b.wantState(i.ID, tc.between)
			close(leaveRepeat)
			second.Wait()
			r := b.wantState(i.ID, tc.end)
			if tc.outcome != "" {
				if got := text(t, b2.do("GET", i.URI, "")); got != tc.outcome {
					t.Errorf("the outcome is %q", got)
				}
			}
			if r.State == store.Unknown && r.Due.Equal(store.Person) {
				t.Error("nobody goes on")
			}
		})
	}
}

// Nothing is sent again without a lease, and a lease that nobody knows of costs time, not truth.
func TestRepeatWithoutLedger(t *testing.T) {
	for name, trouble := range map[string]error{"refused": store.ErrUnavailable, "unknown": io.ErrClosedPipe} {
		t.Run(name, func(t *testing.T) {
			b, ledger := newTampered(t, one(repeating))
			u := &upstream{answer: breaks}
			b.behind(u)
			i := b.issue("/orders")
			b.do("POST", i.URI, "apples")
			ledger.advance = func() error { return trouble }
			b.pass(10*time.Second, time.Second)
			if len(u.sent()) != 1 {
				t.Fatalf("sent %d times", len(u.sent()))
			}
			u.says(nil)
			ledger.advance, ledger.moving = nil, func(r store.Record) error { // the end of the repeat cannot be stored
				if r.State == store.Done {
					return trouble
				}
				return nil
			}
			b.advance(time.Minute)
			b.work()
			ledger.moving = nil
			b.wantState(i.ID, store.Unknown)
			b.pass(3*time.Minute, time.Second)
			b.wantState(i.ID, store.Done)
			if sent := u.sent(); len(sent) != 3 || sent[0] != sent[2] {
				t.Errorf("%v", sent)
			}
		})
	}
}

// A request that cannot be stored is not executed, and a body that is gone is not sent as another one.
func TestRepeatNeedsTheRequest(t *testing.T) {
	b, u := recovering(t, repeating)
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, strings.Repeat("x", 100_000))
	gone := &tampered{Store: b.store, open: func(body io.ReadSeekCloser, _ error) (io.ReadSeekCloser, error) {
		_ = body.Close()
		return nil, store.ErrNotFound
	}}
	b2 := newBench(t, func(c *core.Config) {
		one(core.Route{Recovery: core.RecoveryRepeat, RecoverFor: time.Hour})(c)
		c.Store, c.Clock, c.Keys = gone, b.clock, b.keys
	})
	b2.of = b
	b2.behind(u)
	b2.pass(2*time.Hour, time.Minute)
	if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) || len(u.sent()) != 1 {
		t.Errorf("due %s, sent %d times", r.Due, len(u.sent()))
	}
}

// A client that is willing to wait gets the answer as soon as recovery has it.
func TestWaitingForRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: breaks}
		b := newBench(t, func(c *core.Config) {
			one(repeating)(c)
			st, err := memstore.New(memstore.Config{Clock: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			c.Store, c.Clock = st, time.Now
		})
		b.behind(u)
		res := b.do("POST", "/orders", "apples", "Idempotency-Key: k")
		if res.StatusCode != 502 {
			t.Fatal(res.StatusCode)
		}
		u.says(answers(201, "made"))
		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { b.gate.Work(ctx) })
		began := time.Now()
		res = b.do("POST", "/orders", "apples", "Idempotency-Key: k", "Prefer: wait=20")
		if got := text(t, res); res.StatusCode != 201 || got != "made" || time.Since(began) > 5*time.Second {
			t.Errorf("%d %s after %s", res.StatusCode, got, time.Since(began))
		}
		stop()
		work.Wait()
	})
}
