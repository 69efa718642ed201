package core

import (
	"context"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// flights are the executions that run in this process, from before the claim to after the settlement. They let duplicates wait, and tell recovery which
// claims are alive. They are never what keeps a second execution out: that is the ledger's claim.
type flights struct {
	mu      sync.Mutex // guards the rest
	running map[store.ID]*flight
	streams map[*flight]struct{} // that have ended as flights, and whose answers are still passed through
	stopped bool
	brief   bool // what is passed through from now on ends at once
}

// Its fields are guarded by the mu of its flights.
type flight struct {
	done    occurrence // when the flight has ended
	decided occurrence // when it is known whether the flight has the action: when it executes or recovers, or has ended
	under   canceler   // what ends the execution; nil until it begins
}

// A canceler ends an execution, for a reason.
type canceler interface{ cancel(cause error) }

// cancelFunc is one.
type cancelFunc context.CancelCauseFunc

func (f cancelFunc) cancel(cause error) { f(cause) }

// An occurrence is something that happens once. Its channel is made for the first who waits: mostly nobody does.
type occurrence struct {
	over bool
	ch   chan struct{}
}

// happen wakes who waits. It may be called again.
func (o *occurrence) happen() {
	if !o.over && o.ch != nil {
		close(o.ch)
	}
	o.over = true
}

// wait returns a channel that is closed once it has happened.
func (o *occurrence) wait() <-chan struct{} {
	if o.ch == nil {
		o.ch = make(chan struct{})
		if o.over {
			close(o.ch)
		}
	}
	return o.ch
}

// begin registers a flight for id, unless there is one.
func (f *flights) begin(id store.ID) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old, ok := f.running[id]; ok {
		return old, false
	}
	if f.running == nil {
		f.running = make(map[store.ID]*flight)
	}
	fl := &flight{}
	f.running[id] = fl
	return fl, true
}

// executing hands in what ends the execution. After stop it is ended at once.
func (f *flights) executing(fl *flight, under canceler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.under = under
	fl.decided.happen()
	if f.stopped {
		under.cancel(errStopped)
	}
}

// end takes the flight off and wakes who waits for it. It may be called twice.
func (f *flights) end(id store.ID, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[id] == fl {
		delete(f.running, id)
		fl.decided.happen()
		fl.done.happen()
	}
}

// stream ends a flight whose answer is passed through from now on. After stop that is ended at once.
func (f *flights) stream(id store.ID, fl *flight) {
	f.end(id, fl)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams == nil {
		f.streams = make(map[*flight]struct{})
	}
	f.streams[fl] = struct{}{}
	if f.brief {
		fl.under.cancel(errStopped)
	}
}

// streamed takes off what has been passed through.
func (f *flights) streamed(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.streams, fl)
}

// of returns the flight of id, or nil.
func (f *flights) of(id store.ID) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[id]
}

// decide says of a flight that it is known whether it has the action.
func (f *flights) decide(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.decided.happen()
}

// decided returns the flight of id, if there is one, as soon as it is known whether that has the action, or with the end of ctx: what is being claimed may
// have been done long ago. What the ledger says afterwards it says of the flight's claim as well: if the action is unused then, the flight is about to end.
func (f *flights) decided(ctx context.Context, id store.ID) *flight {
	f.mu.Lock()
	fl := f.running[id]
	if fl == nil {
		f.mu.Unlock()
		return nil
	}
	decided := fl.decided.wait()
	f.mu.Unlock()
	select {
	case <-decided:
	case <-ctx.Done():
	}
	return fl
}

// endStreams ends what is passed through, now and from now on.
func (f *flights) endStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.brief = true
	for fl := range f.streams {
		fl.under.cancel(errStopped)
	}
}

// stop ends every execution that runs or is about to, and what is still passed through.
func (f *flights) stop() {
	f.endStreams()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for _, fl := range f.running {
		if fl.under != nil {
			fl.under.cancel(errStopped)
		}
	}
}

// wait blocks until nothing runs, or ctx is over.
func (f *flights) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		var one *flight
		for _, one = range f.running {
			break
		}
		f.mu.Unlock()
		if one == nil {
			return nil
		}
		if f.await(ctx, one); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// await blocks until the flight has ended or ctx is over.
func (f *flights) await(ctx context.Context, fl *flight) {
	f.mu.Lock()
	done := fl.done.wait()
	f.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
