package replay

import (
	"iter"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// names are a set of fields, by their canonical names. Most of those that it is asked for are of a length that none of its own has.
type names struct {
	all     map[string]bool
	lengths uint64 // bits of those that there are
}

func namesOf(all ...string) *names {
	n := &names{all: make(map[string]bool, len(all))}
	for _, name := range all {
		n.all[name] = true
		n.lengths |= 1 << len(name)
	}
	return n
}

// has tells whether name is in the set, in any spelling of its letters.
func (n *names) has(name string) bool {
	return n.lengths&(1<<len(name)) != 0 && n.all[textproto.CanonicalMIMEHeaderKey(name)]
}

// hopByHop are the fields that concern one connection only (RFC 9110 section 7.6.1), whatever Connection says.
var hopByHop = namesOf("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade")

// perClient are the fields of an answer that mean something to its first client only, at that moment. The length of content is
// computed when the answer is repeated.
var perClient = namesOf("Content-Length",
	"Age", "Alt-Svc", "Authentication-Info", "Clear-Site-Data", "Date", "Set-Cookie", "Set-Cookie2", "Www-Authenticate")

// perClientPrefixes begin the names of whole families of such fields.
var perClientPrefixes = []string{"Access-Control-", "Poe-", "Proxy-", "Ratelimit", "X-Ratelimit-", "X-Rate-Limit-"}

// DropReserved removes from an answer's fields or trailers what only the gate may say of an action. Clients go by it: an answer without POE-State is one of
// something that nobody guards.
func DropReserved(h http.Header) {
	for name := range h {
		if reserved(name) {
			delete(h, name)
		}
	}
}

// reserved tells whether a field, in any spelling of its letters, is one of those.
func reserved(name string) bool {
	return len(name) == len("Poe-State") && (strings.EqualFold(name, "Poe-State") || strings.EqualFold(name, "Poe-Links"))
}

// Replayed is the field that says of an answer to a key that it is the stored one. What is executed must not say so: a client would take it for the end of its
// request.
const Replayed = "Idempotent-Replayed"

func replayed(name string) bool {
	return len(name) == len(Replayed) && strings.EqualFold(name, Replayed)
}

// DropCaching removes from an answer's fields what tells a cache anything beside Cache-Control: some go by it before that (RFC 9213, section 2.2; nginx,
// Varnish and Akamai have names of their own), and would keep what no-store keeps from them.
func DropCaching(h http.Header) {
	for name := range h {
		if caching(name) {
			delete(h, name)
		}
	}
}

// targeted ends the names of the fields of RFC 9213, each for caches of one kind.
const targeted = "-Cache-Control"

// caching tells whether a field, in any spelling of its letters, is one of those.
func caching(name string) bool {
	if i := len(name) - len(targeted); i > 0 && strings.EqualFold(name[i:], targeted) {
		return true
	}
	return forCaches.has(name)
}

// forCaches are those that are called otherwise.
var forCaches = namesOf("Edge-Control", "Expires", "Surrogate-Control", "X-Accel-Expires")

// CopyFields returns a copy of the fields that are wanted, with room for more fields. The values lie in one piece, and adding to those of one field does not
// reach into another.
func CopyFields(h http.Header, more int, want func(name string) bool) http.Header {
	out, room := make(http.Header, len(h)+more), make([]string, 0, len(h)) // mostly each has one
	for name, values := range h {
		switch {
		case !want(name):
		case values == nil: // which says something to net/http
			out[name] = nil
		default:
			begin := len(room)
			room = append(room, values...)
			out[name] = slices.Clip(room[begin:])
		}
	}
	return out
}

// EndToEnd yields the fields of h without those that belong to one connection: those of RFC 9110 section 7.6.1 and
// those that Connection names.
func EndToEnd(h http.Header) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		var few [16]field
		all := few[:0]
		var named map[string]bool
		for name, values := range h { // once: to begin that takes longer than the few fields that most have
			named = addNamed(named, name, values)
			all = append(all, field{name, values})
		}
		for i := range all {
			if !ofConnection(all[i].name, named) && !yield(all[i].name, all[i].values) {
				return
			}
		}
	}
}

// DropOfConnection removes from an answer's fields those that belong to one connection.
func DropOfConnection(h http.Header) {
	named := connectionNamed(h)
	for name := range h {
		if ofConnection(name, named) {
			delete(h, name)
		}
	}
}

// ofConnection tells whether a field belongs to one connection, where that has named these.
func ofConnection(name string, named map[string]bool) bool {
	return hopByHop.has(name) || named != nil && named[textproto.CanonicalMIMEHeaderKey(name)]
}

// Storable returns what of an answer's fields or trailers may be given to somebody else, or later: end-to-end fields
// that are neither a client's own nor about the moment, nor for caches. The values are shared with h.
func Storable(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range EndToEnd(h) {
		if !ofOneClient(name) {
			out[name] = values
		}
	}
	return out
}

// ofOneClient tells whether a field, in any spelling of its name, is a client's own, about the moment, or for caches.
func ofOneClient(name string) bool {
	if perClient.has(name) || caching(name) {
		return true
	}
	for _, p := range perClientPrefixes {
		if len(name) >= len(p) && strings.EqualFold(name[:len(p)], p) {
			return true
		}
	}
	return false
}

// connectionNamed returns the canonical names that the Connection fields list.
func connectionNamed(h http.Header) map[string]bool {
	var named map[string]bool
	for name, values := range h {
		named = addNamed(named, name, values)
	}
	return named
}

// addNamed adds to named what a field lists, if it is Connection.
func addNamed(named map[string]bool, name string, values []string) map[string]bool {
	if len(name) != len("Connection") || !strings.EqualFold(name, "Connection") {
		return named
	}
	for _, v := range values {
		for token := range elements(v) {
			if named == nil {
				named = make(map[string]bool)
			}
			named[textproto.CanonicalMIMEHeaderKey(token)] = true
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
