package core_test

import (
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// A clock that is set back a year revives nothing, in the same process or the next.
func TestClockSetBack(t *testing.T) {
	b := newBench(t, nil)
	unused, used := b.issue("/orders"), b.issue("/orders")
	if res := b.do("POST", used.URI, "apples"); res.StatusCode != 201 {
		t.Fatalf("%d", res.StatusCode)
	}
	b.advance(2 * time.Hour)
	wantProblem(t, b.do("POST", unused.URI, "apples"), 410, "never-used")
	if res := b.do("POST", b.mint("/orders"), "apples"); res.StatusCode != 201 { // a write, which carries the time
		t.Fatalf("%d", res.StatusCode)
	}
	b.advance(-365 * 24 * time.Hour)
	next := newBench(t, func(c *core.Config) { c.Store, c.Keys, c.Clock = b.store, b.keys, b.clock })
	for name, gate := range map[string]*bench{"the same process": b, "the next": next} {
		before := gate.executed.Load()
		wantProblem(t, gate.do("POST", unused.URI, "apples"), 410, "never-used")
		wantProblem(t, gate.do("POST", used.URI, "apples"), 405, "consumed")
		if n := gate.executed.Load() - before; n != 0 {
			t.Errorf("%s executed %d times", name, n)
		}
	}
}

// A gate says what an operator should know, and hands on what one has to say.
func TestNotes(t *testing.T) {
	b, ledger := newTampered(t, nil)
	if notes := b.gate.Notes(); len(notes) > 0 {
		t.Errorf("all is well, and it says %q", notes)
	}
	ledger.health = store.Health{Ahead: 25 * time.Hour}
	if notes := b.gate.Notes(); len(notes) != 1 || notes[0] != "the clock is 25h0m0s ahead of the ledger's time: nothing is forgotten until it is corrected or confirmed (poe clock confirm)" {
		t.Errorf("it says %q", notes)
	}
	back := newBench(t, nil)
	back.do("POST", back.mint("/orders"), "x")
	back.advance(-48 * time.Hour)
	if notes := back.gate.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "behind the ledger's time") {
		t.Errorf("its clock was set back, and it says %q", notes)
	}
	if notes := newBench(t, nil).after(true, nil).gate.Notes(); len(notes) != 1 {
		t.Errorf("after a restore it says %q", notes)
	}
}
