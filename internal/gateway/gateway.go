package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// Defaults of a Config.
const (
	DefaultDialTimeout = 5 * time.Second
	DefaultIdleTimeout = 2 * time.Second
	DefaultMaxConns    = 512
)

// Config is what a Gateway is made of. Upstream is required; a zero field has the default in its comment.
type Config struct {
	// Upstream is where the application listens: http or https, and a host. A path, query, fragment or user is refused.
	Upstream *url.URL
	// DialTimeout limits connecting, TLS handshake included; 5 s, and in Execute half of what is left of its time. All else is limited by the context of a request.
	DialTimeout time.Duration
	// IdleTimeout is how long a connection may lie idle and still be used again; 2 s. It should be shorter than the upstream's.
	IdleTimeout time.Duration
	// MaxConns limits the connections of Execute; who finds none free waits for one, ten seconds at most, or half the time of the execution: replay.ErrBusy. 512.
	MaxConns int
	// MaxPassing limits the connections of Proxy; who finds none free waits for one, ten seconds at most: replay.ErrBusy. Those that have become websockets do not count. As many as there are requests.
	MaxPassing int
	// MaxIdle limits the idle connections, of Execute and of Proxy each; MaxConns. Negative: none.
	MaxIdle int
	// Trusted are the addresses of proxies in front whose X-Forwarded-For, -Host and -Proto are believed; nobody. What others say is dropped.
	Trusted []netip.Prefix
	// TLS is cloned and used where Upstream is https; the system's roots, TLS 1.2 and up. ALPN is always http/1.1.
	TLS *tls.Config
	// Dial opens a connection; net.Dialer. One whose connections are no syscall.Conn gets no reuse in Execute.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Clock tells how long a connection was idle; time.Now.
	Clock func() time.Time
	// Error answers a request that Proxy could not pass on; a plain 502 or 504. See [Status].
	Error func(w http.ResponseWriter, r *http.Request, err error)
	// ErrorLog takes what net/http reports of Proxy; nil drops it.
	ErrorLog *log.Logger
}

// A Gateway sends requests to one upstream. It is safe for concurrent use.
type Gateway struct {
	cfg     Config
	host    string      // for Host, where a request has none
	address string      // to dial, host:port
	tls     *tls.Config // nil: plain TCP
	pool    pool
	proxy   http.Handler
	asker   http.Handler
	drop    func() // closes what the proxy has idle

	messages sync.Pool // of *message, with room: requests being written
	copies   sync.Pool // of *[copySize]byte: answers being read, both ways
}

// New makes a Gateway. It does no I/O and starts nothing; its error names every mistake in cfg.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.fill()
	g := &Gateway{cfg: cfg, host: cfg.Upstream.Host, address: address(cfg.Upstream)}
	if cfg.Upstream.Scheme == "https" {
		g.tls = clientTLS(cfg.TLS, cfg.Upstream.Hostname())
	}
	g.messages.New = func() any { return new(message) }
	g.copies.New = func() any { return new([copySize]byte) }
	g.pool = pool{
		slots:       make(slots, cfg.MaxConns),
		maxIdle:     cfg.MaxIdle,
		idleTimeout: cfg.IdleTimeout,
		clock:       cfg.Clock,
	}
	g.newProxies()
	return g, nil
}

// Close closes the idle connections; from now on none is kept. What is being executed goes on, and new requests still work.
func (g *Gateway) Close() {
	g.pool.close()
	g.drop()
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Upstream == nil {
		bad("upstream: missing")
	} else {
		u := c.Upstream
		if u.Scheme != "http" && u.Scheme != "https" {
			bad("upstream %q: the scheme must be http or https", u.Redacted())
		}
		if u.Hostname() == "" {
			bad("upstream %q: the host is missing", u.Redacted())
		}
		if u.User != nil {
			bad("upstream %q: must not name a user", u.Redacted())
		}
		if (u.Path != "" && u.Path != "/") || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
			bad("upstream %q: must be scheme and host only, since targets are passed on octet for octet", u.Redacted())
		}
	}
	if c.DialTimeout < 0 {
		bad("dial timeout %s: negative", c.DialTimeout)
	}
	if c.IdleTimeout < 0 {
		bad("idle timeout %s: negative", c.IdleTimeout)
	}
	if c.MaxConns < 0 {
		bad("maximum of %d connections: negative", c.MaxConns)
	}
	if c.MaxPassing < 0 {
		bad("maximum of %d connections that pass through: negative", c.MaxPassing)
	}
	return errors.Join(errs...)
}

func (c *Config) fill() {
	if c.ErrorLog == nil {
		c.ErrorLog = log.New(io.Discard, "", 0)
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = c.MaxConns
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Clock == nil {
		c.Clock = time.Now //nolint:forbidigo // the default of the Config
	}
	if c.Error == nil {
		c.Error = problem
	}
}

// address is what to dial for u.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// clientTLS makes the configuration of the protected hop. HTTP/1.1 is all that Execute speaks.
func clientTLS(base *tls.Config, name string) *tls.Config {
	cfg := base.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if cfg.ServerName == "" {
		cfg.ServerName = name
	}
	cfg.NextProtos = []string{"http/1.1"}
	return cfg
}
