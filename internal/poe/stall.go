package core

import (
	"net/http"
	"time"
)

// A limit on time is kept by a timer of our own that puts the connection's deadline into the past: that needs no clock, and
// only what is still under way is touched. Writers that have no deadlines (in tests) are left alone.

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// limitRead ends reading the request's body after d. The returned function lifts the limit.
func limitRead(w http.ResponseWriter, d time.Duration) (lift func() bool) {
	return time.AfterFunc(d, func() { _ = http.NewResponseController(w).SetReadDeadline(longAgo) }).Stop
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

// A streamWriter is a stallWriter for an answer that may be silent for as long as it likes: only what is being written has to be taken.
type streamWriter struct {
	http.ResponseWriter
	limit time.Duration
}

// Write passes on.
func (s *streamWriter) Write(p []byte) (int, error) {
	defer limitWrite(s.ResponseWriter, s.limit).Stop()
	return s.ResponseWriter.Write(p)
}

// FlushError passes on what was written.
func (s *streamWriter) FlushError() error {
	defer limitWrite(s.ResponseWriter, s.limit).Stop()
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach what the server offers.
func (s *streamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
