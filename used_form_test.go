package poe_test

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// Somebody orders with the form of docs/embedding.md, goes back (browsers show the page as it was, with the address that is used up by now), orders something else with it,
// and reads what the browser shows: that this one was not executed.
func TestOtherOrderWithUsedForm(t *testing.T) {
	gate, err := poe.Open(context.Background(), poe.Config{Store: "memory:"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Close(context.Background()) }()
	var orders []string
	shop := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		orders = append(orders, string(b))
		w.WriteHeader(http.StatusCreated)
	}))
	form, err := gate.Mint(context.Background(), http.MethodPost, "/orders")
	if err != nil {
		t.Fatal(err)
	}
	press := func(order string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", form.URI, strings.NewReader(order))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		shop.ServeHTTP(w, r)
		return w
	}
	press("item=Teapot&quantity=1")
	w := press("item=Cup&quantity=6")
	page := html.UnescapeString(w.Body.String())
	title := regexp.MustCompile(`<h1>(.*)</h1>`).FindStringSubmatch(page)[1]
	text := regexp.MustCompile(`(?s)</h1>\s*<p>(.*?)</p>`).FindStringSubmatch(page)[1]
	t.Logf("%d\n%s\n%s", w.Code, title, text)
	if len(orders) != 1 {
		t.Fatal(orders)
	}
	if !strings.Contains(text, "not executed") {
		t.Errorf("six cups were not ordered, and the page says: %q: %q", title, text)
	}
}
