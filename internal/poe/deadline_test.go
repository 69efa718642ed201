package core_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
)

// The context of a handler ends at its deadline, as contexts with one do, and so do those that are made of it. An answer that streams has none.
func TestDeadlineOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		b := newBench(t, func(c *core.Config) { c.Timeout = limit })
		began := time.Now()
		b.app = func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			child, cancel := context.WithTimeout(ctx, 2*limit)
			defer cancel()
			for name, ctx := range map[string]context.Context{"its own": ctx, "a child": child} {
				if at, ok := ctx.Deadline(); !ok || !at.Equal(began.Add(limit)) {
					t.Errorf("%s: the deadline is %v, %v", name, at, ok)
				}
				<-ctx.Done()
				if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) || !time.Now().Equal(began.Add(limit)) {
					t.Errorf("%s: ended at %v: %v, because of %v", name, time.Now(), ctx.Err(), context.Cause(ctx))
				}
			}
		}
		wantProblem(t, b.do("POST", b.mint("/orders"), "x"), 504, "outcome-unknown")

		b.app = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			if at, ok := r.Context().Deadline(); ok {
				t.Errorf("the deadline of a stream is %v", at)
			}
			<-time.After(2 * limit)
			if err := r.Context().Err(); err != nil {
				t.Errorf("a stream has ended: %v", err)
			}
		}
		if res := b.do("POST", b.mint("/orders"), "x"); res.StatusCode != 200 {
			t.Error(res.StatusCode)
		}

		b.app = func(_ http.ResponseWriter, r *http.Request) {
			b.gate.Stop()
			<-r.Context().Done()
			if err := r.Context().Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("stopped: %v", err)
			}
		}
		wantProblem(t, b.do("POST", b.mint("/orders"), "x"), 502, "outcome-unknown")
	})
}

// Who asks to be told when the time is over already is told at once, also where another was told before.
func TestAskedAgainWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Timeout = time.Minute })
		b.mount(scripted(func(ctx context.Context, _ *replay.Request, _ *replay.Recorder) (replay.Proof, error) {
			after := ctx.(interface{ AfterFunc(f func()) func() bool }).AfterFunc
			told := make(chan struct{}, 2)
			for range 2 {
				after(func() { told <- struct{}{} })
				<-time.After(2 * time.Minute)
			}
			if len(told) != 2 {
				t.Errorf("%d of two were told", len(told))
			}
			return replay.Broken, nil
		}))
		b.do("POST", b.mint("/orders"), "x")
	})
}

// Nothing is made for who does not ask when an execution ends. Who asks late is told what who waited was.
func TestEndAskedForLate(t *testing.T) {
	const limit = time.Minute
	ended := func(t *testing.T, ctx context.Context, want, cause error) {
		t.Helper()
		if err := ctx.Err(); !errors.Is(err, want) {
			t.Errorf("ended with %v, not %v", err, want)
		}
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		synctest.Wait()
		for name, ctx := range map[string]context.Context{"its own": ctx, "a child": child} {
			if err := ctx.Err(); !errors.Is(err, want) {
				t.Errorf("%s: ended with %v, not %v", name, err, want)
			}
			if got := context.Cause(ctx); cause != nil && !errors.Is(got, cause) || cause == nil && (got == nil || errors.Is(got, context.Canceled)) {
				t.Errorf("%s: ended because of %v", name, got)
			}
			select {
			case <-ctx.Done():
			default:
				t.Errorf("%s: Done is not closed", name)
			}
		}
	}
	tests := map[string]struct {
		app  func(t *testing.T, b *bench, w http.ResponseWriter, r *http.Request)
		then func(t *testing.T, ctx context.Context)
	}{
		"in time": {
			app: func(t *testing.T, _ *bench, w http.ResponseWriter, r *http.Request) {
				<-time.After(limit - time.Nanosecond)
				if err, cause := r.Context().Err(), context.Cause(r.Context()); err != nil || cause != nil {
					t.Errorf("%v, %v", err, cause)
				}
				w.WriteHeader(http.StatusCreated)
			},
			// Whom the handler has left behind is told that it is over, and for good.
			then: func(t *testing.T, ctx context.Context) {
				t.Helper()
				ended(t, ctx, context.Canceled, context.Canceled)
				<-time.After(2 * limit)
				ended(t, ctx, context.Canceled, context.Canceled)
			},
		},
		"asked for long after it": {
			app: func(_ *testing.T, _ *bench, w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusCreated)
			},
			then: func(t *testing.T, ctx context.Context) {
				t.Helper()
				<-time.After(2 * limit)
				ended(t, ctx, context.Canceled, context.Canceled)
			},
		},
		"too late": {app: func(t *testing.T, _ *bench, _ http.ResponseWriter, r *http.Request) {
			t.Helper()
			<-time.After(limit)
			ended(t, r.Context(), context.DeadlineExceeded, context.DeadlineExceeded)
		}},
		"a function, called at the deadline": {app: func(t *testing.T, _ *bench, _ http.ResponseWriter, r *http.Request) {
			began := time.Now()
			called := make(chan time.Duration, 1)
			<-time.After(limit / 2)
			context.AfterFunc(r.Context(), func() { called <- time.Since(began) })
			if after := <-called; after != limit {
				t.Errorf("called after %v", after)
			}
		}},
		"stopped": {app: func(t *testing.T, b *bench, _ http.ResponseWriter, r *http.Request) {
			t.Helper()
			b.gate.Stop()
			ended(t, r.Context(), context.Canceled, nil)
		}},
		"a stream, waited for before it is one": {app: func(t *testing.T, _ *bench, w http.ResponseWriter, r *http.Request) {
			child, cancel := context.WithCancel(r.Context())
			defer cancel()
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			<-time.After(2 * limit)
			if err := child.Err(); err != nil {
				t.Errorf("it has ended: %v", err)
			}
		}},
		"a stream": {
			app: func(t *testing.T, _ *bench, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.WriteHeader(http.StatusOK)
				<-time.After(2 * limit)
				child, cancel := context.WithCancel(r.Context())
				defer cancel()
				<-time.After(2 * limit)
				if err := child.Err(); err != nil {
					t.Errorf("it has ended: %v", err)
				}
			},
			then: func(t *testing.T, ctx context.Context) {
				t.Helper()
				ended(t, ctx, context.Canceled, context.Canceled)
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.Timeout = limit })
				var got *http.Request
				b.app = func(w http.ResponseWriter, r *http.Request) {
					got = r
					tt.app(t, b, w, r)
				}
				b.do("POST", b.mint("/orders"), "x")
				if tt.then != nil {
					tt.then(t, got.Context())
				}
			})
		})
	}
}

// An executor can be told of the end without waiting for it, as with context.AfterFunc.
func TestExecutorIsTold(t *testing.T) {
	const limit = time.Minute
	type told struct {
		after time.Duration
		why   error
	}
	// Each returns when it expects what.
	tests := map[string]struct {
		do   func(t *testing.T, b *bench, ctx context.Context, wait func() (stop func() bool)) (expected int)
		then func(t *testing.T, calls []told)
	}{
		"when the time is over": {
			do: func(_ *testing.T, _ *bench, _ context.Context, wait func() func() bool) int {
				<-time.After(limit / 2)
				wait()
				<-time.After(limit)
				return 1
			},
			then: func(t *testing.T, calls []told) {
				t.Helper()
				if calls[0].after != limit || !errors.Is(calls[0].why, context.DeadlineExceeded) {
					t.Errorf("told %v", calls)
				}
			},
		},
		"when it is over already": {
			do: func(_ *testing.T, _ *bench, _ context.Context, wait func() func() bool) int {
				<-time.After(2 * limit)
				wait()
				<-time.After(time.Second)
				return 1
			},
			then: func(t *testing.T, calls []told) {
				t.Helper()
				if calls[0].after != 2*limit {
					t.Errorf("told %v", calls)
				}
			},
		},
		"not when it has stopped": {do: func(t *testing.T, _ *bench, _ context.Context, wait func() func() bool) int {
			t.Helper()
			stop := wait()
			if !stop() {
				t.Error("it could not be stopped")
			}
			if stop() {
				t.Error("it was stopped twice")
			}
			<-time.After(2 * limit)
			return 0
		}},
		"when another has stopped": {do: func(t *testing.T, _ *bench, _ context.Context, wait func() func() bool) int {
			t.Helper()
			first := wait()
			first()
			second := wait()
			if first() {
				t.Error("one has stopped another")
			}
			<-time.After(2 * limit)
			if second() {
				t.Error("it was stopped when it was over")
			}
			return 1
		}},
		"together with others": {do: func(_ *testing.T, _ *bench, ctx context.Context, wait func() func() bool) int {
			wait()
			wait()
			<-ctx.Done()
			wait()
			<-time.After(time.Second)
			return 3
		}},
		"when the process stops": {
			do: func(_ *testing.T, b *bench, ctx context.Context, wait func() func() bool) int {
				wait()
				b.gate.Stop()
				<-time.After(time.Second)
				wait()
				<-time.After(time.Second)
				return 2
			},
			then: func(t *testing.T, calls []told) {
				t.Helper()
				if calls[0].after != 0 || !errors.Is(calls[0].why, context.Canceled) {
					t.Errorf("told %v", calls)
				}
			},
		},
		"when all is over": {do: func(_ *testing.T, _ *bench, _ context.Context, wait func() func() bool) int {
			wait()
			return 1
		}},
		"not of an answer that streams": {do: func(t *testing.T, _ *bench, ctx context.Context, wait func() func() bool) int {
			t.Helper()
			stop := wait()
			rec := ctx.Value(recorderKey{}).(*replay.Recorder)
			rec.Header().Set("Content-Type", "text/event-stream")
			rec.WriteHeader(http.StatusOK)
			<-time.After(2 * limit)
			if !stop() {
				t.Error("told of the end of a time that was lifted")
			}
			return 0
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.Timeout = limit })
				var mu sync.Mutex
				var calls []told
				expected := 0
				b.mount(scripted(func(ctx context.Context, _ *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
					began := time.Now()
					wait := func() func() bool {
						return ctx.(interface{ AfterFunc(func()) func() bool }).AfterFunc(func() {
							mu.Lock()
							defer mu.Unlock()
							calls = append(calls, told{time.Since(began), ctx.Err()})
						})
					}
					expected = tt.do(t, b, recorded{ctx, rec}, wait)
					return replay.Complete, nil
				}))
				b.do("POST", b.mint("/orders"), "x")
				<-time.After(time.Hour)
				mu.Lock()
				defer mu.Unlock()
				if len(calls) != expected {
					t.Fatalf("told %v, which is %d times, not %d", calls, len(calls), expected)
				}
				if tt.then != nil {
					tt.then(t, calls)
				}
			})
		})
	}
}

type recorderKey struct{}

// recorded is an execution's context with its recorder.
type recorded struct {
	context.Context
	rec *replay.Recorder
}

func (r recorded) Value(key any) any {
	if key == (recorderKey{}) {
		return r.rec
	}
	return r.Context.Value(key)
}
