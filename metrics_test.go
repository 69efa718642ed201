package poe_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postonce/poe"
)

// A gate that is closed leaves nothing in the registry, nor does one that does not open: the next one can have it.
func TestMetricsOfTheNextGate(t *testing.T) {
	registry := prometheus.NewRegistry()
	count := func() int {
		t.Helper()
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	first := openGate(t, poe.Config{Metrics: registry})
	shown := count()
	if gate, err := poe.Open(t.Context(), poe.Config{Store: "memory:", Metrics: registry}); err == nil {
		_ = gate.Close(t.Context())
		t.Error("two gates count in one registry")
	}
	if n := count(); n != shown || n == 0 {
		t.Errorf("%d metrics, and then %d", shown, n)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d metrics of a closed gate", n)
	}
	openGate(t, poe.Config{Metrics: registry})
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := count(); n != shown {
		t.Errorf("%d metrics of the next gate, want %d", n, shown)
	}
}
