package core_test

import (
	"net/http"
	"testing"
)

// A claim that is refused leaves what is said of the action as it was.
func TestRefusedClaimSaysWhatStands(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	stands := b.do("GET", i.URI, "").Header.Get("POE-State")
	b.gate.Drain()
	res := b.do("POST", i.URI, "apples")
	if got := res.Header.Get("POE-State"); res.StatusCode != 503 || got != stands || b.executed.Load() != 1 {
		t.Errorf("%d %q, executed %d times; it stood at %q", res.StatusCode, got, b.executed.Load(), stands)
	}

	res = b.do("POST", "/orders", "apples", "Idempotency-Key: \"one\"")
	if got := res.Header.Get("POE-State"); res.StatusCode != 503 || got != "" {
		t.Errorf("under a key: %d %q; nobody has claimed it, so it has no id", res.StatusCode, got)
	}
}
