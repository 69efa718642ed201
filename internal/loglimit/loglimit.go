// Package loglimit holds the log to one line a minute about what lasts, or what strangers can bring about as often as they like: the log may lie
// on the disk that is full.
package loglimit

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// every is how often a line is written at most.
const every = time.Minute

// A Line is one that would be written again and again. The zero Line has not been written yet. Several goroutines may use it.
type Line struct {
	mu      sync.Mutex
	written time.Time // guarded by mu, as is what follows
	left    int       // how many were left out since
}

// Limit returns e, with how many lines were left out before it (left_out), if it is to be written at now. Otherwise it counts it and returns nil,
// which zerolog writes nothing for.
func (l *Line) Limit(e *zerolog.Event, now time.Time) *zerolog.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.written.IsZero() && now.Sub(l.written).Abs() < every { // a clock that was ahead then may have been set back
		l.left++
		return e.Discard()
	}
	if l.left > 0 {
		e = e.Int("left_out", l.left)
	}
	l.written, l.left = now, 0
	return e
}
