package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// certificate returns what a server for 127.0.0.1 needs, and what a client needs to trust it.
func certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func https(client *tls.Config) func(*gateway.Config) {
	return func(c *gateway.Config) {
		u := *c.Upstream
		u.Scheme = "https"
		c.Upstream, c.TLS = &u, client
	}
}

// overTLS plays a script over TLS. Its peer's Conn is a *tls.Conn on a *corked.
func overTLS(cfg *tls.Config, play script) script {
	return func(p *peer, nth int) {
		c := tls.Server(&corked{Conn: p.Conn}, cfg)
		if c.Handshake() == nil {
			play(newPeer(c, p.upstream), nth)
		}
	}
}

// corked can hold what is written, so that several records leave together, or not whole.
type corked struct {
	net.Conn
	holding bool
	held    []byte
	last    int // where the last write begins
}

func (c *corked) Write(p []byte) (int, error) {
	if !c.holding {
		return c.Conn.Write(p)
	}
	c.last = len(c.held)
	c.held = append(c.held, p...)
	return len(p), nil
}

// release sends what is held but for the last bytes; a negative number says how many of the last write to send.
func (c *corked) release(back int) {
	n := len(c.held) - back
	if back < 0 {
		n = c.last - back
	}
	_, _ = c.Conn.Write(c.held[:n]) // the gateway may have hung up
	c.held, c.holding = nil, false
}

// Where the end of the connection ends the body, only an orderly end makes it whole (RFC 9112 section 9.8).
func TestEndUnderTLS(t *testing.T) {
	tests := []struct {
		name  string
		say   string
		close func(c *tls.Conn)
		proof replay.Proof
	}{
		{"closed in order", "HTTP/1.1 200 OK\r\n\r\nall", func(c *tls.Conn) { _ = c.Close() }, replay.Complete},
		{"cut off between two records", "HTTP/1.1 200 OK\r\n\r\nhalf", func(c *tls.Conn) { _ = c.NetConn().Close() }, replay.Broken},
		{"cut off, but the length is known", ok, func(c *tls.Conn) { _ = c.NetConn().Close() }, replay.Complete},
		{"closed in order, but too early", strings.TrimSuffix(ok, "k"), func(c *tls.Conn) { _ = c.Close() }, replay.Broken},
		{"cut off without an answer", "", func(c *tls.Conn) { _ = c.NetConn().Close() }, replay.Broken},
	}
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tt := range tests {
			t.Run(tls.VersionName(max)+" "+tt.name, func(t *testing.T) {
				server, client := certificate(t)
				server.MaxVersion = max
				u := listen(t, overTLS(server, once(func(p *peer) {
					p.say(tt.say)
					tt.close(p.Conn.(*tls.Conn))
				})))
				res := execute(t, within(t, patience), newGateway(t, u.address, https(client)), post(t, "x"))
				if res.Proof != tt.proof {
					t.Errorf("proof %v (%v), want %v", res.Proof, res.Err, tt.proof)
				}
			})
		}
	}
}

func TestUntrustedUpstream(t *testing.T) {
	server, _ := certificate(t)
	u := listen(t, overTLS(server, always(ok)))
	res := execute(t, within(t, patience), newGateway(t, u.address, https(nil)), post(t, "x"))
	if res.Proof != replay.Unsent || res.Err == nil {
		t.Errorf("proof %v, error %v", res.Proof, res.Err)
	}
	if n := u.requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// The hop asks for HTTP/1.1 and nothing else, whatever the configuration says.
func TestProtocolUnderTLS(t *testing.T) {
	server, client := certificate(t)
	server.NextProtos = []string{"h2", "http/1.1"}
	client.NextProtos = []string{"h2"}
	spoken := make(chan string, 1)
	u := listen(t, overTLS(server, func(p *peer, nth int) {
		spoken <- p.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol
		always(ok)(p, nth)
	}))
	res := execute(t, within(t, patience), newGateway(t, u.address, https(client)), post(t, strings.Repeat("x", 1<<20)))
	if res.Proof != replay.Complete {
		t.Errorf("proof %v: %v", res.Proof, res.Err)
	}
	if got := wait(t, spoken); got != "http/1.1" {
		t.Errorf("spoke %q", got)
	}
	if len(client.NextProtos) != 1 || client.NextProtos[0] != "h2" || client.ServerName != "" {
		t.Errorf("the configuration was changed: %q, %q", client.NextProtos, client.ServerName)
	}
}

// What the configuration demands of the upstream is demanded, by either way.
func TestDemandsUnderTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		demand func(c *tls.Config)
		want   replay.Proof
	}{
		"nothing more":           {func(*tls.Config) {}, replay.Complete},
		"no version at all":      {func(c *tls.Config) { c.MinVersion = 0 }, replay.Complete},
		"the name that it has":   {func(c *tls.Config) { c.ServerName = "example.com" }, replay.Complete},
		"another name":           {func(c *tls.Config) { c.ServerName = "other.example" }, replay.Unsent},
		"a newer version of TLS": {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, replay.Unsent},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := certificate(t)
			server.MaxVersion = tls.VersionTLS12
			tt.demand(client)
			u := listen(t, overTLS(server, always(ok)))
			g := newGateway(t, u.address, https(client))
			if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != tt.want {
				t.Errorf("proof %v (%v), want %v", res.Proof, res.Err, tt.want)
			}
			w := httptest.NewRecorder()
			g.Proxy().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			if passed := w.Code == http.StatusOK; passed != (tt.want == replay.Complete) {
				t.Errorf("what passes gets %d", w.Code)
			}
		})
	}
}

// A request that an upstream refuses early is answered under TLS as well.
func TestEarlyAnswerUnderTLS(t *testing.T) {
	server, client := certificate(t)
	u := listen(t, overTLS(server, func(p *peer, _ int) {
		p.head()
		p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
		p.deaf()
	}))
	g := newGateway(t, u.address, https(client))
	res := execute(t, within(t, patience), g, post(t, strings.Repeat("x", 20<<20)))
	if res.Proof != replay.Complete || res.Answer.Status != 413 || res.Body != "no" {
		t.Errorf("proof %v, error %v, body %q", res.Proof, res.Err, res.Body)
	}
}
