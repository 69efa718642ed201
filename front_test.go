package poe_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe"
)

// openGate opens a gate, on a ledger in memory unless cfg has another one.
func openGate(t *testing.T, cfg poe.Config) *poe.Gate {
	t.Helper()
	if cfg.Store == "" {
		cfg.Store = "memory:"
	}
	gate, err := poe.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gate.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return gate
}

// Fields that a middleware has set before the door are what they are without one: the handler sees them, replaces them, adds to them and takes them out. What is
// kept is the handler's own, and a repeat goes past the middleware again.
func TestFieldsOfAMiddlewareInFront(t *testing.T) {
	gate := openGate(t, poe.Config{})
	asked := 0
	front := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			h := w.Header()
			h.Set("X-Request-Id", fmt.Sprint(asked))
			h.Set("X-Frame-Options", "DENY")
			h.Set("Content-Type", "application/json")
			h.Set("Content-Language", "en")
			h.Set("Content-Security-Policy", "default-src 'none'")
			h.Set("Vary", "Cookie")
			h.Set("Connection", "close")
			h.Set("Server-Timing", "auth")
			http.SetCookie(w, &http.Cookie{Name: "csrf", Value: "c"})
			next.ServeHTTP(w, r)
		})
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Del("X-Frame-Options")
		h.Set("Content-Language", "de")
		h.Set("Content-Security-Policy", "default-src 'self'")
		h.Add("Vary", "Accept")
		h.Add("Server-Timing", "db")
		h.Add("Link", "</next>; rel=next")
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s"})
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"request":`+h.Get("X-Request-Id")+`}`)
	})
	read := func(h http.Handler) (http.Header, string) {
		res := ask(h, "POST", "/login", "Idempotency-Key: k")
		body, _ := io.ReadAll(res.Body)
		for _, ours := range []string{"Poe-State", "Idempotency-Expires", "Idempotent-Replayed", "Cache-Control", "Referrer-Policy", "X-Content-Type-Options", "Content-Length"} {
			res.Header.Del(ours)
		}
		res.Header["Link"] = slices.DeleteFunc(res.Header["Link"], func(l string) bool { return l != "</next>; rel=next" })
		return res.Header, string(body)
	}

	want, _ := read(front(handler))
	guarded := front(gate.Once(handler))
	first, body := read(guarded)
	want.Set("X-Request-Id", "2")
	if diff := cmp.Diff(want, first); diff != "" || body != `{"request":2}` {
		t.Errorf("the first answer: %s\n%s", body, diff)
	}

	repeated, body := read(guarded)
	want.Set("X-Request-Id", "3")
	want.Set("X-Frame-Options", "DENY")
	want["Set-Cookie"] = []string{"csrf=c"}
	want.Add("Content-Security-Policy", "sandbox") // it is nobody's
	if diff := cmp.Diff(want, repeated); diff != "" || body != `{"request":2}` {
		t.Errorf("the repeat: %s\n%s", body, diff)
	}

	repeated, _ = read(gate.Once(handler))
	for _, name := range []string{"X-Request-Id", "X-Frame-Options", "Set-Cookie", "Connection"} {
		repeated.Del(name)
		want.Del(name)
	}
	want["Vary"] = []string{"Accept"}
	if diff := cmp.Diff(want, repeated); diff != "" {
		t.Errorf("without the middleware: %s", diff)
	}
}

// What a gate says of an action, nobody else can.
func TestFieldsOfTheGateWin(t *testing.T) {
	gate := openGate(t, poe.Config{})
	public := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "same-origin")
		gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=60")
			w.Header().Set("Poe-State", "unused")
		})).ServeHTTP(w, r)
	})
	for range 2 {
		res := ask(public, "POST", "/a", "Idempotency-Key: k")
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control %q", got)
		}
		if got := res.Header.Values("Poe-State"); len(got) != 1 || got[0] == "unused" {
			t.Errorf("POE-State %q", got)
		}
	}
}

// A middleware that compresses codes what the handler writes, and says so before it has: the content is known for what it is.
func TestContentTypeBehindACompressor(t *testing.T) {
	gate := openGate(t, poe.Config{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello") })).ServeHTTP(w, r)
	})
	for i, fields := range [][]string{{"Accept-Encoding: gzip"}, {"Accept-Encoding: gzip"}, nil} {
		res := ask(h, "POST", "/a", append(fields, "Idempotency-Key: k")...)
		if got := res.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
			t.Errorf("%d: %q", i, got)
		}
	}
}

// A type that the handler has taken out is not there in a repeat either: it was that of something else.
func TestContentTypeTakenOut(t *testing.T) {
	gate := openGate(t, poe.Config{})
	once := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "<html>hello")
	}))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		once.ServeHTTP(w, r)
	})
	for i := range 2 {
		if got := ask(h, "POST", "/a", "Idempotency-Key: k").Header["Content-Type"]; len(got) > 0 {
			t.Errorf("%d: %q", i, got)
		}
	}
}

// The language that a middleware has chosen for one client is that of the stored content, whichever it chooses for who asks again.
func TestContentLanguageOfAMiddleware(t *testing.T) {
	gate := openGate(t, poe.Config{})
	once := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "content in "+w.Header().Get("Content-Language"))
	}))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Language", r.Header.Get("Accept-Language"))
		once.ServeHTTP(w, r)
	})
	for _, language := range []string{"de", "en"} {
		res := ask(h, "POST", "/a", "Idempotency-Key: k", "Accept-Language: "+language)
		body, _ := io.ReadAll(res.Body)
		if got := res.Header["Content-Language"]; len(got) != 1 || got[0] != "de" || string(body) != "content in de" {
			t.Errorf("who prefers %s is told that it is %q: %s", language, got, body)
		}
	}
}
