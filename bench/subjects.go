package main

import (
	"net/http"
	"slices"

	"github.com/postonce/poe/bench/internal/report"
	"github.com/postonce/poe/bench/internal/roles"
)

// The names of the rows, where others refer to them.
const (
	bare             = "bare application"
	reverseProxy     = "httputil.ReverseProxy"
	caddy            = "Caddy"
	nginx            = "nginx"
	gatewayFirst     = "poe gateway: first POST"
	embeddedFirst    = "poe embedded: first POST"
	embedded405      = "poe embedded: 405"
	embeddedHot      = "poe embedded: hot outcome"
	embeddedMint     = "poe embedded: minting"
	embeddedMany     = "poe embedded: minting, a URI of 1000"
	fiberRedis       = "Fiber's middleware, Redis synced"
	restateKeyed     = "Restate: keyed POST"
	restateFew       = "Restate, 4 partitions: keyed POST"
	keyField         = "Idempotency-Key"
	mintedAtOnce     = 1000
	mintOne          = "/poe/new?for=/orders"
	mintMany         = "/poe/new?for=/orders&count=1000"
	orderBody        = roles.OrderBody
	usedTogether     = 256 // URIs that 405s and hot outcomes are spread over
	plainTargets     = 8192
	goalConnections  = 64 // that the goals are for
	pacedConnections = 64
)

// kind is how a round is prepared, and what it sends.
type kind int

const (
	plain        kind = iota // POST, to targets as long as a POE URI
	first                    // POST, to a URI of its own each
	conversation             // GET a URI, POST to it
	keyed                    // POST, with a key of its own each
	refused                  // POST, to URIs that were used
	hot                      // GET, on a few URIs that were used
	cold                     // GET, on many URIs that were used, once each, after a restart
	minting                  // GET a new URI
	mintingMany              // GET a thousand of them
	asked                    // GET, to targets as long as a POE URI
)

// A subject is one row of the tables: a server and what is sent to it.
type subject struct {
	name    string
	base    string // the row whose figures are 1
	server  string
	kind    kind
	path    string // of keyed; "": /orders
	want    int    // the status of each answer
	stores  bool   // disk is counted
	proxied bool   // has a paced run
	line    bool   // is in the plot
	aside   bool   // is measured only where it is asked for
}

// subjects are all rows, in their order.
func subjects() []subject {
	return []subject{
		{name: bare, server: "bare", want: http.StatusCreated, line: true},
		{name: reverseProxy, base: reverseProxy, server: "proxy", want: http.StatusCreated, proxied: true, line: true},
		{name: caddy, base: reverseProxy, server: "caddy", want: http.StatusCreated, proxied: true, line: true},
		{name: nginx, base: reverseProxy, server: "nginx", want: http.StatusCreated, proxied: true, line: true},
		{name: gatewayFirst, base: reverseProxy, server: "gateway", kind: first, want: http.StatusCreated, stores: true, proxied: true, line: true},
		{name: "poe gateway: GET, then POST", base: reverseProxy, server: "gateway-conversation", kind: conversation, want: http.StatusCreated, stores: true},
		{name: "poe gateway: keyed POST", base: reverseProxy, server: "gateway-keyed", kind: keyed, want: http.StatusCreated, stores: true, line: true},
		{name: "poe gateway: 405", base: reverseProxy, server: "gateway-used", kind: refused, want: http.StatusMethodNotAllowed},
		{name: "poe gateway: hot outcome", base: reverseProxy, server: "gateway-used", kind: hot, want: http.StatusOK},
		{name: "poe gateway: cold outcome", base: reverseProxy, server: "gateway-cold", kind: cold, want: http.StatusOK},
		{name: "poe gateway: minting", base: reverseProxy, server: "gateway-used", kind: minting, want: http.StatusOK},
		{name: "poe gateway: minting, a URI of 1000", base: reverseProxy, server: "gateway-used", kind: mintingMany, want: http.StatusOK},
		{name: embeddedFirst, base: bare, server: "embedded", kind: first, want: http.StatusCreated, stores: true, line: true},
		{name: "poe embedded, served by net/http: first POST", base: bare, server: "embedded-net-http", kind: first, want: http.StatusCreated, stores: true},
		{name: embedded405, base: bare, server: "embedded-used", kind: refused, want: http.StatusMethodNotAllowed},
		{name: embeddedHot, base: bare, server: "embedded-used", kind: hot, want: http.StatusOK},
		{name: "poe embedded, served by net/http: hot outcome", base: bare, server: "embedded-net-http-used", kind: hot, want: http.StatusOK},
		{name: embeddedMint, base: bare, server: "embedded-used", kind: minting, want: http.StatusOK},
		{name: embeddedMany, base: bare, server: "embedded-used", kind: mintingMany, want: http.StatusOK},
		{name: "bare application, served by poe.NewServer", base: bare, server: "bare-poe-server", want: http.StatusCreated, aside: true},
		{name: "floor embedded: a log", base: bare, server: "floor-log", want: http.StatusCreated, aside: true},
		{name: "floor embedded: poe's ledger", base: bare, server: "floor-ledger", want: http.StatusCreated, aside: true},
		{name: "floor embedded: an outcome", base: bare, server: "floor-answer", kind: asked, want: http.StatusOK, aside: true},
		{name: "floor gateway: a log", base: reverseProxy, server: "floor-log-gateway", want: http.StatusCreated, aside: true},
		{name: "floor gateway: poe's ledger and hop", base: reverseProxy, server: "floor-ledger-gateway", want: http.StatusCreated, aside: true},
		{name: "Fiber's middleware, in memory", base: bare, server: "fiber-memory", kind: keyed, want: http.StatusCreated},
		{name: fiberRedis, base: bare, server: "fiber-redis", kind: keyed, want: http.StatusCreated, stores: true, line: true},
		{name: "table in PostgreSQL", base: bare, server: "table", kind: keyed, want: http.StatusCreated, stores: true, line: true},
		{name: restateKeyed, base: bare, server: "restate", kind: keyed, path: "/Orders/Create", want: http.StatusOK, stores: true, line: true},
		{name: restateFew, base: bare, server: "restate-few", kind: keyed, path: "/Orders/Create", want: http.StatusOK, stores: true},
	}
}

// chosen are the rows that are asked for.
func (p *plan) chosen() []subject {
	return slices.DeleteFunc(subjects(), func(s subject) bool { return !p.only.MatchString(s.name) || s.aside && p.only.String() == "" })
}

// goals are what is to be reached.
func goals() []report.Goal {
	return []report.Goal{
		{What: "gateway, first POST, against Caddy: requests a second", Row: gatewayFirst, Base: caddy, AtLeast: 1.25, Best: 1.5},
		{What: "the same: CPU time a request", Row: gatewayFirst, Base: caddy, CPU: true, AtLeast: 0.7, Best: 0.5},
		{What: "the same against `httputil.ReverseProxy`: requests a second", Row: gatewayFirst, Base: reverseProxy, AtLeast: 1.1, Best: 1.5},
		{What: "the same against Restate's idempotent POST", Row: gatewayFirst, Base: restateKeyed, AtLeast: 8, Best: 10},
		{What: "the same against Restate with as few partitions as suit two cores", Row: gatewayFirst, Base: restateFew, AtLeast: 8, Best: 10},
		{What: "embedded, first POST, against the bare handler", Row: embeddedFirst, Base: bare, AtLeast: 0.42, Best: 0.5},
		{What: "embedded against Fiber's middleware on synced Redis", Row: embeddedFirst, Base: fiberRedis, AtLeast: 1.3, Best: 1.6},
		{What: "embedded, 405 on a used URI, against the bare handler's POST", Row: embedded405, Base: bare, AtLeast: 0.7, Best: 0.85},
		{What: "embedded, hot outcome, against the bare handler", Row: embeddedHot, Base: bare, AtLeast: 0.9, Best: 1},
		{What: "embedded, minting over HTTP, against the bare handler", Row: embeddedMint, Base: bare, AtLeast: 0.55, Best: 0.75},
		{What: "the same for a URI of a thousand at once", Row: embeddedMany, Base: bare, AtLeast: 5, Best: 8},
	}
}
