package poe_test

import (
	"context"
	"html"
	"html/template"
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

// A form that html/template has made leads to what was signed, as docs/embedding.md says: parentheses and apostrophes are to be spelled as it writes them.
func TestFormOfTemplate(t *testing.T) {
	gate, err := poe.Open(context.Background(), poe.Config{Store: "memory:", Routes: []poe.Route{{Match: "POST /Orders({id})"}, {Match: "POST /o'brien"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gate.Close(context.Background()) }()
	shop := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	form := template.Must(template.New("").Parse(`<form method="post" action="{{.}}">`))
	for target, want := range map[string]int{"/Orders(7)": http.StatusNotFound, "/Orders%287%29": http.StatusCreated, "/o%27brien": http.StatusCreated} {
		minted, err := gate.Mint(context.Background(), http.MethodPost, target)
		if err != nil {
			t.Fatal(err)
		}
		var page strings.Builder
		if err := form.Execute(&page, minted.URI); err != nil {
			t.Fatal(err)
		}
		action := html.UnescapeString(regexp.MustCompile(`action="(.*)"`).FindStringSubmatch(page.String())[1])
		w := httptest.NewRecorder()
		shop.ServeHTTP(w, httptest.NewRequest("POST", action, strings.NewReader("item=Teapot")))
		if w.Code != want {
			t.Errorf("%s: %d for %s", target, w.Code, page.String())
		}
	}
}
