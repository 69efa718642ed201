package replay

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
)

// A message is an answer on its way out.
type message struct {
	status  int
	header  http.Header // what of it is end-to-end, and no word for caches, is sent; it is not changed
	shared  []field     // the same, where its values are others' too: whoever gets them may change them, so he gets his own; nil: they are not
	trailer http.Header
	here    []byte    // the content, where it is in memory
	content io.Reader // what follows it; nil: nothing
	size    int64     // of the content, in bytes; -1: not known
}

// ShortAnswer is below how many bytes of content net/http keeps an answer until its handler has returned, whatever the connection's own buffers take. How long
// it is, net/http says by itself then: one field less in a map that is small while it has no more than eight.
const ShortAnswer = 2 << 10

// Exposed is the field that says which others a page of another origin may read (Fetch standard).
const Exposed = "Access-Control-Expose-Headers"

// Additive tells whether a field, by its canonical name, is one of which the caller's and the answer's are both sent.
func Additive(name string) bool { return name == "Link" || name == "Vary" || name == Exposed }

// writeHead writes status and fields. Those that w has already win, save the additive ones.
func (m *message) writeHead(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	var room []string // for values of our own, in one piece
	if m.shared != nil {
		room = make([]string, 0, len(m.shared)+1)
		for _, f := range m.shared {
			begin := len(room)
			room = append(room, f.values...)
			add(h, f.name, room[begin:])
		}
	} else {
		for name, values := range EndToEnd(m.header) {
			if !caching(name) {
				add(h, name, values)
			}
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing what nobody said
	}
	delete(h, "Content-Length")
	delete(h, "Trailer")
	switch {
	case !bodyAllowed(m.status):
	case m.hasTrailer(r):
		declareTrailer(h, m.trailer)
	case 0 < m.size && m.size < ShortAnswer && r.Method != http.MethodHead: // net/http says it
	case m.size >= 0:
		room = append(room, strconv.FormatInt(m.size, 10))
		h["Content-Length"] = slices.Clip(room[len(room)-1:])
	}
	w.WriteHeader(m.status)
}

// add puts values under a name in h. What is there already wins, save the additive fields.
func add(h http.Header, name string, values []string) {
	have, ok := h[name]
	switch {
	case ok && Additive(name):
		h[name] = append(slices.Clip(have), values...)
	case !ok:
		h[name] = slices.Clip(values)
	}
}

// hasTrailer tells whether trailers can be sent: HTTP/1.0 has no room for them, nor has an answer without content.
func (m *message) hasTrailer(r *http.Request) bool {
	return len(m.trailer) > 0 && r.ProtoAtLeast(1, 1) && bodyAllowed(m.status) && r.Method != http.MethodHead
}

// send writes the message. An error is the client's: it did not take all.
//
// If the content breaks off, the client must not take what it has for the whole. Only an abort says that in every
// version of HTTP, so send panics with http.ErrAbortHandler.
func (m *message) send(w http.ResponseWriter, r *http.Request) error {
	m.writeHead(w, r)
	if bodyAllowed(m.status) && r.Method != http.MethodHead {
		if err := m.sendContent(w, r); err != nil {
			return fmt.Errorf("sending an answer: %w", err)
		}
	}
	if m.hasTrailer(r) {
		setTrailer(w.Header(), m.trailer)
	}
	return nil
}

// sendContent writes the content, or panics where that breaks off.
func (m *message) sendContent(w http.ResponseWriter, r *http.Request) error {
	sent := int64(len(m.here))
	if sent > 0 {
		if _, err := w.Write(m.here); err != nil {
			return err
		}
	}
	if m.content != nil {
		dst := &sink{Writer: w}
		n, err := io.Copy(dst, m.content)
		if dst.err != nil {
			return dst.err
		}
		if err != nil {
			if m.size >= 0 || r.ProtoAtLeast(1, 1) { // or else where it is cut off would be its end
				_ = http.NewResponseController(w).Flush() // what there is, the head above all, would stay behind in a buffer
			}
			panic(http.ErrAbortHandler)
		}
		sent += n
	}
	if m.size >= 0 && sent != m.size {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// sink remembers its own failure, to tell it from that of the reader.
type sink struct {
	io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
