package core

import "context"

// Housekeeping does at once what Run does every second.
func Housekeeping(ctx context.Context, g *Gate) {
	g.releaseOrphans(ctx)
	if _, err := g.overdue(ctx, g.now()); err != nil {
		panic(err)
	}
}

// Waiting returns how many requests wait for an execution to end.
func Waiting(g *Gate) int { return len(g.waiters) }
