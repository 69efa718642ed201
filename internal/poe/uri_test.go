package core_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// An arrangement brings an action into a state.
type arrangement struct {
	name    string
	arrange func(*bench) issue
}

// arrangements bring an action into every state of the contract. An issue comes back with its outcome's address where
// the state has one.
var arrangements = []arrangement{
	{"unused", func(b *bench) issue { return b.issue("/orders?x=1") }},
	{"running", (*bench).runningIssue},
	{"sent", (*bench).sentIssue},
	{"done", (*bench).doneIssue},
	{"unknown", func(b *bench) issue {
		b.app = answering(502)
		i := b.issue("/orders?x=1")
		i.findOutcome(b.t, b.do("POST", i.URI, "apples"))
		return i
	}},
	{"burned", func(b *bench) issue {
		i := b.issue("/orders?x=1")
		b.do("DELETE", i.URI, "")
		return i
	}},
	{"expired, never sent", func(b *bench) issue {
		i := b.issue("/orders?x=1")
		b.advance(time.Hour + store.Skew)
		return i
	}},
	{"expired, tried", func(b *bench) issue {
		b.app = answering(422)
		i := b.issue("/orders?x=1")
		b.do("POST", i.URI, "apples")
		b.advance(time.Hour + store.Skew)
		return i
	}},
	{"past retention, never sent", func(b *bench) issue {
		i := b.issue("/orders?x=1")
		b.advance(33 * store.Day)
		return i
	}},
	{"past retention, done", func(b *bench) issue {
		i := b.doneIssue()
		b.advance(33 * store.Day)
		return i
	}},
	{"past retention, done and swept", func(b *bench) issue {
		i := b.doneIssue()
		b.advance(33 * store.Day)
		for more := true; more; {
			s, err := b.store.Sweep(b.t.Context(), b.clock())
			if err != nil {
				b.t.Fatal(err)
			}
			more = s.More
		}
		return i
	}},
}

func (b *bench) doneIssue() issue {
	i := b.issue("/orders?x=1")
	i.findOutcome(b.t, b.do("POST", i.URI, "apples"))
	return i
}

// runningIssue leaves the application at work until the test ends.
func (b *bench) runningIssue() issue {
	entered, leave, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b.app = func(http.ResponseWriter, *http.Request) { close(entered); <-leave }
	i := b.issue("/orders?x=1")
	go func() { defer close(left); b.do("POST", i.URI, "apples") }()
	<-entered
	b.t.Cleanup(func() { close(leave); <-left })
	i.findOutcome(b.t, b.do("GET", i.URI, ""))
	return i
}

// sentIssue writes a record as an asynchronous execution will.
func (b *bench) sentIssue() issue {
	b.t.Helper()
	i := b.issue("/orders?x=1")
	id, err := store.ParseID(i.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	r := store.Record{
		ID: id, State: store.Queued, Term: store.Term{1}, Door: "poe", Route: "default", Method: "POST", Target: i.target,
		Claimed: b.clock(), Expires: i.Expires, Due: b.clock().Add(time.Minute),
	}
	if _, err := storetest.Claim(b.t.Context(), b.store, r); err != nil {
		b.t.Fatal(err)
	}
	r.State, r.Term = store.Sent, store.Term{2}
	if _, err := storetest.Advance(b.t.Context(), b.store, store.Term{1}, r, store.Also{}); err != nil {
		b.t.Fatal(err)
	}
	i.findOutcome(b.t, b.do("GET", i.URI, ""))
	return i
}

func (b *bench) lookup(id string) store.Record {
	b.t.Helper()
	key, err := store.ParseID(id)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := b.store.Lookup(b.t.Context(), store.ByID(key))
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// A cell is what a method finds in a state.
type cell struct {
	code     int
	state    string // of POE-State
	problem  string // "": none
	retry    string
	more     members // further members of the problem
	document bool    // a state document
	link     bool    // the outcome link
	fields   []string
	body     string // the application's
	executes bool
}

// docWord is the word of a state, without its parameters.
func word(state string) string { w, _, _ := strings.Cut(state, ";"); return w }

// cells is the table of section 4, written for the time T at which everything happened and the time N of the request.
func cells(state string, T string) map[string]cell {
	notFound := cell{code: 404, problem: "not-found", retry: "never"}
	rows := map[string]cell{
		"PUT": notFound, "PATCH": notFound,
		"OPTIONS": {code: 200, fields: []string{"Content-Type: text/plain", "Allow: OPTIONS, GET, POST"}, body: "options of /orders?x=1"},
	}
	running := func(s string) {
		busy := cell{code: 409, state: s, problem: "running", retry: "same", link: true, fields: []string{"Retry-After: 1"}}
		rows["GET"] = cell{code: 202, state: s, document: true, link: true, fields: []string{"Retry-After: 1"}}
		rows["POST"], rows["DELETE"] = busy, busy
	}
	over := func(s, name, retry string, more members) {
		c := cell{code: 410, state: s, problem: name, retry: retry, more: more}
		rows["GET"], rows["POST"], rows["DELETE"] = c, c, c
	}
	switch state {
	case "unused":
		rows["GET"] = cell{code: 200, state: "unused", document: true, fields: []string{"Allow: GET, HEAD, POST, DELETE"}}
		rows["POST"] = cell{code: 201, state: "done;status=201" + T, link: true, executes: true,
			fields: []string{"Location: /orders/1", "Content-Type: text/plain"}, body: "order 1: apples"}
		rows["DELETE"] = cell{code: 204, state: "burned" + T}
	case "running", "sent":
		running(state)
	case "done":
		s := "done;status=201" + T
		consumed := cell{code: 405, state: s, problem: "consumed", retry: "never", link: true, fields: []string{"Allow: GET, HEAD"},
			more: members{"executed_at": "2026-03-01T12:00:00Z", "outcome_status": 201.0}}
		rows["GET"] = cell{code: 200, state: s + ";replayed", link: true, body: "order 1: apples", fields: []string{
			"Location: /orders/1", "Content-Type: text/plain", "X-Content-Type-Options: nosniff", "Content-Security-Policy: sandbox"}}
		rows["DELETE"] = consumed
		consumed.more = maps.Clone(consumed.more)
		consumed.more["request_matches"] = true
		rows["POST"] = consumed
	case "unknown":
		s := "unknown;status=502" + T
		nobody := cell{code: 409, state: s, problem: "outcome-unknown", retry: "same", link: true, fields: []string{"Retry-After: 1"}}
		rows["GET"] = cell{code: 202, state: s, document: true, link: true}
		rows["POST"], rows["DELETE"] = nobody, nobody
	case "burned":
		over("burned"+T, "burned", "new", nil)
		rows["DELETE"] = cell{code: 204, state: "burned" + T}
	case "expired, never sent":
		over("expired", "never-used", "new", nil)
	case "expired, tried":
		over("expired;status=422"+T, "expired", "new", members{"attempts": 1.0, "last_status": 422.0})
	default:
		over("gone", "gone", "never", nil)
	}
	rows["HEAD"] = rows["GET"]
	return rows
}

// reply is the whole answer that the cell stands for.
func (c cell) reply(i issue, html bool) reply {
	r := reply{Code: c.code, State: c.state}
	if c.state != "" {
		r.ID = i.ID
	}
	fields := c.fields
	if c.link {
		fields = append(fields, i.link())
	}
	switch {
	case c.document:
		doc := members{"state": word(c.state), "id": i.ID, "target": i.target, "method": "POST", "expires": i.Expires.Format(time.RFC3339), "attempts": 0.0}
		if c.link {
			doc["attempts"], doc["outcome"] = 1.0, i.outcome
		}
		r.Fields, r.Body = own("application/json", fields...), doc
	case c.problem != "":
		r = problemReply(c.code, c.problem, c.retry, c.more)
		p := r.Body.(members)
		if c.state != "" {
			r.ID, r.State, p["state"] = i.ID, c.state, word(c.state)
		}
		if c.link {
			p["outcome"] = i.outcome
		}
		r.Fields = own("application/problem+json", fields...)
	default:
		r.Fields, r.Body = own("", fields...), c.body
	}
	if _, ours := r.Body.(members); ours && html {
		r.Fields.Set("Content-Type", "text/html; charset=utf-8")
		r.Body = page
	}
	return r
}

// Every state meets every method, as JSON and as a page.
func TestStatesAndMethods(t *testing.T) {
	for _, a := range arrangements {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"} {
			for _, accept := range []string{"*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"} {
				html := accept != "*/*"
				t.Run(fmt.Sprintf("%s/%s/html=%t", a.name, method, html), func(t *testing.T) {
					b := newBench(t, nil)
					T := b.at()
					i := a.arrange(b)
					c := cells(a.name, T)[method]
					before := b.executed.Load()
					if a.name != "running" {
						b.app = nil
					}
					if method == "OPTIONS" {
						b.app = func(w http.ResponseWriter, r *http.Request) {
							w.Header().Set("Content-Type", "text/plain")
							w.Header().Set("Allow", "OPTIONS, GET, POST")
							_, _ = io.WriteString(w, "options of "+r.URL.RequestURI())
							if r.RequestURI != r.URL.RequestURI() {
								t.Errorf("the application sees %s and %s", r.RequestURI, r.URL)
							}
						}
					}
					res := b.do(method, i.URI, "apples", "Accept: "+accept)
					if html && c.link && method != "HEAD" && c.problem+fmt.Sprint(c.document) != "false" {
						res = hasLink(t, res, i.outcome)
					}
					if c.executes {
						i.findOutcome(t, res)
					}
					got, want := read(t, res), c.reply(i, html)
					if method == "HEAD" {
						got.Body = want.Body // what the recorder has of it no server would send: TestHead
					}
					got.want(t, want)
					if n := b.executed.Load() - before; (n == 1) != c.executes || n > 1 {
						t.Errorf("executed %d times", n)
					}
				})
			}
		}
	}
}

// hasLink checks that a page leads to the outcome, and says so to a person.
func hasLink(t *testing.T, res *http.Response, outcome string) *http.Response {
	t.Helper()
	body := text(t, res)
	if !strings.Contains(body, `href="`+outcome+`"`) {
		t.Errorf("no link to the outcome in %s", body)
	}
	noToken(t, body)
	res.Body = io.NopCloser(strings.NewReader(body))
	return res
}

// HEAD says over the wire what GET says, without the content.
func TestHead(t *testing.T) {
	for _, a := range arrangements {
		if a.name == "running" {
			continue // its page has to be asked for while the server is up; GET is the same code
		}
		t.Run(a.name, func(t *testing.T) {
			b := newBench(t, nil)
			i := a.arrange(b)
			get, head := b.wire("GET", i.URI), b.wire("HEAD", i.URI)
			if body := text(t, head); body != "" {
				t.Errorf("HEAD has content: %q", body)
			}
			get.Header.Del("Date")
			head.Header.Del("Date")
			if get.StatusCode != head.StatusCode || fmt.Sprint(get.Header) != fmt.Sprint(head.Header) || len(text(t, get)) == 0 {
				t.Errorf("HEAD: %d %v\nGET:  %d %v", head.StatusCode, head.Header, get.StatusCode, get.Header)
			}
		})
	}
}

// The state document and the receipt agree with each other in a second attempt, and say nothing of the first one's end.
func TestSecondAttemptRunning(t *testing.T) {
	for name, content := range bodies {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.app = answering(422)
			i := b.issue("/orders")
			b.do("POST", i.URI, "bad")
			entered, leave, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
			b.app = func(http.ResponseWriter, *http.Request) { close(entered); <-leave }
			go func() { defer close(left); b.send(httptest.NewRequest("POST", i.URI, content("good"))) }()
			<-entered
			defer func() { close(leave); <-left }()
			res := b.do("GET", i.URI, "")
			i.findOutcome(t, res)
			for _, r := range []reply{read(t, res), read(t, b.do("GET", i.outcome, ""))} {
				if doc := r.Body.(members); doc["attempts"] != 2.0 || r.State != "running" {
					t.Errorf("%s, %v attempts", r.State, doc["attempts"])
				}
			}
			receipt := read(t, b.do("GET", i.outcome+"/receipt", "")).Body.(members)
			if _, ended := receipt["finished_at"]; ended || receipt["attempts"] != 2.0 {
				t.Errorf("receipt of a running action: %v", receipt)
			}
		})
	}
}

// What was tried and not done can be burned; that says nothing of the answers before.
func TestBurnAfterAnAttempt(t *testing.T) {
	b := newBench(t, nil)
	b.app = answering(422)
	i := b.issue("/orders")
	b.do("POST", i.URI, "bad")
	for range 2 {
		want := reply{Code: 204, ID: i.ID, State: "burned" + b.at(), Fields: own(""), Body: ""}
		read(t, b.do("DELETE", i.URI, "")).want(t, want)
	}
}

// At the very moment at which a claim is no longer taken the state is expired, and every method is answered.
func TestExpiryToTheMoment(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration
		get   string
		post  int
		del   int
	}{
		{"a moment before", time.Hour + store.Skew - time.Millisecond, "unused", 201, 204},
		{"at it", time.Hour + store.Skew, "expired", 410, 410},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			i, j := b.issue("/orders"), b.issue("/orders")
			b.advance(tc.after)
			if s := read(t, b.do("GET", i.URI, "")); s.State != tc.get {
				t.Errorf("GET: %s", s.State)
			}
			if res := b.do("POST", i.URI, ""); res.StatusCode != tc.post {
				t.Errorf("POST: %d", res.StatusCode)
			}
			if res := b.do("DELETE", j.URI, ""); res.StatusCode != tc.del {
				t.Errorf("DELETE: %d", res.StatusCode)
			}
		})
	}
}

// A ledger whose clock is ahead of the gate's has the last word.
func TestLedgerRefusesAsExpired(t *testing.T) {
	for _, method := range []string{"POST", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			b, ledger := newTampered(t, nil)
			ledger.claim = func(store.Record) error { return fmt.Errorf("its clock is ahead: %w", store.ErrExpired) }
			i := b.issue("/orders")
			wantProblem(t, b.do(method, i.URI, ""), 410, "never-used")
			if n := b.executed.Load(); n != 0 {
				t.Errorf("executed %d times", n)
			}
		})
	}
}

// What a GET of an unused URI says is what was said when it was minted.
func TestStateDocumentAgreesWithMinting(t *testing.T) {
	b := newBench(t, nil)
	res := b.do("GET", "/poe/new?for=/orders&ttl=1500ms", "")
	var doc struct {
		URIs []struct{ URI, ID, Expires string }
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	got := read(t, b.do("GET", doc.URIs[0].URI, "")).Body.(members)
	if got["expires"] != doc.URIs[0].Expires || got["id"] != doc.URIs[0].ID {
		t.Errorf("minted as %v, and now %v", doc.URIs[0], got)
	}
}

// A POE URI says no host, as docs/operations.md has it ("Several hosts"): it is used at one, once for all of them, and its answer is shown at each.
func TestURIAtAnotherHost(t *testing.T) {
	b := newBench(t, nil)
	var hosts []string
	b.app = func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		_, _ = w.Write([]byte("done at " + r.Host))
	}
	uri := b.mint("/orders")
	if res := b.do("POST", "http://b.example"+uri, "apples"); res.StatusCode != 200 || text(t, res) != "done at b.example" {
		t.Errorf("at another host: %d", res.StatusCode)
	}
	wantProblem(t, b.do("POST", "http://a.example"+uri, "apples"), 405, "consumed")
	for _, host := range []string{"a.example", "b.example"} {
		if got := text(t, b.do("GET", "http://"+host+uri, "")); got != "done at b.example" {
			t.Errorf("%s shows %q", host, got)
		}
	}
	if len(hosts) != 1 {
		t.Errorf("executed at %v", hosts)
	}
	bound := b.mint("/orders", alice)
	wantProblem(t, b.do("POST", "http://b.example"+bound, "apples"), 403, "other-principal")
	if res := b.do("POST", "http://b.example"+bound, "apples", alice); res.StatusCode != 200 {
		t.Errorf("a principal's at another host: %d", res.StatusCode)
	}
}
