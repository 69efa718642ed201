package serve_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A client of HTTP/1.0 knows no interim answers (RFC 9110, section 15.2), and its connection ends with its answer, also where the application has sent one.
func TestInterimOverHTTP10(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "page")
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	for name, head := range map[string]string{
		"passed through": "POST /orders HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
		"guarded":        "POST /orders HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\nx",
		"a page":         "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.at.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, head)
			<-time.After(300 * time.Millisecond)
			_, _ = io.WriteString(c, "POST /second HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
			_ = c.SetDeadline(time.Now().Add(3 * time.Second))
			all, err := io.ReadAll(c)
			if strings.Contains(string(all), " 103 ") {
				t.Errorf("an interim answer over HTTP/1.0")
			}
			if n := strings.Count(string(all), " 200 OK"); n != 1 || err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%d answers, %v: what follows a request of HTTP/1.0 on its connection is read", n, err)
			}
			t.Logf("%q", all)
		})
	}
}
