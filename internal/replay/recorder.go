package replay

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLimit is how much is kept of an answer by default, in bytes.
const DefaultLimit = 32 << 20

// RecorderConfig is what a Recorder is made of. Spool is required; a zero field has the default in its comment.
type RecorderConfig struct {
	Spool *Spool
	// Before has the fields that who stands in front of the handler has set, which sees them and can change them, as with net/http. They are sent
	// with the answer and, as far as it left them as they were, not kept with it: whoever repeats it comes past the same front.
	Before http.Header
	// Limit is how many bytes are kept of an answer; 32 MiB. A longer one is still spooled whole for its first
	// client, and is Purged.
	Limit int64
	// Inform is given the interim answers (100 to 199 except 101) as they come; its header is its own. nil: they are dropped.
	Inform func(status int, h http.Header)
	// Client is the client's writer, for the deadline of writing that a handler sets. nil: there is nobody to write to.
	Client http.ResponseWriter
	// Stream is called at most once, by the goroutine that writes, when the answer turns out to be one that is passed
	// through: its Content-Type is text/event-stream, or the spool has no room for more of it. The answer that it is given
	// has no body, and a Trailer that holds the declared names only. It settles the action and returns the client's writer
	// with the head already written (see SendHead). An error, or a nil writer, means that the client is gone: the rest is read
	// and dropped. It must not call the recorder. nil: all is recorded, and a full spool is the writer's error.
	Stream func(a *Answer) (http.ResponseWriter, error)
}

// A Recorder is an http.ResponseWriter that records a complete answer before any of it is sent. To a handler it behaves as
// the writer of a net/http server does: status and fields freeze with the first write, what is not allowed is
// refused with the same errors. It cannot be hijacked, and is never full duplex.
//
// One goroutine at a time writes and then calls Finish; Release may be called by any other, at any time.
type Recorder struct {
	cfg  RecorderConfig
	body *Body
	room Body // body

	header   http.Header  // the handler's; live until Finish, for trailers
	status   int          // 0: no head yet
	frozen   http.Header  // header as it was when the head was written
	sniffed  bool         // the time to find a Content-Type is over
	declared int64        // Content-Length, or -1
	trailers []string     // the names that were declared
	offered  int64        // content that the handler tried to write
	size     atomic.Int64 // content that was taken; who was left behind may still count when it is finished
	err      error        // sticks: a body that could not be taken whole
	answer   *Answer      // made, once it is whole
	made     Answer
	released atomic.Bool
	finished atomic.Bool // the handler has ended: what is written now comes from somebody whom it has left behind

	streaming bool       // the content no longer goes to the spool
	prompt    bool       // of an event stream
	client    sync.Mutex // held while the client's writer is used, so that Release can promise an end to it
	stream    http.ResponseWriter
	deadline  sync.Mutex // held while the deadline of the client's connection is set, for the same promise; it does not wait for a write that stalls
}

// NewRecorder returns a recorder for one answer. Its owner must Release it.
func NewRecorder(cfg RecorderConfig) *Recorder {
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	r := &Recorder{cfg: cfg, header: cfg.Before.Clone(), declared: -1}
	if r.header == nil {
		r.header = http.Header{}
	}
	r.room.spool, r.body = cfg.Spool, &r.room
	return r
}

// Header returns the fields that will be frozen by the first WriteHeader, Write or Flush. After that only trailers
// can be set in it: those that were declared, and those under http.TrailerPrefix.
func (r *Recorder) Header() http.Header { return r.header }

// Status returns the status of the answer so far, or 0 while there is none.
func (r *Recorder) Status() int { return r.status }

// WriteHeader fixes status and fields. 1xx, except 101, are handed on and fix nothing. A second final status is ignored.
// A status that is not of three digits panics, as in net/http.
func (r *Recorder) WriteHeader(status int) {
	if r.status != 0 || r.finished.Load() {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		r.inform(status)
		return
	}
	r.status = status
	r.freeze()
	r.begin()
}

// WriteHead is WriteHeader for who has the head of a final answer and gives its fields away, values included: they are not copied, and what is in Header is not
// looked at. Those of the connection are left out (RFC 9110, section 7.6.1), and those of Before are there unless h has them.
func (r *Recorder) WriteHead(status int, h http.Header) {
	if r.status != 0 {
		return
	}
	r.status = status
	r.announce(h["Trailer"])
	named := connectionNamed(h)
	for name := range h {
		if ofConnection(name, named) || !r.kept(name) {
			delete(h, name)
		}
	}
	for name, values := range r.cfg.Before {
		if _, ok := h[name]; !ok && r.kept(name) {
			h[name] = slices.Clone(values)
		}
	}
	r.frozen = h
	r.begin()
}

// begin is what follows when the fields are frozen.
func (r *Recorder) begin() {
	r.freezeLength()
	if r.cfg.Stream != nil && isEventStream(r.frozen) && bodyAllowed(r.status) {
		r.prompt = true
		r.startStream(nil)
	}
}

func (r *Recorder) inform(status int) {
	if r.cfg.Inform == nil {
		return
	}
	h := CopyFields(r.header, 0, r.kept)
	h.Del("Content-Length") // RFC 9110 section 8.6
	DropOfConnection(h)     // httputil.ReverseProxy leaves them there
	r.client.Lock()
	defer r.client.Unlock()
	if !r.released.Load() && !r.finished.Load() {
		r.cfg.Inform(status, h)
	}
}

// freeze takes the fields as they are, without what only the gate says, and without trailers and their announcement, which it notes.
func (r *Recorder) freeze() {
	r.frozen = CopyFields(r.header, 1, r.kept) // one more: a Content-Type that is found
	r.announce(r.header["Trailer"])
}

func (*Recorder) kept(name string) bool {
	return name != "Trailer" && !reserved(name) && !replayed(name) && !strings.HasPrefix(name, http.TrailerPrefix)
}

// announce notes the names of trailers.
func (r *Recorder) announce(lists []string) {
	for _, list := range lists {
		for name := range elements(list) {
			if name = http.CanonicalHeaderKey(name); validTrailer(name) && r.kept(name) && !slices.Contains(r.trailers, name) {
				r.trailers = append(r.trailers, name)
			}
		}
	}
}

func (r *Recorder) freezeLength() {
	v := first(r.frozen["Content-Length"])
	if v == "" {
		return
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		delete(r.frozen, "Content-Length")
		return
	}
	r.declared = n
	if bodyAllowed(r.status) {
		r.body.Expect(n)
	}
}

// Write takes p whole or not at all. Errors: http.ErrBodyNotAllowed, http.ErrContentLength, ErrSpoolFull where there is no
// Stream to go on with, ErrReleased.
func (r *Recorder) Write(p []byte) (int, error) {
	if r.finished.Load() {
		return 0, fmt.Errorf("writing after the handler has returned: %w", ErrReleased)
	}
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !bodyAllowed(r.status) {
		return 0, http.ErrBodyNotAllowed
	}
	r.offered += int64(len(p))
	if r.declared >= 0 && r.offered > r.declared {
		return 0, http.ErrContentLength
	}
	if err := r.take(p); err != nil {
		return 0, err
	}
	r.size.Add(int64(len(p)))
	return len(p), nil
}

// take puts p where the content goes: to the client once it streams, into the spool otherwise.
func (r *Recorder) take(p []byte) error {
	switch {
	case r.err != nil:
		return r.err
	case r.released.Load():
		return r.fail(ErrReleased)
	case r.streaming:
		r.pass(p)
		return nil
	}
	_, err := r.body.Write(p)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrReleased) { // by somebody whom the handler has left behind: of no answer
		return err
	}
	if r.cfg.Stream == nil || !errors.Is(err, ErrSpoolFull) {
		return r.fail(err)
	}
	r.startStream(p)
	r.pass(p)
	return nil
}

// fail notes that the content could not be taken whole, unless the handler has ended: then it is that of somebody whom it has left behind.
func (r *Recorder) fail(err error) error {
	err = fmt.Errorf("recording an answer: %w", err)
	r.client.Lock()
	defer r.client.Unlock()
	if !r.finished.Load() {
		r.err = err
	}
	return err
}

// ReadFrom takes src to its end as a sequence of writes; those of an event stream are flushed one by one.
// The error is that of Write, or src's own.
func (r *Recorder) ReadFrom(src io.Reader) (int64, error) {
	return r.cfg.Spool.copyIn(r.writeChunk, src, math.MaxInt64)
}

func (r *Recorder) writeChunk(p []byte) (int, error) {
	n, err := r.Write(p)
	if err == nil && r.prompt {
		r.flushStream()
	}
	return n, err
}

// Flush fixes the head if nothing did so far. What is recorded is not sent by it; what streams is.
func (r *Recorder) Flush() { _ = r.FlushError() } // FlushError never fails

// FlushError is Flush as http.ResponseController wants it. It returns nil.
func (r *Recorder) FlushError() error {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.streaming {
		r.flushStream()
		return nil
	}
	r.client.Lock()
	defer r.client.Unlock()
	if !r.finished.Load() {
		r.sniff(nil) // what comes later is too late to tell the type, as in net/http
	}
	return nil
}

// SetWriteDeadline sets the deadline of the client's connection, as http.ResponseController wants it: the answer is written to it later, and the
// server's own deadline may have been meant for faster handlers. After End or Release it does nothing.
func (r *Recorder) SetWriteDeadline(at time.Time) error {
	r.deadline.Lock()
	defer r.deadline.Unlock()
	if r.cfg.Client == nil || r.released.Load() || r.finished.Load() {
		return nil
	}
	return http.NewResponseController(r.cfg.Client).SetWriteDeadline(at)
}

// SetReadDeadline returns nil: the request's body is here, and reading it waits for nobody.
func (r *Recorder) SetReadDeadline(time.Time) error { return nil }

// bodyAllowed tells whether an answer with that status can have content (RFC 9110 section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
