package serve_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What an application says in POE-State and POE-Links is taken out of its answers, guarded or not, interim ones included.
func TestReservedInInterim(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("POE-State", `done;id="x"`)
		w.Header().Set("POE-Links", `"/forged"`)
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	host := strings.TrimPrefix(s.at.URL, "http://")
	for _, fields := range []string{"Idempotency-Key: k\r\n", ""} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = fmt.Fprintf(c, "POST /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%sContent-Length: 1\r\n\r\nx", fields)
		all, _ := io.ReadAll(c)
		_ = c.Close()
		interim, _, _ := strings.Cut(string(all), "\r\n\r\n")
		if strings.Contains(interim, "Poe-") {
			t.Errorf("fields %q: %s", fields, interim)
		}
	}
}
