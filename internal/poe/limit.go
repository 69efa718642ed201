package core

import (
	"context"
	"sync/atomic"
	"time"
)

// A limit is the parent of an execution's context, and ends it as a deadline does. But it can be lifted: an answer that streams may take longer.
// Nobody but its one child sees it.
type limit struct {
	context.Context //nolint:containedctx // it is one

	after  time.Duration
	at     time.Time
	timer  *time.Timer
	lifted atomic.Bool
}

// never is the Done of all limits: their child is told by AfterFunc.
var never = make(chan struct{})

// Done tells that there is an end to wait for.
func (*limit) Done() <-chan struct{} { return never }

// AfterFunc begins the time, and calls f when it is over. See context.AfterFunc.
func (l *limit) AfterFunc(f func()) (stop func() bool) {
	l.at = time.Now().Add(l.after) //nolint:forbidigo // as the timer has it, not the ledger
	l.timer = time.AfterFunc(l.after, f)
	return func() bool { return false } // lift stops it
}

// Err is why the child has ended, which alone asks.
func (*limit) Err() error { return context.DeadlineExceeded }

// Deadline returns when the time is over, as long as it is limited.
func (l *limit) Deadline() (time.Time, bool) {
	if l.lifted.Load() {
		return time.Time{}, false
	}
	return l.at, true
}

// lift takes the limit away.
func (l *limit) lift() {
	l.lifted.Store(true)
	l.timer.Stop()
}
