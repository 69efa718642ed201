package core_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// chunked hides the length of a body from httptest, as a client that does not know it does.
func chunked(body string) io.Reader { return io.MultiReader(strings.NewReader(body)) }

func digest256(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func digest512(body string) string {
	sum := sha512.Sum512([]byte(body))
	return "sha-512=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// unusedProblem is a refusal that leaves the action as it was.
func unusedProblem(i issue, code int, name, retry string) reply {
	r := problemReply(code, name, retry, members{"state": "unused"})
	r.ID, r.State = i.ID, "unused"
	return r
}

// A body is taken whole, within the limit and as announced, or nothing happens and the same URI can still be used.
func TestBodies(t *testing.T) {
	const limit = 100
	at, over := strings.Repeat("a", limit), strings.Repeat("a", limit+1)
	wrong := digest256("pears")
	for _, tc := range []struct {
		name, body string
		chunked    bool
		digest     []string // Content-Digest
		bound      string   // digest in the token
		refused    string   // kind of the problem; "": executed
	}{
		{name: "empty"},
		{name: "at the limit", body: at},
		{name: "at the limit, chunked", body: at, chunked: true},
		{name: "over the limit", body: over, refused: "too-large"},
		{name: "over the limit, chunked", body: over, chunked: true, refused: "too-large"},
		{name: "over the limit and not as announced", body: over, digest: []string{wrong}, refused: "too-large"},
		{name: "sha-256", body: "apples", digest: []string{digest256("apples")}},
		{name: "sha-256 of nothing", digest: []string{digest256("")}},
		{name: "sha-512", body: "apples", digest: []string{digest512("apples")}},
		{name: "both", body: "apples", digest: []string{digest256("apples") + ", " + digest512("apples")}},
		{name: "both, in two fields", body: "apples", digest: []string{digest256("apples"), digest512("apples")}},
		{name: "chunked with a digest", body: "apples", chunked: true, digest: []string{digest256("apples")}},
		{name: "an algorithm that nobody knows", body: "apples", digest: []string{"md5=:AAAA:, unixsum=:AAAA:"}},
		{name: "wrong sha-256", body: "apples", digest: []string{wrong}, refused: "digest-mismatch"},
		{name: "wrong sha-256, chunked", body: "apples", chunked: true, digest: []string{wrong}, refused: "digest-mismatch"},
		{name: "wrong sha-512", body: "apples", digest: []string{digest512("pears")}, refused: "digest-mismatch"},
		{name: "one right, one wrong", body: "apples", digest: []string{digest256("apples"), digest512("pears")}, refused: "digest-mismatch"},
		{name: "too short", body: "apples", digest: []string{"sha-256=:AAAA:"}, refused: "digest-mismatch"},
		{name: "no byte sequence", body: "apples", digest: []string{"sha-256=abc"}, refused: "digest-mismatch"},
		{name: "a list", body: "apples", digest: []string{"sha-256=(:AAAA:)"}, refused: "digest-mismatch"},
		{name: "malformed", body: "apples", digest: []string{"sha-256=:"}, refused: "digest-mismatch"},
		{name: "not even a dictionary", body: "apples", digest: []string{"???"}, refused: "digest-mismatch"},
		{name: "bound to it", body: "apples", bound: digest256("apples")},
		{name: "bound to it, and announced", body: "apples", bound: digest256("apples"), digest: []string{digest256("apples")}},
		{name: "bound to another", body: "apples", bound: wrong, refused: "digest-mismatch"},
		{name: "bound to another, announced as it is", body: "apples", bound: wrong, digest: []string{digest256("apples")}, refused: "digest-mismatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.MaxBody = limit })
			i := b.issue("/orders")
			if tc.bound != "" {
				i.Minted = mintedList(t, b.do("GET", "/poe/new?for=/orders&digest="+tc.bound, ""))[0]
			}
			body := io.Reader(strings.NewReader(tc.body))
			if tc.chunked {
				body = chunked(tc.body)
			}
			r := httptest.NewRequest("POST", i.URI, body)
			r.Header["Content-Digest"] = tc.digest
			res := b.send(r)
			if tc.refused == "" {
				if got := text(t, res); res.StatusCode != 201 || got != "order 1: "+tc.body {
					t.Errorf("%d %s", res.StatusCode, got)
				}
				return
			}
			code := map[string]int{"too-large": 413, "digest-mismatch": 400}[tc.refused]
			read(t, res).want(t, unusedProblem(i, code, tc.refused, "never"))
			if n := b.executed.Load(); n != 0 {
				t.Errorf("executed %d times", n)
			}
			if got := read(t, b.do("GET", i.URI, "")); got.State != "unused" {
				t.Errorf("%s afterwards", got.State)
			}
		})
	}
}

// dial opens a raw connection to the bench and sends what is given.
func (b *bench) dial(head string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(b.t.Context(), "tcp", b.listen())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() }) // closed a second time
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")); err != nil {
		b.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// A body that breaks off is no body: nothing is executed, and the same URI can still be used.
func TestBodyThatBreaksOff(t *testing.T) {
	for name, rest := range map[string]string{
		"of a known length": "Content-Length: 10\n\nabc",
		"chunked":           "Transfer-Encoding: chunked\n\n5\nab",
		"between chunks":    "Transfer-Encoding: chunked\n\n2\nab\n",
		"a broken chunk":    "Transfer-Encoding: chunked\n\nzz\nab\n0\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			i := b.issue("/orders")
			conn, in := b.dial("POST " + i.URI + " HTTP/1.1\nHost: example.com\n" + rest)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }() // read to its end
			res.Header.Del("Connection")
			read(t, res).want(t, unusedProblem(i, 400, "incomplete-body", "same"))
			if n := b.executed.Load(); n != 0 {
				t.Errorf("executed %d times", n)
			}
			if res := b.do("POST", i.URI, "apples"); res.StatusCode != 201 {
				t.Errorf("afterwards: %d", res.StatusCode)
			}
		})
	}
}

// A client that waits to be asked for its body gets every refusal without being asked.
func TestExpectContinue(t *testing.T) {
	for _, tc := range []struct {
		name    string
		arrange func(*bench) (uri string)
		fields  string
		code    int
	}{
		{"executed", func(b *bench) string { return b.mint("/orders") }, "", 201},
		{"forged", func(*bench) string { return "/orders?poe=forged" }, "", 404},
		{"cross-origin", func(b *bench) string { return b.mint("/orders") }, "Origin: https://evil.example\n", 403},
		{"done", func(b *bench) string { return b.doneIssue().URI }, "", 405},
		{"burned", func(b *bench) string { u := b.mint("/orders"); b.do("DELETE", u, ""); return u }, "", 410},
		{"expired", func(b *bench) string { u := b.mint("/orders"); b.advance(2 * store.Day); return u }, "", 410},
		{"too large", func(b *bench) string { return b.mint("/orders") }, "Content-Length: 20000000\n", 413},
		{"unknown", func(b *bench) string {
			b.app = answering(502)
			u := b.mint("/orders")
			b.do("POST", u, "")
			return u
		}, "", 409},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			uri := tc.arrange(b)
			length := "Content-Length: 6\n"
			if strings.Contains(tc.fields, "Content-Length") {
				length = ""
			}
			conn, in := b.dial("POST " + uri + " HTTP/1.1\nHost: example.com\nExpect: 100-continue\n" + length + tc.fields + "\n")
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if tc.code != 201 {
				if want := fmt.Sprintf("HTTP/1.1 %d ", tc.code); !strings.HasPrefix(line, want) {
					t.Errorf("%q before the body", line)
				}
				res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(line), in)), nil)
				if err != nil {
					t.Fatal(err)
				}
				if body := text(t, res); tc.code == 405 && strings.Contains(body, "request_matches") {
					t.Errorf("compared with a body that nobody sent: %s", body)
				}
				return
			}
			if !strings.HasPrefix(line, "HTTP/1.1 100 ") {
				t.Fatalf("%q", line)
			}
			if _, err := io.WriteString(conn, "apples"); err != nil {
				t.Fatal(err)
			}
			if _, err := in.ReadString('\n'); err != nil { // the end of the 100
				t.Fatal(err)
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 201 || text(t, res) != "order 1: apples" {
				t.Errorf("%v %v", res, err)
			}
		})
	}
}

// A 405 tells whose POST won, as far as that can be told.
func TestRequestMatches(t *testing.T) {
	big := strings.Repeat("a", 101)
	for _, tc := range []struct {
		name   string
		method string
		body   io.Reader
		fields []string
		want   any // nil: absent
	}{
		{"the same body", "POST", strings.NewReader("apples"), nil, true},
		{"the same body, chunked", "POST", chunked("apples"), nil, true},
		{"another body", "POST", strings.NewReader("pears"), nil, false},
		{"no body", "POST", strings.NewReader(""), nil, false},
		{"a body that the client holds back", "POST", strings.NewReader("apples"), []string{"Expect: 100-continue"}, nil},
		{"another length, that the client holds back", "POST", strings.NewReader("pears"), []string{"Expect: 100-continue"}, false},
		{"over the limit", "POST", strings.NewReader(big), nil, false},
		{"over the limit, chunked", "POST", chunked(big), nil, false},
		{"a body that breaks off", "POST", io.MultiReader(strings.NewReader("apples"), brokenBody{}), nil, nil},
		{"not what it says", "POST", strings.NewReader("apples"), []string{"Content-Digest: " + digest256("pears")}, true},
		{"malformed digest", "POST", strings.NewReader("pears"), []string{"Content-Digest: ???"}, false},
		{"with preconditions", "POST", strings.NewReader("apples"), []string{`If-Match: "x"`, "If-None-Match: *", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"}, true},
		{"with a key", "POST", strings.NewReader("apples"), []string{"Idempotency-Key: k"}, true},
		{"another method", "DELETE", strings.NewReader("apples"), nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.MaxBody = 100 })
			i := b.doneIssue()
			r := httptest.NewRequest(tc.method, i.URI, tc.body)
			for _, f := range tc.fields {
				name, value, _ := strings.Cut(f, ": ")
				r.Header.Add(name, value)
			}
			p := wantProblem(t, b.send(r), 405, "consumed")
			if got := p["request_matches"]; got != tc.want {
				t.Errorf("request_matches is %v, want %v", got, tc.want)
			}
			if n := b.executed.Load(); n != 1 {
				t.Errorf("executed %d times", n)
			}
		})
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// In a program, a body that came without a length and is not there was read by something in front of Once: it would be equal to every other.
// The gateway is the first to read, and there it is simply empty.
func TestEmptyBodyWithoutALength(t *testing.T) {
	program := func(b *bench) core.Executor { return core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)} }
	gateway := func(b *bench) core.Executor {
		return scripted(func(_ context.Context, _ *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
			b.serve(rec, httptest.NewRequest(http.MethodPost, "/", nil))
			return replay.Complete, nil
		})
	}
	for _, tc := range []struct {
		name string
		exec func(*bench) core.Executor
		body io.Reader
		read bool // in front
		code int
	}{
		{"read in front", program, chunked("pay 1 to ann"), true, 400},
		{"empty in a program", program, chunked(""), false, 400},
		{"none in a program", program, http.NoBody, false, 201},
		{"empty through the gateway", gateway, chunked(""), false, 201},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.mount(tc.exec(b))
			r := httptest.NewRequest(http.MethodPost, "/orders", tc.body)
			r.ContentLength = -1
			r.Header.Set("Idempotency-Key", "k")
			if tc.read {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			res := b.send(r)
			if res.StatusCode != tc.code || (b.executed.Load() == 1) != (tc.code == 201) {
				t.Fatalf("%d, executed %d times", res.StatusCode, b.executed.Load())
			}
			if tc.code == 400 {
				wantProblem(t, res, 400, "incomplete-body")
			}
		})
	}
}

// A client of HTTP/2 whose body turned out too large while it was read sends on: its stream stays open for a moment, so that it takes the answer.
func TestTooLargeWhileItIsRead(t *testing.T) {
	for name, target := range map[string]string{"by a key": "/orders", "by a URI": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.MaxBody = 10 })
				at := target
				if at == "" {
					at = b.mint("/orders")
				}
				r := httptest.NewRequest(http.MethodPost, at, chunked("more than ten bytes"))
				r.ProtoMajor = 2
				r.Header.Set("Idempotency-Key", "k")
				begun := time.Now()
				if res, took := b.send(r), time.Since(begun); res.StatusCode != http.StatusRequestEntityTooLarge || took != 100*time.Millisecond {
					t.Errorf("%d after %s", res.StatusCode, took)
				}
			})
		})
	}
}
