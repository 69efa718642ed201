//go:build unix

package gateway

import (
	"errors"
	"net"
	"syscall"
)

// silent tells whether c is open and nothing has arrived on it: no bytes, no end, no reset. It does not wait.
func silent(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		// The descriptor is non-blocking, as all of net's are.
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		quiet = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)
	})
	return err == nil && quiet
}
