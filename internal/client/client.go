// Package client uses POE URIs as any HTTP client should: it mints one, POSTs to it, and repeats that very
// request until the answer is definite.
//
// Repeating is safe on a guarded URI and only there, so the package looks before it repeats: an answer without
// POE-State, from whatever stands where a gateway should, ends it at once. What an answer means is told
// from POE-State and the status, and request_matches where a problem has it:
//
//	no POE-State                          not guarded: stop
//	request_matches is false              used for another request: stop
//	405, done                             done before: fetch the outcome from the URI itself
//	408 425 429 502 503 504, unused       not done: repeat
//	202 409, running or sent or accepted  being done, or to be done: repeat later
//	409 502 503 504 52x, unknown          nobody knows: repeat, and perhaps somebody will
//	everything else                       definite
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config is how a Client behaves. A zero field has the default in its comment.
type Config struct {
	Header http.Header // sent with every request, credentials for example; none
	Prefix string      // of poe's own pages; "/poe/"
	Param  string      // the query parameter that carries the token; "poe"

	Attempt  time.Duration // for one exchange; 60 s
	Shortest time.Duration // first pause before a repeat, without jitter; 500 ms
	Longest  time.Duration // longest pause that the back-off comes to, without jitter; 15 s
	MaxBody  int64         // of an answer, in bytes; above: ErrTooLarge; 64 MiB

	Transport http.RoundTripper // a new connection for each request; proxies as the environment says
	Notice    func(Notice)      // is told before each repeat; nobody is
}

// Client talks to servers that are guarded by poe. It is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a Client. It keeps a reference to the maps in cfg.
func New(cfg Config) *Client {
	setDefault(&cfg.Prefix, "/poe/")
	setDefault(&cfg.Param, "poe")
	setDefault(&cfg.Attempt, time.Minute)
	setDefault(&cfg.Shortest, 500*time.Millisecond)
	setDefault(&cfg.Longest, 15*time.Second)
	setDefault(&cfg.MaxBody, 64<<20)
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	return &Client{cfg: cfg}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// newTransport keeps no connection: one that the server closes while a request is on its way is what makes
// http.Transport repeat requests by itself, and here nobody repeats but Post.
func newTransport() http.RoundTripper {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return connecting{&http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err //nolint:wrapcheck // as it came
			}
			return &listening{Conn: conn}, nil
		},
		DisableKeepAlives:  true,
		DisableCompression: true, // what is printed is what was sent
		Protocols:          http1,
		TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS12},
	}}
}

// A listening connection is read on where it can no longer be written to: a server that refuses a body before it has it all may answer and hang up, and
// http.Transport then tells of the write that failed, and not the answer. Where there is none, the read says why the connection was lost.
type listening struct {
	net.Conn

	mu   sync.Mutex // held while something is written
	lost error      // why the server does not take any more; nil: it does
}

// Write implements net.Conn.
func (l *listening) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return len(b), nil
	}
	n, err := l.Conn.Write(b)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		l.lost = err
		return len(b), nil
	}
	return n, err //nolint:wrapcheck // as it came
}

// Read implements net.Conn. A failure is told once, and if the write was told of it the read meets an end, as of an answer that ends with its connection: it is none
// (RFC 9112, section 8). EPIPE is what the write is told where the end came first.
func (l *listening) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		l.mu.Lock() // what is being written may be told just now
		defer l.mu.Unlock()
		if l.lost != nil && !errors.Is(l.lost, syscall.EPIPE) {
			err = l.lost
		}
	}
	return n, err //nolint:wrapcheck // as it came
}

// A connecting transport says that there was no connection where that took all the time, which http.Transport does not say then.
type connecting struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (c connecting) RoundTrip(r *http.Request) (*http.Response, error) {
	var got atomic.Bool
	res, err := c.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	})))
	if err != nil && !got.Load() && !isDial(err) {
		err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return res, err //nolint:wrapcheck // as it came
}

// Body is what is POSTed.
type Body struct {
	Type string // Content-Type; none if empty
	Data []byte
}

// ErrTooLarge says that an answer has more than Config.MaxBody.
var ErrTooLarge = errors.New("the answer is too large")

// request is one exchange to make.
type request struct {
	method string
	url    *url.URL
	body   *Body
	accept string
}

// do makes one exchange and reads its answer whole. An error means that no complete answer came.
func (c *Client) do(ctx context.Context, r request) (Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Attempt, errSlow)
	defer cancel()
	req := (&http.Request{Method: r.method, URL: r.url, Host: r.url.Host, Header: c.header(r)}).WithContext(ctx)
	if host := c.cfg.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if r.body != nil && len(r.body.Data) == 0 {
		req.Body = http.NoBody
	} else if r.body != nil {
		// Without GetBody nothing below us can send the body again.
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.body.Data)), int64(len(r.body.Data))
	}
	if user := r.url.User; user != nil && req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	// No http.Client: a redirect is an outcome, followed it would be a request that nobody asked for, and one whose Location cannot be
	// read would be no answer.
	res, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		return Answer{}, cause(ctx, err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols { // nobody asked for it, and no context ends what follows
		_ = res.Body.Close()
		return newAnswer(res, nil), nil
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, c.cfg.MaxBody+1))
	err = errors.Join(err, res.Body.Close())
	if err != nil {
		return Answer{}, cause(ctx, err)
	}
	if int64(len(data)) > c.cfg.MaxBody {
		return Answer{}, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.cfg.MaxBody)
	}
	return newAnswer(res, data), nil
}

// errSlow is why an exchange was given up.
var errSlow = errors.New("no answer in time")

// cause says it when it was our own limit that ended an exchange, and still how far that had come.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return fmt.Errorf("%w: %w", why, err)
	}
	return err
}

// header returns the fields of a request.
func (c *Client) header(r request) http.Header {
	h := c.cfg.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Del("Host")
	h.Del("Expect") // the body is sent in any case, and must be looked at: what is refused before that is not compared with what was executed
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "poe")
	}
	if r.accept != "" {
		h.Set("Accept", r.accept)
	}
	if r.body != nil {
		h.Del("Accept-Encoding") // what is between may compress a refusal, which could not be read then
	}
	if r.body == nil {
		h.Del("Content-Type")
	} else if r.body.Type != "" {
		h.Set("Content-Type", r.body.Type)
	}
	return h
}

// accept returns the Accept of a request whose refusals must be understood: poe's are pages for whoever would rather have those, and a page does not
// say whether the body was the one that was executed. "": what there is without the field.
func (c *Client) accept() string {
	theirs := c.cfg.Header.Values("Accept")
	if len(theirs) == 0 {
		return ""
	}
	return "application/problem+json, " + strings.Join(theirs, ", ")
}

// parse reads an absolute http URL and drops its fragment.
func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case errors.As(err, new(url.EscapeError)):
		return nil, &URLError{Why: "has a percent sign that encodes nothing: such a one is written %25", Given: true}
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, &URLError{Why: "is not a URL that begins with http:// or https://", Given: true}
	case !validPort(u.Port()):
		return nil, &URLError{Why: "has no port from 1 to 65535", Given: true}
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// validPort tells whether a port can be dialled; "" is the scheme's.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// URLError says why an address cannot be used. It does not repeat it, since it may hold a token.
type URLError struct {
	Why   string
	Given bool // it is the caller's own, and not one that the server gave

	hint string
}

// Error says what is wrong.
func (e *URLError) Error() string { return "the address " + e.Why }

// Hint says what to look at; "": nothing.
func (e *URLError) Hint() string { return e.hint }

// Guarded tells whether a URL carries a POE token, so that nothing needs to be minted for it.
func (c *Client) Guarded(text string) bool {
	u, err := parse(text)
	return err == nil && c.hasToken(u)
}

func (c *Client) hasToken(u *url.URL) bool {
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if name, value, _ := strings.Cut(part, "="); name == c.cfg.Param && value != "" {
			return true
		}
	}
	return false
}
