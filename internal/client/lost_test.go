package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postonce/poe/internal/client"
)

// That something mints there does not prove that poe is in front of the target: "/poe/" may be led to poe, and "/orders" to the application itself (a load
// balancer by paths; in a Go program, a gate that is mounted, and an Once that was forgotten). A POST that is lost there is executed again with each repeat.
func TestMintedIsNotGuarded(t *testing.T) {
	var posts atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/poe/new": // poe
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"uris":[{"uri":"/orders?poe=a.b.c","id":"i"}]}`)
		case r.Method == http.MethodPost: // the application, which nobody guards
			posts.Add(1)
			panic(http.ErrAbortHandler)
		}
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	c := client.New(client.Config{Shortest: time.Millisecond, Longest: 10 * time.Millisecond})
	_, err := c.Post(ctx, client.PostRequest{URL: s.URL + "/orders", Body: client.Body{Data: []byte("pay")}})
	if n := posts.Load(); n != 1 {
		t.Errorf("what nobody guards was executed %d times (%v)", n, err)
	}
	var unguarded *client.UnguardedError
	if !errors.As(err, &unguarded) || !unguarded.Sent {
		t.Errorf("error is %v", err)
	}
}

// An answer of 101 gives the connection away, and no context ends it any more.
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
				buf := make([]byte, 4096)
				_, _ = conn.Read(buf)
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	c := client.New(client.Config{Attempt: 200 * time.Millisecond, Shortest: time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ended := make(chan error, 3)
	uri := "http://" + l.Addr().String() + "/orders?poe=a.b.c"
	go func() { _, err := c.Post(ctx, client.PostRequest{URL: uri}); ended <- err }()
	go func() { _, err := c.Get(ctx, uri); ended <- err }()
	go func() {
		_, err := c.Mint(ctx, client.MintRequest{URL: "http://" + l.Addr().String() + "/orders"})
		ended <- err
	}()
	for range 3 {
		select {
		case err := <-ended:
			t.Log(err)
		case <-time.After(4 * time.Second):
			t.Fatal("it hangs, with an attempt of 200 ms and a context of 1 s")
		}
	}
}

// A refusal of poe's to HEAD has no body, so Receipt takes it for somebody else's.
func TestReceiptRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // as poe says 403 other-principal
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "/poe/problems/other-principal", "title": "This belongs to somebody else", "retry": "never"})
	}))
	defer s.Close()
	_, err := client.New(client.Config{}).Receipt(t.Context(), s.URL+"/orders?poe=a.b.c")
	var refused *client.ProblemError
	if !errors.As(err, &refused) {
		t.Errorf("error is %v", err)
	}
}

// A ledger that cannot be asked is taken for an action of which there is no receipt.
func TestReceiptUnavailable(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // as poe says 503 ledger-unavailable
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("POE-State", `unknown;id="i"`)
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "/poe/problems/ledger-unavailable", "title": "The server cannot keep its records right now", "retry": "same"})
	}))
	defer s.Close()
	_, err := client.New(client.Config{}).Receipt(t.Context(), s.URL+"/orders?poe=a.b.c")
	var refused *client.ProblemError
	if !errors.As(err, &refused) {
		t.Errorf("error is %v", err)
	}
}

// A POST to a POE URI that was given is lost, and the look that follows meets a refusal of poe's.
func TestProbeRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"type":"/poe/problems/not-found","title":"There is no such link here","retry":"never"}`)
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := client.New(client.Config{Shortest: time.Millisecond}).Post(ctx, client.PostRequest{URL: s.URL + "/orders?poe=a.b.c"})
	var refused *client.ProblemError
	if !errors.As(err, &refused) || !refused.Open {
		t.Errorf("error is %v", err)
	}
}

// The server is away for a moment, and something in between says so: a look that is repeated does no harm.
func TestLookMeetsProxy(t *testing.T) {
	for name, lost := range map[string]bool{"after a POST that was lost": true, "when the outcome is fetched": false} {
		t.Run(name, func(t *testing.T) {
			var looks, posts atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost && posts.Add(1) == 1 && lost:
					panic(http.ErrAbortHandler)
				case r.Method == http.MethodPost:
					w.Header().Set("POE-State", "done;status=201")
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(http.StatusMethodNotAllowed)
					_, _ = io.WriteString(w, `{"type":"/poe/problems/consumed","request_matches":true}`)
				case looks.Add(1) == 1: // a load balancer, while poe starts again
					w.Header().Set("Content-Type", "text/html")
					w.WriteHeader(http.StatusBadGateway)
					_, _ = io.WriteString(w, "<h1>502 Bad Gateway</h1>")
				default:
					w.Header().Set("POE-State", "done;status=201")
					_, _ = io.WriteString(w, "order 1")
				}
			}))
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			a, err := client.New(client.Config{Shortest: time.Millisecond}).Post(ctx, client.PostRequest{URL: s.URL + "/orders?poe=a.b.c", Body: client.Body{Data: []byte("a=b")}})
			if err != nil || string(a.Body) != "order 1" {
				t.Errorf("got %q, %v", a.Body, err)
			}
		})
	}
}
