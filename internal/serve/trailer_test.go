package serve_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A trailer of the client's that cannot be sent on costs no unknown outcome.
func TestTrailerOfAClientThatIsNone(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	for name, trailer := range map[string]string{"a control character": "X-Sum: a\x01b", "a blank in the name": "X Sum: a", "valid": "X-Sum: ab"} {
		for _, size := range []int{10, 100 << 10} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.at.URL, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = fmt.Fprintf(c, "POST /orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: %q\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n\r\n",
					fmt.Sprint(name, size), size, strings.Repeat("x", size), trailer)
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				if state := res.Header.Get("POE-State"); strings.HasPrefix(state, "unknown") || res.StatusCode == http.StatusBadGateway {
					t.Errorf("%d %q %s", res.StatusCode, state, body)
				} else {
					t.Logf("%d %q", res.StatusCode, state)
				}
			})
		}
	}
}
