package core

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// Authorization before replay: rights may have been taken away since the answer was stored, and only the application knows. It is
// asked with the client's own fields, as nginx's auth_request does.

// authorizeTime is how long it may take to answer.
const authorizeTime = 10 * time.Second

// notAsked lists the fields that are about the client's own request, and would make something else of the question.
var notAsked = []string{
	"Content-Length", "Content-Type", "Content-Encoding", "Content-Digest", "Range", "If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since",
	"Prefer", callbackField,
	"X-Forwarded-Host", // which a trusted proxy says of the asker, who may have rights there
	// By these some applications take a request for another one, such as that of a page which everybody may see.
	"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
}

// maxVerdict is how much of a refusal's content is passed on, in bytes.
const maxVerdict = 64 << 10

// authorized asks the application whether the client may have a stored answer, where the route wants that. A 2xx is yes; 401
// and 403 are passed on; everything else is no, too.
func (g *Gate) authorized(w http.ResponseWriter, r *http.Request, rec *store.Record) bool {
	rt := g.asks(r.Context(), rec)
	if rt == nil {
		return true
	}
	host := hostAsked(rec)
	if !keepsHost(rec) { // and at that of the asker's choice the application may speak for somebody else
		g.sayOnce(&g.hostless, g.log.Error().Stringer("id", rec.ID).Str("route", rt.Name),
			"an answer from before its route had authorize is not repeated: it is not known at which host the application is to be asked")
		g.unauthorized(w, r)
		return false
	}
	v := &verdict{header: http.Header{}}
	// It is a request of its own: routers keep in a context what they have matched, and would take the client's for it.
	ctx, cancel := context.WithTimeout(context.Background(), authorizeTime)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	g.cfg.Authorizer.ServeHTTP(v, g.question(ctx, r, &asking{rt, rec, host}))
	if ctx.Err() == nil && r.Context().Err() == nil {
		v.WriteHeader(http.StatusOK) // a handler that wrote nothing; one that gave up has not said yes
	}
	switch {
	case v.code >= 200 && v.code < 300:
		return true
	case v.code == http.StatusUnauthorized, v.code == http.StatusForbidden:
		h := w.Header()
		sayNothing(h)
		for _, name := range []string{"Www-Authenticate", "Content-Type", "Content-Encoding"} {
			if values := v.header[name]; len(values) > 0 {
				h[name] = values
			}
		}
		h.Set("Content-Length", strconv.Itoa(v.body.Len()))
		w.WriteHeader(v.code)
		g.writeOwn(w, v.body.Bytes())
	default:
		if r.Context().Err() == nil { // a client that has gone is no trouble
			g.sayOnce(&g.unasked, g.log.Error().Int("status", v.code).Str("route", rt.Name), "asking the application whether an answer may be repeated")
		}
		g.unauthorized(w, r)
	}
	return false
}

// unauthorized says that nobody could say whether an answer may be repeated.
func (g *Gate) unauthorized(w http.ResponseWriter, r *http.Request) {
	sayNothing(w.Header())
	g.write(w, r, g.problem(problemAuthorizationUnavailable))
}

// sayNothing takes out what an answer says of an action already.
func sayNothing(h http.Header) {
	for _, name := range []string{"Poe-State", "Link", "Idempotency-Expires", replay.Replayed} {
		delete(h, name)
	}
}

// asks returns the route by which the application is asked about the record's answer: that of its target, or of its name. Nil: neither wants that.
func (g *Gate) asks(ctx context.Context, rec *store.Record) *route {
	wants := func(rt *route) bool { return rt != nil && rt.Authorize != "" }
	if !slices.ContainsFunc(g.routes, wants) { // as most
		return nil
	}
	for _, rt := range []*route{g.routeOf(ctx, rec), g.routes.named(rec.Route)} {
		if wants(rt) {
			return rt
		}
	}
	return nil
}

// finished is what is kept of the request of an action that is done: what it may be compared by, and the host that it was sent to, where the application will
// be asked there whether the answer may be repeated.
func (g *Gate) finished(ctx context.Context, r *store.Record) store.Blob {
	b := withoutContent(r.Request)
	if g.asks(ctx, r) != nil {
		if keepsHost(r) {
			b.Head = replay.EncodeRequestHead(http.Header{"Host": {hostAsked(r)}}, nil)
		}
	}
	return b
}

// asking is what a question is about: an answer, and at which host and path the application is asked.
type asking struct {
	route *route
	about *store.Record
	host  string // that the client of the action has named, whatever the asker names
}

// question is the request that asks.
func (g *Gate) question(ctx context.Context, r *http.Request, a *asking) *http.Request {
	out := r.Clone(ctx)
	out.Method, out.RequestURI, out.Pattern, out.Host = http.MethodGet, a.route.Authorize, "", a.host
	if u, err := url.ParseRequestURI(a.route.Authorize); err == nil {
		out.URL = u
	}
	out.Body, out.ContentLength, out.TransferEncoding, out.Trailer = http.NoBody, 0, nil, nil
	out.Header = g.endToEnd(r.Header)
	for _, name := range notAsked {
		delete(out.Header, name)
	}
	out.Header.Set("X-Original-Method", a.about.Method)
	out.Header.Set("X-Original-Host", a.host)
	out.Header.Set("X-Original-URI", a.about.Target)
	return out
}

// A verdict is the application's answer, as far as it is passed on.
type verdict struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header returns the fields.
func (v *verdict) Header() http.Header { return v.header }

// WriteHeader notes the first final status.
func (v *verdict) WriteHeader(code int) {
	if v.code == 0 && code >= 200 {
		v.code = code
	}
}

// Write keeps the beginning.
func (v *verdict) Write(p []byte) (int, error) {
	v.WriteHeader(http.StatusOK)
	if room := maxVerdict - v.body.Len(); room > 0 {
		v.body.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
