package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

const lateWord = "a late answer arrived"

// An owner is presumed dead, a person decides, and then its answer comes: the decision stands, but for one that would let the same thing be done
// twice; the history and the receipt say what came; and somebody is told.
func TestLateAnswerToADecision(t *testing.T) {
	for _, tc := range []struct {
		as     core.Verdict
		answer int
		state  string
		status int // of the outcome
		posts  int // what another POST gets
		text   string
	}{
		{core.AsDone, 201, "done", 201, 405, "made by hand"},
		{core.AsFailed, 201, "done", 500, 405, ""},
		{core.AsBurned, 201, "burned", 0, 410, ""},
		{core.AsUnused, 201, "done", 201, 405, "it was me"},
		{core.AsUnused, 422, "unused", 0, 422, ""},
		{core.AsDone, 422, "done", 201, 405, "made by hand"},
		{core.AsBurned, 500, "burned", 0, 410, ""},
	} {
		t.Run(fmt.Sprint(tc.as, " ", tc.answer), func(t *testing.T) {
			var log bytes.Buffer
			b := newBench(t, func(c *core.Config) { c.Log = zerolog.New(zerolog.SyncWriter(&log)) })
			entered, leave := make(chan struct{}), make(chan struct{})
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-leave
				w.WriteHeader(tc.answer)
				_, _ = io.WriteString(w, "it was me")
			}
			i := b.issue("/orders")
			var all sync.WaitGroup
			var first *http.Response
			all.Go(func() { first = b.do("POST", i.URI, "apples") })
			<-entered
			if _, err := b.gate.Decide(t.Context(), decision(i.ID, tc.as)); !errors.As(err, new(*core.ConflictError)) {
				t.Errorf("while it runs here: %v", err)
			}
			b2 := b.another()
			if _, err := b.gate.Decide(t.Context(), decision(i.ID, tc.as)); !errors.As(err, new(*core.ConflictError)) {
				t.Errorf("while it runs here, taken for dead: %v", err)
			}
			b2.decide(decision(i.ID, tc.as))
			close(leave)
			all.Wait()
			if got := text(t, first); first.StatusCode != tc.answer || got != "it was me" {
				t.Errorf("its client gets %d %q", first.StatusCode, got)
			}

			r := b.lookup(i.ID)
			if r.State.String() != tc.state || r.Status != tc.status {
				t.Errorf("it is %s with %d", r.State, r.Status)
			}
			word := map[core.Verdict]string{core.AsFailed: "done"}[tc.as]
			if word == "" {
				word = string(tc.as)
			}
			code := map[core.Verdict]int{core.AsDone: 201, core.AsFailed: 500}[tc.as]
			want := []event{
				{"running", "unknown", "recovery", "the process that executed it ended before an answer was recorded", 0},
				{"unknown", word, "operator:ada", "I have looked", code},
				{word, tc.state, "engine", lateWord, tc.answer},
			}
			for name, at := range map[string]*bench{"its owner's": b, "the other's": b2} {
				i.outcome = b2.decidedOutcome(i.ID)
				if d := cmp.Diff(want, at.receipt(i.outcome).History); d != "" {
					t.Errorf("%s history (-want +got):\n%s", name, d)
				}
			}
			if n := counter(t, b, "poe_late_answers_total", word); n != 1 {
				t.Errorf("poe_late_answers_total{%s} is %v", word, n)
			}
			settled := map[bool]float64{true: 1}[word != tc.state] // by the answer, where that is what settled it
			if n := counter(t, b, "poe_settled_total", ""); n != settled || counter(t, b, "poe_settled_total", tc.state) != settled {
				t.Errorf("poe_settled_total is %v", n)
			}
			if !strings.Contains(log.String(), `"level":"error","id":"`+i.ID) || !strings.Contains(log.String(), "look at its history") {
				t.Errorf("nobody is told: %s", &log)
			}

			before := b2.executed.Load()
			b2.app = answering(422)
			if res := b2.do("POST", i.URI, "apples"); res.StatusCode != tc.posts || b2.executed.Load()-before != map[int]int64{422: 1}[tc.posts] {
				t.Errorf("another POST: %d, executed %d times", res.StatusCode, b2.executed.Load()-before)
			}
			if tc.text != "" {
				if res := b2.do("GET", i.URI, ""); text(t, res) != tc.text {
					t.Errorf("the outcome: %d", res.StatusCode)
				}
			}
		})
	}
}

// The late answer of an attempt that was given up never settles the next one, whatever it says and wherever that one stands: only its own end
// does, and is not lost.
func TestLateAnswerToTheNextAttempt(t *testing.T) {
	for _, late := range []int{201, 422, 500} {
		for _, second := range []string{"answered first", "answered after", "unknown", "unknown, and then answered"} {
			t.Run(fmt.Sprint(late, " ", second), func(t *testing.T) {
				b := newBench(t, nil)
				hold := func(x *bench, status int, body string) (entered, leave chan struct{}) {
					entered, leave = make(chan struct{}), make(chan struct{})
					x.app = func(w http.ResponseWriter, _ *http.Request) {
						close(entered)
						<-leave
						w.WriteHeader(status)
						_, _ = io.WriteString(w, body)
					}
					return entered, leave
				}
				var all, all2 sync.WaitGroup
				entered, leave := hold(b, late, "first")
				i := b.issue("/orders")
				all.Go(func() { b.do("POST", i.URI, "apples") })
				<-entered
				b2 := b.another()
				b2.decide(decision(i.ID, core.AsUnused))
				entered2, leave2 := hold(b2, 202, "second")
				all2.Go(func() { b2.do("POST", i.URI, "apples") })
				<-entered2
				if second == "answered first" {
					close(leave2)
					all2.Wait()
				}
				if strings.HasPrefix(second, "unknown") {
					b.another()
				}
				before := b.lookup(i.ID)
				close(leave)
				all.Wait()
				after := b.lookup(i.ID)
				if after.State != before.State || after.Status != before.Status || !bytes.Equal(after.Response.Content, before.Response.Content) {
					t.Errorf("from %s %d to %s %d", before.State, before.Status, after.State, after.Status)
				}
				last := after.History[len(after.History)-1]
				if len(after.History) != len(before.History)+1 || last.Why != lateWord || last.Status != late {
					t.Errorf("the history: %v", after.History)
				}
				if second == "answered after" || second == "unknown, and then answered" {
					close(leave2)
					all2.Wait()
				}
				want := store.Done
				if second == "unknown" {
					want = store.Unknown
				}
				if r := b.lookup(i.ID); r.State != want || want == store.Done && (r.Status != 202 || string(r.Response.Content) != "second") {
					t.Errorf("in the end: %s %d %q", r.State, r.Status, r.Response.Content)
				}
				if second == "unknown" {
					wantProblem(t, b.do("POST", i.URI, "apples"), 409, "outcome-unknown")
					close(leave2)
					all2.Wait()
				}
				if n := b.executed.Load() + b2.executed.Load(); n != 2 {
					t.Errorf("executed %d times", n)
				}
			})
		}
	}
}

// Whoever gives back what a running action guards does not take its outcome away.
func TestFreeWhileItRuns(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "own", Match: "POST /orders", Unique: []string{"header:X-Item"}}}
	})
	entered, leave := b.stopped()
	var all sync.WaitGroup
	i := b.issue("/orders")
	all.Go(func() { b.do("POST", i.URI, "apples", "X-Item: cup") })
	<-entered
	if err := b.gate.Free(t.Context(), i.ID, "operator"); err != nil {
		t.Fatal(err)
	}
	close(leave)
	all.Wait()
	if r := b.lookup(i.ID); r.State != store.Done || r.Status != 201 || len(r.History) != 1 || counter(t, b, "poe_late_answers_total", "") != 0 {
		t.Errorf("%s %d %v", r.State, r.Status, r.History)
	}
	if res := b.do("POST", "/orders", "pears", "X-Item: cup"); res.StatusCode != 201 {
		t.Errorf("the key is not free: %d", res.StatusCode)
	}
}

// An answer that comes when the action is accepted again, on a person's word, keeps it from being executed a second time. That word is not taken for recovery's.
func TestLateAnswerToAcceptedAgain(t *testing.T) {
	b := deferring(t, nil)
	entered, leave := b.stopped()
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later))
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	b2 := b.restarted()
	d := decision(i.ID, core.AsUnused)
	d.Reason = "taken back: answered by phone"
	b2.decide(d)
	close(leave)
	all.Wait()
	b2.work()
	if res := b2.do("GET", at, ""); res.StatusCode != 200 || b2.executed.Load() != 0 || b.executed.Load() != 1 {
		t.Errorf("%d, executed %d and %d times", res.StatusCode, b.executed.Load(), b2.executed.Load())
	}
}

// One that means "not done" says what that person has said, and takes nothing from the word that it will be done. Of what is still unknown it is the
// end, and guards nothing.
func TestLateRefusalOfAccepted(t *testing.T) {
	for name, decided := range map[string]bool{"accepted again": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			routes := []core.Route{{Name: "default", Match: "POST *", Unique: []string{"header:X-Item"}, RetryFor: time.Second}}
			b := deferring(t, func(c *core.Config) { c.Routes = routes })
			entered, leave := make(chan struct{}), make(chan struct{})
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-leave
				w.Header().Set("Retry-After", "10")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			i := b.issue("/orders")
			at := monitor(t, b.do("POST", i.URI, "apples", "X-Item: cup", later))
			var all sync.WaitGroup
			all.Go(b.work)
			<-entered
			b2 := newBench(t, func(c *core.Config) { c.Store, c.Clock, c.Keys, c.Routes = b.store, b.clock, b.keys, routes })
			b2.deferred()
			if decided {
				b2.decide(decision(i.ID, core.AsUnused))
			}
			close(leave)
			all.Wait()
			if decided {
				b2.work()
				if res := b2.do("GET", at, ""); res.StatusCode != 200 || b2.executed.Load() != 1 {
					t.Errorf("%d, executed %d times: %v", res.StatusCode, b2.executed.Load(), b.lookup(i.ID).History)
				}
				return
			}
			b.wantState(i.ID, store.Done)
			if res := b2.do("POST", b2.issue("/orders").URI, "pears", "X-Item: cup"); res.StatusCode != 201 {
				t.Errorf("another one under the same business key: %d; %v", res.StatusCode, b.lookup(i.ID).History)
			}
		})
	}
}

// Late word of a retry that was not sent is not the answer to the try before it.
func TestLateWordOfARetryThatWasNotSent(t *testing.T) {
	b := deferring(t, nil)
	b.app = answering(429, "Retry-After: 1")
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	b.work()
	b.advance(time.Second)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.gate.Defer(executing(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return replay.Unsent, io.EOF
	}))
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	b.restarted()
	b.wantState(i.ID, store.Unknown)
	close(leave)
	all.Wait()
	r := b.wantState(i.ID, store.Queued)
	if last := r.History[len(r.History)-1]; last.Why != "late word: it was not done" || last.Status != 0 {
		t.Errorf("%v", r.History)
	}
}
