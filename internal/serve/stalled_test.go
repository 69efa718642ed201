package serve_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postonce/poe/internal/serve"
)

// one is a listener on which one client has come.
type one struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l one) Close() error   { close(l.closed); return nil }
func (l one) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// A client of HTTP/2 that takes nothing of what is written for it does not hold whoever writes.
func TestStalledClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, ended := time.Now(), make(chan error, 1)
		srv := serve.Public(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					ended <- err
					return
				}
			}
		}))
		l := one{make(chan net.Conn, 1), make(chan struct{})}
		client, server := net.Pipe()
		l.conns <- server
		go func() { _ = srv.Serve(l) }()
		if _, err := io.WriteString(client, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		f := http2.NewFramer(client, nil) // what it would read lies in the pipe
		if err := f.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		askOver2(t, f)
		err := <-ended
		if waited := time.Since(began); waited > 30*time.Second {
			t.Errorf("its handler was held for %v, until: %v", waited, err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}

// One that reads on, but leaves the window of its stream shut, is not waited for either, be the answer so short that it is written when the handler has returned.
func TestWindowThatStaysShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := serve.Public(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "short") }))
		l := one{make(chan net.Conn, 1), make(chan struct{})}
		client, server := net.Pipe()
		l.conns <- server
		go func() { _ = srv.Serve(l) }()
		f := http2.NewFramer(client, client)
		reset := make(chan struct{})
		go func() {
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if _, is := frame.(*http2.RSTStreamFrame); is {
					close(reset)
					return
				}
			}
		}()
		if _, err := io.WriteString(client, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
			t.Fatal(err)
		}
		askOver2(t, f)
		select {
		case <-reset:
		case <-time.After(time.Hour):
			t.Error("its stream is still open after an hour")
		}
		_ = client.Close()
		_ = srv.Close()
	})
}

// askOver2 sends a GET as the first request of a connection.
func askOver2(t *testing.T, f *http2.Framer) {
	t.Helper()
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, h := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}} {
		if err := enc.WriteField(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
}
