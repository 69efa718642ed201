package serve

import (
	"io"
	"net"
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
	clients   int // connections of clients; as many exchanges that pass through have a connection to the application, and so have websockets, one for each client's
	executing int // connections to the application, for executions
	bodies    int // files of bodies on their way, and of stored answers that are repeated; each of the former may have one in the ledger beside it
}

// shareOut shares out files. Wanted is how many clients may be connected; 0: the usual number, or as many as there are files for.
func shareOut(files, wanted int) share {
	each := max(1, (files-min(files/2, ledgerFiles))/6)
	if wanted == 0 {
		wanted = usualConnections
	}
	return share{clients: min(wanted, each), executing: min(gateway.DefaultMaxConns, each), bodies: each}
}

// A bounded listener accepts no more connections than it has slots; who comes then waits in the system's queue, and is told nothing that is not so.
type bounded struct {
	net.Listener
	slots chan struct{}
	open  atomic.Int64
	log   zerolog.Logger
	clock func() time.Time

	said   time.Time     // when somebody was told last that there is no slot; of Accept alone
	closed chan struct{} // by Close
	once   sync.Once
}

func bound(l net.Listener, most int, opt *Options) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, most), log: opt.Log, clock: opt.Clock, closed: make(chan struct{})}
}

// Accept implements net.Listener. One goroutine at a time calls it, as http.Server does.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	default:
		b.sayFull()
		select {
		case b.slots <- struct{}{}:
		case <-b.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err //nolint:wrapcheck // as it came
	}
	b.open.Add(1)
	return &connection{Conn: c, leave: sync.OnceFunc(func() { b.open.Add(-1); <-b.slots })}, nil
}

// fullEvery is how often it is logged at most that connections wait.
const fullEvery = time.Minute

func (b *bounded) sayFull() {
	now := b.clock()
	if !b.said.IsZero() && now.Sub(b.said) < fullEvery {
		return
	}
	b.said = now
	b.log.Warn().Str("address", b.Addr().String()).Int("connections", cap(b.slots)).Msg("there are as many connections as may be: others wait until one ends")
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
