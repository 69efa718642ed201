package core_test

import (
	"net/http"
	"testing"

	core "github.com/postonce/poe/internal/poe"
)

// Some caches go by fields of their own before Cache-Control. What is for one client alone does not say no-store in one field and something else in another:
// a cache would give one client's POE URI, or its stored answer, to the next.
func TestNoStoreIsContradictedByNothing(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Name: "orders", Match: "POST,PUT /orders"}} })
	names := []string{"CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires", "Edge-Control", "Expires"}
	control := "public, max-age=600"
	b.app = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", control)
		h.Set("Referrer-Policy", "same-origin")
		for _, name := range names {
			h.Set(name, "max-age=600")
		}
		h["cdn-cache-control"] = []string{"max-age=600"}
		if r.Header.Get("Accept") == "text/event-stream" {
			h.Set("Content-Type", "text/event-stream")
		}
		_, _ = w.Write([]byte("page"))
	}
	check := func(what string, res *http.Response) {
		t.Helper()
		if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", what, res.StatusCode, res.Header)
		}
		for _, name := range append(names, "cdn-cache-control") {
			if v, ok := res.Header[http.CanonicalHeaderKey(name)]; ok || res.Header[name] != nil {
				t.Errorf("%s: no-store, and %s: %s", what, name, v)
			}
		}
	}
	for _, control = range []string{"public, max-age=600", "no-store"} {
		check("a page with a fresh POE URI", b.do("GET", "/orders", "", "POE: 1"))
		uri := b.mint("/orders", alice)
		check("the first answer", b.do("POST", uri, "apples", alice, "POE: 1"))
		check("the outcome", b.do("GET", uri, "", alice))
		check("an answer that streams", b.do("POST", b.mint("/orders", alice), "apples", alice, "Accept: text/event-stream"))
		for _, what := range []string{"the first answer to a key", "its repeat"} {
			check(what, b.do("POST", "/orders", "apples", alice, "Idempotency-Key: "+control[:6]))
		}
	}
	if res := b.do("GET", "/orders", ""); res.Header.Get("Expires") == "" || res.Header.Get("CDN-Cache-Control") == "" {
		t.Errorf("a page without a POE URI is the application's alone: %v", res.Header)
	}
}

// What stands in front of the gate says the same to caches about all that it serves. Of what is ours, that is not so.
func TestFrontDoesNotContradictNoStore(t *testing.T) {
	names := []string{"CDN-Cache-Control", "Surrogate-Control", "Expires"}
	for _, control := range []string{"public, max-age=600", "no-store"} {
		b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Name: "orders", Match: "POST /orders"}} })
		inner := b.handler
		b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", control)
			w.Header().Set("Referrer-Policy", "same-origin")
			for _, name := range names {
				w.Header().Set(name, "max-age=600")
			}
			inner.ServeHTTP(w, r)
		})
		i := b.issue("/orders")
		unused, first := b.do("GET", i.URI, ""), b.do("POST", i.URI, "apples")
		i.findOutcome(t, first)
		b.do("POST", "/orders", "apples", "Idempotency-Key: k")
		for what, res := range map[string]*http.Response{
			"minting":                   b.do("GET", "/poe/new?for=/orders", ""),
			"a problem's page":          b.do("GET", "/poe/problems/running", ""),
			"no such outcome":           b.do("GET", "/poe/outcomes/x", ""),
			"a method of none":          b.do("POST", "/poe/new", ""),
			"unused":                    unused,
			"the first answer":          first,
			"405":                       b.do("POST", i.URI, "apples"),
			"the outcome at the URI":    b.do("GET", i.URI, ""),
			"the outcome":               b.do("GET", i.outcome, ""),
			"the receipt":               b.do("GET", i.outcome+"/receipt", ""),
			"no POE URI":                b.do("GET", "/orders?poe=x", ""),
			"a key":                     b.do("POST", "/orders", "apples", "Idempotency-Key: k"),
			"a key that cannot be read": b.do("POST", "/orders", "apples", "Idempotency-Key: \""),
		} {
			if got := res.Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
				t.Errorf("%s: Cache-Control %q", what, got)
			}
			for _, name := range names {
				if v := res.Header.Get(name); v != "" {
					t.Errorf("%s: no-store, and %s: %s", what, name, v)
				}
			}
		}
	}
}
