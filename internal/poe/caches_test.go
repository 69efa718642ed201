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
