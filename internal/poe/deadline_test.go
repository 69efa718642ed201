package core_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/postonce/poe/internal/poe"
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
