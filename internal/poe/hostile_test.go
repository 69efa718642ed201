package core_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/postonce/poe/internal/bearer"
	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
	"github.com/postonce/poe/internal/webhook"
)

// What a hostile client can try, and an unlucky one run into.

// However many Authorization lines there are, they are not the principal of a verified token.
func TestForgedPrincipal(t *testing.T) {
	i := newIssuer(t)
	for _, principal := range []string{"authorization", "jwt:sub"} {
		b := newBench(t, func(c *core.Config) {
			v, err := bearer.Open(bearer.Config{File: i.file, Clock: c.Clock})
			if err != nil {
				t.Fatal(err)
			}
			c.Bearer = v
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Principal: principal}}
		})
		b.app = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, "ann's secret")
		}
		ann := i.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "iat": b.clock().Unix(), "exp": b.clock().Add(time.Hour).Unix()})
		res := b.do("POST", "/orders", "apples", ann, "Idempotency-Key: 1")
		if res.StatusCode != 201 {
			t.Fatal(res.StatusCode)
		}
		forged := []string{"Authorization: verified", "Authorization: i", "Authorization: ann"}
		res = b.do("POST", "/orders", "guess", append(forged, "Idempotency-Key: 1")...)
		if res.StatusCode != 201 || b.executed.Load() != 2 { // somebody else's first request under that key
			t.Errorf("%s: without any credentials: %d %q", principal, res.StatusCode, text(t, res))
		}
	}
}

// A key that was sent along with a URI and is free again does not take another request to that URI.
func TestKeyReleasedThenOtherTarget(t *testing.T) {
	b := newBench(t, nil)
	first := true
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "executed "+r.URL.Path)
	}
	uri := b.mint("/orders?x=1")
	if res := b.do("POST", uri, "order", "Idempotency-Key: k1"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode)
	}
	wantProblem(t, b.do("POST", "/refunds", "refund", "Idempotency-Key: k1"), http.StatusUnprocessableEntity, "key-reused")
	if res := b.do("POST", uri, "order"); res.StatusCode != 201 || text(t, res) != "executed /orders" {
		t.Errorf("the URI itself: %d", res.StatusCode)
	}
}

// A key that is free again takes another request, and that goes to its own target.
func TestAsyncSendsToOldTarget(t *testing.T) {
	b := deferring(t, nil)
	var seen []string
	b.app = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.URL.Path+" "+string(body))
		if len(seen) == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	b.do("POST", "/orders", "an order", "Idempotency-Key: k1")
	res := b.do("POST", "/refunds", "a refund", "Idempotency-Key: k1", later)
	if res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	if len(seen) != 2 || seen[1] != "POST /refunds a refund" {
		t.Errorf("executed %q; want POST /refunds a refund", seen[1:])
	}
}

// Nobody but whose it is continues an action with a POE URI under its key, however unlikely the key.
func TestSharedKeyLeak(t *testing.T) {
	b := newBench(t, nil)
	first := true
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "secret of "+r.Header.Get("Authorization"))
	}
	const key = "Idempotency-Key: 0b6b8f9c-6a0e-4b7e-9d57-2f8f6f3f2a11"
	a, bob := "Authorization: Bearer alice-token", "Authorization: Bearer bob-token"
	uri := b.mint("/orders", a)
	b.do("POST", uri, "x", a, key)
	wantProblem(t, b.do("POST", "/orders", "x", bob, key), http.StatusConflict, "principal-changed")
	wantProblem(t, b.do("POST", "/orders", "y", a, key), http.StatusUnprocessableEntity, "key-reused")
	if res := b.do("POST", "/orders", "x", a, key); res.StatusCode != 201 {
		t.Errorf("her own retry, under the key: %d", res.StatusCode)
	}
	res := b.do("GET", uri, "", a)
	body := text(t, res)
	if strings.Contains(body, "bob") {
		t.Errorf("alice is shown bob's answer: %q", body)
	}
}

// On a route without the door of callbacks a Callback-URL is nothing to us.
func TestCallbackWithoutDoor(t *testing.T) {
	b := deferring(t, nil) // default doors: poe, key, async; no callbacks configured
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", later, "Callback-URL: http://169.254.169.254/latest")
	if res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	b.work()
	entries, err := storetest.Agenda(t.Context(), b.store, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		r, _ := b.store.Lookup(t.Context(), store.ByID(e.ID))
		t.Errorf("on the agenda for ever: kind %d, state %s, target %s, due %s", r.Kind, r.State, r.Target, r.Due)
	}
}

// Where the gate calls others back, such a route's clients are not.
func TestCallbackWithoutDoorIsNotSent(t *testing.T) {
	h := newHook(t)
	b := deferring(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{
			Allow: []string{strings.TrimPrefix(h.URL, "http://")}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks = sender
		c.Routes = []core.Route{{Match: "POST /orders", Doors: []string{"key", "async"}}}
	})
	b.do("POST", "/orders", "x", "Idempotency-Key: k1", later, "Callback-URL: "+h.URL+"/any", "Remote-Callback: "+h.URL+"/kept")
	b.work()
	b.work()
	if h.got() != 0 {
		t.Errorf("called back on a route without the door")
	}
}

// Burning an unused URI deletes nothing.
func TestBurnFreesGuards(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "own", Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}},
			{Match: "POST *", Doors: []string{"poe"}},
		}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() *http.Response {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json")
	}
	if res := create(); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := create(); res.StatusCode != 409 {
		t.Fatal(res.StatusCode)
	}
	uri := b.mint("/users/1")
	if res := b.do("DELETE", uri, ""); res.StatusCode != 204 {
		t.Fatal(res.StatusCode)
	}
	if res := create(); res.StatusCode != 409 {
		t.Errorf("after burning an unrelated URI the same e-mail is created again: %d; executed %d times", res.StatusCode, b.executed.Load())
	}
}

// A DELETE whose handler panics has deleted nothing that we know of.
func TestPanickingDeleteFreesGuards(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "own", Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() *http.Response {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json")
	}
	if res := create(); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	func() {
		defer func() { _ = recover() }()
		b.do("DELETE", "/users/1", "")
	}()
	if res := create(); res.StatusCode != 409 {
		t.Errorf("after an aborted DELETE the same e-mail is created again: %d", res.StatusCode)
	}
}

// A DELETE whose handler writes nothing has been answered 200.
func TestSilentDeleteFreesGuards(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "own", Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "/users/1")
			w.WriteHeader(201)
		}
	}
	for range 2 {
		if res := b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json"); res.StatusCode != 201 {
			t.Errorf("creating it: %d", res.StatusCode)
		}
		b.do("DELETE", "/users/1", "")
	}
}

// Only what was accepted is answered 202.
func TestAsyncJoinsSyncAction(t *testing.T) {
	b := deferring(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		w.WriteHeader(422)
	}
	done := make(chan struct{})
	go func() { b.do("POST", "/orders", "x", "Idempotency-Key: k1"); close(done) }()
	<-entered
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", later)
	close(leave)
	<-done
	if res.StatusCode == 202 {
		got := b.do("GET", res.Header.Get("Location"), "")
		t.Errorf("202 Preference-Applied %q, and then the action is: %s", res.Header.Get("Preference-Applied"), got.Header.Get("POE-State"))
	}
}

// POE: 1 gets no links on a route without the door of POE URIs.
func TestLinksWithoutDoor(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Doors: []string{"key"}}} })
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k1", "POE: 1")
	links := res.Header.Get("POE-Links")
	if links == "" {
		return
	}
	uri := strings.Trim(links, `"`)
	got := b.do("POST", uri, "x")
	t.Errorf("POE-Links on a route without poe; POST to it: %d", got.StatusCode)
}

// A request that is executed later has all its fields.
func TestAsyncLosesDate(t *testing.T) {
	b := deferring(t, nil)
	var got http.Header
	b.app = func(w http.ResponseWriter, r *http.Request) { got = r.Header.Clone(); w.WriteHeader(201) }
	fields := []string{"Date: Sun, 01 Mar 2026 12:00:00 GMT", "RateLimit-Token: 1", "Age: 3", "X-Other: 1"}
	b.do("POST", "/orders", "x", append(fields, "Idempotency-Key: k0")...)
	sync := got
	got = nil
	b.do("POST", "/orders", "x", append(fields, "Idempotency-Key: k1", later)...)
	b.work()
	for name := range sync {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is lost", name)
		}
	}
}

// A 405 of the application is none to the client, as an event stream too.
func TestStreamed405(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(405)
	}
	res := b.do("POST", b.mint("/orders"), "x")
	if res.StatusCode == 405 {
		t.Errorf("405 %s %v", res.Header.Get("POE-State"), res.Header)
	}
}

// The repeat of an accepted DELETE deletes nothing while that is under way.
func TestRepeatedAsyncDeleteFrees(t *testing.T) {
	b := deferring(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "own", Match: "POST /users", Doors: []string{"key"}, Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}},
			{Match: "DELETE /users/{id}", Doors: []string{"key", "async"}},
		}
	})
	entered, leave := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			close(entered)
			<-leave
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(201)
	}
	create := func() *http.Response {
		return b.do("POST", "/users", `{"email":"a@example.com"}`, "Content-Type: application/json")
	}
	if res := create(); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("DELETE", "/users/1", "", "Idempotency-Key: d", later); res.StatusCode != 202 {
		t.Fatal(res.StatusCode)
	}
	if res := create(); res.StatusCode != 409 {
		t.Fatal(res.StatusCode)
	}
	var wg sync.WaitGroup
	wg.Go(b.work)
	<-entered
	if res := b.do("DELETE", "/users/1", "", "Idempotency-Key: d", later); res.StatusCode != 202 {
		t.Errorf("its repeat: %d", res.StatusCode)
	}
	close(leave)
	wg.Wait()
	if res := create(); res.StatusCode != 409 {
		t.Errorf("the DELETE ended in 500, and the same e-mail is created again: %d", res.StatusCode)
	}
}

// What is repeated is the request that was sent, with its method and target.
func TestRepeatOldTarget(t *testing.T) {
	b, u := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST,DELETE /orders/{id}", Doors: []string{"key"}, Recovery: core.RecoveryRepeat}}
	}), &upstream{}
	b.behind(u)
	u.says(answers(422, "no"))
	b.do("DELETE", "/orders/1", "", "Idempotency-Key: k")
	u.says(breaks)
	b.do("POST", "/orders/2", "pay", "Idempotency-Key: k")
	u.says(answers(200, "ok"))
	b.pass(3*time.Second, time.Second)
	if last := u.sent()[len(u.sent())-1]; last.method != "POST" || last.target != "/orders/2" {
		t.Errorf("repeated as %s %s", last.method, last.target)
	}
}

// A URI that is bound to a body is not used up by another one under its key.
func TestKeyBypassesDigest(t *testing.T) {
	b := newBench(t, nil)
	n := 0
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
	}
	res := b.do("GET", "/poe/new?for=/orders&digest="+strings.ReplaceAll(digest256("good"), " ", ""), "", "Accept: text/plain")
	uri := strings.TrimSpace(text(t, res))
	if res := b.do("POST", uri, "good", "Idempotency-Key: k"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode, text(t, res))
	}
	wantProblem(t, b.do("POST", "/orders", "bad", "Idempotency-Key: k"), http.StatusUnprocessableEntity, "key-reused")
	got := b.do("GET", uri, "")
	if strings.HasPrefix(got.Header.Get("POE-State"), "done") {
		t.Errorf("a URI bound to one body was used up by another body")
	}
}

// A body that was read in front of Once is refused, since it would be equal to every other.
func TestBodyReadBefore(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, r.FormValue("item"))
	}
	inner := b.handler
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // such as a CSRF middleware
		inner.ServeHTTP(w, r)
	})
	send := func(item string) *http.Response {
		return b.do("POST", "/orders", url.Values{"item": {item}}.Encode(), "Content-Type: application/x-www-form-urlencoded", "Idempotency-Key: k")
	}
	for _, item := range []string{"apple", "pear"} {
		wantProblem(t, send(item), http.StatusBadRequest, "incomplete-body")
	}
	if n := b.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
}

// Whoever guesses a key, and not the body, is not led to the answer.
func TestAnonymousKeyLeak(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = io.WriteString(w, "private: card 4242")
	}
	b.do("POST", "/orders", "card=4242", "Idempotency-Key: order-1")
	res := b.do("POST", "/orders", "guess", "Idempotency-Key: order-1")
	p := wantProblem(t, res, 422, "key-reused")
	at, _ := p["outcome"].(string)
	if at != "" || res.Header.Get("Link") != "" || res.Header.Get("POE-State") != "" {
		t.Errorf("422 leads to %q: %v", at, res.Header)
	}
}

// A cookie that RFC 6265 does not have, such as JSON, is not nobody's.
func TestCookieNobody(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Principal: "cookie:session"}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = w.Write([]byte("for " + r.Header.Get("Cookie")))
	}
	b.do("POST", "/orders", "apples", `Cookie: session={"u":"ann"}`, "Idempotency-Key: k1")
	res := b.do("POST", "/orders", "apples", `Cookie: session={"u":"bob"}`, "Idempotency-Key: k1")
	if got := text(t, res); res.Header.Get("Idempotent-Replayed") == "true" || strings.Contains(got, "ann") {
		t.Errorf("bob got %q; executed %d", got, b.executed.Load())
	}
}

// What is created at one host says nothing about another one.
func TestNoneMatchHosts(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "things", Match: "PUT /things/{id}", Doors: []string{"if-none-match"}}}
	})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(201)
		_, _ = w.Write([]byte("at " + r.Host))
	}
	put := func(host string) *http.Response {
		r := httptest.NewRequest("PUT", "/things/1", strings.NewReader("x"))
		r.Host = host
		r.Header.Set("If-None-Match", "*")
		return b.send(r)
	}
	put("a.example")
	res := put("b.example")
	if got := text(t, res); got != "at b.example" {
		t.Errorf("b.example: %d %q %v; executed %d", res.StatusCode, got, res.Header.Get("POE-State"), b.executed.Load())
	}
}
