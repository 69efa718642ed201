package h1

import (
	"io"
	"net"
	"sync"
)

// The rest is where net/http gets its connections: those that were handed over.
type rest struct {
	net.Listener // closed with it

	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (r *rest) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case err := <-r.errs:
		return nil, err
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

// give hands a connection over, and tells whether somebody has taken it.
func (r *rest) give(c net.Conn) bool {
	select {
	case r.conns <- c:
		return true
	case <-r.closed:
		return false
	}
}

// fail has net/http know that no connection could be accepted: it waits a while if that may change, and closes the listener if not. It tells whether
// the listener is still open.
func (r *rest) fail(err error) bool {
	select {
	case r.errs <- err:
		return true
	case <-r.closed:
		return false
	}
}

// Close implements net.Listener.
func (r *rest) Close() error {
	r.once.Do(func() { close(r.closed) })
	return r.Listener.Close() //nolint:wrapcheck // as it came
}

// A handed connection begins with what was read of it before.
type handed struct {
	net.Conn
	read []byte
}

// Read implements net.Conn.
func (h *handed) Read(p []byte) (int, error) {
	if len(h.read) > 0 && len(p) > 0 {
		n := copy(p, h.read)
		if h.read = h.read[n:]; len(h.read) == 0 {
			h.read = nil
		}
		return n, nil
	}
	return h.Conn.Read(p) //nolint:wrapcheck // as it came
}

// CloseWrite lets net/http say that nothing more comes before it closes a connection whose client may still send.
func (h *handed) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // as it came
	}
	return nil
}

// ReadFrom lets files be sent by the system.
func (h *handed) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(h.Conn, src) //nolint:wrapcheck // as it came
}
