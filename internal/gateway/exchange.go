package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/replay"
)

const (
	// lateAnswer is how long an answer is waited for after the request could not be written on: an upstream that refuses
	// a body often answers before it hangs up.
	lateAnswer = time.Second
	// earlyAnswer is how long the rest of a request may still take after its answer was complete: mostly it is
	// written, and its writer has not been scheduled yet.
	earlyAnswer = 50 * time.Millisecond
	// earlySuccess is how long each block of the rest may take after an answer that is no refusal: who gives one early mostly reads on.
	earlySuccess = time.Second
)

var errAnsweredEarly = errors.New("the answer came before the request was written")

// An exchange is one request and its answer on one connection.
type exchange struct {
	gateway *Gateway
	conn    *conn
	message *message
	answer  recorder

	rest    chan error  // the result of the goroutine that writes the rest; nil: there is none
	hurry   *time.Timer // runs after a failed write; the goroutine's until rest was received from
	sendErr error       // why the request was not written whole
	handed  atomic.Bool // the last piece of the request is being written, or is
	early   bool        // the answer was there before that: who gave it may take what it did not read for another request
	open    bool        // the answer ends where the connection does
	keep    bool        // the connection can take another request
}

// run does the exchange. The first write is done here, so that what it proves is known before anything else happens;
// the rest of a long body is written while the answer is read, since an upstream may answer before it has read all.
func (x *exchange) run() (replay.Proof, error) {
	var (
		last, refused bool
		err           error
	)
	if x.message.left == 0 && x.conn.asks() {
		last, refused, err = x.ask()
	} else if err = x.begin(); err == nil || x.conn.sent() > 0 {
		last, refused, err = x.receive()
	}
	if err != nil && x.conn.sent() == 0 {
		return replay.Unsent, fmt.Errorf("sending the request: %w", err)
	}
	switch {
	case err != nil:
		x.stopSending(0)
	case refused:
		x.stopSending(earlyAnswer)
	default:
		x.stopSending(earlySuccess)
	}
	switch {
	case err == nil && x.open && x.cutOff():
		return replay.Broken, fmt.Errorf("sending the request: %w; and the answer has no other end", x.sendErr)
	case err == nil:
		x.keep = !last && !x.early && x.sendErr == nil && x.conn.clean()
		return replay.Complete, nil
	case x.sendErr == nil || errors.Is(x.sendErr, errAnsweredEarly):
		return replay.Broken, err
	default:
		return replay.Broken, fmt.Errorf("sending the request: %w; then %v", x.sendErr, err) //nolint:errorlint // the read failed because the write had
	}
}

// begin sends the request, or the first block of a long one and has the rest sent. Nothing is sent on a connection that was idle and is not silent any more.
func (x *exchange) begin() error {
	if x.conn.reused && !x.conn.ear.silent() {
		return errNotSilent
	}
	_, err := x.conn.stream.Write(x.message.block)
	killpoint.Hit("sent")
	switch {
	case err != nil && x.conn.sent() > 0:
		x.failed(err)
	case err == nil && x.message.left > 0:
		x.rest = make(chan error, 1)
		go func() { x.rest <- x.sendRest() }()
	}
	return err //nolint:wrapcheck // its caller says what failed
}

// ask does what begin and receive do, where the request is whole and the connection was idle: with its first read the connection looks whether it is silent, sends the request, and waits.
func (x *exchange) ask() (last, refused bool, err error) {
	c := x.conn
	c.request = x.message.block
	last, refused, err = x.receive()
	if c.sendErr != nil && c.sent() > 0 {
		x.failed(c.sendErr)
		return x.receive()
	}
	return last, refused, err
}

// cutOff tells whether the connection did not end in order (RFC 9112, section 8), though the read met an end: a failure is told once, and the write was told.
// That is told EPIPE where the end came first, and under TLS the read knows by itself.
func (x *exchange) cutOff() bool {
	var failed *net.OpError
	return !x.conn.wire.tls && errors.As(x.sendErr, &failed) && !errors.Is(failed, syscall.EPIPE) && !errors.Is(failed, os.ErrDeadlineExceeded)
}

// failed notes why the request could not be written whole, and bounds the wait for an answer to it.
func (x *exchange) failed(err error) {
	x.sendErr = err
	x.hurry = time.AfterFunc(lateAnswer, x.conn.timeOutRead)
}

// sendRest writes what the first write left.
func (x *exchange) sendRest() error {
	for x.message.left > 0 {
		err := x.message.next()
		x.handed.Store(x.message.left == 0)
		if err == nil {
			_, err = x.conn.stream.Write(x.message.block)
		}
		if err != nil {
			x.failed(err)
			return err
		}
	}
	return nil
}

// stopSending ends the goroutine that writes, once it has not moved for a moment of grace, and settles sendErr. It may be called again.
func (x *exchange) stopSending(grace time.Duration) {
	if x.rest != nil && !x.sentWithin(grace) {
		x.conn.timeOutWrite()
		if err := <-x.rest; err != nil {
			x.sendErr = errAnsweredEarly
		}
	}
	x.rest = nil
	if x.hurry != nil {
		x.hurry.Stop()
	}
}

// sentWithin waits for the goroutine that writes to end by itself, after a success for as long as it moves, and tells whether it did.
func (x *exchange) sentWithin(d time.Duration) bool {
	select {
	case x.sendErr = <-x.rest:
		return true
	default:
		x.early = !x.handed.Load()
	}
	if d == 0 {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	for before := x.conn.sent(); ; t.Reset(d) {
		select {
		case x.sendErr = <-x.rest:
			return true
		case <-t.C:
		}
		now := x.conn.sent()
		if now == before || d < earlySuccess {
			return false
		}
		before = now
	}
}
