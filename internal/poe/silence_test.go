package core_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// A handler that returns without a word after its context has ended has not answered: nobody knows what it had begun.
func TestSilenceAtTheEndOfTheContext(t *testing.T) {
	short := func(c *core.Config) { c.Timeout = 10 * time.Millisecond }
	gaveUp := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	t.Run("timeout", func(t *testing.T) {
		b := newBench(t, short)
		b.app = gaveUp
		uri := b.mint("/orders")
		if p := wantProblem(t, b.do("POST", uri, "x"), 504, "outcome-unknown"); p["detail"] != "no complete answer in time" {
			t.Error(p["detail"])
		}
		wantProblem(t, b.do("POST", uri, "x"), 409, "outcome-unknown")
	})
	t.Run("stop", func(t *testing.T) {
		b := newBench(t, nil)
		b.app = func(w http.ResponseWriter, r *http.Request) {
			b.gate.Stop()
			gaveUp(w, r)
		}
		if p := wantProblem(t, b.do("POST", b.mint("/orders"), "x"), 502, "outcome-unknown"); p["detail"] != "no complete answer before the process stopped" {
			t.Error(p["detail"])
		}
	})
	t.Run("accepted", func(t *testing.T) {
		b := deferring(t, short)
		b.app = gaveUp
		at := monitor(t, b.do("POST", "/orders", "x", "Prefer: respond-async"))
		b.work()
		if s := b.do("GET", at, "").Header.Get("POE-State"); word(s) != "unknown" {
			t.Error(s)
		}
	})
	t.Run("it answers all the same", func(t *testing.T) {
		b := newBench(t, short)
		b.app = func(w http.ResponseWriter, r *http.Request) {
			gaveUp(w, r)
			w.WriteHeader(http.StatusCreated)
		}
		if res := b.do("POST", b.mint("/orders"), "x"); res.StatusCode != 201 {
			t.Error(res.StatusCode)
		}
	})
	t.Run("before", func(t *testing.T) {
		b := newBench(t, nil)
		b.app = func(http.ResponseWriter, *http.Request) {}
		if res := b.do("POST", b.mint("/orders"), "x"); res.StatusCode != 200 {
			t.Error(res.StatusCode)
		}
	})
}

// Nor has a deletion happened because its handler gave up, nor was a stored answer allowed to be repeated.
func TestSilenceOfOthers(t *testing.T) {
	hangsUp := func(b *bench, method, target string, fields ...string) *http.Response {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b.app = func(http.ResponseWriter, *http.Request) { cancel() }
		r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader("apples"))
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			r.Header.Set(name, value)
		}
		return b.send(r)
	}
	t.Run("deletion", func(t *testing.T) {
		b := uniqueBench(t, nil)
		b.app = answering(201, "Location: /users/1")
		users(b, "ann@example.com")
		hangsUp(b, "DELETE", "/users/1")
		b.app = nil
		wantProblem(t, users(b, "ann@example.com", bob), 409, "duplicate")
	})
	t.Run("authorization", func(t *testing.T) {
		var b *bench
		b = newBench(t, func(c *core.Config) {
			c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.app(w, r) })
			c.Routes = []core.Route{{Match: "POST /orders", Authorize: "/auth"}}
		})
		b.do("POST", "/orders", "apples", "Idempotency-Key: k")
		wantProblem(t, hangsUp(b, "POST", "/orders", "Idempotency-Key: k"), 503, "authorization-unavailable")
	})
}
