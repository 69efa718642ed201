package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// A problemCase produces a problem; fields go along with the request.
type problemCase struct {
	name    string
	code    int
	retry   string
	produce func(b *bench, ledger *tampered, fields ...string) *http.Response
}

// problemCases produce every problem of section 7 under every status that it has.
var problemCases = []problemCase{
	{"not-found", 404, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", "/orders?poe=forged", "x", f...)
	}},
	{"unknown-target", 404, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("GET", "/poe/new?for=/poe/x", "", f...)
	}},
	{"consumed", 405, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", b.doneIssue().URI, "x", f...)
	}},
	{"running", 409, "same", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", b.runningIssue().URI, "x", f...)
	}},
	{"outcome-unknown", 409, "same", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.app = answering(504)
		return b.do("POST", b.doneIssue().URI, "x", f...)
	}},
	{"outcome-unknown", 502, "same", proving(replay.Broken, errors.New("reset"))},
	{"outcome-unknown", 504, "same", proving(replay.Broken, context.DeadlineExceeded)},
	{"never-used", 410, "new", func(b *bench, _ *tampered, f ...string) *http.Response {
		uri := b.mint("/orders")
		b.advance(2 * time.Hour)
		return b.do("POST", uri, "x", f...)
	}},
	{"expired", 410, "new", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.app = answering(404)
		uri := b.mint("/orders")
		b.do("POST", uri, "x")
		b.advance(2 * time.Hour)
		return b.do("POST", uri, "x", f...)
	}},
	{"burned", 410, "new", func(b *bench, _ *tampered, f ...string) *http.Response {
		uri := b.mint("/orders")
		b.do("DELETE", uri, "x")
		return b.do("POST", uri, "x", f...)
	}},
	{"gone", 410, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		uri := b.mint("/orders")
		b.advance(40 * store.Day)
		return b.do("POST", uri, "x", f...)
	}},
	{"outcome-purged", 410, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.app = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1001)) }
		return b.do("GET", b.doneIssue().outcome, "x", f...)
	}},
	{"too-large", 413, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", b.mint("/orders"), strings.Repeat("x", 1001), f...)
	}},
	{"poe-required", 428, "new", func(b *bench, _ *tampered, f ...string) *http.Response { return b.do("POST", "/required", "x", f...) }},
	{"cross-origin", 403, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", b.mint("/orders"), "x", append(f, "Sec-Fetch-Site: cross-site")...)
	}},
	{"other-principal", 403, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", b.mint("/orders", "Authorization: Bearer a"), "x", f...)
	}},
	{"bad-parameter", 400, "never", func(b *bench, _ *tampered, f ...string) *http.Response { return b.do("GET", "/poe/new", "", f...) }},
	{"digest-mismatch", 400, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", b.mint("/orders"), "x", append(f, "Content-Digest: sha-256=:AAAA:")...)
	}},
	{"incomplete-body", 400, "same", func(b *bench, _ *tampered, f ...string) *http.Response {
		r := httptest.NewRequest("POST", b.mint("/orders"), brokenBody{})
		for _, field := range f {
			name, value, _ := strings.Cut(field, ": ")
			r.Header.Add(name, value)
		}
		return b.send(r)
	}},
	{"body-differs", 409, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		uri := b.issueOf("PUT", "/things").URI
		b.do("PUT", uri, "apples")
		return b.do("PUT", uri, "pears", f...)
	}},
	{"key-required", 400, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", "/keyed", "x", f...)
	}},
	{"key-invalid", 400, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", "/keyed", "x", append(f, "Idempotency-Key: a, b")...)
	}},
	{"key-reused", 422, "new", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.do("POST", "/keyed", "apples", append(f, "Idempotency-Key: k")...)
		return b.do("POST", "/keyed", "pears", append(f, "Idempotency-Key: k")...)
	}},
	{"key-expired", 409, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.do("POST", "/keyed", "apples", append(f, "Idempotency-Key: k")...)
		b.advance(31 * store.Day)
		return b.do("POST", "/keyed", "apples", append(f, "Idempotency-Key: k")...)
	}},
	{"principal-changed", 409, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.do("POST", "/keyed", "apples", alice, uuidKey)
		return b.do("POST", "/keyed", "apples", append(f, uuidKey)...)
	}},
	{"duplicate", 409, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.do("POST", "/unique/1", "apples", f...)
		return b.do("POST", "/unique/1", "pears", f...)
	}},
	{"rolled-back", 409, "new", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.app = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/back" {
				w.WriteHeader(204)
				return
			}
			w.WriteHeader(502)
		}
		b.deferred()
		uri := b.mint("/undone")
		b.do("POST", uri, "x")
		b.work()
		return b.do("GET", uri, "", f...)
	}},
	{"precondition-failed", 412, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.do("PUT", "/tagged", "apples", append(f, `If-Match: "v1"`)...)
		return b.do("PUT", "/tagged", "pears", append(f, `If-Match: "v1"`)...)
	}},
	{"precondition-required", 428, "new", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("PUT", "/tagged", "apples", f...)
	}},
	{"not-repeatable", 501, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("POST", "/orders", "x", append(f, "Repeatability-Request-ID: r", sentNow)...)
	}},
	{"authorization-unavailable", 503, "same", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.do("POST", "/watched", "apples", append(f, "Idempotency-Key: k")...)
		b.app = answering(500)
		return b.do("POST", "/watched", "apples", append(f, "Idempotency-Key: k")...)
	}},
	{"callback-refused", 400, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		return b.do("GET", "/poe/new?for=/orders&callback=https://example.com/", "", f...)
	}},
	{"method-refused", 501, "never", func(b *bench, _ *tampered, f ...string) *http.Response {
		b.app = answering(405)
		return b.do("POST", b.mint("/orders"), "x", f...)
	}},
	{"not-executed", 502, "same", proving(replay.Unsent, errors.New("refused"))},
	{"not-executed", 503, "same", proving(replay.Unsent, replay.ErrBusy)},
	{"not-executed", 504, "same", proving(replay.Unsent, context.DeadlineExceeded)},
	{"ledger-unavailable", 503, "same", func(b *bench, ledger *tampered, f ...string) *http.Response {
		ledger.lookup = func() error { return store.ErrUnavailable }
		return b.do("GET", b.mint("/orders"), "", f...)
	}},
}

// proving executes with an upstream that comes to that.
func proving(proof replay.Proof, err error) func(*bench, *tampered, ...string) *http.Response {
	return func(b *bench, _ *tampered, f ...string) *http.Response {
		b.mount(executing(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) { return proof, err }))
		return b.do("POST", b.mint("/orders"), "x", f...)
	}
}

func problemBench(t *testing.T) (*bench, *tampered) {
	t.Helper()
	var b *bench
	b, ledger := newTampered(t, func(c *core.Config) {
		c.MaxBody, c.MaxResponse = 1000, 1000
		c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serve(w, r) })
		c.Routes = []core.Route{{Match: "POST /required", Require: true}, {Match: "POST /watched", Authorize: "/auth"},
			{Match: "POST /undone", Recovery: core.RecoveryCompensate, Compensate: "/back"}, {Match: "POST /keyed", Doors: []string{"key"}, Require: true},
			{Name: "unique", Match: "POST /unique/{id}", Unique: []string{"path:id"}}, {Match: "PUT /tagged", Doors: []string{"if-match"}, Require: true},
			{Name: "default", Match: "POST,PUT *"}}
	})
	return b, ledger
}

// Every problem is produced, as JSON and as a page, and counted; and its type opens as a page that explains it.
func TestEveryProblem(t *testing.T) {
	produced := map[string]bool{}
	for _, tc := range problemCases {
		for _, accept := range []string{"application/json", "text/html"} {
			t.Run(fmt.Sprintf("%s %d %s", tc.name, tc.code, accept), func(t *testing.T) {
				b, ledger := problemBench(t)
				before := counter(t, b, "poe_problems_total", tc.name)
				res := tc.produce(b, ledger, "Accept: "+accept)
				got := read(t, res)
				if got.Code != tc.code {
					t.Fatalf("%v", got)
				}
				if accept == "text/html" && tc.name != "rolled-back" { // which is a stored answer, and so one for all
					if got.Body != page {
						t.Errorf("%v", got.Body)
					}
				} else if p := got.Body.(members); p["type"] != "/poe/problems/"+tc.name || p["retry"] != tc.retry || p["status"] != float64(tc.code) {
					t.Errorf("%v", p)
				}
				if after := got.Fields.Get("Retry-After"); (after != "") != (tc.retry == "same" && tc.code != 400) {
					t.Errorf("Retry-After is %q", after)
				}
				if allow := got.Fields.Get("Allow"); strings.Contains(allow, "POST") {
					t.Errorf("Allow is %q", allow)
				}
				if n := counter(t, b, "poe_problems_total", tc.name) - before; n != 1 {
					t.Errorf("poe_problems_total counts %v", n)
				}
				produced[tc.name] = true
			})
		}
	}
	for _, name := range core.ProblemNames() {
		if !produced[name] {
			t.Errorf("%s is never produced", name)
		}
	}
}

// The type of a problem is absolute where a public URL is configured.
func TestProblemTypesAreAbsolute(t *testing.T) {
	for _, url := range []string{"https://api.example.com", "https://api.example.com/"} {
		b := newBench(t, func(c *core.Config) { c.PublicURL, c.Prefix = url, "/once/" })
		got := read(t, b.do("GET", "/orders?poe=x", "")).Body.(members)["type"]
		if got != "https://api.example.com/once/problems/not-found" {
			t.Errorf("with %s: %v", url, got)
		}
	}
}

// What is preferred decides between JSON and a page.
func TestProblemForms(t *testing.T) {
	for accept, want := range map[string]string{
		"": "application/problem+json", "*/*": "application/problem+json", "application/json": "application/problem+json", "image/png": "application/problem+json",
		"application/problem+json, text/html;q=0.5": "application/problem+json", "application/json, text/html": "application/problem+json",
		"text/html": "text/html; charset=utf-8", "text/html, application/json;q=0.9": "text/html; charset=utf-8",
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8": "text/html; charset=utf-8",
		// RFC 9110, sections 12.4.2 and 12.5.1: what has a weight of 0 is not wanted, and the closest range decides.
		"text/html;q=0": "application/problem+json", "*/*, text/html;q=0": "application/problem+json", "application/*, text/html;q=0.5": "application/problem+json",
		"text/*;q=0.9, text/html;q=0.1, application/json;q=0.5": "application/problem+json", "*/*;q=0.1, text/html;q=0.01": "application/problem+json",
		"application/json;q=0, text/*;q=0.1": "text/html; charset=utf-8", "*/*;q=0.5, application/*;q=0.1": "text/html; charset=utf-8",
		// Neither types nor the weight have a case, and blanks may be tabs.
		"text/html;Q=0.1, application/json": "application/problem+json", "Text/HTML": "text/html; charset=utf-8", "text/html\t;\tq=0.1\t,\tapplication/json": "application/problem+json",
		"text/html, */*": "text/html; charset=utf-8", "text/html, application/json": "text/html; charset=utf-8",
		`text/plain;x="a, text/html", application/json`: "application/problem+json", "text/html;q=NaN": "application/problem+json", "text/html;q=": "application/problem+json",
	} {
		t.Run(accept, func(t *testing.T) {
			b := newBench(t, nil)
			var fields []string
			if accept != "" {
				fields = append(fields, "Accept: "+accept)
			}
			if got := b.do("POST", "/orders?poe=x", "", fields...).Header.Get("Content-Type"); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// A list may be on several lines (RFC 9110, section 5.3).
func TestAcceptOnTwoLines(t *testing.T) {
	b := newBench(t, nil)
	r := httptest.NewRequest("POST", "/orders?poe=x", nil)
	r.Header["Accept"] = []string{"application/json;q=0.5", "text/html"}
	if got := b.send(r).Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("%s: the second line says that a page is preferred", got)
	}
}

// No log line and no metric has a token, a ref, credentials or a body in it, whatever happens.
func TestLogsTellNoSecrets(t *testing.T) {
	var log bytes.Buffer
	const credentials, body = "c3RvbGVuOm1l", "the-body-itself"
	for _, tc := range problemCases {
		b, ledger := newTampered(t, func(c *core.Config) {
			c.MaxBody, c.MaxResponse, c.Log = 1000, 1000, zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.TraceLevel)
			c.Routes = []core.Route{{Match: "POST /required", Require: true}, {Match: "POST /keyed", Doors: []string{"key"}, Require: true},
				{Name: "unique", Match: "POST /unique/{id}", Unique: []string{"path:id"}}, {Match: "PUT /tagged", Doors: []string{"if-match"}, Require: true},
				{Name: "default", Match: "POST,PUT *"}}
		})
		tc.produce(b, ledger, "Authorization: Basic "+credentials)
		metrics, err := b.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(&log, metrics)
	}
	b, ledger := newTampered(t, func(c *core.Config) { c.Log = zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.TraceLevel) })
	b.app = func(http.ResponseWriter, *http.Request) { panic("a bug") }
	i := b.issue("/orders", "Authorization: Basic "+credentials)
	func() {
		defer func() { _ = recover() }()
		b.do("POST", i.URI, body, "Authorization: Basic "+credentials)
	}()
	i.findOutcome(t, b.do("GET", i.URI, "", "Authorization: Basic "+credentials))
	b.do("POST", i.URI+"x", body) // forged
	ledger.lookup = func() error { return store.ErrUnavailable }
	b.do("GET", i.outcome, "")
	b.do("POST", i.URI, body, "Authorization: Basic "+credentials, "Expect: 100-continue")
	ledger.lookup = nil
	ledger.advance = func() error { return store.ErrUnavailable }
	b.app = nil
	b.do("POST", b.mint("/orders"), body)
	for _, secret := range []string{tokenHead, strings.TrimPrefix(i.outcome, "/poe/outcomes/"), credentials, body, "poe="} {
		if at := strings.Index(log.String(), secret); at >= 0 {
			t.Errorf("%q is in the log: %s", secret, log.String()[max(0, at-200):min(log.Len(), at+200)])
		}
	}
	if strings.Count(log.String(), "\n") < 5 {
		t.Errorf("hardly anything was logged: %s", log.String())
	}
}

// A problem page under the prefix explains each problem, in both forms.
func TestProblemExplained(t *testing.T) {
	b := newBench(t, nil)
	for _, name := range core.ProblemNames() {
		t.Run(name, func(t *testing.T) {
			b.t = t
			at := slices.IndexFunc(problemCases, func(c problemCase) bool { return c.name == name })
			if at < 0 {
				t.Fatal("nothing is known of it")
			}
			for _, accept := range []string{"", "text/html", "*/*"} {
				got := read(t, b.do("GET", "/poe/problems/"+name, "", "Accept: "+accept))
				got.want(t, reply{Code: 200, Fields: own("text/html; charset=utf-8"), Body: page})
			}
			got := read(t, b.do("GET", "/poe/problems/"+name, "", "Accept: application/json"))
			doc := got.Body.(members)
			help, _ := doc["help"].(string)
			title, _ := doc["title"].(string)
			if len(help) < 60 || len(title) < 10 {
				t.Errorf("%q: %q", title, help)
			}
			want := members{"type": "/poe/problems/" + name, "title": title, "help": help, "retry": problemCases[at].retry, "status": doc["status"]}
			if d := cmp.Diff(want, doc); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// The table in docs/protocol.md has every problem and no other; that its statuses and retries are right, the tests of the
// documents ask a running server.
func TestProblemsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "| name | status | retry | meaning |\n|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("docs/protocol.md has no table of problems")
	}
	var names []string
	for row := range strings.Lines(table) {
		names = append(names, strings.TrimSpace(strings.Split(row, "|")[1]))
	}
	slices.Sort(names)
	want := slices.Sorted(slices.Values(core.ProblemNames()))
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("docs/protocol.md and the problems differ (-code +docs):\n%s", diff)
	}
}
