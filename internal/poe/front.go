package core

import (
	"net/http"
	"slices"

	"github.com/postonce/poe/internal/replay"
)

// What stands in front of a door may have set fields of the answer. A handler sees them, and may change them or take them out, as with net/http: its
// answer wins over what was there before it, and only what we say wins over that.

// A frontWriter is the writer of a request for whose answer somebody in front has set fields.
type frontWriter struct {
	http.ResponseWriter
	before http.Header // as they were when the request came; those of the connection stay with who has set them
}

// noteFront returns w, with its fields noted as those of who stands in front.
func noteFront(w http.ResponseWriter) http.ResponseWriter {
	if len(w.Header()) == 0 {
		return w
	}
	f := &frontWriter{ResponseWriter: w, before: http.Header{}}
	for name, values := range replay.EndToEnd(w.Header()) {
		f.before[name] = slices.Clone(values)
	}
	return f
}

// Unwrap lets http.ResponseController reach what the server offers.
func (f *frontWriter) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// frontFields returns the fields that who stands in front has set.
func frontFields(w http.ResponseWriter) http.Header {
	if f, ok := w.(*frontWriter); ok {
		return f.before
	}
	return nil
}

// giveWay takes the front's fields out of w, as far as nobody has changed them since: those that the answer says itself; or all, where it was recorded
// on top of them.
func giveWay(w http.ResponseWriter, answer http.Header, onTop bool) {
	h := w.Header()
	for name, values := range frontFields(w) {
		_, said := answer[name]
		said = said || name == "Content-Type" // of the content here there is no other
		now := h[name]
		switch {
		case !onTop && (!said || replay.Additive(name)), len(now) < len(values), !slices.Equal(now[:len(values)], values):
		case len(now) == len(values):
			delete(h, name)
		default: // we have added to it
			h[name] = slices.Clone(now[len(values):])
		}
	}
	guardHeader(h)
}
