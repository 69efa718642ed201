package core

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A window is the time that an execution has, as a context: it ends as one with a deadline does, or when it is closed. But its limit can be lifted, since
// an answer that streams may take longer. Most executions are over before anybody waits for their end, so what can tell of it is made for the first who does.
type window struct {
	context.Context //nolint:containedctx // it is one. What it carries; it never ends

	at      time.Time // when it is over, unless it is lifted
	mu      sync.Mutex
	lifted  bool
	closed  bool
	watched atomic.Pointer[watched] // nil: nobody has waited for its end; set under mu
}

// watched is a window that somebody waits for.
type watched struct {
	window *window
	ctx    context.Context //nolint:containedctx // what ends
	cancel context.CancelCauseFunc
	timer  *time.Timer // nil: there is no limit
}

// open begins the time of one that carries what ctx does, which must not end.
func (w *window) open(ctx context.Context, limit time.Duration) {
	w.Context, w.at = ctx, time.Now().Add(limit) //nolint:forbidigo // as timers have it, not the ledger
}

// watch returns what tells of the end.
func (w *window) watch() *watched {
	if a := w.watched.Load(); a != nil {
		return a
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.watched.Load(); a != nil {
		return a
	}
	a := &watched{window: w}
	a.ctx, a.cancel = context.WithCancelCause((*limit)(a))
	if w.closed {
		a.cancel(nil)
	}
	w.watched.Store(a)
	return a
}

// Done implements context.Context.
func (w *window) Done() <-chan struct{} { return w.watch().ctx.Done() }

// Err implements context.Context.
func (w *window) Err() error {
	if w.watched.Load() == nil && !w.over() {
		return nil
	}
	return w.watch().ctx.Err()
}

// over tells whether it has ended, while nobody waits for that.
func (w *window) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed || !w.lifted && !time.Now().Before(w.at) //nolint:forbidigo // as timers have it
}

// Deadline returns when the time is over, as long as it is limited.
func (w *window) Deadline() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lifted {
		return time.Time{}, false
	}
	return w.at, true
}

// Value returns what it carries. By it the context package finds out why a context has ended, and what is to end with it.
func (w *window) Value(key any) any {
	if a := w.watched.Load(); a != nil {
		return a.ctx.Value(key)
	}
	return w.Context.Value(key)
}

// lift takes the limit away.
func (w *window) lift() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lifted = true
	if a := w.watched.Load(); a != nil && a.timer != nil {
		a.timer.Stop()
	}
}

// cancel ends it, for that reason.
func (w *window) cancel(cause error) { w.watch().cancel(cause) }

// close ends it when the execution is over.
func (w *window) close() {
	w.lift()
	w.mu.Lock()
	w.closed = true
	a := w.watched.Load()
	w.mu.Unlock()
	if a != nil {
		a.cancel(nil)
	}
}

// A limit is the parent of what ends, which it ends as a deadline does. Nobody but this one child sees it, and its Done and AfterFunc are called under the window's mu.
type limit watched

// The Done of limits: of all that are still to be over, whose child is told by AfterFunc, and of the others.
var never, already = make(chan struct{}), func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done tells that there is an end to wait for, or that it is past.
func (l *limit) Done() <-chan struct{} {
	if w := l.window; !w.lifted && !time.Now().Before(w.at) { //nolint:forbidigo // as timers have it
		return already
	}
	return never
}

// AfterFunc calls f when the time is over. See context.AfterFunc.
func (l *limit) AfterFunc(f func()) (stop func() bool) {
	if !l.window.lifted {
		l.timer = time.AfterFunc(time.Until(l.window.at), f) //nolint:forbidigo // as timers have it
	}
	return func() bool { return false } // lift stops it
}

// Err is why the child has ended, which alone asks.
func (*limit) Err() error { return context.DeadlineExceeded }

// Deadline is never asked for: the window says it.
func (*limit) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value returns what the window carries.
func (l *limit) Value(key any) any { return l.window.Context.Value(key) }
