//go:build unix

package gateway

import (
	"errors"
	"net"
	"syscall"
)

// An ear listens to a connection without taking anything from it. It belongs to whom the connection belongs.
type ear struct {
	raw   syscall.RawConn
	look  func(fd uintptr) // sets quiet
	quiet bool
}

// listen returns the ear of c; nil where c has no descriptor.
func listen(c net.Conn) *ear {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	e := &ear{raw: raw}
	e.look = func(fd uintptr) {
		var b [1]byte
		// The descriptor is non-blocking, as all of net's are.
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		e.quiet = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)
	}
	return e
}

// silent tells whether the connection is open and nothing has arrived on it: no bytes, no end, no reset. It does not wait.
func (e *ear) silent() bool {
	if e == nil {
		return false
	}
	e.quiet = false
	return e.raw.Control(e.look) == nil && e.quiet
}
