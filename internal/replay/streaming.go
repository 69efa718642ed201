package replay

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/postonce/poe/internal/store"
)

// startStream turns the answer from one that is recorded into one that is passed through, and hands on what was recorded.
// The write of next comes after it.
func (r *Recorder) startStream(next []byte) {
	if r.settleStream(next) {
		r.body.Release()
		r.flushStream()
	}
}

// settleStream asks for the client's writer and gives it what was recorded so far. It returns false where the handler has returned meanwhile.
func (r *Recorder) settleStream(next []byte) bool {
	r.client.Lock()
	defer r.client.Unlock()
	if r.finished.Load() {
		return false
	}
	r.streaming = true
	r.sniff(next)
	a := &Answer{Status: r.status, Header: r.frozen, Trailer: http.Header{}, Where: store.Streamed, Size: r.size.Load(), Before: r.cfg.Before}
	for _, name := range r.trailers {
		a.Trailer[name] = nil
	}
	if r.released.Load() {
		return true
	}
	w, err := r.cfg.Stream(a)
	if err != nil || w == nil {
		return true
	}
	if _, err := r.body.Reader().WriteTo(w); err == nil {
		r.stream = w
	}
	return true
}

// pass writes p to the client. A client that is gone makes no difference to the handler: its work goes on.
func (r *Recorder) pass(p []byte) {
	r.client.Lock()
	defer r.client.Unlock()
	if r.stream == nil {
		return
	}
	if _, err := r.stream.Write(p); err != nil {
		r.stream = nil
	}
}

func (r *Recorder) flushStream() {
	r.client.Lock()
	defer r.client.Unlock()
	if r.stream == nil {
		return
	}
	// A writer that cannot flush, or a client that is gone, is found out by the next write.
	_ = http.NewResponseController(r.stream).Flush()
}

// passTrailer sets the trailers of an answer that was passed through.
func (r *Recorder) passTrailer(trailer http.Header) {
	r.client.Lock()
	defer r.client.Unlock()
	if r.stream == nil {
		return
	}
	setTrailer(r.stream.Header(), trailer)
}

// End says that the handler has ended, however it did: what is written from now on comes from somebody whom it has left behind, and is of no answer. It waits
// for a Stream or a write to the client that is under way, as Release does. It may be called more than once.
func (r *Recorder) End() {
	r.client.Lock()
	defer r.client.Unlock()
	r.finished.Store(true)
	r.body.Seal()
}

// Release gives back what the recorder holds, the Body of its answer included. When it has returned, the writer that Stream gave is
// not used any more, nor is Client, and neither Stream nor Inform is called. It may be called more than once and at any time, also
// while a handler that nobody waits for still writes; that one then gets ErrReleased.
//
// It waits for a Stream or a write to the client that is under way, so a client that does not read needs a write deadline.
func (r *Recorder) Release() {
	r.deadline.Lock()
	r.released.Store(true)
	r.deadline.Unlock()
	r.client.Lock()
	r.stream = nil
	r.client.Unlock()
	r.body.Release()
}

func isEventStream(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(textproto.TrimString(media), "text/event-stream")
}
