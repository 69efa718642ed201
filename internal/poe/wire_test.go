package core_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dunglas/httpsfv"
	"github.com/google/go-cmp/cmp"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// A reply is all that a client can see of an answer, so that a test demands what is there and nothing more.
type reply struct {
	Code   int
	ID     string      // of the action, out of POE-State
	State  string      // POE-State without the id
	Fields http.Header // all others, without Content-Length and Date
	Body   any         // the members of a JSON document without the title of a problem; "page"; or the text
}

const page = "page" // the Body of a page of ours, which readPage has looked at

// read takes an answer apart. What every answer of ours must be is checked here.
func read(t *testing.T, res *http.Response) reply {
	t.Helper()
	r := reply{Code: res.StatusCode, Fields: res.Header.Clone()}
	r.ID, r.State = readState(t, res.Header)
	for _, name := range []string{"Poe-State", "Content-Length", "Date"} {
		delete(r.Fields, name)
	}
	body := text(t, res)
	if n := res.Header.Get("Content-Length"); n != "" && n != fmt.Sprint(len(body)) && body != "" {
		t.Errorf("Content-Length is %s of %d bytes", n, len(body))
	}
	switch kind := res.Header.Get("Content-Type"); {
	case kind == "application/json", kind == "application/problem+json":
		r.Body = readDocument(t, kind, body)
	case strings.HasPrefix(kind, "text/html") && res.Header.Get("Content-Security-Policy") != "sandbox" && strings.HasPrefix(strings.TrimSpace(body), "<!doctype"):
		readPage(t, r.Fields, body)
		r.Body = page
	default:
		r.Body = body
	}
	return r
}

func readDocument(t *testing.T, kind, body string) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%s: %v: %s", kind, err, body)
	}
	if kind == "application/problem+json" {
		if title, _ := doc["title"].(string); title == "" {
			t.Errorf("a problem without a title: %s", body)
		}
		delete(doc, "title")
		noToken(t, body)
	}
	return doc
}

var titled = regexp.MustCompile(`<title>[^<]{8,}</title>`)

// readPage checks what every page of ours must be, and takes its policy off the fields.
func readPage(t *testing.T, fields http.Header, body string) {
	t.Helper()
	policy := strings.Split(fields.Get("Content-Security-Policy"), "; ")
	for _, want := range []string{"frame-ancestors 'none'", "form-action 'self'", "default-src 'none'"} {
		if !slices.Contains(policy, want) {
			t.Errorf("the policy of a page is %q, without %s", policy, want)
		}
	}
	delete(fields, "Content-Security-Policy")
	if !strings.Contains(body, "A link that works once") { // which is there to show some
		noToken(t, body)
	}
	lower := strings.ToLower(body)
	if !titled.MatchString(body) || !strings.HasSuffix(strings.TrimSpace(lower), "</html>") {
		t.Errorf("not a whole page with a title: %s", body)
	}
	for _, no := range []string{"<script", "javascript:", " onclick", " onload", "<iframe", "zgotmplz"} {
		if strings.Contains(lower, no) {
			t.Errorf("a page with %q: %s", no, body)
		}
	}
}

// tokenHead is how every token begins: {"alg": in base64url. A shorter part of it turns up in random refs.
const tokenHead = "eyJhbGciOi"

// noToken fails where body has anything that looks like a token.
func noToken(t *testing.T, body string) {
	t.Helper()
	if strings.Contains(body, tokenHead) {
		t.Errorf("a token in %s", body)
	}
}

// readState reads POE-State as RFC 9651 has it, and writes it back without the id.
func readState(t *testing.T, h http.Header) (id, state string) {
	t.Helper()
	lines, ok := h["Poe-State"]
	if !ok {
		return "", ""
	}
	item, err := httpsfv.UnmarshalItem(lines)
	if err != nil || len(lines) != 1 {
		t.Fatalf("POE-State %q: %v", lines, err)
	}
	if _, ok := item.Value.(httpsfv.Token); !ok {
		t.Fatalf("POE-State %q is no token", lines)
	}
	v, _ := item.Params.Get("id")
	id, _ = v.(string)
	if _, err := store.ParseID(id); err != nil {
		t.Errorf("POE-State %q: id: %v", lines, err)
	}
	item.Params.Del("id")
	state, err = httpsfv.Marshal(item)
	if err != nil {
		t.Fatal(err)
	}
	return id, state
}

// want compares an answer with all that it should be.
func (r reply) want(t *testing.T, want reply) {
	t.Helper()
	if d := cmp.Diff(want, r); d != "" {
		t.Errorf("answer (-want +got):\n%s", d)
	}
}

// own returns the fields of an answer of ours with a body of that type; "" for none. more are "Name: value".
func own(contentType string, more ...string) http.Header {
	h := http.Header{"Cache-Control": {"no-store"}, "Referrer-Policy": {"same-origin"}}
	if contentType != "" {
		h.Set("Content-Type", contentType)
		h.Set("X-Content-Type-Options", "nosniff")
	}
	for _, f := range more {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
	return h
}

type members = map[string]any

// problemReply is a problem about no action. more are further members.
func problemReply(code int, name, retry string, more members) reply {
	body := members{"type": "/poe/problems/" + name, "status": float64(code), "retry": retry}
	maps.Copy(body, more)
	return reply{Code: code, Fields: own("application/problem+json"), Body: body}
}

// an issue is a POE URI with what belongs to it.
type issue struct {
	core.Minted
	target  string
	outcome string // its address; "" as long as it was not given out
}

// issue mints a POE URI.
func (b *bench) issue(target string, fields ...string) issue {
	b.t.Helper()
	return b.issueOf("POST", target, fields...)
}

// issueOf mints a POE URI for a method.
func (b *bench) issueOf(method, target string, fields ...string) issue {
	b.t.Helper()
	res := b.do("GET", "/poe/new?for="+strings.ReplaceAll(url.QueryEscape(target), "+", "%20")+"&method="+method, "", fields...)
	var doc struct{ URIs []core.Minted }
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || res.StatusCode != 200 || len(doc.URIs) != 1 {
		b.t.Fatalf("minting %s: %d, %v, %v", target, res.StatusCode, err, doc)
	}
	return issue{Minted: doc.URIs[0], target: target}
}

// link is the outcome link as answers to the POE URI carry it.
func (i issue) link() string {
	return "Link: <" + i.outcome + `>; rel="status"; anchor=""`
}

var outcomeLink = regexp.MustCompile(`^<(/poe/outcomes/[A-Za-z0-9_-]{43})>; rel="status"; anchor=""$`)

// findOutcome takes the outcome's address from the first link of an answer.
func (i *issue) findOutcome(t *testing.T, res *http.Response) {
	t.Helper()
	m := outcomeLink.FindStringSubmatch(res.Header.Get("Link"))
	if m == nil {
		t.Fatalf("no outcome link in %d %v", res.StatusCode, res.Header)
	}
	i.outcome = m[1]
}

// at is the present as POE-State writes it.
func (b *bench) at() string { return fmt.Sprintf(";at=@%d", b.clock().Unix()) }

// answering is an application that answers with that status and fields.
func answering(status int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(status)
	}
}

// serve puts the bench behind a real server until the test ends, and returns its host and port.
func (b *bench) listen() string {
	s := httptest.NewServer(b.handler)
	b.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// wire sends a request over a real connection.
func (b *bench) wire(method, target string, fields ...string) *http.Response {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.listen()+target, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	client := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	res, err := client.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = res.Body.Close() }) // read to its end by whoever wants it
	return res
}

// A tampered ledger is one that does what it is told to. A nil field changes nothing.
type tampered struct {
	store.Store
	claim   func(store.Record) error // its error is the answer
	lookup  func() error
	advance func() error
	moving  func(store.Record) error // before an advance to that record
	open    func(io.ReadSeekCloser, error) (io.ReadSeekCloser, error)
	health  store.Health
	calls   atomic.Int64 // of everything that reads or writes
}

func (s *tampered) Health() store.Health { return s.health }

func newTampered(t *testing.T, change func(*core.Config)) (*bench, *tampered) {
	t.Helper()
	var ledger *tampered
	b := newBench(t, func(c *core.Config) {
		ledger = &tampered{Store: c.Store}
		c.Store = ledger
		if change != nil {
			change(c)
		}
	})
	return b, ledger
}

func (s *tampered) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	s.calls.Add(1)
	if s.claim != nil {
		if err := s.claim(*r); err != nil {
			return nil, err
		}
	}
	return s.Store.Claim(ctx, r)
}

func (s *tampered) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	s.calls.Add(1)
	if s.advance != nil {
		if err := s.advance(); err != nil {
			return nil, err
		}
	}
	if s.moving != nil {
		if err := s.moving(*r); err != nil {
			return nil, err
		}
	}
	return s.Store.Advance(ctx, was, r, also)
}

func (s *tampered) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	s.calls.Add(1)
	if s.lookup != nil {
		if err := s.lookup(); err != nil {
			return store.Record{}, err
		}
	}
	return s.Store.Lookup(ctx, k)
}

func (s *tampered) Put(ctx context.Context, id store.ID, part store.Part, src io.Reader) (int64, error) {
	s.calls.Add(1)
	return s.Store.Put(ctx, id, part, src)
}

func (s *tampered) Open(ctx context.Context, id store.ID, part store.Part) (io.ReadSeekCloser, error) {
	s.calls.Add(1)
	body, err := s.Store.Open(ctx, id, part)
	if s.open != nil {
		return s.open(body, err)
	}
	return body, err
}
