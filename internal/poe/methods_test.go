package core_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// replayingMethods are those whose URIs repeat the stored answer.
var replayingMethods = []string{"PUT", "PATCH", "DELETE"}

func methodsBench(t *testing.T) *bench {
	t.Helper()
	return newBench(t, func(c *core.Config) {
		c.MaxBody = 1000
		c.Routes = []core.Route{{Name: "things", Match: "PUT,PATCH,DELETE /things/{id}"}, {Match: "POST *"}}
	})
}

// A thing is an application with one resource: whoever writes last wins, and what is deleted is gone.
type thing struct {
	mu    sync.Mutex
	value string // "": there is none
}

func (x *thing) serve(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	switch {
	case r.Method == "DELETE" && x.value == "":
		w.WriteHeader(http.StatusNotFound)
	case r.Method == "DELETE":
		_, _ = fmt.Fprintf(w, "deleted %s", x.value)
		x.value = ""
	case r.Method == "PUT" || r.Method == "PATCH":
		x.value = string(body)
		w.Header().Set("Etag", `"`+x.value+`"`)
		w.Header().Set("Location", "/things/1")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "stored %s", x.value)
	default:
		_, _ = fmt.Fprint(w, x.value)
	}
}

// A repeated request gets the answer of the first one, whole, and nothing is executed again: not the update that would overwrite
// a later one, not the DELETE that would find nothing.
func TestOtherMethodsReplay(t *testing.T) {
	for _, method := range replayingMethods {
		t.Run(method, func(t *testing.T) {
			b := methodsBench(t)
			x := &thing{value: "old"}
			b.app = x.serve
			body := "apples"
			if method == "DELETE" {
				body = ""
			}
			i := b.issueOf(method, "/things/1")
			first := b.do(method, i.URI, body)
			want := read(t, first)
			if first.StatusCode/100 != 2 || first.Header.Get("POE-State") == "" || b.executed.Load() != 1 {
				t.Fatalf("the first: %v, executed %d times", want, b.executed.Load())
			}
			x.value = "what came later"
			for range 3 {
				again := b.do(method, i.URI, body)
				state := again.Header.Get("POE-State")
				if !strings.HasPrefix(state, "done;id=") || !strings.HasSuffix(state, ";replayed") {
					t.Errorf("POE-State: %s", state)
				}
				if want := "<" + i.outcomeOf(t, first) + `>; rel="status"; anchor=""`; again.Header.Get("Link") != want {
					t.Errorf("Link: %s, want %s", again.Header.Get("Link"), want)
				}
				got := read(t, again)
				if got.Code != want.Code || got.Body != want.Body || got.Fields.Get("Etag") != want.Fields.Get("Etag") ||
					got.Fields.Get("Location") != want.Fields.Get("Location") || got.Fields.Get("Cache-Control") != "no-store" {
					t.Errorf("again: %v, want %v", got, want)
				}
			}
			if x.value != "what came later" || b.executed.Load() != 1 {
				t.Errorf("it was executed again: %q, %d times", x.value, b.executed.Load())
			}
			if got := b.do("GET", i.URI, ""); got.StatusCode != 200 {
				t.Errorf("the outcome: %d", got.StatusCode)
			}
			if r := b.lookup(i.ID); r.Method != method || r.State != store.Done {
				t.Errorf("recorded as %s, %s", r.Method, r.State)
			}
		})
	}
}

// outcomeOf reads the outcome's address from the answer to the execution.
func (i issue) outcomeOf(t *testing.T, res *http.Response) string {
	t.Helper()
	i.findOutcome(t, res)
	return i.outcome
}

// What the URI does not say is refused, and nothing is executed.
func TestOtherMethodsMisused(t *testing.T) {
	for _, method := range replayingMethods {
		t.Run(method, func(t *testing.T) {
			b := methodsBench(t)
			b.app = (&thing{value: "old"}).serve
			i := b.issueOf(method, "/things/1")
			if allow := b.do("GET", i.URI, "").Header.Get("Allow"); allow != "GET, HEAD, "+method {
				t.Errorf("Allow: %s", allow)
			}
			for _, other := range []string{"POST", "PUT", "PATCH", "DELETE"} {
				if other != method {
					wantProblem(t, b.do(other, i.URI, "apples"), 404, "not-found")
				}
			}
			wantProblem(t, b.do(method, strings.Replace(i.URI, "/things/1", "/things/2", 1), "apples"), 404, "not-found")
			if b.executed.Load() != 0 {
				t.Fatalf("executed %d times", b.executed.Load())
			}
			b.do(method, i.URI, "apples")
			for name, body := range map[string]string{"another": "pears", "none": "", "over the limit": strings.Repeat("x", 1001)} {
				p := wantProblem(t, b.do(method, i.URI, body), 409, "body-differs")
				if p["outcome"] == nil || p["state"] != "done" || p["retry"] != "never" {
					t.Errorf("%s: %v", name, p)
				}
			}
			if got := b.do(method, i.URI, "apples", "Expect: 100-continue"); !strings.HasSuffix(got.Header.Get("POE-State"), ";replayed") {
				t.Errorf("with Expect: %d %v", got.StatusCode, got.Header)
			}
			wantProblem(t, b.do(method, i.URI, "pears", "Expect: 100-continue"), 409, "body-differs")
			if b.executed.Load() != 1 {
				t.Errorf("executed %d times", b.executed.Load())
			}
		})
	}
}

// The states other than done are those of a POST: running and unknown are 409, and what is late is 410.
func TestOtherMethodsInOtherStates(t *testing.T) {
	for _, method := range replayingMethods {
		t.Run(method, func(t *testing.T) {
			b := methodsBench(t)
			entered, leave := make(chan struct{}), make(chan struct{})
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-leave
				w.WriteHeader(http.StatusNoContent)
			}
			i := b.issueOf(method, "/things/1")
			var first *http.Response
			var all sync.WaitGroup
			all.Go(func() { first = b.do(method, i.URI, "x") })
			<-entered
			wantProblem(t, b.do(method, i.URI, "x"), 409, "running")
			var waited *http.Response
			all.Go(func() { waited = b.do(method, i.URI, "x", "Prefer: wait=20") })
			close(leave)
			all.Wait()
			if first.StatusCode != 204 || waited.StatusCode != 204 {
				t.Errorf("%d, and after waiting %d %v", first.StatusCode, waited.StatusCode, waited.Header)
			}

			b.app = answering(502)
			i = b.issueOf(method, "/things/1")
			b.do(method, i.URI, "x")
			wantProblem(t, b.do(method, i.URI, "x"), 409, "outcome-unknown")

			b.app = answering(422)
			i = b.issueOf(method, "/things/1")
			b.do(method, i.URI, "x")
			b.app = answering(204)
			if got := b.do(method, i.URI, "y"); got.StatusCode != 204 { // what was not done is bound to no body
				t.Errorf("after 422: %d", got.StatusCode)
			}

			i = b.issueOf(method, "/things/1")
			b.advance(time.Hour + store.Skew)
			wantProblem(t, b.do(method, i.URI, "x"), 410, "never-used")
			if b.executed.Load() != 4 {
				t.Errorf("executed %d times", b.executed.Load())
			}
		})
	}
}

// Of many at one time one is executed, and all others get its answer, or are told that it runs.
func TestOtherMethodsAtOneTime(t *testing.T) {
	b := methodsBench(t)
	for round := range 20 {
		uri := b.issueOf("PUT", "/things/1").URI
		before := b.executed.Load()
		var all sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 50 {
			all.Go(func() {
				res := b.do("PUT", uri, "apples")
				mu.Lock()
				defer mu.Unlock()
				codes[res.StatusCode]++
			})
		}
		all.Wait()
		if n := b.executed.Load() - before; n != 1 || codes[201] < 1 || codes[201]+codes[409] != 50 {
			t.Fatalf("round %d: executed %d times, answered %v", round, n, codes)
		}
	}
}
