package core_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The checks answer in the order of section 4: each request here fails at several, and the first one speaks.
func TestOrderOfChecks(t *testing.T) {
	const (
		alice  = "Authorization: Basic YWxpY2U6MQ=="
		bob    = "Authorization: Basic Ym9iOjE="
		evil   = "Origin: https://evil.example"
		digest = "Content-Digest: sha-256=:AAAA:"
		match  = `If-Match: "x"`
		key    = "Idempotency-Key: ???"
	)
	big := strings.Repeat("a", 101)
	done := func(b *bench, uri string) { b.do("POST", uri, "apples", alice) }
	burned := func(b *bench, uri string) { b.do("DELETE", uri, "", alice) }
	nothing := func(*bench, string) {}
	for _, tc := range []struct {
		name    string
		arrange func(*bench, string)
		later   time.Duration
		change  func(string) string // of the URI
		method  string
		body    string
		fields  []string
		code    int
		kind    string
	}{
		{"forged before cross-origin", nothing, 0, func(s string) string { return s + "x" }, "POST", big, []string{evil, bob}, 404, "not-found"},
		{"forged before expiry", nothing, 40 * store.Day, func(s string) string { return s + "x" }, "POST", "", []string{alice}, 404, "not-found"},
		{"forged before burned, by DELETE", burned, 0, func(s string) string { return s + "x" }, "DELETE", "", []string{evil}, 404, "not-found"},
		{"cross-origin before principal", nothing, 0, nil, "POST", "", []string{evil, bob}, 403, "cross-origin"},
		{"cross-origin before done", done, 0, nil, "POST", "apples", []string{evil, alice}, 403, "cross-origin"},
		{"cross-origin before burned", burned, 0, nil, "DELETE", "", []string{evil, alice}, 403, "cross-origin"},
		{"cross-origin before expiry", nothing, 2 * time.Hour, nil, "DELETE", "", []string{evil, alice}, 403, "cross-origin"},
		{"cross-origin before size", nothing, 0, nil, "POST", big, []string{evil, alice}, 403, "cross-origin"},
		{"principal before done", done, 0, nil, "POST", "apples", []string{bob}, 403, "other-principal"},
		{"principal before done, on GET", done, 0, nil, "GET", "", []string{bob}, 403, "other-principal"},
		{"principal before burned", burned, 0, nil, "POST", "", []string{bob}, 403, "other-principal"},
		{"principal before retention", done, 40 * store.Day, nil, "GET", "", nil, 403, "other-principal"},
		{"principal before expiry", nothing, 2 * time.Hour, nil, "POST", "", []string{bob}, 403, "other-principal"},
		{"principal before size", nothing, 0, nil, "POST", big, []string{bob}, 403, "other-principal"},
		{"state before expiry", done, 2 * time.Hour, nil, "POST", "apples", []string{alice}, 405, "consumed"},
		{"state before expiry, burned", burned, 2 * time.Hour, nil, "POST", "", []string{alice}, 410, "burned"},
		{"state before size", done, 0, nil, "POST", big, []string{alice}, 405, "consumed"},
		{"state before digest", done, 0, nil, "POST", "apples", []string{alice, digest}, 405, "consumed"},
		{"state before preconditions", done, 0, nil, "POST", "apples", []string{alice, match, "If-None-Match: *"}, 405, "consumed"},
		{"state before a key", done, 0, nil, "POST", "apples", []string{alice, key}, 405, "consumed"},
		{"expiry before size", nothing, 2 * time.Hour, nil, "POST", big, []string{alice}, 410, "never-used"},
		{"expiry before digest", nothing, 2 * time.Hour, nil, "POST", "x", []string{alice, digest}, 410, "never-used"},
		{"size before digest", nothing, 0, nil, "POST", big, []string{alice, digest}, 413, "too-large"},
		{"digest last", nothing, 0, nil, "POST", "x", []string{alice, digest, match, key}, 400, "digest-mismatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.MaxBody = 100 })
			uri := b.issue("/orders", alice).URI
			tc.arrange(b, uri)
			b.advance(tc.later)
			before := b.executed.Load()
			if tc.change != nil {
				uri = tc.change(uri)
			}
			wantProblem(t, b.do(tc.method, uri, tc.body, tc.fields...), tc.code, tc.kind)
			if b.executed.Load() != before {
				t.Error("executed")
			}
		})
	}
}

// A page of another site can do nothing, unless the route lists it.
func TestCrossOrigin(t *testing.T) {
	const shop = "https://shop.example"
	for _, tc := range []struct {
		name    string
		fields  []string
		origins []string
		refused bool
	}{
		{"no browser", nil, nil, false},
		{"same origin", []string{"Sec-Fetch-Site: same-origin", "Origin: http://example.com"}, nil, false},
		{"typed in", []string{"Sec-Fetch-Site: none"}, nil, false},
		{"an older browser, same origin", []string{"Origin: http://example.com"}, nil, false},
		{"cross-site", []string{"Sec-Fetch-Site: cross-site", "Origin: " + shop}, nil, true},
		{"same-site is another origin", []string{"Sec-Fetch-Site: same-site", "Origin: http://www.example.com"}, nil, true},
		{"cross-site without an origin", []string{"Sec-Fetch-Site: cross-site"}, []string{shop}, true},
		{"an older browser, another origin", []string{"Origin: " + shop}, nil, true},
		{"an opaque origin", []string{"Origin: null"}, []string{shop}, true},
		{"an opaque origin elsewhere", []string{"Sec-Fetch-Site: cross-site", "Origin: null"}, nil, true},
		{"another port", []string{"Origin: http://example.com:8080"}, nil, true},
		{"listed", []string{"Sec-Fetch-Site: cross-site", "Origin: " + shop}, []string{"https://other.example", shop}, false},
		{"listed, an older browser", []string{"Origin: " + shop}, []string{shop}, false},
		{"another one is listed", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, []string{shop}, true},
	} {
		for _, method := range []string{"POST", "DELETE"} {
			t.Run(method+" "+tc.name, func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Origins: tc.origins}} })
				i := b.issue("/orders")
				res := b.do(method, i.URI, "apples", tc.fields...)
				if !tc.refused {
					if want := map[string]int{"POST": 201, "DELETE": 204}[method]; res.StatusCode != want {
						t.Errorf("%d", res.StatusCode)
					}
					return
				}
				var more members
				if tc.name == "an opaque origin" { // our own pages may have one
					more = members{"detail": "the request does not say whose page sent it (Origin: null), and pages of this site with the Referrer-Policy no-referrer do not over plain HTTP, or in older browsers: with same-origin they do"}
				}
				want := problemReply(403, "cross-origin", "never", more)
				if tc.origins != nil {
					want.Fields.Set("Vary", "Origin")
				}
				read(t, res).want(t, want)
				if got := read(t, b.do("GET", i.URI, "", tc.fields...)); got.State != "unused" || b.executed.Load() != 0 {
					t.Errorf("%s, executed %d times", got.State, b.executed.Load())
				}
			})
		}
	}
}

// Answers of ours and repeated ones can be read by the pages of a listed origin, and by no others.
func TestCORS(t *testing.T) {
	const shop = "https://shop.example"
	routes := []core.Route{{Match: "POST /orders", Origins: []string{shop}}}
	for _, origin := range []string{shop, "https://evil.example", ""} {
		t.Run(origin, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = routes })
			b.app = answering(201, "Access-Control-Allow-Origin: https://the-applications.example", "Vary: Accept")
			var fields []string
			if origin == shop {
				fields = []string{"Origin: " + shop}
			} else if origin != "" {
				fields = []string{"Origin: " + origin, "Sec-Fetch-Site: same-origin"} // which no browser says, to get past that check
			}
			check := func(what string, res *http.Response) {
				t.Helper()
				h := res.Header
				allowed, exposed := h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Expose-Headers")
				if !strings.Contains(strings.Join(h["Vary"], ","), "Origin") {
					t.Errorf("%s: Vary is %q", what, h["Vary"])
				}
				if origin != shop {
					if allowed == origin && origin != "" || exposed != "" || h.Get("Access-Control-Allow-Credentials") != "" {
						t.Errorf("%s: %v", what, h)
					}
					return
				}
				if allowed != shop || h.Get("Access-Control-Allow-Credentials") != "true" {
					t.Errorf("%s: %v", what, h)
				}
				for _, name := range []string{"POE-State", "POE-Links", "Link", "Location", "Retry-After", "Allow"} {
					if !strings.Contains(exposed, name) {
						t.Errorf("%s: %s is not exposed: %s", what, name, exposed)
					}
				}
			}
			i := b.issue("/orders")
			check("minting", b.do("GET", "/poe/new?for=/orders", "", fields...))
			check("unused", b.do("GET", i.URI, "", fields...))
			res := b.do("POST", i.URI, "apples", fields...)
			check("the first answer", res)
			i.findOutcome(t, res)
			check("405", b.do("POST", i.URI, "apples", fields...))
			check("the outcome at its own address", b.do("GET", i.outcome, "", fields...))
			check("the outcome at the URI", b.do("GET", i.URI, "", fields...))
			check("the receipt", b.do("GET", i.outcome+"/receipt", "", fields...))
		})
	}
}

// What the application, or who stands in front of the gate, lets a page of another origin read it can read still, beside what is ours.
func TestExposedByOthers(t *testing.T) {
	const shop = "https://shop.example"
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Origins: []string{shop}}} })
	b.app = answering(201, "Access-Control-Expose-Headers: X-Total", "X-Total: 5")
	inner, front := b.handler, ""
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if front != "" {
			w.Header().Set("Access-Control-Expose-Headers", front)
		}
		inner.ServeHTTP(w, r)
	})
	for _, front = range []string{"", "X-Request-Id"} {
		check := func(what string, res *http.Response, more ...string) {
			t.Helper()
			if front != "" {
				more = append(more, front)
			}
			got := strings.Split(strings.Join(res.Header["Access-Control-Expose-Headers"], ", "), ", ")
			for _, name := range append(more, "POE-State", "Link") {
				if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != name })); n != 1 {
					t.Errorf("%s: %s is exposed %d times: %q", what, name, n, got)
				}
			}
		}
		uri, key := b.mint("/orders"), "Idempotency-Key: k"+front
		check("unused", b.do("GET", uri, "", "Origin: "+shop))
		check("the first answer", b.do("POST", uri, "apples", "Origin: "+shop), "X-Total")
		check("405", b.do("POST", uri, "apples", "Origin: "+shop))
		check("the outcome", b.do("GET", uri, "", "Origin: "+shop))
		check("the first answer to a key", b.do("POST", "/orders", "apples", "Origin: "+shop, key), "X-Total")
		check("its repeat", b.do("POST", "/orders", "apples", "Origin: "+shop, key))
	}
}

// A page of a listed origin that may read a page of the application can read the URI that it has asked for along with it.
func TestExposedLinks(t *testing.T) {
	const shop = "https://shop.example"
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Origins: []string{shop}}} })
	b.app = answering(200, "Access-Control-Allow-Origin: "+shop, "Access-Control-Expose-Headers: X-Total")
	for origin, want := range map[string][]string{shop: {"X-Total", "POE-Links, Link"}, "https://evil.example": {"X-Total"}} {
		res := b.do("GET", "/orders", "", "POE: 1", "Origin: "+origin)
		if d := cmp.Diff(want, res.Header["Access-Control-Expose-Headers"]); d != "" || res.Header.Get("POE-Links") == "" || !slices.Contains(res.Header["Vary"], "Origin") {
			t.Errorf("%s: %v", origin, res.Header)
		}
	}
}

// A refusal that is about no route can be read by the pages of every origin that a route lists: they would see no difference between it and a server that is
// away. What another route's outcome is they cannot.
func TestCORSWithoutARoute(t *testing.T) {
	const shop, desk = "https://shop.example", "https://desk.example"
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST /orders", Origins: []string{shop}}, {Match: "POST /bills", Origins: []string{desk}}}
	})
	i := b.issue("/bills")
	i.findOutcome(t, b.do("POST", i.URI, "x"))
	for _, origin := range []string{shop, "https://evil.example"} {
		allowed := origin
		if origin != shop {
			allowed = ""
		}
		check := func(what string, res *http.Response, code int, allowed string) {
			t.Helper()
			h := res.Header
			if res.StatusCode != code || h.Get("Access-Control-Allow-Origin") != allowed || (h.Get("Access-Control-Expose-Headers") != "") != (allowed != "") || len(h["Vary"]) == 0 {
				t.Errorf("%s, to %s: %d %v", what, origin, res.StatusCode, h)
			}
		}
		get := func(path string) *http.Response {
			return b.do("GET", path, "", "Origin: "+origin, "Sec-Fetch-Site: cross-site")
		}
		check("no such outcome", get("/poe/outcomes/x"), 404, allowed)
		check("no such page", get("/poe/x"), 404, allowed)
		check("no such problem", get("/poe/problems/x"), 404, allowed)
		check("a problem", get("/poe/problems/running"), 200, allowed)
		check("the routes", get("/poe/routes"), 200, allowed)
		check("a target of no route", get("/poe/new?for=/x"), 404, allowed)
		check("a parameter of none", get("/poe/new?for=/orders&x=y"), 400, allowed)
		check("a forged URI", get("/orders?poe=x"), 404, allowed)
		check("another route's outcome", get(i.outcome), 200, "")
		check("another route's URI", get(i.URI), 200, "")
	}
	b.advance(400 * store.Day)
	if res := b.do("GET", i.outcome, "", "Origin: "+shop); res.StatusCode != 410 || res.Header.Get("Access-Control-Allow-Origin") != shop {
		t.Errorf("what is gone: %d %v", res.StatusCode, res.Header)
	}
}

// Whoever prefers to wait for a running action is answered when it has ended, or when the time is over.
func TestPreferWait(t *testing.T) {
	for _, tc := range []struct {
		name, prefer string
		runs         time.Duration
		waited       time.Duration
		code         int
	}{
		{"it ends in time", "wait=10", 3 * time.Second, 3 * time.Second, 405},
		{"it does not end in time", "wait=2", 3 * time.Second, 2 * time.Second, 409},
		{"the limit is the route's", "wait=100", 30 * time.Second, 20 * time.Second, 409},
		{"among others", "respond-async, wait=10;x=y", 3 * time.Second, 3 * time.Second, 405},
		{"not at all", "", 3 * time.Second, 0, 409},
		{"none", "wait=0", 3 * time.Second, 0, 409},
		{"negative", "wait=-5", 3 * time.Second, 0, 409},
		{"no number", "wait=long", 3 * time.Second, 0, 409},
		{"without a number", "wait", 3 * time.Second, 0, 409},
		{"something else", "return=minimal", 3 * time.Second, 0, 409},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.MaxWait = 20 * time.Second })
				uri := b.mint("/orders")
				b.app = func(w http.ResponseWriter, r *http.Request) {
					timer := time.NewTimer(tc.runs)
					defer timer.Stop()
					<-timer.C
					w.WriteHeader(201)
				}
				left := make(chan struct{})
				go func() { defer close(left); b.do("POST", uri, "apples") }()
				defer func() { <-left }()
				synctest.Wait()
				start := time.Now()
				var fields []string
				if tc.prefer != "" {
					fields = []string{"Prefer: " + tc.prefer}
				}
				res := b.do("POST", uri, "apples", fields...)
				if waited := time.Since(start); waited != tc.waited || res.StatusCode != tc.code {
					t.Errorf("%d after %s", res.StatusCode, waited)
				}
			})
		})
	}
}

// A client waits as long as it said, whatever the ledger's time does, which goes at half its pace while the wall clock is set back; and is answered as the action stands
// then, however often that was looked at meanwhile.
func TestPreferWaitOfTheAccepted(t *testing.T) {
	for name, tc := range map[string]struct {
		fields  []string
		code    int
		problem string
	}{
		"itself":                      {[]string{"Idempotency-Key: k", "Prefer: respond-async, wait=25"}, 202, ""},
		"by its key":                  {[]string{"Idempotency-Key: k", "Prefer: wait=25"}, 409, "running"},
		"one that has its tag":        {[]string{"Idempotency-Key: l", "Prefer: wait=25"}, 409, "running"},
		"somebody else":               {[]string{bob, "Prefer: wait=25"}, 409, "running"},
		"one that has it, and waited": {[]string{"Idempotency-Key: l", "Prefer: respond-async, wait=25"}, 409, "running"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := deferring(t, one(core.Route{Doors: []string{"key", "async", "if-match"}}))
				tag := `If-Match: "1"`
				monitor(t, b.do("PUT", "/orders", "apples", tag, "Idempotency-Key: k", later))
				r := httptest.NewRequest("PUT", "/orders", strings.NewReader("apples"))
				for _, f := range append(tc.fields, tag) {
					field, value, _ := strings.Cut(f, ": ")
					r.Header.Add(field, value)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				res := b.send(r.WithContext(ctx))
				if waited := time.Since(start); waited != 25*time.Second || res.StatusCode != tc.code {
					t.Fatalf("%d after %s: %s", res.StatusCode, waited, text(t, res))
				}
				if tc.problem == "" {
					return
				}
				if p := wantProblem(t, res, tc.code, tc.problem); (tc.fields[0] == bob) != (p["outcome"] == nil && res.Header.Get("POE-State") == "") {
					t.Errorf("of whose action? %v %v", p, res.Header)
				}
			})
		})
	}
}

// Who waits for an action that turns out not done does it.
func TestPreferWaitTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		uri := b.mint("/orders")
		first := true
		b.app = func(w http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				timer := time.NewTimer(time.Second)
				defer timer.Stop()
				<-timer.C
				w.WriteHeader(429)
				return
			}
			w.WriteHeader(201)
		}
		left := make(chan struct{})
		go func() { defer close(left); b.do("POST", uri, "apples") }()
		defer func() { <-left }()
		synctest.Wait()
		if res := b.do("POST", uri, "apples", "Prefer: wait=10"); res.StatusCode != 201 || b.executed.Load() != 2 {
			t.Errorf("%d, executed %d times", res.StatusCode, b.executed.Load())
		}
	})
}

// A request that is refused for want of room says nothing of an action that nobody has looked at.
func TestNoRoom(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.MaxRunning, c.Front = 1, 1 })
	done, i := b.doneIssue(), b.issue("/orders?x=1")
	busy := b.runningIssue()
	want := unusedProblem(i, 503, "not-executed", "same")
	want.Fields.Set("Retry-After", "1")
	read(t, b.do("POST", i.URI, "apples")).want(t, want)
	wantProblem(t, b.do("POST", done.URI, "apples"), 405, "consumed")
	wantProblem(t, b.do("POST", busy.URI, "apples"), 409, "running")
	b.gate.Drain()
	read(t, b.do("POST", i.URI, "apples")).want(t, want)
	wantProblem(t, b.do("POST", done.URI, "apples"), 405, "consumed")
}

// A ledger that takes no claim proves nothing: the action may have been done long ago.
func TestNoClaim(t *testing.T) {
	b, ledger := newTampered(t, func(c *core.Config) { c.Front = 1 })
	i := b.doneIssue()
	ledger.claim = func(store.Record) error { return store.ErrUnavailable }
	want := problemReply(503, "ledger-unavailable", "same", members{"state": "unknown"})
	want.ID, want.State = i.ID, "unknown"
	want.Fields.Set("Retry-After", "1")
	read(t, b.do("POST", i.URI, "apples")).want(t, want)
	wantProblem(t, b.send(httptest.NewRequest("POST", i.URI, chunked("apples"))), 405, "consumed")
	if n := b.executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// A full spool refuses before the claim.
func TestSpoolFull(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		spool, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Memory: -1, Disk: 10})
		if err != nil {
			t.Fatal(err)
		}
		c.Spool = spool
	})
	i := b.issue("/orders")
	want := unusedProblem(i, 503, "not-executed", "same")
	want.Fields.Set("Retry-After", "1")
	read(t, b.do("POST", i.URI, strings.Repeat("a", 11))).want(t, want)
	if b.executed.Load() != 0 {
		t.Error("executed")
	}
}

// While there is no room for its body nobody can tell whether a request is the one that was executed: it is not told that it was not.
func TestSpoolFullOfTheRepeat(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		spool, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Memory: -1, Disk: 500})
		if err != nil {
			t.Fatal(err)
		}
		c.Spool, c.Front = spool, 1
		c.Routes = []core.Route{
			{Name: "notes", Match: "POST /notes", Doors: []string{}, ClientID: "json:/id"},
			{Name: "users", Match: "POST /users", Unique: []string{"header:X-Email"}},
			{Name: "things", Match: "PUT /things/{id}", Doors: []string{"if-match"}},
			{Name: "default", Match: "POST *"},
		}
	})
	requests := map[string]func() *http.Response{
		"a key": func() *http.Response { return b.do("POST", "/orders", "apples", alice, "Idempotency-Key: one") },
		"a client id": func() *http.Response {
			return b.do("POST", "/notes", `{"id":7}`, alice, "Content-Type: application/json")
		},
		"a business key": func() *http.Response { return b.do("POST", "/users", "ann", alice, "X-Email: ann@example.com") },
		"a tag":          func() *http.Response { return b.do("PUT", "/things/7", "blue", alice, `If-Match: "v1"`) },
	}
	for name, send := range requests {
		if res := send(); res.StatusCode != 201 {
			t.Fatalf("%s: %d %s", name, res.StatusCode, text(t, res))
		}
	}
	uri, user := b.mint("/orders"), b.mint("/users")
	entered, leave := b.stopped()
	var all sync.WaitGroup
	all.Go(func() { b.do("POST", b.mint("/orders"), strings.Repeat("x", 498)) })
	<-entered
	for name, send := range requests {
		res := send()
		if p := read(t, res).Body.(members); p["type"] != "/poe/problems/ledger-unavailable" || res.StatusCode != 503 {
			t.Errorf("%s: %d %v", name, res.StatusCode, p)
		}
	}
	for name, res := range map[string]*http.Response{ // another name leads to another action, and what guards that may be the one that was executed
		"a key along with a POE URI":   b.do("POST", uri, "apples", alice, "Idempotency-Key: one"),
		"a business key under a key":   b.do("POST", "/users", "ann", alice, "X-Email: ann@example.com", "Idempotency-Key: two"),
		"a business key and a POE URI": b.do("POST", user, "ann", alice, "X-Email: ann@example.com"),
	} {
		if p := read(t, res).Body.(members); p["type"] != "/poe/problems/ledger-unavailable" || res.StatusCode != 503 {
			t.Errorf("%s: %d %v", name, res.StatusCode, p)
		}
	}
	close(leave)
	all.Wait()
	for name, send := range requests {
		if state := send().Header.Get("POE-State"); !strings.HasSuffix(state, ";replayed") {
			t.Errorf("%s: %q", name, state)
		}
	}
}
