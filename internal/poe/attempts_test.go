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

// refusedOften is an action whose history is full: it was answered 429 that often.
func refusedOften(b *bench, u *upstream, fields ...string) issue {
	b.t.Helper()
	i := b.issue("/orders")
	u.says(answers(429, ""))
	for range store.MaxHistory {
		b.do("POST", i.URI, "apples", fields...)
	}
	return i
}

// An attempt knows itself again beside a line of history, also where the history is full and an older line goes for it.
func TestLineBesideAFullHistory(t *testing.T) {
	for name, route := range map[string]core.Route{"hold": {}, "compensate": compensating, "marked": {MarkSent: true}} {
		t.Run(name, func(t *testing.T) {
			route.Unique = []string{"header:X-Item"}
			b, u := recovering(t, route)
			i := refusedOften(b, u, "X-Item: cup")
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				if strings.Contains(s.target, "compensate") {
					t.Errorf("what was answered 201 is taken back: %v", s)
				}
				if err := b.gate.Free(t.Context(), i.ID, "operator"); err != nil {
					t.Error(err)
				}
				return answers(201, "made")(n, s, rec)
			})
			res := b.do("POST", i.URI, "apples", "X-Item: cup")
			if !strings.HasPrefix(res.Header.Get("POE-State"), "done") {
				t.Errorf("%d, POE-State %s", res.StatusCode, res.Header.Get("POE-State"))
			}
			b.pass(5*time.Minute, 10*time.Second)
			r := b.wantState(i.ID, store.Done)
			if n := len(r.History); r.Status != 201 || n != store.MaxHistory || r.History[n-1].Who != "operator" {
				t.Errorf("%d: %v", r.Status, r.History)
			}
		})
	}
}

// The late answer of an attempt settles it, however full the history is.
func TestLateAnswerBesideAFullHistory(t *testing.T) {
	b, u := recovering(t, core.Route{})
	i := refusedOften(b, u)
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return answers(201, "made")(n, s, rec)
	})
	var all sync.WaitGroup
	all.Go(func() { b.do("POST", i.URI, "apples") })
	<-entered
	other := b.again(core.Route{}, u)
	other.wantState(i.ID, store.Unknown)
	close(leave)
	all.Wait()
	other.wantState(i.ID, store.Done)
}

// What was taken back is not done, whatever answer arrives for it later; nor when another attempt was made since, and was not done.
func TestLateAnswerOfWhatWasTakenBack(t *testing.T) {
	for name, tried := range map[string]bool{"at rest": false, "tried again": true} {
		t.Run(name, func(t *testing.T) {
			route := compensating
			route.Compensated = core.CompensatedUnused
			b, u := recovering(t, route)
			i := b.issue("/orders?x=1", alice)
			entered, leave := make(chan struct{}), make(chan struct{})
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				if strings.HasPrefix(s.target, "/orders/compensate/") {
					return answers(204, "")(n, s, rec)
				}
				close(entered)
				<-leave
				return answers(201, "made")(n, s, rec)
			})
			var all sync.WaitGroup
			all.Go(func() { b.do("POST", i.URI, "apples", alice) })
			<-entered
			other := b.again(route, u)
			other.pass(10*time.Second, time.Second)
			other.wantState(i.ID, store.Unused)
			if tried {
				u.says(answers(429, ""))
				if res := other.do("POST", i.URI, "apples", alice); res.StatusCode != 429 {
					t.Fatal(res.StatusCode)
				}
			}
			close(leave)
			all.Wait()
			r := other.wantState(i.ID, store.Unused)
			if last := r.History[len(r.History)-1]; last.Status != 201 {
				t.Errorf("the answer is not in the history: %v", last)
			}
		})
	}
}

// An application that knows keys answers a repeat of one with what it did under it. So the key of a request that is in doubt goes with that request
// only, and with each repeat of it, whatever was not sent in between.
func TestKeyOfWhatIsInDoubt(t *testing.T) {
	for name, tc := range map[string]struct{ unsent, last, key string }{
		"the same, unsent, and another": {"apples", "pears", ".2"}, "another, unsent, and the same": {"pears", "apples", ".1"},
		"others, unsent": {"pears", "plums", ".2"}, "the same, unsent": {"apples", "apples", ".1"},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, core.Route{})
			i := b.issue("/orders")
			u.says(breaks)
			b.do("POST", i.URI, "apples")
			b.decide(decision(i.ID, core.AsUnused))
			u.says(refuses)
			wantProblem(t, b.do("POST", i.URI, tc.unsent), 502, "not-executed")
			u.says(nil)
			b.do("POST", i.URI, tc.last)
			sent := u.sent()
			if last := sent[len(sent)-1]; last.body != tc.last || last.key != `"`+i.ID+tc.key+`"` {
				t.Errorf("%s went out under %s, want %s", last.body, last.key, tc.key)
			}
		})
	}
}
