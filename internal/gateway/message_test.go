package gateway_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

// What the upstream reads, octet for octet.
func TestRequestOnTheWire(t *testing.T) {
	const forwarded = "Via: 1.1 poe\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Proto: http\r\n"
	tests := []struct {
		name   string
		body   string
		change func(*replay.Request)
		want   string
	}{
		{name: "plain", body: "a=1", want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Type: text/plain\r\nPOE-Id: 0193\r\n" +
			forwarded + "Content-Length: 3\r\n\r\na=1"},
		{name: "no body", want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Type: text/plain\r\nPOE-Id: 0193\r\n" +
			forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "no body, and none to be expected", change: func(r *replay.Request) { r.Method, r.Header = "DELETE", nil },
			want: "DELETE /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded + "\r\n"},
		{name: "a body, and none is to be expected", body: "a=1", change: func(r *replay.Request) { r.Method, r.Header = "DELETE", nil },
			want: "DELETE /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded + "Content-Length: 3\r\n\r\na=1"},
		{name: "no body of a PUT", change: func(r *replay.Request) { r.Method, r.Header = "PUT", nil },
			want: "PUT /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "no body of a PATCH", change: func(r *replay.Request) { r.Method, r.Header = "PATCH", nil },
			want: "PATCH /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "target as received", change: func(r *replay.Request) { r.Target, r.Header = `//a/../b/%7e|^"ü?x=%2F&y&;z=+`, nil },
			want: "POST //a/../b/%7e|^\"ü?x=%2F&y&;z=+ HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "repeated fields in order, names of ours as given", change: func(r *replay.Request) {
			r.Header = http.Header{"Link": {"<b>", "<a>", "<b>"}, "Accept": {"*/*"}}
			r.Forward = []replay.Field{{Name: "Idempotency-Key", Value: `"1.1"`}, {Name: "POE-Id", Value: "1"}}
		}, want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\nLink: <b>\r\nLink: <a>\r\nLink: <b>\r\n" +
			"Idempotency-Key: \"1.1\"\r\nPOE-Id: 1\r\n" + forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "ours instead of the client's", change: func(r *replay.Request) {
			r.Header = http.Header{"Idempotency-Key": {"client"}}
			r.Forward = []replay.Field{{Name: "idempotency-key", Value: "ours"}}
		}, want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nidempotency-key: ours\r\n" + forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "nothing that only a gateway may say", change: func(r *replay.Request) {
			r.Forward = nil
			r.Header = http.Header{
				"Poe-Id": {"forged"}, "POE-State": {"done"}, "poe_id": {"forged"}, "Poe-Links": {"x"}, "Poe": {"1"},
				"X_Forwarded_For": {"127.0.0.1"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"evil"},
				"X-Forwarded-Proto": {"https"}, "X-Forwarded-Uri": {"/admin"}, "Forwarded": {"for=127.0.0.1"}, "Content_Length": {"7"},
			}
		}, want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nPoe: 1\r\n" + forwarded + "Content-Length: 0\r\n\r\n"},
		{name: "no field of the connection", change: func(r *replay.Request) {
			r.Forward = []replay.Field{{Name: "POE-Id", Value: "0193"}}
			r.Header = http.Header{
				"Connection": {"close, X-Secret, POE-Id", "x-other, Content-Length"}, "X-Secret": {"1"}, "X-Other": {"1"}, "X-Kept": {"1"},
				"Keep-Alive": {"1"}, "Te": {"trailers"}, "Trailer": {"X"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"},
				"Http2-Settings": {"x"}, "Proxy-Authorization": {"x"}, "Proxy-Connection": {"x"}, "Expect": {"100-continue"},
				"Host": {"evil"}, "Content-Length": {"77"},
			}
		}, body: "b", want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nX-Kept: 1\r\nPOE-Id: 0193\r\n" + forwarded + "Content-Length: 1\r\n\r\nb"},
		{name: "through others before", change: func(r *replay.Request) {
			r.Via, r.Header = "2.0 poe", http.Header{"Via": {"1.0 fred, 1.1 p.example", "1.1 edge"}}
		}, want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nVia: 1.0 fred, 1.1 p.example\r\nVia: 1.1 edge\r\nPOE-Id: 0193\r\n" +
			strings.Replace(forwarded, "1.1", "2.0", 1) + "Content-Length: 0\r\n\r\n"},
		{name: "of our own", change: func(r *replay.Request) { r.Via, r.Header = "", nil },
			want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + strings.TrimPrefix(forwarded, "Via: 1.1 poe\r\n") + "Content-Length: 0\r\n\r\n"},
		{name: "trailers", body: "abc", change: func(r *replay.Request) {
			r.Header = nil
			r.Trailer = http.Header{"X-Sum": {"1", "2"}, "A": {"x"}, "Poe-Id": {"forged"}, "Content-Length": {"9"}, "X_Y": {"z"}}
		}, want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded +
			"Transfer-Encoding: chunked\r\nTrailer: A, X-Sum\r\n\r\n3\r\nabc\r\n0\r\nA: x\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n"},
		{name: "trailers of an empty body", change: func(r *replay.Request) { r.Header, r.Trailer = nil, http.Header{"A": {"x"}} },
			want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded +
				"Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\nA: x\r\n\r\n"},
		{name: "no trailer that may be sent", body: "abc", change: func(r *replay.Request) {
			r.Header, r.Trailer = nil, http.Header{"Host": {"x"}, "Authorization": {"Basic x"}, "Content-Type": {"a/b"}}
		},
			want: "POST /orders HTTP/1.1\r\nHost: shop.example\r\nPOE-Id: 0193\r\n" + forwarded + "Content-Length: 3\r\n\r\nabc"},
		{name: "to nobody by name", change: func(r *replay.Request) { r.Host, r.Header = "", nil },
			want: "POST /orders HTTP/1.1\r\nHost: UPSTREAM\r\nPOE-Id: 0193\r\n" + strings.Replace(forwarded, "shop.example", "UPSTREAM", 1) + "Content-Length: 0\r\n\r\n"},
		{name: "over TLS, from nobody, to a port", change: func(r *replay.Request) {
			r.Header, r.TLS, r.RemoteAddr, r.Host = nil, new(tls.ConnectionState), "@", "[::1]:8443"
		}, want: "POST /orders HTTP/1.1\r\nHost: [::1]:8443\r\nPOE-Id: 0193\r\nVia: 1.1 poe\r\nX-Forwarded-Host: [::1]:8443\r\nX-Forwarded-Proto: https\r\n" +
			"Content-Length: 0\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := make(chan string, 1)
			u := listen(t, func(p *peer, _ int) {
				r := p.request()
				if r == nil {
					raw <- p.seen.String()
					return
				}
				raw <- r.raw
				p.say(ok)
			})
			var change []func(*replay.Request)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			res := execute(t, within(t, patience), newGateway(t, u.address), post(t, tt.body, change...))
			if diff := cmp.Diff(strings.ReplaceAll(tt.want, "UPSTREAM", u.address), wait(t, raw)); diff != "" {
				t.Errorf("on the wire (-want +got):\n%s", diff)
			}
			if res.Proof != replay.Complete {
				t.Errorf("proof %v: %v", res.Proof, res.Err)
			}
		})
	}
}

// The client's own map stays as it was, so that a request can be executed again.
func TestRequestIsNotChanged(t *testing.T) {
	u := listen(t, always(ok))
	req := post(t, "x", func(r *replay.Request) {
		r.Header = http.Header{"Connection": {"X-A"}, "X-A": {"1"}, "Poe-Id": {"1"}}
		r.Trailer = http.Header{"X_B": {"1"}, "C": {"1"}}
	})
	g := newGateway(t, u.address)
	for range 2 {
		if res := execute(t, within(t, patience), g, req); res.Proof != replay.Complete {
			t.Fatalf("proof %v: %v", res.Proof, res.Err)
		}
	}
	if diff := cmp.Diff(http.Header{"Connection": {"X-A"}, "X-A": {"1"}, "Poe-Id": {"1"}}, req.Header); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(http.Header{"X_B": {"1"}, "C": {"1"}}, req.Trailer); diff != "" {
		t.Error(diff)
	}
}

// What would not stay one request is not sent at all.
func TestUnsendable(t *testing.T) {
	tests := []struct {
		name   string
		change func(*replay.Request)
	}{
		{"space in the target", func(r *replay.Request) { r.Target = "/a HTTP/1.1" }},
		{"line end in the target", func(r *replay.Request) { r.Target = "/a\r\nX:y" }},
		{"delete in the target", func(r *replay.Request) { r.Target = "/a\x7f" }},
		{"no path", func(r *replay.Request) { r.Target = "http://other/" }},
		{"empty target", func(r *replay.Request) { r.Target = "" }},
		{"method", func(r *replay.Request) { r.Method = "POST /" }},
		{"no method", func(r *replay.Request) { r.Method = "" }},
		{"host", func(r *replay.Request) { r.Host = "a\r\nX: y" }},
		{"two hosts", func(r *replay.Request) { r.Host = "a b" }},
		{"two hosts, with a tab", func(r *replay.Request) { r.Host = "a\tb" }},
		{"host and path", func(r *replay.Request) { r.Host = "a/b" }},
		{"field name", func(r *replay.Request) { r.Header = http.Header{"A B": {"x"}} }},
		{"field value", func(r *replay.Request) { r.Header = http.Header{"A": {"x\r\nB: y"}} }},
		{"field value with NUL", func(r *replay.Request) { r.Header = http.Header{"A": {"x\x00"}} }},
		{"our field", func(r *replay.Request) { r.Forward = []replay.Field{{Name: "POE-Id", Value: "x\ny"}} }},
		{"body already released", func(r *replay.Request) { r.Body.Release() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := listen(t, always(ok))
			res := execute(t, t.Context(), newGateway(t, u.address), post(t, "body", tt.change))
			if res.Proof != replay.Unsent || res.Err == nil {
				t.Errorf("proof %v, error %v", res.Proof, res.Err)
			}
			if n := u.conns.Load(); n != 0 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// Bodies around the size of a block, with and without trailers, arrive as they are.
func TestBodySizes(t *testing.T) {
	const block = 64 << 10
	got := make(chan *seen, 1)
	u := listen(t, func(p *peer, _ int) {
		for r := p.request(); r != nil; r = p.request() {
			got <- r
			p.say(ok)
		}
	})
	g := newGateway(t, u.address)
	for _, size := range []int{1, block - 1, block, block + 1, 2 * block, 3*block + 17} {
		for _, trailer := range []http.Header{nil, {"X-Sum": {"1"}}} {
			body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			res := execute(t, within(t, patience), g, post(t, body, func(r *replay.Request) { r.Trailer = trailer }))
			if res.Proof != replay.Complete {
				t.Fatalf("%d bytes: proof %v: %v", size, res.Proof, res.Err)
			}
			r := wait(t, got)
			if r.body != body {
				t.Errorf("%d bytes: the body differs", size)
			}
			if diff := cmp.Diff(trailer, r.Trailer); diff != "" {
				t.Errorf("%d bytes: trailers: %s", size, diff)
			}
		}
	}
	if n := u.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A body that can no longer be read is never made to look whole.
func TestBodyLostOnTheWay(t *testing.T) {
	for _, trailer := range []http.Header{nil, {"X-Sum": {"1"}}} {
		var req *replay.Request
		u := listen(t, func(p *peer, _ int) {
			p.head()
			req.Body.Release() // while most of it is still in the spool
			p.hang()
		})
		req = post(t, strings.Repeat("x", 32<<20), func(r *replay.Request) { r.Trailer = trailer })
		res := execute(t, within(t, patience), newGateway(t, u.address), req)
		if res.Proof != replay.Broken || res.Err == nil || timedOut(res.Err) {
			t.Errorf("proof %v, error %v", res.Proof, res.Err)
		}
		if n := u.requests.Load(); n != 0 {
			t.Errorf("the upstream read %d whole requests", n)
		}
	}
}

// A connection in the middle of a request that broke off takes no other one, though its answer is whole: the next request would be the rest of the body.
func TestNoOtherRequestBehindHalfABody(t *testing.T) {
	var req *replay.Request
	u := listen(t, func(p *peer, nth int) {
		if nth > 0 {
			always(ok)(p, nth)
			return
		}
		p.head()
		req.Body.Release()
		for { // until nothing more comes
			_ = p.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := io.CopyN(io.Discard, p.reader, 1<<10); err != nil {
				break
			}
		}
		_ = p.SetReadDeadline(time.Time{})
		p.say(ok)
		p.hang()
	})
	g := newGateway(t, u.address)
	req = post(t, strings.Repeat("x", 32<<20))
	if res := execute(t, within(t, patience), g, req); res.Proof != replay.Complete {
		t.Fatalf("proof %v: %v", res.Proof, res.Err)
	}
	if res := execute(t, within(t, 2*time.Second), g, post(t, "next")); res.Body != "ok" || u.conns.Load() != 2 {
		t.Errorf("the next one: proof %v: %v, on %d connections", res.Proof, res.Err, u.conns.Load())
	}
}
