package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/store"
)

func TestNote(t *testing.T) {
	var r store.Record
	for i := range store.MaxHistory + 5 {
		before, copied := r, slices.Clone(r.History)
		r.Note(store.Event{Status: i})
		if d := cmp.Diff(copied, before.History); d != "" {
			t.Fatalf("note %d changed a history that somebody else holds:\n%s", i, d)
		}
		if len(r.History) > store.MaxHistory {
			t.Fatalf("%d events", len(r.History))
		}
	}
	want := []store.Event{{Status: 0}}
	for i := 6; i < store.MaxHistory+5; i++ {
		want = append(want, store.Event{Status: i})
	}
	if d := cmp.Diff(want, r.History); d != "" {
		t.Errorf("the first and the latest survive (-want +got):\n%s", d)
	}
}

// What was decided about an unknown action outlasts everything else that happened.
func TestNoteKeepsDoubts(t *testing.T) {
	var r store.Record
	doubt := store.Event{From: store.Running, To: store.Unknown, Who: "recovery"}
	word := store.Event{From: store.Unknown, To: store.Unused, Who: "operator", Why: "looked"}
	r.Note(store.Event{Status: 1})
	r.Note(doubt)
	r.Note(word)
	for i := range 2 * store.MaxHistory {
		r.Note(store.Event{From: store.Unknown, To: store.Unknown}) // tried again
		r.Note(store.Event{From: store.Running, To: store.Unused, Status: 100 + i})
	}
	if d := cmp.Diff([]store.Event{{Status: 1}, doubt, word}, r.History[:3]); d != "" || len(r.History) != store.MaxHistory || r.History[store.MaxHistory-1].Status != 100+2*store.MaxHistory-1 {
		t.Errorf("%d events, the last %v; (-want +got):\n%s", len(r.History), r.History[len(r.History)-1], d)
	}
	for range 2 * store.MaxHistory { // where there is nothing but doubts, the latest ones stay
		r.Note(word)
	}
	if len(r.History) != store.MaxHistory || r.History[1] != word || r.History[0].Status != 1 {
		t.Errorf("%d events: %v", len(r.History), r.History[:3])
	}
}

// An attempt that an operator's word ended may have been sent all the same.
func TestAttemptsInDoubt(t *testing.T) {
	const operator, engine = "operator:ada", "engine"
	for _, tt := range []struct {
		state store.State
		event store.Event
		want  int
	}{
		{store.Unused, store.Event{From: store.Running, To: store.Unused, Who: engine}, 0}, // nothing was sent
		{store.Unused, store.Event{From: store.Unknown, To: store.Unused, Who: operator}, 1},
		{store.Unused, store.Event{From: store.Unknown, To: store.Unused, Who: "operator"}, 1},
		{store.Running, store.Event{From: store.Unknown, To: store.Unused, Who: operator}, 2},
		{store.Queued, store.Event{From: store.Unknown, To: store.Queued, Who: operator}, 1},
		{store.Burned, store.Event{From: store.Unknown, To: store.Burned, Who: operator}, 1},
		{store.Burned, store.Event{From: store.Queued, To: store.Burned, Who: operator}, 0},
		{store.Unused, store.Event{From: store.Unknown, To: store.Unused, Who: engine, Status: 422}, 0}, // an answer, which Attempt counts
		{store.Done, store.Event{From: store.Unknown, To: store.Done, Who: operator}, 1},
	} {
		if got := (&store.Record{State: tt.state, History: []store.Event{tt.event}}).Attempts(); got != tt.want {
			t.Errorf("%s after %s to %s by %s: %d, want %d", tt.state, tt.event.From, tt.event.To, tt.event.Who, got, tt.want)
		}
	}
}

func TestAttempts(t *testing.T) {
	for state, want := range map[store.State]int{
		store.Unused: 2, store.Queued: 2, store.Burned: 2, store.Running: 3, store.Sent: 3, store.Done: 3, store.Unknown: 3,
	} {
		if got := (&store.Record{State: state, Attempt: 2}).Attempts(); got != want {
			t.Errorf("%s: %d, want %d", state, got, want)
		}
	}
}

// What is open outlives its shelf, and somebody must look at it.
func TestOpen(t *testing.T) {
	for state, want := range map[store.State]bool{
		store.Absent: false, store.Unused: false, store.Queued: true, store.Running: true, store.Sent: true, store.Done: false, store.Unknown: true, store.Burned: false,
	} {
		if got := state.Open(); got != want {
			t.Errorf("%s: %t", state, got)
		}
	}
}

// A content is the record's where the record says that it is beside, and not where it was once.
func TestRefersTo(t *testing.T) {
	part, other := store.Part{Term: store.Term{1}}, store.Part{Term: store.Term{1}, N: 1}
	for _, tt := range []struct {
		where store.Where
		part  store.Part
		want  bool
	}{{store.Beside, part, true}, {store.Beside, other, false}, {store.Purged, part, false}} {
		b := store.Blob{Where: tt.where, Part: tt.part}
		for what, r := range map[string]store.Record{"request": {Request: b}, "response": {Response: b}} {
			if got := r.RefersTo(part); got != tt.want {
				t.Errorf("the %s, %s as %v: %t", what, tt.where, tt.part, got)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {errors.New("broken pipe"), false}, {store.ErrCorrupt, false}, {store.ErrNotFound, false}, {store.ErrLocked, false},
		{store.ErrTaken, true}, {store.ErrStale, true}, {store.ErrExpired, true}, {store.ErrInvalid, true}, {store.ErrUnavailable, true},
		{fmt.Errorf("claiming: %w", store.ErrTaken), true},
	} {
		if got := store.Refused(tt.err); got != tt.want {
			t.Errorf("%v: %t", tt.err, got)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		store.Queued.String(): "accepted", store.Burned.String(): "burned", store.State(99).String(): "state(99)",
		store.Nowhere.String(): "none", store.Streamed.String(): "streamed", store.Where(99).String(): "where(99)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
