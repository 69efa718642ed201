//go:build unix

package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// An ear listens to a connection without taking anything from it, and knows of a way to ask something on it that needs fewer system calls. It belongs to whom the connection belongs.
type ear struct {
	raw   syscall.RawConn
	waits bool // it can ask

	look  func(fd uintptr) // sets quiet
	quiet bool

	step func(fd uintptr) bool // of ask
	send func() error          // nil: it was sent
	into []byte
	n    int
	err  error
}

// listen returns the ear of c, which is deaf where c has no descriptor.
func listen(c net.Conn) *ear {
	e := new(ear)
	sc, ok := c.(syscall.Conn)
	if !ok {
		return e
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return e
	}
	e.raw = raw
	e.look, e.step = e.peek, e.next
	_, e.waits = c.(*net.TCPConn) // another one may have its own way to read
	return e
}

func (e *ear) peek(fd uintptr) {
	var b [1]byte
	// The descriptor is non-blocking, as all of net's are.
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	e.quiet = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)
}

// silent tells whether the connection is open and nothing has arrived on it: no bytes, no end, no reset. It does not wait.
func (e *ear) silent() bool {
	if e.raw == nil {
		return false
	}
	e.quiet = false
	return e.raw.Control(e.look) == nil && e.quiet
}

// ask calls send if the connection is silent, and then reads into b, waiting for what arrives first. It is silent, send and a read of the connection, and has one look where they have two: what
// comes after the first one wakes who waits, so that nobody has to look again before he waits. It fails with errNotSilent, or as send does, or the read.
func (e *ear) ask(send func() error, b []byte) (int, error) {
	e.send, e.into, e.n, e.err = send, b, 0, nil
	err := e.raw.Read(e.step)
	e.send, e.into = nil, nil
	if err == nil {
		err = e.err
	}
	return e.n, err
}

// next is told of the descriptor, and again whenever something may have arrived; it tells whether that was the last time.
func (e *ear) next(fd uintptr) bool {
	if e.send != nil {
		e.quiet = false
		if e.peek(fd); !e.quiet {
			e.err = errNotSilent
			return true
		}
		e.err = e.send()
		e.send = nil
		return e.err != nil
	}
	for {
		n, err := syscall.Read(int(fd), e.into)
		switch {
		case n > 0:
			e.n = n
		case err == nil:
			e.err = io.EOF
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return false
		default:
			e.err = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
		}
		return true
	}
}
