package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/postonce/poe/internal/replay"
)

// Execute sends req to the upstream once, writes the answer to rec, and returns how far it got.
//
// The proof is Complete, with a nil error, once the answer was read to its end; what rec thinks of it is known to rec.
// It is Unsent only if the kernel accepted no byte of the request; an idle connection that turns out to be dead before that is
// exchanged for another. In all other cases it is Broken, and rec holds nothing of value.
//
// The error says why. If the time of ctx, or that for connecting, was up, it is errors.Is(err, context.DeadlineExceeded)
// or os.ErrDeadlineExceeded; if ctx was cancelled, it wraps the cause; if no connection became free, it wraps
// replay.ErrBusy. Execute keeps no reference to its arguments and leaves no goroutine behind.
func (g *Gateway) Execute(ctx context.Context, req *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	m, err := g.compose(req)
	if err != nil {
		return replay.Unsent, err
	}
	defer g.dispose(m)
	if err := g.pool.reserve(ctx); err != nil {
		return replay.Unsent, err
	}
	defer g.pool.unreserve()
	for {
		c, err := g.take(ctx)
		if err != nil {
			return replay.Unsent, because(ctx, err)
		}
		proof, err := g.exchange(ctx, c, &exchange{gateway: g, conn: c, message: m, answer: rec})
		if proof == replay.Unsent && c.reused && ctx.Err() == nil {
			continue // it died while idle and took nothing, so m is as it was
		}
		return proof, because(ctx, err)
	}
}

// exchange runs x on c under ctx and then keeps c, or ends it, even if the recorder panics.
func (g *Gateway) exchange(ctx context.Context, c *conn, x *exchange) (replay.Proof, error) {
	stop := c.begin(ctx)
	defer func() {
		x.stopSending(0)
		if stop() && x.keep && !c.ended.Load() {
			g.pool.put(c)
		} else {
			c.abort()
		}
	}()
	if err := ctx.Err(); err != nil {
		return replay.Unsent, err
	}
	return x.run()
}

// because puts the end of ctx before what it caused: a cancellation shows as a timeout of the connection, and is none.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %v", cause, err) //nolint:errorlint // see above
	}
	return fmt.Errorf("%w: %w: %v", ctx.Err(), cause, err) //nolint:errorlint // see above
}
