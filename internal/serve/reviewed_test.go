package serve_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/tokens"
)

// lone is a gate that executes one request at a time, and its spool in dir.
func lone(t *testing.T, dir string) (*core.Gate, *replay.Spool) {
	t.Helper()
	st, err := memstore.New(memstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := tokens.Ephemeral(tokens.Config{Audience: st.Identity().String()}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spool, err := replay.NewSpool(replay.SpoolConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	gate, err := core.New(t.Context(), core.Config{Store: st, Keys: ring, Spool: spool, MaxRunning: 1})
	if err != nil {
		t.Fatal(err)
	}
	return gate, spool
}

// A client of HTTP/2 that opens no window takes nothing of a small answer: it must not hold it for ever.
func TestNoWindow(t *testing.T) {
	for name, tc := range map[string]struct {
		size int
		kind string
	}{"a small answer": {60 << 10, "text/plain"}, "a large one": {100 << 10, "text/plain"}, "a stream": {60 << 10, "text/event-stream"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				gate, spool := lone(t, dir)
				app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", tc.kind)
					_, _ = w.Write(make([]byte, tc.size))
				})
				guarded := gate.Once(core.HandlerExecutor{Handler: app}, app)
				ended := make(chan struct{})
				srv := serve.Public(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(ended)
					guarded.ServeHTTP(w, r)
				}))
				l := one{make(chan net.Conn, 1), make(chan struct{})}
				client, server := net.Pipe()
				l.conns <- server
				go func() { _ = srv.Serve(l) }()
				go func() { _, _ = io.Copy(io.Discard, client) }() // it reads, and gives no window
				if _, err := io.WriteString(client, http2.ClientPreface); err != nil {
					t.Fatal(err)
				}
				f := http2.NewFramer(client, nil)
				if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
					t.Fatal(err)
				}
				var head bytes.Buffer
				enc := hpack.NewEncoder(&head)
				for _, h := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}, {Name: "idempotency-key", Value: "k"}} {
					if err := enc.WriteField(h); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
					t.Fatal(err)
				}
				select {
				case <-ended:
				case <-time.After(time.Hour):
					memory, disk := spool.Usage()
					w, other := httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil)
					other.Header.Set("Idempotency-Key", "another")
					guarded.ServeHTTP(w, other)
					t.Logf("somebody else's POST: %d", w.Code)
					t.Errorf("after an hour the answer is still held: %d bytes of memory, %d of disk", memory, disk)
				}
				_ = client.Close()
				if err := srv.Close(); err != nil {
					t.Error(err)
				}
				<-ended
			})
		})
	}
}

// The same of an interim answer over HTTP/1.1: whoever takes nothing of it must not keep the action running.
func TestInterim(t *testing.T)     { overHTTP1(t, true) }
func TestSmallAnswer(t *testing.T) { overHTTP1(t, false) }

func overHTTP1(t *testing.T, hints bool) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate, spool := lone(t, dir)
		app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hints {
				w.Header().Set("Link", "</style.css>; rel=preload")
				w.WriteHeader(http.StatusEarlyHints)
			}
			w.WriteHeader(http.StatusCreated)
			if !hints {
				_, _ = w.Write(make([]byte, 60<<10))
			}
		})
		guarded := gate.Once(core.HandlerExecutor{Handler: app}, app)
		ended := make(chan struct{})
		srv := serve.Public(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			guarded.ServeHTTP(w, r)
		}))
		l := one{make(chan net.Conn, 1), make(chan struct{})}
		client, server := net.Pipe() // has no buffer, as a connection whose buffers are full
		l.conns <- server
		go func() { _ = srv.Serve(l) }()
		if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(time.Hour):
			w, same := httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil)
			same.Host = "a"
			same.Header.Set("Idempotency-Key", "k")
			guarded.ServeHTTP(w, same)
			memory, _ := spool.Usage()
			t.Errorf("after an hour the action is %d %s, and %d bytes of memory are held", w.Code, w.Header().Get("POE-State"), memory)
		}
		_ = client.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
}

// A method of HTTP in another case is no other method to some applications, and would pass the routes.
func TestMethodInOtherCase(t *testing.T) {
	var orders atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.ToUpper(r.Method) == "POST" {
			orders.Add(1)
		}
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Protect, cfg.Require = []string{"POST /orders"}, true
	s := run(t, cfg)
	for _, method := range []string{"post", "Post", "pOST", "delete", "get"} {
		if res, _ := do(t, method, s.at.URL+"/orders", "x", "Idempotency-Key: one"); res.StatusCode != 501 {
			t.Errorf("%s: %d", method, res.StatusCode)
		}
	}
	if res, _ := do(t, "PROPFIND", s.at.URL+"/orders", ""); res.StatusCode != 200 {
		t.Errorf("a method of its own: %d", res.StatusCode)
	}
	if n := orders.Load(); n != 0 {
		t.Errorf("%d orders", n)
	}
}
