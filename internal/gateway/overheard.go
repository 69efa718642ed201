package gateway

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
)

// An overheard connection keeps what comes on it while the head of an answer is read: net/http takes Connection out where it says "close", with the names of other
// fields beside that, which are not for the client either (RFC 9110, section 7.6.1).
type overheard struct {
	net.Conn

	mu    sync.Mutex
	hears bool
	heard []byte // from where the head begins
}

// Read reads.
func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hears && len(o.heard) <= headLimit {
		o.heard = append(o.heard, b[:n]...)
	}
	return n, err //nolint:wrapcheck // as it came
}

// begin says that what comes next is a head.
func (o *overheard) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hears, o.heard = true, o.heard[:0]
}

// end says that the head was read, and returns its Connection where that is wanted.
func (o *overheard) end(wanted bool) (connection []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if wanted {
		connection = connectionOf(o.heard)
	}
	o.hears, o.heard = false, o.heard[:0]
	if cap(o.heard) > seenKept {
		o.heard = nil
	}
	return connection
}

// connectionOf returns the Connection of the first head that is no interim one.
func connectionOf(heads []byte) []string {
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(heads)))
	for {
		status, err := r.ReadLine()
		if err != nil {
			return nil
		}
		h, err := r.ReadMIMEHeader() // net/http could read it
		if err != nil {
			return nil
		}
		if _, code, _ := strings.Cut(status, " "); !strings.HasPrefix(code, "1") {
			return h["Connection"]
		}
	}
}

// An overhearing transport gives answers their Connection back.
type overhearing struct{ *http.Transport }

// RoundTrip implements http.RoundTripper, for httputil.ReverseProxy: it has a trace for each request.
func (t overhearing) RoundTrip(r *http.Request) (*http.Response, error) {
	var on *overheard
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn = func(got httptrace.GotConnInfo) {
			if on, _ = got.Conn.(*overheard); on != nil {
				on.begin()
			}
		}
	}
	resp, err := t.Transport.RoundTrip(r)
	if err != nil || on == nil {
		return resp, err //nolint:wrapcheck // as it came
	}
	said := on.end(resp.Close && resp.ProtoAtLeast(1, 1))
	if said != nil {
		resp.Header["Connection"] = said
	}
	return resp, nil
}
