package serve_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What an application might read as another request than the gateway does is not passed on, and what follows a request over HTTP/1.0 is not read.
func TestRefusesWhatOthersReadOtherwise(t *testing.T) {
	var reached atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		reached.Add(1)
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	host := strings.TrimPrefix(s.at.URL, "http://")
	const second = "POST /second HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
	for name, tc := range map[string]struct {
		sent   string
		status int
		runs   int64
		closed bool
	}{
		"a fragment":            {"POST /orders#x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400, 0, false},
		"a backslash":           {"POST /.\\orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400, 0, false},
		"one in a query":        {"POST /orders?a=\\ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 201, 1, false},
		"1.0 without a length":  {"POST /orders HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + second, 411, 0, true},
		"1.0 with both lengths": {"POST /orders HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4d\r\n" + second, 201, 1, true},
		"1.0 as nginx has it":   {"POST /orders HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 201, 1, true},
		"1.0, a page":           {"GET / HTTP/1.0\r\n\r\n", 201, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := reached.Load()
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, tc.sent); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if tc.closed {
				if rest, err := io.ReadAll(r); len(rest) > 0 {
					t.Errorf("another request was answered: %q %v", rest, err)
				}
			}
			if got := reached.Load() - before; res.StatusCode != tc.status || got != tc.runs {
				t.Errorf("%d, and %d requests reached the application; want %d and %d", res.StatusCode, got, tc.status, tc.runs)
			}
		})
	}
}
