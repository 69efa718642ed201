package replay

import (
	"net/http"
	"net/textproto"
	"strings"
)

// hopByHop are the fields that concern one connection only (RFC 9110 section 7.6.1), whatever Connection says.
var hopByHop = map[string]bool{
	"Connection":          true,
	"Keep-Alive":          true,
	"Proxy-Authenticate":  true,
	"Proxy-Authorization": true,
	"Proxy-Connection":    true,
	"Te":                  true,
	"Trailer":             true,
	"Transfer-Encoding":   true,
	"Upgrade":             true,
}

// perClient are the fields of an answer that mean something to its first client only, at that moment.
var perClient = map[string]bool{
	"Age":                 true,
	"Alt-Svc":             true,
	"Authentication-Info": true,
	"Clear-Site-Data":     true,
	"Content-Length":      true, // computed when the answer is repeated
	"Date":                true,
	"Set-Cookie":          true,
	"Set-Cookie2":         true,
	"Www-Authenticate":    true,
}

// perClientPrefixes begin the names of whole families of such fields.
var perClientPrefixes = []string{"Access-Control-", "Poe-", "Proxy-", "Ratelimit", "X-Ratelimit-"}

// EndToEnd returns h without the fields that belong to one connection: those of RFC 9110 section 7.6.1 and
// those that Connection names. The values are shared with h.
func EndToEnd(h http.Header) http.Header {
	return without(h, func(string) bool { return false })
}

// Storable returns what of an answer's fields or trailers may be given to somebody else, or later: end-to-end fields
// that are neither a client's own nor about the moment. The values are shared with h.
func Storable(h http.Header) http.Header { return without(h, ofOneClient) }

// ofOneClient tells whether a field, by its canonical name, is a client's own or about the moment.
func ofOneClient(name string) bool {
	if perClient[name] {
		return true
	}
	for _, p := range perClientPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// without returns h without connection fields and those that drop, which is given canonical names, asks for.
func without(h http.Header, drop func(name string) bool) http.Header {
	named := connectionNamed(h)
	out := make(http.Header, len(h))
	for name, values := range h {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if !hopByHop[canonical] && !named[canonical] && !drop(canonical) {
			out[name] = values
		}
	}
	return out
}

// connectionNamed returns the canonical names that the Connection fields list.
func connectionNamed(h http.Header) map[string]bool {
	var named map[string]bool
	for name, values := range h {
		if textproto.CanonicalMIMEHeaderKey(name) != "Connection" {
			continue
		}
		for _, v := range values {
			for token := range elements(v) {
				if named == nil {
					named = make(map[string]bool)
				}
				named[textproto.CanonicalMIMEHeaderKey(token)] = true
			}
		}
	}
	return named
}

// elements yields the elements of a comma-separated list (RFC 9110 section 5.6.1) that has no quoted strings.
func elements(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(list, ",") {
			if e = textproto.TrimString(e); e != "" && !yield(e) {
				return
			}
		}
	}
}
