package h1_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postonce/poe/internal/h1"
)

// A counted connection counts how often its deadlines are set.
type counted struct {
	net.Conn
	reads, writes *atomic.Int64
}

func (c counted) SetReadDeadline(t time.Time) error {
	c.reads.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func (c counted) SetWriteDeadline(t time.Time) error {
	c.writes.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

type counting struct {
	net.Listener
	reads, writes atomic.Int64
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return counted{c, &l.reads, &l.writes}, err
}

// A deadline that is set already is not set again, and holds; one that was set for another request does not hold, though it may be set again.
func TestDeadlineThatIsSet(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	l := &counting{Listener: inner}
	by := time.Now().Add(time.Second)
	s := h1.New(&http.Server{IdleTimeout: time.Hour, ReadHeaderTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1")
		_, _ = io.WriteString(w, "x")
		if strings.HasPrefix(r.URL.Path, "/limited") {
			if err := http.NewResponseController(w).SetWriteDeadline(by); err != nil {
				t.Error(err)
			}
		}
	})})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }() // it ends by Close
	t.Cleanup(func() { _ = s.Close(); <-ended })
	c := dial(t, inner.Addr().String())
	in := bufio.NewReader(c)
	tell := func(path string) {
		t.Helper()
		if _, got := ask(t, c, in, "GET "+path+" HTTP/1.1\r\n"+host+"\r\n"); got != "x" {
			t.Errorf("%s: %q", path, got)
		}
	}
	for range 100 {
		tell("/limited")
	}
	if n := l.writes.Load(); n != 1 {
		t.Errorf("%d deadlines for writing were set, and all were the same", n)
	}
	if n := l.reads.Load(); n > 3 {
		t.Errorf("%d deadlines for reading were set in a moment, of an hour each", n)
	}
	<-time.After(time.Until(by) + 50*time.Millisecond)
	tell("/") // it was for the others
	tell("/")
	if n := l.writes.Load(); n != 2 {
		t.Errorf("%d deadlines for writing were set, and the second should be none", n)
	}
	if _, err := io.WriteString(c, "GET /limited-again HTTP/1.1\r\n"+host+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); err != nil || len(got) > 0 {
		t.Errorf("its time was over, and it got %q, %v", got, err)
	}
}

// The deadline holds, too, where it was not set because it was before.
func TestDeadlineThatWasSetBeforeHolds(t *testing.T) {
	t.Parallel()
	by := time.Now().Add(500 * time.Millisecond)
	address := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(by); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/late" {
			<-time.After(time.Until(by) + 50*time.Millisecond)
		}
	})}, true)
	if got := say(t, address, "GET / HTTP/1.1\r\n"+host+"\r\nGET /late HTTP/1.1\r\n"+host+"\r\n"); strings.Count(got, "HTTP/1.1 200 OK") != 1 {
		t.Errorf("got %q", got)
	}
}

// An idle connection ends when its time is over, though requests came meanwhile for which no deadline was set, and not before.
func TestIdleTimeIsFromTheLastRequest(t *testing.T) {
	t.Parallel()
	const idle = 640 * time.Millisecond
	address := serve(t, &http.Server{IdleTimeout: idle, Handler: http.HandlerFunc(mirror)}, true)
	c := dial(t, address)
	in := bufio.NewReader(c)
	var last time.Time
	for begin := time.Now(); time.Since(begin) < 2*idle+idle/100; { // no multiple of what deadlines are rounded to
		last = time.Now()
		ask(t, c, in, get)
	}
	answered := time.Now()
	if n, err := io.Copy(io.Discard, in); n > 0 || err != nil {
		t.Fatal(n, err)
	}
	if took := time.Since(answered); took > 2*idle || time.Since(last) < idle {
		t.Errorf("it was ended after %v, of %v", took, idle)
	}
}
