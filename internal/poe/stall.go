package core

import (
	"math"
	"net/http"
	"sync"
	"time"
)

// A limit on time is kept by a timer of our own that puts the connection's deadline into the past: that needs no clock, and
// only what is still under way is touched. Writers that have no deadlines (in tests) are left alone.

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// readings are the bodies that are on their way. All have the same time, and so it ends for them in the order in which they began: one timer is enough,
// which costs much less than one for each.
type readings struct {
	time time.Duration

	mu          sync.Mutex
	first, last *reading
	timer       *time.Timer
	ticks       bool // the timer runs
}

// A reading is a body on its way.
type reading struct {
	w          http.ResponseWriter
	until      time.Time
	prev, next *reading
}

func newReadings(d time.Duration) *readings {
	r := &readings{time: d}
	r.timer = time.AfterFunc(math.MaxInt64, r.tick)
	r.timer.Stop()
	return r
}

// begin ends reading the body of the request that w answers when its time is over, unless end comes first.
func (r *readings) begin(w http.ResponseWriter) *reading {
	one := &reading{w: w, until: time.Now().Add(r.time)} //nolint:forbidigo // as timers have it, not the ledger
	r.mu.Lock()
	defer r.mu.Unlock()
	if one.prev = r.last; one.prev == nil {
		r.first = one
	} else {
		one.prev.next = one
	}
	r.last = one
	if !r.ticks {
		r.ticks = true
		r.timer.Reset(r.time)
	}
	return one
}

// end takes one off.
func (r *readings) end(one *reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(one)
}

func (r *readings) remove(one *reading) {
	switch {
	case one.w == nil: // it is off
		return
	case one.prev == nil:
		r.first = one.next
	default:
		one.prev.next = one.next
	}
	if one.next == nil {
		r.last = one.prev
	} else {
		one.next.prev = one.prev
	}
	*one = reading{}
}

// tick ends those whose time is over.
func (r *readings) tick() {
	for _, w := range r.over() { // nobody waits meanwhile for what may not be ours
		_ = http.NewResponseController(w).SetReadDeadline(longAgo)
	}
}

// over takes off those whose time is over, and has the timer run until it is over for the next one.
func (r *readings) over() (late []http.ResponseWriter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.first != nil {
		if left := time.Until(r.first.until); left > 0 { //nolint:forbidigo // as timers have it
			r.timer.Reset(left)
			return late
		}
		late = append(late, r.first.w)
		r.remove(r.first)
	}
	r.ticks = false
	return late
}

// smallAnswer is what net/http keeps until its handler has returned: below it nothing can stall us. What a connection's own buffers take does not
// count: they may be full already, and HTTP/2 has a window for each answer.
const smallAnswer = 2 << 10

// A stallWriter ends a connection whose client takes nothing for a while, so that it cannot hold an answer for ever.
type stallWriter struct {
	http.ResponseWriter
	limit time.Duration
	timer *time.Timer
}

// unlessStalled returns w for an answer of size bytes, and what must be called when it is sent.
func unlessStalled(w http.ResponseWriter, size int64, limit time.Duration) (http.ResponseWriter, func()) {
	if size <= smallAnswer {
		return w, func() {}
	}
	timer := limitWrite(w, limit)
	return &stallWriter{ResponseWriter: w, limit: limit, timer: timer}, func() { timer.Stop() }
}

// Write passes on, and gives the client its time again.
func (s *stallWriter) Write(p []byte) (int, error) {
	s.timer.Reset(s.limit)
	return s.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach what the server offers.
func (s *stallWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// limitWrite ends writing to the client after d, unless it is stopped.
func limitWrite(w http.ResponseWriter, d time.Duration) *time.Timer {
	return time.AfterFunc(d, func() { _ = http.NewResponseController(w).SetWriteDeadline(longAgo) })
}

// A StreamWriter is for an answer that may be silent for as long as it likes, but of which a client must not leave a piece untaken for long: then
// writing fails.
type StreamWriter struct {
	http.ResponseWriter
	limit time.Duration
	timer *time.Timer // nil: nothing was written yet
}

// NewStreamWriter returns one that gives the client of w so long for each piece.
func NewStreamWriter(w http.ResponseWriter, limit time.Duration) *StreamWriter {
	return &StreamWriter{ResponseWriter: w, limit: limit}
}

// WriteHeader passes on: an interim answer is written at once.
func (s *StreamWriter) WriteHeader(status int) {
	defer s.limited().Stop()
	s.ResponseWriter.WriteHeader(status)
}

// Write passes on.
func (s *StreamWriter) Write(p []byte) (int, error) {
	defer s.limited().Stop()
	return s.ResponseWriter.Write(p)
}

// FlushError passes on what was written.
func (s *StreamWriter) FlushError() error {
	defer s.limited().Stop()
	return http.NewResponseController(s.ResponseWriter).Flush()
}

func (s *StreamWriter) limited() *time.Timer {
	if s.timer == nil {
		s.timer = limitWrite(s.ResponseWriter, s.limit)
	} else {
		s.timer.Reset(s.limit)
	}
	return s.timer
}

// Unwrap lets http.ResponseController reach what the server offers.
func (s *StreamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
