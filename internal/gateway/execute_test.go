package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// short is the time an execution gets where its end is what is tested.
const short = 400 * time.Millisecond

// What an upstream can do to a request, and what that proves.
func TestProof(t *testing.T) {
	large := strings.Repeat("x", 20<<20) // more than the kernel's buffers take
	tests := []struct {
		name     string
		play     script
		body     string
		within   time.Duration // 0: patience
		proof    replay.Proof
		fails    func(error) bool // nil: never
		status   int
		answer   string
		requests int64 // that the upstream read whole
	}{
		{name: "answers", play: always(ok), proof: replay.Complete, status: 200, answer: "ok", requests: 1},
		{name: "accepts and hangs", play: func(p *peer, _ int) { p.hang() },
			within: short, proof: replay.Broken, fails: timedOut},
		{name: "reads and hangs", play: once((*peer).hang),
			within: short, proof: replay.Broken, fails: timedOut, requests: 1},
		{name: "stops reading a large body", play: func(p *peer, _ int) { p.head(); p.deaf() }, body: large,
			within: short, proof: replay.Broken, fails: timedOut},
		{name: "hangs in the head", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-"); p.hang() }),
			within: short, proof: replay.Broken, fails: timedOut, requests: 1},
		{name: "hangs in the body", play: once(func(p *peer) { p.say(strings.TrimSuffix(ok, "k")); p.hang() }),
			within: short, proof: replay.Broken, fails: timedOut, requests: 1},
		{name: "resets after reading", play: once((*peer).reset), proof: replay.Broken, fails: with(syscall.ECONNRESET), requests: 1},
		{name: "resets in the body", play: once(func(p *peer) { p.say(strings.TrimSuffix(ok, "k")); p.reset() }),
			proof: replay.Broken, fails: otherwise, requests: 1},
		{name: "resets in a large request", play: func(p *peer, _ int) { p.head(); p.reset() }, body: large,
			proof: replay.Broken, fails: otherwise},
		{name: "closes in a large request", play: func(p *peer, _ int) { p.head() }, body: large,
			proof: replay.Broken, fails: otherwise},
		{name: "closes without an answer", play: once(func(*peer) {}), proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "half a status line", play: once(func(p *peer) { p.say("HTTP/1.1 2") }),
			proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "half a head", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n") }),
			proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "half a body", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab") }),
			proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "no body where one was promised", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n") }),
			proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "half a chunk", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab") }),
			proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "no last chunk", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n") }),
			proof: replay.Broken, fails: with(io.ErrUnexpectedEOF), requests: 1},
		{name: "half a last chunk", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n") }),
			proof: replay.Broken, fails: otherwise, requests: 1},
		{name: "half a trailer", play: once(func(p *peer) {
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n")
		}), proof: replay.Broken, fails: otherwise, requests: 1},
		{name: "a chunk size that is none", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "garbage", play: once(func(p *peer) { p.say("220 mail.example ESMTP secret\r\n\r\n") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "HTTP/2", play: once(func(p *peer) { p.say("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "status 099", play: once(func(p *peer) { p.say("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "two lengths", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "unknown transfer coding", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "101 unasked", play: once(func(p *peer) {
			p.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			p.hang()
		}), proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "endless 1xx", play: once(func(p *peer) {
			for p.upstream.requests.Load() > 0 {
				if _, err := io.WriteString(p, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
					return
				}
			}
		}), proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "giant head", play: once(func(p *peer) {
			p.say("HTTP/1.1 200 OK\r\nX-Giant: ")
			for {
				if _, err := io.WriteString(p, strings.Repeat("x", 64<<10)); err != nil {
					return
				}
			}
		}), proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "large head", play: once(func(p *peer) {
			p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Large: " + strings.Repeat("x", 900<<10) + "\r\n\r\n")
		}), proof: replay.Complete, status: 200, requests: 1},
		{name: "closed ends the body", play: once(func(p *peer) { p.say("HTTP/1.1 200 OK\r\n\r\nall of it") }),
			proof: replay.Complete, status: 200, answer: "all of it", requests: 1},
		{name: "HTTP/1.0", play: once(func(p *peer) { p.say("HTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\nok") }),
			proof: replay.Complete, status: 201, answer: "ok", requests: 1},
		{name: "HTTP/1.0 in chunks", play: once(func(p *peer) { p.say("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n") }),
			proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "HTTP/1.0 in chunks and with a length", play: once(func(p *peer) {
			p.say("HTTP/1.0 200 OK\r\nX-Pad: " + strings.Repeat("x", 3000) + "\r\ntransfer-ENCODING: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		}), proof: replay.Broken, fails: with(replay.ErrNotAnAnswer), requests: 1},
		{name: "HTTP/1.0, closed ends the body", play: once(func(p *peer) { p.say("HTTP/1.0 200 OK\r\n\r\nold") }),
			proof: replay.Complete, status: 200, answer: "old", requests: 1},
		{name: "204", play: always("HTTP/1.1 204 No Content\r\n\r\n"), proof: replay.Complete, status: 204, requests: 1},
		{name: "304", play: always("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
			proof: replay.Complete, status: 304, requests: 1},
		{name: "redirect, not followed", play: always("HTTP/1.1 307 Temporary Redirect\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"),
			proof: replay.Complete, status: 307, requests: 1},
		{name: "error", play: always("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"),
			proof: replay.Complete, status: 500, answer: "no", requests: 1},
		{name: "answers before the body, and hangs", play: func(p *peer, _ int) {
			p.head()
			p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			p.deaf()
		}, body: large, proof: replay.Complete, status: 413, answer: "no"},
		{name: "answers before the body, and closes", play: func(p *peer, _ int) {
			p.head()
			p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			p.hang()
		}, body: large, proof: replay.Complete, status: 413, answer: "no", requests: 0},
		{name: "answers at once, and reads on", play: func(p *peer, _ int) {
			if p.head() {
				p.say(ok)
				p.hang()
			}
		}, body: large, proof: replay.Complete, status: 200, answer: "ok"},
		{name: "reads a large body", play: always(ok), body: large, proof: replay.Complete, status: 200, answer: "ok", requests: 1},
	}
	for i := range 2 * len(tests) {
		tt, again := tests[i/2], i%2 == 1
		name := tt.name
		if again { // the connection has had another request before
			name += ", later"
			first := tt.play
			tt.requests++
			tt.play = func(p *peer, nth int) {
				if p.request() != nil {
					p.say(ok)
					first(p, nth)
				}
			}
		}
		t.Run(name, func(t *testing.T) {
			u := listen(t, tt.play)
			g := newGateway(t, u.address)
			if again {
				if got := execute(t, within(t, patience), g, post(t, "first")); got.Err != nil {
					t.Fatal(got.Err)
				}
			}
			req, ctx := post(t, tt.body), within(t, patience)
			if tt.within != 0 {
				ctx = within(t, tt.within)
			}
			got := execute(t, ctx, g, req)
			if got.Proof != tt.proof {
				t.Errorf("proof %v (%v), want %v", got.Proof, got.Err, tt.proof)
			}
			if tt.fails == nil {
				tt.fails = never
			}
			if !tt.fails(got.Err) {
				t.Errorf("error %v is not the one expected", got.Err)
			}
			if got.Err != nil && strings.Contains(got.Err.Error(), "secret") {
				t.Errorf("error %q quotes the answer", got.Err)
			}
			if got.Answer != nil && (got.Answer.Status != tt.status || got.Body != tt.answer) {
				t.Errorf("answer %d %q, want %d %q", got.Answer.Status, got.Body, tt.status, tt.answer)
			}
			if n := u.requests.Load(); n != tt.requests {
				t.Errorf("upstream read %d requests, want %d", n, tt.requests)
			}
			if n := u.conns.Load(); n != 1 {
				t.Errorf("upstream saw %d connections, want 1", n)
			}
		})
	}
}

// What a table says of an error.
func never(err error) bool { return err == nil }
func otherwise(err error) bool {
	return err != nil && !timedOut(err) && !errors.Is(err, replay.ErrNotAnAnswer)
}

func with(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) && !timedOut(err) }
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// Whatever keeps a connection from being made leaves the request unsent.
func TestUnsent(t *testing.T) {
	refusing := func() string {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	hangs := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	https := func(c *gateway.Config) { c.Upstream = &url.URL{Scheme: "https", Host: c.Upstream.Host} }
	tests := []struct {
		name    string
		address string
		play    script
		change  func(*gateway.Config)
		ctx     func() context.Context
		fails   func(error) bool
	}{
		{name: "refuses", address: refusing(), fails: with(syscall.ECONNREFUSED)},
		{name: "no such host", change: func(c *gateway.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
			}
		}, fails: fromResolver},
		{name: "connecting hangs", change: func(c *gateway.Config) { c.Dial, c.DialTimeout = hangs, time.Millisecond }, fails: timedOut},
		{name: "connecting hangs till the deadline", change: func(c *gateway.Config) { c.Dial = hangs },
			ctx: func() context.Context { return within(t, time.Millisecond) }, fails: timedOut},
		{name: "deadline passed before", play: always(ok), ctx: func() context.Context { return within(t, 0) }, fails: timedOut},
		{name: "dead as soon as it is there", change: func(c *gateway.Config) { // and it is not tried again and again
			dials := 0
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				if dials++; dials > 1 {
					return nil, errors.New("another connection")
				}
				ours, theirs := net.Pipe()
				return ours, theirs.Close()
			}
		}, fails: with(io.ErrClosedPipe)},
		{name: "no TLS there", play: func(p *peer, _ int) { p.say("HTTP/1.0 400 Bad Request\r\n\r\n") }, change: https, fails: otherwise},
		{name: "handshake cut off", play: func(*peer, int) {}, change: https, fails: otherwise},
		{name: "handshake hangs", play: func(p *peer, _ int) { p.hang() }, fails: timedOut,
			change: func(c *gateway.Config) { https(c); c.DialTimeout = short }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := tt.address
			if tt.play != nil {
				u := listen(t, tt.play)
				address = u.address
				defer func() {
					if n := u.requests.Load(); n != 0 {
						t.Errorf("upstream read %d requests", n)
					}
				}()
			}
			if address == "" {
				address = "upstream.invalid"
			}
			var change []func(*gateway.Config)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx()
			}
			got := execute(t, ctx, newGateway(t, address, change...), post(t, "body"))
			if got.Proof != replay.Unsent || got.Err == nil {
				t.Fatalf("proof %v, error %v", got.Proof, got.Err)
			}
			if !tt.fails(got.Err) {
				t.Errorf("error %v is not the one expected", got.Err)
			}
		})
	}
}

func fromResolver(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// A cancellation ends an execution at once and is not mistaken for a timeout.
func TestCancel(t *testing.T) {
	cause := errors.New("shutting down")
	reached := make(chan struct{})
	u := listen(t, once(func(p *peer) { close(reached); p.hang() }))
	g := newGateway(t, u.address)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-reached; cancel(cause) }()
	got := execute(t, ctx, g, post(t, "x"))
	if got.Proof != replay.Broken || !errors.Is(got.Err, cause) || !errors.Is(got.Err, context.Canceled) || timedOut(got.Err) {
		t.Errorf("proof %v, error %v", got.Proof, got.Err)
	}

	got = execute(t, ctx, g, post(t, "x"))
	if got.Proof != replay.Unsent || !errors.Is(got.Err, cause) {
		t.Errorf("cancelled before: proof %v, error %v", got.Proof, got.Err)
	}
}

// What is cancelled beforehand leaves an idle connection untouched.
func TestCancelledBefore(t *testing.T) {
	u := listen(t, always(ok))
	g := newGateway(t, u.address)
	for range 20 { // the cancellation also ends the writing, at some moment
		if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
			t.Fatalf("proof %v: %v", res.Proof, res.Err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if res := execute(t, ctx, g, post(t, "x")); res.Proof != replay.Unsent || !errors.Is(res.Err, context.Canceled) {
			t.Errorf("proof %v, error %v", res.Proof, res.Err)
		}
	}
	if n := u.requests.Load(); n != 20 {
		t.Errorf("%d executions, want 20", n)
	}
}

// A deadline may also come as the cause of a cancellation, as long as nothing is passed through yet.
func TestCancelBecauseOfDeadline(t *testing.T) {
	u := listen(t, once((*peer).hang))
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := time.AfterFunc(time.Millisecond, func() { cancel(context.DeadlineExceeded) })
	defer stop.Stop()
	got := execute(t, ctx, newGateway(t, u.address), post(t, "x"))
	if got.Proof == replay.Complete || !errors.Is(got.Err, context.DeadlineExceeded) {
		t.Errorf("proof %v, error %v", got.Proof, got.Err)
	}
}
