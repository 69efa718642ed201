package client_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/postonce/poe/internal/client"
)

// A server that refuses a body before it has read it, and hangs up: the rest of the body cannot be sent, and the answer is there all the same.
// Other systems than Linux may throw away what came before a reset.
func TestAnswerBeforeTheBody(t *testing.T) {
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
				_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\nPOE-State: unused\r\nContent-Length: 51\r\nConnection: close\r\n\r\n"+
					`{"type":"/poe/problems/too-large","retry":"never"}`+"\n")
				_ = conn.Close() // with bytes that nobody has read: a reset
			}()
		}
	}()
	for range 20 {
		var notices []client.Notice
		c := client.New(client.Config{Notice: func(n client.Notice) { notices = append(notices, n) }})
		_, err := c.Post(t.Context(), client.PostRequest{URL: "http://" + l.Addr().String() + "/orders?poe=T", Body: client.Body{Data: make([]byte, 16<<20)}})
		var refused *client.ProblemError
		if !errors.As(err, &refused) || len(notices) > 0 {
			t.Fatalf("%d repeats, and then %v", len(notices), err)
		}
	}
}
