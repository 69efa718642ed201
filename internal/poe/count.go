package core

import "sync/atomic"

// A count is how many of something are under way.
type count struct{ n atomic.Int64 }

// begin counts one more, unless there are as many as may be.
func (c *count) begin(most int) bool {
	for {
		n := c.n.Load()
		if n >= int64(most) {
			return false
		}
		if c.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *count) end() { c.n.Add(-1) }
