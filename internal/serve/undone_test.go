package serve_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/postonce/poe/internal/serve"
)

// A PUT to a POE URI for POST (door post-put) is executed as a POST. So a client would still take back what was done for it, with a URI from before the route
// had compensate: since then none is made.
func TestClientsCompensateNothingByPUT(t *testing.T) {
	var mu sync.Mutex
	var came []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/orders/compensate/") {
			came = append(came, r.Method+" "+r.URL.Path+" POE-Id: "+r.Header.Get("POE-Id")+" Idempotency-Key: "+r.Header.Get("Idempotency-Key"))
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	orders, rest := serve.Route{Name: "orders", Match: "POST /orders"}, serve.Route{Name: "rest", Match: "POST *", Doors: []string{"poe", "post-put"}}
	cfg.Routes = []serve.Route{orders, rest}
	s := run(t, cfg)
	const id = "01a20051-e439-701f-ae9b-70a649fe8e4c"
	_, uri := do(t, "GET", s.at.URL+"/poe/new?for="+url.QueryEscape("/orders/compensate/"+id), "", "Accept: text/plain")
	s.stop()
	if err := s.end(); err != nil || !strings.HasPrefix(uri, "/orders/compensate/") {
		t.Fatal(uri, err)
	}
	orders.Recovery, orders.Compensate = "compensate", "/orders/compensate/{id}"
	cfg.Routes = []serve.Route{orders, rest}
	s = run(t, cfg)
	res, said := do(t, "PUT", s.at.URL+strings.TrimSpace(uri), `{"id":"`+id+`"}`, "Content-Type: application/json")
	mu.Lock()
	defer mu.Unlock()
	if len(came) != 0 {
		t.Errorf("%d %s; the application was asked to take back: %q", res.StatusCode, said, came)
	}
}
