package poe_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// A program knows its users by a session, and says who they are in a field and in the context. What does so stands in front of the gate's own resources too, or they
// would not know the same people, and is a part of Config.App, or what is accepted would be nobody's.
func TestAuthenticationInFront(t *testing.T) {
	type userKey struct{}
	authenticated := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, err := r.Cookie("session")
			if err != nil {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			r = r.Clone(context.WithValue(r.Context(), userKey{}, session.Value))
			r.Header.Set("X-User", session.Value)
			next.ServeHTTP(w, r)
		})
	}
	mux := http.NewServeMux()
	app := authenticated(mux)
	gate := openGate(t, poe.Config{App: app, Routes: []poe.Route{{Match: "POST *", Principal: "header:X-User"}}})
	users := make(chan any, 1)
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { users <- r.Context().Value(userKey{}) })))
	gate.Resume()

	const ann, bob = "Cookie: session=ann", "Cookie: session=bob"
	res := ask(app, "POST", "/orders", ann, "Idempotency-Key: now")
	at, _, _ := strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	later := ask(app, "POST", "/orders", ann, "Idempotency-Key: later", "Prefer: respond-async")
	for _, what := range []string{"at once", "accepted"} {
		if user := <-users; user != "ann" {
			t.Errorf("%s: the handler's user is %v", what, user)
		}
	}
	eventually(t, "done", func() bool {
		return strings.HasPrefix(ask(app, "GET", later.Header.Get("Location"), ann).Header.Get("POE-State"), "done")
	})
	var minted struct {
		URIs []poe.Minted `json:"uris"`
	}
	if err := json.NewDecoder(ask(app, "GET", "/poe/new?for=/orders", ann).Body).Decode(&minted); err != nil || len(minted.URIs) != 1 {
		t.Fatal(err, minted)
	}
	for _, target := range []string{at, later.Header.Get("Location"), minted.URIs[0].URI} {
		for as, want := range map[string]int{ann: 200, bob: 403, "X-User: ann": 401} {
			if code := ask(app, "GET", target, as).StatusCode; code != want {
				t.Errorf("GET %.20s… with %q: %d, not %d", target, as, code, want)
			}
		}
	}
}
