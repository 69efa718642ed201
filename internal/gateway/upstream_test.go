package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// patience is how long a test waits for what surely comes.
const patience = 20 * time.Second

// A script plays one connection of an upstream, and counts from 0. The connection is closed when it returns.
type script func(p *peer, nth int)

// An upstream is a TCP server that says exactly what its script says.
type upstream struct {
	address  string
	requests atomic.Int64 // that were read whole
	conns    atomic.Int64
	ended    chan struct{} // closed at the end of the test
}

func listen(t testing.TB, play script) *upstream {
	t.Helper()
	return listenBy(t, new(net.ListenConfig), play)
}

func listenBy(t testing.TB, config *net.ListenConfig, play script) *upstream {
	t.Helper()
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{address: l.Addr().String(), ended: make(chan struct{})}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		open []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			nth := int(u.conns.Add(1)) - 1
			wg.Go(func() {
				play(newPeer(c, u), nth)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(u.ended)
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return u
}

// A peer is the upstream's end of one connection.
type peer struct {
	net.Conn
	upstream *upstream
	seen     bytes.Buffer
	reader   *bufio.Reader
}

func newPeer(c net.Conn, u *upstream) *peer {
	p := &peer{Conn: c, upstream: u}
	p.reader = bufio.NewReader(io.TeeReader(c, &p.seen))
	return p
}

// A seen request, as it was on the wire.
type seen struct {
	*http.Request
	raw  string
	body string
}

// request reads one request to its end; nil if there is none.
func (p *peer) request() *seen {
	p.seen.Reset()
	r, err := http.ReadRequest(p.reader)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	p.upstream.requests.Add(1)
	return &seen{Request: r, raw: p.seen.String(), body: string(body)}
}

// head reads a request's head only.
func (p *peer) head() bool {
	_, err := http.ReadRequest(p.reader)
	return err == nil
}

// say writes s. A gateway that hung up is no error of the script.
func (p *peer) say(s string) { _, _ = io.WriteString(p, s) }

// reset makes the close that follows a TCP reset.
func (p *peer) reset() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Close()
}

// deaf reads nothing more and keeps the connection open.
func (p *peer) deaf() { <-p.upstream.ended }

// hang waits until the gateway hangs up.
func (p *peer) hang() { _, _ = io.Copy(io.Discard, p.reader) }

// always answers every request of a connection with s.
func always(s string) script {
	return func(p *peer, _ int) {
		for p.request() != nil {
			p.say(s)
		}
	}
}

// once reads one request and then does as told.
func once(then func(p *peer)) script {
	return func(p *peer, _ int) {
		if p.request() != nil {
			then(p)
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"

func newGateway(t testing.TB, address string, change ...func(*gateway.Config)) *gateway.Gateway {
	t.Helper()
	cfg := gateway.Config{Upstream: &url.URL{Scheme: "http", Host: address}, IdleTimeout: time.Hour}
	for _, c := range change {
		c(&cfg)
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func newSpool(t testing.TB) *replay.Spool {
	t.Helper()
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post is a request as the engine makes it.
func post(t testing.TB, body string, change ...func(*replay.Request)) *replay.Request {
	t.Helper()
	b := newSpool(t).New()
	t.Cleanup(b.Release)
	if body != "" {
		if _, err := io.WriteString(b, body); err != nil {
			t.Fatal(err)
		}
	}
	req := &replay.Request{
		Method:     http.MethodPost,
		Target:     "/orders",
		Host:       "shop.example",
		Header:     http.Header{"Content-Type": {"text/plain"}},
		Body:       b,
		Forward:    []replay.Field{{Name: "POE-Id", Value: "0193"}},
		RemoteAddr: "192.0.2.7:4711",
		Via:        "1.1 poe",
	}
	for _, c := range change {
		c(req)
	}
	return req
}

// A result is what an execution came to.
type result struct {
	Proof  replay.Proof
	Err    error
	Answer *replay.Answer // if complete
	Body   string
	Inform []string
}

func execute(t testing.TB, ctx context.Context, g *gateway.Gateway, req *replay.Request) result { //nolint:revive // t first
	t.Helper()
	var res result
	rec := replay.NewRecorder(replay.RecorderConfig{
		Spool: newSpool(t),
		Inform: func(status int, h http.Header) {
			res.Inform = append(res.Inform, http.StatusText(status)+" "+h.Get("Link"))
		},
	})
	t.Cleanup(rec.Release)
	res.Proof, res.Err = g.Execute(ctx, req, rec)
	noWriters(t)
	if (res.Proof == replay.Complete) != (res.Err == nil) {
		t.Errorf("proof %v with error %v", res.Proof, res.Err)
	}
	if res.Proof != replay.Complete {
		return res
	}
	a, err := rec.Finish()
	if err != nil {
		t.Fatalf("a complete answer that the recorder does not take: %v", err)
	}
	p, err := a.Body.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	res.Answer, res.Body = a, string(p)
	return res
}

// noWriters fails if a goroutine still writes for an execution that ended. Tests that use it must not run in parallel.
func noWriters(t testing.TB) {
	t.Helper()
	buf := make([]byte, 1<<20)
	if stacks := string(buf[:runtime.Stack(buf, true)]); strings.Contains(stacks, "(*exchange).sendRest") {
		t.Errorf("a writer outlived its execution:\n%s", stacks)
	}
}

// within is a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func wait[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatal("waited in vain")
	}
	return v
}
