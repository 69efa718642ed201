package core_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

var (
	probing = core.Route{Recovery: core.RecoveryProbe, Probe: "/orders/by-action/{id}?again={id}"}
	fencing = core.Route{Recovery: core.RecoveryProbe, Probe: "/orders/by-action/{id}", ProbeFences: true}
)

// The application is asked until it knows; nothing is sent again, and what it says is the outcome.
func TestProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		fields []string
		body   string
		code   int    // of the outcome
		want   string // its content
	}{
		"200": {200, []string{"Content-Type: application/json", "Set-Cookie: a=b", `ETag: "v1"`}, `{"id":7}`, 200, `{"id":7}`},
		"303": {303, []string{"Location: /orders/7"}, "", 303, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, u := recovering(t, probing)
			u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
				return []func(int, sending, *replay.Recorder) (replay.Proof, error){
					breaks, answers(404, "not yet"), answers(500, ""), answers(204, ""), answers(302, "", "Location: /login"), answers(401, ""), breaks, refuses,
					answers(303, ""), func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
						return answers(200, "data: x", "Content-Type: text/event-stream")(n, s, rec)
					},
				}[n-1](n, s, rec)
			})
			i := b.issue("/orders", alice)
			b.do("POST", i.URI, "apples", alice)
			for n := range 8 {
				b.advance(10 * time.Minute)
				b.work()
				if r := b.wantState(i.ID, store.Unknown); r.Due.Equal(store.Person) || r.Attempt != 0 {
					t.Fatalf("after answer %d: due %s, attempt %d", n+2, r.Due, r.Attempt)
				}
			}
			u.says(answers(tc.status, tc.body, tc.fields...))
			b.advance(10 * time.Minute)
			b.work()
			r := b.wantState(i.ID, store.Done)
			if r.Status != tc.status {
				t.Errorf("status %d", r.Status)
			}
			res := b.do("GET", i.URI, "", alice)
			if got := text(t, res); res.StatusCode != tc.code || got != tc.want || res.Header.Get("Set-Cookie") != "" {
				t.Errorf("the outcome: %d %q %v", res.StatusCode, got, res.Header)
			}
			if at := res.Header.Get("Location"); (at != "") != (tc.status == 303) {
				t.Errorf("Location: %q", at)
			}
			wantProblem(t, b.do("POST", i.URI, "apples", alice), 405, "consumed")
			for n, s := range u.sent()[1:] {
				if s != (sending{"GET", "/orders/by-action/" + i.ID + "?again=" + i.ID, "example.com", i.ID, "", "", ""}) {
					t.Errorf("probe %d: %v", n+1, s)
				}
			}
			if n := counter(t, b, "poe_recoveries_total", "probe/done"); n != 1 {
				t.Errorf("poe_recoveries_total counts %v", n)
			}
		})
	}
}

// That nothing is there proves nothing, unless the application fences by saying so; and of what is large, the answer is not kept.
func TestProbeFences(t *testing.T) {
	for _, fences := range []bool{false, true} {
		for _, accepts := range []bool{false, true} {
			t.Run(fmt.Sprintf("fences: %t, accepted: %t", fences, accepts), func(t *testing.T) {
				r := fencing
				r.ProbeFences = fences
				b, u := recovering(t, r)
				u.says(breaks)
				i := b.issue("/orders")
				if accepts {
					b.do("POST", i.URI, "apples", later)
					b.work()
				} else {
					b.do("POST", i.URI, "apples")
				}
				u.says(answers(404, ""))
				b.pass(time.Minute, time.Second)
				switch {
				case !fences:
					b.wantState(i.ID, store.Unknown)
					b.pass(25*time.Hour, time.Minute)
					if r := b.wantState(i.ID, store.Unknown); !r.Due.Equal(store.Person) {
						t.Errorf("due %s", r.Due)
					}
				case accepts: // it cannot be unused again
					b.wantState(i.ID, store.Burned)
					p := wantProblem(t, b.do("POST", i.URI, "apples"), 410, "burned")
					if detail, _ := p["detail"].(string); !strings.Contains(detail, "it was sent, and turned out not to have been done") {
						t.Errorf("%v", p)
					}
				default:
					b.wantState(i.ID, store.Unused)
					u.says(nil)
					if res := b.do("POST", i.URI, "apples"); res.StatusCode != 201 {
						t.Errorf("the next request: %d", res.StatusCode)
					}
					sent := u.sent()
					if last := sent[len(sent)-1]; last.key != `"`+i.ID+`.2"` {
						t.Errorf("what was fenced off is sent again: %v", last)
					}
				}
			})
		}
	}
}

func TestProbeOfALargeAnswer(t *testing.T) {
	u := &upstream{answer: breaks}
	b := newBench(t, func(c *core.Config) {
		one(probing)(c)
		c.MaxResponse = 1000
	})
	b.behind(u)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	u.says(answers(200, strings.Repeat("x", 1001)))
	b.pass(time.Minute, time.Second)
	b.wantState(i.ID, store.Done)
	wantProblem(t, b.do("GET", i.URI, ""), 410, "outcome-purged")
}

// A DELETE that is found to be done gives back what the creation of its resource guards, as one that was answered does.
func TestRecoveredDeletion(t *testing.T) {
	u := &upstream{}
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "users", Match: "POST /users", Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}},
			{Name: "user", Match: "DELETE /users/{id}", Recovery: core.RecoveryProbe, Probe: "/deleted/{id}"},
		}
	})
	b.behind(u)
	user := func() int {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json").StatusCode
	}
	u.says(answers(201, "", "Location: /users/1"))
	if first, second := user(), user(); first != 201 || second != 409 {
		t.Fatalf("%d, then %d", first, second)
	}
	b.advance(time.Second) // what ends in the millisecond of the DELETE may have come after it
	u.says(func(_ int, _ sending, _ *replay.Recorder) (replay.Proof, error) {
		return replay.Broken, io.ErrUnexpectedEOF
	})
	b.do("DELETE", b.issueOf("DELETE", "/users/1").URI, "")
	u.says(answers(200, "it is gone"))
	b.pass(time.Minute, time.Second)
	u.says(answers(201, "", "Location: /users/2"))
	if third := user(); third != 201 {
		t.Errorf("after the deletion: %d", third)
	}
}

// Who frees an action's guards while it is probed changes nothing of what the probe finds, and the history does not say of what was sent that it was not.
func TestProbeBesideAFree(t *testing.T) {
	route := fencing
	route.Unique = []string{"header:X-Item"}
	b, u := recovering(t, route)
	u.says(breaks)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples", "X-Item: cup")
	entered, leave := make(chan struct{}), make(chan struct{})
	u.says(func(n int, s sending, rec *replay.Recorder) (replay.Proof, error) {
		close(entered)
		<-leave
		return answers(404, "")(n, s, rec)
	})
	b.advance(5 * time.Second)
	var all sync.WaitGroup
	all.Go(b.work)
	<-entered
	err := b.gate.Free(t.Context(), i.ID, "ada")
	close(leave)
	all.Wait()
	r := b.wantState(i.ID, store.Unused)
	if last := r.History[len(r.History)-1]; err != nil || last.Why != "late word: it was not done" {
		t.Errorf("%v: %v", err, r.History)
	}
}
