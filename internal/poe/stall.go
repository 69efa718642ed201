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
	until      time.Time
	prev, next *reading // guarded by the mu of its readings
	listed     bool     // likewise

	mu sync.Mutex          // held while the deadline is set
	w  http.ResponseWriter // nil: it has ended, and a writer of HTTP/2 must not be touched when its handler has returned
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
	r.last, one.listed = one, true
	if !r.ticks {
		r.ticks = true
		r.timer.Reset(r.time)
	}
	return one
}

// end takes one off. Its writer is left alone from then on.
func (r *readings) end(one *reading) {
	r.remove(one)
	one.mu.Lock()
	defer one.mu.Unlock()
	one.w = nil
}

func (r *readings) remove(one *reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlink(one)
}

// unlink is called under mu.
func (r *readings) unlink(one *reading) {
	switch {
	case !one.listed:
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
	one.prev, one.next, one.listed = nil, nil, false
}

// expire ends it, unless it has ended.
func (one *reading) expire() {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.w != nil {
		_ = http.NewResponseController(one.w).SetReadDeadline(longAgo)
	}
}

// tick ends those whose time is over.
func (r *readings) tick() {
	for _, one := range r.over() { // no other waits meanwhile for a writer that may not be the server's own
		one.expire()
	}
}

// over takes off those whose time is over, and has the timer run until it is over for the next one.
func (r *readings) over() (late []*reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.first != nil {
		if left := time.Until(r.first.until); left > 0 { //nolint:forbidigo // as timers have it
			r.timer.Reset(left)
			return late
		}
		late = append(late, r.first)
		r.unlink(r.first)
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
	timer *writeLimit
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

// A writeLimit ends writing to a client after a time. Once it is stopped it leaves the writer alone, as a reading does.
type writeLimit struct {
	timer *time.Timer

	mu sync.Mutex
	w  http.ResponseWriter
	on bool
}

// limitWrite ends writing to the client after d, unless it is stopped.
func limitWrite(w http.ResponseWriter, d time.Duration) *writeLimit {
	l := &writeLimit{w: w, on: true}
	l.timer = time.AfterFunc(d, l.expire)
	return l
}

func (l *writeLimit) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		_ = http.NewResponseController(l.w).SetWriteDeadline(longAgo)
	}
}

// Reset gives the client d again.
func (l *writeLimit) Reset(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = true
	l.timer.Reset(d)
}

// Stop lifts the limit.
func (l *writeLimit) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = false
	l.timer.Stop()
}

// A StreamWriter is for an answer that may be silent for as long as it likes, but of which a client must not leave a piece untaken for long: then
// writing fails.
type StreamWriter struct {
	http.ResponseWriter
	limit time.Duration
	timer *writeLimit // nil: nothing was written yet
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

func (s *StreamWriter) limited() *writeLimit {
	if s.timer == nil {
		s.timer = limitWrite(s.ResponseWriter, s.limit)
	} else {
		s.timer.Reset(s.limit)
	}
	return s.timer
}

// Unwrap lets http.ResponseController reach what the server offers.
func (s *StreamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
