package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

// take returns a connection to the upstream: an idle one that is alive and silent, otherwise a new one.
func (g *Gateway) take(ctx context.Context) (*conn, error) {
	if c := g.pool.reuse(); c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sparing(ctx, g.cfg.DialTimeout))
	defer cancel()
	return g.dial(ctx)
}

// sparing is how long something may take before a request is sent: most, and half of what is left of the time of ctx. What is sent shortly before that is over is
// unknown.
func sparing(ctx context.Context, most time.Duration) time.Duration {
	until, limited := ctx.Deadline()
	if left := time.Until(until); limited && left > 0 { //nolint:forbidigo // as the context has it
		return min(most, left/2)
	}
	return most // a deadline that has passed was lifted, or ends ctx by itself
}

func (g *Gateway) dial(ctx context.Context) (*conn, error) {
	raw, err := g.cfg.Dial(ctx, "tcp", g.address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", g.address, err)
	}
	w := &wire{Conn: raw}
	if g.tls == nil {
		return newConn(w, w), nil
	}
	w.tls = true
	t := tls.Client(w, g.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = w.Close() // the handshake's error says it all
		return nil, fmt.Errorf("shaking hands with %s: %w", g.address, err)
	}
	return newConn(w, t), nil
}
