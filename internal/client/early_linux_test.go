package client_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/postonce/poe/internal/client"
)

// hangsUp starts a server that says the same to all requests as soon as they begin, and hangs up.
func hangsUp(t *testing.T, answer string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, answer)
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close() // a reset, as where there are bytes that nobody has read
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// A server that refuses a body before it has read it, and hangs up: the rest of the body cannot be sent, and the answer is there all the same.
// Other systems than Linux may throw away what came before a reset.
func TestAnswerBeforeTheBody(t *testing.T) {
	url := hangsUp(t, "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\nPOE-State: unused\r\nContent-Length: 51\r\nConnection: close\r\n\r\n"+
		`{"type":"/poe/problems/too-large","retry":"never"}`+"\n")
	for range 20 {
		var notices []client.Notice
		c := client.New(client.Config{Notice: func(n client.Notice) { notices = append(notices, n) }})
		_, err := c.Post(t.Context(), client.PostRequest{URL: url + "/orders?poe=T", Body: client.Body{Data: make([]byte, 16<<20)}})
		var refused *client.ProblemError
		if !errors.As(err, &refused) || len(notices) > 0 {
			t.Fatalf("%d repeats, and then %v", len(notices), err)
		}
	}
}

// An answer that ends with its connection, as one of HTTP/1.0 does, is not whole where that was reset: what came of it is not printed as the outcome.
func TestAnswerThatAResetEnds(t *testing.T) {
	url := hangsUp(t, "HTTP/1.0 201 Created\r\nContent-Type: application/json\r\nPOE-State: done;status=201\r\n\r\n"+`{"orders":[1,2,`)
	for range 20 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/orders?poe=T", io.LimitReader(zeros{}, 16<<20))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.NewTransport().RoundTrip(req)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil {
			t.Fatalf("%s with %q is taken for an answer", res.Status, b)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
