package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
)

// The table of section 5: what a complete answer says of the action.
func TestJudge(t *testing.T) {
	const retryAfter = "Retry-After: 7"
	var (
		plain  = core.Route{}
		strict = core.Route{Consume: core.ConsumeAny}
		lists  = core.Route{Release: []int{404, 503, 500}}
		both   = core.Route{Consume: core.ConsumeAny, Release: []int{409}}
		none   = core.Route{Release: []int{}}
	)
	type row struct {
		route  core.Route
		status int
		fields []string
		state  string
	}
	var rows []row
	add := func(route core.Route, state string, statuses ...int) {
		for _, s := range statuses {
			rows = append(rows, row{route, s, nil, state})
		}
	}
	add(plain, "done", 200, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 399)
	add(plain, "unused", 307, 308, 400, 401, 402, 403, 404, 406, 407, 408, 409, 410, 411, 412, 413, 415, 416, 418, 422, 423, 425, 428, 429, 431, 451, 499)
	add(plain, "unknown", 502, 503, 504, 511, 520, 521, 522, 523, 524, 525, 526, 527, 530)
	add(plain, "done", 500, 501, 505, 506, 507, 508, 510, 519, 528, 529, 531, 598, 599)
	add(plain, "unknown", 600, 601, 999)
	add(strict, "done", 200, 303, 307, 308, 400, 401, 404, 409, 422, 500, 502, 503, 504, 511, 520, 527, 600)
	add(strict, "unused", 408, 425, 429)
	add(lists, "unused", 404, 503, 500, 408, 425, 429) // the last three as other failures of the client
	add(lists, "unknown", 502)
	add(both, "unused", 409)
	add(both, "done", 408, 404, 503)
	add(none, "unused", 408, 425, 429)
	for _, r := range []core.Route{plain, strict, lists, both, none} {
		rows = append(rows, row{r, 503, []string{retryAfter}, "unused"})
	}
	rows = append(rows, row{plain, 502, []string{retryAfter}, "unknown"}, row{plain, 500, []string{retryAfter}, "done"},
		row{plain, 201, []string{retryAfter}, "done"}, row{plain, 504, []string{retryAfter}, "unknown"})
	for _, r := range rows {
		t.Run(fmt.Sprintf("%d consume=%d release=%v %v", r.status, r.route.Consume, r.route.Release, r.fields), func(t *testing.T) {
			b := newBench(t, func(c *core.Config) {
				r.route.Match = "POST /orders"
				c.Routes = []core.Route{r.route}
			})
			b.app = answering(r.status, r.fields...)
			i := b.issue("/orders")
			res := b.do("POST", i.URI, "apples")
			want := reply{Code: r.status, ID: i.ID, State: fmt.Sprintf("%s;status=%d", r.state, r.status), Fields: own("", r.fields...), Body: ""}
			if r.state != "unused" {
				want.State += b.at()
				i.findOutcome(t, res)
				want.Fields.Add("Link", strings.TrimPrefix(i.link(), "Link: "))
			}
			delete(res.Header, "Content-Type")
			read(t, res).want(t, want)
			again := b.do("POST", i.URI, "apples")
			executed := map[string]int64{"done": 1, "unknown": 1, "unused": 2}[r.state]
			code := map[string]int{"done": 405, "unknown": 409, "unused": r.status}[r.state]
			if again.StatusCode != code || b.executed.Load() != executed {
				t.Errorf("again: %d, executed %d times", again.StatusCode, b.executed.Load())
			}
			if n := counter(t, b, "poe_settled_total", r.state); n != float64(executed) {
				t.Errorf("poe_settled_total of %s is %v", r.state, n)
			}
		})
	}
}

// A 405 of the application's would look like our own, and so like success.
func TestApplicationRefusesTheMethod(t *testing.T) {
	for _, tc := range []struct {
		name  string
		route core.Route
		state string
	}{
		{"by default", core.Route{}, "unused"},
		{"released", core.Route{Release: []int{405}}, "unused"},
		{"consume: any", core.Route{Consume: core.ConsumeAny}, "done"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { tc.route.Match = "POST /orders"; c.Routes = []core.Route{tc.route} })
			b.app = answering(405, "Allow: POST, GET", "Set-Cookie: a=b")
			i := b.issue("/orders")
			res := b.do("POST", i.URI, "apples")
			want := problemReply(501, "method-refused", "never", members{"state": tc.state})
			want.ID, want.State = i.ID, tc.state+";status=405"
			if tc.state == "done" {
				want.State += b.at()
				i.findOutcome(t, res)
				want.Fields.Set("Link", strings.TrimPrefix(i.link(), "Link: "))
				want.Body.(members)["outcome"] = i.outcome
			}
			read(t, res).want(t, want)
		})
	}
}

// Who sends it again gets that as the first client did, and no 405.
func TestRefusedMethodAgain(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST,PUT /orders", Consume: core.ConsumeAny}}
	})
	b.app = answering(405, "Allow: GET")
	put := b.issueOf("PUT", "/orders").URI
	for name, send := range map[string]func() *http.Response{
		"by key": func() *http.Response { return b.do("POST", "/orders", "x", "Idempotency-Key: k") },
		"by URI": func() *http.Response { return b.do("PUT", put, "x") },
	} {
		first, again := send(), send()
		said := wantProblem(t, first, 501, "method-refused")
		if diff := cmp.Diff(said, wantProblem(t, again, 501, "method-refused")); diff != "" {
			t.Errorf("%s (-first +again):\n%s", name, diff)
		}
		if got, want := again.Header.Get("POE-State"), first.Header.Get("POE-State")+";replayed"; got != want {
			t.Errorf("%s: %s, and not %s", name, got, want)
		}
	}
	if n := b.executed.Load(); n != 2 {
		t.Errorf("executed %d times", n)
	}
}

// An executor as the gateway is one: it says how far it got.
type executing func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error)

func (f executing) Execute(ctx context.Context, q *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	return f(ctx, q, rec)
}

// What the client hears where no complete answer came back.
func TestNoCompleteAnswer(t *testing.T) {
	for _, tc := range []struct {
		name  string
		proof replay.Proof
		err   error
		code  int
		kind  string
		state string
	}{
		{"refused", replay.Unsent, errors.New("refused"), 502, "not-executed", "unused"},
		{"no free connection", replay.Unsent, fmt.Errorf("dialing: %w", replay.ErrBusy), 503, "not-executed", "unused"},
		{"no connection in time", replay.Unsent, context.DeadlineExceeded, 504, "not-executed", "unused"},
		{"reset", replay.Broken, errors.New("reset"), 502, "outcome-unknown", "unknown"},
		{"no answer in time", replay.Broken, context.DeadlineExceeded, 504, "outcome-unknown", "unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.mount(executing(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) {
				return tc.proof, tc.err
			}))
			i := b.issue("/orders")
			res := b.do("POST", i.URI, "apples")
			got := read(t, res)
			want := problemReply(tc.code, tc.kind, "same", members{"state": tc.state})
			want.ID, want.State = i.ID, tc.state
			want.Fields.Set("Retry-After", "1")
			if tc.state == "unknown" {
				i.findOutcome(t, res)
				want.State += b.at()
				want.Fields.Set("Link", strings.TrimPrefix(i.link(), "Link: "))
				p := want.Body.(members)
				p["outcome"], p["detail"] = i.outcome, got.Body.(members)["detail"]
			}
			got.want(t, want)
			for _, proof := range []replay.Proof{replay.Unsent, replay.Broken} {
				if n := counter(t, b, "poe_execution_seconds", proof.String()); (n == 1) != (proof == tc.proof) {
					t.Errorf("poe_execution_seconds counts %v %s", n, proof)
				}
			}
		})
	}
}

// An attempt begins only after a complete answer that meant "not done". The key that the application gets says which it is.
func TestIdempotencyKeyOfAnAttempt(t *testing.T) {
	b := newBench(t, nil)
	var proof replay.Proof
	var status int
	var keys, ids []string
	b.mount(executing(func(ctx context.Context, q *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
		keys, ids = append(keys, forwarded(q, "Idempotency-Key")), append(ids, forwarded(q, "POE-Id"))
		if id, ok := core.ActionID(ctx); !ok || id.String() != forwarded(q, "POE-Id") {
			t.Errorf("ActionID is %s, %t", id, ok)
		}
		if proof == replay.Complete {
			rec.WriteHeader(status)
			return proof, nil
		}
		return proof, errors.New("nothing was sent")
	}))
	i := b.issue("/orders")
	for n, step := range []struct {
		proof    replay.Proof
		status   int
		attempt  int
		attempts float64 // as the state document counts them afterwards
	}{
		{replay.Unsent, 0, 1, 0}, {replay.Unsent, 0, 1, 0}, {replay.Complete, 422, 1, 1}, {replay.Unsent, 0, 2, 1},
		{replay.Complete, 429, 2, 2}, {replay.Complete, 503, 3, 3}, {replay.Complete, 405, 4, 4}, {replay.Complete, 201, 5, 5},
	} {
		proof, status = step.proof, step.status
		if status == 503 {
			status = 408
		}
		b.do("POST", i.URI, "apples")
		if want := fmt.Sprintf(`"%s.%d"`, i.ID, step.attempt); len(keys) != n+1 || keys[n] != want || ids[n] != i.ID {
			t.Fatalf("step %d: keys %q, want %s; ids %q", n, keys, want, ids)
		}
		if doc, ok := read(t, b.do("GET", i.URI, "")).Body.(members); ok && doc["attempts"] != step.attempts {
			t.Errorf("step %d: %v attempts, want %v", n, doc["attempts"], step.attempts)
		}
	}
}

// A client's own key is its own.
func TestIdempotencyKeyOfTheClient(t *testing.T) {
	b := newBench(t, nil)
	var seen http.Header
	b.app = func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples", `Idempotency-Key: "mine"`)
	if got := seen["Idempotency-Key"]; len(got) != 1 || got[0] != `"mine"` || seen.Get("POE-Id") != i.ID {
		t.Errorf("Idempotency-Key = %q, POE-Id = %q", got, seen.Get("POE-Id"))
	}
	b.do("POST", b.mint("/orders"), "apples")
	if got := seen["Idempotency-Key"]; len(got) != 1 || got[0] != `"`+seen.Get("POE-Id")+`.1"` {
		t.Errorf("Idempotency-Key = %q", got)
	}
}

// A body of a known length goes straight to the claim, any other one is read after a look at the ledger: what is said of
// an action does not depend on it.
var bodies = map[string]func(string) io.Reader{
	"known length": func(s string) io.Reader { return strings.NewReader(s) },
	"chunked":      chunked,
}

// An attempt that breaks off, or is not even sent, says nothing of the answer to the one before it.
func TestStatusOfAnEarlierAttempt(t *testing.T) {
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			proof := replay.Complete
			b.mount(executing(func(_ context.Context, _ *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
				if proof == replay.Complete {
					rec.WriteHeader(422)
					return proof, nil
				}
				return proof, errors.New("reset")
			}))
			post := func(i issue) reply { return read(t, b.send(httptest.NewRequest("POST", i.URI, body("apples")))) }
			i, j := b.issue("/orders"), b.issue("/orders")
			post(i)
			post(j)
			proof = replay.Unsent
			for range 2 {
				if got := post(j); got.State != "unused" || got.Body.(members)["type"] != "/poe/problems/not-executed" {
					t.Errorf("unsent: %v", got)
				}
			}
			proof = replay.Broken
			want := "unknown" + b.at()
			if got := post(i); got.State != want {
				t.Errorf("broken: POE-State is %s", got.State)
			}
			if got := read(t, b.do("GET", i.URI, "")); got.State != want {
				t.Errorf("broken: POE-State is %s later", got.State)
			}
			b.advance(2 * time.Hour)
			p := wantProblem(t, b.do("GET", j.URI, ""), 410, "expired")
			if p["attempts"] != 1.0 || p["last_status"] != 422.0 {
				t.Errorf("expired: %v", p)
			}
		})
	}
}

// forwarded returns a field that tells the application about us.
func forwarded(q *replay.Request, name string) string {
	for _, f := range q.Forward {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
