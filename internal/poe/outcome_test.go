package core_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// At another address some statuses would mean something else: they become 200. The original stays in POE-State.
func TestOutcomeStatus(t *testing.T) {
	for status, want := range map[int]int{
		200: 200, 201: 200, 202: 200, 203: 200, 204: 204, 205: 200, 206: 200, 207: 207,
		300: 300, 301: 301, 302: 302, 303: 303, 304: 200, 307: 307, 308: 308,
		400: 400, 401: 200, 402: 402, 403: 403, 404: 404, 405: 200, 407: 200, 409: 409, 410: 410, 416: 200, 422: 422,
		500: 500, 501: 501, 502: 502, 503: 503, 504: 504, 599: 599,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Consume: core.ConsumeAny}} })
			b.app = answering(status, "X-Kept: 1")
			i := b.issue("/orders")
			i.findOutcome(t, b.do("POST", i.URI, "apples"))
			for _, at := range []string{i.outcome, i.URI} {
				got := read(t, b.do("GET", at, ""))
				if got.Code != want || got.State != fmt.Sprintf("done;status=%d%s;replayed", status, b.at()) || got.Fields.Get("X-Kept") != "1" {
					t.Errorf("%s: %v", at, got)
				}
			}
		})
	}
}

// The first client gets all that the application said; a repeat what may be said again, to somebody else, elsewhere.
func TestOutcomeFields(t *testing.T) {
	const nobody, somebody = "", "Authorization: Bearer a"
	for _, who := range []string{nobody, somebody} {
		t.Run(who, func(t *testing.T) {
			b := newBench(t, nil)
			kept := []string{
				"Content-Type: text/plain; charset=latin1", `Etag: "v1"`, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "X-Many: 1", "X-Many: 2", "X-Many: 1",
				"Content-Language: de", "Retry-After: 5", "Content-Security-Policy: default-src 'self'",
			}
			perClient := []string{
				"Set-Cookie: a=b", "Set-Cookie: c=d", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Age: 5", "Www-Authenticate: Basic", "Authentication-Info: x",
				"Alt-Svc: clear", "Clear-Site-Data: *", "Access-Control-Allow-Origin: *", "Ratelimit: x", "X-Ratelimit-Left: 1", "Proxy-Status: x",
			}
			hop := []string{"Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "Upgrade: h2c", "Proxy-Authenticate: x", "Te: x"}
			relative := []string{"Location: ../bills/1?x=1", "Content-Location: 1", "Link: <1>; rel=\"item\", </a>; rel=\"up\""}
			b.app = func(w http.ResponseWriter, r *http.Request) {
				answering(201, slices.Concat(kept, perClient, hop, relative, []string{"POE-State: unused", "POE-Id: 1", "Cache-Control: max-age=60"})...)(w, r)
				_, _ = io.WriteString(w, "caf\xe9")
			}
			var fields []string
			if who != nobody {
				fields = []string{who}
			}
			i := b.issue("/shop/orders?x=1", fields...)
			res := b.do("POST", i.URI, "apples", fields...)
			i.findOutcome(t, &http.Response{Header: http.Header{"Link": lastLink(res.Header)}})
			want := reply{Code: 201, ID: i.ID, State: "done;status=201" + b.at(), Fields: own("", slices.Concat(kept, perClient)...), Body: "caf\xe9"}
			want.Fields.Add("Location", "../bills/1?x=1")
			want.Fields.Add("Content-Location", "1")
			want.Fields.Add("Link", strings.TrimPrefix(i.link(), "Link: "))
			want.Fields.Add("Link", `<1>; rel="item", </a>; rel="up"`)
			want.Fields.Set("Poe-Id", "1")
			delete(want.Fields, "Date")
			got := read(t, res)
			delete(want.Fields, "Poe-Id") // the application may say it, and nobody need hear it
			delete(got.Fields, "Poe-Id")
			got.want(t, want)

			want.State += ";replayed"
			want.Code = 200
			want.Fields = own("", kept...)
			want.Fields.Set("X-Content-Type-Options", "nosniff")
			want.Fields.Set("Location", "/bills/1?x=1")
			want.Fields.Set("Content-Location", "/shop/1")
			want.Fields.Set("Link", `</shop/1>; rel="item", </a>; rel="up"`)
			if who == nobody {
				want.Fields.Add("Content-Security-Policy", "sandbox")
			}
			for range 2 {
				read(t, b.do("GET", i.outcome, "", fields...)).want(t, want)
			}
			want.Fields["Link"] = []string{strings.TrimPrefix(i.link(), "Link: "), `</shop/1>; rel="item", </a>; rel="up"`}
			read(t, b.do("GET", i.URI, "", fields...)).want(t, want)
		})
	}
}

// lastLink is the outcome link among the links of a first answer.
func lastLink(h http.Header) []string {
	for _, l := range h["Link"] {
		if outcomeLink.MatchString(l) {
			return []string{l}
		}
	}
	return nil
}

// Contents of every kind come back byte for byte, from the front, from the ledger and from beside it.
func TestOutcomeContent(t *testing.T) {
	binary := make([]byte, 256)
	for n := range binary {
		binary[n] = byte(n)
	}
	for _, tc := range []struct {
		name    string
		content []byte
		status  int
	}{
		{"nothing", nil, 201},
		{"no content", nil, 204},
		{"see other", []byte("over there"), 303},
		{"binary", binary, 201},
		{"as much as a record holds", bytes.Repeat(binary, 256), 201},
		{"beside the ledger", append(bytes.Repeat(binary, 256), 'x'), 201},
		{"a megabyte", bytes.Repeat(binary, 4096), 200},
	} {
		for _, front := range []int64{1, 32 << 20} {
			t.Run(fmt.Sprintf("%s/front of %d", tc.name, front), func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.Front = front })
				b.app = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/x-test")
					w.WriteHeader(tc.status)
					_, _ = w.Write(tc.content)
				}
				i := b.issue("/orders")
				first := b.do("POST", i.URI, "apples")
				i.findOutcome(t, first)
				if got := text(t, first); got != string(tc.content) {
					t.Errorf("first answer: %d bytes", len(got))
				}
				for _, at := range []string{i.outcome, i.URI} {
					res := b.do("GET", at, "")
					length := fmt.Sprint(len(tc.content))
					if n := len(tc.content); tc.status == 204 || 0 < n && n < 2048 {
						length = "" // or the server says it
					}
					if got := text(t, res); got != string(tc.content) || res.Header.Get("Content-Length") != length || res.Header.Get("Content-Type") != "application/x-test" {
						t.Errorf("%s: %d bytes, %v", at, len(got), res.Header)
					}
				}
				if n := counter(t, b, "poe_replayed_total", ""); n != 2 {
					t.Errorf("poe_replayed_total is %v", n)
				}
			})
		}
	}
}

// Trailers, declared or not, arrive at the first client and at every other one.
func TestOutcomeTrailers(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Declared, Server-Timing")
		_, _ = io.WriteString(w, "content")
		w.Header().Set("X-Declared", "1")
		w.Header().Set("Server-Timing", "x")
		w.Header().Set(http.TrailerPrefix+"X-Undeclared", "2")
	}
	i := b.issue("/orders")
	want := http.Header{"X-Declared": {"1"}, "Server-Timing": {"x"}, "X-Undeclared": {"2"}}
	for _, method := range []string{"POST", "GET", "GET"} {
		res := b.wire(method, i.URI)
		if got := text(t, res); got != "content" {
			t.Errorf("%s: %q", method, got)
		}
		if d := cmp.Diff(want, res.Trailer); d != "" {
			t.Errorf("%s: trailers (-want +got):\n%s", method, d)
		}
	}
}

// A client that does not take the stored coding gets the content decoded.
func TestOutcomeCoding(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("plain")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(packed.Bytes())
	}
	i := b.doneIssue()
	for accept, want := range map[string]string{"gzip": packed.String(), "identity": "plain", "br, gzip;q=0": "plain", "*": packed.String()} {
		if got := text(t, b.do("GET", i.outcome, "", "Accept-Encoding: "+accept)); got != want {
			t.Errorf("with %s: %q", accept, got)
		}
	}
}

// The outcome's address is nobody's to guess, and nobody else's to read.
func TestOutcomeIsPrivate(t *testing.T) {
	const alice, bob = "Authorization: Bearer alice", "Authorization: Bearer bob"
	b := newBench(t, nil)
	i := b.issue("/orders", alice)
	i.findOutcome(t, b.do("POST", i.URI, "apples", alice))
	for _, path := range []string{i.outcome, i.outcome + "/receipt", i.URI} {
		for _, who := range [][]string{{bob}, nil} {
			read(t, b.do("GET", path, "", who...)).want(t, problemReply(403, "other-principal", "never", nil))
		}
		if res := b.do("GET", path, "", alice); res.StatusCode != 200 {
			t.Errorf("%s: %d to its own principal", path, res.StatusCode)
		}
	}
	ref := strings.TrimPrefix(i.outcome, "/poe/outcomes/")
	raw, err := base64.RawURLEncoding.DecodeString(ref)
	if err != nil || len(raw) != 32 {
		t.Fatalf("%q: %v", ref, err)
	}
	changed := func(at int) string {
		c := bytes.Clone(raw)
		c[at] ^= 1
		return base64.RawURLEncoding.EncodeToString(c)
	}
	refs := []string{"", "x", i.ID, ref[:42], ref + "A", ref + "=", strings.ToLower(ref), changed(0), changed(15), changed(16), changed(31),
		base64.RawURLEncoding.EncodeToString(raw[:16]), base64.RawURLEncoding.EncodeToString(append(raw[:16:16], make([]byte, 16)...)), "%2e%2e/new"}
	// The last character holds four bits that no encoder sets.
	refs = append(refs, ref[:42]+string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte(
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", ref[42])^1]))
	for _, r := range refs {
		for _, tail := range []string{"", "/receipt"} {
			read(t, b.do("GET", "/poe/outcomes/"+r+tail, "", alice)).want(t, problemReply(404, "not-found", "never", nil))
		}
	}
	other := newBench(t, nil)
	read(t, other.do("GET", i.outcome, "", alice)).want(t, problemReply(404, "not-found", "never", nil))
}

// Where the route is gone from the configuration nobody can be told apart, so only what is nobody's is shown.
func TestOutcomeOfAFormerRoute(t *testing.T) {
	for _, tc := range []struct {
		fields []string
		code   int
	}{{nil, 200}, {[]string{"Authorization: Bearer a"}, 403}} {
		var cfg core.Config
		b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders"}}; cfg = *c })
		i := b.issue("/orders", tc.fields...)
		i.findOutcome(t, b.do("POST", i.URI, "apples", tc.fields...))
		cfg.Metrics, cfg.Routes = nil, []core.Route{{Match: "POST /bills"}}
		later, err := core.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", i.outcome, http.NoBody)
		for _, f := range tc.fields {
			r.Header.Set("Authorization", strings.TrimPrefix(f, "Authorization: "))
		}
		later.ServeHTTP(w, r)
		if w.Code != tc.code {
			t.Errorf("%v: %d", tc.fields, w.Code)
		}
	}
}

// The outcome's address answers in every state that has one.
func TestOutcomeInEveryState(t *testing.T) {
	type stage struct {
		name   string
		code   int
		state  string
		kind   string // of a problem
		fields []string
		more   members
	}
	b := newBench(t, nil)
	entered, leave := make(chan struct{}), make(chan int)
	b.app = func(w http.ResponseWriter, _ *http.Request) { entered <- struct{}{}; w.WriteHeader(<-leave) }
	i := b.issue("/orders")
	T := b.at()
	look := func(s stage) {
		t.Helper()
		got := read(t, b.do("GET", i.outcome, ""))
		want := reply{Code: s.code, ID: i.ID, State: s.state, Fields: own("application/json", s.fields...)}
		switch {
		case s.kind != "":
			want.Fields.Set("Content-Type", "application/problem+json")
			want.Body = problemReply(s.code, s.kind, "new", members{"state": word(s.state)}).Body
			for k, v := range s.more {
				want.Body.(members)[k] = v
			}
		default:
			want.Body = s.more
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, d)
		}
	}
	doc := func(state string, attempts float64, outcome bool) members {
		m := members{"state": state, "id": i.ID, "target": "/orders", "method": "POST", "expires": "2026-03-01T13:00:00Z", "attempts": attempts}
		if outcome {
			m["outcome"] = i.outcome
		}
		return m
	}
	post := func(status int) {
		left := make(chan struct{})
		go func() { defer close(left); b.do("POST", i.URI, "apples") }()
		<-entered
		if i.outcome == "" {
			i.findOutcome(t, b.do("GET", i.URI, ""))
			look(stage{"running", 202, "running", "", []string{"Retry-After: 1"}, doc("running", 1, true)})
		}
		leave <- status
		<-left
	}
	post(422)
	look(stage{"unused again", 200, "unused;status=422", "", nil, doc("unused", 1, false)})
	b.advance(time.Hour + store.Skew)
	look(stage{"expired", 410, "expired;status=422" + T, "expired", nil, members{"attempts": 1.0, "last_status": 422.0}})

	b, i.outcome = newBench(t, nil), ""
	b.app = answering(502)
	i = b.issue("/orders")
	i.findOutcome(t, b.do("POST", i.URI, "apples"))
	look(stage{"unknown", 202, "unknown;status=502" + T, "", nil, doc("unknown", 1, true)})
	b.advance(40 * store.Day)
	look(stage{"unknown long after", 202, "unknown;status=502" + T, "", nil, doc("unknown", 1, true)})

	b = newBench(t, nil)
	i = b.doneIssue()
	b.advance(40 * store.Day)
	for _, path := range []string{i.outcome, i.outcome + "/receipt"} {
		want := problemReply(410, "gone", "never", members{"state": "gone"})
		want.ID, want.State = i.ID, "gone"
		read(t, b.do("GET", path, "")).want(t, want)
	}
}

// What is not kept any more is said not to be, with all that is known; what cannot be had now can be had later.
func TestOutcomeNotKept(t *testing.T) {
	content := strings.Repeat("x", 100_000)
	for _, tc := range []struct {
		name  string
		limit int64
		open  func(io.ReadSeekCloser, error) (io.ReadSeekCloser, error)
		code  int
		kind  string
		retry string
	}{
		{"too large to keep", 99_999, nil, 410, "outcome-purged", "never"},
		{"lost", 0, func(io.ReadSeekCloser, error) (io.ReadSeekCloser, error) { return nil, store.ErrNotFound }, 410, "outcome-purged", "never"},
		{"cut short", 0, func(r io.ReadSeekCloser, err error) (io.ReadSeekCloser, error) { return shorter{r}, err }, 410, "outcome-purged", "never"},
		{"out of reach while it is measured", 0, func(r io.ReadSeekCloser, err error) (io.ReadSeekCloser, error) { return unmeasured{r}, err }, 503, "ledger-unavailable", "same"},
		{"out of reach", 0, func(io.ReadSeekCloser, error) (io.ReadSeekCloser, error) { return nil, errors.New("the disk is away") }, 503, "ledger-unavailable", "same"},
	} {
		for _, accept := range []string{"*/*", "text/html"} {
			t.Run(tc.name+" "+accept, func(t *testing.T) {
				b, ledger := newTampered(t, func(c *core.Config) { c.MaxResponse = tc.limit })
				b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); _, _ = io.WriteString(w, content) }
				i := b.issue("/orders")
				first := b.do("POST", i.URI, "apples")
				i.findOutcome(t, first)
				if got := text(t, first); got != content {
					t.Fatalf("first answer: %d bytes", len(got))
				}
				ledger.open = tc.open
				b.advance(time.Minute)
				known := members{"state": "done", "outcome": i.outcome, "detail": "it was executed, and its answer is kept, but cannot be read at the moment"}
				if tc.code == 410 {
					known = members{"state": "done", "outcome": i.outcome, "claimed_at": "2026-03-01T12:00:00Z", "executed_at": "2026-03-01T12:00:00Z", "outcome_status": 201.0,
						"request_digest": digest256("apples"), "outcome_digest": digest256(content)}
				}
				want := problemReply(tc.code, tc.kind, tc.retry, known)
				want.ID, want.State = i.ID, fmt.Sprintf("done;status=201;at=@%d", b.clock().Add(-time.Minute).Unix())
				if tc.retry == "same" {
					want.Fields.Set("Retry-After", "1")
				}
				if accept == "text/html" {
					want.Fields.Set("Content-Type", "text/html; charset=utf-8")
					want.Body = page
				}
				read(t, b.do("GET", i.outcome, "", "Accept: "+accept)).want(t, want)
				if accept == "text/html" {
					said := text(t, b.do("GET", i.outcome, "", "Accept: "+accept))
					if strings.Contains(said, "Nothing was executed,") {
						t.Error("the page says that nothing was executed")
					}
					if tc.code == 410 && !strings.Contains(said, "is damaged or lost") {
						t.Error("the page knows no other reason than a choice")
					}
				}
				want.Fields.Set("Link", strings.TrimPrefix(i.link(), "Link: "))
				read(t, b.do("GET", i.URI, "", "Accept: "+accept)).want(t, want)
				wantProblem(t, b.do("POST", i.URI, "apples"), 405, "consumed")
				b.do("POST", "/orders", "apples", "Idempotency-Key: k")
				if res := b.do("POST", "/orders", "apples", "Idempotency-Key: k"); res.StatusCode != tc.code || res.Header.Get("Idempotent-Replayed") != "" {
					t.Errorf("under a key: %d %v", res.StatusCode, res.Header)
				}
				if n := counter(t, b, "poe_replayed_total", ""); n != 0 {
					t.Errorf("poe_replayed_total is %v", n)
				}
			})
		}
	}
}

// A shorter body has lost its last byte.
type shorter struct{ io.ReadSeekCloser }

func (s shorter) Seek(off int64, whence int) (int64, error) {
	n, err := s.ReadSeekCloser.Seek(off, whence)
	if whence == io.SeekEnd {
		n--
	}
	return n, err
}

// An unmeasured body lies on a disk that does not say how long it is.
type unmeasured struct{ io.ReadSeekCloser }

func (u unmeasured) Seek(off int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return 0, errors.New("the disk is away")
	}
	return u.ReadSeekCloser.Seek(off, whence)
}

// The receipt has all that is told of an action, and nothing else.
func TestReceipt(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Name: "orders", Match: "POST /orders"}} })
	i := b.issue("/orders?x=1")
	receipt := func() members {
		t.Helper()
		got := read(t, b.do("GET", i.outcome+"/receipt", ""))
		state := got.State
		got.want(t, reply{Code: 200, ID: i.ID, State: state, Fields: own("application/json"), Body: got.Body})
		if !strings.HasPrefix(state+";", got.Body.(members)["state"].(string)+";") {
			t.Errorf("POE-State is %s in %v", state, got.Body)
		}
		return got.Body.(members)
	}
	b.app = answering(422)
	b.do("POST", i.URI, "bad")
	b.advance(time.Second)
	b.app = nil
	i.findOutcome(t, b.do("POST", i.URI, "apples"))
	b.advance(time.Second)
	want := members{
		"id": i.ID, "state": "done", "door": "poe", "route": "orders", "target": "/orders?x=1", "method": "POST", "attempts": 2.0,
		"claimed_at": "2026-03-01T12:00:01Z", "finished_at": "2026-03-01T12:00:01Z", "expires": "2026-03-01T13:00:00Z", "request_digest": digest256("apples"),
		"response": members{"status": 201.0, "digest": digest256("order 1: apples"), "length": 15.0, "body": "kept"}, "outcome": i.outcome,
		"history": []any{members{"at": "2026-03-01T12:00:00Z", "from": "running", "to": "unused", "who": "engine", "why": "answered 422 Unprocessable Entity", "status": 422.0}},
	}
	if d := cmp.Diff(want, receipt()); d != "" {
		t.Errorf("done (-want +got):\n%s", d)
	}
	b.app = answering(502)
	i = b.issue("/orders")
	i.findOutcome(t, b.do("POST", i.URI, ""))
	want = members{
		"id": i.ID, "state": "unknown", "door": "poe", "route": "orders", "target": "/orders", "method": "POST", "attempts": 1.0,
		"claimed_at": "2026-03-01T12:00:02Z", "finished_at": "2026-03-01T12:00:02Z", "expires": "2026-03-01T13:00:02Z", "request_digest": digest256(""), "outcome": i.outcome,
		"history": []any{members{"at": "2026-03-01T12:00:02Z", "from": "running", "to": "unknown", "who": "engine", "why": "answered 502 Bad Gateway", "status": 502.0}},
	}
	if d := cmp.Diff(want, receipt()); d != "" {
		t.Errorf("unknown (-want +got):\n%s", d)
	}
}

// The receipt says what became of the content.
func TestReceiptOfWhatIsNotKept(t *testing.T) {
	for _, tc := range []struct {
		name, kind, body string
		digest           bool
	}{{"purged", "text/plain", "purged", true}, {"streamed", "text/event-stream", "streamed", false}} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.MaxResponse = 3 })
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.kind)
				_, _ = io.WriteString(w, "data")
			}
			i := b.doneIssue()
			var doc struct{ Response map[string]any }
			if err := json.NewDecoder(b.do("GET", i.outcome+"/receipt", "").Body).Decode(&doc); err != nil {
				t.Fatal(err)
			}
			length, counted := doc.Response["length"]
			if _, has := doc.Response["digest"]; doc.Response["body"] != tc.body || has != tc.digest || counted != tc.digest || counted && length != 4.0 || doc.Response["status"] != 200.0 {
				t.Errorf("%v", doc.Response)
			}
			wantProblem(t, b.do("GET", i.URI, ""), 410, "outcome-purged")
		})
	}
}

// What an application says of methods (RFC 9110, section 10.2.1), as some do with each answer, is so of its own address: a POST that was executed
// is not allowed again at the POE URI, and never was at the outcome's.
func TestOutcomeAllows(t *testing.T) {
	b := methodsBench(t)
	b.app = answering(201, "Allow: GET, POST, PUT, OPTIONS")
	for _, tc := range []struct{ method, target, at string }{{"POST", "/orders", "GET, HEAD"}, {"PUT", "/things/1", "GET, HEAD, PUT"}} {
		i := b.issueOf(tc.method, tc.target)
		outcome := i.outcomeOf(t, b.do(tc.method, i.URI, "apples"))
		for at, want := range map[string]string{i.URI: tc.at, outcome: "GET, HEAD"} {
			for _, method := range []string{"GET", "HEAD"} {
				if res := b.do(method, at, ""); res.StatusCode != 200 || res.Header.Get("Allow") != want || len(res.Header["Allow"]) != 1 {
					t.Errorf("%s of what %s has done: %d, Allow: %q, want %s", method, tc.method, res.StatusCode, res.Header["Allow"], want)
				}
			}
		}
	}
	b.app = answering(201)
	i := b.issue("/orders")
	b.do("POST", i.URI, "apples")
	if got := b.do("GET", i.URI, "").Header["Allow"]; got != nil {
		t.Errorf("Allow: %q, where the application said nothing of it", got)
	}
}

// Our own resources are read, and nothing else.
func TestOwnResourcesAreRead(t *testing.T) {
	b := newBench(t, nil)
	i := b.doneIssue()
	for _, path := range []string{"/poe/new?for=/orders", i.outcome, i.outcome + "/receipt", "/poe/problems/consumed"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			res := b.do(method, path, "")
			if res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d %v", method, path, res.StatusCode, res.Header)
			}
		}
		get, head := b.wire("GET", path), b.wire("HEAD", path)
		if body := text(t, head); head.StatusCode != get.StatusCode || body != "" || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %q %v", path, head.StatusCode, body, head.Header)
		}
	}
	for _, path := range []string{"/poe/", "/poe/x", "/poe/outcomes/", "/poe/new/", "/poe//new", "/%70oe/new?for=/orders", "/poe/problems/", "/poe/problems/nothing"} {
		if res := b.raw("GET", path); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// What stands in front of the gate says of its answers who may frame them, and the like. That holds for a repeat to anybody as well, whose policy is stricter by one.
func TestPolicyOfTheFront(t *testing.T) {
	const policy, ours = "Content-Security-Policy", "frame-ancestors 'none'"
	for name, tc := range map[string]struct{ own, want []string }{
		"the answer has none":             {nil, []string{ours, "sandbox"}},
		"the answer has one in its place": {[]string{"default-src 'self'"}, []string{"default-src 'self'", "sandbox"}},
	} {
		b := newBench(t, nil)
		b.app = func(w http.ResponseWriter, _ *http.Request) {
			if tc.own != nil {
				w.Header()[policy] = tc.own
			}
		}
		inner := b.handler
		b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(policy, ours)
			inner.ServeHTTP(w, r)
		})
		i := b.doneIssue()
		b.do("POST", "/orders", "x", "Idempotency-Key: k")
		for at, res := range map[string]*http.Response{
			"its address":   b.do("GET", i.outcome, ""),
			"the URI":       b.do("GET", i.URI, ""),
			"under the key": b.do("POST", "/orders", "x", "Idempotency-Key: k"),
		} {
			if d := cmp.Diff(tc.want, res.Header[policy]); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, at, d)
			}
		}
	}
}
