package core_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	core "github.com/postonce/poe/internal/poe"
)

// What is kept ready is what is kept: who changes the fields that he was given changes nothing for the next one, and what is large is made anew.
func TestKeptReady(t *testing.T) {
	for size, kept := range map[int]bool{10: true, 8 << 10: false} {
		b := newBench(t, nil)
		value := strings.Repeat("v", size)
		b.app = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Order", value)
			w.WriteHeader(http.StatusCreated)
		}
		i := b.doneIssue()
		for range 3 {
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, i.URI, nil))
			if got := w.Header()["X-Order"]; len(got) != 1 || got[0] != value {
				t.Fatalf("the answer has become %.20q", got)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Fatalf("Cache-Control has become %q", got)
			}
			for _, values := range w.Header() { // as some middleware might, before the next one is written
				for j := range values {
					values[j] = "changed"
				}
			}
		}
		if head, _ := core.Remembered(b.gate, b.lookup(i.ID).ID); head != kept {
			t.Errorf("a head of %d bytes is kept ready: %t", size, head)
		}
	}
}

// A 405 says of each request whether its own body is the one that was executed, kept ready or not.
func TestConsumedKeptReady(t *testing.T) {
	b := newBench(t, nil)
	i := b.doneIssue()
	for range 2 {
		for body, want := range map[string]string{"apples": `"request_matches":true`, "pears": `"request_matches":false`} {
			res := b.do("POST", i.URI, body)
			if got, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 405 || !strings.Contains(string(got), want) {
				t.Errorf("%s: %d %s %v", body, res.StatusCode, got, err)
			}
		}
	}
	if _, bodies := core.Remembered(b.gate, b.lookup(i.ID).ID); bodies != 2 {
		t.Errorf("%d are kept ready", bodies)
	}
}
