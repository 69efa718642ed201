package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"sync/atomic"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/replay"
)

// headLimit bounds the heads of one answer together, informational ones included, in bytes.
const headLimit = 1 << 20

var (
	errHeadTooLarge = fmt.Errorf("%w: its head is too large", replay.ErrNotAnAnswer)
	errNotSilent    = errors.New("the connection was idle, and is not silent")
	errCutOff       = errors.New("connection cut off without a TLS close_notify")
)

// A conn is one connection to the upstream. It belongs to one exchange at a time, or lies in the pool.
type conn struct {
	wire   *wire
	stream net.Conn // what requests are written to: the wire, or the TLS on top of it
	reader *bufio.Reader
	head   int64  // how much of an answer's head may still be read; negative: no limit
	seen   []byte // what was read meanwhile, as it came, from where the head begins

	failure   error // what ended the reading of a head, if anything did
	before    int64 // what was written before this exchange: earlier ones, the handshake
	ear       *ear
	request   []byte       // is to be sent before anything is read
	send      func() error // does
	sendErr   error        // why it was not sent whole
	ended     atomic.Bool  // a deadline was set, or it can take no other request for another reason
	expire    func()       // timeOut
	reused    bool
	idleSince time.Time
}

func newConn(w *wire, stream net.Conn) *conn {
	c := &conn{wire: w, stream: stream, ear: listen(w.Conn)}
	c.expire, c.send = c.timeOut, c.sendRequest
	c.reader = bufio.NewReader((*limited)(c))
	return c
}

// An ending is a context that tells one who waits of its end at less cost than context.AfterFunc has.
type ending interface {
	AfterFunc(f func()) (stop func() bool)
}

// begin readies c for an exchange, which ends when ctx does unless stop comes first and returns true. It has no deadline,
// though ctx may have one: that is lifted where an answer streams.
func (c *conn) begin(ctx context.Context) (stop func() bool) {
	c.before = c.wire.accepted.Load()
	c.head, c.failure, c.seen, c.request, c.sendErr = headLimit, nil, c.seen[:0], nil, nil
	if e, ok := ctx.(ending); ok {
		return e.AfterFunc(c.expire)
	}
	return context.AfterFunc(ctx, c.expire)
}

// seenKept is the room for heads that a connection keeps for its next exchange, in bytes.
const seenKept = 8 << 10

// headRead says that the final head was read: what follows has no limit, and may take its time.
func (c *conn) headRead() {
	c.head = -1
	if cap(c.seen) > seenKept {
		c.seen = nil
	}
}

// restoreConnection gives the head that was read last its Connection back: net/http takes it out where it says "close", with the names of other fields beside
// that, which are not for the client either (RFC 9110, section 7.6.1).
func (c *conn) restoreConnection(resp *http.Response) {
	end := max(len(c.seen)-c.reader.Buffered(), 0)
	defer func() { c.seen = append(c.seen[:0], c.seen[end:]...) }() // where the next head begins
	if !resp.Close || !resp.ProtoAtLeast(1, 1) {
		return
	}
	_, fields, _ := bytes.Cut(c.seen[:end], []byte("\n"))
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(fields))).ReadMIMEHeader() // net/http could read it
	if said := h["Connection"]; said != nil {
		resp.Header["Connection"] = said
	}
}

// framedTwice tells whether an answer of HTTP/1.0 begins here that has a Transfer-Encoding, which there is none in that version: whoever wrote it says where
// it ends in a way that nobody reads (RFC 9112, section 6.1). net/http drops the field before anybody could see it.
func (c *conn) framedTwice() (bool, error) {
	const old, field = "HTTP/1.0 ", "\ntransfer-encoding:"
	if start, err := c.reader.Peek(len(old)); err != nil || string(start) != old {
		return false, err
	}
	for {
		head, _ := c.reader.Peek(c.reader.Buffered()) // it is there
		for _, end := range []string{"\n\r\n", "\n\n"} {
			if before, _, found := bytes.Cut(head, []byte(end)); found {
				return bytes.Contains(bytes.ToLower(before), []byte(field)), nil
			}
		}
		if len(head) == c.reader.Size() {
			c.ended.Store(true) // no other request: what the reader below has read ahead would be of its answer
			c.reader = bufio.NewReaderSize(c.reader, 4*len(head))
			continue
		}
		if _, err := c.reader.Peek(len(head) + 1); err != nil {
			return false, err
		}
	}
}

// sent tells how many bytes the kernel accepted since the exchange began.
func (c *conn) sent() int64 { return c.wire.accepted.Load() - c.before }

// The ends of waiting: of all, of reading, of writing. A connection that has seen one is not used again.
func (c *conn) timeOut()      { c.end(c.stream.SetDeadline) }
func (c *conn) timeOutRead()  { c.end(c.stream.SetReadDeadline) }
func (c *conn) timeOutWrite() { c.end(c.stream.SetWriteDeadline) }

func (c *conn) end(set func(time.Time) error) {
	c.ended.Store(true)
	_ = set(time.Unix(1, 0)) // an error could only mean that it is closed
}

// clean tells whether all that arrived so far was read, so that c may be used for another request.
func (c *conn) clean() bool {
	if c.reader.Buffered() > 0 {
		return false
	}
	t, ok := c.stream.(*tls.Conn)
	if !ok {
		return true
	}
	// TLS reads ahead. With the wire run dry it gives what it has, and what it has kept of a record shows in the count.
	c.wire.dry = true
	n, err := t.Read(make([]byte, 1))
	c.wire.dry = false
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.wire.records.whole()
}

// close ends a connection in order.
func (c *conn) close() {
	_ = c.stream.Close() // nothing depends on it any more
}

// abort ends a connection that is in an unknown state; unlike close it does not wait to say goodbye.
func (c *conn) abort() {
	_ = c.wire.Close() // nothing depends on it any more
}

// limited is a conn as its bufio.Reader sees it: with a limit while a head is read.
type limited conn

func (l *limited) Read(p []byte) (int, error) {
	if l.head < 0 {
		n, err := l.stream.Read(p)
		l.failure = err
		return n, err
	}
	if l.head == 0 {
		l.failure = errHeadTooLarge
		return 0, l.failure
	}
	n, err := (*conn)(l).read(p[:min(int64(len(p)), l.head)])
	l.head -= int64(n)
	l.seen = append(l.seen, p[:n]...)
	l.failure = err
	return n, err
}

// asks tells whether a whole request can be sent with the first read of its answer.
func (c *conn) asks() bool { return c.reused && c.ear.waits && !c.wire.tls }

// read reads, once what is to be sent was.
func (c *conn) read(p []byte) (int, error) {
	if c.request == nil {
		return c.stream.Read(p) //nolint:wrapcheck // as it came
	}
	n, err := c.ear.ask(c.send, p)
	c.request = nil
	return n, err
}

// sendRequest is called where the connection is silent.
func (c *conn) sendRequest() error {
	_, c.sendErr = c.stream.Write(c.request)
	killpoint.Hit("sent")
	return c.sendErr
}

// A wire is the connection as the kernel has it. It has Write as its only way to send, so no byte escapes the count.
type wire struct {
	net.Conn
	accepted atomic.Int64 // bytes that the kernel took

	tls     bool    // what is read is TLS records
	records records // read so far
	dry     bool    // nothing more is to be read, as if it had not arrived
}

// Write sends p and counts what was accepted, all of it or not.
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if n > 0 {
		w.accepted.Add(int64(n))
	}
	return n, err
}

// Read reads. Under TLS an end is an error, since crypto/tls takes one between two records for an orderly one
// even without close_notify, and a body that ends there would count as complete (RFC 9112 section 9.8).
func (w *wire) Read(p []byte) (int, error) {
	if w.dry {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := w.Conn.Read(p)
	if !w.tls {
		return n, err
	}
	w.records.follow(p[:n])
	if err == io.EOF { //nolint:errorlint // a connection says EOF itself
		err = errCutOff
	}
	return n, err
}
