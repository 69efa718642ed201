package poe_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe"
)

// narrow makes connections that hold little: as one does whose client has left earlier answers lying.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// Execution does not depend on the client, be it one that takes no interim answer.
func TestInterimThatIsNotTakenHoldsNothingUp(t *testing.T) {
	ended := make(chan struct{})
	gate := openGate(t, poe.Config{Timeout: 2 * time.Second})
	s := httptest.NewUnstartedServer(gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 15 {
			w.Header().Set("Link", "</"+strings.Repeat("x", 60<<10)+">; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		w.WriteHeader(http.StatusCreated)
		close(ended)
	})))
	s.Listener = narrow{s.Listener}
	s.Start()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer func() { _ = c.Close() }()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_, _ = io.WriteString(c, "POST /orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\nx")
	select {
	case <-ended:
	case <-time.After(6 * time.Second):
		t.Error("three times its time is over, and the handler still waits for its client to take an interim answer")
	}
}
