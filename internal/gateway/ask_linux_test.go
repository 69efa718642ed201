package gateway_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// dialing has change see every connection that is made.
func dialing(change func(*net.TCPConn) net.Conn) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return change(conn.(*net.TCPConn)), nil
		}
	}
}

// What cannot be sent on a connection that was idle, though it is silent, is sent on another one.
func TestIdleConnectionThatTakesNothing(t *testing.T) {
	u := listen(t, func(p *peer, _ int) {
		for p.request() != nil {
			p.say(ok)
		}
		p.deaf()
	})
	var first *net.TCPConn
	g := newGateway(t, u.address, dialing(func(c *net.TCPConn) net.Conn {
		if first == nil {
			first = c
		}
		return c
	}))
	for range 2 {
		if got := execute(t, within(t, patience), g, post(t, "body")); got.Proof != replay.Complete || got.Body != "ok" {
			t.Fatal(got.Proof, got.Err)
		}
		if err := first.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	}
	if n := u.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// Who refuses a request while it is being written says why, on a connection that was idle, too.
func TestRefusedWhileItIsWritten(t *testing.T) {
	little := &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
		return errors.Join(err, failed)
	}}
	u := listenBy(t, little, func(p *peer, _ int) {
		if p.request() == nil {
			return
		}
		p.say(ok)
		if p.head() {
			p.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			p.reset()
		}
	})
	g := newGateway(t, u.address, dialing(func(c *net.TCPConn) net.Conn {
		if err := c.SetWriteBuffer(4 << 10); err != nil {
			t.Error(err)
		}
		return c
	}))
	for i, want := range []string{"ok", "no"} {
		got := execute(t, within(t, patience), g, post(t, strings.Repeat("x", i*60<<10))) // which the peer reads a part of
		if got.Proof != replay.Complete || got.Body != want {
			t.Errorf("proof %v, %v, answer %q, want %q", got.Proof, got.Err, got.Body, want)
		}
	}
	if n := u.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Whoever speaks before it is asked is taken at its word, on a connection that is new.
func TestAnswerBeforeTheRequest(t *testing.T) {
	u := listen(t, func(p *peer, _ int) {
		p.say(ok)
		p.request()
	})
	g := newGateway(t, u.address, dialing(func(c *net.TCPConn) net.Conn {
		readable(t, c)
		return c
	}))
	if got := execute(t, within(t, patience), g, post(t, "body")); got.Proof != replay.Complete || got.Body != "ok" {
		t.Error(got.Proof, got.Err)
	}
}

// A heard connection reads in a way of its own.
type heard struct {
	*net.TCPConn
	reads *atomic.Int64
}

func (h heard) Read(p []byte) (int, error) {
	h.reads.Add(1)
	return h.TCPConn.Read(p)
}

// A connection that has its own way to read is read in that way, also when it is used again.
func TestConnectionWithItsOwnRead(t *testing.T) {
	u := listen(t, always(ok))
	var reads atomic.Int64
	g := newGateway(t, u.address, dialing(func(c *net.TCPConn) net.Conn { return heard{c, &reads} }))
	for range 3 {
		if got := execute(t, within(t, patience), g, post(t, "body")); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	if n := reads.Load(); n < 3 || u.conns.Load() != 1 {
		t.Errorf("%d answers were read by it, on %d connections", n, u.conns.Load())
	}
}
