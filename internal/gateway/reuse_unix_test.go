//go:build unix

package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// A dialer keeps hold of the connections it makes.
type dialer struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		d.conns = append(d.conns, c)
		d.mu.Unlock()
	}
	return c, err
}

// arrived waits until something lies on the newest connection: bytes, an end, or a reset.
func (d *dialer) arrived(t testing.TB) {
	t.Helper()
	d.mu.Lock()
	c := d.conns[len(d.conns)-1]
	d.mu.Unlock()
	readable(t, c)
}

func readable(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReuse(t *testing.T) {
	tests := []struct {
		name    string
		answer  string
		change  func(*gateway.Config)
		between func(p *peer, d *dialer) // after the first answer, before the second request
		conns   int64                    // for two requests
	}{
		{name: "keeps", answer: ok, conns: 1},
		{name: "keeps after chunks", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", conns: 1},
		{name: "Connection: close", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", conns: 2},
		{name: "HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", conns: 2},
		{name: "HTTP/1.0 that wants to be kept", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", conns: 2},
		{name: "answers twice at once", answer: ok + "HTTP/1.1 500 Wrong\r\nContent-Length: 2\r\n\r\nno", conns: 2},
		{name: "a body after 204", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nno", conns: 2},
		{name: "answers again later", answer: ok, conns: 2, between: func(p *peer, d *dialer) {
			p.say("HTTP/1.1 500 Wrong\r\nContent-Length: 2\r\n\r\nno")
			d.arrived(t)
		}},
		{name: "says one byte", answer: ok, conns: 2, between: func(p *peer, d *dialer) { p.say("\n"); d.arrived(t) }},
		{name: "closes", answer: ok, conns: 2, between: func(p *peer, d *dialer) { _ = p.Close(); d.arrived(t) }},
		{name: "closes its side", answer: ok, conns: 2, between: func(p *peer, d *dialer) {
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			d.arrived(t)
		}},
		{name: "resets", answer: ok, conns: 2, between: func(p *peer, d *dialer) { p.reset(); d.arrived(t) }},
		{name: "none to be kept", answer: ok, conns: 2, change: func(c *gateway.Config) { c.MaxIdle = -1 }},
		{name: "one to be kept", answer: ok, conns: 1, change: func(c *gateway.Config) { c.MaxIdle = 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answered, next := make(chan *peer), make(chan struct{}, 2)
			u := listen(t, func(p *peer, _ int) {
				for p.request() != nil {
					p.say(tt.answer)
					answered <- p
					<-next
				}
			})
			var d dialer
			g := newGateway(t, u.address, func(c *gateway.Config) {
				c.Dial = d.dial
				if tt.change != nil {
					tt.change(c)
				}
			})
			for i := range 2 {
				res := execute(t, within(t, patience), g, post(t, "x"))
				if res.Proof != replay.Complete || res.Answer.Status >= 500 || res.Body == "no" {
					t.Fatalf("request %d: proof %v, error %v, body %q", i, res.Proof, res.Err, res.Body)
				}
				p := wait(t, answered)
				if i == 0 && tt.between != nil {
					tt.between(p, &d)
				}
				next <- struct{}{}
			}
			if n := u.conns.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
			if n := u.requests.Load(); n != 2 {
				t.Errorf("%d executions, want 2", n)
			}
		})
	}
}

// An upstream that closes idle connections never costs an execution, as long as its end has arrived, and never makes two.
func TestClosedUnderOurHands(t *testing.T) {
	const rounds = 300
	closed := make(chan struct{}, 1)
	u := listen(t, func(p *peer, nth int) {
		for i := 0; p.request() != nil; i++ {
			p.say(ok)
			if i == nth%3 { // after one, two or three requests
				break
			}
		}
		if nth%2 == 0 {
			p.reset()
		}
		_ = p.Close()
		closed <- struct{}{}
	})
	var d dialer
	g := newGateway(t, u.address, func(c *gateway.Config) { c.Dial = d.dial })
	left := 0
	for round := range rounds {
		if left == 0 {
			left = int(u.conns.Load())%3 + 1
		}
		if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
			t.Fatalf("round %d: proof %v: %v", round, res.Proof, res.Err)
		}
		if left--; left == 0 {
			wait(t, closed)
			d.arrived(t)
		}
	}
	if n := u.requests.Load(); n != rounds {
		t.Errorf("%d executions of %d requests", n, rounds)
	}
}

// Before the first byte was accepted nothing happened, so a connection that was reset at once leaves the request unsent.
func TestResetBeforeReading(t *testing.T) {
	u := listen(t, func(p *peer, _ int) { p.reset() })
	var d dialer
	g := newGateway(t, u.address, func(c *gateway.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := d.dial(ctx, network, address)
			if err == nil {
				d.arrived(t)
			}
			return conn, err
		}
	})
	res := execute(t, within(t, patience), g, post(t, "x"))
	if res.Proof != replay.Unsent || res.Err == nil || timedOut(res.Err) {
		t.Errorf("proof %v, error %v", res.Proof, res.Err)
	}
}

// A brittle connection looks alive but takes nothing more once it broke.
type brittle struct {
	*net.TCPConn
	broken *atomic.Bool
	takes  int // bytes of a write that are still accepted
}

func (b brittle) Write(p []byte) (int, error) {
	if b.broken.Load() {
		n, _ := b.TCPConn.Write(p[:min(b.takes, len(p))])
		return n, syscall.EPIPE
	}
	return b.TCPConn.Write(p)
}

// An idle connection may be exchanged for another one while it has taken nothing, and never after its first byte.
func TestFirstByte(t *testing.T) {
	tests := []struct {
		takes int
		proof replay.Proof
		conns int64
	}{
		{takes: 0, proof: replay.Complete, conns: 2},
		{takes: 1, proof: replay.Broken, conns: 1},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d bytes", tt.takes), func(t *testing.T) {
			u := listen(t, always(ok))
			var broken atomic.Bool
			g := newGateway(t, u.address, func(c *gateway.Config) {
				c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					broken.Store(false)
					conn, err := new(net.Dialer).DialContext(ctx, network, address)
					if err != nil {
						return nil, err
					}
					return brittle{conn.(*net.TCPConn), &broken, tt.takes}, nil
				}
			})
			if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
				t.Fatalf("proof %v: %v", res.Proof, res.Err)
			}
			broken.Store(true)
			res := execute(t, within(t, patience), g, post(t, "x"))
			if res.Proof != tt.proof {
				t.Errorf("proof %v: %v", res.Proof, res.Err)
			}
			if n := u.conns.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
		})
	}
}

func TestIdleTimeout(t *testing.T) {
	u := listen(t, always(ok))
	var now atomic.Int64
	g := newGateway(t, u.address, func(c *gateway.Config) {
		c.IdleTimeout = 0 // which is 2 s
		c.Clock = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	for _, step := range []struct{ later, conns int64 }{{0, 1}, {1, 1}, {1, 1}, {2, 2}, {1, 2}, {60, 3}} {
		now.Add(step.later)
		if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
			t.Fatalf("proof %v: %v", res.Proof, res.Err)
		}
		if n := u.conns.Load(); n != step.conns {
			t.Errorf("at %d s: %d connections, want %d", now.Load(), n, step.conns)
		}
	}
}

// An idle connection ends in time though nothing follows it: an application that serves one connection at a time is free for others then.
func TestIdleConnectionEndsByItself(t *testing.T) {
	gone := make(chan struct{}, 3)
	u := listen(t, func(p *peer, _ int) {
		for p.request() != nil {
			p.say(ok)
		}
		gone <- struct{}{}
	})
	g := newGateway(t, u.address, func(c *gateway.Config) { c.IdleTimeout = 20 * time.Millisecond })
	for range 2 {
		if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
			t.Fatalf("proof %v: %v", res.Proof, res.Err)
		}
		wait(t, gone)
	}
}

// Close ends what is idle, and nothing is kept afterwards.
func TestClose(t *testing.T) {
	gone := make(chan struct{}, 3)
	u := listen(t, func(p *peer, _ int) {
		for p.request() != nil {
			p.say(ok)
		}
		gone <- struct{}{}
	})
	g := newGateway(t, u.address)
	run := func() {
		if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
			t.Fatalf("proof %v: %v", res.Proof, res.Err)
		}
	}
	run()
	for _, h := range []http.Handler{g.Proxy(), g.Asker()} { // which have connections of their own
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	}
	g.Close()
	for range 3 {
		wait(t, gone)
	}
	run()
	wait(t, gone)
}

// Under TLS what was read ahead hides from the kernel and from the buffer, and must not become an answer either.
func TestReuseUnderTLS(t *testing.T) {
	tests := []struct {
		name  string
		say   []string // records
		back  int      // bytes of the last one that are held back
		max   uint16
		conns int64
	}{
		{name: "keeps", say: []string{ok}, conns: 1},
		{name: "keeps, TLS 1.2", say: []string{ok}, max: tls.VersionTLS12, conns: 1},
		{name: "two answers in a record", say: []string{ok + ok}, conns: 2},
		{name: "two answers in two records", say: []string{ok, ok}, conns: 2},
		{name: "a byte too many", say: []string{ok + "\n"}, conns: 2},
		{name: "half a record", say: []string{ok, ok}, back: 10, conns: 2},
		{name: "some of a record's head", say: []string{ok, "x"}, back: -3, conns: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, client := certificate(t)
			server.MaxVersion = tt.max
			u := listen(t, overTLS(server, func(p *peer, _ int) {
				for p.request() != nil {
					held := p.Conn.(*tls.Conn).NetConn().(*corked)
					held.holding = true
					for _, s := range tt.say {
						p.say(s)
					}
					held.release(tt.back)
				}
			}))
			g := newGateway(t, u.address, https(client))
			for range 2 {
				res := execute(t, within(t, patience), g, post(t, "x"))
				if res.Proof != replay.Complete || res.Body != "ok" {
					t.Fatalf("proof %v, error %v, body %q", res.Proof, res.Err, res.Body)
				}
			}
			if n := u.conns.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
		})
	}
}

// Who answers before the request has arrived may take the rest of it for another one: its connection is not used again, though all of it was sent in the end.
func TestEarlyAnswerIsTheLast(t *testing.T) {
	large := strings.Repeat("x", 12<<20) // more than buffers hold, so it is still on its way when the answer comes
	u := listen(t, func(p *peer, _ int) {
		for p.head() {
			p.say(ok)
			if _, err := io.CopyN(io.Discard, p.reader, int64(len(large))); err != nil {
				return
			}
		}
	})
	g := newGateway(t, u.address)
	for i := range 2 {
		if res := execute(t, within(t, patience), g, post(t, large)); res.Proof != replay.Complete {
			t.Fatalf("request %d: proof %v, error %v", i, res.Proof, res.Err)
		}
	}
	if n := u.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// An unhurried conn takes its time for the second write, whatever is said about deadlines.
type unhurried struct {
	*net.TCPConn
	writes int
}

func (u *unhurried) Write(p []byte) (int, error) {
	if u.writes++; u.writes == 2 {
		<-time.After(200 * time.Millisecond)
	}
	return u.TCPConn.Write(p)
}

func (u *unhurried) SetWriteDeadline(time.Time) error { return nil }

// A connection that a deadline was set on is not used again, though the end of the request came through all the same.
func TestDeadlineIsTheLast(t *testing.T) {
	u := listen(t, func(p *peer, _ int) {
		for p.head() {
			p.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") // long before the end of the request is written
			if _, err := io.CopyN(io.Discard, p.reader, 100<<10); err != nil {
				return
			}
		}
	})
	g := newGateway(t, u.address, func(c *gateway.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			tcp := conn.(*net.TCPConn)
			if err := tcp.SetWriteBuffer(1 << 20); err != nil {
				return nil, err
			}
			return &unhurried{TCPConn: tcp}, nil
		}
	})
	for i := range 2 {
		if res := execute(t, within(t, patience), g, post(t, strings.Repeat("x", 100<<10))); res.Proof != replay.Complete {
			t.Fatalf("request %d: proof %v, error %v", i, res.Proof, res.Err)
		}
	}
	if n := u.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
