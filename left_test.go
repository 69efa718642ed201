package poe_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe"
)

// Whom a handler has left behind goes on with all that it was given, while other requests have the memory of its own by then. Each of those is answered as if it was
// alone, and the one who was left behind sees what it saw.
func TestLeftBehind(t *testing.T) {
	gate, err := poe.Open(t.Context(), poe.Config{Store: "pebble:" + filepath.Join(t.TempDir(), "ledger")})
	if err != nil {
		t.Fatal(err)
	}
	var left sync.WaitGroup
	over := make(chan struct{})
	orders := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Header.Get("X-Name")
		id := poe.ActionID(r.Context())
		if strings.HasSuffix(name, "0") {
			left.Go(func() {
				for end := time.After(300 * time.Millisecond); ; {
					select {
					case <-over:
						return
					case <-end:
						return
					case <-r.Context().Done():
					}
					w.WriteHeader(http.StatusEarlyHints)
					w.WriteHeader(http.StatusTeapot)
					_, _ = io.WriteString(w, "from "+name)
					_ = http.NewResponseController(w).Flush()
					_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
					_, _ = io.Copy(io.Discard, r.Body)
					if now := poe.ActionID(r.Context()); now != id || r.Header.Get("X-Name") != name || r.URL.RawQuery != "n="+name || context.Cause(r.Context()) == nil {
						t.Errorf("%s of %s sees %s of %s?%s", name, id, r.Header.Get("X-Name"), now, r.URL.RawQuery)
					}
				}
			})
		}
		w.Header().Set("X-Of", name)
		_, _ = io.WriteString(w, "made "+name)
	}))
	mux := http.NewServeMux()
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", orders)
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for n := range 60 {
				name := fmt.Sprintf("%d-%d", client, n)
				uri, keyed := "/orders?n="+name, client%2 == 1
				if !keyed {
					one, err := gate.Mint(t.Context(), http.MethodPost, uri)
					if err != nil {
						t.Error(err)
						return
					}
					uri = one.URI
				}
				for turn := range 2 {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, uri, strings.NewReader("body of "+name))
					r.Header.Set("X-Name", name)
					if keyed {
						r.Header.Set("Idempotency-Key", "the-key-of-"+name)
					}
					w := httptest.NewRecorder()
					mux.ServeHTTP(w, r)
					switch {
					case (turn == 0 || keyed) && (w.Code != http.StatusOK || w.Body.String() != "made "+name || w.Header().Get("X-Of") != name):
						t.Errorf("%s was told %d %v %s", name, w.Code, w.Header(), w.Body)
					case turn == 1 && !keyed && (w.Code != http.StatusMethodNotAllowed || !strings.Contains(w.Body.String(), `"request_matches":true`)):
						t.Errorf("again, %s was told %d %s", name, w.Code, w.Body)
					}
				}
			}
		})
	}
	clients.Wait()
	close(over)
	left.Wait()
	if err := gate.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
