package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postonce/poe/internal/replay"
)

// continueTimeout is how long an upload that expects 100 (Continue) waits for the upstream's word.
const continueTimeout = time.Second

// Proxy passes requests on as they are: whatever is not protected. It streams both ways, carries websockets, takes HTTP/2 in, and
// never repeats an unsafe request. Requests keep their Host and target; they lose what only a gateway may say
// (see Execute) and get Via, X-Forwarded-For, -Host and -Proto. Answers lose POE-State and POE-Links. What fails is given to Config.Error.
func (g *Gateway) Proxy() http.Handler { return g.proxy }

// Asker is Proxy, with connections of its own: a question of ours to the upstream must not wait for what clients keep open.
func (g *Gateway) Asker() http.Handler { return g.asker }

// asking is how many questions there can be at one time.
const asking = 64

func (g *Gateway) newProxies() {
	passing, asked := g.transport(g.cfg.MaxPassing), g.transport(asking)
	g.drop = func() { passing.CloseIdleConnections(); asked.CloseIdleConnections() }
	g.proxy, g.asker = g.newProxy(passing), g.newProxy(asked)
}

// newProxy returns what passes on over the connections of t. Requests wait here, and not for t, which would let them wait for ever: who has a slot has a connection, and
// another one where that breaks, since there are as many as slots.
func (g *Gateway) newProxy(t *http.Transport) http.Handler {
	var all slots
	if t.MaxConnsPerHost > 0 {
		all = make(slots, t.MaxConnsPerHost)
	}
	base := httputil.ReverseProxy{
		Transport:     overhearing{t},
		FlushInterval: -1, // events leave as they come
		BufferPool:    buffers{g},
		ErrorLog:      g.cfg.ErrorLog,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			writeProblem(w, http.StatusNotImplemented, "This is not a forward proxy.")
			return
		}
		if !oneWord(r.RequestURI) {
			writeProblem(w, http.StatusBadRequest, "The request target has a character that must be percent-encoded.")
			return
		}
		if more, limited := maxForwards(r); limited && more == 0 {
			answerHere(w, r)
			return
		}
		if err := all.reserve(r.Context()); err != nil {
			g.cfg.Error(w, r, err)
			return
		}
		left := false
		defer func() {
			if !left {
				all.unreserve()
			}
		}()
		p := base // a copy, to know w and the request as it came
		p.ModifyResponse = func(resp *http.Response) error {
			if resp.StatusCode == http.StatusSwitchingProtocols {
				left = true // its connection is t's no longer
				all.unreserve()
			}
			keepType(w, resp)
			dropReserved(resp)
			return nil
		}
		var body *arriving
		p.Rewrite = func(pr *httputil.ProxyRequest) {
			g.rewrite(pr)
			if pr.Out.Body != nil {
				body = &arriving{ReadCloser: pr.Out.Body}
				pr.Out.Body = body
			}
		}
		p.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
			if body != nil && body.failure.Load() != nil { // RoundTrip says so, or that the request was cancelled, which net/http does then
				err = body.failure.Load()
			}
			g.cfg.Error(w, r, err)
		}
		p.ServeHTTP(w, r)
	})
}

func (g *Gateway) transport(most int) *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Protocols:              http1,
		DialContext:            g.dialProxy,
		DialTLSContext:         g.dialProxy,
		DisableCompression:     true, // bodies stay as they are
		DisableKeepAlives:      g.cfg.MaxIdle < 0,
		MaxIdleConns:           max(g.cfg.MaxIdle, 0),
		MaxIdleConnsPerHost:    max(g.cfg.MaxIdle, 0),
		MaxConnsPerHost:        most,
		IdleConnTimeout:        g.cfg.IdleTimeout,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: headLimit,
	}
}

func (g *Gateway) dialProxy(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DialTimeout)
	defer cancel()
	c, err := g.connect(ctx, func(raw net.Conn) net.Conn { return raw })
	if err != nil {
		return nil, err
	}
	return &overheard{Conn: c}, nil
}

// rewrite makes the outgoing request. A Director would let a client strip what it adds, by naming it in Connection.
func (g *Gateway) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL = g.locate(pr.In)
	dropUntrusted(pr.Out.Header)
	pinKeys(pr.Out.Header)
	onlyWebsocket(pr.Out)
	passTrailers(pr)
	if more, limited := maxForwards(pr.In); limited {
		pr.Out.Header.Set("Max-Forwards", strconv.FormatUint(more-1, 10))
	}
	pr.Out.Header["Via"] = append(slices.Clip(pr.Out.Header["Via"]), replay.Via(pr.In))
	said := g.heard(pr.In.RemoteAddr, pr.In.Host, pr.In.TLS != nil, pr.In.Header)
	said.tell(pr)
}

// locate makes the URL whose request target is that of r, octet for octet where net/url can say it. If somebody
// changed r.URL on the way here, that is what counts.
func (g *Gateway) locate(r *http.Request) *url.URL {
	u := *r.URL
	u.Scheme, u.Host, u.User = g.cfg.Upstream.Scheme, g.address, nil
	raw, query, _ := strings.Cut(r.RequestURI, "?")
	path, err := url.PathUnescape(raw)
	same := err == nil && path == r.URL.Path && query == r.URL.RawQuery
	// Opaque is written as it stands. With two slashes at its beginning it would be taken for a host; there the path has to do.
	if same && strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") {
		u.Opaque = raw
	}
	return &u
}

// pinKeys keeps http.Transport from repeating an unsafe request: it takes one with either field and no body for repeatable,
// but knows them by their canonical names only. Names of fields have no case on the wire (RFC 9110 section 5.1).
func pinKeys(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

// onlyWebsocket takes all other upgrades out of a request. A tunnel of HTTP/2 (h2c) above all would carry requests past
// the gate. RFC 9110 section 7.8 lets a server ignore Upgrade.
func onlyWebsocket(out *http.Request) {
	if out.Header.Get("Upgrade") == "" {
		return
	}
	if out.Method != http.MethodGet || !strings.EqualFold(out.Header.Get("Upgrade"), "websocket") {
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
}

// maxForwards is how many more times an OPTIONS or a TRACE may be forwarded, where it is limited. Other methods' Max-Forwards says nothing (RFC 9110
// section 7.6.2). What is too large for us is the most that we can say.
func maxForwards(r *http.Request) (more uint64, limited bool) {
	if r.Method != http.MethodOptions && r.Method != http.MethodTrace {
		return 0, false
	}
	more, err := strconv.ParseUint(r.Header.Get("Max-Forwards"), 10, 16)
	return more, err == nil || errors.Is(err, strconv.ErrRange)
}

// answerHere is the answer to who asks this gateway and not what is behind it. A TRACE would be shown its own credentials, and is not.
func answerHere(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodTrace {
		writeProblem(w, http.StatusNotImplemented, "TRACE is not answered here, and its Max-Forwards lets it go no further.")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// passTrailers carries the trailers that were announced over to the outgoing request, which net/http clones before they are there.
func passTrailers(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	if len(in.Trailer) == 0 || out.Body == nil {
		return
	}
	out.Trailer = forwardedTrailer(out.Trailer)
	if len(out.Trailer) == 0 {
		out.Trailer = nil
		return
	}
	out.ContentLength = -1 // only a chunked body has room for them
	out.Body = &trailing{ReadCloser: out.Body, in: in, out: out.Trailer}
}

// trailing is a body whose trailers are known once it was read.
type trailing struct {
	io.ReadCloser
	in  *http.Request
	out http.Header
}

func (t *trailing) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		for name := range t.out {
			t.out[name] = t.in.Trailer[name]
		}
	}
	return n, err
}

// arriving is a client's body, and notes why it ended too early. http.Transport does not return from a RoundTrip that fails while it reads one.
type arriving struct {
	io.ReadCloser
	failure atomic.Pointer[arrivalError]
	closed  atomic.Bool // what is read after that is no failure of the client's
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !a.closed.Load() {
		a.failure.CompareAndSwap(nil, &arrivalError{err})
	}
	return n, err
}

func (a *arriving) Close() error {
	a.closed.Store(true)
	return a.ReadCloser.Close() //nolint:wrapcheck // as it came
}

// keepType keeps net/http from guessing a type for an answer that came without one.
func keepType(w http.ResponseWriter, resp *http.Response) {
	if _, ok := resp.Header["Content-Type"]; !ok {
		w.Header()["Content-Type"] = nil
	}
}

// dropReserved keeps the application from saying what only the gate may say.
func dropReserved(resp *http.Response) {
	replay.DropReserved(resp.Header)
	if len(resp.TransferEncoding) > 0 { // it is chunked, and may have trailers, which are all there when the body is closed
		replay.DropReserved(resp.Trailer)
		resp.Body = &trailed{resp.Body, resp}
	}
}

// trailed is the body of an answer with trailers.
type trailed struct {
	io.ReadCloser
	answer *http.Response
}

func (t *trailed) Close() error {
	err := t.ReadCloser.Close()
	replay.DropReserved(t.answer.Trailer)
	return err //nolint:wrapcheck // as it came
}

// buffers lends the gateway's copy buffers to a ReverseProxy.
type buffers struct{ gateway *Gateway }

func (b buffers) Get() []byte  { return b.gateway.copies.Get().(*[copySize]byte)[:] }
func (b buffers) Put(p []byte) { b.gateway.copies.Put((*[copySize]byte)(p)) }
