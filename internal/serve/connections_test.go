package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// heard is a log that is read while a server writes it.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

// However many files a process may have open, clients and what they make the server open leave as many as the ledger needs.
func TestFilesAreSharedOut(t *testing.T) {
	for _, tc := range []struct{ files, wanted, clients, executing, left int }{
		{64, 0, 5, 5, 34},
		{160, 0, 13, 13, 82},
		{1024, 0, 85, 85, 514},
		{1024, 20, 20, 85, 709},
		{14336, 0, 2048, 512, 3584},
		{65536, 0, 2048, 512, 37718},
		{65536, 20_000, 10581, 512, 12119},
		{1 << 20, 20_000, 20_000, 512, 639_222},
	} {
		clients, executing, bodies := serve.ShareOut(tc.files, tc.wanted)
		left := tc.files - 3*clients - executing - 2*bodies // a client's own, what it passes through, what became a websocket; a body in the spool, and in the ledger
		if clients != tc.clients || executing != tc.executing || left != tc.left {
			t.Errorf("%d files, %d connections wanted: %d clients, %d executions, %d files left; want %d, %d, %d", tc.files, tc.wanted, clients, executing, left, tc.clients, tc.executing, tc.left)
		}
	}
}

// Who connects while as many are connected as may be waits, and is served when one leaves; operators are told. A server that is full stops as any other.
func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.MaxConnections = 2
	log := new(heard)
	s := runWith(t, cfg, serve.Options{Log: zerolog.New(log)})
	connect := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.at.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET /poe/problems/ HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c, bufio.NewReader(c)
	}
	answered := func(c net.Conn, r *bufio.Reader, within time.Duration) error {
		if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
			return err
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	first, reader := connect()
	if err := answered(first, reader, time.Minute); err != nil {
		t.Fatal(err)
	}
	second, reader := connect()
	if err := answered(second, reader, time.Minute); err != nil {
		t.Fatal(err)
	}
	third, reader := connect()
	if err := answered(third, reader, 200*time.Millisecond); err == nil {
		t.Error("the third is answered while there are two")
	}
	if _, body := get(t, s.at.Admin+"/metrics"); !strings.Contains(body, "\npoe_connections 2\n") {
		t.Error("poe_connections does not say that there are two")
	}
	if !strings.Contains(log.String(), "there are as many connections as may be") {
		t.Errorf("nobody is told:\n%s", log)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := answered(third, reader, time.Minute); err != nil {
		t.Errorf("when one has left: %v", err)
	}
	s.stop()
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

// What passes through is not held to the number of connections where the process may have the files for more: a proxy in front that speaks HTTP/2 needs few.
func TestFewConnectionsManyStreams(t *testing.T) {
	release := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			_ = http.NewResponseController(w).Flush()
			<-release
		}
	}))
	defer app.Close()
	defer close(release)
	cfg := config(t, app.URL)
	cfg.MaxConnections = 4
	s := run(t, cfg)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	get := func(path string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at.URL+path, http.NoBody)
		if err != nil {
			return err
		}
		res, err := client.RoundTrip(r)
		if err == nil {
			t.Cleanup(func() { _ = res.Body.Close() })
		}
		return err
	}
	for range 4 { // four people look at the same page of events, behind one proxy
		if err := get("/events"); err != nil {
			t.Fatal(err)
		}
	}
	if err := get("/"); err != nil {
		t.Errorf("the fifth: %v", err)
	}
	one := dialTo(t, s.at.URL)
	one.ask("/")
	if err := one.answered(3 * time.Second); err != nil {
		t.Errorf("another client, of HTTP/1.1: %v", err)
	}
}
