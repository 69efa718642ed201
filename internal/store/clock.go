package store

import (
	"sync/atomic"
	"time"
)

// tolerance is how far wall time may run ahead of monotonic time and still be believed.
const tolerance = time.Minute

// A Clock is a ledger's time: the wall clock's, but never behind what the ledger has already seen, so that a clock that
// is set back revives nothing.
//
// The floor follows wall time only as far as monotonic time agrees. A clock that leaps ahead so refuses claims
// while it is wrong, but makes nothing forgotten, and leaves no mark once it is right again.
// All methods may be called concurrently.
type Clock struct {
	wall    func() time.Time
	start   time.Time
	elapsed func(now time.Time) time.Duration // since start, by the monotonic clock where the system has one
	floor   atomic.Int64                      // Unix milliseconds
}

// NewClock returns a clock over wall that never runs behind floor, the last time that the ledger has stored.
func NewClock(wall func() time.Time, floor time.Time) *Clock {
	c := &Clock{wall: wall, start: wall()}
	// Sub takes the difference of the monotonic readings where both times carry one.
	c.elapsed = func(now time.Time) time.Duration { return now.Sub(c.start) }
	if !floor.IsZero() {
		c.floor.Store(floor.UnixMilli())
	}
	return c
}

// Now returns the time by which claims expire: the wall clock's or the floor, whichever is later.
func (c *Clock) Now() time.Time {
	now := c.wall()
	if f := c.Floor(); now.Before(f) {
		return f
	}
	return now
}

// Raise lifts the floor to the present, as far as that is to be believed, and returns the floor.
// What a write stamps into the ledger comes from here, and so does the time up to which shelves are swept.
func (c *Clock) Raise() time.Time { return c.raise(c.wall()) }

// Tick raises the floor and returns what Now does, with one look at the wall clock.
func (c *Clock) Tick() time.Time {
	now := c.wall()
	if f := c.raise(now); now.Before(f) {
		return f
	}
	return now
}

func (c *Clock) raise(now time.Time) time.Time {
	believed := c.start.Round(0).Add(c.elapsed(now) + tolerance)
	ms := min(now.UnixMilli(), believed.UnixMilli())
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

// Floor returns the floor, or the zero time if there is none yet.
func (c *Clock) Floor() time.Time {
	if f := c.floor.Load(); f > 0 {
		return time.UnixMilli(f).UTC()
	}
	return time.Time{}
}
