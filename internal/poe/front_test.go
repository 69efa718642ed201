package core_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What something in front of the gate has made of the query is what is executed, through every door, and two requests are the same only if they are
// the same then.
func TestQueryRewrittenInFront(t *testing.T) {
	tenant := "ann" // who has been authenticated
	choosing := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			q.Set("tenant", tenant)
			r.URL.RawQuery = q.Encode() // in the order of the names: our parameter is no longer the last
			h.ServeHTTP(w, r)
		})
	}
	for _, tc := range []struct {
		name   string
		front  func(http.Handler) http.Handler
		target string
		want   string
	}{
		{"as it came", func(h http.Handler) http.Handler { return h }, "/orders?b=%41&a=1&&c", "b=%41&a=1&&c"},
		{"semicolons", http.AllowQuerySemicolons, "/orders?a=1;b=2", "a=1&b=2"},
		{"a tenant", choosing, "/orders?tenant=eve&a=1", "a=1&tenant=ann"},
		{"no query before", choosing, "/orders", "tenant=ann"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tenant = "ann"
			b := newBench(t, nil)
			b.app = func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.RequestURI, "poe=") || r.FormValue("poe") != "" {
					t.Errorf("our parameter is left in %s, form %v", r.RequestURI, r.Form)
				}
				_, _ = io.WriteString(w, r.URL.RawQuery)
			}
			inner := b.handler
			b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if b.gate.Owns(r.URL.Path) {
					inner.ServeHTTP(w, r)
					return
				}
				tc.front(inner).ServeHTTP(w, r)
			})
			for name, res := range map[string]*http.Response{
				"by key":       b.do("POST", tc.target, "x", "Idempotency-Key: k"),
				"by key again": b.do("POST", tc.target, "x", "Idempotency-Key: k"),
				"by URI":       b.do("POST", b.mint(tc.target), "x"),
				"through none": b.do("POST", tc.target, "x"),
			} {
				if got := text(t, res); got != tc.want {
					t.Errorf("%s: %d %s", name, res.StatusCode, got)
				}
			}
			if strings.Contains(tc.want, "tenant") {
				tenant = "eve"
				wantProblem(t, b.do("POST", tc.target, "x", "Idempotency-Key: k"), 422, "key-reused")
			}
		})
	}
}
