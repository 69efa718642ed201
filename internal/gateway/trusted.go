package gateway

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/replay"
)

// A hearsay is what a connection says of the client: by itself, or in the words of a proxy that is believed.
type hearsay struct {
	addresses   string // the client's, and those of the proxies that it came through, nearest last; "": not known
	host, proto string
}

// heard finds out what to tell the application of a client. remote is who has the connection, which is one of TLS if secure; host is whom the client
// asked for by it; h are the fields that came.
func (g *Gateway) heard(remote, host string, secure bool, h http.Header) hearsay {
	said := hearsay{addresses: clientAddress(remote), host: host, proto: "http"}
	if secure {
		said.proto = "https"
	}
	if !g.trusts(said.addresses) {
		return said
	}
	for name, v := range replay.EndToEnd(h) {
		switch {
		case len(v) == 0:
		case name == "X-Forwarded-For":
			said.addresses = strings.Join(append(slices.Clip(v), said.addresses), ", ")
		case len(v) > 1:
		case name == "X-Forwarded-Host" && v[0] != "" && httpguts.ValidHostHeader(v[0]):
			said.host = v[0]
		case name == "X-Forwarded-Proto" && (strings.EqualFold(v[0], "http") || strings.EqualFold(v[0], "https")):
			said.proto = strings.ToLower(v[0])
		}
	}
	return said
}

// trusts tells whether what ip says of others is believed.
func (g *Gateway) trusts(ip string) bool {
	if len(g.cfg.Trusted) == 0 {
		return false
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(g.cfg.Trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// tell puts it on a request that passes through, as forwardedFor does on one that is executed.
func (s *hearsay) tell(pr *httputil.ProxyRequest) {
	h := pr.Out.Header
	if s.addresses != "" {
		h["X-Forwarded-For"] = []string{s.addresses}
	}
	h["X-Forwarded-Host"], h["X-Forwarded-Proto"] = []string{s.host}, []string{s.proto}
}

// clientAddress is an address without its port, or "".
func clientAddress(remote string) string {
	host, _, _ := net.SplitHostPort(remote)
	return host
}
