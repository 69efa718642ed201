package serve_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/postonce/poe/internal/serve"
)

// RFC 9110, section 7.6.1: what Connection names is not forwarded. The gate reads it all the same: a business key is made of a value that the application never sees.
func TestFieldNamedByConnection(t *testing.T) {
	var mu sync.Mutex
	var made []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		tenant := r.Header.Get("X-Tenant")
		if tenant == "" {
			tenant = "default"
		}
		mu.Lock()
		made = append(made, tenant+"/"+in.Email)
		mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Routes = []serve.Route{{Name: "users", Match: "POST /users", Unique: []string{"header:X-Tenant", "json:/email"}}}
	s := run(t, cfg)
	const body = `{"email":"ann@example.com"}`
	for _, tenant := range []string{"a", "b", "c"} {
		res, text := do(t, "POST", s.at.URL+"/users", body, "Content-Type: application/json", "X-Tenant: "+tenant, "Connection: X-Tenant")
		t.Log(res.StatusCode, strings.TrimSpace(text))
	}
	if len(made) > 1 {
		t.Errorf("one business key, and the application has made %q", made)
	}
}
