package serve

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/gateway"
)

// unlimitedFiles is taken for no limit.
const unlimitedFiles = 1 << 20

// usualConnections is how many clients may be connected where nobody says so. An idle connection takes some 20 KiB: 40 MiB of them fit, with all else, into what a
// container is to be given (docs/operations.md, "Processors and memory").
const usualConnections = 2048

// ledgerFiles is what is left for the ledger, of what the process may have open: Pebble keeps up to 1000 tables open, and a backup, callbacks and operators need some.
const ledgerFiles = 2048

// adminConnections is how many may ask for health, or give orders, at one time.
const adminConnections = 64

// A share is what may be open at one time for whom. Clients must not be able to use up what the ledger needs to go on.
type share struct {
	clients   int // connections of clients, of which each may have become a websocket, with a connection to the application
	passing   int // connections to the application, for what passes through: the usual number where clients are fewer, since one of HTTP/2 has many requests
	executing int // connections to the application, for executions
	bodies    int // files of bodies on their way, and of stored answers that are repeated; each of the former may have one in the ledger beside it
}

// shareOut shares out files. Wanted is how many clients may be connected; 0: the usual number, or as many as there are files for.
func shareOut(files, wanted int) share {
	each := max(1, (files-min(files/2, ledgerFiles))/6)
	if wanted == 0 {
		wanted = usualConnections
	}
	return share{clients: min(wanted, each), passing: min(max(wanted, usualConnections), each), executing: min(gateway.DefaultMaxConns, each), bodies: each}
}

// A bounded listener has no more connections than slots. Who comes then takes the place of the one that has been idle for longest; where none is idle it waits, as do
// those behind it in the system's queue, and is told nothing that is not so.
type bounded struct {
	net.Listener
	slots chan struct{}
	log   zerolog.Logger
	clock func() time.Time
	began time.Time

	mu    sync.Mutex
	open  map[*connection]struct{}
	going *connection // was the last to give way
	asked int64       // when

	said   time.Time     // when somebody was told last that there is no slot; of Accept alone
	closed chan struct{} // by Close
	once   sync.Once
}

func bound(l net.Listener, most int, opt *Options) *bounded {
	return &bounded{
		Listener: l, slots: make(chan struct{}, most), log: opt.Log, clock: opt.Clock, began: opt.Clock(), open: map[*connection]struct{}{}, closed: make(chan struct{}),
	}
}

// Accept implements net.Listener. One goroutine at a time calls it, as http.Server does.
func (b *bounded) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // as it came
	}
	if !b.enter() {
		_ = c.Close() // nothing was read from it
		return nil, net.ErrClosed
	}
	one := &connection{Conn: c}
	one.leave = sync.OnceFunc(func() {
		<-b.slots // first: who is not among the open ones any more has left its place, as giveWay has it
		b.mu.Lock()
		delete(b.open, one)
		b.mu.Unlock()
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[one] = struct{}{}
	return one, nil
}

// How long a connection must have been idle to give way, since clients that are between two requests would only come back; and how often that is looked at.
const (
	idleEnough   = time.Second
	giveWayEvery = 250 * time.Millisecond
)

// enter waits for a slot, and has idle connections give theirs up. It tells whether there is one: there is none any more after Close.
func (b *bounded) enter() bool {
	select {
	case b.slots <- struct{}{}:
		return true
	default:
	}
	tick := time.NewTicker(giveWayEvery)
	defer tick.Stop()
	for {
		if !b.giveWay() {
			b.sayFull()
		}
		select {
		case b.slots <- struct{}{}:
			return true
		case <-b.closed:
			return false
		case <-tick.C:
		}
	}
}

// giveWay ends the connection that has been idle for longest, unless there is a place meanwhile, and tells whether there is either. Nothing can be read from it any more: a request that has just come is
// answered, and the connection may end after it.
func (b *bounded) giveWay() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	var longest *connection
	now := b.sinceBegin()
	least := now - int64(idleEnough)
	if _, there := b.open[b.going]; there && b.going.idle.Load() > 0 && b.asked > least {
		return true // one is enough, and it is on its way
	}
	if len(b.slots) < cap(b.slots) {
		return true // it has arrived
	}
	for c := range b.open {
		if since := c.idle.Load(); since > 0 && since <= least {
			longest, least = c, since
		}
	}
	if longest == nil {
		return false
	}
	b.going, b.asked = longest, now
	_ = longest.SetReadDeadline(time.Unix(1, 0)) // an error could only mean that it is closed
	return true
}

// sinceBegin is what time it is, in nanoseconds; never 0.
func (b *bounded) sinceBegin() int64 { return max(1, int64(b.clock().Sub(b.began))) }

// follow notes whether a client is waited for, as http.Server tells it.
func (b *bounded) follow(c net.Conn, state http.ConnState) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	one, ok := c.(*connection)
	switch {
	case !ok:
	case state == http.StateIdle:
		one.idle.Store(b.sinceBegin())
	default:
		one.idle.Store(0)
	}
}

// connected is how many clients there are.
func (b *bounded) connected() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

// fullEvery is how often it is logged at most that connections wait.
const fullEvery = time.Minute

func (b *bounded) sayFull() {
	now := b.clock()
	if !b.said.IsZero() && now.Sub(b.said) < fullEvery {
		return
	}
	b.said = now
	b.log.Warn().Str("address", b.Addr().String()).Int("connections", cap(b.slots)).Msg("there are as many connections as may be, and none is idle: others wait until one ends")
}

// Close implements net.Listener. Connections stay.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close() //nolint:wrapcheck // as it came
}

// A connection gives its slot back when it is closed.
type connection struct {
	net.Conn
	leave func()
	idle  atomic.Int64 // since when no request is there, as sinceBegin says it; 0: one is, or nobody has said anything yet
}

// Close implements net.Conn.
func (c *connection) Close() error {
	defer c.leave()
	return c.Conn.Close() //nolint:wrapcheck // as it came
}

// CloseWrite lets net/http say that nothing more comes before it closes a connection whose client may still send.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // as it came
	}
	return nil
}

// ReadFrom lets files be sent by the system.
func (c *connection) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(c.Conn, src) //nolint:wrapcheck // as it came
}
