package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postonce/poe/internal/replay"
)

// freeWithin is how long anything waits for a connection, where all are taken.
const freeWithin = 10 * time.Second

// slots are for who may use a connection at one time. nil: everybody.
type slots chan struct{}

// reserve takes a slot, waiting for one no longer than freeWithin, and half the time of ctx. Its error wraps replay.ErrBusy.
func (s slots) reserve(ctx context.Context) error {
	if s == nil {
		return nil
	}
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	within := sparing(ctx, freeWithin)
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case s <- struct{}{}:
		return nil
	case <-limit.C:
		return fmt.Errorf("%w: none of %d connections became free within %s", replay.ErrBusy, cap(s), within)
	case <-ctx.Done():
		return fmt.Errorf("waiting for one of %d connections: %w (%v)", cap(s), replay.ErrBusy, context.Cause(ctx)) //nolint:errorlint // busy is the answer, not the deadline
	}
}

func (s slots) unreserve() {
	if s != nil {
		<-s
	}
}

// A pool bounds the connections and keeps the idle ones. Whoever has a slot may use one connection, idle or new. A
// connection is put back before its slot is, so there are never more connections than slots. It owns no goroutine, but a
// timer while something is idle: an application that serves few connections at a time must not wait for our next request.
type pool struct {
	slots
	maxIdle     int
	idleTimeout time.Duration
	clock       func() time.Time

	mu      sync.Mutex
	idle    []*conn // longest idle first
	closed  bool
	timer   *time.Timer // of tidy; nil: nothing was idle yet
	running bool        // the timer is
}

// reuse returns the connection that was idle for the shortest time, or nil. Whether it is alive is seen when something is sent on it.
func (p *pool) reuse() *conn {
	now := p.clock()
	p.mu.Lock()
	old := p.expired(now)
	var c *conn
	if n := len(p.idle); n > 0 {
		c, p.idle[n-1] = p.idle[n-1], nil
		p.idle = p.idle[:n-1]
	}
	p.mu.Unlock()
	closeAll(old)
	if c != nil {
		c.reused = true
	}
	return c
}

// put keeps c for the next request, if there is room.
func (p *pool) put(c *conn) {
	now := p.clock()
	c.idleSince = now
	p.mu.Lock()
	old := p.expired(now)
	if p.closed || len(p.idle) >= p.maxIdle {
		old = append(old, c)
	} else {
		p.idle = append(p.idle, c)
		p.watch(now)
	}
	p.mu.Unlock()
	closeAll(old)
}

// watch has tidy called when the one that is idle for longest has been so for too long, unless it will be called anyway. p.mu is held.
func (p *pool) watch(now time.Time) {
	if p.running {
		return
	}
	p.running = true
	left := p.idleTimeout - now.Sub(p.idle[0].idleSince)
	if p.timer == nil {
		p.timer = time.AfterFunc(left, p.tidy)
		return
	}
	p.timer.Reset(left)
}

// tidy closes what is idle for too long.
func (p *pool) tidy() {
	now := p.clock()
	p.mu.Lock()
	old := p.expired(now)
	p.running = false
	if len(p.idle) > 0 {
		p.watch(now)
	}
	p.mu.Unlock()
	closeAll(old)
}

// expired takes out what is idle for too long. p.mu is held.
func (p *pool) expired(now time.Time) []*conn {
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= p.idleTimeout {
		n++
	}
	if n == 0 {
		return nil
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	return old
}

func (p *pool) close() {
	p.mu.Lock()
	old := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	closeAll(old)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
