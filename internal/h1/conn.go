package h1

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	usualBytes = 4 << 10     // of a connection's buffer, until a request needs more
	restTime   = time.Second // how long the rest of a request may take before net/http gets it, which has limits of its own for that
	mostReads  = 8           // of one request, for the same reason
	lineEnds   = 4           // bytes of line ends that may follow a POST (RFC 9112, section 2.2), as net/http has it
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// A conn is a connection whose requests have been plain so far.
type conn struct {
	server *Server
	rwc    net.Conn
	ctx    context.Context // of the connection: its requests begin with it
	remote string

	buf        []byte // buf[begin:end] was read, and is not answered yet
	begin, end int
	method     string      // of the request before
	waiting    atomic.Bool // for a request
	given      bool        // to net/http, or to who has hijacked it
	deadlines
}

// serve answers requests until there are no more, or one is not plain.
func (c *conn) serve() {
	var w *response
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
			c.server.logf("http: panic serving %v: %v\n%s", c.remote, v, debug.Stack())
		}
		if w != nil { // the handler has panicked, or ended its goroutine
			w.end()
		}
		if !c.given {
			_ = c.rwc.Close() // nobody is left who could be told
			c.server.leave(c)
			c.server.state(c.rwc, http.StateClosed)
		}
	}()
	for first := true; ; first = false {
		next, v := c.next(first)
		switch v {
		case whole:
		case other:
			c.handOver()
			return
		default:
			return
		}
		w = next
		c.begun(w)
		c.server.handler.ServeHTTP(w, w.request)
		w.finish()
		w.end()
		last := w.last
		if w = nil; last || c.given {
			return
		}
	}
}

// next reads the next request, into what is to answer it. It is incomplete when none comes any more.
func (c *conn) next(first bool) (w *response, v verdict) {
	skip := 0
	if !first {
		c.idle()
		if c.server.down.Load() {
			return nil, incomplete
		}
		if c.method == http.MethodPost {
			skip = lineEnds
		}
	}
	c.tidy()
	for reads := 0; ; reads++ {
		for ; skip > 0 && c.begin < c.end && (c.buf[c.begin] == '\r' || c.buf[c.begin] == '\n'); skip-- {
			c.begin++
		}
		begun := c.begin < c.end
		if begun {
			c.busy()
			if w == nil {
				w = new(response)
			}
			v = w.parse(c.buf[c.begin:c.end])
			if most := c.server.http.MaxHeaderBytes; v == incomplete && reads >= mostReads || v == whole && most > 0 && w.head > most {
				return nil, other
			}
			if v != incomplete {
				return w, v
			}
		}
		switch {
		case begun:
			c.limitRead(c.server.in(restTime))
		case reads == 0:
			c.limitRead(c.server.patience(first))
			if !first {
				runtime.Gosched() // the next request may be there when others have had their turn, and nobody has to sleep and be woken for it
			}
		}
		c.makeRoom()
		n, err := c.rwc.Read(c.buf[c.end:])
		c.end += n
		switch {
		case n > 0 || err == nil:
		case begun: // the rest is late, or will not come: net/http says what there is to say
			return nil, other
		default:
			return nil, incomplete
		}
	}
}

// tidy has what was read begin where the buffer does, which has its usual size while nothing is in it.
func (c *conn) tidy() {
	c.end = copy(c.buf, c.buf[c.begin:c.end])
	if c.begin = 0; c.end == 0 && len(c.buf) != usualBytes {
		c.buf = make([]byte, usualBytes)
	}
}

// makeRoom makes room for more of a request. There is some: a request that fills the largest buffer is not incomplete.
func (c *conn) makeRoom() {
	if c.end < len(c.buf) {
		return
	}
	larger := c.buf
	if c.begin == 0 {
		larger = make([]byte, mostBytes+1)
	}
	c.end = copy(larger, c.buf[c.begin:c.end])
	c.buf, c.begin = larger, 0
}

// idle says that a request is waited for.
func (c *conn) idle() {
	c.waiting.Store(true)
	c.server.state(c.rwc, http.StateIdle)
}

// busy says that one is there.
func (c *conn) busy() {
	if c.waiting.Swap(false) {
		c.server.state(c.rwc, http.StateActive)
	}
}

// handOver gives the connection to net/http, with all that was read of the request that is not plain.
func (c *conn) handOver() {
	_ = c.rwc.SetDeadline(time.Time{}) // an error could only mean that it is closed
	c.given = c.server.rest.give(&handed{Conn: c.rwc, read: c.buf[c.begin:c.end]})
	if c.given {
		c.server.leave(c)
	}
}
