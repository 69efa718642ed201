package core_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// sentNow is the time of the bench, as a repeatable request says it.
const sentNow = "Repeatability-First-Sent: Sun, 01 Mar 2026 12:00:00 GMT"

func TestDoorSituations(t *testing.T) {
	keyed := situation{
		running: refusedAs(409, "running"), done: replayed, unknown: refusedAs(409, "outcome-unknown"),
		otherBody: refusedAs(422, "key-reused"), otherBodyRunning: refusedAs(422, "key-reused"), otherPrincipal: anew, otherRoute: anew,
	}
	repeatable := keyed
	repeatable.door, repeatable.change = "repeatable", doors("repeatability")
	repeatable.fields = []string{"Repeatability-Request-ID: r1", sentNow}
	repeatable.otherBody, repeatable.otherBodyRunning = refusedAs(400, "key-invalid"), refusedAs(400, "key-invalid")

	inPath := keyed
	inPath.door, inPath.target = "client id in the path", "/orders/7"
	inPath.change = routed(func(r *core.Route) { r.ClientID, r.Doors = "path:id", []string{} })

	refusing := inPath
	refusing.door, refusing.done = "client id, refused", refusedAs(409, "duplicate")
	refusing.change = routed(func(r *core.Route) { r.ClientID, r.Repeats, r.Doors = "path:id", core.RepeatsRefused, []string{} })

	unique := keyed
	unique.door, unique.target = "unique", "/orders/7"
	unique.change = routed(func(r *core.Route) { r.Unique, r.Doors = []string{"path:id"}, []string{} })
	unique.otherBody, unique.otherBodyRunning = refusedAs(409, "duplicate"), refusedAs(409, "running")
	unique.otherPrincipal = refusedAs(409, "duplicate")

	uniqueByURI := unique
	uniqueByURI.door = "unique, by POE URIs"
	uniqueByURI.change = routed(func(r *core.Route) { r.Unique = []string{"path:id"} })
	uniqueByURI.fresh = true

	matching := keyed
	matching.door, matching.method, matching.target = "if-match", "PUT", "/orders/7"
	matching.change = doors("if-match")
	matching.fields = []string{`If-Match: "v1"`}
	matching.otherBody, matching.otherBodyRunning = refusedAs(412, "precondition-failed"), refusedAs(409, "running")
	matching.otherPrincipal = refusedAs(412, "precondition-failed")

	conditionalPost := matching
	conditionalPost.door, conditionalPost.method = "conditional POST", "POST"

	creating := matching
	creating.door, creating.fields = "if-none-match", []string{"If-None-Match: *"}
	creating.change = doors("if-none-match")

	postPut := keyed
	postPut.door, postPut.method, postPut.change, postPut.reserve = "POST-PUT", "PUT", doors("poe", "post-put"), true
	postPut.otherBody, postPut.otherBodyRunning = refusedAs(409, "body-differs"), refusedAs(409, "running")
	postPut.otherPrincipal, postPut.otherRoute = refusedAs(403, "other-principal"), refusedAs(404, "not-found")

	for _, x := range []situation{postPut, repeatable, inPath, refusing, unique, uniqueByURI, matching, conditionalPost, creating} {
		t.Run(x.door, x.run)
	}
}

// routed makes the routes /orders/{id} and /others/{id}.
func routed(change func(*core.Route)) func(*core.Config) {
	return func(c *core.Config) {
		for _, name := range []string{"orders", "others"} {
			r := core.Route{Name: name, Match: "POST,PUT,PATCH,DELETE /" + name + "/{id}"}
			change(&r)
			c.Routes = append(c.Routes, r)
		}
	}
}

func TestRepeatable(t *testing.T) {
	b, ledger := newTampered(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "orders", Match: "POST /orders", Doors: []string{"repeatability"}, Retention: 24 * time.Hour, Require: true},
			{Name: "plain", Match: "POST /plain"},
		}
	})
	at := func(d time.Duration) string {
		return "Repeatability-First-Sent: " + b.clock().Add(d).Format(http.TimeFormat)
	}
	const id = "Repeatability-Request-ID: 0f3b6e0e-7d1c-4a51-9d0b-6f6a3b1f7f11"
	for name, tc := range map[string]struct {
		target string
		fields []string
		want   wanted
	}{
		"no date":         {"/orders", []string{id}, refusedAs(400, "key-invalid")},
		"no id":           {"/orders", []string{at(0)}, refusedAs(400, "key-invalid")},
		"empty id":        {"/orders", []string{"Repeatability-Request-ID: ", at(0)}, refusedAs(400, "key-invalid")},
		"long id":         {"/orders", []string{"Repeatability-Request-ID: " + strings.Repeat("x", 256), at(0)}, refusedAs(400, "key-invalid")},
		"10 KB of id":     {"/orders", []string{"Repeatability-Request-ID: " + strings.Repeat("x", 10<<10), at(0)}, refusedAs(400, "key-invalid")},
		"non-ASCII id":    {"/orders", []string{"Repeatability-Request-ID: ü", at(0)}, refusedAs(400, "key-invalid")},
		"two ids":         {"/orders", []string{id, id, at(0)}, refusedAs(400, "key-invalid")},
		"two dates":       {"/orders", []string{id, at(0), at(0)}, refusedAs(400, "key-invalid")},
		"another format":  {"/orders", []string{id, "Repeatability-First-Sent: 2026-03-01T12:00:00Z"}, refusedAs(400, "key-invalid")},
		"another zone":    {"/orders", []string{id, "Repeatability-First-Sent: Sun, 01 Mar 2026 12:00:00 CET"}, refusedAs(400, "key-invalid")},
		"too long ago":    {"/orders", []string{id, at(-24*time.Hour - time.Second)}, refusedAs(412, "precondition-failed")},
		"from the future": {"/orders", []string{id, at(time.Minute + time.Second)}, refusedAs(412, "precondition-failed")},
		"without door":    {"/plain", []string{id, at(0)}, refusedAs(501, "not-repeatable")},
		"nothing":         {"/orders", nil, refusedAs(400, "key-required")},
	} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			res := b.do("POST", tc.target, "apples", tc.fields...)
			tc.want.check(t, b, res, 0)
			if got := res.Header.Get("Repeatability-Result"); tc.fields != nil && got != "rejected" {
				t.Errorf("Repeatability-Result: %q", got)
			}
		})
	}
	if n := ledger.calls.Load(); n != 1 { // about the one from too long ago
		t.Errorf("the ledger was asked %d times", n)
	}
	for range 2 {
		if res := b.do("POST", "/orders", "apples", id, at(0)); res.StatusCode != 201 || res.Header.Get("Repeatability-Result") != "accepted" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	}
	res := b.do("POST", "/orders", "apples", id, at(-time.Second))
	if wantProblem(t, res, 400, "key-invalid"); res.Header.Get("Repeatability-Result") != "rejected" {
		t.Errorf("another First-Sent: %v", res.Header)
	}
	if res := b.do("POST", "/elsewhere", "apples", id, at(0)); res.StatusCode != 201 || res.Header.Get("Repeatability-Result") != "" || b.executed.Load() != 2 {
		t.Errorf("what nobody protects: %d %v", res.StatusCode, res.Header)
	}
}

// What is not executed this time was not accepted, though an earlier try of it was.
func TestRepeatableThatIsNotExecutedAgain(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.MaxRunning = 1
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Doors: []string{"poe", "repeatability"}}}
	})
	post := func() *http.Response {
		return b.do("POST", "/orders", "apples", "Repeatability-Request-ID: r-1", sentNow)
	}
	b.app = answering(422)
	if res := post(); res.StatusCode != 422 || res.Header.Get("Repeatability-Result") != "accepted" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	b.runningIssue()
	res := post()
	if wantProblem(t, res, 503, "not-executed"); res.Header.Get("Repeatability-Result") != "rejected" {
		t.Errorf("%v", res.Header)
	}
}

func TestPostPut(t *testing.T) {
	b, ledger := newTampered(t, doors("poe", "post-put"))
	var seen []string
	b.app = func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.RequestURI)
		w.WriteHeader(http.StatusCreated)
	}
	reserve := func() string {
		res := b.do("POST", "/orders?x=1", "")
		at := res.Header.Get("Location")
		if res.StatusCode != 201 || !strings.HasPrefix(at, "/orders?x=1&poe=") || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("POE-Links") != `"`+at+`"` {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
		return at
	}
	at := reserve()
	if reserve() == at || ledger.calls.Load() != 0 || len(seen) != 0 {
		t.Fatalf("the ledger was asked %d times, executed: %v", ledger.calls.Load(), seen)
	}
	if allow := b.do("GET", at, "").Header.Get("Allow"); allow != "GET, HEAD, POST, PUT, DELETE" {
		t.Errorf("Allow: %s", allow)
	}
	for i := range 3 {
		res := b.do("PUT", at, "apples")
		if again := strings.HasSuffix(res.Header.Get("POE-State"), ";replayed"); res.StatusCode != 201 || again != (i > 0) {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	}
	if len(seen) != 1 || seen[0] != "POST /orders?x=1" {
		t.Errorf("executed: %v", seen)
	}
	wantProblem(t, b.do("PUT", at, "pears"), 409, "body-differs")
	wantProblem(t, b.do("POST", at, "apples"), 405, "consumed")
	at = reserve()
	b.do("POST", at, "apples") // the URI is good for POST as well
	if res := b.do("PUT", at, "apples"); res.StatusCode != 201 || !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("PUT after POST: %d %v", res.StatusCode, res.Header)
	}
	at = reserve()
	b.do("DELETE", at, "")
	wantProblem(t, b.do("PUT", at, "apples"), 410, "burned")
	if len(seen) != 2 {
		t.Errorf("executed: %v", seen)
	}
	b = newBench(t, nil)
	if res := b.do("POST", "/orders", ""); res.Header.Get("Location") != "/orders/1" {
		t.Errorf("without the door: %v", res.Header)
	}
	wantProblem(t, b.do("PUT", b.mint("/orders"), "apples"), 404, "not-found")
}

// What a client may rely on is published.
func TestRoutesAreDescribed(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "orders", Match: "POST /orders", Require: true, Retention: time.Hour},
			{Name: "users", Match: "PUT /users/{id}", Doors: []string{"poe"}, Unique: []string{"path:id"}, TTL: time.Minute, Retention: time.Hour},
		}
	})
	read(t, b.do("GET", "/poe/routes", "")).want(t, reply{Code: 200, Fields: own("application/json"), Body: members{"routes": []any{
		members{"name": "orders", "match": "POST /orders", "doors": []any{"poe", "key", "async"}, "require": true, "key_headers": []any{"Idempotency-Key"},
			"ttl": 3600.0, "repeats": 3600.0, "refused": 3600.0},
		members{"name": "users", "match": "PUT /users/{id}", "doors": []any{"poe"}, "require": false, "unique": []any{"path:id"},
			"ttl": 60.0, "repeats": 3600.0, "refused": 3600.0},
	}}})
	if res := b.do("POST", "/poe/routes", ""); res.StatusCode != 405 {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

func TestClientID(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", ClientID: "json:/order/id", Doors: []string{}}}
	})
	send := func(body string) *http.Response {
		return b.do("POST", "/orders", body, "Content-Type: application/json", alice)
	}
	for name, body := range map[string]string{
		"absent": `{"order":{}}`, "null": `{"order":{"id":null}}`, "empty": `{"order":{"id":""}}`, "object": `{"order":{"id":{}}}`,
	} {
		p := wantProblem(t, send(body), 400, "key-required")
		if p["parameter"] != "json:/order/id" {
			t.Errorf("%s: %v", name, p)
		}
	}
	for name, body := range map[string]string{
		"not JSON": `id=1`, "twice": `{"order":{"id":"a","id":"b"}}`, "long": `{"order":{"id":"` + strings.Repeat("x", 300) + `"}}`, "empty": "",
	} {
		if p := wantProblem(t, send(body), 400, "key-invalid"); p["detail"] == "" {
			t.Errorf("%s: %v", name, p)
		}
	}
	wantProblem(t, b.do("POST", "/orders", "id=1", "Content-Type: application/x-www-form-urlencoded"), 400, "key-invalid")
	wantProblem(t, b.do("POST", "/orders", strings.Repeat(" ", 11<<20), "Content-Type: application/json"), 413, "too-large")
	if b.executed.Load() != 0 {
		t.Fatalf("executed %d times", b.executed.Load())
	}
	send(`{"order":{"id":"a"},"n":1}`)
	if res := send(`{"order":{"id":"a"},"n":1}`); res.StatusCode != 201 || !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("again: %d %v", res.StatusCode, res.Header)
	}
	wantProblem(t, send(`{"order":{"id":"a"},"n":2}`), 422, "key-reused")
	if res := send(`{"order":{"id":"b"},"n":1}`); res.StatusCode != 201 || b.executed.Load() != 2 {
		t.Errorf("another id: %d, executed %d times", res.StatusCode, b.executed.Load())
	}
}

// Requests are the same by the members that the route chooses.
func TestCompare(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "pay", Match: "POST /pay", Compare: []string{"json:/amount", "json:/to"}}}
	})
	send := func(body string) *http.Response {
		return b.do("POST", "/pay", body, "Content-Type: application/json", "Idempotency-Key: k")
	}
	wantProblem(t, send(`{"amount":5}`), 400, "key-required")
	send(`{"amount":5,"to":"bob","at":"12:00"}`)
	if res := send(`{"to":"bob","amount":5.0,"at":"12:01"}`); res.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	wantProblem(t, send(`{"amount":6,"to":"bob","at":"12:00"}`), 422, "key-reused")
	wantProblem(t, send(`{"amount":5}`), 422, "key-reused")
	if b.executed.Load() != 1 {
		t.Errorf("executed %d times", b.executed.Load())
	}
}

func users(b *bench, email string, fields ...string) *http.Response {
	return b.do("POST", "/users", `{"email":"`+email+`"}`, append(fields, "Content-Type: application/json")...)
}

func uniqueBench(t *testing.T, change func(*core.Route)) *bench {
	t.Helper()
	return newBench(t, func(c *core.Config) {
		r := core.Route{Name: "users", Match: "POST /users", Unique: []string{"json:/email|lower|trim"}, FreeOn: []string{"DELETE"}}
		if change != nil {
			change(&r)
		}
		c.Routes = []core.Route{r}
	})
}

// A business key is one action's, whatever names the request, until it is given back.
func TestUnique(t *testing.T) {
	b := uniqueBench(t, nil)
	if res := users(b, "ann@example.com", alice); res.StatusCode != 201 || res.Header.Get("POE-State") == "" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	if res := users(b, "ann@example.com", alice); res.StatusCode != 201 || !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("the same: %d %v", res.StatusCode, res.Header)
	}
	i := b.issue("/users")
	uri := i.URI
	for name, send := range map[string]func() *http.Response{
		"plain":  func() *http.Response { return users(b, " ANN@example.com") },
		"by key": func() *http.Response { return users(b, "ann@EXAMPLE.com", "Idempotency-Key: k", bob) },
		"by URI": func() *http.Response {
			return b.do("POST", uri, `{"email":"ann@example.com"}`, "Content-Type: application/json", bob)
		},
	} {
		res := send()
		p := wantProblem(t, res, 409, "duplicate")
		told := res.Header.Get("POE-State")
		if name == "by URI" { // of its own
			if id, state := readState(t, res.Header); id == i.ID && state == "unused" {
				told = ""
			}
		}
		if p["outcome"] != nil || res.Header.Get("Link") != "" || told != "" {
			t.Errorf("%s: another is told of it: %v %v", name, p, res.Header)
		}
	}
	if p := wantProblem(t, users(b, "Ann@example.com", alice), 409, "duplicate"); p["outcome"] == nil {
		t.Errorf("its own principal is told nothing: %v", p)
	}
	if res := b.do("GET", uri, ""); !strings.HasPrefix(res.Header.Get("POE-State"), "unused") {
		t.Errorf("the URI is used up: %v", res.Header)
	}
	wantProblem(t, users(b, ""), 400, "key-required")
	wantProblem(t, b.do("POST", "/users", "email=x", "Content-Type: application/json"), 400, "key-invalid")
	if b.executed.Load() != 1 {
		t.Errorf("executed %d times", b.executed.Load())
	}
	b.advance(3 * 365 * store.Day)
	core.Sweeping(t.Context(), b.gate)
	wantProblem(t, users(b, "ann@example.com"), 409, "duplicate")
}

// Anonymous clients are nobody's principal: what one did is not shown to another.
func TestUniqueAnonymous(t *testing.T) {
	b := uniqueBench(t, nil)
	users(b, "ann@example.com")
	if p := wantProblem(t, users(b, "ann@example.com"), 409, "duplicate"); p["outcome"] != nil {
		t.Errorf("%v", p)
	}
}

// A create that failed gives the key back; one of which nobody knows what it left behind does not.
func TestUniqueAfterFailure(t *testing.T) {
	for status, free := range map[int]bool{400: true, 422: true, 429: true, 500: false, 502: false, 201: false} {
		for _, consume := range []core.Consume{core.ConsumeSuccess, core.ConsumeAny} {
			b := uniqueBench(t, func(r *core.Route) { r.Consume = consume })
			b.app = answering(status)
			users(b, "ann@example.com", alice)
			b.app = answering(201)
			res := users(b, "ann@example.com", bob)
			if got := res.StatusCode == 201; got != free {
				t.Errorf("after %d, consume %d: %d", status, consume, res.StatusCode)
			}
		}
	}
}

// DELETE of the resource that was created gives the key back, before it is answered.
func TestUniqueFreedByDelete(t *testing.T) {
	for name, location := range map[string]string{"path": "/users/7", "relative": "users/7", "absolute": "http://example.com/users/7"} {
		t.Run(name, func(t *testing.T) {
			b := uniqueBench(t, nil)
			b.app = answering(201, "Location: "+location)
			users(b, "ann@example.com", alice)
			b.app = answering(404)
			b.do("DELETE", "/users/7", "")
			b.app = answering(204)
			b.do("DELETE", "/users/8", "")
			b.app = answering(201)
			wantProblem(t, users(b, "ann@example.com", bob), 409, "duplicate")
			b.app = answering(204)
			if res := b.do("DELETE", "/users/7", ""); res.StatusCode != 204 {
				t.Fatalf("%d", res.StatusCode)
			}
			b.app = answering(201)
			if res := users(b, "ann@example.com", bob); res.StatusCode != 201 {
				t.Errorf("after DELETE: %d", res.StatusCode)
			}
		})
	}
	b := uniqueBench(t, nil)
	b.app = answering(201, "Location: http://other.example/users/7")
	users(b, "ann@example.com", alice)
	b.app = answering(204)
	b.do("DELETE", "/users/7", "")
	wantProblem(t, users(b, "ann@example.com", bob), 409, "duplicate")
}

// A version tag is good for one write. Its retry is repeated while nobody has written after it.
func TestIfMatch(t *testing.T) {
	b := newBench(t, doors("poe", "key", "if-match"))
	put := func(tag, body string, fields ...string) *http.Response {
		return b.do("PUT", "/orders/7", body, append(fields, "If-Match: "+tag)...)
	}
	again := func(res *http.Response) bool { return strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") }
	put(`"v1"`, "apples", alice)
	if res := put(`"v1"`, "apples", alice); !again(res) {
		t.Errorf("the same: %d %v", res.StatusCode, res.Header)
	}
	p := wantProblem(t, put(`"v1"`, "pears", alice), 412, "precondition-failed")
	if p["outcome"] == nil || p["retry"] != "never" {
		t.Errorf("%v", p)
	}
	wantProblem(t, put(`"v1"`, "apples", bob), 412, "precondition-failed")
	for name, write := range map[string]func() *http.Response{
		"with the next tag":   func() *http.Response { return put(`"v2"`, "pears", bob) },
		"without a condition": func() *http.Response { return b.do("PATCH", "/orders/7?x", "pears", bob) },
		"through a URI":       func() *http.Response { return b.do("DELETE", b.issueOf("DELETE", "/orders/7").URI, "") },
		"under a key":         func() *http.Response { return b.do("PUT", "/orders/7", "plums", "Idempotency-Key: k") },
		"nobody knows how": func() *http.Response {
			b.app = answering(502)
			defer func() { b.app = nil }()
			return put(`"v9"`, "plums", bob)
		},
	} {
		tag := fmt.Sprintf("%q", "before "+name)
		tag = strings.ReplaceAll(tag, " ", "-")
		put(tag, "apples", alice)
		if res := put(tag, "apples", alice); !again(res) {
			t.Errorf("%s: before: %d %v", name, res.StatusCode, res.Header)
		}
		if res := write(); res.StatusCode >= 400 && res.StatusCode != 502 {
			t.Fatalf("%s: %d", name, res.StatusCode)
		}
		wantProblem(t, put(tag, "apples", alice), 412, "precondition-failed")
	}
	before := b.executed.Load()
	for _, tag := range []string{`W/"v1"`, "*", `"v1", "v2"`, "v1"} { // between client and application
		if res := put(tag, "apples", alice); again(res) || res.StatusCode != 201 {
			t.Errorf("%s: %d %v", tag, res.StatusCode, res.Header)
		}
	}
	if n := b.executed.Load() - before; n != 4 {
		t.Errorf("executed %d times", n)
	}
}

// What the application refuses, or fails to do, leaves the tag to the next try. A POST's tag stays used up by what failed in the
// application, where nobody but us counts.
func TestIfMatchAfterFailure(t *testing.T) {
	for _, tc := range []struct {
		method string
		status int
		free   bool
	}{{"PUT", 412, true}, {"PUT", 429, true}, {"PUT", 500, true}, {"PUT", 502, false}, {"POST", 412, true}, {"POST", 500, false}} {
		b := newBench(t, doors("if-match"))
		b.app = answering(tc.status)
		b.do(tc.method, "/orders/7", "apples", `If-Match: "v1"`)
		b.app = answering(201)
		if res := b.do(tc.method, "/orders/7", "pears", `If-Match: "v1"`); (res.StatusCode == 201) != tc.free {
			t.Errorf("%s after %d: %d", tc.method, tc.status, res.StatusCode)
		}
	}
}

func TestIfMatchRequired(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "PUT /orders", Doors: []string{"if-match"}, Require: true}}
	})
	if p := wantProblem(t, b.do("PUT", "/orders", "apples"), 428, "precondition-required"); p["retry"] != "new" {
		t.Errorf("%v", p)
	}
	for _, tag := range []string{`W/"v1"`, "*", `"v1", "v2"`, "v1", `"`, `"v 1"`, "\"v\x7f\""} { // they would allow any number of writes
		wantProblem(t, b.do("PUT", "/orders", "apples", "If-Match: "+tag), 428, "precondition-required")
	}
	for _, tag := range []string{`"v1"`, `""`} {
		if res := b.do("PUT", "/orders", "apples", "If-Match: "+tag); res.StatusCode != 201 {
			t.Errorf("%s: %d", tag, res.StatusCode)
		}
	}
}

// A tag is bytes: those from 80 to FF are good for one write as well, whether they are UTF-8 or not.
func TestIfMatchOfAnyBytes(t *testing.T) {
	for name, tag := range map[string]string{"Latin-1": "\"\xe9\"", "accent": `"é"`, "kanji": `"日"`} {
		b := newBench(t, doors("if-match"))
		for range 2 {
			if res := b.do("POST", "/orders", "apples", "If-Match: "+tag, alice); res.StatusCode != 201 {
				t.Errorf("%s: %d", name, res.StatusCode)
			}
		}
		if n := b.executed.Load(); n != 1 {
			t.Errorf("%s: one tag allowed %d POSTs", name, n)
		}
	}
}

// One creation; a retry is repeated, and after DELETE there may be another.
func TestIfNoneMatch(t *testing.T) {
	b := newBench(t, doors("key", "if-none-match"))
	create := func(body string) *http.Response { return b.do("PUT", "/orders/7", body, "If-None-Match: *") }
	create("apples")
	if res := create("apples"); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	wantProblem(t, create("pears"), 412, "precondition-failed")
	b.app = answering(404)
	b.do("DELETE", "/orders/7", "")
	wantProblem(t, create("pears"), 412, "precondition-failed")
	b.app = answering(204)
	b.do("DELETE", "/orders/7", "", "Idempotency-Key: k")
	b.app = nil
	if res := create("pears"); res.StatusCode != 201 || strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("after DELETE: %d %v", res.StatusCode, res.Header)
	}
	b.do("DELETE", "/orders/7", "", "Idempotency-Key: k") // repeated: it deletes nothing now
	wantProblem(t, create("plums"), 412, "precondition-failed")
	if res := b.do("PUT", "/orders/8", "x", `If-None-Match: "v1"`); res.Header.Get("POE-State") != "" {
		t.Errorf("a tag is not for us: %v", res.Header)
	}
}

// Many at one time with one business key: one is executed.
func TestUniqueAtOneTime(t *testing.T) {
	b := uniqueBench(t, nil)
	for round := range 20 {
		before := b.executed.Load()
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				var fields []string
				if i%2 == 0 {
					fields = append(fields, fmt.Sprintf("Idempotency-Key: %d-%d", round, i))
				}
				users(b, fmt.Sprintf("%d@example.com", round), fields...)
			})
		}
		all.Wait()
		if n := b.executed.Load() - before; n != 1 {
			t.Fatalf("executed %d times", n)
		}
	}
}

// An answer that comes late, for a write of which nobody knew, does not make it the last one.
func TestLateWriteIsNotTheLast(t *testing.T) {
	b := newBench(t, doors("if-match"))
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(func() { b.do("PUT", "/orders/7", "apples", `If-Match: "v1"`) })
	<-entered
	b2 := newBench(t, func(c *core.Config) {
		doors("if-match")(c)
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
	})
	put := func() *http.Response { return b2.do("PUT", "/orders/7", "pears", `If-Match: "v2"`) }
	put()
	close(leave)
	all.Wait()
	if res := put(); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("after the late answer: %d %v", res.StatusCode, res.Header)
	}
}

// A DELETE that is executed later gives back what the creation guarded, too, once it has succeeded.
func TestDeletedLater(t *testing.T) {
	b := deferring(t, doors("async", "if-none-match"))
	create := func() *http.Response { return b.do("PUT", "/orders/7", "apples", "If-None-Match: *", alice) }
	create()
	monitor(t, b.do("DELETE", "/orders/7", "", later))
	if res := create(); !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("before: %d %v", res.StatusCode, res.Header)
	}
	b.app = answering(204)
	b.work()
	b.app = nil
	if res := create(); res.StatusCode != 201 || strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
		t.Errorf("after: %d %v", res.StatusCode, res.Header)
	}
}

// A key that is known answers before any guard, whether the front still has the action or not.
func TestKeyBeforeGuards(t *testing.T) {
	for _, front := range []int64{1, 1 << 20} {
		b := newBench(t, func(c *core.Config) {
			c.Front = front
			c.Routes = []core.Route{{Name: "orders", Match: "POST,PUT /orders/{id}", Unique: []string{"path:id"}, Doors: []string{"key", "if-match"}}}
		})
		send := func(body string) *http.Response {
			return b.do("PUT", "/orders/7", body, "Idempotency-Key: k", `If-Match: "v1"`)
		}
		send("apples")
		if res := send("apples"); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("front %d: %d %v", front, res.StatusCode, res.Header)
		}
		wantProblem(t, send("pears"), 422, "key-reused")
		b.app = answering(502)
		b.do("PUT", "/orders/8", "apples", "Idempotency-Key: k8")
		wantProblem(t, b.do("PUT", "/orders/8", "apples", "Idempotency-Key: k8"), 409, "outcome-unknown")
		wantProblem(t, b.do("PUT", "/orders/8", "pears", "Idempotency-Key: k8"), 422, "key-reused")
		if n := b.executed.Load(); n != 2 {
			t.Errorf("executed %d times", n)
		}
	}
}

// A guard's name is free when the retention of its action is over, whether the sweep has been there or not.
func TestGuardsAfterRetention(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Retention = 24 * time.Hour
		doors("if-match", "if-none-match")(c)
	})
	put := func(field string) *http.Response { return b.do("PUT", "/orders/7", "apples", field) }
	put(`If-Match: "v1"`)
	put("If-None-Match: *")
	b.advance(5 * store.Day)
	for _, field := range []string{`If-Match: "v1"`, "If-None-Match: *"} {
		if res := put(field); res.StatusCode != 201 || strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
			t.Errorf("%s: %d %v", field, res.StatusCode, res.Header)
		}
	}
	if n := b.executed.Load(); n != 4 {
		t.Errorf("executed %d times", n)
	}
}

// An action that was named before its route had business keys is forgotten some day, and its business key with it. So it is not executed any more.
func TestNamedBeforeTheRouteHadBusinessKeys(t *testing.T) {
	plain := core.Route{Name: "orders", Doors: []string{"poe", "key"}}
	b, u := recovering(t, plain)
	used, unused := b.issue("/orders"), b.issue("/orders")
	u.says(answers(429, ""))
	b.do("POST", used.URI, "apples", "X-Order: 7")
	b.do("POST", "/orders", "apples", "X-Order: 7", "Idempotency-Key: k")
	route := plain
	route.Unique = []string{"header:X-Order"}
	u.says(nil)
	next := b.again(route, u)
	n := len(u.sent())
	wantProblem(t, next.do("POST", unused.URI, "apples", "X-Order: 7"), 410, "never-used")
	wantProblem(t, next.do("POST", used.URI, "apples", "X-Order: 7"), 410, "expired")
	wantProblem(t, next.do("POST", "/orders", "apples", "X-Order: 7", "Idempotency-Key: k"), 409, "key-expired")
	if len(u.sent()) != n {
		t.Errorf("sent: %v", u.sent()[n:])
	}
	if res := next.do("POST", next.mint("/orders"), "apples", "X-Order: 7"); res.StatusCode != 201 {
		t.Errorf("a new one: %d", res.StatusCode)
	}
	next.advance(100 * 24 * time.Hour)
	core.Housekeeping(t.Context(), next.gate)
	wantProblem(t, next.do("POST", next.mint("/orders"), "apples", "X-Order: 7"), 409, "duplicate")
}
