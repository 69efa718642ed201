package core

import (
	"context"
	"sync"
)

// Housekeeping does at once what Run does every second.
func Housekeeping(ctx context.Context, g *Gate) {
	g.releaseOrphans(ctx)
	if _, err := g.overdue(ctx, g.now(), watch{}); err != nil {
		panic(err)
	}
}

// Waiting returns how many requests wait for an execution to end.
func Waiting(g *Gate) int { return len(g.waiters) }

// Sweeping does at once what Run does every minute.
func Sweeping(ctx context.Context, g *Gate) {
	if err := g.sweep(ctx); err != nil {
		panic(err)
	}
}

// Defer lets clients ask for asynchronous execution, although nobody works.
func Defer(g *Gate) { g.working.Store(true) }

// WorkOnce does at once all that a worker finds to do.
func WorkOnce(ctx context.Context, g *Gate, exec Executor) {
	var workers sync.WaitGroup
	if err := g.dispatch(ctx, exec, make(chan struct{}, g.cfg.Workers), &workers); err != nil {
		panic(err)
	}
	workers.Wait()
}

// Works tells whether a worker works.
func Works(g *Gate) bool { return g.working.Load() }
