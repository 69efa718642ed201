package h1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/h1"
)

// Twins are a server of h1 and one of net/http, with the same handler.
type twins struct{ ours, theirs string }

func serveTwins(tb testing.TB, h http.Handler) twins {
	tb.Helper()
	return twins{ours: serve(tb, &http.Server{Handler: h, ErrorLog: quiet}, true), theirs: serve(tb, &http.Server{Handler: h, ErrorLog: quiet}, false)}
}

var quiet = log.New(io.Discard, "", 0)

// serve serves until the test ends, and returns the address.
func serve(tb testing.TB, srv *http.Server, ours bool) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var s interface {
		Serve(l net.Listener) error
		Close() error
	} = srv
	if ours {
		s = h1.New(srv)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	tb.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("Serve returned %v", err)
		}
	})
	return l.Addr().String()
}

// say sends pieces, one after the other, says that there is no more, and returns all that comes back.
func say(tb testing.TB, address string, pieces ...string) string {
	tb.Helper()
	var d net.Dialer
	c, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for i, piece := range pieces {
		if i > 0 {
			<-time.After(20 * time.Millisecond) // so that it comes by itself
		}
		if _, err := io.WriteString(c, piece); err != nil {
			break // it may have answered, and closed
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	var got bytes.Buffer
	_, err = io.Copy(&got, c)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		tb.Errorf("reading the answer: %v after %q", err, got.String())
	}
	return dates.ReplaceAllString(got.String(), "Date: now\r\n")
}

var dates = regexp.MustCompile(`Date: \w+, \d+ [^\r]*\r\n`)

// compare has both say the same.
func (t twins) compare(tb testing.TB, pieces ...string) string {
	tb.Helper()
	ours, theirs := say(tb, t.ours, pieces...), say(tb, t.theirs, pieces...)
	if ours != theirs {
		tb.Errorf("%q is answered with\n%s\n and by net/http with\n%s", pieces, shown(ours), shown(theirs))
	}
	return ours
}

func shown(s string) string {
	if len(s) > 1000 {
		s = s[:1000] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// mirror answers with all that a handler is told.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %d.%d\n", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor)
	fmt.Fprintf(&b, "url %#v\nhost %q\nlength %d %q close %t\n", *r.URL, r.Host, r.ContentLength, r.TransferEncoding, r.Close)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%q %q\n", name, r.Header[name])
	}
	fmt.Fprintf(&b, "body %q %v %t trailer %q\n", body, err, r.Body == http.NoBody, r.Trailer)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len())) // pieces of a long one may have other sizes
	_, _ = io.WriteString(w, b.String())
}

const (
	host = "Host: example.test\r\n"
	get  = "GET / HTTP/1.1\r\n" + host + "\r\n"
)

// Whatever comes, the handler is told what net/http would have told it, and the client gets what net/http would have said.
func TestRequestsAreReadAsNetHTTPReadsThem(t *testing.T) {
	t.Parallel()
	pair := serveTwins(t, http.HandlerFunc(mirror))
	for _, pieces := range requests() {
		pair.compare(t, pieces...)
	}
}

// requests are plain ones, some that are not, and some that are none.
func requests() [][]string {
	post := func(fields, body string) string {
		return fmt.Sprintf("POST /orders HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", host, fields, len(body), body)
	}
	long := strings.Repeat("x", 20<<10)
	all := [][]string{
		{get}, {get + get}, {get, get}, {get + post("", "{}") + get}, {post("", "{}") + "\r\n" + get}, {post("", "{}") + "\r\n\r\n\r\n" + get}, {post("", "{}"), "\r\n", get},
		{get + "\r\n" + get}, {"\r\n" + get}, {post("", long)}, {post("", long) + get}, {post("", long[:9000]), get, post("", long[:12000]) + post("", long[:12000]), get}, {get, post("", long), get}, {post("", "{}")[:40], post("", "{}")[40:]},
		{post("", "{}"), post("", "{}")[:20], post("", "{}")[20:50], post("", "{}")[50:]}, {post("", "{}") + post("", "{}")[:30], post("", "{}")[30:] + get},
		{post("", "12345")[:len(post("", "12345"))-3]}, {get[:20]}, {""}, {post("X: "+long+"\r\n", "{}")},
		{post("Transfer-Encoding: chunked\r\n", "{}")}, {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + get},
		{post("Expect: 100-continue\r\n", "{}")}, {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, {"\x16\x03\x01\x02\x00\x01"},
	}
	for _, line := range []string{
		"GET /a/b?x=1&y=%20#z HTTP/1.1", "GET /%41%2f%zz HTTP/1.1", "GET /a%20b HTTP/1.1", "GET /a%2Fb?x HTTP/1.1", "GET /? HTTP/1.1", "GET /a? HTTP/1.1", "GET /a?? HTTP/1.1", "GET //a HTTP/1.1",
		"GET /(a)!*' HTTP/1.1", "GET /[a] HTTP/1.1", "GET /a|b HTTP/1.1", `GET /a\b HTTP/1.1`, "GET /ä HTTP/1.1", "GET /a b HTTP/1.1", "GET  / HTTP/1.1", "GET /  HTTP/1.1", " GET / HTTP/1.1",
		"get / HTTP/1.1", "M-SEARCH / HTTP/1.1", "G@T / HTTP/1.1", "HEAD / HTTP/1.1", "OPTIONS * HTTP/1.1", "OPTIONS / HTTP/1.1", "TRACE / HTTP/1.1", "CONNECT /x HTTP/1.1", "CONNECT a:1 HTTP/1.1",
		"GET http://other.test/x HTTP/1.1", "GET a HTTP/1.1", "GET / HTTP/1.0", "GET / HTTP/1.2", "GET / HTTP/2.0", "GET / http/1.1", "GET /", "GET / HTTP/1.1 x", "GET\t/ HTTP/1.1", "GET /\t HTTP/1.1",
		"GET /a;b=c:@&=+$, HTTP/1.1", "GET /..//./x HTTP/1.1", "GET /a?b?c=/:@ HTTP/1.1", "GET /~a-b_c.d HTTP/1.1", "GET /a?\"b\" HTTP/1.1", "GET /a?{} HTTP/1.1", "GET /a^`b HTTP/1.1",
	} {
		all = append(all, []string{line + "\r\n" + host + "\r\n" + get}, []string{line + "\r\n\r\n"})
	}
	for _, fields := range []string{
		"A: b\r\n", "a: b\r\nA: c\r\nA:\r\n", "A:b\r\n", "A:  b \t \r\n", "A : b\r\n", " A: b\r\n", "A: b\r\n c\r\n", "A: b\r\n\tc\r\n", ": b\r\n", "A\r\n", "A: b\n", "A: b\rc\r\n", "A: \x00\r\n", "A: \x7f\r\n",
		"A: \xc3\xa4\r\n", "Ä: b\r\n", "A: b\tc\r\n", "A(: b\r\n", "a_b: c\r\n", "host: other.test\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "connection: Keep-Alive\r\n", "Connection: x\r\n", "Connection:\r\n",
		"Connection: keep-alive\r\nConnection: close\r\n", "Upgrade: h2c\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "TE: trailers\r\n", "Trailer: X\r\n", "Pragma: no-cache\r\n", "Expect: x\r\n", "Expect:\r\n",
		"Transfer-Encoding: identity\r\n", "Transfer-Encoding:\r\n", "Transfer-encoding: gzip, chunked\r\n", "Content-Length: 0\r\n", "Content-Length:\r\n", "Content-Length: 2\r\n", "Content-Length: 02\r\n", "Content-Length: +2\r\n",
		"Content-Length: -1\r\n", "Content-Length: 2, 2\r\n", "Content-Length: 0\r\nContent-Length: 0\r\n", "Content-Length: 0\r\ncontent-length: 1\r\n", "Content-Length: 99999999999999999999\r\n", "Content-Length: 1e1\r\n",
		"Cookie: a=b\r\nCookie: c=d\r\n", strings.Repeat("A: b\r\n", 100), strings.Repeat("A: b\r\n", 2000), "X: " + long[:4000] + "\r\n", "X: " + long[:16000] + "\r\n", "\r\n", "\n",
	} {
		all = append(all, []string{"GET / HTTP/1.1\r\n" + host + fields + "\r\n" + get}, []string{"POST / HTTP/1.1\r\n" + fields + host + "\r\n{}" + get})
	}
	for _, of := range []string{"", "Host:\r\n", "Host: a b\r\n", "Host: a\r\nHost: a\r\n", "Host: [::1]:80\r\n", "Host: user@a\r\n", "Host: a%41\r\n", "Host: a/b\r\n", "Host: a,b\r\n", "HOST: a_b-c.d:1\r\n", "Host: ä\r\n"} {
		all = append(all, []string{"GET / HTTP/1.1\r\n" + of + "\r\n" + get})
	}
	return all
}
