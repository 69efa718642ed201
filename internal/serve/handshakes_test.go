package serve_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// Whoever can reach the port fills no log with handshakes that fail: a minute has one line of them, which says how many there were besides.
func TestFailedHandshakesAreLoggedSeldom(t *testing.T) {
	cfg := config(t, "http://127.0.0.1:9")
	cfg.TLSCert, cfg.TLSKey, _ = certificate(t)
	log, later := new(heard), new(atomic.Int64)
	s := runWith(t, cfg, serve.Options{Log: zerolog.New(log), Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	fail := func() {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.at.URL, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "no handshake at all"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c) // the server hangs up when it has said so
		_ = c.Close()
	}
	for range 20 {
		fail()
	}
	if n := strings.Count(log.String(), "TLS handshake error"); n != 1 {
		t.Errorf("20 that fail are %d lines", n)
	}
	later.Store(int64(2 * time.Minute))
	fail()
	for late := time.After(10 * time.Second); !strings.Contains(log.String(), `"left_out":19,`); {
		select {
		case <-late:
			t.Fatalf("nobody is told how many there were:\n%s", log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Nor with answers that the application breaks off, of which any that passes through may be one.
func TestBrokenAnswersAreLoggedSeldom(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}))
	defer app.Close()
	log := new(heard)
	s := runWith(t, config(t, app.URL), serve.Options{Log: zerolog.New(log), Clock: time.Now})
	for range 20 {
		res, err := http.Get(s.at.URL + "/x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Error("it is said to be whole")
		}
		_ = res.Body.Close()
	}
	if n := strings.Count(log.String(), "read error during body copy"); n != 1 {
		t.Errorf("20 that break off are %d lines", n)
	}
}

// Nor with errors of HTTP/2, which need no more than a connection and some bytes.
func TestErrorsOfHTTP2AreLoggedSeldom(t *testing.T) {
	log := new(heard)
	s := runWith(t, config(t, "http://127.0.0.1:9"), serve.Options{Log: zerolog.New(log), Clock: time.Now})
	const begin = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" // with SETTINGS
	for what, frame := range map[string]string{
		"server connection error": "\x00\x00\x01\x00\x00\x00\x00\x00\x00x",                                // DATA of no stream
		"received GOAWAY":         "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", // with an error
	} {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				c, err := net.Dial("tcp", strings.TrimPrefix(s.at.URL, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(c, begin+frame); err != nil {
					t.Error(err)
				}
				_, _ = io.Copy(io.Discard, c) // the server hangs up a second after it has said so
				_ = c.Close()
			})
		}
		all.Wait()
		if n := strings.Count(log.String(), what); n != 1 {
			t.Errorf("%s 20 times is %d lines", what, n)
		}
	}
}
