package shop_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/shop"
)

// The shop does each thing as often as it is asked to, and its notes have versions.
func TestPatterns(t *testing.T) {
	s := shop.New(shop.Config{Hooks: "http://shop.example/hooks"})
	for _, tc := range []struct {
		method, target, body string
		field                string
		status               int
		want                 string
	}{
		{"POST", "/orders/7/payment", "", "", 201, `{"order":"7","payment":1}`},
		{"POST", "/orders/7/payment", "", "", 201, `{"order":"7","payment":2}`},
		{"POST", "/gifts/a", "", "", 201, `{"gift":"a","sent":1}`},
		{"POST", "/gifts/a", "", "", 201, `{"gift":"a","sent":2}`},
		{"GET", "/notes/n", "", "", 404, `{"error":"there is no such note"}`},
		{"PUT", "/notes/n", "one", "If-Match: \"v1\"", 412, `{"error":"the note is another one by now"}`},
		{"PUT", "/notes/n", "one", "If-None-Match: *", 201, `{"note":"one","version":1}`},
		{"PUT", "/notes/n", "one", "If-None-Match: *", 412, `{"error":"the note is another one by now"}`},
		{"PUT", "/notes/n", "two", "If-Match: \"v1\"", 200, `{"note":"two","version":2}`},
		{"PUT", "/notes/n", "two", "If-Match: \"v1\"", 412, `{"error":"the note is another one by now"}`},
		{"PUT", "/notes/n", strings.Repeat("x", 5000), "", 413, `{"error":"that is too much for a note"}`},
		{"GET", "/notes/n", "", "", 200, `{"note":"two","version":2}`},
		{"DELETE", "/notes/n", "", "", 200, `{"deleted":"two"}`},
		{"DELETE", "/notes/n", "", "", 404, `{"error":"there is no such note"}`},
		{"POST", "/hooks", "no", "", 400, `{"error":"that is no event"}`},
		{"POST", "/hooks", `{"a":1}`, "Webhook-Id: m1", 204, ``},
		{"GET", "/hooks", "", "", 200, `{"address":"http://shop.example/hooks","heard":[{"id":"m1","signed":false,`},
	} {
		r := httptest.NewRequest(tc.method, tc.target, strings.NewReader(tc.body))
		if name, value, ok := strings.Cut(tc.field, ": "); ok {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != tc.status || !strings.HasPrefix(w.Body.String(), tc.want) {
			t.Errorf("%s %s: %d %s", tc.method, tc.target, w.Code, w.Body)
		}
	}
	for i := range 30 {
		r := httptest.NewRequest("POST", "/hooks", strings.NewReader("1"))
		s.ServeHTTP(httptest.NewRecorder(), r)
		r = httptest.NewRequest("PUT", "/notes/"+strings.Repeat("n", i*4+1), nil)
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/hooks", nil))
	if n := strings.Count(w.Body.String(), `"signed"`); n != 20 {
		t.Errorf("%d events are remembered", n)
	}
}
