package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
)

// take returns a connection to the upstream: an idle one that is alive and silent, otherwise a new one.
func (g *Gateway) take(ctx context.Context) (*conn, error) {
	if c := g.pool.reuse(); c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DialTimeout)
	defer cancel()
	return g.dial(ctx)
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
