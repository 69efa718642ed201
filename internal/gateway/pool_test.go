package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

func TestBusy(t *testing.T) {
	const conns = 3
	release, reached := make(chan struct{}), make(chan struct{}, conns)
	u := listen(t, func(p *peer, _ int) {
		for p.request() != nil {
			reached <- struct{}{}
			<-release
			p.say(ok)
		}
	})
	g := newGateway(t, u.address, func(c *gateway.Config) { c.MaxConns = conns })
	results := make(chan result, conns+2)
	run := func() {
		rec := replay.NewRecorder(replay.RecorderConfig{Spool: newSpool(t)})
		defer rec.Release()
		proof, err := g.Execute(t.Context(), post(t, "x"), rec)
		results <- result{Proof: proof, Err: err}
	}
	for range conns {
		go run()
	}
	for range conns {
		wait(t, reached)
	}

	got := execute(t, within(t, 10*time.Millisecond), g, post(t, "x"))
	if got.Proof != replay.Unsent || !errors.Is(got.Err, replay.ErrBusy) || timedOut(got.Err) {
		t.Errorf("proof %v, error %v, want unsent and busy", got.Proof, got.Err)
	}

	for range 2 {
		go run() // these wait for their turn
	}
	close(release)
	for range conns + 2 {
		if r := wait(t, results); r.Proof != replay.Complete {
			t.Errorf("proof %v, error %v", r.Proof, r.Err)
		}
	}
	if n := u.conns.Load(); n != conns {
		t.Errorf("%d connections, want %d", n, conns)
	}
}

// Where all connections are taken an execution waits for a while, and no longer than half its time: what is sent at the end of that is unknown.
func TestBusyIsToldInTime(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{30 * time.Second: 10 * time.Second, 6 * time.Second: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			g := newGateway(t, "pipe", func(c *gateway.Config) { c.MaxConns = 1 }, piped(func(c net.Conn, _ *http.Request) {
				<-release
				_, _ = io.WriteString(c, ok)
			}))
			defer g.Close()
			var all sync.WaitGroup
			all.Go(func() { execute(t, t.Context(), g, post(t, "x")) })
			synctest.Wait()
			begun := time.Now()
			got := execute(t, within(t, limit), g, post(t, "x"))
			if took := time.Since(begun); got.Proof != replay.Unsent || !errors.Is(got.Err, replay.ErrBusy) || timedOut(got.Err) || took != want {
				t.Errorf("of %s: proof %v, error %v after %s; want unsent and busy after %s", limit, got.Proof, got.Err, took, want)
			}
			close(release)
			all.Wait()
		})
	}
}

// Many at once, over few connections: each gets its own answer, each is executed once, and the limit holds.
func TestConcurrent(t *testing.T) {
	const conns, clients, each = 8, 64, 20
	var open, most atomic.Int64
	u := listen(t, func(p *peer, nth int) {
		for now := open.Add(1); now > most.Load(); {
			most.Store(now) // a lost race can only make the number smaller
		}
		defer open.Add(-1)
		for i := 0; ; i++ {
			r := p.request()
			if r == nil {
				return
			}
			last := ""
			if i == nth%7 {
				last = "Connection: close\r\n"
			}
			p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", last, len(r.body), r.body))
			if last != "" {
				return
			}
		}
	})
	g := newGateway(t, u.address, func(c *gateway.Config) { c.MaxConns = conns })
	spool := newSpool(t)
	ctx := within(t, patience)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf("%d of %d", i, client)
				rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
				proof, err := g.Execute(ctx, post(t, body), rec)
				if proof != replay.Complete {
					t.Errorf("proof %v: %v", proof, err)
				} else if a, err := rec.Finish(); err != nil {
					t.Error(err)
				} else if got, err := a.Body.ReadAll(); err != nil || string(got) != body {
					t.Errorf("got %q for %q, error %v", got, body, err)
				}
				rec.Release()
			}
		})
	}
	wg.Wait()
	if n := u.requests.Load(); n != clients*each {
		t.Errorf("%d executions, want %d", n, clients*each)
	}
	if n := most.Load(); n > 2*conns { // one that was closed may still be open at the other end
		t.Errorf("%d connections at a time, want %d", n, conns)
	}
}

// A connection for which there is no room is closed at once: an application that serves few at a time would wait for the next request on it.
func TestLeftConnectionIsClosed(t *testing.T) {
	closed := make(chan struct{})
	u := listen(t, func(p *peer, _ int) {
		p.request()
		p.say(ok)
		p.hang()
		close(closed)
	})
	g := newGateway(t, u.address, func(c *gateway.Config) { c.MaxIdle = -1 })
	if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
		t.Fatalf("proof %v: %v", res.Proof, res.Err)
	}
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
		t.Error("it is still open")
	}
}
