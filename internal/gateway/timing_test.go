package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// piped makes connections that are pipes, with play at their other end, so that time can be a test's own.
func piped(play func(c net.Conn, r *http.Request)) func(*gateway.Config) {
	return func(cfg *gateway.Config) {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				if r, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
					play(theirs, r)
				}
				_ = theirs.Close() // a pipe's Close returns nil
			}()
			return ours, nil
		}
	}
}

// elapsed runs req and returns what came of it and how long it took, by the bubble's clock.
func elapsed(t *testing.T, ctx context.Context, g *gateway.Gateway, req *replay.Request) (result, time.Duration) { //nolint:revive // t first
	t.Helper()
	start := time.Now()
	res := execute(t, ctx, g, req)
	return res, time.Since(start)
}

// firstBlock reads what the gateway writes at once; a pipe has no buffer to take it.
func firstBlock(r *http.Request) int64 {
	n, _ := io.CopyN(io.Discard, r.Body, 64<<10) // less shows in n
	return n
}

// An answer may come while the request is still being written. Its writer gets a moment to finish, and no more.
func TestEarlyAnswerTiming(t *testing.T) {
	const size = 1 << 20
	t.Run("reads on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var read int64
			g := newGateway(t, "pipe", piped(func(c net.Conn, r *http.Request) {
				read = firstBlock(r)
				if _, err := io.WriteString(c, ok); err == nil {
					n, _ := io.Copy(io.Discard, r.Body) // less than all shows in read
					read += n
				}
			}))
			res, took := elapsed(t, t.Context(), g, post(t, strings.Repeat("x", size)))
			synctest.Wait()
			if res.Proof != replay.Complete || took != 0 || read != size {
				t.Errorf("proof %v after %s, %d bytes read", res.Proof, took, read)
			}
		})
	})
	for name, tt := range map[string]struct {
		answer string
		grace  time.Duration
	}{
		"a success, then nothing is read":                          {ok, time.Second},
		"a success that ends the connection, then nothing is read": {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", time.Second},
		"a refusal, then nothing is read":                          {"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				g := newGateway(t, "pipe", piped(func(c net.Conn, r *http.Request) {
					firstBlock(r)
					if _, err := io.WriteString(c, tt.answer); err == nil {
						<-done
					}
				}))
				res, took := elapsed(t, t.Context(), g, post(t, strings.Repeat("x", size)))
				close(done)
				if res.Proof != replay.Complete || took != tt.grace {
					t.Errorf("proof %v after %s", res.Proof, took)
				}
			})
		})
	}
	t.Run("a success, and it is read slowly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var read int64
			g := newGateway(t, "pipe", piped(func(c net.Conn, r *http.Request) {
				read = firstBlock(r)
				if _, err := io.WriteString(c, ok); err != nil {
					return
				}
				for n := int64(1); n > 0; read += n {
					<-time.After(900 * time.Millisecond)
					n, _ = io.CopyN(io.Discard, r.Body, 64<<10) // less than all shows in read
				}
			}))
			res, took := elapsed(t, t.Context(), g, post(t, strings.Repeat("x", size)))
			<-time.After(time.Minute) // until the peer has ended
			synctest.Wait()
			if res.Proof != replay.Complete || read != size {
				t.Errorf("proof %v after %s, %d bytes read", res.Proof, took, read)
			}
		})
	})
}

// A halfway conn fails to write after its first bytes, and goes on reading.
type halfway struct {
	net.Conn
	left int
}

var errHalfway = errors.New("halfway")

func (h *halfway) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p[:min(len(p), h.left)])
	h.left -= n
	if err == nil && n < len(p) {
		err = errHalfway
	}
	return n, err
}

// Whoever refuses a request before it was written may still say why, for a second.
func TestAnswerAfterFailedWrite(t *testing.T) {
	tests := []struct {
		name  string
		after time.Duration
		body  int
		left  int // bytes that can be written
		proof replay.Proof
		took  time.Duration
	}{
		{"in the first block, in time", 900 * time.Millisecond, 1000, 500, replay.Complete, 900 * time.Millisecond},
		{"in the first block, too late", 2 * time.Second, 1000, 500, replay.Broken, time.Second},
		{"later, in time", 900 * time.Millisecond, 1 << 20, 1 << 19, replay.Complete, 900 * time.Millisecond},
		{"later, too late", 2 * time.Second, 1 << 20, 1 << 19, replay.Broken, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over := make(chan struct{})
				pipe := piped(func(c net.Conn, r *http.Request) {
					go func() { _, _ = io.Copy(io.Discard, r.Body) }() // it ends with the connection
					select {
					case <-time.After(tt.after):
					case <-over:
					}
					_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n") // may be too late
				})
				g := newGateway(t, "pipe", pipe, func(c *gateway.Config) {
					dial := c.Dial
					c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						conn, err := dial(ctx, network, address)
						return &halfway{conn, tt.left}, err
					}
				})
				res, took := elapsed(t, t.Context(), g, post(t, strings.Repeat("x", tt.body)))
				close(over)
				if res.Proof != tt.proof || took != tt.took {
					t.Errorf("proof %v (%v) after %s, want %v after %s", res.Proof, res.Err, took, tt.proof, tt.took)
				}
				if res.Err != nil && (!errors.Is(res.Err, errHalfway) || timedOut(res.Err)) {
					t.Errorf("error %v", res.Err)
				}
			})
		})
	}
}

// The deadline holds in each phase, to the moment, and says what was sent.
func TestDeadline(t *testing.T) {
	never := func(c net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, c) } // until it is closed
	say := func(s string) func(net.Conn, *http.Request) {
		return func(c net.Conn, r *http.Request) {
			if _, err := io.WriteString(c, s); err == nil {
				never(c, r)
			}
		}
	}
	tests := []struct {
		name  string
		play  func(net.Conn, *http.Request)
		dial  func(context.Context, string, string) (net.Conn, error)
		proof replay.Proof
	}{
		{name: "first byte", proof: replay.Unsent, dial: func(context.Context, string, string) (net.Conn, error) {
			ours, _ := net.Pipe() // nobody reads
			return ours, nil
		}},
		{name: "no answer", play: never, proof: replay.Broken},
		{name: "1xx only", play: say("HTTP/1.1 103 Early Hints\r\n\r\n"), proof: replay.Broken},
		{name: "half a head", play: say("HTTP/1.1 200 OK\r\nContent-"), proof: replay.Broken},
		{name: "half a body", play: say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"), proof: replay.Broken},
		{name: "no last chunk", play: say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"), proof: replay.Broken},
		{name: "open end", play: say("HTTP/1.1 200 OK\r\n\r\nab"), proof: replay.Broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, "pipe", piped(tt.play), func(c *gateway.Config) {
					if tt.dial != nil {
						c.Dial = tt.dial
					}
				})
				res, took := elapsed(t, within(t, 3*time.Second), g, post(t, "x"))
				if res.Proof != tt.proof || took != 3*time.Second || !timedOut(res.Err) {
					t.Errorf("proof %v, error %v, after %s", res.Proof, res.Err, took)
				}
			})
		})
	}
}

// A connection that does not come about in its own time is given up before the deadline.
func TestDialTimeout(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: gateway.DefaultDialTimeout, 3 * time.Second: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, "pipe", func(c *gateway.Config) {
				c.DialTimeout = limit
				c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
			})
			res, took := elapsed(t, within(t, time.Minute), g, post(t, "x"))
			if res.Proof != replay.Unsent || took != want || !timedOut(res.Err) {
				t.Errorf("proof %v, error %v, after %s", res.Proof, res.Err, took)
			}
		})
	}
}

// Where the upstream's URL has no port it is that of its scheme.
func TestDialedAddress(t *testing.T) {
	for upstream, want := range map[string]string{
		"http://api.example": "api.example:80", "https://api.example": "api.example:443", "https://api.example:80": "api.example:80",
		"http://[::1]": "[::1]:80", "https://[::1]:9000": "[::1]:9000",
	} {
		var dialed []string
		g := newGateway(t, "", func(c *gateway.Config) {
			u, err := url.Parse(upstream)
			if err != nil {
				t.Fatal(err)
			}
			c.Upstream = u
			c.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
				dialed = append(dialed, network+" "+address)
				return nil, net.ErrClosed
			}
		})
		_ = execute(t, t.Context(), g, post(t, "x"))
		g.Proxy().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if diff := cmp.Diff([]string{"tcp " + want, "tcp " + want}, dialed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", upstream, diff)
		}
	}
}

// Connecting takes no more than half of a short time: what is sent at the end of that is unknown, though the application does it.
func TestConnectingLeavesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "pipe", piped(func(c net.Conn, _ *http.Request) {
			<-time.After(time.Second)
			_, _ = io.WriteString(c, ok)
		}), func(c *gateway.Config) {
			connect := c.Dial
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(1500 * time.Millisecond):
					return connect(ctx, network, address)
				}
			}
		})
		defer g.Close()
		res, took := elapsed(t, within(t, 2*time.Second), g, post(t, "x"))
		if res.Proof != replay.Unsent || took != time.Second || !timedOut(res.Err) {
			t.Errorf("of 2 s: proof %v, error %v, after %s; want unsent after one", res.Proof, res.Err, took)
		}
		if res, took := elapsed(t, within(t, 4*time.Second), g, post(t, "x")); res.Proof != replay.Complete || took != 2500*time.Millisecond {
			t.Errorf("of 4 s: proof %v, error %v, after %s", res.Proof, res.Err, took)
		}
	})
}

// early is a context that says when it will end, and then does not: that was lifted, as for an answer that streams.
type early struct{ context.Context }

func (early) Deadline() (time.Time, bool) { return time.Unix(1, 0), true }

// The end of an exchange is that of its context, and no deadline that it once had.
func TestLiftedDeadline(t *testing.T) {
	u := listen(t, always(ok))
	res := execute(t, early{within(t, patience)}, newGateway(t, u.address, func(c *gateway.Config) {
		c.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(t.Context(), network, address)
		}
	}), post(t, "x"))
	if res.Proof != replay.Complete {
		t.Errorf("proof %v, error %v", res.Proof, res.Err)
	}
}

// quick is a context that tells of its end by itself.
type quick struct {
	context.Context
	tell chan func()
	kept bool // what stop says
}

func (q *quick) AfterFunc(f func()) func() bool {
	q.tell <- f
	return func() bool { return q.kept }
}

func (q *quick) Done() <-chan struct{} { return nil } // nobody needs it

// A context that can tell of its end is asked to, and not waited for in another way.
func TestToldOfTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ends  bool // while the answer is waited for
		kept  bool // whether its end could still be kept from us when all was over
		proof replay.Proof
		conns int64 // for another request afterwards
	}{
		{"it does not end", false, true, replay.Complete, 1},
		{"it ends", true, false, replay.Broken, 2},
		{"it ends when all is over", false, false, replay.Complete, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked, answer := make(chan struct{}, 2), make(chan struct{}, 2)
			u := listen(t, func(p *peer, nth int) {
				for p.request() != nil {
					asked <- struct{}{}
					<-answer
					p.say(ok)
				}
			})
			g := newGateway(t, u.address)
			ctx := &quick{Context: t.Context(), tell: make(chan func(), 1), kept: tt.kept}
			go func() {
				end := <-ctx.tell
				<-asked
				if tt.ends {
					end()
				} else {
					answer <- struct{}{}
				}
			}()
			res := execute(t, ctx, g, post(t, "x"))
			if res.Proof != tt.proof || tt.ends && !timedOut(res.Err) {
				t.Errorf("proof %v, error %v", res.Proof, res.Err)
			}
			answer <- struct{}{}
			answer <- struct{}{}
			if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
				t.Errorf("afterwards: proof %v, error %v", res.Proof, res.Err)
			}
			if n := u.conns.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
		})
	}
}

// Each connection is closed when it was idle for too long, also where another one was so before.
func TestIdleOnesAreClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, closed := time.Now(), make(chan time.Duration, 3)
		g := newGateway(t, "pipe", func(c *gateway.Config) { c.IdleTimeout = 10 * time.Second }, piped(func(c net.Conn, r *http.Request) {
			work, _ := time.ParseDuration(r.URL.RawQuery)
			<-time.After(work)
			_, _ = io.WriteString(c, ok)
			_, _ = c.Read(make([]byte, 1))
			closed <- time.Since(start)
		}))
		spool := newSpool(t)
		for _, work := range []string{"1s", "4s", "7s"} {
			req := post(t, "", func(r *replay.Request) { r.Target = "/?" + work })
			go func() {
				rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
				defer rec.Release()
				if proof, err := g.Execute(t.Context(), req, rec); proof != replay.Complete {
					t.Errorf("%s: proof %v: %v", work, proof, err)
				}
			}()
		}
		for _, want := range []time.Duration{11 * time.Second, 14 * time.Second, 17 * time.Second} {
			if got := <-closed; got != want {
				t.Errorf("one is closed after %s, want %s", got, want)
			}
		}
	})
}
