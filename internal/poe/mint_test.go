package core_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
	"github.com/postonce/poe/internal/webhook"
)

// mintedLinks reads POE-Links and the links for creating of an answer; they say the same.
func mintedLinks(t *testing.T, h http.Header) []string {
	t.Helper()
	if len(h["Poe-Links"]) == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList(h["Poe-Links"])
	if err != nil {
		t.Fatalf("POE-Links %q: %v", h["Poe-Links"], err)
	}
	var uris, linked []string
	for _, m := range list {
		item, _ := m.(httpsfv.Item)
		uri, ok := item.Value.(string)
		if !ok || len(item.Params.Names()) != 0 || strings.Contains(uri, "#") || !strings.HasPrefix(uri, "/") {
			t.Fatalf("POE-Links %q", h["Poe-Links"])
		}
		uris = append(uris, uri)
	}
	for _, l := range h["Link"] {
		if uri, ok := strings.CutSuffix(l, `>; rel="create-form"`); ok {
			linked = append(linked, strings.TrimPrefix(uri, "<"))
		}
	}
	if !slices.Equal(uris, linked) {
		t.Errorf("POE-Links has %d URIs, Link %d: %q", len(uris), len(linked), h["Link"])
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("a minting answer may be kept: %v", h)
	}
	return uris
}

// mintedList reads the JSON form.
func mintedList(t *testing.T, res *http.Response) []core.Minted {
	t.Helper()
	var doc map[string][]core.Minted
	d := json.NewDecoder(res.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil || len(doc) != 1 || res.StatusCode != 200 {
		t.Fatalf("%d %v %v", res.StatusCode, err, doc)
	}
	return doc["uris"]
}

// The three forms of a minting answer, whole.
func TestMintingForms(t *testing.T) {
	for _, tc := range []struct{ accept, kind string }{
		{"", "application/json"}, {"*/*", "application/json"}, {"application/json", "application/json"}, {"image/png", "application/json"},
		{"text/plain", "text/plain; charset=utf-8"}, {"text/plain, application/json;q=0.5", "text/plain; charset=utf-8"},
		{"text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"},
		{"application/json, text/html;q=0.9", "application/json"},
		{"text/plain;q=0", "application/json"}, {"*/*, application/json;q=0", "text/plain; charset=utf-8"}, {"text/*;q=0.9, text/plain;q=0.1", "text/html; charset=utf-8"},
	} {
		t.Run(tc.accept, func(t *testing.T) {
			b := newBench(t, nil)
			var fields []string
			if tc.accept != "" {
				fields = append(fields, "Accept: "+tc.accept)
			}
			res := b.do("GET", "/poe/new?for=/orders%3Fx=1&count=2", "", fields...)
			uris := mintedLinks(t, res.Header)
			if len(uris) != 2 || uris[0] == uris[1] || !strings.HasPrefix(uris[0], "/orders?x=1&poe=") {
				t.Fatalf("%q", uris)
			}
			quoted := `"` + uris[0] + `", "` + uris[1] + `"`
			want := reply{Code: 200, Fields: own(tc.kind, "Poe-Links: "+quoted, "Link: <"+uris[0]+`>; rel="create-form"`, "Link: <"+uris[1]+`>; rel="create-form"`)}
			got := read(t, res)
			switch tc.kind {
			case "application/json":
				var all []any
				for _, uri := range uris {
					doc := read(t, b.do("GET", uri, "")).Body.(members)
					all = append(all, members{"uri": uri, "id": doc["id"], "expires": "2026-03-01T13:00:00Z"})
				}
				want.Body = members{"uris": all}
			case "text/plain; charset=utf-8":
				want.Body = uris[0] + "\n" + uris[1] + "\n"
			default:
				want.Body = page
			}
			got.want(t, want)
		})
	}
}

// The page shows the URIs as links that lead there.
func TestMintingPage(t *testing.T) {
	b := newBench(t, nil)
	for _, target := range []string{"/o'rders%3Fx=1%26y=2", "/Orders(7)/pay%3Fx=(1)*!$,;=:@"} {
		res := b.do("GET", "/poe/new?for="+target, "", "Accept: text/html")
		uri := mintedLinks(t, res.Header)[0]
		_, link, _ := strings.Cut(text(t, res), `<a href="`)
		link, _, _ = strings.Cut(link, `"`)
		if link = html.UnescapeString(link); link != uri {
			t.Errorf("the link is %s, and the URI %s", link, uri)
		}
		if res := b.do("GET", link, ""); res.StatusCode != 200 {
			t.Errorf("%s leads to %d", link, res.StatusCode)
		}
	}
}

// Every parameter of minting ends up in what it mints.
func TestMintingParameters(t *testing.T) {
	sum := sha256.Sum256([]byte("apples"))
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for _, tc := range []struct {
		name, query, target string
		ttl                 time.Duration
	}{
		{"for alone", "for=/orders", "/orders", time.Hour},
		{"for with a plus", "for=/orders%3Fq=a+b", "/orders?q=a+b", time.Hour},
		{"for with an encoded plus", "for=/orders%3Fq=a%2Bb", "/orders?q=a+b", time.Hour},
		{"for with an encoded space in it", "for=/orders%3Fq=a%2520b", "/orders?q=a%20b", time.Hour},
		{"for with an encoded slash in it", "for=/orders%252F1", "/orders%2F1", time.Hour},
		{"for as it is", "for=/orders?x=1", "/orders?x=1", time.Hour},
		{"for with apostrophes, as browsers send them", "for=/o'rders%3Fname=O'Brien%26'x'=%27", "/o'rders?name=O%27Brien&%27x%27=%27", time.Hour},
		{"empty parameters between", "&&for=/orders&", "/orders", time.Hour},
		{"method", "for=/orders&method=POST", "/orders", time.Hour},
		{"ttl", "for=/orders&ttl=10m", "/orders", 10 * time.Minute},
		{"the shortest ttl", "for=/orders&ttl=1s", "/orders", time.Second},
		{"the route's own ttl", "for=/orders&ttl=1h", "/orders", time.Hour},
		{"digest, encoded", "for=/orders&digest=" + url.QueryEscape(digest), "/orders", time.Hour},
		{"digest, as it is", "for=/orders&digest=" + digest, "/orders", time.Hour},
		{"all of them", "digest=" + digest + "&count=1&ttl=1m&method=POST&for=/orders", "/orders", time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			all := mintedList(t, b.do("GET", "/poe/new?"+tc.query, ""))
			if len(all) != 1 || !all[0].Expires.Equal(b.clock().Add(tc.ttl)) {
				t.Fatalf("%v", all)
			}
			if got := all[0].URI[:strings.LastIndex(all[0].URI, "poe=")-1]; got != tc.target {
				t.Errorf("minted for %s, want %s", got, tc.target)
			}
			if res := b.raw("POST", all[0].URI); res.StatusCode != 201 {
				t.Errorf("POST: %d", res.StatusCode)
			}
		})
	}
}

// A URI that is bound to a body takes that body only. A plus in the digest is a plus.
func TestMintingWithDigest(t *testing.T) {
	var body, digest string
	for n := 0; !strings.Contains(digest, "+"); n++ {
		body = fmt.Sprintf("apples %d", n)
		sum := sha256.Sum256([]byte(body))
		digest = base64.StdEncoding.EncodeToString(sum[:])
	}
	b := newBench(t, nil)
	uri := mintedList(t, b.do("GET", "/poe/new?for=/orders&digest=sha-256=:"+digest+":", ""))[0].URI
	p := wantProblem(t, b.do("POST", uri, "pears"), 400, "digest-mismatch")
	if p["state"] != "unused" || p["retry"] != "never" || b.executed.Load() != 0 {
		t.Errorf("another body: %v, executed %d times", p, b.executed.Load())
	}
	if res := b.do("POST", uri, body); res.StatusCode != 201 {
		t.Errorf("the body: %d", res.StatusCode)
	}
}

// Whatever cannot be used is named, and no token is repeated.
func TestMintingRefusals(t *testing.T) {
	routes := []core.Route{
		{Name: "orders", Match: "POST /orders", TTL: 10 * time.Minute},
		{Name: "things", Match: "PUT,PATCH /things"},
		{Name: "put first", Match: "PUT /both"},
		{Name: "post second", Match: "POST /both"},
	}
	for _, tc := range []struct{ name, query, parameter string }{
		{"nothing", "", "for"},
		{"for is missing", "count=1", "for"},
		{"for is empty", "for=", "for"},
		{"for without a slash", "for=orders", "for"},
		{"for with two slashes", "for=//example.com/orders", "for"},
		{"for with a scheme", "for=https://example.com/orders", "for"},
		{"for with a backslash", `for=/%5Cexample.com`, "for"},
		{"for with a fragment", "for=/orders%23top", "for"},
		{"for with a control character", "for=/orders%0A", "for"},
		{"for with a line break and a field", "for=/orders%0D%0ASet-Cookie:%20a=b", "for"},
		{"for with a zero", "for=/orders%00", "for"},
		{"for with an encoded zero", "for=/orders%2500", "for"},
		{"for with a space", "for=/orders%3Fq=a%20b", "for"},
		{"for with a quote", "for=/orders%22", "for"},
		{"for with an angle bracket", "for=/orders%3E", "for"},
		{"for with bytes above ASCII", "for=/%E2%82%AC", "for"},
		{"for with half an encoding", "for=/orders%252", "for"},
		{"for that is not percent-encoded", "for=/orders%2", "for"},
		{"for with our parameter", "for=/orders%3Fpoe=eyJhbGciOi", "for"},
		{"for with our parameter, encoded", "for=/orders%3Fp%256Fe=eyJhbGciOi", "for"},
		{"for with our parameter and a host", "for=https://example.com/orders%3Fpoe=eyJhbGciOi", "for"},
		{"for that is too long", "for=/orders%3F" + strings.Repeat("x", 2048), "for"},
		{"for twice", "for=/orders&for=/orders", "for"},
		{"method is empty", "for=/orders&method=", "method"},
		{"method is safe", "for=/orders&method=GET", "method"},
		{"method in lower case", "for=/orders&method=post", "method"},
		{"count is no number", "for=/orders&count=many", "count"},
		{"count is empty", "for=/orders&count=", "count"},
		{"count is none", "for=/orders&count=0", "count"},
		{"count is negative", "for=/orders&count=-1", "count"},
		{"count is above the limit", "for=/orders&count=1001", "count"},
		{"count is huge", "for=/orders&count=99999999999999999999", "count"},
		{"count is a fraction", "for=/orders&count=1.5", "count"},
		{"ttl is no duration", "for=/orders&ttl=soon", "ttl"},
		{"ttl is empty", "for=/orders&ttl=", "ttl"},
		{"ttl without a unit", "for=/orders&ttl=10", "ttl"},
		{"ttl is none", "for=/orders&ttl=0s", "ttl"},
		{"ttl is negative", "for=/orders&ttl=-1m", "ttl"},
		{"ttl under a second", "for=/orders&ttl=999ms", "ttl"},
		{"ttl above the route's", "for=/orders&ttl=10m1s", "ttl"},
		{"digest is empty", "for=/orders&digest=", "digest"},
		{"digest without an algorithm", "for=/orders&digest=:AAAA:", "digest"},
		{"digest too short", "for=/orders&digest=sha-256=:AAAA:", "digest"},
		{"digest of another algorithm", "for=/orders&digest=sha-512=:AAAA:", "digest"},
		{"digest that is no byte sequence", "for=/orders&digest=sha-256=abc", "digest"},
		{"digest that is a list", "for=/orders&digest=sha-256=(a%20b)", "digest"},
		{"two digests", "for=/orders&digest=sha-256=:" + strings.Repeat("A", 43) + "=:,sha-512=:AAAA:", "digest"},
		{"an unknown parameter", "for=/orders&color=red", "color"},
		{"our parameter", "for=/orders&poe=eyJhbGciOi", "poe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = routes })
			got := read(t, b.raw("GET", "/poe/new?"+tc.query))
			p, _ := got.Body.(members)
			detail, _ := p["detail"].(string)
			if detail == "" {
				t.Errorf("no detail in %v", p)
			}
			got.want(t, problemReply(400, "bad-parameter", "never", members{"parameter": tc.parameter, "detail": detail}))
		})
	}
	for _, query := range []string{"for=/orders&callback=https://example.com/", "callback=https://example.com/&for=/orders", "callback=&for=/orders"} {
		t.Run(query, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = routes })
			got := read(t, b.do("GET", "/poe/new?"+query, ""))
			detail, _ := got.Body.(members)["detail"].(string)
			got.want(t, problemReply(400, "callback-refused", "never", members{"parameter": "callback", "detail": detail}))
		})
	}
	for _, target := range []string{"/elsewhere", "/poe/new", "/poe/outcomes/x", "/%2570oe/new", "/orders/1", "/"} {
		t.Run("unknown target "+target, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = routes })
			read(t, b.do("GET", "/poe/new?for="+target, "")).want(t, problemReply(404, "unknown-target", "never", nil))
		})
	}
	t.Run("everything is protected, but not our own", func(t *testing.T) {
		b := newBench(t, nil)
		read(t, b.do("GET", "/poe/new?for=/poe/new", "")).want(t, problemReply(404, "unknown-target", "never", nil))
	})
	t.Run("POST is the default where another route stands before it", func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Routes = routes })
		if res := b.do("POST", b.issue("/both").URI, "x"); res.StatusCode != 201 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("as a page", func(t *testing.T) {
		b := newBench(t, nil)
		got := read(t, b.do("GET", "/poe/new?for=<b>", "", "Accept: text/html"))
		got.want(t, reply{Code: 400, Fields: own("text/html; charset=utf-8"), Body: page})
	})
}

// Any number up to a thousand, all different; the fields show ten.
func TestMintingCount(t *testing.T) {
	for _, tc := range []struct{ count, shown int }{{1, 1}, {10, 10}, {11, 10}, {1000, 10}} {
		t.Run(fmt.Sprint(tc.count), func(t *testing.T) {
			b := newBench(t, nil)
			res := b.do("GET", fmt.Sprintf("/poe/new?for=/orders&count=%d", tc.count), "")
			links, all := mintedLinks(t, res.Header), mintedList(t, res)
			ids := map[string]bool{}
			for _, m := range all {
				ids[m.ID] = true
			}
			if len(all) != tc.count || len(ids) != tc.count || len(links) != tc.shown || links[0] != all[0].URI || links[len(links)-1] != all[len(links)-1].URI {
				t.Errorf("%d URIs with %d ids, %d in the fields", len(all), len(ids), len(links))
			}
			if n := counter(t, b, "poe_minted_total", ""); n != float64(tc.count) {
				t.Errorf("poe_minted_total is %v", n)
			}
		})
	}
}

// The signature is the issue: minting neither reads nor writes the ledger, in any of its ways.
func TestMintingLeavesTheLedgerAlone(t *testing.T) {
	b, ledger := newTampered(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Require: true}} })
	before := ledger.calls.Load()
	b.issue("/orders")
	b.do("GET", "/orders", "", "POE: 1")
	b.do("POST", "/orders", "x")
	b.do("GET", "/poe/new?for=nothing", "")
	if _, err := b.gate.Mint(t.Context(), core.MintRequest{Target: "/orders"}); err != nil {
		t.Fatal(err)
	}
	ids, err := b.store.List(t.Context(), store.ID{}, 10)
	if n := ledger.calls.Load() - before; n != 0 || err != nil || len(ids) != 0 {
		t.Errorf("%d calls; ids %v, %v", n, ids, err)
	}
}

// What a program mints is what a client mints.
func TestMintInProcess(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders"}} })
	m, err := b.gate.Mint(t.Context(), core.MintRequest{Method: "POST", Target: "/orders", TTL: time.Minute})
	if err != nil || !m.Expires.Equal(b.clock().Add(time.Minute)) {
		t.Fatalf("%v %v", m, err)
	}
	if res := b.do("POST", m.URI, "x"); res.StatusCode != 201 || !strings.Contains(res.Header.Get("POE-State"), m.ID) {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if _, err := b.gate.Mint(t.Context(), core.MintRequest{Target: "/elsewhere"}); !errors.Is(err, core.ErrUnknownTarget) {
		t.Errorf("an unknown target: %v", err)
	}
	var bad *core.ParamError
	if _, err := b.gate.Mint(t.Context(), core.MintRequest{Target: "elsewhere"}); !errors.As(err, &bad) || bad.Param != "for" || !strings.Contains(bad.Error(), "for") {
		t.Errorf("a bad target: %v", err)
	}
}

// GET, HEAD and OPTIONS of a protected path bring a link where it is asked for, and only there.
func TestLinksOnPages(t *testing.T) {
	for _, tc := range []struct {
		name, method, path string
		poe                []string
		links, vary        bool
	}{
		{"GET", "GET", "/orders?x=1", []string{"1"}, true, true},
		{"HEAD", "HEAD", "/orders?x=1", []string{"1"}, true, true},
		{"OPTIONS", "OPTIONS", "/orders?x=1", []string{"1"}, true, false},
		{"version 2", "GET", "/orders", []string{"2"}, true, true},
		{"leading zeros", "GET", "/orders", []string{"01"}, true, true},
		{"a long number", "GET", "/orders", []string{"12345678901234567890123"}, true, true},
		{"zero", "GET", "/orders", []string{"0"}, false, true},
		{"zeros", "GET", "/orders", []string{"00"}, false, true},
		{"no number", "GET", "/orders", []string{"abc"}, false, true},
		{"negative", "GET", "/orders", []string{"-1"}, false, true},
		{"a fraction", "GET", "/orders", []string{"1.0"}, false, true},
		{"with a parameter", "GET", "/orders", []string{"1;a=b"}, false, true},
		{"empty", "GET", "/orders", []string{""}, false, true},
		{"twice", "GET", "/orders", []string{"1", "1"}, false, true},
		{"a list", "GET", "/orders", []string{"1, 1"}, false, true},
		{"absent", "GET", "/orders", nil, false, true},
		{"a path that is not protected", "GET", "/elsewhere", []string{"1"}, false, false},
		{"a target that cannot be signed", "GET", "/orders?a|b", []string{"1"}, false, true},
		{"a route without POST", "GET", "/things", []string{"1"}, true, true},
		{"a route of several methods", "GET", "/several", []string{"1"}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) {
				c.Routes = []core.Route{{Match: "POST /orders"}, {Match: "PUT /things"}, {Match: "DELETE,POST /several"}}
			})
			var seen *http.Request
			b.app = func(w http.ResponseWriter, r *http.Request) {
				seen = r
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Etag", `"1"`)
				w.Header().Add("Link", `</style.css>; rel="preload"`)
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(http.StatusAccepted)
				_, _ = w.Write([]byte("a form"))
			}
			conditions := []string{"If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"}
			r := httptest.NewRequest(tc.method, tc.path, http.NoBody)
			for _, name := range conditions {
				r.Header.Set(name, "x")
			}
			if tc.poe != nil {
				r.Header["Poe"] = tc.poe
			}
			res := b.send(r)
			links := mintedLinks(t, res.Header)
			for _, name := range conditions {
				if (seen.Header.Get(name) == "") != tc.links {
					t.Errorf("%s arrives as %q", name, seen.Header.Get(name))
				}
			}
			want := reply{Code: 202, Body: "a form", Fields: http.Header{
				"Cache-Control": {"max-age=60"}, "Etag": {`"1"`}, "Link": {`</style.css>; rel="preload"`}, "Content-Type": {"text/plain"}}}
			if tc.vary {
				want.Fields.Set("Vary", "POE")
			}
			if tc.links {
				if len(links) != 1 {
					t.Fatalf("links: %q", links)
				}
				want.Fields.Set("Cache-Control", "no-store")
				want.Fields.Set("Referrer-Policy", "same-origin")
				want.Fields["Poe-Links"] = []string{`"` + links[0] + `"`}
				want.Fields.Add("Link", "<"+links[0]+`>; rel="create-form"`)
				method := "POST"
				if tc.path == "/things" {
					method = "PUT"
				}
				if res := b.do(method, links[0], "x"); res.StatusCode != 202 || !strings.HasPrefix(res.Header.Get("POE-State"), "done;") {
					t.Errorf("the link: %d %v", res.StatusCode, res.Header)
				}
			}
			read(t, res).want(t, want)
		})
	}
}

// An application that says what its answer varies with takes nothing of ours away.
func TestVaryStays(t *testing.T) {
	for _, poe := range []string{"0", "1"} {
		b := newBench(t, nil)
		b.app = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Vary", "Accept-Encoding")
			w.WriteHeader(200)
		}
		res := b.do("GET", "/orders", "", "POE: "+poe)
		if all := strings.Join(res.Header.Values("Vary"), ", "); !strings.Contains(all, "POE") || !strings.Contains(all, "Accept-Encoding") {
			t.Errorf("with POE: %s, Vary is %q", poe, all)
		}
	}
}

// An application that writes nothing, flushes, or informs first brings the link all the same, at its final answer.
func TestLinksHoweverItAnswers(t *testing.T) {
	for name, app := range map[string]http.HandlerFunc{
		"nothing":  func(http.ResponseWriter, *http.Request) {},
		"flush":    func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"write":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) },
		"103":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(200) },
		"an error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.app = app
			res := b.wire("GET", "/orders", "POE: 1")
			if links := mintedLinks(t, res.Header); len(links) != 1 {
				t.Errorf("%d %v", res.StatusCode, res.Header)
			}
		})
	}
}

// Where a door is required a plain request is answered with the link that would do, and nothing is executed.
func TestRequire(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST,PUT /orders", Require: true}}
	})
	res := b.do("POST", "/orders?x=1", "apples")
	links := mintedLinks(t, res.Header)
	if len(links) != 1 || b.executed.Load() != 0 {
		t.Fatalf("%v, executed %d times", res.Header, b.executed.Load())
	}
	want := problemReply(428, "poe-required", "new", nil)
	want.Fields.Set("Poe-Links", `"`+links[0]+`"`)
	want.Fields.Set("Link", "<"+links[0]+`>; rel="create-form"`)
	read(t, res).want(t, want)
	if res := b.do("POST", links[0], "apples"); res.StatusCode != 201 {
		t.Errorf("the link: %d", res.StatusCode)
	}
	put := mintedLinks(t, b.do("PUT", "/orders", "apples").Header)
	if len(put) != 1 || b.do("PUT", put[0], "apples").StatusCode != 201 || b.do("POST", put[0], "apples").StatusCode != 404 {
		t.Errorf("the link that a PUT without one was given: %v", put)
	}
	page := read(t, b.do("POST", "/orders", "apples", "Accept: text/html"))
	if page.Code != 428 || page.Body != "page" || page.Fields.Get("Poe-Links") == "" {
		t.Errorf("as a page: %v", page)
	}
	for _, method := range []string{"GET", "DELETE", "PATCH"} {
		if res := b.do(method, "/orders", ""); res.StatusCode != 201 {
			t.Errorf("%s, which is not protected: %d", method, res.StatusCode)
		}
	}
}

// A success brings the next URI to a client that speaks the protocol, and only that.
func TestNextLink(t *testing.T) {
	for _, tc := range []struct {
		name, poe string
		status    int
		next      bool
	}{
		{"success", "1", 201, true}, {"no content", "7", 204, true}, {"not asked for", "0", 201, false},
		{"see other", "1", 303, false}, {"not done", "1", 422, false}, {"failure", "1", 500, false}, {"unknown", "1", 502, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.app = answering(tc.status)
			uri := b.mint("/orders?x=1")
			for range 3 {
				res := b.do("POST", uri, "x", "POE: "+tc.poe)
				links := mintedLinks(t, res.Header)
				if res.StatusCode != tc.status || (len(links) == 1) != tc.next {
					t.Fatalf("%d %v", res.StatusCode, res.Header)
				}
				if !tc.next {
					return
				}
				if links[0] == uri || !strings.HasPrefix(links[0], "/orders?x=1&poe=") {
					t.Fatalf("next: %s", links[0])
				}
				uri = links[0]
			}
		})
	}
}

// A page of a protected path can be upgraded, flushed and copied to as before.
func TestPagesKeepTheirWriter(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/file" {
			if _, ok := w.(io.ReaderFrom); !ok {
				t.Error("files are not copied directly")
			}
			if _, err := io.Copy(w, io.LimitReader(strings.NewReader("a file"), 100)); err != nil {
				t.Error(err)
			}
			return
		}
		h, ok := w.(http.Hijacker)
		if !ok {
			t.Error("cannot be hijacked")
			return
		}
		conn, _, err := h.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }() // the client has all by then
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	}
	if res := b.wire("GET", "/file"); text(t, res) != "a file" || res.Header.Get("Vary") != "POE" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res := b.wire("GET", "/chat", "Connection: Upgrade", "Upgrade: chat"); res.StatusCode != 101 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// No URI is minted for a path that takes actions back: every request to one would be a 404. Another method there is as good as anywhere.
func TestNothingIsMintedForWhatTakesBack(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "all", Match: "POST,PUT *", Recovery: core.RecoveryCompensate, Compensate: "/orders/compensate/{id}"}}
	})
	for _, target := range []string{"/orders/compensate/17", "/orders/./compensate/17", "/orders/%2563ompensate/17%3Fx=1"} {
		wantProblem(t, b.do("GET", "/poe/new?for="+target, ""), 404, "unknown-target")
	}
	if res := b.do("GET", "/orders/compensate/17", "", "POE: 1"); res.Header["Poe-Links"] != nil || res.StatusCode != 201 {
		t.Errorf("a page there: %d %v", res.StatusCode, res.Header)
	}
	uri := mintedLinks(t, b.do("GET", "/poe/new?for=/orders/compensate/17&method=PUT", "").Header)[0]
	if res := b.do("PUT", uri, "x"); res.StatusCode != 201 {
		t.Errorf("PUT there: %d", res.StatusCode)
	}
}

// A target that would do by itself is not said to be too long where it is the callback that takes the room.
func TestCallbackThatLeavesNoRoom(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{Allow: []string{"hooks.example.com"}, Secrets: []string{hookSecret}})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks, c.Routes = sender, []core.Route{{Match: "POST *", Doors: []string{"poe", "callback"}}}
	})
	target, callback := "/orders?"+strings.Repeat("x", 992), "&callback=https://hooks.example.com/"+strings.Repeat("y", 1974)
	mintedLinks(t, b.do("GET", "/poe/new?for="+target, "").Header)
	got := read(t, b.do("GET", "/poe/new?for="+target+callback, ""))
	got.want(t, problemReply(400, "bad-parameter", "never", members{
		"parameter": "for", "detail": "is too long for a token together with the callback, of 1000 and 2000 bytes: make either shorter",
	}))
}

// beginning is a client that looks, when the first of the answer comes, how far the server is.
type beginning struct {
	*httptest.ResponseRecorder
	at   func() float64
	seen float64
	full error // of every write; nil: it takes them
}

func (w *beginning) Write(p []byte) (int, error) {
	if w.seen == 0 {
		w.seen = w.at()
	}
	if w.full != nil {
		return 0, w.full
	}
	return w.ResponseRecorder.Write(p)
}

// A thousand URIs are sent as they are made: held for clients that take nothing, for each of their connections, they would be the end of the process. For one that has
// gone no more are made.
func TestLargeBatchesAreNotHeld(t *testing.T) {
	for _, accept := range []string{"application/json", "text/plain", "text/html"} {
		t.Run(accept, func(t *testing.T) {
			b := newBench(t, nil)
			minted := func() float64 { return counter(t, b, "poe_minted_total", "") }
			ask := func(full error) *beginning {
				w := &beginning{ResponseRecorder: httptest.NewRecorder(), at: minted, full: full}
				r := httptest.NewRequest(http.MethodGet, "/poe/new?for=/orders?"+strings.Repeat("x", 2000)+"&count=1000", nil)
				r.Header.Set("Accept", accept)
				b.handler.ServeHTTP(w, r)
				return w
			}
			w := ask(nil)
			if w.seen > 20 {
				t.Errorf("%v were there before the answer began", w.seen)
			}
			if n := strings.Count(w.Body.String(), "poe=eyJ"); n != 1000 && n != 2000 {
				t.Errorf("%d URIs: %.300s", n, w.Body.String())
			}
			before := minted()
			ask(errors.New("gone"))
			if n := minted() - before; n > 20 {
				t.Errorf("%v were made for a client that has gone", n)
			}
		})
	}
}

// Where the keys can no longer sign in the middle of a batch the answer breaks off: some are not taken for all.
func TestBatchThatBreaksOff(t *testing.T) {
	dir := t.TempDir() + "/keys.json"
	if _, err := tokens.CreateFile(dir, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	var keys *tokens.File
	b := newBench(t, func(c *core.Config) {
		var err error
		if keys, err = tokens.OpenFile(dir, tokens.Config{Audience: c.Store.Identity().String()}); err != nil {
			t.Fatal(err)
		}
		c.Keys = keys.Ring()
	})
	w := &beginning{ResponseRecorder: httptest.NewRecorder(), at: func() float64 {
		content, err := os.ReadFile(dir)
		if err == nil {
			err = os.WriteFile(dir, bytes.Replace(content, []byte(`"sign",`), nil, 1), 0o600)
		}
		if err := errors.Join(err, keys.Reload()); err != nil {
			t.Error(err)
		}
		return 1
	}}
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("it ends with %v: %.300s", err, w.Body.String())
		}
	}()
	b.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/poe/new?for=/orders&count=1000", nil))
}
