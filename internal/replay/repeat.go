package replay

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Stored is an answer as it comes back from the ledger.
type Stored struct {
	Status  int
	Header  http.Header // from DecodeHead
	Trailer http.Header
	Content io.ReadSeeker // nil: Here
	Here    []byte        // the content, where it is in memory
	Size    int64         // of Content, in bytes
	Target  string        // that was answered: Location, Content-Location, Link and Refresh are resolved against it

	prepared bool
	fields   []field  // of Header, once it is prepared
	codings  []string // of the content, likewise
}

// A field is one of an answer's.
type field struct {
	name   string
	values []string
}

// Prepared returns s with all that does not depend on who asks done to its fields, for who repeats an answer more than once. They are
// shared from then on, and Repeat does not change them.
func (s Stored) Prepared() Stored {
	if s.prepared {
		return s
	}
	s.Header, s.Trailer, s.prepared = Storable(s.Header), Storable(s.Trailer), true
	respell(s.Header)
	respell(s.Trailer)
	delete(s.Header, "Accept-Ranges") // whoever repeats serves none (RFC 9110, section 14.3)
	s.Header["X-Content-Type-Options"] = []string{"nosniff"}
	resolveLinks(s.Header, s.Target)
	s.fields, s.codings = fieldsOf(s.Header), contentCodings(s.Header)
	return s
}

// examined are the fields that are looked at or changed where an answer is repeated.
var examined = namesOf("Content-Encoding", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Etag", "Location", "Content-Location", "Link", "Refresh", "Vary", "Allow", "Accept-Ranges")

// respell puts those of h that a handler has set under another spelling of their name, which net/http sends as well, under the canonical one.
func respell(h http.Header) {
	var others []string
	for name := range h {
		if examined.has(name) && http.CanonicalHeaderKey(name) != name {
			others = append(others, name)
		}
	}
	slices.Sort(others) // two spellings of one name have one order
	for _, name := range others {
		canonical := http.CanonicalHeaderKey(name)
		h[canonical] = slices.Concat(h[canonical], h[name])
		delete(h, name)
	}
}

func fieldsOf(h http.Header) []field {
	all := make([]field, 0, len(h))
	for name, values := range h {
		all = append(all, field{name, values})
	}
	return all
}

// OutcomeStatus returns the status under which an outcome is served at another address than the one that answered. Those
// that would mean something else there become 200: about creation and acceptance, about transformation, about a form,
// about parts, about the asker's cache, method or credentials.
func OutcomeStatus(status int) int {
	switch status {
	case http.StatusCreated, http.StatusAccepted, http.StatusNonAuthoritativeInfo, http.StatusResetContent,
		http.StatusPartialContent, http.StatusNotModified, http.StatusUnauthorized, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusRequestedRangeNotSatisfiable:
		return http.StatusOK
	default:
		return status
	}
}

// Repeat writes a stored answer again: status, Storable fields, content byte for byte, trailers, and nosniff. Fields that
// w has already win over the stored ones; of those that are Additive both are sent. Ranges and conditions of r are not looked at.
//
// A client that does not accept the content coding gets the content decoded; then it is not said how long it is, digests of the
// coded content are gone, and a strong ETag is weak. No Accept-Encoding field means that any coding will do (RFC 9110 section
// 12.5.3). A coding that is not known, or content that is not what its coding says, is sent as it is.
//
// If less content is there than s.Size, it fails with ErrIncomplete, and if that cannot be told, with ErrUnreadable; nothing is written then. Any other error means
// that the client did not take all. If the content breaks off while it is sent, Repeat sends what there is, save to HTTP/1.0 without a length, and panics with http.ErrAbortHandler,
// for only so the client sees that something is missing.
func Repeat(w http.ResponseWriter, r *http.Request, s Stored) error {
	s = s.Prepared()
	m := message{status: s.Status, header: s.Header, shared: s.fields, trailer: s.Trailer, size: s.Size}
	if s.Content == nil && int64(len(s.Here)) == s.Size && acceptsAll(r.Header, s.codings) { // mostly
		m.here = s.Here
		return m.send(w, r)
	}
	if s.Content == nil {
		s.Content = bytes.NewReader(s.Here)
	}
	if err := rewind(s); err != nil {
		return err
	}
	m.content = s.Content
	if bodyAllowed(s.Status) && s.Size > 0 {
		done, err := m.decodeFor(r, s.Content, s.codings)
		if err != nil {
			return err
		}
		defer done()
	}
	return m.send(w, r)
}

// rewind brings the content to its beginning, after a check of its length.
func rewind(s Stored) error {
	end, err := s.Content.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("%w: measuring it: %w", ErrUnreadable, err)
	}
	if end != s.Size {
		return fmt.Errorf("%w: %d of %d bytes", ErrIncomplete, end, s.Size)
	}
	if _, err := s.Content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%w: rewinding it: %w", ErrUnreadable, err)
	}
	return nil
}

// decodeFor undoes the codings of the content if the client asked for it. The content is read from its beginning;
// done ends its use.
func (m *message) decodeFor(r *http.Request, content io.ReadSeeker, codings []string) (done func(), err error) {
	if acceptsAll(r.Header, codings) {
		return func() {}, nil
	}
	decoded, done, ok := decode(content, codings)
	if !ok {
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("%w: rewinding it: %w", ErrUnreadable, err)
		}
		return func() {}, nil
	}
	m.content, m.size, m.header, m.trailer = decoded, -1, maps.Clone(m.header), maps.Clone(m.trailer)
	for _, name := range []string{"Content-Encoding", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"} {
		delete(m.header, name) // the digests are of the coded content
		delete(m.trailer, name)
	}
	for _, h := range []http.Header{m.header, m.trailer} {
		weaken(h)
	}
	m.header["Vary"] = append(append([]string(nil), m.header["Vary"]...), "Accept-Encoding")
	m.shared = fieldsOf(m.header)
	return done, nil
}

// weaken makes the entity tags of h weak, since they are of other bytes with the same meaning (RFC 9110 section 8.8.1). What is none goes: a client may
// take it for a strong one.
func weaken(h http.Header) {
	var weak []string
	for _, tag := range h["Etag"] {
		switch {
		case strings.HasPrefix(tag, `"`):
			weak = append(weak, "W/"+tag)
		case strings.HasPrefix(tag, `W/"`):
			weak = append(weak, tag)
		}
	}
	if h["Etag"] = weak; weak == nil {
		delete(h, "Etag")
	}
}
