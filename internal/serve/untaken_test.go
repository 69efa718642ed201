package serve_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/serve"
)

// The application answers at once. That its client takes no interim answer changes nothing of what became of the action.
func TestInterimThatIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate, _ := lone(t, dir)
		hop, err := gateway.New(gateway.Config{Upstream: &url.URL{Scheme: "http", Host: "app"}, Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer func() { _ = theirs.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(theirs))
				if err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(theirs, "HTTP/1.1 103 Early Hints\r\nLink: <"+strings.Repeat("x", 8<<10)+">\r\n\r\n")
					_, _ = io.WriteString(theirs, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
				}
			}()
			return ours, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer hop.Close()
		guarded := gate.Once(hop, hop.Proxy())
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
		begun := time.Now()
		<-ended
		w, same := httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil)
		same.Host = "a"
		same.Header.Set("Idempotency-Key", "k")
		guarded.ServeHTTP(w, same)
		if state := w.Header().Get("POE-State"); !strings.HasPrefix(state, "done") {
			t.Errorf("after %v: %d %s %s", time.Since(begun), w.Code, state, w.Body)
		}
		_ = client.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}
