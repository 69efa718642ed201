package h1

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A requestContext ends when its request is answered, or the client goes. Nobody looks for the latter before somebody asks for it.
type requestContext struct {
	context.Context // of the connection

	conn *conn
	over atomic.Bool

	mu    sync.Mutex
	asked atomic.Pointer[asked] // nil: nobody has
}

type asked struct {
	ctx    context.Context
	cancel context.CancelFunc
	watch  *watcher // nil: the request was answered before
}

// Done implements context.Context.
func (x *requestContext) Done() <-chan struct{} {
	if a := x.asked.Load(); a != nil {
		return a.ctx.Done()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.asked.Load()
	if a == nil {
		a = new(asked)
		a.ctx, a.cancel = context.WithCancel(x.Context)
		if x.over.Load() {
			a.cancel()
		} else {
			a.watch = x.conn.watch(a.cancel)
		}
		x.asked.Store(a)
	}
	return a.ctx.Done()
}

// Err implements context.Context.
func (x *requestContext) Err() error {
	if a := x.asked.Load(); a != nil {
		return a.ctx.Err() //nolint:wrapcheck // as it came
	}
	if x.over.Load() {
		return context.Canceled
	}
	return x.Context.Err() //nolint:wrapcheck // as it came
}

// Value implements context.Context. Contexts that are made of this one find the one that ends.
func (x *requestContext) Value(key any) any {
	if a := x.asked.Load(); a != nil {
		return a.ctx.Value(key)
	}
	return x.Context.Value(key)
}

// unwatch ends the watch, so that the connection can be read again, and returns what came meanwhile.
func (x *requestContext) unwatch() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.asked.Load()
	if a == nil || a.watch == nil {
		return nil
	}
	w := a.watch
	a.watch = nil
	return w.stop()
}

// end ends the context, and the watch.
func (x *requestContext) end() []byte {
	x.cancel()
	return x.unwatch()
}

// cancel ends the context.
func (x *requestContext) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over.Store(true)
	if a := x.asked.Load(); a != nil {
		a.cancel()
	}
}

// A watcher reads one byte ahead, to see whether the client goes.
type watcher struct {
	conn    net.Conn
	ended   chan struct{}
	stopped atomic.Bool
	one     [1]byte
	came    int
}

// watch calls gone when the client goes, unless the watcher is stopped before.
func (c *conn) watch(gone func()) *watcher {
	c.touched.Store(true)
	_ = c.rwc.SetReadDeadline(time.Time{}) // an error could only mean that it is closed
	w := &watcher{conn: c.rwc, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		var err error
		w.came, err = w.conn.Read(w.one[:])
		if err != nil && (!w.stopped.Load() || !errors.Is(err, os.ErrDeadlineExceeded)) {
			gone()
		}
	}()
	return w
}

// stop returns what came.
func (w *watcher) stop() []byte {
	w.stopped.Store(true)
	_ = w.conn.SetReadDeadline(longAgo) // an error could only mean that it is closed
	<-w.ended
	_ = w.conn.SetReadDeadline(time.Time{})
	return w.one[:w.came]
}
