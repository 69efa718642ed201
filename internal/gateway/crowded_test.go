package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/gateway"
)

// Where clients keep all connections to the upstream for what passes through, others are told so after a while, and do not wait for as long as those like; and the
// gate's own questions do not wait at all.
func TestNoConnectionFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newGateway(t, "pipe", func(c *gateway.Config) { c.MaxPassing = 2 }, piped(func(c net.Conn, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/events") {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
				<-release
				return
			}
			_, _ = io.WriteString(c, ok)
		}))
		get := func(h http.Handler, path string) (int, time.Duration) {
			w, begun := httptest.NewRecorder(), time.Now()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return w.Code, time.Since(begun)
		}
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { get(g.Proxy(), "/events") })
		}
		synctest.Wait()
		if code, took := get(g.Proxy(), "/"); code != http.StatusServiceUnavailable || took != 10*time.Second {
			t.Errorf("%d after %s", code, took)
		}
		if code, took := get(g.Asker(), "/"); code != http.StatusOK || took != 0 {
			t.Errorf("a question: %d after %s", code, took)
		}
		close(release)
		all.Wait()
		if code, took := get(g.Proxy(), "/"); code != http.StatusOK || took != 0 {
			t.Errorf("when they have gone: %d after %s", code, took)
		}
		g.Close()
	})
}

// Who has a connection has it for as long as the application takes, however many others there are.
func TestSlowAnswersInACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "pipe", func(c *gateway.Config) { c.MaxPassing = 2 }, piped(func(c net.Conn, _ *http.Request) {
			<-time.After(time.Minute)
			_, _ = io.WriteString(c, strings.TrimSuffix(ok, "k"))
			<-time.After(time.Minute)
			_, _ = io.WriteString(c, "k")
		}))
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				w, begun := httptest.NewRecorder(), time.Now()
				g.Proxy().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
				if took := time.Since(begun); w.Code != http.StatusOK || w.Body.String() != "ok" || took != 2*time.Minute {
					t.Errorf("%d %q after %s", w.Code, w.Body, took)
				}
			})
		}
		all.Wait()
		g.Close()
	})
}

// However many requests come at once, there are no more connections than may be, and all are answered.
func TestPassingSharesConnections(t *testing.T) {
	const most = 3
	var now, highest atomic.Int64
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		highest.Store(max(highest.Load(), now.Add(1)))
		defer now.Add(-1)
		<-time.After(5 * time.Millisecond)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer u.Close()
	at := front(t, newGateway(t, strings.TrimPrefix(u.URL, "http://"), func(c *gateway.Config) { c.MaxPassing = most }))
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/slow", http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			if res.StatusCode != http.StatusNoContent {
				t.Error(res.Status)
			}
			_ = res.Body.Close()
		})
	}
	all.Wait()
	if n := highest.Load(); n > most {
		t.Errorf("%d at one time, and %d may be", n, most)
	}
}

// A request whose connection breaks before it is answered needs another one, and has it before those who have none yet, however many came meanwhile.
func TestAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4
		release, broken := make(chan struct{}), make(chan struct{})
		var tries atomic.Int64
		g := newGateway(t, "pipe", func(c *gateway.Config) {
			c.MaxPassing, c.IdleTimeout = most, time.Hour
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer func() { _ = theirs.Close() }() // a pipe's Close returns nil
					for in := bufio.NewReader(theirs); ; {
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						switch {
						case r.URL.Path == "/events":
							_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
							<-release
							return
						case r.URL.Path == "/breaks" && tries.Add(1) == 1:
							<-broken
							return
						default:
							_, _ = io.WriteString(theirs, ok)
						}
					}
				}()
				return ours, nil
			}
		})
		var all sync.WaitGroup
		get := func(path string) (code *int, took *time.Duration) {
			code, took = new(int), new(time.Duration)
			all.Go(func() {
				w, begun := httptest.NewRecorder(), time.Now()
				g.Proxy().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
				*code, *took = w.Code, time.Since(begun)
			})
			synctest.Wait()
			return code, took
		}
		get("/") // leaves a connection for the next one
		code, took := get("/breaks")
		for range most - 1 {
			get("/events")
		}
		get("/events") // which waits
		close(broken)
		<-time.After(time.Minute)
		synctest.Wait()
		if *code != http.StatusOK || *took != 0 || tries.Load() != 2 {
			t.Errorf("%d after %s, and %d tries", *code, *took, tries.Load())
		}
		close(release)
		all.Wait()
		g.Close()
	})
}

// A websocket has its connection beside those that requests share.
func TestWebsocketsLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newGateway(t, "pipe", func(c *gateway.Config) { c.MaxPassing = 1 }, piped(func(c net.Conn, r *http.Request) {
			if r.Header.Get("Upgrade") == "" {
				_, _ = io.WriteString(c, ok)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			<-release
		}))
		var all sync.WaitGroup
		all.Go(func() {
			ours, theirs := net.Pipe()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/socket", nil)
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			g.Proxy().ServeHTTP(&hijacked{httptest.NewRecorder(), ours}, r)
		})
		synctest.Wait()
		w, begun := httptest.NewRecorder(), time.Now()
		g.Proxy().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		if took := time.Since(begun); w.Code != http.StatusOK || took != 0 {
			t.Errorf("%d after %s", w.Code, took)
		}
		close(release)
		all.Wait()
		g.Close()
	})
}

// hijacked gives a connection away, as net/http does.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}
