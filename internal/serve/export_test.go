package serve

import (
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/gateway"
	core "github.com/postonce/poe/internal/poe"
)

// ShareOut is how many clients, executions and bodies in files there may be at one time.
func ShareOut(files, wanted int) (clients, executing, bodies int) {
	s := shareOut(files, wanted)
	return s.clients, s.executing, s.bodies
}

// Public is the server that clients are answered by, with h in the place of the gateway.
func Public(h http.Handler) *http.Server {
	s := &server{opt: Options{Log: zerolog.Nop(), Clock: time.Now}}
	return s.public(h)
}

// Front is the server that clients are answered by, of a gate with an application behind hop.
func Front(gate *core.Gate, hop *gateway.Gateway) *http.Server {
	s := &server{opt: Options{Log: zerolog.Nop(), Clock: time.Now}, gate: gate, hop: hop}
	return s.public(s.handler())
}

// Health is what answers /healthz and /readyz.
func Health(gate checked) http.Handler { return health(gate) }

// Patient is what the gateway passes requests on with.
func Patient(next http.Handler) http.Handler { return patient(next) }

// Follower is what hears of every state of every connection of a bounded listener, and a connection of that.
func Follower(l net.Listener, clock func() time.Time) (net.Listener, func(net.Conn, http.ConnState)) {
	b := bound(l, 8, &Options{Log: zerolog.Nop(), Clock: clock})
	return b, b.follow
}
