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
	limit           // unless it is lifted
	limits          *limits

	mu      sync.Mutex
	timed   bool // it is among the limits
	lifted  bool
	closed  bool
	told    func()                  // by AfterFunc; nil: nobody waits for the end in that way
	asked   int                     // how often somebody did
	expired func()                  // ends what is watched when the time is over; nil: nothing is
	watched atomic.Pointer[watched] // nil: nobody has waited for its end as for that of any context; set under mu
}

// watched is a window that somebody waits for, as for any context.
type watched struct {
	window *window
	ctx    context.Context //nolint:containedctx // what ends
	cancel context.CancelCauseFunc
}

// open begins the time of one that carries what ctx does, which must not end.
func (w *window) open(ctx context.Context, l *limits, d time.Duration) {
	w.Context, w.limits = ctx, l
	w.until, w.over = time.Now().Add(d), w //nolint:forbidigo // as timers have it, not the ledger
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
	a.ctx, a.cancel = context.WithCancelCause((*deadline)(a))
	if w.closed {
		a.cancel(nil)
	}
	w.watched.Store(a)
	return a
}

// AfterFunc calls f in a goroutine of its own when the window has ended, as [context.AfterFunc] does; stop tells whether it has kept f from that. It costs
// less for who waits alone and goes by Err after that.
func (w *window) AfterFunc(f func()) (stop func() bool) {
	if asked := w.ask(f); asked > 0 {
		return func() bool { return w.forget(asked) }
	}
	return context.AfterFunc(w.watch().ctx, f)
}

// ask has f be called at the end, and returns what it is called off by. 0: it is not alone, or too late, and must wait as others do.
func (w *window) ask(f func()) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told != nil || w.ended() || w.watched.Load() != nil {
		return 0
	}
	w.told = f
	w.asked++
	w.beTimed()
	return w.asked
}

// forget has nobody be told, unless that has happened, or it is another that waits by now.
func (w *window) forget(asked int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told == nil || w.asked != asked {
		return false
	}
	w.told = nil
	return true
}

// beTimed has it end when its time is over. It is called under mu.
func (w *window) beTimed() {
	if !w.timed && !w.lifted {
		w.timed = true
		w.limits.begin(&w.limit)
	}
}

// Done implements context.Context.
func (w *window) Done() <-chan struct{} { return w.watch().ctx.Done() }

// Err implements context.Context.
func (w *window) Err() error {
	if w.watched.Load() == nil && !w.past() {
		return nil
	}
	return w.watch().ctx.Err()
}

// past tells whether it has ended, while nobody waits for that.
func (w *window) past() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended()
}

// ended tells the same under mu.
func (w *window) ended() bool {
	return w.closed || !w.lifted && !time.Now().Before(w.until) //nolint:forbidigo // as timers have it
}

// Deadline returns when the time is over, as long as it is limited.
func (w *window) Deadline() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lifted {
		return time.Time{}, false
	}
	return w.until, true
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
	w.unlimited()
}

// unlimited does it under mu.
func (w *window) unlimited() {
	w.lifted = true
	if w.timed {
		w.timed = false
		w.limits.end(&w.limit)
	}
}

// expire ends it when its time is over.
func (w *window) expire() {
	w.mu.Lock()
	end, lifted := w.expired, w.lifted // lifted in this moment
	w.mu.Unlock()
	if lifted {
		return
	}
	if end != nil {
		end()
	}
	w.tell()
}

// cancel ends it, for that reason.
func (w *window) cancel(cause error) {
	w.watch().cancel(cause)
	w.tell()
}

// close ends it when the execution is over.
func (w *window) close() {
	w.mu.Lock()
	w.unlimited()
	w.closed = true
	a, waits := w.watched.Load(), w.told != nil
	w.mu.Unlock()
	if a != nil {
		a.cancel(nil)
	}
	if waits {
		w.tell()
	}
}

// tell tells who waits by AfterFunc that it has ended.
func (w *window) tell() {
	w.mu.Lock()
	tell := w.told
	w.told = nil
	w.mu.Unlock()
	if tell != nil {
		go tell()
	}
}

// A deadline is the parent of what ends, which it ends when the time is over. Nobody but this one child sees it, and its Done and AfterFunc are called under the window's mu.
type deadline watched

// The Done of deadlines: of all that are still to be met, whose child is told by AfterFunc, and of the others.
var never, already = make(chan struct{}), func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done tells that there is an end to wait for, or that it is past.
func (d *deadline) Done() <-chan struct{} {
	if w := d.window; !w.lifted && !time.Now().Before(w.until) { //nolint:forbidigo // as timers have it
		return already
	}
	return never
}

// AfterFunc calls f when the time is over. See context.AfterFunc.
func (d *deadline) AfterFunc(f func()) (stop func() bool) {
	d.window.expired = f
	d.window.beTimed()
	return func() bool { return false } // lift stops it
}

// Err is why the child has ended, which alone asks.
func (*deadline) Err() error { return context.DeadlineExceeded }

// Deadline is never asked for: the window says it.
func (*deadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value returns what the window carries.
func (d *deadline) Value(key any) any { return d.window.Context.Value(key) }
