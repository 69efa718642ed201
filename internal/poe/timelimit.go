package core

import (
	"math"
	"sync"
	"time"
)

// limits end what takes too long. One timer serves all of them, which costs much less than one for each: most are over long before their time is.
type limits struct {
	mu          sync.Mutex
	first, last *limit // soonest first
	timer       *time.Timer
	set         time.Time // when the timer goes off; zero: it does not run
}

// A limit is the time of one thing that is under way.
type limit struct {
	until      time.Time
	over       interface{ expire() } // what is told when the time is over
	prev, next *limit                // guarded by the mu of its limits
	listed     bool                  // likewise
}

func newLimits() *limits {
	l := new(limits)
	l.timer = time.AfterFunc(math.MaxInt64, l.tick)
	l.timer.Stop()
	return l
}

// begin has one be told when its time is over, unless end comes first. Where all have the same time it belongs at the end, or not far before it.
func (l *limits) begin(one *limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.listed = true
	one.prev = l.last
	for one.prev != nil && one.until.Before(one.prev.until) {
		one.prev = one.prev.prev
	}
	if one.prev == nil {
		one.next, l.first = l.first, one
	} else {
		one.next, one.prev.next = one.prev.next, one
	}
	if one.next == nil {
		l.last = one
	} else {
		one.next.prev = one
	}
	if l.set.IsZero() || one.until.Before(l.set) {
		l.wake(one.until)
	}
}

// wake sets the timer. It is called under mu.
func (l *limits) wake(at time.Time) {
	l.set = at
	l.timer.Reset(time.Until(at)) //nolint:forbidigo // as timers have it, not the ledger
}

// end takes one off. It may be called again, and may meet what is being told in this moment.
func (l *limits) end(one *limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlink(one)
}

// unlink is called under mu.
func (l *limits) unlink(one *limit) {
	switch {
	case !one.listed:
		return
	case one.prev == nil:
		l.first = one.next
	default:
		one.prev.next = one.next
	}
	if one.next == nil {
		l.last = one.prev
	} else {
		one.next.prev = one.prev
	}
	one.prev, one.next, one.listed = nil, nil, false
}

// tick tells those whose time is over.
func (l *limits) tick() {
	for _, one := range l.late() { // no other waits meanwhile for who is told
		one.over.expire()
	}
}

// late takes off those whose time is over, and sets the timer for the next one.
func (l *limits) late() (late []*limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() //nolint:forbidigo // as timers have it
	for l.first != nil {
		if now.Before(l.first.until) {
			l.wake(l.first.until)
			return late
		}
		late = append(late, l.first)
		l.unlink(l.first)
	}
	l.set = time.Time{}
	return late
}
