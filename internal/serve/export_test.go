package serve

import (
	"net"
	"net/http"
	"sync/atomic"
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

// asked is a connection that notes whether it is to end.
type asked struct {
	net.Conn
	ended *atomic.Bool
}

// SetReadDeadline notes that nothing more may be read.
func (a *asked) SetReadDeadline(time.Time) error {
	a.ended.Store(true)
	return nil
}

// Connected are the connections of a bounded listener that is full.
type Connected struct {
	Conns   []net.Conn
	Ended   []*atomic.Bool
	Follow  func(net.Conn, http.ConnState)
	GiveWay func() bool
}

// Waiting returns n connections of a bounded listener that takes no more.
func Waiting(n int, clock func() time.Time) *Connected {
	l := &askedListener{}
	b := bound(l, n, &Options{Log: zerolog.Nop(), Clock: clock})
	c := &Connected{Follow: b.follow, GiveWay: b.giveWay}
	for range n {
		one, _ := b.Accept() // it has no error
		c.Conns = append(c.Conns, one)
	}
	c.Ended = l.ended
	return c
}

type askedListener struct {
	net.Listener
	ended []*atomic.Bool
}

func (l *askedListener) Accept() (net.Conn, error) {
	here, there := net.Pipe()
	_ = there.Close()
	l.ended = append(l.ended, new(atomic.Bool))
	return &asked{Conn: here, ended: l.ended[len(l.ended)-1]}, nil
}
