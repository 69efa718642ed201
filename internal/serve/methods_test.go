package serve_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postonce/poe/internal/serve"
)

// Through the gateway, over real connections, PUT, PATCH and DELETE are executed once and then repeated.
func TestOtherMethodsThroughTheGateway(t *testing.T) {
	var executed atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if executed.Add(1) > 1 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Etag", `"1"`)
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(r.Method + " " + r.RequestURI)) // the client notices if it has gone
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Routes = []serve.Route{{Name: "things", Match: "PUT,PATCH,DELETE /things/{id}"}}
	s := run(t, cfg)
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		executed.Store(0)
		uri := mint(t, s.at.URL, "/things/1&method="+method)
		for range 3 {
			res, body := do(t, method, uri, "apples")
			if res.StatusCode != 202 || body != method+" /things/1" || res.Header.Get("Etag") != `"1"` {
				t.Errorf("%s: %d %q %v", method, res.StatusCode, body, res.Header)
			}
		}
		if res, _ := do(t, method, uri, "pears"); res.StatusCode != 409 {
			t.Errorf("%s with another body: %d", method, res.StatusCode)
		}
		// A client that waits to be asked for its body is asked, because the answer depends on it.
		if res, body := do(t, method, uri, "apples", "Expect: 100-continue"); res.StatusCode != 202 || !strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") {
			t.Errorf("%s with Expect: %d %q %v", method, res.StatusCode, body, res.Header)
		}
		if n := executed.Load(); n != 1 {
			t.Errorf("%s was executed %d times", method, n)
		}
	}
}
