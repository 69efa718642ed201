package core_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
)

// tokenOf cuts the token off a POE URI.
func tokenOf(uri string) string { return uri[strings.LastIndex(uri, "poe=")+len("poe="):] }

// raw sends a request whose target stays as it is, octet for octet.
func (b *bench) raw(method, target string) *http.Response {
	b.t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		b.t.Fatalf("%s: %v", target, err)
	}
	r := httptest.NewRequest(method, "/", strings.NewReader("apples"))
	r.URL, r.RequestURI = u, target
	return b.send(r)
}

// A token is good for its target octet for octet. Everywhere else, and whatever else is wrong with it, there is one same answer,
// with nothing executed and nothing forwarded.
func TestOneSameNotFound(t *testing.T) {
	other := newBench(t, nil)
	for _, tc := range []struct{ name, minted, sent string }{ // TOKEN is the token, in either
		{"another path", "/orders", "/order?poe=TOKEN"},
		{"another path below", "/orders", "/orders/?poe=TOKEN"},
		{"a doubled slash", "/orders", "//orders?poe=TOKEN"},
		{"a dot segment", "/orders", "/x/../orders?poe=TOKEN"},
		{"an encoded letter", "/orders", "/%6frders?poe=TOKEN"},
		{"another case", "/orders", "/Orders?poe=TOKEN"},
		{"%2f for %2F", "/orders/a%2Fb", "/orders/a%2fb?poe=TOKEN"},
		{"%2F for a slash", "/orders/a/b", "/orders/a%2Fb?poe=TOKEN"},
		{"%20 for +", "/orders?q=a+b", "/orders?q=a%20b&poe=TOKEN"},
		{"+ for %20", "/orders?q=a%20b", "/orders?q=a+b&poe=TOKEN"},
		{"a query where there was none", "/orders", "/orders?x=1&poe=TOKEN"},
		{"no query where there was one", "/orders?x=1", "/orders?poe=TOKEN"},
		{"another order", "/orders?x=1&y=2", "/orders?y=2&x=1&poe=TOKEN"},
		{"a question mark at the end", "/orders", "/orders?&poe=TOKEN"},
		{"an ampersand at the end", "/orders?x=1", "/orders?x=1&&poe=TOKEN"},
		{"not the last parameter", "/orders?x=1", "/orders?poe=TOKEN&x=1"},
		{"an empty parameter behind it", "/orders", "/orders?poe=TOKEN&"},
		{"twice", "/orders", "/orders?poe=TOKEN&poe=TOKEN"},
		{"another one before it", "/orders", "/orders?poe=x&poe=TOKEN"},
		{"a second one, encoded", "/orders", "/orders?p%6Fe=x&poe=TOKEN"},
		{"a second one behind a semicolon", "/orders", "/orders?x=1;poe=2&poe=TOKEN"},
		{"an encoded name", "/orders", "/orders?p%6fe=TOKEN"},
		{"a name without a value", "/orders", "/orders?poe"},
		{"an empty value", "/orders", "/orders?poe="},
		{"behind a semicolon", "/orders?x=1", "/orders?x=1;poe=TOKEN"},
		{"an encoded token", "/orders", "/orders?poe=%65TOKEN"},
		{"garbled", "/orders", "/orders?poe=aTOKEN"},
		{"cut off", "/orders", "/orders?poe=TOKE"},
		{"forged", "/orders", "/orders?poe=eyJhbGciOiJub25lIn0.eyJodG0iOiJQT1NUIn0."},
		{"over the size", "/orders", "/orders?poe=TOKEN" + strings.Repeat("a", 4096)},
		{"forged, on a path that is not protected", "/orders", "/elsewhere?poe=forged"},
		{"ours, on a path that is not protected", "/orders", "/elsewhere?poe=TOKEN"},
		{"a parameter of the application's that is called like ours", "/orders", "/elsewhere?poe=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) {
				c.Routes = []core.Route{{Match: "POST /orders"}, {Match: "POST /orders/{rest:.*}"}}
			})
			b.app = func(http.ResponseWriter, *http.Request) { t.Error("the application is asked") }
			i := b.issue(tc.minted)
			token := tokenOf(i.URI)
			sent := strings.ReplaceAll(tc.sent, "TOKEN", token)
			if tc.name == "cut off" {
				sent = "/orders?poe=" + token[:len(token)-1]
			}
			for _, method := range []string{"POST", "GET", "DELETE", "OPTIONS", "HEAD", "PUT"} {
				got := read(t, b.raw(method, sent))
				got.want(t, problemReply(404, "not-found", "never", nil))
			}
			if res := b.do("GET", i.URI, ""); res.StatusCode != 200 {
				t.Errorf("the URI itself is %d afterwards", res.StatusCode)
			}
		})
	}
	t.Run("of another ledger", func(t *testing.T) {
		b := newBench(t, nil)
		read(t, b.do("POST", other.issue("/orders").URI, "")).want(t, problemReply(404, "not-found", "never", nil))
	})
	t.Run("as a page", func(t *testing.T) {
		b := newBench(t, nil)
		got := read(t, b.do("GET", "/orders?poe=eyJforged", "", "Accept: text/html"))
		got.want(t, reply{Code: 404, Fields: own("text/html; charset=utf-8"), Body: page})
	})
}

// What was signed is what the application gets, octet for octet.
func TestTargetsReachTheApplication(t *testing.T) {
	for _, target := range []string{
		"/", "/orders", "/orders/", "/orders/a%2Fb", "/orders/a%2fb", "/orders?q=a+b", "/orders?q=a%20b", "/orders?x=1&&y=2", "/orders?=",
		"/orders;v=1?a=b=c", "/orders?x=1&", "/orders?epo=1&poem=2", "/a//b", "/%E2%82%AC?%E2%82%AC", "/o'(x)!*,$@:",
		"/x/../orders", "/orders?" + strings.Repeat("x", 2000), "/orders?q=really?", "/orders??",
	} {
		t.Run(target[:min(len(target), 40)], func(t *testing.T) {
			b := newBench(t, nil)
			var seen []string
			b.app = func(_ http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.RequestURI, r.URL.RequestURI())
			}
			i := b.issue(target)
			if res := b.raw("POST", i.URI); res.StatusCode != 200 {
				t.Fatalf("POST %s: %d", i.URI, res.StatusCode)
			}
			if len(seen) != 2 || seen[0] != target || seen[1] != target {
				t.Errorf("the application sees %q", seen)
			}
			if r := b.lookup(i.ID); r.Target != target {
				t.Errorf("recorded as %q", r.Target)
			}
		})
	}
}

// A request in absolute form (RFC 9112, section 3.2.2) is for the same target.
func TestAbsoluteForm(t *testing.T) {
	b := newBench(t, nil)
	i := b.issue("/orders?x=1")
	r := httptest.NewRequest("POST", "http://example.com"+i.URI, strings.NewReader("apples"))
	if r.RequestURI == i.URI {
		t.Fatal("not in absolute form")
	}
	if res := b.send(r); res.StatusCode != 201 {
		t.Errorf("POST: %d", res.StatusCode)
	}
	if res := b.do("POST", i.URI, "apples"); res.StatusCode != 405 {
		t.Errorf("POST in origin form: %d", res.StatusCode)
	}
}

// One that names no authority is for its path, whatever its query has in it: a handler in the same process goes by that path.
func TestAbsoluteFormWithoutAuthority(t *testing.T) {
	for sent, status := range map[string]int{
		"http:/orders?x=a://b/free":       428,
		"http:///orders?x=a://b/free":     428,
		"http:/orders?poe=e30&x=a://b/":   404,
		"http://a/free?x=a://b/orders":    201,
		"http://a?x=a://b/orders":         201,
		"http:/business?x=a://b/free":     400,
		"http:/business?x=a://b/nowhere":  400,
		"https:/elsewhere?x=a://b/orders": 201,
	} {
		t.Run(sent, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) {
				c.Routes = []core.Route{
					{Match: "POST /orders", Require: true}, {Name: "business", Match: "POST /business", Unique: []string{"json:/id"}}, {Match: "POST /free"},
				}
			})
			if res := b.raw("POST", sent); res.StatusCode != status {
				t.Errorf("%d, want %d", res.StatusCode, status)
			}
		})
	}
}

// The application sees neither the parameter, nor the token in Referer, nor what only we may say, in any spelling; and it is
// told the action's id.
func TestWhatTheApplicationSees(t *testing.T) {
	const mine = "POE-Id: mine"
	for _, tc := range []struct {
		name   string
		uri    func(issue) string
		method string
		id     bool
	}{
		{"POST to the POE URI", func(i issue) string { return i.URI }, "POST", true},
		{"OPTIONS on the POE URI", func(i issue) string { return i.URI }, "OPTIONS", false},
		{"a plain POST", func(i issue) string { return i.target }, "POST", false},
		{"a plain GET", func(i issue) string { return i.target }, "GET", false},
		{"a GET that asks for a link", func(i issue) string { return i.target }, "LINKS", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			i := b.issue("/orders?x=1")
			token := tokenOf(i.URI)
			var seen *http.Request
			b.app = func(_ http.ResponseWriter, r *http.Request) { seen = r }
			method, fields := tc.method, []string{mine, "poe_id: mine", "Poe_Id: mine", "POE_STATE: done", "poe-state: done", "POE-Links: x",
				"X-Kept: 1", "X-Kept: 2", "Referer: http://example.com" + i.URI + "#top"}
			if method == "LINKS" {
				method, fields = "GET", append(fields, "POE: 1")
			}
			r := httptest.NewRequest(method, tc.uri(i), strings.NewReader("apples"))
			for _, f := range fields {
				name, value, _ := strings.Cut(f, ": ")
				r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], value)
			}
			r.Header["poe_ID"] = []string{"mine"} // as it is after HTTP/2
			if err := r.ParseForm(); err != nil { // by a handler in front of us
				t.Fatal(err)
			}
			sent := r.Header.Clone()
			b.send(r)
			if seen == nil {
				t.Fatal("the application is not asked")
			}
			if got := seen.Header["Referer"]; len(got) != 1 || got[0] != "http://example.com/orders?x=1#top" {
				t.Errorf("Referer = %q", got)
			}
			if got := seen.Header["X-Kept"]; len(got) != 2 {
				t.Errorf("X-Kept = %q", got)
			}
			for name, values := range seen.Header {
				for _, v := range values {
					if strings.Contains(v, token) || strings.Contains(v, "mine") || v == "done" {
						t.Errorf("%s: %s", name, v)
					}
				}
			}
			if got := seen.Header.Get("POE-Id"); tc.id != (got == i.ID) || !tc.id && got != "" {
				t.Errorf("POE-Id = %q, the action is %s", got, i.ID)
			}
			if seen.RequestURI != "/orders?x=1" || seen.URL.RequestURI() != "/orders?x=1" || seen.FormValue("poe") != "" || seen.FormValue("x") != "1" {
				t.Errorf("target %s, %s, form %v", seen.RequestURI, seen.URL, seen.Form)
			}
			if len(r.Header) != len(sent) || r.Header.Get("Referer") != sent.Get("Referer") {
				t.Error("the caller's own request was changed")
			}
		})
	}
}

// Fields of the connection end with it; all others arrive.
func TestHopByHopFields(t *testing.T) {
	b := newBench(t, nil)
	var seen http.Header
	b.app = func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }
	b.do("POST", b.issue("/orders").URI, "x", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "Te: trailers", "Upgrade: h2c",
		"Proxy-Authorization: x", "Proxy-Connection: x", "X-End: 1", "Accept: a/b", "Cookie: c=d", "Connection: POE-Id")
	for _, name := range []string{"Connection", "X-Hop", "Keep-Alive", "Te", "Upgrade", "Proxy-Authorization", "Proxy-Connection"} {
		if v, ok := seen[name]; ok {
			t.Errorf("%s: %q arrives", name, v)
		}
	}
	for _, name := range []string{"X-End", "Accept", "Cookie", "Poe-Id", "Idempotency-Key"} {
		if seen.Get(name) == "" {
			t.Errorf("%s does not arrive", name)
		}
	}
}

// A handler may add a value to a field; that is not the value of another one, nor of the client's request.
func TestFieldsOfARequestAreApart(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(_ http.ResponseWriter, r *http.Request) {
		want := r.Header.Clone()
		for name := range want {
			r.Header[name] = append(r.Header[name], "of the handler")
			want[name] = append(want[name], "of the handler")
		}
		if diff := cmp.Diff(want, r.Header); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
	}
	b.do("POST", b.issue("/orders").URI, "x", "A: 1", "B: 1", "B: 2", "C: 1", "D: 1", "E: 1", "F: 1")
}

// A path that an application takes for a protected one is protected too.
func TestNoWayAroundARoute(t *testing.T) {
	for _, path := range []string{"/orders", "//orders", "/x/../orders", "/./orders", "/%6frders", "/orders?x=1"} {
		t.Run(path, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Require: true}} })
			b.app = func(http.ResponseWriter, *http.Request) { t.Error("executed") }
			if res := b.raw("POST", path); res.StatusCode != 428 {
				t.Errorf("%d", res.StatusCode)
			}
		})
	}
}
