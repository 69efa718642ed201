package core

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/google/uuid"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
)

// A MintRequest says what a POE URI is to be good for.
type MintRequest struct {
	Method    string        // of the target; "": the route's first, POST before others
	Target    string        // path and query, as the client will send them
	TTL       time.Duration // at most the route's; zero: the route's
	Digest    [32]byte      // SHA-256 of the only body that it is good for; zero: any
	Principal [32]byte      // who may use it; zero: anybody who has it
	Callback  string        // address that is told of the outcome; "": none
}

// Minted is a POE URI.
type Minted struct {
	URI     string    `json:"uri"` // relative: path and query
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
}

// Mint signs a POE URI. It writes nothing: the signature is the issue. It returns ErrUnknownTarget where no route
// protects the target, and a *ParamError for what cannot be used.
func (g *Gate) Mint(_ context.Context, m MintRequest) (Minted, error) {
	rt, err := g.mintable(&m)
	if err != nil {
		return Minted{}, err
	}
	return g.mint(rt, &m)
}

// mintable checks m, fills in its method, and returns its route.
func (g *Gate) mintable(m *MintRequest) (*route, error) {
	if hasParam(m.Target, g.cfg.Param) { // it is most likely a POE URI, and no problem ever repeats a token
		return nil, badParam("for", "has a %q parameter already", g.cfg.Param)
	}
	m.Target = asBrowsersSend(m.Target)
	if !validTarget(m.Target) {
		return nil, badParam("for", "%q is not a path with an optional query, percent-encoded and without a fragment", m.Target)
	}
	path, ok := targetPath(m.Target)
	if !ok {
		return nil, badParam("for", "%q has a path that cannot be decoded", m.Target)
	}
	if m.Method != "" && !slices.Contains(unsafeMethods, m.Method) {
		return nil, badParam("method", "%q is not one of POST, PUT, PATCH and DELETE", m.Method)
	}
	if g.Owns(path) {
		return nil, ErrUnknownTarget
	}
	rt := g.routes.find(m.Method, path)
	if m.Method == "" {
		rt = g.routes.page(path)
	}
	if rt == nil || !rt.has(doorPOE) {
		return nil, ErrUnknownTarget
	}
	if m.Method == "" {
		m.Method = rt.mints()
	}
	if m.Method == http.MethodPost && g.routes.undoes(func() string { return cleanPath(path) }) { // it would be 404
		return nil, ErrUnknownTarget
	}
	if m.TTL == 0 {
		m.TTL = rt.TTL
	}
	m.TTL = m.TTL.Truncate(time.Second) // what a token can carry
	if m.Callback != "" {
		if !rt.has(doorCallback) {
			return nil, badParam("callback", "nobody is called back about this target")
		}
		if err := g.callable(m.Callback); err != nil {
			return nil, badParam("callback", "%s", err)
		}
	}
	if m.TTL < time.Second || m.TTL > rt.TTL {
		return nil, badParam("ttl", "%s is not between 1s and the route's %s", m.TTL, rt.TTL)
	}
	return rt, nil
}

func (g *Gate) mint(rt *route, m *MintRequest) (Minted, error) {
	now := g.now()
	days := rt.days
	if m.TTL != rt.TTL && days != 0 {
		var err error
		if days, err = keepFor(m.TTL, rt.Retention); err != nil {
			return Minted{}, err
		}
	}
	id, err := store.NewID(now, days, &g.random)
	if err != nil {
		return Minted{}, fmt.Errorf("minting: %w", err)
	}
	issued := now.Truncate(time.Second)
	c := tokens.Claims{
		ID: uuid.UUID(id), Issued: issued, NotBefore: issued, Expires: issued.Add(m.TTL).Truncate(time.Second), // as the token says it
		Method: m.Method, Target: m.Target, Principal: m.Principal, Digest: m.Digest, Callback: m.Callback,
	}
	token, err := g.cfg.Keys.Mint(c)
	if errors.Is(err, tokens.ErrClaims) {
		// A target alone always fits, see maxTarget.
		return Minted{}, badParam("for", "is too long for a token together with the callback, of %d and %d bytes: make either shorter", len(m.Target), len(m.Callback))
	}
	if err != nil {
		return Minted{}, fmt.Errorf("minting: %w", err)
	}
	g.metrics.minted.Inc()
	return Minted{URI: withToken(m.Target, g.cfg.Param, token), ID: id.String(), Expires: c.Expires}, nil
}

// serveNew is GET /poe/new: it mints for whoever asks, and binds what it mints to them.
func (g *Gate) serveNew(w http.ResponseWriter, r *http.Request) {
	m, count, err := g.parseNew(r.URL.RawQuery)
	var rt *route
	if err == nil {
		rt, err = g.mintable(&m)
	}
	if err != nil {
		g.refuseMint(w, r, err)
		return
	}
	m.Principal = g.whoIs(r, rt).proven
	few := min(count, fewURIs)
	first, size := make([]Minted, 0, few), 0
	for range few {
		one, err := g.mint(rt, &m)
		if err != nil {
			g.refuseMint(w, r, err)
			return
		}
		first = append(first, one)
		size += len(one.URI) + len(one.ID) + aroundURI
	}
	if few < count {
		size = piece
	}
	rt.cors(w.Header(), r)
	g.addLinks(w.Header(), first)
	g.writeMinted(w, r, size, &newPage{Method: m.Method, Target: m.Target, One: count == 1, URIs: func(yield func(Minted) bool) {
		for _, one := range first {
			if !yield(one) {
				return
			}
		}
		for range count - len(first) {
			one, err := g.mint(rt, &m)
			if err != nil {
				g.sayOnce(&g.unminted, g.log.Error().Err(err), "minting")
				panic(http.ErrAbortHandler) // some must not look like all
			}
			if !yield(one) {
				return
			}
		}
	}})
}

// fewURIs is how many URIs are minted before any is sent. Of more the rest is minted as the client takes it: a thousand can have megabytes, which
// would lie in memory for each client that takes its time.
const fewURIs = 10

// aroundURI is more than what the document says of a URI beside itself and its id, in bytes.
const aroundURI = 160

func (g *Gate) refuseMint(w http.ResponseWriter, r *http.Request, err error) {
	var bad *ParamError
	switch {
	case errors.Is(err, ErrUnknownTarget):
		g.refuse(w, r, g.problem(problemUnknownTarget))
	case errors.As(err, &bad):
		k := problemBadParameter
		if bad.Param == "callback" {
			k = problemCallbackRefused
		}
		p := g.problem(k)
		p.Parameter, p.Detail = bad.Param, bad.Reason
		g.refuse(w, r, p)
	default:
		g.sayOnce(&g.unminted, g.log.Error().Err(err), "minting")
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// maxCount is how many URIs one request may ask for.
const maxCount = 1000

// parseNew reads the parameters of /poe/new. A plus is a plus: a target and a digest have them.
func (g *Gate) parseNew(query string) (m MintRequest, count int, err error) {
	count = 1
	seen := map[string]bool{}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, raw, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw)
		if err != nil {
			return m, 0, badParam(name, "is not percent-encoded")
		}
		if seen[name] {
			return m, 0, badParam(name, "is there twice")
		}
		seen[name] = true
		switch name {
		case "for":
			m.Target = value
		case "method":
			m.Method = value
			if value == "" {
				return m, 0, badParam(name, "is empty")
			}
		case "count":
			if count, err = strconv.Atoi(value); err != nil || count < 1 || count > maxCount {
				return m, 0, badParam(name, "%q is not a number from 1 to %d", value, maxCount)
			}
		case "ttl":
			if m.TTL, err = time.ParseDuration(value); err != nil || m.TTL <= 0 {
				return m, 0, badParam(name, "%q is not a duration such as 10m", value)
			}
		case "digest":
			if m.Digest, err = parseDigest(value); err != nil {
				return m, 0, badParam(name, "%s", err)
			}
		case "callback":
			if m.Callback = value; value == "" {
				return m, 0, badParam(name, "is empty")
			}
		default:
			return m, 0, badParam(name, "is not a parameter of this resource")
		}
	}
	if !seen["for"] {
		return m, 0, badParam("for", "is missing: say which target the URI is for, such as for=/orders")
	}
	return m, count, nil
}

// parseDigest reads a digest as RFC 9530 writes it: sha-256=:…:
func parseDigest(value string) (sum [32]byte, err error) {
	d, err := httpsfv.UnmarshalDictionary([]string{value})
	if err != nil || len(d.Names()) != 1 {
		return sum, fmt.Errorf("%q is not one digest as sha-256=:…: is one", value)
	}
	member, _ := d.Get("sha-256")
	item, ok := member.(httpsfv.Item)
	b, isBytes := item.Value.([]byte)
	if !ok || !isBytes || len(b) != len(sum) || [32]byte(b) == sum {
		return sum, fmt.Errorf("%q is not a sha-256 of 32 bytes", value)
	}
	return [32]byte(b), nil
}

// addLinks puts freshly minted URIs on an answer, in both forms, and keeps caches away from it: two clients
// with the same URI would take each other's success for their own.
func (g *Gate) addLinks(h http.Header, all []Minted) {
	guardFront(h)
	quoted := make([]string, len(all))
	for i := range all {
		quoted[i] = `"` + all[i].URI + `"`
		addField(h, "Link", "<"+all[i].URI+`>; rel="create-form"`)
	}
	h["Poe-Links"] = []string{strings.Join(quoted, ", ")}
}

// writeMinted answers with all of them, of which the document has about that size, or pieces of it.
func (g *Gate) writeMinted(w http.ResponseWriter, r *http.Request, size int, all *newPage) {
	h := w.Header()
	guardHeader(h)
	form := negotiateMint(r)
	v := []string{form, "nosniff"} // in one piece
	if form != "application/json" {
		v[0] += "; charset=utf-8"
	}
	h["Content-Type"], h["X-Content-Type-Options"] = v[0:1:1], v[1:2:2]
	if form == "text/html" {
		h.Set("Content-Security-Policy", pagePolicy)
		size = piece
	}
	to, sent := unlessStalled(w, int64(size), g.cfg.Patience)
	defer sent()
	out := bufio.NewWriterSize(to, size)
	var err error
	switch form {
	case "text/plain":
		err = all.list(out)
	case "text/html":
		err = pages.ExecuteTemplate(out, "new.html", all)
	default:
		err = all.document(out)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		g.log.Debug().Err(err).Msg("the client left before it had all URIs")
	}
}

// list writes a URI a line.
func (p *newPage) list(out *bufio.Writer) error {
	for one := range p.URIs {
		if _, err := out.WriteString(one.URI + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// document writes them as JSON.
func (p *newPage) document(out *bufio.Writer) error {
	begin := `{"uris":[`
	for one := range p.URIs {
		doc := encodeJSON(one)
		_, _ = out.WriteString(begin) // as the next says
		if _, err := out.Write(doc[:len(doc)-1]); err != nil {
			return err
		}
		begin = ","
	}
	_, err := out.WriteString("]}\n")
	return err
}

// withLinks passes a safe request on, asked without conditions and ranges, and adds a fresh POE URI to the answer.
func (g *Gate) withLinks(w http.ResponseWriter, r *http.Request, rt *route, target string, pass http.Handler) {
	m := MintRequest{Target: target, Method: rt.mints(), TTL: rt.TTL, Principal: g.whoIs(r, rt).proven}
	if _, err := g.mintable(&m); err != nil {
		g.passOn(w, r, pass) // a target that cannot be signed gets no link
		return
	}
	fresh, err := g.mint(rt, &m)
	if err != nil {
		g.sayOnce(&g.unminted, g.log.Error().Err(err), "minting")
		g.passOn(w, r, pass)
		return
	}
	out := new(http.Request)
	*out = *g.passable(r)
	out.Header = out.Header.Clone()
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"} {
		out.Header.Del(name)
	}
	lw := &linkWriter{ResponseWriter: w, add: func(h http.Header, _ int) {
		g.addLinks(h, []Minted{fresh})
		rt.exposeLinks(h, r)
	}}
	pass.ServeHTTP(lw, out)
	lw.head(http.StatusOK) // where a handler wrote nothing
}

// requireDoor answers a plain request where a door is required: 428 with the URI that would do, or 400 where there is only a key
// to bring.
func (g *Gate) requireDoor(w http.ResponseWriter, r *http.Request, rt *route, target string) {
	rt.cors(w.Header(), r)
	guardFront(w.Header())
	switch {
	case rt.has(doorPOE):
	case rt.has(doorKey), rt.has(doorRepeatable):
		g.write(w, r, g.problem(problemKeyRequired))
		return
	default:
		g.write(w, r, g.problem(problemPreconditionRequired))
		return
	}
	m := MintRequest{Target: target, Method: r.Method, Principal: g.whoIs(r, rt).proven}
	if _, err := g.mintable(&m); err == nil {
		if fresh, err := g.mint(rt, &m); err == nil {
			g.addLinks(w.Header(), []Minted{fresh})
		}
	}
	g.write(w, r, g.problem(problemPOERequired))
}

// varyPOE says that an answer depends on the POE field. It is said last, because handlers set Vary without a look at it.
func varyPOE(h http.Header, _ int) { addField(h, "Vary", "POE") }

// A linkWriter adds fields to an answer at the moment its head is written. It can be hijacked and copied to as
// directly as the writer that it wraps: applications ask for both by type.
type linkWriter struct {
	http.ResponseWriter
	add  func(h http.Header, code int)
	done bool
}

func (l *linkWriter) head(status int) {
	if !l.done && (status >= 200 || status == http.StatusSwitchingProtocols) {
		l.done = true
		l.add(l.Header(), status)
	}
}

// WriteHeader adds the fields and passes on.
func (l *linkWriter) WriteHeader(status int) {
	l.head(status)
	l.ResponseWriter.WriteHeader(status)
}

// Write adds the fields and passes on.
func (l *linkWriter) Write(p []byte) (int, error) {
	l.head(http.StatusOK)
	return l.ResponseWriter.Write(p)
}

// Flush adds the fields and passes on.
func (l *linkWriter) Flush() {
	l.head(http.StatusOK)
	_ = http.NewResponseController(l.ResponseWriter).Flush() // not every writer can, and then there is nothing to do
}

// begun is how many bytes of a copy must be there before the rest of it is left to the system.
const begun = 512

// ReadFrom adds the fields and passes on, so that files are still sent by the system.
func (l *linkWriter) ReadFrom(src io.Reader) (int64, error) {
	if l.done {
		return io.Copy(l.ResponseWriter, src)
	}
	// What is copied may fail before it begins, and then the handler may still say so.
	n, err := io.CopyN(struct{ io.Writer }{l}, src, begun)
	if errors.Is(err, io.EOF) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	rest, err := io.Copy(l.ResponseWriter, src)
	return n + rest, err
}

// Hijack adds the fields, for who writes the head of an upgrade by hand, and passes on. It fails with
// http.ErrNotSupported where the server cannot.
func (l *linkWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	l.head(http.StatusSwitchingProtocols)
	return http.NewResponseController(l.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach what the server offers.
func (l *linkWriter) Unwrap() http.ResponseWriter { return l.ResponseWriter }
