package gateway

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/replay"
)

// untrusted tells whether a client's field says what only a gateway may say: who it forwards for, which action this is.
// Names with "_" go as well, since many applications cannot tell them from names with "-" (POE_Id from POE-Id).
func untrusted(name string) bool {
	return strings.Contains(name, "_") ||
		strings.EqualFold(name, "Forwarded") ||
		hasPrefixFold(name, "X-Forwarded-") ||
		hasPrefixFold(name, "POE-")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// dropUntrusted removes from h what a client must not say.
func dropUntrusted(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool { return untrusted(name) })
}

// framing tells whether a field is written by the hop itself, or promises what the hop does not do.
func framing(name string) bool {
	for _, own := range []string{"Host", "Content-Length", "Expect", "Http2-Settings"} {
		if strings.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// forwarded appends the names of the client's fields that go to the upstream to names, and sorts them.
func forwarded(names []string, h http.Header) []string {
	for name := range replay.EndToEnd(h) {
		if !untrusted(name) && !framing(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// forwardedTrailer returns what of a client's trailers goes to the upstream: never what frames, routes or
// authenticates a message (RFC 9110 section 6.5.1). nil: none of them.
func forwardedTrailer(t http.Header) http.Header {
	if len(t) == 0 {
		return nil
	}
	out := http.Header{}
	for _, name := range forwarded(nil, t) {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidTrailerHeader(name) || slices.ContainsFunc(t[name], func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			continue // net/http lets some through, and what cannot be sent would be found out when half is sent
		}
		out[name] = t[name]
	}
	return out
}
