package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/gateway"
)

// front serves g's Proxy and returns its address.
func front(t testing.TB, g *gateway.Gateway) string {
	t.Helper()
	s := httptest.NewUnstartedServer(g.Proxy())
	s.Config.DisableGeneralOptionsHandler = true
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// raw sends octets to address and returns what comes back.
func raw(t testing.TB, address, octets string) *bufio.Reader {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, octets); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(c)
}

func answer(t testing.TB, r *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

// What a plain request looks like upstream.
func TestProxyRequest(t *testing.T) {
	tests := []struct {
		name string
		send string
		want string // "": it does not get there
		code int
	}{
		{name: "plain", send: "GET /a?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: u\r\n\r\n",
			want: "GET /a?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: u\r\n" + forwardedFields, code: 200},
		{name: "nothing added", send: "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "target as received", send: "GET /a/../b/%7e|^\"/%2f?x=%2F&y&;z=+ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			want: "GET /a/../b/%7e|^\"/%2f?x=%2F&y&;z=+ HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "two slashes", send: "GET //a/../b?x=%2F&y HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			want: "GET //a/../b?x=%2F&y HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "empty query", send: "GET /a? HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			want: "GET /a? HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "OPTIONS *", send: "OPTIONS * HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			want: "OPTIONS * HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "repeated fields in order", send: "GET / HTTP/1.1\r\nHost: shop.example\r\nLink: <b>\r\nLink: <a>\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: shop.example\r\nLink: <b>\r\nLink: <a>\r\n" + forwardedFields, code: 200},
		{name: "a key with its value", send: "POST / HTTP/1.1\r\nHost: shop.example\r\nIdempotency-Key: \"k\"\r\nContent-Length: 1\r\n\r\nx",
			want: "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1\r\n" + forwardedFields[:len(forwardedFields)-2] +
				"idempotency-key: \"k\"\r\n\r\nx", code: 200},
		{name: "nothing that only a gateway may say", send: "GET / HTTP/1.1\r\nHost: shop.example\r\nPOE: 1\r\nPOE-Id: x\r\npoe_id: x\r\nPoE_state: x\r\n" +
			"POE-State: done\r\nX-Forwarded-For: 127.0.0.1\r\nX_Forwarded_For: 127.0.0.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=x\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: shop.example\r\nPoe: 1\r\n" + forwardedFields, code: 200},
		{name: "nothing of ours can be stripped", send: "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Via, X-Forwarded-For, X-Forwarded-Host, POE-Id, X-Mine\r\nX-Mine: 1\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "through others before", send: "GET / HTTP/1.0\r\nHost: shop.example\r\nVia: 1.0 fred\r\nVia: 1.1 edge\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: shop.example\r\nVia: 1.0 fred\r\nVia: 1.1 edge\r\n" + strings.Replace(forwardedFields, "1.1", "1.0", 1), code: 200},
		{name: "no tunnel of HTTP/2", send: "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: shop.example\r\n" + forwardedFields, code: 200},
		{name: "no upgrade of a POST", send: "POST / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
			want: "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n" + forwardedFields, code: 200},
		{name: "trailers", send: "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, POE-Id\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\nPOE-Id: x\r\nX_Y: 1\r\n\r\n",
			want: "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n" + forwardedFields + "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n", code: 200},
		{name: "CONNECT", send: "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", code: 501},
		// One request in is one request out, or none.
		{name: "length and chunks", send: "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
			want: "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n" + forwardedFields + "1\r\nx\r\n0\r\n\r\n", code: 200},
		{name: "two lengths", send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", code: 400},
		{name: "signed length", send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", code: 400},
		{name: "strange coding", send: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", code: 501},
		{name: "two codings", send: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", code: 501},
		{name: "space before the colon", send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na", code: 400},
		{name: "two hosts", send: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", code: 400},
		{name: "line end in the target", send: "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", code: 400},
		{name: "tab in the target", send: "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", code: 400},
		{name: "space in the target", send: "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", code: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 2)
			u := listen(t, func(p *peer, _ int) {
				for r := p.request(); r != nil; r = p.request() {
					got <- r.raw
					p.say(ok)
				}
			})
			resp := answer(t, raw(t, front(t, newGateway(t, u.address)), tt.send))
			if resp.StatusCode != tt.code {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.code)
			}
			if tt.want == "" {
				if n := u.requests.Load(); n != 0 {
					t.Errorf("%d requests upstream: %q", n, <-got)
				}
				return
			}
			if diff := cmp.Diff(tt.want, wait(t, got)); diff != "" {
				t.Errorf("on the wire (-want +got):\n%s", diff)
			}
			if n := u.requests.Load(); n != 1 {
				t.Errorf("%d requests upstream", n)
			}
		})
	}
}

const forwardedFields = "Via: 1.1 poe\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Proto: http\r\n\r\n"

// net/http repeats a request that has a key and no body. Through Proxy an unsafe one reaches the upstream once, key or not.
func TestProxyRepeatsNothingUnsafe(t *testing.T) {
	for _, field := range []string{"X-None: 1", "Idempotency-Key: k", "X-Idempotency-Key: k", "idempotency-KEY: k"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			t.Run(method+" "+field, func(t *testing.T) {
				u := listen(t, func(p *peer, _ int) {
					if p.request() != nil {
						p.say(ok) // so that the connection is one that is used again
						p.request()
					}
				})
				address := front(t, newGateway(t, u.address))
				if resp := answer(t, raw(t, address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")); resp.StatusCode != 200 {
					t.Fatalf("status %d", resp.StatusCode)
				}
				resp := answer(t, raw(t, address, method+" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"+field+"\r\n\r\n"))
				if resp.StatusCode != http.StatusBadGateway {
					t.Errorf("status %d, want 502", resp.StatusCode)
				}
				if got := u.requests.Load(); got != 2 {
					t.Errorf("%d requests read, want the GET and one %s", got, method)
				}
			})
		}
	}
}

func TestProxyAnswer(t *testing.T) {
	const say = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" +
		"HTTP/1.1 201 Created\r\nLocation: http://internal/1\r\nContent-Encoding: gzip\r\nConnection: X-Hop\r\nX-Hop: 1\r\nPOE-State: done\r\nPOE-Links: x\r\n" +
		"Date: Sat, 01 Jan 2000 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, POE-State\r\n\r\n3\r\n\x1f\x8b\x00\r\n0\r\nX-Sum: 1\r\nPOE-State: done\r\nPOE-Links: x\r\n\r\n"
	u := listen(t, always(say))
	r := raw(t, front(t, newGateway(t, u.address)), "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
	hints, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if hints.StatusCode != 103 || hints.Header.Get("Link") != "</a.css>" {
		t.Errorf("first answer %d %v", hints.StatusCode, hints.Header)
	}
	resp := answer(t, r)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 201 || string(body) != "\x1f\x8b\x00" {
		t.Errorf("answer %d %q", resp.StatusCode, body)
	}
	want := http.Header{"Location": {"http://internal/1"}, "Content-Encoding": {"gzip"}, "Date": {"Sat, 01 Jan 2000 00:00:00 GMT"}}
	if diff := cmp.Diff(want, resp.Header); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"1"}}, resp.Trailer); diff != "" {
		t.Errorf("trailers (-want +got):\n%s", diff)
	}
}

// A type that the application left out is said to be none, or net/http guesses one, depending on how the pieces arrive.
func TestProxyKeepsType(t *testing.T) {
	u := listen(t, always("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"))
	w := httptest.NewRecorder()
	newGateway(t, u.address).Proxy().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if got, ok := w.Header()["Content-Type"]; !ok || got != nil || w.Body.String() != "<html>" {
		t.Errorf("type %q, said: %v; body %q", got, ok, w.Body)
	}
}

// Who waits for 100 (Continue) waits for the application's word, and need not send what it refuses.
func TestProxyExpect(t *testing.T) {
	u := listen(t, func(p *peer, _ int) {
		if p.head() {
			p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
	r := raw(t, front(t, newGateway(t, u.address)), "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if resp := answer(t, r); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", resp.StatusCode)
	}
}

// HTTP/2 has no lines, so a target may bring what would end one.
func TestProxyTargetOfTwoWords(t *testing.T) {
	u := listen(t, always(ok))
	for _, uri := range []string{"/a b", "/a?b c", "/a HTTP/1.1\r\nX: y", "/\x7f"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		path, query, _ := strings.Cut(uri, "?")
		r.RequestURI, r.URL = uri, &url.URL{Path: path, RawQuery: query}
		w := httptest.NewRecorder()
		newGateway(t, u.address).Proxy().ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%q: status %d, want 400", uri, w.Code)
		}
	}
	if n := u.requests.Load(); n != 0 {
		t.Errorf("%d requests upstream", n)
	}
}

// Whoever counts the proxies on the way with Max-Forwards finds this one among them.
func TestProxyMaxForwards(t *testing.T) {
	for said, want := range map[string]struct {
		status int
		sent   string // upstream; "none": nothing is sent
	}{
		"OPTIONS / 0":                     {http.StatusNoContent, "none"},
		"OPTIONS * 0":                     {http.StatusNoContent, "none"},
		"TRACE / 0":                       {http.StatusNotImplemented, "none"},
		"OPTIONS / 1":                     {http.StatusOK, "0"},
		"OPTIONS / 07":                    {http.StatusOK, "6"},
		"TRACE / 10":                      {http.StatusOK, "9"},
		"TRACE / 99999999999999999999999": {http.StatusOK, "65534"},
		"OPTIONS / -1":                    {http.StatusOK, "-1"},
		"OPTIONS / many":                  {http.StatusOK, "many"},
		"GET / 0":                         {http.StatusOK, "0"}, // it is about OPTIONS and TRACE only
	} {
		t.Run(said, func(t *testing.T) {
			got := make(chan string, 1)
			u := listen(t, once(func(p *peer) {
				_, value, _ := strings.Cut(p.seen.String(), "\r\nMax-Forwards: ")
				value, _, _ = strings.Cut(value, "\r\n")
				got <- value
				p.say(ok)
			}))
			line, value, _ := strings.Cut(said, " ")
			target, value, _ := strings.Cut(value, " ")
			res := answer(t, raw(t, front(t, newGateway(t, u.address)),
				line+" "+target+" HTTP/1.1\r\nHost: a\r\nmax-forwards: "+value+"\r\nAuthorization: secret\r\n\r\n"))
			sent := "none"
			select {
			case sent = <-got:
			default:
			}
			if res.StatusCode != want.status || sent != want.sent {
				t.Errorf("%d, and sent %q; want %d and %q", res.StatusCode, sent, want.status, want.sent)
			}
			if body, err := io.ReadAll(res.Body); err != nil || strings.Contains(string(body), "secret") {
				t.Errorf("%s, %v", body, err)
			}
		})
	}
}

// A target that was changed on the way to Proxy is the one that is sent: a token taken out of it stays out.
func TestProxyChangedTarget(t *testing.T) {
	got := make(chan string, 1)
	u := listen(t, once(func(p *peer) { got <- strings.SplitN(p.seen.String(), "\r\n", 2)[0]; p.say(ok) }))
	for want, change := range map[string]func(*url.URL){
		"GET /a%2fb?x=1 HTTP/1.1":           func(u *url.URL) { u.RawQuery = "x=1" },
		"GET /c?x=1&poe=token HTTP/1.1":     func(u *url.URL) { u.Path, u.RawPath = "/c", "" },
		"GET /a%2fb?x=1&poe=token HTTP/1.1": func(*url.URL) {},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/a%2fb?x=1&poe=token", nil)
		change(r.URL)
		newGateway(t, u.address).Proxy().ServeHTTP(httptest.NewRecorder(), r)
		if line := wait(t, got); line != want {
			t.Errorf("request line %q, want %q", line, want)
		}
	}
}

func TestProxyErrors(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("secret address refused")
	}
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	tests := []struct {
		name string
		dial func(context.Context, string, string) (net.Conn, error)
		want int
	}{
		{"refused", refuse, 502},
		{"timed out", hang, 504},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			change := func(c *gateway.Config) { c.Dial, c.DialTimeout = tt.dial, time.Millisecond }
			w := httptest.NewRecorder()
			newGateway(t, "upstream.invalid", change).Proxy().
				ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			if w.Code != tt.want || w.Header().Get("Content-Type") != "application/problem+json" ||
				!strings.Contains(w.Body.String(), fmt.Sprintf(`"status":%d`, tt.want)) || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("answer %d %v %s", w.Code, w.Header(), w.Body)
			}

			w = httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			newGateway(t, "upstream.invalid", change, func(c *gateway.Config) {
				c.Error = func(w http.ResponseWriter, got *http.Request, err error) {
					if got != r || gateway.Status(err) != tt.want {
						t.Errorf("hook got %v, %v", got, err)
					}
					w.WriteHeader(http.StatusTeapot)
				}
			}).Proxy().ServeHTTP(w, r)
			if w.Code != http.StatusTeapot {
				t.Errorf("status %d of the hook", w.Code)
			}
		})
	}
}

// What is wrong with a client's body is no failure of the application.
func TestProxyOfABodyThatDoesNotArrive(t *testing.T) {
	for body, want := range map[string]int{"5\r\napple\r\n": 408, "5\r\napple\r\nzz\r\n": 400, "5\nap": 400} {
		t.Run(body, func(t *testing.T) {
			u := listen(t, once(func(p *peer) { _, _ = io.Copy(io.Discard, p) }))
			proxy := newGateway(t, u.address).Proxy()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				proxy.ServeHTTP(w, r)
			}))
			t.Cleanup(s.Close)
			resp := answer(t, raw(t, s.Listener.Addr().String(), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body))
			said, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != want || !strings.Contains(string(said), "he request") {
				t.Errorf("%d %s, want %d", resp.StatusCode, said, want)
			}
		})
	}
}

// An answer that breaks off breaks off for the client as well.
func TestProxyHalfAnswer(t *testing.T) {
	u := listen(t, once(func(p *peer) { p.say(strings.TrimSuffix(ok, "k")) }))
	resp, err := http.ReadResponse(raw(t, front(t, newGateway(t, u.address)), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("body %q without an error", body)
	}
}

// A lines takes what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// What net/http reports goes to the log of the configuration, and to none where that has none.
func TestProxyErrorLog(t *testing.T) {
	all, own := make(lines, 9), make(lines, 9)
	log.SetOutput(all)
	defer log.SetOutput(os.Stderr)
	for _, l := range []*log.Logger{nil, log.New(own, "", 0)} {
		u := listen(t, once(func(p *peer) { p.say(strings.TrimSuffix(ok, "k")) }))
		g := newGateway(t, u.address, func(c *gateway.Config) { c.ErrorLog = l })
		_, _ = io.Copy(io.Discard, raw(t, front(t, g), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")) // until the proxy hangs up, when it has reported
	}
	if len(all) != 0 || len(own) != 1 || !strings.Contains(<-own, "unexpected EOF") {
		t.Errorf("%d lines without a log, %d with one", len(all), len(own))
	}
}
