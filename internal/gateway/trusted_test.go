package gateway_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// What a proxy in front says of its client reaches the application where it is trusted, by either way, and nobody else's word does.
func TestTrustedProxies(t *testing.T) {
	trusting := func(networks ...string) func(*gateway.Config) {
		return func(c *gateway.Config) {
			for _, n := range networks {
				c.Trusted = append(c.Trusted, netip.MustParsePrefix(n))
			}
		}
	}
	said := http.Header{"X-Forwarded-For": {"203.0.113.9, 10.0.0.1"}, "X-Forwarded-Host": {"api.example"}, "X-Forwarded-Proto": {"HTTPS"}, "X-Forwarded-Port": {"1"}, "Forwarded": {"for=x"}}
	const mine = "127.0.0.1|shop.example|http"
	tests := []struct {
		name    string
		remote  string // "": 127.0.0.1
		secure  bool   // whether it came over TLS
		trusted []string
		say     http.Header
		want    string
	}{
		{name: "nobody is trusted", say: said, want: mine},
		{name: "somebody else is", trusted: []string{"10.0.0.0/8", "::1/128"}, say: said, want: mine},
		{name: "trusted", trusted: []string{"10.0.0.0/8", "127.0.0.0/8"}, say: said, want: "203.0.113.9, 10.0.0.1, 127.0.0.1|api.example|https"},
		{name: "trusted, in the form of IPv6", remote: "[::ffff:127.0.0.1]:9", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-Proto": {"https"}}, want: "::ffff:127.0.0.1|shop.example|https"},
		{name: "trusted, on this link", remote: "[fe80::1%eth0]:9", trusted: []string{"fe80::/64"}, say: http.Header{"X-Forwarded-Proto": {"https"}}, want: "fe80::1%eth0|shop.example|https"},
		{name: "trusted, and without TLS in front of it", remote: "127.0.0.1:9", secure: true, trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-Proto": {"HTTP"}}, want: "127.0.0.1|shop.example|http"},
		{name: "over TLS", remote: "127.0.0.1:9", secure: true, say: http.Header{"X-Forwarded-Proto": {"http"}}, want: "127.0.0.1|shop.example|https"},
		{name: "of no address", remote: "@", trusted: []string{"0.0.0.0/0", "::/0"}, say: said, want: "|shop.example|http"},
		{name: "fields without a value", remote: "127.0.0.1:9", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-For": {}, "X-Forwarded-Host": {}, "X-Forwarded-Proto": {}}, want: mine},
		{name: "trusted, and says nothing", trusted: []string{"127.0.0.1/32"}, want: mine},
		{name: "lines in their order", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-For": {"203.0.113.9", "10.0.0.1"}}, want: "203.0.113.9, 10.0.0.1, 127.0.0.1|shop.example|http"},
		{name: "two words of one thing", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-Host": {"a", "b"}, "X-Forwarded-Proto": {"https", "http"}}, want: mine},
		{name: "no host and no scheme", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-Host": {"a b"}, "X-Forwarded-Proto": {"https,http"}}, want: mine},
		{name: "empty", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X-Forwarded-Host": {""}, "X-Forwarded-Proto": {""}}, want: mine},
		{name: "of the connection alone", trusted: []string{"127.0.0.1/32"}, say: http.Header{"Connection": {"x-forwarded-for"}, "X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, want: "127.0.0.1|shop.example|https"},
		{name: "names that only look like it", trusted: []string{"127.0.0.1/32"}, say: http.Header{"X_forwarded_for": {"203.0.113.9"}, "X_forwarded_proto": {"https"}}, want: mine},
	}
	heard := func(r *seen) string {
		return strings.Join(r.Header["X-Forwarded-For"], ";") + "|" + strings.Join(r.Header["X-Forwarded-Host"], ";") + "|" + strings.Join(r.Header["X-Forwarded-Proto"], ";")
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			u := listen(t, func(p *peer, _ int) {
				for r := p.request(); r != nil; r = p.request() {
					if r.Header.Get("Forwarded")+r.Header.Get("X-Forwarded-Port") != "" {
						t.Errorf("it was told %q", r.raw)
					}
					if slices.Contains(r.Header["X-Forwarded-For"], "") {
						t.Error("it was told of nobody")
					}
					got <- heard(r)
					p.say(ok)
				}
			})
			g := newGateway(t, u.address, trusting(tt.trusted...))
			req := post(t, "x", func(r *replay.Request) {
				r.Header, r.RemoteAddr = tt.say.Clone(), "127.0.0.1:4711"
				if tt.remote != "" {
					r.RemoteAddr = tt.remote
				}
				if tt.secure {
					r.TLS = &tls.ConnectionState{}
				}
			})
			if res := execute(t, within(t, patience), g, req); res.Proof != replay.Complete {
				t.Fatalf("proof %v: %v", res.Proof, res.Err)
			}
			if diff := cmp.Diff(tt.want, wait(t, got)); diff != "" {
				t.Errorf("what is executed (-want +got):\n%s", diff)
			}
			if tt.remote != "" {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop.example/", nil)
				r.Header, r.RemoteAddr, r.TLS = tt.say.Clone(), req.RemoteAddr, req.TLS
				g.Proxy().ServeHTTP(httptest.NewRecorder(), r)
				if diff := cmp.Diff(tt.want, wait(t, got)); diff != "" {
					t.Errorf("what passes (-want +got):\n%s", diff)
				}
				return
			}
			var send strings.Builder
			send.WriteString("GET / HTTP/1.1\r\nHost: shop.example\r\n")
			for name, values := range tt.say {
				for _, v := range values {
					send.WriteString(name + ": " + v + "\r\n")
				}
			}
			answer(t, raw(t, front(t, g), send.String()+"\r\n"))
			if diff := cmp.Diff(tt.want, wait(t, got)); diff != "" {
				t.Errorf("what passes (-want +got):\n%s", diff)
			}
		})
	}
}
