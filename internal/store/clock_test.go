package store_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

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

// A leap of more than an hour is doubted until it is taken back or confirmed; a smaller one is not, and leaves no mark either.
func TestClockIsDoubted(t *testing.T) {
	const year = 365 * 24 * time.Hour
	var passed, off time.Duration
	c := store.NewClock(func() time.Time { return noon.Add(passed + off) }, time.Time{})
	c.SetElapsed(func(time.Time) time.Duration { return passed })
	for _, step := range []struct {
		what        string
		passed, off time.Duration
		confirm     bool
		ahead       time.Duration
		floor       time.Duration // at most, from noon
	}{
		{"at the start", 0, 0, false, 0, 0},
		{"a small leap", time.Minute, 50 * time.Minute, false, 0, 2 * time.Minute},
		{"a year", time.Hour, year, false, year, time.Hour + time.Minute},
		{"taken back", 2 * time.Hour, 0, false, 0, 2*time.Hour + time.Minute},
		{"set back a year", 3 * time.Hour, -year, false, 0, 2*time.Hour + time.Minute},
		{"and an hour later", 4 * time.Hour, -year, false, 0, 2*time.Hour + 31*time.Minute},
		{"right again", 4 * time.Hour, 0, false, 0, 4*time.Hour + time.Minute},
		{"a day", 5 * time.Hour, 24 * time.Hour, false, 24 * time.Hour, 5*time.Hour + time.Minute},
		{"a day, confirmed", 5 * time.Hour, 24 * time.Hour, true, 0, 29*time.Hour + time.Minute},
		{"and on", 6 * time.Hour, 24 * time.Hour, false, 0, 30*time.Hour + time.Minute},
		{"a day more", 7 * time.Hour, 48 * time.Hour, false, 24 * time.Hour, 31*time.Hour + time.Minute},
	} {
		passed, off = step.passed, step.off
		if step.confirm {
			c.Confirm()
		}
		if got := c.Ahead(); got != step.ahead {
			t.Errorf("%s: it is ahead by %s, want %s", step.what, got, step.ahead)
		}
		if got := c.Raise().Sub(noon); got > step.floor {
			t.Errorf("%s: the floor has risen by %s, want at most %s", step.what, got, step.floor)
		}
		if got, floor := c.Now(), c.Floor(); got.Before(floor) {
			t.Errorf("%s: it is %s, behind the floor %s", step.what, got, floor)
		}
	}
}

// However far a clock leaps ahead, the floor does not run back to what is believed of it: it was further, after a clock that was ahead before.
func TestFloorStaysWhenTheClockLeaps(t *testing.T) {
	var passed, leap time.Duration
	c := store.NewClock(func() time.Time { return noon.Add(passed + leap) }, noon.Add(5*time.Hour))
	c.SetElapsed(func(time.Time) time.Duration { return passed })
	for ; passed < 2*time.Hour; passed += time.Minute {
		c.Raise()
	}
	floor := c.Floor()
	leap = 24 * time.Hour
	if got := c.Raise(); got.Before(floor) || c.Floor().Before(floor) {
		t.Errorf("the floor was %s and is %s, %s", floor, got, c.Floor())
	}
	c.Confirm()
	leap = -24 * time.Hour
	c.Confirm() // again, and it goes on
	if got := c.Raise(); got.Before(floor) {
		t.Errorf("the floor was %s and is %s", floor, got)
	}
}

// At the start a clock that is far ahead of the ledger's is on trial for an hour. The floor stays where it was, so one that is corrected has done
// no harm.
func TestClockOnTrial(t *testing.T) {
	const year = 365 * 24 * time.Hour
	floor := noon.Add(-72 * time.Hour)
	for _, tt := range []struct {
		name    string
		off     time.Duration // of the clock, at the start
		correct time.Duration // after how long it is corrected; 0: never
		confirm bool
		from    time.Duration // it is doubted from then on
		doubted time.Duration // and until then
	}{
		{"after a long weekend", 0, 0, false, 0, time.Hour},
		{"after a long weekend, confirmed", 0, 0, true, 0, 0},
		{"wrong, and corrected", year, 10 * time.Minute, false, 0, 70 * time.Minute},
		{"wrong, and corrected to where it was", -72*time.Hour + 2*time.Hour, 10 * time.Minute, false, 0, 70 * time.Minute},
		{"a clock without a battery, and corrected", -10 * year, 10 * time.Minute, false, 10 * time.Minute, 70 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var passed, behind time.Duration // how long it was behind the floor
			off := tt.off
			c := store.NewClock(func() time.Time { return noon.Add(passed + off) }, floor)
			c.SetElapsed(func(time.Time) time.Duration { return passed })
			if tt.confirm {
				c.Confirm()
			}
			for ; passed < 3*time.Hour; passed += time.Minute {
				if tt.correct > 0 && passed >= tt.correct {
					off = 0
				}
				if off < -72*time.Hour {
					behind = passed
				}
				ahead, raised := c.Ahead(), c.Raise()
				if (ahead > 0) != (passed >= tt.from && passed < tt.doubted) {
					t.Fatalf("after %s it is ahead by %s", passed, ahead)
				}
				if passed < tt.doubted && (raised.Before(floor) || raised.After(floor.Add(behind/2))) {
					t.Fatalf("after %s the floor is %s", passed, raised)
				}
				if right := noon.Add(passed); passed >= tt.doubted && (raised.Before(right) || raised.After(right.Add(time.Minute))) {
					t.Fatalf("after %s the floor is %s", passed, raised)
				}
			}
		})
	}
	if ahead := store.NewClock(func() time.Time { return noon }, noon.Add(-time.Hour)).Ahead(); ahead != 0 {
		t.Errorf("after an hour it is ahead by %s", ahead)
	}
}

// A machine that was suspended for ten minutes, or one whose clock NTP has set forward by them, and then NTP sets the clock back by three seconds.
func TestTimeThatWasToldStays(t *testing.T) {
	var passed, leap time.Duration
	c := store.NewClock(func() time.Time { return noon.Add(passed + leap) }, noon)
	c.SetElapsed(func(time.Time) time.Duration { return passed })
	passed = time.Hour
	c.Tick()
	leap = 10 * time.Minute
	passed += 24 * time.Hour // and it is right since a day
	told := c.Tick()
	leap -= 3 * time.Second
	if now := c.Tick(); now.Before(told) {
		t.Errorf("it was %s, and is %s; the floor is %s behind", told.Format(time.TimeOnly), now.Format(time.TimeOnly), now.Sub(c.Floor()))
	}
}

// A ledger that was used with a clock a week ahead, which is right again: its time goes on at half its pace until the clock has caught up, in this process or in
// one after the other, so that what is to be done later is done.
func TestClockThatIsBehind(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for name, restarts := range map[string]bool{"one process": false, "a new process each hour": true} {
		t.Run(name, func(t *testing.T) {
			var passed time.Duration
			var c *store.Clock
			start := func(floor time.Time) {
				begun := passed
				c = store.NewClock(func() time.Time { return noon.Add(passed) }, floor)
				c.SetElapsed(func(time.Time) time.Duration { return passed - begun })
			}
			start(noon.Add(week))
			for ; passed < 3*week; passed += time.Minute {
				if restarts && passed%time.Hour == 0 {
					start(c.Floor())
				}
				caughtUp := passed > 2*week+2*time.Hour
				if got, want := c.Raise().Sub(noon), max(week+passed/2, passed); got > want || got < want-3*time.Hour || caughtUp && got != want {
					t.Fatalf("after %s the floor has come to %s, want %s", passed, got, want)
				}
				if now := c.Now(); now.Before(c.Floor()) {
					t.Fatalf("after %s it is %s", passed, now)
				}
				if behind := c.Behind(); caughtUp && behind > 0 {
					t.Fatalf("after %s it is behind by %s", passed, behind)
				}
			}
		})
	}
}

// Many look at a clock that is behind, and some of them are held up behind that until others have brought the floor on: no time is counted twice.
func TestClockThatIsBehindAndBusy(t *testing.T) {
	const week = 7 * 24 * time.Hour
	var passed time.Duration
	var others func() // come before whoever looks at the clock next
	c := store.NewClock(func() time.Time {
		now := noon.Add(passed)
		if first := others; first != nil {
			others = nil
			first()
		}
		return now
	}, noon.Add(week))
	c.SetElapsed(func(now time.Time) time.Duration { return now.Sub(noon) })
	c.Raise()
	for range 1000 {
		others = func() {
			passed += time.Second
			c.Raise()
		}
		c.Raise()
	}
	if got, want := c.Raise().Sub(noon)-week, passed/2; got != want {
		t.Errorf("after %s the floor has risen by %s, want %s", passed, got, want)
	}
}

// However a clock is set back, and forward again to the right time, the floor does not pass that.
func TestFloorDoesNotPassTheTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var passed, begun, behind time.Duration
		var c *store.Clock
		start := func(floor time.Time) {
			begun = passed
			c = store.NewClock(func() time.Time { return noon.Add(passed - behind) }, floor)
			from := begun
			c.SetElapsed(func(time.Time) time.Duration { return passed - from })
		}
		start(noon)
		last := noon
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			passed += rapid.Custom(durations).Draw(t, "passes")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				behind = rapid.Custom(durations).Draw(t, "behind")
			case 1:
				behind = 0
			case 2:
				start(c.Floor())
			}
			floor := c.Raise()
			if floor.Before(last) || floor.After(noon.Add(passed)) {
				t.Fatalf("the floor was %s and is %s, at %s", last, floor, noon.Add(passed))
			}
			last = floor
		}
	})
}

// durations are from nothing to a hundred days, short ones as often as long ones.
func durations(t *rapid.T) time.Duration {
	unit := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
	return time.Duration(rapid.IntRange(0, 100).Draw(t, "units")) * unit
}
