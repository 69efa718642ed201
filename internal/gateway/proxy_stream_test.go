package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What an application says leaves piece by piece: the next one is made only when the one before has been read.
func TestProxyEvents(t *testing.T) {
	tests := []struct{ name, head, piece, end string }{
		{"events", "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n", "9\r\ndata: %d\n\n\r\n", "0\r\n\r\n"},
		{"known length", "Content-Type: text/plain\r\nContent-Length: 27\r\n", "data: %d\n\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			read := make(chan struct{})
			u := listen(t, once(func(p *peer) {
				p.say("HTTP/1.1 200 OK\r\n" + tt.head + "\r\n")
				for i := range 3 {
					p.say(fmt.Sprintf(tt.piece, i))
					select {
					case <-read:
					case <-p.upstream.ended:
					}
				}
				p.say(tt.end)
			}))
			r := raw(t, front(t, newGateway(t, u.address)), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				event := make([]byte, 9)
				if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != fmt.Sprintf("data: %d\n\n", i) {
					t.Fatalf("event %q, error %v", event, err)
				}
				read <- struct{}{}
			}
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
				t.Errorf("rest %q, error %v", rest, err)
			}
		})
	}
}

func TestProxyWebsocket(t *testing.T) {
	u := listen(t, func(p *peer, _ int) {
		r := p.request()
		if r == nil || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
			return
		}
		p.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
		_, _ = io.Copy(p.Conn, p.reader) // until the client hangs up
	})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", front(t, newGateway(t, u.address)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Fatalf("answer %d %v", resp.StatusCode, resp.Header)
	}
	for _, word := range []string{"hello", "\x00\x01\xff", strings.Repeat("x", 100000)} {
		go func() { _, _ = io.WriteString(c, word) }() // the echo shows whether it came through
		got := make([]byte, len(word))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != word {
			t.Fatalf("echo of %d bytes: error %v", len(word), err)
		}
	}
}

// An upstream that opens a tunnel unasked does not get one.
func TestProxySwitchUnasked(t *testing.T) {
	for _, fields := range []string{"", "Connection: Upgrade\r\n", "Connection: Upgrade\r\nUpgrade: x\r\n"} {
		u := listen(t, once(func(p *peer) {
			p.say("HTTP/1.1 101 Switching Protocols\r\n" + fields + "\r\n")
			p.hang()
		}))
		resp := answer(t, raw(t, front(t, newGateway(t, u.address)), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		if resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%q: status %d, want 502", fields, resp.StatusCode)
		}
	}
}

// An upload leaves while it comes in: the upstream answers each part before the next one is sent.
func TestProxyUpload(t *testing.T) {
	part := strings.Repeat("x", 1<<20)
	got := make(chan struct{})
	u := listen(t, func(p *peer, _ int) {
		r, err := http.ReadRequest(p.reader)
		if err != nil {
			return
		}
		for range 8 {
			if _, err := io.CopyN(io.Discard, r.Body, int64(len(part))); err != nil {
				return
			}
			got <- struct{}{}
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
			return
		}
		p.say(ok)
	})
	body, in := io.Pipe()
	go func() {
		for range 8 {
			if _, err := io.WriteString(in, part); err != nil {
				return
			}
			wait(t, got)
		}
		_ = in.Close()
	}()
	req, err := http.NewRequestWithContext(within(t, patience), http.MethodPut, "http://"+front(t, newGateway(t, u.address))+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// HTTP/2 comes in, HTTP/1.1 goes out.
func TestProxyHTTP2(t *testing.T) {
	got := make(chan *seen, 1)
	u := listen(t, func(p *peer, _ int) {
		r := p.request()
		if r == nil {
			return
		}
		got <- r
		p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
	})
	s := httptest.NewUnstartedServer(newGateway(t, u.address).Proxy())
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	req, err := http.NewRequestWithContext(within(t, patience), http.MethodPost, s.URL+"/a/../b?x=%2F&y", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Trailer = "shop.example", http.Header{"X-Check": {"7"}}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "ok" || resp.ProtoMajor != 2 || resp.Trailer.Get("X-Sum") != "1" {
		t.Errorf("%s %q, trailers %v, error %v", resp.Proto, body, resp.Trailer, err)
	}
	r := wait(t, got)
	if r.Proto != "HTTP/1.1" || r.Host != "shop.example" || r.RequestURI != "/a/../b?x=%2F&y" || r.body != "body" ||
		r.Header.Get("X-Forwarded-Proto") != "https" || r.Trailer.Get("X-Check") != "7" {
		t.Errorf("upstream got %q", r.raw)
	}
}
