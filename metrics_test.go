package poe_test

import (
	"errors"
	"strings"
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
	gate, err := poe.Open(t.Context(), poe.Config{Store: "memory:", Metrics: registry})
	if err == nil {
		_ = gate.Close(t.Context())
		t.Error("two gates count in one registry")
	}
	wantHint(t, err, "another gate counts in the same registerer", "WrapRegistererWith")
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

// What the hint says works: each gate has its labels, and takes its own counts away.
func TestTwoGatesWithLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	labelled := func(name string) prometheus.Registerer {
		return prometheus.WrapRegistererWith(prometheus.Labels{"gate": name}, registry)
	}
	first := openGate(t, poe.Config{Metrics: labelled("orders")})
	openGate(t, poe.Config{Metrics: labelled("payments")})
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := registry.Gather()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d metrics, %v", len(all), err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "gate" && l.GetValue() != "payments" {
					t.Errorf("%s is still there of %s", family.GetName(), l.GetValue())
				}
			}
		}
	}
	openGate(t, poe.Config{Metrics: labelled("orders")})
}

// A second gate on one ledger in one program is told that it is the program itself which has it.
func TestTwoGatesOnOneLedger(t *testing.T) {
	dir := t.TempDir()
	openGate(t, poe.Config{Store: "pebble:" + dir})
	gate, err := poe.Open(t.Context(), poe.Config{Store: "pebble:" + dir})
	if err == nil {
		_ = gate.Close(t.Context())
	}
	if !errors.Is(err, poe.ErrLocked) || strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
	wantHint(t, err, "in use by this process", "open a ledger once")
}

// wantHint wants an error that says what is wrong, and what to do.
func wantHint(t *testing.T, err error, wrong, what string) {
	t.Helper()
	var hint interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), wrong) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), what) {
		t.Errorf("the error is %v", err)
	}
}
