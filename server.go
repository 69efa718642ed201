package poe

import (
	"context"
	"net"
	"net/http"

	"github.com/postonce/poe/internal/h1"
)

// A Server serves what an http.Server would, and takes less processor time for requests of HTTP/1.1 that come without TLS, whole, and within 16 KiB.
// Everything else is the http.Server's: other requests, HTTP/2, upgrades, and with them the connection. A gate needs none, and a program needs no gate for it.
type Server struct{ h1 *h1.Server }

// NewServer returns a server with the handler of s, its limits on time, its log, its contexts and its ConnState. From now on s is the new server's: it is not
// to be changed, and not to be stopped by itself. What SetKeepAlivesEnabled says does not hold.
func NewServer(s *http.Server) *Server { return &Server{h1.New(s)} }

// Serve accepts connections on l until Shutdown or Close is called, or l fails. It is called once, and always returns an error: http.ErrServerClosed when the server was stopped.
func (s *Server) Serve(l net.Listener) error { return s.h1.Serve(l) }

// Shutdown closes the listener and the connections that wait for a request, and returns when all others have ended. If ctx ends before that, it returns the error of ctx. Connections
// that were hijacked are not waited for.
func (s *Server) Shutdown(ctx context.Context) error { return s.h1.Shutdown(ctx) }

// Close closes the listener, and all connections but those that were hijacked.
func (s *Server) Close() error { return s.h1.Close() }
