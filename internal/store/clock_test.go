package store_test

import (
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

func TestClock(t *testing.T) {
	now := noon
	c := store.NewClock(func() time.Time { return now }, noon.Add(time.Minute))
	wants := func(what string, gotNow, gotFloor, wantNow, wantFloor time.Time) {
		t.Helper()
		if !gotNow.Equal(wantNow) || !gotFloor.Equal(wantFloor) {
			t.Errorf("%s: now %s, floor %s; want %s, %s", what, gotNow, gotFloor, wantNow, wantFloor)
		}
	}
	floor := noon.Add(time.Minute)
	wants("behind the stored floor", c.Now(), c.Raise(), floor, floor)
	now = noon.Add(time.Hour)
	wants("ahead", c.Now(), c.Floor(), now, floor)
	wants("raised", c.Now(), c.Raise(), now, now)
	high := now
	now = noon.Add(-24 * time.Hour)
	wants("set back", c.Now(), c.Raise(), high, high)
	if got := store.NewClock(func() time.Time { return noon }, time.Time{}).Floor(); !got.IsZero() {
		t.Errorf("a new clock has the floor %s", got)
	}
}

// A wall clock that leaps ahead of the monotonic one is used while it leaps, but leaves no mark.
func TestClockLeaps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	var passed, leap time.Duration
	c := store.NewClock(func() time.Time { return noon.Add(passed + leap) }, time.Time{})
	c.SetElapsed(func(time.Time) time.Duration { return passed })
	raised := func(most time.Duration) {
		t.Helper()
		if got := c.Raise().Sub(noon); got < passed || got > most {
			t.Errorf("after %s the floor has risen by %s, want at most %s", passed, got, most)
		}
	}
	passed = time.Hour
	raised(passed)
	leap = year
	if got := c.Now().Sub(noon); got != year+time.Hour {
		t.Errorf("claims are judged by a time %s on, not by the wall clock", got)
	}
	raised(time.Hour + time.Minute)
	passed += time.Hour
	raised(2*time.Hour + time.Minute)
	leap = 0
	passed += time.Hour
	raised(passed)
	if got := c.Now().Sub(noon); got != passed {
		t.Errorf("after the leap it is %s on, want %s", got, passed)
	}
}
