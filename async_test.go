package poe_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/postonce/poe"
)

// What a route wants to have done later needs somebody who does it.
func TestAsyncNeedsTheApp(t *testing.T) {
	_, err := poe.Open(t.Context(), poe.Config{Store: "memory:", Routes: []poe.Route{
		{Match: "POST /a", Async: true}, {Match: "POST /b", Doors: []string{"key", "async"}}, {Match: "POST /c"},
	}})
	if err == nil || err.Error() != `route "POST /a": async needs Config.App, the handler that executes what is accepted
route "POST /b": the door async needs Config.App, the handler that executes what is accepted` {
		t.Error(err)
	}
}

// A route that accepts every request executes none in its client's time: before Resume it refuses them, and says so in the log.
func TestAsyncBeforeResume(t *testing.T) {
	var log bytes.Buffer
	app := http.NewServeMux()
	gate := openGate(t, poe.Config{App: app, Log: zerolog.New(&log), Routes: []poe.Route{{Match: "POST /orders", Async: true}}})
	executed := make(chan string, 1)
	app.Handle("/orders", gate.Once(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { executed <- poe.ActionID(r.Context()) })))
	minted, err := gate.Mint(t.Context(), "POST", "/orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, fields := range [][]string{nil, {"Idempotency-Key: k"}} {
		if res := ask(app, "POST", "/orders", fields...); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%v: %d", fields, res.StatusCode)
		}
	}
	if res := ask(app, "POST", minted.URI); res.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(res.Header.Get("POE-State"), "unused") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if n := strings.Count(log.String(), "before Resume is called"); n != 3 {
		t.Errorf("%d lines of the log say why: %s", n, &log)
	}
	gate.Resume()
	if res := ask(app, "POST", minted.URI); res.StatusCode != http.StatusAccepted {
		t.Errorf("%d", res.StatusCode)
	}
	if id := <-executed; id != minted.ID {
		t.Errorf("%s was executed, want %s", id, minted.ID)
	}
}
