package core_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// What a handler asks its own program for is guarded like any other request, also where it is a copy of the handler's own with another path and key: the
// action is executed again, and what it asks for under that key is not.
func TestCopiedWithin(t *testing.T) {
	for name, tc := range map[string]struct {
		route  core.Route
		target string // of the action
		within string // what its handler asks for
		again  string // the path of the handler that is called twice
		first  int    // its first answer
	}{
		"in a compensation":    {core.Route{Match: "POST /orders", Recovery: core.RecoveryCompensate, Compensate: "/undo/{id}"}, "/orders", "/refunds", "/undo/", 503},
		"in a repeat":          {core.Route{Match: "POST /tenants/{id}/orders", Recovery: core.RecoveryRepeat}, "/tenants/5/orders", "/payments", "/tenants/", 502},
		"of the end of a path": {core.Route{Match: "POST /tenants/{id}/orders", Recovery: core.RecoveryRepeat}, "/tenants/5/orders", "/orders", "/tenants/", 502},
	} {
		t.Run(name, func(t *testing.T) {
			asked, done := 0, 0
			tc.route.Name = "outer"
			b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{tc.route, {Name: "rest", Match: "POST *"}} })
			app := http.NewServeMux()
			asking := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				sub := r.Clone(r.Context())
				sub.URL.Path, sub.RequestURI = tc.within, tc.within
				sub.Body, sub.ContentLength = http.NoBody, 0
				sub.Header.Set("Idempotency-Key", "of-the-order")
				app.ServeHTTP(httptest.NewRecorder(), sub)
				if asked == 1 {
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(tc.first)
				}
			})
			app.Handle("/poe/", b.gate)
			app.Handle(tc.within, b.once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				done++
				w.WriteHeader(http.StatusCreated)
			})))
			if strings.HasPrefix(tc.target, tc.again) {
				app.Handle(tc.again, b.once(asking))
			} else {
				app.Handle(tc.again, asking)
				app.Handle(tc.target, b.once(answering(http.StatusBadGateway)))
			}
			b.handler = app
			b.gate.Defer(core.HandlerExecutor{Handler: app})
			b.do("POST", tc.target, "x", "Idempotency-Key: k")
			for range 5 {
				b.work()
				b.advance(time.Minute)
			}
			if asked < 2 || done != 1 {
				t.Errorf("asked %d times, and done %d times under one key", asked, done)
			}
		})
	}
}
