package replay

import (
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/postonce/poe/internal/store"
)

// An Answer is a complete answer, or the head of one that is passed through.
type Answer struct {
	Status  int
	Header  http.Header // without Trailer; without Content-Length except where it is Streamed
	Trailer http.Header // nil: none
	Body    *Body       // nil where it is Streamed; belongs to the recorder
	Where   store.Where // Inline, Beside, Purged or Streamed: how it should be kept
	Size    int64       // of the content, in bytes; what was seen of it where it is Streamed
	Digest  [32]byte    // SHA-256 of the content; zero where it is Streamed
	Before  http.Header // of the recorder's configuration
}

// Blob returns what a record keeps of the answer. Where it is Beside, the caller puts Body into the ledger and sets Part.
// The content is shared with Body and must not be changed.
func (a *Answer) Blob() (store.Blob, error) {
	b := store.Blob{Head: a.Head(), Where: a.Where, Size: a.Size, Digest: a.Digest}
	if a.Where == store.Inline && a.Size > 0 {
		content, err := a.Body.ReadAll()
		if err != nil {
			return store.Blob{}, err
		}
		b.Content = content
	}
	return b, nil
}

// Head returns what a record keeps of the answer's fields, as EncodeHead does.
func (a *Answer) Head() []byte {
	if len(a.Before) == 0 {
		return EncodeHead(a.Header, a.Trailer)
	}
	own := make(http.Header, len(a.Header))
	for name, values := range a.Header {
		had := a.Before[name]
		switch {
		case name == "Content-Type", name == "Content-Language": // the content is kept, and it would not be known what it is
		case Additive(name) && len(had) <= len(values) && slices.Equal(had, values[:len(had)]):
			values = values[len(had):] // what is added to will be there again, and these after it
		case slices.Equal(had, values):
			continue
		}
		own[name] = values
	}
	return EncodeHead(own, a.Trailer)
}

// Finish returns the answer once the handler has ended well, and does what End does. Nothing written is a 200 without content. A Content-Type that is
// absent is found from the content, as net/http does, unless it is coded or the handler set the field to nil.
//
// It returns ErrIncomplete where less was written than Content-Length says, or where the answer was 101, which no
// recorded answer can be; ErrReleased after Release; and the error that kept the content from being spooled.
func (r *Recorder) Finish() (*Answer, error) {
	if r.answer != nil {
		return r.answer, nil
	}
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	r.End()
	size := r.size.Load()
	if !r.streaming {
		size = r.body.Size() // as it is sealed, whatever who was left behind still counts
	}
	if err := r.complete(size); err != nil {
		return nil, err
	}
	a := &r.made
	*a = Answer{Status: r.status, Header: r.frozen, Trailer: r.finalTrailer(), Size: size, Before: r.cfg.Before}
	if r.streaming {
		a.Where = store.Streamed
		r.passTrailer(a.Trailer)
		r.answer = a
		return a, nil
	}
	r.sniff(nil)
	delete(a.Header, "Content-Length")
	a.Body, a.Where, a.Digest = r.body, r.where(a.Size), r.body.Digest()
	r.answer = a
	return a, nil
}

// complete tells why the answer, of which size bytes were taken, is not one.
func (r *Recorder) complete(size int64) error {
	switch {
	case r.err != nil:
		return r.err
	case r.released.Load():
		return fmt.Errorf("finishing an answer: %w", ErrReleased)
	case r.status == http.StatusSwitchingProtocols:
		return fmt.Errorf("%w: switched protocols", ErrIncomplete)
	case r.declared >= 0 && size != r.declared && bodyAllowed(r.status):
		return fmt.Errorf("%w: %d of %d bytes", ErrIncomplete, size, r.declared)
	}
	return nil
}

func (r *Recorder) where(size int64) store.Where {
	switch {
	case size > r.cfg.Limit:
		return store.Purged
	case size > store.InlineLimit:
		return store.Beside
	default:
		return store.Inline
	}
}

// sniff sets the Content-Type that net/http would have set for the content so far and next, the first time that it is called.
func (r *Recorder) sniff(next []byte) {
	if r.sniffed {
		return
	}
	r.sniffed = true
	if _, ok := r.frozen["Content-Type"]; ok {
		return
	}
	if coding := first(r.frozen["Content-Encoding"]); coding != "" && coding != first(r.cfg.Before["Content-Encoding"]) { // who stands in front codes what is written here, and has not yet
		return
	}
	if content, ok := r.body.Bytes(); ok && len(next) == 0 {
		if len(content) > 0 {
			r.frozen.Set("Content-Type", http.DetectContentType(content))
		}
		return
	}
	var first [512]byte // all that DetectContentType looks at
	n, err := r.body.ReadAt(first[:], 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt says EOF itself
		return // no guess from half a look
	}
	if n += copy(first[n:], next); n > 0 {
		r.frozen.Set("Content-Type", http.DetectContentType(first[:n]))
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// finalTrailer collects the trailers: declared ones, and those under http.TrailerPrefix.
func (r *Recorder) finalTrailer() http.Header {
	var t http.Header
	add := func(name string, values []string) {
		if len(values) > 0 && validTrailer(name) && r.kept(name) {
			if t == nil {
				t = http.Header{}
			}
			t[name] = append(t[name], values...)
		}
	}
	for name, values := range r.header {
		if rest, ok := cutTrailerPrefix(name); ok {
			add(rest, values)
		}
	}
	for _, name := range r.trailers {
		add(name, r.header[name])
	}
	return t
}
