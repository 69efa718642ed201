package serve_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// RFC 9110, section 4.2.1: an http URI without an authority is invalid, and RFC 9112, section 3.2, has four forms of a target. What net/url calls opaque
// (http:foo:/orders) is none of them; the proxy sends the opaque part on as a target of its own (foo:/orders), which net/http and others take for /orders.
func TestOpaqueTarget(t *testing.T) {
	var mu sync.Mutex
	var executed []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/orders") { // as any Go application has it
			mu.Lock()
			executed = append(executed, r.RequestURI)
			mu.Unlock()
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Routes = []serve.Route{{Name: "orders", Match: "POST /orders", Require: true, Unique: []string{"json:/email"}, Recovery: "compensate", Compensate: "/orders/undo/{id}"}, {Name: "free", Match: "POST /free"}}
	s := run(t, cfg)
	host := strings.TrimPrefix(s.at.URL, "http://")
	post := func(target string) int {
		t.Helper()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		const body = `{"email":"ann@example.com"}`
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	for _, target := range []string{"http:foo:/orders", "http:foo:/orders", "x:https://a/orders", "http:foo:///orders",
		// An authority that is missing, behind which a query was taken for what follows it; and one that no Host can have, which was sent on never.
		"http:/orders?x=a://b/free", "http:/orders/undo/7?x=a://b/nowhere", "http:///orders", "https:/orders", `http://a"b/orders`, "http://%ff/orders", "http://[fe80::1%25a%20b]/orders"} {
		if code := post(target); code != http.StatusBadRequest {
			t.Errorf("%s: %d", target, code)
		}
	}
	if len(executed) > 0 {
		t.Errorf("executed past the guards of POST /orders: %q", executed)
	}
}
