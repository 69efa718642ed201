package shop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/postonce/poe/internal/shop"
)

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func open(cfg shop.Config) *shop.Shop {
	if cfg.Clock == nil {
		cfg.Clock = noon
	}
	return shop.New(cfg)
}

// exchange is one request and what comes of it.
type exchange struct {
	method, target, contentType, accept, body string
}

func do(ctx context.Context, s http.Handler, e exchange) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, e.method, e.target, strings.NewReader(e.body))
	if e.contentType != "" {
		r.Header.Set("Content-Type", e.contentType)
	}
	if e.accept != "" {
		r.Header.Set("Accept", e.accept)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
	browser  = "text/html,application/xhtml+xml,*/*;q=0.8"
)

func TestOrdering(t *testing.T) {
	tests := []struct {
		name     string
		exchange exchange
		status   int
		location string
		body     string
		taken    int
	}{
		{"a form", exchange{"POST", "/orders", formType, "", "item=Tea+pot&quantity=2"}, 201, "/orders/1",
			`{"id":1,"item":"Tea pot","quantity":2,"taken":"2026-11-21T12:00:00Z"}`, 1},
		{"JSON", exchange{"POST", "/orders", jsonType + "; charset=utf-8", "*/*", `{"item":"Cup","quantity":100}`}, 201, "/orders/1",
			`{"id":1,"item":"Cup","quantity":100,"taken":"2026-11-21T12:00:00Z"}`, 1},
		{"a form of parts", exchange{"POST", "/orders", "multipart/form-data; boundary=b", "",
			"--b\r\nContent-Disposition: form-data; name=item\r\n\r\nCup\r\n--b\r\nContent-Disposition: form-data; name=quantity\r\n\r\n1\r\n--b--\r\n"},
			201, "/orders/1", `{"id":1,"item":"Cup","quantity":1,"taken":"2026-11-21T12:00:00Z"}`, 1},
		{"no type", exchange{"POST", "/orders", "", "", "x"}, 415, "", `{"error":"send a form, or JSON as application/json"}`, 0},
		{"other type", exchange{"POST", "/orders", "text/plain", "", "x"}, 415, "", `{"error":"send a form, or JSON as application/json"}`, 0},
		{"no item", exchange{"POST", "/orders", formType, "", "quantity=1"}, 422, "", `{"error":"item must have 1 to 100 characters"}`, 0},
		{"blank item", exchange{"POST", "/orders", formType, "", "item=++&quantity=1"}, 422, "", `{"error":"item must have 1 to 100 characters"}`, 0},
		{"long item", exchange{"POST", "/orders", formType, "", "quantity=1&item=" + strings.Repeat("a", 101)}, 422, "", `{"error":"item must have 1 to 100 characters"}`, 0},
		{"no quantity", exchange{"POST", "/orders", formType, "", "item=a"}, 422, "", `{"error":"quantity must be a number from 1 to 100"}`, 0},
		{"zero", exchange{"POST", "/orders", jsonType, "", `{"item":"a"}`}, 422, "", `{"error":"quantity must be a number from 1 to 100"}`, 0},
		{"too many", exchange{"POST", "/orders", formType, "", "item=a&quantity=101"}, 422, "", `{"error":"quantity must be a number from 1 to 100"}`, 0},
		{"no JSON", exchange{"POST", "/orders", jsonType, "", `{`}, 400, "", `{"error":"reading the order: unexpected EOF"}`, 0},
		{"more JSON", exchange{"POST", "/orders", jsonType, "", `{"item":"a","quantity":1}{}`}, 400, "", `{"error":"reading the order: something follows it"}`, 0},
		{"unknown member", exchange{"POST", "/orders", jsonType, "", `{"price":0}`}, 400, "", `{"error":"reading the order: json: unknown field \"price\""}`, 0},
		{"too large", exchange{"POST", "/orders", jsonType, "", `{"item":"` + strings.Repeat("a", 70000)}, 413, "", `{"error":"that is too much for an order"}`, 0},
		{"failing", exchange{"POST", "/orders?fail=503", formType, "", "item=a&quantity=1"}, 503, "", `{"error":"the shop fails, as it was asked to; nothing was ordered"}`, 0},
		{"failing how", exchange{"POST", "/orders?fail=200", formType, "", "item=a&quantity=1"}, 400, "", `{"error":"fail \"200\" is neither a status from 400 to 599 nor reset"}`, 0},
		{"slow for too long", exchange{"POST", "/orders?delay=31s", formType, "", "item=a&quantity=1"}, 400, "", `{"error":"delay \"31s\" is not a time of at most 30s, like 3s"}`, 0},
		{"slow for how long", exchange{"POST", "/orders?delay=-1s", formType, "", "item=a&quantity=1"}, 400, "", `{"error":"delay \"-1s\" is not a time of at most 30s, like 3s"}`, 0},
		{"no such order", exchange{"GET", "/orders/1", "", "", ""}, 404, "", `{"error":"there is no such order"}`, 0},
		{"no number", exchange{"GET", "/orders/a", "", "", ""}, 404, "", `{"error":"there is no such order"}`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(shop.Config{})
			w := do(t.Context(), s, tt.exchange)
			if w.Code != tt.status || w.Header().Get("Location") != tt.location {
				t.Errorf("got %d, Location %q", w.Code, w.Header().Get("Location"))
			}
			if diff := cmp.Diff(tt.body+"\n", w.Body.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got := len(orders(t, s)); got != tt.taken {
				t.Errorf("%d orders were taken, want %d", got, tt.taken)
			}
		})
	}
}

func orders(t *testing.T, s *shop.Shop) []shop.Order {
	t.Helper()
	var all []shop.Order
	if err := json.Unmarshal(do(t.Context(), s, exchange{method: "GET", target: "/orders"}).Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLatestFirstAndBounded(t *testing.T) {
	s := open(shop.Config{Limit: 3})
	for i := range 5 {
		do(t.Context(), s, exchange{method: "POST", target: "/orders", contentType: formType, body: fmt.Sprintf("item=a&quantity=%d", i+1)})
	}
	var ids []int
	for _, o := range orders(t, s) {
		ids = append(ids, o.ID)
	}
	if diff := cmp.Diff([]int{5, 4, 3}, ids); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if w := do(t.Context(), s, exchange{method: "GET", target: "/orders/2"}); w.Code != 404 {
		t.Errorf("a forgotten order is there: %d", w.Code)
	}
	want := `{"id":4,"item":"a","quantity":4,"taken":"2026-11-21T12:00:00Z"}` + "\n"
	if w := do(t.Context(), s, exchange{method: "GET", target: "/orders/4"}); w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestReset is the wound that the shop is there to show: the order is taken and nobody is told.
func TestReset(t *testing.T) {
	s := open(shop.Config{})
	func() {
		defer func() {
			if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				t.Errorf("the connection is not cut: %v", err)
			}
		}()
		do(t.Context(), s, exchange{method: "POST", target: "/orders?fail=reset", contentType: formType, body: "item=a&quantity=1"})
	}()
	if got := len(orders(t, s)); got != 1 {
		t.Errorf("%d orders", got)
	}
}

func TestDelay(t *testing.T) {
	slow := exchange{method: "POST", target: "/orders?delay=3s", contentType: formType, body: "item=a&quantity=1"}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if w := do(t.Context(), open(shop.Config{}), slow); w.Code != 201 || time.Since(begin) != 3*time.Second {
			t.Errorf("got %d after %s", w.Code, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := open(shop.Config{})
		do(ctx, s, slow)
		if got := orders(t, s); len(got) != 1 {
			t.Errorf("whoever left while it took so long has %d orders", len(got))
		}
	})
}

// TestPages parses every page as a browser does, and looks for what a person needs on it.
func TestPages(t *testing.T) {
	mint := func(_ context.Context, target string) (string, error) { return target + "&poe=a.b.c", nil }
	away := func(context.Context, string) (string, error) { return "", errors.New("away") }
	order := exchange{"POST", "/orders", formType, browser, "item=<script>&quantity=1"}
	tests := []struct {
		name     string
		shop     shop.Config
		exchange exchange
		status   int
		forms    []string // their actions
		text     string
	}{
		{"front, without minting", shop.Config{}, exchange{method: "GET", target: "/"}, 200, []string{"/orders?delay=2s"}, "There is none yet."},
		{"front, with it", shop.Config{Mint: mint}, exchange{method: "GET", target: "/"}, 200, []string{"/orders?delay=2s", "/orders?delay=2s&poe=a.b.c"}, "Order once"},
		{"front, with minting away", shop.Config{Mint: away}, exchange{method: "GET", target: "/"}, 200, []string{"/orders?delay=2s"}, "could not be had just now"},
		{"orders", shop.Config{}, exchange{method: "GET", target: "/orders", accept: browser}, 200, nil, "There is none yet."},
		{"ordered", shop.Config{}, order, 201, nil, "1 × <script>, taken at 12:00:00 UTC."},
		{"refused", shop.Config{}, exchange{"POST", "/orders", formType, browser, "quantity=<b>"}, 422, nil, "item must have 1 to 100 characters."},
		{"not found", shop.Config{}, exchange{method: "GET", target: "/orders/9", accept: browser}, 404, nil, "there is no such order."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := do(t.Context(), open(tt.shop), tt.exchange)
			if w.Code != tt.status || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("got %d, %s", w.Code, w.Header())
			}
			p := read(t, w.Body.String())
			if diff := cmp.Diff(tt.forms, p.forms); diff != "" {
				t.Errorf("forms (-want +got)\n%s", diff)
			}
			if !strings.Contains(p.text, tt.text) {
				t.Errorf("%q is not on the page:\n%s", tt.text, p.text)
			}
			if p.scripts != 0 || p.title == "" || p.lang != "en" {
				t.Errorf("%d scripts, title %q, language %q", p.scripts, p.title, p.lang)
			}
			for id := range p.inputs {
				if !p.labels[id] {
					t.Errorf("input %q has no label", id)
				}
			}
		})
	}
}

// What somebody calls an item turns no other words of the page around.
func TestItemsKeepToThemselves(t *testing.T) {
	order := exchange{"POST", "/orders", formType, browser, "item=%E2%80%AEgnp.exe&quantity=1"}
	s := open(shop.Config{})
	for _, e := range []exchange{order, {method: "GET", target: "/orders", accept: browser}} {
		if got := do(t.Context(), s, e).Body.String(); !strings.Contains(got, "<bdi>\u202egnp.exe</bdi>") {
			t.Errorf("%s %s: %s", e.method, e.target, got)
		}
	}
}

// A paper is what a page has on it.
type paper struct {
	title, lang, text string
	forms             []string
	scripts           int
	inputs, labels    map[string]bool
}

func read(t *testing.T, text string) paper {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	p := paper{inputs: map[string]bool{}, labels: map[string]bool{}}
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			p.text += n.Data
		}
		switch n.Data {
		case "title":
			p.title = n.FirstChild.Data
		case "html":
			p.lang = attr(n, "lang")
		case "form":
			p.forms = append(p.forms, attr(n, "action"))
		case "script":
			if n.Type == html.ElementNode {
				p.scripts++
			}
		case "input":
			p.inputs[attr(n, "id")] = true
		case "label":
			p.labels[attr(n, "for")] = true
		}
	}
	return p
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
