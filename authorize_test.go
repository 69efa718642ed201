package poe_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/postonce/poe"
)

// A contextRouter keeps how far a request was routed in its context, as chi does: one that was routed before goes on from there.
type contextRouter map[string]http.Handler

type routedKey struct{}

func (c contextRouter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, ok := r.Context().Value(routedKey{}).(string)
	if !ok {
		at = r.URL.Path
		r = r.WithContext(context.WithValue(r.Context(), routedKey{}, at))
	}
	if h := c[at]; h != nil {
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// What the application is asked is a request of its own, though it is asked while the client's is served: nothing of how that was routed is left in it.
func TestAuthorizeWithARouterThatUsesContexts(t *testing.T) {
	app := contextRouter{}
	gate := openGate(t, poe.Config{App: app, Routes: []poe.Route{{Match: "POST /orders", Authorize: "/auth"}}})
	asked := 0
	app["/auth"] = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked++
		if r.Method != http.MethodGet || r.Header.Get("X-Original-URI") != "/orders" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
	})
	app["/orders"] = gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	for range 2 {
		if res := ask(app, "POST", "/orders", "Idempotency-Key: k"); res.StatusCode != http.StatusCreated {
			t.Errorf("%d", res.StatusCode)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// Who has left is not asked for any longer.
func TestAuthorizeEndsWithItsClient(t *testing.T) {
	app := http.NewServeMux()
	gate := openGate(t, poe.Config{App: app, Routes: []poe.Route{{Match: "POST /orders", Authorize: "/auth"}}})
	asked := make(chan struct{})
	app.HandleFunc("/auth", func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	app.Handle("/orders", gate.Once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	ask(app, "POST", "/orders", "Idempotency-Key: k")
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	askUnder(ctx, app, "POST", "/orders", "Idempotency-Key: k")
}
