package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// take returns a connection to the upstream: an idle one where there is one, otherwise a new one.
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
	w := &wire{tls: g.tls != nil}
	stream, err := g.connect(ctx, func(raw net.Conn) net.Conn { w.Conn = raw; return w })
	if err != nil {
		return nil, err
	}
	return newConn(w, stream), nil
}

// connect makes a connection, which on makes of what the system has, and returns what is written to: that, or the TLS on top of it.
func (g *Gateway) connect(ctx context.Context, on func(net.Conn) net.Conn) (net.Conn, error) {
	raw, err := g.cfg.Dial(ctx, "tcp", g.address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", g.address, err)
	}
	c := on(raw)
	if g.tls == nil {
		return c, nil
	}
	t := tls.Client(c, g.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close() // the handshake's error says it all
		return nil, fmt.Errorf("shaking hands with %s: %w", g.address, err)
	}
	return t, nil
}
