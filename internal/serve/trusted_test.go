package serve_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// What a trusted proxy in front says of its client is heard by the application whichever way a request takes, also where it is executed later.
func TestTrustedProxyIsHeardOnEveryWay(t *testing.T) {
	heard := make(chan string, 4)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard <- r.Header.Get("X-Forwarded-Proto") + " " + r.Header.Get("X-Forwarded-Host") + " " + r.Header.Get("X-Forwarded-For") + " via " + strings.Join(r.Header["Via"], ", ")
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	for _, tt := range []struct {
		name, want string
		trusted    []string
	}{
		{"trusted", "https shop.example 203.0.113.9, 127.0.0.1 via 1.0 edge, 1.1 poe", []string{"127.0.0.1"}},
		{"nobody", "http 127.0.0.1:0 127.0.0.1 via 1.0 edge, 1.1 poe", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t, app.URL)
			cfg.TrustedProxies = tt.trusted
			s := run(t, cfg)
			want := strings.Replace(tt.want, "127.0.0.1:0", strings.TrimPrefix(s.at.URL, "http://"), 1)
			for _, way := range []struct {
				name, method, path string
				status             int
				fields             []string
			}{
				{"passes", "GET", "/", 201, nil},
				{"is executed", "POST", "/orders", 201, []string{"Idempotency-Key: now"}},
				{"is executed later", "POST", "/orders", 202, []string{"Idempotency-Key: later", "Prefer: respond-async"}},
			} {
				res, body := do(t, way.method, s.at.URL+way.path, "", append(way.fields,
					"Via: 1.0 edge", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https")...)
				if res.StatusCode != way.status {
					t.Fatalf("%s: status %d, want %d: %s", way.name, res.StatusCode, way.status, body)
				}
				select {
				case got := <-heard:
					if got != want {
						t.Errorf("%s: the application heard %q, want %q", way.name, got, want)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("%s: it never reached the application", way.name)
				}
			}
		})
	}
}

// Whether an answer may be repeated is asked at the host that it was given at, whatever a trusted proxy says that the asker has named.
func TestTrustedProxyDoesNotChooseWhereToAsk(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth" && r.Header.Get("X-Forwarded-Host") == "mallory.example" {
			return // where he may have everything
		}
		if r.URL.Path == "/auth" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.TrustedProxies = []string{"127.0.0.1"}
	cfg.Routes = []serve.Route{{Match: "POST /orders", Authorize: "/auth"}}
	s := run(t, cfg)
	if res, body := do(t, "POST", s.at.URL+"/orders", "", "Idempotency-Key: k", "X-Forwarded-Host: alice.example"); res.StatusCode != 201 {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
	if res, _ := do(t, "POST", s.at.URL+"/orders", "", "Idempotency-Key: k", "X-Forwarded-Host: mallory.example"); res.StatusCode != 403 {
		t.Errorf("status %d: the application was asked at the asker's host", res.StatusCode)
	}
}
