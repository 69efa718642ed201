package core

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/replay"
)

// hopByHop tells whether a field, by its canonical name, concerns one connection only (RFC 9110, section 7.6.1).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
		return true
	}
	return false
}

// forwardedMost is how many fields the application gets beside the client's, at most.
const forwardedMost = 2

// endToEnd returns a copy of a request's fields without those of the connection, without what only we may say, and
// with our parameter taken out of Referer.
func (g *Gate) endToEnd(h http.Header) http.Header {
	out := replay.CopyFields(h, forwardedMost, func(name string) bool { return !hopByHop(name) && !ours(name) })
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			out.Del(strings.TrimSpace(name))
		}
	}
	g.cleanReferers(out)
	return out
}

// ours tells whether a client's field, in any spelling that some application takes for it, is one that only we say.
func ours(name string) bool {
	if len(name) < 6 || len(name) > 9 {
		return false
	}
	n := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	return n == "poe-id" || n == "poe-state" || n == "poe-links"
}

// dropOurs removes from h what a client must not say, and our parameter from Referer.
func (g *Gate) dropOurs(h http.Header) {
	for name := range h {
		if ours(name) {
			delete(h, name)
		}
	}
	g.cleanReferers(h)
}

// cleanReferers takes our parameter out of Referer.
func (g *Gate) cleanReferers(h http.Header) {
	for i, ref := range h["Referer"] {
		h["Referer"][i] = cleanReferer(ref, g.cfg.Param)
	}
}

// passOn hands a request that comes through no door to the application.
func (g *Gate) passOn(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	out := g.passable(r)
	if out != r {
		defer removeFiles(out, r.MultipartForm) // the server sees to those of r
	}
	pass.ServeHTTP(w, out)
}

// passable returns r as it may reach the application without a door: without fields that only we say. It copies
// only where there is something to take out.
func (g *Gate) passable(r *http.Request) *http.Request {
	dirty := false
	for name := range r.Header {
		dirty = dirty || ours(name)
	}
	for _, ref := range r.Header["Referer"] {
		dirty = dirty || cleanReferer(ref, g.cfg.Param) != ref
	}
	if !dirty {
		return r
	}
	out := new(http.Request)
	*out = *r
	out.Header = r.Header.Clone()
	g.dropOurs(out.Header)
	return out
}

// poeVersion tells whether the client speaks this protocol: a POE field of digits, one or more. Everything
// else counts as absent (draft-nottingham-http-poe-00, section 4).
func poeVersion(h http.Header) bool {
	v := h["Poe"]
	if len(v) != 1 {
		return false
	}
	nonZero := false
	for _, c := range []byte(v[0]) {
		if c < '0' || c > '9' {
			return false
		}
		nonZero = nonZero || c != '0'
	}
	return nonZero
}

// expectsContinue tells whether the client waits for 100 before it sends the body; one of HTTP/1.0 does not, whatever it says (RFC 9110, section 10.1.1).
func expectsContinue(r *http.Request) bool {
	return r.ProtoAtLeast(1, 1) && httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// guardFront is guardHeader where an answer begins: who stands in front may have said the same, and something else to caches.
func guardFront(h http.Header) {
	replay.DropCaching(h)
	guardHeader(h)
}

// guardHeader puts on an answer of ours what every one of them carries.
func guardHeader(h http.Header) {
	if saysGuarded(h) {
		return
	}
	// Values of this answer alone, in one piece: whoever is between us and the client may change them.
	v := []string{"no-store", "same-origin"}
	h["Cache-Control"], h["Referrer-Policy"] = v[0:1:1], v[1:2:2]
}

func saysGuarded(h http.Header) bool {
	return is(h["Cache-Control"], "no-store") && is(h["Referrer-Policy"], "same-origin")
}

// addField adds to a field, by its canonical name. Its list may be one that others have too, with room behind it, and is not written into.
func addField(h http.Header, name, value string) { h[name] = append(slices.Clip(h[name]), value) }

func is(values []string, value string) bool { return len(values) == 1 && values[0] == value }

// exposed are the fields of ours that a page of another origin may read.
const exposed = "POE-State, POE-Links, Link, Location, Retry-After, Allow, Idempotent-Replayed, Idempotency-Expires, Repeatability-Result, Preference-Applied"

// preflight answers a page that asks whether it may send a request to our own resources with fields such as Authorization (Fetch standard, "CORS-preflight
// fetch"), and tells whether it was asked that. It comes without credentials and says nothing of an action: every origin that any route lists may ask, and
// what it may read then is for the action's own route to say.
func (g *Gate) preflight(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	listed := func(c *route) bool { return c.lists(r) }
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" || !slices.ContainsFunc(g.routes, listed) {
		return false
	}
	h := w.Header()
	guardHeader(h)
	addField(h, "Vary", "Origin, Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, DELETE")
	if fields := r.Header["Access-Control-Request-Headers"]; len(fields) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(fields, ", "))
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// cors puts the route's CORS fields on an answer of ours (Fetch standard): only for an origin that the route lists.
func (c *route) cors(h http.Header, r *http.Request) {
	if len(c.Origins) == 0 {
		return
	}
	addField(h, "Vary", "Origin")
	if c.lists(r) {
		allow(h, r)
	}
}

// cors does that for what is about no route, or not known to be, such as a refusal, and says nothing that is for one client alone: every origin that any route
// lists may read it, as it may ask.
func (g *Gate) cors(h http.Header, r *http.Request) {
	if !slices.ContainsFunc(g.routes, func(c *route) bool { return len(c.Origins) > 0 }) {
		return
	}
	addField(h, "Vary", "Origin")
	if slices.ContainsFunc(g.routes, func(c *route) bool { return c.lists(r) }) {
		allow(h, r)
	}
}

func allow(h http.Header, r *http.Request) {
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Set("Access-Control-Allow-Credentials", "true")
	addField(h, replay.Exposed, exposed)
}

// lists tells whether a request comes from a page of an origin that the route lists.
func (c *route) lists(r *http.Request) bool {
	return slices.Contains(c.Origins, r.Header.Get("Origin"))
}

// exposeLinks lets a page of such an origin read what is minted along with an answer of the application, as far as that lets it read the answer.
func (c *route) exposeLinks(h http.Header, r *http.Request) {
	if len(c.Origins) == 0 {
		return
	}
	addField(h, "Vary", "Origin")
	if c.lists(r) {
		addField(h, replay.Exposed, "POE-Links, Link")
	}
}
