package h1

import (
	"context"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Server serves as its http.Server does: with its handler, its limits on time (ReadTimeout, which is about bodies, but for those of plain requests, which are there), its log,
// its contexts, and its hook for the state of connections. It is for connections without TLS. Neither may be copied, and the http.Server is this one's from New on.
type Server struct {
	http    *http.Server
	handler http.Handler
	state   func(net.Conn, http.ConnState)
	rest    rest
	down    atomic.Bool
	began   time.Time

	mu    sync.Mutex
	conns map[*conn]struct{}
	ended chan struct{} // closed when the server is down, and no connection is left; nil: nobody waits
}

// New returns a server of what h serves.
func New(h *http.Server) *Server {
	s := &Server{http: h, handler: h.Handler, state: h.ConnState, conns: map[*conn]struct{}{}, began: time.Now()} //nolint:forbidigo // as connections have it
	s.rest.conns, s.rest.errs, s.rest.closed = make(chan net.Conn), make(chan error), make(chan struct{})
	if s.handler == nil {
		s.handler = http.DefaultServeMux //nolint:forbidigo // as http.Server has it
	}
	if s.state == nil {
		s.state = func(net.Conn, http.ConnState) {}
	} else {
		h.ConnState = s.follow
	}
	return s
}

// follow tells the hook about connections that net/http has, under the names that it knows. That they are new it has heard before.
func (s *Server) follow(c net.Conn, state http.ConnState) {
	if h, ok := c.(*handed); ok {
		c = h.Conn
	}
	if state != http.StateNew {
		s.state(c, state)
	}
}

// Serve accepts connections until Shutdown or Close is called, or l fails. It always returns an error, which is http.ErrServerClosed then. It may be called once.
func (s *Server) Serve(l net.Listener) error {
	ctx := context.Background()
	if s.http.BaseContext != nil {
		ctx = s.http.BaseContext(l)
	}
	s.rest.Listener = l
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		s.accept(context.WithValue(ctx, http.ServerContextKey, s.http), l)
	}()
	err := s.http.Serve(&s.rest) // it closes the listener
	<-accepted
	return err //nolint:wrapcheck // as it came
}

// accept accepts connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener) {
	for {
		rwc, err := l.Accept()
		if err != nil {
			if !s.rest.fail(err) {
				return
			}
			continue // net/http has waited, or closes the listener
		}
		c := s.connected(ctx, rwc)
		if !s.enter(c) {
			_ = rwc.Close() // nothing was read from it
			continue
		}
		s.state(rwc, http.StateNew)
		go c.serve()
	}
}

// connected returns a new connection.
func (s *Server) connected(ctx context.Context, rwc net.Conn) *conn {
	c := &conn{server: s, rwc: rwc, remote: rwc.RemoteAddr().String(), deadlines: deadlines{of: rwc}, ctx: context.WithValue(ctx, http.LocalAddrContextKey, rwc.LocalAddr())}
	if s.http.ConnContext != nil {
		c.ctx = s.http.ConnContext(c.ctx, rwc)
	}
	c.waiting.Store(true)
	return c
}

// patience returns until when a request is waited for.
func (s *Server) patience(first bool) time.Time {
	d := s.http.IdleTimeout
	if first {
		d = s.http.ReadHeaderTimeout
	}
	if d == 0 {
		d = s.http.ReadTimeout
	}
	if d <= 0 {
		return time.Time{}
	}
	return s.in(d)
}

// enter notes a connection, unless the server is down.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// leave forgets it.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.look()
}

// look tells who waits when no connection is left.
func (s *Server) look() {
	if s.ended != nil && len(s.conns) == 0 {
		close(s.ended)
		s.ended = nil
	}
}

// Shutdown stops accepting connections, closes those that wait for a request, and returns when all others have ended, or ctx has: then with its error.
func (s *Server) Shutdown(ctx context.Context) error {
	ended := make(chan struct{})
	s.mu.Lock()
	s.down.Store(true)
	s.ended = ended
	for c := range s.conns {
		if c.waiting.Load() {
			_ = c.rwc.Close() // nobody is waiting for an answer
		}
	}
	s.look()
	s.mu.Unlock()
	err := s.http.Shutdown(ctx)
	select {
	case <-ended:
		return err //nolint:wrapcheck // as it came
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // as it came
	}
}

// Close stops accepting connections, and closes all that there are.
func (s *Server) Close() error {
	s.down.Store(true)
	err := s.http.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.rwc.Close() // it is to end
	}
	return err //nolint:wrapcheck // as it came
}

func (s *Server) logf(format string, args ...any) {
	if s.http.ErrorLog != nil {
		s.http.ErrorLog.Printf(format, args...)
	} else {
		log.Printf(format, args...) // as net/http does
	}
}
