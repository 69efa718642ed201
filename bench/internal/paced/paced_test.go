package paced_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/bench/internal/paced"
)

func load(url string, n int) paced.Load {
	l := paced.Load{Host: strings.TrimPrefix(url, "http://"), Body: "{}", Want: http.StatusCreated, Connections: 1, PerSecond: 1000, Clock: time.Now}
	for range n {
		l.Targets = append(l.Targets, "/orders")
	}
	return l
}

// Whoever had to wait because somebody else was served slowly has waited.
func TestWaitingCountsFromWhenItShouldHaveBeenSent(t *testing.T) {
	const stall = 300 * time.Millisecond
	var first sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		first.Do(func() { <-time.NewTimer(stall).C })
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	r, err := paced.Run(t.Context(), load(srv.URL, 40))
	if err != nil {
		t.Fatal(err)
	}
	if r.P50 < stall/2 || r.P99 < r.P50 {
		t.Errorf("the first answer takes %s, and the others are due within 40 ms of it: %+v", stall, r)
	}
}

func TestAnotherStatusIsAnError(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	if _, err := paced.Run(t.Context(), load(srv.URL, 2)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
}

func TestRate(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	defer srv.Close()
	l := load(srv.URL, 50)
	l.PerSecond = 100
	r, err := paced.Run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if r.PerSecond > 110 {
		t.Errorf("%f requests a second", r.PerSecond)
	}
}
