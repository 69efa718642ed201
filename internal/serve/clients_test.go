package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// Nobody but poe takes an action back. An application cannot tell: a client's request under a key has a POE-Id and an Idempotency-Key as poe's own has, and
// every client is told the id of its action. So what comes from a client to such a path does not reach the application, guarded or not.
func TestClientsCompensateNothing(t *testing.T) {
	var mu sync.Mutex
	var came []string
	broken := false
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/orders/compensate/") {
			body, _ := io.ReadAll(r.Body)
			came = append(came, r.Method+" "+r.URL.Path+" "+string(body))
		} else if broken {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	for name, routes := range map[string][]serve.Route{
		"its path is guarded":     {{Name: "orders", Match: "POST /orders", Recovery: "compensate", Compensate: "/orders/compensate/{id}"}, {Name: "rest", Match: "POST *"}},
		"its path is not guarded": {{Name: "orders", Match: "POST /orders", Recovery: "compensate", Compensate: "/orders/compensate/{id}"}},
	} {
		mu.Lock()
		came, broken = nil, false
		mu.Unlock()
		cfg := config(t, app.URL)
		cfg.Routes = routes
		s := run(t, cfg)
		res, _ := do(t, "POST", s.at.URL+"/orders", "a=b", "Idempotency-Key: k-1")
		_, id, _ := strings.Cut(res.Header.Get("POE-State"), `id="`)
		id, _, _ = strings.Cut(id, `"`)
		for _, path := range []string{"/orders/compensate/", "//orders/./compensate/", "/orders/x/../compensate/", "/orders/c%6fmpensate/", "/orders%2Fcompensate/"} {
			body := fmt.Sprintf(`{"id":%q,"method":"POST","target":"/orders"}`, id)
			res, said := do(t, "POST", s.at.URL+path+id, body, "Idempotency-Key: k-2", "Content-Type: application/json")
			if res.StatusCode != http.StatusNotFound || !strings.Contains(said, "not-found") {
				t.Errorf("%s: POST %s: %d %s", name, path, res.StatusCode, said)
			}
		}
		mu.Lock()
		if len(came) != 0 {
			t.Errorf("%s: the application was asked to take back: %q", name, came)
		}
		broken = true
		mu.Unlock()
		if res, said := do(t, "GET", s.at.URL+"/orders/compensate/"+id, ""); res.StatusCode != http.StatusCreated { // it is the method that takes back
			t.Errorf("%s: GET: %d %s", name, res.StatusCode, said)
		}
		do(t, "POST", s.at.URL+"/orders", "a=b", "Idempotency-Key: k-3")
		for since := time.Now(); ; <-time.After(10 * time.Millisecond) {
			mu.Lock()
			last := came[len(came)-1] // there is the GET
			mu.Unlock()
			if strings.HasPrefix(last, "POST ") {
				break
			}
			if time.Since(since) > 20*time.Second {
				t.Fatalf("%s: what poe itself takes back has not come: %q", name, last)
			}
		}
	}
}

// A page of an origin that a route lists may mint, and see outcomes and receipts, with its credentials: before a request with an Authorization field a browser asks
// whether it may send that (Fetch standard, section 3.3).
func TestPreflightOfOwnResources(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Routes = []serve.Route{{Name: "orders", Match: "POST /orders", Origins: []string{"https://shop.example.com"}}, {Name: "rest", Match: "POST /rest"}}
	s := run(t, cfg)
	for path, other := range map[string]int{ // what other requests get: an outcome is looked for before it is said what it allows
		"/poe/new?for=/orders": http.StatusMethodNotAllowed, "/poe/outcomes/x": http.StatusNotFound, "/poe/outcomes/x/receipt": http.StatusMethodNotAllowed,
	} {
		ask := func(fields ...string) *http.Response {
			res, _ := do(t, "OPTIONS", s.at.URL+path, "", fields...)
			return res
		}
		res := ask("Origin: https://shop.example.com", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization,prefer")
		h := res.Header
		if res.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "https://shop.example.com" || h.Get("Access-Control-Allow-Credentials") != "true" ||
			h.Get("Access-Control-Allow-Headers") != "authorization,prefer" || h.Get("Access-Control-Allow-Methods") != "GET, HEAD, DELETE" ||
			h.Get("Vary") != "Origin, Access-Control-Request-Headers" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, res.StatusCode, h)
		}
		for name, res := range map[string]*http.Response{
			"another origin":  ask("Origin: https://evil.example.com", "Access-Control-Request-Method: GET"),
			"no origin":       ask("Access-Control-Request-Method: GET"),
			"not a preflight": ask("Origin: https://shop.example.com"),
		} {
			listed := name == "not a preflight" && other == http.StatusNotFound // problems can be read by pages of listed origins
			if res.StatusCode != other || (res.Header.Get("Access-Control-Allow-Origin") != "") != listed {
				t.Errorf("%s, %s: %d %v", path, name, res.StatusCode, res.Header)
			}
		}
	}
}

// Each ttl that the configuration takes is one that a URI can have.
func TestLongestTTL(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Routes = []serve.Route{{Name: "orders", Match: "POST /orders", TTL: 4000 * 24 * time.Hour, Retention: time.Hour, Require: true}}
	s := run(t, cfg)
	res, said := do(t, "GET", s.at.URL+"/poe/new?for=/orders", "", "Accept: text/plain")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("minting: %d %s", res.StatusCode, said)
	}
	if res, said := do(t, "GET", s.at.URL+strings.TrimSpace(said), ""); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("POE-State"), "unused") {
		t.Errorf("its state: %d %s", res.StatusCode, said)
	}
	if res, said := do(t, "POST", s.at.URL+"/orders", "apples"); res.StatusCode != http.StatusPreconditionRequired || res.Header.Get("POE-Links") == "" {
		t.Errorf("required: %d %s", res.StatusCode, said)
	}
}
