package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// tolerance is how far wall time may run ahead of monotonic time and still be believed; leap is from where on somebody must say that it is right.
const (
	tolerance = time.Minute
	leap      = time.Hour
)

// A Clock is a ledger's time: the wall clock's, but never behind what the ledger has already seen, so that a clock that
// is set back revives nothing.
//
// The floor follows wall time only as far as monotonic time agrees. A clock that leaps ahead so refuses claims
// while it is wrong, but makes nothing forgotten, and leaves no mark once it is right again. After a leap of more than an hour nothing is
// forgotten at all, until it is taken back or confirmed.
//
// A wall clock that is more than a minute behind the floor was set back wrongly, or is right again after the ledger was used with one that was ahead. The floor then
// goes on at half the pace of monotonic time until the wall clock has caught up. So it passes the true time no further than it has, and what expires or is to
// be done later takes twice as long, and does not wait for a clock that was a year ahead.
//
// At the start there is no monotonic time to compare with. A clock that is more than an hour ahead of the stored floor may be wrong, or the machine
// was off for that long; one that is behind it is wrong. It is on trial then: it is believed when it has agreed with monotonic time for an hour. Meanwhile
// the floor does not follow it, so that a clock which is corrected in that time has done no harm.
// All methods may be called concurrently.
type Clock struct {
	wall    func() time.Time
	start   time.Time
	elapsed func(now time.Time) time.Duration // since start, by the monotonic clock where the system has one
	floor   atomic.Int64                      // Unix milliseconds
	shift   atomic.Int64                      // nanoseconds by which start is corrected

	seen atomic.Int64 // Unix milliseconds: what was told last, which no record may have

	trial atomic.Bool
	mu    sync.Mutex    // guards what follows, and changes of trial and shift
	since time.Duration // when the trial began, as elapsed says it
	slew  struct {
		floor int64         // Unix milliseconds: where the floor was brought to at half pace
		at    time.Duration // and when, as elapsed says it
	}
}

// NewClock returns a clock over wall that never runs behind floor, the last time that the ledger has stored.
func NewClock(wall func() time.Time, floor time.Time) *Clock {
	c := &Clock{wall: wall, start: wall()}
	// Sub takes the difference of the monotonic readings where both times carry one.
	c.elapsed = func(now time.Time) time.Duration { return now.Sub(c.start) }
	if !floor.IsZero() {
		c.floor.Store(floor.UnixMilli())
		c.trial.Store(c.doubtful(c.start))
	}
	return c
}

// doubtful tells whether now does not follow from the floor: something is wrong with the clock, or the ledger was not used for a while.
func (c *Clock) doubtful(now time.Time) bool {
	ahead := now.Sub(c.Floor())
	return ahead > leap || ahead < -tolerance
}

// expected is the time by the monotonic clock.
func (c *Clock) expected(elapsed time.Duration) time.Time {
	return c.start.Round(0).Add(elapsed + time.Duration(c.shift.Load()))
}

// onTrial tells whether the clock is on trial at now, and ends the trial where it may.
func (c *Clock) onTrial(now time.Time) bool {
	if !c.trial.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := c.elapsed(now)
	if leapt := now.Round(0).Sub(c.expected(passed)); leapt.Abs() > tolerance { // it was corrected: another clock, and another trial
		c.shift.Add(int64(leapt))
		c.since = passed
	}
	if passed-c.since >= leap || !c.doubtful(now) {
		c.trial.Store(false)
	}
	return c.trial.Load()
}

// Ahead returns by how much the wall clock is ahead of what can be believed, while that is more than an hour, and zero otherwise. As long as it is not
// zero nothing may be forgotten.
func (c *Clock) Ahead() time.Duration {
	now := c.wall()
	if c.onTrial(now) {
		return max(now.Sub(c.Floor()), 0)
	}
	if ahead := now.Round(0).Sub(c.expected(c.elapsed(now))); ahead > leap {
		return ahead
	}
	return 0
}

// Behind returns by how much the wall clock is behind the floor, while that is more than a minute, and zero otherwise. Until it has caught up, time goes at half its pace.
func (c *Clock) Behind() time.Duration {
	if behind := c.Floor().Sub(c.wall()); behind > tolerance {
		return behind
	}
	return 0
}

// Confirm has it that the wall clock is right, whatever it did.
func (c *Clock) Confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.wall()
	c.shift.Add(int64(now.Round(0).Sub(c.expected(c.elapsed(now)))))
	c.trial.Store(false)
}

// Now returns the time by which claims expire: the wall clock's or the floor, whichever is later.
func (c *Clock) Now() time.Time {
	return c.told(c.wall(), c.Floor())
}

// told returns the time that is told at now: not before the floor, which may be behind, and not before what was told last, unless the clock was
// corrected by more than the tolerance.
func (c *Clock) told(now, floor time.Time) time.Time {
	for ms, set := now.UnixMilli(), false; !set; {
		last := c.seen.Load()
		if back := last - ms; back > 0 && back <= tolerance.Milliseconds() {
			now = time.UnixMilli(last).UTC()
			break
		}
		set = last == ms || c.seen.CompareAndSwap(last, ms)
	}
	if now.Before(floor) {
		return floor
	}
	return now
}

// Raise lifts the floor to the present, as far as that is to be believed, and returns the floor.
// What a write stamps into the ledger comes from here, and so does the time up to which shelves are swept.
func (c *Clock) Raise() time.Time { return c.raise(c.wall()) }

// Tick raises the floor and returns what Now does, with one look at the wall clock.
func (c *Clock) Tick() time.Time {
	now := c.wall()
	return c.told(now, c.raise(now))
}

func (c *Clock) raise(now time.Time) time.Time {
	trial := c.onTrial(now)
	ms := now.UnixMilli()
	switch f := c.floor.Load(); {
	case f-ms > tolerance.Milliseconds():
		return c.slewed()
	case trial:
		return c.Floor()
	case f >= ms: // mostly somebody was here in this millisecond
		return time.UnixMilli(f).UTC()
	}
	believed := c.expected(c.elapsed(now)).Add(tolerance)
	ms = min(ms, believed.UnixMilli())
	for {
		f := c.floor.Load()
		if f >= ms {
			return time.UnixMilli(f).UTC()
		}
		if c.floor.CompareAndSwap(f, ms) {
			return time.UnixMilli(ms).UTC()
		}
	}
}

// slewed brings the floor on at half the pace of monotonic time, while the wall clock is behind it. It looks at the clock with the lock held: by what somebody
// has seen before others brought the floor on, the same time would be counted again.
func (c *Clock) slewed() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed, f := c.elapsed(c.wall()), c.floor.Load()
	if f != c.slew.floor || passed < c.slew.at { // it begins
		c.slew.floor, c.slew.at = f, passed
	}
	if half := ((passed - c.slew.at) / 2).Truncate(time.Millisecond); half > 0 && c.floor.CompareAndSwap(f, f+half.Milliseconds()) {
		c.slew.floor += half.Milliseconds()
		c.slew.at += 2 * half
	}
	return c.Floor()
}

// Floor returns the floor, or the zero time if there is none yet.
func (c *Clock) Floor() time.Time {
	if f := c.floor.Load(); f > 0 {
		return time.UnixMilli(f).UTC()
	}
	return time.Time{}
}
