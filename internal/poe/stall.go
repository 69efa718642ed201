package core

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/postonce/poe/internal/replay"
)

// A limit on time is kept by a timer of our own that puts the connection's deadline into the past: that needs no clock, and
// only what is still under way is touched. Writers that have no deadlines (in tests) are left alone.

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// A reading is a body on its way.
type reading struct {
	limit

	mu sync.Mutex          // held while the deadline is set
	w  http.ResponseWriter // nil: it has ended, and a writer of HTTP/2 must not be touched when its handler has returned
}

// beginReading ends reading the body of the request that w answers after d, unless endReading comes first.
func (l *limits) beginReading(w http.ResponseWriter, d time.Duration) *reading {
	r := &reading{w: w}
	r.until, r.over = time.Now().Add(d), r //nolint:forbidigo // as timers have it, not the ledger
	l.begin(&r.limit)
	return r
}

// endReading lifts the limit. The writer is left alone from then on.
func (l *limits) endReading(r *reading) {
	l.end(&r.limit)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w = nil
}

// expire ends it, unless it has ended.
func (r *reading) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.w != nil {
		_ = http.NewResponseController(r.w).SetReadDeadline(longAgo)
	}
}

// A stallWriter ends a connection whose client takes nothing for a while, so that it cannot hold an answer for ever.
type stallWriter struct {
	http.ResponseWriter
	limit time.Duration
	timer *writeLimit
}

// unlessStalled returns w for an answer of size bytes, and what must be called when it is sent.
func unlessStalled(w http.ResponseWriter, size int64, limit time.Duration) (http.ResponseWriter, func()) {
	if size < replay.ShortAnswer { // nothing can stall us. What a connection's own buffers take does not count: they may be full, and HTTP/2 has a window for each answer
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
	if status < 200 && status != http.StatusSwitchingProtocols {
		writeInterim(s.ResponseWriter, status)
		return
	}
	s.ResponseWriter.WriteHeader(status)
}

// writeInterim writes an interim answer of the fields that w, which is net/http's, has. Over HTTP/2 they are handed to another goroutine, which may still read them
// when the stream has ended and WriteHeader has returned; whoever changes them then ends the process. A copy is taken where there is a field that an
// interim answer must not have, and that one is left out.
func writeInterim(w http.ResponseWriter, status int) {
	h := w.Header()
	if _, ok := h["Content-Length"]; !ok {
		h["Content-Length"] = []string{"0"}
		defer delete(h, "Content-Length")
	}
	w.WriteHeader(status)
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

const (
	soaked    = 256 << 10              // what a client may still send of a body that nobody needs, in bytes; over HTTP/1 net/http takes as much
	soakTime  = time.Second            // how long it may take for that
	lingering = 100 * time.Millisecond // how long the stream of a longer one stays open after its answer
)

// soak takes what is left of a body that was answered before it was read, over HTTP/2, before that answer goes out. RFC 9113, section 8.1, lets a server end a
// stream while the client still sends; not every client copes with it, and curl shows nothing of the answer then.
func soak(w http.ResponseWriter, r *http.Request, patience time.Duration) {
	if r.ProtoMajor != 2 || r.ContentLength == 0 {
		return
	}
	if r.ContentLength < 0 || r.ContentLength > soaked {
		Linger(NewStreamWriter(w, patience), r)
		return
	}
	if http.NewResponseController(w).SetReadDeadline(time.Now().Add(soakTime)) != nil { //nolint:forbidigo // as the connection has it
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, soaked) // it does not matter what came
}

// Linger has a client of HTTP/2, which may send on, take the whole of a refusal before its handler returns: then net/http ends the stream and resets it, and curl
// forgets the answer if it meets both in one piece. It is not for a success, with which curl sends on in any case, and waits for ever if it is not reset at once.
func Linger(w *StreamWriter, r *http.Request) {
	if r.Context().Err() != nil || w.FlushError() != nil {
		return
	}
	limit := time.NewTimer(lingering)
	defer limit.Stop()
	select {
	case <-r.Context().Done(): // it has ended the stream
	case <-limit.C:
	}
}
