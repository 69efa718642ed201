package core_test

import (
	"strings"
	"testing"

	core "github.com/postonce/poe/internal/poe"
)

// A path that can match nothing is refused with the way to write it, and so is one in the notation of another router.
func TestPathsOfRoutes(t *testing.T) {
	for text, says := range map[string]string{
		"*": "", "/": "", "/orders": "", "/orders/": "", "/café": "", "/100%": "", "/a b": "", "/.well-known/x": "", "/orders:cancel": "",
		"/orders/{id}": "", "/files/{path:.*}": "", "/a/{id:[0-9]{3}}/b": "", "/a/{id:(?:x|y)*}.json": "", "/v{n}": "", "/a/{id:[*?#]}": "", "/a/{id:[^/$]+}": "", `/a/{id:x\$}`: "",
		"":                       "must begin with a slash",
		"orders":                 "must begin with a slash",
		"/orders/{id:}":          "missing name or pattern",
		"/orders/{id:a)(?:b}":    "unexpected )",
		"/orders/{id:(x|y)}":     "(?:pattern) instead of (pattern)",
		"example.com/orders":     "must begin with a slash",
		"/orders/{id":            "unbalanced braces",
		"/orders/id}":            "unbalanced braces",
		"/files/{path...}":       "write {path:.*}",
		"/orders/{$}":            "{$} is not needed",
		"/orders/{id:^[0-9]+$}":  "^ and $ match nothing",
		"/orders/{id:[0-9]+$}":   "^ and $ match nothing",
		"/orders/<id>":           "such as {id}",
		"/orders, /payments":     "another route",
		`/orders\d+`:             "another route",
		"/orders/{a b}":          `variable "a b"`,
		"/files/*":               "write {path:.*}",
		"/files*":                "write {path:.*}",
		"/orders/:id":            "such as {id}",
		"/orders?kind=big":       "without a query",
		"/orders/{id}?kind=big":  "without a query",
		"/orders#top":            "or a fragment",
		"//orders":               `write "/orders"`,
		"/a/../orders":           `write "/orders"`,
		"/orders/{id:[0-9]+}//x": `write "/orders/{id}/x"`,
		"/caf%C3%A9":             `write "/café"`,
		"/a%2Fb":                 `write "/a/b"`,
		"/orders\u200b":          "nobody sees",
		"/orders\ufeff":          "nobody sees",
		"/or\u00adders":          "nobody sees",
		"/a/{id:[0-9]+\u200b}":   "nobody sees",
	} {
		err := core.CheckPath(text)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// A route that would never see a request is refused: what it says would not hold.
func TestRoutesBehindOthers(t *testing.T) {
	var usual core.Config
	newBench(t, func(c *core.Config) { usual = *c })
	usual.Metrics = nil
	for _, tc := range []struct {
		name   string
		routes []string
		hidden bool
	}{
		{"behind every path", []string{"POST *", "POST /a"}, true},
		{"behind a template", []string{"POST /orders/{id}", "POST /orders/new"}, true},
		{"the same path", []string{"POST,PUT /a/{id}", "PUT /a/{id}"}, true},
		{"behind two", []string{"POST *", "PUT *", "POST,PUT /a"}, true},
		{"every path behind a method's", []string{"POST *", "POST,PUT *"}, false},
		{"before every path", []string{"POST /a", "POST *"}, false},
		{"before a template", []string{"POST /orders/new", "POST /orders/{id}"}, false},
		{"another method", []string{"POST /a", "PUT /a"}, false},
		{"another path", []string{"POST /orders/{id:[0-9]+}", "POST /orders/new"}, false},
	} {
		cfg := usual
		for _, match := range tc.routes {
			cfg.Routes = append(cfg.Routes, core.Route{Match: match})
		}
		_, err := core.New(t.Context(), cfg)
		if hidden := err != nil && strings.Contains(err.Error(), "would never see a request"); hidden != tc.hidden || err != nil && !hidden {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// All that follows is all: a path with a line break in it is guarded like any other, and two that differ in it are two.
func TestLineBreakInPath(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "files", Match: "POST /files/{path:.*}", Unique: []string{"path:path"}}, {Match: "POST /logs/{name:[a-z].{2,}}/{rest:.*}"}}
	})
	for _, target := range []string{"/files/a%0Ab", "/files/a%0Db", "/files/%0A", "/logs/a%0A%0A/x%0A"} {
		before := b.executed.Load()
		for range 2 {
			if res := b.do("POST", target, "{}", "Idempotency-Key: k-"+target); res.StatusCode != 201 || res.Header.Get("POE-State") == "" {
				t.Errorf("%s: %d %v", target, res.StatusCode, res.Header)
			}
		}
		if n := b.executed.Load() - before; n != 1 {
			t.Errorf("%s: executed %d times", target, n)
		}
	}
}
