package replay

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/postonce/poe/internal/store"
)

// Send writes the answer to its first client: all end-to-end fields, Set-Cookie included, content and trailers. Fields that
// w has already win over the answer's; of those that are Additive both are sent.
//
// It fails with ErrIncomplete, nothing written, for an answer without content of its own (Streamed); any other error means that
// the client did not take all. If the content cannot be read to its end, Send panics with http.ErrAbortHandler,
// for only so the client sees that something is missing.
func Send(w http.ResponseWriter, r *http.Request, a *Answer) error {
	if a.Where == store.Streamed {
		return errors.Join(ErrIncomplete, errors.New("the content was streamed"))
	}
	m := a.message()
	if here, ok := a.Body.Bytes(); ok {
		m.here = here
	} else {
		m.content = a.Body.Reader()
	}
	return m.send(w, r)
}

// SendHead writes status and fields of an answer whose content follows by other means, as Send would. It is what
// RecorderConfig.Stream calls.
func SendHead(w http.ResponseWriter, r *http.Request, a *Answer) {
	m := a.message()
	m.writeHead(w, r)
}

func (a *Answer) message() message {
	m := message{status: a.Status, header: a.Header, trailer: a.Trailer, size: a.Size}
	if a.Where == store.Streamed {
		m.size = -1
		if n, err := strconv.ParseInt(a.Header.Get("Content-Length"), 10, 64); err == nil {
			m.size = n
		}
	}
	return m
}
