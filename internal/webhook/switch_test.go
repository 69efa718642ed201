package webhook_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postonce/poe/internal/webhook"
)

// A receiver that answers 101 holds the sender for ever: the connection is the caller's then, and neither a context nor Timeout ends it.
func TestSwitchingProtocols(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	s, err := webhook.New(webhook.Config{Allow: []string{"127.0.0.1:" + port(t, l)}, Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, Timeout: 200 * time.Millisecond, DangerouslyInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Send(ctx, webhook.Message{ID: "m", URL: "http://" + l.Addr().String() + "/", Content: []byte("{}")})
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Log(err)
	case <-time.After(4 * time.Second):
		t.Fatal("it hangs, with a timeout of 200 ms and a context of 1 s")
	}
}

func port(t *testing.T, l net.Listener) string {
	t.Helper()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
