package serve

import (
	"io"
	"net/http"
	"sync"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
)

// patience is how long a client may keep us from going on: for a body as a whole; for the next piece of one that passes through, which may be an upload
// of hours; and for taking the next piece of an answer. An answer that is long in coming is no client that is slow.
const patience = 2 * time.Minute

// flushed lets the end of an answer, which net/http writes after h has returned, be waited for no longer than the rest of it. net/http lifts that limit. Over
// HTTP/2 a client may take all that the connection has, and leave the window of one stream shut: stalled does not see that.
func flushed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.ProtoMajor == 1 || r.Context().Err() == nil { // a stream of HTTP/2 that was reset would be kept until then
			_ = http.NewResponseController(w).SetWriteDeadline(deadline())
		}
	})
}

// patient passes requests on to next for as long as what comes from the client, and goes to it, moves.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &passage{StreamWriter: core.NewStreamWriter(w, patience), old: !r.ProtoAtLeast(1, 1)}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(p, r)
			return
		}
		p.body, p.oneWay = r.Body, r.ProtoMajor == 1
		out := new(http.Request) // net/http knows its own request by its body
		*out = *r
		out.Body = (*upload)(p)
		defer p.end() // whoever sends the body to the application may come late: over HTTP/2 there is no writer then, and over HTTP/1 it is another request's
		next.ServeHTTP(p, out)
		if !p.oneWay && p.refused && !p.whole() {
			core.Linger(p.StreamWriter, r)
		}
	})
}

// A passage is an exchange that passes through.
type passage struct {
	*core.StreamWriter
	body    io.ReadCloser
	old     bool // HTTP/1.0
	oneWay  bool // over HTTP/1 net/http reads what is left of a body before it answers
	refused bool // it was answered, and not with a success

	mu   sync.Mutex
	read bool // the body is, to its end
	over bool // the body is read, or nobody reads it any more: the deadline is net/http's again, which waits by it for the next request
}

// WriteHeader passes on. HTTP/1.0 has no interim answers (RFC 9110, section 15.2), and its connection ends, though httputil.ReverseProxy takes that field out
// with those of an interim answer.
func (p *passage) WriteHeader(status int) {
	if status < 200 { // httputil.ReverseProxy passes those on without ModifyResponse
		replay.DropReserved(p.Header())
	}
	if status < 200 && status != http.StatusSwitchingProtocols { // which says in them what to
		replay.DropOfConnection(p.Header())
	}
	if p.old {
		if status < 200 && status != http.StatusSwitchingProtocols {
			return
		}
		p.Header().Set("Connection", "close")
	}
	p.refused = status >= http.StatusMultipleChoices
	p.StreamWriter.WriteHeader(status)
}

// Write passes on.
func (p *passage) Write(b []byte) (int, error) {
	p.answer()
	return p.StreamWriter.Write(b) //nolint:wrapcheck // as it came
}

// FlushError passes on what was written.
func (p *passage) FlushError() error {
	p.answer()
	return p.StreamWriter.FlushError() //nolint:wrapcheck // as it came
}

func (p *passage) answer() {
	if p.oneWay {
		p.end()
	}
}

func (p *passage) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// whole tells whether the body was read to its end.
func (p *passage) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read
}

// An upload is the body of a passage. What is left of it after the last Read has the time that it was given there.
type upload passage

// Read gives the client its time again, and reads.
func (u *upload) Read(b []byte) (int, error) {
	u.mu.Lock()
	if !u.over {
		_ = http.NewResponseController(u.ResponseWriter).SetReadDeadline(deadline())
	}
	u.mu.Unlock()
	n, err := u.body.Read(b)
	if err != nil {
		(*passage)(u).end()
	}
	if err == io.EOF {
		u.mu.Lock()
		u.read = true
		u.mu.Unlock()
	}
	return n, err //nolint:wrapcheck // as it came
}

// Close ends the reading.
func (u *upload) Close() error {
	(*passage)(u).end()
	return u.body.Close() //nolint:wrapcheck // as it came
}

// began is what deadlines are told from.
var began = time.Now() //nolint:forbidigo // as the connection has it

// deadline is when patience is over, or up to a second later: it is the same for a second, and to set a deadline costs more than to see that it is set.
func deadline() time.Time {
	return began.Add(time.Since(began).Truncate(time.Second) + time.Second + patience) //nolint:forbidigo // as the connection has it
}
