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

// smallAnswer is what a connection's buffers take without the client: below it nothing can stall us.
const smallAnswer = 64 << 10

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
	timer := time.AfterFunc(limit, func() { _ = http.NewResponseController(w).SetWriteDeadline(longAgo) })
	return &stallWriter{ResponseWriter: w, limit: limit, timer: timer}, func() { timer.Stop() }
}

// Write passes on, and gives the client its time again.
func (s *stallWriter) Write(p []byte) (int, error) {
	s.timer.Reset(s.limit)
	return s.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach what the server offers.
func (s *stallWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
