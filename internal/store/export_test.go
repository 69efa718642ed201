package store

import "time"

// SetElapsed replaces the monotonic clock, which cannot be made to differ from the wall clock otherwise.
func (c *Clock) SetElapsed(f func(now time.Time) time.Duration) { c.elapsed = f }
