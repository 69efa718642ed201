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

func TestAttempts(t *testing.T) {
	for state, want := range map[store.State]int{
		store.Unused: 2, store.Queued: 2, store.Burned: 2, store.Running: 3, store.Sent: 3, store.Done: 3, store.Unknown: 3,
	} {
		if got := (&store.Record{State: state, Attempt: 2}).Attempts(); got != want {
			t.Errorf("%s: %d, want %d", state, got, want)
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
