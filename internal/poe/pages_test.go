package core_test

import (
	"html"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// What a person reads on each page.
func TestPagesSayWhatToDo(t *testing.T) {
	for name, want := range map[string][]string{
		"unused":               {"has not been used yet", "POST /orders?x=1", "changes nothing", "2026-03-01 13:00:00 UTC"},
		"running":              {"being done right now", "Reload", "address of its outcome"},
		"sent":                 {"being done right now"},
		"unknown":              {"Nobody knows yet", "may have been executed, or not", "receipt"},
		"burned":               {"was cancelled", "Only a new request, with a link or key of its own"},
		"expired, never sent":  {"was never used", "Only a new request", "safe to start again"},
		"expired, tried":       {"has expired", "Attempts", "Last answer", "422"},
		"past retention, done": {"too long ago", "Repeating does not help"},
	} {
		t.Run(name, func(t *testing.T) {
			at := slices.IndexFunc(arrangements, func(a arrangement) bool { return a.name == name })
			if at < 0 {
				t.Fatal("no such state")
			}
			b := newBench(t, nil)
			body := text(t, b.do("GET", arrangements[at].arrange(b).URI, "", "Accept: text/html"))
			for _, w := range want {
				if !strings.Contains(body, w) {
					t.Errorf("no %q in %s", w, body)
				}
			}
			noToken(t, body)
		})
	}
	t.Run("what is not kept is told by its digests", func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.MaxResponse = 3 })
		body := html.UnescapeString(text(t, b.do("GET", b.doneIssue().outcome, "", "Accept: text/html")))
		for _, w := range []string{digest256("apples"), digest256("order 1: apples"), "was not kept"} {
			if !strings.Contains(body, w) {
				t.Errorf("no %q in %s", w, body)
			}
		}
	})
	t.Run("no link is spoken of alone where a key is wanted", func(t *testing.T) {
		got := text(t, newBench(t, nil).do("GET", "/poe/problems/key-reused", "", "Accept: text/html"))
		if strings.Contains(got, "Only a new link") || !strings.Contains(got, "with a link or key of its own") {
			t.Errorf("%s", got)
		}
	})
	t.Run("the command for a file of JSON says that it is JSON", func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST,DELETE /orders"}} })
		for method, want := range map[string]string{"POST": "curl -i -H 'Content-Type: application/json' -d @order.json 'THE-ADDRESS'", "DELETE": "curl -i -X DELETE 'THE-ADDRESS'"} {
			got := html.UnescapeString(text(t, b.do("GET", "/poe/new?for=/orders&method="+method, "", "Accept: text/html")))
			if !strings.Contains(got, "<code>"+want+"</code>") {
				t.Errorf("no %q in %s", want, got)
			}
		}
	})
	t.Run("what was tried is not called unused", func(t *testing.T) {
		b := newBench(t, nil)
		b.app = answering(422)
		i := b.issue("/orders")
		b.do("POST", i.URI, "bad")
		if got := text(t, b.do("GET", i.URI, "", "Accept: text/html")); !strings.Contains(got, "can still be used") || strings.Contains(got, "not been used") {
			t.Errorf("%s", got)
		}
	})
	t.Run("only what can be used is said to be, and only where it can", func(t *testing.T) {
		b := newBench(t, nil)
		b.app = answering(502)
		i := b.issue("/orders?x=1")
		i.findOutcome(t, b.do("POST", i.URI, "apples"))
		if got := text(t, b.do("GET", i.URI, "", "Accept: text/html")); strings.Contains(got, "Can be used until") {
			t.Errorf("unknown: %s", got)
		}
		if _, err := b.gate.Decide(t.Context(), decision(i.ID, core.AsUnused)); err != nil {
			t.Fatal(err)
		}
		for address, here := range map[string]bool{i.URI: true, i.outcome: false} {
			got := text(t, b.do("GET", address, "", "Accept: text/html"))
			if strings.Contains(got, "to this very address is executed") != here || strings.Contains(got, "This link can") != here || !strings.Contains(got, "Can be used until") {
				t.Errorf("%s: %s", address, got)
			}
		}
	})
	t.Run("who cannot see what was done is not told that nothing was", func(t *testing.T) {
		b := newBench(t, nil)
		i := b.issue("/orders", "Authorization: Basic YTpi")
		i.findOutcome(t, b.do("POST", i.URI, "apples", "Authorization: Basic YTpi"))
		for _, address := range []string{i.outcome[:len(i.outcome)-1], i.outcome + "/edit", i.URI[:len(i.URI)-1], i.outcome, i.URI} {
			got := text(t, b.do("GET", address, "", "Accept: text/html"))
			if strings.Contains(got, "Nothing was executed.") || strings.Contains(got, "Nothing was executed and") || !strings.Contains(got, "what was executed before stays done") {
				t.Errorf("%s: %s", address, got)
			}
		}
	})
	t.Run("a 405 leads to the outcome", func(t *testing.T) {
		b := newBench(t, nil)
		i := b.doneIssue()
		for body, want := range map[string][]string{"apples": {"<dd>yes</dd>", "has been done already"}, "pears": {"no: another request was executed", "what you sent now was not executed"}} {
			got := text(t, b.do("POST", i.URI, body, "Accept: text/html"))
			for _, w := range []string{want[0], want[1], `href="` + i.outcome + `"`, `href="` + i.outcome + `/receipt"`,
				"Repeating does not help", "2026-03-01 12:00:00 UTC", `href="/poe/problems/consumed"`} {
				if !strings.Contains(got, w) {
					t.Errorf("no %q in %s", w, got)
				}
			}
		}
	})
	t.Run("a 405 leads to what a browser shows", func(t *testing.T) { // it stays where it is when the answer is 204
		b := newBench(t, nil)
		b.app = answering(204)
		i := b.doneIssue()
		got := text(t, b.do("POST", i.URI, "apples", "Accept: text/html"))
		if !strings.Contains(got, `class="next" href="`+i.outcome+`/receipt"`) || strings.Contains(got, "See what became of it") {
			t.Errorf("%s", got)
		}
	})
	t.Run("who is led to no outcome is told why", func(t *testing.T) {
		b := newBench(t, func(c *core.Config) {
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders/{id}", Unique: []string{"path:id"}}}
		})
		b.do("POST", "/orders/7", "apples")
		got := text(t, b.do("POST", "/orders/7", "apples", "Accept: text/html"))
		if !strings.Contains(got, "There is one already") || strings.Contains(got, "See what became of it") || !strings.Contains(got, "only the user is led") {
			t.Errorf("%s", got)
		}
	})
	t.Run("what failed has not been done", func(t *testing.T) {
		b := newBench(t, nil)
		b.app = answering(500)
		i := b.doneIssue()
		for body, want := range map[string]string{"apples": "answered with an error", "pears": "used with another body"} {
			got := text(t, b.do("POST", i.URI, body, "Accept: text/html"))
			if strings.Contains(got, "has been done") || strings.Contains(got, "has worked") || !strings.Contains(got, want) || !strings.Contains(got, "See what became of it") {
				t.Errorf("%s", got)
			}
		}
	})
	t.Run("what was not done in the time for it is not told as executed", func(t *testing.T) {
		b := deferring(t, nil)
		b.app = answering(429)
		i := b.issue("/orders")
		b.do("POST", i.URI, "apples", later)
		b.pass(25*time.Hour, 5*time.Minute)
		b.wantState(i.ID, store.Done)
		if got := text(t, b.do("POST", i.URI, "apples", "Accept: text/html")); strings.Contains(got, "was executed") || !strings.Contains(got, "answered with an error") {
			t.Errorf("%s", got)
		}
	})
	t.Run("what is accepted is not being done", func(t *testing.T) {
		b := deferring(t, nil)
		i := b.issue("/orders")
		b.do("POST", i.URI, "apples", later)
		if got := text(t, b.do("POST", i.URI, "apples", "Accept: text/html")); !strings.Contains(got, "<dd>accepted") || strings.Contains(got, "right now") || strings.Contains(got, "is being executed") {
			t.Errorf("%s", got)
		}
	})
	t.Run("what comes from outside is escaped", func(t *testing.T) {
		b := newBench(t, nil)
		got := text(t, b.do("GET", "/poe/new?for=/<script>alert(1)</script>", "", "Accept: text/html"))
		if strings.Contains(got, "<script") || !strings.Contains(got, "&lt;script") {
			t.Errorf("%s", got)
		}
	})
}

// Words are told from what is behind them by who does not see well (WCAG 2.2, 1.4.3): on white, and on what browsers have behind dark pages.
func TestPagesHaveContrast(t *testing.T) {
	page := text(t, newBench(t, nil).do("GET", "/poe/problems/consumed", "", "Accept: text/html"))
	schemes := regexp.MustCompile(`:root \{.*--soft: #(\w)\w\w;.*--accent: #(\w\w)(\w\w)(\w\w);`).FindAllStringSubmatch(page, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d schemes in %s", len(schemes), page)
	}
	luminance := func(channels ...string) (sum float64) {
		for i, weight := range []float64{.2126, .7152, .0722} {
			n, err := strconv.ParseUint(channels[i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			sum += weight * math.Pow((float64(n)/255+.055)/1.055, 2.4)
		}
		return sum
	}
	for i, behind := range []float64{luminance("ff", "ff", "ff"), luminance("12", "12", "12")} {
		soft := schemes[i][1] + schemes[i][1]
		for name, l := range map[string]float64{"soft": luminance(soft, soft, soft), "accent": luminance(schemes[i][2:]...)} {
			if ratio := (max(l, behind) + .05) / (min(l, behind) + .05); ratio < 4.5 {
				t.Errorf("%s in scheme %d: %.2f", name, i, ratio)
			}
		}
	}
}
